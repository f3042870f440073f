//! `cargo xtask test`: all tests, with every version of QEMU and every test runner there is.

use anyhow::{Result, bail};

use crate::cargo::{BIN_DIR, Cargo};
use crate::{other_qemu, setup, ui};

pub(crate) fn run() -> Result<()> {
    setup::run()?;
    let mut runs = Vec::new();
    ui::line("\ntest");
    if std::env::var_os(BIN_DIR).is_some() {
        ui::line(format_args!(
            "  with QEMU {} only, because {BIN_DIR} is set",
            other_qemu::in_use()?
        ));
    } else {
        let installed = other_qemu::installed()?;
        ui::line(format_args!("  with QEMU {installed}, the installed one"));
        let others = other_qemu::unpacked(&installed);
        for (bin, version) in &others {
            ui::line(format_args!("  with QEMU {version}, in `{}`", bin.display()));
            // The library's own code and the documentation's examples do not change with QEMU's version; machines do.
            runs.push(
                Cargo::new(&["test", "--workspace", "--no-fail-fast", "--tests"]).with_qemu(bin.clone()),
            );
        }
        if others.is_empty() {
            ui::line("  not run: with a second version of QEMU, because setup found none");
        }
    }
    runs.push(Cargo::new(&["test", "--workspace", "--no-fail-fast"]));
    if Cargo::new(&["nextest", "--version"]).exists() {
        runs.push(Cargo::new(&["nextest", "run", "--workspace", "--no-fail-fast"]));
    } else {
        ui::line(
            "  not run: under cargo-nextest, because it is not installed (`cargo install cargo-nextest --locked`)",
        );
    }
    // All of them, so that one run tells everything; the runners' own summaries are the last lines.
    let mut failed = Vec::new();
    for run in &runs {
        if !run.run()?.success() {
            failed.push(run.to_string());
        }
    }
    if !failed.is_empty() {
        bail!(
            "{} of {} runs failed:\n  {}",
            failed.len(),
            runs.len(),
            failed.join("\n  ")
        );
    }
    Ok(())
}
