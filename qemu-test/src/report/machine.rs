//! What there is to say of one machine: collected while it lives, completed when it has ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::CommandLine;
use crate::console::Console;
use crate::error::LaunchError;
use crate::evidence::Evidence;
use crate::machine::{CONSOLE, Inner};

/// How many lines of the console are kept.
const CONSOLE_LINES: usize = 25;

/// How closely a machine is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What costs next to nothing.
    Light,
    /// All that is known to help.
    Full,
}

/// One machine's part of the report.
#[derive(Clone, Debug)]
pub(crate) struct MachineReport {
    pub(crate) name: String,
    /// `running`, `paused`, `exited with status 1, by itself`.
    pub(crate) standing: String,
    /// What its guest does, or QEMU where that hangs, in one line.
    pub(crate) verdict: Option<String>,
    /// QEMU's threads, where QEMU hangs.
    pub(crate) threads: Option<String>,
    /// A picture of its screen.
    pub(crate) screen: Option<PathBuf>,
    /// How it ended, where that is not how it stood.
    pub(crate) end: Option<String>,
    /// What it runs on and why, where the test asked for something.
    pub(crate) accel: Option<String>,
    /// Where it comes from, where that is not from its builder alone.
    pub(crate) notes: Vec<String>,
    pub(crate) command_line: CommandLine,
    /// The last messages of the monitor's conversation, one a line.
    pub(crate) exchanges: String,
    /// The end of each console, below what it is called.
    pub(crate) consoles: Vec<(String, String)>,
    /// What the guest did wrong, and its own words on it.
    pub(crate) guest: Vec<(String, String)>,
    pub(crate) log: String,
    pub(crate) hint: Option<String>,
    /// The files that could not be written to their end, with the reason.
    pub(crate) incomplete: Vec<String>,
    pub(crate) dir: PathBuf,
    /// What starts it again by hand, where the launch came that far.
    pub(crate) script: Option<PathBuf>,
}

impl MachineReport {
    /// All at the same time: each that hangs takes until the limit of its questions, and together they are to take no
    /// longer than one.
    pub(crate) fn of_all(machines: &[Arc<Inner>], depth: Depth) -> Vec<Self> {
        if depth == Depth::Light || machines.len() < 2 {
            return machines.iter().map(|machine| Self::of(machine, depth)).collect();
        }
        std::thread::scope(|scope| {
            let looks: Vec<_> = machines
                .iter()
                .map(|machine| {
                    let look = move || Self::of(machine, depth);
                    let thread = std::thread::Builder::new().name("qemu-test-evidence".into());
                    (machine, thread.spawn_scoped(scope, look))
                })
                .collect();
            looks
                .into_iter()
                .map(|(machine, look)| {
                    // Without a thread, or after a panic in it, what costs nothing is better than nothing.
                    let seen = look.ok().and_then(|look| look.join().ok());
                    seen.unwrap_or_else(|| Self::of(machine, Depth::Light))
                })
                .collect()
        })
    }

    pub(crate) fn of(machine: &Inner, depth: Depth) -> Self {
        let parts = &machine.parts;
        // The test's own exchanges, before those of the evidence follow.
        let exchanges = parts.transcript.to_string();
        let lives = machine.ending().is_none() && machine.exit_status().is_none();
        let evidence = if lives && depth == Depth::Full {
            Evidence::collect(machine)
        } else {
            None
        };
        let (standing, verdict, threads, screen) = match evidence {
            Some(evidence) => (
                evidence.state,
                evidence.verdict,
                evidence.threads,
                evidence.screen,
            ),
            None => (machine.standing(), None, None, None),
        };
        Self {
            name: parts.name.clone(),
            standing,
            verdict,
            threads,
            screen,
            end: None,
            accel: parts.accel.as_ref().map(ToString::to_string),
            notes: machine.notes(),
            command_line: parts.command_line.clone(),
            exchanges,
            consoles: parts.consoles.iter().map(console).collect(),
            guest: guest_words(machine),
            log: machine.log_tail(),
            hint: None,
            incomplete: incomplete(machine),
            dir: parts.dir.clone(),
            script: script_in(&parts.dir),
        }
    }

    /// A machine that never was.
    pub(crate) fn of_failed_launch(error: &LaunchError, dir: &Path) -> Self {
        Self {
            name: error.machine.clone(),
            standing: "did not launch".to_owned(),
            verdict: None,
            threads: None,
            screen: None,
            end: None,
            accel: None,
            notes: Vec::new(),
            command_line: error.command_line.clone(),
            exchanges: String::new(),
            consoles: Vec::new(),
            guest: Vec::new(),
            log: error.log.clone(),
            hint: error.hint.clone(),
            incomplete: Vec::new(),
            dir: dir.to_owned(),
            script: script_in(dir),
        }
    }

    /// The same machine, now that it has ended.
    pub(crate) fn ended(mut self, machine: &Inner) -> Self {
        let end = machine.standing();
        self.end = (end != self.standing).then_some(end);
        // What it logged on its way out belongs to it, too.
        self.log = machine.log_tail();
        self.guest = guest_words(machine);
        self
    }
}

fn script_in(dir: &Path) -> Option<PathBuf> {
    Some(dir.join("command.sh")).filter(|script| script.is_file())
}

fn console(console: &Console) -> (String, String) {
    let heading = match console.name() {
        CONSOLE => CONSOLE.to_owned(),
        name => format!("console `{name}`"),
    };
    (heading, console.tail(CONSOLE_LINES))
}

fn incomplete(machine: &Inner) -> Vec<String> {
    let conversation = machine.parts.transcript.failure();
    let conversation = conversation.map(|error| format!("qmp.log: {error}"));
    let consoles = machine.parts.consoles.iter().filter_map(|console| {
        let error = console.file_failure()?;
        Some(format!("the file of console `{}`: {error}", console.name()))
    });
    conversation.into_iter().chain(consoles).collect()
}

fn guest_words(machine: &Inner) -> Vec<(String, String)> {
    let troubles = machine.parts.guest.troubles().into_iter();
    troubles
        .filter(|trouble| !trouble.words.is_empty())
        .map(|trouble| (trouble.summary, trouble.words))
        .collect()
}
