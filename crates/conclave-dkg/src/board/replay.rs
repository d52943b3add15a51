//! Taking up a journal: what was admitted is admitted again, in the order of the journal and without the caps that are meant for
//! strangers, so that a board after a restart is the board before it.

#[cfg(test)]
use std::collections::BTreeSet;
use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;

use conclave_crypto::hash::Hash;

use super::super::entry::{Entry, Id, Step};
use super::super::terms::{MAX_OPERATORS, Terms};
use super::super::wire::Reader;
use super::intake::MAX_OPENED;
use super::{Board, MAX_PER_SLOT, Mode, News, slot_of};

/// What a board once decided because of entries that it never admitted, and so would not decide again from the admitted ones.
/// The wire form is a record of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// An entry was admitted beyond the caps because one of this operator and step names it.
    Named {
        /// The entry that was admitted.
        entry: Id,
        /// Who named it.
        operator: u16,
        /// In which step.
        step: Step,
    },
    /// A good set was found because a vote names it.
    Set {
        /// The session.
        session: Hash,
        /// The Reveals, in operator order.
        reveals: Vec<Id>,
    },
}

const NAMED: u8 = 0;
const SET: u8 = 1;

impl Note {
    /// The most bytes that one has: a set of all operators.
    pub const MAX_BYTES: usize = 1 + 32 + 2 + 32 * MAX_OPERATORS;

    /// `0 | entry 32 | operator 2 | step 1`, or `1 | session 32 | count 2 | id 32 each`.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Named {
                entry,
                operator,
                step,
            } => [&[NAMED], &entry[..], &operator.to_be_bytes(), &[*step as u8]].concat(),
            Self::Set { session, reveals } => {
                let count = u16::try_from(reveals.len()).unwrap_or(u16::MAX).to_be_bytes();
                [&[SET], &session[..], &count, &reveals.concat()].concat()
            }
        }
    }

    /// Reads the wire form; `None` if it is none under these terms.
    pub fn decode(terms: &Terms, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let note = match reader.u8()? {
            NAMED => Self::Named {
                entry: reader.array()?,
                operator: reader.u16()?,
                step: Step::from_byte(reader.u8()?)?,
            },
            SET => {
                let session = reader.array()?;
                let count = usize::from(reader.u16()?);
                if count != terms.n() {
                    return None;
                }
                let reveals = (0..count).map(|_| reader.array()).collect::<Option<_>>()?;
                Self::Set { session, reveals }
            }
            _ => return None,
        };
        reader.is_empty().then_some(note)
    }
}

impl Board {
    /// Takes up the entries of this operator's own journal, in its order, and the notes beside them. For an empty board only. Every
    /// entry is judged anew, together with the others, as that is what costs the least.
    pub fn replay(&mut self, entries: Vec<Entry>, notes: &[Note]) -> Vec<News> {
        let terms = self.terms.clone();
        let ids: Vec<Id> = entries.par_iter().map(|entry| entry.id(&terms)).collect();
        for (position, id) in ids.into_iter().enumerate() {
            self.positions.entry(id).or_insert(position);
        }
        for note in notes {
            if let Note::Set { session, reveals } = note {
                self.hints.entry(*session).or_default().push(reveals.clone());
            }
        }
        self.mode = Mode::Replay;
        let news = self.receive(entries);
        self.mode = Mode::Live;
        self.put_in_order(notes);
        self.positions.clear();
        self.hints.clear();
        news
    }

    /// As if the admitted entries had come one after the other, in the order of the journal.
    fn put_in_order(&mut self, notes: &[Note]) {
        let named: HashMap<Id, (u16, Step)> = notes
            .iter()
            .filter_map(|note| match note {
                Note::Named {
                    entry,
                    operator,
                    step,
                } => Some((*entry, (*operator, *step))),
                Note::Set { .. } => None,
            })
            .collect();
        let mut order = std::mem::take(&mut self.order);
        order.sort_by_key(|id| self.positions.get(id).copied());
        for session in self.sessions.values_mut() {
            session.forget_tallies();
        }
        self.opened.clear();
        let mut filled: BTreeMap<_, usize> = BTreeMap::new();
        let mut opened: BTreeMap<Hash, Id> = BTreeMap::new();
        for id in &order {
            let Some(admitted) = self.held.get(id).cloned() else {
                continue;
            };
            let entry = &admitted.entry;
            let key = (entry.session, entry.operator, slot_of(entry));
            let before = filled.entry(key).or_default();
            *before += 1;
            // Notes of a journal from before there were any are made up for where that can be.
            let ticket = if *before > MAX_PER_SLOT {
                let by = named.get(id).copied().or_else(|| self.ticket(id, key));
                by.map(|(operator, step)| (key, operator, step))
            } else {
                None
            };
            self.tickets.extend(ticket);
            if entry.step == Step::Deal && !opened.contains_key(&entry.session) {
                opened.insert(entry.session, *id);
                let at = (entry.attempt, entry.operator);
                let so_far = self.opened.get(&at).copied().unwrap_or_default();
                if so_far >= MAX_OPENED {
                    let key = self.opening_key(entry);
                    let by = named.get(id).copied().or_else(|| self.ticket(id, key));
                    self.tickets
                        .extend(by.map(|(operator, step)| (key, operator, step)));
                }
                self.opened.insert(at, so_far + 1);
                if let Some(session) = self.sessions.get_mut(&entry.session) {
                    session.opener = *id;
                }
            }
            if let Some(session) = self.sessions.get_mut(&entry.session) {
                session.count(entry.operator, *id, &admitted.data, self.terms.n());
            }
        }
        self.order = order;
    }

    /// Where among the ids of a slot this one belongs: at the end, unless a journal says otherwise.
    pub(super) fn place_in(&self, ids: &[Id], id: &Id) -> usize {
        match self.positions.get(id) {
            Some(position) => ids.partition_point(|other| self.positions.get(other) < Some(position)),
            None => ids.len(),
        }
    }

    /// All of it that counts.
    #[cfg(test)]
    pub(crate) fn picture(&self) -> Picture {
        let sessions = self.sessions.iter().map(|(sid, session)| {
            let sets = session.good.iter();
            let sets = sets.map(|good| {
                let lock = good.combined.as_ref().map(|combined| combined.lock_hash);
                (*good.outputs(), good.reveals.clone(), lock)
            });
            let of = |good: &super::GoodSet| self.votes(sid, good.outputs());
            let votes = session.good.iter().map(of).collect();
            (*sid, session.opener, session.joins.clone(), sets.collect(), votes)
        });
        let mut slots: Vec<_> = self.slots.iter().map(|(k, v)| (*k, v.clone())).collect();
        slots.sort();
        let mut tickets: Vec<_> = self.tickets.iter().copied().collect();
        tickets.sort();
        let opened = self.opened.iter().map(|(k, v)| (*k, *v)).collect();
        let evidence = self.evidence.values().map(|e| e.encode()).collect();
        let losses = self.sessions.keys().flat_map(|sid| {
            let lost = self.terms.indices().filter(|j| self.is_share_lost(sid, *j));
            lost.map(|j| (*sid, j))
        });
        Picture {
            waiting: self.waiting.keys().copied().collect(),
            missing: self.missing(),
            losses: losses.collect(),
            horizon: self.horizon,
            order: self.order.clone(),
            sessions: sessions.collect(),
            slots,
            tickets,
            opened,
            evidence,
        }
    }

    /// Knows what another one has refused: that is no part of a journal, and whoever sends it again has it judged again, which costs the author's
    /// oldest waiting entry its place.
    #[cfg(test)]
    pub(crate) fn refuse_as(&mut self, other: &Self) {
        self.refused.clone_from(&other.refused);
    }

    /// What waits, the oldest of each queue first.
    #[cfg(test)]
    pub(crate) fn waiting_entries(&self) -> Vec<Entry> {
        let ids = self.queues.values().flatten();
        ids.filter_map(|id| self.waiting.get(id))
            .map(|e| (**e).clone())
            .collect()
    }
}

/// Everything that a board would act on, to compare two.
#[cfg(test)]
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    horizon: u32,
    order: Vec<Id>,
    #[allow(clippy::type_complexity)]
    sessions: Vec<(
        Hash,
        Id,
        Vec<Id>,
        Vec<(Hash, Vec<Id>, Option<Hash>)>,
        Vec<Option<Vec<Id>>>,
    )>,
    slots: Vec<(super::SlotKey, Vec<Id>)>,
    tickets: Vec<super::Ticket>,
    opened: BTreeMap<(u32, u16), usize>,
    evidence: Vec<Vec<u8>>,
    /// What waits, and what is asked for because of it.
    waiting: BTreeSet<Id>,
    missing: BTreeSet<Id>,
    /// Shares that are said to be lost.
    losses: Vec<(Hash, u16)>,
}
