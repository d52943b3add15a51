//! The group as its lock describes it: who the operators are, and the keys of the validators.

use conclave_cluster::lock::Lock;
use conclave_crypto::{bls::PublicKey, hash::Hash, node::NodePublicKey};

/// An operator of the lock.
#[derive(Debug, Clone)]
pub struct Operator {
    /// The display name.
    pub name: String,
    /// The key that signs messages, and the libp2p identity.
    pub key: NodePublicKey,
}

/// A validator of the lock.
#[derive(Debug, Clone)]
pub struct Validator {
    /// The distributed key: what the chain knows.
    pub key: PublicKey,
    /// Each operator's public share, in operator order.
    pub shares: Vec<PublicKey>,
    /// Who gets the fees of its blocks.
    pub fee_recipient: [u8; 20],
}

/// Why a lock cannot be validated with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// Two halves of the group could each sign something else.
    #[error("{threshold} of {operators} is no majority: two halves of the group could sign different things")]
    NoMajority {
        /// Operators.
        operators: usize,
        /// Threshold.
        threshold: u64,
    },
    /// A key in the lock is no key.
    #[error("the lock holds a key that is none ({0})")]
    Key(&'static str),
    /// The lock's counts do not fit together.
    #[error("the lock is not one that a ceremony makes: {0}")]
    Shape(&'static str),
}

/// What every part of the validator needs to know of the lock. Operators are numbered from 1, validators from 0.
#[derive(Debug, Clone)]
pub struct Group {
    /// The hash that names the cluster.
    pub lock_hash: Hash,
    /// How many partial signatures make a signature.
    pub threshold: u16,
    /// In the order of the lock.
    pub operators: Vec<Operator>,
    /// In the order of the lock.
    pub validators: Vec<Validator>,
}

impl Group {
    /// From a lock that was verified. `names` are display names in operator order; a missing one becomes a number.
    ///
    /// # Errors
    /// A threshold that is no majority; keys that are none; counts that do not fit.
    pub fn new(lock: &Lock, names: &[String]) -> Result<Self, GroupError> {
        let group = Self::for_exits(lock, names)?;
        if usize::from(group.threshold) * 2 <= group.operators.len() {
            return Err(GroupError::NoMajority {
                operators: group.operators.len(),
                threshold: group.threshold.into(),
            });
        }
        Ok(group)
    }

    /// As [`Self::new`], for voluntary exits only, which nobody is slashed for: the threshold need not be a majority.
    ///
    /// # Errors
    /// Keys that are none; counts that do not fit.
    pub fn for_exits(lock: &Lock, names: &[String]) -> Result<Self, GroupError> {
        let definition = lock.definition();
        let count = definition.operators.len();
        if !(2..=64).contains(&count) {
            return Err(GroupError::Shape("it has fewer than 2 or more than 64 operators"));
        }
        let threshold = u16::try_from(definition.threshold).map_err(|_| GroupError::Shape("threshold"))?;
        if usize::from(threshold) > count {
            return Err(GroupError::Shape("its threshold is larger than the group"));
        }
        let mut operators = Vec::with_capacity(count);
        for (index, record) in definition.operators.iter().enumerate() {
            let name = names.get(index).filter(|name| !name.is_empty());
            operators.push(Operator {
                name: name.cloned().unwrap_or_else(|| format!("operator {}", index + 1)),
                key: *record.enr.node_public_key(),
            });
        }
        let mut validators = Vec::with_capacity(lock.validators().len());
        for validator in lock.validators() {
            let key = PublicKey::from_bytes(&validator.public_key)
                .map_err(|_| GroupError::Key("a distributed key"))?;
            let shares: Result<Vec<_>, _> = validator
                .public_shares
                .iter()
                .map(PublicKey::from_bytes)
                .collect();
            let shares = shares.map_err(|_| GroupError::Key("a public share"))?;
            if shares.len() != count {
                return Err(GroupError::Shape(
                    "a validator has not one share for each operator",
                ));
            }
            let place = validators.len();
            let addresses = definition
                .validators
                .get(place)
                .ok_or(GroupError::Shape("it has more validators than its definition"))?;
            validators.push(Validator {
                key,
                shares,
                fee_recipient: addresses.fee_recipient.0,
            });
        }
        Ok(Self {
            lock_hash: lock.lock_hash(),
            threshold,
            operators,
            validators,
        })
    }

    /// How many operators.
    pub fn size(&self) -> u16 {
        u16::try_from(self.operators.len()).unwrap_or(u16::MAX)
    }

    /// How many may be off while duties go on: n - t.
    pub fn may_be_off(&self) -> u16 {
        self.size() - self.threshold
    }

    /// How many may lie, run twice or forget what they signed without two signatures for one duty: 2t - n - 1.
    pub fn may_lie(&self) -> u16 {
        (2 * self.threshold).saturating_sub(self.size() + 1)
    }

    /// An operator's display name.
    pub fn name(&self, operator: u16) -> &str {
        self.operator(operator)
            .map_or("nobody", |operator| operator.name.as_str())
    }

    /// An operator by its number, from 1.
    pub fn operator(&self, operator: u16) -> Option<&Operator> {
        self.operators.get(usize::from(operator).checked_sub(1)?)
    }

    /// An operator's public share of a validator.
    pub fn share(&self, operator: u16, validator: u32) -> Option<&PublicKey> {
        let shares = &self.validators.get(usize::try_from(validator).ok()?)?.shares;
        shares.get(usize::from(operator).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "cluster-lock.json";

    fn lock(name: &str) -> Lock {
        let path = format!("{}/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
        Lock::from_json(&std::fs::read(path).unwrap()).unwrap()
    }

    #[test]
    fn a_lock_gives_its_group() {
        let lock = lock(LOCK);
        let group = Group::new(&lock, &["Ada".into(), String::new()]).unwrap();
        assert_eq!((group.size(), group.threshold), (4, 3));
        assert_eq!((group.may_be_off(), group.may_lie()), (1, 1));
        assert_eq!(
            (group.name(1), group.name(2), group.name(5), group.name(0)),
            ("Ada", "operator 2", "nobody", "nobody")
        );
        assert_eq!(group.validators.len(), lock.validators().len());
        assert!(group.share(4, 0).is_some());
        assert!(group.share(5, 0).is_none());
        assert!(group.share(0, 0).is_none());
        assert!(group.share(1, 1000).is_none());
    }

    #[test]
    fn what_a_threshold_tolerates() {
        let lock = lock(LOCK);
        let mut group = Group::new(&lock, &[]).unwrap();
        for (n, t, off, lie) in [
            (3, 2, 1, 0),
            (4, 3, 1, 1),
            (5, 4, 1, 2),
            (6, 4, 2, 1),
            (7, 5, 2, 2),
            (10, 7, 3, 3),
        ] {
            let one = group.operators[0].clone();
            group.operators = vec![one; n];
            group.threshold = t;
            assert_eq!((group.may_be_off(), group.may_lie()), (off, lie), "{t} of {n}");
        }
    }
}
