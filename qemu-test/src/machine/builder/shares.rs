//! The folders of the host that a guest is to have a copy of.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::MachineBuilder;

/// How long a disk's serial number may be (`VIRTIO_BLK_ID_BYTES` of the virtio specification).
const TAG_BYTES: usize = 20;

/// How many functions a PCI device has, and so how many folders fit in one place on the bus.
const FUNCTIONS: usize = 8;

/// A folder, and what the guest knows it by.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(in crate::machine) tag: String,
    pub(in crate::machine) folder: PathBuf,
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

    pub(in crate::machine) fn file_name(&self) -> String {
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

#[cfg(test)]
mod tests {
    use crate::Machine;

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
