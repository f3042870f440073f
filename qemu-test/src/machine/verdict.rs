//! Whether a machine's end is one that a passed test may have.

use std::os::unix::process::ExitStatusExt;

use super::ending::{Ending, Step};
use super::inner::Inner;
use crate::exit;
use crate::process::Survivor;

impl Inner {
    /// Everything about this machine's end and its guest that fails its test, whatever the body said: each in a
    /// sentence, without the machine's name.
    pub(crate) fn troubles(&self) -> Vec<String> {
        let Some(ending) = self.ending() else {
            return self.guest_troubles();
        };
        let mut troubles = self.guest_troubles();
        troubles.extend(self.trouble_of_status(ending).map(|what| match self.crash() {
            Some(crash) if crash.is_told_by(&format!("QEMU {what}")) => {
                crash.told_by(&format!("QEMU {what}"))
            }
            _ => format!("QEMU {what}"),
        }));
        if ending.tree.is_clean() {
            return troubles;
        }
        let names = |left: &[Survivor]| {
            left.iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ")
        };
        if !ending.tree.survivors.is_empty() {
            troubles.push(format!(
                "QEMU left a process behind, killed now: {}",
                names(&ending.tree.survivors)
            ));
        }
        if !ending.tree.remaining.is_empty() {
            troubles.push(format!(
                "QEMU left a process that SIGKILL does not end: {}",
                names(&ending.tree.remaining)
            ));
        }
        if ending.tree.guardian_lost {
            troubles.push(
                "QEMU lost the process that guards it to a signal: nobody knows what it left behind"
                    .to_owned(),
            );
        }
        troubles
    }

    /// What its guest did that fails its test.
    pub(crate) fn guest_troubles(&self) -> Vec<String> {
        let troubles = self.parts.guest.troubles();
        troubles.into_iter().map(|trouble| trouble.summary).collect()
    }

    fn trouble_of_status(&self, ending: &Ending) -> Option<String> {
        let Some(status) = ending.status else {
            return Some(ending.describe());
        };
        if let Some(expected) = self.parts.expected_exit {
            let kept = ending.by_itself && expected.matches(status);
            return (!kept)
                .then(|| format!("{}, and was expected to {expected} by itself", ending.describe()));
        }
        // The body knows, and had the chance to object.
        if self.was_received() {
            return None;
        }
        match (ending.by_itself, ending.last) {
            (true, _) => (!status.success()).then(|| ending.describe()),
            (false, Some(Step::Quit)) => (!status.success()).then(|| ending.describe()),
            // Whoever asked for SIGKILL right away got what was asked for.
            (false, Some(Step::Kill)) if ending.steps.len() == 1 && status.signal() == Some(9) => None,
            (false, _) => Some(format!("did not shut down: it {}", ending.describe())),
        }
    }

    /// How the machine stands, in a few words for the report.
    pub(crate) fn standing(&self) -> String {
        match (self.ending(), self.exit_status()) {
            (Some(ending), _) => ending.describe(),
            (None, Some(status)) => format!("{}, by itself", exit::describe(status)),
            (None, None) => "running".to_owned(),
        }
    }
}
