//! The only place that reads the wall clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::core::Standstill;

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

    /// The time, and by how many milliseconds the clock has jumped since the last look, if it has: a machine that slept, a
    /// snapshot that was resumed, a clock that was set.
    pub(super) fn look(&mut self) -> (u64, Option<i64>) {
        self.step(now_ms(), Instant::now())
    }

    fn step(&mut self, wall: u64, monotonic: Instant) -> (u64, Option<i64>) {
        let (last_wall, last) = std::mem::replace(&mut self.last, (wall, monotonic));
        let expected = last_wall.saturating_add(millis(monotonic.duration_since(last)));
        let by = i128::from(wall) - i128::from(expected);
        let jumped = by.unsigned_abs() > self.tolerance_ms.into();
        let by = i64::try_from(by).unwrap_or(if by < 0 { i64::MIN } else { i64::MAX });
        (wall, jumped.then_some(by))
    }
}

/// Goes round with a loop that is never still for long, and sees when it was: the process was stopped, or got no processor, or
/// the machine was suspended.
pub(super) struct Rounds {
    last: (u64, Instant),
    most_ms: u64,
}

impl Rounds {
    /// Of a loop that is back after this many milliseconds at the latest; the first round begins now.
    pub(super) fn new(most_ms: u64) -> Self {
        Self {
            last: (now_ms(), Instant::now()),
            most_ms,
        }
    }

    /// A round is over, another one begins.
    pub(super) fn round(&mut self) -> Option<Standstill> {
        self.step(now_ms(), Instant::now())
    }

    /// The monotonic clock of some machines stands still while they are suspended, the wall clock of others: who went further is
    /// right.
    fn step(&mut self, wall: u64, monotonic: Instant) -> Option<Standstill> {
        let (last_wall, last) = std::mem::replace(&mut self.last, (wall, monotonic));
        let passed = millis(monotonic.duration_since(last)).max(wall.saturating_sub(last_wall));
        (passed > self.most_ms).then(|| Standstill {
            from_ms: wall.saturating_sub(passed),
            to_ms: wall,
        })
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_is_what_the_monotonic_clock_did_not_see() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut clock = Clock::begun(5_000, at(0), 1000);
        assert_eq!(clock.step(6_000, at(1_000)), (6_000, None));
        // A long wait is no jump.
        assert_eq!(clock.step(66_000, at(61_000)), (66_000, None));
        assert_eq!(clock.step(68_001, at(62_000)), (68_001, Some(1_001)));
        assert_eq!(clock.step(69_001, at(63_000)), (69_001, None));
        // Nor is a small correction; backwards counts as forwards does.
        assert_eq!(clock.step(69_900, at(64_000)), (69_900, None));
        assert_eq!(clock.step(60_000, at(65_000)), (60_000, Some(-10_900)));
    }

    #[test]
    fn a_jump_before_the_second_look_is_seen() {
        // A machine without a battery for its clock starts in 1970, until the network tells it the time.
        let start = Instant::now();
        let mut clock = Clock::begun(0, start, 1000);
        assert_eq!(
            clock.step(1_700_000_000_000, start),
            (1_700_000_000_000, Some(1_700_000_000_000))
        );
    }

    #[test]
    fn a_loop_that_does_not_come_round_stood_still() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rounds = Rounds {
            last: (5_000, start),
            most_ms: 2_000,
        };
        let stood = |from_ms, to_ms| Some(Standstill { from_ms, to_ms });
        assert_eq!(rounds.step(7_000, at(2_000)), None);
        // Stopped, or suspended with both clocks going on; once.
        assert_eq!(rounds.step(34_001, at(29_001)), stood(7_000, 34_001));
        assert_eq!(rounds.step(34_002, at(29_002)), None);
        // Suspended without the monotonic clock, and without the wall clock.
        assert_eq!(rounds.step(38_000, at(29_100)), stood(34_002, 38_000));
        assert_eq!(rounds.step(38_100, at(39_100)), stood(28_100, 38_100));
        // A clock that is set back is no time.
        assert_eq!(rounds.step(1_000, at(39_200)), None);
    }
}
