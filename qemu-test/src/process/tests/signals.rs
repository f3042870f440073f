//! What a signal to the test process does, with the thread for signals and without it.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::helper::{Helper, Watched};
use crate::deadline::Deadline;

fn started(way: &str) -> Helper {
    let mut helper = Helper::start(&format!("signal {way}"));
    helper.line("ready");
    helper
}

fn assert_gone(processes: &[Watched]) {
    assert!(!processes.is_empty());
    let second = Deadline::exactly(super::in_time(Duration::from_secs(1)));
    for process in processes {
        assert!(process.ends_by(second), "`{}` is left", process.command);
    }
}

#[test]
fn the_callback_runs_first_and_the_signal_ends_the_process_after_it() {
    for (signal, name) in [
        (Signal::INT, "SIGINT"),
        (Signal::TERM, "SIGTERM"),
        (Signal::HUP, "SIGHUP"),
    ] {
        let mut helper = started("default");
        let processes = Watched::below(helper.pid());
        helper.signal(signal);
        helper.line(&format!("report of {name}"));
        assert_eq!(helper.ended().signal(), Some(signal.as_raw()));
        assert_gone(&processes);
        // The process was there to reap its guardian.
        assert!(processes.iter().all(Watched::is_reaped));
    }
}

#[test]
fn a_signal_to_the_whole_group_finds_the_machine_alive_in_the_callback() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut helper = Helper::start_by(command.process_group(0), "signal looking callback");
    helper.line("ready");
    rustix::process::kill_process_group(helper.pid(), Signal::INT).unwrap();
    helper.line("report of SIGINT");
    helper.line("the machine runs");
    assert_eq!(helper.ended().signal(), Some(Signal::INT.as_raw()));
}

#[test]
fn a_callback_that_panics_does_not_save_the_process() {
    let mut helper = started("panicking callback");
    let since = Instant::now();
    helper.signal(Signal::TERM);
    helper.line("report of SIGTERM");
    assert_eq!(helper.ended().signal(), Some(Signal::TERM.as_raw()));
    assert!(since.elapsed() < super::in_time(Duration::from_secs(4)));
}

#[test]
fn a_second_signal_ends_a_callback_that_hangs() {
    let mut helper = started("hanging callback");
    helper.signal(Signal::TERM);
    helper.line("report of SIGTERM");
    let since = Instant::now();
    let limit = super::limit();
    // One that follows at once counts as the same request.
    while helper.child.try_wait().unwrap().is_none() && !limit.expired() {
        helper.signal(Signal::INT);
        Watched::below(helper.pid());
    }
    assert_eq!(helper.ended().signal(), Some(Signal::TERM.as_raw()));
    assert!(since.elapsed() > Duration::from_millis(400));
    assert!(since.elapsed() < super::in_time(Duration::from_secs(4)));
}

#[test]
fn an_inherited_ignore_stays() {
    let executable = std::env::current_exe().unwrap();
    let mut helper = Helper::start_by(Command::new("nohup").arg(executable), "signal default");
    assert!(helper.line("ready").contains("hang-up Ignored"));
    helper.signal(Signal::HUP);
    helper.signal(Signal::TERM);
    helper.line("report of SIGTERM");
    assert_eq!(helper.ended().signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn an_earlier_handler_is_called_after_the_machines_are_gone() {
    let mut helper = started("earlier handler");
    helper.signal(Signal::TERM);
    helper.line("report of SIGTERM");
    let line = helper.line("the earlier handler was called");
    assert!(line.starts_with("signal: 9 (SIGKILL)"), "{line}");
    assert!(helper.ended().success());
}

#[test]
fn a_later_handler_keeps_process_and_machines_alive() {
    let mut helper = started("later handler");
    helper.signal(Signal::TERM);
    let line = helper.line("the later handler was called");
    assert!(line.starts_with("None"), "{line}");
    assert!(helper.ended().success());
}

#[test]
fn an_ordinary_program_dies_of_the_signal_at_once() {
    let mut helper = started("plain program");
    let processes = Watched::below(helper.pid());
    helper.signal(Signal::TERM);
    assert_eq!(helper.ended().signal(), Some(Signal::TERM.as_raw()));
    assert_gone(&processes);
}
