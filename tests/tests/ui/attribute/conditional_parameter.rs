use qemu_test::{Machine, qemu_test};

#[qemu_test]
fn boots(_vm: &Machine, #[cfg(unix)] _disk: &Machine) {}

fn main() {}
