//! The signals that ask the test process to end: Ctrl-C, the SIGTERM of a runner's timeout, the hang-up of a terminal.
//! A thread has the evidence saved first, then ends all machines, and then lets the signal do what it did before.
//!
//! Only a test's harness calls [`install_once`]: in an ordinary program signals are the program's own. The death of
//! the runner is no such signal: the tests run on and clean up as usual.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::{read, retry_on_intr, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;

use super::readable_by;
use super::registry;
use super::sys::{self, Disposition, Earlier};
use crate::deadline::Deadline;

const SIGNALS: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];

/// How long the callback may take: nextest sends SIGKILL ten seconds after its SIGTERM, and the machines must end
/// before that, too.
const CALLBACK_LIMIT: Duration = Duration::from_secs(8);

/// Whoever asks again after this time does not want to wait. Sooner it is one request: `timeout` signals its child
/// and then its child's group.
const IMPATIENCE: Duration = Duration::from_millis(500);

type Callback = dyn Fn(Signal) + Send + Sync;

/// Has `callback` called, on a thread of its own, for each SIGINT, SIGTERM and SIGHUP that this process gets, within
/// eight seconds or until the next such signal. All machines are killed after it, and the signal then does what it
/// did before: by default it ends this process. From the second call on this does nothing.
///
/// SIGXFSZ is ignored from now on, so that files that reach `RLIMIT_FSIZE` end with an error and not with this process.
///
/// A signal that is ignored, as `nohup` and a shell's background jobs have it, stays ignored. Where a handler was
/// installed later that calls this one, `callback` is called and nothing else is done: the program has taken charge.
///
/// What `callback` prints with `print!` and its kin may end in the buffer of another test; it must write to the
/// standard streams themselves.
///
/// # Errors
///
/// Those of `pipe2(2)` and of starting a thread. The next call tries again.
pub(crate) fn install_once(callback: impl Fn(Signal) + Send + Sync + 'static) -> io::Result<()> {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    static INSTALLING: Mutex<()> = Mutex::new(());
    if INSTALLED.load(Ordering::Acquire) {
        return Ok(());
    }
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    if !INSTALLED.load(Ordering::Acquire) {
        install(Arc::new(callback))?;
        INSTALLED.store(true, Ordering::Release);
    }
    Ok(())
}

fn install(callback: Arc<Callback>) -> io::Result<()> {
    static NOTES: OnceLock<OwnedFd> = OnceLock::new();
    let (notes, theirs) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // The thread comes first, so that no signal is caught that nobody acts on; what it is to give back comes after.
    let (hand_over, earlier) = std::sync::mpsc::channel::<Vec<(Signal, Earlier)>>();
    std::thread::Builder::new()
        .name("qemu-test-signals".into())
        .spawn(move || {
            if let Ok(earlier) = earlier.recv() {
                serve(&notes, &earlier, &callback);
            }
        })?;
    let theirs = NOTES.get_or_init(|| theirs);
    let mut earlier = Vec::new();
    for signal in SIGNALS {
        if sys::disposition(signal.as_raw())? != Disposition::Ignored {
            earlier.push((signal, sys::handle(signal.as_raw(), theirs)?));
        }
    }
    sys::survive_size_limit();
    // The thread waits for nothing else, so that it is there to take this.
    let _ = hand_over.send(earlier);
    Ok(())
}

fn serve(notes: &OwnedFd, earlier: &[(Signal, Earlier)], callback: &Arc<Callback>) {
    loop {
        readable_by(notes.as_fd(), Deadline::never());
        let Some((signal, earlier)) = take(notes).and_then(|note| {
            earlier
                .iter()
                .find(|(signal, _)| signal.as_raw() == i32::from(note))
        }) else {
            continue;
        };
        log::warn!("{} received", crate::exit::signal_name(signal.as_raw()));
        run(callback, *signal, notes);
        end(*signal, earlier);
    }
}

fn take(notes: &OwnedFd) -> Option<u8> {
    let mut note = [0];
    match retry_on_intr(|| read(notes, &mut note)) {
        Ok(1) => Some(note[0]),
        _ => None,
    }
}

/// Calls the callback, and returns after it, at its limit, or when somebody asks again.
fn run(callback: &Arc<Callback>, signal: Signal, notes: &OwnedFd) {
    let limit = Deadline::exactly(CALLBACK_LIMIT);
    let Ok(done) = eventfd(0, EventfdFlags::CLOEXEC).map(Arc::new) else {
        return call(callback, signal);
    };
    let worker = std::thread::Builder::new()
        .name("qemu-test-report".into())
        .spawn({
            let (callback, done) = (Arc::clone(callback), Arc::clone(&done));
            move || {
                call(&callback, signal);
                // An eventfd refuses a write only when its counter would overflow.
                let _ = write(&done, &1u64.to_ne_bytes());
            }
        });
    if worker.is_err() {
        // No room for a thread: without a limit rather than not at all.
        return call(callback, signal);
    }
    loop {
        let mut polled = [
            PollFd::new(&done, PollFlags::IN),
            PollFd::new(notes, PollFlags::IN),
        ];
        let _ = poll(&mut polled, limit.timespec().as_ref());
        if !polled[0].revents().is_empty() || limit.expired() {
            return;
        }
        if take(notes).is_some() && limit.elapsed() > IMPATIENCE {
            return;
        }
    }
}

fn call(callback: &Arc<Callback>, signal: Signal) {
    // Its panic has been printed by the hook; the machines and this process are still to be ended.
    let _ = catch_unwind(AssertUnwindSafe(|| callback(signal)));
}

/// Ends all machines, and lets the signal do what it did before this module was there.
fn end(signal: Signal, earlier: &Earlier) {
    if !sys::reinstate(signal.as_raw(), earlier) {
        return;
    }
    if sys::disposition(signal.as_raw()) == Ok(Disposition::Default) {
        registry::close();
    }
    registry::kill_all_and_reap();
    sys::raise_unblocked(signal.as_raw());
}
