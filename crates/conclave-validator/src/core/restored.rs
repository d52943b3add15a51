//! A folder that was restored from a backup: what its share signed since is not in it.
//!
//! The share signs nothing, and takes part in no agreement, until
//! 1. every other operator is connected and has told what it remembers of this one, which the guard was raised to, and its clock
//!    differs from ours by half an epoch at most. Operators that are excused by name need not, as long as t others did. And most
//!    of our own beacon nodes (where t = n all) have shown no head that is more than half an epoch ahead of our clock; where t = n one has
//!    shown one that is at most half an epoch old by it;
//! 2. two whole epochs more are over.
//!
//! What others tell is a lower bound: one that lies can hide what it alone was sent. So in the epoch e in which the first
//! is done the guard is raised, durably, to source e, target e + 2, and the last slot of epoch e + 2. The original is gone, as
//! its operator said by then. Where t < n at least one of those who told is correct (they are t at least, more than the 2t - n - 1 who
//! may lie), and its clock, so ours is behind by half an epoch at most. Where t = n all others may lie, and our own beacon nodes are
//! asked instead: either they or our clock must be right. What little clocks of correct operators, or the newest head and the time,
//! differ is less than the other half: by the original's clock it is epoch e + 1 at most (and its guard signs nothing of a slot that begins more than half a slot later). So it signed no target above e + 1,
//! thus no source above e, and whatever is signed from epoch e + 3 on neither repeats that nor surrounds it, whoever lies. Nor is
//! the guard raised to what lies far ahead, for good, by a clock that nobody else has.
//!
//! At a later start of the same folder, before its first attestation, all that goes again, but the guard raises no source to a later epoch, as
//! long as nobody has shown that the share signed after the first one: see [`conclave_slashing::Restoration`].

use std::collections::BTreeSet;

use crate::{alive::Instance as Process, quota::Quota};
use conclave_consensus::Signatures;
use conclave_eth::duty::Kind;
use conclave_slashing::{Attested, Record, Start};

use super::{
    Core, Effect, Report,
    effects::{ChainClock, Restoring},
};

/// What others decide about is told once a slot at most, and so often in an epoch.
const NEWS: u32 = 8;
/// Whole epochs that are waited for once everybody has answered.
const EPOCHS: u64 = 2;

/// How far it is.
#[derive(Debug, Clone)]
pub(super) struct Restored {
    stage: Stage,
    /// What was reported last.
    told: Option<Restoring>,
    /// How much was reported of late.
    in_slot: Quota,
    in_epoch: Quota,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Others have to answer.
    Asks,
    /// They have, and the guard is being raised for this epoch.
    Raises(u64),
    /// It was; the wait goes on until the start.
    Waits,
}

impl Restored {
    /// What such a start waits for; nothing if it is known when it signs.
    pub(super) fn at(start: Start) -> Option<Self> {
        (start == Start::NEVER).then_some(Self {
            stage: Stage::Asks,
            told: None,
            in_slot: Quota::default(),
            in_epoch: Quota::default(),
        })
    }
}

impl<S: Signatures> Core<S> {
    /// Whether nothing is signed now, not even what cannot be slashed.
    pub(super) fn holds_back(&self) -> bool {
        self.restored.is_some() && self.slot_now() < self.start.first_slot
    }

    /// Who has answered, and who has to.
    fn restoring(&self) -> Restoring {
        let most = self.time.slot_ms.saturating_mul(self.time.slots_per_epoch) / 2;
        let (mut answered, mut clocks) = (BTreeSet::new(), BTreeSet::new());
        for (operator, peer) in self.peers.iter() {
            if peer.connected && peer.greeted && peer.told && !peer.watches {
                match peer.clock_offset_ms {
                    Some(offset) if offset.unsigned_abs() <= most => answered.insert(operator),
                    Some(_) => clocks.insert(operator),
                    // Its clock will be known in a moment.
                    None => false,
                };
            }
        }
        let others = self.peers.iter().map(|(operator, _)| operator);
        let silent = others.filter(|operator| !answered.contains(operator));
        let (mut excused, mut missing): (BTreeSet<u16>, BTreeSet<u16>) =
            silent.partition(|operator| self.excused.contains(operator));
        // However many are excused, t others must have answered; any of the excused will do, once nobody else is waited for.
        if missing.is_empty() && !excused.is_empty() && answered.len() < usize::from(self.group.threshold) {
            missing.append(&mut excused);
        }
        clocks.retain(|operator| missing.contains(operator));
        let (chain, ahead) = self.chain_clock();
        Restoring {
            missing,
            excused,
            answered,
            clocks,
            chain,
            ahead,
            start: None,
        }
    }

    /// What our beacon nodes say about our clock, and which of them say that it is behind. Where a correct operator has compared its
    /// clock with ours, one of several nodes stops nothing. Where all others may lie, any one does.
    fn chain_clock(&self) -> (ChainClock, BTreeSet<String>) {
        let (now, half) = (self.slot_now(), self.time.slots_per_epoch / 2);
        let all_may_lie = self.group.threshold == self.group.size();
        // No head is of the future.
        let is_ahead = |slot: u64| slot > now.saturating_add(half);
        let ahead = self.heads_shown.iter().filter(|(_, slot)| is_ahead(**slot));
        let ahead: BTreeSet<String> = ahead.map(|(name, _)| name.clone()).collect();
        let most = 2 * ahead.len() > self.heads_shown.len();
        if most || all_may_lie && !ahead.is_empty() {
            return (ChainClock::Ahead, ahead);
        }
        let is_new = |slot: &u64| slot.saturating_add(half) >= now;
        let chain = if all_may_lie && !self.heads_shown.values().any(is_new) {
            ChainClock::Unknown
        } else {
            ChainClock::Agrees
        };
        (chain, BTreeSet::new())
    }

    /// Looks whether all have answered who must.
    pub(super) fn await_others(&mut self) {
        let Some(Restored {
            stage: Stage::Asks, ..
        }) = self.restored
        else {
            return;
        };
        let restoring = self.restoring();
        if restoring.missing.is_empty() && restoring.chain == ChainClock::Agrees {
            let epoch = self.time.epoch_of(self.slot_now());
            self.enter(Stage::Raises(epoch));
            let last = epoch.saturating_add(EPOCHS);
            let to = Record {
                block: Some(self.time.last_slot(last)),
                attested: Some(Attested {
                    source: epoch,
                    target: last,
                }),
            };
            let instance = self.watch.instance();
            self.effects.push(Effect::Raise { to, instance });
        } else {
            self.tell_restoring(restoring);
        }
    }

    fn enter(&mut self, stage: Stage) {
        if let Some(restored) = &mut self.restored {
            restored.stage = stage;
        }
    }

    fn tell_restoring(&mut self, restoring: Restoring) {
        let (now, slot_ms) = (self.now, self.time.slot_ms);
        let epoch_ms = slot_ms.saturating_mul(self.time.slots_per_epoch);
        let Some(restored) = &mut self.restored else {
            return;
        };
        if restored.told.as_ref() == Some(&restoring) {
            return;
        }
        // One that comes and goes, or tells another clock each time, fills no screen and no log. What is left out is told later, if it
        // is still so.
        let in_measure =
            restored.in_slot.take(now, slot_ms, 1) && restored.in_epoch.take(now, epoch_ms, NEWS);
        if in_measure || restoring.start.is_some() {
            restored.told = Some(restoring.clone());
            self.report(Report::Restoring(restoring));
        }
    }

    /// The guard was raised, durably.
    pub(super) fn raised(&mut self, instance: Process) {
        let Some(Restored {
            stage: Stage::Raises(epoch),
            ..
        }) = self.restored
        else {
            return;
        };
        if instance != self.watch.instance() {
            return;
        }
        let first_target = epoch.saturating_add(EPOCHS + 1);
        let start = Start {
            first_slot: self.time.first_slot(first_target),
            first_target,
        };
        self.enter(Stage::Waits);
        self.begin(start);
        let restoring = Restoring {
            start: Some(start),
            ..self.restoring()
        };
        self.tell_restoring(restoring);
    }

    /// A slot begins. A disk that has not answered for a slot is asked again; when the wait is over, all that was held back is done.
    pub(super) fn restored_slot(&mut self, slot: u64) {
        match self.restored.as_ref().map(|restored| restored.stage) {
            Some(Stage::Raises(_)) => self.enter(Stage::Asks),
            Some(Stage::Waits) if slot >= self.start.first_slot => {
                self.restored = None;
                for epoch in self.schedule.epochs() {
                    for kind in Kind::ALL {
                        self.duties_changed(epoch, kind);
                    }
                }
            }
            _ => {}
        }
    }
}
