//! QEMU's programs for all targets, in every version that the package sources offer: unpacked, not installed.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::apt::{Apt, Planned};
use crate::packages::{self, Manager};
use crate::{other_qemu, paths, ui};

/// All targets.
const TARGETS: &str = "qemu-system";
/// Devices that newer packages have in modules of their own.
const MODULES: &[&str] = &["qemu-system-modules-spice", "qemu-system-modules-opengl"];

/// The trees into which each version is unpacked.
pub(crate) fn trees() -> Result<Vec<PathBuf>> {
    if !Manager::find().is_some_and(Manager::is_apt) {
        bail!("the programs of all targets are fetched with apt only");
    }
    let apt = Apt::open(packages::host_architecture()?)?;
    let mut trees: Vec<PathBuf> = Vec::new();
    for suite in packages::suites() {
        let with_modules = || {
            let packages: Vec<_> = std::iter::once(&TARGETS).chain(MODULES).copied().collect();
            apt.plan(&suite, &packages)
                .ok()
                .filter(|plan| is_one_version(plan))
        };
        let Some(plan) = with_modules().or_else(|| apt.plan(&suite, &[TARGETS]).ok()) else {
            continue;
        };
        let Some(package) = plan.iter().find(|package| package.name == TARGETS) else {
            continue;
        };
        // Without the epoch and its colon, which cannot stand in a search path.
        let version = package.version.rsplit(':').next().unwrap_or_default();
        let place = paths::target().join("schema").join(version);
        if trees.contains(&place) {
            continue;
        }
        if !place.is_dir() {
            ui::line(format_args!(
                "  not there: QEMU {} for all targets (unpacked under target/, not installed)",
                package.upstream()
            ));
            let tree = other_qemu::unpack(&apt, plan, other_qemu::Libraries::Own)?;
            other_qemu::keep(&tree, &place).context("cannot keep what was unpacked")?;
        }
        trees.push(place);
    }
    if trees.is_empty() {
        bail!("the package sources offer no `{TARGETS}`");
    }
    Ok(trees)
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
