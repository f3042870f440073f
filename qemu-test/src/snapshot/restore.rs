//! A copy: a QEMU of its own that goes on where the guest was kept. It maps the RAM copy-on-write, reads the state of
//! the devices, and has an overlay of its own on each disk.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::json;

use super::boot::let_run;
use super::disks::{self, Overlay};
use super::make::memory;
use super::manifest;
use super::migration;
use super::probe;
use super::store::Snapshot;
use super::subject::Subject;
use crate::Machine;
use crate::console::Past;
use crate::error::{Error, Result, seconds};
use crate::machine::{self, Extras, Home};
use crate::qmp::Command;

/// Launches a copy that belongs to `home`.
pub(super) fn restore(subject: &Subject<'_>, snapshot: Snapshot, home: &Arc<dyn Home>) -> Result<Machine> {
    let Snapshot { folder, guest, lock } = snapshot;
    let mut extras = Extras {
        of_fixture: true,
        ..Extras::default()
    };
    extras.arguments.extend(guest.arguments.iter().map(Into::into));
    if let Some(size) = guest.memory {
        extras.arguments.extend(memory(size, &folder, "off"));
    }
    extras.arguments.extend(["-incoming", "defer"].map(Into::into));
    extras.notes.push(format!(
        "a copy of the fixture `{}`, which booted in {} ({})",
        subject.name,
        seconds(guest.boot),
        folder.display()
    ));
    extras.notes.extend(subject.notes.iter().cloned());
    for (number, unread) in guest.unread.iter().enumerate() {
        let bytes = fs::read(folder.join(manifest::console_file(number)))?;
        extras.consoles.push(Past {
            bytes,
            unread: *unread,
        });
    }
    let state = fs::read(folder.join(manifest::STATE))?;
    extras.kept.push(lock);

    let vm = machine::launch_with(&subject.builder, Arc::clone(home), extras)?;
    let restored = Copy { vm: &vm, state };
    let restored = restored.check(&guest.qemu).and_then(|()| {
        if guest.disks > 0 {
            restored.add_disks(&folder, guest.disks)?;
        }
        restored.load()?;
        vm.clear_events()?;
        if guest.running { let_run(&vm) } else { Ok(()) }
    });
    match restored {
        Ok(()) => Ok(vm),
        Err(error) => {
            // Whoever asked decides what this means; the machine's end is no news.
            let _ = vm.kill();
            Err(error)
        }
    }
}

struct Copy<'a> {
    vm: &'a Machine,
    state: Vec<u8>,
}

impl Copy<'_> {
    fn check(&self, made_by: &str) -> Result<()> {
        let version = probe::version(self.vm)?;
        if version == made_by {
            Ok(())
        } else {
            Err(Error::other(format!(
                "the snapshot was made by QEMU {made_by}, and this is {version}"
            )))
        }
    }

    fn add_disks(&self, folder: &std::path::Path, expected: usize) -> Result<()> {
        let found = disks::count(self.vm)?;
        if found != expected {
            return Err(Error::other(format!(
                "the snapshot has {expected} disks, and the copy {found}"
            )));
        }
        disks::add_overlays(self.vm, Overlay::Existing, |number| {
            folder.join(manifest::disk_file(number))
        })?;
        let own = self.vm.dir();
        disks::add_overlays(self.vm, Overlay::New, |number| {
            own.join(manifest::disk_file(number))
        })?;
        Ok(())
    }

    fn load(&self) -> Result<()> {
        migration::prepare(self.vm)?;
        let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).map_err(std::io::Error::from)?;
        self.vm.send_fd(migration::FD, &theirs)?;
        drop(theirs);
        std::thread::scope(|scope| {
            // The pipe holds less than this, and QEMU reads only while it loads. When it does not, our end breaks.
            scope.spawn(|| std::fs::File::from(ours).write_all(&self.state));
            let uri = json!({ "uri": migration::uri() });
            self.vm.command(Command::new("migrate-incoming").arguments(uri))?;
            migration::completed(self.vm)
        })
    }
}
