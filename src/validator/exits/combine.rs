//! From t partial exits to the signed one.

use std::collections::BTreeMap;

use crate::{
    crypto::threshold::recover_signature,
    ethereum::exit::{SignedVoluntaryExit, VoluntaryExit},
    validator::group::Group,
};

use super::{Domain, PartialError, PartialExit};

/// A partial exit that is of no use: whose it says it is, and why.
pub type Wrong = (u16, PartialError);

/// Why there is no signed exit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CombineError {
    /// Too few operators signed the same message.
    #[error("{have} of the {need} operators that are needed signed the same exit")]
    TooFew {
        /// The most operators that signed one message.
        have: usize,
        /// How many are needed.
        need: usize,
        /// Whether others signed something else: another validator, index or epoch.
        split: bool,
    },
    /// Right partial signatures give a wrong one.
    #[error("the lock's keys do not belong together")]
    Keys,
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

/// Makes the signed exit of the message that enough operators signed, and gives what was wrong on the way. Everything is
/// checked, the result too.
///
/// # Errors
/// [`CombineError`].
pub fn combine(
    group: &Group,
    domain: &Domain,
    partials: &[PartialExit],
) -> (Result<Combined, CombineError>, Vec<Wrong>) {
    let mut wrong = Vec::new();
    let mut right: BTreeMap<(u32, u64, u64), BTreeMap<u16, &PartialExit>> = BTreeMap::new();
    for partial in partials {
        let checked = partial
            .check_author(group)
            .and_then(|()| partial.check_share(group, domain));
        match checked {
            Ok(()) => {
                let VoluntaryExit {
                    epoch,
                    validator_index,
                } = partial.message;
                let key = (partial.validator, epoch, validator_index);
                right.entry(key).or_default().insert(partial.operator, partial);
            }
            Err(error) => wrong.push((partial.operator, error)),
        }
    }
    let need = usize::from(group.threshold);
    let split = right.len() > 1;
    let most = right.into_values().max_by_key(BTreeMap::len).unwrap_or_default();
    if most.len() < need || need == 0 {
        let have = most.len();
        return (Err(CombineError::TooFew { have, need, split }), wrong);
    }
    (join(group, domain, &most, need).ok_or(CombineError::Keys), wrong)
}

/// Interpolates the first t of checked parts of one message.
fn join(
    group: &Group,
    domain: &Domain,
    parts: &BTreeMap<u16, &PartialExit>,
    need: usize,
) -> Option<Combined> {
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
