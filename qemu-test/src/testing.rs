//! For this crate's own tests: a real QEMU on socket pairs, and a thread that feeds what came, as a machine's watcher
//! does.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::console::Console;
use crate::interrupt::{Cause, Interrupt};
use crate::qtest::Qtest;

/// A socket pair: our end, and the end for QEMU.
pub(crate) fn pair() -> (OwnedFd, OwnedFd) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (ours.into(), theirs.into())
}

/// A file for a console's bytes that is gone when it is closed.
pub(crate) fn scratch() -> File {
    tempfile::tempfile().unwrap()
}

/// A console whose other end is the test's own: for what no QEMU can be made to do on demand.
pub(crate) fn bare_console() -> (Console, UnixStream, Arc<Interrupt>) {
    let (ours, theirs) = pair();
    let interrupt = Interrupt::new("vm").unwrap();
    let console = Console::new("console", ours, scratch(), interrupt.clone()).unwrap();
    (console, theirs.into(), interrupt)
}

/// What a watcher feeds.
pub(crate) trait Feed: AsFd + Send + 'static {
    fn feed_it(&self) -> io::Result<bool>;
}

impl Feed for Console {
    fn feed_it(&self) -> io::Result<bool> {
        self.feed()
    }
}

impl Feed for Qtest {
    fn feed_it(&self) -> io::Result<bool> {
        self.feed()
    }
}

/// A thread that feeds until the end of what it feeds, or its own.
pub(crate) struct Feeder {
    stop: Arc<(AtomicBool, OwnedFd)>,
    thread: Option<JoinHandle<()>>,
}

impl Feeder {
    pub(crate) fn new(fed: impl Feed) -> Self {
        let stop = Arc::new((AtomicBool::new(false), eventfd(0, EventfdFlags::CLOEXEC).unwrap()));
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || {
            loop {
                let mut fds = [
                    PollFd::new(&fed, PollFlags::IN),
                    PollFd::new(&stopping.1, PollFlags::IN),
                ];
                poll(&mut fds, None).unwrap();
                if stopping.0.load(Ordering::Relaxed) || !fed.feed_it().unwrap() {
                    return;
                }
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.stop.0.store(true, Ordering::Relaxed);
        rustix::io::write(&self.stop.1, &1u64.to_ne_bytes()).unwrap();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A QEMU with one console, and qtest where it was asked for.
pub(crate) struct Guest {
    child: Child,
    pub(crate) consoles: Vec<Console>,
    pub(crate) qtest: Qtest,
    pub(crate) interrupt: Arc<Interrupt>,
    _feeders: Vec<Feeder>,
    disk: Option<tempfile::NamedTempFile>,
}

impl Guest {
    /// Starts QEMU with `arguments`. `{console0}`, `{console1}` and so on in them are chardevs of consoles with these
    /// names, and `{qtest}` is one of qtest.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let interrupt = Interrupt::new("vm").unwrap();
        let mut command = Command::new("qemu-system-x86_64");
        command.args([
            "-display",
            "none",
            "-vga",
            "none",
            "-nodefaults",
            "-monitor",
            "none",
        ]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let (mut feeders, mut consoles, mut passed) = (Vec::new(), Vec::new(), Vec::new());
        let (ours, theirs) = pair();
        let qtest = Qtest::new(ours, interrupt.clone(), std::time::Duration::from_secs(30));
        feeders.push(Feeder::new(qtest.handle()));
        command.args(["-chardev", &format!("socket,id=qtest,fd={}", theirs.as_raw_fd())]);
        passed.push(theirs);
        for name in ["console0", "console1"] {
            if arguments
                .iter()
                .any(|argument| argument.contains(&format!("{{{name}}}")))
            {
                let (ours, theirs) = pair();
                command.args(["-chardev", &format!("socket,id={name},fd={}", theirs.as_raw_fd())]);
                let console = Console::new(name, ours, scratch(), interrupt.clone()).unwrap();
                feeders.push(Feeder::new(console.handle()));
                consoles.push(console);
                passed.push(theirs);
            }
        }
        for argument in arguments {
            command.arg(argument.replace(['{', '}'], ""));
        }
        // Without this lock another test's QEMU would inherit the descriptors too, and keep the pair open.
        static SPAWNING: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let spawning = SPAWNING.lock().unwrap_or_else(|e| e.into_inner());
        for fd in &passed {
            fcntl_setfd(fd, FdFlags::empty()).unwrap();
        }
        let child = command.spawn().expect("qemu-system-x86_64 starts");
        drop(passed);
        drop(spawning);
        Self {
            child,
            consoles,
            qtest,
            interrupt,
            _feeders: feeders,
            disk: None,
        }
    }

    pub(crate) fn console(&self) -> &Console {
        &self.consoles[0]
    }

    /// Kills QEMU, and says so to the waits, as the watcher would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        self.interrupt.raise(Cause::Exited {
            status,
            log: String::new(),
        });
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A disk whose boot sector prints `text` on the first serial port and then echoes what it is sent.
pub(crate) fn boot_disk(text: &[u8]) -> tempfile::NamedTempFile {
    #[rustfmt::skip]
    let mut sector = vec![
        0xfa,             // cli
        0x31, 0xc0,       // xor ax, ax
        0x8e, 0xd8,       // mov ds, ax
        0xbe, 0x22, 0x7c, // mov si, text
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xac,             // print: lodsb
        0x84, 0xc0,       // test al, al
        0x74, 0x03,       // jz echo
        0xee,             // out dx, al
        0xeb, 0xf8,       // jmp print
        0xba, 0xfd, 0x03, // echo: mov dx, 0x3fd
        0xec,             // status: in al, dx
        0xa8, 0x01,       // test al, 1
        0x74, 0xfb,       // jz status
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xec,             // in al, dx
        0xee,             // out dx, al
        0xeb, 0xf1,       // jmp echo
    ];
    sector.extend(text);
    assert!(sector.len() < 510, "the text does not fit in the sector");
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), sector).unwrap();
    file
}

/// A guest of [`boot_disk`].
pub(crate) fn boot(text: &[u8]) -> Guest {
    let disk = boot_disk(text);
    let drive = format!("file={},format=raw,if=ide", disk.path().display());
    let mut guest = Guest::start(&["-accel", "tcg", "-drive", &drive, "-serial", "chardev:{console0}"]);
    guest.disk = Some(disk);
    guest
}

/// The Linux guest that `cargo xtask setup` makes, on a machine with `arguments` besides: its console is at the prompt.
pub(crate) fn linux(arguments: &[&str]) -> Guest {
    let file = |name: &str| {
        let folder = std::env::var_os("QEMU_TEST_GUEST_DIR").map(PathBuf::from);
        let folder = folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/guest"));
        let file = folder.join(name);
        assert!(
            file.is_file(),
            "there is no guest at `{}`: run `cargo xtask setup`",
            file.display()
        );
        file.to_str().unwrap().to_owned()
    };
    let (kernel, initramfs) = (file("vmlinuz"), file("initramfs.cpio.gz"));
    let own = [
        ["-machine", "q35"],
        ["-m", "256"],
        ["-accel", "tcg"],
        ["-kernel", &kernel],
        ["-initrd", &initramfs],
        ["-append", "console=ttyS0 quiet no_timer_check"],
        ["-serial", "chardev:{console0}"],
    ];
    let guest = Guest::start(&[&own.concat(), arguments].concat());
    guest
        .console()
        .wait_for(PROMPT, std::time::Duration::from_secs(120))
        .unwrap();
    guest
}

/// The prompt of [`linux`].
pub(crate) const PROMPT: &str = "~ # ";
