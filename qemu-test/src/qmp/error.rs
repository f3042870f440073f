//! QEMU's own error replies.

use std::fmt;

use serde_json::Value;

/// QEMU answered a command with an error.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct QmpError {
    /// What kind of error it is: the only part that a program may look at.
    pub class: ErrorClass,
    /// QEMU's own words: for people, they change between versions.
    pub desc: String,
    /// The whole reply.
    pub reply: Value,
    /// The command as it went over the wire, without its id.
    pub request: String,
    /// Of a command that this QEMU does not have: the versions that do, as far as `qmp!` knows, such as `10.0.2, not
    /// 7.2.22`. `None` for other errors, and for a command that was not written with `qmp!`.
    pub known_in: Option<&'static str>,
}

impl fmt::Display for QmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QEMU refused {}: {} ({})", self.request, self.desc, self.class)?;
        match self.known_in {
            Some(versions) => write!(
                f,
                "; `qmp!` knows it from QEMU {versions} (some commands are there for some targets only)"
            ),
            None => Ok(()),
        }
    }
}

impl std::error::Error for QmpError {}

/// The classes that QEMU's schema names (`QapiErrorClass`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorClass {
    /// Any error that a program has no reason to tell apart; what a newer QEMU invents is this, too.
    GenericError,
    /// The command does not exist, or not in this state of the machine.
    CommandNotFound,
    /// A device has failed to become active.
    DeviceNotActive,
    /// The device does not exist.
    DeviceNotFound,
    /// KVM lacks what the command needs.
    KVMMissingCap,
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
