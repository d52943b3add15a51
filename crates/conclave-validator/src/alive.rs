//! Twins: two processes with one share. Each sees the other through what the peers pass on.
//!
//! Every process draws an instance number (128 random bits) at its start. Once a slot it signs an [`Alive`] with the
//! other instances of its own operator that it has seen of late; peers keep the newest of each instance for
//! [`MEMORY`] slots and show them to everybody, the author's other instances included. A node that is shown an Alive
//! under its own key that lists its own instance, or that bears its instance and was not made by it, is one of two:
//! it says so once more and stops.
//!
//! A restart never looks like a twin: what the dead instance said does not name the new one. A liar cannot make a node
//! stop, because only a node's own key signs its Alive.

use std::collections::{BTreeMap, VecDeque};

use conclave_crypto::{
    domains,
    hash::{Hash, sha256},
};
use conclave_dkg::wire::Reader;

use conclave_consensus::Signatures;

/// An Alive is remembered and passed on for so many slots.
pub const MEMORY: u64 = 32;
/// The most other instances in one Alive, and the most instances of one operator that are remembered.
pub const MAX_INSTANCES: usize = 8;
/// The longest encoding of an [`Alive`], in bytes.
pub const LONGEST: usize = 2 + 16 + 8 + 1 + MAX_INSTANCES * 16 + 64;

/// Names a process from one start to the next: 128 random bits.
pub type Instance = [u8; 16];

/// "This instance of this operator is at work in this slot, and has seen these others of its own."
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alive {
    /// The operator, from 1.
    pub operator: u16,
    /// The process.
    pub instance: Instance,
    /// The slot by its clock.
    pub slot: u64,
    /// Other instances of the same operator that it has seen within [`MEMORY`] slots, newest first; before them the twin,
    /// once there is one.
    pub others: Vec<Instance>,
    signature: [u8; 64],
}

impl Alive {
    pub(super) fn sign(
        signatures: &impl Signatures,
        lock_hash: &Hash,
        operator: u16,
        instance: Instance,
        slot: u64,
        others: Vec<Instance>,
    ) -> Self {
        let mut alive = Self {
            operator,
            instance,
            slot,
            others,
            signature: [0; 64],
        };
        alive.signature = signatures.sign(&alive.digest(lock_hash));
        alive
    }

    fn digest(&self, lock_hash: &Hash) -> Hash {
        sha256(&[domains::RUN_ALIVE.as_bytes(), lock_hash, &self.body()])
    }

    fn body(&self) -> Vec<u8> {
        let mut bytes = self.operator.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.instance);
        bytes.extend_from_slice(&self.slot.to_be_bytes());
        bytes.push(u8::try_from(self.others.len()).unwrap_or(u8::MAX));
        for other in &self.others {
            bytes.extend_from_slice(other);
        }
        bytes
    }

    /// Whether the operator's node key signed it.
    pub fn verify(&self, lock_hash: &Hash, signatures: &impl Signatures) -> bool {
        signatures.verify(self.operator, &self.digest(lock_hash), &self.signature)
    }

    /// What makes one newer than another of the same instance. What is listed does not count: of lists of one length there
    /// is no end, and each would be passed on by everybody.
    fn order(&self) -> (u64, usize) {
        (self.slot, self.others.len())
    }

    /// `u16 operator || instance (16) || u64 slot || u8 count || others (16 each) || signature (64)`.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.body();
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// Reads one, and leaves the reader behind it; `None` for more than [`MAX_INSTANCES`] others, or too few bytes.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let operator = reader.u16()?;
        let instance = reader.array()?;
        let slot = reader.u64()?;
        let count = usize::from(reader.u8()?);
        if count > MAX_INSTANCES {
            return None;
        }
        let others = (0..count).map(|_| reader.array()).collect::<Option<Vec<_>>>()?;
        let signature = reader.array()?;
        Some(Self {
            operator,
            instance,
            slot,
            others,
            signature,
        })
    }
}

/// What an Alive means for the node that is shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// New: pass it on.
    New,
    /// Known, too old, from the future, or one too many: nothing to do.
    Nothing,
    /// Not signed by the operator that it names.
    Forged,
    /// Another process works with this node's share: say so once more, and stop.
    Twin(Instance),
}

/// What a node knows about who is alive.
pub struct Watch {
    me: u16,
    instance: Instance,
    lock_hash: Hash,
    /// Digests of own Alives by slot: whatever else bears the own instance is not its own.
    said: VecDeque<(u64, Hash)>,
    /// The other process with this share, once it was seen.
    twin: Option<Instance>,
    /// The newest Alive of each instance, by operator.
    seen: BTreeMap<u16, BTreeMap<Instance, Alive>>,
}

impl Watch {
    /// For operator `me`, with the instance number of this start.
    pub fn new(me: u16, instance: Instance, lock_hash: Hash) -> Self {
        Self {
            me,
            instance,
            lock_hash,
            said: VecDeque::new(),
            twin: None,
            seen: BTreeMap::new(),
        }
    }

    /// This process's instance number.
    pub fn instance(&self) -> Instance {
        self.instance
    }

    /// Something counts as a start: the old number is one of the others from now on, but not a twin.
    pub fn renew(&mut self, instance: Instance) {
        self.instance = instance;
        self.said.clear();
        self.twin = None;
    }

    /// The Alive of this slot. Without a change of what is listed, the same slot gives the same bytes.
    pub fn say(&mut self, signatures: &impl Signatures, slot: u64) -> Alive {
        self.forget(slot);
        let mut others: Vec<(u64, Instance)> = self
            .seen
            .get(&self.me)
            .into_iter()
            .flatten()
            .filter(|(instance, _)| **instance != self.instance && Some(**instance) != self.twin)
            .map(|(instance, alive)| (alive.slot, *instance))
            .collect();
        others.sort_unstable_by(|a, b| b.cmp(a));
        // One place is kept for a twin: naming it makes the list longer, so that peers pass on these last words even if
        // they have others of this slot already.
        let others = others
            .into_iter()
            .map(|(_, instance)| instance)
            .take(MAX_INSTANCES - 1);
        let others = self.twin.into_iter().chain(others).collect();
        let alive = Alive::sign(signatures, &self.lock_hash, self.me, self.instance, slot, others);
        let digest = alive.digest(&self.lock_hash);
        if !self.said.contains(&(slot, digest)) {
            self.said.push_back((slot, digest));
        }
        alive
    }

    /// Takes an Alive of anybody; `now` is the slot by the own clock.
    pub fn take(&mut self, alive: &Alive, signatures: &impl Signatures, now: u64) -> Shown {
        self.forget(now);
        if alive.slot.saturating_add(MEMORY) < now || alive.slot > now.saturating_add(MEMORY) {
            return Shown::Nothing;
        }
        let of_operator = self.seen.get(&alive.operator);
        let known = of_operator.and_then(|instances| instances.get(&alive.instance));
        // Of two in one slot the one that lists more counts. Were it the last to come, nodes would pass both on for ever.
        if known.is_some_and(|known| known.order() >= alive.order()) {
            return Shown::Nothing;
        }
        if !alive.verify(&self.lock_hash, signatures) {
            return Shown::Forged;
        }
        if alive.operator == self.me {
            let own = alive.instance == self.instance;
            if own && self.said.contains(&(alive.slot, alive.digest(&self.lock_hash))) {
                return Shown::Nothing;
            }
            if own || alive.others.contains(&self.instance) {
                self.twin = Some(alive.instance);
                return Shown::Twin(alive.instance);
            }
        }
        let instances = self.seen.entry(alive.operator).or_default();
        if !instances.contains_key(&alive.instance) && instances.len() >= MAX_INSTANCES {
            let oldest = instances
                .values()
                .min_by_key(|known| known.slot)
                .map(|known| (known.slot, known.instance));
            match oldest {
                Some((slot, instance)) if slot < alive.slot => instances.remove(&instance),
                _ => return Shown::Nothing,
            };
        }
        instances.insert(alive.instance, alive.clone());
        Shown::New
    }

    /// Everything that a peer is shown when it connects.
    pub fn remembered(&self) -> impl Iterator<Item = &Alive> {
        self.seen.values().flat_map(BTreeMap::values)
    }

    /// The newest slot in which an operator said that it is alive.
    pub fn newest(&self, operator: u16) -> Option<u64> {
        self.seen.get(&operator)?.values().map(|alive| alive.slot).max()
    }

    /// Two processes of an operator that were at work at once: each has seen the other. After a restart only the new one names the old
    /// one. Nobody else can make it look so, for its own key signs both.
    pub fn twins(&self, operator: u16) -> Option<(Instance, Instance)> {
        let instances = self.seen.get(&operator)?;
        instances.values().find_map(|one| {
            let names_back = |other: &&Instance| {
                let other = instances.get(*other);
                other.is_some_and(|other| other.others.contains(&one.instance))
            };
            let other = one.others.iter().find(names_back)?;
            Some((one.instance, *other))
        })
    }

    /// How many of everything is kept.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.said.len() + self.remembered().count()
    }

    fn forget(&mut self, now: u64) {
        for instances in self.seen.values_mut() {
            instances.retain(|_, alive| alive.slot.saturating_add(MEMORY) >= now);
        }
        // Own words are remembered longer than anybody accepts them.
        while self
            .said
            .front()
            .is_some_and(|(slot, _)| slot.saturating_add(2 * MEMORY) < now)
        {
            self.said.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_consensus::NodeSignatures;
    use conclave_crypto::node::NodeKey;

    const LOCK: Hash = [7; 32];

    fn key(operator: u8) -> NodeSignatures {
        let key = |byte| NodeKey::from_bytes(&[byte; 32]).unwrap();
        NodeSignatures::new(key(operator), [1, 2].map(|byte| key(byte).public()).to_vec())
    }

    fn watch(operator: u16, instance: u8) -> Watch {
        Watch::new(operator, [instance; 16], LOCK)
    }

    #[test]
    fn bytes_come_back() {
        let mut one = watch(1, 10);
        one.take(&watch(1, 11).say(&key(1), 5), &key(1), 5);
        let alive = one.say(&key(1), 5);
        assert_eq!(alive.others, [[11; 16]]);
        let bytes = alive.encode();
        let mut reader = Reader::new(&bytes);
        assert_eq!(Alive::read(&mut reader), Some(alive));
        assert!(reader.is_empty());
        for length in 0..bytes.len() {
            assert_eq!(Alive::read(&mut Reader::new(&bytes[..length])), None);
        }
    }

    #[test]
    fn twins_see_each_other() {
        let (mut one, mut two, public) = (watch(1, 10), watch(1, 11), key(1));
        // A peer passes on what each says.
        assert_eq!(two.take(&one.say(&key(1), 100), &public, 100), Shown::New);
        assert_eq!(
            one.take(&two.say(&key(1), 101), &public, 101),
            Shown::Twin([11; 16])
        );
        // The one who stops names the other once more.
        assert_eq!(
            two.take(&one.say(&key(1), 101), &public, 101),
            Shown::Twin([10; 16])
        );
    }

    #[test]
    fn a_restart_is_no_twin_even_when_its_past_is_replayed() {
        let (mut old, public) = (watch(1, 10), key(1));
        let past: Vec<Alive> = (100..110).map(|slot| old.say(&key(1), slot)).collect();
        let mut new = watch(1, 11);
        for alive in &past {
            assert_ne!(new.take(alive, &public, 110), Shown::Twin([10; 16]));
        }
        assert_eq!(new.say(&key(1), 110).others, [[10; 16]]);
        assert_eq!(new.say(&key(1), 110 + MEMORY).others, Vec::<Instance>::new());
    }

    #[test]
    fn its_own_words_are_no_twin_but_a_copy_of_its_memory_is() {
        let (mut one, public) = (watch(1, 10), key(1));
        let said = one.say(&key(1), 100);
        assert_eq!(one.take(&said, &public, 101), Shown::Nothing);
        // A virtual machine that was copied while it ran has the same instance number.
        let mut copy = watch(1, 10);
        let foreign = copy.say(&key(1), 102);
        assert_eq!(one.take(&foreign, &public, 102), Shown::Twin([10; 16]));
        // Its last words make the copy stop too.
        assert_eq!(
            copy.take(&one.say(&key(1), 102), &public, 102),
            Shown::Twin([10; 16])
        );
        // Its last words make the copy stop too.
        assert_eq!(
            copy.take(&one.say(&key(1), 102), &key(1), 102),
            Shown::Twin([10; 16])
        );
    }

    #[test]
    fn a_resumed_process_is_no_twin_of_itself() {
        let (mut one, public) = (watch(1, 10), key(1));
        let before = one.say(&key(1), 100);
        one.renew([11; 16]);
        assert_eq!(one.take(&before, &public, 101), Shown::New);
        assert_eq!(one.say(&key(1), 101).others, [[10; 16]]);
    }

    #[test]
    fn nobody_else_can_stop_a_node() {
        let mut one = watch(1, 10);
        let forged = Alive::sign(&key(2), &LOCK, 1, [12; 16], 100, vec![[10; 16]]);
        assert_eq!(one.take(&forged, &key(1), 100), Shown::Forged);
        let of_another_cluster = Alive::sign(&key(1), &[8; 32], 1, [12; 16], 100, vec![[10; 16]]);
        assert_eq!(one.take(&of_another_cluster, &key(1), 100), Shown::Forged);
        // Another operator's list says nothing about this one.
        let named = Alive::sign(&key(2), &LOCK, 2, [12; 16], 100, vec![[10; 16]]);
        assert_eq!(one.take(&named, &key(2), 100), Shown::New);
    }

    #[test]
    fn two_of_one_slot_are_not_passed_on_for_ever() {
        let (mut two, mut peer, public) = (watch(2, 20), watch(1, 10), key(2));
        let first = two.say(&key(2), 100);
        two.take(&watch(2, 21).say(&key(2), 100), &public, 100);
        let second = two.say(&key(2), 100);
        assert_ne!(first, second);
        let shown = [&first, &second, &first, &second].map(|alive| peer.take(alive, &public, 100));
        assert_eq!(shown, [Shown::New, Shown::New, Shown::Nothing, Shown::Nothing]);
    }

    #[test]
    fn one_key_cannot_have_us_pass_on_more_and_more() {
        let (mut one, public) = (watch(1, 10), key(2));
        let mut show = |instance: u8, slot: u64, list: u64| {
            let other = |place: u64| {
                let mut other = [0; 16];
                other[..8].copy_from_slice(&(list / MAX_INSTANCES as u64).to_be_bytes());
                other[8..].copy_from_slice(&place.to_be_bytes());
                other
            };
            let others = (0..=list % MAX_INSTANCES as u64).map(other).collect();
            let alive = Alive::sign(&key(2), &LOCK, 2, [instance; 16], slot, others);
            one.take(&alive, &public, 100) == Shown::New
        };
        let lists = (0..500).filter(|list| show(1, 100, *list)).count();
        assert!((1..=MAX_INSTANCES + 1).contains(&lists), "{lists}");
        // New instances do not help: those of this slot have their places already.
        let instances = (0..200).filter(|instance| show(*instance, 100, 7)).count();
        assert!(instances < MAX_INSTANCES, "{instances}");
    }

    #[test]
    fn the_last_words_count_although_others_of_the_slot_list_as_many_as_they_may() {
        let (mut one, mut peer, mut twin) = (watch(1, 10), watch(2, 20), watch(1, 99));
        let public = key(1);
        // A machine that starts again and again.
        for instance in 30..38 {
            one.take(&watch(1, instance).say(&key(1), 99), &public, 100);
        }
        let said = one.say(&key(1), 100);
        assert_eq!(said.others.len(), MAX_INSTANCES - 1);
        assert_eq!(peer.take(&said, &public, 100), Shown::New);
        assert_eq!(twin.take(&said, &public, 100), Shown::New);
        let told = twin.say(&key(1), 101);
        assert_eq!(one.take(&told, &public, 100), Shown::Twin([99; 16]));
        let last = one.say(&key(1), 100);
        assert_eq!((last.others.len(), last.others[0]), (MAX_INSTANCES, [99; 16]));
        assert_eq!(peer.take(&last, &public, 100), Shown::New);
        assert_eq!(twin.take(&last, &public, 101), Shown::Twin([10; 16]));
    }

    #[test]
    fn memory_is_bounded_and_new_instances_replace_old_ones() {
        let (mut one, public) = (watch(1, 200), key(2));
        for round in 0..4 {
            for instance in 0..40 {
                let alive = watch(2, instance).say(&key(2), 100 + round);
                one.take(&alive, &public, 100 + round);
            }
            assert_eq!(one.remembered().count(), MAX_INSTANCES);
            assert!(one.remembered().all(|alive| alive.slot == 100 + round));
        }
        assert_eq!(
            one.take(&watch(2, 1).say(&key(2), 100), &public, 133),
            Shown::Nothing
        );
        assert_eq!(one.remembered().count(), MAX_INSTANCES);
        one.say(&key(1), 200);
        assert_eq!(one.remembered().count(), 0);
    }

    #[test]
    fn others_see_who_runs_twice_and_take_no_restart_for_it() {
        let mut third = watch(2, 30);
        let (mut one, mut other) = (watch(1, 10), watch(1, 11));
        let first = one.say(&key(1), 5);
        assert_eq!(third.take(&first, &key(2), 5), Shown::New);
        // A restart: only the new one knows of the old one.
        assert_eq!(other.take(&first, &key(1), 5), Shown::New);
        let second = other.say(&key(1), 6);
        assert_eq!(third.take(&second, &key(2), 6), Shown::New);
        assert_eq!(third.twins(1), None);
        // But the old one is still there.
        assert_eq!(one.take(&second, &key(1), 6), Shown::Twin([11; 16]));
        assert_eq!(third.take(&one.say(&key(1), 6), &key(2), 6), Shown::New);
        assert!(matches!(third.twins(1), Some((one, other)) if one != other));
        assert_eq!(third.twins(2), None);
    }
}
