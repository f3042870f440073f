//! The images of a machine that a guest may write: an overlay takes every write, so that the image itself stays.
//!
//! QEMU makes the overlays, on the running machine and before its processors run (`blockdev-snapshot-sync`). So the
//! command line is left as it is, whichever of its many ways the user chose to name an image; and the image is opened
//! as the user says, by as many copies as there are: a machine that waits for a migration takes no lock on its images,
//! and one that boots is told to take none.

use std::path::Path;

use serde_json::{Value, json};

use crate::Machine;
use crate::error::{Error, Result};
use crate::qmp::Command;

/// Whether a new overlay is made or one is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overlay {
    New,
    Existing,
}

/// The disk that a guest may write, by the name of its topmost node.
struct Disk {
    node: String,
    name: String,
}

/// How many images the guest may write.
pub(super) fn count(vm: &Machine) -> Result<usize> {
    writable(vm).map(|disks| disks.len())
}

/// Puts an overlay on each writable image: `file` says where the one on the image of that number is.
pub(super) fn add_overlays(
    vm: &Machine,
    overlay: Overlay,
    file: impl Fn(usize) -> std::path::PathBuf,
) -> Result<usize> {
    let disks = writable(vm)?;
    for (number, disk) in disks.iter().enumerate() {
        let path = file(number);
        let (mode, node) = match overlay {
            Overlay::New => ("absolute-paths", format!("qemu-test-disk-{number}")),
            Overlay::Existing => ("existing", format!("qemu-test-kept-{number}")),
        };
        let command = Command::new("blockdev-snapshot-sync").arguments(json!({
            "node-name": disk.node,
            "snapshot-file": utf_8(&path)?,
            "snapshot-node-name": node,
            "format": "qcow2",
            "mode": mode,
        }));
        vm.command(command)
            .map_err(|error| Error::other(format!("no overlay on the disk `{}`: {error}", disk.name)))?;
    }
    Ok(disks.len())
}

fn writable(vm: &Machine) -> Result<Vec<Disk>> {
    let devices = vm.command("query-block")?;
    Ok(devices
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(disk)
        .collect())
}

fn disk(device: &Value) -> Option<Disk> {
    let image = device.get("inserted")?;
    let driver = image["drv"].as_str().unwrap_or_default();
    // What is written to these is nowhere.
    if image["ro"] == true || driver.starts_with("null-") {
        return None;
    }
    let named = |field: &str| device[field].as_str().filter(|name| !name.is_empty());
    Some(Disk {
        node: image["node-name"].as_str()?.to_owned(),
        name: named("device")
            .or_else(|| named("qdev"))
            .unwrap_or("?")
            .to_owned(),
    })
}

fn utf_8(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::other(format!(
            "the path {} is no UTF-8, which QMP needs",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_guest_can_write_and_read_again_needs_an_overlay() {
        let device = |ro: bool, drv: &str| json!({ "device": "", "qdev": "/machine/x", "inserted": { "ro": ro, "drv": drv, "node-name": "n" } });
        assert_eq!(
            disk(&device(false, "raw")).map(|disk| disk.name).as_deref(),
            Some("/machine/x")
        );
        assert!(disk(&device(true, "raw")).is_none());
        assert!(disk(&device(false, "null-co")).is_none());
        assert!(disk(&json!({ "device": "cd0" })).is_none());
    }
}
