//! How a body ended: it returned, it returned a failure, it panicked.

use std::any::Any;
use std::error::Error as StdError;
use std::process::{ExitCode, Termination};

use crate::Error;

/// The end of a body.
pub(super) enum Outcome {
    Passed,
    /// An `Err`, told by `Termination::report`, or a machine that did not come up.
    Failed(String),
    Panicked(Box<dyn Any + Send>),
}

impl Outcome {
    /// What the body returned, after its own `report` has printed the `Error:` line.
    pub(super) fn of<T: Termination + 'static>(returned: T) -> Self {
        let message = error_message(&returned);
        let told_above = match (&returned as &dyn Any).is::<ExitCode>() {
            true => "the body returned an exit code that is not success",
            false => "the body returned a failure; its `Error:` line is above",
        };
        if returned.report() == ExitCode::SUCCESS {
            return Self::Passed;
        }
        Self::Failed(message.unwrap_or_else(|| told_above.to_owned()))
    }

    /// One sentence, for the first line of the report.
    pub(super) fn cause(&self) -> Option<String> {
        match self {
            Self::Passed => None,
            Self::Failed(message) => Some(first_line(message)),
            Self::Panicked(payload) => {
                let message = panic_message(payload.as_ref());
                Some(format!(
                    "panicked: {}",
                    first_line(message.unwrap_or("a payload that is no text"))
                ))
            }
        }
    }

    /// Whether this is a panic that `#[should_panic(expected = "...")]` accepts, as libtest decides it.
    pub(super) fn is_expected_panic(&self, expected: Option<&str>) -> bool {
        match (self, expected) {
            (Self::Panicked(_), None) => true,
            (Self::Panicked(payload), Some(expected)) => {
                panic_message(payload.as_ref()).is_some_and(|message| message.contains(expected))
            }
            _ => false,
        }
    }
}

fn panic_message(payload: &(dyn Any + Send)) -> Option<&str> {
    payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
}

fn first_line(message: &str) -> String {
    message
        .trim()
        .lines()
        .next()
        .unwrap_or_default()
        .trim_end_matches(':')
        .to_owned()
}

/// The text of the error types that tests return most; any other has had its say in the `Error:` line.
fn error_message(returned: &dyn Any) -> Option<String> {
    fn of<E: 'static>(returned: &dyn Any, text: impl Fn(&E) -> String) -> Option<String> {
        returned.downcast_ref::<Result<(), E>>()?.as_ref().err().map(text)
    }
    of::<Error>(returned, Error::to_string)
        .or_else(|| of::<Box<dyn StdError>>(returned, ToString::to_string))
        .or_else(|| of::<Box<dyn StdError + Send + Sync>>(returned, ToString::to_string))
        .or_else(|| of::<std::io::Error>(returned, ToString::to_string))
        .or_else(|| of::<String>(returned, Clone::clone))
        .or_else(|| of::<&'static str>(returned, |text| (*text).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_an_error_or_a_panic_is_the_cause() {
        let cause = |outcome: Outcome| outcome.cause().unwrap();
        assert_eq!(
            cause(Outcome::of(Err::<(), _>(Error::other("no disk\nat all")))),
            "no disk"
        );
        assert_eq!(cause(Outcome::of(Err::<(), _>("no disk"))), "no disk");
        assert_eq!(
            cause(Outcome::of(ExitCode::FAILURE)),
            "the body returned an exit code that is not success"
        );
        assert!(cause(Outcome::of(Err::<(), _>(std::fmt::Error))).contains("`Error:` line is above"));
        assert_eq!(
            cause(Outcome::Panicked(Box::new("left\nright"))),
            "panicked: left"
        );
        assert!(Outcome::of(()).cause().is_none());
    }

    #[test]
    fn only_a_panic_with_the_expected_text_is_expected() {
        let panicked = || Outcome::Panicked(Box::new("index out of bounds".to_owned()));
        assert!(panicked().is_expected_panic(None));
        assert!(panicked().is_expected_panic(Some("out of")));
        assert!(!panicked().is_expected_panic(Some("overflow")));
        assert!(!Outcome::Failed("out of".into()).is_expected_panic(Some("out of")));
    }
}
