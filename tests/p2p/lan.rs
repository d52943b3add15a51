//! Operators who find each other on the local network.

use std::net::{IpAddr, UdpSocket};

use conclave_net::{events::Event, node::Config};

use crate::{
    harness::{LOOPBACK, Node, everybody_connects},
    machine,
    talk::{all_talk, config},
};

/// An address of this machine on a network, if it has one. Nothing is sent.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("198.51.100.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_on_one_network_find_each_other() {
    let Some(ip) = own_address() else {
        machine::cannot("network");
        return;
    };
    let listen = format!("/ip4/{ip}/tcp/0");
    let mut nodes = Vec::new();
    for me in 1..=3 {
        let node = Config {
            lan: true,
            ..config(me, 3, &[&listen], &[])
        };
        nodes.push(Node::start(node).await);
    }
    // A stranger who looks for others as well is not dialled.
    let stranger = Config {
        lan: true,
        ..config(9, 9, &[&listen], &[])
    };
    let stranger = Node::start(stranger).await;
    let mut nodes = everybody_connects(nodes).await;
    all_talk(&mut nodes).await;
    let id = stranger.handle.peer_id();
    for node in &mut nodes {
        while let Some(event) = node.events.try_recv() {
            if let Event::Stranger { peer, address, .. } = event {
                // The stranger calls; it is never called where it listens.
                assert_eq!(peer, id);
                assert!(!stranger.addresses.contains(&address));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_network_to_look_at_still_starts() {
    let lonely = Config {
        lan: true,
        ..config(1, 2, &[LOOPBACK], &[])
    };
    let hub = Node::start(lonely).await;
    let address = hub.addresses[0].clone();
    let nodes = vec![hub, Node::start(config(2, 2, &[], &[address])).await];
    all_talk(&mut everybody_connects(nodes).await).await;
}
