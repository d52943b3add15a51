//! Neighbours on the local network, found by multicast DNS.
//!
//! A node that looks for neighbours says on the local network that its peer id is there and at which addresses of
//! that network, nothing else, and hears the same of every libp2p program. Only operators are dialled. What was
//! heard is neither told to others nor kept: anybody on the network can say anything.

use std::time::Instant;

use libp2p::{Multiaddr, PeerId, mdns};

use super::{operator::Operator, run::Node};
use crate::{
    book::{Scope, dialable},
    protocol::Protocol,
};

/// The most addresses that are taken for one operator.
const MAX_FOUND: usize = 8;

type Search = Option<mdns::tokio::Behaviour>;

/// Begins to look for neighbours over IPv4 and over IPv6, as far as that can be done here. What cannot be done is
/// said in words.
pub(super) fn look(local: PeerId, problems: &mut Vec<String>) -> (Search, Search) {
    let mut over = |enable_ipv6| {
        let config = mdns::Config {
            enable_ipv6,
            ..mdns::Config::default()
        };
        match mdns::tokio::Behaviour::new(config, local) {
            Ok(search) => Some(search),
            Err(error) => {
                problems.push(format!(
                    "cannot look for neighbours on the local network: {error}"
                ));
                None
            }
        }
    };
    (over(false), over(true))
}

impl<P: Protocol> Node<P> {
    pub(super) fn on_lan(&mut self, event: mdns::Event, now: Instant) {
        match event {
            mdns::Event::Discovered(found) => {
                for (peer, address) in found {
                    if let Some(operator) = self.operator_of(&peer)
                        && operator.heard(&address)
                    {
                        operator.hurry(now);
                    }
                }
            }
            mdns::Event::Expired(gone) => {
                for (peer, address) in gone {
                    if let (Some(operator), Some((plain, ..))) = (self.operator_of(&peer), dialable(&address))
                    {
                        operator.neighbour.retain(|known| *known != plain);
                    }
                }
            }
        }
    }

    fn operator_of(&mut self, peer: &PeerId) -> Option<&mut Operator> {
        let number = self.by_peer.get(peer)?;
        self.operators.get_mut(number)
    }
}

impl Operator {
    /// Takes an address that was heard on the local network. True if it is new.
    fn heard(&mut self, address: &Multiaddr) -> bool {
        let Some((plain, scope, _)) = dialable(address) else {
            return false;
        };
        let new =
            scope > Scope::Machine && self.neighbour.len() < MAX_FOUND && !self.neighbour.contains(&plain);
        if new {
            self.neighbour.push(plain);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_heard_is_bounded_and_not_of_this_machine() {
        let mut operator = Operator::new(PeerId::random(), PeerId::random(), Instant::now());
        let address = |text: &str| text.parse::<Multiaddr>().expect("a multiaddr");
        for bad in [
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/::1/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip4/9.9.9.9/udp/1",
        ] {
            assert!(!operator.heard(&address(bad)), "{bad}");
        }
        assert!(operator.heard(&address("/ip6/fd00::2/tcp/1")));
        assert!(!operator.heard(&address("/ip6/fd00::2/tcp/1")));
        for port in 1..100 {
            operator.heard(&address(&format!("/ip4/192.168.1.2/tcp/{port}")));
        }
        assert_eq!(operator.neighbour.len(), MAX_FOUND);
        assert!(
            operator.addresses.to_tell(Scope::Machine).is_empty(),
            "it is not passed on"
        );
    }
}
