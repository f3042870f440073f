//! From a builder to a command line.

mod consoles;
mod endpoint;
mod script;
mod shares;

use std::ffi::{OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::builder::MachineBuilder;
use crate::accel::Choice;
use crate::command_line::escaped;

pub(super) use endpoint::Endpoint;
pub(super) use script::script;
pub(super) use shares::archive;

/// The first descriptor that a machine's process gets behind stdin, stdout and stderr.
pub(super) const FIRST_FD: RawFd = 3;

/// The chardevs of ours. Their names are a contract with the people who read a command line, too.
const MONITOR: &str = "monitor";
const QTEST: &str = "qtest";

/// The connections of one machine.
#[derive(Debug)]
pub(super) struct Connections {
    pub(super) monitor: Endpoint,
    /// In the order of the builder's.
    pub(super) consoles: Vec<RawFd>,
    pub(super) qtest: Option<RawFd>,
    /// `(number, set, opaque)` of each descriptor in an fd set.
    pub(super) fd_sets: Vec<(RawFd, u32, String)>,
}

/// The whole command line: wrapper, program, our arguments, the user's.
pub(super) fn command_line(
    builder: &MachineBuilder,
    program: &Path,
    dir: &Path,
    accel: Option<&Choice>,
    connections: &Connections,
) -> Vec<OsString> {
    let mut line: Vec<OsString> = builder.wrapper.iter().map(|word| with_dir(word, dir)).collect();
    line.push(program.into());
    line.extend(base(builder, accel, connections));
    line.extend(builder.arguments.iter().map(|argument| with_dir(argument, dir)));
    line.extend(consoles::virtio_arguments(&builder.consoles, &builder.arguments));
    line.extend(shares::arguments(
        &builder.shares,
        program,
        dir,
        &builder.arguments,
    ));
    line
}

fn base(builder: &MachineBuilder, accel: Option<&Choice>, connections: &Connections) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["-chardev".into(), connections.monitor.chardev(MONITOR)];
    // Not `-mon`, which QEMU deprecates from 11.1 on.
    arguments.extend(["-qmp".into(), format!("chardev:{MONITOR}").into()]);
    arguments.extend(["-display", "none", "-vga", "none"].map(OsString::from));
    arguments.extend(consoles::serial_arguments(
        &builder.consoles,
        &connections.consoles,
    ));
    if let Some(fd) = connections.qtest {
        arguments.extend(["-chardev".into(), Endpoint::Fd(fd).chardev(QTEST)]);
        arguments.extend(["-qtest".into(), format!("chardev:{QTEST}").into()]);
        // The qtest conversation would drown the log.
        arguments.extend(["-qtest-log", "none"].map(OsString::from));
        // A QEMU that was built without the qtest accelerator speaks the protocol all the same; what the protocol
        // needs of the accelerator is that no processor runs.
        arguments.extend(["-accel", "tcg", "-S"].map(OsString::from));
    } else if let Some(choice) = accel {
        arguments.extend(["-accel", choice.name()].map(OsString::from));
    }
    for (fd, set, opaque) in &connections.fd_sets {
        let opaque = escaped(OsStr::new(opaque));
        let mut value = OsString::from(format!("fd={fd},set={set},opaque="));
        value.push(opaque);
        arguments.extend(["-add-fd".into(), value]);
    }
    arguments
}

/// `argument` with the machine's short folder for `{dir}`.
fn with_dir(argument: &OsStr, dir: &Path) -> OsString {
    const PLACE: &[u8] = b"{dir}";
    let mut rest = argument.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let Some(at) = rest.windows(PLACE.len()).position(|window| window == PLACE) {
        bytes.extend_from_slice(&rest[..at]);
        bytes.extend_from_slice(dir.as_os_str().as_bytes());
        rest = &rest[at + PLACE.len()..];
    }
    bytes.extend_from_slice(rest);
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CommandLine;
    use crate::Machine;

    /// Those of a machine with a console.
    pub(super) fn connections() -> Connections {
        Connections {
            monitor: Endpoint::Fd(3),
            consoles: vec![4],
            qtest: None,
            fd_sets: Vec::new(),
        }
    }

    #[test]
    fn ours_come_between_the_program_and_the_users_arguments() {
        let builder = Machine::builder()
            .console()
            .wrapper(["nice", "-n1"])
            .args(["-S", "-kernel", "{dir}/k"]);
        let accel = Choice {
            kvm: true,
            why: String::new(),
        };
        let line = command_line(
            &builder,
            Path::new("/q"),
            Path::new("/t/m"),
            Some(&accel),
            &connections(),
        );
        assert_eq!(
            CommandLine::new(line).to_string(),
            "nice -n1 /q -chardev socket,id=monitor,fd=3 -qmp chardev:monitor -display none -vga none \
             -chardev socket,id=console,fd=4 -serial chardev:console -accel kvm -S -kernel /t/m/k"
        );
    }

    #[test]
    fn a_comma_in_a_path_or_a_remark_is_doubled() {
        let mut connections = connections();
        connections.monitor = Endpoint::Unix("/a,b".into());
        connections.fd_sets.push((5, 1, "x,y".into()));
        let line = command_line(
            &Machine::builder(),
            Path::new("/q"),
            Path::new("/t"),
            None,
            &connections,
        );
        assert!(line.contains(&"socket,id=monitor,path=/a,,b".into()));
        assert!(line.contains(&"fd=5,set=1,opaque=x,,y".into()));
    }
}
