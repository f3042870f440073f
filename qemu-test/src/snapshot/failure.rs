//! A boot that failed is not tried again by every test of a run: the others fail at once, with the same report.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// A failure older than this is tried again, whoever asks.
const VALID: Duration = Duration::from_secs(600);

/// A boot that failed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failure {
    /// The run of tests in which it failed.
    run: String,
    /// Which attempt at its test that was, where the runner tries again.
    attempt: u32,
    at: SystemTime,
    story: String,
}

impl Failure {
    pub(super) fn now(story: String) -> Self {
        Self {
            run: run(),
            attempt: attempt(),
            at: SystemTime::now(),
            story,
        }
    }

    /// For a test that did not see it itself.
    pub(super) fn told_again(&self) -> String {
        let ago = self.at.elapsed().unwrap_or_default().as_secs();
        let (first, rest) = self.story.split_once('\n').unwrap_or((&self.story, ""));
        format!("{first} (tried {ago} s ago, and once a run)\n{rest}")
    }

    fn counts(&self, run: &str, attempt: u32) -> bool {
        // A runner that tries a test again means it. A clock that was turned back is no reason to fail.
        let age = self.at.elapsed().unwrap_or(VALID);
        self.run == run && attempt <= self.attempt && age < VALID
    }
}

/// The failure that is noted in `path`, if this run must not try again.
pub(super) fn recall(path: &Path) -> Option<Failure> {
    let failure: Failure = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    if failure.counts(&run(), attempt()) {
        return Some(failure);
    }
    let _ = fs::remove_file(path);
    None
}

/// Notes a failure for the others of this run.
pub(super) fn remember(path: &Path, failure: &Failure) {
    let written = serde_json::to_vec(failure)
        .map_err(Into::into)
        .and_then(|text| fs::write(path, text));
    if let Err(error) = written {
        log::warn!("cannot note a failed boot in {}: {error}", path.display());
    }
}

/// What all test processes of one run have in common: nextest says it, and the test executables of one `cargo test`
/// have the same parent. A program that somebody started by hand is a run of its own.
pub(super) fn run() -> String {
    if let Ok(id) = std::env::var("NEXTEST_RUN_ID") {
        return id;
    }
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid());
    let comm = fs::read_to_string(format!("/proc/{parent}/comm")).unwrap_or_default();
    if comm.trim() == "cargo" {
        return format!("cargo {parent}, of {}", started(parent));
    }
    let own = std::process::id().cast_signed();
    format!("process {own}, of {}", started(own))
}

fn attempt() -> u32 {
    let attempt = std::env::var("NEXTEST_ATTEMPT").ok();
    attempt.and_then(|attempt| attempt.parse().ok()).unwrap_or(1)
}

/// When a process began, in the kernel's own unit: process ids come again. Field 22 of `/proc/<pid>/stat`, whose second
/// field may hold anything and ends with the last parenthesis.
fn started(pid: i32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().nth(19).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_counts_in_its_own_run_until_the_runner_tries_again() {
        let failure = Failure {
            run: "a".into(),
            attempt: 1,
            at: SystemTime::now(),
            story: "no\nmore".into(),
        };
        assert!(failure.counts("a", 1));
        assert!(!failure.counts("b", 1));
        assert!(!failure.counts("a", 2));
        let old = Failure {
            at: SystemTime::now() - VALID,
            ..failure
        };
        assert!(!old.counts("a", 1));
        assert_eq!(old.told_again(), "no (tried 600 s ago, and once a run)\nmore");
    }

    #[test]
    fn a_failure_is_recalled_from_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.failed");
        assert_eq!(recall(&path), None);
        let failure = Failure::now("no".into());
        remember(&path, &failure);
        assert_eq!(recall(&path), Some(failure));
        remember(
            &path,
            &Failure {
                run: "another".into(),
                ..Failure::now("no".into())
            },
        );
        assert_eq!(recall(&path), None);
        assert!(!path.exists());
    }
}
