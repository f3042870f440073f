//! The connection: one request at a time, its reply matched, interrupt messages set aside. What requests mean is left
//! to `api`.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::irq::{Irq, IrqQueue};
use crate::Result;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::interrupt::{Interrupt, Wait, Wake};
use crate::stream::{Unsent, send_all};

/// A connection that ended ends because QEMU does: so long may the news of that take, to be told instead.
const END_GRACE: Duration = Duration::from_secs(1);

const CLOSED: &str = "QEMU closed it";

pub(super) struct Connection {
    pub(super) stream: OwnedFd,
    pub(super) interrupt: Arc<Interrupt>,
    pub(super) limit: Duration,
    /// Held from a request to its reply: the protocol has no ids, so replies are told apart by their order alone.
    turn: Mutex<()>,
    inbox: Mutex<Inbox>,
    arrived: Condvar,
}

#[derive(Default)]
struct Inbox {
    /// The beginning of a line whose end has not come.
    partial: Vec<u8>,
    replies: VecDeque<String>,
    /// Replies still to come to requests whose caller has given up: they must not be taken for the next one's.
    unwanted: usize,
    irqs: IrqQueue,
    ended: Option<String>,
}

/// A poisoned lock is one whose holder panicked; what these locks guard is whole all the same.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Wake for Connection {
    fn wake(&self) {
        let _inbox = lock(&self.inbox);
        self.arrived.notify_all();
    }
}

impl Inbox {
    fn take(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(newline) = memchr::memchr(b'\n', rest) {
            self.partial.extend_from_slice(&rest[..newline]);
            let line = std::mem::take(&mut self.partial);
            self.take_line(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
            rest = &rest[newline + 1..];
        }
        self.partial.extend_from_slice(rest);
    }

    fn take_line(&mut self, line: String) {
        if let Some(irq) = Irq::parse(&line) {
            self.irqs.push(irq);
        } else if self.unwanted > 0 {
            self.unwanted -= 1;
            log::debug!("qtest: dropped the late reply `{line}`");
        } else {
            self.replies.push_back(line);
        }
    }
}

impl Connection {
    pub(super) fn new(stream: OwnedFd, interrupt: Arc<Interrupt>, limit: Duration) -> Arc<Self> {
        let connection = Arc::new(Self {
            stream,
            interrupt: interrupt.clone(),
            limit,
            turn: Mutex::new(()),
            inbox: Mutex::default(),
            arrived: Condvar::new(),
        });
        interrupt.register(&connection);
        connection
    }

    /// Takes in what has come, without blocking. False at the end of the connection.
    pub(super) fn feed(&self) -> io::Result<bool> {
        let mut buffer = [0; 16 << 10];
        loop {
            let reason = match recv(&self.stream, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((count, _)) if count > 0 => {
                    lock(&self.inbox).take(&buffer[..count]);
                    self.arrived.notify_all();
                    // A full buffer may not be all; otherwise the descriptor tells when there is more.
                    if count < buffer.len() {
                        return Ok(true);
                    }
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(true),
                Ok(_) | Err(Errno::CONNRESET) => CLOSED.to_owned(),
                Err(error) => error.to_string(),
            };
            lock(&self.inbox).ended.get_or_insert(reason);
            self.arrived.notify_all();
            return Ok(false);
        }
    }

    /// Sends one line and waits for its reply, which is returned whole.
    pub(super) fn request(&self, line: &str) -> Result<String> {
        // The wait for the turn has the bound of the other's wait.
        let _turn = lock(&self.turn);
        let wait = Wait::new(Deadline::after(self.limit), Some(&self.interrupt));
        let doing = || format!("waiting for the reply to the qtest command `{}`", shortened(line));
        self.send(line, wait, &doing)?;
        self.wait(wait, &doing, |inbox| inbox.replies.pop_front(), |_| String::new())
            .inspect_err(|_| {
                let mut inbox = lock(&self.inbox);
                // It may have come between the end of the wait and now.
                if inbox.replies.pop_front().is_none() {
                    inbox.unwanted += 1;
                }
            })
    }

    fn send(&self, line: &str, wait: Wait<'_>, doing: &impl Fn() -> String) -> Result<()> {
        let bytes = format!("{line}\n");
        let mut sent = 0;
        let Err(unsent) = send_all(self.stream.as_fd(), bytes.as_bytes(), wait, &mut sent) else {
            return Ok(());
        };
        if sent > 0 {
            // QEMU would take the next request for the rest of this one.
            let reason = format!("the command `{}` could not be sent whole", shortened(line));
            lock(&self.inbox).ended.get_or_insert(reason);
        }
        Err(match unsent {
            Unsent::Over => match wait.over(doing, || "(QEMU does not read)".to_owned()) {
                Some(error) => error,
                None => self.ended(wait, doing, CLOSED),
            },
            Unsent::Closed => self.ended(wait, doing, CLOSED),
            Unsent::Io(error) => Error::io(doing(), error),
        })
    }

    /// Takes the events so far.
    pub(super) fn take_irqs(&self) -> Vec<Irq> {
        lock(&self.inbox).irqs.take_all()
    }

    /// Waits for an event, which is then taken.
    pub(super) fn wait_irq(&self, wanted: Irq, wait: Wait<'_>) -> Result<()> {
        let doing = || format!("waiting for `{wanted}` on qtest");
        self.wait(
            wait,
            &doing,
            |inbox| inbox.irqs.take(wanted),
            |inbox| inbox.irqs.describe(),
        )
        .map(drop)
    }

    fn wait<T>(
        &self,
        wait: Wait<'_>,
        doing: &impl Fn() -> String,
        mut take: impl FnMut(&mut Inbox) -> Option<T>,
        seen: impl Fn(&Inbox) -> String,
    ) -> Result<T> {
        let mut inbox = lock(&self.inbox);
        loop {
            if let Some(taken) = take(&mut inbox) {
                return Ok(taken);
            }
            if let Some(error) = wait.over(doing, || seen(&inbox)) {
                return Err(error);
            }
            if let Some(reason) = inbox.ended.clone() {
                drop(inbox);
                return Err(self.ended(wait, doing, &reason));
            }
            inbox = self.sleep(inbox, wait.deadline);
        }
    }

    /// The error for a connection that ended under `wait`: how QEMU ended, if that is known within a moment.
    fn ended(&self, wait: Wait<'_>, doing: &impl Fn() -> String, reason: &str) -> Error {
        let grace = wait.deadline.or_sooner(Deadline::exactly(END_GRACE));
        let mut inbox = lock(&self.inbox);
        while self.interrupt.cause().is_none() && !grace.expired() {
            inbox = self.sleep(inbox, grace);
        }
        drop(inbox);
        wait.over(doing, String::new)
            .unwrap_or_else(|| wait.disconnected(doing(), reason))
    }

    fn sleep<'a>(&self, inbox: MutexGuard<'a, Inbox>, deadline: Deadline) -> MutexGuard<'a, Inbox> {
        match deadline.remaining() {
            Some(left) => {
                let woken = self.arrived.wait_timeout(inbox, left);
                woken.unwrap_or_else(|poisoned| poisoned.into_inner()).0
            }
            None => self
                .arrived
                .wait(inbox)
                .unwrap_or_else(|poisoned| poisoned.into_inner()),
        }
    }
}

/// A request for a message: what it asks is at its beginning, and its data may be long.
pub(super) fn shortened(line: &str) -> String {
    const SHOWN: usize = 100;
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}… ({} bytes)", &line[..at], line.len()),
        None => line.to_owned(),
    }
}
