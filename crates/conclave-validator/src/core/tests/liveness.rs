//! Duties are missed only when fewer than t honest nodes could talk in time.

use std::collections::BTreeSet;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::core::{Decision, Report};
use conclave_eth::duty::Kind;

use super::sim::{Plan, Sim};

const GROUPS: [(u16, u16); 6] = [(3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (10, 7)];
/// A slot of the simulated chain, in milliseconds.
const SLOT_MS: u64 = 4_000;

fn plan((n, t): (u16, u16)) -> Plan {
    let mut plan = Plan::new(n, t);
    // One attestation in each slot.
    plan.validators = 8;
    plan.all_duties = false;
    plan
}

/// Everything that was due in the first slots came, the last after so many milliseconds of its slot.
fn all_came(sim: &Sim, slots: u64, what: &str) -> u64 {
    let (due, came) = sim.attested_in(0..slots);
    assert_eq!((due, came), (usize::try_from(slots).unwrap(), due), "{what}");
    assert_eq!(sim.conflicts(), 0, "{what}");
    sim.oracle.first.values().copied().max().unwrap_or(0)
}

#[test]
fn with_everybody_up_all_attest_within_a_third_of_a_slot_after_the_due_time() {
    for group in GROUPS {
        let mut sim = Sim::new(1, plan(group));
        sim.run_to(39);
        let last = all_came(&sim, 40, &format!("{group:?}"));
        assert!(last <= SLOT_MS * 2 / 3, "{group:?}: {last} ms");
    }
}

#[test]
fn n_less_t_may_be_off() {
    for (seed, group) in (0..).zip(GROUPS) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut off = BTreeSet::new();
        while off.len() < usize::from(group.0 - group.1) {
            off.insert(rng.random_range(0..usize::from(group.0)));
        }
        let mut sim = Sim::new(seed, plan(group));
        for place in &off {
            sim.kill(*place);
        }
        sim.run_to(39);
        let last = all_came(&sim, 40, &format!("{group:?} without {off:?}"));
        assert!(last <= SLOT_MS, "{group:?} without {off:?}: {last} ms");
        // One more is one too many.
        let mut sim = Sim::new(seed, plan(group));
        (0..=usize::from(group.0 - group.1)).for_each(|place| sim.kill(place));
        sim.run_to(9);
        assert_eq!(sim.attested_in(0..10).1, 0, "{group:?}");
    }
}

#[test]
fn a_leader_that_is_cut_off_costs_no_attestation() {
    let group = (4, 3);
    let mut sim = Sim::new(3, plan(group));
    sim.run_to(7);
    for slot in 8..40 {
        let leader = u16::try_from((slot + Kind::Head as u64) % 4).unwrap() + 1;
        let others: Vec<u16> = (1..=4).filter(|other| *other != leader).collect();
        for other in &others {
            sim.set_cut(leader, *other, true);
        }
        sim.run_to(slot);
        for other in &others {
            sim.set_cut(leader, *other, false);
        }
    }
    let last = all_came(&sim, 40, "leader cut off");
    assert!(last <= SLOT_MS * 2 / 3, "{last} ms");
}

#[test]
fn one_beacon_node_that_lags_or_lies_costs_no_attestation() {
    for operator in 1..=4 {
        let mut lagging = plan((4, 3));
        lagging.lagging.insert(operator, 9_000);
        let mut lied_to = plan((4, 3));
        lied_to.lied_to.insert(operator);
        for plan in [lagging, lied_to] {
            let mut sim = Sim::new(4, plan);
            sim.run_to(39);
            let last = all_came(&sim, 40, &format!("beacon node of {operator}"));
            assert!(last <= SLOT_MS, "beacon node of {operator}: {last} ms");
        }
    }
}

#[test]
fn what_any_of_our_beacon_nodes_says_is_plausible() {
    for second in [true, false] {
        let mut plan = plan((4, 3));
        plan.stale.insert(2);
        if second {
            plan.second.insert(2);
        }
        let mut sim = Sim::new(7, plan);
        // The others cannot do without the one whose first beacon node lags.
        sim.kill(3);
        sim.run_to(39);
        if !second {
            assert_eq!(sim.attested_in(16..40).1, 0);
            continue;
        }
        let last = all_came(&sim, 40, "a second beacon node");
        assert!(last <= SLOT_MS, "{last} ms");
        // Where the others lead, in the first round already. What it would propose itself is still its first node's view.
        let mut first = 0;
        for report in &sim.nodes[0].reports {
            if let Report::Decided { duty, decision, .. } = report
                && duty.kind == Kind::Head
                && duty.slot >= 16
            {
                let leader = (duty.slot + Kind::Head as u64) % 4 + 1;
                let at_once = decision.round == 0;
                assert_eq!(at_once, leader % 2 == 1, "slot {}: {decision:?}", duty.slot);
                first += u32::from(at_once);
            }
        }
        assert_eq!(first, 12);
    }
}

#[test]
fn a_leader_whose_beacon_node_fails_is_not_waited_for() {
    for operator in 1..=4 {
        let mut plan = plan((4, 3));
        plan.proposals = true;
        plan.failing.insert(operator);
        // In the order in which they were sent, as in reality: three are needed for everything here.
        plan.delay = (10, 10);
        let mut sim = Sim::new(6, plan);
        // The failing node does not tell of blocks either.
        sim.plan.lagging.insert(operator, 9_000);
        sim.run_to(39);
        all_came(&sim, 40, &format!("beacon node of {operator}"));
        assert_eq!(sim.proposed_in(0..40), (20, 20), "{operator}");
        // A wait for a proposal is a twelfth of a slot for attestations, a sixth for blocks: nobody waited for so long.
        let decisions = sim.nodes.iter().flat_map(|node| &node.reports);
        let mut passed = 0;
        for report in decisions {
            if let Report::Decided {
                duty,
                decision: Decision { round: 1, times },
                ..
            } = report
                && matches!(duty.kind, Kind::Head | Kind::Block)
            {
                passed += 1;
                assert!(times.after_due_ms < SLOT_MS / 12, "{duty:?}: {times:?}");
            }
        }
        assert!(passed >= 30, "{passed}");
    }
}

#[test]
fn when_half_the_nodes_see_another_head_a_later_round_decides() {
    for group in GROUPS {
        let mut plan = plan(group);
        plan.astray = (1..=group.0).filter(|operator| operator % 2 == 0).collect();
        let mut sim = Sim::new(5, plan);
        sim.run_to(39);
        all_came(&sim, 40, &format!("{group:?}"));
        let later = |report: &Report| {
            matches!(
                report,
                Report::Decided {
                    decision: Decision { round: 1.., .. },
                    ..
                }
            )
        };
        assert!(sim.reported(0, later), "{group:?}");
    }
}

#[test]
fn clocks_apart_by_a_sixth_of_a_slot_cost_no_attestation() {
    for group in GROUPS {
        let mut plan = plan(group);
        plan.skew = (1..=group.0)
            .map(|operator| (operator, if operator % 2 == 0 { -333 } else { 333 }))
            .collect();
        let mut sim = Sim::new(6, plan);
        sim.run_to(39);
        all_came(&sim, 40, &format!("{group:?}"));
        // And everybody has measured them.
        let skew = |operator: u16| sim.plan.skew[&operator];
        for node in &sim.nodes {
            let others = node.core.as_ref().unwrap().others();
            assert_eq!(others.len(), sim.nodes.len() - 1);
            for (operator, peer) in others {
                let is = skew(operator) - skew(node.operator);
                let measured = peer.clock_offset_ms.unwrap();
                // Messages take 1 to 40 ms, each way another time.
                assert!((measured - is).abs() <= 20, "{measured} ms, is {is} ms");
            }
        }
    }
}

/// Liars cost rounds, not duties, and cannot stop or frame anybody.
#[test]
fn as_many_liars_as_a_threshold_tolerates_cost_no_attestation() {
    for (seed, group) in (0..).zip(GROUPS) {
        let liars = (group.0 - group.1).min((2 * group.1).saturating_sub(group.0 + 1));
        for first in 0..2 {
            let mut plan = plan(group);
            plan.liars = (1..=liars).map(|liar| liar + first).collect();
            plan.mischief = 100;
            let mut sim = Sim::new(seed, plan);
            sim.run_to(31);
            all_came(&sim, 32, &format!("{group:?}, {liars} liars"));
            for node in sim.nodes.iter().filter(|node| node.side.is_none()) {
                assert_eq!(node.stopped, None);
                let framed = |report: &Report| match report {
                    Report::Misbehaviour(deed) => !sim.plan.liars.contains(&deed.operator()),
                    Report::Fault { operator, .. } => !sim.plan.liars.contains(operator),
                    _ => false,
                };
                assert!(!node.reports.iter().any(framed), "{group:?}: {:?}", node.operator);
            }
        }
    }
}

#[test]
fn duties_that_are_learned_of_after_the_decision_are_done_all_the_same() {
    // All of one epoch, for duties are told anew when the next one begins.
    const SLOTS: std::ops::Range<u64> = 17..24;
    // Whether the agreement goes on without knowing who attests (somebody is in the sync committee), or is not known to be
    // needed at all.
    for all in [false, true] {
        for proposals in [false, true] {
            let mut plan = Plan::new(4, 3);
            plan.validators = 8;
            plan.proposals = proposals;
            plan.arrival = (100, 200);
            let mut sim = Sim::new(5, plan);
            sim.run_to(16);
            for slot in SLOTS {
                sim.hide_duties(3, all);
                sim.begin(slot);
                // Even where it leads.
                let decided = sim.now + 2_800;
                sim.run_until(decided);
                let others = sim.nodes[..3]
                    .iter()
                    .all(|node| node.signed.iter().any(|(of, _)| *of == slot));
                assert!(others, "slot {slot}");
                let early = sim.nodes[3].signed.iter().any(|(of, _)| *of == slot);
                assert_eq!(early, proposals && !all && slot % 2 == 1, "slot {slot}");
                sim.tell_duties(3);
                sim.run_to(slot);
            }
            for slot in SLOTS {
                let expected = 1 + usize::from(proposals && slot % 2 == 1);
                let signed = |place: usize| {
                    sim.nodes[place]
                        .signed
                        .iter()
                        .filter(|(of, _)| *of == slot)
                        .count()
                };
                assert_eq!([0, 1, 2, 3].map(signed), [expected; 4], "slot {slot}");
            }
            // And brought to its beacon node, although the others' signatures were there before.
            for (validator, slot) in sim.oracle.first.keys().filter(|(_, slot)| SLOTS.contains(slot)) {
                let by = &sim.oracle.submitters[&(*validator, *slot)];
                assert_eq!(*by, [1, 2, 3, 4].into(), "slot {slot}");
            }
            assert_eq!(sim.conflicts(), 0);
        }
    }
}
