//! Guests that were booted once and are kept in files, for copies that go on from there.
//!
//! QEMU's migration does it. While the guest boots, its RAM is a file ([`make`]); when it is ready, a migration writes
//! the state of the devices, without the RAM. A copy maps that file copy-on-write and reads the state ([`restore`]).
//! [`store`] keeps snapshots for all processes and later runs, [`key`] says which machine may use which.
//!
//! Which fixture and which test it is for is left to others.

mod boot;
mod cap;
mod disks;
mod failure;
mod files;
mod key;
mod make;
mod manifest;
mod migration;
mod probe;
mod restore;
mod store;
mod subject;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use boot::boot;
pub(crate) use key::Key;
pub(crate) use subject::Subject;

use crate::Machine;
use crate::error::{Error, Result};
use crate::machine::{self, Aside, Home};
use store::{Made, Offer, Store, UnfitFor};

/// How long a guest may take to boot and be kept.
const BOOT: Duration = Duration::from_secs(300);

/// How long another process may take for that, as seen by one that waits for it.
const WAITING: Duration = Duration::from_secs(600);

/// Launches a copy of the subject, that belongs to `home`. `clock` is the owner of the test that waits for it: what
/// booting takes is not its time.
pub(crate) fn fork(subject: &Subject<'_>, home: &Arc<dyn Home>, clock: &Arc<dyn Home>) -> Result<Machine> {
    let Some(key) = Key::of(subject) else {
        // The launch says why there is no such machine, and what to do.
        return machine::launch(&subject.builder, Arc::clone(home));
    };
    let store = Store::open()?;
    let mut second_time = false;
    loop {
        let (snapshot, new) = match obtain(&store, &key, subject, clock)? {
            Offer::Snapshot(snapshot, new) => (snapshot, new),
            Offer::Unfit(reason) => return boot_instead(subject, home, &reason),
            Offer::Failed(story) => return Err(Error::other(story)),
        };
        let used = snapshot.handle()?;
        let folder = used.folder.display().to_string();
        match restore::restore(subject, snapshot, home) {
            Ok(vm) => return Ok(vm),
            Err(error) if is_no_news(&error) => return Err(error),
            // What keeps any machine from starting says nothing about the snapshot, either: a port that is taken, say.
            Err(Error::Launch(error)) if probe::probe(&subject.to_boot(), Arc::clone(home)).is_err() => {
                return Err(Error::Launch(error));
            }
            Err(error) if new || second_time => {
                let reason = format!(
                    "QEMU does not go on from its own snapshot: {}",
                    error.first_line()
                );
                store
                    .declare_unfit(&key, used, &reason)
                    .map_err(|e| of_no_use(&folder, &error, &e))?;
                return boot_instead(subject, home, &reason);
            }
            Err(error) => {
                log::warn!("the snapshot {folder} is of no use and made again: {error}");
                store
                    .discard(&key, used)
                    .map_err(|e| of_no_use(&folder, &error, &e))?;
                second_time = true;
            }
        }
    }
}

fn obtain(store: &Store, key: &Key, subject: &Subject<'_>, clock: &Arc<dyn Home>) -> Result<Offer> {
    let name = subject.name;
    let waiting = || {
        Aside::begin(
            clock,
            WAITING,
            &format!("waiting for whoever boots the fixture `{name}`"),
        )
    };
    let offer = store.obtain(key, waiting, |folder| {
        let _aside = Aside::begin(clock, BOOT, &format!("booting the fixture `{name}`"));
        let made = make::make(subject, folder, clock)?;
        Ok(match (made, Key::of(subject)) {
            (Made::Guest(_), Some(now)) if now != *key => {
                let what = key.difference(&now);
                let reason = format!("what it is made of changed while it booted, and is now `{what}`");
                Made::Unfit(UnfitFor::Now, reason)
            }
            (made, _) => made,
        })
    })?;
    if let Offer::Snapshot(snapshot, new) = &offer {
        snapshot.touch();
        if *new && let Err(error) = store.shrink_to(cap::cap()) {
            log::warn!("cannot make room among the snapshots: {error}");
        }
    }
    Ok(offer)
}

fn boot_instead(subject: &Subject<'_>, home: &Arc<dyn Home>, reason: &str) -> Result<Machine> {
    let began = std::time::Instant::now();
    let note = format!(
        "a boot of its own, because the fixture `{}` cannot be copied: {reason}",
        subject.name
    );
    let vm = boot(subject, home, Some(note.clone()))?;
    log::warn!("{note}; it took {}", crate::error::seconds(began.elapsed()));
    Ok(vm)
}

fn of_no_use(folder: &str, error: &Error, cannot: &std::io::Error) -> Error {
    Error::other(format!(
        "the snapshot {folder} is of no use, and cannot be removed: {cannot}\n{error}"
    ))
}

/// Whether an error says nothing about the snapshot: the test's time is over, or the host is short of something.
fn is_no_news(error: &Error) -> bool {
    match error {
        Error::Timeout(_) | Error::Io(_) => true,
        // A QEMU that could not be started at all says nothing; one that ended does.
        Error::Launch(error) => error.status.is_none(),
        _ => false,
    }
}
