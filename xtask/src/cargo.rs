//! Running cargo from here, as the user would run it: with its output as it is.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, Result};

use crate::{paths, ui};

/// What a user sets to choose a QEMU, and what the runs with a second one set.
pub(crate) const BIN_DIR: &str = "QEMU_TEST_BIN_DIR";

/// What has GNU's `env` start a program that ignores none of these signals.
const DEFAULT_SIGNAL: &str = "--default-signal=HUP,INT,TERM";

/// One call of cargo in the workspace's root.
pub(crate) struct Cargo {
    arguments: Vec<String>,
    environment: Vec<(&'static str, OsString)>,
}

/// The call as a user would type it.
impl fmt::Display for Cargo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={} ", value.to_string_lossy())?;
        }
        write!(f, "cargo {}", self.arguments.join(" "))
    }
}

impl Cargo {
    pub(crate) fn new(arguments: &[&str]) -> Cargo {
        Cargo {
            arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
            environment: Vec::new(),
        }
    }

    /// Sets a variable for it and for what it runs.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Cargo {
        self.environment.push((name, value.into()));
        self
    }

    /// Lets the tests look for QEMU's programs in `dir` first.
    pub(crate) fn with_qemu(self, dir: PathBuf) -> Cargo {
        self.with(BIN_DIR, dir)
    }

    /// Says what it runs, and runs it to its end.
    pub(crate) fn run(&self) -> Result<ExitStatus> {
        ui::line(format_args!("\n$ {self}"));
        let mut command = self.command();
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.status().context("cannot start cargo")
    }

    /// Whether cargo knows the command that these arguments begin with.
    pub(crate) fn exists(&self) -> bool {
        let mut command = self.command();
        command
            .args(&self.arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    fn command(&self) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = if ignores_signals() && knows_default_signal() {
            let mut command = Command::new("env");
            command.arg(DEFAULT_SIGNAL).arg(cargo);
            command
        } else {
            Command::new(cargo)
        };
        command.current_dir(paths::workspace());
        // What cargo told this program about itself does not hold for what it builds now.
        for (name, _) in std::env::vars_os() {
            let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
            if own
                .iter()
                .any(|prefix| name.to_string_lossy().starts_with(prefix))
            {
                command.env_remove(name);
            }
        }
        command
    }
}

/// Whether this process ignores a signal that ends others, as it does behind `nohup` and as a script's background job.
/// What it starts would inherit that, and the tests of what such a signal does would wait for ever.
fn ignores_signals() -> bool {
    const HUP_INT_TERM: u64 = 1 << 0 | 1 << 1 | 1 << 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & HUP_INT_TERM != 0)
}

fn knows_default_signal() -> bool {
    let mut env = Command::new("env");
    env.args([DEFAULT_SIGNAL, "true"]).stderr(Stdio::null());
    env.status().is_ok_and(|status| status.success())
}
