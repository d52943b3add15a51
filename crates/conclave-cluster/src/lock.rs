//! `cluster-lock.json`: what a ceremony made.
//!
//! A lock comes into being in two steps, since signatures cover its hash: a [`LockBody`] has everything that is hashed,
//! a [`Lock`] the signatures over the hash as well. Reading checks form only; see [`Lock::verify`] for the contents.

use super::definition::{ClaimedHashes, Definition, DefinitionError, MAX_VALIDATORS};
use super::hashes::{self, MAX_PER_VALIDATOR};
use super::json::{self, JsonError, Node, Writer};
use conclave_crypto::hash::Hash;
use conclave_eth::recognise::Content;

/// Largest lock file in bytes that is read: 10,000 validators of 64 operators have about 90 million.
pub const MAX_FILE: usize = 128 << 20;

/// Why a file is no lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// The file is something else.
    #[error("this is {0}, not a cluster lock")]
    OtherFile(Content),
    /// The file is no lock, or a field has the wrong form.
    #[error("the lock cannot be read: {0}")]
    Json(#[from] JsonError),
    /// The definition inside it is not valid.
    #[error("the lock's definition: {0}")]
    Definition(#[from] DefinitionError),
    /// More of something than the format can hold.
    #[error("the lock is not valid: {0}")]
    Rule(String),
}

/// One validator: its distributed key, who holds which share of it, and what was signed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistributedValidator {
    /// The group's public key, 48 bytes compressed: the validator's key on the chain.
    pub public_key: [u8; 48],
    /// Public key of every operator's share, in operator order: the first has share index 1.
    pub public_shares: Vec<[u8; 48]>,
    /// The builder registration that the group signed.
    pub registration: BuilderRegistration,
    /// The deposits that the group signed, in ascending order of amounts.
    pub deposits: Vec<PartialDeposit>,
}

/// A signed builder registration (builder-specs, `ValidatorRegistrationV1`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuilderRegistration {
    /// 20 bytes address that receives the fees.
    pub fee_recipient: [u8; 20],
    /// Gas limit.
    pub gas_limit: u64,
    /// Unix seconds.
    pub timestamp: u64,
    /// The validator's key, 48 bytes.
    pub pubkey: [u8; 48],
    /// The group's BLS signature, 96 bytes.
    pub signature: [u8; 96],
}

/// A signed deposit (consensus-specs, `DepositData`); the validator's stake may be deposited in several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialDeposit {
    /// The validator's key, 48 bytes.
    pub pubkey: [u8; 48],
    /// Withdrawal credentials, 32 bytes.
    pub withdrawal_credentials: [u8; 32],
    /// Amount in gwei.
    pub amount: u64,
    /// The group's BLS signature, 96 bytes.
    pub signature: [u8; 96],
}

/// Everything that the lock hash covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockBody {
    definition: Definition,
    validators: Vec<DistributedValidator>,
    lock_hash: Hash,
}

impl LockBody {
    /// Puts a lock together and computes its hash.
    ///
    /// # Errors
    /// [`LockError::Rule`] if there are more validators, shares or deposits than the format can hold.
    pub fn new(definition: Definition, validators: Vec<DistributedValidator>) -> Result<Self, LockError> {
        let lock_hash = hashes::lock_hash(&definition.definition_hash(), &validators)
            .map_err(|error| LockError::Rule(format!("too many validators, shares or deposits: {error}")))?;
        Ok(LockBody {
            definition,
            validators,
            lock_hash,
        })
    }

    /// The hash over definition and validators: what the operators sign last.
    pub fn lock_hash(&self) -> Hash {
        self.lock_hash
    }

    /// The definition.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// The validators, in the order of the definition's addresses.
    pub fn validators(&self) -> &[DistributedValidator] {
        &self.validators
    }
}

/// A whole lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    body: LockBody,
    signature_aggregate: Option<[u8; 96]>,
    node_signatures: Vec<[u8; 65]>,
    claimed: Claimed,
}

/// Hashes that the file claims to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) definition: ClaimedHashes,
    pub(super) lock_hash: Hash,
}

impl Lock {
    /// A lock made of its body, the sum of all operators' BLS signatures with all their shares over the lock hash, and
    /// each operator's signature (R, S, V with V 0 or 1) over it in operator order.
    pub fn assemble(body: LockBody, signature_aggregate: [u8; 96], node_signatures: Vec<[u8; 65]>) -> Self {
        let definition = ClaimedHashes {
            config_hash: body.definition.config_hash(),
            definition_hash: body.definition.definition_hash(),
        };
        let claimed = Claimed {
            definition,
            lock_hash: body.lock_hash,
        };
        Lock {
            body,
            signature_aggregate: Some(signature_aggregate),
            node_signatures,
            claimed,
        }
    }

    /// Reads a `cluster-lock.json` of at most [`MAX_FILE`] bytes. Checks the form of every field and every rule for
    /// definitions, but no hash and no signature: that is [`Lock::verify`].
    ///
    /// # Errors
    /// See [`LockError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, LockError> {
        Self::read(bytes).map_err(|error| match Content::instead_of(&Content::Lock, bytes) {
            Some(other) => LockError::OtherFile(other),
            None => error,
        })
    }

    fn read(bytes: &[u8]) -> Result<Self, LockError> {
        let value = json::parse(bytes, MAX_FILE)?;
        let root = Node::root(&value);
        let (definition, claimed_definition) = Definition::read(&root.get("cluster_definition")?)?;
        let mut validators = Vec::new();
        for validator in root.get("distributed_validators")?.list(MAX_VALIDATORS)? {
            validators.push(read_validator(&validator)?);
        }
        let aggregate = root.get("signature_aggregate")?;
        let signature_aggregate = if aggregate.text(2 + 2 * 96)?.is_empty() {
            None
        } else {
            Some(aggregate.hex_exact()?)
        };
        let mut node_signatures = Vec::new();
        for signature in root
            .get("node_signatures")?
            .list(super::definition::MAX_OPERATORS)?
        {
            node_signatures.push(signature.hex_exact()?);
        }
        let claimed = Claimed {
            definition: claimed_definition,
            lock_hash: root.get("lock_hash")?.hex_exact()?,
        };
        Ok(Lock {
            body: LockBody::new(definition, validators)?,
            signature_aggregate,
            node_signatures,
            claimed,
        })
    }

    /// The bytes of `cluster-lock.json`, as the other software writes them. Hashes are those of the contents.
    pub fn to_json(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.object(|w| {
            w.key("cluster_definition");
            self.body.definition.write(w);
            w.key("distributed_validators")
                .list(&self.body.validators, write_validator);
            w.key("signature_aggregate")
                .hex(self.signature_aggregate.as_ref().map_or(&[], |s| s.as_slice()));
            w.key("lock_hash").hex(&self.body.lock_hash);
            w.key("node_signatures")
                .list(&self.node_signatures, |w, signature| w.hex(signature));
        });
        writer.finish()
    }

    /// What the lock hash covers.
    pub fn body(&self) -> &LockBody {
        &self.body
    }

    /// The definition.
    pub fn definition(&self) -> &Definition {
        &self.body.definition
    }

    /// The validators, in the order of the definition's addresses and of the keystores' numbers.
    pub fn validators(&self) -> &[DistributedValidator] {
        &self.body.validators
    }

    /// The hash of the contents. What the file claims may differ; [`Lock::verify`] says so.
    pub fn lock_hash(&self) -> Hash {
        self.body.lock_hash
    }

    /// The sum of all operators' BLS signatures with all their shares over the lock hash, 96 bytes.
    pub fn signature_aggregate(&self) -> Option<&[u8; 96]> {
        self.signature_aggregate.as_ref()
    }

    /// Every operator's signature over the lock hash, 65 bytes each, in operator order.
    pub fn node_signatures(&self) -> &[[u8; 65]] {
        &self.node_signatures
    }

    /// Hashes that the file claims to have.
    pub(super) fn claimed(&self) -> &Claimed {
        &self.claimed
    }
}

fn read_validator(node: &Node<'_>) -> Result<DistributedValidator, JsonError> {
    let mut public_shares = Vec::new();
    for share in node.get("public_shares")?.list(MAX_PER_VALIDATOR)? {
        public_shares.push(share.hex_exact()?);
    }
    let mut deposits = Vec::new();
    for deposit in node.get("partial_deposit_data")?.list(MAX_PER_VALIDATOR)? {
        deposits.push(PartialDeposit {
            pubkey: deposit.get("pubkey")?.hex_exact()?,
            withdrawal_credentials: deposit.get("withdrawal_credentials")?.hex_exact()?,
            amount: deposit.get("amount")?.quoted_integer()?,
            signature: deposit.get("signature")?.hex_exact()?,
        });
    }
    let registration = node.get("builder_registration")?;
    let message = registration.get("message")?;
    Ok(DistributedValidator {
        public_key: node.get("distributed_public_key")?.hex_exact()?,
        public_shares,
        registration: BuilderRegistration {
            fee_recipient: message.get("fee_recipient")?.hex_exact()?,
            gas_limit: message.get("gas_limit")?.integer()?,
            timestamp: message.get("timestamp")?.integer()?,
            pubkey: message.get("pubkey")?.hex_exact()?,
            signature: registration.get("signature")?.hex_exact()?,
        },
        deposits,
    })
}

fn write_validator(w: &mut Writer, validator: &DistributedValidator) {
    w.object(|w| {
        w.key("distributed_public_key").hex(&validator.public_key);
        if !validator.public_shares.is_empty() {
            w.key("public_shares")
                .list(&validator.public_shares, |w, share| w.hex(share));
        }
        let registration = &validator.registration;
        w.key("builder_registration").object(|w| {
            w.key("message").object(|w| {
                w.key("fee_recipient").hex(&registration.fee_recipient);
                w.key("gas_limit").integer(registration.gas_limit);
                w.key("timestamp").integer(registration.timestamp);
                w.key("pubkey").hex(&registration.pubkey);
            });
            w.key("signature").hex(&registration.signature);
        });
        if !validator.deposits.is_empty() {
            w.key("partial_deposit_data")
                .list(&validator.deposits, |w, deposit| {
                    w.object(|w| {
                        w.key("pubkey").hex(&deposit.pubkey);
                        w.key("withdrawal_credentials")
                            .hex(&deposit.withdrawal_credentials);
                        w.key("amount").text(&deposit.amount.to_string());
                        w.key("signature").hex(&deposit.signature);
                    });
                });
        }
    });
}
