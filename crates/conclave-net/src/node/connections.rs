//! Connections, and which of them carries the stream.

use std::time::{Duration, Instant, SystemTime};

use libp2p::{
    PeerId,
    core::ConnectedPoint,
    identify, multiaddr, ping,
    swarm::{ConnectionId, ListenError, SwarmEvent},
};

use super::{
    addresses::{TELLING, plain},
    operator::{Connection, Live},
    relays::{HEAD_START, is_circuit},
    run::Node,
    swarm::BehaviourEvent,
};
use crate::{
    book::{Scope, ip_of, scope_of_remote},
    events::{Event, Reason, Refusal},
    protocol::{Bounds, Protocol},
    session::{self, Who},
    stream::{Happened, Opened, StreamEvent},
};
use conclave_eth::text::of_connection;

/// Whoever is connected has so long to open the stream, or to answer the request for it.
const SILENCE: Duration = Duration::from_secs(10);
/// A second connection this soon after the first is one of two that dialled each other.
const SIMULTANEOUS: Duration = Duration::from_secs(5);
/// A dialled connection that is closed this soon was not welcome.
const UNWELCOME: Duration = Duration::from_secs(2);
/// Who is not let in for so long is not welcome: it may be that another process with the same identity was there first, and that lasts
/// no longer than [`SIMULTANEOUS`] and the pause before the next attempt.
const CERTAIN: Duration = Duration::from_secs(10);
/// A session that lasted so long was a success: retries begin quickly again.
const SETTLED: Duration = Duration::from_secs(10);
/// Who breaks the rules is barred for this long at first, and for a minute in the end.
const BARRED: Duration = Duration::from_secs(1);

impl<P: Protocol> Node<P> {
    pub(super) fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
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
            SwarmEvent::Behaviour(BehaviourEvent::Lan4(event) | BehaviourEvent::Lan6(event)) => {
                self.on_lan(event, now);
            }
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => self.established(peer_id, connection_id, &endpoint, now),
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
            SwarmEvent::NewListenAddr { listener_id, .. } if self.reservations.know(listener_id) => {
                self.reservations.accepted(listener_id);
            }
            SwarmEvent::ListenerClosed { listener_id, .. } if self.reservations.lost(listener_id, now) => {}
            SwarmEvent::ListenerError { listener_id, .. } if self.reservations.know(listener_id) => {}
            // A relay puts its external addresses into every reservation, which has room for few.
            SwarmEvent::ExternalAddrConfirmed { address } if is_circuit(&address) => {
                self.swarm.remove_external_address(&address);
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                let complete = address
                    .clone()
                    .with(multiaddr::Protocol::P2p(*self.swarm.local_peer_id()));
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
                self.tell(Event::ListenerLost(of_connection(&error)));
            }
            SwarmEvent::ListenerError { error, .. } => self.tell(Event::ListenerLost(of_connection(&error))),
            _ => {}
        }
    }

    fn established(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint, now: Instant) {
        let (remote, dialled) = (endpoint.get_remote_address(), endpoint.is_dialer());
        let relay = endpoint.is_relayed().then(|| {
            let address = match endpoint {
                ConnectedPoint::Dialer { address, .. } => address,
                ConnectedPoint::Listener { local_addr, .. } => local_addr,
            };
            self.relay_in(address)
        });
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
        if operator.circuit == Some(id) {
            operator.circuit = None;
        }
        if let Some(target) = target {
            operator.addresses.give(&target.address);
        }
        if dialled {
            operator.attempts.reached(&plain(remote));
            if operator.addresses.proven(remote) {
                self.book_changed = true;
                self.tell_at.get_or_insert(now + TELLING);
            }
        }
        if !dialled
            && relay.is_none()
            && let Some(ip) = ip_of(remote)
        {
            operator.called(ip);
        }
        let scope = if relay.is_some() {
            Scope::World
        } else {
            scope_of_remote(remote)
        };
        operator.connections.push(Connection {
            id,
            since: now,
            dialled,
            scope,
            remote: remote.clone(),
            relay,
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
        let unused = operator
            .connections
            .iter_mut()
            .rev()
            .filter(|connection| !connection.used);
        let Some(newest) = unused.min_by_key(|connection| connection.relayed()) else {
            return;
        };
        match &operator.session {
            // A direct connection takes the place of a relayed one, never the other way round.
            Some(live) if newest.relayed() && live.through.is_none() => {
                let id = newest.id;
                self.hang_up(number, id, "");
            }
            Some(live) if newest.relayed() == live.through.is_some() && now < live.since + SIMULTANEOUS => {
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
            Happened::Inbound(opened) | Happened::Outbound(opened) => {
                self.begin(number, event.connection, opened, now);
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

    fn begin(&mut self, number: u16, id: ConnectionId, opened: Opened, now: Instant) {
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
            operator.next_stream = Some((id, opened));
            if let Some(outgoing) = live.outgoing.as_mut().filter(|outgoing| !outgoing.stopped()) {
                outgoing.stop(Reason::Replaced);
            }
            return;
        }
        operator.unwelcome = None;
        (operator.speaks, operator.left) = (None, None);
        self.sessions += 1;
        let session = self.sessions;
        let (outgoing, ends) = session::queue(P::queue(&self.bounds.limits));
        let (events, reports) = (self.events.clone(), self.reports.clone());
        let who = Who {
            operator: number,
            number: session,
            through: connection.relay,
        };
        let bounds = Bounds {
            dialect: opened.dialect,
            ..self.bounds.clone()
        };
        tokio::spawn(session::run(who, opened.stream, bounds, ends, events, reports));
        operator.session = Some(Live {
            number: session,
            connection: id,
            since: now,
            scope: connection.scope,
            through: connection.relay,
            outgoing: Some(outgoing),
            addresses_told: Vec::new(),
        });
        let through = connection.relay;
        // A direct connection that came in the meantime is better than this one.
        let surplus: Vec<ConnectionId> = operator
            .connections
            .iter()
            .filter(|connection| through.is_none() || connection.relayed())
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
        operator.circuit_at = operator.circuit_at.max(now + HEAD_START);
        let served = operator.session.is_some() || operator.barred.is_some();
        if !served && let Some(relay) = connection.relay {
            operator.bad_relays.add(relay, now);
        }
        if !served && operator.connections.is_empty() {
            operator.backoff.failed(now, rand::random());
            if connection.dialled
                && !connection.relayed()
                && now < connection.since + UNWELCOME
                && self.stopping.is_none()
                && now >= *operator.unwelcome.get_or_insert(now) + CERTAIN
            {
                self.refused(number, Refusal::Unwelcome, now);
            }
        }
        self.decide(number, now);
    }

    /// Closes a connection and forgets it at once: a dead one may take long to close.
    fn hang_up(&mut self, number: u16, id: ConnectionId, why: &str) {
        self.swarm.close_connection(id);
        let Some(operator) = self.operators.get_mut(&number) else {
            return;
        };
        operator.connections.retain(|connection| connection.id != id);
        operator.circuit_at = operator.circuit_at.max(Instant::now() + HEAD_START);
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

    pub(super) fn ended(&mut self, number: u16, session: u64, reason: &Reason, now: Instant) {
        let Some(operator) = self.operators.get_mut(&number) else {
            return;
        };
        let Some(live) = operator.session.take_if(|live| live.number == session) else {
            return;
        };
        operator.left = Some(SystemTime::now());
        if now >= live.since + SETTLED {
            operator.backoff.reset(now);
            operator.faults = 0;
            // Why it is not reached after this has another cause than before, and is told anew.
            operator.attempts.begin_anew();
        }
        let mut surplus = vec![live.connection];
        // Whose doing it was nobody can tell; another way is as good.
        if let (Reason::Lost(_), Some(relay)) = (reason, live.through) {
            operator.bad_relays.add(relay, now);
        }
        match reason {
            Reason::Fault(why) => {
                tracing::debug!(operator = number, why, "disconnected for a fault");
                operator.next_stream = None;
                operator.barred = Some(now + BARRED * 2u32.pow(operator.faults.min(6)).min(60));
                operator.faults = operator.faults.saturating_add(1);
                self.swarm.behaviour_mut().allow.disallow_peer(operator.peer);
            }
            // Newer connections may be those of a process that was started since.
            Reason::Left => surplus.extend(
                operator
                    .connections
                    .iter()
                    .filter(|connection| connection.since <= live.since)
                    .map(|connection| connection.id),
            ),
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
        if let Some((connection, opened)) = next {
            self.begin(number, connection, opened, now);
        }
        self.decide(number, now);
    }

    /// Whoever is connected must come to talk; whoever was asked for a stream must answer.
    pub(super) fn close_silent(&mut self, now: Instant) {
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
            if let Some(operator) = self.operators.get_mut(&number) {
                let mut connections = operator.connections.iter();
                if let Some(relay) = connections.find(|c| c.id == id).and_then(|c| c.relay) {
                    operator.bad_relays.add(relay, now);
                }
            }
            self.hang_up(number, id, "");
            let Some(operator) = self.operators.get(&number) else {
                continue;
            };
            let told = operator.session.is_some();
            // What it said itself is the cause, whatever it does not do.
            let speaks = operator.speaks.clone();
            if unsupported || (speaks.is_some() && !told) {
                let (speaks, software) = speaks.unwrap_or_default();
                self.refused(number, Refusal::Protocol { speaks, software }, now);
            } else if !told {
                self.refused(number, Refusal::Silent, now);
            }
        }
    }

    fn on_ping(&mut self, event: &ping::Event) {
        let Some(operator) = self.by_peer.get(&event.peer).copied() else {
            return;
        };
        let session = self.operators.get(&operator).and_then(|o| o.session.as_ref());
        match &event.result {
            Ok(_) if session.is_some_and(|live| live.connection != event.connection) => {}
            Ok(round_trip) => self.tell(Event::Latency {
                operator,
                round_trip: *round_trip,
            }),
            Err(ping::Failure::Unsupported) => {}
            // A dead connection must not keep a living one from being made.
            Err(_) => self.hang_up(operator, event.connection, "it does not answer any more"),
        }
    }
}
