//! What an operator keeps to itself in one attempt, all of it a function of its seed, its node key and what it received.
//!
//! Re-creating an entry gives the same bytes, so a crash never makes an operator say two things.

use std::sync::OnceLock;

use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use conclave_crypto::commit::{self, SharePair};
use conclave_crypto::domains;
use conclave_crypto::hash::{Hash, Prk, WeightStream, sha256};
use conclave_crypto::node::NodeKey;
use conclave_crypto::point::G1;
use conclave_crypto::proof::{self, Statement};
use conclave_crypto::scalar::Scalar;
use conclave_crypto::seal::{self, SealSecret};

use super::body;
use super::entry::{Entry, Id};
use super::terms::Terms;

/// The 32 random bytes of one attempt, durable before the attempt's first entry.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl Seed {
    /// Takes bytes of the operating system's generator.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(*bytes)
    }

    /// The bytes, to be stored with mode 0600.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Secrets of one attempt.
pub struct Secrets {
    prk: Prk,
    /// Key pairs for dealers 1..=n, derived when first needed.
    seal_keys: OnceLock<Vec<SealSecret>>,
}

impl Secrets {
    /// `PRK` = HKDF-Extract(salt = ctx, seed || node secret key).
    pub fn new(terms: &Terms, attempt: u32, seed: &Seed, key: &NodeKey) -> Self {
        Self {
            prk: Prk::extract(&terms.ctx(attempt), &[seed.bytes(), key.to_bytes().as_slice()]),
            seal_keys: OnceLock::new(),
        }
    }

    /// The decryption keys, by dealer.
    fn seal_keys(&self, terms: &Terms) -> &[SealSecret] {
        self.seal_keys.get_or_init(|| {
            terms
                .indices()
                .map(|dealer| SealSecret::derive(&self.prk.expand::<32>(&[b"hpke", &dealer.to_be_bytes()])))
                .collect()
        })
    }

    /// The decryption key for what dealer `dealer` (from 1) seals to this operator.
    pub fn seal_secret(&self, terms: &Terms, dealer: u16) -> Option<&SealSecret> {
        self.seal_keys(terms).get(usize::from(dealer).checked_sub(1)?)
    }

    /// The public keys of the Join, for dealers 1..=n.
    pub fn seal_publics(&self, terms: &Terms) -> Vec<[u8; 32]> {
        self.seal_keys(terms).iter().map(SealSecret::public).collect()
    }

    fn coefficient(&self, label: &[u8], sid: &Hash, validator: usize, k: usize) -> Scalar {
        let validator = u32::try_from(validator).unwrap_or(u32::MAX);
        let k = u16::try_from(k).unwrap_or(u16::MAX);
        let wide: Zeroizing<[u8; 64]> =
            self.prk
                .expand(&[label, sid, &validator.to_be_bytes(), &k.to_be_bytes()]);
        Scalar::from_wide_be(&wide)
    }

    /// All coefficient pairs (a, b) of this dealer, validator-major.
    pub fn coefficients(&self, terms: &Terms, sid: &Hash) -> Vec<(Scalar, Scalar)> {
        let t = terms.t();
        (0..terms.points())
            .into_par_iter()
            .with_min_len(64)
            .map(|i| {
                (
                    self.coefficient(b"a", sid, i / t, i % t),
                    self.coefficient(b"b", sid, i / t, i % t),
                )
            })
            .collect()
    }

    /// The body of this dealer's Deal. `recipients[j-1]` is X_{j,dealer} of the session's Joins.
    ///
    /// Returns `None` only if a recipient's key is unusable, which an admitted Join rules out.
    pub fn deal(&self, terms: &Terms, sid: &Hash, dealer: u16, recipients: &[[u8; 32]]) -> Option<Vec<u8>> {
        let coefficients = self.coefficients(terms, sid);
        let sealed: Option<Vec<Vec<u8>>> = terms
            .indices()
            .zip(recipients)
            .collect::<Vec<_>>()
            .par_iter()
            .map(|(index, recipient)| {
                let plain = shares_for(terms, &coefficients, *index);
                let digest = sha256(&[&plain]);
                let ephemeral = self
                    .prk
                    .expand::<32>(&[b"enc", sid, &index.to_be_bytes(), &digest]);
                seal::seal(
                    recipient,
                    &share_info(sid),
                    &share_aad(dealer, *index),
                    &plain,
                    &ephemeral,
                )
            })
            .collect();
        let mut body = commitments(&coefficients);
        body.reserve_exact(terms.n() * terms.sealed_bytes());
        for part in sealed? {
            body.extend_from_slice(&part);
        }
        Some(body)
    }

    /// The body of this dealer's Reveal.
    pub fn reveal(
        &self,
        terms: &Terms,
        sid: &Hash,
        dealer: u16,
        deal_id: &Id,
        prev_hash: &Hash,
        pedersen: &[G1],
    ) -> Vec<u8> {
        let coefficients = self.coefficients(terms, sid);
        let points: Vec<G1> = coefficients
            .par_iter()
            .with_min_len(4)
            .map(|(a, _)| commit::feldman(a))
            .collect();
        let mut body = Vec::with_capacity(terms.deal_public_bytes() + proof::Proof::SIZE);
        for point in G1::batch_to_uncompressed(&points) {
            body.extend_from_slice(&point);
        }
        let nonce_key = self.prk.expand::<32>(&[b"pok", sid]);
        let statement = Statement {
            sid,
            dealer,
            deal_id,
            prev_hash,
            pedersen,
            feldman: &points,
            feldman_bytes: &body.clone(),
        };
        let proof = proof::prove(&statement, &coefficients, &nonce_key);
        body.extend_from_slice(&proof.to_bytes());
        body
    }
}

/// The public part of a Deal's body: the Pedersen commitments to all coefficient pairs.
pub fn commitments(coefficients: &[(Scalar, Scalar)]) -> Vec<u8> {
    let points: Vec<G1> = coefficients
        .par_iter()
        .with_min_len(4)
        .map(|(a, b)| commit::pedersen(a, b))
        .collect();
    G1::batch_to_uncompressed(&points).into_flattened()
}

/// What a dealer seals to a recipient: for each validator the pair (s, s'), 32 bytes each.
pub fn shares_for(terms: &Terms, coefficients: &[(Scalar, Scalar)], recipient: u16) -> Zeroizing<Vec<u8>> {
    let x = u64::from(recipient);
    let mut plain = Zeroizing::new(Vec::with_capacity(terms.validators() * 64));
    for pairs in coefficients.chunks(terms.t()) {
        for s in [
            commit::evaluate(pairs.iter().map(|(a, _)| a), x),
            commit::evaluate(pairs.iter().map(|(_, b)| b), x),
        ] {
            plain.extend_from_slice(s.to_be_bytes().as_slice());
        }
    }
    plain
}

/// Reads what [`shares_for`] wrote; `None` unless it is a canonical pair for each validator.
pub fn read_shares(terms: &Terms, plain: &[u8]) -> Option<Vec<SharePair>> {
    if plain.len() != terms.validators() * 64 {
        return None;
    }
    let scalar = |half: Option<&[u8]>| Scalar::from_be_bytes(half?.try_into().ok()?);
    // The whole length at once: a vector that grows leaves copies of its scalars behind that nobody wipes.
    let mut pairs = Vec::with_capacity(terms.validators());
    for pair in plain.chunks(64) {
        pairs.push(SharePair {
            s: scalar(pair.get(..32))?,
            s_blind: scalar(pair.get(32..))?,
        });
    }
    Some(pairs)
}

fn share_info(sid: &Hash) -> Vec<u8> {
    [domains::SHARE.as_bytes(), sid].concat()
}

fn share_aad(dealer: u16, recipient: u16) -> [u8; 4] {
    let (d, r) = (dealer.to_be_bytes(), recipient.to_be_bytes());
    [d[0], d[1], r[0], r[1]]
}

/// A dealer's shares for one operator, or what is wrong with them.
pub enum Opened {
    /// Opens, canonical, and fits the commitments of all validators.
    Good(Vec<SharePair>),
    /// Does not open, or is not canonical.
    Unreadable,
    /// Opens, but the shares of these validators (from 0) do not fit.
    Wrong(Vec<usize>),
}

/// Opens what `deal` seals to `recipient`; `None` if it does not open or is not canonical.
pub fn unseal(terms: &Terms, deal: &Entry, recipient: u16, secret: &SealSecret) -> Option<Vec<SharePair>> {
    let sealed = body::sealed_for(terms, &deal.body, recipient)?;
    let aad = share_aad(deal.operator, recipient);
    read_shares(
        terms,
        &seal::open(secret, &share_info(&deal.session), &aad, sealed)?,
    )
}

/// Opens what `deal` seals to `recipient` and checks it ("good" of docs/protocol.md). The evaluation point is the recipient's
/// own index. Also judges Complaints, with the key that the complainer published.
pub fn open_share(
    terms: &Terms,
    deal: &Entry,
    commitments: &[G1],
    recipient: u16,
    secret: &SealSecret,
    weights: &mut WeightStream,
) -> Opened {
    let Some(pairs) = unseal(terms, deal, recipient, secret) else {
        return Opened::Unreadable;
    };
    match commit::check_shares(commitments, terms.t(), u64::from(recipient), &pairs, weights) {
        Ok(()) => Opened::Good(pairs),
        Err(bad) => Opened::Wrong(bad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing as sim;

    #[test]
    fn shares_are_read_into_exactly_the_room_they_need() {
        for v in [1, 3, 5, 9, 100] {
            let terms = sim::terms(3, 2, v);
            let coefficients: Vec<(Scalar, Scalar)> = (0..2 * v as u64)
                .map(|i| (Scalar::from_u64(i + 1), Scalar::from_u64(i + 7)))
                .collect();
            let plain = shares_for(&terms, &coefficients, 2);
            assert_eq!(plain.capacity(), 64 * v);
            let pairs = read_shares(&terms, &plain).unwrap();
            // More room would mean that it grew, and left copies behind.
            assert_eq!((pairs.len(), pairs.capacity()), (v, v));
            assert!(read_shares(&terms, &plain[1..]).is_none());
            let mut beyond = plain.to_vec();
            beyond[64 * v - 32..].fill(0xff);
            assert!(read_shares(&terms, &beyond).is_none(), "not below the order");
        }
    }
}
