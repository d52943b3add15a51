//! What a node knows of one operator.

use std::{
    collections::{HashMap, VecDeque},
    mem::Discriminant,
    net::IpAddr,
    time::{Instant, SystemTime},
};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};

use super::{
    attempts::Attempts,
    relays::{BadRelays, HEAD_START},
};
use crate::{
    book::{Addresses, Backoff, Host, Scope},
    courtesy::Known,
    events::Refusal,
    session::Outgoing,
    stream::Opened,
};

/// An operator is known at so many IP addresses and names at most: anybody in the group can claim more.
const MAX_HOSTS: usize = 8;

/// One connection to it.
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) since: Instant,
    pub(super) dialled: bool,
    pub(super) scope: Scope,
    /// The other end.
    pub(super) remote: Multiaddr,
    /// The operator who passes everything on, if it is not a direct one.
    pub(super) relay: Option<u16>,
    /// Whether a stream was, or is to be, on it.
    pub(super) used: bool,
    /// The other side does not speak the protocol.
    pub(super) unsupported: bool,
}

impl Connection {
    pub(super) fn relayed(&self) -> bool {
        self.relay.is_some()
    }
}

/// The stream with it.
pub(super) struct Live {
    pub(super) number: u64,
    pub(super) connection: ConnectionId,
    pub(super) since: Instant,
    pub(super) scope: Scope,
    /// The operator who passes everything on, if it is not on a direct connection.
    pub(super) through: Option<u16>,
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
    pub(super) next_stream: Option<(ConnectionId, Opened)>,
    pub(super) addresses: Addresses,
    /// Those that failed.
    pub(super) attempts: Attempts,
    /// Addresses that were heard on the local network.
    pub(super) neighbour: Vec<Multiaddr>,
    /// Where it called from, the newest last.
    callers: VecDeque<IpAddr>,
    pub(super) backoff: Backoff,
    /// Somebody else answered at an address that was only claimed.
    pub(super) deceived: bool,
    pub(super) dialling: Option<ConnectionId>,
    /// While a relayed connection serves, a direct one is not tried before.
    pub(super) direct_at: Instant,
    /// What it says no more of its addresses is not forgotten before.
    pub(super) forgets_at: Instant,
    /// A relayed connection that is being made.
    pub(super) circuit: Option<ConnectionId>,
    /// The next is not tried before.
    pub(super) circuit_at: Instant,
    /// Who passed it on badly.
    pub(super) bad_relays: BadRelays,
    pub(super) barred: Option<Instant>,
    pub(super) faults: u32,
    /// Since when it has closed every connection at once.
    pub(super) unwelcome: Option<Instant>,
    pub(super) refusals: HashMap<Discriminant<Refusal>, Instant>,
    /// What it said that it speaks, when that was nothing of ours, and with which software.
    pub(super) speaks: Option<(Vec<String>, String)>,
    /// When it was here last in this run, if it is not here now.
    pub(super) left: Option<SystemTime>,
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
            attempts: Attempts::default(),
            neighbour: Vec::new(),
            callers: VecDeque::new(),
            backoff: Backoff::new(now),
            deceived: false,
            dialling: None,
            direct_at: now,
            forgets_at: now,
            circuit: None,
            circuit_at: now + HEAD_START,
            bad_relays: BadRelays::default(),
            barred: None,
            faults: 0,
            unwelcome: None,
            refusals: HashMap::new(),
            speaks: None,
            left: None,
        }
    }

    /// Whether there is a connection that nobody passes on.
    pub(super) fn directly(&self) -> bool {
        self.connections.iter().any(|connection| !connection.relayed())
    }

    /// When it is to be dialled; `None` while that is not needed.
    pub(super) fn dial_at(&self) -> Option<Instant> {
        if self.directly() || self.dialling.is_some() || self.barred.is_some() {
            None
        } else if self.connections.is_empty() {
            Some(self.backoff.next())
        } else {
            Some(self.backoff.next().max(self.direct_at))
        }
    }

    /// Whether what fails at an address needs no words without its name: it is looked for there, and told of with its name, or it is here
    /// and that is certainly its address. Its own word, while it is here, keeps no silence: anybody can claim any address.
    pub(super) fn stands_for(&self, address: &Multiaddr, most: usize) -> bool {
        if self.session.is_some() || self.directly() {
            self.addresses.is_certain(address)
        } else {
            self.barred.is_none() && self.addresses.is_worth_telling(address, most)
        }
    }

    /// Whether it is time to reach it through somebody else.
    pub(super) fn wants_circuit(&self, now: Instant) -> bool {
        let free = self.connections.is_empty() && self.circuit.is_none() && self.barred.is_none();
        self.opener && free && now >= self.circuit_at
    }

    /// It called from there.
    pub(super) fn called(&mut self, from: IpAddr) {
        self.callers.retain(|ip| *ip != from);
        self.callers.push_back(from);
        if self.callers.len() > MAX_HOSTS / 2 {
            self.callers.pop_front();
        }
    }

    /// Where it is known to be, for the [`Door`](super::door::Door).
    pub(super) fn hosts(&self) -> Vec<Host> {
        let mut hosts: Vec<Host> = self.callers.iter().copied().map(Host::Ip).collect();
        for host in self.addresses.hosts() {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts.truncate(MAX_HOSTS);
        hosts
    }

    /// Something new is known: it is dialled at once.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.backoff.hurry(now);
        self.direct_at = now;
    }
}

/// An address whose operator is not known yet.
pub(super) struct Target {
    pub(super) address: Multiaddr,
    pub(super) backoff: Backoff,
    pub(super) attempts: Attempts,
    pub(super) dialling: Option<ConnectionId>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_certain_addresses_of_who_is_here_need_no_words() {
        let now = Instant::now();
        let numbered = |port: u16| -> Multiaddr { format!("/ip4/9.9.9.9/tcp/{port}").parse().expect("fine") };
        let [given, proven, said] = [1, 2, 3].map(numbered);
        let mut operator = Operator::new(PeerId::random(), PeerId::random(), now);
        operator.addresses.give(&given);
        operator.addresses.proven(&proven);
        operator.addresses.say(&said, Scope::World);
        let stands_for = |operator: &Operator| {
            [&given, &proven, &said, &numbered(4)].map(|address| operator.stands_for(address, 3))
        };
        assert_eq!(
            stands_for(&operator),
            [true, true, true, false],
            "it is looked for"
        );
        operator.barred = Some(now + Duration::from_secs(1));
        assert_eq!(stands_for(&operator), [false; 4], "nobody looks for it");
        operator.barred = None;
        operator.connections.push(Connection {
            id: ConnectionId::new_unchecked(1),
            since: now,
            dialled: true,
            scope: Scope::World,
            remote: proven.clone(),
            relay: None,
            used: true,
            unsupported: false,
        });
        assert_eq!(stands_for(&operator), [true, true, false, false], "it is here");
    }
}
