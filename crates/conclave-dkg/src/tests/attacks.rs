//! One corrupt operator (number 1) against honest ones that run the real code, one attack after the other.
//!
//! The liar runs an honest operator of its own, and its entries are exchanged on their way out. Each test says what the honest
//! ones end with and whom they blame; [`assert_sound`] says what must hold after every attack.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use rand::RngExt;

use super::ceremonies::assert_finished;
use crate::board::{Board, News};
use crate::body::Reason;
use crate::entry::{Entry, Id, Step};
use crate::evidence::{Evidence, Finding, Kind};
use crate::operator::{Effect, Mark, Operator, Restored};
use crate::rules::Standing;
use crate::secrets::{Secrets, Seed};
use crate::terms::Terms;
use crate::testing::{Forge, Sim, node_key, terms};
use crate::transcript::Transcript;
use conclave_crypto::bls::{BlsError, SecretKey, Signature};
use conclave_crypto::commit;
use conclave_crypto::domains;
use conclave_crypto::point::{G1, torsion};
use conclave_crypto::proof::{self, Proof, Statement};
use conclave_crypto::scalar::Scalar;
use conclave_crypto::seal;

fn resign(terms: &Terms, mut entry: Entry) -> Entry {
    entry.signature = node_key(entry.operator.into()).sign(&entry.id(terms));
    entry
}

/// The ceremony with operator 1 lying as `forge` says, until everybody honest has told everything to everybody.
fn lie(n: usize, t: usize, v: usize, seed: u64, forge: Forge) -> Sim {
    let mut sim = Sim::new(n, t, v, seed);
    sim.forge = Some((0, forge));
    sim.start();
    sim.run();
    silence_liar(&mut sim);
    sim
}

fn silence_liar(sim: &mut Sim) {
    sim.peers[0].evil = true;
    sim.peers[0].online = false;
    sim.settle();
}

/// Changes one step, the same for everybody.
fn change(step: Step, f: impl Fn(&Terms, &mut Entry) + 'static) -> Forge {
    Box::new(move |terms, _, mut entry| {
        if entry.step == step {
            f(terms, &mut entry);
            entry = resign(terms, entry);
        }
        vec![entry]
    })
}

/// What must hold for the honest ones after every attack of operator 1.
fn assert_sound(sim: &Sim) {
    let honest: Vec<_> = sim.peers.iter().filter(|p| !p.evil).collect();
    for k in 1..=3 {
        let verdicts = sim.verdicts(k);
        for verdict in &verdicts {
            assert_eq!(verdict, &verdicts[0], "attempt {k}: different verdicts");
            let guilty = verdict.iter().filter(|f| f.kind.is_guilt());
            assert!(
                guilty.clone().all(|f| f.operator == 1),
                "an honest operator is guilty: {verdict:?}"
            );
        }
    }
    for peer in &honest {
        let board = peer.operator.board();
        for (k, finding) in board.findings() {
            let bytes = board.evidence(k, finding).unwrap().encode();
            let read = Evidence::decode(&sim.terms, &bytes).expect("evidence is readable");
            assert!(
                read.check(&sim.terms, &[3; 32]),
                "evidence of {finding:?} does not hold offline"
            );
        }
        // T1, T2: one attempt is signed at most, and then everybody voted for it.
        let signed = &peer.operator.standing().signed;
        assert!(signed.len() <= 1);
        for k in signed {
            assert!(
                honest.iter().all(|p| p.disk.shares.contains_key(k)),
                "a share is missing"
            );
        }
    }
    let locks: BTreeSet<_> = honest.iter().filter_map(|p| p.disk.lock).collect();
    assert!(locks.len() <= 1, "two locks");
}

fn assert_guilty(sim: &Sim, kind: Kind) {
    assert_sound(sim);
    let guilty = Finding { operator: 1, kind };
    for verdict in sim.verdicts(1) {
        assert!(verdict.contains(&guilty), "expected {kind:?}, found {verdict:?}");
    }
    assert!(sim.peers[1..].iter().all(|p| p.disk.lock.is_none()));
}

fn assert_no_blame_and_no_lock(sim: &Sim) {
    assert_sound(sim);
    assert!(
        sim.verdicts(1).iter().all(BTreeSet::is_empty),
        "{:?}",
        sim.verdicts(1)
    );
    assert!(sim.peers[1..].iter().all(|p| p.disk.lock.is_none()));
}

// --- rows 2, 3, 5, 6, 7: commitments ---

#[test]
fn commitments_of_another_threshold_are_refused() {
    // Shorter: provably wrong. Longer: more than the terms allow, refused unread.
    let shorter = change(Step::Deal, |_, e| drop(e.body.drain(..96)));
    assert_guilty(&lie(3, 2, 1, 1, shorter), Kind::BadEntry);
    let longer = change(Step::Deal, |_, e| {
        let point = e.body[..96].to_vec();
        e.body.splice(..0, point);
    });
    assert_no_blame_and_no_lock(&lie(3, 2, 1, 1, longer));
    for step in [
        Step::Join,
        Step::Deal,
        Step::Reveal,
        Step::Stored,
        Step::Sign,
        Step::Seal,
    ] {
        let cut = change(step, |_, e| e.body.truncate(e.body.len() - 1));
        let sim = lie(3, 2, 1, 2, cut);
        assert_guilty(&sim, Kind::BadEntry);
    }
}

#[test]
fn points_that_are_none_are_refused_at_every_position() {
    let mut infinity = [0u8; 96];
    infinity[0] = 0x40;
    let mut compressed = [0u8; 96];
    compressed[..48].copy_from_slice(&G1::generator().to_compressed());
    let mut off_curve = G1::generator().to_uncompressed();
    off_curve[95] ^= 1;
    let mut beyond_p = G1::generator().to_uncompressed();
    beyond_p[..48].copy_from_slice(&[0x1f; 48]);
    for (number, point) in [[0; 96], infinity, compressed, off_curve, beyond_p]
        .into_iter()
        .enumerate()
    {
        for step in [Step::Deal, Step::Reveal] {
            let at = number % 4;
            let forge = change(step, move |_, e| e.body[at * 96..][..96].copy_from_slice(&point));
            assert_guilty(&lie(3, 2, 2, number as u64, forge), Kind::BadEntry);
        }
    }
}

#[test]
fn proof_numbers_beyond_the_order_are_refused() {
    for end in [32, 64] {
        let forge = change(Step::Reveal, move |_, e| {
            let at = e.body.len() - end;
            e.body[at..at + 32].copy_from_slice(&[0xff; 32]);
        });
        assert_guilty(&lie(3, 2, 1, 3, forge), Kind::BadEntry);
    }
}

// --- row 1, 4: the rogue key ---

#[test]
fn commitments_made_from_those_of_others_fail_the_proof() {
    // The liar hears the others' Reveals first and subtracts their sum from its own, for one coefficient at a time: the
    // constants would give it the key, the leading ones would lower the threshold.
    for coefficient in 0..2 {
        let mut sim = Sim::new(3, 2, 1, 4);
        sim.forge = Some((
            0,
            Box::new(|_, _, e| if e.step >= Step::Reveal { vec![] } else { vec![e] }),
        ));
        sim.start();
        sim.run();
        let of = |sim: &Sim, j: u16| {
            sim.find(0, |e| e.step == Step::Reveal && e.operator == j)
                .unwrap()
                .1
        };
        let point =
            |e: &Entry| G1::from_uncompressed(e.body[coefficient * 96..][..96].try_into().unwrap()).unwrap();
        let mut own = of(&sim, 1);
        let others = point(&of(&sim, 2)).add(&point(&of(&sim, 3)));
        let rogue = point(&own).sub(&others);
        own.body[coefficient * 96..][..96].copy_from_slice(&rogue.to_uncompressed());
        let bytes = resign(&sim.terms, own).encode();
        sim.mail.extend([(1, bytes.clone()), (2, bytes)]);
        sim.run();
        silence_liar(&mut sim);
        assert_guilty(&sim, Kind::BadEntry);
        assert!(
            sim.peers[1..].iter().all(|p| p.disk.shares.is_empty()),
            "no key was accepted"
        );
    }
}

#[test]
fn the_reveal_of_somebody_else_is_not_ones_own() {
    let mut sim = Sim::new(3, 2, 1, 5);
    sim.forge = Some((
        0,
        Box::new(|_, _, e| if e.step >= Step::Reveal { vec![] } else { vec![e] }),
    ));
    sim.start();
    sim.run();
    let mut copy = sim
        .find(0, |e| e.step == Step::Reveal && e.operator == 2)
        .unwrap()
        .1;
    copy.operator = 1;
    // Under the author's own signature it is not even an entry.
    sim.mail.push((1, copy.encode()));
    sim.run();
    assert!(sim.verdicts(1)[1].is_empty());
    let bytes = resign(&sim.terms, copy).encode();
    sim.mail.push((1, bytes));
    sim.run();
    silence_liar(&mut sim);
    assert_guilty(&sim, Kind::BadEntry);
}

// --- row 6: torsion ---

fn secrets_of_liar(sim: &Sim) -> Secrets {
    Secrets::new(
        &sim.terms,
        1,
        &Seed::new(&sim.peers[0].disk.seeds[&1]),
        &node_key(1),
    )
}

/// The liar's Reveal with torsion added at one place, and a proof that holds in spite of it; `None` if none was found.
fn torsioned_reveal(sim: &Sim, order: u8, at: usize) -> Option<Entry> {
    let mut entry = sim.find(0, |e| e.step == Step::Reveal && e.operator == 1)?.1;
    let (deal, dealt) = sim.find(0, |e| e.step == Step::Deal && e.operator == 1)?;
    let sid = entry.session;
    let pedersen: Vec<G1> = dealt.body[..sim.terms.deal_public_bytes()]
        .chunks(96)
        .map(|c| G1::from_uncompressed(c.try_into().unwrap()).unwrap())
        .collect();
    let coefficients = secrets_of_liar(sim).coefficients(&sim.terms, &sid);
    let tau = torsion::of_order(order);
    for multiple in 1..u64::from(order) {
        let mut feldman: Vec<G1> = coefficients.iter().map(|(a, _)| commit::feldman(a)).collect();
        feldman[at] = feldman[at].add(&tau.mul_u64_vartime(multiple));
        let bytes = G1::batch_to_uncompressed(&feldman).concat();
        let statement = Statement {
            sid: &sid,
            dealer: 1,
            deal_id: &deal,
            prev_hash: &entry.prev_hash(),
            pedersen: &pedersen,
            feldman: &feldman,
            feldman_bytes: &bytes,
        };
        let proof: Proof = proof::prove(&statement, &coefficients, &[4; 32]);
        if proof::verify(&statement, &proof) {
            entry.body = [bytes.as_slice(), &proof.to_bytes()].concat();
            return Some(resign(&sim.terms, entry));
        }
    }
    None
}

#[test]
fn torsion_in_a_reveal_with_a_good_proof_is_seen_in_the_sum() {
    for order in [3, 11] {
        let mut found = false;
        for seed in 0..8 {
            let mut sim = Sim::new(3, 2, 2, seed);
            sim.forge = Some((
                0,
                Box::new(|_, _, e| if e.step >= Step::Reveal { vec![] } else { vec![e] }),
            ));
            sim.start();
            sim.run();
            let Some(entry) = (0..4).find_map(|at| torsioned_reveal(&sim, order, at)) else {
                continue;
            };
            found = true;
            sim.mail.push((1, entry.encode()));
            sim.run();
            silence_liar(&mut sim);
            assert_guilty(&sim, Kind::BadEntry);
            break;
        }
        assert!(found, "no proof held for order {order}");
    }
}

#[test]
fn torsion_in_commitments_changes_no_verdict() {
    for order in [3u8, 11] {
        for at in 0..2 {
            let (mut sim, mut deal) = before_deal(3, 2, 1, 6);
            let bytes: [u8; 96] = deal.body[at * 96..][..96].try_into().unwrap();
            let point = G1::from_uncompressed(&bytes)
                .unwrap()
                .add(&torsion::of_order(order));
            deal.body[at * 96..][..96].copy_from_slice(&point.to_uncompressed());
            // The liar's own node must not see the other Deal, or it would rightly call it an equivocation.
            sim.peers[0].evil = true;
            sim.peers[0].online = false;
            send(&mut sim, &[1, 2], &deal);
            sim.settle();
            assert_no_blame_and_no_lock(&sim);
            let acks = (2..=3).filter(|j| sim.find(1, |e| e.step == Step::Ack && e.operator == *j).is_some());
            assert_eq!(acks.count(), 2, "everybody approves");
        }
    }
}

// --- rows 9, 10, 18: shares ---

/// Seals other numbers to operator `to`: `f` gets the right polynomials.
fn reseal(sim: &Sim, entry: &mut Entry, to: u16, f: impl Fn(&[Scalar], &[Scalar]) -> (Scalar, Scalar)) {
    let terms = &sim.terms;
    let coefficients = secrets_of_liar(sim).coefficients(terms, &entry.session);
    let mut plain = Vec::new();
    for chunk in coefficients.chunks(terms.t()) {
        let (a, b): (Vec<Scalar>, Vec<Scalar>) = chunk.iter().cloned().unzip();
        let (s, s_blind) = f(&a, &b);
        plain.extend_from_slice(&s.to_be_bytes()[..]);
        plain.extend_from_slice(&s_blind.to_be_bytes()[..]);
    }
    let join = sim
        .find(0, |e| e.step == Step::Join && e.operator == to)
        .unwrap()
        .1;
    let key: [u8; 32] = join.body[33..65].try_into().unwrap();
    let info = [domains::SHARE.as_bytes(), &entry.session].concat();
    let aad = [0, 1, 0, u8::try_from(to).unwrap()];
    let sealed = seal::seal(&key, &info, &aad, &plain, &[8; 32]).unwrap();
    let start = terms.deal_public_bytes() + usize::from(to - 1) * terms.sealed_bytes();
    entry.body[start..start + sealed.len()].copy_from_slice(&sealed);
}

/// Runs until the liar has dealt, with nothing of its Deal sent; `None` in the mail.
fn before_deal(n: usize, t: usize, v: usize, seed: u64) -> (Sim, Entry) {
    let mut sim = Sim::new(n, t, v, seed);
    sim.forge = Some((
        0,
        Box::new(|_, _, e| if e.step >= Step::Deal { vec![] } else { vec![e] }),
    ));
    sim.start();
    sim.run();
    let deal = sim
        .find(0, |e| e.step == Step::Deal && e.operator == 1)
        .unwrap()
        .1;
    (sim, deal)
}

fn send(sim: &mut Sim, to: &[usize], entry: &Entry) {
    let bytes = resign(&sim.terms, entry.clone()).encode();
    sim.mail.extend(to.iter().map(|to| (*to, bytes.clone())));
    sim.run();
}

#[test]
fn shares_that_do_not_fit_name_their_dealer() {
    type Wrong = fn(&[Scalar], &[Scalar]) -> (Scalar, Scalar);
    let wrongs: [Wrong; 4] = [
        // The share of another index.
        |a, b| (commit::evaluate(a, 3), commit::evaluate(b, 3)),
        |_, _| (Scalar::zero(), Scalar::zero()),
        // The secret itself.
        |a, b| (a[0].clone(), b[0].clone()),
        |a, b| (commit::evaluate(b, 2), commit::evaluate(a, 2)),
    ];
    for (seed, wrong) in wrongs.into_iter().enumerate() {
        let (mut sim, mut deal) = before_deal(3, 2, 2, seed as u64);
        reseal(&sim, &mut deal, 2, wrong);
        send(&mut sim, &[1, 2], &deal);
        silence_liar(&mut sim);
        assert_guilty(&sim, Kind::BadShare);
        // The complaint opened nothing that an honest dealer had sealed.
        let complaint = sim.find(2, Entry::is_complaint).unwrap().1;
        assert_eq!((complaint.operator, complaint.prev.len()), (2, 1));
    }
}

#[test]
fn two_deals_and_a_complaint_against_one_blame_the_dealer_alone() {
    let (mut sim, good) = before_deal(4, 3, 1, 9);
    let mut bad = good.clone();
    reseal(&sim, &mut bad, 2, |_, _| (Scalar::zero(), Scalar::zero()));
    send(&mut sim, &[1], &bad);
    send(&mut sim, &[2, 3], &good);
    silence_liar(&mut sim);
    assert_guilty(&sim, Kind::Equivocation);
    assert_guilty(&sim, Kind::BadShare);
}

#[test]
fn a_complaint_of_another_session_or_against_nothing_convicts_its_author() {
    // Against a Join, with a key of the wrong size, with no Deal at all.
    let forges: [fn(&mut Entry); 3] = [
        |e| e.body = vec![8; 32],
        |e| {
            e.prev.truncate(1);
            e.body = vec![8; 31];
        },
        |e| {
            e.prev.clear();
            e.body = vec![8; 32];
        },
    ];
    for (seed, f) in forges.into_iter().enumerate() {
        let forge = change(Step::Ack, move |_, e| f(e));
        assert_guilty(&lie(3, 2, 1, seed as u64, forge), Kind::BadEntry);
    }
}

// --- predecessors: part of validity at every step, and evidence that stands alone ---

#[test]
fn wrong_predecessors_convict_wherever_they_are_seen() {
    let wrongs: [fn(&mut Entry); 4] = [
        |e| e.prev.reverse(),
        |e| {
            e.prev.pop();
        },
        |e| e.prev[1] = e.prev[0],
        |e| e.prev.clear(),
    ];
    for step in [Step::Ack, Step::Reveal] {
        for (seed, f) in wrongs.into_iter().enumerate() {
            // Only operator 2 hears of it: the others learn it from the evidence alone.
            let forge: Forge = Box::new(move |terms, to, mut e| {
                if e.step != step {
                    return vec![e];
                }
                f(&mut e);
                if to == 1 { vec![resign(terms, e)] } else { vec![] }
            });
            let sim = lie(3, 2, 1, seed as u64, forge);
            assert_guilty(&sim, Kind::BadEntry);
        }
    }
}

#[test]
fn a_deal_of_a_known_session_with_other_joins_convicts_in_any_order() {
    for late in [false, true] {
        let (mut sim, good) = before_deal(3, 2, 1, 12);
        let mut bad = good.clone();
        bad.prev.reverse();
        let order = if late { [&good, &bad] } else { [&bad, &good] };
        for entry in order {
            send(&mut sim, &[1], entry);
        }
        silence_liar(&mut sim);
        assert_guilty(&sim, Kind::BadEntry);
    }
}

#[test]
fn an_entry_of_another_attempt_under_this_session_convicts() {
    let forge: Forge = Box::new(|terms, _, e| {
        let mut other = e.clone();
        other.attempt = 2;
        if e.step == Step::Ack {
            vec![e, resign(terms, other)]
        } else {
            vec![e]
        }
    });
    let sim = lie(3, 2, 1, 13, forge);
    assert_sound(&sim);
    let guilty = Finding {
        operator: 1,
        kind: Kind::BadEntry,
    };
    assert!(sim.verdicts(2).iter().all(|v| v.contains(&guilty)));
}

#[test]
fn a_join_that_names_what_is_no_vote_convicts_everywhere() {
    let mut sim = Sim::new(3, 2, 1, 14);
    sim.start();
    sim.run();
    let (deal, _) = sim.find(0, |e| e.step == Step::Deal).unwrap();
    let mut join = sim
        .find(0, |e| e.step == Step::Join && e.operator == 1)
        .unwrap()
        .1;
    (join.session, join.attempt, join.prev) = (sim.terms.ctx(2), 2, vec![deal]);
    send(&mut sim, &[1], &join);
    silence_liar(&mut sim);
    assert_sound(&sim);
    let guilty = Finding {
        operator: 1,
        kind: Kind::BadEntry,
    };
    assert!(
        sim.verdicts(2).iter().all(|v| v.contains(&guilty)),
        "{:?}",
        sim.verdicts(2)
    );
}

// --- rows 13, 19, 22, 23: the end ---

#[test]
fn silence_from_any_step_on_is_no_guilt() {
    for silent in Step::ALL {
        let forge: Forge = Box::new(move |_, _, e| if e.step >= silent { vec![] } else { vec![e] });
        let sim = lie(3, 2, 1, 20, forge);
        assert_sound(&sim);
        assert!(sim.verdicts(1).iter().all(BTreeSet::is_empty));
        let finished = sim.peers[1..].iter().all(|p| p.disk.lock.is_some());
        assert_eq!(finished, silent == Step::Done, "silent from {silent:?}");
    }
}

#[test]
fn a_step_shown_to_one_reaches_all() {
    for only in Step::ALL {
        let forge: Forge = Box::new(move |_, to, e| {
            if e.step == only && to != 2 {
                vec![]
            } else {
                vec![e]
            }
        });
        let sim = lie(3, 2, 1, 21, forge);
        assert_sound(&sim);
        assert!(sim.peers[1..].iter().all(|p| p.disk.lock.is_some()), "{only:?}");
    }
}

#[test]
fn steps_held_back_and_shown_late_are_taken() {
    for late in [Step::Stored, Step::Sign, Step::Seal] {
        let mut sim = Sim::new(3, 2, 1, 22);
        sim.forge = Some((
            0,
            Box::new(move |_, _, e| if e.step >= late { vec![] } else { vec![e] }),
        ));
        sim.start();
        sim.run();
        assert!(sim.peers[1..].iter().all(|p| p.disk.lock.is_none()));
        sim.forge = None;
        for i in 1..3 {
            sim.restart(i);
        }
        sim.settle();
        assert_finished(&sim);
        assert_sound(&sim);
    }
}

#[test]
fn other_outputs_than_those_of_the_reveals_convict() {
    let forge = change(Step::Stored, |_, e| e.body[7] ^= 1);
    assert_guilty(&lie(3, 2, 1, 23, forge), Kind::BadEntry);
}

#[test]
fn bad_partial_signatures_name_their_author() {
    // Of another key, swapped between messages, of somebody else's share.
    let other = SecretKey::from_bytes(&[7; 32]).unwrap().sign(b"x").to_bytes();
    let forge = change(Step::Sign, move |_, e| e.body[..96].copy_from_slice(&other));
    assert_guilty(&lie(3, 2, 2, 24, forge), Kind::BadEntry);
    let forge = change(Step::Sign, |_, e| e.body.rotate_left(96));
    assert_guilty(&lie(3, 2, 2, 25, forge), Kind::BadEntry);
    let forge = change(Step::Sign, |_, e| e.body[3] ^= 1);
    assert_guilty(&lie(3, 2, 2, 26, forge), Kind::BadEntry);
}

#[test]
fn bad_seals_name_their_author() {
    for at in [0, 40, 96, 120] {
        let forge = change(Step::Seal, move |_, e| e.body[at] ^= 0x1f);
        assert_guilty(&lie(3, 2, 1, 27, forge), Kind::BadEntry);
    }
    // Two forms of one recovery id would give two locks.
    let forge = change(Step::Seal, |_, e| e.body[96] += 27);
    assert_guilty(&lie(3, 2, 1, 28, forge), Kind::BadEntry);
}

// --- rows 12, 14, 20: more than one of everything ---

#[test]
fn three_versions_of_a_step_one_for_each_never_split_anybody() {
    for step in [
        Step::Join,
        Step::Deal,
        Step::Ack,
        Step::Reveal,
        Step::Stored,
        Step::Sign,
        Step::Seal,
    ] {
        let forge: Forge = Box::new(move |terms, to, mut e| {
            if e.step == step && to > 1 {
                match step {
                    Step::Join => e.body[1] = b'A' + u8::try_from(to).unwrap(),
                    Step::Ack | Step::Stored | Step::Sign => e.prev.swap(0, to - 1),
                    _ => {
                        let last = e.body.len() - to;
                        e.body[last] ^= 1;
                    }
                }
                e = resign(terms, e);
            }
            vec![e]
        });
        let sim = lie(4, 3, 1, 30, forge);
        assert_sound(&sim);
        if matches!(step, Step::Stored | Step::Sign) {
            // Only their content counts: the ceremony ends well.
            assert!(sim.peers[1..].iter().all(|p| p.disk.lock.is_some()), "{step:?}");
        } else {
            assert!(sim.verdicts(1).iter().all(|v| !v.is_empty()), "{step:?}");
        }
    }
}

#[test]
fn a_whole_earlier_run_replayed_is_no_guilt() {
    let mut old = Sim::new(3, 2, 1, 31);
    old.start();
    old.run();
    let mut sim = Sim::new(3, 2, 1, 32);
    sim.start();
    let replayed: Vec<Vec<u8>> = old.peers[0].disk.entries.clone();
    for bytes in replayed {
        sim.mail.extend((0..3).map(|to| (to, bytes.clone())));
    }
    sim.settle();
    let verdicts = sim.verdicts(1);
    for verdict in &verdicts {
        assert_eq!(verdict, &verdicts[0]);
        assert!(!verdict.is_empty());
        assert!(verdict.iter().all(|f| f.kind == Kind::Restarted), "{verdict:?}");
    }
    assert!(sim.peers.iter().all(|p| p.disk.lock.is_none()));
}

#[test]
fn another_definition_network_or_order_of_operators_shares_nothing() {
    let mut old = Sim::new(3, 2, 1, 33);
    old.start();
    old.run();
    let keys: Vec<_> = (1..=3).map(|i| node_key(i).public()).collect();
    let mut swapped = keys.clone();
    swapped.swap(0, 1);
    let product = || Arc::new(crate::testing::TestProduct);
    let others = [
        Terms::new([9; 32], [2; 32], 2, 1, keys.clone(), product()),
        Terms::new([1; 32], [9; 32], 2, 1, keys, product()),
    ];
    for other in others {
        let other = Arc::new(other.unwrap());
        let mut board = Board::new(other.clone(), &[0; 32]);
        let entries: Vec<Entry> = old.peers[0]
            .disk
            .entries
            .iter()
            .map(|b| Entry::decode(&other, b).unwrap())
            .collect();
        assert!(board.receive(entries).is_empty());
        assert!(board.order().is_empty() && board.findings().next().is_none());
    }
    let other = Arc::new(Terms::new([1; 32], [2; 32], 2, 1, swapped, product()).unwrap());
    let mut board = Board::new(other.clone(), &[0; 32]);
    let entries = old.peers[0]
        .disk
        .entries
        .iter()
        .map(|b| Entry::decode(&other, b).unwrap())
        .collect();
    assert!(
        board
            .receive(entries)
            .iter()
            .all(|n| !matches!(n, News::Found(..)))
    );
}

#[test]
fn indices_outside_of_the_definition_are_refused() {
    let sim = Sim::new(3, 2, 1, 34);
    let terms = &sim.terms;
    for operator in [0, 4, u16::MAX] {
        let entry = Entry::signed(
            &node_key(1),
            terms,
            (terms.ctx(1), 1, operator),
            Step::Join,
            vec![],
            vec![],
        );
        assert!(Entry::decode(terms, &entry.encode()).is_err());
        assert!(
            Board::new(terms.clone(), &[0; 32])
                .receive(vec![entry])
                .is_empty()
        );
    }
    let keys = vec![node_key(1).public(), node_key(2).public(), node_key(1).public()];
    assert!(
        Terms::new(
            [1; 32],
            [2; 32],
            2,
            1,
            keys,
            Arc::new(crate::testing::TestProduct)
        )
        .is_err()
    );
}

// --- memory ---

#[test]
fn floods_of_signed_entries_and_far_attempts_are_not_kept() {
    let mut sim = Sim::new(3, 2, 1, 40);
    sim.start();
    sim.run();
    silence_liar(&mut sim);
    let board = sim.peers[1].operator.board();
    let (before, missing) = (board.order().len(), board.missing().len());
    let stored = sim
        .find(1, |e| e.step == Step::Stored && e.operator == 1)
        .unwrap()
        .1;
    let join = sim
        .find(1, |e| e.step == Step::Join && e.operator == 1)
        .unwrap()
        .1;
    for number in 0..300u32 {
        let mut far = join.clone();
        far.attempt = 3 + number * 1000;
        far.session = sim.terms.ctx(far.attempt);
        let mut more = stored.clone();
        more.prev
            .iter_mut()
            .for_each(|id| id[..4].copy_from_slice(&number.to_be_bytes()));
        let mut lost = more.clone();
        lost.step = Step::Ack;
        lost.body.clear();
        for entry in [far, more, lost] {
            let entry = resign(&sim.terms, entry);
            sim.with(1, |o| o.receive(vec![entry]));
        }
    }
    let board = sim.peers[1].operator.board();
    assert!(
        board.order().len() <= before + 2,
        "{} entries",
        board.order().len() - before
    );
    assert!(board.missing().len() <= missing + 4 * 3);
}

// --- P6: backups ---

#[test]
fn an_honest_vote_on_other_deals_is_not_guilt() {
    // Operator 2, restored from a backup, votes on a second Deal of the liar; the liar shows the first set of Reveals and that
    // vote to a third party.
    let mut sim = Sim::new(3, 2, 1, 50);
    sim.start();
    sim.run();
    let mut vote = sim
        .find(1, |e| e.step == Step::Stored && e.operator == 2)
        .unwrap()
        .1;
    vote.prev = vec![[1; 32], [2; 32], [3; 32]];
    vote.body = vec![9; 32];
    let vote = resign(&sim.terms, vote);
    let before: Vec<Arc<Entry>> = {
        let board = sim.peers[0].operator.board();
        let all = board
            .order()
            .iter()
            .map(|id| board.get(id).unwrap().entry.clone());
        all.filter(|e| e.step <= Step::Reveal)
            .chain([Arc::new(vote)])
            .collect()
    };
    let evidence = Evidence {
        attempt: 1,
        finding: Finding {
            operator: 2,
            kind: Kind::BadEntry,
        },
        headers: vec![],
        entries: before,
    };
    assert!(!evidence.check(&sim.terms, &[0; 32]));
}

#[test]
fn markers_without_records_bind() {
    let mut standing = Standing::default();
    standing.voted.insert(2);
    assert_eq!(standing.current(|_| false), 2, "a vote for 2 closes 1");
    assert!(!standing.may_join(2, 2), "who voted has joined");
    let mut sim = Sim::new(3, 2, 1, 51);
    sim.start();
    sim.run();
    assert_finished(&sim);
    // The journal is gone, the marker of the signature is not: nothing new is said until peers give it back.
    sim.peers[1].disk.entries.clear();
    sim.peers[1].disk.published = None;
    let marks = sim.peers[1].disk.marks.clone();
    assert!(marks.contains(&(1, Mark::Signed)) && marks.contains(&(1, Mark::Voted)));
    let mut alone = Sim::new(3, 2, 1, 51);
    let effects = alone.peers[1].operator.restore(Restored {
        marks,
        ..Restored::default()
    });
    assert!(!effects.iter().any(|e| matches!(e, Effect::Persist(..))));
    for effects in [
        alone.peers[1].operator.consent(1, Reason::First),
        alone.peers[1].operator.compared(),
    ] {
        assert!(
            !effects
                .iter()
                .any(|e| matches!(e, Effect::Persist(..) | Effect::NeedSeed(_)))
        );
    }
    // Records without markers: the markers are made again.
    sim.peers[2].disk.marks.clear();
    sim.restart(2);
    assert!(sim.peers[2].disk.marks.contains(&(1, Mark::Voted)));
    assert!(sim.peers[2].disk.marks.contains(&(1, Mark::Signed)));
}

#[test]
fn all_votes_in_hand_bind_even_who_cannot_sign() {
    // Operator 2 voted and lost its folder but for the marker; the others hold all votes and sign. It must not help attempt 2.
    let mut sim = Sim::new(3, 2, 1, 52);
    sim.forge = Some((
        1,
        Box::new(|_, _, e| if e.step >= Step::Sign { vec![] } else { vec![e] }),
    ));
    sim.start();
    sim.run();
    sim.peers[1].disk = crate::testing::Disk::default();
    sim.forge = None;
    sim.restart(1);
    assert!(sim.peers[1].lost.contains(&1));
    sim.with(1, |o| o.consent(2, Reason::Lost));
    sim.settle();
    assert!(
        sim.find(0, |e| e.attempt == 2).is_none(),
        "it joined another attempt"
    );
    assert!(sim.peers[1].operator.standing().signed.is_empty());
}

#[test]
fn an_own_entry_of_a_far_attempt_is_adopted() {
    let mut sim = Sim::new(3, 2, 1, 53);
    for i in 0..3 {
        sim.with(i, |o| o.consent(5, Reason::ByHand));
        sim.with(i, Operator::compared);
    }
    sim.run();
    assert_finished(&sim);
    sim.peers[1].disk = crate::testing::Disk::default();
    sim.restart(1);
    assert!(sim.peers[1].operator.standing().joined.contains(&5));
    assert!(sim.find(0, |e| e.attempt == 1).is_none(), "it began again");
}

#[test]
fn attempts_skipped_between_two_votes_keep_the_vote_in_the_join() {
    let mut sim = Sim::new(3, 2, 1, 54);
    sim.forge = Some((
        0,
        Box::new(|_, _, e| {
            if e.attempt == 1 && e.step >= Step::Stored {
                vec![]
            } else {
                vec![e]
            }
        }),
    ));
    sim.start();
    sim.run();
    for i in 0..3 {
        sim.with(i, |o| o.consent(4, Reason::ByHand));
    }
    sim.run();
    let join = sim
        .find(1, |e| e.attempt == 4 && e.step == Step::Join && e.operator == 2)
        .unwrap()
        .1;
    let vote = sim
        .find(1, |e| e.attempt == 1 && e.step == Step::Stored && e.operator == 2)
        .unwrap()
        .0;
    assert_eq!(join.prev, [vote]);
    assert_sound(&sim);
}

#[test]
fn secrets_differ_between_operators_with_one_seed() {
    let terms = terms(3, 2, 1);
    let seed = Seed::new(&[0; 32]);
    let publics: BTreeSet<_> = (1..=3)
        .flat_map(|i| Secrets::new(&terms, 1, &seed, &node_key(i)).seal_publics(&terms))
        .collect();
    assert_eq!(publics.len(), 9);
    let again = Secrets::new(&terms, 2, &seed, &node_key(1)).seal_publics(&terms);
    assert!(
        again.iter().all(|key| !publics.contains(key)),
        "attempts share nothing"
    );
}

#[test]
fn bytes_moved_between_fields_change_the_id() {
    let terms = terms(3, 2, 1);
    let entry = |prev: Vec<Id>, body: Vec<u8>| {
        Entry::signed(&node_key(1), &terms, ([5; 32], 1, 1), Step::Stored, prev, body).id(&terms)
    };
    assert_ne!(entry(vec![[7; 32]], vec![]), entry(vec![], vec![7; 32]));
    assert_ne!(entry(vec![[7; 32]; 2], vec![]), entry(vec![[7; 32]], vec![7; 32]));
}

// --- the small model ---

/// What the liar does with one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Absent,
    ToOne,
    NoPrev,
    OtherPrev,
    BadBody,
    TwoVersions,
    Both,
}

const DEEDS: [Deed; 7] = [
    Deed::Absent,
    Deed::ToOne,
    Deed::NoPrev,
    Deed::OtherPrev,
    Deed::BadBody,
    Deed::TwoVersions,
    Deed::Both,
];

fn perform(deed: Deed, terms: &Terms, to: usize, entry: &Entry) -> Vec<Entry> {
    let honest = entry.clone();
    let mut other = entry.clone();
    match deed {
        Deed::Absent => return vec![],
        Deed::ToOne => return if to == 1 { vec![honest] } else { vec![] },
        Deed::NoPrev => other.prev.clear(),
        Deed::OtherPrev => other.prev.iter_mut().for_each(|id| id[0] ^= 1),
        Deed::BadBody | Deed::TwoVersions | Deed::Both => match other.body.last_mut() {
            Some(byte) => *byte ^= 1,
            None => other.body = vec![1; 32],
        },
    }
    let other = resign(terms, other);
    match deed {
        Deed::TwoVersions if to == 1 => vec![honest],
        Deed::Both => vec![honest, other],
        _ => vec![other],
    }
}

#[test]
fn every_deed_at_every_step_leaves_the_honest_sound() {
    for step in Step::ALL {
        for deed in DEEDS {
            let forge: Forge = Box::new(move |terms, to, e| {
                if e.step == step {
                    perform(deed, terms, to, &e)
                } else {
                    vec![e]
                }
            });
            let sim = lie(3, 2, 1, 60, forge);
            assert_sound(&sim);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any deeds at any steps, any order of letters, duplicates, honest operators that crash at any letter.
    #[test]
    fn any_deeds_in_any_order_with_crashes_leave_the_honest_sound(
        seed in any::<u64>(),
        deeds in proptest::collection::vec((0usize..8, 0usize..7), 0..3),
        crash in 0usize..40,
    ) {
        let mut sim = Sim::new(3, 2, 1, seed);
        sim.duplicate = true;
        sim.forge = Some((0, Box::new(move |terms, to, e| {
            let mut out = vec![e];
            for (step, deed) in &deeds {
                out = out.into_iter().flat_map(|e| {
                    if e.step as usize == *step { perform(DEEDS[*deed], terms, to, &e) } else { vec![e] }
                }).collect();
            }
            out
        })));
        sim.start();
        let mut letters = 0;
        while sim.deliver_one() {
            letters += 1;
            if letters % (crash + 10) == 0 && letters < 400 {
                let victim = sim.rng.random_range(1..3);
                sim.restart(victim);
            }
        }
        silence_liar(&mut sim);
        assert_sound(&sim);
    }
}

#[test]
fn partial_signatures_outside_of_g2_name_their_author() {
    let outside = (0..=u8::MAX)
        .map(|x| {
            let mut bytes = [0; 96];
            (bytes[0], bytes[95]) = (0x80, x);
            bytes
        })
        .find(|bytes| Signature::from_bytes(bytes) == Err(BlsError::Subgroup))
        .unwrap();
    let forge = change(Step::Sign, move |_, e| e.body[..96].copy_from_slice(&outside));
    assert_guilty(&lie(3, 2, 1, 29, forge), Kind::BadEntry);
}

#[test]
fn many_joins_open_few_sessions() {
    let mut sim = Sim::new(3, 2, 1, 41);
    sim.start();
    sim.run();
    silence_liar(&mut sim);
    let of = |step| sim.find(1, |e| e.step == step && e.operator == 1).unwrap().1;
    let (join, deal, ack) = (of(Step::Join), of(Step::Deal), of(Step::Ack));
    for number in 0..40u8 {
        let mut join = join.clone();
        join.body[2] = b'A' + number;
        let join = resign(&sim.terms, join);
        let mut deal = deal.clone();
        deal.prev[0] = join.id(&sim.terms);
        deal.session = sim.terms.sid(1, &deal.prev);
        let deal = resign(&sim.terms, deal);
        // It names its own entries, so that each would be one extra.
        let mut ack = ack.clone();
        ack.session = deal.session;
        ack.prev[0] = deal.id(&sim.terms);
        let ack = resign(&sim.terms, ack);
        for entry in [ack, deal, join] {
            sim.with(1, |o| o.receive(vec![entry]));
        }
    }
    let sessions = sim.peers[1].operator.board().sessions(1).count();
    assert!((2..=6).contains(&sessions), "{sessions} sessions");
    sim.settle();
    assert_sound(&sim);
}

#[test]
fn a_backup_restored_at_any_point_while_a_peer_equivocates_convicts_nobody_honest() {
    for step in [Step::Deal, Step::Ack, Step::Reveal, Step::Stored] {
        for kept in (0..24).step_by(3) {
            let mut sim = Sim::new(3, 2, 1, kept as u64);
            sim.forge = Some((
                0,
                Box::new(move |terms, to, e| {
                    if e.step == step {
                        perform(Deed::TwoVersions, terms, to, &e)
                    } else {
                        vec![e]
                    }
                }),
            ));
            sim.start();
            for _ in 0..40 {
                sim.deliver_one();
            }
            let disk = &mut sim.peers[2].disk;
            disk.entries.truncate(kept);
            disk.evidence.clear();
            disk.marks.clear();
            sim.restart(2);
            sim.run();
            silence_liar(&mut sim);
            assert_sound(&sim);
        }
    }
}

// --- hostile bytes ---

fn finished_entries() -> (Arc<Terms>, Vec<Vec<u8>>) {
    let mut sim = Sim::new(2, 2, 1, 70);
    sim.start();
    sim.run();
    (sim.terms.clone(), sim.peers[0].disk.entries.clone())
}

#[test]
fn damaged_encodings_never_panic_and_what_is_read_is_what_was_written() {
    let (terms, entries) = finished_entries();
    let decoded: Vec<Arc<Entry>> = entries
        .iter()
        .map(|b| Arc::new(Entry::decode(&terms, b).unwrap()))
        .collect();
    let evidence = Evidence {
        attempt: 1,
        finding: Finding {
            operator: 1,
            kind: Kind::BadEntry,
        },
        headers: vec![decoded[0].header(&terms), decoded[1].header(&terms)],
        entries: decoded.iter().map(|e| Arc::new(e.strip(&terms))).collect(),
    };
    let transcript = Transcript {
        definition_hash: *terms.definition_hash(),
        net: [2; 32],
        entries: decoded.iter().map(|e| e.strip(&terms)).collect(),
    };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(2_000));
    let edits = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4);
    let strategy = (
        any::<proptest::sample::Index>(),
        edits,
        any::<proptest::sample::Index>(),
        any::<bool>(),
    );
    let evidence = evidence.encode();
    let transcript = transcript.encode();
    runner
        .run(&strategy, |(which, edits, cut, truncate)| {
            let all: Vec<&Vec<u8>> = entries.iter().chain([&evidence, &transcript]).collect();
            let mut bytes: Vec<u8> = (*which.get(&all)).clone();
            for (at, byte) in edits {
                let at = at.index(bytes.len().min(400));
                bytes[at] = byte;
            }
            if truncate {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            if let Ok(entry) = Entry::decode(&terms, &bytes) {
                prop_assert_eq!(&entry.encode(), &bytes);
                Board::new(terms.clone(), &[0; 32]).receive(vec![entry.clone()]);
                Board::offline(terms.clone(), &[0; 32]).receive(vec![entry]);
            }
            if let Some(evidence) = Evidence::decode(&terms, &bytes) {
                prop_assert_eq!(&evidence.encode(), &bytes);
            }
            if let Ok(transcript) = Transcript::decode(&terms, &[2; 32], &bytes) {
                prop_assert_eq!(&transcript.encode(), &bytes);
            }
            Ok(())
        })
        .unwrap();
}

proptest! {
    #[test]
    fn noise_is_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let terms = terms(3, 2, 1);
        if let Ok(entry) = Entry::decode(&terms, &bytes) {
            prop_assert_eq!(entry.encode(), bytes.clone());
        }
        prop_assert!(Evidence::decode(&terms, &bytes).is_none_or(|e| e.encode() == bytes));
        prop_assert!(Transcript::decode(&terms, &[2; 32], &bytes).is_err());
    }
}
