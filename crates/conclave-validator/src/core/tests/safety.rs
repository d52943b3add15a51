//! No two signatures of the group for which a validator can be slashed, whatever happens; and that this would be seen.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::sim::{Disk, Plan, Sim};

/// Operators and threshold.
const GROUPS: [(u16, u16); 6] = [(3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (10, 7)];
/// Slots of one run, one attestation in each.
const SLOTS: u64 = 50;

/// How one operator is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bad {
    /// It lies.
    Liar,
    /// It runs twice: with the same disk, or with a copy.
    Twin,
    /// Its disk becomes an older copy of itself, again and again.
    Forgets,
}

/// What came of runs.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    duties: usize,
    came: usize,
    proposals: usize,
    proposed: usize,
    conflicts: usize,
    stopped: usize,
}

impl Tally {
    fn add(self, other: Self) -> Self {
        Self {
            duties: self.duties + other.duties,
            came: self.came + other.came,
            proposals: self.proposals + other.proposals,
            proposed: self.proposed + other.proposed,
            conflicts: self.conflicts + other.conflicts,
            stopped: self.stopped + other.stopped,
        }
    }
}

/// A world in which everything goes wrong that may go wrong, with so many bad operators.
fn world(seed: u64, (n, t): (u16, u16), bad: u16) -> (Plan, Vec<(u16, Bad)>, ChaCha8Rng) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5afe);
    let mut operators: Vec<u16> = (1..=n).collect();
    for place in (1..operators.len()).rev() {
        operators.swap(place, rng.random_range(0..=place));
    }
    let kinds = [Bad::Liar, Bad::Twin, Bad::Forgets];
    let bad: Vec<(u16, Bad)> = operators[..bad.into()]
        .iter()
        .map(|operator| (*operator, kinds[rng.random_range(0..3)]))
        .collect();
    let mut plan = Plan::new(n, t);
    plan.validators = 8;
    plan.all_duties = false;
    plan.bytes = seed.is_multiple_of(16);
    plan.proposals = true;
    plan.liars = bad
        .iter()
        .filter(|(_, kind)| *kind == Bad::Liar)
        .map(|(o, _)| *o)
        .collect();
    plan.mischief = rng.random_range(0..200);
    plan.empty = rng.random_range(0..200);
    plan.lost = if rng.random() { rng.random_range(0..200) } else { 0 };
    plan.doubled = rng.random_range(0..100);
    plan.delay = (1, [40, 40, 40, 300, 3000][rng.random_range(0..5)]);
    plan.crash_in_guard = if rng.random() { 50 } else { 0 };
    for operator in 1..=n {
        match rng.random_range(0..10) {
            0 => {
                plan.skew.insert(operator, rng.random_range(-20_000..20_000));
            }
            1..5 => {
                plan.skew.insert(operator, rng.random_range(-600..600));
            }
            5 => {
                plan.lied_to.insert(operator);
            }
            6 => {
                plan.astray.insert(operator);
            }
            7 => {
                plan.lagging.insert(operator, rng.random_range(0..6000));
            }
            _ => {}
        }
    }
    (plan, bad, rng)
}

/// A group in such a world. If it is forgetful, nobody's record of what was signed counts.
fn run(seed: u64, group: (u16, u16), bad: u16, forgetful: bool) -> Tally {
    let (mut plan, bad, mut rng) = world(seed, group, bad);
    plan.forgetful = forgetful;
    let honest: Vec<u16> = (1..=group.0).filter(|o| !plan.liars.contains(o)).collect();
    let mut sim = Sim::new(seed, plan);
    // So often in 1,000 slots a node crashes, a clock jumps, two operators lose or find each other, the chain reorganises,
    // all clocks go wrong together.
    let (crashes, jumps, cuts, reorganisations, together) = (
        rng.random_range(0..30),
        rng.random_range(0..4),
        rng.random_range(0..60),
        if rng.random() { rng.random_range(0..100) } else { 0 },
        if rng.random() { rng.random_range(0..10) } else { 0 },
    );
    let mut old: Option<Disk> = None;
    let mut twin = None;
    for slot in 0..SLOTS {
        sim.run_to(slot);
        for operator in &honest {
            let place = sim.place(*operator);
            if rng.random_range(0..1000) < crashes {
                let (after, down) = (rng.random_range(0..4000), rng.random_range(1..15_000));
                sim.crash(place, after, down);
            }
            if rng.random_range(0..1000) < jumps && sim.nodes[place].core.is_some() {
                sim.jump(place, rng.random_range(-20_000..20_000));
            }
        }
        if rng.random_range(0..1000) < cuts {
            let (a, b) = (rng.random_range(1..=group.0), rng.random_range(1..=group.0));
            sim.set_cut(a, b, a != b && rng.random());
        }
        if rng.random_range(0..1000) < reorganisations {
            if rng.random() {
                sim.shuffle();
            } else {
                sim.justify(rng.random_range(0..4));
            }
        }
        if rng.random_range(0..1000) < together {
            let (by, restarts) = (rng.random_range(-20_000..20_000), rng.random());
            all_clocks_jump(&mut sim, by, restarts);
        }
        for (operator, kind) in &bad {
            let place = sim.place(*operator);
            match kind {
                Bad::Twin if twin.is_none() && rng.random_range(0..10) == 0 => {
                    let disk = if rng.random() {
                        sim.nodes[place].disk.clone()
                    } else {
                        Disk::default()
                    };
                    let faces = rng.random();
                    twin = Some(sim.twin(place, disk, faces));
                }
                Bad::Liar | Bad::Twin => {}
                Bad::Forgets => {
                    if rng.random_range(0..12) == 0 {
                        old = Some(sim.nodes[place].disk.clone());
                    }
                    if let Some(disk) = old.as_ref().filter(|_| rng.random_range(0..12) == 0) {
                        let disk = disk.clone();
                        let forgotten = rng.random();
                        sim.forget(place, disk, forgotten);
                    }
                }
            }
        }
    }
    let (duties, came) = sim.attested_in(0..SLOTS);
    let (proposals, proposed) = sim.proposed_in(0..SLOTS);
    Tally {
        duties,
        came,
        proposals,
        proposed,
        conflicts: sim.conflicts(),
        stopped: sim.nodes.iter().filter(|node| node.stopped.is_some()).count(),
    }
}

/// The clocks of all machines become wrong by the same, as when all ask one time server. The processes notice, or start again.
fn all_clocks_jump(sim: &mut Sim, by: i64, restarts: bool) {
    for place in 0..sim.nodes.len() {
        if sim.nodes[place].core.is_none() {
            continue;
        }
        sim.jump(place, by);
        if restarts {
            sim.kill(place);
            sim.start(place);
        }
    }
}

fn may_lie((n, t): (u16, u16)) -> u16 {
    (2 * t).saturating_sub(n + 1)
}

/// Runs of all groups until there were so many duties.
fn runs(duties: u64) -> Tally {
    // Attestations alone; blocks come on top of them.
    let count = duties.div_ceil(SLOTS);
    let tally = (0..count)
        .into_par_iter()
        .map(|seed| {
            let group = GROUPS[usize::try_from(seed % 6).expect("few")];
            let tally = run(seed, group, may_lie(group), false);
            assert_eq!(tally.conflicts, 0, "seed {seed}, {group:?}");
            tally
        })
        .reduce(Tally::default, Tally::add);
    println!("{tally:?}");
    // Something was signed, and twins were there: else this would show nothing.
    assert!(
        tally.duties as u64 >= duties
            && tally.came * 4 > tally.duties
            && tally.proposed * 4 > tally.proposals,
        "{tally:?}"
    );
    assert!(tally.stopped > 0, "{tally:?}");
    tally
}

#[test]
fn no_conflicting_signatures_within_what_a_threshold_tolerates() {
    runs(1_500);
}

/// What was signed before is all that keeps shares from it in these worlds.
#[test]
fn the_same_worlds_show_conflicts_without_records() {
    let conflict = (0..24_u64).into_par_iter().any(|seed| {
        let group = GROUPS[usize::try_from(seed % 6).expect("few")];
        run(seed, group, may_lie(group), true).conflicts > 0
    });
    assert!(conflict);
}

/// `cargo test --release --lib validator::core::tests::safety -- --ignored --nocapture`
#[test]
#[ignore = "minutes; the same with other seeds runs always"]
fn no_conflicting_signatures_in_100_000_duties() {
    runs(100_000);
}

/// Liars show each half of the others something else, beacon nodes are split: with one liar more there are two
/// signatures; with as many as a threshold tolerates none.
#[test]
fn one_liar_above_the_bound_is_seen_and_none_at_the_bound() {
    for group in GROUPS {
        let split = |seed: u64, liars: u16, proposals: bool| {
            let mut plan = Plan::new(group.0, group.1);
            plan.all_duties = false;
            plan.bytes = false;
            plan.arrival = (100, 110);
            plan.proposals = proposals;
            plan.validators = if proposals { 1 } else { 8 };
            plan.liars = (1..=liars).collect();
            for operator in liars + 1..=group.0 {
                if (operator - liars).is_multiple_of(2) {
                    plan.astray.insert(operator);
                }
            }
            let mut sim = Sim::new(seed, plan);
            sim.run_to(24);
            sim.conflicts()
        };
        for proposals in [false, true] {
            let conflicts = |liars| -> usize {
                let seeds = (0..4).into_par_iter();
                seeds.map(|seed| split(seed, liars, proposals)).sum()
            };
            assert!(conflicts(may_lie(group) + 1) > 0, "{group:?}");
            assert_eq!(conflicts(may_lie(group)), 0, "{group:?}");
        }
    }
}

/// What happens in a slot.
type Mishap = fn(&mut Sim, u64);

/// Nobody lies, nobody loses a disk, and all the same shares are asked twice for one duty.
#[test]
fn without_their_records_honest_shares_sign_against_each_other() {
    let mishaps: [(&str, Mishap); 3] = [
        ("duties move within their epoch", |sim, slot| {
            if slot % 8 == 4 {
                sim.shuffle();
            }
        }),
        ("an older checkpoint is the justified one", |sim, slot| {
            if slot == 32 {
                sim.justify(3);
            }
        }),
        ("all clocks go back", |sim, slot| {
            if slot == 21 {
                all_clocks_jump(sim, -14_000, true);
            }
        }),
    ];
    for (what, mishap) in mishaps {
        let conflicts = |forgetful: bool| -> usize {
            let run = |seed| {
                let mut plan = Plan::new(4, 3);
                plan.validators = 8;
                plan.all_duties = false;
                plan.proposals = true;
                plan.forgetful = forgetful;
                let mut sim = Sim::new(seed, plan);
                for slot in 0..56 {
                    sim.run_to(slot);
                    mishap(&mut sim, slot);
                }
                sim.conflicts()
            };
            (0..2).into_par_iter().map(run).sum()
        };
        assert!(conflicts(true) > 0, "{what}: without records");
        assert_eq!(conflicts(false), 0, "{what}");
    }
}
