//! When in a slot something is due.

use super::{
    SpecError,
    values::{Values, in_range},
};

/// `BASIS_POINTS`: the parts of a slot in which due times are told.
const BASIS_POINTS: u64 = 10_000;

/// What is due in a slot beside the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Due {
    /// Attestations.
    Attestation,
    /// Aggregates of attestations.
    Aggregate,
    /// Sync committee messages.
    SyncMessage,
    /// Sync committee contributions.
    Contribution,
}

impl Due {
    pub(super) const ALL: [Self; 4] = [
        Self::Attestation,
        Self::Aggregate,
        Self::SyncMessage,
        Self::Contribution,
    ];

    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Attestation => "ATTESTATION_DUE_BPS",
            Self::Aggregate => "AGGREGATE_DUE_BPS",
            Self::SyncMessage => "SYNC_MESSAGE_DUE_BPS",
            Self::Contribution => "CONTRIBUTION_DUE_BPS",
        }
    }

    /// A third or two thirds of the slot, where the node names no due time.
    pub(super) fn thirds(self) -> u64 {
        match self {
            Self::Attestation | Self::SyncMessage => 1,
            Self::Aggregate | Self::Contribution => 2,
        }
    }
}

/// Milliseconds into the slot, in the order of [`Due::ALL`].
pub(super) type DueTimes = [u64; 4];

pub(super) fn due_times(
    values: &Values,
    slot_ms: u64,
    suffix: &str,
    default: Option<DueTimes>,
) -> Result<DueTimes, SpecError> {
    let mut times = default.unwrap_or_else(|| Due::ALL.map(|due| slot_ms * due.thirds() / 3));
    for (time, due) in times.iter_mut().zip(Due::ALL) {
        let key = format!("{}{suffix}", due.key());
        if let Some(points) = values.number(&key)? {
            *time = in_range(&key, points, 0, BASIS_POINTS)? * slot_ms / BASIS_POINTS;
        }
    }
    Ok(times)
}
