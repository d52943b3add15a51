//! What was asked and answered of duties, and on which blocks they depend.

use std::{collections::BTreeMap, ops::RangeInclusive};

use conclave_beacon::events::Head;
use conclave_crypto::hash::Hash;

use super::{ask::Duties, counted::Backing};

/// What beacon nodes are asked about our validators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    /// What the chain says of them.
    Validators,
    /// Who attests in an epoch.
    Attesters(u64),
    /// Who proposes in an epoch.
    Proposers(u64),
    /// Who is in the sync committee of an epoch.
    Sync(u64),
}

impl Question {
    /// Everything that is asked about duties in an epoch.
    pub(super) const fn of(epoch: u64) -> [Self; 3] {
        [Self::Attesters(epoch), Self::Proposers(epoch), Self::Sync(epoch)]
    }

    /// The epoch that it is about; none for what is so now.
    pub(super) const fn epoch(self) -> Option<u64> {
        match self {
            Self::Validators => None,
            Self::Attesters(epoch) | Self::Proposers(epoch) | Self::Sync(epoch) => Some(epoch),
        }
    }
}

/// Validators that have duties: place in the lock by index on the chain.
pub(super) type Whom = BTreeMap<u64, u32>;

/// What is known of an answer that the core was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Who was asked about.
    pub(super) whom: Whom,
    /// In which half of which epoch: halves since genesis.
    pub(super) half: u64,
    /// None for what no head changes.
    pub(super) depends: Option<Depends>,
    /// What counts.
    pub(super) duties: Duties,
    /// Who said so.
    pub(super) backing: Backing,
}

/// The block on which duties depend: on another branch of the chain they are others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Depends {
    /// Its root, 32 bytes.
    root: Hash,
    /// It is the last one before one of these epochs.
    before: RangeInclusive<u64>,
}

impl Depends {
    /// Attesters of an epoch depend on the last block before the epoch that precedes it (`getAttesterDuties` of the
    /// Beacon API).
    pub(super) const fn of_attesters(epoch: u64, root: Hash) -> Self {
        let before = epoch.saturating_sub(1);
        Self {
            root,
            before: before..=before,
        }
    }

    /// Proposers of an epoch depend on the last block before it, and on the last one before the epoch that precedes it
    /// once that epoch is of Fulu, when they are decided an epoch ahead (EIP-7917).
    ///
    /// That is also the difference between `getProposerDuties` and `getProposerDutiesV2` of the Beacon API. Where question
    /// and fork do not belong together, some nodes name the block that the API describes, and others the one on which the
    /// duties really depend: it may be either.
    pub(super) const fn of_proposers(epoch: u64, root: Hash, v2: bool, decided_ahead: bool) -> Self {
        let first = if v2 || decided_ahead {
            epoch.saturating_sub(1)
        } else {
            epoch
        };
        let last = if v2 && decided_ahead { first } else { epoch };
        Self {
            root,
            before: first..=last,
        }
    }
}

/// The blocks behind a head on which duties depend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Branch {
    /// The head's epoch.
    epoch: u64,
    /// The last block before that epoch.
    current: Hash,
    /// The last block before the epoch that precedes it.
    previous: Hash,
}

impl Branch {
    /// Of a head in an epoch.
    pub(super) const fn of(head: &Head, epoch: u64) -> Self {
        Self {
            epoch,
            current: head.current_duty_dependent_root,
            previous: head.previous_duty_dependent_root,
        }
    }

    /// The last block before an epoch, if the head tells.
    fn last_before(&self, epoch: u64) -> Option<Hash> {
        if epoch == self.epoch {
            Some(self.current)
        } else if epoch.checked_add(1) == Some(self.epoch) {
            Some(self.previous)
        } else {
            None
        }
    }

    /// Whether duties that depend on this are surely of another branch.
    pub(super) fn contradicts(&self, depends: &Depends) -> bool {
        let other = |epoch| self.last_before(epoch).is_some_and(|last| last != depends.root);
        depends.before.clone().all(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE_8: Hash = [8; 32];
    const BEFORE_9: Hash = [9; 32];
    const OTHER: Hash = [0; 32];

    /// Of a head in epoch 9.
    const BRANCH: Branch = Branch {
        epoch: 9,
        current: BEFORE_9,
        previous: BEFORE_8,
    };

    /// Which of these blocks are told from the one on which duties depend.
    fn refused(depends: impl Fn(Hash) -> Depends) -> Vec<Hash> {
        let blocks = [BEFORE_8, BEFORE_9, OTHER].into_iter();
        blocks
            .filter(|root| BRANCH.contradicts(&depends(*root)))
            .collect()
    }

    #[test]
    fn attesters_depend_on_the_last_block_two_epochs_before() {
        assert_eq!(refused(|root| Depends::of_attesters(9, root)), [BEFORE_9, OTHER]);
        assert_eq!(refused(|root| Depends::of_attesters(10, root)), [BEFORE_8, OTHER]);
        // Of other epochs the head says nothing.
        for epoch in [0, 8, 11, u64::MAX] {
            assert_eq!(refused(|root| Depends::of_attesters(epoch, root)), [OTHER; 0]);
        }
    }

    #[test]
    fn proposers_depend_on_what_question_and_fork_say() {
        let of = |epoch, v2, ahead| refused(|root| Depends::of_proposers(epoch, root, v2, ahead));
        assert_eq!(of(9, true, true), [BEFORE_9, OTHER]);
        assert_eq!(of(10, true, true), [BEFORE_8, OTHER]);
        assert_eq!(of(9, false, false), [BEFORE_8, OTHER]);
        // It is the head itself, as long as the epoch has not begun.
        assert_eq!(of(10, false, false), [OTHER; 0]);
        // Either is right.
        assert_eq!(of(9, false, true), [OTHER]);
        assert_eq!(of(9, true, false), [OTHER]);
        assert_eq!(of(10, false, true), [OTHER; 0]);
    }

    #[test]
    fn the_first_epochs_depend_on_genesis() {
        let branch = Branch {
            epoch: 0,
            current: OTHER,
            previous: OTHER,
        };
        for (root, contradicted) in [(OTHER, false), (BEFORE_8, true)] {
            for epoch in [0, 1] {
                assert_eq!(
                    branch.contradicts(&Depends::of_attesters(epoch, root)),
                    contradicted
                );
            }
            assert_eq!(
                branch.contradicts(&Depends::of_proposers(0, root, false, false)),
                contradicted
            );
        }
    }
}
