//! What is sent to all beacon nodes.

use tokio::time::Instant;

use crate::{
    answers::{CommitteeSubscription, ProposerPreparation, SignedRegistration, SyncSubscription},
    http::{Answer, Format, Request},
    nodes::{AllFailed, Nodes, SMALL, Submission},
};
use conclave_eth::chain::fork::Fork;
use conclave_eth::{
    chain::{
        block::{Blobs, Block, BlockSchemas},
        types::{
            SignatureBytes, SignedAggregateAndProof, SignedContributionAndProof, SingleAttestation,
            SyncCommitteeMessage,
        },
    },
    exit::SignedVoluntaryExit,
};

/// What a node did with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Imported and broadcast (200).
    Imported,
    /// Broadcast, but the node could not import it (202).
    Broadcast,
}

impl Nodes {
    async fn post(&self, request: Request, deadline: Instant) -> Result<Submission<()>, AllFailed> {
        let request = &request;
        self.submit(request.what, deadline, |node, patience| async move {
            node.send(request, patience).await.map(|_| ())
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
    /// that do not take it so.
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
        self.submit(what, deadline, |node, patience| async move {
            match node.send(request, patience).await {
                Err(error) if error.kind.may_be_of_the_form() => {
                    let request = request.clone().with_body(Format::Json, json());
                    node.send(&request, patience)
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
        let request = Request::post("builder registrations", path, &registrations, SMALL).can_wait();
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
