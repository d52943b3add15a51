//! Honest operators, any order of messages, crashes; and the plain cheats.

use crate::board::Slot;
use crate::entry::{Entry, Step};
use crate::evidence::{Finding, Kind};
use crate::testing::Sim;
use crate::transcript::{Transcript, TranscriptError};
use conclave_crypto::threshold::recover_signature;

pub(super) fn assert_finished(sim: &Sim) {
    let locks = sim.locks();
    assert!(
        locks[0].is_some(),
        "operator 1 has no lock; verdict {:?}",
        sim.verdicts(1)
    );
    assert!(locks.iter().all(|l| *l == locks[0]), "different locks {locks:?}");
    let (n, t) = (sim.terms.n(), sim.terms.t());
    let keys = sim.peers[0].finished.as_ref().unwrap().keys.clone();
    let message = [9; 32];
    for (v, validator) in keys.validators().iter().enumerate() {
        let partials: Vec<(u64, _)> = (0..n)
            .map(|i| (i as u64 + 1, sim.secret(i, v).sign(&message)))
            .collect();
        for (i, (_, partial)) in partials.iter().enumerate() {
            assert!(partial.verify(&validator.shares[i], &message));
        }
        for start in 0..n {
            let subset: Vec<_> = (0..t).map(|k| partials[(start + k) % n].clone()).collect();
            assert!(
                recover_signature(&subset)
                    .unwrap()
                    .verify(&validator.group, &message)
            );
        }
        let few: Vec<_> = partials[..t - 1].to_vec();
        let forged = recover_signature(&few);
        assert!(forged.is_err() || !forged.unwrap().verify(&validator.group, &message));
    }
}

fn end_in_keys_that_t_can_use(groups: impl Iterator<Item = (usize, usize)>) {
    for (n, t) in groups {
        let mut sim = Sim::new(n, t, 1, (n * 100 + t) as u64);
        sim.start();
        sim.run();
        assert_finished(&sim);
    }
}

#[test]
fn every_n_and_t_ends_in_keys_that_t_can_use() {
    let small = (2..=9).flat_map(|n| (2..=n).map(move |t| (n, t)));
    // Of larger groups the extremes, and what is usual.
    let large = (10..=13).flat_map(|n| [2, 2 * n / 3 + 1, n].map(|t| (n, t)));
    end_in_keys_that_t_can_use(small.chain(large));
}

#[test]
#[ignore = "takes a minute: every threshold of every group of up to 13"]
fn really_every_n_and_t_ends_in_keys_that_t_can_use() {
    end_in_keys_that_t_can_use((10..=13).flat_map(|n| (2..=n).map(move |t| (n, t))));
}

#[test]
fn several_validators_any_order_and_duplicates() {
    for seed in 0..12 {
        let mut sim = Sim::new(4, 3, 3, seed);
        sim.duplicate = true;
        sim.start();
        sim.run();
        assert_finished(&sim);
        assert!(sim.verdicts(1).iter().all(std::collections::BTreeSet::is_empty));
    }
}

#[test]
fn keys_do_not_depend_on_the_order_of_messages() {
    let keys: Vec<_> = (0..6)
        .map(|order| {
            let mut sim = Sim::new(3, 2, 2, 5);
            // Same seeds for the operators, another order of delivery.
            sim.start();
            for _ in 0..order * 7 {
                let _: u64 = rand::RngExt::random(&mut sim.rng);
            }
            sim.run();
            assert_finished(&sim);
            sim.locks()[0]
        })
        .collect();
    assert!(keys.windows(2).all(|w| w[0] == w[1]));
}

#[test]
fn a_crash_after_any_effect_of_any_operator_heals() {
    for victim in 0..3 {
        for crash_at in 0..26 {
            let mut sim = Sim::new(3, 2, 1, 77);
            sim.start();
            let mut left = crash_at;
            let mut crashed = false;
            while !sim.mail.is_empty() {
                let at = rand::RngExt::random_range(&mut sim.rng, 0..sim.mail.len());
                let (to, bytes) = sim.mail.swap_remove(at);
                let entry = Entry::decode(&sim.terms, &bytes).unwrap();
                if to == victim && !crashed {
                    let effects = sim.peers[to].operator.receive(vec![entry]);
                    let count = effects.len();
                    if !sim.carry_out(to, effects, left) {
                        crashed = true;
                        sim.restart(to);
                    }
                    left = left.saturating_sub(count);
                } else {
                    sim.with(to, |o| o.receive(vec![entry]));
                }
            }
            sim.settle();
            assert_finished(&sim);
            assert!(
                sim.verdicts(1).iter().all(std::collections::BTreeSet::is_empty),
                "{:?}",
                sim.verdicts(1)
            );
        }
    }
}

#[test]
fn everybody_restarts_after_every_letter() {
    let mut sim = Sim::new(3, 2, 1, 3);
    sim.start();
    let mut letters = 0;
    while sim.deliver_one() {
        letters += 1;
        if letters % 5 == 0 {
            for i in 0..3 {
                sim.restart(i);
            }
        }
        assert!(letters < 5_000);
    }
    sim.settle();
    assert_finished(&sim);
}

#[test]
fn the_transcript_shows_the_ceremony_and_nothing_else() {
    let mut sim = Sim::new(4, 3, 2, 8);
    sim.start();
    sim.run();
    let board = sim.peers[2].operator.board();
    let transcript = Transcript::of(board, [2; 32]);
    let bytes = transcript.encode();
    let read = Transcript::decode(&sim.terms, &[2; 32], &bytes).unwrap();
    let shown = read.check(&sim.terms, &[0; 32]).unwrap();
    assert_eq!(Some(shown.lock_hash), sim.locks()[0]);
    assert_eq!(shown.names, ["op1", "op2", "op3", "op4"]);
    assert_eq!(shown.done.len(), 4);
    for at in (0..bytes.len()).step_by(97) {
        let mut bent = bytes.clone();
        bent[at] ^= 1;
        let refused =
            Transcript::decode(&sim.terms, &[2; 32], &bent).map(|t| t.check(&sim.terms, &[0; 32]).is_err());
        assert!(refused.is_err() || refused == Ok(true), "byte {at}");
    }
    let error = |bytes: &[u8]| Transcript::decode(&sim.terms, &[2; 32], bytes).err();
    let count = read.entries.len();
    for cut in (0..200).chain([bytes.len() / 2, bytes.len() - 1]) {
        let expected = Transcript::look(&bytes[..cut]).err();
        assert_eq!(error(&bytes[..cut]), expected, "{cut}");
        match expected {
            Some(TranscriptError::NotOne) => assert!(cut < 22),
            Some(TranscriptError::CutOff(_, 0)) => assert!((22..90).contains(&cut)),
            Some(TranscriptError::CutOff(whole, all)) => assert!(cut >= 90 && whole < all && all == count),
            other => panic!("{cut}: {other:?}"),
        }
    }
    assert_eq!(
        error(&[&bytes[..], &[0; 1000]].concat()),
        Some(TranscriptError::TooLong(count))
    );
    let mut other = bytes.clone();
    other[22] ^= 1;
    assert!(matches!(
        error(&other[..100]),
        Some(TranscriptError::OtherCeremony(_))
    ));
    let mut other = bytes.clone();
    other[22 + 32] ^= 1;
    assert_eq!(error(&other), Some(TranscriptError::OtherNetwork));
    let mut bent = bytes.clone();
    bent[22 + 64 + 4 + 4] = 9;
    assert_eq!(error(&bent), Some(TranscriptError::Malformed(1, count)));
}

/// Operator 1 sends its own version of an entry instead of the honest one.
fn cheat(seed: u64, step: Step, change: impl Fn(&Sim, &mut Entry)) -> Sim {
    let mut sim = Sim::new(4, 3, 2, seed);
    sim.start();
    // Let the cheater act honestly until it has said the step, then swap it on its way out.
    loop {
        let mail = std::mem::take(&mut sim.mail);
        let mut changed = Vec::new();
        for (to, bytes) in mail {
            let mut entry = Entry::decode(&sim.terms, &bytes).unwrap();
            if entry.operator == 1 && entry.step == step {
                change(&sim, &mut entry);
                entry.signature = crate::testing::node_key(1).sign(&entry.id(&sim.terms));
            }
            changed.push((to, entry.encode()));
        }
        sim.mail = changed;
        if !sim.deliver_one() {
            break;
        }
    }
    // From now on operator 1 is not asked any more: it would tell its honest version.
    sim.peers[0].evil = true;
    sim.peers[0].online = false;
    sim.settle();
    sim
}

fn assert_blamed(sim: &Sim, kind: Kind) {
    let guilty = Finding { operator: 1, kind };
    for (i, verdict) in sim.verdicts(1).iter().enumerate() {
        assert!(verdict.contains(&guilty), "operator {} sees {verdict:?}", i + 2);
        assert!(
            verdict.iter().all(|f| f.operator <= 1),
            "an honest operator is blamed: {verdict:?}"
        );
    }
    assert!(sim.locks()[1..].iter().all(Option::is_none));
}

#[test]
fn a_bad_share_names_its_dealer() {
    let sim = cheat(1, Step::Deal, |sim, entry| {
        let start = sim.terms.deal_public_bytes() + 2 * sim.terms.sealed_bytes();
        entry.body[start + 40] ^= 1;
    });
    assert_blamed(&sim, Kind::BadShare);
}

#[test]
fn a_bad_commitment_names_its_dealer() {
    let sim = cheat(2, Step::Deal, |_, entry| entry.body[5] ^= 1);
    assert_blamed(&sim, Kind::BadEntry);
}

#[test]
fn a_bad_proof_names_its_dealer() {
    let sim = cheat(3, Step::Reveal, |_, entry| {
        let last = entry.body.len() - 1;
        entry.body[last] ^= 1;
    });
    assert_blamed(&sim, Kind::BadEntry);
}

#[test]
fn a_false_complaint_names_the_complainer() {
    let sim = cheat(4, Step::Ack, |sim, entry| {
        let deal = sim
            .find(1, |e| e.step == Step::Deal && e.operator == 3)
            .unwrap()
            .0;
        entry.prev = vec![deal];
        entry.body = vec![5; 32];
    });
    assert_blamed(&sim, Kind::FalseComplaint);
}

#[test]
fn two_deals_to_two_halves_name_their_dealer() {
    let mut sim = Sim::new(4, 3, 1, 6);
    sim.start();
    loop {
        let mail = std::mem::take(&mut sim.mail);
        sim.mail = mail
            .into_iter()
            .map(|(to, bytes)| {
                let mut entry = Entry::decode(&sim.terms, &bytes).unwrap();
                if entry.operator == 1 && entry.step == Step::Deal && to >= 2 {
                    let last = entry.body.len() - 1;
                    entry.body[last] ^= 1;
                    entry.signature = crate::testing::node_key(1).sign(&entry.id(&sim.terms));
                }
                (to, entry.encode())
            })
            .collect();
        if !sim.deliver_one() {
            break;
        }
    }
    sim.peers[0].evil = true;
    sim.peers[0].online = false;
    sim.settle();
    assert_blamed(&sim, Kind::Equivocation);
}

#[test]
fn a_lost_folder_restarts_nobody_and_blames_nobody() {
    let mut sim = Sim::new(3, 2, 1, 10);
    sim.start();
    for _ in 0..9 {
        sim.deliver_one();
    }
    // The folder of operator 2 is gone altogether.
    sim.peers[1].disk = crate::testing::Disk::default();
    sim.restart(1);
    sim.settle();
    assert!(sim.verdicts(1).iter().all(std::collections::BTreeSet::is_empty));
    assert!(sim.peers[1].lost.contains(&1));
    // Everybody agrees to a second attempt.
    for i in 0..3 {
        sim.with(i, |o| o.consent(2, crate::body::Reason::Lost));
    }
    sim.settle();
    assert_finished(&sim);
    assert_eq!(sim.peers[0].disk.published, Some(2));
}

#[test]
fn two_joins_of_one_identity_close_the_attempt_without_blame() {
    let mut sim = Sim::new(3, 2, 1, 11);
    sim.start();
    let ctx = sim.terms.ctx(1);
    let own = sim.peers[0]
        .operator
        .board()
        .slot(&ctx, 1, Slot::Step(Step::Join))[0];
    let mut twin = (*sim.peers[0].operator.board().get(&own).unwrap().entry).clone();
    twin.body[1] = b'X';
    twin.signature = crate::testing::node_key(1).sign(&twin.id(&sim.terms));
    sim.mail.push((1, twin.encode()));
    sim.settle();
    for verdict in sim.verdicts(1) {
        assert_eq!(
            verdict.into_iter().collect::<Vec<_>>(),
            [Finding {
                operator: 1,
                kind: Kind::Restarted
            }]
        );
    }
    for i in 0..3 {
        sim.with(i, |o| o.consent(2, crate::body::Reason::Verdict));
    }
    sim.settle();
    assert_finished(&sim);
}
