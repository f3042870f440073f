//! `cargo xtask demo`: the examples' tests on real machines.

use anyhow::{Result, bail};

use crate::cargo::Cargo;
use crate::{other_qemu, setup, ui};

pub(crate) fn run() -> Result<()> {
    let outcome = setup::run()?;
    ui::line(format_args!(
        "\ndemo: the examples' tests, each on real machines of QEMU {}",
        other_qemu::in_use()?
    ));
    let status = Cargo::new(&[
        "test",
        "--package",
        "qemu-test-examples",
        "--tests",
        "--no-fail-fast",
    ])
    .run()?;
    if !status.success() {
        bail!(
            "an example failed ({status}): its report is above{}",
            outcome.remark()
        );
    }
    Ok(())
}
