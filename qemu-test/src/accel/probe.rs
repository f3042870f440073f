//! The trial: the same guest under TCG and under KVM, timed.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use super::guests::{LETTER, ProbeGuest};
use crate::command_line::escaped;
use crate::deadline::Deadline;
use crate::error::seconds;
use crate::exit;
use crate::process::{Process, Scratch, Spec};

/// How long the guest may take under TCG: it takes a tenth of a second on an idle host.
const TCG_LIMIT: Duration = Duration::from_secs(20);

/// How long it may take under KVM where TCG gave no measure.
const KVM_LIMIT: Duration = Duration::from_secs(5);

/// What KVM may take beyond twice TCG's time: starting a program takes longer now and then.
const KVM_GRACE: Duration = Duration::from_millis(500);

/// How long what is left of a trial may take to be gone.
const SWEEP: Duration = Duration::from_secs(3);

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Verdict {
    pub(super) works: bool,
    /// Why, in a sentence without a full stop.
    pub(super) reason: String,
}

/// Whether `program` runs `guest` well under KVM.
pub(super) fn probe(program: &Path, guest: &ProbeGuest) -> io::Result<Verdict> {
    let trial = Trial::new(program, guest)?;
    let mut verdict = trial.compare()?;
    if !verdict.works && verdict.by_time {
        // A busy host may have been in the way. It is unlikely to be so again, and the verdict is for long.
        verdict = trial.compare()?;
    }
    Ok(verdict.verdict())
}

/// One comparison.
struct Compared {
    works: bool,
    /// Nothing but the time speaks against it.
    by_time: bool,
    reason: String,
}

impl Compared {
    fn verdict(self) -> Verdict {
        Verdict {
            works: self.works,
            reason: self.reason,
        }
    }
}

/// How one run of the guest ended.
#[derive(Debug)]
enum Run {
    /// As it should, in this time.
    Well(Duration),
    /// Not within this time.
    TooSlow(Duration),
    /// In another way.
    Badly(String),
}

struct Trial<'p> {
    program: &'p Path,
    machine: &'static str,
    folder: tempfile::TempDir,
}

impl<'p> Trial<'p> {
    fn new(program: &'p Path, guest: &ProbeGuest) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("qemu-test-accel-").tempdir()?;
        fs::write(folder.path().join("firmware"), &guest.firmware)?;
        Ok(Self {
            program,
            machine: guest.machine,
            folder,
        })
    }

    fn compare(&self) -> io::Result<Compared> {
        let tcg = self.run("tcg", Deadline::after(TCG_LIMIT))?;
        let limit = match tcg {
            Run::Well(time) => 2 * time + KVM_GRACE,
            _ => KVM_LIMIT,
        };
        let kvm = self.run("kvm", Deadline::exactly(limit))?;
        log::debug!(
            "the trial of {}: TCG {tcg:?}, KVM {kvm:?}",
            self.program.display()
        );
        Ok(judge(&tcg, &kvm))
    }

    /// Runs the guest under `accel`.
    fn run(&self, accel: &str, deadline: Deadline) -> io::Result<Run> {
        let file = |name: &str| self.folder.path().join(name);
        let (said, log) = (file("said"), file("log"));
        fs::write(&said, "")?;
        let chardev = {
            let mut chardev = std::ffi::OsString::from("file,id=said,path=");
            chardev.push(escaped(said.as_os_str()));
            chardev
        };
        let mut argv: Vec<std::ffi::OsString> = vec![self.program.into(), "-accel".into(), accel.into()];
        argv.extend(["-machine", self.machine, "-cpu", "max", "-m", "64"].map(Into::into));
        argv.extend(["-nodefaults", "-display", "none", "-no-reboot"].map(Into::into));
        argv.extend([
            "-chardev".into(),
            chardev,
            "-serial".into(),
            "chardev:said".into(),
        ]);
        argv.extend(["-bios".into(), file("firmware").into()]);
        let began = Instant::now();
        let process = Process::spawn(Spec {
            argv,
            env: Vec::new(),
            cwd: None,
            output: File::create(&log)?.into(),
            fds: Vec::new(),
            scratch: std::path::absolute(self.folder.path())
                .ok()
                .map(|path| Scratch { path, made: true }),
        })?;
        let status = process.wait(deadline);
        let time = began.elapsed();
        process.kill();
        process.finish(Deadline::exactly(SWEEP));
        let Some(status) = status else {
            return Ok(Run::TooSlow(time));
        };
        if status.success() && fs::read(&said)? == [LETTER] {
            return Ok(Run::Well(time));
        }
        let log = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        Ok(Run::Badly(told(status, &log)))
    }
}

/// How QEMU ended, with its last words.
fn told(status: ExitStatus, log: &str) -> String {
    let last = log.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let last = last.map_or_else(String::new, |line| format!(": `{line}`"));
    format!("QEMU {}{last}", exit::describe(status))
}

fn judge(tcg: &Run, kvm: &Run) -> Compared {
    let under_tcg = match tcg {
        Run::Well(time) => format!("{} under TCG", seconds(*time)),
        Run::TooSlow(time) => format!("more than {} under TCG", seconds(*time)),
        Run::Badly(why) => format!("no guest at all under TCG, where {why}"),
    };
    let (works, by_time, reason) = match kvm {
        Run::Well(time) => (
            true,
            false,
            format!("a tiny guest took {} under KVM, and {under_tcg}", seconds(*time)),
        ),
        Run::TooSlow(time) => (
            false,
            true,
            format!(
                "a tiny guest had not ended after {} under KVM, and took {under_tcg}",
                seconds(*time)
            ),
        ),
        Run::Badly(why) => (false, false, format!("with a tiny guest {why}")),
    };
    Compared {
        works,
        by_time,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accel::guests;
    use crate::locate::{Program, Surroundings, locate};

    #[test]
    fn the_guests_say_their_letter_and_end_under_tcg() {
        for (arch, guest) in guests::all() {
            let program = locate(&Program::Arch(arch.into()), &Surroundings::of_this_process()).unwrap();
            let trial = Trial::new(&program, &guest).unwrap();
            let run = trial
                .run("tcg", Deadline::exactly(Duration::from_secs(60)))
                .unwrap();
            assert!(matches!(run, Run::Well(_)), "{arch}: {run:?}");
        }
    }

    #[test]
    fn an_accelerator_that_qemu_refuses_is_told_in_its_words() {
        let [(arch, guest), _] = guests::all();
        let program = locate(&Program::Arch(arch.into()), &Surroundings::of_this_process()).unwrap();
        let trial = Trial::new(&program, &guest).unwrap();
        let run = trial
            .run("no-such", Deadline::exactly(Duration::from_secs(60)))
            .unwrap();
        assert!(
            matches!(&run, Run::Badly(why) if why.contains("exited with status 1: `") && why.contains("no-such")),
            "{run:?}"
        );
        // And what does not end is ended.
        let run = trial
            .run("tcg", Deadline::exactly(Duration::from_millis(1)))
            .unwrap();
        assert!(matches!(run, Run::TooSlow(_)), "{run:?}");
    }

    #[test]
    fn kvm_works_where_the_guest_ended_well_and_in_time() {
        let ms = Duration::from_millis;
        let good = judge(&Run::Well(ms(400)), &Run::Well(ms(100)));
        assert!(good.works);
        assert_eq!(
            good.reason,
            "a tiny guest took 100 ms under KVM, and 400 ms under TCG"
        );
        let slow = judge(&Run::Well(ms(400)), &Run::TooSlow(ms(1300)));
        assert!(!slow.works && slow.by_time);
        assert_eq!(
            slow.reason,
            "a tiny guest had not ended after 1.3 s under KVM, and took 400 ms under TCG"
        );
        let bad = judge(&Run::Well(ms(400)), &Run::Badly("QEMU was killed".into()));
        assert!(!bad.works && !bad.by_time);
        // A build without TCG has nothing to compare with.
        assert!(judge(&Run::Badly("no TCG".into()), &Run::Well(ms(100))).works);
    }
}
