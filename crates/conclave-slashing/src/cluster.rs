//! Whose shares are guarded.

use std::collections::HashMap;

use super::error::GuardError;
use conclave_cluster::lock::Lock;
use conclave_crypto::hash::Hash;

/// A compressed BLS public key: 48 bytes.
pub type Key = [u8; 48];

/// The public keys of one validator, as one operator sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidatorKeys {
    /// The distributed key, which is on chain.
    pub distributed: Key,
    /// The public key of this operator's share.
    pub share: Key,
}

/// One operator of one lock: what a slashing protection database is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    lock_hash: Hash,
    operator: u16,
    validators: Vec<ValidatorKeys>,
    by_key: HashMap<Key, u32>,
}

impl Cluster {
    /// An operator (from 1) of a lock, with all its validators in the lock's order.
    ///
    /// # Errors
    /// If there is no validator, or one key twice.
    pub fn new(lock_hash: Hash, operator: u16, validators: Vec<ValidatorKeys>) -> Result<Self, GuardError> {
        if validators.is_empty() || operator == 0 {
            return Err(GuardError::BadCluster(
                "It has no validator, or operator 0".to_owned(),
            ));
        }
        let mut by_key = HashMap::with_capacity(2 * validators.len());
        for (index, keys) in (0u32..).zip(&validators) {
            for key in [keys.distributed, keys.share] {
                if by_key.insert(key, index).is_some() {
                    return Err(GuardError::BadCluster(format!(
                        "The key 0x{} is in it twice",
                        hex::encode(key)
                    )));
                }
            }
        }
        Ok(Self {
            lock_hash,
            operator,
            validators,
            by_key,
        })
    }

    /// An operator (from 1) of a lock.
    ///
    /// # Errors
    /// If the lock has no such operator; as [`Self::new`].
    pub fn of_lock(lock: &Lock, operator: u16) -> Result<Self, GuardError> {
        let validators: Option<Vec<ValidatorKeys>> = lock
            .validators()
            .iter()
            .map(|validator| {
                let share = usize::from(operator).checked_sub(1)?;
                Some(ValidatorKeys {
                    distributed: validator.public_key,
                    share: *validator.public_shares.get(share)?,
                })
            })
            .collect();
        let validators =
            validators.ok_or_else(|| GuardError::BadCluster(format!("It has no operator {operator}")))?;
        Self::new(lock.lock_hash(), operator, validators)
    }

    /// The lock hash, 32 bytes.
    pub fn lock_hash(&self) -> &Hash {
        &self.lock_hash
    }

    /// The operator, from 1.
    pub fn operator(&self) -> u16 {
        self.operator
    }

    /// All validators in the lock's order.
    pub fn validators(&self) -> &[ValidatorKeys] {
        &self.validators
    }

    /// The validator (from 0) with this distributed key, or with this public share of the operator.
    pub fn find(&self, key: &Key) -> Option<u32> {
        self.by_key.get(key).copied()
    }

    /// The distributed key of a validator, by its index in the lock.
    pub(super) fn distributed(&self, validator: u32) -> Option<&Key> {
        let keys = self.validators.get(usize::try_from(validator).ok()?)?;
        Some(&keys.distributed)
    }
}
