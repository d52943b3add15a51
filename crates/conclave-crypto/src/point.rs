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
        let Some(top) = n.checked_ilog2() else {
            return Self::identity();
        };
        let mut out = *self;
        for bit in (0..top).rev() {
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
    let Some((last, rest)) = coefficients.split_last() else {
        return G1::identity();
    };
    rest.iter()
        .rev()
        .fold(*last, |sum, c| sum.mul_u64_vartime(x).add(c))
}

/// Bits of the windows of [`multiply_vartime`].
const WINDOW: usize = 4;
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
    let size = bits / 8;
    let n = points.len().min(scalars.len() / size);
    let (points, scalars) = (&points[..n], &scalars[..n * size]);
    if n < BUCKETS {
        return straus(points, scalars.chunks_exact(size));
    }
    // A part for each thread; but the more points share buckets, the cheaper each is.
    let chunk = n.div_ceil(rayon::current_num_threads()).clamp(128, 1024);
    points
        .par_chunks(chunk)
        .zip(scalars.par_chunks(chunk * size))
        .map(|(points, scalars)| {
            if points.len() < BUCKETS {
                straus(points, scalars.chunks_exact(size))
            } else {
                #[cfg(test)]
                work::add(points.len());
                G1(raw::p1s_multiply(&G1::batch_to_affine(points), scalars, bits))
            }
        })
        .reduce(G1::identity, |a, b| a.add(&b))
}

/// How many points were multiplied by a number in sums: what tests count instead of time.
#[cfg(test)]
pub(super) mod work {
    use std::cell::Cell;

    thread_local! {
        static POINTS: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn add(points: usize) {
        POINTS.with(|count| count.set(count.get() + points));
    }

    /// Does something on a thread of its own, with all that it hands to others, and counts.
    pub(crate) fn of<T: Send>(act: impl FnOnce() -> T + Send) -> (T, usize) {
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        alone.expect("a thread").install(|| {
            let done = act();
            (done, POINTS.with(Cell::take))
        })
    }
}

/// Interleaved windows over shared doublings. The scalars, little-endian, may differ in length.
pub(super) fn straus<'a>(points: &[G1], scalars: impl Iterator<Item = &'a [u8]>) -> G1 {
    #[cfg(test)]
    work::add(points.len());
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
    let digits: Vec<Vec<i8>> = scalars.map(naf).collect();
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

/// Points outside of the subgroup, for tests of everything that has to do with torsion.
#[cfg(any(test, feature = "testing"))]
pub mod torsion {
    use super::G1;

    /// The cofactor of the curve: 3 11^2 10177^2 859267^2 52437899^2.
    const H: u128 = 0x396c_8c00_5555_e156_8c00_aaab_0000_aaab;
    /// r, the order of the groups.
    const R: [u8; 32] = crate::scalar::ORDER;

    /// A multiple by a big-endian number.
    pub fn multiply(point: &G1, number: &[u8]) -> G1 {
        let mut out = G1::identity();
        for byte in number {
            for bit in (0..8).rev() {
                out = out.double();
                if byte >> bit & 1 == 1 {
                    out = out.add(point);
                }
            }
        }
        out
    }

    /// A point of the curve with x near `x`, in no particular group.
    ///
    /// # Panics
    /// If there is none up to 255.
    pub fn any_point(mut x: u8) -> G1 {
        loop {
            let mut bytes = [0; 48];
            bytes[0] = 0x80;
            bytes[47] = x;
            if let Some(point) = G1::from_compressed(&bytes) {
                return point;
            }
            x += 1;
        }
    }

    /// A point of order 3 or 11, as asked.
    ///
    /// # Panics
    /// If asked for another order.
    pub fn of_order(order: u8) -> G1 {
        let rest = match order {
            3 => H / 3,
            11 => H / 121,
            _ => panic!("no such torsion"),
        };
        (0..200)
            .map(|x| multiply(&multiply(&any_point(x), &R), &rest.to_be_bytes()))
            .find(|point| !point.is_identity())
            .unwrap()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commit::feldman;
    use crate::scalar::Scalar;

    /// p, the order of the field of coordinates.
    const P: [u8; 48] = hex_literal::hex!(
        "1a0111ea397fe69a4b1ba7b6434bacd764774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab"
    );

    fn point(n: u64) -> G1 {
        feldman(&Scalar::from_u64(n))
    }

    fn add_be(bytes: &mut [u8], other: &[u8]) {
        let mut carry = 0;
        for (to, from) in bytes.iter_mut().zip(other).rev() {
            let sum = u16::from(*to) + u16::from(*from) + carry;
            *to = sum.to_be_bytes()[1];
            carry = sum >> 8;
        }
        assert_eq!(carry, 0);
    }

    #[test]
    fn bases_are_in_the_group_and_differ() {
        let (g, h) = (G1::generator(), G1::pedersen_h());
        assert!(g.in_subgroup() && h.in_subgroup());
        assert!(!g.is_identity() && !h.is_identity());
        assert_ne!(g, h);
        assert_ne!(g, h.neg());
        // H is a constant of the protocol: it may never change.
        assert_eq!(hex::encode(h.to_compressed()), H_PINNED);
    }

    const H_PINNED: &str =
        "833fc42bfadd5cec6fe2baf53f7d5eac1b8da212bba0ee2f1eec6bfaa7c03ff33279acc6c92e1898679e90354fe77739";

    /// RFC 9380, appendix J.9.1, the empty message.
    #[test]
    fn hash_to_curve_vector() {
        let point = G1(raw::p1_hash(
            b"",
            b"QUUX-V01-CS02-with-BLS12381G1_XMD:SHA-256_SSWU_RO_",
        ));
        assert_eq!(
            hex::encode(point.to_uncompressed()),
            "052926add2207b76ca4fa57a8734416c8dc95e24501772c814278700eed6d1e4e8cf62d9c09db0fac349612b759e79a108ba738453bfed09cb546dbb0783dbb3a5f1f566ed67bb6be0e8c67e2e81a4cc68ee29813bb7994998f3eae0c9c6a265"
        );
    }

    #[test]
    fn encodings_round_trip() {
        for n in 1..20 {
            let p = point(n);
            assert_eq!(G1::from_uncompressed(&p.to_uncompressed()), Some(p));
            assert_eq!(G1::from_compressed(&p.to_compressed()), Some(p));
        }
        let points: Vec<_> = (0..20).map(point).collect();
        let encoded: Vec<_> = points.iter().map(G1::to_uncompressed).collect();
        assert_eq!(G1::batch_to_uncompressed(&points), encoded);
    }

    #[test]
    fn other_encodings_are_refused() {
        let good = point(7).to_uncompressed();
        for flags in [0x20, 0x40, 0x60, 0x80, 0xa0, 0xc0, 0xe0] {
            let mut bad = good;
            bad[0] |= flags;
            assert_eq!(G1::from_uncompressed(&bad), None, "{flags:x}");
        }
        // A compressed point, followed by anything.
        let mut bad = [0; 96];
        bad[..48].copy_from_slice(&point(7).to_compressed());
        assert_eq!(G1::from_uncompressed(&bad), None);
        // Infinity, pure and with junk.
        let mut infinity = [0; 96];
        assert_eq!(G1::from_uncompressed(&infinity), None);
        infinity[0] = 0x40;
        assert_eq!(G1::from_uncompressed(&infinity), None);
        infinity[95] = 1;
        assert_eq!(G1::from_uncompressed(&infinity), None);
        let mut infinity = [0; 48];
        infinity[0] = 0xc0;
        assert_eq!(G1::from_compressed(&infinity), None);
        infinity[47] = 1;
        assert_eq!(G1::from_compressed(&infinity), None);
        // Off the curve.
        let mut bad = good;
        bad[95] ^= 1;
        assert_eq!(G1::from_uncompressed(&bad), None);
        // Coordinates of p and more: a small x or y plus p still fits in the 381 bits.
        let small = torsion::any_point(0);
        let mut bad = small.to_uncompressed();
        assert!(G1::from_uncompressed(&bad).is_some());
        add_be(&mut bad[..48], &P);
        assert_eq!(G1::from_uncompressed(&bad), None);
        let mut bad = small.to_compressed();
        assert!(G1::from_compressed(&bad).is_some());
        add_be(&mut bad, &P);
        assert_eq!(G1::from_compressed(&bad), None);
    }

    #[test]
    fn torsion_is_seen_by_equality_and_not_by_the_cofactored_one() {
        for order in [3_u8, 11] {
            let t = torsion::of_order(order);
            assert!(!t.in_subgroup());
            assert!(t.mul_u64_vartime(order.into()).is_identity());
            for n in 0..50 {
                let p = point(n);
                for k in 1..u64::from(order) {
                    let q = p.add(&t.mul_u64_vartime(k));
                    assert_ne!(p, q);
                    assert!(cofactored_eq(&p, &q));
                    assert!(!cofactored_eq(&point(n + 1), &q));
                    assert!(!q.in_subgroup());
                }
            }
        }
        let p = torsion::any_point(9);
        assert!(!p.in_subgroup() && !cofactored_eq(&p, &G1::identity()));
    }

    fn naive(points: &[G1], scalars: &[u8], size: usize) -> G1 {
        points
            .iter()
            .zip(scalars.chunks(size))
            .fold(G1::identity(), |sum, (point, scalar)| {
                let mut scalar = scalar.to_vec();
                scalar.reverse();
                sum.add(&torsion::multiply(point, &scalar))
            })
    }

    /// Points in the group, out of it, of low order, equal, opposite, and infinity.
    fn mixture(n: usize, seed: u64) -> Vec<G1> {
        let (t3, t11) = (torsion::of_order(3), torsion::of_order(11));
        (0..n)
            .map(|i| match (i as u64 + seed) % 9 {
                0 => t3,
                1 => t3.neg(),
                2 => t11.mul_u64_vartime(i as u64),
                3 => G1::identity(),
                4 => point(5),
                5 => point(5).neg(),
                6 => point(i as u64 + seed).add(&t3),
                7 => point(i as u64).add(&t11),
                _ => point(seed),
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn sums_of_multiples_are_exact_for_all_points(seed in any::<u64>(), bytes in prop::collection::vec(any::<u8>(), 70 * 32)) {
            for (n, size) in [(0, 16), (1, 16), (2, 32), (5, 16), (31, 16), (32, 16), (45, 32), (70, 16)] {
                let points = mixture(n, seed % 1000);
                let scalars = &bytes[..n * size];
                let expected = naive(&points, scalars, size);
                prop_assert_eq!(multiply_vartime(&points, scalars, size * 8), expected);
            }
        }

        #[test]
        fn horner_is_the_sum_of_powers(seed in 0_u64..1000, t in 0_usize..14, x in 0_u64..65) {
            let points = mixture(t, seed);
            let mut power = 1_u128;
            let mut expected = G1::identity();
            for point in &points {
                expected = expected.add(&torsion::multiply(point, &power.to_be_bytes()));
                power = power.wrapping_mul(u128::from(x));
                if power > u128::MAX / 65 { return Ok(()); }
            }
            prop_assert_eq!(horner_vartime(&points, x), expected);
        }
    }

    #[test]
    fn extreme_scalars() {
        let points = mixture(9, 3);
        for byte in [0, 1, 0x0f, 0x10, 0x7f, 0x80, 0xff] {
            let scalars = vec![byte; 9 * 16];
            assert_eq!(
                multiply_vartime(&points, &scalars, 128),
                naive(&points, &scalars, 16)
            );
        }
    }
}
