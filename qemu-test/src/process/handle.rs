//! The test process's end of a guardian: starting it, hearing its reports, its own end.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, pidfd_open, waitid};

use super::guardian::{Failure, Lines, Step, fork_guardian};
use super::plan::Plan;
use super::protocol::{Report, order_kill};
use super::{Spec, readable_by, registry, signal_pidfd};
use crate::deadline::Deadline;

/// How long a program may take from the fork to its exec, which reads it from its file system.
const EXEC_LIMIT: Duration = Duration::from_secs(30);

/// How long the remains of a failed start may take to go.
const CLEANUP_LIMIT: Duration = Duration::from_secs(3);

pub(super) struct Guardian {
    pid: Pid,
    pidfd: OwnedFd,
    socket: OwnedFd,
    /// The process that started it, and whose child it is.
    owner: Pid,
    /// See [`Spec::scratch`].
    scratch: Option<PathBuf>,
    heard: Mutex<Heard>,
}

/// What it has reported so far.
#[derive(Default)]
struct Heard {
    statuses: HashMap<i32, ExitStatus>,
    gone: bool,
    reaped: bool,
}

/// What it says of a process's end.
enum News {
    Ended(ExitStatus),
    NotYet,
    /// It has said its last word.
    Never,
}

/// A step of a start that failed before exec.
#[derive(Debug)]
struct StartError {
    doing: &'static str,
    source: io::Error,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.source)?;
        match self.source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::MFILE) => f.write_str("; the limit is RLIMIT_NOFILE (`ulimit -n`)"),
            Some(Errno::AGAIN) => {
                f.write_str("; the limit is RLIMIT_NPROC (`ulimit -u`) or a control group's")
            }
            Some(Errno::NOSYS) => f.write_str("; Linux 5.9 or newer is needed"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

fn while_doing(doing: &'static str) -> impl Fn(Errno) -> io::Error {
    move |errno| {
        let source = io::Error::from(errno);
        io::Error::new(source.kind(), StartError { doing, source })
    }
}

impl From<Failure> for io::Error {
    fn from(Failure { step, errno }: Failure) -> Self {
        let doing = match step {
            Step::Exec => return errno.into(),
            Step::Guardian => "set up the guardian of the process",
            Step::Fork => "fork the process",
            Step::Descriptors => "give the process its descriptors",
            Step::Folder => "enter the working directory",
            Step::Scratch => "make the folder for sockets",
        };
        while_doing(doing)(errno)
    }
}

/// Starts a program under a guardian of its own: the guardian, the program's id, and a pidfd of it.
pub(super) fn start(spec: Spec) -> io::Result<(Arc<Guardian>, Pid, OwnedFd)> {
    if registry::is_closed() {
        return Err(io::Error::new(
            io::ErrorKind::Interrupted,
            "this process is ending, and starts nothing any more",
        ));
    }
    let null = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(while_doing("open `/dev/null`"))?;
    let scratch = spec.scratch.as_ref().map(|scratch| scratch.path.clone());
    let mut plan = Plan::new(spec, null)?;
    let (socket, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(while_doing("make a socket for the guardian of the process"))?;
    let (failure, theirs_too) =
        pipe_with(PipeFlags::CLOEXEC).map_err(while_doing("make a pipe for the guardian of the process"))?;
    let test =
        pidfd_open(getpid(), PidfdFlags::empty()).map_err(while_doing("open a pidfd of this process"))?;
    let mut lines = Lines {
        socket: theirs,
        failure: theirs_too,
        test,
    };
    let pid =
        fork_guardian(&mut plan, &mut lines).map_err(while_doing("fork the guardian of the process"))?;
    // The other ends must be closed here for their ends of file to be seen, and the program's descriptors are its own.
    drop((plan, lines));

    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(errno) => {
            // The closed socket ends it, within its own patience.
            drop(socket);
            let _ = retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED));
            return Err(while_doing("open a pidfd of the guardian")(errno));
        }
    };
    let guardian = Arc::new(Guardian {
        pid,
        pidfd,
        socket,
        owner: getpid(),
        scratch,
        heard: Mutex::default(),
    });
    registry::add(&guardian);
    match guardian.introduction(failure) {
        Ok((pid, pidfd)) => Ok((guardian, pid, pidfd)),
        Err(e) => {
            guardian.order_kill();
            if guardian.over_by(Deadline::exactly(CLEANUP_LIMIT)) {
                guardian.reap();
            }
            Err(e)
        }
    }
}

impl Guardian {
    /// Waits until the program executes: its id and pidfd.
    fn introduction(&self, failure: OwnedFd) -> io::Result<(Pid, OwnedFd)> {
        if !readable_by(failure.as_fd(), Deadline::after(EXEC_LIMIT)) {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the program has not begun to execute within {EXEC_LIMIT:?}"),
            ));
        }
        let mut bytes = [0; Failure::LENGTH];
        match retry_on_intr(|| read(&failure, &mut bytes))? {
            0 => {}
            _ => return Err(Failure::decode(bytes).into()),
        }
        match Report::receive(self.socket.as_fd()) {
            Ok(Some((Report::Started { pid }, Some(pidfd)))) => match Pid::from_raw(pid) {
                Some(pid) => Ok((pid, pidfd)),
                None => Err(io::Error::other("the guardian reported no process")),
            },
            // The kernel leaves a descriptor out that there is no number for.
            Ok(Some((Report::Started { .. }, None))) => {
                Err(while_doing("receive a pidfd of the process")(Errno::MFILE))
            }
            Ok(_) => Err(io::Error::other(
                "the guardian of the process was killed before the program executed",
            )),
            Err(errno) => Err(while_doing("hear from the guardian of the process")(errno)),
        }
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    pub(super) fn gone_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Whether this process started it, and not one that this process is a fork of.
    pub(super) fn is_ours(&self) -> bool {
        self.owner == getpid()
    }

    pub(super) fn order_kill(&self) {
        if self.is_reaped() {
            return;
        }
        // A guardian that has ended has nothing left to kill; one that was stopped with the program's process group
        // must go on to hear this.
        let _ = order_kill(self.socket.as_fd());
        let _ = signal_pidfd(self.pidfd.as_fd(), Signal::CONT);
    }

    /// Takes in what it has reported.
    fn hear(&self) -> MutexGuard<'_, Heard> {
        let mut heard = self.lock();
        self.hear_into(&mut heard);
        heard
    }

    fn hear_into(&self, heard: &mut Heard) {
        while let Ok(Some((report, _))) = Report::receive(self.socket.as_fd()) {
            match report {
                Report::Started { .. } => {}
                Report::Ended { pid, status } => {
                    heard.statuses.insert(pid, ExitStatus::from_raw(status));
                }
                Report::Gone => heard.gone = true,
            }
        }
    }

    /// How the program ended, which the kernel says it has. `None` at the deadline.
    pub(super) fn status_by(&self, pid: Pid, deadline: Deadline) -> Option<ExitStatus> {
        match self.news_of(pid, deadline) {
            News::Ended(status) => Some(status),
            News::Never => Some(ExitStatus::from_raw(Signal::KILL.as_raw())),
            News::NotYet => None,
        }
    }

    /// How a process of the tree ended, which the kernel says it has. `None` at the deadline, and where somebody else
    /// is its parent.
    pub(super) fn status_of(&self, pid: Pid, deadline: Deadline) -> Option<ExitStatus> {
        match self.news_of(pid, deadline) {
            News::Ended(status) => Some(status),
            News::Never | News::NotYet => None,
        }
    }

    fn news_of(&self, pid: Pid, deadline: Deadline) -> News {
        // Held while waiting: what another thread heard meanwhile, this one would wait for in vain.
        let mut heard = self.lock();
        loop {
            // Asked first, because what it said it said before its end.
            let over = self.is_over();
            self.hear_into(&mut heard);
            if let Some(status) = heard.statuses.get(&pid.as_raw_pid()) {
                return News::Ended(*status);
            }
            if over || heard.gone {
                return News::Never;
            }
            if !readable_by(self.socket.as_fd(), deadline) || deadline.expired() {
                return News::NotYet;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it said at its end that the tree was gone.
    pub(super) fn reported_gone(&self) -> bool {
        self.hear().gone
    }

    /// Waits until it says that the tree is gone, or has ended without a word. False at the deadline.
    pub(super) fn gone_by(&self, deadline: Deadline) -> bool {
        loop {
            // Asked first, because what it said it said before its end.
            let over = self.is_over();
            if over || self.reported_gone() {
                return true;
            }
            // Its end closes the socket, which is readable for ever then.
            if !readable_by(self.socket.as_fd(), deadline) || deadline.expired() {
                return self.reported_gone();
            }
        }
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over_by(Deadline::exactly(Duration::ZERO))
    }

    /// Waits for its end. False at the deadline.
    pub(super) fn over_by(&self, deadline: Deadline) -> bool {
        readable_by(self.pidfd.as_fd(), deadline)
    }

    /// Takes notice of its end, so that the kernel forgets it.
    pub(super) fn reap(&self) {
        if self.is_reaped() {
            return;
        }
        let id = WaitId::PidFd(self.pidfd.as_fd());
        // It is somebody else's to reap where the test process ignores SIGCHLD or waits for all its children.
        let _ = retry_on_intr(|| waitid(id.clone(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG));
        self.lock().reaped = true;
    }

    /// Removes the folder of its program, which its owner will not come to remove.
    pub(super) fn remove_scratch(&self) {
        if let Some(folder) = &self.scratch {
            // It is gone where its owner has been here; and nobody is left to be told of anything else.
            let _ = std::fs::remove_dir_all(folder);
        }
    }

    pub(super) fn is_reaped(&self) -> bool {
        self.lock().reaped
    }
}
