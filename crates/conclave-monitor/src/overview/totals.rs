//! Everything since the start, for counters that only grow.

use std::collections::BTreeMap;

use conclave_eth::duty::{Kind, Purpose};
use conclave_validator::core::{Account, Decision, Times};

use super::duties::PURPOSES;

/// Upper ends of the buckets of a [`Histogram`], in milliseconds.
pub const BUCKETS_MS: [u64; 14] = [
    5, 10, 20, 40, 80, 150, 250, 500, 1000, 2000, 4000, 8000, 16_000, 64_000,
];

/// How often something took how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How often it took at most as long as the bucket of this place says, and longer than the one before.
    pub buckets: [u64; BUCKETS_MS.len()],
    /// How often in all.
    pub count: u64,
    /// All times together, in milliseconds.
    pub sum_ms: u64,
}

impl Histogram {
    fn add(&mut self, ms: u64) {
        self.count += 1;
        self.sum_ms = self.sum_ms.saturating_add(ms);
        let bucket = BUCKETS_MS
            .iter()
            .zip(&mut self.buckets)
            .find(|(end, _)| ms <= **end);
        if let Some((_, times)) = bucket {
            *times += 1;
        }
    }
}

/// What happened since the start.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// How long agreement took, by what was agreed on.
    pub agreed: BTreeMap<Kind, Histogram>,
    /// Agreements that took more than one round.
    pub later_rounds: BTreeMap<Kind, u64>,
    /// How long it took from there to the group's signature, by what was signed.
    pub signed: BTreeMap<Purpose, Histogram>,
    /// How long after the due time that was, 0 if before.
    pub late: BTreeMap<Purpose, Histogram>,
    /// Signatures of the group, one for each validator.
    pub signatures: BTreeMap<Purpose, u64>,
    /// Duties that each operator took part in, and in which it was missing; by place, from 0.
    pub operators: Vec<(u64, u64)>,
    /// What the group should have signed and did not, one for each validator.
    pub not_signed: BTreeMap<Purpose, u64>,
    /// What the group signed and none of the own beacon nodes took, one for each validator.
    pub not_taken: BTreeMap<Purpose, u64>,
    /// Votes that a block has.
    pub votes_included: u64,
    /// Votes that no block has.
    pub votes_missed: u64,
    /// Votes whose head was right and in time.
    pub votes_right_head: u64,
    /// Votes whose target was right and in time.
    pub votes_right_target: u64,
    /// Votes of which head and target are known.
    pub votes_judged: u64,
    /// Blocks of the own beacon node that could not be signed.
    pub own_blocks_refused: u64,
    /// How often the clock jumped.
    pub clock_jumps: u64,
    /// How often this process stood still.
    pub standstills: u64,
    /// Strangers who called.
    pub strangers: u64,
}

impl Totals {
    pub(super) fn new(operators: usize) -> Self {
        Self {
            operators: vec![(0, 0); operators],
            ..Self::default()
        }
    }

    pub(super) fn agreed(&mut self, kind: Kind, decision: Decision) {
        self.agreed.entry(kind).or_default().add(decision.times.took_ms);
        *self.later_rounds.entry(kind).or_default() += u64::from(decision.round > 0);
    }

    /// A slot with this duty is over.
    pub(super) fn over(&mut self, account: &Account) {
        let unseen = account.unseen();
        for (operator, (took_part, missing)) in (1u16..).zip(&mut self.operators).filter(|_| unseen == 0) {
            if account.partials.contains(&operator) {
                *took_part += 1;
            } else {
                *missing += 1;
            }
        }
        let known = account.signed.len().saturating_add(unseen);
        if known < account.validators.len() {
            let left = account.validators.len() - known;
            *self.not_signed.entry(account.purpose).or_default() += left as u64;
        }
    }

    pub(super) fn made(&mut self, purpose: Purpose, validators: usize, times: Times) {
        *self.signatures.entry(purpose).or_default() += validators as u64;
        // The others are made ahead.
        if PURPOSES.contains(&purpose) {
            self.signed.entry(purpose).or_default().add(times.took_ms);
            self.late.entry(purpose).or_default().add(times.after_due_ms);
        }
    }
}
