use qemu_test::{Machine, qemu_test};

#[qemu_test(cosnole)]
fn boots(vm: &Machine) {
    drop(vm);
}

fn main() {}
