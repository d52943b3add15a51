//! From partial signatures to the group's signature.
//!
//! A [`Pool`] collects what operators sent for one purpose in one slot. As soon as t of them signed the same root, they
//! make a [`Job`], which anybody with the group's keys can do ([`Job::run`]: processor time, nothing else). A partial
//! signature that is wrong names its author and is left out; the others wait for the next one. The result does not
//! depend on the own decision: t valid partial signatures of one root are a signature even for a node that is behind.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use conclave_crypto::{
    bls::{PublicKey, Signature, verify_batch},
    hash::{Hash, WeightStream},
    threshold::recover_signature,
};

use super::{group::Group, partials::Item};

/// Which signature: validator (from 0) and subcommittee, where there is one.
pub type Place = (u32, u16);

/// The partial signatures for one purpose in one slot.
#[derive(Debug, Default)]
pub struct Pool {
    /// Of each operator the first partial signature for each place, ascending by place. Nothing but these is kept of what
    /// operators send, so this is what bounds the memory that one of them can fill.
    partials: BTreeMap<u16, Box<[Item]>>,
    /// In a job that is under way.
    busy: BTreeSet<Place>,
    done: BTreeSet<Place>,
    /// Whose partial signatures were wrong, where.
    wrong: BTreeSet<(u16, Place)>,
}

impl Pool {
    /// Takes an operator's partial signatures, whose node signature was checked. Of each place only the first counts.
    /// True if there was something new.
    pub fn take(&mut self, operator: u16, items: &[Item]) -> bool {
        let known = self.partials.entry(operator).or_default();
        let is_new = |item: &&Item| known.binary_search_by_key(&item.at(), Item::at).is_err();
        let new: Vec<Item> = items.iter().filter(is_new).copied().collect();
        if new.is_empty() {
            return false;
        }
        let mut all = [&known[..], &new[..]].concat();
        all.sort_by_key(Item::at);
        all.dedup_by_key(|item| item.at());
        *known = all.into_boxed_slice();
        true
    }

    /// Gives back what others have sent for places that are none (any more).
    pub fn sort_out(&mut self, me: u16, is_place: impl Fn(Place) -> bool) -> Vec<(u16, Box<[Item]>)> {
        let mut out = Vec::new();
        for (operator, items) in self.partials.iter_mut().filter(|(operator, _)| **operator != me) {
            if !items.iter().all(|item| is_place(item.at())) {
                let (kept, rest): (Vec<Item>, Vec<Item>) = items.iter().partition(|item| is_place(item.at()));
                *items = kept.into_boxed_slice();
                out.push((*operator, rest.into_boxed_slice()));
            }
        }
        self.wrong.retain(|(_, place)| is_place(*place));
        out
    }

    /// Everything that can be combined now and is not being combined yet. Partial signatures of `suspects`, who were
    /// wrong before, are used only where there are not enough others.
    pub fn ready(&mut self, threshold: u16, suspects: &BTreeSet<u16>) -> Option<Job> {
        let threshold = usize::from(threshold);
        let mut open: Vec<(Place, Hash, bool, u16, &Item)> = Vec::new();
        for (operator, sent) in &self.partials {
            for item in sent {
                let place = item.at();
                let settled = self.busy.contains(&place) || self.done.contains(&place);
                if !settled && !self.wrong.contains(&(*operator, place)) {
                    open.push((place, item.root, suspects.contains(operator), *operator, item));
                }
            }
        }
        open.sort_unstable_by_key(|(place, root, suspect, operator, _)| (*place, *root, *suspect, *operator));
        let mut items: Vec<Task> = Vec::new();
        for same in open.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
            let Some(&(place, root, ..)) = same.first() else {
                continue;
            };
            // Of each place one root is tried at a time.
            if same.len() < threshold || items.last().is_some_and(|task| task.place == place) {
                continue;
            }
            let partials = same.iter().take(threshold);
            items.push(Task {
                place,
                root,
                partials: partials
                    .map(|(.., operator, item)| (*operator, item.signature))
                    .collect(),
            });
        }
        self.busy.extend(items.iter().map(|task| task.place));
        (!items.is_empty()).then_some(Job { tasks: items })
    }

    /// Takes the outcome of a job of this pool.
    pub fn finished(&mut self, outcome: &Outcome) {
        for place in &outcome.places {
            self.busy.remove(place);
        }
        self.done
            .extend(outcome.signatures.iter().map(|signature| signature.place));
        self.wrong.extend(&outcome.wrong);
        // Right partial signatures whose sum is wrong: the lock's keys do not belong together, and no retry helps.
        let named = |place: &Place| outcome.wrong.iter().any(|(_, wrong)| wrong == place);
        self.done
            .extend(outcome.places.iter().filter(|place| !named(place)));
    }

    /// Who has sent something, for people: operators from 1.
    pub fn contributors(&self) -> BTreeSet<u16> {
        let sent = self.partials.iter().filter(|(_, items)| !items.is_empty());
        sent.map(|(operator, _)| *operator).collect()
    }

    /// All partial signatures that were not found to be wrong: place, operator and what it signed.
    pub fn sound(&self) -> impl Iterator<Item = (Place, u16, Hash)> {
        let all = self
            .partials
            .iter()
            .flat_map(|(operator, items)| items.iter().map(|item| (item.at(), *operator, item.root)));
        all.filter(|(place, operator, _)| !self.wrong.contains(&(*operator, *place)))
    }

    /// How many of everything is kept.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let partials: usize = self.partials.values().map(|items| items.len()).sum();
        partials + self.busy.len() + self.done.len() + self.wrong.len()
    }

    /// The bytes that are kept of an operator. Sets are counted twice: their nodes are at least half full.
    #[cfg(test)]
    pub(super) fn bytes_of(&self, operator: u16) -> usize {
        let items = self
            .partials
            .get(&operator)
            .map_or(0, |items| size_of_val(&items[..]));
        let wrong = self.wrong.iter().filter(|(of, _)| *of == operator).count();
        items + 2 * size_of::<(u16, Box<[Item]>)>() + 2 * wrong * size_of::<(u16, Place)>()
    }

    /// Whether the place has its signature.
    pub fn is_done(&self, place: Place) -> bool {
        self.done.contains(&place)
    }
}

/// One signature to be made.
#[derive(Debug, Clone)]
struct Task {
    place: Place,
    root: Hash,
    /// Exactly t of them: operator (from 1) and compressed signature.
    partials: Vec<(u16, [u8; 96])>,
}

/// The place of a task, an operator, and its public share with its signature, if that is one.
type Decoded = (usize, u16, Option<(PublicKey, Signature)>);

/// An operator, its public share and its partial signature.
type Part = (u16, PublicKey, Signature);

/// Signatures to be made of partial ones.
#[derive(Debug, Clone)]
pub struct Job {
    tasks: Vec<Task>,
}

impl Job {
    /// What signatures are made for.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.tasks.iter().map(|task| task.place)
    }
}

/// A signature of the group, verified under the distributed key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combined {
    /// Validator and subcommittee.
    pub place: Place,
    /// What is signed.
    pub root: Hash,
    /// The signature, compressed.
    pub signature: [u8; 96],
    /// Whose partial signatures it was made of.
    pub signers: Vec<u16>,
}

/// What came of a job.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The places of the job.
    pub places: Vec<Place>,
    /// The signatures that could be made.
    pub signatures: Vec<Combined>,
    /// Whose partial signatures are wrong, for which places.
    pub wrong: Vec<(u16, Place)>,
}

impl Job {
    /// What it combines: place, root, partial signatures with their operators.
    #[cfg(test)]
    pub(super) fn tasks(&self) -> impl Iterator<Item = (Place, Hash, &[(u16, [u8; 96])])> {
        self.tasks
            .iter()
            .map(|task| (task.place, task.root, task.partials.as_slice()))
    }

    /// How many signatures it can give.
    pub fn size(&self) -> usize {
        self.tasks.len()
    }

    /// Does it, on the threads of rayon. `seed` is 32 fresh random bytes, for the weights of the batches.
    pub fn run(&self, group: &Group, seed: &[u8; 32]) -> Outcome {
        let mut outcome = Outcome {
            places: self.tasks.iter().map(|task| task.place).collect(),
            ..Outcome::default()
        };
        let mut weights = WeightStream::new(seed);
        let decoded: Vec<Decoded> = self
            .tasks
            .par_iter()
            .enumerate()
            .flat_map_iter(|(index, task)| {
                task.partials.iter().map(move |(operator, bytes)| {
                    let share = group.share(*operator, task.place.0).copied();
                    let signature = Signature::from_bytes(bytes).ok();
                    (index, *operator, share.zip(signature))
                })
            })
            .collect();
        let mut parts: Vec<Vec<Part>> = vec![Vec::new(); self.tasks.len()];
        for (index, operator, found) in decoded {
            match found {
                Some((share, signature)) => parts[index].push((operator, share, signature)),
                None => outcome.wrong.push((operator, self.tasks[index].place)),
            }
        }
        // Whole ones, verified before anybody sees them. If one is right, it does not matter what it was made of.
        let whole: Vec<(usize, PublicKey, Signature)> = self
            .tasks
            .par_iter()
            .zip(&parts)
            .enumerate()
            .filter(|(_, (task, parts))| parts.len() == task.partials.len())
            .filter_map(|(index, (task, parts))| {
                let validator = group.validators.get(usize::try_from(task.place.0).ok()?)?;
                let parts: Vec<(u64, Signature)> = parts
                    .iter()
                    .map(|(operator, _, signature)| (u64::from(*operator), signature.clone()))
                    .collect();
                Some((index, validator.key, recover_signature(&parts).ok()?))
            })
            .collect();
        let batch: Vec<_> = whole
            .iter()
            .map(|(index, key, signature)| (*key, self.tasks[*index].root, signature.clone()))
            .collect();
        let bad = verify_batch(&batch, &mut weights).err().unwrap_or_default();
        let mut made = vec![false; self.tasks.len()];
        for (position, (index, _, signature)) in whole.into_iter().enumerate() {
            if bad.binary_search(&position).is_err() {
                let task = &self.tasks[index];
                made[index] = true;
                outcome.signatures.push(Combined {
                    place: task.place,
                    root: task.root,
                    signature: signature.to_bytes(),
                    signers: task.partials.iter().map(|(operator, _)| *operator).collect(),
                });
            }
        }
        // Of the others: who spoilt them.
        let mut batch = Vec::new();
        let mut origin = Vec::new();
        for ((task, parts), made) in self.tasks.iter().zip(parts).zip(made) {
            for (operator, share, signature) in parts.into_iter().filter(|_| !made) {
                batch.push((share, task.root, signature));
                origin.push((operator, task.place));
            }
        }
        let bad = verify_batch(&batch, &mut weights).err().unwrap_or_default();
        outcome
            .wrong
            .extend(bad.into_iter().map(|position| origin[position]));
        outcome
    }
}

/// Partial signatures of one share for several validators: the items that are sent.
pub fn items(signed: Vec<(Place, Hash, Signature)>) -> Vec<Item> {
    let mut items: Vec<Item> = signed
        .into_iter()
        .map(|((validator, place), root, signature)| Item {
            validator,
            place,
            root,
            signature: signature.to_bytes(),
        })
        .collect();
    items.sort_unstable_by_key(|item| (item.validator, item.place));
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::{Operator, Validator};
    use conclave_crypto::{bls::SecretKey, node::NodeKey, scalar::Scalar};

    const SEED: [u8; 32] = [5; 32];
    const ROOT: Hash = [42; 32];

    /// Validators of n operators, and the operators' shares of each.
    fn group(n: u16, threshold: u16, validators: u8) -> (Group, Vec<Vec<SecretKey>>) {
        let mut group = Group {
            lock_hash: [7; 32],
            threshold,
            operators: (1..=n)
                .map(|operator| Operator {
                    name: format!("o{operator}"),
                    key: node(operator).public(),
                })
                .collect(),
            validators: Vec::new(),
        };
        let mut shares = Vec::new();
        for validator in 0..validators {
            let coefficients: Vec<Scalar> = (0..threshold)
                .map(|k| Scalar::from_u64(1000 * u64::from(validator) + u64::from(k) + 3))
                .collect();
            let at = |x: u64| {
                let x = Scalar::from_u64(x);
                coefficients
                    .iter()
                    .rev()
                    .fold(Scalar::zero(), |sum, coefficient| &(&sum * &x) + coefficient)
            };
            let keys: Vec<SecretKey> = (1..=u64::from(n))
                .map(|x| SecretKey::from_scalar(&at(x)).unwrap())
                .collect();
            group.validators.push(Validator {
                key: SecretKey::from_scalar(&at(0)).unwrap().public_key(),
                shares: keys.iter().map(SecretKey::public_key).collect(),
                fee_recipient: [0; 20],
            });
            shares.push(keys);
        }
        (group, shares)
    }

    fn node(operator: u16) -> NodeKey {
        NodeKey::from_bytes(&[u8::try_from(operator).unwrap(); 32]).unwrap()
    }

    fn partials(shares: &[Vec<SecretKey>], operator: u16, root: &Hash) -> Vec<Item> {
        let signed = (0u32..)
            .zip(shares)
            .map(|(validator, keys)| ((validator, 0), *root, keys[usize::from(operator) - 1].sign(root)))
            .collect();
        items(signed)
    }

    fn spoilt(shares: &[Vec<SecretKey>], operator: u16, validator: u32, signature: [u8; 96]) -> Vec<Item> {
        let mut list = partials(shares, operator, &ROOT);
        list.iter_mut()
            .filter(|item| item.validator == validator)
            .for_each(|item| item.signature = signature);
        list
    }

    #[test]
    fn any_t_make_the_groups_signature_and_t_less_one_do_not() {
        let (group, shares) = group(4, 3, 5);
        for left_out in 1..=4 {
            let mut pool = Pool::default();
            for operator in (1..=4).filter(|operator| *operator != left_out) {
                assert!(pool.ready(3, &BTreeSet::new()).is_none());
                assert!(pool.take(operator, &partials(&shares, operator, &ROOT)));
            }
            let job = pool.ready(3, &BTreeSet::new()).unwrap();
            assert!(pool.ready(3, &BTreeSet::new()).is_none(), "one job at a time");
            let outcome = job.run(&group, &SEED);
            assert_eq!((outcome.signatures.len(), outcome.wrong.len()), (5, 0));
            for combined in &outcome.signatures {
                let key = &group.validators[usize::try_from(combined.place.0).unwrap()].key;
                assert!(
                    Signature::from_bytes(&combined.signature)
                        .unwrap()
                        .verify(key, &ROOT)
                );
            }
            pool.finished(&outcome);
            pool.take(left_out, &partials(&shares, left_out, &ROOT));
            assert!(pool.ready(3, &BTreeSet::new()).is_none(), "made once");
        }
    }

    #[test]
    fn a_liar_is_named_and_the_next_one_takes_its_place() {
        let (group, shares) = group(4, 3, 3);
        let other_root = shares[1][0].sign(&[43; 32]).to_bytes();
        for (what, signature) in [
            ("rubbish", [0xff; 96]),
            ("another root", other_root),
            ("infinity", infinity()),
        ] {
            let mut pool = Pool::default();
            pool.take(1, &spoilt(&shares, 1, 1, signature));
            pool.take(2, &partials(&shares, 2, &ROOT));
            pool.take(3, &partials(&shares, 3, &ROOT));
            let outcome = pool.ready(3, &BTreeSet::new()).unwrap().run(&group, &SEED);
            assert_eq!(outcome.wrong, [(1, (1, 0))], "{what}");
            let places: Vec<Place> = outcome.signatures.iter().map(|combined| combined.place).collect();
            assert_eq!(places, [(0, 0), (2, 0)], "{what}");
            pool.finished(&outcome);
            assert!(pool.ready(3, &BTreeSet::new()).is_none(), "{what}");
            pool.take(4, &partials(&shares, 4, &ROOT));
            let outcome = pool.ready(3, &BTreeSet::new()).unwrap().run(&group, &SEED);
            assert_eq!(outcome.signatures[0].signers, [2, 3, 4], "{what}");
        }
    }

    fn infinity() -> [u8; 96] {
        let mut bytes = [0; 96];
        bytes[0] = 0xc0;
        bytes
    }

    #[test]
    fn different_roots_never_mix() {
        let (group, shares) = group(4, 3, 1);
        let mut pool = Pool::default();
        pool.take(1, &partials(&shares, 1, &ROOT));
        pool.take(2, &partials(&shares, 2, &[43; 32]));
        pool.take(3, &partials(&shares, 3, &ROOT));
        assert!(pool.ready(3, &BTreeSet::new()).is_none());
        // The second word of an operator does not count.
        assert!(!pool.take(2, &partials(&shares, 2, &ROOT)));
        assert!(pool.ready(3, &BTreeSet::new()).is_none());
        pool.take(4, &partials(&shares, 4, &ROOT));
        let outcome = pool.ready(3, &BTreeSet::new()).unwrap().run(&group, &SEED);
        assert_eq!(outcome.signatures[0].root, ROOT);
        assert_eq!(pool.contributors(), BTreeSet::from([1, 2, 3, 4]));
    }

    #[test]
    fn who_was_wrong_before_is_asked_last() {
        let (_, shares) = group(4, 3, 1);
        let mut pool = Pool::default();
        (1..=4).for_each(|operator| assert!(pool.take(operator, &partials(&shares, operator, &ROOT))));
        let job = pool.ready(3, &BTreeSet::from([2])).unwrap();
        let signers: Vec<u16> = job.tasks[0]
            .partials
            .iter()
            .map(|(operator, _)| *operator)
            .collect();
        assert_eq!(signers, [1, 3, 4]);
    }

    #[test]
    fn a_lock_whose_keys_do_not_belong_together_is_not_tried_for_ever() {
        let (mut group, shares) = group(4, 3, 2);
        group.validators[0].key = group.validators[1].key;
        let mut pool = Pool::default();
        (1..=3).for_each(|operator| assert!(pool.take(operator, &partials(&shares, operator, &ROOT))));
        let outcome = pool.ready(3, &BTreeSet::new()).unwrap().run(&group, &SEED);
        assert_eq!(outcome.signatures.len(), 1);
        pool.finished(&outcome);
        assert!(pool.ready(3, &BTreeSet::new()).is_none());
    }
}
