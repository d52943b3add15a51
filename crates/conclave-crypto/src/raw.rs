//! Safe wrappers around blst, and the only `unsafe` code of the crate.
//!
//! blst's own safe interface lacks most of what a key ceremony needs (field elements, points outside the
//! subgroup, sums of pairings), and where it has it, it moves even the smallest task to a thread pool of its
//! own. Each wrapper here does one call with arguments whose sizes the types guarantee.
#![allow(unsafe_code)]

use blst::{BLST_ERROR, blst_fp12, blst_fr, blst_p1, blst_p1_affine, blst_p2, blst_p2_affine, blst_scalar};
use zeroize::Zeroize;

// ---------------------------------------------------------------------------------------------- scalars

/// a + b mod r.
pub(super) fn fr_add(a: &blst_fr, b: &blst_fr) -> blst_fr {
    let mut out = blst_fr::default();
    // SAFETY: all three point to whole field elements; blst reads two and writes one.
    unsafe { blst::blst_fr_add(&raw mut out, a, b) };
    out
}

/// a - b mod r.
pub(super) fn fr_sub(a: &blst_fr, b: &blst_fr) -> blst_fr {
    let mut out = blst_fr::default();
    // SAFETY: all three point to whole field elements; blst reads two and writes one.
    unsafe { blst::blst_fr_sub(&raw mut out, a, b) };
    out
}

/// a b mod r.
pub(super) fn fr_mul(a: &blst_fr, b: &blst_fr) -> blst_fr {
    let mut out = blst_fr::default();
    // SAFETY: all three point to whole field elements; blst reads two and writes one.
    unsafe { blst::blst_fr_mul(&raw mut out, a, b) };
    out
}

/// 1 / a mod r, and 0 for 0.
pub(super) fn fr_inverse(a: &blst_fr) -> blst_fr {
    let mut out = blst_fr::default();
    // SAFETY: both point to whole field elements; blst reads one and writes the other.
    unsafe { blst::blst_fr_inverse(&raw mut out, a) };
    out
}

/// A small number as a field element.
pub(super) fn fr_from_u64(value: u64) -> blst_fr {
    let mut limbs = [value, 0, 0, 0];
    let mut out = blst_fr::default();
    // SAFETY: blst reads four 64-bit limbs, which is what `limbs` has, and writes one field element.
    unsafe { blst::blst_fr_from_uint64(&raw mut out, limbs.as_ptr()) };
    limbs.zeroize();
    out
}

/// Big-endian bytes as a field element; `None` if they are r or more.
pub(super) fn fr_from_be(bytes: &[u8; 32]) -> Option<blst_fr> {
    let mut scalar = blst_scalar::default();
    let mut out = blst_fr::default();
    // SAFETY: blst reads 32 bytes and writes whole values of the given types. The conversion to a field
    // element happens only below r, as blst demands. `blst_scalar` wipes itself when dropped.
    unsafe {
        blst::blst_scalar_from_bendian(&raw mut scalar, bytes.as_ptr());
        if !blst::blst_scalar_fr_check(&raw const scalar) {
            return None;
        }
        blst::blst_fr_from_scalar(&raw mut out, &raw const scalar);
    }
    Some(out)
}

/// A 512-bit big-endian number modulo r.
pub(super) fn fr_from_wide_be(bytes: &[u8; 64]) -> blst_fr {
    let mut scalar = blst_scalar::default();
    let mut out = blst_fr::default();
    // SAFETY: blst reads the 64 bytes it is told of, leaves a value below r in `scalar` (its return value says
    // only whether that is zero), and converts it.
    unsafe {
        blst::blst_scalar_from_be_bytes(&raw mut scalar, bytes.as_ptr(), bytes.len());
        blst::blst_fr_from_scalar(&raw mut out, &raw const scalar);
    }
    out
}

/// The number as a `blst_scalar` (32 bytes, little-endian), which wipes itself when dropped.
pub(super) fn fr_to_scalar(a: &blst_fr) -> blst_scalar {
    let mut scalar = blst_scalar::default();
    // SAFETY: blst reads one field element and writes one scalar.
    unsafe { blst::blst_scalar_from_fr(&raw mut scalar, a) };
    scalar
}

// ------------------------------------------------------------------------------------------ points of E1

/// The generator of G1.
pub(super) fn p1_generator() -> blst_p1 {
    // SAFETY: blst returns the address of a constant with static lifetime.
    unsafe { *blst::blst_p1_generator() }
}

/// Hashes to G1 (RFC 9380).
pub(super) fn p1_hash(message: &[u8], dst: &[u8]) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: the lengths are those of the slices; the augmentation is empty, and blst reads none of it.
    unsafe {
        blst::blst_hash_to_g1(
            &raw mut out,
            message.as_ptr(),
            message.len(),
            dst.as_ptr(),
            dst.len(),
            std::ptr::null(),
            0,
        );
    }
    out
}

/// Sum of two points; complete (doubles, cancels, and takes infinity).
pub(super) fn p1_add(a: &blst_p1, b: &blst_p1) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: all three point to whole points; blst reads two and writes one.
    unsafe { blst::blst_p1_add_or_double(&raw mut out, a, b) };
    out
}

/// Sum of two points, the second affine; complete, and constant time.
pub(super) fn p1_add_affine(a: &blst_p1, b: &blst_p1_affine) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: all three point to whole points; blst reads two and writes one.
    unsafe { blst::blst_p1_add_or_double_affine(&raw mut out, a, b) };
    out
}

/// 2 P.
pub(super) fn p1_double(a: &blst_p1) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: both point to whole points; blst reads one and writes the other.
    unsafe { blst::blst_p1_double(&raw mut out, a) };
    out
}

/// -P.
pub(super) fn p1_neg(a: &blst_p1) -> blst_p1 {
    let mut out = *a;
    // SAFETY: blst changes one whole point in place.
    unsafe { blst::blst_p1_cneg(&raw mut out, true) };
    out
}

/// Negates the y coordinate if `flag`, in constant time.
pub(super) fn p1_affine_cneg(p: &mut blst_p1_affine, flag: bool) {
    let y = p.y;
    // SAFETY: both point to whole field elements; blst reads one and writes the other.
    unsafe { blst::blst_fp_cneg(&raw mut p.y, &raw const y, flag) };
}

/// Whether the point is at infinity.
pub(super) fn p1_is_infinity(a: &blst_p1) -> bool {
    // SAFETY: blst reads one whole point.
    unsafe { blst::blst_p1_is_inf(a) }
}

/// Whether two points are equal, however they are represented.
pub(super) fn p1_equal(a: &blst_p1, b: &blst_p1) -> bool {
    // SAFETY: blst reads two whole points.
    unsafe { blst::blst_p1_is_equal(a, b) }
}

/// Whether a point of the curve is in G1.
pub(super) fn p1_in_g1(a: &blst_p1) -> bool {
    // SAFETY: blst reads one whole point.
    unsafe { blst::blst_p1_in_g1(a) }
}

/// Whether an affine point of the curve is in G1.
pub(super) fn p1_affine_in_g1(a: &blst_p1_affine) -> bool {
    // SAFETY: blst reads one whole point.
    unsafe { blst::blst_p1_affine_in_g1(a) }
}

/// From affine coordinates.
pub(super) fn p1_from_affine(a: &blst_p1_affine) -> blst_p1 {
    let mut out = blst_p1::default();
    // SAFETY: both point to whole points; blst reads one and writes the other.
    unsafe { blst::blst_p1_from_affine(&raw mut out, a) };
    out
}

/// To affine coordinates; infinity is (0, 0).
pub(super) fn p1_to_affine(a: &blst_p1) -> blst_p1_affine {
    let mut out = blst_p1_affine::default();
    // SAFETY: both point to whole points; blst reads one and writes the other.
    unsafe { blst::blst_p1_to_affine(&raw mut out, a) };
    out
}

/// Many points to affine coordinates, with one inversion for all; infinity is (0, 0).
pub(super) fn p1s_to_affine(points: &[blst_p1]) -> Vec<blst_p1_affine> {
    let mut out = vec![blst_p1_affine::default(); points.len()];
    if !points.is_empty() {
        let list = [points.as_ptr(), std::ptr::null()];
        // SAFETY: a null pointer after the first tells blst that the points are contiguous; it reads
        // `points.len()` of them and writes as many, which is the length of `out`.
        unsafe { blst::blst_p1s_to_affine(out.as_mut_ptr(), list.as_ptr(), points.len()) };
    }
    out
}

/// Decodes 96 bytes, uncompressed. Canonical, on the curve, not infinity; no check of the subgroup.
pub(super) fn p1_deserialize(bytes: &[u8; 96]) -> Option<blst_p1_affine> {
    // blst would take compressed points and infinity here, too.
    if bytes[0] & 0xe0 != 0 {
        return None;
    }
    let mut out = blst_p1_affine::default();
    // SAFETY: blst reads 96 bytes at most and writes one point.
    let code = unsafe { blst::blst_p1_deserialize(&raw mut out, bytes.as_ptr()) };
    (code == BLST_ERROR::BLST_SUCCESS).then_some(out)
}

/// Decodes 48 bytes, compressed. Canonical, on the curve, not infinity; no check of the subgroup.
pub(super) fn p1_uncompress(bytes: &[u8; 48]) -> Option<blst_p1_affine> {
    if bytes[0] & 0xc0 != 0x80 {
        return None;
    }
    let mut out = blst_p1_affine::default();
    // SAFETY: blst reads 48 bytes and writes one point.
    let code = unsafe { blst::blst_p1_uncompress(&raw mut out, bytes.as_ptr()) };
    (code == BLST_ERROR::BLST_SUCCESS).then_some(out)
}

/// Encodes as 96 bytes.
pub(super) fn p1_affine_serialize(a: &blst_p1_affine) -> [u8; 96] {
    let mut out = [0; 96];
    // SAFETY: blst reads one whole point and writes 96 bytes.
    unsafe { blst::blst_p1_affine_serialize(out.as_mut_ptr(), a) };
    out
}

/// Encodes as 48 bytes.
pub(super) fn p1_affine_compress(a: &blst_p1_affine) -> [u8; 48] {
    let mut out = [0; 48];
    // SAFETY: blst reads one whole point and writes 48 bytes.
    unsafe { blst::blst_p1_affine_compress(out.as_mut_ptr(), a) };
    out
}

/// Sum of scalar multiples, variable time. `scalars` are little-endian, `bits / 8` bytes (rounded up) each.
///
/// Valid for any point of the curve up to torsion only where two multiples meet at the same point of low order;
/// compare such results with the cofactored equality.
pub(super) fn p1s_multiply(points: &[blst_p1_affine], scalars: &[u8], bits: usize) -> blst_p1 {
    let n = points.len();
    assert!(
        bits > 0 && bits <= 256 && scalars.len() == n * bits.div_ceil(8),
        "one scalar for each point"
    );
    let mut out = blst_p1::default();
    if n == 0 {
        return out;
    }
    let point_list = [points.as_ptr(), std::ptr::null()];
    let scalar_list = [scalars.as_ptr(), std::ptr::null()];
    // SAFETY: null after the first pointer means contiguous; the lengths were just checked; the scratch space
    // has the size (in bytes) that blst asks for, in 64-bit limbs.
    unsafe {
        let mut scratch = vec![0_u64; blst::blst_p1s_mult_pippenger_scratch_sizeof(n).div_ceil(8)];
        blst::blst_p1s_mult_pippenger(
            &raw mut out,
            point_list.as_ptr(),
            n,
            scalar_list.as_ptr(),
            bits,
            scratch.as_mut_ptr(),
        );
    }
    out
}

// ------------------------------------------------------------------------------------------ points of E2

/// Hashes to G2 (RFC 9380).
pub(super) fn p2_hash(message: &[u8], dst: &[u8]) -> blst_p2 {
    let mut out = blst_p2::default();
    // SAFETY: the lengths are those of the slices; the augmentation is empty, and blst reads none of it.
    unsafe {
        blst::blst_hash_to_g2(
            &raw mut out,
            message.as_ptr(),
            message.len(),
            dst.as_ptr(),
            dst.len(),
            std::ptr::null(),
            0,
        );
    }
    out
}

/// The secret multiple of a hashed message, constant time.
pub(super) fn p2_sign(hash: &blst_p2, secret: &blst_scalar) -> blst_p2_affine {
    let mut out = blst_p2::default();
    // SAFETY: blst reads one whole point and one scalar and writes one point.
    unsafe { blst::blst_sign_pk_in_g1(&raw mut out, hash, secret) };
    p2_to_affine(&out)
}

/// Sum of two points, the second affine; complete.
pub(super) fn p2_add_affine(a: &blst_p2, b: &blst_p2_affine) -> blst_p2 {
    let mut out = blst_p2::default();
    // SAFETY: all three point to whole points; blst reads two and writes one.
    unsafe { blst::blst_p2_add_or_double_affine(&raw mut out, a, b) };
    out
}

/// Sum of two points; complete.
pub(super) fn p2_add(a: &blst_p2, b: &blst_p2) -> blst_p2 {
    let mut out = blst_p2::default();
    // SAFETY: all three point to whole points; blst reads two and writes one.
    unsafe { blst::blst_p2_add_or_double(&raw mut out, a, b) };
    out
}

/// 2 P.
pub(super) fn p2_double(a: &blst_p2) -> blst_p2 {
    let mut out = blst_p2::default();
    // SAFETY: both point to whole points; blst reads one and writes the other.
    unsafe { blst::blst_p2_double(&raw mut out, a) };
    out
}

/// -P.
pub(super) fn p2_neg(a: &blst_p2) -> blst_p2 {
    let mut out = *a;
    // SAFETY: blst changes one whole point in place.
    unsafe { blst::blst_p2_cneg(&raw mut out, true) };
    out
}

/// -P.
pub(super) fn p2_affine_neg(a: &blst_p2_affine) -> blst_p2_affine {
    let mut out = *a;
    // SAFETY: all three point to whole field elements; blst subtracts the y coordinate from a zero.
    unsafe { blst::blst_fp2_sub(&raw mut out.y, &blst::blst_fp2::default(), &raw const a.y) };
    out
}

/// Whether the point is at infinity.
pub(super) fn p2_is_infinity(a: &blst_p2) -> bool {
    // SAFETY: blst reads one whole point.
    unsafe { blst::blst_p2_is_inf(a) }
}

/// From affine coordinates.
pub(super) fn p2_from_affine(a: &blst_p2_affine) -> blst_p2 {
    let mut out = blst_p2::default();
    // SAFETY: both point to whole points; blst reads one and writes the other.
    unsafe { blst::blst_p2_from_affine(&raw mut out, a) };
    out
}

/// To affine coordinates; infinity is (0, 0).
pub(super) fn p2_to_affine(a: &blst_p2) -> blst_p2_affine {
    let mut out = blst_p2_affine::default();
    // SAFETY: both point to whole points; blst reads one and writes the other.
    unsafe { blst::blst_p2_to_affine(&raw mut out, a) };
    out
}

/// A multiple of a point of G2 by a little-endian number of `bits` bits.
pub(super) fn p2_multiply(p: &blst_p2, scalar: &[u8], bits: usize) -> blst_p2 {
    assert!(
        bits > 0 && bits <= 256 && scalar.len() >= bits.div_ceil(8),
        "the scalar holds its bits"
    );
    let mut out = blst_p2::default();
    // SAFETY: blst reads one whole point and `bits` bits of the scalar, whose length was just checked.
    unsafe { blst::blst_p2_mult(&raw mut out, p, scalar.as_ptr(), bits) };
    out
}

/// Decodes 96 bytes, compressed. Canonical, on the curve, not infinity; no check of the subgroup.
pub(super) fn p2_uncompress(bytes: &[u8; 96]) -> Option<blst_p2_affine> {
    if bytes[0] & 0xc0 != 0x80 {
        return None;
    }
    let mut out = blst_p2_affine::default();
    // SAFETY: blst reads 96 bytes and writes one point.
    let code = unsafe { blst::blst_p2_uncompress(&raw mut out, bytes.as_ptr()) };
    (code == BLST_ERROR::BLST_SUCCESS).then_some(out)
}

/// Whether an affine point of the curve is in G2.
pub(super) fn p2_affine_in_g2(a: &blst_p2_affine) -> bool {
    // SAFETY: blst reads one whole point.
    unsafe { blst::blst_p2_affine_in_g2(a) }
}

/// Encodes as 96 bytes.
pub(super) fn p2_affine_compress(a: &blst_p2_affine) -> [u8; 96] {
    let mut out = [0; 96];
    // SAFETY: blst reads one whole point and writes 96 bytes.
    unsafe { blst::blst_p2_affine_compress(out.as_mut_ptr(), a) };
    out
}

/// Sum of scalar multiples of points of G2, variable time; `scalars` as in [`p1s_multiply`].
pub(super) fn p2s_multiply(points: &[blst_p2_affine], scalars: &[u8], bits: usize) -> blst_p2 {
    let n = points.len();
    assert!(
        bits > 0 && bits <= 256 && scalars.len() == n * bits.div_ceil(8),
        "one scalar for each point"
    );
    let mut out = blst_p2::default();
    if n == 0 {
        return out;
    }
    let point_list = [points.as_ptr(), std::ptr::null()];
    let scalar_list = [scalars.as_ptr(), std::ptr::null()];
    // SAFETY: as for `p1s_multiply`.
    unsafe {
        let mut scratch = vec![0_u64; blst::blst_p2s_mult_pippenger_scratch_sizeof(n).div_ceil(8)];
        blst::blst_p2s_mult_pippenger(
            &raw mut out,
            point_list.as_ptr(),
            n,
            scalar_list.as_ptr(),
            bits,
            scratch.as_mut_ptr(),
        );
    }
    out
}

// -------------------------------------------------------------------------------------------- pairings

/// Product of the Miller loops of pairs, none of which may hold infinity.
pub(super) fn miller_loops(p: &[blst_p1_affine], q: &[blst_p2_affine]) -> blst_fp12 {
    assert_eq!(p.len(), q.len(), "points come in pairs");
    let mut out = blst_fp12::default();
    if p.is_empty() {
        return out;
    }
    let p_list = [p.as_ptr(), std::ptr::null()];
    let q_list = [q.as_ptr(), std::ptr::null()];
    // SAFETY: null after the first pointer means contiguous; both slices have `p.len()` points.
    unsafe { blst::blst_miller_loop_n(&raw mut out, q_list.as_ptr(), p_list.as_ptr(), p.len()) };
    out
}

/// a b in the target field.
pub(super) fn fp12_multiply(a: &blst_fp12, b: &blst_fp12) -> blst_fp12 {
    let mut out = blst_fp12::default();
    // SAFETY: all three point to whole field elements; blst reads two and writes one.
    unsafe { blst::blst_fp12_mul(&raw mut out, a, b) };
    out
}

/// Whether the final exponentiation of a product of Miller loops gives one.
pub(super) fn pairs_cancel(product: &blst_fp12) -> bool {
    let mut out = blst_fp12::default();
    // SAFETY: both point to whole field elements; blst reads one and writes the other, then reads that.
    unsafe {
        blst::blst_final_exp(&raw mut out, product);
        blst::blst_fp12_is_one(&raw const out)
    }
}
