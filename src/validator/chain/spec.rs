//! What a beacon node says of its chain: timing, forks, sizes and genesis.
//!
//! From `/eth/v1/config/spec` and `/eth/v1/beacon/genesis`. The specification's values are mostly text, but not all
//! (`BLOB_SCHEDULE` is a list), and every node names others beside those that matter here.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::{crypto::hash::Hash, ethereum::network::Network};

use super::{json, time::Time};

/// Most bytes of a specification. Those of today have about 15 KiB.
pub const MAX_SPEC_BYTES: usize = 1 << 20;
/// Most bytes of a genesis answer.
pub const MAX_GENESIS_BYTES: usize = 4096;
/// The epoch of a fork that is not scheduled.
pub const FAR_FUTURE_EPOCH: u64 = u64::MAX;
/// `SYNC_COMMITTEE_SUBNET_COUNT` (consensus-specs, altair validator): a constant, not of a preset.
pub const SYNC_SUBNETS: u64 = 4;
/// `TARGET_AGGREGATORS_PER_COMMITTEE` (consensus-specs, phase0 validator): a constant.
pub const TARGET_AGGREGATORS: u64 = 16;
/// `TARGET_AGGREGATORS_PER_SYNC_SUBCOMMITTEE` (consensus-specs, altair validator): a constant.
pub const TARGET_SYNC_AGGREGATORS: u64 = 16;
/// `BASIS_POINTS`: the parts of a slot in which due times are told.
const BASIS_POINTS: u64 = 10_000;

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

/// Sizes that differ between presets: limits of lists, in elements where nothing else is said.
#[allow(
    missing_docs,
    reason = "the names are those of the specification, in lower case"
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    pub max_committees_per_slot: usize,
    pub max_validators_per_committee: usize,
    pub sync_committee_size: usize,
    pub epochs_per_sync_committee_period: u64,
    pub max_proposer_slashings: usize,
    pub max_attester_slashings_electra: usize,
    pub max_attestations_electra: usize,
    pub max_deposits: usize,
    pub max_voluntary_exits: usize,
    pub max_bls_to_execution_changes: usize,
    pub max_withdrawals_per_payload: usize,
    pub max_bytes_per_transaction: usize,
    pub max_transactions_per_payload: usize,
    pub bytes_per_logs_bloom: usize,
    pub max_extra_data_bytes: usize,
    pub max_blob_commitments_per_block: usize,
    pub field_elements_per_blob: usize,
    pub field_elements_per_ext_blob: usize,
    pub field_elements_per_cell: usize,
    pub max_deposit_requests_per_payload: usize,
    pub max_withdrawal_requests_per_payload: usize,
    pub max_consolidation_requests_per_payload: usize,
}

impl Sizes {
    /// Members of a sync subcommittee.
    pub fn sync_subcommittee_size(&self) -> usize {
        self.sync_committee_size / 4
    }

    /// Most members of all committees of a slot: the limit of an Electra attestation's aggregation bits.
    pub fn max_attesters_per_slot(&self) -> usize {
        self.max_validators_per_committee
            .saturating_mul(self.max_committees_per_slot)
    }

    /// Bytes of a blob.
    pub fn blob_bytes(&self) -> usize {
        self.field_elements_per_blob.saturating_mul(32)
    }

    /// Cell proofs that belong to one blob since Fulu (`CELLS_PER_EXT_BLOB`).
    pub fn cells_per_blob(&self) -> usize {
        self.field_elements_per_ext_blob / self.field_elements_per_cell
    }
}

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
    const ALL: [Self; 4] = [
        Self::Attestation,
        Self::Aggregate,
        Self::SyncMessage,
        Self::Contribution,
    ];

    fn key(self) -> &'static str {
        match self {
            Self::Attestation => "ATTESTATION_DUE_BPS",
            Self::Aggregate => "AGGREGATE_DUE_BPS",
            Self::SyncMessage => "SYNC_MESSAGE_DUE_BPS",
            Self::Contribution => "CONTRIBUTION_DUE_BPS",
        }
    }

    /// A third or two thirds of the slot, where the node names no due time.
    fn thirds(self) -> u64 {
        match self {
            Self::Attestation | Self::SyncMessage => 1,
            Self::Aggregate | Self::Contribution => 2,
        }
    }
}

/// Milliseconds into the slot, in the order of [`Due::ALL`].
type DueTimes = [u64; 4];

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

/// Why what a node says of its chain is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// It cannot be read.
    #[error("it is not the JSON of the Beacon API: {0}")]
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

/// A value of a chain that is not the expected one: the node is on another network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {found}, expected {expected}")]
pub struct Mismatch {
    /// Which value.
    pub what: String,
    /// What is expected.
    pub expected: String,
    /// What the node says.
    pub found: String,
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

#[derive(Deserialize)]
struct SpecFile {
    data: BTreeMap<String, Value>,
}

/// The named values of a specification.
struct Values(BTreeMap<String, Value>);

impl Values {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }

    /// A number, quoted as the Beacon API says, or bare as some tools write it.
    fn number(&self, key: &str) -> Result<Option<u64>, SpecError> {
        match self.0.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => json::parse_number(text)
                .map(Some)
                .ok_or_else(|| SpecError::Range(key.to_owned())),
            Some(Value::Number(number)) => number
                .as_u64()
                .map(Some)
                .ok_or_else(|| SpecError::Range(key.to_owned())),
            Some(_) => Err(SpecError::Range(key.to_owned())),
        }
    }

    fn version(&self, key: &str) -> Result<[u8; 4], SpecError> {
        let text = self.text(key).ok_or_else(|| SpecError::Missing(key.to_owned()))?;
        json::parse_bytes(text).ok_or_else(|| SpecError::Range(key.to_owned()))
    }

    fn required(&self, key: &str, min: u64, max: u64) -> Result<u64, SpecError> {
        let value = self
            .number(key)?
            .ok_or_else(|| SpecError::Missing(key.to_owned()))?;
        in_range(key, value, min, max)
    }
}

fn in_range(key: &str, value: u64, min: u64, max: u64) -> Result<u64, SpecError> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(SpecError::Range(key.to_owned()))
    }
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
        let file: SpecFile =
            serde_json::from_slice(bytes).map_err(|error| SpecError::Malformed(error.to_string()))?;
        let values = Values(file.data);
        let slot_ms = match values.number("SLOT_DURATION_MS")? {
            Some(ms) => in_range("SLOT_DURATION_MS", ms, 100, 3_600_000)?,
            None => values.required("SECONDS_PER_SLOT", 1, 3600)? * 1000,
        };
        let genesis_fork_version = values.version("GENESIS_FORK_VERSION")?;
        let forks = known_forks(&values, genesis_fork_version)?;
        let due = due_times(&values, slot_ms, "", None)?;
        let preset = values.text("PRESET_BASE").unwrap_or_default();
        let preset: &[(&str, u64)] = match preset {
            "mainnet" => &MAINNET,
            "minimal" => &MINIMAL,
            "gnosis" => &GNOSIS,
            _ => &[],
        };
        Ok(Self {
            config_name: values
                .text("CONFIG_NAME")
                .unwrap_or_default()
                .chars()
                .filter(|c| !c.is_control())
                .take(64)
                .collect(),
            genesis_fork_version,
            capella_fork_version: values.version("CAPELLA_FORK_VERSION")?,
            slot_ms,
            slots_per_epoch: size(&values, preset, "SLOTS_PER_EPOCH", 1024)?,
            forks,
            sizes: sizes(&values, preset)?,
            unknown: unknown_forks(&values)?,
            due,
            due_gloas: due_times(&values, slot_ms, "_GLOAS", Some(due))?,
            gloas_epoch: values.number("GLOAS_FORK_EPOCH")?.unwrap_or(FAR_FUTURE_EPOCH),
        })
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
        fork.filter(|fork| fork.fork >= Fork::Electra)
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

/// A version in the schedule is only asked for where the fork is scheduled.
fn known_forks(values: &Values, genesis_fork_version: [u8; 4]) -> Result<Vec<ScheduledFork>, SpecError> {
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

fn unknown_forks(values: &Values) -> Result<Vec<(String, u64)>, SpecError> {
    let mut unknown = Vec::new();
    for key in values.0.keys() {
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

fn due_times(
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

/// A size by its name: what the node says, else what its preset says.
fn size(values: &Values, preset: &[(&str, u64)], key: &str, max: u64) -> Result<u64, SpecError> {
    let value = match values.number(key)? {
        Some(value) => value,
        None => preset
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value)
            .ok_or_else(|| SpecError::Missing(key.to_owned()))?,
    };
    in_range(key, value, 1, max)
}

fn sizes(values: &Values, preset: &[(&str, u64)]) -> Result<Sizes, SpecError> {
    // Limits only bound what is read: memory is taken for what is there, never for a limit.
    let get = |key: &str| {
        let value = size(values, preset, key, 1 << 30)?;
        usize::try_from(value).map_err(|_| SpecError::Range(key.to_owned()))
    };
    let sizes = Sizes {
        max_committees_per_slot: get("MAX_COMMITTEES_PER_SLOT")?,
        max_validators_per_committee: get("MAX_VALIDATORS_PER_COMMITTEE")?,
        sync_committee_size: get("SYNC_COMMITTEE_SIZE")?,
        epochs_per_sync_committee_period: size(values, preset, "EPOCHS_PER_SYNC_COMMITTEE_PERIOD", 1 << 30)?,
        max_proposer_slashings: get("MAX_PROPOSER_SLASHINGS")?,
        max_attester_slashings_electra: get("MAX_ATTESTER_SLASHINGS_ELECTRA")?,
        max_attestations_electra: get("MAX_ATTESTATIONS_ELECTRA")?,
        max_deposits: get("MAX_DEPOSITS")?,
        max_voluntary_exits: get("MAX_VOLUNTARY_EXITS")?,
        max_bls_to_execution_changes: get("MAX_BLS_TO_EXECUTION_CHANGES")?,
        max_withdrawals_per_payload: get("MAX_WITHDRAWALS_PER_PAYLOAD")?,
        max_bytes_per_transaction: get("MAX_BYTES_PER_TRANSACTION")?,
        max_transactions_per_payload: get("MAX_TRANSACTIONS_PER_PAYLOAD")?,
        bytes_per_logs_bloom: get("BYTES_PER_LOGS_BLOOM")?,
        max_extra_data_bytes: get("MAX_EXTRA_DATA_BYTES")?,
        max_blob_commitments_per_block: get("MAX_BLOB_COMMITMENTS_PER_BLOCK")?,
        field_elements_per_blob: get("FIELD_ELEMENTS_PER_BLOB")?,
        field_elements_per_ext_blob: get("FIELD_ELEMENTS_PER_EXT_BLOB")?,
        field_elements_per_cell: get("FIELD_ELEMENTS_PER_CELL")?,
        max_deposit_requests_per_payload: get("MAX_DEPOSIT_REQUESTS_PER_PAYLOAD")?,
        max_withdrawal_requests_per_payload: get("MAX_WITHDRAWAL_REQUESTS_PER_PAYLOAD")?,
        max_consolidation_requests_per_payload: get("MAX_CONSOLIDATION_REQUESTS_PER_PAYLOAD")?,
    };
    if sizes.sync_committee_size < 4 || !sizes.sync_committee_size.is_multiple_of(4) {
        return Err(SpecError::Range("SYNC_COMMITTEE_SIZE".to_owned()));
    }
    // These three decide how much memory one element takes.
    for (key, value, max) in [
        ("FIELD_ELEMENTS_PER_BLOB", sizes.field_elements_per_blob, 1 << 16),
        ("BYTES_PER_LOGS_BLOOM", sizes.bytes_per_logs_bloom, 1 << 12),
        ("MAX_COMMITTEES_PER_SLOT", sizes.max_committees_per_slot, 1 << 12),
    ] {
        in_range(key, value as u64, 1, max)?;
    }
    Ok(sizes)
}

/// What presets say (consensus-specs `presets/mainnet`): only for nodes that leave a value out.
const MAINNET: [(&str, u64); 23] = preset(&Preset {
    slots_per_epoch: 32,
    committees: 64,
    sync_committee: 512,
    sync_period: 256,
    withdrawals: 16,
});
/// The same for tests (`presets/minimal`).
const MINIMAL: [(&str, u64); 23] = preset(&Preset {
    slots_per_epoch: 8,
    committees: 4,
    sync_committee: 32,
    sync_period: 8,
    withdrawals: 4,
});
/// The same for Gnosis Chain (gnosischain/specs `consensus/preset/gnosis`).
const GNOSIS: [(&str, u64); 23] = preset(&Preset {
    slots_per_epoch: 16,
    committees: 64,
    sync_committee: 512,
    sync_period: 512,
    withdrawals: 8,
});

/// In what presets differ.
struct Preset {
    slots_per_epoch: u64,
    committees: u64,
    sync_committee: u64,
    sync_period: u64,
    withdrawals: u64,
}

const fn preset(own: &Preset) -> [(&'static str, u64); 23] {
    [
        ("SLOTS_PER_EPOCH", own.slots_per_epoch),
        ("MAX_COMMITTEES_PER_SLOT", own.committees),
        ("MAX_VALIDATORS_PER_COMMITTEE", 2048),
        ("SYNC_COMMITTEE_SIZE", own.sync_committee),
        ("EPOCHS_PER_SYNC_COMMITTEE_PERIOD", own.sync_period),
        ("MAX_PROPOSER_SLASHINGS", 16),
        ("MAX_ATTESTER_SLASHINGS_ELECTRA", 1),
        ("MAX_ATTESTATIONS_ELECTRA", 8),
        ("MAX_DEPOSITS", 16),
        ("MAX_VOLUNTARY_EXITS", 16),
        ("MAX_BLS_TO_EXECUTION_CHANGES", 16),
        ("MAX_WITHDRAWALS_PER_PAYLOAD", own.withdrawals),
        ("MAX_BYTES_PER_TRANSACTION", 1 << 30),
        ("MAX_TRANSACTIONS_PER_PAYLOAD", 1 << 20),
        ("BYTES_PER_LOGS_BLOOM", 256),
        ("MAX_EXTRA_DATA_BYTES", 32),
        ("MAX_BLOB_COMMITMENTS_PER_BLOCK", 4096),
        ("FIELD_ELEMENTS_PER_BLOB", 4096),
        ("FIELD_ELEMENTS_PER_EXT_BLOB", 8192),
        ("FIELD_ELEMENTS_PER_CELL", 64),
        ("MAX_DEPOSIT_REQUESTS_PER_PAYLOAD", 8192),
        ("MAX_WITHDRAWAL_REQUESTS_PER_PAYLOAD", 16),
        ("MAX_CONSOLIDATION_REQUESTS_PER_PAYLOAD", 2),
    ]
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
            serde_json::from_slice(bytes).map_err(|error| SpecError::Malformed(error.to_string()))?;
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
}

impl From<&Network> for Pinned {
    fn from(network: &Network) -> Self {
        Self {
            genesis_validators_root: network.genesis_validators_root,
            genesis_fork_version: Some(network.genesis_fork_version),
            capella_fork_version: Some(network.capella_fork_version),
            slot_ms: network.slot_seconds.checked_mul(1000),
        }
    }
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
        match slot_ms {
            Some(ms) if *ms != self.spec.slot_ms => Err(Mismatch {
                what: "the length of a slot".to_owned(),
                expected: format!("{ms} ms"),
                found: format!("{} ms", self.spec.slot_ms),
            }),
            _ => Ok(()),
        }
    }

    /// Whether another node's chain is the same one. Forks that are not known here may differ: nodes learn of them
    /// with their updates, and nothing is signed there anyway.
    ///
    /// # Errors
    /// [`Mismatch`] names the first value that differs.
    pub fn same_as(&self, other: &Self) -> Result<(), Mismatch> {
        other.fits(&Pinned {
            genesis_validators_root: Some(self.genesis.validators_root),
            genesis_fork_version: Some(self.genesis.fork_version),
            capella_fork_version: Some(self.spec.capella_fork_version),
            slot_ms: Some(self.spec.slot_ms),
        })?;
        let differs = |what: &str, expected: String, found: String| {
            if expected == found {
                return Ok(());
            }
            Err(Mismatch {
                what: what.to_owned(),
                expected,
                found,
            })
        };
        let text = |value: u64| value.to_string();
        differs(
            "the time of genesis",
            text(self.genesis.time),
            text(other.genesis.time),
        )?;
        differs(
            "SLOTS_PER_EPOCH",
            text(self.spec.slots_per_epoch),
            text(other.spec.slots_per_epoch),
        )?;
        for fork in Fork::ALL {
            let entry = |chain: &Self| {
                let entry = chain.spec.forks.iter().find(|one| one.fork == fork);
                entry.map_or_else(
                    || "not scheduled".to_owned(),
                    |one| format!("0x{} from epoch {}", hex::encode(one.version), one.epoch),
                )
            };
            differs(&format!("fork {}", fork.name()), entry(self), entry(other))?;
        }
        if self.spec.sizes != other.spec.sizes {
            return Err(Mismatch {
                what: "the preset (limits of lists)".to_owned(),
                expected: "that of the other beacon nodes".to_owned(),
                found: "another".to_owned(),
            });
        }
        Ok(())
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

#[cfg(test)]
pub(in crate::validator) mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINIMAL_SPEC: &str = include_str!("../../../tests/vectors/beacon/spec-minimal.json");
    const MAINNET_SPEC: &str = include_str!("../../../tests/vectors/beacon/spec-mainnet.json");

    /// A chain with the minimal preset, Electra from the start and Fulu from epoch 2.
    pub(in crate::validator) fn chain(preset: &str) -> Chain {
        let text = if preset == "mainnet" {
            MAINNET_SPEC
        } else {
            MINIMAL_SPEC
        };
        let genesis = Genesis {
            time: 1_700_000_000,
            validators_root: [7; 32],
            fork_version: [0x10, 0, 0, 0x38],
        };
        Chain::new(Spec::from_json(text.as_bytes()).unwrap(), genesis).unwrap()
    }

    /// The specification with one value replaced; none takes it out.
    fn with(key: &str, value: Option<Value>) -> Result<Spec, SpecError> {
        let mut file: Value = serde_json::from_str(MINIMAL_SPEC).unwrap();
        let data = file["data"].as_object_mut().unwrap();
        match value {
            Some(value) => {
                data.insert(key.to_owned(), value);
            }
            None => {
                data.remove(key).unwrap();
            }
        }
        Spec::from_json(file.to_string().as_bytes())
    }

    #[test]
    fn a_node_tells_timing_forks_and_sizes() {
        let spec = chain("minimal").spec;
        assert_eq!((spec.slot_ms, spec.slots_per_epoch), (4000, 8));
        assert_eq!(spec.config_name, "dvtest");
        assert_eq!(spec.capella_fork_version, [0x40, 0, 0, 0x38]);
        assert_eq!(spec.unknown_fork(), None);
        assert_eq!(spec.sizes.sync_subcommittee_size(), 8);
        assert_eq!(spec.sizes.max_attesters_per_slot(), 8192);
        assert_eq!(spec.sizes.cells_per_blob(), 128);
        assert_eq!(spec.sizes.blob_bytes(), 131_072);
        let names: Vec<_> = spec.forks.iter().map(|one| (one.fork, one.epoch)).collect();
        assert_eq!(names[5..], [(Fork::Electra, 0), (Fork::Fulu, 2)]);
        assert_eq!(spec.signable_fork_at(1).unwrap().fork, Fork::Electra);
        assert_eq!(spec.signable_fork_at(2).unwrap().version, [0x70, 0, 0, 0x38]);
        assert_eq!(spec.due_in_slot(0, Due::Attestation), 1333);
        assert_eq!(spec.due_in_slot(0, Due::Contribution), 2666);
        assert_eq!(chain("mainnet").spec.sizes.sync_committee_size, 512);
    }

    #[test]
    fn what_a_node_leaves_out_has_a_default() {
        for due in Due::ALL {
            let spec = with(due.key(), None).unwrap();
            assert_eq!(spec.due_in_slot(0, due), 4000 * due.thirds() / 3);
        }
        assert_eq!(with("SLOT_DURATION_MS", None).unwrap().slot_ms, 4000);
        assert_eq!(
            with("SLOT_DURATION_MS", Some("1500".into())).unwrap().slot_ms,
            1500
        );
        let whole = chain("minimal").spec;
        for (key, _) in MINIMAL {
            assert_eq!(with(key, None).unwrap(), whole, "{key}");
        }
        let whole = chain("mainnet").spec;
        let mut file: Value = serde_json::from_str(MAINNET_SPEC).unwrap();
        for (key, _) in MAINNET {
            file["data"].as_object_mut().unwrap().remove(key).unwrap();
        }
        assert_eq!(Spec::from_json(file.to_string().as_bytes()).unwrap(), whole);
        file["data"]["PRESET_BASE"] = "gnosis".into();
        let gnosis = Spec::from_json(file.to_string().as_bytes()).unwrap();
        assert_eq!(
            (gnosis.slots_per_epoch, gnosis.sizes.max_withdrawals_per_payload),
            (16, 8)
        );
        file["data"]["PRESET_BASE"] = "someone's".into();
        assert_eq!(
            Spec::from_json(file.to_string().as_bytes()),
            Err(SpecError::Missing("SLOTS_PER_EPOCH".to_owned()))
        );
    }

    #[test]
    fn gloas_has_its_own_due_times_from_its_epoch() {
        let spec = with("GLOAS_FORK_EPOCH", Some("5".into())).unwrap();
        assert_eq!(spec.due_in_slot(4, Due::Attestation), 1333);
        assert_eq!(spec.due_in_slot(5, Due::Attestation), 1000);
        assert_eq!(spec.due_in_slot(5, Due::Aggregate), 2000);
    }

    #[test]
    fn a_fork_nobody_here_knows_is_told_and_stops_signing() {
        let spec = with("GLOAS_FORK_EPOCH", Some("5".into())).unwrap();
        assert_eq!(spec.unknown_fork(), Some(("gloas", 5)));
        assert!(spec.signable_fork_at(4).is_ok());
        let error = spec.signable_fork_at(5).unwrap_err();
        assert_eq!((error.name.as_str(), error.epoch), ("gloas", 5));
        // Far future, in either spelling, is no schedule.
        for epoch in [Value::from("18446744073709551615"), Value::from(u64::MAX)] {
            assert_eq!(
                with("EIP9999_FORK_EPOCH", Some(epoch)).unwrap().unknown_fork(),
                None
            );
        }
        // Nothing is signed for chains that are behind either.
        let old = with("FULU_FORK_EPOCH", Some("9".into()))
            .and_then(|_| with("ELECTRA_FORK_EPOCH", Some("1".into())))
            .unwrap();
        assert_eq!(old.signable_fork_at(0).unwrap_err().name, "deneb");
    }

    #[test]
    fn nonsense_is_refused() {
        for (key, value) in [
            ("SLOT_DURATION_MS", Value::from("0")),
            ("SLOT_DURATION_MS", Value::from("4000.5")),
            ("SLOT_DURATION_MS", Value::from("04000")),
            ("SLOT_DURATION_MS", Value::from("99999999")),
            ("SLOTS_PER_EPOCH", Value::from("0")),
            ("SLOTS_PER_EPOCH", Value::from(vec![1])),
            ("GENESIS_FORK_VERSION", Value::from("0x1000")),
            ("GENESIS_FORK_VERSION", Value::from("10000038")),
            ("FULU_FORK_VERSION", Value::from(7)),
            ("ATTESTATION_DUE_BPS", Value::from("10001")),
            ("SYNC_COMMITTEE_SIZE", Value::from("30")),
            ("SYNC_COMMITTEE_SIZE", Value::from("18446744073709551615")),
            ("FIELD_ELEMENTS_PER_BLOB", Value::from("1000000000")),
            ("ELECTRA_FORK_EPOCH", Value::from("3")),
            ("ELECTRA_FORK_EPOCH", Value::from("18446744073709551615")),
        ] {
            assert!(with(key, Some(value.clone())).is_err(), "{key} {value}");
        }
        for key in [
            "GENESIS_FORK_VERSION",
            "CAPELLA_FORK_VERSION",
            "FULU_FORK_VERSION",
        ] {
            assert_eq!(with(key, None), Err(SpecError::Missing(key.to_owned())));
        }
        for text in ["", "[]", "{}", "{\"data\": []}", "{\"data\": {}}", "null"] {
            assert!(Spec::from_json(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Spec::from_json(&vec![b' '; MAX_SPEC_BYTES + 1]).is_err());
    }

    #[test]
    fn genesis_is_read_strictly() {
        let text = format!(
            "{{\"data\":{{\"genesis_time\":\"1590832934\",\"genesis_validators_root\":\"0x{}\",\
             \"genesis_fork_version\":\"0x00000000\"}}}}",
            "cf".repeat(32)
        );
        let genesis = Genesis::from_json(text.as_bytes()).unwrap();
        assert_eq!(
            (genesis.time, genesis.validators_root),
            (1_590_832_934, [0xcf; 32])
        );
        for (old, new) in [
            ("\"1590832934\"", "1590832934"),
            ("1590832934", "253402300800"),
            ("0xcf", "cf"),
            ("0xcf", "0x"),
            ("genesis_time", "time"),
        ] {
            assert!(
                Genesis::from_json(text.replacen(old, new, 1).as_bytes()).is_err(),
                "{new}"
            );
        }
        assert!(Genesis::from_json(&[b' '; MAX_GENESIS_BYTES + 1]).is_err());
        let spec = chain("minimal").spec;
        assert_eq!(
            Chain::new(spec, genesis),
            Err(SpecError::Genesis([0; 4], [0x10, 0, 0, 0x38]))
        );
    }

    /// A change to a chain and what it is called in the error.
    type Change = (&'static str, fn(&mut Chain));

    #[test]
    fn another_network_is_named() {
        let chain = chain("minimal");
        let pinned = Pinned {
            genesis_validators_root: Some([7; 32]),
            genesis_fork_version: Some([0x10, 0, 0, 0x38]),
            capella_fork_version: Some([0x40, 0, 0, 0x38]),
            slot_ms: Some(4000),
        };
        chain.fits(&pinned).unwrap();
        chain.fits(&Pinned::default()).unwrap();
        chain.same_as(&chain).unwrap();
        let hoodi = Pinned::from(Network::by_name("hoodi").unwrap());
        assert_eq!(
            chain.fits(&hoodi).unwrap_err().to_string(),
            "the genesis fork version is 0x10000038, expected 0x10000910"
        );
        let changes: [Change; 6] = [
            ("genesis validators root", |c| c.genesis.validators_root[0] ^= 1),
            ("Capella", |c| c.spec.capella_fork_version[0] ^= 1),
            ("length of a slot", |c| c.spec.slot_ms += 1),
            ("time of genesis", |c| c.genesis.time += 1),
            ("fork fulu", |c| c.spec.forks[6].epoch += 1),
            ("preset", |c| c.spec.sizes.max_deposits += 1),
        ];
        for (what, change) in changes {
            let mut other = chain.clone();
            change(&mut other);
            let error = chain.same_as(&other).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
        let mut other = chain.clone();
        other.spec.unknown.push(("gloas".into(), 9));
        chain.same_as(&other).unwrap();
    }

    #[test]
    fn due_times_count_from_genesis() {
        let chain = chain("minimal");
        assert_eq!(
            chain.due_ms(10, Due::Attestation),
            1_700_000_000_000 + 40_000 + 1333
        );
        assert_eq!(chain.epoch_of(17), 2);
        assert_eq!(chain.next_sync_period(7), 8);
        assert_eq!(chain.next_sync_period(8), 16);
    }

    proptest! {
        #[test]
        fn damaged_specifications_never_panic(at in 0_usize..MINIMAL_SPEC.len(), byte: u8) {
            let mut bytes = MINIMAL_SPEC.as_bytes().to_vec();
            bytes[at] = byte;
            let _ = Spec::from_json(&bytes);
        }
    }
}
