//! What became of a machine that explains the failure of its test.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use super::inner::Inner;
use super::memory_killer;
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

impl Fate {
    /// The end by a signal that the library did not send; `memory_kills` is what the host's memory killer had done
    /// before.
    pub(super) fn of_signal(status: ExitStatus, memory_kills: Option<u64>) -> Option<Self> {
        let signal = status.signal()?;
        let kind = if CRASHES.contains(&signal) {
            "QEMU crashed: "
        } else if signal == libc::SIGKILL && memory_killer::struck_since(memory_kills) {
            // The kernel's log would name its victim, and is not for everybody to read.
            "the host ran out of memory, and its memory killer struck: "
        } else {
            ""
        };
        Some(Self {
            kind,
            what: format!("QEMU {}", exit::describe(status)),
        })
    }
}

/// Whether an end during the launch is QEMU's refusal of what it was told: it ends with status 1 then, and its messages
/// begin with its own name (`error_report` of QEMU's `util/error-report.c`).
pub(super) fn refused_its_arguments(status: ExitStatus, command_line: &[OsString], log: &str) -> bool {
    let says = |line: &str| {
        let Some((name, _)) = line.split_once(": ") else {
            return false;
        };
        name.contains("qemu")
            && command_line
                .iter()
                .any(|word| Path::new(word).file_name() == Path::new(name).file_name())
    };
    status.code() == Some(1) && log.lines().any(says)
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
        let announced = self
            .parts
            .expected_exit
            .is_some_and(|expected| expected.matches(status));
        if !by_itself || announced {
            return None;
        }
        Fate::of_signal(status, self.parts.memory_kills)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_a_kill_and_a_refusal_are_told_apart() {
        let of = |raw, kills| Fate::of_signal(ExitStatus::from_raw(raw), kills).map(|fate| fate.told_by(""));
        assert_eq!(
            of(6, None).unwrap(),
            "QEMU crashed: QEMU was killed by signal SIGABRT"
        );
        assert_eq!(of(9, None).unwrap(), "QEMU was killed by signal SIGKILL");
        assert_eq!(of(0x100, None), None);
        let line = ["nice".into(), "/usr/bin/qemu-system-x86_64".into()];
        let refused = |raw, log| refused_its_arguments(ExitStatus::from_raw(raw), &line, log);
        assert!(refused(
            0x100,
            "warning\nqemu-system-x86_64: -x: invalid option\n"
        ));
        assert!(!refused(0x200, "qemu-system-x86_64: -x: invalid option\n"));
        assert!(!refused(0x100, "nice: no such file\n"));
    }

    #[test]
    fn a_message_that_tells_of_the_end_says_what_was_being_done() {
        let fate = Fate {
            kind: "QEMU crashed: ",
            what: "QEMU was killed by signal SIGABRT".into(),
        };
        let message = "panicked: called `Result::unwrap()` on an `Err` value: QEMU was killed by signal SIGABRT while x";
        assert_eq!(
            fate.told_by(message),
            "QEMU crashed: QEMU was killed by signal SIGABRT while x"
        );
        assert!(fate.is_told_by(message) && !fate.is_told_by("panicked: something else"));
    }
}
