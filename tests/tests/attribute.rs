//! `#[qemu_test]` from the outside: what it says of wrong use, and how it gets on with other attributes under both test
//! runners, in a crate that knows the library as a stranger does.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// The tests of the fixture crate that run, and how each ends.
const PASSING: [&str; 33] = [
    "a_parameters_own_arguments_replace_the_attributes",
    "alone",
    "arguments_of_any_kind",
    "borrowed",
    "borrowed_async",
    "by_the_other_name",
    "elsewhere::machine_0",
    "exit_code",
    "expected_panic",
    "expected_panic_above",
    "expected_panic_async",
    "expected_panic_under_a_condition",
    "expects_a_lint",
    "from_a_macro",
    "from_a_macro_again",
    "imported_as_test::alone",
    "kept_test",
    "kept_test_by_its_path",
    "log_above",
    "log_and_runtime",
    "log_below",
    "named_lifetime",
    "no_prelude",
    "one_thread",
    "result",
    "runtime_above",
    "serial",
    "serial_again",
    "serial_and_async",
    "several_threads",
    "something",
    "something_async",
    "test_under_a_condition",
];
const FAILING: [&str; 5] = [
    "a_launch_that_fails_is_no_expected_panic",
    "borrowed",
    "error_async",
    "panic_async",
    "something",
];
const IGNORED: [&str; 2] = ["ignored", "never"];

#[test]
fn wrong_use_is_an_error_at_its_token() {
    trybuild::TestCases::new().compile_fail("tests/ui/attribute/*.rs");
}

#[test]
fn each_test_runs_once_beside_other_attributes_under_cargo_test() {
    let passing = cargo(&["test", "--test", "compose", "--test", "no_prelude"]);
    assert!(passing.succeeded, "{}", passing.output);
    let line = |(name, end): (&str, &str)| {
        (
            name.trim_end_matches(" - should panic").to_owned(),
            end.to_owned(),
        )
    };
    let ends = |output: &str| -> Vec<(String, String)> {
        let lines = output
            .lines()
            .filter_map(|text| text.strip_prefix("test ")?.split_once(" ... "));
        lines
            .filter(|(name, _)| !name.starts_with("result: "))
            .map(line)
            .collect()
    };
    let mut expected = BTreeMap::from(PASSING.map(|name| (name.to_owned(), "ok")));
    expected.extend(IGNORED.map(|name| (name.to_owned(), "ignored")));
    assert_ends(&ends(&passing.output), &expected, &passing.output);

    let failing = cargo(&["test", "--test", "fail"]);
    assert!(!failing.succeeded, "{}", failing.output);
    let expected = FAILING.map(|name| (name.to_owned(), "FAILED")).into();
    assert_ends(&ends(&failing.output), &expected, &failing.output);
    assert_tells_why(&failing.output);
}

#[test]
fn each_test_runs_once_beside_other_attributes_under_nextest() {
    let installed = Command::new(CARGO)
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|it| it.status.success());
    assert!(
        installed,
        "this test needs cargo-nextest: `cargo install --locked cargo-nextest`"
    );

    let options = [
        "--no-fail-fast",
        "--status-level",
        "all",
        "--final-status-level",
        "none",
        "--color",
        "never",
    ];
    let ends = |output: &str| -> Vec<(String, String)> {
        let words = output
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        words
            .filter_map(|words| match words.as_slice() {
                [end @ ("PASS" | "FAIL" | "SKIP"), .., name] => Some(((*name).to_owned(), (*end).to_owned())),
                _ => None,
            })
            .collect()
    };
    let passing = cargo(
        &[
            &["nextest", "run", "--test", "compose", "--test", "no_prelude"],
            &options[..],
        ]
        .concat(),
    );
    assert!(passing.succeeded, "{}", passing.output);
    let mut expected = BTreeMap::from(PASSING.map(|name| (name.to_owned(), "PASS")));
    expected.extend(IGNORED.map(|name| (name.to_owned(), "SKIP")));
    assert_ends(&ends(&passing.output), &expected, &passing.output);

    let failing = cargo(&[&["nextest", "run", "--test", "fail"], &options[..]].concat());
    assert!(!failing.succeeded, "{}", failing.output);
    let expected = FAILING.map(|name| (name.to_owned(), "FAIL")).into();
    assert_ends(&ends(&failing.output), &expected, &failing.output);
    assert_tells_why(&failing.output);
}

#[test]
fn a_users_lints_find_nothing_in_what_is_generated() {
    // `compose.rs` denies all warnings, and clippy's pedantic ones.
    let clippy = cargo(&["clippy", "--all-targets"]);
    assert!(clippy.succeeded, "{}", clippy.output);
}

/// Each test ended once, and as it should. What is after the end's word, such as the reason to ignore it, is free.
#[track_caller]
fn assert_ends(ends: &[(String, String)], expected: &BTreeMap<String, &str>, output: &str) {
    let mut ends: Vec<_> = ends
        .iter()
        .map(|(name, end)| (name, end.split(',').next().unwrap_or_default()))
        .collect();
    ends.sort_unstable();
    let expected: Vec<_> = expected.iter().map(|(name, end)| (name, *end)).collect();
    assert_eq!(ends, expected, "{output}");
}

/// What a failing test returned or panicked with is there, whatever its type and its runtime.
#[track_caller]
fn assert_tells_why(output: &str) {
    for reason in [
        "Error: \"vm\"",
        "Error: \"something went wrong\"",
        "Error: wrong after a pause",
        "panicked after a pause",
        "-no-such-option",
    ] {
        assert!(output.contains(reason), "{reason} is missing in\n{output}");
    }
}

const CARGO: &str = env!("CARGO");

struct Run {
    succeeded: bool,
    output: String,
}

/// Runs cargo in the fixture crate. It shares the target folder, and with it all that is built already.
fn cargo(arguments: &[&str]) -> Run {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/composition");
    let executable = std::env::current_exe().unwrap();
    // <target>/<profile>/deps/<executable>
    let target = executable.ancestors().nth(3).unwrap();
    let mut command = Command::new(CARGO);
    command
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_TERM_COLOR", "never");
    for (name, _) in std::env::vars_os() {
        // What the runner of this test told it is not for the fixture's tests.
        if name.to_string_lossy().starts_with("NEXTEST")
            || name == "QEMU_TEST_DIR"
            || name == "RUST_BACKTRACE"
        {
            command.env_remove(name);
        }
    }
    let output = command.output().unwrap();
    Run {
        succeeded: output.status.success(),
        output: [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .concat(),
    }
}
