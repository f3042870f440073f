//! What a machine is made of: everything but its monitor and the thread that watches it, which need all this.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::builder::ExpectedExit;
use super::home::Home;
use super::log::Log;
use crate::CommandLine;
use crate::accel::Choice;
use crate::console::Console;
use crate::error::{Error, Result};
use crate::guest::GuestWatch;
use crate::interrupt::Interrupt;
use crate::process::Process;
use crate::qmp::Transcript;
use crate::qtest::Qtest;

/// Everything of a machine but its monitor, which comes last.
pub(crate) struct Parts {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    pub(crate) home: Arc<dyn Home>,
    pub(crate) sockets: ShortDir,
    /// What it runs on, where the test asked for something.
    pub(crate) accel: Option<Choice>,
    pub(crate) command_line: CommandLine,
    pub(crate) log: Log,
    pub(crate) transcript: Arc<Transcript>,
    pub(crate) interrupt: Arc<Interrupt>,
    pub(crate) guest: Arc<GuestWatch>,
    /// In the order of the builder's.
    pub(crate) consoles: Vec<Console>,
    pub(crate) qtest: Option<Qtest>,
    pub(crate) process: Arc<Process>,
    pub(crate) expected_exit: Option<ExpectedExit>,
    pub(crate) command_timeout: Duration,
    /// Where it comes from, for the report.
    pub(crate) notes: Vec<String>,
    /// What the host's memory killer had done before the launch.
    pub(crate) memory_kills: Option<u64>,
    /// Held for as long as it is there.
    pub(super) _kept: Vec<File>,
}

/// The machine's own folder for sockets: short, because a socket's path may have 107 bytes.
#[derive(Debug)]
pub(crate) struct ShortDir(tempfile::TempDir);

impl ShortDir {
    pub(super) fn create() -> Result<Self> {
        const LONGEST: usize = 40;
        let folder = std::env::temp_dir();
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let folder = if folder.as_os_str().as_bytes().len() > LONGEST {
            PathBuf::from("/tmp")
        } else {
            folder
        };
        let made = tempfile::Builder::new()
            .prefix("qemu-test-")
            .rand_bytes(8)
            .tempdir_in(&folder);
        made.map(Self).map_err(|e| {
            Error::io(
                format!("creating a folder for sockets in {}", folder.display()),
                e,
            )
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}
