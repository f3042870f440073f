//! Which event a wait is for.

use std::fmt;

use serde_json::Value;

use super::Event;

/// Which events a wait takes: by name, and by what their data must hold.
///
/// `qmp!` writes one with its names checked at compile time; this is the form for names known at run time only. A
/// `&str` is a filter by name alone.
///
/// ```
/// use qemu_test::qmp::EventFilter;
/// use serde_json::json;
///
/// let gone = EventFilter::new("DEVICE_DELETED").data(json!({ "device": "disk0", "path": null }));
/// let ended = EventFilter::any([gone, "SHUTDOWN".into()]);
/// assert_eq!(ended.to_string(), r#"DEVICE_DELETED {"device":"disk0","path":null} or SHUTDOWN"#);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct EventFilter(Kind);

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    One { name: String, data: Option<Value> },
    Any(Vec<EventFilter>),
}

impl EventFilter {
    /// Takes every event called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self(Kind::One {
            name: name.into(),
            data: None,
        })
    }

    /// Takes only events of which `data` is a recursive subset: of an object the fields named here must be there
    /// and match, whatever else is; `null` matches any value that is there; arrays and everything else compare
    /// whole. On a filter that is an [`any`](Self::any), it holds for each of the alternatives.
    pub fn data(mut self, data: impl Into<Value>) -> Self {
        self.restrict(&data.into());
        self
    }

    /// Takes what any of `filters` takes; of none, nothing.
    pub fn any<F: Into<EventFilter>>(filters: impl IntoIterator<Item = F>) -> Self {
        Self(Kind::Any(filters.into_iter().map(Into::into).collect()))
    }

    /// Whether the filter takes `event`.
    pub fn matches(&self, event: &Event) -> bool {
        match &self.0 {
            Kind::One { name, data } => {
                *name == event.name && data.as_ref().is_none_or(|data| is_subset(data, &event.data))
            }
            Kind::Any(filters) => filters.iter().any(|filter| filter.matches(event)),
        }
    }

    /// Whether some event called `name` could match: spares parsing the data of those that cannot.
    pub(super) fn may_match(&self, name: &str) -> bool {
        match &self.0 {
            Kind::One { name: wanted, .. } => wanted == name,
            Kind::Any(filters) => filters.iter().any(|filter| filter.may_match(name)),
        }
    }

    fn restrict(&mut self, wanted: &Value) {
        match &mut self.0 {
            Kind::One { data, .. } => *data = Some(wanted.clone()),
            Kind::Any(filters) => filters.iter_mut().for_each(|filter| filter.restrict(wanted)),
        }
    }
}

fn is_subset(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Null, _) => true,
        (Value::Object(wanted), Value::Object(found)) => wanted
            .iter()
            .all(|(key, wanted)| found.get(key).is_some_and(|found| is_subset(wanted, found))),
        _ => wanted == found,
    }
}

impl fmt::Display for EventFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::One { name, data: None } => f.write_str(name),
            Kind::One {
                name,
                data: Some(data),
            } => write!(f, "{name} {data}"),
            Kind::Any(filters) if filters.is_empty() => f.write_str("none at all"),
            Kind::Any(filters) => {
                for (position, filter) in filters.iter().enumerate() {
                    let separator = if position > 0 { " or " } else { "" };
                    write!(f, "{separator}{filter}")?;
                }
                Ok(())
            }
        }
    }
}

impl From<&str> for EventFilter {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl From<String> for EventFilter {
    fn from(name: String) -> Self {
        Self::new(name)
    }
}

impl From<&EventFilter> for EventFilter {
    fn from(filter: &EventFilter) -> Self {
        filter.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(data: Value) -> Event {
        Event {
            name: "E".into(),
            data,
            timestamp: None,
        }
    }

    #[test]
    fn data_must_be_a_recursive_subset() {
        let event = event(json!({ "a": { "b": 1, "c": [1, 2] }, "d": "x", "n": null }));
        let matches = |data| EventFilter::new("E").data(data).matches(&event);
        for data in [
            json!({}),
            json!({ "d": "x" }),
            json!({ "a": { "b": 1 } }),
            json!({ "a": { "c": [1, 2] } }),
            json!({ "a": null, "n": null }),
            Value::Null,
        ] {
            assert!(matches(data.clone()), "{data}");
        }
        for data in [
            json!({ "d": "y" }),
            json!({ "absent": null }),
            json!({ "a": { "c": [1] } }),
            json!({ "a": { "c": [1, null] } }),
            json!({ "a": { "b": "1" } }),
            json!({ "d": {} }),
            json!([]),
        ] {
            assert!(!matches(data.clone()), "{data}");
        }
    }

    #[test]
    fn any_takes_what_one_of_its_filters_takes() {
        let event = event(json!({ "a": 1 }));
        assert!(EventFilter::any(["X", "E"]).matches(&event));
        assert!(!EventFilter::any(["X", "Y"]).matches(&event));
        assert!(!EventFilter::any::<&str>([]).matches(&event));
        assert!(
            !EventFilter::any(["X", "E"])
                .data(json!({ "a": 2 }))
                .matches(&event)
        );
    }
}
