//! What a machine is to be, before there is one.

mod consoles;
mod expected_exit;
mod shares;

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::accel::Accel;
use crate::guest::AllowedLine;
use crate::locate::Program;

pub(crate) use consoles::CONSOLE;
pub(super) use consoles::{ConsoleSpec, Device};
pub use expected_exit::ExpectedExit;
pub(super) use shares::Share;

/// How long a command may take unless the builder or the command says otherwise.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Describes a machine; [`launch`](Self::launch) makes as many as it is asked for.
///
/// ```no_run
/// use qemu_test::Machine;
///
/// let vm = Machine::builder().arch("x86_64").args(["-machine", "q35", "-S"]).launch()?;
/// assert_eq!(vm.command("query-status")?["status"], "prelaunch");
/// # Ok::<(), qemu_test::Error>(())
/// ```
///
/// Every method takes the builder by value and gives it back. A clone shares nothing with its original.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `launch` or `test`"]
pub struct MachineBuilder {
    pub(crate) program: Program,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) wrapper: Vec<OsString>,
    pub(crate) name: Option<String>,
    pub(crate) artifact_dir: Option<PathBuf>,
    pub(crate) environment: Vec<(OsString, OsString)>,
    pub(crate) monitor: Monitor,
    pub(crate) consoles: Vec<ConsoleSpec>,
    pub(crate) shares: Vec<Share>,
    pub(crate) qtest: bool,
    pub(crate) accel: Option<Accel>,
    pub(crate) descriptors: Vec<Descriptor>,
    pub(crate) command_timeout: Duration,
    pub(crate) expected_exit: Option<ExpectedExit>,
    pub(crate) allowed_lines: Vec<AllowedLine>,
    pub(crate) expect_guest_panic: bool,
}

/// A descriptor that QEMU gets in an fd set.
#[derive(Clone, Debug)]
pub(crate) struct Descriptor {
    pub(crate) set: u32,
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) opaque: String,
}

/// How QEMU's monitor reaches the library.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Monitor {
    /// A socket pair that QEMU inherits: no path, no race, no limit on a path's length.
    #[default]
    SocketPair,
    /// A Unix socket on which the library listens and to which QEMU connects: for a wrapper that closes
    /// descriptors. A path may have 107 bytes (`sun_path` in `unix(7)`); see [`Machine::socket_path`](crate::Machine::socket_path) and `{dir}`.
    Unix(PathBuf),
    /// A TCP address on which the library listens and to which QEMU connects. Port 0 takes a free one.
    Tcp(SocketAddr),
}

impl Default for MachineBuilder {
    fn default() -> Self {
        Self {
            program: Program::default(),
            arguments: Vec::new(),
            wrapper: Vec::new(),
            name: None,
            artifact_dir: None,
            environment: Vec::new(),
            monitor: Monitor::default(),
            consoles: Vec::new(),
            shares: Vec::new(),
            qtest: false,
            accel: None,
            descriptors: Vec::new(),
            command_timeout: COMMAND_TIMEOUT,
            expected_exit: None,
            allowed_lines: Vec::new(),
            expect_guest_panic: false,
        }
    }
}

impl MachineBuilder {
    /// Runs `qemu-system-<arch>`, in QEMU's spelling: `x86_64`, `aarch64`, `riscv64`.
    ///
    /// It is looked up in `QEMU_TEST_BIN_DIR` first, then on `PATH`. Of `arch` and [`binary`](Self::binary) the later
    /// call counts.
    pub fn arch(mut self, arch: impl Into<String>) -> Self {
        self.program = Program::Arch(arch.into());
        self
    }

    /// Runs this program: a path where there is a slash in it, else a name that is looked up as with
    /// [`arch`](Self::arch).
    pub fn binary(mut self, program: impl AsRef<OsStr>) -> Self {
        self.program = Program::Binary(program.as_ref().to_owned());
        self
    }

    /// Appends an argument of QEMU's. `{dir}` in it stands for the machine's own short folder, the place for
    /// sockets: see [`Machine::socket_path`](crate::Machine::socket_path).
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Appends arguments of QEMU's; see [`arg`](Self::arg).
    pub fn args<I>(mut self, arguments: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.arguments
            .extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Appends to the prefix of the command line: `["strace", "-f", "-o", "{dir}/trace"]`.
    ///
    /// The machine's process is the wrapper's then: [`Machine::pid`](crate::Machine::pid) is its id, and its status is the machine's.
    pub fn wrapper<I>(mut self, words: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        self.wrapper
            .extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self
    }

    /// What reports call the machine: `vm` by default, and the parameter's name below `#[qemu_test]`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The root of the artifacts, instead of `QEMU_TEST_DIR` or `<target>/qemu-test`. Inside a test that has a
    /// machine already, all go to that one's root.
    pub fn artifact_dir(mut self, root: impl AsRef<Path>) -> Self {
        self.artifact_dir = Some(root.as_ref().to_owned());
        self
    }

    /// Sets an environment variable for QEMU and its wrapper, on top of those of this process.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// How QEMU's monitor reaches the library.
    pub fn monitor(mut self, monitor: Monitor) -> Self {
        self.monitor = monitor;
        self
    }

    /// Opens QEMU's qtest protocol for [`Machine::qtest`](crate::Machine::qtest); the guest's processors do not run then.
    pub fn qtest(mut self) -> Self {
        self.qtest = true;
        self
    }

    /// Runs the guest on this accelerator; without it, on what the arguments say, or on QEMU's own default. The report
    /// and the log say what was taken, and why.
    ///
    /// The variable `QEMU_TEST_ACCEL` (`auto`, `kvm` or `tcg`) overrides it, so that a CI can insist on KVM: then a test
    /// that calls this fails where KVM does not work, unless its guest could never have it. A machine with
    /// [`qtest`](Self::qtest) has TCG in any case.
    ///
    /// ```no_run
    /// use qemu_test::{Accel, Machine};
    ///
    /// let vm = Machine::builder().accel(Accel::Auto).launch()?;
    /// # Ok::<(), qemu_test::Error>(())
    /// ```
    ///
    /// QEMU refuses `accel=` in an argument for `-machine` beside it.
    pub fn accel(mut self, accel: Accel) -> Self {
        self.accel = Some(accel);
        self
    }

    /// Hands QEMU a descriptor in fd set `set`: `/dev/fdset/<set>` opens it, wherever QEMU takes a file name.
    /// `opaque` is a remark that `query-fdsets` returns (`-add-fd` in QEMU's manual).
    ///
    /// Every machine of this builder and of its clones gets a duplicate of its own.
    pub fn add_fd(mut self, set: u32, fd: impl Into<OwnedFd>, opaque: impl Into<String>) -> Self {
        self.descriptors.push(Descriptor {
            set,
            fd: Arc::new(fd.into()),
            opaque: opaque.into(),
        });
        self
    }

    /// How long a command may take unless it says otherwise; 30 s by default.
    pub fn command_timeout(mut self, limit: Duration) -> Self {
        self.command_timeout = limit;
        self
    }

    /// Announces how the machine ends: a status (`33`) or [`ExpectedExit::Signal`]. A test waits for that end after
    /// its body, and fails when the machine ends in any other way or, by the test's time limit, not at all.
    ///
    /// ```no_run
    /// use qemu_test::Machine;
    ///
    /// // `isa-debug-exit` ends QEMU with (value << 1) | 1.
    /// let device = ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"];
    /// Machine::builder().args(device).expect_exit(33).qtest().test(|vm| {
    ///     // QEMU leaves before it answers.
    ///     let _ = vm.qtest().outb(0xf4, 16);
    /// });
    /// ```
    pub fn expect_exit(mut self, exit: impl Into<ExpectedExit>) -> Self {
        self.expected_exit = Some(exit.into());
        self
    }

    /// Allows the guest to say what would fail the test: a console line in which `line`, a regular expression, is
    /// found is not bad. May be called again for more; `".*"` allows everything.
    ///
    /// Bad are the lines in which a kernel, its firmware or its first programs say that something is wrong with
    /// themselves: a kernel panic, an oops, `BUG:`, a lockup, a stall of RCU, a hung task, a lack of memory, a report
    /// of a sanitizer, an emergency shell. They are found as they come, on every console. A panic or an emergency
    /// shell ends every wait at once with [`Error::Guest`](crate::Error::Guest); the others leave the body alone, and
    /// fail the test at its end. An allowed line does neither.
    ///
    /// On a busy host, the clock of a guest under TCG may run so unevenly that its kernel sees stalls and lockups that
    /// are none: then allow `"stall|soft lockup"`, or boot it with `rcupdate.rcu_cpu_stall_suppress=1 nosoftlockup`.
    ///
    /// ```no_run
    /// use qemu_test::Machine;
    ///
    /// let vm = Machine::builder().console().allow_console_line("BUG: soft lockup").launch()?;
    /// # Ok::<(), qemu_test::Error>(())
    /// ```
    ///
    /// What is no regular expression is told by [`launch`](Self::launch).
    pub fn allow_console_line<L>(mut self, line: L) -> Self
    where
        L: TryInto<regex::Regex, Error: std::fmt::Display>,
    {
        self.allowed_lines.push(AllowedLine::new(line));
        self
    }

    /// Announces that the guest panics: a test passes then only if it does, and fails by its time limit if it does
    /// not. The panic, and what the kernel says on its way there, ends no wait and is no bad line.
    ///
    /// The panic is known by the console, where the guest says so there (`Kernel panic - not syncing`), and by QEMU's
    /// panic device (`-device pvpanic-pci`), where the guest has a driver for it. That device makes QEMU end with
    /// status 0, unless `-action panic=` says otherwise.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// use qemu_test::{Machine, qmp};
    ///
    /// let linux = Machine::builder().console().args(["-device", "pvpanic-pci", "-kernel", "vmlinuz"]);
    /// linux.expect_guest_panic().test(|vm| -> qemu_test::Result<()> {
    ///     vm.console().wait_for("# ", Duration::from_secs(60))?;
    ///     vm.console().send_line("echo c > /proc/sysrq-trigger")?;
    ///     vm.wait_event(qmp!(GUEST_PANICKED), Duration::from_secs(30))?;
    ///     Ok(())
    /// });
    /// ```
    pub fn expect_guest_panic(mut self) -> Self {
        self.expect_guest_panic = true;
        self
    }

    /// Why there can be no such machine.
    pub(super) fn mistake(&self) -> Option<String> {
        consoles::mistake(&self.consoles).or_else(|| shares::mistake(&self.shares))
    }
}
