//! Commands and their replies, one after the other.

use std::time::Instant;

use qemu_test::{Machine, qmp};

use crate::Result;
use crate::bare::{Bare, OUT_OF_BAND, PLAIN};
use crate::measure::in_turns;
use crate::python::Python;
use crate::table::{Aim, Table, Unit};

const TURNS: usize = 30;
/// How many commands a turn has.
const COMMANDS: u32 = 500;

pub(crate) fn measure(table: &mut Table) -> Result<()> {
    let builder = Machine::builder().arch("x86_64").args(["-machine", "none"]);
    let vm = builder.launch()?;
    let ours = || -> Result<[f64; 1]> {
        rate(|| {
            vm.command(qmp!(query_status))?;
            Ok(())
        })
    };
    let what = "QMP round trips";
    let loops = [
        ("a raw blocking socket", PLAIN, r#"{"execute":"query-status"}"#),
        (
            "the same, with the library's bytes",
            OUT_OF_BAND,
            r#"{"execute":"query-status","id":1}"#,
        ),
    ];
    for (name, negotiation, request) in loops {
        let mut bare = Bare::launch(vm.command_line(), negotiation)?;
        let theirs = || rate(|| Ok(bare.round_trip(request)?));
        let [rates] = in_turns(&format!("round trips against {name}"), TURNS, ours, theirs)?;
        table.row(what, name, Unit::Rate, &rates, Some(Aim::AtLeast(0.9)));
        bare.quit()?;
    }

    let socket = builder
        .arg("-qmp")
        .arg("unix:{dir}/python,server=on,wait=off")
        .launch()?;
    let path = socket.socket_path("python");
    match Python::start(&["round-trips", &path.to_string_lossy()]) {
        Ok(mut python) => {
            let count = COMMANDS.to_string();
            let [rates] = in_turns("Python's round trips", TURNS, ours, || python.figures(&count))?;
            table.row(what, python.name(), Unit::Rate, &rates, Some(Aim::AtLeast(1.0)));
        }
        Err(reason) => table.note(reason),
    }
    Ok(())
}

/// How many times a second `round_trip` runs.
fn rate(mut round_trip: impl FnMut() -> Result<()>) -> Result<[f64; 1]> {
    let began = Instant::now();
    for _ in 0..COMMANDS {
        round_trip()?;
    }
    Ok([f64::from(COMMANDS) / began.elapsed().as_secs_f64()])
}
