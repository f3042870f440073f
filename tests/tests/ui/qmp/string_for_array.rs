use qemu_test::qmp;

fn main() {
    qmp!(qmp_capabilities { enable: "oob" });
}
