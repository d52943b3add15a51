//! Backups: whatever an honest operator lost or restored, nobody can prove it guilty (P6).

use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::sessions::{second_list_of_deals, voted};
use crate::board::{Board, Data, Slot};
use crate::body::{Reason, SealBody};
use crate::entry::{Entry, Step};
use crate::evidence::{Evidence, Finding, Kind};
use crate::operator::Operator;
use crate::testing::{Sim, node_key};
use conclave_crypto::bls::SecretKey;

fn own_entries(sim: &Sim, i: usize) -> Vec<Entry> {
    let own = u16::try_from(i + 1).unwrap();
    let entries = sim.peers[i].disk.entries.iter();
    let entries = entries.map(|bytes| Entry::decode(&sim.terms, bytes).unwrap());
    entries.filter(|e| e.operator == own).collect()
}

/// Operators 1 and 2 collude; operator 3 is honest, its folder is one from before its Ack, and the colluders show it a second Deal of
/// operator 1, with everything up to the votes on it. Gives all entries that exist, the last of them its second Sign.
fn voted_twice(seed: u64) -> (Sim, Vec<Entry>) {
    let mut sim = voted(seed);
    let second = second_list_of_deals(&sim);
    let terms = sim.terms.clone();
    let board = sim.peers[0].operator.board();
    let mut all: Vec<Entry> = board
        .order()
        .iter()
        .map(|id| (*board.get(id).unwrap().entry).clone())
        .collect();
    let disk = &mut sim.peers[2].disk;
    disk.entries.retain(|bytes| {
        let entry = Entry::decode(&terms, bytes).unwrap();
        entry.step == Step::Join || (entry.step == Step::Deal && entry.operator != 1)
    });
    disk.marks.clear();
    disk.shares.clear();
    disk.outputs.clear();
    disk.evidence.clear();
    sim.mail.clear();
    sim.wake(2);
    sim.with(2, |o| o.consent(1, Reason::First));
    sim.with(2, Operator::compared);
    for entry in second.iter().filter(|e| e.operator != 3) {
        let entry = entry.clone();
        sim.with(2, |o| o.receive(vec![entry]));
    }
    let vote = own_entries(&sim, 2).into_iter().find(|e| e.step == Step::Stored);
    let vote = vote.expect("it votes again");
    let votes: Vec<Entry> = [1, 2]
        .map(|j: u16| {
            let at = (vote.session, 1, j);
            let (prev, body) = (vote.prev.clone(), vote.body.clone());
            Entry::signed(&node_key(j.into()), &terms, at, Step::Stored, prev, body)
        })
        .to_vec();
    for entry in &votes {
        let entry = entry.clone();
        sim.with(2, |o| o.receive(vec![entry]));
    }
    let sign = own_entries(&sim, 2).into_iter().find(|e| e.step == Step::Sign);
    all.extend(second);
    all.extend(votes);
    all.extend([vote, sign.expect("it signs what everybody voted for")]);
    (sim, all)
}

fn against_3(entries: &[Entry]) -> Evidence {
    Evidence {
        attempt: 1,
        finding: Finding {
            operator: 3,
            kind: Kind::BadEntry,
        },
        headers: vec![],
        entries: entries.iter().cloned().map(Arc::new).collect(),
    }
}

#[test]
fn a_sign_is_judged_by_what_its_author_voted_for() {
    for seed in 0..4 {
        let (sim, mut all) = voted_twice(seed);
        let sign = all.last().unwrap().clone();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for _ in 0..4 {
            assert!(!against_3(&all).check(&sim.terms, &[0; 32]), "seed {seed}");
            // Online, in any order, one by one: nobody honest is guilty, and the Sign counts for what it is for.
            let mut board = Board::new(sim.terms.clone(), &[1; 32]);
            for entry in &all {
                board.receive(vec![entry.clone()]);
            }
            for entry in &all {
                board.receive(vec![entry.clone()]);
            }
            let guilty = board.verdict(1).into_iter().filter(|f| f.operator != 1);
            assert_eq!(guilty.count(), 0, "seed {seed}");
            let admitted = board.get(&sign.id(&sim.terms)).expect("it is right");
            assert!(matches!(&admitted.data, Data::Sign(outputs, _) if {
                let vote = board.get(&sign.prev[2]).unwrap();
                vote.entry.body[..] == outputs[..]
            }));
            all.shuffle(&mut rng);
        }
    }
}

/// A copy of a folder from the moment between the own Sign and the own Seal, after the ceremony was finished elsewhere.
fn copy_before_the_seal(sim: &mut Sim) -> Vec<Entry> {
    let terms = sim.terms.clone();
    let disk = &mut sim.peers[2].disk;
    let decode = |bytes: &Vec<u8>| Entry::decode(&terms, bytes).unwrap();
    let is_late = |e: &Entry| e.step > Step::Sign || e.step == Step::Sign && e.operator != 3;
    let late: Vec<Entry> = disk.entries.iter().map(decode).filter(is_late).collect();
    disk.entries.retain(|bytes| !is_late(&decode(bytes)));
    disk.published = None;
    disk.lock = None;
    sim.mail.clear();
    sim.wake(2);
    late
}

#[test]
fn an_old_copy_knows_what_others_had_to_bring_in_whatever_order_it_comes() {
    let mut finished = Sim::new(3, 2, 1, 5);
    finished.start();
    finished.run();
    assert!(finished.peers.iter().all(|peer| peer.finished.is_some()));
    for peer in &finished.peers {
        let o = &peer.operator;
        assert_eq!(o.adopted().count(), 0);
        assert!(o.has_said(1, Step::Join) && o.has_said(1, Step::Seal) && !o.has_said(2, Step::Join));
    }
    let mut late = copy_before_the_seal(&mut finished);
    // The small Seals overtake the large Signs; what cannot be judged yet waits.
    for seals_first in [false, true] {
        late.sort_by_key(|e| (e.step == Step::Sign) == seals_first);
        finished.wake(2);
        for entry in &late {
            let entry = entry.clone();
            finished.with(2, |o| o.receive(vec![entry]));
        }
        let o = &finished.peers[2].operator;
        let mut adopted: Vec<(u32, Step)> = o.adopted().collect();
        adopted.sort_unstable();
        assert_eq!(adopted, [(1, Step::Seal), (1, Step::Done)], "{seals_first}");
        assert!(o.went_on_elsewhere(1) && !o.went_on_elsewhere(2));
        assert!(!o.has_said(1, Step::Sign) && !o.has_said(1, Step::Seal));
        finished.peers[2].disk.published = None;
        copy_before_the_seal(&mut finished);
    }
    // Its Seal is enough: the other folder may have finished without anybody hearing of it.
    for entry in late.iter().filter(|e| e.step != Step::Done) {
        let entry = entry.clone();
        finished.with(2, |o| o.receive(vec![entry]));
    }
    let o = &finished.peers[2].operator;
    assert_eq!(o.adopted().collect::<Vec<_>>(), [(1, Step::Seal)]);
    assert!(o.went_on_elsewhere(1));
    copy_before_the_seal(&mut finished);
    // Of the own Seal nobody knows, the own Sign was made before: the copy seals itself, and has not said all of it.
    finished.with(2, |o| o.consent(1, Reason::First));
    finished.with(2, Operator::compared);
    for entry in late.iter().filter(|e| e.operator != 3) {
        let entry = entry.clone();
        finished.with(2, |o| o.receive(vec![entry]));
    }
    let o = &finished.peers[2].operator;
    assert!(o.has_said(1, Step::Seal) && !o.has_said(1, Step::Sign) && !o.has_said(1, Step::Join));
    assert_eq!(o.adopted().count(), 0);
}

#[test]
fn a_bad_sign_whose_vote_is_not_here_waits_for_it_and_is_named_then() {
    let mut sim = voted(7);
    sim.mail.clear();
    let vote = sim.said(1, Step::Stored, 1);
    // Operator 1 voted twice with the same content, and signs nonsense; its Sign names the vote that nobody has seen.
    let mut other = vote.clone();
    other.prev.iter_mut().for_each(|id| id[0] ^= 1);
    other.signature = node_key(1).sign(&other.id(&sim.terms));
    let mut sign = sim.said(1, Step::Sign, 2);
    let bad = SecretKey::from_bytes(&[5; 32])
        .unwrap()
        .sign(b"nonsense")
        .to_bytes();
    sign.operator = 1;
    sign.prev[0] = other.id(&sim.terms);
    sign.body
        .chunks_mut(96)
        .for_each(|chunk| chunk.copy_from_slice(&bad));
    sign.signature = node_key(1).sign(&sign.id(&sim.terms));
    sim.with(1, |o| o.receive(vec![sign]));
    let board = sim.peers[1].operator.board();
    assert!(board.verdict(1).is_empty());
    assert!(board.missing().contains(&other.id(&sim.terms)), "it is asked for");
    sim.with(1, |o| o.receive(vec![other]));
    let guilty = Finding {
        operator: 1,
        kind: Kind::BadEntry,
    };
    let board = sim.peers[1].operator.board();
    assert!(board.verdict(1).contains(&guilty));
    assert!(board.evidence(1, guilty).unwrap().check(&sim.terms, &[3; 32]));
}

/// A Seal of operator 3 over a lock hash, with some key.
fn seal_of_3(sim: &Sim, lock_hash: [u8; 32], key: &SecretKey) -> Entry {
    let body = SealBody {
        lock_hash,
        node_signature: node_key(3).sign_recoverable(&lock_hash),
        aggregate: key.sign(&lock_hash),
    };
    let session = sim.said(0, Step::Seal, 3).session;
    let at = (session, 1, 3);
    Entry::signed(&node_key(3), &sim.terms, at, Step::Seal, vec![], body.encode())
}

#[test]
fn a_seal_of_a_lock_that_is_not_known_here_is_no_guilt() {
    let mut sim = Sim::new(3, 2, 1, 8);
    sim.start();
    sim.run();
    let board = sim.peers[0].operator.board();
    let before: Vec<Entry> = board
        .order()
        .iter()
        .map(|id| (*board.get(id).unwrap().entry).clone())
        .filter(|e| e.step < Step::Seal)
        .collect();
    let proves = |seal: &Entry| {
        let entries: Vec<Entry> = before.iter().chain([seal]).cloned().collect();
        let mut online = Board::new(sim.terms.clone(), &[1; 32]);
        online.receive(entries.clone());
        let guilty = !online.verdict(1).is_empty();
        assert_eq!(guilty, against_3(&entries).check(&sim.terms, &[0; 32]));
        guilty
    };
    let own = SecretKey::from_bytes(&sim.peers[2].disk.shares[&1][0]).unwrap();
    let lock = sim.locks()[2].unwrap();
    assert!(!proves(&seal_of_3(&sim, lock, &own)), "the right one");
    // Of other Deals, that a folder restored from a backup may have approved: other shares, another lock.
    let other = SecretKey::from_bytes(&[6; 32]).unwrap();
    assert!(!proves(&seal_of_3(&sim, [9; 32], &other)));
    // Even the same shares: other dealers' lines may meet in one point.
    assert!(!proves(&seal_of_3(&sim, [9; 32], &own)));
    // This lock by other shares; a node signature of something else.
    assert!(proves(&seal_of_3(&sim, lock, &other)));
    let mut bent = SealBody::decode(&seal_of_3(&sim, [9; 32], &other).body).unwrap();
    bent.node_signature = node_key(3).sign_recoverable(&[8; 32]);
    let mut entry = seal_of_3(&sim, [9; 32], &other);
    entry.body = bent.encode();
    entry.signature = node_key(3).sign(&entry.id(&sim.terms));
    assert!(proves(&entry));
}

#[test]
fn who_signed_one_set_of_keys_signs_no_other() {
    // With both sets agreed upon, the operator stays with the one that it signed, whatever comes later.
    for seed in 0..4 {
        let (mut sim, all) = voted_twice(seed);
        for entry in &all {
            let entry = entry.clone();
            sim.with(2, |o| o.receive(vec![entry]));
        }
        let sid = all.last().unwrap().session;
        let board = sim.peers[2].operator.board();
        let signs = board.slot(&sid, 3, Slot::Step(Step::Sign)).len();
        // Its Sign from before the backup may be shown to it, too; it makes no more of them.
        assert!(signs <= 2, "seed {seed}: {signs}");
        let own: Vec<_> = own_entries(&sim, 2);
        let stored = sim.peers[2].disk.outputs[&1];
        let last = own.iter().rfind(|e| e.step == Step::Sign).unwrap();
        assert!(own.iter().any(|e| e.step == Step::Stored && e.body == stored));
        assert!(!last.body.is_empty());
    }
}
