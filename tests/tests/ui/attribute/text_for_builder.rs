use qemu_test::{Machine, qemu_test};

#[qemu_test(machine = "q35")]
fn t(_vm: &Machine) {}

fn main() {}
