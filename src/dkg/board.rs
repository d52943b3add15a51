//! The board: all entries that this node holds, which of them count, and what they prove.
//!
//! The board has no secrets. Operators, the offline check of evidence and the check of a transcript use the same one, so that
//! an entry is judged by one function everywhere.
//!
//! An entry waits until its predecessors are here, is then judged, and is either *admitted*, kept as *evidence* against its
//! author, or dropped. The order in which entries arrive does not matter: what is admitted depends on the set alone, up to the
//! caps that keep an equivocator from flooding anybody.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::crypto::bls::{self, PublicKey, Signature};
use crate::crypto::hash::{Hash, WeightStream, sha256};
use crate::crypto::point::G1;
use crate::crypto::proof::{self, Statement};
use crate::crypto::seal::SealSecret;
use crate::crypto::threshold::recover_signature;
use rayon::prelude::*;

use super::body::{self, JoinBody, RevealBody, SealBody};
use super::entry::{Entry, Id, Step, hash_ids};
use super::evidence::{Evidence, Finding, Kind, collide};
use super::outputs::{GroupKeys, NotGood, combine};
use super::secrets::{Opened, open_share};
use super::terms::{Terms, index_of};

/// Entries of one author, attempt and slot that may wait for predecessors at a time.
const MAX_WAITING: usize = 4;
/// Different entries of one (session, author, slot) that are kept without a reason of their own.
const MAX_PER_SLOT: usize = 2;
/// Sessions that one dealer may open in one attempt.
const MAX_OPENED: usize = 2;
/// Refused ids that are remembered so that they are not asked for again.
const MAX_REFUSED: usize = 20_000;
/// Sets of Reveals that are tried in one session because an operator's votes name them. An honest one names one.
const MAX_TRIED: usize = 4;

/// The slots of a session. Acks and Complaints share a step but not a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Join, Deal, Ack, Reveal, Stored, Sign, Seal or Done.
    Step(Step),
    /// A Complaint.
    Complaint,
}

fn slot_of(entry: &Entry) -> Slot {
    if entry.is_complaint() {
        Slot::Complaint
    } else {
        Slot::Step(entry.step)
    }
}

type SlotKey = (Hash, u16, Slot);

/// What an admitted entry says, decoded.
#[derive(Clone)]
pub enum Data {
    /// A Join.
    Join(Arc<JoinBody>),
    /// The commitments of a Deal, validator-major.
    Deal(Arc<Vec<G1>>),
    /// An Ack, a Complaint that is right, or a Done.
    Plain,
    /// A Reveal whose proof holds; the hash of the Deals' ids that it builds on.
    Reveal(Arc<RevealBody>, Hash),
    /// A vote: the outputs.
    Stored(Hash),
    /// Partial signatures that hold, validator-major.
    Sign(Arc<Vec<Signature>>),
    /// A Seal that holds.
    Seal(Arc<SealBody>),
}

/// An admitted entry.
#[derive(Clone)]
pub struct Admitted {
    /// The entry.
    pub entry: Arc<Entry>,
    /// Its content.
    pub data: Data,
}

/// The group signatures and the lock hash of a session, once all Signs are here.
pub struct Combined {
    /// Group signatures: `[validator][message]`.
    pub signatures: Vec<Vec<Signature>>,
    /// The lock hash that every Seal must name.
    pub lock_hash: Hash,
}

struct Good {
    set: Vec<Id>,
    keys: Arc<GroupKeys>,
    roots: Arc<Vec<Vec<Hash>>>,
}

struct Session {
    attempt: u32,
    joins: Vec<Id>,
    /// The Deal that opened it.
    opener: Id,
    good: Option<Good>,
    tried: HashSet<Hash>,
    /// Sets tried on the word of each voter.
    tries: HashMap<u16, usize>,
    combined: Option<Arc<Combined>>,
}

/// What the board learned from what it was given, in order.
pub enum News {
    /// An entry counts from now on: make it durable, forward it.
    Admitted(Id),
    /// The verdict of an attempt has a new member: make its evidence durable.
    Found(u32, Finding),
}

/// A Reveal whose proof is to be checked: its id, itself, its content, the author's Deal, the hash of the Deals it builds on.
type ReadyReveal = (Id, Arc<Entry>, Arc<RevealBody>, Id, Hash);

enum Judgement {
    Valid(Data),
    /// Needs the batched checks: a proof, or partial signatures.
    Reveal {
        body: Arc<RevealBody>,
        deal: Id,
        deals: Hash,
    },
    Sign(Vec<Signature>),
    /// Provably wrong.
    Guilty(Kind),
    /// Lacks something that may still come.
    Wait,
    /// Not ours to judge or to keep.
    Drop,
}

/// See the module's documentation.
pub struct Board {
    terms: Arc<Terms>,
    offline: bool,
    horizon: u32,
    held: HashMap<Id, Admitted>,
    order: Vec<Id>,
    slots: HashMap<SlotKey, Vec<Id>>,
    sessions: BTreeMap<Hash, Session>,
    opened: HashMap<(u32, u16), usize>,
    waiting: BTreeMap<Id, Arc<Entry>>,
    queues: HashMap<(u32, u16, Slot), VecDeque<Id>>,
    tickets: HashSet<(SlotKey, u16, Step)>,
    refused: HashSet<Id>,
    evidence: BTreeMap<(u32, Finding), Arc<Evidence>>,
    /// What this operator is about to say: if it is wrong, it must not leave, but proves nothing.
    draft: Option<Id>,
    weights: WeightStream,
    news: Vec<News>,
}

impl Board {
    /// An empty board of a running ceremony. `weight_seed`: 32 bytes that peers cannot predict, for batched checks.
    pub fn new(terms: Arc<Terms>, weight_seed: &[u8; 32]) -> Self {
        Self {
            terms,
            offline: false,
            horizon: 2,
            held: HashMap::new(),
            order: Vec::new(),
            slots: HashMap::new(),
            sessions: BTreeMap::new(),
            opened: HashMap::new(),
            waiting: BTreeMap::new(),
            queues: HashMap::new(),
            tickets: HashSet::new(),
            refused: HashSet::new(),
            evidence: BTreeMap::new(),
            draft: None,
            weights: WeightStream::new(weight_seed),
            news: Vec::new(),
        }
    }

    /// An empty board for a bundle of entries that is complete in itself: Deals may lack their sealed part, and a Join's
    /// predecessors (votes of earlier attempts) need not be there.
    pub fn offline(terms: Arc<Terms>, weight_seed: &[u8; 32]) -> Self {
        Self {
            offline: true,
            horizon: u32::MAX,
            ..Self::new(terms, weight_seed)
        }
    }

    /// The terms.
    pub fn terms(&self) -> &Arc<Terms> {
        &self.terms
    }

    /// The highest attempt of which entries are taken.
    pub fn horizon(&self) -> u32 {
        self.horizon
    }

    /// Takes entries of attempts up to this one from now on.
    pub fn set_horizon(&mut self, attempt: u32) {
        self.horizon = self.horizon.max(attempt);
    }

    /// Takes entries from anywhere: the journal, a peer, this operator itself. Returns what came of it.
    pub fn receive(&mut self, entries: Vec<Entry>) -> Vec<News> {
        let terms = self.terms.clone();
        let fresh: Vec<(Id, Entry)> = entries
            .into_par_iter()
            .with_min_len(2)
            .map(|entry| (entry.id(&terms), entry))
            .collect();
        let fresh: Vec<(Id, Entry)> = fresh
            .into_iter()
            .filter(|(id, entry)| {
                self.is_wanted(id, entry.attempt) && (self.offline || entry.stripped.is_none())
            })
            .collect();
        let signed: Vec<(Id, Entry)> = fresh
            .into_par_iter()
            .filter(|(id, entry)| {
                terms
                    .operator(entry.operator)
                    .is_some_and(|key| key.verify(id, &entry.signature))
            })
            .collect();
        for (id, entry) in signed {
            self.enqueue(id, Arc::new(entry));
        }
        self.settle();
        std::mem::take(&mut self.news)
    }

    /// Takes an entry that this operator has just made and shown to nobody. Should it be invalid, or collide with what was
    /// said before (a broken machine, a mixed-up folder), it is dropped without a finding.
    pub fn receive_own(&mut self, entry: Entry) -> Vec<News> {
        self.draft = Some(entry.id(&self.terms));
        let news = self.receive(vec![entry]);
        self.draft = None;
        news
    }

    /// Takes evidence from a peer or from disk; it is checked, and stored if it proves something new.
    pub fn receive_evidence(&mut self, evidence: Evidence) -> Vec<News> {
        let key = (evidence.attempt, evidence.finding);
        if evidence.attempt == 0 || evidence.attempt > self.horizon || self.evidence.contains_key(&key) {
            return Vec::new();
        }
        let seed = sha256(&[&self.weights.next(), &self.weights.next()]);
        if evidence.check(&self.terms, &seed) {
            self.record(evidence);
        }
        std::mem::take(&mut self.news)
    }

    /// Whether an entry of that id should be asked for.
    pub fn is_wanted(&self, id: &Id, attempt: u32) -> bool {
        attempt != 0
            && attempt <= self.horizon
            && !self.held.contains_key(id)
            && !self.waiting.contains_key(id)
            && !self.refused.contains(id)
    }

    /// Ids that waiting entries name and that are not here.
    pub fn missing(&self) -> BTreeSet<Id> {
        self.waiting
            .values()
            .flat_map(|entry| &entry.prev)
            .filter(|id| !self.held.contains_key(*id) && !self.waiting.contains_key(*id))
            .copied()
            .collect()
    }

    /// An admitted entry.
    pub fn get(&self, id: &Id) -> Option<&Admitted> {
        self.held.get(id)
    }

    /// Admitted ids in the order of admission: predecessors always come first.
    pub fn order(&self) -> &[Id] {
        &self.order
    }

    /// Admitted ids of one author and slot of one session (for Joins: of one ctx), oldest first.
    pub fn slot(&self, session: &Hash, operator: u16, slot: Slot) -> &[Id] {
        self.slots
            .get(&(*session, operator, slot))
            .map_or(&[], Vec::as_slice)
    }

    /// The first admitted entry of each operator in a slot; `None` unless everybody has one.
    pub fn one_of_each(&self, session: &Hash, slot: Slot) -> Option<Vec<Id>> {
        self.terms
            .indices()
            .map(|j| self.slot(session, j, slot).first().copied())
            .collect()
    }

    /// As [`Board::one_of_each`], but `None` if somebody has more than one.
    pub fn exactly_one_of_each(&self, session: &Hash, slot: Slot) -> Option<Vec<Id>> {
        self.terms
            .indices()
            .map(|j| match self.slot(session, j, slot) {
                [id] => Some(*id),
                _ => None,
            })
            .collect()
    }

    /// Sessions of an attempt that are followed.
    pub fn sessions(&self, attempt: u32) -> impl Iterator<Item = Hash> + '_ {
        self.sessions
            .iter()
            .filter(move |(_, s)| s.attempt == attempt)
            .map(|(sid, _)| *sid)
    }

    /// The Joins of a followed session, in operator order.
    pub fn joins(&self, session: &Hash) -> Option<&[Id]> {
        self.sessions.get(session).map(|s| s.joins.as_slice())
    }

    /// The keys of a session, once a good set of Reveals is here, with the ids of that set.
    pub fn good(&self, session: &Hash) -> Option<(&Arc<GroupKeys>, &[Id])> {
        self.sessions
            .get(session)?
            .good
            .as_ref()
            .map(|good| (&good.keys, good.set.as_slice()))
    }

    /// The signing roots of a session's validators, once its keys are known.
    pub fn roots(&self, session: &Hash) -> Option<&Arc<Vec<Vec<Hash>>>> {
        self.sessions.get(session)?.good.as_ref().map(|good| &good.roots)
    }

    /// Group signatures and lock hash of a session, once all Signs are here.
    pub fn combined(&self, session: &Hash) -> Option<&Arc<Combined>> {
        self.sessions.get(session)?.combined.as_ref()
    }

    /// The verdict of an attempt.
    pub fn verdict(&self, attempt: u32) -> BTreeSet<Finding> {
        self.evidence
            .keys()
            .filter(|(k, _)| *k == attempt)
            .map(|(_, finding)| *finding)
            .collect()
    }

    /// All findings of all attempts.
    pub fn findings(&self) -> impl Iterator<Item = (u32, Finding)> + '_ {
        self.evidence.keys().copied()
    }

    /// The evidence of a finding.
    pub fn evidence(&self, attempt: u32, finding: Finding) -> Option<&Arc<Evidence>> {
        self.evidence.get(&(attempt, finding))
    }

    /// The highest attempt of which anything is admitted.
    pub fn newest_attempt(&self) -> u32 {
        self.held.values().map(|a| a.entry.attempt).max().unwrap_or(0)
    }

    // --- taking in ---

    fn enqueue(&mut self, id: Id, entry: Arc<Entry>) {
        if self.held.contains_key(&id) || self.waiting.contains_key(&id) {
            return;
        }
        if self.compare_headers(&entry) && self.draft == Some(id) {
            return;
        }
        for prev in &entry.prev {
            self.refused.remove(prev);
        }
        let queue = self
            .queues
            .entry((entry.attempt, entry.operator, slot_of(&entry)))
            .or_default();
        queue.push_back(id);
        let evicted = if queue.len() > MAX_WAITING && !self.offline {
            queue.pop_front()
        } else {
            None
        };
        if let Some(old) = evicted {
            self.waiting.remove(&old);
        }
        self.waiting.insert(id, entry);
    }

    fn leave_queue(&mut self, id: &Id) -> Option<Arc<Entry>> {
        let entry = self.waiting.remove(id)?;
        if let Some(queue) = self
            .queues
            .get_mut(&(entry.attempt, entry.operator, slot_of(&entry)))
        {
            queue.retain(|other| other != id);
        }
        Some(entry)
    }

    fn refuse(&mut self, id: Id) {
        self.leave_queue(&id);
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
        }
        self.refused.insert(id);
    }

    /// Two signed headers can prove something whether or not their entries are ever admitted.
    fn compare_headers(&mut self, entry: &Arc<Entry>) -> bool {
        let header = entry.header(&self.terms);
        let ctx = self.terms.ctx(entry.attempt);
        let slots = match entry.step {
            Step::Ack => vec![Slot::Step(Step::Ack), Slot::Complaint],
            step => vec![Slot::Step(step)],
        };
        let mut found = None;
        for slot in slots {
            let held = self.slot(&entry.session, entry.operator, slot);
            let waiting = self.queues.get(&(entry.attempt, entry.operator, slot));
            let others = held
                .iter()
                .filter_map(|id| self.held.get(id).map(|a| &a.entry))
                .chain(
                    waiting
                        .into_iter()
                        .flatten()
                        .filter_map(|id| self.waiting.get(id)),
                );
            for other in others {
                let other = other.header(&self.terms);
                if let Some(kind) = collide(&header, &other, &ctx) {
                    found = Some((kind, vec![other, header]));
                    break;
                }
            }
        }
        let collides = found.is_some();
        if let Some((kind, headers)) = found.filter(|_| self.draft != Some(header.id())) {
            let finding = Finding {
                operator: entry.operator,
                kind,
            };
            self.record(Evidence {
                attempt: entry.attempt,
                finding,
                headers,
                entries: Vec::new(),
            });
        }
        collides
    }

    fn record(&mut self, evidence: Evidence) {
        let key = (evidence.attempt, evidence.finding);
        if let std::collections::btree_map::Entry::Vacant(place) = self.evidence.entry(key) {
            place.insert(Arc::new(evidence));
            self.news.push(News::Found(key.0, key.1));
        }
    }

    // --- judging ---

    /// Judges everything that waits until nothing more comes of it.
    fn settle(&mut self) {
        loop {
            let mut progress = false;
            let mut reveals = Vec::new();
            let mut signs = Vec::new();
            let ids: Vec<Id> = self.waiting.keys().copied().collect();
            // One pass takes what is ready now; its consequences are for the next pass.
            let mut ready: Vec<(Id, Arc<Entry>)> = ids
                .iter()
                .filter_map(|id| self.waiting.get(id).map(|e| (*id, e.clone())))
                .collect();
            ready.sort_by_key(|(id, e)| (e.attempt, e.step, e.operator, *id));
            for (id, entry) in ready {
                match self.judge(&id, &entry) {
                    Judgement::Wait => continue,
                    Judgement::Valid(data) => self.admit(id, data),
                    Judgement::Reveal { body, deal, deals } => {
                        reveals.push((id, entry, body, deal, deals));
                        continue;
                    }
                    Judgement::Sign(signatures) => {
                        signs.push((id, entry, signatures));
                        continue;
                    }
                    Judgement::Guilty(kind) => self.convict(&id, kind),
                    Judgement::Drop => self.refuse(id),
                }
                progress = true;
            }
            progress |= self.judge_reveals(reveals);
            progress |= self.judge_signs(signs);
            progress |= self.advance_sessions();
            if !progress {
                return;
            }
        }
    }

    fn has_room(&self, id: &Id, entry: &Entry) -> bool {
        let slot = slot_of(entry);
        self.offline
            || self.slot(&entry.session, entry.operator, slot).len() < MAX_PER_SLOT
            || self.ticket(id, (entry.session, entry.operator, slot)).is_some()
    }

    /// An entry here that names this one and whose author's one extra in this slot is still free. Looked up rather than
    /// kept, so that names of entries that never come cost no memory.
    fn ticket(&self, id: &Id, key: SlotKey) -> Option<(u16, Step)> {
        let held = self.held.values().map(|admitted| &admitted.entry);
        held.chain(self.waiting.values())
            .filter(|entry| entry.prev.contains(id))
            .map(|entry| (entry.operator, entry.step))
            .filter(|(op, step)| !self.tickets.contains(&(key, *op, *step)))
            .min()
    }

    /// Whether this Deal's author has opened as many sessions of the attempt as it may by itself.
    fn is_over_budget(&self, entry: &Entry) -> bool {
        let opened = self.opened.get(&(entry.attempt, entry.operator));
        !self.offline && opened.is_some_and(|n| *n >= MAX_OPENED)
    }

    /// What lets a Deal open one more session than that: an entry that names it. One budget for all sessions of the
    /// attempt, as there can be as many of them as choices among the Joins.
    fn opening_ticket(&self, id: &Id, entry: &Entry) -> Option<(SlotKey, u16, Step)> {
        let key = (
            self.terms.ctx(entry.attempt),
            entry.operator,
            Slot::Step(Step::Deal),
        );
        self.ticket(id, key).map(|(op, step)| (key, op, step))
    }

    fn judge(&mut self, id: &Id, entry: &Arc<Entry>) -> Judgement {
        if !self.has_room(id, entry) {
            return Judgement::Drop;
        }
        match entry.step {
            Step::Join => self.judge_join(entry),
            Step::Deal => self.judge_deal(id, entry),
            _ if !self.sessions.contains_key(&entry.session) => Judgement::Wait,
            _ if self.sessions[&entry.session].attempt != entry.attempt => Judgement::Guilty(Kind::BadEntry),
            Step::Ack if entry.is_complaint() => self.judge_complaint(entry),
            Step::Ack => self.judge_ack(entry),
            Step::Reveal => self.judge_reveal(entry),
            Step::Stored => self.judge_stored(entry),
            Step::Sign => self.judge_sign(entry),
            Step::Seal => self.judge_seal(entry),
            Step::Done => self.judge_done(entry),
        }
    }

    fn judge_join(&self, entry: &Entry) -> Judgement {
        if entry.session != self.terms.ctx(entry.attempt) {
            return Judgement::Drop;
        }
        let guilty = Judgement::Guilty(Kind::BadEntry);
        if entry.attempt == 1 && !entry.prev.is_empty() {
            return guilty;
        }
        let mut last = 0;
        let mut incomplete = false;
        for (position, id) in entry.prev.iter().enumerate() {
            let Some(vote) = self.known(id) else {
                incomplete = true;
                continue;
            };
            incomplete |= !self.held.contains_key(id);
            let own = vote.operator == entry.operator && position == 0 && vote.attempt < entry.attempt;
            let others =
                vote.operator != entry.operator && vote.attempt + 1 == entry.attempt && vote.operator > last;
            if vote.step != Step::Stored || !(own || others) {
                return guilty;
            }
            if others {
                last = vote.operator;
            }
        }
        match JoinBody::decode(&self.terms, &entry.body) {
            None => guilty,
            Some(_) if incomplete && !self.offline => Judgement::Wait,
            Some(body) => Judgement::Valid(Data::Join(Arc::new(body))),
        }
    }

    /// An entry whose signature is checked, admitted or not.
    fn known(&self, id: &Id) -> Option<&Arc<Entry>> {
        self.held
            .get(id)
            .map(|admitted| &admitted.entry)
            .or_else(|| self.waiting.get(id))
    }

    /// Whether the ids are one admitted entry of each operator, in order, of this session and slot. `None`: some are not
    /// admitted yet. A wrong one is wrong as soon as its signed header is here.
    fn is_full_row(&self, ids: &[Id], session: &Hash, slot: Slot) -> Option<bool> {
        let fits = |(position, id): (usize, &Id)| {
            self.known(id).is_none_or(|entry| {
                entry.session == *session && slot_of(entry) == slot && entry.operator == index_of(position)
            })
        };
        if ids.len() != self.terms.n() || !ids.iter().enumerate().all(fits) {
            return Some(false);
        }
        ids.iter().all(|id| self.held.contains_key(id)).then_some(true)
    }

    fn judge_deal(&self, id: &Id, entry: &Entry) -> Judgement {
        let guilty = Judgement::Guilty(Kind::BadEntry);
        if let Some(session) = self.sessions.get(&entry.session) {
            // The session is the hash of its attempt and Joins.
            if session.attempt != entry.attempt || session.joins != entry.prev {
                return guilty;
            }
        } else {
            let ctx = self.terms.ctx(entry.attempt);
            // A session that nobody opened yet, or of somebody else's ceremony: it waits, so that the verdict does not
            // depend on what came first.
            if self.is_full_row(&entry.prev, &ctx, Slot::Step(Step::Join)) != Some(true) {
                return Judgement::Wait;
            }
            if self.terms.sid(entry.attempt, &entry.prev) != entry.session {
                return guilty;
            }
            if self.is_over_budget(entry) && self.opening_ticket(id, entry).is_none() {
                return Judgement::Wait;
            }
        }
        body::decode_deal(&self.terms, &entry.body, entry.stripped.is_some())
            .map_or(Judgement::Guilty(Kind::BadEntry), |points| {
                Judgement::Valid(Data::Deal(Arc::new(points)))
            })
    }

    fn judge_ack(&self, entry: &Entry) -> Judgement {
        match self.is_full_row(&entry.prev, &entry.session, Slot::Step(Step::Deal)) {
            None => Judgement::Wait,
            Some(false) => Judgement::Guilty(Kind::BadEntry),
            Some(true) => Judgement::Valid(Data::Plain),
        }
    }

    fn judge_complaint(&mut self, entry: &Entry) -> Judgement {
        let guilty = Judgement::Guilty(Kind::BadEntry);
        let ([accused], Ok(key)) = (
            entry.prev.as_slice(),
            <&[u8; 32]>::try_from(entry.body.as_slice()),
        ) else {
            return guilty;
        };
        if self
            .known(accused)
            .is_some_and(|deal| deal.step != Step::Deal || deal.session != entry.session)
        {
            return guilty;
        }
        let Some(Admitted {
            entry: deal,
            data: Data::Deal(commitments),
        }) = self.held.get(accused)
        else {
            return Judgement::Wait;
        };
        if deal.stripped.is_some() {
            return Judgement::Wait;
        }
        let false_complaint = Judgement::Guilty(Kind::FalseComplaint);
        let offered = self.join_key(&entry.session, entry.operator, deal.operator);
        let Some(secret) = SealSecret::from_bytes(key).filter(|s| Some(s.public()) == offered) else {
            return false_complaint;
        };
        let (deal, commitments) = (deal.clone(), commitments.clone());
        match open_share(
            &self.terms,
            &deal,
            &commitments,
            entry.operator,
            &secret,
            &mut self.weights,
        ) {
            Opened::Good(_) => false_complaint,
            Opened::Unreadable | Opened::Wrong(_) => Judgement::Valid(Data::Plain),
        }
    }

    /// X_{operator, dealer} of a session's Joins.
    pub fn join_key(&self, session: &Hash, operator: u16, dealer: u16) -> Option<[u8; 32]> {
        let joins = &self.sessions.get(session)?.joins;
        let id = joins.get(usize::from(operator).checked_sub(1)?)?;
        let Data::Join(body) = &self.held.get(id)?.data else {
            return None;
        };
        body.keys.get(usize::from(dealer).checked_sub(1)?).copied()
    }

    fn judge_reveal(&self, entry: &Entry) -> Judgement {
        let guilty = Judgement::Guilty(Kind::BadEntry);
        let row = self.is_full_row(&entry.prev, &entry.session, Slot::Step(Step::Ack));
        let acks: Vec<&Arc<Entry>> = entry.prev.iter().filter_map(|id| self.known(id)).collect();
        if row == Some(false) || acks.windows(2).any(|pair| pair[0].prev != pair[1].prev) {
            return guilty;
        }
        let (Some(true), Some(first)) = (row, acks.first()) else {
            return Judgement::Wait;
        };
        let Some(deal) = first.prev.get(usize::from(entry.operator) - 1) else {
            return guilty;
        };
        let (deal, deals) = (*deal, hash_ids(&first.prev));
        RevealBody::decode(&self.terms, &entry.body).map_or(guilty, |body| Judgement::Reveal {
            body: Arc::new(body),
            deal,
            deals,
        })
    }

    fn judge_stored(&mut self, entry: &Entry) -> Judgement {
        let guilty = Judgement::Guilty(Kind::BadEntry);
        let Ok(outputs) = Hash::try_from(entry.body.as_slice()) else {
            return guilty;
        };
        if entry.prev.len() != self.terms.n() {
            return guilty;
        }
        let Some((keys, set)) = self.good(&entry.session) else {
            return Judgement::Wait;
        };
        if *keys.hash() == outputs {
            return Judgement::Valid(Data::Stored(outputs));
        }
        // Other outputs are a lie only about the same Deals: a folder restored from a backup may have approved others.
        match self.is_full_row(&entry.prev, &entry.session, Slot::Step(Step::Reveal)) {
            Some(false) => guilty,
            Some(true)
                if entry
                    .prev
                    .iter()
                    .chain(set)
                    .all(|id| self.base(id) == self.base(&entry.prev[0])) =>
            {
                guilty
            }
            _ => Judgement::Wait,
        }
    }

    /// The hash of the Deals' ids that an admitted Reveal builds on.
    fn base(&self, id: &Id) -> Option<Hash> {
        match self.held.get(id).map(|a| &a.data) {
            Some(Data::Reveal(_, deals)) => Some(*deals),
            _ => None,
        }
    }

    fn judge_sign(&self, entry: &Entry) -> Judgement {
        if entry.prev.len() != self.terms.n() {
            return Judgement::Guilty(Kind::BadEntry);
        }
        if self
            .one_of_each(&entry.session, Slot::Step(Step::Stored))
            .is_none()
        {
            return Judgement::Wait;
        }
        body::decode_sign(&self.terms, &entry.body).map_or(Judgement::Guilty(Kind::BadEntry), Judgement::Sign)
    }

    fn judge_seal(&self, entry: &Entry) -> Judgement {
        if !entry.prev.is_empty() {
            return Judgement::Guilty(Kind::BadEntry);
        }
        let Some(combined) = self.combined(&entry.session) else {
            return Judgement::Wait;
        };
        let guilty = Judgement::Guilty(Kind::BadEntry);
        let Some(seal) = SealBody::decode(&entry.body) else {
            return guilty;
        };
        let position = usize::from(entry.operator) - 1;
        let shares: Option<Vec<PublicKey>> = self.good(&entry.session).and_then(|(keys, _)| {
            keys.validators()
                .iter()
                .map(|v| v.shares.get(position).copied())
                .collect()
        });
        let (Some(key), Some(shares)) = (self.terms.operator(entry.operator), shares) else {
            return Judgement::Drop;
        };
        let right = seal.lock_hash == combined.lock_hash
            && key.verify_recoverable(&seal.lock_hash, &seal.node_signature)
            && bls::aggregate_public_keys(&shares)
                .is_some_and(|sum| seal.aggregate.verify(&sum, &seal.lock_hash));
        if right {
            Judgement::Valid(Data::Seal(Arc::new(seal)))
        } else {
            guilty
        }
    }

    fn judge_done(&self, entry: &Entry) -> Judgement {
        if !entry.prev.is_empty() {
            return Judgement::Drop;
        }
        match self.combined(&entry.session) {
            None => Judgement::Wait,
            Some(combined) if entry.body == combined.lock_hash => Judgement::Valid(Data::Plain),
            Some(_) => Judgement::Drop,
        }
    }

    /// Checks all proofs that are ready in one batch.
    fn judge_reveals(&mut self, reveals: Vec<ReadyReveal>) -> bool {
        let terms = self.terms.clone();
        let deals: Vec<Option<Arc<Vec<G1>>>> = reveals
            .iter()
            .map(|(_, _, _, deal, _)| match self.held.get(deal).map(|a| &a.data) {
                Some(Data::Deal(points)) => Some(points.clone()),
                _ => None,
            })
            .collect();
        let prev_hashes: Vec<Hash> = reveals.iter().map(|(_, entry, ..)| entry.prev_hash()).collect();
        let items: Vec<(Statement<'_>, &proof::Proof)> = reveals
            .iter()
            .zip(&deals)
            .zip(&prev_hashes)
            .filter_map(|(((_, entry, body, deal, _), pedersen), prev_hash)| {
                let statement = Statement {
                    sid: &entry.session,
                    dealer: entry.operator,
                    deal_id: deal,
                    prev_hash,
                    pedersen: pedersen.as_ref()?,
                    feldman: &body.points,
                    feldman_bytes: entry.body.get(..terms.deal_public_bytes())?,
                };
                Some((statement, &body.proof))
            })
            .collect();
        let verdicts = proof::verify_all(&items, &mut self.weights);
        drop(items);
        let progress = !reveals.is_empty();
        for ((id, _, body, _, deals), holds) in reveals.into_iter().zip(verdicts) {
            if holds {
                self.admit(id, Data::Reveal(body, deals));
            } else {
                self.convict(&id, Kind::BadEntry);
            }
        }
        progress
    }

    /// Checks all partial signatures that are ready in one batch over operators, validators and messages.
    fn judge_signs(&mut self, signs: Vec<(Id, Arc<Entry>, Vec<Signature>)>) -> bool {
        let messages = self.terms.product().messages();
        let mut items = Vec::new();
        let mut owners = Vec::new();
        for (number, (_, entry, signatures)) in signs.iter().enumerate() {
            let Some(good) = self.sessions.get(&entry.session).and_then(|s| s.good.as_ref()) else {
                continue;
            };
            for (position, signature) in signatures.iter().enumerate() {
                let (v, m) = (position / messages, position % messages);
                let share = good
                    .keys
                    .validators()
                    .get(v)
                    .and_then(|k| k.shares.get(usize::from(entry.operator) - 1));
                let root = good.roots.get(v).and_then(|r| r.get(m));
                if let (Some(share), Some(root)) = (share, root) {
                    items.push((*share, *root, signature.clone()));
                    owners.push(number);
                }
            }
        }
        let bad: BTreeSet<usize> = match bls::verify_batch(&items, &mut self.weights) {
            Ok(()) => BTreeSet::new(),
            Err(bad) => bad
                .into_iter()
                .filter_map(|item| owners.get(item).copied())
                .collect(),
        };
        let progress = !signs.is_empty();
        for (number, (id, _, signatures)) in signs.into_iter().enumerate() {
            if bad.contains(&number) {
                self.convict(&id, Kind::BadEntry);
            } else {
                self.admit(id, Data::Sign(Arc::new(signatures)));
            }
        }
        progress
    }

    // --- consequences ---

    fn admit(&mut self, id: Id, data: Data) {
        let Some(entry) = self.leave_queue(&id) else {
            return;
        };
        let key = (entry.session, entry.operator, slot_of(&entry));
        let full = self.slots.get(&key).is_some_and(|ids| ids.len() >= MAX_PER_SLOT);
        let opens = entry.step == Step::Deal && !self.sessions.contains_key(&entry.session);
        if full && !self.offline {
            let Some((op, step)) = self.ticket(&id, key) else {
                self.refuse(id);
                return;
            };
            self.tickets.insert((key, op, step));
        }
        if opens {
            // Judged just before.
            if self.is_over_budget(&entry) {
                self.tickets.extend(self.opening_ticket(&id, &entry));
            }
            *self.opened.entry((entry.attempt, entry.operator)).or_default() += 1;
            self.sessions.insert(
                entry.session,
                Session {
                    attempt: entry.attempt,
                    joins: entry.prev.clone(),
                    opener: id,
                    good: None,
                    tried: HashSet::new(),
                    tries: HashMap::new(),
                    combined: None,
                },
            );
        }
        self.slots.entry(key).or_default().push(id);
        self.order.push(id);
        self.held.insert(
            id,
            Admitted {
                entry: entry.clone(),
                data,
            },
        );
        self.news.push(News::Admitted(id));
        if entry.step == Step::Ack {
            self.judge_contradiction(&entry);
        }
        if entry.is_complaint() {
            self.blame_dealer(&id, &entry);
        }
    }

    fn judge_contradiction(&mut self, entry: &Entry) {
        let acks = self.slot(&entry.session, entry.operator, Slot::Step(Step::Ack));
        let complaints = self.slot(&entry.session, entry.operator, Slot::Complaint);
        let pair = acks.iter().find_map(|ack| {
            let named = &self.held.get(ack)?.entry.prev;
            let complaint = complaints.iter().find(|c| {
                self.held
                    .get(*c)
                    .is_some_and(|c| c.entry.prev.iter().all(|deal| named.contains(deal)))
            })?;
            Some([*ack, *complaint])
        });
        if let Some(pair) = pair {
            let finding = Finding {
                operator: entry.operator,
                kind: Kind::Contradiction,
            };
            let entries = self.closure(&pair, true);
            self.record(Evidence {
                attempt: entry.attempt,
                finding,
                headers: Vec::new(),
                entries,
            });
        }
    }

    fn blame_dealer(&mut self, id: &Id, entry: &Entry) {
        let Some(deal) = entry.prev.first().and_then(|deal| self.held.get(deal)) else {
            return;
        };
        let finding = Finding {
            operator: deal.entry.operator,
            kind: Kind::BadShare,
        };
        let entries = self.closure(&[*id], true);
        self.record(Evidence {
            attempt: entry.attempt,
            finding,
            headers: Vec::new(),
            entries,
        });
    }

    /// Keeps an invalid entry as evidence against its author.
    fn convict(&mut self, id: &Id, kind: Kind) {
        let Some(entry) = self.waiting.get(id).cloned() else {
            return;
        };
        self.refuse(*id);
        let finding = Finding {
            operator: entry.operator,
            kind,
        };
        if self.draft == Some(*id) || self.evidence.contains_key(&(entry.attempt, finding)) {
            return;
        }
        if self.offline {
            // This is the check of such evidence; only the finding counts.
            self.record(Evidence {
                attempt: entry.attempt,
                finding,
                headers: Vec::new(),
                entries: Vec::new(),
            });
            return;
        }
        // As little as proves it: what the entry names, or else what that builds on, too.
        let whole = kind == Kind::FalseComplaint;
        for deep in [false, true] {
            let mut entries = self.context(&entry, deep, whole);
            // A Deal whose length is wrong cannot be taken apart; it stays whole.
            let odd = entry.step == Step::Deal && entry.body.len() != self.terms.body_bytes(Step::Deal);
            entries.push(if odd {
                entry.clone()
            } else {
                Arc::new(entry.strip(&self.terms))
            });
            let evidence = Evidence {
                attempt: entry.attempt,
                finding,
                headers: Vec::new(),
                entries,
            };
            let seed = sha256(&[&self.weights.next(), &self.weights.next()]);
            if evidence.check(&self.terms, &seed) {
                self.record(evidence);
                return;
            }
        }
    }

    /// What somebody else needs to judge an invalid entry.
    fn context(&self, entry: &Entry, deep: bool, whole: bool) -> Vec<Arc<Entry>> {
        let mut roots = Vec::new();
        if let Some(session) = self.sessions.get(&entry.session) {
            roots.push(session.opener);
            if deep && entry.step >= Step::Stored {
                roots.extend(session.good.iter().flat_map(|good| &good.set));
            }
        }
        if deep && entry.step < Step::Stored {
            roots.extend(&entry.prev);
        }
        let mut entries = self.closure(&roots, whole);
        let mut shallow: Vec<Id> = entry.prev.clone();
        if deep {
            for (needed, before) in [(Step::Stored, Step::Sign), (Step::Sign, Step::Seal)] {
                if entry.step >= before {
                    let row = self.one_of_each(&entry.session, Slot::Step(needed));
                    shallow.extend(row.unwrap_or_default());
                }
            }
        }
        let there: HashSet<Id> = entries.iter().map(|e| e.id(&self.terms)).collect();
        let mut seen = HashSet::new();
        let named = shallow
            .iter()
            .filter(|id| !there.contains(*id) && seen.insert(**id));
        let strip = |e: &Arc<Entry>| {
            if whole {
                e.clone()
            } else {
                Arc::new(e.strip(&self.terms))
            }
        };
        entries.extend(named.filter_map(|id| self.known(id)).map(strip));
        entries
    }

    /// The admitted entries of one attempt that these build on, predecessors first.
    fn closure(&self, roots: &[Id], whole: bool) -> Vec<Arc<Entry>> {
        let mut seen = HashSet::new();
        let mut queue: Vec<Id> = roots.to_vec();
        while let Some(id) = queue.pop() {
            let Some(admitted) = self.held.get(&id) else {
                continue;
            };
            if seen.insert(id) && admitted.entry.step != Step::Join {
                queue.extend(&admitted.entry.prev);
            }
        }
        let strip = |entry: &Arc<Entry>| {
            if whole {
                entry.clone()
            } else {
                Arc::new(entry.strip(&self.terms))
            }
        };
        self.order
            .iter()
            .filter(|id| seen.contains(*id))
            .filter_map(|id| self.held.get(id))
            .map(|a| strip(&a.entry))
            .collect()
    }

    /// Looks for good sets and full rows of signatures.
    fn advance_sessions(&mut self) -> bool {
        let mut progress = false;
        let sids: Vec<Hash> = self.sessions.keys().copied().collect();
        for sid in sids {
            progress |= self.seek_good_set(&sid);
            progress |= self.combine_signatures(&sid);
        }
        progress
    }

    /// Sets of n Reveals worth trying: the first of each dealer, those that waiting votes name, those with no torsion.
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
        let bases: BTreeSet<Hash> = rows.iter().flatten().filter_map(deals_of).collect();
        let mut sets = Vec::new();
        for base in bases {
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
            if row && bases.len() == 1 {
                sets.push((Some(entry.operator), entry.prev.clone()));
            }
        }
        sets
    }

    fn seek_good_set(&mut self, sid: &Hash) -> bool {
        let Some(session) = self.sessions.get(sid) else {
            return false;
        };
        if session.good.is_some() {
            return false;
        }
        let attempt = session.attempt;
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
                    let good = Good {
                        set,
                        keys: Arc::new(keys),
                        roots: Arc::new(roots),
                    };
                    if let Some(session) = self.sessions.get_mut(sid) {
                        session.good = Some(good);
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

    fn record_set(&mut self, attempt: u32, finding: Finding, set: &[Id]) {
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
        let Some(session) = self.sessions.get(sid) else {
            return false;
        };
        let Some(good) = session.good.as_ref() else {
            return false;
        };
        if session.combined.is_some() {
            return false;
        }
        let Some(signs) = self.one_of_each(sid, Slot::Step(Step::Sign)) else {
            return false;
        };
        let partials: Vec<Arc<Vec<Signature>>> = signs
            .iter()
            .take(self.terms.t())
            .filter_map(|id| match self.held.get(id).map(|a| &a.data) {
                Some(Data::Sign(signatures)) => Some(signatures.clone()),
                _ => None,
            })
            .collect();
        let messages = self.terms.product().messages();
        let flat: Option<Vec<Signature>> = (0..self.terms.validators() * messages)
            .into_par_iter()
            .map(|i| {
                let points: Option<Vec<(u64, Signature)>> = (1u64..)
                    .zip(&partials)
                    .map(|(index, row)| Some((index, row.get(i)?.clone())))
                    .collect();
                recover_signature(&points?).ok()
            })
            .collect();
        // Interpolating t valid partial signatures cannot fail: their indices are 1..=t.
        let Some(flat) = flat else { return false };
        let items: Vec<(PublicKey, Hash, Signature)> = flat
            .iter()
            .enumerate()
            .filter_map(|(i, signature)| {
                let group = good.keys.validators().get(i / messages)?.group;
                let root = good.roots.get(i / messages)?.get(i % messages)?;
                Some((group, *root, signature.clone()))
            })
            .collect();
        if bls::verify_batch(&items, &mut self.weights).is_err() {
            return false;
        }
        let signatures: Vec<Vec<Signature>> =
            flat.chunks(messages.max(1)).map(<[Signature]>::to_vec).collect();
        let lock_hash = self.terms.product().lock_hash(&good.keys, &signatures);
        if let Some(session) = self.sessions.get_mut(sid) {
            session.combined = Some(Arc::new(Combined {
                signatures,
                lock_hash,
            }));
        }
        true
    }
}
