//! Limits of lists, as a node says them.

use conclave_eth::chain::sizes::Sizes;

use super::{
    SpecError,
    values::{Values, in_range},
};

/// A size by its name: what the node says, else what its preset says.
pub(super) fn size(values: &Values, preset: &[(&str, u64)], key: &str, max: u64) -> Result<u64, SpecError> {
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

pub(super) fn sizes(values: &Values, preset: &[(&str, u64)]) -> Result<Sizes, SpecError> {
    // Limits only bound what is read: memory is taken for what is there, never for a limit.
    let sizes = Sizes::by_name(|key| size(values, preset, key, 1 << 30))?;
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
