//! The door: how many callers may be in the middle of a handshake.
//!
//! Until its handshake is done nobody knows who a caller is, and each handshake costs a place. So that a stranger who opens
//! connections and says nothing does not keep the operators out:
//!
//! * a handshake has [`HANDSHAKE`], and one network has [`PLACES_EACH`] places of [`PLACES`];
//! * a new caller is never turned away: when all places that it could have are taken, one of those who are there gives way, at
//!   random. Whoever wants to keep all places must call more often than an operator needs for a handshake, and then
//!   still loses to whoever tries again;
//! * callers from the addresses of operators have places of their own, [`PLACES_EACH_OPERATOR`] for each operator there;
//! * UDP has other places than TCP: where its packets come from can be forged.
//!
//! This is a transport around those of TCP and QUIC. Circuits need none: only operators relay, for operators.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{AbortHandle, Abortable, BoxFuture},
};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent},
};

use crate::p2p::book::ip_of;

/// Handshakes that may be under way: so many with callers from addresses that no operator is known at, as many again with
/// those from known ones, each for TCP and for UDP.
const PLACES: usize = 256;
/// Of these with one network of strangers: an IPv4 /24, an IPv6 /48.
const PLACES_EACH: usize = 8;
/// Of these with one known address, for each operator there. Strangers may live at the same address.
const PLACES_EACH_OPERATOR: usize = 64;
/// What a caller has for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The door of one node.
#[derive(Clone, Default)]
pub(super) struct Door(Arc<Mutex<Places>>);

impl Door {
    /// Lets callers in through the door.
    pub(super) fn before<O>(&self, transport: Boxed<O>) -> Guarded<O> {
        Guarded {
            transport,
            door: self.clone(),
        }
    }

    /// Where operators are known to be: all of it. An address that several operators have is named several times.
    pub(super) fn know(&self, operators: impl Iterator<Item = IpAddr>) {
        let mut known = BTreeMap::new();
        for ip in operators {
            *known.entry(home(ip)).or_default() += 1;
        }
        self.with(|places| places.known = known);
    }

    fn with<T>(&self, act: impl FnOnce(&mut Places) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The handshake of a caller, for as long as it has a place.
    fn enter<O: 'static>(
        &self,
        caller: &Multiaddr,
        handshake: BoxFuture<'static, io::Result<O>>,
    ) -> BoxFuture<'static, io::Result<O>> {
        let (abort, registration) = AbortHandle::new_pair();
        let number = self.with(|places| places.enter(caller, abort, |count| rand::random_range(..count)));
        let place = Held {
            number,
            door: self.clone(),
        };
        let handshake = Abortable::new(handshake, registration);
        async move {
            let _place = place;
            match tokio::time::timeout(HANDSHAKE, handshake).await {
                Ok(Ok(ended)) => ended,
                Ok(Err(_)) => Err(io::Error::other("another caller got its place")),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        }
        .boxed()
    }
}

/// Free again when dropped.
struct Held {
    number: u64,
    door: Door,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.door.with(|places| places.leave(self.number));
    }
}

/// A transport behind the door.
pub(super) struct Guarded<O> {
    transport: Boxed<O>,
    door: Door,
}

impl<O: 'static> Transport for Guarded<O> {
    type Output = O;
    type Error = io::Error;
    type ListenerUpgrade = BoxFuture<'static, io::Result<O>>;
    type Dial = <Boxed<O> as Transport>::Dial;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<io::Error>> {
        self.transport.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.transport.remove_listener(id)
    }

    fn dial(
        &mut self,
        address: Multiaddr,
        options: DialOpts,
    ) -> Result<Self::Dial, TransportError<io::Error>> {
        self.transport.dial(address, options)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, io::Error>> {
        let event = std::task::ready!(Pin::new(&mut self.transport).poll(context));
        Poll::Ready(match event {
            TransportEvent::Incoming {
                listener_id,
                upgrade,
                local_addr,
                send_back_addr,
            } => TransportEvent::Incoming {
                listener_id,
                upgrade: self.door.enter(&send_back_addr, upgrade),
                local_addr,
                send_back_addr,
            },
            other => other,
        })
    }
}

/// Whence somebody calls, as places are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The network of a stranger: the first address of it.
    Network(IpAddr),
    /// An address that operators have.
    Operators(IpAddr),
}

/// Callers that compete for places.
type Hall = (bool, bool);

#[derive(Debug)]
struct Place {
    number: u64,
    hall: Hall,
    source: Source,
    abort: AbortHandle,
}

/// Who is in the middle of a handshake.
#[derive(Debug, Default)]
struct Places {
    /// How many operators are at an address.
    known: BTreeMap<IpAddr, usize>,
    taken: Vec<Place>,
    last: u64,
}

impl Places {
    /// Takes a place, if need be of another caller, which `choose` chooses of so many. Returns the number of the place.
    fn enter(&mut self, caller: &Multiaddr, abort: AbortHandle, choose: impl Fn(usize) -> usize) -> u64 {
        let udp = caller
            .iter()
            .any(|part| matches!(part, libp2p::multiaddr::Protocol::Udp(_)));
        let ip = ip_of(caller).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let (source, most) = match self.known.get(&home(ip)) {
            Some(operators) => (Source::Operators(home(ip)), operators * PLACES_EACH_OPERATOR),
            None => (Source::Network(network(ip)), PLACES_EACH),
        };
        let hall = (udp, matches!(source, Source::Operators(_)));
        self.make_room(
            most,
            |place| place.hall == hall && place.source == source,
            &choose,
        );
        self.make_room(PLACES, |place| place.hall == hall, &choose);
        self.last += 1;
        self.taken.push(Place {
            number: self.last,
            hall,
            source,
            abort,
        });
        self.last
    }

    /// One of these gives way if there are so many.
    fn make_room(&mut self, most: usize, these: impl Fn(&Place) -> bool, choose: impl Fn(usize) -> usize) {
        let there: Vec<usize> = (0..)
            .zip(&self.taken)
            .filter(|(_, p)| these(p))
            .map(|(at, _)| at)
            .collect();
        if there.len() >= most
            && let Some(at) = there.get(choose(there.len()))
        {
            self.taken.swap_remove(*at).abort.abort();
        }
    }

    fn leave(&mut self, number: u64) {
        self.taken.retain(|place| place.number != number);
    }
}

/// What one household or company has: an IPv4 address, an IPv6 /64.
fn home(ip: IpAddr) -> IpAddr {
    masked(ip, 32, 64)
}

/// What is easily had by one: an IPv4 /24, an IPv6 /48.
fn network(ip: IpAddr) -> IpAddr {
    masked(ip, 24, 48)
}

fn masked(ip: IpAddr, bits4: u32, bits6: u32) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & (u32::MAX << (32 - bits4))).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << (128 - bits6))).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Callers, each with the handle that tells whether it had to give way.
    #[derive(Default)]
    struct Calls {
        places: Places,
        callers: Vec<(String, u64, AbortHandle)>,
    }

    impl Calls {
        /// Somebody calls; the first who may has to give way.
        fn call(&mut self, from: &str) {
            let (abort, _) = AbortHandle::new_pair();
            let address = from.parse().expect("a multiaddr");
            let number = self.places.enter(&address, abort.clone(), |_| 0);
            self.callers.push((from.to_owned(), number, abort));
        }

        /// How many are there whose address begins like this.
        fn there(&self, start: &str) -> usize {
            let there = |(from, number, abort): &&(String, u64, AbortHandle)| {
                let held = self.places.taken.iter().any(|place| place.number == *number);
                assert_eq!(held, !abort.is_aborted(), "who loses the place is told");
                held && from.starts_with(start)
            };
            self.callers.iter().filter(there).count()
        }
    }

    #[test]
    fn one_network_has_eight_places_and_the_newest_always_gets_one() {
        let mut calls = Calls::default();
        calls.call("/ip4/9.9.8.1/tcp/1");
        calls.call("/ip6/2001:db8:1:ff::1/tcp/1");
        for i in 0..200 {
            calls.call(&format!("/ip4/9.9.9.{i}/tcp/{}", i + 1));
            calls.call(&format!("/ip6/2001:db8:2:{i}::1/tcp/{}", i + 1));
        }
        assert_eq!(calls.there("/ip4/9.9.9."), PLACES_EACH);
        assert_eq!(calls.there("/ip4/9.9.9.199/"), 1);
        assert_eq!(calls.there("/ip6/2001:db8:2:"), PLACES_EACH);
        assert_eq!(calls.there("/ip6/2001:db8:2:199::1/"), 1);
        assert_eq!(calls.there("/ip4/9.9.8.1/"), 1);
        assert_eq!(calls.there("/ip6/2001:db8:1:"), 1);
        // The same address, written in another way.
        for i in 0..10 {
            calls.call(&format!("/ip6/::ffff:9.9.8.2/tcp/{}", i + 1));
        }
        assert_eq!(
            calls.there("/ip4/9.9.8.1/") + calls.there("/ip6/::ffff:"),
            PLACES_EACH
        );
    }

    #[test]
    fn all_networks_together_have_so_many_places_and_the_newest_always_gets_one() {
        let mut calls = Calls::default();
        for i in 0..1000 {
            calls.call(&format!("/ip4/{}.{}.9.9/tcp/1", i / 250 + 1, i % 250));
        }
        assert_eq!(calls.there("/ip4/"), PLACES);
        assert_eq!(calls.there("/ip4/4.249.9.9/"), 1);
        // UDP takes nothing from TCP.
        for i in 0..1000 {
            calls.call(&format!("/ip4/{}.{}.9.8/udp/1/quic-v1", i / 250 + 1, i % 250));
        }
        assert_eq!(calls.there("/ip4/"), 2 * PLACES);
    }

    #[test]
    fn operators_have_places_of_their_own() {
        let mut calls = Calls::default();
        let operators = ["9.9.9.9", "9.9.9.9", "2001:db8::1"];
        let door = Door(Arc::new(Mutex::new(std::mem::take(&mut calls.places))));
        door.know(operators.iter().map(|ip| ip.parse().expect("an address")));
        calls.places = door.with(std::mem::take);
        calls.call("/ip4/9.9.9.9/tcp/1");
        calls.call("/ip6/2001:db8::ffff/tcp/1");
        for i in 0..1000 {
            calls.call(&format!("/ip4/{}.{}.9.9/tcp/1", i / 250 + 10, i % 250));
            calls.call(&format!("/ip4/9.9.9.8/tcp/{}", i + 1));
        }
        assert_eq!(calls.there("/ip4/9.9.9.9/") + calls.there("/ip6/"), 2);
        // A stranger at one operator's address leaves the others theirs.
        for i in 0..1000 {
            calls.call(&format!("/ip4/9.9.9.9/tcp/{}", i + 1));
        }
        assert_eq!(calls.there("/ip4/9.9.9.9/"), 2 * PLACES_EACH_OPERATOR);
        assert_eq!(calls.there("/ip6/"), 1);
    }

    #[tokio::test]
    async fn a_place_is_free_when_the_handshake_is_over_in_whatever_way() {
        let door = Door::default();
        let caller = "/ip4/9.9.9.9/tcp/1".parse().expect("a multiaddr");
        let taken = || door.with(|places| places.taken.len());
        let silent = door.enter(&caller, futures::future::pending::<io::Result<()>>().boxed());
        let quick = door.enter(&caller, futures::future::ready(Ok(7)).boxed());
        let forgotten = door.enter(&caller, futures::future::ready(Ok(7)).boxed());
        assert_eq!(taken(), 3);
        drop(forgotten);
        assert_eq!(quick.await.ok(), Some(7));
        assert_eq!(taken(), 1);
        let begun = std::time::Instant::now();
        let error = silent.await.expect_err("nobody answers");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(begun.elapsed() >= HANDSHAKE, "{:?}", begun.elapsed());
        assert_eq!(taken(), 0);
        let silent = door.enter(&caller, futures::future::pending::<io::Result<()>>().boxed());
        for _ in 0..200 {
            drop(tokio::spawn(door.enter(
                &caller,
                futures::future::pending::<io::Result<()>>().boxed(),
            )));
        }
        assert!(silent.await.is_err(), "it gives way to somebody");
        assert_eq!(taken(), PLACES_EACH);
    }
}
