use qemu_test::qmp;

fn main() {
    qmp!(netdev_add { type: "user", id: "n", ifname: "tap0" });
}
