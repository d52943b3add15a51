//! A group of cores with simulated clocks, networks, beacon nodes, guards and signatures, driven by one seed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    sync::Arc,
};

use rand::{RngExt as _, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{
    crypto::{
        bls::SecretKey,
        hash::{Hash, sha256},
        node::NodeKey,
        scalar::Scalar,
    },
    validator::{
        agreement::{Signatures, Verdict},
        chain::{
            spec::Chain,
            types::{AttestationData, Checkpoint},
        },
        combine::{Combined, Job, Outcome},
        core::{
            Core, Effect, Event, Report, Settings, Stop, Submission,
            effects::Signed,
            schedule::{Attester, SyncMember},
        },
        duty::Purpose,
        group::{Group, Operator, Validator},
        guard::{Message as Slashable, Record, Start},
        memory::Proofs,
        partials::Item,
        wire::Message,
    },
};

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
    /// How far each clock is off, by operator from 1; missing ones are right.
    pub(super) skew: BTreeMap<u16, i64>,
    /// Of 1,000 slots so many have no block.
    pub(super) empty: u32,
}

impl Plan {
    pub(super) fn new(operators: u16, threshold: u16) -> Self {
        Self {
            operators,
            threshold,
            validators: 4,
            delay: (1, 40),
            lost: 0,
            skew: BTreeMap::new(),
            empty: 0,
        }
    }
}

/// What a node does when it is told to.
#[derive(Debug, Clone)]
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
    /// An effect's result; kept by number, since events cannot be cloned.
    Result {
        node: usize,
        number: u64,
    },
}

/// One process.
pub(super) struct Node {
    pub(super) operator: u16,
    pub(super) core: Option<Core<Cheap>>,
    /// The durable part: record of each validator, and what is remembered of others.
    pub(super) disk: Disk,
    pub(super) stopped: Option<Stop>,
    start: Start,
    /// The newest block that its beacon node has, by slot.
    has: BTreeSet<u64>,
    wake: u64,
    pub(super) reports: Vec<Report>,
    /// Counts starts, so that results of an earlier life are not delivered.
    life: u64,
}

/// What survives a crash.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    pub(super) records: BTreeMap<u32, Record>,
    pub(super) memory: BTreeMap<u16, Proofs>,
}

/// What the chain has seen: for each validator and target epoch, the signed data; and when.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) attested: BTreeMap<(u64, u64), BTreeSet<Hash>>,
    /// Validator, slot: milliseconds into the slot of the first one.
    pub(super) first: BTreeMap<(u64, u64), u64>,
    pub(super) sync: BTreeSet<(u64, u64)>,
}

pub(super) struct Sim {
    pub(super) plan: Plan,
    pub(super) rng: ChaCha8Rng,
    pub(super) now: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    results: BTreeMap<u64, (u64, Event)>,
    number: u64,
    pub(super) nodes: Vec<Node>,
    group: Arc<Group>,
    pub(super) chain: Arc<Chain>,
    pub(super) oracle: Oracle,
    blocks: BTreeMap<u64, Hash>,
    /// Pairs that cannot talk.
    cut: BTreeSet<(u16, u16)>,
}

impl Sim {
    pub(super) fn new(seed: u64, plan: Plan) -> Self {
        let chain = Arc::new(super::chain());
        let group = Arc::new(group(&plan));
        let mut sim = Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: chain.time().genesis_ms.saturating_sub(1_000),
            queue: BinaryHeap::new(),
            happenings: BTreeMap::new(),
            results: BTreeMap::new(),
            number: 0,
            nodes: Vec::new(),
            group,
            chain,
            oracle: Oracle::default(),
            blocks: BTreeMap::new(),
            cut: BTreeSet::new(),
            plan,
        };
        for operator in 1..=sim.plan.operators {
            sim.add(operator, Disk::default());
        }
        sim
    }

    /// Adds a process of an operator, with this disk, and starts it.
    pub(super) fn add(&mut self, operator: u16, disk: Disk) -> usize {
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
            has: BTreeSet::new(),
            wake: 0,
            reports: Vec::new(),
            life: 0,
        });
        self.start(place);
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

    /// Starts a process from its disk.
    pub(super) fn start(&mut self, place: usize) {
        let now = self.clock(place);
        let time = self.chain.time();
        let start = match time.slot_at(now) {
            None => Start {
                first_slot: 0,
                first_target: 0,
            },
            Some(slot) => Start {
                first_slot: slot + 1,
                first_target: time.epoch_of(slot) + 1,
            },
        };
        let settings = Settings {
            group: self.group.clone(),
            chain: self.chain.clone(),
            me: self.nodes[place].operator,
            software: "sim".into(),
            dry_run: false,
            builder: false,
        };
        let instance = self.rng.random();
        let node = &mut self.nodes[place];
        node.life += 1;
        node.start = start;
        node.stopped = None;
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
            if other != place {
                let operator = self.nodes[place].operator;
                self.at(
                    self.now + 1,
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

    fn connect(&mut self, a: usize, b: usize) {
        let (one, other) = (self.nodes[a].operator, self.nodes[b].operator);
        if one == other
            || self.nodes[b].core.is_none()
            || self.cut.contains(&(one.min(other), one.max(other)))
        {
            return;
        }
        let at = self.now + 5;
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
        self.queue.push(Reverse((time, self.number)));
        self.happenings.insert(self.number, happening);
    }

    fn result(&mut self, node: usize, after: u64, event: Event) {
        let time = self.now + after;
        let life = self.nodes[node].life;
        self.at(
            time,
            Happening::Result {
                node,
                number: self.number + 1,
            },
        );
        self.results.insert(self.number, (life, event));
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
                        committee_length: 64,
                        committees_at_slot: 2,
                    };
                    (slot, attester)
                })
                .collect();
            self.result(place, 1, Event::Attesters { epoch, duties });
            let members = vec![SyncMember {
                validator: 0,
                index: 1000,
                subcommittees: vec![1],
                places: vec![9],
            }];
            self.result(place, 1, Event::SyncMembers { epoch, members });
        }
    }

    /// The block of a slot, if it has one.
    fn block(&mut self, slot: u64) -> Option<Hash> {
        if !self.blocks.contains_key(&slot) {
            let empty = slot > 0 && self.rng.random_range(0..1000) < self.plan.empty;
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

    /// What a node's beacon node would have it attest to.
    fn view(&self, place: usize, slot: u64) -> AttestationData {
        let time = self.chain.time();
        let epoch = time.epoch_of(slot);
        let head = |upto: u64| {
            let known = self.nodes[place]
                .has
                .range(..=upto)
                .next_back()
                .copied()
                .unwrap_or(0);
            self.blocks.get(&known).copied().unwrap_or([1; 32])
        };
        let source = epoch.saturating_sub(1);
        AttestationData {
            slot,
            index: 0,
            beacon_block_root: head(slot),
            source: Checkpoint {
                epoch: source,
                root: sha256(&[b"checkpoint", &source.to_be_bytes()]),
            },
            target: Checkpoint {
                epoch,
                root: sha256(&[b"checkpoint", &epoch.to_be_bytes()]),
            },
        }
    }

    /// Lets time pass to the end of this slot.
    pub(super) fn run_to(&mut self, slot: u64) {
        let time = self.chain.time();
        let mut next = time.slot_at(self.now).map_or(0, |slot| slot + 1);
        while next <= slot {
            self.run_until(time.start_of(next));
            if self.block(next).is_some() {
                for node in 0..self.nodes.len() {
                    let at = self.now + self.rng.random_range(100..1200);
                    self.at(at, Happening::Block { node, slot: next });
                }
            }
            if next % time.slots_per_epoch == 0 {
                for place in 0..self.nodes.len() {
                    if self.nodes[place].core.is_some() {
                        self.duties(place);
                    }
                }
            }
            next += 1;
        }
        self.run_until(time.end_of(slot) - 1);
    }

    pub(super) fn run_until(&mut self, time: u64) {
        while let Some(Reverse((at, number))) = self.queue.peek().copied() {
            if at > time {
                break;
            }
            self.queue.pop();
            self.now = self.now.max(at);
            let Some(happening) = self.happenings.remove(&number) else {
                continue;
            };
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
                // Through its bytes, as on the wire.
                let (kind, payload) = message.encode();
                let message = Message::decode(kind, &payload).expect("a message that comes back");
                (to, Event::Message { from, message })
            }
            Happening::Block { node, slot } => {
                self.nodes[node].has.insert(slot);
                let root = self.blocks[&slot];
                (node, Event::Head { slot, root })
            }
            Happening::Result { node, number } => {
                let Some((life, event)) = self.results.remove(&number) else {
                    return;
                };
                if life != self.nodes[node].life {
                    return;
                }
                (node, event)
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

    fn carry_out(&mut self, place: usize, effect: Effect) {
        let operator = self.nodes[place].operator;
        match effect {
            Effect::Send { to, message } => self.send(place, to, Arc::new(message)),
            Effect::Broadcast(message) => {
                let message = Arc::new(message);
                for to in (1..=self.plan.operators).filter(|to| *to != operator) {
                    self.send(place, to, message.clone());
                }
            }
            Effect::AskHead
            | Effect::AskBlock { .. }
            | Effect::Refuse { .. }
            | Effect::Subscribe(_)
            | Effect::AskAggregates { .. }
            | Effect::AskContributions { .. } => {}
            Effect::AskView { slot } => {
                let data = self.view(place, slot);
                self.result(place, 8, Event::View { slot, data });
            }
            Effect::LookUp { slot, root } => {
                let known = self.nodes[place]
                    .has
                    .iter()
                    .find(|known| self.blocks[*known] == root)
                    .copied();
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
                ..
            } => {
                let message = match purpose {
                    Purpose::Block => Slashable::Block { slot },
                    _ => Slashable::Attestation {
                        slot,
                        source: epochs.0,
                        target: epochs.1,
                    },
                };
                let node = &mut self.nodes[place];
                let allowed = node.start.check(&message).is_ok();
                let mut items = Vec::new();
                for validator in validators {
                    let record = node.disk.records.entry(validator).or_default();
                    if allowed && record.check(&message).is_ok() {
                        *record = record.raised(Record::from(message));
                        items.push(item(operator, (validator, 0), root));
                    }
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
            Effect::Submit(Submission::Attestations(attestations)) => {
                for attestation in attestations {
                    let data = attestation.data;
                    let key = (attestation.attester_index, data.target.epoch);
                    self.oracle.attested.entry(key).or_default().insert(data.root());
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
            Effect::Submit(_) => {}
            Effect::Remember { operator, proof } => {
                self.nodes[place]
                    .disk
                    .memory
                    .entry(operator)
                    .or_default()
                    .take(proof);
            }
            Effect::Compare { operator, remembered } => {
                let mut newer = false;
                let validators = self.plan.validators;
                let disk = &mut self.nodes[place].disk;
                for validator in 0..validators {
                    let record = disk.records.entry(validator).or_default();
                    let raised = record.raised(remembered);
                    newer |= raised != *record && remembered != Record::default();
                    *record = raised;
                }
                self.result(place, 2, Event::Compared { operator, newer });
            }
            Effect::Begin(start) => self.nodes[place].start = start,
            Effect::Report(report) => self.nodes[place].reports.push(report),
            Effect::Stop(stop) => self.nodes[place].stopped = Some(stop),
        }
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

    /// One stream to each operator: in order, lost or late.
    fn send(&mut self, from: usize, to: u16, message: Arc<Message>) {
        let operator = self.nodes[from].operator;
        if self.cut.contains(&(operator.min(to), operator.max(to)))
            || self.rng.random_range(0..1000) < self.plan.lost
        {
            return;
        }
        for place in self.places(to) {
            let delay = self.rng.random_range(self.plan.delay.0..=self.plan.delay.1);
            let happening = Happening::Net {
                to: place,
                from: operator,
                message: message.clone(),
            };
            self.at(self.now + delay, happening);
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

    /// Validators and epochs with two different attestations.
    pub(super) fn conflicts(&self) -> usize {
        self.oracle
            .attested
            .values()
            .filter(|data| data.len() > 1)
            .count()
    }
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
    let key = |n: u64| {
        SecretKey::from_scalar(&Scalar::from_u64(n + 1))
            .expect("not zero")
            .public_key()
    };
    Group {
        lock_hash: [7; 32],
        threshold: plan.threshold,
        operators: (1..=plan.operators)
            .map(|operator| Operator {
                name: format!("operator {operator}"),
                key: NodeKey::from_bytes(&[u8::try_from(operator).expect("few"); 32])
                    .expect("a key")
                    .public(),
            })
            .collect(),
        validators: (0..plan.validators)
            .map(|validator| Validator {
                key: key(validator.into()),
                shares: vec![key(validator.into()); plan.operators.into()],
                fee_recipient: [0; 20],
            })
            .collect(),
        gas_limit: 60_000_000,
    }
}
