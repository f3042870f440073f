//! From a builder to a command line: the arguments of ours that go before the user's, and the script that starts
//! the same machine by hand.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use super::builder::MachineBuilder;
use super::consoles;
use super::share;
use crate::accel::Choice;
use crate::command_line::{escaped, shell_quoted};

/// The first descriptor that a machine's process gets behind stdin, stdout and stderr.
pub(super) const FIRST_FD: RawFd = 3;

/// The chardevs of ours. Their names are a contract with the people who read a command line, too.
const MONITOR: &str = "monitor";
const QTEST: &str = "qtest";

/// What QEMU's end of a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// An inherited socket.
    Fd(RawFd),
    /// A Unix socket that we listen on.
    Unix(OsString),
    /// A TCP port that we listen on.
    Tcp { host: String, port: u16 },
}

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
    line.extend(share::arguments(
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

impl Endpoint {
    pub(super) fn chardev(&self, id: &str) -> OsString {
        let mut value = OsString::from(format!("socket,id={id},"));
        match self {
            Self::Fd(fd) => value.push(format!("fd={fd}")),
            Self::Unix(path) => {
                value.push("path=");
                value.push(escaped(path));
            }
            Self::Tcp { host, port } => value.push(format!("host={host},port={port}")),
        }
        value
    }
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

/// A shell script that starts the same machine without the library: monitor and console on the terminal.
pub(super) fn script(
    builder: &MachineBuilder,
    program: &Path,
    cwd: Option<&Path>,
    accel: Option<&Choice>,
    connections: &Connections,
) -> Vec<u8> {
    let mut text = String::from(
        "#!/bin/sh\n\
         # Starts this machine again, without the test. The terminal is its monitor and, where it has some, its\n\
         # consoles: Ctrl-A C goes to the next of them, Ctrl-A X ends QEMU. Arguments to this script go to QEMU.\n",
    );
    if connections.qtest.is_some() {
        text.push_str(
            "# The test drove it over qtest, which needs a program at the other end: left out here.\n",
        );
    }
    for (_, set, opaque) in &connections.fd_sets {
        let _ = writeln!(
            text,
            "# The test gave it a descriptor in set {set} ({opaque:?}): left out here."
        );
    }
    text.push_str("set -e\n");
    if let Some(cwd) = cwd {
        let _ = writeln!(text, "cd {}", shell_quoted(cwd.as_os_str()));
    }
    let uses_dir = |word: &OsString| with_dir(word, Path::new("")) != *word;
    let has_dir =
        !builder.shares.is_empty() || builder.wrapper.iter().chain(&builder.arguments).any(uses_dir);
    if has_dir {
        text.push_str("dir=$(mktemp -d)\ntrap 'rm -rf \"$dir\"' EXIT\n");
    }
    text.push_str(&share::script(&builder.shares));
    for (name, value) in &builder.environment {
        let _ = writeln!(text, "export {}={}", name.display(), shell_quoted(value));
    }
    // With a folder to remove, the shell has to outlive QEMU.
    if !has_dir {
        text.push_str("exec ");
    }
    for word in &builder.wrapper {
        let _ = write!(text, "{} ", quoted_with_dir(word));
    }
    text.push_str(&shell_quoted(program.as_os_str()));
    text.push_str(" -display none -vga none -chardev stdio,id=terminal,mux=on,signal=off");
    if let Some(choice) = accel {
        let _ = write!(text, " -accel {}", choice.name());
    }
    // Quoted below as the user's arguments are.
    let shares = share::arguments(&builder.shares, program, Path::new("{dir}"), &builder.arguments);
    let (serial, virtio) = consoles::script_arguments(&builder.consoles, &builder.arguments);
    text.push_str(&serial);
    text.push_str(" -monitor chardev:terminal");
    for argument in builder.arguments.iter().chain(&virtio).chain(&shares) {
        // One option and its value a line: two scripts compare well then.
        let is_option = argument.as_bytes().first() == Some(&b'-');
        text.push_str(if is_option { " \\\n  " } else { " " });
        text.push_str(&quoted_with_dir(argument));
    }
    text.push_str(" \"$@\"\n");
    text.into_bytes()
}

/// `word` for the shell, `{dir}` in it as the variable of the script.
fn quoted_with_dir(word: &OsStr) -> String {
    let mut quoted = String::new();
    let mut rest = word.as_bytes();
    const PLACE: &[u8] = b"{dir}";
    while let Some(at) = rest.windows(PLACE.len()).position(|window| window == PLACE) {
        if at > 0 {
            quoted.push_str(&shell_quoted(OsStr::from_bytes(&rest[..at])));
        }
        quoted.push_str("\"$dir\"");
        rest = &rest[at + PLACE.len()..];
    }
    if !rest.is_empty() || quoted.is_empty() {
        quoted.push_str(&shell_quoted(OsStr::from_bytes(rest)));
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CommandLine;
    use crate::Machine;

    fn connections() -> Connections {
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

    #[test]
    fn the_script_has_the_users_arguments_and_none_of_our_descriptors() {
        let builder = Machine::builder()
            .console()
            .args(["-S", "-drive", "file={dir}/it's"])
            .env("A", "b c");
        let script = script(
            &builder,
            Path::new("/q"),
            Some(Path::new("/w")),
            None,
            &connections(),
        );
        let script = String::from_utf8(script).unwrap();
        assert!(
            script.contains(
                "cd /w\ndir=$(mktemp -d)\ntrap 'rm -rf \"$dir\"' EXIT\nexport A='b c'\n/q -display"
            )
        );
        assert!(
            script
                .contains(" -serial chardev:terminal -monitor chardev:terminal \\\n  -S \\\n  -drive file=")
        );
        assert!(script.ends_with("file=\"$dir\"'/it'\\''s' \"$@\"\n"));
        assert!(!script.contains("fd="));
    }
}
