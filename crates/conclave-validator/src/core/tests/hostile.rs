//! Memory does not grow, and what a hostile operator says costs little and breaks nothing.

use std::sync::Arc;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::{
    alive::Alive,
    core::{
        Effect, Event, Report, attesting::encode_list, proposing::Made, schedule::Attester, terms::Summary,
    },
    memory::Proofs,
    partials::{Item, Partials},
    wire::{Abilities, Hello, Message, PROTOCOL},
};
use conclave_consensus::{
    Signatures as _,
    messages::{self, Body, Certificate, Proposal, Status, Step, Vote, proposal_digest, vote_digest},
};
use conclave_eth::{
    chain::types::{Attestation, AttestationData, Bitlist, Bitvector, Checkpoint},
    duty::{Duty, Kind, Purpose},
};

use super::{
    process::{Process, prevotes},
    sim::{LOCK, Plan, Sim, cheap::Cheap},
};

/// The operator who is hostile.
const BAD: u16 = 4;

fn plan() -> Plan {
    let mut plan = Plan::new(4, 3);
    plan.validators = 8;
    plan
}

#[test]
fn nothing_grows_over_1000_slots() {
    let mut plan = plan();
    plan.proposals = true;
    let mut sim = Sim::new(1, plan);
    // Entries, and bytes of blocks and other values.
    let mut largest = [[0; 2]; 2];
    for slot in 0..1000 {
        sim.run_to(slot);
        let part = usize::from(slot >= 500);
        for (entries, bytes) in (0..4).map(|place| sim.sizes(place)).filter(|_| slot >= 64) {
            largest[0][part] = largest[0][part].max(entries);
            largest[1][part] = largest[1][part].max(bytes);
        }
    }
    for of in largest {
        assert!(of[0] > 100 && of[1] <= of[0] * 11 / 10, "{largest:?}");
    }
    let (due, came) = sim.attested_in(0..1000);
    assert_eq!((due, came), (1000, 1000));
    assert!(sim.oracle.aggregated.len() > 100 && sim.oracle.sync.len() > 990);
}

fn hello(rng: &mut ChaCha8Rng) -> Hello {
    Hello {
        protocol: PROTOCOL,
        lock_hash: LOCK,
        instance: rng.random(),
        clock_ms: rng.random(),
        proofs: Proofs::default(),
        watches: false,
        software: "bad".into(),
        abilities: Abilities::default(),
    }
}

fn partials(author: u16, purpose: Purpose, slot: u64, epochs: (u64, u64), items: Vec<Item>) -> Message {
    Message::Partials(Partials::sign(
        &Cheap(author),
        &LOCK,
        author,
        purpose,
        slot,
        epochs,
        items,
    ))
}

fn item(validator: u32, place: u16, root: [u8; 32]) -> Item {
    Item {
        validator,
        place,
        root,
        signature: [1; 96],
    }
}

/// Anything that its own key can sign, for slots around this one.
fn anything(rng: &mut ChaCha8Rng, slot: u64) -> Message {
    let duty = Duty {
        slot: (slot + rng.random_range(0..80)).saturating_sub(40),
        kind: Kind::ALL[rng.random_range(0..4)],
    };
    let round = rng.random_range(0..=16);
    let say = |body| Message::Agreement(messages::Message { duty, body });
    let step = if rng.random() {
        Step::Prevote
    } else {
        Step::Precommit
    };
    match rng.random_range(0..8) {
        0 => {
            let value: Arc<[u8]> = vec![rng.random(); rng.random_range(0..200)].into();
            let digest = proposal_digest(&LOCK, duty, BAD, round, None, &messages::value_id(&value));
            say(Body::Proposal(Proposal {
                operator: BAD,
                round,
                polka: None,
                value,
                signature: Cheap(BAD).sign(&digest),
            }))
        }
        1 => {
            let choice = rng.random::<bool>().then(|| rng.random());
            let digest = vote_digest(&LOCK, duty, BAD, round, step, choice.as_ref());
            say(Body::Vote(Vote {
                operator: BAD,
                round,
                step,
                choice,
                signature: Cheap(BAD).sign(&digest),
            }))
        }
        2 => say(Body::Certificate(Certificate {
            round,
            step,
            value_id: rng.random(),
            signatures: (1..=4).map(|operator| (operator, [rng.random(); 64])).collect(),
        })),
        3 => say(Body::Status(Status::default())),
        4 | 5 => {
            let purpose = Purpose::ALL[rng.random_range(0..9)];
            let target = if rng.random_range(0..9) == 0 {
                rng.random()
            } else {
                duty.slot / 8
            };
            let epochs = if purpose == Purpose::Attestation {
                (0, target)
            } else {
                (0, 0)
            };
            let validator = rng.random_range(0..12);
            let place = rng.random_range(0..70);
            partials(
                BAD,
                purpose,
                duty.slot,
                epochs,
                vec![item(validator, place, rng.random())],
            )
        }
        6 => Message::Contents {
            slot: duty.slot,
            root: rng.random(),
            bytes: vec![0; 1000].into(),
        },
        _ => Message::Clock {
            clock_ms: rng.random(),
            answers_ms: rng.random(),
            waited_ms: rng.random(),
        },
    }
}

#[test]
fn one_operator_cannot_fill_our_memory_nor_stop_the_others() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut sim = Sim::new(1, plan());
    sim.kill(3);
    sim.run_to(20);
    sim.impersonate(BAD);
    sim.run_to(21);
    let (mut entries, mut bytes, mut sent) = (0, 0, 0);
    for slot in 22..30 {
        sim.run_to(slot);
        for place in 0..3 {
            sim.feed(place, BAD, Message::Hello(hello(&mut rng)));
        }
        for _ in 0..10_000 {
            let message = anything(&mut rng, slot);
            sent += sim.feed(0, BAD, message);
        }
        let size = sim.sizes(0);
        entries = entries.max(size.0);
        bytes = bytes.max(size.1);
    }
    // 80,000 messages: two votes for each step of each round, a few values, and a partial signature for each place.
    assert!(entries < 12_000, "{entries} entries");
    assert!(bytes < 100_000, "{bytes} bytes");
    // It is answered now and then, and told to everybody only what is new.
    assert!(sent < 20_000, "{sent} messages");
    sim.run_to(40);
    assert_eq!(sim.attested_in(0..40), (40, 40));
    assert!(sim.nodes[..3].iter().all(|node| node.stopped.is_none()));
    assert!(sim.reported(0, |report| matches!(report, Report::Fault { operator: BAD, .. })));
    sim.run_to(80);
    assert!(sim.sizes(0).0 < 2_000, "{:?}", sim.sizes(0));
}

#[test]
fn greetings_that_are_wrong_are_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let forged = {
        let mut proofs = Proofs::default();
        let signed = partials(BAD, Purpose::Attestation, 9, (0, 9), vec![item(0, 0, [0; 32])]);
        if let Message::Partials(partials) = signed {
            proofs.take(partials.proof());
        }
        proofs
    };
    let right = hello(&mut rng);
    let wrong = [
        Hello {
            protocol: 2,
            ..right.clone()
        },
        Hello {
            lock_hash: [8; 32],
            ..right.clone()
        },
        Hello {
            proofs: forged,
            ..right.clone()
        },
    ];
    for wrong in wrong {
        let mut sim = Sim::new(2, plan());
        sim.kill(3);
        sim.run_to(2);
        sim.impersonate(BAD);
        sim.run_to(3);
        sim.feed(0, BAD, Message::Hello(wrong));
        assert!(sim.nodes[0].refused.contains(&BAD));
        // It has not said hello, so nothing else is listened to.
        let size = sim.sizes(0);
        for _ in 0..1000 {
            let message = anything(&mut rng, 3);
            assert_eq!(sim.feed(0, BAD, message), 0);
        }
        assert_eq!(sim.sizes(0), size);
        sim.feed(0, BAD, Message::Hello(right.clone()));
        assert!(
            sim.feed(0, BAD, Message::Hello(hello(&mut rng))) > 0,
            "a second one is answered"
        );
        sim.run_to(16);
        assert_eq!(sim.attested_in(0..17), (17, 17));
    }
}

#[test]
fn who_greets_again_and_again_costs_little_and_is_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let mut sim = Sim::new(4, plan());
    sim.kill(3);
    sim.run_to(20);
    sim.impersonate(BAD);
    sim.run_to(21);
    let mut greet = |sim: &mut Sim| -> (usize, usize) {
        let mut sent = 0;
        for _ in 0..1000 {
            sent += sim.feed(0, BAD, Message::Hello(hello(&mut rng)));
        }
        (sent, usize::from(sim.comparing(0, 100)))
    };
    let once = sim.feed(0, BAD, Message::Hello(hello(&mut ChaCha8Rng::seed_from_u64(5))));
    assert!(once > 0 && !sim.nodes[0].refused.contains(&BAD));
    let (sent, many) = greet(&mut sim);
    assert!(sent < 20 * (once + 1), "{sent} messages, {once} for one greeting");
    assert_eq!(many, 0, "a hundred and more comparisons wait for the guard");
    assert!(sim.nodes[0].refused.contains(&BAD));
    // It may come back later.
    sim.run_to(23);
    assert!(sim.feed(0, BAD, Message::Hello(hello(&mut ChaCha8Rng::seed_from_u64(6)))) > 0);
    sim.run_to(40);
    assert_eq!(sim.attested_in(0..40), (40, 40));
}

#[test]
fn wrong_blobs_do_not_keep_the_right_ones_out() {
    let (wrong, right) = (Some(b"wrong".to_vec()), Some(b"right".to_vec()));
    let mut slot = Process::new(false);
    assert_eq!(slot.contents(BAD, b"wrong"), []);
    assert_eq!(slot.decide(1), std::slice::from_ref(&wrong));
    assert_eq!(slot.contents(1, b"right"), std::slice::from_ref(&right));
    // Each is tried once.
    assert_eq!(slot.contents(BAD, b"wronger"), []);
    assert_eq!(slot.contents(3, b"not a leader"), []);
    let mut slot = Process::new(false);
    assert_eq!(slot.contents(BAD, b"wrong"), []);
    assert_eq!(slot.contents(1, b"right"), []);
    assert_eq!(slot.decide(1), [right, wrong]);
    // A block that has none needs none.
    let mut slot = Process::new(false);
    assert_eq!(slot.contents(BAD, b"wrong"), []);
    assert_eq!(slot.decide(0), [None]);
    assert_eq!(slot.contents(1, b"right"), []);
}

#[test]
fn a_builders_block_is_not_proposed_unasked() {
    for builder in [false, true] {
        // Operator 2 leads in round 0.
        let mut slot = Process::at(11, builder);
        let summary = Summary {
            blinded: true,
            ..slot.summary(0)
        };
        let made = Made {
            value: b"value"[..].into(),
            summary,
            contents: None,
        };
        let effects = slot.handle(Event::Produced {
            slot: slot.slot,
            round: 0,
            made,
        });
        let refused =
            |effect: &Effect| matches!(effect, Effect::Report(Report::OwnBlock { refused: true, .. }));
        assert_eq!(effects.iter().any(refused), !builder);
        let proposed = |effect: &Effect| {
            let Effect::Broadcast(Message::Agreement(message)) = effect else {
                return false;
            };
            matches!(&message.body, Body::Proposal(proposal) if *proposal.value == *b"value")
        };
        assert_eq!(effects.iter().any(proposed), builder);
    }
}

#[test]
fn a_leader_that_refuses_its_own_block_says_so_at_once() {
    // Operator 2 leads in round 0.
    let mut slot = Process::at(11, false);
    let mut summary = slot.summary(0);
    summary.fee_recipient = [9; 20];
    let made = Made {
        value: b"value"[..].into(),
        summary,
        contents: None,
    };
    let effects = slot.handle(Event::Produced {
        slot: 11,
        round: 0,
        made,
    });
    assert_eq!(prevotes(Kind::Block, 0, &effects), [None]);
}

#[test]
fn aggregates_of_committees_that_are_nobodys_here_are_not_looked_up() {
    let mut slot = Process::new(false);
    let of = slot.slot;
    let attester = Attester {
        validator: 0,
        index: 1000,
        committee: 1,
        committee_length: 64,
        committees_at_slot: 4,
    };
    let duties = vec![(of, attester)];
    slot.handle(Event::Attesters { epoch: 1, duties });
    let checkpoint = |epoch| Checkpoint { epoch, root: [4; 32] };
    let data = AttestationData {
        slot: of,
        index: 0,
        beacon_block_root: [6; 32],
        source: checkpoint(0),
        target: checkpoint(1),
    };
    slot.core.decided_head(of, data);
    let aggregate = |committee: usize| {
        Attestation {
            aggregation_bits: Bitlist::new(&[true; 64]),
            data,
            signature: [0; 96],
            committee_bits: Bitvector::with_ones(4, &[committee]),
        }
        .to_ssz()
    };
    let mut checks = |committees: &[usize]| {
        let list: Vec<Vec<u8>> = committees.iter().map(|committee| aggregate(*committee)).collect();
        let proposal = Proposal {
            operator: BAD,
            round: 0,
            polka: None,
            value: encode_list(list.into_iter()).into(),
            signature: [0; 64],
        };
        slot.core.judge_aggregates(of, &proposal);
        let effects = slot.handle(Event::Tick);
        let check = |effect: &&Effect| matches!(effect, Effect::Check { .. });
        effects.iter().filter(check).count()
    };
    assert_eq!(checks(&[1]), 1);
    assert_eq!(checks(&[0, 1, 2, 3]), 0);
    assert_eq!(checks(&[3]), 0);
}

/// Real messages with a few bytes changed, from anybody.
#[test]
fn changed_messages_break_nothing() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let mut sim = Sim::new(3, plan());
    sim.log = Some(Vec::new());
    sim.run_to(12);
    let log = sim.log.take().unwrap();
    let mut decoded = 0;
    for slot in 13..18 {
        for _ in 0..4_000 {
            let (from, message) = &log[rng.random_range(0..log.len())];
            let (kind, mut payload) = message.encode();
            for _ in 0..rng.random_range(0..3) {
                let place = rng.random_range(0..payload.len());
                payload[place] = if rng.random() {
                    rng.random()
                } else {
                    [0, 1, 255][rng.random_range(0..3)]
                };
            }
            let from = if rng.random() {
                *from
            } else {
                rng.random_range(0..7)
            };
            // What changed a greeting or another's word is that operator's deed: only one of them is bad here.
            let from = if (1..=3).contains(&from) { BAD } else { from };
            if let Some(message) = Message::decode(kind, &payload) {
                decoded += 1;
                sim.feed(rng.random_range(0..3), from, message);
            }
        }
        sim.run_to(slot);
    }
    assert!(decoded > 5_000, "{decoded}");
    sim.run_to(40);
    assert_eq!(sim.attested_in(0..40), (40, 40));
    assert_eq!(sim.conflicts(), 0);
    assert!(sim.nodes[..3].iter().all(|node| node.stopped.is_none()));
}

/// An operator signs as many pairs of processes as it likes: it is told once that it ran twice, and again when that was over.
#[test]
fn who_shows_one_pair_of_processes_after_the_other_is_told_of_once() {
    let mut sim = Sim::new(1, plan());
    sim.kill(3);
    sim.run_to(9);
    let mut number = 0_u64;
    let mut pairs = |sim: &mut Sim, slots: std::ops::Range<u64>| {
        for slot in slots {
            sim.begin(slot);
            for _ in 0..2 {
                // Newer ones come first in every list.
                let [one, other] = [1, 2].map(|of: u64| {
                    let mut instance = [0; 16];
                    instance[..8].copy_from_slice(&(u64::MAX - 2 * number - of).to_be_bytes());
                    instance
                });
                number += 1;
                for (instance, other) in [(one, other), (other, one)] {
                    let alive = Alive::sign(&Cheap(BAD), &LOCK, BAD, instance, slot, vec![other]);
                    sim.feed(0, 2, Message::Alive(alive));
                }
            }
        }
    };
    let told = |sim: &Sim| {
        let twice = |report: &&Report| matches!(report, Report::RanTwice { operator: BAD });
        sim.nodes[0].reports.iter().filter(twice).count()
    };
    pairs(&mut sim, 10..60);
    assert_eq!(told(&sim), 1);
    // It has ended that; then it begins again.
    pairs(&mut sim, 140..150);
    assert_eq!(told(&sim), 2);
}
