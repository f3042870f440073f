//! Where snapshots are: one folder each, that appears whole or not at all, and is there for every process.
//!
//! A folder `<key>` is a complete snapshot. Whoever makes one holds a lock on `<key>.lock`, works in
//! `<key>.making-<pid>` and renames that. Whoever uses one holds a shared lock on its manifest, for as long as the
//! machine lives. The kernel releases both when their process ends, however it ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::failure::{self, Failure};
use super::key::Key;
use super::manifest::{self, Guest, Manifest};
use crate::artifacts;
use crate::error::{Error, Result};

/// The folder of all snapshots.
#[derive(Clone, Debug)]
pub(super) struct Store {
    pub(super) root: PathBuf,
}

/// A snapshot that is in use: it stays for as long as this does.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) folder: PathBuf,
    pub(super) guest: Guest,
    /// The manifest, locked.
    pub(super) lock: File,
}

/// A snapshot that was used, and by whoever used it found of no use.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) folder: PathBuf,
    lock: File,
}

impl Snapshot {
    pub(super) fn handle(&self) -> io::Result<Handle> {
        Ok(Handle {
            folder: self.folder.clone(),
            lock: self.lock.try_clone()?,
        })
    }
}

/// What there is for a key.
pub(super) enum Found {
    Snapshot(Snapshot),
    Unfit(String),
    /// One with this flaw.
    Unsound(String),
    Nothing,
}

/// For whom a machine cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnfitFor {
    /// For everybody: QEMU says so.
    Good,
    /// For this run of tests: what happened need not happen again.
    ThisRun,
    /// For whoever asked just now.
    Now,
}

/// What making a snapshot comes to.
pub(super) enum Made {
    Guest(Guest),
    Unfit(UnfitFor, String),
    /// The boot failed, with the whole story.
    Failed(String),
}

/// What a test can do.
pub(super) enum Offer {
    /// Use this; it was made just now, or not.
    Snapshot(Snapshot, bool),
    /// Boot by itself, for this reason.
    Unfit(String),
    /// Fail.
    Failed(String),
}

impl Store {
    pub(super) fn open() -> Result<Self> {
        let root = match std::env::var_os("QEMU_TEST_SNAPSHOT_DIR").filter(|root| !root.is_empty()) {
            Some(root) => PathBuf::from(root),
            None => artifacts::place("qemu-test-snapshots"),
        };
        Self::at(&root)
    }

    pub(super) fn at(root: &Path) -> Result<Self> {
        let doing = || format!("making the folder of snapshots, {}", root.display());
        let root = std::path::absolute(root).map_err(|e| Error::io(doing(), e))?;
        fs::create_dir_all(&root).map_err(|e| Error::io(doing(), e))?;
        Ok(Self { root })
    }

    fn folder(&self, key: &Key) -> PathBuf {
        self.root.join(&key.digest)
    }

    /// The snapshot for `key`, made by `make` in the folder that it is given if there is none. Of all who ask at the
    /// same time, one makes it and the others wait, with what `waiting` returns.
    pub(super) fn obtain<W>(
        &self,
        key: &Key,
        waiting: impl FnOnce() -> W,
        make: impl FnOnce(&Path) -> Result<Made>,
    ) -> Result<Offer> {
        if let Some(offer) = self.offer(key) {
            return Ok(offer);
        }
        let doing = |what: &str| format!("{what} the snapshot {}", self.folder(key).display());
        let _lock = {
            let _waiting = waiting();
            self.lock(key).map_err(|e| Error::io(doing("locking"), e))?
        };
        // Whoever had the lock may have made it.
        if let Some(offer) = self.offer(key) {
            return Ok(offer);
        }
        if let Some(failure) = failure::recall(&self.failure(key)) {
            return Ok(Offer::Failed(failure.told_again()));
        }
        self.sweep(key);
        let folder = self.new_folder(key).map_err(|e| Error::io(doing("making"), e))?;
        let published = make(&folder).and_then(|made| {
            let storing = |e| Error::io(doing("storing"), e);
            let manifest = match made {
                Made::Failed(story) => {
                    failure::remember(&self.failure(key), &Failure::now(story.clone()));
                    return Ok(Some(Offer::Failed(story)));
                }
                Made::Unfit(UnfitFor::Now, reason) => return Ok(Some(Offer::Unfit(reason))),
                Made::Unfit(whom, reason) => {
                    // Whatever was begun is of no use.
                    fs::remove_dir_all(&folder).map_err(storing)?;
                    fs::create_dir(&folder).map_err(storing)?;
                    Manifest::unfit(whom, reason)
                }
                Made::Guest(mut guest) => {
                    fs::write(folder.join("key.txt"), &key.text).map_err(storing)?;
                    guest.seal(&folder).map_err(storing)?;
                    Manifest::Guest(guest)
                }
            };
            manifest.write(&folder).map_err(storing)?;
            fs::rename(&folder, self.folder(key)).map_err(storing)?;
            Ok(None)
        });
        if !matches!(published, Ok(None)) {
            let _ = fs::remove_dir_all(&folder);
        }
        if let Some(offer) = published? {
            return Ok(offer);
        }
        match self.find(key) {
            Found::Snapshot(snapshot) => Ok(Offer::Snapshot(snapshot, true)),
            Found::Unfit(reason) => Ok(Offer::Unfit(reason)),
            Found::Unsound(flaw) => Ok(Offer::Unfit(flaw)),
            Found::Nothing => Ok(Offer::Unfit(doing("something else removed"))),
        }
    }

    fn offer(&self, key: &Key) -> Option<Offer> {
        match self.find(key) {
            Found::Snapshot(snapshot) => Some(Offer::Snapshot(snapshot, false)),
            Found::Unfit(reason) => Some(Offer::Unfit(reason)),
            Found::Unsound(flaw) => {
                log::warn!("the snapshot {} is not used: {flaw}", self.folder(key).display());
                None
            }
            Found::Nothing => None,
        }
    }

    /// The snapshot for `key`, if there is a sound one.
    fn find(&self, key: &Key) -> Found {
        let folder = self.folder(key);
        let path = folder.join(manifest::FILE);
        let Ok(lock) = File::open(&path) else {
            return Found::Nothing;
        };
        // Only who removes it holds it alone; and it may be gone by the time that it is locked.
        if lock.try_lock_shared().is_err() || !is_at(&lock, &path) {
            return Found::Nothing;
        }
        match Manifest::read(&lock) {
            Ok(Manifest::Unfit { run: Some(run), .. }) if run != failure::run() => Found::Nothing,
            Ok(Manifest::Unfit { reason, .. }) => Found::Unfit(reason),
            Ok(Manifest::Guest(guest)) => match guest.flaw(&folder) {
                Some(flaw) => Found::Unsound(flaw),
                None => Found::Snapshot(Snapshot { folder, guest, lock }),
            },
            Err(error) => Found::Unsound(format!("its manifest cannot be read: {error}")),
        }
    }

    /// Takes away a snapshot that turned out to be of no use, unless somebody did that already. Machines that were
    /// made from it keep their files open.
    pub(super) fn discard(&self, key: &Key, snapshot: Handle) -> io::Result<()> {
        let _lock = self.lock(key)?;
        self.remove_this(snapshot).map(drop)
    }

    /// Notes that a snapshot that was made cannot be used, unless somebody made another one: every test of this run
    /// boots by itself from now on.
    pub(super) fn declare_unfit(&self, key: &Key, snapshot: Handle, reason: &str) -> io::Result<()> {
        let _lock = self.lock(key)?;
        if !self.remove_this(snapshot)? {
            return Ok(());
        }
        let folder = self.new_folder(key)?;
        Manifest::unfit(UnfitFor::ThisRun, reason.to_owned()).write(&folder)?;
        fs::rename(&folder, self.folder(key))
    }

    /// Under the lock: removes this snapshot. False where another one, or none, is in its place.
    fn remove_this(&self, snapshot: Handle) -> io::Result<bool> {
        let there = is_at(&snapshot.lock, &snapshot.folder.join(manifest::FILE));
        drop(snapshot.lock);
        if there {
            self.remove(&snapshot.folder)?;
        }
        Ok(there)
    }

    /// Removes a folder that others may be looking at: under another name first, so that nobody finds half of it.
    pub(super) fn remove(&self, folder: &Path) -> io::Result<()> {
        let gone = folder.with_extension(format!("gone-{}", unique()));
        fs::rename(folder, &gone)?;
        fs::remove_dir_all(&gone)
    }

    /// Removes what makers of this snapshot left behind that did not come to an end, and what is unsound. Under the
    /// lock: whatever is there is nobody's.
    fn sweep(&self, key: &Key) {
        let prefix = format!("{}.", key.digest);
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(&prefix) && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let folder = self.folder(key);
        if folder.exists()
            && let Err(error) = self.remove(&folder)
        {
            log::warn!("cannot remove {}: {error}", folder.display());
        }
    }

    fn new_folder(&self, key: &Key) -> io::Result<PathBuf> {
        let folder = self.root.join(format!("{}.making-{}", key.digest, unique()));
        fs::create_dir(&folder)?;
        Ok(folder)
    }

    fn failure(&self, key: &Key) -> PathBuf {
        self.root.join(format!("{}.failed", key.digest))
    }

    fn lock(&self, key: &Key) -> io::Result<File> {
        let path = self.root.join(format!("{}.lock", key.digest));
        loop {
            let file = open_lock(&path)?;
            file.lock()?;
            // A lock file may be removed by who holds it: then this is a lock on nothing.
            if is_at(&file, &path) {
                return Ok(file);
            }
        }
    }

    /// The same without waiting: `None` where somebody else has it.
    pub(super) fn try_lock(&self, name: &str) -> io::Result<Option<File>> {
        let path = self.root.join(format!("{name}.lock"));
        let file = open_lock(&path)?;
        match file.try_lock() {
            Ok(()) => Ok(is_at(&file, &path).then_some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

/// Whether `path` leads to this open file.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(there)) => open.ino() == there.ino() && open.dev() == there.dev(),
        _ => false,
    }
}

fn unique() -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    )
}

#[cfg(test)]
mod tests;
