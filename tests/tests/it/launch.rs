//! Machines that come up, and the errors of those that do not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use qemu_test::{Error, LaunchError, Machine, MachineBuilder, qemu_test};

/// The cheapest machine that QEMU has.
fn none() -> MachineBuilder {
    Machine::builder().args(["-machine", "none"])
}

#[track_caller]
fn refused(builder: &MachineBuilder) -> LaunchError {
    match builder.launch() {
        Err(Error::Launch(error)) => *error,
        Err(other) => panic!("not a launch error: {other}"),
        Ok(vm) => panic!("{} came up", vm.command_line()),
    }
}

#[test]
fn an_unknown_option_is_told_in_qemus_own_words_with_the_command_line() {
    let error = refused(&none().args(["-no-such-option", "two words"]));
    assert_eq!(error.status.and_then(|status| status.code()), Some(1));
    assert!(
        error.reason.contains("-no-such-option: invalid option"),
        "{error}"
    );
    assert!(error.log.contains("invalid option"), "{error}");
    assert!(
        error.to_string().contains("-no-such-option 'two words'"),
        "{error}"
    );
}

#[test]
fn a_missing_program_is_told_with_the_command_that_installs_it() {
    let error = refused(&Machine::builder().arch("no-such-arch"));
    assert!(
        error.reason.starts_with("`qemu-system-no-such-arch` is not in "),
        "{error}"
    );
    assert!(error.hint.is_some_and(|hint| hint.contains("install")));
}

#[test]
fn a_program_that_cannot_be_executed_is_told_with_its_flaw() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    assert!(
        refused(&Machine::builder().binary(&plain))
            .reason
            .contains("is not executable")
    );
    assert!(
        refused(&Machine::builder().binary(folder.path()))
            .reason
            .ends_with("is a directory")
    );
    assert!(
        refused(&Machine::builder().binary(folder.path().join("none")))
            .reason
            .contains("No such file")
    );

    let garbage = folder.path().join("garbage");
    fs::write(&garbage, [0x7f, b'X', 0, 1]).unwrap();
    fs::set_permissions(&garbage, fs::Permissions::from_mode(0o755)).unwrap();
    let error = refused(&Machine::builder().binary(&garbage));
    assert!(error.reason.contains("cannot be run"), "{error}");
}

#[test]
fn a_missing_wrapper_is_named() {
    let error = refused(&none().wrapper(["no-such-wrapper", "-x"]));
    assert!(
        error
            .reason
            .starts_with("the wrapper `no-such-wrapper` cannot be run"),
        "{error}"
    );
}

#[test]
fn a_program_that_is_no_qemu_is_told_by_its_end_and_its_words() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("qemu");
    fs::write(&script, "#!/bin/sh\nprintf 'broken \\377 bytes\\n' >&2\nexit 7\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let error = refused(&Machine::builder().binary(&script));
    assert_eq!(error.status.and_then(|status| status.code()), Some(7));
    assert!(
        error
            .reason
            .contains("exited with status 7 before its monitor answered: `broken \u{fffd} bytes`"),
        "{error}"
    );
}

#[qemu_test(machine = none())]
fn two_machines_of_one_builder_are_two_machines(vm: &Machine) -> qemu_test::Result<()> {
    let builder = none();
    let others = [builder.launch()?, builder.clone().launch()?];
    for other in &others {
        assert_ne!(other.pid(), vm.pid());
        assert_ne!(other.dir(), vm.dir());
        assert_ne!(other.socket_path("x"), vm.socket_path("x"));
        other.command("query-status")?;
    }
    assert_ne!(others[0].dir(), others[1].dir());
    Ok(())
}

#[test]
fn a_clone_shares_nothing_with_its_original() {
    let original = none();
    let changed = original.clone().arg("-S").name("changed");
    let (original, changed) = (original.launch().unwrap(), changed.launch().unwrap());
    assert!(!original.command_line().iter().any(|argument| argument == "-S"));
    assert_eq!((original.name(), changed.name()), ("vm", "changed"));
}

#[test]
fn the_environment_and_the_wrapper_reach_qemu() {
    let vm = none()
        .env("QEMU_TEST_PROBE", "a b")
        .wrapper(["env", "-u", "HOME"])
        .launch()
        .unwrap();
    let environment = fs::read(format!("/proc/{}/environ", vm.pid())).unwrap();
    let variables: Vec<&[u8]> = environment.split(|byte| *byte == 0).collect();
    assert!(variables.contains(&&b"QEMU_TEST_PROBE=a b"[..]));
    assert!(!variables.iter().any(|variable| variable.starts_with(b"HOME=")));
    assert_eq!(vm.command_line()[0], "env");
}

#[test]
fn the_place_holder_in_an_argument_is_the_machines_short_folder() {
    let vm = none()
        .args(["-chardev", "socket,id=c,path={dir}/c,server=on,wait=off"])
        .launch()
        .unwrap();
    let path = vm.socket_path("c");
    assert!(
        path.exists() && path.as_os_str().len() <= 107,
        "{}",
        path.display()
    );
    vm.shutdown().unwrap();
    drop(vm);
    assert!(
        !path.parent().is_some_and(Path::exists),
        "the folder outlived the machine"
    );
}

#[test]
fn a_descriptor_set_is_there_for_qemu() {
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    let builder = none().add_fd(7, file, "a remark, with a comma");
    for vm in [builder.launch().unwrap(), builder.launch().unwrap()] {
        let sets = vm.command("query-fdsets").unwrap();
        assert_eq!(sets[0]["fdset-id"], 7);
        assert_eq!(sets[0]["fds"][0]["opaque"], "a remark, with a comma");
    }
}

/// Starts the machine by its `command.sh`, with `lines` for its monitor, and waits for its end.
pub(crate) fn started_by_hand(vm: &Machine, lines: &str) -> std::process::Output {
    // Nobody else would end a machine that does not.
    let mut child = std::process::Command::new("timeout")
        .args(["100", "sh"])
        .arg(vm.dir().join("command.sh"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), lines.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[qemu_test(machine = none(), name = "the name")]
fn the_artifacts_start_the_machine_again_by_hand(vm: &Machine) {
    let script = fs::read_to_string(vm.dir().join("command.sh")).unwrap();
    assert!(
        script.starts_with("#!/bin/sh\n") && script.contains("-machine none"),
        "{script}"
    );
    // The script runs the machine to the end that its caller asks for on the monitor.
    let output = started_by_hand(vm, "info version\nquit\n");
    assert!(output.status.success(), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("QEMU"),
        "{output:?}"
    );
}

#[test]
fn an_end_before_the_monitor_answered_may_be_the_wrappers() {
    let error = refused(&none().wrapper(["false"]));
    assert!(
        error
            .reason
            .starts_with("QEMU, or its wrapper `false`, exited with status 1 before its monitor answered"),
        "{error}"
    );
}
