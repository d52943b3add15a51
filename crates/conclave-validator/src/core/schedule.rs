//! Who has which duty when, as our beacon nodes tell it.

use std::collections::{BTreeMap, BTreeSet};

use crate::combine::Place;
use conclave_eth::{chain::time::Time, duty::Purpose};

/// A validator that attests in a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attester {
    /// Its place in the lock, from 0.
    pub validator: u32,
    /// Its index on the chain.
    pub index: u64,
    /// Its committee in the slot.
    pub committee: u64,
    /// How many validators the committee has.
    pub committee_length: u64,
    /// How many committees the slot has.
    pub committees_at_slot: u64,
}

/// A validator that proposes the block of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proposer {
    /// Its place in the lock, from 0.
    pub validator: u32,
    /// Its index on the chain.
    pub index: u64,
}

/// A validator in a sync committee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncMember {
    /// Its place in the lock, from 0.
    pub validator: u32,
    /// Its index on the chain.
    pub index: u64,
    /// The subcommittees in which it has places, ascending.
    pub subcommittees: Vec<u16>,
    /// Its places in the whole committee.
    pub places: Vec<u64>,
}

/// The duties of a few epochs. Whatever is told later replaces what was told before.
#[derive(Debug, Default)]
pub struct Schedule {
    attesters: BTreeMap<u64, BTreeMap<u64, Vec<Attester>>>,
    proposers: BTreeMap<u64, BTreeMap<u64, Proposer>>,
    sync: BTreeMap<u64, Vec<SyncMember>>,
}

impl Schedule {
    /// The attesters of an epoch, by slot.
    pub fn set_attesters(&mut self, epoch: u64, duties: impl IntoIterator<Item = (u64, Attester)>) {
        let mut slots: BTreeMap<u64, Vec<Attester>> = BTreeMap::new();
        for (slot, attester) in duties {
            slots.entry(slot).or_default().push(attester);
        }
        for attesters in slots.values_mut() {
            attesters.sort_unstable_by_key(|attester| attester.validator);
            attesters.dedup_by_key(|attester| attester.validator);
        }
        self.attesters.insert(epoch, slots);
    }

    /// The proposals of an epoch, by slot.
    pub fn set_proposers(&mut self, epoch: u64, duties: impl IntoIterator<Item = (u64, Proposer)>) {
        self.proposers.insert(epoch, duties.into_iter().collect());
    }

    /// The sync committee members of an epoch.
    pub fn set_sync(&mut self, epoch: u64, mut members: Vec<SyncMember>) {
        members.sort_unstable_by_key(|member| member.validator);
        members.dedup_by_key(|member| member.validator);
        self.sync.insert(epoch, members);
    }

    /// Who attests in a slot of an epoch.
    pub fn attesters(&self, epoch: u64, slot: u64) -> &[Attester] {
        self.attesters
            .get(&epoch)
            .and_then(|slots| slots.get(&slot))
            .map_or(&[], Vec::as_slice)
    }

    /// Whether it is known that nobody of ours proposes in a slot of an epoch.
    pub fn proposes_not(&self, epoch: u64, slot: u64) -> bool {
        self.proposers
            .get(&epoch)
            .is_some_and(|slots| !slots.contains_key(&slot))
    }

    /// Who proposes in a slot of an epoch.
    pub fn proposer(&self, epoch: u64, slot: u64) -> Option<Proposer> {
        self.proposers.get(&epoch)?.get(&slot).copied()
    }

    /// The epochs of which something is known.
    pub fn epochs(&self) -> BTreeSet<u64> {
        let epochs = self.attesters.keys().chain(self.proposers.keys());
        epochs.chain(self.sync.keys()).copied().collect()
    }

    /// The sync committee members of an epoch. A message in a slot is of the committee of the slot after it.
    pub fn sync(&self, epoch: u64) -> &[SyncMember] {
        self.sync.get(&epoch).map_or(&[], Vec::as_slice)
    }

    /// Whether a validator has the duty that a signature is for.
    pub fn has(&self, time: &Time, purpose: Purpose, slot: u64, (validator, place): Place) -> bool {
        let epoch = time.epoch_of(slot);
        let member = || {
            let members = self.sync(time.epoch_of(slot.saturating_add(1)));
            let found = members.binary_search_by_key(&validator, |member| member.validator);
            found.ok().and_then(|at| members.get(at))
        };
        match purpose {
            Purpose::Attestation | Purpose::Selection | Purpose::Aggregate => {
                let attesters = self.attesters(epoch, slot);
                place == 0
                    && attesters
                        .binary_search_by_key(&validator, |attester| attester.validator)
                        .is_ok()
            }
            Purpose::Block | Purpose::Randao => {
                let proposer = self.proposer(epoch, slot);
                place == 0 && proposer.is_some_and(|proposer| proposer.validator == validator)
            }
            Purpose::SyncMessage => place == 0 && member().is_some(),
            Purpose::SyncSelection | Purpose::Contribution => {
                member().is_some_and(|member| member.subcommittees.contains(&place))
            }
            // It is of no slot, and no message of this kind.
            Purpose::Exit => false,
        }
    }

    /// How many duties are kept.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let attesters = self.attesters.values().flat_map(BTreeMap::values).map(Vec::len);
        let proposers = self.proposers.values().map(BTreeMap::len);
        attesters
            .chain(proposers)
            .chain(self.sync.values().map(Vec::len))
            .sum()
    }

    /// Forgets all epochs before this one.
    pub fn forget_before(&mut self, epoch: u64) {
        self.attesters = self.attesters.split_off(&epoch);
        self.proposers = self.proposers.split_off(&epoch);
        self.sync = self.sync.split_off(&epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attester(validator: u32) -> Attester {
        Attester {
            validator,
            index: 100,
            committee: 0,
            committee_length: 4,
            committees_at_slot: 1,
        }
    }

    #[test]
    fn what_is_told_later_counts() {
        let mut schedule = Schedule::default();
        schedule.set_attesters(
            1,
            [
                (33, attester(1)),
                (32, attester(0)),
                (33, attester(0)),
                (33, attester(0)),
            ],
        );
        assert_eq!(schedule.attesters(1, 33).len(), 2);
        assert_eq!(schedule.attesters(1, 34), []);
        assert_eq!(schedule.attesters(2, 33), []);
        schedule.set_attesters(1, [(34, attester(0))]);
        assert_eq!(
            (schedule.attesters(1, 33).len(), schedule.attesters(1, 34).len()),
            (0, 1)
        );
        schedule.forget_before(2);
        assert_eq!(schedule.attesters(1, 34), []);
    }
}
