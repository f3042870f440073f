//! What a test does to a machine as a person would at its case.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant, SystemTime};

use qemu_test::{Error, Machine, qemu_test};

use crate::guests::{LONG, PROMPT, TYPEWRITER, boot_disk, booting, linux};

const NONE: [&str; 2] = ["-machine", "none"];

fn status(vm: &Machine) -> qemu_test::Result<String> {
    Ok(vm.command("query-status")?["status"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

#[qemu_test(machine = linux("console=ttyS0 quiet"), console, timeout = "5m")]
fn the_power_button_ends_a_guest_that_listens(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for(PROMPT, LONG)?;
    vm.powerdown(LONG)?;
    assert!(!vm.is_running());
    assert_eq!(vm.exit_status().and_then(|status| status.code()), Some(0));
    Ok(())
}

#[qemu_test(machine = linux("console=ttyS0 quiet"), args = ["-no-shutdown"], console, timeout = "5m")]
fn a_qemu_that_is_to_stay_stays_when_its_guest_is_off(vm: &Machine) -> qemu_test::Result<()> {
    vm.console().wait_for(PROMPT, LONG)?;
    vm.powerdown(LONG)?;
    assert_eq!(status(vm)?, "shutdown");
    // And it begins anew.
    vm.reset()?;
    vm.resume()?;
    vm.console().wait_for(PROMPT, LONG)?;
    Ok(())
}

#[test]
fn a_guest_that_does_not_listen_to_its_power_button_is_given_its_time_and_no_more() {
    let disk = boot_disk(TYPEWRITER);
    booting(&disk).test(|vm| {
        vm.console().wait_for(">", LONG).unwrap();
        let began = Instant::now();
        let error = vm.powerdown(Duration::from_millis(500)).unwrap_err();
        assert!(matches!(error, Error::Timeout(_)), "{error}");
        let told = error.to_string();
        assert!(
            told.contains("waiting for the guest to power off") && told.contains('>'),
            "{told}"
        );
        assert!(began.elapsed() < LONG && vm.is_running());
    });
}

/// The names of the events that are left, all of which came before `moment`.
#[track_caller]
fn left_from_before(vm: &Machine, moment: SystemTime) -> Vec<String> {
    let events = vm.events().unwrap();
    // The firmware resets the machine once more by itself after a reset by the host.
    let by_the_host = events.into_iter().filter(|event| event.data["guest"] != true);
    let early = by_the_host.inspect(|event| assert!(event.timestamp.unwrap() < moment, "{event}"));
    early.map(|event| event.name).collect()
}

#[test]
fn a_reset_begins_anew_and_takes_its_own_event_alone() {
    let disk = boot_disk(TYPEWRITER);
    booting(&disk).test(|vm| -> qemu_test::Result<()> {
        vm.console().wait_for(">", LONG)?;
        vm.command("system_reset")?;
        vm.console().wait_for(">", LONG)?;
        let moment = SystemTime::now();
        vm.reset()?;
        vm.console().wait_for(">", LONG)?;
        assert_eq!(left_from_before(vm, moment), ["RESET"]);
        Ok(())
    });
}

#[qemu_test(args = ["-machine", "none", "-no-reboot"])]
fn a_reset_that_ends_the_machine_is_an_error(vm: &Machine) -> qemu_test::Result<()> {
    let error = vm.reset().unwrap_err().to_string();
    assert!(error.contains("-no-reboot"), "{error}");
    vm.wait(LONG).map(drop)
}

#[qemu_test(args = NONE)]
fn pause_and_resume_take_their_own_events_and_leave_others(vm: &Machine) -> qemu_test::Result<()> {
    vm.command("stop")?;
    vm.command("cont")?;
    let moment = SystemTime::now();
    for _ in 0..2 {
        vm.pause()?;
        assert_eq!(status(vm)?, "paused");
    }
    for _ in 0..2 {
        vm.resume()?;
        assert_eq!(status(vm)?, "running");
    }
    assert_eq!(left_from_before(vm, moment), ["STOP", "RESUME"]);
    Ok(())
}

#[qemu_test(args = ["-machine", "none", "-S"])]
fn resume_starts_a_machine_that_has_not_run_yet(vm: &Machine) -> qemu_test::Result<()> {
    vm.pause()?;
    assert_eq!(status(vm)?, "prelaunch");
    vm.resume()?;
    assert_eq!(status(vm)?, "running");
    Ok(())
}

#[qemu_test(args = ["-machine", "none", "-incoming", "defer"])]
fn resume_does_not_wait_for_a_machine_that_waits_for_a_migration(vm: &Machine) -> qemu_test::Result<()> {
    vm.resume()?;
    assert_eq!(status(vm)?, "inmigrate");
    Ok(())
}

#[qemu_test(args = NONE)]
fn a_crash_ends_it_on_the_spot(vm: &Machine) -> qemu_test::Result<()> {
    assert_eq!(vm.crash()?.signal(), Some(9));
    assert!(!vm.is_running());
    Ok(())
}

#[qemu_test(machine = linux("console=ttyS0 quiet"), args = ["-no-reboot"], console, timeout = "5m")]
fn a_guest_that_reboots_at_its_power_button_has_not_powered_off(vm: &Machine) -> qemu_test::Result<()> {
    let shell = vm.console().shell(PROMPT).timeout(LONG);
    let names = shell.succeed("grep -lx 'Power Button' /sys/class/input/event*/device/name")?;
    let event = names.split('/').nth(4).unwrap();
    // The guest's own listener is a `head`, and powers off when it got something.
    let listens = format!("ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q /dev/input/{event}");
    shell.succeed("killall head")?;
    shell.wait_until_succeeds(format!("! {listens}"), LONG)?;
    shell.succeed(format!("(head -c 1 /dev/input/{event} >/dev/null; reboot -f) &"))?;
    shell.wait_until_succeeds(listens, LONG)?;
    let error = vm.powerdown(LONG).unwrap_err();
    assert!(matches!(error, Error::Guest(_)), "{error}");
    assert!(error.to_string().contains("reset"), "{error}");
    vm.wait(LONG).map(drop)
}
