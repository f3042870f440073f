//! The guest's first and only file system: busybox, a few kernel modules, and the script that starts a shell.

use std::io::Write;

use anyhow::Result;

use super::cpio::Archive;
use super::modules::Module;

const FILES: &[(&str, &str)] = &[
    ("etc/inittab", include_str!("../../guest/inittab")),
    ("etc/profile", include_str!("../../guest/profile")),
    ("etc/passwd", "root::0:0:root:/root:/bin/sh\n"),
    ("etc/group", "root:x:0:\n"),
    ("etc/hostname", "guest\n"),
];
const INIT: &str = include_str!("../../guest/init");

/// Raised when the way of building changes otherwise than through the files above.
const FORMAT: u32 = 1;

/// Identifies how a guest is made: a guest made in another way is made again.
pub(super) fn recipe() -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let texts = FILES.iter().flat_map(|(path, text)| [*path, *text]).chain([INIT]);
    for byte in texts.flat_map(str::bytes) {
        // FNV-1a: stable between versions of Rust, which std's own hashes do not promise to be.
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("recipe: {FORMAT}-{hash:016x}\n")
}

pub(super) fn build(busybox: &[u8], modules: &[Module]) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for directory in [
        "bin",
        "dev",
        "etc",
        "lib",
        "lib/modules",
        "mnt",
        "proc",
        "root",
        "run",
        "sbin",
        "sys",
        "tmp",
    ] {
        archive.directory(directory);
    }
    archive.program("bin/busybox", busybox);
    archive.program("init", INIT.as_bytes());
    for (path, text) in FILES {
        archive.file(path, text.as_bytes());
    }
    let order: String = modules
        .iter()
        .map(|module| format!("{}\n", module.name))
        .collect();
    archive.file("etc/modules", order.as_bytes());
    for module in modules {
        archive.file(&format!("lib/modules/{}.ko", module.name), &module.code);
    }
    // A fast level: the guest's kernel takes as long for any, and the file is small.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    gzip.write_all(&archive.finish())?;
    Ok(gzip.finish()?)
}
