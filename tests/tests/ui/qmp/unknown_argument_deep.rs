use qemu_test::qmp;

fn main() {
    qmp!(blockdev_add { driver: "qcow2", file: { driver: "file", filename: "f", lokcing: "off" } });
}
