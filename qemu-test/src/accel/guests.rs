//! The tiny guests by which KVM is tried: firmware of the library's own that counts, says a letter on the serial port
//! and ends the machine. They need no disk, and no firmware of QEMU's.

/// What a guest writes when it has counted to ten million.
pub(super) const LETTER: u8 = b'k';

/// A guest, and the machine that runs it.
pub(super) struct ProbeGuest {
    pub(super) machine: &'static str,
    pub(super) firmware: Vec<u8>,
}

/// The guest for this host's processors.
pub(super) fn of_host() -> Option<ProbeGuest> {
    match std::env::consts::ARCH {
        "x86" | "x86_64" => Some(x86()),
        "aarch64" => Some(aarch64()),
        _ => None,
    }
}

/// For x86: the last 64 KiB below 4 GiB, whose last 16 bytes are where a processor begins.
fn x86() -> ProbeGuest {
    const SIZE: usize = 64 << 10;
    const START: usize = 0xfff0;
    const CODE: usize = 0xff00;
    #[rustfmt::skip]
    let code = [
        0xfa,                               // cli
        0x66, 0xb9, 0x80, 0x96, 0x98, 0x00, // mov ecx, 10000000
        0x66, 0x49,                         // count: dec ecx
        0x75, 0xfc,                         // jnz count
        0xba, 0xf8, 0x03,                   // mov dx, 0x3f8
        0xb0, LETTER,                       // mov al, LETTER
        0xee,                               // out dx, al
        0xb0, 0xfe,                         // mov al, 0xfe
        0xe6, 0x64,                         // out 0x64, al: the keyboard controller resets the machine
        0xf4,                               // hlt
    ];
    let mut firmware = vec![0; SIZE];
    firmware[CODE..CODE + code.len()].copy_from_slice(&code);
    // jmp CODE, counted from behind it.
    let [low, high] = (CODE as u16).wrapping_sub(START as u16 + 3).to_le_bytes();
    firmware[START..START + 3].copy_from_slice(&[0xe9, low, high]);
    ProbeGuest {
        machine: "q35",
        firmware,
    }
}

/// For aarch64's `virt`: the flash at address 0, where a processor begins.
fn aarch64() -> ProbeGuest {
    #[rustfmt::skip]
    let code: [u32; 10] = [
        0xd2a1_2001,                                // mov x1, #0x09000000: the PL011
        0xd2a0_1302,                                // mov x2, #0x00980000
        0xf292_d002,                                // movk x2, #0x9680: 10000000
        0xf100_0442,                                // count: subs x2, x2, #1
        0x54ff_ffe1,                                // b.ne count
        0x5280_0003 | ((LETTER as u32) << 5),       // mov w3, #LETTER
        0xb900_0023,                                // str w3, [x1]
        0x5280_0100,                                // mov w0, #8
        0x72b0_8000,                                // movk w0, #0x8400, lsl #16: PSCI's SYSTEM_OFF
        0xd400_0002,                                // hvc #0
    ];
    ProbeGuest {
        machine: "virt,gic-version=max",
        firmware: code.iter().flat_map(|word| word.to_le_bytes()).collect(),
    }
}

/// Both guests, with the programs that run them on any host.
#[cfg(test)]
pub(super) fn all() -> [(&'static str, ProbeGuest); 2] {
    [("x86_64", x86()), ("aarch64", aarch64())]
}
