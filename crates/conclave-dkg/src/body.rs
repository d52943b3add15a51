//! The bodies of entries, decoded strictly: exact lengths, canonical points and scalars.
//!
//! A body that these functions refuse is provably wrong: its author is guilty of a `BadEntry`.

use std::sync::OnceLock;

use rayon::prelude::*;

use conclave_crypto::bls::Signature;
use conclave_crypto::domains;
use conclave_crypto::hash::{Hash, sha256};
use conclave_crypto::point::G1;
use conclave_crypto::proof::Proof;
use conclave_crypto::seal::is_low_order;

use super::terms::{NAME_BYTES, POINT_BYTES, Terms};
use super::wire::Reader;

/// Version of the protocol, the first byte of every Join.
pub const PROTOCOL_VERSION: u8 = 1;

/// Why an operator joins an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The first attempt.
    First = 0,
    /// The attempt before was closed by a verdict.
    Verdict = 1,
    /// Its folder of the attempt before is lost.
    Lost = 2,
    /// Its person wants a new attempt.
    ByHand = 3,
}

impl Reason {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::First, Self::Verdict, Self::Lost, Self::ByHand]
            .get(usize::from(byte))
            .copied()
    }
}

/// Body of a Join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinBody {
    /// Display name, 1 to 32 bytes of UTF-8 without control characters.
    pub name: String,
    /// X25519 public keys, one for each dealer, in operator order.
    pub keys: Vec<[u8; 32]>,
    /// Why it joins.
    pub reason: Reason,
}

/// Whether a display name can stand in a Join: 1 to 32 bytes, no control characters.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES && !name.chars().any(char::is_control)
}

impl JoinBody {
    /// The wire form. The name must satisfy [`is_name`]; a longer one is cut.
    pub fn encode(&self) -> Vec<u8> {
        let mut name = [0u8; NAME_BYTES];
        for (to, from) in name.iter_mut().zip(self.name.bytes()) {
            *to = from;
        }
        let mut out = vec![PROTOCOL_VERSION];
        out.extend_from_slice(&name);
        for key in &self.keys {
            out.extend_from_slice(key);
        }
        out.push(self.reason as u8);
        out
    }

    /// Reads the wire form; keys of low order are refused.
    pub fn decode(terms: &Terms, bytes: &[u8]) -> Option<Self> {
        if bytes.len() != terms.join_bytes() {
            return None;
        }
        let mut reader = Reader::new(bytes);
        if reader.u8()? != PROTOCOL_VERSION {
            return None;
        }
        let padded = reader.array::<NAME_BYTES>()?;
        let length = padded.iter().position(|b| *b == 0).unwrap_or(NAME_BYTES);
        if padded[length..].iter().any(|b| *b != 0) {
            return None;
        }
        let name = std::str::from_utf8(&padded[..length]).ok()?;
        if !is_name(name) {
            return None;
        }
        let mut keys = Vec::with_capacity(terms.n());
        for _ in 0..terms.n() {
            let key = reader.array()?;
            if is_low_order(&key) {
                return None;
            }
            keys.push(key);
        }
        Some(Self {
            name: name.to_owned(),
            keys,
            reason: Reason::from_byte(reader.u8()?)?,
        })
    }
}

/// Decodes V * t points: canonical, on the curve, not the identity.
fn decode_points(bytes: &[u8]) -> Option<Vec<G1>> {
    let decode = |chunk: &[u8]| G1::from_uncompressed(chunk.try_into().ok()?);
    if bytes.len() < 256 * POINT_BYTES {
        bytes.chunks(POINT_BYTES).map(decode).collect()
    } else {
        bytes.par_chunks(POINT_BYTES).map(decode).collect()
    }
}

/// The commitments of a Deal, validator-major; `None` if its length or a point is wrong.
pub fn decode_deal(terms: &Terms, body: &[u8], stripped: bool) -> Option<Vec<G1>> {
    let public = terms.deal_public_bytes();
    let whole = if stripped {
        public
    } else {
        public + terms.n() * terms.sealed_bytes()
    };
    if body.len() != whole {
        return None;
    }
    decode_points(body.get(..public)?)
}

/// The ciphertext for operator `index` (from 1) in the body of a whole Deal.
pub fn sealed_for<'a>(terms: &Terms, body: &'a [u8], index: u16) -> Option<&'a [u8]> {
    let size = terms.sealed_bytes();
    let start = terms.deal_public_bytes() + usize::from(index).checked_sub(1)? * size;
    body.get(start..start.checked_add(size)?)
}

/// Body of a Reveal.
pub struct RevealBody {
    /// Feldman commitments, validator-major.
    pub points: Vec<G1>,
    /// Proof that the dealer knows its polynomials.
    pub proof: Proof,
    in_g1: OnceLock<bool>,
}

impl RevealBody {
    /// Reads the wire form.
    pub fn decode(terms: &Terms, body: &[u8]) -> Option<Self> {
        if body.len() != terms.deal_public_bytes() + Proof::SIZE {
            return None;
        }
        let (points, proof) = body.split_at_checked(terms.deal_public_bytes())?;
        Some(Self {
            points: decode_points(points)?,
            proof: Proof::from_bytes(proof.try_into().ok()?)?,
            in_g1: OnceLock::new(),
        })
    }

    /// Whether all points are in G1. Asked rarely, as the sums are what counts; found out once.
    pub fn in_g1(&self) -> bool {
        *self.in_g1.get_or_init(|| self.points.iter().all(G1::in_subgroup))
    }
}

/// Decodes the partial signatures of a Sign, `[validator][message]` flattened: canonical, in G2, not the identity.
pub fn decode_sign(terms: &Terms, body: &[u8]) -> Option<Vec<Signature>> {
    if body.len() != terms.body_bytes(super::entry::Step::Sign) {
        return None;
    }
    body.par_chunks(96)
        .map(|chunk| Signature::from_bytes(chunk.try_into().ok()?).ok())
        .collect()
}

/// Body of a Done that says that its author's share is lost: H("conclave/lost/1" || session), which is no lock hash.
pub fn share_is_lost(session: &Hash) -> Hash {
    sha256(&[domains::LOST.as_bytes(), session])
}

/// Body of a Seal.
#[derive(Clone, PartialEq, Eq)]
pub struct SealBody {
    /// The lock hash, computed by the author itself.
    pub lock_hash: Hash,
    /// secp256k1 signature of the node key over the lock hash, r || s || v with v 0 or 1.
    pub node_signature: [u8; 65],
    /// The sum over all validators of the own shares' BLS signatures over the lock hash.
    pub aggregate: Signature,
}

impl SealBody {
    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.lock_hash.to_vec();
        out.extend_from_slice(&self.node_signature);
        out.extend_from_slice(&self.aggregate.to_bytes());
        out
    }

    /// Reads the wire form.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let seal = Self {
            lock_hash: reader.array()?,
            node_signature: reader.array()?,
            aggregate: Signature::from_bytes(&reader.array()?).ok()?,
        };
        // One form of the recovery id: other software knows 27 and 28, too, and locks would differ.
        let canonical = seal.node_signature[64] <= 1;
        (canonical && reader.is_empty()).then_some(seal)
    }
}
