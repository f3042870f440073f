use qemu_test::{Machine, qemu_test};

#[qemu_test(console = true)]
fn boots(_vm: &Machine) {}

fn main() {}
