//! Examples of `qemu-test`, one file each under `tests/`; what several of them share is here.

pub mod guest;
