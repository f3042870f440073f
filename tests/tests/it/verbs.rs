//! What a test does to a machine as a person would at its case.

use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use qemu_test::{Error, Machine, qemu_test};

use crate::guests::{LONG, PROMPT, TYPEWRITER, boot_disk, booting, linux};

const NONE: [&str; 2] = ["-machine", "none"];

fn status(vm: &Machine) -> qemu_test::Result<String> {
    Ok(vm.command("query-status")?["status"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

fn names(vm: &Machine) -> qemu_test::Result<Vec<String>> {
    Ok(vm.events()?.into_iter().map(|event| event.name).collect())
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

#[test]
fn a_reset_begins_anew_and_is_not_mistaken_for_an_earlier_one() {
    let disk = boot_disk(TYPEWRITER);
    booting(&disk).test(|vm| -> qemu_test::Result<()> {
        for _ in 0..3 {
            vm.console().wait_for(">", LONG)?;
            vm.command("system_reset")?;
            vm.console().wait_for(">", LONG)?;
            vm.reset()?;
        }
        vm.console().wait_for(">", LONG)?;
        // The firmware resets the machine once more by itself each time.
        let by_the_host = vm
            .events()?
            .into_iter()
            .filter(|event| event.data["guest"] == false);
        assert_eq!(
            by_the_host.count(),
            3,
            "the verb takes its own event and leaves the others"
        );
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
    for _ in 0..2 {
        vm.pause()?;
        assert_eq!(status(vm)?, "paused");
    }
    for _ in 0..2 {
        vm.resume()?;
        assert_eq!(status(vm)?, "running");
    }
    assert_eq!(names(vm)?, ["STOP", "RESUME"]);
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
