//! From nothing to a monitor that takes commands, and back.

use std::time::Instant;

use qemu_test::{CommandLine, Machine, MachineBuilder};

use crate::Result;
use crate::bare::{Bare, OUT_OF_BAND};
use crate::measure::in_turns;
use crate::python::Python;
use crate::table::{Aim, Table, Unit};

const TURNS: usize = 60;
const FLOOR: &str = "bare system calls";
const AIM: Aim = Aim::AtMost(1.05);

pub(crate) fn measure(table: &mut Table) -> Result<()> {
    for machine in ["none", "q35"] {
        let builder = Machine::builder()
            .arch("x86_64")
            .args(["-machine", machine, "-accel", "tcg", "-S"]);
        let line = builder.launch()?.command_line().clone();
        let [launch, shutdown] = in_turns(
            &format!("launch and shutdown of {machine}"),
            TURNS,
            || ours(&builder),
            || bare(&line),
        )?;
        table.row(
            &format!("launch, {machine}"),
            FLOOR,
            Unit::Time,
            &launch,
            Some(AIM),
        );
        table.row(
            &format!("shutdown, {machine}"),
            FLOOR,
            Unit::Time,
            &shutdown,
            Some(AIM),
        );
        let [whole] = in_turns(
            &format!("whole tests with {machine}"),
            TURNS,
            || {
                let began = Instant::now();
                builder.test(|_| ());
                Ok([began.elapsed().as_secs_f64()])
            },
            || Ok([bare(&line)?.iter().sum()]),
        )?;
        table.row(
            &format!("a whole test, {machine}"),
            FLOOR,
            Unit::Time,
            &whole,
            None,
        );
    }
    let builder = Machine::builder().arch("x86_64").args(["-machine", "none"]);
    let line = builder.launch()?.command_line().clone();
    match Python::start(&["launch", &line[0].to_string_lossy()]) {
        Ok(mut python) => {
            let [launch, shutdown] = in_turns(
                "Python's launches",
                TURNS / 2,
                || ours(&builder),
                || python.figures(""),
            )?;
            let aim = Some(Aim::AtMost(1.0));
            table.row("launch, none", python.name(), Unit::Time, &launch, aim);
            table.row("shutdown, none", python.name(), Unit::Time, &shutdown, aim);
        }
        Err(reason) => table.note(reason),
    }
    Ok(())
}

fn ours(builder: &MachineBuilder) -> Result<[f64; 2]> {
    let began = Instant::now();
    let vm = builder.launch()?;
    let launch = began.elapsed();
    let began = Instant::now();
    vm.shutdown()?;
    Ok([launch, began.elapsed()].map(|time| time.as_secs_f64()))
}

fn bare(line: &CommandLine) -> Result<[f64; 2]> {
    let began = Instant::now();
    let bare = Bare::launch(line, OUT_OF_BAND)?;
    let launch = began.elapsed();
    let began = Instant::now();
    bare.quit()?;
    Ok([launch, began.elapsed()].map(|time| time.as_secs_f64()))
}
