use qemu_test::{Machine, qemu_test};

#[qemu_test(timeout = "90 parsecs")]
fn boots(_vm: &Machine) {}

fn main() {}
