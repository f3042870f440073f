use qemu_test::{Machine, qemu_test};

#[qemu_test]
fn boots(_vm: Machine) {}

fn main() {}
