//! Machines of a fixture, as tests get them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use qemu_test::fixture::{Fixture, Isolation};
use qemu_test::{Machine, MachineBuilder, Result, qemu_test, qmp};
use qemu_test_tests::guest::{self, BUSY_HOST};

use crate::guests::{IN_TURN, LONG, PROMPT, linux};
use crate::launch::started_by_hand;

const SECOND: Duration = Duration::from_secs(1);

/// The small Linux guest at its prompt, with a line of its own in a file.
#[derive(Clone, Copy)]
pub(crate) struct Linux;

impl Fixture for Linux {
    fn machine(&self) -> MachineBuilder {
        linux("console=ttyS0 quiet").console()
    }

    fn ready(&self, vm: &Machine) -> Result<()> {
        vm.console().wait_for(PROMPT, LONG)?;
        vm.console()
            .send_line("head -c 8 /dev/urandom | md5sum >/booted")?;
        vm.console().wait_for(PROMPT, LONG).map(drop)
    }
}

pub(crate) fn run(vm: &Machine, command: &str) -> Result<String> {
    vm.console().shell(PROMPT).succeed(command)
}

#[qemu_test(fixture = Linux)]
fn a_copy_goes_on_where_the_guest_was(vm: &Machine) -> Result<()> {
    assert!(vm.events()?.is_empty(), "the copying has left events behind");
    assert_eq!(vm.command("query-status")?["status"], "running");
    let output = vm.console().output();
    assert!(output.contains("guest is up: Linux"), "{output}");
    assert_eq!(run(vm, "cat /booted")?.lines().count(), 1);
    vm.command("stop")?;
    vm.wait_event(qmp!(STOP), 5 * SECOND)?;
    Ok(())
}

#[qemu_test(fixture = Linux)]
fn a_copy_that_asks_its_hardware_clock_has_the_time_of_day(vm: &Machine) -> Result<()> {
    let now = || {
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap()
            .as_secs()
    };
    let before = now();
    let said = run(
        vm,
        "date -u -s '2001-01-01 00:00:00' && hwclock -u -s && date -u +%s",
    )?;
    let time: u64 = said.lines().last().unwrap().parse().unwrap();
    // The hardware clock has whole seconds, and they need not begin when the host's do.
    assert!((before - 2..=now() + 1).contains(&time), "{time} is not {before}");
    Ok(())
}

#[qemu_test(fixture = Linux)]
fn what_one_test_writes_no_other_sees(first: &Machine, second: &Machine) -> Result<()> {
    let booted = run(first, "cat /booted")?;
    run(first, "rm -rf /bin/vi /etc/passwd /booted; echo mine >/etc/motd")?;
    assert_eq!(run(second, "cat /booted")?, booted);
    run(second, "test ! -e /etc/motd")?;
    Linux.test(Isolation::Fork, |third| {
        assert_eq!(run(third, "cat /booted").unwrap(), booted);
        run(third, "test ! -e /etc/motd").map(drop)
    });
    Ok(())
}

#[qemu_test(fixture = Linux, isolation = boot)]
fn a_boot_of_its_own_is_another_boot(vm: &Machine) -> Result<()> {
    let copy = Linux.launch(Isolation::Fork)?;
    assert_ne!(run(vm, "cat /booted")?, run(&copy, "cat /booted")?);
    assert!(!vm.command_line().iter().any(|argument| argument == "-incoming"));
    Ok(())
}

/// The same guest, with two processors on another machine.
struct On(&'static [&'static str]);

impl Fixture for On {
    fn machine(&self) -> MachineBuilder {
        Machine::builder()
            .arch("x86_64")
            .console()
            .args(self.0)
            .args(["-append", &format!("console=ttyS0 quiet {BUSY_HOST}")])
            .arg("-kernel")
            .arg(guest::kernel())
            .arg("-initrd")
            .arg(guest::initramfs())
    }

    fn ready(&self, vm: &Machine) -> Result<()> {
        vm.console().wait_for(PROMPT, LONG).map(drop)
    }
}

fn copies_answer(fixture: &impl Fixture, kilobytes: std::ops::Range<u64>) {
    for _ in 0..2 {
        fixture.test(Isolation::Fork, |vm| {
            assert!(
                vm.command_line().iter().any(|argument| argument == "-incoming"),
                "no copy"
            );
            let total = run(vm, "awk '/MemTotal/ {print $2}' /proc/meminfo").unwrap();
            let total: u64 = total.trim().parse().unwrap();
            assert!(kilobytes.contains(&total), "{total} kB");
        });
    }
}

#[test]
fn memory_of_the_machines_own_size_is_copied() {
    // 128 MiB.
    copies_answer(&On(&["-machine", "q35"]), 60_000..131_072);
}

#[test]
fn memory_in_any_of_its_forms_is_copied() {
    copies_answer(
        &On(&["-M", "pc", "-m", "size=192M,slots=2,maxmem=1G"]),
        65_536..196_608,
    );
}

#[test]
fn several_machine_options_and_processors_are_copied() {
    const OPTIONS: [&str; 12] = [
        IN_TURN[0],
        IN_TURN[1],
        "-machine",
        "q35",
        "-machine",
        "vmport=off",
        "-M",
        "smm=off",
        "-smp",
        "2",
        "-m",
        "0.25G",
    ];
    let linux = On(&OPTIONS);
    copies_answer(&linux, 196_608..262_144);
    linux.test(Isolation::Fork, |vm| {
        assert_eq!(run(vm, "nproc").unwrap().trim(), "2");
    });
}

#[test]
fn a_microvm_is_copied() {
    copies_answer(&On(&["-M", "microvm,acpi=off", "-m", "256"]), 131_072..262_144);
}

/// The guest on aarch64's `virt`.
struct Virt;

impl Fixture for Virt {
    fn machine(&self) -> MachineBuilder {
        Machine::builder()
            .arch("aarch64")
            .console()
            .args([
                "-machine",
                "virt",
                "-cpu",
                "max",
                "-m",
                "256",
                "-append",
                "console=ttyAMA0 quiet",
            ])
            .arg("-kernel")
            .arg(guest::aarch64::kernel())
            .arg("-initrd")
            .arg(guest::aarch64::initramfs())
    }

    fn ready(&self, vm: &Machine) -> Result<()> {
        vm.console().wait_for(PROMPT, 2 * LONG).map(drop)
    }
}

#[test]
fn another_architecture_is_copied() {
    copies_answer(&Virt, 131_072..262_144);
}

/// Debian's ordinary kernel, which has a driver for `vmgenid`.
struct Generic;

impl Fixture for Generic {
    fn machine(&self) -> MachineBuilder {
        Machine::builder()
            .arch("x86_64")
            .console()
            .args([
                "-machine",
                "q35",
                "-m",
                "256",
                "-append",
                &format!("console=ttyS0 quiet {BUSY_HOST}"),
            ])
            .arg("-kernel")
            .arg(guest::generic::kernel())
            .arg("-initrd")
            .arg(guest::generic::initramfs())
    }

    fn ready(&self, vm: &Machine) -> Result<()> {
        vm.console().wait_for(PROMPT, LONG).map(drop)
    }
}

#[qemu_test(fixture = Generic)]
fn copies_draw_random_numbers_of_their_own(first: &Machine, second: &Machine) -> Result<()> {
    // The very first ones that either draws.
    let draw = |vm| run(vm, "head -c 16 /dev/urandom | md5sum");
    assert_ne!(draw(first)?, draw(second)?);
    Ok(())
}

/// A disk of the test's own, of which the guest has written the beginning before it was ready.
struct Disk {
    image: PathBuf,
    how: fn(&str) -> Vec<String>,
    device: &'static str,
}

impl Fixture for Disk {
    fn machine(&self) -> MachineBuilder {
        linux("console=ttyS0 quiet")
            .console()
            .args((self.how)(self.image.to_str().unwrap()))
    }

    fn ready(&self, vm: &Machine) -> Result<()> {
        vm.console().wait_for(PROMPT, LONG)?;
        vm.console()
            .send_line(format!("echo made-by-the-boot >{}; sync", self.device))?;
        vm.console().wait_for(PROMPT, LONG).map(drop)
    }
}

/// Starts a copy's machine by its `command.sh`, and has its guest write to the disk.
fn is_written_by_hand(disk: &Disk) {
    let mut by_hand = None;
    disk.test(Isolation::Fork, |vm| {
        let script = std::fs::read_to_string(vm.dir().join("command.sh")).unwrap();
        // Past the console to the monitor, where QEMU's own tool writes to the disks of a machine as its guest would.
        let name = if script.contains("node-name=disk0") {
            "-d /machine/peripheral-anon/device[0]/virtio-backend"
        } else {
            "virtio0"
        };
        by_hand = Some(started_by_hand(
            vm,
            &format!("\x01cqemu-io {name} \"write -P 0x41 0 64k\"\nquit\n"),
        ));
    });
    let by_hand = by_hand.unwrap();
    let said = String::from_utf8_lossy(&by_hand.stdout);
    assert!(by_hand.status.success() && said.contains("wrote 65536"), "{said}");
}

fn disk_of_the_copy_alone(how: fn(&str) -> Vec<String>, device: &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk,image");
    std::fs::write(&image, vec![b'.'; 1 << 20]).unwrap();
    let disk = Disk { image, how, device };
    let first_line = |vm: &Machine| run(vm, &format!("head -n 1 {device}")).unwrap();
    disk.test(Isolation::Fork, |vm| {
        // The second copy runs at the same time as the first.
        let other = disk.launch(Isolation::Fork).unwrap();
        assert_eq!(first_line(vm), "made-by-the-boot\n");
        run(vm, &format!("echo first >{device}; sync")).unwrap();
        run(&other, &format!("echo second >{device}; sync")).unwrap();
        run(vm, "echo 3 >/proc/sys/vm/drop_caches").unwrap();
        assert_eq!(first_line(vm), "first\n");
        assert_eq!(first_line(&other), "second\n");
    });
    disk.test(Isolation::Boot, |vm| {
        assert_eq!(first_line(vm), "made-by-the-boot\n")
    });
    is_written_by_hand(&disk);
    let image = std::fs::read(&disk.image).unwrap();
    assert!(image.iter().all(|byte| *byte == b'.'), "the image was written");
}

fn escaped(image: &str) -> String {
    image.replace(',', ",,")
}

#[test]
fn a_drive_is_written_in_the_copy_alone() {
    disk_of_the_copy_alone(
        |image| {
            vec![
                "-drive".into(),
                format!("file={},format=raw,if=virtio", escaped(image)),
            ]
        },
        "/dev/vda",
    );
}

#[test]
fn a_block_node_is_written_in_the_copy_alone() {
    disk_of_the_copy_alone(
        |image| {
            [
                "-blockdev",
                &format!(r#"{{"driver": "file", "filename": "{image}", "node-name": "file0"}}"#),
                "-blockdev",
                "driver=raw,file=file0,node-name=disk0",
                "-device",
                "virtio-blk-pci,drive=disk0",
            ]
            .map(str::to_owned)
            .to_vec()
        },
        "/dev/vda",
    );
}

#[test]
fn a_temporary_drive_is_kept_with_the_guest() {
    disk_of_the_copy_alone(
        |image| {
            let drive = format!("file={},format=raw,if=virtio,snapshot=on", escaped(image));
            vec!["-snapshot".into(), "-drive".into(), drive]
        },
        "/dev/vda",
    );
}

/// A machine without a guest, whose `ready` counts.
struct Counted(&'static [&'static str], &'static AtomicU32);

impl Fixture for Counted {
    fn machine(&self) -> MachineBuilder {
        Machine::builder().arch("x86_64").args(self.0)
    }

    fn ready(&self, _vm: &Machine) -> Result<()> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn cache_key(&self) -> Option<String> {
        // New for each process: nothing of earlier runs is used.
        Some(format!("counted {}", std::process::id()))
    }
}

#[test]
fn what_cannot_be_copied_boots_for_each_test_and_says_why() {
    static READY: AtomicU32 = AtomicU32::new(0);
    let options = &[
        "-machine",
        "q35,memory-backend=mine",
        "-m",
        "64",
        "-object",
        "memory-backend-ram,id=mine,size=64M",
        "-name",
        "fallback",
    ];
    let memory = Counted(options, &READY);
    for _ in 0..2 {
        memory.test(Isolation::Fork, |vm| {
            assert!(!vm.command_line().iter().any(|argument| argument == "-incoming"));
        });
    }
    // Once for each test, and never for the snapshot: the obstacle is found before that.
    assert_eq!(READY.load(Ordering::Relaxed), 2);
}

static UNCOUNTED: AtomicU32 = AtomicU32::new(0);

#[qemu_test(fixture = Counted(&["-machine", "none"], &UNCOUNTED))]
fn a_machine_without_memory_is_copied(vm: &Machine) -> Result<()> {
    assert!(vm.command_line().iter().any(|argument| argument == "-incoming"));
    assert_eq!(vm.command("query-status")?["status"], "running");
    Ok(())
}

#[qemu_test(fixture = Counted(&["-machine", "q35", "-m", "32"], &UNCOUNTED), args = ["-S"], console, wrapper = ["nice"], qtest)]
fn what_a_test_adds_makes_another_machine(vm: &Machine) -> Result<()> {
    let line = vm.command_line();
    assert_eq!(line[0], "nice");
    assert!(line.iter().any(|argument| argument == "-S"));
    assert_ne!(vm.command("query-status")?["running"], true);
    assert_eq!(vm.console().output(), "");
    vm.qtest().outb(0x80, 1)?;
    Ok(())
}

#[test]
fn a_machine_to_which_the_fixture_adds_something_boots_for_each_test() {
    struct Plugged;
    impl Fixture for Plugged {
        fn machine(&self) -> MachineBuilder {
            Machine::builder()
                .arch("x86_64")
                .args(["-machine", "pc", "-m", "32"])
        }

        fn ready(&self, vm: &Machine) -> Result<()> {
            vm.command(qmp!(device_add {
                driver: "virtio-rng-pci",
                id: "rng0"
            }))
            .map(drop)
        }
    }
    // Outside of any test, too, the machine that could not be copied makes room for one that boots.
    let vm = Plugged.launch(Isolation::Fork).unwrap();
    assert!(vm.hmp("info qtree").unwrap().contains("id \"rng0\""));
    drop(vm);
    for _ in 0..2 {
        Plugged.test(Isolation::Fork, |vm| {
            let devices = vm.hmp("info qtree").unwrap();
            assert!(devices.contains("id \"rng0\""), "{devices}");
        });
    }
}
