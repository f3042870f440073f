//! `cargo xtask bench`: the library against the least that does the same, side by side.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::cargo::Cargo;
use crate::command::{self, Program};
use crate::{other_qemu, paths, setup, ui};

/// Where the measuring program finds a Python with QEMU's own client.
const PYTHON: &str = "QEMU_TEST_BENCH_PYTHON";
/// The package of that client.
const CLIENT: &str = "qemu.qmp";

pub(crate) fn run(groups: &[String]) -> Result<()> {
    let outcome = setup::run()?;
    let python = python_client();
    ui::line(format_args!(
        "\nbench: with QEMU {}; leave the machine alone meanwhile",
        other_qemu::in_use()?
    ));
    let mut arguments = vec![
        "bench",
        "--package",
        "qemu-test-tests",
        "--bench",
        "compare",
        "--",
    ];
    arguments.extend(groups.iter().map(String::as_str));
    let mut bench = Cargo::new(&arguments);
    match python {
        Ok(python) => bench = bench.with(PYTHON, python),
        Err(error) => ui::note(format_args!("not compared with QEMU's Python client: {error:#}")),
    }
    let status = bench.run()?;
    if !status.success() {
        bail!("the measurement failed ({status}){}", outcome.remark());
    }
    Ok(())
}

/// A Python with the client, in a virtual environment of its own under cargo's target directory.
fn python_client() -> Result<PathBuf> {
    let environment = paths::target().join("qemu-qmp-venv");
    let python = environment.join("bin/python3");
    let has_client = Program::new(&python).args(["-c", &format!("import {CLIENT}")]);
    if python.is_file() && has_client.output().is_ok() {
        return Ok(python);
    }
    if command::find("python3").is_none() {
        bail!("there is no python3 on PATH");
    }
    let here = Path::new(".");
    Program::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&environment)
        .step("making a virtual environment for Python", here)?;
    Program::new(&python)
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            CLIENT,
        ])
        .step(&format!("installing {CLIENT} into it"), here)?;
    Ok(python)
}
