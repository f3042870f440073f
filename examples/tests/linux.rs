//! A Linux guest: commands in its shell, files in and out, a folder of the host's, its power button.

use std::fs;
use std::time::Duration;

use qemu_test::console::Shell;
use qemu_test::{Accel, Machine, MachineBuilder, qemu_test};
use qemu_test_examples::guest::{self, BUSY_HOST, PROMPT};

/// Booting takes two seconds on an idle machine, and a multiple of that on a busy one.
const BOOT: Duration = Duration::from_secs(120);

fn linux() -> MachineBuilder {
    Machine::builder()
        .arch("x86_64")
        // KVM where it really works, or else TCG: the report says which, and why.
        .accel(Accel::Auto)
        .args(["-machine", "q35", "-m", "256"])
        .arg("-kernel")
        .arg(guest::kernel())
        .arg("-initrd")
        .arg(guest::initramfs())
        .args(["-append", &format!("console=ttyS0 quiet {BUSY_HOST}")])
        .console()
}

fn shell(vm: &Machine) -> Shell {
    vm.console().shell(PROMPT).timeout(BOOT)
}

#[qemu_test(machine = linux(), timeout = "3m")]
fn commands_run_in_its_shell(vm: &Machine) -> qemu_test::Result<()> {
    let shell = shell(vm);
    assert_eq!(shell.succeed("uname -s -m")?, "Linux x86_64\n");
    shell.fail("mount /dev/nothing /mnt")?;
    let output = shell.run("echo a line; exit 3")?;
    assert_eq!((output.status, output.stdout.as_str()), (3, "a line\n"));

    // What takes time in the guest is waited for, not slept for.
    shell.succeed("(sleep 1; echo done >/tmp/result) &")?;
    assert_eq!(shell.wait_until_succeeds("cat /tmp/result", BOOT)?, "done\n");
    Ok(())
}

#[qemu_test(machine = linux(), timeout = "3m")]
fn files_go_in_and_out(vm: &Machine) -> qemu_test::Result<()> {
    let shell = shell(vm);
    shell.write_file("/tmp/script", "#!/bin/sh\nseq $1 | sort -rn >/tmp/numbers\n")?;
    shell.succeed("sh /tmp/script 3")?;
    let numbers = vm.dir().join("numbers");
    shell.copy_out("/tmp/numbers", &numbers)?;
    assert_eq!(fs::read_to_string(numbers)?, "3\n2\n1\n");
    Ok(())
}

// A folder goes in much faster than over the console.
#[qemu_test(machine = linux().share("crate", env!("CARGO_MANIFEST_DIR")), timeout = "3m")]
fn a_folder_of_the_host_is_there(vm: &Machine) -> qemu_test::Result<()> {
    let shell = shell(vm);
    shell.unpack_shared("crate", "/crate")?;
    let manifest = shell.read_file("/crate/Cargo.toml")?;
    assert_eq!(
        manifest,
        fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))?
    );
    Ok(())
}

// The kernel writes to the first serial port, and the test talks over a virtio console: neither disturbs the other.
#[qemu_test(machine = linux().virtio_console("talk"), timeout = "3m")]
fn the_shell_may_be_on_a_console_of_its_own(vm: &Machine) -> qemu_test::Result<()> {
    // Most guests start one by themselves, from inittab or as a service: `agetty hvc0`.
    shell(vm).succeed("setsid -c sh -l </dev/hvc0 >/dev/hvc0 2>&1 &")?;
    let shell = vm.console_named("talk").shell(PROMPT);
    shell.succeed("echo '<0>a word of the kernel' >/dev/kmsg")?;
    vm.console().wait_for("a word of the kernel", BOOT)?;
    Ok(())
}

#[qemu_test(machine = linux(), timeout = "3m")]
fn it_powers_off_at_its_button(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for(PROMPT, BOOT)?;
    vm.powerdown(Duration::from_secs(60))?;
    assert!(!vm.is_running());
    Ok(())
}

#[qemu_test(machine = linux().args(["-device", "VGA"]), timeout = "3m")]
fn its_screen_can_be_looked_at(vm: &Machine) -> qemu_test::Result<()> {
    let shell = shell(vm);
    shell.succeed("echo 'Hello from the guest' >/dev/tty1")?;
    // For people, or for a program that compares pictures. Where a test fails, look in its folder.
    vm.screenshot(vm.dir().join("screen.png"))
}
