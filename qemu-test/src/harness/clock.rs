//! The time of a test.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::deadline::Deadline;

/// Runs until the test's deadline or the end of its body, and stands still for what is not the test's own.
pub(super) struct Clock {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Whether the body has returned.
    finished: bool,
    deadline: Deadline,
    /// What the clock stands still for, with the limit of that.
    aside: Vec<(Deadline, String)>,
}

/// A limit that has passed, with what it was the limit of where that is not the test.
pub(super) struct Over {
    pub(super) limit: Duration,
    pub(super) doing: Option<String>,
}

impl Clock {
    /// A clock that runs until `deadline`.
    pub(super) fn new(deadline: Deadline) -> Self {
        Self {
            state: Mutex::new(State {
                finished: false,
                deadline,
                aside: Vec::new(),
            }),
            changed: Condvar::new(),
        }
    }

    /// When the time is over, as things stand.
    pub(super) fn deadline(&self) -> Deadline {
        self.lock().deadline
    }

    /// Says that the body has returned.
    pub(super) fn finish(&self) {
        self.lock().finished = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Stops the clock. What it stands still for may last for `limit`, by the scale of all limits.
    pub(super) fn set_aside(&self, limit: Duration, doing: &str) {
        self.lock().aside.push((Deadline::after(limit), doing.to_owned()));
        self.changed.notify_all();
    }

    /// Starts it again.
    pub(super) fn resume(&self) {
        let mut state = self.lock();
        if let Some((aside, _)) = state.aside.pop() {
            let outer = match state.aside.last_mut() {
                Some((outer, _)) => outer,
                None => &mut state.deadline,
            };
            *outer = outer.postponed(aside.elapsed());
        }
        self.changed.notify_all();
    }

    /// Waits until the body has returned: `None`, or until the limit that counts has passed.
    pub(super) fn wait(&self) -> Option<Over> {
        let mut state = self.lock();
        loop {
            if state.finished {
                return None;
            }
            let (deadline, doing) = match state.aside.last() {
                Some((deadline, doing)) => (*deadline, Some(doing)),
                None => (state.deadline, None),
            };
            if deadline.expired() {
                return Some(Over {
                    limit: deadline.limit().unwrap_or_default(),
                    doing: doing.cloned(),
                });
            }
            state = self.sleep(state, deadline);
        }
    }

    /// Waits until the body has returned; false when the deadline comes first.
    pub(super) fn wait_finished(&self, deadline: Deadline) -> bool {
        let mut state = self.lock();
        while !state.finished && !deadline.expired() {
            state = self.sleep(state, deadline);
        }
        state.finished
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State>, deadline: Deadline) -> MutexGuard<'a, State> {
        let left = deadline.remaining().unwrap_or(Duration::MAX);
        let woken = self.changed.wait_timeout(state, left);
        woken.unwrap_or_else(|e| e.into_inner()).0
    }
}
