//! The keys of operators' nodes: ECDSA over secp256k1 (SEC 1), deterministic (RFC 6979), low s only.
//!
//! All signatures are over 32-byte digests as they are; nothing is hashed again.

use std::fmt;

use k256::ecdsa::signature::hazmat::PrehashVerifier as _;
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use sha3::{Digest as _, Keccak256};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::hash::Hash;

/// The secret key of a node; wiped when dropped.
#[derive(Clone)]
pub struct NodeKey(SigningKey);

// `SigningKey` wipes itself.
impl ZeroizeOnDrop for NodeKey {}

impl NodeKey {
    /// Decodes 32 big-endian bytes; `None` if the number is zero or not below the group order. Fresh bytes from
    /// the operating system make a fresh key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        SigningKey::from_slice(bytes).ok().map(Self)
    }

    /// Encodes as 32 big-endian bytes.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        let mut bytes = self.0.to_bytes();
        let out = Zeroizing::new(bytes.into());
        zeroize::Zeroize::zeroize(&mut bytes[..]);
        out
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> NodePublicKey {
        NodePublicKey::new(*self.0.verifying_key())
    }

    /// Signs a digest: R || S, 64 bytes, with low s.
    pub fn sign(&self, digest: &Hash) -> [u8; 64] {
        let (signature, _) = self.0.sign_prehash_recoverable(digest);
        signature.to_bytes().into()
    }

    /// Signs a digest: R || S || V, 65 bytes, with low s and V 0 or 1.
    pub fn sign_recoverable(&self, digest: &Hash) -> [u8; 65] {
        let (signature, id) = self.0.sign_prehash_recoverable(digest);
        let mut out = [0; 65];
        out[..64].copy_from_slice(&signature.to_bytes());
        out[64] = id.to_byte();
        out
    }
}

/// The public key of a node: 33 bytes, compressed (SEC 1), a point of the curve other than infinity. Ordered and hashed by
/// its bytes.
#[derive(Clone, Copy)]
pub struct NodePublicKey {
    bytes: [u8; 33],
    /// The same, decompressed once and for all.
    key: VerifyingKey,
}

impl NodePublicKey {
    fn new(key: VerifyingKey) -> Self {
        Self {
            bytes: compressed(&key),
            key,
        }
    }

    /// Decodes 33 compressed bytes; `None` for anything else than a point of the curve.
    pub fn from_bytes(bytes: &[u8; 33]) -> Option<Self> {
        // SEC 1 also knows an encoding of infinity and a "compact" one; neither is a key here.
        if !matches!(bytes[0], 2 | 3) {
            return None;
        }
        let key = VerifyingKey::from_sec1_bytes(bytes).ok()?;
        Some(Self::new(key))
    }

    /// Encodes as 33 compressed bytes.
    pub fn to_bytes(&self) -> [u8; 33] {
        self.bytes
    }

    /// Whether R || S is this node's signature of the digest. High s is refused: each signature has one form.
    pub fn verify(&self, digest: &Hash, signature: &[u8; 64]) -> bool {
        let Some(signature) = low_s(signature) else {
            return false;
        };
        self.key.verify_prehash(digest, &signature).is_ok()
    }

    /// Whether R || S || V (V 0, 1, 27 or 28) is this node's signature of the digest; all 65 bytes count.
    pub fn verify_recoverable(&self, digest: &Hash, signature: &[u8; 65]) -> bool {
        recover(digest, signature) == Some(*self)
    }

    /// The Ethereum address of the key: the last 20 bytes of Keccak-256 of the uncompressed point.
    pub fn ethereum_address(&self) -> Option<[u8; 20]> {
        let point = self.key.to_sec1_point(false);
        let digest = Keccak256::digest(point.as_bytes().get(1..65)?);
        digest.get(12..32)?.try_into().ok()
    }
}

impl PartialEq for NodePublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for NodePublicKey {}

impl std::hash::Hash for NodePublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl PartialOrd for NodePublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for NodePublicKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl fmt::Debug for NodePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodePublicKey({})", hex::encode(self.bytes))
    }
}

/// The key by which R || S || V (V 0, 1, 27 or 28) was made over the digest; `None` if there is none, or s is
/// high.
pub fn recover(digest: &Hash, signature: &[u8; 65]) -> Option<NodePublicKey> {
    let (rs, v) = signature.split_first_chunk::<64>()?;
    let id = match v {
        [v @ (0 | 1)] => *v,
        [v @ (27 | 28)] => v - 27,
        _ => return None,
    };
    let signature = low_s(rs)?;
    let key = VerifyingKey::recover_from_prehash(digest, &signature, RecoveryId::from_byte(id)?).ok()?;
    Some(NodePublicKey::new(key))
}

/// The Ethereum address that signed a digest, as for EIP-712; see [`recover`].
pub fn recover_address(digest: &Hash, signature: &[u8; 65]) -> Option<[u8; 20]> {
    recover(digest, signature)?.ethereum_address()
}

/// Decodes R || S; `None` if either is out of range, or s is high.
fn low_s(bytes: &[u8; 64]) -> Option<Signature> {
    let signature = Signature::from_slice(bytes).ok()?;
    (signature.normalize_s() == signature).then_some(signature)
}

fn compressed(key: &VerifyingKey) -> [u8; 33] {
    let point = key.to_sec1_point(true);
    point
        .as_bytes()
        .try_into()
        .expect("a compressed point has 33 bytes")
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;
    use crate::hash::sha256;

    /// Order of secp256k1.
    const N: [u8; 32] = hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");

    fn key() -> NodeKey {
        NodeKey::from_bytes(&hex!(
            "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
        ))
        .unwrap()
    }

    /// n - s, the other signature that plain ECDSA would take.
    fn with_high_s(signature: &[u8; 64]) -> [u8; 64] {
        let mut out = *signature;
        let mut borrow = 0;
        for i in (0..32).rev() {
            let difference = i16::from(N[i]) - i16::from(signature[32 + i]) - borrow;
            borrow = i16::from(difference < 0);
            out[32 + i] = u8::try_from(difference.rem_euclid(256)).unwrap();
        }
        out
    }

    /// The transaction that web3.js and ethers sign in their tests, and its well-known address.
    #[test]
    fn ethereum_vector() {
        let message =
            hex!("e9808504e3b29200831e848094f0109fc8df283027b6285cc889f5aa624eac1f55843b9aca0080018080");
        let digest: Hash = Keccak256::digest(message).into();
        let signature = key().sign_recoverable(&digest);
        assert_eq!(
            signature,
            hex!(
                "c9cf86333bcb065d140032ecaab5d9281bde80f21b9687b3e94161de42d51895727a108a0b8d101465414033c3f705a9c7b826e596766046ee1183dbc8aeaa68"
                "00"
            )
        );
        assert_eq!(key().sign(&digest)[..], signature[..64]);
        let address = hex!("2c7536e3605d9c16a7a3d7b1898e529396a65c23");
        assert_eq!(recover_address(&digest, &signature), Some(address));
        assert_eq!(key().public().ethereum_address(), Some(address));
    }

    #[test]
    fn only_one_form_of_a_signature_is_taken() {
        let digest = sha256(&[b"entry"]);
        let public = key().public();
        let signature = key().sign(&digest);
        assert!(public.verify(&digest, &signature));
        assert!(!public.verify(&sha256(&[b"other"]), &signature));
        let high = with_high_s(&signature);
        assert!(!public.verify(&digest, &high));
        for i in 0..64 {
            let mut bad = signature;
            bad[i] ^= 1;
            assert!(!public.verify(&digest, &bad));
        }
        assert!(!public.verify(&digest, &[0; 64]));
        assert!(!public.verify(&digest, &[0xff; 64]));

        let signature = key().sign_recoverable(&digest);
        assert!(public.verify_recoverable(&digest, &signature));
        let mut high_recoverable = [0; 65];
        high_recoverable[..64].copy_from_slice(&high);
        for v in 0..=255 {
            let mut other = signature;
            other[64] = v;
            let expected = v == signature[64] || v == signature[64] + 27;
            assert_eq!(public.verify_recoverable(&digest, &other), expected, "v = {v}");
            high_recoverable[64] = v;
            assert_eq!(recover(&digest, &high_recoverable), None);
        }
    }

    #[test]
    fn keys_are_decoded_strictly() {
        assert!(NodeKey::from_bytes(&[0; 32]).is_none());
        assert!(NodeKey::from_bytes(&N).is_none());
        assert_eq!(*NodeKey::from_bytes(&[1; 32]).unwrap().to_bytes(), [1; 32]);
        let bytes = key().public().to_bytes();
        assert_eq!(NodePublicKey::from_bytes(&bytes), Some(key().public()));
        for first in (0..=255).filter(|b| !matches!(b, 2 | 3)) {
            let mut bad = bytes;
            bad[0] = first;
            assert_eq!(NodePublicKey::from_bytes(&bad), None);
        }
        // x = p, beyond the field.
        let mut bad = hex!("02fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f");
        assert_eq!(NodePublicKey::from_bytes(&bad), None);
        // No point has x = 5.
        bad[1..].fill(0);
        bad[32] = 5;
        assert_eq!(NodePublicKey::from_bytes(&bad), None);
    }
}
