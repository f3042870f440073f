//! The tests of `qemu-test` against real QEMU live in `tests/`; what several of them share is here.

/// The Linux guests: the examples say where they lie, so that one place knows it.
pub use qemu_test_examples::guest;
