//! What the chores say: one line per step, kept alive while it takes long.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program's output is its interface"
)]

use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Prints `text` as it is.
pub(crate) fn line(text: impl Display) {
    println!("{text}");
}

/// Something the user should know although nothing failed: a stated limitation.
pub(crate) fn note(text: impl Display) {
    println!("  note: {text}");
}

/// The same beside a standard output that is meant for a program.
pub(crate) fn remark(text: impl Display) {
    eprintln!("note: {text}");
}

/// Prints an error with its causes.
pub(crate) fn error(error: &anyhow::Error) {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  caused by: {cause}");
    }
}

/// One step that takes a while: announced when it starts, kept visibly alive, and finished with its duration.
pub(crate) struct Step {
    label: String,
    start: Instant,
    spoke: Instant,
    terminal: bool,
    open: bool,
}

impl Step {
    pub(crate) fn start(label: impl Into<String>) -> Step {
        let label = label.into();
        let terminal = std::io::stdout().is_terminal();
        if terminal {
            print!("  {label} ...");
        } else {
            println!("  {label} ...");
        }
        // Nothing useful can be done about a closed standard output here.
        let _ = std::io::stdout().flush();
        Step {
            label,
            start: Instant::now(),
            spoke: Instant::now(),
            terminal,
            open: true,
        }
    }

    /// Shows that the step is alive. `news` is what it is doing right now: on a terminal the line is rewritten;
    /// elsewhere (a log) a line is added from time to time.
    pub(crate) fn alive(&mut self, news: &str) {
        let seconds = self.start.elapsed().as_secs();
        if self.terminal {
            let news: String = news.chars().take(60).collect();
            print!("\r\x1b[2K  {} ... {seconds} s  {news}", self.label);
            let _ = std::io::stdout().flush();
        } else if self.spoke.elapsed() >= Duration::from_secs(5) {
            self.spoke = Instant::now();
            println!("    {seconds} s  {news}");
        }
    }

    pub(crate) fn done(mut self) {
        self.end(&format!("done in {:.1} s", self.start.elapsed().as_secs_f64()));
    }

    fn end(&mut self, result: &str) {
        self.open = false;
        let rewind = if self.terminal { "\r\x1b[2K" } else { "" };
        println!("{rewind}  {}: {result}", self.label);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if self.open {
            self.end("failed");
        }
    }
}
