//! Another protocol on the same node: short messages, none of which waits for another.

use std::time::{Duration, Instant};

use conclave_net::{
    events::{Event, Reason},
    node::{Command, Config},
    protocol::{Frame, Protocol, WireError},
};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{Multiaddr, StreamProtocol};

use crate::harness::{LOOPBACK, Node, everybody_connects, key, raw};

/// Text of bounded length.
pub(crate) enum Talk {}

impl Protocol for Talk {
    const STREAM: StreamProtocol = StreamProtocol::new("/conclave/talk/1");
    const PING: Duration = Duration::from_millis(200);

    type Message = String;
    /// The longest text.
    type Limits = usize;

    fn payload(limits: &usize, kind: u8) -> Result<usize, WireError> {
        if kind == 1 {
            Ok(*limits)
        } else {
            Err(WireError::Kind(kind))
        }
    }

    fn queue(limits: &usize) -> usize {
        64 * limits
    }

    fn encode(message: &String) -> Frame {
        Frame::new(1, message.as_bytes(), None)
    }

    fn decode(_: &usize, kind: u8, payload: &[u8]) -> Result<String, WireError> {
        String::from_utf8(payload.to_vec()).map_err(|_| WireError::Malformed(kind))
    }
}

pub(crate) const LONGEST: usize = 100_000;

pub(crate) fn config(me: u8, operators: u8, listen: &[&str], peers: &[Multiaddr]) -> Config<Talk> {
    let group = (1..=operators).map(|operator| key(operator).public()).collect();
    Config {
        listen: listen
            .iter()
            .map(|text| text.parse().expect("a multiaddr"))
            .collect(),
        peers: peers.to_vec(),
        relay: true,
        ..Config::new(key(me), group, LONGEST)
    }
}

/// Each says something to each.
pub(crate) async fn all_talk(nodes: &mut [Node<Talk>]) {
    let n = u16::try_from(nodes.len()).expect("few");
    for (me, node) in (1..=n).zip(nodes.iter()) {
        let message = format!("from {me}");
        node.handle
            .give(Command::Broadcast(message))
            .await
            .expect("it lives");
    }
    for (me, node) in (1..=n).zip(nodes) {
        let mut missing: Vec<u16> = (1..=n).filter(|other| *other != me).collect();
        while !missing.is_empty() {
            let (from, message) = node.receives().await;
            assert_eq!(message, format!("from {from}"));
            missing.retain(|operator| *operator != from);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_carried_as_well() {
    let hub = Node::start(config(1, 3, &[LOOPBACK, "/ip6/::1/tcp/0"], &[])).await;
    let [v4, v6] = [hub.addresses[0].clone(), hub.addresses[1].clone()];
    let nodes = vec![
        hub,
        Node::start(config(2, 3, &["/ip6/::1/tcp/0"], &[v6])).await,
        Node::start(config(3, 3, &[LOOPBACK], &[v4])).await,
    ];
    let mut nodes = everybody_connects(nodes).await;
    all_talk(&mut nodes).await;
    let round_trip = nodes[0]
        .until(|event| match event {
            Event::Latency {
                operator: 2,
                round_trip,
            } => Some(*round_trip),
            _ => None,
        })
        .await;
    assert!(round_trip > Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_protocols_do_not_mix() {
    let mut hub = Node::start(config(1, 2, &[LOOPBACK], &[])).await;
    let group = (1..=2).map(|operator| key(operator).public()).collect();
    let limits = conclave_ceremony::wire::FrameLimits {
        operators: 2,
        entry: 1,
        evidence: 1,
    };
    let other = Config::<conclave_ceremony::wire::Ceremony> {
        peers: vec![hub.addresses[0].clone()],
        ..Config::new(key(2), group, limits)
    };
    let _other = Node::start(other).await;
    let speaks = hub
        .until(|event| match event {
            Event::Refused {
                operator: 2,
                why: conclave_net::events::Refusal::Protocol { speaks, .. },
            } => Some(speaks.clone()),
            Event::Connected { .. } => panic!("they do not speak the same protocol"),
            _ => None,
        })
        .await;
    assert!(
        speaks.iter().all(|name| name.starts_with("/conclave/journal/")),
        "{speaks:?}"
    );
}

/// Who takes nothing loses the connection, and nobody else notices.
#[tokio::test(flavor = "multi_thread")]
async fn one_who_takes_nothing_is_left_behind() {
    let (opener, me) = crate::harness::ordered();
    let third = 3;
    let mut hub = Node::start(config(me, 3, &[LOOPBACK], &[])).await;
    let address = hub.addresses[0].clone();
    let mut good = Node::start(config(third, 3, &[], std::slice::from_ref(&address))).await;
    good.connected_to(vec![me.into()]).await;
    let mut lazy = raw(opener);
    lazy.swarm.dial(address).expect("it dials");
    let mut control = lazy.control.clone();
    tokio::spawn(async move {
        loop {
            lazy.swarm.select_next_some().await;
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut stream = control
        .open_stream(hub.handle.peer_id(), Talk::STREAM)
        .await
        .expect("a stream");
    stream.write_all(&[0, 0, 0, 1, 1]).await.expect("written");
    stream.flush().await.expect("flushed");
    hub.connected_to(vec![opener.into(), third.into()]).await;
    let text = "x".repeat(LONGEST);
    let begun = Instant::now();
    let mut sent: u64 = 0;
    let reason = loop {
        hub.handle
            .give(Command::Broadcast(text.clone()))
            .await
            .expect("it lives");
        sent += 1;
        // The good one takes each before the next is sent.
        assert_eq!(good.receives().await, (me.into(), text.clone()));
        if let Some(Event::Disconnected { operator, reason }) = hub.events.try_recv() {
            assert_eq!(operator, u16::from(opener));
            break reason;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(20) && sent < 10_000,
            "it is never left behind"
        );
    };
    assert_eq!(reason, Reason::Slow);
    let mut byte = [0];
    let _ = stream.read(&mut byte).await;
}
