//! `cargo xtask soak`: launches, faults and kills at random, for as long as it is told, and counts what is left.
//!
//! The driver starts one storm after the other: a process whose threads launch machines behind all kinds of wrappers
//! and do things to them. It ends each in a way and at a moment of its choice, and looks for what has not gone within
//! a second. Everything follows from one seed, up to the timing of the computer.

mod driver;
mod random;
mod storm;

use std::process::ExitCode;

const USAGE: &str = "usage: soak [--minutes N] [--seed N]";

fn main() -> ExitCode {
    let mut minutes = 10.0;
    let mut seed = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|value| value.parse::<f64>().ok());
        match argument.as_str() {
            "storm" => return storm::run(arguments.next().and_then(|seed| seed.parse().ok()).unwrap_or(0)),
            "--minutes" => match number() {
                Some(value) if value > 0.0 => minutes = value,
                _ => return refuse("`--minutes` takes a number above 0"),
            },
            "--seed" => match arguments.next().and_then(|value| value.parse().ok()) {
                Some(value) => seed = Some(value),
                None => return refuse("`--seed` takes a number"),
            },
            other => return refuse(&format!("unknown argument `{other}`")),
        }
    }
    driver::run(minutes, seed)
}

#[expect(clippy::print_stderr, reason = "a program that is called by hand")]
fn refuse(why: &str) -> ExitCode {
    eprintln!("{why}\n{USAGE}");
    ExitCode::FAILURE
}
