//! Where a message ends. QMP is a stream of JSON values, not of lines: QEMU spreads a value over several with
//! `pretty=on`, and a read returns any part of one or several of them.

use std::fmt;

/// The longest message that is taken, in bytes. What QEMU sends is far below it: the longest reply known, the whole
/// schema, takes a quarter of a megabyte.
pub(super) const MAX_MESSAGE: usize = 64 << 20;

/// How deep a message may nest. QEMU reads 1024 levels and writes replies as deep as that; values much deeper cannot
/// be cloned, compared or dropped on a test thread's stack of 2 MiB.
pub(super) const MAX_NESTING: usize = 1100;

/// How many values a message may hold: each takes 32 bytes of memory and more, whatever little it takes in the text.
pub(super) const MAX_VALUES: usize = 1 << 20;

/// What remains allocated when all has been taken.
const KEEP: usize = 1 << 20;

/// Cuts a stream of bytes into JSON objects.
///
/// It finds the end of a message and bounds its size; whether what it cut out is JSON at all, its reader sees.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bytes: Vec<u8>,
    /// Where the message that is being looked at begins.
    start: usize,
    /// How far it has been looked at.
    seen: usize,
    depth: usize,
    values: usize,
    in_string: bool,
    escaped: bool,
}

/// What is no message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    what: String,
    /// The beginning of it, made printable.
    piece: String,
}

impl Malformed {
    pub(super) fn new(what: impl Into<String>, bytes: &[u8]) -> Self {
        Self {
            what: what.into(),
            piece: piece(bytes),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: `{}`", self.what, self.piece)
    }
}

impl std::error::Error for Malformed {}

impl Decoder {
    /// Takes over what has been read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEEP);
            (self.start, self.seen) = (0, 0);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete message, `None` until more has been read. After an error there is no telling where the
    /// next message would begin: the stream is of no more use.
    pub(super) fn next_message(&mut self) -> Result<Option<&[u8]>, Malformed> {
        while let Some(&byte) = self.bytes.get(self.seen) {
            self.seen += 1;
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'{' | b'[' if self.depth > 0 || byte == b'{' => {
                    self.depth += 1;
                    self.values += 1;
                    if self.depth > MAX_NESTING {
                        return Err(
                            self.malformed(format!("a message nests deeper than {MAX_NESTING} levels"))
                        );
                    }
                }
                b' ' | b'\t' | b'\n' | b'\r' if self.depth == 0 => self.start = self.seen,
                _ if self.depth == 0 => {
                    self.start = self.seen - 1;
                    return Err(self.malformed("what came is no QMP message".to_owned()));
                }
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        let message = self.start..self.seen;
                        self.start = self.seen;
                        self.values = 0;
                        return Ok(Some(&self.bytes[message]));
                    }
                }
                b'"' => self.in_string = true,
                b',' | b':' => {
                    self.values += 1;
                    if self.values > MAX_VALUES {
                        return Err(self.malformed(format!("a message holds more than {MAX_VALUES} values")));
                    }
                }
                _ => {}
            }
        }
        if self.seen - self.start > MAX_MESSAGE {
            let what = format!("a message goes on for more than {} MiB", MAX_MESSAGE >> 20);
            return Err(self.malformed(what));
        }
        // What is left is the beginning of one message: it moves to the front, so that the memory does not grow with
        // what has been taken.
        self.bytes.drain(..self.start);
        self.seen -= self.start;
        self.start = 0;
        Ok(None)
    }

    /// What has come of a message that is not complete, made printable and bounded; `None` between two messages.
    pub(super) fn unfinished(&self) -> Option<String> {
        let rest = &self.bytes[self.start..];
        (!rest.is_empty()).then(|| piece(rest))
    }

    fn malformed(&self, what: String) -> Malformed {
        Malformed::new(what, &self.bytes[self.start..])
    }
}

/// The first characters of `bytes`, printable, and how much there is where that is not all.
pub(super) fn piece(bytes: &[u8]) -> String {
    const SHOWN: usize = 200;
    let mut text = String::new();
    for c in String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).chars() {
        match c {
            c if c.is_control() => text.extend(c.escape_default()),
            c => text.push(c),
        }
    }
    if bytes.len() > SHOWN {
        text.push_str(&format!("… ({} bytes)", bytes.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(decoder: &mut Decoder) -> Result<Vec<String>, Malformed> {
        let mut messages = Vec::new();
        while let Some(message) = decoder.next_message()? {
            messages.push(String::from_utf8_lossy(message).into_owned());
        }
        Ok(messages)
    }

    #[test]
    fn a_message_is_a_value_wherever_the_reads_cut_it() {
        let stream = "{\"a\": \"}]\\\"{\"}\r\n{\n  \"b\": [\n    {}\n  ]\n}{}  {\"c\":1}";
        let expected = [
            "{\"a\": \"}]\\\"{\"}",
            "{\n  \"b\": [\n    {}\n  ]\n}",
            "{}",
            "{\"c\":1}",
        ];
        for size in 1..=stream.len() {
            let mut decoder = Decoder::default();
            let mut messages = Vec::new();
            for chunk in stream.as_bytes().chunks(size) {
                decoder.push(chunk);
                messages.extend(all(&mut decoder).unwrap());
            }
            assert_eq!(messages, expected, "in reads of {size}");
            assert_eq!(decoder.unfinished(), None);
        }
    }

    #[test]
    fn what_is_no_object_is_refused_with_a_bounded_piece_of_it() {
        for (stream, shown) in [
            (
                &b"HTTP/1.1 400 Bad Request\r\n"[..],
                "`HTTP/1.1 400 Bad Request\\r\\n`",
            ),
            (b"{} [1]", "`[1]`"),
            (b"\xff\xfe\x1b[2J", "`\u{fffd}\u{fffd}\\u{1b}[2J`"),
            (b"}", "`}`"),
            (&[b'7'; 5000], "7… (5000 bytes)`"),
        ] {
            let mut decoder = Decoder::default();
            decoder.push(stream);
            let error = all(&mut decoder).unwrap_err().to_string();
            assert!(error.ends_with(shown), "{error}");
            assert!(error.len() < 400, "{error}");
        }
    }

    #[test]
    fn nesting_size_and_number_of_values_have_limits() {
        let refused = |text: String| {
            let mut decoder = Decoder::default();
            decoder.push(text.as_bytes());
            all(&mut decoder).unwrap_err().to_string()
        };
        let nested = |depth: usize| "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
        assert!(refused(nested(MAX_NESTING + 1)).contains("deeper than 1100 levels"));
        assert!(refused(format!("{{\"a\":[{}]}}", "0,".repeat(MAX_VALUES))).contains("1048576 values"));
        assert!(refused(format!("{{\"{}", "x".repeat(MAX_MESSAGE))).contains("64 MiB"));
        let mut decoder = Decoder::default();
        decoder.push(nested(MAX_NESTING).as_bytes());
        assert_eq!(all(&mut decoder).unwrap().len(), 1);
    }

    #[test]
    fn memory_does_not_grow_with_what_has_been_taken() {
        let mut decoder = Decoder::default();
        // Each push ends in the middle of a message.
        decoder.push(b"{\"x\":");
        for _ in 0..100_000 {
            decoder.push(b"\"0123456789\"}{\"x\":");
            assert!(decoder.next_message().unwrap().is_some());
            assert!(decoder.next_message().unwrap().is_none());
        }
        assert!(decoder.bytes.capacity() < 1024, "{}", decoder.bytes.capacity());
    }
}
