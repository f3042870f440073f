//! Folders of the host's in a guest.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use qemu_test::fixture::Fixture;
use qemu_test::{Error, Machine, MachineBuilder, qemu_test};

use crate::guests::{LONG, PROMPT, linux};

#[test]
fn a_folder_is_copied_into_the_guest_as_it_is_and_moves_no_disk() {
    let host = tempfile::tempdir().unwrap();
    let at = |name: &str| host.path().join(name);
    fs::write(at("program"), "#!/bin/sh\necho I ran\n").unwrap();
    fs::set_permissions(at("program"), fs::Permissions::from_mode(0o755)).unwrap();
    // Whose it is here is nothing to the guest. Only root may give it away; for others it is not root's already.
    let _ = chown(at("program"), Some(1234), None);
    symlink("program", at("link")).unwrap();
    let long = format!("{}/{}/größe it's", "d".repeat(80), "e".repeat(80));
    fs::create_dir_all(at(&long)).unwrap();
    let bytes: Vec<u8> = (0..3_000_000u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect();
    fs::write(at(&long).join("data"), &bytes).unwrap();
    let empty = tempfile::tempdir().unwrap();

    let builder = linux("console=ttyS0 quiet")
        .console()
        .share("files", host.path())
        .share("empty", empty.path())
        .args(["-drive", "if=virtio,driver=null-co,size=1M,read-zeroes=on"]);
    builder.test(|vm| -> qemu_test::Result<()> {
        fs::write(host.path().join("later"), "too late")?;
        let shell = vm.console().shell(PROMPT).timeout(LONG);
        shell.unpack_shared("files", "/tmp/a b")?;
        shell.unpack_shared("empty", "/tmp/c")?;
        assert_eq!(
            shell.succeed("'/tmp/a b/link'; readlink '/tmp/a b/link'")?,
            "I ran\nprogram\n"
        );
        assert_eq!(shell.succeed("ls '/tmp/a b' | wc -l; ls /tmp/c")?, "3\n");
        let sum = shell.succeed(format!("md5sum <\"/tmp/a b/{long}/data\""))?;
        assert_eq!(
            sum.split(' ').next(),
            Some(format!("{:x}", md5::compute(&bytes)).as_str())
        );
        assert_eq!(shell.succeed("stat -c '%u %a' '/tmp/a b/program'")?, "0 755\n");
        // The user's disk is the first one all the same, and ours cannot be written to.
        assert_eq!(shell.succeed("cat /sys/block/vda/size")?, "2048\n");
        shell.fail("echo x >/dev/vdb")?;
        Ok(())
    });
}

#[test]
fn what_the_guest_lacks_is_named() {
    let host = tempfile::tempdir().unwrap();
    let builder = linux("console=ttyS0 quiet").console().share("files", host.path());
    builder.test(|vm| -> qemu_test::Result<()> {
        let console = vm.console();
        let shell = console.shell(PROMPT).timeout(LONG);
        let error = shell.unpack_shared("others", "/tmp/x").unwrap_err();
        assert!(matches!(error, Error::Guest(_)), "{error}");
        assert!(
            error
                .to_string()
                .contains("no disk with the serial number `others`"),
            "{error}"
        );
        let error = shell.unpack_shared("files", "/proc/x").unwrap_err().to_string();
        assert!(
            error.contains("unpacking the shared folder `files` into `/proc/x`"),
            "{error}"
        );
        // This busybox finds its own programs even where they are no files, so the question is answered wrongly.
        console.send_line("command() { [ $2 != tar ]; }; echo h''idden")?;
        console.wait_for("hidden", LONG)?;
        let error = shell.unpack_shared("files", "/tmp/x").unwrap_err().to_string();
        assert!(error.ends_with("the guest has no tar"), "{error}");
        Ok(())
    });
}

#[test]
fn a_folder_that_is_not_there_is_told_at_the_launch() {
    let builder = Machine::builder().args(["-machine", "pc"]);
    let error = builder
        .clone()
        .share("files", "/no/such/folder")
        .launch()
        .unwrap_err();
    assert!(matches!(error, Error::Launch(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("sharing the folder /no/such/folder with the guest"),
        "{error}"
    );
    let error = builder.share("fi,les", "/").launch().unwrap_err().to_string();
    assert!(error.contains("`fi,les` is no tag"), "{error}");
}

#[test]
fn the_script_that_starts_the_machine_again_shares_the_folder_again() {
    let host = tempfile::tempdir().unwrap();
    let vm = Machine::builder()
        .args(["-machine", "pc", "-S"])
        .share("files", host.path())
        .launch()
        .unwrap();
    let output = crate::launch::started_by_hand(&vm, "info block\nquit\n");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("share-files"),
        "{output:?}"
    );
}

/// A guest that is booted once, and each of whose copies has the folder.
struct Sharing;

impl Fixture for Sharing {
    fn machine(&self) -> MachineBuilder {
        linux("console=ttyS0 quiet")
            .console()
            .share("tests", concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
    }

    fn ready(&self, vm: &Machine) -> qemu_test::Result<()> {
        let shell = vm.console().shell(PROMPT).timeout(LONG);
        shell.unpack_shared("tests", "/tmp/before")
    }
}

#[qemu_test(fixture = Sharing, timeout = "5m")]
fn a_copy_of_a_guest_has_the_folder_as_its_original_had(vm: &Machine) -> qemu_test::Result<()> {
    let shell = vm.console().shell(PROMPT).timeout(LONG);
    shell.unpack_shared("tests", "/tmp/after")?;
    let copied = shell.succeed("cmp /tmp/before/lib.rs /tmp/after/lib.rs && cat /tmp/after/lib.rs")?;
    assert_eq!(copied, include_str!("../../src/lib.rs"));
    Ok(())
}
