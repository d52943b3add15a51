//! Blocks when beacon nodes are slow with them, or leave a late head behind.

use crate::{
    core::{
        Decision, Effect, Event, Report, Submission,
        proposing::Made,
        terms::{Ancestor, Payload, Summary},
    },
    wire::Message,
};
use conclave_consensus::messages::{Body, Message as Agreement, value_id};
use conclave_crypto::hash::Hash;
use conclave_eth::duty::{Duty, Kind, Purpose};

use super::{
    process::{GAS_LIMIT, PARENT_HASH, Process, RANDAO},
    sim::{Plan, Sim},
};

/// Four operators of whom three sign, and who propose.
fn plan() -> Plan {
    let mut plan = Plan::new(4, 3);
    plan.proposals = true;
    plan.delay = (10, 10);
    plan
}

/// What was decided about blocks from slot 16 on; before, RANDAO reveals may be missing.
fn decisions(sim: &Sim) -> Vec<(u64, Decision)> {
    let reports = sim.nodes.iter().flat_map(|node| &node.reports);
    let decided = reports.filter_map(|report| match report {
        Report::Decided { duty, decision, .. } if duty.kind == Kind::Block && duty.slot >= 16 => {
            Some((duty.slot, *decision))
        }
        _ => None,
    });
    decided.collect()
}

#[test]
fn beacon_nodes_that_are_slow_with_blocks_cost_one_round_and_not_two() {
    let mut plan = plan();
    // Longer than anybody waits for the first proposal, 667 ms.
    plan.building = (1..=4).map(|operator| (operator, 900)).collect();
    let mut sim = Sim::new(3, plan);
    sim.run_to(39);
    assert_eq!(sim.proposed_in(16..40), (12, 12));
    let decisions = decisions(&sim);
    assert_eq!(decisions.len(), 48);
    for (slot, decision) in decisions {
        assert!(
            decision.round == 1 && decision.times.after_due_ms < 1_100,
            "slot {slot}: {decision:?}"
        );
    }
}

#[test]
fn one_slow_builder_costs_no_more_than_its_own_round() {
    let mut plan = plan();
    plan.building.insert(3, 3_000);
    let mut sim = Sim::new(4, plan);
    sim.run_to(39);
    assert_eq!(sim.proposed_in(16..40), (12, 12));
    for (slot, decision) in decisions(&sim) {
        let leads = (slot + Kind::Block as u64) % 4 + 1 == 3;
        assert_eq!(decision.round, u8::from(leads), "slot {slot}");
        // The wait for the first proposal, and the steps of a round.
        let most = if leads { 800 } else { 200 };
        assert!(decision.times.after_due_ms < most, "slot {slot}: {decision:?}");
    }
}

#[test]
fn a_block_that_leaves_a_late_head_behind_is_agreed_on_in_the_first_round() {
    for (arrival, late) in [((1_400, 1_500), true), ((100, 200), false)] {
        let mut plan = plan();
        plan.passes_over = true;
        plan.arrival = arrival;
        let mut sim = Sim::new(5, plan);
        sim.run_to(39);
        let (due, came) = sim.proposed_in(16..40);
        assert_eq!((due, came), (6, 6));
        let decisions = decisions(&sim);
        assert_eq!(decisions.len(), 24);
        // A head that came in time is not left behind by who follows the specification: that is no better than an old view,
        // and is agreed on only if the first leader has nothing else.
        for (slot, decision) in decisions {
            assert_eq!(decision.round == 0, late, "slot {slot}: {decision:?}");
        }
    }
}

/// In slot 10, whose second round operator 2 leads.
fn next_leader() -> Process {
    let mut slot = Process::at(10, false);
    slot.handle(Event::Head {
        slot: 9,
        root: [1; 32],
    });
    slot
}

/// For which rounds the beacon nodes were asked for a block.
fn asked(effects: &[Effect]) -> Vec<u8> {
    let asked = effects.iter().filter_map(|effect| match effect {
        Effect::AskBlock { slot: 10, round, .. } => Some(*round),
        _ => None,
    });
    asked.collect()
}

/// What was proposed, and in which round.
fn proposed(effects: &[Effect]) -> Vec<(u8, Vec<u8>)> {
    let proposals = effects.iter().filter_map(|effect| match effect {
        Effect::Broadcast(Message::Agreement(Agreement {
            body: Body::Proposal(proposal),
            ..
        })) => Some((proposal.round, proposal.value.to_vec())),
        _ => None,
    });
    proposals.collect()
}

fn produce(slot: &mut Process, value: &[u8]) -> Vec<Effect> {
    let made = Made {
        value: value.into(),
        summary: slot.summary(0),
        contents: None,
    };
    slot.handle(Event::Produced {
        slot: 10,
        round: 1,
        made,
    })
}

/// The same with blobs, for a later round.
fn produce_with_blobs(slot: &mut Process, round: u8, value: &[u8], blobs: &[u8]) -> Vec<Effect> {
    let made = Made {
        value: value.into(),
        summary: slot.summary(1),
        contents: Some(blobs.into()),
    };
    slot.handle(Event::Produced {
        slot: 10,
        round,
        made,
    })
}

#[test]
fn a_block_is_published_with_its_own_blobs_though_its_maker_has_had_another_one_made() {
    let mut slot = next_leader();
    reveal(&mut slot);
    produce_with_blobs(&mut slot, 1, b"first", b"blobs of the first");
    let effects = slot.enter(Kind::Block, 1);
    assert_eq!(proposed(&effects), [(1, b"first".to_vec())]);
    // The head changes, and the fifth round is ours again.
    slot.handle(Event::Head {
        slot: 9,
        root: [8; 32],
    });
    let mut effects = Vec::new();
    for round in 2..=4 {
        effects.extend(slot.enter(Kind::Block, round));
    }
    assert_eq!(asked(&effects), [5]);
    produce_with_blobs(&mut slot, 5, b"second", b"blobs of the second");
    // The others had agreed on the first one.
    let effects = slot.certify(Kind::Block, 1, value_id(b"first"));
    let sent = effects.iter().find_map(|effect| match effect {
        Effect::Broadcast(Message::Contents { bytes, .. }) => Some(bytes.to_vec()),
        _ => None,
    });
    assert_eq!(sent.as_deref(), Some(&b"blobs of the first"[..]));
    let root = slot.core.chain.block_signing_root(&slot.header).unwrap();
    let effects = slot.made(Purpose::Block, (0, 0), root, [5; 96]);
    let published = effects.iter().find_map(|effect| match effect {
        Effect::Submit(Submission::Block { value, contents, .. }) => {
            Some((value.to_vec(), contents.as_ref().map(|bytes| bytes.to_vec())))
        }
        _ => None,
    });
    let expected = (b"first".to_vec(), Some(b"blobs of the first".to_vec()));
    assert_eq!(published, Some(expected));
}

fn reveal(slot: &mut Process) -> Vec<Effect> {
    slot.made(Purpose::Randao, (0, 0), [0; 32], RANDAO)
}

#[test]
fn who_leads_next_has_a_block_made_when_the_slot_begins() {
    // Made before its round begins: proposed at once.
    let mut slot = next_leader();
    assert_eq!(asked(&reveal(&mut slot)), [1]);
    assert_eq!(proposed(&produce(&mut slot, b"made")), []);
    let effects = slot.enter(Kind::Block, 1);
    assert_eq!(proposed(&effects), [(1, b"made".to_vec())]);
    assert!(asked(&effects).is_empty());

    // Under way when its round begins: nobody asks twice.
    let mut slot = next_leader();
    reveal(&mut slot);
    let effects = slot.enter(Kind::Block, 1);
    assert_eq!((proposed(&effects).len(), asked(&effects).len()), (0, 0));
    let effects = produce(&mut slot, b"made");
    assert_eq!(proposed(&effects), [(1, b"made".to_vec())]);

    // The reveal comes late.
    let mut slot = next_leader();
    assert!(asked(&slot.enter(Kind::Block, 1)).is_empty());
    assert_eq!(asked(&reveal(&mut slot)), [1]);
    assert_eq!(proposed(&produce(&mut slot, b"made")), [(1, b"made".to_vec())]);
}

#[test]
fn our_beacon_nodes_are_told_what_a_block_is_held_against_and_when_none_is_needed_any_more() {
    let mut slot = Process::at(10, false);
    let parent = Ancestor {
        slot: 9,
        proposer_index: 7,
        parent_root: [2; 32],
        payload: Some(Payload {
            block_hash: PARENT_HASH,
            gas_limit: GAS_LIMIT,
        }),
    };
    slot.ancestors.insert([1; 32], parent);
    slot.handle(Event::Head {
        slot: 9,
        root: [1; 32],
    });
    let effects = reveal(&mut slot);
    let measure = effects.iter().find_map(|effect| match effect {
        Effect::AskBlock { measure, .. } => Some(measure),
        _ => None,
    });
    let measure = measure.expect("asked for the next round");
    assert_eq!(measure.ancestors, [([1; 32], parent)].into());
    let right = slot.summary(0);
    assert_eq!((measure.refuse(&right), measure.refuse_own(&right)), (None, None));
    let misfit = "does not fit the chain (";
    let (other, fees) = (
        "is not the one that was asked for (",
        "pays its fees to somebody else (",
    );
    let (restart, setting) = ("Restart the beacon node", "setting of the fee recipient");
    for (change, said, advice) in [
        (
            (|block| block.gas_limit *= 2) as fn(&mut Summary),
            misfit,
            restart,
        ),
        (|block| block.parent_hash[0] ^= 1, misfit, restart),
        (|block| block.timestamp += 1, misfit, restart),
        (|block| block.header.slot += 1, other, restart),
        (|block| block.header.proposer_index += 1, other, restart),
        (|block| block.randao[0] ^= 1, other, restart),
        (|block| block.fee_recipient[0] ^= 1, fees, setting),
    ] {
        let mut wrong = right.clone();
        change(&mut wrong);
        let why = measure.refuse(&wrong).unwrap();
        assert_eq!(measure.refuse_own(&wrong), Some(why));
        // In plain words first, what an engineer wants to know in brackets, and what helps against just that.
        assert!(why.why.starts_with(said) && why.why.ends_with(')'), "{why:?}");
        assert!(why.advice.contains(advice), "{why:?}");
        assert_eq!(why.advice.contains("fee recipient"), advice == setting);
    }

    let stops = |effects: &[Effect]| {
        let stop = |effect: &&Effect| matches!(effect, Effect::StopMaking { slot: 10 });
        effects.iter().filter(stop).count()
    };
    // Another operator's block is decided while ours is made.
    let (id, mut effects) = slot.propose(Kind::Block, 0, b"theirs");
    effects.extend(slot.certify(Kind::Block, 0, id));
    assert_eq!(stops(&effects), 1);
    // Where nothing is being made, nothing needs to end.
    let mut slot = next_leader();
    reveal(&mut slot);
    let mut effects = produce(&mut slot, b"made");
    let (id, more) = slot.propose(Kind::Block, 0, b"theirs");
    effects.extend(more);
    effects.extend(slot.certify(Kind::Block, 0, id));
    assert_eq!(stops(&effects), 0);
}

#[test]
fn a_block_that_was_made_for_another_head_is_made_anew_and_is_better_than_none() {
    let root: Hash = [8; 32];
    let changed = || {
        let mut slot = next_leader();
        reveal(&mut slot);
        produce(&mut slot, b"old");
        slot.handle(Event::Head { slot: 9, root });
        let effects = slot.enter(Kind::Block, 1);
        assert_eq!(proposed(&effects), []);
        assert_eq!(asked(&effects), [1]);
        slot
    };
    let effects = produce(&mut changed(), b"new");
    assert_eq!(proposed(&effects), [(1, b"new".to_vec())]);
    let none = |slot: &mut Process| {
        let duty = Duty {
            slot: 10,
            kind: Kind::Block,
        };
        slot.handle(Event::Unanswered { duty, round: Some(1) })
    };
    assert_eq!(proposed(&none(&mut changed())), [(1, b"old".to_vec())]);

    // What could not be made beforehand is asked for once more.
    let mut slot = next_leader();
    reveal(&mut slot);
    none(&mut slot);
    let effects = slot.enter(Kind::Block, 1);
    assert_eq!((proposed(&effects).len(), asked(&effects)), (0, vec![1]));
    let effects = produce(&mut slot, b"at last");
    assert_eq!(proposed(&effects), [(1, b"at last".to_vec())]);
}
