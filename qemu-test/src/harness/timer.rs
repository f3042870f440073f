//! The time limit of a test. When it passes, the machines are looked at while they live and killed, and every wait
//! on them ends; a body that goes on all the same takes the process with it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
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
    clock: Arc<Clock>,
    thread: Option<JoinHandle<()>>,
}

/// The time of a test, which stands still for what is not the test's own.
pub(super) struct Clock {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Whether the body has returned.
    finished: bool,
    deadline: Deadline,
    /// What the clock stands still for, with the limit of that.
    aside: Vec<(Deadline, String)>,
}

/// A limit that has passed, with what it was the limit of where that is not the test.
struct Over {
    limit: Duration,
    doing: Option<String>,
}

impl Timer {
    /// Starts the clock; `None` where limits are lifted.
    pub(super) fn start(context: &Arc<Context>, deadline: Deadline) -> Result<Option<Self>> {
        if deadline.limit().is_none() {
            return Ok(None);
        }
        let clock = Arc::new(Clock {
            state: Mutex::new(State {
                finished: false,
                deadline,
                aside: Vec::new(),
            }),
            changed: Condvar::new(),
        });
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
        self.clock.lock().deadline
    }
}

impl Drop for Timer {
    /// The body has returned. A limit that passes at this moment finishes its work first, so that nothing of it
    /// happens during the judgement.
    fn drop(&mut self) {
        self.clock.lock().finished = true;
        self.clock.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Clock {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Stops the clock. What it stands still for may last for `limit`, by the scale of all limits.
    pub(super) fn set_aside(&self, limit: Duration, doing: &str) {
        self.lock().aside.push((Deadline::after(limit), doing.to_owned()));
        self.changed.notify_all();
    }

    /// Starts it again.
    pub(super) fn resume(&self) {
        let mut state = self.lock();
        if let Some((aside, _)) = state.aside.pop() {
            let outer = match state.aside.last_mut() {
                Some((outer, _)) => outer,
                None => &mut state.deadline,
            };
            *outer = outer.postponed(aside.elapsed());
        }
        self.changed.notify_all();
    }

    /// Waits until the body has returned: `None`, or until the limit that counts has passed.
    fn wait(&self) -> Option<Over> {
        let mut state = self.lock();
        loop {
            if state.finished {
                return None;
            }
            let (deadline, doing) = match state.aside.last() {
                Some((deadline, doing)) => (*deadline, Some(doing)),
                None => (state.deadline, None),
            };
            if deadline.expired() {
                return Some(Over {
                    limit: deadline.limit().unwrap_or_default(),
                    doing: doing.cloned(),
                });
            }
            state = self.sleep(state, deadline);
        }
    }

    /// Waits until the body has returned; false when the deadline comes first.
    fn wait_finished(&self, deadline: Deadline) -> bool {
        let mut state = self.lock();
        while !state.finished && !deadline.expired() {
            state = self.sleep(state, deadline);
        }
        state.finished
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State>, deadline: Deadline) -> MutexGuard<'a, State> {
        let left = deadline.remaining().unwrap_or(Duration::MAX);
        let woken = self.changed.wait_timeout(state, left);
        woken.unwrap_or_else(|e| e.into_inner()).0
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
