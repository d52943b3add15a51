//! One operator: its secrets, its rules, and the next thing that it has to say.
//!
//! A pure function of the entries on the board, the operator's seeds, and the words of its person. What must happen outside
//! (files, peers) comes back as [`Effect`]s, to be carried out in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rayon::prelude::*;

use conclave_crypto::bls::{SecretKey, Signature};
use conclave_crypto::commit::{self, SharePair};
use conclave_crypto::hash::{Hash, WeightStream, sha256};
use conclave_crypto::node::NodeKey;
use conclave_crypto::point::G1;
use conclave_crypto::scalar::Scalar;

use super::board::{Board, Data, GoodSet, News, Note, Sealed, Slot};
use super::body::{JoinBody, Reason, SealBody};
use super::entry::{Entry, Id, Step};
use super::evidence::{Evidence, Finding};
use super::outputs::GroupKeys;
use super::rules::Standing;
use super::secrets::{Secrets, Seed, unseal};
use super::terms::Terms;

/// A marker file, kept beside the journal so that neither alone can be lost unnoticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// Voted for the attempt.
    Voted,
    /// Signed in the attempt.
    Signed,
    /// The attempt is closed, and never was voted for.
    Dead,
}

/// Everything that a finished ceremony leaves, before it is written to files.
pub struct Finished {
    /// Attempt, from 1.
    pub attempt: u32,
    /// Group keys and public shares.
    pub keys: Arc<GroupKeys>,
    /// Group signatures: `[validator][message]`.
    pub signatures: Vec<Vec<Signature>>,
    /// The lock hash.
    pub lock_hash: Hash,
    /// Sum of all shares' signatures over the lock hash.
    pub aggregate: Signature,
    /// Node signatures over the lock hash, in operator order.
    pub node_signatures: Vec<[u8; 65]>,
}

/// The shares of this operator, to be written as keystores.
pub struct OwnShares {
    /// Attempt, from 1.
    pub attempt: u32,
    /// Secret shares by validator.
    pub shares: Vec<SecretKey>,
    /// Group keys and public shares.
    pub keys: Arc<GroupKeys>,
}

/// What must happen outside, in this order.
pub enum Effect {
    /// Make 32 bytes of the operating system's randomness durable and hand them to [`Operator::seed`].
    NeedSeed(u32),
    /// Make a marker durable.
    Mark(u32, Mark),
    /// Make what a restart could not work out from the entries durable, before the entries that follow.
    PersistNote(Note),
    /// Make an entry durable; only then show it to peers.
    Persist(Id, Arc<Entry>),
    /// Make evidence durable, then show it to the person and to peers.
    PersistEvidence(Arc<Evidence>),
    /// Write, fsync and read back all keystores, then call [`Operator::keys_stored`].
    StoreKeys(Box<OwnShares>),
    /// Open the stored keystores of this attempt, then call [`Operator::keys_opened`]: its seed is gone, the shares are not.
    OpenKeys(u32),
    /// Open whatever keystores there are of this attempt, then call [`Operator::keys_found`]: its seed is gone, and so is the record
    /// of what they were stored for, or it is not what was voted for.
    SeekKeys(u32),
    /// Make durable, again, that the keystores of this attempt are those of these outputs.
    RecordStored(u32, Hash),
    /// Publish the outputs, lock last, then call [`Operator::published`].
    Publish(Box<Finished>),
    /// The folder's secrets of this attempt are not the ones it was joined with: a lost or copied folder.
    Lost(u32),
    /// As [`Effect::Lost`], but the keystores that were voted for are here: signing, sealing and publishing go on with them.
    SeedGone(u32),
    /// All files are final: the seeds have done their work.
    DestroySeeds,
}

/// What a restart finds on disk.
#[derive(Default)]
pub struct Restored {
    /// Entries of the journal, in order.
    pub entries: Vec<Entry>,
    /// Evidence of the journal.
    pub evidence: Vec<Evidence>,
    /// Notes of the journal.
    pub notes: Vec<Note>,
    /// Seeds by attempt.
    pub seeds: BTreeMap<u32, Seed>,
    /// Markers.
    pub marks: BTreeSet<(u32, Mark)>,
    /// Voted attempts whose keystores are all there, with the `outputs` that they were stored for.
    pub stored: BTreeMap<u32, Hash>,
    /// Attempt whose outputs are published.
    pub published: Option<u32>,
}

/// A Deal, its commitments, and what it seals to this operator, if that can be read.
type Unsealed = (Id, Arc<Vec<G1>>, Option<Vec<SharePair>>);

/// What is asked of the outside once, not again each time the operator looks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Request {
    Seed,
    Store(Hash),
    Open(Hash),
    Seek,
    Publish,
}

#[derive(Default)]
struct Own {
    secrets: Option<Secrets>,
    /// Own Join on the board was not made from this folder's seed.
    foreign: bool,
    /// Everybody relies on shares that are neither here nor can be made again.
    gone: bool,
    /// What was found in keystores without a record of what they were stored for, until it is known whether it is what was voted for.
    unplaced: Option<Arc<Vec<SecretKey>>>,
    /// Such keystores were looked for, and it is known.
    sought: bool,
    opened: HashMap<Id, Result<Vec<SharePair>, ()>>,
    /// The `outputs` whose keystores are durable: what may be voted for and signed with.
    stored: Option<Hash>,
    /// The shares as read from those keystores, checked against the public ones.
    kept: Option<Arc<Vec<SecretKey>>>,
    asked: BTreeSet<Request>,
}

/// See the module's documentation.
pub struct Operator {
    terms: Arc<Terms>,
    index: u16,
    key: NodeKey,
    name: String,
    board: Board,
    standing: Standing,
    own: BTreeMap<u32, Own>,
    consent: BTreeMap<u32, Reason>,
    /// Attempts that this process joined itself: no other folder or copy of it has gone further in them unseen.
    begun: BTreeSet<u32>,
    /// The newest attempt that the journal alone showed to be over, if there is no own vote in it.
    over_before: Option<u32>,
    compared: bool,
    /// How many entries the journal brought: those after them came in this run of the process.
    restored: usize,
    /// Own entries that this run of the process made, with their attempts and steps.
    said: BTreeMap<Id, (u32, Step)>,
    published: Option<u32>,
    weight_seed: Hash,
    weight_counter: u64,
    effects: Vec<Effect>,
}

impl Operator {
    /// An operator with an empty journal. `index` from 1; `name` must satisfy [`super::body::is_name`]; `weight_seed`: 32 bytes
    /// of the operating system's randomness, for batched checks.
    pub fn new(terms: Arc<Terms>, index: u16, key: NodeKey, name: String, weight_seed: &[u8; 32]) -> Self {
        Self {
            board: Board::new(terms.clone(), weight_seed),
            terms,
            index,
            key,
            name,
            standing: Standing::default(),
            own: BTreeMap::new(),
            consent: BTreeMap::new(),
            begun: BTreeSet::new(),
            over_before: None,
            compared: false,
            restored: 0,
            said: BTreeMap::new(),
            published: None,
            weight_seed: sha256(&[b"operator", weight_seed]),
            weight_counter: 0,
            effects: Vec::new(),
        }
    }

    /// Takes up what a restart found on disk. Call once, before anything else.
    pub fn restore(&mut self, restored: Restored) -> Vec<Effect> {
        for (attempt, seed) in &restored.seeds {
            let secrets = Secrets::new(&self.terms, *attempt, seed, &self.key);
            self.own.entry(*attempt).or_default().secrets = Some(secrets);
        }
        let marks = restored.marks;
        for (attempt, mark) in &marks {
            match mark {
                Mark::Voted => self.standing.voted.insert(*attempt),
                Mark::Signed => self.standing.signed.insert(*attempt),
                Mark::Dead => self.standing.closed.insert(*attempt),
            };
        }
        for (attempt, outputs) in restored.stored {
            self.own.entry(attempt).or_default().stored = Some(outputs);
        }
        self.published = restored.published;
        let entries = restored.entries.iter().map(|e| e.attempt);
        let proven = restored.evidence.iter().map(|e| e.attempt);
        let newest = entries.chain(proven).max().unwrap_or(0);
        // Not one more: every restart would then go one further than the attempts that others only claim.
        self.board.set_horizon(newest);
        for evidence in restored.evidence {
            let news = self.board.receive_evidence(evidence);
            self.digest(news);
        }
        // All of it is durable already. What follows from the entries and is not there was cut off by a crash, and is made durable now.
        self.effects.clear();
        let news = self.board.replay(restored.entries, &restored.notes);
        self.digest(news);
        self.restored = self.board.order().len();
        self.effects
            .retain(|effect| !matches!(effect, Effect::Persist(..)));
        // Said when the Join was taken up, before the vote: with all of the journal it is known whether there are shares, or they are to be
        // looked for first.
        let effects = std::mem::take(&mut self.effects).into_iter();
        let effects = effects.filter_map(|effect| match effect {
            Effect::Lost(k) | Effect::SeedGone(k) if self.is_seeking(k) => None,
            Effect::Lost(k) if self.keeps_shares(k) => Some(Effect::SeedGone(k)),
            other => Some(other),
        });
        self.effects = effects.collect();
        let voted = self.standing.voted.iter().map(|k| (*k, Mark::Voted));
        let signed = self.standing.signed.iter().map(|k| (*k, Mark::Signed));
        let again: Vec<Effect> = voted
            .chain(signed)
            .filter(|m| !marks.contains(m))
            .map(|(k, mark)| Effect::Mark(k, mark))
            .collect();
        self.effects.extend(again);
        let over = self.current_attempt() - 1;
        self.over_before = Some(over).filter(|k| !self.standing.voted.contains(k));
        self.seek_keys();
        std::mem::take(&mut self.effects)
    }

    /// The board.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The board, for tests that set the stage.
    #[cfg(test)]
    pub(crate) fn board_mut(&mut self) -> &mut Board {
        &mut self.board
    }

    /// Own index, from 1.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// What this operator has said so far.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The current attempt: the lowest one that is not closed.
    pub fn current_attempt(&self) -> u32 {
        self.standing.current(|k| !self.board.closing(k).is_empty())
    }

    /// Whether an attempt was joined with secrets that this folder no longer has, and it has no shares of it either.
    pub fn is_lost(&self, attempt: u32) -> bool {
        self.is_foreign(attempt) && !self.keeps_shares(attempt) && !self.is_seeking(attempt)
    }

    /// As [`Operator::is_lost`], and what this operator said itself was compared with the others': what it voted for, without which
    /// nobody knows whether keystores hold it, may be with them only, its marker lost like the journal.
    pub fn is_surely_lost(&self, attempt: u32) -> bool {
        self.compared && self.is_lost(attempt)
    }

    /// Whether this operator has certainly voted for nothing, up to this attempt: this process joined all of them itself. A folder that was
    /// joined with before may be an old copy, however intact.
    pub fn has_surely_not_voted(&self, attempt: u32) -> bool {
        self.standing.voted.is_empty() && (1..=attempt).all(|k| self.begun.contains(&k))
    }

    /// Whether an attempt may be taken for over without an own vote in it. `whole`: the journal was intact. What others show of it may be news to
    /// an old copy only, so that inventories have to be compared first; where the own journal showed it, nothing was voted for since.
    pub fn is_surely_over(&self, attempt: u32, whole: bool) -> bool {
        let by_itself = whole && self.standing.joined.contains(&attempt) && self.over_before == Some(attempt);
        attempt < self.current_attempt() && (by_itself || self.compared)
    }

    /// Whether the seed that an attempt was joined with is not here.
    fn is_foreign(&self, attempt: u32) -> bool {
        self.own.get(&attempt).is_some_and(|own| own.foreign)
    }

    /// Whether the keystores that this operator voted for in an attempt are here: all that signing needs.
    fn keeps_shares(&self, attempt: u32) -> bool {
        let Some(stored) = self.own.get(&attempt).and_then(|own| own.stored) else {
            return false;
        };
        let votes = self.own_votes(attempt);
        // The marker alone may be here so far; peers give the vote back.
        self.standing.voted.contains(&attempt) && (votes.is_empty() || votes.contains(&stored))
    }

    /// Whether the keystores of exactly these keys are durable here.
    fn has_stored(&self, attempt: u32, outputs: &Hash) -> bool {
        self.own.get(&attempt).and_then(|own| own.stored) == Some(*outputs)
    }

    /// Attempt whose outputs are published here.
    pub fn published_attempt(&self) -> Option<u32> {
        self.published
    }

    /// Whether an attempt is over for this operator, and it never voted for it: nothing can be signed in it with its help. Only
    /// what could still change that, or show who is to blame, is worth having.
    pub fn is_done_with(&self, attempt: u32) -> bool {
        attempt < self.current_attempt() && !self.standing.voted.contains(&attempt)
    }

    /// Whether an entry should be asked for, going by what a peer says it is. Of attempts that are over without an own vote: votes,
    /// what votes and other entries name, own entries, and what may be a second version of something that is here.
    pub fn wants(&self, id: &Id, attempt: u32, step: Step, author: u16) -> bool {
        self.board.is_wanted(id, attempt)
            && (!self.is_done_with(attempt)
                || step == Step::Stored
                || author == self.index
                || self.board.has_spoken(attempt, step, author)
                || self.board.is_named(id))
    }

    /// Other operators (from 1) who say that their share of what everybody voted for is lost, and whether their Seal is here: without
    /// it nobody can finish. With the attempt.
    pub fn lost_shares(&self) -> Option<(u32, BTreeMap<u16, bool>)> {
        let (k, sid, _) = self.finishing()?;
        let says = |j: &u16| *j != self.index && self.board.is_share_lost(&sid, *j);
        let lost = self.terms.indices().filter(says);
        let lost: BTreeMap<u16, bool> = lost.map(|j| (j, self.has_sealed(&sid, j))).collect();
        (!lost.is_empty()).then_some((k, lost))
    }

    /// The attempt in which everybody relies on shares of this operator that are neither here nor can be made again, and whether
    /// its Seal is here. Nothing is said of it before [`Operator::say_share_is_lost`].
    pub fn own_lost_share(&self) -> Option<(u32, bool)> {
        let (k, sid, _) = self.finishing()?;
        let gone = self.own.get(&k).is_some_and(|own| own.gone);
        gone.then(|| (k, self.has_sealed(&sid, self.index)))
    }

    /// The attempt of which this operator, or somebody with its key, has told everybody that the own share is lost, though it is here.
    pub fn own_share_was_found(&self) -> Option<u32> {
        let (k, sid, _) = self.finishing()?;
        let found =
            self.compared && self.own_lost_share().is_none() && self.board.is_share_lost(&sid, self.index);
        found.then_some(k)
    }

    /// Other operators who say that their share is lost and that their files are in place: one of the two was so once. With the attempt.
    pub fn unsure_shares(&self) -> Option<(u32, BTreeSet<u16>)> {
        let (k, sid, _) = self.finishing()?;
        let both =
            |j: &u16| *j != self.index && self.board.was_share_lost(&sid, *j) && self.board.is_done(&sid, *j);
        Some((k, self.terms.indices().filter(both).collect()))
    }

    /// The attempts and steps of own entries that others brought in this run of the process: neither the journal had them nor were they made
    /// here. Each says that the ceremony went on in another folder with this operator's key, of which this one is an older copy. The word that the
    /// share is lost says nothing of that: whoever gave it had no share to go on with.
    pub fn adopted(&self) -> impl Iterator<Item = (u32, Step)> + '_ {
        let since = self.board.order().iter().skip(self.restored);
        since
            .filter(|id| !self.said.contains_key(*id))
            .filter_map(|id| self.board.get(id))
            .filter(|admitted| admitted.entry.operator == self.index && !matches!(admitted.data, Data::Lost))
            .map(|admitted| (admitted.entry.attempt, admitted.entry.step))
    }

    /// Whether others brought own entries of an attempt that nobody makes before all votes are there: in that other folder its files may be in
    /// place, and its shares at work.
    pub fn went_on_elsewhere(&self, attempt: u32) -> bool {
        self.adopted()
            .any(|(its, step)| its == attempt && step >= Step::Sign)
    }

    /// Whether this run of the process made the own entry of a step in an attempt.
    pub fn has_said(&self, attempt: u32, step: Step) -> bool {
        self.said.values().any(|said| *said == (attempt, step))
    }

    /// Whether another operator's word that its share is lost came since this process was started: what a journal holds may be over.
    pub fn heard_of_loss(&self, operator: u16) -> bool {
        let word = self
            .finishing()
            .and_then(|(_, sid, _)| self.board.word_of_loss(&sid, operator));
        word.is_some_and(|id| {
            self.board
                .order()
                .iter()
                .skip(self.restored)
                .any(|other| *other == id)
        })
    }

    /// Whether an operator has signed or sealed after its word that its share is lost, in the order in which that came here: then it may
    /// have got its folder back.
    pub fn has_signed_since_loss(&self, operator: u16) -> bool {
        let Some((_, sid, _)) = self.finishing() else {
            return false;
        };
        let Some(word) = self.board.word_of_loss(&sid, operator) else {
            return false;
        };
        let mut since = self.board.order().iter().rev().take_while(|id| **id != word);
        let signed = [Step::Sign, Step::Seal].map(|step| self.board.slot(&sid, operator, Slot::Step(step)));
        since.any(|id| signed.iter().any(|slot| slot.contains(id)))
    }

    /// Whether everybody has voted for what this operator's newest vote is for: there is nothing but that to do any more.
    pub fn is_finishing(&self) -> bool {
        self.finishing().is_some()
    }

    /// Whether it was told to everybody that the own share of what everybody voted for is lost.
    pub fn has_told_loss(&self) -> bool {
        self.finishing()
            .is_some_and(|(_, sid, _)| self.board.was_share_lost(&sid, self.index))
    }

    /// Whether it was told to everybody that the own files of what everybody voted for are in place. What is lost then is the result: a backup
    /// has it, and the others need nothing more of this operator.
    pub fn has_told_end(&self) -> bool {
        self.finishing()
            .is_some_and(|(_, sid, _)| self.board.is_done(&sid, self.index))
    }

    /// Tells everybody that the own share of what everybody voted for is lost. That may end the ceremony of the others: only for whoever
    /// knows that no other process has the identity, and the share. Nothing is said after [`Operator::has_told_end`].
    pub fn say_share_is_lost(&mut self) -> Vec<Effect> {
        if let (Some((k, _)), Some((_, sid, _))) = (self.own_lost_share(), self.finishing())
            && !self.has_told_loss()
            && !self.has_told_end()
        {
            let body = super::body::share_is_lost(&sid);
            self.say(sid, k, Step::Done, Vec::new(), body.to_vec());
        }
        self.advance()
    }

    fn has_sealed(&self, sid: &Hash, operator: u16) -> bool {
        !self.board.slot(sid, operator, Slot::Step(Step::Seal)).is_empty()
    }

    /// The session in which this operator takes part in an attempt: that of its own Deal.
    pub fn session(&self, attempt: u32) -> Option<Hash> {
        self.board
            .sessions(attempt)
            .find(|sid| !self.own_slot(sid, Slot::Step(Step::Deal)).is_empty())
    }

    /// V7: the voted attempt whose outputs these are and whose keystores are here. A verified lock with these keys may be
    /// published with them, whatever entries are missing.
    pub fn can_publish(&self, keys: &GroupKeys) -> Option<u32> {
        let voted = self.standing.voted.iter().rev().copied();
        voted.into_iter().find(|k| self.has_stored(*k, keys.hash()))
    }

    /// The person's word (or a rule that speaks for it) to join an attempt; closes all attempts before it.
    pub fn consent(&mut self, attempt: u32, reason: Reason) -> Vec<Effect> {
        self.consent.insert(attempt, reason);
        for k in 1..attempt {
            if self.standing.closed.insert(k) && !self.standing.voted.contains(&k) {
                self.effects.push(Effect::Mark(k, Mark::Dead));
            }
        }
        self.board.set_horizon(attempt.saturating_add(1));
        self.advance()
    }

    /// Whether inventories have been compared with at least one peer since the start.
    pub fn has_compared(&self) -> bool {
        self.compared
    }

    /// Inventories have been compared with at least one peer: from now on it may say something new.
    pub fn compared(&mut self) -> Vec<Effect> {
        self.compared = true;
        self.advance()
    }

    /// Entries from a peer.
    pub fn receive(&mut self, entries: Vec<Entry>) -> Vec<Effect> {
        // Own entries show how far this operator has been, whatever its folder still knows.
        let own = entries
            .iter()
            .filter(|e| e.operator == self.index && e.attempt > self.board.horizon());
        let furthest = own
            .filter(|e| self.key.public().verify(&e.id(&self.terms), &e.signature))
            .map(|e| e.attempt)
            .max();
        self.board.set_horizon(furthest.unwrap_or(0));
        let news = self.board.receive(entries);
        self.digest(news);
        self.advance()
    }

    /// Evidence from a peer.
    pub fn receive_evidence(&mut self, evidence: Evidence) -> Vec<Effect> {
        let news = self.board.receive_evidence(evidence);
        self.digest(news);
        self.advance()
    }

    /// The seed of an attempt is durable.
    pub fn seed(&mut self, attempt: u32, seed: &Seed) -> Vec<Effect> {
        let secrets = Secrets::new(&self.terms, attempt, seed, &self.key);
        self.own.entry(attempt).or_default().secrets = Some(secrets);
        self.advance()
    }

    /// All keystores of an attempt are durable and were read back; `outputs` is the hash of the keys they were stored for.
    pub fn keys_stored(&mut self, attempt: u32, outputs: &Hash) -> Vec<Effect> {
        self.own.entry(attempt).or_default().stored = Some(*outputs);
        self.advance()
    }

    /// The shares in the stored keystores of an attempt, in the order of validators. If they are not those that the public
    /// shares promise, the attempt is lost here.
    pub fn keys_opened(&mut self, attempt: u32, shares: Vec<SecretKey>) -> Vec<Effect> {
        let stored = self.own.get(&attempt).and_then(|own| own.stored);
        let fits = self
            .board
            .sessions(attempt)
            .filter_map(|sid| self.board.good_set(&sid, &stored?))
            .any(|good| self.are_own(&shares, &good.keys));
        let own = self.own.entry(attempt).or_default();
        if fits {
            own.kept = Some(Arc::new(shares));
        } else {
            own.stored = None;
            self.effects.push(Effect::Lost(attempt));
        }
        self.advance()
    }

    /// The shares in whatever keystores there are of an attempt that was voted for; `None` if there are none. The keystores are the truth: if
    /// they hold what the vote promises, the record of it is made again.
    pub fn keys_found(&mut self, attempt: u32, shares: Option<Vec<SecretKey>>) -> Vec<Effect> {
        let own = self.own.entry(attempt).or_default();
        own.unplaced = shares.map(Arc::new);
        if own.unplaced.is_none() {
            own.sought = true;
            self.effects.push(Effect::Lost(attempt));
        }
        self.advance()
    }

    /// Has keystores looked for that no record, or a wrong one, tells of: those of the newest vote.
    fn seek_keys(&mut self) {
        let Some(k) = self.standing.newest_vote().filter(|k| self.is_seeking(*k)) else {
            return;
        };
        let votes = self.own_votes(k);
        if (self.compared || !votes.is_empty()) && self.ask_once(k, Request::Seek) {
            self.effects.push(Effect::SeekKeys(k));
        }
        // What they must hold is known with the own vote.
        let Some(shares) = self.own.get(&k).and_then(|own| own.unplaced.clone()) else {
            return;
        };
        if votes.is_empty() {
            return;
        }
        let sets: Vec<&GoodSet> = self
            .board
            .sessions(k)
            .flat_map(|sid| self.board.good_sets(&sid))
            .filter(|good| votes.contains(good.outputs()))
            .collect();
        let fits = sets.into_iter().find(|good| self.are_own(&shares, &good.keys));
        let outputs = fits.map(|good| *good.outputs());
        let own = self.own.entry(k).or_default();
        (own.unplaced, own.sought) = (None, true);
        self.effects.extend(match outputs {
            Some(outputs) => {
                (own.stored, own.kept) = (Some(outputs), Some(shares));
                vec![Effect::RecordStored(k, outputs), Effect::SeedGone(k)]
            }
            None => vec![Effect::Lost(k)],
        });
    }

    /// What this operator voted for in an attempt, as far as its votes are on the board.
    fn own_votes(&self, k: u32) -> Vec<Hash> {
        let sessions = self.board.sessions(k);
        sessions
            .flat_map(|sid| self.own_slot(&sid, Slot::Step(Step::Stored)))
            .filter_map(|id| match self.board.get(id)?.data {
                Data::Stored(outputs) => Some(outputs),
                _ => None,
            })
            .collect()
    }

    /// Whether the shares that were voted for may be in keystores of which no record tells, or one that tells of something else than what
    /// was voted for: that it can be read does not make it right.
    fn is_seeking(&self, k: u32) -> bool {
        let own = self.own.get(&k);
        let without_seed = own.is_none_or(|own| own.foreign || own.secrets.is_none());
        let stored = own.and_then(|own| own.stored);
        let is_right = |stored: Hash| {
            let votes = self.own_votes(k);
            // The marker alone may be here so far; peers give the vote back.
            votes.is_empty() || votes.contains(&stored)
        };
        self.published.is_none()
            && self.standing.voted.contains(&k)
            && without_seed
            && own.is_none_or(|own| !own.sought)
            && !stored.is_some_and(is_right)
    }

    /// The attempts that were voted for and whose keystores may hold the shares of these keys, though no record says so: the newest first.
    /// Their shares go to [`Operator::keys_fit`].
    pub fn may_hold(&self, keys: &GroupKeys) -> Vec<u32> {
        let voted = self.standing.voted.iter().rev().copied();
        voted.filter(|k| !self.has_stored(*k, keys.hash())).collect()
    }

    /// Whether these are this operator's shares of these keys. If so they are what is stored for the attempt.
    pub fn keys_fit(&mut self, attempt: u32, shares: &[SecretKey], keys: &GroupKeys) -> bool {
        let fit = self.are_own(shares, keys);
        if fit {
            self.own.entry(attempt).or_default().stored = Some(*keys.hash());
        }
        fit
    }

    /// Whether these are this operator's shares of all validators.
    fn are_own(&self, shares: &[SecretKey], keys: &GroupKeys) -> bool {
        let position = usize::from(self.index) - 1;
        shares.len() == keys.validators().len()
            && shares
                .par_iter()
                .zip(keys.validators())
                .all(|(share, validator)| validator.shares.get(position) == Some(&share.public_key()))
    }

    /// This operator's shares of these keys in an attempt, made once more: only while the secrets that it was joined with are here, and what the
    /// others dealt to it.
    pub fn shares_again(&mut self, attempt: u32, keys: &GroupKeys) -> Option<OwnShares> {
        let sessions: Vec<Hash> = self.board.sessions(attempt).collect();
        sessions.iter().find_map(|sid| {
            let shares = self.shares(attempt, sid, keys.hash())?;
            let keys = self.board.good_set(sid, keys.hash())?.keys.clone();
            Some(OwnShares {
                attempt,
                shares,
                keys,
            })
        })
    }

    /// All outputs are in place and were read back. Nothing that may still be said needs a seed.
    pub fn published(&mut self, attempt: u32) -> Vec<Effect> {
        self.published = Some(attempt);
        for own in self.own.values_mut() {
            own.secrets = None;
            (own.kept, own.unplaced) = (None, None);
            own.opened.clear();
        }
        self.effects.push(Effect::DestroySeeds);
        self.advance()
    }

    fn own_slot(&self, session: &Hash, slot: Slot) -> &[Id] {
        self.board.slot(session, self.index, slot)
    }

    fn ask_once(&mut self, attempt: u32, what: Request) -> bool {
        self.own.entry(attempt).or_default().asked.insert(what)
    }

    fn weights(&mut self) -> Hash {
        self.weight_counter += 1;
        sha256(&[&self.weight_seed, &self.weight_counter.to_be_bytes()])
    }

    /// Turns what the board learned into effects, and keeps the standing in step with own entries, adopted ones included.
    fn digest(&mut self, news: Vec<News>) {
        for item in news {
            match item {
                News::Noted(note) => self.effects.push(Effect::PersistNote(note)),
                News::Found(attempt, finding) => self.digest_finding(attempt, finding),
                News::Admitted(id) => {
                    let Some(entry) = self.board.get(&id).map(|a| a.entry.clone()) else {
                        continue;
                    };
                    if entry.operator == self.index {
                        self.note_own(&entry);
                    }
                    self.effects.push(Effect::Persist(id, entry));
                }
            }
        }
    }

    fn digest_finding(&mut self, attempt: u32, finding: Finding) {
        let Some(evidence) = self.board.evidence(attempt, finding).cloned() else {
            return;
        };
        // What is wrong after the vote is shown with everybody's votes: a folder that has lost its own finds it there, and then the
        // finding stops nothing (V5). Only what the evidence itself shows to hold counts: a liar can lay any entry beside it that this key
        // ever signed, under another definition too.
        let own = self.index;
        let is_vote =
            |entry: &&Arc<Entry>| entry.operator == own && matches!(entry.step, Step::Stored | Step::Sign);
        if evidence.entries.iter().any(|entry| is_vote(&entry)) {
            let weights = self.weights();
            let admitted = evidence.admitted(&self.terms, &weights);
            for vote in admitted.iter().filter(is_vote) {
                self.note_own(vote);
            }
        }
        self.effects.push(Effect::PersistEvidence(evidence));
    }

    fn note_own(&mut self, entry: &Entry) {
        let k = entry.attempt;
        match entry.step {
            Step::Join => {
                self.standing.joined.insert(k);
                self.board.set_horizon(k.saturating_add(1));
                self.check_own_join(entry);
            }
            Step::Ack if entry.is_complaint() => {
                self.standing.complained.insert(k);
            }
            Step::Ack => {
                self.standing.acked.insert(k);
            }
            Step::Stored => {
                if self.standing.voted.insert(k) {
                    self.effects.push(Effect::Mark(k, Mark::Voted));
                }
            }
            Step::Sign => {
                if self.standing.signed.insert(k) {
                    self.effects.push(Effect::Mark(k, Mark::Signed));
                }
            }
            Step::Deal | Step::Reveal | Step::Seal | Step::Done => {}
        }
    }

    /// Is an own Join on the board one that this folder can go on from?
    fn check_own_join(&mut self, entry: &Entry) {
        let Some(body) = JoinBody::decode(&self.terms, &entry.body) else {
            return;
        };
        let terms = self.terms.clone();
        let own = self.own.entry(entry.attempt).or_default();
        let mine = own
            .secrets
            .as_ref()
            .is_some_and(|secrets| secrets.seal_publics(&terms) == body.keys);
        // A seed that is gone after the end is no loss.
        if !mine && !own.foreign && self.published.is_none() {
            own.foreign = true;
            let k = entry.attempt;
            if self.keeps_shares(k) {
                self.effects.push(Effect::SeedGone(k));
            } else if !self.is_seeking(k) {
                self.effects.push(Effect::Lost(k));
            }
        }
    }

    /// Says everything that there is to say now.
    fn advance(&mut self) -> Vec<Effect> {
        self.seek_keys();
        if !self.compared {
            self.ask_to_publish_again();
        }
        while self.compared && self.act().is_some() {}
        std::mem::take(&mut self.effects)
    }

    /// Results that were in place before, and were lost, need nobody: nothing is said that was not said before. For every start, once what
    /// was handed over as a file is in its place.
    pub fn publish_again(&mut self) -> Vec<Effect> {
        self.ask_to_publish_again();
        std::mem::take(&mut self.effects)
    }

    fn ask_to_publish_again(&mut self) {
        if let Some((k, sid, outputs)) = self.complete()
            && self.board.is_done(&sid, self.index)
        {
            self.publish(k, &sid, &outputs);
        }
    }

    /// The attempt whose lock can be made of what is here, with what V2 binds this operator to in it.
    fn complete(&self) -> Option<(u32, Hash, Hash)> {
        if self.published.is_some() {
            return None;
        }
        let (k, sid, outputs) = self.finishing()?;
        let good = self.board.good_set(&sid, &outputs)?;
        let is_sealed = self.board.sealed_set(&sid, good).is_some();
        (is_sealed && self.has_stored(k, &outputs)).then_some((k, sid, outputs))
    }

    /// Whether everybody's Seals and the own keystores are here: what is left to be done needs nobody else.
    pub fn is_complete(&self) -> bool {
        self.complete().is_some()
    }

    /// Publishes what is complete here before anything was compared with anybody. Nothing is said by it, so that it is safe in an old copy
    /// of a folder, too; but an empty record of what the shares have signed that is published with it may be of such a copy.
    pub fn publish_alone(&mut self) -> Vec<Effect> {
        if let Some((k, sid, outputs)) = self.complete() {
            self.publish(k, &sid, &outputs);
        }
        std::mem::take(&mut self.effects)
    }

    /// One action, the most urgent one; `None` if there is nothing to do.
    fn act(&mut self) -> Option<()> {
        // V2: with everybody's votes in hand there is nothing else to do, even while the Sign itself has to wait.
        let finishing = self.finishing();
        match finishing {
            Some((k, sid, outputs)) => self.finish(k, &sid, &outputs),
            None => self.progress(),
        }
    }

    /// Signs and puts up an own entry.
    fn say(&mut self, session: Hash, attempt: u32, step: Step, prev: Vec<Id>, body: Vec<u8>) -> Option<()> {
        let entry = Entry::signed(
            &self.key,
            &self.terms,
            (session, attempt, self.index),
            step,
            prev,
            body,
        );
        let id = entry.id(&self.terms);
        self.said.insert(id, (attempt, step));
        // The marker must be durable before the entry is.
        match step {
            Step::Join => {
                self.begun.insert(attempt);
            }
            Step::Stored if self.standing.voted.insert(attempt) => {
                self.effects.push(Effect::Mark(attempt, Mark::Voted));
            }
            Step::Sign if self.standing.signed.insert(attempt) => {
                self.effects.push(Effect::Mark(attempt, Mark::Signed));
            }
            _ => {}
        }
        let news = self.board.receive_own(entry);
        self.digest(news);
        self.board.get(&id).map(|_| ())
    }

    // --- from the votes on: V2 comes before anything else ---

    /// The attempt and session that V2 binds this operator to, and the outputs that everybody voted for.
    fn finishing(&self) -> Option<(u32, Hash, Hash)> {
        let k = self.standing.newest_vote()?;
        self.board.sessions(k).find_map(|sid| {
            let outputs = self.bound_to(k, &sid);
            self.standing
                .must_sign(k, outputs.is_some())
                .then_some((k, sid, outputs?))
        })
    }

    /// Of what everybody voted for in a session: what this operator has signed, or else what it has stored. There is one such thing,
    /// unless a dealer dealt twice and all honest operators were restored from backups.
    fn bound_to(&self, k: u32, sid: &Hash) -> Option<Hash> {
        let agreed: Vec<Hash> = self.board.all_agreed(sid).map(|good| *good.outputs()).collect();
        let signed = self.own_slot(sid, Slot::Step(Step::Sign)).iter();
        let signed = signed.filter_map(|id| match self.board.get(id)?.data {
            Data::Sign(outputs, _) => Some(outputs),
            _ => None,
        });
        let stored = agreed
            .iter()
            .copied()
            .filter(|outputs| self.has_stored(k, outputs));
        signed
            .filter(|outputs| agreed.contains(outputs))
            .chain(stored)
            .chain(agreed.first().copied())
            .next()
    }

    fn finish(&mut self, k: u32, sid: &Hash, outputs: &Hash) -> Option<()> {
        let gone = self.is_share_gone(k, sid, outputs);
        self.own.entry(k).or_default().gone = gone;
        if gone {
            // Nothing can be said without the share. That it is lost is not said here: another process may have it.
            return None;
        }
        if self.own_slot(sid, Slot::Step(Step::Sign)).is_empty() {
            return self.sign(k, sid, outputs);
        }
        if self.own_slot(sid, Slot::Step(Step::Seal)).is_empty() {
            return self.seal(k, sid, outputs);
        }
        if self.published.is_none() {
            if !self.has_stored(k, outputs) {
                // Everything was adopted from peers, and no keystore is here: nothing to publish without the shares.
                return self.store(k, sid, outputs);
            }
            return self.publish(k, sid, outputs);
        }
        if !self.board.is_done(sid, self.index) {
            let good = self.board.good_set(sid, outputs)?;
            let lock_hash = good.combined.as_ref()?.lock_hash;
            self.say(*sid, k, Step::Done, Vec::new(), lock_hash.to_vec())?;
        }
        None
    }

    /// Whether everybody relies on shares of this operator that are not here and cannot be made again: no keystores, and no seed that
    /// opens what was dealt to it.
    fn is_share_gone(&mut self, k: u32, sid: &Hash, outputs: &Hash) -> bool {
        let has_seed = self.own.get(&k).is_some_and(|own| own.secrets.is_some());
        self.published.is_none()
            && !self.has_stored(k, outputs)
            && !self.is_seeking(k)
            && (self.is_foreign(k) || !has_seed)
            && self.shares(k, sid, outputs).is_none()
    }

    fn sign(&mut self, k: u32, sid: &Hash, outputs: &Hash) -> Option<()> {
        if !self.has_stored(k, outputs) {
            // A folder restored from before the vote: the vote says "durable", so make it true again first.
            return self.store(k, sid, outputs);
        }
        let votes = self.board.votes(sid, outputs)?;
        let shares = self.stored_shares(k, sid, outputs)?;
        let messages = self.board.good_set(sid, outputs)?.messages();
        let of_one = self.terms.product().messages().max(1);
        let signatures: Vec<[u8; 96]> = shares
            .par_iter()
            .zip(messages.par_chunks(of_one))
            .flat_map_iter(|(share, own)| own.iter().map(|message| share.sign_hashed(message).to_bytes()))
            .collect();
        self.say(*sid, k, Step::Sign, votes, signatures.concat())
    }

    fn seal(&mut self, k: u32, sid: &Hash, outputs: &Hash) -> Option<()> {
        let good = self.board.good_set(sid, outputs)?;
        let lock_hash = good.combined.as_ref()?.lock_hash;
        if !self.has_stored(k, outputs) {
            // The Sign was adopted from peers.
            return self.store(k, sid, outputs);
        }
        let shares = self.stored_shares(k, sid, outputs)?;
        // The sum of all own signatures over one message is the signature of the sum of all own shares.
        let sum = shares
            .iter()
            .filter_map(|share| Scalar::from_be_bytes(&share.to_bytes()))
            .fold(Scalar::from_u64(0), |sum, share| &sum + &share);
        let body = SealBody {
            lock_hash,
            node_signature: self.key.sign_recoverable(&lock_hash),
            aggregate: SecretKey::from_scalar(&sum)?.sign(&lock_hash),
        };
        self.say(*sid, k, Step::Seal, Vec::new(), body.encode())
    }

    fn publish(&mut self, k: u32, sid: &Hash, outputs: &Hash) -> Option<()> {
        let Sealed {
            good,
            combined,
            seals,
        } = self.board.sealed_set(sid, self.board.good_set(sid, outputs)?)?;
        let sums: Vec<Signature> = seals.iter().map(|seal| seal.aggregate.clone()).collect();
        let finished = Finished {
            attempt: k,
            keys: good.keys.clone(),
            signatures: combined.signatures.clone(),
            lock_hash: combined.lock_hash,
            aggregate: Signature::aggregate(&sums)?,
            node_signatures: seals.iter().map(|seal| seal.node_signature).collect(),
        };
        if self.ask_once(k, Request::Publish) {
            self.effects.push(Effect::Publish(Box::new(finished)));
        }
        None
    }

    // --- up to the vote ---

    fn progress(&mut self) -> Option<()> {
        // With a lock in place (V7) there is nothing left to begin.
        if self.published.is_some() {
            return None;
        }
        let k = self.current_attempt();
        if !self.standing.joined.contains(&k) {
            return self.join(k);
        }
        if self.is_foreign(k) || !self.standing.may_contribute(k, k) {
            return None;
        }
        let Some(sid) = self.session(k) else {
            return self.deal(k);
        };
        self.open_shares(k, &sid);
        if self.standing.may_ack(k, k) {
            return self.complain(k, &sid).or_else(|| self.ack(k, &sid));
        }
        if self.own_slot(&sid, Slot::Step(Step::Reveal)).is_empty() {
            return self.reveal(k, &sid);
        }
        if self.own_slot(&sid, Slot::Step(Step::Stored)).is_empty() && self.standing.may_vote(k, k) {
            return self.vote(k, &sid);
        }
        None
    }

    fn join(&mut self, k: u32) -> Option<()> {
        let reason = *self.consent.get(&k)?;
        if !self.standing.may_join(k, k) {
            return None;
        }
        if self.own.entry(k).or_default().secrets.is_none() {
            if self.ask_once(k, Request::Seed) {
                self.effects.push(Effect::NeedSeed(k));
            }
            return None;
        }
        let keys = self.own.get(&k)?.secrets.as_ref()?.seal_publics(&self.terms);
        let body = JoinBody {
            name: self.name.clone(),
            keys,
            reason,
        };
        self.say(
            self.terms.ctx(k),
            k,
            Step::Join,
            self.votes_for_join(k),
            body.encode(),
        )
    }

    /// Own newest vote first, then everybody's vote for the attempt before.
    fn votes_for_join(&self, k: u32) -> Vec<Id> {
        let votes = |attempt: u32, operator: u16| {
            self.board.sessions(attempt).find_map(|sid| {
                self.board
                    .slot(&sid, operator, Slot::Step(Step::Stored))
                    .first()
                    .copied()
            })
        };
        let own = (1..k).rev().find_map(|attempt| votes(attempt, self.index));
        let others = self
            .terms
            .indices()
            .filter(|j| *j != self.index)
            .filter_map(|j| votes(k - 1, j));
        own.into_iter().chain(others).collect()
    }

    fn deal(&mut self, k: u32) -> Option<()> {
        let joins = self
            .board
            .exactly_one_of_each(&self.terms.ctx(k), Slot::Step(Step::Join))?;
        let sid = self.terms.sid(k, &joins);
        let recipients: Option<Vec<[u8; 32]>> = joins
            .iter()
            .map(|id| match &self.board.get(id)?.data {
                Data::Join(body) => body.keys.get(usize::from(self.index) - 1).copied(),
                _ => None,
            })
            .collect();
        let body = self
            .own
            .get(&k)?
            .secrets
            .as_ref()?
            .deal(&self.terms, &sid, self.index, &recipients?)?;
        self.say(sid, k, Step::Deal, joins, body)
    }

    /// Opens and checks what the Deals of the own session seal to this operator, each once.
    fn open_shares(&mut self, k: u32, sid: &Hash) {
        let seed = self.weights();
        let Some(own) = self.own.get(&k) else { return };
        let Some(secrets) = own.secrets.as_ref() else {
            return;
        };
        let fresh: Vec<Id> = self
            .terms
            .indices()
            .flat_map(|d| self.board.slot(sid, d, Slot::Step(Step::Deal)))
            .filter(|id| !own.opened.contains_key(*id))
            .copied()
            .collect();
        let unsealed: Vec<Unsealed> = fresh
            .par_iter()
            .filter_map(|id| {
                let admitted = self.board.get(id)?;
                let Data::Deal(commitments) = &admitted.data else {
                    return None;
                };
                let secret = secrets.seal_secret(&self.terms, admitted.entry.operator)?;
                let pairs = unseal(&self.terms, &admitted.entry, self.index, secret);
                Some((*id, commitments.clone(), pairs))
            })
            .collect();
        let readable: Vec<(&[G1], &[SharePair])> = unsealed
            .iter()
            .filter_map(|(_, commitments, pairs)| Some((commitments.as_slice(), pairs.as_deref()?)))
            .collect();
        let x = u64::from(self.index);
        let mut verdicts =
            commit::check_dealers(&readable, self.terms.t(), x, &mut WeightStream::new(&seed)).into_iter();
        let opened: Vec<(Id, Result<Vec<SharePair>, ()>)> = unsealed
            .into_iter()
            .map(|(id, _, pairs)| {
                let good = pairs.filter(|_| verdicts.next().is_some_and(|verdict| verdict.is_ok()));
                (id, good.ok_or(()))
            })
            .collect();
        self.own.entry(k).or_default().opened.extend(opened);
    }

    fn complain(&mut self, k: u32, sid: &Hash) -> Option<()> {
        if !self.standing.may_complain(k, k) {
            return None;
        }
        let own = self.own.get(&k)?;
        let bad = self
            .terms
            .indices()
            .flat_map(|d| self.board.slot(sid, d, Slot::Step(Step::Deal)))
            .find(|id| matches!(own.opened.get(*id), Some(Err(()))))
            .copied()?;
        let dealer = self.board.get(&bad)?.entry.operator;
        let key = own.secrets.as_ref()?.seal_secret(&self.terms, dealer)?.to_bytes();
        self.say(*sid, k, Step::Ack, vec![bad], key.to_vec())
    }

    fn ack(&mut self, k: u32, sid: &Hash) -> Option<()> {
        let deals = self.board.exactly_one_of_each(sid, Slot::Step(Step::Deal))?;
        let own = self.own.get(&k)?;
        if !deals.iter().all(|id| matches!(own.opened.get(id), Some(Ok(_)))) {
            return None;
        }
        self.say(*sid, k, Step::Ack, deals, Vec::new())
    }

    fn reveal(&mut self, k: u32, sid: &Hash) -> Option<()> {
        let acks = self.board.exactly_one_of_each(sid, Slot::Step(Step::Ack))?;
        let deals = self.board.get(acks.first()?)?.entry.prev.clone();
        if acks
            .iter()
            .any(|id| self.board.get(id).is_none_or(|ack| ack.entry.prev != deals))
        {
            return None;
        }
        let deal = deals.get(usize::from(self.index) - 1)?;
        let Data::Deal(pedersen) = &self.board.get(deal)?.data else {
            return None;
        };
        let secrets = self.own.get(&k)?.secrets.as_ref()?;
        let prev_hash = super::entry::hash_ids(&acks);
        let body = secrets.reveal(&self.terms, sid, self.index, deal, &prev_hash, pedersen);
        self.say(*sid, k, Step::Reveal, acks, body)
    }

    fn vote(&mut self, k: u32, sid: &Hash) -> Option<()> {
        let sets = self.board.good_sets(sid);
        let stored = sets.iter().find(|good| self.has_stored(k, good.outputs()));
        if let Some(good) = stored {
            let (outputs, reveals) = (*good.outputs(), good.reveals.clone());
            return self.say(*sid, k, Step::Stored, reveals, outputs.to_vec());
        }
        let outputs: Vec<Hash> = sets.iter().map(|good| *good.outputs()).collect();
        outputs.iter().find_map(|outputs| self.store(k, sid, outputs))
    }

    /// Has the keystores of own shares written.
    fn store(&mut self, k: u32, sid: &Hash, outputs: &Hash) -> Option<()> {
        let shares = self.shares(k, sid, outputs)?;
        let keys = self.board.good_set(sid, outputs)?.keys.clone();
        if self.ask_once(k, Request::Store(*outputs)) {
            self.effects.push(Effect::StoreKeys(Box::new(OwnShares {
                attempt: k,
                shares,
                keys,
            })));
        }
        None
    }

    /// The shares whose keystores are durable: recomputed while the seed is here, else read from the keystores.
    fn stored_shares(&mut self, k: u32, sid: &Hash, outputs: &Hash) -> Option<Arc<Vec<SecretKey>>> {
        if let Some(kept) = self.own.get(&k)?.kept.clone() {
            return Some(kept);
        }
        if let Some(shares) = self.shares(k, sid, outputs) {
            return Some(Arc::new(shares));
        }
        if self.ask_once(k, Request::Open(*outputs)) {
            self.effects.push(Effect::OpenKeys(k));
        }
        None
    }

    /// Own secret shares of all validators, if they are the ones that the public shares promise.
    fn shares(&mut self, k: u32, sid: &Hash, outputs: &Hash) -> Option<Vec<SecretKey>> {
        self.open_shares(k, sid);
        let good = self.board.good_set(sid, outputs)?;
        let keys = &good.keys;
        // The Deals that the good set builds on: those that the first Reveal's Acks name.
        let reveal = self.board.get(good.reveals.first()?)?;
        let deals = &self.board.get(reveal.entry.prev.first()?)?.entry.prev;
        let own = self.own.get(&k)?;
        let rows: Option<Vec<&Vec<SharePair>>> = deals
            .iter()
            .map(|id| own.opened.get(id).and_then(|r| r.as_ref().ok()))
            .collect();
        let rows = rows?;
        let position = usize::from(self.index) - 1;
        // The whole length at once: a vector that grows leaves copies of its scalars behind that nobody wipes.
        let mut sums = Vec::with_capacity(keys.validators().len());
        sums.resize_with(keys.validators().len(), || Scalar::from_u64(0));
        let fit = sums
            .par_iter_mut()
            .zip(keys.validators())
            .enumerate()
            .map(|(v, (sum, validator))| {
                for pair in rows.iter().filter_map(|row| row.get(v)) {
                    *sum = &*sum + &pair.s;
                }
                let public = commit::feldman(sum).to_compressed();
                validator
                    .shares
                    .get(position)
                    .is_some_and(|share| share.to_bytes() == public)
            })
            .reduce(|| true, |a, b| a && b);
        let mut shares = Vec::with_capacity(sums.len());
        for sum in sums.iter().filter(|_| fit) {
            shares.push(SecretKey::from_scalar(sum)?);
        }
        fit.then_some(shares)
    }
}
