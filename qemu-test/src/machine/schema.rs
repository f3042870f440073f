//! What a machine's QEMU says of itself, at no risk to the machine.

use super::Machine;
use super::stand_in::StandIn;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::interrupt::Wait;
use crate::qmp::Properties;

impl Machine {
    /// This QEMU's schema and the properties of its devices, as one line of JSON for `QEMU_TEST_SCHEMA`, by which
    /// [`qmp!`](crate::qmp!) learns the names of a QEMU that is newer than its table, or patched.
    ///
    /// Some builds of QEMU have device types that they cannot make, such as those of a module whose libraries are not
    /// there, and end when they are asked about one. So it is not this machine that is asked about devices, but another
    /// QEMU: the same program with the same wrapper and environment, started without a machine, and again when a type
    /// has ended it. Such types are left out; the dump's `left-out` names them, each with QEMU's last words, and so does
    /// the log. It takes one or two seconds.
    ///
    /// ```no_run
    /// # fn f(vm: &qemu_test::Machine) -> qemu_test::Result<()> {
    /// std::fs::write("qemu-schema.json", vm.schema_dump()?)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`command`](Self::command), and where the program does not come up without a machine.
    pub fn schema_dump(&self) -> Result<String> {
        let parts = &self.inner().parts;
        let mut running: Option<StandIn> = None;
        self.inner().client.schema_dump_by(&mut |kind| {
            let wait = Wait::new(Deadline::never(), Some(&parts.interrupt));
            let doing = || format!("asking another QEMU about the device `{kind}`");
            if let Some(error) = wait.over(doing, String::new) {
                return Err(error);
            }
            let stand_in = match running.take() {
                Some(stand_in) => stand_in,
                None => parts.stand_ins.start(&parts.interrupt)?,
            };
            match stand_in.client.device_properties(kind) {
                Err(Error::Disconnected(_)) => {
                    let why = stand_in.last_words();
                    log::warn!("{}: the schema dump leaves out `{kind}`: QEMU {why}", self.name());
                    Ok(Properties::Fatal(why))
                }
                answer => {
                    running = Some(stand_in);
                    answer
                }
            }
        })
    }
}
