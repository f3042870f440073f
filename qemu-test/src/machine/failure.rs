//! Why a machine did not launch: the error that says so, with what is known at the step that failed.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::builder::MachineBuilder;
use super::fate::{self, Fate};
use super::home::Home;
use super::parts::Parts;
use super::watch::Watcher;
use crate::CommandLine;
use crate::deadline::Deadline;
use crate::error::{Error, LaunchError};
use crate::exit;
use crate::locate;

/// How long a process whose monitor is gone may take to be gone itself, so that a launch error can say how it ended.
const ENDING_TIMEOUT: Duration = Duration::from_secs(5);

/// What all launch errors of one machine have in common.
pub(super) struct Failure {
    pub(super) name: String,
    pub(super) dir: PathBuf,
    pub(super) home: Arc<dyn Home>,
}

impl Failure {
    fn error(&self, reason: String, command_line: &CommandLine) -> LaunchError {
        LaunchError {
            machine: self.name.clone(),
            reason,
            command_line: command_line.clone(),
            status: None,
            log: String::new(),
            hint: None,
        }
    }

    /// The system refused something on the way, or the builder asks for what cannot be.
    pub(super) fn refused(&self, error: &Error) -> Error {
        let line = CommandLine::new(Vec::new());
        self.told(self.error(error.to_string(), &line))
    }

    /// The command line is what the user has said of it: nothing more was made yet.
    pub(super) fn no_program(&self, builder: &MachineBuilder, missing: locate::NotFound) -> Error {
        let words = builder
            .wrapper
            .iter()
            .chain([&missing.program])
            .chain(&builder.arguments);
        let line = CommandLine::new(words.cloned().collect());
        self.told(LaunchError {
            hint: missing.hint,
            ..self.error(missing.reason, &line)
        })
    }

    pub(super) fn not_spawned(
        &self,
        builder: &MachineBuilder,
        command_line: &CommandLine,
        error: &io::Error,
    ) -> Error {
        let program = command_line
            .first()
            .map(|program| program.display().to_string())
            .unwrap_or_default();
        let what = if builder.wrapper.is_empty() {
            ""
        } else {
            "the wrapper "
        };
        let reason = format!("{what}`{program}` cannot be run: {error}");
        self.told(self.error(reason, command_line))
    }

    /// QEMU was started and its monitor did not come to answer.
    pub(super) fn no_monitor(
        &self,
        builder: &MachineBuilder,
        parts: &Parts,
        watcher: &Watcher,
        error: Error,
    ) -> Error {
        // A monitor that ends is mostly the first sign of a process that ends.
        let ended = match &error {
            Error::Exited(_) | Error::Disconnected(_) => {
                parts.process.wait(Deadline::exactly(ENDING_TIMEOUT))
            }
            _ => parts.process.try_status(),
        };
        parts.process.kill();
        let status = ended.or_else(|| parts.process.wait(Deadline::exactly(ENDING_TIMEOUT)));
        let ending = parts.process.finish(Deadline::exactly(ENDING_TIMEOUT));
        watcher.stop();
        let log = parts
            .log
            .tail()
            .unwrap_or_else(|e| format!("[the log cannot be read: {e}]"));
        let mut reason = match ended {
            Some(status) => {
                let words = complaint(&log).map(|line| format!(": `{line}`"));
                let words = words.unwrap_or_default();
                let how = exit::describe(status);
                let when = format!("{how} before its monitor answered{words}");
                if fate::refused_its_arguments(status, &parts.command_line, &log) {
                    format!("QEMU refused its arguments, and {how}{words}")
                } else if let Some(fate) = Fate::of_signal(status, parts.memory_kills) {
                    fate.told_by(&format!("QEMU {when}"))
                } else if let Some(wrapper) = builder.wrapper.first() {
                    format!("QEMU, or its wrapper `{}`, {when}", wrapper.display())
                } else {
                    format!("QEMU {when}")
                }
            }
            None => error.to_string(),
        };
        if !ending.survivors.is_empty() {
            let names: Vec<String> = ending.survivors.iter().map(ToString::to_string).collect();
            reason.push_str(&format!("; left behind, killed now: {}", names.join(", ")));
        }
        self.told(LaunchError {
            status,
            log,
            ..self.error(reason, &parts.command_line)
        })
    }

    fn told(&self, error: LaunchError) -> Error {
        // An empty one helps nobody; and where no descriptor is left, this is the way to remove it.
        let _ = fs::remove_dir(&self.dir);
        self.home.launch_failed(&error, &self.dir);
        Error::Launch(Box::new(error))
    }
}

/// The line of a log that most likely says why QEMU ended: the last that is an error of its own (`error_report` puts
/// the program's name before it), else the last of all. Warnings begin alike, and advice may follow an error.
fn complaint(log: &str) -> Option<&str> {
    let lines = || log.lines().rev().map(str::trim).filter(|line| !line.is_empty());
    let is_error = |line: &&str| {
        let told = line.strip_prefix("qemu").and_then(|rest| rest.split_once(": "));
        told.is_some_and(|(program, text)| {
            !program.contains(' ') && !text.starts_with("warning: ") && !text.starts_with("info: ")
        })
    };
    lines().find(is_error).or_else(|| lines().next())
}

#[cfg(test)]
mod tests {
    use super::complaint;

    #[test]
    fn the_error_is_quoted_and_not_the_advice_or_the_warning_around_it() {
        let advised =
            "qemu-system-x86_64: unsupported machine type: \"q36\"\nUse -machine help to list them\n\n";
        assert_eq!(
            complaint(advised),
            Some("qemu-system-x86_64: unsupported machine type: \"q36\"")
        );
        let warned = "qemu-kvm: -x: invalid option\nqemu-kvm: warning: old machine\n";
        assert_eq!(complaint(warned), Some("qemu-kvm: -x: invalid option"));
        assert_eq!(complaint("sh: 1: no\nlast words\n"), Some("last words"));
        assert_eq!(complaint(" \n"), None);
    }
}
