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
//! | `operator` | what a node knows of one operator: connections, session, addresses |
//! | `run` | the task: commands, reports of sessions, what is due when |
//! | `addresses` | addresses that are given, told and dialled |
//! | `connections` | connections, and which of them carries the stream |
//! | `relays` | circuits through other operators |
//! | `lan` | operators on the local network |
//! | `refusals` | who could not be talked to, and why |

mod addresses;
mod connections;
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
use self::{operator::Operator, refusals::Strangers, relays::Reservations, run::Node, swarm::Wanted};
use super::{
    book::{Scope, dialable},
    events::{self, Event, Events, Seen},
    protocol::{Bounds, Protocol},
};
use crate::crypto::node::{NodeKey, NodePublicKey};

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
    /// An address that cannot be dialled was given.
    #[error("{address} is not an address that can be dialled: it should look like /ip4/203.0.113.7/tcp/9000")]
    Address {
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

/// The peer id that belongs to a node key. `None` never happens for a key of a definition or lock.
pub fn peer_id(key: &NodePublicKey) -> Option<PeerId> {
    let key = identity::secp256k1::PublicKey::try_from_bytes(&key.to_bytes()).ok()?;
    Some(PeerId::from_public_key(&key.into()))
}

/// Whether nobody listens on these addresses yet. [`start`] looks again.
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
        return Err(NodeError::Address {
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
    let wanted = Wanted {
        protocol: P::STREAM,
        ping: P::PING,
        software: &config.software,
        peers: operators.values().map(|operator| operator.peer).collect(),
        relay: config.relay,
        lan4,
        lan6,
    };
    let mut swarm = swarm::build(&keypair, wanted)?;
    if config.relay {
        relays::name_a_place(&mut swarm);
    }
    for address in &config.listen {
        if let Err(error) = swarm.listen_on(address.clone()) {
            let source = io::Error::other(error.to_string());
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
        by_peer,
        targets: Vec::new(),
        own_addresses: Vec::new(),
        announce: config.announce,
        bounds: Bounds {
            operators: config.operators.len(),
            limits: config.limits,
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
            operator.addresses.claim(address, Scope::Machine);
        }
    }
    tokio::spawn(node.run(commands, reported));
    Ok((Handle::new(orders, seen, local), receiver))
}
