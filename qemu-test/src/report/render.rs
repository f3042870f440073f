//! The report as text. A person reads it from the top and stops when the cause is clear.

use std::fmt::Write as _;
use std::path::Path;

use crate::command_line::shell_quoted;

use super::text::{harmless, last_lines, shortened};
use super::{MachineReport, Report};

/// How much of the log is shown; the file has the rest.
const LOG_LINES: usize = 25;
const WIDTH: usize = 400;

/// The last line of a report.
pub(super) const END: &str = "────\n";

/// Renders `report`, whose files are in `run`.
pub(super) fn render(report: &Report, run: &Path) -> String {
    let mut out = format!(
        "\n──── qemu-test ──── `{}` {}\n",
        report.test,
        harmless(&as_predicate(&report.cause))
    );
    for trouble in &report.troubles {
        let _ = writeln!(out, "  also: {}", harmless(trouble));
    }
    for line in harmless(&report.detail).lines() {
        let _ = writeln!(out, "  {}", shortened(line, WIDTH));
    }
    for machine in &report.machines {
        render_machine(&mut out, machine);
    }
    let _ = writeln!(out, "  files  {}", harmless(&shell_quoted(run.as_os_str())));
    out.push_str(END);
    out
}

/// One machine's part, for an error that tells of a machine of which nobody else does.
pub(crate) fn machine(machine: &MachineReport) -> String {
    let mut out = String::new();
    render_machine(&mut out, machine);
    out
}

/// The cause behind the test's name: "panicked: …" follows as it is, an error's message behind a colon.
fn as_predicate(cause: &str) -> String {
    const PREDICATES: &[&str] = &["panicked", "timed out after ", "did not", "was "];
    if PREDICATES.iter().any(|predicate| cause.starts_with(predicate)) {
        cause.to_owned()
    } else {
        format!("failed: {cause}")
    }
}

fn render_machine(out: &mut String, machine: &MachineReport) {
    let _ = writeln!(
        out,
        "  machine `{}`  {}",
        harmless(&machine.name),
        harmless(&machine.standing)
    );
    if let Some(verdict) = &machine.verdict {
        let _ = writeln!(out, "    seen     {}", harmless(verdict));
    }
    if let Some(end) = &machine.end {
        let _ = writeln!(out, "    then     {}", harmless(end));
    }
    for note in &machine.notes {
        let _ = writeln!(out, "    from     {}", harmless(note));
    }
    if let Some(hint) = &machine.hint {
        let _ = writeln!(out, "    hint     {}", harmless(hint));
    }
    if let Some(accel) = &machine.accel {
        let _ = writeln!(out, "    accel    {}", harmless(accel));
    }
    // There is none where the launch did not come that far.
    if !machine.command_line.is_empty() {
        let _ = writeln!(
            out,
            "    command  {}",
            harmless(&machine.command_line.to_string())
        );
    }
    if let Some(script) = &machine.script {
        let script = shell_quoted(script.as_os_str());
        let _ = writeln!(out, "    again    sh {}", harmless(&script));
    }
    if let Some(screen) = &machine.screen {
        let _ = writeln!(
            out,
            "    screen   {}",
            harmless(&shell_quoted(screen.as_os_str()))
        );
    }
    if let Some(threads) = &machine.threads {
        block(out, "QEMU's threads", threads, usize::MAX);
    }
    for file in &machine.incomplete {
        let _ = writeln!(out, "    missing  the rest of {}", harmless(file));
    }
    for (what, words) in &machine.guest {
        block(out, &harmless(what), words, usize::MAX);
    }
    if !machine.exchanges.is_empty() {
        block(out, "last QMP exchanges", &machine.exchanges, usize::MAX);
    }
    for (heading, tail) in &machine.consoles {
        let last = |text: &str| text.trim_end().lines().next_back().map(str::to_owned);
        let quoted = machine.guest.iter().any(|(_, words)| last(words) == last(tail));
        if quoted && !tail.trim().is_empty() {
            let _ = writeln!(out, "    {heading}: ends with the guest's words above");
        } else {
            block(out, heading, tail, usize::MAX);
        }
    }
    block(out, "QEMU log", &machine.log, LOG_LINES);
}

/// A heading with the end of `text` below it, or a word that there is none: that nothing came is a finding, too.
fn block(out: &mut String, heading: &str, text: &str, most: usize) {
    let text = harmless(text);
    let (lines, all) = last_lines(&text, most, WIDTH);
    if lines.is_empty() {
        let _ = writeln!(out, "    {heading}: empty");
        return;
    }
    if lines.len() < all {
        let _ = writeln!(out, "    {heading} (last {} of {all} lines)", lines.len());
    } else {
        let _ = writeln!(out, "    {heading}");
    }
    for line in lines {
        let _ = writeln!(out, "      {}", shortened(&line, WIDTH));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CommandLine;

    fn machine() -> MachineReport {
        MachineReport {
            name: "vm".into(),
            standing: "paused".into(),
            verdict: Some("the guest has been silent for 9 s".into()),
            threads: None,
            screen: Some("/d/vm/screen.png".into()),
            end: Some("exited with status 0 (quit: 4 ms)".into()),
            accel: Some("tcg: `accel = tcg`".into()),
            notes: vec!["a copy".into()],
            command_line: CommandLine::new(vec!["qemu".into(), "-S".into()]),
            exchanges: "12:00:00.000 -> {}\n".into(),
            consoles: vec![("console".into(), String::new())],
            guest: vec![(
                "the guest panicked: x".into(),
                "Kernel panic: x\nCall Trace:".into(),
            )],
            log: (1..=30).map(|n| format!("line {n}\x1b[0m\n")).collect(),
            hint: None,
            incomplete: vec!["qmp.log: no space".into()],
            dir: "/d/vm".into(),
            script: Some("/d/vm/command.sh".into()),
        }
    }

    fn report(cause: &str) -> Report {
        Report {
            test: "m::t".into(),
            cause: cause.into(),
            troubles: vec!["x".into()],
            detail: "more".into(),
            machines: vec![machine()],
        }
    }

    #[test]
    fn the_first_line_has_the_test_and_the_cause() {
        let first = |cause| {
            render(&report(cause), Path::new("/d"))
                .lines()
                .nth(1)
                .unwrap()
                .to_owned()
        };
        assert_eq!(first("panicked: no"), "──── qemu-test ──── `m::t` panicked: no");
        assert_eq!(
            first("QEMU exited"),
            "──── qemu-test ──── `m::t` failed: QEMU exited"
        );
    }

    #[test]
    fn a_machine_is_told_with_all_that_is_known_and_nothing_that_a_terminal_obeys() {
        let text = render(&report("panicked: no"), Path::new("/d"));
        for part in [
            "  also: x\n  more\n",
            "  machine `vm`  paused\n    seen     the guest has been silent for 9 s\n    then     exited with status 0 (quit: 4 ms)\n    from     a copy\n",
            "    accel    tcg: `accel = tcg`\n    command  qemu -S\n    again    sh /d/vm/command.sh\n",
            "    screen   /d/vm/screen.png\n",
            "    the guest panicked: x\n      Kernel panic: x\n      Call Trace:\n",
            "    missing  the rest of qmp.log: no space\n",
            "    last QMP exchanges\n      12:00:00.000 -> {}\n",
            "    console: empty\n",
            "    QEMU log (last 25 of 30 lines)\n      line 6",
            "  files  /d\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains('\x1b'));
    }
}
