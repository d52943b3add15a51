//! What a validator asks of its beacon nodes and sends to them.
//!
//! Every function takes a deadline, which the caller derives from the duty. Questions are answered by the first node
//! that gives a good answer; submissions go to all. An answer to another question than the one that was asked (another
//! slot, another root) counts as none.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::{
    crypto::hash::Hash,
    ethereum::exit::SignedVoluntaryExit,
    validator::chain::{
        block::{Blobs, Block, BlockSchemas},
        json::hex_text,
        spec::{Chain, Fork},
        types::{
            Attestation, AttestationData, SignatureBytes, SignedAggregateAndProof,
            SignedContributionAndProof, SingleAttestation, SyncCommitteeContribution, SyncCommitteeMessage,
        },
    },
};

use super::{
    answers::{
        AttestationReward, AttestationRewards, AttesterDuty, BlockRoot, Committee, CommitteeSubscription,
        Data, Duties, Header, HeaderData, Liveness, Optimistic, ProposerDuties, ProposerDuty,
        ProposerPreparation, Root, SignedRegistration, SyncCommittee, SyncDuty, SyncSubscription,
        ValidatorStatus, Vote,
    },
    http::{Answer, ErrorKind, Format, Node, NodeError, Request, line},
    nodes::{AllFailed, From, Nodes, SMALL, Submission},
};

/// Bytes that each item of a list may take in an answer.
const PER_ITEM: usize = 2048;
/// Public keys in one question that carries them in its URL.
const KEYS_PER_URL: usize = 40;
/// Most bytes of the best possible rewards: one for each whole ETH up to 2048.
const MAX_IDEAL_REWARDS: usize = 2 << 20;
/// Most bytes of a block with its blobs and proofs: 72 blobs, in hexadecimal.
const MAX_BLOCK_BYTES: usize = 64 << 20;

/// A block to be signed, decoded.
#[derive(Debug, Clone)]
pub struct Produced {
    /// The block, with its header and so its root.
    pub block: Block,
    /// What is published beside a full block; none beside a blinded one.
    pub blobs: Option<Blobs>,
}

/// A block as a node wrote it.
struct RawBlock {
    fork: Fork,
    blinded: bool,
    body: RawBody,
}

enum RawBody {
    Ssz(Vec<u8>),
    Json(serde_json::Value),
}

impl RawBlock {
    /// Decodes and hashes, which takes some milliseconds for a large block: not on the executor's threads.
    async fn decode(self, schemas: Arc<BlockSchemas>) -> Result<Produced, String> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        rayon::spawn(move || {
            let decoded = match self.body {
                RawBody::Ssz(ssz) => schemas.produced_ssz(self.fork, self.blinded, ssz),
                RawBody::Json(value) => schemas.produced_json(self.fork, self.blinded, &value),
            };
            // Nobody listens when another node was faster.
            let _ = sender.send(decoded);
        });
        let decoded = receiver.await.map_err(|_| "decoding it failed".to_owned())?;
        let (block, blobs) = decoded.map_err(|error| error.to_string())?;
        Ok(Produced { block, blobs })
    }
}

/// What a node did with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Imported and broadcast (200).
    Imported,
    /// Broadcast, but the node could not import it (202).
    Broadcast,
}

impl Node {
    fn parse<T: DeserializeOwned>(&self, what: &'static str, body: &[u8]) -> Result<T, NodeError> {
        serde_json::from_slice(body).map_err(|error| self.malformed(what, &error.to_string()))
    }

    fn malformed(&self, what: &'static str, why: &str) -> NodeError {
        self.error(what, ErrorKind::Malformed(line(why)))
    }

    async fn ask<T: DeserializeOwned>(&self, request: &Request, deadline: Instant) -> Result<T, NodeError> {
        let answer = self.send(request, deadline).await?;
        self.parse(request.what, &answer.body)
    }

    /// Statuses of validators by public key.
    async fn validators(
        &self,
        pubkeys: &[[u8; 48]],
        deadline: Instant,
    ) -> Result<Vec<ValidatorStatus>, NodeError> {
        const WHAT: &str = "validators";
        const PATH: &str = "/eth/v1/beacon/states/head/validators";
        let ids: Vec<String> = pubkeys.iter().map(|key| hex_text(key)).collect();
        let limit = SMALL + ids.len() * PER_ITEM;
        let body = serde_json::json!({ "ids": ids });
        let posted: Result<Data<Vec<ValidatorStatus>>, _> =
            self.ask(&Request::post(WHAT, PATH, &body, limit), deadline).await;
        let found = match posted {
            Ok(found) => found.data,
            // Older nodes, and some proxies, only have the question without a body.
            Err(error) if older(&error) => {
                let mut found = Vec::new();
                for ids in ids.chunks(KEYS_PER_URL) {
                    let question = Request::get(WHAT, PATH, limit);
                    let request = ids.iter().fold(question, |request, id| request.with("id", id));
                    let some: Data<Vec<ValidatorStatus>> = self.ask(&request, deadline).await?;
                    found.extend(some.data);
                }
                found
            }
            Err(error) => return Err(error),
        };
        let asked: BTreeSet<_> = pubkeys.iter().collect();
        let mut seen = BTreeSet::new();
        for one in &found {
            if !asked.contains(&one.validator.pubkey) || !seen.insert(one.validator.pubkey) {
                return Err(self.malformed(WHAT, "a validator that was not asked for, or one twice"));
            }
        }
        Ok(found)
    }

    /// Public keys of validators by index.
    async fn public_keys(
        &self,
        indices: &[u64],
        deadline: Instant,
    ) -> Result<Vec<(u64, [u8; 48])>, NodeError> {
        const WHAT: &str = "public keys";
        let limit = SMALL + indices.len() * PER_ITEM;
        let body = serde_json::json!({ "ids": numbers(indices) });
        let request = Request::post(WHAT, "/eth/v1/beacon/states/head/validators", &body, limit);
        let found: Data<Vec<ValidatorStatus>> = self.ask(&request, deadline).await?;
        let asked: BTreeSet<u64> = indices.iter().copied().collect();
        let keys = found.data.iter().map(|one| (one.index, one.validator.pubkey));
        let keys: Vec<(u64, [u8; 48])> = keys.filter(|(index, _)| asked.contains(index)).collect();
        if keys.len() == asked.len() {
            Ok(keys)
        } else {
            Err(self.malformed(WHAT, "not exactly the validators that were asked for"))
        }
    }

    async fn committee(
        &self,
        slot: u64,
        index: u64,
        chain: &Chain,
        deadline: Instant,
    ) -> Result<Vec<u64>, NodeError> {
        const WHAT: &str = "committee";
        let request = Request::get(WHAT, "/eth/v1/beacon/states/head/committees", SMALL)
            .with("epoch", chain.epoch_of(slot))
            .with("slot", slot)
            .with("index", index);
        let found: Data<Vec<Committee>> = self.ask(&request, deadline).await?;
        let most = chain.spec.sizes.max_validators_per_committee;
        match <[Committee; 1]>::try_from(found.data) {
            Ok([one]) if one.slot == slot && one.index == index && one.validators.len() <= most => {
                Ok(one.validators)
            }
            _ => Err(self.malformed(WHAT, "it is another one")),
        }
    }

    async fn sync_committee(
        &self,
        epoch: u64,
        chain: &Chain,
        deadline: Instant,
    ) -> Result<Vec<u64>, NodeError> {
        const WHAT: &str = "sync committee";
        let request =
            Request::get(WHAT, "/eth/v1/beacon/states/head/sync_committees", SMALL).with("epoch", epoch);
        let found: Data<SyncCommittee> = self.ask(&request, deadline).await?;
        if found.data.validators.len() == chain.spec.sizes.sync_committee_size {
            Ok(found.data.validators)
        } else {
            Err(self.malformed(WHAT, "it has another size"))
        }
    }

    async fn votes(&self, epoch: u64, indices: &[u64], deadline: Instant) -> Result<Vec<Vote>, NodeError> {
        const WHAT: &str = "attestation rewards";
        let path = format!("/eth/v1/beacon/rewards/attestations/{epoch}");
        let limit = MAX_IDEAL_REWARDS + indices.len() * PER_ITEM;
        let request = Request::post(WHAT, path, &numbers(indices), limit);
        let rewards = self
            .ask::<Data<AttestationRewards>>(&request, deadline)
            .await?
            .data;
        // While the chain does not finalise, a right head brings as much as a wrong one: nothing.
        let leaks = rewards.ideal_rewards.iter().all(|ideal| ideal.head == 0);
        let vote = |one: &AttestationReward| Vote {
            index: one.validator_index,
            included: one.source >= 0 || one.target >= 0,
            target: Some(one.target >= 0),
            head: (!leaks).then_some(one.head > 0),
        };
        self.of_those(WHAT, indices, rewards.total_rewards.iter().map(vote))
    }

    async fn liveness(&self, epoch: u64, indices: &[u64], deadline: Instant) -> Result<Vec<Vote>, NodeError> {
        const WHAT: &str = "liveness";
        let path = format!("/eth/v1/validator/liveness/{epoch}");
        let request = Request::post(WHAT, path, &numbers(indices), SMALL + indices.len() * PER_ITEM);
        let live: Data<Vec<Liveness>> = self.ask(&request, deadline).await?;
        let vote = |one: &Liveness| Vote {
            index: one.index,
            included: one.is_live,
            target: None,
            head: None,
        };
        self.of_those(WHAT, indices, live.data.iter().map(vote))
    }

    /// Votes of the validators that were asked for, each once.
    fn of_those(
        &self,
        what: &'static str,
        indices: &[u64],
        votes: impl Iterator<Item = Vote>,
    ) -> Result<Vec<Vote>, NodeError> {
        let mut asked: BTreeSet<u64> = indices.iter().copied().collect();
        let votes: Vec<Vote> = votes.collect();
        if votes.iter().all(|vote| asked.remove(&vote.index)) {
            Ok(votes)
        } else {
            Err(self.malformed(what, "a validator that was not asked for, or one twice"))
        }
    }

    async fn attester_duties(
        &self,
        epoch: u64,
        chain: &Chain,
        indices: &[u64],
        deadline: Instant,
    ) -> Result<Duties<AttesterDuty>, NodeError> {
        const WHAT: &str = "attester duties";
        let path = format!("/eth/v1/validator/duties/attester/{epoch}");
        let request = Request::post(WHAT, path, &numbers(indices), SMALL + indices.len() * PER_ITEM);
        let duties: Duties<AttesterDuty> = self.ask(&request, deadline).await?;
        let mut seen = BTreeSet::new();
        for duty in &duties.data {
            let sizes = &chain.spec.sizes;
            let fits = chain.epoch_of(duty.slot) == epoch
                && indices.contains(&duty.validator_index)
                && seen.insert(duty.validator_index)
                && duty.committees_at_slot <= sizes.max_committees_per_slot as u64
                && duty.committee_index < duty.committees_at_slot
                && duty.committee_length <= sizes.max_validators_per_committee as u64
                && duty.validator_committee_index < duty.committee_length;
            if !fits {
                return Err(self.malformed(WHAT, "a duty that cannot be"));
            }
        }
        Ok(duties)
    }

    async fn proposer_duties(
        &self,
        epoch: u64,
        chain: &Chain,
        deadline: Instant,
    ) -> Result<ProposerDuties, NodeError> {
        const WHAT: &str = "proposer duties";
        let slots = usize::try_from(chain.spec.slots_per_epoch).unwrap_or(1024);
        let request = |version| {
            let path = format!("/eth/{version}/validator/duties/proposer/{epoch}");
            Request::get(WHAT, path, SMALL + slots * PER_ITEM)
        };
        let (duties, v2): (Duties<ProposerDuty>, bool) = match self.ask(&request("v2"), deadline).await {
            Ok(duties) => (duties, true),
            Err(error) if older(&error) => (self.ask(&request("v1"), deadline).await?, false),
            Err(error) => return Err(error),
        };
        let mut seen = BTreeSet::new();
        let fits = |duty: &ProposerDuty| chain.epoch_of(duty.slot) == epoch;
        if !duties
            .data
            .iter()
            .all(|duty| fits(duty) && seen.insert(duty.slot))
        {
            return Err(self.malformed(WHAT, "a proposal of another epoch, or two for one slot"));
        }
        Ok(ProposerDuties { duties, v2 })
    }

    async fn sync_duties(
        &self,
        epoch: u64,
        chain: &Chain,
        indices: &[u64],
        deadline: Instant,
    ) -> Result<Vec<SyncDuty>, NodeError> {
        const WHAT: &str = "sync committee duties";
        let path = format!("/eth/v1/validator/duties/sync/{epoch}");
        let size = chain.spec.sizes.sync_committee_size;
        // A validator may have any number of places in the committee.
        let limit = SMALL + indices.len() * PER_ITEM + size * 8;
        let request = Request::post(WHAT, path, &numbers(indices), limit);
        let duties: Data<Vec<SyncDuty>> = self.ask(&request, deadline).await?;
        let mut seen = BTreeSet::new();
        for duty in &duties.data {
            let mut places = duty.validator_sync_committee_indices.iter();
            let fits = indices.contains(&duty.validator_index)
                && seen.insert(duty.validator_index)
                && places.all(|place| *place < size as u64);
            if !fits {
                return Err(self.malformed(WHAT, "a duty that cannot be"));
            }
        }
        Ok(duties.data)
    }

    async fn attestation_data(
        &self,
        slot: u64,
        chain: &Chain,
        deadline: Instant,
    ) -> Result<AttestationData, NodeError> {
        const WHAT: &str = "attestation data";
        let request = Request::get(WHAT, "/eth/v1/validator/attestation_data", SMALL)
            .with("slot", slot)
            .with("committee_index", 0);
        let data = self.ask::<Data<AttestationData>>(&request, deadline).await?.data;
        let fits = data.slot == slot
            && data.index == 0
            && data.target.epoch == chain.epoch_of(slot)
            && data.source.epoch <= data.target.epoch;
        if fits {
            Ok(data)
        } else {
            Err(self.malformed(WHAT, "it is for another slot, committee or epoch"))
        }
    }

    async fn aggregate(
        &self,
        data: &AttestationData,
        committee_index: u64,
        chain: &Chain,
        deadline: Instant,
    ) -> Result<Attestation, NodeError> {
        const WHAT: &str = "aggregate attestation";
        let request = Request::get(WHAT, "/eth/v2/validator/aggregate_attestation", SMALL)
            .with("attestation_data_root", hex_text(&data.root()))
            .with("slot", data.slot)
            .with("committee_index", committee_index);
        let aggregate = self.ask::<Data<Attestation>>(&request, deadline).await?.data;
        aggregate
            .check(&chain.spec.sizes)
            .map_err(|error| self.malformed(WHAT, &error.to_string()))?;
        let committees: Vec<u64> = aggregate
            .committee_bits
            .ones()
            .map(|place| place as u64)
            .collect();
        if aggregate.data != *data || committees != [committee_index] {
            return Err(self.malformed(WHAT, "it is for other data or another committee"));
        }
        Ok(aggregate)
    }

    async fn contribution(
        &self,
        slot: u64,
        subcommittee_index: u64,
        beacon_block_root: &Hash,
        chain: &Chain,
        deadline: Instant,
    ) -> Result<SyncCommitteeContribution, NodeError> {
        const WHAT: &str = "sync committee contribution";
        let request = Request::get(WHAT, "/eth/v1/validator/sync_committee_contribution", SMALL)
            .with("slot", slot)
            .with("subcommittee_index", subcommittee_index)
            .with("beacon_block_root", hex_text(beacon_block_root));
        let one = self
            .ask::<Data<SyncCommitteeContribution>>(&request, deadline)
            .await?
            .data;
        one.check(&chain.spec.sizes)
            .map_err(|error| self.malformed(WHAT, &error.to_string()))?;
        let fits = one.slot == slot
            && one.subcommittee_index == subcommittee_index
            && one.beacon_block_root == *beacon_block_root;
        if fits {
            Ok(one)
        } else {
            Err(self.malformed(WHAT, "it is for another slot, subcommittee or block"))
        }
    }

    async fn produce_block(&self, request: &Request, deadline: Instant) -> Result<RawBlock, NodeError> {
        #[derive(serde::Deserialize)]
        struct Answered {
            version: String,
            execution_payload_blinded: bool,
            data: serde_json::Value,
        }
        let what = request.what;
        let answer = self.send(request, deadline).await?;
        let fork = |version: &str| {
            let fork = Fork::by_name(version).filter(|fork| *fork >= Fork::Electra);
            fork.ok_or_else(|| self.malformed(what, &format!("a block of fork {version}")))
        };
        match answer.format {
            Format::Ssz => {
                let (Some(version), Some(blinded)) = (answer.version, answer.blinded) else {
                    return Err(self.malformed(what, "its headers do not say which kind of block it is"));
                };
                Ok(RawBlock {
                    fork: fork(&version)?,
                    blinded,
                    body: RawBody::Ssz(answer.body),
                })
            }
            Format::Json => {
                let produced: Answered = self.parse(what, &answer.body)?;
                Ok(RawBlock {
                    fork: fork(&produced.version)?,
                    blinded: produced.execution_payload_blinded,
                    body: RawBody::Json(produced.data),
                })
            }
        }
    }

    async fn block_root(&self, block_id: &str, deadline: Instant) -> Result<BlockRoot, NodeError> {
        let path = format!("/eth/v1/beacon/blocks/{block_id}/root");
        let root: Optimistic<Root> = self
            .ask(&Request::get("block root", path, SMALL), deadline)
            .await?;
        Ok(BlockRoot {
            root: root.data.root,
            execution_optimistic: root.execution_optimistic,
        })
    }

    async fn header(&self, block_id: &str, deadline: Instant) -> Result<Header, NodeError> {
        const WHAT: &str = "block header";
        let path = format!("/eth/v1/beacon/headers/{block_id}");
        let answer: Optimistic<HeaderData> = self.ask(&Request::get(WHAT, path, SMALL), deadline).await?;
        let header = Header {
            root: answer.data.root,
            header: answer.data.header.message,
            canonical: answer.data.canonical,
            execution_optimistic: answer.execution_optimistic,
        };
        if header.header.root() == header.root {
            Ok(header)
        } else {
            Err(self.malformed(WHAT, "its root is not that of the header"))
        }
    }
}

/// Whether an older form of the question may work where the newer one did not. A 400 counts too: nodes that take the
/// version for a parameter answer so.
fn older(error: &NodeError) -> bool {
    match &error.kind {
        ErrorKind::Status { status, .. } => matches!(status, 400 | 415),
        kind => kind.is_missing_endpoint(),
    }
}

fn numbers(indices: &[u64]) -> Vec<String> {
    indices.iter().map(u64::to_string).collect()
}

/// Questions.
impl Nodes {
    /// The public keys of validators by their index; exactly those that were asked for.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn public_keys(
        &self,
        indices: &[u64],
        deadline: Instant,
    ) -> Result<From<Vec<(u64, [u8; 48])>>, AllFailed> {
        self.first("public keys", deadline, |node| async move {
            node.public_keys(indices, deadline).await
        })
        .await
    }

    /// The members of a committee of a slot, by their index on the chain.
    ///
    /// # Errors
    /// [`AllFailed`]; `is_not_found` when no node has the endpoint.
    pub async fn committee(
        &self,
        slot: u64,
        index: u64,
        deadline: Instant,
    ) -> Result<From<Vec<u64>>, AllFailed> {
        let chain = &*self.known_chain("committee")?;
        self.first("committee", deadline, |node| async move {
            node.committee(slot, index, chain, deadline).await
        })
        .await
    }

    /// The members of an epoch's sync committee, by their index on the chain, in the order of their places.
    ///
    /// # Errors
    /// [`AllFailed`]; `is_not_found` when no node has the endpoint.
    pub async fn sync_committee(&self, epoch: u64, deadline: Instant) -> Result<From<Vec<u64>>, AllFailed> {
        let chain = &*self.known_chain("sync committee")?;
        self.first("sync committee", deadline, |node| async move {
            node.sync_committee(epoch, chain, deadline).await
        })
        .await
    }

    fn known_chain(&self, request: &'static str) -> Result<Arc<Chain>, AllFailed> {
        self.chain().ok_or(AllFailed {
            request,
            errors: Vec::new(),
        })
    }

    /// Validators by public key in the head state; those that the chain does not know are left out.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn validators(
        &self,
        pubkeys: &[[u8; 48]],
        deadline: Instant,
    ) -> Result<From<Vec<ValidatorStatus>>, AllFailed> {
        self.first("validators", deadline, |node| async move {
            node.validators(pubkeys, deadline).await
        })
        .await
    }

    /// What became of validators' votes of an epoch whose following one is over; a validator may be left out. Nodes may take
    /// their time for this, and are not thought of worse for it.
    ///
    /// # Errors
    /// [`AllFailed`]; not every node has the endpoint.
    pub async fn votes(
        &self,
        epoch: u64,
        indices: &[u64],
        patience: Duration,
    ) -> Result<From<Vec<Vote>>, AllFailed> {
        self.aside("attestation rewards", patience, |node, deadline| async move {
            node.votes(epoch, indices, deadline).await
        })
        .await
    }

    /// Whether anything was seen of validators in an epoch: less than [`Self::votes`] tells, from nodes that do not have that.
    ///
    /// # Errors
    /// [`AllFailed`]; not every node has the endpoint.
    pub async fn liveness(
        &self,
        epoch: u64,
        indices: &[u64],
        patience: Duration,
    ) -> Result<From<Vec<Vote>>, AllFailed> {
        self.aside("liveness", patience, |node, deadline| async move {
            node.liveness(epoch, indices, deadline).await
        })
        .await
    }

    /// Attestations that are due in an epoch: at most the next one.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn attester_duties(
        &self,
        epoch: u64,
        indices: &[u64],
        deadline: Instant,
    ) -> Result<From<Duties<AttesterDuty>>, AllFailed> {
        let chain = &*self.known_chain("attester duties")?;
        self.first("attester duties", deadline, |node| async move {
            node.attester_duties(epoch, chain, indices, deadline).await
        })
        .await
    }

    /// All proposals of an epoch, of anybody's validators.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn proposer_duties(
        &self,
        epoch: u64,
        deadline: Instant,
    ) -> Result<From<ProposerDuties>, AllFailed> {
        let chain = &*self.known_chain("proposer duties")?;
        self.first("proposer duties", deadline, |node| async move {
            node.proposer_duties(epoch, chain, deadline).await
        })
        .await
    }

    /// Which validators are in the sync committee of an epoch.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn sync_duties(
        &self,
        epoch: u64,
        indices: &[u64],
        deadline: Instant,
    ) -> Result<From<Vec<SyncDuty>>, AllFailed> {
        let chain = &*self.known_chain("sync committee duties")?;
        self.first("sync committee duties", deadline, |node| async move {
            node.sync_duties(epoch, chain, indices, deadline).await
        })
        .await
    }

    /// What to attest to in a slot, for all committees: its slot, index and target epoch are right.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn attestation_data(
        &self,
        slot: u64,
        deadline: Instant,
    ) -> Result<From<AttestationData>, AllFailed> {
        let chain = &*self.known_chain("attestation data")?;
        self.first("attestation data", deadline, |node| async move {
            node.attestation_data(slot, chain, deadline).await
        })
        .await
    }

    /// The same from every node: what one of them says is plausible. In the order of the nodes.
    pub async fn attestation_data_of_each(
        &self,
        slot: u64,
        deadline: Instant,
    ) -> Vec<(usize, Result<AttestationData, NodeError>)> {
        let Some(chain) = self.chain() else {
            return Vec::new();
        };
        let chain = &*chain;
        self.each(|node| async move { node.attestation_data(slot, chain, deadline).await })
            .await
    }

    /// The best aggregate of a committee for this data. Its votes are as many as the node says; its signature is not
    /// verified here.
    ///
    /// # Errors
    /// [`AllFailed`]; `is_not_found` when the nodes have none.
    pub async fn aggregate_attestation(
        &self,
        data: &AttestationData,
        committee_index: u64,
        deadline: Instant,
    ) -> Result<From<Attestation>, AllFailed> {
        let chain = &*self.known_chain("aggregate attestation")?;
        self.first("aggregate attestation", deadline, |node| async move {
            node.aggregate(data, committee_index, chain, deadline).await
        })
        .await
    }

    /// The best contribution of a sync subcommittee for this block. Its signature is not verified here.
    ///
    /// # Errors
    /// [`AllFailed`]; `is_not_found` when the nodes have none.
    pub async fn sync_committee_contribution(
        &self,
        slot: u64,
        subcommittee_index: u64,
        beacon_block_root: &Hash,
        deadline: Instant,
    ) -> Result<From<SyncCommitteeContribution>, AllFailed> {
        let chain = &*self.known_chain("sync committee contribution")?;
        self.first("sync committee contribution", deadline, |node| async move {
            node.contribution(slot, subcommittee_index, beacon_block_root, chain, deadline)
                .await
        })
        .await
    }

    /// A block to be signed, of the slot and with the RANDAO reveal that were asked for; everything else that makes
    /// it plausible is for the caller to see. `builder_boost_factor` 0 asks for blocks of the node's own execution
    /// client only; none leaves the choice to the node.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn produce_block(
        &self,
        schemas: &Arc<BlockSchemas>,
        slot: u64,
        randao_reveal: &SignatureBytes,
        graffiti: &[u8; 32],
        builder_boost_factor: Option<u64>,
        deadline: Instant,
    ) -> Result<From<Produced>, AllFailed> {
        const WHAT: &str = "block";
        let path = format!("/eth/v3/validator/blocks/{slot}");
        let mut request = Request::get(WHAT, path, MAX_BLOCK_BYTES)
            .with("randao_reveal", hex_text(randao_reveal))
            .with("graffiti", hex_text(graffiti))
            .prefer_ssz();
        if let Some(factor) = builder_boost_factor {
            request = request.with("builder_boost_factor", factor);
        }
        let chain = &*self.known_chain(WHAT)?;
        let request = &request;
        self.first(WHAT, deadline, |node| async move {
            let raw = node.produce_block(request, deadline).await?;
            let decoded = raw.decode(schemas.clone()).await;
            let produced = decoded.map_err(|why| node.malformed(WHAT, &why))?;
            let block = &produced.block;
            let scheduled = chain.spec.fork_at(chain.epoch_of(slot)).map(|one| one.fork);
            if block.header.slot != slot
                || block.randao_reveal != *randao_reveal
                || scheduled != Some(block.fork)
            {
                return Err(node.malformed(WHAT, "its slot, fork or RANDAO reveal is another"));
            }
            Ok(produced)
        })
        .await
    }

    /// The root of a node's head.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn head_root(&self, deadline: Instant) -> Result<From<BlockRoot>, AllFailed> {
        self.first("block root", deadline, |node| async move {
            node.block_root("head", deadline).await
        })
        .await
    }

    /// The header of a block by its root. A good answer of one node is that it has it.
    ///
    /// # Errors
    /// [`AllFailed`]; `is_not_found` when no node knows the block.
    pub async fn header(&self, root: &Hash, deadline: Instant) -> Result<From<Header>, AllFailed> {
        let id = &hex_text(root);
        self.first("block header", deadline, |node| async move {
            let header = node.header(id, deadline).await?;
            if header.root == *root {
                Ok(header)
            } else {
                Err(node.malformed("block header", "it is another block's"))
            }
        })
        .await
    }

    /// The header of a node's head.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn head_header(&self, deadline: Instant) -> Result<From<Header>, AllFailed> {
        self.first("block header", deadline, |node| async move {
            node.header("head", deadline).await
        })
        .await
    }
}

/// Submissions.
impl Nodes {
    async fn post(&self, request: Request, deadline: Instant) -> Result<Submission<()>, AllFailed> {
        let request = &request;
        self.submit(request.what, |node| async move {
            node.send(request, deadline).await.map(|_| ())
        })
        .await
    }

    /// Publishes votes.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn submit_attestations(
        &self,
        fork: Fork,
        attestations: &[SingleAttestation],
        deadline: Instant,
    ) -> Result<Submission<()>, AllFailed> {
        let path = "/eth/v2/beacon/pool/attestations";
        let request = Request::post("attestations", path, &attestations, SMALL).with_version(fork);
        self.post(request, deadline).await
    }

    /// Publishes aggregates.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn submit_aggregates(
        &self,
        fork: Fork,
        aggregates: &[SignedAggregateAndProof],
        deadline: Instant,
    ) -> Result<Submission<()>, AllFailed> {
        let path = "/eth/v2/validator/aggregate_and_proofs";
        let request = Request::post("aggregates", path, &aggregates, SMALL).with_version(fork);
        self.post(request, deadline).await
    }

    /// Publishes sync committee messages.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn submit_sync_messages(
        &self,
        messages: &[SyncCommitteeMessage],
        deadline: Instant,
    ) -> Result<Submission<()>, AllFailed> {
        let path = "/eth/v1/beacon/pool/sync_committees";
        let request = Request::post("sync committee messages", path, &messages, SMALL);
        self.post(request, deadline).await
    }

    /// Publishes sync committee contributions.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn submit_contributions(
        &self,
        contributions: &[SignedContributionAndProof],
        deadline: Instant,
    ) -> Result<Submission<()>, AllFailed> {
        let path = "/eth/v1/validator/contribution_and_proofs";
        let request = Request::post("sync committee contributions", path, &contributions, SMALL);
        self.post(request, deadline).await
    }

    /// Publishes a signed block: a full one with its blobs and proofs, or a blinded one. As SSZ, and as JSON to nodes
    /// that do not take SSZ (415).
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn publish_block(
        &self,
        schemas: &BlockSchemas,
        block: &Block,
        blobs: Option<&Blobs>,
        signature: &SignatureBytes,
        deadline: Instant,
    ) -> Result<Submission<Published>, AllFailed> {
        let (what, path) = if block.blinded {
            ("blinded block publication", "/eth/v2/beacon/blinded_blocks")
        } else {
            ("block publication", "/eth/v2/beacon/blocks")
        };
        let request = &Request::get(what, path, SMALL)
            .with_version(block.fork)
            .with_body(Format::Ssz, BlockSchemas::signed_ssz(block, blobs, signature));
        let json = || {
            let value = schemas.signed_json(block, blobs, signature).unwrap_or_default();
            value.to_string().into_bytes()
        };
        let json = &json;
        let published = |answer: &Answer| match answer.status {
            202 => Published::Broadcast,
            _ => Published::Imported,
        };
        self.submit(what, |node| async move {
            match node.send(request, deadline).await {
                Err(error)
                    if matches!(
                        error.kind,
                        ErrorKind::Status {
                            status: 415 | 406,
                            ..
                        }
                    ) =>
                {
                    let request = request.clone().with_body(Format::Json, json());
                    node.send(&request, deadline)
                        .await
                        .map(|answer| published(&answer))
                }
                result => result.map(|answer| published(&answer)),
            }
        })
        .await
    }

    /// Tells all nodes which committees to listen to. Without it there is no aggregate to ask for.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn subscribe_committees(
        &self,
        subscriptions: &[CommitteeSubscription],
        deadline: Instant,
    ) -> Result<Submission<()>, AllFailed> {
        let path = "/eth/v1/validator/beacon_committee_subscriptions";
        let request = Request::post("committee subscriptions", path, &subscriptions, SMALL);
        self.post(request, deadline).await
    }

    /// Tells all nodes which sync subcommittees to listen to.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn subscribe_sync_committees(
        &self,
        subscriptions: &[SyncSubscription],
        deadline: Instant,
    ) -> Result<Submission<()>, AllFailed> {
        let path = "/eth/v1/validator/sync_committee_subscriptions";
        let request = Request::post("sync committee subscriptions", path, &subscriptions, SMALL);
        self.post(request, deadline).await
    }

    /// Tells all nodes who gets the fees of which validators' blocks. To be repeated every epoch.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn prepare_proposers(
        &self,
        preparations: &[ProposerPreparation],
        deadline: Instant,
    ) -> Result<Submission<()>, AllFailed> {
        let path = "/eth/v1/validator/prepare_beacon_proposer";
        let request = Request::post("proposer preparation", path, &preparations, SMALL);
        self.post(request, deadline).await
    }

    /// Registers validators with block builders.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn register_validators(
        &self,
        registrations: &[SignedRegistration],
        deadline: Instant,
    ) -> Result<Submission<()>, AllFailed> {
        let path = "/eth/v1/validator/register_validator";
        let request = Request::post("builder registrations", path, &registrations, SMALL);
        self.post(request, deadline).await
    }

    /// Publishes a voluntary exit.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn submit_exit(
        &self,
        exit: &SignedVoluntaryExit,
        deadline: Instant,
    ) -> Result<Submission<()>, AllFailed> {
        let path = "/eth/v1/beacon/pool/voluntary_exits";
        let request = Request::get("voluntary exit", path, SMALL).with_body(Format::Json, exit.to_json());
        self.post(request, deadline).await
    }
}
