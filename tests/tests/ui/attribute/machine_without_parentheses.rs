use qemu_test::{Machine, qemu_test};

#[qemu_test]
fn boots(#[machine = "pc"] _vm: &Machine) {}

fn main() {}
