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
        let Ok(plan) = apt.plan(&suite, &["qemu-system-x86", "qemu-system-arm"]) else {
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
            find_libraries(&tree)?;
        }
    }
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

/// Lets the programs find libraries that were unpacked with them because the system lacks them.
///
/// QEMU finds its firmware from its own place, but the loader does not find libraries there: where there are any,
/// each program is started by a small script that says so, and that becomes the program.
fn find_libraries(tree: &Path) -> Result<()> {
    let triplet = format!("{}-linux-gnu", std::env::consts::ARCH);
    let is_library = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().contains(".so");
    let folders = [format!("usr/lib/{triplet}"), format!("lib/{triplet}")];
    let has_libraries = |folder: &String| {
        fs::read_dir(tree.join(folder))
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| is_library(&entry))
    };
    if !folders.iter().any(has_libraries) {
        return Ok(());
    }
    // Some of the programs are scripts that start one in the second folder.
    let programs = ["usr/bin", "usr/libexec"]
        .into_iter()
        .filter_map(|folder| fs::read_dir(tree.join(folder)).ok());
    for entry in programs.flatten() {
        let program = entry?.path();
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.starts_with("qemu-system-") || !program.is_file() || program.is_symlink() {
            continue;
        }
        let real = program.with_file_name(format!(".{name}"));
        fs::rename(&program, &real)?;
        let [first, second] = &folders;
        let script = format!(
            "#!/bin/sh\n# The libraries that this system lacks lie beside the program.\n\
             tree=$(dirname \"$(readlink -f \"$0\")\")/../..\n\
             LD_LIBRARY_PATH=\"$tree/{first}:$tree/{second}\" exec \"$(dirname \"$0\")/.{name}\" \"$@\"\n"
        );
        fs::write(&program, script)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
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
