//! The failing tests whose reports are in `docs/reports.md`, in its order. The page shows their source, too.

use std::time::Duration;

use qemu_test::{Machine, MachineBuilder, Result, qemu_test};
use rustix::process::{Pid, Signal, kill_process};

use crate::bare_metal::{Then, guest};
use crate::guests::{self, LONG, PROMPT};

fn linux() -> MachineBuilder {
    guests::linux("console=ttyS0 quiet")
        .args(["-smp", "2", "-device", "pvpanic-pci"])
        .args(guests::IN_TURN)
        .console()
}

fn signal(vm: &Machine, signal: Signal) {
    kill_process(Pid::from_raw(vm.pid().cast_signed()).unwrap(), signal).unwrap();
}

#[qemu_test(machine = linux())]
#[ignore = "fails on purpose: run by gallery.rs"]
fn an_assertion_in_the_body(vm: &Machine) -> Result<()> {
    let console = vm.console();
    console.wait_for(PROMPT, LONG)?;
    console.send_line("nproc")?;
    let answer = console.wait_for(PROMPT, LONG)?;
    assert!(
        answer.contains("\n4\n"),
        "four processors were wanted: {answer:?}"
    );
    Ok(())
}

#[qemu_test(machine = linux())]
#[ignore = "fails on purpose: run by gallery.rs"]
fn a_kernel_panic(vm: &Machine) {
    let console = vm.console();
    console.wait_for(PROMPT, LONG).unwrap();
    console.send_line("echo c > /proc/sysrq-trigger").unwrap();
    console.wait_for(PROMPT, LONG).unwrap();
}

#[qemu_test(machine = guest("loading the kernel\r\n", Then::TripleFault), args = ["-no-reboot"])]
#[ignore = "fails on purpose: run by gallery.rs"]
fn a_triple_fault(vm: &Machine) -> Result<()> {
    vm.console().wait_for("login: ", LONG)?;
    Ok(())
}

#[qemu_test(machine = guest("loading the kernel\r\n", Then::TripleFault))]
#[ignore = "fails on purpose: run by gallery.rs"]
fn a_loop_of_resets(vm: &Machine) -> Result<()> {
    vm.console().wait_for("login: ", LONG)?;
    Ok(())
}

#[qemu_test(machine = guest("shutting down\r\n", Then::PowerOff))]
#[ignore = "fails on purpose: run by gallery.rs"]
fn a_power_off_too_early(vm: &Machine) -> Result<()> {
    vm.console().wait_for("login: ", LONG)?;
    Ok(())
}

#[qemu_test(machine = guest("looking for the disk\r\n", Then::Loop), timeout = "15s")]
#[ignore = "fails on purpose: run by gallery.rs"]
fn a_hang_in_a_loop(vm: &Machine) -> Result<()> {
    vm.console().wait_for("login: ", LONG)?;
    Ok(())
}

#[qemu_test(machine = guest("looking for the disk\r\n", Then::Halt), timeout = "15s")]
#[ignore = "fails on purpose: run by gallery.rs"]
fn a_hang_in_halt(vm: &Machine) -> Result<()> {
    vm.console().wait_for("login: ", LONG)?;
    Ok(())
}

#[qemu_test(machine = linux(), timeout = "60s")]
#[ignore = "fails on purpose: run by gallery.rs"]
fn a_timeout_of_a_guest_that_gets_on(vm: &Machine) -> Result<()> {
    let console = vm.console();
    console.wait_for(PROMPT, LONG)?;
    console.send_line("while sleep 1; do date; done")?;
    console.wait_for("2001", LONG)?;
    Ok(())
}

#[qemu_test(machine = guest("all is well\r\n", Then::Halt))]
#[ignore = "fails on purpose: run by gallery.rs"]
fn a_crash_of_qemu(vm: &Machine) -> Result<()> {
    vm.console().wait_for("all is well", LONG)?;
    signal(vm, Signal::ABORT);
    vm.console().wait_for("login: ", LONG)?;
    Ok(())
}

#[qemu_test(machine = guest("all is well\r\n", Then::Halt))]
#[ignore = "fails on purpose: run by gallery.rs"]
fn a_qemu_that_is_stopped(vm: &Machine) -> Result<()> {
    vm.console().wait_for("all is well", LONG)?;
    signal(vm, Signal::STOP);
    let status = qemu_test::qmp::Command::new("query-status");
    vm.command(status.timeout(Duration::from_secs(2)))?;
    Ok(())
}

#[qemu_test(args = ["-machine", "q35", "-device", "virtio-bulk-pci"])]
#[ignore = "fails on purpose: run by gallery.rs"]
fn a_bad_argument(vm: &Machine) -> Result<()> {
    vm.command("query-status")?;
    Ok(())
}

#[qemu_test(machine = guest("BUG: bad page state in process init\r\n page:0 refcount:-1\r\nall is well\r\n", Then::Halt))]
#[ignore = "fails on purpose: run by gallery.rs"]
fn a_bad_line_although_the_body_passes(vm: &Machine) -> Result<()> {
    vm.console().wait_for("all is well", LONG)?;
    Ok(())
}
