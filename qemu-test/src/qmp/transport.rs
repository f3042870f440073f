//! The socket under a conversation: bytes and descriptors in and out, without blocking; waiting for either.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, send, sendmsg, socketpair, sockopt,
};
use rustix::process::Pid;

use super::credentials;
use crate::interrupt::{Interrupt, Wait};

/// How many descriptors one message may carry: what QEMU takes of one (`TCP_MAX_FDS`).
pub(super) const MAX_DESCRIPTORS: usize = 16;

/// Two connected ends, closed on exec: ours, which learns who writes first, and QEMU's.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    announce_writers(&ours, true);
    Ok((ours, theirs))
}

/// Has the system tell who wrote. It must be on before the peer writes; of TCP nobody can tell.
pub(super) fn announce_writers(socket: impl AsFd, on: bool) {
    let _ = sockopt::set_socket_passcred(socket, on);
}

/// Sends what goes without blocking, with the descriptors on its first byte.
pub(super) fn send_some(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<usize, Errno> {
    // No SIGPIPE: a peer that is gone is an error, and the user's program no daemon.
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    if descriptors.is_empty() {
        return send(socket, bytes, flags);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::TOOMANYREFS);
    }
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags)
}

/// Reads what is there without blocking; 0 at the end of file.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    recv(socket, buffer, RecvFlags::DONTWAIT).map(|(_, read)| read)
}

/// The same, with the writer's process number, where that is known.
pub(super) fn receive_with_writer(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Result<(usize, Option<Pid>), Errno> {
    credentials::receive(socket, buffer).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// What a thread blocks on that waits for a reply: the socket, and what else ends the wait.
///
/// It wakes once more than `poll(2)` would, when QEMU has taken the last byte of the command. On a virtual machine that
/// is faster, as it is with a blocking read: a processor that sleeps for the whole of a round trip wakes late (50 of
/// 310 µs, measured), and one that sleeps twice for half of it does not.
pub(super) struct Sleep {
    epoll: OwnedFd,
    /// The socket once more, because an epoll set takes one number for one interest only.
    _taken: OwnedFd,
    interruptible: bool,
}

impl Sleep {
    const SOCKET: u64 = 0;
    const TAKEN: u64 = 1;
    const INTERRUPT: u64 = 2;

    pub(super) fn new(socket: BorrowedFd<'_>, interrupt: Option<&Interrupt>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let taken = socket.try_clone_to_owned()?;
        let add = |fd: BorrowedFd<'_>, what, flags| epoll::add(&epoll, fd, EventData::new_u64(what), flags);
        add(socket, Self::SOCKET, EventFlags::IN)?;
        // Only the change counts: a socket can nearly always be written to.
        add(taken.as_fd(), Self::TAKEN, EventFlags::OUT | EventFlags::ET)?;
        if let Some(interrupt) = interrupt {
            add(interrupt.as_fd(), Self::INTERRUPT, EventFlags::IN)?;
        }
        Ok(Self {
            epoll,
            _taken: taken,
            interruptible: interrupt.is_some(),
        })
    }

    /// Whether it suits this wait: one that must go on after an interrupt cannot block on it.
    pub(super) fn suits(&self, wait: Wait<'_>) -> bool {
        self.interruptible == wait.interrupt.is_some()
    }

    /// Blocks until there is something to read, which is what true says, or the caller has to look at its condition.
    pub(super) fn until_readable(&self, wait: Wait<'_>) -> io::Result<bool> {
        let mut events = [epoll::Event {
            flags: EventFlags::empty(),
            data: EventData::new_u64(Self::TAKEN),
        }; 3];
        match epoll::wait(&self.epoll, &mut events, wait.deadline.timespec().as_ref()) {
            Ok(count) => Ok(events[..count]
                .iter()
                .any(|event| event.data.u64() == Self::SOCKET)),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Blocks until the socket is ready for what `flags` says, failed, or the wait is over, whichever comes first; the
/// answer says only which of `flags` hold, errors among them.
pub(super) fn ready(socket: BorrowedFd<'_>, flags: PollFlags, wait: Wait<'_>) -> io::Result<PollFlags> {
    let interrupt = wait.interrupt.map(Interrupt::as_fd);
    let mut fds = [
        PollFd::from_borrowed_fd(socket, flags),
        PollFd::from_borrowed_fd(interrupt.unwrap_or(socket), PollFlags::IN),
    ];
    let watched = if interrupt.is_some() { 2 } else { 1 };
    match poll(&mut fds[..watched], wait.deadline.timespec().as_ref()) {
        // A signal's handler ran: the caller looks at its condition and comes back.
        Ok(_) | Err(Errno::INTR) => Ok(fds[0].revents()),
        Err(error) => Err(error.into()),
    }
}
