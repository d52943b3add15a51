//! The latest duties: what was agreed on and signed, when, and by whom.

use std::collections::BTreeSet;

use conclave_eth::duty::{Duty, Kind, Purpose};
use conclave_validator::core::{Account, Decision, Times};

use super::{
    BySlot,
    view::{DutyView, StepView},
};

/// So many slots of duties are shown one by one.
const SHOWN: usize = 32;
/// What is signed with a decision, in the order of the slot.
pub(super) const PURPOSES: [Purpose; 5] = [
    Purpose::Block,
    Purpose::Attestation,
    Purpose::SyncMessage,
    Purpose::Aggregate,
    Purpose::Contribution,
];

/// What is known of a purpose in a slot.
#[derive(Debug, Clone, Default)]
struct Done {
    /// How many validators had it signed, and for how many it was to be; the latter once the slot is over.
    signed: usize,
    of: Option<usize>,
    times: Option<Times>,
    contributors: BTreeSet<u16>,
}

/// A slot's agreements and signatures.
#[derive(Debug, Clone, Default)]
struct Slot {
    agreed: Vec<(Kind, Decision)>,
    done: Vec<(Purpose, Done)>,
}

impl Slot {
    fn done(&mut self, purpose: Purpose) -> &mut Done {
        let place = self.done.iter().position(|(known, _)| *known == purpose);
        let place = place.unwrap_or_else(|| {
            self.done.push((purpose, Done::default()));
            self.done.len() - 1
        });
        &mut self.done[place].1
    }

    fn agreed(&self, kind: Kind) -> Option<Decision> {
        let known = self.agreed.iter().find(|(known, _)| *known == kind);
        known.map(|(_, decision)| *decision)
    }
}

/// All slots that are kept.
#[derive(Debug, Default)]
pub(super) struct Duties {
    slots: BySlot<Slot>,
    /// Everything before this slot was forgotten, and is not taken any more.
    oldest: u64,
}

impl Duties {
    fn slot(&mut self, slot: u64) -> Option<&mut Slot> {
        (slot >= self.oldest).then(|| self.slots.entry(slot).or_default())
    }

    /// Operators agreed. False if that is known, or too old.
    pub(super) fn agreed(&mut self, duty: Duty, decision: Decision) -> bool {
        let Some(slot) = self
            .slot(duty.slot)
            .filter(|slot| slot.agreed(duty.kind).is_none())
        else {
            return false;
        };
        slot.agreed.push((duty.kind, decision));
        true
    }

    /// The group signed for so many more validators.
    pub(super) fn made(
        &mut self,
        purpose: Purpose,
        slot: u64,
        validators: usize,
        times: Times,
        contributors: &BTreeSet<u16>,
    ) {
        if PURPOSES.contains(&purpose)
            && let Some(slot) = self.slot(slot)
        {
            let done = slot.done(purpose);
            done.signed += validators;
            done.times = Some(times);
            done.contributors.extend(contributors);
        }
    }

    /// A slot is over: this is all that there is to know.
    pub(super) fn over<'a>(&mut self, slot: u64, accounts: impl Iterator<Item = &'a Account>) {
        let Some(slot) = self.slot(slot) else { return };
        slot.done.clear();
        for account in accounts {
            let kind = account.purpose.kind();
            if let Some(decision) = account.decision.filter(|_| slot.agreed(kind).is_none()) {
                slot.agreed.push((kind, decision));
            }
            *slot.done(account.purpose) = Done {
                signed: account.signed.len(),
                of: Some(account.validators.len()),
                times: account.signed_times,
                contributors: account.partials.clone(),
            };
        }
    }

    pub(super) fn forget_before(&mut self, slot: u64) {
        self.slots = self.slots.split_off(&slot);
        self.oldest = slot;
    }

    /// The latest duties, newest first.
    pub(super) fn views(&self, operators: usize) -> Vec<DutyView> {
        let mut views = Vec::new();
        for (slot, known) in self.slots.iter().rev().take(SHOWN) {
            let in_order = PURPOSES.iter().rev();
            let done = in_order.filter_map(|purpose| known.done.iter().find(|(of, _)| of == purpose));
            for (purpose, done) in done {
                let agreed = known.agreed(purpose.kind());
                let missing = (1u16..)
                    .take(operators)
                    .filter(|operator| !done.contributors.contains(operator));
                views.push(DutyView {
                    slot: *slot,
                    duty: purpose.text().to_owned(),
                    round: agreed.map(|decision| decision.round),
                    agreed_ms: agreed.map(|decision| decision.times.took_ms),
                    signed_ms: done.times.map(|times| times.took_ms),
                    late_ms: done.times.map(|times| times.after_due_ms),
                    signed: done.signed,
                    validators: done.of,
                    missing: missing.collect(),
                });
            }
        }
        views
    }

    /// How long each step takes, over all slots that are kept.
    pub(super) fn steps(&self) -> Vec<StepView> {
        let mut steps = Vec::new();
        for purpose in PURPOSES {
            let mut agreed = Vec::new();
            let mut signed = Vec::new();
            let mut late = Vec::new();
            for known in self.slots.values() {
                if let Some((_, done)) = known.done.iter().find(|(of, _)| *of == purpose) {
                    let decision = known.agreed(purpose.kind());
                    agreed.extend(decision.map(|decision| decision.times.took_ms));
                    signed.extend(done.times.map(|times| times.took_ms));
                    late.extend(done.times.map(|times| times.after_due_ms));
                }
            }
            if !signed.is_empty() || !agreed.is_empty() {
                steps.push(StepView {
                    duty: purpose.text().to_owned(),
                    times: signed.len(),
                    agreed_ms: quantiles(agreed),
                    signed_ms: quantiles(signed),
                    late_ms: quantiles(late),
                });
            }
        }
        steps
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

/// Median, the tenth longest of a hundred, and the longest.
fn quantiles(mut times: Vec<u64>) -> Option<[u64; 3]> {
    times.sort_unstable();
    let at = |part: usize| times.get((times.len().checked_sub(1)?) * part / 10).copied();
    Some([at(5)?, at(9)?, at(10)?])
}
