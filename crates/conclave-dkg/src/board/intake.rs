//! Taking in: signed entries wait here until they can be judged, a bounded number of them.

use std::sync::Arc;

use conclave_crypto::hash::Hash;

use super::super::entry::{Entry, Id, Step};
use super::super::evidence::{Evidence, Finding, collide};
use super::{Board, HeaderKey, MAX_PER_SLOT, Mode, Slot, SlotKey, Ticket, slot_of};

/// Entries of one author, attempt and slot that may wait for predecessors at a time.
const MAX_WAITING: usize = 4;
/// Sessions that one dealer may open in one attempt.
pub(super) const MAX_OPENED: usize = 2;
/// Refused ids that are remembered so that they are not asked for again.
const MAX_REFUSED: usize = 20_000;

impl Board {
    pub(super) fn enqueue(&mut self, id: Id, entry: &Arc<Entry>) {
        if self.held.contains_key(&id) || self.waiting.contains_key(&id) {
            return;
        }
        if self.compare_headers(id, entry) && self.draft == Some(id) {
            return;
        }
        for prev in &entry.prev {
            self.refused.remove(prev);
            self.namers.entry(*prev).or_default().insert(id);
        }
        let at = (entry.session, entry.step);
        self.waiting_in.entry(at).or_default().insert(id);
        if self.mode == Mode::Live {
            let queue = self
                .queues
                .entry((entry.attempt, entry.operator, slot_of(entry)))
                .or_default();
            queue.push_back(id);
            let oldest = queue.front().copied().filter(|_| queue.len() > MAX_WAITING);
            if let Some(oldest) = oldest {
                self.leave_queue(&oldest);
            }
        }
        self.waiting.insert(id, entry.clone());
        self.wake(&id);
        // Whoever names it may be wrong to, and it may be let in because it is named.
        self.wake_namers(&id);
        for prev in &entry.prev {
            self.wake(prev);
        }
        if entry.step == Step::Stored {
            self.changed.insert(entry.session);
        }
    }

    /// Has a waiting entry judged, again.
    pub(super) fn wake(&mut self, id: &Id) {
        if let Some(entry) = self.waiting.get(id) {
            self.agenda
                .insert((entry.attempt, entry.step, entry.operator, *id));
        }
    }

    /// Has all waiting entries judged that name this id.
    pub(super) fn wake_namers(&mut self, id: &Id) {
        for namer in self.namers.get(id).cloned().unwrap_or_default() {
            self.work(1);
            self.wake(&namer);
        }
    }

    /// Has all entries of a step judged that wait in a session.
    pub(super) fn wake_step(&mut self, session: &Hash, step: Step) {
        for id in self
            .waiting_in
            .get(&(*session, step))
            .cloned()
            .unwrap_or_default()
        {
            self.work(1);
            self.wake(&id);
        }
    }

    /// Entries of a step that wait in a session.
    pub(super) fn waiting_in(&self, session: &Hash, step: Step) -> impl Iterator<Item = &Arc<Entry>> {
        let ids = self.waiting_in.get(&(*session, step)).into_iter().flatten();
        ids.filter_map(|id| self.waiting.get(id))
    }

    pub(super) fn leave_queue(&mut self, id: &Id) -> Option<Arc<Entry>> {
        let entry = self.waiting.remove(id)?;
        let queue = (entry.attempt, entry.operator, slot_of(&entry));
        if let Some(queue) = self.queues.get_mut(&queue) {
            queue.retain(|other| other != id);
        }
        for prev in &entry.prev {
            if let Some(namers) = self.namers.get_mut(prev) {
                namers.remove(id);
                if namers.is_empty() {
                    self.namers.remove(prev);
                }
            }
        }
        let at = (entry.session, entry.step);
        if let Some(ids) = self.waiting_in.get_mut(&at) {
            ids.remove(id);
            if ids.is_empty() {
                self.waiting_in.remove(&at);
            }
        }
        let key = header_key(&entry);
        if self.headers.get(&key) == Some(id) {
            self.headers.remove(&key);
        }
        Some(entry)
    }

    pub(super) fn refuse(&mut self, id: Id) {
        self.leave_queue(&id);
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
        }
        self.refused.insert(id);
    }

    /// Two signed headers can prove something whether or not their entries are ever admitted.
    fn compare_headers(&mut self, id: Id, entry: &Arc<Entry>) -> bool {
        self.work(1);
        if entry.step > Step::Reveal {
            // From the vote on only content counts.
            return false;
        }
        let key = header_key(entry);
        let Some(other) = self
            .headers
            .get(&key)
            .and_then(|other| self.known(other))
            .cloned()
        else {
            self.headers.insert(key, id);
            return false;
        };
        let (header, other) = (entry.header(&self.terms), other.header(&self.terms));
        let kind = collide(&header, &other, &self.terms.ctx(entry.attempt));
        if let Some(kind) = kind.filter(|_| self.draft != Some(id)) {
            let finding = Finding {
                operator: entry.operator,
                kind,
            };
            self.record(Evidence {
                attempt: entry.attempt,
                finding,
                headers: vec![other, header],
                entries: Vec::new(),
            });
        }
        kind.is_some()
    }

    /// Whether an entry that was refused collides with one that came since: as a proof it is wanted all the same, as it would be
    /// after a restart, which does not remember what was refused.
    pub(super) fn is_refused_proof(&self, id: &Id, entry: &Entry) -> bool {
        if !self.refused.contains(id) || entry.step > Step::Reveal {
            return false;
        }
        let other = self.headers.get(&header_key(entry));
        let Some(other) = other.and_then(|other| self.known(other)) else {
            return false;
        };
        let (header, other) = (entry.header(&self.terms), other.header(&self.terms));
        collide(&header, &other, &self.terms.ctx(entry.attempt)).is_some_and(|kind| {
            let finding = Finding {
                operator: entry.operator,
                kind,
            };
            !self.evidence.contains_key(&(entry.attempt, finding))
        })
    }

    pub(super) fn has_room(&self, id: &Id, entry: &Entry) -> bool {
        let slot = slot_of(entry);
        let filled = self.slot(&entry.session, entry.operator, slot).len();
        match self.mode {
            Mode::Live => {
                filled < MAX_PER_SLOT || self.ticket(id, (entry.session, entry.operator, slot)).is_some()
            }
            // As many as a ceremony can have admitted, one more for each operator and step that can name one.
            Mode::Record => filled < MAX_PER_SLOT + Step::ALL.len() * self.terms.n(),
            Mode::Replay | Mode::Bundle => true,
        }
    }

    /// An entry here that names this one and whose author's one extra in this slot is still free. Looked up rather than
    /// kept, so that names of entries that never come cost no memory.
    pub(super) fn ticket(&self, id: &Id, key: SlotKey) -> Option<(u16, Step)> {
        let held = self.held.values().map(|admitted| &admitted.entry);
        held.chain(self.waiting.values())
            .filter(|entry| entry.prev.contains(id))
            .map(|entry| (entry.operator, entry.step))
            .filter(|(op, step)| !self.tickets.contains(&(key, *op, *step)))
            .min()
    }

    /// Whether this Deal's author has opened as many sessions of the attempt as it may by itself.
    pub(super) fn is_over_budget(&self, entry: &Entry) -> bool {
        let opened = self.opened.get(&(entry.attempt, entry.operator));
        self.mode == Mode::Live && opened.is_some_and(|n| *n >= MAX_OPENED)
    }

    /// What lets a Deal open one more session than that: an entry that names it. One budget for all sessions of the
    /// attempt, as there can be as many of them as choices among the Joins.
    pub(super) fn opening_ticket(&self, id: &Id, entry: &Entry) -> Option<Ticket> {
        let key = self.opening_key(entry);
        self.ticket(id, key).map(|(op, step)| (key, op, step))
    }

    /// What tickets for opening sessions are counted under.
    pub(super) fn opening_key(&self, deal: &Entry) -> SlotKey {
        let ctx = self.terms.ctx(deal.attempt);
        (ctx, deal.operator, Slot::Step(Step::Deal))
    }
}

/// Joins of one attempt collide whatever they build on.
pub(super) fn header_key(entry: &Entry) -> HeaderKey {
    let prev = if entry.step == Step::Join {
        [0; 32]
    } else {
        entry.prev_hash()
    };
    (entry.session, entry.attempt, entry.operator, entry.step, prev)
}
