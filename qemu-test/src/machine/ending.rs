//! How a machine ended: what was done to it, and what came of it.

use std::process::ExitStatus;

use crate::error::{Error, Result};
use crate::{exit, process};

/// How a shutdown begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Quit,
    Kill,
}

/// How a machine ended.
#[derive(Debug)]
pub(crate) struct Ending {
    /// `None` where even SIGKILL did not end it in time.
    pub(crate) status: Option<ExitStatus>,
    /// Whether it had ended by itself before anything was done to it.
    pub(crate) by_itself: bool,
    /// What was done, with how long it took: `quit: 4 ms`.
    pub(crate) steps: Vec<String>,
    /// The last thing that was done to it.
    pub(crate) last: Option<Step>,
    /// What became of its process tree.
    pub(crate) tree: process::Ending,
}

/// One thing that ends a QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Quit,
    Terminate,
    Kill,
}

impl Ending {
    /// The status for a body that asked for the shutdown itself.
    pub(super) fn status(&self, machine: &str) -> Result<ExitStatus> {
        self.status.ok_or_else(|| {
            Error::other(format!(
                "machine `{machine}` could not be ended: {}",
                self.steps.join(", ")
            ))
        })
    }

    /// `exited with status 0 (quit: 4 ms)`.
    pub(crate) fn describe(&self) -> String {
        let how = match self.status {
            Some(status) => exit::describe(status),
            None => "could not be ended".to_owned(),
        };
        match (self.by_itself, self.steps.is_empty()) {
            (true, _) => format!("{how}, by itself"),
            (false, true) => how,
            (false, false) => format!("{how} ({})", self.steps.join(", ")),
        }
    }
}
