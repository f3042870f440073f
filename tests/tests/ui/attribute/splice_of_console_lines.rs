use qemu_test::{Machine, qemu_test};

#[qemu_test(console, allow_console_line = [..LINES])]
fn boots(_vm: &Machine) {}

#[expect(dead_code)]
const LINES: [&str; 1] = ["Oops"];

fn main() {}
