//! What QEMU answers.

use serde_json::Value;

use super::{ErrorClass, QmpError};
use crate::error::{Error, Result};

/// A whole reply: `{"return": …, "id": …}` or `{"error": …, "id": …}`.
///
/// For tests that look at QEMU's errors, or at the monitor itself; `command` gives the returned value at once.
///
/// ```
/// # fn f(monitor: &qemu_test::qmp::Client) -> qemu_test::Result<()> {
/// let reply = monitor.command_raw("no-such-command")?;
/// assert!(reply.is_error());
/// assert_eq!(reply["error"]["class"], "CommandNotFound");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a reply may be an error: look at it, or use `command`"]
pub struct Reply {
    value: Value,
    /// The command as it went over the wire, without its id.
    request: String,
    /// The versions of QEMU that have the command, where `qmp!` knows them.
    known_in: Option<&'static str>,
}

impl Reply {
    pub(super) fn new(value: Value, request: String) -> Self {
        Self {
            value,
            request,
            known_in: None,
        }
    }

    pub(super) fn known_in(self, known_in: Option<&'static str>) -> Self {
        Self { known_in, ..self }
    }

    /// Whether QEMU refused the command.
    pub fn is_error(&self) -> bool {
        self.value.get("error").is_some()
    }

    /// The value that the command returned; `None` for an error.
    pub fn returned(&self) -> Option<&Value> {
        self.value.get("return")
    }

    /// QEMU's error; `None` where there is none.
    pub fn error(&self) -> Option<QmpError> {
        self.is_error().then(|| self.clone().into_error())
    }

    /// Moves what it can: a hostile reply may be too deep for a stack to clone.
    fn into_error(self) -> QmpError {
        let text = |key| self.value["error"][key].as_str().unwrap_or_default();
        let class = class(text("class"));
        QmpError {
            class,
            desc: text("desc").to_owned(),
            known_in: self.known_in.filter(|_| class == ErrorClass::CommandNotFound),
            reply: self.value,
            request: self.request,
        }
    }

    /// The whole reply as it came, its id included.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The command as it went over the wire, without its id.
    pub fn request(&self) -> &str {
        &self.request
    }

    /// The whole reply as it came, its id included.
    pub fn into_value(self) -> Value {
        self.value
    }

    /// The value that the command returned, or QEMU's error as [`Error::Qmp`].
    pub fn into_result(mut self) -> Result<Value> {
        match self.value.get_mut("return") {
            Some(returned) => Ok(returned.take()),
            None => Err(Error::Qmp(self.into_error())),
        }
    }
}

/// Reads a member of the reply, `Null` where there is none, as `Value` does.
impl<I: serde_json::value::Index> std::ops::Index<I> for Reply {
    type Output = Value;

    fn index(&self, index: I) -> &Value {
        &self.value[index]
    }
}

fn class(name: &str) -> ErrorClass {
    match name {
        "CommandNotFound" => ErrorClass::CommandNotFound,
        "DeviceNotActive" => ErrorClass::DeviceNotActive,
        "DeviceNotFound" => ErrorClass::DeviceNotFound,
        "KVMMissingCap" => ErrorClass::KVMMissingCap,
        _ => ErrorClass::GenericError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_keeps_class_description_reply_and_request() {
        let value = json!({ "error": { "class": "DeviceNotFound", "desc": "no `x`" }, "id": 3 });
        let reply = Reply::new(value.clone(), "{}".into());
        assert!(reply.is_error() && reply.returned().is_none());
        let Error::Qmp(error) = reply.into_result().unwrap_err() else {
            panic!("another error");
        };
        assert_eq!(error.class, ErrorClass::DeviceNotFound);
        assert_eq!((error.desc.as_str(), error.request.as_str()), ("no `x`", "{}"));
        assert_eq!(error.reply, value);
    }

    #[test]
    fn a_class_unknown_today_is_generic() {
        let value = json!({ "error": { "class": "BrandNew", "desc": "d" } });
        assert_eq!(
            Reply::new(value, String::new()).error().map(|e| e.class),
            Some(ErrorClass::GenericError)
        );
        let value = json!({ "error": null });
        assert_eq!(
            Reply::new(value, String::new()).error().map(|e| e.class),
            Some(ErrorClass::GenericError)
        );
    }

    #[test]
    fn a_value_of_any_type_is_returned() {
        for returned in [
            json!(null),
            json!([1]),
            json!("x"),
            json!(u64::MAX),
            json!(i64::MIN),
            json!({}),
        ] {
            let reply = Reply::new(json!({ "return": returned }), String::new());
            assert_eq!(reply.into_result().unwrap(), returned);
        }
    }
}
