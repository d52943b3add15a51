//! From partial signatures to the group's signature.
//!
//! A [`Pool`] collects what operators sent for one purpose in one slot. As soon as t of them signed the same root, they
//! make a [`Job`], which anybody with the group's keys can do ([`Job::run`]: processor time, nothing else). A partial
//! signature that is wrong names its author and is left out; the others wait for the next one. The result does not
//! depend on the own decision: t valid partial signatures of one root are a signature even for a node that is behind.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use crate::crypto::{
    bls::{PublicKey, Signature, verify_batch},
    hash::{Hash, WeightStream},
    threshold::recover_signature,
};

use super::{
    group::Group,
    partials::{Item, Partials},
};

/// Which signature: validator (from 0) and subcommittee, where there is one.
pub type Place = (u32, u16);

/// The partial signatures for one purpose in one slot.
#[derive(Debug, Default)]
pub struct Pool {
    /// The first partial signature of each operator for each place.
    partials: BTreeMap<Place, BTreeMap<u16, (Hash, [u8; 96])>>,
    /// In a job that is under way.
    busy: BTreeSet<Place>,
    done: BTreeSet<Place>,
    /// Whose partial signatures were wrong, where.
    wrong: BTreeSet<(u16, Place)>,
}

impl Pool {
    /// Takes an operator's partial signatures, whose node signature was checked. Of each place only the first counts.
    /// True if there was something new.
    pub fn take(&mut self, partials: &Partials) -> bool {
        let mut new = false;
        for item in partials.items() {
            let of_place = self.partials.entry((item.validator, item.place)).or_default();
            if let std::collections::btree_map::Entry::Vacant(free) = of_place.entry(partials.operator) {
                free.insert((item.root, item.signature));
                new = true;
            }
        }
        new
    }

    /// The operators who signed this root for this place, wrong ones left out.
    fn signers(&self, place: Place, root: &Hash) -> impl Iterator<Item = (u16, [u8; 96])> {
        self.partials
            .get(&place)
            .into_iter()
            .flatten()
            .filter(move |(operator, (signed, _))| {
                signed == root && !self.wrong.contains(&(**operator, place))
            })
            .map(|(operator, (_, signature))| (*operator, *signature))
    }

    /// Everything that can be combined now and is not being combined yet. Partial signatures of `suspects`, who were
    /// wrong before, are used only where there are not enough others.
    pub fn ready(&mut self, threshold: u16, suspects: &BTreeSet<u16>) -> Option<Job> {
        let threshold = usize::from(threshold);
        let mut items = Vec::new();
        for (place, operators) in &self.partials {
            if self.busy.contains(place) || self.done.contains(place) || operators.len() < threshold {
                continue;
            }
            let roots: BTreeSet<&Hash> = operators.values().map(|(root, _)| root).collect();
            for root in roots {
                let mut partials: Vec<_> = self.signers(*place, root).collect();
                partials.sort_by_key(|(operator, _)| suspects.contains(operator));
                partials.truncate(threshold);
                if partials.len() == threshold {
                    items.push(Task {
                        place: *place,
                        root: *root,
                        partials,
                    });
                    break;
                }
            }
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
        self.partials.values().flat_map(BTreeMap::keys).copied().collect()
    }

    /// All partial signatures that were not found to be wrong: place, operator and what it signed.
    pub fn sound(&self) -> impl Iterator<Item = (Place, u16, Hash)> {
        let all = self.partials.iter().flat_map(|(place, operators)| {
            operators
                .iter()
                .map(|(operator, (root, _))| (*place, *operator, *root))
        });
        all.filter(|(place, operator, _)| !self.wrong.contains(&(*operator, *place)))
    }

    /// How many of everything is kept.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let partials: usize = self.partials.values().map(BTreeMap::len).sum();
        partials + self.busy.len() + self.done.len() + self.wrong.len()
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
    use crate::{
        crypto::{bls::SecretKey, node::NodeKey, scalar::Scalar},
        validator::{
            agreement::NodeSignatures,
            duty::Purpose,
            group::{Operator, Validator},
        },
    };

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

    fn signatures(operator: u16) -> NodeSignatures {
        NodeSignatures::new(node(operator), Vec::new())
    }

    fn partials(shares: &[Vec<SecretKey>], operator: u16, root: &Hash) -> Partials {
        let signed = (0u32..)
            .zip(shares)
            .map(|(validator, keys)| ((validator, 0), *root, keys[usize::from(operator) - 1].sign(root)))
            .collect();
        Partials::sign(
            &signatures(operator),
            &[7; 32],
            operator,
            Purpose::Attestation,
            9,
            (0, 0),
            items(signed),
        )
    }

    fn spoilt(shares: &[Vec<SecretKey>], operator: u16, validator: u32, signature: [u8; 96]) -> Partials {
        let mut list = partials(shares, operator, &ROOT).items().to_vec();
        list.iter_mut()
            .filter(|item| item.validator == validator)
            .for_each(|item| item.signature = signature);
        Partials::sign(
            &signatures(operator),
            &[7; 32],
            operator,
            Purpose::Attestation,
            9,
            (0, 0),
            list,
        )
    }

    #[test]
    fn any_t_make_the_groups_signature_and_t_less_one_do_not() {
        let (group, shares) = group(4, 3, 5);
        for left_out in 1..=4 {
            let mut pool = Pool::default();
            for operator in (1..=4).filter(|operator| *operator != left_out) {
                assert!(pool.ready(3, &BTreeSet::new()).is_none());
                assert!(pool.take(&partials(&shares, operator, &ROOT)));
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
            pool.take(&partials(&shares, left_out, &ROOT));
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
            pool.take(&spoilt(&shares, 1, 1, signature));
            pool.take(&partials(&shares, 2, &ROOT));
            pool.take(&partials(&shares, 3, &ROOT));
            let outcome = pool.ready(3, &BTreeSet::new()).unwrap().run(&group, &SEED);
            assert_eq!(outcome.wrong, [(1, (1, 0))], "{what}");
            let places: Vec<Place> = outcome.signatures.iter().map(|combined| combined.place).collect();
            assert_eq!(places, [(0, 0), (2, 0)], "{what}");
            pool.finished(&outcome);
            assert!(pool.ready(3, &BTreeSet::new()).is_none(), "{what}");
            pool.take(&partials(&shares, 4, &ROOT));
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
        pool.take(&partials(&shares, 1, &ROOT));
        pool.take(&partials(&shares, 2, &[43; 32]));
        pool.take(&partials(&shares, 3, &ROOT));
        assert!(pool.ready(3, &BTreeSet::new()).is_none());
        // The second word of an operator does not count.
        assert!(!pool.take(&partials(&shares, 2, &ROOT)));
        assert!(pool.ready(3, &BTreeSet::new()).is_none());
        pool.take(&partials(&shares, 4, &ROOT));
        let outcome = pool.ready(3, &BTreeSet::new()).unwrap().run(&group, &SEED);
        assert_eq!(outcome.signatures[0].root, ROOT);
        assert_eq!(pool.contributors(), BTreeSet::from([1, 2, 3, 4]));
    }

    #[test]
    fn who_was_wrong_before_is_asked_last() {
        let (_, shares) = group(4, 3, 1);
        let mut pool = Pool::default();
        (1..=4).for_each(|operator| assert!(pool.take(&partials(&shares, operator, &ROOT))));
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
        (1..=3).for_each(|operator| assert!(pool.take(&partials(&shares, operator, &ROOT))));
        let outcome = pool.ready(3, &BTreeSet::new()).unwrap().run(&group, &SEED);
        assert_eq!(outcome.signatures.len(), 1);
        pool.finished(&outcome);
        assert!(pool.ready(3, &BTreeSet::new()).is_none());
    }
}
