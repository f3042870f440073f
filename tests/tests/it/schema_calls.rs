//! Real QEMUs, of every version that the tests run with, accept what `qmp!` lets through.

use std::time::Duration;

use qemu_test::qmp::ErrorClass;
use qemu_test::{Error, Machine, MachineBuilder, qemu_test, qmp};

const SOON: Duration = Duration::from_secs(30);

/// A machine into which devices can be plugged, and whose guest never runs.
fn q35() -> MachineBuilder {
    Machine::builder().args(["-machine", "q35", "-S"]).args([
        "-device",
        "pcie-root-port,id=port0,chassis=1",
        "-device",
        "pcie-root-port,id=port1,chassis=2",
        "-device",
        "qemu-xhci,id=usb",
    ])
}

#[qemu_test(machine = q35())]
fn block_nodes_with_their_protocol_layers(vm: &Machine) -> qemu_test::Result<()> {
    let folder = tempfile::tempdir()?;
    let filename = folder.path().join("image");
    vm.command(qmp!(blockdev_create {
        job_id: "create",
        options: { driver: "file", filename: filename, size: 4 << 20, preallocation: "off" },
    }))?;
    vm.wait_event(
        qmp!(JOB_STATUS_CHANGE {
            id: "create",
            status: "concluded"
        }),
        SOON,
    )?;
    vm.command(qmp!(job_dismiss { id: "create" }))?;
    vm.command(qmp!(blockdev_add {
        driver: "raw",
        node_name: "raw0",
        read_only: false,
        file: {
            driver: "file",
            node_name: "file0",
            filename: filename,
            locking: "off",
            cache: { direct: false, no_flush: true },
            x_check_cache_dropped: false,
        },
    }))?;
    vm.command(qmp!(blockdev_create {
        job_id: "format",
        options: { driver: "qcow2", file: "raw0", size: 4 << 20, cluster_size: 65536, lazy_refcounts: true },
    }))?;
    vm.wait_event(
        qmp!(JOB_STATUS_CHANGE {
            id: "format",
            status: "concluded"
        }),
        SOON,
    )?;
    vm.command(qmp!(blockdev_add {
        driver: "qcow2",
        node_name: "disk",
        file: "raw0",
        backing: null,
        discard: "unmap",
        detect_zeroes: "unmap",
        l2_cache_size: 65536,
        pass_discard_request: true,
    }))?;
    vm.command(qmp!(block_dirty_bitmap_add {
        node: "disk",
        name: "old",
        granularity: 65536,
        persistent: true
    }))?;
    vm.command(qmp!(transaction {
        actions: [
            { type: "block-dirty-bitmap-clear", data: { node: "disk", name: "old" } },
            { type: "block-dirty-bitmap-add", data: { node: "disk", name: "new", disabled: true } },
        ],
    }))?;
    vm.command(qmp!(blockdev_reopen {
        options: [{ driver: "qcow2", node_name: "disk", file: "raw0", backing: null, lazy_refcounts: true }],
    }))?;
    let nodes = vm.command(qmp!(query_named_block_nodes { flat: true }))?;
    assert!(nodes.to_string().contains("\"disk\""));
    vm.command(qmp!(blockdev_del { node_name: "disk" }))?;
    Ok(())
}

#[qemu_test(machine = q35())]
fn block_jobs_and_their_limits(vm: &Machine) -> qemu_test::Result<()> {
    for node_name in ["source", "target", "copy"] {
        vm.command(qmp!(blockdev_add {
            driver: "null-co",
            node_name,
            size: 1 << 20,
            read_zeroes: true
        }))?;
    }
    vm.command(qmp!(blockdev_mirror {
        job_id: "mirror",
        device: "source",
        target: "target",
        sync: "full",
        speed: 0,
        buf_size: 65536,
        on_source_error: "report",
        copy_mode: "background",
        auto_dismiss: true,
    }))?;
    vm.wait_event(
        qmp!(BLOCK_JOB_READY { type: "mirror", device: "mirror", speed: _ }),
        SOON,
    )?;
    vm.command(qmp!(block_job_set_speed {
        device: "mirror",
        speed: 1 << 20
    }))?;
    vm.command(qmp!(block_job_pause { device: "mirror" }))?;
    vm.command(qmp!(block_job_resume { device: "mirror" }))?;
    vm.command(qmp!(block_job_cancel {
        device: "mirror",
        force: true
    }))?;
    vm.wait_event(qmp!(BLOCK_JOB_CANCELLED { device: "mirror" }), SOON)?;
    vm.command(qmp!(blockdev_backup {
        job_id: "backup",
        device: "source",
        target: "copy",
        sync: "none"
    }))?;
    vm.command(qmp!(job_cancel { id: "backup" }))?;
    vm.wait_event(
        qmp!(JOB_STATUS_CHANGE {
            id: "backup",
            status: "null"
        }),
        SOON,
    )?;

    vm.command(qmp!(object_add {
        qom_type: "throttle-group",
        id: "group",
        limits: { iops_total: 100, iops_total_max: 200, iops_size: 4096, bps_total: 1 << 20 },
    }))?;
    vm.command(qmp!(blockdev_add {
        driver: "throttle",
        node_name: "slow",
        throttle_group: "group",
        file: "source"
    }))?;
    // An argument that takes anything: `_` turns into `-`, which is right here.
    vm.command(qmp!(qom_set { path: "/objects/group", property: "limits", value: { iops_total: 50 } }))?;
    let limits = vm.command(qmp!(qom_get {
        path: "/objects/group",
        property: "limits"
    }))?;
    assert_eq!(
        (&limits["iops-total"], &limits["iops-size"]),
        (&50.into(), &4096.into())
    );
    Ok(())
}

#[qemu_test(machine = q35())]
fn an_export_and_its_client(vm: &Machine) -> qemu_test::Result<()> {
    let path = vm.socket_path("nbd");
    vm.command(qmp!(blockdev_add {
        driver: "null-co",
        node_name: "n",
        size: 1 << 20
    }))?;
    vm.command(qmp!(nbd_server_start { addr: { type: "unix", data: { path: path } }, max_connections: 2 }))?;
    vm.command(qmp!(block_export_add { type: "nbd", id: "e", node_name: "n", name: "x", writable: false }))?;
    vm.command(qmp!(block_export_del {
        id: "e",
        mode: "hard"
    }))?;
    vm.wait_event(qmp!(BLOCK_EXPORT_DELETED { id: "e" }), SOON)?;
    vm.command(qmp!(nbd_server_stop))?;
    Ok(())
}

#[qemu_test(machine = q35())]
fn devices_with_properties_of_both_spellings(vm: &Machine) -> qemu_test::Result<()> {
    vm.command(qmp!(object_add {
        qom_type: "iothread",
        id: "thread",
        poll_max_ns: 0
    }))?;
    vm.command(qmp!(blockdev_add {
        driver: "null-co",
        node_name: "disk",
        size: 1 << 20
    }))?;
    vm.command(qmp!(device_add {
        driver: "virtio-blk-pci",
        id: "blk",
        bus: "port0",
        drive: "disk",
        iothread: "thread",
        num_queues: 2,
        logical_block_size: 512,
        disable_legacy: "on",
        write_cache: "on",
    }))?;
    // The part of the device that has the disk.
    let backend = "/machine/peripheral/blk/virtio-backend";
    vm.command(qmp!(block_set_io_throttle {
        id: backend,
        bps: 0,
        bps_rd: 0,
        bps_wr: 0,
        iops: 100,
        iops_rd: 0,
        iops_wr: 0,
        iops_max: 200,
        iops_size: 4096,
    }))?;
    vm.command(qmp!(block_latency_histogram_set {
        id: backend,
        boundaries: [10, 20, 30]
    }))?;
    vm.command(qmp!(netdev_add { type: "hubport", id: "hub", hubid: 1 }))?;
    vm.command(qmp!(device_add {
        driver: "virtio-net-pci",
        id: "net",
        bus: "port1",
        netdev: "hub",
        mac: "52:54:00:12:34:56",
        host_mtu: 1400,
        guest_announce: false,
    }))?;
    assert_eq!(
        vm.command(qmp!(qom_get {
            path: "/machine/peripheral/net",
            property: "host_mtu"
        }))?,
        1400
    );
    vm.command(qmp!(set_link {
        name: "net",
        up: false
    }))?;
    vm.command(qmp!(announce_self {
        initial: 50,
        max: 550,
        rounds: 2,
        step: 50,
        interfaces: ["net"]
    }))?;
    vm.command(qmp!(device_add {
        driver: "usb-kbd",
        id: "keyboard",
        bus: "usb.0"
    }))?;
    vm.command(qmp!(device_del { id: "keyboard" }))?;
    vm.wait_event(
        qmp!(DEVICE_DELETED {
            device: "keyboard",
            path: _
        }),
        SOON,
    )?;
    vm.command(qmp!(device_list_properties { typename: "nvme" }))?;
    Ok(())
}

#[qemu_test(machine = q35())]
fn backends_of_networks_characters_and_objects(vm: &Machine) -> qemu_test::Result<()> {
    let (first, second) = (vm.socket_path("first"), vm.socket_path("second"));
    vm.command(
        qmp!(netdev_add { type: "user", id: "user", net: "10.0.3.0/24", restrict: true, ipv6: false }),
    )?;
    vm.command(qmp!(netdev_add {
        type: "stream",
        id: "stream",
        server: true,
        addr: { type: "unix", path: first },
    }))?;
    // Not `stream`: QEMU, which begins to listen in another thread, may crash when that is deleted meanwhile.
    vm.command(qmp!(netdev_del { id: "user" }))?;
    vm.command(qmp!(chardev_add {
        id: "socket",
        backend: { type: "socket", data: { addr: { type: "unix", data: { path: second } }, server: true, wait: false } },
    }))?;
    vm.command(qmp!(chardev_add { id: "ring", backend: { type: "ringbuf", data: { size: 4096 } } }))?;
    vm.command(qmp!(ringbuf_write {
        device: "ring",
        data: "a_b",
        format: "utf8"
    }))?;
    assert_eq!(
        vm.command(qmp!(ringbuf_read {
            device: "ring",
            size: 16
        }))?,
        "a_b"
    );
    vm.command(qmp!(chardev_change { id: "socket", backend: { type: "null", data: {} } }))?;
    vm.command(qmp!(chardev_remove { id: "socket" }))?;
    vm.command(qmp!(object_add {
        qom_type: "memory-backend-ram",
        id: "ram",
        size: 1 << 20,
        share: true,
        prealloc: false
    }))?;
    vm.command(qmp!(object_add {
        qom_type: "secret",
        id: "word",
        data: "x",
        format: "raw"
    }))?;
    vm.command(qmp!(object_add {
        qom_type: "rng-random",
        id: "rng",
        filename: "/dev/urandom"
    }))?;
    vm.command(qmp!(object_del { id: "word" }))?;
    Ok(())
}

#[qemu_test(machine = q35())]
fn migration_with_parameters(vm: &Machine) -> qemu_test::Result<()> {
    let state = |capability: &str| qmp!({ capability, state: true });
    vm.command(qmp!(migrate_set_capabilities { capabilities: [state("events"), { capability: "zero-blocks", state: false }] }))?;
    vm.command(qmp!(migrate_set_parameters {
        max_bandwidth: 1u64 << 40,
        downtime_limit: 300,
        multifd_channels: 2,
        announce_initial: 50,
        tls_creds: "",
    }))?;
    vm.command(qmp!(migrate {
        uri: "exec:cat >/dev/null"
    }))?;
    vm.wait_event(qmp!(MIGRATION { status: "completed" }), SOON)?;
    assert_eq!(vm.command(qmp!(query_migrate))?["status"], "completed");
    Ok(())
}

/// Two processors and two pieces of memory, which nobody has put together yet.
fn in_parts() -> MachineBuilder {
    let memory = |id: &str| {
        [
            "-object".to_owned(),
            format!("memory-backend-ram,id={id},size=32M"),
        ]
    };
    Machine::builder()
        .args([
            "-machine",
            "q35",
            "-smp",
            "2,sockets=2",
            "-m",
            "64",
            "-S",
            "-preconfig",
        ])
        .args(memory("ram0"))
        .args(memory("ram1"))
}

#[qemu_test(machine = in_parts())]
fn nodes_of_memory_before_the_machine_is_made(vm: &Machine) -> qemu_test::Result<()> {
    for nodeid in [0, 1] {
        vm.command(qmp!(set_numa_node { type: "node", nodeid, memdev: format!("ram{nodeid}") }))?;
        vm.command(qmp!(set_numa_node { type: "cpu", node_id: nodeid, socket_id: nodeid }))?;
    }
    vm.command(qmp!(set_numa_node { type: "dist", src: 0, dst: 1, val: 20 }))?;
    vm.command(qmp!(x_exit_preconfig))?;
    assert_eq!(vm.command(qmp!(query_status))?["status"], "prelaunch");
    Ok(())
}

#[qemu_test(machine = q35())]
fn the_machine_itself(vm: &Machine) -> qemu_test::Result<()> {
    vm.command(qmp!(cont))?;
    let folder = tempfile::tempdir()?;
    vm.command(qmp!(pmemsave {
        val: 0,
        size: 4096,
        filename: folder.path().join("memory")
    }))?;
    let dump = format!("file:{}", folder.path().join("dump").display());
    vm.command(qmp!(dump_guest_memory {
        paging: false,
        protocol: dump,
        begin: 0,
        length: 4096
    }))?;
    assert!(
        vm.command(qmp!(human_monitor_command {
            command_line: "info status",
            cpu_index: 0
        }))?
        .is_string()
    );
    vm.command(qmp!(send_key { keys: [{ type: "qcode", data: "ret" }, { type: "number", data: 30 }], hold_time: 10 }))?;
    vm.command(qmp!(input_send_event {
        events: [{ type: "key", data: { down: true, key: { type: "qcode", data: "a" } } }],
    }))?;
    vm.command(qmp!(query_cpu_model_expansion { type: "static", model: { name: "qemu64", props: { lahf_lm: true } } }))?;
    vm.command(qmp!(trace_event_set_state {
        name: "no_such_event*",
        enable: false,
        ignore_unavailable: true
    }))?;
    vm.command(qmp!(set_action {
        reboot: "reset",
        shutdown: "poweroff",
        panic: "none",
        watchdog: "none"
    }))?;
    vm.command(qmp!(inject_nmi))?;
    vm.command(qmp!(system_reset))?;
    vm.wait_event(
        qmp!(RESET {
            guest: false,
            reason: "host-qmp-system-reset"
        }),
        SOON,
    )?;
    Ok(())
}

#[qemu_test(args = ["-machine", "none"])]
fn a_command_that_this_qemu_lacks_is_told_with_the_versions_that_have_it(
    vm: &Machine,
) -> qemu_test::Result<()> {
    let version = vm.command(qmp!(query_version))?;
    // One that came after the older version of the table, and one that the newer does not have any more.
    let (command, versions) = match version["qemu"]["major"].as_u64() {
        Some(..8) => (qmp!(query_audiodevs), "10.0.2, not 7.2.22"),
        _ => (qmp!(x_query_rdma), "7.2.22, not 10.0.2"),
    };
    let Err(Error::Qmp(error)) = vm.command(&command) else {
        panic!("this QEMU has {command}");
    };
    assert_eq!(
        (error.class, error.known_in),
        (ErrorClass::CommandNotFound, Some(versions))
    );
    assert!(error.to_string().contains(versions), "{error}");
    // Nobody knows anything of what was not written with `qmp!`, nor of another error.
    let Err(Error::Qmp(error)) = vm.command(command.to_string().as_str()) else {
        panic!("this QEMU has a command of that name");
    };
    assert_eq!((error.class, error.known_in), (ErrorClass::CommandNotFound, None));
    let Err(Error::Qmp(error)) = vm.command(qmp!(blockdev_del { node_name: "none" })) else {
        panic!("there is such a node");
    };
    assert_eq!((error.class, error.known_in), (ErrorClass::GenericError, None));
    Ok(())
}
