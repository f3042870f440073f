//! What a copy of a booted guest costs: against the start of a QEMU with the same arguments, and against a boot.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qemu_test::fixture::{Fixture, Isolation};
use qemu_test::{CommandLine, Machine, MachineBuilder};
use qemu_test_tests::guest;

use crate::Result;
use crate::bare::{Bare, OUT_OF_BAND};
use crate::measure::in_turns;
use crate::table::{Aim, Table, Unit};

const TURNS: usize = 30;
const BOOTS: usize = 4;
/// How many tests `hundred.rs` has, and how often they run.
const TESTS: usize = 100;
const RUNS: usize = 2;
/// The test runners, with two tests at once.
const RUNNERS: [(&str, &[&str]); 2] = [
    (
        "cargo test",
        &[
            "test",
            "--package",
            "qemu-test-tests",
            "--test",
            "hundred",
            "--",
            "--ignored",
            "--test-threads=2",
        ],
    ),
    (
        "nextest",
        &[
            "nextest",
            "run",
            "--package",
            "qemu-test-tests",
            "--test",
            "hundred",
            "--run-ignored",
            "only",
            "--test-threads",
            "2",
        ],
    ),
];
/// How many copies live at once when their memory is measured.
const COPIES: usize = 10;
const LONG: Duration = Duration::from_secs(300);

/// The small Linux guest, with so much memory.
struct Linux {
    machine: &'static str,
    memory: &'static str,
}

impl Fixture for Linux {
    fn machine(&self) -> MachineBuilder {
        Machine::builder()
            .arch("x86_64")
            .console()
            .args(["-machine", self.machine, "-accel", "tcg", "-m", self.memory])
            .args(["-append", "console=ttyS0 quiet"])
            .arg("-kernel")
            .arg(guest::kernel())
            .arg("-initrd")
            .arg(guest::initramfs())
    }

    fn ready(&self, vm: &Machine) -> qemu_test::Result<()> {
        vm.console().wait_for(guest::PROMPT, LONG).map(drop)
    }
}

pub(crate) fn measure(table: &mut Table) -> Result<()> {
    for machine in ["microvm,acpi=off", "q35"] {
        let name = machine.split(',').next().unwrap_or(machine);
        let linux = Linux {
            machine,
            memory: "256",
        };
        // The first one boots.
        let line = linux.launch(Isolation::Fork)?.command_line().clone();
        let [ready] = in_turns(
            &format!("copies of {name}"),
            TURNS,
            || {
                let began = Instant::now();
                let vm = linux.launch(Isolation::Fork)?;
                let ready = began.elapsed();
                drop(vm);
                Ok([ready.as_secs_f64()])
            },
            || Ok([bare(&line)?]),
        )?;
        table.row(
            &format!("a copy runs, {name}"),
            "the bare start",
            Unit::Time,
            &ready,
            Some(Aim::AtMost(1.3)),
        );
        let [answer] = in_turns(
            &format!("answers of {name}"),
            BOOTS,
            || answers(&linux, Isolation::Fork),
            || answers(&linux, Isolation::Boot),
        )?;
        table.row(
            &format!("a guest answers, {name}"),
            "a boot",
            Unit::Time,
            &answer,
            Some(Aim::AtMost(0.05)),
        );
    }
    let linux = Linux {
        machine: "q35",
        memory: "256",
    };
    let boot = answers(&linux, Isolation::Boot)?[0];
    for (runner, arguments) in RUNNERS {
        // The first time, the guest boots.
        run(arguments)?;
        let [tests] = in_turns(
            &format!("{TESTS} forked tests under {runner}"),
            RUNS,
            || Ok([run(arguments)?]),
            // Nobody waits for those: booting takes the processor, so that two at once take as long as one by one.
            || Ok([boot * TESTS as f64]),
        )?;
        table.row(
            &format!("{TESTS} tests, {runner}"),
            "as many boots, reckoned",
            Unit::Time,
            &tests,
            Some(Aim::AtMost(0.1)),
        );
    }
    for memory in ["256", "1024"] {
        let linux = Linux {
            machine: "q35",
            memory,
        };
        let private = private_memory(&linux)?;
        table.remark(format!(
            "{COPIES} copies at once of a guest of {memory} MiB: {private:.0} MiB each that no other shares"
        ));
    }
    Ok(())
}

fn bare(line: &CommandLine) -> Result<f64> {
    let began = Instant::now();
    let bare = Bare::launch(line, OUT_OF_BAND)?;
    let launch = began.elapsed();
    bare.quit()?;
    Ok(launch.as_secs_f64())
}

/// Until the guest has run a command.
fn answers(linux: &Linux, isolation: Isolation) -> Result<[f64; 1]> {
    let began = Instant::now();
    let vm = linux.launch(isolation)?;
    vm.console().send_line("echo a$((40+2))b")?;
    vm.console().wait_for("a42b", LONG)?;
    Ok([began.elapsed().as_secs_f64()])
}

/// The seconds that a test runner needs for the tests of `hundred.rs`, which are built already.
fn run(arguments: &[&str]) -> Result<f64> {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let began = Instant::now();
    let output = command.output()?;
    let took = began.elapsed();
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo {} failed: {text}", arguments.join(" ")).into());
    }
    Ok(took.as_secs_f64())
}

/// MiB of a copy that nobody shares, once its guest has answered.
fn private_memory(linux: &Linux) -> Result<f64> {
    let mut copies = Vec::new();
    for _ in 0..COPIES {
        let vm = linux.launch(Isolation::Fork)?;
        vm.console().send_line("echo a$((40+2))b")?;
        vm.console().wait_for("a42b", LONG)?;
        copies.push(vm);
    }
    let mut kilobytes = 0;
    for vm in &copies {
        let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", vm.pid()))?;
        kilobytes += rollup
            .lines()
            .filter(|line| line.starts_with("Private_"))
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(kilobytes as f64 / 1024.0 / COPIES as f64)
}
