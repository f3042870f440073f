//! The failure report: what a red test says. Collected while the machines live, rendered once, written to the
//! artifacts first and printed then.

mod machine;
mod render;
mod text;

use std::fs;
use std::panic::catch_unwind;

pub(crate) use machine::{Depth, MachineReport};
pub(crate) use render::machine as describe;

use crate::artifacts::RunDir;
use crate::error::Error;

/// The file that has the report.
const REPORT: &str = "report.txt";

/// The report of one test.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) test: String,
    /// One sentence, without the test's name.
    pub(crate) cause: String,
    /// What else went wrong, while cleaning up: never instead of the cause.
    pub(crate) troubles: Vec<String>,
    /// More about the cause, over several lines.
    pub(crate) detail: String,
    pub(crate) machines: Vec<MachineReport>,
}

/// Writes the report to the artifacts and prints it on this thread, where the test runner captures it.
pub(crate) fn publish(run: &RunDir, report: &Report) {
    print(&write(run, report));
}

/// The same for a process that ends right away: past the runner's capture, which would be lost with it.
pub(crate) fn publish_to_stderr(run: &RunDir, report: &Report) {
    let text = write(run, report);
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stderr(), rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => break,
        }
    }
}

/// Writes the report to the artifacts, and prints nothing yet.
pub(crate) fn save(run: &RunDir, report: &Report) {
    write(run, report);
}

/// Whether a report was written, because the test failed.
pub(crate) fn is_there(run: &RunDir) -> bool {
    run.path().join(REPORT).exists()
}

fn write(run: &RunDir, report: &Report) -> String {
    let mut text = render::render(report, run.path());
    if let Err(error) = fs::write(run.path().join(REPORT), &text) {
        // What is printed is all there is: it says so in its last line.
        let end = text.len() - render::END.len();
        text.insert_str(
            end,
            &format!("  report.txt is not among them, or not whole: {error}\n"),
        );
    }
    text
}

/// Notes in the artifacts how far the test is, for whoever reads the files of a run that was killed.
pub(crate) fn mark(run: &RunDir, state: &str) {
    let file = run.path().join("state");
    if let Err(error) = fs::write(&file, format!("{state}\n")) {
        log::warn!("cannot write {}: {error}", file.display());
    }
}

/// Says why a test ends before its body, the way libtest tells of an `Err`.
pub(crate) fn say_error(error: &Error) {
    print(&format!("Error: {}\n", error.first_line()));
}

#[expect(clippy::print_stderr, reason = "the one place where the library prints")]
fn print(text: &str) {
    // It panics where stderr cannot be written; and the thread may be panicking already, which would end the process.
    let _ = catch_unwind(|| eprint!("{text}"));
}
