//! Genesis; a chain as a whole, and whether it is the one that is expected.

use serde::Deserialize;

use conclave_crypto::hash::Hash;
use conclave_eth::{
    chain::{json, time::Time},
    network::Network,
    recognise::why_no_json,
};

use super::{Due, MAX_GENESIS_BYTES, Spec, SpecError, values::in_range};
use conclave_eth::chain::sizes::{Sizes, preset_of_epochs};

/// The start of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Genesis {
    /// Unix seconds.
    pub time: u64,
    /// The root of the first validators, 32 bytes: what distinguishes chains in signatures.
    pub validators_root: Hash,
    /// `GENESIS_FORK_VERSION`, 4 bytes.
    pub fork_version: [u8; 4],
}

#[derive(Deserialize)]
struct GenesisFile {
    data: GenesisData,
}

#[derive(Deserialize)]
#[allow(clippy::struct_field_names, reason = "the names are those of the Beacon API")]
struct GenesisData {
    #[serde(with = "json::number")]
    genesis_time: u64,
    #[serde(with = "json::bytes")]
    genesis_validators_root: Hash,
    #[serde(with = "json::bytes")]
    genesis_fork_version: [u8; 4],
}

impl Genesis {
    /// Reads the answer to `/eth/v1/beacon/genesis`.
    ///
    /// # Errors
    /// [`SpecError`] for anything that is no genesis.
    pub fn from_json(bytes: &[u8]) -> Result<Self, SpecError> {
        if bytes.len() > MAX_GENESIS_BYTES {
            return Err(SpecError::Malformed(format!(
                "more than {MAX_GENESIS_BYTES} bytes"
            )));
        }
        let file: GenesisFile =
            serde_json::from_slice(bytes).map_err(|error| SpecError::Malformed(why_no_json(&error)))?;
        // The year 9999 ends there; times beyond are nonsense, and in milliseconds they would overflow.
        in_range("genesis_time", file.data.genesis_time, 0, 253_402_300_799)?;
        Ok(Self {
            time: file.data.genesis_time,
            validators_root: file.data.genesis_validators_root,
            fork_version: file.data.genesis_fork_version,
        })
    }
}

/// A chain: its specification and its genesis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Timing, forks and sizes.
    pub spec: Spec,
    /// Its start.
    pub genesis: Genesis,
}

/// Values of a network that are known beforehand. What is `None` is not compared.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pinned {
    /// The genesis validators root, 32 bytes.
    pub genesis_validators_root: Option<Hash>,
    /// The genesis fork version, 4 bytes.
    pub genesis_fork_version: Option<[u8; 4]>,
    /// The Capella fork version, 4 bytes.
    pub capella_fork_version: Option<[u8; 4]>,
    /// Length of a slot in milliseconds.
    pub slot_ms: Option<u64>,
    /// When the chain began, in Unix seconds.
    pub genesis_time: Option<u64>,
    /// When it begins as far as is known, in Unix seconds: beacon nodes that say so are believed before others. A new chain's genesis is
    /// often later than the ceremony, so a network file may say something else of it than the chain does.
    pub likely_genesis_time: Option<u64>,
    /// `SLOTS_PER_EPOCH`.
    pub slots_per_epoch: Option<u64>,
    /// Limits of lists.
    pub sizes: Option<Sizes>,
}

impl Pinned {
    /// Whether nothing of a network is left that beacon nodes could say one way or the other, but for forks and due times.
    pub fn is_whole(&self) -> bool {
        let Self {
            genesis_validators_root,
            genesis_fork_version,
            capella_fork_version,
            slot_ms,
            genesis_time,
            likely_genesis_time: _,
            slots_per_epoch,
            sizes,
        } = self;
        genesis_validators_root.is_some()
            && genesis_fork_version.is_some()
            && capella_fork_version.is_some()
            && slot_ms.is_some()
            && genesis_time.is_some()
            && slots_per_epoch.is_some()
            && sizes.is_some()
    }
}

impl From<&Network> for Pinned {
    fn from(network: &Network) -> Self {
        let known = Network::known().contains(network);
        let sizes = network
            .slots_per_epoch
            .filter(|_| known)
            .and_then(|slots| Sizes::of_preset(preset_of_epochs(slots)));
        Self {
            genesis_time: known.then(|| network.chain_start()),
            likely_genesis_time: (!known).then(|| network.chain_start()),
            slots_per_epoch: network.slots_per_epoch,
            sizes,
            genesis_validators_root: network.genesis_validators_root,
            genesis_fork_version: Some(network.genesis_fork_version),
            capella_fork_version: Some(network.capella_fork_version),
            slot_ms: network.slot_seconds.checked_mul(1000),
        }
    }
}

/// A value of a chain that is not the expected one: the node is on another network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {found}, and here it has to be {expected}")]
pub struct Mismatch {
    /// Which value.
    pub what: String,
    /// What is expected.
    pub expected: String,
    /// What the node says.
    pub found: String,
}

impl Chain {
    /// From what one node says.
    ///
    /// # Errors
    /// [`SpecError::Genesis`] when its two answers are of different chains.
    pub fn new(spec: Spec, genesis: Genesis) -> Result<Self, SpecError> {
        if genesis.fork_version != spec.genesis_fork_version {
            return Err(SpecError::Genesis(
                genesis.fork_version,
                spec.genesis_fork_version,
            ));
        }
        Ok(Self { spec, genesis })
    }

    /// How the chain counts time.
    pub fn time(&self) -> Time {
        Time {
            genesis_ms: self.genesis.time.saturating_mul(1000),
            slot_ms: self.spec.slot_ms,
            slots_per_epoch: self.spec.slots_per_epoch,
        }
    }

    /// When something of a slot is due, in milliseconds since the Unix epoch.
    pub fn due_ms(&self, slot: u64, due: Due) -> u64 {
        let time = self.time();
        time.start_of(slot)
            .saturating_add(self.spec.due_in_slot(time.epoch_of(slot), due))
    }

    /// The epoch of a slot.
    pub fn epoch_of(&self, slot: u64) -> u64 {
        self.time().epoch_of(slot)
    }

    /// The first epoch of the sync committee period after the one of this epoch.
    pub fn next_sync_period(&self, epoch: u64) -> u64 {
        let length = self.spec.sizes.epochs_per_sync_committee_period.max(1);
        (epoch / length).saturating_add(1).saturating_mul(length)
    }

    /// Whether this is the network that is expected.
    ///
    /// # Errors
    /// [`Mismatch`] names the first value that differs.
    pub fn fits(&self, pinned: &Pinned) -> Result<(), Mismatch> {
        let Pinned {
            genesis_validators_root,
            genesis_fork_version,
            capella_fork_version,
            slot_ms,
            genesis_time,
            likely_genesis_time: _,
            slots_per_epoch,
            sizes,
        } = pinned;
        differs_hex(
            "the genesis fork version",
            genesis_fork_version.as_ref().map(<[u8; 4]>::as_slice),
            &self.genesis.fork_version,
        )?;
        differs_hex(
            "the genesis validators root",
            genesis_validators_root.as_ref().map(<[u8; 32]>::as_slice),
            &self.genesis.validators_root,
        )?;
        differs_hex(
            "the Capella fork version",
            capella_fork_version.as_ref().map(<[u8; 4]>::as_slice),
            &self.spec.capella_fork_version,
        )?;
        let ms = |ms: u64| format!("{ms} ms");
        differs("the length of a slot", *slot_ms, self.spec.slot_ms, ms)?;
        let plain = |value: u64| value.to_string();
        differs("the time of genesis", *genesis_time, self.genesis.time, plain)?;
        differs(
            "SLOTS_PER_EPOCH",
            *slots_per_epoch,
            self.spec.slots_per_epoch,
            plain,
        )?;
        for (name, expected, found) in sizes.iter().flat_map(|sizes| sizes.beside(&self.spec.sizes)) {
            differs(name, Some(expected), found, plain)?;
        }
        Ok(())
    }

    /// Whether another node's chain is of the same network, whatever it says of forks: see [`Spec::parts_from`].
    ///
    /// # Errors
    /// [`Mismatch`] names the first value that differs.
    pub fn same_network(&self, other: &Self) -> Result<(), Mismatch> {
        other.fits(&Pinned {
            genesis_validators_root: Some(self.genesis.validators_root),
            genesis_fork_version: Some(self.genesis.fork_version),
            capella_fork_version: Some(self.spec.capella_fork_version),
            slot_ms: Some(self.spec.slot_ms),
            genesis_time: Some(self.genesis.time),
            likely_genesis_time: None,
            slots_per_epoch: Some(self.spec.slots_per_epoch),
            sizes: Some(self.spec.sizes.clone()),
        })
    }
}

fn differs(
    what: &str,
    expected: Option<u64>,
    found: u64,
    text: impl Fn(u64) -> String,
) -> Result<(), Mismatch> {
    match expected {
        Some(expected) if expected != found => Err(Mismatch {
            what: what.to_owned(),
            expected: text(expected),
            found: text(found),
        }),
        _ => Ok(()),
    }
}

fn differs_hex(what: &str, expected: Option<&[u8]>, found: &[u8]) -> Result<(), Mismatch> {
    match expected {
        Some(expected) if expected != found => Err(Mismatch {
            what: what.to_owned(),
            expected: json::hex_text(expected),
            found: json::hex_text(found),
        }),
        _ => Ok(()),
    }
}
