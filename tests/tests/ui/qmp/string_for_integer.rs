use qemu_test::qmp;

fn main() {
    qmp!(balloon { value: "1G" });
}
