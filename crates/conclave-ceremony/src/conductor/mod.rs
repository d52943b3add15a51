//! Where protocol, disk and network meet: one operator's ceremony from the first start to the last file.
//!
//! A single thread owns the [`Operator`] and the journal. Events of the network, of background work and of time go in; what the
//! operator asks for is carried out in order: an entry is durable before any peer sees a byte of it, a marker before the entry
//! that it stands for. Keystores are written and outputs published in the background, while entries go on being passed around.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::sync::Sync;
use crate::wire::{Ceremony, Message};
use conclave_cluster::definition::Definition;
use conclave_cluster::lock::Lock;
use conclave_crypto::bls::PublicKey;
use conclave_crypto::hash::Hash;
use conclave_dkg::entry::Step;
use conclave_dkg::operator::Operator;
use conclave_dkg::terms::Terms;
use conclave_dkg::transcript::Transcript;
use conclave_eth::keystore::Kdf;
use conclave_eth::network::Network;
use conclave_net::events::Events;
use conclave_net::node::{Command, Handle};

use super::backups;
use super::entrance::Entrance;
use super::files::PUBLIC;
use super::folder::{DataFolder, MAX_JSON_BYTES};
use super::journal::Journal;
use super::names::Names;
use super::problem::{Kind, Problem};
use super::product;
use super::progress::{Event, Snapshot};
use super::randomness::weight_seed;
use super::staging::{KeyDeriver, OpenedKeys, Proven};
use super::view::{self as board_view, Links, View};

mod attempts;
mod causes;
mod doubles;
mod effects;
mod network;
mod obstacles;
mod start;
mod visits;

pub use start::{has_begun, network_problem};

/// How long the loop sleeps at most.
const TICK: Duration = Duration::from_millis(100);
/// How long it sleeps at most while work goes on in the background.
const BUSY_TICK: Duration = Duration::from_millis(5);
/// Network events that are taken together, so that what arrives together is judged together.
const BATCH: usize = 256;
/// How long partial signatures wait at most for those of the others, to be checked with them.
const GATHERING: Duration = Duration::from_millis(200);
/// How often a screen is drawn anew at most.
const LOOK: Duration = Duration::from_millis(50);
/// What was told is not told again, as long as it is no more than this.
const MOST_TOLD: usize = 10_000;
/// How long no further own address must come before they are told.
const LISTENING: Duration = Duration::from_millis(250);
/// How long a node stays after a fault, so that the others get the evidence.
const GRACE: Duration = Duration::from_secs(2);
/// How long a folder without the secrets or the share of an attempt waits before anything comes of it, and how long the others wait for
/// whoever said that its share is lost: another process with the same identity, which has them, takes turns with it at the others, and
/// shows within this time.
const LOST: Duration = Duration::from_secs(8);
/// What is due without a person's word comes within this time, unless somebody is asked something or a machine is slow.
const QUIET: Duration = Duration::from_secs(15);
/// The transcript in `ceremony/`.
pub const TRANSCRIPT: &str = "transcript";
/// The folder of proofs in `ceremony/`.
pub const EVIDENCE: &str = "evidence";

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
    /// Further addresses under which others reach this node: of a router that forwards the port.
    pub announce: Vec<Multiaddr>,
    /// How long to wait, or for ever.
    pub wait: Option<Duration>,
    /// Further attempts without a person's word, after faults that blame nobody.
    pub retries: u32,
    /// The person's word, given beforehand, that attempts up to this one may begin when one is offered.
    pub attempt: u32,
    /// A lock that somebody else has and handed over as a file.
    pub lock: Option<Handed>,
    /// How keystores are protected.
    pub kdf: Kdf,
}

/// A lock that somebody else made and handed over as a file, read and not yet checked.
pub struct Handed {
    /// The lock.
    pub lock: Lock,
    /// The bytes that are to be published: those of the file, if it has the lock's name in the folder already.
    pub bytes: Vec<u8>,
    /// It was put into the folder under the lock's name.
    pub is_here: bool,
}

/// Asks the person something that is answered with yes or no: first what it is about, then the question itself, which fits in
/// a line.
pub type Ask = Arc<dyn Fn(&str, &str) -> bool + Send + std::marker::Sync>;

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
    /// The other operators whose confirmation was not seen, by name and number.
    pub unconfirmed: Vec<String>,
    /// This start began to give the results their names and saw the end of it: the shares are new, and nothing was signed with them.
    pub is_new: bool,
}

/// Work that was done in the background.
enum Done {
    Stored(u32, Hash, Result<Proven, Problem>),
    Opened(u32, Result<OpenedKeys, Problem>),
    Found(u32, Result<Option<OpenedKeys>, Problem>),
    Published(u32, Result<Published, Problem>),
}

use causes::{Cause, Causes};
use doubles::Doubles;
use effects::Published;
use network::Arrived;
use obstacles::Obstacles;
use visits::Visits;

/// The person's answer to the offer of an attempt.
type Answer = (u32, bool);

/// What is waited for.
#[derive(Debug, Default)]
struct Silence {
    attempt: u32,
    /// The first step that somebody lacks.
    step: Option<super::progress::Step>,
    /// That has been so for a while.
    is_long: bool,
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
    node: Handle<Ceremony>,
    peer_id: PeerId,
    connected: BTreeSet<u16>,
    listening: BTreeSet<Multiaddr>,
    /// When the last change came that nobody was told of yet.
    listening_changed: Option<Instant>,
    /// No more addresses than so many can come.
    listening_most: usize,
    deriver: Option<KeyDeriver>,
    kdf: Kdf,
    /// The keystores that this process has written or opened itself: only such are published.
    proven: Option<Proven>,
    jobs: mpsc::Sender<Done>,
    done: mpsc::Receiver<Done>,
    running: usize,
    arrived: Vec<Arrived>,
    /// Since when partial signatures have been waiting for those of the others.
    gathering: Option<Instant>,
    retries: u32,
    allowed: u32,
    consented: u32,
    answers: (mpsc::Sender<Answer>, mpsc::Receiver<Answer>),
    asked: BTreeSet<u32>,
    refused: BTreeSet<u32>,
    told: BTreeSet<String>,
    result: Option<Outcome>,
    /// The journal was found without damage: what this folder said itself is all there.
    whole: bool,
    /// A Join was admitted whose name is not kept yet.
    joins: bool,
    /// Another process may use the own identity: who said so.
    twin: Option<String>,
    /// Other operators whose identity may be used by two processes: what one of them says may not be so for the other.
    doubles: Doubles,
    /// What is known to keep this operator from the others.
    obstacles: Obstacles,
    visits: Visits,
    /// Operators who were reached and run `conclave run`: for them the ceremony is over.
    validating: BTreeSet<u16>,
    silence: Silence,
    /// The attempt whose files were made before anybody was met: then it is told that `conclave run` waits, and it does.
    alone: Option<u32>,
    /// The newest offer of another attempt that a person was asked about, in words, and its number.
    offered: Option<(u32, String)>,
    /// How long to wait, or for ever.
    wait: Option<Duration>,
    person: Person<'a>,
    start: Instant,
    ticked: Instant,
    causes: Causes,
    /// When the progress was last looked at, and what was shown then.
    looked: Instant,
    shown: Option<Snapshot>,
}

/// Holds the ceremony until everybody has everything, or until it ends otherwise.
///
/// # Errors
/// With the exit code's kind: gave up waiting, aborted by a fault, interrupted, or whatever disk and network say.
pub fn hold(mut setup: Setup, person: Person<'_>) -> Result<Outcome, Problem> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Problem::other("cannot start", error, "stop other programs and try again"))?;
    let lock = setup.lock.take();
    let (mut conductor, mut events) = runtime.block_on(async { Conductor::open(setup, person) })?;
    let outcome = conductor
        .finish_with(lock)
        .and_then(|()| conductor.publish_again())
        .and_then(|()| conductor.run(&mut events));
    conductor.farewell(&mut events);
    drop(events);
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome
}

impl Conductor<'_> {
    fn run(&mut self, events: &mut Events<Ceremony>) -> Result<Outcome, Problem> {
        loop {
            let tick = if self.running > 0 { BUSY_TICK } else { TICK };
            let mut next = events.recv_timeout(tick).map_err(|error| {
                Problem::other(
                    "the network stopped",
                    error,
                    "run the same command again; nothing is lost",
                )
            })?;
            let mut taken = 0;
            while let Some(event) = next {
                self.network(event)?;
                taken += 1;
                next = if taken < BATCH { events.try_recv() } else { None };
            }
            self.judge()?;
            self.background()?;
            self.keep_names();
            self.tick()?;
            self.tell();
            if let Some(outcome) = self.is_over()? {
                return Ok(outcome);
            }
            self.next_attempt()?;
            self.look_at_the_clock()?;
        }
    }

    fn tick(&mut self) -> Result<(), Problem> {
        if self.ticked.elapsed() < TICK / 2 {
            return Ok(());
        }
        self.ticked = Instant::now();
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let outputs = self.sync.tick(now, &view(&self.operator));
        self.outputs(outputs)
    }

    fn name(&self, operator: u16) -> String {
        board_view::name_of(self.operator.board(), &self.names, operator)
    }

    /// Keeps what the Joins say that operators are called, for the commands that come after the ceremony.
    fn keep_names(&mut self) {
        if !std::mem::take(&mut self.joins) {
            return;
        }
        let board = self.operator.board();
        let mut fresh = false;
        for operator in self.terms.indices() {
            if let Some(said) = board_view::said_name(board, operator)
                && let Some(key) = self.terms.operator(operator)
            {
                fresh |= self.names.learn(key, &said);
            }
        }
        // They are for screens: a disk that takes nothing any more shows with the journal.
        if fresh && let Err(problem) = self.names.save(&self.folder) {
            self.notice(format!("the names of the operators could not be kept: {problem}"));
        }
    }

    fn notice(&mut self, message: String) {
        // Whoever makes us say very much must not make us silent about what comes after it.
        if self.told.len() >= MOST_TOLD {
            self.told.clear();
        }
        if self.told.insert(message.clone()) {
            (self.person.show)(Event::Notice { message });
        }
    }

    fn give(&self, command: Command<Message>) {
        // A node that has stopped is noticed when its events end.
        let _ = self.node.blocking_give(command);
    }

    fn tell(&mut self) {
        // They come one by one, and a person is to see one list.
        let settled =
            |since: Instant| since.elapsed() >= LISTENING || self.listening.len() >= self.listening_most;
        if self.listening_changed.is_some_and(settled) {
            self.listening_changed = None;
            let addresses = self
                .listening
                .iter()
                .filter(|address| !is_link_local(address))
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
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            self.show_progress();
        }
    }

    /// Shows how far everybody is, if that has changed.
    fn show_progress(&mut self) {
        let ready = self.deriver.as_ref().map_or((0, 0), |d| (d.ready(), d.count()));
        let snapshot = self.snapshot(ready);
        self.silence.attempt = snapshot.attempt;
        self.silence.step = board_view::waited_for(&snapshot.operators);
        if self.shown.as_ref() != Some(&snapshot) {
            (self.person.show)(Event::Progress(snapshot.clone()));
            self.shown = Some(snapshot);
        }
    }

    fn snapshot(&self, keys_ready: (u32, u32)) -> Snapshot {
        let (apart, connected): (BTreeSet<u16>, BTreeSet<u16>) = self
            .connected
            .iter()
            .partition(|operator| self.sync.is_apart(**operator));
        let links = Links {
            connected: &connected,
            apart: &apart,
            validating: &self.validating,
            through: &|operator| self.sync.through(operator),
        };
        let mut snapshot = board_view::snapshot(&self.operator, &self.names, &links, keys_ready);
        if self.silence.is_long
            && let Some(why) = board_view::why_they_are_silent(&snapshot)
        {
            snapshot.status = format!("{} {why}", snapshot.status);
        }
        snapshot
    }

    /// Whether what is waited for has been the same for a while, so that a person may be asked something where it is to come from.
    fn look_for_silence(&mut self) {
        let cause = Cause::Quiet(self.silence.attempt, self.silence.step);
        self.silence.is_long = self.lasts(cause, QUIET);
    }

    fn unconfirmed(&self) -> Vec<u16> {
        let k = self.operator.published_attempt().unwrap_or(0);
        let board = self.operator.board();
        let session = self.operator.session(k);
        let done = |j: u16| session.is_some_and(|sid| board.is_done(&sid, j));
        self.terms.indices().filter(|j| !done(*j)).collect()
    }

    /// Whether the ceremony has ended well for this operator.
    fn is_over(&mut self) -> Result<Option<Outcome>, Problem> {
        if self.operator.published_attempt().is_none() || self.running > 0 {
            return Ok(None);
        }
        let mut unconfirmed = self.unconfirmed();
        // Who runs `conclave run` has everything, and waits for no word of this operator's.
        unconfirmed.retain(|j| !self.validating.contains(j));
        let own = self.operator.index();
        if self
            .terms
            .indices()
            .all(|j| j == own || self.validating.contains(&j))
        {
            unconfirmed.clear();
        }
        // Whose share is lost will not come with files. Each is looked at: its time runs from now on, whoever else is waited for.
        let waited_for = unconfirmed.iter().filter(|j| !self.is_given_up(**j)).count();
        // Whoever has everything stays for those who have not, until its person leaves.
        if waited_for > 0 && !self.is_to_leave() {
            return Ok(None);
        }
        self.write_transcript()?;
        self.show_progress();
        self.pass_on_confirmations();
        let outcome = match self.result.clone() {
            Some(result) => result,
            None => self.read_result()?.ok_or_else(|| {
                Problem::folder_state(
                    "the lock is gone",
                    "it was published here before",
                    backups::RESTORE,
                )
            })?,
        };
        let others = unconfirmed.iter().filter(|j| **j != self.operator.index());
        let unconfirmed = others
            .map(|j| format!("{} (operator {j})", self.name(*j)))
            .collect();
        Ok(Some(Outcome {
            unconfirmed,
            ..outcome
        }))
    }

    /// Whoever learned of a confirmation through this node only would wait for it for ever: an announcement needs an answer, and
    /// nobody is here any more to give it.
    fn pass_on_confirmations(&self) {
        let board = self.operator.board();
        let done = board.order().iter().filter_map(|id| board.get(id));
        for entry in done
            .map(|admitted| &admitted.entry)
            .filter(|entry| entry.step == Step::Done)
        {
            let Some(item) = board_view::item(board, &entry.id(&self.terms)) else {
                continue;
            };
            for operator in self.connected.iter().filter(|j| **j != entry.operator) {
                let message = Message::Entry {
                    item,
                    bytes: entry.encode().into(),
                };
                self.give(Command::Send {
                    operator: *operator,
                    message,
                });
            }
        }
    }

    /// The record of the ceremony, for whoever was not there. One that shows the end is never exchanged for one that shows less, as that of a
    /// folder that has lost its journal; and one that does not show it is of no use to anybody.
    fn write_transcript(&mut self) -> Result<(), Problem> {
        let net = product::net(&self.network);
        let path = self.folder.ceremony().join(TRANSCRIPT);
        let ours = Transcript::of(self.operator.board(), net);
        let before = match self.folder.disk().read(&path, MAX_JSON_BYTES) {
            Ok(bytes) => Transcript::decode(&self.terms, &net, &bytes).ok(),
            Err(_) => None,
        };
        let shows_end = self.shows_end();
        if shows_end
            && before
                .as_ref()
                .is_none_or(|before| ours.covers(&self.terms, before))
        {
            return Ok(self.folder.disk().replace(&path, &ours.encode(), PUBLIC)?);
        }
        let shown = before.and_then(|before| before.check(&self.terms, &weight_seed().ok()?).ok());
        let is_ours = |lock_hash| {
            self.result
                .as_ref()
                .is_none_or(|result| result.lock_hash == lock_hash)
        };
        if shown.is_some_and(|shown| is_ours(shown.lock_hash)) {
            return Ok(());
        }
        if shows_end {
            return Ok(self.folder.disk().replace(&path, &ours.encode(), PUBLIC)?);
        }
        self.notice(format!(
            "the record of the ceremony ({}) is not made: this folder does not have what all operators said. If you want to have it, copy that file \
             from another operator; nothing else depends on it",
            path.display()
        ));
        Ok(())
    }

    /// Whether everybody's seal of the published attempt is here.
    fn shows_end(&self) -> bool {
        let board = self.operator.board();
        let k = self.operator.published_attempt().unwrap_or(0);
        board.sessions(k).any(|sid| board.sealed(&sid).is_some())
    }

    /// Whether the person wants to leave, or its time is over.
    fn is_to_leave(&self) -> bool {
        self.person.interrupted.load(Ordering::Relaxed) || self.is_time_over()
    }

    fn is_time_over(&self) -> bool {
        self.wait.is_some_and(|wait| self.start.elapsed() > wait)
    }

    fn look_at_the_clock(&mut self) -> Result<(), Problem> {
        // Whoever has its files leaves well, in the next round, at whatever moment its person says so.
        if self.running > 0 || self.operator.published_attempt().is_some() {
            return Ok(());
        }
        let (kind, what, otherwise) = if self.person.interrupted.load(Ordering::Relaxed) {
            (
                Kind::Interrupted,
                "you left before the ceremony was finished",
                "run the same command again: it goes on where it was",
            )
        } else if self.is_to_leave() {
            (
                Kind::GaveUp,
                "the ceremony was not finished in the time given",
                "run the same command again when the others are there: it goes on where it was",
            )
        } else {
            return Ok(());
        };
        let missing = self.snapshot((0, 0)).status;
        let here = self
            .connected
            .iter()
            .copied()
            .filter(|operator| !self.sync.is_apart(*operator));
        // The same command would ask the same question, and go on from nothing else.
        if let Some((k, why)) = self.offered.as_ref().filter(|(k, _)| *k > self.consented) {
            return Err(Problem::new(
                kind,
                what,
                format!("{why} Whether attempt {k} begins was not answered with yes"),
                format!(
                    "run the same command again, and answer that question, or give the answer beforehand: --attempt {k}. Attempt {k} takes all of you"
                ),
            ));
        }
        // What is known to be in the way the same command does not mend.
        let (why, what_to_do) = match self.obstacles.last_words(&here.collect(), Instant::now()) {
            Some((cause, what_to_do)) => (format!("{cause}. {missing}"), what_to_do),
            None => (missing, otherwise.to_owned()),
        };
        Err(Problem::new(kind, what, why, what_to_do))
    }

    /// Sends what is queued, says goodbye.
    fn farewell(&mut self, events: &mut Events<Ceremony>) {
        self.give(Command::Shutdown);
        let deadline = Instant::now() + Duration::from_secs(6);
        while Instant::now() < deadline {
            if events.recv_timeout(Duration::from_millis(100)).is_err() {
                return;
            }
        }
    }
}

/// The board as synchronisation asks for it.
fn view(operator: &Operator) -> View<'_> {
    View {
        operator,
        board: operator.board(),
        horizon: operator.current_attempt().saturating_add(1),
    }
}

/// IPv6 addresses that mean nothing without the name of a network interface.
fn is_link_local(address: &Multiaddr) -> bool {
    address
        .iter()
        .any(|part| matches!(part, Protocol::Ip6(ip) if ip.is_unicast_link_local()))
}
