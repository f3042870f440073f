//! Test real things in real QEMU virtual machines as easily as writing `#[test]`.
//!
//! ```no_run
//! use std::time::Duration;
//! use qemu_test::{Machine, qemu_test, qmp};
//!
//! #[qemu_test(args = ["-machine", "q35", "-S"], wrapper = ["nice"])]
//! fn resumes(vm: &Machine) -> qemu_test::Result<()> {
//!     assert_eq!(vm.command(qmp!(query_status))?["status"], "prelaunch");
//!     vm.command(qmp!(blockdev_add { driver: "null-co", node_name: "disk0", size: 1 << 20 }))?;
//!     vm.command(qmp!(cont))?;
//!     vm.wait_event(qmp!(RESUME), Duration::from_secs(5))?;
//!     Ok(())
//! }
//! # fn main() {}
//! ```
//!
//! [`#[qemu_test]`](macro@qemu_test) launches the machine, hands it to the body, shuts it down whatever happens, and
//! sees that nothing of it is left. When the test fails, the report says why: how the machine stands, its command
//! line, the last exchanges with its monitor, the end of its console and of its log. `cargo test` and `cargo nextest
//! run` both run it as one ordinary test.
//!
//! # What a test can do
//!
//! - [`Machine::command`] drives QEMU over QMP, its monitor protocol. [`qmp!`](macro@qmp) writes its
//!   commands as Rust, and checks their names against QEMU's own schema at compile time. [`Machine::wait_event`] waits
//!   for what QEMU tells by itself.
//! - [`Machine::console`] talks to the guest over its serial port, [`Machine::console_named`] over others and over
//!   virtio; a [`Shell`](console::Shell) on one runs commands and copies files.
//! - [`Machine::screenshot`] and [`Machine::send_keys`] are its screen and its keyboard; [`Machine::powerdown`],
//!   [`Machine::reset`] and their like its buttons.
//! - [`MachineBuilder::share`] gives the guest a folder of the host's, and [`MachineBuilder::accel`] KVM where it works.
//! - [`Machine::qtest`] reads and writes ports and memory as a processor would, without a guest.
//! - [`fixture`] boots a guest once and gives every test a copy of its own, for the price of starting QEMU.
//! - [`MachineBuilder`] describes machines at run time; [`MachineBuilder::test`] is the attribute for one closure.
//! - [`qmp::Client`] speaks to a QEMU that somebody else started.
//!
//! # What makes a test fail
//!
//! A panic, an `Err`, the time limit (120 s unless `timeout` says otherwise); and, whatever the body said, a QEMU
//! that ended with a status other than 0, was killed by a signal that the library did not send, did not shut down, or
//! left a process behind, or whose guest panicked or said a line on its console that no sound guest says
//! ([`MachineBuilder::allow_console_line`]). A body that received the status from [`Machine::wait`] or
//! [`Machine::shutdown`] has judged it itself; [`MachineBuilder::expect_exit`] announces another end, and
//! [`MachineBuilder::expect_guest_panic`] a panic. A QEMU that is not installed is a failure, never a skip.
//!
//! # Errors
//!
//! Everything that can fail gives an [`Error`], whose text says what was being done, to which machine, for how long and,
//! when QEMU is gone, how it ended and what it logged last. `?` works on it, on [`std::io::Error`] and on
//! [`serde_json::Error`]; [`Error::other`] takes any other error, or a message.
//!
//! ```no_run
//! use qemu_test::{Error, Machine, qemu_test};
//!
//! #[qemu_test(args = ["-machine", "none"])]
//! fn tells_its_version(vm: &Machine) -> qemu_test::Result<()> {
//!     let version = vm.hmp("info version")?;
//!     std::fs::write(vm.dir().join("version"), &version)?;
//!     version.split('.').next().ok_or(Error::other("a version without a dot")).map(drop)
//! }
//! # fn main() {}
//! ```
//!
//! # Waits
//!
//! Every wait ends at once when QEMU does, and says how QEMU ended. Otherwise it ends by its limit.
//!
//! It ends at once, too, when the guest dies: with [`Error::Guest`] and the guest's own words. A guest is dead that
//! panics (the console says so, or a panic device), stands still in an emergency shell or because of its watchdog, or
//! resets itself three times in a row, each within a minute of the one before, while the test gets nothing of it. It is
//! also dead, to a wait for something else, when it powers off or resets with `-no-reboot`. What the test asked for is
//! no death: `quit`, `system_reset`, `system_powerdown`, a signal, an announced end. Nor is what the test waits for
//! ([`Machine::wait`], [`Machine::wait_event`]) or takes: with `-no-shutdown` or `-action panic=pause`, a test that
//! has taken `SHUTDOWN` or `GUEST_PANICKED` goes on with the QEMU that is left. A body that waits for nothing any more
//! is not disturbed by a power-off; a panic fails its test all the same.
//!
//! `QEMU_TEST_TIMEOUT_SCALE` multiplies every limit, for a slow machine or a slow wrapper such as valgrind; 0 lifts
//! them, under a debugger.
//!
//! # Files
//!
//! Each run of a test has a folder, `<target>/qemu-test/<package>/<binary>/<module>/<test>/<run>`, and in it one for
//! each machine: `command.sh` starts the same machine again by hand, `qemu.log`, `console.log` and `qmp.log` are
//! written as things happen. A run that passes removes its folder; one that fails adds `report.txt` and stays. Where a
//! machine still lived when its test failed, there are `registers.txt`, two looks at the registers of all processors,
//! `threads.txt`, QEMU's threads, and `screen.png` for a machine with a display. `docs/reports.md` in the repository
//! shows the reports of real failures.
//!
//! | variable | meaning |
//! |---|---|
//! | `QEMU_TEST_BINARY` | the QEMU program where a test names neither `arch` nor `binary` |
//! | `QEMU_TEST_BIN_DIR` | the folder in which programs are looked up first: a QEMU build tree |
//! | `QEMU_TEST_DIR` | the root of the files |
//! | `QEMU_TEST_KEEP=1` | keep the files of passing tests, too |
//! | `QEMU_TEST_SNAPSHOT_DIR`, `QEMU_TEST_SNAPSHOT_CAP` | where [booted guests](fixture) are kept, and how much disk they may take |
//! | `QEMU_TEST_TIMEOUT_SCALE` | the factor on every limit |
//! | `QEMU_TEST_SCHEMA` | at build time: what a newer or patched QEMU says of itself, for [`qmp!`](macro@qmp) |
//! | `QEMU_TEST_ACCEL` | what a test gets that names an [`Accel`]: `auto`, `kvm` or `tcg` |
//!
//! # Log
//!
//! The library prints nothing but the failure report. Everything else goes to the [`log`](https://docs.rs/log) crate.

#[cfg(not(target_os = "linux"))]
compile_error!("qemu-test works on Linux only: it needs pidfd, SCM_RIGHTS and PR_SET_CHILD_SUBREAPER");

mod accel;
mod artifacts;
mod command_line;
pub mod console;
mod deadline;
mod error;
mod evidence;
mod exit;
pub mod fixture;
mod guest;
mod harness;
mod images;
mod interrupt;
mod locate;
mod machine;
mod process;
pub mod qmp;
pub mod qtest;
mod report;
mod snapshot;
mod stream;
#[cfg(test)]
mod testing;

pub use accel::Accel;
pub use command_line::CommandLine;
pub use error::{Disconnected, Error, Exited, GuestError, LaunchError, Result, TimeoutError};
pub use machine::{ExpectedExit, Machine, MachineBuilder, Monitor};
#[doc(inline)]
pub use qemu_test_macros::qemu_test;
/// The same attribute as [`macro@qemu_test`], for those who prefer `#[qemu_test::test]`.
#[doc(no_inline)]
pub use qemu_test_macros::qemu_test as test;
pub use qmp::QmpError;
pub use {regex, serde_json};

/// What the macros expand to. Not for use by hand: it changes with them.
#[doc(hidden)]
pub mod __private {
    pub use crate::accel::Accel;
    pub use crate::fixture::register as register_default_fixture;
    pub use crate::harness::{Setup, Test};
    pub use crate::qmp::macro_support::{Array, NULL, Object, command};
    pub use {ctor, qemu_test_macros::qmp};
}

/// Compiles the examples of the attribute, whose own crate does not know this one.
#[cfg(doctest)]
#[doc = include_str!("../../qemu-test-macros/src/attribute/qemu_test.md")]
struct AttributeExamples;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadmeExamples;
