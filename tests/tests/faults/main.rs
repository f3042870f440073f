//! What breaks around a machine: QEMUs that hang, files that are full, resources that run out, and many machines at
//! once. Nothing hangs, nothing is left, and what went wrong is said.
//!
//! `victims` are the tests to which it happens; `run` has each run in a process of its own.

mod full;
mod limits;
mod many;
mod run;
mod shutdown;
mod victims;
