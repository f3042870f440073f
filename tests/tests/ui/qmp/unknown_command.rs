use qemu_test::qmp;

fn main() {
    qmp!(blockdv_add { driver: "null-co" });
}
