//! A hundred tests, each with a copy of the Linux guest that has to answer: for the benchmark.

use std::time::Duration;

use qemu_test::fixture::Fixture;
use qemu_test::{Machine, MachineBuilder, Result, qemu_test};
use qemu_test_tests::guest;

const LONG: Duration = Duration::from_secs(120);

struct Linux;

impl Fixture for Linux {
    fn machine(&self) -> MachineBuilder {
        Machine::builder()
            .arch("x86_64")
            .console()
            .args(["-machine", "q35", "-accel", "tcg", "-m", "256"])
            .args(["-append", "console=ttyS0 quiet"])
            .arg("-kernel")
            .arg(guest::kernel())
            .arg("-initrd")
            .arg(guest::initramfs())
    }

    fn ready(&self, vm: &Machine) -> Result<()> {
        vm.console().wait_for(guest::PROMPT, LONG).map(drop)
    }
}

fn answers(vm: &Machine) -> Result<()> {
    vm.console().send_line("echo a$((40+2))b")?;
    vm.console().wait_for("a42b", LONG).map(drop)
}

macro_rules! ten {
    ($($module:ident)*) => {$(
        mod $module {
            super::tests!(t0 t1 t2 t3 t4 t5 t6 t7 t8 t9);
        }
    )*};
}

macro_rules! tests {
    ($($name:ident)*) => {$(
        #[qemu_test::qemu_test(fixture = super::Linux)]
        #[ignore = "run by the benchmark"]
        fn $name(vm: &qemu_test::Machine) -> qemu_test::Result<()> {
            super::answers(vm)
        }
    )*};
}

pub(crate) use tests;

ten!(m0 m1 m2 m3 m4 m5 m6 m7 m8 m9);

#[qemu_test(fixture = Linux)]
fn one_for_everybody_else(vm: &Machine) -> Result<()> {
    answers(vm)
}
