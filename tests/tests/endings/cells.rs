//! The cells: what is done to a victim, and what must be left of it.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::processes::{Process, from_now};
use super::runner::{Runner, Session};
use super::victims::MACHINES;

/// How soon after the test process everything must be gone.
const SECOND: Duration = Duration::from_secs(1);

/// How long a test process may take to end when it has been told to: ten shutdowns, and a report before, on a busy
/// computer.
const END: Duration = Duration::from_secs(60);

/// How a victim is brought to its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// It ends itself.
    GoOn,
    Signal(Signal),
    /// Ctrl-C on the terminal that the runner has.
    Key,
    /// The runner's terminal is closed.
    HangUp,
    /// The runner is killed; the test process is not, and goes on.
    KillRunner,
    /// The runner's own time limit.
    Wait,
}

/// What its artifacts say afterwards.
#[derive(Clone, Copy)]
enum Files {
    /// There are none.
    Gone,
    /// The marker, and no report: nobody was there to write one.
    Marker,
    /// The report, with these words in it, and the marker.
    Report(&'static str, &'static str),
}

/// Whether the end is one in which code of the test process still runs, so that it reaps its guardians too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Orderly,
    Sudden,
}

fn check(runner: Runner, victim: &str, how: How, files: Files, end: End) {
    if runner.is_missing() {
        return;
    }
    let mut session = Session::start(runner, victim, matches!(how, How::Key | How::HangUp));
    let test = session.victim();
    let (guardians, others): (Vec<_>, Vec<_>) = Process::below(test.pid)
        .into_iter()
        .partition(Process::is_guardian);
    let qemus = others.iter().filter(|process| process.is_qemu()).count();
    assert_eq!(
        (guardians.len(), qemus),
        (MACHINES, MACHINES),
        "{}",
        names(&others)
    );
    // `sh` and `setsid -f -w` stay in front of theirs.
    assert_eq!(others.len(), MACHINES + 2, "{}", names(&others));

    match how {
        How::GoOn => drop(session.hold.take()),
        How::Signal(signal) => test.signal(signal),
        How::Key => session.terminal.as_mut().unwrap().type_in(b"\x03"),
        How::HangUp => drop(session.terminal.take().map(|terminal| terminal.hang_up())),
        How::KillRunner => {
            session.kill_runner();
            drop(session.hold.take());
        }
        How::Wait => {}
    }
    assert!(
        test.ends_by(from_now(END)),
        "the test hangs: {}",
        session.output()
    );
    all_gone(&others, &guardians, end);
    session.ended();

    let left = session.temporary_files();
    assert!(left.is_empty(), "temporary files are left: {left:?}");
    check_files(&mut session, files);
}

/// Checks that everything is gone within a second from now, zombies included.
fn all_gone(others: &[Process], guardians: &[Process], end: End) {
    let second = from_now(SECOND);
    let ended = Instant::now();
    for process in others.iter().chain(guardians) {
        let (pid, command) = (process.pid, &process.command);
        assert!(
            process.ends_by(second),
            "{pid} `{command}` is left after {:?}",
            ended.elapsed()
        );
    }
    // Whoever adopts orphans on this computer reaps a guardian that outlived its parent, in its own time.
    let orderly = guardians.iter().filter(|_| end == End::Orderly);
    for process in others.iter().chain(orderly) {
        let (pid, command) = (process.pid, &process.command);
        assert!(process.is_reaped(), "{pid} `{command}` is a zombie");
    }
}

fn check_files(session: &mut Session, expected: Files) {
    let files = session.artifacts();
    let read = |name: &str| {
        let found: Vec<_> = files.iter().filter(|file| file.ends_with(name)).collect();
        assert!(found.len() <= 1, "{found:?}");
        found.first().map(|file| fs::read_to_string(file).unwrap())
    };
    let (state, report) = (read("state"), read("report.txt"));
    let conversations = files.iter().filter(|file| file.ends_with("qmp.log")).count();
    match expected {
        Files::Gone => assert!(files.is_empty(), "files are left: {files:?}"),
        Files::Marker => {
            assert_eq!(state.as_deref(), Some("running\n"), "{files:?}");
            assert_eq!((report, conversations), (None, MACHINES), "{files:?}");
        }
        Files::Report(cause, marker) => {
            let report = report.unwrap_or_else(|| panic!("no report: {}\n{files:?}", session.output()));
            assert!(report.contains(cause), "{report}");
            // One launched later may be among them.
            assert!(report.matches("\n  machine `").count() >= MACHINES, "{report}");
            assert_eq!(state.as_deref(), Some(marker));
        }
    }
}

fn names(processes: &[Process]) -> String {
    let names: Vec<_> = processes.iter().map(|process| process.command.as_str()).collect();
    names.join("\n")
}

/// The cells that both runners have.
macro_rules! cells {
    ($($name:ident: $victim:literal, $how:expr, $files:expr, $end:ident;)*) => {
        mod under_cargo_test {
            use super::*;
            $(#[test]
            fn $name() {
                check(Runner::CargoTest, $victim, $how, $files, End::$end);
            })*
        }

        mod under_nextest {
            use super::*;
            $(#[test]
            fn $name() {
                check(Runner::Nextest, $victim, $how, $files, End::$end);
            })*

            #[test]
            fn the_runners_time_limit_leaves_nothing() {
                let files = Files::Report("was interrupted by SIGTERM", "interrupted\n");
                check(Runner::Nextest, "waits", How::Wait, files, End::Orderly);
            }
        }
    };
}

cells! {
    a_test_that_returns_leaves_nothing: "returns", How::GoOn, Files::Gone, Orderly;
    a_panic_leaves_nothing:
        "panics", How::GoOn, Files::Report("panicked: on purpose", "failed\n"), Orderly;
    an_error_leaves_nothing:
        "returns_an_error", How::GoOn, Files::Report("failed: on purpose", "failed\n"), Orderly;
    a_panic_in_another_thread_leaves_nothing:
        "panics_in_another_thread", How::GoOn, Files::Report("panicked: the other thread returns", "failed\n"), Orderly;
    an_exit_leaves_nothing: "exits", How::GoOn, Files::Marker, Orderly;
    an_abort_leaves_nothing: "aborts", How::GoOn, Files::Marker, Sudden;
    a_stack_overflow_leaves_nothing: "overflows_its_stack", How::GoOn, Files::Marker, Sudden;
    a_panic_while_panicking_leaves_nothing: "panics_while_panicking", How::GoOn, Files::Marker, Sudden;
    sigkill_leaves_nothing: "waits", How::Signal(Signal::KILL), Files::Marker, Sudden;
    sigterm_leaves_nothing:
        "waits", How::Signal(Signal::TERM), Files::Report("was interrupted by SIGTERM", "interrupted\n"), Orderly;
    sigint_leaves_nothing:
        "waits", How::Signal(Signal::INT), Files::Report("was interrupted by SIGINT", "interrupted\n"), Orderly;
    sighup_leaves_nothing:
        "waits", How::Signal(Signal::HUP), Files::Report("was interrupted by SIGHUP", "interrupted\n"), Orderly;
    ctrl_c_leaves_nothing:
        "waits", How::Key, Files::Report("was interrupted by SIGINT", "interrupted\n"), Orderly;
    a_terminal_that_is_closed_leaves_nothing:
        "waits", How::HangUp, Files::Report("was interrupted by SIGHUP", "interrupted\n"), Orderly;
    the_death_of_the_runner_leaves_nothing: "returns", How::KillRunner, Files::Gone, Orderly;
}
