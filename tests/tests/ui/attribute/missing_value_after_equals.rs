use qemu_test::{Machine, qemu_test};

#[qemu_test(arch =)]
fn boots(_vm: &Machine) {}

fn main() {}
