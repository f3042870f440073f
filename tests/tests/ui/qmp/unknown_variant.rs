use qemu_test::qmp;

fn main() {
    qmp!(blockdev_add { driver: "nul-co", size: 1 });
}
