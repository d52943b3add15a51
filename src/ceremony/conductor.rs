//! Where protocol, disk and network meet: one operator's ceremony from the first start to the last file.
//!
//! A single thread owns the [`Operator`] and the journal. Events of the network, of background work and of time go in; what the
//! operator asks for is carried out in order: an entry is durable before any peer sees a byte of it, a marker before the entry
//! that it stands for. Keystores are written and outputs published in the background, while entries go on being passed around.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;
use rand::TryRng;

use crate::cluster::definition::Definition;
use crate::crypto::bls::PublicKey;
use crate::crypto::hash::Hash;
use crate::dkg::body::Reason;
use crate::dkg::entry::{Entry, Id, Step};
use crate::dkg::evidence::{Evidence, Kind as FaultKind};
use crate::dkg::operator::{Effect, Finished, Mark, Operator, OwnShares, Restored};
use crate::dkg::secrets::Seed;
use crate::dkg::terms::Terms;
use crate::dkg::transcript::Transcript;
use crate::ethereum::keystore::Kdf;
use crate::ethereum::network::Network;
use crate::p2p::events::{Event as NetEvent, Events, Reason as Gone, Refusal};
use crate::p2p::node::{self, Command, Handle, NodeError};
use crate::p2p::sync::{Config as SyncConfig, Difference, Output, Sync};
use crate::p2p::wire::{FrameLimits, Hello, PROTOCOL};

use super::attempt;
use super::entrance::Entrance;
use super::files::PUBLIC;
use super::folder::DataFolder;
use super::journal::Journal;
use super::names::Names;
use super::problem::{Kind, Problem};
use super::product::{self, ClusterProduct};
use super::progress::Event;
use super::publication;
use super::records;
use super::staging::{self, KeyDeriver};
use super::view::{self, View};

/// How long the loop sleeps at most.
const TICK: Duration = Duration::from_millis(100);
/// How long it sleeps at most while work goes on in the background.
const BUSY_TICK: Duration = Duration::from_millis(5);
/// Network events that are taken together, so that what arrives together is judged together.
const BATCH: usize = 256;
/// How long a node stays after a fault, so that the others get the evidence.
const GRACE: Duration = Duration::from_secs(2);
/// How long a node waits for the rest after another one has left in good order.
const AFTER_OTHERS: Duration = Duration::from_secs(3);
/// The transcript in `ceremony/`.
pub const TRANSCRIPT: &str = "transcript";
/// Addresses of other operators in `ceremony/`.
const ADDRESSES: &str = "addresses";

/// What a ceremony needs to begin or to go on.
pub struct Setup {
    /// The data folder, held by this process.
    pub folder: DataFolder,
    /// What the group agreed on; checked.
    pub definition: Definition,
    /// Its network.
    pub network: Network,
    /// Who this is; from [`super::entrance::enter`].
    pub entrance: Entrance,
    /// What to call the others until they have joined.
    pub names: Names,
    /// Addresses of others.
    pub peers: Vec<Multiaddr>,
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// How long to wait, or for ever.
    pub wait: Option<Duration>,
    /// Further attempts without a person's word, after faults that blame nobody.
    pub retries: u32,
    /// How keystores are protected.
    pub kdf: Kdf,
}

/// A question to the person, answered with yes or no.
pub type Ask = Box<dyn Fn(&str) -> bool + Send>;

/// How a person is reached.
pub struct Person<'a> {
    /// Takes events.
    pub show: &'a mut dyn FnMut(Event),
    /// Set when the person wants to leave.
    pub interrupted: Arc<AtomicBool>,
    /// Asks whether to go on in another attempt; `None` where nobody can be asked.
    pub ask: Option<Ask>,
}

/// What a finished ceremony leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The lock hash.
    pub lock_hash: Hash,
    /// Public keys of the validators.
    pub validators: Vec<PublicKey>,
    /// Operators (from 1) whose confirmation was not seen.
    pub unconfirmed: Vec<u16>,
}

/// Work that was done in the background.
enum Done {
    Stored(u32, Result<(), Problem>),
    Published(u32, Result<(), Problem>),
}

struct Conductor<'a> {
    folder: Arc<DataFolder>,
    definition: Definition,
    network: Network,
    names: Names,
    terms: Arc<Terms>,
    operator: Operator,
    journal: Journal,
    sync: Sync,
    node: Handle,
    peer_id: libp2p::PeerId,
    connected: BTreeSet<u16>,
    listening: BTreeSet<Multiaddr>,
    listening_changed: bool,
    deriver: Option<KeyDeriver>,
    kdf: Kdf,
    jobs: mpsc::Sender<Done>,
    done: mpsc::Receiver<Done>,
    running: usize,
    retries: u32,
    answers: (mpsc::Sender<(u32, bool)>, mpsc::Receiver<(u32, bool)>),
    asked: BTreeSet<u32>,
    refused: BTreeSet<u32>,
    told: BTreeSet<String>,
    result: Option<Outcome>,
    person: Person<'a>,
    start: Instant,
    ticked: Instant,
    fault_since: Option<Instant>,
    left_since: Option<Instant>,
    last_shown: Option<Instant>,
}

/// Holds the ceremony until everybody has everything, or until it ends otherwise.
///
/// # Errors
/// With the exit code's kind: gave up waiting, aborted by a fault, interrupted, or whatever disk and network say.
pub fn hold(setup: Setup, person: Person<'_>) -> Result<Outcome, Problem> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Problem::other("cannot start", error, "stop other programs and try again"))?;
    let wait = setup.wait;
    let (mut conductor, mut events) = runtime.block_on(async { Conductor::open(setup, person) })?;
    let outcome = conductor.run(&mut events, wait);
    conductor.farewell(&mut events);
    drop(events);
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome
}

fn random() -> Result<Hash, Problem> {
    let mut bytes = [0; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(|error| {
        Problem::other(
            "cannot start",
            error,
            "the operating system gives no randomness: use another machine",
        )
    })?;
    Ok(bytes)
}

impl<'a> Conductor<'a> {
    fn open(setup: Setup, person: Person<'a>) -> Result<(Self, Events), Problem> {
        let Setup {
            folder,
            definition,
            network,
            entrance,
            names,
            ..
        } = setup;
        let bad = |error: crate::dkg::terms::TermsError| {
            Problem::bad_input(
                "this definition cannot be joined",
                error,
                "ask for another definition",
            )
        };
        let terms = Arc::new(product::terms(&definition, &network).map_err(bad)?);
        let show = person;
        let mut records = Vec::new();
        let limit = records::max_bytes(&terms);
        let (journal, damaged) = Journal::salvage(folder.disk(), &folder.journal(), limit, |record| {
            records.push(record)
        })?;
        if let Some(aside) = damaged {
            (show.show)(Event::Notice {
                message: format!(
                    "the journal was damaged; what was intact is used, the damaged file is kept as {}, and the rest comes from \
                     the other operators",
                    aside.display()
                ),
            });
        }
        let entries = records::read(&terms, &records);
        drop(records);
        let name = entrance
            .identity
            .name()
            .map_or_else(|| names.of(&entrance.identity.key().public()), ToOwned::to_owned);
        let key = copy_key(&entrance)?;
        let mut operator = Operator::new(terms.clone(), entrance.index, key, name, &random()?);
        let restored = restored(&folder, &terms, entries, entrance.finished)?;
        let effects = operator.restore(restored);

        let limits = FrameLimits {
            operators: u16::try_from(terms.n()).unwrap_or(u16::MAX),
            entry: records::max_entry_bytes(&terms),
            evidence: Evidence::max_bytes(&terms),
        };
        let config = node::Config {
            key: copy_key(&entrance)?,
            operators: definition
                .operators
                .iter()
                .map(|o| *o.enr.node_public_key())
                .collect(),
            listen: setup.listen,
            announce: Vec::new(),
            peers: setup.peers,
            book: load_addresses(&folder),
            limits,
            software: software(),
        };
        let (node, events) = node::start(config).map_err(node_problem)?;
        let hello = Hello {
            protocol: PROTOCOL,
            software: software(),
            definition_hash: *terms.definition_hash(),
            genesis_fork_version: network.genesis_fork_version,
            genesis_time: network.genesis_time,
            chain_id: network.chain_id,
        };
        let config = SyncConfig {
            me: entrance.index,
            operators: limits.operators,
            hello,
            definition: definition.to_json().into(),
            sizes: Step::ALL.map(|step| Entry::max_bytes(&terms, step)),
        };
        let horizon = operator.current_attempt().saturating_add(1);
        let sync = Sync::new(
            config,
            &View {
                board: operator.board(),
                horizon,
            },
        );
        let deriver = if entrance.finished {
            None
        } else {
            let count = u32::try_from(terms.validators()).unwrap_or(u32::MAX);
            Some(KeyDeriver::start(count, setup.kdf)?)
        };
        let (jobs, done) = mpsc::channel();
        let mut conductor = Self {
            folder: Arc::new(folder),
            definition,
            network,
            names,
            terms,
            operator,
            journal,
            sync,
            peer_id: node.peer_id(),
            node,
            connected: BTreeSet::new(),
            listening: BTreeSet::new(),
            listening_changed: false,
            deriver,
            kdf: setup.kdf,
            jobs,
            done,
            running: 0,
            retries: setup.retries,
            answers: mpsc::channel(),
            asked: BTreeSet::new(),
            refused: BTreeSet::new(),
            told: BTreeSet::new(),
            result: None,
            person: show,
            start: Instant::now(),
            ticked: Instant::now(),
            fault_since: None,
            left_since: None,
            last_shown: None,
        };
        conductor.carry_out(effects)?;
        if conductor.operator.standing().joined.is_empty() {
            let effects = conductor.operator.consent(1, Reason::First);
            conductor.carry_out(effects)?;
        }
        if entrance.finished {
            conductor.result = conductor.read_result()?;
        }
        Ok((conductor, events))
    }

    fn run(&mut self, events: &mut Events, wait: Option<Duration>) -> Result<Outcome, Problem> {
        loop {
            let tick = if self.running > 0 { BUSY_TICK } else { TICK };
            let mut arrived = Vec::new();
            let mut next = events.recv_timeout(tick).map_err(|error| {
                Problem::other(
                    "the network stopped",
                    error,
                    "run the same command again; nothing is lost",
                )
            })?;
            let mut taken = 0;
            while let Some(event) = next {
                self.network(event, &mut arrived)?;
                taken += 1;
                next = if taken < BATCH { events.try_recv() } else { None };
            }
            self.judge(arrived)?;
            self.background()?;
            self.tick()?;
            self.tell();
            if let Some(outcome) = self.is_over()? {
                return Ok(outcome);
            }
            self.next_attempt()?;
            self.look_at_the_clock(wait)?;
        }
    }

    fn tick(&mut self) -> Result<(), Problem> {
        if self.ticked.elapsed() < TICK / 2 {
            return Ok(());
        }
        self.ticked = Instant::now();
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let view = View {
            board: self.operator.board(),
            horizon: self.horizon(),
        };
        let outputs = self.sync.tick(now, &view);
        self.outputs(outputs, &mut Vec::new())
    }

    fn name(&self, operator: u16) -> String {
        view::name_of(self.operator.board(), &self.names, operator)
    }

    fn notice(&mut self, message: String) {
        if self.told.len() < 10_000 && self.told.insert(message.clone()) {
            (self.person.show)(Event::Notice { message });
        }
    }

    fn give(&self, command: Command) {
        // A node that has stopped is noticed when its events end.
        let _ = self.node.blocking_give(command);
    }

    // --- the network ---

    fn network(&mut self, event: NetEvent, arrived: &mut Vec<(u16, Entry, Id)>) -> Result<(), Problem> {
        match event {
            NetEvent::Listening(address) => {
                self.listening.insert(address);
                self.listening_changed = true;
            }
            NetEvent::ListenerLost(why) => self.notice(format!("an address is no longer listened on: {why}")),
            NetEvent::Connected { operator } => {
                self.connected.insert(operator);
                self.left_since = None;
                let outputs = self.sync.connected(operator);
                self.outputs(outputs, arrived)?;
            }
            NetEvent::Disconnected { operator, reason } => {
                self.connected.remove(&operator);
                match &reason {
                    Gone::Left => self.left_since = Some(Instant::now()),
                    Gone::Fault(why) => {
                        let name = self.name(operator);
                        self.notice(format!("{name} was disconnected: {why}; it may come back"));
                    }
                    _ => {}
                }
                let outputs = self.sync.disconnected(operator, &View { board: self.operator.board(), horizon: self.horizon() });
                self.outputs(outputs, arrived)?;
            }
            NetEvent::Message { operator, message } => {
                let view = View { board: self.operator.board(), horizon: self.horizon() };
                let outputs = self.sync.message(operator, message, &view);
                self.outputs(outputs, arrived)?;
            }
            NetEvent::Latency { .. } => {}
            NetEvent::Stranger { peer, address, .. } => self.notice(format!(
                "somebody who is not an operator of this definition was turned away: {peer} at {address}. If it is one of you, \
                 its identity is not the one in the definition"
            )),
            NetEvent::Refused { operator, why } => {
                let name = self.name(operator);
                self.notice(match why {
                    Refusal::Protocol { speaks, software } => format!(
                        "{name} was reached but speaks another protocol ({}; {software}): use the same version of conclave",
                        speaks.join(", ")
                    ),
                    Refusal::Unwelcome => format!(
                        "{name} was reached but does not let you in: its definition probably does not name your identity"
                    ),
                    Refusal::Silent => format!("{name} was reached but says nothing: it may be busy, or another program"),
                });
            }
            NetEvent::AddressBook(book) => self.save_addresses(&book)?,
        }
        Ok(())
    }

    fn horizon(&self) -> u32 {
        self.operator.current_attempt().saturating_add(1)
    }

    fn outputs(&mut self, outputs: Vec<Output>, arrived: &mut Vec<(u16, Entry, Id)>) -> Result<(), Problem> {
        let mut queue: VecDeque<Output> = outputs.into();
        while let Some(output) = queue.pop_front() {
            match output {
                Output::Send(operator, message) => self.give(Command::Send { operator, message }),
                Output::EntryReceived {
                    operator,
                    item,
                    bytes,
                } => {
                    let entry = Entry::decode(&self.terms, &bytes)
                        .ok()
                        .filter(|e| e.id(&self.terms) == item.id);
                    if let Some(entry) = entry {
                        arrived.push((operator, entry, item.id));
                    } else {
                        let why = "it sent something that is no entry of this ceremony".to_owned();
                        self.give(Command::Misbehaved { operator, why });
                        let view = View {
                            board: self.operator.board(),
                            horizon: self.horizon(),
                        };
                        queue.extend(self.sync.processed(operator, &item.id, &view));
                    }
                }
                Output::EvidenceReceived {
                    operator,
                    verdict,
                    bytes,
                } => {
                    let claimed = Evidence::decode(&self.terms, &bytes).filter(|e| {
                        (e.attempt, e.finding.operator, e.finding.kind as u8)
                            == (verdict.attempt, verdict.operator, verdict.kind)
                    });
                    let known = self.operator.board().findings().count();
                    if let Some(evidence) = claimed {
                        let effects = self.operator.receive_evidence(evidence);
                        self.carry_out(effects)?;
                    }
                    if self.operator.board().findings().count() == known {
                        let why = "it sent evidence that proves nothing".to_owned();
                        self.give(Command::Misbehaved { operator, why });
                    }
                }
                Output::Compared(_) => {
                    let effects = self.operator.compared();
                    self.carry_out(effects)?;
                }
                Output::Difference(operator, difference) => self.explain(operator, &difference),
                Output::Misbehaved(operator, fault) => {
                    self.give(Command::Misbehaved {
                        operator,
                        why: fault.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Two operators hold different ceremonies: says what differs, in words.
    fn explain(&mut self, operator: u16, difference: &Difference) {
        let name = self.name(operator);
        let what = match difference {
            Difference::Hello(hello) => {
                let mut parts = Vec::new();
                if hello.protocol != PROTOCOL {
                    parts.push(format!(
                        "it speaks version {} of the protocol, you speak {PROTOCOL}",
                        hello.protocol
                    ));
                }
                if hello.genesis_fork_version != self.network.genesis_fork_version {
                    parts.push("the network's genesis fork version differs".to_owned());
                }
                if hello.genesis_time != self.network.genesis_time {
                    parts.push(format!(
                        "its network's genesis time is {}, yours {}",
                        hello.genesis_time, self.network.genesis_time
                    ));
                }
                if hello.chain_id != self.network.chain_id {
                    parts.push(format!(
                        "its chain id is {}, yours {}",
                        hello.chain_id, self.network.chain_id
                    ));
                }
                if hello.definition_hash != *self.terms.definition_hash() {
                    parts.push("its definition is another one".to_owned());
                }
                parts.join("; ")
            }
            Difference::Definition(bytes) => match Definition::from_json(bytes) {
                Ok(theirs) => self.definition.diff(&theirs).join("; "),
                Err(error) => format!("its definition cannot be read: {error}"),
            },
        };
        self.notice(format!(
            "{name} holds another ceremony: {what}. Nothing is exchanged with it. Compare the definitions; one of you has to start \
             again with the right file"
        ));
    }

    /// Judges what arrived together, then lets synchronisation go on.
    fn judge(&mut self, arrived: Vec<(u16, Entry, Id)>) -> Result<(), Problem> {
        if arrived.is_empty() {
            return Ok(());
        }
        let from: Vec<(u16, Id)> = arrived.iter().map(|(operator, _, id)| (*operator, *id)).collect();
        let entries = arrived.into_iter().map(|(_, entry, _)| entry).collect();
        let effects = self.operator.receive(entries);
        self.carry_out(effects)?;
        let mut later = Vec::new();
        let missing: Vec<Id> = self.operator.board().missing().into_iter().collect();
        for (operator, id) in from {
            let view = View {
                board: self.operator.board(),
                horizon: self.horizon(),
            };
            let outputs = self.sync.processed(operator, &id, &view);
            self.outputs(outputs, &mut later)?;
            if !missing.is_empty() {
                let outputs = self.sync.ask(operator, &missing);
                self.outputs(outputs, &mut later)?;
            }
        }
        self.judge(later)
    }

    // --- what the operator asks for ---

    fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), Problem> {
        let mut queue: VecDeque<Effect> = effects.into();
        let mut records: Vec<Vec<u8>> = Vec::new();
        let mut admitted: Vec<Id> = Vec::new();
        let mut found: Vec<Arc<Evidence>> = Vec::new();
        while let Some(effect) = queue.pop_front() {
            match effect {
                Effect::NeedSeed(k) => {
                    let seed = self.folder.attempts().create_seed(k)?;
                    queue.extend(self.operator.seed(k, &Seed::new(&seed)));
                }
                Effect::Mark(k, mark) => self.folder.attempts().mark(k, mark_file(mark))?,
                Effect::Persist(id, entry) => {
                    records.push(records::of_entry(&entry));
                    admitted.push(id);
                }
                Effect::PersistEvidence(evidence) => {
                    records.push(records::of_evidence(&evidence));
                    found.push(evidence);
                }
                Effect::StoreKeys(own) => {
                    self.flush(&mut records, &mut admitted)?;
                    self.store_keys(*own)?;
                }
                Effect::Publish(finished) => {
                    self.flush(&mut records, &mut admitted)?;
                    self.publish(*finished);
                }
                Effect::Lost(k) => self.notice(format!(
                    "attempt {k} was joined with secrets that this folder does not have: it is an old copy, or the folder was lost. \
                     Nothing more is sent in that attempt; the group needs another one"
                )),
                Effect::DestroySeeds => {
                    self.flush(&mut records, &mut admitted)?;
                    for k in self.folder.attempts().numbers()? {
                        self.folder.attempts().destroy_seed(k)?;
                    }
                }
            }
        }
        self.flush(&mut records, &mut admitted)?;
        for evidence in &found {
            self.show_fault(evidence);
        }
        if !found.is_empty() {
            let view = View {
                board: self.operator.board(),
                horizon: self.horizon(),
            };
            let outputs = self.sync.verdicts_changed(&view);
            self.outputs(outputs, &mut Vec::new())?;
        }
        Ok(())
    }

    /// Makes records durable with one fsync, then shows the entries to peers.
    fn flush(&mut self, records: &mut Vec<Vec<u8>>, admitted: &mut Vec<Id>) -> Result<(), Problem> {
        self.journal.append(records)?;
        records.clear();
        for id in admitted.drain(..) {
            let Some(item) = view::item(self.operator.board(), &id) else {
                continue;
            };
            let view = View {
                board: self.operator.board(),
                horizon: self.horizon(),
            };
            let outputs = self.sync.admitted(item, &view);
            self.outputs(outputs, &mut Vec::new())?;
        }
        Ok(())
    }

    fn show_fault(&mut self, evidence: &Evidence) {
        let finding = evidence.finding;
        let name = (finding.operator != 0).then(|| self.name(finding.operator));
        let who = name.as_ref().map_or("Nobody is to blame".to_owned(), |name| {
            format!("operator {} ({name})", finding.operator)
        });
        (self.person.show)(Event::Fault {
            operator: (finding.operator != 0).then_some(finding.operator),
            name,
            kind: format!("{:?}", finding.kind),
            message: format!("attempt {}: {who}: {}", evidence.attempt, finding.kind),
            evidence: None,
        });
    }

    fn store_keys(&mut self, own: OwnShares) -> Result<(), Problem> {
        let count = u32::try_from(own.shares.len()).unwrap_or(u32::MAX);
        let deriver = match self.deriver.take() {
            Some(deriver) => deriver,
            None => KeyDeriver::start(count, self.kdf)?,
        };
        let (folder, jobs) = (self.folder.clone(), self.jobs.clone());
        self.running += 1;
        std::thread::spawn(move || {
            let result = deriver
                .finish()
                .and_then(|prepared| staging::stage(&folder, own.attempt, &own.shares, &prepared));
            let _ = jobs.send(Done::Stored(own.attempt, result));
        });
        Ok(())
    }

    fn publish(&mut self, finished: Finished) {
        let product = ClusterProduct::new(&self.definition, &self.network);
        let (folder, network, jobs) = (self.folder.clone(), self.network.clone(), self.jobs.clone());
        self.result = Some(Outcome {
            lock_hash: finished.lock_hash,
            validators: finished.keys.validators().iter().map(|v| v.group).collect(),
            unconfirmed: Vec::new(),
        });
        self.running += 1;
        std::thread::spawn(move || {
            let k = finished.attempt;
            let result = publish(&folder, &product, &network, &finished);
            let _ = jobs.send(Done::Published(k, result));
        });
    }

    fn background(&mut self) -> Result<(), Problem> {
        while let Ok(done) = self.done.try_recv() {
            self.running = self.running.saturating_sub(1);
            let effects = match done {
                Done::Stored(k, result) => {
                    result?;
                    self.operator.keys_stored(k)
                }
                Done::Published(k, result) => {
                    result?;
                    self.operator.published(k)
                }
            };
            self.carry_out(effects)?;
        }
        Ok(())
    }

    // --- the person ---

    fn tell(&mut self) {
        if self.listening_changed {
            self.listening_changed = false;
            let addresses = self
                .listening
                .iter()
                .map(|address| {
                    address
                        .clone()
                        .with_p2p(self.peer_id)
                        .unwrap_or_else(|other| other)
                        .to_string()
                })
                .collect();
            (self.person.show)(Event::Listening { addresses });
        }
        let ready = self.deriver.as_ref().map_or((0, 0), |d| (d.ready(), d.count()));
        // A line for each prepared keystore would be noise.
        let soon = self
            .last_shown
            .is_some_and(|last| last.elapsed() < Duration::from_millis(50));
        if !soon {
            self.last_shown = Some(Instant::now());
            let snapshot = view::snapshot(&self.operator, &self.names, &self.connected, ready);
            (self.person.show)(Event::Progress(snapshot));
        }
    }

    fn unconfirmed(&self) -> Vec<u16> {
        let k = self.operator.published_attempt().unwrap_or(0);
        let board = self.operator.board();
        let session = self.operator.session(k);
        let done = |j: u16| {
            session.is_some_and(|sid| {
                !board
                    .slot(&sid, j, crate::dkg::board::Slot::Step(Step::Done))
                    .is_empty()
            })
        };
        self.terms.indices().filter(|j| !done(*j)).collect()
    }

    /// Whether the ceremony has ended well for this operator.
    fn is_over(&mut self) -> Result<Option<Outcome>, Problem> {
        if self.operator.published_attempt().is_none() || self.running > 0 {
            return Ok(None);
        }
        let unconfirmed = self.unconfirmed();
        let others_left =
            self.connected.is_empty() && self.left_since.is_some_and(|at| at.elapsed() > AFTER_OTHERS);
        let leaves = self.person.interrupted.load(Ordering::Relaxed);
        if !(unconfirmed.is_empty() || others_left || leaves) {
            return Ok(None);
        }
        self.write_transcript()?;
        let snapshot = view::snapshot(&self.operator, &self.names, &self.connected, (0, 0));
        (self.person.show)(Event::Progress(snapshot));
        let outcome = match self.result.clone() {
            Some(result) => result,
            None => self.read_result()?.ok_or_else(|| {
                Problem::folder_state(
                    "the lock is gone",
                    "it was published here before",
                    "restore it from a backup",
                )
            })?,
        };
        Ok(Some(Outcome {
            unconfirmed,
            ..outcome
        }))
    }

    fn write_transcript(&self) -> Result<(), Problem> {
        let transcript = Transcript::of(self.operator.board(), product::net(&self.network));
        let path = self.folder.ceremony().join(TRANSCRIPT);
        Ok(self.folder.disk().replace(&path, &transcript.encode(), PUBLIC)?)
    }

    /// The result that an earlier start published.
    fn read_result(&self) -> Result<Option<Outcome>, Problem> {
        let bytes = self
            .folder
            .disk()
            .read(&self.folder.lock(), super::folder::MAX_JSON_BYTES)?;
        let Ok(lock) = crate::cluster::lock::Lock::from_json(&bytes) else {
            return Ok(None);
        };
        let validators = lock
            .validators()
            .iter()
            .filter_map(|v| PublicKey::from_bytes(&v.public_key).ok())
            .collect();
        Ok(Some(Outcome {
            lock_hash: lock.lock_hash(),
            validators,
            unconfirmed: Vec::new(),
        }))
    }

    fn look_at_the_clock(&mut self, wait: Option<Duration>) -> Result<(), Problem> {
        let missing = || {
            let snapshot = view::snapshot(&self.operator, &self.names, &self.connected, (0, 0));
            snapshot.status
        };
        if self.person.interrupted.load(Ordering::Relaxed) && self.running == 0 {
            return Err(Problem::new(
                Kind::Interrupted,
                "you left before the ceremony was finished",
                missing(),
                "run the same command again: it goes on where it was",
            ));
        }
        if wait.is_some_and(|wait| self.start.elapsed() > wait) && self.running == 0 {
            return Err(Problem::new(
                Kind::GaveUp,
                "the ceremony was not finished in the time given",
                missing(),
                "run the same command again when the others are there: it goes on where it was",
            ));
        }
        Ok(())
    }

    /// Is another attempt needed, and may it begin?
    fn next_attempt(&mut self) -> Result<(), Problem> {
        while let Ok((k, yes)) = self.answers.1.try_recv() {
            if yes {
                self.begin_attempt(k, Reason::ByHand)?;
            } else {
                self.refused.insert(k);
            }
        }
        if !self.operator.standing().signed.is_empty() || self.operator.published_attempt().is_some() {
            return Ok(());
        }
        let k = self.operator.current_attempt();
        if self.operator.standing().joined.contains(&k) {
            if self.operator.is_lost(k) {
                let why = format!("this folder lacks the secrets of attempt {k}");
                return self.offer(k + 1, Reason::Lost, true, &why);
            }
            return self.answer_offer(k);
        }
        if k == 1 || self.asked.contains(&k) && !self.refused.contains(&k) {
            return Ok(());
        }
        let verdict = self.operator.board().verdict(k - 1);
        let guilty: Vec<String> = verdict
            .iter()
            .filter(|f| f.kind.is_guilt())
            .map(|f| format!("operator {} ({}) {}", f.operator, self.name(f.operator), f.kind))
            .collect();
        if guilty.is_empty() {
            let harmless: Vec<String> = verdict
                .iter()
                .map(|f| {
                    if f.kind == FaultKind::Void {
                        f.kind.to_string()
                    } else {
                        format!("{} {}", self.name(f.operator), f.kind)
                    }
                })
                .collect();
            return self.offer(k, Reason::Verdict, true, &harmless.join("; "));
        }
        // The others get the evidence before this node leaves.
        let since = *self.fault_since.get_or_insert_with(Instant::now);
        if since.elapsed() < GRACE {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Aborted,
            "the ceremony was aborted: somebody broke the protocol",
            guilty.join("; "),
            "make a new definition without them, or with a new identity of theirs if it was a mistake; no key was made",
        ))
    }

    /// Another operator offers the next attempt.
    fn answer_offer(&mut self, k: u32) -> Result<(), Problem> {
        let board = self.operator.board();
        let ctx = self.terms.ctx(k + 1);
        let offers: Vec<(u16, Reason)> = self
            .terms
            .indices()
            .filter_map(|j| {
                let id = board
                    .slot(&ctx, j, crate::dkg::board::Slot::Step(Step::Join))
                    .first()?;
                match &board.get(id)?.data {
                    crate::dkg::board::Data::Join(body) => Some((j, body.reason)),
                    _ => None,
                }
            })
            .collect();
        let Some((who, reason)) = offers.first().copied() else {
            return Ok(());
        };
        let lost = offers.iter().any(|(_, reason)| *reason == Reason::Lost);
        let name = self.name(who);
        let why = match reason {
            Reason::Lost => format!("{name} lost its folder of attempt {k} and offers another attempt"),
            _ => format!("{name} gave up attempt {k} and offers another attempt"),
        };
        self.offer(k + 1, Reason::ByHand, lost, &why)
    }

    /// Begins an attempt if the rules of retries allow it, else asks the person, once.
    fn offer(&mut self, k: u32, reason: Reason, automatic: bool, why: &str) -> Result<(), Problem> {
        if automatic && self.retries > 0 && !self.operator.standing().voted.contains(&(k - 1)) {
            self.retries -= 1;
            self.notice(format!("attempt {k} begins: {why}"));
            return self.begin_attempt(k, reason);
        }
        let voted = self.operator.standing().voted.contains(&(k - 1));
        let warning = if voted {
            format!(
                " You have confirmed attempt {}: others may still complete it. Connect everybody first, and go on only if that \
                 does not help.",
                k - 1
            )
        } else {
            String::new()
        };
        if self.person.ask.is_some() {
            if self.asked.insert(k) {
                self.ask(k, format!("{why}.{warning} Begin attempt {k}?"));
            }
            if !self.refused.contains(&k) {
                return Ok(());
            }
        } else if !self.operator.is_lost(k - 1) && self.operator.standing().joined.contains(&(k - 1)) {
            // An offer closes nothing by itself: the present attempt may still be finished.
            self.notice(format!(
                "{why}.{warning} To accept, run the command again with --retries 1"
            ));
            return Ok(());
        }
        let since = *self.fault_since.get_or_insert_with(Instant::now);
        if since.elapsed() < GRACE {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Aborted,
            format!("attempt {} cannot be finished", k - 1),
            why.to_owned(),
            format!(
                "nobody is to blame: everybody runs the same command again with --retries 1, and attempt {k} begins"
            ),
        ))
    }

    fn ask(&mut self, k: u32, question: String) {
        let Some(ask) = self.person.ask.take() else { return };
        let (tx, (again, _)) = (self.answers.0.clone(), &self.answers);
        let _ = again;
        // A prompt blocks; entries go on being passed around meanwhile.
        std::thread::spawn(move || {
            let _ = tx.send((k, ask(&question)));
        });
    }

    fn begin_attempt(&mut self, k: u32, reason: Reason) -> Result<(), Problem> {
        self.fault_since = None;
        if self.deriver.is_none() {
            let count = u32::try_from(self.terms.validators()).unwrap_or(u32::MAX);
            self.deriver = Some(KeyDeriver::start(count, self.kdf)?);
        }
        let effects = self.operator.consent(k, reason);
        self.carry_out(effects)
    }

    /// Sends what is queued, says goodbye.
    fn farewell(&mut self, events: &mut Events) {
        self.give(Command::Shutdown);
        let deadline = Instant::now() + Duration::from_secs(6);
        while Instant::now() < deadline {
            if events.recv_timeout(Duration::from_millis(100)).is_err() {
                return;
            }
        }
    }

    fn save_addresses(&mut self, book: &[(u16, Vec<Multiaddr>)]) -> Result<(), Problem> {
        let mut text = String::new();
        for (operator, addresses) in book {
            for address in addresses {
                text.push_str(&format!("{operator} {address}\n"));
            }
        }
        let path = self.folder.ceremony().join(ADDRESSES);
        Ok(self.folder.disk().replace(&path, text.as_bytes(), PUBLIC)?)
    }
}

fn software() -> String {
    concat!("conclave/", env!("CARGO_PKG_VERSION")).to_owned()
}

fn copy_key(entrance: &Entrance) -> Result<crate::crypto::node::NodeKey, Problem> {
    crate::crypto::node::NodeKey::from_bytes(&entrance.identity.key().to_bytes()).ok_or_else(|| {
        Problem::other(
            "the identity cannot be used",
            "it is no key",
            "restore it from your backup",
        )
    })
}

fn mark_file(mark: Mark) -> attempt::Mark {
    match mark {
        Mark::Voted => attempt::Mark::Voted,
        Mark::Signed => attempt::Mark::Signed,
        Mark::Dead => attempt::Mark::Dead,
    }
}

fn load_addresses(folder: &DataFolder) -> Vec<(u16, Vec<Multiaddr>)> {
    // Only a help for reconnecting: what cannot be read is left out.
    let bytes = folder
        .disk()
        .read(&folder.ceremony().join(ADDRESSES), 1 << 20)
        .unwrap_or_default();
    let mut book: BTreeMap<u16, Vec<Multiaddr>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&bytes).lines() {
        let Some((operator, address)) = line.split_once(' ') else {
            continue;
        };
        if let (Ok(operator), Ok(address)) = (operator.parse(), address.parse()) {
            book.entry(operator).or_default().push(address);
        }
    }
    book.into_iter().collect()
}

/// What an earlier start left in the folder.
fn restored(
    folder: &DataFolder,
    terms: &Terms,
    (entries, evidence): (Vec<Entry>, Vec<Evidence>),
    finished: bool,
) -> Result<Restored, Problem> {
    let attempts = folder.attempts();
    let mut restored = Restored {
        entries,
        evidence,
        ..Restored::default()
    };
    for k in attempts.numbers()? {
        if let Some(seed) = attempts.seed(k)? {
            restored.seeds.insert(k, Seed::new(&seed));
        }
    }
    let all: &[(attempt::Mark, Mark)] = &[
        (attempt::Mark::Voted, Mark::Voted),
        (attempt::Mark::Signed, Mark::Signed),
        (attempt::Mark::Dead, Mark::Dead),
    ];
    for (k, marks) in attempts.marks()? {
        restored.marks.extend(
            all.iter()
                .filter(|(file, _)| marks.contains(file))
                .map(|(_, mark)| (k, *mark)),
        );
        if marks.contains(&attempt::Mark::Voted) && staging::is_complete(folder, k, terms.validators()) {
            restored.stored.insert(k);
        }
    }
    if finished {
        restored.published = restored
            .marks
            .iter()
            .filter(|(_, mark)| *mark == Mark::Signed)
            .map(|(k, _)| *k)
            .max();
    }
    Ok(restored)
}

/// Builds the lock, verifies it as any reader would, and only then puts anything in its final place.
fn publish(
    folder: &DataFolder,
    product: &ClusterProduct,
    network: &Network,
    finished: &Finished,
) -> Result<(), Problem> {
    let bug = |why: String| {
        Problem::other(
            "the lock does not verify, and nothing was published",
            why,
            "this is a bug: please report it; your shares are safe in ceremony/, delete nothing",
        )
    };
    let lock = product.lock(finished).map_err(|error| bug(error.to_string()))?;
    let report = lock.verify(Some(network));
    if !report.passed() {
        return Err(bug(report
            .failures()
            .map(|check| check.name.clone())
            .collect::<Vec<_>>()
            .join(", ")));
    }
    let deposits = product
        .deposit_files(&lock)
        .map_err(|error| bug(error.to_string()))?;
    let validators = u32::try_from(finished.keys.validators().len()).unwrap_or(u32::MAX);
    publication::begin(folder, finished.attempt, validators, &deposits, &lock.to_json())?;
    publication::finish(folder, finished.attempt)
}

fn node_problem(error: NodeError) -> Problem {
    let what_to_do = match &error {
        NodeError::PortTaken { .. } => {
            "stop that program, or choose another address with --listen, such as /ip4/0.0.0.0/tcp/9511"
        }
        NodeError::Listen { .. } => "choose an address of this machine with --listen",
        NodeError::Address { .. } => "give --peer an address as another operator's join prints it",
        NodeError::NotAnOperator { .. } => "check --peer: the peer id at its end must be that of an operator",
        NodeError::NotMe | NodeError::Setup(_) => "check the identity and the definition",
    };
    let kind = match &error {
        NodeError::Address { .. } | NodeError::NotAnOperator { .. } => Kind::BadInput,
        _ => Kind::Other,
    };
    Problem::new(
        kind,
        "the network could not be started",
        error.to_string(),
        what_to_do,
    )
}

/// Whether a folder holds a ceremony that was begun here.
pub fn has_begun(root: &Path) -> bool {
    root.join(super::folder::CEREMONY).join("journal").exists()
}
