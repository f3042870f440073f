//! The promises of this folder, kept with real programs.

mod endings;
mod helper;
mod roles;
mod signals;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::{Process, Spec};
use crate::deadline::Deadline;

/// How long what must happen may take before the test counts as hanging.
const LIMIT: Duration = Duration::from_secs(60);

fn limit() -> Deadline {
    Deadline::exactly(LIMIT)
}

/// A promised time on a machine that is free to keep it: where other programs want the processors too, each process
/// gets its share of them later by as many turns.
fn in_time(promised: Duration) -> Duration {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    let load: f64 = load.split_whitespace().next().unwrap().parse().unwrap();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    promised.mul_f64(1.0 + 2.0 * load / processors as f64)
}

fn spec<S: Into<OsString>>(argv: impl IntoIterator<Item = S>) -> (Spec, File) {
    let output = tempfile::tempfile().unwrap();
    let spec = Spec {
        argv: argv.into_iter().map(Into::into).collect(),
        env: Vec::new(),
        cwd: None,
        output: output.try_clone().unwrap().into(),
        fds: Vec::new(),
        scratch: None,
    };
    (spec, output)
}

fn start<S: Into<OsString>>(argv: impl IntoIterator<Item = S>) -> Process {
    Process::spawn(spec(argv).0).unwrap()
}

/// Runs to the end: the output.
fn output_of((spec, mut output): (Spec, File)) -> String {
    let process = Process::spawn(spec).unwrap();
    let status = process.wait(limit()).unwrap();
    assert!(process.finish(limit()).is_clean());
    output.rewind().unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(status.success(), "{status}: {text}");
    text
}

/// The ways to put something between the guardian and the program that tests use.
const WRAPPERS: [&[&str]; 10] = [
    &[],
    &["nice"],
    &["sh", "-c", "\"$0\" \"$@\"; exit $?"],
    &["setsid"],
    &["setsid", "-w"],
    &["setsid", "-f"],
    &["sh", "-c", "(setsid \"$0\" \"$@\" & ) & wait; exec sleep 100"],
    &["timeout", "50"],
    &["strace", "-f", "-o", "/dev/null"],
    &["env", "-i", "/bin/sh", "-c", "\"$0\" \"$@\" & wait"],
];

fn exists(pid: Pid) -> bool {
    rustix::process::test_kill_process(pid).is_ok()
}

/// Waits until the tree has a process with this command line.
fn wait_for(process: &Process, command: &str) -> Pid {
    let limit = limit();
    loop {
        if let Some(found) = process.living().into_iter().find(|p| p.command == command) {
            return found.pid;
        }
        assert!(!limit.expired(), "no `{command}` in {:?}", process.living());
        std::thread::yield_now();
    }
}

/// The descriptors of the program, once it has this many: its loader opens libraries first.
fn open_in(process: &Process, count: usize) -> Vec<RawFd> {
    let limit = limit();
    loop {
        let names = std::fs::read_dir(format!("/proc/{}/fd", process.pid())).unwrap();
        let mut open: Vec<RawFd> = names
            .map(|name| name.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        if open.len() == count || limit.expired() {
            open.sort_unstable();
            return open;
        }
        std::thread::yield_now();
    }
}

#[test]
fn an_exit_status_and_a_signal_are_told_apart() {
    let process = start(["sh", "-c", "exit 7"]);
    assert_eq!(process.wait(limit()).unwrap().code(), Some(7));
    assert_eq!(process.try_status().unwrap().code(), Some(7));
    assert!(process.finish(limit()).is_clean());
    assert_eq!(process.try_status().unwrap().code(), Some(7));

    let process = start(["sleep", "60"]);
    assert!(process.try_status().is_none());
    assert!(
        process
            .wait(Deadline::exactly(Duration::from_millis(20)))
            .is_none()
    );
    process.signal(Signal::TERM).unwrap();
    let status = process.wait(limit()).unwrap();
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
    assert!(process.finish(limit()).is_clean());
    process.signal(Signal::TERM).unwrap();
}

#[test]
fn an_error_of_exec_is_intact_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, mode: u32, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.into_os_string()
    };
    let cases = [
        ("no-such-program-anywhere".into(), libc::ENOENT),
        ("/no/such/folder/program".into(), libc::ENOENT),
        ("".into(), libc::ENOENT),
        (folder.path().as_os_str().to_owned(), libc::EACCES),
        (file("not executable", 0o644, "#!/bin/sh\n"), libc::EACCES),
        (file("no format", 0o755, "echo\n"), libc::ENOEXEC),
        (file("no interpreter", 0o755, "#!/no/such/shell\n"), libc::ENOENT),
    ];
    for (program, errno) in cases {
        let error = Process::spawn(spec([program.clone()]).0).err().unwrap();
        assert_eq!(error.raw_os_error(), Some(errno), "{program:?}: {error}");
    }
    // Children belong to the thread that forked them; zombies are children too.
    super::children::each_child(|child| panic!("process {child} is left")).unwrap();
}

#[test]
fn a_missing_working_directory_is_not_taken_for_a_missing_program() {
    let (mut spec, _output) = spec(["true"]);
    spec.cwd = Some("/no/such/folder".into());
    let error = Process::spawn(spec).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "cannot enter the working directory: No such file or directory (os error 2)"
    );
}

#[test]
fn the_program_has_the_descriptors_it_was_given_and_no_others() {
    // Open, and not close-on-exec: as a careless library leaves it.
    let careless = File::open("/dev/zero").unwrap();
    rustix::io::fcntl_setfd(&careless, rustix::io::FdFlags::empty()).unwrap();
    // Each gets a number that another of them has here, so that moving one by one would lose some.
    let fds = || {
        let files = ["a", "b", "c"].map(|name| {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(name.as_bytes()).unwrap();
            OwnedFd::from(file)
        });
        let mut numbers = files.each_ref().map(AsRawFd::as_raw_fd);
        numbers.rotate_left(1);
        assert!(numbers.iter().all(|number| *number >= 3));
        files.into_iter().zip(numbers).collect::<Vec<_>>()
    };
    let first = fds();
    let paths = first.iter().map(|(_, number)| format!("/dev/fd/{number}"));
    let (mut spec, output) = spec(["cat".to_owned()].into_iter().chain(paths));
    spec.fds = first;
    assert_eq!(output_of((spec, output)), "abc");

    let (mut spec, _output) = self::spec(["sleep", "60"]);
    spec.fds = fds();
    let mut expected: Vec<RawFd> = spec.fds.iter().map(|(_, number)| *number).collect();
    expected.extend([0, 1, 2]);
    expected.sort_unstable();
    let process = Process::spawn(spec).unwrap();
    let folder = format!("/proc/{}/fd", process.pid());
    assert_eq!(open_in(&process, expected.len()), expected);
    let input = std::fs::read_link(format!("{folder}/0")).unwrap();
    assert_eq!(input, std::path::Path::new("/dev/null"));
}

#[test]
fn an_error_of_exec_is_intact_whatever_numbers_are_taken() {
    let (mut spec, _output) = spec(["/no/such/program"]);
    let files = [(); 100].map(|()| OwnedFd::from(File::open("/dev/null").unwrap()));
    // The numbers above are those that the start's own descriptors get.
    let above = files.iter().map(AsRawFd::as_raw_fd).max().unwrap() + 1;
    spec.fds = files.into_iter().zip(above..).collect();
    let error = Process::spawn(spec).err().unwrap();
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
}

#[test]
fn a_number_given_twice_is_refused() {
    let (mut spec, _output) = spec(["true"]);
    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    spec.fds = vec![(null(), 5), (null(), 5)];
    let error = Process::spawn(spec).err().unwrap();
    assert_eq!(error.to_string(), "two descriptors are to get the number 5");
}

#[test]
fn environment_and_working_directory_are_the_programs() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spec, output) = spec(["sh", "-c", "pwd -P; echo $NEW ${HOME-none}"]);
    spec.cwd = Some(folder.path().into());
    spec.env = vec![("NEW".into(), Some("two words".into())), ("HOME".into(), None)];
    let expected = format!(
        "{}\ntwo words none\n",
        folder.path().canonicalize().unwrap().display()
    );
    assert_eq!(output_of((spec, output)), expected);
}

#[test]
fn the_program_starts_with_no_signal_blocked_or_handled() {
    let text = output_of(spec(["cat", "/proc/self/status"]));
    let signals = |field: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    assert_eq!(signals("SigBlk:"), 0);
    assert_eq!(signals("SigCgt:"), 0);
    // Rust ignores it in every program of its own.
    assert_eq!(signals("SigIgn:") & 1 << (libc::SIGPIPE - 1), 0);
}

#[test]
fn setsid_runs_the_program_in_its_own_process() {
    let (spec, output) = spec([
        "setsid",
        "sh",
        "-c",
        "read -r _ _ _ _ _ session _ < /proc/$$/stat; test $session = $$ && echo leads",
    ]);
    assert_eq!(output_of((spec, output)), "leads\n");
}

#[test]
fn kill_ends_the_tree_behind_every_wrapper() {
    for wrapper in WRAPPERS {
        let process = start(wrapper.iter().copied().chain(["sleep", "6100"]));
        let inner = wait_for(&process, "sleep 6100");
        let started = Instant::now();
        process.kill();
        let ending = process.finish(limit());
        assert!(ending.is_clean(), "{wrapper:?}: {ending:?}");
        assert!(!exists(inner), "{wrapper:?}");
        assert!(
            started.elapsed() < in_time(Duration::from_millis(400)),
            "{wrapper:?}"
        );
        assert!(process.try_status().is_some());
    }
}

#[test]
fn what_outlives_its_program_is_named_and_killed() {
    let process = start(["sh", "-c", "setsid sleep 6200 & exit 3"]);
    assert_eq!(process.wait(limit()).unwrap().code(), Some(3));
    let ending = process.finish(limit());
    let commands: Vec<_> = ending.survivors.iter().map(|s| s.command.as_str()).collect();
    assert_eq!(commands, ["sleep 6200"]);
    assert!(!exists(ending.survivors[0].pid));
    assert!(ending.remaining.is_empty() && !ending.guardian_lost);
}

#[test]
fn what_ends_soon_after_its_program_is_no_survivor() {
    let process = start(["sh", "-c", "setsid sleep 0.05 & exit 0"]);
    assert!(process.wait(limit()).unwrap().success());
    assert!(process.finish(limit()).is_clean());
}

#[test]
fn the_status_of_a_daemon_is_known() {
    let process = start(["setsid", "-f", "sh", "-c", "sleep 0.1; exit 5"]);
    assert!(process.wait(limit()).unwrap().success());
    let daemon = process.living().first().unwrap().pid;
    assert!(super::readable_by(process.gone_fd(), limit()));
    assert_eq!(process.status_of(daemon).unwrap().code(), Some(5));
}

#[test]
fn the_status_is_known_after_a_thousand_orphans() {
    let script = "i=0; while [ $i -lt 1000 ]; do (true &); i=$((i+1)); done; exit 7";
    let process = start(["sh", "-c", script]);
    assert!(super::readable_by(process.gone_fd(), limit()));
    assert_eq!(process.try_status().unwrap().code(), Some(7));
    assert!(process.finish(limit()).is_clean());
}

#[test]
fn only_a_process_of_the_tree_gets_a_signal() {
    let process = start(["sh", "-c", "sleep 6300; exit 4"]);
    let inner = wait_for(&process, "sleep 6300");
    let error = process.signal_pid(Pid::INIT, Signal::TERM).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    process.signal_pid(inner, Signal::TERM).unwrap();
    assert_eq!(process.wait(limit()).unwrap().code(), Some(4));
    let error = process.signal_pid(inner, Signal::TERM).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn drop_ends_the_tree_and_leaves_no_zombie() {
    let process = start(["sh", "-c", "sleep 6400 & wait"]);
    let inner = wait_for(&process, "sleep 6400");
    let (program, guardian) = (process.pid(), process.guardian.pid());
    drop(process);
    for pid in [inner, program, guardian] {
        assert!(!exists(pid));
    }
}

#[test]
fn a_stopped_program_ends() {
    let process = start(["sleep", "6500"]);
    process.signal(Signal::STOP).unwrap();
    process.kill();
    assert_eq!(process.wait(limit()).unwrap().signal(), Some(9));
    assert!(process.finish(limit()).is_clean());
}

#[test]
fn the_death_of_the_guardian_is_told_and_ends_the_program() {
    let process = start(["sleep", "6600"]);
    rustix::process::kill_process(process.guardian.pid(), Signal::KILL).unwrap();
    assert_eq!(process.wait(limit()).unwrap().signal(), Some(9));
    assert!(process.finish(limit()).guardian_lost);
}

#[test]
fn finish_ends_by_its_deadline_whatever_lives() {
    let process = start(["sleep", "6700"]);
    let started = Instant::now();
    let ending = process.finish(Deadline::exactly(Duration::ZERO));
    assert!(started.elapsed() < in_time(Duration::from_millis(400)));
    assert_eq!(ending.survivors[0].command, "sleep 6700");
    assert!(!ending.is_clean());
}

#[test]
fn a_stopped_guardian_goes_on_when_it_is_to_kill() {
    let process = start(["sleep", "6800"]);
    rustix::process::kill_process(process.guardian.pid(), Signal::STOP).unwrap();
    process.kill();
    assert!(process.finish(limit()).is_clean());
    assert_eq!(process.try_status().unwrap().signal(), Some(9));
}

#[test]
fn starts_from_many_threads_leak_no_descriptor_into_each_other() {
    let threads = [(); 8].map(|()| {
        std::thread::spawn(|| {
            [(); 8].map(|()| {
                let (mut spec, _output) = spec(["sleep", "6900"]);
                let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
                spec.fds = vec![(theirs.into(), 3)];
                (Process::spawn(spec).unwrap(), ours)
            })
        })
    });
    let started: Vec<_> = threads
        .into_iter()
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    let mut sockets = std::collections::HashSet::new();
    for (process, _ours) in &started {
        let folder = format!("/proc/{}/fd", process.pid());
        assert_eq!(open_in(process, 4), [0, 1, 2, 3]);
        assert!(sockets.insert(std::fs::read_link(format!("{folder}/3")).unwrap()));
        // Its guardian has no more than it needs: reports, the test, its children's ends.
        let folder = format!("/proc/{}/fd", process.guardian.pid());
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), 3);
    }
    // With all of the others alive, one's end closes its socket at once.
    let (process, ours) = &started[0];
    process.kill();
    ours.set_read_timeout(Some(LIMIT)).unwrap();
    assert_eq!((&*ours).read(&mut [0]).unwrap(), 0);
}

#[test]
fn exhausted_descriptors_are_named_and_a_failed_start_leaves_nothing() {
    let mut helper = helper::Helper::start("descriptors");
    let refused = helper.refused_before("done");
    assert!(refused.len() >= 4, "{refused:?}");
    assert!(
        refused
            .iter()
            .all(|line| line.ends_with("; the limit is RLIMIT_NOFILE (`ulimit -n`)"))
    );
}

#[test]
fn a_refused_fork_is_named_and_a_failed_start_leaves_nothing() {
    let mut helper = helper::Helper::start("processes");
    let refused = helper.refused_before("done");
    let end = "Resource temporarily unavailable (os error 11); the limit is RLIMIT_NPROC (`ulimit -u`) or a control group's";
    let expected =
        ["the guardian of the process", "the process"].map(|what| format!("cannot fork {what}: {end}"));
    assert_eq!(refused, expected);
}

#[test]
fn many_starts_leave_no_descriptor_thread_or_child() {
    helper::Helper::start("many").refused_before("done");
}

#[test]
fn a_process_without_its_main_thread_is_alive_and_dies_of_kill() {
    let process = start(helper::Helper::argv("headless"));
    assert!(process.wait(limit()).unwrap().success());
    let left = process.living();
    assert_eq!(left.len(), 1);
    let stat = format!("/proc/{}/stat", left[0].pid);
    let limit = limit();
    // Its state is that of a zombie.
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
        assert!(!limit.expired());
        std::thread::yield_now();
    }
    let ending = process.finish(limit);
    assert_eq!(ending.survivors.len(), 1);
    assert_eq!(ending.survivors[0].pid, left[0].pid);
    assert!(ending.remaining.is_empty() && !ending.guardian_lost);
}

/// Only the superuser can make a program that a user may start and not kill; for others there is nothing to try.
#[test]
fn what_cannot_be_killed_is_named_and_holds_nobody_up() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let anyone = |mode| std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(folder.path(), anyone(0o755)).unwrap();
    let setpriv = folder.path().join("setpriv");
    std::fs::copy("/usr/bin/setpriv", &setpriv).unwrap();
    std::fs::set_permissions(&setpriv, anyone(0o4755)).unwrap();
    let mut helper = helper::Helper::start(&format!("unkillable {}", setpriv.display()));
    let remaining = helper.refused_before("done");
    assert_eq!(remaining.len(), 1);
    let words: Vec<_> = remaining[0].split_whitespace().collect();
    let ["process", pid, "(`sleep", "7000`)"] = words[..] else {
        panic!("{remaining:?}");
    };
    // What the helper could not do.
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    assert!(helper.ended().success());
}
