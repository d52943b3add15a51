//! Folders that were restored from a backup.

use rand::RngExt as _;

use crate::{
    core::{ChainClock, Report, Restoring},
    wire::Message,
};
use conclave_slashing::{Attested, Progress};

use super::sim::{Disk, Plan, Sim};

/// Slots of an epoch of the simulated chain.
const EPOCH: u64 = 8;

fn plan(n: u16, t: u16) -> Plan {
    let mut plan = Plan::new(n, t);
    plan.validators = 8;
    plan.proposals = true;
    plan
}

/// What the first operator's restored folder knows: nothing.
fn empty() -> Disk {
    Disk {
        restored: true,
        ..Disk::default()
    }
}

/// The first operator loses its folder in this slot, and a backup of it is started.
fn restore(sim: &mut Sim) {
    sim.kill(0);
    sim.nodes[0].disk = empty();
    sim.start(0);
}

/// Slots in which the first operator signed what can be slashed, from a slot on.
fn signed_from(sim: &Sim, slot: u64) -> Vec<u64> {
    let all = sim.nodes[0].signed.iter().map(|(slot, _)| *slot);
    all.filter(|of| *of >= slot).collect()
}

/// Whether the first operator's share signed anything at all for slots from here on, by what the others were sent.
fn said_from(sim: &mut Sim, slot: u64) -> bool {
    let said = sim.log.replace(Vec::new()).unwrap_or_default();
    said.iter().any(|(from, message)| {
        *from == 1
            && match &**message {
                Message::Partials(partials) => {
                    partials.header().slot >= slot || partials.header().slot + EPOCH >= slot
                }
                Message::Agreement(message) => {
                    use conclave_consensus::messages::Body;
                    let own = match &message.body {
                        Body::Vote(vote) => vote.operator == 1,
                        Body::Proposal(proposal) => proposal.operator == 1,
                        Body::Certificate(_) | Body::Status(_) => false,
                    };
                    own && message.duty.slot >= slot
                }
                _ => false,
            }
    })
}

fn restoring(sim: &Sim) -> Vec<&Restoring> {
    let reports = sim.nodes[0].reports.iter();
    reports
        .filter_map(|report| match report {
            Report::Restoring(restoring) => Some(restoring),
            _ => None,
        })
        .collect()
}

#[test]
fn a_restored_folder_waits_for_everybody_and_then_for_two_epochs() {
    let mut sim = Sim::new(1, plan(4, 3));
    sim.run_to(17);
    sim.kill(3);
    restore(&mut sim);
    sim.log = Some(Vec::new());
    sim.run_to(30);
    assert!(signed_from(&sim, 18).is_empty());
    assert!(
        !said_from(&mut sim, 18),
        "nothing is signed, not even what cannot be slashed"
    );
    let told = restoring(&sim);
    let last = told.last().unwrap();
    assert_eq!((&last.missing, &last.answered), (&[4].into(), &[2, 3].into()));
    assert!(told.iter().all(|restoring| restoring.start.is_none()));
    // The last one comes in epoch 4: epochs 5 and 6 pass.
    sim.run_to(34);
    sim.start(3);
    sim.run_to(7 * EPOCH - 1);
    assert!(signed_from(&sim, 18).is_empty());
    assert!(!said_from(&mut sim, 18));
    let start = restoring(&sim).last().unwrap().start.unwrap();
    assert_eq!((start.first_slot, start.first_target), (7 * EPOCH, 7));
    assert!(sim.nodes[0].disk.restored, "the mark stays until it signs");
    sim.run_to(9 * EPOCH);
    let again = signed_from(&sim, 18);
    for slot in 7 * EPOCH..=9 * EPOCH {
        assert!(again.contains(&slot), "{slot}: {again:?}");
    }
    assert!(!sim.nodes[0].disk.restored);
    assert!(said_from(&mut sim, 7 * EPOCH));
    assert_eq!((sim.oracle.twice(1), sim.conflicts()), (0, 0));
    assert!(!sim.reported(0, |report| matches!(
        report,
        Report::Confirmed | Report::Forgotten { .. }
    )));
    // The others did not notice, but for one operator less.
    let (due, came) = sim.attested_in(36..9 * EPOCH);
    assert_eq!(due, came);
}

#[test]
fn everybody_must_be_there_at_the_same_time_and_a_dry_run_tells_nothing() {
    let mut sim = Sim::new(1, plan(4, 3));
    sim.run_to(17);
    sim.kill(3);
    restore(&mut sim);
    sim.run_to(19);
    // One comes, and another one is gone by then.
    sim.set_cut(1, 2, true);
    sim.run_to(20);
    sim.start(3);
    sim.run_to(22);
    assert!(restoring(&sim).last().unwrap().start.is_none());
    // Who only watches remembers nothing.
    sim.kill(2);
    sim.nodes[2].dry = true;
    // Until it is noticed that it is gone it counts as there.
    sim.run_to(23);
    sim.start(2);
    sim.set_cut(1, 2, false);
    sim.run_to(25);
    let last = restoring(&sim);
    let last = last.last().unwrap();
    assert!(last.start.is_none() && last.missing == [3].into(), "{last:?}");
    sim.kill(2);
    sim.nodes[2].dry = false;
    sim.start(2);
    sim.run_to(27);
    assert!(restoring(&sim).last().unwrap().start.is_some());
}

#[test]
fn who_is_excused_by_name_is_not_waited_for_as_long_as_t_others_answer() {
    // 3 of 5: four others, of whom one may be missing. 3 of 4: none.
    for (n, t, excused, signs) in [
        (5, 3, vec![5], true),
        (5, 3, vec![4], false),
        (5, 3, vec![], false),
        (5, 3, vec![2, 3, 4, 5], true),
        (4, 3, vec![4], false),
        (4, 3, vec![2, 3, 4], false),
    ] {
        let mut plan = plan(n, t);
        plan.excused = excused.iter().copied().collect();
        let mut sim = Sim::new(1, plan);
        sim.run_to(17);
        sim.kill(usize::from(n) - 1);
        restore(&mut sim);
        sim.run_to(7 * EPOCH);
        let started = restoring(&sim).last().unwrap().start.is_some();
        assert_eq!(started, signs, "{n} {t} {excused:?}");
        assert_eq!(!signed_from(&sim, 18).is_empty(), signs, "{n} {t} {excused:?}");
        let last = restoring(&sim);
        let last = last.last().unwrap();
        if signs {
            assert!(last.excused == [5].into() && last.answered.len() >= usize::from(t));
        } else {
            assert!(last.missing.contains(&n), "{last:?}");
        }
        assert_eq!(sim.oracle.twice(1), 0);
    }
    // Who is excused is none of those who are missed, from the start.
    let mut plan1 = plan(5, 3);
    plan1.excused = [5].into();
    let mut sim = Sim::new(1, plan1);
    sim.run_to(17);
    (2..5).for_each(|place| sim.kill(place));
    restore(&mut sim);
    sim.run_to(20);
    let last = restoring(&sim);
    let last = last.last().unwrap();
    assert_eq!((&last.missing, &last.excused), (&[3, 4].into(), &[5].into()));
    // Two of four are missing, and both are excused: two answers are too few.
    let mut plan = plan(5, 3);
    plan.excused = [4, 5].into();
    let mut sim = Sim::new(1, plan);
    sim.run_to(17);
    sim.kill(4);
    sim.kill(3);
    restore(&mut sim);
    sim.run_to(5 * EPOCH);
    assert!(restoring(&sim).last().unwrap().start.is_none());
    sim.start(3);
    sim.run_to(9 * EPOCH);
    assert!(restoring(&sim).last().unwrap().start.is_some());
}

/// A restored process is killed, or its clock jumps, at any moment: it waits anew, and the mark stays until it has signed.
#[test]
fn restarts_at_any_moment_shorten_nothing() {
    for seed in 0..6 {
        let mut sim = Sim::new(seed, plan(4, 3));
        sim.run_to(17);
        restore(&mut sim);
        let mut last = 17;
        for slot in 18..44 {
            sim.begin(slot);
            let mid = sim.now + sim.rng.random_range(0..3_600);
            sim.run_until(mid);
            match sim.rng.random_range(0..10) {
                0 => {
                    sim.kill(0);
                    sim.start(0);
                    last = slot;
                }
                1 => {
                    sim.jump(0, 0);
                    last = slot;
                }
                _ => {}
            }
            sim.run_to(slot);
            let first = (last / EPOCH + 3) * EPOCH;
            let early: Vec<u64> = signed_from(&sim, 18)
                .into_iter()
                .filter(|slot| *slot < first)
                .collect();
            if sim.nodes[0].disk.restored || !early.is_empty() {
                assert_eq!(
                    early,
                    Vec::<u64>::new(),
                    "seed {seed}, slot {slot}, last start {last}"
                );
            }
            if !signed_from(&sim, 18).is_empty() {
                break;
            }
        }
        sim.run_to(12 * EPOCH);
        assert!(!signed_from(&sim, 18).is_empty(), "{seed}");
        assert_eq!((sim.oracle.twice(1), sim.conflicts()), (0, 0), "{seed}");
    }
}

/// Nobody shows what it remembers, whether it lies or has lost it, and the chain goes back to an older justified checkpoint: no
/// share signs twice or around what it signed before all the same.
#[test]
fn nothing_slashable_is_signed_even_if_everybody_hides_what_was_signed() {
    let mut again = 0;
    for seed in 0..4 {
        for older in [0, 3, 5] {
            let mut plan = plan(4, 3);
            plan.hiding = [2, 3, 4].into();
            let mut sim = Sim::new(seed, plan);
            let lost = 17 + seed;
            sim.run_to(lost);
            restore(&mut sim);
            sim.justify(older);
            sim.run_to(12 * EPOCH);
            // What it signed before the loss and after it.
            assert_eq!((sim.oracle.twice(1), sim.conflicts()), (0, 0), "{seed} {older}");
            again += usize::from(!signed_from(&sim, lost + 1).is_empty());
            // The bound that needs nobody's word.
            let first = restoring(&sim).last().unwrap().start.unwrap().first_target;
            let epoch = first - 3;
            for record in sim.nodes[0].disk.records.values() {
                let attested = record.attested.unwrap();
                assert!(attested.source >= epoch && attested.target >= epoch + 2);
                assert!(record.block.unwrap() >= first * EPOCH - 1);
            }
        }
    }
    assert!(again >= 8, "{again}");
}

/// The folder is restarted once and again before it signs, while everybody hides what was signed: the source that was raised at first
/// stays, so that the share signs again with what is justified since, and nothing slashable is signed.
#[test]
fn restarts_of_a_restored_folder_raise_no_source_again() {
    for seed in 0..6 {
        let mut plan = plan(4, 3);
        plan.hiding = [2, 3, 4].into();
        let mut sim = Sim::new(seed, plan);
        let lost = 4 * EPOCH + seed;
        sim.run_to(lost);
        restore(&mut sim);
        sim.run_to(lost + 3);
        let raised = highest_of(&sim).unwrap();
        let first = restoring(&sim).last().unwrap().start.unwrap().first_target - 3;
        assert_eq!((raised.source, raised.target), (first, first + 2), "{seed}");
        let mut restarts = 0;
        while sim.slot() < 10 * EPOCH {
            let wait = sim.rng.random_range(2..2 * EPOCH);
            let slot = sim.slot() + wait;
            sim.run_to(slot);
            assert!(signed_from(&sim, lost + 1).is_empty(), "{seed}");
            if sim.rng.random_range(0..3) == 0 {
                sim.jump(0, 0);
            } else {
                sim.kill(0);
                sim.start(0);
            }
            restarts += 1;
        }
        assert!(restarts > 3);
        let slot = sim.slot() + 3;
        sim.run_to(slot);
        // Nothing newer than the epoch of the first answers is justified for long.
        let again = restoring(&sim).last().unwrap().start.unwrap().first_target;
        sim.justify(again - 2 - first);
        let raised = highest_of(&sim).unwrap();
        assert_eq!((raised.source, raised.target), (first, again - 1), "{seed}");
        sim.run_to(slot + 6 * EPOCH);
        let signed = signed_from(&sim, lost + 1);
        assert!(!signed.is_empty(), "{seed}: it signs with what is justified");
        assert!(signed.iter().all(|slot| *slot >= again * EPOCH), "{seed}");
        assert_eq!((sim.oracle.twice(1), sim.conflicts()), (0, 0), "{seed}");
    }
}

/// An old copy of a restored folder that has signed since: what is shown of it, before the raise or long after it, raises the source as if
/// the folder had been restored just now, and nothing slashable is signed whatever else is hidden.
#[test]
fn a_restored_folder_that_signed_elsewhere_is_raised_anew() {
    for late in [false, true] {
        let mut plan = plan(5, 3);
        plan.excused = [5].into();
        // All that is not hidden is what the last one was sent.
        plan.hiding = [2, 3, 4].into();
        let mut sim = Sim::new(1, plan);
        let lost = 2 * EPOCH + 1;
        sim.run_to(lost);
        restore(&mut sim);
        sim.run_to(lost + 3);
        let old = sim.nodes[0].disk.clone();
        let first = highest_of(&sim).unwrap().source;
        assert!(old.restored && old.restoration.is_some());
        sim.run_to(9 * EPOCH);
        assert!(!signed_from(&sim, lost + 1).is_empty());
        sim.kill(0);
        sim.nodes[0].disk = old;
        if late {
            sim.kill(4);
        }
        sim.run_to(9 * EPOCH + 2);
        sim.start(0);
        sim.run_to(9 * EPOCH + 4);
        let raised = highest_of(&sim).unwrap();
        if late {
            // It waits, and nobody has shown anything yet.
            assert_eq!((raised.source, raised.target), (first, 11));
            sim.start(4);
            sim.run_to(9 * EPOCH + 7);
        }
        let raised = highest_of(&sim).unwrap();
        assert_eq!((raised.source, raised.target), (9, 11), "{late}");
        assert_eq!(sim.nodes[0].disk.restoration.is_none(), late);
        sim.justify(4);
        sim.run_to(18 * EPOCH);
        assert_eq!((sim.oracle.twice(1), sim.conflicts()), (0, 0), "{late}");
        assert!(!signed_from(&sim, 12 * EPOCH).is_empty(), "{late}");
    }
}

/// One of the others signs whatever it likes, shows two faces, and hides what it was sent: with the restored share it still cannot
/// make two signatures of the group that conflict.
#[test]
fn a_liar_among_the_others_gets_nothing_slashable_out_of_a_restored_folder() {
    let mut again = 0;
    for seed in 0..6 {
        let mut plan = plan(4, 3);
        plan.liars = [4].into();
        plan.mischief = 200;
        plan.hiding = [4].into();
        let mut sim = Sim::new(seed, plan);
        let lost = 17 + 2 * seed;
        sim.run_to(lost);
        restore(&mut sim);
        sim.justify([0, 3, 5][usize::try_from(seed % 3).unwrap()]);
        sim.run_to(11 * EPOCH);
        assert_eq!((sim.oracle.twice(1), sim.conflicts()), (0, 0), "{seed}");
        let again_signed = signed_from(&sim, lost + 1);
        let first = (lost / EPOCH + 3) * EPOCH;
        assert!(
            again_signed.iter().all(|slot| *slot >= first),
            "{seed}: {again_signed:?}"
        );
        again += usize::from(!again_signed.is_empty());
    }
    assert!(again >= 3, "{again}");
}

/// What the others show counts even by a clock that is behind, by which nothing else happens.
#[test]
fn what_others_show_is_never_signed_below() {
    let mut sim = Sim::new(3, plan(4, 3));
    sim.run_to(5 * EPOCH);
    // Its own clock is an hour behind: it thinks that the chain has not begun.
    restore(&mut sim);
    sim.jump(0, -3_600_000);
    sim.run_to(5 * EPOCH + 4);
    assert_eq!(highest_of(&sim).map(|a| a.target), Some(5));
    sim.jump(0, 3_600_000);
    sim.run_to(12 * EPOCH);
    assert_eq!((sim.oracle.twice(1), sim.conflicts()), (0, 0));
    assert!(!signed_from(&sim, 5 * EPOCH + 1).is_empty());
}

/// The highest source and target of the first operator's records.
fn highest_of(sim: &Sim) -> Option<Attested> {
    let attested = sim.nodes[0]
        .disk
        .records
        .values()
        .filter_map(|record| record.attested);
    attested.reduce(|a, b| Attested {
        source: a.source.max(b.source),
        target: a.target.max(b.target),
    })
}

/// A clock is off while the others answer, who hide all that they can: by half an epoch it does no harm, by more
/// nothing is raised by it, and once it is right all is as it should be.
#[test]
fn a_clock_that_is_off_raises_nothing_that_is_too_low_or_for_ever_too_high() {
    let half = i64::try_from(EPOCH).unwrap() / 2;
    let (lost, year) = (4 * EPOCH + 1, 365 * 7_200);
    for skew in [-half - 1, 1 - half, half - 1, year] {
        let mut plan = plan(4, 3);
        plan.hiding = [2, 3, 4].into();
        let mut sim = Sim::new(0, plan);
        sim.run_to(lost);
        let signed = highest_of(&sim).unwrap();
        let block = sim.nodes[0]
            .disk
            .records
            .values()
            .filter_map(|record| record.block)
            .max();
        sim.kill(0);
        sim.nodes[0].disk = empty();
        let by = skew * i64::try_from(sim.chain.time().slot_ms).unwrap();
        sim.plan.skew.insert(1, by);
        sim.start(0);
        sim.run_to(lost + 3);
        let agrees = skew.abs() < half;
        let told = restoring(&sim);
        let last = told.last().unwrap();
        assert_eq!(last.start.is_some(), agrees, "{skew}: {last:?}");
        if agrees {
            assert_eq!(sim.nodes[0].disk.records.len(), 8);
            for record in sim.nodes[0].disk.records.values() {
                let raised = record.attested.unwrap();
                // Whatever is permitted from here on has a source that is not lower, and a higher target.
                assert!(raised.source >= signed.source, "{skew}: {raised:?} {signed:?}");
                assert!(raised.target >= signed.target, "{skew}: {raised:?} {signed:?}");
                assert!(record.block >= block, "{skew}");
                assert!(raised.target <= (lost + 4) / EPOCH + 3, "{skew}: {raised:?}");
            }
        } else {
            assert_eq!(
                (&last.clocks, &last.missing),
                (&[2, 3, 4].into(), &[2, 3, 4].into()),
                "{skew}"
            );
            assert!(last.answered.is_empty());
            assert_eq!(highest_of(&sim), None, "{skew}: nothing was raised");
        }
        // It is set right.
        sim.jump(0, -by);
        sim.run_to(9 * EPOCH);
        assert!(!signed_from(&sim, lost + 1).is_empty(), "{skew}");
        assert_eq!((sim.oracle.twice(1), sim.conflicts()), (0, 0), "{skew}");
    }
}

/// One of the others has a wrong clock: it is named, and counts as one who is missing.
#[test]
fn who_has_another_clock_is_named_and_can_be_excused() {
    for (excused, starts) in [(vec![], false), (vec![5], true)] {
        let mut plan = plan(5, 3);
        plan.excused = excused.iter().copied().collect();
        plan.skew.insert(5, 3_600_000);
        let mut sim = Sim::new(2, plan);
        sim.run_to(17);
        restore(&mut sim);
        sim.run_to(20);
        let told = restoring(&sim);
        let last = told.last().unwrap();
        assert_eq!(last.start.is_some(), starts, "{last:?}");
        assert_eq!(last.answered, [2, 3, 4].into());
        if starts {
            assert!(last.clocks.is_empty() && last.excused == [5].into());
        } else {
            assert!(last.clocks == [5].into() && last.missing == [5].into());
        }
    }
}

/// A disk that is full while the others tell what they remember is asked again: they say it only once.
#[test]
fn a_disk_that_was_full_for_a_while_is_asked_again() {
    let mut sim = Sim::new(1, plan(4, 3));
    sim.run_to(17);
    sim.kill(0);
    sim.nodes[0].disk = empty();
    sim.nodes[0].full = true;
    sim.start(0);
    sim.run_to(20);
    let last = restoring(&sim);
    assert_eq!(last.last().unwrap().missing, [2, 3, 4].into());
    sim.nodes[0].full = false;
    sim.run_to(22);
    assert!(restoring(&sim).last().unwrap().start.is_some());
    assert!(
        sim.nodes[0].disk.progress != Progress::default(),
        "what they told was taken"
    );
    // The raise itself failed.
    let mut sim = Sim::new(1, plan(4, 3));
    sim.run_to(17);
    restore(&mut sim);
    sim.nodes[0].unraised = Some(0);
    sim.run_to(24);
    let asked = sim.nodes[0].unraised.take();
    assert!(asked.is_some_and(|times| times >= 3), "once a slot: {asked:?}");
    assert!(restoring(&sim).last().unwrap().start.is_none());
    sim.run_to(8 * EPOCH);
    assert!(!signed_from(&sim, 18).is_empty());
}

/// Somebody greets again, and shows more than at first, while the disk is full: that is compared, too, and not only what it showed at first.
#[test]
fn what_is_shown_later_is_compared_once_the_disk_answers() {
    let mut sim = Sim::new(1, plan(4, 3));
    sim.run_to(17);
    sim.plan.hiding = [2, 3, 4].into();
    restore(&mut sim);
    // It waits for the last one.
    sim.kill(3);
    sim.run_to(19);
    assert_eq!(
        sim.nodes[0].disk.progress,
        Progress::default(),
        "nobody shows anything"
    );
    sim.plan.hiding = [3, 4].into();
    sim.nodes[0].full = true;
    sim.set_cut(1, 2, true);
    sim.run_to(20);
    sim.set_cut(1, 2, false);
    sim.run_to(21);
    assert!(
        restoring(&sim).last().unwrap().missing.contains(&2),
        "what it shows is still to be compared"
    );
    sim.nodes[0].full = false;
    sim.run_to(23);
    assert!(
        sim.nodes[0].disk.progress != Progress::default(),
        "what it showed later was taken"
    );
    assert_eq!(restoring(&sim).last().unwrap().missing, [4].into());
}

/// Where all must sign all others may lie: they hide what was signed, and confirm a clock that is epochs behind. The own beacon nodes
/// bear witness against it, and nothing is raised before the clock is right.
#[test]
fn where_all_others_may_lie_the_own_beacon_node_confirms_the_clock() {
    for n in [2, 3] {
        for epochs in [-4, -1, 3] {
            let mut plan = plan(n, n);
            let others: std::collections::BTreeSet<u16> = (2..=n).collect();
            plan.hiding = others.clone();
            plan.echoing = others.clone();
            let mut sim = Sim::new(1, plan);
            let lost = 6 * EPOCH + 1;
            sim.run_to(lost);
            let signed = highest_of(&sim).unwrap();
            sim.kill(0);
            sim.nodes[0].disk = empty();
            let by = epochs * i64::try_from(EPOCH * sim.chain.time().slot_ms).unwrap();
            sim.plan.skew.insert(1, by);
            sim.start(0);
            sim.run_to(lost + 3);
            let told = restoring(&sim);
            let last = told.last().unwrap();
            let wrong = if epochs < 0 {
                ChainClock::Ahead
            } else {
                ChainClock::Unknown
            };
            assert_eq!((last.chain, last.start), (wrong, None), "{n} {epochs}: {last:?}");
            // Nobody else speaks against it.
            assert_eq!(last.answered, others, "{n} {epochs}");
            assert_eq!(highest_of(&sim), None, "{n} {epochs}: nothing is raised");
            sim.jump(0, -by);
            sim.run_to(lost + 6);
            let raised = highest_of(&sim).unwrap();
            assert!(
                raised.source >= signed.source && raised.target > signed.target,
                "{n} {epochs}"
            );
            sim.run_to(12 * EPOCH);
            assert!(!signed_from(&sim, lost + 1).is_empty(), "{n} {epochs}");
            assert_eq!((sim.oracle.twice(1), sim.conflicts()), (0, 0), "{n} {epochs}");
        }
    }
}

/// One of the others tells another clock again and again while somebody is away: neither screen nor log are filled.
#[test]
fn who_tells_another_clock_again_and_again_is_told_of_seldom() {
    let mut sim = Sim::new(1, plan(4, 3));
    sim.run_to(17);
    sim.kill(3);
    restore(&mut sim);
    sim.run_to(19);
    sim.begin(20);
    let before = restoring(&sim).len();
    let mut offsets = std::collections::BTreeSet::new();
    let (answers_ms, hour) = (sim.clock(0), 3_600_000);
    for lie in 0..1000 {
        let clock_ms = answers_ms + hour * (lie % 2);
        let message = Message::Clock {
            clock_ms,
            answers_ms,
            waited_ms: 0,
        };
        sim.feed(0, 2, message);
        let core = sim.nodes[0].core.as_ref().unwrap();
        offsets.extend(core.others()[0].1.clock_offset_ms);
    }
    assert!(offsets.len() > 1, "it is listened to: {offsets:?}");
    assert!(restoring(&sim).len() <= before + 1);
    // And if it does so in every slot, little is told of it in an epoch.
    let before = restoring(&sim).len();
    for slot in 21..21 + 4 * EPOCH {
        sim.begin(slot);
        let answers_ms = sim.clock(0);
        for lie in 0..20 {
            let clock_ms = answers_ms + hour * ((lie + slot) % 2);
            let message = Message::Clock {
                clock_ms,
                answers_ms,
                waited_ms: 0,
            };
            sim.feed(0, 2, message);
        }
    }
    assert!(u64::try_from(restoring(&sim).len() - before).unwrap() <= 4 * EPOCH + 1);
    // What is true is told in the end.
    sim.run_to(21 + 5 * EPOCH);
    assert_eq!(restoring(&sim).last().unwrap().missing, [4].into());
}

/// Two lose their folders at the same time: each answers the other, and both go on.
#[test]
fn two_restored_folders_do_not_wait_for_each_other_for_ever() {
    let mut sim = Sim::new(5, plan(4, 3));
    sim.run_to(17);
    sim.kill(1);
    sim.nodes[1].disk = empty();
    restore(&mut sim);
    sim.start(1);
    sim.run_to(10 * EPOCH);
    assert!(!signed_from(&sim, 5 * EPOCH).is_empty());
    assert_eq!(
        (sim.oracle.twice(1), sim.oracle.twice(2), sim.conflicts()),
        (0, 0, 0)
    );
    let (due, came) = sim.attested_in(6 * EPOCH..10 * EPOCH);
    assert_eq!(due, came);
}

/// One of several beacon nodes shows a head of a slot that is far in the future. Where a correct operator has compared its clock, most of
/// them must say so; where all others may lie, that one is named, and believed no longer than it says so, or until the next start.
#[test]
fn one_of_several_beacon_nodes_keeps_a_folder_waiting_only_where_all_others_may_lie() {
    let far = 1 << 60;
    let start = |t, n, heads: &[(&str, u64)]| {
        let mut sim = Sim::new(1, plan(n, t));
        sim.run_to(6 * EPOCH + 1);
        restore(&mut sim);
        sim.shows(0, heads);
        sim.run_to(6 * EPOCH + 3);
        sim
    };
    let last = |sim: &Sim| restoring(sim).last().copied().cloned().unwrap();
    // Of two (the other one is that of the simulation), and of three.
    for heads in [
        &[("http://b", far)][..],
        &[("http://b", far), ("http://c", 6 * EPOCH)],
    ] {
        let told = last(&start(3, 4, heads));
        assert_eq!(
            (told.chain, told.ahead.len()),
            (ChainClock::Agrees, 0),
            "{heads:?}"
        );
        assert!(told.start.is_some(), "{heads:?}");
    }
    let told = last(&start(3, 4, &[("http://b", far), ("http://c", far)]));
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(
        (told.chain, told.ahead, told.start),
        (ChainClock::Ahead, names(&["http://b", "http://c"]), None)
    );
    for restarts in [false, true] {
        let mut sim = start(2, 2, &[("http://b", far)]);
        let told = last(&sim);
        assert_eq!(
            (told.chain, told.ahead, told.start),
            (ChainClock::Ahead, names(&["http://b"]), None)
        );
        if restarts {
            // It is taken out, or gone: a jump of the clock and back counts as a start.
            let slot = i64::try_from(sim.chain.time().slot_ms).unwrap();
            sim.jump(0, 2 * slot);
            sim.jump(0, -2 * slot);
        } else {
            let now = sim.slot();
            sim.shows(0, &[("http://b", now)]);
        }
        sim.run_to(6 * EPOCH + 7);
        let told = last(&sim);
        assert_eq!(
            (told.chain, told.ahead.len()),
            (ChainClock::Agrees, 0),
            "{restarts}"
        );
        assert!(told.start.is_some(), "{restarts}");
    }
}
