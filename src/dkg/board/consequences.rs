//! Consequences: what follows from a judgement. An entry is admitted, or kept as evidence against its author.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::entry::{Entry, Id, Step};
use super::super::evidence::{Evidence, Finding, Kind};
use super::sessions::Session;
use super::{Admitted, Board, Data, MAX_PER_SLOT, News, Slot, slot_of};

impl Board {
    pub(super) fn admit(&mut self, id: Id, data: Data) {
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
            let session = Session::new(entry.attempt, entry.prev.clone(), id);
            self.sessions.insert(entry.session, session);
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
            let seed = self.fresh_seed();
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
                roots.extend(session.good.iter().flat_map(|good| &good.reveals));
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
