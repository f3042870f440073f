//! The commands of qtest, each a method.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::connection::{Connection, shortened};
use super::irq::Irq;
use crate::Result;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::interrupt::{Interrupt, Wait};

/// A transfer in one request: QEMU scans the whole of an unfinished line each time a part of it comes.
const TRANSFER_BYTES: usize = 64 << 10;

/// The byte order of a machine's CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endianness {
    /// The least significant byte first.
    Little,
    /// The most significant byte first.
    Big,
}

/// A machine's qtest connection: its ports, memory, interrupt lines and clock, driven from the test.
///
/// No guest is needed, and none runs: the CPUs are paused until `cont`. Addresses are physical. Values of more than one
/// byte are in the guest's byte order on both sides, so that a register reads as its data sheet writes it.
///
/// Every method fails with [`Error::Other`], quoting the command and the answer, when QEMU refuses the command; with
/// [`Error::Timeout`] when it does not answer within the machine's command timeout; and at once when QEMU ends.
///
/// ```no_run
/// # fn example(qtest: &qemu_test::qtest::Qtest) -> qemu_test::Result<()> {
/// // PCI configuration space, mechanism #1: the host bridge's vendor and device.
/// qtest.outl(0xcf8, 0x8000_0000)?;
/// assert_eq!(qtest.inl(0xcfc)?, 0x29c0_8086);
/// # Ok(())
/// # }
/// ```
pub struct Qtest {
    connection: Arc<Connection>,
}

/// Reading and writing of one width: what differs is the command's name and the type.
macro_rules! accessors {
    ($($get:ident, $put:ident: $address:ty => $value:ty, $what:literal;)*) => {$(
        #[doc = concat!("Reads ", $what, ": the command `", stringify!($get), "`.")]
        ///
        /// # Errors
        ///
        /// See [`Qtest`].
        pub fn $get(&self, address: $address) -> Result<$value> {
            let command = format!("{} {address:#x}", stringify!($get));
            let value = self.number(&command)?;
            <$value>::try_from(value).map_err(|_| refused(&command, &format!("OK {value:#x}"), "too large a value"))
        }

        #[doc = concat!("Writes ", $what, ": the command `", stringify!($put), "`.")]
        ///
        /// # Errors
        ///
        /// See [`Qtest`].
        pub fn $put(&self, address: $address, value: $value) -> Result<()> {
            self.command(&format!("{} {address:#x} {value:#x}", stringify!($put))).map(drop)
        }
    )*};
}

impl Qtest {
    /// A client over one end of a socket pair whose other end is QEMU's. Nothing is read until [`feed`](Self::feed) is
    /// called; `limit` is how long a command may take.
    pub(crate) fn new(stream: OwnedFd, interrupt: Arc<Interrupt>, limit: Duration) -> Self {
        Self {
            connection: Connection::new(stream, interrupt, limit),
        }
    }

    /// Another handle of the same connection.
    pub(crate) fn handle(&self) -> Self {
        Self {
            connection: self.connection.clone(),
        }
    }

    /// Takes in what has come, without blocking. False at the end of the connection. Whoever calls it must do so
    /// whenever the descriptor is readable: QEMU stops all of the machine while interrupt messages find no room.
    pub(crate) fn feed(&self) -> io::Result<bool> {
        self.connection.feed()
    }

    accessors! {
        inb, outb: u16 => u8, "8 bits from or to an I/O port";
        inw, outw: u16 => u16, "16 bits from or to an I/O port";
        inl, outl: u16 => u32, "32 bits from or to an I/O port";
        readb, writeb: u64 => u8, "8 bits of memory";
        readw, writew: u64 => u16, "16 bits of memory";
        readl, writel: u64 => u32, "32 bits of memory";
        readq, writeq: u64 => u64, "64 bits of memory";
    }

    /// Reads `length` bytes of memory from `address` on.
    ///
    /// # Errors
    ///
    /// See [`Qtest`].
    ///
    /// ```no_run
    /// # fn example(qtest: &qemu_test::qtest::Qtest) -> qemu_test::Result<()> {
    /// qtest.write(0x8000, b"hello")?;
    /// assert_eq!(qtest.read(0x8000, 5)?, b"hello");
    /// # Ok(())
    /// # }
    /// ```
    pub fn read(&self, address: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let part = (length - bytes.len()).min(TRANSFER_BYTES);
            let command = format!(
                "b64read {:#x} {part:#x}",
                address.wrapping_add(bytes.len() as u64)
            );
            let answer = self.command(&command)?;
            let read = BASE64.decode(answer.as_bytes()).unwrap_or_default();
            if read.len() != part {
                return Err(refused(
                    &command,
                    &format!("OK {}", shortened(&answer)),
                    "not as many bytes",
                ));
            }
            bytes.extend(read);
        }
        Ok(bytes)
    }

    /// Writes `bytes` to memory from `address` on.
    ///
    /// # Errors
    ///
    /// See [`Qtest`]; a part may have been written then.
    pub fn write(&self, address: u64, bytes: impl AsRef<[u8]>) -> Result<()> {
        let mut address = address;
        for part in bytes.as_ref().chunks(TRANSFER_BYTES) {
            self.command(&format!(
                "b64write {address:#x} {:#x} {}",
                part.len(),
                BASE64.encode(part)
            ))?;
            address = address.wrapping_add(part.len() as u64);
        }
        Ok(())
    }

    /// Sets `length` bytes of memory from `address` on to `value`.
    ///
    /// # Errors
    ///
    /// See [`Qtest`].
    pub fn memset(&self, address: u64, length: u64, value: u8) -> Result<()> {
        self.command(&format!("memset {address:#x} {length:#x} {value:#x}"))
            .map(drop)
    }

    /// The byte order of the machine's CPU.
    ///
    /// # Errors
    ///
    /// See [`Qtest`].
    pub fn endianness(&self) -> Result<Endianness> {
        match self.command("endianness")?.as_str() {
            "little" => Ok(Endianness::Little),
            "big" => Ok(Endianness::Big),
            other => Err(refused(
                "endianness",
                &format!("OK {other}"),
                "neither big nor little",
            )),
        }
    }

    /// Advances the virtual clock by `by`, running the timers on the way, and returns the clock.
    ///
    /// # Errors
    ///
    /// See [`Qtest`]. It takes a QEMU with the qtest accelerator: see the [module's text](crate::qtest).
    pub fn clock_step(&self, by: Duration) -> Result<Duration> {
        self.clock(&format!("clock_step {}", by.as_nanos()))
    }

    /// Advances the virtual clock to the next timer, runs it, and returns the clock.
    ///
    /// # Errors
    ///
    /// As [`clock_step`](Self::clock_step).
    pub fn clock_step_next(&self) -> Result<Duration> {
        self.clock("clock_step")
    }

    /// Advances the virtual clock to `to` after the machine's start, and returns the clock. It does not go back.
    ///
    /// # Errors
    ///
    /// As [`clock_step`](Self::clock_step).
    pub fn clock_set(&self, to: Duration) -> Result<Duration> {
        self.clock(&format!("clock_set {}", to.as_nanos()))
    }

    /// Has the inputs of the device at `qom_path` reported instead of handled, until the machine ends: see
    /// [`wait_irq`](Self::wait_irq) and [`irq_events`](Self::irq_events). `qom_path` may be a unique last part, such as
    /// `ioapic`.
    ///
    /// # Errors
    ///
    /// See [`Qtest`]. QEMU intercepts the lines of one device only.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # fn example(qtest: &qemu_test::qtest::Qtest) -> qemu_test::Result<()> {
    /// qtest.irq_intercept_in("ioapic")?;
    /// qtest.outb(0x3fc, 0x08)?; // the first serial port: interrupts to the bus,
    /// qtest.outb(0x3f9, 0x02)?; // one when its transmitter is empty, which it is
    /// qtest.wait_irq(4, true, Duration::from_secs(5))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn irq_intercept_in(&self, qom_path: &str) -> Result<()> {
        self.intercept("irq_intercept_in", qom_path)
    }

    /// Has the outputs of the device at `qom_path` reported instead of handled. See
    /// [`irq_intercept_in`](Self::irq_intercept_in).
    ///
    /// # Errors
    ///
    /// See [`Qtest`].
    pub fn irq_intercept_out(&self, qom_path: &str) -> Result<()> {
        self.intercept("irq_intercept_out", qom_path)
    }

    /// Takes all that intercepted lines have done, oldest first. The last 65,536 events are kept.
    pub fn irq_events(&self) -> Vec<Irq> {
        self.connection.take_irqs()
    }

    /// Waits until the intercepted `line` is raised (or lowered), and takes that event. One that came before the call
    /// counts; other events stay.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] with the events that came instead.
    pub fn wait_irq(&self, line: u32, raised: bool, timeout: Duration) -> Result<()> {
        let wait = Wait::new(Deadline::after(timeout), Some(&self.connection.interrupt));
        self.connection.wait_irq(Irq { line, raised }, wait)
    }

    /// Sends a command as it is, and returns what follows `OK` in the answer: for commands without a method here.
    ///
    /// # Errors
    ///
    /// See [`Qtest`].
    ///
    /// ```no_run
    /// # fn example(qtest: &qemu_test::qtest::Qtest) -> qemu_test::Result<()> {
    /// qtest.command("set_irq_in /machine/unattached/device[3] unnamed-gpio-in 4 1")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn command(&self, command: &str) -> Result<String> {
        if command.contains('\n') {
            return Err(Error::other(format!("a qtest command is one line: {command:?}")));
        }
        let answer = self.connection.request(command)?;
        match answer.strip_prefix("OK") {
            Some(rest) => Ok(rest.trim_start().to_owned()),
            None => Err(refused(command, &answer, hint(command, &answer))),
        }
    }

    fn number(&self, command: &str) -> Result<u64> {
        let answer = self.command(command)?;
        let digits = answer.strip_prefix("0x").unwrap_or(&answer);
        u64::from_str_radix(digits, 16).map_err(|_| refused(command, &format!("OK {answer}"), "no number"))
    }

    fn clock(&self, command: &str) -> Result<Duration> {
        let answer = self.command(command)?;
        let nanoseconds = answer
            .parse()
            .map_err(|_| refused(command, &format!("OK {answer}"), "no number"))?;
        Ok(Duration::from_nanos(nanoseconds))
    }

    fn intercept(&self, command: &str, qom_path: &str) -> Result<()> {
        // A word too many is ignored by QEMU, which would then intercept something else.
        if qom_path.is_empty() || qom_path.contains(char::is_whitespace) {
            return Err(Error::other(format!(
                "`{qom_path}` is no QOM path that qtest can be told"
            )));
        }
        self.command(&format!("{command} {qom_path}")).map(drop)
    }
}

impl AsFd for Qtest {
    /// Readable when QEMU has said something that the watcher of its machine has not taken yet. Reading from it takes
    /// that away from the waits.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.stream.as_fd()
    }
}

impl fmt::Debug for Qtest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Qtest").finish_non_exhaustive()
    }
}

fn refused(command: &str, answer: &str, hint: &str) -> Error {
    let separator = if hint.is_empty() { "" } else { ": " };
    Error::other(format!(
        "qtest answered `{answer}` to the command `{}`{separator}{hint}",
        shortened(command)
    ))
}

fn hint(command: &str, answer: &str) -> &'static str {
    if command.starts_with("clock_") && answer.contains("Unknown command") {
        "this QEMU was built without its qtest accelerator (CONFIG_QTEST), as those of distributions are. Its CPUs are \
         paused under TCG instead, and the virtual clock cannot be stepped; ports, memory and interrupts work"
    } else {
        ""
    }
}
