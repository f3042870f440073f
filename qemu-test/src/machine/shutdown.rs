//! Ending a machine: `quit`, SIGTERM, SIGKILL, each with a limit of its own, then the proof that nothing is left.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::ending::{Ending, How, Step};
use super::inner::Inner;
use crate::deadline::{Deadline, scaled};
use crate::error::{Error, seconds};
use crate::interrupt::Wait;

/// How long QEMU may take to end after `quit`. It flushes disks meanwhile; sanitizers look for leaks.
const QUIT: Duration = Duration::from_secs(10);
/// How long after SIGTERM, which QEMU takes for a `quit` from outside.
const TERMINATE: Duration = Duration::from_secs(3);
/// How long after SIGKILL, which only a process in an uninterruptible system call outlives.
const KILL: Duration = Duration::from_secs(5);
/// How long the rest of the tree may take to be gone.
const SWEEP: Duration = Duration::from_secs(5);
/// A bound where `QEMU_TEST_TIMEOUT_SCALE=0` lifts all limits: a clean-up without one could last for ever.
const LIFTED: Duration = Duration::from_secs(3600);

impl Inner {
    /// Ends the machine and says how that went; a second call gives the first one's result.
    pub(crate) fn end(&self, how: How) -> &Ending {
        let _one_at_a_time = self.shutting_down.lock().unwrap_or_else(|e| e.into_inner());
        self.ending.get_or_init(|| self.end_now(how))
    }

    fn end_now(&self, how: How) -> Ending {
        let mut ending = Ending {
            status: self.exit_status(),
            by_itself: false,
            steps: Vec::new(),
            last: None,
            tree: Default::default(),
        };
        ending.by_itself = ending.status.is_some();
        let steps: &[Step] = match how {
            How::Quit => &[Step::Quit, Step::Terminate, Step::Kill],
            How::Kill => &[Step::Kill],
        };
        for step in steps {
            if ending.status.is_none() {
                self.take(*step, &mut ending);
            }
        }
        ending.tree = self.parts.process.finish(bounded(SWEEP));
        self.watcher.stop();
        ending
    }

    fn take(&self, step: Step, ending: &mut Ending) {
        let began = Instant::now();
        let (name, limit) = match step {
            Step::Quit => ("quit", QUIT),
            Step::Terminate => ("SIGTERM", TERMINATE),
            Step::Kill => ("SIGKILL", KILL),
        };
        // One deadline for the request and for what comes of it: QEMU reads nothing while its main loop is blocked.
        let deadline = bounded(limit);
        let done = match step {
            Step::Quit => match self.client.quit(Wait::new(deadline, None)) {
                Err(Error::Timeout(_)) | Ok(()) => Ok(()),
                Err(error) => Err(error.to_string()),
            },
            Step::Terminate => self.terminate().map_err(|e| e.to_string()),
            Step::Kill => {
                self.parts.process.kill();
                Ok(())
            }
        };
        ending.last = Some(step);
        let took = |began: Instant| seconds(began.elapsed());
        if let Err(error) = done {
            // It may be gone by now, and the next step finds that out; or it does not listen, and the next step helps.
            if self.exit_status().is_none() {
                ending
                    .steps
                    .push(format!("{name}: failed after {}, {error}", took(began)));
                return;
            }
        }
        if self.watcher.processes().have_ended_by(deadline) {
            ending.status = self.exit_status();
        }
        if ending.status.is_some() {
            ending.steps.push(format!("{name}: {}", took(began)));
        } else {
            ending
                .steps
                .push(format!("{name}: no end within {}", took(began)));
        }
    }

    /// SIGTERM goes to QEMU itself: a wrapper would pass it on or not.
    fn terminate(&self) -> std::io::Result<()> {
        match self.client.peer_pid() {
            Some(pid) => self.parts.process.signal_pid(pid, Signal::TERM),
            None => self.parts.process.signal(Signal::TERM),
        }
    }
}

fn bounded(limit: Duration) -> Deadline {
    Deadline::exactly(
        scaled(limit)
            .unwrap_or(LIFTED)
            .max(limit.min(Duration::from_secs(1))),
    )
}
