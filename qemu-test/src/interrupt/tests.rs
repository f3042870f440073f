//! Which cause ends the waits, in whatever order they come.

use super::*;
use rustix::event::{PollFd, PollFlags, poll};

fn readable(interrupt: &Interrupt) -> bool {
    let mut fds = [PollFd::new(interrupt, PollFlags::IN)];
    poll(&mut fds, Some(&Default::default())).unwrap() == 1
}

fn death(kind: DeathKind) -> Cause {
    Cause::Guest(Death {
        kind,
        event: 1,
        reason: "the guest died".into(),
        output: String::new(),
    })
}

fn second(kind: DeathKind) -> Cause {
    match death(kind) {
        Cause::Guest(death) => Cause::Guest(Death { event: 2, ..death }),
        other => other,
    }
}

fn test_timeout() -> Cause {
    Cause::TestTimeout {
        limit: Duration::from_secs(1),
        ended: EndedWaits::now(),
    }
}

fn exited() -> Cause {
    Cause::Exited {
        status: ExitStatus::default(),
        log: String::new(),
    }
}

#[test]
fn the_first_cause_stays_and_the_descriptor_stays_readable() {
    let interrupt = Interrupt::new("vm").unwrap();
    assert!(!readable(&interrupt));
    assert!(interrupt.raise(test_timeout()));
    assert!(!interrupt.raise(exited()) && !interrupt.raise(death(DeathKind::Panic)));
    assert!(readable(&interrupt) && readable(&interrupt));
    interrupt.event_taken("GUEST_PANICKED");
    assert!(matches!(interrupt.cause(), Some(Cause::TestTimeout { .. })) && readable(&interrupt));
}

#[test]
fn a_test_that_takes_the_event_of_a_death_goes_on_until_qemu_ends() {
    let interrupt = Interrupt::new("vm").unwrap();
    interrupt.raise(death(DeathKind::End));
    interrupt.event_taken("RESUME");
    assert!(matches!(interrupt.cause(), Some(Cause::Guest(_))));
    interrupt.event_taken("SHUTDOWN");
    assert!(interrupt.cause().is_none() && !readable(&interrupt));

    interrupt.raise(second(DeathKind::End));
    interrupt.raise(exited());
    assert!(matches!(interrupt.cause(), Some(Cause::Guest(_))));
    interrupt.event_taken("SHUTDOWN");
    assert!(matches!(interrupt.cause(), Some(Cause::Exited { .. })) && readable(&interrupt));
}

#[test]
fn the_limit_of_the_test_ends_its_waits_even_when_it_has_taken_notice_of_a_death() {
    let interrupt = Interrupt::new("vm").unwrap();
    interrupt.raise(death(DeathKind::Panic));
    interrupt.raise(test_timeout());
    // The machine is killed then, which is not what is to be told.
    interrupt.raise(exited());
    interrupt.event_taken("GUEST_PANICKED");
    assert!(matches!(interrupt.cause(), Some(Cause::TestTimeout { .. })) && readable(&interrupt));
}

#[test]
fn a_death_whose_event_was_taken_first_ends_no_wait() {
    let interrupt = Interrupt::new("vm").unwrap();
    interrupt.event_taken("SHUTDOWN");
    assert!(!interrupt.raise(death(DeathKind::End)) && interrupt.cause().is_none());
    assert!(interrupt.raise(second(DeathKind::End)), "the next one is another");
}

#[test]
fn a_death_that_is_waited_for_ends_no_wait_before_that_one_is_over() {
    let interrupt = Interrupt::new("vm").unwrap();
    let first = interrupt.await_death(DeathKind::Panic);
    let second = interrupt.await_death(DeathKind::Panic);
    interrupt.raise(death(DeathKind::Panic));
    drop(first);
    assert!(interrupt.cause().is_none());
    drop(second);
    assert!(matches!(interrupt.cause(), Some(Cause::Guest(_))));

    let interrupt = Interrupt::new("vm").unwrap();
    let awaiting = interrupt.await_death(DeathKind::Panic);
    interrupt.raise(death(DeathKind::Panic));
    interrupt.event_taken("GUEST_PANICKED");
    drop(awaiting);
    assert!(interrupt.cause().is_none());

    let awaiting = interrupt.await_death(DeathKind::Panic);
    assert!(interrupt.raise(death(DeathKind::End)));
    drop(awaiting);
}
