//! What is durable is what is voted for and signed with: keystores, the seed, a lock that somebody hands over.

use std::collections::BTreeSet;

use super::ceremonies::assert_finished;
use crate::body::{Reason, share_is_lost};
use crate::entry::{Entry, Step};
use crate::operator::{Mark, Operator};
use crate::outputs::GroupKeys;
use crate::testing::{Forge, Sim, node_key};

/// Operator `liar` (from 0) keeps everything from `step` on to itself.
fn withhold(liar: usize, step: Step) -> (usize, Forge) {
    (
        liar,
        Box::new(move |_, _, e| if e.step >= step { vec![] } else { vec![e] }),
    )
}

/// A ceremony in which operator 1 withholds everything from `step` on, so that it stops there for everybody.
fn stopped_at(step: Step, seed: u64) -> Sim {
    let mut sim = Sim::new(3, 2, 2, seed);
    sim.forge = Some(withhold(0, step));
    sim.start();
    sim.run();
    sim.forge = None;
    sim
}

fn said(sim: &Sim, by: u16, step: Step) -> bool {
    sim.find(usize::from(by) - 1, |e| e.operator == by && e.step == step)
        .is_some()
}

#[test]
fn nothing_is_voted_for_on_the_word_of_other_keystores() {
    let mut sim = Sim::new(3, 2, 2, 1);
    sim.start();
    // Keystores of something else are reported before the outputs are known.
    sim.with(1, |o| o.keys_stored(1, &[9; 32]));
    sim.run();
    assert_finished(&sim);
    assert!(
        sim.peers[1].disk.outputs[&1] != [9; 32],
        "it stored the right ones"
    );
}

#[test]
fn keystores_of_other_outputs_are_not_signed_with() {
    let mut sim = stopped_at(Step::Stored, 2);
    assert!(said(&sim, 2, Step::Stored) && !said(&sim, 2, Step::Sign));
    let disk = &mut sim.peers[1].disk;
    disk.outputs.insert(1, [9; 32]);
    disk.shares.insert(1, vec![[1; 32]; 2]);
    sim.restart(1);
    sim.settle();
    // The right ones were stored before anything was signed: assert_finished tries them.
    assert_finished(&sim);
}

#[test]
fn a_voted_attempt_goes_on_without_its_seed() {
    for (seed, step) in [Step::Stored, Step::Sign, Step::Seal].into_iter().enumerate() {
        let mut sim = stopped_at(step, seed as u64 + 3);
        assert!(sim.locks()[1..].iter().all(Option::is_none));
        assert!(said(&sim, 2, Step::Stored));
        sim.peers[1].disk.seeds.clear();
        sim.restart(1);
        sim.settle();
        assert_finished(&sim);
        assert!(sim.peers[1].seed_gone.contains(&1), "it says so at {step:?}");
        assert!(sim.peers[1].lost.is_empty() && !sim.peers[1].operator.is_lost(1));
    }
}

#[test]
fn without_seed_and_vote_nothing_is_said_even_with_keystores() {
    let mut sim = Sim::new(3, 2, 2, 7);
    sim.forge = Some(withhold(1, Step::Stored));
    sim.start();
    sim.run();
    let terms = sim.terms.clone();
    let disk = &mut sim.peers[1].disk;
    assert!(disk.shares.contains_key(&1) && disk.outputs.contains_key(&1));
    // A backup of the moment between the keystores and the vote, without the seed.
    disk.entries
        .retain(|bytes| Entry::decode(&terms, bytes).unwrap().step < Step::Stored);
    disk.marks.clear();
    disk.seeds.clear();
    sim.wake(1);
    let operator = &sim.peers[1].operator;
    assert!(
        operator.is_lost(1) && !operator.is_surely_lost(1),
        "a vote may be with the others"
    );
    sim.restart(1);
    sim.settle();
    assert!(sim.peers[1].lost.contains(&1) && sim.peers[1].operator.is_surely_lost(1));
    assert!(!said(&sim, 2, Step::Stored));
    // The group goes on in the next attempt.
    sim.forge = None;
    for i in 0..3 {
        sim.with(i, |o| o.consent(2, Reason::Lost));
    }
    sim.settle();
    assert_finished(&sim);
}

#[test]
fn keystores_that_do_not_hold_the_shares_sign_nothing() {
    let mut sim = stopped_at(Step::Stored, 8);
    let disk = &mut sim.peers[1].disk;
    disk.seeds.clear();
    disk.shares.get_mut(&1).unwrap()[1] = [1; 32];
    sim.restart(1);
    sim.settle();
    assert!(!said(&sim, 2, Step::Sign));
    assert!(sim.peers[1].lost.contains(&1) && sim.peers[1].operator.is_lost(1));
    assert!(sim.verdicts(1).iter().all(BTreeSet::is_empty));
}

#[test]
fn a_lock_finishes_whoever_voted_for_its_keys_and_holds_its_share() {
    let mut sim = Sim::new(3, 2, 2, 9);
    sim.start();
    sim.run();
    assert_finished(&sim);
    let keys = sim.peers[0].finished.as_ref().unwrap().keys.clone();
    let mut others = keys.validators().to_vec();
    others.swap(0, 1);
    let others = GroupKeys::new(others);
    let whole = sim.peers[1].disk.clone();
    let terms = sim.terms.clone();
    for journal_is_gone in [false, true] {
        // A backup from right after the vote; nobody else can be reached.
        let disk = &mut sim.peers[1].disk;
        *disk = whole.clone();
        disk.entries.retain(|bytes| {
            let step = Entry::decode(&terms, bytes).unwrap().step;
            step < Step::Stored && !journal_is_gone
        });
        (disk.published, disk.lock) = (None, None);
        disk.marks = BTreeSet::from([(1, Mark::Voted)]);
        disk.seeds.insert(1, [3; 32]);
        sim.wake(1);
        let operator = &sim.peers[1].operator;
        assert_eq!(operator.can_publish(&keys), Some(1));
        assert_eq!(operator.can_publish(&others), None, "the lock of other keys");
        sim.with(1, |o| o.published(1));
        (sim.peers[1].disk.published, sim.peers[1].disk.lock) = (Some(1), sim.locks()[0]);
        // T3: it never helps another attempt.
        sim.with(1, |o| o.consent(2, Reason::ByHand));
        sim.with(1, Operator::compared);
        assert!(sim.find(1, |e| e.attempt == 2).is_none());
        // Entries that come later are taken up, and the end is confirmed.
        sim.settle();
        assert!(sim.find(0, |e| e.step == Step::Done && e.operator == 2).is_some());
        assert!(sim.peers[1].disk.seeds.is_empty(), "the seed has done its work");
        assert!(sim.find(0, |e| e.attempt == 2).is_none());
        assert_finished(&sim);
    }
    // Without the keystores there is nothing to publish.
    sim.peers[1].disk = whole;
    sim.peers[1].disk.published = None;
    sim.peers[1].disk.outputs.clear();
    sim.peers[1].disk.shares.clear();
    sim.wake(1);
    assert_eq!(sim.peers[1].operator.can_publish(&keys), None);
}

#[test]
fn a_share_that_is_lost_after_everybody_voted_is_told_to_everybody() {
    // What operator 1 withholds, and whether operator 3 had sealed the lock by then.
    let cases = [(Step::Sign, false), (Step::Seal, true), (Step::Done, true)];
    for (seed, (step, sealed)) in (30..).zip(cases) {
        let mut sim = stopped_at(step, seed);
        let whole = sim.peers[2].disk.clone();
        sim.peers[2].disk = crate::testing::Disk::default();
        sim.peers[0].online = false;
        sim.restart(2);
        sim.settle();
        // A folder without the share is no reason to say so: another process may have it.
        assert_eq!(sim.peers[2].operator.own_lost_share(), Some((1, sealed)));
        assert_eq!(sim.peers[1].operator.lost_shares(), None, "{step:?}");
        assert_eq!(sim.peers[2].operator.has_told_end(), step == Step::Done);
        sim.with(2, Operator::say_share_is_lost);
        sim.settle();
        // Who has confirmed its files needs a backup of them, and the others need nothing of it.
        let confirmed = step == Step::Done;
        assert_eq!(sim.peers[2].operator.has_told_loss(), !confirmed);
        let lost = Some((1, std::collections::BTreeMap::from([(3, sealed)])));
        let operator = &sim.peers[1].operator;
        assert_eq!(operator.lost_shares(), lost.filter(|_| !confirmed), "{step:?}");
        assert_eq!(operator.unsure_shares(), Some((1, BTreeSet::new())));
        assert_eq!(operator.heard_of_loss(3), !confirmed);
        assert!(said(&sim, 3, Step::Sign), "it was adopted");
        assert!(
            sim.verdicts(1).iter().all(BTreeSet::is_empty),
            "nobody is to blame"
        );
        // It says so once, and helps no other attempt.
        let words = sim.peers[2].disk.entries.len();
        sim.restart(2);
        sim.with(2, |o| o.consent(2, Reason::Lost));
        sim.with(2, Operator::say_share_is_lost);
        sim.settle();
        assert_eq!(sim.peers[2].disk.entries.len(), words);
        // A backup turns up, while the others have the word in their journals: everything goes on where it was.
        sim.restart(1);
        let operator = &sim.peers[1].operator;
        assert!(!operator.heard_of_loss(3), "it was heard in another run");
        assert!(!operator.has_signed_since_loss(3), "it had signed before");
        assert_eq!(operator.lost_shares().is_some(), !confirmed);
        let mut heard = sim.peers[2].disk.entries.clone();
        sim.peers[2].disk = whole;
        heard.retain(|entry| !sim.peers[2].disk.entries.contains(entry));
        sim.peers[2].disk.entries.extend(heard);
        sim.peers[0].online = true;
        sim.restart(2);
        sim.settle();
        assert_finished(&sim);
        for peer in &sim.peers {
            assert_eq!(peer.operator.lost_shares(), None);
            assert_eq!(peer.operator.own_share_was_found(), None);
            assert_eq!(peer.operator.own_lost_share(), None);
        }
    }
}

#[test]
fn whoever_has_its_share_hears_that_it_was_called_lost() {
    let mut sim = stopped_at(Step::Sign, 62);
    let at = (sim.said(2, Step::Stored, 3).session, 1, 3);
    let word = share_is_lost(&at.0).to_vec();
    let word = Entry::signed(&node_key(3), &sim.terms, at, Step::Done, vec![], word);
    sim.with(2, |o| o.receive(vec![word]));
    let operator = &sim.peers[2].operator;
    assert_eq!(
        (operator.own_share_was_found(), operator.own_lost_share()),
        (Some(1), None)
    );
    // Whoever said so had no share to go on with: this folder is no old copy.
    assert!(operator.adopted().next().is_none() && !operator.went_on_elsewhere(1));
    sim.settle();
    assert_finished(&sim);
    assert_eq!(sim.peers[2].operator.own_share_was_found(), None);
}

#[test]
fn whoever_signs_after_its_word_of_loss_may_have_its_share_again() {
    let mut sim = stopped_at(Step::Seal, 63);
    let sign = sim.said(1, Step::Sign, 3);
    let at = (sign.session, 1, 3);
    let word = share_is_lost(&at.0).to_vec();
    let word = Entry::signed(&node_key(3), &sim.terms, at, Step::Done, vec![], word);
    let terms = sim.terms.clone();
    for (words, since) in [([&sign, &word], false), ([&word, &sign], true)] {
        // Operator 2 has heard neither so far.
        let disk = &mut sim.peers[1].disk;
        disk.entries.retain(|bytes| {
            let entry = Entry::decode(&terms, bytes).unwrap();
            entry.operator != 3 || entry.step < Step::Sign
        });
        disk.entries
            .retain(|bytes| Entry::decode(&terms, bytes).unwrap().step < Step::Seal);
        sim.wake(1);
        sim.with(1, Operator::compared);
        for word in words {
            sim.with(1, |o| o.receive(vec![word.clone()]));
        }
        for restart in [false, true] {
            if restart {
                sim.wake(1);
            }
            let operator = &sim.peers[1].operator;
            assert!(operator.lost_shares().is_some() && operator.heard_of_loss(3) != restart);
            assert_eq!(operator.has_signed_since_loss(3), since);
        }
    }
}

/// The words of operator 1 that its share of attempt 1 is lost, and that its files are in place.
fn last_words(sim: &Sim) -> [Entry; 2] {
    let done = sim.said(0, Step::Done, 1);
    let mut lost = done.clone();
    lost.body = share_is_lost(&done.session).to_vec();
    lost.signature = node_key(1).sign(&lost.id(&sim.terms));
    [lost, done]
}

#[test]
fn whoever_has_its_files_has_no_lost_share_in_whatever_order_its_words_come() {
    let mut sim = Sim::new(3, 2, 2, 60);
    sim.start();
    sim.run();
    let [lost, done] = last_words(&sim);
    let terms = sim.terms.clone();
    let mut pictures = Vec::new();
    for words in [[&lost, &done], [&done, &lost]] {
        // Operator 2 has heard neither so far.
        let disk = &mut sim.peers[1].disk;
        disk.entries.retain(|bytes| {
            let entry = Entry::decode(&terms, bytes).unwrap();
            (entry.operator, entry.step) != (1, Step::Done)
        });
        sim.wake(1);
        sim.with(1, Operator::compared);
        for word in words {
            sim.with(1, |o| o.receive(vec![word.clone()]));
        }
        for restart in [false, true] {
            if restart {
                sim.wake(1);
            }
            let operator = &sim.peers[1].operator;
            pictures.push((operator.lost_shares(), operator.unsure_shares()));
        }
    }
    let both = Some((1, BTreeSet::from([1])));
    assert_eq!(pictures, vec![(None, both); 4]);
}

#[test]
fn a_liar_that_says_one_thing_to_one_and_another_to_the_other_ends_nothing() {
    // Operator 1 seals, and tells only operator 2 so; operator 3 hears that its share is lost.
    let mut sim = Sim::new(3, 2, 2, 61);
    sim.forge = Some((
        0,
        Box::new(|terms, to, e| match e.step {
            Step::Seal if to == 2 => {
                let at = (e.session, e.attempt, e.operator);
                let word = share_is_lost(&e.session).to_vec();
                vec![Entry::signed(&node_key(1), terms, at, Step::Done, vec![], word)]
            }
            Step::Done => vec![],
            _ => vec![e],
        }),
    ));
    sim.start();
    sim.run();
    // It was told to operator 3 only, who hears the Seal from operator 2.
    for (from, to) in [(1, 2), (2, 1), (1, 2), (2, 1)] {
        sim.pull(from, to);
    }
    for i in [1, 2] {
        let operator = &sim.peers[i].operator;
        let sealed = std::collections::BTreeMap::from([(1, true)]);
        assert_eq!(operator.lost_shares(), Some((1, sealed)));
        assert!(sim.peers[i].disk.lock.is_some(), "it has the lock");
    }
}

#[test]
fn a_share_is_not_lost_while_it_can_be_made_again() {
    // All votes and the own Sign are here, the keystores are not, but the seed is: they are written again.
    let mut sim = stopped_at(Step::Seal, 40);
    let disk = &mut sim.peers[2].disk;
    (disk.shares, disk.outputs) = Default::default();
    sim.restart(2);
    sim.settle();
    assert!(sim.peers.iter().all(|p| p.operator.lost_shares().is_none()));
    assert!(sim.peers.iter().all(|p| p.operator.own_lost_share().is_none()));
    assert_finished(&sim);
}

#[test]
fn keystores_are_the_truth_whatever_became_of_the_record_of_them() {
    for (seed, step) in (50..).zip([Step::Stored, Step::Sign, Step::Seal, Step::Done]) {
        // The record is gone, or it is another folder's.
        for (journal_is_gone, record) in [
            (false, None),
            (true, None),
            (false, Some([9; 32])),
            (true, Some([9; 32])),
        ] {
            let mut sim = stopped_at(step, seed);
            let disk = &mut sim.peers[1].disk;
            let outputs = std::mem::take(&mut disk.outputs);
            disk.outputs.extend(record.map(|record| (1, record)));
            disk.seeds.clear();
            (disk.published, disk.lock) = (None, None);
            if journal_is_gone {
                (disk.entries, disk.notes) = Default::default();
                // The marker stays beside a record, else nobody would read that.
                disk.marks
                    .retain(|mark| record.is_some() && *mark == (1, Mark::Voted));
            }
            sim.restart(1);
            sim.settle();
            assert_eq!(sim.peers[1].operator.own_lost_share(), None, "{step:?}");
            assert!(sim.peers[1].lost.is_empty() || journal_is_gone, "{step:?}");
            assert!(!sim.peers[1].operator.is_lost(1));
            assert_finished(&sim);
            assert_eq!(sim.peers[1].disk.outputs, outputs, "the record is there again");
        }
    }
}

#[test]
fn keystores_of_other_shares_are_no_shares() {
    let mut sim = stopped_at(Step::Sign, 58);
    let disk = &mut sim.peers[1].disk;
    disk.outputs.clear();
    disk.seeds.clear();
    disk.shares.get_mut(&1).unwrap()[1] = [1; 32];
    sim.restart(1);
    sim.settle();
    assert_eq!(sim.peers[1].operator.own_lost_share(), Some((1, false)));
    assert!(sim.peers[1].lost.contains(&1) && sim.peers[1].disk.outputs.is_empty());
}
