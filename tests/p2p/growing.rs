//! Programs of different ages: they speak what both know, and the older one gets byte for byte what it always got.

use conclave_ceremony::wire::{Ceremony, FrameLimits, Message as Entry};
use conclave_net::{
    fields::Fields,
    node::Config,
    protocol::{Frame, Protocol, WireError},
};
use conclave_validator::{
    memory::Proofs,
    node::Run,
    wire::{Abilities, Hello, Limits, Message, PROTOCOL},
};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, multiaddr::Protocol as Part, swarm::SwarmEvent};
use tokio::sync::mpsc;

use crate::harness::{LOOPBACK, Node, key, keypair, ordered, raw};

const RELEASED: StreamProtocol = StreamProtocol::new("/conclave/run/1");
const GROWING: StreamProtocol = StreamProtocol::new("/conclave/run/2");

/// A Hello as 0.1.0 sent it: protocol 1, the lock 77.., instance 11.., clock 5, no proofs, `conclave/0.1.0`.
const RECORDED: &str = "0000004b01\
    0001\
    7777777777777777777777777777777777777777777777777777777777777777\
    11111111111111111111111111111111\
    0000000000000005\
    00\
    0e636f6e636c6176652f302e312e30";

fn recorded() -> Vec<u8> {
    hex::decode(RECORDED).expect("hexadecimal")
}

fn hello(abilities: Abilities) -> Message {
    Message::Hello(Hello {
        protocol: PROTOCOL,
        lock_hash: [0x77; 32],
        instance: [0x11; 16],
        clock_ms: 5,
        proofs: Proofs::default(),
        watches: false,
        software: "conclave/0.1.0".to_owned(),
        abilities,
    })
}

fn config(me: u8, listen: &[&str], peers: &[Multiaddr]) -> Config<Run> {
    let group = (1..=2).map(|operator| key(operator).public()).collect();
    Config {
        listen: listen
            .iter()
            .map(|text| text.parse().expect("a multiaddr"))
            .collect(),
        peers: peers.to_vec(),
        ..Config::new(key(me), group, Limits { validators: 1 })
    }
}

/// A program that speaks these protocols and no others: where it listens, and the streams that others open.
async fn program(
    seed: u8,
    speaks: &[StreamProtocol],
) -> (Multiaddr, mpsc::UnboundedReceiver<(StreamProtocol, Stream)>) {
    let mut raw = raw(seed);
    raw.swarm
        .listen_on(LOOPBACK.parse().expect("a multiaddr"))
        .expect("it listens");
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = raw.swarm.select_next_some().await {
            break address.with(Part::P2p(PeerId::from(keypair(seed).public())));
        }
    };
    let (found, streams) = mpsc::unbounded_channel();
    for name in speaks {
        let mut incoming = raw.control.accept(name.clone()).expect("new");
        let (found, name) = (found.clone(), name.clone());
        tokio::spawn(async move {
            while let Some((_, stream)) = incoming.next().await {
                let _ = found.send((name.clone(), stream));
            }
        });
    }
    tokio::spawn(async move {
        loop {
            raw.swarm.select_next_some().await;
        }
    });
    (address, streams)
}

/// Opens a stream of the first of these protocols that the node speaks.
async fn opened(seed: u8, address: Multiaddr, names: &[StreamProtocol]) -> (StreamProtocol, Stream) {
    let mut raw = raw(seed);
    let Some(Part::P2p(peer)) = address.iter().last() else {
        panic!("no peer id in {address}");
    };
    raw.swarm.dial(address).expect("it dials");
    let mut control = raw.control.clone();
    tokio::spawn(async move {
        loop {
            raw.swarm.select_next_some().await;
        }
    });
    for name in names {
        for _ in 0..50 {
            match control.open_stream(peer, name.clone()).await {
                Ok(stream) => return (name.clone(), stream),
                Err(libp2p_stream::OpenStreamError::UnsupportedProtocol(_)) => break,
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    }
    panic!("it speaks none of {names:?}");
}

async fn frame(stream: &mut Stream, kind: u8) -> Vec<u8> {
    loop {
        let mut header = [0; 5];
        stream.read_exact(&mut header).await.expect("a frame");
        let length =
            usize::try_from(u32::from_be_bytes([header[0], header[1], header[2], header[3]])).expect("small");
        let mut payload = vec![0; length - 1];
        stream.read_exact(&mut payload).await.expect("its payload");
        if header[4] == kind {
            return [&header[..], &payload].concat();
        }
    }
}

/// The node says Hello on this stream, and takes one; both are given.
async fn greet(node: &mut Node<Run>, other: u16, stream: &mut Stream, says: &[u8]) -> (Vec<u8>, Message) {
    node.connected_to(vec![other]).await;
    node.send(other, hello(Abilities::own(true))).await;
    let said = frame(stream, 1).await;
    stream.write_all(says).await.expect("it takes it");
    stream.flush().await.expect("it takes it");
    let (from, heard) = node.receives().await;
    assert_eq!(from, other);
    (said, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_the_first_release_hears_and_says_what_it_always_did() {
    let (opener, other) = ordered();
    // It opens the stream.
    let mut node = Node::start(config(other, &[LOOPBACK], &[])).await;
    let (_, mut stream) = opened(opener, node.addresses[0].clone(), &[RELEASED]).await;
    let (said, heard) = greet(&mut node, opener.into(), &mut stream, &recorded()).await;
    assert_eq!(said, recorded());
    assert_eq!(heard, hello(Abilities::default()));

    // The new one opens it, and offers in vain what the old one does not know.
    let (address, mut streams) = program(other, &[RELEASED]).await;
    let mut node = Node::start(config(opener, &[], &[address])).await;
    let (name, mut stream) = streams.recv().await.expect("a stream");
    assert_eq!(name, RELEASED);
    let (said, heard) = greet(&mut node, other.into(), &mut stream, &recorded()).await;
    assert_eq!(said, recorded());
    assert_eq!(heard, hello(Abilities::default()));

    // It takes no more than it ever took.
    stream
        .write_all(&[0, 0, 0, 2, 200, 0])
        .await
        .expect("it takes it");
    stream.flush().await.expect("it takes it");
    let (_, why) = node.lost().await;
    assert!(
        why.to_string().contains("a kind that there is not (200)"),
        "{why}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_of_a_later_release_may_say_more() {
    let (opener, other) = ordered();
    let fields = Fields::default()
        .with(1, &[0])
        .with(2, b"fulu,gloas")
        .with(99, b"new");
    let later = |kind: u8, payload: &[u8]| {
        let payload = [fields.encode(), payload.to_vec()].concat();
        let length = u32::try_from(payload.len() + 1).expect("small").to_be_bytes();
        [&length[..], &[kind], &payload].concat()
    };
    let mut payload = recorded()[5..].to_vec();
    // Version 2 of the messages, and a flag of its own.
    payload[1] = 2;
    payload[58] |= 0x80;
    payload.extend_from_slice(b"what else there is");
    let says = [
        later(250, b"a new kind"),
        later(1, &payload),
        later(200, &vec![7; 60_000]),
    ]
    .concat();
    let known = Abilities {
        builder: Some(false),
        forks: Some(vec!["fulu".to_owned(), "gloas".to_owned()]),
    };
    let ours = Abilities::own(true);

    let mut node = Node::start(config(other, &[LOOPBACK], &[])).await;
    let names = [StreamProtocol::new("/conclave/run/3"), GROWING, RELEASED];
    let (name, mut stream) = opened(opener, node.addresses[0].clone(), &names).await;
    assert_eq!(name, GROWING);
    let (said, heard) = greet(&mut node, opener.into(), &mut stream, &says).await;
    assert_eq!(heard, hello(known.clone()));
    let (read, rest) = Fields::decode(&said[5..]).expect("fields");
    assert_eq!(
        (read.get(1), read.get(2)),
        (Some(&[1][..]), Some(&b"electra,fulu"[..]))
    );
    assert_eq!(rest, &recorded()[5..]);
    assert_eq!(Run::fields(&hello(ours)), read);

    // The other way round; and what is unknown has cost nobody the connection.
    let (address, mut streams) = program(other, &[RELEASED, GROWING]).await;
    let mut node = Node::start(config(opener, &[], &[address])).await;
    let (name, mut stream) = streams.recv().await.expect("a stream");
    assert_eq!(name, GROWING);
    let (_, heard) = greet(&mut node, other.into(), &mut stream, &says).await;
    assert_eq!(heard, hello(known));
    let clock = Message::Clock {
        clock_ms: 1,
        answers_ms: 2,
        waited_ms: 3,
    };
    let (kind, payload) = clock.encode();
    stream
        .write_all(&later(kind, &payload))
        .await
        .expect("it takes it");
    stream.flush().await.expect("it takes it");
    assert_eq!(node.receives().await, (other.into(), clock));
    // Beyond its bound it is no message at all.
    stream.write_all(&[0, 2, 0, 0, 200]).await.expect("it takes it");
    stream.flush().await.expect("it takes it");
    let (_, why) = node.lost().await;
    assert!(why.to_string().contains("at most"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_no_end_of_what_is_unknown_is_not_listened_to() {
    let (opener, other) = ordered();
    let mut node = Node::start(config(other, &[LOOPBACK], &[])).await;
    let (_, mut stream) = opened(opener, node.addresses[0].clone(), &[GROWING]).await;
    let fields = Fields::default().encode();
    let framed = |kind: u8, payload: &[u8]| {
        let payload = [&fields, payload].concat();
        let length = u32::try_from(payload.len() + 1).expect("small").to_be_bytes();
        [&length[..], &[kind], &payload].concat()
    };
    let unknown = framed(200, &vec![7; 60_000]);
    let (_, heard) = greet(
        &mut node,
        opener.into(),
        &mut stream,
        &framed(1, &recorded()[5..]),
    )
    .await;
    assert_eq!(heard, hello(Abilities::default()));
    // A newer program may say what this one does not know, and be heard.
    for _ in 0..10 {
        stream.write_all(&unknown).await.expect("it takes it");
    }
    let clock = Message::Clock {
        clock_ms: 1,
        answers_ms: 2,
        waited_ms: 3,
    };
    let (kind, payload) = clock.encode();
    stream
        .write_all(&framed(kind, &payload))
        .await
        .expect("it takes it");
    stream.flush().await.expect("it takes it");
    assert_eq!(node.receives().await, (opener.into(), clock));
    let flood = tokio::spawn(async move {
        while stream.write_all(&unknown).await.is_ok() && stream.flush().await.is_ok() {}
    });
    let (_, why) = tokio::time::timeout(std::time::Duration::from_secs(30), node.lost())
        .await
        .expect("it is not read for ever");
    assert!(
        why.to_string().contains("kinds that this version does not know"),
        "{why}"
    );
    flood.abort();
}

/// The ceremony of the first release.
enum Released {}

impl Protocol for Released {
    const STREAM: StreamProtocol = Ceremony::STREAM;
    const ADDRESSES: u8 = Ceremony::ADDRESSES;
    const BYE: u8 = Ceremony::BYE;

    type Message = Entry;
    type Limits = FrameLimits;

    fn payload(limits: &FrameLimits, kind: u8) -> Result<usize, WireError> {
        Ceremony::payload(limits, kind)
    }

    fn queue(limits: &FrameLimits) -> usize {
        Ceremony::queue(limits)
    }

    fn encode(message: &Entry) -> Frame {
        Ceremony::encode(message)
    }

    fn decode(limits: &FrameLimits, kind: u8, payload: &[u8]) -> Result<Entry, WireError> {
        Ceremony::decode(limits, kind, payload)
    }
}

fn ceremony<P: Protocol<Limits = FrameLimits>>(me: u8, listen: &[&str], peers: &[Multiaddr]) -> Config<P> {
    let group = (1..=2).map(|operator| key(operator).public()).collect();
    let limits = FrameLimits {
        operators: 2,
        entry: 1000,
        evidence: 1000,
    };
    Config {
        listen: listen
            .iter()
            .map(|text| text.parse().expect("a multiaddr"))
            .collect(),
        peers: peers.to_vec(),
        ..Config::new(key(me), group, limits)
    }
}

async fn entries_go_both_ways<A, B>(one: u8, other: u8)
where
    A: Protocol<Message = Entry, Limits = FrameLimits>,
    B: Protocol<Message = Entry, Limits = FrameLimits>,
{
    let mut listens = Node::<A>::start(ceremony(one, &[LOOPBACK], &[])).await;
    let mut dials = Node::<B>::start(ceremony(other, &[], &listens.addresses)).await;
    listens.connected_to(vec![other.into()]).await;
    dials.connected_to(vec![one.into()]).await;
    let said = Entry::Definition(vec![7; 100_000].into());
    listens.send(other.into(), said.clone()).await;
    dials.send(one.into(), Entry::Links(vec![1, 2])).await;
    assert_eq!(dials.receives().await, (one.into(), said));
    assert_eq!(listens.receives().await, (other.into(), Entry::Links(vec![1, 2])));
}

#[tokio::test(flavor = "multi_thread")]
async fn ceremonies_are_held_with_programs_of_the_first_release() {
    let (opener, other) = ordered();
    for (one, two) in [(opener, other), (other, opener)] {
        entries_go_both_ways::<Released, Ceremony>(one, two).await;
        entries_go_both_ways::<Ceremony, Released>(one, two).await;
        entries_go_both_ways::<Ceremony, Ceremony>(one, two).await;
    }
}
