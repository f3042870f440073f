//! A Linux guest, driven over its serial console.

use std::time::Duration;

use qemu_test::{Machine, MachineBuilder, qemu_test};
use qemu_test_examples::guest;

fn linux() -> MachineBuilder {
    Machine::builder()
        .arch("x86_64")
        .args([
            "-machine",
            "q35",
            "-m",
            "256",
            "-no-reboot",
            "-append",
            "console=ttyS0 quiet",
        ])
        .arg("-kernel")
        .arg(guest::kernel())
        .arg("-initrd")
        .arg(guest::initramfs())
        .console()
}

#[qemu_test(machine = linux(), timeout = "3m")]
fn the_kernel_is_the_one_that_was_given(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for("~ # ", Duration::from_secs(120))?;
    vm.console().send_line("uname -s -m")?;
    vm.console().wait_for("Linux x86_64", Duration::from_secs(10))?;
    Ok(())
}
