//! All partial exits that a node knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::group::Group;
use conclave_eth::exit::VoluntaryExit;

use super::{Combined, Domain, PartialError, PartialExit, combine};

/// One more partial exit of an operator is looked at after this time, in milliseconds.
const REFILL_MS: u64 = 10_000;
/// Clocks may differ by this much, in milliseconds.
const FUTURE_MS: u64 = 3_600_000;

/// What became of a partial exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is new: worth keeping and passing on.
    New,
    /// The very same is there already, or a later one of that operator for that validator.
    Known,
    /// Its operator sends more than anybody needs to; or its time is far in the future.
    TooMany,
}

/// The newest partial exit of each operator for each validator, all of them checked. Memory is bounded by the lock: one
/// for each share.
#[derive(Debug)]
pub struct Ledger {
    group: Arc<Group>,
    domain: Domain,
    partials: BTreeMap<(u32, u16), PartialExit>,
    /// How many of an operator may still be looked at, and when that was.
    budgets: BTreeMap<u16, (u64, u64)>,
}

impl Ledger {
    /// Of a group, with nothing in it.
    pub fn new(group: Arc<Group>, domain: Domain) -> Self {
        Self {
            group,
            domain,
            partials: BTreeMap::new(),
            budgets: BTreeMap::new(),
        }
    }

    /// Takes somebody's partial exit at a time (milliseconds since the Unix epoch). Costs a pairing if it is new.
    ///
    /// # Errors
    /// With what is wrong with it. [`PartialError::Share`] is its operator's doing; everything else may be that of
    /// whoever passed it on.
    pub fn take(&mut self, partial: &PartialExit, now_ms: u64) -> Result<Taken, PartialError> {
        let place = (partial.validator, partial.operator);
        if self.group.share(partial.operator, partial.validator).is_none() {
            return Err(PartialError::Unknown("share"));
        }
        if self
            .partials
            .get(&place)
            .is_some_and(|known| known == partial || known.made_ms >= partial.made_ms)
        {
            return Ok(Taken::Known);
        }
        partial.check_author(&self.group)?;
        if partial.made_ms > now_ms.saturating_add(FUTURE_MS) || !self.spend(partial.operator, now_ms) {
            return Ok(Taken::TooMany);
        }
        partial.check_share(&self.group, &self.domain)?;
        self.partials.insert(place, partial.clone());
        Ok(Taken::New)
    }

    /// Takes back what was taken, and kept, before an interruption: however many there are.
    ///
    /// # Errors
    /// As [`Ledger::take`].
    pub fn restore(&mut self, partial: &PartialExit) -> Result<(), PartialError> {
        partial.check_author(&self.group)?;
        partial.check_share(&self.group, &self.domain)?;
        let place = (partial.validator, partial.operator);
        self.partials.insert(place, partial.clone());
        Ok(())
    }

    /// Whether one more of this operator is looked at: as many as it has shares at once, and one every ten seconds.
    fn spend(&mut self, operator: u16, now_ms: u64) -> bool {
        let most = (self.group.validators.len() as u64)
            .saturating_mul(2)
            .saturating_add(8);
        let (left, since) = self.budgets.entry(operator).or_insert((most, now_ms));
        let more = now_ms.saturating_sub(*since) / REFILL_MS;
        *left = left.saturating_add(more).min(most);
        *since = since.saturating_add(more.saturating_mul(REFILL_MS)).min(now_ms);
        let enough = *left > 0;
        *left = left.saturating_sub(1);
        enough
    }

    /// An operator's consent to the exit of a validator.
    pub fn get(&self, operator: u16, validator: u32) -> Option<&PartialExit> {
        self.partials.get(&(validator, operator))
    }

    /// Everything, to be passed on.
    pub fn all(&self) -> impl Iterator<Item = &PartialExit> {
        self.partials.values()
    }

    /// Of a validator.
    fn of(&self, validator: u32) -> impl Iterator<Item = &PartialExit> {
        self.partials
            .range((validator, 0)..=(validator, u16::MAX))
            .map(|(_, partial)| partial)
    }

    /// Who consents to exactly this.
    pub fn consents(&self, validator: u32, message: &VoluntaryExit) -> BTreeSet<u16> {
        self.of(validator)
            .filter(|partial| partial.message == *message)
            .map(|partial| partial.operator)
            .collect()
    }

    /// What is wished for a validator, and by whom.
    pub fn wishes(&self, validator: u32) -> Vec<(VoluntaryExit, BTreeSet<u16>)> {
        let mut wishes: Vec<(VoluntaryExit, BTreeSet<u16>)> = Vec::new();
        for partial in self.of(validator) {
            match wishes.iter_mut().find(|(message, _)| *message == partial.message) {
                Some((_, operators)) => {
                    operators.insert(partial.operator);
                }
                None => wishes.push((partial.message, [partial.operator].into())),
            }
        }
        wishes
    }

    /// The validators that somebody wishes to exit.
    pub fn validators(&self) -> BTreeSet<u32> {
        self.partials.keys().map(|(validator, _)| *validator).collect()
    }

    /// The signed exit of a validator, if enough operators consent to the same.
    pub fn signed(&self, validator: u32) -> Option<Combined> {
        let need = usize::from(self.group.threshold);
        if !self
            .wishes(validator)
            .iter()
            .any(|(_, operators)| operators.len() >= need)
        {
            return None;
        }
        let partials: Vec<PartialExit> = self.of(validator).cloned().collect();
        let tally = combine(&self.group, &self.domain, &partials);
        tally.made.into_iter().next()
    }
}
