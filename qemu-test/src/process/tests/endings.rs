//! However the test process ends, its trees end with it.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::WRAPPERS;
use super::helper::{Helper, Watched};
use crate::deadline::Deadline;

/// How soon after the test process everything must be gone.
const SECOND: Duration = Duration::from_secs(1);

/// Has a helper run QEMU behind every wrapper, ends it, and checks that nothing is left of any. An `orderly` end by
/// `exit(3)` leaves no zombie of a guardian either.
fn check(way: &str, orderly: bool, end: impl FnOnce(&mut Helper)) {
    // A process group of its own, so that a test can signal all of it.
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut helper = Helper::start_by(command.process_group(0), &format!("end {way}"));
    helper.line("ready");
    let (guardians, others): (Vec<_>, Vec<_>) = Watched::below(helper.pid())
        .into_iter()
        .partition(Watched::is_guardian);
    assert_eq!(guardians.len(), WRAPPERS.len());
    assert!(others.len() >= WRAPPERS.len());
    end(&mut helper);
    let second = Deadline::exactly(super::in_time(SECOND));
    for process in others.iter().chain(&guardians) {
        let (pid, command) = (process.pid, &process.command);
        assert!(process.ends_by(second), "{way}: {pid} `{command}` is left");
    }
    // Whoever adopts orphans on this machine reaps a guardian that outlived its parent, in its own time.
    for process in others.iter().chain(guardians.iter().filter(|_| orderly)) {
        let (pid, command) = (process.pid, &process.command);
        assert!(process.is_reaped(), "{way}: {pid} `{command}` is a zombie");
    }
}

fn go_on(helper: &mut Helper) {
    helper.go_on();
    helper.ended();
}

fn kill(helper: &mut Helper, signal: Signal) {
    helper.signal(signal);
    assert_eq!(helper.ended().signal(), Some(signal.as_raw()));
}

#[test]
fn nothing_outlives_a_test_process_that_ends_in_order() {
    for way in ["return", "panic", "leak", "exit", "exit with leaked machines"] {
        check(way, true, go_on);
    }
}

#[test]
fn nothing_outlives_a_test_process_that_crashes() {
    for way in ["abort", "panic while panicking", "stack overflow"] {
        check(way, false, go_on);
    }
}

#[test]
fn nothing_outlives_a_test_process_that_a_signal_ends() {
    for signal in [Signal::KILL, Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        check("wait", false, |helper| kill(helper, signal));
    }
}

#[test]
fn nothing_outlives_a_stopped_test_process_that_is_killed() {
    check("wait", false, |helper| {
        helper.signal(Signal::STOP);
        kill(helper, Signal::KILL);
    });
}

#[test]
fn nothing_outlives_a_test_process_that_becomes_another_program() {
    check("exec", false, |helper| {
        helper.go_on();
        helper.line("became another");
    });
}

#[test]
fn nothing_outlives_a_test_process_whose_group_is_killed() {
    check("wait", false, |helper| {
        rustix::process::kill_process_group(helper.pid(), Signal::KILL).unwrap();
        helper.ended();
    });
}

#[test]
fn nothing_outlives_a_test_process_that_left_a_fork_of_itself() {
    // The fork has all its descriptors, the lifelines included.
    check("wait with a sibling", false, |helper| {
        helper.go_on();
        helper.line("forked");
        kill(helper, Signal::KILL);
    });
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures of a run, which libtest captures")]
fn nothing_outlives_a_test_process_killed_at_any_moment_of_a_launch() {
    let rounds = std::env::var("QEMU_TEST_PROCESS_KILLS").unwrap_or_else(|_| "20".into());
    let mut driver = Helper::start(&format!("drive {rounds}"));
    let outcome = driver.line("done");
    assert!(driver.ended().success());
    assert!(outcome.contains(&format!("{rounds} kills")), "{outcome}");
    println!("{outcome}");
}
