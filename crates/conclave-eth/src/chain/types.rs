//! The containers that a validator signs and sends, as structures, as SSZ and as the Beacon API's JSON.
//!
//! Source: consensus-specs, phase0, altair and electra (`beacon-chain.md`, `validator.md`). Bit lists carry their own
//! length; whether it is the right one for a preset says `check`.

use serde::{Deserialize, Serialize};
use ssz::{Decode as _, Encode as _};
use ssz_derive::{Decode, Encode};
use tree_hash::TreeHash as _;
use tree_hash_derive::TreeHash;

use conclave_crypto::hash::Hash;

use super::{
    json,
    merkle::{chunks_root, container_root, number_root, with_length},
};
use crate::chain::sizes::Sizes;

/// A BLS signature, compressed, 96 bytes.
pub type SignatureBytes = [u8; 96];

/// A container whose bytes are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {0} in it is damaged, or is not what this chain has")]
pub struct ShapeError(pub &'static str);

/// An epoch and the root of its first block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The epoch.
    #[serde(with = "json::number")]
    pub epoch: u64,
    /// Block root, 32 bytes.
    #[serde(with = "json::bytes")]
    pub root: Hash,
}

/// What an attestation says. Since Electra `index` is 0 for all committees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct AttestationData {
    /// The slot of the duty.
    #[serde(with = "json::number")]
    pub slot: u64,
    /// 0 since Electra.
    #[serde(with = "json::number")]
    pub index: u64,
    /// The head: block root, 32 bytes.
    #[serde(with = "json::bytes")]
    pub beacon_block_root: Hash,
    /// The justified checkpoint.
    pub source: Checkpoint,
    /// The checkpoint of the slot's epoch.
    pub target: Checkpoint,
}

impl AttestationData {
    /// Bytes of its SSZ encoding.
    pub const SSZ_BYTES: usize = 128;

    /// Hash tree root, 32 bytes.
    pub fn root(&self) -> Hash {
        self.tree_hash_root().0
    }

    /// SSZ, 128 bytes.
    pub fn to_ssz(&self) -> Vec<u8> {
        self.as_ssz_bytes()
    }

    /// From SSZ.
    ///
    /// # Errors
    /// Anything but 128 bytes.
    pub fn from_ssz(bytes: &[u8]) -> Result<Self, ShapeError> {
        Self::from_ssz_bytes(bytes).map_err(|_| ShapeError("AttestationData"))
    }
}

/// Bits packed as SSZ does: the first is the lowest bit of the first byte.
fn get_bit(bytes: &[u8], place: usize) -> bool {
    bytes
        .get(place / 8)
        .is_some_and(|byte| byte >> (place % 8) & 1 == 1)
}

fn pack(bits: &[bool], len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len.div_ceil(8)];
    for (place, bit) in bits.iter().enumerate() {
        if let (true, Some(byte)) = (bit, bytes.get_mut(place / 8)) {
            *byte |= 1 << (place % 8);
        }
    }
    bytes
}

/// SSZ `Bitlist`: bits that know how many they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bitlist {
    bytes: Vec<u8>,
    len: usize,
}

impl Bitlist {
    /// From bits.
    pub fn new(bits: &[bool]) -> Self {
        Self {
            bytes: pack(bits, bits.len()),
            len: bits.len(),
        }
    }

    /// From SSZ: the highest bit that is set marks the end.
    ///
    /// # Errors
    /// No bytes, or a last byte that is 0.
    pub fn from_ssz(bytes: &[u8]) -> Result<Self, ShapeError> {
        let (last, rest) = bytes.split_last().ok_or(ShapeError("list of who took part"))?;
        let mark = last.checked_ilog2().ok_or(ShapeError("list of who took part"))?;
        let mut bytes = rest.to_vec();
        if mark > 0 {
            bytes.push(last ^ (1 << mark));
        }
        Ok(Self {
            bytes,
            len: rest.len() * 8 + mark as usize,
        })
    }

    /// SSZ: the bits and a mark behind the last.
    pub fn to_ssz(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.resize(self.len / 8 + 1, 0);
        if let Some(byte) = bytes.last_mut() {
            *byte |= 1 << (self.len % 8);
        }
        bytes
    }

    /// How many bits.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no bit at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a bit is set; bits beyond the end are not.
    pub fn get(&self, place: usize) -> bool {
        place < self.len && get_bit(&self.bytes, place)
    }

    /// The places of the bits that are set, lowest first.
    pub fn ones(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.len).filter(|place| self.get(*place))
    }

    /// Hash tree root for a list of at most `limit` bits.
    fn root(&self, limit: usize) -> Hash {
        with_length(chunks_root(&self.bytes, limit.div_ceil(256)), self.len)
    }
}

impl Serialize for Bitlist {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json::blob::serialize(&self.to_ssz(), serializer)
    }
}

impl<'de> Deserialize<'de> for Bitlist {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_ssz(&json::blob::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// SSZ `Bitvector`: bits whose number the preset knows. Its bytes are its encoding.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Bitvector(Vec<u8>);

impl Bitvector {
    /// `len` bits of which the given ones are set; places beyond the end are ignored.
    pub fn with_ones(len: usize, ones: &[usize]) -> Self {
        let bits: Vec<bool> = (0..len).map(|place| ones.contains(&place)).collect();
        Self(pack(&bits, len))
    }

    /// From SSZ, for a vector of `len` bits.
    ///
    /// # Errors
    /// The wrong number of bytes, or bits set beyond the end.
    pub fn from_ssz(bytes: &[u8], len: usize) -> Result<Self, ShapeError> {
        let vector = Self(bytes.to_vec());
        vector.check(len)?;
        Ok(vector)
    }

    /// SSZ: the packed bits.
    pub fn to_ssz(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is a vector of `len` bits.
    ///
    /// # Errors
    /// The wrong number of bytes, or bits set beyond the end.
    pub fn check(&self, len: usize) -> Result<(), ShapeError> {
        let stray = (len..self.0.len() * 8).any(|place| get_bit(&self.0, place));
        if self.0.len() == len.div_ceil(8) && !stray {
            Ok(())
        } else {
            Err(ShapeError("list of who took part"))
        }
    }

    /// Whether a bit is set.
    pub fn get(&self, place: usize) -> bool {
        get_bit(&self.0, place)
    }

    /// The places of the bits that are set, lowest first.
    pub fn ones(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.0.len() * 8).filter(|place| self.get(*place))
    }

    /// Hash tree root: as many chunks as there are, for the length was checked.
    fn root(&self) -> Hash {
        chunks_root(&self.0, self.0.len().div_ceil(32))
    }
}

impl Serialize for Bitvector {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json::blob::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Bitvector {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(json::blob::deserialize(deserializer)?))
    }
}

/// One validator's vote (Electra `SingleAttestation`): what is sent to the pool.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct SingleAttestation {
    /// The committee.
    #[serde(with = "json::number")]
    pub committee_index: u64,
    /// The validator.
    #[serde(with = "json::number")]
    pub attester_index: u64,
    /// What is voted for.
    pub data: AttestationData,
    /// Over the data.
    #[serde(with = "json::bytes")]
    pub signature: SignatureBytes,
}

impl SingleAttestation {
    /// Hash tree root, 32 bytes.
    pub fn root(&self) -> Hash {
        self.tree_hash_root().0
    }
}

/// Votes of one or several committees for the same data (Electra `Attestation`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attestation {
    /// A bit for each member of each committee in `committee_bits`, one committee after the other.
    pub aggregation_bits: Bitlist,
    /// What is voted for.
    pub data: AttestationData,
    /// The sum of the signatures.
    #[serde(with = "json::bytes")]
    pub signature: SignatureBytes,
    /// Which committees.
    pub committee_bits: Bitvector,
}

impl Attestation {
    /// Whether the bits fit the preset.
    ///
    /// # Errors
    /// More votes than a slot has attesters, or another number of committees.
    pub fn check(&self, sizes: &Sizes) -> Result<(), ShapeError> {
        self.committee_bits.check(sizes.max_committees_per_slot)?;
        if self.aggregation_bits.len() > sizes.max_attesters_per_slot() {
            return Err(ShapeError("Attestation: it has more votes than attesters"));
        }
        Ok(())
    }

    /// Hash tree root, 32 bytes. For an attestation that fits the preset.
    pub fn root(&self, sizes: &Sizes) -> Hash {
        container_root(&[
            self.aggregation_bits.root(sizes.max_attesters_per_slot()),
            self.data.root(),
            chunks_root(&self.signature, 3),
            self.committee_bits.root(),
        ])
    }

    /// SSZ.
    pub fn to_ssz(&self) -> Vec<u8> {
        let committee_bits = self.committee_bits.to_ssz();
        let fixed = 4 + AttestationData::SSZ_BYTES + 96 + committee_bits.len();
        let mut bytes = Vec::with_capacity(fixed + self.aggregation_bits.len() / 8 + 1);
        // The fixed part has a few hundred bytes.
        bytes.extend_from_slice(&u32::try_from(fixed).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend_from_slice(&self.data.to_ssz());
        bytes.extend_from_slice(&self.signature);
        bytes.extend_from_slice(committee_bits);
        bytes.extend_from_slice(&self.aggregation_bits.to_ssz());
        bytes
    }

    /// From SSZ, checked against the preset.
    ///
    /// # Errors
    /// Anything but the one encoding of an attestation.
    pub fn from_ssz(bytes: &[u8], sizes: &Sizes) -> Result<Self, ShapeError> {
        let error = ShapeError("Attestation");
        let (offset, rest) = bytes.split_first_chunk::<4>().ok_or(error)?;
        let (data, rest) = rest.split_at_checked(AttestationData::SSZ_BYTES).ok_or(error)?;
        let (signature, rest) = rest.split_first_chunk::<96>().ok_or(error)?;
        let committees = sizes.max_committees_per_slot;
        let (committee_bits, votes) = rest.split_at_checked(committees.div_ceil(8)).ok_or(error)?;
        if u32::from_le_bytes(*offset) as usize != bytes.len() - votes.len() {
            return Err(error);
        }
        let attestation = Self {
            aggregation_bits: Bitlist::from_ssz(votes)?,
            data: AttestationData::from_ssz(data)?,
            signature: *signature,
            committee_bits: Bitvector::from_ssz(committee_bits, committees)?,
        };
        attestation.check(sizes)?;
        Ok(attestation)
    }
}

/// An aggregate and why this validator may publish it (Electra `AggregateAndProof`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AggregateAndProof {
    /// The validator.
    #[serde(with = "json::number")]
    pub aggregator_index: u64,
    /// The votes.
    pub aggregate: Attestation,
    /// Its signature over the slot.
    #[serde(with = "json::bytes")]
    pub selection_proof: SignatureBytes,
}

impl AggregateAndProof {
    /// Hash tree root, 32 bytes.
    pub fn root(&self, sizes: &Sizes) -> Hash {
        container_root(&[
            number_root(self.aggregator_index),
            self.aggregate.root(sizes),
            chunks_root(&self.selection_proof, 3),
        ])
    }
}

/// `SignedAggregateAndProof`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedAggregateAndProof {
    /// What is signed.
    pub message: AggregateAndProof,
    /// The aggregator's signature.
    #[serde(with = "json::bytes")]
    pub signature: SignatureBytes,
}

/// A sync committee member's vote for a head (`SyncCommitteeMessage`).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct SyncCommitteeMessage {
    /// The slot of the duty.
    #[serde(with = "json::number")]
    pub slot: u64,
    /// The head: block root, 32 bytes.
    #[serde(with = "json::bytes")]
    pub beacon_block_root: Hash,
    /// The validator.
    #[serde(with = "json::number")]
    pub validator_index: u64,
    /// Over the block root.
    #[serde(with = "json::bytes")]
    pub signature: SignatureBytes,
}

/// Votes of a sync subcommittee (`SyncCommitteeContribution`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncCommitteeContribution {
    /// The slot of the duty.
    #[serde(with = "json::number")]
    pub slot: u64,
    /// The head: block root, 32 bytes.
    #[serde(with = "json::bytes")]
    pub beacon_block_root: Hash,
    /// Which of the four.
    #[serde(with = "json::number")]
    pub subcommittee_index: u64,
    /// A bit for each member.
    pub aggregation_bits: Bitvector,
    /// The sum of the signatures.
    #[serde(with = "json::bytes")]
    pub signature: SignatureBytes,
}

impl SyncCommitteeContribution {
    /// Whether bits and subcommittee fit the preset.
    ///
    /// # Errors
    /// Another number of bits, or a subcommittee that does not exist.
    pub fn check(&self, sizes: &Sizes) -> Result<(), ShapeError> {
        if self.subcommittee_index >= crate::chain::sizes::SYNC_SUBNETS {
            return Err(ShapeError(
                "SyncCommitteeContribution: there is no such subcommittee",
            ));
        }
        self.aggregation_bits.check(sizes.sync_subcommittee_size())
    }

    /// Hash tree root, 32 bytes. For a contribution that fits the preset.
    pub fn root(&self) -> Hash {
        container_root(&[
            number_root(self.slot),
            self.beacon_block_root,
            number_root(self.subcommittee_index),
            self.aggregation_bits.root(),
            chunks_root(&self.signature, 3),
        ])
    }

    /// SSZ: of fixed size in a preset.
    pub fn to_ssz(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(160);
        bytes.extend_from_slice(&self.slot.to_le_bytes());
        bytes.extend_from_slice(&self.beacon_block_root);
        bytes.extend_from_slice(&self.subcommittee_index.to_le_bytes());
        bytes.extend_from_slice(self.aggregation_bits.to_ssz());
        bytes.extend_from_slice(&self.signature);
        bytes
    }

    /// From SSZ, checked against the preset.
    ///
    /// # Errors
    /// Anything but the encoding of a contribution.
    pub fn from_ssz(bytes: &[u8], sizes: &Sizes) -> Result<Self, ShapeError> {
        let error = ShapeError("sync committee contribution");
        let (slot, rest) = bytes.split_first_chunk::<8>().ok_or(error)?;
        let (beacon_block_root, rest) = rest.split_first_chunk::<32>().ok_or(error)?;
        let (subcommittee_index, rest) = rest.split_first_chunk::<8>().ok_or(error)?;
        let members = sizes.sync_subcommittee_size();
        let (bits, signature) = rest.split_at_checked(members.div_ceil(8)).ok_or(error)?;
        let contribution = Self {
            slot: u64::from_le_bytes(*slot),
            beacon_block_root: *beacon_block_root,
            subcommittee_index: u64::from_le_bytes(*subcommittee_index),
            aggregation_bits: Bitvector::from_ssz(bits, members)?,
            signature: signature.try_into().map_err(|_| error)?,
        };
        contribution.check(sizes)?;
        Ok(contribution)
    }
}

/// A contribution and why this validator may publish it (`ContributionAndProof`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContributionAndProof {
    /// The validator.
    #[serde(with = "json::number")]
    pub aggregator_index: u64,
    /// The votes.
    pub contribution: SyncCommitteeContribution,
    /// Its signature over slot and subcommittee.
    #[serde(with = "json::bytes")]
    pub selection_proof: SignatureBytes,
}

impl ContributionAndProof {
    /// Hash tree root, 32 bytes.
    pub fn root(&self) -> Hash {
        container_root(&[
            number_root(self.aggregator_index),
            self.contribution.root(),
            chunks_root(&self.selection_proof, 3),
        ])
    }
}

/// `SignedContributionAndProof`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedContributionAndProof {
    /// What is signed.
    pub message: ContributionAndProof,
    /// The aggregator's signature.
    #[serde(with = "json::bytes")]
    pub signature: SignatureBytes,
}

/// What selects aggregators of a sync subcommittee (`SyncAggregatorSelectionData`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, TreeHash)]
pub struct SyncAggregatorSelectionData {
    /// The slot of the duty.
    pub slot: u64,
    /// The subcommittee.
    pub subcommittee_index: u64,
}

/// A block without its body (`BeaconBlockHeader`): what a proposer signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode, TreeHash, Serialize, Deserialize)]
pub struct BeaconBlockHeader {
    /// The slot.
    #[serde(with = "json::number")]
    pub slot: u64,
    /// The validator.
    #[serde(with = "json::number")]
    pub proposer_index: u64,
    /// The block before it, 32 bytes.
    #[serde(with = "json::bytes")]
    pub parent_root: Hash,
    /// The state after it, 32 bytes.
    #[serde(with = "json::bytes")]
    pub state_root: Hash,
    /// Hash tree root of the body, 32 bytes.
    #[serde(with = "json::bytes")]
    pub body_root: Hash,
}

impl BeaconBlockHeader {
    /// Hash tree root, 32 bytes: the block's root too.
    pub fn root(&self) -> Hash {
        self.tree_hash_root().0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;
    use crate::testing::{unhex, vectors};

    fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
        vector: &Value,
        to_ssz: impl Fn(&T) -> Vec<u8>,
        from_ssz: impl Fn(&[u8]) -> Option<T>,
        root: impl Fn(&T) -> Hash,
    ) {
        let value: T = serde_json::from_value(vector["json"].clone()).unwrap();
        assert_eq!(serde_json::to_value(&value).unwrap(), vector["json"]);
        let ssz = unhex(&vector["ssz"]);
        assert_eq!(to_ssz(&value), ssz);
        assert_eq!(from_ssz(&ssz).unwrap(), value);
        assert_eq!(from_ssz(&ssz[..ssz.len() - 1]), None);
        assert_eq!(from_ssz(&[&ssz[..], &[0]].concat()), None);
        assert_eq!(root(&value).to_vec(), unhex(&vector["root"]));
    }

    #[test]
    fn containers_are_written_and_hashed_as_others_do() {
        for preset in ["minimal", "mainnet"] {
            let vectors = vectors(preset);
            let all = &vectors["containers"];
            let sizes = Sizes::of_preset(preset).unwrap();
            check(
                &all["AttestationData"],
                AttestationData::to_ssz,
                |b| AttestationData::from_ssz(b).ok(),
                AttestationData::root,
            );
            check(
                &all["SingleAttestation"],
                SingleAttestation::as_ssz_bytes,
                |b| SingleAttestation::from_ssz_bytes(b).ok(),
                SingleAttestation::root,
            );
            check(
                &all["SyncCommitteeMessage"],
                SyncCommitteeMessage::as_ssz_bytes,
                |b| SyncCommitteeMessage::from_ssz_bytes(b).ok(),
                |m| m.tree_hash_root().0,
            );
            check(
                &all["BeaconBlockHeader"],
                BeaconBlockHeader::as_ssz_bytes,
                |b| BeaconBlockHeader::from_ssz_bytes(b).ok(),
                BeaconBlockHeader::root,
            );
            // Its random subcommittee does not exist: that is refused, the encoding is checked with a real one.
            let mut vector = all["SyncCommitteeContribution"].clone();
            let contribution: SyncCommitteeContribution =
                serde_json::from_value(vector["json"].clone()).unwrap();
            assert_eq!(contribution.root().to_vec(), unhex(&vector["root"]));
            assert_eq!(contribution.to_ssz(), unhex(&vector["ssz"]));
            contribution.check(&sizes).unwrap_err();
            vector["json"]["subcommittee_index"] = "3".into();
            let mut ssz = unhex(&vector["ssz"]);
            ssz[40..48].copy_from_slice(&3_u64.to_le_bytes());
            let contribution: SyncCommitteeContribution =
                serde_json::from_value(vector["json"].clone()).unwrap();
            assert_eq!(
                SyncCommitteeContribution::from_ssz(&ssz, &sizes),
                Ok(contribution.clone())
            );
            assert_eq!(contribution.to_ssz(), ssz);
        }
    }

    #[test]
    fn attestations_fit_their_preset() {
        for (preset, other) in [("minimal", "mainnet"), ("mainnet", "minimal")] {
            let sizes = Sizes::of_preset(preset).unwrap();
            let vector = &vectors(preset)["containers"]["Attestation"];
            let attestation: Attestation = serde_json::from_value(vector["json"].clone()).unwrap();
            let ssz = unhex(&vector["ssz"]);
            assert_eq!(attestation.to_ssz(), ssz);
            assert_eq!(Attestation::from_ssz(&ssz, &sizes), Ok(attestation.clone()));
            assert_eq!(attestation.root(&sizes).to_vec(), unhex(&vector["root"]));
            assert_eq!(serde_json::to_value(&attestation).unwrap(), vector["json"]);
            assert!(Attestation::from_ssz(&ssz, &Sizes::of_preset(other).unwrap()).is_err());
            attestation.check(&Sizes::of_preset(other).unwrap()).unwrap_err();
            for end in 0..ssz.len() - 2 {
                assert!(Attestation::from_ssz(&ssz[..end], &sizes).is_err(), "{end}");
            }
            let mut moved = ssz.clone();
            moved[0] += 1;
            assert!(Attestation::from_ssz(&moved, &sizes).is_err());
            let mut long = attestation.clone();
            long.aggregation_bits = Bitlist::new(&vec![true; sizes.max_attesters_per_slot() + 1]);
            assert!(Attestation::from_ssz(&long.to_ssz(), &sizes).is_err());
        }
    }

    #[test]
    fn bits_know_their_places() {
        let list = Bitlist::new(&[true, false, true, false, false, false, false, false, true]);
        assert_eq!(list.to_ssz(), [0b101, 0b11]);
        assert_eq!(list.ones().collect::<Vec<_>>(), [0, 2, 8]);
        assert!(!list.get(9) && !list.get(usize::MAX));
        assert_eq!(Bitlist::new(&[]).to_ssz(), [1]);
        assert!(Bitlist::from_ssz(&[1]).unwrap().is_empty());
        assert_eq!(Bitlist::from_ssz(&[0xff, 1]).unwrap().len(), 8);
        assert!(Bitlist::from_ssz(&[]).is_err());
        assert!(Bitlist::from_ssz(&[1, 0]).is_err());
        let vector = Bitvector::with_ones(4, &[0, 3, 4]);
        assert_eq!(vector.to_ssz(), [0b1001]);
        assert!(Bitvector::from_ssz(&[0b1_0000], 4).is_err());
        assert!(Bitvector::from_ssz(&[1, 0], 4).is_err());
        assert!(Bitvector::from_ssz(&[], 4).is_err());
        assert_eq!(vector.ones().collect::<Vec<_>>(), [0, 3]);
    }

    #[test]
    fn numbers_have_one_spelling() {
        let text = "{\"epoch\":\"7\",\"root\":\"0x0000000000000000000000000000000000000000000000000000000000000001\"}";
        let checkpoint: Checkpoint = serde_json::from_str(text).unwrap();
        assert_eq!((checkpoint.epoch, checkpoint.root[31]), (7, 1));
        // Some write them without quotes.
        let bare: Checkpoint = serde_json::from_str(&text.replace("\"7\"", "7")).unwrap();
        assert_eq!(bare, checkpoint);
        for bad in [
            "7.0",
            "-7",
            "07",
            "18446744073709551616",
            "\"07\"",
            "\"+7\"",
            "\"-7\"",
            "\"\"",
            "\" 7\"",
            "\"7.0\"",
            "\"0x7\"",
            "\"18446744073709551616\"",
        ] {
            assert!(
                serde_json::from_str::<Checkpoint>(&text.replace("\"7\"", bad)).is_err(),
                "{bad}"
            );
        }
        assert!(serde_json::from_str::<Checkpoint>(&text.replace("0x", "")).is_err());
        assert!(serde_json::from_str::<Checkpoint>(&text.replace("0x00", "0x")).is_err());
    }

    proptest! {
        #[test]
        fn bit_lists_come_back(bits in proptest::collection::vec(any::<bool>(), 0..600)) {
            let list = Bitlist::new(&bits);
            let back = Bitlist::from_ssz(&list.to_ssz()).unwrap();
            prop_assert_eq!(&back, &list);
            prop_assert_eq!((0..bits.len()).map(|i| back.get(i)).collect::<Vec<_>>(), bits);
        }

        #[test]
        fn any_bytes_decode_or_not_but_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let sizes = Sizes::of_preset("minimal").unwrap();
            if let Ok(attestation) = Attestation::from_ssz(&bytes, &sizes) {
                prop_assert_eq!(attestation.to_ssz(), bytes.clone());
                let _ = attestation.root(&sizes);
            }
            if let Ok(list) = Bitlist::from_ssz(&bytes) {
                prop_assert_eq!(list.to_ssz(), bytes.clone());
            }
            if let Ok(contribution) = SyncCommitteeContribution::from_ssz(&bytes, &sizes) {
                prop_assert_eq!(contribution.to_ssz(), bytes);
            }
        }
    }
}
