//! A group of cores with simulated clocks, networks, beacon nodes, guards and signatures, driven by one seed.

mod chain;
pub(super) mod cheap;
mod coalition;
mod oracle;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::{Arc, OnceLock},
};

use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    alive::Alive,
    core::{
        Core, Effect, Event, History, Report, Settings, Standstill, Stop, Submission,
        effects::{Signed, ToCheck},
    },
    group::{Group, Operator, Validator},
    memory::Proofs,
    partials::Item,
    wire::{Hello, Message},
};
use conclave_beacon::chain::spec::Chain;
use conclave_consensus::Verdict;
use conclave_crypto::{
    bls::{PublicKey, SecretKey},
    hash::Hash,
    node::{NodeKey, NodePublicKey},
    scalar::Scalar,
};
use conclave_eth::{
    chain::types::{Bitvector, SyncCommitteeContribution},
    duty::{Duty, Kind, Purpose},
};
use conclave_slashing::{Message as Slashable, Progress, Record, Restoration, Start, Timing};

use chain::{aggregate, blobs_of, summary};
use cheap::{Cheap, combine, item};
use coalition::Coalition;
use oracle::Oracle;

/// The lock of all simulated groups.
pub(super) const LOCK: Hash = [7; 32];

/// What a simulation is made of.
#[derive(Clone)]
#[allow(clippy::struct_excessive_bools, reason = "each is a mishap of its own")]
pub(super) struct Plan {
    pub(super) operators: u16,
    pub(super) threshold: u16,
    pub(super) validators: u32,
    /// Milliseconds that messages take at least and at most.
    pub(super) delay: (u64, u64),
    /// Of 1,000 messages so many are lost.
    pub(super) lost: u32,
    /// Of 1,000 messages so many arrive twice.
    pub(super) doubled: u32,
    /// How far each clock is off, by operator from 1; missing ones are right.
    pub(super) skew: BTreeMap<u16, i64>,
    /// Of 1,000 slots so many have no block.
    pub(super) empty: u32,
    /// Operators who lie: each is two processes without a guard, one for each half of the others, and sometimes says
    /// whatever may do harm.
    pub(super) liars: BTreeSet<u16>,
    /// Of 1,000 messages of liars, so many are accompanied by mischief.
    pub(super) mischief: u32,
    /// Operators whose beacon nodes tell lies about head and checkpoints.
    pub(super) lied_to: BTreeSet<u16>,
    /// The beacon nodes of these operators answer nothing.
    pub(super) silent: BTreeSet<u16>,
    /// For whom restored folders do not wait.
    pub(super) excused: BTreeSet<u16>,
    /// These operators show nothing of what they remember of others.
    pub(super) hiding: BTreeSet<u16>,
    /// These operators tell everybody that it is the time that it is by the other one's clock.
    pub(super) echoing: BTreeSet<u16>,
    /// The beacon nodes of these operators refuse whatever they are asked.
    pub(super) failing: BTreeSet<u16>,
    /// The beacon nodes of these operators think that an older epoch is justified than the others do.
    pub(super) stale: BTreeSet<u16>,
    /// These operators have a second beacon node, one that is as most are.
    pub(super) second: BTreeSet<u16>,
    /// How many milliseconds later blocks arrive at the beacon nodes of these operators.
    pub(super) lagging: BTreeMap<u16, u64>,
    /// The beacon nodes of these operators follow another fork of the chain, and know the blocks of both.
    pub(super) astray: BTreeSet<u16>,
    /// How many milliseconds the beacon nodes of these operators need to make a block, if it is not 20.
    pub(super) building: BTreeMap<u16, u64>,
    /// Beacon nodes build on the parent of their head.
    pub(super) passes_over: bool,
    /// Milliseconds into its slot at which a block arrives at the earliest and at the latest.
    pub(super) arrival: (u64, u64),
    /// Of 1,000 signatures that a guard permitted, so many are followed by a crash before they are sent.
    pub(super) crash_in_guard: u32,
    /// The guards of these operators do not answer.
    pub(super) unguarded: BTreeSet<u16>,
    /// Guards ignore what was signed before: nothing but the start and the time speaks against a signature.
    pub(super) forgetful: bool,
    /// What is known of what other software signed with the shares before.
    pub(super) history: History,
    /// The epoch of a fork that nobody knows.
    pub(super) unknown_fork: Option<u64>,
    /// Whether a validator of the group proposes in every second slot.
    pub(super) proposals: bool,
    /// Whether there are aggregates and sync committee messages too.
    pub(super) all_duties: bool,
    /// Operators whose beacon nodes have contributions of other subcommittees only.
    pub(super) incomplete: BTreeSet<u16>,
    /// How long beacon nodes take to answer what contributions there are, in milliseconds.
    pub(super) contributions_after: u64,
    /// Whether every message goes through its bytes.
    pub(super) bytes: bool,
    /// By how many milliseconds a second beacon node of these operators is earlier: it tells of blocks, and the first one
    /// is asked all the same.
    pub(super) earlier: BTreeMap<u16, u64>,
    /// Whether targets are blocks, as on a real chain, and not the same for everybody.
    pub(super) real_targets: bool,
}

impl Plan {
    pub(super) fn new(operators: u16, threshold: u16) -> Self {
        Self {
            operators,
            threshold,
            validators: 4,
            delay: (1, 40),
            lost: 0,
            doubled: 0,
            skew: BTreeMap::new(),
            empty: 0,
            liars: BTreeSet::new(),
            mischief: 0,
            lied_to: BTreeSet::new(),
            silent: BTreeSet::new(),
            excused: BTreeSet::new(),
            hiding: BTreeSet::new(),
            echoing: BTreeSet::new(),
            failing: BTreeSet::new(),
            stale: BTreeSet::new(),
            second: BTreeSet::new(),
            lagging: BTreeMap::new(),
            astray: BTreeSet::new(),
            building: BTreeMap::new(),
            passes_over: false,
            arrival: (100, 1200),
            crash_in_guard: 0,
            unguarded: BTreeSet::new(),
            forgetful: false,
            history: History::Whole,
            unknown_fork: None,
            proposals: false,
            all_duties: true,
            incomplete: BTreeSet::new(),
            contributions_after: 8,
            bytes: true,
            earlier: BTreeMap::new(),
            real_targets: false,
        }
    }

    /// The half to which an operator belongs in the eyes of those who show two faces.
    fn half(&self, operator: u16) -> u8 {
        let before = (1..operator).filter(|o| !self.liars.contains(o)).count();
        u8::from(before % 2 == 1)
    }
}

/// What happens to a process.
enum Happening {
    Wake(usize),
    Net {
        to: usize,
        from: u16,
        message: Arc<Message>,
    },
    Connect {
        node: usize,
        operator: u16,
    },
    Disconnect {
        node: usize,
        operator: u16,
    },
    /// A block arrives at a node's beacon node.
    Block {
        node: usize,
        slot: u64,
    },
    /// A second beacon node of a node tells of a block.
    Heard {
        node: usize,
        slot: u64,
    },
    /// An effect's result, for the life that asked for it.
    Result {
        node: usize,
        life: u64,
        event: Box<Event>,
    },
    Kill(usize),
    Start(usize),
}

/// In the order of time, and of making.
struct Entry(u64, u64, Happening);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// One process.
pub(super) struct Node {
    pub(super) operator: u16,
    pub(super) core: Option<Core<Cheap>>,
    /// The durable part: record of each validator, and what is remembered of others.
    pub(super) disk: Disk,
    pub(super) stopped: Option<Stop>,
    start: Start,
    /// Of a process with two faces: the half of the others that it talks with.
    pub(super) side: Option<u8>,
    /// The slots of the blocks that its beacon node has.
    has: BTreeSet<u64>,
    wake: u64,
    pub(super) reports: Vec<Report>,
    /// Slots and validators for which its guard let it sign, since the start of the simulation.
    pub(super) signed: Vec<(u64, u32)>,
    /// Only watches.
    pub(super) dry: bool,
    /// Its disk is full while the guard is to be compared with what others remember: that is not answered.
    pub(super) full: bool,
    /// Its disk is full while the guard is to be raised: how often it was asked to in vain.
    pub(super) unraised: Option<u32>,
    /// Whom it refused to talk with.
    pub(super) refused: BTreeSet<u16>,
    /// Until when it stands still.
    frozen: u64,
    /// Counts starts, so that results of an earlier life are not delivered.
    life: u64,
}

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) records: BTreeMap<u32, Record>,
    pub(super) memory: BTreeMap<u16, Proofs>,
    /// How far it has signed.
    pub(super) progress: Progress,
    /// Made with `--new-slashing-database`.
    pub(super) marked: bool,
    /// Made for a folder that was restored from a backup; until the first attestation.
    pub(super) restored: bool,
    /// How it was raised then.
    pub(super) restoration: Option<Restoration>,
}

pub(super) struct Sim {
    pub(super) plan: Plan,
    pub(super) rng: ChaCha8Rng,
    pub(super) now: u64,
    queue: BinaryHeap<Reverse<Entry>>,
    number: u64,
    pub(super) nodes: Vec<Node>,
    group: Arc<Group>,
    pub(super) chain: Arc<Chain>,
    pub(super) oracle: Oracle,
    blocks: BTreeMap<u64, Hash>,
    /// By how many slots reorganisations moved the attesters of an epoch.
    shuffles: BTreeMap<u64, u64>,
    /// By how many epochs the justified checkpoint is older than it would be.
    justified_earlier: u64,
    /// What liars have heard and said.
    coalition: Coalition,
    /// Everything that was sent, with its sender, if it is to be kept.
    pub(super) log: Option<Vec<(u16, Arc<Message>)>>,
    /// Pairs that cannot talk.
    cut: BTreeSet<(u16, u16)>,
}

impl Sim {
    pub(super) fn new(seed: u64, plan: Plan) -> Self {
        let chain = Arc::new(super::chain(plan.unknown_fork));
        let group = Arc::new(group(&plan));
        let mut sim = Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: chain.time().genesis_ms.saturating_sub(1_000),
            queue: BinaryHeap::new(),
            number: 0,
            nodes: Vec::new(),
            group,
            chain,
            oracle: Oracle::default(),
            blocks: BTreeMap::new(),
            shuffles: BTreeMap::new(),
            justified_earlier: 0,
            coalition: Coalition::default(),
            log: None,
            cut: BTreeSet::new(),
            plan,
        };
        for operator in 1..=sim.plan.operators {
            let place = sim.add(operator, Disk::default());
            if sim.plan.liars.contains(&operator) {
                sim.nodes[place].side = Some(0);
                let other = sim.add_without_start(operator, Disk::default());
                sim.nodes[other].side = Some(1);
                sim.start(other);
            }
        }
        sim
    }

    /// Adds a process of an operator, with this disk, and starts it.
    pub(super) fn add(&mut self, operator: u16, disk: Disk) -> usize {
        let place = self.add_without_start(operator, disk);
        self.start(place);
        place
    }

    pub(super) fn add_without_start(&mut self, operator: u16, disk: Disk) -> usize {
        let place = self.nodes.len();
        self.nodes.push(Node {
            operator,
            core: None,
            disk,
            stopped: None,
            start: Start {
                first_slot: 0,
                first_target: 0,
            },
            side: None,
            has: BTreeSet::new(),
            wake: 0,
            reports: Vec::new(),
            signed: Vec::new(),
            dry: false,
            full: false,
            unraised: None,
            frozen: 0,
            refused: BTreeSet::new(),
            life: 0,
        });
        place
    }

    /// A clock of a node.
    pub(super) fn clock(&self, place: usize) -> u64 {
        let skew = self
            .plan
            .skew
            .get(&self.nodes[place].operator)
            .copied()
            .unwrap_or(0);
        self.now.saturating_add_signed(skew)
    }

    pub(super) fn slot(&self) -> u64 {
        self.chain.time().slot_at(self.now).unwrap_or(0)
    }

    /// What a guard is told at whatever counts as a start.
    fn start_rule(&self, place: usize) -> Start {
        if self.nodes[place].disk.restored {
            return Start::NEVER;
        }
        let time = self.chain.time();
        let epochs = if self.nodes[place].disk.marked { 3 } else { 1 };
        match time.slot_at(self.clock(place)) {
            None => Start {
                first_slot: 0,
                first_target: 0,
            },
            Some(slot) => Start {
                first_slot: slot + 1,
                first_target: time.epoch_of(slot) + epochs,
            },
        }
    }

    /// A clock jumps by so many milliseconds, or a process slept: this counts as a start.
    pub(super) fn jump(&mut self, place: usize, by: i64) {
        *self.plan.skew.entry(self.nodes[place].operator).or_default() += by;
        let start = self.start_rule(place);
        self.nodes[place].start = start;
        let instance = self.rng.random();
        self.nodes[place].wake = 0;
        self.happen(Happening::Result {
            node: place,
            life: self.nodes[place].life,
            event: Box::new(Event::Restarted { instance, start }),
        });
    }

    /// A process does nothing for so many milliseconds: what happens to it meanwhile it finds when it goes on.
    pub(super) fn freeze(&mut self, place: usize, ms: u64) {
        let from_ms = self.clock(place);
        let standstill = Standstill {
            from_ms,
            to_ms: from_ms + ms,
        };
        self.result(place, ms, Event::StoodStill(standstill));
        self.nodes[place].frozen = self.now + ms;
    }

    /// The beacon nodes of all of these processes tell of other forks to come.
    pub(super) fn learn(&mut self, places: std::ops::Range<usize>, chain: Chain) {
        let chain = Arc::new(chain);
        for place in places {
            self.result(place, 0, Event::Chain(chain.clone()));
        }
    }

    /// Starts a process from its disk.
    pub(super) fn start(&mut self, place: usize) {
        let now = self.clock(place);
        let start = self.start_rule(place);
        let settings = Settings {
            group: self.group.clone(),
            chain: self.chain.clone(),
            me: self.nodes[place].operator,
            software: "sim".into(),
            dry_run: self.nodes[place].dry,
            builder: false,
            history: if self.nodes[place].disk.restored {
                History::Partial
            } else {
                self.plan.history
            },
            excused: self.plan.excused.clone(),
        };
        let instance = self.rng.random();
        let node = &mut self.nodes[place];
        node.life += 1;
        node.start = start;
        node.stopped = None;
        node.refused.clear();
        let signatures = Cheap(node.operator);
        // A dry run opens no database.
        let memory = if node.dry {
            BTreeMap::new()
        } else {
            node.disk.memory.clone()
        };
        node.core = Core::new(settings, signatures, instance, memory, start, now);
        node.wake = 0;
        assert!(node.core.is_some());
        for other in 0..self.nodes.len() {
            self.connect(place, other);
        }
        self.duties(place, 1);
        self.wake(place, self.now);
    }

    /// Stops a process at once.
    pub(super) fn kill(&mut self, place: usize) {
        self.nodes[place].core = None;
        for other in 0..self.nodes.len() {
            if self.talk(place, other) {
                let operator = self.nodes[place].operator;
                self.at(
                    // What it said before arrives.
                    self.now + self.plan.delay.1.min(100) + 1,
                    Happening::Disconnect {
                        node: other,
                        operator,
                    },
                );
            }
        }
    }

    /// Cuts two operators off from each other, or joins them again.
    pub(super) fn set_cut(&mut self, a: u16, b: u16, cut: bool) {
        let pair = (a.min(b), a.max(b));
        if cut {
            self.cut.insert(pair);
        } else {
            self.cut.remove(&pair);
        }
        for (one, other) in [(a, b), (b, a)] {
            for node in self.places(one) {
                let happening = if cut {
                    Happening::Disconnect {
                        node,
                        operator: other,
                    }
                } else {
                    Happening::Connect {
                        node,
                        operator: other,
                    }
                };
                self.at(self.now + 5, happening);
            }
        }
    }

    fn places(&self, operator: u16) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|place| self.nodes[*place].operator == operator)
            .collect()
    }

    /// Whether two processes can talk.
    fn talk(&self, a: usize, b: usize) -> bool {
        let (one, other) = (&self.nodes[a], &self.nodes[b]);
        let (x, y) = (one.operator, other.operator);
        let faces = match (one.side, other.side) {
            (None, None) => true,
            (Some(a), Some(b)) => a == b,
            (Some(side), None) => side == self.plan.half(y),
            (None, Some(side)) => side == self.plan.half(x),
        };
        x != y && faces && !self.cut.contains(&(x.min(y), x.max(y)))
    }

    /// The first process of an operator.
    pub(super) fn place(&self, operator: u16) -> usize {
        self.places(operator).first().copied().unwrap_or(0)
    }

    /// Starts a second process with an operator's share. Either each half of the others sees one of them only, or all
    /// see both.
    pub(super) fn twin(&mut self, place: usize, disk: Disk, faces: bool) -> usize {
        let twin = self.add_without_start(self.nodes[place].operator, disk);
        let has = self.nodes[place].has.clone();
        self.nodes[twin].has = has;
        if faces {
            self.nodes[place].side = Some(0);
            self.nodes[twin].side = Some(1);
        }
        self.start(twin);
        twin
    }

    /// An operator's disk becomes an older copy, and possibly nobody else remembers more.
    pub(super) fn forget(&mut self, place: usize, disk: Disk, everybody: bool) {
        let operator = self.nodes[place].operator;
        self.kill(place);
        self.nodes[place].disk = disk;
        if everybody {
            for node in &mut self.nodes {
                node.disk.memory.remove(&operator);
                if let Some(core) = &mut node.core {
                    core.forget_memory(operator);
                }
            }
        }
        self.nodes[place].stopped = None;
        self.start(place);
    }

    fn connect(&mut self, a: usize, b: usize) {
        if self.nodes[b].core.is_none() || !self.talk(a, b) {
            return;
        }
        let (one, other) = (self.nodes[a].operator, self.nodes[b].operator);
        // After what an earlier life said, and its end.
        let at = self.now + self.plan.delay.1.min(100) + 2;
        self.at(
            at,
            Happening::Disconnect {
                node: b,
                operator: one,
            },
        );
        self.at(
            at,
            Happening::Connect {
                node: a,
                operator: other,
            },
        );
        self.at(
            at,
            Happening::Connect {
                node: b,
                operator: one,
            },
        );
    }

    fn at(&mut self, time: u64, happening: Happening) {
        self.number += 1;
        self.queue.push(Reverse(Entry(time, self.number, happening)));
    }

    fn result(&mut self, node: usize, after: u64, event: Event) {
        let life = self.nodes[node].life;
        let event = Box::new(event);
        self.at(self.now + after, Happening::Result { node, life, event });
    }

    /// Kills a process so much later, and starts it again after a while.
    pub(super) fn crash(&mut self, node: usize, after: u64, down: u64) {
        self.at(self.now + after, Happening::Kill(node));
        self.at(self.now + after + down, Happening::Start(node));
    }

    fn wake(&mut self, place: usize, at: u64) {
        let node = &mut self.nodes[place];
        if node.wake == 0 || at < node.wake || node.wake <= self.now {
            node.wake = at;
            self.at(at, Happening::Wake(place));
        }
    }

    /// Lets time pass to the end of this slot.
    pub(super) fn run_to(&mut self, slot: u64) {
        self.begin(slot);
        self.run_until(self.chain.time().end_of(slot) - 1);
    }

    /// Lets time pass to the beginning of this slot.
    pub(super) fn begin(&mut self, slot: u64) {
        let time = self.chain.time();
        let mut next = time.slot_at(self.now).map_or(0, |slot| slot + 1);
        while next <= slot {
            self.run_until(time.start_of(next));
            if self.block(next).is_some() {
                for node in 0..self.nodes.len() {
                    let late = self.plan.lagging.get(&self.nodes[node].operator).copied();
                    let at = self.now
                        + self.rng.random_range(self.plan.arrival.0..self.plan.arrival.1)
                        + late.unwrap_or(0);
                    self.at(at, Happening::Block { node, slot: next });
                    if let Some(by) = self.plan.earlier.get(&self.nodes[node].operator) {
                        let before = at.saturating_sub(*by).max(self.now);
                        self.at(before, Happening::Heard { node, slot: next });
                    }
                }
            }
            if next.is_multiple_of(time.slots_per_epoch) {
                for place in 0..self.nodes.len() {
                    if self.nodes[place].core.is_some() {
                        self.duties(place, 1);
                    }
                }
            }
            self.coalition.forget(next);
            next += 1;
        }
    }

    pub(super) fn run_until(&mut self, time: u64) {
        while self.queue.peek().is_some_and(|Reverse(entry)| entry.0 <= time) {
            let Some(Reverse(Entry(at, _, happening))) = self.queue.pop() else {
                return;
            };
            self.now = self.now.max(at);
            let (Happening::Wake(node)
            | Happening::Kill(node)
            | Happening::Start(node)
            | Happening::Connect { node, .. }
            | Happening::Disconnect { node, .. }
            | Happening::Net { to: node, .. }
            | Happening::Block { node, .. }
            | Happening::Heard { node, .. }
            | Happening::Result { node, .. }) = happening;
            if self.nodes[node].frozen > self.now {
                self.at(self.nodes[node].frozen, happening);
            } else {
                self.happen(happening);
            }
        }
        self.now = self.now.max(time);
    }

    fn happen(&mut self, happening: Happening) {
        let (place, event) = match happening {
            Happening::Wake(place) => (place, Event::Tick),
            Happening::Connect { node, operator } => (node, Event::Connected(operator)),
            Happening::Disconnect { node, operator } => (node, Event::Disconnected(operator)),
            Happening::Net { to, from, message } => {
                // Who lies does not stop because somebody noticed.
                let own = |alive: &Alive| alive.operator == self.nodes[to].operator;
                if self.plan.liars.contains(&self.nodes[to].operator) {
                    self.coalition.hear(&message);
                    if matches!(&*message, Message::Alive(alive) if own(alive)) {
                        return;
                    }
                }
                if self.nodes[to].refused.contains(&from) {
                    return;
                }
                let message = if self.plan.bytes {
                    // Through its bytes, as on the wire.
                    let (kind, payload) = message.encode();
                    Message::decode(kind, &payload).expect("a message that comes back")
                } else {
                    Arc::unwrap_or_clone(message)
                };
                (to, Event::Message { from, message })
            }
            Happening::Block { node, slot } => {
                self.nodes[node].has.insert(slot);
                return self.told(node, slot);
            }
            Happening::Heard { node, slot } => return self.told(node, slot),
            Happening::Result { node, life, event } => {
                if life != self.nodes[node].life {
                    return;
                }
                (node, *event)
            }
            Happening::Kill(node) => return self.kill(node),
            Happening::Start(node) => {
                if self.nodes[node].core.is_none() && self.nodes[node].stopped.is_none() {
                    self.start(node);
                }
                return;
            }
        };
        self.handle(place, event);
    }

    /// A beacon node of a node tells of a block that became its head.
    fn told(&mut self, place: usize, slot: u64) {
        if let Some(root) = self.root(place, slot) {
            let heads = [("node".to_owned(), slot)].into();
            self.handle(place, Event::Shown(heads));
            self.handle(place, Event::Heard { slot, root });
            self.handle(place, Event::Head { slot, root });
        }
    }

    fn handle(&mut self, place: usize, event: Event) {
        let clock = self.clock(place);
        let Some(core) = &mut self.nodes[place].core else {
            return;
        };
        let effects = core.handle(clock, event);
        let wake = core.wake_at();
        let late = wake.saturating_sub(clock).max(1);
        self.wake(place, self.now + late);
        for effect in effects {
            self.carry_out(place, effect);
        }
    }

    #[allow(clippy::too_many_lines, reason = "an effect after the other")]
    fn carry_out(&mut self, place: usize, effect: Effect) {
        let operator = self.nodes[place].operator;
        match effect {
            Effect::Send {
                to,
                message: Message::Hello(hello),
            } if self.plan.hiding.contains(&operator) => {
                let hello = Hello {
                    proofs: Proofs::default(),
                    ..hello
                };
                self.send(place, to, &Arc::new(Message::Hello(hello)));
            }
            Effect::Send {
                to,
                message:
                    Message::Clock {
                        answers_ms,
                        waited_ms,
                        ..
                    },
            } if self.plan.echoing.contains(&operator) => {
                let message = Message::Clock {
                    clock_ms: answers_ms.saturating_add(waited_ms.into()),
                    answers_ms,
                    waited_ms,
                };
                self.send(place, to, &Arc::new(message));
            }
            Effect::Send { to, message } => self.send(place, to, &Arc::new(message)),
            Effect::Broadcast(message) => {
                let message = Arc::new(message);
                for to in (1..=self.plan.operators).filter(|to| *to != operator) {
                    self.send(place, to, &message);
                }
            }
            Effect::Refuse { operator, .. } => {
                self.nodes[place].refused.insert(operator);
            }
            Effect::AskAggregates {
                round,
                data,
                committees,
            } => {
                let aggregates = committees
                    .iter()
                    .map(|committee| aggregate(data, *committee))
                    .collect();
                let slot = data.slot;
                let event = Event::Aggregates {
                    slot,
                    round,
                    aggregates,
                };
                self.result(place, 8, event);
            }
            Effect::AskContributions {
                round,
                slot,
                root,
                subcommittees,
            } => {
                let size = self.chain.spec.sizes.sync_subcommittee_size();
                let other = u16::from(self.plan.incomplete.contains(&operator));
                let contributions =
                    subcommittees
                        .iter()
                        .map(|subcommittee| subcommittee ^ other)
                        .map(|subcommittee| SyncCommitteeContribution {
                            slot,
                            beacon_block_root: root,
                            subcommittee_index: u64::from(subcommittee),
                            aggregation_bits: Bitvector::with_ones(size, &[0]),
                            signature: [0; 96],
                        });
                let event = Event::Contributions {
                    slot,
                    round,
                    contributions: contributions.collect(),
                };
                self.result(place, self.plan.contributions_after, event);
            }
            Effect::AskView { .. } | Effect::AskAllViews { .. } | Effect::AskBlock { .. }
                if self.plan.silent.contains(&operator) => {}
            Effect::AskAllViews { .. } if self.plan.failing.contains(&operator) => {}
            Effect::AskView { slot } if self.plan.failing.contains(&operator) => {
                let kind = Kind::Head;
                let duty = Duty { slot, kind };
                self.result(place, 8, Event::Unanswered { duty, round: None });
            }
            Effect::AskBlock { slot, round, .. } if self.plan.failing.contains(&operator) => {
                let (kind, round) = (Kind::Block, Some(round));
                let duty = Duty { slot, kind };
                self.result(place, 8, Event::Unanswered { duty, round });
            }
            Effect::AskView { slot } => {
                let data = self.view(place, slot);
                self.result(place, 8, Event::View { slot, data });
            }
            Effect::AskAllViews { slot } => {
                let data = self.view(place, slot);
                self.result(place, 8, Event::OtherView { slot, data });
                if self.plan.second.contains(&operator) {
                    let data = self.view_of_second(place, slot);
                    self.result(place, 12, Event::OtherView { slot, data });
                }
            }
            Effect::LookUp { slot, root } => {
                let known = self.knows(place, root);
                let event = Event::Block {
                    slot,
                    root,
                    place: known,
                };
                self.result(place, 8, event);
            }
            Effect::AskBlock {
                slot, round, randao, ..
            } => {
                if let Some(made) = self.make(place, slot, randao) {
                    let after = self.plan.building.get(&operator).copied().unwrap_or(20);
                    self.result(place, after, Event::Produced { slot, round, made });
                }
            }
            Effect::AskAncestor { slot, root } => {
                let ancestor = self.ancestor(place, root);
                let event = Event::Ancestor { slot, root, ancestor };
                self.result(place, 8, event);
            }
            Effect::AskHead => {
                let newest = self.nodes[place].has.last().copied();
                if let Some((slot, root)) = newest.and_then(|slot| Some((slot, self.root(place, slot)?))) {
                    self.result(place, 5, Event::Head { slot, root });
                }
            }
            Effect::Check {
                duty,
                id,
                what: ToCheck::Block(value),
                ..
            } => {
                let block = summary(&value);
                let slot = duty.slot;
                self.result(place, 3, Event::Decoded { slot, id, block });
            }
            Effect::Submit(Submission::Block {
                slot,
                value,
                contents,
                ..
            }) => {
                // No beacon node takes a block with the blobs of another one.
                let whole = contents.is_some_and(|contents| contents == blobs_of(&value));
                if whole && !self.plan.liars.contains(&operator) {
                    self.oracle.proposed.insert(slot);
                }
            }
            Effect::Check { duty, round, id, .. } => {
                let verdict = Some(Verdict::Valid);
                self.result(
                    place,
                    5,
                    Event::Checked {
                        duty,
                        round,
                        id,
                        verdict,
                    },
                );
            }
            Effect::Sign { purpose, slot, roots } => {
                assert!(!purpose.slashable(), "the guard was not asked");
                let items = roots
                    .into_iter()
                    .map(|(place, root)| item(operator, place, root))
                    .collect();
                self.signed(place, purpose, slot, (0, 0), items, Vec::new());
            }
            Effect::Guard {
                purpose,
                slot,
                epochs,
                root,
                validators,
                deadline_ms,
            } => {
                let message = match purpose {
                    Purpose::Block => Slashable::Block { slot },
                    _ => Slashable::Attestation {
                        slot,
                        source: epochs.0,
                        target: epochs.1,
                    },
                };
                if self.plan.unguarded.contains(&operator) {
                    return;
                }
                let items = self.guarded(place, message, root, validators.clone(), deadline_ms);
                let signs = |validator: &u32| items.iter().any(|item| item.validator == *validator);
                let refused = validators.into_iter().filter(|validator| !signs(validator));
                let refused = refused.collect();
                self.signed(place, purpose, slot, epochs, items, refused);
            }
            Effect::Combine { purpose, slot, job } => {
                let outcome = combine(&job);
                self.result(
                    place,
                    3,
                    Event::Combined {
                        purpose,
                        slot,
                        outcome,
                    },
                );
            }
            Effect::Submit(submission) if self.too_late(place, &submission) => {}
            Effect::Submit(Submission::Attestations(attestations))
                if !self.plan.liars.contains(&operator) =>
            {
                for attestation in attestations {
                    let data = attestation.data;
                    let into = self.now.saturating_sub(self.chain.time().start_of(data.slot));
                    let key = (attestation.attester_index, data.slot);
                    self.oracle.submitters.entry(key).or_default().insert(operator);
                    self.oracle
                        .first
                        .entry((attestation.attester_index, data.slot))
                        .or_insert(into);
                    self.oracle
                        .voted
                        .entry((attestation.attester_index, data.slot))
                        .or_insert(data);
                }
            }
            Effect::Submit(Submission::SyncMessages(messages)) => {
                for message in messages {
                    let key = (message.validator_index, message.slot);
                    self.oracle.sync.insert(key);
                    self.oracle
                        .sync_roots
                        .entry(key)
                        .or_insert(message.beacon_block_root);
                }
            }
            Effect::Submit(Submission::Contributions(contributions)) => {
                let slots = contributions
                    .iter()
                    .map(|signed| signed.message.contribution.slot);
                self.oracle.contributed.extend(slots);
            }
            Effect::Submit(Submission::Aggregates(aggregates)) => {
                let slots = aggregates.iter().map(|signed| signed.message.aggregate.data.slot);
                self.oracle.aggregated.extend(slots);
            }
            Effect::Submit(Submission::Attestations(_))
            | Effect::Subscribe(_)
            | Effect::StopMaking { .. } => {}
            Effect::Remember { .. } if self.nodes[place].dry => {}
            Effect::Remember { operator, proof } => {
                self.nodes[place]
                    .disk
                    .memory
                    .entry(operator)
                    .or_default()
                    .take(proof);
            }
            Effect::Compare { .. } if self.nodes[place].full => {}
            Effect::Raise { .. } if self.nodes[place].unraised.is_some() => {
                self.nodes[place].unraised = self.nodes[place].unraised.map(|times| times + 1);
            }
            Effect::Compare {
                operator,
                remembered,
                confirms,
            } => {
                let disk = &mut self.nodes[place].disk;
                let known = disk.progress;
                let newer = Progress {
                    block: remembered.block.filter(|_| remembered.block > known.block),
                    attestation: remembered
                        .attestation
                        .filter(|_| remembered.attestation > known.attestation),
                };
                disk.progress = known.with(newer);
                let before = disk.records.clone();
                if newer != Progress::default() {
                    for validator in 0..self.plan.validators {
                        let record = disk.records.entry(validator).or_default();
                        *record = record.raised(newer.record());
                    }
                    let disproven = |known: &Restoration| known.is_disproven_by(newer.record());
                    if let Some(known) = disk.restoration.take_if(|known| disproven(known)) {
                        for record in disk.records.values_mut() {
                            *record = record.raised(known.rest());
                        }
                    }
                }
                let newer = disk.records != before;
                let event = Event::Compared {
                    operator,
                    remembered,
                    newer,
                    confirms,
                };
                self.result(place, 2, event);
            }
            Effect::Raise { to, instance } => {
                let disk = &mut self.nodes[place].disk;
                let (to, known) = Restoration::raise(disk.restoration, to);
                disk.restoration = known.filter(|_| disk.restored);
                for validator in 0..self.plan.validators {
                    let record = disk.records.entry(validator).or_default();
                    *record = record.raised(to);
                }
                self.result(place, 3, Event::Raised { instance });
            }
            Effect::Begin(start) => self.nodes[place].start = start,
            Effect::Report(report) => self.nodes[place].reports.push(report),
            // What it said before still leaves, as it was sent already.
            Effect::Stop(stop) => {
                self.nodes[place].stopped = Some(stop);
                self.kill(place);
            }
        }
    }

    /// What a guard permits a share to sign.
    fn guarded(
        &mut self,
        place: usize,
        message: Slashable,
        root: Hash,
        validators: Vec<u32>,
        deadline_ms: u64,
    ) -> Vec<Item> {
        let time = self.chain.time();
        let slot = message.slot();
        let timing = Timing {
            now_ms: self.clock(place),
            slot_start_ms: time.start_of(slot),
            slot_ms: time.slot_ms,
            deadline_ms,
            epoch: time.epoch_of(slot),
        };
        let node = &mut self.nodes[place];
        let operator = node.operator;
        let allowed = node.start.check(&message).is_ok() && timing.check(&message).is_ok();
        let lies = self.plan.liars.contains(&operator);
        let mut items = Vec::new();
        for validator in validators {
            let record = node.disk.records.entry(validator).or_default();
            let fits = self.plan.forgetful || record.check(&message).is_ok();
            if !(lies || allowed && fits) {
                continue;
            }
            *record = record.raised(Record::from(message));
            node.disk.progress = node.disk.progress.with(message.into());
            items.push(item(operator, (validator, 0), root));
            node.signed.push((slot, validator));
            match message {
                Slashable::Block { slot } => {
                    let signed = self.oracle.blocks.entry((validator, slot)).or_default();
                    signed.entry(root).or_default().insert(operator);
                }
                Slashable::Attestation { source, target, .. } => {
                    node.disk.restored = false;
                    node.disk.restoration = None;
                    let signed = self.oracle.partials.entry((validator, root));
                    let signed = signed.or_insert(((source, target), BTreeSet::new()));
                    signed.1.insert(operator);
                }
            }
        }
        if !items.is_empty() && !lies && self.rng.random_range(0..1000) < self.plan.crash_in_guard {
            let (after, down) = (self.rng.random_range(0..6), self.rng.random_range(10..9000));
            self.crash(place, after, down);
        }
        items
    }

    fn signed(
        &mut self,
        place: usize,
        purpose: Purpose,
        slot: u64,
        epochs: (u64, u64),
        items: Vec<Item>,
        refused: Vec<u32>,
    ) {
        let signed = Signed {
            purpose,
            slot,
            epochs,
            items,
            refused,
        };
        self.result(place, 4, Event::Signed(signed));
    }

    /// Lost, late, twice, in any order.
    fn send(&mut self, from: usize, to: u16, message: &Arc<Message>) {
        let operator = self.nodes[from].operator;
        if let Some(log) = &mut self.log {
            log.push((operator, message.clone()));
        }
        for place in self.places(to) {
            if !self.talk(from, place) {
                continue;
            }
            if self.plan.liars.contains(&operator) {
                self.coalition.hear(message);
                if self.rng.random_range(0..1000) < self.plan.mischief {
                    let liars: Vec<u16> = self.plan.liars.iter().copied().collect();
                    let mischief = self.coalition.mischief(&mut self.rng, &liars, operator, message);
                    for message in mischief {
                        // To anybody.
                        let victim = self.rng.random_range(0..self.nodes.len());
                        if self.nodes[victim].operator != operator {
                            self.post(operator, victim, &Arc::new(message));
                        }
                    }
                }
            }
            self.post(operator, place, message);
        }
    }

    /// Brings a message from an operator to a process, or does not.
    pub(super) fn post(&mut self, from: u16, to: usize, message: &Arc<Message>) {
        if self.rng.random_range(0..1000) < self.plan.lost {
            return;
        }
        let twice = self.rng.random_range(0..1000) < self.plan.doubled;
        for _ in 0..=u8::from(twice) {
            let delay = self.rng.random_range(self.plan.delay.0..=self.plan.delay.1);
            let message = message.clone();
            self.at(self.now + delay, Happening::Net { to, from, message });
        }
    }

    /// Whether the guard of a process is being compared with what so many others remember.
    pub(super) fn comparing(&self, place: usize, operators: usize) -> bool {
        let compared = |entry: &&Reverse<Entry>| {
            let Happening::Result { node, event, .. } = &entry.0.2 else {
                return false;
            };
            *node == place && matches!(**event, Event::Compared { .. })
        };
        self.queue.iter().filter(compared).count() >= operators
    }

    /// How much a core holds: entries, and bytes of values.
    pub(super) fn sizes(&self, place: usize) -> (usize, usize) {
        self.nodes[place].core.as_ref().map_or((0, 0), Core::sizes)
    }

    /// Gives a process a message at once. What it does about it happens; how many messages it sends is told.
    pub(super) fn feed(&mut self, place: usize, from: u16, message: Message) -> usize {
        let clock = self.clock(place);
        let Some(core) = &mut self.nodes[place].core else {
            return 0;
        };
        let effects = core.handle(clock, Event::Message { from, message });
        let sends = |effect: &&Effect| matches!(effect, Effect::Send { .. } | Effect::Broadcast(_));
        let sent = effects.iter().filter(sends).count();
        for effect in effects {
            self.carry_out(place, effect);
        }
        sent
    }

    /// Beacon nodes of a process show these heads: their names and slots.
    pub(super) fn shows(&mut self, place: usize, heads: &[(&str, u64)]) {
        let heads = heads.iter().map(|(name, slot)| ((*name).to_owned(), *slot));
        self.handle(place, Event::Shown(heads.collect()));
    }

    /// An operator whose process is down is connected all the same: somebody speaks in its name.
    pub(super) fn impersonate(&mut self, operator: u16) {
        for node in 0..self.nodes.len() {
            if self.nodes[node].operator != operator {
                self.at(self.now + 10, Happening::Connect { node, operator });
            }
        }
    }

    /// Whether anything of this kind was reported by a process.
    pub(super) fn reported(&self, place: usize, what: impl Fn(&Report) -> bool) -> bool {
        self.nodes[place].reports.iter().any(what)
    }
}

pub(super) fn group(plan: &Plan) -> Group {
    // Which keys they are matters to nobody here.
    static KEYS: OnceLock<(PublicKey, NodePublicKey)> = OnceLock::new();
    let (share, node) = *KEYS.get_or_init(|| {
        let secret = SecretKey::from_scalar(&Scalar::from_u64(2)).expect("not zero");
        let node = NodeKey::from_bytes(&[1; 32]).expect("a key");
        (secret.public_key(), node.public())
    });
    Group {
        lock_hash: LOCK,
        threshold: plan.threshold,
        operators: (1..=plan.operators)
            .map(|operator| Operator {
                name: format!("operator {operator}"),
                key: node,
            })
            .collect(),
        validators: (0..plan.validators)
            .map(|_| Validator {
                key: share,
                shares: vec![share; plan.operators.into()],
                fee_recipient: [0; 20],
            })
            .collect(),
    }
}
