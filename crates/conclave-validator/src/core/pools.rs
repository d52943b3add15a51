//! The partial signatures of everything that is under way, and what they became.
//!
//! Of others only what is for duties that exist is kept, of each operator one for each: nobody can make this grow. What is for duties
//! that are not known here waits for a slot, for they may be learned of later here than there; of each operator at most
//! [`WAITING`] bytes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::RangeInclusive,
};

use crate::{
    combine::{Combined, Job, Outcome, Place, Pool},
    partials::{Item, Partials},
};
use conclave_crypto::hash::Hash;
use conclave_eth::duty::Purpose;

use super::syncing::AHEAD;

/// Purpose and slot.
pub type Key = (Purpose, u64);

/// Most bytes of an operator's partial signatures for duties that are not known here.
pub const WAITING: usize = 256 * 1024;

/// So many slots before this one and after it partial signatures are of use, or will be.
pub fn window(purpose: Purpose, now: u64, slots_per_epoch: u64) -> RangeInclusive<u64> {
    let (before, after) = match purpose {
        Purpose::Attestation => (slots_per_epoch, 1),
        // Clocks differ.
        Purpose::SyncSelection => (2, AHEAD + 2),
        Purpose::Randao | Purpose::Selection => (2, slots_per_epoch.saturating_mul(2)),
        _ => (2, 1),
    };
    now.saturating_sub(before)..=now.saturating_add(after)
}

/// Partial signatures for duties that are not known here.
#[derive(Debug)]
struct Unknown {
    /// The slot in which they came.
    since: u64,
    key: Key,
    items: Box<[Item]>,
}

impl Unknown {
    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&self.items[..])
    }
}

/// Where an operator's partial signatures wait for their duties to be known.
#[derive(Debug, Default)]
struct Room {
    /// In the order in which they came.
    unknown: VecDeque<Unknown>,
    bytes: usize,
    /// Something had to go.
    lost: bool,
}

impl Room {
    fn add(&mut self, unknown: Unknown) {
        let bytes = self.bytes.saturating_add(unknown.bytes());
        if bytes > WAITING {
            self.lost = true;
        } else {
            self.bytes = bytes;
            self.unknown.push_back(unknown);
        }
    }

    /// Takes everything out.
    fn empty(&mut self) -> VecDeque<Unknown> {
        self.bytes = 0;
        std::mem::take(&mut self.unknown)
    }

    fn forget(&mut self, now: u64) {
        let is_old = |unknown: &Unknown| unknown.since.saturating_add(1) < now;
        while let Some(oldest) = self.unknown.front().filter(|oldest| is_old(oldest)) {
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
            self.lost = true;
            self.unknown.pop_front();
        }
    }
}

/// Everything of one purpose in one slot.
#[derive(Debug, Default)]
struct Entry {
    pool: Pool,
    /// What was given to the own share to sign; nothing is signed twice.
    asked: BTreeSet<Place>,
    /// For what of that the slashing protection permits no signature.
    refused: BTreeSet<Place>,
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
    /// By operator, what is for duties that are not known here.
    rooms: BTreeMap<u16, Room>,
    /// Whether other duties are known than were when the last slot began.
    duties_changed: bool,
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
        entry.pool.take(partials.operator, partials.items());
        entry.own.push(partials);
    }

    /// Takes somebody's partial signatures, whose node signature is right, in this slot: those for duties that exist. True if
    /// there was something new among them.
    pub fn take(&mut self, partials: &Partials, now: u64, exists: impl Fn(Place) -> bool) -> bool {
        let key = (partials.header().purpose, partials.header().slot);
        let items = partials.items();
        self.take_items(partials.operator, key, items, now, exists)
    }

    fn take_items(
        &mut self,
        operator: u16,
        key: Key,
        items: &[Item],
        since: u64,
        exists: impl Fn(Place) -> bool,
    ) -> bool {
        let (known, unknown): (Vec<Item>, Vec<Item>) = items.iter().partition(|item| exists(item.at()));
        if !unknown.is_empty() {
            let items = unknown.into_boxed_slice();
            let room = self.rooms.entry(operator).or_default();
            room.add(Unknown { since, key, items });
        }
        !known.is_empty() && self.entries.entry(key).or_default().pool.take(operator, &known)
    }

    /// Other duties exist than did: what waits for one of these is taken, and what is for none waits. Gives what there is
    /// something new of.
    pub fn sort_out(&mut self, me: u16, now: u64, exists: impl Fn(Key, Place) -> bool) -> BTreeSet<Key> {
        self.duties_changed = true;
        let mut waiting = Vec::new();
        for (operator, room) in &mut self.rooms {
            waiting.extend(room.empty().into_iter().map(|unknown| (*operator, unknown)));
        }
        for (key, entry) in &mut self.entries {
            let out = entry.pool.sort_out(me, |place| exists(*key, place));
            waiting.extend(out.into_iter().map(|(operator, items)| {
                let key = *key;
                (
                    operator,
                    Unknown {
                        since: now,
                        key,
                        items,
                    },
                )
            }));
        }
        let mut new = BTreeSet::new();
        for (operator, Unknown { since, key, items }) in waiting {
            if self.take_items(operator, key, &items, since, |place| exists(key, place)) {
                new.insert(key);
            }
        }
        new
    }

    /// Of whom something was lost because its duty was not known, if other duties are known since this was asked last.
    pub fn to_hear_again(&mut self) -> Vec<u16> {
        if !std::mem::take(&mut self.duties_changed) {
            return Vec::new();
        }
        let rooms = self.rooms.iter_mut();
        let lost = rooms.filter_map(|(operator, room)| std::mem::take(&mut room.lost).then_some(*operator));
        lost.collect()
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

    /// The own slashing protection permits no signature for these validators.
    pub fn refuse(&mut self, key: Key, validators: &[u32]) {
        if let Some(entry) = self.entries.get_mut(&key) {
            let asked = validators.iter().map(|validator| (*validator, 0));
            let asked = asked.filter(|place| entry.asked.contains(place));
            entry.refused.extend(asked);
        }
    }

    /// Whether the own share was asked for it, and whether the slashing protection permits none.
    pub fn was_asked(&self, key: Key, place: Place) -> (bool, bool) {
        self.entries.get(&key).map_or((false, false), |entry| {
            (entry.asked.contains(&place), entry.refused.contains(&place))
        })
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

    /// Of each validator for which the group did not sign: whose partial signatures, wrong ones left out, there are, and of what root.
    pub fn signers_without_result(&self, key: Key) -> BTreeMap<u32, BTreeMap<u16, Hash>> {
        let mut signers: BTreeMap<u32, BTreeMap<u16, Hash>> = BTreeMap::new();
        if let Some(entry) = self.entries.get(&key) {
            let made: BTreeSet<u32> = entry.made.keys().map(|place| place.0).collect();
            let sound = entry.pool.sound();
            for (place, operator, root) in sound.filter(|(place, ..)| !made.contains(&place.0)) {
                signers.entry(place.0).or_default().insert(operator, root);
            }
        }
        signers
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
            1 + entry.pool.size()
                + entry.asked.len()
                + entry.refused.len()
                + own
                + entry.made.len()
                + entry.handed_over.len()
        });
        let waiting = self.rooms.values().flat_map(|room| &room.unknown);
        let waiting: usize = waiting.map(|unknown| unknown.items.len()).sum();
        entries.sum::<usize>() + waiting + self.suspects.len()
    }

    /// The bytes of partial signatures that are kept of an operator: for duties that exist, and for others.
    #[cfg(test)]
    pub(super) fn bytes_of(&self, operator: u16) -> (usize, usize) {
        let known = self
            .entries
            .values()
            .map(|entry| entry.pool.bytes_of(operator))
            .sum();
        let unknown = self
            .rooms
            .get(&operator)
            .map_or(0, |room| room.unknown.iter().map(Unknown::bytes).sum());
        (known, unknown)
    }

    /// Forgets what is of no use any more in this slot.
    pub fn forget(&mut self, now: u64, slots_per_epoch: u64) {
        self.entries
            .retain(|(purpose, slot), _| *slot >= *window(*purpose, now, slots_per_epoch).start());
        for room in self.rooms.values_mut() {
            room.forget(now);
        }
    }
}
