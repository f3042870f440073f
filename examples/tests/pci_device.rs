//! The registers of a PCI device, without a guest: qtest reads and writes what a processor would.
//!
//! The device is QEMU's own teaching device, `edu` (docs/specs/edu.rst in QEMU's tree).

use qemu_test::{Machine, qemu_test, qtest::Qtest};

const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;

/// The device's place on bus 0, and where this test maps its memory.
const SLOT: u32 = 4;
const BAR: u64 = 0xe000_0000;

/// A configuration register, by PCI's mechanism #1.
fn select(qtest: &Qtest, register: u32) -> qemu_test::Result<()> {
    qtest.outl(ADDRESS, 1 << 31 | SLOT << 11 | register)
}

fn map(qtest: &Qtest) -> qemu_test::Result<()> {
    select(qtest, 0x10)?; // BAR 0
    qtest.outl(DATA, BAR as u32)?;
    select(qtest, 0x04)?; // command: memory space
    qtest.outw(DATA, 0x2)
}

#[qemu_test(arch = "x86_64", qtest, args = ["-machine", "pc", "-device", "edu,addr=4"])]
fn edu_answers_with_its_identity(vm: &Machine) -> qemu_test::Result<()> {
    let qtest = vm.qtest();
    select(qtest, 0)?;
    assert_eq!(qtest.inl(DATA)?, 0x11e8_1234, "vendor and device id");
    map(qtest)?;
    assert_eq!(qtest.readl(BAR)? & 0xff, 0xed, "the identification register");
    Ok(())
}

#[qemu_test(arch = "x86_64", qtest, args = ["-machine", "pc", "-device", "edu,addr=4"])]
fn edu_inverts_what_it_is_given(vm: &Machine) -> qemu_test::Result<()> {
    map(vm.qtest())?;
    vm.qtest().writel(BAR + 4, 0x0123_4567)?;
    assert_eq!(vm.qtest().readl(BAR + 4)?, !0x0123_4567, "the liveness register");
    Ok(())
}
