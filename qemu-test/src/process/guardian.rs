//! What runs after the fork: the guardian, and the program's process until exec.
//!
//! The guardian stands between the test process and the program. It is the parent that all orphans of the program's
//! tree come to (`PR_SET_CHILD_SUBREAPER`), so that no session, process group, or daemon's double fork hides one from
//! it: when it has no children left, the tree is gone. It kills the tree when it is told to, and when the test process
//! ends, in whatever way: it watches both a socket, which also an exec closes, and a pidfd of the test process, which
//! no forked sibling keeps alive. Then it also removes the program's folder, which nobody else is left to do.
//!
//! Only system calls here: another thread of the test process may have held any lock at the fork.

#![expect(unsafe_code, reason = "two forks, each with its reason")]

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, Result, write};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, getppid, kill_process, pidfd_open, set_child_subreaper,
    set_parent_process_death_signal, setpgid,
};

use super::children::each_child;
use super::plan::Plan;
use super::protocol::{Order, Report, take_order};
use super::scratch;
use super::sys::{self, SignalSet};

/// How often a kill is repeated while it has not shown: a process may have forked while its siblings were killed.
const REPEAT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// How long the guardian outlives the test process at most, for a process that does not die of SIGKILL: one in an
/// uninterruptible system call, one of another user.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many ends of adopted processes are reported: the program's own must find room in the socket, though nobody may
/// read it and a script may leave thousands behind.
const ADOPTED_LIMIT: usize = 64;

/// The guardian's ends of what connects it to the test process.
pub(super) struct Lines {
    /// Reports and orders.
    pub(super) socket: OwnedFd,
    /// A [`Failure`] is written to it; exec closes it.
    pub(super) failure: OwnedFd,
    /// A pidfd of the test process.
    pub(super) test: OwnedFd,
}

/// The step of a start that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Guardian,
    Fork,
    Descriptors,
    Folder,
    Scratch,
    Exec,
}

/// Why there is no program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) errno: Errno,
}

impl Failure {
    pub(super) const LENGTH: usize = 8;

    fn encode(self) -> [u8; Self::LENGTH] {
        let [a, b, c, d] = (self.step as i32).to_ne_bytes();
        let [e, f, g, h] = self.errno.raw_os_error().to_ne_bytes();
        [a, b, c, d, e, f, g, h]
    }

    pub(super) fn decode(bytes: [u8; Self::LENGTH]) -> Self {
        let [a, b, c, d, e, f, g, h] = bytes;
        let steps = [
            Step::Guardian,
            Step::Fork,
            Step::Descriptors,
            Step::Folder,
            Step::Scratch,
        ];
        let step = i32::from_ne_bytes([a, b, c, d]);
        Self {
            step: steps
                .into_iter()
                .find(|&known| known as i32 == step)
                .unwrap_or(Step::Exec),
            errno: Errno::from_raw_os_error(i32::from_ne_bytes([e, f, g, h])),
        }
    }
}

/// Ends the process instead of letting a panic unwind into the copy of the test.
struct ExitOnUnwind;

impl Drop for ExitOnUnwind {
    fn drop(&mut self) {
        sys::exit_now(127);
    }
}

/// Forks the guardian, which forks the program. Returns in the test process only.
pub(super) fn fork_guardian(plan: &mut Plan, lines: &mut Lines) -> Result<Pid> {
    // Nothing may interrupt the guardian between the fork and its first step, above all no handler of the test's.
    let mask = SignalSet::all().block();
    // SAFETY: the copy goes to `guard`, which makes system calls only and never returns.
    let forked = unsafe { sys::fork() };
    if forked == Ok(None) {
        guard(plan, lines);
    }
    mask.block();
    // `None` went to `guard`.
    forked.and_then(|pid| pid.ok_or(Errno::CHILD))
}

fn report(lines: &Lines, failure: Failure) {
    // A test process that does not listen any more is dead.
    let _ = write(&lines.failure, &failure.encode());
}

fn guard(plan: &mut Plan, lines: &mut Lines) -> ! {
    let _exit = ExitOnUnwind;
    let (child_ended, program) = match begin(plan, lines) {
        Ok(begun) => begun,
        Err(failure) => {
            report(lines, failure);
            sys::exit_now(127)
        }
    };
    let settled = settle(lines, &child_ended, program);
    if let Err(errno) = settled {
        let step = Step::Guardian;
        report(lines, Failure { step, errno });
    }
    let orphaned = watch(lines, &child_ended, program, settled.is_err());
    match &plan.scratch {
        Some(folder) if orphaned => scratch::remove(folder),
        // The test process may be killed between now and the moment when it would do so.
        Some(folder) => scratch::remove_if_empty(folder),
        None => {}
    }
    sys::exit_now(0)
}

/// Makes this process the guardian and forks the program: the descriptor that tells of children's ends, and its id.
fn begin(plan: &mut Plan, lines: &mut Lines) -> std::result::Result<(OwnedFd, Pid), Failure> {
    let at = |step| move |errno| Failure { step, errno };
    let _ = rustix::thread::set_name(c"qemu-test-guard");
    // Ctrl-C, or a runner's signals to the test's process group, are the test process's to act on. A group and not a
    // session, because the kernel schedules by session (autogroup): `nice` would count against nobody. The program
    // stays in this group without leading it, or `setsid` would have to fork.
    setpgid(None, None).map_err(at(Step::Guardian))?;
    set_child_subreaper(Some(getpid())).map_err(at(Step::Guardian))?;
    // A parent that ignores this signal has no children to wait for.
    sys::set_default(libc::SIGCHLD);
    let child_ended = SignalSet::only(libc::SIGCHLD)
        .descriptor()
        .map_err(at(Step::Guardian))?;

    if plan.makes_scratch
        && let Some(folder) = &plan.scratch
    {
        scratch::make(folder).map_err(at(Step::Scratch))?;
    }
    let guardian = getpid();
    // SAFETY: the copy goes to `become_program`, which makes system calls only and never returns.
    match unsafe { sys::fork() } {
        Ok(None) => become_program(plan, lines, guardian),
        Ok(Some(program)) => Ok((child_ended, program)),
        Err(errno) => {
            if let Some(folder) = &plan.scratch {
                scratch::remove_if_empty(folder);
            }
            Err(at(Step::Fork)(errno))
        }
    }
}

/// Introduces the program to the test process, and lets go of what a guardian does not need.
fn settle(lines: &Lines, child_ended: &OwnedFd, program: Pid) -> Result<()> {
    // Nobody else waits for this child, so that its id stays its own until then.
    let pidfd = pidfd_open(program, PidfdFlags::empty())?;
    let started = Report::Started {
        pid: program.as_raw_pid(),
    };
    started.send(lines.socket.as_fd(), Some(pidfd.as_fd()))?;
    // Closed by its owner, before everything that has none is.
    drop(pidfd);
    // A folder that somebody works in cannot be unmounted.
    let _ = rustix::process::chdir(c"/");
    let mut kept = [&lines.socket, &lines.test, child_ended].map(|fd| fd.as_raw_fd());
    kept.sort_unstable();
    // The last step, because it closes the line for failures as well: the test process waits for that.
    sys::close_all_except(&kept)
}

/// The rest of the way to the program's exec.
fn become_program(plan: &mut Plan, lines: &mut Lines, guardian: Pid) -> ! {
    let _exit = ExitOnUnwind;
    let failure = exec(plan, lines, guardian);
    report(lines, failure);
    sys::exit_now(127)
}

fn exec(plan: &mut Plan, lines: &mut Lines, guardian: Pid) -> Failure {
    if let Err(failure) = prepare(plan, lines, guardian) {
        return failure;
    }
    // As `execvp(3)`: the first file that is there wins, one that may not be executed is remembered.
    let mut errno = Errno::NOENT;
    for candidate in &plan.candidates {
        match sys::execve(candidate, &plan.argv, &plan.envp) {
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => errno = Errno::ACCESS,
            other => {
                errno = other;
                break;
            }
        }
    }
    Failure {
        step: Step::Exec,
        errno,
    }
}

/// Everything that the program inherits from its process.
fn prepare(plan: &mut Plan, lines: &mut Lines, guardian: Pid) -> std::result::Result<(), Failure> {
    let at = |step| move |errno| Failure { step, errno };
    // Should the guardian itself be killed, then the program at least does not stay.
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(at(Step::Guardian))?;
    if getppid() != Some(guardian) {
        return Err(at(Step::Guardian)(Errno::CHILD));
    }
    install_descriptors(plan, lines).map_err(at(Step::Descriptors))?;
    if let Some(cwd) = &plan.cwd {
        rustix::process::chdir(cwd.as_c_str()).map_err(at(Step::Folder))?;
    }
    sys::reset_handlers();
    SignalSet::empty().block();
    Ok(())
}

/// Gives each descriptor its number, and closes all others. The line for failures goes above them first, so that no
/// number hits it, and so does each descriptor, because one's number may be another's old place.
fn install_descriptors(plan: &mut Plan, lines: &mut Lines) -> Result<()> {
    let above = plan.above();
    lines.failure = sys::duplicate_owned_from(&lines.failure, above)?;
    for each in &mut plan.moves {
        each.aside = sys::duplicate_from(each.source, above)?;
    }
    for each in &plan.moves {
        sys::duplicate_to(each.aside, each.target)?;
    }
    plan.kept.push(lines.failure.as_raw_fd());
    sys::close_all_except(&plan.kept)
}

/// The guardian's life: until its tree is gone. True where the test process had ended before that.
fn watch(lines: &Lines, child_ended: &OwnedFd, program: Pid, mut killing: bool) -> bool {
    let mut children = Children {
        program: Some(program),
        adopted: 0,
    };
    let mut orphaned: Option<Instant> = None;
    loop {
        if orphaned.is_none() {
            wait([&lines.socket, &lines.test, child_ended], killing);
            match take_order(lines.socket.as_fd()) {
                Order::Nothing => {}
                Order::Kill => killing = true,
                Order::Orphaned => orphaned = Some(Instant::now()),
            }
            if is_readable(&lines.test) {
                orphaned = Some(Instant::now());
            }
        } else {
            // Both lifelines are readable for ever now.
            wait([child_ended], true);
        }
        while sys::take_signal(child_ended) {}
        if !children.reap(lines) {
            // A test process that does not listen any more learns it from the guardian's end.
            let _ = Report::Gone.send(lines.socket.as_fd(), None);
            return orphaned.is_some();
        }
        if killing || orphaned.is_some() {
            children.kill();
        }
        if orphaned.is_some_and(|since| since.elapsed() > PATIENCE) {
            return true;
        }
    }
}

fn wait<const N: usize>(descriptors: [&OwnedFd; N], killing: bool) {
    let mut polled = descriptors.map(|fd| PollFd::new(fd, PollFlags::IN));
    // An interrupted or failed poll only makes the next look at everything come sooner.
    let _ = poll(&mut polled, killing.then_some(&REPEAT));
}

fn is_readable(descriptor: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(descriptor, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())) == Ok(1)
}

/// The guardian's children: the program, and what it has adopted.
struct Children {
    /// The program, until it has been reaped.
    program: Option<Pid>,
    /// How many others have been reaped.
    adopted: usize,
}

impl Children {
    /// Reaps every child that has ended. False once there are no children, dead or alive.
    fn reap(&mut self, lines: &Lines) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if self.is_to_be_reported(pid) {
                        let ended = Report::Ended {
                            pid: pid.as_raw_pid(),
                            status: status.as_raw(),
                        };
                        let _ = ended.send(lines.socket.as_fd(), None);
                    }
                }
                Ok(None) | Err(Errno::INTR) => return true,
                Err(_) => return false,
            }
        }
    }

    fn is_to_be_reported(&mut self, pid: Pid) -> bool {
        if self.program == Some(pid) {
            self.program = None;
            return true;
        }
        self.adopted = self.adopted.saturating_add(1);
        self.adopted <= ADOPTED_LIMIT
    }

    /// Sends SIGKILL to every child. None of the ids can be another process's: nobody but this process reaps them.
    fn kill(&self) {
        let kill = |child| {
            let _ = kill_process(child, Signal::KILL);
        };
        // It needs no look into /proc, for which the whole system may have no descriptor left.
        self.program.into_iter().for_each(kill);
        let _ = each_child(kill);
    }
}
