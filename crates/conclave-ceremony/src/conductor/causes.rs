//! Reasons to end, or to begin another attempt, that must hold for a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A reason, with the attempt that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// This folder lacks the secrets of the attempt.
    Secrets(u32),
    /// This folder lacks its share.
    OwnShare(u32),
    /// The others are being told so.
    Told(u32),
    /// An operator says that its share is lost, and is not there.
    Word(u32, u16),
    /// Somebody is proven guilty.
    Guilt(u32),
    /// The attempt can never be finished.
    Over(u32),
    /// Everything is here that finishing takes, and nobody else is.
    Alone,
    /// Operators who are connected have not said for a while what the ceremony waits for.
    Quiet(u32, Option<crate::progress::Step>),
}

/// Since when each of them has held without a break: what one waits for does not count for another, and what was over begins anew.
#[derive(Debug, Default)]
pub(super) struct Causes {
    since: BTreeMap<Cause, Since>,
}

#[derive(Debug, Clone, Copy)]
struct Since {
    start: Instant,
    /// Whether it was looked at in this round.
    holds: bool,
}

impl Causes {
    /// Another look at everything begins: what was not found in the last one is over.
    pub(super) fn next_round(&mut self) {
        self.since.retain(|_, since| std::mem::take(&mut since.holds));
    }

    /// Takes note that a cause holds now; whether it has done so for this long.
    pub(super) fn lasts(&mut self, cause: Cause, time: Duration, now: Instant) -> bool {
        let start = now;
        let since = self.since.entry(cause).or_insert(Since { start, holds: true });
        since.holds = true;
        now.saturating_duration_since(since.start) >= time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_time_and_begins_anew_after_a_break() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut causes = Causes::default();
        assert!(!causes.lasts(Cause::Guilt(1), second, start));
        causes.next_round();
        assert!(causes.lasts(Cause::Guilt(1), second, start + second));
        // Another one does not profit by it.
        assert!(!causes.lasts(Cause::Over(1), second, start + second));
        assert!(!causes.lasts(Cause::Guilt(2), second, start + second));
        causes.next_round();
        causes.next_round();
        assert!(!causes.lasts(Cause::Guilt(1), second, start + 2 * second));
    }
}
