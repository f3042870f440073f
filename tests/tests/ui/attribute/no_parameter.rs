use qemu_test::qemu_test;

#[qemu_test]
fn boots() {}

fn main() {}
