//! The conversation with a guest's shell: how it starts, one command and its answer, and finding back after a command
//! that did not end. What commands mean to a test is left to `api` and `files`.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

use super::frames::{Code, Healer, Marked, Transfer, parse_sum, percent_b};
use crate::Result;
use crate::console::handle::Console;
use crate::console::pattern::Pattern;
use crate::deadline::Deadline;
use crate::error::{Error, GuestError};
use crate::interrupt::Wait;

/// What the guest's side of the conversation is made of.
const SCRIPT: &str = include_str!("guest.sh");

/// Line editors have a limit (1024 characters in busybox), and a typed line has more than the escaped text.
const TYPED_BYTES: usize = 700;

/// What the guest takes at a time, so that a file's progress is seen: the same number as in the script.
const PART_BYTES: usize = 16384;

/// An output of more than this is refused before it is taken: it belongs on a disk.
const OUTPUT_BYTES: usize = 256 << 20;

/// What a command's console output is cut down to, from its end.
const SAID_BYTES: usize = 64 << 10;

/// A console that is silent for so long, without a prompt, shows no prompt by itself.
const SILENCE: Duration = Duration::from_secs(1);

/// What the guest's side of a console's conversation knows. There is one per console, whoever uses it.
pub(in crate::console) struct Session {
    /// What the guest's lines for us start with. It is typed with quotes inside, so that no echo has it.
    mark: String,
    code: Code,
    last_id: u32,
    /// Whether an earlier command was given up on: the shell may still be at it.
    unsure: bool,
}

/// How a command ended.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: i32,
    pub(super) stdout: Vec<u8>,
    /// What the console showed while the command ran: its standard error, and whatever else there was.
    pub(super) said: String,
}

/// What came of a command.
enum Answer {
    Reply(Reply),
    /// The shell does not know the conversation: it is not the one that was set up.
    Stranger,
}

/// What to do, and how to call it in an error.
pub(super) struct Job<'j> {
    pub(super) console: &'j Console,
    pub(super) prompt: &'j Pattern,
    /// How long each step may take: the command, and each part of its output.
    pub(super) limit: Duration,
    /// When all of it is over.
    pub(super) deadline: Deadline,
    /// Reads on from "while": `running ...`.
    pub(super) doing: String,
}

impl<'j> Job<'j> {
    fn wait(&self) -> Wait<'j> {
        self.until(Deadline::after(self.limit))
    }

    fn until(&self, deadline: Deadline) -> Wait<'j> {
        Wait::new(
            deadline.or_sooner(self.deadline),
            Some(&self.console.shared.interrupt),
        )
    }

    fn line(&self, wait: Wait<'_>) -> Result<String> {
        let newline = Pattern::from("\n");
        let mut line = self.console.wait_for_as(&newline, wait, &|| self.doing.clone())?;
        line.pop();
        Ok(line)
    }

    pub(super) fn failed(&self, reason: impl Into<String>, output: impl Into<String>) -> Error {
        let (reason, output) = (format!("{}: {}", self.doing, reason.into()), output.into());
        Error::Guest(GuestError {
            attempt: None,
            reason,
            output,
        })
    }
}

/// Runs `command` in the shell on the console, which is made ready first where it is not.
pub(super) fn execute(job: &Job<'_>, command: &[u8]) -> Result<Reply> {
    converse(job, |session| {
        let wait = job.wait();
        session.last_id += 1;
        let id = session.last_id;
        let escaped = percent_b(command);
        let line = if escaped.len() <= TYPED_BYTES {
            format!("qt {id} '{escaped}'; . $qt_d/e\n")
        } else {
            if !session.upload(job, command)? {
                return Ok(None);
            }
            session.last_id += 1;
            format!("mv -f $qt_d/i $qt_d/c; qt {}; . $qt_d/e\n", session.last_id)
        };
        job.console.send_in(line.as_bytes(), wait)?;
        Ok(match session.answer(job, wait)? {
            Answer::Reply(reply) => Some(reply),
            Answer::Stranger => None,
        })
    })
}

/// Puts `bytes` into a file of the guest, of which `command` knows as `$qt_d/i`, and runs that.
pub(super) fn execute_with(job: &Job<'_>, bytes: &[u8], command: &[u8]) -> Result<Reply> {
    converse(job, |session| Ok(session.upload(job, bytes)?.then_some(())))?;
    execute(job, command)
}

/// Has `talk` talk to the shell; twice, where the first time shows that there is another shell now.
fn converse<T>(job: &Job<'_>, mut talk: impl FnMut(&mut Session) -> Result<Option<T>>) -> Result<T> {
    let mut slot = job.console.conversation();
    for _ in 0..2 {
        let session = match &mut *slot {
            Some(session) => session,
            None => slot.insert(Session::open(job)?),
        };
        let answer = session
            .find_back(job)
            .and_then(|known| if known { talk(session) } else { Ok(None) });
        match answer {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => *slot = None,
            Err(error) => {
                if matches!(error, Error::Timeout(_)) {
                    session.unsure = true;
                    // Best effort: a shell with a controlling terminal gets rid of the command.
                    let _ = job
                        .console
                        .send_in(b"\x03", job.until(Deadline::exactly(SILENCE)));
                }
                return Err(error);
            }
        }
    }
    Err(job.failed(
        "the shell on the console is replaced again and again",
        job.console.tail(20),
    ))
}

impl Session {
    /// Makes the shell on the console ready for a conversation.
    fn open(job: &Job<'_>) -> Result<Self> {
        prompted(job)?;
        let wait = job.wait();
        // Copies of one guest do not meet, but consoles of one guest do: names must differ.
        let key = RandomState::new().hash_one(job.console.name());
        let key = format!("{:08x}", key as u32);
        let mut session = Self {
            mark: format!("qt{key}"),
            code: Code::Base64,
            last_id: 0,
            unsure: false,
        };
        let first = format!(
            "qt_m=qt''{key}; qt_say() {{ printf '\\n%s:%s:.\\n%s:%s:.\\n' $qt_m \"$1\" $qt_m \"$1\"; }}\n\
             for qt_d in /tmp /run /dev/shm /dev ''; do qt_d=$qt_d/.qemu-test-{key}; \
             mkdir -p $qt_d 2>/dev/null && break; done; qt_say 0:folder:$?\n"
        );
        job.console.send_in(first.as_bytes(), wait)?;
        let folder = session.marked(job, wait, 0, "folder")?;
        if folder != ["0"] {
            return Err(job.failed(
                "the guest has no folder that can be written to",
                job.console.tail(10),
            ));
        }
        let lines: Vec<&str> = SCRIPT.lines().filter(|line| !line.starts_with('#')).collect();
        let script = lines.join("\n") + "\n";
        for (number, piece) in script.as_bytes().chunks(TYPED_BYTES / 2).enumerate() {
            let piece = percent_b(piece);
            let line = format!("printf %b '{piece}' >>$qt_d/f; qt_say 0:{number}:$?\n");
            job.console.send_in(line.as_bytes(), wait)?;
            session.marked(job, wait, 0, &number.to_string())?;
        }
        job.console.send_in(b". $qt_d/f\n", wait)?;
        let ready = session.marked(job, wait, 0, "ready")?;
        let [code, lacking] = &ready[..] else {
            return Err(job.failed("the guest's shell answers nonsense", ready.join(":")));
        };
        if !lacking.trim().is_empty() {
            return Err(job.failed(
                format!("the guest has no {}", lacking.trim().replace(' ', ", no ")),
                "",
            ));
        }
        session.code = if code == "hex" { Code::Hex } else { Code::Base64 };
        Ok(session)
    }

    /// After a command that was given up on: waits until the shell listens again. False where it is another shell.
    fn find_back(&mut self, job: &Job<'_>) -> Result<bool> {
        if !self.unsure {
            return Ok(true);
        }
        let wait = job.wait();
        self.last_id += 1;
        job.console
            .send_in(format!("\nqt_say {}:here\n", self.last_id).as_bytes(), wait)?;
        let known = self
            .until_marked(job, wait, |marked| marked.word == "here")?
            .is_some();
        self.unsure = false;
        Ok(known)
    }

    /// Waits for the line with `word` and `id`, and returns its arguments.
    fn marked(&self, job: &Job<'_>, wait: Wait<'_>, id: u32, word: &str) -> Result<Vec<String>> {
        let mut healer = Healer::default();
        loop {
            let Some(line) = healer.heal(&job.line(wait)?) else {
                continue;
            };
            let Some(marked) = Marked::parse(&line, &self.mark) else {
                continue;
            };
            if marked.id == id && marked.word == word {
                return Ok(marked.arguments.iter().map(ToString::to_string).collect());
            }
        }
    }

    /// Waits for a line of this command's, and returns its arguments; `None` where the shell does not know what it was
    /// told.
    fn until_marked(
        &self,
        job: &Job<'_>,
        wait: Wait<'_>,
        wanted: impl Fn(&Marked<'_>) -> bool,
    ) -> Result<Option<Vec<String>>> {
        let mut healer = Healer::default();
        loop {
            let Some(line) = healer.heal(&job.line(wait)?) else {
                continue;
            };
            // ash: `sh: qt: not found`; bash: `bash: qt: command not found`; both have the name.
            if line.contains("qt") && line.ends_with("not found") {
                return Ok(None);
            }
            let Some(marked) = Marked::parse(&line, &self.mark) else {
                continue;
            };
            if marked.id == self.last_id && wanted(&marked) {
                return Ok(Some(marked.arguments.iter().map(ToString::to_string).collect()));
            }
        }
    }

    /// Takes the answer to the command that has been typed.
    fn answer(&mut self, job: &Job<'_>, wait: Wait<'_>) -> Result<Answer> {
        if self
            .until_marked(job, wait, |marked| marked.word == "run")?
            .is_none()
        {
            return Ok(Answer::Stranger);
        }
        let (mut healer, mut said) = (Healer::default(), String::new());
        let (status, size, sum) = loop {
            let line = job.line(wait).map_err(|error| with_said(error, &said))?;
            let healed = healer.heal(&line);
            if let Some(marked) = healed.as_deref().and_then(|line| Marked::parse(line, &self.mark)) {
                if marked.id != self.last_id || marked.word != "end" {
                    continue;
                }
                match marked.arguments[..] {
                    [status, size, sum] => break (status.parse(), size.parse(), parse_sum(sum)),
                    _ => return Err(job.failed("the guest's shell answers nonsense", line)),
                }
            }
            said.push_str(&line);
            said.push('\n');
            if said.len() > 2 * SAID_BYTES {
                said = crate::console::text::last_lines(&said, usize::MAX, SAID_BYTES).to_owned();
            }
        };
        let (Ok(status), Ok(size)) = (status, size) else {
            return Err(job.failed("the guest's shell answers nonsense", said));
        };
        if size > OUTPUT_BYTES {
            let reason = format!("its output has {size} bytes, more than the {OUTPUT_BYTES} that are taken");
            return Err(job.failed(reason, said));
        }
        let stdout = match (size, sum) {
            (0, _) => Vec::new(),
            (_, Some(sum)) => self.receive(job, Transfer::new(self.code, size, sum))?,
            (_, None) => return Err(job.failed("the guest's shell answers nonsense", said)),
        };
        Ok(Answer::Reply(Reply { status, stdout, said }))
    }

    /// Takes the output of a command, and asks again for what came damaged.
    fn receive(&mut self, job: &Job<'_>, mut transfer: Transfer) -> Result<Vec<u8>> {
        const FRUITLESS: u32 = 10;
        let mut fruitless = 0;
        loop {
            let before = transfer.missing();
            if let Some(output) = self.receive_round(job, &mut transfer)? {
                return Ok(output);
            }
            fruitless = if transfer.missing() < before {
                0
            } else {
                fruitless + 1
            };
            if fruitless == FRUITLESS {
                return Err(job.failed(
                    "its output does not come through the console whole",
                    job.console.tail(10),
                ));
            }
            log::debug!(
                "{}: asking for {} damaged lines again",
                job.doing,
                transfer.missing()
            );
            self.last_id += 1;
            let line = format!("qt_again {} '{}'\n", self.last_id, transfer.script());
            job.console.send_in(line.as_bytes(), job.wait())?;
        }
    }

    /// Takes lines of output until it is whole, or the guest has sent all that it was asked for.
    fn receive_round(&self, job: &Job<'_>, transfer: &mut Transfer) -> Result<Option<Vec<u8>>> {
        let mut healer = Healer::default();
        let mut wait = job.wait();
        loop {
            let Some(line) = healer.heal(&job.line(wait)?) else {
                continue;
            };
            if transfer.take(&line) {
                if transfer.missing() == 0 {
                    return Ok(transfer.finish());
                }
                // The limit is for a guest that stops, not for one with much to say.
                wait = job.wait();
            } else if Marked::parse(&line, &self.mark)
                .is_some_and(|marked| marked.id == self.last_id && marked.word == "eof")
            {
                return Ok(None);
            }
        }
    }

    /// Puts `bytes` into the file `i` of the conversation's folder. False where it is another shell.
    fn upload(&mut self, job: &Job<'_>, bytes: &[u8]) -> Result<bool> {
        self.last_id += 1;
        let line = format!("qt_get {} {}\n", self.last_id, bytes.len());
        job.console.send_in(line.as_bytes(), job.wait())?;
        let mut rest = bytes;
        while !rest.is_empty() {
            let wait = job.wait();
            // Each line comes twice: the second one, which asks for what has been sent, must not count.
            let left = rest.len().to_string();
            let asked = |marked: &Marked<'_>| marked.word == "go" && marked.arguments == [left.as_str()];
            let told = |error| with_progress(error, bytes.len() - rest.len(), bytes.len());
            if self.until_marked(job, wait, asked).map_err(told)?.is_none() {
                return Ok(false);
            }
            let (part, later) = rest.split_at(rest.len().min(PART_BYTES));
            job.console.send_in(part, wait).map_err(told)?;
            rest = later;
        }
        let Some(got) = self.until_marked(job, job.wait(), |marked| marked.word == "got")? else {
            return Ok(false);
        };
        if got[..] != [bytes.len().to_string(), format!("{:x}", md5::compute(bytes))] {
            return Err(job.failed("the bytes did not come through the console whole", ""));
        }
        Ok(true)
    }
}

/// Waits until the shell shows its prompt, which it may have done already.
fn prompted(job: &Job<'_>) -> Result<()> {
    let wait = job.wait();
    let doing = || {
        format!(
            "waiting for the shell's prompt {} on {}",
            job.prompt,
            job.console.title()
        )
    };
    if job.console.settle(job.prompt) {
        return Ok(());
    }
    // A guest that is booting will show it. One that has shown it, to somebody else or before a kernel message, is
    // silent, and an empty line makes it show another.
    loop {
        let before = job.console.last_arrival();
        let silence = Deadline::exactly(SILENCE).or_sooner(wait.deadline);
        match job.console.wait_for_as(job.prompt, job.until(silence), &doing) {
            Err(Error::Timeout(timeout)) if !timeout.of_test && !wait.deadline.expired() => {
                if job.console.last_arrival() == before {
                    break;
                }
            }
            result => return result.map(drop),
        }
    }
    job.console.send_in(b"\n", wait)?;
    job.console.wait_for_as(job.prompt, wait, &doing).map(drop)
}

/// The error of an upload that did not end, with how far it came instead of the conversation that it is made of.
fn with_progress(error: Error, sent: usize, all: usize) -> Error {
    match error {
        Error::Timeout(mut timeout) => {
            timeout.seen = format!("(the guest has been sent {sent} of {all} bytes)");
            Error::Timeout(timeout)
        }
        error => error,
    }
}

/// The error of a command that did not end, with what the console showed meanwhile.
fn with_said(error: Error, said: &str) -> Error {
    match error {
        Error::Timeout(mut timeout) => {
            timeout.seen = crate::console::text::last_lines(said, 20, 4096).to_owned();
            Error::Timeout(timeout)
        }
        error => error,
    }
}
