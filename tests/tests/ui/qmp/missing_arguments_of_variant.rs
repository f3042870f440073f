use qemu_test::qmp;

fn main() {
    qmp!(blockdev_add { driver: "raw", file: { driver: "nbd" } });
}
