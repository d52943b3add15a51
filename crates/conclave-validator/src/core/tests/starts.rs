//! What counts as a start, what was forgotten, and twins.

use std::{collections::BTreeSet, sync::Arc};

use rand::RngExt as _;

use crate::{
    core::{Effect, Event, History, Report, Stop},
    wire::Message,
};
use conclave_consensus::messages::Body;
use conclave_slashing::{Progress, Start};

use super::{
    process::Process,
    sim::{Disk, Plan, Sim},
};

/// Slots of an epoch of the simulated chain.
const EPOCH: u64 = 8;

fn plan() -> Plan {
    let mut plan = Plan::new(4, 3);
    // One attestation in each slot.
    plan.validators = 8;
    plan.all_duties = false;
    plan
}

/// Slots in which the first process signed, from a slot on.
fn signed_from(sim: &Sim, slot: u64) -> Vec<u64> {
    let all = sim.nodes[0].signed.iter().map(|(slot, _)| *slot);
    all.filter(|of| *of >= slot).collect()
}

#[test]
fn after_a_restart_shares_sign_from_the_next_epoch_on() {
    let mut sim = Sim::new(1, plan());
    sim.run_to(17);
    // One who could remember more does not answer.
    sim.kill(3);
    sim.kill(0);
    sim.start(0);
    sim.run_to(5 * EPOCH);
    assert_eq!(signed_from(&sim, 18), (3 * EPOCH..=5 * EPOCH).collect::<Vec<_>>());
    assert!(!sim.reported(0, |report| matches!(report, Report::Confirmed)));
    assert!(sim.reported(0, |report| matches!(report, Report::WaitOver)));
}

/// Whoever waits to be told that a node signs, to update the next one, is told once: by the others' word, or by the clock where that
/// changes nothing, as in the last slot of an epoch.
#[test]
fn each_start_says_once_when_it_signs() {
    for (last, by_clock) in [(17, false), (3 * EPOCH - 1, true)] {
        let mut sim = Sim::new(1, plan());
        sim.run_to(last);
        sim.kill(0);
        sim.nodes[0].reports.clear();
        sim.start(0);
        sim.run_to(6 * EPOCH);
        let count = |of: fn(&Report) -> bool| sim.nodes[0].reports.iter().filter(|report| of(report)).count();
        assert_eq!(
            count(|report| matches!(report, Report::WaitOver)),
            usize::from(by_clock),
            "{last}"
        );
        assert_eq!(
            count(|report| matches!(report, Report::Confirmed)),
            usize::from(!by_clock),
            "{last}"
        );
    }
}

/// The others' word comes in the last slot of an epoch, before the first slot that is signed: when that begins, nothing is said of a wait.
#[test]
fn who_is_confirmed_before_its_first_slot_says_nothing_of_the_wait_any_more() {
    let mut process = Process::at(2 * EPOCH - 1, false);
    process.handle(Event::Restarted {
        instance: [17; 16],
        start: Start {
            first_slot: 2 * EPOCH,
            first_target: 4,
        },
    });
    let mut effects = Vec::new();
    for operator in [1, 3, 4] {
        process.greet(operator);
        effects.extend(process.handle(Event::Compared {
            operator,
            remembered: Progress::default(),
            newer: false,
            confirms: Some([17; 16]),
        }));
    }
    for slot in 2 * EPOCH..5 * EPOCH {
        process.now = process.core.chain.time().start_of(slot);
        effects.extend(process.handle(Event::Tick));
    }
    let said: Vec<&Report> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Report(report @ (Report::Confirmed | Report::WaitOver)) => Some(report),
            _ => None,
        })
        .collect();
    assert!(matches!(said[..], [Report::Confirmed]), "{said:?}");
}

#[test]
fn after_a_restart_shares_sign_at_once_when_all_others_confirm() {
    let mut sim = Sim::new(1, plan());
    sim.run_to(17);
    sim.kill(0);
    sim.start(0);
    sim.run_to(5 * EPOCH);
    assert_eq!(signed_from(&sim, 18), (18..=5 * EPOCH).collect::<Vec<_>>());
    assert!(sim.reported(0, |report| matches!(report, Report::Confirmed)));
}

#[test]
fn nobody_confirms_what_was_signed_in_other_software() {
    let mut plan = plan();
    plan.history = History::Partial;
    let mut sim = Sim::new(1, plan);
    sim.run_to(17);
    sim.kill(0);
    sim.start(0);
    sim.run_to(5 * EPOCH);
    assert_eq!(signed_from(&sim, 18), (3 * EPOCH..=5 * EPOCH).collect::<Vec<_>>());
    assert!(!sim.reported(0, |report| matches!(report, Report::Confirmed)));
}

/// Slots and bytes of the first operator's votes and proposals among what was said.
fn voices(sim: &mut Sim) -> BTreeSet<(u64, Vec<u8>)> {
    let said = sim.log.replace(Vec::new()).unwrap_or_default();
    let own = said.iter().filter_map(|(_, said)| match &**said {
        Message::Agreement(message) => {
            let own = match &message.body {
                Body::Vote(vote) => vote.operator == 1,
                Body::Proposal(proposal) => proposal.operator == 1,
                Body::Certificate(_) | Body::Status(_) => false,
            };
            own.then(|| (message.duty.slot, message.encode()))
        }
        _ => None,
    });
    own.collect()
}

#[test]
fn a_start_takes_no_part_in_what_began_before_it() {
    for jump in [false, true] {
        let mut plan = plan();
        plan.proposals = true;
        plan.all_duties = true;
        let mut sim = Sim::new(1, plan);
        sim.run_to(17);
        let mut took_part = 0;
        for slot in (18..34).step_by(2) {
            sim.log = Some(Vec::new());
            sim.begin(slot);
            // Attestations are due after 1,333 ms, a block at once.
            let mid = sim.now + 30 * (slot % 5);
            sim.run_until(mid);
            let before = voices(&mut sim);
            if jump {
                sim.jump(0, 0);
            } else {
                sim.kill(0);
                sim.start(0);
            }
            sim.run_to(slot + 1);
            let after = voices(&mut sim);
            // What it had said before others may still pass on.
            let said: Vec<_> = after.difference(&before).filter(|(of, _)| *of <= slot).collect();
            assert_eq!(said, Vec::<&(u64, Vec<u8>)>::new(), "jump {jump}");
            assert!(after.iter().any(|(of, _)| *of == slot + 1), "{slot}");
            let decided =
                |report: &Report| matches!(report, Report::Decided { duty, .. } if duty.slot == slot);
            took_part += u32::from(sim.reported(0, decided));
        }
        // It follows all the same.
        assert_eq!(took_part, 8, "jump {jump}");
    }
}

#[test]
fn a_dry_run_confirms_nothing_and_shows_what_it_saw() {
    let mut sim = Sim::new(1, plan());
    sim.run_to(17);
    let old = sim.nodes[0].disk.clone();
    sim.kill(3);
    sim.nodes[3].dry = true;
    sim.start(3);
    sim.kill(0);
    sim.start(0);
    sim.run_to(20);
    let confirmed = |report: &Report| matches!(report, Report::Confirmed);
    assert!(!sim.reported(0, confirmed));
    assert!(signed_from(&sim, 18).is_empty());
    // With its database it confirms.
    sim.kill(3);
    sim.nodes[3].dry = false;
    sim.start(3);
    sim.run_to(23);
    assert!(sim.reported(0, confirmed));
    assert_eq!(signed_from(&sim, 18), (21..=23).collect::<Vec<_>>());

    // What others signed while it watched it remembers as long as it is there: nobody else does here.
    let mut sim = Sim::new(1, plan());
    sim.run_to(17);
    sim.kill(3);
    sim.nodes[3].dry = true;
    sim.start(3);
    sim.run_to(20);
    sim.kill(0);
    sim.nodes[0].disk = old;
    for node in 1..3 {
        sim.nodes[node].disk.memory.remove(&1);
        if let Some(core) = &mut sim.nodes[node].core {
            core.forget_memory(1);
        }
    }
    sim.start(0);
    sim.run_to(21);
    let forgotten = |report: &Report| matches!(report, Report::Forgotten { operator: 4 });
    assert!(sim.reported(0, forgotten));
}

#[test]
fn a_new_database_waits_for_two_whole_epochs() {
    let mut sim = Sim::new(1, plan());
    sim.run_to(17);
    sim.kill(0);
    sim.nodes[0].disk = Disk {
        marked: true,
        ..Disk::default()
    };
    sim.start(0);
    sim.run_to(7 * EPOCH);
    // The start was in epoch 2; epochs 3 and 4 pass.
    assert_eq!(signed_from(&sim, 18), (5 * EPOCH..=7 * EPOCH).collect::<Vec<_>>());
    assert!(sim.reported(0, |report| matches!(report, Report::Forgotten { .. })));
}

#[test]
fn a_clock_that_jumps_counts_as_a_start() {
    for by in [9_000, 3_600_000] {
        let mut sim = Sim::new(1, plan());
        sim.run_to(17);
        sim.kill(3);
        sim.run_to(18);
        sim.jump(0, by);
        sim.run_to(21);
        assert!(signed_from(&sim, 19).is_empty());
        // Corrected: the clock goes back, and life goes on.
        sim.jump(0, -by);
        sim.run_to(5 * EPOCH);
        assert_eq!(signed_from(&sim, 19), (3 * EPOCH..=5 * EPOCH).collect::<Vec<_>>());
        assert_eq!(sim.conflicts(), 0);
        assert!(sim.nodes.iter().all(|node| node.stopped.is_none()));
    }
}

/// A machine sleeps, or its clock is set, at every step of every duty: whatever it signs afterwards it has not signed before,
/// nothing conflicts, and when the clock is right again it goes on.
#[test]
fn a_clock_may_jump_at_any_moment_of_a_duty() {
    a_clock_jumps_in_each_part_of_a_slot(8);
}

/// `cargo test --release --lib a_clock_may_jump_at_more_moments_of_a_duty -- --ignored`
#[test]
#[ignore = "minutes; fewer moments are in the test above"]
fn a_clock_may_jump_at_more_moments_of_a_duty() {
    a_clock_jumps_in_each_part_of_a_slot(100);
}

fn a_clock_jumps_in_each_part_of_a_slot(parts: u64) {
    let slot_ms = Sim::new(1, plan()).chain.time().slot_ms;
    let slot = i64::try_from(slot_ms).unwrap();
    for by in [
        slot + 1,
        3 * slot / 2,
        40 * slot,
        -slot - 1,
        -3 * slot / 2,
        -40 * slot,
    ] {
        for part in 0..parts {
            let mut plan = plan();
            plan.proposals = true;
            plan.all_duties = true;
            let mut sim = Sim::new(part, plan);
            sim.run_to(16);
            sim.begin(17);
            let moment = sim.now + part * slot_ms / parts;
            sim.run_until(moment);
            let before = sim.nodes[0].signed.len();
            sim.jump(0, by);
            // By the new clock nothing of a slot that began before the jump.
            let first = sim.chain.time().slot_at(sim.clock(0)).map_or(0, |slot| slot + 1);
            sim.run_to(20);
            let signed = &sim.nodes[0].signed;
            assert!(
                signed[before..].iter().all(|(slot, _)| *slot >= first),
                "{by} {part}: {:?} before {first}",
                &signed[before..]
            );
            sim.jump(0, -by);
            sim.run_to(7 * EPOCH);
            assert_eq!(sim.oracle.twice(1), 0, "{by} {part}");
            let signed = &sim.nodes[0].signed;
            assert!(signed.iter().any(|(slot, _)| *slot > 5 * EPOCH), "{by} {part}");
            assert_eq!(sim.conflicts(), 0, "{by} {part}");
            assert!(sim.nodes.iter().all(|node| node.stopped.is_none()));
        }
    }
}

/// A process is killed at every step of every duty, and starts again at once or later: with all that its disk knew.
#[test]
fn a_process_may_be_killed_at_any_moment_of_a_duty() {
    const PARTS: u64 = 20;
    for down in [0, 1, 2] {
        for part in 0..PARTS {
            let mut plan = plan();
            plan.proposals = true;
            plan.all_duties = true;
            let mut sim = Sim::new(part, plan);
            let slot_ms = sim.chain.time().slot_ms;
            sim.run_to(16);
            sim.begin(17);
            let moment = sim.now + part * slot_ms / PARTS;
            sim.run_until(moment);
            sim.kill(0);
            let later = sim.now + down * slot_ms;
            sim.run_until(later);
            sim.start(0);
            sim.run_to(6 * EPOCH);
            assert_eq!(sim.oracle.twice(1), 0, "{down} {part}");
            let signed = &sim.nodes[0].signed;
            assert!(signed.iter().any(|(slot, _)| *slot > 5 * EPOCH), "{down} {part}");
            assert_eq!(sim.conflicts(), 0, "{down} {part}");
        }
    }
}

#[test]
fn an_answer_from_before_the_start_confirms_nothing() {
    let mut plan = plan();
    plan.delay = (5, 5);
    let mut sim = Sim::new(1, plan);
    sim.run_to(17);
    sim.kill(0);
    sim.start(0);
    // Everybody said hello, and the guard is being compared with what they said. Then the process sleeps.
    let until = sim.now + 1_000;
    while !sim.comparing(0, 3) && sim.now < until {
        let next = sim.now + 1;
        sim.run_until(next);
    }
    assert!(sim.comparing(0, 3));
    (2..=4).for_each(|operator| sim.set_cut(1, operator, true));
    sim.jump(0, 0);
    sim.run_to(20);
    assert!(!sim.reported(0, |report| matches!(report, Report::Confirmed)));
}

#[test]
fn what_was_asked_for_an_earlier_process_confirms_nothing_to_a_later_one() {
    let mut process = Process::at(9, false);
    let compared = |process: &mut Process, operator, of: u8| {
        let effects = process.handle(Event::Compared {
            operator,
            remembered: Progress::default(),
            newer: false,
            confirms: Some([of; 16]),
        });
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Report(Report::Confirmed)))
    };
    process.handle(Event::Restarted {
        instance: [17; 16],
        start: Start {
            first_slot: 10,
            first_target: 2,
        },
    });
    for operator in [1, 3, 4] {
        let asked = process.greet(operator);
        let asks = |effect: &Effect| matches!(effect, Effect::Compare { confirms, .. } if *confirms == Some([17; 16]));
        assert!(asked.iter().any(asks), "{asked:?}");
    }
    // The disk was slow: these are the answers of before the clock jumped.
    assert!(
        ![1, 3, 4]
            .into_iter()
            .any(|operator| compared(&mut process, operator, 1))
    );
    assert!(
        ![1, 3]
            .into_iter()
            .any(|operator| compared(&mut process, operator, 17))
    );
    assert!(compared(&mut process, 4, 17));
}

#[test]
fn a_restored_disk_notices_and_signs_nothing_against_what_it_forgot() {
    for everybody in [false, true] {
        let mut sim = Sim::new(1, plan());
        sim.run_to(9);
        let old = sim.nodes[0].disk.clone();
        sim.run_to(33);
        let before = sim.nodes[0].signed.len();
        sim.forget(0, old, everybody);
        sim.run_to(34);
        let forgotten = sim.reported(0, |report| matches!(report, Report::Forgotten { .. }));
        assert_eq!(forgotten, !everybody);
        let record = sim.nodes[0].disk.records[&0];
        assert_eq!(
            record.attested.is_some_and(|signed| signed.target >= 4),
            !everybody
        );
        sim.run_to(7 * EPOCH);
        let again = &sim.nodes[0].signed[before..];
        assert!(!again.is_empty());
        assert!(
            again
                .iter()
                .all(|signed| !sim.nodes[0].signed[..before].contains(signed))
        );
        assert_eq!(sim.conflicts(), 0);
    }
}

/// Within an epoch the highest target is the same before and after: only how far it has signed shows what is missing.
#[test]
fn a_disk_from_earlier_in_the_same_epoch_is_noticed() {
    let mut sim = Sim::new(1, plan());
    sim.run_to(18);
    let old = sim.nodes[0].disk.clone();
    sim.run_to(20);
    assert_eq!(sim.nodes[0].signed.len(), 21);
    sim.forget(0, old, false);
    sim.run_to(23);
    assert!(sim.reported(0, |report| matches!(report, Report::Forgotten { .. })));
    assert!(!sim.reported(0, |report| matches!(report, Report::Confirmed)));
    assert!(signed_from(&sim, 21).is_empty());
    for validator in 0..8 {
        let attested = sim.nodes[0].disk.records[&validator].attested;
        assert_eq!(attested.map(|signed| signed.target), Some(2), "{validator}");
    }
    sim.run_to(32);
    assert_eq!(signed_from(&sim, 21), (24..=32).collect::<Vec<_>>());
    // Only once: from then on it knows as much as the others.
    let forgotten = |report: &&Report| matches!(report, Report::Forgotten { .. });
    let before = sim.nodes[0].reports.iter().filter(forgotten).count();
    sim.kill(0);
    sim.start(0);
    sim.run_to(36);
    assert_eq!(sim.nodes[0].reports.iter().filter(forgotten).count(), before);
}

#[test]
fn losing_and_finding_each_other_costs_no_signature() {
    let mut sim = Sim::new(1, plan());
    sim.run_to(8);
    for slot in 9..48 {
        sim.begin(slot);
        let mid = sim.now + sim.rng.random_range(0..3_600);
        sim.run_until(mid);
        let other = sim.rng.random_range(2..=4);
        sim.set_cut(1, other, true);
        let back = sim.now + sim.rng.random_range(10..300);
        sim.run_until(back);
        sim.set_cut(1, other, false);
        sim.run_to(slot);
    }
    sim.run_to(49);
    assert!((0..4).all(|place| !sim.reported(place, |report| matches!(report, Report::Forgotten { .. }))));
    assert_eq!(signed_from(&sim, 0), (0..=49).collect::<Vec<_>>());
}

#[test]
fn a_crash_between_the_commit_and_the_send_is_no_forgetting() {
    let mut crashes = 0;
    for seed in 0..4 {
        let mut plan = plan();
        plan.crash_in_guard = 150;
        let mut sim = Sim::new(seed, plan);
        sim.run_to(60);
        for node in &sim.nodes {
            assert!(
                !node
                    .reports
                    .iter()
                    .any(|report| matches!(report, Report::Forgotten { .. }))
            );
            let confirmed = |report: &&Report| matches!(report, Report::Confirmed);
            crashes += node.reports.iter().filter(confirmed).count();
        }
        assert_eq!(sim.conflicts(), 0);
    }
    assert!(crashes > 10, "{crashes}");
}

#[test]
fn twins_see_each_other_and_stop_within_two_slots() {
    for faces in [false, true] {
        for copied in [false, true] {
            let mut sim = Sim::new(1, plan());
            sim.run_to(17);
            let disk = if copied {
                sim.nodes[0].disk.clone()
            } else {
                Disk::default()
            };
            let twin = sim.twin(0, disk, faces);
            sim.run_to(19);
            for place in [0, twin] {
                assert!(
                    matches!(sim.nodes[place].stopped, Some(Stop::Twin(_))),
                    "{faces} {copied}"
                );
            }
            assert!((1..4).all(|place| sim.nodes[place].stopped.is_none()));
            // The others know why it is gone, and are told once.
            for place in 1..4 {
                let told = |report: &&Report| matches!(report, Report::RanTwice { operator: 1 });
                assert_eq!(sim.nodes[place].reports.iter().filter(told).count(), 1, "{place}");
            }
            sim.run_to(5 * EPOCH);
            assert_eq!(sim.conflicts(), 0);
            assert_eq!(sim.attested_in(0..5 * EPOCH).1, 5 * 8);
        }
    }
}

/// One twin talks with operator 3 only, the other with 2 and 4: what they say of themselves goes through 3, which only watches.
#[test]
fn twins_see_each_other_through_a_dry_run() {
    let mut sim = Sim::new(1, plan());
    sim.run_to(17);
    sim.kill(2);
    sim.nodes[2].dry = true;
    sim.start(2);
    let disk = sim.nodes[0].disk.clone();
    let twin = sim.twin(0, disk, true);
    sim.run_to(20);
    for place in [0, twin] {
        assert!(matches!(sim.nodes[place].stopped, Some(Stop::Twin(_))));
    }
    assert!((1..4).all(|place| sim.nodes[place].stopped.is_none()));
}

#[test]
fn restarts_and_replays_stop_nobody() {
    let mut sim = Sim::new(1, plan());
    sim.log = Some(Vec::new());
    for slot in 0..48 {
        sim.run_to(slot);
        if slot % 5 == 4 {
            sim.kill(0);
            sim.start(0);
        }
        if slot % 7 == 6 {
            sim.jump(0, if slot % 2 == 0 { 4_500 } else { -4_500 });
        }
        let said: Vec<Arc<Message>> = sim.log.iter().flatten().map(|(_, said)| said.clone()).collect();
        for alive in said.iter().filter(|said| matches!(***said, Message::Alive(_))) {
            sim.feed(0, 2, (**alive).clone());
        }
    }
    assert!(sim.nodes.iter().all(|node| node.stopped.is_none()));
    let twice = |report: &Report| matches!(report, Report::RanTwice { .. });
    assert!((0..4).all(|place| !sim.reported(place, twice)));
}
