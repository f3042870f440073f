use qemu_test::{Machine, qemu_test};

#[qemu_test(fixture = Linux, isolation = shared)]
fn talk(_a: &Machine, _b: &Machine) {}

#[expect(dead_code)]
struct Linux;

fn main() {}
