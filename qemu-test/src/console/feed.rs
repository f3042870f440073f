//! Draining a console: bytes to the file, text to the waits, lines to the hook. Run by the machine's watcher, and by
//! nobody else, so that the guest never waits for a test.

use std::io::{self, Write as _};

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::clean::Cleaner;
use super::handle::{CLOSED, Console, Shared, lock};

/// As much as a socket's buffer holds by default.
const READ_BYTES: usize = 256 << 10;

/// After so many reads the watcher gets a turn for its other descriptors, however much the guest floods.
const READS_PER_FEED: usize = 8;

/// A longer line goes to the hook in pieces, so that output without newlines does not pile up.
const LINE_BYTES: usize = 16 << 10;

/// A line that has not ended is looked at no more when it is longer than this: it is output, and no message.
const UNFINISHED_BYTES: usize = 512;

type LineHook = Box<dyn Fn(&str, bool) + Send + Sync>;

/// What the draining remembers from one read to the next.
pub(super) struct Intake {
    buffer: Vec<u8>,
    cleaner: Cleaner,
    text: String,
    /// The beginning of a line whose end has not come.
    line: String,
    on_line: Option<LineHook>,
    /// The first error in writing the file.
    file_failure: Option<String>,
}

impl Intake {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            cleaner: Cleaner::new(),
            text: String::new(),
            line: String::new(),
            on_line: None,
            file_failure: None,
        }
    }

    fn take(&mut self, shared: &Shared, count: usize) {
        let bytes = &self.buffer[..count];
        if let Err(error) = (&shared.file).write_all(bytes)
            && self.file_failure.is_none()
        {
            // Once: a full disk would be told with every read.
            log::error!("writing a console's output to its file: {error}");
            self.file_failure = Some(error.to_string());
        }
        self.text.clear();
        self.cleaner.clean(bytes, &mut self.text);
        if self.text.is_empty() {
            return;
        }
        shared.arrive(&self.text);
        self.call_hook();
    }

    /// Goes on from bytes that somebody else has dealt with, and gives their text.
    pub(super) fn remember(&mut self, bytes: &[u8]) -> String {
        let mut text = String::new();
        self.cleaner.clean(bytes, &mut text);
        let unfinished = text.rsplit('\n').next().unwrap_or_default();
        self.line = unfinished.to_owned();
        text
    }

    fn call_hook(&mut self) {
        let Some(hook) = &self.on_line else { return };
        let mut rest = self.text.as_str();
        while let Some(newline) = memchr::memchr(b'\n', rest.as_bytes()) {
            if self.line.is_empty() {
                hook(&rest[..newline], true);
            } else {
                self.line.push_str(&rest[..newline]);
                hook(&self.line, true);
                self.line.clear();
            }
            rest = &rest[newline + 1..];
        }
        self.line.push_str(rest);
        if self.line.len() > LINE_BYTES {
            hook(&std::mem::take(&mut self.line), true);
        } else if (1..=UNFINISHED_BYTES).contains(&self.line.len()) {
            hook(&self.line, false);
        }
    }

    fn finish(&mut self) {
        if let Some(hook) = &self.on_line
            && !self.line.is_empty()
        {
            hook(&std::mem::take(&mut self.line), true);
        }
    }
}

impl Console {
    /// Has `hook` called for each line from now on, without its newline and its escape sequences, in the thread that
    /// feeds; and with `false` for the beginning of one whose end has not come, each time it grows. A line of more than
    /// 16 KiB comes in pieces, and one that the end of the console cuts off comes then. The hook must not call
    /// [`feed`](Self::feed); all else is allowed.
    pub(crate) fn on_line(&self, hook: impl Fn(&str, bool) + Send + Sync + 'static) {
        lock(&self.shared.intake).on_line = Some(Box::new(hook));
    }

    /// Why the file is not whole, where it is not.
    pub(crate) fn file_failure(&self) -> Option<String> {
        lock(&self.shared.intake).file_failure.clone()
    }

    /// Takes in what has come, without blocking. False at the end of the console: nothing will come any more.
    ///
    /// It returns after 2 MiB even if there is more: the descriptor is then still readable.
    pub(crate) fn feed(&self) -> io::Result<bool> {
        let shared = &*self.shared;
        let mut intake = lock(&shared.intake);
        let intake = &mut *intake;
        intake.buffer.resize(READ_BYTES, 0);
        for _ in 0..READS_PER_FEED {
            match recv(&shared.stream, &mut intake.buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Ok(self.finish(intake, CLOSED)),
                Ok((count, _)) => intake.take(shared, count),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                // What we sent and QEMU had not read when it ended makes of the end of file a reset.
                Err(Errno::CONNRESET) => return Ok(self.finish(intake, CLOSED)),
                Err(error) => {
                    self.finish(intake, &error.to_string());
                    return Err(error.into());
                }
            }
        }
        Ok(true)
    }

    fn finish(&self, intake: &mut Intake, reason: &str) -> bool {
        intake.finish();
        self.shared.end(reason.to_owned());
        false
    }
}
