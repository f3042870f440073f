//! QEMU's stdout and stderr: a file that QEMU itself writes, so that nothing of ours has to keep up with it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How much of a log is read into memory at most.
const TAIL: u64 = 256 * 1024;

/// A log file, of which the end can be read while it grows.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Makes the file. QEMU appends to it: two descriptors with offsets of their own would overwrite each other.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = File::options()
            .read(true)
            .append(true)
            .create_new(true)
            .open(path)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Reads the tail whenever it is called, without borrowing from the machine.
    pub(crate) fn tail_reader(&self) -> io::Result<impl Fn() -> String + Send + Sync + use<>> {
        let log = Self {
            path: self.path.clone(),
            file: self.file.try_clone()?,
        };
        Ok(move || {
            log.tail()
                .unwrap_or_else(|e| format!("[the log cannot be read: {e}]"))
        })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The end of the log. Invalid UTF-8 becomes U+FFFD.
    pub(crate) fn tail(&self) -> io::Result<String> {
        self.tail_of(TAIL)
    }

    fn tail_of(&self, most: u64) -> io::Result<String> {
        let length = self.file.metadata()?.len();
        let start = length.saturating_sub(most);
        let mut bytes = vec![0; (length - start) as usize];
        let mut read = 0;
        while read < bytes.len() {
            match self.file.read_at(&mut bytes[read..], start + read as u64)? {
                0 => break,
                n => read += n,
            }
        }
        bytes.truncate(read);
        let text = String::from_utf8_lossy(&bytes);
        if start == 0 {
            return Ok(text.into_owned());
        }
        // The first line is cut somewhere: begin with a whole one, where there is one.
        let whole = text.split_once('\n').map_or(&*text, |(_, rest)| rest);
        Ok(format!(
            "[… {start} bytes before this are in {}]\n{whole}",
            self.path.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_tail_begins_with_a_whole_line_and_survives_invalid_utf_8() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::create(&dir.path().join("qemu.log")).unwrap();
        assert_eq!(log.tail().unwrap(), "");
        (&log.file).write_all(b"first line\nsecond \xff\n").unwrap();
        assert_eq!(log.tail().unwrap(), "first line\nsecond \u{fffd}\n");
        let tail = log.tail_of(12).unwrap();
        assert!(
            tail.starts_with("[… 8 bytes before") && tail.ends_with("]\nsecond \u{fffd}\n"),
            "{tail}"
        );
    }
}
