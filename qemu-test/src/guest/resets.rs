//! Telling a guest that reboots from one that resets itself again and again.

use std::time::{Duration, Instant};

/// So many resets in a row are no reboot any more: firmware and installers reset once or twice.
const LOOP: u32 = 3;

/// Resets that are further apart than this are not in a row: the guest did something in between.
const APART: Duration = Duration::from_secs(60);

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
        assert!(!resets.add(now, 7) && !resets.add(now, 7) && resets.add(now, 7) && !resets.add(now, 7));
        assert_eq!(resets.in_a_row(), 4);
    }

    #[test]
    fn a_test_that_reboots_its_guest_makes_no_loop() {
        let (mut resets, now) = (Resets::default(), Instant::now());
        assert!((0..10).all(|progress| !resets.add(now, progress)));
        assert_eq!(resets.count, 10);
    }

    #[test]
    fn resets_a_minute_apart_are_no_loop() {
        let (mut resets, now) = (Resets::default(), Instant::now());
        assert!((0..10).all(|minute| !resets.add(now + minute * APART, 7)));
    }
}
