//! Judging: whether an entry is valid. One function for everybody, online and offline; `docs/protocol.md` has the rules as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::crypto::bls::{self, PublicKey, Signature};
use crate::crypto::hash::Hash;
use crate::crypto::point::G1;
use crate::crypto::proof::{self, Statement};
use crate::crypto::seal::SealSecret;

use super::super::body::{self, JoinBody, RevealBody, SealBody};
use super::super::entry::{Entry, Id, Step, hash_ids};
use super::super::evidence::Kind;
use super::super::secrets::{Opened, open_share};
use super::{Admitted, Board, Data, GoodSet, Slot};

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

impl Board {
    /// Judges everything that waits until nothing more comes of it.
    pub(super) fn settle(&mut self) {
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
        if self.good_sets(&entry.session).is_empty() {
            return Judgement::Wait;
        }
        if self.good_set(&entry.session, &outputs).is_some() {
            return Judgement::Valid(Data::Stored(outputs));
        }
        // Other outputs are a lie only about Deals whose outputs are known: a folder restored from a backup may have approved
        // others.
        let is_known = |base: Option<Hash>| {
            let mut sets = self.good_sets(&entry.session).iter();
            sets.any(|good| Some(good.base) == base)
        };
        let first = entry.prev.first().and_then(|id| self.base(id));
        match self.is_full_row(&entry.prev, &entry.session, Slot::Step(Step::Reveal)) {
            Some(false) => guilty,
            Some(true) if is_known(first) && entry.prev.iter().all(|id| self.base(id) == first) => guilty,
            _ => Judgement::Wait,
        }
    }

    fn judge_sign(&self, entry: &Entry) -> Judgement {
        if entry.prev.len() != self.terms.n() {
            return Judgement::Guilty(Kind::BadEntry);
        }
        if self.agreed(&entry.session).is_none() {
            return Judgement::Wait;
        }
        body::decode_sign(&self.terms, &entry.body).map_or(Judgement::Guilty(Kind::BadEntry), Judgement::Sign)
    }

    fn judge_seal(&self, entry: &Entry) -> Judgement {
        if !entry.prev.is_empty() {
            return Judgement::Guilty(Kind::BadEntry);
        }
        let sets = self.good_sets(&entry.session).iter();
        let finished: Vec<(&GoodSet, Hash)> = sets
            .filter_map(|good| Some((good, good.combined.as_ref()?.lock_hash)))
            .collect();
        if finished.is_empty() {
            return Judgement::Wait;
        }
        let guilty = Judgement::Guilty(Kind::BadEntry);
        let Some(seal) = SealBody::decode(&entry.body) else {
            return guilty;
        };
        let Some((good, _)) = finished
            .iter()
            .find(|(_, lock_hash)| *lock_hash == seal.lock_hash)
        else {
            return guilty;
        };
        let position = usize::from(entry.operator) - 1;
        let validators = good.keys.validators().iter();
        let shares: Option<Vec<PublicKey>> = validators.map(|v| v.shares.get(position).copied()).collect();
        let (Some(key), Some(shares)) = (self.terms.operator(entry.operator), shares) else {
            return Judgement::Drop;
        };
        let right = key.verify_recoverable(&seal.lock_hash, &seal.node_signature)
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
        let sets = self.good_sets(&entry.session).iter();
        let mut finished = sets.filter_map(|good| good.combined.as_ref()).peekable();
        if finished.peek().is_none() {
            Judgement::Wait
        } else if finished.any(|combined| entry.body == combined.lock_hash) {
            Judgement::Valid(Data::Plain)
        } else {
            Judgement::Drop
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

    /// Checks all partial signatures that are ready in one batch over operators, validators and messages, for the keys that
    /// everybody voted for.
    pub(super) fn judge_signs(&mut self, signs: Vec<(Id, Arc<Entry>, Vec<Signature>)>) -> bool {
        let mut weights = self.fresh_weights();
        let agreed: Vec<Option<Hash>> = signs
            .iter()
            .map(|(_, entry, _)| self.agreed(&entry.session).map(|good| *good.outputs()))
            .collect();
        // One batch for each session: its messages are hashed once, and cost one pairing whoever signed them.
        let mut sessions: BTreeMap<Hash, Vec<usize>> = BTreeMap::new();
        for (number, (_, entry, _)) in signs.iter().enumerate() {
            sessions.entry(entry.session).or_default().push(number);
        }
        let mut bad: BTreeSet<usize> = BTreeSet::new();
        for (session, numbers) in sessions {
            let Some(good) = self.agreed(&session) else {
                continue;
            };
            let mut items = Vec::new();
            let mut owners = Vec::new();
            for number in numbers {
                let Some((_, entry, signatures)) = signs.get(number) else {
                    continue;
                };
                let of_one = self.partials(good, entry.operator, signatures);
                owners.extend(of_one.iter().map(|_| number));
                items.extend(of_one);
            }
            if let Err(wrong) = bls::verify_batch_hashed(&items, good.messages(), &mut weights) {
                bad.extend(wrong.into_iter().filter_map(|item| owners.get(item).copied()));
            }
        }
        let progress = !signs.is_empty();
        for (number, (id, _, signatures)) in signs.into_iter().enumerate() {
            match agreed.get(number).copied().flatten() {
                Some(outputs) if !bad.contains(&number) => {
                    self.admit(id, Data::Sign(outputs, Arc::new(signatures)));
                }
                _ => self.convict(&id, Kind::BadEntry),
            }
        }
        progress
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
