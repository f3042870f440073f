//! The exact arguments of a machine, and how they look in a shell.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::ops::Deref;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// The arguments with which a machine's process was started, program first.
///
/// It dereferences to `[OsString]`: exactly what `execve(2)` got. Its `Display` quotes for a POSIX shell, so that
/// the line can be pasted into one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine(Vec<OsString>);

impl CommandLine {
    pub(crate) fn new(arguments: Vec<OsString>) -> Self {
        Self(arguments)
    }
}

impl Deref for CommandLine {
    type Target = [OsString];

    fn deref(&self) -> &[OsString] {
        &self.0
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, argument) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&shell_quoted(argument))?;
        }
        Ok(())
    }
}

/// `argument` as one word of a POSIX shell. What is no printable UTF-8 takes the `$'…'` form, which POSIX has
/// since its 2024 edition and bash, zsh, ksh and busybox had long before.
pub(crate) fn shell_quoted(argument: &OsStr) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=+,./:@%^".contains(c);
    match argument.to_str() {
        Some(text) if !text.is_empty() && text.chars().all(plain) => text.to_owned(),
        Some(text) if !text.chars().any(char::is_control) => format!("'{}'", text.replace('\'', r"'\''")),
        _ => ansi_c_quoted(argument.as_bytes()),
    }
}

fn ansi_c_quoted(bytes: &[u8]) -> String {
    let mut quoted = String::from("$'");
    for &byte in bytes {
        match byte {
            b'\\' | b'\'' => quoted.extend(['\\', char::from(byte)]),
            b'\n' => quoted.push_str("\\n"),
            b'\t' => quoted.push_str("\\t"),
            // Three octal digits always: a digit that follows must not be taken for a part of the escape.
            0..=0x1f | 0x7f.. => quoted.push_str(&format!("\\{byte:03o}")),
            _ => quoted.push(char::from(byte)),
        }
    }
    quoted.push('\'');
    quoted
}

/// `text` as a value in one of QEMU's option lists, in which `,,` is a comma.
pub(crate) fn escaped(text: &OsStr) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    for &byte in text.as_bytes() {
        bytes.push(byte);
        if byte == b',' {
            bytes.push(byte);
        }
    }
    OsString::from_vec(bytes)
}

/// The pieces between the commas of an option list, in which `,,` is a comma: what [`escaped`] is undone by.
pub(crate) fn options(list: &OsStr) -> Vec<OsString> {
    let (mut options, mut option) = (Vec::new(), Vec::new());
    let mut bytes = list.as_bytes().iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b',' {
            option.push(byte);
        } else if bytes.next_if_eq(&b',').is_some() {
            option.push(b',');
        } else {
            options.push(OsString::from_vec(std::mem::take(&mut option)));
        }
    }
    options.push(OsString::from_vec(option));
    options
}

/// The name of an option of QEMU's, which may have one hyphen or two.
pub(crate) fn option_name(argument: &OsStr) -> Option<&str> {
    let text = argument.to_str()?;
    text.strip_prefix("--").or_else(|| text.strip_prefix('-'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        let hostile: &[&[u8]] = &[
            b"",
            b"plain-word_1,a=b",
            b"two words",
            b"it's",
            b"$HOME `id` \\ \"x\" *?[a] ~ # ! & ; | < > ( ) { }",
            b"line\nbreak\tand tab",
            b"bell\x07 digit\x011",
            b"\xff\xfe no utf-8 '\\",
            "größe".as_bytes(),
        ];
        let words: Vec<OsString> = hostile
            .iter()
            .map(|bytes| OsStr::from_bytes(bytes).to_owned())
            .collect();
        let script = format!("printf '%s\\0' {}", CommandLine::new(words));
        let output = Command::new("bash")
            .arg("-c")
            .arg(script)
            .output()
            .expect("bash runs");
        let read: Vec<&[u8]> = output.stdout.split(|byte| *byte == 0).collect();
        assert_eq!(&read[..read.len() - 1], hostile);
    }
}
