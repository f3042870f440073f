//! What a machine says of its QEMU, and that the machine survives being asked.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use qemu_test::{Error, Machine, MachineBuilder, Monitor, qemu_test, qmp};
use serde_json::Value;

/// A machine of a QEMU that has device types which end it when it is asked about them: half of a graphics card is in
/// a module, and what is there in its place is none.
fn without_a_module(folder: &tempfile::TempDir) -> MachineBuilder {
    std::fs::write(folder.path().join("hw-display-virtio-gpu.so"), "").unwrap();
    Machine::builder()
        .args(["-machine", "none", "-nodefaults"])
        .env("QEMU_MODULE_DIR", folder.path())
}

fn dump(vm: &Machine) -> qemu_test::Result<Value> {
    Ok(serde_json::from_str(&vm.schema_dump()?)?)
}

fn devices(dump: &Value) -> BTreeSet<&str> {
    let groups = dump["devices"].as_array().expect("the devices");
    let names = groups.iter().flat_map(|group| group["names"].as_array());
    names.flatten().filter_map(Value::as_str).collect()
}

#[test]
fn a_device_that_ends_who_is_asked_is_left_out_and_the_machine_lives_on() -> qemu_test::Result<()> {
    let folder = tempfile::tempdir()?;
    without_a_module(&folder).test(|vm: &Machine| {
        let dump = dump(vm)?;
        let left_out = dump["left-out"].as_array().expect("what was left out");
        let card = left_out.iter().find(|device| device["name"] == "virtio-gpu-pci");
        let why = card.and_then(|card| card["why"].as_str());
        assert!(
            why.is_some_and(
                |why| why.starts_with("exited with status 1: `") && why.contains("hw-display-virtio-gpu.so")
            ),
            "{left_out:#?}"
        );
        // What comes before and after it in QEMU's list is there, and so is an alias.
        let devices = devices(&dump);
        assert!(
            devices.is_superset(&["virtio-blk-pci", "virtio-rng-pci", "virtio-blk", "pcie-root-port"].into())
        );
        assert!(!devices.contains("virtio-gpu-pci"));
        vm.command(qmp!(query_status)).map(drop)
    });
    Ok(())
}

#[test]
fn the_dump_is_the_same_however_the_monitor_is_reached() -> qemu_test::Result<()> {
    let folder = tempfile::tempdir()?;
    let builder = without_a_module(&folder);
    let dump_of = |builder: MachineBuilder| {
        let mut text = String::new();
        builder.test(|vm: &Machine| vm.schema_dump().map(|dump| text = dump));
        text
    };
    let inherited = dump_of(builder);
    // A wrapper that closes descriptors and sets the environment: without it, the device would be in the dump.
    let closing = r#"export QEMU_MODULE_DIR="$1"; shift; exec 3>&- 4>&-; exec "$@""#;
    let bare = Machine::builder().args(["-machine", "none", "-nodefaults"]);
    let wrapper = ["sh", "-c", closing, "sh"].map(std::ffi::OsString::from);
    let wrapped = bare.wrapper(wrapper.into_iter().chain([folder.path().into()]));
    for monitor in [
        Monitor::Unix("{dir}/monitor".into()),
        Monitor::Tcp(([127, 0, 0, 1], 0).into()),
    ] {
        let dump = dump_of(wrapped.clone().monitor(monitor.clone()));
        assert!(dump == inherited, "{monitor:?}");
    }
    assert!(inherited.contains(r#""left-out":[{"#));
    Ok(())
}

/// As they are: where QEMU lacks libraries of its modules, it has such device types by itself.
#[qemu_test(args = ["-machine", "q35", "-S"])]
fn every_device_is_in_the_dump_or_named_as_left_out(vm: &Machine) -> qemu_test::Result<()> {
    let dump = dump(vm)?;
    let mut known = devices(&dump);
    let left_out = dump["left-out"].as_array().expect("what was left out");
    known.extend(left_out.iter().filter_map(|device| device["name"].as_str()));
    let help = vm.hmp("device_add help")?;
    let names = help
        .lines()
        .filter_map(|line| line.strip_prefix("name \"")?.split('"').next());
    let missing: Vec<_> = names.filter(|name| !known.contains(name)).collect();
    assert!(
        missing.is_empty() && known.len() > 100,
        "{missing:?} of {}",
        known.len()
    );
    Ok(())
}

#[test]
fn a_qemu_that_does_not_come_up_again_holds_up_the_dump_no_longer_than_the_machine_lives()
-> qemu_test::Result<()> {
    let folder = tempfile::tempdir()?;
    let fifo = folder.path().join("again");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status()?;
    assert!(made.success());
    // The first time it runs QEMU, the second time it tells and does nothing.
    let once = r#"if mkdir "$0/first"; then exec "$@"; fi; echo > "$0/again"; exec sleep 600"#;
    let wrapper = ["sh", "-c", once].map(std::ffi::OsString::from);
    let vm = Machine::builder()
        .args(["-machine", "none", "-nodefaults"])
        .wrapper(wrapper.into_iter().chain([folder.path().into()]))
        .launch()?;
    let began = Instant::now();
    // With a writer of its own, it opens at once.
    let mut told = std::fs::File::options().read(true).write(true).open(&fifo)?;
    let dump = std::thread::scope(|scope| -> qemu_test::Result<_> {
        let dump = scope.spawn(|| {
            let dump = vm.schema_dump();
            std::fs::write(&fifo, "over")?;
            dump
        });
        std::io::Read::read_exact(&mut told, &mut [0])?;
        vm.kill()?;
        Ok(dump.join().expect("no panic"))
    })?;
    let error = dump.expect_err("nobody answers");
    assert!(matches!(error, Error::Exited(_)), "{error}");
    assert!(began.elapsed() < Duration::from_secs(50));
    Ok(())
}
