//! The thread of each machine: it drains the console and the idle monitor, and knows first when QEMU is gone.
//!
//! It blocks in `epoll_wait(2)` and wakes for nothing else. A caller that waits for a reply reads the monitor itself,
//! without a detour over this thread: meanwhile the monitor is not in the epoll set.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

use super::parts::Parts;
use super::processes::{Processes, readable};
use crate::console::Console;
use crate::deadline::Deadline;
use crate::guest::GuestWatch;
use crate::interrupt::{Cause, Interrupt};
use crate::process::Process;
use crate::qmp::{Client, Connection, Event, Options};
use crate::qtest::Qtest;

/// How long a process may outlive its monitor before the two count as separate troubles. A client that sees the end
/// of the connection waits a little longer than this for the news of how QEMU ended.
const GRACE: Duration = Duration::from_secs(2);

/// What each entry of the epoll set is.
const STOP: u64 = 0;
const PROCESS: u64 = 1;
const MONITOR: u64 = 2;
const QEMU: u64 = 3;
const QTEST: u64 = 4;
const GUEST: u64 = 5;
const TREE: u64 = 6;
/// The first console; the others follow.
const CONSOLES: u64 = 7;

/// How many lines of the console tell how a guest died that did not say so.
const LAST_WORDS: usize = 10;

/// The watcher of one machine.
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    epoll: OwnedFd,
    stop: OwnedFd,
    processes: Processes,
    interrupt: Arc<Interrupt>,
    guest: Arc<GuestWatch>,
    consoles: Vec<Console>,
    qtest: Option<Qtest>,
    log: Box<dyn Fn() -> String + Send + Sync>,
    client: OnceLock<Client>,
}

impl Watcher {
    pub(super) fn start(parts: &Parts) -> io::Result<Self> {
        let log = super::log::Log::tail_reader(&parts.log)?;
        let shared = Arc::new(Shared {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            processes: Processes::new(&parts.process),
            interrupt: Arc::clone(&parts.interrupt),
            guest: Arc::clone(&parts.guest),
            consoles: parts.consoles.iter().map(Console::handle).collect(),
            qtest: parts.qtest.as_ref().map(Qtest::handle),
            log: Box::new(log),
            client: OnceLock::new(),
        });
        shared.add(&shared.stop, STOP)?;
        shared.add(shared.started().ended_fd(), PROCESS)?;
        shared.add(&*shared.guest, GUEST)?;
        for (token, console) in (CONSOLES..).zip(&shared.consoles) {
            shared.add(console, token)?;
        }
        if let Some(qtest) = &shared.qtest {
            shared.add(qtest, QTEST)?;
        }
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("qemu-test {}", parts.name))
                .spawn(move || shared.run())?
        };
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// The options with which a client and this thread take turns at the monitor.
    pub(super) fn client_options(&self, parts: &Parts) -> Options {
        // The client is among what is shared: each holding the other would keep both, and their descriptors, for ever.
        let shared = Arc::downgrade(&self.shared);
        let on_reader = move |reading: bool| {
            if let Some(shared) = shared.upgrade()
                && let Some(client) = shared.client.get()
            {
                shared.monitor_is_read(client, reading);
            }
        };
        let (guest, interrupt) = (Arc::clone(&parts.guest), Arc::clone(&parts.interrupt));
        let on_event = move |event: &Event| guest.event(event, interrupt.progress());
        Options {
            name: parts.name.clone(),
            command_timeout: Some(parts.command_timeout),
            interrupt: Some(Arc::clone(&parts.interrupt)),
            transcript: Some(Arc::clone(&parts.transcript)),
            on_event: Some(Box::new(on_event)),
            on_reader: Some(Box::new(on_reader)),
        }
    }

    /// From now on, this thread reads the monitor whenever no caller does.
    pub(super) fn watch_monitor(&self, client: &Client) -> io::Result<()> {
        if let Some(pid) = client.peer_pid()
            && let Some(qemu) = self.shared.processes.qemu_is(pid)?
        {
            self.shared.add(qemu, QEMU)?;
        }
        if self.shared.client.set(client.clone()).is_ok() {
            self.shared.add(client, MONITOR)?;
        }
        Ok(())
    }

    /// What the machine is to the system.
    pub(super) fn processes(&self) -> &Processes {
        &self.shared.processes
    }

    /// Ends the thread, which has seen everything by then if the machine has ended.
    pub(crate) fn stop(&self) {
        let _ = rustix::io::write(&self.shared.stop, &1u64.to_ne_bytes());
        let thread = self.thread.lock().unwrap_or_else(|e| e.into_inner()).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            log::error!("the watcher of a machine panicked");
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn add(&self, fd: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(
            &self.epoll,
            fd,
            EventData::new_u64(token),
            EventFlags::IN,
        )?)
    }

    fn forget(&self, fd: impl AsFd) {
        // It may be gone already: two threads find the end of a connection at the same time.
        let _ = epoll::delete(&self.epoll, fd);
    }

    fn started(&self) -> &Process {
        self.processes.started()
    }

    fn monitor_is_read(&self, client: &Client, reading: bool) {
        if reading {
            self.forget(client);
        } else if let Err(error) = self.add(client, MONITOR)
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            log::error!("cannot watch the monitor: {error}");
        }
    }

    /// Whether the process that we started may have been a wrapper that put QEMU into the background, as `setsid -f`
    /// does: it ended well, before QEMU said its first word, and left something that lives.
    fn may_be_in_background(&self) -> bool {
        self.client.get().is_none()
            && self.started().try_status().is_some_and(|status| status.success())
            && !readable(&self.started().gone_fd())
            && self.add(self.started().gone_fd(), TREE).is_ok()
    }

    fn run(&self) {
        let mut state = State::default();
        loop {
            let mut events = [epoll::Event {
                flags: EventFlags::empty(),
                data: EventData::new_u64(0),
            }; 8];
            let deadlines = [state.grace, self.guest.settles()].into_iter().flatten();
            let timeout = deadlines.reduce(Deadline::or_sooner);
            let timeout = timeout.and_then(|deadline| deadline.timespec());
            let count = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
                Ok(count) => count,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => {
                    log::error!("the watcher of a machine cannot wait: {error}");
                    return;
                }
            };
            for event in &events[..count] {
                match event.data.u64() {
                    STOP => state.stopped = true,
                    PROCESS => self.process_ended(&mut state),
                    TREE => {
                        state.in_background = false;
                        self.forget(self.started().gone_fd());
                    }
                    QEMU => self
                        .processes
                        .behind()
                        .into_iter()
                        .for_each(|qemu| self.forget(qemu)),
                    MONITOR => self.drain_monitor(&mut state),
                    QTEST => drop(self.feed_qtest()),
                    GUEST => self.guest.hear_news(),
                    console => {
                        let console = self.consoles.get((console - CONSOLES) as usize);
                        console.map(|console| self.feed_console(console));
                    }
                }
            }
            // Whoever stops this has mostly seen the end already, and the news of it may come together with the order.
            if state.stopped && !state.process_ended && readable(&self.started().ended_fd()) {
                self.process_ended(&mut state);
            }
            // Once there is a client, it is known which process QEMU is.
            let awaited = state.in_background && self.client.get().is_none();
            if state.process_ended && !awaited && !self.processes.qemu_lives() {
                return self.everything_ended(&mut state);
            }
            if state.stopped {
                return self.take_the_rest(&mut state);
            }
            self.separated(&mut state);
            self.look_at_the_guest(false);
        }
    }

    fn process_ended(&self, state: &mut State) {
        state.process_ended = true;
        self.forget(self.started().ended_fd());
        state.in_background = self.may_be_in_background();
    }

    /// Tells every wait of the guest's death, if it has died.
    fn look_at_the_guest(&self, over: bool) {
        // What it said before QEMU told of its death is in the socket by then.
        if self.guest.is_dying() {
            self.feed_consoles();
        }
        let words = || {
            let latest = self.consoles.iter().max_by_key(|console| console.last_arrival());
            latest.map_or_else(String::new, |console| console.tail(LAST_WORDS))
        };
        if let Some(death) = self.guest.death(over, words) {
            self.interrupt.raise(Cause::Guest(death));
        }
    }

    fn drain_monitor(&self, state: &mut State) {
        if let Some(client) = self.client.get()
            && let Connection::Ended(reason) = client.drain()
        {
            self.forget(client);
            state.monitor_ended.get_or_insert(reason);
        }
    }

    /// Feeds one of the machine's streams with what has come, and forgets it at its end.
    fn feed(&self, what: &str, stream: &impl AsFd, feed: impl Fn() -> io::Result<bool>) -> bool {
        let open = feed().unwrap_or_else(|error| {
            log::error!("the {what} cannot be read: {error}");
            false
        });
        if !open {
            self.forget(stream);
        }
        open
    }

    fn feed_console(&self, console: &Console) -> bool {
        self.feed("console", console, || console.feed())
    }

    fn feed_qtest(&self) -> bool {
        self.qtest
            .as_ref()
            .is_some_and(|qtest| self.feed("qtest connection", qtest, || qtest.feed()))
    }

    /// Takes what the consoles have said so far: each turn takes more than a socket holds. There is no second one for a
    /// guest that goes on, which could keep this thread for ever.
    fn feed_consoles(&self) {
        for console in self.consoles.iter().filter(|console| readable(*console)) {
            self.feed_console(console);
        }
    }

    /// Takes what is left in the sockets. Each is at its end by now, unless QEMU lives, or a process that it started
    /// holds the other side open.
    fn take_the_rest(&self, state: &mut State) {
        self.feed_consoles();
        if self.qtest.as_ref().is_some_and(readable) {
            self.feed_qtest();
        }
        self.drain_monitor(state);
    }

    /// QEMU is gone: take what it left in the sockets, then end every wait.
    fn everything_ended(&self, state: &mut State) {
        self.take_the_rest(state);
        self.look_at_the_guest(true);
        let cause = match self.processes.status() {
            Some(status) => Cause::Exited {
                status,
                log: (self.log)(),
            },
            None => Cause::Disconnected {
                reason: "QEMU has ended, and the process that guards it does not say how".to_owned(),
            },
        };
        self.interrupt.raise(cause);
    }

    /// The monitor, or QEMU behind a wrapper, is gone and the process that we started is not: it is mostly about to.
    fn separated(&self, state: &mut State) {
        let Some(reason) = &state.monitor_ended else {
            return;
        };
        match state.grace {
            None => state.grace = Some(Deadline::exactly(GRACE)),
            Some(grace) if grace.expired() => {
                let reason = format!("{reason}; process {} still runs", self.processes.remaining());
                self.interrupt.raise(Cause::Disconnected { reason });
                // Nothing to hurry for any more, but the console and the process's end are still ours to see.
                state.grace = Some(Deadline::never());
            }
            Some(_) => {}
        }
    }
}

#[derive(Default)]
struct State {
    stopped: bool,
    process_ended: bool,
    /// The process that we started ended, and QEMU is yet to be heard of.
    in_background: bool,
    monitor_ended: Option<String>,
    grace: Option<Deadline>,
}

#[cfg(test)]
mod tests;
