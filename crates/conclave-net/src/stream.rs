//! Streams as a libp2p behaviour.
//!
//! Each stream belongs to a known connection, opening one is asked for by connection, and a stream that a peer
//! opens is never lost: both arrive as events.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{
        Endpoint,
        transport::PortUse,
        upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
    },
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, NotifyHandler, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};

use super::protocol::{Dialect, Protocol};

/// The names of the streams: those that can grow are offered first, and accepted.
#[derive(Debug, Clone)]
pub(super) struct Names {
    fixed: StreamProtocol,
    growing: Option<StreamProtocol>,
}

impl Names {
    pub(super) fn of<P: Protocol>() -> Self {
        Self {
            fixed: P::STREAM,
            growing: P::GROWING,
        }
    }

    /// Whether somebody who speaks these protocols speaks one of ours.
    pub(super) fn is_spoken(&self, protocols: &[StreamProtocol]) -> bool {
        self.protocol_info().iter().any(|name| protocols.contains(name))
    }

    fn opened(&self, stream: Stream, name: &StreamProtocol) -> Opened {
        let dialect = if self.growing.as_ref() == Some(name) {
            Dialect::Growing
        } else {
            Dialect::Fixed
        };
        Opened { stream, dialect }
    }
}

impl UpgradeInfo for Names {
    type Info = StreamProtocol;
    type InfoIter = Vec<StreamProtocol>;

    fn protocol_info(&self) -> Vec<StreamProtocol> {
        self.growing.iter().chain([&self.fixed]).cloned().collect()
    }
}

impl InboundUpgrade<Stream> for Names {
    type Output = Opened;
    type Error = Infallible;
    type Future = Ready<Result<Opened, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok(self.opened(stream, &name)))
    }
}

impl OutboundUpgrade<Stream> for Names {
    type Output = Opened;
    type Error = Infallible;
    type Future = Ready<Result<Opened, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok(self.opened(stream, &name)))
    }
}

/// A stream, and how it is spoken on.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) dialect: Dialect,
}

/// What happened to a stream on one connection.
#[derive(Debug)]
pub(super) enum Happened {
    /// The peer opened a stream.
    Inbound(Opened),
    /// The stream that was asked for is there.
    Outbound(Opened),
    /// The peer does not speak the protocol.
    Unsupported,
    /// The stream could not be opened.
    Failed,
}

/// Something happened to a stream.
#[derive(Debug)]
pub(super) struct StreamEvent {
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    pub(super) happened: Happened,
}

/// Opens and accepts streams.
pub(super) struct Behaviour {
    names: Names,
    events: VecDeque<StreamEvent>,
    to_open: VecDeque<(PeerId, ConnectionId)>,
}

impl Behaviour {
    /// Streams of these names.
    pub(super) fn new(names: Names) -> Self {
        Self {
            names,
            events: VecDeque::new(),
            to_open: VecDeque::new(),
        }
    }

    /// Opens a stream on this connection; the answer is an event, if the connection still exists.
    pub(super) fn open(&mut self, peer: PeerId, connection: ConnectionId) {
        self.to_open.push_back((peer, connection));
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = StreamEvent;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.names.clone()))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(self.names.clone()))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        happened: THandlerOutEvent<Self>,
    ) {
        self.events.push_back(StreamEvent {
            peer,
            connection,
            happened,
        });
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(event));
        }
        if let Some((peer_id, connection)) = self.to_open.pop_front() {
            let handler = NotifyHandler::One(connection);
            return Poll::Ready(ToSwarm::NotifyHandler {
                peer_id,
                handler,
                event: Open,
            });
        }
        // The node polls the swarm again after every call of `open`, so no waker is kept.
        Poll::Pending
    }
}

/// Asks a connection for a new stream.
#[derive(Debug)]
pub(super) struct Open;

/// The streams of one connection.
pub(super) struct Handler {
    names: Names,
    to_open: usize,
    events: VecDeque<Happened>,
}

impl Handler {
    fn new(names: Names) -> Self {
        Self {
            names,
            to_open: 0,
            events: VecDeque::new(),
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Open;
    type ToBehaviour = Happened;
    type InboundProtocol = Names;
    type OutboundProtocol = Names;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(self.names.clone(), ())
    }

    /// The node closes connections itself.
    fn connection_keep_alive(&self) -> bool {
        true
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Self::ToBehaviour>> {
        if let Some(event) = self.events.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event));
        }
        if let Some(left) = self.to_open.checked_sub(1) {
            self.to_open = left;
            let protocol = SubstreamProtocol::new(self.names.clone(), ());
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, _: Open) {
        self.to_open += 1;
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        let happened = match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound { protocol, .. }) => {
                Happened::Inbound(protocol)
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, .. }) => {
                Happened::Outbound(protocol)
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => unopened(&error),
            _ => return,
        };
        self.events.push_back(happened);
    }
}

fn unopened(error: &StreamUpgradeError<Infallible>) -> Happened {
    match error {
        StreamUpgradeError::NegotiationFailed => Happened::Unsupported,
        _ => Happened::Failed,
    }
}
