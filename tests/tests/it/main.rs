//! `qemu-test` against real QEMU: one binary, so that it links once.

mod console;
mod failing;
mod guests;
mod launch;
mod life;
mod monitor;
mod report;
mod screen;
mod verbs;
