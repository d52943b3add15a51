//! An operator whose relay lies: it lets a stranger in, says that the stranger is somebody else, connects people with whom
//! they did not ask for, and listens.
//!
//! It speaks circuit relay v2 by itself, as the relay of libp2p would not do any of this. What it wants is decided by a
//! [`Lie`]; strangers come with libp2p's own relay client.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use conclave_net::{
    events::Event,
    node::{self, Command},
    protocol::Protocol as _,
};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder,
    multiaddr::Protocol as Part,
    noise, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use libp2p_stream::Control;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    harness::{LOOPBACK, Node, PATIENCE, key, keypair, raw},
    talk::{Talk, config},
};

const HOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/hop");
const STOP: StreamProtocol = StreamProtocol::new("/libp2p/circuit/relay/0.2.0/stop");
/// No operator has this key.
const STRANGER: u8 = 99;

/// With whom somebody is connected who asks for somebody, and who that one is told that it is.
type Lie = Arc<dyn Fn(PeerId, PeerId) -> (PeerId, PeerId) + Send + Sync>;

/// The operators 1 to n, the one with the largest peer id last: it never opens streams.
fn operators(n: u8) -> Vec<u8> {
    let mut all: Vec<u8> = (1..=n).collect();
    all.sort_by_key(|seed| id(*seed).to_bytes());
    all
}

fn id(seed: u8) -> PeerId {
    node::peer_id(&key(seed).public()).expect("a key")
}

/// Length and bytes of one field of a message of Protocol Buffers, or a number's.
fn bytes_field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("short");
    assert!(length < 128);
    [&[(number << 3) | 2, length][..], bytes].concat()
}

fn number_field(number: u8, mut value: u64) -> Vec<u8> {
    let mut field = vec![number << 3];
    while value >= 128 {
        field.push(u8::try_from(value & 127).expect("seven bits") | 128);
        value >>= 7;
    }
    field.push(u8::try_from(value).expect("seven bits"));
    field
}

/// "OK" in both of the relay's protocols.
const OK: u64 = 100;

async fn write(stream: &mut Stream, fields: &[Vec<u8>]) -> std::io::Result<()> {
    let message = fields.concat();
    let length = u8::try_from(message.len()).expect("short");
    assert!(length < 128);
    stream.write_all(&[&[length], &message[..]].concat()).await?;
    stream.flush().await
}

async fn read(stream: &mut Stream) -> std::io::Result<Vec<u8>> {
    let mut length = [0];
    stream.read_exact(&mut length).await?;
    let mut message = vec![0; usize::from(length[0])];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// A relay that does as its lie says.
struct Liar {
    address: Multiaddr,
    peer: PeerId,
    /// Everything that it passed on.
    heard: Arc<Mutex<Vec<u8>>>,
    /// Who asked to be connected with whom.
    asked: mpsc::UnboundedReceiver<(PeerId, PeerId)>,
    control: Control,
}

impl Liar {
    async fn start(seed: u8, lie: Lie) -> Self {
        let mut raw = raw(seed);
        let listen = LOOPBACK.parse().expect("a multiaddr");
        raw.swarm.listen_on(listen).expect("it listens");
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = raw.swarm.select_next_some().await {
                break address.with(Part::P2p(id(seed)));
            }
        };
        let mut talks = raw.control.clone().accept(Talk::STREAM).expect("new");
        let mut hops = raw.control.clone().accept(HOP).expect("new");
        let (asks, asked) = mpsc::unbounded_channel();
        let heard = Arc::default();
        let liar = Self {
            address,
            peer: id(seed),
            heard: Arc::clone(&heard),
            asked,
            control: raw.control.clone(),
        };
        tokio::spawn(async move {
            loop {
                raw.swarm.select_next_some().await;
            }
        });
        // As an operator it is there and says nothing.
        tokio::spawn(async move {
            while let Some((_, mut stream)) = talks.next().await {
                tokio::spawn(async move {
                    let mut sink = [0; 4096];
                    while stream.read(&mut sink).await.is_ok_and(|length| length > 0) {}
                });
            }
        });
        let control = liar.control.clone();
        tokio::spawn(async move {
            while let Some((from, stream)) = hops.next().await {
                let (control, lie) = (control.clone(), lie.clone());
                let (heard, asks) = (Arc::clone(&heard), asks.clone());
                tokio::spawn(async move {
                    // Who hangs up is no matter of the relay's.
                    let _ = hop(control, from, stream, &lie, &heard, &asks).await;
                });
            }
        });
        liar
    }
}

/// Serves one request.
async fn hop(
    control: Control,
    from: PeerId,
    mut stream: Stream,
    lie: &Lie,
    heard: &Mutex<Vec<u8>>,
    asks: &mpsc::UnboundedSender<(PeerId, PeerId)>,
) -> std::io::Result<()> {
    let request = read(&mut stream).await?;
    if request.get(1) == Some(&0) {
        // Everybody has a place, for an hour.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let until = now.expect("after 1970").as_secs() + 3600;
        let place: Multiaddr = "/ip4/127.0.0.1/tcp/9".parse().expect("a multiaddr");
        let reservation = [number_field(1, until), bytes_field(2, &place.to_vec())].concat();
        let answer = [
            number_field(1, 2),
            bytes_field(3, &reservation),
            number_field(5, OK),
        ];
        write(&mut stream, &answer).await?;
        return stream.close().await;
    }
    // type, connect, peer, length, id, length: and then the peer id.
    let wanted = PeerId::from_bytes(&request[6..6 + usize::from(request[5])]).expect("a peer id");
    let _ = asks.send((from, wanted));
    let (target, claimed) = lie(from, wanted);
    let other = connect(control, target, claimed).await?;
    write(&mut stream, &[number_field(1, 2), number_field(5, OK)]).await?;
    let ((one_reads, one_writes), (other_reads, other_writes)) = (stream.split(), other.split());
    futures::future::select(
        Box::pin(pass(one_reads, other_writes, heard)),
        Box::pin(pass(other_reads, one_writes, heard)),
    )
    .await;
    Ok(())
}

/// Calls somebody in the name of somebody.
async fn connect(mut control: Control, target: PeerId, claimed: PeerId) -> std::io::Result<Stream> {
    let stream = control.open_stream(target, STOP).await;
    let mut stream = stream.map_err(std::io::Error::other)?;
    let peer = bytes_field(1, &claimed.to_bytes());
    write(&mut stream, &[number_field(1, 0), bytes_field(2, &peer)]).await?;
    let answer = read(&mut stream).await?;
    if answer.ends_with(&number_field(4, OK)) {
        Ok(stream)
    } else {
        Err(std::io::Error::other("it does not want to"))
    }
}

async fn pass(
    mut from: impl futures::AsyncRead + Unpin,
    mut to: impl futures::AsyncWrite + Unpin,
    heard: &Mutex<Vec<u8>>,
) {
    let mut bytes = [0; 4096];
    while let Ok(length) = from.read(&mut bytes).await {
        heard.lock().expect("not poisoned").extend(&bytes[..length]);
        if length == 0 || to.write_all(&bytes[..length]).await.is_err() || to.flush().await.is_err() {
            return;
        }
    }
}

#[derive(NetworkBehaviour)]
struct Client {
    relay: relay::client::Behaviour,
    streams: libp2p_stream::Behaviour,
}

/// A libp2p program whose key is in no lock, with a place at the liar.
struct Stranger {
    calls: mpsc::UnboundedSender<PeerId>,
    /// Whom it called and who is gone again, or never came.
    ended: mpsc::UnboundedReceiver<PeerId>,
    /// Streams of the operators' protocol that somebody opened to it, and bytes that it read on its own ones.
    heard: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Stranger {
    async fn start(liar: &Liar) -> Self {
        let mut swarm: Swarm<Client> = SwarmBuilder::with_existing_identity(keypair(STRANGER))
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .expect("noise")
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .expect("noise")
            .with_behaviour(|_, relay| Client {
                relay,
                streams: libp2p_stream::Behaviour::new(),
            })
            .expect("no error")
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
            .build();
        let circuit = liar.address.clone().with(Part::P2pCircuit);
        let listener = swarm.listen_on(circuit.clone()).expect("it asks");
        let place = async {
            loop {
                if let SwarmEvent::NewListenAddr { listener_id, .. } = swarm.select_next_some().await
                    && listener_id == listener
                {
                    return;
                }
            }
        };
        timeout(PATIENCE, place).await.expect("the liar gives it a place");
        let control = swarm.behaviour().streams.new_control();
        let mut incoming = control.clone().accept(Talk::STREAM).expect("new");
        let (calls, mut called) = mpsc::unbounded_channel::<PeerId>();
        let (tell_ended, ended) = mpsc::unbounded_channel();
        let (tell_heard, heard) = mpsc::unbounded_channel();
        let (hears, relay) = (tell_heard.clone(), liar.peer);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(peer) = called.recv() => {
                        swarm.dial(circuit.clone().with(Part::P2p(peer))).expect("it dials");
                    }
                    event = swarm.select_next_some() => match event {
                        // It may believe that it is connected: the other end decides last.
                        SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id != relay => {
                            tokio::spawn(listen(control.clone(), peer_id, hears.clone()));
                        }
                        SwarmEvent::ConnectionClosed { peer_id, .. } => {
                            let _ = tell_ended.send(peer_id);
                        }
                        SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), .. } => {
                            let _ = tell_ended.send(peer);
                        }
                        _ => {}
                    },
                }
            }
        });
        tokio::spawn(async move {
            while incoming.next().await.is_some() {
                let _ = tell_heard.send(b"a stream".to_vec());
            }
        });
        Self { calls, ended, heard }
    }

    /// Calls an operator through the liar, and waits until that has come to nothing.
    async fn calls(&mut self, peer: PeerId) {
        self.calls.send(peer).expect("it lives");
        let ended = async { while self.ended.recv().await.expect("it lives") != peer {} };
        timeout(PATIENCE, ended).await.expect("the call ends");
    }
}

/// Opens the operators' stream and says what comes.
async fn listen(mut control: Control, peer: PeerId, hears: mpsc::UnboundedSender<Vec<u8>>) {
    if let Ok(mut stream) = control.open_stream(peer, Talk::STREAM).await {
        let _ = stream.write_all(&[0, 0, 0, 1, 1]).await;
        let _ = stream.flush().await;
        let mut bytes = vec![0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut bytes).await {
            let _ = hears.send(bytes[..length].to_vec());
        }
    }
}

/// Waits until these are connected. The liar's own connection may come and go.
async fn meets(node: &mut Node<Talk>, mut operators: Vec<u16>) {
    while !operators.is_empty() {
        if let Event::Connected { operator } = node.next().await {
            operators.retain(|missing| *missing != operator);
        }
    }
}

/// Whether it has to do with the connection of somebody else than the liar: nothing changes there.
fn changes(event: &Event<String>, liar: u8) -> bool {
    match event {
        Event::Connected { operator }
        | Event::Disconnected { operator, .. }
        | Event::Path { operator, .. } => *operator != u16::from(liar),
        _ => false,
    }
}

/// Waits for the words of an operator.
async fn hears_only(node: &mut Node<Talk>, liar: u8, from: u8, text: &str) {
    let word = node
        .until(|event| {
            assert!(!changes(event, liar), "{event:?}");
            match event {
                Event::Message { operator, message } => Some((*operator, message.clone())),
                _ => None,
            }
        })
        .await;
    assert_eq!(word, (from.into(), text.to_owned()));
}

async fn meets_stranger(node: &mut Node<Talk>, liar: u8) {
    let peer = node
        .until(|event| {
            assert!(!changes(event, liar), "{event:?}");
            match event {
                Event::Stranger { peer, .. } => Some(*peer),
                _ => None,
            }
        })
        .await;
    assert_eq!(peer, keypair(STRANGER).public().to_peer_id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_behind_a_lying_relay_is_refused_and_hears_nothing() {
    let group = operators(3);
    let [opener, other, liar] = group[..] else {
        panic!("three operators")
    };
    // The stranger says who it is at first, then the relay says that it is an operator.
    let named = Arc::new(Mutex::new(None));
    let lie: Lie = {
        let named = named.clone();
        Arc::new(move |from, to| {
            let claimed = *named.lock().expect("not poisoned");
            let stranger = from == keypair(STRANGER).public().to_peer_id();
            (to, claimed.filter(|_| stranger).unwrap_or(from))
        })
    };
    let mut liar = Liar::start(liar, lie).await;
    let relay = std::slice::from_ref(&liar.address);
    let mut one = Node::start(config(opener, 3, &[], relay)).await;
    let mut two = Node::start(config(other, 3, &[], relay)).await;
    one.connected_to(vec![other.into(), group[2].into()]).await;
    two.connected_to(vec![opener.into(), group[2].into()]).await;
    one.send(other.into(), "what nobody else may know".into()).await;
    assert_eq!(two.receives().await.1, "what nobody else may know");
    while one.events.try_recv().is_some() || two.events.try_recv().is_some() {}

    let mut stranger = Stranger::start(&liar).await;
    let operators = [None, Some(id(opener)), Some(id(group[2])), Some(id(other))];
    for (round, claimed) in operators.into_iter().enumerate() {
        *named.lock().expect("not poisoned") = claimed;
        stranger.calls(id(other)).await;
        meets_stranger(&mut two, group[2]).await;
        let text = format!("after call {round}");
        one.send(other.into(), text.clone()).await;
        hears_only(&mut two, group[2], opener, &text).await;
        two.send(opener.into(), text.clone()).await;
        hears_only(&mut one, group[2], other, &text).await;
    }
    // The one who has no place there is not even reached.
    stranger.calls(id(opener)).await;
    one.send(other.into(), "at last".into()).await;
    hears_only(&mut two, group[2], opener, "at last").await;

    assert!(stranger.heard.try_recv().is_err(), "the stranger hears something");
    assert!(liar.asked.try_recv().is_ok());
    let heard = liar.heard.lock().expect("not poisoned");
    assert!(heard.len() > 1000, "everything went through the liar");
    for word in ["what nobody else may know", "after call", Talk::STREAM.as_ref()] {
        let found = heard.windows(word.len()).any(|bytes| bytes == word.as_bytes());
        assert!(!found, "the relay reads {word:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_passes_a_stranger_off_as_an_operator_parts_nobody() {
    let group = operators(4);
    let [opener, other, honest, liar] = group[..] else {
        panic!("four operators")
    };
    // Whoever asks for anybody gets the stranger.
    let lie: Lie = Arc::new(|from, _| (keypair(STRANGER).public().to_peer_id(), from));
    let mut liar = Liar::start(liar, lie).await;
    let mut stranger = Stranger::start(&liar).await;
    let relay = std::slice::from_ref(&liar.address);
    let mut one = Node::start(config(opener, 4, &[], relay)).await;
    let mut two = Node::start(config(other, 4, &[], relay)).await;
    two.connected_to(vec![group[3].into()]).await;
    let nobody = |event: &Event<String>| match event {
        Event::Connected { operator } => {
            assert_eq!(
                *operator,
                u16::from(group[3]),
                "a stranger is taken for an operator"
            );
            None
        }
        Event::Stranger { peer, .. } => Some(*peer),
        _ => None,
    };
    for _ in 0..2 {
        assert_eq!(one.until(nobody).await, keypair(STRANGER).public().to_peer_id());
    }
    assert!(liar.asked.recv().await.is_some());

    // Another operator is reached by both. The liar is quicker, and never asked together with it.
    let mut hub = Node::start(config(honest, 4, &[LOOPBACK], &[])).await;
    let begun = Instant::now();
    for node in [&one, &two] {
        let address = hub.addresses[0].clone();
        node.handle
            .give(Command::AddPeer(address))
            .await
            .expect("it lives");
    }
    meets(&mut one, vec![other.into(), honest.into()]).await;
    meets(&mut two, vec![opener.into(), honest.into()]).await;
    assert!(begun.elapsed() < PATIENCE, "within seconds");
    hub.connected_to(vec![opener.into(), other.into()]).await;
    one.send(other.into(), "through the honest one".into()).await;
    let words = (u16::from(opener), "through the honest one".to_owned());
    assert_eq!(two.receives().await, words);
    assert!(stranger.heard.try_recv().is_err(), "the stranger hears something");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_called_in_nobodys_name_but_its_own() {
    let group = operators(3);
    let [opener, other, liar] = group[..] else {
        panic!("three operators")
    };
    // Whoever asks for whomever is said to be the first, and gets the second.
    let lie: Lie = Arc::new(move |_, _| (id(other), id(opener)));
    let liar = Liar::start(liar, lie).await;
    let relay = std::slice::from_ref(&liar.address);
    let mut one = Node::start(config(opener, 3, &[], relay)).await;
    let mut two = Node::start(config(other, 3, &[], relay)).await;
    // That is whom the first wants, so they meet; the stranger who asks for the first gets the second instead, and hangs up.
    meets(&mut one, vec![other.into()]).await;
    meets(&mut two, vec![opener.into()]).await;
    let mut stranger = Stranger::start(&liar).await;
    while two.events.try_recv().is_some() {}
    stranger.calls(id(opener)).await;
    one.send(other.into(), "still here".into()).await;
    hears_only(&mut two, group[2], opener, "still here").await;
    assert!(stranger.heard.try_recv().is_err(), "the stranger hears something");
}
