use qemu_test::{Machine, qemu_test};

#[qemu_test(name = "server")]
fn talk(_a: &Machine, _b: &Machine) {}

fn main() {}
