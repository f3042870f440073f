//! A folder that is made and removed without taking memory: for the guardian, which runs after a fork.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RawDir, mkdirat, openat, unlinkat};
use rustix::io::{Errno, Result};

/// How deep folders may nest: each level takes a descriptor and a piece of the stack.
const DEEPEST: usize = 16;

/// How often a folder is gone through: an entry may be passed over while others are removed.
const PASSES: usize = 4;

/// Makes the folder, for its owner alone.
pub(super) fn make(folder: &CStr) -> Result<()> {
    mkdirat(CWD, folder, Mode::RWXU)
}

/// Removes the folder with all that is in it, as far as that is allowed. Follows no symbolic link.
pub(super) fn remove(folder: &CStr) {
    // Nobody is left to be told of a failure.
    let _ = remove_at(CWD, folder, 0);
}

/// Removes the folder if nothing is in it.
pub(super) fn remove_if_empty(folder: &CStr) {
    let _ = unlinkat(CWD, folder, AtFlags::REMOVEDIR);
}

fn remove_at(parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<()> {
    for _ in 0..PASSES {
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTDIR) => return unlinkat(parent, name, AtFlags::empty()),
            Err(Errno::NOTEMPTY | Errno::EXIST) if depth < DEEPEST => empty(parent, name, depth)?,
            done => return done,
        }
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

fn empty(parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let folder = openat(parent, name, flags, Mode::empty())?;
    let mut space = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&folder, &mut space);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            let _ = remove_at(folder.as_fd(), name, depth + 1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    #[test]
    fn everything_in_a_folder_goes_and_nothing_behind_a_link() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "").unwrap();
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("folder");
        fs::create_dir_all(folder.join("a/b/c")).unwrap();
        let _listener = UnixListener::bind(folder.join("socket")).unwrap();
        symlink(outside.path(), folder.join("a/link")).unwrap();
        for number in 0..1000 {
            fs::write(folder.join("a/b").join(format!("file {number}")), "x").unwrap();
        }
        remove(&CString::new(folder.as_os_str().as_bytes()).unwrap());
        assert!(!folder.exists());
        assert!(outside.path().join("kept").exists());
    }
}
