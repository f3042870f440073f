//! The mistakes found so far. They are told together, so that a user sees all of them at once.

use syn::{Error, Result};

/// What was wrong so far.
pub(super) struct Mistakes(Option<Error>);

impl Mistakes {
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// The value of `result`, whose error is added.
    pub(super) fn keep<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    /// `value`, if nothing was wrong.
    pub(super) fn or<T>(self, value: T) -> Result<T> {
        self.0.map_or(Ok(value), Err)
    }
}
