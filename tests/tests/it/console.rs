//! Consoles of real guests, and shells on them.

use std::fs;
use std::time::Duration;

use qemu_test::console::Shell;
use qemu_test::{Error, Machine, MachineBuilder, qemu_test};

use crate::guests::{LONG, PROMPT, linux};

/// Has the guest's first console run a shell on another of its devices, as root's own.
fn shell_on(vm: &Machine, device: &str, console: &str) -> qemu_test::Result<Shell> {
    let command = format!("setsid -c sh -l <{device} >{device} 2>&1 &");
    vm.console().shell(PROMPT).timeout(LONG).succeed(command)?;
    Ok(vm.console_named(console).shell(PROMPT).timeout(LONG))
}

#[qemu_test(machine = linux("console=ttyS0 quiet"), console, timeout = "5m")]
fn a_shell_runs_commands_and_copies_files(vm: &Machine) -> qemu_test::Result<()> {
    let shell = vm.console().shell(PROMPT).timeout(LONG);
    assert_eq!(shell.succeed("uname -s")?, "Linux\n");
    assert_eq!(shell.run("printf '~ # '; exit 3")?.status, 3);
    shell.fail("mount /dev/nothing /mnt")?;
    // What a shell is asked is no word of the kernel's, echoed as it is.
    assert_eq!(shell.fail("dmesg | grep -c 'Kernel panic - not syncing'")?, "0\n");
    shell.succeed("(sleep 1; touch /tmp/done) &")?;
    shell.wait_until_succeeds("[ -e /tmp/done ]", LONG)?;

    let host = tempfile::tempdir()?;
    let (there, back) = (host.path().join("there"), host.path().join("back"));
    fs::write(&there, [0, 0xff, b'\n', 7])?;
    shell.copy_in(&there, "/tmp/copy")?;
    shell.copy_out("/tmp/copy", &back)?;
    assert_eq!(fs::read(back)?, fs::read(there)?);

    let error = shell.succeed("echo out; echo err >&2; exit 4").unwrap_err();
    assert!(matches!(error, Error::Guest(_)), "{error}");
    let told = error.to_string();
    assert!(
        told.contains("echo out; echo err") && told.contains("status 4") && told.contains("\n  err"),
        "{told}"
    );
    Ok(())
}

#[qemu_test(machine = linux("console=ttyS0 loglevel=7").console().serial_console("second"), timeout = "5m")]
fn a_second_serial_port_has_a_shell_that_the_kernel_does_not_write_to(vm: &Machine) -> qemu_test::Result<()> {
    let shell = shell_on(vm, "/dev/ttyS1", "second")?;
    let numbers = shell.succeed("echo '<4>the kernel speaks' >/dev/kmsg; seq 2000")?;
    assert_eq!(numbers.lines().count(), 2000);
    vm.console().wait_for("the kernel speaks", LONG)?;
    // What was typed is echoed without a newline between: only a message of the kernel has a line of its own.
    assert!(
        !vm.console_named("second")
            .output()
            .contains("] the kernel speaks")
    );

    let files = ["console.log", "console-second.log"].map(|name| fs::read(vm.dir().join(name)).unwrap());
    let has = |file: &[u8], text: &str| String::from_utf8_lossy(file).contains(text);
    assert!(has(&files[0], "Linux version") && !has(&files[1], "Linux version"));
    assert!(has(&files[1], PROMPT));
    Ok(())
}

fn virtio() -> MachineBuilder {
    linux("console=ttyS0 quiet")
        .console()
        .virtio_console("fast")
        .virtio_port("agent")
        // The first place on the bus that is free beside the default network card.
        .args(["-device", "virtio-rng-pci,addr=2"])
}

#[qemu_test(machine = virtio(), timeout = "5m")]
fn a_virtio_console_has_a_shell_and_a_virtio_port_carries_bytes(vm: &Machine) -> qemu_test::Result<()> {
    let shell = shell_on(vm, "/dev/hvc0", "fast")?;
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i * 7 / 3) as u8).collect();
    shell.write_file("/tmp/bytes", &bytes)?;
    assert!(shell.read_file("/tmp/bytes")? == bytes);

    let agent = vm.console_named("agent");
    let port = shell.succeed("grep -lx agent /sys/class/virtio-ports/*/name | cut -d/ -f5")?;
    let port = format!("/dev/{}", port.trim());
    agent.send_line("from the host")?;
    assert_eq!(shell.succeed(format!("head -n 1 {port}"))?, "from the host\n");
    shell.succeed(format!("echo from the guest >{port}"))?;
    agent.wait_for("from the guest\n", LONG)?;
    Ok(())
}

#[qemu_test(machine = linux("console=hvc0").virtio_console("console"), console, timeout = "5m")]
fn a_virtio_console_may_be_the_console(vm: &Machine) -> qemu_test::Result<()> {
    let shell = vm.console().shell(PROMPT).timeout(LONG);
    assert_eq!(shell.succeed("cat /proc/consoles | cut -d' ' -f1")?, "hvc0\n");
    assert!(vm.console().output().contains("BusyBox"));
    Ok(())
}

#[test]
fn a_console_that_is_not_there_is_told_with_those_that_are() {
    let builder = Machine::builder().args(["-machine", "none"]);
    let vm = builder
        .clone()
        .console()
        .serial_console("debug")
        .launch()
        .unwrap();
    let panicked = std::panic::catch_unwind(|| vm.console_named("wrong").name().to_owned()).unwrap_err();
    let told = panicked.downcast_ref::<String>().unwrap();
    assert_eq!(
        told,
        "machine `vm` has no console `wrong`; it has: console, debug"
    );

    let error = builder.serial_console("a/b").launch().unwrap_err();
    assert!(matches!(error, Error::Launch(_)), "{error}");
    assert!(
        error.to_string().contains("`a/b` is no name for a console"),
        "{error}"
    );
}

#[qemu_test(machine = linux("console=ttyS0 quiet"), console, timeout = "5m")]
fn a_control_key_interrupts_a_program(vm: &Machine) -> qemu_test::Result<()> {
    let console = vm.console();
    console.wait_for(PROMPT, LONG)?;
    console.send_line("echo r''eady; cat")?;
    console.wait_for("ready\n", LONG)?;
    console.send_line("ec''ho")?;
    console.wait_for("ec''ho\n", LONG)?;
    console.wait_for("ec''ho\n", LONG)?;
    console.send_control('c')?;
    console.wait_for(PROMPT, LONG)?;
    let error = console.wait_for("never", Duration::from_millis(50)).unwrap_err();
    assert!(
        error.to_string().contains("waiting for `never` on the console"),
        "{error}"
    );
    Ok(())
}
