use qemu_test::{Machine, qemu_test};

#[qemu_test(arch = "aarch64", binary = "./qemu")]
fn boots(_vm: &Machine) {}

fn main() {}
