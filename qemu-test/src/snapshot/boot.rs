//! A machine of a fixture that boots: for one test, or to be kept.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::disks::{self, Overlay};
use super::subject::Subject;
use crate::Machine;
use crate::error::{Result, seconds};
use crate::machine::{self, Extras, Home};
use crate::qmp::EventFilter;

/// How long an event may take that QEMU sends with the reply of the command that causes it.
const EVENT: Duration = Duration::from_secs(30);

/// Boots the machine for one test, which it belongs to. The images of its command line are not written.
pub(crate) fn boot(subject: &Subject<'_>, home: &Arc<dyn Home>, note: Option<String>) -> Result<Machine> {
    let mut extras = Extras {
        of_fixture: true,
        notes: note.into_iter().chain(subject.notes.iter().cloned()).collect(),
        ..Extras::default()
    };
    let disks = subject.may_have_disks();
    if disks {
        extras.arguments.push(OsString::from("-S"));
    }
    let began = Instant::now();
    let vm = machine::launch_with(&subject.to_boot(), Arc::clone(home), extras)?;
    if disks {
        let folder = vm.dir().to_owned();
        disks::add_overlays(&vm, Overlay::New, |number| {
            folder.join(format!("disk-{number}.qcow2"))
        })?;
        if !subject.starts_paused() {
            let_run(&vm)?;
        }
    }
    subject.make_ready(&vm)?;
    vm.inner().note(format!(
        "the fixture `{}`, booted in {}",
        subject.name,
        seconds(began.elapsed())
    ));
    Ok(vm)
}

/// Lets the processors run, as if nobody had stopped them: without an event of it.
pub(super) fn let_run(vm: &Machine) -> Result<()> {
    vm.command("cont")?;
    vm.wait_event(EventFilter::new("RESUME"), EVENT).map(drop)
}
