//! The other end of a conversation, scripted by the test.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};

use super::qemu::within;
use crate::error::Result;
use crate::interrupt::Interrupt;
use crate::qmp::decoder::Decoder;
use crate::qmp::{Client, Options};

pub(super) const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}"#;

pub(super) struct Peer {
    pub(super) stream: UnixStream,
    decoder: Decoder,
}

impl Peer {
    /// Says something; false where nobody listens any more.
    pub(super) fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// The next request, `None` at the end of file.
    pub(super) fn hear(&mut self) -> Option<Value> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return Some(serde_json::from_slice(message).unwrap());
            }
            match self.stream.read(&mut buffer) {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.decoder.push(&buffer[..read]),
            }
        }
    }

    pub(super) fn answer(&mut self, request: &Value, returned: impl Into<Value>) -> bool {
        let reply = json!({ "return": returned.into(), "id": request["id"] });
        self.say(reply.to_string())
    }

    /// Greets and negotiates as QEMU does.
    pub(super) fn welcome(&mut self) {
        self.say(GREETING);
        let request = self.hear().expect("a client negotiates");
        assert_eq!(request["execute"], "qmp_capabilities");
        self.answer(&request, json!({}));
    }

    /// Stays until the client goes.
    pub(super) fn linger(&mut self) {
        while self.hear().is_some() {}
    }
}

/// The client's end of a conversation with `script`.
pub(super) fn peer<T: Send + 'static>(
    script: impl FnOnce(Peer) -> T + Send + 'static,
) -> (OwnedFd, JoinHandle<T>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let peer = Peer {
        stream: theirs,
        decoder: Decoder::default(),
    };
    (ours.into(), std::thread::spawn(move || script(peer)))
}

/// What comes of opening a client to `script`, within `seconds`.
pub(super) fn open(seconds: u64, script: impl FnOnce(Peer) + Send + 'static) -> Result<Client> {
    let (ours, _) = peer(script);
    Client::open(ours, Options::default(), within(seconds))
}

/// A client to a peer that first welcomes it as QEMU does, and then follows `script`.
pub(super) fn welcomed(script: impl FnOnce(Peer) + Send + 'static) -> Client {
    open(30, |mut peer| {
        peer.welcome();
        script(peer);
    })
    .unwrap()
}

/// The same on a machine, whose interrupt the test raises.
pub(super) fn interruptible(script: impl FnOnce(Peer) + Send + 'static) -> (Client, Arc<Interrupt>) {
    let interrupt = Interrupt::new("vm").unwrap();
    let (ours, _) = peer(|mut peer| {
        peer.welcome();
        script(peer);
    });
    let options = Options {
        command_timeout: Some(Duration::from_secs(30)),
        interrupt: Some(interrupt.clone()),
        ..Options::default()
    };
    (Client::open(ours, options, within(30)).unwrap(), interrupt)
}
