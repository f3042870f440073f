//! Processes that are known by more than their ids.

use std::collections::HashMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process, held by a descriptor, so that its id cannot become another's.
pub(crate) struct Process {
    pub(crate) pid: Pid,
    pub(crate) command: String,
    guards: bool,
    pidfd: OwnedFd,
}

impl Process {
    pub(crate) fn open(pid: Pid) -> Option<Self> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let read = |name: &str| fs::read(format!("/proc/{pid}/{name}")).ok();
        let command = String::from_utf8_lossy(&read("cmdline")?).replace('\0', " ");
        let guards = read("comm")?.starts_with(b"qemu-test-guard");
        Some(Self {
            pid,
            command,
            guards,
            pidfd,
        })
    }

    /// All that come of a process, by way of their parents.
    pub(crate) fn below(root: Pid) -> Vec<Self> {
        let parents: HashMap<i32, i32> = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(|pid| Some((pid, parent(pid)?)))
            .collect();
        let descends = |mut pid: i32| {
            while let Some(parent) = parents.get(&pid) {
                if *parent == root.as_raw_pid() {
                    return true;
                }
                pid = *parent;
            }
            false
        };
        parents
            .keys()
            .filter(|pid| descends(**pid))
            .filter_map(|pid| Self::open(Pid::from_raw(*pid)?))
            .collect()
    }

    pub(crate) fn is_guardian(&self) -> bool {
        self.guards
    }

    pub(crate) fn is_qemu(&self) -> bool {
        let program = self.command.split(' ').next().unwrap_or_default();
        !self.guards && program.contains("qemu-system-")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        pidfd_send_signal(&self.pidfd, signal).unwrap();
    }

    /// Whether it has ended, or does so until then.
    pub(crate) fn ends_by(&self, deadline: Instant) -> bool {
        readable_by([self.pidfd.as_fd()], deadline) == [true]
    }

    /// Whether somebody has taken notice of its end, so that it is no zombie.
    pub(crate) fn is_reaped(&self) -> bool {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.pidfd.as_raw_fd())).unwrap();
        info.lines()
            .any(|line| line.split_whitespace().eq(["Pid:", "-1"]))
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name before may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// Waits until one of the descriptors is readable, or the deadline; and says which are.
pub(crate) fn readable_by<const N: usize>(descriptors: [BorrowedFd<'_>; N], deadline: Instant) -> [bool; N] {
    let mut polled = descriptors.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut polled, Some(&left.try_into().unwrap())) {
            Err(rustix::io::Errno::INTR) => {}
            done => {
                done.unwrap();
                break;
            }
        }
    }
    polled.map(|fd| !fd.revents().is_empty())
}

pub(crate) fn from_now(limit: Duration) -> Instant {
    Instant::now() + limit
}
