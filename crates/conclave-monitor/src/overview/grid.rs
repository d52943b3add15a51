//! Who took part in which slot.

use std::collections::BTreeSet;

use super::BySlot;

/// How many duties of a slot an operator took part in, and how many there were.
type Cell = (u8, u8);

/// Operators by slots. Operators are told apart by their place, from 0.
#[derive(Debug)]
pub(super) struct Grid {
    operators: usize,
    slots: BySlot<Vec<Cell>>,
}

impl Grid {
    pub(super) fn new(operators: usize) -> Self {
        Self {
            operators,
            slots: BySlot::new(),
        }
    }

    /// A slot is over: who took part in each of its duties (operators from 1).
    pub(super) fn over<'a>(&mut self, slot: u64, duties: impl Iterator<Item = &'a BTreeSet<u16>>) {
        let mut cells = vec![(0, 0); self.operators];
        for contributors in duties {
            for (operator, (done, of)) in (1u16..).zip(&mut cells) {
                *done = u8::saturating_add(*done, u8::from(contributors.contains(&operator)));
                *of = u8::saturating_add(*of, 1);
            }
        }
        self.slots.insert(slot, cells);
    }

    /// Nothing was due in this slot, unless it is known already.
    pub(super) fn without_duties(&mut self, slot: u64) {
        self.slots
            .entry(slot)
            .or_insert_with(|| vec![(0, 0); self.operators]);
    }

    pub(super) fn forget_before(&mut self, slot: u64) {
        self.slots = self.slots.split_off(&slot);
    }

    /// The first slot that is known, if any is, else the last one.
    pub(super) fn first(&self, last: u64) -> u64 {
        self.slots.keys().next().map_or(last, |first| *first.min(&last))
    }

    /// A letter for each slot from the first to the last one: `y` took part in all duties, `p` in some, `n` in none,
    /// `-` there were none, `?` not known.
    pub(super) fn cells(&self, place: usize, last: u64) -> String {
        let letter = |slot| match self.slots.get(&slot).and_then(|cells| cells.get(place)) {
            None => '?',
            Some((_, 0)) => '-',
            Some((0, _)) => 'n',
            Some((done, of)) if done == of => 'y',
            Some(_) => 'p',
        };
        // Slots of a clock that was wrong may lie far apart.
        let first = self.first(last).max(last.saturating_sub(super::MAX_SLOTS - 1));
        (first..=last).map(letter).collect()
    }

    /// Duties that an operator took part in, and how many there were, in all slots that are kept.
    pub(super) fn sum(&self, place: usize) -> (u32, u32) {
        let cells = self.slots.values().filter_map(|cells| cells.get(place));
        cells.fold((0, 0), |(done, of), cell| {
            (done + u32::from(cell.0), of + u32::from(cell.1))
        })
    }
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}
