//! A whole conversation with a peer that says anything: no panic, no hang, and errors of a size to read.
//!
//! The peer has said all it will say before the client begins, which keeps a conversation on one thread; the client
//! gives its commands the ids 1, 2, 3 and so on, so that the right replies can be among it. The first byte says how
//! the peer leaves: by saying no more, or by closing on what it was sent.

#![no_main]

use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use qemu_test::qmp::{Client, Command, EventFilter};
use qemu_test::serde_json::json;
use qemu_test::Error;

/// No wait is for longer: everything is there or will never be.
const LIMIT: Duration = Duration::from_secs(5);

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let Some((&leaving, words)) = input.split_first() else {
        return;
    };
    let (ours, mut peer) = UnixStream::pair().unwrap();
    peer.set_nonblocking(true).unwrap();
    // What does not fit the socket's buffer is cut off there: one more way for a peer to stop in the middle.
    let _ = peer.write(words);
    let _peer = if leaving % 2 == 0 {
        peer.shutdown(Shutdown::Write).unwrap();
        Some(peer)
    } else {
        drop(peer);
        None
    };
    let began = Instant::now();
    converse(ours).unwrap_or_else(check);
    assert!(began.elapsed() < LIMIT, "the conversation took {:?}", began.elapsed());
});

fn converse(stream: UnixStream) -> qemu_test::Result<()> {
    let client = Client::from_stream(stream)?;
    let commands = [
        Command::new("query-status"),
        Command::new("human-monitor-command").arguments(json!({ "command-line": "info" })),
        Command::new("x-oob").oob(),
    ];
    for command in commands {
        match client.command_raw(command.timeout(LIMIT)) {
            Ok(reply) => drop(reply.into_result().map_err(check)),
            Err(error) => check(error),
        }
    }
    let filter = EventFilter::new("STOP").data(json!({ "a": null }));
    client.wait_event(filter, Duration::ZERO).map_or_else(check, drop);
    client.next_event(LIMIT).map_or_else(check, drop);
    client.events().map_or_else(check, drop);
    Ok(())
}

fn check(error: Error) {
    let told = error.to_string();
    assert!(told.len() < 20_000, "an error of {} bytes", told.len());
    assert!(
        matches!(error, Error::Qmp(_)) || !told.chars().any(|c| c.is_control() && c != '\n'),
        "{told:?} does something to a terminal"
    );
}
