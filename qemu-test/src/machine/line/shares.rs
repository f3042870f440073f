//! How a guest gets a copy of the host's folders: each is put on a read-only disk, as a tar archive.
//!
//! A disk asks for less than a mounted folder would: any kernel with virtio-blk has it, any busybox unpacks it, every
//! QEMU can do it, and it does not keep a machine from being migrated or copied, as a mounted 9p folder does.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;

use super::super::builder::Share;
use super::consoles::has_pci;
use crate::command_line::{escaped, shell_quoted};
use crate::error::{Error, Result};

/// The place on the PCI bus. It is behind the user's disks, which keep their names in the guest.
const SLOT: u32 = 0x1d;

/// Makes the archives in `dir`, the machine's own short folder.
pub(in crate::machine) fn archive(shares: &[Share], dir: &Path) -> Result<()> {
    shares.iter().try_for_each(|share| {
        write_archive(&share.folder, &dir.join(share.file_name())).map_err(|error| {
            let doing = format!("sharing the folder {} with the guest", share.folder.display());
            Error::io(doing, error)
        })
    })
}

fn write_archive(folder: &Path, file: &Path) -> io::Result<()> {
    let mut archive = tar::Builder::new(io::BufWriter::new(File::create_new(file)?));
    archive.follow_symlinks(false);
    archive.append_dir_all(".", folder)?;
    // The end of an archive: two blocks of zeros.
    io::Write::flush(&mut archive.into_inner()?)
}

/// The disks, for QEMU's command line after the user's arguments.
pub(super) fn arguments(shares: &[Share], program: &Path, dir: &Path, users: &[OsString]) -> Vec<OsString> {
    let mut arguments = Vec::new();
    for (function, share) in shares.iter().enumerate() {
        let tag = &share.tag;
        let mut drive = OsString::from(format!("if=none,id=share-{tag},format=raw,readonly=on,file="));
        drive.push(escaped(dir.join(share.file_name()).as_os_str()));
        let device = if has_pci(users) {
            "virtio-blk"
        } else {
            "virtio-blk-device"
        };
        let mut device = format!("{device},drive=share-{tag},serial={tag}");
        // A mainframe has another kind of bus.
        if has_pci(users) && !program.to_string_lossy().ends_with("s390x") {
            device.push_str(&format!(",addr={SLOT:#x}.{function},multifunction=on"));
        }
        arguments.extend(["-drive".into(), drive, "-device".into(), device.into()]);
    }
    arguments
}

/// The lines of a shell script that make the archives in `$dir`.
pub(super) fn script(shares: &[Share]) -> String {
    let line = |share: &Share| {
        let folder = std::path::absolute(&share.folder).unwrap_or_else(|_| share.folder.clone());
        let file = share.file_name();
        format!(
            "tar -C {} -cf \"$dir\"/{file} .\n",
            shell_quoted(folder.as_os_str())
        )
    };
    shares.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Machine, MachineBuilder};

    fn line(builder: &MachineBuilder, program: &str, machine: [&str; 2]) -> String {
        let users = machine.map(OsString::from);
        let arguments = arguments(&builder.shares, Path::new(program), Path::new("/t/a,b"), &users);
        let words: Vec<_> = arguments.iter().map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    #[test]
    fn each_folder_is_a_disk_behind_the_users() {
        let builder = Machine::builder().share("one", "/1").share("two", "/2");
        assert_eq!(
            line(&builder, "qemu-system-x86_64", ["-machine", "q35"]),
            "-drive if=none,id=share-one,format=raw,readonly=on,file=/t/a,,b/share-one.tar \
             -device virtio-blk,drive=share-one,serial=one,addr=0x1d.0,multifunction=on \
             -drive if=none,id=share-two,format=raw,readonly=on,file=/t/a,,b/share-two.tar \
             -device virtio-blk,drive=share-two,serial=two,addr=0x1d.1,multifunction=on"
        );
        let one = Machine::builder().share("one", "/1");
        let has_no_place = |line: String| line.ends_with("serial=one");
        assert!(has_no_place(line(&one, "qemu-system-x86_64", ["-M", "microvm"])));
        assert!(has_no_place(line(
            &one,
            "qemu-system-s390x",
            ["-M", "s390-ccw-virtio"]
        )));
    }
}
