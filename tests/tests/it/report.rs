//! What a failing test says: each test of `failing.rs` is run by the real test runner, and its output is read.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// What one failing test left behind.
pub(crate) struct Failure {
    output: String,
    status: Option<i32>,
    artifacts: tempfile::TempDir,
}

impl Failure {
    /// Runs `failing::<test>` alone, as libtest does.
    pub(crate) fn of(test: &str) -> Self {
        Self::of_test(&format!("failing::{test}"))
    }

    /// The same with more in its environment.
    pub(crate) fn with_env(test: &str, environment: &[(&str, &Path)]) -> Self {
        Self::run(&format!("failing::{test}"), environment)
    }

    /// Runs `test` alone.
    pub(crate) fn of_test(test: &str) -> Self {
        Self::run(test, &[])
    }

    fn run(test: &str, environment: &[(&str, &Path)]) -> Self {
        let artifacts = tempfile::tempdir().unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", test])
            .env("QEMU_TEST_DIR", artifacts.path())
            .env_remove("QEMU_TEST_KEEP")
            .env_remove("RUST_BACKTRACE")
            .envs(environment.iter().copied())
            .output()
            .unwrap();
        let Output {
            status,
            stdout,
            stderr,
        } = output;
        let output = format!(
            "{}{}",
            String::from_utf8(stdout).unwrap(),
            String::from_utf8(stderr).unwrap()
        );
        let failure = Self {
            output,
            status: status.code(),
            artifacts,
        };
        assert_eq!(failure.status, Some(101), "{}", failure.output);
        failure
    }

    /// All that the test runner printed.
    pub(crate) fn output(&self) -> &str {
        &self.output
    }

    /// The root of the artifacts.
    pub(crate) fn artifacts(&self) -> &Path {
        self.artifacts.path()
    }

    /// The report, from its first line to its last.
    pub(crate) fn report(&self) -> &str {
        let start = self
            .output
            .find("──── qemu-test")
            .unwrap_or_else(|| panic!("no report in\n{}", self.output));
        let report = &self.output[start..];
        assert_eq!(
            report.matches("──── qemu-test").count(),
            1,
            "more than one report in\n{}",
            self.output
        );
        &report[..report.find("\n────\n").expect("the report has an end")]
    }

    pub(crate) fn first_line(&self) -> &str {
        self.report().lines().next().unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn says(&self, parts: &[&str]) {
        for part in parts {
            assert!(
                self.report().contains(part),
                "{part:?} is not in\n{}",
                self.output
            );
        }
    }

    /// The folder that the report names.
    pub(crate) fn files(&self) -> PathBuf {
        let line = self
            .report()
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("  files  "));
        let folder = PathBuf::from(line.expect("the report names the files"));
        assert!(folder.starts_with(self.artifacts.path()));
        folder
    }
}

#[test]
fn a_panic_is_reported_after_its_message_with_all_there_is_to_know() {
    let failure = Failure::of("panics");
    let first = "──── qemu-test ──── `failing::panics` panicked: assertion `left == right` failed: the name";
    assert_eq!(failure.first_line(), first);
    let message = failure
        .output
        .find("panicked at")
        .expect("the panic's own message");
    assert!(
        message < failure.output.find(first).unwrap(),
        "the report comes first:\n{}",
        failure.output
    );
    failure.says(&[
        "machine `vm`  paused",
        "then     exited with status 0 (quit: ",
        "-name 'two words'",
        "query-name",
        "QEMU log: empty",
    ]);
    let files = failure.files().join("vm");
    for name in ["command.sh", "qemu.log", "qmp.log"] {
        assert!(files.join(name).is_file(), "{name}");
    }
    assert_eq!(
        std::fs::read_to_string(failure.files().join("state")).unwrap(),
        "failed\n"
    );
    let written = std::fs::read_to_string(failure.files().join("report.txt")).unwrap();
    assert!(written.contains(failure.report()));
}

#[test]
fn an_error_is_reported_after_libtests_own_line() {
    let failure = Failure::of("returns_an_error");
    let error = failure
        .output
        .find("Error: QEMU refused ")
        .expect("libtest's line");
    assert!(
        error < failure.output.find("──── qemu-test").unwrap(),
        "{}",
        failure.output
    );
    assert!(
        failure
            .first_line()
            .contains("failed: QEMU refused {\"execute\":\"no-such-command\"}")
    );
    assert!(!failure.output.contains("panicked at"), "{}", failure.output);
}

#[test]
fn a_failing_exit_code_is_a_failure() {
    assert!(Failure::of("returns_a_status").first_line().contains("failed"));
}

#[test]
fn a_console_that_is_not_there_is_told_at_the_line_that_asks_for_it() {
    let failure = Failure::of("asks_for_a_console_that_it_has_not");
    assert!(
        failure.output().contains("it/failing.rs:") && failure.output().contains("say `console`"),
        "{}",
        failure.output()
    );
}

#[test]
fn a_launch_that_fails_is_reported_with_log_and_command_line() {
    let failure = Failure::of("does_not_launch");
    assert!(failure.output.contains(
        "Error: machine `vm` did not launch: QEMU refused its arguments, and exited with status 1"
    ));
    failure.says(&[
        "`failing::does_not_launch`",
        "-no-such-option: invalid option",
        "-display none",
    ]);
}

#[test]
fn a_missing_program_is_reported_with_what_installs_it_and_no_script_that_cannot_run() {
    let failure = Failure::of("has_no_program");
    failure.says(&[
        "`qemu-system-no-such-arch` is not in ",
        "    hint     install ",
        "    command  qemu-system-no-such-arch -m 64\n",
    ]);
    assert!(!failure.report().contains("command.sh"), "{}", failure.output);
}

#[test]
fn only_the_expected_panic_of_a_sound_machine_is_a_pass() {
    let failure = Failure::of("a_launch_that_fails_is_no_expected_panic");
    failure.says(&["did not launch", "invalid option"]);
    let failure = Failure::of("panics_with_another_message");
    assert!(failure.first_line().ends_with("panicked: that"));
    let failure = Failure::of("does_not_panic");
    assert!(failure.first_line().contains("did not panic, although"));
    let failure = Failure::of("panics_as_expected_and_qemu_dies");
    assert!(
        failure.first_line().contains("was killed by signal SIGSEGV"),
        "{}",
        failure.output
    );
}

#[test]
fn a_passed_body_does_not_make_a_passed_test() {
    assert!(
        Failure::of("passes_and_qemu_is_killed")
            .first_line()
            .contains("killed by signal SIGSEGV")
    );
    assert!(
        Failure::of("passes_and_the_wrapper_says_three")
            .first_line()
            .contains("exited with status 3 (quit: ")
    );
    let failure = Failure::of("passes_and_leaves_a_process");
    assert!(failure.first_line().contains("left a process behind") && failure.first_line().contains("sleep"));
    let failure = Failure::of("ends_with_another_status_than_announced");
    assert!(
        failure
            .first_line()
            .contains("was expected to exit with status 5"),
        "{}",
        failure.output
    );
}

#[test]
fn a_test_that_takes_too_long_says_what_it_waited_for() {
    let failure = Failure::of("waits_too_long");
    assert!(
        failure
            .first_line()
            .ends_with("timed out after 8 s while waiting for the event SHUTDOWN (machine `vm`)"),
        "{}",
        failure.output
    );
    assert!(
        failure
            .output
            .contains("Error: the test timed out after 8 s while waiting for the event SHUTDOWN")
    );
    failure.says(&["machine `vm`  running\n"]);
}

#[test]
fn a_body_that_never_returns_takes_the_process_with_it_and_is_reported() {
    let began = Instant::now();
    let failure = Failure::of("never_returns");
    assert!(began.elapsed() < Duration::from_secs(60));
    failure.says(&["has not returned 10 s later"]);
    assert!(failure.files().join("report.txt").is_file());
}

#[test]
fn every_machine_of_a_test_is_in_its_report() {
    Failure::of("two_machines").says(&[
        "machine `first`",
        "query-version",
        "machine `the other`",
        "query-status",
    ]);
    Failure::of("a_machine_launched_by_hand").says(&["machine `vm`", "machine `by hand`", "query-uuid"]);
    Failure::of("a_bare_test").says(&["`failing::a_bare_test`", "machine `bare`", "query-uuid"]);
    Failure::of("a_closure").says(&["`failing::a_closure` failed: QEMU refused", "no-such-command"]);
}

#[test]
fn a_terminal_is_safe_from_what_a_machine_wrote() {
    let failure = Failure::of("qemu_writes_garbage_to_its_log");
    failure.says(&["\\u{1b}[2J\u{fffd}\u{fffd}\\u{7} bell\n", "last line"]);
    assert!(!failure.report().contains('\x1b'));
}

/// The artifacts of a run of this binary that passes.
#[test]
fn a_test_that_passes_leaves_no_file_unless_it_is_told_to() {
    let count = |root: &Path, keep: bool| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "life::a_machine_that_ends_by_itself_is_waited_for"])
            .env("QEMU_TEST_DIR", root);
        if keep {
            command.env("QEMU_TEST_KEEP", "1");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        std::fs::read_dir(root).unwrap().count()
    };
    let root = tempfile::tempdir().unwrap();
    assert_eq!(count(root.path(), false), 0);
    assert_eq!(count(root.path(), true), 1);
}

#[test]
fn what_the_guest_did_wrong_fails_a_test_whose_body_passed() {
    let failure = Failure::of("passes_and_the_guest_said_a_bad_line");
    let said = "the guest said a bad line (kernel bug): BUG: bad page state";
    assert!(
        failure.first_line().ends_with(&format!("failed: {said}")),
        "{}",
        failure.output
    );
    failure.says(&[&format!(
        "    {said}\n      BUG: bad page state\n      trace of it\n"
    )]);
    let failure = Failure::of("the_expected_panic_of_the_guest_does_not_come");
    assert!(
        failure
            .first_line()
            .ends_with("failed: the guest did not panic, and was expected to"),
        "{}",
        failure.output
    );
}

#[test]
fn a_guest_that_does_not_panic_in_time_is_looked_at_while_it_lives() {
    let failure = Failure::of("the_expected_panic_of_the_guest_does_not_come_in_time");
    let first = failure.first_line();
    assert!(
        first.ends_with("failed: the guest did not panic, and was expected to"),
        "{first}"
    );
    failure.says(&["machine `vm`  running", "    seen     ", "(quit: "]);
}

#[test]
fn an_end_that_the_error_tells_is_not_told_twice() {
    let failure = Failure::of("fails_because_qemu_ends");
    let first = failure.first_line();
    assert!(
        first.contains("failed: QEMU exited with status 3 while waiting for the event STOP"),
        "{first}"
    );
    assert!(!failure.report().contains("  also: "), "{}", failure.output);
}

#[test]
fn the_death_of_the_guest_is_the_cause_of_a_panic_that_it_led_to() {
    let failure = Failure::of("panics_because_the_guest_does");
    assert!(
        failure
            .output
            .contains("called `Result::unwrap()` on an `Err` value: the guest panicked")
    );
    let first = failure.first_line();
    assert!(
        first.contains(
            "failed: the guest panicked: Kernel panic - not syncing: x while waiting for `login: `"
        ),
        "{first}"
    );
    assert!(!failure.report().contains("  also: "), "{}", failure.output);
}

#[test]
fn a_console_line_that_is_no_regular_expression_is_told() {
    let failure = Failure::of("allows_what_is_no_regular_expression");
    assert!(
        failure
            .first_line()
            .contains("did not launch: `allow_console_line` takes a regular expression"),
        "{}",
        failure.output
    );
    assert!(failure.report().contains("unclosed group"), "{}", failure.output);
}

#[test]
fn a_report_that_cannot_be_printed_is_in_its_file_all_the_same() {
    let artifacts = tempfile::tempdir().unwrap();
    let (reader, stderr) = std::io::pipe().unwrap();
    drop(reader);
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "failing::a_bare_test"])
        .env("QEMU_TEST_DIR", artifacts.path())
        .stdout(std::process::Stdio::null())
        .stderr(stderr)
        .status()
        .unwrap();
    // Not by SIGABRT: a second panic while its machine is dropped would end the whole process.
    assert_eq!(status.code(), Some(101));
    let runs = artifacts.path().join("qemu-test-tests/it/failing/a_bare_test");
    let run = std::fs::read_dir(runs).unwrap().next().unwrap().unwrap();
    assert!(run.path().join("report.txt").is_file());
}
