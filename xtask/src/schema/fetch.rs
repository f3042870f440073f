//! QEMU's programs for all targets, in every version that the package sources offer: unpacked, not installed.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::apt::Apt;
use crate::packages::{self, Manager};
use crate::{other_qemu, paths, ui};

/// All targets.
const TARGETS: &str = "qemu-system";

/// The trees into which each version is unpacked.
pub(crate) fn trees() -> Result<Vec<PathBuf>> {
    if !Manager::find().is_some_and(Manager::is_apt) {
        bail!("the programs of all targets are fetched with apt only");
    }
    let apt = Apt::open(packages::host_architecture()?)?;
    let mut trees: Vec<PathBuf> = Vec::new();
    for suite in packages::suites() {
        let Some(plan) = other_qemu::plan(&apt, &suite, &[TARGETS]) else {
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
