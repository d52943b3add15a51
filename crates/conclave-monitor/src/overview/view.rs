//! What is shown: the JSON of `/status` and of `conclave status --json`, from which the terminal view and the page are
//! drawn. Fields are only ever added; docs/monitoring.md describes them. Names of operators and of beacon nodes are
//! theirs: whoever shows them must escape them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use conclave_eth::chain::json::or_default;
use conclave_validator::{core::ChainClock, pulse::HANGS_AFTER};

use super::words::{milliseconds, span};

/// What this node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It opens its files.
    Starting,
    /// No beacon node has told its chain.
    WaitingForBeaconNode,
    /// The chain has not begun.
    BeforeGenesis,
    /// It takes part in agreements, and does not sign attestations yet.
    Waiting,
    /// It signs.
    Signing,
    /// It looks on.
    DryRun,
    /// Nothing is signed for a fork that this version does not know.
    UnknownFork,
    /// It was asked to stop.
    Stopping,
}

impl State {
    /// All states.
    pub const ALL: [Self; 8] = [
        Self::Starting,
        Self::WaitingForBeaconNode,
        Self::BeforeGenesis,
        Self::Waiting,
        Self::Signing,
        Self::DryRun,
        Self::UnknownFork,
        Self::Stopping,
    ];

    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::WaitingForBeaconNode => "waiting_for_beacon_node",
            Self::BeforeGenesis => "before_genesis",
            Self::Waiting => "waiting",
            Self::Signing => "signing",
            Self::DryRun => "dry_run",
            Self::UnknownFork => "unknown_fork",
            Self::Stopping => "stopping",
        }
    }
}

/// How an operator is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// This node.
    Myself,
    /// Connected directly.
    Direct,
    /// Connected through another operator.
    Through,
    /// Not connected.
    Away,
}

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// `conclave/` and the version.
    pub software: String,
    /// When this was seen, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// When the process started.
    pub started_ms: u64,
    /// The lock's hash, in hexadecimal.
    pub lock_hash: String,
    /// This operator, from 1.
    pub operator: u16,
    /// How many must sign.
    pub threshold: u16,
    /// The network's name, once a beacon node has told it.
    pub network: Option<String>,
    /// The slot that it is; none before genesis, or while the chain is not known.
    pub slot: Option<u64>,
    /// Its epoch.
    pub epoch: Option<u64>,
    /// Length of a slot.
    pub slot_ms: Option<u64>,
    /// Slots of an epoch.
    pub slots_per_epoch: Option<u64>,
    /// What this node does.
    pub state: State,
    /// Why it does not sign; empty if it does.
    pub why: String,
    /// While it waits: the first epoch whose attestations it signs.
    pub signs_from_epoch: Option<u64>,
    /// When that begins, in milliseconds since the Unix epoch.
    #[serde(default, deserialize_with = "or_default")]
    pub signs_from_ms: Option<u64>,
    /// Why the slashing protection is not the whole memory of this share, if it is not.
    pub database_mark: Option<String>,
    /// What a folder that was restored from a backup waits for, until it signs.
    #[serde(default, deserialize_with = "or_default")]
    pub restored: Option<RestoredView>,
    /// Whether this node can do its part, or will by itself: after a start it waits by design.
    pub healthy: bool,
    /// If not: why.
    pub reasons: Vec<String>,
    /// Whether the node's own work goes on.
    #[serde(default, deserialize_with = "or_default")]
    pub live: bool,
    /// How long ago its loop went round last, in milliseconds.
    #[serde(default, deserialize_with = "or_default")]
    pub last_round_ms: u64,
    /// What a person should look after all the same.
    pub warnings: Vec<String>,
    /// A scheduled fork that this version does not know.
    pub unknown_fork: Option<ForkView>,
    /// The slot of the first letter in each operator's `participation`.
    pub first_slot: u64,
    /// All operators, in the order of the lock.
    pub operators: Vec<OperatorView>,
    /// The validators.
    pub validators: ValidatorsView,
    /// Exits that operators have consented to.
    #[serde(default)]
    pub exits: Vec<ExitView>,
    /// How long each step of a duty takes, over the epochs that are kept.
    pub steps: Vec<StepView>,
    /// The latest duties, newest first.
    pub duties: Vec<DutyView>,
    /// The beacon nodes, in the order in which they were given.
    pub beacon_nodes: Vec<NodeView>,
}

impl View {
    /// Takes note of how long ago the node's loop went round last. If that is too long, all the rest is of the past.
    pub fn quiet_for(&mut self, quiet: Duration) {
        self.last_round_ms = milliseconds(quiet);
        self.live = quiet < HANGS_AFTER;
        if !self.live {
            self.healthy = false;
            self.reasons.push(format!(
                "nothing has happened for {}: the program or the machine hangs",
                span(self.last_round_ms)
            ));
        }
    }

    /// What it waits for, where that is by design and none of the [`View::reasons`].
    pub fn merely(&self) -> Option<&str> {
        let why = Some(self.why.as_str()).filter(|why| !why.is_empty());
        why.filter(|why| !self.reasons.iter().any(|reason| reason == why))
    }
}

/// What a folder that was restored from a backup waits for: operators by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredView {
    /// Who must be connected and tell what it remembers, and has not.
    pub waits_for: Vec<u16>,
    /// For whom it does not wait, by its operator's word.
    pub without: Vec<u16>,
    /// Who is connected and has told.
    pub answered: Vec<u16>,
    /// Those of `waits_for` who have told, but whose clocks differ too much from this machine's.
    #[serde(default)]
    pub clocks_differ: Vec<u16>,
    /// Whether its beacon nodes speak against its clock.
    #[serde(default)]
    pub chain_clock: ChainClock,
    /// The names of those that say that it is behind, if that counts.
    #[serde(default)]
    pub heads_ahead: Vec<String>,
}

/// A fork that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkView {
    /// Its name.
    pub name: String,
    /// Its first epoch.
    pub epoch: u64,
    /// Time until then, in seconds; 0 once it is in force.
    pub in_seconds: u64,
}

/// An operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorView {
    /// From 1.
    pub operator: u16,
    /// Its name.
    pub name: String,
    /// How it is reached.
    pub link: Link,
    /// Through whom, if not directly.
    pub through: Option<u16>,
    /// A round trip, in milliseconds.
    pub round_trip_ms: Option<u64>,
    /// Its clock less ours, in milliseconds.
    pub clock_offset_ms: Option<i64>,
    /// What it runs, as it says itself.
    pub software: String,
    /// Whether it only watches: a dry run.
    pub dry_run: bool,
    /// Whether it was started with `--builder`; none if it has not said, as programs before 0.2 do not.
    #[serde(default)]
    pub builder: Option<bool>,
    /// The forks for which it can sign, as it says itself; empty if it has not said.
    #[serde(default)]
    pub forks: Vec<String>,
    /// A letter for each slot from `first_slot` on: `y` it took part in all duties, `p` in some, `n` in none, `-` there
    /// were none, `?` that is not known (yet).
    pub participation: String,
    /// Duties of these slots in which it took part.
    pub took_part: u32,
    /// Duties of these slots.
    pub duties: u32,
    /// What it did that no correct operator does, since this node's start.
    pub faults: u64,
}

/// The validators in figures, and some of them one by one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorsView {
    /// How many the lock has.
    pub count: usize,
    /// How many have which status; `unknown` ones the chain does not know, or were not looked up yet.
    pub statuses: Vec<(String, usize)>,
    /// The same in words for people.
    #[serde(default)]
    pub standings: Vec<(String, usize)>,
    /// Why there is nothing to sign, if that is so.
    #[serde(default)]
    pub nothing_to_sign: Option<String>,
    /// All balances together.
    pub balance_gwei: u64,
    /// The last epoch of which it is known what became of votes.
    pub last_epoch: Option<u64>,
    /// Validators whose last vote that is known of is in a block.
    pub last_included: usize,
    /// Validators whose last vote that is known of is not.
    pub last_missed: usize,
    /// Some or all of them; those that need a look first.
    pub list: Vec<ValidatorView>,
}

/// A validator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatorView {
    /// Its place in the lock, from 0.
    pub validator: usize,
    /// Its public key, in hexadecimal.
    pub key: String,
    /// Its index on the chain.
    pub index: Option<u64>,
    /// `active_ongoing` and so on; `unknown` if the chain does not know it.
    pub status: String,
    /// The same in words for people.
    #[serde(default)]
    pub standing: String,
    /// Its balance.
    pub balance_gwei: Option<u64>,
    /// The slot of the last attestation that the group signed.
    pub last_signed_slot: Option<u64>,
    /// The last vote that a block has.
    pub last_included: Option<LastVote>,
    /// The last epoch of which something is known, if its vote was missing.
    pub missed_epoch: Option<u64>,
}

/// An exit that operators have consented to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitView {
    /// The validator's place in the lock, from 0.
    pub validator: usize,
    /// Its public key, in hexadecimal.
    pub key: String,
    /// From which epoch on the exit is valid.
    pub epoch: u64,
    /// The operators that consent to it.
    pub consents: Vec<u16>,
    /// The others.
    pub missing: Vec<u16>,
    /// How many consents it needs.
    pub needed: u16,
    /// `waits` (for consents), `signed`, `submitted` (a beacon node took it), `not_taken` (it is tried again), or `leaves` (the chain lets
    /// the validator go).
    pub stage: String,
    /// All of that in words for people.
    pub text: String,
}

/// A vote that a block has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastVote {
    /// Its epoch.
    pub epoch: u64,
    /// Its slot, if the group signed it while this node ran.
    pub slot: Option<u64>,
    /// How many slots later the block is, if that is known.
    pub distance: Option<u64>,
    /// Whether its target was right and in time, if that is known.
    pub target: Option<bool>,
    /// Whether its head was right and in time, if that is known.
    pub head: Option<bool>,
}

/// How long the steps of a duty take, in milliseconds: half of the times at most the first number, nine times of ten at most
/// the second, always at most the third.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// What is signed.
    pub duty: String,
    /// How often it was.
    pub times: usize,
    /// From the first answer of the own beacon node, or proposal, until operators agreed.
    pub agreed_ms: Option<[u64; 3]>,
    /// From there until the group's signatures were there.
    pub signed_ms: Option<[u64; 3]>,
    /// How long after the duty was due that was; 0 if before.
    pub late_ms: Option<[u64; 3]>,
}

/// A duty of a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DutyView {
    /// The slot.
    pub slot: u64,
    /// What was to be signed.
    pub duty: String,
    /// In which round operators agreed, from 0; none if they did not.
    pub round: Option<u8>,
    /// How long that took from the first answer of the own beacon node, or proposal, in milliseconds.
    pub agreed_ms: Option<u64>,
    /// How long it took from there to the last signature, in milliseconds; none if there is none.
    pub signed_ms: Option<u64>,
    /// How long after the duty was due that was, in milliseconds; 0 if before.
    pub late_ms: Option<u64>,
    /// For how many validators the group signed.
    pub signed: usize,
    /// How many validators had the duty; known when the slot is over.
    pub validators: Option<usize>,
    /// Operators, from 1, whose partial signatures are missing (so far).
    pub missing: Vec<u16>,
}

/// A beacon node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its address, without credentials.
    pub name: String,
    /// `ready`, `optimistic`, `syncing`, `stalled`, `unknown`, `down`, `wrong_network` or `other_schedule`.
    pub state: String,
    /// The same for people.
    pub message: String,
    /// What it says it is.
    pub version: String,
    /// The slot of its head.
    pub head_slot: u64,
    /// How long its last answer took, in milliseconds.
    pub latency_ms: u64,
}
