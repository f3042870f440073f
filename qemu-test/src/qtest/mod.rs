//! QEMU's qtest protocol: ports, memory, interrupts and the clock of a machine, without a guest.
//!
//! [`Qtest`] has one method per command; [`Irq`] is what an intercepted interrupt line did.
//!
//! # What a QEMU must have
//!
//! Every QEMU understands the protocol. The machine is started with `-accel qtest -accel tcg -S`: QEMU takes the
//! qtest accelerator where it was built with it (`CONFIG_QTEST`, as QEMU's own tests have it). Distributions build
//! without; there QEMU says so in its log (`invalid accelerator qtest`) and takes TCG with paused CPUs. Everything then
//! works but the virtual clock, which stands still: [`clock_step`](Qtest::clock_step) and
//! [`clock_set`](Qtest::clock_set) fail with an error that says so.

mod api;
mod connection;
mod irq;

pub use api::{Endianness, Qtest};
pub use irq::Irq;

#[cfg(test)]
mod tests;
