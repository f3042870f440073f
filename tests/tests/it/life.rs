//! From a running machine to its end, whoever brings it about.

use std::time::Duration;

use qemu_test::{Error, Machine, MachineBuilder, qemu_test, qmp};
use rustix::process::{Pid, Signal, kill_process};

const SOON: Duration = Duration::from_secs(10);

fn none() -> MachineBuilder {
    Machine::builder().args(["-machine", "none"])
}

fn send(vm: &Machine, signal: Signal) {
    kill_process(Pid::from_raw(vm.pid().cast_signed()).unwrap(), signal).unwrap();
}

/// Whether a process of this id is there, as a zombie too.
fn exists(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn shutdown_ends_the_process_and_says_the_same_again() {
    let vm = none().launch().unwrap();
    let pid = vm.pid();
    assert!(vm.is_running() && exists(pid));
    let status = vm.shutdown().unwrap();
    assert!(status.success());
    assert!(!vm.is_running() && !exists(pid));
    assert_eq!(vm.shutdown().unwrap(), status);
    assert_eq!(vm.kill().unwrap(), status);
    assert_eq!(vm.exit_status(), Some(status));
}

#[test]
fn a_dropped_machine_is_gone() {
    let vm = none().launch().unwrap();
    let (pid, dir) = (vm.pid(), vm.dir().to_owned());
    assert!(dir.join("qemu.log").exists());
    drop(vm);
    assert!(!exists(pid));
    assert!(!dir.exists(), "its artifacts stayed");
}

#[test]
fn kill_reports_the_signal() {
    use std::os::unix::process::ExitStatusExt;
    let vm = none().launch().unwrap();
    assert_eq!(vm.kill().unwrap().signal(), Some(9));
}

#[qemu_test(machine = none())]
fn a_command_to_a_qemu_that_ended_says_how_it_ended(vm: &Machine) {
    send(vm, Signal::KILL);
    let status = vm.wait(SOON).unwrap();
    assert!(!status.success());
    let error = vm.command("query-status").unwrap_err();
    assert!(
        matches!(&error, Error::Exited(exited) if exited.status == status),
        "{error}"
    );
    let told = error.to_string();
    assert!(
        told.starts_with("QEMU was killed by signal SIGKILL while "),
        "{told}"
    );
    assert!(
        told.contains("query-status") && told.contains("machine `vm`"),
        "{told}"
    );
}

#[qemu_test(machine = none())]
fn a_qemu_that_dies_within_a_command_ends_the_wait_at_once(vm: &Machine) {
    // Stopped, QEMU cannot answer: the command is certainly under way when the process ends.
    send(vm, Signal::STOP);
    let began = std::time::Instant::now();
    let error = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| vm.command("query-version").unwrap_err());
        send(vm, Signal::KILL);
        waiting.join().unwrap()
    });
    assert!(matches!(error, Error::Exited(_)), "{error}");
    assert!(
        began.elapsed() < SOON,
        "the end of the process did not end the wait"
    );
    vm.wait(SOON).unwrap();
}

#[test]
fn a_qemu_that_its_wrapper_put_into_the_background_tells_of_its_own_end() {
    use std::os::unix::process::ExitStatusExt;
    let builder = none().wrapper(["setsid", "-f"]).args(["-pidfile", "{dir}/pid"]);
    let vm = builder.launch().unwrap();
    let qemu = std::fs::read_to_string(vm.socket_path("pid")).unwrap();
    let qemu = Pid::from_raw(qemu.trim().parse().unwrap()).unwrap();
    assert_ne!(qemu.as_raw_pid().cast_unsigned(), vm.pid());
    kill_process(qemu, Signal::ABORT).unwrap();
    // The wrapper has ended with status 0.
    let error = vm.wait_event("STOP", SOON).unwrap_err().to_string();
    assert!(error.starts_with("QEMU was killed by signal SIGABRT"), "{error}");
    assert_eq!(vm.wait(SOON).unwrap().signal(), Some(6));
}

#[qemu_test(machine = none())]
fn a_machine_that_ends_by_itself_is_waited_for(vm: &Machine) -> qemu_test::Result<()> {
    vm.command("quit")?;
    assert!(vm.wait(SOON)?.success());
    assert!(!vm.is_running());
    Ok(())
}

#[qemu_test(machine = none())]
fn waiting_for_a_machine_that_runs_on_ends_with_its_limit(vm: &Machine) {
    let error = vm.wait(Duration::from_millis(50)).unwrap_err();
    assert!(
        matches!(&error, Error::Timeout(timeout) if timeout.limit == Duration::from_millis(50)),
        "{error}"
    );
    assert!(vm.is_running());
}

#[qemu_test(machine = none())]
fn an_event_that_does_not_come_is_told_with_those_that_did(vm: &Machine) {
    vm.command("stop").unwrap();
    vm.command("cont").unwrap();
    let error = vm
        .wait_event(qmp!(DEVICE_DELETED { device: "d" }), Duration::from_millis(50))
        .unwrap_err();
    let told = error.to_string();
    assert!(matches!(error, Error::Timeout(_)), "{told}");
    assert!(
        told.contains("DEVICE_DELETED") && told.contains("STOP") && told.contains("RESUME"),
        "{told}"
    );
    // The wait took nothing.
    assert_eq!(vm.events().unwrap().len(), 2);
}

#[qemu_test(machine = none())]
fn an_error_reply_keeps_class_description_reply_and_request(vm: &Machine) {
    let Err(Error::Qmp(error)) = vm.command(qmp!("no-such-command" { "a-key": 1 })) else {
        panic!("no error")
    };
    assert_eq!(error.class, qmp::ErrorClass::CommandNotFound);
    assert!(error.desc.contains("no-such-command"));
    assert_eq!(error.reply["error"]["class"], "CommandNotFound");
    assert_eq!(
        error.request,
        r#"{"execute":"no-such-command","arguments":{"a-key":1}}"#
    );
}

#[test]
fn a_machine_can_be_used_from_many_threads() {
    let vm = none().launch().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(vm.command("query-status").unwrap()["running"], true);
                }
            });
        }
    });
}

#[test]
fn a_stopped_qemu_is_shut_down_all_the_same() {
    use std::os::unix::process::ExitStatusExt;
    let vm = none().launch().unwrap();
    send(&vm, Signal::STOP);
    assert_eq!(vm.kill().unwrap().signal(), Some(9));
}

/// Alone in a process of its own, because other tests open and close descriptors, too.
#[test]
fn machines_that_are_gone_leave_no_descriptor_and_no_thread() {
    const ALONE: &str = "QEMU_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "life::machines_that_are_gone_leave_no_descriptor_and_no_thread";
        let mut itself = std::process::Command::new(std::env::current_exe().unwrap());
        let output = itself.args([name, "--exact"]).env(ALONE, "1").output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
        return;
    }
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    let counts = || (count("/proc/self/fd"), count("/proc/self/task"));
    // What is opened once stays: the thread for signals, which the first test installs.
    none().test(|_| ());
    let before = counts();
    for _ in 0..5 {
        let vm = none().console().launch().unwrap();
        vm.command("query-status").unwrap();
        none().test(|vm| vm.command("query-status").map(drop));
    }
    assert_eq!(counts(), before);
}
