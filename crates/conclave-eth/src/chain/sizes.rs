//! Limits of lists, and what presets say of them.

/// `SYNC_COMMITTEE_SUBNET_COUNT` (consensus-specs, altair validator): a constant, not of a preset.
pub const SYNC_SUBNETS: u64 = 4;

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
    /// What a preset says; none if it is not known here.
    pub fn of_preset(name: &str) -> Option<Self> {
        let preset = preset(name);
        let get = |key: &str| {
            let found = preset.iter().find(|(name, _)| *name == key);
            found.map(|(_, value)| *value).ok_or(())
        };
        Self::by_name(get).ok()
    }

    /// Sizes as `get` gives them by their names in the specification.
    ///
    /// # Errors
    /// The first one of `get`.
    pub fn by_name<E>(mut get: impl FnMut(&'static str) -> Result<u64, E>) -> Result<Self, E> {
        // A limit above what this machine can count is none.
        let mut size = |name| get(name).map(|value| usize::try_from(value).unwrap_or(usize::MAX));
        Ok(Self {
            max_committees_per_slot: size("MAX_COMMITTEES_PER_SLOT")?,
            max_validators_per_committee: size("MAX_VALIDATORS_PER_COMMITTEE")?,
            sync_committee_size: size("SYNC_COMMITTEE_SIZE")?,
            epochs_per_sync_committee_period: size("EPOCHS_PER_SYNC_COMMITTEE_PERIOD")? as u64,
            max_proposer_slashings: size("MAX_PROPOSER_SLASHINGS")?,
            max_attester_slashings_electra: size("MAX_ATTESTER_SLASHINGS_ELECTRA")?,
            max_attestations_electra: size("MAX_ATTESTATIONS_ELECTRA")?,
            max_deposits: size("MAX_DEPOSITS")?,
            max_voluntary_exits: size("MAX_VOLUNTARY_EXITS")?,
            max_bls_to_execution_changes: size("MAX_BLS_TO_EXECUTION_CHANGES")?,
            max_withdrawals_per_payload: size("MAX_WITHDRAWALS_PER_PAYLOAD")?,
            max_bytes_per_transaction: size("MAX_BYTES_PER_TRANSACTION")?,
            max_transactions_per_payload: size("MAX_TRANSACTIONS_PER_PAYLOAD")?,
            bytes_per_logs_bloom: size("BYTES_PER_LOGS_BLOOM")?,
            max_extra_data_bytes: size("MAX_EXTRA_DATA_BYTES")?,
            max_blob_commitments_per_block: size("MAX_BLOB_COMMITMENTS_PER_BLOCK")?,
            field_elements_per_blob: size("FIELD_ELEMENTS_PER_BLOB")?,
            field_elements_per_ext_blob: size("FIELD_ELEMENTS_PER_EXT_BLOB")?,
            field_elements_per_cell: size("FIELD_ELEMENTS_PER_CELL")?,
            max_deposit_requests_per_payload: size("MAX_DEPOSIT_REQUESTS_PER_PAYLOAD")?,
            max_withdrawal_requests_per_payload: size("MAX_WITHDRAWAL_REQUESTS_PER_PAYLOAD")?,
            max_consolidation_requests_per_payload: size("MAX_CONSOLIDATION_REQUESTS_PER_PAYLOAD")?,
        })
    }

    /// Each size by its name in the specification, as it is here and there.
    pub fn beside(&self, other: &Self) -> impl Iterator<Item = (&'static str, u64, u64)> + use<> {
        let both = self.named().into_iter().zip(other.named());
        both.map(|((name, here), (_, there))| (name, here, there))
    }

    fn named(&self) -> [(&'static str, u64); 22] {
        // All of them: one that is forgotten here does not compile.
        let Self {
            max_committees_per_slot,
            max_validators_per_committee,
            sync_committee_size,
            epochs_per_sync_committee_period,
            max_proposer_slashings,
            max_attester_slashings_electra,
            max_attestations_electra,
            max_deposits,
            max_voluntary_exits,
            max_bls_to_execution_changes,
            max_withdrawals_per_payload,
            max_bytes_per_transaction,
            max_transactions_per_payload,
            bytes_per_logs_bloom,
            max_extra_data_bytes,
            max_blob_commitments_per_block,
            field_elements_per_blob,
            field_elements_per_ext_blob,
            field_elements_per_cell,
            max_deposit_requests_per_payload,
            max_withdrawal_requests_per_payload,
            max_consolidation_requests_per_payload,
        } = *self;
        [
            ("MAX_COMMITTEES_PER_SLOT", max_committees_per_slot as u64),
            (
                "MAX_VALIDATORS_PER_COMMITTEE",
                max_validators_per_committee as u64,
            ),
            ("SYNC_COMMITTEE_SIZE", sync_committee_size as u64),
            (
                "EPOCHS_PER_SYNC_COMMITTEE_PERIOD",
                epochs_per_sync_committee_period,
            ),
            ("MAX_PROPOSER_SLASHINGS", max_proposer_slashings as u64),
            (
                "MAX_ATTESTER_SLASHINGS_ELECTRA",
                max_attester_slashings_electra as u64,
            ),
            ("MAX_ATTESTATIONS_ELECTRA", max_attestations_electra as u64),
            ("MAX_DEPOSITS", max_deposits as u64),
            ("MAX_VOLUNTARY_EXITS", max_voluntary_exits as u64),
            (
                "MAX_BLS_TO_EXECUTION_CHANGES",
                max_bls_to_execution_changes as u64,
            ),
            ("MAX_WITHDRAWALS_PER_PAYLOAD", max_withdrawals_per_payload as u64),
            ("MAX_BYTES_PER_TRANSACTION", max_bytes_per_transaction as u64),
            (
                "MAX_TRANSACTIONS_PER_PAYLOAD",
                max_transactions_per_payload as u64,
            ),
            ("BYTES_PER_LOGS_BLOOM", bytes_per_logs_bloom as u64),
            ("MAX_EXTRA_DATA_BYTES", max_extra_data_bytes as u64),
            (
                "MAX_BLOB_COMMITMENTS_PER_BLOCK",
                max_blob_commitments_per_block as u64,
            ),
            ("FIELD_ELEMENTS_PER_BLOB", field_elements_per_blob as u64),
            ("FIELD_ELEMENTS_PER_EXT_BLOB", field_elements_per_ext_blob as u64),
            ("FIELD_ELEMENTS_PER_CELL", field_elements_per_cell as u64),
            (
                "MAX_DEPOSIT_REQUESTS_PER_PAYLOAD",
                max_deposit_requests_per_payload as u64,
            ),
            (
                "MAX_WITHDRAWAL_REQUESTS_PER_PAYLOAD",
                max_withdrawal_requests_per_payload as u64,
            ),
            (
                "MAX_CONSOLIDATION_REQUESTS_PER_PAYLOAD",
                max_consolidation_requests_per_payload as u64,
            ),
        ]
    }

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

/// What presets say (consensus-specs `presets/mainnet`): only for nodes that leave a value out.
pub const MAINNET: [(&str, u64); 23] = values_of(&Preset {
    slots_per_epoch: 32,
    committees: 64,
    sync_committee: 512,
    sync_period: 256,
    withdrawals: 16,
});
/// The same for tests (`presets/minimal`).
pub const MINIMAL: [(&str, u64); 23] = values_of(&Preset {
    slots_per_epoch: 8,
    committees: 4,
    sync_committee: 32,
    sync_period: 8,
    withdrawals: 4,
});
/// The same for Gnosis Chain (gnosischain/specs `consensus/preset/gnosis`).
const GNOSIS: [(&str, u64); 23] = values_of(&Preset {
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

/// The preset of a known network whose epochs have so many slots: they have one of these two, which differ in this.
pub fn preset_of_epochs(slots: u64) -> &'static str {
    if slots == 16 { "gnosis" } else { "mainnet" }
}

/// What a preset says; nothing of one that is not known here.
pub fn preset(name: &str) -> &'static [(&'static str, u64)] {
    match name {
        "mainnet" => &MAINNET,
        "minimal" => &MINIMAL,
        "gnosis" => &GNOSIS,
        _ => &[],
    }
}

const fn values_of(own: &Preset) -> [(&'static str, u64); 23] {
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
