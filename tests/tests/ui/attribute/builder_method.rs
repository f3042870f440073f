use qemu_test::{Machine, qemu_test};

#[qemu_test(env = ("A", "1"))]
fn boots(_vm: &Machine) {}

fn main() {}
