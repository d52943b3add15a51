//! Consequences: what follows from a judgement. An entry is admitted, or kept as evidence against its author.

use std::collections::HashSet;
use std::sync::Arc;

use conclave_crypto::hash::Hash;

use super::super::entry::{Entry, Id, Step};
use super::super::evidence::{Evidence, Finding, Kind};
use super::intake::header_key;
use super::replay::Note;
use super::sessions::Session;
use super::{Admitted, Board, Data, MAX_PER_SLOT, Mode, News, Slot, slot_of};

/// How much of what an invalid entry builds on is shown with it.
#[derive(Clone, Copy)]
enum Scope {
    /// The session, and what the entry names.
    Named,
    /// What that builds on, too.
    Predecessors,
    /// The session, what the entry names, and all that makes these outputs: Reveals, votes, and partial signatures.
    Set(Hash),
}

impl Board {
    pub(super) fn admit(&mut self, id: Id, data: Data) {
        let Some(entry) = self.leave_queue(&id) else {
            return;
        };
        let key = (entry.session, entry.operator, slot_of(&entry));
        let full = self.slots.get(&key).is_some_and(|ids| ids.len() >= MAX_PER_SLOT);
        let opens = entry.step == Step::Deal && !self.sessions.contains_key(&entry.session);
        if self.mode == Mode::Live {
            let ticket = if full {
                self.ticket(&id, key).map(|(op, step)| (key, op, step))
            } else if opens && self.is_over_budget(&entry) {
                self.opening_ticket(&id, &entry)
            } else {
                None
            };
            if full && ticket.is_none() {
                self.refuse(id);
                return;
            }
            if let Some((_, operator, step)) = ticket {
                self.news.push(News::Noted(Note::Named {
                    entry: id,
                    operator,
                    step,
                }));
            }
            self.tickets.extend(ticket);
        }
        if opens {
            *self.opened.entry((entry.attempt, entry.operator)).or_default() += 1;
            let session = Session::new(entry.attempt, entry.prev.clone(), id);
            self.sessions.insert(entry.session, session);
            self.attempts
                .entry(entry.attempt)
                .or_default()
                .insert(entry.session);
        }
        let ids = self.slots.get(&key).map_or(&[][..], Vec::as_slice);
        let place = self.place_in(ids, &id);
        self.slots.entry(key).or_default().insert(place, id);
        self.headers.entry(header_key(&entry)).or_insert(id);
        self.order.push(id);
        let mut before = None;
        if let Some(session) = self.sessions.get_mut(&entry.session) {
            before = session.count(entry.operator, id, &data, self.terms.n());
        }
        self.held.insert(
            id,
            Admitted {
                entry: entry.clone(),
                data,
            },
        );
        self.news.push(News::Admitted(id));
        self.wake_those_after(&id, &entry, opens);
        match entry.step {
            Step::Ack => {
                self.judge_contradiction(&id, &entry);
                if entry.is_complaint() {
                    self.blame_dealer(&id, &entry);
                }
            }
            Step::Seal => self.judge_seals(before, &entry),
            _ => {}
        }
    }

    /// Has everything judged again for which it makes a difference that this entry was admitted.
    fn wake_those_after(&mut self, id: &Id, entry: &Entry, opens: bool) {
        self.wake_namers(id);
        // There may be no room any more.
        let queue = (entry.attempt, entry.operator, slot_of(entry));
        for other in self.queues.get(&queue).cloned().unwrap_or_default() {
            self.wake(&other);
        }
        if opens {
            for step in Step::ALL {
                self.wake_step(&entry.session, step);
            }
        }
        if opens || matches!(entry.step, Step::Reveal | Step::Sign) {
            self.changed.insert(entry.session);
        }
        if let Some(Data::Stored(outputs)) = self.held.get(id).map(|a| &a.data) {
            let session = self.sessions.get(&entry.session);
            if session.is_some_and(|session| session.votes.is_full(outputs, self.terms.n())) {
                self.wake_step(&entry.session, Step::Sign);
                self.wake_step(&entry.session, Step::Done);
            }
        }
    }

    /// A new Ack with the author's Complaints, or a new Complaint with its Acks.
    fn judge_contradiction(&mut self, id: &Id, entry: &Entry) {
        let finding = Finding {
            operator: entry.operator,
            kind: Kind::Contradiction,
        };
        let other = if entry.is_complaint() {
            Slot::Step(Step::Ack)
        } else {
            Slot::Complaint
        };
        let others = self.slot(&entry.session, entry.operator, other);
        if others.is_empty() || self.evidence.contains_key(&(entry.attempt, finding)) {
            return;
        }
        let against = |other: &&Id| {
            self.held.get(*other).is_some_and(|other| {
                let (complaint, ack) = if entry.is_complaint() {
                    (entry, &*other.entry)
                } else {
                    (&*other.entry, entry)
                };
                complaint.prev.iter().all(|deal| ack.prev.contains(deal))
            })
        };
        if let Some(other) = others.iter().find(against).copied() {
            let pair = if entry.is_complaint() {
                [other, *id]
            } else {
                [*id, other]
            };
            self.record_closure(entry.attempt, finding, &pair, true);
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
        self.record_closure(entry.attempt, finding, &[*id], true);
    }

    /// Two Seals of one lock: both are right, and the files of those who used one or the other differ.
    fn judge_seals(&mut self, before: Option<Id>, entry: &Arc<Entry>) {
        let Some(first) = before.and_then(|id| self.held.get(&id)).map(|a| a.entry.clone()) else {
            return;
        };
        let finding = Finding {
            operator: entry.operator,
            kind: Kind::DoubleSeal,
        };
        self.record(Evidence {
            attempt: entry.attempt,
            finding,
            headers: Vec::new(),
            entries: vec![first, entry.clone()],
        });
    }

    /// Records a finding that some admitted entries and what they build on prove.
    pub(super) fn record_closure(&mut self, attempt: u32, finding: Finding, roots: &[Id], whole: bool) {
        if self.evidence.contains_key(&(attempt, finding)) {
            return;
        }
        // Offline only the finding counts: this is the check of such evidence.
        let entries = if self.mode.is_offline() {
            Vec::new()
        } else {
            self.closure(roots, whole)
        };
        self.record(Evidence {
            attempt,
            finding,
            headers: Vec::new(),
            entries,
        });
    }

    pub(super) fn record(&mut self, evidence: Evidence) {
        let key = (evidence.attempt, evidence.finding);
        if let std::collections::btree_map::Entry::Vacant(place) = self.evidence.entry(key) {
            place.insert(Arc::new(evidence));
            self.news.push(News::Found(key.0, key.1));
        }
    }

    /// Keeps an invalid entry as evidence against its author.
    pub(super) fn convict(&mut self, id: &Id, kind: Kind) {
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
        if self.mode.is_offline() {
            // This is the check of such evidence; only the finding counts.
            self.record(Evidence {
                attempt: entry.attempt,
                finding,
                headers: Vec::new(),
                entries: Vec::new(),
            });
            return;
        }
        // As little as proves it: what the entry names, or else what that builds on, or one of the sets of keys, too.
        let whole = kind == Kind::FalseComplaint;
        let sets: Vec<Hash> = self
            .good_sets(&entry.session)
            .iter()
            .map(|good| *good.outputs())
            .collect();
        let scopes = [Scope::Named, Scope::Predecessors].into_iter();
        for scope in scopes.chain(sets.into_iter().map(Scope::Set)) {
            let mut entries = self.context(&entry, scope, whole);
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
            let seed = self.fresh_seed();
            if evidence.check(&self.terms, &seed) {
                self.record(evidence);
                return;
            }
        }
    }

    /// What somebody else needs to judge an invalid entry.
    fn context(&self, entry: &Entry, scope: Scope, whole: bool) -> Vec<Arc<Entry>> {
        let mut roots = Vec::new();
        let mut shallow: Vec<Id> = entry.prev.clone();
        if let Some(session) = self.sessions.get(&entry.session) {
            roots.push(session.opener);
            let n = self.terms.n();
            match scope {
                Scope::Named => {}
                Scope::Predecessors => roots.extend(&entry.prev),
                Scope::Set(outputs) => {
                    let set = session.good_set(&outputs);
                    roots.extend(set.iter().flat_map(|good| &good.reveals));
                    if entry.step >= Step::Sign {
                        shallow.extend(session.votes.row(&outputs, n).into_iter().flatten());
                    }
                    if entry.step >= Step::Seal {
                        shallow.extend(session.signs.row(&outputs, n).into_iter().flatten());
                    }
                }
            }
        }
        let mut entries = self.closure(&roots, whole);
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
    pub(super) fn closure(&self, roots: &[Id], whole: bool) -> Vec<Arc<Entry>> {
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
}
