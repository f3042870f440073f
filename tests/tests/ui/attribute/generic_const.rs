use qemu_test::{Machine, qemu_test};

#[qemu_test]
fn boots<const N: usize>(_vm: &Machine) {}

fn main() {}
