//! Commands in a guest's shell, over its console: exact output and status, whatever else the console shows.
//!
//! # What a guest needs
//!
//! An interactive POSIX shell on the console (busybox's ash will do, as will dash and bash), a folder that can be
//! written to among `/tmp`, `/run`, `/dev/shm`, `/dev` and `/`, and the programs `base64` (or `od` and `tr`), `grep`,
//! `head`, `md5sum`, `rm`, `sed`, `stty` and `wc`: all of them are in every busybox.
//!
//! # How it survives the console
//!
//! A console is shared: the shell echoes what is typed, background programs print, and the kernel writes its messages
//! into the middle of whatever is under way. So a command's output never travels as it is. It goes to a file of the
//! guest, which is then sent in numbered base64 lines with its length and checksum. Kernel messages are cut out where
//! they split a line, lines that came damaged are asked for again, and what does not have the guest's checksum is not
//! returned.
//!
//! A serial port under TCG carries about 350 KB of output a second this way, and takes 50 KB of input.
//!
//! # A console for the conversation alone
//!
//! Nothing is ever in the way on a console that is not the kernel's. Give the machine another one with
//! [`serial_console`](crate::MachineBuilder::serial_console) or [`virtio_console`](crate::MachineBuilder::virtio_console),
//! leave the kernel's `console=` on the first, and have the guest run a shell on the other: a getty on `ttyS1` or `hvc0`,
//! or, from the first console, `setsid -c sh -l </dev/hvc0 >/dev/hvc0 2>&1 &`. Over virtio, input is a hundred times as
//! fast besides. A [`virtio_port`](crate::MachineBuilder::virtio_port) is no terminal, and no place for a shell.

mod api;
mod files;
mod frames;
mod session;

pub use api::{Output, Shell};
pub(super) use session::Session;

#[cfg(test)]
mod tests;
