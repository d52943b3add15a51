//! What became of our validators' votes, as far as a beacon node can tell. Only for people: no duty waits for it.

use std::{collections::BTreeMap, time::Duration};

use crate::observed::{Vote, Votes};
use conclave_beacon::{answers, nodes::Nodes};

/// A beacon node may have to compute a whole epoch.
const PATIENCE: Duration = Duration::from_secs(20);

/// An epoch, and the validators that had duties in it: place in the lock by index on the chain.
pub(super) type Voters = (u64, BTreeMap<u64, u32>);

/// Asks for the votes of the epoch before the last one, of which the chain has judged, or else whether anything was `seen` of
/// the validators in the last one. None if no beacon node tells either, or nobody had to vote.
pub(super) async fn find(nodes: &Nodes, judged: Option<Voters>, seen: Option<Voters>) -> Option<Votes> {
    if let Some((epoch, voters)) = judged.filter(|(_, voters)| !voters.is_empty()) {
        let indices: Vec<u64> = voters.keys().copied().collect();
        match nodes.votes(epoch, &indices, PATIENCE).await {
            Ok(votes) => return Some(named(epoch, &voters, &votes.value)),
            Err(error) => tracing::debug!(%error, epoch, "votes"),
        }
    }
    let (epoch, voters) = seen.filter(|(_, voters)| !voters.is_empty())?;
    let indices: Vec<u64> = voters.keys().copied().collect();
    match nodes.liveness(epoch, &indices, PATIENCE).await {
        Ok(votes) => Some(named(epoch, &voters, &votes.value)),
        Err(error) => {
            tracing::debug!(%error, epoch, "liveness");
            None
        }
    }
}

/// By place in the lock.
fn named(epoch: u64, voters: &BTreeMap<u64, u32>, votes: &[answers::Vote]) -> Votes {
    let vote = |one: &answers::Vote| {
        Some(Vote {
            validator: *voters.get(&one.index)?,
            included: one.included,
            target: one.target,
            head: one.head,
        })
    };
    Votes {
        epoch,
        votes: votes.iter().filter_map(vote).collect(),
    }
}
