//! The watch over a guest: it hears what the guest says on its consoles and what QEMU tells of it, and knows when it
//! has died or said something that no sound guest says.
//!
//! `bad_lines` is the list of what no sound guest says, `incident` collects the lines around such a one, `watch`
//! decides. Ending the waits is left to the machine's watcher, judging to the test.

mod bad_lines;
mod incident;
mod resets;
mod state;
mod watch;

pub(crate) use bad_lines::AllowedLine;
pub(crate) use watch::{GuestWatch, Terms};
