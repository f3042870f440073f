//! Who makes a snapshot, who uses it, and when it goes: the store itself, with small files in place of guests.

use std::sync::Mutex;

use super::*;

fn key(digest: &str) -> Key {
    Key {
        digest: digest.to_owned(),
        text: "text".to_owned(),
    }
}

fn guest(folder: &Path) -> Result<Made> {
    fs::write(folder.join("state"), vec![1; 100_000])?;
    Ok(Made::Guest(Guest::new(
        "1.0".to_owned(),
        std::time::Duration::ZERO,
        None,
        true,
        Vec::new(),
        0,
        Vec::new(),
        manifest::Images::new(),
    )))
}

fn never(_: &Path) -> Result<Made> {
    panic!("there is a sound one already")
}

fn snapshot(offer: Offer) -> (Snapshot, bool) {
    match offer {
        Offer::Snapshot(snapshot, new) => (snapshot, new),
        Offer::Unfit(reason) | Offer::Failed(reason) => panic!("{reason}"),
    }
}

fn names(store: &Store) -> Vec<String> {
    let entries = fs::read_dir(&store.root).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn of_all_who_ask_at_once_one_makes_it() {
    let root = tempfile::tempdir().unwrap();
    let made = Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let make = |folder: &Path| {
                    *made.lock().unwrap() += 1;
                    guest(folder)
                };
                let store = Store::at(root.path()).unwrap();
                snapshot(store.obtain(&key("a"), || (), make).unwrap());
            });
        }
    });
    assert_eq!(*made.lock().unwrap(), 1);
}

#[test]
fn what_a_dead_maker_left_is_never_used() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::at(root.path()).unwrap();
    let begun = root.path().join("a.making-1-0");
    fs::create_dir(&begun).unwrap();
    fs::write(begun.join("state"), "half").unwrap();
    let (_, new) = snapshot(store.obtain(&key("a"), || (), guest).unwrap());
    assert!(new);
    assert_eq!(names(&store), ["a", "a.lock"]);
    // One who fails at it leaves nothing either.
    let failed = store.obtain(&key("b"), || (), |_| Err(Error::other("no room")));
    assert!(failed.is_err());
    assert_eq!(names(&store), ["a", "a.lock", "b.lock"]);
}

#[test]
fn a_damaged_snapshot_is_made_again_once() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::at(root.path()).unwrap();
    let damages: [fn(&Path); 4] = [
        |folder| fs::write(folder.join("state"), "short").unwrap(),
        |folder| fs::write(folder.join("state"), vec![2; 100_000]).unwrap(),
        |folder| fs::remove_file(folder.join("state")).unwrap(),
        |folder| fs::write(folder.join(manifest::FILE), "{").unwrap(),
    ];
    for damage in damages {
        let (whole, _) = snapshot(store.obtain(&key("a"), || (), guest).unwrap());
        damage(&whole.folder);
        // The one that is in use stays open for its users.
        let (_, new) = snapshot(store.obtain(&key("a"), || (), guest).unwrap());
        assert!(new);
        let (_, new) = snapshot(store.obtain(&key("a"), || (), never).unwrap());
        assert!(!new);
    }
}

#[test]
fn a_discarded_snapshot_is_gone_and_another_one_stays() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::at(root.path()).unwrap();
    let (old, _) = snapshot(store.obtain(&key("a"), || (), guest).unwrap());
    let handles = [old.handle().unwrap(), old.handle().unwrap()];
    for handle in handles {
        store.discard(&key("a"), handle).unwrap();
        // The second who finds it of no use must not take away the new one.
        snapshot(store.obtain(&key("a"), || (), guest).unwrap());
    }
    let (kept, new) = snapshot(store.obtain(&key("a"), || (), never).unwrap());
    assert!(!new);
    store
        .declare_unfit(&key("a"), kept.handle().unwrap(), "a mounted folder")
        .unwrap();
    let offer = store.obtain(&key("a"), || (), never).unwrap();
    assert!(matches!(offer, Offer::Unfit(reason) if reason == "a mounted folder"));
}

#[test]
fn who_is_late_to_find_a_snapshot_unfit_leaves_the_new_one() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::at(root.path()).unwrap();
    let (old, _) = snapshot(store.obtain(&key("a"), || (), guest).unwrap());
    let (first, late) = (old.handle().unwrap(), old.handle().unwrap());
    store.discard(&key("a"), first).unwrap();
    snapshot(store.obtain(&key("a"), || (), guest).unwrap());
    store.declare_unfit(&key("a"), late, "it is late").unwrap();
    let (_, new) = snapshot(store.obtain(&key("a"), || (), never).unwrap());
    assert!(!new);
}

#[test]
fn an_obstacle_is_remembered_for_as_long_as_it_counts() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::at(root.path()).unwrap();
    let unfit = |whom| move |_: &Path| Ok(Made::Unfit(whom, "no".to_owned()));
    for whom in [UnfitFor::Good, UnfitFor::ThisRun] {
        let name = format!("{whom:?}");
        store.obtain(&key(&name), || (), unfit(whom)).unwrap();
        let again = store.obtain(&key(&name), || (), never).unwrap();
        assert!(matches!(again, Offer::Unfit(reason) if reason == "no"));
        // As a later run finds them.
        let manifest = root.path().join(&name).join(manifest::FILE);
        let text = fs::read_to_string(&manifest).unwrap();
        fs::write(&manifest, text.replace(&failure::run(), "another run")).unwrap();
        let later = store.obtain(&key(&name), || (), guest).unwrap();
        assert_eq!(matches!(later, Offer::Unfit(_)), whom == UnfitFor::Good);
    }
    store.obtain(&key("now"), || (), unfit(UnfitFor::Now)).unwrap();
    snapshot(store.obtain(&key("now"), || (), guest).unwrap());
}

#[test]
fn a_failure_is_told_to_the_others_of_the_run() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::at(root.path()).unwrap();
    let fail = |_: &Path| Ok(Made::Failed("it crashed\nhere".to_owned()));
    assert!(matches!(
        store.obtain(&key("a"), || (), fail).unwrap(),
        Offer::Failed(_)
    ));
    let Offer::Failed(story) = store.obtain(&key("a"), || (), never).unwrap() else {
        panic!("it was tried again");
    };
    assert!(
        story.starts_with("it crashed (tried ") && story.ends_with("\nhere"),
        "{story}"
    );
}

#[test]
fn the_oldest_unused_go_first() {
    let root = tempfile::tempdir().unwrap();
    let store = Store::at(root.path()).unwrap();
    let make = |name: &str, age: u64| {
        let (made, _) = snapshot(store.obtain(&key(name), || (), guest).unwrap());
        let lock = File::options()
            .write(true)
            .open(root.path().join(format!("{name}.lock")))
            .unwrap();
        let used = std::time::SystemTime::now() - std::time::Duration::from_secs(age);
        lock.set_modified(used).unwrap();
        made
    };
    let in_use = make("in-use", 400);
    for (name, age) in [("oldest", 300), ("old", 200), ("new", 100)] {
        drop(make(name, age));
    }
    store.shrink_to(1 << 30).unwrap();
    assert_eq!(names(&store).len(), 8);
    // Room for three of 100 kB, and what else a folder takes.
    store.shrink_to(3 * 140_000).unwrap();
    assert_eq!(
        names(&store),
        ["in-use", "in-use.lock", "new", "new.lock", "old", "old.lock"]
    );
    store.shrink_to(0).unwrap();
    assert_eq!(names(&store), ["in-use", "in-use.lock"]);
    drop(in_use);
    store.shrink_to(0).unwrap();
    assert!(names(&store).is_empty());
    // Somebody else may have removed one since it was listed.
    assert!(store.remove_unused(&root.path().join("oldest")).unwrap());
    assert!(names(&store).is_empty());
}
