//! Other operators whose identity may be used by two processes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long a second process that came while the first still seemed to be there is taken for a twin: if it is one, the first comes back
/// within this time; if not, the first was ended by a crash.
const UNSURE: Duration = Duration::from_secs(60);

/// What one of two processes says may not be so for the other, so that nobody's word of loss counts while it may have two.
#[derive(Debug, Default)]
pub(super) struct Doubles {
    /// They took turns.
    sure: BTreeSet<u16>,
    /// A second one came while the first still seemed to be there: when that was seen last.
    unsure: BTreeMap<u16, Instant>,
}

impl Doubles {
    /// A second process of an operator was met.
    pub(super) fn meet(&mut self, operator: u16, sure: bool, now: Instant) {
        if sure {
            self.sure.insert(operator);
        } else {
            self.unsure.insert(operator, now);
        }
    }

    /// An operator has said goodbye: another process of it would come back by itself, and be met then.
    pub(super) fn left(&mut self, operator: u16) {
        self.unsure.remove(&operator);
    }

    /// Whether an operator may have two processes now.
    pub(super) fn holds(&self, operator: u16, now: Instant) -> bool {
        let is_fresh = |met: &Instant| now.saturating_duration_since(*met) < UNSURE;
        self.sure.contains(&operator) || self.unsure.get(&operator).is_some_and(is_fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_that_took_turns_are_two_for_ever() {
        let (now, mut doubles) = (Instant::now(), Doubles::default());
        doubles.meet(1, true, now);
        doubles.meet(2, false, now);
        doubles.meet(3, false, now);
        assert!((1..4).all(|operator| doubles.holds(operator, now)));
        doubles.left(1);
        doubles.left(2);
        assert!(doubles.holds(1, now), "the other one may come back");
        assert!(!doubles.holds(2, now));
        let later = now + UNSURE;
        assert!(doubles.holds(1, later) && !doubles.holds(3, later));
        doubles.meet(3, false, later);
        assert!(doubles.holds(3, later), "again");
    }
}
