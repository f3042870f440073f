use qemu_test::qmp;

fn main() {
    let driver = "nvme";
    qmp!(device_add { driver, num_queues: 2 });
}
