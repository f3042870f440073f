//! How QEMU is told of the consoles.

use std::ffi::OsString;
use std::os::fd::RawFd;

use super::super::builder::{ConsoleSpec, Device};
use super::endpoint::Endpoint;

/// How many front ends one of QEMU's multiplexed chardevs has (`MAX_MUX` of its `chardev/chardev-internal.h`).
const MULTIPLEXED: usize = 4;

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
    use crate::machine::CONSOLE;

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
}
