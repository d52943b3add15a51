//! Judging: whether an entry is valid. One function for everybody, online and offline; `docs/protocol.md` has the rules as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use conclave_crypto::bls::{self, PublicKey, Signature};
use conclave_crypto::hash::Hash;
use conclave_crypto::point::G1;
use conclave_crypto::proof::{self, Statement};
use conclave_crypto::seal::SealSecret;

use super::super::body::{self, JoinBody, RevealBody, SealBody};
use super::super::entry::{Entry, Id, Step, hash_ids};
use super::super::evidence::Kind;
use super::super::secrets::{Opened, open_share};
use super::{Admitted, Board, Data, GoodSet, Mode, Slot};

/// A Reveal whose proof is to be checked: its id, itself, its content, the author's Deal, the hash of the Deals it builds on.
type ReadyReveal = (Id, Arc<Entry>, Arc<RevealBody>, Id, Hash);

/// A Sign whose signatures are to be checked: its id, itself, the outputs of the sets of keys that it may be for, the signatures.
type ReadySign = (Id, Arc<Entry>, Vec<Hash>, Vec<Signature>);

/// Sets of keys that a Sign or a Seal is held against, beside the one that it names. Honest operators make one.
const MAX_SETS: usize = 4;

/// What a Sign names as its author's vote.
enum OwnVote {
    /// It is not here.
    Absent,
    /// It is no vote of the author's.
    Wrong,
    /// A vote for these outputs.
    For(Hash),
}

enum Judgement {
    Valid(Data),
    /// Needs the batched checks: a proof, or partial signatures.
    Reveal {
        body: Arc<RevealBody>,
        deal: Id,
        deals: Hash,
    },
    Sign(Vec<Hash>, Vec<Signature>),
    /// Provably wrong.
    Guilty(Kind),
    /// Lacks something that may still come.
    Wait,
    /// Not ours to judge or to keep.
    Drop,
}

impl Board {
    /// Judges what is on the agenda, and what comes of it, until nothing more does.
    pub(super) fn settle(&mut self) {
        while !(self.agenda.is_empty() && self.changed.is_empty()) {
            let mut reveals = Vec::new();
            let mut signs = Vec::new();
            // One pass takes what is ready now; its consequences are for the next pass.
            let agenda = std::mem::take(&mut self.agenda);
            self.work(agenda.len());
            for (_, _, _, id) in agenda {
                let Some(entry) = self.waiting.get(&id).cloned() else {
                    continue;
                };
                match self.judge(&id, &entry) {
                    Judgement::Wait => {}
                    Judgement::Valid(data) => self.admit(id, data),
                    Judgement::Reveal { body, deal, deals } => reveals.push((id, entry, body, deal, deals)),
                    Judgement::Sign(sets, signatures) => signs.push((id, entry, sets, signatures)),
                    Judgement::Guilty(kind) => self.convict(&id, kind),
                    Judgement::Drop => self.refuse(id),
                }
            }
            self.judge_reveals(reveals);
            self.judge_signs(signs);
            self.advance_sessions();
        }
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
            Some(_) if incomplete && self.mode != Mode::Bundle => Judgement::Wait,
            Some(body) => Judgement::Valid(Data::Join(Arc::new(body))),
        }
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
        let Some(session) = self.sessions.get(&entry.session) else {
            return Judgement::Wait;
        };
        if session.good.is_empty() {
            return Judgement::Wait;
        }
        if session.good_set(&outputs).is_some() {
            return Judgement::Valid(Data::Stored(outputs));
        }
        // Other outputs are a lie only about Deals whose outputs are known: a folder restored from a backup may have approved
        // others.
        let first = entry.prev.first().and_then(|id| self.base(id));
        let is_known = first.is_some_and(|base| session.settled.contains(&base));
        match self.is_full_row(&entry.prev, &entry.session, Slot::Step(Step::Reveal)) {
            Some(false) => guilty,
            Some(true) if is_known && entry.prev.iter().all(|id| self.base(id) == first) => guilty,
            _ => Judgement::Wait,
        }
    }

    /// What a Sign's author voted for, as the Sign itself names it: whom a Sign is for is for its author to say, as a folder restored
    /// from a backup may have voted for other outputs than those that the reader knows.
    fn own_vote(&self, entry: &Entry) -> OwnVote {
        let position = usize::from(entry.operator).saturating_sub(1);
        let Some(vote) = entry.prev.get(position).and_then(|id| self.known(id)) else {
            return OwnVote::Absent;
        };
        let is_one = vote.step == Step::Stored
            && vote.session == entry.session
            && vote.operator == entry.operator
            && vote.attempt == entry.attempt;
        match Hash::try_from(vote.body.as_slice()) {
            Ok(outputs) if is_one => OwnVote::For(outputs),
            _ => OwnVote::Wrong,
        }
    }

    /// Whether everybody voted for these outputs.
    fn is_agreed(&self, session: &Hash, outputs: &Hash) -> bool {
        let votes = self.sessions.get(session).map(|session| &session.votes);
        // A vote is admitted only if its outputs are those of a good set.
        votes.is_some_and(|votes| votes.is_full(outputs, self.terms.n()))
    }

    fn judge_sign(&self, entry: &Entry) -> Judgement {
        if entry.prev.len() != self.terms.n() {
            return Judgement::Guilty(Kind::BadEntry);
        }
        // Its own set first; whichever of the others fits it is as good, for what it names is of no account where it is right.
        let own = match self.own_vote(entry) {
            OwnVote::For(outputs) if self.is_agreed(&entry.session, &outputs) => Some(outputs),
            _ => None,
        };
        let others = self.all_agreed(&entry.session).map(|good| *good.outputs());
        let others = others.filter(|outputs| Some(*outputs) != own).take(MAX_SETS);
        let sets: Vec<Hash> = own.into_iter().chain(others).collect();
        if sets.is_empty() {
            return Judgement::Wait;
        }
        body::decode_sign(&self.terms, &entry.body).map_or(Judgement::Guilty(Kind::BadEntry), |signatures| {
            Judgement::Sign(sets, signatures)
        })
    }

    fn judge_seal(&mut self, entry: &Entry) -> Judgement {
        let guilty = Judgement::Guilty(Kind::BadEntry);
        if !entry.prev.is_empty() {
            return guilty;
        }
        let Some(session) = self.sessions.get(&entry.session) else {
            return Judgement::Wait;
        };
        if session.finished().next().is_none() {
            return Judgement::Wait;
        }
        let Some(seal) = SealBody::decode(&entry.body) else {
            return guilty;
        };
        let Some(key) = self.terms.operator(entry.operator) else {
            return Judgement::Drop;
        };
        if !key.verify_recoverable(&seal.lock_hash, &seal.node_signature) {
            return guilty;
        }
        if let Some(good) = session.set_of_lock(&seal.lock_hash) {
            let (is_right, work) = good.is_sealed_by(entry.operator, &seal);
            self.work(work);
            return if is_right {
                Judgement::Valid(Data::Seal(Arc::new(seal)))
            } else {
                guilty
            };
        }
        // The hash of no lock that is known here. It may be that of a set of keys that is not here: a folder restored from a backup may
        // have approved other Deals, in which dealers can give its owner the very same shares.
        Judgement::Wait
    }

    fn judge_done(&self, entry: &Entry) -> Judgement {
        let Ok(lock_hash) = Hash::try_from(entry.body.as_slice()) else {
            return Judgement::Drop;
        };
        let Some(session) = self
            .sessions
            .get(&entry.session)
            .filter(|_| entry.prev.is_empty())
        else {
            return Judgement::Drop;
        };
        if lock_hash == body::share_is_lost(&entry.session) {
            // Before everybody has voted there is another way to say it: a Join of the next attempt.
            let voted = session.all_agreed().next().is_some();
            return if voted {
                Judgement::Valid(Data::Lost)
            } else {
                Judgement::Wait
            };
        }
        if session.set_of_lock(&lock_hash).is_some() {
            Judgement::Valid(Data::Plain)
        } else if session.finished().next().is_none() {
            Judgement::Wait
        } else {
            Judgement::Drop
        }
    }

    /// Checks all proofs that are ready in one batch.
    fn judge_reveals(&mut self, reveals: Vec<ReadyReveal>) {
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
        for ((id, _, body, _, deals), holds) in reveals.into_iter().zip(verdicts) {
            if holds {
                self.admit(id, Data::Reveal(body, deals));
            } else {
                self.convict(&id, Kind::BadEntry);
            }
        }
    }

    /// Checks all partial signatures that are ready in one batch over operators, validators and messages, for the keys that
    /// their authors voted for.
    fn judge_signs(&mut self, mut signs: Vec<ReadySign>) {
        // Most have one set to be tried, and all of them the same.
        while !signs.is_empty() {
            let mut weights = self.fresh_weights();
            // One batch for each set: its messages are hashed once, and cost one pairing whoever signed them.
            let mut batches: BTreeMap<(Hash, Hash), Vec<usize>> = BTreeMap::new();
            for (number, (_, entry, sets, _)) in signs.iter().enumerate() {
                if let Some(outputs) = sets.first() {
                    batches.entry((entry.session, *outputs)).or_default().push(number);
                }
            }
            let mut good_ones: BTreeSet<usize> = BTreeSet::new();
            for ((session, outputs), numbers) in batches {
                self.work(numbers.len());
                let Some(good) = self.good_set(&session, &outputs) else {
                    continue;
                };
                let mut items = Vec::new();
                let mut owners = Vec::new();
                for number in &numbers {
                    let Some((_, entry, _, signatures)) = signs.get(*number) else {
                        continue;
                    };
                    let of_one = self.partials(good, entry.operator, signatures);
                    owners.extend(of_one.iter().map(|_| *number));
                    items.extend(of_one);
                }
                good_ones.extend(&numbers);
                if let Err(wrong) = bls::verify_batch_hashed(&items, good.messages(), &mut weights) {
                    for number in wrong.into_iter().filter_map(|item| owners.get(item)) {
                        good_ones.remove(number);
                    }
                }
            }
            let mut again = Vec::new();
            for (number, (id, entry, mut sets, signatures)) in signs.into_iter().enumerate() {
                let tried = (!sets.is_empty()).then(|| sets.remove(0));
                match tried {
                    Some(outputs) if good_ones.contains(&number) => {
                        self.admit(id, Data::Sign(outputs, Arc::new(signatures)));
                    }
                    _ if !sets.is_empty() => again.push((id, entry, sets, signatures)),
                    _ => self.judge_bad_sign(&id, &entry),
                }
            }
            signs = again;
        }
    }

    /// A Sign that fits nothing that everybody voted for is a lie if its author's own vote is here, and everybody voted for that,
    /// or if what it names as its own vote is none. Else it may fit what is not here, and waits for it.
    fn judge_bad_sign(&mut self, id: &Id, entry: &Entry) {
        let lies = match self.own_vote(entry) {
            OwnVote::Absent => false,
            OwnVote::Wrong => true,
            OwnVote::For(outputs) => self.is_agreed(&entry.session, &outputs),
        };
        if lies {
            self.convict(id, Kind::BadEntry);
        }
    }

    /// Partial signatures with the public shares and the positions of the messages that they are to be checked against.
    fn partials(
        &self,
        good: &GoodSet,
        operator: u16,
        signatures: &[Signature],
    ) -> Vec<(PublicKey, usize, Signature)> {
        let messages = self.terms.product().messages();
        let keys = good.keys.validators();
        let check = |(position, signature): (usize, &Signature)| {
            let share = keys
                .get(position / messages)?
                .shares
                .get(usize::from(operator) - 1)?;
            Some((*share, position, signature.clone()))
        };
        signatures.iter().enumerate().filter_map(check).collect()
    }
}
