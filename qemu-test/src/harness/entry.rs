//! The ways into a test and out of a builder.

use std::process::Termination;

use super::home;
use super::run::Test;
use super::setup::Setup;
use crate::error::Result;
use crate::fixture::{Fixture, Isolation};
use crate::{Machine, MachineBuilder, machine};

impl MachineBuilder {
    /// Launches a machine and waits until its monitor answers commands. Again and again, on the same builder, gives
    /// a new machine each time.
    ///
    /// # Errors
    ///
    /// [`Error::Launch`](crate::Error::Launch) where there is no such program, QEMU refuses its arguments or ends, or
    /// its monitor does not answer within 60 s: with the command line and the log. Nothing of it is left running.
    pub fn launch(&self) -> Result<Machine> {
        machine::launch(self, home::find(self.artifact_dir.as_deref())?)
    }

    /// Launches a machine, runs `body` with it, shuts it down and reports a failure: what `#[qemu_test]` does, for
    /// one closure. For helpers, the cases of `rstest` and `proptest`.
    ///
    /// ```no_run
    /// # use qemu_test::{Machine, qmp};
    /// #[test]
    /// fn pauses_at_the_start() {
    ///     Machine::builder().arg("-S").test(|vm| {
    ///         assert_eq!(vm.command("query-status").unwrap()["status"], "prelaunch");
    ///     });
    /// }
    /// ```
    ///
    /// # Panics
    ///
    /// With the body's own panic; without a message where the body returned an `Err` or the machine itself failed,
    /// after the report.
    pub fn test<T: Termination + 'static>(&self, body: impl FnOnce(&Machine) -> T) {
        Test::of_this_thread().run([&|| Setup::new("vm").machine(self.clone())], |[vm]| body(vm));
    }
}

/// What [`Fixture::launch`] does.
pub(crate) fn launch_fixture(fixture: &dyn Fixture, isolation: Isolation) -> Result<Machine> {
    Setup::new("vm")
        .fixture(fixture)
        .isolation(isolation)
        .plan()?
        .launch()
}

/// What [`Fixture::test`] does.
pub(crate) fn test_fixture<T: Termination + 'static>(
    fixture: &dyn Fixture,
    isolation: Isolation,
    body: impl FnOnce(&Machine) -> T,
) {
    let setup = || Setup::new("vm").fixture(fixture).isolation(isolation);
    Test::of_this_thread().run([&setup], |[vm]| body(vm));
}
