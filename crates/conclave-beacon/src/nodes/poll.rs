//! Asking all nodes the same, where one node's word is not enough.

use std::{collections::BTreeSet, future::Future};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, timeout_at};

use super::{AllFailed, FAIR, FAIR_IF_HARD, MAX_HEDGE, Node, NodeError, Nodes, State, of_use};

/// What one of several nodes says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<T> {
    /// The place of the node among those that were given.
    pub node: usize,
    /// The slot of its head; 0 if it told of none.
    pub head_slot: u64,
    /// Whether it was not in step with the chain when it was asked. All are, or none is.
    pub is_behind: bool,
    /// What it says.
    pub value: T,
}

/// How long others are waited for.
#[derive(Default)]
struct Wait {
    /// How many are waited for: not those that failed this lately, nor those that fail now.
    awaited: usize,
    /// When the first good answer came, and when most had given one.
    first: Option<Instant>,
    most: Option<Instant>,
}

impl Wait {
    /// So many have given a good answer by now.
    fn are(&mut self, answers: usize) {
        let now = Instant::now();
        if answers > 0 {
            self.first.get_or_insert(now);
            if 2 * answers > self.awaited {
                self.most.get_or_insert(now);
            }
        }
    }

    /// Until when; none before there is a good answer.
    fn until(&self) -> Option<Instant> {
        let most = self.most.map(|at| at + FAIR);
        most.or_else(|| self.first.map(|at| at + FAIR_IF_HARD))
    }
}

impl Nodes {
    /// Asks all nodes at once that are of use, and waits for all of them: but when most have answered, no longer than another one has at
    /// the least, and when one has, no longer than for what is hard to answer, so that who is quickest is not the only one that is heard.
    /// Those that are behind are asked when no other one has given a good answer soon, and count if none does. Gives the good answers in the
    /// order of the nodes, at least one.
    ///
    /// # Errors
    /// [`AllFailed`] when there was none.
    pub async fn poll<T, F, Fut>(&self, request: &'static str, ask: F) -> Result<Vec<Said<T>>, AllFailed>
    where
        F: Fn(Node) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        let mut best = self.ranked(Some(request));
        // They are ordered by how they are before anything else.
        let mut rest = best.split_off(of_use(best.clone()).len());
        let failed_lately: BTreeSet<usize> = {
            let shared = self.shared();
            let members = shared.members.iter().enumerate();
            let behind = members.filter(|(_, member)| member.is_behind(request));
            behind.map(|(place, _)| place).collect()
        };
        let all = best.iter().chain(&rest);
        let in_step = all.filter(|(.., rank)| *rank <= State::Optimistic.rank());
        let in_step: BTreeSet<usize> = in_step.map(|(place, ..)| *place).collect();
        let places = best.iter().map(|(place, ..)| *place);
        let best_places: BTreeSet<usize> = places.collect();
        let mut wait = Wait {
            awaited: best_places.difference(&failed_lately).count(),
            ..Wait::default()
        };
        let put = |(place, node, _)| self.put(request, (place, node), &ask);
        let began = Instant::now();
        let mut running: FuturesUnordered<_> = best.into_iter().map(put).collect();
        let (mut said, mut errors) = (Vec::new(), Vec::new());
        loop {
            let look = wait.until().or((!rest.is_empty()).then_some(began + MAX_HEDGE));
            let next = match look {
                Some(look) => timeout_at(look, running.next()).await.ok(),
                None => Some(running.next().await),
            };
            match next {
                Some(Some((node, Ok(value)))) => {
                    let head_slot = self.head_slot(node);
                    said.push(Said {
                        node,
                        head_slot,
                        is_behind: !in_step.contains(&node),
                        value,
                    });
                    wait.are(said.len());
                }
                Some(Some((node, Err(error)))) => {
                    if best_places.contains(&node) && !failed_lately.contains(&node) {
                        wait.awaited = wait.awaited.saturating_sub(1);
                        wait.are(said.len());
                    }
                    errors.push(error);
                }
                // It is time for those that are behind, or nobody else is left.
                Some(None) | None if said.is_empty() && !rest.is_empty() => {
                    running.extend(std::mem::take(&mut rest).into_iter().map(put));
                }
                Some(None) | None => break,
            }
        }
        if said.iter().any(|one| best_places.contains(&one.node)) {
            said.retain(|one| best_places.contains(&one.node));
        }
        if said.is_empty() {
            return Err(AllFailed { request, errors });
        }
        said.sort_by_key(|one| one.node);
        Ok(said)
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
