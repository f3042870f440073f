//! `cargo xtask soak`: launches, faults and kills at random. What it does is in `tests/examples/soak`.

use anyhow::{Result, bail};

use crate::cargo::Cargo;
use crate::{setup, ui};

/// What the user wants other than usual.
#[derive(Default)]
pub(crate) struct Options {
    minutes: Option<f64>,
    seed: Option<u64>,
}

impl Options {
    pub(crate) fn read(arguments: &mut lexopt::Parser) -> Result<Options> {
        use lexopt::prelude::*;

        let mut options = Options::default();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("minutes") => options.minutes = Some(arguments.value()?.parse()?),
                Long("seed") => options.seed = Some(arguments.value()?.parse()?),
                _ => return Err(argument.unexpected().into()),
            }
        }
        Ok(options)
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let outcome = setup::run()?;
    ui::line("\nsoak");
    let minutes = options.minutes.map(|minutes| minutes.to_string());
    let seed = options.seed.map(|seed| seed.to_string());
    let mut arguments = vec![
        "run",
        "--quiet",
        "--package",
        "qemu-test-tests",
        "--example",
        "soak",
        "--",
    ];
    arguments.extend(minutes.iter().flat_map(|minutes| ["--minutes", minutes.as_str()]));
    arguments.extend(seed.iter().flat_map(|seed| ["--seed", seed.as_str()]));
    let status = Cargo::new(&arguments).run()?;
    if !status.success() {
        bail!(
            "something survived, hung or was left ({status}): the lines above say what{}",
            outcome.remark()
        );
    }
    Ok(())
}
