use qemu_test::qmp;

fn main() {
    qmp!(DEVICE_DELETED { devcie: "d" });
}
