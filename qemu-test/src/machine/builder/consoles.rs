//! The consoles that a machine is to have.

use super::MachineBuilder;

/// The name of the console that [`Machine::console`](crate::Machine::console) gives, and the chardev of it.
pub(crate) const CONSOLE: &str = "console";

/// A console that a machine is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConsoleSpec {
    pub(crate) name: String,
    pub(crate) device: Device,
}

/// What it is for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    Serial,
    VirtioConsole,
    VirtioPort,
}

impl MachineBuilder {
    /// Connects the guest's first serial port to [`Machine::console`](crate::Machine::console). Once is enough.
    pub fn console(mut self) -> Self {
        if !self.consoles.iter().any(|console| console.name == CONSOLE) {
            // Serial ports are numbered by their order, and this is the first one.
            self.consoles.insert(0, ConsoleSpec::new(CONSOLE, Device::Serial));
        }
        self
    }

    /// Connects the guest's next serial port to [`Machine::console_named`](crate::Machine::console_named): the
    /// second one of a machine with a [`console`](Self::console), which Linux calls `/dev/ttyS1` on a PC. A PC has
    /// four, other machines have fewer.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use qemu_test::Machine;
    ///
    /// let vm = Machine::builder().console().serial_console("debug").launch()?;
    /// vm.console_named("debug").wait_for("ready", Duration::from_secs(30))?;
    /// # Ok::<(), qemu_test::Error>(())
    /// ```
    ///
    /// A name has letters, digits, `-`, `_` and `.`; the console's file is `console-<name>.log`.
    pub fn serial_console(self, name: impl Into<String>) -> Self {
        self.with_console(name, Device::Serial)
    }

    /// Connects a virtio console to [`Machine::console_named`](crate::Machine::console_named), and with the name
    /// `console` to [`Machine::console`](crate::Machine::console): `/dev/hvc0` for Linux, then `/dev/hvc1`.
    ///
    /// It is much faster than a serial port, and says nothing before the guest's driver (`virtio_console`) runs. The
    /// device is `virtio-serial` on the machine's PCI bus, or on virtio-mmio for a `microvm` without one.
    pub fn virtio_console(self, name: impl Into<String>) -> Self {
        self.with_console(name, Device::VirtioConsole)
    }

    /// Connects a virtio serial port, which is a plain stream of bytes and no terminal, to
    /// [`Machine::console_named`](crate::Machine::console_named): `/dev/virtio-ports/<name>` for a Linux with udev,
    /// one of `/dev/vport*` without. For a program of the guest that answers the test, an agent for instance.
    pub fn virtio_port(self, name: impl Into<String>) -> Self {
        self.with_console(name, Device::VirtioPort)
    }

    fn with_console(mut self, name: impl Into<String>, device: Device) -> Self {
        self.consoles.push(ConsoleSpec::new(name, device));
        self
    }
}

impl ConsoleSpec {
    fn new(name: impl Into<String>, device: Device) -> Self {
        Self {
            name: name.into(),
            device,
        }
    }

    /// The name of the file that gets the console's bytes.
    pub(in crate::machine) fn file_name(&self) -> String {
        format!("{}.log", self.chardev())
    }

    pub(in crate::machine) fn chardev(&self) -> String {
        match self.name.as_str() {
            CONSOLE => CONSOLE.to_owned(),
            name => format!("{CONSOLE}-{name}"),
        }
    }

    pub(in crate::machine) fn is_virtio(&self) -> bool {
        self.device != Device::Serial
    }
}

/// Why there can be no machine with these consoles.
pub(super) fn mistake(consoles: &[ConsoleSpec]) -> Option<String> {
    for (position, ConsoleSpec { name, .. }) in consoles.iter().enumerate() {
        // Beside QEMU's rules for an id there are those for a file name.
        let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || !name.chars().all(fit) {
            return Some(format!(
                "`{name}` is no name for a console: it has letters, digits, `-`, `_` and `.`"
            ));
        }
        if consoles[..position].iter().any(|other| other.name == *name) {
            return Some(format!("two of its consoles are called `{name}`"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Machine;

    #[test]
    fn a_name_that_is_none_or_taken_is_a_mistake() {
        let mistake = |builder: MachineBuilder| super::mistake(&builder.consoles).unwrap_or_default();
        assert_eq!(mistake(Machine::builder().console().virtio_port("a.b-c_1")), "");
        assert!(mistake(Machine::builder().serial_console("a/b")).contains("`a/b` is no name"));
        assert!(mistake(Machine::builder().serial_console("")).contains("`` is no name"));
        let twice = Machine::builder().serial_console("a").virtio_port("a");
        assert!(mistake(twice).contains("two of its consoles are called `a`"));
    }
}
