//! Files that are large, full, or not to be written; folders with every kind of name; resources that run out.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::run::{Victim, files};

#[test]
fn a_log_of_a_gigabyte_costs_no_memory_and_its_end_is_in_the_report() {
    let outcome = Victim::new("has_a_log_of_a_gigabyte").fails();
    outcome.says(&[
        "QEMU log (last 25 of ",
        "      a line of the log\n",
        "panicked: so that there is a report",
    ]);
    let report = files(outcome.folder.path())
        .into_iter()
        .find(|file| file.ends_with("report.txt"));
    assert!(fs::metadata(report.unwrap()).unwrap().len() < 100 << 10);
}

#[test]
fn a_guest_that_floods_its_console_is_not_held_up_and_nothing_is_lost() {
    Victim::new("is_flooded").passes();
}

#[test]
fn a_file_that_is_full_costs_its_end_and_is_told() {
    // The report itself is longer than that; its printed form is whole.
    let small = ["prlimit", "--fsize=2000"];
    Victim::by("fills_its_files", &small).fails().says(&[
        "panicked: so that there is a report",
        "missing  the rest of qmp.log: File too large",
        "report.txt is not among them, or not whole: File too large",
    ]);
    Victim::by("fills_its_files_and_passes", &small).passes();
}

#[test]
fn a_disk_without_room_is_told() {
    // Only the superuser can make such a disk, and not in every container.
    let disk = "mount -t tmpfs -o size=16k none \"$QEMU_TEST_DIR\" && exec \"$0\" \"$@\"";
    let try_it = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"];
    let can = std::process::Command::new(try_it[0]).args(&try_it[1..]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        let line = b"not run: a disk without room, because this user may not mount one\n";
        let _ = rustix::io::write(rustix::stdio::stderr(), line);
        return;
    }
    let starter = ["unshare", "--mount", "sh", "-c", disk];
    let victim = Victim::by("fills_its_files", &starter).folder("QEMU_TEST_DIR", b"disk");
    victim.fails().says(&[
        "panicked: so that there is a report",
        "missing  the rest of qmp.log: No space left on device",
    ]);
}

#[test]
fn the_report_of_an_interrupted_test_is_written_before_it_is_printed() {
    let outcome = Victim::new("is_interrupted_and_cannot_print").ends();
    assert_eq!(
        outcome.status, None,
        "SIGTERM has not ended it: {}",
        outcome.output
    );
    let contents = |name: &str| {
        let files = files(outcome.folder.path());
        let file = files.iter().find(|file| file.ends_with(name)).unwrap();
        fs::read_to_string(file).unwrap()
    };
    assert!(contents("report.txt").contains("was interrupted by SIGTERM"));
    assert_eq!(contents("state"), "interrupted\n");
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let outcome = Victim::new("passes")
        .env("QEMU_TEST_DIR", "/proc/no/such/folder")
        .fails();
    outcome
        .says(&["creating the artifact folder /proc/no/such/folder/qemu-test-tests/faults/victims/passes/"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let outcome = Victim::new("passes").env("QEMU_TEST_DIR", file.path()).fails();
    outcome.says(&["creating the artifact folder ", "Not a directory"]);
}

#[test]
fn folders_may_have_any_name() {
    let names: [&[u8]; 4] = [
        b"two words, 'single' and \"double\" $(quotes)",
        b"a\nnewline",
        b"no \xff\xfe utf-8",
        b"comma,comma=and;more",
    ];
    for name in names {
        Victim::new("passes")
            .folder("QEMU_TEST_DIR", name)
            .folder("TMPDIR", b"t")
            .passes();
        let outcome = Victim::new("fails").folder("QEMU_TEST_DIR", name).fails();
        outcome.says(&["panicked: on purpose", "    again    sh "]);
        assert!(!outcome.output.contains("a\nnewline"), "{}", outcome.output);
        let script = files(outcome.folder.path())
            .into_iter()
            .find(|file| file.ends_with("command.sh"));
        let script = fs::read(script.unwrap()).unwrap();
        assert!(script.starts_with(b"#!/bin/sh\n"));
    }
    for name in names {
        Victim::new("passes").folder("TMPDIR", name).passes();
    }
}

#[test]
fn a_program_may_lie_in_a_folder_of_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("two words, 'and\" \n more");
    fs::create_dir(&odd).unwrap();
    let script = odd.join("qemu");
    fs::write(&script, "#!/bin/sh\nexec qemu-system-x86_64 \"$@\"\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let vm = qemu_test::Machine::builder()
        .binary(&script)
        .args(["-machine", "none"])
        .launch()
        .unwrap();
    assert!(vm.shutdown().unwrap().success());
}

#[test]
fn a_deep_folder_is_no_obstacle() {
    let deep = b"a-folder-with-a-long-name/".repeat(20);
    Victim::new("passes").folder("QEMU_TEST_DIR", &deep).passes();
    // Sockets have paths of at most 107 bytes, and go elsewhere.
    Victim::new("has_its_monitor_in_its_folder")
        .folder("TMPDIR", &deep)
        .passes();
    Victim::new("fails")
        .folder("QEMU_TEST_DIR", &deep)
        .fails()
        .says(&["panicked: on purpose"]);
}

#[test]
fn a_launch_without_descriptors_says_so_and_leaves_nothing() {
    let outcome = Victim::new("runs_out_of_descriptors")
        .env("RUST_TEST_NOCAPTURE", "1")
        .passes();
    let refused: Vec<_> = outcome
        .output
        .lines()
        .filter_map(|line| line.strip_prefix("refused: "))
        .collect();
    assert!(refused.len() >= 5, "{}", outcome.output);
    let told = |line: &&&str| line.contains("Too many open files") || line.contains("RLIMIT_NOFILE");
    // The last ones are QEMU's own.
    assert!(
        refused.iter().filter(told).count() * 2 > refused.len(),
        "{refused:?}"
    );
    assert!(refused.iter().all(|line| line.len() > 20), "{refused:?}");
}

#[test]
fn a_launch_without_processes_says_so_and_leaves_nothing() {
    let open = fs::Permissions::from_mode(0o777);
    let victim = Victim::new("is_refused_forks")
        .env("RUST_TEST_NOCAPTURE", "1")
        .folder("QEMU_TEST_DIR", b"artifacts");
    victim.opens(open);
    let outcome = victim.passes();
    assert!(outcome.took < Duration::from_secs(120));
    outcome.says(&["refused: ", "RLIMIT_NPROC"]);
}
