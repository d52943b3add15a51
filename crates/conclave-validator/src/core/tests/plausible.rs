//! What this operator thinks of what others propose: each row of the tables of what is plausible, and of what is not.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    combine::Place,
    core::{
        Effect, Event, Heard, Report,
        attesting::encode_list,
        effects::ToCheck,
        proposing::Made,
        schedule::{Attester, SyncMember},
        terms::{Ancestor, Payload, Summary},
    },
};
use conclave_beacon::chain::{
    signing::is_aggregator,
    spec::{Chain, Due, ScheduledFork},
};
use conclave_consensus::Verdict;
use conclave_crypto::hash::Hash;
use conclave_eth::chain::fork::Fork;
use conclave_eth::{
    chain::types::{
        AggregateAndProof, Attestation, AttestationData, Bitlist, Bitvector, Checkpoint,
        ContributionAndProof, SyncCommitteeContribution,
    },
    duty::{Kind, Purpose},
};

use super::process::{GAS_LIMIT, PARENT_HASH, Process, RANDAO, Seen, asked_ancestor, prevotes};

/// What is proposed as a block; what it says the tests make up.
const BLOCK: &[u8] = b"a block";
/// Our beacon node's head before the slot.
const HEAD: Hash = [1; 32];

/// A change to a block that makes it another one.
type Change = fn(&mut Summary);

/// Blocks that can never be right: each is right but for one thing.
fn impossible() -> Vec<(&'static str, Change)> {
    vec![
        ("slot", |block| block.header.slot -= 1),
        ("next slot", |block| block.header.slot += 1),
        ("proposer", |block| block.header.proposer_index += 1),
        ("fork", |block| block.fork = Fork::Fulu),
        ("fee recipient", |block| block.fee_recipient[19] ^= 1),
        ("RANDAO reveal", |block| block.randao[0] ^= 1),
        ("time", |block| block.timestamp += 1),
        ("earlier time", |block| block.timestamp -= 4),
    ]
}

/// In this round of the agreement on a block, with our head and the group's RANDAO reveal.
fn block_in(round: u8, builder: bool) -> Process {
    let mut slot = Process::at(9, builder);
    if round > 0 {
        slot.enter(Kind::Block, round);
    }
    slot.handle(Event::Head { slot: 8, root: HEAD });
    slot.made(Purpose::Randao, (0, 0), [0; 32], RANDAO);
    slot
}

fn decoded(slot: &mut Process, id: Hash, block: Option<Summary>) -> Vec<Effect> {
    let of = slot.slot;
    slot.handle(Event::Decoded { slot: of, id, block })
}

/// A block is proposed that says this.
fn proposed(slot: &mut Process, round: u8, block: Option<Summary>) -> (Hash, Seen) {
    let (id, mut effects) = slot.propose(Kind::Block, round, BLOCK);
    let asked = |effect: &Effect| match effect {
        Effect::Check {
            what: ToCheck::Block(value),
            ..
        } => **value == *BLOCK,
        _ => false,
    };
    assert!(effects.iter().any(asked));
    effects.extend(decoded(slot, id, block));
    let seen = slot.seen(Kind::Block, round, id, &effects);
    (id, seen)
}

/// For what the guard was asked.
fn guarded(effects: &[Effect]) -> Vec<(Purpose, Hash, Vec<u32>)> {
    let guarded = effects.iter().filter_map(|effect| match effect {
        Effect::Guard {
            purpose,
            root,
            validators,
            ..
        } => Some((*purpose, *root, validators.clone())),
        _ => None,
    });
    guarded.collect()
}

/// Three quarters of a slot: whatever this process does without being told anything more.
fn rest(slot: &mut Process) -> Vec<Effect> {
    let mut effects = Vec::new();
    for _ in 0..30 {
        slot.now += 100;
        effects.extend(slot.handle(Event::Tick));
    }
    effects
}

#[test]
fn a_block_that_is_as_it_must_be_is_voted_for_and_signed() {
    for round in [0, 1] {
        for certificate_first in [false, true] {
            let mut slot = block_in(round, false);
            let block = slot.summary(0);
            let root = slot.core.chain.block_signing_root(&block.header).unwrap();
            let right = [(Purpose::Block, root, vec![0])];
            let effects = if certificate_first {
                let (id, _) = slot.propose(Kind::Block, round, BLOCK);
                assert_eq!(guarded(&slot.certify(Kind::Block, round, id)), []);
                decoded(&mut slot, id, Some(block))
            } else {
                let (id, seen) = proposed(&mut slot, round, Some(block));
                assert_eq!(seen, Seen::Valid, "{round}");
                slot.certify(Kind::Block, round, id)
            };
            assert_eq!(guarded(&effects), right, "{round} {certificate_first}");
        }
    }
}

#[test]
fn a_block_that_can_never_be_right_is_refused_and_not_signed_whoever_decided_on_it() {
    for round in [0, 1] {
        let none: [(&str, Option<Change>); 1] = [("is none", None)];
        let all = impossible()
            .into_iter()
            .map(|(what, change)| (what, Some(change)));
        for (what, change) in all.chain(none) {
            let block = |slot: &Process| {
                change.map(|change| {
                    let mut block = slot.summary(0);
                    change(&mut block);
                    block
                })
            };
            // It is refused, and stays refused with t precommits.
            let mut slot = block_in(round, false);
            let other = block(&slot);
            let (id, seen) = proposed(&mut slot, round, other);
            assert_eq!(seen, Seen::Invalid, "{what} {round}");
            let mut effects = slot.certify(Kind::Block, round, id);
            effects.extend(rest(&mut slot));
            assert_eq!(guarded(&effects), [], "{what} {round}");

            // What it says is found out only when the others have decided.
            let mut slot = block_in(round, false);
            let other = block(&slot);
            let (id, mut effects) = slot.propose(Kind::Block, round, BLOCK);
            effects.extend(slot.certify(Kind::Block, round, id));
            effects.extend(decoded(&mut slot, id, other));
            effects.extend(rest(&mut slot));
            assert_eq!(guarded(&effects), [], "{what} {round}, late");
        }
    }
}

#[test]
fn an_own_block_that_can_never_be_right_is_not_proposed() {
    let refused = |change: Option<Change>| {
        let mut slot = block_in(1, false);
        let mut summary = slot.summary(0);
        if let Some(change) = change {
            change(&mut summary);
        }
        let made = Made {
            value: BLOCK.into(),
            summary,
            contents: None,
        };
        let produced = Event::Produced {
            slot: slot.slot,
            round: 1,
            made,
        };
        let effects = slot.handle(produced);
        effects.into_iter().find_map(|effect| match effect {
            Effect::Report(Report::OwnBlock {
                refused: true, what, ..
            }) => Some(what),
            _ => None,
        })
    };
    assert_eq!(refused(None), None);
    let reasons: BTreeSet<_> = impossible()
        .into_iter()
        .map(|(what, change)| refused(Some(change)).expect(what))
        .collect();
    assert_eq!(reasons.len(), 6, "each says what is wrong: {reasons:?}");
}

#[test]
fn a_builders_block_is_voted_for_with_builder_only_and_signed_when_decided() {
    for round in [0, 1] {
        for builder in [false, true] {
            let mut slot = block_in(round, builder);
            let block = Summary {
                blinded: true,
                // The builder's.
                fee_recipient: [9; 20],
                ..slot.summary(0)
            };
            let (id, seen) = proposed(&mut slot, round, Some(block));
            assert_eq!(seen, if builder { Seen::Valid } else { Seen::Held });
            // Others decided on it, and of t at least one is honest: whoever only holds it signs too.
            assert_eq!(guarded(&slot.certify(Kind::Block, round, id)).len(), 1);
        }
        // Without --builder it never gets this operator's vote, however long it takes.
        let mut slot = block_in(round, false);
        let block = Summary {
            blinded: true,
            ..slot.summary(0)
        };
        let (id, _) = proposed(&mut slot, round, Some(block));
        let effects = rest(&mut slot);
        assert_eq!(prevotes(Kind::Block, round, &effects), [None]);
        assert_eq!(guarded(&effects), []);
        assert_eq!(guarded(&slot.certify(Kind::Block, round, id)).len(), 1);
    }
    // But for the fee recipient it must be right, with --builder too.
    for (what, change) in impossible() {
        let mut slot = block_in(1, true);
        let mut block = Summary {
            blinded: true,
            ..slot.summary(0)
        };
        change(&mut block);
        let (_, seen) = proposed(&mut slot, 1, Some(block));
        let expected = if what == "fee recipient" {
            Seen::Valid
        } else {
            Seen::Invalid
        };
        assert_eq!(seen, expected, "{what}");
    }
}

#[test]
fn without_the_groups_randao_reveal_a_block_is_held() {
    for (reveal, right) in [(RANDAO, true), ([7; 96], false)] {
        let mut slot = Process::at(9, false);
        slot.handle(Event::Head { slot: 8, root: HEAD });
        let block = slot.summary(0);
        let (id, seen) = proposed(&mut slot, 0, Some(block));
        assert_eq!(seen, Seen::Held);
        let effects = slot.made(Purpose::Randao, (0, 0), [0; 32], reveal);
        let expected = if right { Seen::Valid } else { Seen::Invalid };
        assert_eq!(slot.seen(Kind::Block, 0, id, &effects), expected);
    }
}

/// A block of the chain, as our beacon nodes tell of it.
fn ancestor(slot: u64, parent_root: Hash) -> Ancestor {
    Ancestor {
        slot,
        proposer_index: 7,
        parent_root,
        payload: Some(Payload {
            block_hash: PARENT_HASH,
            gas_limit: GAS_LIMIT,
        }),
    }
}

#[test]
fn what_the_parent_does_not_allow_is_refused_if_our_beacon_nodes_know_the_parent() {
    let right: Change = |_| ();
    let wrong: [(&str, Change); 4] = [
        ("another payload's child", |block| block.parent_hash[0] ^= 1),
        ("twice the gas", |block| block.gas_limit *= 2),
        ("a step too far", |block| block.gas_limit += GAS_LIMIT / 1024),
        ("no gas", |block| block.gas_limit = 0),
    ];
    let all = wrong.into_iter().chain([
        ("nothing", right),
        (
            "a step",
            (|block| block.gas_limit -= GAS_LIMIT / 1024 - 1) as Change,
        ),
    ]);
    for (what, change) in all {
        for (round, blinded) in [(0, false), (0, true), (1, false), (1, true)] {
            let with = |known: Option<Ancestor>| {
                let mut slot = Process::at(9, blinded);
                slot.ancestors.extend(known.map(|known| (HEAD, known)));
                if round > 0 {
                    slot.enter(Kind::Block, round);
                }
                slot.handle(Event::Head { slot: 8, root: HEAD });
                slot.made(Purpose::Randao, (0, 0), [0; 32], RANDAO);
                let mut block = slot.summary(0);
                block.blinded = blinded;
                change(&mut block);
                let (id, seen) = proposed(&mut slot, round, Some(block));
                // Whoever decides on it.
                let mut effects = slot.certify(Kind::Block, round, id);
                effects.extend(rest(&mut slot));
                (seen, guarded(&effects).len())
            };
            let known = ancestor(8, [5; 32]);
            let expected = if wrong.iter().any(|(wrong, _)| *wrong == what) {
                (Seen::Invalid, 0)
            } else {
                (Seen::Valid, 1)
            };
            assert_eq!(with(Some(known)), expected, "{what} {round} {blinded}");
            // Where they tell nothing of it, nothing can be said against it.
            let header = Ancestor {
                payload: None,
                ..known
            };
            for unknown in [None, Some(header)] {
                assert_eq!(with(unknown), (Seen::Valid, 1), "{what} {round} {blinded}");
            }
        }
    }
}

#[test]
fn a_block_is_held_until_our_beacon_nodes_have_said_what_they_know_of_its_parent() {
    let mut slot = Process::at(9, false);
    slot.made(Purpose::Randao, (0, 0), [0; 32], RANDAO);
    let now = slot.now;
    // Asked when the head is known, before anybody proposes.
    let effects = slot.core.handle(now, Event::Head { slot: 8, root: HEAD });
    assert_eq!(
        effects.iter().filter_map(asked_ancestor).collect::<Vec<_>>(),
        [(9, HEAD)]
    );
    let block = slot.summary(0);
    let (id, seen) = proposed(&mut slot, 0, Some(block));
    assert_eq!(seen, Seen::Held);
    let effects = slot.handle(Event::Ancestor {
        slot: 9,
        root: HEAD,
        ancestor: Some(ancestor(8, [5; 32])),
    });
    assert_eq!(slot.seen(Kind::Block, 0, id, &effects), Seen::Valid);
}

/// Since when our beacon nodes have their head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    InTime,
    Late,
    /// They told nothing of it: it was found by asking.
    Unknown,
}

/// Our head is a block of the slot before, on one of the slot before that.
fn with_head(of_slot: u64, round: u8, came: Came) -> Process {
    let mut slot = Process::at(of_slot, false);
    if round > 0 {
        slot.enter(Kind::Block, round);
    }
    let before = of_slot - 1;
    slot.ancestors.insert(HEAD, ancestor(before, [5; 32]));
    slot.ancestors.insert([5; 32], ancestor(before - 1, [4; 32]));
    slot.handle(Event::Head {
        slot: before,
        root: HEAD,
    });
    let due = slot.core.chain.due_ms(before, Due::Attestation);
    let at_ms = match came {
        Came::InTime => Some(due - 1000),
        Came::Late => Some(due + 1),
        Came::Unknown => return slot,
    };
    let heard = Heard { slot: before, at_ms };
    slot.core.heard.insert(HEAD, heard);
    slot
}

/// What is thought of a block that is proposed on this one.
fn on(slot: &mut Process, round: u8, parent: Hash) -> (Hash, Seen) {
    slot.made(Purpose::Randao, (0, 0), [0; 32], RANDAO);
    let mut block = slot.summary(0);
    let epoch = slot.core.time.epoch_of(slot.slot);
    block.fork = slot.core.chain.spec.signable_fork_at(epoch).unwrap().fork;
    block.header.parent_root = parent;
    proposed(slot, round, Some(block))
}

/// A block of slot 9 is proposed on one that our beacon nodes know to be of this slot, or do not know.
fn built_on(round: u8, parent: Hash, parent_slot: Option<u64>) -> (Process, Hash, Seen) {
    let mut slot = with_head(9, round, Came::InTime);
    if let Some(parent_slot) = parent_slot {
        slot.ancestors.insert(parent, ancestor(parent_slot, [3; 32]));
    }
    let (id, seen) = on(&mut slot, round, parent);
    (slot, id, seen)
}

#[test]
fn the_parent_is_our_head_or_in_later_rounds_a_block_no_older_than_our_heads_parent() {
    let (mut slot, id, seen) = built_on(0, [6; 32], Some(8));
    assert_eq!(seen, Seen::Held);
    let effects = slot.handle(Event::Head {
        slot: 8,
        root: [6; 32],
    });
    assert_eq!(slot.seen(Kind::Block, 0, id, &effects), Seen::Valid);

    for (parent_slot, expected) in [
        (None, Seen::Held),
        // Who leads would choose how much of the chain the group leaves behind.
        (Some(0), Seen::Held),
        (Some(6), Seen::Held),
        (Some(7), Seen::Valid),
        (Some(8), Seen::Valid),
        // A block of the slot itself is nobody's parent in it.
        (Some(9), Seen::Held),
    ] {
        let (_, _, seen) = built_on(1, [6; 32], parent_slot);
        assert_eq!(seen, expected, "{parent_slot:?}");
    }

    // What they did not have they are asked for again when their head changes.
    let (mut slot, id, seen) = built_on(1, [6; 32], None);
    assert_eq!(seen, Seen::Held);
    slot.ancestors.insert([6; 32], ancestor(8, [5; 32]));
    let effects = slot.handle(Event::Head {
        slot: 8,
        root: [8; 32],
    });
    assert_eq!(slot.seen(Kind::Block, 1, id, &effects), Seen::Valid);
}

/// Fulu has begun.
fn in_fulu(slot: &mut Process) {
    let mut chain = Chain::clone(&slot.core.chain);
    chain.spec.forks.push(ScheduledFork {
        fork: Fork::Fulu,
        epoch: 0,
        version: [6, 0, 0, 1],
    });
    slot.handle(Event::Chain(Arc::new(chain)));
}

#[test]
fn a_late_head_may_be_left_behind_as_the_specification_of_the_slots_fork_says() {
    let parent = [5; 32];
    for round in [0, 1] {
        for (of_slot, fulu, came, honest) in [
            (9, false, Came::Late, true),
            (9, false, Came::InTime, false),
            // When it came nobody knows: it may have been in time.
            (9, false, Came::Unknown, false),
            // The first slot of an epoch, before proposers were known beforehand and since.
            (8, false, Came::Late, false),
            (8, true, Came::Late, true),
            (8, true, Came::InTime, false),
            (13, true, Came::Late, true),
            (13, true, Came::Unknown, false),
        ] {
            let mut slot = with_head(of_slot, round, came);
            if fulu {
                in_fulu(&mut slot);
            }
            let (_, seen) = on(&mut slot, round, parent);
            let expected = if honest || round > 0 {
                Seen::Valid
            } else {
                Seen::Held
            };
            assert_eq!(seen, expected, "{of_slot} {fulu} {came:?} {round}");
        }
    }
    // Of two slots at once nothing is left behind.
    let mut slot = with_head(9, 0, Came::Late);
    slot.ancestors.insert(parent, ancestor(6, [4; 32]));
    assert_eq!(on(&mut slot, 0, parent).1, Seen::Held);
}

#[test]
fn a_head_whose_proposer_made_two_blocks_may_be_left_behind() {
    let (parent, second) = ([5; 32], [9; 32]);
    let one = |of_slot, proposer_index| Ancestor {
        proposer_index,
        ..ancestor(of_slot, parent)
    };
    let cases = [
        // In the first slot of an epoch too.
        (9, Some(one(8, 7)), Seen::Valid),
        (8, Some(one(7, 7)), Seen::Valid),
        // Of another proposer, on another branch; of another slot than was told; gone since.
        (9, Some(one(8, 8)), Seen::Held),
        (9, Some(one(7, 7)), Seen::Held),
        (9, None, Seen::Held),
    ];
    for (of_slot, known, expected) in cases {
        let mut slot = with_head(of_slot, 0, Came::InTime);
        // Some slots without a block before the head do not matter.
        slot.ancestors.insert(parent, ancestor(of_slot - 4, [4; 32]));
        slot.ancestors.extend(known.map(|known| (second, known)));
        // Another of our beacon nodes has it.
        slot.handle(Event::Heard {
            slot: of_slot - 1,
            root: second,
        });
        assert_eq!(on(&mut slot, 0, parent).1, expected, "{of_slot} {known:?}");
    }
}

#[test]
fn when_a_head_came_is_known_only_if_a_beacon_node_told_of_it_by_itself() {
    let late = |events: &[fn(u64) -> Event]| {
        let mut slot = Process::at(8, false);
        slot.now = slot.core.chain.due_ms(8, Due::Attestation) + 100;
        for event in events {
            slot.handle(event(8));
        }
        let heard = slot.core.heard[&HEAD];
        heard.came_at(slot.now)
    };
    let told: fn(u64) -> Event = |slot| Event::Heard { slot, root: HEAD };
    let asked: fn(u64) -> Event = |slot| Event::Head { slot, root: HEAD };
    assert!(late(&[told, asked]));
    // It was there when it was asked for, and then told of by a node that is slower, or whose stream was broken.
    assert!(!late(&[asked]));
    assert!(!late(&[asked, told]));
}

/// What is decided for *head* in the slot.
fn data() -> AttestationData {
    let checkpoint = |epoch| Checkpoint { epoch, root: [4; 32] };
    AttestationData {
        slot: 9,
        index: 0,
        beacon_block_root: [6; 32],
        source: checkpoint(0),
        target: checkpoint(1),
    }
}

/// It is time to agree on what to attest to, and our first beacon node has answered this.
fn attesting(view: AttestationData) -> Process {
    let mut slot = Process::at(9, false);
    let attester = Attester {
        validator: 0,
        index: 1000,
        committee: 1,
        committee_length: 64,
        committees_at_slot: 4,
    };
    let duties = vec![(9, attester)];
    slot.handle(Event::Attesters { epoch: 1, duties });
    slot.wait_for(Due::Attestation);
    slot.handle(Event::View { slot: 9, data: view });
    slot
}

#[test]
fn what_can_never_be_attested_to_is_refused_and_not_signed_whoever_decided_on_it() {
    let with = |change: fn(&mut AttestationData)| {
        let mut other = data();
        change(&mut other);
        other.to_ssz()
    };
    let mut slot = attesting(data());
    let (id, effects) = slot.propose(Kind::Head, 0, &data().to_ssz());
    assert_eq!(slot.seen(Kind::Head, 0, id, &effects), Seen::Valid);
    assert_eq!(guarded(&slot.certify(Kind::Head, 0, id)).len(), 1);
    let wrong = [
        ("slot", with(|data| data.slot += 1)),
        ("index", with(|data| data.index = 1)),
        ("target", with(|data| data.target.epoch = 2)),
        ("source", with(|data| data.source.epoch = 2)),
        ("no data", data().to_ssz()[..127].to_vec()),
    ];
    for (what, value) in wrong {
        let mut slot = attesting(data());
        let (id, effects) = slot.propose(Kind::Head, 0, &value);
        assert_eq!(slot.seen(Kind::Head, 0, id, &effects), Seen::Invalid, "{what}");
        let mut effects = slot.certify(Kind::Head, 0, id);
        effects.extend(rest(&mut slot));
        assert_eq!(guarded(&effects), [], "{what}");
    }
}

#[test]
fn another_of_our_beacon_nodes_vouches_for_checkpoints_not_for_the_head() {
    let asks = |effects: &[Effect]| {
        let all = |effect: &&Effect| matches!(effect, Effect::AskAllViews { slot: 9 });
        effects.iter().filter(all).count()
    };
    let mut stale = data();
    stale.source.root = [5; 32];
    let another_head = AttestationData {
        beacon_block_root: [7; 32],
        ..data()
    };
    for (proposed, expected) in [(data(), Seen::Valid), (another_head, Seen::Held)] {
        let mut slot = attesting(stale);
        let (id, effects) = slot.propose(Kind::Head, 0, &proposed.to_ssz());
        assert_eq!(slot.seen(Kind::Head, 0, id, &effects), Seen::Held);
        assert_eq!(asks(&effects), 1);
        // The same answer again: they are asked again, but not at once.
        let again = |slot: &mut Process| {
            let event = Event::View { slot: 9, data: stale };
            asks(&slot.handle(event))
        };
        assert_eq!(again(&mut slot), 0);
        slot.now += 160;
        assert_eq!(again(&mut slot), 1);
        let event = Event::OtherView {
            slot: 9,
            data: another_head,
        };
        let effects = slot.handle(event);
        assert_eq!(slot.seen(Kind::Head, 0, id, &effects), expected);
    }
    // Of a head that is not ours, nobody else is asked.
    let mut slot = attesting(data());
    let (id, effects) = slot.propose(Kind::Head, 0, &another_head.to_ssz());
    assert_eq!(slot.seen(Kind::Head, 0, id, &effects), Seen::Held);
    assert_eq!(asks(&effects), 0);
}

/// A selection proof that makes, or does not make, an aggregator of a committee of 64.
fn proof(selects: bool) -> [u8; 96] {
    let mut proofs = (0..=255).map(|byte| [byte; 96]);
    proofs.find(|proof| is_aggregator(64, proof) == selects).unwrap()
}

/// Validators 0 and 1 attest in committees 1 and 2; the first aggregates, the second does not. It is time to agree on
/// aggregates, and *head* is decided or not.
fn aggregating(head: bool) -> Process {
    let mut slot = Process::at(9, false);
    let attester = |validator: u32| Attester {
        validator,
        index: 1000 + u64::from(validator),
        committee: 1 + u64::from(validator),
        committee_length: 64,
        committees_at_slot: 4,
    };
    let duties = vec![(9, attester(0)), (9, attester(1))];
    slot.handle(Event::Attesters { epoch: 1, duties });
    slot.made(Purpose::Selection, (0, 0), [0; 32], proof(true));
    slot.made(Purpose::Selection, (1, 0), [0; 32], proof(false));
    if head {
        slot.core.decided_head(9, data());
    }
    slot.wait_for(Due::Aggregate);
    slot
}

fn aggregate(committees: &[usize]) -> Attestation {
    Attestation {
        aggregation_bits: Bitlist::new(&[true; 64]),
        data: data(),
        signature: [3; 96],
        committee_bits: Bitvector::with_ones(4, committees),
    }
}

fn list(aggregates: &[Attestation]) -> Vec<u8> {
    encode_list(aggregates.iter().map(Attestation::to_ssz))
}

fn is_check(effect: &Effect) -> bool {
    matches!(effect, Effect::Check { .. })
}

/// What is thought of a proposed list, and whether somebody with a beacon node is to check the signatures in it.
fn judged(slot: &mut Process, kind: Kind, value: &[u8]) -> (Hash, Seen, bool) {
    // Operator 1 leads the first round on aggregates, operator 3 the second one on contributions.
    let round = u8::from(kind == Kind::Contributions);
    let (id, effects) = slot.propose(kind, round, value);
    let seen = slot.seen(kind, round, id, &effects);
    (id, seen, effects.iter().any(is_check))
}

/// The beacon nodes' answer about signatures, and what is thought then.
fn checked(slot: &mut Process, kind: Kind, id: Hash, verdict: Option<Verdict>) -> Seen {
    let (duty, round) = (slot.duty(kind), u8::from(kind == Kind::Contributions));
    let effects = slot.handle(Event::Checked {
        duty,
        round,
        id,
        verdict,
    });
    slot.seen(kind, round, id, &effects)
}

/// What the own share signs for a purpose.
fn signed(effects: &[Effect], of: Purpose) -> Vec<(Place, Hash)> {
    let roots = effects.iter().filter_map(|effect| match effect {
        Effect::Sign { purpose, roots, .. } if *purpose == of => Some(roots.clone()),
        _ => None,
    });
    roots.flatten().collect()
}

#[test]
fn aggregates_are_of_what_was_decided_and_of_our_committees() {
    const KIND: Kind = Kind::Aggregates;
    let right = list(&[aggregate(&[1]), aggregate(&[2])]);
    for (verdict, expected) in [
        (Some(Verdict::Valid), Seen::Valid),
        (Some(Verdict::Invalid), Seen::Invalid),
        (None, Seen::Held),
    ] {
        let mut slot = aggregating(true);
        let (id, seen, check) = judged(&mut slot, KIND, &right);
        assert_eq!((seen, check), (Seen::Held, true));
        assert_eq!(checked(&mut slot, KIND, id, verdict), expected);
    }
    let with = |change: fn(&mut Attestation)| {
        let mut other = aggregate(&[2]);
        change(&mut other);
        list(&[aggregate(&[1]), other])
    };
    let wrong = [
        ("block", with(|one| one.data.beacon_block_root[0] ^= 1)),
        ("source", with(|one| one.data.source.root[0] ^= 1)),
        ("target", with(|one| one.data.target.root[0] ^= 1)),
        ("slot", with(|one| one.data.slot += 1)),
        (
            "too few bits",
            with(|one| one.aggregation_bits = Bitlist::new(&[true; 63])),
        ),
        (
            "too many bits",
            with(|one| one.aggregation_bits = Bitlist::new(&[true; 65])),
        ),
        ("committee twice", list(&[aggregate(&[1]), aggregate(&[1])])),
        ("two committees in one", list(&[aggregate(&[1, 2])])),
        ("no committee", list(&[aggregate(&[])])),
        ("nothing", list(&[])),
        ("too many", list(&vec![aggregate(&[1]); 5])),
        ("no list", b"no list".to_vec()),
        ("no aggregate", encode_list(std::iter::once(vec![0; 3]))),
    ];
    for (what, value) in wrong {
        let mut slot = aggregating(true);
        let (id, seen, check) = judged(&mut slot, KIND, &value);
        assert_eq!((seen, check), (Seen::Invalid, false), "{what}");
        // Nor is it signed if all others decide on it.
        let mut effects = slot.certify(KIND, 0, id);
        effects.extend(rest(&mut slot));
        assert_eq!(signed(&effects, Purpose::Aggregate), [], "{what}");
    }
    // Who knows of other duties than we do may be right.
    let mut slot = aggregating(true);
    let foreign = list(&[aggregate(&[1]), aggregate(&[3])]);
    let (_, seen, check) = judged(&mut slot, KIND, &foreign);
    assert_eq!((seen, check), (Seen::Held, false));
}

#[test]
fn aggregates_and_contributions_wait_for_what_they_are_of() {
    let contributions = encode_list(std::iter::once(contribution(1).to_ssz()));
    for (mut slot, kind, value) in [
        (aggregating(false), Kind::Aggregates, list(&[aggregate(&[1])])),
        (contributing(false), Kind::Contributions, contributions),
    ] {
        let (_, seen, check) = judged(&mut slot, kind, &value);
        assert_eq!((seen, check), (Seen::Held, false));
        slot.core.decided_head(9, data());
        let effects = slot.handle(Event::Tick);
        assert!(effects.iter().any(is_check), "{kind:?}");
    }
}

#[test]
fn who_leads_asks_for_what_is_to_be_aggregated_as_soon_as_that_is_decided() {
    let asks = |effects: &[Effect]| {
        let asked = |effect: &&Effect| {
            matches!(
                effect,
                Effect::AskAggregates { round: 0, .. } | Effect::AskContributions { round: 0, .. }
            )
        };
        effects.iter().filter(asked).count()
    };
    // Operator 2 leads the first round on aggregates in slot 10, on contributions in slot 9.
    for (of, due) in [(10, Due::Aggregate), (9, Due::Contribution)] {
        let mut slot = Process::at(of, false);
        if of == 10 {
            let attester = Attester {
                validator: 0,
                index: 1000,
                committee: 1,
                committee_length: 64,
                committees_at_slot: 4,
            };
            let duties = vec![(of, attester)];
            slot.handle(Event::Attesters { epoch: 1, duties });
            slot.made(Purpose::Selection, (0, 0), [0; 32], proof(true));
        } else {
            let members = vec![SyncMember {
                validator: 0,
                index: 1000,
                subcommittees: vec![1],
                places: vec![9],
            }];
            slot.handle(Event::SyncMembers { epoch: 1, members });
            slot.made(Purpose::SyncSelection, (0, 1), [0; 32], [8; 96]);
        }
        assert_eq!(asks(&slot.wait_for(due)), 0, "{of}");
        slot.core.decided_head(of, AttestationData { slot: of, ..data() });
        assert_eq!(asks(&slot.handle(Event::Tick)), 1, "{of}");
        assert_eq!(asks(&slot.handle(Event::Tick)), 0, "{of}");
    }
}

#[test]
fn only_who_is_selected_signs_an_aggregate_and_with_the_groups_proof() {
    let mut slot = aggregating(true);
    let value = list(&[aggregate(&[1]), aggregate(&[2])]);
    let (id, _, _) = judged(&mut slot, Kind::Aggregates, &value);
    let effects = slot.certify(Kind::Aggregates, 0, id);
    let message = AggregateAndProof {
        aggregator_index: 1000,
        aggregate: aggregate(&[1]),
        selection_proof: proof(true),
    };
    let root = slot.core.chain.aggregate_signing_root(&message).unwrap();
    assert_eq!(signed(&effects, Purpose::Aggregate), [((0, 0), root)]);
}

/// Validator 0 is in subcommittees 1 and 2 of the sync committee; only for the first there is a selection proof. It is time to
/// agree on contributions, and *head* is decided or not.
fn contributing(head: bool) -> Process {
    let mut slot = Process::at(9, false);
    let members = vec![SyncMember {
        validator: 0,
        index: 1000,
        subcommittees: vec![1, 2],
        places: vec![9, 17],
    }];
    slot.handle(Event::SyncMembers { epoch: 1, members });
    slot.made(Purpose::SyncSelection, (0, 1), [0; 32], [8; 96]);
    if head {
        slot.core.decided_head(9, data());
    }
    slot.wait_for(Due::Contribution);
    slot.enter(Kind::Contributions, 1);
    slot
}

fn contribution(subcommittee: u64) -> SyncCommitteeContribution {
    SyncCommitteeContribution {
        slot: 9,
        beacon_block_root: data().beacon_block_root,
        subcommittee_index: subcommittee,
        aggregation_bits: Bitvector::with_ones(8, &[0, 3]),
        signature: [3; 96],
    }
}

#[test]
fn contributions_are_of_the_block_that_was_decided() {
    const KIND: Kind = Kind::Contributions;
    let list =
        |all: &[SyncCommitteeContribution]| encode_list(all.iter().map(SyncCommitteeContribution::to_ssz));
    for (verdict, expected) in [
        (Some(Verdict::Valid), Seen::Valid),
        (Some(Verdict::Invalid), Seen::Invalid),
        (None, Seen::Held),
    ] {
        let mut slot = contributing(true);
        let right = list(&[contribution(1), contribution(2)]);
        let (id, seen, check) = judged(&mut slot, KIND, &right);
        assert_eq!((seen, check), (Seen::Held, true));
        assert_eq!(checked(&mut slot, KIND, id, verdict), expected);
    }
    let with = |change: fn(&mut SyncCommitteeContribution)| {
        let mut other = contribution(2);
        change(&mut other);
        list(&[contribution(1), other])
    };
    let wrong = [
        ("block", with(|one| one.beacon_block_root[0] ^= 1)),
        ("slot", with(|one| one.slot += 1)),
        ("subcommittee twice", with(|one| one.subcommittee_index = 1)),
        ("no such subcommittee", with(|one| one.subcommittee_index = 4)),
        (
            "too many bits",
            with(|one| one.aggregation_bits = Bitvector::with_ones(16, &[0])),
        ),
        ("nothing", list(&[])),
        ("too many", list(&vec![contribution(1); 65])),
        ("no list", b"no list".to_vec()),
    ];
    for (what, value) in wrong {
        let mut slot = contributing(true);
        let (id, seen, check) = judged(&mut slot, KIND, &value);
        assert_eq!((seen, check), (Seen::Invalid, false), "{what}");
        let mut effects = slot.certify(KIND, 1, id);
        effects.extend(rest(&mut slot));
        assert_eq!(signed(&effects, Purpose::Contribution), [], "{what}");
    }
}

#[test]
fn only_who_is_selected_signs_a_contribution_and_with_the_groups_proof() {
    let mut slot = contributing(true);
    let value = encode_list(
        [contribution(1), contribution(2)]
            .iter()
            .map(SyncCommitteeContribution::to_ssz),
    );
    let (id, _, _) = judged(&mut slot, Kind::Contributions, &value);
    let effects = slot.certify(Kind::Contributions, 1, id);
    let message = ContributionAndProof {
        aggregator_index: 1000,
        contribution: contribution(1),
        selection_proof: [8; 96],
    };
    let root = slot.core.chain.contribution_signing_root(&message).unwrap();
    assert_eq!(signed(&effects, Purpose::Contribution), [((0, 1), root)]);
}
