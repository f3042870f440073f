//! A bad line with what the guest said next: the trace of an oops, the registers of a panic.

use std::time::{Duration, Instant};

use super::bad_lines::{self, Severity};

/// How many lines of an incident are kept from its beginning and from its end.
const FIRST: usize = 40;
const LAST: usize = 10;

/// After so long a silence, what follows is something else.
const GAP: Duration = Duration::from_secs(1);

/// Something bad that happened in the guest, in its own words.
#[derive(Clone, Debug)]
pub(crate) struct Incident {
    pub(super) severity: Severity,
    /// What it is: `kernel panic`.
    pub(super) what: &'static str,
    /// The line that says so, without its time stamp.
    pub(super) headline: String,
    /// Whether the guest has said its last word on it.
    pub(super) complete: bool,
    first: Vec<String>,
    last: Vec<String>,
    left_out: usize,
    /// The end of the last line has not come.
    unfinished: bool,
    heard: Instant,
}

impl Incident {
    pub(super) fn new(severity: Severity, what: &'static str, line: &str) -> Self {
        let mut incident = Self {
            severity,
            what,
            headline: message(line),
            complete: false,
            first: Vec::new(),
            last: Vec::new(),
            left_out: 0,
            unfinished: false,
            heard: Instant::now(),
        };
        incident.push(line);
        incident
    }

    /// Takes in the next bad line, if it is about the same: a kernel's oops on the way to its panic.
    pub(super) fn goes_on(&mut self, severity: Severity, what: &'static str, line: &str) -> bool {
        if !self.is_open() {
            return false;
        }
        if severity > self.severity {
            self.severity = severity;
            self.what = what;
            self.headline = message(line);
        }
        self.push(line);
        true
    }

    /// Takes in what the guest says next, whatever it is.
    pub(super) fn follow(&mut self, line: &str) -> bool {
        if !self.is_open() {
            return false;
        }
        self.push(line);
        self.complete |= bad_lines::is_last_word(line);
        true
    }

    fn is_open(&self) -> bool {
        !self.complete && self.heard.elapsed() < GAP
    }

    /// The line that came last is the beginning of one.
    pub(super) fn unfinished(&mut self) {
        self.unfinished = true;
    }

    fn push(&mut self, line: &str) {
        self.heard = Instant::now();
        if std::mem::take(&mut self.unfinished)
            && let Some(beginning) = self.last.pop().or_else(|| self.first.pop())
            && message(&beginning) == self.headline
        {
            self.headline = message(line);
        }
        if self.first.len() < FIRST {
            self.first.push(line.to_owned());
            return;
        }
        if self.last.len() == LAST {
            self.last.remove(0);
            self.left_out += 1;
        }
        self.last.push(line.to_owned());
    }

    /// When the guest last said something of it.
    pub(super) fn heard(&self) -> Instant {
        self.heard
    }

    /// All lines that are kept.
    pub(crate) fn text(&self) -> String {
        let mut text = self.first.join("\n");
        if self.left_out > 0 {
            text.push_str(&format!("\n[… {} lines]", self.left_out));
        }
        for line in &self.last {
            text.push('\n');
            text.push_str(line);
        }
        text
    }
}

/// `line` without what comes before the message: a prompt, a priority, a time stamp, the id of a task.
fn message(line: &str) -> String {
    const STAMP: &str = r"^.*?\[\s*\d+\.\d+\]\s*(?:\[\s*[TC]\d+\]\s*)?";
    static STAMPED: std::sync::OnceLock<regex::Regex> = std::sync::OnceLock::new();
    let stamped = STAMPED.get_or_init(|| regex::Regex::new(STAMP).expect("a time stamp"));
    stamped.replace(line, "").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oops_that_becomes_a_panic_is_one_incident_with_the_panics_headline() {
        let mut incident = Incident::new(
            Severity::Flaw,
            "kernel bug",
            "~ # [    3.1] BUG: kernel NULL pointer",
        );
        assert_eq!(incident.headline, "BUG: kernel NULL pointer");
        assert!(incident.goes_on(Severity::Flaw, "kernel oops", "[    3.2][  T12] Oops: 0002 [#1]"));
        assert_eq!(incident.headline, "BUG: kernel NULL pointer");
        assert!(incident.follow("[    3.2] RIP: 0010:f"));
        assert!(incident.goes_on(
            Severity::Panic,
            "kernel panic",
            "[    3.3] Kernel panic - not syncing: Fatal exception"
        ));
        assert_eq!(incident.headline, "Kernel panic - not syncing: Fatal exception");
        assert!(incident.follow("[    3.3] ---[ end Kernel panic - not syncing: Fatal exception ]---"));
        assert!(incident.complete && !incident.follow("more"));
        assert_eq!(incident.text().lines().count(), 5);
    }

    #[test]
    fn a_line_that_comes_in_pieces_is_one_line() {
        let mut incident = Incident::new(Severity::Panic, "kernel panic", "Kernel panic - not");
        incident.unfinished();
        incident.follow("Kernel panic - not syncing: x");
        incident.follow("Call Trace:");
        assert_eq!(incident.text(), "Kernel panic - not syncing: x\nCall Trace:");
        assert_eq!(incident.headline, "Kernel panic - not syncing: x");
    }

    #[test]
    fn a_long_incident_keeps_both_its_ends() {
        let mut incident = Incident::new(Severity::Flaw, "kernel bug", "BUG: x");
        for number in 0..500 {
            incident.follow(&format!("line {number}"));
        }
        let text = incident.text();
        assert!(text.starts_with("BUG: x\nline 0\n") && text.ends_with("\nline 499"));
        assert!(text.contains("[… 451 lines]"), "{text}");
        assert_eq!(text.lines().count(), FIRST + LAST + 1);
    }
}
