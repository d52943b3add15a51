//! The libp2p behaviours and transports of a node.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, TcpListener, UdpSocket},
    time::Duration,
};

use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, Transport, allow_block_list, connection_limits,
    core::{muxing::StreamMuxerBox, transport::Boxed, upgrade::Version},
    identify, identity, mdns,
    multiaddr::Protocol,
    noise, ping, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
    tcp, yamux,
};

use super::{NodeError, door::Door, relays};
use crate::stream;

/// Streams that a connection may have at a time: those of all protocols in both directions, and for each operator some more,
/// for circuits. What a peer sends on a stream that nobody reads is kept, up to 256 KiB.
const STREAMS: usize = 16;
const STREAMS_EACH: usize = 4;
/// A connection attempt to somebody else, handshake included, may take so long. For callers see [`Door`].
const ATTEMPT: Duration = Duration::from_secs(10);

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    // The gate comes first: nobody else sees a connection that it refuses.
    pub(super) allow: allow_block_list::Behaviour<allow_block_list::AllowedPeers>,
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    pub(super) streams: stream::Behaviour,
    /// For others; see `relays`.
    relay: Toggle<relay::Behaviour>,
    /// Through others.
    through: Toggle<relay::client::Behaviour>,
    /// One asks over IPv4, the other over IPv6; see `lan`.
    lan4: Toggle<mdns::tokio::Behaviour>,
    lan6: Toggle<mdns::tokio::Behaviour>,
}

/// What a swarm is to do.
pub(super) struct Wanted<'a> {
    pub(super) names: stream::Names,
    /// How often round trips are measured.
    pub(super) ping: Duration,
    pub(super) software: &'a str,
    /// Who is let in.
    pub(super) peers: Vec<PeerId>,
    pub(super) relay: bool,
    /// Who may be in the middle of a handshake.
    pub(super) door: Door,
    /// Searches of the local network that could be begun.
    pub(super) lan4: Option<mdns::tokio::Behaviour>,
    pub(super) lan6: Option<mdns::tokio::Behaviour>,
}

/// A swarm that lets its peers in and nobody else.
pub(super) fn build(keypair: &identity::Keypair, wanted: Wanted<'_>) -> Result<Swarm<Behaviour>, NodeError> {
    let Wanted {
        names,
        ping,
        software,
        peers,
        relay,
        door,
        lan4,
        lan6,
    } = wanted;
    let setup = |error: &dyn std::fmt::Display| NodeError::Setup(error.to_string());
    let peers_wanted = peers.len();
    let behaviour = |key: &identity::Keypair, through: relay::client::Behaviour| {
        let operators = peers.len() + 1;
        let mut allow = allow_block_list::Behaviour::<allow_block_list::AllowedPeers>::default();
        for peer in peers {
            allow.allow_peer(peer);
        }
        let limits = connection_limits::ConnectionLimits::default().with_max_established_per_peer(Some(32));
        let software: String = software.chars().take(64).collect();
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
                    .with_interval(ping)
                    .with_timeout(Duration::from_secs(15)),
            ),
            streams: stream::Behaviour::new(names),
            relay: relay.then(|| relays::server(key, operators)).into(),
            through: relay.then_some(through).into(),
            lan4: lan4.into(),
            lan6: lan6.into(),
        }
    };
    let streams = STREAMS + STREAMS_EACH * (peers_wanted + 1);
    let muxer = move || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(streams);
        config
    };
    let base = || {
        let sockets = sockets(keypair, muxer()).map_err(|e| setup(&e))?;
        SwarmBuilder::with_existing_identity(keypair.clone())
            .with_tokio()
            .with_other_transport(|_| door.before(sockets))
            .map_err(|e| setup(&e))
    };
    // A machine without a resolver configuration can still dial addresses.
    let swarm = match base()?.with_dns() {
        Ok(builder) => builder
            .with_relay_client(noise::Config::new, muxer)
            .map_err(|e| setup(&e))?
            .with_behaviour(behaviour)
            .map_err(|e| setup(&e))?
            .with_swarm_config(|config| config)
            .with_connection_timeout(ATTEMPT)
            .build(),
        Err(_) => base()?
            .with_dns_config(
                libp2p::dns::ResolverConfig::default(),
                libp2p::dns::ResolverOpts::default(),
            )
            .with_relay_client(noise::Config::new, muxer)
            .map_err(|e| setup(&e))?
            .with_behaviour(behaviour)
            .map_err(|e| setup(&e))?
            .with_swarm_config(|config| config)
            .with_connection_timeout(ATTEMPT)
            .build(),
    };
    Ok(swarm)
}

/// TCP with Noise and yamux, and QUIC.
fn sockets(
    keypair: &identity::Keypair,
    muxer: yamux::Config,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, noise::Error> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(keypair)?)
        .multiplex(muxer)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    #[cfg(feature = "quic")]
    let quic = libp2p::quic::tokio::Transport::new(libp2p::quic::Config::new(keypair))
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)));
    #[cfg(feature = "quic")]
    let tcp = libp2p::core::transport::OrTransport::new(tcp, quic).map(|either, _| either.into_inner());
    Ok(tcp.boxed())
}

/// libp2p shares ports with other programs of the same user that share them too; two nodes on one port would
/// each get some of the calls.
pub(super) fn check_port(address: &Multiaddr) -> Result<(), NodeError> {
    let mut parts = address.iter();
    let ip: IpAddr = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    let bound = match parts.next() {
        Some(Protocol::Tcp(port)) => TcpListener::bind((ip, port)).map(drop),
        Some(Protocol::Udp(port)) => UdpSocket::bind((ip, port)).map(drop),
        _ => return Ok(()),
    };
    match bound {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(NodeError::PortTaken {
            address: address.clone(),
        }),
        // A machine without IPv6 is no reason not to listen on IPv4.
        Err(error)
            if ip != IpAddr::V6(Ipv6Addr::UNSPECIFIED) || error.kind() == io::ErrorKind::PermissionDenied =>
        {
            Err(NodeError::Listen {
                address: address.clone(),
                source: error,
            })
        }
        _ => Ok(()),
    }
}
