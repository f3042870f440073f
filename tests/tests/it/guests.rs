//! The guests of these tests.

use std::time::Duration;

use qemu_test::{Machine, MachineBuilder};
use qemu_test_tests::guest;

pub(crate) use qemu_test_tests::guest::PROMPT;

/// Longer than anything here takes on a slow and busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// The small Linux guest on a PC with these arguments for its kernel.
pub(crate) fn linux(append: &str) -> MachineBuilder {
    Machine::builder()
        .arch("x86_64")
        .args(["-machine", "q35", "-m", "256", "-append", append])
        .arg("-kernel")
        .arg(guest::kernel())
        .arg("-initrd")
        .arg(guest::initramfs())
}
