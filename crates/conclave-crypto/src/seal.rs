//! How shares travel: HPKE (RFC 9180) in base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and
//! ChaCha20-Poly1305.

use std::convert::Infallible;

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

type PrivateKey = <X25519HkdfSha256 as hpke::Kem>::PrivateKey;
type PublicKey = <X25519HkdfSha256 as hpke::Kem>::PublicKey;
type EncappedKey = <X25519HkdfSha256 as hpke::Kem>::EncappedKey;

/// By how many bytes a sealed message is longer than the message: 32 of the ephemeral key, 16 of the tag.
pub const SEAL_OVERHEAD: usize = 48;

/// An X25519 key pair; wiped when dropped.
#[derive(Clone, ZeroizeOnDrop)]
pub struct SealSecret {
    secret: [u8; 32],
    public: [u8; 32],
}

impl SealSecret {
    /// Derives a key pair from 32 secret bytes (RFC 9180, section 7.1.3, `DeriveKeyPair`).
    pub fn derive(ikm: &[u8; 32]) -> Self {
        let (secret, public) = X25519HkdfSha256::derive_keypair(ikm);
        let mut out = Self {
            secret: [0; 32],
            public: public.to_bytes().into(),
        };
        secret.write_exact(&mut out.secret);
        out
    }

    /// Decodes 32 bytes, the secret half; `None` if they are not in the one form (clamped, RFC 7748 section 5) that
    /// [`Self::to_bytes`] gives.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let clamped = bytes[0].trailing_zeros() >= 3 && bytes[31] & 0xc0 == 0x40;
        let mut out = clamped.then_some(Self {
            secret: *bytes,
            public: [0; 32],
        })?;
        out.public = X25519HkdfSha256::sk_to_pk(&out.key()).to_bytes().into();
        Some(out)
    }

    /// Encodes the secret half as 32 bytes.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret)
    }

    /// The public key, 32 bytes.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    fn key(&self) -> PrivateKey {
        PrivateKey::from_bytes(&self.secret).expect("an X25519 key has 32 bytes")
    }
}

/// Encrypts `plaintext` to the owner of `recipient`, bound to `info` and `aad`. The result is the ephemeral
/// key (32 bytes), the ciphertext, and the tag (16 bytes).
///
/// It is a function of its arguments: the ephemeral key pair is derived from `ephemeral_seed`, which must be
/// secret and differ whenever any other argument does. `None` if the key is of low order.
pub fn seal(
    recipient: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    ephemeral_seed: &[u8; 32],
) -> Option<Vec<u8>> {
    let recipient = PublicKey::from_bytes(recipient).ok()?;
    let mut seed = Seed {
        bytes: *ephemeral_seed,
        used: 0,
    };
    let (encapped, ciphertext) = hpke::single_shot_seal_with_rng::<
        ChaCha20Poly1305,
        HkdfSha256,
        X25519HkdfSha256,
    >(&OpModeS::Base, &recipient, info, plaintext, aad, &mut seed)
    .ok()?;
    let mut out = encapped.to_bytes().to_vec();
    out.extend_from_slice(&ciphertext);
    Some(out)
}

/// Decrypts what [`seal`] made; `None` if anything is not as it was.
pub fn open(secret: &SealSecret, info: &[u8], aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (encapped, ciphertext) = sealed.split_first_chunk::<32>()?;
    let encapped = EncappedKey::from_bytes(encapped).ok()?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &secret.key(),
        &encapped,
        info,
        ciphertext,
        aad,
    )
    .ok()
    .map(Zeroizing::new)
}

/// Whether an X25519 public key is one of the few with which every shared secret is zero, in any encoding.
pub fn is_low_order(public: &[u8; 32]) -> bool {
    // u = 0, 1, the two of order 8, p - 1, p, p + 1 (RFC 7748 ignores the top bit of u).
    const LOW_ORDER: [[u8; 32]; 7] = {
        let mut list = [[0; 32]; 7];
        list[1][0] = 1;
        list[2] = [
            0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
            0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
        ];
        list[3] = [
            0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b,
            0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
        ];
        let mut i = 4;
        while i < 7 {
            list[i] = [0xff; 32];
            list[i][31] = 0x7f;
            i += 1;
        }
        list[4][0] = 0xec;
        list[5][0] = 0xed;
        list[6][0] = 0xee;
        list
    };
    let mut u = *public;
    u[31] &= 0x7f;
    LOW_ORDER.contains(&u)
}

/// A "generator" whose only output is the seed of one ephemeral key. HPKE asks for exactly 32 bytes.
struct Seed {
    bytes: [u8; 32],
    used: usize,
}

impl Seed {
    fn byte(&mut self) -> u8 {
        // Never beyond the end: `single_shot_seal_with_rng` takes one key's worth, which a test pins. Should
        // that change, a panic here is better than a repeated key.
        let byte = self.bytes[self.used];
        self.used += 1;
        byte
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl TryRng for Seed {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(std::array::from_fn(|_| self.byte())))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(std::array::from_fn(|_| self.byte())))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        out.fill_with(|| self.byte());
        Ok(())
    }
}

impl TryCryptoRng for Seed {}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    /// RFC 9180, appendix A.2.1 (base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305), the
    /// message with sequence number 0.
    #[test]
    fn rfc_9180_vector() {
        let ephemeral = hex!("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b");
        let secret = SealSecret::derive(&hex!(
            "1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df"
        ));
        assert_eq!(
            secret.public(),
            hex!("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")
        );
        let info = hex!("4f6465206f6e2061204772656369616e2055726e");
        let aad = hex!("436f756e742d30");
        let text = hex!("4265617574792069732074727574682c20747275746820626561757479");
        let sealed = seal(&secret.public(), &info, &aad, &text, &ephemeral).unwrap();
        assert_eq!(
            sealed,
            hex!(
                "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"
                "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"
            )
        );
        assert_eq!(sealed.len(), text.len() + SEAL_OVERHEAD);
        assert_eq!(open(&secret, &info, &aad, &sealed).unwrap()[..], text);
    }

    #[test]
    fn anything_altered_does_not_open() {
        let secret = SealSecret::derive(&[1; 32]);
        let sealed = seal(&secret.public(), b"info", b"aad", b"shares", &[2; 32]).unwrap();
        assert!(open(&secret, b"info", b"aad", &sealed).is_some());
        assert!(open(&secret, b"inf0", b"aad", &sealed).is_none());
        assert!(open(&secret, b"info", b"aab", &sealed).is_none());
        assert!(open(&SealSecret::derive(&[3; 32]), b"info", b"aad", &sealed).is_none());
        for i in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[i] ^= 1;
            assert!(open(&secret, b"info", b"aad", &bad).is_none(), "byte {i}");
            assert!(open(&secret, b"info", b"aad", &sealed[..i]).is_none());
        }
    }

    #[test]
    fn secrets_have_one_encoding() {
        let secret = SealSecret::derive(&[1; 32]);
        let bytes = secret.to_bytes();
        assert_eq!(SealSecret::from_bytes(&bytes).unwrap().public(), secret.public());
        for (i, bit) in [(0, 1), (0, 2), (0, 4), (31, 0x40), (31, 0x80)] {
            let mut bad = *bytes;
            bad[i] ^= bit;
            assert!(SealSecret::from_bytes(&bad).is_none());
        }
    }

    #[test]
    fn low_order_keys() {
        let p = {
            let mut p = [0xff; 32];
            p[0] = 0xed;
            p[31] = 0x7f;
            p
        };
        let mut found = 0;
        // Everything near zero and p, in both encodings, judged by an actual key exchange.
        for base in [[0; 32], p] {
            for offset in -3_i16..18 {
                for top in [0, 0x80] {
                    let mut key = base;
                    let Ok(low) = u8::try_from(i16::from(base[0]) + offset) else {
                        continue;
                    };
                    key[0] = low;
                    key[31] |= top;
                    assert_eq!(is_low_order(&key), seal(&key, b"", b"", b"", &[1; 32]).is_none());
                    found += usize::from(is_low_order(&key));
                }
            }
        }
        assert_eq!(found, 10);
        for mut key in [
            hex!("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
            hex!("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        ] {
            assert!(is_low_order(&key) && seal(&key, b"", b"", b"", &[1; 32]).is_none());
            key[31] ^= 0x80;
            assert!(is_low_order(&key) && seal(&key, b"", b"", b"", &[1; 32]).is_none());
            key[1] ^= 1;
            assert!(!is_low_order(&key) && seal(&key, b"", b"", b"", &[1; 32]).is_some());
        }
        assert!(!is_low_order(&SealSecret::derive(&[1; 32]).public()));
    }
}
