//! What the tests that run have to say when the whole process is asked to end: by Ctrl-C, a runner's timeout, a
//! hang-up.

use rustix::process::Signal;

use super::context::{self, Context};
use crate::error::{Error, Result};
use crate::exit;
use crate::process::signals;
use crate::report::{self, Depth, MachineReport, Report};

/// Sees to it that a signal leaves a report behind. In an ordinary program, nobody calls this.
pub(super) fn report_on_signals() -> Result<()> {
    signals::install_once(|signal| {
        context::running()
            .iter()
            .for_each(|context| report_one(context, signal))
    })
    .map_err(|e| Error::io("installing the handlers of SIGINT, SIGTERM and SIGHUP", e))
}

fn report_one(context: &Context, signal: Signal) {
    let (retired, troubles) = context.take_retired();
    let machines = context.machines();
    let report = |depth| Report {
        test: context.path.test.clone(),
        cause: format!("was interrupted by {}", exit::signal_name(signal.as_raw())),
        troubles: troubles.clone(),
        detail: String::new(),
        machines: [MachineReport::of_all(&machines, depth), retired.clone()].concat(),
    };
    // Who interrupts may have little patience: first what is known already.
    report::save(&context.run, &report(Depth::Light));
    report::mark(&context.run, "interrupted");
    report::publish_to_stderr(&context.run, &report(Depth::Full));
}
