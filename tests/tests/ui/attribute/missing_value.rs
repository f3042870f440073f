use qemu_test::{Machine, qemu_test};

#[qemu_test(args)]
fn boots(_vm: &Machine) {}

fn main() {}
