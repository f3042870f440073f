use qemu_test::qmp;

fn main() {
    qmp!(JOB_STATUS_CHANGE { status: "conclude" });
}
