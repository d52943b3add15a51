//! Polynomials, their commitments, and the check of shares against them.
//!
//! A dealer commits to each coefficient pair (a, b) twice: first C = aG + bH (Pedersen, perfectly hiding), later
//! A = aG (Feldman). A share of recipient x is (s, s') = (a(x), b(x)), and it is good if
//! s G + s' H ~ sum over k of x^k C_k.

use std::hint::black_box;
use std::sync::OnceLock;

use blst::blst_p1_affine;
use rayon::prelude::*;

use super::hash::WeightStream;
use super::point::{self, G1};
use super::raw;
use super::scalar::Scalar;

/// Bits of one window of a comb. More make fewer additions, but a longer scan.
const WINDOW: usize = 6;
/// Multiples 1 .. 2^(WINDOW - 1) of each window's base; digits are signed.
const ENTRIES: usize = 1 << (WINDOW - 1);
/// Windows that cover 255 bits and the last carry.
const WINDOWS: usize = 256_usize.div_ceil(WINDOW);

/// Multiples of a fixed base, for constant-time multiplication: `d 2^(WINDOW i) base` for each window i and
/// digit d. An entry is selected by reading all of its window, so memory accesses tell nothing about the scalar.
struct Comb(Vec<blst_p1_affine>);

impl Comb {
    fn new(base: &G1) -> Self {
        let mut points = Vec::with_capacity(WINDOWS * ENTRIES);
        let mut base = *base;
        for _ in 0..WINDOWS {
            let mut multiple = base;
            for _ in 0..ENTRIES {
                points.push(multiple);
                multiple = multiple.add(&base);
            }
            for _ in 0..WINDOW {
                base = base.double();
            }
        }
        Self(G1::batch_to_affine(&points))
    }

    /// The comb of G, the generator.
    fn g() -> &'static Self {
        static G: OnceLock<Comb> = OnceLock::new();
        G.get_or_init(|| Self::new(&G1::generator()))
    }

    /// The comb of H.
    fn h() -> &'static Self {
        static H: OnceLock<Comb> = OnceLock::new();
        H.get_or_init(|| Self::new(&G1::pedersen_h()))
    }

    /// start + scalar base, in constant time.
    fn multiply_add(&self, start: G1, scalar: &Scalar) -> G1 {
        let scalar = scalar.to_raw();
        let mut sum = *start.as_raw();
        let mut carry = 0;
        for (i, window) in self.0.chunks_exact(ENTRIES).enumerate() {
            // The digit is in 0 ..= 2^WINDOW; if it is more than half of that, 2^WINDOW is carried over.
            let digit = bits(&scalar.b, i * WINDOW) + carry;
            carry = (ENTRIES as u64).wrapping_sub(digit) >> 63;
            let mask = black_box(0_u64.wrapping_sub(carry));
            let magnitude = digit & !mask | (1_u64 << WINDOW).wrapping_sub(digit) & mask;
            let mut entry = select(window, magnitude);
            raw::p1_affine_cneg(&mut entry, mask != 0);
            sum = raw::p1_add_affine(&sum, &entry);
        }
        G1::from_raw(sum)
    }
}

/// WINDOW bits of a little-endian number, from bit `start` on; zeros beyond its end.
fn bits(bytes: &[u8; 32], start: usize) -> u64 {
    let low = u64::from(bytes.get(start / 8).copied().unwrap_or(0));
    let high = u64::from(bytes.get(start / 8 + 1).copied().unwrap_or(0));
    ((low | high << 8) >> (start % 8)) & ((1 << WINDOW) - 1)
}

/// Entry `magnitude - 1` of a window, infinity for 0. Every entry is read, in order.
fn select(window: &[blst_p1_affine], magnitude: u64) -> blst_p1_affine {
    let mut out = blst_p1_affine::default();
    for (entry, number) in window.iter().zip(1_u64..) {
        // All ones for the entry that is wanted, else zero. The black box keeps the compiler from making a
        // branch of it.
        let mask = black_box(0_u64.wrapping_sub((number ^ magnitude).wrapping_sub(1) >> 63));
        for (to, from) in out.x.l.iter_mut().zip(&entry.x.l) {
            *to |= from & mask;
        }
        for (to, from) in out.y.l.iter_mut().zip(&entry.y.l) {
            *to |= from & mask;
        }
    }
    out
}

/// a G, the Feldman commitment to a coefficient; constant time.
pub fn feldman(a: &Scalar) -> G1 {
    Comb::g().multiply_add(G1::identity(), a)
}

/// b H; constant time.
pub fn blinding(b: &Scalar) -> G1 {
    Comb::h().multiply_add(G1::identity(), b)
}

/// a G + b H, the Pedersen commitment to a coefficient; constant time.
pub fn pedersen(a: &Scalar, b: &Scalar) -> G1 {
    Comb::h().multiply_add(feldman(a), b)
}

/// The polynomial's value at x, by Horner's rule; constant time. Coefficients in ascending order.
pub fn evaluate<'a>(
    coefficients: impl IntoIterator<Item = &'a Scalar, IntoIter: DoubleEndedIterator>,
    x: u64,
) -> Scalar {
    let x = Scalar::from_u64(x);
    coefficients
        .into_iter()
        .rev()
        .fold(Scalar::zero(), |sum, coefficient| &(&sum * &x) + coefficient)
}

/// What one recipient gets from one dealer for one validator. Wiped when dropped.
pub struct SharePair {
    /// s, the value of the polynomial that carries the key.
    pub s: Scalar,
    /// s', the value of the polynomial that blinds the commitments.
    pub s_blind: Scalar,
}

/// Checks the shares that one dealer gave to recipient `x`, one for each validator, against its Pedersen
/// commitments: V t points, validator-major (coefficient k of validator v at v t + k).
///
/// All at once by a random linear combination; if that fails, one by one. Every equation is up to torsion
/// ([`point::cofactored_eq`]), so both ways give the same verdict.
///
/// # Errors
/// The validators (from 0) whose share is bad, in ascending order. If the counts do not fit (`commitments` is
/// not `t` for each share), all of them.
pub fn check_shares(
    commitments: &[G1],
    t: usize,
    x: u64,
    shares: &[SharePair],
    weights: &mut WeightStream,
) -> Result<(), Vec<usize>> {
    if !fits(commitments, t, shares) {
        return Err((0..shares.len()).collect());
    }
    let expected = expected(commitments, t, x);
    if shares.len() > 1 && all_good(&expected, shares, weights) {
        return Ok(());
    }
    let bad: Vec<usize> = shares
        .par_iter()
        .zip(&expected)
        .enumerate()
        .filter(|(_, (share, expected))| !point::cofactored_eq(&pedersen(&share.s, &share.s_blind), expected))
        .map(|(v, _)| v)
        .collect();
    if bad.is_empty() { Ok(()) } else { Err(bad) }
}

/// Checks the shares of several dealers to recipient `x`: for each dealer the verdict of [`check_shares`] on its commitments and
/// shares. All dealers at once; if that fails, one after the other.
pub fn check_dealers(
    dealers: &[(&[G1], &[SharePair])],
    t: usize,
    x: u64,
    weights: &mut WeightStream,
) -> Vec<Result<(), Vec<usize>>> {
    let whole = dealers
        .iter()
        .all(|(commitments, shares)| fits(commitments, t, shares));
    if whole && dealers.len() > 1 {
        let expected: Vec<G1> = dealers
            .iter()
            .flat_map(|(commitments, _)| expected(commitments, t, x))
            .collect();
        if all_good(&expected, dealers.iter().flat_map(|(_, shares)| *shares), weights) {
            return vec![Ok(()); dealers.len()];
        }
    }
    dealers
        .iter()
        .map(|(commitments, shares)| check_shares(commitments, t, x, shares, weights))
        .collect()
}

/// Whether there are t commitments for each share.
fn fits(commitments: &[G1], t: usize, shares: &[SharePair]) -> bool {
    t != 0 && shares.len().checked_mul(t) == Some(commitments.len())
}

/// What s G + s' H should be, for each validator.
fn expected(commitments: &[G1], t: usize, x: u64) -> Vec<G1> {
    commitments
        .par_chunks_exact(t)
        .with_min_len(8)
        .map(|c| point::horner_vartime(c, x))
        .collect()
}

/// Whether a random linear combination of all equations holds. The shares are secret, the weights and points are not.
fn all_good<'a>(
    expected: &[G1],
    shares: impl IntoIterator<Item = &'a SharePair>,
    weights: &mut WeightStream,
) -> bool {
    let mut s = Scalar::zero();
    let mut s_blind = Scalar::zero();
    let mut all_weights = Vec::with_capacity(16 * expected.len());
    for share in shares {
        let weight = weights.next();
        all_weights.extend_from_slice(&weight);
        let weight = Scalar::from_u128_le(&weight);
        s = &s + &(&weight * &share.s);
        s_blind = &s_blind + &(&weight * &share.s_blind);
    }
    let combined = point::multiply_vartime(expected, &all_weights, 128);
    point::cofactored_eq(&pedersen(&s, &s_blind), &combined)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use subtle::ConstantTimeEq as _;

    use super::*;
    use crate::point::torsion;

    fn scalar(bytes: &[u8; 32]) -> Scalar {
        let mut wide = [0; 64];
        wide[32..].copy_from_slice(bytes);
        Scalar::from_wide_be(&wide)
    }

    fn assert_multiples(k: &Scalar) {
        let bytes = k.to_be_bytes();
        assert_eq!(feldman(k), torsion::multiply(&G1::generator(), &bytes[..]));
        assert_eq!(blinding(k), torsion::multiply(&G1::pedersen_h(), &bytes[..]));
    }

    #[test]
    fn combs_at_the_edges() {
        for n in [0, 1, 2, 31, 32, 33, 63, 64, 65, u64::MAX] {
            assert_multiples(&Scalar::from_u64(n));
            assert_multiples(&Scalar::from_u64(n).negate());
        }
        // Every window at its largest, at half and beyond, and carries that run through.
        for byte in [0x0f, 0x10, 0x11, 0x20, 0x41, 0x55, 0x69, 0x6d] {
            assert_multiples(&Scalar::from_be_bytes(&[byte; 32]).unwrap());
        }
        let mut ones = [0xff; 32];
        ones[0] = 0x3f;
        assert_multiples(&Scalar::from_be_bytes(&ones).unwrap());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn combs_multiply(a in any::<[u8; 32]>(), b in any::<[u8; 32]>()) {
            let (a, b) = (scalar(&a), scalar(&b));
            assert_multiples(&a);
            prop_assert_eq!(pedersen(&a, &b), feldman(&a).add(&blinding(&b)));
        }
    }

    #[test]
    fn evaluation() {
        // 5 + 7 x + 2 x^2 at 3.
        let polynomial = [5, 7, 2].map(Scalar::from_u64);
        assert!(bool::from(evaluate(&polynomial, 3).ct_eq(&Scalar::from_u64(44))));
        assert!(evaluate(&[], 3).is_zero());
    }

    struct Deal {
        commitments: Vec<G1>,
        shares: Vec<SharePair>,
    }

    fn deal(seed: u64, t: usize, validators: usize, x: u64) -> Deal {
        let mut stream = WeightStream::new(&crate::hash::sha256(&[&seed.to_be_bytes()]));
        let mut deal = Deal {
            commitments: Vec::new(),
            shares: Vec::new(),
        };
        for _ in 0..validators {
            let mut random = || {
                (0..t)
                    .map(|_| Scalar::from_u128_le(&stream.next()))
                    .collect::<Vec<_>>()
            };
            let (a, b) = (random(), random());
            deal.commitments
                .extend(a.iter().zip(&b).map(|(a, b)| pedersen(a, b)));
            deal.shares.push(SharePair {
                s: evaluate(&a, x),
                s_blind: evaluate(&b, x),
            });
        }
        deal
    }

    fn one_by_one(deal: &Deal, t: usize, x: u64) -> Vec<usize> {
        (0..deal.shares.len())
            .filter(|&v| {
                let mut weights = WeightStream::new(&[0; 32]);
                check_shares(
                    &deal.commitments[v * t..(v + 1) * t],
                    t,
                    x,
                    std::slice::from_ref(&deal.shares[v]),
                    &mut weights,
                )
                .is_err()
            })
            .collect()
    }

    /// Torsion in all sorts of places, cancelling or not, changes no verdict, whatever the weights.
    #[test]
    fn torsion_never_matters() {
        let (t3, t11) = (torsion::of_order(3), torsion::of_order(11));
        for seed in 0..200_u8 {
            let (t, validators, x) = (3, 4, u64::from(seed % 5) + 1);
            let mut deal = deal(seed.into(), t, validators, x);
            let at = usize::from(seed) % (t * validators);
            deal.commitments[at] = deal.commitments[at].add(&t3);
            deal.commitments[(at + t) % (t * validators)] =
                deal.commitments[(at + t) % (t * validators)].sub(&t3);
            deal.commitments[(at + 2 * t) % (t * validators)] =
                deal.commitments[(at + 2 * t) % (t * validators)].add(&t11);
            let mut weights = WeightStream::new(&[seed; 32]);
            assert_eq!(
                check_shares(&deal.commitments, t, x, &deal.shares, &mut weights),
                Ok(())
            );
            // The same, and a bad share.
            let v = usize::from(seed) % validators;
            deal.shares[v].s_blind = &deal.shares[v].s_blind + &Scalar::from_u64(1);
            assert_eq!(
                check_shares(&deal.commitments, t, x, &deal.shares, &mut weights),
                Err(vec![v])
            );
            assert_eq!(one_by_one(&deal, t, x), vec![v]);
        }
    }

    /// Commitments of low order beside zero shares: blst's own sum of multiples becomes infinity here, and the
    /// batch would pass.
    #[test]
    fn zero_shares_do_not_hide_behind_points_of_low_order() {
        let (t, x) = (2, 1);
        let mut deal = deal(1, t, 3, x);
        for share in &mut deal.shares {
            *share = SharePair {
                s: Scalar::zero(),
                s_blind: Scalar::zero(),
            };
        }
        deal.commitments[0] = torsion::of_order(3);
        deal.commitments[1] = torsion::of_order(3);
        let mut weights = WeightStream::new(&[1; 32]);
        let verdict = check_shares(&deal.commitments, t, x, &deal.shares, &mut weights);
        assert_eq!(verdict, Err(vec![1, 2]));
        assert_eq!(one_by_one(&deal, t, x), vec![1, 2]);
    }

    #[test]
    fn shares_are_for_one_recipient_and_place() {
        let mut deal = deal(5, 4, 40, 7);
        let mut weights = WeightStream::new(&[1; 32]);
        assert_eq!(
            check_shares(&deal.commitments, 4, 7, &deal.shares, &mut weights),
            Ok(())
        );
        let all: Vec<usize> = (0..40).collect();
        assert_eq!(
            check_shares(&deal.commitments, 4, 6, &deal.shares, &mut weights),
            Err(all.clone())
        );
        assert_eq!(
            check_shares(&deal.commitments[1..], 4, 7, &deal.shares, &mut weights),
            Err(all.clone())
        );
        assert_eq!(
            check_shares(&deal.commitments, 0, 7, &deal.shares, &mut weights),
            Err(all)
        );
        deal.shares.swap(3, 11);
        assert_eq!(
            check_shares(&deal.commitments, 4, 7, &deal.shares, &mut weights),
            Err(vec![3, 11])
        );
    }

    /// One dealer after the other and all at once give the same verdicts, with torsion anywhere.
    #[test]
    fn dealers_are_judged_alike_together_and_alone() {
        let (t3, t11) = (torsion::of_order(3), torsion::of_order(11));
        for seed in 0..100_u8 {
            let (t, validators, x) = (2, usize::from(seed % 3) + 1, 3);
            let mut deals: Vec<Deal> = (0..4)
                .map(|d| deal(u64::from(seed) * 10 + d, t, validators, x))
                .collect();
            // Cancelling between two dealers, and not.
            deals[0].commitments[0] = deals[0].commitments[0].add(&t3);
            deals[1].commitments[0] = deals[1].commitments[0].sub(&t3);
            deals[3].commitments[1] = deals[3].commitments[1].add(&t11);
            let check = |deals: &[Deal]| {
                let dealers: Vec<(&[G1], &[SharePair])> = deals
                    .iter()
                    .map(|deal| (deal.commitments.as_slice(), deal.shares.as_slice()))
                    .collect();
                let mut weights = WeightStream::new(&[seed; 32]);
                let together = check_dealers(&dealers, t, x, &mut weights);
                let alone: Vec<_> = deals
                    .iter()
                    .map(|deal| one_by_one(deal, t, x))
                    .map(|bad| if bad.is_empty() { Ok(()) } else { Err(bad) })
                    .collect();
                assert_eq!(together, alone);
                together
            };
            assert!(check(&deals).iter().all(Result::is_ok));
            // Two bad shares whose errors cancel in a plain sum.
            let one = Scalar::from_u64(1);
            deals[1].shares[0].s = &deals[1].shares[0].s + &one;
            deals[2].shares[0].s = &deals[2].shares[0].s - &one;
            assert_eq!(check(&deals), [Ok(()), Err(vec![0]), Err(vec![0]), Ok(())]);
            // A count that does not fit is the fault of one dealer alone.
            deals[0].commitments.pop();
            let dealers: Vec<(&[G1], &[SharePair])> = deals
                .iter()
                .map(|deal| (deal.commitments.as_slice(), deal.shares.as_slice()))
                .collect();
            let verdicts = check_dealers(&dealers, t, x, &mut WeightStream::new(&[1; 32]));
            assert_eq!(verdicts[0], Err((0..validators).collect()));
            assert_eq!(verdicts[3], Ok(()));
        }
    }
}
