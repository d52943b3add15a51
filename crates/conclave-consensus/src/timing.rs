//! How long a node waits: fractions of a slot, so that short test slots and Gnosis's work too.

use conclave_eth::duty::Kind;

/// No wait is shorter, in milliseconds: networks take their time whatever the slot.
const SHORTEST_MS: u64 = 100;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    /// The leader's proposal.
    Propose,
    /// A polka, once t operators prevoted.
    Prevote,
    /// A decision, once t operators precommitted.
    Precommit,
}

/// Milliseconds: 1/12 of a slot for a proposal, 1/6 for a block's, 1/24 for votes; each round adds 1/24. A leader who
/// is not connected gets a quarter.
pub(super) fn wait_ms(slot_ms: u64, kind: Kind, round: u8, wait: Wait, connected: bool) -> u64 {
    let base = match (wait, kind) {
        (Wait::Propose, Kind::Block) => slot_ms / 6,
        (Wait::Propose, _) => slot_ms / 12,
        (Wait::Prevote | Wait::Precommit, _) => slot_ms / 24,
    };
    let full = base.saturating_add((slot_ms / 24).saturating_mul(round.into()));
    let wait = if connected || wait != Wait::Propose {
        full
    } else {
        full / 4
    };
    wait.max(SHORTEST_MS)
}

/// How often an undecided node says what it has, in milliseconds.
pub(super) fn status_ms(slot_ms: u64) -> u64 {
    (slot_ms / 24).max(SHORTEST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_fractions_of_the_slot() {
        let head = |round, wait| wait_ms(12_000, Kind::Head, round, wait, true);
        assert_eq!(head(0, Wait::Propose), 1000);
        assert_eq!(wait_ms(12_000, Kind::Block, 0, Wait::Propose, true), 2000);
        assert_eq!(wait_ms(12_000, Kind::Aggregates, 0, Wait::Propose, true), 1000);
        assert_eq!(wait_ms(12_000, Kind::Contributions, 0, Wait::Propose, true), 1000);
        assert_eq!(head(0, Wait::Prevote), 500);
        assert_eq!(head(0, Wait::Precommit), 500);
        assert_eq!(head(3, Wait::Propose), 2500);
        assert_eq!(head(2, Wait::Prevote), 1500);
    }

    #[test]
    fn a_leader_who_is_not_connected_gets_a_quarter() {
        assert_eq!(wait_ms(12_000, Kind::Head, 0, Wait::Propose, false), 250);
        assert_eq!(wait_ms(12_000, Kind::Block, 2, Wait::Propose, false), 750);
        assert_eq!(wait_ms(12_000, Kind::Head, 0, Wait::Prevote, false), 500);
        assert_eq!(wait_ms(4_000, Kind::Head, 0, Wait::Propose, false), 100);
    }

    #[test]
    fn no_wait_is_shorter_than_100_ms() {
        for slot_ms in [0, 1, 300, 1200] {
            for wait in [Wait::Propose, Wait::Prevote, Wait::Precommit] {
                assert!(wait_ms(slot_ms, Kind::Head, 0, wait, false) >= 100);
            }
            assert_eq!(status_ms(slot_ms), 100);
        }
        assert_eq!(
            wait_ms(u64::MAX, Kind::Head, 16, Wait::Propose, true),
            u64::MAX / 12 + u64::MAX / 24 * 16
        );
    }
}
