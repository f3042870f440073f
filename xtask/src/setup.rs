//! `cargo xtask setup`: installs and fetches what is missing, says so before it does, and does nothing when all is
//! there.

use anyhow::{Context, Result, bail};

use crate::guest::{self, GUESTS, Guest};
use crate::{other_qemu, packages, ui};

/// What the tests find.
#[must_use]
pub(crate) enum Outcome {
    Complete,
    /// Linux guests are missing and cannot be made on this system; the text says what to do.
    WithoutGuests(String),
}

/// `cargo xtask setup` itself: all, or an error.
pub(crate) fn all() -> Result<()> {
    match run()? {
        Outcome::Complete => Ok(()),
        Outcome::WithoutGuests(_) => bail!("the Linux guests are missing: the note above says what to do"),
    }
}

/// What the other commands begin with. They go on without guests where there can be none: what needs one fails then,
/// and the rest is worth running.
pub(crate) fn run() -> Result<Outcome> {
    ui::line("setup");
    let missing = packages::missing();
    if !missing.is_empty() {
        packages::install_qemu(&missing)?;
    }
    // The tests of the installed QEMU do not need another one: what prevents it is said, and no more.
    if let Err(error) = other_qemu::setup() {
        ui::note(format_args!("there is no second version of QEMU: {error:#}"));
    }
    let missing: Vec<&Guest> = GUESTS.iter().filter(|guest| !guest.is_ready()).collect();
    if !missing.is_empty()
        && let Some(why) = guest::unavailable()
    {
        ui::note(&why);
        return Ok(Outcome::WithoutGuests(why));
    }
    for guest in missing {
        ui::line(format_args!("  not there: {}", guest.name));
        guest
            .make()
            .with_context(|| format!("cannot make {}", guest.name))?;
    }
    Ok(Outcome::Complete)
}

/// Installs what the project's own tests start beside QEMU. Without it they fail, and the others run.
pub(crate) fn tools() {
    if let Err(error) = packages::install_tools() {
        ui::note(format_args!("some tests will fail: {error:#}"));
    }
}

impl Outcome {
    /// What to add to the error of a command whose tests failed.
    pub(crate) fn remark(&self) -> String {
        match self {
            Outcome::Complete => String::new(),
            Outcome::WithoutGuests(why) => format!("\nwhat needs a Linux guest cannot pass here: {why}"),
        }
    }
}
