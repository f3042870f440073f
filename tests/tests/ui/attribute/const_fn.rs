use qemu_test::{Machine, qemu_test};

#[qemu_test]
const fn boots(_vm: &Machine) {}

fn main() {}
