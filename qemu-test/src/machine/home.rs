//! To whom a machine belongs: whoever keeps its files, hears of its end and tells of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::inner::Inner;
use crate::artifacts::RunDir;
use crate::error::LaunchError;
use crate::interrupt::Interrupt;

/// The owner of machines: a test, or nobody but the machine itself.
pub(crate) trait Home: Send + Sync {
    /// Where its machines have their files.
    fn run(&self) -> &RunDir;

    /// Hears that a machine is about to be started, whose waits this ends.
    fn starting(&self, interrupt: &Arc<Interrupt>);

    /// Hears that one of its machines has come up.
    fn adopt(&self, machine: &Arc<Inner>);

    /// Hears that a machine did not come up, whose files are in `dir`.
    fn launch_failed(&self, error: &LaunchError, dir: &Path);

    /// Ends a machine whose handle is gone. Runs in `Drop`: it must not panic, and must not wait without a bound.
    fn abandoned(&self, machine: &Arc<Inner>);

    /// Stops the owner's own clock: what follows may last for `limit` instead. `doing` reads on from "while".
    fn set_aside(&self, _limit: Duration, _doing: &str) {}

    /// Starts the owner's clock again.
    fn resume(&self) {}
}

/// Time that is not the owner's own, until this is dropped.
pub(crate) struct Aside(Arc<dyn Home>);

impl Aside {
    pub(crate) fn begin(home: &Arc<dyn Home>, limit: Duration, doing: &str) -> Self {
        home.set_aside(limit, doing);
        Self(Arc::clone(home))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.0.resume();
    }
}
