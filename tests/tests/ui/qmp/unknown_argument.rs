use qemu_test::qmp;

fn main() {
    qmp!(blockdev_add { driver: "null-co", node_nam: "d" });
}
