//! The processes that a machine is: the one that was started and, behind a wrapper, QEMU itself.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitStatus;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::deadline::Deadline;
use crate::process::{Process, readable_by};

/// What a machine is to the system, and how it ended.
pub(super) struct Processes {
    started: Arc<Process>,
    /// QEMU, where it is not the process that was started, from its first word on.
    behind: OnceLock<Behind>,
    status: OnceLock<ExitStatus>,
}

struct Behind {
    pid: Pid,
    /// `None` where it had ended before it could be opened.
    fd: Option<OwnedFd>,
}

impl Processes {
    pub(super) fn new(started: &Arc<Process>) -> Self {
        Self {
            started: Arc::clone(started),
            behind: OnceLock::new(),
            status: OnceLock::new(),
        }
    }

    /// The process that was started.
    pub(super) fn started(&self) -> &Process {
        &self.started
    }

    /// Hears which process QEMU is, and gives what tells of its end where that is another than the one started.
    pub(super) fn qemu_is(&self, pid: Pid) -> io::Result<Option<BorrowedFd<'_>>> {
        if pid == self.started.pid() {
            return Ok(None);
        }
        let fd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => Some(fd),
            Err(Errno::SRCH) => None,
            Err(errno) => return Err(errno.into()),
        };
        Ok(self
            .behind
            .get_or_init(|| Behind { pid, fd })
            .fd
            .as_ref()
            .map(AsFd::as_fd))
    }

    /// QEMU behind a wrapper.
    pub(super) fn behind(&self) -> Option<BorrowedFd<'_>> {
        self.behind.get()?.fd.as_ref().map(AsFd::as_fd)
    }

    /// Those that have not ended. Each is readable once it has.
    pub(super) fn living(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [Some(self.started.ended_fd()), self.behind()]
            .into_iter()
            .flatten()
            .filter(|process| !readable(process))
    }

    /// Whether QEMU is known to run, on its own where its wrapper has ended.
    pub(super) fn qemu_lives(&self) -> bool {
        self.behind().is_some_and(|qemu| !readable(&qemu))
    }

    /// The one that runs while the monitor does not: QEMU's wrapper, or QEMU where that has ended.
    pub(super) fn remaining(&self) -> Pid {
        let behind = self.behind.get().filter(|_| readable(&self.started.ended_fd()));
        behind.map_or(self.started.pid(), |behind| behind.pid)
    }

    /// How the machine ended, if it has. A wrapper that put QEMU into the background and ended is not its end: then it
    /// is QEMU's status that counts.
    pub(super) fn status(&self) -> Option<ExitStatus> {
        if let Some(status) = self.status.get() {
            return Some(*status);
        }
        let of_started = self.started.try_status()?;
        if self.qemu_lives() {
            return None;
        }
        let of_qemu = self
            .behind
            .get()
            .and_then(|behind| self.started.status_of(behind.pid));
        Some(*self.status.get_or_init(|| of_qemu.unwrap_or(of_started)))
    }

    /// Blocks until all have ended; false when the deadline comes first.
    pub(super) fn have_ended_by(&self, deadline: Deadline) -> bool {
        while let Some(process) = self.living().next() {
            if !readable_by(process, deadline) {
                return false;
            }
        }
        true
    }
}

/// Whether the descriptor is readable now.
pub(super) fn readable(fd: &impl AsFd) -> bool {
    readable_by(fd.as_fd(), Deadline::exactly(Duration::ZERO))
}
