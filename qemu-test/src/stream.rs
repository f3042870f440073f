//! Writing to a socket of QEMU's: all of it, within a limit, even when the other side does not read. What the bytes
//! mean, and how a failure is told, is the caller's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::interrupt::Wait;

/// Why not all bytes went out.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// The wait is over: its `over` has the error.
    Over,
    /// The other side closed its end.
    Closed,
    /// The system refused.
    Io(io::Error),
}

/// Writes `bytes`, and counts in `sent` what went out, because that is known even when the rest failed.
pub(crate) fn send_all(
    stream: BorrowedFd<'_>,
    bytes: &[u8],
    wait: Wait<'_>,
    sent: &mut usize,
) -> Result<(), Unsent> {
    while *sent < bytes.len() {
        // SIGPIPE would end the test process where nobody ignores it: in a program that is no Rust test.
        match send(stream, &bytes[*sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(count) => *sent += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                if wait.is_over() {
                    return Err(Unsent::Over);
                }
                until_writable(stream, wait).map_err(Unsent::Io)?;
            }
            Err(Errno::PIPE | Errno::CONNRESET) => return Err(Unsent::Closed),
            Err(error) => return Err(Unsent::Io(error.into())),
        }
    }
    Ok(())
}

fn until_writable(stream: BorrowedFd<'_>, wait: Wait<'_>) -> io::Result<()> {
    let mut fds = vec![PollFd::from_borrowed_fd(stream, PollFlags::OUT)];
    fds.extend(
        wait.interrupt
            .map(|interrupt| PollFd::from_borrowed_fd(interrupt.as_fd(), PollFlags::IN)),
    );
    match poll(&mut fds, wait.deadline.timespec().as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
