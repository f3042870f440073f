//! A guest that dies ends every wait on it at once, unless its death is what the test waits for.

use std::time::{Duration, Instant};

use qemu_test::fixture::{Fixture, Isolation};
use qemu_test::{Error, GuestError, Machine, MachineBuilder, qemu_test, qmp};

use crate::bare_metal::{Then, guest};

/// Far more than any of these guests needs.
const LONG: Duration = Duration::from_secs(100);

const PANIC: &str = "[    1.5] Kernel panic - not syncing: no init found\r\n[    1.5] Call Trace:\r\n[    1.5]  panic+0x1\r\n";

/// What ends the wait of a test for something that the guest of `builder` never says.
fn death(builder: MachineBuilder) -> GuestError {
    // Outside a test of the library's, the files of a machine that ended badly stay: here nobody wants them.
    let artifacts = tempfile::tempdir().unwrap();
    let vm = builder.artifact_dir(artifacts.path()).launch().unwrap();
    let began = Instant::now();
    let error = vm.console().wait_for("login: ", LONG).unwrap_err();
    assert!(began.elapsed() < LONG / 2, "it took {:?}", began.elapsed());
    match error {
        Error::Guest(error) => error,
        other => panic!("another error: {other}"),
    }
}

#[test]
fn a_panic_ends_a_wait_with_the_panics_own_lines() {
    let error = death(guest(PANIC, Then::Halt));
    assert_eq!(
        error.reason,
        "the guest panicked: Kernel panic - not syncing: no init found"
    );
    assert_eq!(error.output, PANIC.replace("\r\n", "\n").trim_end());
    let told = error.to_string();
    assert!(
        told.contains("while waiting for `login: `") && told.contains("machine `vm`"),
        "{told}"
    );
}

#[test]
fn a_panic_without_a_newline_is_one() {
    let error = death(guest("\r\nKernel panic - not syncing: cut", Then::Loop));
    assert_eq!(
        error.reason,
        "the guest panicked: Kernel panic - not syncing: cut"
    );
    assert_eq!(error.output, "Kernel panic - not syncing: cut");
}

#[test]
fn a_guest_that_waits_for_a_person_is_not_waited_for() {
    let error = death(guest("You are in emergency mode. Press Enter\r\n", Then::Halt));
    assert_eq!(
        error.reason,
        "the guest stands still: You are in emergency mode. Press Enter"
    );
}

#[test]
fn a_power_off_ends_a_wait_for_something_else() {
    let error = death(guest("bye\r\n", Then::PowerOff));
    assert_eq!(error.reason, "the guest powered off");
    assert!(error.output.contains("bye"), "{error}");
}

#[qemu_test(machine = guest("bye\r\n", Then::PowerOff).arg("-no-shutdown"), timeout = "200s")]
fn a_guest_that_is_reset_after_its_death_can_die_again(vm: &Machine) -> qemu_test::Result<()> {
    for _ in 0..2 {
        let began = Instant::now();
        let error = vm.console().wait_for("login: ", LONG).unwrap_err();
        assert!(
            matches!(&error, Error::Guest(error) if error.reason == "the guest powered off"),
            "{error}"
        );
        assert!(began.elapsed() < LONG / 2, "it took {:?}", began.elapsed());
        vm.wait_event(qmp!(SHUTDOWN), LONG)?;
        vm.reset()?;
        vm.resume()?;
    }
    Ok(())
}

#[test]
fn a_triple_fault_ends_a_wait_whether_or_not_it_ends_the_machine() {
    let error = death(guest("x\r\n", Then::TripleFault).arg("-no-reboot"));
    assert!(
        error
            .reason
            .starts_with("the guest reset itself without a word (as a triple fault does)"),
        "{error}"
    );
    let error = death(guest("x\r\n", Then::TripleFault));
    assert!(
        error
            .reason
            .starts_with("the guest resets itself again and again, 3 times in a row without a word"),
        "{error}"
    );
}

#[test]
fn a_loop_of_reboots_is_told_from_one_of_triple_faults() {
    let error = death(guest("[    2.0] reboot: Restarting system\r\n", Then::Reset));
    assert!(
        error
            .reason
            .ends_with("the guest reboots again and again, 3 times in a row"),
        "{error}"
    );
}

#[qemu_test(machine = guest("bye\r\n", Then::PowerOff))]
fn a_power_off_that_is_waited_for_is_an_end_with_a_status(vm: &Machine) -> qemu_test::Result<()> {
    assert_eq!(vm.wait(LONG)?.code(), Some(0));
    Ok(())
}

#[qemu_test(machine = guest("bye\r\n", Then::PowerOff))]
fn a_power_off_that_is_waited_for_is_an_event(vm: &Machine) -> qemu_test::Result<()> {
    let event = vm.wait_event(qmp!(SHUTDOWN), LONG)?;
    assert_eq!(event.data["reason"], "guest-shutdown");
    Ok(())
}

#[qemu_test(machine = guest("bye\r\n", Then::PowerOff), args = ["-no-shutdown"])]
fn a_machine_that_outlives_its_guest_goes_on_for_a_test_that_waited_for_that(
    vm: &Machine,
) -> qemu_test::Result<()> {
    vm.wait_event(qmp!(SHUTDOWN), LONG)?;
    assert_eq!(vm.command("query-status")?["status"], "shutdown");
    vm.command("system_reset")?;
    vm.wait_event(qmp!(RESET), LONG)?;
    Ok(())
}

#[qemu_test(machine = guest("all is well\r\n", Then::PowerOff))]
fn a_body_that_has_got_what_it_wants_does_not_mind_the_end(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for("all is well", LONG)?;
    while vm.is_running() {
        std::thread::yield_now();
    }
    Ok(())
}

#[qemu_test(machine = guest("again\r\n", Then::Halt))]
fn resets_by_the_host_are_no_loop(vm: &Machine) -> qemu_test::Result<()> {
    for round in 0..6 {
        vm.console().wait_for("again", LONG)?;
        match round % 2 {
            0 => drop(vm.command(qmp!(system_reset))?),
            _ => drop(vm.hmp("system_reset")?),
        }
    }
    vm.console().wait_for("again", LONG)?;
    Ok(())
}

#[qemu_test(machine = guest("again\r\n", Then::Reset))]
fn reboots_that_the_test_follows_are_no_loop(vm: &Machine) -> qemu_test::Result<()> {
    for _ in 0..5 {
        vm.wait_event(
            qmp!(RESET {
                reason: "guest-reset"
            }),
            LONG,
        )?;
    }
    Ok(())
}

#[qemu_test(machine = guest(PANIC, Then::Halt), expect_guest_panic)]
fn an_expected_panic_is_waited_for_after_the_body(_vm: &Machine) {}

#[qemu_test(machine = guest(PANIC, Then::Halt), allow_console_line = ["Oops", "Kernel panic"])]
fn a_line_that_is_allowed_is_a_line_like_any_other(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for("panic+0x1", LONG)?;
    assert!(vm.command("query-status")?["running"] == true);
    Ok(())
}

#[test]
fn what_is_no_regular_expression_is_refused_at_launch() {
    let error = guest("", Then::Halt)
        .allow_console_line("Oops (")
        .launch()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("`allow_console_line` takes a regular expression"),
        "{error}"
    );
}

/// A guest that panics when it is told to.
struct Fragile;

impl Fixture for Fragile {
    fn machine(&self) -> MachineBuilder {
        guest("ready\r\n", Then::Panic)
    }

    fn ready(&self, vm: &Machine) -> qemu_test::Result<()> {
        vm.console().wait_for("ready", LONG).map(drop)
    }
}

#[test]
fn a_copy_of_a_guest_is_watched_as_any_guest_is() {
    let vm = Fragile.launch(Isolation::Fork).unwrap();
    vm.console().send("x").unwrap();
    let error = vm.console().wait_for("login: ", LONG).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the guest panicked: Kernel panic - not syncing: as it was told while"),
        "{error}"
    );
}

#[qemu_test(fixture = Fragile, expect_guest_panic)]
fn a_copy_may_be_expected_to_panic_where_its_original_did_not(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().send("x")
}
