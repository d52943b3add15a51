//! What the tests share: nodes with events that are waited for, and peers who say what they want.

use std::time::Duration;

use conclave_crypto::node::NodeKey;
use conclave_net::{
    events::{Event, Events, Reason},
    node::{self, Command, Config, Handle},
    protocol::Protocol,
};
use libp2p::{Multiaddr, Swarm, SwarmBuilder, identity, noise, tcp, yamux};
use tokio::time::timeout;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";

pub(crate) fn key(seed: u8) -> NodeKey {
    NodeKey::from_bytes(&[seed; 32]).expect("a key")
}

pub(crate) struct Node<P: Protocol> {
    pub handle: Handle<P>,
    pub events: Events<P>,
    pub addresses: Vec<Multiaddr>,
}

impl<P: Protocol> Node<P>
where
    P::Message: Clone + std::fmt::Debug,
{
    /// Starts and waits until it listens everywhere.
    pub(crate) async fn start(config: Config<P>) -> Self {
        let listeners = config.listen.len();
        let (handle, events) = node::start(config).expect("it starts");
        let mut node = Self {
            handle,
            events,
            addresses: Vec::new(),
        };
        while node.addresses.len() < listeners {
            if let Event::Listening(address) = node.next().await {
                node.addresses.push(address);
            }
        }
        node
    }

    pub(crate) async fn next(&mut self) -> Event<P::Message> {
        timeout(PATIENCE, self.events.recv())
            .await
            .expect("in time")
            .expect("the node lives")
    }

    /// The first event that the function makes something of.
    pub(crate) async fn until<T>(&mut self, mut wanted: impl FnMut(&Event<P::Message>) -> Option<T>) -> T {
        let mut seen = Vec::new();
        let found = async {
            loop {
                let event = self.next().await;
                if let Some(found) = wanted(&event) {
                    return found;
                }
                if !matches!(event, Event::Latency { .. }) {
                    seen.push(format!("{event:?}"));
                }
            }
        };
        let found = timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("it never happens; instead: {seen:?}"))
    }

    pub(crate) async fn connected_to(&mut self, mut operators: Vec<u16>) {
        while !operators.is_empty() {
            match self.next().await {
                Event::Connected { operator } => operators.retain(|missing| *missing != operator),
                // Of two who call each other at one moment, one may see the end of the connection that the other one gives up before it sees the
                // one that stays.
                Event::Disconnected { operator, reason } => {
                    assert!(
                        matches!(reason, Reason::Replaced | Reason::Lost(_)),
                        "operator {operator}: {reason:?}"
                    );
                    if reason != Reason::Replaced {
                        operators.push(operator);
                    }
                }
                _ => {}
            }
        }
    }

    pub(crate) async fn send(&self, operator: u16, message: P::Message) {
        self.handle
            .give(Command::Send { operator, message })
            .await
            .expect("it lives");
    }

    pub(crate) async fn receives(&mut self) -> (u16, P::Message) {
        self.until(|event| match event {
            Event::Message { operator, message } => Some((*operator, message.clone())),
            _ => None,
        })
        .await
    }

    pub(crate) async fn lost(&mut self) -> (u16, Reason) {
        self.until(|event| match event {
            Event::Disconnected { operator, reason } => Some((*operator, reason.clone())),
            _ => None,
        })
        .await
    }
}

pub(crate) fn without_peer(address: &Multiaddr) -> Multiaddr {
    address
        .iter()
        .filter(|part| !matches!(part, libp2p::multiaddr::Protocol::P2p(_)))
        .collect()
}

/// Waits until each has a stream with each other.
pub(crate) async fn everybody_connects<P: Protocol>(mut nodes: Vec<Node<P>>) -> Vec<Node<P>>
where
    P::Message: Clone + std::fmt::Debug,
{
    let n = u16::try_from(nodes.len()).expect("few");
    for (me, node) in (1..).zip(&mut nodes) {
        node.connected_to((1..=n).filter(|other| *other != me).collect())
            .await;
    }
    nodes
}

/// A libp2p program with an operator's identity that says what the test wants.
pub(crate) struct Raw {
    pub swarm: Swarm<libp2p_stream::Behaviour>,
    pub control: libp2p_stream::Control,
}

pub(crate) fn raw(seed: u8) -> Raw {
    let swarm = SwarmBuilder::with_existing_identity(keypair(seed))
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("noise")
        .with_behaviour(|_| libp2p_stream::Behaviour::new())
        .expect("no error")
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build();
    let control = swarm.behaviour().new_control();
    Raw { swarm, control }
}

/// The identity that belongs to [`key`].
pub(crate) fn keypair(seed: u8) -> identity::Keypair {
    let mut secret = [seed; 32];
    let secret = identity::secp256k1::SecretKey::try_from_bytes(&mut secret).expect("a key");
    identity::secp256k1::Keypair::from(secret).into()
}
/// Two seeds: the first has the smaller peer id and so is the one who opens streams.
pub(crate) fn ordered() -> (u8, u8) {
    let id = |seed| node::peer_id(&key(seed).public()).expect("a key").to_bytes();
    if id(1) < id(2) { (1, 2) } else { (2, 1) }
}
