//! Folders of the host's that a guest may have a copy of: each is put on a read-only disk, as a tar archive.
//!
//! A disk asks for less than a mounted folder would: any kernel with virtio-blk has it, any busybox unpacks it, every
//! QEMU can do it, and it does not keep a machine from being migrated or copied, as a mounted 9p folder does.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::builder::MachineBuilder;
use super::consoles::has_pci;
use crate::command_line::{escaped, shell_quoted};
use crate::error::{Error, Result};

/// How long a disk's serial number may be (`VIRTIO_BLK_ID_BYTES` of the virtio specification).
const TAG_BYTES: usize = 20;

/// How many functions a PCI device has, and so how many folders fit in one place on the bus.
const FUNCTIONS: usize = 8;

/// The place on the PCI bus. It is behind the user's disks, which keep their names in the guest.
const SLOT: u32 = 0x1d;

/// A folder, and what the guest knows it by.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    tag: String,
    folder: PathBuf,
}

impl MachineBuilder {
    /// Gives the guest what is in `folder`, by the name `tag`: [`Shell::unpack_shared`](crate::console::Shell::unpack_shared)
    /// puts a copy of it where the test wants it. That is much faster than copying over a console.
    ///
    /// The guest gets the files as they are at the launch, symbolic links as links, and cannot change the host's. They
    /// are on a disk of their own, whose serial number is the tag and whose content is a tar archive: a guest needs a
    /// driver for virtio-blk, and `tar`. The archive takes as much room in the temporary folder as the files do.
    ///
    /// ```no_run
    /// use qemu_test::Machine;
    ///
    /// let vm = Machine::builder().console().share("programs", "target/guest-programs").launch()?;
    /// let shell = vm.console().shell("# ");
    /// shell.unpack_shared("programs", "/opt")?;
    /// shell.succeed("/opt/selftest")?;
    /// # Ok::<(), qemu_test::Error>(())
    /// ```
    ///
    /// A tag has up to 20 letters, digits, `-`, `_` and `.`; up to 8 folders can be shared. The launch fails where the
    /// folder cannot be read.
    pub fn share(mut self, tag: impl Into<String>, folder: impl AsRef<Path>) -> Self {
        self.shares.push(Share {
            tag: tag.into(),
            folder: folder.as_ref().to_owned(),
        });
        self
    }
}

impl Share {
    /// What is in the folder, as far as its metadata tells: another text after every change.
    pub(crate) fn identity(&self) -> String {
        let mut text = format!("{} {:?}", self.tag, self.folder);
        describe(&self.folder, &mut text);
        text
    }

    fn file_name(&self) -> String {
        format!("share-{}.tar", self.tag)
    }
}

/// Appends the metadata of all that is in `folder`, in an order that does not change by itself.
fn describe(folder: &Path, text: &mut String) {
    let mut paths: Vec<PathBuf> = match fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) => return text.push_str(&format!("\n{folder:?} {error}")),
    };
    paths.sort();
    for path in paths {
        // A change of what a link points at is a change of its file, as is any of a file's content.
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        let (mode, size, inode) = (meta.mode(), meta.size(), meta.ino());
        let changed = (meta.ctime(), meta.ctime_nsec());
        text.push_str(&format!("\n{path:?} {mode:o} {size} {inode} {changed:?}"));
        if meta.is_dir() {
            describe(&path, text);
        }
    }
}

/// Why there can be no machine with these folders.
pub(super) fn mistake(shares: &[Share]) -> Option<String> {
    for (position, Share { tag, .. }) in shares.iter().enumerate() {
        let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if tag.is_empty() || tag.len() > TAG_BYTES || !tag.chars().all(fit) {
            return Some(format!(
                "`{tag}` is no tag for a shared folder: it has up to {TAG_BYTES} letters, digits, `-`, `_` and `.`"
            ));
        }
        if shares[..position].iter().any(|other| other.tag == *tag) {
            return Some(format!("two of its shared folders have the tag `{tag}`"));
        }
    }
    (shares.len() > FUNCTIONS)
        .then(|| format!("it shares {} folders, and may share {FUNCTIONS}", shares.len()))
}

/// Makes the archives in `dir`, the machine's own short folder.
pub(super) fn archive(shares: &[Share], dir: &Path) -> Result<()> {
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
    use crate::Machine;

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

    #[test]
    fn a_tag_that_is_none_or_taken_is_a_mistake() {
        let mistake = |tags: &[&str]| {
            let builder = tags
                .iter()
                .fold(Machine::builder(), |builder, tag| builder.share(*tag, "/"));
            super::mistake(&builder.shares).unwrap_or_default()
        };
        assert_eq!(mistake(&["a.b-c_1", "x"]), "");
        assert!(mistake(&["a,b"]).contains("`a,b` is no tag"));
        assert!(mistake(&["123456789012345678901"]).contains("is no tag"));
        assert!(mistake(&["a", "a"]).contains("two of its shared folders"));
        let many: Vec<_> = ["a", "b", "c", "d", "e", "f", "g", "h", "i"].into();
        assert!(mistake(&many).contains("shares 9 folders"));
    }
}
