//! Plain blst, through its safe interface.

use blst::min_pk::{AggregateSignature, PublicKey, SecretKey, Signature};
use blst::{BLST_ERROR, MultiPoint as _, blst_p2_affine};

/// Ethereum's domain separation tag.
const DST: &[u8] = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_";

/// The key of 32 big-endian bytes.
pub fn secret_key(bytes: &[u8; 32]) -> SecretKey {
    SecretKey::from_bytes(bytes).expect("a key")
}

/// Signs a message.
pub fn sign(key: &SecretKey, message: &[u8]) -> Signature {
    key.sign(message, DST, &[])
}

/// Decodes a signature, checks that it is in G2, and verifies it.
pub fn verify_bytes(bytes: &[u8; 96], key: &PublicKey, message: &[u8]) -> bool {
    let signature = Signature::from_bytes(bytes).expect("a signature");
    signature.verify(true, message, DST, &[], key, false) == BLST_ERROR::BLST_SUCCESS
}

/// The textbook's recovery: one multiplication by a 255-bit Lagrange weight for each partial signature, all at once.
/// `weights` hold 32 little-endian bytes for each.
pub fn recover(partials: &[Signature], weights: &[u8]) -> [u8; 96] {
    let points: Vec<blst_p2_affine> = partials.iter().map(|partial| (*partial).into()).collect();
    AggregateSignature::from(points.as_slice().mult(weights, 255))
        .to_signature()
        .to_bytes()
}
