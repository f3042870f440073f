//! What a machine is made of: everything but its monitor and the thread that watches it, which need all this.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::builder::ExpectedExit;
use super::home::Home;
use super::log::Log;
use super::stand_in::StandIns;
use crate::CommandLine;
use crate::accel::Choice;
use crate::console::Console;
use crate::error::{Error, Result};
use crate::guest::GuestWatch;
use crate::interrupt::Interrupt;
use crate::process::{Process, Scratch};
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
    /// For questions that it might not survive.
    pub(super) stand_ins: StandIns,
    /// Where it comes from, for the report.
    pub(crate) notes: Mutex<Vec<String>>,
    /// What the host's memory killer had done before the launch.
    pub(crate) memory_kills: Option<u64>,
    /// Held for as long as it is there.
    pub(super) _kept: Vec<File>,
}

/// The machine's own folder for sockets: short, because a socket's path may have 107 bytes.
#[derive(Debug)]
pub(crate) struct ShortDir {
    path: PathBuf,
    made: bool,
}

impl ShortDir {
    /// Chooses a name that nobody has. The folder is made with the process that it is for.
    pub(super) fn choose() -> Self {
        const LONGEST: usize = 40;
        let folder = std::env::temp_dir();
        let folder = std::path::absolute(&folder).unwrap_or(folder);
        let folder = if folder.as_os_str().as_bytes().len() > LONGEST {
            PathBuf::from("/tmp")
        } else {
            folder
        };
        // Each of these states has a key of its own, which no other process can guess.
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), std::process::id());
        Self {
            path: folder.join(format!("qemu-test-{:010x}", random >> 24)),
            made: false,
        }
    }

    /// Makes the folder now: for a socket that must be there before the process is.
    pub(super) fn make(&mut self) -> Result<()> {
        if self.made {
            return Ok(());
        }
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&self.path)
            .map_err(|e| {
                Error::io(
                    format!("creating {}, a folder for sockets", self.path.display()),
                    e,
                )
            })?;
        self.made = true;
        Ok(())
    }

    pub(super) fn scratch(&self) -> Scratch {
        Scratch {
            path: self.path.clone(),
            made: self.made,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ShortDir {
    fn drop(&mut self) {
        // It is gone already where nothing was in it. An empty one goes even where this process has no descriptor left
        // to look into it.
        let removed = fs::remove_dir(&self.path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => fs::remove_dir_all(&self.path),
        });
        if let Err(error) = removed {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}
