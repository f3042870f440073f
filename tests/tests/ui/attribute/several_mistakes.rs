use qemu_test::{Machine, qemu_test};

#[qemu_test(cosnole, timeout = 90)]
const fn boots(_vm: &mut Machine) {}

fn main() {}
