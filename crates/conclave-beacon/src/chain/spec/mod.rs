//! What a beacon node says of its chain: timing, forks, sizes and genesis.
//!
//! From `/eth/v1/config/spec` and `/eth/v1/beacon/genesis`. The specification's values are mostly text, but not all
//! (`BLOB_SCHEDULE` is a list), and every node names others beside those that matter here.
//!
//! | Module | What it is |
//! |---|---|
//! | `forks` | the schedule of forks |
//! | `sizes` | limits of lists, and what presets say of them |
//! | `due` | when in a slot something is due |
//! | `chain` | genesis; a chain as a whole, and whether it is the expected one |
//! | `values` | the named values of a specification |

mod chain;
mod due;
mod forks;
mod sizes;
mod values;

#[cfg(test)]
mod tests;

pub use self::{
    chain::{Chain, Genesis, Mismatch, Pinned},
    due::Due,
    forks::{Parting, ScheduledFork, UnsupportedFork},
};

use conclave_eth::chain::{
    fork::Fork,
    sizes::{Sizes, preset, preset_of_epochs},
};
use conclave_eth::network::{MAX_SLOTS_PER_EPOCH, Network};

use due::{DueTimes, due_times};
use forks::{known_forks, unknown_forks};
use sizes::{size, sizes};
use values::{Values, in_range};

/// Most bytes of a specification. Those of today have about 15 KiB.
pub const MAX_SPEC_BYTES: usize = 1 << 20;
/// Most bytes of a genesis answer.
pub const MAX_GENESIS_BYTES: usize = 4096;
/// The epoch of a fork that is not scheduled.
pub const FAR_FUTURE_EPOCH: u64 = u64::MAX;
/// `TARGET_AGGREGATORS_PER_COMMITTEE` (consensus-specs, phase0 validator): a constant.
pub const TARGET_AGGREGATORS: u64 = 16;
/// `TARGET_AGGREGATORS_PER_SYNC_SUBCOMMITTEE` (consensus-specs, altair validator): a constant.
pub const TARGET_SYNC_AGGREGATORS: u64 = 16;

/// A chain's specification, as far as a validator needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// `CONFIG_NAME`, for people; empty when the node names none. At most 64 characters.
    pub config_name: String,
    /// `GENESIS_FORK_VERSION`, 4 bytes.
    pub genesis_fork_version: [u8; 4],
    /// `CAPELLA_FORK_VERSION`, 4 bytes: exits are signed for it for ever (EIP-7044).
    pub capella_fork_version: [u8; 4],
    /// Length of a slot in milliseconds: `SLOT_DURATION_MS`, else `SECONDS_PER_SLOT`.
    pub slot_ms: u64,
    /// `SLOTS_PER_EPOCH`.
    pub slots_per_epoch: u64,
    /// Forks that are known here and scheduled, oldest first; never empty.
    pub forks: Vec<ScheduledFork>,
    /// Limits of lists.
    pub sizes: Sizes,
    /// Scheduled forks that are not known here: name in lower case and epoch, earliest first.
    pub unknown: Vec<(String, u64)>,
    due: DueTimes,
    due_gloas: DueTimes,
    gloas_epoch: u64,
}

/// Why what a node says of its chain is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// It cannot be read.
    #[error("it is not what the Beacon API says: {0}")]
    Malformed(String),
    /// A value is missing that has no default.
    #[error("{0} is missing")]
    Missing(String),
    /// A value makes no sense.
    #[error("{0} is out of range")]
    Range(String),
    /// Forks are not in order.
    #[error("fork {0} is scheduled before the fork that precedes it")]
    Order(&'static str),
    /// Genesis and specification are of different chains.
    #[error("the genesis fork version is 0x{} in the genesis and 0x{} in the specification",
        hex::encode(.0), hex::encode(.1))]
    Genesis([u8; 4], [u8; 4]),
}

/// The preset of the known network that begins with this fork version.
fn preset_of(genesis_fork_version: [u8; 4]) -> Option<&'static str> {
    let network = Network::by_fork_version(genesis_fork_version).ok()?;
    network.slots_per_epoch.map(preset_of_epochs)
}

impl Spec {
    /// Reads the answer to `/eth/v1/config/spec`.
    ///
    /// # Errors
    /// [`SpecError`] for anything that is no specification to validate by.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SpecError> {
        if bytes.len() > MAX_SPEC_BYTES {
            return Err(SpecError::Malformed(format!("more than {MAX_SPEC_BYTES} bytes")));
        }
        let values = Values::from_json(bytes)?;
        let slot_ms = match values.number("SLOT_DURATION_MS")? {
            Some(ms) => in_range("SLOT_DURATION_MS", ms, 100, 3_600_000)?,
            None => values.required("SECONDS_PER_SLOT", 1, 3600)? * 1000,
        };
        let genesis_fork_version = values.version("GENESIS_FORK_VERSION")?;
        let forks = known_forks(&values, genesis_fork_version)?;
        let due = due_times(&values, slot_ms, "", None)?;
        let named = values.text("PRESET_BASE");
        let preset = preset(
            named
                .or_else(|| preset_of(genesis_fork_version))
                .unwrap_or_default(),
        );
        Ok(Self {
            config_name: conclave_eth::text::line(values.text("CONFIG_NAME").unwrap_or_default(), 64),
            genesis_fork_version,
            capella_fork_version: values.version("CAPELLA_FORK_VERSION")?,
            slot_ms,
            slots_per_epoch: size(&values, preset, "SLOTS_PER_EPOCH", MAX_SLOTS_PER_EPOCH)?,
            forks,
            sizes: sizes(&values, preset)?,
            unknown: unknown_forks(&values)?,
            due,
            due_gloas: due_times(&values, slot_ms, "_GLOAS", Some(due))?,
            gloas_epoch: values.number("GLOAS_FORK_EPOCH")?.unwrap_or(FAR_FUTURE_EPOCH),
        })
    }

    /// A fork that is known here, if it is scheduled.
    pub fn scheduled(&self, fork: Fork) -> Option<ScheduledFork> {
        self.forks.iter().find(|one| one.fork == fork).copied()
    }

    /// Whether another specification has everything due at the same times.
    pub fn same_due_times(&self, other: &Self) -> bool {
        (self.due, self.due_gloas, self.gloas_epoch) == (other.due, other.due_gloas, other.gloas_epoch)
    }

    /// The first scheduled fork that is not known here, with its epoch.
    pub fn unknown_fork(&self) -> Option<(&str, u64)> {
        self.unknown.first().map(|(name, epoch)| (name.as_str(), *epoch))
    }

    /// The fork in force at an epoch, whatever can be signed there.
    pub fn fork_at(&self, epoch: u64) -> Option<ScheduledFork> {
        self.forks.iter().rev().find(|fork| fork.epoch <= epoch).copied()
    }

    /// The fork in force at an epoch, if duties of that epoch can be signed: Electra and Fulu.
    ///
    /// # Errors
    /// [`UnsupportedFork`] names the one that is in force.
    pub fn signable_fork_at(&self, epoch: u64) -> Result<ScheduledFork, UnsupportedFork> {
        if let Some((name, _)) = self.unknown.iter().rev().find(|(_, from)| *from <= epoch) {
            return Err(UnsupportedFork {
                name: name.clone(),
                epoch,
            });
        }
        let fork = self.fork_at(epoch);
        fork.filter(|fork| Fork::SIGNED.contains(&fork.fork))
            .ok_or_else(|| UnsupportedFork {
                name: fork.map_or("unnamed", |fork| fork.fork.name()).to_owned(),
                epoch,
            })
    }

    /// When something is due, in milliseconds into a slot of this epoch.
    pub fn due_in_slot(&self, epoch: u64, due: Due) -> u64 {
        let times = if epoch >= self.gloas_epoch {
            &self.due_gloas
        } else {
            &self.due
        };
        let place = Due::ALL.iter().position(|one| *one == due).unwrap_or(0);
        times.get(place).copied().unwrap_or(0)
    }
}
