//! One victim, in a process and with files of its own.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A victim that is to be run.
pub(crate) struct Victim {
    name: &'static str,
    command: Command,
    folder: tempfile::TempDir,
}

/// What came of it.
pub(crate) struct Outcome {
    /// Everything that was printed.
    pub(crate) output: String,
    pub(crate) status: Option<i32>,
    pub(crate) took: Duration,
    pub(crate) folder: tempfile::TempDir,
}

impl Victim {
    pub(crate) fn new(name: &'static str) -> Self {
        Self::by(name, &[])
    }

    /// The victim's process is started by another program.
    pub(crate) fn by(name: &'static str, starter: &[&str]) -> Self {
        let executable = std::env::current_exe().unwrap();
        let mut words: Vec<&OsStr> = starter.iter().map(OsStr::new).collect();
        words.push(executable.as_os_str());
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        let folder = tempfile::Builder::new()
            .prefix("faults-")
            .tempdir_in("/tmp")
            .unwrap();
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        command
            .args(["--ignored", "--exact", &format!("victims::{name}")])
            .env("QEMU_TEST_DIR", folder.path().join("artifacts"))
            .env("TMPDIR", folder.path().join("tmp"))
            .env_remove("QEMU_TEST_KEEP")
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::null());
        Self {
            name,
            command,
            folder,
        }
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// A folder of this name for the artifacts or the temporary files, in the victim's own.
    pub(crate) fn folder(mut self, variable: &str, name: &[u8]) -> Self {
        let path = self.folder.path().join(OsStr::from_bytes(name));
        std::fs::create_dir_all(&path).unwrap();
        self.command.env(variable, path);
        self
    }

    /// Lets any user write into its folders.
    pub(crate) fn opens(&self, mode: std::fs::Permissions) {
        for folder in ["", "tmp", "artifacts"] {
            std::fs::set_permissions(self.folder.path().join(folder), mode.clone()).unwrap();
        }
    }

    /// Runs it to its end: a pass, after which nothing is left.
    #[track_caller]
    pub(crate) fn passes(self) -> Outcome {
        let outcome = self.ends();
        assert_eq!(outcome.status, Some(0), "{}", outcome.output);
        assert!(outcome.output.contains(" 1 passed"), "{}", outcome.output);
        outcome.left_nothing();
        let files = files(&outcome.folder.path().join("artifacts"));
        assert!(files.is_empty(), "{files:?} are left");
        outcome
    }

    /// Runs it to its end: a failure with a report.
    #[track_caller]
    pub(crate) fn fails(self) -> Outcome {
        let outcome = self.ends();
        assert_eq!(outcome.status, Some(101), "{}", outcome.output);
        outcome.left_nothing();
        outcome
    }

    /// Runs it to its end, whatever that is.
    #[track_caller]
    pub(crate) fn ends(mut self) -> Outcome {
        let began = Instant::now();
        let Output {
            status,
            stdout,
            stderr,
        } = self.command.output().unwrap();
        let output = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let output = output.concat();
        assert!(
            output.contains(&format!("victims::{}", self.name)),
            "it did not run: {output}"
        );
        Outcome {
            output,
            status: status.code(),
            took: began.elapsed(),
            folder: self.folder,
        }
    }
}

impl Outcome {
    #[track_caller]
    pub(crate) fn says(&self, parts: &[&str]) -> &Self {
        for part in parts {
            assert!(self.output.contains(part), "{part:?} is not in\n{}", self.output);
        }
        self
    }

    /// The first line of the report.
    #[track_caller]
    pub(crate) fn cause(&self) -> &str {
        let line = self
            .output
            .lines()
            .find(|line| line.starts_with("──── qemu-test ────"));
        line.unwrap_or_else(|| panic!("no report in\n{}", self.output))
    }

    #[track_caller]
    fn left_nothing(&self) {
        let temporary = files(&self.folder.path().join("tmp"));
        assert!(temporary.is_empty(), "{temporary:?} are left");
    }
}

/// All files below a folder, which need not be there.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        found.extend(files(&path));
        found.push(path);
    }
    found
}
