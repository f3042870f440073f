//! What a guest has said and QEMU told of it so far, and what follows from that: whether it has panicked, how long it may
//! still talk, how it died.

use std::time::{Duration, Instant};

use super::bad_lines::Severity;
use super::incident::Incident;
use super::resets::Resets;
use crate::interrupt::{Death, DeathKind};

/// A guest that panics goes on talking: its death is told when it has been silent for so long …
pub(super) const QUIET: Duration = Duration::from_millis(500);
/// … or so long after its first word on it.
const TALK: Duration = Duration::from_secs(3);

/// All that is remembered of one guest.
#[derive(Default)]
pub(super) struct State {
    /// Each with the number of the console that it came from.
    pub(super) incidents: Vec<(usize, Incident)>,
    pub(super) left_out: usize,
    pub(super) consoles: usize,
    /// What a panic device said.
    pub(super) panic_event: Option<String>,
    /// When the guest first said that it is dead or stands still, until that is told.
    pub(super) settling: Option<Instant>,
    pub(super) resets: Resets,
    /// The host has pressed the power button.
    pub(super) powerdown: bool,
    /// QEMU has said that it shuts down.
    pub(super) shutdown: bool,
    /// How many events have come of each kind.
    pub(super) events: [u64; 4],
    /// What an event told of, and which of its kind: due at once.
    pub(super) death: Option<(DeathKind, u64, Reason)>,
    pub(super) told: bool,
}

/// Why a guest is dead that did not say so itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reason {
    PanicEvent,
    PoweredOff,
    Reset,
    ResetLoop,
    Watchdog,
}

impl State {
    /// The host has reset the guest: whoever does that knows of its death, and the next one is news again.
    pub(super) fn begin_anew(&mut self) {
        (self.settling, self.death, self.told) = (None, None, false);
    }

    pub(super) fn said(&self, severity: Severity) -> bool {
        self.incidents
            .iter()
            .any(|(_, incident)| incident.severity == severity)
    }

    pub(super) fn has_panicked(&self) -> bool {
        self.panic_event.is_some() || self.said(Severity::Panic)
    }

    /// What is left of the time in which a dying guest may talk.
    pub(super) fn time_to_talk(&self, since: Instant) -> Duration {
        let fatal = || {
            self.incidents
                .iter()
                .map(|(_, incident)| incident)
                .filter(|incident| incident.severity != Severity::Flaw)
        };
        if fatal().all(|incident| incident.complete) {
            return Duration::ZERO;
        }
        let silent = fatal().map(|incident| incident.heard().elapsed()).min();
        QUIET
            .saturating_sub(silent.unwrap_or(QUIET))
            .min(TALK.saturating_sub(since.elapsed()))
    }

    /// The death that the guest spoke of itself.
    pub(super) fn spoken_death(&self) -> Death {
        let worst = self
            .incidents
            .iter()
            .map(|(_, incident)| incident)
            .max_by_key(|incident| incident.severity);
        let kind = match worst {
            Some(incident) if incident.severity == Severity::Stop => DeathKind::Stop,
            _ => DeathKind::Panic,
        };
        // The console tells of a panic before the panic device does.
        let event = match self.death {
            Some((told, event, _)) if told == kind => event,
            _ => self.events[kind as usize] + 1,
        };
        Death {
            kind,
            event,
            reason: worst.map(summary).unwrap_or_default(),
            output: worst.map(Incident::text).unwrap_or_default(),
        }
    }

    /// The reason of a death that the guest said nothing of.
    pub(super) fn unspoken(&self, reason: Reason, words: &str) -> String {
        let announced = ["reboot", "Reboot", "Restarting", "restarting"];
        let last = words.lines().rev().find(|line| !line.trim().is_empty());
        let rebooted = last.is_some_and(|last| announced.iter().any(|word| last.contains(word)));
        match reason {
            Reason::PanicEvent => format!(
                "the guest panicked: {}",
                self.panic_event.as_deref().unwrap_or_default()
            ),
            Reason::PoweredOff => "the guest powered off".to_owned(),
            Reason::Reset if rebooted => "the guest rebooted".to_owned(),
            Reason::Reset => "the guest reset itself without a word (as a triple fault does)".to_owned(),
            Reason::ResetLoop if rebooted => {
                format!(
                    "the guest reboots again and again, {} times in a row",
                    self.resets.in_a_row()
                )
            }
            Reason::ResetLoop => format!(
                "the guest resets itself again and again, {} times in a row without a word (as a triple fault does)",
                self.resets.in_a_row()
            ),
            Reason::Watchdog => "the guest was paused by its watchdog".to_owned(),
        }
    }
}

/// An incident in one sentence.
pub(super) fn summary(incident: &Incident) -> String {
    let Incident {
        severity,
        what,
        headline,
        ..
    } = incident;
    match severity {
        Severity::Panic => format!("the guest panicked: {headline}"),
        Severity::Stop => format!("the guest stands still: {headline}"),
        Severity::Flaw => format!("the guest said a bad line ({what}): {headline}"),
    }
}
