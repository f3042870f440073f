//! What a failed test says in its first line, and what it says besides. The machines' own fates outrank the body's
//! failure, which mostly is their consequence.

use super::context::TimedOut;
use super::outcome::Outcome;
use crate::machine::Inner;
use crate::report::MachineReport;

/// What is wrong with a test.
#[derive(Debug, Default)]
pub(super) struct Verdict(Vec<String>);

impl Verdict {
    fn add(&mut self, what: String) {
        if !self.0.contains(&what) {
            self.0.push(what);
        }
    }

    /// The cause, and the troubles beside it; `None` for a test that passed.
    pub(super) fn split(mut self) -> Option<(String, Vec<String>)> {
        (!self.0.is_empty()).then(|| (self.0.remove(0), self.0))
    }
}

/// What is known when all machines have ended.
pub(super) struct Facts<'a> {
    pub(super) outcome: &'a Outcome,
    /// Whether the body did what it should not, `#[should_panic]` considered.
    pub(super) body_failed: bool,
    pub(super) timed_out: Option<&'a TimedOut>,
    pub(super) machines: &'a [&'a Inner],
    /// What was seen of them when the body had failed, or its time was over.
    pub(super) evidence: &'a [MachineReport],
    /// Of machines that ended during the test.
    pub(super) others: Vec<String>,
}

impl Facts<'_> {
    pub(super) fn judge(self) -> Verdict {
        let mut verdict = Verdict::default();
        let body = self.body_failed.then(|| self.outcome.cause()).map(|cause| {
            cause.unwrap_or_else(|| "did not panic, although it is marked `#[should_panic]`".to_owned())
        });
        let mut body_told = self.timed_out.is_some();
        if body.is_some() || self.timed_out.is_some() {
            let message = body.as_deref().unwrap_or_default();
            for machine in self.machines {
                if let Some(fate) = machine.fate() {
                    body_told |= fate.is_told_by(message);
                    verdict.add(self.of(machine, fate.told_by(message)));
                }
            }
        }
        // A QEMU that hangs explains every wait that nothing came of.
        let hanging = |report: &&MachineReport| report.threads.is_some() && self.timed_out.is_none();
        for report in self.evidence.iter().filter(hanging) {
            let machine = self
                .machines
                .iter()
                .find(|machine| machine.parts.dir == report.dir);
            if let (Some(machine), Some(seen)) = (machine, &report.verdict) {
                verdict.add(self.of(machine, seen.clone()));
            }
        }
        if let Some(timeout) = self.timed_out {
            verdict.add(timeout.cause());
        }
        if let Some(body) = body.filter(|_| !body_told) {
            verdict.add(body);
        }
        let killed = self.timed_out.is_some();
        for machine in self.machines {
            // Killed because the time was over: its end is no news.
            let troubles = if killed {
                machine.guest_troubles()
            } else {
                machine.troubles()
            };
            // What a fate says, with more words or fewer.
            let fate = machine.fate();
            let news = |trouble: &String| {
                !fate.as_ref().is_some_and(|fate| fate.is_told_by(trouble)) || verdict.0.is_empty()
            };
            let troubles: Vec<String> = troubles.into_iter().filter(news).collect();
            for trouble in troubles {
                if !self.is_told(&verdict, machine, &trouble) {
                    verdict.add(self.of(machine, trouble));
                }
            }
        }
        for other in self.others {
            verdict.add(other);
        }
        verdict
    }

    /// Whether an error of the body that the verdict has tells the same of this machine already.
    fn is_told(&self, verdict: &Verdict, machine: &Inner, trouble: &str) -> bool {
        let end = trouble.strip_suffix(", by itself").unwrap_or(trouble);
        let of_machine = format!("(machine `{}`)", machine.parts.name);
        verdict
            .0
            .iter()
            .any(|told| told.contains(end) && told.contains(&of_machine))
    }

    /// `what`, with the machine's name where there are several.
    fn of(&self, machine: &Inner, what: String) -> String {
        if self.machines.len() == 1 {
            what
        } else {
            format!("machine `{}`: {what}", machine.parts.name)
        }
    }
}
