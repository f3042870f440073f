//! Live migration: two machines, two parameters. The guest counts aloud and does not notice that it moves.

use std::path::PathBuf;
use std::time::Duration;

use qemu_test::{Machine, qemu_test, qmp};

/// A disk whose boot sector prints the digits for ever, at the pace of the BIOS clock.
fn disk() -> PathBuf {
    let code = [
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0xb0, 0x30, // again: mov al, '0'
        0xba, 0xf8, 0x03, // next: mov dx, 0x3f8 (COM1)
        0xee, // out dx, al
        0xfb, // sti
        0xf4, // hlt: until the next tick, 18.2 times a second
        0xfe, 0xc0, // inc al
        0x3c, 0x3a, // cmp al, '9' + 1
        0x75, 0xf4, // jne next
        0xeb, 0xf0, // jmp again
    ];
    let mut sector = code.to_vec();
    sector.resize(510, 0);
    sector.extend_from_slice(&[0x55, 0xaa]);
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("counting-boot-sector.raw");
    std::fs::write(&path, sector).expect("512 bytes of room");
    path
}

fn machine() -> qemu_test::MachineBuilder {
    let disk = format!("format=raw,readonly=on,if=floppy,file={}", disk().display());
    Machine::builder()
        .arch("x86_64")
        .args(["-machine", "pc", "-m", "32", "-drive", &disk])
        .console()
}

#[qemu_test]
fn a_running_guest_moves_to_another_machine(
    #[machine(machine = machine())] source: &Machine,
    #[machine(machine = machine(), args = ["-incoming", "defer"])] target: &Machine,
) -> qemu_test::Result<()> {
    source.console().wait_for("0123456789", Duration::from_secs(20))?;

    let uri = format!("unix:{}", target.socket_path("migration").display());
    target.command(qmp!(migrate_incoming { uri: uri }))?;
    source
        .command(qmp!(migrate_set_capabilities { capabilities: [{ capability: "events", state: true }] }))?;
    source.command(qmp!(migrate { uri }))?;
    source.wait_event(qmp!(MIGRATION { status: "completed" }), Duration::from_secs(60))?;
    target.wait_event(qmp!(RESUME), Duration::from_secs(10))?;

    // `finish-migrate`, and soon after `postmigrate`.
    assert_eq!(source.command(qmp!(query_status))?["running"], false);
    // It goes on where it was, instead of booting: no firmware has spoken on this console.
    target.console().wait_for("0123456789", Duration::from_secs(20))?;
    assert!(
        target.console().output().chars().all(|c| c.is_ascii_digit()),
        "{:?}",
        target.console().output()
    );
    Ok(())
}
