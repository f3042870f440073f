//! From a builder to a running machine, or to an error that says why not.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::Machine;
use super::builder::{MachineBuilder, Monitor};
use super::extras::Extras;
use super::failure::Failure;
use super::home::Home;
use super::inner::Inner;
use super::line::{self, Connections, Endpoint, FIRST_FD};
use super::log::Log;
use super::memory_killer;
use super::parts::{Parts, ShortDir};
use super::stand_in::StandIns;
use super::watch::Watcher;
use crate::CommandLine;
use crate::accel::Choice;
use crate::console::Console;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::guest::{GuestWatch, Terms};
use crate::images::Written;
use crate::interrupt::{Interrupt, Wait};
use crate::locate::{self, Surroundings};
use crate::process::{Process, Spec};
use crate::qmp::{self, Address, Client, Listener, Transcript};
use crate::qtest::Qtest;

/// How long QEMU may take until its monitor answers. QEMU builds the whole machine before that: firmware, disks and
/// preallocated memory included.
const LAUNCH_TIMEOUT: Duration = Duration::from_secs(60);

/// Our ends of a machine's connections.
pub(super) struct OurEnds {
    pub(super) monitor: MonitorEnd,
    consoles: Vec<OwnedFd>,
    qtest: Option<OwnedFd>,
}

pub(super) enum MonitorEnd {
    Connected(OwnedFd),
    Listening(Listener),
}

/// The descriptors that QEMU gets, with the numbers that they get there.
#[derive(Default)]
pub(super) struct TheirEnds(Vec<(OwnedFd, RawFd)>);

impl TheirEnds {
    pub(super) fn into_fds(self) -> Vec<(OwnedFd, RawFd)> {
        self.0
    }

    fn add(&mut self, fd: OwnedFd) -> RawFd {
        let number = FIRST_FD + self.0.len() as RawFd;
        self.0.push((fd, number));
        number
    }

    /// A socket of which the child gets one end.
    fn socket(&mut self) -> Result<(OwnedFd, RawFd)> {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|e| Error::io("making a socket for the machine", e.into()))?;
        Ok((ours, self.add(theirs)))
    }
}

/// Launches a machine that belongs to `home`.
pub(crate) fn launch(builder: &MachineBuilder, home: Arc<dyn Home>) -> Result<Machine> {
    launch_with(builder, home, Extras::default())
}

/// Launches a machine of which somebody beside the user has something to say.
pub(crate) fn launch_with(builder: &MachineBuilder, home: Arc<dyn Home>, extras: Extras) -> Result<Machine> {
    let name = builder.name.clone().unwrap_or_else(|| "vm".to_owned());
    let mut failure = Failure {
        name,
        dir: home.run().path().to_owned(),
        home,
    };
    let made = failure.home.run().machine_dir(&failure.name);
    match made.and_then(|dir| {
        failure.dir = dir;
        start(builder, &failure, extras)
    }) {
        Err(error) if !matches!(error, Error::Launch(_)) => Err(failure.refused(&error)),
        done => done,
    }
}

fn start(builder: &MachineBuilder, failure: &Failure, extras: Extras) -> Result<Machine> {
    let Failure { name, dir, home } = failure;
    let io = |doing: &'static str| move |error| Error::io(doing, error);
    let terms = Terms::new(
        &builder.allowed_lines,
        builder.expect_guest_panic,
        builder.expected_exit.is_some(),
    )
    .map_err(Error::other)?;
    let program = locate::locate(&builder.program, &Surroundings::of_this_process())
        .map_err(|missing| failure.no_program(builder, missing))?;
    if let Some(mistake) = builder.mistake() {
        return Err(Error::other(mistake));
    }
    let accel = builder
        .accel
        .map(|accel| Choice::of(accel, &program, builder.qtest))
        .transpose()
        .map_err(Error::other)?;
    if let Some(choice) = &accel {
        log::info!("machine `{name}` runs on {choice}");
    }
    let mut sockets = ShortDir::choose();
    if !builder.shares.is_empty() {
        sockets.make()?;
    }
    line::archive(&builder.shares, sockets.path())?;
    let mut theirs = TheirEnds::default();
    let (ours, connections) = connect(builder, &mut sockets, &mut theirs)?;
    let mut command_line =
        line::command_line(builder, &program, sockets.path(), accel.as_ref(), &connections);
    command_line.extend(extras.arguments);
    let command_line = CommandLine::new(command_line);
    let log = Log::create(&dir.join("qemu.log")).map_err(io("creating qemu.log"))?;
    let interrupt = Interrupt::new(name).map_err(io("making an eventfd for the machine"))?;
    home.starting(&interrupt);

    let spec = Spec {
        argv: command_line.to_vec(),
        env: builder
            .environment
            .iter()
            .cloned()
            .map(|(name, value)| (name, Some(value)))
            .collect(),
        cwd: None,
        output: log
            .file()
            .try_clone()
            .map_err(io("duplicating the descriptor of qemu.log"))?
            .into(),
        fds: theirs.into_fds(),
        scratch: Some(sockets.scratch()),
    };
    let spawned = Process::spawn(spec);
    // From here on QEMU loads, on another processor as a rule: what can wait until now costs nothing.
    let memory_kills = memory_killer::kills();
    // By hand, a fixture's machine boots; its images are not to be written then, either.
    let written = extras.of_fixture.then(|| Written::by(&builder.arguments));
    write_script(
        dir,
        &line::script(
            builder,
            written.as_ref(),
            &program,
            std::env::current_dir().ok().as_deref(),
            accel.as_ref(),
            &connections,
        ),
    );
    let process = match spawned {
        Ok(process) => Arc::new(process),
        Err(error) => return Err(failure.not_spawned(builder, &command_line, &error)),
    };

    let guest = GuestWatch::new(terms).map_err(io("making an eventfd for the guest"))?;
    interrupt.register(&guest);
    let conversation = File::create(dir.join("qmp.log")).map_err(io("creating qmp.log"))?;
    let transcript = Arc::new(Transcript::new(Some(conversation)));
    let mut consoles = Vec::new();
    for (number, (spec, stream)) in builder.consoles.iter().zip(ours.consoles).enumerate() {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(dir.join(spec.file_name()))
            .map_err(io("creating the file of a console"))?;
        let console = Console::new(&spec.name, stream, file, Arc::clone(&interrupt))
            .map_err(io("preparing a console"))?;
        if let Some(past) = extras.consoles.get(number) {
            console
                .begin_with(past)
                .map_err(io("beginning the file of a console"))?;
        }
        guest.listen(&console);
        consoles.push(console);
    }
    let qtest = ours
        .qtest
        .map(|stream| Qtest::new(stream, Arc::clone(&interrupt), builder.command_timeout));

    let mut parts = Parts {
        name: name.clone(),
        dir: dir.clone(),
        home: Arc::clone(home),
        sockets,
        accel,
        command_line,
        log,
        transcript,
        interrupt: Arc::clone(&interrupt),
        guest,
        consoles,
        qtest,
        process,
        expected_exit: builder.expected_exit,
        command_timeout: builder.command_timeout,
        stand_ins: StandIns::of(builder, &program),
        notes: Mutex::new(extras.notes),
        _kept: extras.kept,
        memory_kills,
    };
    let watcher = Watcher::start(&parts).map_err(io("starting the machine's watcher"))?;
    match open_monitor(ours.monitor, &mut parts, &watcher) {
        Ok(client) => Ok(Machine::new(Inner::new(parts, watcher, client))),
        Err(error) => Err(failure.no_monitor(builder, &parts, &watcher, error)),
    }
}

/// What tells the machines of two builders apart, whatever the descriptors and folders of one launch: the program,
/// and the command line with placeholders for those. `None` where a launch says why there is none.
pub(crate) fn configuration(builder: &MachineBuilder) -> Option<(PathBuf, Vec<OsString>)> {
    let program = locate::locate(&builder.program, &Surroundings::of_this_process()).ok()?;
    let mut numbers = FIRST_FD..;
    let mut number = || numbers.next().unwrap_or_default();
    let connections = Connections {
        monitor: Endpoint::Fd(number()),
        consoles: builder.consoles.iter().map(|_| number()).collect(),
        qtest: builder.qtest.then(&mut number),
        fd_sets: builder
            .descriptors
            .iter()
            .map(|descriptor| (number(), descriptor.set, descriptor.opaque.clone()))
            .collect(),
    };
    let accel = match builder.accel {
        Some(accel) => Some(Choice::of(accel, &program, builder.qtest).ok()?),
        None => None,
    };
    let dir = Path::new("{dir}");
    let line = line::command_line(builder, &program, dir, accel.as_ref(), &connections);
    Some((program, line))
}

/// Opens every connection of the machine to be.
pub(super) fn connect(
    builder: &MachineBuilder,
    sockets: &mut ShortDir,
    theirs: &mut TheirEnds,
) -> Result<(OurEnds, Connections)> {
    let (monitor, endpoint) = match &builder.monitor {
        Monitor::SocketPair => {
            let (ours, end) = qmp::pair().map_err(|e| Error::io("making a socket for the monitor", e))?;
            (MonitorEnd::Connected(ours), Endpoint::Fd(theirs.add(end)))
        }
        Monitor::Unix(path) => {
            // The same placeholder as in arguments: the natural place for a socket is the machine's own folder.
            let path = match path.strip_prefix("{dir}") {
                Ok(name) => {
                    sockets.make()?;
                    sockets.path().join(name)
                }
                Err(_) => std::path::absolute(path)?,
            };
            let listener = Listener::bind(Address::Unix(path.clone()))?;
            (MonitorEnd::Listening(listener), Endpoint::Unix(path.into()))
        }
        Monitor::Tcp(address) => {
            let listener = Listener::bind(Address::Tcp(*address))?;
            let bound = match listener.local_addr() {
                Address::Tcp(bound) => *bound,
                _ => *address,
            };
            (
                MonitorEnd::Listening(listener),
                Endpoint::Tcp {
                    host: bound.ip().to_string(),
                    port: bound.port(),
                },
            )
        }
    };
    let (mut consoles, mut console_numbers) = (Vec::new(), Vec::new());
    for _ in &builder.consoles {
        let (ours, number) = theirs.socket()?;
        consoles.push(ours);
        console_numbers.push(number);
    }
    let (qtest, qtest_number) = builder.qtest.then(|| theirs.socket()).transpose()?.unzip();
    let mut fd_sets = Vec::new();
    for descriptor in &builder.descriptors {
        let duplicate = descriptor.fd.try_clone().map_err(|e| {
            Error::io(
                format!(
                    "duplicating descriptor {} for fd set {}",
                    descriptor.fd.as_raw_fd(),
                    descriptor.set
                ),
                e,
            )
        })?;
        fd_sets.push((theirs.add(duplicate), descriptor.set, descriptor.opaque.clone()));
    }
    let connections = Connections {
        monitor: endpoint,
        consoles: console_numbers,
        qtest: qtest_number,
        fd_sets,
    };
    Ok((
        OurEnds {
            monitor,
            consoles,
            qtest,
        },
        connections,
    ))
}

fn open_monitor(end: MonitorEnd, parts: &mut Parts, watcher: &Watcher) -> Result<Client> {
    let deadline = Deadline::after(LAUNCH_TIMEOUT);
    let interrupt = Arc::clone(&parts.interrupt);
    let wait = Wait::new(deadline, Some(&interrupt));
    let stream = match end {
        MonitorEnd::Connected(stream) => stream,
        MonitorEnd::Listening(listener) => listener.accept_stream(wait)?,
    };
    let client = Client::open(stream, watcher.client_options(parts), wait)?;
    watcher
        .watch_monitor(&client)
        .map_err(|e| Error::io("watching QEMU and its monitor", e))?;
    Ok(client)
}

/// The script is a convenience: a machine must not fail for want of it.
fn write_script(dir: &Path, script: &[u8]) {
    let path = dir.join("command.sh");
    let written =
        fs::write(&path, script).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)));
    if let Err(error) = written {
        log::warn!("cannot write {}: {error}", path.display());
    }
}
