//! The accelerator that a test asks for, and the one that it gets. Each test holds on a host where KVM works and on one
//! where it does not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use qemu_test::{Accel, Error, LaunchError, Machine, MachineBuilder, qemu_test};

use crate::guests::{LONG, TYPEWRITER, boot_disk, booting};

fn none() -> MachineBuilder {
    Machine::builder().args(["-machine", "none"])
}

/// What stands behind `-accel` on the command line.
fn accel(vm: &Machine) -> Option<String> {
    let line = vm.command_line();
    let option = line.iter().position(|argument| argument == "-accel")?;
    Some(line[option + 1].to_string_lossy().into_owned())
}

#[track_caller]
fn refused(builder: &MachineBuilder) -> LaunchError {
    match builder.launch() {
        Err(Error::Launch(error)) => *error,
        other => panic!("not a launch error: {other:?}"),
    }
}

#[test]
fn a_guest_runs_well_under_what_auto_takes() {
    let disk = boot_disk(TYPEWRITER);
    booting(&disk)
        .accel(Accel::Auto)
        .test(|vm| -> qemu_test::Result<()> {
            vm.console().wait_for(">", LONG)?;
            let kvm = vm.command("query-kvm")?;
            assert_eq!(kvm["enabled"], accel(vm).as_deref() == Some("kvm"), "{kvm}");
            Ok(())
        });
}

#[test]
fn kvm_is_given_or_refused_with_the_reason_for_which_auto_does_not_take_it() {
    let auto = none().accel(Accel::Auto).launch().unwrap();
    let kvm = none().accel(Accel::Kvm);
    if accel(&auto).as_deref() == Some("kvm") {
        assert_eq!(accel(&kvm.launch().unwrap()).as_deref(), Some("kvm"));
    } else {
        let error = refused(&kvm);
        let why = error
            .reason
            .strip_prefix("`accel = kvm`, and KVM does not work here: ");
        assert!(why.is_some_and(|why| why.len() > 10), "{error}");
    }
}

#[qemu_test(args = ["-machine", "none"], accel = tcg)]
fn tcg_is_given(vm: &Machine) -> qemu_test::Result<()> {
    assert_eq!(accel(vm).as_deref(), Some("tcg"));
    assert_eq!(vm.command("query-kvm")?["enabled"], false);
    Ok(())
}

#[test]
fn without_a_word_it_is_qemus_own_affair() {
    assert_eq!(accel(&none().launch().unwrap()), None);
}

#[test]
fn a_guest_of_another_architecture_and_one_of_qtest_have_tcg() {
    let other = if cfg!(target_arch = "aarch64") {
        "x86_64"
    } else {
        "aarch64"
    };
    let vm = none().arch(other).accel(Accel::Auto).launch().unwrap();
    assert_eq!(accel(&vm).as_deref(), Some("tcg"));
    let error = refused(&none().arch(other).accel(Accel::Kvm));
    assert!(
        error.reason.contains(&format!("the guest is for {other}")),
        "{error}"
    );
    let vm = none().qtest().accel(Accel::Auto).launch().unwrap();
    assert_eq!(accel(&vm).as_deref(), Some("tcg"));
}

/// Fails, so that there is a report.
#[test]
#[ignore = "fails on purpose: a test below runs it"]
fn asks_for_auto_and_fails() {
    none()
        .binary(std::env::var_os("PROBE_BINARY").unwrap())
        .accel(Accel::Auto)
        .test(|vm| panic!("it is {:?}", accel(vm)));
}

/// A folder of artifacts, and a program that is QEMU by another name, so that nothing is known of it.
struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let qemu = folder.path().join("qemu");
        let program = none().launch().unwrap().command_line()[0].clone();
        fs::write(
            &qemu,
            format!("#!/bin/sh\nexec {} \"$@\"\n", Path::new(&program).display()),
        )
        .unwrap();
        fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    fn report(&self, insisted: Option<&str>) -> String {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "accel::asks_for_auto_and_fails"])
            .env("PROBE_BINARY", self.folder.path().join("qemu"))
            .env("QEMU_TEST_DIR", self.folder.path().join("artifacts"))
            .env_remove("QEMU_TEST_ACCEL");
        if let Some(insisted) = insisted {
            command.env("QEMU_TEST_ACCEL", insisted);
        }
        let Output { stdout, stderr, .. } = command.output().unwrap();
        String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
    }

    /// The file in which the verdict is kept.
    fn memory(&self) -> Option<PathBuf> {
        let folder = fs::read_dir(self.folder.path().join("artifacts/.accel")).ok()?;
        let files = folder.map(|entry| entry.unwrap().path());
        { files }.find(|path| path.extension().is_some_and(|extension| extension == "json"))
    }
}

#[test]
fn the_report_says_what_was_taken_and_why_and_the_variable_overrides_it() {
    let host = Host::new();
    let report = host.report(None);
    assert!(
        report.contains("    accel    tcg: `accel = auto`; KVM does not work here: ")
            || report.contains("    accel    kvm: `accel = auto`; a tiny guest took "),
        "{report}"
    );
    let report = host.report(Some("tcg"));
    assert!(
        report.contains("    accel    tcg: QEMU_TEST_ACCEL=tcg\n"),
        "{report}"
    );
    let report = host.report(Some("hvf"));
    assert!(
        report.contains("QEMU_TEST_ACCEL is `hvf`, and may be `auto`, `kvm` or `tcg`"),
        "{report}"
    );
}

#[test]
fn a_verdict_is_remembered_by_later_processes_until_qemu_changes() {
    let host = Host::new();
    host.report(None);
    // Where the device cannot even be opened there is nothing to remember.
    let Some(memory) = host.memory() else {
        assert!(
            fs::File::options()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .is_err()
        );
        return;
    };
    let text = fs::read_to_string(&memory).unwrap();
    let mut remembered: serde_json::Value = serde_json::from_str(&text).unwrap();
    remembered["verdict"] = serde_json::json!({ "works": false, "reason": "it was a Monday" });
    fs::write(&memory, remembered.to_string()).unwrap();

    let report = host.report(None);
    assert!(
        report.contains("    accel    tcg: `accel = auto`; KVM does not work here: it was a Monday\n"),
        "{report}"
    );
    let report = host.report(Some("kvm"));
    assert!(
        report.contains("QEMU_TEST_ACCEL=kvm, and KVM does not work here: it was a Monday"),
        "{report}"
    );
    let qemu = host.folder.path().join("qemu");
    fs::write(&qemu, fs::read_to_string(&qemu).unwrap() + "# newer\n").unwrap();
    assert!(!host.report(None).contains("Monday"));
}
