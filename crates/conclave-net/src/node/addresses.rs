//! Addresses: given, told, dialled.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId,
    swarm::{
        ConnectionId, DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::{
    NodeError,
    attempts::{Attempts, obstacle},
    operator::Target,
    run::Node,
};
use crate::{
    book::{Addresses, Backoff, dialable},
    courtesy::{self, Known},
    events::{Obstacle, Reason},
    protocol::Protocol,
};

/// New addresses are collected for so long before they are told.
pub(super) const TELLING: Duration = Duration::from_millis(50);
/// An operator makes others forget what it said before no more often, or it would keep the whole group busy with telling that.
const FORGETTING: Duration = Duration::from_secs(2);
/// While everything is passed on by somebody else, a direct connection is tried this often.
const DIRECTLY: Duration = Duration::from_secs(15);

impl<P: Protocol> Node<P> {
    pub(super) fn add_peer(&mut self, address: &Multiaddr) -> Result<(), NodeError> {
        let Some((plain, _, peer)) = dialable(address) else {
            return Err(NodeError::Address {
                address: address.clone(),
            });
        };
        let now = Instant::now();
        if let Some(peer) = peer {
            if peer == *self.swarm.local_peer_id() {
                return Ok(());
            }
            let number = self.by_peer.get(&peer);
            let Some(operator) = number.and_then(|number| self.operators.get_mut(number)) else {
                return Err(NodeError::NotAnOperator {
                    address: address.clone(),
                });
            };
            operator.addresses.give(&plain);
            operator.hurry(now);
        } else if self.targets.len() < 1024 && !self.targets.iter().any(|target| target.address == plain) {
            self.targets.push(Target {
                address: plain,
                backoff: Backoff::new(now),
                attempts: Attempts::default(),
                dialling: None,
            });
        }
        Ok(())
    }

    pub(super) fn dial(&mut self, now: Instant) {
        for operator in self.operators.values_mut() {
            if operator.dial_at().is_none_or(|at| now < at) {
                continue;
            }
            let mut addresses = if std::mem::take(&mut operator.deceived) {
                operator.addresses.trusted(now)
            } else {
                Vec::new()
            };
            if addresses.is_empty() {
                addresses = operator.addresses.to_dial(now);
                for heard in &operator.neighbour {
                    if !addresses.contains(heard) {
                        addresses.push(heard.clone());
                    }
                }
            }
            if addresses.is_empty() {
                continue;
            }
            let options = DialOpts::peer_id(operator.peer)
                .condition(PeerCondition::Always)
                .addresses(addresses)
                .allocate_new_port()
                .build();
            let id = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => operator.dialling = Some(id),
                Err(_) => operator.backoff.failed(now, rand::random()),
            }
        }
        for target in &mut self.targets {
            if target.dialling.is_some() || now < target.backoff.next() {
                continue;
            }
            let options = DialOpts::unknown_peer_id()
                .address(target.address.clone())
                .allocate_new_port()
                .build();
            let id = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => target.dialling = Some(id),
                Err(_) => target.backoff.failed(now, rand::random()),
            }
        }
    }

    pub(super) fn undialled(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        error: &DialError,
        now: Instant,
    ) {
        if let Some(at) = self.targets.iter().position(|target| target.dialling == Some(id)) {
            if let Some(target) = self.targets.get_mut(at) {
                target.dialling = None;
                target.backoff.failed(now, rand::random());
            }
            match (error, peer) {
                (DialError::Transport(errors), _) => {
                    for (_, error) in errors {
                        self.target_unreached(at, obstacle(error), now);
                    }
                }
                (DialError::LocalPeerId { .. }, _) => {
                    self.target_unreached(at, Obstacle::Myself, now);
                    self.targets.swap_remove(at);
                }
                (DialError::Denied { .. }, Some(peer)) => {
                    self.target_unreached(at, self.somebody_else(peer), now);
                    let address = self.targets.get(at).map(|target| target.address.clone());
                    self.stranger(peer, address.unwrap_or_else(Multiaddr::empty), now);
                }
                _ => {}
            }
            return;
        }
        let circuit = self.operators.iter().find(|(_, o)| o.circuit == Some(id));
        if let Some(number) = circuit.map(|(number, _)| *number) {
            self.no_circuit(number, error, now);
            return;
        }
        let mut operators = self.operators.iter_mut();
        let Some((number, operator)) = operators.find(|(_, operator)| operator.dialling == Some(id)) else {
            return;
        };
        let number = *number;
        operator.dialling = None;
        operator.direct_at = now + DIRECTLY;
        operator.backoff.failed(now, rand::random());
        match error {
            DialError::Transport(errors) => {
                for (address, error) in errors {
                    let (why, plain) = (obstacle(error), plain(address));
                    if why == Obstacle::TimedOut
                        && let Some(operator) = self.operators.get_mut(&number)
                    {
                        operator.addresses.slow(address, now);
                        // It is heard again if it is really there.
                        operator.neighbour.retain(|heard| *heard != plain);
                    }
                    self.unreached(number, &plain, why, now);
                }
            }
            DialError::LocalPeerId { address } => {
                self.unreached(number, &plain(address), Obstacle::Myself, now);
                if let Some(operator) = self.operators.get_mut(&number) {
                    operator.addresses.wrong(address);
                }
            }
            DialError::WrongPeerId { obtained, address } => {
                let plain = plain(address);
                self.unreached(number, &plain, self.somebody_else(*obtained), now);
                let Some(operator) = self.operators.get_mut(&number) else {
                    return;
                };
                let given = operator.addresses.wrong(address);
                let attempts = operator.attempts.split_off(&plain);
                operator.deceived = !given;
                // It is heard again if it is really there.
                operator.neighbour.retain(|heard| *heard != plain);
                if let Some(other) = self.by_peer.get(obtained).and_then(|n| self.operators.get_mut(n)) {
                    if given {
                        other.addresses.give(&plain);
                    }
                    // Its handshake said who it is.
                    if other.addresses.proven(&plain) {
                        self.book_changed = true;
                        self.tell_at.get_or_insert(now + TELLING);
                    }
                } else {
                    if given {
                        let mut backoff = Backoff::new(now);
                        backoff.failed(now, rand::random());
                        self.targets.push(Target {
                            address: plain.clone(),
                            backoff,
                            attempts,
                            dialling: None,
                        });
                    }
                    self.stranger(*obtained, plain, now);
                }
            }
            _ => {}
        }
    }

    pub(super) fn learn(&mut self, from: u16, list: &Known, now: Instant) {
        let Some(scope) = self
            .operators
            .get(&from)
            .and_then(|o| o.session.as_ref())
            .map(|live| live.scope)
        else {
            return;
        };
        // Who says nothing of itself has no address that reaches so far.
        let itself = list
            .iter()
            .all(|(number, _)| *number != from)
            .then(|| (from, Vec::new()));
        for (number, addresses) in list
            .iter()
            .chain(&itself)
            .filter(|(number, _)| *number != self.me)
        {
            let Some(operator) = self.operators.get_mut(number) else {
                let why = "it told addresses of an operator who does not exist";
                return self.end(from, Reason::Fault(why.into()));
            };
            let each = |tell: &mut dyn FnMut(&Multiaddr) -> bool| {
                addresses
                    .iter()
                    .map(tell)
                    .fold(false, |news, is_new| news | is_new)
            };
            let news = if *number != from {
                each(&mut |address| operator.addresses.hear(address, scope))
            } else if now < operator.forgets_at {
                each(&mut |address| operator.addresses.say(address, scope))
            } else {
                operator.addresses.say_all(addresses, scope)
            };
            if news {
                if *number == from {
                    operator.forgets_at = now + FORGETTING;
                }
                operator.hurry(now);
                self.book_changed = true;
                self.tell_at.get_or_insert(now + TELLING);
            }
        }
    }

    pub(super) fn tell_addresses(&mut self, to: u16) {
        let Some(live) = self
            .operators
            .get(&to)
            .and_then(|operator| operator.session.as_ref())
        else {
            return;
        };
        let mut own = Addresses::default();
        for address in self.announce.iter().chain(&self.own_addresses) {
            // What does not reach so far takes no place from what does.
            own.say(address, live.scope);
        }
        let others = self.operators.iter().filter(|(number, _)| **number != to);
        let known = others
            .map(|(number, operator)| (*number, &operator.addresses))
            .chain([(self.me, &own)]);
        let mut list: Known = known
            .map(|(number, addresses)| (number, addresses.to_tell(live.scope)))
            .filter(|(_, addresses)| !addresses.is_empty())
            .collect();
        list.sort_by_key(|(number, _)| *number);
        for (_, addresses) in &mut list {
            addresses.sort();
        }
        let Some(live) = self
            .operators
            .get_mut(&to)
            .and_then(|operator| operator.session.as_mut())
        else {
            return;
        };
        if live.addresses_told != list {
            live.addresses_told.clone_from(&list);
            if let Some(outgoing) = &live.outgoing {
                // A full queue shows with the next real message.
                let _ = outgoing.send(Arc::new(courtesy::addresses::<P>(&list)));
            }
        }
    }
}

/// An address without the peer id, if it is one that is dialled.
pub(super) fn plain(address: &Multiaddr) -> Multiaddr {
    dialable(address).map_or_else(|| address.clone(), |(plain, ..)| plain)
}
