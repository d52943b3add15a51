//! One lock: its hash and its keys are the same for everybody, and so are its bytes, unless somebody sealed it twice; then it is
//! named.

use std::sync::Arc;

use k256::ecdsa::signature::hazmat::RandomizedPrehashSigner as _;
use rand::SeedableRng as _;

use crate::body::{Reason, SealBody};
use crate::entry::{Entry, Step};
use crate::evidence::{Evidence, Finding, Kind};
use crate::operator::{Mark, Operator};
use crate::terms::Terms;
use crate::testing::{Sim, node_key};
use crate::transcript::Transcript;

const DOUBLE: Finding = Finding {
    operator: 1,
    kind: Kind::DoubleSeal,
};

/// Another right Seal of the same lock by operator 1: another signature with another nonce.
pub(super) fn another(terms: &Terms, entry: &Entry, nonce: u64) -> Entry {
    let key = k256::ecdsa::SigningKey::from_slice(&node_key(1).to_bytes()[..]).unwrap();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(nonce);
    let seal = SealBody::decode(&entry.body).unwrap();
    let signature: k256::ecdsa::Signature = key.sign_prehash_with_rng(&mut rng, &seal.lock_hash).unwrap();
    let signature = signature.normalize_s();
    let mut node_signature = [0; 65];
    node_signature[..64].copy_from_slice(&signature.to_bytes());
    for v in [0, 1] {
        node_signature[64] = v;
        if node_key(1)
            .public()
            .verify_recoverable(&seal.lock_hash, &node_signature)
        {
            break;
        }
    }
    let mut other = entry.clone();
    other.body = SealBody {
        node_signature,
        ..seal
    }
    .encode();
    other.signature = node_key(1).sign(&other.id(terms));
    other
}

/// Operator 1 sends one Seal to operator 2 and another one to operator 3, and both publish with the one that they got.
fn two_seals() -> Sim {
    let mut sim = Sim::new(3, 2, 1, 72);
    sim.forge = Some((
        0,
        Box::new(|terms, to, e| {
            if e.step == Step::Seal && to == 2 {
                vec![another(terms, &e, 5)]
            } else {
                vec![e]
            }
        }),
    ));
    sim.start();
    // The Seals come last, and those of operator 1 from itself.
    let is_seal = |sim: &Sim, bytes: &[u8]| Entry::decode(&sim.terms, bytes).unwrap().step == Step::Seal;
    while let Some(at) = sim.mail.iter().position(|(_, bytes)| !is_seal(&sim, bytes)) {
        let (to, bytes) = sim.mail.remove(at);
        let entry = Entry::decode(&sim.terms, &bytes).unwrap();
        sim.with(to, |o| o.receive(vec![entry]));
    }
    for (to, bytes) in std::mem::take(&mut sim.mail) {
        let entry = Entry::decode(&sim.terms, &bytes).unwrap();
        sim.with(to, |o| o.receive(vec![entry]));
    }
    sim.settle();
    sim
}

#[test]
fn two_seals_of_one_operator_make_two_files_of_one_lock_and_a_name() {
    let sim = two_seals();
    let [a, b] = [1, 2].map(|i| sim.peers[i].finished.as_ref().unwrap());
    assert_eq!(a.lock_hash, b.lock_hash);
    assert_eq!(a.keys.hash(), b.keys.hash());
    assert_eq!(a.aggregate, b.aggregate);
    assert_ne!(a.node_signatures, b.node_signatures);
    assert_eq!(a.node_signatures[1..], b.node_signatures[1..]);
    for i in [1, 2] {
        let board = sim.peers[i].operator.board();
        let evidence = board.evidence(1, DOUBLE).expect("everybody learns who it was");
        let read = Evidence::decode(&sim.terms, &evidence.encode()).unwrap();
        assert!(read.check(&sim.terms, &[4; 32]));
        let shown = Transcript::of(board, [2; 32])
            .check(&sim.terms, &[0; 32])
            .unwrap();
        assert!(shown.findings.contains(&(1, DOUBLE)));
        assert_eq!(shown.lock_hash, a.lock_hash);
    }
}

#[test]
fn nothing_less_than_two_seals_of_one_lock_proves_it() {
    let mut sim = Sim::new(3, 2, 1, 73);
    sim.start();
    sim.run();
    let terms = &sim.terms;
    let seal = sim.said(1, Step::Seal, 1);
    let other = another(terms, &seal, 1);
    let check = |entries: &[&Entry]| {
        Evidence {
            attempt: 1,
            finding: DOUBLE,
            headers: vec![],
            entries: entries.iter().map(|e| Arc::new((*e).clone())).collect(),
        }
        .check(terms, &[0; 32])
    };
    assert!(check(&[&seal, &other]) && check(&[&other, &seal]));
    assert!(!check(&[&seal, &seal]) && !check(&[&seal]) && !check(&[]));
    assert!(!check(&[&seal, &other, &other]));
    assert!(!check(&[&seal, &sim.said(1, Step::Seal, 2)]), "somebody else's");
    let mut forged = other.clone();
    forged.signature[3] ^= 1;
    assert!(!check(&[&seal, &forged]), "not signed");
    let resign = |mut entry: Entry| {
        entry.signature = node_key(1).sign(&entry.id(terms));
        entry
    };
    let mut elsewhere = other.clone();
    elsewhere.session = [9; 32];
    assert!(!check(&[&seal, &resign(elsewhere)]), "another session");
    // Another lock: an honest operator whose folder was restored may have sealed both.
    let mut body = SealBody::decode(&other.body).unwrap();
    body.lock_hash = [9; 32];
    body.node_signature = node_key(1).sign_recoverable(&[9; 32]);
    let mut another_lock = other.clone();
    another_lock.body = body.encode();
    assert!(!check(&[&seal, &resign(another_lock)]));
    // A signature that is none makes no file of its own.
    let mut body = SealBody::decode(&other.body).unwrap();
    body.node_signature[5] ^= 1;
    let mut bad = other;
    bad.body = body.encode();
    assert!(!check(&[&seal, &resign(bad)]));
}

#[test]
fn an_honest_operator_seals_a_lock_in_one_way_however_often_it_restarts() {
    let mut sim = Sim::new(3, 2, 1, 74);
    sim.start();
    sim.run();
    let terms = sim.terms.clone();
    let before = sim.said(0, Step::Seal, 2);
    // A backup from before its Seal, and nobody tells it.
    sim.peers[1]
        .disk
        .entries
        .retain(|bytes| Entry::decode(&terms, bytes).unwrap().step < Step::Seal);
    (sim.peers[1].disk.published, sim.peers[1].disk.lock) = (None, None);
    sim.wake(1);
    sim.with(1, Operator::compared);
    assert!(sim.said(1, Step::Seal, 2) == before);
}

/// A folder of operator `i` (from 0) whose journal and markers are gone: it knows nothing of its vote.
fn forget(sim: &mut Sim, i: usize) {
    let disk = &mut sim.peers[i].disk;
    disk.entries.clear();
    disk.notes.clear();
    disk.evidence.clear();
    disk.marks.clear();
    (disk.published, disk.lock) = (None, None);
    sim.mail.clear();
    sim.wake(i);
}

#[test]
fn two_seals_stop_nobody_who_has_lost_its_vote() {
    let mut sim = two_seals();
    let evidence = (**sim.peers[1].operator.board().evidence(1, DOUBLE).unwrap()).clone();
    forget(&mut sim, 2);
    sim.with(2, |o| o.receive_evidence(evidence));
    let operator = &sim.peers[2].operator;
    assert_eq!(operator.current_attempt(), 1, "the key of attempt 1 may be made");
    assert!(operator.board().verdict(1).contains(&DOUBLE));
    assert!(operator.board().closing(1).is_empty());
}

#[test]
fn what_is_wrong_after_the_vote_gives_whoever_lost_it_its_vote_back() {
    // Operator 1 signs something else than what everybody voted for.
    let mut sim = Sim::new(3, 2, 1, 76);
    sim.forge = Some((
        0,
        Box::new(|terms, _, mut e| {
            if e.step == Step::Sign {
                e.body.rotate_left(96);
                e.signature = node_key(1).sign(&e.id(terms));
            }
            vec![e]
        }),
    ));
    sim.start();
    sim.run();
    let finding = Finding {
        operator: 1,
        kind: Kind::BadEntry,
    };
    let evidence = (**sim.peers[1].operator.board().evidence(1, finding).unwrap()).clone();
    forget(&mut sim, 2);
    sim.with(2, |o| o.receive_evidence(evidence));
    let operator = &sim.peers[2].operator;
    assert!(
        operator.standing().voted.contains(&1),
        "the evidence holds its vote"
    );
    assert_eq!(operator.current_attempt(), 1);
    // Durable before anything else.
    assert!(sim.peers[2].disk.marks.contains(&(1, Mark::Voted)));
}

/// Evidence that operator 1 signed an invalid Join of attempt 1, with other entries beside it.
fn bad_join(sim: &Sim, beside: Vec<Entry>) -> Evidence {
    let mut join = sim.said(1, Step::Join, 1);
    join.prev = vec![[7; 32]];
    join.signature = node_key(1).sign(&join.id(&sim.terms));
    let entries = std::iter::once(join).chain(beside);
    Evidence {
        attempt: 1,
        finding: Finding {
            operator: 1,
            kind: Kind::BadEntry,
        },
        headers: vec![],
        entries: entries.map(Arc::new).collect(),
    }
}

#[test]
fn what_is_laid_beside_evidence_is_no_vote() {
    let mut sim = Sim::new(3, 2, 1, 77);
    sim.forge = Some((
        0,
        Box::new(|_, _, e| if e.step > Step::Join { vec![] } else { vec![e] }),
    ));
    sim.start();
    sim.run();
    // What operator 3 signed under another definition: neither its session nor what it builds on is of this one.
    let elsewhere = [
        (1, Step::Stored),
        (1, Step::Sign),
        (7, Step::Stored),
        (7, Step::Sign),
    ];
    let elsewhere = elsewhere.map(|(attempt, step)| {
        let at = ([9; 32], attempt, 3);
        Entry::signed(&node_key(3), &sim.terms, at, step, vec![[8; 32]; 3], vec![1; 32])
    });
    let evidence = bad_join(&sim, elsewhere.to_vec());
    let finding = evidence.finding;
    assert!(evidence.check(&sim.terms, &[0; 32]));
    sim.with(2, |o| o.receive_evidence(evidence));
    let operator = &sim.peers[2].operator;
    assert!(
        operator.board().evidence(1, finding).is_some(),
        "it proves what it says"
    );
    assert_eq!(operator.standing().newest_vote(), None);
    assert!(operator.standing().signed.is_empty());
    let is_of_vote = |mark: &Mark| matches!(mark, Mark::Voted | Mark::Signed);
    assert!(!sim.peers[2].disk.marks.iter().any(|(_, mark)| is_of_vote(mark)));
}

#[test]
fn an_intact_old_copy_does_not_know_that_nothing_was_voted_for() {
    let mut sim = Sim::new(3, 2, 1, 78);
    sim.start();
    sim.run();
    let terms = sim.terms.clone();
    // A whole journal from before the vote; operator 1 signs a Seal that is invalid, and whose evidence needs nobody's votes.
    let disk = &mut sim.peers[2].disk;
    disk.entries
        .retain(|bytes| Entry::decode(&terms, bytes).unwrap().step < Step::Stored);
    disk.notes.clear();
    disk.marks.clear();
    (disk.published, disk.lock) = (None, None);
    sim.mail.clear();
    sim.wake(2);
    let mut seal = sim.said(1, Step::Seal, 1);
    seal.prev = vec![[7; 32]];
    seal.signature = node_key(1).sign(&seal.id(&terms));
    sim.with(2, |o| o.receive(vec![seal]));
    let operator = &sim.peers[2].operator;
    assert_eq!(operator.current_attempt(), 2, "as far as this copy knows");
    assert!(!operator.is_surely_over(1, true), "its vote is with the others");
    assert!(!operator.has_surely_not_voted(1));
    sim.resync(1, 2);
    sim.with(2, Operator::compared);
    assert_eq!(sim.peers[2].operator.current_attempt(), 1);
    assert!(!sim.peers[2].operator.is_surely_over(1, true));
}

#[test]
fn nothing_was_surely_voted_for_only_where_this_process_joined_all_attempts_itself() {
    let mut sim = Sim::new(3, 2, 1, 80);
    let withhold = |step: Step| {
        let forge: crate::testing::Forge =
            Box::new(move |_, _, e| if e.step >= step { vec![] } else { vec![e] });
        Some((0, forge))
    };
    sim.forge = withhold(Step::Reveal);
    sim.start();
    sim.run();
    let surely = |sim: &Sim, attempt| sim.peers[2].operator.has_surely_not_voted(attempt);
    assert!(surely(&sim, 1) && !surely(&sim, 2));
    // Another start has not seen what became of the first attempt elsewhere.
    sim.wake(2);
    sim.with(2, Operator::compared);
    for i in 0..3 {
        sim.with(i, |o| o.consent(2, Reason::ByHand));
    }
    assert!(sim.peers[2].operator.standing().joined.contains(&2));
    assert!(!surely(&sim, 2));
    assert!(sim.peers[1].operator.has_surely_not_voted(2));
    // The vote for an attempt may make a key although this process has joined another one.
    let mut sim = Sim::new(3, 2, 1, 81);
    sim.forge = withhold(Step::Stored);
    sim.start();
    sim.run();
    sim.with(2, |o| o.consent(2, Reason::ByHand));
    assert!(sim.peers[2].operator.standing().joined.contains(&2));
    assert!(!surely(&sim, 1) && !surely(&sim, 2));
}

#[test]
fn what_the_own_journal_shows_to_be_over_is_over_without_the_others() {
    let mut sim = Sim::new(3, 2, 1, 79);
    sim.forge = Some((
        0,
        Box::new(|_, _, e| if e.step > Step::Join { vec![] } else { vec![e] }),
    ));
    sim.start();
    sim.run();
    let evidence = bad_join(&sim, vec![]);
    sim.with(2, |o| o.receive_evidence(evidence));
    assert!(sim.peers[2].operator.is_surely_over(1, true));
    sim.wake(2);
    let operator = &sim.peers[2].operator;
    assert!(operator.is_surely_over(1, true), "nobody has to be there");
    assert!(
        !operator.is_surely_over(1, false),
        "a damaged journal may lack the vote"
    );
}
