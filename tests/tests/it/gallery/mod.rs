//! `docs/reports.md`: the reports of real failures. Each case is run, and what it says now must have the form of what
//! the page shows. The page is written by
//!
//! ```sh
//! cargo test -p qemu-test-tests --test it -- --ignored --exact gallery::write
//! ```

mod cases;

use std::path::{Path, PathBuf};

use crate::report::Failure;

const SOURCE: &str = include_str!("cases.rs");

/// One failing test: what it shows, what the page says of it, and how its first line begins.
struct Case {
    test: &'static str,
    title: &'static str,
    remark: &'static str,
    begins: &'static str,
}

const CASES: &[Case] = &[
    Case {
        test: "an_assertion_in_the_body",
        title: "An assertion in the body",
        remark: "The first line is the panic's own. Below it, the machine as it stood at that moment, before it was shut \
                 down: the guest waits at its prompt.",
        begins: "panicked: four processors were wanted",
    },
    Case {
        test: "a_kernel_panic",
        title: "A kernel panic",
        remark: "The wait ends when the guest dies, not at its limit. The body unwrapped the error; the report has the \
                 panic as the cause, with the lines that the kernel said.",
        begins: "failed: the guest panicked: Kernel panic - not syncing: sysrq triggered crash while waiting for",
    },
    Case {
        test: "a_triple_fault",
        title: "A triple fault",
        remark: "With `-no-reboot`, the reset ends QEMU with status 0. QEMU does not tell a triple fault from a reset \
                 that the guest asked for; that the guest said nothing of it does.",
        begins: "failed: the guest ended early: the guest reset itself without a word (as a triple fault does)",
    },
    Case {
        test: "a_loop_of_resets",
        title: "A loop of resets",
        remark: "Without `-no-reboot` the same guest would reset itself for ever. Three resets in a row, each within a \
                 minute of the one before and none with anything for the test in between, are a loop.",
        begins: "failed: the guest resets itself again and again, N times in a row without a word (as a triple fault does) while",
    },
    Case {
        test: "a_power_off_too_early",
        title: "A power-off that the test did not wait for",
        remark: "A body that waits for the end (`wait`, `wait_event(qmp!(SHUTDOWN))`) gets it. This one waits for \
                 something else.",
        begins: "failed: the guest ended early: the guest powered off while waiting for `login: `",
    },
    Case {
        test: "a_hang_in_a_loop",
        title: "A hang in a loop",
        remark: "The first line has what the body waited for, and what was seen at the limit: the processor runs, and is at the same address at two looks.",
        begins: "timed out after N s while waiting for `login: ` on the console (machine `vm`); the guest has been silent for N s, its CPU is busy at N",
    },
    Case {
        test: "a_hang_in_halt",
        title: "A hang in halt",
        remark: "The processor waits for an interrupt, and has turned interrupts off.",
        begins: "timed out after N s while waiting for `login: ` on the console (machine `vm`); the guest has been silent for N s, its CPU is halted for good",
    },
    Case {
        test: "a_timeout_of_a_guest_that_gets_on",
        title: "A timeout of a guest that gets on",
        remark: "Nothing hangs: the test waits for what does not come, or its limit is too short.",
        begins: "timed out after N s while waiting for `N` on the console (machine `vm`); the guest still talks",
    },
    Case {
        test: "a_crash_of_qemu",
        title: "A crash of QEMU",
        remark: "The signal, which the test sends here, and what the body was doing. An assertion that failed would have its \
                 words in QEMU's log.",
        begins: "failed: QEMU crashed: QEMU was killed by signal SIGABRT",
    },
    Case {
        test: "a_qemu_that_is_stopped",
        title: "A QEMU that does not answer",
        remark: "The monitor is asked nothing more once it has not answered; the threads of QEMU are looked at from \
                 outside. The shutdown says what it took.",
        begins: "failed: QEMU is stopped (state T): by SIGSTOP, or by a debugger",
    },
    Case {
        test: "a_bad_argument",
        title: "A bad argument",
        remark: "There is no machine, so that there is nothing to show but what QEMU said.",
        begins: "failed: machine `vm` did not launch: QEMU refused its arguments, and exited with status N: `qemu-system-xN",
    },
    Case {
        test: "a_bad_line_although_the_body_passes",
        title: "A guest that said a bad line",
        remark: "The body passed; the test did not. `allow_console_line` allows such a line.",
        begins: "failed: the guest said a bad line (kernel bug): BUG: bad page state in process init",
    },
];

/// What the case prints, with the paths of this machine shortened.
fn output(case: &Case) -> String {
    let failure = Failure::of_test(&format!("gallery::cases::{}", case.test));
    let text = failure.output();
    let start = text.find(" stdout ----\n").expect("libtest shows the output") + " stdout ----\n".len();
    let end = text[start..].find("\n────\n").expect("the report has an end") + start + "\n────".len();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut text = text[start..end].trim().to_owned();
    for (path, short) in [
        (failure.artifacts(), "target/qemu-test"),
        (Path::new(env!("CARGO_TARGET_TMPDIR")), "target/tmp"),
        (workspace, "."),
    ] {
        text = text.replace(path.to_str().unwrap(), short);
    }
    text.replace("./target/", "target/")
}

/// The report's first line behind the test's name.
fn cause(output: &str) -> &str {
    let line = output
        .lines()
        .find(|line| line.starts_with("──── qemu-test"))
        .expect("a report");
    line.splitn(3, '`').nth(2).expect("the test's name").trim()
}

/// What stays the same from run to run, beside how the cause begins: the headings.
fn form(output: &str) -> Vec<String> {
    let report = output.find("──── qemu-test").map_or("", |at| &output[at..]);
    let headings = report
        .lines()
        .filter(|line| line.starts_with("    ") && !line.starts_with("     "))
        .map(|line| line.trim().split("  ").next().unwrap_or_default())
        .map(|heading| heading.split(" (last ").next().unwrap_or_default())
        .map(numberless);
    headings.collect()
}

/// `text` with `N` for each number.
fn numberless(text: &str) -> String {
    let mut out = String::new();
    let mut number = false;
    for c in text.chars() {
        // A hexadecimal one, or one with a fraction, is one.
        let goes_on = number && (c.is_ascii_hexdigit() || c == 'x' || c == '.');
        if c.is_ascii_digit() || goes_on {
            if !number {
                out.push('N');
            }
            number = true;
        } else {
            number = false;
            out.push(c);
        }
    }
    out.replace("N ms", "N s")
}

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reports.md")
}

/// The source of a case, as a user would write it.
fn source(case: &Case) -> String {
    let name = format!("fn {}(", case.test);
    let at = SOURCE.find(&name).expect("the case is in the file");
    let start = SOURCE[..at].rfind("#[qemu_test").expect("its attribute");
    let end = SOURCE[at..].find("\n}\n").expect("its end") + at + 2;
    let lines = SOURCE[start..end]
        .lines()
        .filter(|line| !line.starts_with("#[ignore"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
#[ignore = "writes docs/reports.md"]
fn write() {
    let mut text = String::from(
        "# What a failing test says\n\n\
         The report comes after the panic message, or after the `Error:` line, in the test's own output, and is\n\
         `report.txt` among the test's files. Its first line says what kind of failure it is; what follows is for each\n\
         machine how it stood, what was seen of it, how it ended, how to start the same machine again, the guest's own\n\
         words, the last exchanges with its monitor, the end of its console and of QEMU's log. Beside these, the\n\
         machine's folder has `registers.txt`, the registers of all processors at two looks, `threads.txt`, QEMU's\n\
         threads, and `screen.png` where the machine has a display.\n\n\
         These are the reports of real machines, written down by a command that is in\n\
         `tests/tests/it/gallery/mod.rs`; only paths are shortened. A test compares their form with what the tests say\n\
         today.\n",
    );
    for case in CASES {
        let Case { title, remark, .. } = case;
        let (source, output) = (source(case), output(case));
        text.push_str(&format!(
            "\n## {title}\n\n{remark}\n\n```rust\n{source}\n```\n\n```text\n{output}\n```\n"
        ));
    }
    std::fs::create_dir_all(page().parent().unwrap()).unwrap();
    std::fs::write(page(), text).unwrap();
}

/// Runs a case, and compares it with what the page has of it.
fn check(test: &str) {
    let case = CASES.iter().find(|case| case.test == test).unwrap();
    let output = output(case);
    // How it goes on may be chance: what a guest that gets on does at the moment that it is looked at.
    let begins = |output: &str| numberless(cause(output)).starts_with(&numberless(case.begins));
    assert!(begins(&output), "another cause:\n{output}");
    let page = std::fs::read_to_string(page()).expect("docs/reports.md");
    let (_, section) = page
        .split_once(&format!("## {}\n", case.title))
        .expect("its section");
    let section = section.split("\n## ").next().unwrap_or_default();
    assert_eq!(
        form(section),
        form(&output),
        "the page is out of date: see gallery::write\n{output}"
    );
    assert!(begins(section), "the page has another cause");
    assert!(section.contains(&source(case)), "the page has another source");
}

macro_rules! checks {
    ($($case:ident)*) => {
        $(#[test]
        fn $case() {
            check(stringify!($case));
        })*

        #[test]
        fn every_case_is_checked_and_on_the_page() {
            let checked = [$(stringify!($case)),*];
            assert_eq!(checked.to_vec(), CASES.iter().map(|case| case.test).collect::<Vec<_>>());
            let page = std::fs::read_to_string(page()).expect("docs/reports.md");
            assert_eq!(page.matches("\n## ").count(), CASES.len());
            // Of the machine that wrote it, nothing is left.
            assert!(!page.contains(env!("CARGO_MANIFEST_DIR")) && !page.contains("/tmp/."));
        }
    };
}

checks! {
    an_assertion_in_the_body
    a_kernel_panic
    a_triple_fault
    a_loop_of_resets
    a_power_off_too_early
    a_hang_in_a_loop
    a_hang_in_halt
    a_timeout_of_a_guest_that_gets_on
    a_crash_of_qemu
    a_qemu_that_is_stopped
    a_bad_argument
    a_bad_line_although_the_body_passes
}
