//! Numbers modulo r, the order of BLS12-381's groups.

use std::ops::{Add, Mul, Sub};

use blst::{blst_fr, blst_scalar};
use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::raw;

/// r, the order of the groups, big-endian.
#[cfg(any(test, feature = "testing"))]
pub(crate) const ORDER: [u8; 32] = [
    0x73, 0xed, 0xa7, 0x53, 0x29, 0x9d, 0x7d, 0x48, 0x33, 0x39, 0xd8, 0x08, 0x09, 0xa1, 0xd8, 0x05, 0x53,
    0xbd, 0xa4, 0x02, 0xff, 0xfe, 0x5b, 0xfe, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x01,
];

/// A number modulo r = 0x73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001, most often a secret:
/// it is wiped when dropped, cannot be printed, and all its operations take constant time.
#[derive(Clone)]
pub struct Scalar(blst_fr);

impl Scalar {
    /// Decodes 32 big-endian bytes; `None` if the number is r or more.
    pub fn from_be_bytes(bytes: &[u8; 32]) -> Option<Self> {
        raw::fr_from_be(bytes).map(Self)
    }

    /// Encodes as 32 big-endian bytes.
    pub fn to_be_bytes(&self) -> Zeroizing<[u8; 32]> {
        let scalar = self.to_raw();
        let mut bytes = Zeroizing::new(scalar.b);
        bytes.reverse();
        bytes
    }

    /// A 512-bit big-endian number modulo r. Uniform bytes give a number whose bias is below 2^-256.
    pub fn from_wide_be(bytes: &[u8; 64]) -> Self {
        Self(raw::fr_from_wide_be(bytes))
    }

    /// A small number.
    pub fn from_u64(value: u64) -> Self {
        Self(raw::fr_from_u64(value))
    }

    /// A number of 128 bits, little-endian, such as a batch's weight.
    pub fn from_u128_le(bytes: &[u8; 16]) -> Self {
        let mut wide = [0; 64];
        for (to, from) in wide.iter_mut().rev().zip(bytes) {
            *to = *from;
        }
        Self::from_wide_be(&wide)
    }

    /// Zero.
    pub fn zero() -> Self {
        Self(blst_fr::default())
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.ct_eq(&Self::zero()).into()
    }

    /// 1 / self, and zero for zero.
    #[must_use]
    pub fn invert(&self) -> Self {
        Self(raw::fr_inverse(&self.0))
    }

    /// -self.
    #[must_use]
    pub fn negate(&self) -> Self {
        Self(raw::fr_sub(&blst_fr::default(), &self.0))
    }

    /// The 32 little-endian bytes that blst's multiplications take; wiped when dropped.
    pub(super) fn to_raw(&self) -> blst_scalar {
        raw::fr_to_scalar(&self.0)
    }
}

impl Drop for Scalar {
    fn drop(&mut self) {
        self.0.l.zeroize();
    }
}

impl ZeroizeOnDrop for Scalar {}

impl ConstantTimeEq for Scalar {
    fn ct_eq(&self, other: &Self) -> Choice {
        // Field elements are kept fully reduced, so equal numbers have equal limbs.
        self.0.l.ct_eq(&other.0.l)
    }
}

impl Add for &Scalar {
    type Output = Scalar;
    fn add(self, other: Self) -> Scalar {
        Scalar(raw::fr_add(&self.0, &other.0))
    }
}

impl Sub for &Scalar {
    type Output = Scalar;
    fn sub(self, other: Self) -> Scalar {
        Scalar(raw::fr_sub(&self.0, &other.0))
    }
}

impl Mul for &Scalar {
    type Output = Scalar;
    fn mul(self, other: Self) -> Scalar {
        Scalar(raw::fr_mul(&self.0, &other.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const R: [u8; 32] = ORDER;

    fn equal(a: &Scalar, b: &Scalar) -> bool {
        a.ct_eq(b).into()
    }

    #[test]
    fn only_numbers_below_r_are_decoded() {
        assert!(Scalar::from_be_bytes(&R).is_none());
        assert!(Scalar::from_be_bytes(&[0xff; 32]).is_none());
        let mut largest = R;
        largest[31] = 0;
        let largest = Scalar::from_be_bytes(&largest).unwrap();
        assert!((&largest + &Scalar::from_u64(1)).is_zero());
        assert!(Scalar::from_be_bytes(&[0; 32]).unwrap().is_zero());
    }

    #[test]
    fn wide_numbers_are_reduced() {
        let mut wide = [0; 64];
        wide[32..].copy_from_slice(&R);
        assert!(Scalar::from_wide_be(&wide).is_zero());
        wide[63] += 4;
        assert!(equal(&Scalar::from_wide_be(&wide), &Scalar::from_u64(4)));
        // 2^256 by squaring against 2^256 by position.
        let mut wide = [0; 64];
        wide[31] = 1;
        let mut power = Scalar::from_u64(2);
        for _ in 0..8 {
            power = &power * &power;
        }
        assert!(equal(&Scalar::from_wide_be(&wide), &power));
    }

    proptest! {
        #[test]
        fn field_laws(a in any::<[u8; 32]>(), b in any::<[u8; 32]>(), n in any::<u64>()) {
            let mut wide = [0; 64];
            wide[32..].copy_from_slice(&a);
            let a = Scalar::from_wide_be(&wide);
            wide[..32].copy_from_slice(&b);
            let b = Scalar::from_wide_be(&wide);
            let n = Scalar::from_u64(n);
            prop_assert!(equal(&(&(&a + &b) * &n), &(&(&a * &n) + &(&b * &n))));
            prop_assert!(equal(&(&(&a - &b) + &b), &a));
            prop_assert!(equal(&(&a + &a.negate()), &Scalar::zero()));
            prop_assert!(a.is_zero() || equal(&(&a * &a.invert()), &Scalar::from_u64(1)));
            prop_assert!(equal(&Scalar::from_be_bytes(&a.to_be_bytes()).unwrap(), &a));
        }
    }

    #[test]
    fn weights_are_little_endian() {
        let mut bytes = [0; 16];
        bytes[8] = 1;
        let two_to_32 = Scalar::from_u64(1 << 32);
        assert!(equal(&Scalar::from_u128_le(&bytes), &(&two_to_32 * &two_to_32)));
    }
}
