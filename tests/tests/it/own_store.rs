//! Snapshots in a folder of a test's own, and processes of this executable that use them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A folder of snapshots of its own.
pub(crate) struct Store(tempfile::TempDir);

/// What came of a process.
pub(crate) struct Run {
    pub(crate) status: Option<i32>,
    pub(crate) output: String,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.0.path().join("snapshots")
    }

    pub(crate) fn artifacts(&self) -> PathBuf {
        self.0.path().join("artifacts")
    }

    pub(crate) fn boots_file(&self) -> PathBuf {
        self.0.path().join("boots")
    }

    /// The lines that the fixtures wrote: name and process of each machine that booted.
    pub(crate) fn boots(&self) -> Vec<String> {
        let boots = fs::read_to_string(self.boots_file()).unwrap_or_default();
        boots.lines().map(str::to_owned).collect()
    }

    /// The folders of whole snapshots.
    pub(crate) fn whole(&self) -> Vec<PathBuf> {
        self.entries(|path| path.is_dir() && path.extension().is_none())
    }

    /// The folders of whatever else there is.
    pub(crate) fn others(&self) -> Vec<PathBuf> {
        self.entries(|path| path.is_dir() && path.extension().is_some())
    }

    pub(crate) fn entries(&self, wanted: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.snapshots()).into_iter().flatten();
        entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| wanted(path))
            .collect()
    }

    pub(crate) fn command(&self, cases: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "--nocapture"])
            .args(cases.iter().map(|case| format!("fixture_cases::{case}")))
            .env("QEMU_TEST_SNAPSHOT_DIR", self.snapshots())
            .env("QEMU_TEST_DIR", self.artifacts())
            .env("CASES_BOOTS", self.boots_file())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for variable in [
            "QEMU_TEST_KEEP",
            "QEMU_TEST_SNAPSHOT_CAP",
            "NEXTEST_RUN_ID",
            "NEXTEST_ATTEMPT",
            "RUST_BACKTRACE",
        ] {
            command.env_remove(variable);
        }
        command.envs(variables.iter().copied());
        command
    }

    pub(crate) fn run(&self, cases: &[&str], variables: &[(&str, &str)]) -> Run {
        Run::of(self.command(cases, variables).output().unwrap())
    }

    #[track_caller]
    pub(crate) fn passes(&self, cases: &[&str]) {
        let run = self.run(cases, &[]);
        assert_eq!(run.status, Some(0), "{}", run.output);
        assert!(
            run.output.contains(&format!(" {} passed", cases.len())),
            "{}",
            run.output
        );
    }
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Self {
            status: output.status.code(),
            output: text(&output.stdout) + &text(&output.stderr),
        }
    }

    #[track_caller]
    pub(crate) fn says(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.output.contains(part), "{part:?} is not in\n{}", self.output);
        }
    }
}

/// Waits for what another process does to files: there is nothing else to wait for.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(120), "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}
