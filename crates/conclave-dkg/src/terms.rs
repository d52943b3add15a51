//! What everybody agreed on before the first entry: the fixed facts of one ceremony.

use std::sync::Arc;

use conclave_crypto::bls::{PublicKey, Signature};
use conclave_crypto::domains;
use conclave_crypto::hash::{Hash, sha256};
use conclave_crypto::node::NodePublicKey;
use conclave_crypto::seal::SEAL_OVERHEAD;

use super::entry::Step;
use super::outputs::GroupKeys;

/// Fewest operators of a ceremony.
pub const MIN_OPERATORS: usize = 2;
/// Most operators of a ceremony.
pub const MAX_OPERATORS: usize = 64;
/// Smallest threshold.
pub const MIN_THRESHOLD: usize = 2;
/// Most validators of a ceremony.
pub const MAX_VALIDATORS: usize = 10_000;
/// Bytes of a display name in a Join, zero-padded UTF-8.
pub const NAME_BYTES: usize = 32;
/// Bytes of an uncompressed G1 point on the wire.
pub const POINT_BYTES: usize = 96;

/// What the group signs once it has its keys, and the lock that comes of it.
///
/// The protocol knows neither deposits nor files; this is how it learns which messages every share signs and which
/// hash the seal covers. Implementations must be pure functions of the definition.
pub trait Product: Send + Sync {
    /// Messages that are signed for each validator: one per deposit amount, and the builder registration.
    fn messages(&self) -> usize;

    /// The 32-byte signing roots of one validator (index from 0), as many as [`Product::messages`] says.
    fn signing_roots(&self, validator: usize, group_key: &PublicKey) -> Vec<Hash>;

    /// The lock hash of the finished cluster; `signatures[v]` holds the group signatures of validator `v` in the order of
    /// [`Product::signing_roots`].
    fn lock_hash(&self, keys: &GroupKeys, signatures: &[Vec<Signature>]) -> Hash;
}

/// The fixed facts of one ceremony, the same for every operator.
#[derive(Clone)]
pub struct Terms {
    definition_hash: Hash,
    net: Hash,
    threshold: usize,
    validators: usize,
    operators: Vec<NodePublicKey>,
    product: Arc<dyn Product>,
}

/// Why terms were refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TermsError {
    /// Fewer than 2 or more than 64 operators.
    #[error("a ceremony has 2 to 64 operators, not {0}")]
    Operators(usize),
    /// A threshold below 2 or above the number of operators.
    #[error("the threshold must be from 2 to the number of operators, not {0}")]
    Threshold(usize),
    /// No validators, or more than 10,000.
    #[error("a ceremony makes 1 to 10,000 validators, not {0}")]
    Validators(usize),
    /// Two operators have the same node key.
    #[error("operators {0} and {1} have the same key")]
    Duplicate(u16, u16),
}

impl Terms {
    /// Checks the limits of the protocol: 2 <= n <= 64, 2 <= t <= n, 1 <= V <= 10,000, all node keys different.
    ///
    /// # Errors
    /// The first limit that does not hold.
    pub fn new(
        definition_hash: Hash,
        net: Hash,
        threshold: usize,
        validators: usize,
        operators: Vec<NodePublicKey>,
        product: Arc<dyn Product>,
    ) -> Result<Self, TermsError> {
        let n = operators.len();
        if !(MIN_OPERATORS..=MAX_OPERATORS).contains(&n) {
            return Err(TermsError::Operators(n));
        }
        if !(MIN_THRESHOLD..=n).contains(&threshold) {
            return Err(TermsError::Threshold(threshold));
        }
        if !(1..=MAX_VALIDATORS).contains(&validators) {
            return Err(TermsError::Validators(validators));
        }
        for (i, a) in operators.iter().enumerate() {
            if let Some(j) = operators[..i].iter().position(|b| a == b) {
                return Err(TermsError::Duplicate(index_of(j), index_of(i)));
            }
        }
        Ok(Self {
            definition_hash,
            net,
            threshold,
            validators,
            operators,
            product,
        })
    }

    /// Hash of the cluster definition.
    pub fn definition_hash(&self) -> &Hash {
        &self.definition_hash
    }

    /// Number of operators, n.
    pub fn n(&self) -> usize {
        self.operators.len()
    }

    /// Threshold, t.
    pub fn t(&self) -> usize {
        self.threshold
    }

    /// Number of validators, V.
    pub fn validators(&self) -> usize {
        self.validators
    }

    /// Operator indices, 1..=n.
    pub fn indices(&self) -> impl Iterator<Item = u16> + use<> {
        (0..self.operators.len()).map(index_of)
    }

    /// The node key of an operator, by its index from 1.
    pub fn operator(&self, index: u16) -> Option<&NodePublicKey> {
        self.operators.get(usize::from(index).checked_sub(1)?)
    }

    /// What the group signs.
    pub fn product(&self) -> &dyn Product {
        self.product.as_ref()
    }

    /// `ctx(k)`: what a Join of attempt k signs as its session.
    pub fn ctx(&self, attempt: u32) -> Hash {
        sha256(&[
            domains::CTX.as_bytes(),
            &self.definition_hash,
            &self.net,
            &attempt.to_be_bytes(),
        ])
    }

    /// `sid`: what every later entry signs as its session, from the ids of the n Joins in operator order.
    pub fn sid(&self, attempt: u32, joins: &[Hash]) -> Hash {
        let ctx = self.ctx(attempt);
        let mut parts: Vec<&[u8]> = vec![domains::SID.as_bytes(), &ctx];
        parts.extend(joins.iter().map(<[u8; 32]>::as_slice));
        sha256(&parts)
    }

    /// Points in a Deal or a Reveal: V * t.
    pub fn points(&self) -> usize {
        self.validators * self.threshold
    }

    /// Bytes of a Join's body.
    pub fn join_bytes(&self) -> usize {
        1 + NAME_BYTES + 32 * self.n() + 1
    }

    /// Bytes of the public part of a Deal.
    pub fn deal_public_bytes(&self) -> usize {
        self.points() * POINT_BYTES
    }

    /// Bytes of one sealed message of a Deal: the pairs (s, s') of all validators.
    pub fn sealed_bytes(&self) -> usize {
        SEAL_OVERHEAD + self.validators * 64
    }

    /// The most bytes a body of this step may have; honest bodies of all steps but 2 have exactly this size.
    pub fn body_bytes(&self, step: Step) -> usize {
        match step {
            Step::Join => self.join_bytes(),
            Step::Deal => self.deal_public_bytes() + self.n() * self.sealed_bytes(),
            Step::Ack | Step::Stored | Step::Done => 32,
            Step::Reveal => self.points() * POINT_BYTES + conclave_crypto::proof::Proof::SIZE,
            Step::Sign => self.validators * self.product.messages() * 96,
            Step::Seal => 32 + 65 + 96,
        }
    }
}

/// The operator index (from 1) of a position (from 0). There are at most 64 operators.
pub(crate) fn index_of(position: usize) -> u16 {
    u16::try_from(position + 1).unwrap_or(u16::MAX)
}
