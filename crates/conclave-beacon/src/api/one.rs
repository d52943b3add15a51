//! One beacon node is asked, and its answer held against the question.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::{
    answers::{
        AttestationReward, AttestationRewards, AttesterDuty, BlockRoot, Committee, Data, Duties, Header,
        HeaderData, List, Liveness, Optimistic, ProposerDuties, ProposerDuty, Root, SyncCommittee, SyncDuty,
        ValidatorStatus, Vote,
    },
    chain::spec::Chain,
    http::{Answer, ErrorKind, Format, Node, NodeError, Request, line},
    nodes::SMALL,
};
use conclave_crypto::hash::Hash;
use conclave_eth::chain::fork::Fork;
use conclave_eth::{
    chain::{
        block::{Blobs, Block, BlockSchemas},
        json::hex_text,
        types::{Attestation, AttestationData, SignatureBytes, SyncCommitteeContribution},
    },
    recognise::why_no_json,
};

/// Bytes that each item of a list may take in an answer.
const PER_ITEM: usize = 2048;
/// Public keys in one question that carries them in its URL.
const KEYS_PER_URL: usize = 40;
/// Most bytes of a block of the chain, without blobs: 10 MiB in hexadecimal, and its names.
const MAX_CHAIN_BLOCK: usize = 32 << 20;
/// A node that fails so soon did not try.
const AT_ONCE: Duration = Duration::from_millis(500);
/// Most bytes of the best possible rewards: one for each whole ETH up to 2048.
const MAX_IDEAL_REWARDS: usize = 2 << 20;

/// A block to be signed, decoded.
#[derive(Debug, Clone)]
pub struct Produced {
    /// The block, with its header and so its root.
    pub block: Block,
    /// What is published beside a full block; none beside a blinded one.
    pub blobs: Option<Blobs>,
}

/// A block that beacon nodes are asked for.
#[derive(Debug, Clone, Copy)]
pub struct BlockRequest {
    /// The slot.
    pub slot: u64,
    /// The proposer's RANDAO reveal.
    pub randao_reveal: SignatureBytes,
    /// What the block says of itself.
    pub graffiti: [u8; 32],
    /// 0 asks for blocks of the node's own execution client only; none leaves the choice to the node.
    pub builder_boost_factor: Option<u64>,
}

/// What was wrong while beacon nodes were asked for a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockTrouble {
    /// The answer does not say what it should, or says it wrong; its block can be used all the same.
    Odd {
        /// The node, without credentials.
        node: String,
        /// What is wrong.
        why: String,
    },
    /// There was no answer in SSZ that can be used: the same node was asked once more, for JSON.
    AskedAgain(NodeError),
    /// The node gave no block that can be used: another node is asked, if there is one.
    Failed(NodeError),
}

/// The JSON of a block to be signed. What stands beside the block may be anything.
#[derive(serde::Deserialize)]
struct ProducedJson {
    #[serde(default)]
    version: serde_json::Value,
    #[serde(default)]
    execution_payload_blinded: serde_json::Value,
    data: serde_json::Value,
}

/// Reads a block of this fork, and what the answer lacks or says wrong although the block is there. Neither the fork nor the
/// kind of block nor how it is written is taken from what the node says beside it: the first shows in the slot, the others in the
/// bytes.
fn read_block(
    answer: Answer,
    fork: Fork,
    schemas: &BlockSchemas,
) -> Result<(Produced, Option<String>), String> {
    let (said, is_meant_as_json) = (answer.said, answer.is_meant_as_json());
    // Bytes that are JSON as a whole are no block in SSZ.
    let (format, decoded, version, blinded) = match serde_json::from_slice::<ProducedJson>(&answer.body) {
        Ok(produced) => {
            let text = |value: serde_json::Value| match value {
                serde_json::Value::Null => None,
                serde_json::Value::String(text) => Some(text),
                other => Some(other.to_string()),
            };
            let decoded = schemas.produced_json(fork, &produced.data);
            let version = text(produced.version);
            let blinded = text(produced.execution_payload_blinded);
            (Format::Json, decoded, version, blinded)
        }
        Err(no_json) => {
            let decoded = schemas.produced_ssz(fork, answer.body);
            if decoded.is_err() && is_meant_as_json {
                return Err(why_no_json(&no_json));
            }
            (Format::Ssz, decoded, answer.version, answer.blinded)
        }
    };
    let is_wrong = |version: &String| !version.eq_ignore_ascii_case(fork.name());
    let (block, blobs) =
        decoded.map_err(
            |error| match version.as_ref().filter(|version| is_wrong(version)) {
                Some(version) => format!("a block of fork {} in a slot of {}", line(version), fork.name()),
                None => error.to_string(),
            },
        )?;
    let (of_fork, of_kind) = match format {
        Format::Ssz => ("Eth-Consensus-Version", "Eth-Execution-Payload-Blinded"),
        Format::Json => ("version", "execution_payload_blinded"),
    };
    let mut odd = Vec::new();
    if said.is_some_and(|said| said != format) {
        odd.push("its Content-Type is wrong".to_owned());
    }
    match version {
        None => odd.push(format!("it has no {of_fork}")),
        Some(version) if is_wrong(&version) => odd.push(format!("its {of_fork} is wrong")),
        Some(_) => {}
    }
    match blinded {
        None => odd.push(format!("it has no {of_kind}")),
        Some(said) if !said.eq_ignore_ascii_case(if block.blinded { "true" } else { "false" }) => {
            odd.push(format!("its {of_kind} is wrong"));
        }
        Some(_) => {}
    }
    let odd = (!odd.is_empty()).then(|| odd.join(", "));
    Ok((Produced { block, blobs }, odd))
}

/// Reads a signed block of the chain, however it is written.
fn read_signed_block(
    answer: &Answer,
    blinded: bool,
    chain: &Chain,
    schemas: &BlockSchemas,
) -> Result<Block, String> {
    let fork_of = |slot| Some(chain.spec.fork_at(chain.epoch_of(slot))?.fork);
    let no_json = match serde_json::from_slice::<Data<serde_json::Value>>(&answer.body) {
        Ok(read) => {
            let read = schemas.signed_block_json(blinded, &read.data, fork_of);
            return read.map_err(|error| error.to_string());
        }
        Err(error) => error,
    };
    let read = schemas.signed_block_ssz(blinded, &answer.body, fork_of);
    read.map_err(|error| {
        if answer.is_meant_as_json() {
            why_no_json(&no_json)
        } else {
            error.to_string()
        }
    })
}

impl Node {
    fn parse<T: DeserializeOwned>(&self, what: &'static str, body: &[u8]) -> Result<T, NodeError> {
        serde_json::from_slice(body).map_err(|error| self.malformed(what, &why_no_json(&error)))
    }

    pub(super) fn malformed(&self, what: &'static str, why: &str) -> NodeError {
        self.error(what, ErrorKind::Malformed(line(why)))
    }

    async fn ask<T: DeserializeOwned>(&self, request: &Request, deadline: Instant) -> Result<T, NodeError> {
        let answer = self.send(request, deadline).await?;
        self.parse(request.what, &answer.body)
    }

    /// Statuses of validators by public key.
    pub(super) async fn validators(
        &self,
        pubkeys: &[[u8; 48]],
        deadline: Instant,
    ) -> Result<Vec<ValidatorStatus>, NodeError> {
        const WHAT: &str = "validators";
        let ids: Vec<String> = pubkeys.iter().map(|key| hex_text(key)).collect();
        // Once an epoch, and for people.
        let found = self.states_of(WHAT, &ids, Request::can_wait, deadline).await?;
        let asked: BTreeSet<_> = pubkeys.iter().collect();
        let mut seen = BTreeSet::new();
        for one in &found {
            if !asked.contains(&one.validator.pubkey) || !seen.insert(one.validator.pubkey) {
                return Err(self.malformed(WHAT, "a validator that was not asked for, or one twice"));
            }
        }
        Ok(found)
    }

    /// States of validators by public key or index, in the form that the node has.
    async fn states_of(
        &self,
        what: &'static str,
        ids: &[String],
        how: impl Fn(Request) -> Request,
        deadline: Instant,
    ) -> Result<Vec<ValidatorStatus>, NodeError> {
        const PATH: &str = "/eth/v1/beacon/states/head/validators";
        let limit = SMALL + ids.len() * PER_ITEM;
        let body = serde_json::json!({ "ids": ids });
        let question = how(Request::post(what, PATH, &body, limit)).unless(ErrorKind::is_missing);
        let posted: Result<List<ValidatorStatus>, _> = self.ask(&question, deadline).await;
        match posted {
            Ok(found) => Ok(found.data),
            // Older nodes, and some proxies, only have the question without a body.
            Err(error) if older(&error) => {
                let mut found = Vec::new();
                for ids in ids.chunks(KEYS_PER_URL) {
                    let question = how(Request::get(what, PATH, limit));
                    let request = ids.iter().fold(question, |request, id| request.with("id", id));
                    let some: List<ValidatorStatus> = self.ask(&request, deadline).await?;
                    found.extend(some.data);
                }
                Ok(found)
            }
            Err(error) => Err(error),
        }
    }

    /// Public keys of validators by index.
    pub(super) async fn public_keys(
        &self,
        indices: &[u64],
        deadline: Instant,
    ) -> Result<Vec<(u64, [u8; 48])>, NodeError> {
        const WHAT: &str = "public keys";
        let at_once = |request| request;
        let found = self.states_of(WHAT, &numbers(indices), at_once, deadline).await?;
        let asked: BTreeSet<u64> = indices.iter().copied().collect();
        let keys = found.iter().map(|one| (one.index, one.validator.pubkey));
        let keys: Vec<(u64, [u8; 48])> = keys.filter(|(index, _)| asked.contains(index)).collect();
        if keys.len() == asked.len() {
            Ok(keys)
        } else {
            Err(self.malformed(WHAT, "not exactly the validators that were asked for"))
        }
    }

    pub(super) async fn committee(
        &self,
        slot: u64,
        index: u64,
        chain: &Chain,
        deadline: Instant,
    ) -> Result<Vec<u64>, NodeError> {
        const WHAT: &str = "committee";
        // Not remembered as missing: what cannot be checked passes.
        let request = Request::get(WHAT, "/eth/v1/beacon/states/head/committees", SMALL)
            .with("epoch", chain.epoch_of(slot))
            .with("slot", slot)
            .with("index", index);
        let found: List<Committee> = self.ask(&request, deadline).await?;
        let most = chain.spec.sizes.max_validators_per_committee;
        match <[Committee; 1]>::try_from(found.data) {
            Ok([one]) if one.slot == slot && one.index == index && one.validators.len() <= most => {
                Ok(one.validators)
            }
            _ => Err(self.malformed(WHAT, "it is another one")),
        }
    }

    pub(super) async fn sync_committee(
        &self,
        epoch: u64,
        chain: &Chain,
        deadline: Instant,
    ) -> Result<Vec<u64>, NodeError> {
        const WHAT: &str = "sync committee";
        // Not remembered as missing: what cannot be checked passes.
        let request =
            Request::get(WHAT, "/eth/v1/beacon/states/head/sync_committees", SMALL).with("epoch", epoch);
        let found: Data<SyncCommittee> = self.ask(&request, deadline).await?;
        if found.data.validators.len() == chain.spec.sizes.sync_committee_size {
            Ok(found.data.validators)
        } else {
            Err(self.malformed(WHAT, "it has another size"))
        }
    }

    pub(super) async fn votes(
        &self,
        epoch: u64,
        indices: &[u64],
        deadline: Instant,
    ) -> Result<Vec<Vote>, NodeError> {
        const WHAT: &str = "attestation rewards";
        let path = format!("/eth/v1/beacon/rewards/attestations/{epoch}");
        let limit = MAX_IDEAL_REWARDS + indices.len() * PER_ITEM;
        let request =
            Request::post(WHAT, path, &numbers(indices), limit).unless(ErrorKind::is_missing_endpoint);
        let request = request.can_wait();
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

    pub(super) async fn liveness(
        &self,
        epoch: u64,
        indices: &[u64],
        deadline: Instant,
    ) -> Result<Vec<Vote>, NodeError> {
        const WHAT: &str = "liveness";
        let path = format!("/eth/v1/validator/liveness/{epoch}");
        let request = Request::post(WHAT, path, &numbers(indices), SMALL + indices.len() * PER_ITEM)
            .unless(ErrorKind::is_missing_endpoint)
            .can_wait();
        let live: List<Liveness> = self.ask(&request, deadline).await?;
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

    pub(super) async fn attester_duties(
        &self,
        epoch: u64,
        chain: &Chain,
        indices: &[u64],
        deadline: Instant,
    ) -> Result<Duties<AttesterDuty>, NodeError> {
        const WHAT: &str = "attester duties";
        let path = format!("/eth/v1/validator/duties/attester/{epoch}");
        let request = Request::post(WHAT, path, &numbers(indices), SMALL + indices.len() * PER_ITEM);
        let request = request.can_wait();
        let duties: Duties<AttesterDuty> = self.ask(&request, deadline).await?;
        let mut asked: BTreeSet<u64> = indices.iter().copied().collect();
        for duty in &duties.data {
            let sizes = &chain.spec.sizes;
            let fits = chain.epoch_of(duty.slot) == epoch
                && asked.remove(&duty.validator_index)
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

    pub(super) async fn proposer_duties(
        &self,
        epoch: u64,
        chain: &Chain,
        deadline: Instant,
    ) -> Result<ProposerDuties, NodeError> {
        const WHAT: &str = "proposer duties";
        let slots = usize::try_from(chain.spec.slots_per_epoch).unwrap_or(1024);
        let request = |version| {
            let path = format!("/eth/{version}/validator/duties/proposer/{epoch}");
            Request::get(WHAT, path, SMALL + slots * PER_ITEM).can_wait()
        };
        let newer = request("v2").unless(ErrorKind::is_missing_endpoint);
        let (duties, v2): (Duties<ProposerDuty>, bool) = match self.ask(&newer, deadline).await {
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

    pub(super) async fn sync_duties(
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
        let request = Request::post(WHAT, path, &numbers(indices), limit).can_wait();
        let duties: List<SyncDuty> = self.ask(&request, deadline).await?;
        let mut asked: BTreeSet<u64> = indices.iter().copied().collect();
        for duty in &duties.data {
            let mut places = duty.validator_sync_committee_indices.iter();
            let fits = asked.remove(&duty.validator_index) && places.all(|place| *place < size as u64);
            if !fits {
                return Err(self.malformed(WHAT, "a duty that cannot be"));
            }
        }
        Ok(duties.data)
    }

    pub(super) async fn attestation_data(
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

    pub(super) async fn aggregate(
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

    pub(super) async fn contribution(
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

    /// Asks for what may be in SSZ. If the answer cannot be used, or there is none because the node cannot give it so, it is asked
    /// once more, for JSON; where it fails for another reason only if it did so at once, for it would take as long again. `again` is
    /// told why.
    async fn in_either_form<T: Send + 'static>(
        &self,
        request: &Request,
        deadline: Instant,
        read: impl Fn(Answer) -> Result<T, String> + Clone + Send + 'static,
        again: impl FnOnce(NodeError),
    ) -> Result<T, NodeError> {
        let asked = Instant::now();
        let helps = |kind: &ErrorKind| {
            let lacks = request.lacking.is_some_and(|lacking| lacking(kind));
            let at_once = || asked.elapsed() < AT_ONCE;
            !lacks && (kind.is_of_the_form() || kind.may_be_of_the_form() && at_once())
        };
        match self.ask_and_read(request, deadline, read.clone()).await {
            Err(error) if helps(&error.kind) => {
                again(error);
                let request = request.clone().json_only();
                self.ask_and_read(&request, deadline, read).await
            }
            result => result,
        }
    }

    /// Decodes and hashes, which takes some milliseconds for a large block: not on the executor's threads.
    async fn ask_and_read<T: Send + 'static>(
        &self,
        request: &Request,
        deadline: Instant,
        read: impl FnOnce(Answer) -> Result<T, String> + Send + 'static,
    ) -> Result<T, NodeError> {
        let answer = self.send(request, deadline).await?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        rayon::spawn(move || {
            // Nobody listens when another node was faster.
            let _ = sender.send(read(answer));
        });
        let read = receiver
            .await
            .unwrap_or_else(|_| Err("decoding it failed".to_owned()));
        read.map_err(|why| self.malformed(request.what, &why))
    }

    /// A block of this fork. `tell` is given what was wrong all the same.
    pub(super) async fn produce_block(
        &self,
        request: &Request,
        fork: Fork,
        schemas: &Arc<BlockSchemas>,
        deadline: Instant,
        tell: &impl Fn(BlockTrouble),
    ) -> Result<Produced, NodeError> {
        let schemas = schemas.clone();
        let read = move |answer| read_block(answer, fork, &schemas);
        let again = |error| tell(BlockTrouble::AskedAgain(error));
        let (produced, odd) = self.in_either_form(request, deadline, read, again).await?;
        if let Some(why) = odd {
            let node = self.name().to_owned();
            tell(BlockTrouble::Odd { node, why });
        }
        Ok(produced)
    }

    /// A block of the chain, blinded or full as a node keeps it, whose root is this one.
    pub(super) async fn block(
        &self,
        blinded: bool,
        root: &Hash,
        chain: &Arc<Chain>,
        schemas: &Arc<BlockSchemas>,
        deadline: Instant,
    ) -> Result<Block, NodeError> {
        const WHAT: &str = "a block";
        let path = if blinded {
            format!("/eth/v1/beacon/blinded_blocks/{}", hex_text(root))
        } else {
            format!("/eth/v2/beacon/blocks/{}", hex_text(root))
        };
        // Some say 404 of a block that is not there in the words for an endpoint that is not.
        let lacking = |kind: &ErrorKind| matches!(kind, ErrorKind::NotImplemented(405 | 501));
        let request = Request::get(WHAT, path, MAX_CHAIN_BLOCK)
            .prefer_ssz()
            .unless(lacking);
        let (chain, schemas) = (chain.clone(), schemas.clone());
        let read = move |answer: Answer| read_signed_block(&answer, blinded, &chain, &schemas);
        let again = |error| tracing::debug!("{error}; it is asked again, for JSON");
        let block = self.in_either_form(&request, deadline, read, again).await?;
        if block.root() == *root {
            Ok(block)
        } else {
            Err(self.malformed(WHAT, "it is another one"))
        }
    }

    pub(super) async fn block_root(&self, block_id: &str, deadline: Instant) -> Result<BlockRoot, NodeError> {
        let path = format!("/eth/v1/beacon/blocks/{block_id}/root");
        let root: Optimistic<Root> = self
            .ask(&Request::get("block root", path, SMALL), deadline)
            .await?;
        Ok(BlockRoot {
            root: root.data.root,
            execution_optimistic: root.execution_optimistic,
        })
    }

    pub(super) async fn header(&self, block_id: &str, deadline: Instant) -> Result<Header, NodeError> {
        self.read_header(&header_of(block_id), deadline).await
    }

    /// Its head, when it is asked how it is.
    pub(crate) async fn shown_head(&self, deadline: Instant) -> Result<Header, NodeError> {
        self.read_header(&header_of("head").can_wait(), deadline).await
    }

    async fn read_header(&self, request: &Request, deadline: Instant) -> Result<Header, NodeError> {
        let answer: Optimistic<HeaderData> = self.ask(request, deadline).await?;
        let header = Header {
            root: answer.data.root,
            header: answer.data.header.message,
            canonical: answer.data.canonical,
            execution_optimistic: answer.execution_optimistic,
        };
        if header.header.root() == header.root {
            Ok(header)
        } else {
            Err(self.malformed(request.what, "its root is not that of the header"))
        }
    }
}

fn header_of(block_id: &str) -> Request {
    Request::get(
        "block header",
        format!("/eth/v1/beacon/headers/{block_id}"),
        SMALL,
    )
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
