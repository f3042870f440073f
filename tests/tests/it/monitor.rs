//! The ways in which QEMU's monitor reaches the library.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use qemu_test::{Machine, MachineBuilder, Monitor};

fn none() -> MachineBuilder {
    Machine::builder().args(["-machine", "none"])
}

#[test]
fn over_a_unix_socket_that_qemu_connects_to() {
    let vm = none()
        .monitor(Monitor::Unix(PathBuf::from("{dir}/monitor")))
        .launch()
        .unwrap();
    assert_eq!(vm.command("query-status").unwrap()["running"], true);
    assert!(
        vm.command_line()
            .iter()
            .any(|argument| argument.to_string_lossy().contains("path="))
    );
    assert!(vm.shutdown().unwrap().success());
}

#[test]
fn over_tcp_that_qemu_connects_to() {
    for address in [
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
    ] {
        let vm = none().monitor(Monitor::Tcp(address)).launch().unwrap();
        assert_eq!(vm.command("query-status").unwrap()["running"], true);
        assert!(vm.shutdown().unwrap().success());
    }
}

#[test]
fn over_a_socket_a_wrapper_may_close_all_descriptors() {
    let closing = [
        "bash",
        "-c",
        "for fd in /proc/self/fd/*; do fd=${fd##*/}; [ $fd -gt 2 ] && eval \"exec $fd>&-\"; done; exec \"$0\" \"$@\"",
    ];
    let vm = none()
        .monitor(Monitor::Unix("{dir}/m".into()))
        .wrapper(closing)
        .launch()
        .unwrap();
    assert!(vm.shutdown().unwrap().success());
}

#[test]
fn a_descriptor_sent_over_the_monitor_arrives_under_its_name() {
    let vm = none().launch().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    vm.send_fd("outlet", &writer).unwrap();
    // QEMU has it under that name: closing it by the name works once.
    vm.command(qemu_test::qmp!(closefd { fdname: "outlet" })).unwrap();
    assert!(vm.command(qemu_test::qmp!(closefd { fdname: "outlet" })).is_err());
    drop((reader, writer));
}
