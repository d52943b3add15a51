//! What a good set of Reveals makes: the group keys and everybody's public shares.

use rayon::prelude::*;

use conclave_crypto::bls::PublicKey;
use conclave_crypto::hash::{Hash, sha256};
use conclave_crypto::point::G1;
use conclave_crypto::threshold::public_shares;

use super::terms::Terms;

/// The keys of one validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorKeys {
    /// The group's public key.
    pub group: PublicKey,
    /// Public shares in operator order; share index = position + 1.
    pub shares: Vec<PublicKey>,
}

/// The keys of all validators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupKeys {
    validators: Vec<ValidatorKeys>,
    hash: Hash,
}

impl GroupKeys {
    /// Collects the keys of all validators in order.
    pub fn new(validators: Vec<ValidatorKeys>) -> Self {
        let bytes: Vec<[u8; 48]> = validators
            .iter()
            .flat_map(|v| std::iter::once(&v.group).chain(&v.shares))
            .map(PublicKey::to_bytes)
            .collect();
        let parts: Vec<&[u8]> = bytes.iter().map(<[u8; 48]>::as_slice).collect();
        let hash = sha256(&parts);
        Self { validators, hash }
    }

    /// Keys by validator.
    pub fn validators(&self) -> &[ValidatorKeys] {
        &self.validators
    }

    /// `outputs`: H over, for each validator, the group key and the n public shares, compressed. What a vote names.
    pub fn hash(&self) -> &Hash {
        &self.hash
    }
}

/// Why a set of n valid Reveals is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotGood {
    /// A sum is outside G1: dealers whose own point is outside are guilty.
    Torsion,
    /// Identity or equal keys: nobody is blamed.
    Void,
}

/// The sums S_{v,k} of n Feldman commitment vectors (validator-major).
fn sums(terms: &Terms, reveals: &[&[G1]]) -> Vec<G1> {
    (0..terms.points())
        .into_par_iter()
        .with_min_len(64)
        .map(|i| G1::sum(reveals.iter().filter_map(|points| points.get(i))))
        .collect()
}

/// The keys that n valid Reveals (in operator order) make.
///
/// # Errors
/// Which rule of "Good set" fails.
pub fn combine(terms: &Terms, reveals: &[&[G1]]) -> Result<GroupKeys, NotGood> {
    let sums = sums(terms, reveals);
    if !sums.par_iter().with_min_len(8).all(G1::in_subgroup) {
        return Err(NotGood::Torsion);
    }
    let n = terms.n();
    let t = terms.t();
    if sums
        .chunks(t)
        .any(|s| s.first().is_none_or(G1::is_identity) || s.last().is_none_or(G1::is_identity))
    {
        return Err(NotGood::Void);
    }
    let points: Vec<G1> = sums
        .par_chunks(t)
        .with_min_len(8)
        .flat_map_iter(|s| {
            let shares = public_shares(s, n as u64);
            s.first().copied().into_iter().chain(shares)
        })
        .collect();
    // All sums are in G1, and so is every sum of their multiples: no second subgroup check.
    let keys = PublicKey::batch_from_subgroup(&points).ok_or(NotGood::Void)?;
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(NotGood::Void);
    }
    let validators = keys
        .chunks(n + 1)
        .filter_map(|chunk| chunk.split_first())
        .map(|(group, shares)| ValidatorKeys {
            group: *group,
            shares: shares.to_vec(),
        })
        .collect();
    Ok(GroupKeys::new(validators))
}
