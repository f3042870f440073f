//! A test runner that runs one victim, with files of its own.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::processes::{Process, from_now, readable_by};
use super::terminal::Terminal;
use super::victims::SOCKET;

/// How long anything may take that is not measured here: a build, the launch of all machines, on a busy computer.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    CargoTest,
    Nextest,
}

impl Runner {
    /// Says on the terminal, past the capture of output, that cells were not run for want of the runner.
    pub(crate) fn is_missing(self) -> bool {
        static SAY: Once = Once::new();
        if self == Self::CargoTest
            || cargo()
                .args(["nextest", "--version"])
                .output()
                .unwrap()
                .status
                .success()
        {
            return false;
        }
        SAY.call_once(|| {
            let line = b"not run: how tests end under cargo-nextest, because it is not installed\n";
            let _ = rustix::io::write(rustix::stdio::stderr(), line);
        });
        true
    }

    fn arguments(self, victim: &str) -> Vec<String> {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let test = format!("victims::{victim}");
        match self {
            Self::CargoTest => {
                let mut line = words(&[
                    "test",
                    "--quiet",
                    "--test",
                    "endings",
                    "--",
                    "--ignored",
                    "--exact",
                ]);
                line.push(test);
                line
            }
            Self::Nextest => {
                let mut line = words(&[
                    "nextest",
                    "run",
                    "--run-ignored",
                    "only",
                    "--profile",
                    "impatient",
                    "-E",
                ]);
                line.push(format!("test(={test})"));
                line
            }
        }
    }
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        // What the runner of this test told it is not for the victim's.
        let name_text = name.to_string_lossy();
        if ["NEXTEST", "QEMU_TEST_KEEP", "CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|own| name_text.starts_with(own))
        {
            command.env_remove(&name);
        }
    }
    command
}

/// A runner at work.
pub(crate) struct Session {
    folder: tempfile::TempDir,
    child: Child,
    pub(crate) terminal: Option<Terminal>,
    listener: UnixListener,
    /// The victim's connection, which lets it go on when it is closed.
    pub(crate) hold: Option<UnixStream>,
}

impl Session {
    /// Starts a runner for one victim: with its output in a file, or on a terminal whose shell outlives it.
    pub(crate) fn start(runner: Runner, victim: &str, on_terminal: bool) -> Self {
        // Short, because the socket folders of the machines are to be in it.
        let folder = tempfile::Builder::new()
            .prefix("endings-")
            .tempdir_in("/tmp")
            .unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("tmp")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("shell"), rustix::fs::Mode::RWXU).unwrap();
        let listener = UnixListener::bind(path("socket")).unwrap();
        let mut command = cargo();
        if on_terminal {
            // `setsid --ctty` makes the terminal its own. The shell is what a user has in front of the runner: it
            // outlives the runner, and a terminal whose first process ends hangs up.
            let shell = r#"trap : INT; "$@"; trap '' HUP; read line < "$ENDINGS_SHELL""#;
            let cargo = command.get_program().to_owned();
            let environment: Vec<_> = command
                .get_envs()
                .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
                .collect();
            command = Command::new("setsid");
            command.args(["--ctty", "sh", "-c", shell, "sh"]).arg(cargo);
            for (name, _) in environment {
                command.env_remove(name);
            }
        }
        command
            .args(runner.arguments(victim))
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/launcher"))
            .env(
                "CARGO_TARGET_DIR",
                Path::new(env!("CARGO_TARGET_TMPDIR")).join("launcher"),
            )
            .env("CARGO_TERM_COLOR", "never")
            .env("ENDINGS_PROGRAM", std::env::current_exe().unwrap())
            .env("ENDINGS_SHELL", path("shell"))
            .env(SOCKET, path("socket"))
            .env("QEMU_TEST_DIR", path("artifacts"))
            .env("RUST_BACKTRACE", "0")
            .env("TMPDIR", path("tmp"));
        let terminal = if on_terminal {
            let (terminal, theirs) = Terminal::new();
            let theirs = File::from(theirs);
            command
                .stdin(theirs.try_clone().unwrap())
                .stdout(theirs.try_clone().unwrap())
                .stderr(theirs);
            Some(terminal)
        } else {
            let output = File::create(path("output")).unwrap();
            command
                .stdin(Stdio::null())
                .stdout(output.try_clone().unwrap())
                .stderr(output);
            None
        };
        let child = command.spawn().unwrap();
        // The terminal's other end must be in no process but its own.
        drop(command);
        Self {
            folder,
            child,
            terminal,
            listener,
            hold: None,
        }
    }

    /// Waits until the victim's machines run: its process.
    pub(crate) fn victim(&mut self) -> Process {
        let runner = Process::open(Pid::from_child(&self.child)).unwrap();
        let readable = readable_by([self.listener.as_fd(), runner.as_fd()], from_now(PATIENCE));
        assert!(readable[0], "the victim did not come up: {}", self.output());
        let (mut stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut line = [0; 6];
        stream.read_exact(&mut line).unwrap();
        let victim = rustix::net::sockopt::socket_peercred(&stream).unwrap().pid;
        self.hold = Some(stream);
        Process::open(victim).unwrap()
    }

    /// Kills the runner alone.
    pub(crate) fn kill_runner(&mut self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
    }

    /// Waits for the end of the runner; of the shell before it, where there is one.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        // Open for both directions, it waits for no reader; and what the shell finds in it is there when it comes to it.
        let mut shell = File::options()
            .read(true)
            .write(true)
            .open(self.folder.path().join("shell"))
            .unwrap();
        shell.write_all(b"end\n").unwrap();
        let runner = Process::open(Pid::from_child(&self.child)).unwrap();
        assert!(
            runner.ends_by(from_now(PATIENCE)),
            "the runner hangs: {}",
            self.output()
        );
        self.child.wait().unwrap()
    }

    /// What the runner has said, for the message of a failed test: it ends here.
    pub(crate) fn output(&mut self) -> String {
        let _ = self.child.kill();
        drop(self.hold.take());
        match self.terminal.take() {
            Some(terminal) => terminal.hang_up(),
            None => String::from_utf8_lossy(&std::fs::read(self.folder.path().join("output")).unwrap())
                .into_owned(),
        }
    }

    /// The names in the folder for temporary files.
    pub(crate) fn temporary_files(&self) -> Vec<PathBuf> {
        files(&self.folder.path().join("tmp"))
    }

    pub(crate) fn artifacts(&self) -> Vec<PathBuf> {
        files(&self.folder.path().join("artifacts"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It has ended already, unless the test fails; and then so does the victim, which it holds.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// All files and folders below one, which need not be there.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        found.extend(files(&path));
        found.push(path);
    }
    found
}
