//! The partial signatures of everything that is under way, and what they became.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    crypto::hash::Hash,
    validator::{
        combine::{Combined, Job, Outcome, Place, Pool},
        duty::Purpose,
        partials::Partials,
    },
};

/// Purpose and slot.
pub type Key = (Purpose, u64);

/// Everything of one purpose in one slot.
#[derive(Debug, Default)]
struct Entry {
    pool: Pool,
    /// What was given to the own share to sign; nothing is signed twice.
    asked: BTreeSet<Place>,
    /// Own partial signatures, to be sent again.
    own: Vec<Partials>,
    made: BTreeMap<Place, Combined>,
    /// What was given to the beacon nodes.
    handed_over: BTreeSet<Place>,
}

/// All pools.
#[derive(Debug, Default)]
pub struct Pools {
    entries: BTreeMap<Key, Entry>,
    /// Whose partial signatures were wrong.
    suspects: BTreeSet<u16>,
}

impl Pools {
    /// Of what is wanted, whatever the own share was not asked for before. It counts as asked from now on.
    pub fn ask(&mut self, key: Key, wanted: Vec<(Place, Hash)>) -> Vec<(Place, Hash)> {
        if wanted.is_empty() {
            return wanted;
        }
        let entry = self.entries.entry(key).or_default();
        wanted
            .into_iter()
            .filter(|(place, _)| entry.asked.insert(*place))
            .collect()
    }

    /// Takes own partial signatures.
    pub fn take_own(&mut self, partials: Partials) {
        let header = partials.header();
        let entry = self.entries.entry((header.purpose, header.slot)).or_default();
        entry.pool.take(&partials);
        entry.own.push(partials);
    }

    /// Takes somebody's partial signatures, whose node signature is right. True if there was something new.
    pub fn take(&mut self, partials: &Partials) -> bool {
        let header = partials.header();
        self.entries
            .entry((header.purpose, header.slot))
            .or_default()
            .pool
            .take(partials)
    }

    /// A job, if t operators signed something that is not made yet.
    pub fn ready(&mut self, key: Key, threshold: u16) -> Option<Job> {
        self.entries.get_mut(&key)?.pool.ready(threshold, &self.suspects)
    }

    /// Takes the outcome of a job, and gives who was wrong for the first time.
    pub fn finished(&mut self, key: Key, outcome: &Outcome) -> Vec<u16> {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.pool.finished(outcome);
            entry
                .made
                .extend(outcome.signatures.iter().map(|made| (made.place, made.clone())));
        }
        let wrong: BTreeSet<u16> = outcome.wrong.iter().map(|(operator, _)| *operator).collect();
        wrong
            .into_iter()
            .filter(|operator| self.suspects.insert(*operator))
            .collect()
    }

    /// A signature of the group.
    pub fn made(&self, key: Key, place: Place) -> Option<&Combined> {
        self.entries.get(&key)?.made.get(&place)
    }

    /// The group's signature of this root, for the beacon nodes: once.
    pub fn hand_over(&mut self, key: Key, place: Place, root: &Hash) -> Option<[u8; 96]> {
        let entry = self.entries.get_mut(&key)?;
        let made = entry.made.get(&place).filter(|made| made.root == *root)?;
        entry.handed_over.insert(place).then_some(made.signature)
    }

    /// All signatures of the group for a purpose in a slot.
    pub fn all_made(&self, key: Key) -> impl Iterator<Item = &Combined> {
        self.entries
            .get(&key)
            .into_iter()
            .flat_map(|entry| entry.made.values())
    }

    /// Who has sent partial signatures.
    pub fn contributors(&self, key: Key) -> BTreeSet<u16> {
        self.entries
            .get(&key)
            .map(|entry| entry.pool.contributors())
            .unwrap_or_default()
    }

    /// Whose partial signatures, wrong ones left out, are of what the group signed; of anything, if it signed nothing.
    pub fn signers(&self, key: Key) -> BTreeSet<u16> {
        let Some(entry) = self.entries.get(&key) else {
            return BTreeSet::new();
        };
        let all = entry.pool.sound();
        let counts = |place: &Place, root: &Hash| match entry.made.get(place) {
            Some(made) => made.root == *root,
            None => entry.made.is_empty(),
        };
        all.filter(|(place, _, root)| counts(place, root))
            .map(|(_, operator, _)| operator)
            .collect()
    }

    /// Everything that the own share has signed and others may lack.
    pub fn own(&self) -> impl Iterator<Item = &Partials> {
        self.entries.values().flat_map(|entry| &entry.own)
    }

    /// How many of everything is kept.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let entries = self.entries.values().map(|entry| {
            let own: usize = entry.own.iter().map(|partials| partials.items().len()).sum();
            1 + entry.pool.size() + entry.asked.len() + own + entry.made.len() + entry.handed_over.len()
        });
        entries.sum::<usize>() + self.suspects.len()
    }

    /// Forgets what is past its deadline.
    pub fn retain(&mut self, keep: impl Fn(Key) -> bool) {
        self.entries.retain(|key, _| keep(*key));
    }
}
