//! `default_fixture!` in a crate that knows nothing of how it works, and denies unsafe code.

#![deny(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering};

use qemu_test::fixture::Fixture;
use qemu_test::{Machine, MachineBuilder, Result, qemu_test};

/// How often the expression was evaluated.
static MADE: AtomicU32 = AtomicU32::new(0);

struct Blank;

impl Blank {
    fn new() -> Self {
        MADE.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Fixture for Blank {
    fn machine(&self) -> MachineBuilder {
        Machine::builder()
            .arch("x86_64")
            .args(["-machine", "q35", "-m", "32"])
    }

    fn ready(&self, vm: &Machine) -> Result<()> {
        vm.command("query-status").map(drop)
    }
}

qemu_test::default_fixture!(Blank::new());

fn has(vm: &Machine, argument: &str) -> bool {
    vm.command_line().iter().any(|other| other == argument)
}

#[qemu_test]
fn a_test_that_names_nothing_uses_it(first: &Machine, second: &Machine) {
    for vm in [first, second] {
        assert!(has(vm, "q35") && has(vm, "-incoming"));
    }
    assert_eq!(MADE.load(Ordering::Relaxed), 1);
}

#[qemu_test(args = ["-name", "more"])]
fn arguments_go_on_top_of_it(vm: &Machine) {
    assert!(has(vm, "q35") && has(vm, "more") && has(vm, "-incoming"));
}

#[qemu_test(isolation = boot)]
fn it_can_boot_for_one_test(vm: &Machine) {
    assert!(has(vm, "q35") && !has(vm, "-incoming"));
}

#[qemu_test(fixture = none, args = ["-machine", "none"])]
fn a_test_can_opt_out(vm: &Machine) {
    assert!(!has(vm, "q35") && has(vm, "none"));
}

#[qemu_test(machine = Machine::builder().args(["-machine", "none"]))]
fn a_builder_of_its_own_comes_first(vm: &Machine) {
    assert!(!has(vm, "q35") && has(vm, "none"));
}
