//! The system calls that rustix leaves to libc, and every `unsafe` block of this folder but the two forks.
//!
//! All of them may be called between fork and exec: they allocate nothing and take no lock.

#![expect(
    unsafe_code,
    reason = "fork, exec, signal masks and descriptor numbers have no safe interface"
)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::io::{Errno, Result};
use rustix::process::Pid;

/// The highest signal number of Linux.
const LAST_SIGNAL: c_int = 64;

fn last_error() -> Errno {
    std::io::Error::last_os_error()
        .raw_os_error()
        .map_or(Errno::IO, Errno::from_raw_os_error)
}

fn check(result: c_int) -> Result<c_int> {
    if result == -1 {
        Err(last_error())
    } else {
        Ok(result)
    }
}

/// Makes a copy of this process. `None` in the copy, the copy's id in the original.
///
/// # Safety
///
/// The copy has only the calling thread; a lock that another thread held is held for ever. Until it executes a
/// program or exits, it may make system calls and nothing that allocates, locks, or unwinds out of the caller.
pub(super) unsafe fn fork() -> Result<Option<Pid>> {
    // SAFETY: what the copy may do is the caller's promise.
    let pid = check(unsafe { libc::fork() })?;
    Ok(Pid::from_raw(pid))
}

/// Ends this process without running what the original registered for its own exit.
pub(super) fn exit_now(code: c_int) -> ! {
    // SAFETY: `_exit` is always allowed; it runs no code of this process.
    unsafe { libc::_exit(code) }
}

/// Strings as `execve(2)` takes them: an array of pointers that a null pointer ends.
pub(super) struct CStringArray {
    pointers: Vec<*const c_char>,
    /// What the pointers point to. A `CString` keeps its bytes in place when it is moved.
    _strings: Vec<CString>,
}

impl CStringArray {
    pub(super) fn new(strings: Vec<CString>) -> Self {
        let pointers = strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect();
        Self {
            pointers,
            _strings: strings,
        }
    }
}

/// Replaces the program of this process. It returns only where that failed.
pub(super) fn execve(program: &CStr, argv: &CStringArray, envp: &CStringArray) -> Errno {
    // SAFETY: the program ends with a nul; both arrays end with a null pointer, and their strings live in them.
    unsafe { libc::execve(program.as_ptr(), argv.pointers.as_ptr(), envp.pointers.as_ptr()) };
    last_error()
}

/// Duplicates the descriptor `fd` to the lowest free number from `lowest` up, close-on-exec.
pub(super) fn duplicate_from(fd: RawFd, lowest: RawFd) -> Result<RawFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes no memory, and a number that is no descriptor is refused.
    check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, lowest) }).map_err(beyond_limit)
}

/// The same for a descriptor that has an owner.
pub(super) fn duplicate_owned_from(fd: &OwnedFd, lowest: RawFd) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(fd, lowest).map_err(beyond_limit)
}

/// The errors of a number that the limit on descriptors does not allow, which POSIX has two more for.
fn beyond_limit(errno: Errno) -> Errno {
    match errno {
        Errno::INVAL | Errno::BADF => Errno::MFILE,
        other => other,
    }
}

/// Makes `target` a duplicate of `source`, not close-on-exec. Only for a process that is about to execute a
/// program: whoever owned `target` before has lost it.
pub(super) fn duplicate_to(source: RawFd, target: RawFd) -> Result<()> {
    // SAFETY: `dup2` takes no memory, and no owner of the old `target` runs again in this process.
    check(unsafe { libc::dup2(source, target) })
        .map(drop)
        .map_err(beyond_limit)
}

/// Closes all descriptors but those in `kept`, which is sorted. Only for a process whose other descriptors nobody
/// uses again.
pub(super) fn close_all_except(kept: &[RawFd]) -> Result<()> {
    let mut lowest = 0;
    for &fd in kept {
        let fd = fd.cast_unsigned();
        if fd > lowest {
            close_range(lowest, fd - 1)?;
        }
        lowest = lowest.max(fd + 1);
    }
    close_range(lowest, libc::c_uint::MAX)
}

fn close_range(first: libc::c_uint, last: libc::c_uint) -> Result<()> {
    // By number, because musl has no such function. Linux has had the call since 5.9.
    // SAFETY: it takes no memory; nobody uses the closed descriptors again, by the caller's word.
    match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
        -1 => Err(last_error()),
        _ => Ok(()),
    }
}

/// A set of signals.
#[derive(Clone, Copy)]
pub(super) struct SignalSet(libc::sigset_t);

impl SignalSet {
    pub(super) fn empty() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: `sigemptyset` initialises the set it is given, and cannot fail for a valid pointer.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    pub(super) fn all() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: `sigfillset` initialises the set it is given, and cannot fail for a valid pointer.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    pub(super) fn only(signal: c_int) -> Self {
        let mut set = Self::empty();
        // SAFETY: the set is initialised. An invalid number leaves it as it is.
        unsafe { libc::sigaddset(&raw mut set.0, signal) };
        set
    }

    /// Makes this the calling thread's mask, and returns the one before.
    pub(super) fn block(self) -> Self {
        let mut old = Self::empty();
        // SAFETY: both sets are initialised, and SIG_SETMASK is a valid operation, so the call cannot fail.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, &raw mut old.0) };
        old
    }

    /// A descriptor that is readable while one of these signals, which must be blocked, is pending.
    pub(super) fn descriptor(self) -> Result<OwnedFd> {
        // SAFETY: the set is initialised, and the descriptor that comes back is nobody else's.
        unsafe {
            let fd = check(libc::signalfd(
                -1,
                &raw const self.0,
                libc::SFD_NONBLOCK | libc::SFD_CLOEXEC,
            ))?;
            Ok(OwnedFd::from_raw_fd(fd))
        }
    }
}

/// Takes one pending signal from the descriptor of a [`SignalSet`]. False where there is none.
pub(super) fn take_signal(descriptor: &OwnedFd) -> bool {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    // SAFETY: the buffer is as long as the call is told, and is not read afterwards.
    let read = unsafe {
        libc::read(
            descriptor.as_raw_fd(),
            info.as_mut_ptr().cast(),
            size_of::<libc::signalfd_siginfo>(),
        )
    };
    read > 0
}

/// What a process does about a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Disposition {
    Default,
    Ignored,
    Handled,
}

pub(super) fn disposition(signal: c_int) -> Result<Disposition> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null new action only asks; the kernel fills in the old one where the call succeeds.
    let handler = unsafe {
        check(libc::sigaction(signal, ptr::null(), action.as_mut_ptr()))?;
        action.assume_init().sa_sigaction
    };
    Ok(match handler {
        libc::SIG_DFL => Disposition::Default,
        libc::SIG_IGN => Disposition::Ignored,
        _ => Disposition::Handled,
    })
}

pub(super) fn set_default(signal: c_int) {
    // SAFETY: the default action calls no code of this process. An invalid number is refused.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Whether it was this library that had SIGXFSZ ignored.
static SIZE_LIMIT_IGNORED: AtomicBool = AtomicBool::new(false);

/// Has a write beyond `RLIMIT_FSIZE` fail, as on a full disk, instead of ending this process. A test that has made up
/// its own mind about it is left alone.
pub(super) fn survive_size_limit() {
    if disposition(libc::SIGXFSZ) == Ok(Disposition::Default) {
        // SAFETY: to ignore a signal calls no code of this process.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        SIZE_LIMIT_IGNORED.store(true, Ordering::Relaxed);
    }
}

/// Undoes what exec would not undo in time: a handler of the original must not run in the copy. Ignored signals
/// stay ignored, as `nohup` has it, except those that Rust's runtime and this library ignore for themselves only.
pub(super) fn reset_handlers() {
    set_default(libc::SIGPIPE);
    if SIZE_LIMIT_IGNORED.load(Ordering::Relaxed) {
        set_default(libc::SIGXFSZ);
    }
    for signal in 1..=LAST_SIGNAL {
        // The numbers that libc keeps for itself are refused, and have no handler of ours.
        if disposition(signal) == Ok(Disposition::Handled) {
            set_default(signal);
        }
    }
}

/// Where [`note_signal`] writes, and for which process.
static NOTES: AtomicI32 = AtomicI32::new(-1);
static OWNER: AtomicI32 = AtomicI32::new(0);

/// What a signal did before [`handle`] was called for it.
#[derive(Clone, Copy)]
pub(super) struct Earlier(libc::sigaction);

/// Has the number of each `signal` that this process gets written to `notes`, as one byte; the signal's own action
/// is to be given back with [`reinstate`]. All calls must name the same descriptor, which is never closed.
pub(super) fn handle(signal: c_int, notes: &'static OwnedFd) -> Result<Earlier> {
    NOTES.store(notes.as_raw_fd(), Ordering::Relaxed);
    OWNER.store(rustix::process::getpid().as_raw_pid(), Ordering::Relaxed);
    let mut earlier = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a zeroed action is a valid one, whose mask is empty. The handler is async-signal-safe and has the
    // signature that goes without SA_SIGINFO; the kernel fills in the earlier action where the call succeeds.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = note_signal as *const () as usize;
        // On the alternate stack, for a thread that is at the end of its own; and no call of a test is to fail with
        // EINTR for it.
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        check(libc::sigaction(signal, &raw const action, earlier.as_mut_ptr()))?;
        Ok(Earlier(earlier.assume_init()))
    }
}

/// Gives a signal back the action it had before [`handle`]. False where somebody has replaced ours since, which then
/// stays.
pub(super) fn reinstate(signal: c_int, earlier: &Earlier) -> bool {
    let mut current = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the kernel fills in the current action where the call succeeds, and the earlier one came from it.
    unsafe {
        if libc::sigaction(signal, ptr::null(), current.as_mut_ptr()) == -1
            || current.assume_init().sa_sigaction != note_signal as *const () as usize
        {
            return false;
        }
        libc::sigaction(signal, &raw const earlier.0, ptr::null_mut()) == 0
    }
}

/// The handler: async-signal-safe, and leaves `errno` as it was.
extern "C" fn note_signal(signal: c_int) {
    if rustix::process::getpid().as_raw_pid() != OWNER.load(Ordering::Relaxed) {
        // A fork that has not executed its program yet. The descriptor leads to the test process, which would take
        // the signal for its own.
        set_default(signal);
        // SAFETY: `raise` is async-signal-safe; the signal is blocked until this handler returns, and ends the fork.
        unsafe { libc::raise(signal) };
        return;
    }
    let note = signal as u8;
    // SAFETY: one byte is read from a local. `write` is async-signal-safe; the descriptor does not block, and where
    // its pipe is full, there are signals enough in it. `errno` belongs to this thread.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        libc::write(NOTES.load(Ordering::Relaxed), (&raw const note).cast(), 1);
        *errno = before;
    }
}

/// Lets the calling thread receive `signal`, and sends it to this process.
pub(super) fn raise_unblocked(signal: c_int) {
    let set = SignalSet::only(signal);
    // SAFETY: the set is initialised, and SIG_UNBLOCK is a valid operation; `kill` takes no memory.
    unsafe {
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set.0, ptr::null_mut());
        libc::kill(libc::getpid(), signal);
    }
}

/// Has `hook` called when this process exits by `exit(3)`: the end of `main`, `std::process::exit`.
pub(super) fn at_exit(hook: extern "C" fn()) -> bool {
    // SAFETY: a plain function without arguments, which lives as long as the program.
    unsafe { libc::atexit(hook) == 0 }
}
