//! How much memory a peer can make us take, measured in a process of its own.
#![expect(clippy::print_stdout, reason = "how the measured process tells its figure")]

use std::env;
use std::fs;
use std::process::Command as Process;
use std::time::Duration;

use super::super::Command;
use super::peer::welcomed;
use crate::error::Error;

const MARK: &str = "QEMU_TEST_MEASURED_PROCESS";

/// Runs `body` in another process of this test binary, and gives the peak of its memory in MiB.
fn peak(test: &str, body: impl FnOnce()) -> u64 {
    if env::var_os(MARK).is_some() {
        body();
        println!("peak {} MiB", high_water());
        std::process::exit(0);
    }
    let name = format!("{}::{test}", module_path!().split_once("::").unwrap().1);
    let output = Process::new(env::current_exe().unwrap())
        .args([&name, "--exact", "--nocapture"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (_, peak) = text.split_once("peak ").expect("the test ran");
    peak.split_once(' ').unwrap().0.parse().unwrap()
}

fn high_water() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

/// Sends `chunk` over and over until nobody listens, or `times` times.
fn pour(chunk: String, times: usize) -> Error {
    let client = welcomed(move |mut peer| {
        peer.hear();
        peer.say("{\"event\": \"BEGIN\"}");
        for _ in 0..times {
            if !peer.say(&chunk) {
                return;
            }
        }
        peer.linger();
    });
    // A debug build takes its time over so much, and more on a busy machine.
    let patient = Command::new("x").timeout(Duration::from_secs(600));
    let error = client.command(patient).unwrap_err();
    assert_eq!(client.next_event(Duration::ZERO).unwrap().name, "BEGIN");
    error
}

#[test]
fn a_message_without_end_takes_no_more_than_its_limit_and_a_copy() {
    let peak = peak(
        "a_message_without_end_takes_no_more_than_its_limit_and_a_copy",
        || {
            let mut chunk = "{\"return\": \"".to_owned();
            chunk.push_str(&"x".repeat((1 << 20) - chunk.len()));
            let client = welcomed(move |mut peer| {
                peer.hear();
                peer.say(&chunk);
                chunk = "x".repeat(1 << 20);
                // 100 MB in all, or until nobody listens.
                for _ in 1..100 {
                    if !peer.say(&chunk) {
                        return;
                    }
                }
                peer.linger();
            });
            let patient = Command::new("x").timeout(Duration::from_secs(600));
            let error = client.command(patient).unwrap_err().to_string();
            assert!(
                error.contains("a message goes on for more than 64 MiB"),
                "{error}"
            );
            assert!(error.len() < 1000, "{error}");
        },
    );
    // A buffer doubles when it grows, and the old one stays until it is copied.
    assert!(peak < 64 + 128 + 16, "{peak} MiB");
}

#[test]
fn unread_events_take_no_more_than_their_limit() {
    let peak = peak("unread_events_take_no_more_than_their_limit", || {
        let error = pour(
            "{\"event\": \"E\", \"data\": {\"a\": [1, 2, 3]}}\r\n".repeat(1000),
            10_000,
        );
        let told = error.to_string();
        assert!(
            told.contains("more than 64 MiB of events came that nobody took"),
            "{told}"
        );
    });
    // The queue doubles as well.
    assert!(peak < 64 + 64 + 32, "{peak} MiB");
}

#[test]
fn a_message_of_many_small_values_is_refused_before_they_take_memory() {
    let peak = peak(
        "a_message_of_many_small_values_is_refused_before_they_take_memory",
        || {
            let error = pour(format!("{{\"return\": [{}", "0,".repeat(1 << 21)), 1).to_string();
            assert!(error.contains("more than 1048576 values"), "{error}");
        },
    );
    assert!(peak < 64, "{peak} MiB");
}
