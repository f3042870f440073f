//! What a snapshot is made of: a machine, and what brings it to the state that is kept.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};
use crate::images;
use crate::{Machine, MachineBuilder};

/// A machine with what makes it ready.
#[derive(Clone)]
pub(crate) struct Subject<'a> {
    /// What reports call the fixture.
    pub(crate) name: &'a str,
    pub(crate) builder: MachineBuilder,
    /// What else there is to say of the machine in a report.
    pub(crate) notes: Vec<String>,
    ready: &'a dyn Fn(&Machine) -> Result<()>,
    /// What stands for all that `ready` does.
    pub(super) identity: Identity,
}

/// What stands for a fixture's `ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// The fixture says it itself.
    Text(String),
    /// The code: this executable, and the type in it.
    Executable { type_name: &'static str },
}

impl<'a> Subject<'a> {
    pub(crate) fn new(
        name: &'a str,
        mut builder: MachineBuilder,
        ready: &'a dyn Fn(&Machine) -> Result<()>,
        cache_key: Option<String>,
        type_name: &'static str,
    ) -> Self {
        builder.arguments = without_snapshot(builder.arguments);
        let identity = match cache_key {
            Some(text) => Identity::Text(text),
            None => Identity::Executable { type_name },
        };
        Self {
            name,
            builder,
            notes: Vec::new(),
            ready,
            identity,
        }
    }

    /// The machine for a boot: many of them, and copies, have the same images at once.
    pub(super) fn to_boot(&self) -> MachineBuilder {
        MachineBuilder {
            arguments: images::without_locks(&self.builder.arguments),
            ..self.builder.clone()
        }
    }

    /// Brings the machine to where tests begin. A panic is an error like any other here: it is told to every test
    /// that needs the fixture, not only to the one that came first.
    pub(super) fn make_ready(&self, vm: &Machine) -> Result<()> {
        let not_ready =
            |why: String| Error::other(format!("the fixture `{}` is not ready: {why}", self.name));
        match catch_unwind(AssertUnwindSafe(|| (self.ready)(vm))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(not_ready(error.to_string())),
            Err(payload) => {
                let message = payload
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| payload.downcast_ref::<&str>().copied());
                Err(not_ready(format!("it panicked: {}", message.unwrap_or("?"))))
            }
        }
    }

    /// Whether the processors are to stand still until the user lets them run.
    pub(super) fn starts_paused(&self) -> bool {
        let paused = |argument: &OsString| argument == "-S" || argument == "--S";
        self.builder.qtest || self.builder.arguments.iter().any(paused)
    }

    /// Whether there may be a disk: then it is worth asking QEMU.
    pub(super) fn may_have_disks(&self) -> bool {
        const OPTIONS: [&str; 12] = [
            "drive",
            "blockdev",
            "hda",
            "hdb",
            "hdc",
            "hdd",
            "sd",
            "mtdblock",
            "pflash",
            "fda",
            "fdb",
            "readconfig",
        ];
        self.builder.arguments.iter().any(|argument| {
            let option = argument.to_str().unwrap_or_default();
            OPTIONS.contains(&option.trim_start_matches('-')) && option.starts_with('-')
        })
    }
}

/// The arguments without `-snapshot` and `snapshot=on`. A fixture's images are never written, so they say nothing new;
/// and QEMU would take the overlays that keep it so for temporary files, and remove them.
fn without_snapshot(arguments: Vec<OsString>) -> Vec<OsString> {
    let mut kept: Vec<OsString> = Vec::with_capacity(arguments.len());
    for argument in arguments {
        if argument == "-snapshot" || argument == "--snapshot" {
            continue;
        }
        let of_drive = kept
            .last()
            .is_some_and(|option| option == "-drive" || option == "--drive");
        kept.push(if of_drive {
            drive_without_snapshot(&argument)
        } else {
            argument
        });
    }
    kept
}

fn drive_without_snapshot(drive: &OsStr) -> OsString {
    let options: Vec<&[u8]> = drive
        .as_bytes()
        .split(|byte| *byte == b',')
        .filter(|option| *option != b"snapshot=on")
        .collect();
    OsString::from_vec(options.join(&b','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_that_is_never_written_needs_no_snapshot_option() {
        let arguments = [
            "-snapshot",
            "-drive",
            "file=/a,,b,snapshot=on,if=virtio",
            "-append",
            "snapshot=on",
        ];
        let kept = without_snapshot(arguments.map(OsString::from).to_vec());
        assert_eq!(kept, ["-drive", "file=/a,,b,if=virtio", "-append", "snapshot=on"]);
    }
}
