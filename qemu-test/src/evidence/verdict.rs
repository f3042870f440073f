//! What the guest does, in one line that a person understands: `the guest has been silent for 58 s, both CPUs halted`.

use std::time::{Duration, Instant};

use super::cpus::{Cpu, Doing};
use crate::error::seconds;

/// A guest that has said something within this time is talking.
const TALKING: Duration = Duration::from_secs(3);

/// What is known of a guest.
pub(super) struct Guest<'a> {
    /// QEMU's run state.
    pub(super) state: &'a str,
    pub(super) cpus: &'a [Cpu],
    pub(super) has_console: bool,
    pub(super) last_words: Option<Instant>,
    pub(super) launched: Instant,
    pub(super) resets: u32,
}

impl Guest<'_> {
    pub(super) fn verdict(&self, now: Instant) -> Option<String> {
        let doing = match self.state {
            "running" => cpus(self.cpus),
            state => Some(stopped(state)),
        };
        let parts: Vec<String> = [self.words(now), doing, self.rebooting()]
            .into_iter()
            .flatten()
            .collect();
        let told = parts.join(", ");
        // The guest is named once, at the beginning.
        let told = match (told.strip_prefix("its "), told.strip_prefix("it ")) {
            (Some(rest), _) => format!("the guest's {rest}"),
            (_, Some(rest)) => format!("the guest {rest}"),
            _ => told,
        };
        (!told.is_empty()).then_some(told)
    }

    fn words(&self, now: Instant) -> Option<String> {
        if !self.has_console {
            return None;
        }
        Some(match self.last_words {
            None => format!(
                "the guest has said nothing since its launch {} ago",
                seconds(now.duration_since(self.launched))
            ),
            Some(last) => match now.duration_since(last) {
                silent if silent < TALKING => "the guest still talks".to_owned(),
                silent => format!("the guest has been silent for {}", seconds(silent)),
            },
        })
    }

    fn rebooting(&self) -> Option<String> {
        match self.resets {
            0 => None,
            1 => Some("it has reset itself once".to_owned()),
            times => Some(format!("it has reset itself {times} times")),
        }
    }
}

/// A run state in which no processor runs (`RunState` of QEMU's `run-state.json`).
fn stopped(state: &str) -> String {
    match state {
        "prelaunch" => "its CPUs were never started (`-S`)".to_owned(),
        "paused" => "its CPUs are paused".to_owned(),
        "shutdown" => "it is powered off".to_owned(),
        "io-error" => "its CPUs are stopped because of an I/O error".to_owned(),
        "internal-error" => "its CPUs are stopped because of an error in the accelerator".to_owned(),
        "guest-panicked" => "it is stopped because it panicked".to_owned(),
        "watchdog" => "it is stopped by its watchdog".to_owned(),
        "inmigrate" => "it waits for a migration to come in".to_owned(),
        "suspended" => "it is suspended".to_owned(),
        other => format!("its CPUs do not run ({other})"),
    }
}

fn cpus(cpus: &[Cpu]) -> Option<String> {
    let for_good = |cpu: &Cpu| matches!(cpu.doing, Doing::Halted { for_good: true });
    let halted = |cpu: &&Cpu| matches!(cpu.doing, Doing::Halted { .. });
    let all = match cpus.len() {
        0 => return None,
        1 => "its CPU is".to_owned(),
        2 => "both CPUs are".to_owned(),
        number => format!("all {number} CPUs are"),
    };
    let busy: Vec<&Cpu> = cpus.iter().filter(|cpu| !halted(cpu)).collect();
    let waiting = cpus.len() - busy.len();
    if busy.is_empty() {
        // A processor that was never started looks the same, so that one alone says nothing.
        let how = if cpus.iter().all(for_good) {
            " for good (interrupts are off)"
        } else {
            ""
        };
        return Some(format!("{all} halted{how}"));
    }
    let named = |cpu: &Cpu| {
        if cpus.len() == 1 {
            "its CPU".to_owned()
        } else {
            format!("CPU {}", cpu.number)
        }
    };
    let mut told: Vec<String> = busy
        .iter()
        .take(4)
        .map(|cpu| format!("{} is {}", named(cpu), busy_at(cpu)))
        .collect();
    if busy.len() > told.len() {
        told.push(format!("{} more are busy", busy.len() - told.len()));
    }
    match (waiting, cpus.len()) {
        (0, _) => {}
        (1, _) => told.push("the other is halted".to_owned()),
        (waiting, _) => told.push(format!("the other {waiting} are halted")),
    }
    Some(told.join(", "))
}

fn busy_at(cpu: &Cpu) -> String {
    match cpu.doing {
        Doing::Busy {
            first: Some(first),
            second: Some(second),
        } if first == second => format!("busy at {first:#x}"),
        Doing::Busy {
            first: Some(first),
            second: Some(second),
        } => format!("busy, at {first:#x} and then at {second:#x}"),
        _ => "busy".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALTED: Doing = Doing::Halted { for_good: false };
    const DEAD: Doing = Doing::Halted { for_good: true };

    fn busy(first: u64, second: u64) -> Doing {
        Doing::Busy {
            first: Some(first),
            second: Some(second),
        }
    }

    fn verdict(state: &str, doing: &[Doing], silent: Option<u64>) -> String {
        let cpus: Vec<Cpu> = doing
            .iter()
            .enumerate()
            .map(|(number, doing)| Cpu {
                number,
                doing: doing.clone(),
            })
            .collect();
        let (launched, now) = (Instant::now(), Instant::now() + Duration::from_secs(100));
        let guest = Guest {
            state,
            cpus: &cpus,
            has_console: true,
            last_words: silent.map(|silent| now - Duration::from_secs(silent)),
            launched,
            resets: 0,
        };
        guest.verdict(now).unwrap()
    }

    #[test]
    fn what_the_processors_do_is_told_in_few_words() {
        for (doing, told) in [
            (&[DEAD][..], "its CPU is halted for good (interrupts are off)"),
            (&[HALTED, DEAD], "both CPUs are halted"),
            (&[HALTED, HALTED, HALTED], "all 3 CPUs are halted"),
            (&[busy(0x7c00, 0x7c00)], "its CPU is busy at 0x7c00"),
            (&[busy(0x10, 0x20)], "its CPU is busy, at 0x10 and then at 0x20"),
            (
                &[HALTED, busy(16, 16)],
                "CPU 1 is busy at 0x10, the other is halted",
            ),
            (
                &[busy(1, 1), HALTED, HALTED],
                "CPU 0 is busy at 0x1, the other 2 are halted",
            ),
        ] {
            assert_eq!(
                verdict("running", doing, Some(58)),
                format!("the guest has been silent for 58 s, {told}")
            );
        }
    }

    #[test]
    fn a_guest_that_talks_or_never_did_or_does_not_run_is_told_so() {
        assert_eq!(
            verdict("running", &[HALTED], Some(1)),
            "the guest still talks, its CPU is halted"
        );
        assert!(verdict("prelaunch", &[HALTED], None).starts_with(
            "the guest has said nothing since its launch 100 s ago, its CPUs were never started"
        ));
        assert!(verdict("guest-panicked", &[], Some(9)).ends_with("it is stopped because it panicked"));
        let nothing = Guest {
            state: "running",
            cpus: &[],
            has_console: false,
            last_words: None,
            launched: Instant::now(),
            resets: 0,
        };
        assert_eq!(nothing.verdict(Instant::now()), None);
        let paused = Guest {
            state: "paused",
            ..nothing
        };
        assert_eq!(
            paused.verdict(Instant::now()).unwrap(),
            "the guest's CPUs are paused"
        );
    }
}
