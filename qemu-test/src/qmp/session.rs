//! The conversation of all threads with one QEMU: who writes, who waits, and for what. `reading` has the part of the
//! one that reads.
//!
//! There is no thread behind it. Of the threads that wait for something, one reads from the socket for all of them;
//! when it has what it came for, another takes over. A thread alone on its machine therefore waits in the kernel for
//! its own reply, and no switch between threads comes on top.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::process::Pid;

use super::decoder::piece;
use super::reading::{Reader, Role};
use super::state::State;
use super::transcript::Transcript;
use super::{Event, EventFilter, transport};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::interrupt::{DeathKind, Interrupt, Wait, Wake};

/// How long a thread whose connection ended waits to learn how QEMU ended. The machine's watcher decides sooner.
const GRACE: Duration = Duration::from_secs(3);

/// What is being done before anything is known of the peer.
pub(super) const GREETING: &str = "waiting for QEMU's greeting";

type EventHook = Box<dyn Fn(&Event) + Send + Sync>;

/// What the owner of a conversation wants of it.
#[derive(Default)]
pub(crate) struct Options {
    /// The machine's name, for the log.
    pub(crate) name: String,
    /// The limit of a command that has none of its own; 30 s where this is `None`.
    pub(crate) command_timeout: Option<Duration>,
    /// What ends every wait.
    pub(crate) interrupt: Option<Arc<Interrupt>>,
    /// Where the conversation is recorded.
    pub(crate) transcript: Option<Arc<Transcript>>,
    /// Called for each event, in their order, once it can be taken. It runs on the thread that reads, and may raise
    /// the interrupt, but not talk to QEMU.
    pub(crate) on_event: Option<EventHook>,
    /// Called with true before a thread begins to read, with false after it has ended: for a watcher that reads when
    /// nobody does. It runs under the session's lock, and must call nothing of the session.
    pub(crate) on_reader: Option<Box<dyn Fn(bool) + Send + Sync>>,
}

/// Whether a connection can still be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    Open,
    /// With the reason.
    Ended(String),
}

pub(super) struct Session {
    stream: OwnedFd,
    pub(super) options: Options,
    pub(super) peer: OnceLock<Pid>,
    /// Made for the first reply that is waited for; `None` where the system has no room for it.
    pub(super) sleep: OnceLock<Option<transport::Sleep>>,
    state: Mutex<State>,
    changed: Condvar,
}

/// Why a wait did not bring what it was for.
enum Stopped {
    /// Nothing more can come.
    Ended(String),
    Over(Error),
}

impl Session {
    pub(super) fn new(stream: OwnedFd, options: Options) -> Arc<Self> {
        let session = Arc::new(Self {
            stream,
            options,
            peer: OnceLock::new(),
            sleep: OnceLock::new(),
            state: Mutex::new(State::new(Reader::new())),
            changed: Condvar::new(),
        });
        if let Some(interrupt) = &session.options.interrupt {
            interrupt.register(&session);
        }
        session
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// The process that wrote the greeting.
    pub(super) fn peer(&self) -> Option<Pid> {
        self.peer.get().copied()
    }

    /// Waits for the greeting: whether QEMU offers execution out of band.
    pub(super) fn greeting(&self, wait: Wait<'_>) -> Result<bool> {
        let doing = || GREETING.to_owned();
        self.wait(wait, None, &mut |state| state.greeting, &doing, &|_| {
            String::new()
        })
        .map_err(|stopped| self.explain(stopped, wait, &doing, ""))
    }

    /// Whether QEMU's greeting offered execution out of band.
    pub(super) fn offers_oob(&self) -> bool {
        self.lock().greeting == Some(true)
    }

    /// Sends `request`, a JSON object without an id, and waits for the text of its reply.
    pub(super) fn exchange(
        &self,
        request: &str,
        descriptors: &[BorrowedFd<'_>],
        wait: Wait<'_>,
    ) -> Result<Box<[u8]>> {
        let sending = || format!("sending `{}`", piece(request.as_bytes()));
        let waiting = || format!("waiting for the reply to `{}`", piece(request.as_bytes()));
        let unsent = |stopped| self.explain(stopped, wait, &sending, "the command did not reach QEMU");
        let unknown = |stopped| self.explain(stopped, wait, &waiting, "nobody knows whether the command ran");

        let (turn, id) = self.turn(wait, &sending).map_err(unsent)?;
        let wire = with_id(request, id);
        if let Some(transcript) = &self.options.transcript {
            transcript.sent(&wire);
        }
        // Before the command goes out, so that its reply wakes nobody else.
        let mut role = self.take_role();
        if let Err(stopped) = self.send(&wire, descriptors, wait, role.as_mut(), &sending) {
            self.lock().abandon(id, false);
            drop((role, turn));
            return Err(unsent(stopped));
        }
        // QEMU keeps the descriptors that came last: a command must have taken its own before others may follow.
        let turn = Some(turn).filter(|_| !descriptors.is_empty());
        let result = self.wait(wait, role, &mut |state| state.take_reply(id), &waiting, &|_| {
            String::new()
        });
        drop(turn);
        if let (Ok(_), Some(interrupt)) = (&result, wait.interrupt) {
            interrupt.made_progress();
        }
        result.map_err(|stopped| {
            self.lock().abandon(id, true);
            unknown(stopped)
        })
    }

    /// Waits for the first event that `filter` takes; without one, for any.
    pub(super) fn event(&self, filter: Option<&EventFilter>, wait: Wait<'_>) -> Result<Event> {
        self.event_from(0, filter, wait)
    }

    /// The same among those from number `from` on.
    pub(super) fn event_from(
        &self,
        mut from: u64,
        filter: Option<&EventFilter>,
        wait: Wait<'_>,
    ) -> Result<Event> {
        let doing = || match filter {
            Some(filter) => format!("waiting for the event {}", piece(filter.to_string().as_bytes())),
            None => "waiting for an event".to_owned(),
        };
        // What has come by now must be seen even by a wait of no length.
        self.drain();
        // The console tells of a panic before the panic device does. Whoever waits for the device gets its event.
        let for_panic = filter.is_some_and(|filter| filter.may_match("GUEST_PANICKED"));
        let _awaiting = wait
            .interrupt
            .filter(|_| for_panic)
            .map(|interrupt| interrupt.await_death(DeathKind::Panic));
        let mut matching = |state: &mut State| state.take_event(filter, &mut from);
        let event = self
            .wait(wait, None, &mut matching, &doing, &State::unread_events)
            .map_err(|stopped| self.explain(stopped, wait, &doing, ""))?;
        if let Some(interrupt) = wait.interrupt {
            interrupt.event_taken(&event.name);
        }
        Ok(event)
    }

    /// The number of the next event that comes.
    pub(super) fn next_event_number(&self) -> u64 {
        // What lies in the socket has come before.
        self.drain();
        self.lock().next_number()
    }

    /// Takes all events that have come.
    pub(super) fn events(&self, wait: Wait<'_>) -> Result<Vec<Event>> {
        let connection = self.drain();
        let events = self.lock().take_events();
        for event in &events {
            wait.interrupt
                .iter()
                .for_each(|interrupt| interrupt.event_taken(&event.name));
        }
        match connection {
            Connection::Ended(reason) if events.is_empty() => {
                let doing = || "taking the events".to_owned();
                Err(self.explain(Stopped::Ended(reason), wait, &doing, ""))
            }
            _ => Ok(events),
        }
    }

    /// Reads what is there without blocking, unless another thread reads: then there is nothing to do.
    pub(super) fn drain(&self) -> Connection {
        // More than a socket holds; a peer that writes faster than this reads must not keep the caller for ever.
        const READS: usize = 64;
        let mut state = self.lock();
        let reader = if state.ended.is_none() {
            state.reader.take()
        } else {
            None
        };
        drop(state);
        if let Some(reader) = reader {
            let mut role = Role::unannounced(self, reader);
            for _ in 0..READS {
                if !role.read() {
                    break;
                }
            }
        }
        match &self.lock().ended {
            Some(reason) => Connection::Ended(reason.clone()),
            None => Connection::Open,
        }
    }

    /// Waits until `ready` finds what it looks for, reading for all when nobody else does.
    fn wait<'a, T>(
        &'a self,
        wait: Wait<'_>,
        mut role: Option<Role<'a>>,
        ready: &mut dyn FnMut(&mut State) -> Option<T>,
        doing: &dyn Fn() -> String,
        seen: &dyn Fn(&State) -> String,
    ) -> Result<T, Stopped> {
        loop {
            let mut state = self.lock();
            if let Some(found) = ready(&mut state) {
                return Ok(found);
            }
            if let Some(reason) = &state.ended {
                return Err(Stopped::Ended(reason.clone()));
            }
            if let Some(error) = wait.over(doing, || seen(&state)) {
                return Err(Stopped::Over(error));
            }
            if role.is_none() && state.reader.is_none() {
                drop(self.sleep(state, wait));
                continue;
            }
            drop(state);
            if role.is_none() {
                role = self.take_role();
            }
            if let Some(role) = &mut role {
                role.wait_and_read(PollFlags::IN, wait);
            }
        }
    }

    /// Waits for the turn to write, and gives the command that is to be written its id.
    fn turn(&self, wait: Wait<'_>, doing: &dyn Fn() -> String) -> Result<(Turn<'_>, u64), Stopped> {
        let mut state = self.lock();
        loop {
            if let Some(reason) = &state.ended {
                return Err(Stopped::Ended(reason.clone()));
            }
            if let Some(error) = wait.over(doing, String::new) {
                return Err(Stopped::Over(error));
            }
            if !state.writing {
                state.writing = true;
                let id = state.begin();
                return Ok((Turn { session: self }, id));
            }
            state = self.sleep(state, wait);
        }
    }

    /// Writes all of `wire`. While QEMU does not take it, and nobody else reads, this reads: neither side must wait
    /// for the other to read first.
    fn send(
        &self,
        wire: &[u8],
        descriptors: &[BorrowedFd<'_>],
        wait: Wait<'_>,
        mut role: Option<&mut Role<'_>>,
        doing: &dyn Fn() -> String,
    ) -> Result<(), Stopped> {
        let mut sent = 0;
        while sent < wire.len() {
            let carried = if sent == 0 { descriptors } else { &[] };
            match transport::send_some(self.stream.as_fd(), &wire[sent..], carried) {
                Ok(taken) => {
                    sent += taken;
                    continue;
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) if is_gone(error) => {
                    // What QEMU said last tells more than the error.
                    if let Some(role) = &mut role {
                        while role.read() {}
                    }
                    return Err(Stopped::Ended(self.end(format!("sending failed: {error}"))));
                }
                // The descriptors, or the kind of socket, are at fault: the connection is as good as before.
                Err(error) => return Err(Stopped::Over(Error::io(doing(), error.into()))),
            }
            let over = wait.over(doing, String::new);
            if let Some(error) = over {
                if sent > 0 {
                    self.end(format!(
                        "a command was cut short after {sent} of {} bytes",
                        wire.len()
                    ));
                }
                return Err(Stopped::Over(error));
            }
            match &mut role {
                Some(role) => role.wait_and_read(PollFlags::IN | PollFlags::OUT, wait),
                None => {
                    if let Err(error) = transport::ready(self.stream.as_fd(), PollFlags::OUT, wait) {
                        self.end(format!("waiting for it failed: {error}"));
                    }
                }
            }
            if let Some(reason) = &self.lock().ended {
                return Err(Stopped::Ended(reason.clone()));
            }
        }
        Ok(())
    }

    /// The error for a wait that brought nothing. Where the connection ended and QEMU is about to be known to have
    /// ended, that is the better error: it has the exit status and the log.
    fn explain(&self, stopped: Stopped, wait: Wait<'_>, doing: &dyn Fn() -> String, addition: &str) -> Error {
        let reason = match stopped {
            Stopped::Over(error) => return error,
            Stopped::Ended(reason) => reason,
        };
        if let Some(interrupt) = wait.interrupt {
            let grace = Deadline::exactly(GRACE).or_sooner(wait.deadline);
            while interrupt.cause().is_none() && !grace.expired() {
                let terms = Wait::new(grace, None);
                let _ = transport::ready(interrupt.as_fd(), PollFlags::IN, terms);
            }
            if interrupt.cause().is_some()
                && let Some(error) = wait.over(doing, String::new)
            {
                return error;
            }
        }
        let separator = if addition.is_empty() { "" } else { "; " };
        wait.disconnected(doing(), format!("{reason}{separator}{addition}"))
    }

    /// Notes that nothing more can come; gives the reason that was noted first.
    pub(super) fn end(&self, reason: String) -> String {
        let mut state = self.lock();
        let reason = state.ended.get_or_insert(reason).clone();
        self.notify(&state);
        reason
    }

    fn sleep<'a>(&self, mut state: MutexGuard<'a, State>, wait: Wait<'_>) -> MutexGuard<'a, State> {
        state.sleepers += 1;
        let mut state = match wait.deadline.remaining() {
            Some(left) => {
                let woken = self.changed.wait_timeout(state, left);
                woken.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
        };
        state.sleepers -= 1;
        state
    }

    pub(super) fn notify(&self, state: &State) {
        if state.sleepers > 0 {
            self.changed.notify_all();
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // What a panicking hook of the owner's leaves behind is whole: hooks run between changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Wake for Session {
    fn wake(&self) {
        drop(self.lock());
        self.changed.notify_all();
    }
}

/// The turn to write. It goes on when dropped.
struct Turn<'a> {
    session: &'a Session,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.session.lock();
        state.writing = false;
        self.session.notify(&state);
    }
}

/// `request` with an id put before its closing brace.
fn with_id(request: &str, id: u64) -> Vec<u8> {
    let open = request.strip_suffix('}').unwrap_or(request);
    format!("{open},\"id\":{id}}}").into_bytes()
}

/// Whether an error in sending means that nobody is there any more.
fn is_gone(error: Errno) -> bool {
    matches!(
        error,
        Errno::PIPE
            | Errno::CONNRESET
            | Errno::NOTCONN
            | Errno::TIMEDOUT
            | Errno::HOSTUNREACH
            | Errno::NETUNREACH
    )
}
