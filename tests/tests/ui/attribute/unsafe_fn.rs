use qemu_test::{Machine, qemu_test};

#[qemu_test]
unsafe fn boots(_vm: &Machine) {}

fn main() {}
