//! What QEMU tells unasked.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

/// Something that happened in QEMU or in its guest.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// Its name in QEMU's schema: `STOP`, `DEVICE_DELETED`.
    pub name: String,
    /// What QEMU tells of it: `{}` where it tells nothing.
    pub data: Value,
    /// When it happened by the host's clock, where QEMU knows.
    pub timestamp: Option<SystemTime>,
}

/// `DEVICE_DELETED {"device":"disk0"}`
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.data {
            Value::Object(data) if data.is_empty() => Ok(()),
            data => write!(f, " {data}"),
        }
    }
}

/// An event that nobody has taken yet. It keeps the text that came, because a `Value` takes many times its text's
/// memory, and unread events are what a hostile or merely busy peer fills memory with.
#[derive(Debug)]
pub(super) struct Unread {
    name: Box<str>,
    data: Option<Box<str>>,
    timestamp: Option<SystemTime>,
}

impl Unread {
    pub(super) fn new(name: &str, data: Option<&str>, timestamp: Option<SystemTime>) -> Self {
        Self {
            name: name.into(),
            data: data.map(Box::from),
            timestamp,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// What it takes in memory, roughly.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.data.as_ref().map_or(0, |data| data.len())
    }

    pub(super) fn event(&self) -> Event {
        let data = match &self.data {
            // The text was seen to be JSON when it came. A number out of range is all that can still be wrong, and
            // then the text itself is the best there is.
            Some(text) => super::value::parse(text).unwrap_or_else(|_| Value::String(text.to_string())),
            None => Value::Object(Map::new()),
        };
        Event {
            name: self.name.to_string(),
            data,
            timestamp: self.timestamp,
        }
    }
}

/// QEMU's `{"seconds": S, "microseconds": U}`, in which -1 stands for a clock that failed.
pub(super) fn timestamp(seconds: i64, microseconds: i64) -> Option<SystemTime> {
    let seconds = Duration::from_secs(u64::try_from(seconds).ok()?);
    let microseconds = Duration::from_micros(u64::try_from(microseconds).ok()?);
    SystemTime::UNIX_EPOCH.checked_add(seconds.checked_add(microseconds)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_without_data_has_an_empty_object() {
        let event = Unread::new("STOP", None, None).event();
        assert_eq!(event.data, json!({}));
        assert_eq!(event.to_string(), "STOP");
        let event = Unread::new("RTC_CHANGE", Some(r#"{"offset": 18446744073709551615}"#), None).event();
        assert_eq!(event.to_string(), r#"RTC_CHANGE {"offset":18446744073709551615}"#);
    }

    #[test]
    fn a_clock_that_failed_gives_no_timestamp() {
        assert_eq!(timestamp(-1, -1), None);
        assert_eq!(timestamp(0, -1), None);
        let expected = SystemTime::UNIX_EPOCH + Duration::from_micros(2_000_003);
        assert_eq!(timestamp(2, 3), Some(expected));
    }
}
