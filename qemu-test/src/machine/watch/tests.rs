//! The order in which a watcher takes what has come, with a bare socket for the console: what comes together in the
//! one order or the other by chance, comes here in the one that matters.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use super::*;
use crate::guest::Terms;
use crate::process::Spec;
use crate::testing::{bare_console, scratch};

const LONG: Duration = Duration::from_secs(60);

/// A watcher without its thread, and the other end of its console.
fn watched(program: &[&str]) -> (Shared, UnixStream) {
    let (console, theirs, interrupt) = bare_console();
    let process = Process::spawn(Spec {
        argv: program.iter().map(Into::into).collect(),
        env: Vec::new(),
        cwd: None,
        output: scratch().into(),
        fds: Vec::new(),
        scratch: None,
    });
    let guest = GuestWatch::new(Terms::default()).unwrap();
    guest.listen(&console);
    let shared = Shared {
        epoll: epoll::create(CreateFlags::CLOEXEC).unwrap(),
        stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap(),
        processes: Processes::new(&Arc::new(process.unwrap())),
        interrupt,
        guest,
        consoles: vec![console],
        qtest: None,
        log: Box::new(|| "the log".to_owned()),
        client: OnceLock::new(),
    };
    (shared, theirs)
}

fn panicked() -> Event {
    Event {
        name: "GUEST_PANICKED".into(),
        data: json!({ "action": "poweroff" }),
        timestamp: None,
    }
}

fn death(shared: &Shared) -> crate::interrupt::Death {
    match shared.interrupt.cause() {
        Some(Cause::Guest(death)) => death,
        other => panic!("{other:?}"),
    }
}

const WORDS: &str = "Kernel panic - not syncing: x\nCall Trace:\n f+0x1/0x2\n";

#[test]
fn what_a_guest_said_is_taken_before_its_death_is_told() {
    let (shared, mut theirs) = watched(&["sleep", "60"]);
    theirs.write_all(WORDS.as_bytes()).unwrap();
    // Its panic device speaks through the monitor, which somebody else may have read by now.
    shared.guest.event(&panicked(), 0);
    shared.look_at_the_guest(false);
    let death = death(&shared);
    assert_eq!(death.reason, "the guest panicked: Kernel panic - not syncing: x");
    assert_eq!(death.output, WORDS.trim_end());
}

#[test]
fn what_a_guest_said_last_is_taken_before_the_end_of_qemu_is_told() {
    let (shared, mut theirs) = watched(&["true"]);
    theirs.write_all(WORDS.as_bytes()).unwrap();
    drop(theirs);
    assert!(shared.started().wait(Deadline::exactly(LONG)).is_some());
    shared.everything_ended(&mut State::default());
    assert_eq!(death(&shared).output, WORDS.trim_end());
}

#[test]
fn an_end_that_comes_together_with_the_order_to_stop_is_told() {
    let (shared, _theirs) = watched(&["false"]);
    assert!(shared.started().wait(Deadline::exactly(LONG)).is_some());
    shared.add(&shared.stop, STOP).unwrap();
    rustix::io::write(&shared.stop, &1u64.to_ne_bytes()).unwrap();
    shared.run();
    match shared.interrupt.cause() {
        Some(Cause::Exited { status, log }) => assert_eq!((status.code(), &*log), (Some(1), "the log")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_guest_that_goes_on_talking_does_not_hold_up_the_order_to_stop() {
    let (shared, theirs) = watched(&["sleep", "60"]);
    (&theirs).write_all(b"x\n").unwrap();
    let said = Arc::new(AtomicU32::new(0));
    // It says the next line whenever one is taken.
    shared.consoles[0].on_line({
        let said = Arc::clone(&said);
        move |_, _| {
            if said.fetch_add(1, Ordering::Relaxed) < 1000 {
                (&theirs).write_all(b"x\n").unwrap();
            }
        }
    });
    shared.add(&shared.stop, STOP).unwrap();
    rustix::io::write(&shared.stop, &1u64.to_ne_bytes()).unwrap();
    shared.run();
    assert!(shared.interrupt.cause().is_none());
    assert!(said.load(Ordering::Relaxed) < 100, "{said:?}");
}
