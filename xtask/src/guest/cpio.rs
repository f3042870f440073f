//! A writer for the archive format that Linux unpacks as its first file system: cpio's "newc".
//!
//! The format is the one of the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.

/// An archive under construction.
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

impl Archive {
    pub(super) fn new() -> Archive {
        Archive {
            bytes: Vec::new(),
            entries: 0,
        }
    }

    /// Adds a directory; its parents must have been added before.
    pub(super) fn directory(&mut self, path: &str) {
        self.entry(path, DIRECTORY | 0o755, &[]);
    }

    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE | 0o644, content);
    }

    pub(super) fn program(&mut self, path: &str, content: &[u8]) {
        self.entry(path, FILE | 0o755, content);
    }

    /// The finished archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let name_size = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
        let links = 1;
        // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name size, checksum (unused).
        // Owner and time are zero, so that equal content gives an equal archive.
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_headers_names_and_contents_on_boundaries_of_four() {
        let mut archive = Archive::new();
        archive.directory("etc");
        archive.file("etc/motd", b"hello");
        let bytes = archive.finish();
        let file = bytes.windows(8).position(|window| window == b"etc/motd").unwrap() - 110;
        assert_eq!(file % 4, 0);
        assert_eq!(&bytes[file..file + 6], b"070701");
        assert_eq!(
            &bytes[file + 14..file + 22],
            b"000081a4",
            "a regular file with mode 644"
        );
        assert_eq!(&bytes[file + 54..file + 62], b"00000005", "five bytes long");
        let content = (file + 110 + "etc/motd\0".len()).next_multiple_of(4);
        assert_eq!(&bytes[content..content + 5], b"hello");
        assert!(bytes.windows(11).any(|window| window == b"TRAILER!!!\0"));
        assert_eq!(bytes.len() % 4, 0);
    }
}
