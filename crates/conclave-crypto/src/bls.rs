//! Ethereum's BLS signatures: public keys in G1, signatures in G2, proof-of-possession scheme
//! (draft-irtf-cfrg-bls-signature; consensus specification, phase 0).

use std::collections::HashMap;
use std::fmt;

use blst::{blst_fp12, blst_p1, blst_p1_affine, blst_p2, blst_p2_affine};
use rayon::prelude::*;
use thiserror::Error;
use zeroize::Zeroizing;

use super::hash::{Hash, WeightStream};
use super::point::G1;
use super::scalar::Scalar;
use super::{commit, domains, raw};

/// Why bytes are not a public key or signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BlsError {
    /// Not the canonical encoding of a point of the curve other than infinity.
    #[error("it is no key or signature: its bytes are no point of the curve")]
    Encoding,
    /// A point of the curve, but not of the group of prime order.
    #[error("it is no key or signature that can be used: its point is not in the group")]
    Subgroup,
}

/// A secret key or share of one: a scalar other than zero, wiped when dropped.
#[derive(Clone)]
pub struct SecretKey(Scalar);

impl SecretKey {
    /// From a scalar; `None` if it is zero.
    pub fn from_scalar(scalar: &Scalar) -> Option<Self> {
        (!scalar.is_zero()).then(|| Self(scalar.clone()))
    }

    /// Decodes 32 big-endian bytes; `None` if the number is zero or not below r.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        Self::from_scalar(&Scalar::from_be_bytes(bytes)?)
    }

    /// Encodes as 32 big-endian bytes.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.0.to_be_bytes()
    }

    /// The key as a scalar.
    pub fn as_scalar(&self) -> &Scalar {
        &self.0
    }

    /// The public key that belongs to it.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::new(raw::p1_to_affine(commit::feldman(&self.0).as_raw()))
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(raw::p2_sign(&hash_to_g2(message), &self.0.to_raw()))
    }

    /// Signs a message that is hashed already.
    pub fn sign_hashed(&self, message: &HashedMessage) -> Signature {
        Signature(raw::p2_sign(&raw::p2_from_affine(&message.0), &self.0.to_raw()))
    }
}

/// A message as a point of G2 (192 bytes): what is signed, and what a signature is checked against. Hashing is a third of the
/// cost of a check, so whoever needs a message more than once keeps this.
#[derive(Clone)]
pub struct HashedMessage(blst_p2_affine);

impl HashedMessage {
    /// Hashes a message.
    pub fn new(message: &[u8]) -> Self {
        Self(raw::p2_to_affine(&hash_to_g2(message)))
    }

    /// Hashes many messages on all cores, in their order.
    pub fn all(messages: &[Hash]) -> Vec<Self> {
        messages.par_iter().map(|message| Self::new(message)).collect()
    }
}

/// A public key: a point of G1 other than infinity. Ordered and hashed by its 48 bytes.
#[derive(Clone, Copy)]
pub struct PublicKey {
    point: blst_p1_affine,
    bytes: [u8; 48],
}

impl PublicKey {
    fn new(point: blst_p1_affine) -> Self {
        Self {
            point,
            bytes: raw::p1_affine_compress(&point),
        }
    }

    /// Decodes 48 compressed bytes, and checks the subgroup.
    ///
    /// # Errors
    /// Whatever is not the one encoding of a key.
    pub fn from_bytes(bytes: &[u8; 48]) -> Result<Self, BlsError> {
        let point = raw::p1_uncompress(bytes).ok_or(BlsError::Encoding)?;
        if !raw::p1_affine_in_g1(&point) {
            return Err(BlsError::Subgroup);
        }
        Ok(Self { point, bytes: *bytes })
    }

    /// Encodes as 48 compressed bytes.
    pub fn to_bytes(&self) -> [u8; 48] {
        self.bytes
    }

    /// From a point; `None` if it is infinity or not in G1.
    pub fn from_g1(point: &G1) -> Option<Self> {
        (!point.is_identity() && point.in_subgroup()).then(|| Self::new(raw::p1_to_affine(point.as_raw())))
    }

    /// From points that are known to be in G1, such as sums of checked ones: one inversion for all, no subgroup checks.
    /// `None` if one is infinity.
    pub fn batch_from_subgroup(points: &[G1]) -> Option<Vec<Self>> {
        if points.iter().any(G1::is_identity) {
            return None;
        }
        Some(G1::batch_to_affine(points).into_iter().map(Self::new).collect())
    }

    /// The key as a point.
    pub fn to_g1(&self) -> G1 {
        G1::from_affine(&self.point)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for PublicKey {}

impl std::hash::Hash for PublicKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bytes.hash(state);
    }
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes.cmp(&other.bytes)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", hex::encode(self.bytes))
    }
}

/// A signature: a point of G2 other than infinity.
#[derive(Clone, PartialEq, Eq)]
pub struct Signature(blst_p2_affine);

impl Signature {
    /// Decodes 96 compressed bytes, and checks the subgroup: the pairing equation means something in G2 only. Of
    /// points outside it some would pass with some weights of a batch and not with others.
    ///
    /// # Errors
    /// Whatever is not the one encoding of a signature.
    pub fn from_bytes(bytes: &[u8; 96]) -> Result<Self, BlsError> {
        let point = raw::p2_uncompress(bytes).ok_or(BlsError::Encoding)?;
        if !raw::p2_affine_in_g2(&point) {
            return Err(BlsError::Subgroup);
        }
        Ok(Self(point))
    }

    /// Encodes as 96 compressed bytes.
    pub fn to_bytes(&self) -> [u8; 96] {
        raw::p2_affine_compress(&self.0)
    }

    /// Whether it is the signature of `message` by the owner of `key`.
    pub fn verify(&self, key: &PublicKey, message: &[u8]) -> bool {
        let hash = raw::p2_to_affine(&hash_to_g2(message));
        pairing_equation(&[key.point], &[hash], &raw::p2_from_affine(&self.0))
    }

    /// The sum of signatures; `None` if there are none, or if they add up to infinity.
    pub fn aggregate(signatures: &[Self]) -> Option<Self> {
        let sum = signatures
            .iter()
            .fold(blst_p2::default(), |sum, s| raw::p2_add_affine(&sum, &s.0));
        Self::from_raw(&sum)
    }

    /// From a point known to be in G2; `None` if it is infinity.
    pub(super) fn from_raw(point: &blst_p2) -> Option<Self> {
        (!raw::p2_is_infinity(point)).then(|| Self(raw::p2_to_affine(point)))
    }

    /// The affine point.
    pub(super) fn as_raw(&self) -> &blst_p2_affine {
        &self.0
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", hex::encode(self.to_bytes()))
    }
}

/// The sum of public keys; `None` if there are none, or if they add up to infinity.
///
/// Only for keys whose owners are known to hold the secrets: a key made from others' keys cancels them.
pub fn aggregate_public_keys(keys: &[PublicKey]) -> Option<PublicKey> {
    let sum = keys.iter().fold(blst_p1::default(), |sum, key| {
        raw::p1_add_affine(&sum, &key.point)
    });
    (!raw::p1_is_infinity(&sum)).then(|| PublicKey::new(raw::p1_to_affine(&sum)))
}

/// Whether `signature` is the sum of the signatures of one message by all owners of `keys`.
pub fn fast_aggregate_verify(keys: &[PublicKey], message: &[u8], signature: &Signature) -> bool {
    aggregate_public_keys(keys).is_some_and(|key| signature.verify(&key, message))
}

/// Verifies many signatures at once.
///
/// One product of pairings with random weights for all, with one pair for each different message. If it
/// fails, the batch is bisected down to single signatures, which are verified without weights: so the verdict
/// is that of [`Signature::verify`] on each, but for a chance of 2^-64 that a bad batch passes.
///
/// # Errors
/// The indices of the bad items, in ascending order.
pub fn verify_batch(
    items: &[(PublicKey, Hash, Signature)],
    weights: &mut WeightStream,
) -> Result<(), Vec<usize>> {
    let mut number: HashMap<&Hash, usize> = HashMap::new();
    let mut messages: Vec<Hash> = Vec::new();
    let mut numbered = Vec::with_capacity(items.len());
    for (key, message, signature) in items {
        let number = number.entry(message).or_insert_with(|| {
            messages.push(*message);
            messages.len() - 1
        });
        numbered.push((key, *number, signature));
    }
    verify_numbered(&numbered, &HashedMessage::all(&messages), weights)
}

/// As [`verify_batch`], for messages that are hashed already: each item names its message by the position in `messages`. An
/// item that names none is bad.
///
/// # Errors
/// The indices of the bad items, in ascending order.
pub fn verify_batch_hashed(
    items: &[(PublicKey, usize, Signature)],
    messages: &[HashedMessage],
    weights: &mut WeightStream,
) -> Result<(), Vec<usize>> {
    let items: Vec<_> = items
        .iter()
        .map(|(key, number, signature)| (key, *number, signature))
        .collect();
    verify_numbered(&items, messages, weights)
}

fn verify_numbered(
    items: &[(&PublicKey, usize, &Signature)],
    messages: &[HashedMessage],
    weights: &mut WeightStream,
) -> Result<(), Vec<usize>> {
    let mut bad = Vec::new();
    let mut terms = Vec::with_capacity(items.len());
    for (index, &(key, number, signature)) in items.iter().enumerate() {
        let Some(message) = messages.get(number) else {
            bad.push(index);
            continue;
        };
        terms.push(Term {
            index,
            number,
            message,
            key,
            signature,
            weight: half_weight(weights),
        });
    }
    // Equal messages are made neighbours, so that bisection keeps them together.
    terms.sort_by_key(|term| term.number);
    bisect(&terms, &mut bad);
    bad.sort_unstable();
    if bad.is_empty() { Ok(()) } else { Err(bad) }
}

/// One signature of a batch.
struct Term<'a> {
    index: usize,
    /// The position of its message.
    number: usize,
    message: &'a HashedMessage,
    key: &'a PublicKey,
    signature: &'a Signature,
    weight: [u8; 8],
}

/// 64 bits of a weight, not zero. Both groups have prime order, so 64 bits leave a bad batch a chance of 2^-64.
fn half_weight(weights: &mut WeightStream) -> [u8; 8] {
    loop {
        let weight = weights.next();
        let mut half = [0; 8];
        half.copy_from_slice(&weight[..8]);
        if half != [0; 8] {
            return half;
        }
    }
}

fn bisect(terms: &[Term<'_>], bad: &mut Vec<usize>) {
    match terms {
        [] => {}
        [term] => {
            let signature = raw::p2_from_affine(&term.signature.0);
            if !pairing_equation(&[term.key.point], &[term.message.0], &signature) {
                bad.push(term.index);
            }
        }
        _ if batch_holds(terms) => {}
        _ => {
            let (left, right) = terms.split_at(terms.len() / 2);
            bisect(left, bad);
            bisect(right, bad);
        }
    }
}

/// The number of terms of one task: enough for the multiplications of a sum to share their work.
const CHUNK: usize = 128;

fn batch_holds(terms: &[Term<'_>]) -> bool {
    // e(sum w pk, H(m)) for each message, against e(G, sum w sig) over all.
    let groups: Vec<&[Term<'_>]> = terms.chunk_by(|a, b| a.number == b.number).collect();
    let (signature, keys) = rayon::join(
        || {
            terms
                .par_chunks(CHUNK)
                .map(|chunk| {
                    let points: Vec<_> = chunk.iter().map(|term| term.signature.0).collect();
                    let scalars: Vec<u8> = chunk.iter().flat_map(|term| term.weight).collect();
                    raw::p2s_multiply(&points, &scalars, 64)
                })
                .reduce(blst_p2::default, |a, b| raw::p2_add(&a, &b))
        },
        || {
            groups
                .par_iter()
                .map(|group| {
                    group
                        .par_chunks(CHUNK)
                        .map(|chunk| {
                            let points: Vec<_> = chunk.iter().map(|term| term.key.point).collect();
                            let scalars: Vec<u8> = chunk.iter().flat_map(|term| term.weight).collect();
                            raw::p1s_multiply(&points, &scalars, 64)
                        })
                        .reduce(blst_p1::default, |a, b| raw::p1_add(&a, &b))
                })
                .collect::<Vec<_>>()
        },
    );
    let keys = raw::p1s_to_affine(&keys);
    let hashes: Vec<_> = groups
        .iter()
        .filter_map(|group| group.first())
        .map(|term| term.message.0)
        .collect();
    pairing_equation(&keys, &hashes, &signature)
}

/// Pairs of one chunk of Miller loops; they share their squarings.
const PAIRS: usize = 16;

/// Whether the product of e(key, hash) over all pairs is e(G, signature).
fn pairing_equation(keys: &[blst_p1_affine], hashes: &[blst_p2_affine], signature: &blst_p2) -> bool {
    // A pair with infinity contributes one. It comes from no honest input, but from no outside one either may
    // it reach the Miller loop, which is not made for it.
    let infinity = blst_p1_affine::default();
    let mut p: Vec<blst_p1_affine> = Vec::with_capacity(keys.len() + 1);
    let mut q: Vec<blst_p2_affine> = Vec::with_capacity(keys.len() + 1);
    for (key, hash) in keys.iter().zip(hashes) {
        if *key != infinity {
            p.push(*key);
            q.push(*hash);
        }
    }
    if !raw::p2_is_infinity(signature) {
        p.push(raw::p1_to_affine(&raw::p1_generator()));
        q.push(raw::p2_to_affine(&raw::p2_neg(signature)));
    }
    if p.is_empty() {
        return true;
    }
    let product = if p.len() <= PAIRS {
        raw::miller_loops(&p, &q)
    } else {
        p.par_chunks(PAIRS)
            .zip(q.par_chunks(PAIRS))
            .map(|(p, q)| raw::miller_loops(p, q))
            .reduce(blst_fp12::default, |a, b| raw::fp12_multiply(&a, &b))
    };
    raw::pairs_cancel(&product)
}

fn hash_to_g2(message: &[u8]) -> blst_p2 {
    raw::p2_hash(message, domains::ETHEREUM_BLS.as_bytes())
}

/// Signatures with torsion added, for tests.
#[cfg(any(test, feature = "testing"))]
pub mod torsion {
    use super::{Signature, raw};

    /// r, the order of the groups.
    const R: [u8; 32] = crate::scalar::ORDER;

    /// The encodings of the signature plus T, 2 T, 3 T, ... with a point T of the curve that r does not kill.
    ///
    /// # Panics
    /// If the curve had no such point.
    pub fn added_to(signature: &Signature) -> impl Iterator<Item = [u8; 96]> {
        let base = (0..=u8::MAX)
            .find_map(|x| {
                let mut bytes = [0; 96];
                (bytes[0], bytes[95]) = (0x80, x);
                raw::p2_uncompress(&bytes)
            })
            .expect("every second x is one of a point");
        let base = raw::p2_from_affine(&base);
        let mut torsion = blst::blst_p2::default();
        for bit in R
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        {
            torsion = raw::p2_double(&torsion);
            if bit == 1 {
                torsion = raw::p2_add(&torsion, &base);
            }
        }
        assert!(!raw::p2_is_infinity(&torsion));
        let mut sum = raw::p2_from_affine(&signature.0);
        std::iter::repeat_with(move || {
            sum = raw::p2_add(&sum, &torsion);
            raw::p2_affine_compress(&raw::p2_to_affine(&sum))
        })
    }
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;
    use crate::hash::sha256;

    fn key(n: u64) -> SecretKey {
        SecretKey::from_bytes(&{
            let mut bytes = sha256(&[&n.to_be_bytes()]);
            bytes[0] = 0;
            bytes
        })
        .unwrap()
    }

    /// From the Ethereum consensus tests, `bls/sign/sign_case_84d45c9c7cca6b92`.
    #[test]
    fn ethereum_vector() {
        let secret = SecretKey::from_bytes(&hex!(
            "263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3"
        ))
        .unwrap();
        let public = hex!(
            "a491d1b0ecd9bb917989f0e74f0dea0422eac4a873e5e2644f368dffb9a6e20fd6e10c1b77654d067c0618f6e5a7f79a"
        );
        assert_eq!(secret.public_key().to_bytes(), public);
        let message = [0xab; 32];
        let signature = secret.sign(&message);
        assert!(signature.verify(&secret.public_key(), &message));
        assert!(!signature.verify(&secret.public_key(), &[0xac; 32]));
        assert!(!signature.verify(&key(1).public_key(), &message));
        // The same by blst's own interface.
        let theirs = blst::min_pk::SecretKey::from_bytes(&secret.to_bytes()[..]).unwrap();
        let expected = theirs
            .sign(&message, domains::ETHEREUM_BLS.as_bytes(), &[])
            .to_bytes();
        assert_eq!(signature.to_bytes(), expected);
        assert_eq!(theirs.sk_to_pk().to_bytes(), public);
    }

    #[test]
    fn bad_encodings_are_refused() {
        let public = key(1).public_key().to_bytes();
        assert!(PublicKey::from_bytes(&public).is_ok());
        let signature = key(1).sign(b"m").to_bytes();
        assert!(Signature::from_bytes(&signature).is_ok());
        for flags in [0x00, 0x20, 0x40, 0x60, 0xc0, 0xe0] {
            let mut bytes = public;
            bytes[0] = bytes[0] & 0x1f | flags;
            assert_eq!(PublicKey::from_bytes(&bytes), Err(BlsError::Encoding));
            let mut bytes = signature;
            bytes[0] = bytes[0] & 0x1f | flags;
            assert_eq!(Signature::from_bytes(&bytes), Err(BlsError::Encoding));
        }
        let mut infinity = [0; 48];
        infinity[0] = 0xc0;
        assert_eq!(PublicKey::from_bytes(&infinity), Err(BlsError::Encoding));
        let mut infinity = [0; 96];
        infinity[0] = 0xc0;
        assert_eq!(Signature::from_bytes(&infinity), Err(BlsError::Encoding));
        assert!(SecretKey::from_bytes(&[0; 32]).is_none());
    }

    #[test]
    fn points_outside_the_groups_are_refused() {
        // Points with small x are as good as random: the chance to be in the group is one in 2^125 or less.
        let mut seen = 0;
        for x in 0..=255 {
            let mut bytes = [0; 48];
            bytes[0] = 0x80;
            bytes[47] = x;
            if raw::p1_uncompress(&bytes).is_some() {
                assert_eq!(PublicKey::from_bytes(&bytes), Err(BlsError::Subgroup));
                seen += 1;
            }
            let mut bytes = [0; 96];
            bytes[0] = 0x80;
            bytes[95] = x;
            if raw::p2_uncompress(&bytes).is_some() {
                assert_eq!(Signature::from_bytes(&bytes), Err(BlsError::Subgroup));
                seen += 1;
            }
        }
        assert!(seen > 100);
    }

    #[test]
    fn aggregates() {
        let keys: Vec<_> = (1..=5).map(key).collect();
        let public: Vec<_> = keys.iter().map(SecretKey::public_key).collect();
        let signatures: Vec<_> = keys.iter().map(|key| key.sign(b"one message")).collect();
        let sum = Signature::aggregate(&signatures).unwrap();
        assert!(fast_aggregate_verify(&public, b"one message", &sum));
        assert!(!fast_aggregate_verify(&public[1..], b"one message", &sum));
        assert!(!fast_aggregate_verify(&[], b"one message", &sum));
        assert!(Signature::aggregate(&[]).is_none());
        assert!(aggregate_public_keys(&[]).is_none());
    }

    #[test]
    fn batches_name_the_bad_ones() {
        let mut weights = WeightStream::new(&[3; 32]);
        let mut items: Vec<_> = (0..40_u64)
            .map(|i| {
                let message = sha256(&[&(i % 7).to_be_bytes()]);
                (key(i).public_key(), message, key(i).sign(&message))
            })
            .collect();
        assert_eq!(verify_batch(&[], &mut weights), Ok(()));
        assert_eq!(verify_batch(&items[..1], &mut weights), Ok(()));
        assert_eq!(verify_batch(&items, &mut weights), Ok(()));
        // Two errors that cancel in a plain sum: signatures of one message swapped.
        let (a, b) = (items[3].2.clone(), items[10].2.clone());
        items[3].2 = b;
        items[10].2 = a;
        items[38].1 = [9; 32];
        assert_eq!(verify_batch(&items, &mut weights), Err(vec![3, 10, 38]));
        assert_eq!(verify_batch(&items[38..39], &mut weights), Err(vec![0]));
    }

    #[test]
    fn hashed_messages_are_the_same_messages() {
        let mut weights = WeightStream::new(&[4; 32]);
        let roots: Vec<Hash> = (0..7_u64).map(|i| sha256(&[&i.to_be_bytes()])).collect();
        let messages = HashedMessage::all(&roots);
        let mut items: Vec<_> = (0..20_u64)
            .map(|i| {
                let number = usize::try_from(i % 7).unwrap();
                let signature = key(i).sign_hashed(&messages[number]);
                assert_eq!(signature, key(i).sign(&roots[number]));
                (key(i).public_key(), number, signature)
            })
            .collect();
        assert_eq!(verify_batch_hashed(&items, &messages, &mut weights), Ok(()));
        // Of another message, of none, and of another key.
        items[4].1 = 5;
        items[6].1 = 7;
        items[9].0 = key(10).public_key();
        assert_eq!(
            verify_batch_hashed(&items, &messages, &mut weights),
            Err(vec![4, 6, 9])
        );
        assert_eq!(verify_batch_hashed(&items[..1], &[], &mut weights), Err(vec![0]));
    }
}
