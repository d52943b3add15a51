//! Who connects to whom, and what hostile peers achieve, with the messages of a ceremony.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use conclave_ceremony::wire::{Ceremony, FrameLimits, Message};
use conclave_net::{
    events::{Event, Reason, Refusal},
    node::{self, Command, Config, NodeError},
};
use futures::{AsyncReadExt, AsyncWrite, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Transport,
    core::{
        Endpoint,
        muxing::StreamMuxerExt,
        transport::{DialOpts, PortUse},
        upgrade::Version,
    },
    noise,
    swarm::SwarmEvent,
    tcp, yamux,
};
use tokio::time::timeout;

use crate::harness::{
    LOOPBACK, Node as AnyNode, PATIENCE, everybody_connects, key, keypair, ordered, raw, without_peer,
};

type Node = AnyNode<Ceremony>;

const LIMITS: FrameLimits = FrameLimits {
    operators: 8,
    entry: 1 << 20,
    evidence: 1 << 20,
};
const JOURNAL: StreamProtocol = StreamProtocol::new("/conclave/journal/1");

fn config(me: u8, operators: u8, listen: &[&str], peers: &[Multiaddr]) -> Config<Ceremony> {
    let group = (1..=operators).map(|operator| key(operator).public()).collect();
    Config {
        listen: listen
            .iter()
            .map(|text| text.parse().expect("a multiaddr"))
            .collect(),
        peers: peers.to_vec(),
        software: "conclave test".into(),
        ..Config::new(key(me), group, LIMITS)
    }
}

fn body(length: usize) -> Message {
    Message::Definition(Arc::from(vec![7; length]))
}

/// Each of the nodes exchanges a message with each other.
async fn all_talk(nodes: &mut [Node]) {
    let n = u16::try_from(nodes.len()).expect("few");
    for me in 1..=n {
        for other in (1..=n).filter(|other| *other != me) {
            nodes[usize::from(me) - 1]
                .send(other, Message::Links(vec![me]))
                .await;
        }
    }
    for (me, node) in (1..).zip(nodes) {
        let mut missing: Vec<u16> = (1..=n).filter(|other| *other != me).collect();
        while !missing.is_empty() {
            let (from, message) = node.receives().await;
            assert_eq!(message, Message::Links(vec![from]));
            missing.retain(|operator| *operator != from);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_knows_one_finds_all() {
    let hub = Node::start(config(1, 4, &[LOOPBACK], &[])).await;
    let address = hub.addresses[0].clone();
    let mut nodes = vec![hub];
    for me in 2..=4 {
        nodes.push(Node::start(config(me, 4, &[LOOPBACK], std::slice::from_ref(&address))).await);
    }
    let mut nodes = everybody_connects(nodes).await;
    all_talk(&mut nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_reachable_operator_is_enough() {
    let mut hub = Node::start(config(1, 3, &[LOOPBACK], &[])).await;
    let address = hub.addresses[0].clone();
    let mut left = Node::start(config(2, 3, &[], std::slice::from_ref(&address))).await;
    let mut right = Node::start(config(3, 3, &[], &[without_peer(&address)])).await;
    hub.connected_to(vec![2, 3]).await;
    left.connected_to(vec![1]).await;
    right.connected_to(vec![1]).await;
    left.send(1, Message::Links(vec![2])).await;
    right.send(1, Message::Links(vec![3])).await;
    let mut heard = [hub.receives().await, hub.receives().await];
    heard.sort_by_key(|(from, _)| *from);
    assert_eq!(
        heard,
        [(2, Message::Links(vec![2])), (3, Message::Links(vec![3]))]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn all_dialling_each_other_end_with_one_stream_per_pair() {
    let listeners: Vec<std::net::TcpListener> = (0..4)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"))
        .collect();
    let addresses: Vec<Multiaddr> = listeners
        .iter()
        .map(|l| {
            format!("/ip4/127.0.0.1/tcp/{}", l.local_addr().expect("bound").port())
                .parse()
                .expect("fine")
        })
        .collect();
    drop(listeners);
    let mut nodes = Vec::new();
    for me in 1..=4u8 {
        let listen = addresses[usize::from(me) - 1].to_string();
        let peers: Vec<Multiaddr> = addresses
            .iter()
            .filter(|address| address.to_string() != listen)
            .cloned()
            .collect();
        nodes.push(Node::start(config(me, 4, &[&listen], &peers)).await);
    }
    let mut nodes = everybody_connects(nodes).await;
    // Surplus connections are gone after a moment, and then nothing changes any more.
    tokio::time::sleep(Duration::from_secs(1)).await;
    for node in &mut nodes {
        while node.events.try_recv().is_some() {}
    }
    all_talk(&mut nodes).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    for node in &mut nodes {
        while let Some(event) = node.events.try_recv() {
            assert!(
                !matches!(event, Event::Disconnected { .. } | Event::Connected { .. }),
                "{event:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_works() {
    let hub = Node::start(config(1, 2, &["/ip6/::1/tcp/0"], &[])).await;
    let address = hub.addresses[0].clone();
    let nodes = vec![
        hub,
        Node::start(config(2, 2, &["/ip6/::1/tcp/0"], &[address])).await,
    ];
    all_talk(&mut everybody_connects(nodes).await).await;
}

#[cfg(feature = "quic")]
#[tokio::test(flavor = "multi_thread")]
async fn quic_works() {
    let hub = Node::start(config(1, 2, &["/ip4/127.0.0.1/udp/0/quic-v1"], &[])).await;
    let address = hub.addresses[0].clone();
    let nodes = vec![hub, Node::start(config(2, 2, &[], &[address])).await];
    all_talk(&mut everybody_connects(nodes).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_arrive_in_order() {
    let hub = Node::start(config(1, 2, &[LOOPBACK], &[])).await;
    let address = hub.addresses[0].clone();
    let nodes = vec![hub, Node::start(config(2, 2, &[], &[address])).await];
    let mut nodes = everybody_connects(nodes).await;
    let lengths = [1, 65_535, 65_536, 65_537, 3_000_000, 8 << 20, 2];
    for length in lengths {
        nodes[0].send(2, body(length)).await;
    }
    for length in lengths {
        assert_eq!(nodes[1].receives().await, (1, body(length)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused() {
    let mut hub = Node::start(config(1, 2, &[LOOPBACK], &[])).await;
    let address = hub.addresses[0].clone();
    // The third operator of a larger ceremony, unknown in the hub's.
    let mut stranger = Node::start(config(3, 3, &[], &[address])).await;
    let expected = stranger.handle.peer_id();
    let peer = hub
        .until(|event| match event {
            Event::Stranger { peer, .. } => Some(*peer),
            Event::Connected { .. } => panic!("a stranger was let in"),
            _ => None,
        })
        .await;
    assert_eq!(peer, expected);
    let why = stranger
        .until(|event| match event {
            Event::Refused { operator: 1, why } => Some(why.clone()),
            Event::Connected { .. } => panic!("a stranger was let in"),
            _ => None,
        })
        .await;
    assert_eq!(why, Refusal::Unwelcome);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_behind_a_given_address_is_named() {
    let stranger = Node::start(config(9, 9, &[LOOPBACK], &[])).await;
    let address = without_peer(&stranger.addresses[0]);
    let mut node = Node::start(config(1, 2, &[], std::slice::from_ref(&address))).await;
    let found = node
        .until(|event| match event {
            Event::Stranger { peer, address, .. } => Some((*peer, without_peer(address))),
            _ => None,
        })
        .await;
    assert_eq!(found, (stranger.handle.peer_id(), address));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_is_connected_again() {
    let mut hub = Node::start(config(1, 2, &[LOOPBACK], &[])).await;
    let address = hub.addresses[0].clone();
    for _ in 0..3 {
        let mut peer = Node::start(config(2, 2, &[], std::slice::from_ref(&address))).await;
        peer.connected_to(vec![1]).await;
        hub.until(|event| matches!(event, Event::Connected { operator: 2 }).then_some(()))
            .await;
        peer.send(1, body(1000)).await;
        assert_eq!(hub.receives().await, (2, body(1000)));
        drop(peer);
        assert_eq!(hub.lost().await.0, 2);
    }
    // The other way round: the one who listens goes and comes back at the same place.
    let mut peer = Node::start(config(2, 2, &[], std::slice::from_ref(&address))).await;
    peer.connected_to(vec![1]).await;
    hub.handle.give(Command::Shutdown).await.expect("it lives");
    while hub.events.recv().await.is_some() {}
    assert_eq!(peer.lost().await, (1, Reason::Left));
    let listen = without_peer(&address).to_string();
    let mut hub = Node::start(config(1, 2, &[&listen], &[])).await;
    hub.connected_to(vec![2]).await;
    peer.connected_to(vec![1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_loses_nothing() {
    let mut hub = Node::start(config(1, 2, &[LOOPBACK], &[])).await;
    let address = hub.addresses[0].clone();
    let mut peer = Node::start(config(2, 2, &[], &[address])).await;
    peer.connected_to(vec![1]).await;
    for _ in 0..20 {
        peer.send(1, body(500_000)).await;
    }
    peer.handle.give(Command::Shutdown).await.expect("it lives");
    for _ in 0..20 {
        assert_eq!(hub.receives().await, (2, body(500_000)));
    }
    assert_eq!(hub.lost().await, (2, Reason::Left));
    let ended = async { while peer.events.recv().await.is_some() {} };
    timeout(PATIENCE, ended).await.expect("it stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_an_error_with_its_address() {
    let first = Node::start(config(1, 2, &[LOOPBACK], &[])).await;
    let taken = without_peer(&first.addresses[0]);
    match node::start(config(2, 2, &[&taken.to_string()], &[])) {
        Err(NodeError::PortTaken { address }) => assert_eq!(address, taken),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two nodes on one port"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_addresses_are_named() {
    let bad: Multiaddr = "/ip4/127.0.0.1/tcp/0".parse().expect("a multiaddr");
    assert!(matches!(
        node::start(config(1, 2, &[], &[bad])),
        Err(NodeError::Address { .. })
    ));
    let foreign = format!("/ip4/127.0.0.1/tcp/9/p2p/{}", PeerId::random())
        .parse()
        .expect("a multiaddr");
    assert!(matches!(
        node::start(config(1, 2, &[], &[foreign])),
        Err(NodeError::NotAnOperator { .. })
    ));
    assert!(matches!(
        node::start(config(3, 2, &[], &[])),
        Err(NodeError::NotMe)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saved_book_is_enough_to_come_back() {
    let mut hub = Node::start(config(1, 2, &[LOOPBACK], &[])).await;
    let address = hub.addresses[0].clone();
    let mut peer = Node::start(config(2, 2, &[], &[address])).await;
    let book = peer
        .until(|event| match event {
            Event::AddressBook(book) => Some(book.clone()),
            _ => None,
        })
        .await;
    drop(peer);
    assert_eq!(hub.lost().await.0, 2);
    let mut peer = Node::start(Config {
        book,
        ..config(2, 2, &[], &[])
    })
    .await;
    peer.connected_to(vec![1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_address_goes_nowhere() {
    let third = node::peer_id(&key(3).public()).expect("a key");
    let nobody: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().expect("fine");
    let wrong: Multiaddr = format!("{nobody}/p2p/{third}").parse().expect("fine");
    let mut one = Node::start(config(1, 4, &[LOOPBACK], std::slice::from_ref(&wrong))).await;
    let peers = [one.addresses[0].clone()];
    // It believed something at an earlier start, too.
    let earlier: Multiaddr = "/ip4/127.0.0.1/tcp/2".parse().expect("fine");
    let mut two = Node::start(Config {
        book: [(3, vec![earlier.clone()])].into(),
        ..config(2, 4, &[LOOPBACK], &peers)
    })
    .await;
    let mut four = Node::start(config(4, 4, &[], &peers)).await;
    let mut three = None;
    // Where the third is said to be, by each of the others, until it is found at its own address.
    let mut kept: Vec<Vec<Multiaddr>> = Vec::new();
    for (me, node) in [(2, &mut two), (4, &mut four), (1, &mut one)] {
        let begun = Instant::now();
        loop {
            if three.is_none() && begun.elapsed() > Duration::from_secs(2) {
                three = Some(Node::start(config(3, 4, &[LOOPBACK], &peers)).await);
            }
            let Ok(event) = timeout(Duration::from_millis(100), node.events.recv()).await else {
                assert!(begun.elapsed() < PATIENCE, "it is never found: {kept:?}");
                continue;
            };
            let Some(Event::AddressBook(book)) = event else {
                continue;
            };
            kept.extend(
                book.iter()
                    .filter(|(operator, _)| *operator == 3)
                    .map(|(_, list)| list.clone()),
            );
            let right = three.as_ref().map(|three| without_peer(&three.addresses[0]));
            if right.is_some_and(|right| kept.last().is_some_and(|last| last.contains(&right))) {
                break;
            }
        }
        assert!(
            kept.iter().flatten().all(|address| *address != nobody),
            "{kept:?}"
        );
        assert!(
            me == 2 || kept.iter().flatten().all(|address| *address != earlier),
            "{kept:?}"
        );
        kept.clear();
    }
}

/// A node and a raw peer connected to it that has an open stream.
async fn node_and_raw() -> (Node, u16, libp2p::Stream) {
    node_that_knows_and_raw(2, &[]).await
}

/// The same of a group of so many operators, and a node that was given these addresses.
async fn node_that_knows_and_raw(operators: u8, peers: &[Multiaddr]) -> (Node, u16, libp2p::Stream) {
    let (opener, other) = ordered();
    let mut node = Node::start(config(other, operators, &[LOOPBACK], peers)).await;
    let mut raw = raw(opener);
    raw.swarm.dial(node.addresses[0].clone()).expect("it dials");
    let peer = node.handle.peer_id();
    let mut control = raw.control.clone();
    tokio::spawn(async move {
        loop {
            raw.swarm.select_next_some().await;
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let stream = control.open_stream(peer, JOURNAL).await.expect("a stream");
    node.connected_to(vec![u16::from(opener)]).await;
    (node, u16::from(opener), stream)
}

/// The bytes that go to others, as what they believe and keep says nothing of what they were told.
#[tokio::test(flavor = "multi_thread")]
async fn a_given_address_is_in_no_frame() {
    let third = node::peer_id(&key(3).public()).expect("a key");
    let nobody: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().expect("fine");
    let given = format!("{nobody}/p2p/{third}").parse().expect("fine");
    let (node, _, mut stream) = node_that_knows_and_raw(3, &[given]).await;
    let own = without_peer(&node.addresses[0]);
    let has = |payload: &[u8], address: &Multiaddr| {
        let bytes = address.to_vec();
        payload.windows(bytes.len()).any(|part| part == bytes)
    };
    let mut told = 0;
    let until = Instant::now() + Duration::from_secs(3);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        let frame = async {
            let mut header = [0; 5];
            stream.read_exact(&mut header).await.expect("a header");
            let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize - 1;
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.expect("a payload");
            payload
        };
        let Ok(payload) = timeout(left, frame).await else {
            break;
        };
        assert!(!has(&payload, &nobody), "{payload:?}");
        told += usize::from(has(&payload, &own));
    }
    assert!(told > 0, "it tells nobody of its own address either");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_says_no_more_of_its_addresses_is_not_kept() {
    let (mut node, operator, mut stream) = node_and_raw().await;
    let at = |port: u16| -> Multiaddr { format!("/ip4/127.0.0.1/tcp/{port}").parse().expect("fine") };
    // What it says at first, when it has moved, and when it can be reached nowhere any more.
    for said in [vec![at(1), at(2)], vec![at(2), at(3)], vec![]] {
        let mut payload = Vec::new();
        if !said.is_empty() {
            payload.extend(operator.to_be_bytes());
            payload.push(2);
        }
        for address in &said {
            payload.extend([0, u8::try_from(address.len()).expect("short")]);
            payload.extend(address.to_vec());
        }
        let length = u32::try_from(payload.len() + 1).expect("short");
        let frame = [&length.to_be_bytes()[..], &[11], &payload].concat();
        stream.write_all(&frame).await.expect("written");
        stream.flush().await.expect("flushed");
        let kept = node.until(|event| match event {
            Event::AddressBook(book) => {
                let of = book.iter().find(|(number, _)| *number == operator);
                let mut kept = of.map(|(_, list)| list.clone()).unwrap_or_default();
                kept.sort();
                Some(kept)
            }
            _ => None,
        });
        assert_eq!(kept.await, said);
        // It does so no more often.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_ends_the_connection_and_is_explained() {
    let mut random = vec![0, 0, 0, 9];
    random.extend_from_slice(&[6; 9]);
    let junk: [&[u8]; 5] = [
        &[0, 0, 0, 1, 99],
        &[0xff, 0xff, 0xff, 0xff, 2, 1],
        &[0, 0, 0, 0, 1],
        &random,
        b"GET / HTTP/1.1\r\n\r\n",
    ];
    for bytes in junk {
        let (mut node, operator, mut stream) = node_and_raw().await;
        stream.write_all(bytes).await.expect("written");
        stream.flush().await.expect("flushed");
        let (who, reason) = node.lost().await;
        assert_eq!(who, operator);
        assert!(matches!(reason, Reason::Fault(_)), "{bytes:?}: {reason:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claimed_length_holds_no_memory_and_no_other_peer() {
    let (mut node, operator, mut stream) = node_and_raw().await;
    let frame = body(8 << 20).frame();
    stream.write_all(&frame.head).await.expect("written");
    for _ in 0..20 {
        stream.write_all(&[7]).await.expect("written");
        stream.flush().await.expect("flushed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Nothing has happened, for nothing is complete; the node is as quick as ever.
    while let Some(event) = node.events.try_recv() {
        assert!(
            !matches!(event, Event::Message { .. } | Event::Disconnected { .. }),
            "{event:?}"
        );
    }
    node.send(operator, Message::Links(vec![1])).await;
    let mut links = [0; 7];
    loop {
        let mut header = [0; 5];
        stream.read_exact(&mut header).await.expect("a header");
        let length = u32::from_be_bytes([header[0], header[1], header[2], header[3]]) as usize - 1;
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.expect("a payload");
        if header[4] == 10 {
            links[..5].copy_from_slice(&header);
            links[5..].copy_from_slice(&payload);
            break;
        }
    }
    assert_eq!(links, [0, 0, 0, 3, 10, 0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_misbehaves_is_barred_and_may_come_back() {
    let mut hub = Node::start(config(1, 2, &[LOOPBACK], &[])).await;
    let address = hub.addresses[0].clone();
    let mut peer = Node::start(config(2, 2, &[], &[address])).await;
    hub.connected_to(vec![2]).await;
    peer.connected_to(vec![1]).await;
    let why = "it sent nonsense".to_owned();
    hub.handle
        .give(Command::Misbehaved {
            operator: 2,
            why: why.clone(),
        })
        .await
        .expect("it lives");
    assert_eq!(hub.lost().await, (2, Reason::Fault(why)));
    let barred = Instant::now();
    hub.until(|event| match event {
        Event::Connected { operator: 2 } => Some(()),
        Event::Stranger { .. } => panic!("an operator is no stranger"),
        _ => None,
    })
    .await;
    assert!(barred.elapsed() >= Duration::from_millis(900));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_version_is_explained() {
    let (opener, other) = ordered();
    for (me, them) in [(opener, other), (other, opener)] {
        let mut node = Node::start(config(me, 2, &[LOOPBACK], &[])).await;
        let mut raw = raw(them);
        let mut incoming = raw
            .control
            .accept(StreamProtocol::new("/conclave/journal/3"))
            .expect("new");
        raw.swarm.dial(node.addresses[0].clone()).expect("it dials");
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    event = raw.swarm.select_next_some() => {
                        if let SwarmEvent::ConnectionClosed { .. } = event { return }
                    }
                    _ = incoming.next() => {}
                }
            }
        });
        let refusal = node
            .until(|event| match event {
                Event::Refused { operator, why } if *operator == u16::from(them) => Some(why.clone()),
                Event::Connected { .. } => panic!("they do not speak the same protocol"),
                _ => None,
            })
            .await;
        // Who would open learns it from the refusal; the other only notices the silence (no identify here).
        match refusal {
            Refusal::Protocol { .. } => assert_eq!(me, opener),
            Refusal::Silent => assert_eq!(me, other),
            Refusal::Unwelcome => panic!("it was let in"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_out_of_turn_is_not_taken() {
    let (opener, other) = ordered();
    let mut node = Node::start(config(opener, 2, &[LOOPBACK], &[])).await;
    let mut raw = raw(other);
    let mut incoming = raw.control.accept(JOURNAL).expect("new");
    raw.swarm.dial(node.addresses[0].clone()).expect("it dials");
    let peer = node.handle.peer_id();
    let mut control = raw.control.clone();
    tokio::spawn(async move {
        loop {
            raw.swarm.select_next_some().await;
        }
    });
    let (_, mut stream) = timeout(PATIENCE, incoming.next())
        .await
        .expect("in time")
        .expect("a stream");
    node.connected_to(vec![u16::from(other)]).await;
    let _second = control.open_stream(peer, JOURNAL).await;
    assert_eq!(node.lost().await.0, u16::from(other));
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest))
        .await
        .expect("the connection is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_on_which_nothing_is_said_are_few() {
    let node = Node::start(config(1, 2, &[LOOPBACK], &[])).await;
    let mut transport = tcp::tokio::Transport::new(tcp::Config::default())
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&keypair(2)).expect("a key"))
        .multiplex(yamux::Config::default())
        .boxed();
    let options = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let address = without_peer(&node.addresses[0]);
    let (_, mut muxer) = transport
        .dial(address, options)
        .expect("it dials")
        .await
        .expect("connected");
    let (mut opened, mut taken) = (Vec::new(), Vec::new());
    let closed = poll_fn(|context| {
        while let Poll::Ready(Ok(stream)) = muxer.poll_inbound_unpin(context) {
            taken.push(stream);
        }
        loop {
            match muxer.poll_outbound_unpin(context) {
                Poll::Ready(Ok(mut stream)) => {
                    // The other side hears of it with the first byte.
                    let _ = Pin::new(&mut stream).poll_write(context, &[1]);
                    opened.push(stream);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        match muxer.poll_unpin(context) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    });
    timeout(PATIENCE, closed).await.expect("the connection is closed");
}

#[test]
fn a_blocking_caller_is_served() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .expect("tokio");
    let (hub, mut events) = runtime
        .block_on(async { node::start(config(1, 2, &[LOOPBACK], &[])) })
        .expect("it starts");
    let address = loop {
        match events.recv_timeout(PATIENCE).expect("it lives") {
            Some(Event::Listening(address)) => break address,
            Some(_) => {}
            None => panic!("it never listens"),
        }
    };
    assert_eq!(events.recv_timeout(Duration::from_millis(10)), Ok(None));
    let (peer, mut others) = runtime
        .block_on(async { node::start(config(2, 2, &[], &[address])) })
        .expect("it starts");
    while others.blocking_recv() != Some(Event::Connected { operator: 1 }) {}
    peer.blocking_give(Command::Broadcast(body(5))).expect("it lives");
    loop {
        if let Some(Event::Message { operator, message }) = events.blocking_recv() {
            assert_eq!((operator, message), (2, body(5)));
            break;
        }
    }
    hub.blocking_give(Command::Shutdown).expect("it lives");
    while events.blocking_recv().is_some() {}
    assert!(hub.blocking_give(Command::Shutdown).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_killed_without_a_word_is_connected_again() {
    let (opener, other) = ordered();
    for (me, them) in [(opener, other), (other, opener)] {
        let mut hub = Node::start(config(me, 2, &[LOOPBACK], &[])).await;
        let address = hub.addresses[0].clone();
        for _ in 0..2 {
            let runtime = tokio::runtime::Runtime::new().expect("tokio");
            let peers = [address.clone()];
            let peer = runtime.spawn(async move { Node::start(config(them, 2, &[], &peers)).await });
            let mut peer = peer.await.expect("it starts");
            hub.connected_to(vec![u16::from(them)]).await;
            peer.connected_to(vec![u16::from(me)]).await;
            runtime.shutdown_background();
            let (who, reason) = hub.lost().await;
            assert_eq!(who, u16::from(them));
            assert!(matches!(reason, Reason::Lost(_)), "{reason:?}");
        }
    }
}
