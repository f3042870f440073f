//! The client against real QEMU, and against peers that QEMU never is.

mod peer;
mod qemu;

mod hostile;
mod memory;
mod real;
mod sharing;
