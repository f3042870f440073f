//! What the client does with a real QEMU.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};

use super::qemu::{Qemu, command, within};
use crate::error::Error;
use crate::qmp::{Client, Command, Connection, ErrorClass, EventFilter, Listener};

const SECONDS: Duration = Duration::from_secs(10);

#[test]
fn a_command_returns_its_value_and_a_refusal_is_an_error() {
    let qemu = Qemu::start();
    let status = qemu.client.command("query-status").unwrap();
    assert_eq!(status["status"], "prelaunch");
    let Err(Error::Qmp(error)) = qemu.client.command("no-such-command") else {
        panic!("no error of QEMU's");
    };
    assert_eq!(error.class, ErrorClass::CommandNotFound);
    assert_eq!(error.request, r#"{"execute":"no-such-command"}"#);
    assert_eq!(error.reply["error"]["class"], "CommandNotFound");
    let reply = qemu.client.command_raw("query-name").unwrap();
    assert!(!reply.is_error());
    assert_eq!(reply.returned(), Some(&json!({})));
}

#[test]
fn a_reply_is_read_as_the_type_asked_for_or_shown() {
    let qemu = Qemu::start();
    #[derive(serde::Deserialize, Debug)]
    struct Status {
        running: bool,
    }
    let status: Status = qemu.client.command_as("query-status").unwrap();
    assert!(!status.running);
    let error = qemu.client.command_as::<Vec<u8>>("query-status").unwrap_err();
    assert!(matches!(error, Error::Json(_)));
    let told = error.to_string();
    for part in ["query-status", "alloc::vec::Vec<u8>", "\"prelaunch\""] {
        assert!(told.contains(part), "{told}");
    }
}

#[test]
fn the_human_monitor_answers_in_text() {
    let qemu = Qemu::start();
    assert!(
        qemu.client
            .hmp("info status")
            .unwrap()
            .starts_with("VM status: paused")
    );
    assert!(qemu.client.hmp("nonsense").unwrap().contains("unknown command"));
}

#[test]
fn integers_of_64_bits_arrive_exact() {
    // An image's size passes through QEMU as it is, up to the highest multiple of a sector.
    let qemu = Qemu::start();
    for (number, size) in [(1 << 53) + 512, i64::MAX - 511 - (1 << 30)]
        .into_iter()
        .enumerate()
    {
        let node = format!("n{number}");
        let add = json!({ "driver": "null-co", "node-name": node, "size": size });
        qemu.client
            .command(Command::new("blockdev-add").arguments(add))
            .unwrap();
        let nodes = qemu.client.command("query-named-block-nodes").unwrap();
        let found = nodes
            .as_array()
            .unwrap()
            .iter()
            .find(|found| found["node-name"] == node);
        assert_eq!(found.unwrap()["image"]["virtual-size"].as_i64(), Some(size));
    }
}

#[test]
fn events_are_kept_in_order_while_commands_run() {
    let qemu = Qemu::with(&["-machine", "microvm"]);
    let before = SystemTime::now();
    for _ in 0..3 {
        qemu.client.command("cont").unwrap();
        qemu.client.command("stop").unwrap();
    }
    let names: Vec<String> = qemu
        .client
        .events()
        .unwrap()
        .into_iter()
        .map(|e| e.name)
        .collect();
    assert_eq!(names, ["RESUME", "STOP", "RESUME", "STOP", "RESUME", "STOP"]);
    assert!(qemu.client.events().unwrap().is_empty());
    qemu.client.command("cont").unwrap();
    let event = qemu.client.next_event(SECONDS).unwrap();
    assert_eq!((event.name.as_str(), &event.data), ("RESUME", &json!({})));
    let age = event
        .timestamp
        .unwrap()
        .duration_since(before - Duration::from_secs(1))
        .unwrap();
    assert!(age < Duration::from_secs(60), "{age:?}");
}

#[test]
fn a_wait_takes_the_event_it_is_for_and_leaves_the_others() {
    let qemu = Qemu::with(&["-machine", "microvm"]);
    qemu.client.command("cont").unwrap();
    qemu.client.command("system_reset").unwrap();
    let reset = EventFilter::new("RESET").data(json!({ "guest": false, "reason": null }));
    let event = qemu.client.wait_event(&reset, SECONDS).unwrap();
    assert_eq!(event.data["reason"], "host-qmp-system-reset");
    let error = qemu
        .client
        .wait_event(&reset, Duration::from_millis(20))
        .unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("waiting for the event RESET {\"guest\":false"),
        "{error}"
    );
    assert!(
        error.to_string().contains("what came instead:\n  RESUME"),
        "{error}"
    );
    assert_eq!(qemu.client.next_event(SECONDS).unwrap().name, "RESUME");
    qemu.client.command("stop").unwrap();
    qemu.client.clear_events().unwrap();
    assert!(matches!(
        qemu.client.next_event(Duration::ZERO),
        Err(Error::Timeout(_))
    ));
}

#[test]
fn an_event_that_comes_after_the_reply_is_waited_for() {
    let qemu = Qemu::start();
    let add = json!({ "driver": "null-co", "node-name": "d0", "size": 1 << 20 });
    qemu.client
        .command(Command::new("blockdev-add").arguments(add))
        .unwrap();
    let job = json!({ "job-id": "j", "device": "d0", "target": "d1", "sync": "full" });
    let target = json!({ "driver": "null-co", "node-name": "d1", "size": 1 << 20 });
    qemu.client
        .command(Command::new("blockdev-add").arguments(target))
        .unwrap();
    qemu.client
        .command(Command::new("blockdev-backup").arguments(job))
        .unwrap();
    let done = EventFilter::new("JOB_STATUS_CHANGE").data(json!({ "id": "j", "status": "concluded" }));
    let either = EventFilter::any([done, EventFilter::new("BLOCK_JOB_ERROR")]);
    assert_eq!(
        qemu.client.wait_event(either, SECONDS).unwrap().name,
        "JOB_STATUS_CHANGE"
    );
}

#[test]
fn a_file_reaches_qemu_over_the_monitor() {
    let qemu = Qemu::start();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[0; 512]).unwrap();
    qemu.client.send_fd("disk", &file).unwrap();
    let inside = fs::read_dir(format!("/proc/{}/fd", qemu.pid())).unwrap();
    let found = inside
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to == file.path()));
    assert!(found, "QEMU has no descriptor of {}", file.path().display());

    let add = Command::new("add-fd").arguments(json!({ "fdset-id": 7 }));
    let set = qemu.client.command_with_fds(add, &[file.as_fd()]).unwrap();
    assert_eq!(set["fdset-id"], 7);
    let node = json!({ "driver": "file", "filename": "/dev/fdset/7", "node-name": "f", "read-only": true });
    // The set has a descriptor open for writing too, which QEMU wants to match.
    let reopened = File::open(file.path()).unwrap();
    let add = Command::new("add-fd").arguments(json!({ "fdset-id": 7 }));
    qemu.client.command_with_fds(add, &[reopened.as_fd()]).unwrap();
    qemu.client
        .command(Command::new("blockdev-add").arguments(node))
        .unwrap();
}

#[test]
fn the_longest_reply_there_is_and_requests_of_a_megabyte_pass() {
    let qemu = Qemu::start();
    let schema = qemu.client.command("query-qmp-schema").unwrap();
    assert!(schema.as_array().unwrap().len() > 500);
    let long = "x".repeat(300_000);
    let get = json!({ "path": long, "property": "p" });
    let Err(Error::Qmp(error)) = qemu.client.command(Command::new("qom-get").arguments(get)) else {
        panic!("no error of QEMU's");
    };
    assert_eq!(error.class, ErrorClass::DeviceNotFound);
}

#[test]
fn a_value_spread_over_lines_is_read_like_any_other() {
    let listener_folder = tempfile::tempdir().unwrap();
    let path = listener_folder.path().join("qmp");
    let listener = Listener::bind(&path).unwrap();
    let monitor = format!("socket,id=mon,path={}", path.display());
    let mut child = command(&[
        "-machine",
        "none",
        "-chardev",
        &monitor,
        "-mon",
        "chardev=mon,mode=control,pretty=on",
    ])
    .spawn()
    .unwrap();
    let client = listener.accept(Duration::from_secs(30)).unwrap();
    assert_eq!(
        client.peer_pid().map(|pid| pid.as_raw_nonzero().get() as u32),
        Some(child.id())
    );
    assert_eq!(client.command("query-status").unwrap()["running"], false);
    client.quit(within(10)).unwrap();
    assert!(child.wait().unwrap().success());
    drop(listener);
    assert!(!path.exists());
}

#[test]
fn a_listening_qemu_is_connected_to_over_a_path_and_over_tcp() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qmp");
    let tcp = Listener::bind("127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap()).unwrap();
    let mut child = command(&[
        "-machine",
        "none",
        "-qmp",
        &format!("unix:{},server=on,wait=off", path.display()),
        "-qmp",
        &format!("tcp:{}", tcp.local_addr()),
    ])
    .spawn()
    .unwrap();
    let over_tcp = tcp.accept(Duration::from_secs(30)).unwrap();
    assert_eq!(over_tcp.peer_pid(), None);
    // The other one is there since QEMU made both before it greeted on either.
    let over_path = Client::connect(&path).unwrap();
    assert_eq!(
        over_path.peer_pid().map(|pid| pid.as_raw_pid() as u32),
        Some(child.id())
    );
    assert_eq!(
        over_path.command("query-status").unwrap(),
        over_tcp.command("query-status").unwrap()
    );
    let error = over_tcp.send_fd("x", folder_file(folder.path())).unwrap_err();
    assert!(matches!(error, Error::Io(_) | Error::Qmp(_)), "{error}");
    assert_eq!(over_tcp.command("query-status").unwrap()["running"], false);
    over_path.quit(within(10)).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_monitor_that_has_another_client_is_told_of_by_the_greeting_that_does_not_come() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("qmp");
    let listening = format!("unix:{},server=on,wait=off", path.display());
    let qemu = Qemu::with(&["-qmp", &listening]);
    let first = Client::connect(&path).unwrap();
    let error = Client::connect_in(&path.clone().into(), within(1)).unwrap_err();
    let told = error.to_string();
    assert!(
        told.contains("waiting for QEMU's greeting") && told.contains("one client at a time"),
        "{told}"
    );
    // It is the next one's turn once the first has gone.
    drop(first);
    let next = Client::connect(&path).unwrap();
    assert_eq!(next.command("query-status").unwrap()["running"], false);
    drop(qemu);
}

fn folder_file(folder: &std::path::Path) -> File {
    File::create(folder.join("f")).unwrap()
}

#[test]
fn a_command_out_of_band_overtakes_or_is_refused_by_qemu_in_words() {
    let qemu = Qemu::start();
    let Err(Error::Qmp(error)) = qemu.client.command(Command::new("query-status").oob()) else {
        panic!("no error of QEMU's");
    };
    assert!(error.desc.contains("does not support OOB"), "{error}");
    assert_eq!(error.request, r#"{"exec-oob":"query-status"}"#);
    let Err(Error::Qmp(error)) = qemu.client.command(Command::new("migrate-pause").oob()) else {
        panic!("no error of QEMU's");
    };
    assert!(!error.desc.contains("does not support OOB"), "{error}");
}

#[test]
fn a_request_that_qemu_cannot_parse_is_answered_at_once() {
    let qemu = Qemu::start();
    let deep = (0..1100).fold(Value::Null, |inner, _| json!([inner]));
    let error = qemu
        .client
        .command(Command::new("qom-get").arguments(deep))
        .unwrap_err();
    assert!(matches!(&error, Error::Other(_)), "{error}");
    assert!(
        error.to_string().contains("nests deeper than the 1024 levels"),
        "{error}"
    );
    // QEMU's answer to this one has no id.
    let nul = json!({ "path": "\0", "property": "p" });
    let begun = Instant::now();
    let error = qemu
        .client
        .command(Command::new("qom-get").arguments(nul))
        .unwrap_err();
    assert!(matches!(&error, Error::Qmp(_)), "{error}");
    assert!(begun.elapsed() < SECONDS);
    assert_eq!(qemu.client.command("query-status").unwrap()["running"], false);
}

#[test]
fn quit_ends_qemu_with_status_0() {
    let qemu = Qemu::start();
    qemu.client.quit(within(10)).unwrap();
    let client = qemu.client.clone();
    assert!(qemu.wait().success());
    // The end of file stays an end of file.
    let Connection::Ended(reason) = until_ended(&client) else {
        panic!("still open");
    };
    assert_eq!(reason, "end of file");
    assert_eq!(client.next_event(SECONDS).unwrap().name, "SHUTDOWN");
    assert!(matches!(
        client.command("query-status"),
        Err(Error::Disconnected(_))
    ));
    client.quit(within(1)).unwrap();
}

fn until_ended(client: &Client) -> Connection {
    let deadline = Instant::now() + SECONDS;
    loop {
        let connection = client.drain();
        if connection != Connection::Open || Instant::now() > deadline {
            return connection;
        }
    }
}

#[test]
fn a_qemu_killed_in_the_middle_of_a_command_leaves_it_open_whether_it_ran() {
    let mut qemu = Qemu::start();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(qemu.pid() as i32).unwrap(),
        rustix::process::Signal::STOP,
    )
    .unwrap();
    let client = qemu.client.clone();
    let error = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| client.command("query-status"));
        let transcript = qemu.transcript.clone();
        while !transcript.to_string().contains("query-status") {
            std::thread::yield_now();
        }
        qemu.kill();
        waiting.join().unwrap().unwrap_err()
    });
    assert!(matches!(error, Error::Disconnected(_)), "{error}");
    let told = error.to_string();
    assert!(
        told.contains("waiting for the reply to `{\"execute\":\"query-status\"}`"),
        "{told}"
    );
    assert!(told.ends_with("nobody knows whether the command ran"), "{told}");
}

#[test]
fn the_late_reply_of_a_timed_out_command_is_not_the_next_ones() {
    let qemu = Qemu::start();
    let pid = rustix::process::Pid::from_raw(qemu.pid() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let hurried = Command::new("query-version").timeout(Duration::from_millis(30));
    let error = qemu.client.command(hurried).unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert_eq!(qemu.client.command("query-status").unwrap()["running"], false);
    assert!(
        qemu.client
            .command("query-version")
            .unwrap()
            .get("qemu")
            .is_some()
    );
    let transcript = qemu.transcript.to_string();
    assert_eq!(transcript.matches("query-version").count(), 2, "{transcript}");
    assert_eq!(
        transcript.matches("{\"return\": {\"qemu\"").count(),
        2,
        "{transcript}"
    );
}
