use qemu_test::qmp;

fn main() {
    qmp!(blockdev_del);
}
