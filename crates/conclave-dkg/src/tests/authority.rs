//! Who may say what: every element against the configured identities, everybody's own view of what is signed, own drafts.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::ceremonies::assert_finished;
use crate::board::{Board, News, Slot};
use crate::entry::{Entry, Step};
use crate::evidence::{Finding, Kind};
use crate::operator::Operator;
use crate::outputs::GroupKeys;
use crate::secrets::Secrets;
use crate::terms::{Product, Terms};
use crate::testing::{Forge, Sim, TestProduct, node_key};
use conclave_crypto::bls::{PublicKey, Signature};
use conclave_crypto::hash::{Hash, sha256};

fn entries_of(sim: &Sim) -> Vec<Entry> {
    let board = sim.peers[0].operator.board();
    let ids = board.order().iter();
    ids.map(|id| (*board.get(id).unwrap().entry).clone()).collect()
}

fn finished(seed: u64) -> Sim {
    let mut sim = Sim::new(3, 2, 2, seed);
    sim.start();
    sim.run();
    sim
}

fn withhold(from: Step) -> (usize, Forge) {
    (
        0,
        Box::new(move |_, _, e| if e.step >= from { vec![] } else { vec![e] }),
    )
}

// --- row 31 ---

#[test]
fn every_entry_of_a_batch_is_checked_against_its_own_author() {
    let sim = finished(1);
    let entries = entries_of(&sim);
    let whole = entries.len();
    // Each in turn is signed by somebody else, anywhere in a batch whose other entries are right.
    for at in 0..whole {
        let mut batch = entries.clone();
        let other = usize::from(batch[at].operator) % 3 + 1;
        batch[at].signature = node_key(other).sign(&batch[at].id(&sim.terms));
        let forged = batch[at].id(&sim.terms);
        let mut board = Board::new(sim.terms.clone(), &[1; 32]);
        board.receive(batch);
        assert!(board.get(&forged).is_none(), "entry {at}");
        assert_eq!(board.findings().count(), 0, "a forger cannot make anybody guilty");
    }
    // All under one key, the first rightly so.
    let mut batch = entries;
    for entry in &mut batch {
        entry.signature = node_key(1).sign(&entry.id(&sim.terms));
    }
    let mut board = Board::new(sim.terms.clone(), &[1; 32]);
    board.receive(batch);
    assert!(
        board
            .order()
            .iter()
            .all(|id| board.get(id).unwrap().entry.operator == 1)
    );
    // A stranger, whatever it says about itself.
    let stranger = node_key(9);
    let mut join = sim.said(0, Step::Join, 2);
    join.body[33..65].copy_from_slice(&[9; 32]);
    join.signature = stranger.sign(&join.id(&sim.terms));
    assert!(
        Board::new(sim.terms.clone(), &[1; 32])
            .receive(vec![join])
            .is_empty()
    );
}

#[test]
fn every_partial_signature_of_a_sign_counts() {
    let sim = finished(2);
    let entries = entries_of(&sim);
    // Validators times messages: each in turn is the valid one of another place.
    for at in 0..4 {
        let mut batch = entries.clone();
        batch.retain(|e| e.step <= Step::Sign);
        let sign = batch
            .iter_mut()
            .find(|e| e.step == Step::Sign && e.operator == 1)
            .unwrap();
        let from = (at + 1) % 4;
        let other = sign.body[from * 96..][..96].to_vec();
        sign.body[at * 96..][..96].copy_from_slice(&other);
        sign.signature = node_key(1).sign(&sign.id(&sim.terms));
        let id = sign.id(&sim.terms);
        let mut board = Board::new(sim.terms.clone(), &[1; 32]);
        board.receive(batch);
        assert!(board.get(&id).is_none());
        let guilty = Finding {
            operator: 1,
            kind: Kind::BadEntry,
        };
        assert_eq!(board.verdict(1), BTreeSet::from([guilty]), "position {at}");
    }
}

// --- row 24 ---

/// As the others' product, but money goes somewhere else.
struct OtherAddress;

impl Product for OtherAddress {
    fn messages(&self) -> usize {
        TestProduct.messages()
    }

    fn signing_roots(&self, validator: usize, group_key: &PublicKey) -> Vec<Hash> {
        let roots = TestProduct.signing_roots(validator, group_key);
        roots.iter().map(|root| sha256(&[b"elsewhere", root])).collect()
    }

    fn lock_hash(&self, keys: &GroupKeys, signatures: &[Vec<Signature>]) -> Hash {
        TestProduct.lock_hash(keys, signatures)
    }
}

#[test]
fn whoever_signs_for_another_address_is_named_and_gets_no_signature() {
    let mut sim = Sim::new(3, 2, 1, 3);
    let keys = (1..=3).map(|i| node_key(i).public()).collect();
    // The same definition hash: this software lies to its own operator, or the operator lies.
    let other = Terms::new([1; 32], [2; 32], 2, 1, keys, Arc::new(OtherAddress)).unwrap();
    sim.peers[0].operator = Operator::new(Arc::new(other), 1, node_key(1), "op1".into(), &[5; 32]);
    sim.start();
    sim.forge = None;
    // Its own node holds the honest ones guilty, and so its evidence proves nothing to others: it is not carried out here.
    while let Some((to, bytes)) = sim.mail.pop() {
        let entry = Entry::decode(&sim.terms, &bytes).unwrap();
        if to == 0 {
            let effects = sim.peers[0].operator.receive(vec![entry]);
            let mut effects = effects;
            effects.retain(|e| !matches!(e, crate::operator::Effect::PersistEvidence(_)));
            sim.carry_out(0, effects, usize::MAX);
        } else {
            sim.with(to, |o| o.receive(vec![entry]));
        }
    }
    let guilty = Finding {
        operator: 1,
        kind: Kind::BadEntry,
    };
    for i in [1, 2] {
        assert_eq!(sim.peers[i].operator.board().verdict(1), BTreeSet::from([guilty]));
    }
    assert!(sim.locks().iter().all(Option::is_none));
    // No honest signature of its roots exists: it combined nothing.
    let board = sim.peers[0].operator.board();
    let sid = sim.said(1, Step::Deal, 1).session;
    assert!(board.good_sets(&sid).iter().all(|good| good.combined.is_none()));
}

// --- sessions: what a Complaint may open ---

/// A second session of attempt 1: another Join of operator 1, and its Deal there, which gives operator 2 a bad share.
fn second_session(sim: &Sim) -> [Entry; 2] {
    let terms = &sim.terms;
    let mut join = sim.said(0, Step::Join, 1);
    join.body[1] = b'X';
    join.signature = node_key(1).sign(&join.id(terms));
    let others = [2, 3].map(|j| sim.said(0, Step::Join, j));
    let prev = vec![join.id(terms), others[0].id(terms), others[1].id(terms)];
    let sid = terms.sid(1, &prev);
    let recipients: Vec<[u8; 32]> = std::iter::once(&join)
        .chain(&others)
        .map(|e| e.body[33..65].try_into().unwrap())
        .collect();
    let secrets: Secrets = sim.secrets_of(0);
    let mut body = secrets.deal(terms, &sid, 1, &recipients).unwrap();
    let for_2 = terms.deal_public_bytes() + terms.sealed_bytes();
    body[for_2 + 50] ^= 1;
    let deal = Entry::signed(&node_key(1), terms, (sid, 1, 1), Step::Deal, prev, body);
    [join, deal]
}

#[test]
fn a_bad_deal_in_a_second_session_makes_nobody_complain() {
    // Before the victim's Ack, after it, and after its vote.
    for held_back in [Step::Deal, Step::Reveal, Step::Sign] {
        let mut sim = Sim::new(3, 2, 1, 4);
        sim.forge = Some(withhold(held_back));
        sim.start();
        sim.run();
        let reached = [
            (Step::Deal, Step::Deal),
            (Step::Reveal, Step::Ack),
            (Step::Sign, Step::Stored),
        ];
        let (_, last) = reached.into_iter().find(|(step, _)| *step == held_back).unwrap();
        assert!(sim.find(1, |e| e.step == last && e.operator == 2).is_some());
        let second = second_session(&sim);
        for entry in &second {
            sim.mail.extend([1, 2].map(|to| (to, entry.encode())));
        }
        sim.run();
        let board = sim.peers[1].operator.board();
        assert_eq!(board.slot(&second[1].session, 1, Slot::Step(Step::Deal)).len(), 1);
        for i in [1, 2] {
            assert!(sim.find(i, Entry::is_complaint).is_none(), "{held_back:?}");
            let verdict = sim.peers[i].operator.board().verdict(1);
            let kinds: Vec<Kind> = verdict.iter().map(|f| f.kind).collect();
            assert_eq!(kinds, [Kind::Restarted], "{held_back:?}");
        }
        if last == Step::Stored {
            // V5: after the votes it changes nothing.
            sim.forge = None;
            for i in 0..3 {
                sim.resync(0, i);
            }
            sim.settle();
            assert_finished(&sim);
        }
    }
}

#[test]
fn a_complaint_against_a_deal_of_another_session_convicts_its_author_alone() {
    let mut sim = Sim::new(3, 2, 1, 5);
    sim.forge = Some(withhold(Step::Ack));
    sim.start();
    sim.run();
    let [join, deal] = second_session(&sim);
    let victim = sim.said(0, Step::Deal, 2);
    // The right key for that Deal, but under the other session.
    let key = sim.secrets_of(0).seal_secret(&sim.terms, 2).unwrap().to_bytes();
    let at = (deal.session, 1, 1);
    let prev = vec![victim.id(&sim.terms)];
    let complaint = Entry::signed(&node_key(1), &sim.terms, at, Step::Ack, prev, key.to_vec());
    let entries = [&complaint, &deal, &join].map(Entry::encode);
    for bytes in entries {
        sim.mail.extend([1, 2].map(|to| (to, bytes.clone())));
    }
    sim.run();
    sim.peers[0].evil = true;
    sim.peers[0].online = false;
    sim.settle();
    let of = |kind| Finding { operator: 1, kind };
    for verdict in sim.verdicts(1) {
        assert_eq!(verdict, BTreeSet::from([of(Kind::Restarted), of(Kind::BadEntry)]));
    }
    assert!(sim.find(1, Entry::is_complaint).is_none(), "it counts nowhere");
}

// --- own drafts ---

#[test]
fn what_was_shown_to_nobody_proves_nothing() {
    let sim = finished(6);
    let entries = entries_of(&sim);
    let bent = |step: Step, change: fn(&mut Entry)| {
        let mut entry = sim.said(0, step, 1);
        change(&mut entry);
        entry.signature = node_key(1).sign(&entry.id(&sim.terms));
        entry
    };
    let invalid = bent(Step::Sign, |e| e.body[3] ^= 1);
    let collides = bent(Step::Deal, |e| *e.body.last_mut().unwrap() ^= 1);
    let second_join = bent(Step::Join, |e| e.body[1] = b'X');
    for (draft, kind) in [
        (invalid, Kind::BadEntry),
        (collides, Kind::Equivocation),
        (second_join, Kind::Restarted),
    ] {
        let id = draft.id(&sim.terms);
        let mut board = Board::new(sim.terms.clone(), &[1; 32]);
        // The slots after the draft's are still empty.
        board.receive(
            entries
                .iter()
                .filter(|e| e.step <= draft.step && e.id(&sim.terms) != id)
                .cloned()
                .collect(),
        );
        assert!(board.receive_own(draft.clone()).is_empty(), "{kind:?}");
        assert_eq!(board.findings().count(), 0, "{kind:?}");
        assert!(board.get(&id).is_none());
        // The same from a peer was shown to somebody.
        let mut board = Board::new(sim.terms.clone(), &[1; 32]);
        board.receive(entries.clone());
        let news = board.receive(vec![draft]);
        let found = |item: &News| matches!(item, News::Found(1, f) if f.operator == 1 && f.kind == kind);
        assert!(news.iter().any(found), "{kind:?}");
    }
}
