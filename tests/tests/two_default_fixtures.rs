//! A crate with two default fixtures: a mistake that nothing can see before the tests run.

use std::process::Command;

use qemu_test::fixture::Fixture;
use qemu_test::{Machine, MachineBuilder, Result, qemu_test};

struct Blank;

impl Fixture for Blank {
    fn machine(&self) -> MachineBuilder {
        Machine::builder().args(["-machine", "none"])
    }

    fn ready(&self, _vm: &Machine) -> Result<()> {
        Ok(())
    }
}

qemu_test::default_fixture!(Blank);

mod elsewhere {
    qemu_test::default_fixture!(super::Blank);
}

#[qemu_test]
#[ignore = "fails on purpose: run by the test below"]
fn uses_the_default_fixture(_vm: &Machine) {}

#[qemu_test(fixture = Blank)]
fn a_test_that_names_its_fixture_is_none_the_worse(vm: &Machine) {
    assert!(vm.is_running());
}

#[test]
fn a_test_that_would_use_either_fails_and_names_both() {
    let artifacts = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "uses_the_default_fixture"])
        .env("QEMU_TEST_DIR", artifacts.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(101));
    let output = String::from_utf8(output.stdout).unwrap();
    for place in [
        "tests/two_default_fixtures.rs:20",
        "tests/two_default_fixtures.rs:23",
    ] {
        assert!(output.contains(place), "{place} is not in\n{output}");
    }
}
