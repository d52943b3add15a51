//! Several corrupt operators together, and torsion that only several can hide.

use std::collections::BTreeSet;

use super::ceremonies::assert_finished;
use crate::board::Board;
use crate::entry::{Entry, Id, Step};
use crate::evidence::Kind;
use crate::secrets::{Secrets, Seed};
use crate::testing::{Prover, Sim, node_key, points};
use crate::transcript::Transcript;
use conclave_crypto::commit;
use conclave_crypto::point::{G1, horner_vartime, torsion};
use conclave_crypto::scalar::Scalar;

/// A ceremony in which operators 1 to `liars` keep everything from `step` on among themselves.
fn rushing(n: usize, t: usize, liars: usize, step: Step, seed: u64) -> Sim {
    let mut sim = Sim::new(n, t, 1, seed);
    sim.accomplices = (1..liars).collect();
    sim.forge = Some((
        0,
        Box::new(move |_, to, e| {
            if e.step >= step && to >= liars {
                vec![]
            } else {
                vec![e]
            }
        }),
    ));
    sim.start();
    run_apart(&mut sim, liars, step);
    sim
}

/// Nothing that a liar said from `step` on reaches the honest through another liar.
fn run_apart(sim: &mut Sim, liars: usize, step: Step) {
    loop {
        let terms = sim.terms.clone();
        sim.mail.retain(|(to, bytes)| {
            let entry = Entry::decode(&terms, bytes).unwrap();
            *to < liars || usize::from(entry.operator) > liars || entry.step < step
        });
        if !sim.deliver_one() {
            return;
        }
    }
}

fn resigned(sim: &Sim, mut entry: Entry) -> Entry {
    entry.signature = node_key(entry.operator.into()).sign(&entry.id(&sim.terms));
    entry
}

fn send(sim: &mut Sim, to: impl IntoIterator<Item = usize>, entry: &Entry) {
    let bytes = resigned(sim, entry.clone()).encode();
    sim.mail.extend(to.into_iter().map(|to| (to, bytes.clone())));
}

fn silence(sim: &mut Sim, liars: usize) {
    for peer in &mut sim.peers[..liars] {
        peer.evil = true;
        peer.online = false;
    }
    sim.settle();
}

/// Of all points at `at` the sum over all dealers, in the Reveals that operator 1 knows.
fn sum_at(sim: &Sim, at: usize) -> G1 {
    let reveals = sim.terms.indices().map(|d| sim.said(0, Step::Reveal, d));
    let all: Vec<G1> = reveals
        .map(|r| points(&r.body[..sim.terms.deal_public_bytes()])[at])
        .collect();
    G1::sum(&all)
}

/// Coefficients, ascending, of the product of (x - j) over all j.
fn vanishing(at: impl IntoIterator<Item = u16>) -> Vec<Scalar> {
    let mut out = vec![Scalar::from_u64(1)];
    for j in at {
        let j = Scalar::from_u64(j.into());
        let mut next = vec![Scalar::zero()];
        next.extend(out.iter().cloned());
        for (to, from) in next.iter_mut().zip(&out) {
            *to = &*to - &(&j * from);
        }
        out = next;
    }
    out
}

/// Operator 1 adds `delta` times a polynomial to its Feldman commitments, and proves what it can.
fn shifted(sim: &Sim, polynomial: &[Scalar], delta: &G1) -> Entry {
    let coefficients = sim
        .secrets_of(0)
        .coefficients(&sim.terms, &sim.said(0, Step::Deal, 1).session);
    let times = |k: &Scalar| torsion::multiply(delta, &k.to_be_bytes()[..]);
    let added: Vec<(usize, G1)> = polynomial.iter().map(times).enumerate().collect();
    Prover {
        deal: &sim.said(0, Step::Deal, 1),
        reveal: &sim.said(0, Step::Reveal, 1),
        coefficients: &coefficients,
        added: &added,
        nonces: [G1::identity(); 2],
    }
    .entry(&sim.terms)
}

/// Every honest operator's share from operator 1 fits the commitments of this Reveal: it could not complain.
fn assert_fits_the_honest(sim: &Sim, liars: usize, reveal: &Entry) {
    let coefficients = sim.secrets_of(0).coefficients(&sim.terms, &reveal.session);
    let feldman = points(&reveal.body[..sim.terms.deal_public_bytes()]);
    for j in liars + 1..=sim.terms.n() {
        let share = commit::evaluate(coefficients.iter().map(|(a, _)| a), j as u64);
        assert_eq!(horner_vartime(&feldman, j as u64), commit::feldman(&share));
    }
}

fn assert_caught(sim: &Sim, liars: usize) {
    let verdicts = sim.verdicts(1);
    for verdict in &verdicts {
        assert_eq!(verdict, &verdicts[0]);
        assert!(
            verdict.iter().all(|f| usize::from(f.operator) <= liars),
            "{verdict:?}"
        );
        assert!(
            verdict
                .iter()
                .any(|f| f.operator == 1 && f.kind == Kind::BadEntry),
            "{verdict:?}"
        );
    }
    for peer in &sim.peers[liars..] {
        assert!(
            peer.disk.shares.is_empty() && peer.disk.lock.is_none(),
            "no key was accepted"
        );
    }
}

#[test]
fn a_rushing_coalition_cannot_make_the_key_its_own() {
    for (n, t) in [(3, 2), (4, 3), (5, 4), (5, 5), (7, 5)] {
        // As few as can do it where nobody proves anything, and more.
        for liars in (n - t + 1)..n {
            let mut sim = rushing(n, t, liars, Step::Reveal, (n * 100 + t * 10 + liars) as u64);
            let honest = (liars + 1..=n).map(|j| u16::try_from(j).unwrap());
            // Zero at every honest operator, one at 0: adds any point to the key, and no honest share notices.
            let mut polynomial = vanishing(honest);
            let at_zero = polynomial[0].invert();
            for k in &mut polynomial {
                *k = &*k * &at_zero;
            }
            let rogue = commit::feldman(&Scalar::from_u64(42));
            let reveal = shifted(&sim, &polynomial, &rogue.sub(&sum_at(&sim, 0)));
            assert_fits_the_honest(&sim, liars, &reveal);
            let own = points(&sim.said(0, Step::Reveal, 1).body[..96])[0];
            let sum = sum_at(&sim, 0).sub(&own).add(&points(&reveal.body[..96])[0]);
            assert!(sum == rogue, "the coalition would know the key: 42");
            for d in 2..=liars {
                let other = sim.said(0, Step::Reveal, u16::try_from(d).unwrap());
                send(&mut sim, liars..n, &other);
            }
            send(&mut sim, liars..n, &reveal);
            sim.run();
            silence(&mut sim, liars);
            assert_caught(&sim, liars);
        }
    }
}

#[test]
fn a_coalition_cannot_lower_the_threshold() {
    for (n, t) in [(3, 3), (4, 3), (5, 4), (7, 6)] {
        let liars = n - t + 2;
        let mut sim = rushing(n, t, liars, Step::Reveal, (n * 10 + t) as u64);
        let honest = (liars + 1..=n).map(|j| u16::try_from(j).unwrap());
        // Zero at every honest operator and at 0, of degree t - 1: a proof for the constant alone would hold.
        let polynomial = vanishing(honest.chain([0]));
        assert_eq!(polynomial.len(), t);
        let leading = sum_at(&sim, t - 1);
        let reveal = shifted(&sim, &polynomial, &leading.neg());
        assert_fits_the_honest(&sim, liars, &reveal);
        let own = sim.said(0, Step::Reveal, 1);
        assert_eq!(reveal.body[..96], own.body[..96], "the constant is what it was");
        let at = (t - 1) * 96;
        let own = points(&own.body[at..at + 96])[0];
        assert!(
            leading
                .sub(&own)
                .add(&points(&reveal.body[at..at + 96])[0])
                .is_identity()
        );
        for d in 2..=liars {
            let other = sim.said(0, Step::Reveal, u16::try_from(d).unwrap());
            send(&mut sim, liars..n, &other);
        }
        send(&mut sim, liars..n, &reveal);
        sim.run();
        silence(&mut sim, liars);
        assert_caught(&sim, liars);
    }
}

// --- torsion ---

/// Operators 1 and 2 reveal with torsion added; everything else they say is honest.
fn with_torsion(seed: u64, added: &[Vec<(usize, G1)>; 2], nonces: &[[G1; 2]; 2]) -> Sim {
    let mut sim = Sim::new(4, 3, 1, seed);
    let mut crafted = BTreeSet::new();
    // The liars' own machines know the honest Reveals only, the honest ones the others.
    let run = |sim: &mut Sim, crafted: &BTreeSet<Id>| {
        loop {
            let terms = sim.terms.clone();
            sim.mail.retain(|(to, bytes)| {
                let entry = Entry::decode(&terms, bytes).unwrap();
                let of_liar = entry.step == Step::Reveal && entry.operator <= 2;
                !of_liar || crafted.contains(&entry.id(&terms)) == (*to >= 2)
            });
            if !sim.deliver_one() {
                return;
            }
        }
    };
    sim.start();
    run(&mut sim, &crafted);
    for (i, (added, nonces)) in added.iter().zip(nonces).enumerate() {
        let d = u16::try_from(i + 1).unwrap();
        let deal = sim.said(0, Step::Deal, d);
        let reveal = sim.said(i, Step::Reveal, d);
        let coefficients = sim.secrets_of(i).coefficients(&sim.terms, &deal.session);
        let entry = Prover {
            deal: &deal,
            reveal: &reveal,
            coefficients: &coefficients,
            added,
            nonces: *nonces,
        }
        .entry(&sim.terms);
        crafted.insert(entry.id(&sim.terms));
        send(&mut sim, 2..4, &entry);
    }
    run(&mut sim, &crafted);
    sim
}

#[test]
fn torsion_of_two_dealers_that_cancels_changes_nothing() {
    let none = [[G1::identity(); 2]; 2];
    let control = with_torsion(1, &[vec![], vec![]], &none);
    assert_finished(&control);
    for order in [3, 11] {
        let tau = torsion::of_order(order);
        for at in 0..3 {
            let sim = with_torsion(1, &[vec![(at, tau)], vec![(at, tau.neg())]], &none);
            // The same keys and lock as without, and nobody is to blame.
            assert_finished(&sim);
            assert_eq!(sim.locks(), control.locks());
            assert!(sim.verdicts(1).iter().all(BTreeSet::is_empty));
            let transcript = Transcript::of(sim.peers[3].operator.board(), [2; 32]);
            let shown = transcript.check(&sim.terms, &[order; 32]).unwrap();
            assert_eq!(Some(shown.lock_hash), sim.locks()[3]);
            assert!(shown.findings.is_empty());
        }
        // What does not cancel blames both.
        let mut sim = with_torsion(1, &[vec![(1, tau)], vec![(1, tau)]], &none);
        silence(&mut sim, 2);
        for verdict in sim.verdicts(1) {
            let guilty: Vec<u16> = verdict.iter().map(|f| f.operator).collect();
            assert_eq!(guilty, [1, 2], "{verdict:?}");
        }
    }
}

#[test]
fn torsion_in_the_nonces_of_a_proof_changes_nothing() {
    for order in [3, 11] {
        let (tau, o) = (torsion::of_order(order), G1::identity());
        for nonces in [
            [[tau, o], [o, o]],
            [[o, tau], [o, o]],
            [[tau, tau.neg()], [tau.double(), tau]],
        ] {
            let sim = with_torsion(2, &[vec![], vec![]], &nonces);
            assert_finished(&sim);
            assert!(sim.verdicts(1).iter().all(BTreeSet::is_empty));
            let transcript = Transcript::of(sim.peers[2].operator.board(), [2; 32]);
            assert!(transcript.check(&sim.terms, &[order; 32]).is_ok());
        }
    }
}

#[test]
fn the_sets_that_one_voter_names_leave_those_of_others_their_turn() {
    // Dealers 1 and 2 add torsion to their Reveals. Only one pair of them cancels, and only operator 3 was shown it; the liars
    // name all the others in votes of their own.
    let sim = rushing(3, 2, 2, Step::Reveal, 5);
    let terms = sim.terms.clone();
    let tau = torsion::of_order(11);
    let reveal = |d: u16, multiple: u64| {
        let i = usize::from(d) - 1;
        let deal = sim.said(0, Step::Deal, d);
        let coefficients = sim.secrets_of(i).coefficients(&terms, &deal.session);
        Prover {
            deal: &deal,
            reveal: &sim.said(i, Step::Reveal, d),
            coefficients: &coefficients,
            added: &[(0, tau.mul_u64_vartime(multiple))],
            nonces: [G1::identity(); 2],
        }
        .entry(&terms)
    };
    let first: Vec<Entry> = (1..=4).map(|m| reveal(1, m)).collect();
    let second: Vec<Entry> = (1..=4).map(|m| reveal(2, m)).collect();
    let (last_first, last_second) = (reveal(1, 5), reveal(2, 6));
    let own = sim.said(2, Step::Reveal, 3);
    let vote = |author: u16, a: &Entry, b: &Entry, outputs: [u8; 32]| {
        let prev = [a, b, &own].map(|e| e.id(&terms)).to_vec();
        let at = (own.session, 1, author);
        Entry::signed(
            &node_key(author.into()),
            &terms,
            at,
            Step::Stored,
            prev,
            outputs.to_vec(),
        )
    };
    // What the honest operator saw: the pair that cancels, and so the keys of the honest Reveals.
    let board = sim.peers[0].operator.board();
    let outputs = *board.good_sets(&own.session)[0].outputs();
    let mut board = Board::new(terms.clone(), &[1; 32]);
    board.receive(
        sim.peers[2]
            .disk
            .entries
            .iter()
            .map(|b| Entry::decode(&terms, b).unwrap())
            .collect(),
    );
    for i in 0..4 {
        for author in [1, 2] {
            let (a, b) = (&first[i], &second[(i + usize::from(author)) % 4]);
            board.receive(vec![vote(author, a, b, [author.to_be_bytes()[1]; 32])]);
        }
    }
    board.receive(first.into_iter().chain(second).collect());
    assert!(board.good_sets(&own.session).is_empty());
    let honest = vote(3, &last_first, &last_second, outputs);
    let id = honest.id(&terms);
    board.receive(vec![honest]);
    board.receive(vec![last_first, last_second]);
    assert_eq!(board.good_sets(&own.session).len(), 1, "its set was tried");
    assert!(board.get(&id).is_some(), "its vote counts");
}

// --- row 17 ---

#[test]
fn the_last_mover_chooses_between_one_key_and_none() {
    let mut sim = rushing(3, 2, 1, Step::Deal, 6);
    let revealed = |sim: &Sim| {
        (0..3).any(|i| {
            sim.find(i, |e| e.step == Step::Reveal && e.operator != 1)
                .is_some()
        })
    };
    // It may choose its Deal last. Nothing that depends on the key is out by then, nor before everybody approved that Deal.
    assert!(!revealed(&sim));
    let (deal, terms) = (sim.said(0, Step::Deal, 1), sim.terms.clone());
    send(&mut sim, [1, 2], &deal);
    sim.run();
    assert!(sim.find(1, |e| e.step == Step::Ack && e.operator == 2).is_some());
    assert!(!revealed(&sim));
    let ack = sim.said(0, Step::Ack, 1);
    send(&mut sim, [1, 2], &ack);
    sim.run();
    assert!(revealed(&sim));
    // Now it sees the key to be, and tries others.
    let honest = sim.said(0, Step::Reveal, 1);
    let pedersen = points(&deal.body[..terms.deal_public_bytes()]);
    for number in 0..8 {
        let other = Secrets::new(&terms, 1, &Seed::new(&[number; 32]), &node_key(1));
        let (prev, id) = (honest.prev_hash(), deal.id(&terms));
        let mut entry = honest.clone();
        entry.body = other.reveal(&terms, &deal.session, 1, &id, &prev, &pedersen);
        send(&mut sim, [1, 2], &entry);
        sim.run();
        let board = sim.peers[1].operator.board();
        assert!(board.good_sets(&deal.session).is_empty(), "another key");
    }
    let verdict = &sim.verdicts(1)[1];
    assert!(
        verdict
            .iter()
            .any(|f| f.operator == 1 && f.kind == Kind::BadEntry),
        "{verdict:?}"
    );
    silence(&mut sim, 1);
    assert_caught(&sim, 1);
}
