//! What others said about exits and nobody has looked at yet.
//!
//! Looking at a part costs a pairing and a write to the disk, and one operator can send parts faster than anybody can look
//! at them. So everybody has a place of its own here, and all are served in turn: what one sends never makes what another
//! sent late by more than one part, nor pushes it out.

use std::collections::{BTreeMap, VecDeque};

use super::PartialExit;

/// Most parts of one sender.
const MOST: usize = 4096;

/// Something to look at.
#[derive(Debug, PartialEq, Eq)]
pub enum Mail {
    /// Messages can be exchanged with this operator.
    Connected(u16),
    /// An operator sent this part, its own or another one's.
    Part {
        /// Who sent it.
        from: u16,
        /// What.
        partial: PartialExit,
    },
}

/// One validator's part of one operator.
type Place = (u32, u16);

/// The mail of one sender.
#[derive(Debug, Default)]
struct Pile {
    connected: bool,
    /// In the order of their coming.
    order: VecDeque<Place>,
    parts: BTreeMap<Place, PartialExit>,
}

/// The mail of everybody. At most 4096 parts of each sender, and of each validator and operator only the newest that it
/// sent.
#[derive(Debug, Default)]
pub struct Inbox {
    piles: BTreeMap<u16, Pile>,
    /// Whose mail was taken last.
    last: u16,
}

impl Inbox {
    /// A part that an operator sent. True if there was no mail before.
    pub fn part(&mut self, from: u16, partial: PartialExit) -> bool {
        let was_empty = self.piles.is_empty();
        let pile = self.piles.entry(from).or_default();
        let place = (partial.validator, partial.operator);
        if let Some(known) = pile.parts.get_mut(&place) {
            if known.made_ms < partial.made_ms {
                *known = partial;
            }
        } else if pile.parts.len() < MOST {
            pile.order.push_back(place);
            pile.parts.insert(place, partial);
        }
        was_empty
    }

    /// An operator is there. True if there was no mail before.
    pub fn connected(&mut self, operator: u16) -> bool {
        let was_empty = self.piles.is_empty();
        self.piles.entry(operator).or_default().connected = true;
        was_empty
    }

    /// The next thing to look at, of the next one who sent something.
    pub fn take(&mut self) -> Option<Mail> {
        let next = self.piles.range(self.last.saturating_add(1)..).next();
        let (from, _) = next.or_else(|| self.piles.first_key_value())?;
        let from = *from;
        self.last = from;
        let pile = self.piles.get_mut(&from)?;
        let mail = if std::mem::take(&mut pile.connected) {
            Some(Mail::Connected(from))
        } else {
            let place = pile.order.pop_front();
            let partial = place.and_then(|place| pile.parts.remove(&place));
            partial.map(|partial| Mail::Part { from, partial })
        };
        if pile.order.is_empty() && !pile.connected {
            self.piles.remove(&from);
        }
        mail
    }
}
