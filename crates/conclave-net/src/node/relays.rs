//! Through other operators: two who cannot reach each other directly meet at a third whom both can reach (libp2p
//! circuit relay v2). What passes is encrypted from end to end and authenticated by node keys, as on any connection.
//!
//! * Every operator relays for the others. The gate turns strangers away before they could ask.
//! * Of a pair the one who opens streams dials, the other makes itself reachable: it reserves a place at every
//!   operator with whom it has a direct connection. So there is one circuit for a pair, and nobody needs to be told
//!   addresses of circuits: the dialler asks at those with whom it has a direct connection itself.
//! * A direct connection is dialled on, and replaces a circuit when it comes (see `connections`).
//! * A relay that lies can connect the dialler with somebody else, or with nobody, and be quicker at it than all others.
//!   Noise tells: nobody is taken for an operator. Whoever passed an operator on badly is not asked for it again while
//!   others are there who can.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, Swarm,
    core::transport::ListenerId,
    identity,
    multiaddr::Protocol as Part,
    relay,
    swarm::{
        DialError,
        dial_opts::{DialOpts, PeerCondition},
    },
};

use super::{operator::Operator, run::Node, swarm::Behaviour};
use crate::protocol::Protocol;

/// What a direct connection gets before circuits are tried.
pub(super) const HEAD_START: Duration = Duration::from_secs(1);
/// After a circuit that did not come about, and half of it more at random.
const AGAIN: Duration = Duration::from_secs(2);
/// A reservation that was lost is made again after this time at first, and after [`RESERVE_MAX`] in the end.
const RESERVE_MIN: Duration = Duration::from_millis(500);
const RESERVE_MAX: Duration = Duration::from_secs(30);
/// At most so many operators are asked for one circuit at a time.
const ASKED: usize = 4;
/// libp2p serves ten requests at a time on one connection.
const CIRCUITS_AT_ONCE: usize = 8;
/// Who passed an operator on badly is left out for this long at first, and for [`BAD_MAX`] in the end.
const BAD_MIN: Duration = Duration::from_secs(60);
const BAD_MAX: Duration = Duration::from_secs(3600);

/// The relay that a node is for the other operators. Circuits last as long as both ends want.
pub(super) fn server(key: &identity::Keypair, operators: usize) -> relay::Behaviour {
    let config = relay::Config {
        max_reservations: 4 * operators,
        // libp2p lets one more in than this says: four for each, so that nobody can take the others' places.
        max_reservations_per_peer: 3,
        reservation_duration: Duration::from_secs(3600),
        // Who is not an operator cannot ask, and several operators may share an address.
        reservation_rate_limiters: Vec::new(),
        max_circuits: operators * operators,
        max_circuits_per_peer: 2 * operators,
        max_circuit_duration: Duration::from_secs(u32::MAX.into()),
        // No limit.
        max_circuit_bytes: 0,
        circuit_src_rate_limiters: Vec::new(),
    };
    let mut server = relay::Behaviour::new(key.public().to_peer_id(), config);
    // Otherwise it waits for somebody to confirm that it can be reached from everywhere.
    server.set_status(Some(relay::Status::Enable));
    server
}

/// libp2p wants an address of the relay in every reservation, even of a relay that nobody can dial. It is not used.
pub(super) fn name_a_place(swarm: &mut Swarm<Behaviour>) {
    let place = Multiaddr::empty()
        .with(Part::Dns("relay.invalid".into()))
        .with(Part::Tcp(9));
    swarm.add_external_address(place);
}

/// Whether an address is one through a relay.
pub(super) fn is_circuit(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Part::P2pCircuit)
}

/// The places that this node has, or wants, at other operators.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    enabled: bool,
    places: BTreeMap<u16, Place>,
}

#[derive(Debug)]
struct Place {
    listener: Option<ListenerId>,
    next: Instant,
    pause: Duration,
}

impl Reservations {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            ..Self::default()
        }
    }

    fn due(&self, operator: u16, now: Instant) -> bool {
        let place = self.places.get(&operator);
        place.is_none_or(|place| place.listener.is_none() && now >= place.next)
    }

    fn asked(&mut self, operator: u16, listener: ListenerId, now: Instant) {
        let place = self.places.entry(operator).or_insert(Place {
            listener: None,
            next: now,
            pause: RESERVE_MIN,
        });
        place.listener = Some(listener);
    }

    /// Whether the listener is a reservation.
    pub(super) fn know(&self, listener: ListenerId) -> bool {
        self.places.values().any(|place| place.listener == Some(listener))
    }

    /// The operator keeps a place.
    pub(super) fn accepted(&mut self, listener: ListenerId) {
        if let Some(place) = self.place(listener) {
            place.pause = RESERVE_MIN;
        }
    }

    /// The place is lost or was refused. False if the listener was no reservation.
    pub(super) fn lost(&mut self, listener: ListenerId, now: Instant) -> bool {
        let Some(place) = self.place(listener) else {
            return false;
        };
        place.listener = None;
        place.next = now + place.pause;
        place.pause = RESERVE_MAX.min(place.pause * 2);
        true
    }

    fn place(&mut self, listener: ListenerId) -> Option<&mut Place> {
        self.places
            .values_mut()
            .find(|place| place.listener == Some(listener))
    }
}

/// Operators through whom another one was not reached, or not for long. As many as there are operators at most.
#[derive(Debug, Default)]
pub(super) struct BadRelays(BTreeMap<u16, (Instant, Duration)>);

impl BadRelays {
    /// It connected this node with somebody else, or the circuit broke.
    pub(super) fn add(&mut self, relay: u16, now: Instant) {
        let before = self.0.get(&relay);
        let pause = before.map_or(BAD_MIN, |(_, pause)| BAD_MAX.min(*pause * 2));
        self.0.insert(relay, (now + pause, pause));
    }

    fn contains(&self, relay: u16, now: Instant) -> bool {
        self.0.get(&relay).is_some_and(|(until, _)| now < *until)
    }

    /// Whom to ask, of those who can be asked, beginning with a turn. One bad relay can be quicker than all good ones, and
    /// only the quickest counts: so bad ones are not asked together with others, nor with each other.
    fn choose<T: Clone>(&self, relays: &[(u16, T)], turn: usize, now: Instant) -> Vec<T> {
        let good: Vec<&T> = relays
            .iter()
            .filter(|(relay, _)| !self.contains(*relay, now))
            .map(|(_, relay)| relay)
            .collect();
        let (chosen, most) = if good.is_empty() {
            (relays.iter().map(|(_, relay)| relay).collect(), 1)
        } else {
            (good, ASKED)
        };
        let start = turn.checked_rem(chosen.len()).unwrap_or_default();
        let asked = chosen.iter().cycle().skip(start).take(chosen.len().min(most));
        asked.copied().cloned().collect()
    }
}

/// An address without peer ids, up to the circuit if there is one.
fn plain(address: &Multiaddr) -> Multiaddr {
    address
        .iter()
        .take_while(|part| *part != Part::P2pCircuit)
        .filter(|part| !matches!(part, Part::P2p(_)))
        .collect()
}

impl Operator {
    /// Where this operator relays, if there is a stream with it on a direct connection.
    fn relays_at(&self) -> Option<Multiaddr> {
        let live = self.session.as_ref()?;
        let mut connections = self.connections.iter();
        let connection = connections.find(|connection| connection.id == live.connection)?;
        (!connection.relayed()).then(|| {
            plain(&connection.remote)
                .with(Part::P2p(self.peer))
                .with(Part::P2pCircuit)
        })
    }
}

impl<P: Protocol> Node<P> {
    /// The operator who relays at this end of a circuit. Who is called learns the address of its connection with the
    /// relay, not always the peer id.
    pub(super) fn relay_in(&self, address: &Multiaddr) -> u16 {
        let place = plain(address);
        let named = address.iter().find_map(|part| match part {
            Part::P2p(peer) => self.by_peer.get(&peer),
            _ => None,
        });
        let mut operators = self.operators.iter();
        let mut there = || operators.find(|(_, o)| o.connections.iter().any(|c| plain(&c.remote) == place));
        // Only operators relay, so it is one of them.
        named
            .or_else(|| there().map(|(number, _)| number))
            .copied()
            .unwrap_or_default()
    }

    /// A circuit to an operator did not come about.
    pub(super) fn no_circuit(&mut self, number: u16, error: &DialError, now: Instant) {
        // Only the relay can have connected this node with somebody else, be it itself.
        let deceived = match error {
            DialError::WrongPeerId { obtained, address } => Some((Some(*obtained), address)),
            DialError::LocalPeerId { address } => Some((None, address)),
            _ => None,
        };
        let relay = deceived.map(|(_, address)| self.relay_in(address));
        if let Some(operator) = self.operators.get_mut(&number) {
            operator.circuit = None;
            if let Some(relay) = relay {
                tracing::warn!(
                    relay,
                    operator = number,
                    "a relay connected this node with somebody else"
                );
                operator.bad_relays.add(relay, now);
            }
        }
        if let Some((Some(obtained), address)) = deceived {
            self.stranger(obtained, address.clone(), now);
        }
    }

    /// Makes reservations that are needed and circuits that are missing.
    pub(super) fn relays_due(&mut self, now: Instant) {
        if self.reservations.enabled && self.stopping.is_none() {
            self.reserve(now);
            self.circuits(now);
        }
    }

    /// Places are needed while somebody who would dial circuits has no direct connection.
    fn reserve(&mut self, now: Instant) {
        if self
            .operators
            .values()
            .all(|operator| operator.opener || operator.directly())
        {
            return;
        }
        for (number, operator) in &self.operators {
            if !self.reservations.due(*number, now) {
                continue;
            }
            let Some(address) = operator.relays_at() else {
                continue;
            };
            // One listener at a time for each relay, and only libp2p closes it: it counts on both.
            match self.swarm.listen_on(address) {
                Ok(listener) => self.reservations.asked(*number, listener, now),
                Err(error) => tracing::debug!(operator = number, %error, "no reservation"),
            }
        }
    }

    fn circuits(&mut self, now: Instant) {
        let open = self
            .operators
            .values()
            .filter(|operator| operator.circuit.is_some())
            .count();
        let mut free = CIRCUITS_AT_ONCE.saturating_sub(open);
        if !self
            .operators
            .values()
            .any(|operator| operator.wants_circuit(now))
        {
            return;
        }
        let relays: Vec<(u16, Multiaddr)> = self
            .operators
            .iter()
            .filter_map(|(number, operator)| Some((*number, operator.relays_at()?)))
            .collect();
        if relays.is_empty() {
            return;
        }
        for operator in self.operators.values_mut() {
            if free == 0 || !operator.wants_circuit(now) {
                continue;
            }
            // At random: turns of several operators could keep step with the number of relays.
            let turn = usize::from(rand::random::<u16>());
            let options = DialOpts::peer_id(operator.peer)
                .condition(PeerCondition::Always)
                .addresses(operator.bad_relays.choose(&relays, turn, now))
                .build();
            let id = options.connection_id();
            operator.circuit_at = now + AGAIN + AGAIN.mul_f64(f64::from(rand::random::<u8>()) / 512.0);
            if self.swarm.dial(options).is_ok() {
                operator.circuit = Some(id);
                free -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_passes_on_badly_is_asked_alone_and_last() {
        let now = Instant::now();
        let relays: Vec<(u16, u16)> = (1..=6).map(|relay| (relay, relay)).collect();
        let mut bad = BadRelays::default();
        assert_eq!(bad.choose(&relays, 4, now), [5, 6, 1, 2]);
        assert!(bad.choose::<u16>(&[], 4, now).is_empty());
        for relay in [1, 5, 6] {
            bad.add(relay, now);
        }
        assert_eq!(bad.choose(&relays, 4, now), [3, 4, 2]);
        for relay in 2..=4 {
            bad.add(relay, now);
        }
        let asked: Vec<Vec<u16>> = (0..6).map(|turn| bad.choose(&relays, turn, now)).collect();
        assert_eq!(asked, [[1], [2], [3], [4], [5], [6]]);
        // It is given another chance, later and later.
        bad.add(1, now);
        let later = now + BAD_MIN;
        assert_eq!(bad.choose(&relays, 0, later), [2, 3, 4, 5]);
        assert_eq!(bad.choose(&relays, 0, now + 2 * BAD_MIN), [1, 2, 3, 4]);
        for _ in 0..20 {
            bad.add(1, now);
        }
        assert_eq!(bad.choose(&relays, 0, now + BAD_MAX), [1, 2, 3, 4]);
    }
}
