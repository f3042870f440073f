//! Everything that can go wrong, with the context that a person needs to see why.

use std::fmt::{self, Write as _};
use std::io;
use std::process::ExitStatus;
use std::time::Duration;

use crate::CommandLine;
use crate::exit;

/// The result of everything that can fail here. The second parameter is there so that the alias does not get in
/// the way where a test has an error type of its own.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something on a machine failed.
///
/// `Display` says what was being done, to which machine, for how long and, when QEMU is gone, how it ended and what
/// it logged last. `Debug` is the same text, because that is what `#[test]` prints of an `Err`.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No machine came up: its program is missing, refused its arguments, or did not answer.
    #[error(transparent)]
    Launch(Box<LaunchError>),
    /// QEMU answered a command with an error.
    #[error(transparent)]
    Qmp(crate::qmp::QmpError),
    /// What was waited for did not come in time.
    #[error(transparent)]
    Timeout(TimeoutError),
    /// QEMU ended, by itself or because it was told to, while something was being done to it.
    #[error(transparent)]
    Exited(Exited),
    /// A connection to QEMU ended although QEMU is not known to have ended.
    #[error(transparent)]
    Disconnected(Disconnected),
    /// The guest failed: it died, or a command in it did.
    #[error(transparent)]
    Guest(GuestError),
    /// The system refused something.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// A reply is not of the type it was asked to be read as.
    #[error("{0}")]
    Json(#[source] serde_json::Error),
    /// Anything else: an error of the test's own.
    #[error("{0}")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// What happened, without the blocks of context below it.
    pub(crate) fn first_line(&self) -> String {
        self.to_string().lines().next().unwrap_or_default().to_owned()
    }

    /// Wraps an error of the test's own, or a message.
    ///
    /// ```
    /// let error = qemu_test::Error::other("the disk has no partition table");
    /// assert_eq!(error.to_string(), "the disk has no partition table");
    /// ```
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    /// An I/O error that says what was being done.
    pub(crate) fn io(doing: impl fmt::Display, error: io::Error) -> Self {
        Self::Io(io::Error::new(error.kind(), format!("{doing}: {error}")))
    }
}

// Clippy warns its users from 128 bytes on, in every function that returns this.
const _: () = assert!(size_of::<Error>() < 128);

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// What was being done when it failed, to which machine, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    pub(crate) doing: String,
    pub(crate) machine: Option<String>,
    pub(crate) lasted: Duration,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.doing)?;
        if let Some(machine) = &self.machine {
            write!(f, " (machine `{machine}`)")?;
        }
        write!(f, " after {}", seconds(self.lasted))
    }
}

/// `12.3 s`, `45 ms`: exact enough to compare with a limit, short enough to read.
pub(crate) fn seconds(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else if duration.subsec_millis() < 50 {
        format!("{} s", duration.as_secs())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

/// `text` behind a heading, indented, or nothing where there is no text.
fn append_block(out: &mut String, heading: &str, text: &str) {
    if text.trim().is_empty() {
        return;
    }
    let _ = write!(out, "\n{heading}:");
    for line in text.trim_end().lines() {
        let _ = write!(out, "\n  {line}");
    }
}

/// A machine did not come up. See [`Error::Launch`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LaunchError {
    /// The machine's name.
    pub machine: String,
    /// What happened, in one sentence.
    pub reason: String,
    /// What was started, or would have been.
    pub command_line: CommandLine,
    /// How the process ended, where it was started and has ended.
    pub status: Option<ExitStatus>,
    /// The end of what QEMU wrote to its stdout and stderr.
    pub log: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("machine `{}` did not launch: {}", self.machine, self.reason);
        append_block(&mut text, "hint", self.hint.as_deref().unwrap_or_default());
        append_block(&mut text, "log", &self.log);
        append_block(&mut text, "command line", &self.command_line.to_string());
        f.write_str(&text)
    }
}

impl std::error::Error for LaunchError {}

/// A wait reached its limit. See [`Error::Timeout`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TimeoutError {
    pub(crate) attempt: Attempt,
    /// The limit, as scaled by `QEMU_TEST_TIMEOUT_SCALE`.
    pub limit: Duration,
    /// Whether it was the limit of the whole test that ended this wait.
    pub of_test: bool,
    /// What did come meanwhile: other events, the tail of the console.
    pub seen: String,
}

impl fmt::Display for TimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = if self.of_test {
            format!(
                "the test timed out after {} while {}",
                seconds(self.limit),
                self.attempt
            )
        } else {
            format!(
                "timed out {}, the limit being {}",
                self.attempt,
                seconds(self.limit)
            )
        };
        append_block(&mut text, "what came instead", &self.seen);
        f.write_str(&text)
    }
}

impl std::error::Error for TimeoutError {}

/// QEMU ended. See [`Error::Exited`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exited {
    pub(crate) attempt: Attempt,
    /// How the process that the library started ended: the wrapper, where there is one.
    pub status: ExitStatus,
    /// The end of what QEMU wrote to its stdout and stderr.
    pub log: String,
}

impl fmt::Display for Exited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("QEMU {} while {}", exit::describe(self.status), self.attempt);
        append_block(&mut text, "the end of its log", &self.log);
        f.write_str(&text)
    }
}

impl std::error::Error for Exited {}

/// A connection ended. See [`Error::Disconnected`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Disconnected {
    pub(crate) attempt: Attempt,
    /// What ended it: the end of file, an error of the system, a peer that does not speak the protocol.
    pub reason: String,
}

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the connection ended while {}: {}", self.attempt, self.reason)
    }
}

impl std::error::Error for Disconnected {}

/// The guest failed. See [`Error::Guest`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GuestError {
    pub(crate) attempt: Option<Attempt>,
    /// What happened in the guest, in one sentence.
    pub reason: String,
    /// The guest's own words: the lines of a panic, the output of a command.
    pub output: String,
}

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.reason.clone();
        if let Some(attempt) = &self.attempt {
            let _ = write!(text, " while {attempt}");
        }
        append_block(&mut text, "the guest's own words", &self.output);
        f.write_str(&text)
    }
}

impl std::error::Error for GuestError {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn attempt() -> Attempt {
        let lasted = Duration::from_millis(1250);
        Attempt {
            doing: "waiting for the event `STOP`".into(),
            machine: Some("vm".into()),
            lasted,
        }
    }

    #[test]
    fn a_vanished_qemu_is_told_with_its_end_and_its_log() {
        let status = ExitStatus::from_raw(6);
        let error = Error::Exited(Exited {
            attempt: attempt(),
            status,
            log: "assertion failed\n".into(),
        });
        let told = "QEMU was killed by signal SIGABRT while waiting for the event `STOP` (machine `vm`) after 1.2 s\n\
                    the end of its log:\n  assertion failed";
        assert_eq!(error.to_string(), told);
        assert_eq!(format!("{error:?}"), told);
    }

    #[test]
    fn the_limit_of_the_test_and_of_one_wait_are_told_apart() {
        let limit = Duration::from_secs(90);
        let error = |of_test| {
            TimeoutError {
                attempt: attempt(),
                limit,
                of_test,
                seen: String::new(),
            }
            .to_string()
        };
        assert!(error(true).starts_with("the test timed out after 90 s while waiting for the event `STOP`"));
        assert!(error(false).ends_with("the limit being 90 s"));
    }

    #[test]
    fn an_io_error_keeps_its_kind_beside_what_was_being_done() {
        let error = Error::io("creating `x`", io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(matches!(&error, Error::Io(e) if e.kind() == io::ErrorKind::PermissionDenied));
        assert!(error.to_string().starts_with("creating `x`: "));
    }
}
