//! A machine outside any test of ours: in a bare `#[test]`, or in a program that is no test at all.

use std::path::Path;
use std::sync::Arc;

use crate::artifacts::{self, RunDir, TestPath};
use crate::error::LaunchError;
use crate::interrupt::Interrupt;
use crate::machine::{Home, How, Inner};
use crate::report::{self, Depth, MachineReport, Report};

/// The home of one machine.
pub(super) struct Alone {
    run: RunDir,
}

impl Alone {
    pub(super) fn new(run: RunDir) -> Self {
        Self { run }
    }

    fn remove(&self) {
        if !artifacts::keep()
            && let Err(error) = self.run.remove()
        {
            log::warn!("cannot remove {}: {error}", self.run.path().display());
        }
    }
}

impl Home for Alone {
    fn run(&self) -> &RunDir {
        &self.run
    }

    fn starting(&self, _interrupt: &Arc<Interrupt>) {}

    fn adopt(&self, _machine: &Arc<Inner>) {}

    /// The error has all that the files have.
    fn launch_failed(&self, _error: &LaunchError, _dir: &Path) {
        self.remove();
    }

    fn abandoned(&self, machine: &Arc<Inner>) {
        // A panic that is under way is the only sign of a failing test that there is here.
        let before = std::thread::panicking().then(|| MachineReport::of(machine, Depth::Full));
        machine.end(How::Quit);
        let troubles = machine.troubles();
        if let Some(before) = before {
            let test = TestPath::of_this_thread().test;
            let cause = "panicked".to_owned();
            let machines = vec![before.ended(machine)];
            report::publish(
                &self.run,
                &Report {
                    test,
                    cause,
                    troubles,
                    detail: String::new(),
                    machines,
                },
            );
        } else if troubles.is_empty() {
            self.remove();
        } else {
            let (name, dir) = (&machine.parts.name, machine.parts.dir.display());
            log::error!("machine `{name}` {}; its files are in {dir}", troubles.join("; "));
        }
    }
}
