//! What is seen of a machine when its test has failed. The failing tests are in `failing.rs`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::report::Failure;

#[test]
fn a_machine_with_a_display_is_shown_as_it_stood() {
    let failure = Failure::of("panics_before_the_guest_is_started");
    failure.says(&[
        "machine `vm`  prelaunch\n",
        "    seen     the guest has said nothing since its launch ",
        " ago, its CPUs were never started (`-S`)\n",
        "    screen   ",
    ]);
    let files = failure.files().join("vm");
    assert!(
        std::fs::read(files.join("screen.png"))
            .unwrap()
            .starts_with(b"\x89PNG")
    );
    let registers = std::fs::read_to_string(files.join("registers.txt")).unwrap();
    assert_eq!(
        registers.matches("CPU#2").count(),
        2,
        "two looks at three processors: {registers}"
    );
    let threads = std::fs::read_to_string(files.join("threads.txt")).unwrap();
    assert!(
        threads.contains("qemu-system") && threads.lines().count() > 3,
        "{threads}"
    );
    // The questions of the evidence are not what the test did.
    assert!(
        !failure.report().contains("info registers"),
        "{}",
        failure.output()
    );
    let log = std::fs::read_to_string(files.join("qmp.log")).unwrap();
    assert!(log.contains("info registers"));
}

#[test]
fn an_idle_guest_of_another_architecture_is_seen_to_be_idle() {
    let failure = Failure::of("panics_with_an_idle_guest_of_another_architecture");
    assert!(
        failure.first_line().ends_with("panicked: for no reason"),
        "{}",
        failure.output()
    );
    failure.says(&["    seen     the guest still talks, "]);
    let seen = failure
        .report()
        .lines()
        .find(|line| line.starts_with("    seen"))
        .unwrap();
    // One of the two may be at work for the prompt that follows.
    assert!(
        seen.ends_with("both CPUs are halted") || seen.ends_with("the other is halted"),
        "{seen}"
    );
}

#[test]
fn a_qemu_that_hangs_does_not_hang_the_evidence() {
    let began = Instant::now();
    let failure = Failure::of("is_stopped_until_the_time_is_over");
    assert!(
        began.elapsed() < Duration::from_secs(100),
        "{:?}",
        began.elapsed()
    );
    let seen = "QEMU is stopped (state T): by SIGSTOP, or by a debugger";
    assert!(
        failure.first_line().ends_with(&format!(
            "timed out after 15 s while waiting for the event SHUTDOWN (machine `vm`); {seen}"
        )),
        "{}",
        failure.output()
    );
    failure.says(&[
        "but its monitor does not answer: timed out",
        "    QEMU's threads\n",
        " T do_signal_stop",
    ]);
}

/// A control group of memory with a limit below what a QEMU with 512 MiB needs; `None` where this test may make none.
fn control_group() -> Option<Group> {
    let name = format!("qemu-test-{}", std::process::id());
    let folders = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(|root| Path::new(root).join(&name));
    let limits = ["memory.limit_in_bytes", "memory.max"];
    for (folder, limit) in folders.iter().zip(limits) {
        if std::fs::create_dir(folder).is_ok() {
            let group = Group(folder.clone());
            let swap = ["memory.memsw.limit_in_bytes", "memory.swap.max"];
            if std::fs::write(folder.join(limit), "150M").is_ok() {
                for swap in swap {
                    let _ = std::fs::write(
                        folder.join(swap),
                        if swap.contains("memsw") { "150M" } else { "0" },
                    );
                }
                return Some(group);
            }
        }
    }
    None
}

struct Group(PathBuf);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "says that nothing was tested")]
fn the_hosts_memory_killer_is_named() {
    let Some(group) = control_group() else {
        eprintln!("not tested: control groups of memory are not this user's to make");
        return;
    };
    let failure = Failure::with_env(
        "needs_more_memory_than_there_is",
        &[("QEMU_TEST_CGROUP", &group.0)],
    );
    let cause = "failed: the host ran out of memory, and its memory killer struck: QEMU was killed by signal SIGKILL while ";
    assert!(failure.first_line().contains(cause), "{}", failure.output());
}
