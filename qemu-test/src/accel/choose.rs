//! From what a test asks for to what it gets.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use once_cell::sync::OnceCell;

use super::memory::Memory;
use super::probe::{self, Verdict};
use super::{guests, host};

/// The variable that overrides what a test asks for.
const OVERRIDE: &str = "QEMU_TEST_ACCEL";

/// What a machine's processors run on.
///
/// [`MachineBuilder::accel`](crate::MachineBuilder::accel) and `#[qemu_test(accel = ...)]` ask for one. Without either,
/// QEMU's own default holds, which is TCG, or what the arguments say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Accel {
    /// KVM where a guest really runs well under it, else TCG.
    ///
    /// That a host has a `/dev/kvm` which can be opened is no proof: nested in another virtual machine it may abort
    /// QEMU, or run a guest a hundred times slower than TCG does. So a tiny guest of the library's own is run once under
    /// TCG and once under KVM, in about a second. The result is kept below `<target>/qemu-test`, for all tests, until
    /// QEMU, the kernel or the processor changes.
    ///
    /// A guest of another architecture than the host's gets TCG. So does one on a host for which there is no such
    /// tiny guest: today that is any but x86_64 and aarch64.
    Auto,
    /// KVM, or an error that says why it does not work here: the same proof is asked for as with `Auto`.
    Kvm,
    /// TCG: QEMU's own emulator, which works everywhere.
    ///
    /// It runs each processor of a guest on a thread of its own. With two of them, and a host that is busy, about one
    /// boot of Linux in a hundred was seen to fail with QEMU 10.0, which aborted or lost an interrupt. Where a test
    /// does not need them at the same time, `args = ["-accel", "tcg,thread=single"]` lets them take turns instead.
    Tcg,
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

/// What a machine runs on, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) kvm: bool,
    pub(crate) why: String,
}

impl Choice {
    /// The accelerator's name for QEMU.
    pub(crate) fn name(&self) -> &'static str {
        if self.kvm { "kvm" } else { "tcg" }
    }

    /// What a machine of `program` gets whose test asks for `wanted`; or why it cannot have that.
    pub(crate) fn of(wanted: Accel, program: &Path, qtest: bool) -> Result<Self, String> {
        let insisted = insisted(std::env::var(OVERRIDE).ok().as_deref())?;
        let foreign = host::cannot_have(program);
        let terms = Terms {
            wanted,
            insisted,
            qtest,
            foreign,
        };
        terms.choose(|| works(program))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.why)
    }
}

/// What the variable says.
fn insisted(variable: Option<&str>) -> Result<Option<Accel>, String> {
    match variable {
        None | Some("") => Ok(None),
        Some("auto") => Ok(Some(Accel::Auto)),
        Some("kvm") => Ok(Some(Accel::Kvm)),
        Some("tcg") => Ok(Some(Accel::Tcg)),
        Some(other) => Err(format!(
            "{OVERRIDE} is `{other}`, and may be `auto`, `kvm` or `tcg`"
        )),
    }
}

/// All that has a say.
struct Terms {
    wanted: Accel,
    insisted: Option<Accel>,
    qtest: bool,
    /// Why KVM is out of the question for this program.
    foreign: Option<String>,
}

impl Terms {
    fn choose(&self, works: impl FnOnce() -> Verdict) -> Result<Choice, String> {
        let (accel, by) = match self.insisted {
            Some(accel) => (accel, format!("{OVERRIDE}={accel}")),
            None => (self.wanted, format!("`accel = {accel}`", accel = self.wanted)),
        };
        let choice = |kvm, why: &str| {
            Ok(Choice {
                kvm,
                why: format!("{by}; {why}"),
            })
        };
        let out_of_question = match (&self.foreign, self.qtest) {
            (_, true) => Some("no processor of a machine with qtest runs".to_owned()),
            (foreign, false) => foreign.clone(),
        };
        if accel == Accel::Tcg {
            return Ok(Choice { kvm: false, why: by });
        }
        if let Some(why) = out_of_question {
            // Whoever insists on KVM for a whole suite means the machines that could have it.
            if self.wanted == Accel::Kvm {
                return Err(format!("`accel = kvm` is impossible here: {why}"));
            }
            return choice(false, &why);
        }
        let verdict = works();
        match (verdict.works, accel) {
            (true, _) => choice(true, &verdict.reason),
            (false, Accel::Kvm) => Err(format!("{by}, and KVM does not work here: {}", verdict.reason)),
            (false, _) => choice(false, &format!("KVM does not work here: {}", verdict.reason)),
        }
    }
}

/// Whether `program` runs a guest well under KVM: as this process has seen, as an earlier one has, or by trying.
fn works(program: &Path) -> Verdict {
    type Known = BTreeMap<PathBuf, Arc<OnceCell<Verdict>>>;
    static KNOWN: Mutex<Known> = Mutex::new(BTreeMap::new());
    // Costs nothing, and may change while a result is remembered.
    if let Some(reason) = host::closed() {
        return Verdict { works: false, reason };
    }
    let Some(guest) = guests::of_host() else {
        let reason = format!(
            "the library has no guest to try it with on {}",
            std::env::consts::ARCH
        );
        return Verdict { works: false, reason };
    };
    let cell = {
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(program.to_owned()).or_default())
    };
    // What could not be tried may be possible the next time.
    let tried = cell.get_or_try_init(|| Memory::of(program).recall_or(|| probe::probe(program, &guest)));
    tried.cloned().unwrap_or_else(|error| Verdict {
        works: false,
        reason: format!("it could not be tried: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(wanted: Accel) -> Terms {
        Terms {
            wanted,
            insisted: None,
            qtest: false,
            foreign: None,
        }
    }

    fn verdict(works: bool) -> Verdict {
        let reason = "a guest said so".to_owned();
        Verdict { works, reason }
    }

    #[test]
    fn auto_takes_what_works_and_kvm_insists() {
        let chosen = |wanted, works| {
            terms(wanted)
                .choose(|| verdict(works))
                .map(|choice| choice.to_string())
        };
        assert_eq!(
            chosen(Accel::Auto, true).unwrap(),
            "kvm: `accel = auto`; a guest said so"
        );
        assert_eq!(
            chosen(Accel::Auto, false).unwrap(),
            "tcg: `accel = auto`; KVM does not work here: a guest said so"
        );
        assert!(chosen(Accel::Kvm, true).unwrap().starts_with("kvm: "));
        assert_eq!(
            chosen(Accel::Kvm, false).unwrap_err(),
            "`accel = kvm`, and KVM does not work here: a guest said so"
        );
        let tcg = terms(Accel::Tcg).choose(|| unreachable!("nobody asked for KVM"));
        assert_eq!(tcg.unwrap().to_string(), "tcg: `accel = tcg`");
    }

    #[test]
    fn the_variable_overrides_the_test() {
        let chosen = |wanted, insisted, works| {
            let insisted = Some(insisted);
            let terms = Terms {
                insisted,
                ..terms(wanted)
            };
            terms.choose(|| verdict(works)).map(|choice| choice.kvm)
        };
        assert_eq!(chosen(Accel::Kvm, Accel::Tcg, true), Ok(false));
        assert_eq!(chosen(Accel::Tcg, Accel::Kvm, true), Ok(true));
        assert_eq!(chosen(Accel::Kvm, Accel::Auto, false), Ok(false));
        let error = chosen(Accel::Auto, Accel::Kvm, false).unwrap_err();
        assert!(
            error.starts_with("QEMU_TEST_ACCEL=kvm, and KVM does not work here"),
            "{error}"
        );
        assert!(insisted(Some("hvf")).is_err());
        assert_eq!(insisted(Some("")), Ok(None));
    }

    #[test]
    fn a_machine_that_cannot_have_kvm_gets_tcg_unless_its_test_insists() {
        for (qtest, foreign) in [(true, None), (false, Some("it is for riscv64".to_owned()))] {
            let chosen = |wanted, insisted| {
                let terms = Terms {
                    wanted,
                    insisted,
                    qtest,
                    foreign: foreign.clone(),
                };
                terms
                    .choose(|| unreachable!("KVM is out of the question"))
                    .map(|choice| choice.kvm)
            };
            assert_eq!(chosen(Accel::Auto, None), Ok(false));
            assert_eq!(chosen(Accel::Auto, Some(Accel::Kvm)), Ok(false));
            assert!(chosen(Accel::Kvm, None).is_err());
        }
    }
}
