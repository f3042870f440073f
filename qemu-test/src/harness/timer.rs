//! The time limit of a test. When it passes, the machines are looked at while they live and killed, and every wait
//! on them ends; a body that goes on all the same takes the process with it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::clock::{Clock, Over};
use super::context::{Context, TimedOut};
use crate::artifacts::TestPath;
use crate::deadline::Deadline;
use crate::error::{Error, Result, seconds};
use crate::interrupt::EndedWaits;
use crate::machine::How;
use crate::report::{self, Depth, MachineReport, Report};

/// How long a body may take to return once its time is over and its machines are gone.
const LAST_CALL: Duration = Duration::from_secs(10);

/// The exit status of a test process that failed, as libtest has it.
const FAILED: i32 = 101;

/// The thread that watches over one test.
pub(super) struct Timer {
    clock: Arc<Clock>,
    thread: Option<JoinHandle<()>>,
}

impl Timer {
    /// Starts the clock; `None` where limits are lifted.
    pub(super) fn start(context: &Arc<Context>, deadline: Deadline) -> Result<Option<Self>> {
        if deadline.limit().is_none() {
            return Ok(None);
        }
        let clock = Arc::new(Clock::new(deadline));
        context.set_clock(&clock);
        let thread = {
            let (context, clock) = (Arc::clone(context), Arc::clone(&clock));
            let name = format!("time limit of {}", context.path.test);
            std::thread::Builder::new()
                .name(name)
                .spawn(move || watch(&context, &clock))
        };
        let thread = thread.map_err(|e| Error::io("starting the thread that watches the test's time", e))?;
        Ok(Some(Self {
            clock,
            thread: Some(thread),
        }))
    }

    /// When the test's time is over, as things stand.
    pub(super) fn deadline(&self) -> Deadline {
        self.clock.deadline()
    }
}

impl Drop for Timer {
    /// The body has returned. A limit that passes at this moment finishes its work first, so that nothing of it
    /// happens during the judgement.
    fn drop(&mut self) {
        self.clock.finish();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn watch(context: &Arc<Context>, clock: &Clock) {
    let Some(Over { limit, doing }) = clock.wait() else {
        return;
    };
    let machines = context.machines();
    let reports = MachineReport::of_all(&machines, Depth::Full);
    let timed_out = TimedOut {
        limit,
        doing,
        machines: reports.clone(),
        ended: EndedWaits::now(),
    };
    context.time_out(timed_out.clone());
    for machine in &machines {
        machine.end(How::Kill);
    }
    drop(machines);
    if clock.wait_finished(Deadline::exactly(LAST_CALL)) {
        return;
    }
    let TestPath { test, .. } = &context.path;
    let cause = format!(
        "{}, and has not returned {} later: this ends the whole test process",
        timed_out.wait(),
        seconds(LAST_CALL)
    );
    let (retired, troubles) = context.take_retired();
    let machines = reports.into_iter().chain(retired).collect();
    report::publish_to_stderr(
        &context.run,
        &Report {
            test: test.clone(),
            cause,
            troubles,
            detail: String::new(),
            machines,
        },
    );
    // No other way stops a thread. The guardians end the machines of the tests that run beside this one.
    std::process::exit(FAILED);
}
