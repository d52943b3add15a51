//! Asking all nodes the same, where one node's word is not enough.

use std::future::Future;

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, timeout_at};

use super::{AllFailed, FAIR, Node, NodeError, Nodes, of_use};

/// What one of several nodes says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<T> {
    /// The place of the node among those that were given.
    pub node: usize,
    /// The slot of its head; 0 if it told of none.
    pub head_slot: u64,
    /// What it says.
    pub value: T,
}

impl Nodes {
    /// Asks all nodes at once that are of use, and waits for all of them: but when one has answered, no longer than another one has at
    /// the least. Those that are behind are asked when no other one has a good answer. Gives the good answers in the order of the nodes,
    /// at least one.
    ///
    /// # Errors
    /// [`AllFailed`] when there was none.
    pub async fn poll<T, F, Fut>(&self, request: &'static str, ask: F) -> Result<Vec<Said<T>>, AllFailed>
    where
        F: Fn(Node) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        let ranked = self.ranked(Some(request));
        let best = of_use(ranked.clone());
        let is_best = |place: usize| best.iter().any(|(of, ..)| *of == place);
        let rest: Vec<(usize, Node)> = ranked
            .iter()
            .filter(|(place, ..)| !is_best(*place))
            .map(|(place, node, _)| (*place, node.clone()))
            .collect();
        let best = best
            .iter()
            .map(|(place, node, _)| (*place, node.clone()))
            .collect();
        let mut errors = Vec::new();
        for nodes in [best, rest] {
            let said = self.poll_these(request, &ask, nodes, &mut errors).await;
            if !said.is_empty() {
                return Ok(said);
            }
        }
        Err(AllFailed { request, errors })
    }

    async fn poll_these<T, F, Fut>(
        &self,
        request: &'static str,
        ask: &F,
        nodes: Vec<(usize, Node)>,
        errors: &mut Vec<NodeError>,
    ) -> Vec<Said<T>>
    where
        F: Fn(Node) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        let asked = nodes.into_iter().map(|(place, node)| {
            let asked = self.ask(request, place, FAIR);
            let answer = ask(node);
            async move {
                let answer = answer.await;
                asked.settle(&answer);
                (place, answer)
            }
        });
        let mut running: FuturesUnordered<_> = asked.collect();
        let mut said = Vec::new();
        let mut until: Option<Instant> = None;
        loop {
            let next = match until {
                Some(until) => timeout_at(until, running.next()).await.ok().flatten(),
                None => running.next().await,
            };
            match next {
                Some((node, Ok(value))) => {
                    until.get_or_insert_with(|| Instant::now() + FAIR);
                    let head_slot = self.head_slot(node);
                    said.push(Said {
                        node,
                        head_slot,
                        value,
                    });
                }
                Some((_, Err(error))) => errors.push(error),
                None => break,
            }
        }
        said.sort_by_key(|one| one.node);
        said
    }

    /// The slot of a node's head; 0 if it told of none, and never one of the future.
    fn head_slot(&self, place: usize) -> u64 {
        let shared = self.shared();
        let head = shared.members.get(place).and_then(|member| member.head);
        let slot = shared.slot().unwrap_or(0);
        head.map_or(0, |head| head.slot.min(slot))
    }

    /// A node's address without credentials; empty if there is none at this place.
    pub fn name_of(&self, place: usize) -> String {
        let shared = self.shared();
        let member = shared.members.get(place);
        member
            .map(|member| member.node.name().to_owned())
            .unwrap_or_default()
    }
}
