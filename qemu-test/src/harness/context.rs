//! The test that runs: its name, its files, its machines.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use super::clock::Clock;
use crate::artifacts::{RunDir, TestPath};
use crate::error::{LaunchError, seconds};
use crate::interrupt::{Cause, EndedWaits, Interrupt};
use crate::machine::{Home, How, Inner};
use crate::report::{Depth, MachineReport};

/// How many machines that a test has done with are kept for its report.
const RETIRED: usize = 16;

/// One test while it runs.
pub(super) struct Context {
    pub(super) path: TestPath,
    pub(super) run: RunDir,
    running: AtomicBool,
    /// `None` where limits are lifted.
    clock: OnceLock<Arc<Clock>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    machines: Vec<Weak<Inner>>,
    /// What ends the waits on the machines, those included that have not come up.
    interrupts: Vec<Weak<Interrupt>>,
    retired: Vec<MachineReport>,
    troubles: Vec<String>,
    timeout: Option<TimedOut>,
}

/// What was seen when the test's time was over.
#[derive(Clone)]
pub(super) struct TimedOut {
    pub(super) limit: Duration,
    /// What it was the limit of, where that is not the test.
    pub(super) doing: Option<String>,
    pub(super) machines: Vec<MachineReport>,
    pub(super) ended: Arc<EndedWaits>,
}

impl TimedOut {
    /// Why all waits end now.
    fn interrupt(&self) -> Cause {
        Cause::TestTimeout {
            limit: self.limit,
            ended: Arc::clone(&self.ended),
        }
    }

    /// One sentence for the report: what the body was waiting for and, where there is one machine only, what was seen
    /// of it.
    pub(super) fn cause(&self) -> String {
        match self.machines.as_slice() {
            [
                MachineReport {
                    verdict: Some(seen), ..
                },
            ] => format!("{}; {seen}", self.wait()),
            _ => self.wait(),
        }
    }

    /// What the body was waiting for, as far as it waited for a machine.
    pub(super) fn wait(&self) -> String {
        let limit = match &self.doing {
            Some(doing) => format!("{} of {doing}", seconds(self.limit)),
            None => seconds(self.limit),
        };
        match self.ended.all().as_slice() {
            [] => format!("timed out after {limit}; its body was not waiting for a machine"),
            waits => format!("timed out after {limit} while {}", waits.join(", and ")),
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Vec<Arc<Context>>> = const { RefCell::new(Vec::new()) };
}

/// All tests that run, for the threads that they spawn and for what ends the whole process.
static RUNNING: Mutex<Vec<Weak<Context>>> = Mutex::new(Vec::new());

impl Context {
    /// Begins a test on this thread; it is over when the guard is dropped.
    pub(super) fn enter(path: TestPath, run: RunDir) -> Entered {
        let context = Arc::new(Self {
            path,
            run,
            running: AtomicBool::new(true),
            clock: OnceLock::new(),
            state: Mutex::default(),
        });
        CURRENT.with_borrow_mut(|current| current.push(Arc::clone(&context)));
        let mut running = lock(&RUNNING);
        running.retain(|context| context.strong_count() > 0);
        running.push(Arc::downgrade(&context));
        Entered(context)
    }

    pub(super) fn machines(&self) -> Vec<Arc<Inner>> {
        self.state().machines.iter().filter_map(Weak::upgrade).collect()
    }

    /// Keeps what there is to say of a machine that is gone.
    fn retire(&self, report: MachineReport, troubles: Vec<String>) {
        let mut state = self.state();
        let name = report.name.clone();
        state.troubles.extend(
            troubles
                .into_iter()
                .map(|trouble| format!("machine `{name}`: {trouble}")),
        );
        if state.retired.len() == RETIRED {
            state.retired.remove(0);
        }
        state.retired.push(report);
    }

    /// The machines that ended during the test, and what was wrong with them.
    pub(super) fn take_retired(&self) -> (Vec<MachineReport>, Vec<String>) {
        let mut state = self.state();
        (
            std::mem::take(&mut state.retired),
            std::mem::take(&mut state.troubles),
        )
    }

    pub(super) fn set_clock(&self, clock: &Arc<Clock>) {
        let _ = self.clock.set(Arc::clone(clock));
    }

    /// Ends all waits on machines, also on those that are started from now on.
    pub(super) fn time_out(&self, timeout: TimedOut) {
        let cause = timeout.interrupt();
        let mut state = self.state();
        state.timeout = Some(timeout);
        let interrupts: Vec<_> = state.interrupts.iter().filter_map(Weak::upgrade).collect();
        // Whoever is woken may ask for the state.
        drop(state);
        for interrupt in interrupts {
            interrupt.raise(cause.clone());
        }
    }

    pub(super) fn timed_out(&self) -> Option<TimedOut> {
        self.state().timeout.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// A panic never happens under one of these locks with the state half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A test that runs on this thread.
pub(super) struct Entered(Arc<Context>);

impl std::ops::Deref for Entered {
    type Target = Arc<Context>;

    fn deref(&self) -> &Arc<Context> {
        &self.0
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.running.store(false, Ordering::Relaxed);
        CURRENT.with_borrow_mut(|current| current.retain(|context| !Arc::ptr_eq(context, &self.0)));
        lock(&RUNNING).retain(|context| !std::ptr::eq(context.as_ptr(), Arc::as_ptr(&self.0)));
    }
}

/// The test that runs on this thread; on a thread that a test spawned, the test that runs, if it is the only one.
pub(super) fn current() -> Option<Arc<Context>> {
    let own = CURRENT.with_borrow(|current| current.last().cloned());
    if own.is_some() {
        return own;
    }
    // libtest names the threads of tests. One with a name may be another test's, which has nothing to do with this.
    let spawned = std::thread::current()
        .name()
        .is_none_or(|name| name.starts_with("tokio-"));
    match lock(&RUNNING).as_slice() {
        [only] if spawned => only.upgrade(),
        _ => None,
    }
}

/// All tests that run in this process.
pub(super) fn running() -> Vec<Arc<Context>> {
    lock(&RUNNING).iter().filter_map(Weak::upgrade).collect()
}

impl Home for Context {
    fn run(&self) -> &RunDir {
        &self.run
    }

    fn starting(&self, interrupt: &Arc<Interrupt>) {
        let mut state = self.state();
        state.interrupts.retain(|known| known.strong_count() > 0);
        state.interrupts.push(Arc::downgrade(interrupt));
        let timeout = state.timeout.as_ref().map(TimedOut::interrupt);
        drop(state);
        if let Some(cause) = timeout {
            interrupt.raise(cause);
        }
    }

    fn adopt(&self, machine: &Arc<Inner>) {
        let mut state = self.state();
        state.machines.retain(|machine| machine.strong_count() > 0);
        state.machines.push(Arc::downgrade(machine));
    }

    fn launch_failed(&self, error: &LaunchError, dir: &Path) {
        self.retire(MachineReport::of_failed_launch(error, dir), Vec::new());
    }

    fn abandoned(&self, machine: &Arc<Inner>) {
        // A test that is over is judged: whatever it kept just ends.
        let running = self.running.load(Ordering::Relaxed);
        let depth = if std::thread::panicking() {
            Depth::Full
        } else {
            Depth::Light
        };
        let report = running.then(|| MachineReport::of(machine, depth));
        machine.end(How::Quit);
        if let Some(report) = report {
            self.retire(report.ended(machine), machine.troubles());
        }
    }

    fn set_aside(&self, limit: Duration, doing: &str) {
        if let Some(clock) = self.clock.get() {
            clock.set_aside(limit, doing);
        }
    }

    fn resume(&self) {
        if let Some(clock) = self.clock.get() {
            clock.resume();
        }
    }
}
