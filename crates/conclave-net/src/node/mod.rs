//! The libp2p node: who is dialled, who may stay, and one stream for each pair of operators.
//!
//! * It carries the messages of one [`Protocol`] between the operators of a definition or lock and knows nothing of
//!   what they mean.
//! * Only operators stay connected; the identity is the operator's node key (secp256k1).
//! * Everybody dials everybody for ever, at every address that is known: given, told by peers, kept from before.
//! * Of two operators the one with the smaller peer id (as bytes) opens the stream, on the connection that
//!   it likes, and is the only one to close surplus connections. So two that dial each other at the same moment
//!   never disagree about which connection is to be used: a stream that comes replaces the one before.
//! * Each stream is served by a task of its own (`session`), so a slow or hostile peer holds up nobody else. What
//!   is queued for one peer is bounded; who takes too little loses the connection, never single messages.
//!
//! | Module | What it is |
//! |---|---|
//! | `handle` | commands of the caller |
//! | `swarm` | the libp2p behaviours and transports |
//! | `door` | how many callers may be in the middle of a handshake |
//! | `operator` | what a node knows of one operator: connections, session, addresses |
//! | `run` | the task: commands, reports of sessions, what is due when |
//! | `addresses` | addresses that are given, told and dialled |
//! | `attempts` | attempts that failed, and when that is told |
//! | `connections` | connections, and which of them carries the stream |
//! | `relays` | circuits through other operators |
//! | `lan` | operators on the local network |
//! | `refusals` | who could not be talked to, and why |

mod addresses;
mod attempts;
mod connections;
mod door;
mod handle;
mod lan;
mod operator;
mod refusals;
mod relays;
mod run;
mod swarm;

use std::{collections::BTreeMap, io, net::Ipv6Addr, sync::atomic::AtomicU64, time::Instant};

use libp2p::{Multiaddr, PeerId, identity, multiaddr};
use tokio::sync::mpsc;

pub use self::handle::{Command, Handle};
use self::{
    door::Door, operator::Operator, refusals::Strangers, relays::Reservations, run::Node, swarm::Wanted,
};
use super::{
    book::{Scope, dialable},
    events::{self, Event, Events, Seen},
    protocol::{Bounds, Dialect, Protocol},
    stream::Names,
};
use conclave_crypto::node::{NodeKey, NodePublicKey};
use conclave_eth::text::of_connection;

/// What a node needs to know.
pub struct Config<P: Protocol> {
    /// The node key of this operator.
    pub key: NodeKey,
    /// The operators of the definition or lock in their order; this node's own among them.
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
    pub limits: P::Limits,
    /// Whether to look for operators on the local network (multicast DNS). Tells that network the peer id and the
    /// addresses that belong to it.
    pub lan: bool,
    /// Whether to pass on for operators who cannot reach each other, and to be reached through others.
    pub relay: bool,
    /// Name and version of the program, for people who run another one.
    pub software: String,
}

impl<P: Protocol> Config<P> {
    /// A node that listens nowhere and knows no addresses.
    pub fn new(key: NodeKey, operators: Vec<NodePublicKey>, limits: P::Limits) -> Self {
        Self {
            key,
            operators,
            listen: Vec::new(),
            announce: Vec::new(),
            peers: Vec::new(),
            book: Vec::new(),
            limits,
            lan: false,
            relay: false,
            software: concat!("conclave/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
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
    /// An address of somebody else that cannot be dialled was given.
    #[error("{address} is not an address that can be dialled: it should look like /ip4/203.0.113.7/tcp/9510")]
    Address {
        /// The address.
        address: Multiaddr,
    },
    /// An address that others cannot dial is to be announced.
    #[error(
        "{address} is not an address that others can dial: it should look like /ip4/203.0.113.7/tcp/9510"
    )]
    Announce {
        /// The address.
        address: Multiaddr,
    },
    /// A given address names somebody who is not an operator.
    #[error("{address} belongs to nobody in the group")]
    NotAnOperator {
        /// The address.
        address: Multiaddr,
    },
    /// The node key is none of the operators'.
    #[error("this node is not among the operators")]
    NotMe,
    /// Noise or the key.
    #[error("the network cannot be set up: {0}")]
    Setup(String),
}

impl NodeError {
    /// What a person can do about it, by the flag that is wrong.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::PortTaken { .. } => {
                "stop that program, or choose another address with --listen, such as /ip4/0.0.0.0/tcp/9511"
            }
            Self::Listen { .. } => {
                "choose an address of this machine with --listen, such as /ip4/0.0.0.0/tcp/9510"
            }
            Self::Address { .. } => "give --peer an address as another operator's join prints it",
            Self::Announce { .. } => "give --announce an address under which the others reach you",
            Self::NotAnOperator { .. } => "check --peer: the peer id at its end must be that of an operator",
            Self::NotMe | Self::Setup(_) => "check the identity and the definition",
        }
    }
}

/// Whether somebody can be dialled at an address.
pub fn can_dial(address: &Multiaddr) -> bool {
    dialable(address).is_some()
}

/// Whether an address means the same for everybody: not that of a private network or of this machine, which is told to nobody outside of it.
pub fn is_for_everybody(address: &Multiaddr) -> bool {
    dialable(address).is_some_and(|(_, scope, _)| scope == Scope::World)
}

/// Whether an address is of a form that one can listen on: `/ip4|ip6/../tcp/..` or `/../udp/../quic-v1`.
pub fn can_listen(address: &Multiaddr) -> bool {
    use multiaddr::Protocol as Part;
    let parts: Vec<Part<'_>> = address.iter().take(4).collect();
    let [Part::Ip4(_) | Part::Ip6(_), transport @ ..] = parts.as_slice() else {
        return false;
    };
    matches!(transport, [Part::Tcp(_)] | [Part::Udp(_), Part::QuicV1])
}

/// Whether these can be addresses of operators of a group. [`start`] looks again.
///
/// # Errors
/// [`NodeError::Address`] or [`NodeError::NotAnOperator`].
pub fn check_peers(peers: &[Multiaddr], operators: &[NodePublicKey]) -> Result<(), NodeError> {
    let known: Vec<PeerId> = operators.iter().filter_map(peer_id).collect();
    for address in peers {
        let address = address.clone();
        match dialable(&address) {
            None => return Err(NodeError::Address { address }),
            Some((_, _, Some(peer))) if !known.contains(&peer) => {
                return Err(NodeError::NotAnOperator { address });
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// The peer id that belongs to a node key. `None` never happens for a key of a definition or lock.
pub fn peer_id(key: &NodePublicKey) -> Option<PeerId> {
    let key = identity::secp256k1::PublicKey::try_from_bytes(&key.to_bytes()).ok()?;
    Some(PeerId::from_public_key(&key.into()))
}

/// Whether one can listen on these addresses, and nobody does yet. [`start`] looks again.
///
/// # Errors
/// [`NodeError::PortTaken`] or [`NodeError::Listen`].
pub fn check_ports(listen: &[Multiaddr]) -> Result<(), NodeError> {
    listen.iter().try_for_each(swarm::check_port)
}

/// Starts a node on the current tokio runtime. It listens when this returns.
///
/// # Errors
/// [`NodeError`] with the address that is wrong or taken.
///
/// # Panics
/// Outside a tokio runtime.
pub fn start<P: Protocol>(config: Config<P>) -> Result<(Handle<P>, Events<P>), NodeError> {
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

    if let Some(address) = config.listen.iter().find(|address| relays::is_circuit(address)) {
        return Err(NodeError::Listen {
            address: address.clone(),
            source: io::Error::other("the node chooses its relays itself"),
        });
    }
    check_ports(&config.listen)?;
    if let Some(address) = config.announce.iter().find(|address| dialable(address).is_none()) {
        return Err(NodeError::Announce {
            address: address.clone(),
        });
    }
    let mut missing = Vec::new();
    let (lan4, lan6) = if config.lan {
        lan::look(local, &mut missing)
    } else {
        (None, None)
    };
    let mut skipped: Vec<Event<P::Message>> = missing.into_iter().map(Event::ListenerLost).collect();
    let door = Door::default();
    let wanted = Wanted {
        names: Names::of::<P>(),
        ping: P::PING,
        software: &config.software,
        peers: operators.values().map(|operator| operator.peer).collect(),
        relay: config.relay,
        door: door.clone(),
        lan4,
        lan6,
    };
    let mut swarm = swarm::build(&keypair, wanted)?;
    if config.relay {
        relays::name_a_place(&mut swarm);
    }
    for address in &config.listen {
        if let Err(error) = swarm.listen_on(address.clone()) {
            let source = io::Error::other(of_connection(&error));
            // A machine without IPv6 is no reason not to listen on IPv4.
            if address.iter().next() == Some(multiaddr::Protocol::Ip6(Ipv6Addr::UNSPECIFIED)) {
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
    let (events, receiver) = events::channel::<P>(256, seen.clone());
    let (orders, commands) = mpsc::channel(1024);
    let (reports, reported) = mpsc::channel(256);
    let mut node = Node::<P> {
        me: u16::try_from(me + 1).map_err(|e| setup(&e))?,
        swarm,
        door,
        by_peer,
        targets: Vec::new(),
        own_addresses: Vec::new(),
        announce: config.announce,
        bounds: Bounds {
            operators: config.operators.len(),
            limits: config.limits,
            dialect: Dialect::Fixed,
        },
        operators,
        events,
        reservations: Reservations::new(config.relay),
        pending: skipped.into(),
        reports,
        sessions: 0,
        strangers: Strangers::default(),
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
            operator.addresses.remember(address);
        }
    }
    node.know_operators();
    tokio::spawn(node.run(commands, reported));
    Ok((Handle::new(orders, seen, local), receiver))
}
