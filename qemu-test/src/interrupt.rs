//! What ends a wait before its condition holds and before its deadline: the end of QEMU, the test's own time
//! limit, the death of the guest. One [`Interrupt`] belongs to each machine; every wait on the machine watches it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

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
    TestTimeout {
        limit: Duration,
        /// Where the waits that this ends are noted, for the report.
        ended: Arc<EndedWaits>,
    },
    /// The guest died. Unlike the others, a test may take notice of this, and go on with a QEMU that runs.
    Guest(Death),
}

impl Cause {
    /// Whether it is what somebody waits for who waits for the machine to end.
    pub(crate) fn is_the_end(&self) -> bool {
        match self {
            Self::Exited { .. } | Self::Disconnected { .. } => true,
            // A guest that powers off.
            Self::Guest(death) => death.kind == DeathKind::End,
            Self::TestTimeout { .. } => false,
        }
    }
}

/// The death of a guest.
#[derive(Clone, Debug)]
pub(crate) struct Death {
    pub(crate) kind: DeathKind,
    /// Which event of its kind tells of it, counted from 1 on.
    pub(crate) event: u64,
    /// What happened, in one sentence: `the guest powered off`.
    pub(crate) reason: String,
    /// The guest's own words.
    pub(crate) output: String,
}

/// The ways in which a guest dies, as far as waits can be for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeathKind {
    /// Its kernel, or its firmware, says that it will not go on.
    Panic,
    /// It powered off, or reset on a machine that ends then.
    End,
    /// It resets itself again and again.
    ResetLoop,
    /// It stands still and waits for a person, or was stopped by its watchdog.
    Stop,
}

impl DeathKind {
    /// The kind that the event called `name` tells of. A test that takes the event knows.
    pub(crate) fn of_event(name: &str) -> Option<Self> {
        match name {
            "GUEST_PANICKED" => Some(Self::Panic),
            "SHUTDOWN" => Some(Self::End),
            "RESET" => Some(Self::ResetLoop),
            "WATCHDOG" => Some(Self::Stop),
            _ => None,
        }
    }
}

/// What was being waited for when the time limit of the test passed.
#[derive(Debug)]
pub(crate) struct EndedWaits {
    passed: Instant,
    waits: Mutex<Vec<String>>,
}

impl EndedWaits {
    /// More than that many tell nothing more: a body that goes on after its first error may wait again and again.
    const KEPT: usize = 3;

    /// None so far; the limit passes at this moment.
    pub(crate) fn now() -> Arc<Self> {
        Arc::new(Self {
            passed: Instant::now(),
            waits: Mutex::default(),
        })
    }

    fn note(&self, attempt: &Attempt) {
        // What began later was not waited for when the limit passed; and who has no name for it asks for another.
        if attempt.lasted < self.passed.elapsed() || attempt.doing.is_empty() {
            return;
        }
        let mut waits = self.waits.lock().unwrap_or_else(|e| e.into_inner());
        let wait = match &attempt.machine {
            Some(machine) => format!("{} (machine `{machine}`)", attempt.doing),
            None => attempt.doing.clone(),
        };
        if waits.len() < Self::KEPT && !waits.contains(&wait) {
            waits.push(wait);
        }
    }

    /// The first few, in words that follow on "while".
    pub(crate) fn all(&self) -> Vec<String> {
        self.waits.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

/// A latch that ends all waits on one machine. The first cause stays; only the death of the guest can be taken back.
pub(crate) struct Interrupt {
    machine: String,
    /// Readable once raised, for the waits that block in `poll(2)`.
    fd: OwnedFd,
    raised: AtomicBool,
    state: Mutex<State>,
    /// For the waits that block on a condition variable.
    sleepers: Mutex<Vec<Weak<dyn Wake>>>,
    /// How often a wait on the machine has brought what it was for.
    progress: AtomicU64,
    /// Whether a wait of the test was ended by the death of the guest.
    told_of_death: AtomicBool,
}

#[derive(Default)]
struct State {
    cause: Option<Cause>,
    /// What came while the guest was dead.
    next: Option<Cause>,
    /// The deaths that somebody waits for at this moment.
    awaited: Vec<DeathKind>,
    /// A death that is awaited.
    held: Option<Death>,
    /// How many events of each kind the test has taken. It may take one before the death that it tells of is raised.
    taken: [u64; 4],
}

impl State {
    fn is_known(&self, death: &Death) -> bool {
        self.taken[death.kind as usize] >= death.event
    }
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
            raised: AtomicBool::new(false),
            state: Mutex::default(),
            sleepers: Mutex::default(),
            progress: AtomicU64::new(0),
            told_of_death: AtomicBool::new(false),
        }))
    }

    /// Has `sleeper` woken when the latch is raised.
    pub(crate) fn register(&self, sleeper: &Arc<impl Wake + 'static>) {
        let sleeper: Weak<dyn Wake> = Arc::downgrade(sleeper) as Weak<dyn Wake>;
        self.sleepers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(sleeper);
    }

    /// Ends every wait. False where another cause came first.
    pub(crate) fn raise(&self, cause: Cause) -> bool {
        let mut state = self.state();
        match (&state.cause, cause) {
            (_, Cause::Guest(death)) if state.is_known(&death) => return false,
            (None, Cause::Guest(death)) if state.awaited.contains(&death.kind) => {
                state.held.get_or_insert(death);
                return false;
            }
            (None, cause) => state.cause = Some(cause),
            (Some(Cause::Guest(_)), Cause::Guest(_)) => return false,
            // It ends the waits once the test has taken notice of the death.
            (Some(Cause::Guest(_)), cause) => {
                state.next.get_or_insert(cause);
                return false;
            }
            (Some(_), _) => return false,
        }
        self.raised.store(true, Ordering::Release);
        // An eventfd refuses a write only when its counter would overflow, and this one is at zero.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
        drop(state);
        self.wake();
        true
    }

    fn wake(&self) {
        let sleepers = self.sleepers.lock().unwrap_or_else(PoisonError::into_inner);
        for sleeper in sleepers.iter().filter_map(Weak::upgrade) {
            sleeper.wake();
        }
    }

    /// Why every wait ends now, if it does.
    pub(crate) fn cause(&self) -> Option<Cause> {
        if !self.raised.load(Ordering::Acquire) {
            return None;
        }
        self.state().cause.clone()
    }

    /// A death of this kind is what the caller waits for, and ends no wait before the guard is gone.
    pub(crate) fn await_death(&self, kind: DeathKind) -> Awaiting<'_> {
        self.state().awaited.push(kind);
        Awaiting {
            interrupt: self,
            kind,
        }
    }

    /// The test has taken the event called `name`. The death that it tells of is the test's own affair from now on.
    pub(crate) fn event_taken(&self, name: &str) {
        self.made_progress();
        let Some(kind) = DeathKind::of_event(name) else {
            return;
        };
        let mut state = self.state();
        state.taken[kind as usize] += 1;
        match &state.cause {
            Some(Cause::Guest(death)) if state.is_known(death) => {}
            _ => return,
        }
        state.cause = state.next.take();
        if state.cause.is_none() {
            self.raised.store(false, Ordering::Release);
            let _ = rustix::io::read(&self.fd, &mut [0; 8]);
        }
    }

    /// A wait has brought what it was for: the test and its machine get on.
    pub(crate) fn made_progress(&self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> u64 {
        self.progress.load(Ordering::Relaxed)
    }

    /// Whether a wait of the test was ended by the death of the guest.
    pub(crate) fn told_of_death(&self) -> bool {
        self.told_of_death.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody waits for the guest's death.
pub(crate) struct Awaiting<'a> {
    interrupt: &'a Interrupt,
    kind: DeathKind,
}

impl Drop for Awaiting<'_> {
    fn drop(&mut self) {
        let mut state = self.interrupt.state();
        if let Some(position) = state.awaited.iter().position(|kind| *kind == self.kind) {
            state.awaited.swap_remove(position);
        }
        let awaited = state.awaited.contains(&self.kind);
        let held = state.held.take_if(|death| death.kind == self.kind && !awaited);
        drop(state);
        if let Some(death) = held {
            self.interrupt.raise(Cause::Guest(death));
        }
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

    /// Whether anything ends this wait now. [`over`](Self::over) says what, and that the test was told.
    pub(crate) fn is_over(&self) -> bool {
        self.interrupt
            .is_some_and(|interrupt| interrupt.cause().is_some())
            || self.deadline.expired()
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

    fn interrupted(&self, cause: Cause, doing: String, seen: String) -> Error {
        let attempt = self.attempt(doing);
        match cause {
            Cause::Exited { status, log } => Error::Exited(Exited { attempt, status, log }),
            Cause::Disconnected { reason } => Error::Disconnected(Disconnected { attempt, reason }),
            Cause::TestTimeout { limit, ended } => {
                ended.note(&attempt);
                Error::Timeout(TimeoutError {
                    attempt,
                    limit,
                    of_test: true,
                    seen,
                })
            }
            Cause::Guest(death) => {
                if let Some(interrupt) = self.interrupt {
                    interrupt.told_of_death.store(true, Ordering::Relaxed);
                }
                Error::Guest(GuestError {
                    attempt: Some(attempt),
                    reason: death.reason,
                    output: death.output,
                })
            }
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
mod tests;
