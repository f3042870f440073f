//! Running other programs: captured, with visible progress, and with an error that says what to do by hand.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::ui::Step;

/// How many lines of a failed program's output its error quotes.
const QUOTED_LINES: usize = 15;

/// A command line under construction: the program to start, and how it reads to the user.
#[derive(Clone)]
pub(crate) struct Program {
    words: Vec<OsString>,
    /// What an error calls it, where the command line is too long to be read.
    name: Option<String>,
}

impl Program {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Program {
        Program {
            words: vec![program.as_ref().to_owned()],
            name: None,
        }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Program {
        self.words.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, arguments: I) -> Program {
        self.words
            .extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Lets errors call it `name` instead of quoting it in full.
    pub(crate) fn called(mut self, name: impl Into<String>) -> Program {
        self.name = Some(name.into());
        self
    }

    /// The same, with root's rights: as it is for root, else through `sudo` or `doas`, which may ask for a password
    /// now, before the line of a step would overwrite the question.
    pub(crate) fn with_root(self) -> Result<Program> {
        if is_root() {
            return Ok(self);
        }
        let ask = if find("sudo").is_some() {
            Program::new("sudo").arg("--validate")
        } else if find("doas").is_some() {
            Program::new("doas").arg("true")
        } else {
            bail!("this needs root's rights, and there is neither `sudo` nor `doas`");
        };
        let by = ask.words[0].clone();
        let status = ask
            .command()
            .status()
            .with_context(|| format!("cannot start `{ask}`"))?;
        if !status.success() {
            bail!("this needs root's rights, and `{ask}` did not give them ({status})");
        }
        let name = self.name();
        // `env` because sudo drops the environment, and package managers must not ask questions.
        Ok(Program::new(by)
            .args(["env", "DEBIAN_FRONTEND=noninteractive"])
            .args(self.words)
            .called(name))
    }

    /// What an error calls it.
    fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.to_string())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        // English messages, because a few are read; no questions, because nobody is asked.
        command
            .args(&self.words[1..])
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command.stdin(Stdio::null());
        command
    }

    /// Runs it to its end and gives its standard output; a failure quotes what it wrote.
    pub(crate) fn output(&self) -> Result<String> {
        let output = self
            .command()
            .output()
            .with_context(|| format!("cannot start `{self}`"))?;
        if !output.status.success() {
            bail!(
                "`{}` failed ({}):\n{}",
                self.name(),
                output.status,
                tail(&String::from_utf8_lossy(&output.stderr))
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it to its end in `dir` as a visible step.
    pub(crate) fn step(&self, label: &str, dir: &Path) -> Result<()> {
        let mut step = Step::start(label);
        let mut child = self
            .command()
            .current_dir(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{self}`"))?;
        // The channel ends when both readers do, which is when the program has closed its output.
        let (send, lines) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            forward(output, send.clone());
        }
        if let Some(output) = child.stderr.take() {
            forward(output, send);
        }
        let mut all = String::new();
        let mut last = String::new();
        loop {
            match lines.recv_timeout(Duration::from_secs(1)) {
                Ok(line) => {
                    all.push_str(&line);
                    all.push('\n');
                    last = line;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            step.alive(&last);
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("`{}` failed ({status}):\n{}", self.name(), tail(&all));
        }
        step.done();
        Ok(())
    }
}

/// The command line as a user would type it.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, argument) in self.words.iter().enumerate() {
            let argument = argument.to_string_lossy();
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%~".contains(c);
            let space = if index == 0 { "" } else { " " };
            if !argument.is_empty() && argument.chars().all(plain) {
                write!(f, "{space}{argument}")?;
            } else {
                write!(f, "{space}'{}'", argument.replace('\'', r"'\''"))?;
            }
        }
        Ok(())
    }
}

/// Sends the lines of `output` until it ends. Carriage returns end a line too: progress bars use them.
fn forward(output: impl Read + Send + 'static, lines: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            for part in String::from_utf8_lossy(&line)
                .split('\r')
                .map(str::trim_end)
                .filter(|part| !part.is_empty())
            {
                if lines.send(part.to_owned()).is_err() {
                    return;
                }
            }
        }
    });
}

fn tail(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let quoted = &lines[lines.len().saturating_sub(QUOTED_LINES)..];
    quoted
        .iter()
        .map(|line| format!("    {line}\n"))
        .collect::<String>()
        .trim_end()
        .to_owned()
}

/// Where `program` is found on `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;

    let path = std::env::var_os("PATH")?;
    // A user's PATH often lacks the folders for administration, where package tools may lie.
    let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(extra)
        .map(|dir| dir.join(program))
        .find(|file| {
            std::fs::metadata(file).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
}

/// Whether this process has root's rights: it owns what it makes.
pub(crate) fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;

    // The owner of a process's folder in /proc is its effective user.
    std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_calls_a_program_by_its_name_where_it_has_one() {
        let fails = Program::new("sh").args(["-c", "echo why >&2; exit 3"]);
        let in_full = fails.output().unwrap_err().to_string();
        let by_name = fails.called("the chore").output().unwrap_err().to_string();
        assert_eq!(
            in_full,
            "`sh -c 'echo why >&2; exit 3'` failed (exit status: 3):\n    why"
        );
        assert_eq!(by_name, "`the chore` failed (exit status: 3):\n    why");
    }
}
