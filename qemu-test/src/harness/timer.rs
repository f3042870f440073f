//! The time limit of a test. When it passes, the machines are looked at while they live and killed, and every wait
//! on them ends; a body that goes on all the same takes the process with it.

use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

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
    finished: Arc<Finished>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Finished {
    flag: Mutex<bool>,
    changed: Condvar,
}

impl Timer {
    /// Starts the clock; `None` where limits are lifted.
    pub(super) fn start(context: &Arc<Context>, deadline: Deadline) -> Result<Option<Self>> {
        let Some(limit) = deadline.limit() else {
            return Ok(None);
        };
        let finished = Arc::new(Finished::default());
        let thread = {
            let (context, finished) = (Arc::clone(context), Arc::clone(&finished));
            let name = format!("time limit of {}", context.path.test);
            std::thread::Builder::new()
                .name(name)
                .spawn(move || watch(&context, &finished, deadline, limit))
        };
        let thread = thread.map_err(|e| Error::io("starting the thread that watches the test's time", e))?;
        Ok(Some(Self {
            finished,
            thread: Some(thread),
        }))
    }
}

impl Drop for Timer {
    /// The body has returned. A limit that passes at this moment finishes its work first, so that nothing of it
    /// happens during the judgement.
    fn drop(&mut self) {
        *self.finished.flag.lock().unwrap_or_else(|e| e.into_inner()) = true;
        self.finished.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Finished {
    /// Waits until the body has returned; false when the deadline comes first.
    fn wait(&self, deadline: Deadline) -> bool {
        let mut flag = self.flag.lock().unwrap_or_else(|e| e.into_inner());
        while !*flag {
            let left = deadline.remaining().unwrap_or(Duration::MAX);
            if left.is_zero() {
                return false;
            }
            flag = self
                .changed
                .wait_timeout(flag, left)
                .unwrap_or_else(|e| e.into_inner())
                .0;
        }
        true
    }
}

fn watch(context: &Arc<Context>, finished: &Finished, deadline: Deadline, limit: Duration) {
    if finished.wait(deadline) {
        return;
    }
    let machines = context.machines();
    let reports: Vec<MachineReport> = machines
        .iter()
        .map(|machine| MachineReport::of(machine, Depth::Full))
        .collect();
    let timed_out = TimedOut {
        limit,
        machines: reports.clone(),
        ended: EndedWaits::now(),
    };
    context.time_out(timed_out.clone());
    for machine in &machines {
        machine.end(How::Kill);
    }
    drop(machines);
    if finished.wait(Deadline::exactly(LAST_CALL)) {
        return;
    }
    let TestPath { test, .. } = &context.path;
    let cause = format!(
        "{}, and has not returned {} later: this ends the whole test process",
        timed_out.cause(),
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
            machines,
        },
    );
    // No other way stops a thread. The guardians end the machines of the tests that run beside this one.
    std::process::exit(FAILED);
}
