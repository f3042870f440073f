//! The guest's screen and keyboard.

use std::fs;
use std::time::Duration;

use qemu_test::{Error, Machine};

use crate::guests::{LONG, TYPEWRITER, boot_disk, booting};

#[test]
fn a_key_reaches_the_guest_and_the_picture_shows_it() {
    let disk = boot_disk(TYPEWRITER);
    booting(&disk)
        .args(["-device", "VGA"])
        .test(|vm| -> qemu_test::Result<()> {
            vm.console().wait_for(">", LONG)?;
            let picture = |name: &str| -> qemu_test::Result<Vec<u8>> {
                let path = vm.dir().join(name);
                vm.screenshot(&path)?;
                Ok(fs::read(path)?)
            };
            let before = picture("before.png")?;
            assert!(before.starts_with(b"\x89PNG\r\n\x1a\n") && before.ends_with(b"IEND\xaeB`\x82"));
            assert_eq!(
                before,
                picture("again.png")?,
                "the picture of a screen that stands still changes"
            );

            vm.send_keys("q shift-w ctrl-c f1")?;
            // The console leaves control characters out of its text: Ctrl-C is seen in the file only.
            vm.console().wait_for("qW;", LONG)?;
            vm.type_text("It's 5 > 4?")?;
            vm.console().wait_for("It's 5 > 4?", LONG)?;
            let raw = fs::read(vm.dir().join("console.log"))?;
            assert!(raw.ends_with(b">qW\x03;It's 5 > 4?"), "{}", raw.escape_ascii());

            assert_ne!(before, picture("after.png")?);
            Ok(())
        });
}

#[test]
fn a_text_longer_than_is_sent_at_once_arrives_whole() {
    let disk = boot_disk(TYPEWRITER);
    booting(&disk).test(|vm| -> qemu_test::Result<()> {
        vm.console().wait_for(">", LONG)?;
        let text: String = ('a'..='z').chain('0'..='9').cycle().take(70).collect();
        vm.type_text(&text)?;
        vm.console().wait_for(text, LONG).map(drop)
    });
}

#[test]
fn a_machine_without_a_screen_says_what_it_lacks() {
    let vm = Machine::builder().args(["-machine", "pc"]).launch().unwrap();
    let error = vm
        .screenshot(vm.dir().join("screen.png"))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("cannot take a screenshot of machine `vm`: "),
        "{error}"
    );
    assert!(error.contains("-device VGA"), "{error}");
}

#[test]
fn a_key_that_there_is_not_is_refused() {
    let vm = Machine::builder().args(["-machine", "pc"]).launch().unwrap();
    let error = vm.send_keys("ctrl-nonsense").unwrap_err();
    assert!(
        matches!(&error, Error::Qmp(error) if error.desc.contains("nonsense")),
        "{error}"
    );
    let error = vm.type_text("größe").unwrap_err().to_string();
    assert!(error.contains("cannot type 'ö'"), "{error}");
}

#[test]
fn a_picture_of_a_machine_that_ended_says_how_it_ended() {
    let vm = Machine::builder().args(["-machine", "none"]).launch().unwrap();
    vm.command("quit").unwrap();
    vm.wait(Duration::from_secs(60)).unwrap();
    let error = vm.screenshot("/nowhere/x.png").unwrap_err();
    assert!(matches!(error, Error::Exited(_)), "{error}");
}
