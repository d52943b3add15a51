//! A small cluster in memory: nodes that write one entry per step once they hold everybody's of the step before,
//! over links that delay, reorder between each other and break.

use std::collections::VecDeque;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

const STEPS: u8 = 4;

fn id_of(operator: u16, step: u8) -> Id {
    let mut id = [step; 32];
    id[..2].copy_from_slice(&operator.to_be_bytes());
    id
}

fn item_of(operator: u16, step: u8) -> Item {
    Item {
        attempt: 1,
        step,
        operator,
        id: id_of(operator, step),
    }
}

#[derive(Default)]
struct Journal {
    operators: u16,
    size: usize,
    held: BTreeMap<Item, Bytes>,
    waiting: BTreeMap<Item, Bytes>,
    verdicts: BTreeMap<Verdict, Bytes>,
    /// Entries of later steps are not wanted.
    closed_from: Option<u8>,
}

impl Journal {
    fn complete(&self, step: u8) -> bool {
        self.held.keys().filter(|item| item.step == step).count() == usize::from(self.operators)
    }

    fn admissible(&self, item: &Item) -> bool {
        item.step == 0 || self.complete(item.step - 1)
    }
}

impl Ledger for Journal {
    fn items(&self) -> Vec<Item> {
        self.held.keys().copied().collect()
    }

    fn wants(&self, item: &Item) -> bool {
        item.attempt == 1
            && self.closed_from.is_none_or(|step| item.step < step)
            && item.id == id_of(item.operator, item.step)
            && !self.held.contains_key(item)
            && !self.waiting.contains_key(item)
    }

    fn bytes(&self, id: &Id) -> Option<Bytes> {
        self.held
            .iter()
            .find(|(item, _)| item.id == *id)
            .map(|(_, bytes)| bytes.clone())
    }

    fn verdicts(&self) -> Vec<Verdict> {
        self.verdicts.keys().copied().collect()
    }

    fn wants_evidence(&self, _: &Verdict) -> bool {
        true
    }

    fn evidence(&self, verdict: &Verdict) -> Option<Bytes> {
        self.verdicts.get(verdict).cloned()
    }
}

struct Node {
    me: u16,
    journal: Journal,
    sync: Sync,
    compared: BTreeSet<u16>,
    differences: Vec<(u16, Difference)>,
    faults: Vec<(u16, Fault)>,
    /// Whether it may write without having compared, as on a very first start.
    writes: bool,
    paused: bool,
}

fn config(me: u16, operators: u16) -> Config {
    Config {
        me,
        operators,
        hello: Hello {
            protocol: super::super::wire::PROTOCOL,
            software: "test".into(),
            definition_hash: [1; 32],
            genesis_fork_version: [2; 4],
            genesis_time: 3,
            chain_id: 4,
        },
        process: u64::from(me),
        definition: Bytes::from(&b"{}"[..]),
        sizes: [100; 8],
    }
}

impl Node {
    fn new(me: u16, operators: u16, size: usize) -> Self {
        let journal = Journal {
            operators,
            size,
            ..Journal::default()
        };
        let sync = Sync::new(config(me, operators), &journal);
        Self {
            me,
            journal,
            sync,
            compared: BTreeSet::new(),
            differences: Vec::new(),
            faults: Vec::new(),
            writes: true,
            paused: true,
        }
    }

    /// Loses what is in memory, keeps what is in the journal.
    fn restart(&mut self) {
        self.sync = Sync::new(config(self.me, self.journal.operators), &self.journal);
        self.journal.waiting.clear();
        self.compared.clear();
        self.writes = false;
    }

    fn write(&mut self) -> Vec<Output> {
        let mut out = Vec::new();
        if self.paused || (!self.writes && self.compared.is_empty()) {
            return out;
        }
        for step in 0..STEPS {
            let item = item_of(self.me, step);
            if self.journal.admissible(&item) && !self.journal.held.contains_key(&item) {
                out.extend(self.admit(item));
            }
        }
        out
    }

    fn admit(&mut self, item: Item) -> Vec<Output> {
        let bytes = Bytes::from(vec![item.step; self.journal.size.max(1)]);
        self.journal.held.insert(item, bytes);
        let mut out = self.sync.admitted(item, &self.journal);
        let ready: Vec<Item> = self
            .journal
            .waiting
            .keys()
            .filter(|item| self.journal.admissible(item))
            .copied()
            .collect();
        for item in ready {
            if self.journal.waiting.remove(&item).is_some() {
                out.extend(self.admit(item));
            }
        }
        out
    }

    /// Acts on outputs until only sends are left.
    fn settle(&mut self, outputs: Vec<Output>) -> Vec<(u16, Message)> {
        let mut queue = VecDeque::from(outputs);
        let mut sends = Vec::new();
        loop {
            while let Some(output) = queue.pop_front() {
                match output {
                    Output::Send(to, message) => sends.push((to, message)),
                    Output::EntryReceived {
                        operator,
                        item,
                        bytes,
                    } => {
                        assert!(self.journal.wants(&item), "nothing comes that is not wanted");
                        assert!(bytes.iter().all(|byte| *byte == item.step));
                        if self.journal.admissible(&item) {
                            queue.extend(self.admit(item));
                        } else {
                            self.journal.waiting.insert(item, bytes);
                        }
                        queue.extend(self.sync.processed(operator, &item.id, &self.journal));
                    }
                    Output::EvidenceReceived { verdict, bytes, .. } => {
                        self.journal.verdicts.insert(verdict, bytes);
                        queue.extend(self.sync.verdicts_changed(&self.journal));
                    }
                    Output::Compared(operator) => {
                        assert!(self.compared.insert(operator), "compared is said once");
                    }
                    Output::Difference(operator, difference) => self.differences.push((operator, difference)),
                    Output::Twin(operator, twin) => panic!("{operator}: {twin:?}"),
                    Output::Misbehaved(operator, fault) => self.faults.push((operator, fault)),
                }
            }
            let own = self.write();
            if own.is_empty() {
                return sends;
            }
            queue.extend(own);
        }
    }
}

/// Sent messages by kind, and nodes joined by ordered links.
struct Net {
    nodes: BTreeMap<u16, Node>,
    links: BTreeMap<(u16, u16), VecDeque<Message>>,
    rng: ChaCha8Rng,
    now: u64,
    entries: usize,
    entry_bytes: usize,
    wants: usize,
}

impl Net {
    fn new(operators: u16, size: usize, seed: u64) -> Self {
        Self {
            nodes: (1..=operators)
                .map(|me| (me, Node::new(me, operators, size)))
                .collect(),
            links: BTreeMap::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            now: 0,
            entries: 0,
            entry_bytes: 0,
            wants: 0,
        }
    }

    fn act(&mut self, at: u16, f: impl FnOnce(&mut Node) -> Vec<Output>) {
        let node = self.nodes.get_mut(&at).expect("a node");
        let outputs = f(node);
        for (to, message) in node.settle(outputs) {
            match &message {
                Message::Entry { bytes, .. } => {
                    self.entries += 1;
                    self.entry_bytes += bytes.len();
                }
                Message::Want(_) => self.wants += 1,
                _ => {}
            }
            if let Some(queue) = self.links.get_mut(&(at, to)) {
                queue.push_back(message);
            }
        }
    }

    fn connect(&mut self, a: u16, b: u16) {
        self.links.insert((a, b), VecDeque::new());
        self.links.insert((b, a), VecDeque::new());
        for (me, other) in [(a, b), (b, a)] {
            self.nodes.get_mut(&me).expect("a node").compared.remove(&other);
            self.act(me, |node| node.sync.connected(other));
        }
    }

    fn disconnect(&mut self, a: u16, b: u16) {
        for (me, other) in [(a, b), (b, a)] {
            if self.links.remove(&(me, other)).is_some() {
                self.act(me, |node| node.sync.disconnected(other, &node.journal));
            }
        }
    }

    fn tick(&mut self, milliseconds: u64) {
        self.now += milliseconds;
        let now = self.now;
        for me in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.act(me, |node| node.sync.tick(now, &node.journal));
        }
    }

    /// Delivers one message of a random link. False when all is quiet.
    fn deliver(&mut self) -> bool {
        let busy: Vec<(u16, u16)> = self
            .links
            .iter()
            .filter(|(_, queue)| !queue.is_empty())
            .map(|(link, _)| *link)
            .collect();
        if busy.is_empty() {
            return false;
        }
        let (from, to) = busy[self.rng.random_range(0..busy.len())];
        let message = self
            .links
            .get_mut(&(from, to))
            .and_then(VecDeque::pop_front)
            .expect("not empty");
        self.act(to, |node| node.sync.message(from, message, &node.journal));
        true
    }

    fn quiet(&mut self) {
        for _ in 0..1_000_000 {
            if !self.deliver() {
                return;
            }
        }
        panic!("the cluster never comes to rest");
    }

    fn start(&mut self) {
        for me in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.act(me, |node| {
                node.paused = false;
                Vec::new()
            });
        }
    }

    fn done(&self) -> bool {
        self.nodes.values().all(|node| node.journal.complete(STEPS - 1))
    }

    fn no_fault(&self) {
        for node in self.nodes.values() {
            assert_eq!(
                (node.faults.as_slice(), node.differences.len()),
                (&[][..], 0),
                "operator {}",
                node.me
            );
        }
    }
}

fn star(n: u16) -> Vec<(u16, u16)> {
    (2..=n).map(|leaf| (1, leaf)).collect()
}

fn line(n: u16) -> Vec<(u16, u16)> {
    (1..n).map(|i| (i, i + 1)).collect()
}

fn full(n: u16) -> Vec<(u16, u16)> {
    (1..=n).flat_map(|a| (a + 1..=n).map(move |b| (a, b))).collect()
}

/// A random tree and some more links.
fn random(n: u16, rng: &mut ChaCha8Rng) -> Vec<(u16, u16)> {
    let mut links: Vec<(u16, u16)> = (2..=n).map(|b| (rng.random_range(1..b), b)).collect();
    links.extend(full(n).into_iter().filter(|_| rng.random_range(0..4) == 0));
    links.sort_unstable();
    links.dedup();
    links
}

#[test]
fn every_topology_ends_with_everything_everywhere() {
    for n in 2..=7 {
        for (name, links) in [("star", star(n)), ("line", line(n)), ("full", full(n))] {
            for size in [50, 20_000] {
                let mut net = Net::new(n, size, u64::from(n));
                net.start();
                for (a, b) in links.clone() {
                    net.connect(a, b);
                }
                net.quiet();
                for _ in 0..5 {
                    net.tick(250);
                    net.quiet();
                }
                assert!(net.done(), "{name} of {n}, {size} bytes");
                net.no_fault();
                for node in net.nodes.values() {
                    let neighbours = links
                        .iter()
                        .filter(|(a, b)| *a == node.me || *b == node.me)
                        .count();
                    assert_eq!(node.compared.len(), neighbours, "{name} of {n}: all compared");
                }
            }
        }
    }
}

#[test]
fn in_a_full_mesh_every_entry_travels_once_to_each() {
    for size in [50, 20_000] {
        let n = 7;
        let mut net = Net::new(n, size, 1);
        for (a, b) in full(n) {
            net.connect(a, b);
        }
        net.quiet();
        net.tick(250);
        net.quiet();
        net.start();
        net.quiet();
        net.tick(250);
        net.quiet();
        assert!(net.done());
        assert_eq!(net.entries, usize::from(n * (n - 1)) * usize::from(STEPS));
        assert_eq!(net.wants, 0);
    }
}

#[test]
fn a_hub_passes_on_without_a_round_trip_or_a_tick() {
    for size in [50, 20_000] {
        let n = 6;
        let mut net = Net::new(n, size, 2);
        for (a, b) in star(n) {
            net.connect(a, b);
        }
        net.quiet();
        net.start();
        net.quiet();
        assert!(net.done(), "without a single tick");
        assert_eq!(net.wants, 0);
        assert_eq!(net.entries, usize::from(n * (n - 1)) * usize::from(STEPS));
    }
}

#[test]
fn breaking_links_and_restarts_lose_nothing() {
    for seed in 0..60 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let n = rng.random_range(2..=6);
        let links = random(n, &mut rng);
        let mut net = Net::new(n, if seed % 2 == 0 { 60 } else { 9_000 }, seed);
        net.start();
        let mut up = BTreeSet::new();
        for _ in 0..400 {
            match rng.random_range(0..20) {
                0..3 => {
                    let link = links[rng.random_range(0..links.len())];
                    if up.insert(link) {
                        net.connect(link.0, link.1);
                    }
                }
                3 => {
                    let link = links[rng.random_range(0..links.len())];
                    if up.remove(&link) {
                        net.disconnect(link.0, link.1);
                    }
                }
                4 if rng.random_range(0..5) == 0 => {
                    let me = rng.random_range(1..=n);
                    for link in up.clone().into_iter().filter(|(a, b)| *a == me || *b == me) {
                        up.remove(&link);
                        net.disconnect(link.0, link.1);
                    }
                    net.nodes.get_mut(&me).expect("a node").restart();
                }
                5 => net.tick(250),
                _ => {
                    net.deliver();
                }
            }
        }
        for link in links {
            if up.insert(link) {
                net.connect(link.0, link.1);
            }
        }
        for _ in 0..40 {
            net.quiet();
            net.tick(1000);
        }
        net.quiet();
        assert!(net.done(), "seed {seed}");
        net.no_fault();
    }
}

#[test]
fn a_large_entry_is_announced_when_several_could_send_it() {
    // 1 - {2, 3} - 4: the two in the middle both learn of 1's entry, and 4 must get it once.
    let mut net = Net::new(4, 100_000, 3);
    for (a, b) in [(1, 2), (1, 3), (2, 4), (3, 4)] {
        net.connect(a, b);
    }
    net.quiet();
    net.act(1, |node| node.admit(item_of(1, 0)));
    net.quiet();
    assert!(
        net.nodes
            .values()
            .all(|node| node.journal.held.contains_key(&item_of(1, 0)))
    );
    assert_eq!(net.entry_bytes, 3 * 100_000, "one copy for each who lacked it");
    assert_eq!(net.wants, 1);
}

#[test]
fn compared_comes_after_the_last_wanted_entry() {
    let mut net = Net::new(3, 50, 4);
    net.start();
    net.connect(1, 2);
    net.connect(1, 3);
    net.quiet();
    assert!(net.done());
    // Operator 3 lost its folder: it must not write before it has everything back.
    net.disconnect(1, 3);
    let node = net.nodes.get_mut(&3).expect("a node");
    node.journal.held.clear();
    node.restart();
    net.connect(1, 3);
    while net.nodes[&3].compared.is_empty() {
        assert!(net.deliver(), "it compares in the end");
    }
    assert_eq!(net.nodes[&3].journal.held.len(), 3 * usize::from(STEPS));
}

#[test]
fn another_definition_is_explained_and_nothing_else_said() {
    let mut net = Net::new(2, 50, 5);
    let node = net.nodes.get_mut(&2).expect("a node");
    let mut other = config(2, 2);
    other.hello.definition_hash = [9; 32];
    other.definition = Bytes::from(&b"{\"other\":1}"[..]);
    node.sync = Sync::new(other.clone(), &node.journal);
    net.start();
    net.connect(1, 2);
    net.quiet();
    assert!(net.nodes[&1].sync.is_apart(2) && net.nodes[&2].sync.is_apart(1));
    net.tick(70_000);
    net.quiet();
    let theirs = Difference::Definition(Bytes::from(&b"{\"other\":1}"[..]));
    // The hash first, which needs no definition.
    assert_eq!(
        net.nodes[&1].differences,
        [(2, Difference::Hello(other.hello)), (2, theirs)]
    );
    assert_eq!(
        net.nodes[&2].differences,
        [
            (1, Difference::Hello(config(1, 2).hello)),
            (1, Difference::Definition(Bytes::from(&b"{}"[..])))
        ]
    );
    assert_eq!((net.entries, net.wants), (0, 0));
    assert!(
        net.nodes
            .values()
            .all(|node| node.compared.is_empty() && node.faults.is_empty())
    );
}

#[test]
fn another_network_is_explained() {
    let mut net = Net::new(2, 50, 6);
    let node = net.nodes.get_mut(&2).expect("a node");
    let mut other = config(2, 2);
    other.hello.genesis_time = 77;
    node.sync = Sync::new(other.clone(), &node.journal);
    net.start();
    net.connect(1, 2);
    net.quiet();
    assert_eq!(net.nodes[&1].differences, [(2, Difference::Hello(other.hello))]);
    assert_eq!((net.entries, net.wants), (0, 0));
}

/// A node with nothing, and a peer whose every word the test speaks.
fn alone(operators: u16, peers: &[u16]) -> Node {
    let mut node = Node::new(1, operators, 50);
    for peer in peers {
        node.sync.connected(*peer);
        let hello = Message::Hello(config(*peer, operators).hello);
        node.sync.message(*peer, hello, &node.journal);
    }
    node
}

fn wants_sent(outputs: &[Output]) -> Vec<(u16, Vec<Id>)> {
    let want = |output: &Output| match output {
        Output::Send(to, Message::Want(ids)) => Some((*to, ids.clone())),
        _ => None,
    };
    outputs.iter().filter_map(want).collect()
}

#[test]
fn who_announces_and_does_not_send_is_passed_over() {
    let mut node = alone(4, &[2, 3]);
    let item = item_of(4, 0);
    let announce = Message::Inventory {
        last: true,
        items: vec![item],
    };
    let first = node.sync.message(2, announce.clone(), &node.journal);
    assert_eq!(wants_sent(&first), [(2, vec![item.id])]);
    let second = node.sync.message(3, announce, &node.journal);
    assert_eq!(wants_sent(&second), [], "one is enough for now");
    assert_eq!(wants_sent(&node.sync.tick(PATIENCE - 1, &node.journal)), []);
    assert_eq!(
        wants_sent(&node.sync.tick(PATIENCE + 10, &node.journal)),
        [(3, vec![item.id])]
    );
    let entry = Message::Entry {
        item,
        bytes: Bytes::from(&[0u8][..]),
    };
    let outputs = node.sync.message(3, entry, &node.journal);
    node.settle(outputs);
    assert!(node.journal.held.contains_key(&item));
    assert!(node.compared.contains(&3));
}

#[test]
fn a_lost_connection_moves_requests_to_others() {
    let mut node = alone(4, &[2, 3]);
    let item = item_of(4, 0);
    let announce = Message::Inventory {
        last: true,
        items: vec![item],
    };
    node.sync.message(2, announce.clone(), &node.journal);
    node.sync.message(3, announce, &node.journal);
    assert!(wants_sent(&node.sync.disconnected(2, &node.journal)).contains(&(3, vec![item.id])));
}

#[test]
fn what_becomes_welcome_later_is_fetched_then() {
    let mut node = alone(2, &[2]);
    node.journal.closed_from = Some(0);
    let item = item_of(2, 0);
    let outputs = node.sync.message(
        2,
        Message::Inventory {
            last: true,
            items: vec![item],
        },
        &node.journal,
    );
    assert_eq!(wants_sent(&outputs), []);
    // Even pushed it is not taken now, only remembered.
    let pushed = Message::Entry {
        item,
        bytes: Bytes::from(&[0u8][..]),
    };
    assert_eq!(node.sync.message(2, pushed, &node.journal), []);
    node.journal.closed_from = None;
    assert_eq!(
        wants_sent(&node.sync.tick(10, &node.journal)),
        [(2, vec![item.id])]
    );
}

#[test]
fn requests_are_bounded_and_in_order() {
    let mut node = alone(60, &[2]);
    let mut items: Vec<Item> = (1..=60)
        .flat_map(|o| (0..4).map(move |s| item_of(o, s)))
        .collect();
    items.reverse();
    let outputs = node
        .sync
        .message(2, Message::Inventory { last: true, items }, &node.journal);
    let [(2, ids)] = &wants_sent(&outputs)[..] else {
        panic!("one request")
    };
    assert_eq!(ids.len(), WINDOW_ENTRIES);
    let expected: Vec<Id> = (0..4u8)
        .flat_map(|s| (1..=60).map(move |o| id_of(o, s)))
        .take(WINDOW_ENTRIES)
        .collect();
    assert_eq!(ids, &expected);
}

#[test]
fn evidence_reaches_everybody_once() {
    let mut net = Net::new(4, 50, 7);
    let verdict = Verdict {
        attempt: 1,
        operator: 4,
        kind: 2,
    };
    let evidence = Bytes::from(&b"proof"[..]);
    net.nodes
        .get_mut(&1)
        .expect("a node")
        .journal
        .verdicts
        .insert(verdict, evidence.clone());
    for (a, b) in line(4) {
        net.connect(a, b);
    }
    net.quiet();
    for node in net.nodes.values() {
        assert_eq!(
            node.journal.verdicts.get(&verdict),
            Some(&evidence),
            "operator {}",
            node.me
        );
    }
    net.no_fault();
}

#[test]
fn evidence_that_nobody_asked_for_is_ignored() {
    let mut node = alone(4, &[2]);
    let verdict = Verdict {
        attempt: 1,
        operator: 3,
        kind: 1,
    };
    let unasked = Message::Evidence {
        verdict,
        bytes: Bytes::from(&b"x"[..]),
    };
    assert_eq!(node.sync.message(2, unasked, &node.journal), []);
}

#[test]
fn rules_have_teeth() {
    let mut node = Node::new(1, 4, 50);
    node.sync.connected(2);
    let outputs = node.sync.message(2, Message::Want(vec![[0; 32]]), &node.journal);
    assert_eq!(outputs, [Output::Misbehaved(2, Fault::BeforeHello)]);
    for message in [
        Message::Hello(config(2, 4).hello),
        Message::Definition(Bytes::from(&b"{}"[..])),
    ] {
        let mut node = alone(4, &[2]);
        let outputs = node.sync.message(2, message, &node.journal);
        assert_eq!(outputs, [Output::Misbehaved(2, Fault::OutOfTurn)]);
    }
    for message in [
        Message::Have(vec![Item {
            operator: 5,
            ..item_of(1, 0)
        }]),
        Message::Links(vec![5]),
        Message::Verdicts(vec![Verdict {
            attempt: 1,
            operator: 5,
            kind: 0,
        }]),
    ] {
        let mut node = alone(4, &[2]);
        let outputs = node.sync.message(2, message, &node.journal);
        assert_eq!(outputs, [Output::Misbehaved(2, Fault::NoSuchOperator)]);
    }
}

#[test]
fn a_flood_is_dropped_then_ends_the_connection() {
    let mut node = alone(4, &[2]);
    let mut id = [0; 32];
    let mut faults = 0;
    for i in 0..20_000u32 {
        id[..4].copy_from_slice(&i.to_be_bytes());
        let item = Item {
            attempt: 1 + i,
            step: 0,
            operator: 3,
            id,
        };
        let outputs = node.sync.message(2, Message::Have(vec![item]), &node.journal);
        faults += outputs
            .iter()
            .filter(|o| matches!(o, Output::Misbehaved(2, Fault::Flood)))
            .count();
    }
    assert_eq!(faults, 1);
    assert!(node.sync.peers.is_empty());
}

#[test]
fn inventories_cannot_grow_without_end() {
    let mut node = alone(4, &[2]);
    let mut id = [0; 32];
    for round in 0..20u32 {
        let items = (0..2000u32)
            .map(|i| {
                id[..4].copy_from_slice(&(round * 2000 + i).to_be_bytes());
                Item {
                    attempt: u32::MAX - i,
                    step: 0,
                    operator: 3,
                    id,
                }
            })
            .collect();
        node.sync
            .message(2, Message::Inventory { last: false, items }, &node.journal);
    }
    assert_eq!(node.sync.peers[&2].offers.len(), 1024);
    // What matters is still taken: lower attempts push out the absurd ones.
    let item = item_of(3, 0);
    let outputs = node.sync.message(2, Message::Have(vec![item]), &node.journal);
    assert_eq!(wants_sent(&outputs), [(2, vec![item.id])]);
}

#[test]
fn the_same_entry_is_not_served_for_ever() {
    let mut node = alone(4, &[2]);
    node.journal.held.insert(item_of(1, 0), Bytes::from(&[0u8][..]));
    node.sync = Sync::new(config(1, 4), &node.journal);
    node.sync.connected(2);
    node.sync
        .message(2, Message::Hello(config(2, 4).hello), &node.journal);
    let ids = vec![id_of(1, 0); 500];
    let outputs = node.sync.message(2, Message::Want(ids), &node.journal);
    let sent = outputs
        .iter()
        .filter(|o| matches!(o, Output::Send(2, Message::Entry { .. })))
        .count();
    assert_eq!(sent, usize::from(SERVE));
}

#[test]
fn named_predecessors_are_asked_for_once() {
    let mut node = alone(4, &[2, 3]);
    let ids = [id_of(3, 0), id_of(4, 0)];
    assert_eq!(wants_sent(&node.sync.ask(2, &ids)), [(2, ids.to_vec())]);
    assert_eq!(node.sync.ask(3, &ids), [], "already on their way");
    assert_eq!(node.sync.ask(4, &ids), [], "not connected");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_sequence_of_messages_breaks_it(
        script in proptest::collection::vec((2u16..=3, 0u8..10, 1u32..3, 0u8..8, 0u16..6, any::<u8>()), 1..200)
    ) {
        let mut node = alone(4, &[2, 3]);
        let mut now = 0;
        for (from, kind, attempt, step, operator, byte) in script {
            let id = if byte % 3 == 0 { [byte; 32] } else { id_of(operator, step) };
            let item = Item { attempt, step, operator, id };
            let verdict = Verdict { attempt, operator, kind: byte };
            let message = match kind {
                0 => Message::Hello(config(from, 4).hello),
                1 => Message::Inventory { last: byte % 2 == 0, items: vec![item] },
                2 => Message::Have(vec![item]),
                3 => Message::Want(vec![id, [byte; 32]]),
                4 => Message::Entry { item, bytes: Bytes::from(vec![step; 1 + usize::from(byte)]) },
                5 => Message::Verdicts(vec![verdict]),
                6 => Message::WantEvidence(vec![verdict]),
                7 => Message::Evidence { verdict, bytes: Bytes::from(&[byte][..]) },
                8 => Message::Links(vec![operator]),
                _ => {
                    now += u64::from(byte) * 100;
                    let outputs = node.sync.tick(now, &node.journal);
                    node.compared.clear();
                    node.settle(outputs);
                    continue;
                }
            };
            let outputs = node.sync.message(from, message, &node.journal);
            node.compared.clear();
            node.settle(outputs);
            for peer in node.sync.peers.values() {
                prop_assert!(peer.offers.len() <= 1024);
                prop_assert!(peer.requests.len() <= 4 * WINDOW_ENTRIES);
            }
        }
    }
}

#[test]
fn in_a_star_the_hub_is_named_as_the_way_to_the_others() {
    let mut net = Net::new(4, 10, 5);
    net.connect(1, 2);
    net.connect(1, 3);
    net.tick(100);
    net.quiet();
    let through = |net: &Net, me: u16, other: u16| net.nodes[&me].sync.through(other);
    assert_eq!((through(&net, 2, 3), through(&net, 3, 2)), (Some(1), Some(1)));
    assert_eq!((through(&net, 2, 4), through(&net, 1, 4)), (None, None));
    net.disconnect(1, 3);
    net.tick(100);
    net.quiet();
    assert_eq!(through(&net, 2, 3), None);
    net.connect(1, 4);
    net.tick(100);
    net.quiet();
    assert_eq!(through(&net, 2, 4), Some(1));
    net.disconnect(1, 2);
    assert_eq!(through(&net, 2, 4), None);
}
