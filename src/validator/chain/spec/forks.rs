//! Forks and their schedule.

use super::{FAR_FUTURE_EPOCH, SpecError, values::Values};

/// A fork whose blocks and votes are known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fork {
    /// The beacon chain at its start.
    Phase0,
    /// Sync committees.
    Altair,
    /// Execution payloads.
    Bellatrix,
    /// Withdrawals.
    Capella,
    /// Blobs.
    Deneb,
    /// Execution requests; votes of several committees in one.
    Electra,
    /// Cell proofs.
    Fulu,
}

impl Fork {
    /// All of them, oldest first.
    pub const ALL: [Self; 7] = [
        Self::Phase0,
        Self::Altair,
        Self::Bellatrix,
        Self::Capella,
        Self::Deneb,
        Self::Electra,
        Self::Fulu,
    ];

    /// Those in which duties can be signed, oldest first.
    pub const SIGNED: [Self; 2] = [Self::Electra, Self::Fulu];

    /// Its name as the Beacon API writes it (`Eth-Consensus-Version`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Phase0 => "phase0",
            Self::Altair => "altair",
            Self::Bellatrix => "bellatrix",
            Self::Capella => "capella",
            Self::Deneb => "deneb",
            Self::Electra => "electra",
            Self::Fulu => "fulu",
        }
    }

    /// By its name as the Beacon API writes it.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fork| fork.name() == name)
    }
}

/// A fork that is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScheduledFork {
    /// Which.
    pub fork: Fork,
    /// Its first epoch.
    pub epoch: u64,
    /// Its version, 4 bytes, for signature domains.
    pub version: [u8; 4],
}

/// Nothing is signed at an epoch of a fork that is not known here, or too old to be still validated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fork {name} is in force at epoch {epoch}: this version cannot sign there")]
pub struct UnsupportedFork {
    /// The fork's name.
    pub name: String,
    /// The epoch for which something was to be signed.
    pub epoch: u64,
}

/// A version in the schedule is only asked for where the fork is scheduled.
pub(super) fn known_forks(
    values: &Values,
    genesis_fork_version: [u8; 4],
) -> Result<Vec<ScheduledFork>, SpecError> {
    let mut forks = vec![ScheduledFork {
        fork: Fork::Phase0,
        epoch: 0,
        version: genesis_fork_version,
    }];
    let (mut last, mut missing) = (0, false);
    for fork in Fork::ALL.into_iter().skip(1) {
        let upper = fork.name().to_uppercase();
        let epoch = values
            .number(&format!("{upper}_FORK_EPOCH"))?
            .unwrap_or(FAR_FUTURE_EPOCH);
        if epoch == FAR_FUTURE_EPOCH {
            missing = true;
            continue;
        }
        if missing || epoch < last {
            return Err(SpecError::Order(fork.name()));
        }
        last = epoch;
        forks.push(ScheduledFork {
            fork,
            epoch,
            version: values.version(&format!("{upper}_FORK_VERSION"))?,
        });
    }
    Ok(forks)
}

pub(super) fn unknown_forks(values: &Values) -> Result<Vec<(String, u64)>, SpecError> {
    let mut unknown = Vec::new();
    for key in values.keys() {
        let Some(name) = key.strip_suffix("_FORK_EPOCH") else {
            continue;
        };
        let name: String = name
            .chars()
            .filter(char::is_ascii_graphic)
            .take(32)
            .collect::<String>()
            .to_lowercase();
        if Fork::by_name(&name).is_some() {
            continue;
        }
        match values.number(key)? {
            None | Some(FAR_FUTURE_EPOCH) => {}
            Some(epoch) => unknown.push((name, epoch)),
        }
    }
    unknown.sort_by_key(|(_, epoch)| *epoch);
    Ok(unknown)
}
