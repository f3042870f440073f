//! Tests to which something happens. `run.rs` runs them, one at a time.

#![expect(clippy::print_stdout, reason = "how a victim tells its driver what it saw")]

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use qemu_test::{Error, Machine, MachineBuilder, Monitor, qemu_test, qmp};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};

/// A wait that nothing but the test's own limit ends in time.
const LONG: Duration = Duration::from_secs(600);

fn none() -> MachineBuilder {
    Machine::builder().args(["-machine", "none"])
}

fn stop(vm: &Machine) {
    kill_process(Pid::from_raw(vm.pid().cast_signed()).unwrap(), Signal::STOP).unwrap();
}

// How a machine is shut down.

#[qemu_test(machine = none())]
#[ignore = "a victim"]
fn stopped(vm: &Machine) {
    stop(vm);
}

/// QEMU opens a FIFO that nobody reads, on the thread that runs everything else.
#[qemu_test(machine = none())]
#[ignore = "a victim"]
fn blocked_in_a_system_call(vm: &Machine) {
    let fifo = vm.socket_path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let backend = qmp!({ type: "file", data: { out: fifo.to_str().unwrap() } });
    let command = qmp!(chardev_add {
        id: "c",
        backend: backend
    })
    .timeout(Duration::from_secs(2));
    let error = vm.command(command).unwrap_err();
    assert!(matches!(error, Error::Timeout(_)), "{error}");
}

#[qemu_test(machine = none(), wrapper = ["sh", "-c", "trap '' TERM; \"$0\" \"$@\"; exec sleep 600"])]
#[ignore = "a victim"]
fn behind_a_wrapper_that_stays(_vm: &Machine) {}

#[qemu_test(machine = none(), wrapper = ["sh", "-c", "(trap '' TERM HUP; exec setsid sleep 601) & exec \"$0\" \"$@\""])]
#[ignore = "a victim"]
fn leaves_a_process_in_another_session(_vm: &Machine) {}

// What a signal finds.

/// Nobody reads what it prints, and the pipe is full.
#[qemu_test(machine = none())]
#[ignore = "a victim"]
fn is_interrupted_and_cannot_print(_vm: &Machine) {
    use rustix::pipe::{PipeFlags, pipe_with};
    let (_reader, stderr) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    while rustix::io::write(&stderr, &[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&stderr, rustix::fs::OFlags::empty()).unwrap();
    rustix::stdio::dup2_stderr(&stderr).unwrap();
    rustix::io::write(
        rustix::stdio::stdout(),
        b"victims::is_interrupted_and_cannot_print\n",
    )
    .unwrap();
    kill_process(rustix::process::getpid(), Signal::TERM).unwrap();
    loop {
        std::thread::park();
    }
}

// What the limit of a test ends: long enough for the machine to come up on a busy computer.

macro_rules! waits {
    ($($name:ident($vm:ident: $builder:expr) $body:block)*) => {$(
        #[qemu_test(machine = $builder, timeout = "8s")]
        #[ignore = "a victim"]
        fn $name($vm: &Machine) -> qemu_test::Result<()> {
            let began = Instant::now();
            let waited: qemu_test::Result<()> = $body;
            let error = waited.expect_err("the wait ends with an error");
            assert!(began.elapsed() < Duration::from_secs(30), "{error}");
            Err(error)
        }
    )*};
}

waits! {
    waits_for_a_reply(vm: none()) {
        stop(vm);
        vm.command(qmp!(query_version).timeout(LONG)).map(drop)
    }
    waits_for_an_event(vm: none()) { vm.wait_event(qmp!(RESUME), LONG).map(drop) }
    waits_for_any_event(vm: none()) { vm.next_event(LONG).map(drop) }
    waits_for_the_end(vm: none()) { vm.wait(LONG).map(drop) }
    waits_for_the_console(vm: none().console()) { vm.console().wait_for("login: ", LONG).map(drop) }
    waits_for_a_shell(vm: none().console()) {
        vm.console().shell("# ").timeout(LONG).run("true").map(drop)
    }
    waits_for_qtest(vm: none().qtest().command_timeout(LONG)) {
        stop(vm);
        vm.qtest().inb(0x80).map(drop)
    }
    waits_for_a_launch(vm: none()) {
        let _ = vm;
        none().name("late").wrapper(["sh", "-c", "exec sleep 602"]).launch().map(drop)
    }
}

/// Ends with the whole process, because nothing ends this body.
#[qemu_test(machine = none(), timeout = "8s")]
#[ignore = "a victim"]
fn ignores_every_error(vm: &Machine) {
    loop {
        let _ = vm.wait_event(qmp!(RESUME), LONG);
        std::thread::yield_now();
    }
}

#[qemu_test(machine = none().wrapper(["sh", "-c", "exec sleep 603"]), timeout = "2s")]
#[ignore = "a victim"]
fn never_comes_up(_vm: &Machine) {}

/// Is interrupted with machines that answer no question.
#[qemu_test(machine = none())]
#[ignore = "a victim"]
fn is_interrupted(vm: &Machine) {
    let others = [(); 5].map(|()| none().launch().unwrap());
    others.iter().chain([vm]).for_each(stop);
    kill_process(rustix::process::getpid(), Signal::TERM).unwrap();
    loop {
        std::thread::park();
    }
}

// What is large, full or has an odd name.

#[qemu_test(machine = none())]
#[ignore = "a victim"]
fn passes(vm: &Machine) {
    vm.command("query-status").unwrap();
}

#[qemu_test(machine = none().monitor(Monitor::Unix("{dir}/qmp".into())))]
#[ignore = "a victim"]
fn has_its_monitor_in_its_folder(vm: &Machine) {
    vm.command("query-status").unwrap();
}

#[qemu_test(machine = none().console())]
#[ignore = "a victim"]
fn fails(vm: &Machine) {
    vm.command("query-status").unwrap();
    panic!("on purpose");
}

#[qemu_test(machine = none(), wrapper = ["sh", "-c", "yes 'a line of the log' | head -c 1G; exec \"$0\" \"$@\""])]
#[ignore = "a victim"]
fn has_a_log_of_a_gigabyte(vm: &Machine) {
    assert!(fs::metadata(vm.dir().join("qemu.log")).unwrap().len() >= 1 << 30);
    assert!(vm.log().unwrap().len() < 1 << 20);
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    assert!(peak < 100 << 10, "{peak} KiB of memory");
    panic!("so that there is a report");
}

/// How many bytes the guest floods its console with.
const FLOOD: u32 = 256 << 10;

/// A guest that sends bytes as fast as its serial port takes them, all values in turn, and then ends QEMU.
fn flooding() -> MachineBuilder {
    let [a, b, c, d] = FLOOD.to_le_bytes();
    #[rustfmt::skip]
    let mut sector = vec![
        0xfa,                         // cli
        0x30, 0xdb,                   // xor bl, bl
        0x66, 0xb9, a, b, c, d,       // mov ecx, FLOOD
        0xba, 0xfd, 0x03,             // next: mov dx, 0x3fd: the line status of COM1
        0xec,                         // busy: in al, dx
        0xa8, 0x20,                   // test al, 0x20: room for a byte
        0x74, 0xfb,                   // jz busy
        0xba, 0xf8, 0x03,             // mov dx, 0x3f8
        0x88, 0xd8,                   // mov al, bl
        0xee,                         // out dx, al
        0xfe, 0xc3,                   // inc bl
        0x66, 0x49,                   // dec ecx
        0x75, 0xec,                   // jnz next
        0xba, 0xf4, 0x00,             // mov dx, 0xf4: isa-debug-exit
        0xb0, 0x10,                   // mov al, 16
        0xee,                         // out dx, al
        0xf4,                         // hlt
    ];
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    let mut disk = tempfile::NamedTempFile::new().unwrap();
    disk.write_all(&sector).unwrap();
    // QEMU opens it by a descriptor, which must be for reading alone, and no file has to be removed.
    let file = fs::File::open(disk.path()).unwrap();
    Machine::builder()
        .args(["-machine", "pc", "-accel", "tcg", "-nodefaults"])
        .args(["-drive", "file=/dev/fdset/1,format=raw,if=ide,snapshot=on"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
        .add_fd(1, file, "the boot sector")
        .console()
        .expect_exit(33)
}

/// Nobody waits for the console, and the guest gets to its end all the same.
#[qemu_test(machine = flooding(), timeout = "90s")]
#[ignore = "a victim"]
fn is_flooded(vm: &Machine) {
    vm.wait(LONG).unwrap();
    let bytes = fs::read(vm.dir().join("console.log")).unwrap();
    assert!(bytes.len() >= FLOOD as usize, "{} bytes", bytes.len());
    let flood = &bytes[bytes.len() - FLOOD as usize..];
    let wrong = flood
        .iter()
        .zip((0..=u8::MAX).cycle())
        .position(|(byte, expected)| *byte != expected);
    assert_eq!(wrong, None);
}

#[qemu_test(machine = none())]
#[ignore = "a victim"]
fn fills_its_files(vm: &Machine) {
    for _ in 0..200 {
        vm.command("query-version").unwrap();
    }
    panic!("so that there is a report");
}

#[qemu_test(machine = none())]
#[ignore = "a victim"]
fn fills_its_files_and_passes(vm: &Machine) {
    for _ in 0..200 {
        vm.command("query-version").unwrap();
    }
}

// What runs out.

/// Launches under ever higher limits until there is enough of the resource.
fn ramp(resource: Resource, first: u64) {
    // What the first launch of a process makes for all that follow.
    drop(none().launch().unwrap());
    let before = getrlimit(resource);
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let descriptors = open();
    let mut refused = 0;
    for current in first.. {
        let limit = Rlimit {
            current: Some(current),
            ..before
        };
        setrlimit(resource, limit).unwrap();
        let launched = none().launch();
        setrlimit(resource, before).unwrap();
        match launched {
            Ok(vm) => {
                // QEMU lives under the limit, and ends as it should.
                let _ = vm.shutdown();
                break;
            }
            Err(Error::Launch(error)) => {
                refused += 1;
                println!("refused: {}", error.reason.lines().next().unwrap());
                assert!(error.to_string().starts_with("machine `vm` did not launch: "));
            }
            Err(other) => panic!("no launch error: {other}"),
        }
        assert_eq!(open(), descriptors, "descriptors are left");
        assert!(refused < 500);
    }
    println!("refused {refused} launches");
}

#[test]
#[ignore = "a victim"]
fn runs_out_of_descriptors() {
    ramp(Resource::Nofile, 3);
}

/// As a user who has limits: the superuser has none.
#[test]
#[ignore = "a victim"]
fn is_refused_forks() {
    if rustix::process::geteuid().is_root() {
        let nobody = rustix::process::Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
    }
    ramp(Resource::Nproc, 0);
}

// Many.

/// Launches a thousand machines, and counts what stays of them.
#[test]
#[ignore = "a victim"]
fn launches_a_thousand() {
    const THREADS: usize = 4;
    const EACH: usize = 250;
    let counts = || {
        let count = |folder: &str| fs::read_dir(folder).unwrap().count();
        (
            count("/proc/self/fd"),
            count("/proc/self/task"),
            count(&std::env::var("TMPDIR").unwrap()),
        )
    };
    let memory = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let launch_all = |each| {
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(move || {
                    for nth in 0..each {
                        let vm = none().launch().unwrap();
                        if nth % 2 == 0 {
                            assert!(vm.shutdown().unwrap().success());
                        }
                    }
                });
            }
        });
    };
    // What the first ones leave is made once: threads' memory, a signal handler.
    launch_all(5);
    let (before, memory_before) = (counts(), memory());
    launch_all(EACH);
    // A thread that was waited for is still listed for a moment: now, or when the others were counted.
    let more = || {
        let now = counts();
        (now.0 > before.0 || now.1 > before.1 || now.2 > before.2).then_some(now)
    };
    let limit = Instant::now() + Duration::from_secs(10);
    while more().is_some() && Instant::now() < limit {
        std::thread::yield_now();
    }
    assert_eq!(
        more(),
        None,
        "descriptors, threads, temporary files; {before:?} before"
    );
    let grown = memory().saturating_sub(memory_before);
    println!("{} launches, {grown} KiB more memory", THREADS * EACH);
    assert!(grown < 4 << 10, "{grown} KiB of memory are left");
}
