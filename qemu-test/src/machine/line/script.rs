//! The script that starts the same machine by hand.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::super::builder::MachineBuilder;
use super::{Connections, consoles, shares, with_dir};
use crate::accel::Choice;
use crate::command_line::shell_quoted;
use crate::images::Written;

/// A shell script that starts the same machine without the library: monitor and console on the terminal. Where the
/// machine's images are not to be written, `images` are those that `-snapshot` does not see to.
pub(in crate::machine) fn script(
    builder: &MachineBuilder,
    images: Option<&Written>,
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
    let mut arguments = images.map_or_else(|| builder.arguments.clone(), |images| images.arguments.clone());
    if images.is_some() {
        arguments.push("-snapshot".into());
    }
    let uses_dir = |word: &OsString| with_dir(word, Path::new("")) != *word;
    let has_dir = !builder.shares.is_empty() || builder.wrapper.iter().chain(&arguments).any(uses_dir);
    if has_dir {
        text.push_str("dir=$(mktemp -d)\ntrap 'rm -rf \"$dir\"' EXIT\n");
    }
    if let Some(images) = images {
        text.push_str(&copies(images));
    }
    text.push_str(&shares::script(&builder.shares));
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
    let disks = shares::arguments(&builder.shares, program, Path::new("{dir}"), &builder.arguments);
    let (serial, virtio) = consoles::script_arguments(&builder.consoles, &builder.arguments);
    text.push_str(&serial);
    text.push_str(" -monitor chardev:terminal");
    for argument in arguments.iter().chain(&virtio).chain(&disks) {
        // One option and its value a line: two scripts compare well then.
        let is_option = argument.as_bytes().first() == Some(&b'-');
        text.push_str(if is_option { " \\\n  " } else { " " });
        text.push_str(&quoted_with_dir(argument));
    }
    text.push_str(" \"$@\"\n");
    text.into_bytes()
}

/// The lines of a script that keep images from being written.
fn copies(images: &Written) -> String {
    let mut text = String::new();
    if !images.elsewhere.is_empty() {
        let drivers = images.elsewhere.join(", ");
        let _ = writeln!(
            text,
            "# This machine would write to what is no file of its own ({drivers}). Take these two lines out if it may.\n\
             echo \"$0: not started: it would write to disks that a test does not write to ({drivers})\" >&2\n\
             exit 1"
        );
    }
    if !images.files.is_empty() {
        text.push_str(
            "# The images of its -blockdev options, which -snapshot does not keep from being written.\n",
        );
    }
    for (number, file) in images.files.iter().enumerate() {
        let _ = writeln!(
            text,
            "cp -- {} \"$dir\"/image-{number}",
            shell_quoted(OsStr::new(file))
        );
    }
    text
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
    use crate::Machine;
    use crate::machine::line::tests::connections;

    #[test]
    fn the_script_has_the_users_arguments_and_none_of_our_descriptors() {
        let builder = Machine::builder()
            .console()
            .args(["-S", "-drive", "file={dir}/it's"])
            .env("A", "b c");
        let script = script(
            &builder,
            None,
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

    #[test]
    fn the_script_of_a_machine_whose_images_are_not_written_writes_none() {
        let script = |node: &str| {
            let builder = Machine::builder().args(["-blockdev", node]);
            let written = Written::by(&builder.arguments);
            let script = script(
                &builder,
                Some(&written),
                Path::new("/q"),
                None,
                None,
                &connections(),
            );
            String::from_utf8(script).unwrap()
        };
        let file = script("driver=file,node-name=a,filename=it's");
        assert!(
            file.contains("\ncp -- 'it'\\''s' \"$dir\"/image-0\n/q "),
            "{file}"
        );
        assert!(
            file.ends_with("driver=file,node-name=a,filename=\"$dir\"/image-0 \\\n  -snapshot \"$@\"\n"),
            "{file}"
        );
        let network = script("driver=nbd,server.type=unix,server.path=/s");
        assert!(network.contains("(nbd)\" >&2\nexit 1\nexec /q "), "{network}");
    }
}
