//! A second version of QEMU beside the installed one, unpacked under cargo's target directory: the tests run with
//! both.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::apt::{Apt, Planned};
use crate::cargo::BIN_DIR;
use crate::command::{self, Program};
use crate::packages::{self, Manager};
use crate::{paths, ui};

/// The program that stands for all of QEMU where a version is asked.
const QEMU: &str = "qemu-system-x86_64";
/// Packages of QEMU's own: the second version needs them whatever the system has installed.
const OWN: &[&str] = &["qemu-system", "seabios", "ipxe-qemu"];

/// Devices that newer packages have in modules of their own.
const MODULES: &[&str] = &["qemu-system-modules-spice", "qemu-system-modules-opengl"];

/// The version that a QEMU program says it is: `10.0.2`.
pub(crate) fn version(program: &Path) -> Result<String> {
    let text = Program::new(program).arg("--version").output()?;
    let version = text
        .split_whitespace()
        .skip_while(|word| *word != "version")
        .nth(1);
    Ok(version
        .with_context(|| format!("`{}` tells no version", program.display()))?
        .to_owned())
}

/// The version of the installed QEMU.
pub(crate) fn installed() -> Result<String> {
    version(&command::find(QEMU).with_context(|| format!("there is no `{QEMU}` on PATH"))?)
}

/// The version that tests use where nothing else is said: of `QEMU_TEST_BIN_DIR`, else the installed one.
pub(crate) fn in_use() -> Result<String> {
    match std::env::var_os(BIN_DIR).map(|dir| Path::new(&dir).join(QEMU)) {
        Some(program) if program.is_file() => version(&program),
        _ => installed(),
    }
}

/// The folders with programs of other versions than `installed` that setup has unpacked, with their versions.
pub(crate) fn unpacked(installed: &str) -> Vec<(PathBuf, String)> {
    let dirs = fs::read_dir(paths::target())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let name = |dir: &Path| Some(dir.file_name()?.to_str()?.strip_prefix("qemu-")?.to_owned());
    let mut found: Vec<_> = dirs
        .filter_map(|dir| Some((dir.join("usr/bin"), name(&dir)?)))
        .collect();
    found.retain(|(bin, version)| version != installed && bin.join(QEMU).is_file());
    found.sort();
    found
}

/// Unpacks another version of QEMU, when the package sources offer one and none is there yet.
pub(crate) fn setup() -> Result<()> {
    let installed = installed()?;
    if !unpacked(&installed).is_empty() {
        return Ok(());
    }
    if !Manager::find().is_some_and(Manager::is_apt) {
        ui::note("a second version of QEMU is fetched with apt only: the tests run with the installed one");
        return Ok(());
    }
    let apt = Apt::open(packages::host_architecture()?)?;
    for suite in packages::suites() {
        // A suite that offers nothing is no failure as long as another one does.
        let Some(plan) = plan(&apt, &suite, &["qemu-system-x86", "qemu-system-arm"]) else {
            continue;
        };
        let offered = plan
            .iter()
            .find(|package| package.name == "qemu-system-x86")
            .map(Planned::upstream);
        if offered.is_some_and(|offered| !same_release(offered, &installed)) {
            return unpack_second(&apt, plan);
        }
    }
    ui::note(format_args!(
        "the package sources offer no other QEMU than {installed}: the tests run with that one"
    ));
    Ok(())
}

/// What apt would install for `packages` of QEMU from `suite`, with the modules where they are packages. Where a module is
/// missing, QEMU finds the installed version's, which it cannot load: each launch says so, and a list of devices aborts.
pub(crate) fn plan(apt: &Apt, suite: &[String], packages: &[&str]) -> Option<Vec<Planned>> {
    let all: Vec<_> = packages.iter().chain(MODULES).copied().collect();
    let with_modules = apt.plan(suite, &all).ok().filter(|plan| is_one_version(plan));
    with_modules.or_else(|| apt.plan(suite, packages).ok())
}

/// Whether QEMU's own packages are of one version: apt may offer to mix them.
fn is_one_version(plan: &[Planned]) -> bool {
    let mut versions = plan
        .iter()
        .filter(|package| package.name.starts_with("qemu-system"))
        .map(Planned::upstream);
    let first = versions.next();
    versions.all(|version| Some(version) == first)
}

/// Whether two versions share their major and minor number: `7.2` and `7.2.22` do.
fn same_release(a: &str, b: &str) -> bool {
    a.split('.').take(2).eq(b.split('.').take(2))
}

/// Which of the libraries that a QEMU depends on are unpacked with it.
pub(crate) enum Libraries {
    /// Those that the system lacks, and only if the program does not start without them: it needs nearly the same
    /// ones as the installed QEMU.
    IfNeeded,
    /// Those that the system lacks: modules, which nobody misses at the start, need some, too.
    Own,
}

fn unpack_second(apt: &Apt, plan: Vec<Planned>) -> Result<()> {
    ui::line("  not there: a second version of QEMU, for tests only (unpacked under target/, not installed)");
    let tree = unpack(apt, plan, Libraries::IfNeeded)?;
    let version = version(&tree.join("usr/bin").join(QEMU)).context("the unpacked QEMU does not run here")?;
    let place = paths::target().join(format!("qemu-{version}"));
    keep(&tree, &place)?;
    ui::line(format_args!("  QEMU {version} is in `{}`", place.display()));
    Ok(())
}

/// Downloads what apt plans to install for a QEMU and unpacks it into a folder, which the caller is to `keep`.
pub(crate) fn unpack(apt: &Apt, plan: Vec<Planned>, libraries: Libraries) -> Result<PathBuf> {
    let scratch = scratch();
    let _ = fs::remove_dir_all(&scratch);
    let tree = scratch.join("tree");
    let downloads = scratch.join("packages");
    fs::create_dir_all(&tree).with_context(|| format!("cannot create `{}`", tree.display()))?;
    let (own, others): (Vec<_>, Vec<_>) = plan
        .into_iter()
        .partition(|package| OWN.iter().any(|prefix| package.name.starts_with(prefix)));
    apt.fetch(
        &own.iter().map(Planned::exact).collect::<Vec<_>>(),
        &downloads,
        &tree,
    )?;
    let program = tree.join("usr/bin").join(QEMU);
    if matches!(libraries, Libraries::Own) || version(&program).is_err() {
        let present = installed_packages()?;
        let missing: Vec<_> = others
            .iter()
            .filter(|package| !present.contains(&package.name))
            .map(Planned::exact)
            .collect();
        if !missing.is_empty() {
            apt.fetch(&missing, &downloads, &tree)?;
        }
    }
    keep_together(&tree)?;
    Ok(tree)
}

/// Moves what was unpacked to its place.
pub(crate) fn keep(tree: &Path, place: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(place);
    let cannot = || format!("cannot create `{}`", place.display());
    fs::create_dir_all(place.parent().unwrap_or(place)).with_context(cannot)?;
    fs::rename(tree, place).with_context(cannot)?;
    fs::remove_dir_all(scratch())?;
    Ok(())
}

fn scratch() -> PathBuf {
    paths::target().join(".partial-qemu")
}

/// Lets the programs find what was unpacked with them.
///
/// Newer versions look for their modules and firmware where the distribution installs them, and there another version's
/// may be: the modules of another build make QEMU abort. The loader looks for libraries in the system, too. So each program
/// moves to a folder beside its own, and a small script that says where things are takes its place and becomes it. Its name
/// stays what it was: QEMU begins its messages with it.
fn keep_together(tree: &Path) -> Result<()> {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    for folder in ["libexec", "bin"] {
        let programs = tree.join("usr").join(folder);
        let Ok(entries) = fs::read_dir(&programs) else {
            continue;
        };
        // As deep as the first one, because older versions find things from their own place.
        let real = tree.join("usr").join(format!(".{folder}"));
        fs::create_dir_all(&real)?;
        for entry in entries.collect::<Result<Vec<_>, _>>()? {
            let program = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("qemu-system-") || !program.is_file() || program.is_symlink() {
                continue;
            }
            fs::rename(&program, real.join(&name))?;
            // Some programs in `bin` are scripts that start the system's one in `libexec`.
            let folder = match tree.join("usr/.libexec").join(&name).exists() {
                true => "libexec",
                false => folder,
            };
            let script = format!(
                "#!/bin/sh\n# The modules, firmware and libraries of this version lie beside the program.\n\
                 usr=$(dirname \"$(readlink -f \"$0\")\")/..\n\
                 export QEMU_MODULE_DIR=\"${{QEMU_MODULE_DIR:-$usr/lib/{triplet}/qemu}}\"\n\
                 export LD_LIBRARY_PATH=\"$usr/lib/{triplet}:$usr/../lib/{triplet}\"\n\
                 exec \"$usr/.{folder}/{name}\" -L \"$usr/share/qemu\" -L \"$usr/share/seabios\" \"$@\"\n"
            );
            fs::write(&program, script)?;
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// The names of the installed packages.
fn installed_packages() -> Result<HashSet<String>> {
    let query = Program::new("dpkg-query").args(["--show", "--showformat=${Package} ${db:Status-Status}\n"]);
    let table = query.output()?;
    Ok(table
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_one_release_series_count_as_the_same_qemu() {
        assert!(same_release("7.2", "7.2.22"));
        assert!(!same_release("7.2", "10.0.2"));
        assert!(!same_release("10.0.2", "10.1.0"));
    }
}
