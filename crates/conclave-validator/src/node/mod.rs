//! One running operator: where the core meets sockets, disks and clocks.
//!
//! The core runs on a thread of its own and is told one thing after the other; everything that takes time is done
//! elsewhere and comes back as an event.

mod checks;
mod clock;
mod control;
mod duties;
mod early;
mod exits;
mod protocol;
mod submitting;
mod votes;
mod work;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use libp2p::Multiaddr;
use rand::TryRng as _;
use tokio::{sync::mpsc, time::Instant};

use conclave_crypto::{bls::SecretKey, node::NodeKey};
use conclave_net::{
    events::{Event as NetEvent, Events},
    node::{self as network, Command, Handle},
};

use super::{
    core::{Core, Effect, Event, History, Report, Settings, Standstill, Stop},
    exits::Shelf,
    group::Group,
    memory::Proofs,
    partials::Proof,
    pulse::Pulse,
    wire::{Limits, Message},
};
use crate::observed::{Dissenter, ExitStands, Peer, Seen, Votes};
use conclave_beacon::{
    answers::SignedRegistration,
    chain::spec::{Chain, Mismatch, Pinned},
    nodes::{Health, Nodes},
};
use conclave_ceremony::folder::SOCKET;
use conclave_consensus::NodeSignatures;
use conclave_eth::{
    chain::{block::BlockSchemas, time::Time},
    duty::Purpose,
};
use conclave_slashing::{Guard, GuardError, Mark, Start};

pub use self::{
    control::{Control, Describe, was_killed},
    exits::ExitNews,
    protocol::Run,
    submitting::Delivery,
};

use clock::{Clock, Rounds, now_ms};
use control::{Desk, Door};
use duties::Service;
use early::Early;
use exits::{Exits, Tools};
use work::Works;

/// Beacon nodes are asked for their chain this often until one answers.
const ASK_CHAIN: Duration = Duration::from_secs(2);
/// A beacon node that has not answered after this time is told of.
const QUICK: Duration = Duration::from_secs(2);
/// How long a beacon node may take to tell its chain.
const CHAIN_PATIENCE: Duration = Duration::from_secs(10);
/// Longest wait for the disk at the end.
const LAST_WRITE: Duration = Duration::from_secs(3);
/// The loop looks at the clock at least this often.
const LOOK: Duration = Duration::from_secs(1);
/// A loop that is not back after this part of a slot more stood still.
const STOOD_PART: u64 = 4;
/// Longest round of the loop that waits for a beacon node, before the length of a slot is known, in milliseconds.
const LONGEST_WAIT_MS: u64 = 4000;

/// Stands between an operator and what it says: to whom (`None`: everybody) and what; gives what is said in its place.
pub type Voice = dyn FnMut(Option<u16>, Message) -> Vec<(Option<u16>, Message)> + Send;

/// What this program calls itself.
pub const SOFTWARE: &str = concat!("conclave/", env!("CARGO_PKG_VERSION"));

/// Takes the whole address book whenever it has changed: operators from 1, and where they may be reached.
pub type Keep<'a> = dyn FnMut(&[(u16, Vec<Multiaddr>)]) + 'a;

/// Everything that a running operator needs.
pub struct Setup {
    /// The lock's group.
    pub group: Group,
    /// This operator, from 1.
    pub operator: u16,
    /// Its node key.
    pub key: NodeKey,
    /// Its share of each validator.
    pub shares: Vec<SecretKey>,
    /// Its slashing protection; none for a dry run.
    pub guard: Option<Guard>,
    /// The beacon nodes, in order of preference.
    pub nodes: Nodes,
    /// What is known of the network beforehand.
    pub pinned: Pinned,
    /// Whether blocks of external builders are taken.
    pub builder: bool,
    /// The lock's builder registrations, for the beacon nodes; used only with `builder`.
    pub registrations: Vec<SignedRegistration>,
    /// What own blocks say.
    pub graffiti: [u8; 32],
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// Addresses to tell the others beside those.
    pub announce: Vec<Multiaddr>,
    /// Addresses of other operators.
    pub peers: Vec<Multiaddr>,
    /// Addresses that were learned before.
    pub book: Vec<(u16, Vec<Multiaddr>)>,
    /// Where other commands talk to this process.
    pub control: Control,
    /// Beaten as long as the work goes on.
    pub pulse: Pulse,
    /// For tests of what a liar can do: everything that this operator says goes through it. None for honest ones.
    pub voice: Option<Box<Voice>>,
    /// Where parts of exits are kept.
    pub exits: Box<dyn Shelf>,
    /// For whom a folder that was restored from a backup does not wait, by its operator's word.
    pub excused: BTreeSet<u16>,
}

/// What a running operator tells whoever watches.
#[derive(Debug)]
pub enum News {
    /// The beacon nodes' chain is known; or, later, another fork schedule counts.
    Chain(Arc<Chain>),
    /// No beacon node has told its chain yet; why, for people.
    WaitingForBeaconNode(String),
    /// From when on this process signs.
    Starts(Start),
    /// What the core reports.
    Report(Report),
    /// What happens in the network.
    Network(NetEvent<()>),
    /// The clock jumped by so many milliseconds, ahead or back, or the machine slept: this counts as a start.
    ClockJumped {
        /// Ahead, or back if negative.
        by_ms: i64,
    },
    /// This process did nothing for a while, by a clock that did not jump.
    StoodStill(Standstill),
    /// A slot has begun.
    Slot(u64),
    /// How the beacon nodes are, once a slot.
    BeaconNodes(Vec<Health>),
    /// What happens to exits.
    Exit(ExitNews),
    /// How far all exits of a validator are, whenever that changes.
    ExitsStand {
        /// Its place in the lock, from 0.
        validator: u32,
        /// One, unless operators consent to different ones.
        exits: Vec<ExitStands>,
    },
    /// Other commands cannot talk to this process; why, for people.
    NoControl(String),
    /// What the core knows of the other operators, by their number; once a slot.
    Peers(Vec<(u16, Peer)>),
    /// Why the slashing protection is not the whole memory of its share, if it is not; at the start and once an epoch.
    Marked(Option<Mark>),
    /// Why the slashing protection cannot be used, when that begins or changes; none when it can be again.
    Guard(Option<String>),
    /// What became of something that the group signed and the own beacon nodes were given.
    Submitted {
        /// What it is.
        purpose: Purpose,
        /// Its slot.
        slot: u64,
        /// Of how many validators.
        count: usize,
        /// What became of it.
        delivery: Delivery,
    },
    /// A fork is scheduled that this version does not know; at the start with the chain, and again once an epoch.
    UnknownFork {
        /// Its name.
        name: String,
        /// Its epoch.
        epoch: u64,
    },
    /// Our validators as the chain has them, once an epoch; those that it does not know are left out.
    Validators(Vec<Seen>),
    /// Own beacon nodes that say something else of our validators than what counts: all of them, when that changes.
    Dissent(Vec<Dissenter>),
    /// What became of an epoch's votes.
    Votes(Votes),
    /// It was asked to stop, and finishes this slot first.
    Stopping {
        /// The slot.
        slot: u64,
        /// How long that takes, in milliseconds.
        left_ms: u64,
    },
    /// The core has stopped for good; the process ends.
    Stopped(Stop),
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Asked,
    /// The core stopped for good.
    Stopped(Stop),
}

/// Why an operator cannot run. The text of each has three lines: what, why, what to do.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The beacon nodes are of another network.
    #[error(
        "the beacon node is of another network\n{0}\npoint --beacon-node at a node of the lock's network"
    )]
    WrongNetwork(String),
    /// Most beacon nodes say other things of the network than what was settled at the start.
    #[error(
        "most beacon nodes now say something else of the network than when this started; nothing is signed any more\n{0}\n\
         find out which of your beacon nodes are right, leave out the others, and start it again"
    )]
    Contradicted(String),
    /// The slashing protection failed.
    #[error(transparent)]
    Guard(#[from] GuardError),
    /// The network node failed.
    #[error("the network could not be started\n{0}\n{advice}", advice = .0.advice())]
    Network(#[from] network::NodeError),
    /// The system failed.
    #[error("cannot run\n{0}\ntry again; if it stays so, restart the machine")]
    System(String),
}

impl From<Mismatch> for RunError {
    fn from(mismatch: Mismatch) -> Self {
        Self::WrongNetwork(format!(
            "{} is {}, and that of the lock's network is {}",
            mismatch.what, mismatch.found, mismatch.expected
        ))
    }
}

/// Runs until `interrupted` becomes true and the slot of that moment is over, or until the core stops for good. `watch` is
/// told what happens, on this thread; address books are given to `keep`.
///
/// # Errors
/// [`RunError`].
pub fn run(
    setup: Setup,
    interrupted: &Arc<AtomicBool>,
    watch: &mut dyn FnMut(News),
    keep: &mut Keep<'_>,
) -> Result<Ended, RunError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| RunError::System(error.to_string()))?;
    let inside = runtime.enter();
    let limits = Limits {
        validators: setup.group.validators.len(),
    };
    let operators = setup.group.operators.iter();
    let operators: Vec<_> = operators.map(|operator| operator.key).collect();
    let config = network::Config {
        listen: setup.listen,
        announce: setup.announce,
        peers: setup.peers,
        book: setup.book,
        lan: true,
        relay: true,
        ..network::Config::new(setup.key.clone(), operators.clone(), limits)
    };
    let (handle, mut net) = network::start::<Run>(config)?;
    let desk = Desk {
        describe: setup.control.describe.clone(),
        exits: Arc::default(),
    };
    let _door = open_door(&runtime, &setup.control, &desk, watch);
    expect(&setup.nodes, &setup.pinned, setup.guard.as_ref())?;
    let marked = mark_of(setup.guard.as_ref(), watch)?;
    let mut lobby = Lobby::new(&mut net, &setup.pulse, &mut *watch, &mut *keep);
    let Some(chain) = runtime.block_on(lobby.chain_of(&setup.nodes, interrupted))? else {
        return Ok(Ended::Asked);
    };
    let early = lobby.early;
    pin(&chain, &setup.pinned, setup.guard.as_ref())?;
    watch(News::Chain(chain.clone()));
    let (clock, start) = first_start(chain.time(), setup.guard.as_ref(), marked, watch);
    let group = Arc::new(setup.group);
    let (events, inbox) = mpsc::unbounded_channel();
    let (news, told) = mpsc::unbounded_channel();
    let works = Works {
        runtime: runtime.handle().clone(),
        nodes: setup.nodes.clone(),
        chain: chain.clone(),
        group: group.clone(),
        guard: setup.guard.map(Arc::new),
        keys: Arc::default(),
        schemas: Arc::new(BlockSchemas::new(&chain.spec.sizes)),
        builder: setup.builder,
        graffiti: setup.graffiti,
        shares: Arc::new(setup.shares),
        events: events.clone(),
        news: news.clone(),
        turn: Arc::default(),
        trouble: Arc::default(),
        unwritten: Arc::new(Mutex::new(BTreeMap::new())),
        refusals: Arc::default(),
        ancestors: Arc::default(),
        making: Arc::default(),
    };
    let settings = Settings {
        group: group.clone(),
        chain: chain.clone(),
        me: setup.operator,
        software: SOFTWARE.to_owned(),
        dry_run: works.guard.is_none(),
        builder: setup.builder,
        history: history(marked),
        excused: setup.excused,
    };
    let memory = memory(works.guard.as_deref())?;
    let (tell, exit_news) = mpsc::unbounded_channel();
    let exits = Exits::start(Tools {
        group: group.clone(),
        chain: chain.clone(),
        nodes: setup.nodes.clone(),
        me: setup.operator,
        key: setup.key.clone(),
        shares: works.shares.clone(),
        shelf: setup.exits,
        network: handle.clone(),
        runtime: runtime.handle().clone(),
        news: tell,
        dry_run: works.guard.is_none(),
    });
    let _ = desk.exits.set(exits.clone());
    let signatures = NodeSignatures::new(setup.key, operators);
    let core = Core::new(settings, signatures, instance()?, memory, start, now_ms())
        .ok_or_else(|| RunError::System("the lock's group cannot agree".to_owned()))?;
    let registrations = if setup.builder {
        setup.registrations
    } else {
        Vec::new()
    };
    runtime.spawn(Service::new(setup.nodes, chain.clone(), group, registrations, events, news).run());
    drop(inside);
    let mut driver = Driver {
        core,
        slot: None,
        piece: None,
        pulse: setup.pulse,
        nodes: works.nodes.clone(),
        clock,
        marked,
        chain,
        works: works.clone(),
        network: handle.clone(),
        voice: setup.voice,
        exits: exits.clone(),
        watch,
        keep,
    };
    let ended = runtime.block_on(driver.drive(&mut net, early, inbox, exit_news, told, interrupted));
    exits.stop();
    runtime.block_on(write_last(works));
    let _ = runtime.block_on(shut_down(&handle, &mut net));
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended
}

/// Lets other commands in. Validating is more important than talking about it: without a socket it goes on.
fn open_door(
    runtime: &tokio::runtime::Runtime,
    control: &Control,
    desk: &Desk,
    watch: &mut dyn FnMut(News),
) -> Option<Door> {
    match control::open(control) {
        Ok((listener, door)) => {
            let path = control.folder.join(SOCKET);
            runtime.spawn(control::serve(listener, path, desk.clone()));
            Some(door)
        }
        Err(error) => {
            watch(News::NoControl(error.to_string()));
            None
        }
    }
}

/// Writes what is to be remembered, unless the disk takes too long.
async fn write_last(works: Works) {
    let written = tokio::task::spawn_blocking(move || works.write_memories());
    match tokio::time::timeout(LAST_WRITE, written).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!("what others signed could not be written down: {error}"),
        _ => tracing::warn!("what others signed could not be written down: the disk does not answer"),
    }
}

/// Says goodbye to the others.
async fn shut_down(handle: &Handle<Run>, net: &mut Events<Run>) -> Option<()> {
    handle.give(Command::Shutdown).await.ok()?;
    let end = async { while net.recv().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(3), end).await.ok()
}

/// A node that waits for its beacon node, and listens to the others meanwhile.
struct Lobby<'a, 'k> {
    net: &'a mut Events<Run>,
    early: Early,
    pulse: &'a Pulse,
    rounds: Rounds,
    watch: &'a mut dyn FnMut(News),
    keep: &'a mut Keep<'k>,
}

impl<'a, 'k> Lobby<'a, 'k> {
    fn new(
        net: &'a mut Events<Run>,
        pulse: &'a Pulse,
        watch: &'a mut dyn FnMut(News),
        keep: &'a mut Keep<'k>,
    ) -> Self {
        Self {
            net,
            early: Early::default(),
            pulse,
            rounds: Rounds::new(LONGEST_WAIT_MS),
            watch,
            keep,
        }
    }

    /// Waits for a beacon node of the right chain. `None` if interrupted before.
    async fn chain_of(
        &mut self,
        nodes: &Nodes,
        interrupted: &AtomicBool,
    ) -> Result<Option<Arc<Chain>>, RunError> {
        use conclave_beacon::nodes::{Health, State};
        loop {
            let mut check = std::pin::pin!(nodes.check(now_ms(), Instant::now() + CHAIN_PATIENCE));
            let at_once = tokio::time::timeout(QUICK, check.as_mut());
            match self.during(at_once, interrupted).await? {
                None => return Ok(None),
                Some(Ok(())) => {}
                // One that accepts and never answers would be silence until it has failed.
                Some(Err(_)) => {
                    if let Some(why) = nodes.no_answer_yet() {
                        (self.watch)(News::WaitingForBeaconNode(why));
                    }
                    if self.during(check, interrupted).await?.is_none() {
                        return Ok(None);
                    }
                }
            }
            if let Some(chain) = nodes.settled() {
                return Ok(Some(chain));
            }
            let health = nodes.health();
            let wrong = |state: &State| matches!(state, State::WrongNetwork(_));
            let texts = |with_advice: bool| {
                let text = |node: &Health| {
                    let text = format!("{}: {}", node.name, node.state.text());
                    match node.state.advice().trim_end_matches('.') {
                        "" => text,
                        advice if with_advice => format!("{text}. {advice}"),
                        _ => text,
                    }
                };
                health.iter().map(text).collect::<Vec<String>>().join("; ")
            };
            // One wrong node beside others that are merely off may be a mistake; only wrong ones surely are.
            if !health.is_empty() && health.iter().all(|node| wrong(&node.state)) {
                return Err(RunError::WrongNetwork(texts(false)));
            }
            // One that is well waits only for what the others say.
            if !nodes.is_ready() {
                (self.watch)(News::WaitingForBeaconNode(texts(true)));
            }
            if self
                .during(tokio::time::sleep(ASK_CHAIN), interrupted)
                .await?
                .is_none()
            {
                return Ok(None);
            }
        }
    }

    /// Takes what comes from the network until this is done. `None` if interrupted before.
    async fn during<T>(
        &mut self,
        work: impl Future<Output = T>,
        interrupted: &AtomicBool,
    ) -> Result<Option<T>, RunError> {
        let (mut work, mut stop) = (std::pin::pin!(work), std::pin::pin!(until(interrupted)));
        let mut look = tokio::time::interval(LOOK);
        loop {
            self.pulse.beat();
            if let Some(standstill) = self.rounds.round() {
                (self.watch)(News::StoodStill(standstill));
            }
            tokio::select! {
                biased;
                value = &mut work => return Ok(Some(value)),
                () = &mut stop => return Ok(None),
                _ = look.tick() => {}
                event = self.net.recv() => {
                    let event = event.ok_or_else(network_stopped)?;
                    self.early.hear(&event);
                    if let Some(event) = show(event, self.keep) {
                        (self.watch)(News::Network(event));
                    }
                }
            }
        }
    }
}

/// Has beacon nodes held against what the slashing protection was used on, too: one that is wrong then does not keep others
/// from being used. Where the lock's network is another one than the database's, that is said when the chain is known.
fn expect(nodes: &Nodes, pinned: &Pinned, guard: Option<&Guard>) -> Result<(), RunError> {
    let known = guard.map(Guard::genesis_validators_root).transpose()?.flatten();
    if known.is_some() && pinned.genesis_validators_root.is_none() {
        nodes.pin(Pinned {
            genesis_validators_root: known,
            ..pinned.clone()
        });
    }
    Ok(())
}

/// Compares a chain with what is known of it, and with what the slashing protection was used on.
fn pin(chain: &Chain, pinned: &Pinned, guard: Option<&Guard>) -> Result<(), RunError> {
    chain.fits(pinned)?;
    if let Some(guard) = guard {
        guard.pin_genesis_validators_root(&chain.genesis.validators_root)?;
    }
    Ok(())
}

fn network_stopped() -> RunError {
    RunError::System("the network node has stopped".to_owned())
}

/// What there is to see of an event of the network; address books are given to `keep`.
fn show(event: NetEvent<Message>, keep: &mut Keep<'_>) -> Option<NetEvent<()>> {
    Some(match event {
        NetEvent::Message { .. } => return None,
        NetEvent::AddressBook(book) => {
            keep(&book);
            return None;
        }
        NetEvent::Connected { operator } => NetEvent::Connected { operator },
        NetEvent::Disconnected { operator, reason } => NetEvent::Disconnected { operator, reason },
        NetEvent::Listening(address) => NetEvent::Listening(address),
        NetEvent::ListenerLost(why) => NetEvent::ListenerLost(why),
        NetEvent::Path { operator, through } => NetEvent::Path { operator, through },
        NetEvent::Latency { operator, round_trip } => NetEvent::Latency { operator, round_trip },
        NetEvent::Stranger { peer, address, total } => NetEvent::Stranger { peer, address, total },
        NetEvent::Refused { operator, why } => NetEvent::Refused { operator, why },
        NetEvent::Unreachable(unreachable) => NetEvent::Unreachable(unreachable),
    })
}

/// Waits until it becomes true.
async fn until(interrupted: &AtomicBool) {
    while !interrupted.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Why a database is not the whole memory of its share. Told before any beacon node is waited for: it says what is waited for then.
fn mark_of(guard: Option<&Guard>, watch: &mut dyn FnMut(News)) -> Result<Option<Mark>, RunError> {
    let Some(guard) = guard else { return Ok(None) };
    let marked = guard.mark()?;
    watch(News::Marked(marked));
    Ok(marked)
}

/// From when on this process signs, and the clock by which that was found: what the start counts from is what later looks
/// at the clock are compared with.
fn first_start(
    time: Time,
    guard: Option<&Guard>,
    marked: Option<Mark>,
    watch: &mut dyn FnMut(News),
) -> (Clock, Start) {
    let mut clock = Clock::new(time.slot_ms);
    let start = start_at(time, clock.look().0, marked);
    if let Some(guard) = guard {
        guard.begin(start);
    }
    watch(News::Starts(start));
    (clock, start)
}

/// From when on a process that starts at this time signs. A database that is not the whole memory of its share (`marked`)
/// waits for two whole epochs; that of a restored folder for the other operators before that.
fn start_at(time: Time, now_ms: u64, marked: Option<Mark>) -> Start {
    if marked == Some(Mark::Restored) {
        return Start::NEVER;
    }
    let Some(slot) = time.slot_at(now_ms) else {
        // Nothing was signed before genesis.
        return Start {
            first_slot: 0,
            first_target: 0,
        };
    };
    Start {
        first_slot: slot.saturating_add(1),
        first_target: time
            .epoch_of(slot)
            .saturating_add(if marked.is_some() { 3 } else { 1 }),
    }
}

/// What a database with this mark knows of other software's signatures.
fn history(marked: Option<Mark>) -> History {
    match marked {
        Some(Mark::PartialImport | Mark::Restored) => History::Partial,
        _ => History::Whole,
    }
}

/// A new number for this process.
fn instance() -> Result<[u8; 16], RunError> {
    let mut bytes = [0; 16];
    rand::rngs::SysRng
        .try_fill_bytes(&mut bytes)
        .map_err(|error| RunError::System(error.to_string()))?;
    Ok(bytes)
}

/// What the guard's database remembers of the others.
fn memory(guard: Option<&Guard>) -> Result<BTreeMap<u16, Proofs>, RunError> {
    let mut memory: BTreeMap<u16, Proofs> = BTreeMap::new();
    if let Some(guard) = guard {
        for kept in guard.memories()? {
            let bytes = <&[u8; super::partials::PROOF]>::try_from(kept.proof.as_slice()).ok();
            if let Some(proof) = bytes.and_then(Proof::decode) {
                memory.entry(kept.operator).or_default().take(proof);
            }
        }
    }
    Ok(memory)
}

/// The loop around the core.
struct Driver<'a> {
    core: Core<NodeSignatures>,
    clock: Clock,
    /// As the core knows it.
    chain: Arc<Chain>,
    works: Works,
    /// Why the guard's database was not the whole memory of its share when that was asked last. While a process runs
    /// a mark can only go, so this never says too little.
    marked: Option<Mark>,
    network: Handle<Run>,
    voice: Option<Box<Voice>>,
    exits: Exits,
    nodes: Nodes,
    pulse: Pulse,
    /// The slot that was begun last.
    slot: Option<u64>,
    /// The same with time before genesis, which is cut into pieces as long as slots.
    piece: Option<(bool, u64)>,
    watch: &'a mut dyn FnMut(News),
    keep: &'a mut Keep<'a>,
}

impl Driver<'_> {
    async fn drive(
        &mut self,
        net: &mut Events<Run>,
        early: Early,
        mut inbox: mpsc::UnboundedReceiver<Event>,
        mut exit_news: mpsc::UnboundedReceiver<News>,
        mut told: mpsc::UnboundedReceiver<News>,
        interrupted: &AtomicBool,
    ) -> Result<Ended, RunError> {
        if let Some(stop) = self.catch_up(early).await {
            return Ok(Ended::Stopped(stop));
        }
        let mut stop_at = None;
        let part = self.chain.time().slot_ms.checked_div(STOOD_PART).unwrap_or(0);
        let look = u64::try_from(LOOK.as_millis()).unwrap_or(u64::MAX);
        let mut rounds = Rounds::new(look.saturating_add(part));
        loop {
            self.pulse.beat();
            if interrupted.load(Ordering::Relaxed)
                && *stop_at.get_or_insert_with(|| self.end_of_slot()) <= now_ms()
            {
                return Ok(Ended::Asked);
            }
            let wake = self.core.wake_at().min(stop_at.unwrap_or(u64::MAX));
            let wait = Duration::from_millis(wake.saturating_sub(now_ms())).min(LOOK);
            let event = tokio::select! {
                biased;
                event = inbox.recv() => event,
                event = net.recv() => match event {
                    Some(event) => self.heard(event),
                    None => return Err(network_stopped()),
                },
                Some(news) = exit_news.recv() => {
                    (self.watch)(news);
                    None
                }
                Some(news) = told.recv() => {
                    if let News::Marked(mark) = &news {
                        self.marked = *mark;
                    }
                    (self.watch)(news);
                    None
                }
                () = tokio::time::sleep(wait) => Some(Event::Tick),
            };
            let (now, jumped) = self.clock.look();
            let stood = rounds.round();
            if let Some(by_ms) = jumped {
                self.restart(now, by_ms).await?;
                // Whatever it was that was to be finished is over.
                stop_at = stop_at.map(|_| now);
            } else if let Some(standstill) = stood {
                (self.watch)(News::StoodStill(standstill));
                // It never stops because of this.
                let _ = self.tell(now, Event::StoodStill(standstill)).await;
            }
            self.watch_chain(now).await;
            if let Some(why) = self.nodes.contradiction() {
                if let Some(guard) = &self.works.guard {
                    guard.pause();
                }
                return Err(RunError::Contradicted(why));
            }
            self.watch_slot(now);
            let connected = match &event {
                Some(Event::Connected(operator)) => Some(*operator),
                _ => None,
            };
            if let Some(event) = event
                && let Some(stop) = self.tell(now, event).await
            {
                return Ok(Ended::Stopped(stop));
            }
            // After the greeting.
            if let Some(operator) = connected {
                self.exits.connected(operator);
            }
        }
    }

    /// When the duties of the slot that it is now are over: at once if nothing is signed anyway.
    fn end_of_slot(&mut self) -> u64 {
        let (now, time) = (now_ms(), self.chain.time());
        let Some(slot) = time.slot_at(now).filter(|_| self.works.guard.is_some()) else {
            return now;
        };
        let end = time.end_of(slot);
        (self.watch)(News::Stopping {
            slot,
            left_ms: end.saturating_sub(now),
        });
        end
    }

    /// Beacon nodes may have been updated since the start, or have come or gone: another fork schedule may count, before its
    /// first slot begins.
    async fn watch_chain(&mut self, now: u64) {
        let newest = self.nodes.chain();
        let Some(chain) = newest.filter(|chain| !Arc::ptr_eq(chain, &self.chain)) else {
            return;
        };
        self.chain = chain.clone();
        (self.watch)(News::Chain(chain.clone()));
        // It never stops because of this.
        let _ = self.tell(now, Event::Chain(chain)).await;
    }

    fn watch_slot(&mut self, now: u64) {
        let time = self.chain.time();
        let slot = time.slot_at(now);
        let before_genesis = || now.checked_div(time.slot_ms).unwrap_or(0);
        let piece = Some((slot.is_some(), slot.unwrap_or_else(before_genesis)));
        if piece == self.piece {
            return;
        }
        self.piece = piece;
        let epoch = slot.map(|slot| time.epoch_of(slot));
        if epoch != self.slot.map(|slot| time.epoch_of(slot)) {
            self.watch_epoch();
        }
        self.slot = slot;
        (self.watch)(News::BeaconNodes(self.nodes.health()));
        (self.watch)(News::Peers(self.core.others()));
        (self.watch)(News::Slot(slot.unwrap_or(0)));
    }

    /// What seldom changes.
    fn watch_epoch(&mut self) {
        if self.works.guard.is_some() {
            self.works.ask_mark();
        }
        if let Some((name, epoch)) = self.chain.spec.unknown_fork() {
            (self.watch)(News::UnknownFork {
                name: name.to_owned(),
                epoch,
            });
        }
    }

    /// Tells the core something and carries out what it wants.
    async fn tell(&mut self, now: u64, event: Event) -> Option<Stop> {
        let mut stopped = None;
        for effect in self.core.handle(now, event) {
            match effect {
                Effect::Send { to, message } => self.say(Some(to), message).await,
                Effect::Broadcast(message) => self.say(None, message).await,
                Effect::Refuse { operator, why } => self.give(Command::Misbehaved { operator, why }).await,
                Effect::Report(report) => (self.watch)(News::Report(report)),
                Effect::Stop(stop) => {
                    (self.watch)(News::Stopped(stop));
                    self.distrust().await;
                    stopped = Some(stop);
                }
                effect => self.works.begin(effect),
            }
        }
        stopped
    }

    /// Another process signs with this share. Whoever finds out which of them may go on, a restored folder begins its wait from the beginning.
    /// A disk that hangs does not keep this process alive.
    async fn distrust(&self) {
        if let Some(guard) = self.works.guard.clone() {
            // What is asked there at this moment is not signed any more.
            guard.pause();
            let done = tokio::task::spawn_blocking(move || guard.distrust());
            match tokio::time::timeout(Duration::from_millis(self.chain.time().slot_ms), done).await {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => {
                    tracing::warn!(%error, "the slashing protection cannot note that there are two");
                }
                Ok(Err(_)) | Err(_) => tracing::warn!("the slashing protection does not answer"),
            }
        }
    }

    async fn say(&mut self, to: Option<u16>, message: Message) {
        let said = match &mut self.voice {
            None => vec![(to, message)],
            Some(voice) => voice(to, message),
        };
        for (to, message) in said {
            let command = match to {
                Some(operator) => Command::Send { operator, message },
                None => Command::Broadcast(message),
            };
            self.give(command).await;
        }
    }

    async fn give(&self, command: Command<Message>) {
        // A node that has stopped tells so by the end of its events.
        let _ = self.network.give(command).await;
    }

    /// Whatever was signed while the clock was wrong, or the machine asleep, may be forgotten here. Nothing in this waits
    /// for the disk.
    async fn restart(&mut self, now: u64, by_ms: i64) -> Result<(), RunError> {
        if let Some(guard) = &self.works.guard {
            guard.pause();
        }
        (self.watch)(News::ClockJumped { by_ms });
        let start = start_at(self.chain.time(), now, self.marked);
        (self.watch)(News::Starts(start));
        let event = Event::Restarted {
            instance: instance()?,
            start,
        };
        self.tell(now, event).await;
        Ok(())
    }

    /// Tells the core what was said before it was there.
    async fn catch_up(&mut self, early: Early) -> Option<Stop> {
        for (operator, messages) in early.heard() {
            let mut events = vec![Event::Connected(operator)];
            events.extend(
                messages
                    .into_iter()
                    .filter_map(|message| self.route(operator, message)),
            );
            for event in events {
                if let Some(stop) = self.tell(now_ms(), event).await {
                    return Some(stop);
                }
            }
            self.exits.connected(operator);
        }
        None
    }

    /// Whose business a message is: exits are not the core's.
    fn route(&self, from: u16, message: Message) -> Option<Event> {
        match message {
            Message::Exit(partial) => {
                self.exits.heard(from, partial);
                None
            }
            message => Some(Event::Message { from, message }),
        }
    }

    fn heard(&mut self, event: NetEvent<Message>) -> Option<Event> {
        let told = match event {
            NetEvent::Message { operator, message } => return self.route(operator, message),
            NetEvent::Connected { operator } => Some(Event::Connected(operator)),
            NetEvent::Disconnected { operator, .. } => Some(Event::Disconnected(operator)),
            _ => None,
        };
        if let Some(event) = show(event, self.keep) {
            (self.watch)(News::Network(event));
        }
        told
    }
}
