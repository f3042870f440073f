//! Tests that fail, each in its own way. `report.rs` runs them, one at a time, and reads what they say.

use std::process::ExitCode;
use std::time::Duration;

use qemu_test::{Machine, MachineBuilder, qemu_test, qmp};

use crate::bare_metal::{Then, guest};
use crate::guests;
use rustix::process::{Pid, Signal, kill_process};

fn none() -> MachineBuilder {
    Machine::builder().args(["-machine", "none"])
}

fn kill(vm: &Machine, signal: Signal) {
    kill_process(Pid::from_raw(vm.pid().cast_signed()).unwrap(), signal).unwrap();
}

#[qemu_test(machine = none().args(["-name", "two words"]))]
#[ignore = "fails on purpose: run by report.rs"]
fn panics(vm: &Machine) {
    vm.command("stop").unwrap();
    assert_eq!(vm.command("query-name").unwrap()["name"], "one", "the name");
}

#[qemu_test(machine = none())]
#[ignore = "fails on purpose: run by report.rs"]
fn returns_an_error(vm: &Machine) -> qemu_test::Result<()> {
    vm.command(qmp!("no-such-command"))?;
    Ok(())
}

#[qemu_test(machine = none())]
#[ignore = "fails on purpose: run by report.rs"]
fn returns_a_status(_vm: &Machine) -> ExitCode {
    ExitCode::from(3)
}

#[qemu_test(machine = none())]
#[ignore = "fails on purpose: run by report.rs"]
fn asks_for_a_console_that_it_has_not(vm: &Machine) {
    vm.console();
}

#[qemu_test(args = ["-no-such-option"])]
#[ignore = "fails on purpose: run by report.rs"]
fn does_not_launch(_vm: &Machine) {}

#[qemu_test(arch = "no-such-arch", args = ["-m", "64"])]
#[ignore = "fails on purpose: run by report.rs"]
fn has_no_program(_vm: &Machine) {}

#[qemu_test(args = ["-no-such-option"])]
#[should_panic]
#[ignore = "fails on purpose: run by report.rs"]
fn a_launch_that_fails_is_no_expected_panic(_vm: &Machine) {}

#[qemu_test(machine = none())]
#[should_panic(expected = "this")]
#[ignore = "fails on purpose: run by report.rs"]
fn panics_with_another_message(_vm: &Machine) {
    panic!("that");
}

#[qemu_test(machine = none())]
#[should_panic]
#[ignore = "fails on purpose: run by report.rs"]
fn does_not_panic(_vm: &Machine) {}

#[qemu_test(machine = none())]
#[should_panic]
#[ignore = "fails on purpose: run by report.rs"]
fn panics_as_expected_and_qemu_dies(vm: &Machine) {
    kill(vm, Signal::SEGV);
    vm.command("query-status").unwrap();
}

#[qemu_test(machine = none())]
#[ignore = "fails on purpose: run by report.rs"]
fn passes_and_qemu_is_killed(vm: &Machine) {
    kill(vm, Signal::SEGV);
}

#[qemu_test(machine = none(), wrapper = ["sh", "-c", "\"$0\" \"$@\"; exit 3"])]
#[ignore = "fails on purpose: run by report.rs"]
fn passes_and_the_wrapper_says_three(_vm: &Machine) {}

#[qemu_test(machine = none(), wrapper = ["sh", "-c", "\"$0\" \"$@\"; exit 3"])]
#[ignore = "fails on purpose: run by report.rs"]
fn fails_because_qemu_ends(vm: &Machine) -> qemu_test::Result<()> {
    vm.command("quit")?;
    vm.wait_event(qmp!(STOP), Duration::from_secs(60)).map(drop)
}

#[qemu_test(machine = none(), wrapper = ["sh", "-c", "sleep 600 & exec \"$0\" \"$@\""])]
#[ignore = "fails on purpose: run by report.rs"]
fn passes_and_leaves_a_process(_vm: &Machine) {}

#[qemu_test(machine = none().expect_exit(5))]
#[ignore = "fails on purpose: run by report.rs"]
fn ends_with_another_status_than_announced(vm: &Machine) {
    vm.command("quit").unwrap();
}

#[qemu_test(machine = none(), timeout = "8s")]
#[ignore = "fails on purpose: run by report.rs"]
fn waits_too_long(vm: &Machine) -> qemu_test::Result<()> {
    vm.wait_event(qmp!(SHUTDOWN), Duration::from_secs(60))?;
    Ok(())
}

#[qemu_test(machine = none(), timeout = "8s")]
#[ignore = "fails on purpose: run by report.rs"]
fn never_returns(_vm: &Machine) {
    loop {
        std::thread::park();
    }
}

#[qemu_test]
#[ignore = "fails on purpose: run by report.rs"]
fn two_machines(
    #[machine(machine = none())] first: &Machine,
    #[machine(machine = none(), name = "the other")] second: &Machine,
) {
    first.command("query-version").unwrap();
    second.command("query-status").unwrap();
    panic!("both are in the report");
}

#[qemu_test(machine = none())]
#[ignore = "fails on purpose: run by report.rs"]
fn a_machine_launched_by_hand(vm: &Machine) {
    let by_hand = none().name("by hand").launch().unwrap();
    by_hand.command("query-uuid").unwrap();
    vm.command("query-version").unwrap();
    panic!("its machine is in the report, too");
}

#[test]
#[ignore = "fails on purpose: run by report.rs"]
fn a_bare_test() {
    let vm = none().name("bare").launch().unwrap();
    vm.command("query-uuid").unwrap();
    panic!("dropped while panicking");
}

#[test]
#[ignore = "fails on purpose: run by report.rs"]
fn a_closure() {
    none().test(|vm| -> qemu_test::Result<()> {
        vm.command(qmp!("no-such-command"))?;
        Ok(())
    });
}

#[qemu_test(machine = none())]
#[ignore = "fails on purpose: run by report.rs"]
fn qemu_writes_garbage_to_its_log(vm: &Machine) {
    std::fs::write(
        vm.dir().join("qemu.log"),
        b"\x1b[2J\xff\xfe\x07 bell\r\nlast line\n",
    )
    .unwrap();
    panic!("the terminal is safe");
}

#[qemu_test(machine = guest("BUG: bad page state\r\ntrace of it\r\nfine\r\n", Then::Halt))]
#[ignore = "fails on purpose: run by report.rs"]
fn passes_and_the_guest_said_a_bad_line(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for("fine", Duration::from_secs(60))?;
    Ok(())
}

#[qemu_test(machine = guest("Kernel panic - not syncing: x\r\n", Then::Halt))]
#[ignore = "fails on purpose: run by report.rs"]
fn panics_because_the_guest_does(vm: &Machine) {
    vm.console().wait_for("login: ", Duration::from_secs(60)).unwrap();
}

#[qemu_test(machine = guest("hello\r\n", Then::PowerOff), expect_guest_panic)]
#[ignore = "fails on purpose: run by report.rs"]
fn the_expected_panic_of_the_guest_does_not_come(_vm: &Machine) {}

#[qemu_test(machine = guest("hello\r\n", Then::Halt), expect_guest_panic, timeout = "8s")]
#[ignore = "fails on purpose: run by report.rs"]
fn the_expected_panic_of_the_guest_does_not_come_in_time(_vm: &Machine) {}

#[qemu_test(console, allow_console_line = "Oops: (")]
#[ignore = "fails on purpose: run by report.rs"]
fn allows_what_is_no_regular_expression(_vm: &Machine) {}

#[qemu_test(machine = guest("", Then::Halt), args = ["-device", "VGA", "-S", "-smp", "3"])]
#[ignore = "fails on purpose: run by report.rs"]
fn panics_before_the_guest_is_started(_vm: &Machine) {
    panic!("too early");
}

#[qemu_test(machine = guests::aarch64("console=ttyAMA0 quiet"), console)]
#[ignore = "fails on purpose: run by report.rs"]
fn panics_with_an_idle_guest_of_another_architecture(vm: &Machine) {
    vm.console().wait_for(guests::PROMPT, guests::LONG).unwrap();
    // Its first moments are busy ones.
    vm.console().send_line("sleep 2; echo set''tled").unwrap();
    vm.console().wait_for("settled", guests::LONG).unwrap();
    panic!("for no reason");
}

#[qemu_test(machine = guest("x", Then::Halt), args = ["-smp", "2"], timeout = "15s")]
#[ignore = "fails on purpose: run by report.rs"]
fn is_stopped_until_the_time_is_over(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for("x", Duration::from_secs(60))?;
    kill(vm, Signal::STOP);
    vm.wait_event(qmp!(SHUTDOWN), Duration::from_secs(60))?;
    Ok(())
}

/// QEMU in a control group of memory that its guest's memory does not fit into.
#[qemu_test(
    machine = guest("", Then::Halt),
    args = ["-m", "512"],
    qtest,
    wrapper = ["sh", "-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"", &std::env::var("QEMU_TEST_CGROUP").unwrap()]
)]
#[ignore = "fails on purpose: run by report.rs"]
fn needs_more_memory_than_there_is(vm: &Machine) -> qemu_test::Result<()> {
    vm.qtest().memset(0x10_0000, 400 << 20, 1)?;
    Ok(())
}
