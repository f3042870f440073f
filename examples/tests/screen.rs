//! A guest with a screen and a keyboard: a boot sector that shows each key that is pressed.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use qemu_test::{Machine, MachineBuilder, qemu_test};

const SOON: Duration = Duration::from_secs(30);

/// A disk whose boot sector says `>` on the serial port, and each key's character on the serial port and the screen.
fn disk() -> PathBuf {
    let code = [
        0xba, 0xf8, 0x03, // mov dx, 0x3f8 (COM1)
        0xb0, b'>', // mov al, '>'
        0xee, // out dx, al
        0x30, 0xe4, // next: xor ah, ah
        0xcd, 0x16, // int 0x16: wait for a key
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xee, // out dx, al
        0xb4, 0x0e, // mov ah, 0x0e
        0xbb, 0x07, 0x00, // mov bx, 7
        0xcd, 0x10, // int 0x10: write the character
        0xeb, 0xef, // jmp next
    ];
    let mut sector = code.to_vec();
    sector.resize(510, 0);
    sector.extend_from_slice(&[0x55, 0xaa]);
    let folder = env!("CARGO_TARGET_TMPDIR");
    // Two tests may make the same file at once: each puts a whole one in place.
    let mut file = tempfile::NamedTempFile::new_in(folder).expect("a file in target/tmp");
    std::io::Write::write_all(&mut file, &sector).expect("512 bytes of room");
    let path = PathBuf::from(folder).join("typewriter.raw");
    file.persist(&path).expect("renaming within a folder");
    path
}

fn machine() -> MachineBuilder {
    Machine::builder()
        .arch("x86_64")
        .args(["-drive", &format!("format=raw,file={}", disk().display())])
        // Without a display device there is no screen.
        .args(["-device", "VGA"])
        .console()
}

#[qemu_test(machine = machine())]
fn what_is_typed_is_on_the_screen(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for(">", SOON)?;
    let (before, after) = (vm.dir().join("before.png"), vm.dir().join("after.png"));
    vm.screenshot(&before)?;
    vm.type_text("Hello, World!")?;
    vm.send_keys("spc shift-o k")?;
    vm.console().wait_for("Hello, World! Ok", SOON)?;
    vm.screenshot(&after)?;
    assert_ne!(fs::read(before)?, fs::read(after)?);
    Ok(())
}
