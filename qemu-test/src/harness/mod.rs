//! Running a test: launch its machines, run its body within its time, end the machines, judge, report.
//!
//! A test is a [`Context`](context::Context) that lives for as long as the test and is found by what the test's
//! threads do: a machine launched by hand in a test belongs to it. A machine that is launched outside any test
//! belongs to itself.

mod alone;
mod clock;
mod context;
mod entry;
mod home;
mod interrupted;
mod outcome;
mod run;
mod setup;
mod timer;
mod verdict;

pub(crate) use entry::{launch_fixture, test_fixture};
pub use run::Test;
pub use setup::Setup;
