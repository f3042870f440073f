//! Where a monitor is.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The address of a monitor's socket.
///
/// ```
/// use qemu_test::qmp::Address;
///
/// assert_eq!(Address::from("/tmp/qmp.sock").to_string(), "/tmp/qmp.sock");
/// let tcp: std::net::SocketAddr = "127.0.0.1:4444".parse()?;
/// assert_eq!(Address::from(tcp).to_string(), "127.0.0.1:4444");
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A Unix socket's path: of at most 107 bytes, says `unix(7)`.
    Unix(PathBuf),
    /// An address of the Internet Protocol. Port 0 has the system choose one when listening.
    Tcp(SocketAddr),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::Unix(path.to_owned())
    }
}

impl From<&PathBuf> for Address {
    fn from(path: &PathBuf) -> Self {
        Self::Unix(path.clone())
    }
}

/// A string is a path; parse an address of the Internet Protocol to a [`SocketAddr`] first.
impl From<&str> for Address {
    fn from(path: &str) -> Self {
        Self::Unix(path.into())
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}
