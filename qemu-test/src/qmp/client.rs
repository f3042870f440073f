//! What a caller asks of a monitor.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::{Value, json};

use super::connect::connect;
use super::decoder::piece;
use super::session::{Connection, GREETING, Options, Session};
use super::transport::{self, MAX_DESCRIPTORS};
use super::{Address, Command, Event, EventFilter, Listener, Reply, value};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::interrupt::Wait;

/// How long a command may take where nothing else was said.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// How deep QEMU's parser reads (`MAX_NESTING` of its `json-parser.c`).
const REQUEST_NESTING: usize = 1024;

/// A connection to a QEMU's monitor.
///
/// A [`Machine`](crate::Machine) has one of its own, with the same methods; this is QMP without a machine, for a
/// QEMU that something else started. It is a cheap handle: clones share the connection, and any number of threads
/// may use it at once. It closes with its last handle, which does not end QEMU.
///
/// Every call has a limit: that of the [`Command`], 30 s where it has none. `QEMU_TEST_TIMEOUT_SCALE` multiplies
/// them all. After a limit the connection is as good as before: the late reply is dropped.
///
/// Messages of up to 64 MiB, of up to 2^20 values and 1100 levels are taken, and up to 64 MiB of events kept until
/// somebody takes them; the connection fails with an error that says so when its peer sends more.
///
/// ```no_run
/// use qemu_test::qmp::Client;
///
/// let monitor = Client::connect("/run/vm/qmp.sock")?;
/// println!("{}", monitor.command("query-status")?["status"]);
/// # Ok::<(), qemu_test::Error>(())
/// ```
#[derive(Clone)]
pub struct Client {
    session: Arc<Session>,
}

// What it shares is behind a lock, and whole whenever that is free.
impl UnwindSafe for Client {}
impl RefUnwindSafe for Client {}

impl Client {
    /// Talks to the monitor at the other end of a connected stream socket: waits for its greeting and negotiates.
    ///
    /// ```no_run
    /// use std::os::unix::net::UnixStream;
    ///
    /// let stream = UnixStream::connect("/run/vm/qmp.sock")?;
    /// let monitor = qemu_test::qmp::Client::from_stream(stream)?;
    /// # Ok::<(), qemu_test::Error>(())
    /// ```
    pub fn from_stream(stream: impl Into<OwnedFd>) -> Result<Self> {
        Self::standalone(stream.into(), "QMP".to_owned(), Self::opening())
    }

    /// Connects to a monitor that listens: one started with `-qmp unix:PATH,server=on` or `-qmp tcp:…,server=on`.
    ///
    /// A monitor serves one client at a time. While it has another, its greeting does not come, or it cannot even be
    /// connected to; this fails after 30 s.
    pub fn connect(address: impl Into<Address>) -> Result<Self> {
        Self::connect_in(&address.into(), Self::opening())
    }

    /// [`connect`](Self::connect) on the terms of `wait`.
    pub(super) fn connect_in(address: &Address, wait: Wait<'_>) -> Result<Self> {
        let stream = connect(address, wait.deadline)
            .map_err(|error| Error::io(format_args!("connecting to the monitor at `{address}`"), error))?;
        Self::standalone(stream, address.to_string(), wait).map_err(|error| match error {
            Error::Timeout(mut timeout) if timeout.attempt.doing == GREETING => {
                timeout.seen =
                    "nothing: a monitor serves one client at a time, and may have another".to_owned();
                Error::Timeout(timeout)
            }
            error => error,
        })
    }

    /// Listens on `address`, and waits up to 30 s for one monitor to connect. To start QEMU in between, use a
    /// [`Listener`].
    pub fn listen(address: impl Into<Address>) -> Result<Self> {
        Listener::bind(address)?.accept(COMMAND_TIMEOUT)
    }

    fn opening() -> Wait<'static> {
        Wait::new(Deadline::after(COMMAND_TIMEOUT), None)
    }

    fn standalone(stream: OwnedFd, name: String, wait: Wait<'_>) -> Result<Self> {
        let options = Options {
            name,
            ..Options::default()
        };
        Self::open(stream, options, wait)
    }

    /// Runs a command and gives what it returned; QEMU's refusal is [`Error::Qmp`].
    pub fn command(&self, command: impl Into<Command>) -> Result<Value> {
        self.command_raw(command)?.into_result()
    }

    /// Runs a command and reads what it returned as a `T`; [`Error::Json`] where it is none, which names the type
    /// and shows what came.
    ///
    /// ```
    /// #[derive(serde::Deserialize)]
    /// struct Status {
    ///     running: bool,
    /// }
    ///
    /// # fn f(monitor: &qemu_test::qmp::Client) -> qemu_test::Result<()> {
    /// let status: Status = monitor.command_as("query-status")?;
    /// assert!(status.running);
    /// # Ok(())
    /// # }
    /// ```
    pub fn command_as<T: DeserializeOwned>(&self, command: impl Into<Command>) -> Result<T> {
        let reply = self.command_raw(command)?;
        let request = reply.request().to_owned();
        let returned = reply.into_result()?;
        T::deserialize(&returned).map_err(|error| {
            Error::Json(serde_json::Error::custom(format_args!(
                "what `{}` returned is no `{}`: {error}; it is: {}",
                piece(request.as_bytes()),
                std::any::type_name::<T>(),
                piece(returned.to_string().as_bytes()),
            )))
        })
    }

    /// Runs a command and gives the whole reply, an error of QEMU's included.
    pub fn command_raw(&self, command: impl Into<Command>) -> Result<Reply> {
        let command = command.into();
        self.execute(&command, &[], self.terms(&command))
    }

    /// Runs a command to which descriptors belong, such as `add-fd` or `getfd`: they travel with it (`SCM_RIGHTS`),
    /// and QEMU gets duplicates. Over TCP that is not possible.
    ///
    /// ```no_run
    /// use qemu_test::qmp::Command;
    /// use serde_json::json;
    /// use std::os::fd::AsFd;
    ///
    /// # fn f(monitor: &qemu_test::qmp::Client) -> qemu_test::Result<()> {
    /// let disk = std::fs::File::open("disk.img")?;
    /// let command = Command::new("add-fd").arguments(json!({ "fdset-id": 1 }));
    /// monitor.command_with_fds(command, &[disk.as_fd()])?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn command_with_fds(&self, command: impl Into<Command>, fds: &[BorrowedFd<'_>]) -> Result<Value> {
        let command = command.into();
        self.execute(&command, fds, self.terms(&command))?.into_result()
    }

    /// Gives QEMU a duplicate of a descriptor under a name that other commands then use (`getfd`), as in `migrate`'s
    /// `fd:NAME`.
    pub fn send_fd(&self, name: &str, fd: impl AsFd) -> Result<()> {
        let command = Command::new("getfd").arguments(json!({ "fdname": name }));
        self.command_with_fds(command, &[fd.as_fd()]).map(drop)
    }

    /// Runs a line of the human monitor and gives its output, which includes its complaints: there is no error but
    /// text there.
    ///
    /// ```
    /// # fn f(monitor: &qemu_test::qmp::Client) -> qemu_test::Result<()> {
    /// assert!(monitor.hmp("info status")?.starts_with("VM status: "));
    /// # Ok(())
    /// # }
    /// ```
    pub fn hmp(&self, line: &str) -> Result<String> {
        let arguments = json!({ "command-line": line });
        self.command_as(Command::new("human-monitor-command").arguments(arguments))
    }

    /// Takes all events that have come and that nobody has taken, oldest first.
    pub fn events(&self) -> Result<Vec<Event>> {
        self.session.events(self.wait(Duration::ZERO))
    }

    /// Takes the oldest event that nobody has taken; waits for one where there is none.
    pub fn next_event(&self, timeout: Duration) -> Result<Event> {
        self.next_event_in(self.wait(timeout))
    }

    /// Takes the first event that `filter` takes, whether it has come already or comes within `timeout`. Events
    /// that it does not take stay where they are.
    ///
    /// ```
    /// # fn f(monitor: &qemu_test::qmp::Client) -> qemu_test::Result<()> {
    /// use std::time::Duration;
    ///
    /// monitor.command("stop")?;
    /// monitor.wait_event("STOP", Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_event(&self, filter: impl Into<EventFilter>, timeout: Duration) -> Result<Event> {
        self.wait_event_in(&filter.into(), self.wait(timeout))
    }

    /// Drops all events that have come.
    pub fn clear_events(&self) -> Result<()> {
        self.events().map(drop)
    }

    /// Reads the greeting and negotiates, both on the terms of `wait`.
    pub(crate) fn open(stream: OwnedFd, options: Options, wait: Wait<'_>) -> Result<Self> {
        transport::announce_writers(&stream, true);
        let session = Session::new(stream, options);
        let oob = session.greeting(wait)?;
        let client = Self { session };
        let mut negotiation = Command::new("qmp_capabilities");
        if oob {
            negotiation = negotiation.arguments(json!({ "enable": ["oob"] }));
        }
        client.execute(&negotiation, &[], wait)?.into_result()?;
        Ok(client)
    }

    /// Runs a command on the terms of `wait`; its own limit is for the caller to put into them.
    pub(crate) fn execute(&self, command: &Command, fds: &[BorrowedFd<'_>], wait: Wait<'_>) -> Result<Reply> {
        let refuse = |why: String| {
            let command = command.to_string();
            Error::other(format!("cannot send `{}`: {why}", piece(command.as_bytes())))
        };
        if command.is_oob() && !self.session.offers_oob() {
            return Err(refuse("this QEMU offers no execution out of band".to_owned()));
        }
        if fds.len() > MAX_DESCRIPTORS {
            return Err(refuse(format!(
                "QEMU takes no more than {MAX_DESCRIPTORS} descriptors at once"
            )));
        }
        // QEMU would answer with one error per level too many, and none of them with the command's id.
        if command.nesting() > REQUEST_NESTING {
            return Err(refuse(format!(
                "it nests deeper than the {REQUEST_NESTING} levels that QEMU reads"
            )));
        }
        let request = command.to_string();
        let text = self.session.exchange(&request, fds, wait)?;
        // It was seen to be UTF-8 when it came.
        let reply = value::parse(&String::from_utf8_lossy(&text)).map_err(|error| {
            Error::Json(serde_json::Error::custom(format_args!(
                "the reply to `{}` cannot be read: {error}: {}",
                piece(request.as_bytes()),
                piece(&text)
            )))
        })?;
        Ok(Reply::new(reply, request).known_in(command.known_in()))
    }

    /// Has QEMU quit. The connection's end in place of a reply is what it asked for.
    pub(crate) fn quit(&self, wait: Wait<'_>) -> Result<()> {
        match self.execute(&Command::new("quit"), &[], wait) {
            Ok(reply) => reply.into_result().map(drop),
            Err(Error::Disconnected(_) | Error::Exited(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// [`next_event`](Self::next_event) on the terms of `wait`.
    pub(crate) fn next_event_in(&self, wait: Wait<'_>) -> Result<Event> {
        self.session.event(None, wait)
    }

    /// [`wait_event`](Self::wait_event) on the terms of `wait`.
    pub(crate) fn wait_event_in(&self, filter: &EventFilter, wait: Wait<'_>) -> Result<Event> {
        self.session.event(Some(filter), wait)
    }

    /// The number of the next event that comes, for [`wait_event_from`](Self::wait_event_from).
    pub(crate) fn next_event_number(&self) -> u64 {
        self.session.next_event_number()
    }

    /// [`wait_event`](Self::wait_event) for an event that had not come when its number was asked for.
    pub(crate) fn wait_event_from(&self, from: u64, filter: &EventFilter, wait: Wait<'_>) -> Result<Event> {
        self.session.event_from(from, Some(filter), wait)
    }

    /// Reads what is there, without blocking, when no caller is reading: for the thread that watches the machine.
    pub(crate) fn drain(&self) -> Connection {
        self.session.drain()
    }

    /// The process that wrote the greeting, where the socket can tell: QEMU's own, whatever wrapper is around it.
    pub(crate) fn peer_pid(&self) -> Option<Pid> {
        self.session.peer()
    }

    /// The terms of a command: its own limit, or that of all commands.
    pub(crate) fn terms(&self, command: &Command) -> Wait<'_> {
        let usual = self.session.options().command_timeout.unwrap_or(COMMAND_TIMEOUT);
        self.wait(command.limit().unwrap_or(usual))
    }

    fn wait(&self, limit: Duration) -> Wait<'_> {
        Wait::new(
            Deadline::after(limit),
            self.session.options().interrupt.as_deref(),
        )
    }
}

/// The socket, for waiting only: reading from it takes away what the client waits for.
impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.session.as_fd()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.session.options().name;
        f.debug_struct("Client")
            .field("name", name)
            .finish_non_exhaustive()
    }
}
