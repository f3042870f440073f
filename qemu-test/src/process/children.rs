//! The children of the calling process, found without taking memory: for the guardian, which runs after a fork.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{CWD, Mode, OFlags, RawDir, openat};
use rustix::io::{Result, read, retry_on_intr};
use rustix::process::{Pid, getpid};

/// Calls `act` with each child of the calling process, which must have a single thread.
pub(super) fn each_child(act: impl FnMut(Pid)) -> Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    match openat(CWD, c"/proc/thread-self/children", flags, Mode::empty()) {
        Ok(list) => each_number(list.as_fd(), act),
        // Kernels without CONFIG_PROC_CHILDREN have no such file.
        Err(_) => each_by_parent(act),
    }
}

/// Reads numbers that blanks end.
fn each_number(list: BorrowedFd<'_>, mut act: impl FnMut(Pid)) -> Result<()> {
    let mut buffer = [0; 1024];
    let mut number = 0i32;
    loop {
        let length = retry_on_intr(|| read(list, &mut buffer))?;
        for &byte in buffer.iter().take(length) {
            if byte.is_ascii_digit() {
                number = number.wrapping_mul(10).wrapping_add(i32::from(byte - b'0'));
            } else {
                Pid::from_raw(number).into_iter().for_each(&mut act);
                number = 0;
            }
        }
        if length == 0 {
            return Ok(());
        }
    }
}

/// Looks through all processes for those whose parent is this one.
fn each_by_parent(mut act: impl FnMut(Pid)) -> Result<()> {
    let folder = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let proc = openat(CWD, c"/proc", folder, Mode::empty())?;
    let mut space = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(&proc, &mut space);
    let myself = getpid();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if let Some(pid) = number(entry.file_name())
            && let Ok(process) = openat(&proc, entry.file_name(), folder, Mode::empty())
            && parent(process.as_fd()) == Ok(Some(myself))
        {
            act(pid);
        }
    }
    Ok(())
}

fn number(name: &CStr) -> Option<Pid> {
    let text = name.to_str().ok()?;
    Pid::from_raw(text.parse().ok()?)
}

/// The parent in `stat` of a process's folder: the second field after the name, which may itself hold parentheses.
fn parent(process: BorrowedFd<'_>) -> Result<Option<Pid>> {
    let stat = openat(process, c"stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [0; 512];
    let length = retry_on_intr(|| read(&stat, &mut buffer))?;
    let text = buffer.get(..length).unwrap_or_default();
    let Some(end_of_name) = text.iter().rposition(|&byte| byte == b')') else {
        return Ok(None);
    };
    let parent = text
        .get(end_of_name..)
        .and_then(|rest| rest.split(|&byte| byte == b' ').nth(2))
        .and_then(|field| std::str::from_utf8(field).ok())
        .and_then(|field| field.parse().ok());
    Ok(parent.and_then(Pid::from_raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn both_ways_find_a_child_and_no_other_process() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_child(&child);
        let mut by_parent = Vec::new();
        each_by_parent(|pid| by_parent.push(pid)).unwrap();
        // Children belong to a thread, and this test runs on one of several; the guardian has only one.
        let mut listed = Vec::new();
        each_child(|pid| listed.push(pid)).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(by_parent.contains(&pid), "{by_parent:?}");
        assert_eq!(listed, [pid]);
        assert!(!by_parent.contains(&getpid()) && !by_parent.contains(&Pid::INIT));
    }

    #[test]
    fn numbers_are_read_across_the_ends_of_the_buffer() {
        let file = tempfile::tempfile().unwrap();
        let numbers: Vec<i32> = (100_000..101_000).collect();
        let text: String = numbers.iter().map(|n| format!("{n} ")).collect();
        std::os::unix::fs::FileExt::write_all_at(&file, text.as_bytes(), 0).unwrap();
        let mut read = Vec::new();
        each_number(file.as_fd(), |pid| read.push(pid.as_raw_pid())).unwrap();
        assert_eq!(read, numbers);
    }
}
