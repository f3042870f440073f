//! What a machine consists of while it lives, and what is known of it: shared by the user's handle, the test that
//! it belongs to, and the report.

use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::ending::{Ending, How};
use super::parts::Parts;
use super::watch::Watcher;
use crate::console::Console;
use crate::deadline::Deadline;
use crate::interrupt::Cause;
use crate::qmp::Client;

/// How long the watcher of a machine may take to tell of its end.
const NEWS: Duration = Duration::from_secs(2);

/// A machine. It ends when [`end`](Inner::end) is called, at the latest when the last owner drops it.
pub(crate) struct Inner {
    pub(crate) parts: Parts,
    pub(crate) watcher: Watcher,
    pub(crate) client: Client,
    /// Held for as long as a shutdown takes: a second caller waits for the first one's result.
    pub(super) shutting_down: Mutex<()>,
    pub(super) ending: OnceLock<Ending>,
    /// Whether the test's body was given the exit status, so that it had the chance to check it.
    received: AtomicBool,
}

impl Inner {
    pub(super) fn new(parts: Parts, watcher: Watcher, client: Client) -> Arc<Self> {
        Arc::new(Self {
            parts,
            watcher,
            client,
            shutting_down: Mutex::new(()),
            ending: OnceLock::new(),
            received: AtomicBool::new(false),
        })
    }

    /// How the machine ended, if it has.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        self.watcher.processes().status()
    }

    /// Why every wait on a machine that has ended is over: its watcher says so within a moment.
    pub(super) fn why_it_ended(&self) -> Option<Cause> {
        let interrupt = &self.parts.interrupt;
        let deadline = Deadline::exactly(NEWS);
        while interrupt.cause().is_none() && self.ending().is_none() && !deadline.expired() {
            let mut fds = [PollFd::new(interrupt, PollFlags::IN)];
            let _ = poll(&mut fds, deadline.timespec().as_ref());
        }
        interrupt.cause()
    }

    /// Waits until the machine has ended by itself, the deadline is over, or a wait on the machine is pointless.
    pub(crate) fn await_end(&self, deadline: Deadline) {
        let interrupt = &self.parts.interrupt;
        while self.exit_status().is_none() && interrupt.cause().is_none() && !deadline.expired() {
            let mut fds = [PollFd::new(interrupt, PollFlags::IN)];
            let _ = poll(&mut fds, deadline.timespec().as_ref());
        }
    }

    /// How the machine ended, once it was shut down or found ended.
    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.ending.get()
    }

    pub(super) fn receive(&self, status: ExitStatus) -> ExitStatus {
        self.received.store(true, Ordering::Relaxed);
        status
    }

    pub(crate) fn was_received(&self) -> bool {
        self.received.load(Ordering::Relaxed)
    }

    /// The console of this name.
    pub(crate) fn console(&self, name: &str) -> Option<&Console> {
        self.parts.consoles.iter().find(|console| console.name() == name)
    }

    /// Where it comes from, for the report.
    pub(crate) fn notes(&self) -> Vec<String> {
        let notes = self.parts.notes.lock();
        notes.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says more about where it comes from.
    pub(crate) fn note(&self, note: String) {
        let notes = self.parts.notes.lock();
        notes.unwrap_or_else(PoisonError::into_inner).push(note);
    }

    pub(crate) fn log_tail(&self) -> String {
        self.parts
            .log
            .tail()
            .unwrap_or_else(|e| format!("[the log cannot be read: {e}]"))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Every ordinary way to end came past here already; this is for the ones that did not.
        self.end(How::Kill);
    }
}
