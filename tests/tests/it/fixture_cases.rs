//! Tests of machines that have no guest, whose fixture tells how often it booted. `fixture_store.rs` runs them, in
//! processes of their own with snapshots of their own.

use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use qemu_test::fixture::Fixture;
use qemu_test::{Error, Machine, MachineBuilder, Result, qemu_test, qmp};
use qemu_test_tests::guest;

use crate::guests::{LONG, PROMPT};

/// A machine whose `ready` writes a line to the file that `CASES_BOOTS` names, and then does what `CASES_READY` says.
struct Blank(&'static str);

impl Fixture for Blank {
    fn machine(&self) -> MachineBuilder {
        Machine::builder()
            .arch("x86_64")
            .args(["-machine", "q35", "-m", "32", "-name", self.0])
    }

    fn ready(&self, vm: &Machine) -> Result<()> {
        let boots = std::env::var_os("CASES_BOOTS").expect("this is run by fixture_store.rs");
        let mut boots = File::options().append(true).create(true).open(boots)?;
        writeln!(boots, "{} {}", self.0, vm.pid())?;
        match std::env::var("CASES_READY").as_deref() {
            Ok("fails") => Err(Error::other("the disk is full")),
            Ok("panics") => panic!("the disk is full"),
            // For as long as the machine lives.
            Ok("replaces its image") => {
                let image = std::env::var("CASES_IMAGE").unwrap();
                let new = format!("{image}.new");
                std::fs::copy(&image, &new)?;
                Ok(std::fs::rename(new, image)?)
            }
            Ok("hangs") => vm.wait(Duration::from_secs(600)).map(drop),
            Ok("takes its time") => match vm.wait(Duration::from_secs(20)) {
                Err(Error::Timeout(_)) => Ok(()),
                other => other.map(drop),
            },
            _ => Ok(()),
        }
    }
}

fn is_a_copy(vm: &Machine) {
    assert!(vm.command_line().iter().any(|argument| argument == "-incoming"));
    assert_eq!(vm.command("query-status").unwrap()["status"], "running");
}

fn has_booted(vm: &Machine) {
    assert!(!vm.command_line().iter().any(|argument| argument == "-incoming"));
}

#[qemu_test(fixture = Blank("one"))]
#[ignore = "run by fixture_store.rs"]
fn copy_1(vm: &Machine) {
    is_a_copy(vm);
}

#[qemu_test(fixture = Blank("one"))]
#[ignore = "run by fixture_store.rs"]
fn copy_2(vm: &Machine) {
    is_a_copy(vm);
}

#[qemu_test(fixture = Blank("one"), timeout = "15s")]
#[ignore = "run by fixture_store.rs"]
fn copy_3(vm: &Machine) {
    is_a_copy(vm);
}

#[qemu_test(fixture = Blank("two"))]
#[ignore = "run by fixture_store.rs"]
fn another(vm: &Machine) {
    is_a_copy(vm);
}

fn marks(vm: &Machine) -> usize {
    let objects = vm.command(qmp!(qom_list { path: "/objects" })).unwrap();
    let objects = objects.as_array().unwrap();
    objects.iter().filter(|object| object["name"] == "mark").count()
}

fn mark(vm: &Machine) {
    vm.command(qmp!(object_add {
        qom_type: "iothread",
        id: "mark"
    }))
    .unwrap();
}

#[qemu_test(fixture = Blank("one"), isolation = shared)]
#[ignore = "run by fixture_store.rs"]
fn shared_1_marks(vm: &Machine) {
    assert_eq!(marks(vm), 0);
    mark(vm);
}

#[qemu_test(fixture = Blank("one"), isolation = shared)]
#[ignore = "run by fixture_store.rs"]
fn shared_2_sees_the_mark_and_pauses(vm: &Machine) {
    assert_eq!(marks(vm), 1);
    vm.command("stop").unwrap();
}

#[qemu_test(fixture = Blank("one"), isolation = shared)]
#[ignore = "run by fixture_store.rs"]
fn shared_3_has_a_new_one_and_kills(vm: &Machine) {
    assert_eq!(marks(vm), 0);
    assert_eq!(vm.command("query-status").unwrap()["status"], "running");
    if std::env::var_os("CASES_FAIL").is_some() {
        panic!("on purpose");
    }
    vm.kill().unwrap();
}

#[qemu_test(fixture = Blank("one"), isolation = shared)]
#[ignore = "run by fixture_store.rs"]
fn shared_4_has_a_new_one(vm: &Machine) {
    assert_eq!(marks(vm), 0);
    is_a_copy(vm);
}

#[qemu_test]
#[ignore = "run by fixture_store.rs"]
fn twice_shared(
    #[machine(fixture = Blank("one"), isolation = shared)] _first: &Machine,
    #[machine(fixture = crate::fixture_cases::Blank("one"), isolation = shared)] _second: &Machine,
) {
}

#[qemu_test]
#[ignore = "run by fixture_store.rs"]
fn two_shared(
    #[machine(fixture = Blank("one"), isolation = shared)] first: &Machine,
    #[machine(fixture = Blank("two"), isolation = shared)] second: &Machine,
) {
    assert_ne!(first.pid(), second.pid());
}

#[qemu_test]
#[ignore = "run by fixture_store.rs"]
fn shared_on_other_terms(
    #[machine(fixture = Blank("one"), isolation = shared)] strict: &Machine,
    #[machine(fixture = crate::fixture_cases::Blank("one"), isolation = shared, allow_console_line = "oops")]
    lenient: &Machine,
) {
    assert_ne!(strict.pid(), lenient.pid());
}

/// Whether a test has the shared machine.
static TAKEN: AtomicBool = AtomicBool::new(false);

fn takes_a_turn(vm: &Machine) {
    assert!(!TAKEN.swap(true, Ordering::SeqCst), "two tests have the machine");
    is_a_copy(vm);
    TAKEN.store(false, Ordering::SeqCst);
}

macro_rules! turns {
    ($($name:ident)*) => {$(
        #[qemu_test(fixture = Blank("one"), isolation = shared)]
        #[ignore = "run by fixture_store.rs"]
        fn $name(vm: &Machine) {
            takes_a_turn(vm);
        }
    )*};
}

turns!(turn_1 turn_2 turn_3 turn_4 turn_5 turn_6 turn_7 turn_8);

#[qemu_test(
    fixture = Blank("one"),
    isolation = shared,
    wrapper = ["sh", "-c", "\"$0\" \"$@\"; exit 3"],
)]
#[ignore = "run by fixture_store.rs"]
fn ends_badly(vm: &Machine) {
    is_a_copy(vm);
}

#[qemu_test(isolation = fork)]
#[ignore = "run by fixture_store.rs"]
fn isolated_from_nothing(_vm: &Machine) {}

/// The same with the image that `CASES_IMAGE` names, in the way that `CASES_DISK` says.
struct WithImage;

impl Fixture for WithImage {
    fn machine(&self) -> MachineBuilder {
        let image = std::env::var("CASES_IMAGE").expect("this is run by fixture_images.rs");
        let machine = Blank("image").machine();
        match std::env::var("CASES_DISK").as_deref() {
            Ok("hda") => machine.args(["-hda", &image]),
            Ok("drive") => machine.args(["-drive", &format!("file={image},if=virtio,format=qcow2")]),
            Ok("flat") => machine.args([
                "-blockdev",
                &format!("driver=raw,node-name=disk0,file.driver=file,file.filename={image}"),
                "-device",
                "virtio-blk-pci,drive=disk0",
            ]),
            Ok("json") => machine.args([
                "-blockdev",
                &format!(r#"{{"driver": "file", "filename": "{image}", "node-name": "file0"}}"#),
                "-blockdev",
                "driver=raw,file=file0,node-name=disk0",
                "-device",
                "virtio-blk-pci,drive=disk0",
            ]),
            other => panic!("CASES_DISK is {other:?}"),
        }
    }

    fn ready(&self, vm: &Machine) -> Result<()> {
        Blank("image").ready(vm)
    }
}

/// Says that the test has its machine, and keeps it until whoever started this process says that it is enough.
fn hold() {
    if let Some(sign) = std::env::var_os("CASES_HOLD") {
        std::fs::write(sign, "").unwrap();
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    }
}

#[qemu_test(fixture = WithImage)]
#[ignore = "run by fixture_images.rs"]
fn image_copied(vm: &Machine) {
    is_a_copy(vm);
    hold();
}

#[qemu_test(fixture = WithImage, args = ["-name", "more"])]
#[ignore = "run by fixture_images.rs"]
fn image_copied_with_more(vm: &Machine) {
    is_a_copy(vm);
    hold();
}

#[qemu_test(fixture = WithImage, isolation = boot)]
#[ignore = "run by fixture_images.rs"]
fn image_booted(vm: &Machine) {
    has_booted(vm);
    hold();
}

#[qemu_test(fixture = WithImage)]
#[ignore = "run by fixture_images.rs"]
fn image_boots_instead(vm: &Machine) {
    has_booted(vm);
    panic!("on purpose");
}

/// A machine that gets a device that a copy of it does not have.
struct Plugged;

impl Fixture for Plugged {
    fn machine(&self) -> MachineBuilder {
        Machine::builder()
            .arch("x86_64")
            .args(["-machine", "pc", "-m", "32"])
    }

    fn ready(&self, vm: &Machine) -> Result<()> {
        Blank("plugged").ready(vm)?;
        let device = qmp!(device_add {
            driver: "virtio-rng-pci",
            id: "rng0"
        });
        vm.command(device).map(drop)
    }
}

#[qemu_test(fixture = Plugged)]
#[ignore = "run by fixture_store.rs"]
fn boots_instead(vm: &Machine) {
    has_booted(vm);
}

/// A machine with a port of the host's, which only one can have.
struct WithPort;

impl Fixture for WithPort {
    fn machine(&self) -> MachineBuilder {
        let port = std::env::var("CASES_PORT").expect("this is run by fixture_store.rs");
        let network = format!("user,hostfwd=tcp:127.0.0.1:{port}-:22");
        Blank("port").machine().args(["-nic", &network])
    }

    fn ready(&self, vm: &Machine) -> Result<()> {
        Blank("port").ready(vm)
    }
}

#[qemu_test(fixture = WithPort)]
#[ignore = "run by fixture_store.rs"]
fn port_copied(vm: &Machine) {
    is_a_copy(vm);
}

#[qemu_test(fixture = crate::fixture::Linux, timeout = "5m")]
#[ignore = "run by fixture_store.rs"]
fn linux(vm: &Machine) {
    has_booted(vm);
    panic!("on purpose");
}

/// The guest that has mounted a folder of the host's, which QEMU cannot take along.
struct Mounted;

impl Fixture for Mounted {
    fn machine(&self) -> MachineBuilder {
        Machine::builder()
            .arch("x86_64")
            .console()
            .args(["-machine", "q35", "-m", "256", "-append", "console=ttyS0 quiet"])
            .arg("-kernel")
            .arg(guest::generic::kernel())
            .arg("-initrd")
            .arg(guest::generic::initramfs())
            .args([
                "-virtfs",
                "local,path=/usr/share,mount_tag=host,security_model=none,readonly=on",
            ])
    }

    fn ready(&self, vm: &Machine) -> Result<()> {
        vm.console().wait_for(PROMPT, LONG)?;
        let shell = vm.console().shell(PROMPT);
        shell
            .succeed("mount -t 9p -o trans=virtio,ro host /mnt")
            .map(drop)
    }
}

#[qemu_test(fixture = Mounted, timeout = "5m")]
#[ignore = "run by fixture_store.rs"]
fn mounted(vm: &Machine) {
    vm.console().shell(PROMPT).succeed("ls /mnt").unwrap();
    panic!("on purpose");
}
