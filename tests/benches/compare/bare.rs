//! The floor: QEMU started, spoken to and ended with the least number of system calls.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};

use qemu_test::CommandLine;
use rustix::io::{FdFlags, fcntl_setfd};

/// What everybody sends who speaks to QEMU.
pub(crate) const PLAIN: &str = r#"{"execute":"qmp_capabilities"}"#;
/// What the library sends: QEMU gives a monitor with out-of-band execution a thread of its own, and reads it faster.
pub(crate) const OUT_OF_BAND: &str =
    r#"{"execute":"qmp_capabilities","arguments":{"enable":["oob"]},"id":1}"#;

/// A QEMU with one monitor on an inherited socket.
pub(crate) struct Bare {
    child: Child,
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Bare {
    /// Starts a machine with the arguments of another one, and returns when its monitor has answered `negotiation`.
    pub(crate) fn launch(like: &CommandLine, negotiation: &str) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        let theirs = OwnedFd::from(theirs);
        // Nothing else is started meanwhile: no other program inherits it.
        fcntl_setfd(&theirs, FdFlags::empty())?;
        let number = format!("socket,id=monitor,fd={}", theirs.as_raw_fd());
        let arguments: Vec<OsString> = like[1..]
            .iter()
            .map(|argument| {
                if is_socket(argument, "monitor") {
                    OsString::from(&number)
                } else if is_socket(argument, "console") {
                    // Nobody listens.
                    OsString::from("null,id=console")
                } else {
                    argument.clone()
                }
            })
            .collect();
        // Without anything to do between fork and exec, this is `posix_spawn`.
        let child = Command::new(&like[0])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        drop(theirs);
        let mut bare = Self {
            child,
            stream: ours,
            buffer: vec![0; 1 << 16],
        };
        bare.read_message()?;
        bare.round_trip(negotiation)?;
        Ok(bare)
    }

    /// Sends a request and reads until a message is complete; its content is not looked at.
    pub(crate) fn round_trip(&mut self, request: &str) -> io::Result<()> {
        self.stream.write_all(request.as_bytes())?;
        self.read_message()
    }

    fn read_message(&mut self) -> io::Result<()> {
        let mut length = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[length..])?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            length += read;
            // QEMU ends each message so, and begins no other one before it has a request.
            if self.buffer[..length].ends_with(b"\r\n") {
                return Ok(());
            }
        }
    }

    /// Has it quit, and returns when it is gone.
    pub(crate) fn quit(mut self) -> io::Result<ExitStatus> {
        self.stream.write_all(br#"{"execute":"quit"}"#)?;
        self.child.wait()
    }
}

/// Whether this is the library's own end of the machine's monitor or console.
fn is_socket(argument: &OsStr, id: &str) -> bool {
    argument
        .to_str()
        .is_some_and(|argument| argument.starts_with(&format!("socket,id={id},")))
}
