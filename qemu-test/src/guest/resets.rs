//! Telling a guest that reboots from one that resets itself again and again.

use std::time::{Duration, Instant};

/// So many resets in a row are no reboot any more: firmware and installers reset once or twice.
const LOOP: u32 = 3;

/// Resets that are further apart than this are not in a row: the guest did something in between.
const APART: Duration = Duration::from_secs(60);

/// Resets that follow one sooner than this are the firmware's, on the way from it: SeaBIOS resets a PC that it finds
/// already set up, in several ways one after the other, within some 40 ms. No guest gets anywhere in that time.
pub(super) const BURST: Duration = Duration::from_millis(250);

/// The resets that a guest has made by itself.
#[derive(Debug, Default)]
pub(super) struct Resets {
    /// All of them.
    pub(super) count: u32,
    in_a_row: u32,
    last: Option<(Instant, u64)>,
}

impl Resets {
    /// The guest has reset itself; `progress` counts what the test has got of the machine so far. True when this
    /// makes it a loop: again and again, while the test got nothing.
    pub(super) fn add(&mut self, now: Instant, progress: u64) -> bool {
        self.count += 1;
        if self
            .last
            .is_some_and(|(last, _)| now.duration_since(last) < BURST)
        {
            return false;
        }
        let in_a_row = self
            .last
            .is_some_and(|(last, before)| before == progress && now.duration_since(last) < APART);
        self.in_a_row = if in_a_row { self.in_a_row + 1 } else { 1 };
        self.last = Some((now, progress));
        self.in_a_row == LOOP
    }

    /// How many there were in a row.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_three_in_a_row_with_nothing_for_the_test_in_between() {
        let (mut resets, now) = (Resets::default(), Instant::now());
        let loops = [0, 1, 2, 3].map(|number| resets.add(now + number * BURST, 7));
        assert_eq!(loops, [false, false, true, false]);
        assert_eq!(resets.in_a_row(), 4);
    }

    #[test]
    fn what_the_firmware_does_on_the_way_from_one_reset_is_that_reset() {
        let (mut resets, now) = (Resets::default(), Instant::now());
        let moments = [0, 4, 35, 249].map(Duration::from_millis);
        assert!(moments.iter().all(|moment| !resets.add(now + *moment, 7)));
        assert_eq!((resets.in_a_row(), resets.count), (1, 4));
        // However fast a loop is, it is one.
        let mut fast = (1..100).map(|number| now + number * BURST / 4);
        assert!(fast.any(|moment| resets.add(moment, 7)));
    }

    #[test]
    fn a_test_that_reboots_its_guest_makes_no_loop() {
        let (mut resets, now) = (Resets::default(), Instant::now());
        assert!((0..10).all(|progress| !resets.add(now + progress * BURST, progress.into())));
        assert_eq!(resets.count, 10);
    }

    #[test]
    fn resets_a_minute_apart_are_no_loop() {
        let (mut resets, now) = (Resets::default(), Instant::now());
        assert!((0..10).all(|minute| !resets.add(now + minute * APART, 7)));
    }
}
