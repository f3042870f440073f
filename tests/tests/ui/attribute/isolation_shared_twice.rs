use qemu_test::{Machine, qemu_test};

#[qemu_test]
fn talk(
    #[machine(fixture = Linux, isolation = shared)] _a: &Machine,
    #[machine(isolation = shared, console, fixture = Linux)] _b: &Machine,
) {
}

#[expect(dead_code)]
struct Linux;

fn main() {}
