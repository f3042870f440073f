//! `qemu-test` against real QEMU: one binary, so that it links once.

mod failing;
mod launch;
mod life;
mod monitor;
mod report;
