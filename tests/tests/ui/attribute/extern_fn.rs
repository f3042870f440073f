use qemu_test::{Machine, qemu_test};

#[qemu_test]
extern "C" fn boots(_vm: &Machine) {}

fn main() {}
