//! Which block the group votes for: the one that honest validators would, whoever is early, late or lying.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use crate::{
    core::{Effect, Event, Report, schedule::Attester},
    memory::Proofs,
    wire::{Abilities, Hello, Message, PROTOCOL},
};
use conclave_beacon::chain::spec::Due;
use conclave_consensus::{
    Signatures as _,
    messages::{self, Body, Proposal, Step, Vote, proposal_digest, value_id, vote_digest},
};
use conclave_crypto::hash::{Hash, sha256};
use conclave_eth::{
    chain::types::{AttestationData, Checkpoint},
    duty::{Duty, Kind},
};

use super::{
    process::{ME, Process, Seen},
    sim::{LOCK, Plan, Sim, cheap::Cheap},
};

/// The operator who lies where one does.
const LIAR: u16 = 4;
/// The slots that are looked at.
const SLOTS: Range<u64> = 8..72;
/// When attestations are due in a slot of the simulated chain, in milliseconds.
const DUE_MS: u64 = 1_333;

/// Four operators of whom three sign, four attestations and a sync committee message in each slot, blocks well before
/// attestations are due.
fn plan() -> Plan {
    let mut plan = Plan::new(4, 3);
    plan.validators = 32;
    plan.arrival = (600, 900);
    plan.real_targets = true;
    plan
}

fn leads(slot: u64, round: u64) -> u16 {
    u16::try_from(1 + (slot + Kind::Head as u64 + round) % 4).unwrap()
}

fn source(slot: u64) -> Checkpoint {
    let epoch = (slot / 8).saturating_sub(1);
    Checkpoint {
        epoch,
        root: sha256(&[b"checkpoint", &epoch.to_be_bytes()]),
    }
}

/// A vote for this block, with the target that goes with the newest block of its epoch's first slot.
fn data(sim: &Sim, slot: u64, beacon_block_root: Hash) -> AttestationData {
    let epoch = slot / 8;
    AttestationData {
        slot,
        index: 0,
        beacon_block_root,
        source: source(slot),
        target: Checkpoint {
            epoch,
            root: sim.newest(epoch * 8),
        },
    }
}

/// Everything that was due came in time, and is for the newest block of the slot and the epoch; so are the sync committee
/// messages.
fn all_right(sim: &Sim, slots: Range<u64>, what: &str) {
    let count = usize::try_from(slots.end - slots.start).unwrap();
    let voted: Vec<_> = sim
        .oracle
        .voted
        .values()
        .filter(|vote| slots.contains(&vote.slot))
        .collect();
    let is_right = |vote: &AttestationData| *vote == data(sim, vote.slot, sim.newest(vote.slot));
    let wrong: Vec<u64> = voted
        .iter()
        .filter(|vote| !is_right(vote))
        .map(|vote| vote.slot)
        .collect();
    assert_eq!((voted.len(), wrong), (count * 4, vec![]), "{what}");
    let synced: Vec<_> = sim
        .oracle
        .sync_roots
        .iter()
        .filter(|((_, slot), _)| slots.contains(slot))
        .collect();
    let right = synced
        .iter()
        .filter(|((_, slot), root)| **root == sim.newest(*slot));
    assert_eq!(
        (synced.len(), right.count()),
        (count, count),
        "{what}: sync roots"
    );
    assert_eq!(sim.conflicts(), 0, "{what}");
}

/// How many heads an operator saw decided in a later round than the first.
fn later_rounds(sim: &Sim, place: usize) -> usize {
    let later = |report: &&Report| {
        matches!(report, Report::Decided { duty, decision, .. }
            if duty.kind == Kind::Head && SLOTS.contains(&duty.slot) && decision.round > 0)
    };
    sim.nodes[place].reports.iter().filter(later).count()
}

/// The liar's process ends, and somebody speaks with its key.
fn become_liar(sim: &mut Sim) {
    sim.kill(usize::from(LIAR) - 1);
    let slot = sim.slot();
    sim.run_to(slot + 1);
    sim.impersonate(LIAR);
    sim.run_to(slot + 2);
    for place in 0..3 {
        let hello = Hello {
            protocol: PROTOCOL,
            lock_hash: LOCK,
            instance: [4; 16],
            clock_ms: sim.now,
            proofs: Proofs::default(),
            watches: false,
            software: String::new(),
            abilities: Abilities::default(),
        };
        sim.feed(place, LIAR, Message::Hello(hello));
    }
}

fn lie(sim: &mut Sim, slot: u64, round: u8, data: AttestationData) {
    let duty = Duty {
        slot,
        kind: Kind::Head,
    };
    let value: Arc<[u8]> = data.to_ssz().into();
    let id = value_id(&value);
    let digest = proposal_digest(&LOCK, duty, LIAR, round, None, &id);
    let proposal = Body::Proposal(Proposal {
        operator: LIAR,
        round,
        polka: None,
        value,
        signature: Cheap(LIAR).sign(&digest),
    });
    say(sim, duty, &proposal);
    for step in [Step::Prevote, Step::Precommit] {
        lie_vote(sim, slot, round, step, Some(id));
    }
}

/// A vote of the liar.
fn lie_vote(sim: &mut Sim, slot: u64, round: u8, step: Step, choice: Option<Hash>) {
    let duty = Duty {
        slot,
        kind: Kind::Head,
    };
    let digest = vote_digest(&LOCK, duty, LIAR, round, step, choice.as_ref());
    let vote = Vote {
        operator: LIAR,
        round,
        step,
        choice,
        signature: Cheap(LIAR).sign(&digest),
    };
    say(sim, duty, &Body::Vote(vote));
}

/// The liar says something to all others.
fn say(sim: &mut Sim, duty: Duty, body: &Body) {
    for place in 0..3 {
        let message = messages::Message {
            duty,
            body: body.clone(),
        };
        sim.feed(place, LIAR, Message::Agreement(message));
    }
}

#[test]
fn a_leader_that_is_early_makes_nobody_vote_for_an_old_head() {
    // It is early where it leads, and where it leads the round after the first, too.
    for rounds in 0..3_u8 {
        for back in [1, 2] {
            let mut sim = Sim::new(1, plan());
            sim.run_to(3);
            become_liar(&mut sim);
            sim.run_to(SLOTS.start - 1);
            for slot in SLOTS {
                sim.begin(slot);
                let round = (0..rounds).find(|round| leads(slot, (*round).into()) == LIAR);
                if let Some(round) = round {
                    let at = sim.now + 20;
                    sim.run_until(at);
                    let mut old = data(&sim, slot, sim.newest(slot - back));
                    if slot % 8 < back {
                        // The epoch's first block is not there yet.
                        old.target.root = sim.newest(slot - back);
                    }
                    lie(&mut sim, slot, round, old);
                }
                sim.run_to(slot);
            }
            all_right(&sim, SLOTS, &format!("{rounds} rounds, {back} slots back"));
        }
    }
}

#[test]
fn clocks_that_are_ahead_or_behind_cost_no_head() {
    for ahead in [-1_300, -900, -300, 300, 600, 900, 1_300] {
        let mut plan = plan();
        plan.arrival = (900, 1_200);
        plan.skew = [(4, ahead)].into();
        let mut sim = Sim::new(1, plan);
        sim.run_to(SLOTS.end - 1);
        all_right(&sim, SLOTS, &format!("a clock ahead by {ahead} ms"));
    }
}

#[test]
fn who_votes_for_nothing_before_it_is_due_ends_no_round() {
    let mut plan = plan();
    // One block may come so much later than the others that they would have waited for its vote.
    plan.arrival = (700, 1_300);
    let mut sim = Sim::new(2, plan);
    sim.run_to(3);
    become_liar(&mut sim);
    sim.run_to(SLOTS.start - 1);
    for slot in SLOTS {
        sim.begin(slot);
        let at = sim.now + 20;
        sim.run_until(at);
        for step in [Step::Prevote, Step::Precommit] {
            lie_vote(&mut sim, slot, 0, step, None);
        }
        sim.run_to(slot);
    }
    all_right(&sim, SLOTS, "early votes for nothing");
    // But where it leads and says nothing.
    let leads_first = SLOTS.filter(|slot| leads(*slot, 0) == LIAR).count();
    assert_eq!(later_rounds(&sim, 0), leads_first);
}

#[test]
fn a_first_beacon_node_that_is_a_little_slower_costs_neither_head_nor_time() {
    for who in [vec![1_u16], vec![2, 3], vec![1, 2, 3, 4]] {
        for by in [50, 150, 590] {
            let mut plan = plan();
            plan.delay = (10, 40);
            plan.earlier = who.iter().map(|operator| (*operator, by)).collect();
            let mut sim = Sim::new(1, plan);
            sim.run_to(SLOTS.end - 1);
            let what = format!("the second earlier by {by} ms at {who:?}");
            all_right(&sim, SLOTS, &what);
            for place in 0..4 {
                assert_eq!(later_rounds(&sim, place), 0, "{what}");
            }
            let voted = sim
                .oracle
                .first
                .iter()
                .filter(|((_, slot), _)| SLOTS.contains(slot));
            let last = voted.map(|(_, into)| *into).max().unwrap();
            assert!(last < DUE_MS, "{what}: {last} ms");
        }
    }
}

#[test]
fn a_liar_that_leads_cannot_choose_how_far_back_the_vote_goes() {
    /// A block that is proposed in a slot.
    type Choice = fn(&Sim, u64) -> AttestationData;
    let choices: [(&str, Choice); 6] = [
        ("the block before", |sim, slot| {
            let mut before = data(sim, slot, sim.newest(slot - 1));
            if slot.is_multiple_of(8) {
                before.target.root = before.beacon_block_root;
            }
            before
        }),
        ("far back", |sim, slot| data(sim, slot, sim.newest(1))),
        ("two back", |sim, slot| data(sim, slot, sim.newest(slot - 2))),
        ("before the target", |sim, slot| {
            data(sim, slot, sim.newest((slot / 8 * 8 - 1).min(slot - 2)))
        }),
        ("the block before with its own target", |sim, slot| {
            let mut old = data(sim, slot, sim.newest(slot - 2));
            old.target.root = old.beacon_block_root;
            old
        }),
        ("unknown", |sim, slot| data(sim, slot, [9; 32])),
    ];
    for (what, choice) in choices {
        for astray in [false, true] {
            let mut plan = plan();
            if astray {
                // One honest operator is on another branch: the first round cannot decide, and all three must agree.
                plan.real_targets = false;
                plan.astray = [2].into();
            }
            let mut sim = Sim::new(1, plan);
            sim.run_to(3);
            become_liar(&mut sim);
            sim.run_to(15);
            for slot in 16..48 {
                sim.begin(slot);
                let at = sim.now + DUE_MS;
                sim.run_until(at);
                for _ in 0..20 {
                    let at = sim.now + 60;
                    sim.run_until(at);
                    for round in (0..8).filter(|round| leads(slot, *round) == LIAR) {
                        let mut data = choice(&sim, slot);
                        if astray {
                            data.target.root = sha256(&[b"checkpoint", &data.target.epoch.to_be_bytes()]);
                        }
                        lie(&mut sim, slot, round.try_into().unwrap(), data);
                    }
                }
                sim.run_to(slot);
            }
            let what = format!("{what}, astray: {astray}");
            if astray {
                let voted = sim.oracle.voted.values().filter(|vote| vote.slot >= 16);
                let right = voted
                    .clone()
                    .filter(|vote| vote.beacon_block_root == sim.newest(vote.slot));
                assert_eq!((voted.count(), right.count()), (32 * 4, 32 * 4), "{what}");
                assert_eq!(sim.conflicts(), 0, "{what}");
            } else {
                all_right(&sim, 16..48, &what);
            }
        }
    }
}

#[test]
fn a_slot_without_a_block_is_attested_at_the_due_time() {
    let mut plan = plan();
    plan.empty = 400;
    let mut sim = Sim::new(3, plan);
    sim.run_to(SLOTS.end - 1);
    all_right(&sim, SLOTS, "empty slots");
    for place in 0..4 {
        assert_eq!(later_rounds(&sim, place), 0);
    }
    let empty = SLOTS
        .filter(|slot| sim.newest(*slot) == sim.newest(slot - 1))
        .count();
    assert!(empty > 15, "{empty}");
    for ((_, slot), into) in &sim.oracle.first {
        if SLOTS.contains(slot) && sim.newest(*slot) == sim.newest(slot - 1) {
            // A view, and four messages of at most 40 ms each.
            assert!((DUE_MS..DUE_MS + 250).contains(into), "slot {slot}: {into} ms");
        }
    }
}

#[test]
fn head_and_target_belong_together_when_an_epochs_first_block_is_late() {
    for late in 0..3 {
        let mut plan = plan();
        plan.arrival = (1_000, 1_300);
        plan.delay = (10, 40);
        plan.lagging = [(2, 300 * (late + 1)), (4, 250 * late)].into();
        let mut sim = Sim::new(5, plan);
        sim.run_to(SLOTS.end - 1);
        let chain: BTreeMap<Hash, u64> = (0..SLOTS.end).map(|slot| (sim.newest(slot), slot)).collect();
        let voted: Vec<_> = sim
            .oracle
            .voted
            .values()
            .filter(|vote| SLOTS.contains(&vote.slot))
            .collect();
        assert_eq!(voted.len(), 64 * 4);
        for vote in voted {
            let (head, target) = (chain[&vote.beacon_block_root], chain[&vote.target.root]);
            let first = vote.slot / 8 * 8;
            assert_eq!(
                target,
                first.min(head),
                "slot {}: head of {head}, target of {target}",
                vote.slot
            );
            // Not everybody has the slot's block in time; the one before everybody has.
            assert!(head + 1 >= vote.slot, "slot {}: head of {head}", vote.slot);
        }
    }
}

#[test]
fn a_group_that_is_on_time_is_as_fast_as_its_block() {
    let mut plan = plan();
    plan.delay = (10, 10);
    plan.arrival = (700, 701);
    let mut sim = Sim::new(1, plan);
    sim.run_to(SLOTS.end - 1);
    all_right(&sim, SLOTS, "on time");
    let voted = sim
        .oracle
        .first
        .iter()
        .filter(|((_, slot), _)| SLOTS.contains(slot));
    // A view, four messages, a signature and what makes one of three.
    let last = voted.map(|(_, into)| *into).max().unwrap();
    assert!(last <= 770, "{last} ms");
}

/// A process that attests in slot 17; the epoch's first block was in slot 16.
fn attesting() -> Process {
    let mut slot = Process::at(17, false);
    let attester = Attester {
        validator: 0,
        index: 1000,
        committee: 1,
        committee_length: 64,
        committees_at_slot: 4,
    };
    let duties = vec![(17, attester)];
    slot.handle(Event::Attesters { epoch: 2, duties });
    slot
}

fn vote(root: u8) -> AttestationData {
    AttestationData {
        slot: 17,
        index: 0,
        beacon_block_root: [root; 32],
        source: source(17),
        target: Checkpoint {
            epoch: 2,
            root: [16; 32],
        },
    }
}

/// What of these effects asks beacon nodes for a view, or for a block.
fn questions(effects: &[Effect]) -> Vec<&'static str> {
    let asked = effects.iter().filter_map(|effect| match effect {
        Effect::AskView { .. } => Some("view"),
        Effect::AskAllViews { .. } => Some("all"),
        Effect::LookUp { .. } => Some("block"),
        _ => None,
    });
    asked.collect()
}

#[test]
fn no_proposal_makes_us_ask_before_it_is_due_or_its_round_has_begun() {
    let head = |root: u8, slot| Event::Head {
        slot,
        root: [root; 32],
    };
    let view = |root| Event::View {
        slot: 17,
        data: vote(root),
    };
    // Operator 3 leads the first round, operator 4 the second one.
    let mut slot = attesting();
    slot.handle(head(16, 16));
    let start = slot.now;
    let (old, effects) = slot.propose(Kind::Head, 0, &vote(16).to_ssz());
    assert_eq!(questions(&effects), [""; 0]);
    assert_eq!(slot.seen(Kind::Head, 0, old, &effects), Seen::Held);
    let (_, effects) = slot.propose(Kind::Head, 1, &vote(15).to_ssz());
    assert_eq!(questions(&effects), [""; 0]);
    // Nor does time, before it is due; nor an old answer, whoever asked for it.
    for into in [100, 700, 1_332] {
        slot.now = start + into;
        assert_eq!(questions(&slot.handle(Event::Tick)), [""; 0], "{into}");
        let effects = slot.handle(view(16));
        assert_eq!(slot.seen(Kind::Head, 0, old, &effects), Seen::Held);
        assert_eq!(questions(&effects), [""; 0], "{into}");
    }
    // A slot without a block: when it is due the old head is right. The second round has not begun.
    slot.now = start + 1_334;
    let effects = slot.handle(Event::Tick);
    assert_eq!(questions(&effects), ["view"]);
    assert_eq!(slot.seen(Kind::Head, 0, old, &effects), Seen::Held);
    let effects = slot.handle(view(16));
    assert_eq!(slot.seen(Kind::Head, 0, old, &effects), Seen::Valid);
    assert_eq!(questions(&effects), [""; 0]);

    // A block of the slot, and a beacon node that answers with the old head first.
    let mut slot = attesting();
    let start = slot.now;
    let (old, _) = slot.propose(Kind::Head, 0, &vote(16).to_ssz());
    slot.now = start + 600;
    let effects = slot.handle(head(17, 17));
    assert_eq!(questions(&effects), ["view"]);
    let effects = slot.handle(view(16));
    assert_eq!(slot.seen(Kind::Head, 0, old, &effects), Seen::Held);
    let effects = slot.handle(view(17));
    assert_eq!(slot.seen(Kind::Head, 0, old, &effects), Seen::Held);
    // Told again by another one, there is nothing to ask.
    assert_eq!(questions(&slot.handle(head(17, 17))), [""; 0]);
    slot.now = start + 1_334;
    let effects = slot.handle(Event::Tick);
    assert_eq!(slot.seen(Kind::Head, 0, old, &effects), Seen::Held);
    assert!(!questions(&effects).contains(&"view"));

    // What is for the second round is judged when that begins.
    let mut slot = attesting();
    let start = slot.now;
    slot.handle(head(17, 17));
    slot.handle(view(17));
    slot.now = start + 1_400;
    slot.handle(Event::Tick);
    let (before, effects) = slot.propose(Kind::Head, 1, &vote(16).to_ssz());
    assert_eq!(questions(&effects), [""; 0]);
    assert_eq!(slot.seen(Kind::Head, 1, before, &effects), Seen::Held);
    let effects = slot.enter(Kind::Head, 1);
    assert_eq!(questions(&effects), ["block"]);
}

#[test]
fn what_happens_costs_nothing_for_the_undecided_heads_of_other_slots() {
    let mut slot = attesting();
    let attester = |of: u64| {
        let attester = Attester {
            validator: 0,
            index: 1000,
            committee: 1,
            committee_length: 64,
            committees_at_slot: 4,
        };
        (of, attester)
    };
    let duties = (17..23).map(attester).collect();
    slot.handle(Event::Attesters { epoch: 2, duties });
    let said = |of: u64, root: u8| AttestationData {
        slot: of,
        ..vote(root)
    };
    // What is proposed in each slot is another branch's than what our beacon nodes say, and held.
    let mut held = 0;
    for of in 17..23 {
        slot.slot = of;
        slot.now = slot.core.time.start_of(of);
        slot.handle(Event::Tick);
        slot.wait_for(Due::Attestation);
        slot.handle(Event::View {
            slot: of,
            data: said(of, 16),
        });
        if slot.core.quorum.leader(slot.duty(Kind::Head), 0) != ME {
            slot.propose(Kind::Head, 0, &said(of, 9).to_ssz());
            held += 1;
        }
    }
    assert!(held >= 3, "{held}");
    for _ in 0..4 {
        slot.handle(Event::Tick);
    }
    let mut judged = |event: Event| {
        let before = slot.core.judged;
        if let Event::Head { slot: 23, .. } = event {
            slot.now = slot.core.time.start_of(23);
        }
        slot.handle(event);
        slot.core.judged - before
    };
    assert_eq!(judged(Event::Tick), 0);
    for of in 17..23 {
        let data = said(of, 8);
        assert!(judged(Event::View { slot: of, data }) <= 1, "{of}");
    }
    let head = |of: u8| Event::Head {
        slot: of.into(),
        root: [of; 32],
    };
    assert!(judged(head(22)) <= 1);
    // None is forgotten: each is judged again when a slot begins.
    let again = judged(head(23));
    assert!((held..=2 * held).contains(&again), "{again} {held}");
}

#[test]
fn a_head_of_the_future_is_nobodys() {
    let mut slot = attesting();
    slot.handle(Event::Head {
        slot: 17,
        root: [17; 32],
    });
    slot.handle(Event::Head {
        slot: 1_000,
        root: [7; 32],
    });
    let effects = slot.handle(Event::View {
        slot: 17,
        data: vote(17),
    });
    assert_eq!(questions(&effects), [""; 0]);
    let (id, effects) = slot.propose(Kind::Head, 0, &vote(17).to_ssz());
    assert_eq!(slot.seen(Kind::Head, 0, id, &effects), Seen::Valid);
}

/// What this process proposes in a round.
fn proposed(effects: &[Effect], of: u8) -> Vec<Vec<u8>> {
    let proposals = effects.iter().filter_map(|effect| match effect {
        Effect::Broadcast(Message::Agreement(messages::Message {
            body: Body::Proposal(proposal),
            ..
        })) if proposal.round == of => Some(proposal.value.to_vec()),
        _ => None,
    });
    proposals.collect()
}

const HEAD_17: Event = Event::Head {
    slot: 17,
    root: [17; 32],
};

fn view(root: u8) -> Event {
    Event::View {
        slot: 17,
        data: vote(root),
    }
}

fn other_view(root: u8) -> Event {
    Event::OtherView {
        slot: 17,
        data: vote(root),
    }
}

/// What happens to a leader in slot 16.
#[derive(Clone, Copy)]
enum Step16 {
    /// One of its beacon nodes tells of the block of the slot.
    Told,
    /// The one that was asked has this block.
    Answer(u8),
    /// Another one.
    Other(u8),
}

#[test]
fn a_leader_proposes_as_soon_as_its_view_becomes_its_own_whichever_comes_first() {
    // Operator 2 leads the first round of slot 16, and the fourth one of slot 17.
    let leading = || {
        let mut slot = Process::at(16, false);
        let attester = Attester {
            validator: 0,
            index: 1000,
            committee: 1,
            committee_length: 64,
            committees_at_slot: 4,
        };
        let duties = vec![(16, attester)];
        slot.handle(Event::Attesters { epoch: 2, duties });
        slot
    };
    let of_16 = |root: u8| AttestationData {
        slot: 16,
        target: Checkpoint {
            epoch: 2,
            root: [root; 32],
        },
        ..vote(root)
    };
    let view = |root| Event::View {
        slot: 16,
        data: of_16(root),
    };
    let event = |step: Step16| match step {
        Step16::Told => Event::Head {
            slot: 16,
            root: [16; 32],
        },
        Step16::Answer(root) => view(root),
        Step16::Other(root) => Event::OtherView {
            slot: 16,
            data: of_16(root),
        },
    };
    let right = of_16(16).to_ssz();
    let old = of_16(15).to_ssz();
    // The last step of each makes the view its own.
    let cases: [(&str, &[Step16]); 4] = [
        ("told, then answered", &[Step16::Told, Step16::Answer(16)]),
        ("answered, then told", &[Step16::Answer(16), Step16::Told]),
        ("another one has it", &[Step16::Told, Step16::Other(16)]),
        (
            "the one that told of it hangs, and another one gets it later",
            &[
                Step16::Told,
                Step16::Answer(15),
                Step16::Other(15),
                Step16::Other(16),
            ],
        ),
    ];
    for (what, steps) in cases {
        for late in [false, true] {
            let mut slot = leading();
            if late {
                slot.wait_for(Due::Attestation);
            }
            let mut all = Vec::new();
            for (place, step) in steps.iter().enumerate() {
                let seen = proposed(&slot.handle(event(*step)), 0);
                // When it is due and nobody has told of a block, the answer is enough.
                let first = late && matches!(steps[0], Step16::Answer(_));
                let expected = if first { 0 } else { steps.len() - 1 };
                assert_eq!(
                    seen.len(),
                    usize::from(place == expected),
                    "{what} {place} {late}"
                );
                all.extend(seen);
            }
            assert_eq!(all, std::slice::from_ref(&right), "{what} {late}");
        }
    }
    // Nobody told of anything: what there is when attestations are due, and not before.
    let mut slot = leading();
    assert!(proposed(&slot.handle(view(15)), 0).is_empty());
    assert!(proposed(&slot.wait_for(Due::Attestation), 0).is_empty());
    assert_eq!(proposed(&slot.handle(view(15)), 0), [old]);
}

#[test]
fn where_the_node_that_told_of_a_block_hangs_the_others_are_asked_for_it() {
    let mut slot = attesting();
    let start = slot.now;
    let (old, _) = slot.propose(Kind::Head, 0, &vote(16).to_ssz());
    slot.now = start + 600;
    assert_eq!(questions(&slot.handle(HEAD_17)), ["view"]);
    // The other one has not got it yet.
    assert_eq!(questions(&slot.handle(view(16))), [""; 0]);
    slot.now = start + 700;
    assert_eq!(questions(&slot.handle(Event::Tick)), [""; 0]);
    slot.now = start + 760;
    assert_eq!(questions(&slot.handle(Event::Tick)), ["all"]);
    slot.handle(other_view(16));
    // When attestations are due an old head is not better than before: it is known to be old.
    slot.now = start + 1_334;
    let effects = slot.handle(Event::Tick);
    assert!(questions(&effects).contains(&"all"), "{effects:?}");
    let mut effects = slot.handle(view(16));
    effects.extend(slot.handle(other_view(16)));
    assert_eq!(slot.seen(Kind::Head, 0, old, &effects), Seen::Held);
    // It gets it, and nobody needs the one that hangs.
    let (id, effects) = slot.propose(Kind::Head, 0, &vote(17).to_ssz());
    assert_eq!(slot.seen(Kind::Head, 0, id, &effects), Seen::Held);
    let effects = slot.handle(other_view(17));
    assert_eq!(slot.seen(Kind::Head, 0, id, &effects), Seen::Valid);
    slot.now = start + 1_600;
    assert!(!questions(&slot.handle(Event::Tick)).contains(&"all"));
}

#[test]
fn what_is_held_is_judged_when_we_are_told_of_its_block() {
    let mut slot = attesting();
    slot.now += 600;
    let (id, effects) = slot.propose(Kind::Head, 0, &vote(17).to_ssz());
    assert_eq!(slot.seen(Kind::Head, 0, id, &effects), Seen::Held);
    // The answer is there before the word that it is the head.
    let effects = slot.handle(view(17));
    assert_eq!(slot.seen(Kind::Head, 0, id, &effects), Seen::Held);
    let effects = slot.handle(HEAD_17);
    assert_eq!(slot.seen(Kind::Head, 0, id, &effects), Seen::Valid);
}
