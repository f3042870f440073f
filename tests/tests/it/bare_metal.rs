//! Guests without an operating system: a boot sector prints a text on the first serial port, and then ends in a way
//! of its choice.

use std::io::Write as _;
use std::path::PathBuf;

use qemu_test::{Machine, MachineBuilder};

/// What the boot sector does when it has printed its text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Then {
    /// Halts with interrupts off: for ever.
    Halt,
    /// Jumps to itself with interrupts off: the firmware's handler of the timer would be another place to be seen at.
    Loop,
    /// Faults without any handler, which resets the processor.
    TripleFault,
    /// Powers off over ACPI's registers, where SeaBIOS has put them.
    PowerOff,
    /// Asks the keyboard controller for a reset.
    Reset,
    /// Waits for a byte on the serial port, says [`PANIC`] and halts.
    Panic,
}

/// What a guest says that panics when it is told to.
pub(crate) const PANIC: &str = "Kernel panic - not syncing: as it was told\r\n";

impl Then {
    #[rustfmt::skip]
    fn code(self) -> &'static [u8] {
        match self {
            Self::Halt => &[0xfa, 0xf4, 0xeb, 0xfd],                   // cli; hlt; jmp to the hlt
            Self::Loop => &[0xfa, 0xeb, 0xfe],                         // cli; jmp to itself
            // An interrupt table without entries: lidt [0x7df0], where there are zeros; int3.
            Self::TripleFault => &[0x0f, 0x01, 0x1e, 0xf0, 0x7d, 0xcc],
            // mov dx, 0x604; mov ax, 0x2000; out dx, ax; hlt
            Self::PowerOff => &[0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4],
            Self::Panic => &[
                0xba, 0xfd, 0x03,             // mov dx, 0x3fd
                0xec, 0xa8, 0x01, 0x74, 0xfb, // in al, dx; test al, 1; jz to the in
                0xba, 0xf8, 0x03, 0xec,       // mov dx, 0x3f8; in al, dx
                0xbe, 0x80, 0x7d,             // mov si, 0x7d80: the words of the panic
                0xac, 0x84, 0xc0, 0x74, 0x03, // lodsb; test al, al; jz to the hlt
                0xee, 0xeb, 0xf8,             // out dx, al; jmp to the lodsb
                0xf4, 0xeb, 0xfd,             // hlt; jmp to it
            ],
            Self::Reset => &[0xb0, 0xfe, 0xe6, 0x64, 0xf4],            // mov al, 0xfe; out 0x64, al; hlt
        }
    }
}

/// A machine whose guest prints `text` and then does what `then` says.
pub(crate) fn guest(text: &str, then: Then) -> MachineBuilder {
    const PRINT: [u8; 19] = [
        0x31, 0xc0, // xor ax, ax
        0x8e, 0xd8, // mov ds, ax
        0xfc, // cld
        0xbe, 0x00, 0x7d, // mov si, 0x7d00: the text
        0xba, 0xf8, 0x03, // mov dx, 0x3f8: COM1
        0xac, // next: lodsb
        0x84, 0xc0, // test al, al
        0x74, 0x03, // jz to what follows
        0xee, // out dx, al
        0xeb, 0xf8, // jmp next
    ];
    const TEXT: usize = 0x100;
    const PANIC_TEXT: usize = 0x180;
    let mut sector = PRINT.to_vec();
    sector.extend(then.code());
    sector.resize(TEXT, 0);
    sector.extend(text.as_bytes());
    if let Then::Panic = then {
        assert!(sector.len() < PANIC_TEXT, "the text does not fit");
        sector.resize(PANIC_TEXT, 0);
        sector.extend(PANIC.as_bytes());
    }
    assert!(sector.len() < 0x1f0, "the text does not fit");
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);

    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let name: u64 = sector.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    let path = folder.join(format!("boot-sector-{name:x}.raw"));
    // Two tests may make the same file at once: the first whole one stays, because a snapshot knows it by its identity.
    if !path.exists() {
        let mut file = tempfile::NamedTempFile::new_in(&folder).unwrap();
        file.write_all(&sector).unwrap();
        let _ = file.persist_noclobber(&path);
    }
    Machine::builder()
        .arch("x86_64")
        .args([
            "-drive",
            &format!("format=raw,snapshot=on,file={}", path.display()),
        ])
        .args(["-net", "none"])
        .console()
}
