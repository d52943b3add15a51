//! What a node knows of one operator.

use std::{collections::HashMap, mem::Discriminant, time::Instant};

use libp2p::{Multiaddr, PeerId, Stream, swarm::ConnectionId};

use crate::p2p::{
    book::{Addresses, Backoff, Scope},
    courtesy::Known,
    events::Refusal,
    session::Outgoing,
};

/// One connection to it.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) since: Instant,
    pub(super) dialled: bool,
    pub(super) scope: Scope,
    /// Whether a stream was, or is to be, on it.
    pub(super) used: bool,
    /// The other side does not speak the protocol.
    pub(super) unsupported: bool,
}

/// The stream with it.
pub(super) struct Live {
    pub(super) number: u64,
    pub(super) connection: ConnectionId,
    pub(super) since: Instant,
    pub(super) scope: Scope,
    /// `None` once the session only sends what is queued.
    pub(super) outgoing: Option<Outgoing>,
    pub(super) addresses_told: Known,
}

/// Another operator.
pub(super) struct Operator {
    pub(super) peer: PeerId,
    /// Whether this node opens the stream.
    pub(super) opener: bool,
    pub(super) connections: Vec<Connection>,
    pub(super) opening: Option<(ConnectionId, Instant)>,
    pub(super) session: Option<Live>,
    /// Begins when the session has ended.
    pub(super) next_stream: Option<(ConnectionId, Stream)>,
    pub(super) addresses: Addresses,
    pub(super) backoff: Backoff,
    pub(super) dialling: Option<ConnectionId>,
    pub(super) barred: Option<Instant>,
    pub(super) faults: u32,
    pub(super) refusals: HashMap<Discriminant<Refusal>, Instant>,
}

impl Operator {
    pub(super) fn new(peer: PeerId, local: PeerId, now: Instant) -> Self {
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

    /// Whether it is to be dialled when its time has come.
    pub(super) fn idle(&self) -> bool {
        self.connections.is_empty() && self.dialling.is_none() && self.barred.is_none()
    }
}

/// An address whose operator is not known yet.
pub(super) struct Target {
    pub(super) address: Multiaddr,
    pub(super) backoff: Backoff,
    pub(super) dialling: Option<ConnectionId>,
}
