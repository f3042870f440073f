use qemu_test::qmp;

fn main() {
    qmp!(BLOCK_JOB_REDY { device: "d" });
}
