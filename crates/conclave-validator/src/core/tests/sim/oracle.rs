//! Who sees everything: what was signed and sent, and whether a validator can be slashed for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::Submission;
use conclave_crypto::hash::Hash;
use conclave_eth::chain::types::AttestationData;

use super::Sim;

/// Source and target, and whose shares signed it.
type Signers = ((u64, u64), BTreeSet<u16>);

/// What was signed by whom, and what the chain has seen.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    /// Validator and signing root: epochs, and whose shares signed it, sent or not.
    pub(super) partials: BTreeMap<(u32, Hash), Signers>,
    /// Validator, slot: milliseconds into the slot of the first one.
    pub(crate) first: BTreeMap<(u64, u64), u64>,
    /// The same: what the first one was for.
    pub(crate) voted: BTreeMap<(u64, u64), AttestationData>,
    /// Validator, slot: whose beacon nodes were given its attestation.
    pub(crate) submitters: BTreeMap<(u64, u64), BTreeSet<u16>>,
    pub(crate) sync: BTreeSet<(u64, u64)>,
    /// Validator and slot of sync committee messages: the block that the first one was for.
    pub(crate) sync_roots: BTreeMap<(u64, u64), Hash>,
    /// Validator and slot: whose shares signed which block, sent or not.
    pub(super) blocks: BTreeMap<(u32, u64), BTreeMap<Hash, BTreeSet<u16>>>,
    /// Slots in which a block of ours came.
    pub(crate) proposed: BTreeSet<u64>,
    /// Slots in which aggregates came.
    pub(crate) aggregated: BTreeSet<u64>,
    /// What came to a beacon node when no beacon node takes it any more: what it was, slot, milliseconds too late.
    pub(crate) late: Vec<(&'static str, u64, u64)>,
    /// Slots in which contributions of sync committee messages came.
    pub(crate) contributed: BTreeSet<u64>,
}

impl Oracle {
    /// Pairs of messages, each signed by this operator's shares, for which a validator could be slashed.
    pub(crate) fn twice(&self, operator: u16) -> usize {
        let mut own: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
        for ((validator, _), (epochs, signers)) in &self.partials {
            if signers.contains(&operator) {
                own.entry(*validator).or_default().push(*epochs);
            }
        }
        let blocks = self.blocks.values().map(|roots| {
            let signed = roots.values().filter(|signers| signers.contains(&operator));
            signed.count().saturating_sub(1)
        });
        blocks.sum::<usize>() + slashable_pairs(own)
    }
}

/// How many pairs of each validator's attestations (source, target) it can be slashed for.
fn slashable_pairs(mut attested: BTreeMap<u32, Vec<(u64, u64)>>) -> usize {
    let mut pairs = 0;
    for epochs in attested.values_mut() {
        epochs.sort_unstable_by_key(|(source, target)| (*target, *source));
        let slashable = |a: &(u64, u64), b: &(u64, u64)| a.1 == b.1 || b.0 < a.0;
        let of =
            |(place, a): (usize, &(u64, u64))| epochs[place + 1..].iter().filter(|b| slashable(a, b)).count();
        pairs += epochs.iter().enumerate().map(of).sum::<usize>();
    }
    pairs
}

impl Sim {
    /// Notes what the network would pass on to nobody: what is older than its slot, aggregates older than the slot after
    /// theirs, attestations older than an epoch.
    pub(super) fn too_late(&mut self, place: usize, submission: &Submission) -> bool {
        let time = self.chain.time();
        let (what, slot, more) = match submission {
            Submission::Attestations(list) => ("attestation", list[0].data.slot, time.slots_per_epoch - 1),
            Submission::SyncMessages(list) => ("sync committee message", list[0].slot, 0),
            Submission::Aggregates(list) => ("aggregate", list[0].message.aggregate.data.slot, 1),
            Submission::Contributions(list) => ("contribution", list[0].message.contribution.slot, 0),
            Submission::Block { slot, .. } => ("block", *slot, 0),
        };
        let late = self.clock(place).saturating_sub(time.end_of(slot + more));
        let honest = !self.plan.liars.contains(&self.nodes[place].operator);
        if late > 0 && honest {
            self.oracle.late.push((what, slot, late));
        }
        late > 0
    }

    /// Attestations that were due in these slots, and how many came.
    pub(crate) fn attested_in(&self, slots: std::ops::Range<u64>) -> (usize, usize) {
        let time = self.chain.time();
        let due: Vec<(u64, u64)> = slots
            .flat_map(|slot| {
                let epoch = time.epoch_of(slot);
                (0..self.plan.validators)
                    .filter(move |validator| slot == self.attests_in(*validator, epoch))
                    .map(move |validator| (1000 + u64::from(validator), slot))
            })
            .collect();
        let came = due
            .iter()
            .filter(|key| self.oracle.first.contains_key(*key))
            .count();
        (due.len(), came)
    }

    /// Slots in which a validator of ours proposes, and in how many of them a block came.
    pub(crate) fn proposed_in(&self, slots: std::ops::Range<u64>) -> (usize, usize) {
        let due: Vec<u64> = slots.filter(|slot| self.proposer(*slot).is_some()).collect();
        let came = due
            .iter()
            .filter(|slot| self.oracle.proposed.contains(slot))
            .count();
        (due.len(), came)
    }

    /// Pairs of attestations, or of blocks of one slot, for which a validator can be slashed and of which each could get its
    /// signature: t operators signed it, those who lie included, whatever they say to have signed.
    pub(crate) fn conflicts(&self) -> usize {
        let liars = &self.plan.liars;
        let mut whole: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
        for ((validator, _), (epochs, signers)) in &self.oracle.partials {
            if signers.union(liars).count() >= usize::from(self.plan.threshold) {
                whole.entry(*validator).or_default().push(*epochs);
            }
        }
        let mut conflicts = slashable_pairs(whole);
        for blocks in self.oracle.blocks.values() {
            let whole = blocks
                .values()
                .filter(|signers| signers.union(liars).count() >= usize::from(self.plan.threshold))
                .count();
            conflicts += whole * whole.saturating_sub(1) / 2;
        }
        conflicts
    }
}
