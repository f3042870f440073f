//! `qemu-test` against real QEMU: one binary, so that it links once.

mod accel;
mod bare_metal;
mod console;
mod contract;
mod evidence;
mod failing;
mod fixture;
mod fixture_cases;
mod fixture_images;
mod fixture_store;
mod gallery;
mod guest_death;
mod guests;
mod launch;
mod life;
mod monitor;
mod own_store;
mod report;
mod schema_calls;
mod schema_dump;
mod screen;
mod share;
mod verbs;
