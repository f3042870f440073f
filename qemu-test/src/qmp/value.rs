//! From JSON text to a [`Value`], however deep it nests.

use serde_json::{Map, Value};

/// Parses one JSON value.
///
/// serde_json recurses, and therefore stops at a depth of 128, while QEMU's replies nest deeper: a chain of backing
/// files takes two levels per file. What is too deep for it is put together here without recursion.
pub(super) fn parse(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text).or_else(|_| parse_deep(text))
}

/// An object or an array that is not complete.
enum Open {
    Array(Vec<Value>),
    /// With the key of the field that comes next.
    Object(Map<String, Value>, Option<String>),
}

/// The text must be well-formed (see the decoder): this looks only as far as it must to tell the tokens apart.
fn parse_deep(text: &str) -> serde_json::Result<Value> {
    let bytes = text.as_bytes();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let complete = match bytes[at] {
            b' ' | b'\t' | b'\n' | b'\r' | b',' | b':' => {
                at += 1;
                continue;
            }
            b'[' => {
                open.push(Open::Array(Vec::new()));
                at += 1;
                continue;
            }
            b'{' => {
                open.push(Open::Object(Map::new(), None));
                at += 1;
                continue;
            }
            b']' | b'}' => {
                at += 1;
                match open.pop() {
                    Some(Open::Array(items)) => Value::Array(items),
                    Some(Open::Object(fields, _)) => Value::Object(fields),
                    None => break,
                }
            }
            _ => {
                let end = scalar_end(bytes, at);
                let scalar = serde_json::from_slice(&bytes[at..end])?;
                at = end;
                scalar
            }
        };
        match (open.last_mut(), complete) {
            (None, complete) => return Ok(complete),
            (Some(Open::Array(items)), complete) => items.push(complete),
            (Some(Open::Object(fields, key)), complete) => match (key.take(), complete) {
                (Some(key), complete) => {
                    fields.insert(key, complete);
                }
                (None, Value::String(name)) => *key = Some(name),
                (None, _) => break,
            },
        }
    }
    // Not well-formed after all: serde_json has the words for it.
    serde_json::from_str(text)
}

/// Where the string, number or word that begins at `at` ends.
fn scalar_end(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    if bytes[at] == b'"' {
        while end < bytes.len() {
            match bytes[end] {
                b'"' => return end + 1,
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        return bytes.len();
    }
    while end < bytes.len() && !b" \t\r\n,:]}[{\"".contains(&bytes[end]) {
        end += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_without_recursion_is_what_serde_json_reads() {
        for text in [
            "null",
            " [ ] ",
            "{}",
            r#"{"a":{"b":[1,-2.5e3,"x\"]}\\",true,{"":null}]},"c":18446744073709551615,"a":[]}"#,
            r#"[[],[[]],{"k":[{}]},"\u00e9\ud83d\ude00"]"#,
        ] {
            let expected: Value = serde_json::from_str(text).unwrap();
            assert_eq!(parse_deep(text).unwrap(), expected, "{text}");
        }
        for text in ["", "[", "{1:2}", "]", r#""open"#, "[tru]", "\"\\"] {
            assert!(parse_deep(text).is_err(), "{text}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let depth = super::super::decoder::MAX_NESTING;
        let text = format!("{}1{}", r#"{"a":["#.repeat(depth / 2), "]}".repeat(depth / 2));
        let value = parse(&text).unwrap();
        let copy = value.clone();
        assert_eq!(copy, value);
        assert_eq!(copy.to_string(), text);
    }
}
