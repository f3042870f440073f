use qemu_test::qmp;

fn main() {
    qmp!(blockdev_del { node_name: { name: "d" } });
}
