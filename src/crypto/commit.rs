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
pub fn evaluate(coefficients: &[Scalar], x: u64) -> Scalar {
    let x = Scalar::from_u64(x);
    coefficients
        .iter()
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
    if t == 0 || shares.len().checked_mul(t) != Some(commitments.len()) {
        return Err((0..shares.len()).collect());
    }
    // What s G + s' H should be.
    let expected: Vec<G1> = commitments
        .par_chunks_exact(t)
        .with_min_len(8)
        .map(|c| point::horner_vartime(c, x))
        .collect();
    if shares.len() > 1 {
        let mut s = Scalar::zero();
        let mut s_blind = Scalar::zero();
        let mut all_weights = Vec::with_capacity(16 * shares.len());
        for share in shares {
            let weight = weights.next();
            all_weights.extend_from_slice(&weight);
            let weight = Scalar::from_u128_le(&weight);
            s = &s + &(&weight * &share.s);
            s_blind = &s_blind + &(&weight * &share.s_blind);
        }
        let combined = point::multiply_vartime(&expected, &all_weights, 128);
        if point::cofactored_eq(&pedersen(&s, &s_blind), &combined) {
            return Ok(());
        }
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
