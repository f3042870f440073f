//! A program and every process that comes of it: starting it, its end, and the proof that nothing is left. Knows
//! nothing of QEMU.
//!
//! Between the test process and the program stands a guardian: a fork of the test process that executes nothing
//! itself. It adopts whatever the program leaves behind, whichever session or group that went to, and kills it all
//! once it is told to or the test process is gone, be it by SIGKILL.
//!
//! What is no descendant of the program (a container's or systemd's own child) is out of its reach, and so is what
//! SIGKILL may not be sent to (`sudo`). Needs Linux 5.9.

mod children;
mod guardian;
mod handle;
mod plan;
mod protocol;
mod registry;
mod scratch;
pub(crate) mod signals;
mod sys;
mod tree;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::deadline::Deadline;
use handle::Guardian;
pub(crate) use tree::Survivor;

/// How long the rest of a tree may take to end by itself after the program's end: a tracer, a helper that sees its
/// socket closed, on a machine with other things to do. Only a tree that has something left waits this long.
const GRACE: Duration = Duration::from_secs(2);

/// How long the guardian may take to tell what the kernel has told already.
const GUARDIAN_LIMIT: Duration = Duration::from_secs(1);

/// How long `Drop` waits for the tree to be gone.
const DROP_LIMIT: Duration = Duration::from_secs(3);

/// What to start.
pub(crate) struct Spec {
    /// The program, looked for in the `PATH` of its own environment unless it has a slash, and its arguments.
    pub(crate) argv: Vec<OsString>,
    /// Changes to the environment of this process: a value, or `None` to remove the variable.
    pub(crate) env: Vec<(OsString, Option<OsString>)>,
    pub(crate) cwd: Option<PathBuf>,
    /// Where standard output and standard error go. Standard input is `/dev/null`.
    pub(crate) output: OwnedFd,
    /// More descriptors, each with the number it gets in the program: 3 or above, no number twice. The program has
    /// no others.
    pub(crate) fds: Vec<(OwnedFd, RawFd)>,
    pub(crate) scratch: Option<Scratch>,
}

/// A folder that belongs to the program. It is removed once the tree is gone: when it is empty then, or with all that
/// is in it where the test process has ended. The test process sees to the rest.
#[derive(Clone, Debug)]
pub(crate) struct Scratch {
    /// Absolute.
    pub(crate) path: PathBuf,
    /// Whether it is there. Where it is not, the guardian makes it, so that there is no moment at which nobody would
    /// remove it.
    pub(crate) made: bool,
}

/// A started program and its tree.
///
/// Dropping it kills what lives of the tree and waits for that, for a few seconds at most. Where no `Drop` runs, the
/// end of the test process does the same.
pub(crate) struct Process {
    pid: Pid,
    /// Of the program.
    pidfd: OwnedFd,
    guardian: Arc<Guardian>,
}

/// What was left of a tree after its program's end.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    /// What still lived, and was killed.
    pub(crate) survivors: Vec<Survivor>,
    /// What even SIGKILL has not ended in the time given: it hangs in the kernel, or belongs to another user.
    pub(crate) remaining: Vec<Survivor>,
    /// The guardian did not say that the tree is gone, and shows nothing either: somebody killed it, or it hangs.
    /// Nobody knows what is left.
    pub(crate) guardian_lost: bool,
}

impl Ending {
    /// Whether the tree was known to be gone without our killing anything.
    pub(crate) fn is_clean(&self) -> bool {
        self.survivors.is_empty() && self.remaining.is_empty() && !self.guardian_lost
    }
}

/// Has `hook` called when this process exits by `exit(3)`, before what still runs is killed. To be called once the
/// first program was started. The hook runs in forks of this process, too, unless they end in another way.
pub(crate) fn on_exit(hook: extern "C" fn()) -> bool {
    sys::at_exit(hook)
}

/// Kills what still runs and ends this process with `status`, from within its exit: no other hook is called.
pub(crate) fn exit_now(status: i32) -> ! {
    registry::close();
    registry::kill_all_and_reap();
    sys::exit_now(status)
}

impl Process {
    /// Starts the program, and returns once it executes.
    ///
    /// # Errors
    ///
    /// Those of `execve(2)` as they are (`NotFound`, `PermissionDenied`, `ENOEXEC`, ...); any other says which step
    /// failed. Nothing of a failed start is left.
    pub(crate) fn spawn(spec: Spec) -> io::Result<Self> {
        let (guardian, pid, pidfd) = handle::start(spec)?;
        Ok(Self { pid, pidfd, guardian })
    }

    /// The id of the started program: of the wrapper, where there is one.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Readable, for ever, once the started program has ended.
    pub(crate) fn ended_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Readable, for ever, once the whole tree is gone.
    pub(crate) fn gone_fd(&self) -> BorrowedFd<'_> {
        self.guardian.gone_fd()
    }

    /// How the started program ended; `None` while it runs.
    ///
    /// Where somebody killed the guardian, nobody could ask for the status: it is then given as SIGKILL, which is
    /// what the kernel sends the program in that case.
    pub(crate) fn try_status(&self) -> Option<ExitStatus> {
        if !readable_by(self.ended_fd(), Deadline::exactly(Duration::ZERO)) {
            return None;
        }
        self.guardian
            .status_by(self.pid, Deadline::exactly(GUARDIAN_LIMIT))
    }

    /// How a process of the tree has ended: the program itself, or one whose own parent ended before it, as a daemon's
    /// does. `None` for others.
    pub(crate) fn status_of(&self, pid: Pid) -> Option<ExitStatus> {
        self.guardian.status_of(pid, Deadline::exactly(GUARDIAN_LIMIT))
    }

    /// Waits for the end of the started program. `None` at the deadline.
    pub(crate) fn wait(&self, deadline: Deadline) -> Option<ExitStatus> {
        readable_by(self.ended_fd(), deadline);
        self.try_status()
    }

    /// Sends a signal to the started program. One that has ended takes no notice.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        signal_pidfd(self.pidfd.as_fd(), signal)
    }

    /// Sends a signal to another process of the tree: QEMU behind a wrapper.
    ///
    /// # Errors
    ///
    /// `NotFound` for a process that is not in the tree (any more): its id may be another's by now.
    pub(crate) fn signal_pid(&self, pid: Pid, signal: Signal) -> io::Result<()> {
        // First the hold on the process, then the question whose it is.
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| match errno {
            Errno::SRCH => not_in_tree(pid),
            other => other.into(),
        })?;
        if !tree::is_descendant(pid, self.guardian.pid()) {
            return Err(not_in_tree(pid));
        }
        signal_pidfd(pidfd.as_fd(), signal)
    }

    /// The processes of the tree that live now, the started program included.
    pub(crate) fn living(&self) -> Vec<Survivor> {
        if self.guardian.is_over() {
            return Vec::new();
        }
        tree::descendants(self.guardian.pid())
    }

    /// Has SIGKILL sent to every process of the tree, again until none is left. Does not wait for that.
    pub(crate) fn kill(&self) {
        self.guardian.order_kill();
        // Sooner, and also where the guardian is not there any more.
        let _ = self.signal(Signal::KILL);
    }

    /// Verifies, after the program's end, that nothing of its tree is left: what has not ended within a moment
    /// is named and killed. Bounded by the deadline.
    pub(crate) fn finish(&self, deadline: Deadline) -> Ending {
        let mut ending = Ending::default();
        if !self
            .guardian
            .gone_by(Deadline::exactly(GRACE).or_sooner(deadline))
        {
            ending.survivors = tree::descendants(self.guardian.pid());
            self.kill();
            if !self.guardian.gone_by(deadline) {
                ending.remaining = tree::descendants(self.guardian.pid());
                ending.guardian_lost = ending.remaining.is_empty();
                return ending;
            }
        }
        ending.guardian_lost = !self.guardian.reported_gone();
        // What is left to come is the guardian's own end, and that can wait for `Drop`.
        if self.guardian.is_over() {
            self.guardian.reap();
        }
        ending
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // In a fork of the test process this is only a copy: the machine is not the copy's to end.
        if !self.guardian.is_ours() || self.guardian.is_reaped() {
            return;
        }
        if !self.guardian.reported_gone() {
            self.kill();
        }
        if self.guardian.over_by(Deadline::exactly(DROP_LIMIT)) {
            self.guardian.reap();
        } else {
            log::error!(
                "process {} or one that it started has not died of SIGKILL within {DROP_LIMIT:?}: {:?}",
                self.pid,
                self.living()
            );
        }
    }
}

fn not_in_tree(pid: Pid) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("process {pid} is not one that this machine started"),
    )
}

fn signal_pidfd(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Waits until the descriptor is readable. False at the deadline.
pub(crate) fn readable_by(descriptor: BorrowedFd<'_>, deadline: Deadline) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    // Poll fails only for want of kernel memory; then the condition is looked at sooner than it need be.
    matches!(retry_on_intr(|| poll(&mut polled, deadline.timespec().as_ref())), Ok(n) if n > 0)
}
