//! The libp2p node: who is dialled, who may stay, and one journal stream for each pair of operators.
//!
//! * Only operators of the definition stay connected; the identity is the operator's node key (secp256k1).
//! * Everybody dials everybody for ever, at every address that is known: given, told by peers, kept from before.
//! * Of two operators the one with the smaller peer id (as bytes) opens the journal stream, on the connection that
//!   it likes, and is the only one to close surplus connections. So two that dial each other at the same moment
//!   never disagree about which connection is to be used: a stream that comes replaces the one before.
//! * Each stream is served by a task of its own (`session`), so a slow or hostile peer holds up nobody else.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    io,
    net::{IpAddr, TcpListener, UdpSocket},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Stream, Swarm, SwarmBuilder, allow_block_list, connection_limits, identify, identity,
    multiaddr::Protocol,
    noise, ping,
    swarm::{
        ConnectionId, DialError, ListenError, NetworkBehaviour, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, yamux,
};
use tokio::sync::mpsc;

use super::{
    book::{Addresses, Backoff, Scope, dialable, scope_of_remote},
    events::{self, Event, EventSender, Events, Reason, Refusal, Seen, Stopped},
    session::{self, Outgoing, Report},
    stream::{self, Happened, StreamEvent},
    wire::{FrameLimits, Message},
};
use crate::crypto::node::{NodeKey, NodePublicKey};

/// A connection attempt, handshake included, may take so long.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Whoever is connected has so long to open the journal stream, or to answer the request for it.
const SILENCE: Duration = Duration::from_secs(10);
/// A second connection this soon after the first is one of two that dialled each other.
const SIMULTANEOUS: Duration = Duration::from_secs(5);
/// A dialled connection that is closed this soon was not welcome.
const UNWELCOME: Duration = Duration::from_secs(2);
/// A session that lasted so long was a success: retries begin quickly again.
const SETTLED: Duration = Duration::from_secs(10);
/// Housekeeping is done so often.
const HOUSEKEEPING: Duration = Duration::from_millis(250);
/// New addresses are collected for so long before they are told.
const TELLING: Duration = Duration::from_millis(50);
/// The same refusal, and strangers in all, are reported at most this often.
const REPEAT: Duration = Duration::from_secs(60);
/// How long the end may take.
const FAREWELL: Duration = Duration::from_secs(5);
/// Who breaks the rules is barred for this long at first, and for a minute in the end.
const BARRED: Duration = Duration::from_secs(1);
/// Strangers that are reported in [`REPEAT`].
const STRANGERS: usize = 8;

/// What a node needs to know.
pub struct Config {
    /// The node key of this operator.
    pub key: NodeKey,
    /// The operators of the definition in their order; this node's own among them.
    pub operators: Vec<NodePublicKey>,
    /// Where to listen. Port 0 lets the system choose.
    pub listen: Vec<Multiaddr>,
    /// Addresses to tell the others beside those where the node listens, say of a router that forwards a port.
    pub announce: Vec<Multiaddr>,
    /// Addresses of other operators, with or without `/p2p/` and their peer id.
    pub peers: Vec<Multiaddr>,
    /// What the last [`Event::AddressBook`] said.
    pub book: Vec<(u16, Vec<Multiaddr>)>,
    /// How long messages may be.
    pub limits: FrameLimits,
    /// Name and version of the program, for people who run another one.
    pub software: String,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Another program listens there.
    #[error("the port of {address} is in use by another program")]
    PortTaken {
        /// Where this node was to listen.
        address: Multiaddr,
    },
    /// One cannot listen there.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where this node was to listen.
        address: Multiaddr,
        /// What the system says.
        source: io::Error,
    },
    /// An address that cannot be dialled was given.
    #[error("{address} is not an address that can be dialled: it should look like /ip4/203.0.113.7/tcp/9000")]
    Address {
        /// The address.
        address: Multiaddr,
    },
    /// A given address names somebody who is not an operator.
    #[error("{address} belongs to nobody in the definition")]
    NotAnOperator {
        /// The address.
        address: Multiaddr,
    },
    /// The node key is none of the definition's.
    #[error("this node is not among the operators")]
    NotMe,
    /// Noise or the key.
    #[error("the network cannot be set up: {0}")]
    Setup(String),
}

/// What the caller can ask for.
#[derive(Debug, Clone)]
pub enum Command {
    /// Send a message to an operator; dropped if the connection that the caller knows of is gone.
    Send {
        /// To whom, from 1.
        operator: u16,
        /// What.
        message: Message,
    },
    /// Send a message to everybody who is connected.
    Broadcast(Message),
    /// Dial this address too. Ignored if it cannot be dialled.
    AddPeer(Multiaddr),
    /// An operator broke the rules of the layer above: disconnect it and let it wait before it comes back.
    Misbehaved {
        /// Who, from 1.
        operator: u16,
        /// What it did, for people.
        why: String,
    },
    /// Send what is queued, say goodbye and stop. [`Events`] end when it is done.
    Shutdown,
}

#[derive(Debug)]
enum Order {
    Send(u16, u64, Message),
    Broadcast(Vec<u64>, Message),
    Other(Command),
}

/// Gives commands to a node. When the last one is dropped, the node stops.
#[derive(Clone)]
pub struct Handle {
    orders: mpsc::Sender<Order>,
    seen: Seen,
    peer: PeerId,
}

impl Handle {
    /// Gives a command.
    ///
    /// # Errors
    /// [`Stopped`] when the node has stopped.
    pub async fn give(&self, command: Command) -> Result<(), Stopped> {
        self.orders.send(self.order(command)).await.map_err(|_| Stopped)
    }

    /// Gives a command from a thread outside the async runtime.
    ///
    /// # Errors
    /// [`Stopped`] when the node has stopped.
    pub fn blocking_give(&self, command: Command) -> Result<(), Stopped> {
        self.orders
            .blocking_send(self.order(command))
            .map_err(|_| Stopped)
    }

    /// This node's own peer id.
    pub fn peer_id(&self) -> PeerId {
        self.peer
    }

    fn order(&self, command: Command) -> Order {
        let session = |number: &AtomicU64| number.load(Ordering::SeqCst);
        match command {
            Command::Send { operator, message } => Order::Send(
                operator,
                self.seen.get(usize::from(operator)).map_or(0, session),
                message,
            ),
            Command::Broadcast(message) => Order::Broadcast(self.seen.iter().map(session).collect(), message),
            other => Order::Other(other),
        }
    }
}

/// The peer id that belongs to a node key. `None` never happens for a key of the definition.
pub fn peer_id(key: &NodePublicKey) -> Option<PeerId> {
    let key = identity::secp256k1::PublicKey::try_from_bytes(&key.to_bytes()).ok()?;
    Some(PeerId::from_public_key(&key.into()))
}

/// Starts a node on the current tokio runtime. It listens when this returns.
///
/// # Errors
/// [`NodeError`] with the address that is wrong or taken.
///
/// # Panics
/// Outside a tokio runtime.
pub fn start(config: Config) -> Result<(Handle, Events), NodeError> {
    let setup = |error: &dyn std::fmt::Display| NodeError::Setup(error.to_string());
    let mut secret = config.key.to_bytes();
    let secret = identity::secp256k1::SecretKey::try_from_bytes(&mut *secret).map_err(|e| setup(&e))?;
    let keypair: identity::Keypair = identity::secp256k1::Keypair::from(secret).into();
    let own = config.key.public();
    let me = config
        .operators
        .iter()
        .position(|key| *key == own)
        .ok_or(NodeError::NotMe)?;
    let local = keypair.public().to_peer_id();

    let now = Instant::now();
    let mut operators = BTreeMap::new();
    for (number, key) in (1u16..).zip(&config.operators).filter(|(_, key)| **key != own) {
        let peer = peer_id(key).ok_or_else(|| setup(&"an operator's key is not on the curve"))?;
        operators.insert(number, Operator::new(peer, local, now));
    }
    let by_peer = operators
        .iter()
        .map(|(number, operator)| (operator.peer, *number))
        .collect();

    for address in &config.listen {
        check_port(address)?;
    }
    let mut swarm = swarm(&keypair, &config, &operators)?;
    let mut skipped = Vec::new();
    for address in &config.listen {
        if let Err(error) = swarm.listen_on(address.clone()) {
            let source = io::Error::other(error.to_string());
            // A machine without IPv6 is no reason not to listen on IPv4.
            if address.iter().next() == Some(Protocol::Ip6(std::net::Ipv6Addr::UNSPECIFIED)) {
                skipped.push(Event::ListenerLost(format!(
                    "cannot listen on {address}: {source}"
                )));
            } else {
                return Err(NodeError::Listen {
                    address: address.clone(),
                    source,
                });
            }
        }
    }

    let seen: Seen = (0..=config.operators.len()).map(|_| AtomicU64::new(0)).collect();
    let (events, receiver) = events::channel(256, seen.clone());
    let (orders, commands) = mpsc::channel(1024);
    let (reports, reported) = mpsc::channel(256);
    let mut node = Node {
        me: u16::try_from(me + 1).map_err(|e| setup(&e))?,
        swarm,
        operators,
        by_peer,
        targets: Vec::new(),
        own_addresses: Vec::new(),
        announce: config.announce,
        limits: config.limits,
        events,
        pending: skipped.into(),
        reports,
        sessions: 0,
        strangers: 0,
        strangers_told: VecDeque::new(),
        tell_at: None,
        book_changed: false,
        housekeeping: now,
        stopping: None,
    };
    for address in &config.peers {
        node.add_peer(address)?;
    }
    for (operator, address) in config
        .book
        .iter()
        .flat_map(|(o, list)| list.iter().map(move |a| (*o, a)))
    {
        if let Some(operator) = node.operators.get_mut(&operator) {
            operator.addresses.claim(address, Scope::Machine);
        }
    }
    tokio::spawn(node.run(commands, reported));
    Ok((
        Handle {
            orders,
            seen,
            peer: local,
        },
        receiver,
    ))
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    // The gate comes first: nobody else sees a connection that it refuses.
    allow: allow_block_list::Behaviour<allow_block_list::AllowedPeers>,
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    streams: stream::Behaviour,
}

fn swarm(
    keypair: &identity::Keypair,
    config: &Config,
    operators: &BTreeMap<u16, Operator>,
) -> Result<Swarm<Behaviour>, NodeError> {
    let setup = |error: &dyn std::fmt::Display| NodeError::Setup(error.to_string());
    let behaviour = |key: &identity::Keypair| {
        let mut allow = allow_block_list::Behaviour::<allow_block_list::AllowedPeers>::default();
        for operator in operators.values() {
            allow.allow_peer(operator.peer);
        }
        let limits = connection_limits::ConnectionLimits::default()
            .with_max_pending_incoming(Some(256))
            .with_max_established_per_peer(Some(32));
        let software: String = config.software.chars().take(64).collect();
        Behaviour {
            allow,
            limits: connection_limits::Behaviour::new(limits),
            // It tells which protocols the other side speaks, when that is not ours.
            identify: identify::Behaviour::new(
                identify::Config::new("conclave".into(), key.public())
                    .with_agent_version(software)
                    .with_hide_listen_addrs(true)
                    .with_cache_size(0),
            ),
            ping: ping::Behaviour::new(
                ping::Config::new()
                    .with_interval(Duration::from_secs(10))
                    .with_timeout(Duration::from_secs(15)),
            ),
            streams: stream::Behaviour::default(),
        }
    };
    let base = || {
        let builder = SwarmBuilder::with_existing_identity(keypair.clone())
            .with_tokio()
            .with_tcp(
                tcp::Config::default().nodelay(true),
                noise::Config::new,
                yamux::Config::default,
            )
            .map_err(|e| setup(&e))?;
        #[cfg(feature = "quic")]
        let builder = builder.with_quic();
        Ok::<_, NodeError>(builder)
    };
    // A machine without a resolver configuration can still dial addresses.
    let swarm = match base()?.with_dns() {
        Ok(builder) => builder
            .with_behaviour(behaviour)
            .map_err(|e| setup(&e))?
            .with_swarm_config(|config| config)
            .with_connection_timeout(HANDSHAKE)
            .build(),
        Err(_) => base()?
            .with_dns_config(
                libp2p::dns::ResolverConfig::default(),
                libp2p::dns::ResolverOpts::default(),
            )
            .with_behaviour(behaviour)
            .map_err(|e| setup(&e))?
            .with_swarm_config(|config| config)
            .with_connection_timeout(HANDSHAKE)
            .build(),
    };
    Ok(swarm)
}

/// libp2p shares ports with other programs of the same user that share them too; two nodes on one port would
/// each get some of the calls.
fn check_port(address: &Multiaddr) -> Result<(), NodeError> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    let bound = match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => TcpListener::bind((ip, port)).map(drop),
        Some(Protocol::Udp(port)) if port != 0 => UdpSocket::bind((ip, port)).map(drop),
        _ => return Ok(()),
    };
    match bound {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(NodeError::PortTaken {
            address: address.clone(),
        }),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(NodeError::Listen {
            address: address.clone(),
            source: error,
        }),
        _ => Ok(()),
    }
}

struct Connection {
    id: ConnectionId,
    since: Instant,
    dialled: bool,
    scope: Scope,
    /// Whether a stream was, or is to be, on it.
    used: bool,
    /// The other side does not speak the protocol.
    unsupported: bool,
}

struct Live {
    number: u64,
    connection: ConnectionId,
    since: Instant,
    scope: Scope,
    /// `None` once the session only sends what is queued.
    outgoing: Option<Outgoing>,
    addresses_told: Vec<(u16, Vec<Multiaddr>)>,
}

struct Operator {
    peer: PeerId,
    /// Whether this node opens the stream.
    opener: bool,
    connections: Vec<Connection>,
    opening: Option<(ConnectionId, Instant)>,
    session: Option<Live>,
    /// Begins when the session has ended.
    next_stream: Option<(ConnectionId, Stream)>,
    addresses: Addresses,
    backoff: Backoff,
    dialling: Option<ConnectionId>,
    barred: Option<Instant>,
    faults: u32,
    refusals: HashMap<std::mem::Discriminant<Refusal>, Instant>,
}

impl Operator {
    fn new(peer: PeerId, local: PeerId, now: Instant) -> Self {
        Self {
            peer,
            opener: local.to_bytes() < peer.to_bytes(),
            connections: Vec::new(),
            opening: None,
            session: None,
            next_stream: None,
            addresses: Addresses::default(),
            backoff: Backoff::new(now),
            dialling: None,
            barred: None,
            faults: 0,
            refusals: HashMap::new(),
        }
    }

    fn idle(&self) -> bool {
        self.connections.is_empty() && self.dialling.is_none() && self.barred.is_none()
    }
}

/// An address whose operator is not known yet.
struct Target {
    address: Multiaddr,
    backoff: Backoff,
    dialling: Option<ConnectionId>,
}

struct Node {
    me: u16,
    swarm: Swarm<Behaviour>,
    operators: BTreeMap<u16, Operator>,
    by_peer: HashMap<PeerId, u16>,
    targets: Vec<Target>,
    own_addresses: Vec<Multiaddr>,
    announce: Vec<Multiaddr>,
    limits: FrameLimits,
    events: EventSender,
    pending: VecDeque<Event>,
    reports: mpsc::Sender<Report>,
    sessions: u64,
    strangers: u64,
    strangers_told: VecDeque<Instant>,
    tell_at: Option<Instant>,
    book_changed: bool,
    housekeeping: Instant,
    stopping: Option<Instant>,
}

impl Node {
    async fn run(mut self, mut commands: mpsc::Receiver<Order>, mut reported: mpsc::Receiver<Report>) {
        loop {
            self.due(Instant::now());
            self.flush();
            if self.events.is_closed() {
                self.stop();
            }
            if let Some(deadline) = self.stopping
                && (Instant::now() >= deadline || self.operators.values().all(|o| o.session.is_none()))
            {
                return;
            }
            let deadline = tokio::time::Instant::from_std(self.deadline());
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm(event),
                order = commands.recv(), if self.stopping.is_none() => match order {
                    Some(order) => self.on_order(order),
                    None => self.stop(),
                },
                Some(report) = reported.recv() => self.on_report(report),
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    fn deadline(&self) -> Instant {
        let dials = self
            .operators
            .values()
            .filter(|o| o.idle())
            .map(|o| o.backoff.next());
        let targets = self
            .targets
            .iter()
            .filter(|t| t.dialling.is_none())
            .map(|t| t.backoff.next());
        let now = Instant::now();
        // What could not be done when it was due waits for the housekeeping.
        let next = dials
            .chain(targets)
            .chain(self.tell_at)
            .filter(|at| *at > now)
            .min();
        next.map_or(self.housekeeping, |next| next.min(self.housekeeping))
    }

    fn due(&mut self, now: Instant) {
        if self.stopping.is_some() {
            self.housekeeping = now + HOUSEKEEPING;
            return;
        }
        for operator in self.operators.values_mut() {
            if operator.barred.is_some_and(|until| now >= until) {
                operator.barred = None;
                self.swarm.behaviour_mut().allow.allow_peer(operator.peer);
            }
        }
        self.dial(now);
        if self.tell_at.is_some_and(|at| now >= at) {
            self.tell_at = None;
            for number in self.operators.keys().copied().collect::<Vec<_>>() {
                self.tell_addresses(number);
            }
        }
        if now >= self.housekeeping {
            self.housekeeping = now + HOUSEKEEPING;
            self.close_silent(now);
            if std::mem::take(&mut self.book_changed) {
                let known = self
                    .operators
                    .iter()
                    .map(|(n, o)| (*n, o.addresses.to_tell(Scope::Machine)));
                let book = known.filter(|(_, addresses)| !addresses.is_empty()).collect();
                self.tell(Event::AddressBook(book));
            }
        }
    }

    /// Events wait here while the caller takes none; what can be spared is dropped first.
    fn tell(&mut self, event: Event) {
        if self.pending.len() < 256 || !matches!(event, Event::Latency { .. } | Event::Stranger { .. }) {
            match &event {
                Event::AddressBook(_) => self.pending.retain(|old| !matches!(old, Event::AddressBook(_))),
                Event::Latency { operator, .. } => {
                    let same =
                        |old: &Event| matches!(old, Event::Latency { operator: o, .. } if o == operator);
                    self.pending.retain(|old| !same(old));
                }
                _ => {}
            }
            self.pending.push_back(event);
        }
    }

    fn flush(&mut self) {
        while let Some(event) = self.pending.pop_front() {
            if let Err(event) = self.events.try_send(event) {
                self.pending.push_front(event);
                return;
            }
        }
    }

    fn stop(&mut self) {
        if self.stopping.is_none() {
            self.stopping = Some(Instant::now() + FAREWELL);
            for live in self
                .operators
                .values_mut()
                .filter_map(|operator| operator.session.as_mut())
            {
                live.outgoing = None;
            }
        }
    }

    // Commands and reports.

    fn on_order(&mut self, order: Order) {
        match order {
            Order::Send(operator, session, message) => self.send(operator, session, &message),
            Order::Broadcast(sessions, message) => {
                for (operator, session) in (0u16..).zip(sessions) {
                    self.send(operator, session, &message);
                }
            }
            Order::Other(Command::AddPeer(address)) => {
                if let Err(error) = self.add_peer(&address) {
                    tracing::debug!(%error, "an address is not used");
                }
            }
            Order::Other(Command::Misbehaved { operator, why }) => self.end(operator, Reason::Fault(why)),
            Order::Other(Command::Shutdown) => self.stop(),
            Order::Other(Command::Send { .. } | Command::Broadcast(_)) => {}
        }
    }

    fn send(&mut self, operator: u16, session: u64, message: &Message) {
        let live = self
            .operators
            .get(&operator)
            .and_then(|operator| operator.session.as_ref());
        let Some(live) = live.filter(|live| live.number == session) else {
            return;
        };
        if live
            .outgoing
            .as_ref()
            .is_some_and(|outgoing| !outgoing.send(message))
        {
            self.end(operator, Reason::Slow);
        }
    }

    fn end(&mut self, operator: u16, reason: Reason) {
        let live = self
            .operators
            .get_mut(&operator)
            .and_then(|operator| operator.session.as_mut());
        if let Some(outgoing) = live.and_then(|live| live.outgoing.as_mut()) {
            outgoing.stop(reason);
        }
    }

    /// Closes a connection and forgets it at once: a dead one may take long to close.
    fn hang_up(&mut self, number: u16, id: ConnectionId, why: &str) {
        self.swarm.close_connection(id);
        let Some(operator) = self.operators.get_mut(&number) else {
            return;
        };
        operator.connections.retain(|connection| connection.id != id);
        operator.opening.take_if(|(opening, _)| *opening == id);
        operator.next_stream.take_if(|(next, _)| *next == id);
        if operator
            .session
            .as_ref()
            .is_some_and(|live| live.connection == id)
        {
            self.end(number, Reason::Lost(why.into()));
        }
    }

    fn on_report(&mut self, report: Report) {
        let now = Instant::now();
        match report {
            Report::Addresses(from, list) => self.learn(from, &list, now),
            Report::Ended(number, session, reason) => self.ended(number, session, &reason, now),
        }
    }

    fn ended(&mut self, number: u16, session: u64, reason: &Reason, now: Instant) {
        let Some(operator) = self.operators.get_mut(&number) else {
            return;
        };
        let Some(live) = operator.session.take_if(|live| live.number == session) else {
            return;
        };
        if now >= live.since + SETTLED {
            operator.backoff.reset(now);
            operator.faults = 0;
        }
        let mut surplus = vec![live.connection];
        match reason {
            Reason::Fault(why) => {
                tracing::debug!(operator = number, why, "disconnected for a fault");
                operator.next_stream = None;
                operator.barred = Some(now + BARRED * 2u32.pow(operator.faults.min(6)).min(60));
                operator.faults = operator.faults.saturating_add(1);
                self.swarm.behaviour_mut().allow.disallow_peer(operator.peer);
            }
            Reason::Left => surplus.extend(operator.connections.iter().map(|connection| connection.id)),
            _ => {}
        }
        operator.backoff.failed(now, rand::random());
        for id in surplus {
            self.hang_up(number, id, "the connection was closed");
        }
        let next = self
            .operators
            .get_mut(&number)
            .and_then(|operator| operator.next_stream.take());
        if let Some((connection, stream)) = next {
            self.begin(number, connection, stream, now);
        }
        self.decide(number, now);
    }

    // Addresses and dialling.

    fn add_peer(&mut self, address: &Multiaddr) -> Result<(), NodeError> {
        let Some((plain, _, peer)) = dialable(address) else {
            return Err(NodeError::Address {
                address: address.clone(),
            });
        };
        let now = Instant::now();
        if let Some(peer) = peer {
            if peer == *self.swarm.local_peer_id() {
                return Ok(());
            }
            let number = self.by_peer.get(&peer);
            let Some(operator) = number.and_then(|number| self.operators.get_mut(number)) else {
                return Err(NodeError::NotAnOperator {
                    address: address.clone(),
                });
            };
            operator.addresses.give(&plain);
            operator.backoff.hurry(now);
        } else if self.targets.len() < 1024 && !self.targets.iter().any(|target| target.address == plain) {
            self.targets.push(Target {
                address: plain,
                backoff: Backoff::new(now),
                dialling: None,
            });
        }
        Ok(())
    }

    fn dial(&mut self, now: Instant) {
        for operator in self.operators.values_mut() {
            if !operator.idle() || now < operator.backoff.next() {
                continue;
            }
            let addresses = operator.addresses.to_dial(now);
            if addresses.is_empty() {
                continue;
            }
            let options = DialOpts::peer_id(operator.peer)
                .condition(PeerCondition::Always)
                .addresses(addresses)
                .allocate_new_port()
                .build();
            let id = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => operator.dialling = Some(id),
                Err(_) => operator.backoff.failed(now, rand::random()),
            }
        }
        for target in &mut self.targets {
            if target.dialling.is_some() || now < target.backoff.next() {
                continue;
            }
            let options = DialOpts::unknown_peer_id()
                .address(target.address.clone())
                .allocate_new_port()
                .build();
            let id = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => target.dialling = Some(id),
                Err(_) => target.backoff.failed(now, rand::random()),
            }
        }
    }

    fn learn(&mut self, from: u16, list: &[(u16, Vec<Multiaddr>)], now: Instant) {
        let Some(scope) = self
            .operators
            .get(&from)
            .and_then(|o| o.session.as_ref())
            .map(|live| live.scope)
        else {
            return;
        };
        for (number, addresses) in list.iter().filter(|(number, _)| *number != self.me) {
            let Some(operator) = self.operators.get_mut(number) else {
                let why = "it told addresses of an operator who does not exist";
                return self.end(from, Reason::Fault(why.into()));
            };
            for address in addresses {
                if operator.addresses.claim(address, scope) {
                    operator.backoff.hurry(now);
                    self.book_changed = true;
                    self.tell_at.get_or_insert(now + TELLING);
                }
            }
        }
    }

    fn tell_addresses(&mut self, to: u16) {
        let Some(live) = self
            .operators
            .get(&to)
            .and_then(|operator| operator.session.as_ref())
        else {
            return;
        };
        let mut own = Addresses::default();
        for address in &self.announce {
            own.give(address);
        }
        for address in &self.own_addresses {
            own.claim(address, Scope::Machine);
        }
        let others = self.operators.iter().filter(|(number, _)| **number != to);
        let known = others
            .map(|(number, operator)| (*number, &operator.addresses))
            .chain([(self.me, &own)]);
        let mut list: Vec<(u16, Vec<Multiaddr>)> = known
            .map(|(number, addresses)| (number, addresses.to_tell(live.scope)))
            .filter(|(_, addresses)| !addresses.is_empty())
            .collect();
        list.sort_by_key(|(number, _)| *number);
        for (_, addresses) in &mut list {
            addresses.sort();
        }
        let Some(live) = self
            .operators
            .get_mut(&to)
            .and_then(|operator| operator.session.as_mut())
        else {
            return;
        };
        if live.addresses_told != list {
            live.addresses_told.clone_from(&list);
            if let Some(outgoing) = &live.outgoing {
                // A full queue shows with the next real message.
                let _ = outgoing.send(&Message::Addresses(list));
            }
        }
    }

    // Connections and streams.

    fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        let now = Instant::now();
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Streams(event)) => self.on_stream(event, now),
            SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) => self.on_ping(&event),
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                peer_id,
                info,
                ..
            })) => {
                self.identified(peer_id, &info, now);
            }
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => {
                let remote = endpoint.get_remote_address().clone();
                self.established(peer_id, connection_id, &remote, endpoint.is_dialer(), now);
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                ..
            } => {
                self.closed(peer_id, connection_id, now);
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                peer_id,
                error,
                ..
            } => {
                self.undialled(connection_id, peer_id, &error, now);
            }
            SwarmEvent::IncomingConnectionError {
                peer_id: Some(peer),
                send_back_addr,
                error: ListenError::Denied { .. },
                ..
            } => self.stranger(peer, send_back_addr, now),
            SwarmEvent::NewListenAddr { address, .. } => {
                let complete = address.clone().with(Protocol::P2p(*self.swarm.local_peer_id()));
                self.own_addresses.push(address);
                self.tell_at.get_or_insert(now + TELLING);
                self.tell(Event::Listening(complete));
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => self.own_addresses.retain(|own| *own != address),
            SwarmEvent::ListenerClosed {
                addresses,
                reason: Err(error),
                ..
            } => {
                self.own_addresses.retain(|own| !addresses.contains(own));
                self.tell(Event::ListenerLost(error.to_string()));
            }
            SwarmEvent::ListenerError { error, .. } => self.tell(Event::ListenerLost(error.to_string())),
            _ => {}
        }
    }

    fn established(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        remote: &Multiaddr,
        dialled: bool,
        now: Instant,
    ) {
        let target = self.targets.iter().position(|target| target.dialling == Some(id));
        let target = target.map(|at| self.targets.swap_remove(at));
        let Some(number) = self.by_peer.get(&peer).copied() else {
            return;
        };
        let Some(operator) = self.operators.get_mut(&number) else {
            return;
        };
        if operator.dialling == Some(id) {
            operator.dialling = None;
        }
        if let Some(target) = target {
            operator.addresses.give(&target.address);
        }
        if dialled && operator.addresses.proven(remote) {
            self.book_changed = true;
            self.tell_at.get_or_insert(now + TELLING);
        }
        let scope = scope_of_remote(remote);
        operator.connections.push(Connection {
            id,
            since: now,
            dialled,
            scope,
            used: false,
            unsupported: false,
        });
        self.decide(number, now);
    }

    /// The opener of a pair: chooses a connection for the stream, if one is needed.
    fn decide(&mut self, number: u16, now: Instant) {
        let Some(operator) = self.operators.get_mut(&number) else {
            return;
        };
        if !operator.opener || operator.opening.is_some() || self.stopping.is_some() {
            return;
        }
        let Some(newest) = operator
            .connections
            .iter_mut()
            .rev()
            .find(|connection| !connection.used)
        else {
            return;
        };
        match &operator.session {
            Some(live) if now < live.since + SIMULTANEOUS => {
                let id = newest.id;
                self.hang_up(number, id, "");
            }
            // Who connects again later has lost the old connection, even if that is not seen here yet.
            _ => {
                newest.used = true;
                operator.opening = Some((newest.id, now));
                self.swarm.behaviour_mut().streams.open(operator.peer, newest.id);
            }
        }
    }

    fn on_stream(&mut self, event: StreamEvent, now: Instant) {
        let Some(number) = self.by_peer.get(&event.peer).copied() else {
            return;
        };
        let Some(operator) = self.operators.get_mut(&number) else {
            return;
        };
        if operator.opening.is_some_and(|(id, _)| id == event.connection) {
            operator.opening = None;
        }
        match event.happened {
            Happened::Inbound(_) if operator.opener => {
                // The rule is what keeps two from choosing differently.
                self.end(number, Reason::Fault("it opened a stream out of turn".into()));
                self.hang_up(number, event.connection, "");
            }
            Happened::Inbound(stream) | Happened::Outbound(stream) => {
                self.begin(number, event.connection, stream, now);
            }
            Happened::Unsupported => {
                // Identify will say what the other side speaks; until then the connection stays.
                if let Some(c) = operator.connections.iter_mut().find(|c| c.id == event.connection) {
                    c.unsupported = true;
                }
            }
            Happened::Failed => self.hang_up(number, event.connection, ""),
        }
        self.decide(number, now);
    }

    fn begin(&mut self, number: u16, id: ConnectionId, stream: Stream, now: Instant) {
        let Some(operator) = self.operators.get_mut(&number) else {
            return;
        };
        let Some(connection) = operator
            .connections
            .iter_mut()
            .find(|connection| connection.id == id)
        else {
            return;
        };
        if self.stopping.is_some() {
            return;
        }
        connection.used = true;
        if let Some(live) = &mut operator.session {
            operator.next_stream = Some((id, stream));
            if let Some(outgoing) = live.outgoing.as_mut().filter(|outgoing| !outgoing.stopped()) {
                outgoing.stop(Reason::Replaced);
            }
            return;
        }
        self.sessions += 1;
        let session = self.sessions;
        let (outgoing, ends) = session::queue(&self.limits);
        let (events, reports) = (self.events.clone(), self.reports.clone());
        tokio::spawn(session::run(
            number,
            session,
            stream,
            self.limits,
            ends,
            events,
            reports,
        ));
        operator.session = Some(Live {
            number: session,
            connection: id,
            since: now,
            scope: connection.scope,
            outgoing: Some(outgoing),
            addresses_told: Vec::new(),
        });
        let surplus: Vec<ConnectionId> = operator
            .connections
            .iter()
            .map(|connection| connection.id)
            .collect();
        if operator.opener {
            for surplus in surplus.into_iter().filter(|surplus| *surplus != id) {
                self.hang_up(number, surplus, "");
            }
        }
        self.tell_addresses(number);
    }

    fn closed(&mut self, peer: PeerId, id: ConnectionId, now: Instant) {
        let Some(number) = self.by_peer.get(&peer).copied() else {
            return;
        };
        let Some(operator) = self.operators.get_mut(&number) else {
            return;
        };
        let Some(at) = operator
            .connections
            .iter()
            .position(|connection| connection.id == id)
        else {
            return;
        };
        let connection = operator.connections.remove(at);
        if operator.opening.is_some_and(|(opening, _)| opening == id) {
            operator.opening = None;
        }
        if operator
            .session
            .as_ref()
            .is_some_and(|live| live.connection == id)
        {
            return self.end(number, Reason::Lost("the connection was closed".into()));
        }
        let served = operator.session.is_some() || operator.barred.is_some();
        if !served && operator.connections.is_empty() {
            operator.backoff.failed(now, rand::random());
            if connection.dialled && now < connection.since + UNWELCOME && self.stopping.is_none() {
                self.refused(number, Refusal::Unwelcome, now);
            }
        }
        self.decide(number, now);
    }

    fn undialled(&mut self, id: ConnectionId, peer: Option<PeerId>, error: &DialError, now: Instant) {
        if let Some(at) = self.targets.iter().position(|target| target.dialling == Some(id)) {
            if matches!(error, DialError::LocalPeerId { .. }) {
                self.targets.swap_remove(at);
            } else if let Some(target) = self.targets.get_mut(at) {
                target.dialling = None;
                target.backoff.failed(now, rand::random());
                let address = target.address.clone();
                if let (DialError::Denied { .. }, Some(peer)) = (error, peer) {
                    self.stranger(peer, address, now);
                }
            }
            return;
        }
        let Some(operator) = self
            .operators
            .values_mut()
            .find(|operator| operator.dialling == Some(id))
        else {
            return;
        };
        operator.dialling = None;
        operator.backoff.failed(now, rand::random());
        match error {
            DialError::Transport(errors) => {
                for (address, error) in errors {
                    if timed_out(error) {
                        operator.addresses.slow(address, now);
                    }
                }
            }
            DialError::LocalPeerId { address } => {
                operator.addresses.wrong(address);
            }
            DialError::WrongPeerId { obtained, address } => {
                let given = operator.addresses.wrong(address);
                let plain = dialable(address).map_or_else(|| address.clone(), |(plain, ..)| plain);
                if let Some(other) = self.by_peer.get(obtained).and_then(|n| self.operators.get_mut(n)) {
                    if given {
                        other.addresses.give(&plain)
                    } else {
                        other.addresses.claim(&plain, Scope::Machine)
                    };
                } else {
                    if given {
                        let mut backoff = Backoff::new(now);
                        backoff.failed(now, rand::random());
                        self.targets.push(Target {
                            address: plain.clone(),
                            backoff,
                            dialling: None,
                        });
                    }
                    self.stranger(*obtained, plain, now);
                }
            }
            _ => {}
        }
    }

    /// Whoever is connected must come to talk; whoever was asked for a stream must answer.
    fn close_silent(&mut self, now: Instant) {
        let mut silent = Vec::new();
        for (number, operator) in &mut self.operators {
            if let Some((id, _)) = operator.opening.take_if(|(_, since)| now >= *since + SILENCE) {
                silent.push((*number, id, false));
            }
            let unused = operator
                .connections
                .iter()
                .filter(|connection| !connection.used || connection.unsupported);
            silent.extend(
                unused
                    .filter(|c| now >= c.since + SILENCE)
                    .map(|c| (*number, c.id, c.unsupported)),
            );
        }
        for (number, id, unsupported) in silent {
            self.hang_up(number, id, "");
            let told = self
                .operators
                .get(&number)
                .is_none_or(|operator| operator.session.is_some());
            if unsupported {
                self.refused(
                    number,
                    Refusal::Protocol {
                        speaks: Vec::new(),
                        software: String::new(),
                    },
                    now,
                );
            } else if !told {
                self.refused(number, Refusal::Silent, now);
            }
        }
    }

    fn on_ping(&mut self, event: &ping::Event) {
        let Some(operator) = self.by_peer.get(&event.peer).copied() else {
            return;
        };
        match &event.result {
            Ok(round_trip) => self.tell(Event::Latency {
                operator,
                round_trip: *round_trip,
            }),
            Err(ping::Failure::Unsupported) => {}
            // A dead connection must not keep a living one from being made.
            Err(_) => self.hang_up(operator, event.connection, "it does not answer any more"),
        }
    }

    fn identified(&mut self, peer: PeerId, info: &identify::Info, now: Instant) {
        let Some(number) = self.by_peer.get(&peer).copied() else {
            return;
        };
        if info.protocols.contains(&stream::PROTOCOL) {
            return;
        }
        let ours = info
            .protocols
            .iter()
            .filter(|protocol| protocol.as_ref().starts_with("/conclave/"));
        let speaks = ours
            .take(4)
            .map(|protocol| printable(protocol.as_ref()))
            .collect();
        self.refused(
            number,
            Refusal::Protocol {
                speaks,
                software: printable(&info.agent_version),
            },
            now,
        );
    }

    fn refused(&mut self, number: u16, why: Refusal, now: Instant) {
        let Some(operator) = self.operators.get_mut(&number) else {
            return;
        };
        let kind = std::mem::discriminant(&why);
        if operator
            .refusals
            .get(&kind)
            .is_none_or(|told| now >= *told + REPEAT)
        {
            operator.refusals.insert(kind, now);
            self.tell(Event::Refused {
                operator: number,
                why,
            });
        }
    }

    fn stranger(&mut self, peer: PeerId, address: Multiaddr, now: Instant) {
        if self.by_peer.contains_key(&peer) {
            return;
        }
        self.strangers += 1;
        while self
            .strangers_told
            .front()
            .is_some_and(|told| now >= *told + REPEAT)
        {
            self.strangers_told.pop_front();
        }
        if self.strangers_told.len() < STRANGERS {
            self.strangers_told.push_back(now);
            self.tell(Event::Stranger {
                peer,
                address,
                total: self.strangers,
            });
        }
    }
}

/// Text of a peer as it may be shown.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// The time of an attempt is kept by libp2p, which wraps its error in its own and says so only in words.
fn timed_out(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::TimedOut) || error.to_string().contains("Timeout has been reached") {
            return true;
        }
        cause = error.source();
    }
    false
}
