//! Any stream of bytes, cut into reads in two ways: no panic, the same messages, and errors of a size to read.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| qemu_test::qmp::fuzzing::decode(input));
