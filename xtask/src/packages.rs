//! QEMU from the distribution's packages, installed into the system: which packages, by which manager, and what to
//! do by hand where that fails.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::apt::{Apt, list};
use crate::command::{self, Program};
use crate::ui;

/// The programs of QEMU that the tests start, and what they need beside them.
const PROGRAMS: &[&str] = &["qemu-system-x86_64", "qemu-system-aarch64", "qemu-img"];

/// What the project's own tests start beside QEMU and is not on every system: programs whose packages have their name.
const TOOLS: &[&str] = &["strace"];

/// A package manager with its names for QEMU's packages.
pub(crate) struct Manager {
    /// The program by which it is recognised.
    pub(crate) program: &'static str,
    install: &'static [&'static str],
    qemu: &'static [&'static str],
}

const MANAGERS: &[Manager] = &[
    Manager {
        program: "apt-get",
        install: &["install", "--yes", "--no-install-recommends"],
        qemu: &["qemu-system-x86", "qemu-system-arm", "qemu-utils"],
    },
    Manager {
        program: "dnf",
        install: &["install", "--assumeyes", "--setopt=install_weak_deps=False"],
        qemu: &["qemu-system-x86-core", "qemu-system-aarch64-core", "qemu-img"],
    },
    Manager {
        program: "pacman",
        install: &["-S", "--needed", "--noconfirm"],
        qemu: &["qemu-system-x86", "qemu-system-aarch64", "qemu-img"],
    },
    Manager {
        program: "zypper",
        install: &["--non-interactive", "install", "--no-recommends"],
        qemu: &["qemu-x86", "qemu-arm", "qemu-tools"],
    },
    Manager {
        program: "apk",
        install: &["add", "--update-cache"],
        qemu: &["qemu-system-x86_64", "qemu-system-aarch64", "qemu-img"],
    },
];

impl Manager {
    /// The manager of this system, where it is one of those known here.
    pub(crate) fn find() -> Option<&'static Manager> {
        MANAGERS
            .iter()
            .find(|manager| command::find(manager.program).is_some())
    }

    pub(crate) fn is_apt(&self) -> bool {
        self.program == "apt-get"
    }

    /// The command that installs `packages`, for root.
    fn install(&self, packages: &[&str]) -> Program {
        Program::new(self.program).args(self.install).args(packages)
    }

    /// Installs `packages`, in which `what` is.
    fn run(&self, what: &str, packages: &[&str]) -> Result<()> {
        ui::line(format_args!(
            "  installing into the system, with {}: {}",
            self.program,
            packages.join(", ")
        ));
        if self.is_apt() {
            return install_with_apt(self, what, packages);
        }
        let install = self.install(packages);
        let by_hand = by_hand(what, &install);
        install
            .with_root()
            .and_then(|install| install.step(&format!("installing {}", packages.join(", ")), Path::new("/")))
            .context(by_hand)
    }
}

/// What the user is to do where this program cannot.
fn by_hand(what: &str, command: impl std::fmt::Display) -> String {
    format!("{what} is not installed; by hand, as root, and then this again:\n    {command}")
}

/// Which of QEMU's programs are not there, or do not start.
pub(crate) fn missing() -> Vec<&'static str> {
    PROGRAMS
        .iter()
        .copied()
        .filter(|program| flaw(program).is_some())
        .collect()
}

/// What is wrong with a program. An installation that was cut short may leave one without its libraries.
fn flaw(program: &str) -> Option<String> {
    let Some(path) = command::find(program) else {
        return Some(format!("there is no `{program}` on PATH"));
    };
    let version = Program::new(path).arg("--version").output();
    version.err().map(|error| format!("{error:#}"))
}

/// Installs QEMU, of which `missing` is not there.
pub(crate) fn install_qemu(missing: &[&str]) -> Result<()> {
    let Some(manager) = Manager::find() else {
        let known: Vec<&str> = MANAGERS.iter().map(|manager| manager.program).collect();
        bail!(
            "there is none of the package managers {}: install QEMU's {} by hand, then run this again",
            known.join(", "),
            missing.join(", ")
        );
    };
    ui::line(format_args!("  not there: {}", missing.join(", ")));
    manager.run("QEMU", manager.qemu)?;
    if let Some(flaw) = missing.iter().find_map(|program| flaw(program)) {
        bail!("QEMU's packages are installed, and yet: {flaw}");
    }
    Ok(())
}

/// Installs what the project's own tests need besides.
pub(crate) fn install_tools() -> Result<()> {
    for tool in TOOLS.iter().filter(|tool| command::find(tool).is_none()) {
        ui::line(format_args!("  not there: {tool}, which some tests start"));
        let manager = Manager::find().context("there is no package manager that is known here")?;
        manager.run(tool, &[tool])?;
    }
    Ok(())
}

/// Installs with lists of packages of our own, so that it works on a system whose lists are empty or old, and with
/// the backports where nothing else fits.
fn install_with_apt(manager: &Manager, what: &str, packages: &[&str]) -> Result<()> {
    let apt = Apt::open(host_architecture()?)?;
    // apt refuses everything while an earlier run of dpkg, cut short, has left its journal.
    if fs::read_dir("/var/lib/dpkg/updates").is_ok_and(|mut journal| journal.next().is_some()) {
        let repair = Program::new("dpkg").args(["--configure", "-a"]);
        let by_hand =
            format!("an installation was cut short; by hand, as root, and then this again:\n    {repair}");
        let label = "finishing an interrupted installation (dpkg --configure -a)";
        repair
            .with_root()
            .and_then(|repair| repair.step(label, Path::new("/")))
            .context(by_hand)?;
    }
    let mut refusals = Vec::new();
    for suite in suites() {
        let install = |simulate: &[&str]| {
            let program = Program::new("apt-get").args(["--quiet", "-o", "DPkg::Lock::Timeout=120"]);
            program
                .called("apt-get install")
                .args(apt.system_options())
                .args(simulate)
                .args(&suite)
                .args(manager.install)
                .args(packages)
        };
        match install(&["--simulate"]).output() {
            Ok(plan) => {
                let new: Vec<&str> = plan
                    .lines()
                    .filter_map(|line| line.strip_prefix("Inst "))
                    .collect();
                let names: Vec<&str> = new.iter().filter_map(|line| line.split(' ').next()).collect();
                ui::line(format_args!("  with what they depend on: {}", list(&names)));
                let label = format!("installing {}", packages.join(", "));
                // The release's own packages need none of what makes our command long.
                let by_hand = if suite.is_empty() {
                    by_hand(
                        what,
                        format_args!("apt-get update && {}", manager.install(packages)),
                    )
                } else {
                    by_hand(what, install(&[]))
                };
                let installed = install(&[])
                    .with_root()
                    .and_then(|install| install.step(&label, Path::new("/")));
                apt.tidy();
                return installed.context(by_hand);
            }
            Err(refusal) => refusals.push(format!("{refusal:#}")),
        }
    }
    let by_hand = manager.install(packages);
    bail!(
        "apt finds no way to install {what}; by hand, as root: {by_hand}\n{}",
        refusals.join("\n")
    )
}

/// From where to take QEMU, as options of apt, the most natural first.
///
/// A system that has `qemu-utils` from the backports refuses its own release's QEMU, which that version breaks: then
/// all of QEMU has to come from the backports, in that version or, where it is no longer offered, in a newer one.
pub(crate) fn suites() -> Vec<Vec<String>> {
    let mut suites = vec![Vec::new()];
    suites.extend(crate::apt::backports_suite().map(|suite| vec![String::from("--target-release"), suite]));
    suites
}

/// This machine's architecture in Debian's spelling.
pub(crate) fn host_architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("this machine's architecture, `{other}`, is not known to `cargo xtask setup`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_missing_that_is_not_there_or_does_not_start() {
        assert_eq!(flaw("true"), None);
        // It ends with 1 whatever it is asked, as a program does that lacks a library.
        assert!(flaw("false").is_some_and(|flaw| flaw.contains("failed")));
        assert!(flaw("no-such-program").is_some_and(|flaw| flaw.contains("PATH")));
    }
}
