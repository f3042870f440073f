//! The record of a conversation: all of it in a file as it happens, the last exchanges in memory for a report.

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// How many messages the report shows.
const KEPT: usize = 20;

/// How much of each it shows, in bytes.
const SHOWN: usize = 400;

/// Both directions of a monitor's conversation, each message with the time by the host's clock.
pub(crate) struct Transcript(Mutex<Record>);

struct Record {
    /// `None` without a file, and after an error in writing it.
    file: Option<File>,
    failure: Option<String>,
    line: Vec<u8>,
    last: VecDeque<Entry>,
    left_out: u64,
}

struct Entry {
    time: SystemTime,
    direction: Direction,
    text: String,
    /// How long the message was.
    length: usize,
}

#[derive(Clone, Copy)]
enum Direction {
    Sent,
    Received,
}

impl Direction {
    fn arrow(self) -> &'static str {
        match self {
            Self::Sent => "->",
            Self::Received => "<-",
        }
    }
}

impl Transcript {
    pub(crate) fn new(file: Option<File>) -> Self {
        Self(Mutex::new(Record {
            file,
            failure: None,
            line: Vec::new(),
            last: VecDeque::with_capacity(KEPT),
            left_out: 0,
        }))
    }

    /// Why the file ends early, where it does.
    pub(crate) fn failure(&self) -> Option<String> {
        let record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        record.failure.clone()
    }

    pub(super) fn sent(&self, message: &[u8]) {
        self.record(Direction::Sent, message);
    }

    pub(super) fn received(&self, message: &[u8]) {
        self.record(Direction::Received, message);
    }

    fn record(&self, direction: Direction, message: &[u8]) {
        let time = SystemTime::now();
        let mut record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        record.write(time, direction, message);
        if record.last.len() == KEPT {
            record.last.pop_front();
            record.left_out += 1;
        }
        let shown = &message[..message.len().min(SHOWN)];
        let text = String::from_utf8_lossy(shown).into_owned();
        record.last.push_back(Entry {
            time,
            direction,
            text,
            length: message.len(),
        });
    }
}

impl Record {
    /// One line to the file, in one write: what was written is there whatever happens next.
    fn write(&mut self, time: SystemTime, direction: Direction, message: &[u8]) {
        let Some(file) = &mut self.file else {
            return;
        };
        self.line.clear();
        let mut write = || {
            let time = humantime::format_rfc3339_micros(time);
            write!(self.line, "{time} {} ", direction.arrow())?;
            // Outside its strings, in which they are escaped, JSON may hold line breaks.
            self.line.extend(message.iter().map(|&byte| match byte {
                b'\n' | b'\r' => b' ',
                byte => byte,
            }));
            self.line.push(b'\n');
            file.write_all(&self.line)
        };
        if let Err(error) = write() {
            log::warn!("the QMP log ends here, it cannot be written: {error}");
            self.failure = Some(error.to_string());
            self.file = None;
        }
        self.line.shrink_to(64 << 10);
    }
}

/// The last messages, one per line, shortened.
impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let record = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if record.left_out > 0 {
            writeln!(f, "({} earlier messages)", record.left_out)?;
        }
        for entry in &record.last {
            // The time of day is enough beside the rest of a report.
            let time = humantime::format_rfc3339_millis(entry.time).to_string();
            let time = time.get(11..23).unwrap_or(&time);
            write!(f, "{time} {} ", entry.direction.arrow())?;
            for c in entry.text.chars() {
                match c {
                    '\n' | '\r' => f.write_str(" ")?,
                    c if c.is_control() => write!(f, "{}", c.escape_default())?,
                    c => write!(f, "{c}")?,
                }
            }
            if entry.length > SHOWN {
                write!(f, "… ({} bytes)", entry.length)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek};

    #[test]
    fn the_file_has_everything_and_the_report_the_end_of_it() {
        let file = tempfile::tempfile().unwrap();
        let transcript = Transcript::new(Some(file.try_clone().unwrap()));
        for number in 0..50 {
            transcript.sent(format!("{{\"execute\": \"c{number}\"}}").as_bytes());
        }
        let long = format!("{{\n  \"return\": \"{}\x1b\"\r\n}}", "x".repeat(1000));
        transcript.received(long.as_bytes());

        let report = transcript.to_string();
        assert!(report.starts_with("(31 earlier messages)\n"), "{report}");
        assert_eq!(report.lines().count(), 21);
        assert!(report.contains(" -> {\"execute\": \"c49\"}\n"), "{report}");
        let last = report.lines().last().unwrap();
        assert!(
            last.contains(" <- {   \"return\": \"xxx") && last.ends_with("xxx… (1020 bytes)"),
            "{last}"
        );

        let (mut file, mut log) = (file, String::new());
        file.rewind().unwrap();
        file.read_to_string(&mut log).unwrap();
        assert_eq!(log.lines().count(), 51);
        assert!(
            log.lines()
                .next()
                .unwrap()
                .ends_with("Z -> {\"execute\": \"c0\"}"),
            "{log}"
        );
        assert!(log.contains(&"x".repeat(1000)));
    }

    #[test]
    fn a_file_that_cannot_be_written_does_not_matter_to_the_conversation() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let transcript = Transcript::new(Some(full));
        transcript.sent(b"{}");
        transcript.sent(b"{}");
        assert!(transcript.failure().unwrap().contains("No space left"));
        assert_eq!(transcript.to_string().lines().count(), 2);
    }
}
