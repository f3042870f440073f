//! A Linux guest that dies, reboots or runs out of memory on purpose. When it does so unasked, the test fails at once
//! and the report has the guest's own words: `docs/reports.md` shows what that looks like.

use std::time::Duration;

use qemu_test::{Machine, MachineBuilder, qemu_test, qmp};
use qemu_test_examples::guest::{self, BUSY_HOST, PROMPT};

/// Booting takes two seconds on an idle machine, and a multiple of that on a busy one.
const BOOT: Duration = Duration::from_secs(120);

fn linux() -> MachineBuilder {
    Machine::builder()
        .arch("x86_64")
        .args(["-machine", "q35", "-m", "256"])
        .arg("-kernel")
        .arg(guest::kernel())
        .arg("-initrd")
        .arg(guest::initramfs())
        .args(["-append", &format!("console=ttyS0 quiet {BUSY_HOST}")])
        .console()
}

// The guest's driver tells the panic device, and that QEMU. QEMU keeps what is left of the guest, to be looked at.
#[qemu_test(
    machine = linux(),
    args = ["-device", "pvpanic-pci", "-action", "panic=pause"],
    expect_guest_panic,
    timeout = "3m",
)]
fn a_panic_is_expected_and_looked_at(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for(PROMPT, BOOT)?;
    vm.console().send_line("echo c > /proc/sysrq-trigger")?;
    vm.wait_event(qmp!(GUEST_PANICKED), BOOT)?;
    assert_eq!(vm.command(qmp!(query_status))?["status"], "guest-panicked");
    assert!(vm.console().output().contains("sysrq triggered crash"));
    Ok(())
}

// Without a panic device, the console says it. The body need not wait for it: the test does.
#[qemu_test(machine = linux(), expect_guest_panic, timeout = "3m")]
fn a_panic_is_expected_on_the_console(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for(PROMPT, BOOT)?;
    vm.console().send_line("echo c > /proc/sysrq-trigger")?;
    Ok(())
}

// A test that waits for the end gets it. One that waited for anything else would fail when the guest powers off.
#[qemu_test(machine = linux(), timeout = "3m")]
fn it_powers_off_and_qemu_ends_well(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for(PROMPT, BOOT)?;
    vm.console().send_line("poweroff -f")?;
    assert!(vm.wait(BOOT)?.success());
    Ok(())
}

#[qemu_test(machine = linux(), timeout = "3m")]
fn it_reboots_and_is_there_again(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for(PROMPT, BOOT)?;
    vm.console().send_line("reboot -f")?;
    vm.wait_event(qmp!(RESET { guest: true }), BOOT)?;
    vm.console().wait_for(PROMPT, BOOT)?;
    Ok(())
}

// What the kernel says of it would fail the test.
#[qemu_test(machine = linux(), allow_console_line = ["invoked oom-killer", "Out of memory"], timeout = "3m")]
fn it_kills_who_takes_all_its_memory(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for(PROMPT, BOOT)?;
    vm.console().send_line("tail /dev/zero")?;
    vm.console().wait_for("Out of memory: Killed process", BOOT)?;
    vm.console().wait_for(PROMPT, BOOT)?;
    Ok(())
}
