//! What is attested to in a slot: our beacon node's view, and whether somebody else's is plausible.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    crypto::hash::Hash,
    validator::{agreement::Verdict, chain::types::AttestationData},
};

/// The most views of one slot that are kept: our beacon nodes may differ, and change their minds.
const MAX_VIEWS: usize = 8;
/// The most blocks that are looked up for one slot.
const MAX_LOOKUPS: usize = 32;

/// What our beacon nodes say about a slot.
#[derive(Debug, Default)]
pub struct Views {
    /// The first answers, oldest first.
    first: Vec<AttestationData>,
    /// What any of the nodes said when all were asked. None of these is our own head, however new it is.
    others: Vec<AttestationData>,
    /// Slots of blocks that were looked up; `None` until the answer is there, or if it is unknown.
    blocks: BTreeMap<Hash, Option<u64>>,
}

/// What is to be found out before a verdict is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opinion {
    /// The verdict, which stays.
    Verdict(Verdict),
    /// The own view is not there yet, or may still change.
    Wait,
    /// No view has these checkpoints. The own one may still change, and another of our beacon nodes may have them.
    AskAll,
    /// The slot of this block is to be looked up.
    LookUp(Hash),
}

impl Views {
    /// An answer of a beacon node. True if it says something new.
    pub fn add(&mut self, data: AttestationData) -> bool {
        if self.first.last() == Some(&data) {
            return false;
        }
        push(&mut self.first, data);
        true
    }

    /// An answer of one of several beacon nodes that were asked, not of the first one.
    pub fn add_other(&mut self, data: AttestationData) {
        push(&mut self.others, data);
    }

    fn all(&self) -> impl Iterator<Item = &AttestationData> {
        self.first.iter().chain(&self.others)
    }

    /// The newest view: what this node would propose.
    pub fn newest(&self) -> Option<&AttestationData> {
        self.first.last()
    }

    /// A block was looked up.
    pub fn block(&mut self, root: Hash, slot: Option<u64>) {
        if let Some(known) = self.blocks.get_mut(&root) {
            *known = slot;
        }
    }

    /// How many views and blocks are kept.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.first.len() + self.others.len() + self.blocks.len()
    }

    /// Blocks that our beacon node did not know when it was asked.
    pub fn unknown_blocks(&self) -> BTreeSet<Hash> {
        self.blocks
            .iter()
            .filter(|(_, slot)| slot.is_none())
            .map(|(root, _)| *root)
            .collect()
    }

    /// Whether our beacon nodes know a block of this slot or an earlier one; `None` is to be looked up.
    pub fn is_known(&mut self, root: Hash, slot: u64) -> Option<bool> {
        match self.blocks.get(&root) {
            Some(known) => Some(known.is_some_and(|known| known <= slot)),
            None if self.blocks.len() < MAX_LOOKUPS => {
                self.blocks.insert(root, None);
                None
            }
            None => Some(false),
        }
    }

    /// What to think of data that somebody proposes in a round of the agreement on `slot`, which is in `epoch`.
    pub fn judge(&mut self, data: &AttestationData, round: u8, slot: u64, epoch: u64) -> Opinion {
        let never = data.slot != slot
            || data.index != 0
            || data.target.epoch != epoch
            || data.source.epoch > data.target.epoch;
        if never {
            return Opinion::Verdict(Verdict::Invalid);
        }
        if !self
            .all()
            .any(|view| (view.source, view.target) == (data.source, data.target))
        {
            return Opinion::AskAll;
        }
        let root = data.beacon_block_root;
        if self
            .first
            .last()
            .is_some_and(|view| view.beacon_block_root == root)
        {
            return Opinion::Verdict(Verdict::Valid);
        }
        if round == 0 {
            return Opinion::Wait;
        }
        // Later rounds take any block that our beacon node knows, so that a split over the head ends.
        if self.all().any(|view| view.beacon_block_root == root) {
            return Opinion::Verdict(Verdict::Valid);
        }
        match self.is_known(root, slot) {
            Some(true) => Opinion::Verdict(Verdict::Valid),
            Some(false) => Opinion::Wait,
            None => Opinion::LookUp(root),
        }
    }
}

/// The newest comes last, each is there once, and the oldest gives way.
fn push(views: &mut Vec<AttestationData>, data: AttestationData) {
    views.retain(|known| *known != data);
    if views.len() >= MAX_VIEWS {
        views.remove(0);
    }
    views.push(data);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validator::chain::types::Checkpoint;

    fn data(root: u8) -> AttestationData {
        AttestationData {
            slot: 40,
            index: 0,
            beacon_block_root: [root; 32],
            source: Checkpoint {
                epoch: 3,
                root: [3; 32],
            },
            target: Checkpoint {
                epoch: 5,
                root: [5; 32],
            },
        }
    }

    const VALID: Opinion = Opinion::Verdict(Verdict::Valid);
    const INVALID: Opinion = Opinion::Verdict(Verdict::Invalid);

    #[test]
    fn round_0_asks_for_our_own_head() {
        let mut views = Views::default();
        assert_eq!(views.judge(&data(1), 0, 40, 5), Opinion::AskAll);
        assert!(views.add(data(1)));
        assert!(!views.add(data(1)));
        assert_eq!(views.judge(&data(1), 0, 40, 5), VALID);
        assert_eq!(views.judge(&data(2), 0, 40, 5), Opinion::Wait);
        // The head has moved on: the old one is not ours any more.
        views.add(data(2));
        assert_eq!(views.judge(&data(1), 0, 40, 5), Opinion::Wait);
        assert_eq!(views.judge(&data(1), 1, 40, 5), VALID);
    }

    #[test]
    fn later_rounds_take_any_block_that_we_know() {
        let mut views = Views::default();
        views.add(data(1));
        assert_eq!(views.judge(&data(2), 1, 40, 5), Opinion::LookUp([2; 32]));
        assert_eq!(views.judge(&data(2), 1, 40, 5), Opinion::Wait);
        views.block([2; 32], Some(41));
        assert_eq!(views.judge(&data(2), 1, 40, 5), Opinion::Wait);
        views.block([2; 32], Some(39));
        assert_eq!(views.judge(&data(2), 1, 40, 5), VALID);
        views.block([9; 32], Some(39));
        assert_eq!(views.judge(&data(9), 0, 40, 5), Opinion::Wait);
        assert_eq!(views.judge(&data(9), 1, 40, 5), Opinion::LookUp([9; 32]));
        assert_eq!(views.unknown_blocks(), BTreeSet::from([[9; 32]]));
    }

    #[test]
    fn what_can_never_be_right_is_refused() {
        let mut views = Views::default();
        views.add(data(1));
        assert_eq!(
            views.judge(&AttestationData { slot: 41, ..data(1) }, 0, 40, 5),
            INVALID
        );
        assert_eq!(
            views.judge(&AttestationData { index: 1, ..data(1) }, 0, 40, 5),
            INVALID
        );
        assert_eq!(views.judge(&data(1), 0, 40, 6), INVALID);
        let late_source = Checkpoint {
            epoch: 6,
            root: [3; 32],
        };
        assert_eq!(
            views.judge(
                &AttestationData {
                    source: late_source,
                    ..data(1)
                },
                0,
                40,
                5
            ),
            INVALID
        );
        // Another source or target may be what our node has not seen yet.
        let other = Checkpoint {
            epoch: 4,
            root: [4; 32],
        };
        assert_eq!(
            views.judge(
                &AttestationData {
                    source: other,
                    ..data(1)
                },
                3,
                40,
                5
            ),
            Opinion::AskAll
        );
    }

    #[test]
    fn what_another_of_our_beacon_nodes_says_is_plausible_but_not_our_head() {
        let stale = |root| AttestationData {
            source: Checkpoint {
                epoch: 2,
                root: [2; 32],
            },
            ..data(root)
        };
        let mut views = Views::default();
        views.add(stale(1));
        assert_eq!(views.judge(&data(1), 0, 40, 5), Opinion::AskAll);
        views.add_other(stale(1));
        views.add_other(data(2));
        // The checkpoints are known now. The head in the first round is the one of the node that is asked first.
        assert_eq!(views.newest(), Some(&stale(1)));
        assert_eq!(views.judge(&data(1), 0, 40, 5), VALID);
        assert_eq!(views.judge(&data(2), 0, 40, 5), Opinion::Wait);
        assert_eq!(views.judge(&data(2), 1, 40, 5), VALID);
        assert_eq!(views.judge(&data(3), 1, 40, 5), Opinion::LookUp([3; 32]));
    }

    #[test]
    fn lookups_and_views_are_bounded() {
        let mut views = Views::default();
        for root in 0..100 {
            views.add(data(root));
            views.add_other(data(root));
        }
        assert_eq!((views.first.len(), views.others.len()), (MAX_VIEWS, MAX_VIEWS));
        let lookups = (100..255)
            .filter(|root| matches!(views.judge(&data(*root), 1, 40, 5), Opinion::LookUp(_)))
            .count();
        assert_eq!(lookups, MAX_LOOKUPS);
    }
}
