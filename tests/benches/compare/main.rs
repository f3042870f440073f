//! What the library costs, side by side with the least that does the same: `cargo xtask bench`.
//!
//! Not criterion, because what matters here are ratios of two things that take turns in one run, one of them another
//! program: a machine that gets slower meanwhile gets slower for both. A group of rows is a module with a function
//! that measures them; [`GROUPS`] lists all. Names of groups as arguments choose among them.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a table is what this program is for"
)]

mod bare;
mod compile;
mod fixture;
mod launch;
mod measure;
mod python;
mod round_trips;
mod table;

use std::process::ExitCode;

use table::Table;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A group: its name, and what measures its rows.
type Group = (&'static str, fn(&mut Table) -> Result<()>);

const GROUPS: &[Group] = &[
    ("launch", launch::measure),
    ("round-trips", round_trips::measure),
    ("fixture", fixture::measure),
    ("compile", compile::measure),
];

fn main() -> ExitCode {
    // Cargo tells a benchmark that it is one.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let is_group = |name: &&String| GROUPS.iter().any(|(group, _)| group == name);
    if let Some(unknown) = wanted.iter().find(|name| !is_group(name)) {
        let known: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
        eprintln!(
            "error: there is no group `{unknown}`; there are {}",
            known.join(", ")
        );
        return ExitCode::FAILURE;
    }
    let mut table = Table::default();
    for (name, measure) in GROUPS {
        if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted == name) {
            continue;
        }
        if let Err(error) = measure(&mut table) {
            println!("{table}");
            eprintln!("error: {name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    println!("{table}");
    ExitCode::SUCCESS
}
