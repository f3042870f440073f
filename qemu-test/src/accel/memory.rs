//! What an earlier process found out, kept in a file until what it depends on changes.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::probe::Verdict;
use crate::artifacts;

/// The folder of these files below the artifacts. No package has a name that begins with a dot.
const FOLDER: &str = ".accel";

/// Changes with the trial: what another one found out is worth nothing.
const FORMAT: u32 = 1;

/// How long another process's trial is waited for. It is done sooner unless it hangs.
const OTHERS: Duration = Duration::from_secs(60);

/// Where the verdict on one program is remembered.
pub(super) struct Memory {
    folder: PathBuf,
    name: String,
    /// All that it depends on.
    depends_on: String,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Remembered {
    depends_on: String,
    verdict: Verdict,
}

impl Memory {
    pub(super) fn of(program: &Path) -> Self {
        Self::new(artifacts::root().join(FOLDER), program)
    }

    fn new(folder: PathBuf, program: &Path) -> Self {
        Self {
            folder,
            name: format!("{:x}", md5::compute(program.as_os_str().as_bytes())),
            depends_on: depends_on(program),
        }
    }

    /// The verdict of an earlier process; else that of `probe`, for later ones. Of several processes one tries.
    pub(super) fn recall_or(&self, probe: impl FnOnce() -> io::Result<Verdict>) -> io::Result<Verdict> {
        if let Some(verdict) = self.recall() {
            return Ok(verdict);
        }
        // Memory is a convenience: without a file that can be written to, each process tries for itself.
        let _lock = self.lock().map_err(|error| {
            log::warn!(
                "cannot lock the result of an earlier trial of KVM in {}: {error}",
                self.folder.display()
            );
        });
        if let Some(verdict) = self.recall() {
            return Ok(verdict);
        }
        let verdict = probe()?;
        if let Err(error) = self.remember(&verdict) {
            log::warn!(
                "cannot keep the result of the trial of KVM in {}: {error}",
                self.folder.display()
            );
        }
        Ok(verdict)
    }

    fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.name))
    }

    fn recall(&self) -> Option<Verdict> {
        let text = fs::read(self.file()).ok()?;
        // A file that cannot be read is one of another version.
        let remembered: Remembered = serde_json::from_slice(&text).ok()?;
        (remembered.depends_on == self.depends_on).then_some(remembered.verdict)
    }

    fn remember(&self, verdict: &Verdict) -> io::Result<()> {
        let remembered = Remembered {
            depends_on: self.depends_on.clone(),
            verdict: verdict.clone(),
        };
        // A reader sees the old file or the new one, and never a part.
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        serde_json::to_writer_pretty(&mut file, &remembered)?;
        file.persist(self.file())?;
        Ok(())
    }

    /// Holds the lock until what it returns is dropped. Another process that hangs with it is not waited for.
    fn lock(&self) -> io::Result<File> {
        fs::create_dir_all(&self.folder)?;
        let file = File::create(self.folder.join(format!("{}.lock", self.name)))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // No lock of Linux's has a limit. This thread ends with the wait for it, or with the process.
        let (sender, locked) = mpsc::channel();
        let blocking = file.try_clone()?;
        std::thread::Builder::new()
            .name("qemu-test accel".to_owned())
            .spawn(move || sender.send(blocking.lock().map(|()| file)))?;
        locked.recv_timeout(OTHERS).unwrap_or_else(|_| {
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "another process has it and hangs",
            ))
        })
    }
}

/// The program, the kernel and the processors, as far as files tell. The file's time and size stand for QEMU's
/// version: to ask the program itself takes as long as half a trial.
fn depends_on(program: &Path) -> String {
    let file = fs::metadata(program)
        .map(|meta| format!("{}.{} {}", meta.mtime(), meta.mtime_nsec(), meta.size()))
        .unwrap_or_default();
    let uname = rustix::system::uname();
    let kernel = [
        uname.nodename(),
        uname.release(),
        uname.version(),
        uname.machine(),
    ];
    let kernel: Vec<_> = kernel.iter().map(|part| part.to_string_lossy()).collect();
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find(|line| line.starts_with("model name"));
    format!(
        "format {FORMAT}; {} of {file}; {}; {}",
        program.display(),
        kernel.join(" "),
        model
            .and_then(|line| line.split_once(':'))
            .map_or("", |(_, model)| model.trim())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(reason: &str) -> Verdict {
        let reason = reason.to_owned();
        Verdict { works: false, reason }
    }

    fn recalled(memory: &Memory, otherwise: &str) -> String {
        memory.recall_or(|| Ok(verdict(otherwise))).unwrap().reason
    }

    #[test]
    fn a_verdict_holds_until_the_program_changes() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("qemu");
        fs::write(&program, "one").unwrap();
        let memory = || Memory::new(folder.path().join("memory"), &program);
        assert_eq!(recalled(&memory(), "first"), "first");
        assert_eq!(recalled(&memory(), "second"), "first");
        fs::write(&program, "another").unwrap();
        assert_eq!(recalled(&memory(), "third"), "third");
        fs::write(memory().file(), "{ no JSON").unwrap();
        assert_eq!(recalled(&memory(), "fourth"), "fourth");
    }

    #[test]
    fn of_several_at_once_one_tries() {
        let folder = tempfile::tempdir().unwrap();
        let tried = std::sync::atomic::AtomicU32::new(0);
        let answers: Vec<String> = std::thread::scope(|scope| {
            let try_it = || {
                let memory = Memory::new(folder.path().to_owned(), Path::new("/bin/sh"));
                let number = || tried.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let answer = memory.recall_or(|| Ok(verdict(&format!("trial {}", number()))));
                answer.unwrap().reason
            };
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(try_it)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(answers.iter().all(|answer| answer == "trial 0"), "{answers:?}");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_no_reason_to_fail() {
        let memory = Memory::new("/proc/nowhere".into(), Path::new("/bin/sh"));
        assert_eq!(recalled(&memory, "tried"), "tried");
        assert_eq!(recalled(&memory, "tried again"), "tried again");
    }
}
