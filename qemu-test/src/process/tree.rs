//! The processes of a tree as `/proc` shows them: for naming what should not be there any more.

use std::collections::{HashMap, HashSet};
use std::fmt;

use rustix::process::Pid;

/// How much of a command line names a process.
const COMMAND_LIMIT: usize = 200;

/// A process that outlived the program it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Survivor {
    pub(crate) pid: Pid,
    /// Its command line, shortened; its name in brackets where it has none.
    pub(crate) command: String,
}

impl fmt::Display for Survivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} (`{}`)", self.pid, self.command)
    }
}

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stat {
    name: String,
    state: char,
    parent: i32,
    threads: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&String::from_utf8_lossy(
            &std::fs::read(format!("/proc/{pid}/stat")).ok()?,
        ))
    }

    /// `PID (NAME) STATE PPID ...`, where NAME may hold blanks and parentheses.
    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let mut fields = after.split_ascii_whitespace();
        Some(Self {
            name: name.to_owned(),
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            // Fields are numbered from 1 in proc_pid_stat(5); the parent was the fourth, this is the twentieth.
            threads: fields.nth(15)?.parse().ok()?,
        })
    }

    /// Whether it has ended and only waits for its parent to take notice. A process whose main thread has ended is in
    /// the same state, and does whatever its other threads do.
    fn is_over(&self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }
}

/// The living processes below `root`, which itself is not among them.
pub(super) fn descendants(root: Pid) -> Vec<Survivor> {
    let processes = processes();
    let mut found = HashSet::from([root.as_raw_pid()]);
    // Ids do not tell who came first, so look until nothing is added.
    loop {
        let before = found.len();
        for (&pid, stat) in &processes {
            if found.contains(&stat.parent) {
                found.insert(pid);
            }
        }
        if found.len() == before {
            break;
        }
    }
    found.remove(&root.as_raw_pid());
    let mut survivors: Vec<Survivor> = found
        .into_iter()
        .filter(|pid| processes.get(pid).is_some_and(|stat| !stat.is_over()))
        .filter_map(|pid| {
            Some(Survivor {
                pid: Pid::from_raw(pid)?,
                command: command(pid, &processes[&pid].name),
            })
        })
        .collect();
    survivors.sort_by_key(|survivor| survivor.pid.as_raw_pid());
    survivors
}

/// Whether `pid` is now a process below `root`.
pub(super) fn is_descendant(pid: Pid, root: Pid) -> bool {
    let mut pid = pid.as_raw_pid();
    // The limit is against a chain that changes while it is read.
    for _ in 0..1000 {
        match Stat::read(pid) {
            Some(stat) if stat.parent == root.as_raw_pid() => return true,
            Some(stat) if stat.parent > 1 => pid = stat.parent,
            _ => return false,
        }
    }
    false
}

fn processes() -> HashMap<i32, Stat> {
    let Ok(folders) = std::fs::read_dir("/proc") else {
        return HashMap::new();
    };
    folders
        .flatten()
        .filter_map(|folder| folder.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Stat::read(pid)?)))
        .collect()
}

fn command(pid: i32, name: &str) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line: Vec<&[u8]> = line.split(|&byte| byte == 0).collect();
    let line = String::from_utf8_lossy(&line.join(&b' ')).trim().to_owned();
    if line.is_empty() {
        return format!("[{name}]");
    }
    match line.char_indices().nth(COMMAND_LIMIT) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_name_may_hold_anything() {
        let text = "7 (a) R (b) S 3 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 2 0 100 200";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(
            stat,
            Stat {
                name: "a) R (b".into(),
                state: 'S',
                parent: 3,
                threads: 2
            }
        );
    }

    #[test]
    fn a_zombie_with_living_threads_is_not_over() {
        let stat = |state, threads| Stat {
            name: String::new(),
            state,
            parent: 1,
            threads,
        };
        assert!(stat('Z', 1).is_over());
        assert!(!stat('Z', 2).is_over());
        assert!(!stat('D', 1).is_over());
    }

    #[test]
    fn a_grandchild_is_found_with_its_command_line() {
        let mut child = Command::new("sh")
            .args(["-c", "sleep 61 & wait"])
            .spawn()
            .unwrap();
        let root = rustix::process::getpid();
        let is_sleep = |survivor: &Survivor| survivor.command == "sleep 61";
        let found = loop {
            let all = descendants(root);
            if let Some(found) = all.into_iter().find(is_sleep) {
                break found;
            }
            std::thread::yield_now();
        };
        assert!(is_descendant(found.pid, root));
        assert!(is_descendant(found.pid, Pid::from_child(&child)));
        assert!(!is_descendant(root, found.pid));
        rustix::process::kill_process(found.pid, rustix::process::Signal::KILL).unwrap();
        child.wait().unwrap();
        assert!(!descendants(root).iter().any(is_sleep));
    }
}
