//! From t shares to the whole, by Lagrange interpolation at 0, and the public shares.
//!
//! The weights are rational numbers of the operators' small indices. Times their common denominator D they are
//! small integers, so the sum needs few doublings, and one multiplication by 1/D follows if D is not 1.

use blst::{blst_p2, blst_p2_affine};
use thiserror::Error;

use super::bls::{PublicKey, Signature};
use super::point::{self, G1};
use super::raw;
use super::scalar::Scalar;

/// Why shares do not give the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ThresholdError {
    /// There are none.
    #[error("no shares were given")]
    Empty,
    /// Index 0 is that of the secret itself.
    #[error("a share has index 0")]
    ZeroIndex,
    /// Two shares have one index.
    #[error("two shares have index {0}")]
    DuplicateIndex(u64),
    /// The result is infinity, which is no key and no signature.
    #[error("the shares add up to infinity")]
    Infinity,
}

/// Combines the partial signatures of exactly t operators, given with their indices. The result is a
/// signature only if all of them are right: verify them, or it.
///
/// # Errors
/// No shares, an index of 0, equal indices, a sum of infinity.
pub fn recover_signature(partials: &[(u64, Signature)]) -> Result<Signature, ThresholdError> {
    let indices: Vec<u64> = partials.iter().map(|(index, _)| *index).collect();
    let points: Vec<blst_p2_affine> = partials.iter().map(|(_, partial)| *partial.as_raw()).collect();
    let sum = match Weights::new(&indices)? {
        Weights::Integer {
            numerators,
            denominator,
        } => {
            let sum = short_sum(&points, &numerators);
            if denominator == 1 {
                sum
            } else {
                let inverse = from_u128(denominator).invert().to_raw();
                raw::p2_multiply(&sum, &inverse.b, 255)
            }
        }
        Weights::Field(weights) => raw::p2s_multiply(&points, &little_endian(&weights), 256),
    };
    Signature::from_raw(&sum).ok_or(ThresholdError::Infinity)
}

/// Combines the public shares of exactly t operators to the group's key.
///
/// # Errors
/// No shares, an index of 0, equal indices, a sum of infinity.
pub fn recover_public_key(shares: &[(u64, PublicKey)]) -> Result<PublicKey, ThresholdError> {
    let indices: Vec<u64> = shares.iter().map(|(index, _)| *index).collect();
    let points: Vec<G1> = shares.iter().map(|(_, key)| key.to_g1()).collect();
    let sum = match Weights::new(&indices)? {
        Weights::Integer {
            numerators,
            denominator,
        } => {
            let signed: Vec<G1> = points
                .iter()
                .zip(&numerators)
                .map(|(point, number)| if *number < 0 { point.neg() } else { *point })
                .collect();
            let scalars: Vec<[u8; 16]> = numerators
                .iter()
                .map(|n| n.unsigned_abs().to_le_bytes())
                .collect();
            let size = bits(&numerators).div_ceil(8);
            let sum = point::straus(&signed, scalars.iter().map(|bytes| &bytes[..size]));
            if denominator == 1 {
                sum
            } else {
                let inverse = from_u128(denominator).invert().to_raw();
                point::multiply_vartime(&[sum], &inverse.b, 256)
            }
        }
        Weights::Field(weights) => point::multiply_vartime(&points, &little_endian(&weights), 256),
    };
    // Keys are in G1, and so is every sum of their multiples: no further subgroup check.
    PublicKey::batch_from_subgroup(&[sum])
        .and_then(|keys| keys.first().copied())
        .ok_or(ThresholdError::Infinity)
}

/// Combines exactly t shares to the secret. Constant time in the shares.
///
/// # Errors
/// No shares, an index of 0, equal indices.
pub fn recover_secret(shares: &[(u64, Scalar)]) -> Result<Scalar, ThresholdError> {
    let indices: Vec<u64> = shares.iter().map(|(index, _)| *index).collect();
    check_indices(&indices)?;
    let weights = field_weights(&indices);
    Ok(shares
        .iter()
        .zip(&weights)
        .fold(Scalar::zero(), |sum, ((_, share), weight)| {
            &sum + &(share * weight)
        }))
}

/// The public shares of operators 1 ..= n, from the commitments to the summed polynomial (t points).
pub fn public_shares(sums: &[G1], n: u64) -> Vec<G1> {
    (1..=n).map(|x| point::horner_vartime(sums, x)).collect()
}

/// Lagrange weights at 0.
enum Weights {
    /// Each is a numerator over the common denominator, which is not 0.
    Integer {
        numerators: Vec<i128>,
        denominator: u128,
    },
    /// Modulo r, for indices whose integers would not fit.
    Field(Vec<Scalar>),
}

impl Weights {
    fn new(indices: &[u64]) -> Result<Self, ThresholdError> {
        check_indices(indices)?;
        Ok(integer_weights(indices).unwrap_or_else(|| Self::Field(field_weights(indices))))
    }
}

fn check_indices(indices: &[u64]) -> Result<(), ThresholdError> {
    if indices.is_empty() {
        return Err(ThresholdError::Empty);
    }
    let mut sorted = indices.to_vec();
    sorted.sort_unstable();
    if sorted[0] == 0 {
        return Err(ThresholdError::ZeroIndex);
    }
    match sorted.iter().zip(&sorted[1..]).find(|(a, b)| a == b) {
        Some((a, _)) => Err(ThresholdError::DuplicateIndex(*a)),
        None => Ok(()),
    }
}

/// The weights as integers over a common denominator; `None` if they do not fit 127 bits.
fn integer_weights(indices: &[u64]) -> Option<Weights> {
    let mut fractions = Vec::with_capacity(indices.len());
    let mut denominator = 1_i128;
    for &i in indices {
        let (mut above, mut below) = (1_i128, 1_i128);
        for &j in indices {
            if i != j {
                above = above.checked_mul(j.into())?;
                below = below.checked_mul(i128::from(j) - i128::from(i))?;
                let common = gcd(above.unsigned_abs(), below.unsigned_abs());
                above /= common;
                below /= common;
            }
        }
        denominator = (denominator / gcd(denominator.unsigned_abs(), below.unsigned_abs()))
            .checked_mul(below.checked_abs()?)?;
        fractions.push((above, below));
    }
    let numerators = fractions
        .into_iter()
        .map(|(above, below)| above.checked_mul(denominator / below))
        .collect::<Option<Vec<i128>>>()?;
    Some(Weights::Integer {
        numerators,
        denominator: denominator.unsigned_abs(),
    })
}

/// The greatest common divisor, of which at least one argument is not 0.
fn gcd(mut a: u128, mut b: u128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    // A divisor of numbers that were i128; 1 keeps a division by it harmless all the same.
    i128::try_from(a).unwrap_or(1).max(1)
}

fn field_weights(indices: &[u64]) -> Vec<Scalar> {
    indices
        .iter()
        .map(|&i| {
            let x = Scalar::from_u64(i);
            let (mut above, mut below) = (Scalar::from_u64(1), Scalar::from_u64(1));
            for &j in indices.iter().filter(|&&j| j != i) {
                let y = Scalar::from_u64(j);
                above = &above * &y;
                below = &below * &(&y - &x);
            }
            &above * &below.invert()
        })
        .collect()
}

fn from_u128(number: u128) -> Scalar {
    Scalar::from_u128_le(&number.to_le_bytes())
}

/// Scalars as 32 bytes each, for sums of public points.
fn little_endian(scalars: &[Scalar]) -> Vec<u8> {
    scalars.iter().flat_map(|scalar| scalar.to_raw().b).collect()
}

/// The length of the largest number in bits.
fn bits(numbers: &[i128]) -> usize {
    numbers
        .iter()
        .map(|n| 128 - n.unsigned_abs().leading_zeros() as usize)
        .max()
        .unwrap_or(0)
}

/// Sum of multiples of points of G2 by small numbers.
fn short_sum(points: &[blst_p2_affine], numbers: &[i128]) -> blst_p2 {
    // Beyond that, blst's tables pay.
    const SHORT: usize = 32;
    let signed: Vec<blst_p2_affine> = points
        .iter()
        .zip(numbers)
        .map(|(point, number)| {
            if *number < 0 {
                raw::p2_affine_neg(point)
            } else {
                *point
            }
        })
        .collect();
    let length = bits(numbers);
    if length > SHORT {
        let scalars: Vec<u8> = numbers
            .iter()
            .flat_map(|n| n.unsigned_abs().to_le_bytes())
            .collect();
        return raw::p2s_multiply(&signed, &scalars, 128);
    }
    // Non-adjacent form: the digits of n are the bits of 3n without those of n, minus the reverse.
    let negative: Vec<blst_p2_affine> = signed.iter().map(raw::p2_affine_neg).collect();
    let mut sum = blst_p2::default();
    for bit in (1..length + 2).rev() {
        sum = raw::p2_double(&sum);
        for ((point, negative), number) in signed.iter().zip(&negative).zip(numbers) {
            let (one, three) = (number.unsigned_abs(), number.unsigned_abs() * 3);
            match (three >> bit & 1, one >> bit & 1) {
                (1, 0) => sum = raw::p2_add_affine(&sum, point),
                (0, 1) => sum = raw::p2_add_affine(&sum, negative),
                _ => {}
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use subtle::ConstantTimeEq as _;

    use super::*;
    use crate::crypto::bls::SecretKey;
    use crate::crypto::commit::{evaluate, feldman};
    use crate::crypto::hash::WeightStream;

    fn polynomial(seed: u8, t: usize) -> Vec<Scalar> {
        let mut stream = WeightStream::new(&[seed; 32]);
        (0..t)
            .map(|_| &Scalar::from_u128_le(&stream.next()) * &Scalar::from_u128_le(&stream.next()))
            .collect()
    }

    fn subsets(n: u64, t: usize) -> Vec<Vec<u64>> {
        (0_u64..1 << n)
            .filter(|mask| mask.count_ones() as usize == t)
            .map(|mask| (0..n).filter(|i| mask >> i & 1 == 1).map(|i| i + 1).collect())
            .collect()
    }

    /// The integers against the textbook, for all subsets of all sizes up to n = 10 and a sample up to 13.
    #[test]
    fn integers_are_the_textbook_weights() {
        for n in 1..=13_u64 {
            for t in 1..=usize::try_from(n).unwrap() {
                let step = if n > 10 { 37 } else { 1 };
                for indices in subsets(n, t).into_iter().step_by(step) {
                    let Some(Weights::Integer {
                        numerators,
                        denominator,
                    }) = integer_weights(&indices)
                    else {
                        panic!("the weights of {indices:?} fit")
                    };
                    for (number, weight) in numerators.iter().zip(field_weights(&indices)) {
                        let magnitude = from_u128(number.unsigned_abs());
                        let number = if *number < 0 {
                            magnitude.negate()
                        } else {
                            magnitude
                        };
                        assert!(bool::from(number.ct_eq(&(&weight * &from_u128(denominator)))));
                    }
                }
            }
        }
    }

    fn check(coefficients: &[Scalar], indices: &[u64]) {
        let message = b"a duty";
        let group = SecretKey::from_scalar(&coefficients[0]).unwrap();
        let shares: Vec<(u64, Scalar)> = indices.iter().map(|&i| (i, evaluate(coefficients, i))).collect();
        let keys: Vec<_> = shares
            .iter()
            .map(|(i, share)| (*i, SecretKey::from_scalar(share).unwrap()))
            .collect();
        let partials: Vec<_> = keys.iter().map(|(i, key)| (*i, key.sign(message))).collect();
        let public: Vec<_> = keys.iter().map(|(i, key)| (*i, key.public_key())).collect();
        assert!(bool::from(
            recover_secret(&shares).unwrap().ct_eq(&coefficients[0])
        ));
        assert_eq!(recover_signature(&partials).unwrap(), group.sign(message));
        assert_eq!(recover_public_key(&public).unwrap(), group.public_key());
        // One share fewer gives something else.
        if indices.len() > 1 {
            assert_ne!(recover_signature(&partials[1..]).unwrap(), group.sign(message));
            assert_ne!(recover_public_key(&public[1..]).unwrap(), group.public_key());
            assert!(!bool::from(
                recover_secret(&shares[1..]).unwrap().ct_eq(&coefficients[0])
            ));
        }
    }

    #[test]
    fn any_t_shares_give_the_whole() {
        for n in 2..=5 {
            for t in 2..=usize::try_from(n).unwrap() {
                let coefficients = polynomial(1, t);
                for mut indices in subsets(n, t) {
                    check(&coefficients, &indices);
                    indices.reverse();
                    check(&coefficients, &indices);
                }
            }
        }
    }

    #[test]
    fn many_and_large_indices() {
        // Integers of more than 32 bits, and indices whose products overflow.
        let coefficients = polynomial(2, 20);
        check(&coefficients, &(1..=40).step_by(2).collect::<Vec<u64>>());
        let coefficients = polynomial(3, 64);
        check(&coefficients, &(1..=64).collect::<Vec<u64>>());
        let coefficients = polynomial(4, 3);
        check(&coefficients, &[u64::MAX, 1, u64::MAX - 2]);
        assert!(integer_weights(&[u64::MAX, u64::MAX - 1, u64::MAX - 2, 3, 5]).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn samples_of_larger_groups(seed in any::<u8>(), indices in prop::collection::hash_set(1_u64..=64, 1..14)) {
            let indices: Vec<u64> = indices.into_iter().collect();
            check(&polynomial(seed, indices.len()), &indices);
        }
    }

    #[test]
    fn bad_indices() {
        let signature = SecretKey::from_bytes(&[1; 32]).unwrap().sign(b"");
        let with = |indices: &[u64]| {
            recover_signature(
                &indices
                    .iter()
                    .map(|i| (*i, signature.clone()))
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(with(&[]), Err(ThresholdError::Empty));
        assert_eq!(with(&[1, 0]), Err(ThresholdError::ZeroIndex));
        assert_eq!(with(&[3, 1, 3]), Err(ThresholdError::DuplicateIndex(3)));
        assert!(recover_secret(&[(0, Scalar::zero())]).is_err());
        assert!(recover_public_key(&[]).is_err());
    }

    #[test]
    fn public_shares_belong_to_the_shares() {
        let coefficients = polynomial(6, 5);
        let sums: Vec<G1> = coefficients.iter().map(feldman).collect();
        let shares = public_shares(&sums, 7);
        assert_eq!(shares.len(), 7);
        for (x, share) in (1..).zip(&shares) {
            assert_eq!(*share, feldman(&evaluate(&coefficients, x)));
        }
        assert!(public_shares(&sums, 0).is_empty());
    }
}
