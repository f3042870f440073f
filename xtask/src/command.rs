//! Running other programs: captured, with visible progress, and with an error that says what to do by hand.

use std::ffi::OsStr;
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
pub(crate) struct Program(Vec<std::ffi::OsString>);

impl Program {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Program {
        Program(vec![program.as_ref().to_owned()])
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Program {
        self.0.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, arguments: I) -> Program {
        self.0
            .extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// The same, with root's rights: as it is for root, else through `sudo` or `doas`.
    pub(crate) fn with_root(self) -> Result<Program> {
        if is_root() {
            return Ok(self);
        }
        let Some(by) = ["sudo", "doas"]
            .into_iter()
            .find(|program| find(program).is_some())
        else {
            bail!("this needs root, and there is neither sudo nor doas: as root, run\n    {self}");
        };
        // `env` because sudo drops the environment, and package managers must not ask questions.
        Ok(Program::new(by)
            .args(["env", "DEBIAN_FRONTEND=noninteractive"])
            .args(self.0))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.0[0]);
        // English messages, because a few are read; no questions, because nobody is asked.
        command
            .args(&self.0[1..])
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
                "`{self}` failed ({}):\n{}",
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
            bail!("`{self}` failed ({status}):\n{}", tail(&all));
        }
        step.done();
        Ok(())
    }
}

/// The command line as a user would type it.
impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, argument) in self.0.iter().enumerate() {
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
