//! Writing to a console: all or an error, within a limit, even when the guest does not read.

use std::os::fd::AsFd as _;
use std::time::Duration;

use super::handle::{CLOSED, Console, lock};
use crate::Result;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::interrupt::Wait;
use crate::stream::{Unsent, send_all};

/// How long a guest may take to read what it is sent.
const SEND_LIMIT: Duration = Duration::from_secs(30);

impl Console {
    /// Sends `bytes` as they are: nothing is added and nothing translated.
    ///
    /// It returns once QEMU's side has all of it, which is not to say that the guest has read it: up to about 200 KiB
    /// fit in between. A guest may lose input that it is not ready for: a terminal of Linux holds 4095 bytes of a line.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] when the guest has not read enough of it after 30 s (scaled by
    /// `QEMU_TEST_TIMEOUT_SCALE`), and at once whatever ends every wait on the machine.
    ///
    /// ```no_run
    /// # fn example(console: &qemu_test::console::Console) -> qemu_test::Result<()> {
    /// console.send("\r")?; // Enter, as firmware and boot loaders know it
    /// console.send(b"\x1b[B")?; // cursor down
    /// # Ok(())
    /// # }
    /// ```
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> Result<()> {
        let wait = Wait::new(Deadline::after(SEND_LIMIT), Some(&self.shared.interrupt));
        self.send_in(bytes.as_ref(), wait)
    }

    /// Sends `line` and a newline (`\n`): what ends a line for the terminal of Linux. Firmware and boot loaders may
    /// want [`send`](Self::send) with `\r`.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_line(&self, line: impl AsRef<[u8]>) -> Result<()> {
        let mut bytes = line.as_ref().to_vec();
        bytes.push(b'\n');
        self.send(bytes)
    }

    /// Sends what the control key together with `key` sends: `send_control('c')` interrupts, `'d'` is the end of
    /// file, `'['` is escape, `'?'` is delete.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and when there is no such control character.
    pub fn send_control(&self, key: char) -> Result<()> {
        // ECMA-48 pairs the 32 control characters with `@` to `_`; terminals add DEL as `^?`.
        let byte = match key.to_ascii_uppercase() {
            '?' => 0x7f,
            upper @ '@'..='_' => upper as u8 & 0x1f,
            _ => {
                return Err(Error::other(format!(
                    "there is no control character for the key `{key}`"
                )));
            }
        };
        self.send([byte])
    }

    /// [`send`](Self::send) on terms of the caller's.
    pub(crate) fn send_in(&self, bytes: &[u8], wait: Wait<'_>) -> Result<()> {
        // Two threads' lines must not be mixed. The wait for the lock has the bound of the other's wait.
        let _turn = lock(&self.shared.sending);
        let doing = || format!("sending {} bytes to {}", bytes.len(), self.title());
        let mut sent = 0;
        send_all(self.shared.stream.as_fd(), bytes, wait, &mut sent).or_else(|unsent| {
            let seen = || {
                format!(
                    "(the guest does not read: QEMU took {sent} of {} bytes)",
                    bytes.len()
                )
            };
            match unsent {
                Unsent::Over => wait.over(doing, seen).map_or(Ok(()), Err),
                Unsent::Closed => Err(self.ended(wait, &doing, CLOSED)),
                Unsent::Io(error) => Err(Error::io(doing(), error)),
            }
        })
    }
}
