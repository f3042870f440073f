//! The chores of the project: `cargo xtask setup | demo | test | bench | schema`.
//!
//! Each command sets up what it needs first, says what it does while it does it, and does nothing twice.

mod apt;
mod bench;
mod cargo;
mod command;
mod demo;
mod guest;
mod other_qemu;
mod packages;
mod paths;
mod schema;
mod setup;
mod soak;
mod test;
mod ui;

use std::process::ExitCode;

use anyhow::{Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  setup   install QEMU and fetch a small Linux guest, whatever of them is missing
  demo    set up, then run the examples' tests on real machines
  test    set up, then run all tests, with every QEMU version there is
  bench   set up, then measure the library against bare system calls and QEMU's Python client;
          names of groups of rows (`launch`, `round-trips`) choose among them
  soak    set up, then launch, break and kill machines at random, and count what survives or hangs
          --minutes N        for how long, 10 by default
          --seed N           the seed of an earlier run, which each run prints
  schema  make the table of names that `qmp!` knows, of all of QEMU that the package sources offer
          --check            see that the table is what they give, and change nothing
          --dump PROGRAM...  print what the given QEMUs say of themselves, for QEMU_TEST_SCHEMA";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    use lexopt::prelude::*;

    let mut arguments = lexopt::Parser::from_env();
    let mut command = None;
    let mut groups = Vec::new();
    while let Some(argument) = arguments.next()? {
        match argument {
            Short('h') | Long("help") => {
                ui::line(USAGE);
                return Ok(());
            }
            Value(name) if command.is_none() => {
                let name = name.string()?;
                if name == "schema" {
                    return schema::run(&schema::Task::read(&mut arguments)?);
                }
                if name == "soak" {
                    return soak::run(&soak::Options::read(&mut arguments)?);
                }
                command = Some(name);
            }
            Value(group) if command.as_deref() == Some("bench") => groups.push(group.string()?),
            _ => return Err(argument.unexpected().into()),
        }
    }
    match command.as_deref() {
        Some("setup") => setup::all(),
        Some("demo") => demo::run(),
        Some("test") => test::run(),
        Some("bench") => bench::run(&groups),
        Some(other) => bail!("unknown command `{other}`\n\n{USAGE}"),
        None => bail!("no command given\n\n{USAGE}"),
    }
}
