//! Where operators may be reached: what is believed of whom, what is tried when, what is told to whom.
//!
//! Peers may claim any address for anybody. The identity behind an address is checked by the handshake, so a
//! wrong claim costs a dial; the number of claims is bounded, and addresses of one's own machine or private network
//! are believed only if they come from there.
//!
//! What somebody says of somebody else, a peer or the user, is tried and goes no further: only what an operator says of itself, and where it
//! was reached, is told to others and kept for later. Otherwise a wrong address would go round the group for ever.

use std::{
    cmp::Reverse,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

use super::courtesy::{MAX_ADDRESS, MAX_ADDRESSES};

/// An address that did not answer is left out for this long at first, and for [`SLOW_MAX`] in the end.
const SLOW_MIN: Duration = Duration::from_secs(20);
const SLOW_MAX: Duration = Duration::from_secs(300);

/// How far an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// This machine only.
    Machine,
    /// A private network.
    Private,
    /// Everywhere, as far as one can tell.
    World,
}

/// The scope of an IP address; `None` if nobody can be dialled there.
fn scope_of(ip: IpAddr) -> Option<Scope> {
    let ip = ip.to_canonical();
    if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return None;
    }
    if ip.is_loopback() {
        return Some(Scope::Machine);
    }
    match ip {
        IpAddr::V4(ip) => Some(if ip.is_private() || ip.is_link_local() {
            Scope::Private
        } else {
            Scope::World
        }),
        // A link-local address means nothing without the name of an interface.
        IpAddr::V6(ip) if ip.is_unicast_link_local() => None,
        IpAddr::V6(ip) => Some(if ip.is_unique_local() {
            Scope::Private
        } else {
            Scope::World
        }),
    }
}

/// Whether somebody else than this machine may be at an IP address.
pub(super) fn reaches_beyond_this_machine(ip: IpAddr) -> bool {
    scope_of(ip).is_some_and(|scope| scope > Scope::Machine)
}

/// Ends of names that mean something in one network only: `.local` is for multicast (RFC 6762), `.internal`, `.home.arpa` (RFC 8375) and the
/// others (appendix G of RFC 6762) are what routers and companies name their own machines with, known to no name server of the world. Those
/// of some usual routers are there, too, and lead to somebody else's machine, if anywhere, outside of the home.
const PRIVATE_NAMES: [&str; 13] = [
    "local",
    "localdomain",
    "lan",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "corp",
    "private",
    "fritz.box",
    "easy.box",
    "o2.box",
    "speedport.ip",
];

/// The scope of a name: what means something else in each network, or on each machine, reaches no further than that. `None` if nobody can be
/// dialled there.
fn scope_of_name(name: &str) -> Option<Scope> {
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    // The resolver takes it for what it looks like.
    if let Ok(ip) = name.parse() {
        return scope_of(ip);
    }
    let under = |end: &str| {
        name.strip_suffix(end)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    Some(if under("localhost") {
        Scope::Machine
    } else if !name.contains('.') || PRIVATE_NAMES.iter().any(|end| under(end)) {
        Scope::Private
    } else {
        Scope::World
    })
}

/// The IP address in an address, if it is not one with a name.
pub(super) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    let ip = address.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    });
    ip.map(|ip| ip.to_canonical())
}

/// The machine in an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Host {
    Ip(IpAddr),
    /// A name that stands for IP addresses.
    Name(String),
}

/// The machine in an address, if there is one.
pub(super) fn host_of(address: &Multiaddr) -> Option<Host> {
    let name = || {
        address.iter().find_map(|part| match part {
            Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => {
                Some(Host::Name(name.to_ascii_lowercase()))
            }
            _ => None,
        })
    };
    ip_of(address).map(Host::Ip).or_else(name)
}

/// The scope of the other end of a connection.
pub(super) fn scope_of_remote(address: &Multiaddr) -> Scope {
    match ip_of(address) {
        Some(ip @ IpAddr::V6(_)) if ip != IpAddr::V6(Ipv6Addr::LOCALHOST) && scope_of(ip).is_none() => {
            Scope::Private
        }
        ip => ip.and_then(scope_of).unwrap_or(Scope::World),
    }
}

/// An address that can be dialled: `/ip4|ip6|dns../../tcp/..` or `/../udp/../quic-v1`, the peer id split off.
/// `None` for anything else.
pub(super) fn dialable(address: &Multiaddr) -> Option<(Multiaddr, Scope, Option<PeerId>)> {
    if address.len() > MAX_ADDRESS {
        return None;
    }
    let mut parts = address.iter();
    let mut plain = Multiaddr::empty();
    let host = parts.next()?;
    let scope = match &host {
        Protocol::Ip4(ip) => scope_of(IpAddr::V4(*ip))?,
        Protocol::Ip6(ip) => scope_of(IpAddr::V6(*ip))?,
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => scope_of_name(name)?,
        _ => return None,
    };
    plain.push(host);
    match parts.next()? {
        Protocol::Tcp(port) if port != 0 => plain.push(Protocol::Tcp(port)),
        Protocol::Udp(port) if port != 0 && parts.next()? == Protocol::QuicV1 => {
            plain.push(Protocol::Udp(port));
            plain.push(Protocol::QuicV1);
        }
        _ => return None,
    }
    let peer = match parts.next() {
        None => None,
        Some(Protocol::P2p(peer)) => Some(peer),
        Some(_) => return None,
    };
    parts.next().is_none().then_some((plain, scope, peer))
}

/// How an address is known, the least believable first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    /// Somebody else said so.
    Hearsay,
    /// It was believed at an earlier start.
    Earlier,
    /// The operator itself said so.
    Own,
}

#[derive(Debug, Clone)]
struct Known {
    address: Multiaddr,
    scope: Scope,
    /// Given by the user of this node, never forgotten.
    given: bool,
    /// `None` if only the user said so, or it was only reached there.
    word: Option<Word>,
    /// Somebody of the right identity was there.
    proven: bool,
    slow: Option<(Instant, Duration)>,
}

/// The addresses of one operator.
#[derive(Debug, Clone, Default)]
pub(super) struct Addresses(Vec<Known>);

impl Addresses {
    /// Adds an address that the user gave. True if it is new.
    pub(super) fn give(&mut self, address: &Multiaddr) -> bool {
        self.add(address, Scope::Machine, None)
    }

    /// Adds an address that the operator itself, in that scope, says it has. True if that is news.
    pub(super) fn say(&mut self, address: &Multiaddr, from: Scope) -> bool {
        self.add(address, from, Some(Word::Own))
    }

    /// Takes the list of all addresses that the operator itself, in that scope, says it has now. What it said before and does not say any more
    /// is forgotten, unless it was reached there or the user gave it: whoever moves is where it says now. What reaches less far than that
    /// scope it would not have told. True if anything is news.
    pub(super) fn say_all(&mut self, list: &[Multiaddr], from: Scope) -> bool {
        let now: Vec<Multiaddr> = list
            .iter()
            .filter_map(|address| Some(dialable(address)?.0))
            .collect();
        let is_over = |known: &Known| {
            known.word == Some(Word::Own) && known.scope >= from && !now.contains(&known.address)
        };
        let mut news = false;
        for known in self.0.iter_mut().filter(|known| is_over(known)) {
            known.word = None;
            news |= !known.proven;
        }
        self.0
            .retain(|known| known.given || known.proven || known.word.is_some());
        for address in list {
            news |= self.say(address, from);
        }
        news
    }

    /// Adds an address that somebody else, in that scope, says it has. True if that is news.
    pub(super) fn hear(&mut self, address: &Multiaddr, from: Scope) -> bool {
        self.add(address, from, Some(Word::Hearsay))
    }

    /// Adds an address that was kept at an earlier start.
    pub(super) fn remember(&mut self, address: &Multiaddr) {
        self.add(address, Scope::Machine, Some(Word::Earlier));
    }

    /// `word` is `None` for the user's.
    fn add(&mut self, address: &Multiaddr, from: Scope, word: Option<Word>) -> bool {
        let Some((address, scope, _)) = dialable(address).filter(|(_, scope, _)| *scope >= from) else {
            return false;
        };
        if let Some(known) = self.0.iter_mut().find(|known| known.address == address) {
            known.given |= word.is_none();
            let news = word > known.word;
            known.word = known.word.max(word);
            return news;
        }
        if word.is_some() && self.0.iter().filter(|known| !known.given).count() >= MAX_ADDRESSES {
            // Whoever fills the list with nonsense must not keep the truth out, and who has moved is where it says now: what does not answer
            // makes room, and what is less believable does. Where it was reached before gives way to nobody's word but the operator's own.
            let gives_way = |(_, k): &(usize, &Known)| {
                !k.given
                    && match (k.proven, k.slow) {
                        (true, None) => false,
                        (true, Some(_)) => word == Some(Word::Own),
                        (false, Some(_)) => true,
                        (false, None) => k.word < word,
                    }
            };
            let known = self.0.iter().enumerate();
            let least = |(_, k): &(usize, &Known)| (k.proven, k.word, k.slow.is_none());
            let Some((worst, _)) = known.filter(gives_way).min_by_key(least) else {
                return false;
            };
            self.0.remove(worst);
        }
        self.0.push(Known {
            address,
            scope,
            given: word.is_none(),
            word,
            proven: false,
            slow: None,
        });
        true
    }

    /// Somebody of the right identity answered here. True if that was not known.
    pub(super) fn proven(&mut self, address: &Multiaddr) -> bool {
        let Some((address, ..)) = dialable(address) else {
            return false;
        };
        // It is worth a place as much as what the operator says.
        self.say(&address, Scope::Machine);
        let Some(known) = self.0.iter_mut().find(|known| known.address == address) else {
            return false;
        };
        known.slow = None;
        !std::mem::replace(&mut known.proven, true)
    }

    /// Nobody answered here in time.
    pub(super) fn slow(&mut self, address: &Multiaddr, now: Instant) {
        let Some((address, ..)) = dialable(address) else {
            return;
        };
        if let Some(known) = self.0.iter_mut().find(|known| known.address == address) {
            let pause = known.slow.map_or(SLOW_MIN, |(_, pause)| SLOW_MAX.min(pause * 2));
            known.slow = Some((now + pause, pause));
        }
    }

    /// Somebody else is here. True if the user gave the address.
    pub(super) fn wrong(&mut self, address: &Multiaddr) -> bool {
        let Some((address, ..)) = dialable(address) else {
            return false;
        };
        let given = self.0.iter().any(|known| known.given && known.address == address);
        self.0.retain(|known| known.address != address);
        given
    }

    /// Whether a person wants to know that nobody is here: it was given, or is one of the `most` most believable ones.
    pub(super) fn is_worth_telling(&self, address: &Multiaddr, most: usize) -> bool {
        let mut believed = self.by_belief(Scope::Machine);
        let best = believed
            .by_ref()
            .take(most)
            .any(|known| known.address == *address);
        best || believed.any(|known| known.given && known.address == *address)
    }

    /// Whether more than anybody's word says that it is here: the user, or that it was reached here.
    pub(super) fn is_certain(&self, address: &Multiaddr) -> bool {
        self.0
            .iter()
            .any(|known| (known.given || known.proven) && known.address == *address)
    }

    /// Until when it is not dialled, because nobody answered here.
    pub(super) fn rests_until(&self, address: &Multiaddr) -> Option<Instant> {
        let known = self.0.iter().find(|known| known.address == *address)?;
        known.slow.map(|(until, _)| until)
    }

    /// What to dial now; proven addresses first.
    pub(super) fn to_dial(&self, now: Instant) -> Vec<Multiaddr> {
        let mut due: Vec<&Known> = self
            .0
            .iter()
            .filter(|known| known.slow.is_none_or(|(until, _)| now >= until))
            .collect();
        due.sort_by_key(|known| !known.proven);
        due.into_iter().map(|known| known.address.clone()).collect()
    }

    /// What to dial after somebody else answered: only what the user gave and where the right one answered before. One
    /// wrong address can be quicker than all right ones, and whoever claims wrong ones has as many as it likes.
    pub(super) fn trusted(&self, now: Instant) -> Vec<Multiaddr> {
        let due = |known: &&Known| known.slow.is_none_or(|(until, _)| now >= until);
        let trusted = self.0.iter().filter(|known| known.given || known.proven);
        trusted.filter(due).map(|known| known.address.clone()).collect()
    }

    /// The machines, each once, those of the most believable addresses first.
    pub(super) fn hosts(&self) -> Vec<Host> {
        let mut hosts = Vec::new();
        for host in self
            .by_belief(Scope::Machine)
            .filter_map(|known| host_of(&known.address))
        {
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        hosts
    }

    fn by_belief(&self, scope: Scope) -> impl Iterator<Item = &Known> {
        let mut known: Vec<&Known> = self.0.iter().filter(|known| known.scope >= scope).collect();
        known.sort_by_key(|known| Reverse((known.proven, known.given, known.word)));
        known.into_iter()
    }

    /// What is kept for the next start: what the operator said, now or at an earlier one, and where it was reached.
    pub(super) fn to_keep(&self) -> Vec<Multiaddr> {
        self.worth(Scope::Machine, Word::Earlier)
    }

    /// What is told to somebody in that scope, the most believable first: what the operator said, and where it was reached, since this node runs.
    pub(super) fn to_tell(&self, scope: Scope) -> Vec<Multiaddr> {
        self.worth(scope, Word::Own)
    }

    fn worth(&self, scope: Scope, word: Word) -> Vec<Multiaddr> {
        self.by_belief(scope)
            .filter(|known| known.proven || known.word >= Some(word))
            .take(MAX_ADDRESSES)
            .map(|known| known.address.clone())
            .collect()
    }
}

/// When to try again: quickly at first, then more and more seldom, for ever.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    next: Instant,
    failures: u32,
    since: Instant,
}

/// A refused connection costs next to nothing, and somebody who has waited long for the last operator should not
/// wait some seconds more.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_EARLY: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const EARLY: Duration = Duration::from_secs(600);

impl Backoff {
    /// Due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            next: now,
            failures: 0,
            since: now,
        }
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Due at once, because something is new; the count of failures stays.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.next = self.next.min(now);
    }

    /// It went well for a while: the next failure is the first.
    pub(super) fn reset(&mut self, now: Instant) {
        *self = Self::new(now);
    }

    /// It failed; `jitter` in 0..=255 spreads retries over half the pause.
    pub(super) fn failed(&mut self, now: Instant, jitter: u8) {
        let most = if now < self.since + EARLY {
            PAUSE_EARLY
        } else {
            PAUSE_MAX
        };
        let pause = most.min(PAUSE_MIN * 2u32.pow(self.failures.min(10)));
        self.failures = self.failures.saturating_add(1);
        self.next = now + pause.mul_f64(1.0 - f64::from(jitter) / 512.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().expect("a multiaddr")
    }

    #[test]
    fn only_plain_tcp_and_quic_are_dialled() {
        let peer = PeerId::random();
        let with_peer = format!("/ip4/9.9.9.9/tcp/1/p2p/{peer}");
        for good in [
            "/ip4/9.9.9.9/tcp/1",
            "/ip6/2001:db8::1/udp/9/quic-v1",
            "/dns4/a.example/tcp/7",
            &with_peer,
        ] {
            assert!(dialable(&address(good)).is_some(), "{good}");
        }
        assert_eq!(
            dialable(&address(&with_peer)),
            Some((address("/ip4/9.9.9.9/tcp/1"), Scope::World, Some(peer)))
        );
        let circuit = format!("/ip4/9.9.9.9/tcp/1/p2p/{peer}/p2p-circuit");
        for bad in [
            "/ip4/9.9.9.9/tcp/0",
            "/ip4/0.0.0.0/tcp/1",
            "/ip4/255.255.255.255/tcp/1",
            "/ip4/224.0.0.1/tcp/1",
            "/ip6/::/tcp/1",
            "/ip6/fe80::1/tcp/1",
            "/ip6/ff02::1/tcp/1",
            "/ip4/9.9.9.9/udp/1",
            "/ip4/9.9.9.9/tcp/1/ws",
            "/memory/7",
            "/ip4/9.9.9.9",
            &circuit,
        ] {
            assert_eq!(dialable(&address(bad)), None, "{bad}");
        }
        assert_eq!(dialable(&Multiaddr::empty()), None);
    }

    #[test]
    fn claims_reach_no_nearer_than_they_come_from() {
        let near = [
            ("/ip4/127.0.0.1/tcp/1", Scope::Machine),
            ("/ip6/::1/tcp/1", Scope::Machine),
            ("/ip6/::ffff:127.0.0.1/tcp/1", Scope::Machine),
            ("/ip4/192.168.1.2/tcp/1", Scope::Private),
            ("/ip6/fd00::2/tcp/1", Scope::Private),
            ("/ip4/9.9.9.9/tcp/1", Scope::World),
            ("/dns/x.example/tcp/1", Scope::World),
            ("/dns4/x.example./tcp/1", Scope::World),
            ("/dns/notlocal/tcp/1", Scope::Private),
            ("/dns/not.notlocal/tcp/1", Scope::World),
            ("/dns/notlocalhost.example/tcp/1", Scope::World),
            ("/dns/localhost/tcp/1", Scope::Machine),
            ("/dns4/LocalHost./tcp/1", Scope::Machine),
            ("/dns6/a.localhost/tcp/1", Scope::Machine),
            ("/dns/127.0.0.1/tcp/1", Scope::Machine),
            ("/dns/192.168.1.2/tcp/1", Scope::Private),
            ("/dns/nas/tcp/1", Scope::Private),
            ("/dns/nas./udp/1/quic-v1", Scope::Private),
            ("/dns4/alice.local/tcp/1", Scope::Private),
            ("/dns/Alice.LAN/tcp/1", Scope::Private),
            ("/dns/a.b.internal/tcp/1", Scope::Private),
            ("/dns/nas.home.arpa/tcp/1", Scope::Private),
            ("/dns/nas.fritz.box/tcp/1", Scope::Private),
            ("/dns/fritz.box./tcp/1", Scope::Private),
            ("/dns/blitz.box/tcp/1", Scope::World),
        ];
        for (text, scope) in near {
            for from in [Scope::Machine, Scope::Private, Scope::World] {
                let mut addresses = Addresses::default();
                assert_eq!(
                    addresses.say(&address(text), from),
                    scope >= from,
                    "{text} from {from:?}"
                );
                assert_eq!(
                    addresses.to_tell(from).len(),
                    usize::from(scope >= from),
                    "{text} to {from:?}"
                );
            }
            if !text.starts_with("/dns") {
                assert_eq!(scope_of_remote(&address(text)), scope, "{text}");
            }
        }
    }

    #[test]
    fn claims_are_bounded_and_given_addresses_stay() {
        let now = Instant::now();
        let mut addresses = Addresses::default();
        let numbered = |i: u16| address(&format!("/ip4/9.9.9.9/tcp/{i}"));
        assert!(addresses.give(&numbered(1000)));
        for i in 1..=200 {
            addresses.hear(&numbered(i), Scope::World);
        }
        assert_eq!(addresses.to_dial(now).len(), 1 + MAX_ADDRESSES);
        assert!(!addresses.hear(&numbered(300), Scope::World));
        addresses.slow(&numbered(3), now);
        assert!(
            addresses.hear(&numbered(300), Scope::World),
            "what does not answer makes room"
        );
        assert!(addresses.proven(&numbered(300)));
        assert_eq!(addresses.to_dial(now).first(), Some(&numbered(300)));
        assert!(addresses.wrong(&numbered(1000)));
        assert!(!addresses.to_dial(now).contains(&numbered(1000)));
    }

    #[test]
    fn claims_are_no_longer_believed_once_somebody_else_answered() {
        let now = Instant::now();
        let mut addresses = Addresses::default();
        let numbered = |i: u16| address(&format!("/ip4/9.9.9.9/tcp/{i}"));
        addresses.hear(&numbered(1), Scope::World);
        assert!(addresses.trusted(now).is_empty());
        addresses.give(&numbered(2));
        addresses.proven(&numbered(3));
        addresses.give(&numbered(4));
        addresses.slow(&numbered(4), now);
        assert_eq!(addresses.trusted(now), [numbered(2), numbered(3)]);
        assert_eq!(addresses.to_dial(now).len(), 3);
    }

    #[test]
    fn only_own_words_and_proven_addresses_are_told_and_kept() {
        let numbered = |i: u16| address(&format!("/ip4/9.9.9.9/tcp/{i}"));
        let sorted = |mut list: Vec<Multiaddr>| {
            list.sort();
            list
        };
        let mut addresses = Addresses::default();
        addresses.give(&numbered(1));
        assert!(addresses.hear(&numbered(2), Scope::World));
        addresses.remember(&numbered(3));
        assert!(addresses.say(&numbered(4), Scope::World));
        addresses.proven(&numbered(5));
        assert_eq!(addresses.to_dial(Instant::now()).len(), 5, "all are tried");
        assert_eq!(sorted(addresses.to_tell(Scope::World)), [4, 5].map(numbered));
        assert_eq!(sorted(addresses.to_keep()), [3, 4, 5].map(numbered));
        // Its own words come back from somebody else.
        for i in 1..=5 {
            assert!(!addresses.hear(&numbered(i), Scope::World) || i == 1);
            addresses.give(&numbered(i));
        }
        assert_eq!(sorted(addresses.to_tell(Scope::World)), [4, 5].map(numbered));
        assert_eq!(sorted(addresses.to_keep()), [3, 4, 5].map(numbered));
        // It says so itself, and is reached there.
        assert!(addresses.say(&numbered(1), Scope::World));
        assert!(!addresses.say(&numbered(1), Scope::World));
        assert!(addresses.proven(&numbered(2)));
        assert!(!addresses.proven(&numbered(2)));
        assert_eq!(
            sorted(addresses.to_tell(Scope::World)),
            [1, 2, 4, 5].map(numbered)
        );
        assert_eq!(addresses.to_keep().len(), 5);
    }

    #[test]
    fn hearsay_makes_room_for_what_the_operator_says_itself() {
        let numbered = |i: u16| address(&format!("/ip4/9.9.9.9/tcp/{i}"));
        let mut addresses = Addresses::default();
        for i in 1..=8 {
            addresses.hear(&numbered(i), Scope::World);
        }
        for i in 11..=18 {
            assert!(addresses.say(&numbered(i), Scope::World), "{i}");
        }
        assert!(!addresses.say(&numbered(19), Scope::World));
        assert_eq!(addresses.to_keep(), (11..=18).map(numbered).collect::<Vec<_>>());
    }

    #[test]
    fn what_an_operator_says_now_takes_the_place_of_what_was_so_earlier() {
        let now = Instant::now();
        let numbered = |i: u16| address(&format!("/ip4/9.9.9.9/tcp/{i}"));
        let all = |range: std::ops::RangeInclusive<u16>| range.map(numbered).collect::<Vec<_>>();
        let mut addresses = Addresses::default();
        for i in 1..=8 {
            addresses.remember(&numbered(i));
        }
        assert!(!addresses.hear(&numbered(9), Scope::World));
        for i in 11..=18 {
            assert!(addresses.say(&numbered(i), Scope::World), "{i}");
        }
        assert_eq!(addresses.to_keep(), all(11..=18));
        // It was reached at all of them, and is at none any more.
        for i in 11..=18 {
            addresses.proven(&numbered(i));
        }
        assert!(!addresses.say(&numbered(19), Scope::World));
        addresses.slow(&numbered(14), now);
        assert!(
            !addresses.hear(&numbered(19), Scope::World),
            "others make nobody forget it"
        );
        assert!(addresses.say(&numbered(19), Scope::World));
        assert!(!addresses.to_keep().contains(&numbered(14)));
        assert!(!addresses.say(&numbered(20), Scope::World));
    }

    #[test]
    fn what_an_operator_says_no_more_is_forgotten() {
        let numbered = |i: u16| address(&format!("/ip4/9.9.9.9/tcp/{i}"));
        let all = |range: std::ops::RangeInclusive<u16>| range.map(numbered).collect::<Vec<_>>();
        let sorted = |mut list: Vec<Multiaddr>| {
            list.sort();
            list
        };
        let mut addresses = Addresses::default();
        let private = address("/ip4/192.168.1.2/tcp/1");
        assert!(addresses.say_all(&[all(1..=4), vec![private.clone()]].concat(), Scope::Private));
        assert!(!addresses.say_all(&[all(1..=4), vec![private.clone()]].concat(), Scope::Private));
        addresses.proven(&numbered(1));
        addresses.give(&numbered(2));
        addresses.hear(&numbered(30), Scope::World);
        addresses.remember(&numbered(31));
        // It has moved, and says so to the world, to which it tells no private address.
        assert!(addresses.say_all(&all(11..=12), Scope::World));
        let told = [all(11..=12), vec![numbered(1), private.clone()]].concat();
        assert_eq!(sorted(addresses.to_tell(Scope::Machine)), sorted(told));
        let tried = addresses.to_dial(Instant::now());
        for (number, is_tried) in [
            (1, true),
            (2, true),
            (3, false),
            (4, false),
            (30, true),
            (31, true),
        ] {
            assert_eq!(tried.contains(&numbered(number)), is_tried, "{number}");
        }
        // The user's stays the user's, and is told to nobody.
        assert!(!addresses.to_keep().contains(&numbered(2)));
        // Where it was reached is no news.
        assert!(!addresses.say_all(&all(11..=12), Scope::World));
        assert!(addresses.say_all(&[], Scope::World), "it says nothing any more");
        assert_eq!(addresses.to_tell(Scope::World), [numbered(1)]);
        // A full list of what is no longer said keeps nothing out.
        assert!(addresses.say_all(&all(41..=48), Scope::World));
        assert!(addresses.say_all(&all(51..=58), Scope::World));
        let kept = addresses.to_keep();
        assert!(kept.contains(&numbered(51)) && !all(41..=48).iter().any(|old| kept.contains(old)));
    }

    #[test]
    fn what_does_not_answer_rests() {
        let now = Instant::now();
        let mut addresses = Addresses::default();
        let slow = address("/ip4/9.9.9.9/tcp/1");
        addresses.give(&slow);
        addresses.slow(&slow, now);
        assert!(addresses.to_dial(now + SLOW_MIN / 2).is_empty());
        assert_eq!(addresses.to_dial(now + SLOW_MIN).len(), 1);
        addresses.slow(&slow, now);
        assert!(addresses.to_dial(now + SLOW_MIN).is_empty());
        for _ in 0..20 {
            addresses.slow(&slow, now);
        }
        assert_eq!(addresses.to_dial(now + SLOW_MAX).len(), 1);
    }

    #[test]
    fn retries_slow_down_and_never_end() {
        let start = Instant::now();
        let mut now = start;
        let mut backoff = Backoff::new(now);
        let mut pauses = Vec::new();
        for _ in 0..2000 {
            backoff.failed(now, 0);
            pauses.push(backoff.next() - now);
            now = backoff.next();
        }
        assert_eq!(pauses[..5], [50, 100, 200, 400, 500].map(Duration::from_millis));
        assert_eq!(*pauses.last().expect("a pause"), PAUSE_MAX);
        backoff.failed(now, 255);
        assert!(backoff.next() - now >= PAUSE_MAX / 2);
        backoff.reset(now);
        assert_eq!(backoff.next(), now);
    }
}
