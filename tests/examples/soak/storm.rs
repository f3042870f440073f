//! A storm: threads that launch machines and do things to them, until the driver ends the process.

use std::io::Read;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use qemu_test::{Machine, MachineBuilder, qmp};
use rustix::process::{Pid, Signal, kill_process};

use super::random::Random;

const THREADS: u64 = 3;

/// No step may take longer: those that have a limit have a shorter one.
const HANG: Duration = Duration::from_secs(90);

/// The exit status of a storm in which something hung.
pub(crate) const HUNG: u8 = 70;

/// What each thread does, and since when.
static STEPS: Mutex<Vec<(&'static str, Instant)>> = Mutex::new(Vec::new());

const WRAPPERS: [&[&str]; 7] = [
    &[],
    &["nice"],
    &["sh", "-c", "\"$0\" \"$@\"; exit $?"],
    &["setsid"],
    &["setsid", "-f", "-w"],
    &["setsid", "-f"],
    &["sh", "-c", "sleep 700 & exec \"$0\" \"$@\""],
];

/// Runs until the driver closes standard input, or does worse.
pub(crate) fn run(seed: u64) -> ExitCode {
    let mut random = Random::new(seed);
    let seeds: Vec<u64> = (0..THREADS).map(|_| random.next()).collect();
    let way = random.below(4);
    *STEPS.lock().unwrap() = vec![("starting", Instant::now()); THREADS as usize];
    for (number, seed) in seeds.into_iter().enumerate() {
        std::thread::spawn(move || {
            // A test, with all that its harness installs: handlers of signals above all.
            let body = |vm: &Machine| blow(number, &mut Random::new(seed), vm);
            loop {
                let test = || none().name("of the test").test(body);
                // It has been told; the next one is like the first.
                let _ = std::panic::catch_unwind(test);
            }
        });
    }
    std::thread::spawn(watch);
    // The driver's sign to end in order; a storm that is killed never comes here.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    match way {
        0 => std::process::exit(3),
        1 => std::process::abort(),
        2 => panic!("the storm ends so"),
        _ => ExitCode::SUCCESS,
    }
}

/// Ends the process when a step hangs.
#[expect(clippy::print_stderr, reason = "for the driver's own output")]
fn watch() {
    let (_never, wait) = std::sync::mpsc::channel::<()>();
    loop {
        let _ = wait.recv_timeout(Duration::from_secs(1));
        let steps = STEPS.lock().unwrap();
        if let Some((step, since)) = steps.iter().find(|(_, since)| since.elapsed() > HANG) {
            eprintln!("hangs: {step}, for {:?}", since.elapsed());
            std::process::exit(HUNG.into());
        }
    }
}

fn none() -> MachineBuilder {
    Machine::builder()
        .args(["-machine", "none"])
        .command_timeout(Duration::from_secs(20))
}

fn blow(number: usize, random: &mut Random, of_test: &Machine) {
    let step = |step| STEPS.lock().unwrap()[number] = (step, Instant::now());
    for _ in 0..random.below(6) {
        step("launching");
        let Ok(vm) = none().wrapper(*random.of(&WRAPPERS)).launch() else {
            return;
        };
        for _ in 0..random.below(4) {
            step("a command");
            let vm = if random.below(4) == 0 { of_test } else { &vm };
            let _ = vm.command(qmp!(query_version));
            step("an event");
            let _ = vm.wait_event(qmp!(RESUME), Duration::from_millis(random.below(20)));
        }
        let pid = Pid::from_raw(vm.pid().cast_signed());
        let signal = *random.of(&[
            Signal::KILL,
            Signal::TERM,
            Signal::SEGV,
            Signal::STOP,
            Signal::HUP,
        ]);
        let fault = random.below(3) == 0;
        if let Some(pid) = pid.filter(|_| fault && vm.is_running()) {
            step("a fault");
            let _ = kill_process(pid, signal);
        }
        // A stopped QEMU is not asked twice: that takes its time, and is tried elsewhere.
        if fault && signal == Signal::STOP {
            step("killing");
            let _ = vm.kill();
            continue;
        }
        match random.below(6) {
            0 => {
                step("a shutdown");
                let _ = vm.shutdown();
            }
            1 => {
                step("killing");
                let _ = vm.kill();
            }
            2 => std::mem::forget(vm),
            3 => panic!("a test panics"),
            _ => step("dropping"),
        }
    }
    step("the end of a test");
}
