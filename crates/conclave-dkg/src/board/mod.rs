//! The board: all entries that this node holds, which of them count, and what they prove.
//!
//! The board has no secrets. Operators, the offline check of evidence and the check of a transcript use the same one, so that
//! an entry is judged by one function everywhere.
//!
//! An entry waits until its predecessors are here, is then judged, and is either *admitted*, kept as *evidence* against its
//! author, or dropped. The order in which entries arrive does not matter: what is admitted depends on the set alone, up to the
//! caps that keep an equivocator from flooding anybody.
//!
//! | Module | What it does |
//! |---|---|
//! | `intake` | takes in: what waits, how much of it, and what two headers prove without being judged |
//! | `replay` | takes up a journal: what was admitted is admitted again, without caps |
//! | `judge` | says whether an entry is valid, once its predecessors are here |
//! | `consequences` | admits it, or makes evidence of it |
//! | `sessions` | what the entries of a session make together: keys, group signatures, the lock hash |

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use rayon::prelude::*;

use conclave_crypto::bls::Signature;
use conclave_crypto::hash::{Hash, WeightStream, sha256};
use conclave_crypto::point::G1;

use super::body::{JoinBody, RevealBody, SealBody};
use super::entry::{Entry, Id, Step};
use super::evidence::{Evidence, Finding};
use super::terms::{Terms, index_of};

mod consequences;
mod intake;
mod judge;
mod replay;
mod sessions;

pub use replay::Note;
use sessions::Session;
pub use sessions::{Combined, GoodSet, Sealed};

/// Different entries of one (session, author, slot) that are kept without a reason of their own.
const MAX_PER_SLOT: usize = 2;

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

/// What two entries have in common if they collide: session, attempt, author, step, hash of the predecessors (of Joins: zeros).
type HeaderKey = (Hash, u32, u16, Step, Hash);

/// One more entry in a slot than the caps allow, because an entry of this operator and step names it.
type Ticket = (SlotKey, u16, Step);

/// What an admitted entry says, decoded.
#[derive(Clone)]
pub enum Data {
    /// A Join.
    Join(Arc<JoinBody>),
    /// The commitments of a Deal, validator-major.
    Deal(Arc<Vec<G1>>),
    /// An Ack, a Complaint that is right, or a Done.
    Plain,
    /// A Done that says the opposite: the author's share is lost.
    Lost,
    /// A Reveal whose proof holds; the hash of the Deals' ids that it builds on.
    Reveal(Arc<RevealBody>, Hash),
    /// A vote: the outputs.
    Stored(Hash),
    /// The outputs that it signs for, and partial signatures that hold, validator-major.
    Sign(Hash, Arc<Vec<Signature>>),
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

/// What the board learned from what it was given, in order.
pub enum News {
    /// What the entries alone will not tell a restart: make it durable, before the entries that follow.
    Noted(Note),
    /// An entry counts from now on: make it durable, forward it.
    Admitted(Id),
    /// The verdict of an attempt has a new member: make its evidence durable.
    Found(u32, Finding),
}

/// Where a board's entries come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// From peers, who may be anybody: the caps hold.
    Live,
    /// From this operator's own journal: they were admitted before.
    Replay,
    /// A bundle that proves something: Deals may lack their sealed part, and a Join's predecessors need not be there.
    Bundle,
    /// A transcript: Deals lack their sealed part, and nothing else is missing.
    Record,
}

impl Mode {
    /// Whether it shows a ceremony that is held elsewhere; else it is the ceremony.
    fn is_offline(self) -> bool {
        matches!(self, Self::Bundle | Self::Record)
    }
}

/// See the module's documentation.
pub struct Board {
    terms: Arc<Terms>,
    mode: Mode,
    horizon: u32,
    held: HashMap<Id, Admitted>,
    order: Vec<Id>,
    slots: HashMap<SlotKey, Vec<Id>>,
    sessions: BTreeMap<Hash, Session>,
    /// The sessions of each attempt.
    attempts: BTreeMap<u32, BTreeSet<Hash>>,
    opened: HashMap<(u32, u16), usize>,
    waiting: BTreeMap<Id, Arc<Entry>>,
    queues: HashMap<(u32, u16, Slot), VecDeque<Id>>,
    /// Which waiting entries name an id, and which wait in a session: whom to judge again when something comes in.
    namers: HashMap<Id, BTreeSet<Id>>,
    waiting_in: HashMap<(Hash, Step), BTreeSet<Id>>,
    /// Waiting entries that are to be judged, in this order.
    agenda: BTreeSet<(u32, Step, u16, Id)>,
    /// Sessions in which something came in that their keys or signatures may be made of.
    changed: BTreeSet<Hash>,
    /// One of the entries here, admitted or not, with this session, author, step and predecessors: two of them collide.
    headers: HashMap<HeaderKey, Id>,
    tickets: HashSet<Ticket>,
    /// While a journal is replayed: the place of each of its entries, and the rows of Reveals that were tried on a voter's word.
    positions: HashMap<Id, usize>,
    hints: HashMap<Hash, Vec<Vec<Id>>>,
    refused: HashSet<Id>,
    evidence: BTreeMap<(u32, Finding), Arc<Evidence>>,
    /// What this operator is about to say: if it is wrong, it must not leave, but proves nothing.
    draft: Option<Id>,
    weights: WeightStream,
    news: Vec<News>,
    /// Judgements, comparisons and candidates so far: what tests count instead of time.
    #[cfg(test)]
    pub(super) work: u64,
}

impl Board {
    /// An empty board of a running ceremony. `weight_seed`: 32 bytes that peers cannot predict, for batched checks.
    pub fn new(terms: Arc<Terms>, weight_seed: &[u8; 32]) -> Self {
        Self {
            terms,
            mode: Mode::Live,
            horizon: 2,
            held: HashMap::new(),
            order: Vec::new(),
            slots: HashMap::new(),
            sessions: BTreeMap::new(),
            attempts: BTreeMap::new(),
            opened: HashMap::new(),
            waiting: BTreeMap::new(),
            queues: HashMap::new(),
            namers: HashMap::new(),
            waiting_in: HashMap::new(),
            agenda: BTreeSet::new(),
            changed: BTreeSet::new(),
            headers: HashMap::new(),
            tickets: HashSet::new(),
            positions: HashMap::new(),
            hints: HashMap::new(),
            refused: HashSet::new(),
            evidence: BTreeMap::new(),
            draft: None,
            weights: WeightStream::new(weight_seed),
            news: Vec::new(),
            #[cfg(test)]
            work: 0,
        }
    }

    /// An empty board for a bundle of entries that is complete in itself: Deals may lack their sealed part, and a Join's
    /// predecessors (votes of earlier attempts) need not be there.
    pub fn offline(terms: Arc<Terms>, weight_seed: &[u8; 32]) -> Self {
        Self {
            mode: Mode::Bundle,
            horizon: u32::MAX,
            ..Self::new(terms, weight_seed)
        }
    }

    /// An empty board for a transcript: as [`Board::offline`], but everything that entries build on must be there.
    pub fn of_transcript(terms: Arc<Terms>, weight_seed: &[u8; 32]) -> Self {
        Self {
            mode: Mode::Record,
            ..Self::offline(terms, weight_seed)
        }
    }

    /// Counts work, for tests of how it grows.
    #[cfg_attr(not(test), allow(unused_variables, clippy::unused_self))]
    fn work(&mut self, units: usize) {
        #[cfg(test)]
        {
            self.work += units as u64;
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
                (self.is_wanted(id, entry.attempt) || self.is_refused_proof(id, entry))
                    && (self.mode.is_offline() || entry.stripped.is_none())
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
            self.enqueue(id, &Arc::new(entry));
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
        let seed = self.fresh_seed();
        if evidence.check(&self.terms, &seed) {
            self.record(evidence);
        }
        std::mem::take(&mut self.news)
    }

    /// A seed for weights of their own.
    fn fresh_seed(&mut self) -> Hash {
        sha256(&[&self.weights.next(), &self.weights.next()])
    }

    fn fresh_weights(&mut self) -> WeightStream {
        WeightStream::new(&self.fresh_seed())
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

    /// Whether an entry is here and waits for something that may still come.
    pub fn is_waiting(&self, id: &Id) -> bool {
        self.waiting.contains_key(id)
    }

    /// Whether a waiting entry names that id.
    pub fn is_named(&self, id: &Id) -> bool {
        self.waiting.values().any(|entry| entry.prev.contains(id))
    }

    /// Whether this author already has an admitted entry of that step and attempt, in whatever session.
    pub fn has_spoken(&self, attempt: u32, step: Step, operator: u16) -> bool {
        let of = |session: &Hash| {
            let slot = Slot::Step(step);
            !self.slot(session, operator, slot).is_empty()
                || (step == Step::Ack && !self.slot(session, operator, Slot::Complaint).is_empty())
        };
        of(&self.terms.ctx(attempt)) || self.sessions(attempt).any(|session| of(&session))
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
        self.attempts.get(&attempt).into_iter().flatten().copied()
    }

    /// The Joins of a followed session, in operator order.
    pub fn joins(&self, session: &Hash) -> Option<&[Id]> {
        self.sessions.get(session).map(|s| s.joins.as_slice())
    }

    /// The good sets of Reveals of a session: one for each list of Deals that everybody revealed on, so at most one unless
    /// somebody dealt twice.
    pub fn good_sets(&self, session: &Hash) -> &[GoodSet] {
        self.sessions
            .get(session)
            .map_or(&[], |session| session.good.as_slice())
    }

    /// The good set of a session that gives these outputs.
    pub fn good_set(&self, session: &Hash, outputs: &Hash) -> Option<&GoodSet> {
        self.sessions.get(session)?.good_set(outputs)
    }

    /// One vote of each operator, in operator order, for these outputs; `None` until everybody has voted for them.
    pub fn votes(&self, session: &Hash, outputs: &Hash) -> Option<Vec<Id>> {
        self.sessions.get(session)?.votes.row(outputs, self.terms.n())
    }

    /// The good set that everybody voted for: the first one, if there are several.
    pub fn agreed(&self, session: &Hash) -> Option<&GoodSet> {
        self.all_agreed(session).next()
    }

    /// All good sets that everybody voted for. There is one at most, unless all honest operators were restored from backups.
    pub fn all_agreed(&self, session: &Hash) -> impl Iterator<Item = &GoodSet> {
        let session = self.sessions.get(session).into_iter();
        session.flat_map(Session::all_agreed)
    }

    /// What everybody sealed, once everybody did.
    pub fn sealed(&self, session: &Hash) -> Option<Sealed<'_>> {
        let mut sets = self.good_sets(session).iter();
        sets.find_map(|good| self.sealed_set(session, good))
    }

    /// The lock of one good set, once everybody sealed it.
    pub fn sealed_set<'a>(&'a self, session: &Hash, good: &'a GoodSet) -> Option<Sealed<'a>> {
        let combined = good.combined.as_ref()?;
        let seals = &self.sessions.get(session)?.seals;
        let row = seals.row(&combined.lock_hash, self.terms.n())?;
        let of_this = |id: &Id| match &self.held.get(id)?.data {
            Data::Seal(seal) => Some(seal.clone()),
            _ => None,
        };
        let seals: Option<Vec<Arc<SealBody>>> = row.iter().map(of_this).collect();
        Some(Sealed {
            good,
            combined,
            seals: seals?,
        })
    }

    /// Whether an operator said that its files are in place.
    pub fn is_done(&self, session: &Hash, operator: u16) -> bool {
        self.last_words(session, operator)
            .any(|data| matches!(data, Data::Plain))
    }

    /// Whether an operator ever said that its share is lost.
    pub fn was_share_lost(&self, session: &Hash, operator: u16) -> bool {
        self.word_of_loss(session, operator).is_some()
    }

    /// Whether an operator says that its share is lost, and never said that its files are in place: files that were there once may
    /// come back from a backup, and which of the two words came first is not the same for everybody.
    pub fn is_share_lost(&self, session: &Hash, operator: u16) -> bool {
        self.was_share_lost(session, operator) && !self.is_done(session, operator)
    }

    /// The entry in which an operator says that its share is lost.
    pub fn word_of_loss(&self, session: &Hash, operator: u16) -> Option<Id> {
        let said = self.slot(session, operator, Slot::Step(Step::Done)).iter();
        said.copied().find(|id| {
            self.held
                .get(id)
                .is_some_and(|said| matches!(said.data, Data::Lost))
        })
    }

    fn last_words(&self, session: &Hash, operator: u16) -> impl Iterator<Item = &Data> {
        let said = self.slot(session, operator, Slot::Step(Step::Done)).iter();
        said.filter_map(|id| self.held.get(id))
            .map(|admitted| &admitted.data)
    }

    /// The verdict of an attempt.
    pub fn verdict(&self, attempt: u32) -> BTreeSet<Finding> {
        self.evidence
            .keys()
            .filter(|(k, _)| *k == attempt)
            .map(|(_, finding)| *finding)
            .collect()
    }

    /// The findings of an attempt that close it for whoever has not voted in it.
    pub fn closing(&self, attempt: u32) -> BTreeSet<Finding> {
        let mut verdict = self.verdict(attempt);
        verdict.retain(|finding| finding.kind.closes());
        verdict
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

    /// X_{operator, dealer} of a session's Joins.
    pub fn join_key(&self, session: &Hash, operator: u16, dealer: u16) -> Option<[u8; 32]> {
        let joins = &self.sessions.get(session)?.joins;
        let id = joins.get(usize::from(operator).checked_sub(1)?)?;
        let Data::Join(body) = &self.held.get(id)?.data else {
            return None;
        };
        body.keys.get(usize::from(dealer).checked_sub(1)?).copied()
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

    /// The hash of the Deals' ids that an admitted Reveal builds on.
    fn base(&self, id: &Id) -> Option<Hash> {
        match self.held.get(id).map(|a| &a.data) {
            Some(Data::Reveal(_, deals)) => Some(*deals),
            _ => None,
        }
    }
}
