//! QEMU's own threads as `/proc` shows them: what each does, for a QEMU that does not answer.

use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use rustix::process::Pid;

/// A report with more threads than this is about something else.
const MOST: usize = 32;

/// One thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    id: i64,
    name: String,
    /// As in `proc_pid_stat(5)`: R runs, S sleeps, D waits in the kernel, T is stopped, Z has ended.
    state: char,
    /// The function of the kernel in which it waits, where the kernel tells.
    place: String,
}

/// The threads of the process `pid`, the first one first.
pub(super) fn of(pid: Pid) -> Vec<Thread> {
    let folder = format!("/proc/{}/task", pid.as_raw_pid());
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut threads: Vec<Thread> = entries
        .flatten()
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read(entry.path().join("stat")).ok()?;
            let (name, state) = parse_stat(&String::from_utf8_lossy(&stat))?;
            let place = fs::read_to_string(entry.path().join("wchan")).unwrap_or_default();
            let place = place.trim();
            let place = if place == "0" { "" } else { place }.to_owned();
            Some(Thread {
                id,
                name,
                state,
                place,
            })
        })
        .collect();
    threads.sort_by_key(|thread| (thread.id != i64::from(pid.as_raw_pid()), thread.id));
    threads
}

/// Name and state from `TID (NAME) STATE …`, in which the name may hold anything.
fn parse_stat(text: &str) -> Option<(String, char)> {
    let (before, after) = text.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    Some((name.to_owned(), after.trim_start().chars().next()?))
}

/// One thread a line: id, state, what it waits in, name.
pub(super) fn table(threads: &[Thread]) -> String {
    let mut text = String::new();
    for thread in threads.iter().take(MOST) {
        let place = if thread.place.is_empty() {
            "-"
        } else {
            &thread.place
        };
        let _ = writeln!(
            text,
            "{:>8} {} {place:<28} {}",
            thread.id, thread.state, thread.name
        );
    }
    if threads.len() > MOST {
        let _ = writeln!(text, "({} more)", threads.len() - MOST);
    }
    text
}

/// What a QEMU does that does not answer: its first thread is the one that would.
pub(super) fn verdict(threads: &[Thread], pid: Pid) -> String {
    let main = threads
        .iter()
        .find(|thread| thread.id == i64::from(pid.as_raw_pid()));
    let Some(main) = main else {
        return "QEMU does not answer, and nothing is known of its threads".to_owned();
    };
    let place = match main.place.as_str() {
        "" => String::new(),
        place => format!(" (`{place}`)"),
    };
    match main.state {
        'T' | 't' => format!(
            "QEMU is stopped (state {}): by SIGSTOP, or by a debugger",
            main.state
        ),
        'D' => format!("QEMU hangs in the kernel (state D){place}"),
        'Z' | 'X' => "QEMU has ended, and some of its threads have not".to_owned(),
        'R' => "QEMU does not answer: its main loop is busy (state R)".to_owned(),
        state => {
            let stuck = threads.iter().find(|thread| thread.state == 'D');
            let stuck =
                stuck.map(|thread| format!("; its thread {} hangs in the kernel (state D)", thread.id));
            format!(
                "QEMU does not answer: its main loop waits (state {state}){place}{}",
                stuck.unwrap_or_default()
            )
        }
    }
}

/// The processor time that a thread had taken, or waited for in vain, at a moment: on a busy host the two together
/// tell what it wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time {
    wanted: u64,
    clock: u64,
}

impl Time {
    #[cfg(test)]
    pub(super) fn at(wanted: u64, per: u64) -> Self {
        // Tests tell the share of one period: from its beginning to its end.
        Self {
            wanted,
            clock: if wanted == 0 { 0 } else { per },
        }
    }

    /// Which share of the time since `before` it wanted.
    pub(super) fn share_since(self, before: Self) -> f64 {
        let passed = self.clock.saturating_sub(before.clock).max(1);
        self.wanted.saturating_sub(before.wanted) as f64 / passed as f64
    }
}

/// The time of the thread `thread` of `pid` by `/proc/PID/task/TID/schedstat`: nanoseconds on a processor, and
/// nanoseconds on its run queue (`Documentation/scheduler/sched-stats.rst` of Linux).
pub(super) fn time(pid: Pid, thread: i64) -> Option<Time> {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let path = format!("/proc/{}/task/{thread}/schedstat", pid.as_raw_pid());
    let text = fs::read_to_string(path).ok()?;
    let mut fields = text.split_ascii_whitespace().map(str::parse::<u64>);
    let (on_processor, waiting) = (fields.next()?.ok()?, fields.next()?.ok()?);
    let clock = START.get_or_init(Instant::now).elapsed().as_nanos();
    Some(Time {
        wanted: on_processor + waiting,
        clock: u64::try_from(clock).unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thread(id: i64, state: char, place: &str) -> Thread {
        Thread {
            id,
            name: "qemu (x)".into(),
            state,
            place: place.into(),
        }
    }

    #[test]
    fn the_threads_of_this_process_are_found_with_the_first_one_first() {
        let pid = rustix::process::getpid();
        let threads = of(pid);
        assert_eq!(threads[0].id, i64::from(pid.as_raw_pid()));
        // The thread of this test, at least, is there besides and runs.
        assert!(threads.len() > 1 && threads.iter().any(|thread| thread.state == 'R'));
        assert_eq!(table(&threads).lines().count(), threads.len().min(MOST + 1));
    }

    #[test]
    fn each_way_to_hang_has_its_words() {
        let pid = Pid::from_raw(7).unwrap();
        let verdict =
            |state, place| super::verdict(&[thread(7, state, place), thread(8, 'D', "io_schedule")], pid);
        assert!(verdict('T', "").starts_with("QEMU is stopped (state T)"));
        assert_eq!(
            verdict('D', "nfs_wait"),
            "QEMU hangs in the kernel (state D) (`nfs_wait`)"
        );
        assert!(verdict('R', "").contains("main loop is busy"));
        assert_eq!(
            verdict('S', "futex_do_wait"),
            "QEMU does not answer: its main loop waits (state S) (`futex_do_wait`); its thread 8 hangs in the kernel (state D)"
        );
        assert!(super::verdict(&[], pid).contains("nothing is known"));
    }

    #[test]
    fn a_thread_that_works_is_seen_to_want_time() {
        let pid = rustix::process::getpid();
        let this = i64::from(rustix::thread::gettid().as_raw_pid());
        let before = time(pid, this).unwrap();
        let began = Instant::now();
        while began.elapsed().as_millis() < 50 {
            std::hint::spin_loop();
        }
        let busy = time(pid, this).unwrap();
        assert!(busy.share_since(before) > 0.3, "{}", busy.share_since(before));
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(time(pid, this).unwrap().share_since(busy) < 0.3);
    }
}
