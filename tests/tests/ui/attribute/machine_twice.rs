use qemu_test::{Machine, qemu_test};

#[qemu_test]
fn boots(
    #[machine(console)]
    #[machine(qtest)]
    _vm: &Machine,
) {
}

fn main() {}
