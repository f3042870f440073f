//! QEMU's ends of its connections with the library.

use std::ffi::OsString;
use std::os::fd::RawFd;

use crate::command_line::escaped;

/// What QEMU's end of a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::machine) enum Endpoint {
    /// An inherited socket.
    Fd(RawFd),
    /// A Unix socket that we listen on.
    Unix(OsString),
    /// A TCP port that we listen on.
    Tcp { host: String, port: u16 },
}

impl Endpoint {
    pub(in crate::machine) fn chardev(&self, id: &str) -> OsString {
        let mut value = OsString::from(format!("socket,id={id},"));
        match self {
            Self::Fd(fd) => value.push(format!("fd={fd}")),
            Self::Unix(path) => {
                value.push("path=");
                value.push(escaped(path));
            }
            Self::Tcp { host, port } => value.push(format!("host={host},port={port}")),
        }
        value
    }
}
