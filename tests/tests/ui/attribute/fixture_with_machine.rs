use qemu_test::{Machine, qemu_test};

#[qemu_test(machine = Machine::builder(), fixture = Linux)]
fn boots(_vm: &Machine) {}

#[expect(dead_code)]
struct Linux;

fn main() {}
