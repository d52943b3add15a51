//! What beacon nodes answer. Unknown fields are skipped: nodes add their own.

use serde::{Deserialize, Serialize};

use crate::{
    crypto::hash::Hash,
    validator::chain::{json, types::BeaconBlockHeader},
};

use super::choice;

/// `{"data": ...}`.
#[derive(Debug, Deserialize)]
pub(super) struct Data<T> {
    pub(super) data: T,
}

/// `{"data": ..., "execution_optimistic": ...}`.
#[derive(Debug, Deserialize)]
pub(super) struct Optimistic<T> {
    pub(super) data: T,
    #[serde(default)]
    pub(super) execution_optimistic: bool,
}

/// `{"data": ..., "dependent_root": ..., "execution_optimistic": ...}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Duties<T> {
    /// The block on which the duties depend: when it changes they must be asked for again. 32 bytes.
    #[serde(with = "json::bytes")]
    pub dependent_root: Hash,
    /// Whether the head has not been verified by the node's execution client.
    #[serde(default)]
    pub execution_optimistic: bool,
    /// The duties.
    pub data: Vec<T>,
}

/// `/eth/v1/node/version`.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    pub(super) version: String,
}

/// `/eth/v1/node/syncing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Syncing {
    /// The slot of the node's head.
    #[serde(with = "json::number")]
    pub head_slot: u64,
    /// How many slots it is behind.
    #[serde(with = "json::number")]
    pub sync_distance: u64,
    /// Whether it is catching up.
    pub is_syncing: bool,
    /// Whether its head has not been verified by its execution client.
    #[serde(default)]
    pub is_optimistic: bool,
    /// Whether its execution client is not reachable.
    #[serde(default)]
    pub el_offline: bool,
}

/// A validator in the head state.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ValidatorStatus {
    /// Its index.
    #[serde(with = "json::number")]
    pub index: u64,
    /// Its balance in Gwei.
    #[serde(with = "json::number")]
    pub balance: u64,
    /// `pending_queued`, `active_ongoing`, `active_exiting`, `exited_unslashed` and so on, as the node writes it.
    pub status: String,
    /// What the state says of it.
    pub validator: ValidatorRecord,
}

/// A validator's record, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ValidatorRecord {
    /// Public key, compressed, 48 bytes.
    #[serde(with = "json::bytes")]
    pub pubkey: [u8; 48],
    /// What counts for rewards, in Gwei.
    #[serde(with = "json::number")]
    pub effective_balance: u64,
    /// Whether it was slashed.
    pub slashed: bool,
    /// First epoch with duties.
    #[serde(with = "json::number")]
    pub activation_epoch: u64,
    /// First epoch without.
    #[serde(with = "json::number")]
    pub exit_epoch: u64,
}

/// An attestation that is due.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AttesterDuty {
    /// Public key, 48 bytes.
    #[serde(with = "json::bytes")]
    pub pubkey: [u8; 48],
    /// The validator.
    #[serde(with = "json::number")]
    pub validator_index: u64,
    /// Its committee.
    #[serde(with = "json::number")]
    pub committee_index: u64,
    /// Members of the committee.
    #[serde(with = "json::number")]
    pub committee_length: u64,
    /// Committees of the slot.
    #[serde(with = "json::number")]
    pub committees_at_slot: u64,
    /// Its place in the committee.
    #[serde(with = "json::number")]
    pub validator_committee_index: u64,
    /// The slot.
    #[serde(with = "json::number")]
    pub slot: u64,
}

/// A proposal that is due.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ProposerDuty {
    /// Public key, 48 bytes.
    #[serde(with = "json::bytes")]
    pub pubkey: [u8; 48],
    /// The validator.
    #[serde(with = "json::number")]
    pub validator_index: u64,
    /// The slot.
    #[serde(with = "json::number")]
    pub slot: u64,
}

/// Proposals of an epoch and which rule tells on what they depend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposerDuties {
    /// The proposals and the block on which they depend.
    pub duties: Duties<ProposerDuty>,
    /// Whether the dependent root is that of version 2: of the epoch before, as Fulu's lookahead makes them. In
    /// version 1 nodes differ since Fulu.
    pub v2: bool,
}

/// Membership in the sync committee.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SyncDuty {
    /// Public key, 48 bytes.
    #[serde(with = "json::bytes")]
    pub pubkey: [u8; 48],
    /// The validator.
    #[serde(with = "json::number")]
    pub validator_index: u64,
    /// Its places in the committee.
    #[serde(deserialize_with = "numbers")]
    pub validator_sync_committee_indices: Vec<u64>,
}

/// What an attestation brought, of one validator or as it would be at best. In Gwei; penalties are negative.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct AttestationReward {
    #[serde(with = "json::number")]
    pub(super) validator_index: u64,
    #[serde(deserialize_with = "signed")]
    pub(super) head: i64,
    #[serde(deserialize_with = "signed")]
    pub(super) target: i64,
    #[serde(deserialize_with = "signed")]
    pub(super) source: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct IdealReward {
    #[serde(deserialize_with = "signed")]
    pub(super) head: i64,
}

/// `/eth/v1/beacon/rewards/attestations/{epoch}`.
#[derive(Debug, Deserialize)]
pub(super) struct AttestationRewards {
    #[serde(default)]
    pub(super) ideal_rewards: Vec<IdealReward>,
    pub(super) total_rewards: Vec<AttestationReward>,
}

/// `/eth/v1/validator/liveness/{epoch}`.
#[derive(Debug, Deserialize)]
pub(super) struct Liveness {
    #[serde(with = "json::number")]
    pub(super) index: u64,
    pub(super) is_live: bool,
}

/// What the chain says of a validator's vote of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// The validator's index on the chain.
    pub index: u64,
    /// Whether a block has it in time for anything.
    pub included: bool,
    /// Whether its target was right and in time, if that is known.
    pub target: Option<bool>,
    /// Whether its head was right and in the very next block, if that is known.
    pub head: Option<bool>,
}

fn signed<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

/// A committee of a slot.
#[derive(Debug, Deserialize)]
pub(super) struct Committee {
    #[serde(with = "json::number")]
    pub(super) index: u64,
    #[serde(with = "json::number")]
    pub(super) slot: u64,
    #[serde(deserialize_with = "numbers")]
    pub(super) validators: Vec<u64>,
}

/// A sync committee.
#[derive(Debug, Deserialize)]
pub(super) struct SyncCommittee {
    #[serde(deserialize_with = "numbers")]
    pub(super) validators: Vec<u64>,
}

fn numbers<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    #[derive(Deserialize)]
    struct Number(#[serde(with = "json::number")] u64);
    let numbers: Vec<Number> = Deserialize::deserialize(deserializer)?;
    Ok(numbers.into_iter().map(|number| number.0).collect())
}

/// A block root and what the node knows of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRoot {
    /// 32 bytes.
    pub root: Hash,
    /// Whether the execution client has not verified the block.
    pub execution_optimistic: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Root {
    #[serde(with = "json::bytes")]
    pub(super) root: Hash,
}

/// A block's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The block's root, 32 bytes; it is that of the header.
    pub root: Hash,
    /// The header.
    pub header: BeaconBlockHeader,
    /// Whether it is on the node's canonical chain.
    pub canonical: bool,
    /// Whether the execution client has not verified the block.
    pub execution_optimistic: bool,
}

impl Header {
    /// As a head.
    pub(super) fn head(&self) -> choice::Head {
        choice::Head {
            slot: self.header.slot,
            root: Some(self.root),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct HeaderData {
    #[serde(with = "json::bytes")]
    pub(super) root: Hash,
    pub(super) canonical: bool,
    pub(super) header: SignedHeader,
}

#[derive(Debug, Deserialize)]
pub(super) struct SignedHeader {
    pub(super) message: BeaconBlockHeader,
}

/// Tells a node which committee to listen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CommitteeSubscription {
    /// The validator.
    #[serde(with = "json::number")]
    pub validator_index: u64,
    /// Its committee.
    #[serde(with = "json::number")]
    pub committee_index: u64,
    /// Committees of the slot.
    #[serde(with = "json::number")]
    pub committees_at_slot: u64,
    /// The slot.
    #[serde(with = "json::number")]
    pub slot: u64,
    /// Whether the validator aggregates.
    pub is_aggregator: bool,
}

/// Tells a node which sync subcommittees to listen to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SyncSubscription {
    /// The validator.
    #[serde(with = "json::number")]
    pub validator_index: u64,
    /// Its places in the committee.
    #[serde(serialize_with = "write_numbers")]
    pub sync_committee_indices: Vec<u64>,
    /// First epoch without the duty.
    #[serde(with = "json::number")]
    pub until_epoch: u64,
}

fn write_numbers<S: serde::Serializer>(numbers: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(numbers.iter().map(u64::to_string))
}

/// Tells a node who gets the fees of a validator's blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ProposerPreparation {
    /// The validator.
    #[serde(with = "json::number")]
    pub validator_index: u64,
    /// Execution address, 20 bytes.
    #[serde(with = "json::bytes")]
    pub fee_recipient: [u8; 20],
}

/// A builder registration as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignedRegistration {
    /// What is signed.
    pub message: RegistrationMessage,
    /// The validator's signature.
    #[serde(with = "json::bytes")]
    pub signature: [u8; 96],
}

/// `ValidatorRegistrationV1` as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RegistrationMessage {
    /// Execution address, 20 bytes.
    #[serde(with = "json::bytes")]
    pub fee_recipient: [u8; 20],
    /// In gas.
    #[serde(with = "json::number")]
    pub gas_limit: u64,
    /// Unix seconds.
    #[serde(with = "json::number")]
    pub timestamp: u64,
    /// Public key, 48 bytes.
    #[serde(with = "json::bytes")]
    pub pubkey: [u8; 48],
}

impl From<&crate::ethereum::registration::Registration> for RegistrationMessage {
    fn from(registration: &crate::ethereum::registration::Registration) -> Self {
        Self {
            fee_recipient: registration.fee_recipient,
            gas_limit: registration.gas_limit,
            timestamp: registration.timestamp,
            pubkey: registration.pubkey,
        }
    }
}
