use qemu_test::qemu_test;

#[qemu_test]
struct Boots;

fn main() {}
