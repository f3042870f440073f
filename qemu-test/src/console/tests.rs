//! The promises of [`Console`] to a test, kept with real guests; and with a bare socket where the moment at which
//! bytes come is what matters.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use regex::Regex;

use super::Console;
use crate::Error;
use crate::deadline::Deadline;
use crate::interrupt::{Cause, Wait};
use crate::testing::{Feeder, bare_console, boot, pair, scratch};

const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(50);

/// Feeds until `theirs` has nothing more to say, in this thread.
fn say(console: &Console, theirs: &mut UnixStream, bytes: &[u8]) {
    for part in bytes.chunks(64 << 10) {
        theirs.write_all(part).unwrap();
        assert!(console.feed().unwrap());
    }
}

#[test]
fn a_handle_can_go_to_other_threads_and_through_a_caught_panic() {
    fn check<T: Send + Sync + UnwindSafe + RefUnwindSafe>() {}
    check::<Console>();
}

#[test]
fn a_guest_is_heard_and_answers() {
    let guest = boot(b"\x1b[2J\x1b[1mready\x1b[0m\r\n> ");
    assert_eq!(guest.console().wait_for("> ", LONG).unwrap(), "ready\n> ");
    guest.console().send_line("one").unwrap();
    assert_eq!(guest.console().wait_for("one\n", LONG).unwrap(), "one\n");
    guest.console().send(b"two").unwrap();
    let two = Regex::new("t(w)o$").unwrap();
    assert_eq!(guest.console().wait_for(two, LONG).unwrap(), "two");
    guest.console().send_control('c').unwrap();
    guest.console().send("!").unwrap();
    guest.console().wait_for("!", LONG).unwrap();
    assert_eq!(
        guest.console().output(),
        "ready\n> one\ntwo!",
        "all of it, whatever was consumed"
    );
    let mut raw = Vec::new();
    (&guest.console().shared.file).read_to_end(&mut raw).unwrap();
    assert_eq!(
        raw, b"",
        "the file is at its end: it has been written through one descriptor"
    );
}

#[test]
fn the_file_has_the_bytes_as_they_came() {
    let (console, mut theirs, _interrupt) = bare_console();
    let bytes = b"\x1b[1mbold\x1b[0m\r\n\xff\0\n";
    say(&console, &mut theirs, bytes);
    let mut raw = vec![0; bytes.len() + 1];
    let count = std::os::unix::fs::FileExt::read_at(&console.shared.file, &mut raw, 0).unwrap();
    assert_eq!(&raw[..count], bytes);
    assert_eq!(console.output(), "bold\n\u{fffd}\n");
}

#[test]
fn what_matched_is_consumed_and_the_rest_is_left() {
    let (console, mut theirs, _interrupt) = bare_console();
    say(&console, &mut theirs, b"one two one three");
    assert_eq!(console.wait_for("one", LONG).unwrap(), "one");
    assert_eq!(console.wait_for("one", LONG).unwrap(), " two one");
    console.wait_for("one", SHORT).unwrap_err();
    assert_eq!(
        console.wait_for(Regex::new("^ three$").unwrap(), LONG).unwrap(),
        " three"
    );
}

#[test]
fn a_match_is_seen_the_moment_it_comes_however_it_is_cut() {
    let (console, mut theirs, _interrupt) = bare_console();
    let _feeder = Feeder::new(console.handle());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| console.wait_for("login: ", LONG));
        for byte in b"\x1b[32mlogin\x1b[0m: " {
            theirs.write_all(&[*byte]).unwrap();
        }
        assert_eq!(waiting.join().unwrap().unwrap(), "login: ");
    });
}

#[test]
fn a_miss_tells_what_came_instead() {
    let (console, mut theirs, _interrupt) = bare_console();
    say(
        &console,
        &mut theirs,
        b"booting\r\n\x1b[31mno root device\x1b[0m\r\n(initramfs) ",
    );
    let error = console.wait_for("login: ", SHORT).unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("waiting for `login: ` on the console (machine `vm`)"),
        "{text}"
    );
    assert!(
        text.ends_with("what came instead:\n  booting\n  no root device\n  (initramfs)"),
        "{text}"
    );
    console.wait_for("(initramfs) ", LONG).unwrap();
    let text = console.wait_for("login: ", SHORT).unwrap_err().to_string();
    assert!(
        text.contains("(nothing)") && text.ends_with("(initramfs)"),
        "{text}"
    );
}

#[test]
fn the_end_of_qemu_ends_a_wait_at_once() {
    let mut guest = boot(b"> ");
    guest.console().wait_for("> ", LONG).unwrap();
    let console = guest.console().handle();
    let started = Instant::now();
    let waiting = thread::spawn(move || (console.wait_for("never", LONG), console));
    guest.kill();
    let (result, console) = waiting.join().unwrap();
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Exited(_)), "{error}");
    assert!(
        error
            .to_string()
            .starts_with("QEMU was killed by signal SIGKILL while waiting for `never`"),
        "{error}"
    );
    let error = console.send("more").unwrap_err();
    assert!(matches!(error, Error::Exited(_)), "{error}");
    assert!(started.elapsed() < LONG / 2);
}

#[test]
fn last_words_are_found_although_the_end_came_with_them() {
    let (console, mut theirs, interrupt) = bare_console();
    theirs.write_all(b"Power down\n").unwrap();
    drop(theirs);
    assert!(!console.feed().unwrap());
    interrupt.raise(Cause::Disconnected {
        reason: "gone".into(),
    });
    assert_eq!(console.wait_for("down", LONG).unwrap(), "Power down");
    assert!(matches!(
        console.wait_for("up", LONG),
        Err(Error::Disconnected(_))
    ));
}

#[test]
fn a_console_that_ends_alone_ends_its_waits() {
    let (console, theirs, _interrupt) = bare_console();
    drop(theirs);
    assert!(!console.feed().unwrap());
    let started = Instant::now();
    let error = console.wait_for("x", LONG).unwrap_err();
    assert!(matches!(error, Error::Disconnected(_)), "{error}");
    assert!(matches!(console.send("x"), Err(Error::Disconnected(_))));
    assert!(started.elapsed() < LONG / 2);
}

#[test]
fn a_flood_is_held_in_bounded_memory_and_kept_whole_in_the_file() {
    let (console, mut theirs, _interrupt) = bare_console();
    say(&console, &mut theirs, b"the first words\n");
    let line = [b'x'; 1023].into_iter().chain([b'\n']).collect::<Vec<u8>>();
    let flood = line.repeat(24 << 10);
    say(&console, &mut theirs, &flood);
    let error = console
        .wait_for("the first words", SHORT)
        .unwrap_err()
        .to_string();
    assert!(error.contains("bytes of it were forgotten unread"), "{error}");
    let rest = console
        .wait_for(Regex::new(r"(?s)\A.*\z").unwrap(), LONG)
        .unwrap();
    assert!((8 << 20..=16 << 20).contains(&rest.len()), "{}", rest.len());
    let output = console.output();
    assert!(output.starts_with("the first words\nxxx"));
    assert_eq!(output.len(), flood.len() + 16);
}

#[test]
fn bytes_wait_for_a_guest_that_does_not_read_and_none_is_lost() {
    let (console, mut theirs, _interrupt) = bare_console();
    let bytes: Vec<u8> = (0..4 << 20).map(|i: u32| (i / 7) as u8).collect();
    let mut read = vec![0; bytes.len()];
    thread::scope(|scope| {
        let sending = scope.spawn(|| console.send(&bytes));
        theirs.read_exact(&mut read).unwrap();
        sending.join().unwrap().unwrap();
    });
    assert!(read == bytes);
}

#[test]
fn sending_to_a_guest_that_never_reads_ends_with_the_deadline_or_the_interrupt() {
    let (console, _theirs, interrupt) = bare_console();
    let bytes = vec![0; 4 << 20];
    let send = |limit| console.send_in(&bytes, Wait::new(Deadline::after(limit), Some(&interrupt)));
    let error = send(SHORT).unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert!(
        error.to_string().contains("the guest does not read: QEMU took "),
        "{error}"
    );
    let (started, began) = mpsc::channel();
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            started.send(Instant::now()).unwrap();
            send(LONG)
        });
        let start = began.recv().unwrap();
        interrupt.raise(Cause::TestTimeout {
            limit: LONG,
            ended: crate::interrupt::EndedWaits::now(),
        });
        assert!(matches!(sending.join().unwrap(), Err(Error::Timeout(_))));
        assert!(start.elapsed() < LONG / 2);
    });
}

#[test]
fn the_hook_gets_each_line_once_and_whole() {
    let (ours, theirs) = pair();
    let interrupt = crate::interrupt::Interrupt::new("vm").unwrap();
    let console = Console::new("serial1", ours, scratch(), interrupt).unwrap();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let hooked = lines.clone();
    console.on_line(move |line, whole| {
        if whole {
            hooked.lock().unwrap().push(line.to_owned());
        }
    });
    let mut theirs = UnixStream::from(theirs);
    for piece in [&b"a\x1b[1m"[..], b"b\r", b"\nc\n\nd", b"e", b"\nlast"] {
        say(&console, &mut theirs, piece);
    }
    assert_eq!(*lines.lock().unwrap(), ["ab", "c", "", "de"]);
    drop(theirs);
    assert!(!console.feed().unwrap());
    assert_eq!(lines.lock().unwrap().last().unwrap(), "last");
    assert_eq!(console.tail(2), "de\nlast");
    assert!(console.last_arrival().is_some());
}

#[test]
fn two_waits_at_once_each_get_a_match_of_their_own() {
    let (console, mut theirs, _interrupt) = bare_console();
    let _feeder = Feeder::new(console.handle());
    thread::scope(|scope| {
        let waits = [(); 2].map(|()| scope.spawn(|| console.wait_for("\n", LONG)));
        for piece in ["on", "e\ntw", "o\n"] {
            theirs.write_all(piece.as_bytes()).unwrap();
        }
        let mut got = waits.map(|wait| wait.join().unwrap().unwrap());
        got.sort();
        assert_eq!(got, ["one\n", "two\n"]);
    });
}

#[test]
fn a_key_without_a_control_character_is_refused() {
    let (console, mut theirs, _interrupt) = bare_console();
    for key in ['c', 'D', '[', '?', '@'] {
        console.send_control(key).unwrap();
    }
    let mut read = [0; 5];
    theirs.read_exact(&mut read).unwrap();
    assert_eq!(read, [3, 4, 0x1b, 0x7f, 0]);
    assert!(console.send_control('1').unwrap_err().to_string().contains("`1`"));
}
