//! The thread that reads for all: it has the [`Role`] for as long as it waits, and with it the [`Reader`].

use std::os::fd::AsFd;

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::decoder::{Decoder, Malformed};
use super::message::Message;
use super::session::Session;
use super::transport;
use crate::interrupt::Wait;

/// How much is read at a time.
const READ: usize = 64 << 10;

/// What reading needs. Whoever holds it reads.
pub(super) struct Reader {
    decoder: Decoder,
    buffer: Box<[u8]>,
    /// Until the greeting is read: who wrote it.
    writer_unknown: bool,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            decoder: Decoder::default(),
            buffer: vec![0; READ].into_boxed_slice(),
            writer_unknown: true,
        }
    }
}

impl Session {
    /// The role, where no thread has it.
    pub(super) fn take_role(&self) -> Option<Role<'_>> {
        let mut state = self.lock();
        let reader = state.reader.take()?;
        if let Some(on_reader) = &self.options.on_reader {
            on_reader(true);
        }
        Some(Role {
            session: self,
            reader: Some(reader),
            announced: true,
        })
    }
}

/// The role of the thread that reads for all. It goes on when dropped.
pub(super) struct Role<'a> {
    session: &'a Session,
    /// Always there, but while dropping.
    reader: Option<Reader>,
    /// Whether the owner was told.
    announced: bool,
}

impl<'a> Role<'a> {
    /// The role of the owner itself, who need not be told.
    pub(super) fn unannounced(session: &'a Session, reader: Reader) -> Self {
        Self {
            session,
            reader: Some(reader),
            announced: false,
        }
    }

    /// Blocks until there is something to read, or `flags` and `wait` end it; reads what is there.
    pub(super) fn wait_and_read(&mut self, flags: PollFlags, wait: Wait<'_>) {
        let session = self.session;
        let sleep = session.sleep.get_or_init(|| {
            transport::Sleep::new(session.as_fd(), session.options.interrupt.as_deref()).ok()
        });
        let ready = match sleep {
            Some(sleep) if flags == PollFlags::IN && sleep.suits(wait) => {
                let flags = |readable| {
                    if readable {
                        PollFlags::IN
                    } else {
                        PollFlags::empty()
                    }
                };
                sleep.until_readable(wait).map(flags)
            }
            _ => transport::ready(session.as_fd(), flags, wait),
        };
        match ready {
            Ok(ready) if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) => {
                self.read();
            }
            Ok(_) => {}
            Err(error) => {
                self.session.end(format!("waiting for it failed: {error}"));
            }
        }
    }

    /// Reads once, without blocking. False where there was nothing to read, or nothing more can come.
    pub(super) fn read(&mut self) -> bool {
        let Some(reader) = &mut self.reader else {
            return false;
        };
        let session = self.session;
        match reader.fill(session) {
            Ok(0) => {
                let reason = match reader.decoder.unfinished() {
                    Some(piece) => format!("end of file in the middle of a message: `{piece}`"),
                    None => "end of file".to_owned(),
                };
                session.end(reason);
                false
            }
            Ok(_) => match reader.dispatch(session) {
                Ok(()) => true,
                Err(malformed) => {
                    session.end(malformed.to_string());
                    false
                }
            },
            Err(Errno::AGAIN) => false,
            Err(Errno::INTR) => true,
            Err(error) => {
                session.end(format!("reading failed: {error}"));
                false
            }
        }
    }
}

impl Drop for Role<'_> {
    fn drop(&mut self) {
        let mut state = self.session.lock();
        state.reader = self.reader.take();
        if let Some(on_reader) = &self.session.options.on_reader
            && self.announced
        {
            on_reader(false);
        }
        self.session.notify(&state);
    }
}

impl Reader {
    fn fill(&mut self, session: &Session) -> Result<usize, Errno> {
        let socket = session.as_fd();
        let read = if self.writer_unknown {
            let (read, writer) = transport::receive_with_writer(socket, &mut self.buffer)?;
            if let Some(writer) = writer {
                let _ = session.peer.set(writer);
                transport::announce_writers(socket, false);
            }
            self.writer_unknown = false;
            read
        } else {
            transport::receive(socket, &mut self.buffer)?
        };
        self.decoder.push(&self.buffer[..read]);
        Ok(read)
    }

    /// Hands on the messages that are complete.
    fn dispatch(&mut self, session: &Session) -> Result<(), Malformed> {
        let options = &session.options;
        while let Some(text) = self.decoder.next_message()? {
            if let Some(transcript) = &options.transcript {
                transcript.received(text);
            }
            let message = Message::parse(text)?;
            let event = match (&message, &options.on_event) {
                (Message::Event(event), Some(on_event)) => Some((event.event(), on_event)),
                _ => None,
            };
            let mut state = session.lock();
            let taken = state.take_in(message, text, &options.name);
            session.notify(&state);
            drop(state);
            taken?;
            if let Some((event, on_event)) = event {
                on_event(&event);
            }
        }
        Ok(())
    }
}
