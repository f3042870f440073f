use qemu_test::qmp;

fn main() {
    let missing = 1;
    qmp!(blockdev_add { driver: "null-co", node_nam: "d", size: "1G", read_only: missng });
}
