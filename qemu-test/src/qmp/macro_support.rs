//! What `qmp!` expands to: JSON objects and arrays, put together one value at a time.
//!
//! The names are as they go over the wire: the macro has seen to that. Everything here panics at the caller of the
//! macro, because a value that is no JSON is a mistake in the test, and not an answer of QEMU's.

use serde::Serialize;
use serde_json::{Map, Value};

use super::Command;

/// A command of QEMU's schema; `versions` are those that have it, in words.
pub fn command(name: &str, versions: &'static str) -> Command {
    Command::known(name, versions)
}

/// A JSON object that a `qmp!` spells out.
#[derive(Debug, Default)]
#[must_use]
pub struct Object(Map<String, Value>);

impl Object {
    /// The empty object.
    pub fn new() -> Self {
        Self::default()
    }

    /// `key: value`
    #[track_caller]
    pub fn field<T: Serialize + ?Sized>(self, key: &str, value: &T) -> Self {
        match serde_json::to_value(value) {
            Ok(value) => self.value(key, value),
            Err(error) => cannot_serialise(&format!("the value of `{key}`"), &error),
        }
    }

    /// `key?: value`
    #[track_caller]
    pub fn optional<T: Serialize>(self, key: &str, value: &Option<T>) -> Self {
        match value {
            Some(value) => self.field(key, value),
            None => self,
        }
    }

    /// `key: null`, `key: { ... }`, `key: [...]`
    pub fn value(mut self, key: &str, value: Value) -> Self {
        self.0.insert(key.to_owned(), value);
        self
    }

    /// `..value`: the keys that are already here stay as they are.
    #[track_caller]
    pub fn merge<T: Serialize + ?Sized>(mut self, value: &T) -> Self {
        match serde_json::to_value(value) {
            Ok(Value::Object(others)) => {
                for (key, value) in others {
                    self.0.entry(key).or_insert(value);
                }
            }
            Ok(other) => panic!(
                "qmp!: what `..` merges must be an object, and is {}: {other}",
                kind(&other)
            ),
            Err(error) => cannot_serialise("what `..` merges", &error),
        }
        self
    }

    /// The object as a value.
    pub fn build(self) -> Value {
        Value::Object(self.0)
    }
}

/// A JSON array that a `qmp!` spells out.
#[derive(Debug, Default)]
#[must_use]
pub struct Array(Vec<Value>);

impl Array {
    /// The empty array.
    pub fn new() -> Self {
        Self::default()
    }

    /// An element that is a Rust expression.
    #[track_caller]
    pub fn item<T: Serialize + ?Sized>(self, value: &T) -> Self {
        match serde_json::to_value(value) {
            Ok(value) => self.value(value),
            Err(error) => cannot_serialise(&format!("element {} of an array", self.0.len()), &error),
        }
    }

    /// An element that is `null`, an object, or an array.
    pub fn value(mut self, value: Value) -> Self {
        self.0.push(value);
        self
    }

    /// The array as a value.
    pub fn build(self) -> Value {
        Value::Array(self.0)
    }
}

/// `null`, and `_` in a filter.
pub const NULL: Value = Value::Null;

#[cold]
#[track_caller]
fn cannot_serialise(what: &str, error: &serde_json::Error) -> ! {
    panic!("qmp!: {what} cannot be serialised as JSON: {error}")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[doc = include_str!("qmp_macro.md")]
#[macro_export]
macro_rules! qmp {
    ($($input:tt)*) => {
        // The first token tells the expansion where this crate is, for crates that re-export it.
        $crate::__private::qmp!(($crate) $($input)*)
    };
}
