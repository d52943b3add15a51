//! Conclave beside `commonware-cryptography` and plain blst.
//!
//! | Module | What it is |
//! |---|---|
//! | [`ours`] | one operator's work in a ceremony, from wire bytes to its share and all public keys |
//! | [`peer`] | the same for commonware's DKG, and its threshold signatures |
//! | [`plain`] | what blst's own interface offers, without anything around it |
//! | [`clock`] | the CPU time of a thread |
//!
//! Cargo unifies features: commonware builds blst without threads, and so it is here for everybody.

use conclave_crypto::scalar::Scalar;

pub mod clock;
pub mod ours;
pub mod peer;
pub mod plain;

/// Sizes that are measured: operators n and threshold t = ceil(2n / 3).
pub const SIZES: [(usize, usize); 4] = [(4, 3), (7, 5), (10, 7), (13, 9)];

/// All subsets of t of the indices 1..=n.
pub fn subsets(n: usize, t: usize) -> Vec<Vec<usize>> {
    fn extend(n: usize, t: usize, from: usize, chosen: &mut Vec<usize>, out: &mut Vec<Vec<usize>>) {
        if chosen.len() == t {
            out.push(chosen.clone());
            return;
        }
        for i in from..=n {
            chosen.push(i);
            extend(n, t, i + 1, chosen, out);
            chosen.pop();
        }
    }
    let mut out = Vec::new();
    extend(n, t, 1, &mut Vec::new(), &mut out);
    out
}

/// Lagrange weights at 0, 32 little-endian bytes each.
pub fn lagrange(indices: &[usize]) -> Vec<u8> {
    let number = |i: usize| Scalar::from_u64(i as u64);
    indices
        .iter()
        .flat_map(|&i| {
            let mut weight = Scalar::from_u64(1);
            for &j in indices.iter().filter(|&&j| j != i) {
                weight = &weight * &(&number(j) * &(&number(j) - &number(i)).invert());
            }
            let mut bytes = *weight.to_be_bytes();
            bytes.reverse();
            bytes
        })
        .collect()
}
