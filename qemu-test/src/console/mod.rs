//! The console of a guest: a serial port or a virtio console, with what it says kept, searched and answered.
//!
//! [`Console`] waits for text and sends some; [`Pattern`] is what it waits for. [`Shell`] runs commands over it.

mod clean;
mod feed;
mod handle;
mod past;
mod pattern;
mod send;
pub mod shell;
mod text;

pub use handle::Console;
pub(crate) use past::Past;
pub use pattern::Pattern;
pub use shell::{Output, Shell};

#[cfg(test)]
mod tests;
