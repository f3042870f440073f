//! What a test does to a machine as a person would at its case: the power button, reset, pause, and pulling the plug.
//!
//! Each verb waits until it has come about, and takes the event that says so: one that came before is not taken for it.

use std::process::ExitStatus;
use std::time::Duration;

use serde_json::json;

use super::handle::Machine;
use crate::deadline::Deadline;
use crate::error::{Error, GuestError, Result};
use crate::interrupt::Wait;
use crate::qmp::{Command, Event, EventFilter};

/// How many lines of the console tell what a guest does instead of powering off.
const CONSOLE_LINES: usize = 10;

/// What SHUTDOWN gives as its reason when the guest powered itself off (`ShutdownCause` of QEMU's `run-state.json`).
const GUEST_SHUTDOWN: &str = "guest-shutdown";

impl Machine {
    /// Presses the power button (`system_powerdown`: ACPI on a PC) and waits until the guest has powered off, and
    /// QEMU has ended. With `-no-shutdown` QEMU stays, and this returns when the guest is off.
    ///
    /// A guest has to listen to the button: systemd does, as do acpid and a kernel that is told to. One that is still
    /// booting, or paused, does not.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use qemu_test::Machine;
    /// # let vm = Machine::builder().launch()?;
    /// vm.powerdown(Duration::from_secs(30))?;
    /// assert!(!vm.is_running());
    /// # Ok::<(), qemu_test::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`], with what came instead, when the guest has not powered off after `timeout`;
    /// [`Error::Guest`] when it ends in another way: a reboot with `-no-reboot`, a panic.
    pub fn powerdown(&self, timeout: Duration) -> Result<()> {
        let wait = self.wait_of(timeout);
        let from = self.inner().client.next_event_number();
        let button = Command::new("system_powerdown");
        self.inner().client.execute(&button, &[], wait)?.into_result()?;
        self.take_event(from, &"POWERDOWN".into(), wait)?;
        let shutdown = self.take_event(from, &"SHUTDOWN".into(), wait);
        let shutdown = shutdown.map_err(|error| self.not_powered_off(error))?;
        let reason = shutdown.data["reason"].as_str().unwrap_or(GUEST_SHUTDOWN);
        if reason != GUEST_SHUTDOWN {
            return Err(Error::Guest(GuestError {
                attempt: Some(wait.attempt("waiting for it to power off".to_owned())),
                reason: format!("the guest ended in another way (`{reason}`)"),
                output: self.console_tail(),
            }));
        }
        // A QEMU that is to stay answers; one that ends is past that when it has told of the shutdown.
        match self
            .inner()
            .client
            .execute(&Command::new("query-status"), &[], wait)
        {
            Err(Error::Exited(_) | Error::Disconnected(_)) => {}
            reply => return reply.map(drop),
        }
        self.inner().await_end(wait.deadline);
        if self.is_running()
            && let Some(error) = wait.over(|| "waiting for QEMU to end".to_owned(), String::new)
        {
            return Err(error);
        }
        Ok(())
    }

    /// Resets the machine (`system_reset`), as the button of this name does: the guest is not asked. Returns when the
    /// machine begins anew.
    ///
    /// # Errors
    ///
    /// With `-no-reboot` QEMU ends instead, and the error says so; otherwise as for [`command`](Self::command).
    pub fn reset(&self) -> Result<()> {
        let from = self.inner().client.next_event_number();
        let command = Command::new("system_reset");
        let wait = self.inner().client.terms(&command);
        self.inner().client.execute(&command, &[], wait)?.into_result()?;
        let reset = EventFilter::new("RESET").data(json!({ "guest": false }));
        let event = self.take_event(from, &EventFilter::any([reset, "SHUTDOWN".into()]), wait)?;
        if event.name == "SHUTDOWN" {
            return Err(Error::other(format!(
                "machine `{}` ends instead of a reset: that is what `-no-reboot` and `-action reboot=shutdown` mean",
                self.name()
            )));
        }
        Ok(())
    }

    /// Stops the guest's processors (`stop`), until [`resume`](Self::resume). Its clock stands still, too. Nothing
    /// happens to one that does not run.
    ///
    /// # Errors
    ///
    /// As for [`command`](Self::command).
    pub fn pause(&self) -> Result<()> {
        self.run_state("stop", "STOP", |status| status["running"] == true)
    }

    /// Lets the guest's processors run (`cont`): after [`pause`](Self::pause), or `-S`. Nothing happens to one that
    /// runs.
    ///
    /// # Errors
    ///
    /// As for [`command`](Self::command): QEMU refuses it for a guest that needs a [`reset`](Self::reset) first,
    /// because it has panicked or powered off.
    pub fn resume(&self) -> Result<()> {
        // A machine that waits for a migration only notes that it is to run afterwards.
        self.run_state("cont", "RESUME", |status| {
            status["running"] == false && status["status"] != "inmigrate"
        })
    }

    /// Pulls the plug: the guest stops between two instructions, and QEMU is killed on the spot, wrapper and all.
    ///
    /// What the guest had written to its disks is in their files as far as QEMU had written it there; what the guest,
    /// or QEMU, still held in memory is lost. A machine launched with the same disks finds them as after a power cut.
    ///
    /// ```no_run
    /// # use qemu_test::Machine;
    /// # fn boots_again(_: &Machine) -> qemu_test::Result<()> { Ok(()) }
    /// let builder = Machine::builder().args(["-drive", "file=disk.qcow2,if=virtio"]);
    /// let vm = builder.launch()?;
    /// vm.crash()?;
    /// boots_again(&builder.launch()?)?;
    /// # Ok::<(), qemu_test::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`kill`](Self::kill), which is the same.
    pub fn crash(&self) -> Result<ExitStatus> {
        self.kill()
    }

    /// Executes `command`, and takes `event` where the machine's status says that there will be one.
    fn run_state(
        &self,
        command: &str,
        event: &str,
        changes: impl Fn(&serde_json::Value) -> bool,
    ) -> Result<()> {
        let from = self.inner().client.next_event_number();
        let status = self.command("query-status")?;
        let command = Command::new(command);
        let wait = self.inner().client.terms(&command);
        self.inner().client.execute(&command, &[], wait)?.into_result()?;
        if changes(&status) {
            self.take_event(from, &event.into(), wait)?;
        }
        Ok(())
    }

    fn wait_of(&self, timeout: Duration) -> Wait<'_> {
        Wait::new(Deadline::after(timeout), Some(&self.inner().parts.interrupt))
    }

    fn take_event(&self, from: u64, filter: &EventFilter, wait: Wait<'_>) -> Result<Event> {
        self.inner().client.wait_event_from(from, filter, wait)
    }

    fn not_powered_off(&self, error: Error) -> Error {
        match error {
            Error::Timeout(mut timeout) => {
                timeout.attempt.doing =
                    "waiting for the guest to power off, its power button being pressed".to_owned();
                let console = self.console_tail();
                if !console.trim().is_empty() {
                    timeout.seen = console;
                }
                Error::Timeout(timeout)
            }
            error => error,
        }
    }

    fn console_tail(&self) -> String {
        let console = self.inner().parts.consoles.first();
        console.map_or_else(String::new, |console| console.tail(CONSOLE_LINES))
    }
}
