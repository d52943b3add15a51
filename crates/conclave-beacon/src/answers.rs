//! What beacon nodes answer. Unknown fields are skipped: nodes add their own. `null` is absent in whatever may be left out,
//! and a list without items.

use serde::{Deserialize, Serialize};

use conclave_crypto::hash::Hash;
use conclave_eth::chain::{json, types::BeaconBlockHeader};

use super::choice;

/// `{"data": ...}`.
#[derive(Debug, Deserialize)]
pub(super) struct Data<T> {
    pub(super) data: T,
}

/// `{"data": [...]}`.
#[derive(Debug, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(super) struct List<T> {
    // Not absent: then it is no such answer at all.
    #[serde(deserialize_with = "list")]
    pub(super) data: Vec<T>,
}

fn list<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    json::or_default(deserializer)
}

/// `{"data": ..., "execution_optimistic": ...}`.
#[derive(Debug, Deserialize)]
pub(super) struct Optimistic<T> {
    pub(super) data: T,
    #[serde(default, deserialize_with = "json::or_default")]
    pub(super) execution_optimistic: bool,
}

/// `{"data": ..., "dependent_root": ..., "execution_optimistic": ...}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub struct Duties<T> {
    /// The block on which the duties depend: when it changes they must be asked for again. 32 bytes.
    #[serde(with = "json::bytes")]
    pub dependent_root: Hash,
    /// Whether the head has not been verified by the node's execution client.
    #[serde(default, deserialize_with = "json::or_default")]
    pub execution_optimistic: bool,
    /// The duties.
    #[serde(deserialize_with = "list")]
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
    #[serde(default, deserialize_with = "json::or_default")]
    pub is_optimistic: bool,
    /// Whether its execution client is not reachable.
    #[serde(default, deserialize_with = "json::or_default")]
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
    #[serde(default, deserialize_with = "json::or_default")]
    pub(super) ideal_rewards: Vec<IdealReward>,
    #[serde(deserialize_with = "list")]
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
    // In quotes, or as some write numbers, without.
    let value = serde_json::Value::deserialize(deserializer)?;
    let text = match &value {
        serde_json::Value::Number(number) => number.to_string(),
        value => value.as_str().unwrap_or_default().to_owned(),
    };
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
    let numbers: Vec<Number> = json::or_default(deserializer)?;
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
    /// Whether it is on the node's canonical chain, as far as the node says so.
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
    #[serde(default, deserialize_with = "json::or_default")]
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

impl From<&conclave_eth::registration::Registration> for RegistrationMessage {
    fn from(registration: &conclave_eth::registration::Registration) -> Self {
        Self {
            fee_recipient: registration.fee_recipient,
            gas_limit: registration.gas_limit,
            timestamp: registration.timestamp,
            pubkey: registration.pubkey,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json};

    use conclave_eth::testing::null_is_absent;

    use super::*;

    fn optional<T: std::fmt::Debug + serde::de::DeserializeOwned>(value: &Value) -> Vec<String> {
        null_is_absent(value, |value| from_value::<T>(value.clone()).ok())
    }

    #[test]
    fn null_is_absent_in_every_answer() {
        let root = format!("0x{}", "11".repeat(32));
        let key = format!("0x{}", "22".repeat(48));
        let duties =
            |duty: Value| json!({ "data": [duty], "dependent_root": root, "execution_optimistic": true });
        let attester = json!({
            "pubkey": key, "validator_index": "1", "committee_index": "2", "committee_length": "3",
            "committees_at_slot": "4", "validator_committee_index": "1", "slot": "9",
        });
        let both = ["/data", "/execution_optimistic"];
        assert_eq!(optional::<Duties<AttesterDuty>>(&duties(attester)), both);
        let proposer = json!({ "pubkey": key, "validator_index": "1", "slot": "9" });
        assert_eq!(optional::<Duties<ProposerDuty>>(&duties(proposer)), both);
        let sync = json!({ "data": [
            { "pubkey": key, "validator_index": "1", "validator_sync_committee_indices": ["5"] },
        ] });
        assert_eq!(
            optional::<List<SyncDuty>>(&sync),
            ["/data/0/validator_sync_committee_indices", "/data"]
        );
        let validator = json!({ "data": [{
            "index": "1", "balance": "2", "status": "active_ongoing",
            "validator": {
                "pubkey": key, "effective_balance": "2", "slashed": false, "activation_epoch": "0",
                "exit_epoch": "18446744073709551615",
            },
        }] });
        assert_eq!(optional::<List<ValidatorStatus>>(&validator), ["/data"]);
        let syncing = json!({ "data": {
            "head_slot": "1", "sync_distance": "2", "is_syncing": true, "is_optimistic": true, "el_offline": true,
        } });
        assert_eq!(
            optional::<Data<Syncing>>(&syncing),
            ["/data/el_offline", "/data/is_optimistic"]
        );
        let reward = json!({ "validator_index": "1", "head": "-1", "target": "2", "source": "3" });
        let rewards = json!({ "data": { "ideal_rewards": [reward], "total_rewards": [reward] } });
        // Of the best possible ones only the head is read.
        let found = optional::<Data<AttestationRewards>>(&rewards);
        assert_eq!(
            found[found.len() - 2..],
            ["/data/ideal_rewards", "/data/total_rewards"]
        );
        let live = json!({ "data": [{ "index": "1", "is_live": true }] });
        assert_eq!(optional::<List<Liveness>>(&live), ["/data"]);
        let committee = json!({ "data": [{ "index": "1", "slot": "9", "validators": ["7"] }] });
        assert_eq!(
            optional::<List<Committee>>(&committee),
            ["/data/0/validators", "/data"]
        );
        let committee = json!({ "data": { "validators": ["7"] } });
        assert_eq!(optional::<Data<SyncCommittee>>(&committee), ["/data/validators"]);
        let header = json!({
            "data": {
                "root": root, "canonical": true,
                "header": { "signature": "0x", "message": {
                    "slot": "9", "proposer_index": "1", "parent_root": root, "state_root": root, "body_root": root,
                } },
            },
            "execution_optimistic": true,
        });
        let found = optional::<Optimistic<HeaderData>>(&header);
        for place in ["/data/canonical", "/execution_optimistic"] {
            assert!(found.contains(&place.to_owned()), "{found:?}");
        }
        let block = json!({ "data": { "root": root }, "execution_optimistic": true });
        assert_eq!(optional::<Optimistic<Root>>(&block), ["/execution_optimistic"]);
        // What is no such answer at all is no empty list.
        from_value::<List<Liveness>>(json!({ "error": null })).unwrap_err();
        from_value::<Duties<ProposerDuty>>(json!({ "dependent_root": root })).unwrap_err();
    }
}
