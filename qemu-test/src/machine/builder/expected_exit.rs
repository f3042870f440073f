//! How a machine is to end.

use std::process::ExitStatus;

use crate::exit;

/// How a machine will end, when that is not with status 0 after `quit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpectedExit {
    /// By itself, with this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl ExpectedExit {
    pub(crate) fn matches(self, status: ExitStatus) -> bool {
        use std::os::unix::process::ExitStatusExt;
        match self {
            Self::Code(code) => status.code() == Some(code),
            Self::Signal(signal) => status.signal() == Some(signal),
        }
    }
}

impl From<i32> for ExpectedExit {
    fn from(code: i32) -> Self {
        Self::Code(code)
    }
}

impl std::fmt::Display for ExpectedExit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit with status {code}"),
            Self::Signal(signal) => write!(f, "end by signal {}", exit::signal_name(*signal)),
        }
    }
}
