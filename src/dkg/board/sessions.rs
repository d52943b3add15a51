//! Sessions: what the admitted entries of one session make together. Reveals make keys, Signs group signatures and the lock hash.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::crypto::bls::{HashedMessage, Signature};
use crate::crypto::hash::Hash;
use crate::crypto::point::G1;
use crate::crypto::threshold::recover_signature;

use super::super::body::{RevealBody, SealBody};
use super::super::entry::{Id, Step, hash_ids};
use super::super::evidence::{Evidence, Finding, Kind};
use super::super::outputs::{GroupKeys, NotGood, combine};
use super::super::terms::index_of;
use super::{Board, Data, Slot};

/// Sets of Reveals that are tried in one session because an operator's votes name them. An honest one names one.
const MAX_TRIED: usize = 4;

/// The group signatures and the lock hash of a session, once all Signs are here.
pub struct Combined {
    /// Group signatures: `[validator][message]`.
    pub signatures: Vec<Vec<Signature>>,
    /// The lock hash that every Seal must name.
    pub lock_hash: Hash,
}

/// A good set of Reveals, and what comes of it.
pub struct GoodSet {
    /// The hash of the ids of the Deals that the set builds on.
    pub(super) base: Hash,
    /// The Reveals, in operator order.
    pub reveals: Vec<Id>,
    /// The keys that they make.
    pub keys: Arc<GroupKeys>,
    /// What the shares sign: `[validator][message]`.
    pub roots: Arc<Vec<Vec<Hash>>>,
    hashed: OnceLock<Vec<HashedMessage>>,
    /// Once everybody's Sign is here.
    pub combined: Option<Arc<Combined>>,
}

impl GoodSet {
    /// The hash of the keys: what a vote names.
    pub fn outputs(&self) -> &Hash {
        self.keys.hash()
    }

    /// The roots as they are signed, flattened as the body of a Sign is: v * m + message. Hashed when they are first asked for, and
    /// once for all that sign and check them.
    pub fn messages(&self) -> &[HashedMessage] {
        self.hashed
            .get_or_init(|| HashedMessage::all(&self.roots.concat()))
    }
}

/// A lock that everybody sealed, in parts.
pub struct Sealed<'a> {
    /// The set of Reveals that made its keys.
    pub good: &'a GoodSet,
    /// Its group signatures and its hash.
    pub combined: &'a Combined,
    /// The Seals, in operator order.
    pub seals: Vec<Arc<SealBody>>,
}

pub(super) struct Session {
    pub(super) attempt: u32,
    pub(super) joins: Vec<Id>,
    /// The Deal that opened it.
    pub(super) opener: Id,
    /// One for each list of Deals that everybody revealed on. Honest operators build on one; there are more only if all of them
    /// were restored from backups while a dealer dealt twice. Then each is as good as the other, whatever was seen first.
    pub(super) good: Vec<GoodSet>,
    tried: HashSet<Hash>,
    /// Sets tried on the word of each voter.
    tries: HashMap<u16, usize>,
}

impl Session {
    /// The session that a Deal opens.
    pub(super) fn new(attempt: u32, joins: Vec<Id>, opener: Id) -> Self {
        Self {
            attempt,
            joins,
            opener,
            good: Vec::new(),
            tried: HashSet::new(),
            tries: HashMap::new(),
        }
    }
}

impl Board {
    /// Looks for good sets and full rows of signatures.
    pub(super) fn advance_sessions(&mut self) -> bool {
        let mut progress = false;
        let sids: Vec<Hash> = self.sessions.keys().copied().collect();
        for sid in sids {
            progress |= self.seek_good_set(&sid);
            progress |= self.combine_signatures(&sid);
        }
        progress
    }

    /// Sets of n Reveals worth trying, on Deals that have no good one yet: the first of each dealer, those that waiting votes name, those with no torsion.
    fn candidate_sets(&self, sid: &Hash) -> Vec<(Option<u16>, Vec<Id>)> {
        let Some(rows) = self
            .terms
            .indices()
            .map(|d| {
                let ids = self.slot(sid, d, Slot::Step(Step::Reveal));
                (!ids.is_empty()).then(|| ids.to_vec())
            })
            .collect::<Option<Vec<Vec<Id>>>>()
        else {
            return Vec::new();
        };
        let deals_of = |id: &Id| self.base(id);
        let in_g1 = |id: &Id| match self.held.get(id).map(|a| &a.data) {
            Some(Data::Reveal(body, _)) => body.in_g1(),
            _ => false,
        };
        let settled = |base: &Hash| self.good_sets(sid).iter().any(|good| good.base == *base);
        let bases: BTreeSet<Hash> = rows.iter().flatten().filter_map(deals_of).collect();
        let mut sets = Vec::new();
        for base in bases.into_iter().filter(|base| !settled(base)) {
            let pick = |accept: &dyn Fn(&Id) -> bool| -> Option<Vec<Id>> {
                rows.iter()
                    .map(|ids| {
                        ids.iter()
                            .find(|id| deals_of(id) == Some(base) && accept(id))
                            .copied()
                    })
                    .collect()
            };
            sets.extend(pick(&|_| true).map(|set| (None, set)));
            // Subgroup checks of single points are only worth their time where one dealer has several Reveals.
            if rows.iter().any(|ids| ids.len() > 1) {
                sets.extend(pick(&in_g1).map(|set| (None, set)));
            }
        }
        for entry in self
            .waiting
            .values()
            .filter(|e| e.session == *sid && e.step == Step::Stored)
        {
            let row = self.is_full_row(&entry.prev, sid, Slot::Step(Step::Reveal)) == Some(true);
            let bases: BTreeSet<Option<Hash>> = entry.prev.iter().map(deals_of).collect();
            let open = bases.iter().flatten().any(|base| !settled(base));
            if row && bases.len() == 1 && open {
                sets.push((Some(entry.operator), entry.prev.clone()));
            }
        }
        sets
    }

    fn seek_good_set(&mut self, sid: &Hash) -> bool {
        let Some(attempt) = self.sessions.get(sid).map(|session| session.attempt) else {
            return false;
        };
        for (voter, set) in self.candidate_sets(sid) {
            let Some(session) = self.sessions.get_mut(sid) else {
                return false;
            };
            if session.tried.contains(&hash_ids(&set)) {
                continue;
            }
            if let Some(voter) = voter {
                let tries = session.tries.entry(voter).or_default();
                if *tries >= MAX_TRIED {
                    continue;
                }
                *tries += 1;
            }
            session.tried.insert(hash_ids(&set));
            let bodies: Vec<Arc<RevealBody>> = set
                .iter()
                .filter_map(|id| match self.held.get(id).map(|a| &a.data) {
                    Some(Data::Reveal(body, _)) => Some(body.clone()),
                    _ => None,
                })
                .collect();
            let points: Vec<&[G1]> = bodies.iter().map(|b| b.points.as_slice()).collect();
            match combine(&self.terms, &points) {
                Ok(keys) => {
                    let roots = keys
                        .validators()
                        .par_iter()
                        .enumerate()
                        .map(|(v, k)| self.terms.product().signing_roots(v, &k.group))
                        .collect();
                    let Some(base) = set.first().and_then(|id| self.base(id)) else {
                        continue;
                    };
                    let good = GoodSet {
                        base,
                        reveals: set,
                        keys: Arc::new(keys),
                        roots: Arc::new(roots),
                        hashed: OnceLock::new(),
                        combined: None,
                    };
                    if let Some(session) = self.sessions.get_mut(sid) {
                        session.good.push(good);
                    }
                    return true;
                }
                Err(NotGood::Void) => self.record_set(
                    attempt,
                    Finding {
                        operator: 0,
                        kind: Kind::Void,
                    },
                    &set,
                ),
                Err(NotGood::Torsion) => {
                    for (position, body) in bodies.iter().enumerate() {
                        if !body.in_g1() {
                            let finding = Finding {
                                operator: index_of(position),
                                kind: Kind::BadEntry,
                            };
                            self.record_set(attempt, finding, &set);
                        }
                    }
                }
            }
        }
        false
    }

    pub(super) fn record_set(&mut self, attempt: u32, finding: Finding, set: &[Id]) {
        if !self.evidence.contains_key(&(attempt, finding)) {
            let entries = self.closure(set, false);
            self.record(Evidence {
                attempt,
                finding,
                headers: Vec::new(),
                entries,
            });
        }
    }

    /// Once everybody's partial signatures are here: the group signatures and the lock hash.
    fn combine_signatures(&mut self, sid: &Hash) -> bool {
        let made: Vec<(Hash, Combined)> = self
            .good_sets(sid)
            .iter()
            .filter(|good| good.combined.is_none())
            .filter_map(|good| Some((*good.outputs(), self.combine(sid, good)?)))
            .collect();
        let progress = !made.is_empty();
        if let Some(session) = self.sessions.get_mut(sid) {
            for (outputs, combined) in made {
                if let Some(good) = session.good.iter_mut().find(|good| *good.outputs() == outputs) {
                    good.combined = Some(Arc::new(combined));
                }
            }
        }
        progress
    }

    /// The group signatures are not checked here: the partial ones were, each under its public share, all public shares lie on
    /// the polynomial whose value at 0 is the group key, and so what is interpolated from any t of them is the one signature of
    /// that key. What is published is checked once more, in the lock, as any reader would.
    fn combine(&self, sid: &Hash, good: &GoodSet) -> Option<Combined> {
        let partials: Vec<Arc<Vec<Signature>>> = self
            .terms
            .indices()
            .map(|j| {
                let mut signs = self.slot(sid, j, Slot::Step(Step::Sign)).iter();
                signs.find_map(|id| match &self.held.get(id)?.data {
                    Data::Sign(outputs, signatures) if outputs == good.outputs() => Some(signatures.clone()),
                    _ => None,
                })
            })
            .collect::<Option<_>>()?;
        let messages = self.terms.product().messages();
        // Interpolating t valid partial signatures cannot fail: their indices are 1..=t.
        let flat: Vec<Signature> = (0..self.terms.validators() * messages)
            .into_par_iter()
            .map(|i| {
                let points: Option<Vec<(u64, Signature)>> = (1u64..)
                    .zip(partials.iter().take(self.terms.t()))
                    .map(|(index, row)| Some((index, row.get(i)?.clone())))
                    .collect();
                recover_signature(&points?).ok()
            })
            .collect::<Option<_>>()?;
        let signatures: Vec<Vec<Signature>> =
            flat.chunks(messages.max(1)).map(<[Signature]>::to_vec).collect();
        let lock_hash = self.terms.product().lock_hash(&good.keys, &signatures);
        Some(Combined {
            signatures,
            lock_hash,
        })
    }
}
