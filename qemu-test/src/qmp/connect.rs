//! Where we connect to QEMU.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};

use super::{Address, transport};
use crate::deadline::Deadline;

/// Connects to a monitor that listens.
pub(super) fn connect(address: &Address, deadline: Deadline) -> io::Result<OwnedFd> {
    match address {
        Address::Unix(path) => connect_unix(path, deadline),
        Address::Tcp(address) => {
            let stream = match deadline.remaining() {
                Some(left) => TcpStream::connect_timeout(address, left)?,
                None => TcpStream::connect(address)?,
            };
            // Each command is one small write, whose reply is waited for.
            stream.set_nodelay(true)?;
            Ok(stream.into())
        }
    }
}

/// Where the queue of a listener is full, the system waits for a place in it for as long as sending may take.
fn connect_unix(path: &Path, deadline: Deadline) -> io::Result<OwnedFd> {
    let name = SocketAddrUnix::new(path)?;
    let socket = socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // QEMU may write as soon as it is connected to.
    transport::announce_writers(&socket, true);
    // Zero would lift the limit.
    let limit = deadline
        .remaining()
        .map(|left| left.max(Duration::from_millis(1)));
    set_socket_timeout(&socket, Timeout::Send, limit)?;
    match retry_on_intr(|| rustix::net::connect(&socket, &name)) {
        Ok(()) => Ok(socket),
        Err(Errno::AGAIN) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "it does not take the connection: a monitor serves one client at a time, and others wait for this one",
        )),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_monitor_that_takes_no_connection_is_waited_for_only_so_long() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("monitor");
        let listener = UnixListener::bind(&path).unwrap();
        // What QEMU does, which serves one client at a time.
        rustix::net::listen(&listener, 1).unwrap();
        let waiting: Vec<UnixStream> = (0..2).map(|_| UnixStream::connect(&path).unwrap()).collect();
        let began = std::time::Instant::now();
        let limit = Duration::from_millis(200);
        let error = connect(&Address::Unix(path.clone()), Deadline::exactly(limit)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        assert!(error.to_string().contains("one client at a time"), "{error}");
        assert!(began.elapsed() >= limit / 2);
        // A place that becomes free in time is taken.
        std::thread::scope(|scope| {
            let connecting =
                scope.spawn(|| connect(&Address::Unix(path.clone()), Deadline::exactly(60 * limit)));
            drop(listener.accept().unwrap());
            connecting.join().unwrap().unwrap();
        });
        drop(waiting);
    }
}
