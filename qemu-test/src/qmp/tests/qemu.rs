//! A QEMU for a test of the client alone: started bare, killed when dropped.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::deadline::Deadline;
use crate::interrupt::Wait;
use crate::qmp::{Client, Options, Transcript, pair};

pub(super) struct Qemu {
    pub(super) client: Client,
    pub(super) transcript: Arc<Transcript>,
    child: Child,
}

impl Qemu {
    /// A machine without a guest, its processor stopped.
    pub(super) fn start() -> Self {
        Self::with(&["-machine", "none"])
    }

    pub(super) fn with(arguments: &[&str]) -> Self {
        let (ours, theirs) = pair().unwrap();
        let monitor = "socket,id=mon,fd=3".to_owned();
        let mut command = command(&["-chardev", &monitor, "-mon", "chardev=mon,mode=control"]);
        command.args(arguments);
        inherit(&mut command, theirs);
        let child = command.spawn().unwrap();
        // The command holds QEMU's end of the monitor.
        drop(command);
        let transcript = Arc::new(Transcript::new(None));
        let options = Options {
            name: "test".into(),
            transcript: Some(transcript.clone()),
            ..Options::default()
        };
        let client = Client::open(ours, options, within(30)).unwrap();
        Self {
            client,
            transcript,
            child,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// How QEMU ended, by itself.
    pub(super) fn wait(mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// QEMU with no more than it needs, as the variables of the library name it.
pub(super) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command
        .args(["-nodefaults", "-display", "none", "-S"])
        .args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // SAFETY: between fork and exec, this is one system call.
    #[expect(unsafe_code, reason = "std runs the closure between fork and exec")]
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?))
    };
    command
}

fn program() -> OsString {
    let name = std::env::var_os("QEMU_TEST_BINARY").unwrap_or_else(|| "qemu-system-x86_64".into());
    match std::env::var_os("QEMU_TEST_BIN_DIR") {
        Some(folder) => PathBuf::from(folder).join(name).into(),
        None => name,
    }
}

/// Gives the child the monitor as descriptor 3.
fn inherit(command: &mut Command, monitor: OwnedFd) {
    let duplicate = move || {
        if monitor.as_raw_fd() == 3 {
            rustix::io::fcntl_setfd(&monitor, rustix::io::FdFlags::empty())?;
            return Ok(());
        }
        // SAFETY: a system call on a descriptor that this process holds, in a child that owns its table.
        #[expect(unsafe_code, reason = "the descriptor is known by its number alone")]
        let result = unsafe { libc::dup2(monitor.as_raw_fd(), 3) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    // SAFETY: between fork and exec, this is one system call.
    #[expect(unsafe_code, reason = "std runs the closure between fork and exec")]
    unsafe {
        command.pre_exec(duplicate)
    };
}

pub(super) fn within(seconds: u64) -> Wait<'static> {
    Wait::new(Deadline::exactly(Duration::from_secs(seconds)), None)
}
