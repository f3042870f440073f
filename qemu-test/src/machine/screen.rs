//! The guest's screen and keyboard: pictures of what it shows, and keys as a person would press them.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};

use super::handle::Machine;
use super::inner::Inner;
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::interrupt::Wait;
use crate::qmp::Command;

/// How every PNG file begins (section 5.2 of the PNG specification).
const PNG: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// How long a key is held down, and how long it is up before the next one: QEMU's own default for `send-key`. A
/// keyboard keeps no more than 16 bytes, about five keys, for a guest that has no time to read.
const HOLD: Duration = Duration::from_millis(100);

/// So many keys are sent at once: QEMU keeps 1024 events (`queue_limit` of its `ui/input.c`), four for a key with a
/// pause after each, and drops what is more without a word.
const KEYS_AT_ONCE: usize = 64;

impl Machine {
    /// Writes a picture of the guest's screen to `path`, in PNG format.
    ///
    /// The base arguments leave every machine without a screen: one has a screen that has a display device among its
    /// own arguments, such as `-device VGA`, `-device virtio-gpu-pci` or `-device ramfb`. Before the guest has drawn
    /// anything, the picture says so.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// use qemu_test::{Machine, qemu_test};
    ///
    /// #[qemu_test(args = ["-device", "VGA"])]
    /// fn the_firmware_draws(vm: &Machine) -> qemu_test::Result<()> {
    ///     vm.screenshot(vm.dir().join("screen.png"))
    /// }
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// For a machine without a display device; for a QEMU older than 7.1 or built without libpng, which writes no PNG;
    /// otherwise as for [`command`](Self::command).
    pub fn screenshot(&self, path: impl AsRef<Path>) -> Result<()> {
        let wait = self.inner().client.terms(&Command::new("screendump"));
        self.inner().screenshot(path.as_ref(), wait)
    }

    /// Presses keys on the guest's keyboard, one after the other: `"a"`, `"ctrl-alt-delete"`, `"down down ret"`.
    ///
    /// A key is called as in QMP's `QKeyCode` and HMP's `sendkey`: letters and digits, `ret`, `esc`, `tab`, `spc`,
    /// `backspace`, `up`, `f1`, `shift`, `ctrl`, `alt`, `meta_l`. Keys joined by `-` are held down together; white
    /// space stands between those that follow each other. For text there is [`type_text`](Self::type_text).
    ///
    /// Each key is down for 100 ms and up for as long; this returns before the last ones have been pressed. A PC has a
    /// keyboard of its own; other machines need one, such as `-device virtio-keyboard-pci`, and without one the keys
    /// go nowhere.
    ///
    /// ```no_run
    /// # use qemu_test::Machine;
    /// # let vm = Machine::builder().launch()?;
    /// vm.send_keys("ctrl-alt-f2")?;
    /// vm.type_text("root\n")?;
    /// # Ok::<(), qemu_test::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Qmp`] for a key that QEMU does not know; otherwise as for [`command`](Self::command).
    pub fn send_keys(&self, keys: impl AsRef<str>) -> Result<()> {
        self.press(
            keys.as_ref()
                .split_whitespace()
                .map(|chord| chord.split('-').collect()),
        )
    }

    /// Types `text` on the guest's keyboard, as [`send_keys`](Self::send_keys) does, taking it for one of the US
    /// layout. `\n` is the return key, and `\t` the tab key.
    ///
    /// # Errors
    ///
    /// As for `send_keys`, and for a character that this keyboard does not have: then nothing is typed.
    pub fn type_text(&self, text: impl AsRef<str>) -> Result<()> {
        let keys = text.as_ref().chars().map(|c| {
            keys_of(c).ok_or_else(|| {
                Error::other(format!(
                    "cannot type {c:?}: a keyboard of the US layout has no key for it"
                ))
            })
        });
        self.press(keys.collect::<Result<Vec<_>>>()?)
    }

    fn press<'k>(&self, chords: impl IntoIterator<Item = Vec<&'k str>>) -> Result<()> {
        for (number, chord) in chords.into_iter().enumerate() {
            if number > 0 && number.is_multiple_of(KEYS_AT_ONCE) {
                self.let_keys_pass()?;
            }
            let keys: Vec<_> = chord
                .iter()
                .map(|key| json!({ "type": "qcode", "data": key }))
                .collect();
            let arguments = json!({ "keys": keys, "hold-time": HOLD.as_millis() as u64 });
            self.command(Command::new("send-key").arguments(arguments))?;
        }
        Ok(())
    }

    /// Waits for as long as QEMU takes to press the keys that it has. It does not tell when it has.
    fn let_keys_pass(&self) -> Result<()> {
        let time = HOLD * 2 * KEYS_AT_ONCE as u32;
        let wait = Wait::new(Deadline::exactly(time), Some(&self.inner().parts.interrupt));
        let mut fds = [PollFd::new(&self.inner().parts.interrupt, PollFlags::IN)];
        loop {
            match poll(&mut fds, wait.deadline.timespec().as_ref()) {
                Ok(0) => return Ok(()),
                Ok(_) => {
                    let over = wait.over(|| "pressing keys".to_owned(), String::new);
                    return over.map_or(Ok(()), Err);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::io("pressing keys", error.into())),
            }
        }
    }
}

impl Inner {
    /// Writes a picture of the screen on terms of the caller's.
    pub(crate) fn screenshot(&self, path: &Path, wait: Wait<'_>) -> Result<()> {
        let taking = |why: String| {
            let machine = &self.parts.name;
            Error::other(format!("cannot take a screenshot of machine `{machine}`: {why}"))
        };
        let path =
            std::path::absolute(path).map_err(|e| Error::io(format!("resolving {}", path.display()), e))?;
        let Some(name) = path.to_str() else {
            return Err(taking(format!(
                "{} is no UTF-8, and QMP has no other text",
                path.display()
            )));
        };
        if !self.has_screen(wait)? {
            return Err(taking(
                "it has no display device, such as `-device VGA`".to_owned(),
            ));
        }
        let arguments = json!({ "filename": name, "format": "png" });
        let command = Command::new("screendump").arguments(arguments);
        match self.client.execute(&command, &[], wait)?.into_result() {
            Ok(_) => {}
            Err(Error::Qmp(error)) => {
                return Err(taking(format!(
                    "{}. It takes a QEMU from 7.1 on that was built with libpng",
                    error.desc.trim_end_matches('.')
                )));
            }
            Err(error) => return Err(error),
        }
        let mut signature = [0; PNG.len()];
        let read = File::open(&path).and_then(|mut file| file.read_exact(&mut signature));
        match read {
            Ok(()) if signature == PNG => Ok(()),
            Ok(()) => Err(taking(format!("what QEMU wrote to {} is no PNG", path.display()))),
            // QEMU may live in another root, or have another user's rights.
            Err(error) => Err(Error::io(
                format!("reading {}, where QEMU was to write a screenshot", path.display()),
                error,
            )),
        }
    }
}

impl Inner {
    /// Whether there is a screen. Serial ports that lead nowhere are consoles to QEMU too, and it would draw those.
    pub(crate) fn has_screen(&self, wait: Wait<'_>) -> Result<bool> {
        const CONSOLES: &str = "/backend";
        let ask =
            |command: Command| -> Result<Value> { self.client.execute(&command, &[], wait)?.into_result() };
        let consoles = ask(Command::new("qom-list").arguments(json!({ "path": CONSOLES })))?;
        for console in consoles.as_array().into_iter().flatten() {
            let (name, kind) = (console["name"].as_str(), console["type"].as_str());
            let Some(name) = name.filter(|name| name.starts_with("console[")) else {
                continue;
            };
            let is_screen = match kind.unwrap_or_default() {
                "child<qemu-graphic-console>" => true,
                // Before QEMU 8.2 all are of one type, and only a screen belongs to a device.
                "child<qemu-console>" => {
                    let path = format!("{CONSOLES}/{name}");
                    let device = json!({ "path": path, "property": "device" });
                    let device = ask(Command::new("qom-get").arguments(device))?;
                    device.as_str().is_some_and(|device| !device.is_empty())
                }
                _ => false,
            };
            if is_screen {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The keys to hold down for `c` on a keyboard of the US layout.
fn keys_of(c: char) -> Option<Vec<&'static str>> {
    /// Each key with what it types alone and together with shift.
    const KEYS: &[(&str, char, char)] = &[
        ("grave_accent", '`', '~'),
        ("1", '1', '!'),
        ("2", '2', '@'),
        ("3", '3', '#'),
        ("4", '4', '$'),
        ("5", '5', '%'),
        ("6", '6', '^'),
        ("7", '7', '&'),
        ("8", '8', '*'),
        ("9", '9', '('),
        ("0", '0', ')'),
        ("minus", '-', '_'),
        ("equal", '=', '+'),
        ("bracket_left", '[', '{'),
        ("bracket_right", ']', '}'),
        ("backslash", '\\', '|'),
        ("semicolon", ';', ':'),
        ("apostrophe", '\'', '"'),
        ("comma", ',', '<'),
        ("dot", '.', '>'),
        ("slash", '/', '?'),
    ];
    const LETTERS: &str = "abcdefghijklmnopqrstuvwxyz";
    let alone = |key| Some(vec![key]);
    match c {
        ' ' => alone("spc"),
        '\n' | '\r' => alone("ret"),
        '\t' => alone("tab"),
        '\x08' => alone("backspace"),
        '\x1b' => alone("esc"),
        _ if c.is_ascii_alphabetic() => {
            let position = (c.to_ascii_lowercase() as u8 - b'a') as usize;
            let key = &LETTERS[position..=position];
            Some(if c.is_ascii_uppercase() {
                vec!["shift", key]
            } else {
                vec![key]
            })
        }
        _ => KEYS.iter().find_map(|&(key, plain, shifted)| match c {
            c if c == plain => Some(vec![key]),
            c if c == shifted => Some(vec!["shift", key]),
            _ => None,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_character_of_ascii_has_its_keys_and_no_other_has() {
        let printable = (' '..='~').map(|c| keys_of(c).unwrap());
        let mut all: Vec<_> = printable.collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 95, "two characters have the same keys");
        assert_eq!(keys_of('Q'), Some(vec!["shift", "q"]));
        assert_eq!(keys_of('?'), Some(vec!["shift", "slash"]));
        assert_eq!(keys_of('ß'), None);
    }
}
