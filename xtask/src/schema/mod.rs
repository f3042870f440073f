//! `cargo xtask schema`: the table of names that `qmp!` is compiled with, made of what QEMU says of itself.

mod fetch;
#[path = "../../../qemu-test-macros/src/qmp/schema/live.rs"]
mod live;
#[path = "../../../qemu-test-macros/src/qmp/schema/table/mod.rs"]
#[expect(dead_code, reason = "looking names up is the macro's business")]
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::ui::Step;
use crate::{paths, ui};

/// What to do with the schemas.
pub(crate) enum Task {
    /// Write the macro's table.
    Write,
    /// See that it is the table that these sources give.
    Check,
    /// Print the dumps of these programs.
    Dump(Vec<PathBuf>),
}

impl Task {
    /// Reads what stands after `schema`.
    pub(crate) fn read(arguments: &mut lexopt::Parser) -> Result<Task> {
        use lexopt::prelude::*;

        let mut task = Task::Write;
        while let Some(argument) = arguments.next()? {
            task = match (argument, task) {
                (Long("check"), Task::Write) => Task::Check,
                (Long("dump"), Task::Write) => Task::Dump(Vec::new()),
                (Value(program), Task::Dump(mut programs)) => {
                    programs.push(program.into());
                    Task::Dump(programs)
                }
                (other, _) => return Err(other.unexpected().into()),
            };
        }
        Ok(task)
    }
}

pub(crate) fn run(task: &Task) -> Result<()> {
    match task {
        Task::Dump(programs) if programs.is_empty() => bail!("`--dump` needs the paths of QEMU's programs"),
        Task::Dump(programs) => programs.iter().try_for_each(|program| {
            let told = ask(program)?;
            for (device, why) in &told.fatal {
                ui::remark(format_args!(
                    "`{}` has no answer for {device}: {why}",
                    program.display()
                ));
            }
            ui::line(told.dump);
            Ok(())
        }),
        Task::Write => {
            let (file, made) = (table_file(), make()?);
            fs::write(&file, &made).with_context(|| format!("cannot write `{}`", file.display()))?;
            ui::line(format_args!("  {} bytes in `{}`", made.len(), file.display()));
            Ok(())
        }
        Task::Check => {
            let (file, made) = (table_file(), make()?);
            let there =
                fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
            if made != there {
                let line = made
                    .lines()
                    .zip(there.lines())
                    .take_while(|(a, b)| a == b)
                    .count()
                    + 1;
                bail!(
                    "`{}` differs from what these programs say, from line {line} on",
                    file.display()
                );
            }
            ui::line(format_args!("  `{}` is what these programs say", file.display()));
            Ok(())
        }
    }
}

fn table_file() -> PathBuf {
    paths::workspace().join("qemu-test-macros/src/qmp/schema/table.txt")
}

/// The table of all programs that the package sources offer.
fn make() -> Result<String> {
    ui::line("schema");
    let mut tables = Vec::new();
    let mut seen = BTreeSet::new();
    for tree in fetch::trees()? {
        let mut step = Step::start(format!("asking the programs in `{}`", tree.display()));
        for program in programs_in(&tree)? {
            step.alive(&program.display().to_string());
            let told = ask(&program)?;
            // The same program goes by several names.
            let text = told.dump.to_string();
            if seen.insert(text.clone()) {
                let read = table::dump::tables(&text).map_err(anyhow::Error::msg)?;
                tables.extend(read);
            }
        }
        step.done();
    }
    let merged = table::merge::merge(&tables);
    for (version, targets) in &merged.sources {
        ui::line(format_args!(
            "  QEMU {}: {} targets",
            version.as_str(),
            targets.len()
        ));
    }
    let (commands, events) = (merged.commands.len(), merged.events.len());
    let (types, devices) = (merged.types.len(), merged.devices.len());
    ui::line(format_args!(
        "  {commands} commands, {events} events, {types} types, {devices} devices"
    ));
    Ok(table::text::write(&merged))
}

/// The programs of all targets in an unpacked QEMU, links left out.
fn programs_in(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut programs = BTreeMap::new();
    // What has its namesake in the second folder is a script that may start it.
    for folder in [tree.join("usr/bin"), tree.join("usr/libexec")] {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with("qemu-system-") && entry.file_type()?.is_file() {
                programs.insert(name, entry.path());
            }
        }
    }
    if programs.is_empty() {
        bail!("there is no QEMU in `{}`", tree.display());
    }
    Ok(programs.into_values().collect())
}

fn ask(program: &Path) -> Result<live::Told> {
    live::ask(program)
        .map_err(anyhow::Error::msg)
        .with_context(|| format!("`{}` does not tell its schema", program.display()))
}
