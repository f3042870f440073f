//! `cargo xtask setup`: installs and fetches what is missing, says so before it does, and does nothing when all is
//! there.

use anyhow::{Context, Result};

use crate::guest::GUESTS;
use crate::{other_qemu, packages, ui};

pub(crate) fn run() -> Result<()> {
    ui::line("setup");
    let missing = packages::missing();
    if !missing.is_empty() {
        packages::install_qemu(&missing)?;
    }
    // The tests of the installed QEMU do not need another one: what prevents it is said, and no more.
    if let Err(error) = other_qemu::setup() {
        ui::note(format_args!("there is no second version of QEMU: {error:#}"));
    }
    for guest in GUESTS.iter().filter(|guest| !guest.is_ready()) {
        ui::line(format_args!("  not there: {}", guest.name));
        guest
            .make()
            .with_context(|| format!("cannot make {}", guest.name))?;
    }
    Ok(())
}
