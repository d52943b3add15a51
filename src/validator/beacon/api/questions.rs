//! Questions to several beacon nodes: the first good answer counts.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    crypto::hash::Hash,
    validator::{
        beacon::{
            answers::{
                AttesterDuty, BlockRoot, Duties, Header, ProposerDuties, SyncDuty, ValidatorStatus, Vote,
            },
            http::{Node, Request},
            nodes::{AllFailed, From, Nodes},
        },
        chain::{
            block::BlockSchemas,
            json::hex_text,
            spec::Chain,
            types::{Attestation, AttestationData, SignatureBytes, SyncCommitteeContribution},
        },
    },
};

use super::one::Produced;

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

    /// What to attest to in a slot, for all committees: its slot, index and target epoch are right. One node answers for all;
    /// only if its head is not the one that is ours ([`Nodes::head`]), others are asked beside it. `tell` is given each
    /// answer as it comes, and whether it is ours: the first one is, and one with that head.
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
        let mut first = true;
        let enough = |answer: From<AttestationData>| {
            let ours = self.head().filter(|(of, _)| *of <= slot);
            let fits = ours.is_none_or(|(_, root)| root == answer.value.beacon_block_root);
            tell(answer, std::mem::take(&mut first) || fits);
            fits
        };
        self.until(WHAT, deadline, ask, enough).await
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
