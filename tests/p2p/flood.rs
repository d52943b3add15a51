//! Strangers who keep connections open do not keep operators out.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, multiaddr::Protocol as Part};

use crate::{
    harness::{LOOPBACK, Node},
    strangers::{Mode, Strangers, many_addresses, one_address},
    talk::config,
};

/// An attempt, a second one, and a machine that does other things. Whoever is kept out waits for ever.
const SOON: Duration = Duration::from_secs(5);

fn port(address: &Multiaddr) -> u16 {
    let port = address.iter().find_map(|part| match part {
        Part::Tcp(port) | Part::Udp(port) => Some(port),
        _ => None,
    });
    port.expect("a port")
}

/// Operators whom the first does not know come, one after the other, while strangers keep its door.
async fn operators_come(flood: impl FnOnce(u16) -> Strangers) {
    let mut hub = Node::start(config(1, 4, &[LOOPBACK], &[])).await;
    let address = hub.addresses[0].clone();
    let number = port(&address);
    let strangers = tokio::task::block_in_place(|| flood(number));
    let mut others = Vec::new();
    for me in 2..=4 {
        let begun = Instant::now();
        others.push(Node::start(config(me, 4, &[], std::slice::from_ref(&address))).await);
        hub.connected_to(vec![me.into()]).await;
        assert!(
            begun.elapsed() < SOON,
            "operator {me} took {:?}, with {} connections of strangers",
            begun.elapsed(),
            strangers.made()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stranger_with_many_connections_keeps_nobody_out() {
    for mode in [Mode::Hold, Mode::Garbage, Mode::Slow] {
        operators_come(|port| Strangers::at(port, 400, &one_address(), mode)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_from_everywhere_keep_nobody_out() {
    operators_come(|port| Strangers::at(port, 512, &many_addresses(), Mode::Hold)).await;
}

/// One network's share of places is bounded, whatever else is free.
#[tokio::test(flavor = "multi_thread")]
async fn one_stranger_has_few_places() {
    use tokio::io::AsyncReadExt;
    let hub = Node::start(config(1, 2, &[LOOPBACK], &[])).await;
    let to = std::net::SocketAddr::from(([127, 0, 0, 1], port(&hub.addresses[0])));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        calls.spawn(async move {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket
                .bind((Ipv4Addr::new(127, 9, 9, 9), 0).into())
                .expect("an address");
            let mut stream = socket.connect(to).await.expect("it listens");
            let begun = Instant::now();
            while stream.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {}
            begun.elapsed()
        });
    }
    let lasted = calls.join_all().await;
    let patience = Duration::from_millis(4500);
    let held = lasted.iter().filter(|lasted| **lasted > patience).count();
    assert_eq!(held, 8, "{lasted:?}");
    assert!(
        lasted.iter().all(|lasted| *lasted < Duration::from_secs(8)),
        "{lasted:?}"
    );
}

#[cfg(feature = "quic")]
mod over_quic {
    use std::{
        net::UdpSocket,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use libp2p::{
        Transport,
        core::{
            Endpoint,
            transport::{DialOpts, PortUse},
        },
        quic,
    };

    use super::*;
    use crate::harness::keypair;

    /// The first packets of so many callers who never send another.
    async fn first_packets(count: usize) -> Vec<Vec<u8>> {
        let nobody = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let nobody = {
            nobody.set_nonblocking(true).expect("a socket");
            tokio::net::UdpSocket::from_std(nobody).expect("a socket")
        };
        let port = nobody.local_addr().expect("bound").port();
        let address: Multiaddr = format!("/ip4/127.0.0.1/udp/{port}/quic-v1")
            .parse()
            .expect("fine");
        let mut transport = quic::tokio::Transport::new(quic::Config::new(&keypair(99)));
        let mut packets = Vec::new();
        for _ in 0..count {
            let options = DialOpts {
                role: Endpoint::Dialer,
                port_use: PortUse::Reuse,
            };
            let call = transport
                .dial(address.clone(), options)
                .expect("it can be dialled");
            let call = tokio::spawn(call);
            let mut packet = vec![0; 2048];
            let length = nobody.recv(&mut packet).await.expect("a packet");
            packet.truncate(length);
            packets.push(packet);
            call.abort();
        }
        packets
    }

    /// Sends first packets again and again, each from a port of its own, as those who forge addresses can, too.
    fn strangers(to: u16, packets: Vec<Vec<u8>>, stop: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
        let stop = stop.clone();
        let sockets: Vec<UdpSocket> = packets
            .iter()
            .map(|_| UdpSocket::bind("127.9.9.9:0").expect("a socket"))
            .collect();
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                for (socket, packet) in sockets.iter().zip(&packets) {
                    let _ = socket.send_to(packet, ("127.0.0.1", to));
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        })
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_stranger_with_many_calls_keeps_nobody_out() {
        let packets = first_packets(400).await;
        let mut hub = Node::start(config(1, 2, &["/ip4/127.0.0.1/udp/0/quic-v1"], &[])).await;
        let address = hub.addresses[0].clone();
        let stop = Arc::new(AtomicBool::new(false));
        let strangers = strangers(port(&address), packets, &stop);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let begun = Instant::now();
        let _other = Node::start(config(2, 2, &[], &[address])).await;
        hub.connected_to(vec![2]).await;
        assert!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
        stop.store(true, Ordering::SeqCst);
        strangers.join().expect("it ends");
    }
}
