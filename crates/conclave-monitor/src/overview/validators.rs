//! The validators on the chain, and what became of their votes.

use std::collections::{BTreeSet, HashMap};

use super::{
    EPOCHS,
    totals::Totals,
    view::{LastVote, ValidatorView, ValidatorsView},
    words,
};
use conclave_validator::observed::{Seen, Vote, Votes};

/// What is said of validators before the chain was asked.
const NOT_ASKED: &str = "not looked up yet";
/// Most characters of a status that are kept: the longest that there is has 18.
const MAX_STATUS: usize = 32;

/// A validator of the lock.
#[derive(Debug, Clone)]
struct Validator {
    key: [u8; 48],
    on_chain: Option<OnChain>,
    /// In which slots of the latest epochs the group signed its attestation.
    signed: Vec<(u64, u64)>,
    /// The latest epoch of which something is known, and what.
    voted: Option<(u64, Vote)>,
    /// The latest vote that a block has.
    included: Option<LastVote>,
}

#[derive(Debug, Clone)]
struct OnChain {
    index: u64,
    status: String,
    balance: u64,
    slashed: bool,
}

/// All validators of the lock, in its order.
#[derive(Debug)]
pub(super) struct Validators {
    all: Vec<Validator>,
    /// Whether the chain was asked about them.
    were_asked: bool,
}

impl Validators {
    pub(super) fn new(keys: impl Iterator<Item = [u8; 48]>) -> Self {
        let validator = |key| Validator {
            key,
            on_chain: None,
            signed: Vec::new(),
            voted: None,
            included: None,
        };
        Self {
            all: keys.map(validator).collect(),
            were_asked: false,
        }
    }

    fn get(&mut self, place: u32) -> Option<&mut Validator> {
        self.all.get_mut(usize::try_from(place).ok()?)
    }

    pub(super) fn seen(&mut self, seen: &[Seen]) {
        self.were_asked = true;
        for one in seen {
            if let Some(validator) = self.get(one.validator) {
                validator.on_chain = Some(OnChain {
                    index: one.index,
                    status: one.status.chars().take(MAX_STATUS).collect(),
                    balance: one.balance,
                    slashed: one.slashed,
                });
            }
        }
    }

    /// The public key of one, in hexadecimal.
    pub(super) fn key(&self, place: usize) -> Option<String> {
        let validator = self.all.get(place)?;
        Some(format!("0x{}", hex::encode(validator.key)))
    }

    /// The group signed attestations.
    pub(super) fn signed(&mut self, epoch: u64, slot: u64, validators: &BTreeSet<u32>) {
        for place in validators {
            if let Some(validator) = self.get(*place) {
                validator
                    .signed
                    .retain(|(of, _)| *of != epoch && of.saturating_add(EPOCHS) > epoch);
                validator.signed.push((epoch, slot));
            }
        }
    }

    /// What became of the votes of an epoch; each epoch counts once.
    pub(super) fn voted(&mut self, votes: &Votes, totals: &mut Totals) {
        for vote in &votes.votes {
            let Some(validator) = self.get(vote.validator) else {
                continue;
            };
            if validator.voted.is_some_and(|(epoch, _)| epoch >= votes.epoch) {
                continue;
            }
            validator.voted = Some((votes.epoch, *vote));
            if !vote.included {
                totals.votes_missed += 1;
                continue;
            }
            totals.votes_included += 1;
            if let (Some(head), Some(target)) = (vote.head, vote.target) {
                totals.votes_judged += 1;
                totals.votes_right_head += u64::from(head);
                totals.votes_right_target += u64::from(target);
            }
            let slot = validator.signed.iter().find(|(epoch, _)| *epoch == votes.epoch);
            validator.included = Some(LastVote {
                epoch: votes.epoch,
                slot: slot.map(|(_, slot)| *slot),
                // A head counts only in the very next block; of others the chain tells no distance.
                distance: (vote.head == Some(true)).then_some(1),
                target: vote.target,
                head: vote.head,
            });
        }
    }

    pub(super) fn slashed(&self) -> usize {
        let on_chain = self
            .all
            .iter()
            .filter_map(|validator| validator.on_chain.as_ref());
        on_chain.filter(|on_chain| on_chain.slashed).count()
    }

    /// All of them in figures, and at most so many one by one: those that need a look first.
    pub(super) fn view(&self, most: usize) -> ValidatorsView {
        let mut statuses: HashMap<&str, usize> = HashMap::new();
        let (mut balance, mut missed, mut included) = (0u64, 0, 0);
        for validator in &self.all {
            let status = validator
                .on_chain
                .as_ref()
                .map_or("unknown", |known| &known.status);
            *statuses.entry(status).or_default() += 1;
            let known = validator.on_chain.as_ref().map_or(0, |known| known.balance);
            balance = balance.saturating_add(known);
            match validator.voted {
                Some((_, vote)) if vote.included => included += 1,
                Some(_) => missed += 1,
                None => {}
            }
        }
        let mut order: Vec<usize> = (0..self.all.len()).collect();
        if order.len() > most {
            order.sort_by_key(|place| self.all.get(*place).map(Validator::well));
            order.truncate(most);
        }
        let mut statuses: Vec<(String, usize)> = statuses
            .into_iter()
            .map(|(status, count)| (status.to_owned(), count))
            .collect();
        statuses.sort();
        let standings = statuses.iter();
        let on_chain = self
            .all
            .iter()
            .filter_map(|validator| validator.on_chain.as_ref());
        let nothing = words::nothing_to_sign(on_chain.map(|known| known.status.as_str()));
        ValidatorsView {
            count: self.all.len(),
            standings: standings
                .map(|(status, count)| (self.standing(status), *count))
                .collect(),
            nothing_to_sign: nothing.filter(|_| self.were_asked).map(str::to_owned),
            statuses,
            balance_gwei: balance,
            last_epoch: self
                .all
                .iter()
                .filter_map(|validator| validator.voted)
                .map(|(epoch, _)| epoch)
                .max(),
            last_included: included,
            last_missed: missed,
            list: order
                .into_iter()
                .filter_map(|place| {
                    let mut view = self.all.get(place)?.view(place);
                    view.standing = self.standing(&view.status);
                    Some(view)
                })
                .collect(),
        }
    }

    /// A status in words.
    fn standing(&self, status: &str) -> String {
        if status == "unknown" && !self.were_asked {
            NOT_ASKED.to_owned()
        } else {
            words::standing(status)
        }
    }
}

impl Validator {
    /// Whether there is nothing to look at.
    fn well(&self) -> bool {
        let active = self
            .on_chain
            .as_ref()
            .is_some_and(|known| known.status == "active_ongoing");
        active && self.voted.is_none_or(|(_, vote)| vote.included)
    }

    fn view(&self, place: usize) -> ValidatorView {
        let known = self.on_chain.as_ref();
        ValidatorView {
            validator: place,
            key: format!("0x{}", hex::encode(self.key)),
            index: known.map(|known| known.index),
            status: known.map_or_else(|| "unknown".to_owned(), |known| known.status.clone()),
            standing: String::new(),
            balance_gwei: known.map(|known| known.balance),
            last_signed_slot: self.signed.last().map(|(_, slot)| *slot),
            last_included: self.included,
            missed_epoch: self
                .voted
                .filter(|(_, vote)| !vote.included)
                .map(|(epoch, _)| epoch),
        }
    }
}
