//! What ends a wait before its condition holds and before its deadline: the end of QEMU, the test's own time
//! limit, the death of the guest. One [`Interrupt`] belongs to each machine; every wait on the machine watches it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use crate::deadline::Deadline;
use crate::error::{Attempt, Disconnected, Error, Exited, GuestError, TimeoutError};

/// Why every wait on a machine ends now.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// QEMU ended.
    Exited { status: ExitStatus, log: String },
    /// The monitor ended, and QEMU did not within the time that this was given.
    Disconnected { reason: String },
    /// The time limit of the whole test passed.
    TestTimeout { limit: Duration },
    /// The guest died.
    #[expect(dead_code, reason = "for the watch over the guest, which is built on it")]
    Guest { reason: String, output: String },
}

/// A latch that ends all waits on one machine. It can be raised once; the first cause stays.
pub(crate) struct Interrupt {
    machine: String,
    /// Readable for ever once raised, for the waits that block in `poll(2)`.
    fd: OwnedFd,
    cause: OnceLock<Cause>,
    /// For the waits that block on a condition variable.
    sleepers: Mutex<Vec<Weak<dyn Wake>>>,
}

/// Something in which threads block on a condition variable.
pub(crate) trait Wake: Send + Sync {
    /// Wakes every thread that waits. It must take the lock that guards the condition first, or a thread between
    /// its check and its sleep would miss the call.
    fn wake(&self);
}

impl Interrupt {
    pub(crate) fn new(machine: impl Into<String>) -> std::io::Result<Arc<Self>> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Arc::new(Self {
            machine: machine.into(),
            fd,
            cause: OnceLock::new(),
            sleepers: Mutex::default(),
        }))
    }

    /// Has `sleeper` woken when the latch is raised.
    pub(crate) fn register(&self, sleeper: &Arc<impl Wake + 'static>) {
        let sleeper: Weak<dyn Wake> = Arc::downgrade(sleeper) as Weak<dyn Wake>;
        self.sleepers
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .push(sleeper);
    }

    /// Ends every wait. False where another cause came first.
    pub(crate) fn raise(&self, cause: Cause) -> bool {
        let first = self.cause.set(cause).is_ok();
        if first {
            // An eventfd refuses a write only when its counter would overflow, and this one is written once.
            let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
            for sleeper in self.sleepers.lock().unwrap_or_else(|e| e.into_inner()).iter() {
                if let Some(sleeper) = sleeper.upgrade() {
                    sleeper.wake();
                }
            }
        }
        first
    }

    pub(crate) fn cause(&self) -> Option<&Cause> {
        self.cause.get()
    }
}

impl AsFd for Interrupt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The terms of one wait: how long, what else may end it, and how to call it in an error.
#[derive(Clone, Copy)]
pub(crate) struct Wait<'a> {
    pub(crate) deadline: Deadline,
    /// `None` for what must work on a machine whose interrupt is raised: evidence and shutdown.
    pub(crate) interrupt: Option<&'a Interrupt>,
}

impl<'a> Wait<'a> {
    pub(crate) fn new(deadline: Deadline, interrupt: Option<&'a Interrupt>) -> Self {
        Self { deadline, interrupt }
    }

    /// The error that ends this wait now, if anything does: to be asked after the condition itself. `doing` reads on
    /// from "while": `waiting for the event STOP`; `seen` says what came instead.
    pub(crate) fn over(&self, doing: impl Fn() -> String, seen: impl Fn() -> String) -> Option<Error> {
        if let Some(cause) = self.interrupt.and_then(Interrupt::cause) {
            return Some(self.interrupted(cause, doing(), seen()));
        }
        if self.deadline.expired() {
            let limit = self.deadline.limit().unwrap_or_default();
            let attempt = self.attempt(doing());
            return Some(Error::Timeout(TimeoutError {
                attempt,
                limit,
                of_test: false,
                seen: seen(),
            }));
        }
        None
    }

    /// The error for a connection that ended under this wait.
    pub(crate) fn disconnected(&self, doing: String, reason: impl Into<String>) -> Error {
        Error::Disconnected(Disconnected {
            attempt: self.attempt(doing),
            reason: reason.into(),
        })
    }

    fn interrupted(&self, cause: &Cause, doing: String, seen: String) -> Error {
        let attempt = self.attempt(doing);
        match cause.clone() {
            Cause::Exited { status, log } => Error::Exited(Exited { attempt, status, log }),
            Cause::Disconnected { reason } => Error::Disconnected(Disconnected { attempt, reason }),
            Cause::TestTimeout { limit } => Error::Timeout(TimeoutError {
                attempt,
                limit,
                of_test: true,
                seen,
            }),
            Cause::Guest { reason, output } => Error::Guest(GuestError {
                attempt: Some(attempt),
                reason,
                output,
            }),
        }
    }

    pub(crate) fn attempt(&self, doing: String) -> Attempt {
        let machine = self.interrupt.map(|interrupt| interrupt.machine.clone());
        Attempt {
            doing,
            machine,
            lasted: self.deadline.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    #[test]
    fn the_first_cause_stays_and_the_descriptor_stays_readable() {
        let interrupt = Interrupt::new("vm").unwrap();
        let readable = || {
            let mut fds = [PollFd::new(&interrupt, PollFlags::IN)];
            poll(&mut fds, Some(&Default::default())).unwrap() == 1
        };
        assert!(!readable());
        assert!(interrupt.raise(Cause::TestTimeout {
            limit: Duration::from_secs(1)
        }));
        assert!(!interrupt.raise(Cause::Disconnected {
            reason: String::new()
        }));
        assert!(readable() && readable());
        assert!(matches!(interrupt.cause(), Some(Cause::TestTimeout { .. })));
    }
}
