//! The driver: starts storms, ends them, and counts.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, wait};

use super::random::Random;
use super::storm::HUNG;

/// How soon after a storm everything of it must be gone.
const SECOND: Duration = Duration::from_secs(1);

/// How long a storm may take to end when it is told to.
const END: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Counts {
    storms: u64,
    kills: u64,
    processes: u64,
    survivors: u64,
    hangs: u64,
    files: u64,
    slowest: Duration,
}

#[expect(clippy::print_stdout, reason = "a program that is called by hand")]
pub(crate) fn run(minutes: f64, seed: Option<u64>) -> ExitCode {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let seed = seed.unwrap_or(now.subsec_nanos().into());
    println!("seed {seed}: {minutes} minutes of launches, faults and kills");
    // All orphans come to this process, so that none can hide from it.
    let myself = rustix::process::getpid();
    if let Err(error) = rustix::process::set_child_subreaper(Some(myself)) {
        println!("cannot become a subreaper: {error}");
        return ExitCode::FAILURE;
    }
    let mut random = Random::new(seed);
    let mut counts = Counts::default();
    let began = Instant::now();
    let mut told = Instant::now();
    while began.elapsed().as_secs_f64() < minutes * 60.0 {
        if let Err(error) = round(myself, &mut random, &mut counts) {
            println!("storm {}: {error}", counts.storms);
            return ExitCode::FAILURE;
        }
        if told.elapsed() > Duration::from_secs(60) {
            told = Instant::now();
            println!("{}", counts.line());
        }
    }
    println!("{}: done, seed {seed}", counts.line());
    if counts.survivors + counts.hangs + counts.files == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

impl Counts {
    fn line(&self) -> String {
        format!(
            "{} storms, {} of them killed, {} processes seen at their ends; {} survivors, {} hangs, {} files left; \
             gone after {:?} at most",
            self.storms, self.kills, self.processes, self.survivors, self.hangs, self.files, self.slowest
        )
    }
}

#[expect(clippy::print_stdout, reason = "a program that is called by hand")]
fn round(myself: Pid, random: &mut Random, counts: &mut Counts) -> io::Result<()> {
    let folder = tempfile::Builder::new().prefix("soak-").tempdir_in("/tmp")?;
    let temporary = folder.path().join("tmp");
    fs::create_dir(&temporary)?;
    let seed = random.next();
    let mut storm = Command::new(std::env::current_exe()?)
        .args(["storm", &seed.to_string()])
        .env("TMPDIR", &temporary)
        .env("QEMU_TEST_DIR", folder.path().join("artifacts"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.path().join("said"))?)
        .spawn()?;
    counts.storms += 1;
    let pidfd = pidfd_open(Pid::from_child(&storm), PidfdFlags::empty())?;
    let moment = Duration::from_millis(random.below(2_000));
    let way = random.below(5);
    let ended_itself = ended_by(&pidfd, Instant::now() + moment)?;
    counts.processes += below(myself).len() as u64 - 1;
    let signal = [Signal::KILL, Signal::KILL, Signal::TERM, Signal::INT].get(way as usize);
    match signal {
        Some(signal) => {
            counts.kills += 1;
            // It may have hung and ended; its status says so below.
            let _ = kill_process(Pid::from_child(&storm), *signal);
        }
        None => drop(storm.stdin.take()),
    }
    let what = || {
        format!(
            "storm {} of seed {seed}, ended by {signal:?} after {moment:?}",
            counts.storms
        )
    };
    if !ended_by(&pidfd, Instant::now() + END)? {
        println!("hang: {}", what());
        counts.hangs += 1;
        storm.kill()?;
    }
    drop(storm.stdin.take());
    let status = storm.wait()?;
    if ended_itself || status.code() == Some(HUNG.into()) {
        let said = fs::read_to_string(folder.path().join("said")).unwrap_or_default();
        println!(
            "hang: {}: {status}: {}",
            what(),
            said.lines().last().unwrap_or_default()
        );
        counts.hangs += 1;
    }
    gone(myself, counts, seed)?;
    left(&temporary, counts, seed);
    Ok(())
}

/// Waits a second for the end of everything, and kills and counts what is left.
#[expect(clippy::print_stdout, reason = "a program that is called by hand")]
fn gone(myself: Pid, counts: &mut Counts, seed: u64) -> io::Result<()> {
    let began = Instant::now();
    let limit = began + SECOND;
    loop {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let left = below(myself);
        if left.is_empty() {
            break;
        }
        for (pid, command) in left {
            let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else {
                continue;
            };
            if !ended_by(&pidfd, limit)? {
                println!("survivor of seed {seed}: {pid} `{command}`");
                counts.survivors += 1;
                let _ = kill_process(pid, Signal::KILL);
                ended_by(&pidfd, Instant::now() + END)?;
            }
        }
    }
    counts.slowest = counts.slowest.max(began.elapsed());
    Ok(())
}

#[expect(clippy::print_stdout, reason = "a program that is called by hand")]
fn left(folder: &Path, counts: &mut Counts, seed: u64) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        println!("left by seed {seed}: {}", entry.path().display());
        counts.files += 1;
    }
}

fn ended_by(pidfd: &OwnedFd, limit: Instant) -> io::Result<bool> {
    let left = limit.saturating_duration_since(Instant::now());
    let left = left.try_into().map_err(io::Error::other)?;
    let mut polled = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    Ok(rustix::io::retry_on_intr(|| poll(&mut polled, Some(&left)))? == 1)
}

/// All processes below one, with their command lines.
fn below(root: Pid) -> Vec<(Pid, String)> {
    let parent = |pid: i32| -> Option<i32> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let stat = String::from_utf8_lossy(&stat);
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let parents: HashMap<i32, i32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let descends = |mut pid: i32| {
        while let Some(parent) = parents.get(&pid) {
            if *parent == root.as_raw_pid() {
                return true;
            }
            pid = *parent;
        }
        false
    };
    let command = |pid: i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    };
    parents
        .keys()
        .filter(|pid| descends(**pid))
        .filter_map(|pid| Some((Pid::from_raw(*pid)?, command(*pid))))
        .collect()
}
