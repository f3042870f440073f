use qemu_test::{Machine, qemu_test};

#[qemu_test(accel = "kvm")]
fn boots(_vm: &Machine) {}

fn main() {}
