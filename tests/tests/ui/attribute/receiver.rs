use qemu_test::{Machine, qemu_test};

struct Tests;

impl Tests {
    #[qemu_test]
    fn boots(&self, _vm: &Machine) {}
}

fn main() {}
