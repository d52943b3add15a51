//! A group in one process: simulated clocks, networks, crashes and liars, all from a seed.

use std::{
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::Arc,
};

use crate::{
    Effect, Instance, Quorum, Role, Verdict,
    messages::{Body, Certificate, LAST_ROUND, Message, Proposal, Status, Step, Vote, value_id},
};
use conclave_crypto::hash::{Hash, sha256};
use conclave_eth::duty::{Duty, Kind};

use super::Cheap;

const SLOT_MS: u64 = 12_000;
/// The slot starts then, by everybody's clock.
const START_MS: u64 = 1_000_000;
const DUE_MS: u64 = START_MS + SLOT_MS / 3;
const VALUE_LIMIT: usize = 64;

/// Groups: n, t.
const GROUPS: [(u16, u16); 6] = [(3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (10, 7)];

fn may_lie(n: u16, t: u16) -> u16 {
    (2 * t).saturating_sub(n + 1)
}

/// SplitMix64: small, and the same everywhere.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let place = usize::try_from(self.below(from.len() as u64)).unwrap();
        from.get(place)
    }
}

/// What a run is like.
#[derive(Debug, Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "each is a circumstance of its own")]
struct Plan {
    seed: u64,
    n: u16,
    t: u16,
    kind: Kind,
    liars: u16,
    /// Liars show each half of the others something else, consistently; else they do whatever comes to mind.
    split: bool,
    /// The leader of round 0 is a liar.
    liar_leads: bool,
    /// How many honest nodes crash, never to vote again.
    crashes: u16,
    /// Whether crashed ones come back.
    restarts: bool,
    /// Until when messages are late, lost and links down, after the duty is due; 0 for a good network.
    storm_ms: u64,
    /// Largest difference of a clock to the true time.
    skew_ms: u64,
    /// Whether everything that happens is hashed.
    traced: bool,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Start {
        node: u16,
    },
    Deliver {
        to: u16,
        from: u16,
        bytes: Vec<u8>,
    },
    Tick {
        node: u16,
    },
    Value {
        node: u16,
        round: u8,
    },
    Verdict {
        node: u16,
        round: u8,
        id: Hash,
        valid: bool,
    },
    Crash {
        node: u16,
    },
    Restart {
        node: u16,
    },
    Link {
        a: u16,
        b: u16,
        up: bool,
    },
    Mischief,
}

/// An honest node.
struct Node {
    quorum: Arc<Quorum<Cheap>>,
    /// None while it is down.
    instance: Option<Instance<Cheap>>,
    /// Its clock is the true time plus this, minus `SLOT_MS`.
    clock: u64,
    /// Which process this is; ticks and answers of a former one mean nothing.
    crashed: bool,
    tick_at: Option<u64>,
}

/// All liars, who work together.
struct Liars {
    quorums: BTreeMap<u16, Quorum<Cheap>>,
    values: BTreeMap<Hash, Arc<[u8]>>,
    votes: BTreeMap<(u8, Step, Hash), BTreeMap<u16, [u8; 64]>>,
    proposed: BTreeMap<u8, Hash>,
    top: u8,
    forges: bool,
    told: BTreeSet<(u16, u16, u8, u8)>,
}

/// How a run ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// What each node decided, in any of its lives, and the round of the first.
    decided: BTreeMap<u16, BTreeMap<Hash, u8>>,
    /// Honest nodes that were up at the end.
    up: BTreeSet<u16>,
    /// Operators that were accused.
    accused: BTreeSet<u16>,
    /// When the last one decided, from the due time.
    last_ms: u64,
    /// Everything that happened, hashed.
    trace: Hash,
}

impl Outcome {
    fn values(&self) -> BTreeSet<Hash> {
        self.decided.values().flat_map(BTreeMap::keys).copied().collect()
    }
}

struct World {
    plan: Plan,
    rng: Rng,
    duty: Duty,
    now: u64,
    sequence: u64,
    queue: BinaryHeap<std::cmp::Reverse<(u64, u64, Event)>>,
    nodes: BTreeMap<u16, Node>,
    liars: Liars,
    down: BTreeSet<(u16, u16)>,
    outcome: Outcome,
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut rng = Rng(plan.seed);
        let duty = Duty {
            slot: rng.below(1000),
            kind: plan.kind,
        };
        let quorum = |own| Quorum::new([7; 32], plan.n, plan.t, own, SLOT_MS, Cheap(own)).unwrap();
        let mut order: Vec<u16> = (1..=plan.n).collect();
        for place in (1..order.len()).rev() {
            let other = usize::try_from(rng.below(place as u64 + 1)).unwrap();
            order.swap(place, other);
        }
        if plan.liar_leads {
            let leader = quorum(1).leader(duty, 0);
            let place = order.iter().position(|operator| *operator == leader).unwrap();
            order.swap(0, place);
        }
        let (lying, honest) = order.split_at(plan.liars.into());
        let mut world = Self {
            plan,
            duty,
            now: START_MS - SLOT_MS / 2,
            sequence: 0,
            queue: BinaryHeap::new(),
            nodes: BTreeMap::new(),
            liars: Liars {
                quorums: lying.iter().map(|own| (*own, quorum(*own))).collect(),
                values: BTreeMap::new(),
                votes: BTreeMap::new(),
                proposed: BTreeMap::new(),
                top: 0,
                forges: rng.percent(20),
                told: BTreeSet::new(),
            },
            down: BTreeSet::new(),
            outcome: Outcome::default(),
            rng,
        };
        for own in honest {
            let node = Node {
                quorum: Arc::new(quorum(*own)),
                instance: None,
                clock: SLOT_MS + world.rng.below(2 * plan.skew_ms + 1) - plan.skew_ms,
                crashed: false,
                tick_at: None,
            };
            world.nodes.insert(*own, node);
            world.boot(*own);
            let start = world.true_time(*own, START_MS);
            world.at(start, Event::Start { node: *own });
        }
        let mut crashing: Vec<u16> = honest.iter().copied().take(plan.crashes.into()).collect();
        crashing.sort_unstable();
        for node in crashing {
            let at = START_MS + world.rng.below(SLOT_MS / 3 + plan.storm_ms + 300);
            world.at(at, Event::Crash { node });
            if plan.restarts {
                let again = at + world.rng.below(3000);
                world.at(again, Event::Restart { node });
            }
        }
        if plan.storm_ms > 0 {
            for a in 1..=plan.n {
                for b in a + 1..=plan.n {
                    if world.rng.percent(30) {
                        let at = START_MS + world.rng.below(SLOT_MS / 3 + plan.storm_ms);
                        world.at(at, Event::Link { a, b, up: false });
                        world.at(DUE_MS + plan.storm_ms, Event::Link { a, b, up: true });
                    }
                }
            }
        }
        if plan.liars > 0 {
            world.at(DUE_MS - 2000, Event::Mischief);
        }
        world
    }

    /// The true time at which a node's clock shows a time.
    fn true_time(&self, node: u16, local: u64) -> u64 {
        local + SLOT_MS - self.nodes[&node].clock
    }

    fn local_time(&self, node: u16) -> u64 {
        self.now + self.nodes[&node].clock - SLOT_MS
    }

    fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        let entry = (time.max(self.now), self.sequence, event);
        self.queue.push(std::cmp::Reverse(entry));
    }

    fn linked(&self, a: u16, b: u16) -> bool {
        let up = |node: u16| self.nodes.get(&node).is_none_or(|node| node.instance.is_some());
        up(a) && up(b) && !self.down.contains(&(a.min(b), a.max(b)))
    }

    /// A fresh process. It learns who is connected, and they that it is.
    fn boot(&mut self, own: u16) {
        let quorum = Arc::clone(&self.nodes[&own].quorum);
        let instance = Instance::new(quorum, self.duty, VALUE_LIMIT);
        let node = self.nodes.get_mut(&own).unwrap();
        node.instance = Some(instance);
        node.tick_at = None;
        for peer in 1..=self.plan.n {
            if peer != own && self.linked(own, peer) {
                self.tell_link(own, peer, true);
            }
        }
    }

    fn tell_link(&mut self, a: u16, b: u16, up: bool) {
        for (node, peer) in [(a, b), (b, a)] {
            self.with(node, |instance, now| instance.connection(now, peer, up));
        }
    }

    /// Calls a node, if it is up and honest, and does what it says.
    fn with(&mut self, own: u16, call: impl FnOnce(&mut Instance<Cheap>, u64) -> Vec<Effect>) {
        if !self.nodes.contains_key(&own) {
            return;
        }
        let local = self.local_time(own);
        let node = self.nodes.get_mut(&own).unwrap();
        let Some(instance) = &mut node.instance else {
            return;
        };
        let effects = call(instance, local);
        let wake = instance.next_wakeup();
        if let Some(wake) = wake.filter(|wake| node.tick_at != Some(*wake)) {
            node.tick_at = Some(wake);
            let time = self.true_time(own, wake);
            self.at(time, Event::Tick { node: own });
        }
        for effect in effects {
            if self.plan.traced {
                let line = format!("{} {own} {effect:?}", self.now);
                self.outcome.trace = sha256(&[&self.outcome.trace, line.as_bytes()]);
            }
            self.obey(own, effect);
        }
    }

    fn obey(&mut self, own: u16, effect: Effect) {
        match effect {
            Effect::Broadcast(message) => {
                for peer in (1..=self.plan.n).filter(|peer| *peer != own) {
                    self.send(own, peer, &message);
                }
            }
            Effect::Send { to, message } => self.send(own, to, &message),
            Effect::AskVerdict(proposal) => {
                let id = proposal.value_id();
                let liar = self.liars.quorums.contains_key(&proposal.operator);
                // What honest leaders make is plausible to everybody, if not at once. What liars make is plausible to some
                // only, or can never be right, on which all honest nodes agree.
                let lie = proposal.value.starts_with(b"lie");
                let valid = !lie || !id[0].is_multiple_of(5);
                let told = !liar || !valid || self.rng.percent(60);
                let late = if self.rng.percent(10) { 2000 } else { 20 };
                if told {
                    let at = self.now + self.rng.below(late);
                    let round = proposal.round;
                    self.at(
                        at,
                        Event::Verdict {
                            node: own,
                            round,
                            id,
                            valid,
                        },
                    );
                }
            }
            Effect::AskValue { round } => {
                // Mostly at the due time, sometimes when a block arrives early.
                let local = self.local_time(own);
                let early = self.rng.percent(30);
                let wait = if early { 0 } else { DUE_MS.saturating_sub(local) };
                let at = self.now + wait + self.rng.below(30);
                self.at(at, Event::Value { node: own, round });
            }
            Effect::Decided(decision) => {
                let node = &self.nodes[&own];
                assert_eq!(decision.value_id, value_id(&decision.value));
                assert_eq!(decision.certificate.value_id, decision.value_id);
                let proven = node
                    .quorum
                    .verify_certificate(self.duty, &decision.certificate, |_| false);
                assert!(proven, "{:?}", self.plan);
                let decided = self.outcome.decided.entry(own).or_default();
                decided.entry(decision.value_id).or_insert(decision.round);
                self.outcome.last_ms = self.outcome.last_ms.max(self.now.saturating_sub(DUE_MS));
            }
            Effect::Misbehaviour(deed) => {
                self.outcome.accused.insert(deed.operator());
            }
            Effect::Refused { .. } => {}
        }
    }

    fn send(&mut self, from: u16, to: u16, message: &Message) {
        if !self.linked(from, to) {
            return;
        }
        let storm = self.plan.storm_ms > 0 && self.now < DUE_MS + self.plan.storm_ms;
        let (loss, slowest) = if storm { (20, 400) } else { (0, 30) };
        let copies = if self.rng.percent(10) { 2 } else { 1 };
        for _ in 0..copies {
            if !self.rng.percent(loss) {
                let at = self.now + 1 + self.rng.below(slowest);
                let bytes = message.encode();
                self.at(at, Event::Deliver { to, from, bytes });
            }
        }
    }

    fn run(mut self) -> Outcome {
        let end = DUE_MS + self.plan.storm_ms + 6 * SLOT_MS;
        while let Some(std::cmp::Reverse((time, _, event))) = self.queue.pop() {
            if time > end {
                break;
            }
            self.now = time;
            self.happen(event);
        }
        let up = self.nodes.iter().filter(|(_, node)| node.instance.is_some());
        self.outcome.up = up.map(|(own, _)| *own).collect();
        self.outcome
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { node } if !self.nodes[&node].crashed => {
                self.with(node, |instance, now| instance.start(now, DUE_MS, Role::Votes));
            }
            Event::Start { .. } => {}
            Event::Deliver { to, from, bytes } => {
                let message = Message::decode(&bytes, |_| VALUE_LIMIT).unwrap();
                if self.nodes.contains_key(&to) {
                    self.with(to, |instance, now| instance.receive(now, from, message));
                } else {
                    self.liars.hear(message.body);
                }
            }
            Event::Tick { node } => {
                self.nodes.get_mut(&node).unwrap().tick_at = None;
                self.with(node, Instance::tick);
            }
            Event::Value { node, round } => {
                let value: Arc<[u8]> = format!("value of {node} in {round}").into_bytes().into();
                self.with(node, |instance, now| instance.propose(now, round, value));
            }
            Event::Verdict {
                node,
                round,
                id,
                valid,
            } => {
                let verdict = if valid { Verdict::Valid } else { Verdict::Invalid };
                self.with(node, |instance, now| instance.verdict(now, round, &id, verdict));
            }
            Event::Crash { node } => {
                let crashed = self.nodes.get_mut(&node).unwrap();
                crashed.instance = None;
                crashed.crashed = true;
                for peer in 1..=self.plan.n {
                    self.with(peer, |instance, now| instance.connection(now, node, false));
                }
            }
            Event::Restart { node } => {
                self.boot(node);
                self.with(node, |instance, now| instance.start(now, DUE_MS, Role::Observes));
            }
            Event::Link { a, b, up } => {
                if up {
                    self.down.remove(&(a, b));
                } else {
                    self.down.insert((a, b));
                }
                if !up || self.linked(a, b) {
                    self.tell_link(a, b, up);
                }
            }
            Event::Mischief => self.mischief(),
        }
    }

    fn mischief(&mut self) {
        let victims: Vec<u16> = self.nodes.keys().copied().collect();
        let told = if self.plan.split {
            self.liars.split(self.duty, &victims)
        } else {
            self.liars.anything(self.duty, &victims, &mut self.rng)
        };
        for (from, to, body) in told {
            let message = Message {
                duty: self.duty,
                body,
            };
            self.send(from, to, &message);
        }
        let undecided = victims
            .iter()
            .any(|node| !self.outcome.decided.contains_key(node));
        if undecided && self.now < DUE_MS + self.plan.storm_ms + 5 * SLOT_MS {
            let next = self.now + 5 + self.rng.below(60);
            self.at(next, Event::Mischief);
        }
    }
}

impl Liars {
    fn hear(&mut self, body: Body) {
        match body {
            Body::Proposal(proposal) => {
                let id = proposal.value_id();
                self.top = self.top.max(proposal.round);
                self.proposed.entry(proposal.round).or_insert(id);
                self.values.insert(id, proposal.value);
            }
            Body::Vote(vote) => self.hear_vote(&vote),
            Body::Certificate(certificate) => certificate.votes().for_each(|vote| self.hear_vote(&vote)),
            Body::Status(status) => self.top = self.top.max(status.round),
        }
    }

    fn hear_vote(&mut self, vote: &Vote) {
        self.top = self.top.max(vote.round);
        if let Some(id) = vote.choice {
            let voters = self.votes.entry((vote.round, vote.step, id)).or_default();
            voters.insert(vote.operator, vote.signature);
        }
    }

    fn make_value(&mut self, round: u8, side: usize) -> Hash {
        let value: Arc<[u8]> = format!("lie {side} in {round}").into_bytes().into();
        let id = value_id(&value);
        self.values.insert(id, value);
        id
    }

    fn proposal(&self, duty: Duty, liar: u16, round: u8, polka: Option<u8>, id: &Hash) -> Proposal {
        self.quorums[&liar].sign_proposal(duty, round, polka, Arc::clone(&self.values[id]))
    }

    /// One half is shown one value, the other half another one (or nil, where an honest node leads): proposal, prevotes
    /// and precommits.
    fn split(&mut self, duty: Duty, victims: &[u16]) -> Vec<(u16, u16, Body)> {
        let mut out = Vec::new();
        let round = self.top;
        let liars: Vec<u16> = self.quorums.keys().copied().collect();
        let leader = self.quorums[&liars[0]].leader(duty, round);
        let sides = if liars.contains(&leader) {
            [Some(self.make_value(round, 0)), Some(self.make_value(round, 1))]
        } else {
            let Some(id) = self.proposed.get(&round) else {
                return out;
            };
            [Some(*id), None]
        };
        for liar in liars {
            for (place, victim) in victims.iter().enumerate() {
                if !self.told.insert((liar, *victim, round, 0)) {
                    continue;
                }
                let choice = sides[place % 2];
                if let (true, Some(id)) = (liar == leader, choice) {
                    let proposal = self.proposal(duty, liar, round, None, &id);
                    out.push((liar, *victim, Body::Proposal(proposal)));
                }
                for step in [Step::Prevote, Step::Precommit] {
                    let vote = self.quorums[&liar].sign_vote(duty, round, step, choice);
                    out.push((liar, *victim, Body::Vote(vote)));
                }
            }
        }
        out
    }

    /// Whatever comes to mind: proposals, votes, certificates, to whomever.
    fn anything(&mut self, duty: Duty, victims: &[u16], rng: &mut Rng) -> Vec<(u16, u16, Body)> {
        let mut out = Vec::new();
        let liars: Vec<u16> = self.quorums.keys().copied().collect();
        for liar in liars.clone() {
            for victim in victims {
                if !rng.percent(50) {
                    continue;
                }
                let round = u8::try_from(rng.below(u64::from(self.top) + 2))
                    .unwrap()
                    .min(LAST_ROUND);
                let ids: Vec<Hash> = self.values.keys().copied().collect();
                let id = rng.pick(&ids).copied();
                let body = match rng.below(10) {
                    0..=2 => {
                        if self.quorums[&liar].leader(duty, round) != liar {
                            continue;
                        }
                        let side = usize::try_from(rng.below(3)).unwrap();
                        let id = id
                            .filter(|_| rng.percent(50))
                            .unwrap_or_else(|| self.make_value(round, side));
                        let polka = u8::try_from(rng.below(u64::from(round) + 1)).unwrap();
                        let polka = Some(polka).filter(|polka| *polka < round);
                        Body::Proposal(self.proposal(duty, liar, round, polka, &id))
                    }
                    3..=7 => {
                        let step = if rng.percent(50) {
                            Step::Prevote
                        } else {
                            Step::Precommit
                        };
                        let choice = id.filter(|_| rng.percent(80));
                        Body::Vote(self.quorums[&liar].sign_vote(duty, round, step, choice))
                    }
                    8 => {
                        let all: Vec<_> = self.votes.keys().copied().collect();
                        let Some((round, step, id)) = rng.pick(&all).copied() else {
                            continue;
                        };
                        let mut votes = self.votes[&(round, step, id)].clone();
                        for other in &liars {
                            let vote = self.quorums[other].sign_vote(duty, round, step, Some(id));
                            votes.insert(*other, vote.signature);
                        }
                        let enough = votes.len() >= usize::from(self.quorums[&liar].threshold);
                        if !enough && !self.forges {
                            continue;
                        }
                        if !enough {
                            votes.extend(victims.iter().map(|victim| (*victim, [1; 64])));
                        }
                        Body::Certificate(Certificate {
                            round,
                            step,
                            value_id: id,
                            signatures: votes.into_iter().collect(),
                        })
                    }
                    _ => Body::Status(Status::default()),
                };
                out.push((liar, *victim, body));
            }
        }
        out
    }
}

/// A run within what the group tolerates, of any sort.
fn tolerable(seed: u64) -> Plan {
    let mut rng = Rng(seed ^ 0x5eed);
    let (n, t) = *rng.pick(&GROUPS).unwrap();
    let liars = u16::try_from(rng.below(u64::from(may_lie(n, t).min(n - t)) + 1)).unwrap();
    Plan {
        seed,
        n,
        t,
        kind: *rng.pick(&Kind::ALL).unwrap(),
        liars,
        split: rng.percent(40),
        liar_leads: liars > 0 && rng.percent(50),
        crashes: u16::try_from(rng.below(u64::from(n - t - liars) + 1)).unwrap(),
        restarts: rng.percent(50),
        storm_ms: if rng.percent(50) { rng.below(3000) } else { 0 },
        skew_ms: if rng.percent(50) { SLOT_MS / 6 } else { 50 },
        traced: false,
    }
}

fn assert_safe(plan: &Plan, outcome: &Outcome, liars: &BTreeSet<u16>) {
    let values = outcome.values();
    assert!(values.len() <= 1, "{} values: {plan:?}", values.len());
    assert!(
        outcome.accused.is_subset(liars),
        "{:?} accused: {plan:?}",
        outcome.accused
    );
}

fn play(plan: Plan) -> (Outcome, BTreeSet<u16>) {
    let world = World::new(plan);
    let liars = world.liars.quorums.keys().copied().collect();
    (world.run(), liars)
}

#[test]
fn all_that_are_up_decide_the_same_within_what_a_threshold_tolerates() {
    let mut accused = 0;
    for seed in 0..2000 {
        let plan = tolerable(seed);
        let (outcome, liars) = play(plan);
        assert_safe(&plan, &outcome, &liars);
        for node in &outcome.up {
            assert!(
                outcome.decided.contains_key(node),
                "{node} is undecided: {plan:?}"
            );
        }
        // Counted from the due time or the end of the storm.
        let took_ms = outcome.last_ms.saturating_sub(plan.storm_ms);
        assert!(took_ms < 2 * SLOT_MS, "{took_ms} ms: {plan:?}");
        accused += outcome.accused.len();
    }
    assert!(accused > 100, "liars were seen {accused} times");
}

/// Too few voters for a decision, and whatever liars do: nobody decides differently, and nothing goes wrong.
#[test]
fn without_t_honest_nodes_nobody_decides_differently() {
    for seed in 0..500 {
        let plan = tolerable(seed);
        let plan = Plan {
            liars: may_lie(plan.n, plan.t).min(plan.n - 1),
            crashes: plan.crashes + 1,
            ..plan
        };
        let (outcome, liars) = play(plan);
        assert_safe(&plan, &outcome, &liars);
    }
}

/// With a good network no round is wasted but those of leaders that lie or are down, and one more in which liars may have
/// made some hold on to a value of theirs.
#[test]
fn with_a_good_network_the_first_honest_leaders_decide() {
    for seed in 0..500 {
        let plan = Plan {
            storm_ms: 0,
            skew_ms: 50,
            ..tolerable(seed)
        };
        let (outcome, _) = play(plan);
        let bad = u8::try_from(plan.liars + plan.crashes).unwrap();
        for node in &outcome.up {
            let round = outcome.decided[node].values().max().unwrap();
            assert!(*round <= bad + 1, "{node} decided in round {round}: {plan:?}");
        }
    }
}

/// The same liars, one more of them than safety allows: if this did not show, the tests above would prove nothing.
#[test]
fn one_liar_above_the_bound_makes_two_decisions_and_none_at_the_bound() {
    for (n, t) in GROUPS {
        let plan = |seed, liars| Plan {
            seed,
            n,
            t,
            kind: Kind::Head,
            liars,
            split: true,
            liar_leads: liars > 0,
            crashes: 0,
            restarts: false,
            storm_ms: 0,
            skew_ms: 0,
            traced: false,
        };
        let conflicts = |liars| {
            let differ = |seed: &u64| play(plan(*seed, liars)).0.values().len() > 1;
            (0..30).filter(differ).count()
        };
        assert!(conflicts(may_lie(n, t) + 1) > 0, "{t} of {n}");
        assert_eq!(conflicts(may_lie(n, t)), 0, "{t} of {n}");
    }
}

#[test]
fn the_same_inputs_give_the_same_effects() {
    let seeds = [3, 14, 159];
    let traced = |seed| Plan {
        traced: true,
        ..tolerable(seed)
    };
    let traces = seeds.map(|seed| play(traced(seed)).0);
    let again = seeds.map(|seed| play(traced(seed)).0);
    assert_eq!(traces, again);
    assert_ne!(traces[0].trace, traces[1].trace);
}
