use qemu_test::{Machine, qemu_test};

#[qemu_test]
fn boots(#[machine(timeout = "9s")] _vm: &Machine) {}

fn main() {}
