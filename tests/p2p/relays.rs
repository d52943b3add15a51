//! Through other operators.

use std::time::{Duration, Instant};

use conclave_net::{
    events::Event,
    node::{self, Command, NodeError},
};
use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, multiaddr::Protocol as Part, noise, relay, swarm::SwarmEvent,
    tcp, yamux,
};
use tokio::time::timeout;

use crate::{
    harness::{LOOPBACK, Node, PATIENCE, everybody_connects, keypair, without_peer},
    talk::{Talk, all_talk, config},
};

/// Waits for a stream that goes through this operator, or directly.
async fn path(node: &mut Node<Talk>, to: u16, wanted: Option<u16>) {
    node.until(|event| match event {
        Event::Path { operator, through } if *operator == to => (*through == wanted).then_some(()),
        _ => None,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_star_is_enough_and_its_hub_may_restart() {
    let hub = Node::start(config(1, 3, &[LOOPBACK], &[])).await;
    let address = hub.addresses[0].clone();
    let begun = Instant::now();
    let mut nodes = vec![hub];
    for me in 2..=3 {
        nodes.push(Node::start(config(me, 3, &[], std::slice::from_ref(&address))).await);
    }
    let mut nodes = everybody_connects(nodes).await;
    all_talk(&mut nodes).await;
    assert!(begun.elapsed() < PATIENCE, "within seconds");
    let hub = nodes.remove(0);
    hub.handle.give(Command::Shutdown).await.expect("it lives");
    let mut events = hub.events;
    while events.recv().await.is_some() {}
    for node in &mut nodes {
        let mut lost = 0;
        while lost < 2 {
            lost += usize::from(matches!(node.next().await, Event::Disconnected { .. }));
        }
    }
    let listen = without_peer(&address).to_string();
    nodes.insert(0, Node::start(config(1, 3, &[&listen], &[])).await);
    let mut nodes = everybody_connects(nodes).await;
    all_talk(&mut nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_star_over_ipv6() {
    let hub = Node::start(config(1, 3, &["/ip6/::1/tcp/0"], &[])).await;
    let address = hub.addresses[0].clone();
    let mut nodes = vec![hub];
    for me in 2..=3 {
        nodes.push(Node::start(config(me, 3, &[], std::slice::from_ref(&address))).await);
    }
    all_talk(&mut everybody_connects(nodes).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_direct_connection_replaces_a_relayed_one() {
    let hub = Node::start(config(1, 3, &[LOOPBACK], &[])).await;
    let address = hub.addresses[0].clone();
    // Who comes by a name tells no addresses of this machine, so the third cannot be found at first.
    let port = address.iter().find_map(|part| {
        if let Part::Tcp(port) = part {
            Some(port)
        } else {
            None
        }
    });
    let named = format!("/dns4/localhost/tcp/{}", port.expect("tcp"))
        .parse()
        .expect("a multiaddr");
    let mut second = Node::start(config(2, 3, &[], &[address])).await;
    let mut third = Node::start(config(3, 3, &[LOOPBACK], &[named])).await;
    path(&mut second, 3, Some(1)).await;
    path(&mut third, 2, Some(1)).await;
    let direct = third.addresses[0].clone();
    second
        .handle
        .give(Command::AddPeer(direct))
        .await
        .expect("it lives");
    path(&mut second, 3, None).await;
    path(&mut third, 2, None).await;
    second.send(3, "directly".into()).await;
    third
        .until(|event| match event {
            Event::Message { operator: 2, message } => (message == "directly").then_some(()),
            _ => None,
        })
        .await;
    // And so it stays.
    tokio::time::sleep(Duration::from_secs(3)).await;
    while let Some(event) = second.events.try_recv() {
        let changed = matches!(event, Event::Disconnected { .. } | Event::Path { .. });
        assert!(!changed, "{event:?}");
    }
    drop(hub);
}

/// A libp2p program that knows relays.
fn client(seed: u8) -> Swarm<relay::client::Behaviour> {
    SwarmBuilder::with_existing_identity(keypair(seed))
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("noise")
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .expect("noise")
        .with_behaviour(|_, relay| relay)
        .expect("no error")
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
        .build()
}

fn circuit(relay: &Multiaddr) -> Multiaddr {
    relay.clone().with(Part::P2pCircuit)
}

/// What becomes of a request for a place: true if it is kept.
async fn reserved(swarm: &mut Swarm<relay::client::Behaviour>, relay: &Multiaddr) -> bool {
    let listener = swarm.listen_on(circuit(relay)).expect("it asks");
    let answered = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr { listener_id, .. } if listener_id == listener => return true,
                SwarmEvent::ListenerClosed { listener_id, .. } if listener_id == listener => return false,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, answered).await.expect("an answer")
}

/// What becomes of a call through the relay: true if the other end is reached.
async fn passes(swarm: &mut Swarm<relay::client::Behaviour>, relay: &Multiaddr, to: PeerId) -> bool {
    swarm.dial(circuit(relay).with(Part::P2p(to))).expect("it dials");
    let answered = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == to => return true,
                SwarmEvent::OutgoingConnectionError { peer_id, .. } if peer_id == Some(to) => return false,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, answered).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_neither_reserve_nor_pass() {
    let hub = Node::start(config(1, 3, &[LOOPBACK], &[])).await;
    let address = hub.addresses[0].clone();
    let mut waiting = client(2);
    assert!(reserved(&mut waiting, &address).await, "an operator has a place");
    tokio::spawn(async move {
        loop {
            waiting.select_next_some().await;
        }
    });
    let id = keypair(2).public().to_peer_id();
    assert!(passes(&mut client(3), &address, id).await, "an operator passes");
    assert!(
        !reserved(&mut client(9), &address).await,
        "a stranger has a place"
    );
    assert!(!passes(&mut client(9), &address, id).await, "a stranger passes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_no_more_places_than_its_share() {
    let hub = Node::start(config(1, 3, &[LOOPBACK], &[])).await;
    let address = hub.addresses[0].clone();
    let mut waiting = Vec::new();
    for place in 1..=5 {
        let mut swarm = client(2);
        assert_eq!(reserved(&mut swarm, &address).await, place < 5, "place {place}");
        waiting.push(tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
            }
        }));
    }
    assert!(reserved(&mut client(3), &address).await, "others have theirs");
    drop(waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_are_not_listened_on_by_hand() {
    let relay: Multiaddr = format!("/ip4/127.0.0.1/tcp/9/p2p/{}/p2p-circuit", PeerId::random())
        .parse()
        .expect("a multiaddr");
    let config = node::Config {
        listen: vec![relay],
        ..config(1, 2, &[], &[])
    };
    assert!(matches!(node::start(config), Err(NodeError::Listen { .. })));
}
