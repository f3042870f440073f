//! One boot for a whole file of tests: a Linux guest of which every test has its own copy, and damages it as it likes.

use std::time::Duration;

use qemu_test::fixture::Fixture;
use qemu_test::{Machine, MachineBuilder, Result, qemu_test};
use qemu_test_examples::guest::{self, PROMPT};

const MINUTE: Duration = Duration::from_secs(60);

/// The small Linux guest at its shell's prompt.
struct Linux;

impl Fixture for Linux {
    fn machine(&self) -> MachineBuilder {
        Machine::builder()
            .arch("x86_64")
            .console()
            .args(["-machine", "q35", "-m", "256", "-append", "console=ttyS0 quiet"])
            .arg("-kernel")
            .arg(guest::kernel())
            .arg("-initrd")
            .arg(guest::initramfs())
    }

    fn ready(&self, vm: &Machine) -> Result<()> {
        vm.console().wait_for(PROMPT, 2 * MINUTE).map(drop)
    }
}

// What every test of this file uses that names nothing else.
qemu_test::default_fixture!(Linux);

/// Runs a command in a guest that no other test has touched: each of the tests damages one of these things.
fn run(vm: &Machine, command: &str) -> Result<String> {
    let intact = "grep -q root /etc/passwd && ls /bin/ls /dev/shm /proc/1/exe && test -w / && test \
                  \"$(hostname)\" = guest && test $(date +%Y) -gt 2000 && ip link show lo up | grep -q lo && test ! \
                  -e /tmp/mine && test -e /lib/modules";
    let shell = vm.console().shell(PROMPT);
    shell.succeed(intact)?;
    shell.succeed(command)
}

#[qemu_test]
fn can_lose_all_its_programs(vm: &Machine) -> Result<()> {
    run(
        vm,
        "rm -rf /sbin /lib/modules && cd /bin && rm $(ls | grep -v -x -e busybox -e sh) && test ! -e /bin/ls",
    )
    .map(drop)
}

#[qemu_test]
fn can_lose_all_processes_but_the_first(vm: &Machine) -> Result<()> {
    run(vm, "true")?;
    vm.console().send_line("kill -9 -1")?;
    // init starts another shell.
    vm.console().wait_for(PROMPT, MINUTE).map(drop)
}

#[qemu_test(expect_guest_panic)]
fn can_panic(vm: &Machine) -> Result<()> {
    run(vm, "true")?;
    vm.console().send_line("echo c >/proc/sysrq-trigger")
}

#[qemu_test]
fn can_switch_itself_off(vm: &Machine) -> Result<()> {
    run(vm, "true")?;
    vm.console().send_line("poweroff -f")?;
    assert!(vm.wait(MINUTE)?.success());
    Ok(())
}

#[qemu_test]
fn can_lose_its_users(vm: &Machine) -> Result<()> {
    run(vm, "rm /etc/passwd /etc/group && ! id -n -u").map(drop)
}

#[qemu_test]
fn can_forget_its_name_and_the_time(vm: &Machine) -> Result<()> {
    let said = run(
        vm,
        "hostname nobody && date -u -s '1990-01-01 00:00:00' && hostname",
    )?;
    assert!(said.contains("1990") && said.ends_with("nobody\n"), "{said}");
    Ok(())
}

#[qemu_test]
fn can_run_out_of_space(vm: &Machine) -> Result<()> {
    run(
        vm,
        "! dd if=/dev/zero of=/dev/shm/fill bs=1M && ! echo more >/dev/shm/more",
    )
    .map(drop)
}

#[qemu_test]
fn can_lose_its_network(vm: &Machine) -> Result<()> {
    run(vm, "ip link set lo down && ! ping -c 1 -W 1 127.0.0.1").map(drop)
}

#[qemu_test]
fn can_lose_its_devices(vm: &Machine) -> Result<()> {
    run(
        vm,
        "rm -rf /dev/mem /dev/zero /dev/random && ! head -c 1 /dev/zero",
    )
    .map(drop)
}

#[qemu_test]
fn can_meet_a_copy_of_itself(one: &Machine, another: &Machine) -> Result<()> {
    run(one, "echo mine >/tmp/mine")?;
    run(another, "test ! -e /tmp/mine").map(drop)
}
