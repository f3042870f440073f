//! Making a snapshot: boot the guest with its RAM in a file, wait until it is ready, stop it, keep the rest.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::json;

use super::boot::let_run;
use super::disks::{self, Overlay};
use super::manifest::{self, Guest};
use super::migration;
use super::probe::{self, Facts};
use super::store::{Made, UnfitFor};
use super::subject::Subject;
use crate::artifacts::{self, RunDir, TestPath};
use crate::command_line::escaped;
use crate::error::{Error, LaunchError, Result};
use crate::interrupt::Interrupt;
use crate::machine::{self, Extras, Home, How, Inner};
use crate::qmp::Command;
use crate::report::{self, Depth, MachineReport};
use crate::{Machine, MachineBuilder};

/// How long the end of the state may take to come out of the pipe once QEMU says that it is all in it.
const LAST_BYTES: Duration = Duration::from_secs(30);

/// A disk with less than this is full.
const LEAST_ROOM: u64 = 1 << 20;

/// The name of the memory backend of ours.
pub(super) const MEMORY: &str = "qemu-test-ram";

/// Boots the subject and keeps it in `folder`. `home` is whoever waits for it.
pub(super) fn make(subject: &Subject<'_>, folder: &Path, home: &Arc<dyn Home>) -> Result<Made> {
    let boot = Arc::new(BootHome::new(subject, Arc::clone(home))?);
    let made = Maker {
        subject,
        folder,
        home: Arc::clone(&boot) as Arc<dyn Home>,
    }
    .make(&boot);
    match made {
        Ok(made) => {
            boot.remove();
            Ok(made)
        }
        Err(error) => match no_room(folder) {
            Some(reason) => Ok(Made::Unfit(UnfitFor::ThisRun, reason)),
            None => Ok(Made::Failed(boot.story(&error))),
        },
    }
}

struct Maker<'a> {
    subject: &'a Subject<'a>,
    folder: &'a Path,
    home: Arc<dyn Home>,
}

impl Maker<'_> {
    fn make(&self, boot: &BootHome) -> Result<Made> {
        let facts = probe::probe(&self.builder(), Arc::clone(&self.home))?;
        if let Some(obstacle) = facts.obstacle {
            return Ok(Made::Unfit(UnfitFor::Good, obstacle));
        }
        let own = own_arguments(self.subject, &facts);
        let mut extras = Extras {
            of_fixture: true,
            ..Extras::default()
        };
        extras.arguments.extend(own.iter().map(OsString::from));
        if facts.memory > 0 {
            extras.arguments.extend(memory(facts.memory, self.folder, "on"));
        }
        extras.arguments.push("-S".into());

        let began = Instant::now();
        let vm = match machine::launch_with(&self.builder(), Arc::clone(&self.home), extras) {
            Ok(vm) => vm,
            Err(Error::Launch(error)) => {
                // It started without our arguments, and is not to blame if it still does.
                probe::probe(&self.builder(), Arc::clone(&self.home))?;
                return Ok(Made::Unfit(UnfitFor::ThisRun, error.reason));
            }
            Err(error) => return Err(error),
        };
        let disks = disks::add_overlays(&vm, Overlay::New, |number| {
            self.folder.join(manifest::disk_file(number))
        });
        let disks = match disks {
            Ok(disks) => disks,
            Err(error) => return Ok(Made::Unfit(UnfitFor::ThisRun, error.first_line())),
        };
        if !self.subject.starts_paused() {
            let_run(&vm)?;
        }
        let ready = self
            .subject
            .make_ready(&vm)
            .and_then(|()| still_there(&vm, self.subject));
        if let Err(error) = ready {
            boot.look_at(&vm);
            return Err(error);
        }
        // What fails a test on a machine that boots for it fails all on a copy.
        if let Some(trouble) = vm.inner().guest_troubles().into_iter().next() {
            boot.look_at(&vm);
            return Err(Error::other(format!(
                "the fixture `{}` is not ready: {trouble}",
                self.subject.name
            )));
        }
        let took = began.elapsed();
        let running = vm.command("query-status")?["running"] == true;
        vm.command("stop")?;
        if let Err(error) = self.save(&vm) {
            let (whom, reason) = obstacle(&vm, &error);
            return Ok(Made::Unfit(whom, reason));
        }
        let unread = self.keep_consoles(&vm)?;
        vm.shutdown()?;
        let memory = (facts.memory > 0).then_some(facts.memory);
        Ok(Made::Guest(Guest::new(
            facts.qemu,
            took,
            memory,
            running,
            own,
            disks,
            unread,
            facts.images,
        )))
    }

    /// The machine as it boots: what a test expects of its end is the test's own business.
    fn builder(&self) -> MachineBuilder {
        MachineBuilder {
            name: Some("boot".to_owned()),
            expected_exit: None,
            expect_guest_panic: false,
            ..self.subject.to_boot()
        }
    }

    /// Has QEMU write everything but the RAM.
    fn save(&self, vm: &Machine) -> Result<()> {
        migration::prepare(vm)?;
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
        let mut state = File::create(self.folder.join(manifest::STATE))?;
        let (done, written) = std::sync::mpsc::channel();
        // A pipe and not the file itself: newer versions of QEMU want to know beforehand which of the two it is.
        std::thread::Builder::new()
            .name("qemu-test snapshot".into())
            .spawn(move || done.send(io::copy(&mut File::from(ours), &mut state)))?;
        vm.send_fd(migration::FD, &theirs)?;
        drop(theirs);
        vm.command(Command::new("migrate").arguments(json!({ "uri": migration::uri() })))?;
        migration::completed(vm)?;
        match written.recv_timeout(LAST_BYTES) {
            Ok(written) => Ok(written.map(drop)?),
            Err(_) => Err(Error::other("the state did not come to an end")),
        }
    }

    fn keep_consoles(&self, vm: &Machine) -> Result<Vec<usize>> {
        let mut unread = Vec::new();
        for (number, console) in vm.inner().parts.consoles.iter().enumerate() {
            let past = console.past()?;
            fs::write(self.folder.join(manifest::console_file(number)), &past.bytes)?;
            unread.push(past.unread);
        }
        Ok(unread)
    }
}

/// Whether the disk of snapshots is full, as the reason that no guest can be kept on it. The kernel kills a QEMU whose
/// RAM is a file on a full disk (SIGBUS), which tells nobody why.
fn no_room(folder: &Path) -> Option<String> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    (free < LEAST_ROOM).then(|| {
        let root = folder.parent().unwrap_or(folder).display();
        format!("there is no room for its snapshot: the disk of {root} has {free} bytes left")
    })
}

/// What every copy needs beside the user's arguments.
fn own_arguments(subject: &Subject<'_>, facts: &Facts) -> Vec<String> {
    let mentioned = |argument: &OsString| argument.to_string_lossy().contains("vmgenid");
    if facts.takes_vmgenid && !subject.builder.arguments.iter().any(mentioned) {
        // Tells the guest's kernel that it is a copy, so that it has random numbers of its own.
        vec!["-device".to_owned(), "vmgenid,guid=auto".to_owned()]
    } else {
        Vec::new()
    }
}

/// The machine's RAM in the snapshot's file: for everybody (`on`) while it is made, copied on write (`off`) afterwards.
pub(super) fn memory(size: u64, folder: &Path, share: &str) -> [OsString; 4] {
    let mut backend = OsString::from(format!(
        "memory-backend-file,id={MEMORY},size={size},share={share},mem-path="
    ));
    backend.push(escaped(folder.join(manifest::RAM).as_os_str()));
    [
        "-object".into(),
        backend,
        "-machine".into(),
        format!("memory-backend={MEMORY}").into(),
    ]
}

/// A guest that has died is no guest to copy, whatever `ready` said.
fn still_there(vm: &Machine, subject: &Subject<'_>) -> Result<()> {
    vm.command("query-status")
        .map(drop)
        .map_err(|error| Error::other(format!("the fixture `{}` did not stay: {error}", subject.name)))
}

/// Why QEMU did not write its state, in its own words.
fn obstacle(vm: &Machine, error: &Error) -> (UnfitFor, String) {
    let reasons = vm.command("query-migrate").ok();
    let reasons = reasons
        .as_ref()
        .and_then(|status| status["blocked-reasons"].as_array());
    let reasons: Vec<&str> = reasons
        .into_iter()
        .flatten()
        .filter_map(|reason| reason.as_str())
        .collect();
    if reasons.is_empty() {
        (UnfitFor::ThisRun, error.first_line())
    } else {
        (UnfitFor::Good, reasons.join("; "))
    }
}

/// To whom a booting machine belongs: its files are nobody's but the fixture's, and its failure is everybody's.
struct BootHome {
    run: RunDir,
    waiting: Arc<dyn Home>,
    seen: Mutex<Option<MachineReport>>,
}

impl BootHome {
    fn new(subject: &Subject<'_>, waiting: Arc<dyn Home>) -> Result<Self> {
        let root = subject
            .builder
            .artifact_dir
            .clone()
            .unwrap_or_else(artifacts::root);
        let test = format!("fixture::{}", subject.name);
        let path = TestPath {
            test,
            ..TestPath::of_this_thread()
        };
        Ok(Self {
            run: RunDir::create(&root, &path)?,
            waiting,
            seen: Mutex::default(),
        })
    }

    /// Collects the evidence while the machine lives.
    fn look_at(&self, vm: &Machine) {
        self.see(MachineReport::of(vm.inner(), Depth::Full));
    }

    fn see(&self, report: MachineReport) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }

    /// What went wrong, with the report on the machine.
    fn story(&self, error: &Error) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = seen.as_ref().map(report::describe).unwrap_or_default();
        let files = self.run.path().display();
        format!("{error}\n{machine}    files    {files}")
    }

    fn remove(&self) {
        if !artifacts::keep()
            && let Err(error) = self.run.remove()
        {
            log::warn!("cannot remove {}: {error}", self.run.path().display());
        }
    }
}

impl Home for BootHome {
    fn run(&self) -> &RunDir {
        &self.run
    }

    /// The time limit is that of whoever waits.
    fn starting(&self, interrupt: &Arc<Interrupt>) {
        self.waiting.starting(interrupt);
    }

    /// Whoever waits answers for the machine when the time is over or a signal comes.
    fn adopt(&self, machine: &Arc<Inner>) {
        self.waiting.adopt(machine);
    }

    fn launch_failed(&self, error: &LaunchError, dir: &Path) {
        self.see(MachineReport::of_failed_launch(error, dir));
    }

    fn abandoned(&self, machine: &Arc<Inner>) {
        machine.end(How::Quit);
    }
}
