//! What is asked of QEMU.

use std::fmt;
use std::time::Duration;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// A QMP command, ready to be sent as often as one likes.
///
/// `qmp!` writes one with its names checked at compile time; this is the form for names known at run time only. A
/// `&str` is a command without arguments.
///
/// It displays as the JSON that goes over the wire, without the id that a client adds.
///
/// ```
/// use qemu_test::qmp::Command;
/// use serde_json::json;
///
/// let command = Command::new("device_del").arguments(json!({ "id": "disk0" }));
/// assert_eq!(command.to_string(), r#"{"execute":"device_del","arguments":{"id":"disk0"}}"#);
/// assert_eq!(Command::from("stop").to_string(), r#"{"execute":"stop"}"#);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a command does nothing until it is sent"]
pub struct Command {
    name: String,
    arguments: Option<Value>,
    out_of_band: bool,
    timeout: Option<Duration>,
    known_in: KnownIn,
}

/// The versions of QEMU that have the command, in words, where `qmp!` knows them. They are no part of what it asks.
#[derive(Clone, Copy, Debug, Default)]
struct KnownIn(Option<&'static str>);

impl PartialEq for KnownIn {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Command {
    /// A command without arguments; `name` goes over the wire as it is.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            arguments: None,
            out_of_band: false,
            timeout: None,
            known_in: KnownIn(None),
        }
    }

    pub(super) fn known(name: &str, versions: &'static str) -> Self {
        Self {
            known_in: KnownIn(Some(versions)),
            ..Self::new(name)
        }
    }

    /// Sets the arguments: an object, which is sent as it is, as is anything else, for tests of the monitor itself.
    pub fn arguments(mut self, arguments: impl Into<Value>) -> Self {
        self.arguments = Some(arguments.into());
        self
    }

    /// Has QEMU run the command at once (`exec-oob`), before those that wait or run. QEMU allows that to few
    /// commands, such as `migrate-recover` and `migrate-pause`, and refuses it for the others.
    pub fn oob(mut self) -> Self {
        self.out_of_band = true;
        self
    }

    /// How long to wait for the reply, instead of the client's own limit (30 s, where nothing else was said).
    ///
    /// A late reply is dropped. Nothing takes the command back: QEMU may well run it after the limit.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    pub(crate) fn limit(&self) -> Option<Duration> {
        self.timeout
    }

    pub(super) fn known_in(&self) -> Option<&'static str> {
        self.known_in.0
    }

    pub(crate) fn is_oob(&self) -> bool {
        self.out_of_band
    }

    /// How many objects and arrays lie in one another in the whole request, as QEMU's parser counts them.
    pub(crate) fn nesting(&self) -> usize {
        let mut deepest = 1;
        let mut open: Vec<(&Value, usize)> = self.arguments.iter().map(|value| (value, 1)).collect();
        while let Some((value, outside)) = open.pop() {
            match value {
                Value::Array(items) => open.extend(items.iter().map(|item| (item, outside + 1))),
                Value::Object(fields) => open.extend(fields.values().map(|field| (field, outside + 1))),
                _ => continue,
            }
            deepest = deepest.max(outside + 1);
        }
        deepest
    }
}

/// The wire form, without the id.
impl Serialize for Command {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(if self.out_of_band { "exec-oob" } else { "execute" }, &self.name)?;
        if let Some(arguments) = &self.arguments {
            map.serialize_entry("arguments", arguments)?;
        }
        map.end()
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Strings and JSON values always serialise; were it otherwise, the text would say so.
        f.write_str(&serde_json::to_string(self).unwrap_or_else(|error| error.to_string()))
    }
}

impl From<&str> for Command {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for Command {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl From<&String> for Command {
    fn from(name: &String) -> Self {
        Self::new(name.as_str())
    }
}

impl From<&Command> for Command {
    fn from(command: &Command) -> Self {
        command.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_displays_as_what_goes_over_the_wire() {
        assert_eq!(Command::new("stop").to_string(), r#"{"execute":"stop"}"#);
        let command = Command::new("migrate-recover")
            .arguments(json!({ "uri": "tcp:\"0\"" }))
            .oob();
        assert_eq!(
            command.to_string(),
            r#"{"exec-oob":"migrate-recover","arguments":{"uri":"tcp:\"0\""}}"#
        );
    }

    #[test]
    fn nesting_counts_the_request_itself() {
        assert_eq!(Command::new("stop").nesting(), 1);
        assert_eq!(Command::new("x").arguments(json!({})).nesting(), 2);
        assert_eq!(
            Command::new("x")
                .arguments(json!({ "a": [1, [2]], "b": 1 }))
                .nesting(),
            4
        );
    }
}
