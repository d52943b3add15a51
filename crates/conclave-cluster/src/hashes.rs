//! The hash trees of definition and lock: which field is hashed as which type, version by version.

use super::definition::{DefinitionFields, MAX_DEPOSIT_AMOUNTS, MAX_OPERATORS, MAX_VALIDATORS, Version};
use super::enr;
use super::lock::DistributedValidator;
use super::ssz::{self, TooLong};
use conclave_crypto::hash::Hash;
use conclave_eth::address::Address;

/// Most public shares or deposits of one validator that the format can hold.
pub(super) const MAX_PER_VALIDATOR: usize = 256;

/// The config hash: addresses, but no records and no signatures.
pub(super) fn config_hash(fields: &DefinitionFields) -> Result<Hash, TooLong> {
    let operators = fields
        .operators
        .iter()
        .map(|operator| address(operator.address.as_ref()))
        .collect::<Result<_, _>>()?;
    // Containers of one field have that field's root.
    let creator = address(fields.creator.address.as_ref())?;
    Ok(ssz::fields_root(common(fields, operators, creator)?))
}

/// The definition hash: everything, the config hash included.
pub(super) fn definition_hash(fields: &DefinitionFields, config_hash: &Hash) -> Result<Hash, TooLong> {
    let mut operators = Vec::with_capacity(fields.operators.len());
    for operator in &fields.operators {
        operators.push(ssz::container([
            address(operator.address.as_ref())?,
            ssz::byte_list(operator.enr.text().as_bytes(), enr::MAX_TEXT)?,
            wallet_signature(fields.version, &operator.config_signature)?,
            wallet_signature(fields.version, &operator.enr_signature)?,
        ]));
    }
    let creator = ssz::container([
        address(fields.creator.address.as_ref())?,
        wallet_signature(fields.version, &fields.creator.config_signature)?,
    ]);
    let mut roots = common(fields, operators, creator)?;
    roots.push(*config_hash);
    Ok(ssz::fields_root(roots))
}

/// The fields that both hashes share, given the roots of the two that differ.
fn common(fields: &DefinitionFields, operators: Vec<Hash>, creator: Hash) -> Result<Vec<Hash>, TooLong> {
    let mut validators = Vec::with_capacity(fields.validators.len());
    for validator in &fields.validators {
        let (fee_recipient, withdrawal) = (&validator.fee_recipient.0, &validator.withdrawal.0);
        validators.push(ssz::container([
            ssz::bytes::<20>(fee_recipient)?,
            ssz::bytes::<20>(withdrawal)?,
        ]));
    }
    let mut roots = vec![
        ssz::byte_list(fields.uuid.as_bytes(), 64)?,
        ssz::byte_list(fields.name.as_bytes(), 256)?,
        ssz::byte_list(fields.version.text().as_bytes(), 16)?,
        ssz::byte_list(fields.timestamp.as_bytes(), 32)?,
        ssz::uint64(fields.validators.len() as u64),
        ssz::uint64(fields.threshold),
        ssz::byte_list(fields.dkg_algorithm.as_bytes(), 32)?,
        ssz::bytes::<4>(&fields.fork_version)?,
        ssz::list(operators, MAX_OPERATORS)?,
        creator,
        ssz::list(validators, MAX_VALIDATORS)?,
        ssz::uint64_list(&fields.deposit_amounts, MAX_DEPOSIT_AMOUNTS)?,
    ];
    if fields.version >= Version::V1_9 {
        roots.push(ssz::byte_list(fields.consensus_protocol.as_bytes(), 256)?);
    }
    if fields.version >= Version::V1_10 {
        roots.push(ssz::uint64(fields.target_gas_limit));
        roots.push(ssz::boolean(fields.compounding));
    }
    Ok(roots)
}

fn address(address: Option<&Address>) -> Result<Hash, TooLong> {
    ssz::bytes::<20>(address.map_or(&[], |address| &address.0))
}

/// A wallet's signature: one of 65 bytes, or from v1.11 on a list of such.
fn wallet_signature(version: Version, signature: &[u8]) -> Result<Hash, TooLong> {
    if version >= Version::V1_11 {
        let items = signature
            .chunks(65)
            .map(ssz::bytes::<65>)
            .collect::<Result<_, _>>()?;
        ssz::list(items, 32)
    } else {
        ssz::bytes::<65>(signature)
    }
}

/// The lock hash, given the definition hash (the root of the whole definition).
pub(super) fn lock_hash(
    definition_hash: &Hash,
    validators: &[DistributedValidator],
) -> Result<Hash, TooLong> {
    let roots = validators.iter().map(validator).collect::<Result<_, _>>()?;
    Ok(ssz::container([
        *definition_hash,
        ssz::list(roots, MAX_VALIDATORS)?,
    ]))
}

fn validator(validator: &DistributedValidator) -> Result<Hash, TooLong> {
    let shares = validator
        .public_shares
        .iter()
        .map(|share| ssz::bytes::<48>(share))
        .collect::<Result<_, _>>()?;
    let mut deposits = Vec::with_capacity(validator.deposits.len());
    for deposit in &validator.deposits {
        deposits.push(ssz::container([
            ssz::bytes::<48>(&deposit.pubkey)?,
            ssz::bytes::<32>(&deposit.withdrawal_credentials)?,
            ssz::uint64(deposit.amount),
            ssz::bytes::<96>(&deposit.signature)?,
        ]));
    }
    let registration = &validator.registration;
    let message = ssz::container([
        ssz::bytes::<20>(&registration.fee_recipient)?,
        ssz::uint64(registration.gas_limit),
        ssz::uint64(registration.timestamp),
        ssz::bytes::<48>(&registration.pubkey)?,
    ]);
    Ok(ssz::container([
        ssz::bytes::<48>(&validator.public_key)?,
        ssz::list(shares, MAX_PER_VALIDATOR)?,
        ssz::list(deposits, MAX_PER_VALIDATOR)?,
        ssz::container([message, ssz::bytes::<96>(&registration.signature)?]),
    ]))
}
