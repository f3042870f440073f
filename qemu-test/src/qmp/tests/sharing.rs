//! One connection, many threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use super::peer::{peer, welcomed};
use super::qemu::{Qemu, within};
use crate::qmp::{Client, Command, Connection, EventFilter, Options};

#[test]
fn replies_out_of_order_reach_those_who_wait_for_them() {
    const THREADS: u64 = 16;
    let client = welcomed(|mut peer| {
        let requests: Vec<_> = (0..THREADS).map(|_| peer.hear().unwrap()).collect();
        for request in requests.iter().rev() {
            peer.answer(request, request["arguments"].clone());
        }
        peer.linger();
    });
    std::thread::scope(|scope| {
        for number in 0..THREADS {
            let client = &client;
            scope.spawn(move || {
                let echo = Command::new("echo").arguments(number);
                assert_eq!(client.command(echo).unwrap(), number);
            });
        }
    });
}

#[test]
fn threads_share_a_qemu_and_each_gets_its_own_answers() {
    let qemu = Qemu::start();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let client = qemu.client.clone();
            scope.spawn(move || {
                for number in 1..=50 {
                    let number = thread * 1000 + number;
                    let printed = client.hmp(&format!("print {number}")).unwrap();
                    assert_eq!(printed.trim(), format!("{number:#x}"));
                }
            });
        }
    });
}

#[test]
fn a_wait_for_an_event_does_not_hold_up_commands_nor_the_other_way_round() {
    let qemu = Qemu::with(&["-machine", "microvm"]);
    std::thread::scope(|scope| {
        let client = &qemu.client;
        let waits: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(move || {
                    client.wait_event(EventFilter::any(["STOP", "RESUME"]), Duration::from_secs(30))
                })
            })
            .collect();
        client.command("cont").unwrap();
        client.command("stop").unwrap();
        client.command("cont").unwrap();
        client.command("stop").unwrap();
        let mut names: Vec<_> = waits
            .into_iter()
            .map(|wait| wait.join().unwrap().unwrap().name)
            .collect();
        names.sort();
        assert_eq!(names, ["RESUME", "RESUME", "STOP", "STOP"]);
    });
}

#[test]
fn a_thread_whose_limit_passes_leaves_the_reading_to_the_others() {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let client = welcomed(move |mut peer| {
        let first = peer.hear().unwrap();
        let second = peer.hear().unwrap();
        gone.recv().unwrap();
        peer.answer(&first, "late");
        peer.answer(&second, "second");
        peer.linger();
    });
    std::thread::scope(|scope| {
        let short = scope.spawn(|| client.command(Command::new("short").timeout(Duration::from_millis(100))));
        let long = scope.spawn(|| client.command("long"));
        // The short one may be either of the two that the peer heard; its limit passes before anything is said.
        let short = short.join().unwrap();
        assert!(short.is_err(), "{short:?}");
        go.send(()).unwrap();
        let long = long.join().unwrap().unwrap();
        assert!(long == "late" || long == "second");
    });
}

#[test]
fn the_owner_learns_who_reads_and_of_each_event_in_order() {
    let readers = Arc::new(Mutex::new(Vec::new()));
    let names = Arc::new(Mutex::new(Vec::new()));
    let (ours, _) = peer(|mut peer| {
        peer.say(r#"{"event": "BEFORE"}"#);
        peer.welcome();
        peer.say(r#"{"event": "BETWEEN"}"#);
        while let Some(request) = peer.hear() {
            peer.say(r#"{"event": "DURING"}"#);
            peer.answer(&request, json!({}));
        }
    });
    let options = Options {
        on_reader: Some(Box::new({
            let readers = readers.clone();
            move |reads| readers.lock().unwrap().push(reads)
        })),
        on_event: Some(Box::new({
            let names = names.clone();
            move |event| names.lock().unwrap().push(event.name.clone())
        })),
        ..Options::default()
    };
    let client = Client::open(ours, options, within(30)).unwrap();
    client.command("x").unwrap();
    assert_eq!(*names.lock().unwrap(), ["BEFORE", "BETWEEN", "DURING"]);
    let taken: Vec<_> = client
        .events()
        .unwrap()
        .into_iter()
        .map(|event| event.name)
        .collect();
    assert_eq!(taken, ["BEFORE", "BETWEEN", "DURING"]);
    let readers = readers.lock().unwrap();
    assert!(readers.chunks(2).all(|pair| pair == [true, false]), "{readers:?}");
    assert!(readers.len() >= 4);
}

#[test]
fn a_watcher_reads_only_when_nobody_else_does() {
    let reading = Arc::new(AtomicUsize::new(0));
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let (ours, _) = peer(move |mut peer| {
        peer.welcome();
        let request = peer.hear().unwrap();
        peer.say(r#"{"event": "E"}"#);
        gone.recv().unwrap();
        peer.answer(&request, "x");
        peer.linger();
    });
    let options = Options {
        on_reader: Some(Box::new({
            let reading = reading.clone();
            move |reads| reading.store(usize::from(reads), Ordering::SeqCst)
        })),
        ..Options::default()
    };
    let client = Client::open(ours, options, within(30)).unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.command("x"));
        while reading.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        // The other thread has the role: there is nothing to do, and it does not block.
        assert_eq!(client.drain(), Connection::Open);
        go.send(()).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), "x");
    });
    assert_eq!(client.drain(), Connection::Open);
    assert_eq!(client.events().unwrap().len(), 1);
}

#[test]
fn a_panic_in_the_owners_hook_leaves_the_connection_usable() {
    let (ours, _) = peer(|mut peer| {
        peer.welcome();
        while let Some(request) = peer.hear() {
            peer.say(r#"{"event": "E"}"#);
            peer.answer(&request, json!({}));
        }
    });
    let options = Options {
        on_event: Some(Box::new(|_| panic!("a mistake of the owner's"))),
        ..Options::default()
    };
    let client = Client::open(ours, options, within(30)).unwrap();
    let caught = std::panic::catch_unwind(|| client.command("x").map(drop));
    assert!(caught.is_err());
    assert_eq!(client.events().unwrap_or_default().len(), 1);
    let again = std::panic::catch_unwind(|| {
        client
            .command(Command::new("x").timeout(Duration::from_secs(30)))
            .map(drop)
    });
    assert!(again.is_err());
}
