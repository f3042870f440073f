//! `cargo xtask test`: all tests, with every version of QEMU and every test runner there is.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::cargo::{BIN_DIR, Cargo};
use crate::{other_qemu, setup, ui};

const NEXTEST: &[&str] = &["nextest", "run", "--workspace", "--no-fail-fast"];

/// The QEMU that tests use.
#[derive(Clone)]
enum Qemu {
    /// The one they find without being told.
    Found,
    /// The one whose programs are in this folder.
    In(PathBuf),
}

/// What runs them.
#[derive(Clone, Copy)]
enum Runner {
    CargoTest,
    Nextest,
}

pub(crate) fn run() -> Result<()> {
    let outcome = setup::run()?;
    setup::tools();
    ui::line("\ntest");
    let runs: Vec<_> = pairs(&qemus()?, &runners())
        .into_iter()
        .map(|(qemu, runner)| call(qemu, runner))
        .collect();
    // All of them, so that one call tells everything; the runners' own summaries are the last lines.
    let mut failed = Vec::new();
    for run in &runs {
        if !run.run()?.success() {
            failed.push(run.to_string());
        }
    }
    if !failed.is_empty() {
        bail!(
            "{} of {} runs failed:\n  {}{}",
            failed.len(),
            runs.len(),
            failed.join("\n  "),
            outcome.remark()
        );
    }
    Ok(())
}

fn qemus() -> Result<Vec<Qemu>> {
    let mut qemus = vec![Qemu::Found];
    if std::env::var_os(BIN_DIR).is_some() {
        ui::line(format_args!(
            "  with QEMU {} only, because {BIN_DIR} is set",
            other_qemu::in_use()?
        ));
        return Ok(qemus);
    }
    let installed = other_qemu::installed()?;
    ui::line(format_args!("  with QEMU {installed}, the installed one"));
    for (bin, version) in other_qemu::unpacked(&installed) {
        ui::line(format_args!("  with QEMU {version}, in `{}`", bin.display()));
        qemus.push(Qemu::In(bin));
    }
    if qemus.len() == 1 {
        ui::line("  not run: with a second version of QEMU, because setup found none");
    }
    Ok(qemus)
}

fn runners() -> Vec<Runner> {
    if Cargo::new(&["nextest", "--version"]).exists() {
        return vec![Runner::CargoTest, Runner::Nextest];
    }
    ui::line(
        "  not run: under cargo-nextest, because it is not installed (`cargo install cargo-nextest --locked`)",
    );
    vec![Runner::CargoTest]
}

/// Runs in which each version and each runner has its turn. How a machine behaves is up to QEMU, and how a test begins
/// and ends up to the runner; neither knows of the other, so that every version under every runner would tell no more.
fn pairs(qemus: &[Qemu], runners: &[Runner]) -> Vec<(Qemu, Runner)> {
    (0..qemus.len().max(runners.len()))
        .map(|i| (qemus[i % qemus.len()].clone(), runners[i % runners.len()]))
        .collect()
}

fn call(qemu: Qemu, runner: Runner) -> Cargo {
    let run = match (runner, qemu) {
        (Runner::Nextest, Qemu::Found) => Cargo::new(NEXTEST),
        (Runner::Nextest, Qemu::In(bin)) => Cargo::new(NEXTEST).with_qemu(bin),
        (Runner::CargoTest, Qemu::Found) => Cargo::new(&["test", "--workspace", "--no-fail-fast"]),
        // The documentation's examples have run with the found one.
        (Runner::CargoTest, Qemu::In(bin)) => {
            Cargo::new(&["test", "--workspace", "--no-fail-fast", "--tests"]).with_qemu(bin)
        }
    };
    let variable = match runner {
        Runner::CargoTest => "RUST_TEST_THREADS",
        Runner::Nextest => "NEXTEST_TEST_THREADS",
    };
    // Most tests wait for a guest part of the time: with one for each processor, these would idle.
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    match std::env::var_os(variable) {
        Some(_) => run,
        None => run.with(variable, (processors + processors.div_ceil(2)).to_string()),
    }
}
