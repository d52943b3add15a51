//! Questions to several beacon nodes: the first good answer counts.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    agreed::Agreed,
    answers::{AttesterDuty, BlockRoot, Duties, Header, ProposerDuties, SyncDuty, ValidatorStatus, Vote},
    chain::spec::Chain,
    http::{ErrorKind, Node, Request},
    nodes::{AllFailed, FAIR, FAIR_IF_HARD, From, HEAD, Nodes, Said},
};
use conclave_crypto::hash::Hash;
use conclave_eth::chain::{
    block::{Block, BlockSchemas, RESTART, Unfit},
    json::hex_text,
    types::{Attestation, AttestationData, BeaconBlockHeader, SyncCommitteeContribution},
};

use super::one::{BlockRequest, BlockTrouble, Produced};

/// A block of the chain, as much of it as a node tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KnownBlock {
    /// With its execution payload, or that one's header.
    Whole(Box<Block>),
    /// Only its header.
    Header(BeaconBlockHeader),
}

/// Most bytes of a block with its blobs and proofs: 72 blobs, in hexadecimal.
const MAX_BLOCK_BYTES: usize = 64 << 20;

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
        self.first("public keys", deadline, FAIR, |node| async move {
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
        self.first("committee", deadline, FAIR, |node| async move {
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
        self.first("sync committee", deadline, FAIR, |node| async move {
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

    /// Validators by public key in the head state, by what most nodes say; those that the chain does not know are left out.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn validators(&self, pubkeys: &[[u8; 48]], deadline: Instant) -> Result<Agreed, AllFailed> {
        let said = self.validators_of_all(pubkeys, deadline).await?;
        Ok(Agreed::of(pubkeys, &said, |node| self.name_of(node)))
    }

    /// The same, as each node says it.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn validators_of_all(
        &self,
        pubkeys: &[[u8; 48]],
        deadline: Instant,
    ) -> Result<Vec<Said<Vec<ValidatorStatus>>>, AllFailed> {
        self.poll("validators", |node| async move {
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

    /// Attestations that are due in an epoch: at most the next one. What each node says.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn attester_duties(
        &self,
        epoch: u64,
        indices: &[u64],
        deadline: Instant,
    ) -> Result<Vec<Said<Duties<AttesterDuty>>>, AllFailed> {
        let chain = &*self.known_chain("attester duties")?;
        self.poll("attester duties", |node| async move {
            node.attester_duties(epoch, chain, indices, deadline).await
        })
        .await
    }

    /// All proposals of an epoch, of anybody's validators. What each node says.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn proposer_duties(
        &self,
        epoch: u64,
        deadline: Instant,
    ) -> Result<Vec<Said<ProposerDuties>>, AllFailed> {
        let chain = &*self.known_chain("proposer duties")?;
        self.poll("proposer duties", |node| async move {
            node.proposer_duties(epoch, chain, deadline).await
        })
        .await
    }

    /// Which validators are in the sync committee of an epoch. What each node says.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn sync_duties(
        &self,
        epoch: u64,
        indices: &[u64],
        deadline: Instant,
    ) -> Result<Vec<Said<Vec<SyncDuty>>>, AllFailed> {
        let chain = &*self.known_chain("sync committee duties")?;
        self.poll("sync committee duties", |node| async move {
            node.sync_duties(epoch, chain, indices, deadline).await
        })
        .await
    }

    /// What to attest to in a slot, for all committees: its slot, index and target epoch are right. One node answers for all;
    /// only if its head is not the one that is ours ([`Nodes::head`]), others are asked beside it. `tell` is given each
    /// answer as it comes, and whether it is ours: the first one is, and one with that head. If that head is older than the slot, only
    /// until the node has answered that was asked first: it may have got a newer block, and who is behind it still answers the old one.
    ///
    /// # Errors
    /// [`AllFailed`] if there is no answer.
    pub async fn attestation_data(
        &self,
        slot: u64,
        deadline: Instant,
        mut tell: impl FnMut(From<AttestationData>, bool),
    ) -> Result<(), AllFailed> {
        const WHAT: &str = "attestation data";
        let chain = &*self.known_chain(WHAT)?;
        let ask = |node: Node| async move { node.attestation_data(slot, chain, deadline).await };
        let chosen = self.best(WHAT);
        let (mut first, mut chosen_answered) = (true, false);
        let enough = |answer: From<AttestationData>| {
            let ours = self.head().filter(|(of, _)| *of <= slot);
            let fits = ours.is_none_or(|(_, root)| root == answer.value.beacon_block_root);
            let counts = !chosen_answered || ours.is_some_and(|(of, _)| of == slot);
            chosen_answered |= Some(answer.node) == chosen;
            tell(answer, std::mem::take(&mut first) || fits && counts);
            fits
        };
        self.until(WHAT, deadline, FAIR, ask, enough).await.map(|_| ())
    }

    /// The same from every node: what one of them says is plausible. `tell` is given each answer as it comes.
    pub async fn attestation_data_of_each(
        &self,
        slot: u64,
        deadline: Instant,
        tell: impl FnMut(AttestationData),
    ) {
        let Some(chain) = self.chain() else {
            return;
        };
        let chain = &*chain;
        let ask = |node: Node| async move { node.attestation_data(slot, chain, deadline).await };
        self.each("attestation data", ask, tell).await;
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
        self.first("aggregate attestation", deadline, FAIR, |node| async move {
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
        self.first("sync committee contribution", deadline, FAIR, |node| async move {
            node.contribution(slot, subcommittee_index, beacon_block_root, chain, deadline)
                .await
        })
        .await
    }

    /// A block to be signed, of the slot and with the RANDAO reveal that were asked for, and one that `refuses` says nothing
    /// against: else the next node is asked. `tell` is given all that goes wrong, when it does.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn produce_block(
        &self,
        schemas: &Arc<BlockSchemas>,
        wanted: &BlockRequest,
        deadline: Instant,
        refuses: impl Fn(&Produced) -> Option<Unfit>,
        tell: impl Fn(BlockTrouble),
    ) -> Result<From<Produced>, AllFailed> {
        const WHAT: &str = "block";
        let BlockRequest {
            slot, randao_reveal, ..
        } = *wanted;
        let path = format!("/eth/v3/validator/blocks/{slot}");
        let mut request = Request::get(WHAT, path, MAX_BLOCK_BYTES)
            .with("randao_reveal", hex_text(&randao_reveal))
            .with("graffiti", hex_text(&wanted.graffiti))
            .prefer_ssz();
        if let Some(factor) = wanted.builder_boost_factor {
            request = request.with("builder_boost_factor", factor);
        }
        let chain = &*self.known_chain(WHAT)?;
        let nothing = || AllFailed {
            request: WHAT,
            errors: Vec::new(),
        };
        let fork = chain.spec.fork_at(chain.epoch_of(slot)).ok_or_else(nothing)?.fork;
        let (request, refuses, tell) = (&request, &refuses, &tell);
        let ask = |node: Node| async move {
            let asked = node.produce_block(request, fork, schemas, deadline, tell).await;
            let checked = asked.and_then(|produced| {
                let block = &produced.block;
                if block.header.slot != slot || block.randao_reveal != randao_reveal {
                    let why = "is not the one that was asked for (its slot or RANDAO reveal is another)";
                    let advice = RESTART;
                    Err(node.error(WHAT, ErrorKind::Refused(Unfit { why, advice })))
                } else if let Some(why) = refuses(&produced) {
                    Err(node.error(WHAT, ErrorKind::Refused(why)))
                } else {
                    Ok(produced)
                }
            });
            checked.inspect_err(|error| tell(BlockTrouble::Failed(error.clone())))
        };
        let made = self.first_and_slower(WHAT, deadline, FAIR_IF_HARD, ask).await;
        made.map(|(made, slower)| {
            slower.into_iter().map(BlockTrouble::Failed).for_each(tell);
            made
        })
    }

    /// The root of a node's head.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn head_root(&self, deadline: Instant) -> Result<From<BlockRoot>, AllFailed> {
        self.first("block root", deadline, FAIR, |node| async move {
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
        self.first("block header", deadline, FAIR, |node| async move {
            let header = node.header(id, deadline).await?;
            if header.root == *root {
                Ok(header)
            } else {
                Err(node.malformed("block header", "it is another block's"))
            }
        })
        .await
    }

    /// A block by its root, as much of it as the nodes tell: without its transactions if they have it so, else whole, else its
    /// header. Its root is computed from what they send, so nobody can lie about it.
    ///
    /// # Errors
    /// [`AllFailed`]; `is_not_found` when no node knows the block.
    pub async fn known_block(
        &self,
        schemas: &Arc<BlockSchemas>,
        root: &Hash,
        deadline: Instant,
    ) -> Result<From<KnownBlock>, AllFailed> {
        const WHAT: &str = "a block";
        let chain = &self.known_chain(WHAT)?;
        self.first(WHAT, deadline, FAIR_IF_HARD, |node| async move {
            for blinded in [true, false] {
                match node.block(blinded, root, chain, schemas, deadline).await {
                    Ok(block) => return Ok(KnownBlock::Whole(Box::new(block))),
                    // Then no other form of the question helps.
                    Err(error) if error.kind.is_of_every_form() => return Err(error),
                    Err(error) => tracing::debug!("{error}"),
                }
            }
            let header = node.header(&hex_text(root), deadline).await?;
            if header.root == *root {
                Ok(KnownBlock::Header(header.header))
            } else {
                Err(node.malformed(WHAT, "it is another one"))
            }
        })
        .await
    }

    /// The header of a node's head.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub async fn head_header(&self, deadline: Instant) -> Result<From<Header>, AllFailed> {
        self.first(HEAD, deadline, FAIR, |node| async move {
            node.header("head", deadline).await
        })
        .await
    }
}
