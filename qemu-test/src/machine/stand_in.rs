//! A QEMU of a machine's own program that stands in for it where a question may end who is asked.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::builder::{MachineBuilder, Monitor};
use super::launch::{MonitorEnd, TheirEnds, connect};
use super::line;
use super::parts::ShortDir;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::exit;
use crate::interrupt::{Interrupt, Wait};
use crate::locate::Program;
use crate::process::{Process, Spec};
use crate::qmp::{Client, Options};

/// How long it may take to come up.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(60);

/// How long one whose monitor has ended may take to end itself, so that it is known how.
const ENDING_TIMEOUT: Duration = Duration::from_secs(5);

/// How to start one.
#[derive(Debug)]
pub(crate) struct StandIns(MachineBuilder);

/// One that runs. It ends when dropped.
pub(super) struct StandIn {
    pub(super) client: Client,
    process: Process,
    log: File,
    _sockets: ShortDir,
}

impl StandIns {
    /// For a machine of this builder and program: what it takes to start the program and to reach its monitor is
    /// the same, and there is no machine.
    pub(super) fn of(builder: &MachineBuilder, program: &Path) -> Self {
        let monitor = match &builder.monitor {
            Monitor::SocketPair => Monitor::SocketPair,
            Monitor::Unix(_) => Monitor::Unix("{dir}/stand-in".into()),
            Monitor::Tcp(address) => Monitor::Tcp(SocketAddr::new(address.ip(), 0)),
        };
        Self(MachineBuilder {
            program: Program::Binary(program.into()),
            arguments: ["-machine", "none", "-nodefaults", "-S"].map(Into::into).into(),
            wrapper: builder.wrapper.clone(),
            environment: builder.environment.clone(),
            monitor,
            ..MachineBuilder::default()
        })
    }

    /// Starts one. What ends the machine's waits ends this one.
    pub(super) fn start(&self, interrupt: &Interrupt) -> Result<StandIn> {
        let Self(builder) = self;
        let Program::Binary(program) = &builder.program else {
            return Err(Error::other("a stand-in without a program"));
        };
        let doing = || format!("starting another `{}`", program.display());
        let io = |error| Error::io(doing(), error);
        let mut sockets = ShortDir::choose();
        let mut theirs = TheirEnds::default();
        let (ours, connections) = connect(builder, &mut sockets, &mut theirs)?;
        let log = tempfile::tempfile().map_err(io)?;
        let environment = builder.environment.iter().cloned();
        let process = Process::spawn(Spec {
            argv: line::command_line(builder, Path::new(program), sockets.path(), None, &connections),
            env: environment.map(|(name, value)| (name, Some(value))).collect(),
            cwd: None,
            output: log.try_clone().map_err(io)?.into(),
            fds: theirs.into_fds(),
            scratch: Some(sockets.scratch()),
        })
        .map_err(io)?;
        let wait = Wait::new(Deadline::after(LAUNCH_TIMEOUT), Some(interrupt));
        let opened = match ours.monitor {
            MonitorEnd::Connected(stream) => Ok(stream),
            MonitorEnd::Listening(listener) => listener.accept_stream(wait),
        }
        .and_then(|stream| Client::open(stream, Options::default(), wait));
        match opened {
            Ok(client) => Ok(StandIn {
                client,
                process,
                log,
                _sockets: sockets,
            }),
            Err(Error::Disconnected(_)) => {
                let end = last_words(&process, log);
                Err(Error::other(format!("while {}: it {end}", doing())))
            }
            Err(error) => Err(error),
        }
    }
}

impl StandIn {
    /// How it ended, whose monitor has, and what it said last.
    pub(super) fn last_words(self) -> String {
        last_words(&self.process, self.log)
    }
}

fn last_words(process: &Process, mut log: File) -> String {
    let ended = process.wait(Deadline::exactly(ENDING_TIMEOUT));
    let how = ended.map_or_else(|| "closed its monitor".to_owned(), exit::describe);
    let mut bytes = Vec::new();
    // It wrote with the same offset.
    let _ = log.rewind().and_then(|()| log.read_to_end(&mut bytes));
    let log = String::from_utf8_lossy(&bytes);
    match log.lines().map(str::trim).rfind(|line| !line.is_empty()) {
        Some(line) => format!("{how}: `{line}`"),
        None => how,
    }
}
