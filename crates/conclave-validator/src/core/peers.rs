//! The other operators as this node sees them: who is connected, who has answered, how far their clocks are off.

use crate::{alive::Instance, quota::Quota, wire::Abilities};
use conclave_slashing::Progress;

/// An operator other than this one.
#[derive(Debug, Clone, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Peer {
    /// Messages can be exchanged.
    pub connected: bool,
    /// It said Hello on this connection, with our lock: everything else is listened to.
    pub greeted: bool,
    /// Since our start it has told what it remembers of us; whether that was more than our guard knew.
    pub answered: Option<Answer>,
    /// Since our start our guard was compared with all that it remembers of us, by its last Hello.
    pub told: bool,
    /// What it remembers of us by its last Hello since our start, unless it only watches, until our guard was compared with that.
    pub remembers: Option<Progress>,
    /// Its process.
    pub instance: Option<Instance>,
    /// Its software.
    pub software: String,
    /// What it can do, as far as it has said.
    pub abilities: Abilities,
    /// It only watches: a dry run.
    pub watches: bool,
    /// Its clock less ours, in milliseconds, as well as the round trip lets us know: wrong by half a slot at most. Measured
    /// on this connection, since our start.
    pub clock_offset_ms: Option<i64>,
    /// The newest clock that it told, and when that came by our clock.
    pub told_clock: Option<(u64, u64)>,
    /// How often it greeted on this connection of late.
    pub greetings: Quota,
    /// How often it told its clock of late.
    pub clocks: Quota,
}

/// What a peer remembers of this operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The guard has not been compared with it yet.
    Comparing,
    /// Nothing that our guard does not know.
    NothingNewer,
    /// More than our guard knew: this disk had forgotten.
    Newer,
}

/// All operators, from 1; this node's own place is unused.
#[derive(Debug)]
pub struct Peers {
    me: u16,
    list: Vec<Peer>,
}

impl Peers {
    /// Of a group of this size.
    pub fn new(me: u16, size: u16) -> Self {
        Self {
            me,
            list: vec![Peer::default(); usize::from(size)],
        }
    }

    /// An operator other than this one.
    pub fn get(&self, operator: u16) -> Option<&Peer> {
        let place = usize::from(operator).checked_sub(1)?;
        self.list.get(place).filter(|_| operator != self.me)
    }

    /// An operator other than this one.
    pub fn get_mut(&mut self, operator: u16) -> Option<&mut Peer> {
        let place = usize::from(operator).checked_sub(1)?;
        self.list.get_mut(place).filter(|_| operator != self.me)
    }

    /// All others with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &Peer)> {
        (1u16..)
            .zip(&self.list)
            .filter(|(operator, _)| *operator != self.me)
    }

    /// Those who said Hello and are still there.
    pub fn greeted(&self) -> impl Iterator<Item = u16> {
        self.iter()
            .filter(|(_, peer)| peer.connected && peer.greeted)
            .map(|(operator, _)| operator)
    }

    /// Whether every other operator has answered since our start, and none remembers more than our guard did.
    pub fn all_confirm(&self) -> bool {
        self.iter()
            .all(|(_, peer)| peer.answered == Some(Answer::NothingNewer))
    }

    /// Something counts as a start: nobody has answered yet, and by another clock nothing was measured.
    pub fn forget_answers(&mut self) {
        for peer in &mut self.list {
            peer.answered = None;
            peer.told = false;
            peer.remembers = None;
            peer.clock_offset_ms = None;
            peer.told_clock = None;
        }
    }
}
