//! What the driver leaves to its user, line by line, and what hostile operators try. Three of four; the node under test is
//! operator 1, and operators 2, 3, 4, 1 lead rounds 0, 1, 2, 3.

use std::sync::Arc;

use crate::{
    Effect, Instance, Misbehaviour, Quorum, Role, Verdict,
    messages::{Body, Certificate, LAST_ROUND, Message, Proposal, RoundStatus, Status, Step, Vote, value_id},
};
use conclave_crypto::hash::Hash;
use conclave_eth::duty::{Duty, Kind};

use super::Cheap;

const SLOT_MS: u64 = 12_000;
const DUE: u64 = 4_000;
const DUTY: Duty = Duty {
    slot: 0,
    kind: Kind::Head,
};
const LIMIT: usize = 1000;

fn quorum(own: u16) -> Quorum<Cheap> {
    Quorum::new([7; 32], 4, 3, own, SLOT_MS, Cheap(own)).unwrap()
}

fn instance() -> Instance<Cheap> {
    let mut instance = Instance::new(Arc::new(quorum(1)), DUTY, LIMIT);
    for peer in 2..=4 {
        assert_eq!(instance.connection(0, peer, true), []);
    }
    instance
}

/// Started at the beginning of the slot.
fn started() -> Instance<Cheap> {
    let mut instance = instance();
    assert_eq!(instance.start(0, DUE, Role::Votes), []);
    instance
}

fn proposal_of(author: u16, round: u8, polka: Option<u8>, value: &[u8]) -> Proposal {
    quorum(author).sign_proposal(DUTY, round, polka, value.into())
}

fn proposal(author: u16, round: u8, value: &[u8]) -> Body {
    Body::Proposal(proposal_of(author, round, None, value))
}

fn vote_of(author: u16, round: u8, step: Step, value: Option<&[u8]>) -> Vote {
    quorum(author).sign_vote(DUTY, round, step, value.map(value_id))
}

fn vote(author: u16, round: u8, step: Step, value: Option<&[u8]>) -> Body {
    Body::Vote(vote_of(author, round, step, value))
}

fn certificate(authors: &[u16], round: u8, step: Step, value: &[u8]) -> Certificate {
    let signature = |author: &u16| (*author, vote_of(*author, round, step, Some(value)).signature);
    Certificate {
        round,
        step,
        value_id: value_id(value),
        signatures: authors.iter().map(signature).collect(),
    }
}

fn message(body: Body) -> Message {
    Message { duty: DUTY, body }
}

/// The node hears something from a peer at the due time.
fn hear(instance: &mut Instance<Cheap>, from: u16, body: Body) -> Vec<Effect> {
    instance.receive(DUE, from, message(body))
}

fn judge(instance: &mut Instance<Cheap>, round: u8, value: &[u8], verdict: Verdict) -> Vec<Effect> {
    instance.verdict(DUE, round, &value_id(value), verdict)
}

/// The own votes among what is broadcast: round, step, choice.
fn votes(effects: &[Effect]) -> Vec<(u8, Step, Option<Hash>)> {
    let own = |effect: &Effect| match effect {
        Effect::Broadcast(Message {
            body: Body::Vote(vote),
            ..
        }) => Some((vote.round, vote.step, vote.choice)),
        _ => None,
    };
    effects.iter().filter_map(own).collect()
}

fn broadcast(effects: &[Effect], wanted: &Body) -> bool {
    let is = |effect: &Effect| matches!(effect, Effect::Broadcast(message) if message.body == *wanted);
    effects.iter().any(is)
}

fn decided(effects: &[Effect]) -> Option<Hash> {
    effects.iter().find_map(|effect| match effect {
        Effect::Decided(decision) => Some(decision.value_id),
        _ => None,
    })
}

fn forgeries(effects: &[Effect]) -> usize {
    let is = |effect: &&Effect| matches!(effect, Effect::Misbehaviour(Misbehaviour::Forgery { .. }));
    effects.iter().filter(is).count()
}

/// Lets time pass until nothing happens for as long as `to_ms`; all effects on the way.
fn pass(instance: &mut Instance<Cheap>, to_ms: u64) -> Vec<Effect> {
    let mut effects = Vec::new();
    while let Some(at) = instance.next_wakeup().filter(|at| *at <= to_ms) {
        effects.extend(instance.tick(at));
    }
    effects
}

/// The propose timeout of round 0 has passed, and t prevotes for nil ended it.
fn in_round_one() -> Instance<Cheap> {
    let mut node = started();
    pass(&mut node, DUE + 1000);
    for (author, step) in [
        (2, Step::Prevote),
        (3, Step::Prevote),
        (2, Step::Precommit),
        (3, Step::Precommit),
    ] {
        node.receive(DUE + 1000, author, message(vote(author, 0, step, None)));
    }
    pass(&mut node, DUE + 1500);
    assert_eq!(node.round(), 1);
    node
}

const PREVOTE: Step = Step::Prevote;
const PRECOMMIT: Step = Step::Precommit;

#[test]
fn own_proposals_and_votes_are_fed_back() {
    // Operator 2 leads. With its own proposal, its own votes and those of two others it decides: none is from outside.
    let mut leader = Instance::new(Arc::new(quorum(2)), DUTY, LIMIT);
    let effects = leader.start(0, DUE, Role::Votes);
    assert_eq!(effects, [Effect::AskValue { round: 0 }]);
    let effects = leader.propose(DUE, 0, (*b"v").into());
    assert!(broadcast(&effects, &proposal(2, 0, b"v")));
    assert_eq!(votes(&effects), [(0, PREVOTE, Some(value_id(b"v")))]);
    hear(&mut leader, 3, vote(3, 0, PREVOTE, Some(b"v")));
    let effects = hear(&mut leader, 4, vote(4, 0, PREVOTE, Some(b"v")));
    assert_eq!(votes(&effects), [(0, PRECOMMIT, Some(value_id(b"v")))]);
    hear(&mut leader, 3, vote(3, 0, PRECOMMIT, Some(b"v")));
    let effects = hear(&mut leader, 4, vote(4, 0, PRECOMMIT, Some(b"v")));
    assert_eq!(decided(&effects), Some(value_id(b"v")));
    let decision = leader.decision().unwrap();
    assert_eq!((decision.round, &*decision.value), (0, &b"v"[..]));
    assert!(leader.voters().len() == 3 && leader.next_wakeup().is_none());
}

#[test]
fn what_comes_before_the_start_waits_and_counts_afterwards() {
    let mut node = instance();
    let effects = hear(&mut node, 2, proposal(2, 0, b"v"));
    assert!(matches!(&effects[..], [Effect::AskVerdict(_)]));
    assert_eq!(judge(&mut node, 0, b"v", Verdict::Valid), []);
    for author in 2..=4 {
        hear(&mut node, author, vote(author, 0, PREVOTE, Some(b"v")));
    }
    assert_eq!(node.next_wakeup(), None);
    let effects = node.start(DUE, DUE, Role::Votes);
    let id = Some(value_id(b"v"));
    assert_eq!(votes(&effects), [(0, PREVOTE, id), (0, PRECOMMIT, id)]);
    assert_eq!(node.start(DUE, DUE, Role::Votes), []);
}

/// The driver must enter the one before it hears of the other: else no timer runs in either.
#[test]
fn two_new_rounds_that_wait_are_entered_one_after_the_other() {
    let mut node = instance();
    for round in [5, 7] {
        for author in 2..=3 {
            hear(&mut node, author, vote(author, round, PREVOTE, None));
        }
    }
    node.start(DUE, DUE, Role::Votes);
    assert_eq!(node.round(), 7);
    let effects = pass(&mut node, DUE + 10_000);
    assert!(votes(&effects).contains(&(7, PREVOTE, None)));
}

#[test]
fn a_decision_that_came_before_the_start_is_known_at_once() {
    let mut node = instance();
    hear(&mut node, 2, proposal(2, 0, b"v"));
    hear(
        &mut node,
        3,
        Body::Certificate(certificate(&[2, 3, 4], 0, PRECOMMIT, b"v")),
    );
    let effects = node.start(DUE, DUE, Role::Votes);
    assert_eq!(decided(&effects), Some(value_id(b"v")));
    assert_eq!(votes(&effects), []);
}

#[test]
fn only_the_leaders_proposals_are_taken() {
    let mut node = started();
    for (author, round) in [(3, 0), (1, 0), (4, 0), (2, 1)] {
        let effects = hear(&mut node, 3, proposal(author, round, b"v"));
        assert!(
            !effects
                .iter()
                .any(|effect| matches!(effect, Effect::AskVerdict(_)))
        );
    }
    // Not even when operator 3 puts the leader's name on it.
    let forged = Proposal {
        operator: 2,
        ..proposal_of(3, 0, None, b"v")
    };
    hear(&mut node, 4, Body::Proposal(forged));
    assert_eq!(node.held().count(), 0);
    let effects = hear(&mut node, 2, proposal(2, 0, b"v"));
    assert_eq!(effects, [Effect::AskVerdict(proposal_of(2, 0, None, b"v"))]);
}

#[test]
fn a_round_takes_two_proposals_and_those_that_others_hold_on_to() {
    let mut node = started();
    assert_eq!(hear(&mut node, 2, proposal(2, 0, b"a")).len(), 1);
    let effects = hear(&mut node, 2, proposal(2, 0, b"b"));
    let deed = Misbehaviour::TwoProposals(proposal_of(2, 0, None, b"a"), proposal_of(2, 0, None, b"b"));
    assert_eq!(deed.operator(), 2);
    assert_eq!(effects[0], Effect::Misbehaviour(deed));
    assert_eq!(hear(&mut node, 2, proposal(2, 0, b"c")), []);
    assert_eq!(hear(&mut node, 2, proposal(2, 0, b"a")), []);
    assert_eq!(node.held().count(), 2);
    // c has a polka: the node asks for it, and takes it.
    let polka = certificate(&[2, 3, 4], 0, PREVOTE, b"c");
    let effects = hear(&mut node, 3, Body::Certificate(polka));
    let asks = |effect: &Effect| matches!(effect, Effect::Send { to: 3, message } if matches!(message.body, Body::Status(_)));
    assert!(effects.iter().any(asks));
    assert_eq!(hear(&mut node, 3, proposal(2, 0, b"c")).len(), 1);
    assert_eq!(hear(&mut node, 2, proposal(2, 0, b"d")), []);
}

#[test]
fn rounds_above_the_last_are_refused_by_bytes_and_by_value() {
    for round in [LAST_ROUND + 1, 100, u8::MAX - 1, u8::MAX] {
        let leader = quorum(1).leader(DUTY, round);
        for body in [
            proposal(leader, round, b"v"),
            vote(3, round, PREVOTE, Some(b"v")),
            Body::Certificate(certificate(&[2, 3, 4], round, PRECOMMIT, b"v")),
        ] {
            let mut node = started();
            assert_eq!(forgeries(&hear(&mut node, 3, body.clone())), 1);
            assert_eq!(node.size().0, started().size().0);
            assert_eq!(Message::decode(&message(body).encode(), |_| LIMIT), None);
        }
    }
    // A proposal justified by a polka of its own round or a later one.
    for polka in [0, 1, 255] {
        let body = Body::Proposal(proposal_of(2, 0, Some(polka), b"v"));
        assert_eq!(forgeries(&hear(&mut started(), 2, body)), 1);
    }
}

#[test]
fn a_round_far_ahead_gets_no_memory_for_values_and_the_last_one_ends_quietly() {
    let mut node = started();
    assert_eq!(hear(&mut node, 4, proposal(4, 2, b"v")), []);
    // All others are in the last round: we go there, and no further.
    for author in 2..=4 {
        hear(&mut node, author, vote(author, LAST_ROUND, PREVOTE, None));
    }
    assert_eq!(node.round(), LAST_ROUND);
    for author in 2..=4 {
        hear(&mut node, author, vote(author, LAST_ROUND, PRECOMMIT, None));
    }
    let effects = pass(&mut node, DUE + 100 * SLOT_MS);
    assert_eq!(node.round(), LAST_ROUND);
    assert!(votes(&effects).iter().all(|(round, ..)| *round == LAST_ROUND));
    // A certificate still decides.
    hear(
        &mut node,
        3,
        Body::Certificate(certificate(&[2, 3, 4], 0, PRECOMMIT, b"v")),
    );
    let effects = hear(&mut node, 3, proposal(2, 0, b"v"));
    assert_eq!(decided(&effects), Some(value_id(b"v")));
}

#[test]
fn certificates_are_checked() {
    let good = certificate(&[2, 3, 4], 0, PREVOTE, b"v");
    let mut wrong_signature = good.clone();
    wrong_signature.signatures[2].1[0] ^= 1;
    let twice = certificate(&[2, 3, 3], 0, PREVOTE, b"v");
    let few = certificate(&[2, 3], 0, PREVOTE, b"v");
    let mut stranger = good.clone();
    stranger.signatures[2].0 = 5;
    let other_step = Certificate {
        step: PRECOMMIT,
        ..good.clone()
    };
    for bad in [wrong_signature, twice, few, stranger, other_step] {
        let mut node = started();
        let effects = hear(&mut node, 4, Body::Certificate(bad.clone()));
        assert_eq!((effects.len(), forgeries(&effects)), (1, 1), "{bad:?}");
    }
    let mut node = started();
    let effects = hear(&mut node, 4, Body::Certificate(good.clone()));
    assert!(broadcast(&effects, &Body::Certificate(good.clone())));
    assert!(!broadcast(
        &hear(&mut node, 3, Body::Certificate(good.clone())),
        &Body::Certificate(good)
    ));
}

#[test]
fn a_verdict_is_final() {
    let mut node = started();
    hear(&mut node, 2, proposal(2, 0, b"v"));
    let effects = judge(&mut node, 0, b"v", Verdict::Invalid);
    assert_eq!(votes(&effects), [(0, PREVOTE, None)]);
    assert_eq!(judge(&mut node, 0, b"v", Verdict::Valid), []);
    // Not in a later round either, and nobody is asked again.
    for author in 2..=4 {
        hear(&mut node, author, vote(author, 1, PREVOTE, None));
    }
    let effects = hear(&mut node, 3, proposal(3, 1, b"v"));
    assert!(
        !effects
            .iter()
            .any(|effect| matches!(effect, Effect::AskVerdict(_)))
    );
    assert_eq!(votes(&effects), [(1, PREVOTE, None), (1, PRECOMMIT, None)]);
}

#[test]
fn a_valid_value_is_valid_in_later_rounds_and_not_in_earlier_ones() {
    let mut node = in_round_one();
    hear(&mut node, 2, proposal(2, 0, b"v"));
    hear(&mut node, 3, proposal(3, 1, b"v"));
    let effects = judge(&mut node, 1, b"v", Verdict::Valid);
    assert_eq!(votes(&effects), [(1, PREVOTE, Some(value_id(b"v")))]);
    assert_eq!(node.held().map(|held| held.round).collect::<Vec<_>>(), [0]);
    let effects = hear(&mut node, 4, proposal(4, 2, b"v"));
    assert_eq!(effects, []);
}

#[test]
fn a_proposal_that_cannot_be_judged_is_held_and_precommitted_when_valid_late() {
    let mut node = started();
    hear(&mut node, 2, proposal(2, 0, b"v"));
    let effects = pass(&mut node, DUE + 1000);
    assert_eq!(votes(&effects), [(0, PREVOTE, None)]);
    for author in 2..=4 {
        let effects = node.receive(DUE + 1000, author, message(vote(author, 0, PREVOTE, Some(b"v"))));
        assert_eq!(votes(&effects), []);
    }
    assert_eq!(node.held().count(), 1);
    let effects = node.verdict(DUE + 1100, 0, &value_id(b"v"), Verdict::Valid);
    assert_eq!(votes(&effects), [(0, PRECOMMIT, Some(value_id(b"v")))]);
}

#[test]
fn an_invalid_value_never_decides_even_with_t_precommits() {
    let mut node = started();
    hear(&mut node, 2, proposal(2, 0, b"v"));
    judge(&mut node, 0, b"v", Verdict::Invalid);
    let mut effects = Vec::new();
    for author in 2..=4 {
        effects.extend(hear(&mut node, author, vote(author, 0, PRECOMMIT, Some(b"v"))));
    }
    effects.extend(hear(
        &mut node,
        2,
        Body::Certificate(certificate(&[2, 3, 4], 0, PRECOMMIT, b"v")),
    ));
    effects.extend(hear(&mut node, 3, proposal(3, 1, b"v")));
    let refused = Effect::Refused {
        round: 0,
        value_id: value_id(b"v"),
    };
    assert_eq!(effects.iter().filter(|effect| **effect == refused).count(), 1);
    assert_eq!((decided(&effects), node.decision()), (None, None));
}

#[test]
fn a_commit_certificate_makes_a_held_proposal_valid() {
    // The certificate after the proposal, and before it; in the present round and in later ones.
    for round in 0..4 {
        let leader = quorum(1).leader(DUTY, round);
        let commit = Body::Certificate(certificate(&[2, 3, 4], round, PRECOMMIT, b"v"));
        for proposal_first in [true, false] {
            let mut node = started();
            let author = if leader == 1 { 2 } else { leader };
            let mut bodies = vec![proposal(leader, round, b"v"), commit.clone()];
            if !proposal_first {
                bodies.reverse();
            }
            let mut effects = Vec::new();
            for body in bodies {
                effects.extend(hear(&mut node, author, body));
            }
            if proposal_first && round > 1 {
                // It was too far ahead to be kept.
                effects.extend(hear(&mut node, author, proposal(leader, round, b"v")));
            }
            assert_eq!(
                decided(&effects),
                Some(value_id(b"v")),
                "{round} {proposal_first}"
            );
            assert_eq!(votes(&effects), [], "{round} {proposal_first}");
        }
    }
    // Votes one by one do the same.
    let mut node = started();
    hear(&mut node, 2, proposal(2, 0, b"v"));
    hear(&mut node, 2, vote(2, 0, PRECOMMIT, Some(b"v")));
    hear(&mut node, 3, vote(3, 0, PRECOMMIT, Some(b"v")));
    let effects = hear(&mut node, 4, vote(4, 0, PRECOMMIT, Some(b"v")));
    assert_eq!(
        (decided(&effects), votes(&effects)),
        (Some(value_id(b"v")), vec![])
    );
}

#[test]
fn a_value_known_from_another_round_is_enough_for_a_certificate() {
    let mut node = started();
    hear(&mut node, 2, proposal(2, 0, b"v"));
    let effects = hear(
        &mut node,
        3,
        Body::Certificate(certificate(&[2, 3, 4], 2, PRECOMMIT, b"v")),
    );
    assert_eq!(decided(&effects), Some(value_id(b"v")));
    assert_eq!(node.decision().unwrap().round, 2);
}

#[test]
fn never_silent() {
    // Nothing arrives, then others' nil votes: this node votes nil in both steps, and goes on.
    let mut node = started();
    assert_eq!(
        pass(&mut node, DUE + 999)
            .iter()
            .filter(|effect| !matches!(effect, Effect::Broadcast(_)))
            .count(),
        0
    );
    let effects = pass(&mut node, DUE + 1000);
    assert_eq!(votes(&effects), [(0, PREVOTE, None)]);
    node.receive(DUE + 1000, 2, message(vote(2, 0, PREVOTE, Some(b"v"))));
    node.receive(DUE + 1000, 3, message(vote(3, 0, PREVOTE, None)));
    let effects = pass(&mut node, DUE + 1500);
    assert_eq!(votes(&effects), [(0, PRECOMMIT, None)]);
    for author in 2..=3 {
        node.receive(DUE + 1500, author, message(vote(author, 0, PRECOMMIT, None)));
    }
    pass(&mut node, DUE + 2000);
    assert_eq!(node.round(), 1);
}

#[test]
fn an_observer_says_nothing_of_its_own_but_learns_the_decision() {
    let mut node = instance();
    let effects = node.start(DUE + 10, DUE, Role::Observes);
    assert!(broadcast(&effects, &Body::Status(Status::default())));
    let mut effects = hear(&mut node, 2, proposal(2, 0, b"v"));
    effects.extend(judge(&mut node, 0, b"v", Verdict::Valid));
    for author in 2..=4 {
        effects.extend(hear(&mut node, author, vote(author, 0, PREVOTE, Some(b"v"))));
    }
    // Its own turn to lead comes and goes.
    for author in 2..=4 {
        effects.extend(hear(&mut node, author, vote(author, 3, PREVOTE, None)));
    }
    effects.extend(pass(&mut node, DUE + 5000));
    assert_eq!(node.round(), 3);
    let says = |effect: &Effect| {
        matches!(effect, Effect::AskValue { .. })
            || matches!(
                effect,
                Effect::Broadcast(Message {
                    body: Body::Vote(_) | Body::Proposal(_),
                    ..
                })
            )
    };
    assert!(!effects.iter().any(says));
    let effects = hear(
        &mut node,
        4,
        Body::Certificate(certificate(&[2, 3, 4], 0, PRECOMMIT, b"v")),
    );
    assert_eq!(decided(&effects), Some(value_id(b"v")));
}

#[test]
fn a_leader_that_is_not_connected_is_waited_for_a_quarter() {
    let mut node = started();
    assert_eq!(node.next_wakeup(), Some(DUE + 500));
    node.connection(100, 2, false);
    assert_eq!(node.next_wakeup(), Some(DUE + 250));
    node.connection(200, 2, true);
    node.connection(200, 3, false);
    assert_eq!(votes(&pass(&mut node, DUE + 999)), []);
    assert_eq!(votes(&pass(&mut node, DUE + 1000)).len(), 1);
}

#[test]
fn a_leader_that_votes_for_nothing_is_not_waited_for() {
    let mut node = started();
    // Not before the duty is due, for a block may come until then.
    node.receive(100, 2, message(vote(2, 0, PREVOTE, None)));
    assert_eq!(node.next_wakeup(), Some(DUE));
    assert_eq!(votes(&pass(&mut node, DUE)), [(0, PREVOTE, None)]);
    // Not if somebody else does so, nor if there is a proposal.
    let mut node = started();
    node.receive(DUE, 3, message(vote(3, 0, PREVOTE, None)));
    hear(&mut node, 2, proposal(2, 0, b"v"));
    node.receive(DUE, 2, message(vote(2, 0, PREVOTE, None)));
    assert_eq!(votes(&pass(&mut node, DUE + 999)), []);
    assert_eq!(votes(&pass(&mut node, DUE + 1000))[0], (0, PREVOTE, None));
    // Only in as many rounds as operators may be off.
    let mut node = in_round_one();
    node.receive(DUE + 1500, 3, message(vote(3, 1, PREVOTE, None)));
    assert_eq!(votes(&pass(&mut node, DUE + 1600)), []);
}

#[test]
fn whoever_leads_without_a_value_votes_for_nothing_at_once() {
    let mut node = Instance::new(Arc::new(quorum(2)), DUTY, LIMIT);
    let asked = node.start(0, DUE, Role::Votes);
    assert_eq!(asked, [Effect::AskValue { round: 0 }]);
    // Of another round; then of this one.
    assert_eq!(node.pass(DUE, 1), []);
    assert_eq!(votes(&node.pass(DUE + 8, 0)), [(0, PREVOTE, None)]);
    // It has said so.
    assert_eq!(node.propose(DUE + 9, 0, b"v".as_slice().into()), []);
    assert_eq!(votes(&node.pass(DUE + 10, 0)), []);
}

#[test]
fn a_round_that_t_operators_gave_up_is_left_at_once() {
    let mut node = started();
    node.connection(0, 2, false);
    let prevoted = DUE + 250;
    assert_eq!(votes(&pass(&mut node, prevoted)), [(0, PREVOTE, None)]);
    let mut hear = |at, author, step, value| {
        node.receive(at, author, message(vote(author, 0, step, value)));
        pass(&mut node, at);
        node.round()
    };
    hear(prevoted + 1, 3, PREVOTE, None);
    hear(prevoted + 1, 4, PREVOTE, None);
    // Two for nothing, one for something: others may yet decide, and the wait of half a second begins.
    hear(prevoted + 2, 3, PRECOMMIT, None);
    assert_eq!(hear(prevoted + 2, 2, PRECOMMIT, Some(b"v")), 0);
    // Three for nothing, just before its end.
    assert_eq!(hear(prevoted + 501, 3, PRECOMMIT, None), 0);
    assert_eq!(hear(prevoted + 501, 4, PRECOMMIT, None), 1);
}

#[test]
fn certificates_carry_an_equivocators_other_vote() {
    // Operator 4 prevotes nil for us and v for operator 3, who therefore sees a polka.
    let mut node = started();
    hear(&mut node, 2, proposal(2, 0, b"v"));
    judge(&mut node, 0, b"v", Verdict::Valid);
    hear(&mut node, 4, vote(4, 0, PREVOTE, None));
    assert_eq!(votes(&hear(&mut node, 3, vote(3, 0, PREVOTE, Some(b"v")))), []);
    let polka = certificate(&[1, 3, 4], 0, PREVOTE, b"v");
    let effects = hear(&mut node, 3, Body::Certificate(polka.clone()));
    assert_eq!(votes(&effects), [(0, PRECOMMIT, Some(value_id(b"v")))]);
    assert!(broadcast(&effects, &Body::Certificate(polka)));
    let deed = Misbehaviour::TwoVotes(vote_of(4, 0, PREVOTE, None), vote_of(4, 0, PREVOTE, Some(b"v")));
    assert!(effects.contains(&Effect::Misbehaviour(deed)));
    // The same with both votes shown to us: we make the certificate.
    hear(&mut node, 4, vote(4, 0, PRECOMMIT, None));
    hear(&mut node, 3, vote(3, 0, PRECOMMIT, Some(b"v")));
    let effects = hear(&mut node, 4, vote(4, 0, PRECOMMIT, Some(b"v")));
    assert_eq!(decided(&effects), Some(value_id(b"v")));
    assert!(broadcast(
        &effects,
        &Body::Certificate(certificate(&[1, 3, 4], 0, PRECOMMIT, b"v"))
    ));
}

#[test]
fn a_polka_is_told_with_its_proposal_to_whoever_may_lack_it() {
    let mut node = started();
    hear(&mut node, 2, proposal(2, 0, b"v"));
    judge(&mut node, 0, b"v", Verdict::Valid);
    hear(&mut node, 2, vote(2, 0, PREVOTE, Some(b"v")));
    let effects = hear(&mut node, 3, vote(3, 0, PREVOTE, Some(b"v")));
    assert!(broadcast(
        &effects,
        &Body::Certificate(certificate(&[1, 2, 3], 0, PREVOTE, b"v"))
    ));
    let to_four = Effect::Send {
        to: 4,
        message: message(proposal(2, 0, b"v")),
    };
    let sent: Vec<_> = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::Send { .. }))
        .collect();
    assert_eq!(sent, [&to_four]);
}

#[test]
fn whoever_connects_gets_what_it_lacks() {
    let mut node = started();
    hear(&mut node, 2, proposal(2, 0, b"v"));
    judge(&mut node, 0, b"v", Verdict::Valid);
    hear(&mut node, 2, vote(2, 0, PREVOTE, Some(b"v")));
    node.connection(DUE, 4, false);
    let effects = node.connection(DUE, 4, true);
    let mine = Status {
        round: 0,
        rounds: vec![RoundStatus {
            round: 0,
            prevotes: 0b11,
            proposals: vec![value_id(b"v")],
            ..RoundStatus::default()
        }],
    };
    let status = |to, status| Effect::Send {
        to,
        message: message(Body::Status(status)),
    };
    assert_eq!(effects, [status(4, mine.clone())]);
    // It has nothing and gets everything; once only in a while.
    let answer = hear(&mut node, 4, Body::Status(Status::default()));
    let sent = |body| Effect::Send {
        to: 4,
        message: message(body),
    };
    let all = [
        sent(vote(1, 0, PREVOTE, Some(b"v"))),
        sent(vote(2, 0, PREVOTE, Some(b"v"))),
        sent(proposal(2, 0, b"v")),
    ];
    assert_eq!(answer, all);
    assert_eq!(hear(&mut node, 4, Body::Status(Status::default())), []);
    // Who has all of it gets nothing.
    assert_eq!(hear(&mut node, 3, Body::Status(mine)), []);
    // After the decision: just that.
    for author in 2..=4 {
        hear(&mut node, author, vote(author, 0, PRECOMMIT, Some(b"v")));
    }
    let answer = node.receive(DUE + 600, 4, message(Body::Status(Status::default())));
    let commit = certificate(&[2, 3, 4], 0, PRECOMMIT, b"v");
    assert_eq!(
        answer,
        [sent(Body::Certificate(commit)), sent(proposal(2, 0, b"v"))]
    );
}

#[test]
fn a_value_with_a_polka_is_proposed_again_without_asking() {
    let mut node = started();
    hear(&mut node, 2, proposal(2, 0, b"v"));
    judge(&mut node, 0, b"v", Verdict::Valid);
    for author in 2..=3 {
        hear(&mut node, author, vote(author, 0, PREVOTE, Some(b"v")));
    }
    let mut effects = Vec::new();
    for author in 2..=4 {
        effects.extend(hear(&mut node, author, vote(author, 3, PREVOTE, None)));
    }
    assert!(broadcast(
        &effects,
        &Body::Proposal(proposal_of(1, 3, Some(0), b"v"))
    ));
    assert_eq!(votes(&effects)[0], (3, PREVOTE, Some(value_id(b"v"))));
}

#[test]
fn whoever_uses_our_key_has_voted_for_us() {
    let mut node = started();
    hear(&mut node, 2, vote(1, 0, PREVOTE, Some(b"w")));
    hear(&mut node, 2, proposal(2, 0, b"v"));
    let effects = judge(&mut node, 0, b"v", Verdict::Valid);
    assert_eq!(votes(&effects), []);
    // After our own vote, another one is reported.
    let effects = hear(&mut node, 2, vote(1, 0, PREVOTE, None));
    let own = |effect: &Effect| matches!(effect, Effect::Misbehaviour(deed) if deed.operator() == 1);
    assert!(effects.iter().any(own));
}

#[test]
fn values_are_proposed_only_when_asked_and_once() {
    let mut node = started();
    assert_eq!(node.propose(DUE, 0, (*b"v").into()), []);
    for author in 2..=4 {
        hear(&mut node, author, vote(author, 3, PREVOTE, None));
    }
    assert_eq!(node.leader(), 1);
    assert_eq!(node.propose(DUE, 2, (*b"v").into()), []);
    assert_eq!(node.propose(DUE, 3, vec![0; LIMIT + 1].into()), []);
    assert!(!votes(&node.propose(DUE, 3, (*b"v").into())).is_empty());
    assert_eq!(node.propose(DUE, 3, (*b"w").into()), []);
}

#[test]
fn messages_of_strangers_and_of_other_duties_are_ignored() {
    let mut node = started();
    for from in [0, 1, 5, u16::MAX] {
        assert_eq!(hear(&mut node, from, proposal(2, 0, b"v")), []);
    }
    let other = Message {
        duty: Duty { slot: 1, ..DUTY },
        body: proposal(2, 0, b"v"),
    };
    assert_eq!(node.receive(DUE, 2, other), []);
}

#[test]
fn a_forger_is_named_once_and_not_heard_for_long() {
    let mut node = started();
    let mut named = 0;
    for _ in 0..10_000 {
        let forged = Vote {
            signature: [1; 64],
            ..vote_of(3, 0, PREVOTE, None)
        };
        named += forgeries(&hear(&mut node, 4, Body::Vote(forged)));
    }
    assert_eq!(named, 1);
    assert_eq!(hear(&mut node, 4, vote(4, 0, PREVOTE, None)), []);
    assert!(!node.voters().contains(&4));
    hear(&mut node, 2, vote(4, 0, PREVOTE, None));
    assert!(node.voters().contains(&4));
}

/// Operator 2 sends 10,000 signed proposals, votes and certificates, before the start or after it, and the group decides.
#[test]
fn memory_is_bounded_against_an_operator_that_signs_anything() {
    for before in [true, false] {
        let mut node = if before { instance() } else { started() };
        for i in 0..10_000_u32 {
            let mut value = vec![0; LIMIT - 4];
            value.extend(i.to_be_bytes());
            let round = u8::try_from(i % 17).unwrap();
            let step = if i % 2 == 0 { PREVOTE } else { PRECOMMIT };
            hear(&mut node, 2, vote(2, round, step, Some(&value)));
            let round = u8::try_from(i % 4 * 4).unwrap();
            hear(&mut node, 2, proposal(2, round, &value));
            hear(&mut node, 2, Body::Status(Status::default()));
        }
        // Two votes for each of 34 steps, two proposals of round 0; and what waits for the driver.
        let (messages, bytes) = node.size();
        assert!(messages <= 150, "{messages}");
        assert_eq!(bytes, 2 * LIMIT);
        for _ in 0..10_000 {
            hear(
                &mut node,
                2,
                Body::Certificate(certificate(&[2, 3], 0, PRECOMMIT, b"lie")),
            );
        }
        assert!(node.size().0 <= messages);
        node.start(DUE, DUE, Role::Votes);
        pass(&mut node, DUE + 1000);
        for (author, step) in [(3, PREVOTE), (4, PREVOTE), (3, PRECOMMIT), (4, PRECOMMIT)] {
            node.receive(DUE + 1000, author, message(vote(author, 0, step, None)));
        }
        pass(&mut node, DUE + 1500);
        assert_eq!(node.round(), 1);
        node.receive(DUE + 1500, 3, message(proposal(3, 1, b"v")));
        node.verdict(DUE + 1500, 1, &value_id(b"v"), Verdict::Valid);
        let mut effects = Vec::new();
        for (author, step) in [(3, PREVOTE), (4, PREVOTE), (3, PRECOMMIT), (4, PRECOMMIT)] {
            effects.extend(node.receive(DUE + 1500, author, message(vote(author, 1, step, Some(b"v")))));
        }
        assert_eq!(decided(&effects), Some(value_id(b"v")));
    }
}
