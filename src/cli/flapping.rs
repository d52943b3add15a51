//! Who comes and goes again and again, as two processes with one identity do, who push each other out: told a few times, then once that it goes on
//! like this, then when it is over.

use std::collections::{BTreeMap, VecDeque};

/// Changes in this time are counted; who stays as it is for so long is told of again. In milliseconds.
const WINDOW_MS: u64 = 60_000;
/// So many changes are told: two restarts in a minute.
const TOLD: usize = 4;

/// What becomes of the line about a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Telling {
    /// It is told.
    Tell,
    /// In its place it is told that this goes on and on.
    GoesOn,
    /// Nothing is told.
    Keep,
}

/// The changes of operators.
#[derive(Debug, Default)]
pub(super) struct Flapping(BTreeMap<u16, Changes>);

#[derive(Debug, Default)]
struct Changes {
    /// When they were, the newest last: never more than [`TOLD`] and one.
    at: VecDeque<u64>,
    quiet: bool,
}

impl Flapping {
    /// An operator came or went.
    pub(super) fn changed(&mut self, operator: u16, now_ms: u64) -> Telling {
        let changes = self.0.entry(operator).or_default();
        changes.at.push_back(now_ms);
        if changes.at.len() > TOLD + 1 {
            changes.at.pop_front();
        }
        if changes.quiet {
            return Telling::Keep;
        }
        let lately = |at: &&u64| now_ms.saturating_sub(**at) < WINDOW_MS;
        changes.quiet = changes.at.iter().filter(lately).count() > TOLD;
        if changes.quiet {
            Telling::GoesOn
        } else {
            Telling::Tell
        }
    }

    /// Whether changes of this operator are not told now.
    pub(super) fn is_quiet(&self, operator: u16) -> bool {
        self.0.get(&operator).is_some_and(|changes| changes.quiet)
    }

    /// Of how many operators changes are not told now.
    pub(super) fn quiet(&self) -> usize {
        self.0.values().filter(|changes| changes.quiet).count()
    }

    /// Whether changes of anybody are not told now.
    pub(super) fn is_any_quiet(&self) -> bool {
        self.0.values().any(|changes| changes.quiet)
    }

    /// Who came and went, and has stayed as it is: its changes are told again, from now on.
    pub(super) fn settled(&mut self, now_ms: u64) -> Vec<u16> {
        let settled = |changes: &Changes| {
            let last = changes.at.back().copied().unwrap_or(0);
            changes.quiet && now_ms.saturating_sub(last) >= WINDOW_MS
        };
        let operators: Vec<u16> = self
            .0
            .iter()
            .filter(|(_, changes)| settled(changes))
            .map(|(operator, _)| *operator)
            .collect();
        for operator in &operators {
            self.0.remove(operator);
        }
        operators
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_and_goes_without_end_is_told_of_a_few_times() {
        let mut flapping = Flapping::default();
        // Every two seconds for an hour.
        let told: Vec<Telling> = (0..1800)
            .map(|i| flapping.changed(2, 10_000 + i * 2000))
            .collect();
        assert_eq!(
            told[..5],
            [
                Telling::Tell,
                Telling::Tell,
                Telling::Tell,
                Telling::Tell,
                Telling::GoesOn
            ]
        );
        assert!(told[5..].iter().all(|told| *told == Telling::Keep));
        let last = 10_000 + 1799 * 2000;
        assert!(flapping.is_quiet(2) && flapping.is_any_quiet() && !flapping.is_quiet(3));
        assert!(flapping.settled(last + WINDOW_MS - 1).is_empty());
        assert_eq!(flapping.settled(last + WINDOW_MS), [2]);
        assert!(flapping.settled(last + 10 * WINDOW_MS).is_empty());
        assert_eq!(flapping.changed(2, last + WINDOW_MS), Telling::Tell);
    }

    #[test]
    fn who_comes_and_goes_now_and_then_is_always_told_of() {
        let mut flapping = Flapping::default();
        for i in 0..1000 {
            assert_eq!(flapping.changed(2, i * (WINDOW_MS / 4 + 1)), Telling::Tell, "{i}");
        }
    }
}
