use qemu_test::{Machine, qemu_test};

#[qemu_test(args = "-m 64")]
fn t(_vm: &Machine) {}

fn main() {}
