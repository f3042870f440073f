//! What became of a machine that explains the failure of its test.

use std::os::unix::process::ExitStatusExt;

use super::inner::Inner;
use crate::exit;
use crate::interrupt::{Cause, DeathKind};

/// The signals by which a program ends that has a bug, or found one.
const CRASHES: [i32; 7] = [
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGTRAP,
];

/// A machine's end that is the cause of whatever its test says.
#[derive(Clone, Debug)]
pub(crate) struct Fate {
    /// What kind of end it is: `QEMU crashed: `.
    kind: &'static str,
    /// The end itself, in the words of the errors of the waits that it ended.
    what: String,
}

impl Fate {
    /// Whether `message` tells of this end.
    pub(crate) fn is_told_by(&self, message: &str) -> bool {
        message.contains(&self.what)
    }

    /// This end, as `message` has it if it tells of it: with what was being done, and for how long.
    pub(crate) fn told_by(&self, message: &str) -> String {
        let told = message
            .find(&self.what)
            .map_or(self.what.as_str(), |at| &message[at..]);
        format!("{}{told}", self.kind)
    }
}

impl Inner {
    /// What became of the machine, if that explains whatever else failed.
    pub(crate) fn fate(&self) -> Option<Fate> {
        let guest = &self.parts.guest;
        if let Some(panic) = guest.troubles().into_iter().find(|trouble| trouble.is_panic) {
            return Some(Fate {
                kind: "",
                what: panic.summary,
            });
        }
        if let Some(fate) = self.crash() {
            return Some(fate);
        }
        let interrupt = &self.parts.interrupt;
        match interrupt.cause() {
            Some(Cause::Guest(death)) if interrupt.told_of_death() => Some(Fate {
                kind: if death.kind == DeathKind::End {
                    "the guest ended early: "
                } else {
                    ""
                },
                what: death.reason,
            }),
            _ => None,
        }
    }

    /// QEMU's end by a signal that the library did not send.
    pub(super) fn crash(&self) -> Option<Fate> {
        let (status, by_itself) = match self.ending() {
            Some(ending) => (ending.status?, ending.by_itself),
            None => (self.exit_status()?, true),
        };
        let signal = status.signal().filter(|_| by_itself)?;
        if self
            .parts
            .expected_exit
            .is_some_and(|expected| expected.matches(status))
        {
            return None;
        }
        let kind = if CRASHES.contains(&signal) {
            "QEMU crashed: "
        } else {
            ""
        };
        Some(Fate {
            kind,
            what: format!("QEMU {}", exit::describe(status)),
        })
    }
}
