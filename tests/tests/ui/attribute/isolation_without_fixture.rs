use qemu_test::{Machine, qemu_test};

#[qemu_test(fixture = none, isolation = fork)]
fn boots(_vm: &Machine) {}

fn main() {}
