//! How much disk all snapshots together may take: beyond that, the oldest that nobody uses go.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::manifest;
use super::store::{Snapshot, Store};

/// The disk that snapshots may take unless `QEMU_TEST_SNAPSHOT_CAP` says otherwise.
const CAP: u64 = 8 << 30;

/// The bytes that all snapshots may take.
pub(super) fn cap() -> u64 {
    match std::env::var("QEMU_TEST_SNAPSHOT_CAP") {
        Ok(text) if !text.is_empty() => parse(&text).unwrap_or_else(|| {
            log::error!(
                "QEMU_TEST_SNAPSHOT_CAP is `{text}`, not a size such as `500M` or `4G`: it is {CAP} bytes"
            );
            CAP
        }),
        _ => CAP,
    }
}

fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, shift) = match text.char_indices().next_back()? {
        (at, 'k' | 'K') => (&text[..at], 10),
        (at, 'm' | 'M') => (&text[..at], 20),
        (at, 'g' | 'G') => (&text[..at], 30),
        (at, 't' | 'T') => (&text[..at], 40),
        _ => (text, 0),
    };
    number.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

impl Snapshot {
    /// Notes that it is in use now.
    pub(super) fn touch(&self) {
        let touched = File::options()
            .write(true)
            .open(self.folder.with_extension("lock"))
            .and_then(|lock| lock.set_modified(SystemTime::now()));
        if let Err(error) = touched {
            log::debug!("cannot note that {} is in use: {error}", self.folder.display());
        }
    }
}

impl Store {
    /// Removes the snapshots that were not used for the longest time until all take no more than `cap`, and what dead
    /// makers left behind. What is in use stays.
    pub(super) fn shrink_to(&self, cap: u64) -> io::Result<()> {
        let mut snapshots = Vec::new();
        let mut total = 0;
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if !path.is_dir() {
                continue;
            }
            let size = disk_use(&path);
            total += size;
            // A folder that is being made belongs to the key of which it has the name.
            let used = fs::metadata(path.with_extension("lock")).and_then(|lock| lock.modified());
            snapshots.push((used.unwrap_or(SystemTime::UNIX_EPOCH), size, path));
        }
        snapshots.sort();
        for (_, size, path) in snapshots {
            let unfinished = path.extension().is_some();
            if (unfinished || total > cap) && self.remove_unused(&path)? {
                total = total.saturating_sub(size);
            }
        }
        Ok(())
    }

    /// False where it is in use.
    pub(super) fn remove_unused(&self, folder: &Path) -> io::Result<bool> {
        let name = folder.file_stem().unwrap_or_default().to_string_lossy();
        let Some(_making) = self.try_lock(&name)? else {
            return Ok(false);
        };
        if !folder.exists() {
            // Another process was here first, and the lock file is new.
            if folder.extension().is_none() {
                let _ = fs::remove_file(self.root.join(format!("{name}.lock")));
            }
            return Ok(true);
        }
        if folder.extension().is_some() {
            fs::remove_dir_all(folder)?;
            return Ok(true);
        }
        if let Ok(using) = File::open(folder.join(manifest::FILE))
            && using.try_lock().is_err()
        {
            return Ok(false);
        }
        log::info!("removing the snapshot {}: all take too much", folder.display());
        self.remove(folder)?;
        for extension in ["failed", "lock"] {
            let _ = fs::remove_file(self.root.join(format!("{name}.{extension}")));
        }
        Ok(true)
    }
}

/// What a folder takes on the disk: the files are sparse.
fn disk_use(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = files.map(|entry: fs::DirEntry| -> PathBuf { entry.path() });
    paths
        .filter_map(|path| fs::symlink_metadata(path).ok())
        .map(|metadata| metadata.blocks() * 512)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_bytes_or_has_a_unit() {
        assert_eq!(parse("1000"), Some(1000));
        assert_eq!(parse(" 4G "), Some(4 << 30));
        assert_eq!(parse("500m"), Some(500 << 20));
        assert_eq!(parse("0"), Some(0));
        for text in ["", "G", "-1", "1.5G", "much", "99999999999T"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
