//! What a watch makes of what a guest says and does.

use super::super::state::QUIET;
use super::*;
use serde_json::{Value, json};

fn watch(terms: Terms) -> Arc<GuestWatch> {
    GuestWatch::new(terms).unwrap()
}

fn event(name: &str, data: Value) -> Event {
    Event {
        name: name.into(),
        data,
        timestamp: None,
    }
}

fn death(watch: &GuestWatch) -> Option<Death> {
    watch.death(false, || "last words\n".to_owned())
}

fn shutdown(guest: bool, reason: &str) -> Event {
    event("SHUTDOWN", json!({ "guest": guest, "reason": reason }))
}

#[test]
fn a_panic_is_told_with_its_lines_when_the_guest_has_said_its_last_word() {
    let watch = watch(Terms::default());
    watch.line(1, "[    1.0] Kernel panic - not syncing: x");
    watch.line(1, "[    1.0] Call Trace:");
    assert!(death(&watch).is_none() && watch.settles().is_some());
    watch.line(1, "[    1.1] ---[ end Kernel panic - not syncing: x ]---");
    let death = death(&watch).unwrap();
    assert_eq!(death.reason, "the guest panicked: Kernel panic - not syncing: x");
    assert_eq!(death.output.lines().count(), 3);
    assert!(self::death(&watch).is_none(), "told twice");
    assert_eq!(watch.troubles()[0].summary, death.reason);
}

#[test]
fn a_panic_without_a_last_word_is_told_when_the_guest_falls_silent() {
    let watch = watch(Terms::default());
    watch.line(1, "Kernel panic - not syncing: x");
    let settles = watch.settles().unwrap();
    assert!(settles.remaining().unwrap() <= QUIET);
    while !settles.expired() {
        std::thread::sleep(settles.remaining().unwrap());
    }
    assert!(death(&watch).is_some());
}

#[test]
fn a_guest_that_the_host_has_reset_can_die_again() {
    let watch = watch(Terms::default());
    let reset = |by_guest| event("RESET", json!({ "guest": by_guest, "reason": "x" }));
    watch.event(&shutdown(true, "guest-shutdown"), 0);
    assert_eq!(death(&watch).unwrap().event, 1);
    watch.event(&reset(true), 0);
    watch.event(&shutdown(true, "guest-shutdown"), 0);
    assert!(death(&watch).is_none(), "the guest's own reset changes nothing");

    watch.event(&reset(false), 0);
    assert!(death(&watch).is_none() && watch.settles().is_none());
    watch.line(1, "Kernel panic - not syncing: x");
    watch.line(1, "---[ end Kernel panic - not syncing: x ]---");
    assert_eq!(death(&watch).unwrap().kind, DeathKind::Panic);
    watch.event(&reset(false), 0);
    watch.event(&shutdown(true, "guest-shutdown"), 0);
    let third = death(&watch).unwrap();
    assert_eq!((third.kind, third.event), (DeathKind::End, 3));
}

#[test]
fn a_panic_device_is_believed_with_and_without_words() {
    let panicked = event("GUEST_PANICKED", json!({ "action": "poweroff" }));
    let silent = watch(Terms::default());
    silent.event(&panicked, 0);
    assert!(
        death(&silent)
            .unwrap()
            .reason
            .contains("its panic device told QEMU")
    );
    let spoken = watch(Terms::default());
    spoken.line(1, "Kernel panic - not syncing: x");
    spoken.event(&panicked, 0);
    assert_eq!(death(&spoken).unwrap().output, "Kernel panic - not syncing: x");
    assert_eq!(spoken.troubles().len(), 1);
}

#[test]
fn an_expected_panic_ends_no_wait_and_its_absence_is_a_trouble() {
    let expecting = || {
        watch(Terms {
            expect_panic: true,
            ..Terms::default()
        })
    };
    let guest = expecting();
    guest.line(1, "BUG: on the way to it");
    guest.line(1, "Kernel panic - not syncing: x");
    assert!(guest.death(true, String::new).is_none() && guest.troubles().is_empty());
    assert_eq!(
        expecting().troubles()[0].summary,
        "the guest did not panic, and was expected to"
    );
}

#[test]
fn only_what_the_guest_does_by_itself_is_its_death() {
    for (event, reason) in [
        (shutdown(true, "guest-shutdown"), Some("the guest powered off")),
        (
            shutdown(true, "guest-reset"),
            Some("the guest reset itself without a word"),
        ),
        (shutdown(false, "host-qmp-quit"), None),
        (shutdown(false, "host-qmp-system-reset"), None),
        (shutdown(false, "host-signal"), None),
        (
            event("RESET", json!({ "guest": true, "reason": "guest-reset" })),
            None,
        ),
        (
            event("WATCHDOG", json!({ "action": "pause" })),
            Some("the guest was paused"),
        ),
        (event("WATCHDOG", json!({ "action": "none" })), None),
    ] {
        let watch = watch(Terms::default());
        watch.event(&event, 0);
        let death = death(&watch);
        assert_eq!(death.is_some(), reason.is_some(), "{event}");
        assert!(death.is_none_or(|death| death.reason.starts_with(reason.unwrap())));
        assert!(watch.troubles().is_empty(), "{event}");
    }
}

#[test]
fn a_power_off_that_was_asked_for_or_announced_is_no_death() {
    let asked = watch(Terms::default());
    asked.event(&event("POWERDOWN", json!({})), 0);
    asked.event(&shutdown(true, "guest-shutdown"), 0);
    assert!(death(&asked).is_none());
    let announced = watch(Terms {
        expects_end: true,
        ..Terms::default()
    });
    announced.event(&shutdown(true, "guest-shutdown"), 0);
    assert!(death(&announced).is_none());
}

#[test]
fn a_reboot_says_so_and_a_loop_of_resets_is_death() {
    let watch = watch(Terms::default());
    let reset = event("RESET", json!({ "guest": true, "reason": "guest-reset" }));
    for number in 0..3 {
        assert!(death(&watch).is_none());
        if number > 0 {
            std::thread::sleep(super::super::resets::BURST);
        }
        watch.event(&reset, 4);
    }
    let death = watch
        .death(false, || "[ 2.0] reboot: Restarting system\n".to_owned())
        .unwrap();
    assert_eq!(death.kind, DeathKind::ResetLoop);
    assert!(
        death
            .reason
            .ends_with("reboots again and again, 3 times in a row"),
        "{}",
        death.reason
    );
    assert_eq!(watch.resets(), 3);
}

#[test]
fn a_line_that_is_allowed_is_not_bad_and_the_others_are() {
    let watch = watch(Terms {
        allowed: vec![Regex::new("KASAN|soft lockup").unwrap()],
        ..Terms::default()
    });
    watch.line(1, "BUG: KASAN: use-after-free in f");
    assert!(watch.troubles().is_empty());
    watch.line(1, "BUG: unable to handle page fault");
    assert_eq!(
        watch.troubles()[0].summary,
        "the guest said a bad line (kernel bug): BUG: unable to handle page fault"
    );
    assert!(watch.death(true, String::new).is_none(), "a flaw ends no wait");
}

#[test]
fn lines_of_two_consoles_do_not_mix_and_a_flood_of_bad_ones_is_counted() {
    let watch = watch(Terms::default());
    watch.line(1, "BUG: x");
    watch.line(2, "another console");
    watch.line(1, "trace of x");
    assert_eq!(watch.troubles()[0].words, "BUG: x\ntrace of x");
    for number in 3..103 {
        watch.line(number, "BUG: y");
    }
    let troubles = watch.troubles();
    assert_eq!(troubles.len(), INCIDENTS + 1);
    assert_eq!(troubles[INCIDENTS].summary, "the guest said 85 more bad lines");
}
