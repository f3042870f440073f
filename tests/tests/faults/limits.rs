//! The time limit of a test ends every wait at once, and the report says what the wait was for.

use std::time::Duration;

use super::run::{Outcome, Victim, files};

/// Runs a victim that waits for longer than its test may: `what` is what the error and the report say of it.
#[track_caller]
fn ends(victim: &'static str, what: &str) -> Outcome {
    let outcome = Victim::new(victim).fails();
    assert!(outcome.took < Duration::from_secs(60), "{:?}", outcome.took);
    let cause = outcome.cause();
    assert!(
        cause.contains(&format!("timed out after 8 s while {what}")),
        "{cause}\n{}",
        outcome.output
    );
    outcome.says(&[&format!("the test timed out after 8 s while {what}")]);
    outcome
}

#[test]
fn a_command_ends_with_the_test() {
    // What there is to know is asked for first; and this QEMU does not answer.
    ends(
        "waits_for_a_reply",
        "waiting for the reply to `{\"execute\":\"query-version\"}`",
    )
    .says(&["its monitor does not answer"]);
}

#[test]
fn waits_for_events_end_with_the_test() {
    ends("waits_for_an_event", "waiting for the event RESUME").says(&["machine `vm`  running"]);
    ends("waits_for_any_event", "waiting for ");
}

#[test]
fn a_wait_for_the_machines_own_end_ends_with_the_test() {
    ends("waits_for_the_end", "waiting for the machine to end");
}

#[test]
fn waits_on_the_console_end_with_the_test() {
    ends("waits_for_the_console", "waiting for ");
    ends("waits_for_a_shell", "");
}

#[test]
fn a_qtest_command_ends_with_the_test() {
    ends("waits_for_qtest", "");
}

#[test]
fn a_launch_ends_with_the_test() {
    let outcome = Victim::new("waits_for_a_launch").fails();
    assert!(outcome.took < Duration::from_secs(40), "{:?}", outcome.took);
    outcome.says(&[
        "machine `late` did not launch: the test timed out after 8 s while waiting for QEMU's greeting",
    ]);
    let cause = outcome.cause();
    assert!(
        cause.contains("timed out after 8 s while waiting for QEMU's greeting (machine `late`)"),
        "{cause}"
    );

    let outcome = Victim::new("never_comes_up").fails();
    assert!(outcome.took < Duration::from_secs(40), "{:?}", outcome.took);
    let cause = outcome.cause();
    assert!(
        cause.contains("timed out after 2 s while waiting for QEMU's greeting (machine `vm`)"),
        "{cause}"
    );
}

#[test]
fn a_report_on_an_interruption_waits_for_no_machine_longer_than_for_one() {
    let outcome = Victim::new("is_interrupted").ends();
    assert_eq!(outcome.status, None, "{}", outcome.output);
    // The signal's own limit is eight seconds, and nothing is printed after it.
    assert!(
        outcome.cause().contains("was interrupted by SIGTERM"),
        "{}",
        outcome.output
    );
    assert_eq!(
        outcome.output.matches("\n  machine `vm`").count(),
        6,
        "{}",
        outcome.output
    );
    let files = files(outcome.folder.path());
    let file = files.iter().find(|file| file.ends_with("report.txt")).unwrap();
    assert!(outcome.output.contains(&std::fs::read_to_string(file).unwrap()));
}

#[test]
fn a_body_that_ignores_every_error_takes_the_process_with_it() {
    let outcome = Victim::new("ignores_every_error").fails();
    let cause = outcome.cause();
    let parts = [
        "timed out after 8 s while waiting for the event RESUME (machine `vm`)",
        "has not returned 10 s later: this ends the whole test process",
    ];
    assert!(parts.iter().all(|part| cause.contains(part)), "{cause}");
}
