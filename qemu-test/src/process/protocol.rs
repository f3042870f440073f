//! What the guardian and the test process say to each other: short messages of a fixed length, over a socket that
//! keeps their boundaries. The guardian's half allocates nothing.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::{Errno, Result, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recv, recvmsg, send, sendmsg,
};

const LENGTH: usize = 12;

/// From the guardian.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Report {
    /// The program was forked; a pidfd of it travels along.
    Started { pid: i32 },
    /// A process whose parent is the guardian ended, with this wait status.
    Ended { pid: i32, status: i32 },
    /// The tree has no processes any more, and the guardian ends.
    Gone,
}

impl Report {
    fn encode(self) -> [u8; LENGTH] {
        let (kind, pid, status) = match self {
            Self::Started { pid } => (1, pid, 0),
            Self::Ended { pid, status } => (2, pid, status),
            Self::Gone => (3, 0, 0),
        };
        let mut bytes = [0; LENGTH];
        for (field, value) in bytes.chunks_exact_mut(4).zip([kind, pid, status]) {
            field.copy_from_slice(&i32::to_ne_bytes(value));
        }
        bytes
    }

    fn decode(bytes: [u8; LENGTH]) -> Result<Self> {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
        let pid = i32::from_ne_bytes([e, f, g, h]);
        match i32::from_ne_bytes([a, b, c, d]) {
            1 => Ok(Self::Started { pid }),
            2 => Ok(Self::Ended {
                pid,
                status: i32::from_ne_bytes([i, j, k, l]),
            }),
            3 => Ok(Self::Gone),
            _ => Err(Errno::PROTO),
        }
    }

    /// Sends this without ever blocking: a test process that does not read must not stop the guardian.
    pub(super) fn send(self, socket: BorrowedFd<'_>, attached: Option<BorrowedFd<'_>>) -> Result<()> {
        let bytes = self.encode();
        let attached = attached.as_slice();
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !attached.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(attached));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        retry_on_intr(|| sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags)).map(drop)
    }

    /// The next report with the descriptor it carries, without blocking: `AGAIN` where there is none. `None` at the
    /// end of the guardian.
    pub(super) fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Self, Option<OwnedFd>)>> {
        let mut bytes = [0; LENGTH];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received =
            retry_on_intr(|| recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags))?;
        if received.bytes == 0 {
            return Ok(None);
        }
        let attached = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok(Some((Self::decode(bytes)?, attached)))
    }
}

/// From the test process: everything of the tree is to be killed. The end of the connection says the same.
pub(super) fn order_kill(socket: BorrowedFd<'_>) -> Result<()> {
    send(socket, b"k", SendFlags::NOSIGNAL | SendFlags::DONTWAIT).map(drop)
}

/// What the guardian finds on its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    Nothing,
    Kill,
    /// The test process has closed its end, or ended.
    Orphaned,
}

pub(super) fn take_order(socket: BorrowedFd<'_>) -> Order {
    match retry_on_intr(|| recv(socket, &mut [0; 1], RecvFlags::DONTWAIT)) {
        Ok((0, _)) => Order::Orphaned,
        Ok(_) => Order::Kill,
        Err(Errno::AGAIN) => Order::Nothing,
        Err(_) => Order::Orphaned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::os::fd::AsFd;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap()
    }

    #[test]
    fn a_report_arrives_as_it_was_sent_and_the_end_after_it() {
        let (test, guardian) = pair();
        let sent = [
            Report::Started { pid: 4_000_000 },
            Report::Ended { pid: 7, status: 9 },
            Report::Gone,
        ];
        sent[0].send(guardian.as_fd(), Some(test.as_fd())).unwrap();
        sent[1].send(guardian.as_fd(), None).unwrap();
        sent[2].send(guardian.as_fd(), None).unwrap();
        drop(guardian);
        for (nth, report) in sent.into_iter().enumerate() {
            let (received, attached) = Report::receive(test.as_fd()).unwrap().unwrap();
            assert_eq!(received, report);
            assert_eq!(attached.is_some(), nth == 0);
        }
        assert!(Report::receive(test.as_fd()).unwrap().is_none());
    }

    #[test]
    fn the_end_of_the_test_process_is_an_order() {
        let (test, guardian) = pair();
        assert_eq!(take_order(guardian.as_fd()), Order::Nothing);
        order_kill(test.as_fd()).unwrap();
        assert_eq!(take_order(guardian.as_fd()), Order::Kill);
        drop(test);
        assert_eq!(take_order(guardian.as_fd()), Order::Orphaned);
    }
}
