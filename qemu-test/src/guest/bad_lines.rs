//! The lines that no sound guest says: what kernels, firmware and init systems print when something is wrong with
//! themselves.
//!
//! The words are those of the programs' own sources: Linux (`kernel/panic.c`, `kernel/watchdog.c`, `kernel/rcu`,
//! `mm/oom_kill.c`, `lib/ubsan.c`, `mm/kasan`), Xen's `panic`, edk2's exception handlers, systemd's and dracut's
//! emergency shells, and the run-time of the compilers' sanitizers.

use std::sync::OnceLock;

use regex::{Regex, RegexSet};

/// How bad a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// Something went wrong in the guest, which goes on: the test fails at its end.
    Flaw,
    /// The guest stands still until a person helps it: every wait ends.
    Stop,
    /// The guest is dead: every wait ends.
    Panic,
}

/// A phrase, with what it shows. `^` stands for the beginning of a message: that of the line, or what follows a
/// kernel's time stamp or a shell's prompt. A phrase that is in the middle of other text is somebody's talk about it.
struct Phrase {
    severity: Severity,
    what: &'static str,
    pattern: &'static str,
}

const fn phrase(severity: Severity, what: &'static str, pattern: &'static str) -> Phrase {
    Phrase {
        severity,
        what,
        pattern,
    }
}

#[rustfmt::skip]
const PHRASES: &[Phrase] = &[
    phrase(Severity::Panic, "kernel panic", r"Kernel panic - not syncing"),
    phrase(Severity::Panic, "kernel panic", r"^Kernel panic\b"),
    phrase(Severity::Panic, "panic of Xen", r"^Panic on CPU \d+:"),
    phrase(Severity::Panic, "exception in the firmware", r"^!!!! \S+ Exception Type"),
    phrase(Severity::Stop, "emergency mode", r"^(?:You are in|Entering|Welcome to) (?:the )?emergency (?:mode|shell)"),
    phrase(Severity::Stop, "emergency mode", r"^Cannot open access to console, the root account is locked"),
    phrase(Severity::Flaw, "kernel oops", r"^(?:Oops(?::|\[#)|Internal error: )"),
    phrase(Severity::Flaw, "kernel oops", r"^(?:general protection fault, |Unable to handle kernel )"),
    phrase(Severity::Flaw, "kernel bug", r"^kernel BUG at "),
    phrase(Severity::Flaw, "lockup", r"^(?:NMI )?watchdog: (?:BUG: |CPU ?\d+: )?.*(?:soft lockup|hard LOCKUP)"),
    phrase(Severity::Flaw, "lockup", r"^BUG: (?:soft lockup|workqueue lockup)"),
    phrase(Severity::Flaw, "RCU stall", r"^rcu: .*(?:detected (?:expedited )?stalls|self-detected stall)"),
    phrase(Severity::Flaw, "RCU stall", r"^INFO: rcu\S* .*detected (?:expedited )?stall"),
    phrase(Severity::Flaw, "hung task", r"^INFO: task .{1,80} blocked (?:for more than|in I/O wait for more than) \d+ seconds"),
    phrase(Severity::Flaw, "sanitizer report", r"^(?:BUG: )?K(?:ASAN|CSAN|MSAN|FENCE): "),
    phrase(Severity::Flaw, "sanitizer report", r"^UBSAN: "),
    phrase(Severity::Flaw, "sanitizer report", r"(?:ERROR|WARNING): (?:Address|HWAddress|Leak|Memory|Thread)Sanitizer: "),
    phrase(Severity::Flaw, "sanitizer report", r"^\S+:\d+:\d+: runtime error: "),
    phrase(Severity::Flaw, "kernel bug", r"^BUG: "),
    phrase(Severity::Flaw, "out of memory", r"^(?:Memory cgroup out|Out) of memory(?: \([^)]*\))?: Kill"),
    phrase(Severity::Flaw, "out of memory", r"^\S+ invoked oom-killer: "),
];

/// One of these is in each line that a phrase can match: the search for them is what an ordinary line costs.
const WORDS: &str = "anic|Exception|mergency|Cannot open|Oops|Internal error|general prot|Unable to|BUG|ockup|\
                     LOCKUP|rcu|INFO: task|KASAN|KCSAN|KMSAN|KFENCE|UBSAN|Sanitizer|runtime error|of memory|oom-killer";

/// The beginning of a message: the line's, or what follows `[   12.345678] ` or a prompt.
const BEGINNING: &str = r"(?:^|[\]$#>] |^<\d>)\s*(?:\[\s*[TC]\d+\] )?";

struct Compiled {
    words: Regex,
    phrases: RegexSet,
}

fn compiled() -> &'static Compiled {
    static COMPILED: OnceLock<Compiled> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let patterns = PHRASES
            .iter()
            .map(|phrase| match phrase.pattern.strip_prefix('^') {
                Some(rest) => format!("{BEGINNING}{rest}"),
                None => phrase.pattern.to_owned(),
            });
        Compiled {
            words: Regex::new(WORDS).expect("a list of words"),
            phrases: RegexSet::new(patterns).expect("each phrase is a regular expression"),
        }
    })
}

/// What is wrong with `line`, if it is bad: the first phrase of the list that it matches.
pub(super) fn look(line: &str) -> Option<(Severity, &'static str)> {
    let compiled = compiled();
    if !compiled.words.is_match(line) {
        return None;
    }
    let first = compiled.phrases.matches(line).into_iter().next()?;
    // The kernel's last word on a panic, which it repeats.
    if line.contains("---[ end Kernel panic") {
        return None;
    }
    Some((PHRASES[first].severity, PHRASES[first].what))
}

/// Whether the guest has said all that it will say of its panic.
pub(super) fn is_last_word(line: &str) -> bool {
    line.contains("---[ end Kernel panic") || line.contains("Rebooting in ")
}

/// Which lines a test allows, as its builder has it: a regular expression that may be none.
#[derive(Clone, Debug)]
pub(crate) struct AllowedLine(Result<Regex, String>);

impl AllowedLine {
    pub(crate) fn new<L: TryInto<Regex, Error: std::fmt::Display>>(line: L) -> Self {
        Self(line.try_into().map_err(|error| error.to_string()))
    }

    /// The regular expression, or what is wrong with it.
    pub(crate) fn regex(&self) -> Result<Regex, String> {
        self.0
            .clone()
            .map_err(|error| format!("`allow_console_line` takes a regular expression: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sick_guest_says_is_found() {
        for (line, severity, what) in [
            (
                "[    9.9] Kernel panic - not syncing: sysrq triggered crash",
                Severity::Panic,
                "kernel panic",
            ),
            (
                "~ # Kernel panic - not syncing: VFS: Unable to mount root fs",
                Severity::Panic,
                "kernel panic",
            ),
            (
                "loading..Kernel panic - not syncing: x",
                Severity::Panic,
                "kernel panic",
            ),
            ("Panic on CPU 0:", Severity::Panic, "panic of Xen"),
            (
                "!!!! X64 Exception Type - 0E(#PF - Page-Fault)  CPU Apic ID - 00000000 !!!!",
                Severity::Panic,
                "exception in the firmware",
            ),
            (
                "You are in emergency mode. After logging in, type",
                Severity::Stop,
                "emergency mode",
            ),
            (
                "[    3.1] BUG: kernel NULL pointer dereference, address: 0000000000000000",
                Severity::Flaw,
                "kernel bug",
            ),
            (
                "[    3.1] Oops: 0002 [#1] PREEMPT SMP NOPTI",
                Severity::Flaw,
                "kernel oops",
            ),
            (
                "[    3.1] Internal error: Oops: 96000004 [#1] SMP",
                Severity::Flaw,
                "kernel oops",
            ),
            (
                "[    3.1] Unable to handle kernel NULL pointer dereference at virtual address 0",
                Severity::Flaw,
                "kernel oops",
            ),
            (
                "[    3.1][  T123] general protection fault, probably for non-canonical address",
                Severity::Flaw,
                "kernel oops",
            ),
            (
                "[    3.1] [  T123] kernel BUG at mm/slub.c:1!",
                Severity::Flaw,
                "kernel bug",
            ),
            (
                "[   44.0] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:1]",
                Severity::Flaw,
                "lockup",
            ),
            (
                "[   44.0] NMI watchdog: Watchdog detected hard LOCKUP on cpu 0",
                Severity::Flaw,
                "lockup",
            ),
            (
                "[   60.0] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
                Severity::Flaw,
                "RCU stall",
            ),
            (
                "[   60.0] rcu: INFO: rcu_sched self-detected stall on CPU",
                Severity::Flaw,
                "RCU stall",
            ),
            (
                "[  242.0] INFO: task dd:77 blocked for more than 120 seconds.",
                Severity::Flaw,
                "hung task",
            ),
            (
                "[    5.0] BUG: KASAN: slab-out-of-bounds in f+0x1/0x2",
                Severity::Flaw,
                "sanitizer report",
            ),
            (
                "[    5.0] UBSAN: shift-out-of-bounds in lib/x.c:1:2",
                Severity::Flaw,
                "sanitizer report",
            ),
            (
                "==42==ERROR: AddressSanitizer: heap-use-after-free on address 0x1",
                Severity::Flaw,
                "sanitizer report",
            ),
            (
                "src/a.c:12:3: runtime error: signed integer overflow",
                Severity::Flaw,
                "sanitizer report",
            ),
            (
                "[    8.0] Out of memory: Killed process 99 (tail) total-vm:1kB",
                Severity::Flaw,
                "out of memory",
            ),
            (
                "[    8.0] Memory cgroup out of memory: Killed process 99 (tail)",
                Severity::Flaw,
                "out of memory",
            ),
            (
                "[    8.0] tail invoked oom-killer: gfp_mask=0x1",
                Severity::Flaw,
                "out of memory",
            ),
            (
                "<0>[    1.0] Kernel panic - not syncing: Attempted to kill init!",
                Severity::Panic,
                "kernel panic",
            ),
        ] {
            assert_eq!(look(line), Some((severity, what)), "{line}");
        }
    }

    #[test]
    fn talk_about_it_is_no_sign_of_it() {
        for line in [
            "",
            "~ # grep -c 'Oops: ' /var/log/messages",
            "~ # echo no BUG: here",
            "[    0.0] Kernel command line: console=ttyS0 panic=-1 oops=panic",
            "[    0.5] rcu: Hierarchical RCU implementation.",
            "[    0.1] Debug: Oops handler registered",
            "[    1.0] systemd[1]: Reached target Emergency Mode.",
            "[    9.9] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---",
            "traps: a.out[77] general protection fault ip:401 sp:7ff error:0",
            "[    0.2] Running RCU self tests",
            "DEBUG: nothing",
        ] {
            assert_eq!(look(line), None, "{line}");
        }
    }

    #[test]
    fn each_phrase_has_one_of_the_words() {
        // The lines above pass both searches; this is for a phrase that somebody adds without a word.
        let words: Vec<&str> = WORDS.split('|').collect();
        for phrase in PHRASES {
            let plain = phrase
                .pattern
                .replace("K(?:ASAN", "KASAN")
                .replace(['(', ')', '?', ':'], " ");
            assert!(
                words
                    .iter()
                    .any(|word| plain.contains(word) || phrase.pattern.contains(word)),
                "{}",
                phrase.pattern
            );
        }
    }

    #[test]
    fn what_is_no_regular_expression_is_refused_with_the_reason() {
        assert!(AllowedLine::new("Oops").regex().is_ok());
        assert!(AllowedLine::new(Regex::new("Oops").unwrap()).regex().is_ok());
        let error = AllowedLine::new("Oops: (").regex().unwrap_err();
        assert!(
            error.contains("allow_console_line") && error.contains("unclosed group"),
            "{error}"
        );
    }
}
