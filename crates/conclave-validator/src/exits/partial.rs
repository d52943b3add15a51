//! One operator's part of an exit: on the wire, and as a file.

use serde::{Deserialize, Serialize};

use crate::group::Group;
use conclave_crypto::{
    bls::{SecretKey, Signature},
    domains,
    hash::{Hash, sha256},
    node::NodeKey,
};
use conclave_dkg::wire::Reader;
use conclave_eth::{
    exit::VoluntaryExit,
    recognise::{self, Content},
};

use super::Domain;

/// Bytes of an encoded partial exit.
pub const LENGTH: usize = 2 + 4 + 8 + 8 + 8 + 96 + 64;
/// Most bytes that the file of a partial exit may have.
pub const MAX_FILE_BYTES: usize = 4096;

/// What an operator's share signed, and the operator's own signature, by which anybody can pass it on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialExit {
    /// The operator, from 1.
    pub operator: u16,
    /// The validator, by its place in the lock, from 0.
    pub validator: u32,
    /// What is signed.
    pub message: VoluntaryExit,
    /// When it was signed, in milliseconds since the Unix epoch: of two by one operator the later one counts.
    pub made_ms: u64,
    /// The share's signature, compressed.
    signature: [u8; 96],
    /// The node key's signature of all of this and the lock's hash.
    node_signature: [u8; 64],
}

/// Why a partial exit is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartialError {
    /// The file is no partial exit.
    #[error("it is no partial exit: {0}")]
    Malformed(String),
    /// It is of another lock.
    #[error("it is of another cluster")]
    OtherCluster,
    /// Its validator or operator is not in the lock.
    #[error("the lock knows no such {0}")]
    Unknown(&'static str),
    /// Whoever made it does not have the operator's key.
    #[error("the operator that it names did not sign it")]
    NodeSignature,
    /// The share's signature is wrong.
    #[error("the operator's share did not sign this exit for this network")]
    Share,
}

impl PartialExit {
    /// Signs with the share of a validator (by its place in the lock) and the node key of an operator.
    pub fn sign(
        (operator, key): (u16, &NodeKey),
        (validator, share): (u32, &SecretKey),
        lock_hash: &Hash,
        domain: &Domain,
        message: VoluntaryExit,
        made_ms: u64,
    ) -> Self {
        let mut partial = Self {
            operator,
            validator,
            message,
            made_ms,
            signature: share.sign(&domain.signing_root(&message)).to_bytes(),
            node_signature: [0; 64],
        };
        partial.node_signature = key.sign(&partial.digest(lock_hash));
        partial
    }

    /// What the node key signs.
    fn digest(&self, lock_hash: &Hash) -> Hash {
        sha256(&[domains::RUN_EXIT.as_bytes(), lock_hash, &self.unsigned()])
    }

    fn unsigned(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend_from_slice(&self.operator.to_be_bytes());
        bytes.extend_from_slice(&self.validator.to_be_bytes());
        bytes.extend_from_slice(&self.message.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.message.validator_index.to_be_bytes());
        bytes.extend_from_slice(&self.made_ms.to_be_bytes());
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// `u16 operator || u32 validator || u64 epoch || u64 index || u64 time || signature || node signature`: [`LENGTH`]
    /// bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.unsigned();
        bytes.extend_from_slice(&self.node_signature);
        bytes
    }

    /// Reads what [`PartialExit::encode`] wrote; `None` for everything else. Signatures are not checked.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let partial = Self {
            operator: reader.u16()?,
            validator: reader.u32()?,
            message: VoluntaryExit {
                epoch: reader.u64()?,
                validator_index: reader.u64()?,
            },
            made_ms: reader.u64()?,
            signature: reader.array()?,
            node_signature: reader.array()?,
        };
        reader.is_empty().then_some(partial)
    }

    /// The share's signature, if it is the encoding of one. It is not checked against a key.
    pub(super) fn share_signature(&self) -> Option<Signature> {
        Signature::from_bytes(&self.signature).ok()
    }

    /// Checks that the operator made it.
    ///
    /// # Errors
    /// [`PartialError::Unknown`], [`PartialError::NodeSignature`].
    pub fn check_author(&self, group: &Group) -> Result<(), PartialError> {
        let operator = group
            .operator(self.operator)
            .ok_or(PartialError::Unknown("operator"))?;
        let digest = self.digest(&group.lock_hash);
        if operator.key.verify(&digest, &self.node_signature) {
            Ok(())
        } else {
            Err(PartialError::NodeSignature)
        }
    }

    /// Checks that the operator's share signed it.
    ///
    /// # Errors
    /// [`PartialError::Unknown`], [`PartialError::Share`].
    pub fn check_share(&self, group: &Group, domain: &Domain) -> Result<(), PartialError> {
        let share = group
            .share(self.operator, self.validator)
            .ok_or(PartialError::Unknown("validator"))?;
        let root = domain.signing_root(&self.message);
        let signature = self.share_signature().ok_or(PartialError::Share)?;
        if signature.verify(share, &root) {
            Ok(())
        } else {
            Err(PartialError::Share)
        }
    }

    /// The file that operators send each other. Empty if the validator is not in the lock.
    pub fn to_json(&self, group: &Group) -> Vec<u8> {
        let validator = usize::try_from(self.validator)
            .ok()
            .and_then(|place| group.validators.get(place));
        let Some(validator) = validator else {
            return Vec::new();
        };
        let file = File {
            lock_hash: hexadecimal(&group.lock_hash),
            public_key: hexadecimal(&validator.key.to_bytes()),
            operator: self.operator,
            message: Message {
                epoch: self.message.epoch.to_string(),
                validator_index: self.message.validator_index.to_string(),
            },
            made_ms: self.made_ms.to_string(),
            partial_signature: hexadecimal(&self.signature),
            node_signature: hexadecimal(&self.node_signature),
        };
        let mut bytes = serde_json::to_vec_pretty(&file).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// Reads a file of this group. Signatures are not checked.
    ///
    /// # Errors
    /// [`PartialError::Malformed`], [`PartialError::OtherCluster`], [`PartialError::Unknown`].
    pub fn from_json(bytes: &[u8], group: &Group) -> Result<Self, PartialError> {
        let malformed = |why: &str| PartialError::Malformed(why.to_owned());
        if bytes.len() > MAX_FILE_BYTES {
            return Err(malformed("it is too long"));
        }
        let file: File = recognise::json(bytes, &Content::ExitPart).map_err(PartialError::Malformed)?;
        if array::<32>("lock_hash", &file.lock_hash)? != group.lock_hash {
            return Err(PartialError::OtherCluster);
        }
        if group.operator(file.operator).is_none() {
            return Err(PartialError::Unknown("operator"));
        }
        let key: [u8; 48] = array("public_key", &file.public_key)?;
        let place = group
            .validators
            .iter()
            .position(|validator| validator.key.to_bytes() == key)
            .ok_or(PartialError::Unknown("validator"))?;
        Ok(Self {
            operator: file.operator,
            validator: u32::try_from(place).map_err(|_| PartialError::Unknown("validator"))?,
            message: VoluntaryExit {
                epoch: number("epoch", &file.message.epoch)?,
                validator_index: number("validator_index", &file.message.validator_index)?,
            },
            made_ms: number("made_ms", &file.made_ms)?,
            signature: array("partial_signature", &file.partial_signature)?,
            node_signature: array("node_signature", &file.node_signature)?,
        })
    }
}

/// The file: numbers of 64 bits in quotes, as in the beacon node's API.
#[derive(Serialize, Deserialize)]
struct File {
    lock_hash: String,
    public_key: String,
    operator: u16,
    message: Message,
    made_ms: String,
    partial_signature: String,
    node_signature: String,
}

#[derive(Serialize, Deserialize)]
struct Message {
    epoch: String,
    validator_index: String,
}

fn hexadecimal(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

fn array<const N: usize>(what: &str, text: &str) -> Result<[u8; N], PartialError> {
    let mut bytes = [0; N];
    text.strip_prefix("0x")
        .filter(|digits| hex::decode_to_slice(digits, &mut bytes).is_ok())
        .map(|_| bytes)
        .ok_or_else(|| PartialError::Malformed(format!("{what} is not 0x and {} hexadecimal digits", 2 * N)))
}

fn number(what: &str, text: &str) -> Result<u64, PartialError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| PartialError::Malformed(format!("{what} is not a whole number in quotes")))
}
