use qemu_test::{Machine, qemu_test};

#[qemu_test]
async fn boots(_vm: &Machine) {}

fn main() {}
