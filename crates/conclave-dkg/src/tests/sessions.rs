//! More than one of what there should be one of: lists of Deals in a session, sessions in an attempt.

use std::collections::BTreeSet;

use super::ceremonies::assert_finished;
use crate::board::{Board, Slot};
use crate::entry::{Entry, Id, Step, hash_ids};
use crate::evidence::{Finding, Kind};
use crate::secrets::{Secrets, Seed};
use crate::testing::{Sim, node_key};
use conclave_crypto::point::G1;

fn of(sim: &Sim, step: Step, operator: u16) -> (Id, Entry) {
    sim.find(0, |e| e.step == step && e.operator == operator).unwrap()
}

fn all(sim: &Sim) -> Vec<Entry> {
    let board = sim.peers[0].operator.board();
    let entries = board
        .order()
        .iter()
        .map(|id| (*board.get(id).unwrap().entry).clone());
    entries.collect()
}

/// What the session of a ceremony would hold as well, had dealer 1 dealt twice and had everybody else been restored from a backup
/// of the moment before its Ack: Acks of the second Deal, and Reveals on it.
pub(super) fn second_list_of_deals(sim: &Sim) -> Vec<Entry> {
    let terms = &sim.terms;
    let first = of(sim, Step::Deal, 1).1;
    let at = |j: u16| (first.session, 1, j);
    let recipients: Vec<[u8; 32]> = terms
        .indices()
        .map(|j| of(sim, Step::Join, j).1.body[33..65].try_into().unwrap())
        .collect();
    let other = Secrets::new(terms, 1, &Seed::new(&[77; 32]), &node_key(1));
    let body = other.deal(terms, &first.session, 1, &recipients).unwrap();
    let deal = Entry::signed(&node_key(1), terms, at(1), Step::Deal, first.prev.clone(), body);
    let mut deals = vec![deal.clone()];
    deals.extend((2..=3).map(|d| of(sim, Step::Deal, d).1));
    let ids: Vec<Id> = deals.iter().map(|d| d.id(terms)).collect();
    let acks: Vec<Entry> = (1..=3u16)
        .map(|j| Entry::signed(&node_key(j.into()), terms, at(j), Step::Ack, ids.clone(), vec![]))
        .collect();
    let prev: Vec<Id> = acks.iter().map(|a| a.id(terms)).collect();
    let reveals = (1..=3u16).zip(&deals).map(|(d, deal)| {
        let points: Vec<G1> = deal.body[..terms.deal_public_bytes()]
            .chunks(96)
            .map(|c| G1::from_uncompressed(c.try_into().unwrap()).unwrap())
            .collect();
        let seed = sim.peers[usize::from(d) - 1].disk.seeds[&1];
        let own = Secrets::new(terms, 1, &Seed::new(&seed), &node_key(d.into()));
        let secrets = if d == 1 { &other } else { &own };
        let body = secrets.reveal(
            terms,
            &first.session,
            d,
            &deal.id(terms),
            &hash_ids(&prev),
            &points,
        );
        Entry::signed(
            &node_key(d.into()),
            terms,
            at(d),
            Step::Reveal,
            prev.clone(),
            body,
        )
    });
    let reveals: Vec<Entry> = reveals.collect();
    std::iter::once(deal).chain(acks).chain(reveals).collect()
}

/// A ceremony that everybody voted in and nobody finished: operator 1 keeps its Sign to itself.
pub(super) fn voted(seed: u64) -> Sim {
    let mut sim = Sim::new(3, 2, 1, seed);
    sim.forge = Some((
        0,
        Box::new(|_, _, e| if e.step >= Step::Sign { vec![] } else { vec![e] }),
    ));
    sim.start();
    sim.run();
    sim.forge = None;
    sim
}

#[test]
fn two_good_sets_of_a_session_are_both_kept_whatever_came_first() {
    for seed in 0..4 {
        let sim = voted(seed);
        let (mut first, second) = (all(&sim), second_list_of_deals(&sim));
        first.retain(|e| e.step != Step::Sign || e.operator != 1);
        let joins: Vec<Entry> = first.iter().filter(|e| e.step <= Step::Deal).cloned().collect();
        let vote = of(&sim, Step::Stored, 2).1;
        let outputs = vote.body.clone();
        let orders: [Vec<Vec<Entry>>; 3] = [
            vec![first.clone(), second.clone()],
            vec![joins, second.clone(), first.clone()],
            vec![[first, second].concat()],
        ];
        for order in orders {
            let mut board = Board::new(sim.terms.clone(), &[1; 32]);
            for entries in order {
                board.receive(entries);
            }
            assert_eq!(board.good_sets(&vote.session).len(), 2);
            let agreed = board.agreed(&vote.session).expect("all votes count");
            assert_eq!(agreed.outputs()[..], outputs);
            for j in 1..=3 {
                assert_eq!(board.slot(&vote.session, j, Slot::Step(Step::Stored)).len(), 1);
            }
            // Nobody honest is to blame for having approved both.
            let equivocation = Finding {
                operator: 1,
                kind: Kind::Equivocation,
            };
            assert_eq!(board.verdict(1), BTreeSet::from([equivocation]));
        }
    }
}

#[test]
fn a_journal_with_two_good_sets_is_taken_up_where_it_was() {
    for seed in 0..4 {
        let mut sim = voted(seed);
        let second = second_list_of_deals(&sim);
        for i in 0..3 {
            let entries = second.iter().map(Entry::encode);
            sim.peers[i].disk.entries.extend(entries);
        }
        for i in 0..3 {
            sim.restart(i);
        }
        sim.settle();
        assert_finished(&sim);
    }
}

#[test]
fn votes_for_two_outputs_of_a_session_are_no_agreement() {
    let sim = voted(9);
    let second = second_list_of_deals(&sim);
    let mut board = Board::new(sim.terms.clone(), &[1; 32]);
    let mut entries = all(&sim);
    entries.retain(|e| e.step <= Step::Stored && !(e.step == Step::Stored && e.operator == 3));
    board.receive(entries);
    board.receive(second.clone());
    let vote = of(&sim, Step::Stored, 3).1;
    let sets = board.good_sets(&vote.session);
    let other = sets.iter().find(|good| good.outputs()[..] != vote.body).unwrap();
    let mut changed = vote.clone();
    (changed.prev, changed.body) = (other.reveals.clone(), other.outputs().to_vec());
    changed.signature = node_key(3).sign(&changed.id(&sim.terms));
    board.receive(vec![changed]);
    assert_eq!(board.slot(&vote.session, 3, Slot::Step(Step::Stored)).len(), 1);
    assert!(board.agreed(&vote.session).is_none());
    board.receive(vec![vote.clone()]);
    assert!(board.agreed(&vote.session).is_some());
}

// --- attempts that are over ---

/// Every pair of operators synchronises by asking, until nothing more is wanted. Returns what operator 3 was sent.
fn pull_all(sim: &mut Sim) -> Vec<Entry> {
    let mut sent = Vec::new();
    for _ in 0..12 {
        sim.mail.clear();
        for (from, to) in [(0, 1), (1, 0), (0, 2), (1, 2), (2, 0), (2, 1)] {
            let entries = sim.pull(from, to);
            if to == 2 {
                sent.extend(entries);
            }
        }
    }
    sent
}

/// Evidence that attempt 1 is over, as operator `to` gets it from its peers.
fn restarted(sim: &mut Sim, to: usize) {
    let mut twin = of(sim, Step::Join, 1).1;
    twin.body[1] = b'X';
    twin.signature = node_key(1).sign(&twin.id(&sim.terms));
    let headers = [&of(sim, Step::Join, 1).1, &twin].map(|e| e.header(&sim.terms));
    let evidence = crate::evidence::Evidence {
        attempt: 1,
        finding: Finding {
            operator: 1,
            kind: Kind::Restarted,
        },
        headers: headers.to_vec(),
        entries: vec![],
    };
    sim.with(to, |o| o.receive_evidence(evidence));
}

#[test]
fn of_an_attempt_that_is_over_without_a_vote_next_to_nothing_is_fetched() {
    let mut sim = Sim::new(3, 2, 1, 20);
    // Nobody gets further than the Deals of operators 1 and 2, who are alone so far.
    sim.peers[2].online = false;
    sim.start();
    sim.run();
    let own_join = sim.find(2, |e| e.operator == 3).unwrap().1;
    sim.with(0, |o| o.receive(vec![own_join]));
    sim.run();
    let deals = all(&sim).iter().filter(|e| e.step == Step::Deal).count();
    assert!(deals > 0);
    for i in 0..3 {
        restarted(&mut sim, i);
        sim.with(i, |o| o.consent(2, crate::body::Reason::Verdict));
    }
    sim.peers[2].online = true;
    let sent = pull_all(&mut sim);
    assert!(sent.iter().any(|e| e.attempt == 2));
    let old: Vec<_> = sent.iter().filter(|e| e.attempt == 1).collect();
    assert!(
        old.iter().all(|e| e.operator == 3),
        "{} entries of an attempt that is over",
        old.len()
    );
    assert_finished(&sim);
}

#[test]
fn votes_of_an_attempt_that_is_over_are_fetched_with_all_that_they_need() {
    // Operators 1 and 2 voted in attempt 1 and gave it up; operator 3 did not, and holds nothing of it but the evidence.
    let mut sim = Sim::new(3, 2, 1, 21);
    sim.forge = Some((
        2,
        Box::new(|_, _, e| if e.step >= Step::Stored { vec![] } else { vec![e] }),
    ));
    sim.start();
    sim.run();
    sim.forge = None;
    sim.peers[2].disk = crate::testing::Disk::default();
    sim.wake(2);
    restarted(&mut sim, 2);
    for i in 0..3 {
        sim.with(i, |o| o.consent(2, crate::body::Reason::ByHand));
        sim.with(i, crate::operator::Operator::compared);
    }
    sim.mail.clear();
    let sent = pull_all(&mut sim);
    // The Joins of attempt 2 name those votes, and could not be taken without them.
    assert!(sent.iter().any(|e| e.attempt == 1 && e.step == Step::Stored));
    assert!(sent.iter().any(|e| e.attempt == 1 && e.step == Step::Deal));
    assert_finished(&sim);
    assert_eq!(sim.peers[2].disk.published, Some(2));
}

#[test]
fn a_second_version_of_a_step_is_fetched_even_when_the_attempt_is_over() {
    let mut sim = voted(22);
    let deal = of(&sim, Step::Deal, 1);
    let mut other = deal.1.clone();
    *other.body.last_mut().unwrap() ^= 1;
    other.signature = node_key(1).sign(&other.id(&sim.terms));
    let id = other.id(&sim.terms);
    let wants = |sim: &Sim, operator: u16| sim.peers[2].operator.wants(&id, 1, Step::Deal, operator);
    // A node with an empty folder that knows that the attempt is over.
    sim.peers[2].disk = crate::testing::Disk::default();
    sim.wake(2);
    assert!(wants(&sim, 1));
    restarted(&mut sim, 2);
    assert!(sim.peers[2].operator.is_done_with(1));
    assert!(!wants(&sim, 1), "the first version is not needed");
    assert!(wants(&sim, 3), "its own always is");
    let known = [
        of(&sim, Step::Join, 1).1,
        of(&sim, Step::Join, 2).1,
        of(&sim, Step::Join, 3).1,
        deal.1,
    ];
    sim.with(2, |o| o.receive(known.to_vec()));
    assert!(wants(&sim, 1), "a second one may be a proof");
}
