use qemu_test::{Machine, qemu_test};

#[qemu_test]
fn boots(#[machine(arg = ["-S"])] _vm: &Machine) {}

fn main() {}
