//! The door: how many callers may be in the middle of a handshake.
//!
//! Until its handshake is done nobody knows who a caller is, and each handshake costs a place. So that a stranger who opens
//! connections and says nothing does not keep the operators out:
//!
//! * a handshake has [`HANDSHAKE`], and there are [`PLACES`]. A caller is new for [`FRESH`], in which honest ones are done: many
//!   who come at once behind one router or one proxy all get in. Who takes longer keeps one of the [`PLACES_EACH`] places of its
//!   network, and the one that has had it longest gives way to another;
//! * a new caller is never turned away: when all places are taken, one gives way, at random: of the network that has the most slow
//!   ones, or new ones beyond a [`CROWD`], if those are more than [`PLACES_EACH`], else of all.
//!   Whoever wants to keep all places must call more often than an operator needs for a handshake, from as many networks as there are
//!   places, and then still loses to whoever tries again;
//! * callers from the addresses of operators have places of their own, [`PLACES_EACH_OPERATOR`] for each operator there. What names of
//!   operators' machines stand for is looked up;
//! * UDP has other places than TCP: where its packets come from can be forged.
//!
//! This is a transport around those of TCP and QUIC. Circuits need none: only operators relay, for operators.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{AbortHandle, Abortable, BoxFuture},
};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent},
};

use crate::book::{Host, ip_of, reaches_beyond_this_machine};

/// Handshakes that may be under way: so many with callers from addresses that no operator is known at, as many again with
/// those from known ones, each for TCP and for UDP.
const PLACES: usize = 256;
/// Of these with one network of strangers whose handshakes take long: an IPv4 /24, an IPv6 /48.
const PLACES_EACH: usize = 8;
/// So many may come at once from one network without being to blame for anything: a whole group behind one router.
const CROWD: usize = 64;
/// A handshake takes no longer than this, unless something is wrong, or far away.
const FRESH: Duration = Duration::from_secs(1);
/// Of these with one known address, for each operator there. Strangers may live at the same address.
const PLACES_EACH_OPERATOR: usize = 64;
/// What a caller has for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// What a name stands for is looked up again after this.
const NAMES_STAY: Duration = Duration::from_secs(300);
/// A name stands for so many addresses at most.
const MAX_ADDRESSES: usize = 8;
/// So many names are looked up at most. There are 64 operators, each with a few.
const MAX_NAMES: usize = 512;

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

    /// Where operators are known to be: all of it. What several operators have is named several times.
    pub(super) fn know(&self, operators: impl Iterator<Item = Host>) {
        let now = Instant::now();
        let names = self.with(|places| places.know(operators, now));
        if names.is_empty() {
            return;
        }
        let door = self.clone();
        // A name server may take its time, and nobody waits for this thread.
        let looking = std::thread::Builder::new().name("names".into()).spawn(move || {
            for name in names {
                let found = (name.as_str(), 0).to_socket_addrs();
                let found = found.into_iter().flatten().map(|address| address.ip());
                // Who calls from this machine may come through a proxy on it: no name makes that an operator's place.
                let elsewhere = found.filter(|ip| reaches_beyond_this_machine(*ip));
                let found = elsewhere.take(MAX_ADDRESSES).collect();
                door.with(|places| places.found(&name, found));
            }
            door.with(|places| places.looking = false);
        });
        if looking.is_err() {
            self.with(|places| places.looking = false);
        }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Places) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The handshake of a caller, for as long as it has a place.
    fn enter<O: Send + 'static>(
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
        let door = self.clone();
        async move {
            let _place = place;
            let mut handshake = std::pin::pin!(handshake);
            let begun = tokio::time::Instant::now();
            let ended = if let Ok(ended) = tokio::time::timeout(FRESH, handshake.as_mut()).await {
                Ok(ended)
            } else {
                door.with(|places| places.is_slow(number));
                tokio::time::timeout_at(begun + HANDSHAKE, handshake).await
            };
            match ended {
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

impl<O: Send + 'static> Transport for Guarded<O> {
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Its handshake takes long.
    slow: bool,
    abort: AbortHandle,
}

/// What a name stands for.
#[derive(Debug)]
struct Name {
    /// The addresses that were found last.
    ips: Vec<IpAddr>,
    /// When it is looked up again.
    again: Instant,
}

/// Who is in the middle of a handshake.
#[derive(Debug, Default)]
struct Places {
    /// How many operators are at an address.
    known: BTreeMap<IpAddr, usize>,
    names: BTreeMap<String, Name>,
    /// A thread looks up names.
    looking: bool,
    /// In the order in which they came.
    taken: Vec<Place>,
    last: u64,
}

impl Places {
    /// Where operators are. Gives the names that are to be looked up by the caller, who says when that is done.
    fn know(&mut self, operators: impl Iterator<Item = Host>, now: Instant) -> Vec<String> {
        self.known.clear();
        let mut named = BTreeSet::new();
        for host in operators {
            match host {
                Host::Ip(ip) => *self.known.entry(home(ip)).or_default() += 1,
                Host::Name(name) => {
                    let homes: BTreeSet<IpAddr> = self
                        .names
                        .get(&name)
                        .into_iter()
                        .flat_map(|name| &name.ips)
                        .map(|ip| home(*ip))
                        .collect();
                    for home in homes {
                        *self.known.entry(home).or_default() += 1;
                    }
                    if named.len() < MAX_NAMES {
                        named.insert(name);
                    }
                }
            }
        }
        self.names.retain(|name, _| named.contains(name));
        let due = |name: &String| self.names.get(name).is_none_or(|name| now >= name.again);
        let due: Vec<String> = if self.looking {
            Vec::new()
        } else {
            named.into_iter().filter(due).collect()
        };
        for name in &due {
            let again = now + NAMES_STAY;
            let new = || Name {
                ips: Vec::new(),
                again,
            };
            self.names.entry(name.clone()).or_insert_with(new).again = again;
        }
        self.looking |= !due.is_empty();
        due
    }

    /// What a name stands for. While nothing is found, it stands for what it did.
    fn found(&mut self, name: &str, ips: Vec<IpAddr>) {
        if let Some(name) = self.names.get_mut(name).filter(|_| !ips.is_empty()) {
            name.ips = ips;
        }
    }

    /// Takes a place, if need be of another caller, which `choose` chooses of so many. Returns the number of the place.
    fn enter(&mut self, caller: &Multiaddr, abort: AbortHandle, choose: impl Fn(usize) -> usize) -> u64 {
        let udp = caller
            .iter()
            .any(|part| matches!(part, libp2p::multiaddr::Protocol::Udp(_)));
        let ip = ip_of(caller).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let (source, most) = match self.known.get(&home(ip)) {
            Some(operators) => (Source::Operators(home(ip)), operators * PLACES_EACH_OPERATOR),
            None => (Source::Network(network(ip)), PLACES),
        };
        let hall = (udp, matches!(source, Source::Operators(_)));
        self.make_room(
            most,
            |place| place.hall == hall && place.source == source,
            &choose,
        );
        let here = |place: &&Place| place.hall == hall;
        if self.taken.iter().filter(here).count() >= PLACES {
            let mut counts: BTreeMap<Source, (usize, usize)> = BTreeMap::new();
            for place in self.taken.iter().filter(here) {
                let (slow, new) = counts.entry(place.source).or_default();
                *(if place.slow { slow } else { new }) += 1;
            }
            // Those who have just come keep nobody out, unless they are too many.
            let weight = |(slow, new): &(usize, usize)| slow + new.saturating_sub(CROWD);
            let most = counts.values().map(weight).max().unwrap_or_default();
            // Few from one network are no reason to think that it is to blame.
            let one_of =
                |place: &Place| most <= PLACES_EACH || counts.get(&place.source).map(weight) == Some(most);
            self.make_room(1, |place| place.hall == hall && one_of(place), &choose);
        }
        self.last += 1;
        self.taken.push(Place {
            number: self.last,
            hall,
            source,
            slow: false,
            abort,
        });
        self.last
    }

    /// This handshake takes long. Few of one network of strangers may.
    fn is_slow(&mut self, number: u64) {
        let Some(place) = self.taken.iter_mut().find(|place| place.number == number) else {
            return;
        };
        place.slow = true;
        let (hall, source) = (place.hall, place.source);
        if matches!(source, Source::Network(_)) {
            self.make_room(
                PLACES_EACH + 1,
                |place| place.slow && place.hall == hall && place.source == source,
                // Whoever has needed longest will hardly be ready next.
                |_| 0,
            );
        }
    }

    /// One of these gives way if there are so many, the one that `choose` chooses: 0 is the one that came first.
    fn make_room(&mut self, most: usize, these: impl Fn(&Place) -> bool, choose: impl Fn(usize) -> usize) {
        let there: Vec<usize> = (0..)
            .zip(&self.taken)
            .filter(|(_, p)| these(p))
            .map(|(at, _)| at)
            .collect();
        if there.len() >= most
            && let Some(at) = there.get(choose(there.len()))
        {
            self.taken.remove(*at).abort.abort();
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

        /// All handshakes take long.
        fn all_are_slow(&mut self) {
            let numbers: Vec<u64> = self.places.taken.iter().map(|place| place.number).collect();
            for number in numbers {
                self.places.is_slow(number);
            }
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
    fn slow_callers_of_one_network_have_eight_places() {
        let mut calls = Calls::default();
        for from in ["/ip4/9.9.8.1/tcp/1", "/ip6/2001:db8:1:ff::1/tcp/1"] {
            calls.call(from);
            calls.all_are_slow();
        }
        for i in 0..100 {
            calls.call(&format!("/ip4/9.9.9.{i}/tcp/{}", i + 1));
            calls.call(&format!("/ip6/2001:db8:2:{i}::1/tcp/{}", i + 1));
        }
        assert_eq!(calls.there("/ip4/9.9.9.") + calls.there("/ip6/2001:db8:2:"), 200);
        calls.all_are_slow();
        assert_eq!(calls.there("/ip4/9.9.9."), PLACES_EACH);
        assert_eq!(calls.there("/ip6/2001:db8:2:"), PLACES_EACH);
        assert_eq!(calls.there("/ip4/9.9.8.1/"), 1);
        assert_eq!(calls.there("/ip6/2001:db8:1:"), 1);
        // Whoever comes now comes in, for a while.
        calls.call("/ip4/9.9.9.200/tcp/1");
        assert_eq!(calls.there("/ip4/9.9.9.200/"), 1);
        assert_eq!(calls.there("/ip4/9.9.9."), PLACES_EACH + 1);
        // The same address, written in another way.
        for i in 0..10 {
            calls.call(&format!("/ip6/::ffff:9.9.8.2/tcp/{}", i + 1));
        }
        calls.all_are_slow();
        assert_eq!(
            calls.there("/ip4/9.9.8.1/") + calls.there("/ip6/::ffff:"),
            PLACES_EACH
        );
    }

    #[test]
    fn a_whole_group_behind_one_router_comes_in_at_once() {
        let mut calls = Calls::default();
        for proxy in ["/ip4/172.17.0.1", "/ip4/100.64.0.7", "/ip4/127.0.0.1", "/ip6/::1"] {
            for i in 0..63 {
                calls.call(&format!("{proxy}/tcp/{}", i + 1));
            }
            assert_eq!(calls.there(proxy), 63);
        }
    }

    #[test]
    fn of_the_slow_of_one_network_the_one_that_came_first_gives_way() {
        let mut calls = Calls::default();
        for i in 1..=PLACES_EACH + 3 {
            calls.call(&format!("/ip4/9.9.9.{i}/tcp/1"));
            // Another network's, whose places the first one's are mixed with.
            calls.call(&format!("/ip4/7.7.{i}.7/tcp/1"));
        }
        calls.all_are_slow();
        for i in 1..=PLACES_EACH + 3 {
            let is_there = calls.there(&format!("/ip4/9.9.9.{i}/")) == 1;
            assert_eq!(is_there, i > 3, "{i}");
        }
    }

    #[test]
    fn a_crowd_behind_one_router_is_not_to_blame_for_slow_strangers_everywhere() {
        let mut calls = Calls::default();
        for i in 0..PLACES - 63 {
            calls.call(&format!("/ip4/8.{}.9.9/tcp/1", i / 4));
        }
        calls.all_are_slow();
        for i in 0..63 {
            calls.call(&format!("/ip4/9.9.9.9/tcp/{}", i + 1));
        }
        // Everybody may have to give way now, and the first is none of the crowd.
        for i in 0..30 {
            calls.call(&format!("/ip4/{}.7.7.7/tcp/1", i + 20));
        }
        assert_eq!(calls.there("/ip4/9.9.9.9/"), 63);
        // More than a group can be are no group.
        for i in 63..200 {
            calls.call(&format!("/ip4/9.9.9.9/tcp/{}", i + 1));
        }
        assert_eq!(calls.there("/ip4/9.9.9.9/"), CROWD + PLACES_EACH + 1);
    }

    #[test]
    fn two_neighbours_count_no_less_than_strangers_from_everywhere() {
        let mut calls = Calls::default();
        for i in 0..PLACES - 2 {
            calls.call(&format!("/ip4/{}.{}.9.9/tcp/1", i / 250 + 1, i % 250));
        }
        calls.call("/ip4/9.9.8.1/tcp/1");
        calls.call("/ip4/9.9.8.2/tcp/1");
        // The first who may has to give way, and none of these is first.
        calls.call("/ip4/77.7.7.7/tcp/1");
        assert_eq!(calls.there("/ip4/9.9.8."), 2);
    }

    #[test]
    fn one_network_cannot_fill_the_hall_against_others() {
        let mut calls = Calls::default();
        calls.call("/ip4/9.9.8.1/tcp/1");
        for i in 0..2000 {
            calls.call(&format!("/ip4/9.9.9.9/tcp/{}", i + 1));
            if i % 500 == 250 {
                calls.call(&format!("/ip4/8.8.8.8/tcp/{i}"));
            }
        }
        assert_eq!(calls.there("/ip4/9.9.8.1/"), 1);
        assert_eq!(calls.there("/ip4/8.8.8.8/"), 4);
        assert_eq!(calls.there("/ip4/9.9.9.9/"), PLACES - 5);
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
        door.know(
            operators
                .iter()
                .map(|ip| Host::Ip(ip.parse().expect("an address"))),
        );
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

    #[test]
    fn names_of_operators_are_looked_up() {
        let door = Door::default();
        let named = || {
            [
                "localhost",
                "127.0.0.2",
                "::1",
                "0.0.0.0",
                "192.0.2.7",
                "nobody.invalid",
            ]
            .map(|name| Host::Name(name.into()))
            .into_iter()
        };
        let begun = Instant::now();
        // Two operators in one house.
        while door.with(|places| places.known.len()) == 0 {
            door.know(named().chain(named()));
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "an address stands for itself"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        door.with(|places| {
            // Whoever comes through a proxy on this machine is no operator for that.
            let there = BTreeMap::from([(Ipv4Addr::new(192, 0, 2, 7).into(), 2)]);
            assert_eq!(places.known, there);
        });
        let mut places = Places::default();
        let name = || std::iter::once(Host::Name("a.example".into()));
        assert_eq!(places.know(name(), begun), ["a.example"]);
        assert!(places.know(name(), begun).is_empty(), "it is being looked up");
        places.found("a.example", vec![Ipv4Addr::new(9, 9, 9, 9).into()]);
        places.looking = false;
        assert!(places.know(name(), begun + NAMES_STAY / 2).is_empty());
        assert_eq!(places.known.len(), 1);
        assert_eq!(places.know(name(), begun + NAMES_STAY), ["a.example"]);
        places.found("a.example", Vec::new());
        places.looking = false;
        places.know(name(), begun + NAMES_STAY);
        assert_eq!(places.known.len(), 1, "the name server is gone for a while");
        places.know(std::iter::empty(), begun + NAMES_STAY);
        assert!(places.known.is_empty() && places.names.is_empty());
        // Nobody makes us look up without end.
        let many = (0..10_000).map(|i| Host::Name(format!("{i}.example")));
        assert_eq!(places.know(many, begun).len(), MAX_NAMES);
    }

    async fn quick_one() -> io::Result<u8> {
        tokio::time::sleep(FRESH / 10).await;
        Ok(7)
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
        // A crowd that is quick, and one that is not.
        let quick: Vec<_> = (0..100)
            .map(|_| tokio::spawn(door.enter(&caller, quick_one().boxed())))
            .collect();
        for caller in quick {
            assert_eq!(caller.await.expect("it ends").ok(), Some(7));
        }
        let slow: Vec<_> = (0..100)
            .map(|_| tokio::spawn(door.enter(&caller, futures::future::pending::<io::Result<()>>().boxed())))
            .collect();
        assert_eq!(taken(), 100);
        tokio::time::sleep(FRESH * 2).await;
        assert_eq!(taken(), PLACES_EACH);
        drop(slow);
    }
}
