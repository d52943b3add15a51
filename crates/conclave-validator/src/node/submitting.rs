//! Gives the beacon nodes what the group has signed, and tells what became of it.

use std::sync::{Arc, PoisonError};

use crate::core::Submission;
use conclave_beacon::nodes::{AllFailed, Submission as Submitted};
use conclave_eth::{
    chain::block::{Blobs, Block},
    duty::Purpose,
};

use super::{News, work::Works};

/// Whether the beacon nodes of this operator took something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// One of them did, or has it already: from another operator, over the chain's network.
    Taken,
    /// None of them did.
    NotTaken {
        /// What each of them says.
        why: String,
        /// What to do about it.
        advice: &'static str,
    },
}

impl Delivery {
    fn of<T>(result: &Result<Submitted<T>, AllFailed>) -> Self {
        match result {
            Err(failed) if !failed.is_known_already() => Self::NotTaken {
                why: failed.to_string(),
                advice: failed.advice(),
            },
            _ => Self::Taken,
        }
    }
}

impl Works {
    pub(super) fn submit(&self, submission: Submission) {
        let works = self.clone();
        self.runtime.spawn(async move {
            let nodes = &works.nodes;
            match submission {
                Submission::Block {
                    slot,
                    value,
                    contents,
                    signature,
                } => works.publish(slot, value, contents, signature).await,
                Submission::Attestations(list) => {
                    if let Some(slot) = list.first().map(|attestation| attestation.data.slot) {
                        let deadline = works.within_slots(slot, works.chain.time().slots_per_epoch);
                        let result = nodes
                            .submit_attestations(works.fork_at(slot), &list, deadline)
                            .await;
                        works.submitted(Purpose::Attestation, slot, list.len(), &result);
                    }
                }
                Submission::SyncMessages(list) => {
                    if let Some(slot) = list.first().map(|message| message.slot) {
                        let result = nodes
                            .submit_sync_messages(&list, works.within_slots(slot, 0))
                            .await;
                        works.submitted(Purpose::SyncMessage, slot, list.len(), &result);
                    }
                }
                Submission::Aggregates(list) => {
                    if let Some(slot) = list.first().map(|signed| signed.message.aggregate.data.slot) {
                        let deadline = works.within_slots(slot, 1);
                        let result = nodes
                            .submit_aggregates(works.fork_at(slot), &list, deadline)
                            .await;
                        works.submitted(Purpose::Aggregate, slot, list.len(), &result);
                    }
                }
                Submission::Contributions(list) => {
                    if let Some(slot) = list.first().map(|signed| signed.message.contribution.slot) {
                        let result = nodes
                            .submit_contributions(&list, works.within_slots(slot, 0))
                            .await;
                        works.submitted(Purpose::Contribution, slot, list.len(), &result);
                    }
                }
            }
        });
    }

    fn submitted<T>(
        &self,
        purpose: Purpose,
        slot: u64,
        count: usize,
        result: &Result<Submitted<T>, AllFailed>,
    ) {
        let what = purpose.text();
        if let Ok(done) = result {
            for refusal in &done.refused {
                if refusal.kind.is_known_already() {
                    tracing::debug!(slot, "a beacon node has the {what} already: {refusal}");
                } else if self.is_new_refusal(&refusal.node, purpose, slot) {
                    tracing::warn!(
                        slot,
                        "a beacon node refused the {what}, another one took it: {refusal}. This is not told again in this epoch"
                    );
                } else {
                    tracing::info!(
                        slot,
                        "a beacon node refused the {what}, another one took it: {refusal}"
                    );
                }
            }
        }
        let _ = self.news.send(News::Submitted {
            purpose,
            slot,
            count,
            delivery: Delivery::of(result),
        });
    }

    /// Whether a node has not refused such things in this epoch before.
    fn is_new_refusal(&self, node: &str, purpose: Purpose, slot: u64) -> bool {
        let epoch = self.chain.time().epoch_of(slot);
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.insert((node.to_owned(), purpose), epoch) != Some(epoch)
    }

    async fn publish(&self, slot: u64, value: Arc<[u8]>, contents: Option<Arc<[u8]>>, signature: [u8; 96]) {
        let works = self.clone();
        let whole = tokio::task::spawn_blocking(move || works.whole(&value, contents.as_deref())).await;
        let Ok(Some((block, blobs))) = whole else {
            tracing::warn!(
                slot,
                "what another operator sent for publishing is not the block that was agreed on"
            );
            return;
        };
        let deadline = self.within_slots(slot, 1);
        let published = self
            .nodes
            .publish_block(&self.schemas, &block, blobs.as_ref(), &signature, deadline)
            .await;
        self.submitted(Purpose::Block, slot, 1, &published);
    }

    /// The block that is published, and what goes with it.
    fn whole(&self, value: &[u8], contents: Option<&[u8]>) -> Option<(Block, Option<Blobs>)> {
        let block = self.decode(value)?;
        if block.blinded {
            return Some((block, None));
        }
        let Some(contents) = contents else {
            return Some((block, Some(Blobs::default())));
        };
        let (full, blobs) = self.schemas.block_with_blobs(block.fork, contents).ok()?;
        (full.ssz == block.ssz).then_some((full, Some(blobs)))
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Runtime;

    use super::*;
    use crate::node::work::tests::works;
    use conclave_eth::chain::types::SyncCommitteeMessage;

    #[test]
    fn a_refusal_beside_a_node_that_took_it_is_told_once_an_epoch() {
        let runtime = Runtime::new().unwrap();
        let (works, _told) = works(&runtime, 12_000);
        let mut told = 0;
        for slot in 0..16 {
            told += usize::from(works.is_new_refusal("a", Purpose::SyncMessage, slot));
        }
        assert_eq!(told, 2);
        assert!(works.is_new_refusal("b", Purpose::SyncMessage, 15));
        assert!(works.is_new_refusal("a", Purpose::Attestation, 15));
    }

    #[test]
    fn what_becomes_of_a_submission_is_told() {
        let runtime = Runtime::new().unwrap();
        let (works, mut told) = works(&runtime, 12_000);
        let message = SyncCommitteeMessage {
            slot: 7,
            beacon_block_root: [1; 32],
            validator_index: 5,
            signature: [2; 96],
        };
        works.submit(Submission::SyncMessages(vec![message.clone(), message]));
        let news = told.blocking_recv();
        let Some(News::Submitted {
            purpose: Purpose::SyncMessage,
            slot: 7,
            count: 2,
            delivery: Delivery::NotTaken { why, .. },
        }) = news
        else {
            panic!("{news:?}");
        };
        assert!(why.contains("no beacon node is of use"), "{why}");
    }
}
