//! What a snapshot says of itself.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::failure;
use super::files::FileIdentity;
use super::store::UnfitFor;

/// The file in a snapshot's folder that has the manifest. Whoever uses the snapshot holds a lock on it.
pub(super) const FILE: &str = "manifest.json";

/// The file with the guest's RAM, where that is in a file.
pub(super) const RAM: &str = "ram";

/// The file with the state of the devices.
pub(super) const STATE: &str = "state";

/// The file with what the console of this number said.
pub(super) fn console_file(number: usize) -> String {
    format!("console-{number}.log")
}

/// The overlay on the writable image of this number.
pub(super) fn disk_file(number: usize) -> String {
    format!("disk-{number}.qcow2")
}

/// What became of a machine that was to be kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Manifest {
    Guest(Guest),
    /// It cannot be kept, for this reason.
    Unfit {
        reason: String,
        /// The only run of tests for which that counts, where another one may have more luck.
        run: Option<String>,
    },
}

/// A guest that was kept.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Guest {
    /// As QEMU says it: the program file may be a script that runs another one.
    pub(super) qemu: String,
    /// How long it took to boot.
    pub(super) boot: Duration,
    /// The size of its RAM, where that is in a file.
    pub(super) memory: Option<u64>,
    /// Whether its processors ran.
    pub(super) running: bool,
    /// Arguments that are not the user's and that a copy needs, too.
    pub(super) arguments: Vec<String>,
    pub(super) disks: usize,
    /// For each console, how much of what it said no wait has consumed.
    pub(super) unread: Vec<usize>,
    /// The snapshot's own files, as they were when they were complete.
    files: BTreeMap<String, FileIdentity>,
    /// The images that its disks are made on, as they were before it booted.
    images: Images,
}

/// Images by their paths.
pub(super) type Images = BTreeMap<String, FileIdentity>;

impl Guest {
    #[expect(clippy::too_many_arguments, reason = "each is a field")]
    pub(super) fn new(
        qemu: String,
        boot: Duration,
        memory: Option<u64>,
        running: bool,
        arguments: Vec<String>,
        disks: usize,
        unread: Vec<usize>,
        images: Images,
    ) -> Self {
        Self {
            qemu,
            boot,
            memory,
            running,
            arguments,
            disks,
            unread,
            files: BTreeMap::new(),
            images,
        }
    }

    /// Makes sure that all files in `folder` are on the disk, and remembers what they are: after a crash of the host
    /// they are either whole or known not to be.
    pub(super) fn seal(&mut self, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            File::open(entry.path())?.sync_all()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            self.files.insert(name, FileIdentity::of(&entry.path())?);
        }
        Ok(())
    }

    /// What is not as it was when the snapshot was made, if anything.
    pub(super) fn flaw(&self, folder: &Path) -> Option<String> {
        let own = self
            .files
            .iter()
            .map(|(name, identity)| (folder.join(name), identity));
        let images = self.images.iter().map(|(path, identity)| (path.into(), identity));
        own.chain(images).find_map(|(path, identity)| {
            let now = match FileIdentity::of(&path) {
                Ok(now) => now,
                Err(error) => return Some(format!("`{}` is gone: {error}", path.display())),
            };
            (now != *identity).then(|| format!("`{}` was {identity}, and is {now}", path.display()))
        })
    }
}

impl Manifest {
    pub(super) fn unfit(whom: UnfitFor, reason: String) -> Self {
        let run = (whom == UnfitFor::ThisRun).then(failure::run);
        Self::Unfit { reason, run }
    }

    pub(super) fn write(&self, folder: &Path) -> io::Result<()> {
        let path = folder.join(FILE);
        fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        File::open(&path)?.sync_all()
    }

    pub(super) fn read(mut file: &File) -> io::Result<Self> {
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        Ok(serde_json::from_slice(&text)?)
    }
}
