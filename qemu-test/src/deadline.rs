//! When a wait ends at the latest. Every limit of the library passes through here, so that one variable
//! scales them all.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::time::Timespec;

/// The moment at which a wait gives up, with the moment at which it began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    started: Instant,
    limit: Option<Duration>,
}

impl Deadline {
    /// `limit` from now, times `QEMU_TEST_TIMEOUT_SCALE`.
    pub(crate) fn after(limit: Duration) -> Self {
        Self {
            started: Instant::now(),
            limit: scaled(limit),
        }
    }

    /// `limit` from now, whatever the scale: for the bounds of a clean-up, which protect the user from us.
    pub(crate) fn exactly(limit: Duration) -> Self {
        Self {
            started: Instant::now(),
            limit: Some(limit),
        }
    }

    /// A wait that only its condition or an interrupt ends.
    pub(crate) fn never() -> Self {
        Self {
            started: Instant::now(),
            limit: None,
        }
    }

    /// Time left: `None` without a limit, zero once it has passed.
    pub(crate) fn remaining(&self) -> Option<Duration> {
        self.limit
            .map(|limit| limit.saturating_sub(self.started.elapsed()))
    }

    /// The time left as `poll(2)` takes it.
    pub(crate) fn timespec(&self) -> Option<Timespec> {
        // A duration too long for the kernel's clock is as good as none.
        self.remaining().and_then(|left| left.try_into().ok())
    }

    pub(crate) fn expired(&self) -> bool {
        self.remaining().is_some_and(|left| left.is_zero())
    }

    /// How long this wait has lasted.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The scaled limit, `None` where there is none.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.limit
    }

    /// The same limit, begun `by` later: for time that does not count.
    pub(crate) fn postponed(self, by: Duration) -> Self {
        Self {
            started: self.started + by,
            limit: self.limit,
        }
    }

    /// Whichever of the two ends first.
    pub(crate) fn or_sooner(self, other: Self) -> Self {
        match (self.remaining(), other.remaining()) {
            (Some(a), Some(b)) if b < a => other,
            (None, Some(_)) => other,
            _ => self,
        }
    }
}

/// `limit` times `QEMU_TEST_TIMEOUT_SCALE`; `None` where the scale is 0, which lifts every limit.
pub(crate) fn scaled(limit: Duration) -> Option<Duration> {
    apply(scale(), limit)
}

fn apply(scale: f64, limit: Duration) -> Option<Duration> {
    if scale == 0.0 {
        return None;
    }
    // Past what a Duration holds nobody lives to see the difference from "never".
    Duration::try_from_secs_f64(limit.as_secs_f64() * scale).ok()
}

fn scale() -> f64 {
    static SCALE: OnceLock<f64> = OnceLock::new();
    *SCALE.get_or_init(|| match std::env::var("QEMU_TEST_TIMEOUT_SCALE") {
        Ok(text) => parse(&text).unwrap_or_else(|| {
            log::error!("QEMU_TEST_TIMEOUT_SCALE is `{text}`, not a number from 0 up: limits are not scaled");
            1.0
        }),
        Err(_) => 1.0,
    })
}

fn parse(text: &str) -> Option<f64> {
    text.trim()
        .parse()
        .ok()
        .filter(|scale: &f64| scale.is_finite() && *scale >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_multiplies_and_zero_lifts() {
        let second = Duration::from_secs(1);
        assert_eq!(apply(2.5, second), Some(Duration::from_millis(2500)));
        assert_eq!(apply(0.0, second), None);
        assert_eq!(apply(1e300, Duration::MAX), None);
    }

    #[test]
    fn a_scale_that_is_no_number_from_zero_up_is_refused() {
        assert_eq!(parse(" 1.5 "), Some(1.5));
        for text in ["", "fast", "-1", "inf", "NaN"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_sooner_of_two_deadlines_wins() {
        let (long, short) = (Duration::from_secs(60), Duration::from_secs(1));
        for pair in [(long, short), (short, long)] {
            let sooner = Deadline::exactly(pair.0).or_sooner(Deadline::exactly(pair.1));
            assert_eq!(sooner.limit(), Some(short));
        }
        assert_eq!(
            Deadline::never().or_sooner(Deadline::exactly(long)).limit(),
            Some(long)
        );
    }
}
