//! The consoles of a machine: which there are, and how QEMU is told of them.

use std::ffi::OsString;
use std::os::fd::RawFd;

use super::arguments::Endpoint;
use super::builder::MachineBuilder;
use super::handle::Machine;
use crate::console::Console;

/// The name of the console that [`Machine::console`](crate::Machine::console) gives, and the chardev of it.
pub(crate) const CONSOLE: &str = "console";

/// How many front ends one of QEMU's multiplexed chardevs has (`MAX_MUX` of its `chardev/chardev-internal.h`).
const MULTIPLEXED: usize = 4;

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

impl Machine {
    /// The guest's first serial port, or its virtio console of the name `console`.
    ///
    /// # Panics
    ///
    /// Where the machine was not built with [`MachineBuilder::console`].
    #[track_caller]
    pub fn console(&self) -> &Console {
        self.inner().console(CONSOLE).unwrap_or_else(|| {
            panic!("machine `{}` has no console: say `console` in #[qemu_test(console)] or call MachineBuilder::console()", self.name())
        })
    }

    /// The console that was given this name by [`MachineBuilder::serial_console`],
    /// [`virtio_console`](MachineBuilder::virtio_console) or [`virtio_port`](MachineBuilder::virtio_port).
    ///
    /// # Panics
    ///
    /// Where there is none of this name; the message names those that there are.
    #[track_caller]
    pub fn console_named(&self, name: &str) -> &Console {
        self.inner().console(name).unwrap_or_else(|| {
            let names: Vec<_> = self.inner().parts.consoles.iter().map(Console::name).collect();
            panic!(
                "machine `{}` has no console `{name}`; it has: {}",
                self.name(),
                names.join(", ")
            )
        })
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
    pub(super) fn file_name(&self) -> String {
        format!("{}.log", self.chardev())
    }

    fn chardev(&self) -> String {
        match self.name.as_str() {
            CONSOLE => CONSOLE.to_owned(),
            name => format!("{CONSOLE}-{name}"),
        }
    }

    fn is_virtio(&self) -> bool {
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

/// The chardevs of all consoles, and the serial ports. They go before the user's arguments, so that the first serial
/// port is ours.
pub(super) fn serial_arguments(consoles: &[ConsoleSpec], numbers: &[RawFd]) -> Vec<OsString> {
    let mut arguments = Vec::new();
    for (console, fd) in consoles.iter().zip(numbers) {
        let chardev = console.chardev();
        arguments.extend(["-chardev".into(), Endpoint::Fd(*fd).chardev(&chardev)]);
        if console.device == Device::Serial {
            arguments.extend(["-serial".into(), format!("chardev:{chardev}").into()]);
        }
    }
    arguments
}

/// The virtio devices. They go after the user's arguments, so that a place on the bus which the user chose is free.
pub(super) fn virtio_arguments(consoles: &[ConsoleSpec], users: &[OsString]) -> Vec<OsString> {
    if !consoles.iter().any(ConsoleSpec::is_virtio) {
        return Vec::new();
    }
    let controller = if has_pci(users) {
        "virtio-serial"
    } else {
        "virtio-serial-device"
    };
    let mut devices = vec![controller.to_owned()];
    for console in consoles {
        let (chardev, name) = (console.chardev(), &console.name);
        match console.device {
            Device::Serial => {}
            Device::VirtioConsole => devices.push(format!("virtconsole,chardev={chardev}")),
            Device::VirtioPort => devices.push(format!("virtserialport,chardev={chardev},name={name}")),
        }
    }
    let option = |device: String| ["-device".into(), device.into()];
    devices.into_iter().flat_map(option).collect()
}

/// Whether a machine of these arguments has a PCI bus: all that have virtio at all do, but for a `microvm` without one.
pub(super) fn has_pci(arguments: &[OsString]) -> bool {
    let options = arguments
        .iter()
        .zip(arguments.iter().skip(1))
        .filter(|(option, _)| *option == "-machine" || *option == "-M");
    let types: Vec<_> = options.map(|(_, value)| value.to_string_lossy()).collect();
    let is_microvm = |value: &str| {
        let machine = value.strip_prefix("type=").unwrap_or(value);
        machine.split(',').next() == Some("microvm")
    };
    !types.iter().any(|value| is_microvm(value)) || types.iter().any(|value| value.contains("pcie=on"))
}

/// What connects the consoles to the chardev `terminal` of the script that starts a machine by hand, as far as it has
/// room beside the monitor. The others lead nowhere.
pub(super) fn script_arguments(consoles: &[ConsoleSpec], users: &[OsString]) -> (String, Vec<OsString>) {
    let (mut serial, mut virtio) = (String::new(), virtio_arguments(consoles, users));
    for (position, console) in consoles.iter().enumerate() {
        let chardev = if position + 1 < MULTIPLEXED {
            "terminal".to_owned()
        } else {
            let id = console.chardev();
            serial.push_str(&format!(" -chardev null,id={id}"));
            id
        };
        if console.device == Device::Serial {
            serial.push_str(&format!(" -serial chardev:{chardev}"));
            continue;
        }
        let ours = format!("chardev={}", console.chardev());
        for device in &mut virtio {
            let words = device.to_string_lossy();
            let renamed = words
                .split(',')
                .map(|word| {
                    if word == ours {
                        format!("chardev={chardev}")
                    } else {
                        word.to_owned()
                    }
                })
                .collect::<Vec<_>>()
                .join(",");
            *device = renamed.into();
        }
    }
    (serial, virtio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Machine;

    fn strings(arguments: Vec<OsString>) -> String {
        let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn the_console_is_the_first_serial_port_whenever_it_was_asked_for() {
        let builder = Machine::builder().serial_console("second").console().console();
        assert_eq!(
            strings(serial_arguments(&builder.consoles, &[4, 5])),
            "-chardev socket,id=console,fd=4 -serial chardev:console \
             -chardev socket,id=console-second,fd=5 -serial chardev:console-second"
        );
        assert!(virtio_arguments(&builder.consoles, &[]).is_empty());
    }

    #[test]
    fn a_virtio_console_may_be_the_console() {
        let builder = Machine::builder()
            .virtio_console(CONSOLE)
            .console()
            .virtio_port("agent");
        assert_eq!(
            strings(serial_arguments(&builder.consoles, &[4, 5])),
            "-chardev socket,id=console,fd=4 -chardev socket,id=console-agent,fd=5"
        );
        let devices =
            "-device virtconsole,chardev=console -device virtserialport,chardev=console-agent,name=agent";
        for (machine, controller) in [
            (["-machine", "q35"], "virtio-serial"),
            (["-M", "microvm,acpi=on"], "virtio-serial-device"),
            (["-M", "microvm,pcie=on"], "virtio-serial"),
        ] {
            assert_eq!(
                strings(virtio_arguments(&builder.consoles, &machine.map(OsString::from))),
                format!("-device {controller} {devices}")
            );
        }
    }

    #[test]
    fn the_script_has_as_many_consoles_on_the_terminal_as_it_takes() {
        let builder = Machine::builder()
            .console()
            .virtio_console("a")
            .serial_console("b")
            .virtio_console("c");
        let (serial, virtio) = script_arguments(&builder.consoles, &[]);
        assert_eq!(
            serial,
            " -serial chardev:terminal -serial chardev:terminal -chardev null,id=console-c"
        );
        assert_eq!(
            strings(virtio),
            "-device virtio-serial -device virtconsole,chardev=terminal -device virtconsole,chardev=console-c"
        );
    }

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
