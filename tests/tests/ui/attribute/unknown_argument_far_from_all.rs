use qemu_test::{Machine, qemu_test};

#[qemu_test(memory = "64M")]
fn boots(_vm: &Machine) {}

fn main() {}
