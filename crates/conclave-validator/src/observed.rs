//! What a node tells of itself and of the chain beside its duties: once a slot, or once an epoch.

use crate::wire::Abilities;

/// What the core knows of another operator.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// What it runs, as it says itself: printable ASCII; empty if it has not said.
    pub software: String,
    /// Whether it only watches: a dry run signs nothing, and confirms nothing to who has just started.
    pub dry_run: bool,
    /// Its clock less ours, in milliseconds; none until a round trip was measured.
    pub clock_offset_ms: Option<i64>,
    /// What it can do and was told to do, as far as it has said.
    pub abilities: Abilities,
}

/// A validator of the lock in the head state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its place in the lock, from 0.
    pub validator: u32,
    /// Its index on the chain.
    pub index: u64,
    /// `active_ongoing` and so on, as the beacon node writes it.
    pub status: String,
    /// In Gwei.
    pub balance: u64,
    /// Whether it was slashed.
    pub slashed: bool,
}

/// What beacon nodes disagree about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// The index of a validator that was active with another one.
    Index,
    /// When validators are active, and whether they were slashed.
    Validators,
    /// Who attests when.
    Attesters,
    /// Who proposes when.
    Proposers,
    /// Who is in the sync committee.
    SyncMembers,
}

impl About {
    /// For people.
    pub fn text(self) -> &'static str {
        match self {
            Self::Index => "the index of your validators",
            Self::Validators => "which of your validators are active or slashed",
            Self::Attesters => "when your validators attest",
            Self::Proposers => "when your validators propose",
            Self::SyncMembers => "which of your validators are in the sync committee",
        }
    }

    /// For programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::Validators => "validators",
            Self::Attesters => "attesters",
            Self::Proposers => "proposers",
            Self::SyncMembers => "sync_members",
        }
    }
}

/// A beacon node that says something else of our validators than what counts, so it is not used for that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dissenter {
    /// Its address without credentials.
    pub name: String,
    /// What it says something else about.
    pub about: About,
}

/// What became of a validator's vote of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// The validator's place in the lock, from 0.
    pub validator: u32,
    /// Whether a block has it.
    pub included: bool,
    /// Whether its target was right and it came in time for that; none if that is not known.
    pub target: Option<bool>,
    /// Whether its head was right and it was in the very next block; none if that is not known.
    pub head: Option<bool>,
}

/// What became of the votes of an epoch, as a beacon node tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Votes {
    /// The epoch.
    pub epoch: u64,
    /// One for each validator that had to vote.
    pub votes: Vec<Vote>,
}

/// How far an exit of a validator is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitStands {
    /// From which epoch on it is valid.
    pub epoch: u64,
    /// The validator's index on the chain, as its operators gave it.
    pub index: u64,
    /// Who consents to it.
    pub consents: Vec<u16>,
    /// What has been done.
    pub stage: ExitStage,
}

/// What has been done for an exit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitStage {
    /// It lacks consents.
    Waits,
    /// The group has signed it, and gives it to its beacon nodes.
    Signed,
    /// A beacon node took it.
    Submitted,
    /// No beacon node took it; why. It is tried again every epoch.
    NotTaken(String),
    /// The chain lets the validator go: first epoch without duties.
    Leaves(u64),
}
