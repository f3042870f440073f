use qemu_test::{Machine, qemu_test};

#[qemu_test("-S")]
fn boots(_vm: &Machine) {}

fn main() {}
