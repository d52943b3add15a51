//! What is told of a slot's duties when it is over.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::{Account, Cause, Missed, Report};
use conclave_eth::duty::Purpose;
use conclave_slashing::{Attested, Record};

use super::sim::{Plan, Sim};

fn plan() -> Plan {
    let mut plan = Plan::new(4, 3);
    // One attestation in each slot.
    plan.validators = 8;
    plan
}

/// What a process told, by slot: who was away, and the duties. Each slot is told of once.
fn told(sim: &Sim, place: usize) -> BTreeMap<u64, (BTreeSet<u16>, Vec<Account>)> {
    let mut all = BTreeMap::new();
    for report in &sim.nodes[place].reports {
        if let Report::Over { slot, away, duties } = report {
            assert!(!duties.is_empty(), "slot {slot}");
            let before = all.insert(*slot, (away.clone(), duties.clone()));
            assert!(before.is_none(), "slot {slot} twice");
        }
    }
    all
}

fn of(duties: &[Account], purpose: Purpose) -> &Account {
    duties
        .iter()
        .find(|duty| duty.purpose == purpose)
        .unwrap_or_else(|| panic!("no {purpose:?} in {duties:?}"))
}

#[test]
fn each_slot_is_told_of_at_its_end_with_everybody_who_signed() {
    let mut sim = Sim::new(1, plan());
    sim.run_to(30);
    let next = sim.chain.time().start_of(31) + 10;
    sim.run_until(next);
    for place in 0..4 {
        let told = told(&sim, place);
        assert_eq!(
            told.keys().copied().collect::<Vec<_>>(),
            (0..=30).collect::<Vec<_>>()
        );
        let mut aggregates = 0;
        // What is made ahead for the first epochs may be said before everybody was greeted.
        for (away, duties) in told.range(16..).map(|(_, told)| told) {
            assert_eq!(*away, BTreeSet::new());
            for duty in duties {
                assert_eq!(duty.signed, duty.validators);
                assert!(duty.decision.is_some() && duty.signed_times.is_some());
                // Whoever came after the third, too.
                assert_eq!(duty.partials, [1, 2, 3, 4].into(), "{duty:?}");
            }
            of(duties, Purpose::Attestation);
            for purpose in [Purpose::SyncMessage, Purpose::Contribution] {
                assert_eq!(of(duties, purpose).validators, [0].into());
            }
            aggregates += usize::from(duties.iter().any(|duty| duty.purpose == Purpose::Aggregate));
        }
        assert!(aggregates > 0);
    }
}

#[test]
fn who_is_off_is_named() {
    let mut sim = Sim::new(1, plan());
    sim.kill(2);
    sim.run_to(20);
    for (slot, (away, duties)) in told(&sim, 0) {
        assert_eq!(away, [3].into(), "slot {slot}");
        let duty = of(&duties, Purpose::Attestation);
        assert_eq!(duty.partials, [1, 2, 4].into());
        assert!(duty.voters.is_subset(&[1, 2, 4].into()) && duty.voters.len() >= 3);
    }
}

#[test]
fn what_was_never_agreed_on_is_told_one_slot_later_with_who_voted() {
    let mut sim = Sim::new(1, plan());
    sim.run_to(7);
    sim.kill(2);
    sim.kill(3);
    sim.run_to(20);
    let before = told(&sim, 0);
    assert_eq!(before.keys().next_back(), Some(&18));
    let next = sim.chain.time().start_of(21) + 10;
    sim.run_until(next);
    let told = told(&sim, 0);
    assert_eq!(told.keys().next_back(), Some(&19));
    for slot in 9..=19 {
        let (away, duties) = &told[&slot];
        assert_eq!(*away, [3, 4].into());
        for purpose in [Purpose::Attestation, Purpose::SyncMessage] {
            let duty = of(duties, purpose);
            assert_eq!((duty.decision, duty.signed_times), (None, None));
            assert_eq!(
                (&duty.signed, &duty.partials),
                (&BTreeSet::new(), &BTreeSet::new())
            );
            assert_eq!(duty.voters, [1, 2].into());
            assert!(!duty.unanswered);
        }
    }
}

#[test]
fn a_beacon_node_without_an_answer_is_told_of() {
    let mut plan = plan();
    plan.silent.insert(1);
    // It tells of its blocks as soon as the others tell of theirs, and is asked.
    plan.arrival = (600, 601);
    let mut sim = Sim::new(1, plan);
    sim.run_to(20);
    let told_by = |place| -> Vec<bool> {
        told(&sim, place)
            .values()
            .map(|(_, duties)| of(duties, Purpose::Attestation).unanswered)
            .collect()
    };
    assert!(told_by(0).len() > 18 && told_by(0).iter().all(|unanswered| *unanswered));
    assert!(told_by(1).iter().all(|unanswered| !unanswered));
    // The others go on without it, and it signs what they decide.
    for (_, duties) in told(&sim, 0).values() {
        assert_eq!(of(duties, Purpose::Attestation).partials, [1, 2, 3, 4].into());
    }
}

#[test]
fn what_is_agreed_on_and_not_signed_is_told() {
    let mut sim = Sim::new(1, plan());
    sim.run_to(17);
    // All have just started, and one is off: attestations wait for the next epoch.
    sim.kill(3);
    for place in 0..3 {
        sim.kill(place);
        sim.start(place);
    }
    sim.run_to(30);
    let told = told(&sim, 0);
    for slot in 18..24 {
        let duty = of(&told[&slot].1, Purpose::Attestation);
        assert!(duty.decision.is_some(), "slot {slot}");
        assert_eq!((duty.signed.len(), duty.partials.len()), (0, 0));
    }
    assert!(!of(&told[&25].1, Purpose::Attestation).signed.is_empty());
}

#[test]
fn a_jump_of_the_clock_drops_nothing_untold() {
    let mut sim = Sim::new(1, plan());
    sim.run_to(12);
    sim.kill(2);
    sim.kill(3);
    sim.run_to(16);
    sim.jump(0, 9_000);
    sim.run_to(17);
    let told = told(&sim, 0);
    assert_eq!(
        told.keys().copied().collect::<Vec<_>>(),
        (0..=16).collect::<Vec<_>>()
    );
}

#[test]
fn who_stood_still_invents_no_causes() {
    let mut sim = Sim::new(1, plan());
    sim.run_to(17);
    let middle = sim.chain.time().start_of(18) + 1_000;
    sim.run_until(middle);
    // Until some time in slot 22.
    let slot_ms = sim.chain.time().slot_ms;
    sim.freeze(0, 4 * slot_ms);
    sim.run_to(30);
    let mut unseen = BTreeSet::new();
    for (slot, (_, duties)) in told(&sim, 0).range(16..) {
        for missed in duties.iter().flat_map(|duty| &duty.missed) {
            assert_eq!(missed.cause, Cause::Unseen, "slot {slot}: {missed:?}");
            unseen.insert(*slot);
        }
    }
    assert!(unseen.is_superset(&(19..=21).collect()), "{unseen:?}");
    assert!(unseen.is_subset(&(17..=22).collect()), "{unseen:?}");
    // Nothing was missed: the others did it.
    for (slot, (_, duties)) in told(&sim, 1).range(16..) {
        assert!(duties.iter().all(|duty| duty.missed.is_empty()), "slot {slot}");
    }
}

#[test]
fn whose_clock_jumped_invents_no_causes() {
    let mut sim = Sim::new(1, plan());
    sim.run_to(17);
    let middle = sim.chain.time().start_of(18) + 1_000;
    sim.run_until(middle);
    sim.jump(0, 60_000);
    sim.run_to(19);
    let (_, duties) = &told(&sim, 0)[&18];
    let mut missed = duties.iter().flat_map(|duty| &duty.missed).peekable();
    assert!(missed.peek().is_some());
    assert!(missed.all(|missed| missed.cause == Cause::Unseen), "{duties:?}");
}

/// The causes that a process told of for a purpose, from slot 16 on.
fn causes(sim: &Sim, place: usize, purpose: Purpose) -> Vec<Option<Cause>> {
    let told = told(sim, place);
    told.range(16..)
        .map(|(_, (_, duties))| cause(of(duties, purpose)))
        .collect()
}

/// The cause for all validators of a duty; none if nothing was missed.
fn cause(duty: &Account) -> Option<Cause> {
    match &duty.missed[..] {
        [] => None,
        [all] => Some(all.cause),
        several => panic!("{several:?}"),
    }
}

#[test]
fn what_went_well_has_no_cause_to_be_missed() {
    let mut sim = Sim::new(1, plan());
    sim.run_to(30);
    for (slot, (_, duties)) in told(&sim, 0) {
        assert!(
            duties.iter().all(|duty| duty.missed.is_empty()),
            "slot {slot}: {duties:?}"
        );
    }
}

#[test]
fn a_beacon_node_that_answers_after_the_slot_is_told_as_that() {
    let mut plan = plan();
    // Due at 2667 of 4000 ms.
    plan.contributions_after = 1_700;
    let mut sim = Sim::new(1, plan);
    sim.run_to(40);
    let mut late = 0;
    for place in 0..4 {
        let causes = causes(&sim, place, Purpose::Contribution);
        assert!(causes.len() > 20);
        for cause in &causes {
            let of_time = matches!(
                cause,
                Some(Cause::AnsweredLate | Cause::AgreedLate { .. } | Cause::Disagreed)
            );
            assert!(of_time, "{causes:?}");
        }
        late += causes
            .iter()
            .filter(|cause| **cause == Some(Cause::AnsweredLate))
            .count();
        for (_, duties) in told(&sim, place).values() {
            let duty = of(duties, Purpose::Contribution);
            assert!(duty.answered_in_ms.is_none_or(|took| took == 1_700), "{duty:?}");
        }
        // Nothing else suffers.
        assert!(
            self::causes(&sim, place, Purpose::SyncMessage)
                .iter()
                .all(Option::is_none)
        );
    }
    assert!(late > 20, "{late}");
}

#[test]
fn what_the_leaders_beacon_node_left_out_is_told_as_that() {
    let mut plan = plan();
    plan.incomplete = [2].into();
    let mut sim = Sim::new(1, plan);
    sim.run_to(40);
    for place in 0..4 {
        let causes: BTreeSet<Option<Cause>> =
            causes(&sim, place, Purpose::Contribution).into_iter().collect();
        assert_eq!(causes, [None, Some(Cause::LeftOut { leader: 2 })].into());
    }
}

#[test]
fn operators_who_are_missing_or_may_not_sign_are_told_as_that() {
    let mut few = Sim::new(1, plan());
    few.run_to(12);
    few.kill(2);
    few.kill(3);
    few.run_to(30);
    let last = *causes(&few, 0, Purpose::Attestation).last().unwrap();
    assert_eq!(last, Some(Cause::FewVoters));
    let mut silent = plan();
    silent.failing = [1, 2, 3, 4].into();
    let mut silent = Sim::new(1, silent);
    silent.run_to(30);
    let last = *causes(&silent, 0, Purpose::Attestation).last().unwrap();
    assert_eq!(last, Some(Cause::Unanswered));
    // All have just started.
    let mut waits = Sim::new(1, plan());
    waits.run_to(17);
    waits.kill(3);
    for place in 0..3 {
        waits.kill(place);
        waits.start(place);
    }
    waits.run_to(30);
    assert_eq!(
        cause(of(&told(&waits, 0)[&20].1, Purpose::Attestation)),
        Some(Cause::Refused)
    );
    // Those who wait say so; the one who does not tells that few signed.
    let mut others = Sim::new(1, plan());
    others.run_to(17);
    for place in 2..4 {
        others.kill(place);
    }
    for place in 2..4 {
        others.nodes[place].disk.marked = true;
        others.start(place);
    }
    others.set_cut(3, 4, true);
    others.run_to(22);
    let duty = of(&told(&others, 0)[&20].1, Purpose::Attestation).clone();
    assert_eq!(
        (cause(&duty), duty.partials),
        (Some(Cause::FewSigners), [1, 2].into())
    );
}

#[test]
fn of_validators_that_were_missed_the_cause_and_who_signed_are_told_for_each() {
    let mut plan = plan();
    // Two attest in each slot: one and the eighth after it.
    plan.validators = 16;
    let mut sim = Sim::new(1, plan);
    sim.run_to(17);
    for place in [1, 2] {
        for validator in 8..16 {
            let record = sim.nodes[place].disk.records.entry(validator).or_default();
            let attested = Some(Attested {
                source: 0,
                target: 99,
            });
            *record = record.raised(Record {
                block: None,
                attested,
            });
        }
    }
    sim.run_to(40);
    for (place, expected) in [(0, Cause::FewSigners), (1, Cause::Refused)] {
        let told = told(&sim, place);
        for (slot, (_, duties)) in told.range(25..39) {
            let duty = of(duties, Purpose::Attestation);
            let (one, other): (BTreeSet<u32>, BTreeSet<u32>) =
                duty.validators.iter().partition(|of| **of < 8);
            assert_eq!(
                (one.len(), other.len(), &duty.signed),
                (1, 1, &one),
                "slot {slot}"
            );
            // All four signed for the other one: that says nothing of this one.
            assert_eq!(duty.partials, [1, 2, 3, 4].into());
            let missed = Missed {
                cause: expected,
                validators: other,
                partials: [1, 4].into(),
                differ: BTreeSet::new(),
            };
            assert_eq!(duty.missed, [missed], "slot {slot}");
        }
    }
}

#[test]
fn a_slashing_protection_that_does_not_answer_has_not_refused() {
    let mut plan = plan();
    plan.unguarded.insert(1);
    let mut sim = Sim::new(1, plan);
    sim.run_to(7);
    sim.kill(1);
    sim.run_to(30);
    for (place, expected) in [(0, Cause::Unguarded), (2, Cause::FewSigners)] {
        for (slot, (_, duties)) in told(&sim, place).range(10..29) {
            let duty = of(duties, Purpose::Attestation);
            assert_eq!(
                (cause(duty), &duty.missed[0].partials),
                (Some(expected), &[3, 4].into()),
                "slot {slot}"
            );
        }
    }
}
