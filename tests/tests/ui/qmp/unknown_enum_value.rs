use qemu_test::qmp;

fn main() {
    qmp!(blockdev_add { driver: "qcow", file: "f", discard: "unmpa" });
}
