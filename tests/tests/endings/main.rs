//! Nothing outlives a test, however it ends: every way to end, behind every kind of wrapper, under both test runners.
//!
//! `victims` are the tests that end so; `cells` has a real runner run one at a time, by way of the crate
//! `fixtures/launcher`, and checks what is left of it.

mod cells;
mod processes;
mod runner;
mod terminal;
mod victims;
