//! The schedule of forks.

use std::fmt;

use conclave_eth::chain::fork::Fork;

use super::{FAR_FUTURE_EPOCH, Spec, SpecError, values::Values};

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

/// Where two fork schedules part: up to the epoch before, both say the same of every epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parting {
    /// The first epoch of which they say different things.
    pub epoch: u64,
    /// The fork that one of them begins there, in lower case.
    pub fork: String,
    /// From which epoch that fork is by the one schedule, and by the other; `None` if it is not scheduled.
    pub epochs: [Option<u64>; 2],
}

/// A fork as a schedule has it, in the order in which schedules are compared: epoch, name, and the version where it matters.
type Scheduled<'a> = (u64, &'a str, Option<[u8; 4]>);

impl Spec {
    /// Everything that is scheduled, known here or not, oldest first; forks of one epoch by name.
    fn schedule(&self) -> Vec<Scheduled<'_>> {
        let known = self.forks.iter();
        let known = known.map(|one| (one.epoch, one.fork.name(), Some(one.version)));
        let unknown = self.unknown.iter();
        let unknown = unknown.map(|(name, epoch)| (*epoch, name.as_str(), None));
        let mut all: Vec<_> = known.chain(unknown).collect();
        all.sort_unstable();
        all
    }

    /// Where another fork schedule parts from this one; `None` if they are the same.
    pub fn parts_from(&self, other: &Self) -> Option<Parting> {
        let (ours, theirs) = (self.schedule(), other.schedule());
        let same = ours.iter().zip(&theirs).take_while(|(one, other)| one == other);
        let at = same.count();
        let (_, fork, _) = ours.get(at).into_iter().chain(theirs.get(at)).min()?;
        let epoch_of = |schedule: &[Scheduled<'_>]| {
            let found = schedule.iter().find(|(_, name, _)| name == fork);
            found.map(|(epoch, ..)| *epoch)
        };
        let first = ours
            .get(at)
            .into_iter()
            .chain(theirs.get(at))
            .map(|(epoch, ..)| *epoch);
        Some(Parting {
            epoch: first.min()?,
            fork: (*fork).to_owned(),
            epochs: [epoch_of(&ours), epoch_of(&theirs)],
        })
    }

    /// Whether another fork schedule says the same of every epoch up to this one.
    pub fn same_up_to(&self, other: &Self, epoch: u64) -> bool {
        self.parts_from(other).is_none_or(|parting| parting.epoch > epoch)
    }
}

impl fmt::Display for Parting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = |epoch: Option<u64>| match epoch {
            Some(epoch) => format!("begins with epoch {epoch}"),
            None => "is not scheduled".to_owned(),
        };
        let [ours, theirs] = self.epochs;
        if ours == theirs {
            return write!(
                f,
                "it says another version of the fork {} than your other beacon nodes",
                self.fork
            );
        }
        write!(
            f,
            "it says that the fork {} {}, and your other beacon nodes say that it {}",
            self.fork,
            when(theirs),
            when(ours)
        )
    }
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
