//! A machine that does not want to end does end, within its limits, and the report says what it took.

use super::run::Victim;

/// The limits of a shutdown are long for a QEMU that flushes its disks; a tenth of them is enough for one that hangs.
fn hurried(name: &'static str) -> Victim {
    Victim::new(name).env("QEMU_TEST_TIMEOUT_SCALE", "0.1")
}

#[test]
fn a_stopped_qemu_is_killed_after_it_was_asked_twice() {
    let outcome = hurried("stopped").fails();
    let cause = outcome.cause();
    let steps = [
        "killed by signal SIGKILL",
        "(quit: no end within ",
        ", SIGTERM: no end within ",
        ", SIGKILL: ",
    ];
    assert!(steps.iter().all(|step| cause.contains(step)), "{cause}");
}

#[test]
fn a_qemu_whose_main_loop_is_blocked_ends_all_the_same() {
    let outcome = hurried("blocked_in_a_system_call").fails();
    let cause = outcome.cause();
    assert!(
        cause.contains("did not shut down")
            && cause.contains("(quit: no end within ")
            && cause.contains(", SIGTERM: "),
        "{cause}"
    );
}

#[test]
fn a_wrapper_that_ignores_sigterm_is_killed() {
    let outcome = hurried("behind_a_wrapper_that_stays").fails();
    let cause = outcome.cause();
    let steps = [
        "did not shut down",
        "quit: no end within ",
        "SIGTERM: ",
        "SIGKILL: ",
    ];
    assert!(steps.iter().all(|step| cause.contains(step)), "{cause}");
}

#[test]
fn what_a_machine_leaves_in_another_session_is_named_and_killed() {
    let outcome = hurried("leaves_a_process_in_another_session").fails();
    let cause = outcome.cause();
    assert!(
        cause.contains("left a process behind, killed now: process "),
        "{cause}"
    );
    assert!(cause.contains("(`sleep 601`)"), "{cause}");
}
