//! QMP without a guest: block devices, and a job that is followed by its events.

use std::time::Duration;

use qemu_test::{Machine, qemu_test, qmp};

const SIZE: u64 = 8 << 20;

#[qemu_test(args = ["-machine", "none"])]
fn a_mirror_copies_a_disk(vm: &Machine) -> qemu_test::Result<()> {
    let target = vm.dir().join("copy.raw");
    vm.command(qmp!(blockdev_add {
        driver: "null-co",
        node_name: "source",
        size: SIZE,
        read_zeroes: true
    }))?;

    // QEMU makes the target file itself: a job of its own.
    let create = qmp!({ driver: "file", filename: target, size: SIZE });
    vm.command(qmp!(blockdev_create {
        job_id: "create",
        options: create
    }))?;
    vm.wait_event(
        qmp!(JOB_STATUS_CHANGE {
            id: "create",
            status: "concluded"
        }),
        Duration::from_secs(10),
    )?;
    vm.command(qmp!(job_dismiss { id: "create" }))?;

    vm.command(qmp!(blockdev_add {
        driver: "file",
        node_name: "target",
        filename: target
    }))?;
    vm.command(qmp!(blockdev_mirror {
        job_id: "mirror",
        device: "source",
        target: "target",
        sync: "full"
    }))?;
    vm.wait_event(
        qmp!(BLOCK_JOB_READY { device: "mirror" }),
        Duration::from_secs(30),
    )?;
    vm.command(qmp!(job_complete { id: "mirror" }))?;
    let completed = vm.wait_event(
        qmp!(BLOCK_JOB_COMPLETED { device: "mirror" }),
        Duration::from_secs(30),
    )?;

    assert_eq!(completed.data["offset"], SIZE);
    assert_eq!(std::fs::metadata(&target)?.len(), SIZE);
    Ok(())
}

#[qemu_test(args = ["-machine", "none"])]
fn a_disk_that_is_not_there_is_refused(vm: &Machine) {
    let error = vm
        .command(qmp!(blockdev_del { node_name: "nothing" }))
        .expect_err("QEMU has no such disk");
    let qemu_test::Error::Qmp(error) = error else {
        panic!("not QEMU's own answer: {error}")
    };
    assert_eq!(error.class, qemu_test::qmp::ErrorClass::GenericError);
}
