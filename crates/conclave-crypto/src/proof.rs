//! A dealer's proof that it knows all its polynomials, sent with its Feldman commitments.
//!
//! Without it, colluding dealers could build their commitments from those of others and end up knowing the
//! group's key, or lower its threshold, whenever t > n / 2. One proof covers all coefficients of all validators.
//! With T the hash of the statement and weights rho from T, let
//!
//! X = sum rho A, Y = sum rho (C - A);
//!
//! the proof is a Schnorr proof for X to base G and Y to base H under one challenge e:
//! z1 G ~ R1 + e X and z2 H ~ R2 + e Y.

use rayon::prelude::*;

use super::commit;
use super::domains;
use super::hash::{Hash, WeightStream, hmac_sha512, sha256, sha512};
use super::point::{self, G1};
use super::scalar::Scalar;

/// The proof: 256 bytes, R1 and R2 uncompressed, z1 and z2 big-endian.
#[derive(Clone)]
pub struct Proof {
    /// k1 G.
    pub r1: G1,
    /// k2 H.
    pub r2: G1,
    /// k1 + e sum rho a.
    pub z1: Scalar,
    /// k2 + e sum rho b.
    pub z2: Scalar,
}

impl Proof {
    /// Length of the encoding in bytes.
    pub const SIZE: usize = 256;

    /// Encodes as 256 bytes.
    pub fn to_bytes(&self) -> [u8; 256] {
        let mut out = [0; 256];
        out[..96].copy_from_slice(&self.r1.to_uncompressed());
        out[96..192].copy_from_slice(&self.r2.to_uncompressed());
        out[192..224].copy_from_slice(&self.z1.to_be_bytes()[..]);
        out[224..].copy_from_slice(&self.z2.to_be_bytes()[..]);
        out
    }

    /// Decodes 256 bytes; `None` unless the points are canonical, on the curve and not infinity, and the numbers
    /// below r.
    pub fn from_bytes(bytes: &[u8; 256]) -> Option<Self> {
        let (r1, rest) = bytes.split_first_chunk::<96>()?;
        let (r2, rest) = rest.split_first_chunk::<96>()?;
        let (z1, rest) = rest.split_first_chunk::<32>()?;
        let (z2, _) = rest.split_first_chunk::<32>()?;
        Some(Self {
            r1: G1::from_uncompressed(r1)?,
            r2: G1::from_uncompressed(r2)?,
            z1: Scalar::from_be_bytes(z1)?,
            z2: Scalar::from_be_bytes(z2)?,
        })
    }
}

/// What is proven: that a dealer knows the coefficients of its commitments in this session.
pub struct Statement<'a> {
    /// The session.
    pub sid: &'a Hash,
    /// The dealer's index, from 1.
    pub dealer: u16,
    /// The id of its `Deal`.
    pub deal_id: &'a Hash,
    /// The hash of the predecessors that the `Reveal` names.
    pub prev_hash: &'a Hash,
    /// The V t Pedersen commitments C of its `Deal`, validator-major.
    pub pedersen: &'a [G1],
    /// The V t Feldman commitments A of its `Reveal`, validator-major.
    pub feldman: &'a [G1],
    /// The same as bytes, 96 for each, uncompressed, as received.
    pub feldman_bytes: &'a [u8],
}

impl Statement<'_> {
    /// T, the hash of everything that the proof depends on.
    fn hash(&self) -> Hash {
        sha256(&[
            domains::POK.as_bytes(),
            self.sid,
            &self.dealer.to_be_bytes(),
            self.deal_id,
            self.prev_hash,
            self.feldman_bytes,
        ])
    }

    /// Whether there is one A of 96 bytes for each C.
    fn is_whole(&self) -> bool {
        let n = self.feldman.len();
        self.pedersen.len() == n && n.checked_mul(96) == Some(self.feldman_bytes.len())
    }

    /// T, X, Y, computed from public points.
    fn combine(&self) -> (Hash, G1, G1) {
        let t = self.hash();
        let weights = rho(&t, self.feldman.len());
        let (x, sum) = rayon::join(
            || point::multiply_vartime(self.feldman, &weights, 128),
            || point::multiply_vartime(self.pedersen, &weights, 128),
        );
        let y = sum.sub(&x);
        (t, x, y)
    }
}

/// rho_0 .. rho_(count - 1), 16 little-endian bytes each: halves of hashes of T and a counter, so that all of
/// them depend on the whole statement.
fn rho(t: &Hash, count: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 * (count + 1));
    for block in (0_u32..).take(count.div_ceil(2)) {
        out.extend_from_slice(&sha256(&[domains::RHO.as_bytes(), t, &block.to_be_bytes()]));
    }
    out.truncate(16 * count);
    out
}

/// e, the challenge.
fn challenge(t: &Hash, x: &G1, y: &G1, r1: &G1, r2: &G1) -> Scalar {
    let points = G1::batch_to_uncompressed(&[*x, *y, *r1, *r2]);
    Scalar::from_wide_be(&sha512(&[domains::E.as_bytes(), t, points.as_flattened()]))
}

/// Proves knowledge of `coefficients`, pairs (a, b) in the order of the commitments. Constant time in them.
///
/// `nonce_key` is a secret of the session. The nonces are a function of it and of the whole statement, so no
/// two different statements ever share them, not even after a backup was restored.
pub fn prove(statement: &Statement<'_>, coefficients: &[(Scalar, Scalar)], nonce_key: &[u8; 32]) -> Proof {
    let t = statement.hash();
    let weights = rho(&t, coefficients.len());
    let mut a_sum = Scalar::zero();
    let mut b_sum = Scalar::zero();
    for ((a, b), weight) in coefficients.iter().zip(weights.as_chunks::<16>().0) {
        let weight = Scalar::from_u128_le(weight);
        a_sum = &a_sum + &(&weight * a);
        b_sum = &b_sum + &(&weight * b);
    }
    let k1 = Scalar::from_wide_be(&hmac_sha512(nonce_key, &[&t, &[1]]));
    let k2 = Scalar::from_wide_be(&hmac_sha512(nonce_key, &[&t, &[2]]));
    let (r1, r2) = (commit::feldman(&k1), commit::blinding(&k2));
    // The same points as the verifier's sums over A and C - A, at the cost of one multiplication each.
    let (x, y) = (commit::feldman(&a_sum), commit::blinding(&b_sum));
    let e = challenge(&t, &x, &y, &r1, &r2);
    Proof {
        r1,
        r2,
        z1: &k1 + &(&e * &a_sum),
        z2: &k2 + &(&e * &b_sum),
    }
}

/// Whether the proof holds.
pub fn verify(statement: &Statement<'_>, proof: &Proof) -> bool {
    statement.is_whole() && Prepared::new(statement, proof).holds()
}

/// Verifies many proofs, at once by a random linear combination and, if that fails, one by one: the verdict on
/// each is that of [`verify`].
pub fn verify_all(items: &[(Statement<'_>, &Proof)], weights: &mut WeightStream) -> Vec<bool> {
    let prepared: Vec<Option<Prepared<'_>>> = items
        .par_iter()
        .map(|(statement, proof)| statement.is_whole().then(|| Prepared::new(statement, proof)))
        .collect();
    let whole: Vec<&Prepared<'_>> = prepared.iter().flatten().collect();
    // Worth it for a single proof, too: its two equations share their doublings.
    if !whole.is_empty() && all_hold(&whole, weights) {
        return prepared.iter().map(Option::is_some).collect();
    }
    prepared
        .par_iter()
        .map(|item| item.as_ref().is_some_and(Prepared::holds))
        .collect()
}

/// A proof with what its equations need.
struct Prepared<'a> {
    proof: &'a Proof,
    x: G1,
    y: G1,
    e: Scalar,
}

impl<'a> Prepared<'a> {
    fn new(statement: &Statement<'_>, proof: &'a Proof) -> Self {
        let (t, x, y) = statement.combine();
        let e = challenge(&t, &x, &y, &proof.r1, &proof.r2);
        Self { proof, x, y, e }
    }

    fn holds(&self) -> bool {
        let e = self.e.to_raw();
        let holds = |left: G1, r: &G1, point: &G1| {
            point::cofactored_eq(
                &left,
                &r.add(&point::straus(&[*point], std::iter::once(&e.b[..]))),
            )
        };
        holds(commit::feldman(&self.proof.z1), &self.proof.r1, &self.x)
            && holds(commit::blinding(&self.proof.z2), &self.proof.r2, &self.y)
    }
}

fn all_hold(items: &[&Prepared<'_>], weights: &mut WeightStream) -> bool {
    let mut z1 = Scalar::zero();
    let mut z2 = Scalar::zero();
    let mut points = Vec::with_capacity(4 * items.len());
    let mut scalars: Vec<Vec<u8>> = Vec::with_capacity(4 * items.len());
    for item in items {
        for (z_sum, z, r, point) in [
            (&mut z1, &item.proof.z1, item.proof.r1, item.x),
            (&mut z2, &item.proof.z2, item.proof.r2, item.y),
        ] {
            let bytes = weights.next();
            let weight = Scalar::from_u128_le(&bytes);
            *z_sum = &*z_sum + &(&weight * z);
            points.push(r);
            scalars.push(bytes.to_vec());
            points.push(point);
            scalars.push((&weight * &item.e).to_raw().b.to_vec());
        }
    }
    let right = point::straus(&points, scalars.iter().map(Vec::as_slice));
    point::cofactored_eq(&commit::pedersen(&z1, &z2), &right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::torsion;

    struct Dealer {
        index: u16,
        coefficients: Vec<(Scalar, Scalar)>,
        pedersen: Vec<G1>,
        feldman: Vec<G1>,
        bytes: Vec<u8>,
    }

    const SID: Hash = [1; 32];
    const DEAL: Hash = [2; 32];
    const PREV: Hash = [3; 32];

    impl Dealer {
        fn new(index: u16, count: usize) -> Self {
            let mut stream = WeightStream::new(&sha256(&[&index.to_be_bytes()]));
            let coefficients: Vec<_> = (0..count)
                .map(|_| {
                    (
                        Scalar::from_u128_le(&stream.next()),
                        Scalar::from_u128_le(&stream.next()),
                    )
                })
                .collect();
            let mut dealer = Self {
                index,
                pedersen: coefficients.iter().map(|(a, b)| commit::pedersen(a, b)).collect(),
                feldman: coefficients.iter().map(|(a, _)| commit::feldman(a)).collect(),
                coefficients,
                bytes: Vec::new(),
            };
            dealer.encode();
            dealer
        }

        fn encode(&mut self) {
            self.bytes = G1::batch_to_uncompressed(&self.feldman).concat();
        }

        fn statement(&self) -> Statement<'_> {
            Statement {
                sid: &SID,
                dealer: self.index,
                deal_id: &DEAL,
                prev_hash: &PREV,
                pedersen: &self.pedersen,
                feldman: &self.feldman,
                feldman_bytes: &self.bytes,
            }
        }

        fn prove(&self) -> Proof {
            prove(&self.statement(), &self.coefficients, &[9; 32])
        }
    }

    #[test]
    fn honest_proofs_hold() {
        for count in [1, 2, 3, 9, 40] {
            let dealer = Dealer::new(1, count);
            let proof = dealer.prove();
            assert!(verify(&dealer.statement(), &proof));
            let decoded = Proof::from_bytes(&proof.to_bytes()).unwrap();
            assert!(verify(&dealer.statement(), &decoded));
            // Deterministic, as everything in the journal.
            assert_eq!(dealer.prove().to_bytes(), proof.to_bytes());
        }
    }

    /// The definition in the protocol's own words, without any of the shortcuts.
    #[test]
    fn proofs_are_as_defined() {
        let dealer = Dealer::new(7, 3);
        let proof = dealer.prove();
        let mut input = b"conclave/pok/1".to_vec();
        for part in [&SID[..], &[0, 7], &DEAL, &PREV, &dealer.bytes] {
            input.extend_from_slice(part);
        }
        let t = sha256(&[&input]);
        let mut x = G1::identity();
        let mut y = G1::identity();
        for i in 0..3_u32 {
            let mut input = b"conclave/rho/1".to_vec();
            input.extend_from_slice(&t);
            input.extend_from_slice(&(i / 2).to_be_bytes());
            let block = sha256(&[&input]);
            let mut rho: Vec<u8> = if i % 2 == 0 {
                block[..16].to_vec()
            } else {
                block[16..].to_vec()
            };
            rho.reverse();
            let (a, c) = (&dealer.feldman[i as usize], &dealer.pedersen[i as usize]);
            x = x.add(&torsion::multiply(a, &rho));
            y = y.add(&torsion::multiply(&c.sub(a), &rho));
        }
        let mut input = b"conclave/e/1".to_vec();
        input.extend_from_slice(&t);
        for point in [&x, &y, &proof.r1, &proof.r2] {
            input.extend_from_slice(&point.to_uncompressed());
        }
        let e = Scalar::from_wide_be(&sha512(&[&input])).to_be_bytes();
        let check = |base: &G1, z: &Scalar, r: &G1, point: &G1| {
            torsion::multiply(base, &z.to_be_bytes()[..]) == r.add(&torsion::multiply(point, &e[..]))
        };
        assert!(check(&G1::generator(), &proof.z1, &proof.r1, &x));
        assert!(check(&G1::pedersen_h(), &proof.z2, &proof.r2, &y));
    }

    #[test]
    fn every_altered_part_of_a_statement_is_rejected() {
        let dealer = Dealer::new(2, 6);
        let proof = dealer.prove();
        let other = [0xee; 32];
        let verify = |statement: Statement<'_>, proof: &Proof| super::verify(&statement, proof);
        assert!(!verify(
            Statement {
                dealer: 3,
                ..dealer.statement()
            },
            &proof
        ));
        assert!(!verify(
            Statement {
                sid: &other,
                ..dealer.statement()
            },
            &proof
        ));
        assert!(!verify(
            Statement {
                deal_id: &other,
                ..dealer.statement()
            },
            &proof
        ));
        assert!(!verify(
            Statement {
                prev_hash: &other,
                ..dealer.statement()
            },
            &proof
        ));
        let foreign = Dealer::new(3, 6);
        assert!(!verify(
            Statement {
                pedersen: &foreign.pedersen,
                ..dealer.statement()
            },
            &proof
        ));
        assert!(!verify(
            Statement {
                feldman: &foreign.feldman,
                ..dealer.statement()
            },
            &proof
        ));
        assert!(!verify(
            Statement {
                feldman_bytes: &foreign.bytes,
                ..dealer.statement()
            },
            &proof
        ));
        assert!(!verify(
            Statement {
                pedersen: &dealer.pedersen[1..],
                ..dealer.statement()
            },
            &proof
        ));
        assert!(!verify(
            Statement {
                feldman: &dealer.feldman[1..],
                ..dealer.statement()
            },
            &proof
        ));
        assert!(!verify(
            Statement {
                feldman_bytes: &dealer.bytes[1..],
                ..dealer.statement()
            },
            &proof
        ));
    }

    #[test]
    fn every_altered_byte_of_a_proof_is_rejected() {
        let dealer = Dealer::new(2, 6);
        let proof = dealer.prove();
        let verify = |statement: Statement<'_>, proof: &Proof| super::verify(&statement, proof);
        let one = Scalar::from_u64(1);
        let g = G1::generator();
        assert!(!verify(
            dealer.statement(),
            &Proof {
                r1: proof.r1.add(&g),
                ..proof.clone()
            }
        ));
        assert!(!verify(
            dealer.statement(),
            &Proof {
                r2: proof.r2.add(&g),
                ..proof.clone()
            }
        ));
        assert!(!verify(
            dealer.statement(),
            &Proof {
                z1: &proof.z1 + &one,
                ..proof.clone()
            }
        ));
        assert!(!verify(
            dealer.statement(),
            &Proof {
                z2: &proof.z2 + &one,
                ..proof.clone()
            }
        ));
        let bytes = proof.to_bytes();
        for i in 0..256 {
            let mut bad = bytes;
            bad[i] ^= 1;
            assert!(
                Proof::from_bytes(&bad).is_none_or(|bad| !verify(dealer.statement(), &bad)),
                "byte {i}"
            );
        }
    }

    #[test]
    fn encodings_are_strict() {
        let bytes = Dealer::new(1, 1).prove().to_bytes();
        for at in [0, 96] {
            let mut bad = bytes;
            bad[at..at + 96].fill(0);
            assert!(Proof::from_bytes(&bad).is_none());
            bad[at] = 0x40;
            assert!(Proof::from_bytes(&bad).is_none());
        }
        for at in [192, 224] {
            let mut bad = bytes;
            bad[at..at + 32].fill(0xff);
            assert!(Proof::from_bytes(&bad).is_none());
        }
    }

    /// A dealer that does not know the coefficient it copied, cancelled or shifted has no proof.
    #[test]
    fn foreign_coefficients_cannot_be_proven() {
        let victim = Dealer::new(1, 4);
        let mut rogue = Dealer::new(2, 4);
        rogue.feldman[0] = rogue.feldman[0].sub(&victim.feldman[0]);
        rogue.pedersen[0] = rogue.pedersen[0].sub(&victim.pedersen[0]);
        rogue.encode();
        assert!(!verify(&rogue.statement(), &rogue.prove()));
        // A proof for A and C that differ in more than bH: Y then has a part in G.
        let mut rogue = Dealer::new(3, 4);
        rogue.feldman[3] = rogue.feldman[3].add(&G1::generator());
        rogue.encode();
        rogue.coefficients[3].0 = &rogue.coefficients[3].0 + &Scalar::from_u64(1);
        assert!(!verify(&rogue.statement(), &rogue.prove()));
    }

    /// Torsion anywhere, cancelling between dealers and within one, changes no verdict, whatever the weights.
    #[test]
    fn single_and_batched_verdicts_are_equal() {
        let torsion = [torsion::of_order(3), torsion::of_order(11)];
        for seed in 0..100_u8 {
            let t = &torsion[usize::from(seed) % 2];
            let mut dealers: Vec<_> = (1..=4).map(|index| Dealer::new(index, 2)).collect();
            let (d, k) = (usize::from(seed) % 4, usize::from(seed) / 4 % 2);
            let next = (d + 1) % 4;
            // In C the challenge does not see torsion before the proof is made.
            dealers[d].pedersen[k] = dealers[d].pedersen[k].add(t);
            dealers[next].pedersen[k] = dealers[next].pedersen[k].sub(t);
            let mut proofs: Vec<_> = dealers.iter().map(Dealer::prove).collect();
            // In R1 and R2: opposite ones of two dealers.
            if seed % 3 == 0 {
                proofs[d].r1 = proofs[d].r1.add(t);
                proofs[next].r1 = proofs[next].r1.sub(t);
            }
            if seed % 5 == 0 {
                proofs[d].z2 = &proofs[d].z2 + &Scalar::from_u64(1);
            }
            let single: Vec<_> = dealers
                .iter()
                .zip(&proofs)
                .map(|(dealer, proof)| verify(&dealer.statement(), proof))
                .collect();
            let items: Vec<_> = dealers
                .iter()
                .zip(&proofs)
                .map(|(dealer, proof)| (dealer.statement(), proof))
                .collect();
            assert_eq!(verify_all(&items, &mut WeightStream::new(&[seed; 32])), single);
        }
    }

    /// A knowing prover of points with torsion passes: the equations hold up to torsion, alone and in a batch.
    #[test]
    fn torsion_of_a_knowing_prover_is_harmless() {
        let t3 = torsion::of_order(3);
        let mut accepted = 0;
        for seed in 0..60_u8 {
            let mut dealers: Vec<_> = (1..=3)
                .map(|index| Dealer::new(index + 3 * u16::from(seed), 2))
                .collect();
            dealers[0].feldman[1] = dealers[0].feldman[1].add(&t3);
            dealers[1].feldman[1] = dealers[1].feldman[1].sub(&t3);
            dealers.iter_mut().for_each(Dealer::encode);
            let proofs: Vec<_> = dealers
                .iter()
                .map(|dealer| {
                    // Such a prover must take X and Y as the verifier computes them.
                    let k = (Scalar::from_u64(11), Scalar::from_u64(12));
                    let (t, x, y) = dealer.statement().combine();
                    let (r1, r2) = (commit::feldman(&k.0).add(&t3), commit::blinding(&k.1).sub(&t3));
                    let e = challenge(&t, &x, &y, &r1, &r2);
                    let weights = rho(&t, 2);
                    let sum = |of: fn(&(Scalar, Scalar)) -> &Scalar| {
                        dealer
                            .coefficients
                            .iter()
                            .zip(weights.as_chunks::<16>().0)
                            .fold(Scalar::zero(), |sum, (c, w)| {
                                &sum + &(&Scalar::from_u128_le(w) * of(c))
                            })
                    };
                    Proof {
                        r1,
                        r2,
                        z1: &k.0 + &(&e * &sum(|c| &c.0)),
                        z2: &k.1 + &(&e * &sum(|c| &c.1)),
                    }
                })
                .collect();
            let items: Vec<_> = dealers
                .iter()
                .zip(&proofs)
                .map(|(dealer, proof)| (dealer.statement(), proof))
                .collect();
            let verdict = verify_all(&items, &mut WeightStream::new(&[seed; 32]));
            for (accept, (statement, proof)) in verdict.iter().zip(&items) {
                assert!(*accept && verify(statement, proof));
                accepted += 1;
            }
        }
        assert_eq!(accepted, 180);
    }

    #[test]
    fn a_batch_names_the_bad_one() {
        let dealers: Vec<_> = (1..=5).map(|index| Dealer::new(index, 3)).collect();
        let mut proofs: Vec<_> = dealers.iter().map(Dealer::prove).collect();
        proofs.swap(1, 3);
        let items: Vec<_> = dealers
            .iter()
            .zip(&proofs)
            .map(|(dealer, proof)| (dealer.statement(), proof))
            .collect();
        let mut weights = WeightStream::new(&[1; 32]);
        assert_eq!(verify_all(&items, &mut weights), [true, false, true, false, true]);
        assert_eq!(verify_all(&[], &mut weights), [] as [bool; 0]);
    }
}
