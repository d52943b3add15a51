//! Hashes, key derivation, and weights for batches.

use hkdf::{Hkdf, HkdfExtract};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

use super::domains;

/// A SHA-256 digest, 32 bytes.
pub type Hash = [u8; 32];

/// SHA-256 of the concatenation of the parts. The caller sees to it that no two lists of parts give the same
/// bytes: all but one part have fixed lengths.
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// SHA-512 of the concatenation of the parts, 64 bytes.
pub fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// HMAC-SHA-256 (RFC 2104) of the concatenation of the parts, 32 bytes.
pub(super) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    // The length of a key is not restricted, so this cannot fail.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// HMAC-SHA-512 (RFC 2104) of the concatenation of the parts, 64 bytes.
#[allow(clippy::missing_panics_doc, reason = "the key may have any length")]
pub fn hmac_sha512(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    // The length of a key is not restricted, so this cannot fail.
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    Zeroizing::new(mac.finalize().into_bytes().into())
}

/// A pseudorandom key of HKDF-SHA256 (RFC 5869), from which any number of secrets can be expanded.
#[derive(ZeroizeOnDrop)]
pub struct Prk([u8; 32]);

impl Prk {
    /// HKDF-Extract of the concatenation of `ikm`.
    pub fn extract(salt: &[u8], ikm: &[&[u8]]) -> Self {
        let mut extract = HkdfExtract::<Sha256>::new(Some(salt));
        for part in ikm {
            extract.input_ikm(part);
        }
        let (mut prk, _) = extract.finalize();
        let key = Self(prk.into());
        prk.zeroize();
        key
    }

    /// HKDF-Expand to N bytes, of the concatenation of `info`. N is at most 8160, checked when compiling.
    #[allow(clippy::missing_panics_doc, reason = "both lengths are right")]
    pub fn expand<const N: usize>(&self, info: &[&[u8]]) -> Zeroizing<[u8; N]> {
        const { assert!(N <= 255 * 32, "HKDF-SHA256 gives no more than 8160 bytes") }
        let mut out = Zeroizing::new([0; N]);
        Hkdf::<Sha256>::from_prk(&self.0)
            .expect("the key is as long as the hash")
            .expand_multi_info(info, &mut *out)
            .expect("the length was checked");
        out
    }
}

/// Weights of 128 bits for batches of equations. Whoever made the equations must not be able to foresee
/// them: the seed is fresh from the operating system, or secret.
#[derive(ZeroizeOnDrop)]
pub struct WeightStream {
    seed: [u8; 32],
    counter: u64,
    half: Option<[u8; 16]>,
}

impl WeightStream {
    /// Starts a stream from a seed of 32 bytes.
    pub fn new(seed: &[u8; 32]) -> Self {
        Self {
            seed: *seed,
            counter: 0,
            half: None,
        }
    }

    /// The next weight, 16 bytes, never all zero.
    #[allow(
        clippy::should_implement_trait,
        reason = "a stream that never ends needs no Option"
    )]
    pub fn next(&mut self) -> [u8; 16] {
        loop {
            let weight = if let Some(half) = self.half.take() {
                half
            } else {
                let mut block = sha256(&[
                    domains::WEIGHTS.as_bytes(),
                    &self.seed,
                    &self.counter.to_be_bytes(),
                ]);
                self.counter = self.counter.wrapping_add(1);
                let (first, second) = block.split_at(16);
                let mut weight = [0; 16];
                weight.copy_from_slice(first);
                let mut rest = [0; 16];
                rest.copy_from_slice(second);
                self.half = Some(rest);
                block.zeroize();
                weight
            };
            if weight != [0; 16] {
                return weight;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    #[test]
    fn sha256_of_parts_is_that_of_the_whole() {
        assert_eq!(
            sha256(&[b"a", b"", b"bc"]),
            hex!("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        );
    }

    /// RFC 5869, test case 1.
    #[test]
    fn hkdf_vector() {
        let ikm = [0x0b; 22];
        let prk = Prk::extract(&hex!("000102030405060708090a0b0c"), &[&ikm[..10], &ikm[10..]]);
        let okm = prk.expand::<42>(&[&hex!("f0f1f2f3"), &hex!("f4f5f6f7f8f9")]);
        assert_eq!(
            *okm,
            hex!("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
        );
    }

    /// RFC 4231, test case 2.
    #[test]
    fn hmac_sha512_vector() {
        assert_eq!(
            *hmac_sha512(b"Jefe", &[b"what do ya want ", b"for nothing?"]),
            hex!(
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"
            )
        );
    }

    #[test]
    fn weights_are_deterministic_and_differ() {
        let mut one = WeightStream::new(&[7; 32]);
        let mut two = WeightStream::new(&[7; 32]);
        let mut other = WeightStream::new(&[8; 32]);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..100 {
            let weight = one.next();
            assert_eq!(weight, two.next());
            assert_ne!(weight, other.next());
            assert!(seen.insert(weight));
        }
    }
}
