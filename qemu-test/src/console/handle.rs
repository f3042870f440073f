//! The handle of a console: what a test calls, and the waiting. What feeds it is in `feed`, what writes in `send`.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::clean::Cleaner;
use super::feed::Intake;
use super::pattern::{Pattern, Search};
use super::shell::Session;
use super::text::{Text, last_lines};
use crate::Result;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::interrupt::{Interrupt, Wait, Wake};

/// How much text that no wait has consumed is kept in each of the two places where it may be.
const UNREAD_BYTES: usize = 8 << 20;

/// How much of the end is kept, consumed or not, for errors and reports.
const TAIL_BYTES: usize = 64 << 10;

/// A console that ended ends because QEMU does: so long may the news of that take, to be told instead.
const END_GRACE: Duration = Duration::from_secs(1);

/// Why a console ended, where nothing else is known.
pub(super) const CLOSED: &str = "QEMU closed it";

/// A serial port or virtio console of a machine.
///
/// What the guest says is drained as it comes, whether or not anybody waits for it. The bytes go to the console's file
/// as they are. The text in which [`wait_for`](Self::wait_for) looks is free of escape sequences and of control
/// characters other than tab and newline; a line ends with `\n` even where the guest sent `\r\n`, and what is no UTF-8
/// is replaced by U+FFFD.
///
/// Memory is bounded: of text that no wait has consumed the last 8 MiB at least and 32 MiB at most are held. Older text
/// is in the file and in [`output`](Self::output), and no longer found by a wait; the error of the wait says so.
///
/// ```no_run
/// # use std::time::Duration;
/// # fn example(console: &qemu_test::console::Console) -> qemu_test::Result<()> {
/// console.wait_for("login: ", Duration::from_secs(60))?;
/// console.send_line("root")?;
/// console.wait_for("# ", Duration::from_secs(10))?;
/// # Ok(())
/// # }
/// ```
pub struct Console {
    pub(super) shared: Arc<Shared>,
}

/// What the handles of one console share. Where several of the locks are held, they were taken in the order
/// `conversation`, `window`, `arrivals`.
pub(super) struct Shared {
    name: String,
    pub(super) stream: OwnedFd,
    /// Everything the guest sent, as it came.
    pub(super) file: File,
    pub(super) interrupt: Arc<Interrupt>,
    pub(super) intake: Mutex<Intake>,
    /// Never held for longer than it takes to copy a read's worth of text: a slow search must not hold up the guest.
    arrivals: Mutex<Arrivals>,
    arrived: Condvar,
    /// What has been searched and not been consumed.
    window: Mutex<Window>,
    pub(super) sending: Mutex<()>,
    conversation: Mutex<Option<Session>>,
}

/// What the guest sent since a wait last looked.
#[derive(Default)]
struct Arrivals {
    unread: Text,
    tail: Text,
    last: Option<Instant>,
    /// Why nothing more will come.
    ended: Option<String>,
}

#[derive(Default)]
struct Window {
    text: Text,
    /// How much text was forgotten that no wait had consumed.
    lost: u64,
}

/// A poisoned lock is one whose holder panicked: the hook of a test, say. What the lock guards is whole all the same.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Wake for Shared {
    fn wake(&self) {
        let _arrivals = lock(&self.arrivals);
        self.arrived.notify_all();
    }
}

impl Console {
    /// A console over one end of a socket pair whose other end is QEMU's. `file` gets the raw bytes; it must be
    /// readable too, because that is where [`output`](Self::output) finds what memory no longer holds.
    ///
    /// Nothing is read until [`feed`](Self::feed) is called.
    pub(crate) fn new(
        name: &str,
        stream: OwnedFd,
        file: File,
        interrupt: Arc<Interrupt>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            stream,
            file,
            interrupt: interrupt.clone(),
            intake: Mutex::new(Intake::new()),
            arrivals: Mutex::default(),
            arrived: Condvar::new(),
            window: Mutex::default(),
            sending: Mutex::new(()),
            conversation: Mutex::default(),
        });
        interrupt.register(&shared);
        Ok(Self { shared })
    }

    /// Another handle of the same console.
    pub(crate) fn handle(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }

    /// The console's name: `console` where the builder was given none.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Waits until the guest has said `pattern`, and returns what it said up to the end of that. This is then
    /// consumed: the next wait starts after it, and `^` and `\A` match there.
    ///
    /// Text counts that came before the call and was not consumed. It is matched as it arrives, so that a prompt is
    /// found without a newline after it; on the other hand `$` and `\b` match at the end of what happens to be there,
    /// and a repetition such as `\d+` may end early: let the pattern say what follows (`(\d+) packets`). A regular
    /// expression is searched in the last 64 KiB each time text arrives; a match longer than this is found when the
    /// text has doubled, or at the end of `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] with the end of what came instead, after `timeout` (scaled by `QEMU_TEST_TIMEOUT_SCALE`);
    /// at once, whatever ends every wait on the machine: the end of QEMU, the death of the guest, the test's own
    /// limit.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use qemu_test::regex::Regex;
    /// # fn example(console: &qemu_test::console::Console) -> Result<(), Box<dyn std::error::Error>> {
    /// let limit = Duration::from_secs(60);
    /// let boot = console.wait_for("~ # ", limit)?;
    /// assert!(boot.contains("Linux version"));
    /// console.send_line("uptime")?;
    /// console.wait_for(Regex::new(r"up \d+ min")?, limit)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_for(&self, pattern: impl Into<Pattern>, timeout: Duration) -> Result<String> {
        let wait = Wait::new(Deadline::after(timeout), Some(&self.shared.interrupt));
        self.wait_for_in(&pattern.into(), wait)
    }

    /// [`wait_for`](Self::wait_for) on terms of the caller's.
    pub(crate) fn wait_for_in(&self, pattern: &Pattern, wait: Wait<'_>) -> Result<String> {
        self.wait_for_as(pattern, wait, &|| {
            format!("waiting for {pattern} on {}", self.title())
        })
    }

    /// [`wait_for`](Self::wait_for) as a part of something else, which an error says instead.
    pub(super) fn wait_for_as(
        &self,
        pattern: &Pattern,
        wait: Wait<'_>,
        doing: &impl Fn() -> String,
    ) -> Result<String> {
        let shared = &*self.shared;
        let mut search = Search::new(pattern);
        loop {
            if let Some(text) = shared.look(&mut search, Search::advance) {
                shared.interrupt.made_progress();
                return Ok(text);
            }
            let Some(over) = shared.block(search.searched(), wait) else {
                continue;
            };
            // Text and the end of the wait may have come together, and a long match may have been left for now.
            let found = shared.look(&mut search, Search::last_look);
            return found.map_or_else(|| Err(over.into_error(self, wait, doing)), Ok);
        }
    }

    /// All that the guest has said so far, consumed or not, as text without escape sequences.
    ///
    /// It is read from the console's file. Where that fails, the reason is logged and the text ends there.
    pub fn output(&self) -> String {
        let (mut cleaner, mut text) = (Cleaner::new(), String::new());
        let (mut buffer, mut position) = (vec![0; 256 << 10], 0);
        loop {
            match self.shared.file.read_at(&mut buffer, position) {
                Ok(0) => return text,
                Ok(count) => {
                    cleaner.clean(&buffer[..count], &mut text);
                    position += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    log::error!("reading the file of {}: {error}", self.title());
                    return text;
                }
            }
        }
    }

    /// Whether `pattern` is the last that the guest has said: then all of it is consumed.
    pub(super) fn settle(&self, pattern: &Pattern) -> bool {
        let mut window = lock(&self.shared.window);
        let mut arrivals = lock(&self.shared.arrivals);
        let settled = pattern.ends(arrivals.tail.as_str());
        if settled {
            window.text.append(&mut arrivals.unread);
            let all = window.text.len();
            window.text.forget(all);
        }
        settled
    }

    /// The last `lines` lines, an unfinished one included, consumed or not; no more than 64 KiB.
    pub(crate) fn tail(&self, lines: usize) -> String {
        last_lines(lock(&self.shared.arrivals).tail.as_str(), lines, TAIL_BYTES).to_owned()
    }

    /// When the guest last said something.
    pub(crate) fn last_arrival(&self) -> Option<Instant> {
        lock(&self.shared.arrivals).last
    }

    /// The conversation with the shell on this console, which is one at a time.
    pub(super) fn conversation(&self) -> MutexGuard<'_, Option<Session>> {
        lock(&self.shared.conversation)
    }

    /// Waits until `deadline`, or until something ends every wait on the machine.
    pub(super) fn rest(&self, deadline: Deadline) {
        self.shared.until_interrupted(deadline);
    }

    /// How messages call this console.
    pub(super) fn title(&self) -> String {
        match self.name() {
            "console" => "the console".to_owned(),
            name => format!("the console `{name}`"),
        }
    }

    /// The error for a console that ended under `wait`: how QEMU ended, if that is known within a moment.
    pub(super) fn ended(&self, wait: Wait<'_>, doing: &impl Fn() -> String, reason: &str) -> Error {
        let grace = wait.deadline.or_sooner(Deadline::exactly(END_GRACE));
        self.shared.until_interrupted(grace);
        wait.over(doing, || self.seen())
            .unwrap_or_else(|| wait.disconnected(doing(), reason))
    }

    /// What there is instead of what was waited for.
    fn seen(&self) -> String {
        let window = lock(&self.shared.window);
        let unread = last_lines(window.text.as_str(), 20, 4096);
        let mut seen = match window.lost {
            0 => String::new(),
            lost => format!(
                "(the first {lost} bytes of it were forgotten unread, and are in the console's file)\n"
            ),
        };
        if unread.trim().is_empty() {
            seen.push_str("(nothing)");
            let tail = self.tail(5);
            if !tail.trim().is_empty() {
                seen.push_str("\n(before that, consumed by earlier waits:)\n");
                seen.push_str(&tail);
            }
        } else {
            seen.push_str(unread);
        }
        seen
    }
}

impl AsFd for Console {
    /// Readable when the guest has said something that the watcher of its machine has not taken yet. Reading from it
    /// takes that away from the waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.stream.as_fd()
    }
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// Why a wait ends without a match.
enum Over {
    Wait,
    Ended(String),
}

impl Over {
    fn into_error(self, console: &Console, wait: Wait<'_>, doing: &impl Fn() -> String) -> Error {
        let reason = match self {
            Self::Wait => match wait.over(doing, || console.seen()) {
                Some(error) => return error,
                None => "the wait was over".to_owned(),
            },
            Self::Ended(reason) => reason,
        };
        console.ended(wait, doing, &reason)
    }
}

impl Shared {
    /// Searches what has come, and consumes the match.
    fn look<'p>(
        &self,
        search: &mut Search<'p>,
        how: impl FnOnce(&mut Search<'p>, &Text) -> Option<usize>,
    ) -> Option<String> {
        let mut window = lock(&self.window);
        let missing = window.text.append(&mut lock(&self.arrivals).unread);
        let end = how(search, &window.text);
        let matched = end.map(|end| {
            let matched = window.text.as_str()[..end].to_owned();
            window.text.forget(end);
            matched
        });
        window.lost += missing + window.text.keep_last(UNREAD_BYTES);
        matched
    }

    /// Blocks until there is more text than `searched`: `None`; or says why there will be no more.
    fn block(&self, searched: u64, wait: Wait<'_>) -> Option<Over> {
        let mut arrivals = lock(&self.arrivals);
        loop {
            if wait.is_over() {
                return Some(Over::Wait);
            }
            if arrivals.unread.end() > searched {
                return None;
            }
            if let Some(reason) = &arrivals.ended {
                return Some(Over::Ended(reason.clone()));
            }
            arrivals = self.sleep(arrivals, wait.deadline);
        }
    }

    fn until_interrupted(&self, deadline: Deadline) {
        let mut arrivals = lock(&self.arrivals);
        while self.interrupt.cause().is_none() && !deadline.expired() {
            arrivals = self.sleep(arrivals, deadline);
        }
    }

    fn sleep<'a>(&self, arrivals: MutexGuard<'a, Arrivals>, deadline: Deadline) -> MutexGuard<'a, Arrivals> {
        match deadline.remaining() {
            Some(left) => {
                let woken = self.arrived.wait_timeout(arrivals, left);
                woken.unwrap_or_else(|poisoned| poisoned.into_inner()).0
            }
            None => self
                .arrived
                .wait(arrivals)
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        }
    }

    /// Adds text that has come, for the waits.
    pub(super) fn arrive(&self, text: &str) {
        let mut arrivals = lock(&self.arrivals);
        arrivals.last = Some(Instant::now());
        arrivals.tail.push_str(text);
        arrivals.tail.keep_last(TAIL_BYTES);
        arrivals.unread.push_str(text);
        arrivals.unread.keep_last(UNREAD_BYTES);
        self.arrived.notify_all();
    }

    /// Text of before, of which the last `unread` bytes are left for the waits.
    pub(super) fn remember(&self, text: &str, unread: usize) {
        let mut arrivals = lock(&self.arrivals);
        arrivals.tail.push_str(text);
        arrivals.tail.keep_last(TAIL_BYTES);
        arrivals.unread.push_str(text);
        arrivals.unread.keep_last(unread.min(UNREAD_BYTES));
    }

    /// How much text no wait has consumed.
    pub(super) fn unread(&self) -> usize {
        let window = lock(&self.window);
        let arrivals = lock(&self.arrivals);
        window.text.len() + arrivals.unread.len()
    }

    /// Says that nothing more will come.
    pub(super) fn end(&self, reason: String) {
        lock(&self.arrivals).ended.get_or_insert(reason);
        self.arrived.notify_all();
    }
}
