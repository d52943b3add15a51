//! Points of BLS12-381's first curve, in the group G1 of prime order or not.
//!
//! Points of the journal are checked to be on the curve only; protocol equations between them use
//! [`cofactored_eq`]. That is much cheaper than a subgroup check of each, and as sound.

use std::fmt;
use std::sync::OnceLock;

use blst::{blst_p1, blst_p1_affine};
use rayon::prelude::*;

use super::{domains, raw};

/// The effective cofactor of G1 (RFC 9380, section 8.8.1): it kills all torsion, and multiplying by it is a
/// bijection on G1.
const H_EFF: u64 = 0xd201_0000_0001_0001;

/// A point of the curve y^2 = x^3 + 4, not necessarily in the subgroup, possibly infinity (the identity).
/// Points are public.
#[derive(Clone, Copy)]
pub struct G1(blst_p1);

impl G1 {
    /// Decodes 96 bytes, x and y. Canonical, on the curve, not infinity; the subgroup is not checked.
    pub fn from_uncompressed(bytes: &[u8; 96]) -> Option<Self> {
        raw::p1_deserialize(bytes).map(|point| Self::from_affine(&point))
    }

    /// Decodes 48 bytes, x and a sign. Canonical, on the curve, not infinity; the subgroup is not checked.
    pub fn from_compressed(bytes: &[u8; 48]) -> Option<Self> {
        raw::p1_uncompress(bytes).map(|point| Self::from_affine(&point))
    }

    /// Encodes as 96 bytes.
    pub fn to_uncompressed(&self) -> [u8; 96] {
        raw::p1_affine_serialize(&raw::p1_to_affine(&self.0))
    }

    /// Encodes as 48 bytes.
    pub fn to_compressed(&self) -> [u8; 48] {
        raw::p1_affine_compress(&raw::p1_to_affine(&self.0))
    }

    /// Encodes many points, 96 bytes each, with one inversion for all.
    pub fn batch_to_uncompressed(points: &[Self]) -> Vec<[u8; 96]> {
        Self::batch_to_affine(points)
            .iter()
            .map(raw::p1_affine_serialize)
            .collect()
    }

    /// The identity, infinity.
    pub fn identity() -> Self {
        Self(blst_p1::default())
    }

    /// G, the generator of G1.
    pub fn generator() -> Self {
        Self(raw::p1_generator())
    }

    /// H, the second base of Pedersen commitments: a hash to the curve, so that nobody knows log_G(H).
    pub fn pedersen_h() -> Self {
        static H: OnceLock<G1> = OnceLock::new();
        *H.get_or_init(|| Self(raw::p1_hash(b"", domains::PEDERSEN_H.as_bytes())))
    }

    /// Whether it is infinity.
    pub fn is_identity(&self) -> bool {
        raw::p1_is_infinity(&self.0)
    }

    /// Whether it is in G1, the subgroup of prime order (infinity is).
    pub fn in_subgroup(&self) -> bool {
        raw::p1_in_g1(&self.0)
    }

    /// self + other.
    #[must_use]
    pub fn add(&self, other: &Self) -> Self {
        Self(raw::p1_add(&self.0, &other.0))
    }

    /// self - other.
    #[must_use]
    pub fn sub(&self, other: &Self) -> Self {
        self.add(&other.neg())
    }

    /// -self.
    #[must_use]
    pub fn neg(&self) -> Self {
        Self(raw::p1_neg(&self.0))
    }

    /// 2 self.
    #[must_use]
    pub fn double(&self) -> Self {
        Self(raw::p1_double(&self.0))
    }

    /// The sum of points.
    pub fn sum<'a>(points: impl IntoIterator<Item = &'a Self>) -> Self {
        points
            .into_iter()
            .fold(Self::identity(), |sum, point| sum.add(point))
    }

    /// A small multiple, by doubling and adding. Right for every point, whatever its order.
    #[must_use]
    pub fn mul_u64_vartime(&self, n: u64) -> Self {
        let mut out = Self::identity();
        for bit in (0..u64::BITS - n.leading_zeros()).rev() {
            out = out.double();
            if n >> bit & 1 == 1 {
                out = out.add(self);
            }
        }
        out
    }

    pub(super) fn from_affine(point: &blst_p1_affine) -> Self {
        Self(raw::p1_from_affine(point))
    }

    pub(super) fn from_raw(point: blst_p1) -> Self {
        Self(point)
    }

    pub(super) fn as_raw(&self) -> &blst_p1 {
        &self.0
    }

    pub(super) fn batch_to_affine(points: &[Self]) -> Vec<blst_p1_affine> {
        let points: Vec<blst_p1> = points.iter().map(|point| point.0).collect();
        raw::p1s_to_affine(&points)
    }
}

impl PartialEq for G1 {
    fn eq(&self, other: &Self) -> bool {
        raw::p1_equal(&self.0, &other.0)
    }
}

impl Eq for G1 {}

impl fmt::Debug for G1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "G1({})", hex::encode(self.to_compressed()))
    }
}

/// P ~ Q: whether the points are equal but for torsion, h_eff (P - Q) = O.
pub fn cofactored_eq(a: &G1, b: &G1) -> bool {
    cofactored_zero(&a.sub(b))
}

/// P ~ O.
pub(super) fn cofactored_zero(point: &G1) -> bool {
    point.mul_u64_vartime(H_EFF).is_identity()
}

/// The polynomial in the exponent, sum of x^k C_k, by Horner's rule: each step doubles and adds by the few bits
/// of x. Right for every point, whatever its order.
pub fn horner_vartime(coefficients: &[G1], x: u64) -> G1 {
    coefficients
        .iter()
        .rev()
        .fold(G1::identity(), |sum, c| sum.mul_u64_vartime(x).add(c))
}

/// Bits of the windows of [`multiply_vartime`].
const WINDOW: usize = 5;
/// Odd multiples 1, 3, ... that such windows need.
const ODD: usize = 1 << (WINDOW - 2);

/// Sum of scalar multiples of public points. `scalars` are little-endian, `bits / 8` bytes each, in the order
/// of the points; with fewer scalars than points, or the reverse, the rest is ignored.
///
/// Every addition is complete: the result is right for every point, also of low order, where blst's own
/// multi-scalar multiplication of a few points is not. (There, one point of order 3 among the inputs makes
/// everything infinity, and a batch of equations could pass that does not hold one by one.)
pub(super) fn multiply_vartime(points: &[G1], scalars: &[u8], bits: usize) -> G1 {
    // From here on blst collects points in buckets, with complete additions, and is quicker.
    const BUCKETS: usize = 32;
    const CHUNK: usize = 512;
    let size = bits / 8;
    let n = points.len().min(scalars.len() / size);
    let (points, scalars) = (&points[..n], &scalars[..n * size]);
    if n < BUCKETS {
        return straus(points, scalars, size);
    }
    points
        .par_chunks(CHUNK)
        .zip(scalars.par_chunks(CHUNK * size))
        .map(|(points, scalars)| {
            if points.len() < BUCKETS {
                straus(points, scalars, size)
            } else {
                G1(raw::p1s_multiply(&G1::batch_to_affine(points), scalars, bits))
            }
        })
        .reduce(G1::identity, |a, b| a.add(&b))
}

/// Interleaved windows over shared doublings.
fn straus(points: &[G1], scalars: &[u8], size: usize) -> G1 {
    let mut table = Vec::with_capacity(points.len() * ODD);
    for point in points {
        let double = point.double();
        let mut odd = *point;
        for _ in 1..ODD {
            table.push(odd);
            odd = odd.add(&double);
        }
        table.push(odd);
    }
    let table = G1::batch_to_affine(&table);
    let digits: Vec<Vec<i8>> = scalars.chunks_exact(size).map(naf).collect();
    let length = digits.iter().map(Vec::len).max().unwrap_or(0);
    let mut sum = blst_p1::default();
    for i in (0..length).rev() {
        sum = raw::p1_double(&sum);
        for (digits, table) in digits.iter().zip(table.chunks_exact(ODD)) {
            let digit = digits.get(i).copied().unwrap_or(0);
            if digit != 0
                && let Some(mut entry) = table.get(usize::from(digit.unsigned_abs()) / 2).copied()
            {
                raw::p1_affine_cneg(&mut entry, digit < 0);
                sum = raw::p1_add_affine(&sum, &entry);
            }
        }
    }
    G1(sum)
}

/// Non-adjacent form of a little-endian number: one digit for each bit, odd and below 2^(WINDOW - 1) in size
/// or zero, at most one of WINDOW neighbours not zero.
fn naf(scalar: &[u8]) -> Vec<i8> {
    let bit = |i: usize| scalar.get(i / 8).map_or(0, |byte| i16::from(byte >> (i % 8) & 1));
    let mut digits = vec![0; scalar.len() * 8 + 1];
    let mut carry = 0;
    let mut i = 0;
    while i < digits.len() {
        if bit(i) == carry {
            i += 1;
            continue;
        }
        let mut digit = carry;
        for j in 0..WINDOW {
            digit += bit(i + j) << j;
        }
        carry = digit >> (WINDOW - 1) & 1;
        digit -= carry << WINDOW;
        // In range: |digit| < 2^(WINDOW - 1).
        digits[i] = i8::try_from(digit).unwrap_or(0);
        i += WINDOW;
    }
    digits
}
