use qemu_test::qmp;

fn main() {
    qmp!(transaction { actions: [{ type: "blockdev-snapshot", data: { node: "a", overly: "b" } }] });
}
