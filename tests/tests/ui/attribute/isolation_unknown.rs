use qemu_test::{Machine, qemu_test};

#[qemu_test(isolation = share)]
fn boots(_vm: &Machine) {}

fn main() {}
