//! [`Machine`]: what a test holds.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ending::How;
use super::inner::Inner;
use super::{CONSOLE, MachineBuilder};
use crate::CommandLine;
use crate::console::Console;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::interrupt::{Cause, DeathKind, Wait};
use crate::qmp::{Command, Event, EventFilter, Reply};
use crate::qtest::Qtest;

/// A running QEMU.
///
/// It ends when it is dropped, whatever happens to the test. Every wait on it ends at once when QEMU does, and says
/// how QEMU ended and what it logged last.
///
/// ```no_run
/// use std::time::Duration;
/// use qemu_test::{Machine, qmp};
///
/// let vm = Machine::builder().args(["-machine", "q35", "-S"]).launch()?;
/// vm.command(qmp!(cont))?;
/// vm.wait_event(qmp!(RESUME), Duration::from_secs(5))?;
/// assert!(vm.shutdown()?.success());
/// # Ok::<(), qemu_test::Error>(())
/// ```
pub struct Machine {
    inner: Arc<Inner>,
    /// Who gets it back, where it outlives this handle.
    lender: Option<Box<dyn Lender>>,
}

/// Whoever lends a machine to one test after the other.
pub(crate) trait Lender: Send + Sync {
    /// Takes it back. Runs in `Drop`: it must not panic, and must not wait without a bound.
    fn take_back(self: Box<Self>, machine: Arc<Inner>);
}

const _: () = {
    const fn everything_a_test_needs<T: Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    everything_a_test_needs::<Machine>();
};

// A test that panics holds `&Machine` across `catch_unwind`. All of a machine's state is behind locks that recover
// from a panic of their holder, and the worst that a panic can leave is a machine that is shut down next.
impl std::panic::UnwindSafe for Machine {}
impl std::panic::RefUnwindSafe for Machine {}

impl Machine {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        inner.parts.home.adopt(&inner);
        Self { inner, lender: None }
    }

    /// A machine that goes back to `lender` when this handle is dropped.
    pub(crate) fn lent(inner: Arc<Inner>, lender: Box<dyn Lender>) -> Self {
        Self {
            inner,
            lender: Some(lender),
        }
    }

    /// The machine without the handle that would end it: for whoever lends it.
    pub(crate) fn into_inner(mut self) -> Arc<Inner> {
        struct Kept;
        impl Lender for Kept {
            fn take_back(self: Box<Self>, _machine: Arc<Inner>) {}
        }
        self.lender = Some(Box::new(Kept));
        Arc::clone(&self.inner)
    }

    /// Whether it is somebody else's, who decides how it goes on.
    pub(crate) fn is_lent(&self) -> bool {
        self.lender.is_some()
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// A machine to be described.
    pub fn builder() -> MachineBuilder {
        MachineBuilder::default()
    }

    /// What reports call it.
    pub fn name(&self) -> &str {
        &self.inner.parts.name
    }

    /// The id of the process that was started: the wrapper's, where there is one.
    pub fn pid(&self) -> u32 {
        self.inner.parts.process.pid().as_raw_pid().cast_unsigned()
    }

    /// The folder of its artifacts: `command.sh`, `qemu.log`, `qmp.log`, `console.log`, `console-<name>.log`. A test
    /// that passes removes it.
    pub fn dir(&self) -> &Path {
        &self.inner.parts.dir
    }

    /// The exact arguments with which it was started, wrapper and program first.
    pub fn command_line(&self) -> &CommandLine {
        &self.inner.parts.command_line
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        self.exit_status().is_none()
    }

    /// How it ended, if it has.
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.inner.exit_status()
    }

    /// Waits for a machine that ends by itself. A status other than 0 is `Ok`, and so is a signal: the test that
    /// receives the status judges it. A guest that powers off, or resets with `-no-reboot`, ends its machine with
    /// status 0; so does a triple fault.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use qemu_test::Machine;
    /// # let vm = Machine::builder().launch()?;
    /// vm.command("quit")?;
    /// assert_eq!(vm.wait(Duration::from_secs(5))?.code(), Some(0));
    /// # Ok::<(), qemu_test::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] when it still runs after `timeout`; [`Error::Guest`] at once when the guest panics, unless
    /// that was [expected](MachineBuilder::expect_guest_panic).
    pub fn wait(&self, timeout: Duration) -> Result<ExitStatus> {
        let interrupt = &self.inner.parts.interrupt;
        let wait = Wait::new(Deadline::after(timeout), Some(interrupt));
        // A guest that powers off does what this waits for.
        let _awaiting = interrupt.await_death(DeathKind::End);
        let doing = || "waiting for the machine to end".to_owned();
        loop {
            let status = self.exit_status();
            // The status alone would tell of another end: a panic device ends QEMU with status 0, and the test's own
            // limit by a signal that is none of its doing.
            let cause = match status {
                Some(_) => self.inner.why_it_ended(),
                None => interrupt.cause(),
            };
            // Where QEMU is known to have ended, only the end of the wrapper is missing.
            let by_itself = cause.as_ref().is_none_or(Cause::is_the_end);
            if (!by_itself || status.is_none() && wait.deadline.expired())
                && let Some(error) = wait.over(doing, String::new)
            {
                return Err(error);
            }
            if let Some(status) = status {
                return Ok(self.inner.receive(status));
            }
            let living = self.inner.watcher.processes().living();
            let interrupt = cause.is_none().then(|| interrupt.as_fd());
            let mut fds: Vec<PollFd<'_>> = living
                .chain(interrupt)
                .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
                .collect();
            match poll(&mut fds, wait.deadline.timespec().as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::io("waiting for the machine to end", error.into())),
            }
        }
    }

    /// Shuts it down: `quit`, then SIGTERM, then SIGKILL, each within a limit, and sees that nothing of it is left.
    /// Again, it gives the same result.
    ///
    /// # Errors
    ///
    /// Where not even SIGKILL ended it: a process that hangs in the kernel.
    pub fn shutdown(&self) -> Result<ExitStatus> {
        self.end(How::Quit)
    }

    /// Kills it: SIGKILL for its whole process tree.
    ///
    /// # Errors
    ///
    /// As for [`shutdown`](Self::shutdown).
    pub fn kill(&self) -> Result<ExitStatus> {
        self.end(How::Kill)
    }

    fn end(&self, how: How) -> Result<ExitStatus> {
        let status = self.inner.end(how).status(self.name())?;
        Ok(self.inner.receive(status))
    }

    /// What QEMU and its wrapper have written to stdout and stderr so far: at most the last 256 KiB, invalid UTF-8
    /// replaced. The whole log is `qemu.log` in [`dir`](Self::dir).
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn log(&self) -> Result<String> {
        self.inner
            .parts
            .log
            .tail()
            .map_err(|e| Error::io("reading qemu.log", e))
    }

    /// Executes a QMP command and gives what it returns.
    ///
    /// ```no_run
    /// # use qemu_test::{Machine, qmp};
    /// # let vm = Machine::builder().launch()?;
    /// vm.command(qmp!(blockdev_add { driver: "null-co", node_name: "disk0", size: 1 << 20 }))?;
    /// assert_eq!(vm.command("query-status")?["running"], true);
    /// # Ok::<(), qemu_test::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Qmp`] with QEMU's own error; [`Error::Timeout`] after the command's limit, 30 s unless the builder or
    /// the command says otherwise; [`Error::Exited`] when QEMU ends meanwhile.
    pub fn command(&self, command: impl Into<Command>) -> Result<Value> {
        self.inner.client.command(command)
    }

    /// Executes a command and reads what it returns as `T`.
    ///
    /// ```no_run
    /// # use qemu_test::Machine;
    /// # let vm = Machine::builder().launch()?;
    /// #[derive(serde::Deserialize)]
    /// struct Status {
    ///     running: bool,
    /// }
    /// assert!(vm.command_as::<Status>("query-status")?.running);
    /// # Ok::<(), qemu_test::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`command`](Self::command); [`Error::Json`] when the value is no `T`.
    pub fn command_as<T: DeserializeOwned>(&self, command: impl Into<Command>) -> Result<T> {
        self.inner.client.command_as(command)
    }

    /// Executes a command and gives the whole reply, an error reply included.
    ///
    /// # Errors
    ///
    /// As for [`command`](Self::command), but never [`Error::Qmp`].
    pub fn command_raw(&self, command: impl Into<Command>) -> Result<Reply> {
        self.inner.client.command_raw(command)
    }

    /// Executes a line of the human monitor (HMP) and gives what it prints. HMP reports errors in that text only.
    ///
    /// # Errors
    ///
    /// As for [`command`](Self::command).
    pub fn hmp(&self, line: &str) -> Result<String> {
        self.inner.client.hmp(line)
    }

    /// Takes all events that have come and were not taken yet.
    ///
    /// # Errors
    ///
    /// Where the monitor has ended and no event is left.
    pub fn events(&self) -> Result<Vec<Event>> {
        self.inner.client.events()
    }

    /// Takes the oldest event, waiting for one if need be.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] when none comes within `timeout`; [`Error::Exited`] when QEMU ends meanwhile.
    pub fn next_event(&self, timeout: Duration) -> Result<Event> {
        self.inner.client.next_event(timeout)
    }

    /// Takes the first event that matches, those that have come already included, and leaves the others.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use qemu_test::{Machine, qmp};
    /// # let vm = Machine::builder().launch()?;
    /// vm.command(qmp!(device_del { id: "net0" }))?;
    /// vm.wait_event(qmp!(DEVICE_DELETED { device: "net0" }), Duration::from_secs(5))?;
    /// # Ok::<(), qemu_test::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`next_event`](Self::next_event); the error names the events that did come.
    pub fn wait_event(&self, filter: impl Into<EventFilter>, timeout: Duration) -> Result<Event> {
        self.inner.client.wait_event(filter, timeout)
    }

    /// Forgets all events that have come so far.
    ///
    /// # Errors
    ///
    /// As for [`events`](Self::events).
    pub fn clear_events(&self) -> Result<()> {
        self.inner.client.clear_events()
    }

    /// Gives QEMU a descriptor under a name (`getfd`, over `SCM_RIGHTS`), for arguments that take one: `fd:name`,
    /// `fdname`. Your own descriptor stays open and yours.
    ///
    /// # Errors
    ///
    /// As for [`command`](Self::command). A monitor over TCP cannot carry descriptors.
    pub fn send_fd(&self, name: &str, fd: impl AsFd) -> Result<()> {
        self.inner.client.send_fd(name, fd)
    }

    /// A path for a socket, in the machine's own short folder. In an argument, `{dir}` is that folder. It is removed
    /// when QEMU has ended and left nothing in it, with the machine otherwise.
    ///
    /// A name that makes the path longer than a socket's may be (107 bytes, `unix(7)`) is shortened by whoever binds
    /// it, not here.
    pub fn socket_path(&self, name: &str) -> PathBuf {
        self.inner.parts.sockets.path().join(
            Path::new(OsStr::new(name))
                .file_name()
                .unwrap_or(OsStr::new(name)),
        )
    }

    /// The guest's first serial port, or its virtio console of the name `console`.
    ///
    /// # Panics
    ///
    /// Where the machine was not built with [`MachineBuilder::console`].
    #[track_caller]
    pub fn console(&self) -> &Console {
        // No closure, here and below: the panic is to tell the caller's line, and a closure would tell its own.
        match self.inner.console(CONSOLE) {
            Some(console) => console,
            None => panic!(
                "machine `{}` has no console: say `console` in #[qemu_test(console)] or call MachineBuilder::console()",
                self.name()
            ),
        }
    }

    /// The console that was given this name by [`MachineBuilder::serial_console`],
    /// [`virtio_console`](MachineBuilder::virtio_console) or [`virtio_port`](MachineBuilder::virtio_port).
    ///
    /// # Panics
    ///
    /// Where there is none of this name; the message names those that there are.
    #[track_caller]
    pub fn console_named(&self, name: &str) -> &Console {
        let Some(console) = self.inner.console(name) else {
            let names: Vec<_> = self.inner.parts.consoles.iter().map(Console::name).collect();
            panic!(
                "machine `{}` has no console `{name}`; it has: {}",
                self.name(),
                names.join(", ")
            )
        };
        console
    }

    /// The qtest protocol.
    ///
    /// # Panics
    ///
    /// Where the machine was not built with [`MachineBuilder::qtest`].
    #[track_caller]
    pub fn qtest(&self) -> &Qtest {
        match &self.inner.parts.qtest {
            Some(qtest) => qtest,
            None => panic!(
                "machine `{}` has no qtest: say `qtest` in #[qemu_test(qtest)] or call MachineBuilder::qtest()",
                self.name()
            ),
        }
    }
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("name", &self.name())
            .field("pid", &self.pid())
            .field("status", &self.exit_status())
            .finish_non_exhaustive()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        match self.lender.take() {
            Some(lender) => lender.take_back(Arc::clone(&self.inner)),
            None => self.inner.parts.home.abandoned(&self.inner),
        }
    }
}
