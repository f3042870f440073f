//! One test from its first machine to its verdict.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::process::Termination;
use std::time::Duration;

use super::context::{Context, Entered};
use super::interrupted;
use super::outcome::Outcome;
use super::setup::{Plan, Setup};
use super::timer::Timer;
use super::verdict::Facts;
use crate::Machine;
use crate::artifacts::{self, RunDir, TestPath};
use crate::deadline::{Deadline, scaled};
use crate::error::{Error, Result};
use crate::machine::{How, Inner};
use crate::report::{self, Depth, MachineReport, Report};

/// How long a test may take unless it says otherwise.
const TEST_TIMEOUT: Duration = Duration::from_secs(120);

/// A test, as `#[qemu_test]` writes it down.
#[must_use = "a test does nothing until it is run"]
pub struct Test {
    path: TestPath,
    timeout: Duration,
    /// `Some` below `#[should_panic]`, with its `expected` text.
    should_panic: Option<Option<&'static str>>,
}

impl Test {
    /// A test by the names that its crate has for it.
    pub fn new(package: &str, module: &str, name: &str, _file: &str, _line: u32) -> Self {
        // The first segment of a module path is the crate: the test's binary.
        let (binary, module) = module.split_once("::").unwrap_or((module, ""));
        let test = if module.is_empty() {
            name.to_owned()
        } else {
            format!("{module}::{name}")
        };
        Self::at(TestPath {
            package: package.to_owned(),
            binary: binary.to_owned(),
            test,
        })
    }

    pub(super) fn of_this_thread() -> Self {
        Self::at(TestPath::of_this_thread())
    }

    fn at(path: TestPath) -> Self {
        Self {
            path,
            timeout: TEST_TIMEOUT,
            should_panic: None,
        }
    }

    /// How long the test may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The test is below `#[should_panic]`.
    pub fn should_panic(mut self, expected: Option<&'static str>) -> Self {
        self.should_panic = Some(expected);
        self
    }

    /// Runs the test.
    pub fn run<'a, const N: usize, T: Termination + 'static>(
        self,
        setups: [&dyn Fn() -> Setup<'a>; N],
        body: impl FnOnce([&Machine; N]) -> T,
    ) {
        let running = match Running::begin(&self, setups) {
            Ok(running) => running,
            Err(error) => return self.failed_to_begin(&error),
        };
        let outcome = match &running.machines {
            Ok(machines) => {
                let body = || body(std::array::from_fn(|number| &machines[number]));
                catch_unwind(AssertUnwindSafe(body)).map_or_else(Outcome::Panicked, Outcome::of)
            }
            Err(_) => Outcome::Passed,
        };
        running.finish(outcome);
    }

    /// Runs the test in the runtime that polls this.
    pub async fn run_async<'a, const N: usize, T: Termination + 'static>(
        self,
        setups: [&dyn Fn() -> Setup<'a>; N],
        body: impl AsyncFnOnce([&Machine; N]) -> T,
    ) {
        let running = match Running::begin(&self, setups) {
            Ok(running) => running,
            Err(error) => return self.failed_to_begin(&error),
        };
        let outcome = match &running.machines {
            Ok(machines) => {
                let body = AssertUnwindSafe(|| body(std::array::from_fn(|number| &machines[number])));
                match catch_unwind(body) {
                    Ok(future) => catch_unwind_of(future)
                        .await
                        .map_or_else(Outcome::Panicked, Outcome::of),
                    Err(payload) => Outcome::Panicked(payload),
                }
            }
            Err(_) => Outcome::Passed,
        };
        running.finish(outcome);
    }

    /// There is not even a folder for a report.
    fn failed_to_begin(&self, error: &Error) {
        report::say_error(error);
        end(Outcome::Failed(error.to_string()), self.should_panic.is_some());
    }
}

/// Why there are no machines for the body.
enum Unready {
    Error(Error),
    /// An expression in the attribute panicked.
    Panicked(Box<dyn Any + Send>),
}

/// A test with its machines.
struct Running {
    context: Entered,
    machines: std::result::Result<Vec<Machine>, Unready>,
    timer: Option<Timer>,
    should_panic: Option<Option<&'static str>>,
}

impl Running {
    fn begin<'a, const N: usize>(test: &Test, setups: [&dyn Fn() -> Setup<'a>; N]) -> Result<Self> {
        interrupted::report_on_signals()?;
        let plans = catch_unwind(AssertUnwindSafe(|| setups.map(|setup| setup().plan())));
        let root = plans.as_ref().ok().and_then(|plans| {
            let mut plans = plans.iter().filter_map(|plan| plan.as_ref().ok());
            plans.find_map(|plan| plan.builder.artifact_dir.clone())
        });
        let run = RunDir::create(&root.unwrap_or_else(artifacts::root), &test.path)?;
        let context = Context::enter(test.path.clone(), run);
        report::mark(&context.run, "running");
        let deadline = scaled(test.timeout).map_or_else(Deadline::never, Deadline::exactly);
        let timer = Timer::start(&context, deadline)?;
        // A fixture is the user's code, too.
        let launched = plans.and_then(|plans| catch_unwind(AssertUnwindSafe(|| launch_all(plans))));
        let machines = match launched {
            Ok(machines) => machines.map_err(Unready::Error),
            Err(payload) => Err(Unready::Panicked(payload)),
        };
        Ok(Self {
            context,
            machines,
            timer,
            should_panic: test.should_panic,
        })
    }

    /// The body is over: evidence, shutdown, verdict, report, end.
    fn finish(self, outcome: Outcome) {
        let Self {
            context,
            machines,
            timer,
            should_panic,
        } = self;
        let mut detail = String::new();
        let (machines, outcome, launched) = match machines {
            Ok(machines) => (machines, outcome, true),
            Err(Unready::Panicked(payload)) => (Vec::new(), Outcome::Panicked(payload), false),
            Err(Unready::Error(error)) => {
                report::say_error(&error);
                detail = detail_of(&error);
                (Vec::new(), Outcome::Failed(error.to_string()), false)
            }
        };
        let expected = should_panic.is_some_and(|text| launched && outcome.is_expected_panic(text));
        let body_failed = match should_panic {
            Some(_) => !expected,
            None => outcome.cause().is_some(),
        };
        let deadline = timer.as_ref().map_or_else(Deadline::never, Timer::deadline);
        // Whatever the limit found is in the context from here on, and nothing changes any more.
        drop(timer);
        let timed_out = context.timed_out();
        // Those that the body launched by hand and still has somewhere are among them.
        let living = context.machines();
        let evidence = match &timed_out {
            Some(timeout) => Some(timeout.machines.clone()),
            None if body_failed || !await_what_was_announced(&machines, deadline) => {
                Some(MachineReport::of_all(&living, Depth::Full))
            }
            None => None,
        };

        for machine in &machines {
            if !machine.is_lent() {
                machine.inner().end(How::Quit);
            }
        }
        let (retired, others) = context.take_retired();
        let inners: Vec<&Inner> = machines.iter().map(|machine| &**machine.inner()).collect();
        let verdict = Facts {
            outcome: &outcome,
            body_failed,
            timed_out: timed_out.as_ref(),
            machines: &inners,
            evidence: evidence.as_deref().unwrap_or_default(),
            others,
        }
        .judge()
        .split();
        let failed = verdict.is_some();
        if let Some((cause, troubles)) = verdict {
            let mut reports = match evidence {
                Some(reports) => reports,
                None => MachineReport::of_all(&living, Depth::Light),
            };
            for report in &mut reports {
                let machine = living.iter().find(|machine| machine.parts.dir == report.dir);
                if let Some(machine) = machine.filter(|machine| machine.ending().is_some()) {
                    *report = report.clone().ended(machine);
                }
            }
            reports.extend(retired);
            let test = context.path.test.clone();
            report::publish(
                &context.run,
                &Report {
                    test,
                    cause,
                    troubles,
                    detail,
                    machines: reports,
                },
            );
        }
        report::mark(&context.run, if failed { "failed" } else { "passed" });
        drop((machines, living));
        if !failed
            && !artifacts::keep()
            && let Err(error) = context.run.remove()
        {
            log::warn!("cannot remove {}: {error}", context.run.path().display());
        }
        drop(context);
        match (outcome, failed) {
            (Outcome::Passed, false) => {}
            (Outcome::Passed, true) => end(Outcome::Failed(String::new()), should_panic.is_some()),
            // An expected panic of a test that failed all the same must not look like a pass.
            (Outcome::Panicked(_), true) if should_panic.is_some() && (expected || !launched) => {}
            (outcome, _) => end(outcome, should_panic.is_some()),
        }
    }
}

fn launch_all<'a>(plans: impl IntoIterator<Item = Result<Plan<'a>>>) -> Result<Vec<Machine>> {
    plans.into_iter().map(|plan| plan?.launch()).collect()
}

/// What an error has to say beyond its first line, where the machines' part of the report does not say it.
fn detail_of(error: &Error) -> String {
    let text = match error {
        Error::Launch(launch) => launch.reason.clone(),
        other => other.to_string(),
    };
    let rest = text.split_once('\n').map(|(_, rest)| rest.to_owned());
    rest.unwrap_or_default()
}

/// A machine that announced its end, and a guest that is to panic, are given the time of the test for it. False where
/// it does not come.
fn await_what_was_announced(machines: &[Machine], deadline: Deadline) -> bool {
    let mut came = true;
    for machine in machines {
        let (inner, parts) = (machine.inner(), &machine.inner().parts);
        if parts.expected_exit.is_some() {
            inner.await_end(deadline);
            came &= inner.exit_status().is_some();
        }
        if parts.guest.expects_panic() {
            let gone = || parts.interrupt.cause().is_some();
            came &= parts.guest.await_panic(deadline, gone);
        }
    }
    came
}

/// Ends the test's thread the way libtest wants it: a failure is a panic, and one that has been told is told no more.
fn end(outcome: Outcome, should_panic: bool) {
    match outcome {
        Outcome::Passed => {}
        Outcome::Panicked(payload) => resume_unwind(payload),
        // Below `#[should_panic]` any panic is a pass: the failure is to return.
        Outcome::Failed(_) if should_panic => {}
        Outcome::Failed(message) => resume_unwind(Box::new(message)),
    }
}

/// Polls `future` and catches its panics.
async fn catch_unwind_of<F: Future>(future: F) -> std::thread::Result<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(
        |task| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => std::task::Poll::Ready(Err(payload)),
        },
    )
    .await
}
