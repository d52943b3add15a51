//! Groups of cores in simulated worlds.

mod accounts;
mod heads;
mod hostile;
mod liveness;
mod memory;
mod plausible;
mod process;
mod proposals;
mod restored;
mod safety;
mod sim;
mod starts;

use std::collections::BTreeSet;

use crate::{
    alive::{Shown, Watch},
    core::Report,
    wire::Message,
};
use conclave_beacon::chain::spec::{Chain, Genesis, ScheduledFork, Spec};
use conclave_consensus::messages::Body;
use conclave_eth::chain::fork::Fork;

use sim::{LOCK, Plan, Sim, cheap::Cheap};

/// A chain with slots of 4 seconds and epochs of 8 slots; possibly with a fork that nobody knows.
fn chain(unknown_fork: Option<u64>) -> Chain {
    let mut spec = serde_json::json!({ "data": {
        "CONFIG_NAME": "sim", "PRESET_BASE": "minimal", "SECONDS_PER_SLOT": "4", "SLOTS_PER_EPOCH": "8",
        "GENESIS_FORK_VERSION": "0x00000001", "CAPELLA_FORK_VERSION": "0x03000001", "CAPELLA_FORK_EPOCH": "0",
        "ALTAIR_FORK_VERSION": "0x01000001", "ALTAIR_FORK_EPOCH": "0", "BELLATRIX_FORK_VERSION": "0x02000001", "BELLATRIX_FORK_EPOCH": "0",
        "DENEB_FORK_VERSION": "0x04000001", "DENEB_FORK_EPOCH": "0", "ELECTRA_FORK_VERSION": "0x05000001", "ELECTRA_FORK_EPOCH": "0",
    }});
    if let Some(epoch) = unknown_fork {
        spec["data"]["EIP9999_FORK_EPOCH"] = epoch.to_string().into();
    }
    let spec = Spec::from_json(&serde_json::to_vec(&spec).unwrap()).unwrap();
    let genesis = Genesis {
        time: 1_800_000_000,
        validators_root: [9; 32],
        fork_version: spec.genesis_fork_version,
    };
    Chain::new(spec, genesis).unwrap()
}

#[test]
fn everybody_up_attests_in_time() {
    let mut sim = Sim::new(1, Plan::new(4, 3));
    sim.run_to(40);
    let (due, came) = sim.attested_in(0..40);
    assert!(due >= 16);
    assert_eq!(due, came);
    assert_eq!(sim.conflicts(), 0);
    assert!(
        sim.oracle.first.values().all(|into| *into < 2_000),
        "{:?}",
        sim.oracle.first
    );
    assert!(sim.oracle.sync.len() >= 39);
    assert!(sim.oracle.contributed.len() >= 39);
}

#[test]
fn one_of_four_may_be_off() {
    for off in 0..4 {
        let mut sim = Sim::new(2, Plan::new(4, 3));
        sim.kill(off);
        sim.run_to(40);
        assert_eq!(sim.attested_in(0..40), (20, 20));
        sim.start(off);
        sim.run_to(80);
        assert_eq!(sim.attested_in(40..80), (20, 20));
        assert_eq!(sim.conflicts(), 0);
    }
}

#[test]
fn of_a_fork_that_nobody_knows_nothing_is_signed() {
    let mut plan = Plan::new(4, 3);
    plan.validators = 8;
    plan.unknown_fork = Some(3);
    let mut sim = Sim::new(1, plan);
    sim.run_to(23);
    assert_eq!(sim.attested_in(0..24), (24, 24));
    signs_nothing_from_epoch_3(&mut sim);
}

/// From slot 24 on, at whose beginning this is called.
fn signs_nothing_from_epoch_3(sim: &mut Sim) {
    let next = sim.chain.time().start_of(24) + 10;
    sim.run_until(next);
    sim.log = Some(Vec::new());
    sim.run_to(40);
    assert_eq!(sim.attested_in(24..40).1, 0);
    let attested = sim.oracle.first.keys();
    assert!(attested.chain(&sim.oracle.sync).all(|(_, slot)| *slot < 24));
    for (_, said) in sim.log.iter().flatten() {
        let of_then = |slot: u64| slot >= 24;
        assert!(
            !matches!(&**said, Message::Partials(partials) if of_then(partials.header().slot)),
            "{said:?}"
        );
        assert!(
            !matches!(&**said, Message::Agreement(message) if of_then(message.duty.slot)),
            "{said:?}"
        );
    }
    let over = |report: &Report| matches!(report, Report::Over { slot: 24.., .. });
    assert!(!sim.reported(0, over));
}

#[test]
fn of_a_fork_that_is_learned_of_later_nothing_is_signed_until_it_is_postponed() {
    let mut plan = Plan::new(4, 3);
    plan.validators = 8;
    let mut sim = Sim::new(1, plan);
    sim.run_to(9);
    sim.learn(0..4, chain(Some(3)));
    sim.run_to(23);
    assert_eq!(sim.attested_in(0..24), (24, 24));
    signs_nothing_from_epoch_3(&mut sim);
    sim.learn(0..4, chain(Some(9)));
    sim.run_to(71);
    assert_eq!(sim.attested_in(48..72), (24, 24));
    sim.run_to(80);
    assert_eq!(sim.attested_in(72..80).1, 0);
    assert_eq!(sim.conflicts(), 0);
}

#[test]
fn a_known_fork_that_is_scheduled_later_is_signed_for() {
    let mut fulu = chain(None);
    fulu.spec.forks.push(ScheduledFork {
        fork: Fork::Fulu,
        epoch: 3,
        version: [6, 0, 0, 1],
    });
    let mut plan = Plan::new(4, 3);
    plan.validators = 8;
    let mut sim = Sim::new(1, plan);
    sim.run_to(9);
    sim.learn(0..2, fulu.clone());
    sim.run_to(31);
    // Two sign for each version: neither has three.
    assert_eq!(sim.attested_in(0..24), (24, 24));
    assert_eq!(sim.attested_in(24..32).1, 0);
    sim.learn(2..4, fulu);
    sim.run_to(47);
    assert_eq!(sim.attested_in(32..48), (16, 16));
    assert_eq!(sim.conflicts(), 0);
}

#[test]
fn what_comes_too_late_is_given_to_nobody() {
    let mut late = Vec::new();
    let mut came = 0;
    for seed in 0..8 {
        let mut sim = Sim::new(seed, Plan::new(4, 3));
        sim.kill(3);
        for slot in 0..40 {
            sim.begin(slot);
            if slot % 4 == 2 {
                // Somewhere between agreement and signatures one of three loses the others, for two slots.
                let at = sim.now + 1_340 + seed * 20 + (slot / 4 % 2) * 1_330;
                sim.run_until(at);
                (2..=3).for_each(|other| sim.set_cut(1, other, true));
            } else if slot % 4 == 0 {
                (2..=3).for_each(|other| sim.set_cut(1, other, false));
            }
            sim.run_to(slot);
        }
        late.extend(sim.oracle.late.iter().copied());
        came += sim.attested_in(0..40).1;
    }
    assert_eq!(late, []);
    assert!(came > 80, "{came}");
}

#[test]
fn a_dry_run_says_nothing_that_counts_and_is_nobodys_twin() {
    let mut sim = Sim::new(1, Plan::new(4, 3));
    sim.run_to(9);
    let instance = |sim: &Sim, place: usize| sim.nodes[place].core.as_ref().unwrap().watch.instance();
    let real = [instance(&sim, 0), instance(&sim, 3)];
    // Watches in place of the fourth, and beside the first with a copy of its folder.
    sim.kill(3);
    sim.nodes[3].dry = true;
    sim.start(3);
    let disk = sim.nodes[0].disk.clone();
    let copy = sim.add_without_start(1, disk);
    sim.nodes[copy].dry = true;
    sim.log = Some(Vec::new());
    sim.start(copy);
    sim.run_to(40);
    assert!(sim.nodes.iter().all(|node| node.stopped.is_none()));
    assert!((0..3).all(|place| sim.nodes[place].core.is_some()));
    let (mut instances, mut passed_on) = (BTreeSet::new(), BTreeSet::new());
    for (from, said) in sim.log.iter().flatten() {
        if let Message::Alive(alive) = &**said {
            if [1, 4].contains(&alive.operator) {
                instances.insert(alive.instance);
            }
            if *from == 4 && alive.operator != 4 {
                passed_on.insert(alive.slot);
            }
            assert!(alive.others.is_empty(), "{said:?}");
        }
        if *from == 4 {
            let body = match &**said {
                Message::Agreement(message) => Some(&message.body),
                Message::Partials(_) | Message::Contents { .. } | Message::Exit(_) => {
                    panic!("{said:?}")
                }
                Message::Alive(_) | Message::Hello(_) | Message::Clock { .. } => None,
            };
            assert!(
                !matches!(body, Some(Body::Vote(vote)) if vote.operator == 4),
                "{said:?}"
            );
            assert!(
                !matches!(body, Some(Body::Proposal(proposal)) if proposal.operator == 4),
                "{said:?}"
            );
        }
    }
    assert_eq!(
        instances,
        BTreeSet::from(real),
        "only who signs says that it is alive"
    );
    assert!(passed_on.is_superset(&(10..40).collect()), "{passed_on:?}");
    let (due, came) = sim.attested_in(10..40);
    assert!(due > 10 && came == due, "{came} of {due}");
    // It sees all the same.
    let seen =
        |report: &Report| matches!(report, Report::Over { duties, .. } if !duties[0].signed.is_empty());
    assert!(sim.reported(3, seen));
    // Nor would it stop if something with its key named it, as nothing does.
    let (slot, watching) = (sim.slot(), instance(&sim, copy));
    let mut twin = Watch::new(1, [9; 16], LOCK);
    let named = Watch::new(1, watching, LOCK).say(&Cheap(1), slot);
    assert_eq!(twin.take(&named, &Cheap(1), slot), Shown::New);
    for alive in [twin.say(&Cheap(1), slot), named] {
        sim.feed(copy, 2, Message::Alive(alive));
    }
    assert!(sim.nodes[copy].stopped.is_none());
}

#[test]
fn blocks_come_with_everybody_up_and_with_one_off() {
    for off in [None, Some(0), Some(3)] {
        let mut plan = Plan::new(4, 3);
        plan.proposals = true;
        let mut sim = Sim::new(1, plan);
        if let Some(off) = off {
            sim.kill(off);
        }
        sim.run_to(40);
        // The RANDAO reveals of the first epochs may be said before everybody was greeted.
        let (due, came) = sim.proposed_in(16..40);
        assert_eq!((due, came), (12, 12), "{off:?}");
        assert_eq!(sim.conflicts(), 0);
        assert!((0..4).all(|place| !sim.reported(place, |report| matches!(
            report,
            Report::OwnBlock { refused: true, .. }
        ))));
    }
}
