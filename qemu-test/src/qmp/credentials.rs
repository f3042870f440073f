//! Reading from a socket together with who wrote: rustix has the call, but no room for the process number 0 that
//! the system gives for a writer in another PID namespace.

#![expect(unsafe_code, reason = "recvmsg(2) takes a structure of pointers")]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::process::Pid;

/// Reads without blocking. With `SO_PASSCRED` set on the socket, the writer's process number comes too, where it
/// has one that can be seen from here.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<Pid>)> {
    let mut iov = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // Room for one `ucred` and its header; u64 for the alignment that headers need. Descriptors that a peer sends
    // along find no room, and the system closes them.
    let mut control = [0u64; 8];
    // SAFETY: `msghdr` is a C structure of integers and pointers, for which all zeroes is a valid value.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = &mut iov;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = mem::size_of_val(&control) as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: every pointer in `message` is to a live, exclusively borrowed object of the length beside it.
    let read = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut message, flags) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;

    let mut pid = None;
    // SAFETY: the system has filled `message` in; these macros walk its control data within `msg_controllen`.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&message) };
    // SAFETY: `header` is null or points to a header inside `control`, which is aligned for it.
    while let Some(found) = unsafe { header.as_ref() } {
        let wanted = (libc::SOL_SOCKET, libc::SCM_CREDENTIALS);
        // SAFETY: computes a length only.
        let whole = unsafe { libc::CMSG_LEN(mem::size_of::<libc::ucred>() as u32) } as _;
        if (found.cmsg_level, found.cmsg_type) == wanted && found.cmsg_len >= whole {
            // SAFETY: the message is of that type and whole, so a `ucred` lies behind its header.
            let credentials = unsafe { libc::CMSG_DATA(header).cast::<libc::ucred>().read_unaligned() };
            pid = Pid::from_raw(credentials.pid);
        }
        // SAFETY: as for the first one.
        header = unsafe { libc::CMSG_NXTHDR(&message, header) };
    }
    Ok((read, pid))
}
