//! From t shares to the whole, by Lagrange interpolation at 0, and the public shares.
//!
//! The weights are rational numbers of the operators' small indices. Times their common denominator D they are
//! small integers, so the sum needs few doublings, and one multiplication by 1/D follows if D is not 1.

use blst::{blst_p2, blst_p2_affine};
use rayon::prelude::*;
use thiserror::Error;

use super::bls::{PublicKey, Signature};
use super::hash::{Hash, WeightStream};
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

/// Why public shares are not those of a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SharesError {
    /// There are not as many as there are operators.
    #[error("there is another number of them than of operators")]
    Count,
    /// No polynomial of degree t - 1 or less gives all of them, and the group's key at 0.
    #[error("they do not make the key")]
    OffPolynomial,
    /// One of a smaller degree does.
    #[error("fewer than the threshold make the key")]
    Fewer,
}

/// Whether each validator's group key and n public shares are the values at 0, 1, .., n of a polynomial of degree t - 1, and not of a
/// smaller one: then any t shares make the key, and fewer do not. 1 <= t <= n. The answers are in the order of the validators; each takes
/// about n + t multiplications of a point by a number, twice that if any is wrong.
///
/// The values of polynomials of degree below t at these places are what is orthogonal to w_x = f(x) / prod (x - y) for all f of degree
/// n - t. One random f, and one random weight for each validator, is enough for all of them: n + 1 sums over the validators. Where that
/// does not come out each validator is held against w by itself. `seed`: 32 bytes that whoever made the keys could not know.
pub fn check_public_shares(
    rows: &[(PublicKey, &[PublicKey])],
    n: usize,
    t: usize,
    seed: &Hash,
) -> Vec<Result<(), SharesError>> {
    let mut stream = WeightStream::new(seed);
    let dual = little_endian(&dual_word(n, t, &mut stream));
    let whole: Vec<(usize, Vec<G1>)> = rows
        .iter()
        .enumerate()
        .filter(|(_, (_, shares))| shares.len() == n)
        .map(|(v, (group, shares))| {
            let keys = std::iter::once(group).chain(*shares);
            (v, keys.map(PublicKey::to_g1).collect())
        })
        .collect();
    let weights: Vec<u8> = whole.iter().flat_map(|_| stream.next()).collect();
    let sums: Vec<G1> = (0..=n)
        .map(|x| {
            let column: Vec<G1> = whole.iter().filter_map(|(_, row)| row.get(x).copied()).collect();
            point::multiply_vartime(&column, &weights, 128)
        })
        .collect();
    let all_fit = point::multiply_vartime(&sums, &dual, 256).is_identity();
    let highest = Highest::new(t);
    let of_row = |row: &[G1]| {
        if !all_fit && !point::multiply_vartime(row, &dual, 256).is_identity() {
            Err(SharesError::OffPolynomial)
        } else if highest.is_zero(row) {
            Err(SharesError::Fewer)
        } else {
            Ok(())
        }
    };
    let checked: Vec<(usize, Result<(), SharesError>)> =
        whole.par_iter().map(|(v, row)| (*v, of_row(row))).collect();
    let mut verdicts = vec![Err(SharesError::Count); rows.len()];
    for (v, verdict) in checked {
        if let Some(place) = verdicts.get_mut(v) {
            *place = verdict;
        }
    }
    verdicts
}

/// f(x) / prod over y != x of (x - y), for x and y from 0 to n and a random f of degree n - t.
fn dual_word(n: usize, t: usize, stream: &mut WeightStream) -> Vec<Scalar> {
    let f: Vec<Scalar> = (t..=n).map(|_| Scalar::from_u128_le(&stream.next())).collect();
    let factorials = factorials(n);
    (0_u64..)
        .zip(factorials.iter().zip(factorials.iter().rev()))
        .map(|(x, (below, above))| {
            let x_scalar = Scalar::from_u64(x);
            let value = f
                .iter()
                .rev()
                .fold(Scalar::zero(), |sum, c| &(&sum * &x_scalar) + c);
            let weight = &value * &(below * above).invert();
            // n - x factors are negative.
            let is_negative = (n as u64).wrapping_sub(x) % 2 == 1;
            if is_negative { weight.negate() } else { weight }
        })
        .collect()
}

/// 0!, 1!, .., n!
fn factorials(n: usize) -> Vec<Scalar> {
    let mut all = vec![Scalar::from_u64(1)];
    for i in (1_u64..).take(n) {
        let next = all.last().map(|last| last * &Scalar::from_u64(i));
        all.extend(next);
    }
    all
}

/// Whether the coefficient of x^(t - 1) is 0, from the values at 0, .., t - 1: times (t - 1)! it is their sum with the signed binomial
/// coefficients.
enum Highest {
    /// They fit in 16 bytes: little-endian, and whether they are negative.
    Short(Vec<([u8; 16], bool)>),
    /// Modulo r.
    Field(Vec<u8>),
}

impl Highest {
    fn new(t: usize) -> Self {
        let degree = t.saturating_sub(1);
        let is_negative = |x: usize| (degree - x) % 2 == 1;
        let mut row = vec![1_u128];
        for x in 1..=degree {
            let next = row
                .last()
                .and_then(|last| last.checked_mul((degree + 1 - x) as u128));
            row.extend(next.map(|product| product / x as u128));
        }
        if row.len() == t.max(1) {
            let short = row.iter().enumerate();
            return Self::Short(short.map(|(x, c)| (c.to_le_bytes(), is_negative(x))).collect());
        }
        let factorials = factorials(degree);
        let weights: Vec<Scalar> = factorials
            .iter()
            .zip(factorials.iter().rev())
            .enumerate()
            .map(|(x, (below, above))| {
                let weight = (below * above).invert();
                if is_negative(x) { weight.negate() } else { weight }
            })
            .collect();
        Self::Field(little_endian(&weights))
    }

    fn is_zero(&self, row: &[G1]) -> bool {
        match self {
            Self::Short(numbers) => {
                let signed: Vec<G1> = row
                    .iter()
                    .zip(numbers)
                    .map(|(point, (_, negative))| if *negative { point.neg() } else { *point })
                    .collect();
                let longest = numbers
                    .iter()
                    .map(|(bytes, _)| 16 - bytes.iter().rev().take_while(|b| **b == 0).count());
                let size = longest.max().unwrap_or(16);
                point::straus(&signed, numbers.iter().map(|(bytes, _)| &bytes[..size])).is_identity()
            }
            Self::Field(weights) => point::multiply_vartime(row, weights, 256).is_identity(),
        }
    }
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
    use crate::bls::SecretKey;
    use crate::commit::{evaluate, feldman};
    use crate::hash::WeightStream;
    use crate::point::work;

    fn polynomial(seed: u8, t: usize) -> Vec<Scalar> {
        let mut stream = WeightStream::new(&[seed; 32]);
        (0..t)
            .map(|_| &Scalar::from_u128_le(&stream.next()) * &Scalar::from_u128_le(&stream.next()))
            .collect()
    }

    /// Group key and public shares of a polynomial.
    fn keys_of(seed: u8, t: usize, n: u64) -> (PublicKey, Vec<PublicKey>) {
        let sums: Vec<G1> = polynomial(seed, t).iter().map(feldman).collect();
        let points: Vec<G1> = sums
            .iter()
            .take(1)
            .copied()
            .chain(public_shares(&sums, n))
            .collect();
        let keys = PublicKey::batch_from_subgroup(&points).unwrap();
        (keys[0], keys[1..].to_vec())
    }

    fn check_rows(rows: &[(PublicKey, Vec<PublicKey>)], n: usize, t: usize) -> Vec<Result<(), SharesError>> {
        let rows: Vec<(PublicKey, &[PublicKey])> =
            rows.iter().map(|(group, shares)| (*group, &shares[..])).collect();
        check_public_shares(&rows, n, t, &[8; 32])
    }

    #[test]
    fn which_validators_shares_are_wrong_is_said_exactly() {
        for (n, t) in [(2, 2), (4, 3), (5, 1), (7, 7), (40, 20)] {
            let mut rows: Vec<_> = (0..9).map(|seed| keys_of(seed, t, n as u64)).collect();
            assert!(check_rows(&rows, n, t).iter().all(Result::is_ok), "{n} {t}");
            let other = rows[8].0;
            rows[1].0 = other;
            rows[3].1[n - 1] = other;
            rows[4].1[0] = other;
            rows[5] = keys_of(5, t + 1, n as u64);
            rows[6].1.pop();
            let mut expected = vec![Ok(()); 9];
            for i in [1, 3, 4] {
                expected[i] = Err(SharesError::OffPolynomial);
            }
            // With t = n any group key and shares are values of one polynomial of degree n or less, but one degree too much.
            expected[5] = Err(SharesError::OffPolynomial);
            expected[6] = Err(SharesError::Count);
            if t > 1 {
                rows[7] = keys_of(7, t - 1, n as u64);
                expected[7] = Err(SharesError::Fewer);
            }
            assert_eq!(check_rows(&rows, n, t), expected, "{n} {t}");
        }
    }

    /// As exact as the interpolation of subsets, also where it is the smaller threshold that is claimed.
    #[test]
    fn shares_are_judged_as_by_interpolation() {
        for (n, real, claimed) in [(5_u64, 3, 3), (5, 2, 3), (5, 4, 3), (4, 1, 2), (6, 6, 6)] {
            let (group, shares) = keys_of(3, real, n);
            let indexed: Vec<(u64, PublicKey)> = (1..).zip(shares.iter().copied()).collect();
            let by_hand = indexed[claimed - 1..].iter().all(|last| {
                let subset: Vec<_> = indexed[..claimed - 1].iter().chain([last]).copied().collect();
                recover_public_key(&subset) == Ok(group)
            }) && recover_public_key(&indexed[..claimed - 1]) != Ok(group);
            let rows = [(group, shares)];
            let verdict = check_rows(&rows, usize::try_from(n).unwrap(), claimed)[0];
            assert_eq!(verdict.is_ok(), by_hand, "{n} {real} {claimed}");
        }
    }

    /// The largest number of operators that a lock of other software may have, and a threshold whose binomial coefficients are large.
    #[test]
    fn the_work_for_public_shares_grows_with_their_number_only() {
        for (n, t) in [(256_usize, 200), (64, 43)] {
            let row = keys_of(1, t, n as u64);
            for validators in [1, 20] {
                let mut rows = vec![row.clone(); validators];
                for wrong in [false, true] {
                    if wrong {
                        rows[0].1[3] = row.0;
                    }
                    let (verdicts, multiplications) = work::of(|| check_rows(&rows, n, t));
                    assert_eq!(verdicts[0].is_err(), wrong);
                    assert!(verdicts[1..].iter().all(Result::is_ok));
                    // Once, and once more each if it is known that some are wrong; then t of each.
                    let most = (validators + 1) * (2 * (n + 1) + t);
                    let least = (validators + 1) * (n + 1);
                    assert!(
                        (least..=most).contains(&multiplications),
                        "{multiplications} of {least} to {most}"
                    );
                }
            }
        }
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
