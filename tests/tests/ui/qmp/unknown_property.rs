use qemu_test::qmp;

fn main() {
    qmp!(device_add { driver: "virtio-blk-pci", num_queue: 2 });
}
