//! Which spelling a name gets in its place, and what is said of one that QEMU does not have there.

use proc_macro2::TokenStream;
use quote::quote;

use super::{errors, expanded};

/// Asserts that the expansion has exactly these strings as keys, in this order, and no error.
#[track_caller]
fn spelt(input: TokenStream, keys: &[&str]) {
    let found = errors(input.clone());
    assert_eq!(found, Vec::<String>::new(), "{input}");
    let expansion = expanded(input);
    let calls = [".field(\"", ".value(\"", ".optional(\""];
    let mut found: Vec<(usize, &str)> = Vec::new();
    for call in calls {
        for (at, _) in expansion.match_indices(call) {
            let rest = &expansion[at + call.len()..];
            found.push((at, &rest[..rest.find('"').unwrap()]));
        }
    }
    found.sort_unstable();
    assert_eq!(found.into_iter().map(|(_, key)| key).collect::<Vec<_>>(), keys);
}

/// Asserts that there is one message, and gives it.
#[track_caller]
fn error(input: TokenStream) -> String {
    let mut found = errors(input.clone());
    assert_eq!(found.len(), 1, "{input}: {found:#?}");
    found.remove(0)
}

#[test]
fn a_name_has_the_spelling_of_its_place() {
    spelt(
        quote!(block_set_io_throttle {
            id: "d",
            bps: 0,
            bps_rd: 0,
            bps_wr: 0,
            iops: 0,
            iops_rd: 0,
            iops_wr: 0,
            iops_size: 1
        }),
        &[
            "id",
            "bps",
            "bps_rd",
            "bps_wr",
            "iops",
            "iops_rd",
            "iops_wr",
            "iops_size",
        ],
    );
    spelt(
        quote!(object_add { qom_type: "throttle-group", id: "t", limits: { iops_size: 1, bps_total_max: 2 } }),
        &["qom-type", "id", "limits", "iops-size", "bps-total-max"],
    );
    spelt(
        quote!(blockdev_add { driver: "qcow2", node_name: "d", file: { driver: "file", filename: f, x_check_cache_dropped: true } }),
        &[
            "driver",
            "node-name",
            "file",
            "driver",
            "filename",
            "x-check-cache-dropped",
        ],
    );
    spelt(
        quote!(transaction { actions: [{ type: "blockdev-snapshot-sync", data: { snapshot_file: f, node_name: n } }] }),
        &["actions", "type", "data", "snapshot-file", "node-name"],
    );
}

#[test]
fn a_variant_that_only_the_run_knows_may_be_any() {
    let all = [
        "driver",
        "node-name",
        "filename",
        "server",
        "host",
        "port",
        "size",
    ];
    spelt(
        quote!(blockdev_add { driver, node_name: n, filename: f, server: { host: h, port: p }, size: 1 }),
        &all,
    );
    // In parentheses, it is not looked at either.
    spelt(
        quote!(blockdev_add {
            driver: ("brand-new"),
            node_name: n,
            filename: f
        }),
        &all[..3],
    );
    spelt(
        quote!(blockdev_add {
            node_name: n,
            filename: f,
            ..rest
        }),
        &all[1..3],
    );
}

#[test]
fn what_is_quoted_stays_and_is_not_checked_nor_what_is_in_it() {
    spelt(
        quote!(blockdev_add { driver: "null-co", "new_key": { in_it: 1 }, "size": "huge", "node-name": 5 }),
        &["driver", "new_key", "in-it", "size", "node-name"],
    );
    // What the table knows of it still gives the spelling.
    spelt(
        quote!(object_add { qom_type: "throttle-group", id: "t", "limits": { iops_size: "x", unheard_of: 1 } }),
        &["qom-type", "id", "limits", "iops-size", "unheard-of"],
    );
    spelt(quote!("block_set_io_throttle" { iops_size: 1 }), &["iops-size"]);
    // Inside `any`, nothing is known.
    spelt(
        quote!(qom_set { path: "/x", property: "y", value: { a_b: [{ c_d: null }] } }),
        &["path", "property", "value", "a-b", "c-d"],
    );
}

#[test]
fn device_add_takes_the_properties_of_its_driver() {
    spelt(
        quote!(device_add {
            driver: "virtio-blk-pci",
            id: "d",
            num_queues: 2,
            drive: "x",
            queue_size: 8
        }),
        &["driver", "id", "num-queues", "drive", "queue-size"],
    );
    spelt(
        quote!(device_add {
            driver: "nvme",
            num_queues: 2
        }),
        &["driver", "num_queues"],
    );
    spelt(
        quote!(device_add {
            driver: "virtio-net-pci",
            host_mtu: 1500,
            mac: "x",
            failover_pair_id: "y"
        }),
        &["driver", "host_mtu", "mac", "failover_pair_id"],
    );
    // By an alias, which is what many write.
    spelt(
        quote!(device_add {
            driver: "virtio-net",
            host_mtu: 1500
        }),
        &["driver", "host_mtu"],
    );
    // QEMU has taken text for numbers there.
    spelt(
        quote!(device_add {
            driver: "e1000",
            addr: "0x5",
            multifunction: "on"
        }),
        &["driver", "addr", "multifunction"],
    );
}

#[test]
fn device_add_of_an_unknown_driver_takes_what_any_device_has_and_what_none_has() {
    for driver in [quote!("my-new-device"), quote!(driver), quote!(("nvme"))] {
        spelt(
            quote!(device_add { driver: #driver, id: i, host_mtu: 1, disable_legacy: "on", my_own_key: { a_b: 1 } }),
            &["driver", "id", "host_mtu", "disable-legacy", "my-own-key", "a-b"],
        );
        assert_eq!(
            error(quote!(device_add { driver: #driver, num_queues: 1 })),
            r#"QEMU has both `"num-queues"` and `"num_queues"`, and nothing here says which of them `num_queues` is: quote the one that is meant"#
        );
    }
}

#[test]
fn processors_have_both_spellings_and_keep_the_one_that_is_written() {
    spelt(
        quote!(device_add {
            driver: "max-x86_64-cpu",
            lahf_lm: true,
            x2apic: true
        }),
        &["driver", "lahf_lm", "x2apic"],
    );
}

#[test]
fn the_data_of_an_event_has_its_spelling_too() {
    spelt(
        quote!(BLOCK_IO_ERROR {
            node_name: "d",
            nospace: true,
            action: _,
            operation: null
        }),
        &["node-name", "nospace", "action", "operation"],
    );
    spelt(
        quote!(GUEST_PANICKED { info: { type: "hyper-v", arg1: 1 }, action: "pause" }),
        &["info", "type", "arg1", "action"],
    );
    spelt(
        quote!(MEMORY_FAILURE { flags: { action_required: true } }),
        &["flags", "action-required"],
    );
    assert!(
        error(quote!(BLOCK_IO_ERROR { node_nam: "d" }))
            .starts_with("`BLOCK_IO_ERROR` has no `node_nam`: did you mean `node_name`?")
    );
    assert!(error(quote!(JOB_STATUS_CHANGE { status: "conclude" })).contains(r#"did you mean "concluded"?"#));
    assert!(error(quote!(BLOCK_JOB_REDY)).contains("did you mean `BLOCK_JOB_READY`?"));
}

#[test]
fn what_qemu_does_not_have_is_told_with_what_it_has() {
    assert_eq!(
        error(quote!(blockdv_add { driver: "x" })),
        "QEMU (7.2.22 and 10.0.2) has no command `blockdv_add`: did you mean `blockdev_add`? in quotes it goes unchecked: `\"blockdv-add\"`"
    );
    assert_eq!(
        error(quote!(query_statu)),
        "QEMU (7.2.22 and 10.0.2) has no command `query_statu`: did you mean `query_stats` or `query_status`? in quotes it goes unchecked: `\"query-statu\"`"
    );
    assert_eq!(
        error(quote!(blockdev_add {
            driver: "null-co",
            node_nam: "d"
        })),
        "`blockdev_add` with driver \"null-co\" takes no `node_nam`: did you mean `node_name`? in quotes it goes unchecked: `\"node-nam\"`"
    );
    assert_eq!(
        error(quote!(blockdev_del { name: "d" })),
        "`blockdev_del` takes no `name`: it takes `node_name`; in quotes it goes unchecked: `\"name\"`"
    );
    assert_eq!(
        error(quote!(netdev_add { type: "user", id: "n", ifname: "tap0" })),
        "`netdev_add` with type \"user\" takes no `ifname`: it goes with the type `\"netmap\"` and `\"tap\"`; in quotes it goes unchecked: `\"ifname\"`"
    );
    assert_eq!(
        error(quote!(query_status { verbose: true })),
        "`query_status` takes no `verbose`: it takes nothing; in quotes it goes unchecked: `\"verbose\"`"
    );
}

#[test]
fn a_missing_argument_is_told_once_and_only_where_nothing_could_bring_it() {
    assert_eq!(
        error(quote!(blockdev_del)),
        "`blockdev_del` needs `node_name`: write it, or `..` and an object that has it"
    );
    assert!(error(quote!(blockdev_del {})).contains("needs `node_name`"));
    assert_eq!(
        error(quote!(block_set_io_throttle {
            bps: 0,
            bps_rd: 0,
            bps_wr: 0,
            iops: 0
        })),
        "`block_set_io_throttle` needs `iops_rd` and `iops_wr`: write them, or `..` and an object that has them"
    );
    assert!(error(quote!(blockdev_add { driver: "qcow2" })).contains("with driver \"qcow2\" needs `file`"));
    assert!(
        error(quote!(blockdev_add { driver: "raw", file: { driver: "file" } }))
            .starts_with("`blockdev_add.file` with driver \"file\" needs `filename`")
    );
    assert!(error(quote!(human_monitor_command { cpu_index: 0 })).contains("needs `command_line`"));
    for fine in [
        quote!(blockdev_del { ..rest }),
        quote!(blockdev_del { node_name?: option }),
        quote!(blockdev_del { "node-name": n }),
        quote!(blockdev_add {
            driver,
            node_name: "d"
        }),
        quote!(migrate { uri: "tcp:0" }),
        quote!("blockdev-del"),
    ] {
        assert_eq!(errors(fine.clone()), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn an_impossible_literal_is_told_with_what_there_could_be() {
    assert_eq!(
        error(quote!(balloon { value: "1G" })),
        "`balloon.value` is an integer, not a string; in parentheses it goes unchecked"
    );
    for (wrong, is) in [
        (
            quote!(balloon { value: 1.5 }),
            "an integer, not a number with a fraction",
        ),
        (quote!(balloon { value: true }), "an integer, not a boolean"),
        (quote!(balloon { value: {} }), "an integer, not an object"),
        (quote!(balloon { value: [1] }), "an integer, not an array"),
        (quote!(blockdev_del { node_name: -5 }), "a string, not an integer"),
        (quote!(blockdev_del { node_name: b"n" }), "a string, not an array"),
        (
            quote!(set_link { name: "n", up: "on" }),
            "a boolean, not a string",
        ),
        (
            quote!(blockdev_add {
                driver: "raw",
                file: 5
            }),
            "a string or an object, not an integer",
        ),
        (
            quote!(qmp_capabilities { enable: "oob" }),
            "an array, not a string",
        ),
        (
            quote!(migrate_set_capabilities { capabilities: [true] }),
            "an object, not a boolean",
        ),
        (
            quote!(blockdev_add {
                driver: "null-co",
                size: null
            }),
            "never `null`: an optional key is left out instead, at run time with `key?: option`",
        ),
    ] {
        let message = error(wrong);
        assert!(message.contains(is), "{message}");
    }
    assert_eq!(
        error(quote!(blockdev_add { driver: "nul-co" })),
        r#"`blockdev_add.driver` is never "nul-co": did you mean "null-co"? in parentheses it goes unchecked: `("nul-co")`"#
    );
    assert!(
        error(quote!(set_action { reboot: "explode" })).contains(r#"it is one of "reset" and "shutdown""#)
    );
    for fine in [
        quote!(balloon { value: ("1G") }),
        quote!(balloon { value: 1 << 30 }),
        quote!(balloon { value: size as u64 }),
        quote!(blockdev_add {
            driver: "qcow2",
            file: "node",
            backing: null
        }),
        quote!(migrate_set_parameters {
            downtime_limit: 300,
            tls_creds: null
        }),
    ] {
        assert_eq!(errors(fine.clone()), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn literals_that_come_through_other_macros_are_seen() {
    use proc_macro2::{Delimiter, Group};

    let through = |tokens: TokenStream| Group::new(Delimiter::None, tokens);
    let driver = through(quote!("null-co"));
    spelt(
        quote!(blockdev_add { driver: #driver, latency_ns: 5 }),
        &["driver", "latency-ns"],
    );
    let size = through(quote!("1G"));
    assert!(error(quote!(balloon { value: #size })).contains("not a string"));
    assert!(error(quote!(balloon { value: &"1G" })).contains("not a string"));
}

#[test]
fn one_mistake_in_a_name_gives_one_message() {
    for input in [
        quote!(blockdev_add {
            driver: "null-c",
            node_name: "d",
            size: 1
        }),
        quote!(blockdev_ad { driver: "null-c", anything: { at_all: 1 } }),
        quote!(blockdev_del { nodename: "d" }),
        quote!(blockdev_add {
            drivr: "null-co",
            node_name: "d"
        }),
        quote!(blockdev_add { driver: "qcow2", fil: { driver: 5 } }),
        quote!(blockdev_add {
            driver: "qcow2",
            file: []
        }),
        quote!(set_link { name: , up: true }),
        quote!(blockdev_del { 5: 1 }),
        quote!(blockdev_del { node_name: "a", "node-name": "b" }),
        quote!(object_add { qom_type: "throttle-grop", id: "t", limits: { iops_size: 1 } }),
        quote!(STPO { anything: 1 }),
    ] {
        error(input);
    }
}
