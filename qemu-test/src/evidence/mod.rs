//! What a machine looks like when its test has failed, as far as that can be seen while it lives: what its processors
//! do, what its guest last said, its screen, the threads of QEMU itself.
//!
//! Each question has a limit of its own, because a QEMU that hangs must not hang the report; a monitor that does not
//! answer one is asked no more. Nothing here changes the state of the machine.

mod cpus;
mod threads;
mod verdict;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use serde_json::{Value, json};

use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::interrupt::Wait;
use crate::machine::Inner;
use crate::qmp::Command;
use cpus::Cpu;

/// How long one question to a machine may take.
const QUESTION: Duration = Duration::from_secs(2);

/// How long QEMU may take to be gone when it has said that it shuts down. With `-no-shutdown` it stays.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// The time between two looks at the processors: long enough for one that runs to be seen running on a busy host.
const BETWEEN_LOOKS: Duration = Duration::from_millis(150);

/// How many processors are looked at.
const MOST_CPUS: usize = 64;

/// What is known of a machine that runs.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    /// What QEMU says of its own run state, or why it says nothing.
    pub(crate) state: String,
    /// What the guest does, in one line; `None` where nothing is known of it.
    pub(crate) verdict: Option<String>,
    /// QEMU's threads, one a line, where QEMU itself hangs.
    pub(crate) threads: Option<String>,
    /// A picture of the guest's screen, where it has one.
    pub(crate) screen: Option<PathBuf>,
}

impl Evidence {
    /// Looks at a machine; `None` where it has ended, or does so now. Files go to its folder.
    pub(crate) fn collect(machine: &Inner) -> Option<Self> {
        let parts = &machine.parts;
        let ended =
            |limit| parts.process.wait(Deadline::exactly(limit)).is_some() && machine.exit_status().is_some();
        if ended(Duration::ZERO) || parts.guest.saw_shutdown() && ended(SHUTDOWN) {
            return None;
        }
        let qemu = machine.client.peer_pid().unwrap_or(parts.process.pid());
        let status = ask(machine, Command::new("query-status"));
        let table = threads::of(qemu);
        keep(&parts.dir, "threads.txt", &threads::table(&table));
        let status = match status {
            Ok(status) => status,
            Err(Error::Exited(_) | Error::Disconnected(_)) if ended(QUESTION) => return None,
            Err(error) => {
                return Some(Self {
                    state: format!("but its monitor does not answer: {}", error.first_line()),
                    verdict: Some(threads::verdict(&table, qemu)),
                    threads: Some(threads::table(&table)),
                    screen: None,
                });
            }
        };
        let state = status["status"]
            .as_str()
            .unwrap_or("in an unknown state")
            .to_owned();
        let looked = look_at_cpus(machine, qemu);
        let answers = !matches!(looked, Err(Error::Timeout(_)));
        let cpus = looked.unwrap_or_else(|error| {
            let name = &parts.name;
            log::warn!("the processors of machine `{name}` cannot be looked at: {error}");
            Vec::new()
        });
        let screen = answers.then(|| parts.dir.join("screen.png"));
        let screen = screen.filter(|screen| {
            let wait = Wait::new(Deadline::exactly(QUESTION), None);
            machine.screenshot(screen, wait).is_ok()
        });
        let consoles = parts.consoles.iter();
        let guest = verdict::Guest {
            state: &state,
            cpus: &cpus,
            has_console: !parts.consoles.is_empty(),
            last_words: consoles.filter_map(|console| console.last_arrival()).max(),
            launched: parts.guest.since(),
            resets: parts.guest.resets(),
        };
        Some(Self {
            verdict: guest.verdict(Instant::now()),
            state,
            threads: None,
            screen,
        })
    }
}

/// Asks QEMU something, on terms that the state of the test does not matter to.
fn ask(machine: &Inner, command: Command) -> Result<Value> {
    let wait = Wait::new(Deadline::exactly(QUESTION), None);
    machine.client.execute(&command, &[], wait)?.into_result()
}

fn registers(machine: &Inner) -> Result<String> {
    let line = json!({ "command-line": "info registers -a" });
    let reply = ask(machine, Command::new("human-monitor-command").arguments(line))?;
    Ok(reply.as_str().unwrap_or_default().to_owned())
}

/// Looks at the processors twice. Where one question fails, nothing is known.
fn look_at_cpus(machine: &Inner, qemu: Pid) -> Result<Vec<Cpu>> {
    let list = ask(machine, Command::new("query-cpus-fast"))?;
    let ids = list.as_array().map(Vec::as_slice).unwrap_or_default();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let threads: Vec<Option<i64>> = ids
        .iter()
        .take(MOST_CPUS)
        .map(|cpu| cpu["thread-id"].as_i64())
        .collect();
    let time = || {
        threads
            .iter()
            .map(|thread| threads::time(qemu, (*thread)?))
            .collect::<Vec<_>>()
    };
    let (first, before) = (registers(machine)?, time());
    // Nothing changes for a look at a machine that has ended.
    machine.parts.process.wait(Deadline::exactly(BETWEEN_LOOKS));
    let (second, after) = (registers(machine)?, time());
    let text = format!("{first}\n---- {BETWEEN_LOOKS:?} later ----\n{second}");
    keep(&machine.parts.dir, "registers.txt", &text);
    Ok(cpus::compare(&first, &second, &before, &after))
}

fn keep(folder: &Path, name: &str, text: &str) {
    if let Err(error) = fs::write(folder.join(name), text) {
        log::warn!("cannot write {name} in {}: {error}", folder.display());
    }
}
