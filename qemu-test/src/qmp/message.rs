//! What a message says: greeting, event or reply, as QEMU's `docs/interop/qmp-spec` has them.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::decoder::Malformed;
use super::event::{self, Unread};

/// One message from QEMU.
#[derive(Debug)]
pub(super) enum Message {
    /// The first message on a connection.
    Greeting {
        out_of_band: bool,
    },
    Event(Unread),
    Reply(Answers),
}

/// What a reply answers, by its id.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answers {
    Command(u64),
    /// A request of which QEMU's parser could not make sense, such as one with a NUL character in a string: an error
    /// without an id.
    Unparsed,
    /// Nothing that was sent from here.
    Nothing,
}

/// The members that mean something, their values not looked into: the text is checked to be JSON all the same, and
/// without recursion.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default, rename = "QMP", deserialize_with = "present")]
    greeting: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "return", deserialize_with = "present")]
    returned: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(default)]
    timestamp: Option<Timestamp>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// Keeps `null` apart from what is not there.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Timestamp {
    seconds: i64,
    microseconds: i64,
}

#[derive(Deserialize)]
struct Greeting {
    capabilities: Vec<String>,
}

impl Message {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        // Looked at as a whole and before anything else: serde_json would check the strings that it reads, but not
        // those that it skips.
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let what = format!("a message is no UTF-8 from byte {} on", error.valid_up_to());
            Malformed::new(what, &bytes[error.valid_up_to().saturating_sub(80)..])
        })?;
        let envelope: Envelope<'_> = serde_json::from_str(text)
            .map_err(|error| Malformed::new(format!("a message is no JSON ({error})"), bytes))?;
        let members = (
            &envelope.greeting,
            &envelope.event,
            &envelope.returned,
            &envelope.error,
        );
        match members {
            (Some(greeting), None, None, None) => {
                let greeting: Greeting = serde_json::from_str(greeting.get()).map_err(|error| {
                    Malformed::new(format!("a greeting is not as it should be ({error})"), bytes)
                })?;
                let out_of_band = greeting.capabilities.iter().any(|name| name == "oob");
                Ok(Self::Greeting { out_of_band })
            }
            (None, Some(name), None, None) => {
                let timestamp = envelope
                    .timestamp
                    .and_then(|t| event::timestamp(t.seconds, t.microseconds));
                Ok(Self::Event(Unread::new(
                    name,
                    envelope.data.map(RawValue::get),
                    timestamp,
                )))
            }
            (None, None, Some(_), None) | (None, None, None, Some(_)) => {
                let id = envelope.id.map(|id| id.get().parse());
                Ok(Self::Reply(match id {
                    Some(Ok(id)) => Answers::Command(id),
                    None if envelope.error.is_some() => Answers::Unparsed,
                    _ => Answers::Nothing,
                }))
            }
            (None, None, None, None) => {
                let what = "a message is neither a reply nor an event";
                Err(Malformed::new(what, bytes))
            }
            _ => {
                let what = "a message has more than one of `QMP`, `event`, `return` and `error`";
                Err(Malformed::new(what, bytes))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Message, String> {
        Message::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn each_kind_is_known_by_its_member() {
        let greeting = r#"{"QMP": {"version": {}, "capabilities": ["oob"]}}"#;
        assert!(matches!(
            parse(greeting),
            Ok(Message::Greeting { out_of_band: true })
        ));
        let greeting = r#"{"QMP": {"version": {}, "capabilities": []}}"#;
        assert!(matches!(
            parse(greeting),
            Ok(Message::Greeting { out_of_band: false })
        ));
        for (reply, expected) in [
            (r#"{"return": null, "id": 7}"#, Answers::Command(7)),
            (r#"{"error": {}, "id": 0}"#, Answers::Command(0)),
            (r#"{"error": {}}"#, Answers::Unparsed),
            (r#"{"return": {}}"#, Answers::Nothing),
            (r#"{"return": {}, "id": "x"}"#, Answers::Nothing),
            (r#"{"error": {}, "id": -1}"#, Answers::Nothing),
        ] {
            assert!(
                matches!(parse(reply), Ok(Message::Reply(answers)) if answers == expected),
                "{reply}"
            );
        }
        let Ok(Message::Event(event)) =
            parse(r#"{"event": "ST\u004fP", "timestamp": {"seconds": 1, "microseconds": 2}}"#)
        else {
            panic!("no event");
        };
        assert_eq!(event.name(), "STOP");
        assert!(event.event().timestamp.is_some());
    }

    #[test]
    fn what_is_none_of_them_or_two_of_them_is_refused() {
        for (text, words) in [
            ("{}", "neither a reply nor an event"),
            (r#"{"id": 1}"#, "neither a reply nor an event"),
            (r#"{"return": {}, "error": {}, "id": 1}"#, "more than one of"),
            (r#"{"return": 1, "return": 2}"#, "duplicate field"),
            (r#"{"QMP": 1}"#, "greeting is not as it should be"),
            (r#"{"event": 5}"#, "no JSON"),
            (r#"{"return": [1}"#, "no JSON"),
            (r#"{"event": "A", "data": tru}"#, "no JSON"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
            assert!(error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_refused_wherever_they_are() {
        for message in [
            &b"{\"event\": \"A\", \"data\": {\"a\": \"\xff\"}}"[..],
            b"{\"\xc3\x28\": 1, \"return\": {}}",
        ] {
            let error = Message::parse(message).unwrap_err().to_string();
            assert!(error.contains("no UTF-8 from byte"), "{error}");
        }
    }
}
