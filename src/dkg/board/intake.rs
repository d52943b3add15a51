//! Taking in: signed entries wait here until they can be judged, a bounded number of them.

use std::sync::Arc;

use super::super::entry::{Entry, Id, Step};
use super::super::evidence::{Evidence, Finding, collide};
use super::{Board, MAX_PER_SLOT, Slot, SlotKey, slot_of};

/// Entries of one author, attempt and slot that may wait for predecessors at a time.
const MAX_WAITING: usize = 4;
/// Sessions that one dealer may open in one attempt.
const MAX_OPENED: usize = 2;
/// Refused ids that are remembered so that they are not asked for again.
const MAX_REFUSED: usize = 20_000;

impl Board {
    pub(super) fn enqueue(&mut self, id: Id, entry: Arc<Entry>) {
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

    pub(super) fn leave_queue(&mut self, id: &Id) -> Option<Arc<Entry>> {
        let entry = self.waiting.remove(id)?;
        if let Some(queue) = self
            .queues
            .get_mut(&(entry.attempt, entry.operator, slot_of(&entry)))
        {
            queue.retain(|other| other != id);
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

    pub(super) fn has_room(&self, id: &Id, entry: &Entry) -> bool {
        let slot = slot_of(entry);
        self.offline
            || self.slot(&entry.session, entry.operator, slot).len() < MAX_PER_SLOT
            || self.ticket(id, (entry.session, entry.operator, slot)).is_some()
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
        !self.offline && opened.is_some_and(|n| *n >= MAX_OPENED)
    }

    /// What lets a Deal open one more session than that: an entry that names it. One budget for all sessions of the
    /// attempt, as there can be as many of them as choices among the Joins.
    pub(super) fn opening_ticket(&self, id: &Id, entry: &Entry) -> Option<(SlotKey, u16, Step)> {
        let key = (
            self.terms.ctx(entry.attempt),
            entry.operator,
            Slot::Step(Step::Deal),
        );
        self.ticket(id, key).map(|(op, step)| (key, op, step))
    }
}
