//! Where QEMU connects to us.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::PollFlags;

use super::{Address, Client, Options, transport};
use crate::deadline::Deadline;
use crate::error::{Error, Result};
use crate::interrupt::Wait;

/// A socket on which monitors connect.
///
/// QEMU connects to it with `-qmp unix:PATH` or `-qmp tcp:HOST:PORT`. The file of a Unix socket is removed with the
/// listener.
///
/// ```no_run
/// use qemu_test::qmp::Listener;
/// use std::time::Duration;
///
/// let listener = Listener::bind("/tmp/qmp.sock")?;
/// std::process::Command::new("qemu-system-x86_64").args(["-qmp", "unix:/tmp/qmp.sock"]).spawn()?;
/// let monitor = listener.accept(Duration::from_secs(30))?;
/// monitor.command("quit")?;
/// # Ok::<(), qemu_test::Error>(())
/// ```
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: Address,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener, PathBuf),
    Tcp(TcpListener),
}

impl Listener {
    /// Listens on `address`. The path of a Unix socket must not exist yet.
    pub fn bind(address: impl Into<Address>) -> Result<Self> {
        let address = address.into();
        Self::try_bind(&address).map_err(|error| Error::io(format_args!("listening on `{address}`"), error))
    }

    fn try_bind(address: &Address) -> io::Result<Self> {
        let (socket, address) = match address {
            Address::Unix(path) => {
                let socket = UnixListener::bind(path)?;
                // What is accepted inherits it.
                transport::announce_writers(&socket, true);
                socket.set_nonblocking(true)?;
                (Socket::Unix(socket, path.clone()), address.clone())
            }
            Address::Tcp(address) => {
                let socket = TcpListener::bind(address)?;
                socket.set_nonblocking(true)?;
                let bound = socket.local_addr()?;
                (Socket::Tcp(socket), Address::Tcp(bound))
            }
        };
        Ok(Self { socket, address })
    }

    /// Where it listens: with the port that the system chose, where it was asked to.
    pub fn local_addr(&self) -> &Address {
        &self.address
    }

    /// Waits for one monitor to connect and to negotiate, both within `timeout`.
    pub fn accept(&self, timeout: Duration) -> Result<Client> {
        let wait = Wait::new(Deadline::after(timeout), None);
        let stream = self.accept_stream(wait)?;
        let options = Options {
            name: self.address.to_string(),
            ..Options::default()
        };
        Client::open(stream, options, wait)
    }

    /// Waits for one peer to connect.
    pub(crate) fn accept_stream(&self, wait: Wait<'_>) -> Result<OwnedFd> {
        let doing = || format!("waiting for QEMU to connect to `{}`", self.address);
        loop {
            let accepted = match &self.socket {
                Socket::Unix(socket, _) => socket.accept().map(|(stream, _)| OwnedFd::from(stream)),
                Socket::Tcp(socket) => socket.accept().map(|(stream, _)| {
                    // Each command is one small write, whose reply is waited for.
                    let _ = stream.set_nodelay(true);
                    OwnedFd::from(stream)
                }),
            };
            match accepted {
                Ok(stream) => return Ok(stream),
                // A peer that went away again is no reason not to wait for the right one.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(doing(), error)),
            }
            if let Some(error) = wait.over(doing, String::new) {
                return Err(error);
            }
            transport::ready(self.as_fd(), PollFlags::IN, wait).map_err(|error| Error::io(doing(), error))?;
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Unix(socket, _) => socket.as_fd(),
            Socket::Tcp(socket) => socket.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix(_, path) = &self.socket {
            // The folder may be gone already, and the file with it.
            let _ = fs::remove_file(path);
        }
    }
}
