//! Images that several processes use at once, and that change between them. Each test runs cases of `fixture_cases.rs`
//! in processes of this executable.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::own_store::{Run, Store, eventually};

/// The ways to name an image, as the cases have them, with the format of the image.
const WAYS: [(&str, &str); 4] = [
    ("hda", "raw"),
    ("drive", "qcow2"),
    ("flat", "raw"),
    ("json", "raw"),
];

/// A store with an image beside it.
struct Images {
    store: Store,
    image: PathBuf,
    way: &'static str,
}

/// A process whose test has its machine, until it is told that it is enough.
struct Holder(Child);

impl Images {
    fn new(way: &'static str, format: &str) -> Self {
        let store = Store::new();
        let image = store.folder().join("image");
        if format == "raw" {
            fs::write(&image, vec![b'.'; 1 << 20]).unwrap();
        } else {
            let made = Command::new("qemu-img")
                .args(["create", "-q", "-f", format])
                .arg(&image)
                .arg("1M")
                .status();
            assert!(made.unwrap().success());
        }
        Self { store, image, way }
    }

    /// Another image of the same content in its place, as a build makes one.
    fn replace(&self) {
        let new = self.image.with_extension("new");
        fs::copy(&self.image, &new).unwrap();
        fs::rename(new, &self.image).unwrap();
    }

    fn command(&self, case: &str) -> Command {
        let image = self.image.to_str().unwrap();
        // No room for more than one snapshot: whatever is not in use goes when another one is made.
        let variables = [
            ("CASES_IMAGE", image),
            ("CASES_DISK", self.way),
            ("QEMU_TEST_SNAPSHOT_CAP", "1k"),
        ];
        self.store.command(&[case], &variables)
    }

    #[track_caller]
    fn passes(&self, case: &str) {
        let run = Run::of(self.command(case).output().unwrap());
        assert_eq!(run.status, Some(0), "{} by {}: {}", case, self.way, run.output);
        run.says(&[" 1 passed"]);
    }

    fn hold(&self, case: &str) -> Holder {
        let sign = self.store.folder().join("held");
        let mut command = self.command(case);
        command.env("CASES_HOLD", &sign).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        eventually("the machine that is to be held", || {
            (sign.exists() || child.try_wait().unwrap().is_some()).then_some(())
        });
        let _ = fs::remove_file(sign);
        Holder(child)
    }
}

impl Holder {
    #[track_caller]
    fn release(mut self) {
        drop(self.0.stdin.take());
        let run = Run::of(self.0.wait_with_output().unwrap());
        assert_eq!(run.status, Some(0), "{}", run.output);
    }
}

#[test]
fn an_image_may_be_replaced_while_others_use_a_snapshot_of_the_old_one() {
    for (way, format) in WAYS {
        let images = Images::new(way, format);
        let old = images.hold("image_copied");
        images.replace();
        let new = images.hold("image_copied");
        // Each of the two is in use, and stays.
        assert_eq!(images.store.whole().len(), 2);
        images.passes("image_copied");
        old.release();
        new.release();
        // The same file with another time: its name leads to what the copies have open.
        let held = images.hold("image_copied");
        let now = std::time::SystemTime::now();
        let file = fs::File::options().write(true).open(&images.image).unwrap();
        file.set_modified(now).unwrap();
        images.passes("image_copied");
        held.release();
        assert_eq!(images.store.boots().len(), 3);
    }
}

#[test]
fn an_image_that_changes_during_the_boot_costs_this_test_a_boot_and_no_other() {
    let images = Images::new("flat", "raw");
    let mut command = images.command("image_boots_instead");
    let run = Run::of(command.env("CASES_READY", "replaces its image").output().unwrap());
    assert_eq!(run.status, Some(101), "{}", run.output);
    run.says(&[
        "panicked: on purpose",
        "from     a boot of its own, because the fixture `WithImage` cannot be copied: what it is made of changed while \
         it booted, and is now `file \"",
    ]);
    assert_eq!(
        (images.store.whole(), images.store.others()),
        (Vec::new(), Vec::new())
    );
    images.passes("image_copied");
    images.passes("image_copied");
    assert_eq!(images.store.boots().len(), 3);
}

#[test]
fn machines_that_boot_and_copies_use_one_image_at_once() {
    for (way, format) in WAYS {
        let images = Images::new(way, format);
        let copy = images.hold("image_copied");
        let boot = images.hold("image_booted");
        images.passes("image_booted");
        images.passes("image_copied");
        // Another configuration, which is made while the image is in use.
        images.passes("image_copied_with_more");
        copy.release();
        boot.release();
    }
}
