//! The guardians that live, for the exit of the test process: at the end of `main` and in `std::process::exit` no
//! `Drop` runs for a machine in a `static`, a leaked one, or one on another thread's stack.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, OnceLock, PoisonError, Weak};
use std::time::Duration;

use rustix::process::{Pid, getpid};

use super::handle::Guardian;
use super::sys;
use crate::deadline::Deadline;

/// How long the exit may take for all of them together, which is mostly some milliseconds. What has not gone by then is
/// the guardians' own to end: after this process, and with nobody here to reap them.
const EXIT_LIMIT: Duration = Duration::from_secs(3);

/// The process whose exit the hook is for.
static OWNER: OnceLock<Pid> = OnceLock::new();

static GUARDIANS: Mutex<Vec<Weak<Guardian>>> = Mutex::new(Vec::new());

/// Set when this process is about to end: nothing may be started behind the back of its end.
static CLOSED: AtomicBool = AtomicBool::new(false);

pub(super) fn is_closed() -> bool {
    CLOSED.load(Ordering::Relaxed)
}

/// Refuses all further starts.
pub(super) fn close() {
    CLOSED.store(true, Ordering::Relaxed);
}

pub(super) fn add(guardian: &Arc<Guardian>) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let _ = OWNER.set(getpid());
        if !sys::at_exit(end_all) {
            log::warn!("no room for an exit hook: a guardian may stay as a zombie when this process exits");
        }
    });
    let mut guardians = GUARDIANS.lock().unwrap_or_else(PoisonError::into_inner);
    guardians.retain(|known| known.strong_count() > 0);
    guardians.push(Arc::downgrade(guardian));
}

/// What `exit(3)` runs.
extern "C" fn end_all() {
    // A fork of the test process exits too, and has only copies.
    if OWNER.get() == Some(&getpid()) {
        close();
        kill_all_and_reap();
    }
}

/// Kills the trees of all guardians that this process started, waits for their end, for a bounded time, and removes
/// their programs' folders.
pub(super) fn kill_all_and_reap() {
    let guardians: Vec<_> = GUARDIANS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .filter_map(Weak::upgrade)
        .filter(|guardian| guardian.is_ours())
        .collect();
    for guardian in &guardians {
        guardian.order_kill();
    }
    let deadline = Deadline::exactly(EXIT_LIMIT);
    for guardian in &guardians {
        if guardian.is_reaped() || guardian.over_by(deadline) {
            guardian.reap();
            guardian.remove_scratch();
        }
    }
}
