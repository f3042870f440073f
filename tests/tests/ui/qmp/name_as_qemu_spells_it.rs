use qemu_test::qmp;

fn main() {
    qmp!(blockdev_add { driver: "null-co", node-name: "disk0" });
}
