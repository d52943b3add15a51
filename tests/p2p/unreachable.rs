//! Addresses where nobody is reached are told, each with its cause.

use std::{collections::BTreeMap, io::Write as _, net::TcpListener, time::Duration};

use conclave_net::{
    events::{Event, Obstacle},
    node,
};
use libp2p::Multiaddr;
use tokio::time::timeout;

use crate::{
    harness::{LOOPBACK, Node, key, raw, without_peer},
    talk::config,
};

fn at(port: u16) -> String {
    format!("/ip4/127.0.0.1/tcp/{port}")
}

fn with_peer(address: &str, operator: u8) -> Multiaddr {
    let peer = node::peer_id(&key(operator).public()).expect("a key");
    format!("{address}/p2p/{peer}").parse().expect("a multiaddr")
}

/// Does this to every caller.
fn serve(mut act: impl FnMut(std::net::TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(&mut act));
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn each_address_that_fails_is_told_with_its_cause() {
    // No program has these.
    let (nobody, nobody_either) = (1, 2);
    let http = serve(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    });
    let mut silent = Vec::new();
    let silent = serve(move |stream| silent.push(stream));
    let seven = Node::start(config(7, 8, &[LOOPBACK], &[])).await;
    let seven = without_peer(&seven.addresses[0]).to_string();
    let mut stranger = raw(99);
    stranger
        .swarm
        .listen_on(LOOPBACK.parse().expect("fine"))
        .expect("it listens");
    let there = loop {
        use futures::StreamExt;
        if let libp2p::swarm::SwarmEvent::NewListenAddr { address, .. } =
            stranger.swarm.select_next_some().await
        {
            break address.to_string();
        }
    };
    let stranger_id = *stranger.swarm.local_peer_id();
    tokio::spawn(async move {
        use futures::StreamExt;
        loop {
            stranger.swarm.select_next_some().await;
        }
    });
    let without: Multiaddr = at(nobody_either).parse().expect("fine");
    // The same as operator 2's, and told with its name alone.
    let again: Multiaddr = at(nobody).parse().expect("fine");
    let name = "/dns4/nobody.invalid/tcp/9510";
    let peers = [
        again.clone(),
        with_peer(&at(nobody), 2),
        with_peer(&at(http), 3),
        with_peer(&at(silent), 4),
        with_peer(name, 5),
        with_peer(&seven, 6),
        with_peer(&there, 8),
        without.clone(),
    ];
    // Without a door: a node of another test may know the number of its port from before.
    let mut me = Node::start(config(1, 8, &[], &peers)).await;
    let mut found: BTreeMap<Option<u16>, (Multiaddr, Obstacle)> = BTreeMap::new();
    let all = timeout(Duration::from_secs(40), async {
        while found.len() < 7 {
            if let Event::Unreachable(told) = me.next().await {
                assert!(told.operator.is_some() || told.address != again, "{told:?}");
                assert!(told.times > 0 && told.next < Duration::from_secs(60), "{told:?}");
                assert!(
                    told.words(|o| format!("o{o}"))
                        .contains(&told.address.to_string())
                );
                found.entry(told.operator).or_insert((told.address, told.why));
            }
        }
    });
    let in_time = all.await.is_ok();
    assert!(in_time, "{found:?}");
    let expected = [
        (None, at(nobody_either), Obstacle::Refused),
        (Some(2), at(nobody), Obstacle::Refused),
        (Some(3), at(http), Obstacle::SomethingElse),
        (Some(4), at(silent), Obstacle::TimedOut),
        (Some(6), seven, Obstacle::Operator(7)),
        (Some(8), there, Obstacle::Stranger(stranger_id)),
    ];
    for (operator, address, why) in expected {
        assert_eq!(
            found[&operator],
            (address.parse().expect("fine"), why),
            "{operator:?}"
        );
    }
    // Where no name can be looked up, that is told instead.
    assert_eq!(found[&Some(5)].0.to_string(), name);
    let looked = &found[&Some(5)].1;
    assert!(
        matches!(looked, Obstacle::NoSuchName | Obstacle::NameServer),
        "{looked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_is_here_silences_no_address_by_claiming_it() {
    // No program has it.
    let missing: Multiaddr = at(3).parse().expect("fine");
    let mut claims = config(2, 3, &[LOOPBACK], &[]);
    claims.announce = vec![missing.clone()];
    let liar = Node::start(claims).await;
    let peers = [liar.addresses[0].clone(), missing.clone()];
    let mut me = Node::start(config(1, 3, &[], &peers)).await;
    me.connected_to(vec![2]).await;
    let told = me.until(|event| match event {
        Event::Unreachable(told) => Some(told.clone()),
        _ => None,
    });
    let told = told.await;
    assert_eq!(
        (told.operator, &told.address, &told.why),
        (None, &missing, &Obstacle::Refused)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ones_own_address_is_told() {
    let port = crate::strangers::free_port();
    let own: Multiaddr = at(port).parse().expect("fine");
    let listen = own.to_string();
    let mut me = Node::start(config(1, 2, &[&listen], &[own.clone(), with_peer(&listen, 2)])).await;
    let mut operators = Vec::new();
    while operators.len() < 2 {
        let told = me.until(|event| match event {
            Event::Unreachable(told) => Some(told.clone()),
            _ => None,
        });
        let told = told.await;
        assert_eq!((&told.address, &told.why), (&own, &Obstacle::Myself));
        operators.push(told.operator);
    }
    operators.sort_unstable();
    assert_eq!(operators, [None, Some(2)]);
}
