//! The only place that reads the wall clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall clock and monotonic clock together: whoever sets the one does not set the other.
pub(super) struct Clock {
    last: (u64, Instant),
    tolerance_ms: u64,
}

/// Milliseconds since the Unix epoch by the wall clock.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The moment of the monotonic clock that is this many milliseconds since the Unix epoch, as far as one can tell now.
pub(super) fn instant_of(at_ms: u64) -> tokio::time::Instant {
    let ahead = at_ms.saturating_sub(now_ms());
    let now = tokio::time::Instant::now();
    now.checked_add(Duration::from_millis(ahead)).unwrap_or(now)
}

impl Clock {
    /// A clock that calls it a jump when the two disagree by more than this between two looks; the first one is now.
    pub(super) fn new(tolerance_ms: u64) -> Self {
        Self::begun(now_ms(), Instant::now(), tolerance_ms)
    }

    pub(super) fn begun(wall: u64, monotonic: Instant, tolerance_ms: u64) -> Self {
        Self {
            last: (wall, monotonic),
            tolerance_ms,
        }
    }

    /// The time, and whether the clock has jumped since the last look: a machine that slept, a snapshot that was resumed,
    /// a clock that was set.
    pub(super) fn look(&mut self) -> (u64, bool) {
        self.step(now_ms(), Instant::now())
    }

    fn step(&mut self, wall: u64, monotonic: Instant) -> (u64, bool) {
        let (last_wall, last) = std::mem::replace(&mut self.last, (wall, monotonic));
        let passed = u64::try_from(monotonic.duration_since(last).as_millis()).unwrap_or(u64::MAX);
        let jumped = wall.abs_diff(last_wall.saturating_add(passed)) > self.tolerance_ms;
        (wall, jumped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_what_the_monotonic_clock_did_not_see() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut clock = Clock::begun(5_000, at(0), 1000);
        assert_eq!(clock.step(6_000, at(1_000)), (6_000, false));
        // A long wait is no jump.
        assert_eq!(clock.step(66_000, at(61_000)), (66_000, false));
        assert_eq!(clock.step(68_001, at(62_000)), (68_001, true));
        assert_eq!(clock.step(69_001, at(63_000)), (69_001, false));
        // Nor is a small correction; backwards counts as forwards does.
        assert_eq!(clock.step(69_900, at(64_000)), (69_900, false));
        assert_eq!(clock.step(60_000, at(65_000)), (60_000, true));
    }

    #[test]
    fn a_jump_before_the_second_look_is_seen() {
        // A machine without a battery for its clock starts in 1970, until the network tells it the time.
        let start = Instant::now();
        let mut clock = Clock::begun(0, start, 1000);
        assert_eq!(clock.step(1_700_000_000_000, start), (1_700_000_000_000, true));
    }
}
