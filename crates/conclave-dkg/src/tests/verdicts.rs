//! One verdict: singly, in a batch with whatever weights, online, and offline from evidence or a transcript.

use std::sync::Arc;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use crate::board::Board;
use crate::body::RevealBody;
use crate::entry::{Entry, Step};
use crate::evidence::Kind;
use crate::testing::{Prover, Sim, node_key, points};
use crate::transcript::{Transcript, TranscriptError};
use conclave_crypto::bls::{BlsError, SecretKey, Signature, torsion as torsion_of_g2, verify_batch};
use conclave_crypto::commit::{self, SharePair, check_dealers, check_shares};
use conclave_crypto::hash::{WeightStream, sha256};
use conclave_crypto::point::{G1, torsion};
use conclave_crypto::proof::{self, Statement};
use conclave_crypto::scalar::Scalar;

/// Seeds of weights under which batches must give the verdict of single checks.
const SEEDS: u64 = 10_000;

fn weights(seed: u64) -> WeightStream {
    WeightStream::new(&sha256(&[b"verdicts", &seed.to_be_bytes()]))
}

fn random_torsion(rng: &mut ChaCha8Rng) -> G1 {
    let order = if rng.random() { 3 } else { 11 };
    torsion::of_order(order).mul_u64_vartime(rng.random_range(0..order.into()))
}

#[test]
fn shares_get_one_verdict_whatever_the_weights() {
    let (t, x) = (2, 3);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let dealers: Vec<(Vec<G1>, Vec<SharePair>, bool)> = (0..48u64)
        .map(|number| {
            let scalars: Vec<Scalar> = (0..4).map(|_| Scalar::from_u64(rng.random())).collect();
            let commitments = [(0, 2), (1, 3)]
                .map(|(a, b)| commit::pedersen(&scalars[a], &scalars[b]).add(&random_torsion(&mut rng)));
            let mut pair = SharePair {
                s: commit::evaluate(&scalars[..2], x),
                s_blind: commit::evaluate(&scalars[2..], x),
            };
            if number.is_multiple_of(8) {
                pair.s = &pair.s + &Scalar::from_u64(1);
            }
            (commitments.to_vec(), vec![pair], !number.is_multiple_of(8))
        })
        .collect();
    for (commitments, shares, good) in &dealers {
        let alone = check_shares(commitments, t, x, shares, &mut weights(0));
        assert_eq!(alone.is_ok(), *good, "torsion changes no verdict");
    }
    (0..SEEDS).into_par_iter().for_each(|seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let picked: Vec<&_> = (0..3)
            .map(|_| &dealers[rng.random_range(0..dealers.len())])
            .collect();
        let batch: Vec<(&[G1], &[SharePair])> = picked
            .iter()
            .map(|(commitments, shares, _)| (commitments.as_slice(), shares.as_slice()))
            .collect();
        let verdicts = check_dealers(&batch, t, x, &mut weights(seed));
        for (verdict, (_, _, good)) in verdicts.iter().zip(&picked) {
            assert_eq!(verdict.is_ok(), *good, "seed {seed}");
        }
    });
}

/// Reveals of operator 1 with torsion in all sorts of places, and whether their proof holds.
fn reveals(sim: &Sim) -> Vec<(Entry, bool)> {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let deal = sim.said(0, Step::Deal, 1);
    let coefficients = sim.secrets_of(0).coefficients(&sim.terms, &deal.session);
    let make = |number: u64| {
        let mut entry = Prover {
            deal: &deal,
            reveal: &sim.said(0, Step::Reveal, 1),
            coefficients: &coefficients,
            added: &[(0, random_torsion(&mut rng)), (1, random_torsion(&mut rng))],
            nonces: [random_torsion(&mut rng), random_torsion(&mut rng)],
        }
        .entry(&sim.terms);
        let holds = !number.is_multiple_of(8);
        if !holds {
            *entry.body.last_mut().unwrap() ^= 1;
            entry.signature = node_key(1).sign(&entry.id(&sim.terms));
        }
        (entry, holds)
    };
    (0..32).map(make).collect()
}

/// A ceremony that got as far as the vote, so that everybody still has its seed.
fn revealed(seed: u64) -> Sim {
    let mut sim = Sim::new(2, 2, 1, seed);
    sim.forge = Some((
        0,
        Box::new(|_, _, e| if e.step >= Step::Stored { vec![] } else { vec![e] }),
    ));
    sim.start();
    sim.run();
    sim
}

#[test]
fn proofs_get_one_verdict_whatever_the_weights() {
    let sim = revealed(3);
    let terms = &sim.terms;
    let deal = sim.said(0, Step::Deal, 1);
    let (id, pedersen) = (deal.id(terms), points(&deal.body[..terms.deal_public_bytes()]));
    let reveals = reveals(&sim);
    let bodies: Vec<RevealBody> = reveals
        .iter()
        .map(|(e, _)| RevealBody::decode(terms, &e.body).unwrap())
        .collect();
    let prev = reveals[0].0.prev_hash();
    let item = |at: usize| {
        let statement = Statement {
            sid: &deal.session,
            dealer: 1,
            deal_id: &id,
            prev_hash: &prev,
            pedersen: &pedersen,
            feldman: &bodies[at].points,
            feldman_bytes: &reveals[at].0.body[..terms.deal_public_bytes()],
        };
        (statement, &bodies[at].proof)
    };
    for (at, (_, holds)) in reveals.iter().enumerate() {
        let (statement, proof) = item(at);
        assert_eq!(
            proof::verify(&statement, proof),
            *holds,
            "torsion changes no verdict"
        );
    }
    (0..SEEDS).into_par_iter().for_each(|seed| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let picked: Vec<usize> = (0..2).map(|_| rng.random_range(0..reveals.len())).collect();
        let items: Vec<_> = picked.iter().map(|at| item(*at)).collect();
        let verdicts = proof::verify_all(&items, &mut weights(seed));
        for (verdict, at) in verdicts.iter().zip(&picked) {
            assert_eq!(*verdict, reveals[*at].1, "seed {seed}");
        }
    });
}

/// Judged online by boards with other weights, and offline from the evidence of one.
fn assert_one_verdict(sim: &Sim, entries: &[Entry], seed: u64) -> bool {
    let seed_of = |label: &[u8]| sha256(&[label, &seed.to_be_bytes()]);
    let mut online = Board::new(sim.terms.clone(), &seed_of(b"online"));
    online.receive(entries.to_vec());
    let mut offline = Board::offline(sim.terms.clone(), &seed_of(b"offline"));
    offline.receive(entries.to_vec());
    let verdict = online.verdict(1);
    assert_eq!(verdict, offline.verdict(1), "seed {seed}");
    for finding in &verdict {
        let evidence = online.evidence(1, *finding).unwrap();
        assert!(evidence.check(&sim.terms, &seed_of(b"evidence")), "seed {seed}");
    }
    verdict.is_empty()
}

#[test]
fn boards_and_evidence_agree_about_shares_and_proofs_with_torsion() {
    let sim = revealed(4);
    let board = sim.peers[0].operator.board();
    let all: Vec<Entry> = board
        .order()
        .iter()
        .map(|id| (*board.get(id).unwrap().entry).clone())
        .collect();
    let before: Vec<Entry> = all
        .iter()
        .filter(|e| e.step < Step::Reveal || (e.step == Step::Reveal && e.operator == 2))
        .cloned()
        .collect();
    // Proofs. Torsion in the points leaves the sum outside of G1, whatever the proof; in the nonces alone it does not matter.
    for (seed, (reveal, holds)) in (0..).zip(reveals(&sim)) {
        let mut entries = before.clone();
        let body = RevealBody::decode(&sim.terms, &reveal.body).unwrap();
        entries.push(reveal);
        assert_eq!(assert_one_verdict(&sim, &entries, seed), holds && body.in_g1());
    }
    // Shares: a Complaint about a good one is false, whatever torsion is in the commitments.
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for seed in 0..200 {
        let mut entries: Vec<Entry> = all.iter().filter(|e| e.step == Step::Join).cloned().collect();
        let mut deal = sim.said(0, Step::Deal, 1);
        let bad = seed % 4 == 0;
        let mut commitments = points(&deal.body[..sim.terms.deal_public_bytes()]);
        for point in &mut commitments {
            *point = point.add(&random_torsion(&mut rng));
        }
        if bad {
            commitments[1] = commitments[1].double();
        }
        let bytes = G1::batch_to_uncompressed(&commitments).concat();
        deal.body[..bytes.len()].copy_from_slice(&bytes);
        deal.signature = node_key(1).sign(&deal.id(&sim.terms));
        let key = sim.secrets_of(1).seal_secret(&sim.terms, 1).unwrap().to_bytes();
        let complaint = Entry::signed(
            &node_key(2),
            &sim.terms,
            (deal.session, 1, 2),
            Step::Ack,
            vec![deal.id(&sim.terms)],
            key.to_vec(),
        );
        entries.extend([deal, complaint]);
        assert!(!assert_one_verdict(&sim, &entries, seed));
        let mut board = Board::offline(sim.terms.clone(), &[9; 32]);
        board.receive(entries);
        let kind = if bad { Kind::BadShare } else { Kind::FalseComplaint };
        assert!(board.verdict(1).iter().all(|f| f.kind == kind), "seed {seed}");
    }
}

#[test]
fn partial_signatures_with_torsion_get_one_verdict() {
    let key = SecretKey::from_bytes(&[7; 32]).unwrap();
    let message = sha256(&[b"a root"]);
    let good = key.sign(&message);
    let tries = usize::try_from(SEEDS).unwrap();
    for (number, bytes) in torsion_of_g2::added_to(&good).take(tries).enumerate() {
        assert_eq!(Signature::from_bytes(&bytes), Err(BlsError::Subgroup), "{number}");
    }
    // What passes the subgroup check gets one verdict under all weights.
    let wrong = key.sign(b"something else");
    let items = |bad: bool| {
        let third = if bad { wrong.clone() } else { good.clone() };
        let signatures = [good.clone(), good.clone(), third];
        signatures
            .map(|signature| (key.public_key(), message, signature))
            .to_vec()
    };
    for seed in 0..100 {
        assert_eq!(verify_batch(&items(false), &mut weights(seed)), Ok(()));
        assert_eq!(verify_batch(&items(true), &mut weights(seed)), Err(vec![2]));
    }
}

#[test]
fn a_sign_with_torsion_is_refused_online_and_in_a_transcript() {
    let mut sim = Sim::new(2, 2, 1, 6);
    sim.start();
    sim.run();
    let board = sim.peers[0].operator.board();
    let mut entries: Vec<Entry> = board
        .order()
        .iter()
        .map(|id| (*board.get(id).unwrap().entry).clone())
        .collect();
    let sign = entries
        .iter_mut()
        .find(|e| e.step == Step::Sign && e.operator == 1)
        .unwrap();
    let first = Signature::from_bytes(sign.body[..96].try_into().unwrap()).unwrap();
    let bytes = torsion_of_g2::added_to(&first).next().unwrap();
    sign.body[..96].copy_from_slice(&bytes);
    sign.signature = node_key(1).sign(&sign.id(&sim.terms));
    for seed in 0..20 {
        let signed: Vec<Entry> = entries.iter().filter(|e| e.step <= Step::Sign).cloned().collect();
        assert!(!assert_one_verdict(&sim, &signed, seed));
        entries.sort_by_key(|e| (e.attempt, e.step, e.operator));
        let transcript = Transcript {
            definition_hash: *sim.terms.definition_hash(),
            net: [2; 32],
            entries: entries.iter().map(|e| e.strip(&sim.terms)).collect(),
        };
        let shown = transcript.check(&Arc::clone(&sim.terms), &[seed.to_be_bytes()[7]; 32]);
        assert!(matches!(shown, Err(TranscriptError::BadEntries(..))));
    }
}
