//! Sessions: what the admitted entries of one session make together. Reveals make keys, Signs group signatures and the lock hash.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use conclave_crypto::bls::{self, HashedMessage, PublicKey, Signature};
use conclave_crypto::hash::Hash;
use conclave_crypto::point::G1;
use conclave_crypto::threshold::recover_signature;

use super::super::body::{RevealBody, SealBody};
use super::super::entry::{Id, Step, hash_ids};
use super::super::evidence::{Finding, Kind};
use super::super::outputs::{GroupKeys, NotGood, combine};
use super::super::terms::index_of;
use super::replay::Note;
use super::{Board, Data, Mode, News, Slot};

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
    /// What Seals of its lock are checked against, in operator order.
    seals: Vec<CheckedSeal>,
    /// Once everybody's Sign is here.
    pub combined: Option<Arc<Combined>>,
}

/// The sum of an operator's public shares, and its one right signature over the lock hash.
#[derive(Default)]
struct CheckedSeal {
    sum: OnceLock<Option<PublicKey>>,
    right: OnceLock<Signature>,
}

impl GoodSet {
    /// Whether a Seal of this set's lock by an operator (from 1) is by the sum of its shares. The sum is made once, and since there is one
    /// right signature only, it is verified once: whoever made many Seals gets each of them compared. Also how much work it was.
    pub(super) fn is_sealed_by(&self, operator: u16, seal: &SealBody) -> (bool, usize) {
        let position = usize::from(operator).wrapping_sub(1);
        let Some(checked) = self.seals.get(position) else {
            return (false, 0);
        };
        if let Some(right) = checked.right.get() {
            return (*right == seal.aggregate, 1);
        }
        let mut work = 1;
        let sum = checked.sum.get_or_init(|| {
            let validators = self.keys.validators().iter();
            work += validators.len();
            let shares: Option<Vec<PublicKey>> =
                validators.map(|v| v.shares.get(position).copied()).collect();
            shares.and_then(|shares| bls::aggregate_public_keys(&shares))
        });
        let is_right = sum
            .as_ref()
            .is_some_and(|sum| seal.aggregate.verify(sum, &seal.lock_hash));
        if is_right {
            checked.right.get_or_init(|| seal.aggregate.clone());
        }
        (is_right, work)
    }

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

/// Who said what: for each thing that can be said the first entry of each operator that says it.
#[derive(Default)]
pub(super) struct Tally(HashMap<Hash, BTreeMap<u16, Id>>);

impl Tally {
    /// Counts an entry. Gives the one that said the same for that operator before.
    fn add(&mut self, what: Hash, operator: u16, id: Id) -> Option<Id> {
        let said = self.0.entry(what).or_default();
        let before = said.get(&operator).copied();
        said.entry(operator).or_insert(id);
        before
    }

    /// Whether all n operators said it.
    pub(super) fn is_full(&self, what: &Hash, n: usize) -> bool {
        self.0.get(what).is_some_and(|said| said.len() == n)
    }

    /// One entry of each of the n operators that says it, in operator order.
    pub(super) fn row(&self, what: &Hash, n: usize) -> Option<Vec<Id>> {
        let said = self.0.get(what).filter(|said| said.len() == n)?;
        Some(said.values().copied().collect())
    }
}

pub(super) struct Session {
    pub(super) attempt: u32,
    pub(super) joins: Vec<Id>,
    /// The Deal that opened it.
    pub(super) opener: Id,
    /// One for each list of Deals that everybody revealed on, in the order of [`GoodSet::base`]. Honest operators build on one; there
    /// are more only if all of them were restored from backups while a dealer dealt twice. Then each is as good as the other,
    /// whatever was seen first.
    pub(super) good: Vec<GoodSet>,
    /// The bases of those sets, and which base gave which outputs.
    pub(super) settled: HashSet<Hash>,
    by_outputs: HashMap<Hash, Hash>,
    by_lock: BTreeMap<Hash, Hash>,
    /// The bases of those that everybody voted for.
    agreed: BTreeSet<Hash>,
    /// Votes and Signs by outputs, Seals by lock hash.
    pub(super) votes: Tally,
    pub(super) signs: Tally,
    pub(super) seals: Tally,
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
            settled: HashSet::new(),
            by_outputs: HashMap::new(),
            by_lock: BTreeMap::new(),
            agreed: BTreeSet::new(),
            votes: Tally::default(),
            signs: Tally::default(),
            seals: Tally::default(),
            tried: HashSet::new(),
            tries: HashMap::new(),
        }
    }

    /// Counts an admitted entry; there are n operators. Gives the one of that operator that said the same before.
    pub(super) fn count(&mut self, operator: u16, id: Id, data: &Data, n: usize) -> Option<Id> {
        match data {
            Data::Stored(outputs) => {
                let before = self.votes.add(*outputs, operator, id);
                if self.votes.is_full(outputs, n) {
                    self.agreed.extend(self.by_outputs.get(outputs));
                }
                before
            }
            Data::Sign(outputs, _) => self.signs.add(*outputs, operator, id),
            Data::Seal(seal) => self.seals.add(seal.lock_hash, operator, id),
            _ => None,
        }
    }

    /// Everything is to be counted anew.
    pub(super) fn forget_tallies(&mut self) {
        for tally in [&mut self.votes, &mut self.signs, &mut self.seals] {
            *tally = Tally::default();
        }
        self.agreed.clear();
    }

    /// The good sets that everybody voted for.
    pub(super) fn all_agreed(&self) -> impl Iterator<Item = &GoodSet> {
        self.agreed.iter().filter_map(|base| self.by_base(base))
    }

    /// The good sets whose signatures are here.
    pub(super) fn finished(&self) -> impl Iterator<Item = &GoodSet> {
        self.by_lock.values().filter_map(|base| self.by_base(base))
    }

    /// The good set that gives these outputs.
    pub(super) fn good_set(&self, outputs: &Hash) -> Option<&GoodSet> {
        self.by_base(self.by_outputs.get(outputs)?)
    }

    /// The good set whose lock has this hash.
    pub(super) fn set_of_lock(&self, lock_hash: &Hash) -> Option<&GoodSet> {
        self.by_base(self.by_lock.get(lock_hash)?)
    }

    fn by_base(&self, base: &Hash) -> Option<&GoodSet> {
        let at = self.good.binary_search_by_key(base, |good| good.base).ok()?;
        self.good.get(at)
    }

    fn take_up(&mut self, found: Vec<GoodSet>) {
        for good in found {
            self.settled.insert(good.base);
            self.by_outputs.entry(*good.outputs()).or_insert(good.base);
            self.good.push(good);
        }
        self.good.sort_by_key(|good| good.base);
    }
}

/// A set of Reveals worth trying.
struct Candidate {
    /// The hash of the ids of the Deals that it builds on.
    base: Hash,
    /// Whose vote names it, if nothing else does.
    voter: Option<u16>,
    reveals: Vec<Id>,
}

impl Board {
    /// Looks for good sets and full rows of signatures where something came in.
    pub(super) fn advance_sessions(&mut self) {
        for sid in std::mem::take(&mut self.changed) {
            if self.seek_good_sets(&sid) {
                self.wake_step(&sid, Step::Stored);
            }
            if self.combine_signatures(&sid) {
                self.wake_step(&sid, Step::Seal);
                self.wake_step(&sid, Step::Done);
            }
        }
    }

    /// Sets of n Reveals worth trying: those that the journal knows of, and on Deals that have no good one yet the first of each
    /// dealer, those with no torsion, and those that waiting votes name.
    fn candidate_sets(&mut self, sid: &Hash) -> Vec<Candidate> {
        let Some(session) = self.sessions.get(sid) else {
            return Vec::new();
        };
        let n = self.terms.n();
        let mut looked_at = 0;
        let mut sets = Vec::new();
        let hints = self.hints.get(sid).into_iter().flatten();
        sets.extend(hints.filter_map(|row| self.candidate(sid, None, row)));
        // For each list of Deals: of each dealer its first Reveal, and its first one in G1.
        let mut rows: BTreeMap<Hash, [BTreeMap<u16, Id>; 2]> = BTreeMap::new();
        let several = self
            .terms
            .indices()
            .any(|d| self.slot(sid, d, Slot::Step(Step::Reveal)).len() > 1);
        for dealer in self.terms.indices() {
            for id in self.slot(sid, dealer, Slot::Step(Step::Reveal)) {
                looked_at += 1;
                let Some(Data::Reveal(body, base)) = self.held.get(id).map(|a| &a.data) else {
                    continue;
                };
                if session.settled.contains(base) {
                    continue;
                }
                let [first, in_g1] = rows.entry(*base).or_default();
                first.entry(dealer).or_insert(*id);
                // Subgroup checks of single points are only worth their time where one dealer has several Reveals.
                if several && !in_g1.contains_key(&dealer) && body.in_g1() {
                    in_g1.insert(dealer, *id);
                }
            }
        }
        for (base, picked) in rows {
            let full = picked.into_iter().filter(|row| row.len() == n);
            sets.extend(full.map(|row| Candidate {
                base,
                voter: None,
                reveals: row.into_values().collect(),
            }));
        }
        for entry in self.waiting_in(sid, Step::Stored) {
            looked_at += 1;
            sets.extend(self.candidate(sid, Some(entry.operator), &entry.prev));
        }
        self.work(looked_at);
        sets
    }

    /// A row of Reveals that somebody names, if it is one and all of it is here.
    fn candidate(&self, sid: &Hash, voter: Option<u16>, row: &[Id]) -> Option<Candidate> {
        let base = self.base(row.first()?)?;
        let is_row = self.is_full_row(row, sid, Slot::Step(Step::Reveal)) == Some(true);
        let one_base = row.iter().all(|id| self.base(id) == Some(base));
        (is_row && one_base).then(|| Candidate {
            base,
            voter,
            reveals: row.to_vec(),
        })
    }

    fn seek_good_sets(&mut self, sid: &Hash) -> bool {
        let mut found: BTreeMap<Hash, GoodSet> = BTreeMap::new();
        for candidate in self.candidate_sets(sid) {
            let Candidate { base, voter, reveals } = candidate;
            let Some(session) = self.sessions.get_mut(sid) else {
                return false;
            };
            let attempt = session.attempt;
            let settled = session.settled.contains(&base) || found.contains_key(&base);
            if settled || session.tried.contains(&hash_ids(&reveals)) {
                continue;
            }
            if let Some(voter) = voter.filter(|_| self.mode != Mode::Replay) {
                let tries = session.tries.entry(voter).or_default();
                if *tries >= MAX_TRIED {
                    continue;
                }
                *tries += 1;
            }
            session.tried.insert(hash_ids(&reveals));
            self.work(1);
            let bodies: Vec<Arc<RevealBody>> = reveals
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
                    if voter.is_some() {
                        // The vote itself may never be admitted.
                        self.news.push(News::Noted(Note::Set {
                            session: *sid,
                            reveals: reveals.clone(),
                        }));
                    }
                    let good = GoodSet {
                        base,
                        reveals,
                        keys: Arc::new(keys),
                        roots: Arc::new(roots),
                        hashed: OnceLock::new(),
                        seals: self.terms.indices().map(|_| CheckedSeal::default()).collect(),
                        combined: None,
                    };
                    found.insert(base, good);
                }
                Err(NotGood::Void) => {
                    let finding = Finding {
                        operator: 0,
                        kind: Kind::Void,
                    };
                    self.record_closure(attempt, finding, &reveals, false);
                }
                Err(NotGood::Torsion) => {
                    for (position, body) in bodies.iter().enumerate() {
                        if !body.in_g1() {
                            let finding = Finding {
                                operator: index_of(position),
                                kind: Kind::BadEntry,
                            };
                            self.record_closure(attempt, finding, &reveals, false);
                        }
                    }
                }
            }
        }
        let any = !found.is_empty();
        if let Some(session) = self.sessions.get_mut(sid) {
            session.take_up(found.into_values().collect());
        }
        any
    }

    /// Once everybody's partial signatures are here: the group signatures and the lock hash.
    fn combine_signatures(&mut self, sid: &Hash) -> bool {
        let made: Vec<(Hash, Combined)> = self
            .good_sets(sid)
            .iter()
            .filter(|good| good.combined.is_none())
            .filter_map(|good| Some((good.base, self.combine(sid, good)?)))
            .collect();
        let progress = !made.is_empty();
        if let Some(session) = self.sessions.get_mut(sid) {
            for (base, combined) in made {
                if let Ok(at) = session.good.binary_search_by_key(&base, |good| good.base)
                    && let Some(good) = session.good.get_mut(at)
                {
                    session.by_lock.entry(combined.lock_hash).or_insert(base);
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
        let signs = &self.sessions.get(sid)?.signs;
        let row = signs.row(good.outputs(), self.terms.n())?;
        let partials: Vec<Arc<Vec<Signature>>> = row
            .iter()
            .map(|id| match &self.held.get(id)?.data {
                Data::Sign(_, signatures) => Some(signatures.clone()),
                _ => None,
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
