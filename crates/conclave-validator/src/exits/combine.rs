//! From t partial exits to the signed one: each exit by itself, however many there are in a pile of parts.

use std::collections::BTreeMap;

use crate::group::Group;
use conclave_crypto::threshold::recover_signature;
use conclave_eth::exit::{SignedVoluntaryExit, VoluntaryExit};

use super::{Domain, PartialError, PartialExit};

/// A partial exit that is of no use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// Whose it says it is.
    pub operator: u16,
    /// Of which validator, by its place in the lock.
    pub validator: u32,
    /// Why.
    pub error: PartialError,
}

/// A signed exit and who it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Combined {
    /// The validator, by its place in the lock, from 0.
    pub validator: u32,
    /// The exit.
    pub exit: SignedVoluntaryExit,
    /// The operators whose parts were used.
    pub operators: Vec<u16>,
}

/// An exit that cannot be signed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// The validator, by its place in the lock, from 0.
    pub validator: u32,
    /// What is to be signed.
    pub message: VoluntaryExit,
    /// The operators whose parts are there and right, ascending: fewer than t, unless the lock's keys do not belong together.
    pub operators: Vec<u16>,
}

/// What a pile of parts gives. Each exit that they name, that is each validator, index and epoch, is in `made` or in `lacking`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// The exits that enough operators signed.
    pub made: Vec<Combined>,
    /// The others.
    pub lacking: Vec<Lacking>,
    /// Parts that are wrong: they count for nothing.
    pub wrong: Vec<Wrong>,
}

/// Makes every signed exit for which there are enough parts. Everything is checked, the results too.
pub fn combine(group: &Group, domain: &Domain, partials: &[PartialExit]) -> Tally {
    let mut tally = Tally::default();
    let mut exits: BTreeMap<(u32, u64, u64), BTreeMap<u16, &PartialExit>> = BTreeMap::new();
    for partial in partials {
        let VoluntaryExit {
            epoch,
            validator_index,
        } = partial.message;
        // An exit of which every part is wrong lacks them all, and is not forgotten.
        let parts = exits
            .entry((partial.validator, epoch, validator_index))
            .or_default();
        let checked = partial
            .check_author(group)
            .and_then(|()| partial.check_share(group, domain));
        match checked {
            Ok(()) => {
                parts.insert(partial.operator, partial);
            }
            Err(error) => tally.wrong.push(Wrong {
                operator: partial.operator,
                validator: partial.validator,
                error,
            }),
        }
    }
    for ((validator, epoch, validator_index), parts) in exits {
        match join(group, domain, &parts) {
            Some(made) => tally.made.push(made),
            None => tally.lacking.push(Lacking {
                validator,
                message: VoluntaryExit {
                    epoch,
                    validator_index,
                },
                operators: parts.into_keys().collect(),
            }),
        }
    }
    tally
}

/// Interpolates the first t of checked parts of one message, if there are so many.
fn join(group: &Group, domain: &Domain, parts: &BTreeMap<u16, &PartialExit>) -> Option<Combined> {
    let need = usize::from(group.threshold);
    if parts.len() < need {
        return None;
    }
    let first = *parts.values().next()?;
    let signatures: Option<Vec<_>> = parts
        .iter()
        .take(need)
        .map(|(operator, part)| Some((u64::from(*operator), part.share_signature()?)))
        .collect();
    let signature = recover_signature(&signatures?).ok()?;
    let key = &group.validators.get(usize::try_from(first.validator).ok()?)?.key;
    if !signature.verify(key, &domain.signing_root(&first.message)) {
        return None;
    }
    Some(Combined {
        validator: first.validator,
        exit: SignedVoluntaryExit {
            message: first.message,
            signature: signature.to_bytes(),
        },
        operators: parts.keys().take(need).copied().collect(),
    })
}
