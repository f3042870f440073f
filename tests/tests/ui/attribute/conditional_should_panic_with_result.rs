use qemu_test::{Machine, qemu_test};

#[qemu_test]
#[cfg_attr(unix, should_panic)]
fn boots(_vm: &Machine) -> qemu_test::Result<()> {
    Ok(())
}

fn main() {}
