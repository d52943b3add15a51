//! What a validator's key signs for each duty: 32 bytes that commit to message, fork and chain.
//!
//! Source: consensus-specs, `validator.md` of phase0, altair and electra. The domain's fork is that of the duty's
//! epoch; exits are signed for Capella for ever (EIP-7044), builder registrations for the genesis fork.

use tree_hash::TreeHash as _;

use conclave_crypto::hash::{Hash, sha256};
use conclave_eth::{
    domain::{DomainType, compute_domain, compute_signing_root},
    exit::VoluntaryExit,
    registration::Registration,
};

use super::spec::{Chain, TARGET_AGGREGATORS, TARGET_SYNC_AGGREGATORS, UnsupportedFork};
use conclave_eth::chain::{
    merkle::number_root,
    types::{
        AggregateAndProof, AttestationData, BeaconBlockHeader, ContributionAndProof, SignatureBytes,
        SyncAggregatorSelectionData,
    },
};

/// `DOMAIN_BEACON_PROPOSER`: blocks.
pub const DOMAIN_BEACON_PROPOSER: DomainType = [0, 0, 0, 0];
/// `DOMAIN_BEACON_ATTESTER`: attestations.
pub const DOMAIN_BEACON_ATTESTER: DomainType = [1, 0, 0, 0];
/// `DOMAIN_RANDAO`: RANDAO reveals.
pub const DOMAIN_RANDAO: DomainType = [2, 0, 0, 0];
/// `DOMAIN_SELECTION_PROOF`: who aggregates attestations.
pub const DOMAIN_SELECTION_PROOF: DomainType = [5, 0, 0, 0];
/// `DOMAIN_AGGREGATE_AND_PROOF`: aggregates.
pub const DOMAIN_AGGREGATE_AND_PROOF: DomainType = [6, 0, 0, 0];
/// `DOMAIN_SYNC_COMMITTEE`: sync committee messages.
pub const DOMAIN_SYNC_COMMITTEE: DomainType = [7, 0, 0, 0];
/// `DOMAIN_SYNC_COMMITTEE_SELECTION_PROOF`: who aggregates them.
pub const DOMAIN_SYNC_COMMITTEE_SELECTION_PROOF: DomainType = [8, 0, 0, 0];
/// `DOMAIN_CONTRIBUTION_AND_PROOF`: contributions.
pub const DOMAIN_CONTRIBUTION_AND_PROOF: DomainType = [9, 0, 0, 0];

/// The result of everything here: 32 bytes to sign, unless the fork of that epoch is not one to sign for.
pub type SigningRoot = Result<Hash, UnsupportedFork>;

impl Chain {
    fn signing_root_at(&self, epoch: u64, domain: DomainType, object_root: Hash) -> SigningRoot {
        let fork = self.spec.signable_fork_at(epoch)?;
        let domain = compute_domain(domain, fork.version, self.genesis.validators_root);
        Ok(compute_signing_root(object_root, domain))
    }

    /// For an attestation: by its target's epoch.
    ///
    /// # Errors
    /// [`UnsupportedFork`].
    pub fn attestation_signing_root(&self, data: &AttestationData) -> SigningRoot {
        self.signing_root_at(data.target.epoch, DOMAIN_BEACON_ATTESTER, data.root())
    }

    /// For a block, full or blinded.
    ///
    /// # Errors
    /// [`UnsupportedFork`].
    pub fn block_signing_root(&self, header: &BeaconBlockHeader) -> SigningRoot {
        self.signing_root_at(self.epoch_of(header.slot), DOMAIN_BEACON_PROPOSER, header.root())
    }

    /// For the RANDAO reveal of all proposals of an epoch.
    ///
    /// # Errors
    /// [`UnsupportedFork`].
    pub fn randao_signing_root(&self, epoch: u64) -> SigningRoot {
        self.signing_root_at(epoch, DOMAIN_RANDAO, number_root(epoch))
    }

    /// For the proof that a validator aggregates attestations in a slot.
    ///
    /// # Errors
    /// [`UnsupportedFork`].
    pub fn selection_signing_root(&self, slot: u64) -> SigningRoot {
        self.signing_root_at(self.epoch_of(slot), DOMAIN_SELECTION_PROOF, number_root(slot))
    }

    /// For an aggregate.
    ///
    /// # Errors
    /// [`UnsupportedFork`].
    pub fn aggregate_signing_root(&self, message: &AggregateAndProof) -> SigningRoot {
        self.signing_root_at(
            self.epoch_of(message.aggregate.data.slot),
            DOMAIN_AGGREGATE_AND_PROOF,
            message.root(&self.spec.sizes),
        )
    }

    /// For a sync committee message.
    ///
    /// # Errors
    /// [`UnsupportedFork`].
    pub fn sync_message_signing_root(&self, slot: u64, beacon_block_root: &Hash) -> SigningRoot {
        self.signing_root_at(self.epoch_of(slot), DOMAIN_SYNC_COMMITTEE, *beacon_block_root)
    }

    /// For the proof that a validator aggregates for a sync subcommittee in a slot.
    ///
    /// # Errors
    /// [`UnsupportedFork`].
    pub fn sync_selection_signing_root(&self, slot: u64, subcommittee_index: u64) -> SigningRoot {
        let data = SyncAggregatorSelectionData {
            slot,
            subcommittee_index,
        };
        self.signing_root_at(
            self.epoch_of(slot),
            DOMAIN_SYNC_COMMITTEE_SELECTION_PROOF,
            data.tree_hash_root().0,
        )
    }

    /// For a contribution.
    ///
    /// # Errors
    /// [`UnsupportedFork`].
    pub fn contribution_signing_root(&self, message: &ContributionAndProof) -> SigningRoot {
        self.signing_root_at(
            self.epoch_of(message.contribution.slot),
            DOMAIN_CONTRIBUTION_AND_PROOF,
            message.root(),
        )
    }

    /// For a voluntary exit: valid for ever, whatever fork is in force.
    pub fn exit_signing_root(&self, exit: &VoluntaryExit) -> Hash {
        exit.signing_root(self.spec.capella_fork_version, self.genesis.validators_root)
    }

    /// For a builder registration: valid on all chains with this genesis fork version.
    pub fn registration_signing_root(&self, registration: &Registration) -> Hash {
        registration.signing_root(self.genesis.fork_version)
    }

    /// The subcommittees of a sync committee member, from its places in the committee; each once, lowest first.
    pub fn sync_subcommittees(&self, places: &[u64]) -> Vec<u64> {
        let size = self.spec.sizes.sync_subcommittee_size().max(1) as u64;
        let mut subcommittees: Vec<u64> = places.iter().map(|place| place / size).collect();
        subcommittees.sort_unstable();
        subcommittees.dedup();
        subcommittees
    }
}

/// Whether a selection proof makes its validator an aggregator of a committee (phase0 `is_aggregator`).
pub fn is_aggregator(committee_length: u64, selection_proof: &SignatureBytes) -> bool {
    selects(committee_length / TARGET_AGGREGATORS, selection_proof)
}

/// Whether a selection proof makes its validator an aggregator of a sync subcommittee
/// (altair `is_sync_committee_aggregator`).
pub fn is_sync_aggregator(chain: &Chain, selection_proof: &SignatureBytes) -> bool {
    let members = chain.spec.sizes.sync_subcommittee_size() as u64;
    selects(members / TARGET_SYNC_AGGREGATORS, selection_proof)
}

fn selects(modulo: u64, proof: &SignatureBytes) -> bool {
    let hash = sha256(&[proof]);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(first) % modulo.max(1) == 0
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::testing::chain;
    use conclave_eth::chain::{
        json,
        types::{SignedAggregateAndProof, SignedContributionAndProof},
    };
    use conclave_eth::testing::{unhex, vectors};

    fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
        serde_json::from_value(value.clone()).unwrap()
    }

    #[allow(clippy::unnecessary_wraps, reason = "compared with what may fail")]
    fn root(value: &Value) -> SigningRoot {
        Ok(unhex(value).try_into().unwrap())
    }

    #[test]
    fn every_duty_signs_what_others_sign() {
        for preset in ["minimal", "mainnet"] {
            let chain = chain(preset);
            let vectors = vectors(preset);
            for one in vectors["signing"].as_array().unwrap() {
                let (epoch, slot) = (one["epoch"].as_u64().unwrap(), one["slot"].as_u64().unwrap());
                assert_eq!(chain.epoch_of(slot), epoch);
                let fork = chain.spec.signable_fork_at(epoch).unwrap().fork;
                assert_eq!(fork.name(), one["fork"]);

                let data: AttestationData = read(&one["attestation"]["data"]);
                assert_eq!(
                    chain.attestation_signing_root(&data),
                    root(&one["attestation"]["root"])
                );
                let header: BeaconBlockHeader = read(&one["block"]["header"]);
                assert_eq!(chain.block_signing_root(&header), root(&one["block"]["root"]));
                assert_eq!(chain.randao_signing_root(epoch), root(&one["randao"]));
                assert_eq!(chain.selection_signing_root(slot), root(&one["selection"]));
                let aggregate: SignedAggregateAndProof = read(&one["aggregate"]["signed"]);
                aggregate.message.aggregate.check(&chain.spec.sizes).unwrap();
                assert_eq!(
                    chain.aggregate_signing_root(&aggregate.message),
                    root(&one["aggregate"]["root"])
                );
                assert_eq!(
                    serde_json::to_value(&aggregate).unwrap(),
                    one["aggregate"]["signed"]
                );
                let head = unhex(&one["sync_message"]["block_root"]).try_into().unwrap();
                assert_eq!(
                    chain.sync_message_signing_root(slot, &head),
                    root(&one["sync_message"]["root"])
                );
                assert_eq!(
                    chain.sync_selection_signing_root(slot, 2),
                    root(&one["sync_selection"]["root"])
                );
                let contribution: SignedContributionAndProof = read(&one["contribution"]["signed"]);
                contribution
                    .message
                    .contribution
                    .check(&chain.spec.sizes)
                    .unwrap();
                assert_eq!(
                    chain.contribution_signing_root(&contribution.message),
                    root(&one["contribution"]["root"])
                );
                assert_eq!(
                    serde_json::to_value(&contribution).unwrap(),
                    one["contribution"]["signed"]
                );
            }
            let exit = VoluntaryExit {
                epoch: 0,
                validator_index: 1_234_567,
            };
            assert_eq!(
                chain.exit_signing_root(&exit).to_vec(),
                unhex(&vectors["exit"]["root"])
            );
            let message = &vectors["registration"]["message"];
            let number = |key: &str| json::parse_number(message[key].as_str().unwrap()).unwrap();
            let registration = Registration {
                fee_recipient: unhex(&message["fee_recipient"]).try_into().unwrap(),
                gas_limit: number("gas_limit"),
                timestamp: number("timestamp"),
                pubkey: unhex(&message["pubkey"]).try_into().unwrap(),
            };
            assert_eq!(
                chain.registration_signing_root(&registration).to_vec(),
                unhex(&vectors["registration"]["root"])
            );
        }
    }

    #[test]
    fn nothing_is_signed_for_a_fork_that_is_not_known() {
        let mut chain = chain("minimal");
        chain.spec.unknown.push(("gloas".to_owned(), 3));
        chain.randao_signing_root(2).unwrap();
        let error = chain.randao_signing_root(3).unwrap_err();
        assert_eq!(
            error.to_string(),
            "fork gloas is in force at epoch 3: this version cannot sign there"
        );
        assert!(chain.selection_signing_root(24).is_err());
        assert!(chain.sync_message_signing_root(24, &[0; 32]).is_err());
        assert!(chain.sync_selection_signing_root(24, 0).is_err());
    }

    #[test]
    fn aggregators_are_selected_by_their_proofs() {
        let chain = chain("mainnet");
        // Small committees: everybody.
        assert!((0..=31).all(|length| is_aggregator(length, &[3; 96])));
        let proofs = (0_u8..=255).map(|byte| [byte; 96]);
        let chosen = proofs.clone().filter(|proof| is_aggregator(128, proof)).count();
        assert!((16..=48).contains(&chosen), "{chosen} of 256 at one of 8");
        let chosen = proofs.filter(|proof| is_sync_aggregator(&chain, proof)).count();
        assert!((16..=48).contains(&chosen), "{chosen} of 256 at one of 8");
        assert_eq!(chain.sync_subcommittees(&[511, 0, 127, 128]), [0, 1, 3]);
    }
}
