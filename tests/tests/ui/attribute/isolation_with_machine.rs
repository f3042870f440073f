use qemu_test::{Machine, qemu_test};

#[qemu_test(machine = Machine::builder(), isolation = boot)]
fn boots(_vm: &Machine) {}

fn main() {}
