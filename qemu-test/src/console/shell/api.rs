//! What a test says to a guest's shell.

use std::time::Duration;

use super::session::{Job, Reply, execute};
use crate::Result;
use crate::console::text::last_lines;
use crate::console::{Console, Pattern};
use crate::deadline::Deadline;
use crate::error::{Error, GuestError};
use crate::exit;
use crate::interrupt::Wait;

/// How long a command may take where the test does not say.
const LIMIT: Duration = Duration::from_secs(30);

/// The pause between two attempts of `wait_until_succeeds`: the first, and the longest it grows to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// As much of each output is in an error, from its end.
const SHOWN_BYTES: usize = 16 << 10;

/// What came of a command in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit status, as the shell's `$?` has it: 128 and more for a signal.
    pub status: i32,
    /// All that the command wrote to its standard output, exactly; what is no UTF-8 is replaced.
    pub stdout: String,
}

/// A shell of the guest's on a console, for commands with exact output.
///
/// A command is a piece of shell script: several lines, quotes, here-documents and pipelines are fine. It runs in a
/// subshell, so that `exit` and `set -e` end the command alone; the folder it changes to and the variables it exports
/// are there for the next one. Its standard input is empty, its standard error is the console.
///
/// What a guest needs, and how the output stays exact on a console that the kernel writes to as well, is told in the
/// text of the [module](crate::console::shell).
///
/// ```no_run
/// # fn example(console: &qemu_test::console::Console) -> qemu_test::Result<()> {
/// let shell = console.shell("~ # ");
/// assert_eq!(shell.succeed("uname -s")?, "Linux\n");
/// assert_eq!(shell.run("exit 3")?.status, 3);
/// shell.fail("mount /dev/nothing /mnt")?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Shell {
    console: Console,
    prompt: Pattern,
    limit: Duration,
}

impl Console {
    /// The shell that listens on this console and shows `prompt` when it does.
    ///
    /// Nothing is sent before the first command, which waits for the prompt first. A prompt that has been waited for
    /// already is fine. The prompt plays no other part: a command's end is told by other means.
    ///
    /// One conversation at a time: a second thread's command waits until the first one's is over. After a reset of the
    /// guest, wait for its prompt; then the shell goes on.
    pub fn shell(&self, prompt: impl Into<Pattern>) -> Shell {
        Shell {
            console: self.handle(),
            prompt: prompt.into(),
            limit: LIMIT,
        }
    }
}

impl Shell {
    /// Sets how long a command may take, 30 s where this is not called; scaled by `QEMU_TEST_TIMEOUT_SCALE`. The
    /// transfer of its output does not count, as long as it goes on.
    #[must_use = "the shell with the new limit is returned"]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs `command` and returns its status and output, whatever the status.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] where the shell's prompt does not come, or the command does not end in time: it is then
    /// interrupted as by Ctrl-C. [`Error::Guest`] where the guest lacks what it needs. At once, whatever ends every wait
    /// on the machine.
    pub fn run(&self, command: impl AsRef<str>) -> Result<Output> {
        self.reply(command.as_ref()).map(output)
    }

    /// Runs `command` and returns its output, if its status is 0.
    ///
    /// # Errors
    ///
    /// [`Error::Guest`], with the command, its status, its output and what the console showed meanwhile, where the
    /// status is another; else as [`run`](Self::run).
    pub fn succeed(&self, command: impl AsRef<str>) -> Result<String> {
        let command = command.as_ref();
        let reply = self.reply(command)?;
        if reply.status != 0 {
            return Err(unexpected(
                &format!("running `{}`", shown(command)),
                command,
                reply,
            ));
        }
        Ok(output(reply).stdout)
    }

    /// Runs `command` and returns its output, if its status is not 0.
    ///
    /// # Errors
    ///
    /// [`Error::Guest`], as for [`succeed`](Self::succeed), where the status is 0; else as [`run`](Self::run).
    pub fn fail(&self, command: impl AsRef<str>) -> Result<String> {
        let command = command.as_ref();
        let reply = self.reply(command)?;
        if reply.status == 0 {
            return Err(unexpected(
                &format!("running `{}`", shown(command)),
                command,
                reply,
            ));
        }
        Ok(output(reply).stdout)
    }

    /// Runs `command` again and again until its status is 0, and returns the output of that time.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] with the last attempt's status and output, where that is not so after `timeout` (scaled by
    /// `QEMU_TEST_TIMEOUT_SCALE`).
    pub fn wait_until_succeeds(&self, command: impl AsRef<str>, timeout: Duration) -> Result<String> {
        let command = command.as_ref();
        let deadline = Deadline::after(timeout);
        let (mut pause, mut attempts, mut last) = (PAUSES.0, 0, String::from("(no attempt ended)"));
        loop {
            match self.reply_until(command, deadline) {
                Ok(reply) if reply.status == 0 => return Ok(output(reply).stdout),
                Ok(reply) => {
                    attempts += 1;
                    last = format!("(attempt {attempts}: status {})\n{}", reply.status, words(&reply));
                }
                // The end of the time is told below, with the last attempt that ended.
                Err(Error::Timeout(timeout)) if !timeout.of_test && deadline.expired() => {}
                Err(error) => return Err(error),
            }
            // A guest cannot tell when a command would succeed, so it is asked; an interrupt ends the pause.
            self.console.rest(Deadline::exactly(pause).or_sooner(deadline));
            pause = (pause * 2).min(PAUSES.1);
            let doing = || format!("waiting until `{}` succeeds", shown(command));
            let wait = Wait::new(deadline, Some(&self.console.shared.interrupt));
            if let Some(error) = wait.over(doing, || last.clone()) {
                return Err(error);
            }
        }
    }

    fn reply(&self, command: &str) -> Result<Reply> {
        self.reply_until(command, Deadline::never())
    }

    fn reply_until(&self, command: &str, deadline: Deadline) -> Result<Reply> {
        execute(
            &self.job(format!("running `{}`", shown(command)), deadline),
            command.as_bytes(),
        )
    }

    pub(super) fn job(&self, doing: String, deadline: Deadline) -> Job<'_> {
        Job {
            console: &self.console,
            prompt: &self.prompt,
            limit: self.limit,
            deadline,
            doing,
        }
    }
}

fn output(reply: Reply) -> Output {
    Output {
        status: reply.status,
        stdout: lossy(reply.stdout),
    }
}

/// The bytes as text, without a copy where they are text.
fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The error for a command whose status is not the one that was expected.
pub(super) fn unexpected(doing: &str, command: &str, reply: Reply) -> Error {
    let signal = match reply.status {
        // The shell's convention (POSIX has it as "greater than 128").
        status @ 129..=192 => format!(" (signal {})", exit::signal_name(status - 128)),
        _ => String::new(),
    };
    let reason = format!("{doing}: it exited with status {}{signal}", reply.status);
    let mut text = words(&reply);
    if command.lines().nth(1).is_some() {
        text = format!("the command:\n{}\n{text}", command.trim_end());
    }
    Error::Guest(GuestError {
        attempt: None,
        reason,
        output: text,
    })
}

/// What a command wrote: its output, and what the console showed beside it.
fn words(reply: &Reply) -> String {
    let stdout = String::from_utf8_lossy(&reply.stdout);
    let mut text = String::new();
    for (heading, words) in [
        ("standard output", &*stdout),
        ("on the console meanwhile", &reply.said),
    ] {
        let words = words.trim_matches('\n');
        if words.trim().is_empty() {
            continue;
        }
        let end = last_lines(words, usize::MAX, SHOWN_BYTES);
        let cut = if end.len() < words.len() {
            ", the end of it"
        } else {
            ""
        };
        text.push_str(&format!("{heading}{cut}:\n{end}\n"));
    }
    if text.is_empty() {
        "(no output)".to_owned()
    } else {
        text
    }
}

/// A command for one line of a message.
pub(super) fn shown(command: &str) -> String {
    const SHOWN: usize = 120;
    let line = command.trim().lines().next().unwrap_or_default();
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None if line.len() < command.trim().len() => format!("{line} …"),
        None => line.to_owned(),
    }
}
