//! What `run` and `slashing-protection` tell programs: one JSON object per line with `--json`. Fields are only ever added;
//! docs/events.md describes them.

use serde::Serialize;

use conclave_ceremony::progress::Unreachable;
use conclave_eth::duty::{Kind, Purpose};
use conclave_validator::core::{Account, ChainClock, Missed};

/// An operator as events name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Who {
    /// From 1.
    pub(super) operator: u16,
    /// Its name here.
    pub(super) name: String,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(super) enum Event {
    /// A file was written.
    Written { path: String, kind: &'static str },
    /// A folder has moved here.
    Moved {
        path: String,
        operator: u16,
        lock_hash: String,
        /// Whether that was a backup: what its share signed since is not in it.
        restored: bool,
    },
    /// An EIP-3076 file was taken over.
    Imported {
        path: String,
        created: bool,
        validators: Vec<String>,
        /// Named without a record.
        without_record: Vec<String>,
        raised: usize,
        unknown: Vec<String>,
        /// With entries in the future that were kept, by the operator's word.
        future_kept: Vec<String>,
        /// With entries in the future that were left out, by the operator's word.
        future_dropped: Vec<String>,
        /// How many things could not be read.
        unreadable: usize,
        /// The first of them.
        #[serde(skip_serializing_if = "Option::is_none")]
        first_unreadable: Option<String>,
        /// Whether the database counts as incomplete by this.
        marked: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        block: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<u64>,
    },
    /// Something happened to a voluntary exit.
    Exit {
        /// `asked`, `consented`, `taken`, `wrong`, `signed`, `submitted`, `not_taken`, `leaving`, `not_kept`.
        what: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        validator: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        validator_index: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: Option<u64>,
        /// Who consents; whose part was wrong.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        operators: Vec<Who>,
        #[serde(skip_serializing_if = "Option::is_none")]
        threshold: Option<u16>,
        /// First epoch without duties.
        #[serde(skip_serializing_if = "Option::is_none")]
        exit_epoch: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// A run begins.
    Started {
        lock_hash: String,
        operator: u16,
        operators: Vec<String>,
        threshold: u16,
        validators: Vec<String>,
        dry_run: bool,
    },
    /// The status page, `/status`, `/metrics` and `/health` are here.
    Monitoring { address: String },
    /// No beacon node has told its chain yet.
    Waiting { why: String },
    /// The beacon nodes' chain.
    Chain {
        network: String,
        genesis_time: u64,
        genesis_validators_root: String,
        slot_ms: u64,
        slots_per_epoch: u64,
    },
    /// A beacon node's state has changed.
    BeaconNode {
        name: String,
        state: &'static str,
        message: String,
        /// What that means, and what to do about it.
        #[serde(skip_serializing_if = "Option::is_none")]
        advice: Option<&'static str>,
        version: String,
        head_slot: u64,
    },
    /// From when on this process signs.
    SignsFrom { slot: u64, epoch: u64 },
    /// How far a folder that was restored from a backup is.
    Restoring {
        /// Who must be connected and tell what it remembers, and has not.
        waits_for: Vec<Who>,
        /// For whom it does not wait, by its operator's word.
        without: Vec<Who>,
        /// Who is connected and has told.
        answered: Vec<Who>,
        /// Those of `waits_for` who have told, but whose clocks differ too much from this machine's.
        clocks_differ: Vec<Who>,
        /// Whether its own beacon nodes speak against this machine's clock.
        chain_clock: ChainClock,
        /// Those that say that it is behind, if that counts.
        heads_ahead: Vec<String>,
        /// From when on it signs, once that is known.
        signs_from_epoch: Option<u64>,
    },
    /// All other operators confirmed that nothing was forgotten.
    Confirmed,
    /// The wait before attestations is over.
    WaitOver,
    /// An operator remembers what this disk has forgotten.
    Forgotten {
        #[serde(flatten)]
        who: Who,
        /// What to do about it, as the line for people has it.
        advice: String,
    },
    /// Another operator ran twice: both copies stop.
    RanTwice {
        #[serde(flatten)]
        who: Who,
        /// What to do about it, as the line for people has it.
        advice: String,
    },
    /// A beacon node says something else of our validators than what counts, or no longer.
    Disagrees {
        name: String,
        about: &'static str,
        over: bool,
        /// What to do about it, as the line for people has it.
        #[serde(skip_serializing_if = "Option::is_none")]
        advice: Option<String>,
    },
    /// Validators were slashed, leave or have left, or there is nothing to sign for any of them.
    Validators {
        what: &'static str,
        validators: Vec<u32>,
        indices: Vec<u64>,
        /// Why there is nothing to sign, as the line for people has it.
        #[serde(skip_serializing_if = "Option::is_none")]
        why: Option<String>,
        /// What to do about it, as the line for people has it.
        #[serde(skip_serializing_if = "Option::is_none")]
        advice: Option<String>,
    },
    /// The clock jumped, ahead or back, or the machine slept.
    ClockJumped { by_ms: i64, advice: String },
    /// This process did nothing for a while.
    StoodStill { from_ms: u64, ms: u64 },
    /// A fork is scheduled that this version does not know.
    UnknownFork {
        name: String,
        epoch: u64,
        /// What to do about it, as the line for people has it.
        advice: &'static str,
    },
    /// Where this node listens: all addresses.
    Listening { addresses: Vec<String> },
    /// An operator is there.
    Connected {
        #[serde(flatten)]
        who: Who,
        connected: usize,
    },
    /// An operator is gone.
    Disconnected {
        #[serde(flatten)]
        who: Who,
        reason: String,
        connected: usize,
    },
    /// How an operator is reached.
    Path {
        #[serde(flatten)]
        who: Who,
        #[serde(skip_serializing_if = "Option::is_none")]
        through: Option<u16>,
    },
    /// A round trip.
    Latency {
        #[serde(flatten)]
        who: Who,
        ms: u64,
    },
    /// Operators agreed.
    Agreed {
        slot: u64,
        kind: &'static str,
        round: u8,
        took_ms: u64,
        after_due_ms: u64,
        voters: Vec<u16>,
    },
    /// The group signed.
    Signed {
        slot: u64,
        purpose: &'static str,
        validators: Vec<u32>,
        took_ms: u64,
        after_due_ms: u64,
        contributors: Vec<u16>,
    },
    /// None of the own beacon nodes took what the group signed.
    NotTaken {
        /// What to do about it, as the line for people has it.
        advice: String,
        slot: u64,
        purpose: &'static str,
        validators: usize,
        message: String,
    },
    /// A slot with duties is over.
    Over {
        slot: u64,
        away: Vec<u16>,
        duties: Vec<Duty>,
    },
    /// An operator did what no correct one does.
    Fault {
        #[serde(flatten)]
        who: Who,
        kind: &'static str,
        message: String,
        /// What to do about it, as the line for people has it.
        advice: String,
    },
    /// Nobody is reached at an address.
    Unreachable(Unreachable),
    /// Something that a person should know; the command goes on.
    Notice { message: String },
    /// Asked to stop: it does so at the end of this slot.
    Stopping { slot: u64 },
}

/// What became of a duty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Duty {
    purpose: &'static str,
    validators: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    round: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agreed_in_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agreed_after_ms: Option<u64>,
    voters: Vec<u16>,
    unanswered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_in_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    missed: Vec<MissedDuty>,
    signed: Vec<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_in_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_after_ms: Option<u64>,
    contributors: Vec<u16>,
}

/// Validators for which a duty was missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct MissedDuty {
    cause: &'static str,
    validators: Vec<u32>,
    contributors: Vec<u16>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differ: Vec<u16>,
}

impl From<Missed> for MissedDuty {
    fn from(missed: Missed) -> Self {
        Self {
            cause: missed.cause.name(),
            validators: missed.validators.into_iter().collect(),
            contributors: missed.partials.into_iter().collect(),
            differ: missed.differ.into_iter().collect(),
        }
    }
}

impl From<Account> for Duty {
    fn from(account: Account) -> Self {
        Self {
            purpose: purpose(account.purpose),
            validators: account.validators.into_iter().collect(),
            round: account.decision.map(|decision| decision.round),
            agreed_in_ms: account.decision.map(|decision| decision.times.took_ms),
            agreed_after_ms: account.decision.map(|decision| decision.times.after_due_ms),
            voters: account.voters.into_iter().collect(),
            unanswered: account.unanswered,
            answered_in_ms: account.answered_in_ms,
            cause: account.missed.first().map(|missed| missed.cause.name()),
            missed: account.missed.into_iter().map(MissedDuty::from).collect(),
            signed: account.signed.into_iter().collect(),
            signed_in_ms: account.signed_times.map(|times| times.took_ms),
            signed_after_ms: account.signed_times.map(|times| times.after_due_ms),
            contributors: account.partials.into_iter().collect(),
        }
    }
}

/// The kind of an agreement for programs.
pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Head => "head",
        Kind::Block => "block",
        Kind::Aggregates => "aggregates",
        Kind::Contributions => "contributions",
    }
}

/// The purpose of a signature for programs.
pub(super) fn purpose(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Attestation => "attestation",
        Purpose::Block => "block",
        Purpose::Randao => "randao",
        Purpose::Selection => "selection",
        Purpose::SyncMessage => "sync_message",
        Purpose::SyncSelection => "sync_selection",
        Purpose::Aggregate => "aggregate",
        Purpose::Contribution => "contribution",
        Purpose::Exit => "exit",
    }
}
