//! The guests of these tests.

use std::time::Duration;

use qemu_test::{Machine, MachineBuilder};
use qemu_test_tests::guest;

pub(crate) use qemu_test_tests::guest::{BUSY_HOST, PROMPT};

/// Longer than anything here takes on a slow and busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(120);

/// For a Linux with several processors, which take turns on one thread then. Where each has its own, as is QEMU's default,
/// about one boot in a hundred on a busy host fails: QEMU 10.0 aborts (`iotlb_to_section: Assertion ... failed`), or
/// all processors wait for an interrupt that does not come.
pub(crate) const IN_TURN: [&str; 2] = ["-accel", "tcg,thread=single"];

/// The small Linux guest on a PC with these arguments for its kernel, and [`BUSY_HOST`].
pub(crate) fn linux(append: &str) -> MachineBuilder {
    Machine::builder()
        .arch("x86_64")
        .args(["-machine", "q35", "-m", "256"])
        .args(["-append", &format!("{append} {BUSY_HOST}")])
        .arg("-kernel")
        .arg(guest::kernel())
        .arg("-initrd")
        .arg(guest::initramfs())
}

/// The small Linux guest on Arm's machine `virt`, with two processors.
pub(crate) fn aarch64(append: &str) -> MachineBuilder {
    Machine::builder()
        .arch("aarch64")
        .args(IN_TURN)
        .args([
            "-machine",
            "virt",
            "-cpu",
            "cortex-a72",
            "-smp",
            "2",
            "-m",
            "256",
            "-append",
            append,
        ])
        .arg("-kernel")
        .arg(guest::aarch64::kernel())
        .arg("-initrd")
        .arg(guest::aarch64::initramfs())
}

/// A boot sector that hides the cursor, which blinks, says `>` on the serial port, and then each key that is pressed on the keyboard, on the serial port
/// and on the screen: its character, or its scan code where it has none.
#[rustfmt::skip]
pub(crate) const TYPEWRITER: &[u8] = &[
    0xb4, 0x01,       // mov ah, 1
    0xb9, 0x00, 0x20, // mov cx, 0x2000
    0xcd, 0x10,       // int 0x10: set the cursor's shape
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xb0, b'>',       // mov al, '>'
    0xee,             // out dx, al
    0x30, 0xe4,       // next: xor ah, ah
    0xcd, 0x16,       // int 0x16: wait for a key
    0x08, 0xc0,       // or al, al
    0x75, 0x02,       // jnz show
    0x88, 0xe0,       // mov al, ah
    0xba, 0xf8, 0x03, // show: mov dx, 0x3f8
    0xee,             // out dx, al
    0xb4, 0x0e,       // mov ah, 0x0e
    0xbb, 0x07, 0x00, // mov bx, 7
    0xcd, 0x10,       // int 0x10: write the character
    0xeb, 0xe9,       // jmp next
];

/// A disk that the firmware boots `code` from; it is gone when it is dropped.
pub(crate) fn boot_disk(code: &[u8]) -> tempfile::NamedTempFile {
    let mut sector = code.to_vec();
    assert!(sector.len() <= 510, "the code does not fit in a boot sector");
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    let disk = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(disk.path(), sector).unwrap();
    disk
}

/// A PC that boots from `disk`.
pub(crate) fn booting(disk: &tempfile::NamedTempFile) -> MachineBuilder {
    let drive = format!("file={},format=raw,if=ide", disk.path().display());
    Machine::builder()
        .arch("x86_64")
        .args(["-machine", "pc", "-nic", "none", "-drive", &drive])
        .console()
}
