use qemu_test::{Machine, qemu_test};

#[qemu_test]
const BOOTS: fn(&Machine) = |_vm| ();

fn main() {}
