//! What is attested to in a slot: our beacon nodes' views, and whether somebody else's is plausible.
//!
//! # What is ours
//! Before attestations are due only a block of the slot itself is our head: an older one may have a successor any moment.
//! When they are due it is what our beacon nodes say, whatever its slot.
//!
//! # What is plausible
//! In the first round our own head. If operators differ, in later rounds also what another one of our beacon nodes says is its
//! head, and what so many have voted for that one of them at least is honest: so those who follow different branches, or have not
//! got the slot's block in time, come together. Nothing else, and nothing older than the newest block before the slot: who leads
//! a round would choose what the vote is for, and how far back it goes.
//!
//! Head and target are always of one view, for a vote whose head does not descend from its target is worth nothing.

use std::collections::{BTreeMap, BTreeSet};

use conclave_consensus::Verdict;
use conclave_crypto::hash::Hash;
use conclave_eth::chain::types::AttestationData;

/// The most views of one slot that are kept: our beacon nodes may differ, and change their minds.
const MAX_VIEWS: usize = 8;
/// The most blocks that are looked up for one slot.
const MAX_LOOKUPS: usize = 32;

/// What our beacon nodes say about a slot.
#[derive(Debug, Default)]
pub struct Views {
    /// The answers of those of our beacon nodes that were chosen, oldest first.
    first: Vec<AttestationData>,
    /// What any of the nodes said when all were asked. None of these is our own head, however new it is, but for the block of
    /// the slot of which one told.
    others: Vec<AttestationData>,
    blocks: BTreeMap<Hash, Lookup>,
}

/// What is known of a block.
#[derive(Debug, Clone, Copy)]
enum Lookup {
    /// It is being looked up.
    Asked,
    /// Our beacon nodes did not know it when they were asked.
    Unknown,
    Known(Place),
}

/// What stands in the way of a verdict.
enum Lacking {
    /// This block is to be looked up.
    LookUp(Hash),
    /// One is being looked up.
    Answer,
}

/// Where a block is in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its slot.
    pub slot: u64,
    /// The root of the block before it.
    pub parent: Hash,
}

/// The moment at which a head is asked for or judged.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The slot that is attested in.
    pub slot: u64,
    /// Its epoch.
    pub epoch: u64,
    /// Whether attestations are due.
    pub due: bool,
    /// The newest head of our beacon nodes, slot and root, as far as one told of it.
    pub newest: Option<(u64, Hash)>,
}

impl Moment {
    /// The block of the slot that is our head, as far as one of our beacon nodes told of it.
    fn told(&self) -> Option<Hash> {
        self.newest
            .filter(|(of, _)| *of == self.slot)
            .map(|(_, root)| root)
    }

    /// Whether this can never be attested to in the slot.
    pub fn excludes(&self, data: &AttestationData) -> bool {
        data.slot != self.slot
            || data.index != 0
            || data.target.epoch != self.epoch
            || data.source.epoch > data.target.epoch
    }
}

/// The round in which something is proposed.
#[derive(Debug, Clone, Copy)]
pub struct InRound {
    /// From 0.
    pub round: u8,
    /// Whether so many operators voted for it in earlier rounds that one at least is honest.
    pub backed: bool,
}

/// What is to be found out before a verdict is possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opinion {
    /// The verdict, which stays.
    Verdict(Verdict),
    /// Before attestations are due this is not plausible, and nothing is asked because of it.
    Early,
    /// The own view is not there yet, or may still change.
    Wait,
    /// No view speaks for it. The own one may still change, and another of our beacon nodes may have one that does.
    AskAll,
    /// This block is to be looked up.
    LookUp(Hash),
}

impl Views {
    /// An answer of the beacon node that was chosen. True if it says something new.
    pub fn add(&mut self, data: AttestationData) -> bool {
        if self.first.last() == Some(&data) {
            return false;
        }
        push(&mut self.first, data);
        true
    }

    /// An answer of one of several beacon nodes that were asked, not of the chosen one.
    pub fn add_other(&mut self, data: AttestationData) {
        push(&mut self.others, data);
    }

    fn all(&self) -> impl Iterator<Item = &AttestationData> {
        self.first.iter().chain(&self.others)
    }

    /// Whether there is any view.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// What this node would propose in a round. If one of our beacon nodes told of a block of the slot, that is our head, and in the
    /// first round nothing else: whoever told of it may be slow to say more, and what another one says that has not got it is known
    /// to be old. If operators could not agree in that round, an old head is better than none.
    pub fn own(&self, at: &Moment, round: u8) -> Option<&AttestationData> {
        let newest = self.first.last().filter(|_| at.due);
        let Some(told) = at.told() else {
            return newest;
        };
        let newest_first = self.first.iter().rev().chain(self.others.iter().rev());
        let of_told = newest_first
            .into_iter()
            .find(|view| view.beacon_block_root == told);
        of_told.or(newest.filter(|_| round > 0))
    }

    /// Whether one of our beacon nodes told of a block of the slot, and none has said yet what else goes with it.
    pub fn lack_told(&self, at: &Moment) -> bool {
        at.told()
            .is_some_and(|told| self.all().all(|view| view.beacon_block_root != told))
    }

    /// Attestations are due: of what was answered before only a block of the slot counts on, which is the newest head, if
    /// that is one.
    pub fn due(&mut self, at: &Moment) {
        let told = at.told();
        let counts = |view: &AttestationData| Some(view.beacon_block_root) == told;
        self.first.retain(counts);
        self.others.retain(counts);
    }

    /// A block was looked up.
    pub fn block(&mut self, root: Hash, place: Option<Place>) {
        if let Some(known) = self.blocks.get_mut(&root) {
            *known = place.map_or(Lookup::Unknown, Lookup::Known);
        }
    }

    /// How many views and blocks are kept.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.first.len() + self.others.len() + self.blocks.len()
    }

    /// Blocks that our beacon nodes did not know when they were asked.
    pub fn unknown_blocks(&self) -> BTreeSet<Hash> {
        self.blocks
            .iter()
            .filter(|(_, known)| matches!(known, Lookup::Unknown))
            .map(|(root, _)| *root)
            .collect()
    }

    /// Where a block is; `None` if our beacon nodes do not know it.
    fn place(&mut self, root: Hash) -> Result<Option<Place>, Lacking> {
        match self.blocks.get(&root) {
            Some(Lookup::Known(place)) => Ok(Some(*place)),
            Some(Lookup::Asked) => Err(Lacking::Answer),
            None if self.blocks.len() < MAX_LOOKUPS => {
                self.blocks.insert(root, Lookup::Asked);
                Err(Lacking::LookUp(root))
            }
            Some(Lookup::Unknown) | None => Ok(None),
        }
    }

    /// What to think of data that somebody proposes in this round.
    pub fn judge(&mut self, data: &AttestationData, in_round: InRound, at: &Moment) -> Opinion {
        if at.excludes(data) {
            return Opinion::Verdict(Verdict::Invalid);
        }
        let same_target = |view: &&AttestationData| view.target == data.target;
        let root = data.beacon_block_root;
        let own = self.own(at, in_round.round).copied();
        let is_own = own
            .as_ref()
            .filter(same_target)
            .map(|view| view.beacon_block_root)
            == Some(root);
        if !at.due && !is_own {
            return Opinion::Early;
        }
        if !self
            .all()
            .any(|view| (view.source, view.target) == (data.source, data.target))
        {
            return if at.due { Opinion::AskAll } else { Opinion::Early };
        }
        if is_own {
            return Opinion::Verdict(Verdict::Valid);
        }
        if in_round.round == 0 {
            return Opinion::Wait;
        }
        match self.is_recent(data, in_round.backed, at) {
            Err(Lacking::LookUp(root)) => Opinion::LookUp(root),
            Err(Lacking::Answer) => Opinion::Wait,
            Ok(true) => Opinion::Verdict(Verdict::Valid),
            Ok(false) => Opinion::AskAll,
        }
    }

    /// Whether operators who differ may come together on this head: see the module. The block before one of this slot is no
    /// better than any other: whoever leads would have it voted for where honest operators differ for another reason.
    fn is_recent(&mut self, data: &AttestationData, backed: bool, at: &Moment) -> Result<bool, Lacking> {
        let told = at.newest.map(|(of, _)| of).filter(|of| *of < at.slot);
        // The slot of the newest block of an earlier slot, and of what comes into question.
        let mut newest_before = told.unwrap_or(0);
        let mut heads: BTreeMap<Hash, u64> = BTreeMap::new();
        for view in self.all().copied().collect::<Vec<_>>() {
            let head = view.beacon_block_root;
            let Some(place) = self.place(head)? else {
                continue;
            };
            if view.target == data.target {
                heads.insert(head, place.slot);
            }
            let before = if place.slot < at.slot {
                Some(place)
            } else {
                self.place(place.parent)?
            };
            newest_before = newest_before.max(before.map_or(0, |before| before.slot));
        }
        let root = data.beacon_block_root;
        if backed
            && !heads.contains_key(&root)
            && let Some(place) = self.place(root)?
        {
            heads.insert(root, place.slot);
        }
        let slot = heads.get(&root);
        Ok(slot.is_some_and(|slot| (newest_before..=at.slot).contains(slot)))
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
    use conclave_eth::chain::types::Checkpoint;

    fn data(root: u8) -> AttestationData {
        AttestationData {
            slot: 42,
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
    const DUE: Moment = Moment {
        slot: 42,
        epoch: 5,
        due: true,
        newest: None,
    };

    const fn round(round: u8) -> InRound {
        let backed = false;
        InRound { round, backed }
    }

    /// A block of a slot, named by it: the one before is that of the slot before.
    const fn chain(slot: u8) -> (Hash, Option<Place>) {
        let place = Place {
            slot: slot as u64,
            parent: [slot - 1; 32],
        };
        ([slot; 32], Some(place))
    }

    /// Judges until nothing is to be looked up; our beacon nodes know these blocks.
    fn judge(
        views: &mut Views,
        data: &AttestationData,
        round: InRound,
        at: &Moment,
        known: impl Fn(&Hash) -> Option<Place>,
    ) -> Opinion {
        loop {
            match views.judge(data, round, at) {
                Opinion::LookUp(root) => {
                    // It is not answered at once.
                    assert_eq!(views.judge(data, round, at), Opinion::Wait);
                    views.block(root, known(&root));
                }
                opinion => return opinion,
            }
        }
    }

    fn on_chain(root: &Hash) -> Option<Place> {
        (30..=42).map(chain).find(|(of, _)| of == root)?.1
    }

    #[test]
    fn round_0_asks_for_our_own_head() {
        let mut views = Views::default();
        assert_eq!(views.judge(&data(41), round(0), &DUE), Opinion::AskAll);
        assert!(views.add(data(41)));
        assert!(!views.add(data(41)));
        assert_eq!(views.judge(&data(41), round(0), &DUE), VALID);
        assert_eq!(views.judge(&data(42), round(0), &DUE), Opinion::Wait);
        // The head has moved on: the old one is not ours any more.
        views.add(data(42));
        assert_eq!(views.judge(&data(41), round(0), &DUE), Opinion::Wait);
        assert_eq!(views.own(&DUE, 0), Some(&data(42)));
    }

    #[test]
    fn before_the_due_time_only_a_block_of_this_slot_is_our_head() {
        let early = |newest| Moment {
            due: false,
            newest,
            ..DUE
        };
        let of_before = early(Some((41, [41; 32])));
        let of_now = early(Some((42, [42; 32])));
        let mut views = Views::default();
        views.add(data(41));
        for at in [early(None), of_before, of_now] {
            for of in [round(0), round(1)] {
                assert_eq!(views.judge(&data(41), of, &at), Opinion::Early);
                assert_eq!(views.judge(&data(42), of, &at), Opinion::Early);
            }
            assert_eq!(views.own(&at, 0), None);
        }
        views.add(data(42));
        assert_eq!(views.judge(&data(42), round(0), &of_before), Opinion::Early);
        assert_eq!(views.judge(&data(42), round(0), &of_now), VALID);
        assert_eq!(views.judge(&data(41), round(0), &of_now), Opinion::Early);
        // Nor is it asked about what can wait.
        let other = AttestationData {
            source: Checkpoint {
                epoch: 4,
                root: [4; 32],
            },
            ..data(42)
        };
        assert_eq!(views.judge(&other, round(0), &of_now), Opinion::Early);
        // An answer that was asked for earlier and comes later makes nothing of it undone, before and after.
        views.add(data(41));
        for at in [of_now, Moment { due: true, ..of_now }] {
            assert_eq!(views.own(&at, 0), Some(&data(42)));
        }
        // Our beacon nodes went back.
        let back = Moment {
            due: true,
            ..of_before
        };
        assert_eq!(views.own(&back, 0), Some(&data(41)));
        // When it is due, what was answered before does not count, but for a block of this slot.
        for (at, expected) in [(of_before, None), (of_now, Some(data(42)))] {
            let mut views = Views::default();
            views.add(data(42));
            views.add(data(41));
            views.add_other(data(41));
            let at = Moment { due: true, ..at };
            views.due(&at);
            assert_eq!(views.own(&at, 0), expected.as_ref());
            assert_eq!(views.all().count(), usize::from(expected.is_some()));
        }
        // Before anything else: what can never be right is refused at once.
        assert_eq!(
            views.judge(&AttestationData { index: 1, ..data(42) }, round(0), &of_before),
            INVALID
        );
    }

    const fn backed(round: u8) -> InRound {
        let backed = true;
        InRound { round, backed }
    }

    #[test]
    fn later_rounds_take_our_nodes_heads_and_the_block_before_only_if_it_is_backed() {
        for later in [1, 2, 16] {
            let mut views = Views::default();
            views.add(data(42));
            for root in [42, 41, 40, 39, 9] {
                let seen = judge(&mut views, &data(root), round(later), &DUE, on_chain);
                let expected = if root == 42 { VALID } else { Opinion::AskAll };
                assert_eq!(seen, expected, "{root}");
            }
            assert_eq!(views.unknown_blocks(), BTreeSet::new());
            // So many voted for it that one of them is honest: those who have not got the slot's block. Nothing older, all the same.
            for root in [42, 41, 40, 39, 9] {
                let seen = judge(&mut views, &data(root), backed(later), &DUE, on_chain);
                let expected = if root >= 41 { VALID } else { Opinion::AskAll };
                assert_eq!(seen, expected, "{root}");
            }
        }
        // It is another node's head.
        let mut views = Views::default();
        views.add(data(42));
        views.add_other(data(41));
        assert_eq!(judge(&mut views, &data(41), round(1), &DUE, on_chain), VALID);
        // Without a block of this slot that is our head, and nothing else.
        let mut views = Views::default();
        views.add(data(41));
        for (root, expected) in [(42, Opinion::AskAll), (41, VALID), (40, Opinion::AskAll)] {
            let seen = judge(&mut views, &data(root), round(1), &DUE, on_chain);
            assert_eq!(seen, expected, "{root}");
        }
        // A block after empty slots has a parent that is the newest before it all the same.
        let mut views = Views::default();
        views.add(data(42));
        let gap = |root: &Hash| {
            (*root == [42; 32])
                .then_some(Place {
                    slot: 42,
                    parent: [35; 32],
                })
                .or_else(|| on_chain(root))
        };
        assert_eq!(judge(&mut views, &data(35), backed(1), &DUE, gap), VALID);
        assert_eq!(
            judge(&mut views, &data(34), backed(1), &DUE, gap),
            Opinion::AskAll
        );
    }

    #[test]
    fn a_beacon_node_that_lags_vouches_for_nothing_that_is_older() {
        // Whoever answered it, once or now: the other one knows of newer blocks.
        for lags in [40, 39] {
            let mut views = Views::default();
            views.add(data(lags));
            views.add(data(42));
            views.add_other(data(lags));
            let seen = judge(&mut views, &data(lags), round(1), &DUE, on_chain);
            assert_eq!(seen, Opinion::AskAll, "{lags}");
            assert_eq!(judge(&mut views, &data(41), backed(1), &DUE, on_chain), VALID);
        }
        // It is known by its events alone.
        let mut views = Views::default();
        views.add(data(42));
        views.add_other(data(39));
        let told = Moment {
            newest: Some((41, [41; 32])),
            ..DUE
        };
        let only_this = |root: &Hash| on_chain(root).filter(|place| place.slot < 41);
        let seen = judge(&mut views, &data(39), round(1), &told, only_this);
        assert_eq!(seen, Opinion::AskAll);
    }

    #[test]
    fn who_follows_another_branch_changes_over_when_one_honest_operator_voted_for_it() {
        let other = [7; 32];
        let fork = |slot: u64| {
            move |root: &Hash| {
                let place = Place {
                    slot,
                    parent: [40; 32],
                };
                (*root == other).then_some(place).or_else(|| on_chain(root))
            }
        };
        let cases = [
            (42, VALID),
            (41, VALID),
            (40, Opinion::AskAll),
            (43, Opinion::AskAll),
        ];
        for (slot, expected) in cases {
            for backed in [false, true] {
                let mut views = Views::default();
                views.add(data(42));
                let of = InRound { round: 1, backed };
                let seen = judge(&mut views, &data(7), of, &DUE, fork(slot));
                let expected = if backed { expected } else { Opinion::AskAll };
                assert_eq!(seen, expected, "{slot} {backed}");
            }
        }
        // Not if our beacon nodes do not know it, nor in the first round.
        let mut views = Views::default();
        views.add(data(42));
        let seen = judge(&mut views, &data(7), backed(1), &DUE, on_chain);
        assert_eq!(seen, Opinion::AskAll);
        assert_eq!(views.unknown_blocks(), BTreeSet::from([[7; 32]]));
        assert_eq!(views.judge(&data(42 - 1), backed(0), &DUE), Opinion::Wait);
    }

    #[test]
    fn a_block_of_the_slot_that_a_node_told_of_is_our_head_whichever_node_says_the_rest() {
        let told = Moment {
            newest: Some((42, [42; 32])),
            ..DUE
        };
        let mut views = Views::default();
        assert!(views.lack_told(&told) && !views.lack_told(&DUE));
        // The one that told of it hangs, and the other one has not got it.
        views.add(data(41));
        assert!(views.lack_told(&told));
        assert_eq!(views.own(&told, 0), None);
        assert_eq!(views.judge(&data(41), round(0), &told), Opinion::Wait);
        // Where operators could not agree, that is better than nothing.
        assert_eq!(views.own(&told, 1), Some(&data(41)));
        assert_eq!(judge(&mut views, &data(41), round(1), &told, on_chain), VALID);
        // Now it has, and it does not matter that it was not asked first.
        views.add_other(data(42));
        assert!(!views.lack_told(&told));
        for round in [0, 1] {
            assert_eq!(views.own(&told, round), Some(&data(42)));
        }
        assert_eq!(views.judge(&data(42), round(0), &told), VALID);
        assert_eq!(views.judge(&data(41), round(0), &told), Opinion::Wait);
        // Before attestations are due, too.
        let early = Moment { due: false, ..told };
        assert_eq!(views.own(&early, 0), Some(&data(42)));
    }

    #[test]
    fn head_and_target_are_of_one_view() {
        let with_target = |root: u8, target: u8| AttestationData {
            target: Checkpoint {
                epoch: 5,
                root: [target; 32],
            },
            ..data(root)
        };
        // The first slot of an epoch: its block is the target, as soon as there is one.
        let mut views = Views::default();
        views.add(with_target(41, 41));
        views.add(with_target(42, 42));
        for later in [0, 1] {
            for (head, target) in [(42, 41), (41, 42)] {
                let mixed = with_target(head, target);
                let seen = judge(&mut views, &mixed, round(later), &DUE, on_chain);
                assert!(!matches!(seen, Opinion::Verdict(_)), "{head} {target} {later}");
            }
            let seen = judge(&mut views, &with_target(42, 42), round(later), &DUE, on_chain);
            assert_eq!(seen, VALID);
        }
        let before = with_target(41, 41);
        let own = views.judge(&before, round(0), &DUE);
        assert_eq!(own, Opinion::Wait);
        assert_eq!(judge(&mut views, &before, round(1), &DUE, on_chain), VALID);
        // The block before the target does not descend from it, though it is the one before our head.
        let mut views = Views::default();
        views.add(with_target(42, 42));
        let seen = judge(&mut views, &with_target(41, 42), round(1), &DUE, on_chain);
        assert_eq!(seen, Opinion::AskAll);
        // An old one with an old target, from a beacon node that lags.
        views.add_other(with_target(40, 40));
        let seen = judge(&mut views, &with_target(40, 40), round(1), &DUE, on_chain);
        assert_eq!(seen, Opinion::AskAll);
    }

    #[test]
    fn what_can_never_be_right_is_refused() {
        let mut views = Views::default();
        views.add(data(1));
        let late_source = Checkpoint {
            epoch: 6,
            root: [3; 32],
        };
        let wrong = [
            AttestationData { slot: 41, ..data(1) },
            AttestationData { index: 1, ..data(1) },
            AttestationData {
                source: late_source,
                ..data(1)
            },
        ];
        for due in [false, true] {
            let at = Moment { due, ..DUE };
            for data in &wrong {
                assert_eq!(views.judge(data, round(0), &at), INVALID);
            }
            let next = Moment { epoch: 6, ..at };
            assert_eq!(views.judge(&data(1), round(0), &next), INVALID);
        }
        // Another source or target may be what our node has not seen yet.
        let other = Checkpoint {
            epoch: 4,
            root: [4; 32],
        };
        let other = AttestationData {
            source: other,
            ..data(1)
        };
        assert_eq!(views.judge(&other, round(3), &DUE), Opinion::AskAll);
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
        views.add(stale(41));
        assert_eq!(views.judge(&data(41), round(0), &DUE), Opinion::AskAll);
        views.add_other(stale(41));
        views.add_other(data(42));
        // The checkpoints are known now. The head in the first round is the one of the node that is asked first.
        assert_eq!(views.own(&DUE, 0), Some(&stale(41)));
        assert_eq!(views.judge(&data(41), round(0), &DUE), VALID);
        assert_eq!(views.judge(&data(42), round(0), &DUE), Opinion::Wait);
        assert_eq!(judge(&mut views, &data(42), round(1), &DUE, on_chain), VALID);
    }

    #[test]
    fn lookups_and_views_are_bounded() {
        let mut views = Views::default();
        for root in 0..100 {
            views.add(data(root));
            views.add_other(data(root));
        }
        assert_eq!((views.first.len(), views.others.len()), (MAX_VIEWS, MAX_VIEWS));
        let mut lookups = 0;
        for root in 100..255 {
            judge(&mut views, &data(root), backed(1), &DUE, |_| None);
            lookups = views.blocks.len();
            let _ = views.place([root; 32]);
        }
        assert_eq!(lookups, MAX_LOOKUPS);
    }
}
