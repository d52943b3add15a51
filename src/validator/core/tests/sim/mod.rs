//! A group of cores with simulated clocks, networks, beacon nodes, guards and signatures, driven by one seed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::{Arc, OnceLock},
};

use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    crypto::{
        bls::{PublicKey, SecretKey},
        hash::{Hash, sha256},
        node::{NodeKey, NodePublicKey},
        scalar::Scalar,
    },
    validator::{
        agreement::{
            self, Signatures, Verdict,
            messages::{Body, Certificate, Proposal, Step, Vote, proposal_digest, vote_digest},
        },
        alive::Alive,
        chain::{
            spec::{Chain, Fork},
            types::{
                Attestation, AttestationData, BeaconBlockHeader, Bitlist, Bitvector, Checkpoint,
                SyncCommitteeContribution,
            },
        },
        combine::{Combined, Job, Outcome},
        core::{
            Core, Effect, Event, Report, Settings, Stop, Submission,
            effects::{Signed, ToCheck},
            proposing::{Made, Summary, decode_value, encode_value},
            schedule::{Attester, Proposer, SyncMember},
        },
        duty::{Duty, Purpose},
        group::{Group, Operator, Validator},
        guard::{Message as Slashable, Progress, Record, Start, Timing},
        memory::Proofs,
        partials::{Item, Partials},
        wire::Message,
    },
};

/// The lock of all simulated groups.
pub(super) const LOCK: Hash = [7; 32];

/// Signatures that nobody can tell from real ones within a simulation: nobody here computes another's.
#[derive(Clone)]
pub(super) struct Cheap(pub(super) u16);

fn cheap(operator: u16, digest: &Hash) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&sha256(&[b"cheap", &operator.to_be_bytes(), digest]));
    bytes
}

impl Signatures for Cheap {
    fn sign(&self, digest: &Hash) -> [u8; 64] {
        cheap(self.0, digest)
    }

    fn verify(&self, operator: u16, digest: &Hash, signature: &[u8; 64]) -> bool {
        *signature == cheap(operator, digest)
    }
}

/// A partial signature of nobody's real share.
fn partial(operator: u16, validator: u32, root: &Hash) -> [u8; 96] {
    let mut bytes = [0; 96];
    bytes[..32].copy_from_slice(&sha256(&[
        b"partial",
        &operator.to_be_bytes(),
        &validator.to_be_bytes(),
        root,
    ]));
    bytes
}

fn combine(job: &Job) -> Outcome {
    let mut outcome = Outcome::default();
    for (place, root, partials) in job.tasks() {
        outcome.places.push(place);
        let wrong: Vec<u16> = partials
            .iter()
            .filter(|(operator, signature)| *signature != partial(*operator, place.0, &root))
            .map(|(operator, _)| *operator)
            .collect();
        if wrong.is_empty() {
            let mut signature = [0; 96];
            signature[..32].copy_from_slice(&sha256(&[b"whole", &place.0.to_be_bytes(), &root]));
            outcome.signatures.push(Combined {
                place,
                root,
                signature,
                signers: partials.iter().map(|(operator, _)| *operator).collect(),
            });
        }
        outcome
            .wrong
            .extend(wrong.into_iter().map(|operator| (operator, place)));
    }
    outcome
}

/// What a simulation is made of.
#[derive(Clone)]
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
    /// How many milliseconds later blocks arrive at the beacon nodes of these operators.
    pub(super) lagging: BTreeMap<u16, u64>,
    /// The beacon nodes of these operators follow another fork of the chain, and know the blocks of both.
    pub(super) astray: BTreeSet<u16>,
    /// Milliseconds into its slot at which a block arrives at the earliest and at the latest.
    pub(super) arrival: (u64, u64),
    /// Of 1,000 signatures that a guard permitted, so many are followed by a crash before they are sent.
    pub(super) crash_in_guard: u32,
    /// The epoch of a fork that nobody knows.
    pub(super) unknown_fork: Option<u64>,
    /// Whether a validator of the group proposes in every second slot.
    pub(super) proposals: bool,
    /// Whether there are aggregates and sync committee messages too.
    pub(super) all_duties: bool,
    /// Whether every message goes through its bytes.
    pub(super) bytes: bool,
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
            lagging: BTreeMap::new(),
            astray: BTreeSet::new(),
            arrival: (100, 1200),
            crash_in_guard: 0,
            unknown_fork: None,
            proposals: false,
            all_duties: true,
            bytes: true,
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
    /// Whom it refused to talk with.
    pub(super) refused: BTreeSet<u16>,
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
}

/// Source and target, and whose shares signed it.
type Signers = ((u64, u64), BTreeSet<u16>);
/// Agreement, round, step and value of a vote.
type Ballot = (Duty, u8, Step, Hash);

/// What was signed by whom, and what the chain has seen.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    /// Validator and signing root: epochs, and whose shares signed it, sent or not.
    partials: BTreeMap<(u32, Hash), Signers>,
    /// Validator, slot: milliseconds into the slot of the first one.
    pub(super) first: BTreeMap<(u64, u64), u64>,
    pub(super) sync: BTreeSet<(u64, u64)>,
    /// Validator and slot: whose shares signed which block, sent or not.
    blocks: BTreeMap<(u32, u64), BTreeMap<Hash, BTreeSet<u16>>>,
    /// Slots in which a block of ours came.
    pub(super) proposed: BTreeSet<u64>,
    /// Slots in which aggregates came.
    pub(super) aggregated: BTreeSet<u64>,
    /// What came to a beacon node when no beacon node takes it any more: what it was, slot, milliseconds too late.
    pub(super) late: Vec<(&'static str, u64, u64)>,
    /// Slots in which contributions of sync committee messages came.
    pub(super) contributed: BTreeSet<u64>,
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
            refused: BTreeSet::new(),
            life: 0,
        });
        place
    }

    /// A clock of a node.
    fn clock(&self, place: usize) -> u64 {
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
        };
        let instance = self.rng.random();
        let node = &mut self.nodes[place];
        node.life += 1;
        node.start = start;
        node.stopped = None;
        node.refused.clear();
        let signatures = Cheap(node.operator);
        node.core = Core::new(
            settings,
            signatures,
            instance,
            node.disk.memory.clone(),
            start,
            now,
        );
        node.wake = 0;
        assert!(node.core.is_some());
        for other in 0..self.nodes.len() {
            self.connect(place, other);
        }
        self.duties(place);
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

    /// Tells a node its duties for this epoch and the next.
    fn duties(&mut self, place: usize) {
        let time = self.chain.time();
        let epoch = time.epoch_of(self.slot());
        for epoch in [epoch, epoch + 1] {
            let duties = (0..self.plan.validators)
                .map(|validator| {
                    let slot = time.first_slot(epoch)
                        + (u64::from(validator) * 7 + epoch * 3) % time.slots_per_epoch;
                    let attester = Attester {
                        validator,
                        index: 1000 + u64::from(validator),
                        committee: u64::from(validator) % 2,
                        committee_length: if self.plan.all_duties { 64 } else { 1 << 40 },
                        committees_at_slot: 2,
                    };
                    (slot, attester)
                })
                .collect();
            self.result(place, 1, Event::Attesters { epoch, duties });
            let slots = time.first_slot(epoch)..time.first_slot(epoch + 1);
            let duties = slots.filter_map(|slot| Some((slot, self.proposer(slot)?)));
            let duties = duties.collect();
            self.result(place, 1, Event::Proposers { epoch, duties });
            if !self.plan.all_duties {
                continue;
            }
            let members = vec![SyncMember {
                validator: 0,
                index: 1000,
                subcommittees: vec![1],
                places: vec![9],
            }];
            self.result(place, 1, Event::SyncMembers { epoch, members });
        }
    }

    /// Who of ours proposes in a slot.
    fn proposer(&self, slot: u64) -> Option<Proposer> {
        let validator = u32::try_from(slot / 2 % u64::from(self.plan.validators)).expect("few");
        (self.plan.proposals && slot % 2 == 1).then_some(Proposer {
            validator,
            index: 1000 + u64::from(validator),
        })
    }

    /// A block as a node's beacon node makes it: each makes another one.
    fn make(&mut self, place: usize, slot: u64, randao: [u8; 96]) -> Option<Made> {
        let parent = self.nodes[place].has.range(..slot).next_back().copied();
        let proposer = self.proposer(slot)?;
        let mut parent_root = self.root(place, parent.unwrap_or(0)).unwrap_or([1; 32]);
        if self.plan.lied_to.contains(&self.nodes[place].operator) && self.rng.random() {
            parent_root = self.rng.random();
        }
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&slot.to_be_bytes());
        bytes.extend_from_slice(&proposer.index.to_be_bytes());
        bytes.extend_from_slice(&parent_root);
        bytes.extend_from_slice(&self.rng.random::<[u8; 8]>());
        bytes.extend_from_slice(&randao);
        let value = encode_value(Fork::Electra, false, &bytes);
        let summary = summary(&value)?;
        Some(Made {
            value,
            summary,
            contents: None,
        })
    }

    /// The block of a slot, if it has one.
    fn block(&mut self, slot: u64) -> Option<Hash> {
        if !self.blocks.contains_key(&slot) {
            // Our own ones do not come back.
            let ours = self.proposer(slot).is_some();
            let empty = ours || slot > 0 && self.rng.random_range(0..1000) < self.plan.empty;
            self.blocks.insert(
                slot,
                if empty {
                    [0; 32]
                } else {
                    sha256(&[b"block", &slot.to_be_bytes()])
                },
            );
        }
        self.blocks.get(&slot).copied().filter(|root| *root != [0; 32])
    }

    /// The root of a block as a node's beacon node follows the chain.
    fn root(&self, place: usize, slot: u64) -> Option<Hash> {
        let root = self.blocks.get(&slot).copied().filter(|root| *root != [0; 32])?;
        let node = &self.nodes[place];
        let other_face = node.side == Some(1) && !self.plan.astray.is_empty();
        let astray = other_face || self.plan.astray.contains(&node.operator);
        Some(if astray {
            sha256(&[b"astray", &slot.to_be_bytes()])
        } else {
            root
        })
    }

    /// What a node's beacon node would have it attest to.
    fn view(&mut self, place: usize, slot: u64) -> AttestationData {
        let time = self.chain.time();
        let epoch = time.epoch_of(slot);
        let known = self.nodes[place].has.range(..=slot).next_back().copied();
        let head = self.root(place, known.unwrap_or(0)).unwrap_or([1; 32]);
        let source = epoch.saturating_sub(1);
        let mut data = AttestationData {
            slot,
            index: 0,
            beacon_block_root: head,
            source: Checkpoint {
                epoch: source,
                root: sha256(&[b"checkpoint", &source.to_be_bytes()]),
            },
            target: Checkpoint {
                epoch,
                root: sha256(&[b"checkpoint", &epoch.to_be_bytes()]),
            },
        };
        if self.plan.lied_to.contains(&self.nodes[place].operator) {
            match self.rng.random_range(0..6) {
                0 => data.beacon_block_root = self.rng.random(),
                1 => data.beacon_block_root = sha256(&[b"lie", &slot.to_be_bytes()]),
                2 => data.source.epoch = source.saturating_sub(self.rng.random_range(0..4)),
                3 => data.target.root = sha256(&[b"lie", &epoch.to_be_bytes()]),
                4 => data.source.epoch = epoch,
                _ => {}
            }
        }
        data
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
                }
            }
            if next.is_multiple_of(time.slots_per_epoch) {
                for place in 0..self.nodes.len() {
                    if self.nodes[place].core.is_some() {
                        self.duties(place);
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
            self.happen(happening);
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
                let Some(root) = self.root(node, slot) else {
                    return;
                };
                (node, Event::Head { slot, root })
            }
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
                let contributions = subcommittees
                    .iter()
                    .map(|subcommittee| SyncCommitteeContribution {
                        slot,
                        beacon_block_root: root,
                        subcommittee_index: u64::from(*subcommittee),
                        aggregation_bits: Bitvector::with_ones(size, &[0]),
                        signature: [0; 96],
                    });
                let event = Event::Contributions {
                    slot,
                    round,
                    contributions: contributions.collect(),
                };
                self.result(place, 8, event);
            }
            Effect::AskView { .. } | Effect::AskBlock { .. } if self.plan.silent.contains(&operator) => {}
            Effect::AskView { slot } => {
                let data = self.view(place, slot);
                self.result(place, 8, Event::View { slot, data });
            }
            Effect::LookUp { slot, root } => {
                let mut known = self.nodes[place].has.iter().copied();
                let astray = |slot: u64| root == sha256(&[b"astray", &slot.to_be_bytes()]);
                let known = known.find(|known| self.blocks[known] == root || astray(*known));
                self.result(
                    place,
                    8,
                    Event::Block {
                        slot,
                        root,
                        of_slot: known,
                    },
                );
            }
            Effect::AskBlock { slot, round, randao } => {
                if let Some(made) = self.make(place, slot, randao) {
                    self.result(place, 20, Event::Produced { slot, round, made });
                }
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
            Effect::Submit(Submission::Block { slot, .. }) => {
                if !self.plan.liars.contains(&operator) {
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
                self.signed(place, purpose, slot, (0, 0), items);
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
                let time = self.chain.time();
                let timing = Timing {
                    now_ms: self.clock(place),
                    slot_start_ms: time.start_of(slot),
                    slot_ms: time.slot_ms,
                    deadline_ms,
                    epoch: time.epoch_of(slot),
                };
                let node = &mut self.nodes[place];
                let allowed = node.start.check(&message).is_ok() && timing.check(&message).is_ok();
                let lies = self.plan.liars.contains(&operator);
                let mut items = Vec::new();
                for validator in validators {
                    let record = node.disk.records.entry(validator).or_default();
                    if lies || allowed && record.check(&message).is_ok() {
                        *record = record.raised(Record::from(message));
                        node.disk.progress = node.disk.progress.with(message.into());
                        items.push(item(operator, (validator, 0), root));
                        node.signed.push((slot, validator));
                        if let Slashable::Block { slot } = message {
                            let signed = self.oracle.blocks.entry((validator, slot)).or_default();
                            signed.entry(root).or_default().insert(operator);
                        } else {
                            let signed = self.oracle.partials.entry((validator, root));
                            signed.or_insert((epochs, BTreeSet::new())).1.insert(operator);
                        }
                    }
                }
                if !items.is_empty() && !lies && self.rng.random_range(0..1000) < self.plan.crash_in_guard {
                    let (after, down) = (self.rng.random_range(0..6), self.rng.random_range(10..9000));
                    self.crash(place, after, down);
                }
                self.signed(place, purpose, slot, epochs, items);
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
                    self.oracle
                        .first
                        .entry((attestation.attester_index, data.slot))
                        .or_insert(into);
                }
            }
            Effect::Submit(Submission::SyncMessages(messages)) => {
                self.oracle.sync.extend(
                    messages
                        .iter()
                        .map(|message| (message.validator_index, message.slot)),
                );
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
            Effect::Submit(Submission::Attestations(_)) | Effect::Subscribe(_) => {}
            Effect::Remember { operator, proof } => {
                self.nodes[place]
                    .disk
                    .memory
                    .entry(operator)
                    .or_default()
                    .take(proof);
            }
            Effect::Compare { operator, remembered } => {
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
                }
                let newer = disk.records != before;
                self.result(place, 2, Event::Compared { operator, newer });
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

    /// Notes what the network would pass on to nobody: what is older than its slot, aggregates older than the slot after
    /// theirs, attestations older than an epoch.
    fn too_late(&mut self, place: usize, submission: &Submission) -> bool {
        let time = self.chain.time();
        let (what, slot, more) = match submission {
            Submission::Attestations(list) => ("attestation", list[0].data.slot, time.slots_per_epoch - 1),
            Submission::SyncMessages(list) => ("sync committee message", list[0].slot, 0),
            Submission::Aggregates(list) => ("aggregate", list[0].message.aggregate.data.slot, 1),
            Submission::Contributions(list) => ("contribution", list[0].message.contribution.slot, 0),
            Submission::Block { slot, .. } => ("block", *slot, 0),
        };
        let late = self.clock(place).saturating_sub(time.end_of(slot + more));
        let honest = !self.plan.liars.contains(&self.nodes[place].operator);
        if late > 0 && honest {
            self.oracle.late.push((what, slot, late));
        }
        late > 0
    }

    fn signed(&mut self, place: usize, purpose: Purpose, slot: u64, epochs: (u64, u64), items: Vec<Item>) {
        let signed = Signed {
            purpose,
            slot,
            epochs,
            items,
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

    /// Attestations that were due in these slots, and how many came.
    pub(super) fn attested_in(&self, slots: std::ops::Range<u64>) -> (usize, usize) {
        let time = self.chain.time();
        let due: Vec<(u64, u64)> = slots
            .flat_map(|slot| {
                let epoch = time.epoch_of(slot);
                (0..self.plan.validators)
                    .filter(move |validator| {
                        slot == time.first_slot(epoch)
                            + (u64::from(*validator) * 7 + epoch * 3) % time.slots_per_epoch
                    })
                    .map(move |validator| (1000 + u64::from(validator), slot))
            })
            .collect();
        let came = due
            .iter()
            .filter(|key| self.oracle.first.contains_key(*key))
            .count();
        (due.len(), came)
    }

    /// Pairs of attestations, or of blocks of one slot, for which a validator can be slashed and of which each could get its signature: t
    /// operators signed it, those who lie included, whatever they say to have signed.
    pub(super) fn conflicts(&self) -> usize {
        let liars = &self.plan.liars;
        let mut whole: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
        for ((validator, _), (epochs, signers)) in &self.oracle.partials {
            if signers.union(liars).count() >= usize::from(self.plan.threshold) {
                whole.entry(*validator).or_default().push(*epochs);
            }
        }
        let mut conflicts = 0;
        for epochs in whole.values_mut() {
            epochs.sort_unstable_by_key(|(source, target)| (*target, *source));
            let slashable = |a: &(u64, u64), b: &(u64, u64)| a.1 == b.1 || b.0 < a.0;
            let of = |(place, a): (usize, &(u64, u64))| {
                epochs[place + 1..].iter().filter(|b| slashable(a, b)).count()
            };
            conflicts += epochs.iter().enumerate().map(of).sum::<usize>();
        }
        for blocks in self.oracle.blocks.values() {
            let whole = blocks
                .values()
                .filter(|signers| signers.union(liars).count() >= usize::from(self.plan.threshold))
                .count();
            conflicts += whole * whole.saturating_sub(1) / 2;
        }
        conflicts
    }

    /// Slots in which a validator of ours proposes, and in how many of them a block came.
    pub(super) fn proposed_in(&self, slots: std::ops::Range<u64>) -> (usize, usize) {
        let due: Vec<u64> = slots.filter(|slot| self.proposer(*slot).is_some()).collect();
        let came = due
            .iter()
            .filter(|slot| self.oracle.proposed.contains(slot))
            .count();
        (due.len(), came)
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

/// What a simulated block says: slot, proposer, parent, something that makes it another one, RANDAO reveal.
fn summary(value: &[u8]) -> Option<Summary> {
    let (fork, blinded, bytes) = decode_value(value)?;
    let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    Some(Summary {
        fork,
        blinded,
        header: BeaconBlockHeader {
            slot: number(0)?,
            proposer_index: number(8)?,
            parent_root: bytes.get(16..48)?.try_into().ok()?,
            state_root: [0; 32],
            body_root: sha256(&[bytes]),
        },
        randao: bytes.get(56..)?.try_into().ok()?,
        fee_recipient: [0; 20],
        commitments: 0,
    })
}

/// An aggregate of one attestation.
fn aggregate(data: AttestationData, committee: u64) -> Attestation {
    let committee = usize::try_from(committee).expect("few");
    let mut votes = [false; 64];
    votes[0] = true;
    Attestation {
        aggregation_bits: Bitlist::new(&votes),
        data,
        signature: [0; 96],
        committee_bits: Bitvector::with_ones(4, &[committee]),
    }
}

/// What liars have heard, and what they make of it.
#[derive(Default)]
struct Coalition {
    /// Agreement, round, step, value: signatures.
    votes: BTreeMap<Ballot, BTreeMap<u16, [u8; 64]>>,
    proposals: BTreeMap<Duty, Vec<Proposal>>,
    partials: Vec<Partials>,
    old: Vec<Message>,
}

impl Coalition {
    fn hear(&mut self, message: &Message) {
        match message {
            Message::Agreement(agreement) => {
                let duty = agreement.duty;
                match &agreement.body {
                    Body::Vote(vote) => self.vote(duty, vote),
                    Body::Certificate(certificate) => {
                        certificate.votes().for_each(|vote| self.vote(duty, &vote));
                    }
                    Body::Proposal(proposal) => {
                        let proposals = self.proposals.entry(duty).or_default();
                        if proposals.len() < 16 && !proposals.contains(proposal) {
                            proposals.push(proposal.clone());
                        }
                    }
                    Body::Status(_) => {}
                }
            }
            Message::Partials(partials) if self.partials.len() < 64 => self.partials.push(partials.clone()),
            _ => {}
        }
        if self.old.len() < 64 {
            self.old.push(message.clone());
        }
    }

    fn vote(&mut self, duty: Duty, vote: &Vote) {
        if let Some(id) = vote.choice {
            let signatures = self.votes.entry((duty, vote.round, vote.step, id)).or_default();
            signatures.insert(vote.operator, vote.signature);
        }
    }

    fn forget(&mut self, slot: u64) {
        self.votes.retain(|(duty, ..), _| duty.slot + 4 > slot);
        self.proposals.retain(|duty, _| duty.slot + 4 > slot);
        self.partials.retain(|partials| partials.header().slot + 4 > slot);
        if slot.is_multiple_of(16) {
            self.old.clear();
        }
    }

    /// What else one of them says while it says something.
    fn mischief(&self, rng: &mut ChaCha8Rng, liars: &[u16], own: u16, said: &Message) -> Vec<Message> {
        let mut out = Vec::new();
        if let Message::Agreement(agreement) = said {
            let duty = agreement.duty;
            let known: Vec<_> = self
                .votes
                .range((duty, 0, Step::Prevote, [0; 32])..)
                .take_while(|((of, ..), _)| *of == duty)
                .collect();
            let say = |body| Message::Agreement(agreement::messages::Message { duty, body });
            if let Some(((_, round, step, id), signatures)) = pick(rng, &known) {
                let step = if rng.random() { *step } else { Step::Precommit };
                let digest = |operator, step| vote_digest(&LOCK, duty, operator, *round, step, Some(id));
                // Another vote than the one that it cast.
                out.push(say(Body::Vote(Vote {
                    operator: own,
                    round: *round,
                    step,
                    choice: Some(*id),
                    signature: cheap(own, &digest(own, step)),
                })));
                // All who lie, and everybody else who voted for it, together.
                let mut signatures: BTreeMap<u16, [u8; 64]> = (*signatures).clone();
                signatures.extend(
                    liars
                        .iter()
                        .map(|liar| (*liar, cheap(*liar, &digest(*liar, step)))),
                );
                out.push(say(Body::Certificate(Certificate {
                    round: *round,
                    step,
                    value_id: *id,
                    signatures: signatures.into_iter().collect(),
                })));
            }
            if let Some(proposal) = self.proposals.get(&duty).and_then(|all| pick(rng, all)) {
                let mut proposal = proposal.clone();
                if rng.random() {
                    // Its own, of another's value; refused unless it leads.
                    let digest =
                        proposal_digest(&LOCK, duty, own, proposal.round, None, &proposal.value_id());
                    (proposal.operator, proposal.polka) = (own, None);
                    proposal.signature = cheap(own, &digest);
                }
                out.push(say(Body::Proposal(proposal)));
            }
        }
        if let Some(partials) = pick(rng, &self.partials) {
            // Own partial signatures of what others signed, decided or not; sometimes wrong ones.
            let header = partials.header();
            let wrong = rng.random_range(0..4) == 0;
            let items = partials.items().iter().map(|known| {
                let mut item = item(own, (known.validator, known.place), known.root);
                item.signature[40] = u8::from(wrong);
                item
            });
            let epochs = (header.source, header.target);
            out.push(Message::Partials(Partials::sign(
                &Cheap(own),
                &LOCK,
                own,
                header.purpose,
                header.slot,
                epochs,
                items.collect(),
            )));
        }
        out.extend(pick(rng, &self.old).cloned());
        out
    }
}

fn pick<'a, T>(rng: &mut ChaCha8Rng, from: &'a [T]) -> Option<&'a T> {
    (!from.is_empty()).then(|| &from[rng.random_range(0..from.len())])
}

fn item(operator: u16, place: (u32, u16), root: Hash) -> Item {
    Item {
        validator: place.0,
        place: place.1,
        root,
        signature: partial(operator, place.0, &root),
    }
}

fn group(plan: &Plan) -> Group {
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
        gas_limit: 60_000_000,
    }
}
