//! The files that a command line names, and whether one is still the same.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::command_line::{option_name, options};

/// What tells one content of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl FileIdentity {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        fs::metadata(path).map(|metadata| Self::from(&metadata))
    }

    /// Of what an open descriptor refers to, where that can be told.
    pub(super) fn of_open(fd: &OwnedFd) -> Option<Self> {
        let file = File::from(fd.try_clone().ok()?);
        file.metadata().ok().map(|metadata| Self::from(&metadata))
    }
}

impl From<&Metadata> for FileIdentity {
    fn from(metadata: &Metadata) -> Self {
        let changed = metadata.is_file();
        Self {
            device: if metadata.rdev() == 0 {
                metadata.dev()
            } else {
                metadata.rdev()
            },
            inode: metadata.ino(),
            // A folder named in an argument is a place, which changes all the time.
            size: if changed { metadata.size() } else { 0 },
            seconds: if changed { metadata.mtime() } else { 0 },
            nanoseconds: if changed { metadata.mtime_nsec() } else { 0 },
        }
    }
}

impl fmt::Display for FileIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            device,
            inode,
            size,
            seconds,
            nanoseconds,
        } = self;
        write!(f, "{device}/{inode}, {size} bytes, of {seconds}.{nanoseconds:09}")
    }
}

/// The options that name what QEMU writes or talks to: its content is not what the machine is made of, and changes all
/// the time.
const OUTPUTS: [&str; 11] = [
    "chardev",
    "debugcon",
    "dump-vmstate",
    "D",
    "mon",
    "monitor",
    "parallel",
    "pidfile",
    "qmp",
    "serial",
    "trace",
];

/// All files and folders that the arguments name, in whatever form QEMU takes them. One too many does no harm, unless
/// QEMU itself changes it.
pub(super) fn named_in<'a>(arguments: impl Iterator<Item = &'a OsString>) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut of_output = false;
    for argument in arguments {
        if std::mem::take(&mut of_output) {
            continue;
        }
        of_output = option_name(argument).is_some_and(|option| OUTPUTS.contains(&option));
        add(argument, &mut found);
        for option in options(argument) {
            add(&option, &mut found);
            if let Some(at) = option.as_bytes().iter().position(|byte| *byte == b'=') {
                add(OsStr::from_bytes(&option.as_bytes()[at + 1..]), &mut found);
            }
        }
    }
    found
}

fn add(text: &OsStr, found: &mut BTreeSet<PathBuf>) {
    let bytes = text.as_bytes();
    let json = bytes.strip_prefix(b"json:").unwrap_or(bytes);
    if json.first() == Some(&b'{') {
        if let Ok(value) = serde_json::from_slice(json) {
            strings(&value, &mut |text| add(OsStr::new(text), found));
        }
        return;
    }
    // A virtual FAT disk is made of all that is below a folder.
    let fat = bytes.strip_prefix(b"fat:").map(|rest| {
        let rest = rest.strip_prefix(b"floppy:").unwrap_or(rest);
        rest.strip_prefix(b"rw:").unwrap_or(rest)
    });
    if let Some(folder) = fat {
        add_tree(Path::new(OsStr::from_bytes(folder)), found);
        return;
    }
    let path = Path::new(OsStr::from_bytes(bytes.strip_prefix(b"file:").unwrap_or(bytes)));
    if !path.as_os_str().is_empty()
        && path.exists()
        && let Ok(path) = std::path::absolute(path)
    {
        found.insert(path);
    }
}

fn add_tree(path: &Path, found: &mut BTreeSet<PathBuf>) {
    if let Ok(path) = std::path::absolute(path) {
        found.insert(path);
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        // Links are not followed: a loop of them would never end.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            add_tree(&entry.path(), found);
        } else {
            found.insert(entry.path());
        }
    }
}

fn strings(value: &serde_json::Value, each: &mut impl FnMut(&str)) {
    match value {
        serde_json::Value::String(text) => each(text),
        serde_json::Value::Array(items) => items.iter().for_each(|item| strings(item, each)),
        serde_json::Value::Object(fields) => fields.values().for_each(|field| strings(field, each)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_in_every_form_in_which_qemu_takes_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let names = ["kernel", "a,b", "json", "inline", "url", "tree/deep/file"];
        fs::create_dir_all(path("tree/deep")).unwrap();
        for name in names {
            fs::write(path(name), name).unwrap();
        }
        let root = folder.path().display();
        let arguments = [
            "-kernel".to_owned(),
            format!("{root}/kernel"),
            format!("if=virtio,file={root}/a,,b,format=raw"),
            format!(r#"{{"driver": "raw", "file": {{"driver": "file", "filename": "{root}/json"}}}}"#),
            format!(r#"file=json:{{"driver":"file",,"filename":"{root}/inline"}}"#),
            format!("file:{root}/url"),
            format!("file=fat:rw:{root}/tree,format=raw"),
            format!("{root}/missing"),
        ];
        let found = named_in(arguments.map(OsString::from).iter());
        for name in names {
            assert!(found.contains(&path(name)), "{name} is not among {found:?}");
        }
        // The two folders of the tree, and nothing else.
        assert_eq!(found.len(), names.len() + 2, "{found:?}");
    }

    #[test]
    fn what_qemu_writes_is_not_what_a_machine_is_made_of() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display();
        let arguments = [
            "-serial".to_owned(),
            format!("file:{path}"),
            "--chardev".to_owned(),
            format!("file,id=c,path={path}"),
        ];
        assert_eq!(named_in(arguments.map(OsString::from).iter()), BTreeSet::new());
        let kernel = [
            "-serial".to_owned(),
            "null".to_owned(),
            "-kernel".to_owned(),
            path.to_string(),
        ];
        assert_eq!(named_in(kernel.map(OsString::from).iter()).len(), 1);
    }

    #[test]
    fn a_file_that_was_written_or_replaced_is_another_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let first = FileIdentity::of(&path).unwrap();
        assert_eq!(first, FileIdentity::of(&path).unwrap());
        fs::write(folder.path().join("new"), "one").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        let replaced = FileIdentity::of(&path).unwrap();
        assert_ne!(first, replaced);
        fs::write(&path, "two!").unwrap();
        assert_ne!(replaced, FileIdentity::of(&path).unwrap());
    }
}
