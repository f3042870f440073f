//! Peers that do not keep to the protocol: always a clear error that shows a bounded piece of what came.

use std::net::Shutdown;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::peer::{GREETING, Peer, interruptible, open, welcomed};
use crate::error::Error;
use crate::interrupt::{Cause, EndedWaits};
use crate::qmp::{Client, Command, Connection};

const MOMENT: Duration = Duration::from_millis(50);

/// The error must be that of a connection that ended, say so in the words of `parts`, and be of a size to read.
#[track_caller]
fn assert_ended(error: &Error, parts: &[&str]) {
    let told = error.to_string();
    assert!(matches!(error, Error::Disconnected(_)), "{told}");
    for part in parts {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
    assert!(told.len() < 1500, "{} bytes: {told}", told.len());
    assert!(!told.chars().any(|c| c.is_control() && c != '\n'), "{told:?}");
}

/// What a command meets when this is the answer to it.
fn answered_with(answer: impl AsRef<[u8]> + Send + 'static) -> Error {
    let client = welcomed(move |mut peer| {
        peer.hear();
        peer.say(answer);
        peer.linger();
    });
    let error = client.command("query-status").unwrap_err();
    // Nothing makes it usable again, and nothing hangs.
    let again = client.command("stop").unwrap_err();
    assert_ended(
        &again,
        &["sending `{\"execute\":\"stop\"}`", "did not reach QEMU"],
    );
    assert!(matches!(
        client.next_event(Duration::from_secs(30)),
        Err(Error::Disconnected(_))
    ));
    assert!(matches!(client.drain(), Connection::Ended(_)));
    error
}

#[test]
fn a_greeting_in_single_bytes_is_a_greeting() {
    let client = open(30, |mut peer| {
        for byte in GREETING.bytes() {
            peer.say([byte]);
            std::thread::yield_now();
        }
        let request = peer.hear().unwrap();
        peer.answer(&request, json!({}));
        peer.linger();
    });
    assert!(client.is_ok());
}

#[test]
fn a_wrong_greeting_is_shown() {
    let cases: [(&str, &[&str]); 5] = [
        (
            "SSH-2.0-OpenSSH_9.2p1\r\n",
            &["no QMP message", "`SSH-2.0-OpenSSH_9.2p1\\r\\n`"],
        ),
        (
            r#"{"hello": "world"}"#,
            &["neither a reply nor an event", r#"{"hello": "world"}"#],
        ),
        (
            r#"{"return": {}}"#,
            &["instead of the greeting", r#"{"return": {}}"#],
        ),
        (r#"{"QMP": "yes"}"#, &["not as it should be", r#"{"QMP": "yes"}"#]),
        ("\0\0\0\0", &["no QMP message"]),
    ];
    for (greeting, parts) in cases {
        let error = open(30, move |mut peer| {
            peer.say(greeting);
            peer.linger();
        })
        .unwrap_err();
        assert_ended(&error, &["waiting for QEMU's greeting"]);
        assert_ended(&error, parts);
    }
}

#[test]
fn a_greeting_that_does_not_come_is_waited_for_only_so_long() {
    let begun = Instant::now();
    let error = open(0, |mut peer: Peer| peer.linger()).unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert!(
        error.to_string().contains("waiting for QEMU's greeting"),
        "{error}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_peer_that_goes_away_in_its_greeting_is_told_with_what_it_had_said() {
    let error = open(30, drop).unwrap_err();
    assert_ended(&error, &["waiting for QEMU's greeting", "end of file"]);
    let error = open(30, |mut peer| {
        peer.say(&GREETING[..40]);
    })
    .unwrap_err();
    assert_ended(&error, &["in the middle of a message", &GREETING[..40]]);
    let error = open(30, |mut peer| {
        peer.say(GREETING);
        peer.hear();
    })
    .unwrap_err();
    assert_ended(
        &error,
        &["qmp_capabilities", "nobody knows whether the command ran"],
    );
}

#[test]
fn a_refused_negotiation_is_an_error_of_qemus() {
    let error = open(30, |mut peer| {
        peer.say(GREETING);
        let request = peer.hear().unwrap();
        let error = json!({ "class": "GenericError", "desc": "not today" });
        peer.say(json!({ "error": error, "id": request["id"] }).to_string());
    })
    .unwrap_err();
    assert!(
        matches!(&error, Error::Qmp(e) if e.desc == "not today"),
        "{error}"
    );
}

#[test]
fn garbage_and_what_is_no_utf8_end_the_connection() {
    assert_ended(
        &answered_with("\x1b[31mkernel panic\n"),
        &["no QMP message", "\\u{1b}[31mkernel panic\\n"],
    );
    assert_ended(&answered_with("{\"return\": }"), &["no JSON", "{\"return\": }"]);
    assert_ended(&answered_with("{\"return\": ]"), &["no JSON"]);
    assert_ended(
        &answered_with(b"{\"return\": \"a\xffb\"}"),
        &["no UTF-8 from byte 13"],
    );
    assert_ended(&answered_with("[1, 2, 3]"), &["no QMP message", "[1, 2, 3]"]);
    assert_ended(&answered_with(GREETING), &["second greeting"]);
    let long = format!("{{\"event\": {}}}", "7".repeat(1 << 20));
    assert_ended(&answered_with(long), &["no JSON", "… (1048587 bytes)"]);
}

#[test]
fn a_reply_must_be_one_of_return_and_error() {
    let both = r#"{"return": {}, "error": {"class": "GenericError", "desc": ""}, "id": 2}"#;
    assert_ended(&answered_with(both), &["more than one of", both]);
    assert_ended(&answered_with(r#"{"id": 2}"#), &["neither a reply nor an event"]);
}

#[test]
fn nesting_without_end_is_cut_off() {
    assert_ended(
        &answered_with("{\"a\":".repeat(1 << 20)),
        &["deeper than 1100 levels"],
    );
    assert_ended(
        &answered_with(format!("{{\"return\":{}", "[".repeat(1 << 20))),
        &["deeper than 1100"],
    );
}

#[test]
fn a_reply_as_deep_as_qemu_writes_arrives_whole() {
    let deep = "{\"a\":[".repeat(511) + "1" + &"]}".repeat(511);
    let reply = format!("{{\"return\": {deep}, \"id\": 2}}");
    let client = welcomed(move |mut peer| {
        assert_eq!(peer.hear().unwrap()["id"], 2);
        peer.say(reply);
        peer.linger();
    });
    assert_eq!(client.command("x").unwrap().to_string(), deep);
}

#[test]
fn replies_with_unknown_ids_are_dropped() {
    let client = welcomed(|mut peer| {
        while let Some(request) = peer.hear() {
            for id in ["77", "-1", "18446744073709551616", "\"1\"", "null", "[]", "1.5"] {
                peer.say(format!(r#"{{"return": "wrong", "id": {id}}}"#));
            }
            peer.say(r#"{"return": "wrong"}"#);
            peer.answer(&request, "right");
            // And the same again: whoever comes next must not take it.
            peer.answer(&request, "twice");
        }
    });
    for _ in 0..30 {
        assert_eq!(client.command("x").unwrap(), "right");
    }
}

#[test]
fn a_flood_of_events_is_kept_in_order_and_replies_come_through() {
    const EVENTS: u64 = 100_000;
    let client = welcomed(|mut peer| {
        let request = peer.hear().unwrap();
        let mut flood = String::new();
        for number in 0..EVENTS {
            flood.push_str(&format!(
                "{{\"event\": \"E\", \"data\": {{\"n\": {number}}}}}\r\n"
            ));
        }
        let half = flood.len() / 2;
        peer.say(&flood[..half]);
        peer.say(&flood[half..]);
        peer.answer(&request, "through");
        peer.linger();
    });
    assert_eq!(client.command("x").unwrap(), "through");
    let last = client.wait_event(
        crate::qmp::EventFilter::new("E").data(json!({ "n": EVENTS - 1 })),
        Duration::from_secs(30),
    );
    assert_eq!(last.unwrap().data["n"], EVENTS - 1);
    let events = client.events().unwrap();
    assert_eq!(events.len() as u64, EVENTS - 1);
    assert!(
        events
            .iter()
            .zip(0..)
            .all(|(event, number)| event.data["n"] == number)
    );
}

#[test]
fn a_silent_peer_costs_the_limit_and_not_the_connection() {
    let (go, gone) = mpsc::channel::<()>();
    let client = welcomed(move |mut peer| {
        let first = peer.hear().unwrap();
        gone.recv().unwrap();
        peer.answer(&first, "late");
        while let Some(request) = peer.hear() {
            peer.answer(&request, "in time");
        }
    });
    let error = client.command(Command::new("one").timeout(MOMENT)).unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("waiting for the reply to `{\"execute\":\"one\"}`"),
        "{error}"
    );
    go.send(()).unwrap();
    assert_eq!(client.command("two").unwrap(), "in time");
}

#[test]
fn a_peer_that_does_not_read_ends_a_long_request_by_its_limit() {
    let (_stay, stayed) = mpsc::channel::<()>();
    let client = welcomed(move |peer| {
        let _ = stayed.recv();
        drop(peer);
    });
    let long = Command::new("x")
        .arguments("y".repeat(1 << 20))
        .timeout(Duration::from_secs(1));
    let error = client.command(long).unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("sending `{\"execute\":\"x\",\"arguments\":\"yyy"),
        "{error}"
    );
    assert!(error.to_string().len() < 500, "{error}");
    // What is half sent cannot be taken back.
    let error = client.command("query-status").unwrap_err();
    assert_ended(&error, &["cut short after", "did not reach QEMU"]);
}

#[test]
fn neither_side_waits_for_the_other_to_read_first() {
    let client = welcomed(|mut peer| {
        // More than any socket holds, said before anything is heard.
        let event = format!("{{\"event\": \"E\", \"data\": \"{}\"}}", "x".repeat(1 << 20));
        for _ in 0..8 {
            peer.say(&event);
        }
        let request = peer.hear().unwrap();
        peer.answer(&request, request["arguments"].as_str().unwrap().len());
        peer.linger();
    });
    let long = Command::new("x")
        .arguments("y".repeat(4 << 20))
        .timeout(Duration::from_secs(60));
    assert_eq!(client.command(long).unwrap(), 4 << 20);
    assert_eq!(client.events().unwrap().len(), 8);
}

#[test]
fn a_reset_in_the_middle_of_a_request_is_told_as_what_it_is() {
    // A Unix socket is reset by closing it with something unread.
    let client = welcomed(|mut peer| {
        peer.say(r#"{"event": "LAST_WORDS"}"#);
        let mut byte = [0];
        std::io::Read::read_exact(&mut peer.stream, &mut byte).unwrap();
    });
    let long = Command::new("x").arguments("y".repeat(16 << 20));
    let error = client.command(long).unwrap_err();
    assert_ended(&error, &["did not reach QEMU"]);
    assert_eq!(client.next_event(Duration::ZERO).unwrap().name, "LAST_WORDS");
}

#[test]
fn a_peer_that_will_say_no_more_is_gone() {
    let client = welcomed(|mut peer| {
        peer.stream.shutdown(Shutdown::Write).unwrap();
        peer.linger();
    });
    let error = client.command("query-status").unwrap_err();
    assert_ended(&error, &["end of file"]);
    // And one that will hear no more: its last words are kept.
    let client = welcomed(|mut peer| {
        peer.stream.shutdown(Shutdown::Read).unwrap();
        peer.say(r#"{"event": "LAST_WORDS"}"#);
        std::thread::park_timeout(Duration::from_secs(30));
    });
    client.wait_event("LAST_WORDS", Duration::from_secs(30)).unwrap();
    assert_ended(&client.command("query-status").unwrap_err(), &["sending failed"]);
}

#[test]
fn a_raised_interrupt_ends_every_wait_at_once_with_its_cause() {
    let (client, interrupt) = interruptible(|mut peer| peer.linger());
    let waits: [fn(&Client) -> Error; 4] = [
        |client| client.command("one").unwrap_err(),
        |client| client.command("two").unwrap_err(),
        |client| client.wait_event("E", Duration::from_secs(60)).unwrap_err(),
        |client| client.next_event(Duration::from_secs(60)).unwrap_err(),
    ];
    let begun = Instant::now();
    let ended = std::thread::scope(|scope| {
        let threads = waits.map(|wait| {
            let client = &client;
            scope.spawn(move || wait(client))
        });
        std::thread::park_timeout(MOMENT);
        let limit = Duration::from_secs(7);
        let ended = EndedWaits::now();
        assert!(interrupt.raise(Cause::TestTimeout {
            limit,
            ended: ended.clone()
        }));
        for thread in threads {
            let error = thread.join().unwrap();
            assert!(
                error
                    .to_string()
                    .starts_with("the test timed out after 7 s while waiting"),
                "{error}"
            );
            assert!(error.to_string().contains("machine `vm`"), "{error}");
        }
        ended
    });
    assert!(begun.elapsed() < Duration::from_secs(10));
    let noted = ended.all();
    let error = client.command("late").unwrap_err();
    // The report names what was under way, and not what began too late.
    assert!(
        noted.len() >= 2 && noted.iter().all(|wait| wait.ends_with("(machine `vm`)")),
        "{noted:?}"
    );
    assert_eq!(ended.all(), noted);
    assert!(
        error
            .to_string()
            .contains("while sending `{\"execute\":\"late\"}`"),
        "{error}"
    );
}

#[test]
fn the_end_of_the_connection_gives_way_to_how_qemu_ended() {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    let (client, interrupt) = interruptible(|mut peer| drop(peer.hear()));
    let error = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.command("query-status").unwrap_err());
        std::thread::park_timeout(MOMENT);
        let status = ExitStatus::from_raw(6);
        let log = "assertion failed".to_owned();
        interrupt.raise(Cause::Exited { status, log });
        waiting.join().unwrap()
    });
    let told = error.to_string();
    assert!(
        told.starts_with("QEMU was killed by signal SIGABRT while waiting for the reply to"),
        "{told}"
    );
    assert!(told.ends_with("assertion failed"), "{told}");
}
