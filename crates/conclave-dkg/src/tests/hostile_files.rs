//! Transcripts and evidence that somebody made up: the work of checking them grows as they do, and what is cut out is seen where that
//! can be.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::seals::another;
use crate::board::Board;
use crate::body::{Reason, SealBody, share_is_lost};
use crate::entry::{Entry, Step};
use crate::evidence::{Evidence, Finding, Kind};
use crate::terms::Terms;
use crate::testing::{Sim, node_key};
use crate::transcript::{MAX_ENTRIES, Transcript, TranscriptError};

fn finished(seed: u64) -> Sim {
    finished_with(seed, 1)
}

fn finished_with(seed: u64, validators: usize) -> Sim {
    let mut sim = Sim::new(3, 2, validators, seed);
    sim.start();
    sim.run();
    sim
}

fn whole(sim: &Sim) -> Transcript {
    Transcript::of(sim.peers[1].operator.board(), [2; 32])
}

/// In the order of transcripts, each once.
fn sorted(terms: &Terms, mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by_key(|e| (e.attempt, e.step, e.operator, e.id(terms)));
    entries.dedup_by_key(|e| e.id(terms));
    entries
}

fn number(i: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&i.to_be_bytes());
    bytes
}

fn signed(terms: &Terms, at: ([u8; 32], u32), step: Step, prev: Vec<[u8; 32]>, body: Vec<u8>) -> Entry {
    let at = (at.0, at.1, 1);
    Entry::signed(&node_key(1), terms, at, step, prev, body)
}

/// `count` entries of operator 1 of one hostile kind.
fn hostile(sim: &Sim, kind: usize, count: u32) -> Vec<Entry> {
    let terms = &sim.terms;
    let of = |step: Step| sim.said(1, step, 1);
    let sid = of(Step::Deal).session;
    (0..count)
        .flat_map(|i| match kind {
            // Of a session that does not exist, on entries that do not.
            0 => vec![signed(
                terms,
                ([9; 32], 1),
                Step::Reveal,
                vec![number(i)],
                vec![0; 64],
            )],
            // Of the finished one, on entries that do not exist.
            1 => {
                let prev = [1, 2, 3].map(|j| number(i * 4 + j)).to_vec();
                vec![signed(terms, (sid, 1), Step::Ack, prev, vec![])]
            }
            // Joins without end, all of them right.
            2 => {
                let mut body = of(Step::Join).body;
                body[1..5].copy_from_slice(format!("{i:04}").as_bytes());
                vec![signed(terms, (terms.ctx(1), 1), Step::Join, vec![], body)]
            }
            // And a session for each of them.
            3 => {
                let mut body = of(Step::Join).body;
                body[1..5].copy_from_slice(format!("{i:04}").as_bytes());
                let join = signed(terms, (terms.ctx(1), 1), Step::Join, vec![], body);
                let mut prev = of(Step::Deal).prev;
                prev[0] = join.id(terms);
                let session = terms.sid(1, &prev);
                let deal = signed(terms, (session, 1), Step::Deal, prev, of(Step::Deal).body);
                vec![join, deal.strip(terms)]
            }
            // Attempts without end.
            4 => {
                let k = 2 + i;
                let body = of(Step::Join).body;
                vec![signed(terms, (terms.ctx(k), k), Step::Join, vec![], body)]
            }
            // Complaints.
            5 => {
                let prev = vec![of(Step::Deal).id(terms)];
                vec![signed(terms, (sid, 1), Step::Ack, prev, number(i).to_vec())]
            }
            // Votes, all of them right, each naming something else.
            6 => {
                let mut prev = of(Step::Stored).prev;
                prev[0] = number(i);
                vec![signed(terms, (sid, 1), Step::Stored, prev, of(Step::Stored).body)]
            }
            // Signs, the same.
            7 => {
                let mut prev = of(Step::Sign).prev;
                prev[1] = number(i);
                vec![signed(terms, (sid, 1), Step::Sign, prev, of(Step::Sign).body)]
            }
            // Votes for outputs that nobody knows.
            8 => {
                let prev = [1, 2, 3].map(|j| number(i * 4 + j)).to_vec();
                vec![signed(terms, (sid, 1), Step::Stored, prev, number(i).to_vec())]
            }
            // Seals, all of them right, each with another node signature.
            10 => vec![another(terms, &of(Step::Seal), i.into())],
            // Seals by somebody else's shares.
            11 => {
                let mut seal = another(terms, &of(Step::Seal), i.into());
                let of_other = SealBody::decode(&sim.said(1, Step::Seal, 2).body).unwrap();
                let body = SealBody::decode(&seal.body).unwrap();
                let aggregate = of_other.aggregate;
                seal.body = SealBody { aggregate, ..body }.encode();
                seal.signature = node_key(1).sign(&seal.id(terms));
                vec![seal]
            }
            // Words that its share is lost, and that its files are in place.
            12 => {
                let done = of(Step::Done);
                let mut lost = done.clone();
                lost.body = share_is_lost(&done.session).to_vec();
                lost.signature = node_key(1).sign(&lost.id(terms));
                vec![done, lost]
            }
            // Deals of one session.
            _ => {
                let mut body = of(Step::Deal).body;
                let end = body.len() - 4;
                body[end..].copy_from_slice(&i.to_be_bytes());
                let deal = signed(terms, (sid, 1), Step::Deal, of(Step::Deal).prev, body);
                vec![deal.strip(terms)]
            }
        })
        .collect()
}

#[test]
fn a_transcript_costs_as_much_work_as_it_is_long() {
    // What is added up over all validators is added up once.
    let sim = finished_with(74, 20);
    let honest = whole(&sim);
    for kind in 0..13 {
        for count in [50, 400] {
            let entries = [honest.entries.clone(), hostile(&sim, kind, count)].concat();
            let transcript = Transcript {
                entries: sorted(&sim.terms, entries),
                ..whole(&sim)
            };
            let mut board = Board::of_transcript(sim.terms.clone(), &[0; 32]);
            let _ = transcript.judge(&mut board);
            let most = 6 * transcript.entries.len() as u64;
            assert!(board.work <= most, "kind {kind}: {} for {count}", board.work);
        }
    }
}

#[test]
fn evidence_costs_as_much_work_as_it_is_long() {
    let sim = finished_with(75, 20);
    let board = sim.peers[1].operator.board();
    let honest: Vec<Entry> = board
        .order()
        .iter()
        .map(|id| (*board.get(id).unwrap().entry).clone())
        .collect();
    for kind in 0..13 {
        for count in [50, 400] {
            let entries = [honest.clone(), hostile(&sim, kind, count)].concat();
            let length = entries.len() as u64;
            let evidence = Evidence {
                attempt: 1,
                finding: Finding {
                    operator: 2,
                    kind: Kind::BadEntry,
                },
                headers: vec![],
                entries: entries.into_iter().map(Arc::new).collect(),
            };
            let mut board = Board::offline(sim.terms.clone(), &[0; 32]);
            assert!(!evidence.judge(&mut board), "operator 2 did nothing");
            assert!(
                board.work <= 12 * length,
                "kind {kind}: {} for {count}",
                board.work
            );
        }
    }
}

#[test]
fn no_slot_of_a_transcript_holds_more_than_a_ceremony_can_admit() {
    let sim = finished(79);
    let most = 2 + 8 * 3;
    for (more, holds) in [(most - 1, true), (most, false)] {
        let seals = hostile(&sim, 10, more);
        let transcript = Transcript {
            entries: sorted(&sim.terms, [whole(&sim).entries, seals].concat()),
            ..whole(&sim)
        };
        assert_eq!(transcript.check(&sim.terms, &[0; 32]).is_ok(), holds, "{more}");
    }
}

#[test]
fn what_does_not_hold_ends_the_check_of_a_transcript_soon() {
    let sim = finished(80);
    let transcript = Transcript {
        entries: sorted(
            &sim.terms,
            [whole(&sim).entries, hostile(&sim, 11, 3000)].concat(),
        ),
        ..whole(&sim)
    };
    let mut board = Board::of_transcript(sim.terms.clone(), &[0; 32]);
    assert!(transcript.judge(&mut board).is_err());
    assert!(board.work < 1500, "{}", board.work);
}

#[test]
fn a_transcript_of_more_entries_than_there_can_be_is_refused_unread() {
    let sim = finished(76);
    let mut bytes = whole(&sim).encode();
    let at = 22 + 64;
    let most = u32::try_from(MAX_ENTRIES).unwrap();
    bytes[at..at + 4].copy_from_slice(&(most + 1).to_be_bytes());
    assert_eq!(
        Transcript::decode(&sim.terms, &[2; 32], &bytes).err(),
        Some(TranscriptError::TooLong(MAX_ENTRIES))
    );
}

fn error(sim: &Sim, entries: Vec<Entry>) -> Option<TranscriptError> {
    let transcript = Transcript {
        entries,
        ..whole(sim)
    };
    transcript.check(&sim.terms, &[0; 32]).err()
}

#[test]
fn entries_out_of_order_or_twice_are_no_transcript() {
    let sim = finished(77);
    let entries = whole(&sim).entries;
    assert_eq!(error(&sim, entries.clone()), None);
    let mut swapped = entries.clone();
    swapped.swap(0, 1);
    assert_eq!(error(&sim, swapped), Some(TranscriptError::Order));
    let mut twice = entries.clone();
    twice.insert(0, entries[0].clone());
    assert_eq!(error(&sim, twice), Some(TranscriptError::Order));
    let mut appended = entries.clone();
    appended.extend(hostile(&sim, 0, 3));
    assert_eq!(error(&sim, appended), Some(TranscriptError::Order));
}

/// Attempt 1: everybody reveals, but operator 1 hears of it too late to vote, and only the others do; attempt 2 is finished.
fn second_attempt(seed: u64) -> Sim {
    let mut sim = Sim::new(3, 2, 1, seed);
    let terms = sim.terms.clone();
    sim.start();
    loop {
        let is_early = |bytes: &[u8]| Entry::decode(&terms, bytes).unwrap().step < Step::Reveal;
        sim.mail.retain(|(to, bytes)| *to != 0 || is_early(bytes));
        if !sim.deliver_one() {
            break;
        }
    }
    for i in 0..3 {
        sim.with(i, |o| o.consent(2, Reason::ByHand));
    }
    sim.settle();
    sim
}

#[test]
fn an_attempt_that_somebody_voted_in_cannot_be_cut_out() {
    let sim = second_attempt(73);
    assert!(sim.locks().iter().all(Option::is_some));
    let all = whole(&sim);
    let shown = all.check(&sim.terms, &[0; 32]).unwrap();
    assert_eq!((shown.attempt, &shown.revealed), (2, &BTreeSet::from([1, 2])));
    assert_eq!(shown.earlier, BTreeSet::from([1]));
    // All of attempt 1; its votes; one of its votes; its Reveals.
    let without = |cut: &dyn Fn(&Entry) -> bool| all.entries.iter().filter(|e| !cut(e)).cloned().collect();
    let trimmed = Some(TranscriptError::Trimmed(2));
    assert_eq!(error(&sim, without(&|e| e.attempt == 1)), trimmed);
    let vote = |e: &Entry| e.attempt == 1 && e.step == Step::Stored;
    assert_eq!(error(&sim, without(&|e| vote(e))), trimmed);
    assert_eq!(error(&sim, without(&|e| vote(e) && e.operator == 3)), trimmed);
    let reveal = |e: &Entry| e.attempt == 1 && e.step == Step::Reveal;
    let without_reveals = error(&sim, without(&|e| reveal(e) && e.operator == 1));
    assert!(matches!(without_reveals, Some(TranscriptError::BadEntries(..))));
}

#[test]
fn complaints_in_a_transcript_are_signed_and_about_a_deal() {
    let sim = finished(78);
    let honest = whole(&sim).entries;
    let shown = |complaint: Entry| {
        let transcript = Transcript {
            entries: sorted(&sim.terms, [honest.clone(), vec![complaint]].concat()),
            ..whole(&sim)
        };
        transcript
            .check(&sim.terms, &[0; 32])
            .map(|found| found.complaints)
    };
    let complaint = hostile(&sim, 5, 1).remove(0);
    assert_eq!(shown(complaint.clone()), Ok(BTreeSet::from([(1, 1, 1)])));
    let mut forged = complaint.clone();
    forged.signature[9] ^= 1;
    assert!(shown(forged).is_err());
    let resign = |mut entry: Entry| {
        entry.signature = node_key(1).sign(&entry.id(&sim.terms));
        entry
    };
    let mut about_nothing = complaint.clone();
    about_nothing.prev = vec![number(1)];
    assert!(shown(resign(about_nothing)).is_err());
    let mut short = complaint;
    short.body.pop();
    assert!(shown(resign(short)).is_err());
}
