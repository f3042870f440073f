//! What a helper does, by its role.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{PidfdFlags, Resource, Rlimit, Signal, WaitOptions, getrlimit, pidfd_open, setrlimit};

use super::helper::{Helper, ROLE, Watched};
use super::{Process, WRAPPERS, limit, start};
use crate::deadline::Deadline;
use crate::process::children::each_child;
use crate::process::{Spec, readable_by, signals};

/// A QEMU that runs until it is ended.
const QEMU: [&str; 6] = [
    "qemu-system-x86_64",
    "-machine",
    "none",
    "-nodefaults",
    "-display",
    "none",
];

#[test]
#[ignore = "the other tests run it, in a process of its own"]
fn helper() {
    let role = std::env::var(ROLE).expect("the helper has a role");
    let (role, argument) = role.split_once(' ').unwrap_or((&role, ""));
    match role {
        "end" => end(argument),
        "descriptors" => limited(Resource::Nofile),
        "processes" => limited(Resource::Nproc),
        "many" => many(),
        "headless" => live_on_without_main_thread(),
        "unkillable" => start_what_cannot_be_killed(argument),
        "storm" => storm(),
        "drive" => drive(argument.parse().unwrap()),
        "signal" => signal(argument),
        _ => panic!("there is no role {role}"),
    }
}

fn say(line: &str) {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}").unwrap();
    stdout.flush().unwrap();
}

/// Starts a QEMU behind each wrapper, and returns once all run.
fn start_qemus() -> Vec<Process> {
    let processes: Vec<_> = WRAPPERS
        .iter()
        .map(|wrapper| start(wrapper.iter().chain(&QEMU)))
        .collect();
    let limit = limit();
    for process in &processes {
        let is_qemu = |command: &str| command.starts_with("qemu-system-x86_64 ");
        while !process.living().iter().any(|p| is_qemu(&p.command)) {
            assert!(!limit.expired(), "{:?}", process.living());
            std::thread::yield_now();
        }
    }
    processes
}

/// Ends this process in the given way while QEMUs run.
fn end(way: &str) {
    let processes = start_qemus();
    let leak = |processes| std::mem::forget::<Vec<Process>>(processes);
    say("ready");
    // Until the parent has seen all there is.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    match way {
        "return" => {}
        "panic" => panic!("on purpose"),
        "leak" => leak(processes),
        "exit" => std::process::exit(3),
        "exit with leaked machines" => {
            leak(processes);
            std::process::exit(3);
        }
        "abort" => std::process::abort(),
        "panic while panicking" => {
            struct Panics;
            impl Drop for Panics {
                fn drop(&mut self) {
                    panic!("again");
                }
            }
            let _panics = Panics;
            panic!("on purpose");
        }
        "stack overflow" => {
            #[expect(unconditional_recursion, reason = "it is to overflow the stack")]
            fn recurse(n: u64) -> u64 {
                std::hint::black_box(recurse(std::hint::black_box(n + 1)) + 1)
            }
            recurse(0);
        }
        "wait with a sibling" => {
            // SAFETY: the copy only makes system calls, the first of which bounds its life.
            #[expect(unsafe_code, reason = "std cannot fork without exec")]
            unsafe {
                if crate::process::sys::fork() == Ok(None) {
                    libc::alarm(5);
                    loop {
                        libc::pause();
                    }
                }
            }
            say("forked");
            loop {
                std::thread::park();
            }
        }
        "exec" => {
            let error = std::os::unix::process::CommandExt::exec(
                Command::new("sh").args(["-c", "echo became another; exec sleep 60"]),
            );
            panic!("{error}");
        }
        _ => loop {
            std::thread::park();
        },
    }
}

/// Starts a program under ever higher limits, until there is enough of the resource: the errors must be clear, and
/// leave nothing.
fn limited(resource: Resource) {
    let null = std::fs::File::open("/dev/null").unwrap();
    if resource == Resource::Nproc && rustix::process::geteuid().is_root() {
        // The superuser has no limit.
        let nobody = rustix::process::Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
    }
    let before = getrlimit(resource);
    let mut errors = std::collections::BTreeSet::new();
    for current in 0.. {
        let spec = Spec {
            argv: vec!["true".into()],
            env: Vec::new(),
            cwd: None,
            output: null.try_clone().unwrap().into(),
            fds: vec![(null.try_clone().unwrap().into(), 20)],
            scratch: None,
        };
        let limit = Rlimit {
            current: Some(current),
            ..before
        };
        setrlimit(resource, limit).unwrap();
        let started = Process::spawn(spec);
        setrlimit(resource, before).unwrap();
        match started {
            Ok(process) => {
                assert!(process.wait(super::limit()).unwrap().success());
                assert!(process.finish(super::limit()).is_clean());
                break;
            }
            Err(e) => errors.insert(e.to_string()),
        };
        each_child(|child| panic!("process {child} is left by {errors:?}")).unwrap();
    }
    for error in errors {
        say(&format!("refused: {error}"));
    }
    say("done");
}

/// Leaves a process behind whose main thread has ended, which makes it a zombie that goes on.
fn live_on_without_main_thread() {
    // SAFETY: the copy's only thread is its main thread. No other thread of this process does anything but wait for
    // this one, so that no lock is held; the last call ends one thread and nothing else.
    #[expect(unsafe_code, reason = "std has no way to end the main thread alone")]
    unsafe {
        if crate::process::sys::fork() == Ok(None) {
            std::thread::spawn(|| {
                loop {
                    std::thread::park();
                }
            });
            libc::syscall(libc::SYS_exit, 0);
        }
    }
}

/// As a user without rights, starts a program that belongs to the superuser.
fn start_what_cannot_be_killed(setpriv: &str) {
    let nobody = rustix::process::Uid::from_raw(65534);
    let spec = super::spec([setpriv, "--reuid=0", "sleep", "7000"]).0;
    rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
    let process = Process::spawn(spec).unwrap();
    super::wait_for(&process, "sleep 7000");
    process.kill();
    let limit = Deadline::exactly(Duration::from_millis(600));
    let ending = process.finish(limit);
    assert!(limit.elapsed() < super::in_time(Duration::from_secs(2)));
    assert!(!ending.is_clean() && process.try_status().is_none());
    for survivor in ending.remaining {
        say(&format!("refused: {survivor}"));
    }
    let since = Deadline::never();
    drop(process);
    assert!(since.elapsed() < super::in_time(Duration::from_secs(5)));
    say("dropped, done");
}

/// Starts many programs, and counts what stays of them here.
fn many() {
    let count = |folder: &str| std::fs::read_dir(folder).unwrap().count();
    let counts = || (count("/proc/self/fd"), count("/proc/self/task"));
    drop(start(["true"]));
    let before = counts();
    for nth in 0..200 {
        let process = start(["sh", "-c", "sleep 60 & exit"]);
        if nth % 2 == 0 {
            process.kill();
            assert!(process.finish(limit()).remaining.is_empty());
        }
        assert!(Process::spawn(super::spec(["/no/such/program"]).0).is_err());
    }
    assert_eq!(counts(), before);
    each_child(|child| panic!("process {child} is left")).unwrap();
    say("done");
}

/// Starts and ends QEMUs on several threads, until it is killed.
fn storm() {
    let wrappers = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for _ in 0..4 {
        let wrappers = wrappers.clone();
        std::thread::spawn(move || {
            loop {
                let nth = wrappers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let process = start(WRAPPERS[nth % WRAPPERS.len()].iter().chain(&QEMU));
                process.wait(Deadline::exactly(Duration::from_millis(nth as u64 % 40)));
            }
        });
    }
    say("ready");
    loop {
        std::thread::park();
    }
}

/// Kills storms at random moments. All orphans come to this process, so that none can hide from it.
fn drive(rounds: u32) {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let myself = rustix::process::getpid();
    let seed = std::env::var("QEMU_TEST_PROCESS_SEED")
        .map_or_else(|_| std::process::id().into(), |seed| seed.parse::<u64>().unwrap());
    let mut random = seed;
    let (mut seen, mut slowest) = (0, Duration::ZERO);
    for round in 0..rounds {
        let mut storm = Helper::start("storm");
        storm.line("ready");
        // Knuth's multiplier; the upper bits are the random ones.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let moment = Deadline::exactly(Duration::from_micros((random >> 33) % 80_000));
        let pidfd = pidfd_open(storm.pid(), PidfdFlags::empty()).unwrap();
        assert!(!readable_by(pidfd.as_fd(), moment), "the storm ended by itself");
        seen += Watched::below(storm.pid()).len();
        storm.signal(Signal::KILL);
        assert_eq!(storm.ended().signal(), Some(9));
        let second = Deadline::exactly(super::in_time(Duration::from_secs(1)));
        loop {
            while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
            let left = Watched::below(myself);
            if left.is_empty() {
                break;
            }
            for process in left {
                let what = &process.command;
                assert!(
                    process.ends_by(second),
                    "seed {seed}, round {round}: `{what}` is left"
                );
            }
        }
        slowest = slowest.max(second.elapsed());
    }
    say(&format!(
        "{rounds} kills, {seen} processes seen, gone after {slowest:?} at most: done"
    ));
}

/// Has the signal thread installed, and waits for a signal with a QEMU.
fn signal(way: &str) {
    use signal_hook::consts::{SIGHUP, SIGTERM};
    static EARLIER: std::sync::LazyLock<std::sync::Arc<std::sync::atomic::AtomicBool>> =
        std::sync::LazyLock::new(Default::default);
    static PROCESS: OnceLock<Process> = OnceLock::new();
    let order = std::sync::atomic::Ordering::SeqCst;
    if way == "earlier handler" {
        signal_hook::flag::register(SIGTERM, EARLIER.clone()).unwrap();
    }
    if way == "plain program" {
        let _process = start(QEMU);
        say("ready");
        loop {
            std::thread::park();
        }
    }
    let way_of_thread = way.to_owned();
    let report = move |signal: Signal| {
        say(&format!(
            "report of {}",
            crate::exit::signal_name(signal.as_raw())
        ));
        match way_of_thread.as_str() {
            "looking callback" => {
                // It would end at once if the group's signal had reached it.
                let running = Deadline::exactly(Duration::from_millis(300));
                assert!(PROCESS.get().unwrap().wait(running).is_none());
                say("the machine runs");
            }
            "panicking callback" => panic!("on purpose"),
            "hanging callback" => loop {
                std::thread::park();
            },
            _ => {}
        }
    };
    signals::install_once(report).unwrap();
    signals::install_once(|_| say("a second callback")).unwrap();
    let process = start(QEMU);
    if way == "later handler" {
        signal_hook::flag::register(SIGTERM, EARLIER.clone()).unwrap();
    }
    let process = PROCESS.get_or_init(|| process);
    say(&format!(
        "hang-up {:?}, ready",
        crate::process::sys::disposition(SIGHUP).unwrap()
    ));
    match way {
        "earlier handler" => {
            let status = process.wait(limit()).unwrap();
            while !EARLIER.load(order) {
                std::thread::yield_now();
            }
            say(&format!("{status}, the earlier handler was called"));
        }
        "later handler" => {
            while !EARLIER.load(order) {
                std::thread::yield_now();
            }
            let status = process.wait(Deadline::exactly(Duration::from_millis(300)));
            say(&format!("{status:?}, the later handler was called"));
        }
        _ => loop {
            std::thread::park();
        },
    }
}
