//! What is told of beacon nodes: how each of them is, what that means, and what the operator can do about it.

use std::time::Duration;

use crate::{
    answers::{Header, Syncing},
    chain::spec::Parting,
    choice,
    http::{ErrorKind, NodeError},
};

/// A node that catches up and is more slots behind than this is not in step.
const MAX_DISTANCE: u64 = 2;
/// Nor is one that calls itself in step, and is behind our clock by more than this: so many slots in a row without a block are
/// rarer than a node that stands still.
const MAX_STALL: u64 = 8;

/// How a node is, from best to worst: in this order nodes are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// In step with the chain.
    Ready,
    /// Its head has not been verified by its execution client, or that is not reachable.
    Optimistic,
    /// Behind by so many slots.
    Syncing(u64),
    /// Calls itself in step, and its head is so many slots behind the clock.
    Stalled(u64),
    /// Nothing is known yet.
    Unknown,
    /// It does not answer, or not as a beacon node does.
    Down(NodeError),
    /// It follows another chain: never used.
    WrongNetwork(NodeError),
    /// It tells another fork schedule than the one that counts, which parts from that now: not used until it agrees.
    OtherSchedule(Parting),
}

impl State {
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::Ready => 0,
            Self::Optimistic => 1,
            Self::Syncing(_) | Self::Stalled(_) => 2,
            Self::Unknown => 3,
            Self::Down(_) => 4,
            Self::WrongNetwork(_) | Self::OtherSchedule(_) => 5,
        }
    }

    /// Whether nothing is asked of it, or it answers nothing.
    pub fn is_useless(&self) -> bool {
        self.rank() > Self::Unknown.rank()
    }

    /// What that means and what the operator can do about it, by its cause; empty where there is nothing to do.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Ready | Self::Unknown => "",
            Self::Optimistic => {
                "Nobody votes for what no execution client has verified, so until it is well again duties depend on your other beacon \
                 nodes and on the other operators. Look whether the execution client behind it runs, is in step, and is reached by it."
            }
            Self::Syncing(_) => {
                "Until it has caught up duties depend on your other beacon nodes and on the other operators. Wait, or give a second one \
                 with --beacon-node."
            }
            Self::Stalled(_) => {
                "It is asked only if no other one is better: look at its log, its peers and its disk, and restart it."
            }
            Self::Down(error) => match &error.kind {
                // What every beacon node has is not there.
                ErrorKind::NotFound(_) => ErrorKind::NotImplemented(404).advice(),
                kind => kind.advice(),
            },
            Self::WrongNetwork(_) => {
                "It is not used: take it out of --beacon-node, or point it at the right network."
            }
            Self::OtherSchedule(_) => {
                "It is not used until it agrees, for what is signed by the wrong schedule counts for nothing: update the one that is \
                 behind."
            }
        }
    }

    /// For people, in a few words.
    pub fn text(&self) -> String {
        match self {
            Self::Ready => "ready".to_owned(),
            Self::Optimistic => "execution client behind or offline".to_owned(),
            Self::Syncing(distance) => format!("syncing, {distance} slots behind"),
            Self::Stalled(behind) => {
                format!("stalled: it calls itself in step, but its newest block is {behind} slots old")
            }
            Self::Unknown => "not asked yet".to_owned(),
            Self::Down(NodeError {
                kind: ErrorKind::NotFound(message),
                ..
            }) => format!("it does not have what every beacon node has (HTTP 404: {message})"),
            Self::Down(error) | Self::WrongNetwork(error) => error.kind.to_string(),
            Self::OtherSchedule(parting) => parting.to_string(),
        }
    }
}

/// What is known of a node.
#[derive(Debug, Clone)]
pub struct Health {
    /// Its address without credentials.
    pub name: String,
    /// How it is.
    pub state: State,
    /// What it says it is, at most 100 characters; empty when not known.
    pub version: String,
    /// The slot of its head; 0 if it told of none.
    pub head_slot: u64,
    /// How long its last answer to a health check took.
    pub latency: Duration,
    /// A request that it fails again and again, whatever it says of itself, with the last error; the one that fails for
    /// the longest time. `None` if all is well.
    pub trouble: Option<NodeError>,
    /// Again and again it tells of no new blocks by itself, with the last error: it is asked for its head instead.
    pub silent: Option<NodeError>,
    /// It is used, and tells another fork schedule than the one that counts: it will not be used when the two part.
    pub parting: Option<Parting>,
}

/// All nodes failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct AllFailed {
    /// What was asked.
    pub request: &'static str,
    /// Why, node by node; empty when there is no node of the right chain.
    pub errors: Vec<NodeError>,
}

impl AllFailed {
    fn text(&self) -> String {
        if self.errors.is_empty() {
            return format!("{}: no beacon node is of use", self.request);
        }
        let texts: Vec<String> = self.errors.iter().map(NodeError::to_string).collect();
        texts.join("; ")
    }

    /// What the operator can do about it.
    pub fn advice(&self) -> &'static str {
        self.errors
            .first()
            .map_or("Check the addresses given with --beacon-node.", |error| {
                error.kind.advice()
            })
    }

    /// The same for a command that asks what every beacon node has, and ends: nothing goes on after it.
    pub fn advice_at_the_end(&self) -> &'static str {
        let mut errors = self.errors.iter().map(|error| &error.kind);
        match errors.find(|kind| !matches!(kind, ErrorKind::NotFound(_))) {
            Some(kind) => kind.advice(),
            None if self.errors.is_empty() => self.advice(),
            None => ErrorKind::NotImplemented(404).advice(),
        }
    }

    /// Whether every node says that it has what was sent already.
    pub fn is_known_already(&self) -> bool {
        !self.errors.is_empty() && self.errors.iter().all(|error| error.kind.is_known_already())
    }

    /// Whether every node that answered says that it does not have it.
    pub fn is_not_found(&self) -> bool {
        // Some nodes say no word with their 404.
        let missing = |error: &NodeError| {
            matches!(
                error.kind,
                ErrorKind::NotFound(_) | ErrorKind::NotImplemented(404)
            )
        };
        !self.errors.is_empty() && self.errors.iter().all(missing)
    }
}

/// How a node is: what it says of itself, the head that it shows, else the one of which it told last, and the slot by our clock. What
/// was seen counts more than what it says.
pub(super) fn state(
    said: &Syncing,
    shown: Option<&Header>,
    told: Option<choice::Head>,
    slot: Option<u64>,
) -> State {
    let seen = shown.map(Header::head).or(told).map(|head| head.slot);
    let behind = slot.map_or(0, |slot| slot.saturating_sub(seen.unwrap_or(said.head_slot)));
    let distance = if seen.is_some() && slot.is_some() {
        behind
    } else {
        behind.max(said.sync_distance)
    };
    let optimistic =
        said.is_optimistic || said.el_offline || shown.is_some_and(|shown| shown.execution_optimistic);
    if said.is_syncing && distance > MAX_DISTANCE {
        State::Syncing(distance)
    } else if behind > MAX_STALL {
        State::Stalled(behind)
    } else if optimistic {
        State::Optimistic
    } else {
        State::Ready
    }
}
