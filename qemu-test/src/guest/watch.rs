//! What is known of one guest: fed with its lines and its events, asked whether it is dead and what it did wrong.
//!
//! What counts as death. A panic does, from wherever it is told: the console, a panic device. So do a guest that
//! stands still for good and one that resets itself in a loop. A guest that powers off, or resets on a machine that
//! ends then, is dead to whoever still wants something of it, and to nobody else: it ends the waits, and a body that
//! waits for nothing, or for this very end, is not disturbed. What the host asked for (`quit`, `system_reset`,
//! `system_powerdown`, a signal) is no death.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use regex::Regex;
use rustix::event::{EventfdFlags, eventfd};

use super::bad_lines::{self, AllowedLine, Severity};
use super::incident::Incident;
use super::state::{Reason, State, summary};
use crate::console::Console;
use crate::deadline::Deadline;
use crate::interrupt::{Death, DeathKind, Wake};
use crate::qmp::Event;

/// More incidents than this are counted only.
const INCIDENTS: usize = 16;

/// What a test said of its guest beforehand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Terms {
    pub(crate) allowed: Vec<Regex>,
    pub(crate) expect_panic: bool,
    /// The machine is to end by itself.
    pub(crate) expects_end: bool,
}

impl Terms {
    /// The terms of a builder, or what is wrong with them.
    pub(crate) fn new(
        allowed: &[AllowedLine],
        expect_panic: bool,
        expects_end: bool,
    ) -> Result<Self, String> {
        Ok(Self {
            allowed: allowed.iter().map(AllowedLine::regex).collect::<Result<_, _>>()?,
            expect_panic,
            expects_end,
        })
    }
}

/// Something about a guest that fails its test, whatever the body said.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    /// In one sentence: `the guest panicked: Kernel panic - not syncing: …`.
    pub(crate) summary: String,
    /// The guest's own words.
    pub(crate) words: String,
    /// Whether it explains whatever else failed.
    pub(crate) is_panic: bool,
}

impl Trouble {
    fn new(summary: String) -> Self {
        Self {
            summary,
            words: String::new(),
            is_panic: false,
        }
    }
}

/// The watch over one guest.
pub(crate) struct GuestWatch {
    terms: Terms,
    since: Instant,
    /// Readable when an event has come that the machine's watcher must look at.
    news: OwnedFd,
    state: Mutex<State>,
    changed: Condvar,
}

impl GuestWatch {
    pub(crate) fn new(terms: Terms) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            terms,
            since: Instant::now(),
            news: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            state: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Hears what the guest says on `console` from now on.
    pub(crate) fn listen(self: &Arc<Self>, console: &Console) {
        let number = {
            let mut state = self.state();
            state.consoles += 1;
            state.consoles
        };
        let watch = Arc::clone(self);
        console.on_line(move |line, whole| match whole {
            true => watch.line(number, line),
            false => watch.unfinished_line(number, line),
        });
    }

    /// What is wrong with `line` and not allowed.
    fn look(&self, line: &str) -> Option<(Severity, &'static str)> {
        bad_lines::look(line).filter(|_| !self.terms.allowed.iter().any(|allowed| allowed.is_match(line)))
    }

    /// A guest that dies may never end its last line.
    fn unfinished_line(&self, console: usize, line: &str) {
        if self
            .look(line)
            .is_none_or(|(severity, _)| severity == Severity::Flaw)
        {
            return;
        }
        self.line(console, line);
        let mut state = self.state();
        if let Some((_, incident)) = state.incidents.iter_mut().rfind(|(number, _)| *number == console) {
            incident.unfinished();
        }
    }

    fn line(&self, console: usize, line: &str) {
        let bad = self.look(line);
        let mut state = self.state();
        let open = state
            .incidents
            .iter_mut()
            .rev()
            .find(|(number, _)| *number == console)
            .map(|(_, incident)| incident);
        let Some((severity, what)) = bad else {
            if let Some(incident) = open {
                incident.follow(line);
            }
            return;
        };
        let goes_on = open.is_some_and(|incident| incident.goes_on(severity, what, line));
        if !goes_on {
            if state.incidents.len() < INCIDENTS
                || !state.said(Severity::Panic) && severity == Severity::Panic
            {
                state
                    .incidents
                    .push((console, Incident::new(severity, what, line)));
            } else {
                state.left_out += 1;
            }
        }
        if severity != Severity::Flaw {
            state.settling.get_or_insert_with(Instant::now);
            self.changed.notify_all();
        }
    }

    /// Takes in what QEMU tells; `progress` counts what the test has got of the machine so far.
    pub(crate) fn event(&self, event: &Event, progress: u64) {
        let by_guest = event.data["guest"] == true;
        let mut state = self.state();
        // QEMU's action on a panic is `poweroff` where it shuts down next.
        state.shutdown |= event.name == "SHUTDOWN" || event.data["action"] == "poweroff";
        if let Some(kind) = DeathKind::of_event(&event.name) {
            state.events[kind as usize] += 1;
        }
        let death = match event.name.as_str() {
            "POWERDOWN" => {
                state.powerdown = true;
                None
            }
            "GUEST_PANICKED" => {
                let info = match &event.data["info"] {
                    serde_json::Value::Null => String::new(),
                    info => format!(": {info}"),
                };
                state.panic_event = Some(format!("its panic device told QEMU{info}"));
                Some((DeathKind::Panic, Reason::PanicEvent))
            }
            "SHUTDOWN" if by_guest && !self.terms.expects_end => match event.data["reason"].as_str() {
                Some("guest-shutdown") if !state.powerdown => Some((DeathKind::End, Reason::PoweredOff)),
                Some("guest-reset" | "subsystem-reset") => Some((DeathKind::End, Reason::Reset)),
                _ => None,
            },
            "RESET" if !by_guest => {
                state.begin_anew();
                None
            }
            "RESET" => state
                .resets
                .add(Instant::now(), progress)
                .then_some((DeathKind::ResetLoop, Reason::ResetLoop)),
            "WATCHDOG" if event.data["action"] == "pause" => Some((DeathKind::Stop, Reason::Watchdog)),
            _ => None,
        };
        if let Some((kind, reason)) = death {
            let number = state.events[kind as usize];
            state.death.get_or_insert((kind, number, reason));
            self.changed.notify_all();
            drop(state);
            // It refuses a write only when it is readable anyway.
            let _ = rustix::io::write(&self.news, &1u64.to_ne_bytes());
        }
    }

    /// Forgets that there is news, before it is looked at.
    pub(crate) fn hear_news(&self) {
        let _ = rustix::io::read(&self.news, &mut [0; 8]);
    }

    /// Whether an event told of the guest's death, and the waits have not been told.
    pub(crate) fn is_dying(&self) -> bool {
        let state = self.state();
        state.death.is_some() && !state.told
    }

    /// When a guest that is about to die will have said enough.
    pub(crate) fn settles(&self) -> Option<Deadline> {
        let state = self.state();
        let since = state.settling.filter(|_| !state.told)?;
        Some(Deadline::exactly(state.time_to_talk(since)))
    }

    /// The guest's death, once, when it is time to tell of it; `over` says that the machine ends and nothing more
    /// will come. `words` are the last that the guest said.
    pub(crate) fn death(&self, over: bool, words: impl Fn() -> String) -> Option<Death> {
        let mut state = self.state();
        if state.told {
            return None;
        }
        let spoken = state
            .settling
            .is_some_and(|since| over || state.death.is_some() || state.time_to_talk(since).is_zero());
        let death = if spoken {
            state.spoken_death()
        } else {
            let (kind, event, reason) = state.death?;
            Death {
                kind,
                event,
                reason: state.unspoken(reason, &words()),
                output: words(),
            }
        };
        state.told = true;
        // It changes nothing for a test that waits for just this, in whatever way.
        (death.kind != DeathKind::Panic || !self.terms.expect_panic).then_some(death)
    }

    /// Waits until the guest has panicked: true; or until `gone` says that it never will, or the deadline is over.
    pub(crate) fn await_panic(&self, deadline: Deadline, gone: impl Fn() -> bool) -> bool {
        let mut state = self.state();
        while !state.has_panicked() && !deadline.expired() && !gone() {
            let left = deadline.remaining().unwrap_or(Duration::MAX);
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.has_panicked()
    }

    pub(crate) fn expects_panic(&self) -> bool {
        self.terms.expect_panic
    }

    /// Whether QEMU has said that it shuts down: mostly, it is gone the next moment.
    pub(crate) fn saw_shutdown(&self) -> bool {
        self.state().shutdown
    }

    /// When its machine was about to be launched.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// How often the guest has reset itself.
    pub(crate) fn resets(&self) -> u32 {
        self.state().resets.count
    }

    /// What the guest did that fails a test, the worst first. To be asked when the machine has ended.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        let state = self.state();
        if self.terms.expect_panic {
            // What led to the panic, an oops or a lack of memory, is a part of what was expected.
            return if state.has_panicked() {
                Vec::new()
            } else {
                vec![Trouble::new(
                    "the guest did not panic, and was expected to".to_owned(),
                )]
            };
        }
        let mut incidents: Vec<&Incident> = state.incidents.iter().map(|(_, incident)| incident).collect();
        incidents.sort_by_key(|incident| std::cmp::Reverse(incident.severity));
        let mut troubles: Vec<Trouble> = incidents
            .into_iter()
            .map(|incident| Trouble {
                summary: summary(incident),
                words: incident.text(),
                is_panic: incident.severity == Severity::Panic,
            })
            .collect();
        if let (Some(device), false) = (&state.panic_event, state.said(Severity::Panic)) {
            let summary = format!("the guest panicked: {device}");
            let panic = Trouble {
                is_panic: true,
                ..Trouble::new(summary)
            };
            troubles.insert(0, panic);
        }
        if state.left_out > 0 {
            let more = format!("the guest said {} more bad lines", state.left_out);
            troubles.push(Trouble::new(more));
        }
        troubles
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for GuestWatch {
    fn wake(&self) {
        drop(self.state());
        self.changed.notify_all();
    }
}

/// Readable when there is news.
impl AsFd for GuestWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.news.as_fd()
    }
}

#[cfg(test)]
mod tests;
