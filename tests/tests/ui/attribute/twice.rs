use qemu_test::{Machine, qemu_test};

#[qemu_test]
#[qemu_test::test(console)]
fn boots(_vm: &Machine) {}

fn main() {}
