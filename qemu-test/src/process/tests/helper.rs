//! A test process to be ended: this test binary once more, with a role to play.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::limit;
use crate::deadline::Deadline;
use crate::process::{readable_by, tree};

pub(super) const ROLE: &str = "QEMU_TEST_PROCESS_ROLE";

/// What makes the test binary a helper.
const ARGUMENTS: [&str; 5] = [
    "--ignored",
    "--exact",
    "process::tests::roles::helper",
    "--nocapture",
    "--test-threads=1",
];

/// This test binary as another process.
pub(super) struct Helper {
    pub(super) child: Child,
    output: BufReader<ChildStdout>,
}

impl Helper {
    pub(super) fn start(role: &str) -> Self {
        Self::start_by(&mut Command::new(std::env::current_exe().unwrap()), role)
    }

    /// The command of a helper, for who starts it otherwise.
    pub(super) fn argv(role: &str) -> Vec<OsString> {
        let executable = std::env::current_exe().unwrap().into_os_string();
        let role = format!("{ROLE}={role}").into();
        let arguments = ARGUMENTS.map(OsString::from);
        ["env".into(), role, executable]
            .into_iter()
            .chain(arguments)
            .collect()
    }

    /// Started by a command that has this test binary as its last argument so far.
    pub(super) fn start_by(command: &mut Command, role: &str) -> Self {
        let mut child = command
            .args(ARGUMENTS)
            .env(ROLE, role)
            // A test that overflows its stack or aborts on purpose needs no trace of it.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(if role.starts_with("drive") {
                Stdio::inherit()
            } else {
                Stdio::null()
            })
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, output }
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Reads up to a line that ends so, and returns it. Its end without such a line fails the test.
    pub(super) fn line(&mut self, end: &str) -> String {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(
                self.output.read_line(&mut line).unwrap(),
                0,
                "no line `{end}` in:\n{all}"
            );
            if line.trim_end().ends_with(end) {
                return line;
            }
            all += &line;
        }
    }

    /// What was refused, of the lines before one that ends so.
    pub(super) fn refused_before(&mut self, end: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line("");
            match line.trim_end() {
                line if line.ends_with(end) => return lines,
                // The first line begins with libtest's words.
                line => lines.extend(line.split_once("refused: ").map(|(_, error)| error.to_owned())),
            }
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Lets a helper go on that waits for its parent.
    pub(super) fn go_on(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for its end.
    pub(super) fn ended(&mut self) -> ExitStatus {
        if let Some(status) = self.child.try_wait().unwrap() {
            return status;
        }
        let pidfd = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        if !readable_by(pidfd.as_fd(), limit()) {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
            panic!("the helper hangs");
        }
        self.child.wait().unwrap()
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It has ended already, unless the test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process that is known by more than its id.
pub(super) struct Watched {
    pub(super) pid: Pid,
    pub(super) command: String,
    pidfd: OwnedFd,
}

impl Watched {
    /// All that come of this process.
    pub(super) fn below(root: Pid) -> Vec<Self> {
        tree::descendants(root)
            .into_iter()
            .filter_map(|found| {
                Some(Self {
                    pid: found.pid,
                    pidfd: pidfd_open(found.pid, PidfdFlags::empty()).ok()?,
                    command: found.command,
                })
            })
            .collect()
    }

    /// Whether it is a guardian, which has no command line of its own.
    pub(super) fn is_guardian(&self) -> bool {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", self.pid)).unwrap();
        name.trim_end() == "qemu-test-guard"
    }

    /// Whether it has ended, or does so until then.
    pub(super) fn ends_by(&self, deadline: Deadline) -> bool {
        readable_by(self.pidfd.as_fd(), deadline)
    }

    /// Whether somebody has taken notice of its end, so that it is no zombie.
    pub(super) fn is_reaped(&self) -> bool {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&self.pidfd);
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
        info.lines()
            .any(|line| line.split_whitespace().eq(["Pid:", "-1"]))
    }
}
