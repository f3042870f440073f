//! Snapshots between processes: who makes one, who uses it, and what becomes of one that is damaged. Each test runs
//! cases of `fixture_cases.rs` in processes of this executable.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::own_store::{Run, Store, eventually};

#[test]
fn processes_that_ask_at_once_and_later_ones_share_one_boot() {
    let store = Store::new();
    let children: Vec<Child> = (0..8)
        .map(|number| {
            let case = ["copy_1", "copy_2"][number % 2];
            store.command(&[case], &[]).spawn().unwrap()
        })
        .collect();
    for child in children {
        let run = Run::of(child.wait_with_output().unwrap());
        assert_eq!(run.status, Some(0), "{}", run.output);
    }
    store.passes(&["copy_1", "copy_2"]);
    assert_eq!(store.boots().len(), 1);
    assert_eq!(store.whole().len(), 1);
}

#[test]
fn a_maker_that_is_killed_leaves_nothing_that_anybody_uses() {
    let store = Store::new();
    let mut maker = store
        .command(&["copy_1"], &[("CASES_READY", "hangs")])
        .spawn()
        .unwrap();
    let boot = eventually("the boot", || store.boots().pop());
    let waiting = store.command(&["copy_2"], &[]).spawn().unwrap();
    maker.kill().unwrap();
    maker.wait().unwrap();
    // Whoever waited makes it.
    let run = Run::of(waiting.wait_with_output().unwrap());
    assert_eq!(run.status, Some(0), "{}", run.output);
    store.passes(&["copy_1"]);
    assert_eq!(store.boots().len(), 2);
    assert_eq!((store.whole().len(), store.others()), (1, Vec::new()));
    let qemu: i32 = boot.split_once(' ').unwrap().1.parse().unwrap();
    eventually("the end of the killed test's QEMU", || {
        test_kill_process(Pid::from_raw(qemu)?).is_err().then_some(())
    });
}

#[test]
fn a_damaged_snapshot_is_noticed_and_made_again_once() {
    let store = Store::new();
    store.passes(&["copy_1"]);
    let damages: [fn(&Path); 3] = [
        |folder| {
            let ram = fs::File::options().write(true).open(folder.join("ram")).unwrap();
            ram.set_len(4096).unwrap();
        },
        |folder| {
            let state = folder.join("state");
            let mut bytes = fs::read(&state).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle..middle + 64].fill(0xff);
            fs::write(state, bytes).unwrap();
        },
        |folder| fs::write(folder.join("manifest.json"), "").unwrap(),
    ];
    for (number, damage) in damages.iter().enumerate() {
        damage(&store.whole()[0]);
        store.passes(&["copy_1", "copy_2", "copy_3"]);
        store.passes(&["copy_1"]);
        assert_eq!(store.boots().len(), number + 2);
        assert_eq!((store.whole().len(), store.others()), (1, Vec::new()));
    }
}

#[test]
fn a_state_that_qemu_refuses_is_made_again_once() {
    let store = Store::new();
    store.passes(&["copy_1"]);
    // Damage that nobody can see from outside: the manifest says that it is as it should be.
    let folder = store.whole().pop().unwrap();
    let state = folder.join("state");
    let times = fs::metadata(&state).unwrap().modified().unwrap();
    let mut bytes = fs::read(&state).unwrap();
    bytes[4..64].fill(0xff);
    let file = fs::File::options().write(true).open(&state).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    file.set_modified(times).unwrap();
    store.passes(&["copy_1"]);
    store.passes(&["copy_2"]);
    assert_eq!(store.boots().len(), 2);
}

#[test]
fn the_oldest_snapshot_makes_room() {
    let store = Store::new();
    store.passes(&["copy_1"]);
    let first = store.whole();
    let run = store.run(&["another"], &[("QEMU_TEST_SNAPSHOT_CAP", "1k")]);
    assert_eq!(run.status, Some(0), "{}", run.output);
    assert_eq!(store.whole().len(), 1);
    assert_ne!(store.whole(), first);
}

#[test]
fn a_cap_below_one_snapshot_costs_boots_and_no_test() {
    let store = Store::new();
    // Each snapshot that is made has the other one removed, while processes look for it.
    for _ in 0..3 {
        let children: Vec<Child> = ["copy_1", "another", "copy_2", "another", "copy_1", "another"]
            .iter()
            .map(|case| {
                let mut command = store.command(&[case], &[("QEMU_TEST_SNAPSHOT_CAP", "1k")]);
                command.spawn().unwrap()
            })
            .collect();
        for child in children {
            let run = Run::of(child.wait_with_output().unwrap());
            assert_eq!(run.status, Some(0), "{}", run.output);
        }
    }
    assert!(store.whole().len() <= 2);
    assert_eq!(store.others(), Vec::<std::path::PathBuf>::new());
}

#[test]
fn a_boot_that_fails_fails_every_test_and_is_tried_once_a_run() {
    for ready in ["fails", "panics"] {
        let store = Store::new();
        let variables = [("CASES_READY", ready)];
        let run = store.run(&["copy_1", "copy_2", "copy_3"], &variables);
        assert_eq!(run.status, Some(101), "{}", run.output);
        assert_eq!(
            run.output.matches("the fixture `Blank` is not ready: ").count() % 3,
            0,
            "{}",
            run.output
        );
        run.says(&[
            " 3 failed",
            "the disk is full",
            "machine `boot`",
            "(tried ",
            "and once a run)",
            "last QMP exchanges",
        ]);
        assert_eq!(store.boots().len(), 1, "{}", run.output);
        assert_eq!((store.whole(), store.others()), (Vec::new(), Vec::new()));
        // Another run tries again.
        store.passes(&["copy_1"]);
        assert_eq!(store.boots().len(), 2);
    }
}

#[test]
fn the_processes_of_one_run_share_a_failure() {
    let store = Store::new();
    let run = |id: &str, attempt: &str| {
        let variables = [
            ("CASES_READY", "fails"),
            ("NEXTEST_RUN_ID", id),
            ("NEXTEST_ATTEMPT", attempt),
        ];
        let run = store.run(&["copy_1"], &variables);
        assert_eq!(run.status, Some(101), "{}", run.output);
        run.says(&["the disk is full", "machine `boot`"]);
        store.boots().len()
    };
    assert_eq!(run("one", "1"), 1);
    assert_eq!(run("one", "1"), 1);
    assert_eq!(run("one", "2"), 2);
    assert_eq!(run("two", "1"), 3);
}

#[test]
fn what_keeps_any_machine_from_starting_is_told_and_costs_no_snapshot() {
    let store = Store::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let run = |status: i32| {
        let run = store.run(&["port_copied"], &[("CASES_PORT", &port)]);
        assert_eq!(run.status, Some(status), "{}", run.output);
        run
    };
    run(101).says(&["did not launch", "Could not set up host forwarding rule"]);
    assert_eq!((store.whole(), store.boots().len()), (Vec::new(), 0));
    drop(taken);
    run(0);
    let taken = std::net::TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
    run(101).says(&["did not launch", "Could not set up host forwarding rule"]);
    drop(taken);
    run(0);
    assert_eq!((store.whole().len(), store.boots().len()), (1, 1));
}

#[test]
fn a_copy_that_does_not_go_on_is_tried_again_in_another_run() {
    let store = Store::new();
    let run = |id: &str| {
        let run = store.run(&["boots_instead"], &[("NEXTEST_RUN_ID", id)]);
        assert_eq!(run.status, Some(0), "{}", run.output);
        store.boots().len()
    };
    // One that is to be kept, and one for the test.
    assert_eq!(run("one"), 2);
    assert_eq!(run("one"), 3);
    assert_eq!(run("two"), 5);
}

/// Runs a case after `mount`, a line of the shell, which others do not see. `None` where this user may not mount: only
/// the superuser can, and not in every container.
fn run_on_mounted(store: &Store, mount: &str, case: &str) -> Option<Run> {
    let unshare = |line: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", line]);
        command
    };
    let can = unshare("mount -t tmpfs none /mnt").output();
    if !can.is_ok_and(|output| output.status.success()) {
        let line = b"not run: what needs a mount, because this user may not mount\n";
        let _ = rustix::io::write(rustix::stdio::stderr(), line);
        return None;
    }
    let plain = store.command(&[case], &[]);
    let mut command = unshare(&format!(
        "cd \"$QEMU_TEST_SNAPSHOT_DIR\" && {mount} && exec \"$0\" \"$@\""
    ));
    command.arg(plain.get_program()).args(plain.get_args());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Some(Run::of(command.output().unwrap()))
}

#[test]
fn a_disk_without_room_for_a_snapshot_is_told_and_costs_a_boot() {
    let store = Store::new();
    fs::create_dir(store.snapshots()).unwrap();
    let Some(run) = run_on_mounted(&store, "mount -t tmpfs -o size=16m none \"$PWD\"", "linux") else {
        return;
    };
    assert_eq!(run.status, Some(101), "{}", run.output);
    run.says(&[
        "panicked: on purpose",
        "from     a boot of its own, because the fixture `Linux` cannot be copied: there is no room for its snapshot: \
         the disk of ",
    ]);
}

#[test]
fn a_folder_of_snapshots_that_cannot_be_written_is_told() {
    let store = Store::new();
    store.passes(&["copy_1"]);
    let read_only = "mount --bind \"$PWD\" \"$PWD\" && mount -o remount,bind,ro \"$PWD\"";
    let Some(run) = run_on_mounted(&store, read_only, "another") else {
        return;
    };
    assert_eq!(run.status, Some(101), "{}", run.output);
    run.says(&["Error: locking the snapshot ", ": Read-only file system"]);
    // There is one already; but QEMU may want to write what it is made from.
    let run = run_on_mounted(&store, read_only, "copy_1").unwrap();
    if run.status != Some(0) {
        run.says(&[
            "Error: the snapshot ",
            " is of no use, and cannot be removed: Read-only file system",
            "can't open backing store",
        ]);
    }
}

#[test]
fn the_folder_of_snapshots_may_have_any_name_and_must_be_one() {
    use std::os::unix::ffi::OsStrExt;
    for name in [
        "two words, 'quotes'=1".as_bytes(),
        b"no \xff utf-8",
        "größe".as_bytes(),
    ] {
        let store = Store::new();
        // Relative to the folder in which the test runs.
        let run = |case: &str| {
            let mut command = store.command(&[case], &[]);
            command.env("QEMU_TEST_SNAPSHOT_DIR", std::ffi::OsStr::from_bytes(name));
            let run = Run::of(command.current_dir(store.folder()).output().unwrap());
            assert_eq!(run.status, Some(0), "{}", run.output);
        };
        run("copy_1");
        run("copy_2");
        assert_eq!(store.boots().len(), 1);
        assert!(store.folder().join(std::ffi::OsStr::from_bytes(name)).is_dir());
    }
    let store = Store::new();
    let run = store.run(&["copy_1"], &[("QEMU_TEST_SNAPSHOT_DIR", "/proc/no/such")]);
    assert_eq!(run.status, Some(101), "{}", run.output);
    run.says(&["making the folder of snapshots, /proc/no/such: "]);
}

#[test]
fn the_boot_is_not_the_time_of_the_test_that_comes_first() {
    let store = Store::new();
    // The boot takes 20 s, and the test may take 15.
    let run = store.run(&["copy_3"], &[("CASES_READY", "takes its time")]);
    assert_eq!(run.status, Some(0), "{}", run.output);
    assert_eq!(store.boots().len(), 1);
}

#[test]
fn waiting_for_another_ones_boot_is_not_the_time_of_a_test() {
    let store = Store::new();
    let maker = store
        .command(&["copy_1"], &[("CASES_READY", "takes its time")])
        .spawn()
        .unwrap();
    eventually("the boot", || store.boots().pop());
    // It waits for up to 20 s, and may take 15.
    store.passes(&["copy_3"]);
    let run = Run::of(maker.wait_with_output().unwrap());
    assert_eq!(run.status, Some(0), "{}", run.output);
    assert_eq!(store.boots().len(), 1);
}

#[test]
fn an_interrupted_boot_is_reported_and_leaves_nothing() {
    let store = Store::new();
    let maker = store
        .command(&["copy_1"], &[("CASES_READY", "hangs")])
        .spawn()
        .unwrap();
    eventually("the boot", || store.boots().pop());
    kill_process(Pid::from_child(&maker), Signal::TERM).unwrap();
    let run = Run::of(maker.wait_with_output().unwrap());
    run.says(&["was interrupted by SIGTERM", "machine `boot`"]);
    store.passes(&["copy_1"]);
    assert_eq!((store.whole().len(), store.others()), (1, Vec::new()));
}

#[test]
fn a_shared_machine_is_one_until_a_test_breaks_it() {
    let cases = [
        "shared_1_marks",
        "shared_2_sees_the_mark_and_pauses",
        "shared_3_has_a_new_one_and_kills",
        "shared_4_has_a_new_one",
    ];
    let store = Store::new();
    let run = |variables: &[(&str, &str)]| {
        let mut command = store.command(&cases, variables);
        Run::of(command.arg("--test-threads=1").output().unwrap())
    };
    let passed = run(&[]);
    assert_eq!(passed.status, Some(0), "{}", passed.output);
    assert!(!store.artifacts().exists() || fs::read_dir(store.artifacts()).unwrap().next().is_none());

    let failed = run(&[("CASES_FAIL", "1")]);
    assert_eq!(failed.status, Some(101), "{}", failed.output);
    failed.says(&[
        " 3 passed; 1 failed",
        "in place of the shared machine that `fixture_cases::shared_2_sees_the_mark_and_pauses` left paused",
    ]);
    assert_eq!(store.boots().len(), 1);
}

#[test]
fn tests_take_turns_at_a_shared_machine() {
    let store = Store::new();
    let cases: Vec<String> = (1..=8).map(|number| format!("turn_{number}")).collect();
    let cases: Vec<&str> = cases.iter().map(String::as_str).collect();
    let mut command = store.command(&cases, &[]);
    let run = Run::of(command.arg("--test-threads=8").output().unwrap());
    assert_eq!(run.status, Some(0), "{}", run.output);
    run.says(&[" 8 passed"]);
}

#[test]
fn one_shared_machine_cannot_be_two_and_two_can() {
    let store = Store::new();
    let run = store.run(&["twice_shared"], &[]);
    assert_eq!(run.status, Some(101), "{}", run.output);
    run.says(&["has the shared machine of the fixture `Blank` already"]);
    store.passes(&["two_shared"]);
    // What a test allows its guest, it must not allow that of another one.
    store.passes(&["shared_on_other_terms"]);
}

#[test]
fn a_shared_machine_that_ends_badly_fails_the_process() {
    let store = Store::new();
    let run = store.run(&["ends_badly"], &[]);
    assert_eq!(run.status, Some(101), "{}", run.output);
    run.says(&[
        " 1 passed; 0 failed",
        "`shared::Blank` failed: at the end of the process: ",
        "status 3",
    ]);
}

#[test]
fn an_isolation_without_a_fixture_is_an_error() {
    let run = Store::new().run(&["isolated_from_nothing"], &[]);
    assert_eq!(run.status, Some(101), "{}", run.output);
    run.says(&["there is no fixture", "default_fixture!"]);
}

#[test]
fn a_mounted_folder_of_the_host_is_named_as_what_keeps_a_guest_from_being_copied() {
    let store = Store::new();
    let run = store.run(&["mounted"], &[]);
    assert_eq!(run.status, Some(101), "{}", run.output);
    run.says(&[
        "panicked: on purpose",
        "from     a boot of its own, because the fixture `Mounted` cannot be copied: ",
        "VirtFS",
        "from     the fixture `Mounted`, booted in ",
    ]);
    // It is remembered: the next test does not try.
    assert_eq!(store.whole().len(), 1);
    let manifest = fs::read_to_string(store.whole()[0].join("manifest.json")).unwrap();
    assert!(manifest.contains("VirtFS"), "{manifest}");
}
