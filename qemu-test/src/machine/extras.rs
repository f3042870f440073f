//! What somebody beside the user has to say of a machine that is launched: whoever makes it from a fixture.

use std::ffi::OsString;
use std::fs::File;

use crate::console::Past;

/// What goes on top of a builder for one launch, and is none of the user's business.
#[derive(Default)]
pub(crate) struct Extras {
    /// Behind the user's arguments. The script that starts the machine by hand has no use for them.
    pub(crate) arguments: Vec<OsString>,
    /// Whether it is a fixture's, whose images are not to be written by hand either.
    pub(crate) of_fixture: bool,
    /// Where the machine comes from, for the report.
    pub(crate) notes: Vec<String>,
    /// What the consoles said before, in their order.
    pub(crate) consoles: Vec<Past>,
    /// What stays open for as long as the machine is there: the lock on what it is made from.
    pub(crate) kept: Vec<File>,
}
