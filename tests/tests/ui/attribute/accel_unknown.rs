use qemu_test::{Machine, qemu_test};

#[qemu_test(accel = hvf)]
fn boots(_vm: &Machine) {}

fn main() {}
