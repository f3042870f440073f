//! A bare-metal guest: a boot sector that prints on the serial port and leaves through `isa-debug-exit`.

use std::path::PathBuf;
use std::time::Duration;

use qemu_test::{Machine, qemu_test};

/// What the guest writes to the exit device; QEMU ends with `(value << 1) | 1`.
const PASSED: u8 = 0x10;
const GREETING: &str = "hello from the boot sector\n";

/// A disk whose boot sector prints the greeting, then tells the exit device `status`.
fn disk(status: u8) -> PathBuf {
    let code = [
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0xfc, // cld
        0xbe, 0x1a, 0x7c, // mov si, text
        0xac, // next: lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x06, // jz done
        0xba, 0xf8, 0x03, // mov dx, 0x3f8 (COM1)
        0xee, // out dx, al
        0xeb, 0xf5, // jmp next
        0xb0, status, // done: mov al, status
        0xe6, 0xf4, // out 0xf4, al
        0xf4, // hlt
        0xeb, 0xfd, // jmp to the hlt
    ];
    let mut sector = code.to_vec();
    sector.extend_from_slice(GREETING.as_bytes());
    sector.resize(510, 0);
    sector.extend_from_slice(&[0x55, 0xaa]);

    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("boot-sector-{status:#x}.raw"));
    // Two tests may make the same file at once: each puts a whole one in place.
    let mut file =
        tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a file in target/tmp");
    std::io::Write::write_all(&mut file, &sector).expect("512 bytes of room");
    file.persist(&path).expect("renaming within a folder");
    path
}

fn machine(status: u8) -> qemu_test::MachineBuilder {
    Machine::builder()
        .arch("x86_64")
        .args(["-drive", &format!("format=raw,file={}", disk(status).display())])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x01", "-no-reboot"])
        .console()
}

#[qemu_test(machine = machine(PASSED))]
fn it_prints_and_leaves_with_the_status_of_success(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for(GREETING.trim(), Duration::from_secs(20))?;
    let status = vm.wait(Duration::from_secs(20))?;
    assert_eq!(status.code(), Some(i32::from(PASSED << 1 | 1)));
    Ok(())
}

// The same without `wait`: the end is announced, and the test sees to it.
#[qemu_test(machine = machine(0x21).expect_exit(0x21 << 1 | 1))]
fn its_end_can_be_announced(vm: &Machine) -> qemu_test::Result<()> {
    vm.console()
        .wait_for(GREETING.trim(), Duration::from_secs(20))
        .map(drop)
}
