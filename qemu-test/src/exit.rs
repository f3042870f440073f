//! How a process ended, in words.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// `exited with status 1`, `was killed by signal SIGSEGV (core dumped)`.
pub(crate) fn describe(status: ExitStatus) -> String {
    let core = if status.core_dumped() {
        " (core dumped)"
    } else {
        ""
    };
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {}{core}", signal_name(signal)),
        (None, None) => format!("ended with wait status {:#x}", status.into_raw()),
    }
}

/// `SIGKILL`, or the number where there is no name, as for real-time signals.
pub(crate) fn signal_name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map_or_else(|| signal.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_end_has_its_words() {
        let words = |raw| describe(ExitStatus::from_raw(raw));
        assert_eq!(words(0), "exited with status 0");
        assert_eq!(words(0x100), "exited with status 1");
        assert_eq!(words(9), "was killed by signal SIGKILL");
        assert_eq!(words(6 | 0x80), "was killed by signal SIGABRT (core dumped)");
        assert_eq!(words(40), "was killed by signal 40");
    }
}
