//! Attempts to reach somebody that failed: at which address, why, how often; and when that is worth telling.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, core::transport::TransportError, dns};

use super::run::Node;
use crate::{
    events::{Event, Obstacle, Unreachable},
    protocol::Protocol,
};

/// What heals by itself when the other one starts is told after so long, and not before the second attempt.
const PATIENCE: Duration = Duration::from_secs(5);
/// It is told again after this time at first, and after [`AGAIN_MAX`] in the end.
const AGAIN_MIN: Duration = Duration::from_secs(60);
const AGAIN_MAX: Duration = Duration::from_secs(3600);
/// Another cause is told this soon.
const CHANGED: Duration = Duration::from_secs(15);
/// Addresses of one operator that are told of, beside those that the user gave.
pub(super) const TOLD: usize = 3;
/// From so many remembered addresses on, those that are not worth telling any more are forgotten.
const MANY: usize = 256;

/// The failed attempts at the addresses of one operator, or at an address of nobody knows whom.
#[derive(Debug, Default)]
pub(super) struct Attempts(BTreeMap<Multiaddr, Failed>);

#[derive(Debug)]
struct Failed {
    since: Instant,
    times: u64,
    why: Obstacle,
    /// What was told last, when, and when the same is told again.
    told: Option<(Obstacle, Instant, Duration)>,
}

impl Attempts {
    /// One more failed. How many there were in all, if that is to be told now. `needed`: whether anybody wants to know; what is not told
    /// is due as soon as somebody does.
    fn failed(&mut self, address: &Multiaddr, why: &Obstacle, needed: bool, now: Instant) -> Option<u64> {
        let failed = self.0.entry(address.clone()).or_insert_with(|| Failed {
            since: now,
            times: 0,
            why: why.clone(),
            told: None,
        });
        failed.times += 1;
        failed.why.clone_from(why);
        let due = match &failed.told {
            None => !why.heals() || (failed.times > 1 && now >= failed.since + PATIENCE),
            Some((before, when, pause)) => now >= *when + if before == why { *pause } else { CHANGED },
        };
        if !due || !needed {
            return None;
        }
        let pause = match &failed.told {
            Some((before, _, pause)) if before == why => AGAIN_MAX.min(*pause * 2),
            _ => AGAIN_MIN,
        };
        failed.told = Some((why.clone(), now, pause));
        Some(failed.times)
    }

    /// Keeps those only of which this is so, if there are many.
    fn keep(&mut self, wanted: impl Fn(&Multiaddr) -> bool) {
        if self.0.len() >= MANY {
            self.0.retain(|address, _| wanted(address));
        }
    }

    /// Those at one address, apart from the others.
    pub(super) fn split_off(&mut self, address: &Multiaddr) -> Self {
        Self(self.0.remove_entry(address).into_iter().collect())
    }

    /// Whoever is looked for was here for a while. What had been told and does not change by that, such as a name that does not exist, goes on being
    /// told more and more seldom: whoever comes and goes must not fill the log.
    pub(super) fn begin_anew(&mut self) {
        self.0
            .retain(|_, failed| failed.told.is_some() && !failed.why.heals());
    }

    /// Somebody of the right identity is there.
    pub(super) fn reached(&mut self, address: &Multiaddr) {
        self.0.remove(address);
    }
}

impl<P: Protocol> Node<P> {
    /// An attempt at an operator's address failed. What only others claimed is told of if nothing better is known.
    pub(super) fn unreached(&mut self, number: u16, address: &Multiaddr, why: Obstacle, now: Instant) {
        let Some(operator) = self.operators.get_mut(&number) else {
            return;
        };
        if !operator.addresses.is_worth_telling(address, TOLD) {
            return;
        }
        let known = &operator.addresses;
        operator
            .attempts
            .keep(|address| known.is_worth_telling(address, TOLD));
        let needed = operator.session.is_none();
        let failed = operator.attempts.failed(address, &why, needed, now);
        let rests = operator.addresses.rests_until(address).unwrap_or(now);
        let next = operator.backoff.next().max(rests).saturating_duration_since(now);
        let left = operator.left;
        if let Some(times) = failed {
            self.tell(Event::Unreachable(Box::new(Unreachable {
                operator: Some(number),
                address: address.clone(),
                why,
                times,
                next,
                left,
            })));
        }
    }

    /// An attempt at an address of which only that is known failed. If an operator is known to be there, or is looked for there, nothing but
    /// who answers instead is told of it: the rest is told with that operator's name.
    pub(super) fn target_unreached(&mut self, at: usize, why: Obstacle, now: Instant) {
        let Some(target) = self.targets.get_mut(at) else {
            return;
        };
        let answers = matches!(
            why,
            Obstacle::Stranger(_) | Obstacle::Operator(_) | Obstacle::Myself
        );
        let needed = answers
            || !self
                .operators
                .values()
                .any(|o| o.stands_for(&target.address, TOLD));
        if let Some(times) = target.attempts.failed(&target.address, &why, needed, now) {
            let address = target.address.clone();
            let next = target.backoff.next().saturating_duration_since(now);
            self.tell(Event::Unreachable(Box::new(Unreachable {
                operator: None,
                address,
                why,
                times,
                next,
                left: None,
            })));
        }
    }

    /// Who answered in the place of somebody else.
    pub(super) fn somebody_else(&self, peer: PeerId) -> Obstacle {
        if peer == *self.swarm.local_peer_id() {
            return Obstacle::Myself;
        }
        match self.by_peer.get(&peer) {
            Some(number) => Obstacle::Operator(*number),
            None => Obstacle::Stranger(peer),
        }
    }
}

/// What libp2p says, which wraps causes in its own errors and tells some only in words.
pub(super) fn obstacle(error: &TransportError<io::Error>) -> Obstacle {
    match error {
        TransportError::MultiaddrNotSupported(_) => Obstacle::System("this program cannot dial it".into()),
        TransportError::Other(error) => cause(error),
    }
}

fn cause(outermost: &io::Error) -> Obstacle {
    let mut error: &(dyn std::error::Error + 'static) = outermost;
    loop {
        if let Some(error) = error.downcast_ref::<dns::ResolveError>() {
            return if error.is_no_records_found() || error.to_string().contains("No Matching Records") {
                Obstacle::NoSuchName
            } else {
                Obstacle::NameServer
            };
        }
        let system = error.downcast_ref::<io::Error>();
        if let Some(obstacle) = system.and_then(of_system) {
            return obstacle;
        }
        let inner = system
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn std::error::Error + 'static));
        match inner.or_else(|| error.source()) {
            Some(next) => error = next,
            None => break,
        }
    }
    let text = outermost.to_string();
    let number = text
        .split_once("(os error ")
        .and_then(|(_, rest)| rest.split(')').next()?.parse().ok());
    if let Some(obstacle) = number
        .map(io::Error::from_raw_os_error)
        .as_ref()
        .and_then(of_system)
    {
        obstacle
    } else if text.contains("Timeout has been reached") || text.contains("timed out") {
        Obstacle::TimedOut
    } else {
        // A connection came about, and what was said on it was not what every libp2p program says.
        Obstacle::SomethingElse
    }
}

fn of_system(error: &io::Error) -> Option<Obstacle> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => Obstacle::Refused,
        io::ErrorKind::TimedOut => Obstacle::TimedOut,
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkDown
        | io::ErrorKind::AddrNotAvailable => Obstacle::NoRoute,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Obstacle::SomethingElse
        }
        _ => Obstacle::System(io::Error::from_raw_os_error(error.raw_os_error()?).to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_after_a_while_and_then_more_and_more_seldom() {
        let start = Instant::now();
        let address: Multiaddr = "/ip4/9.9.9.9/tcp/1".parse().expect("a multiaddr");
        let mut attempts = Attempts::default();
        let mut told = Vec::new();
        for second in 0..8 * 3600 {
            let now = start + Duration::from_secs(second);
            if let Some(times) = attempts.failed(&address, &Obstacle::Refused, true, now) {
                assert_eq!(times, second + 1);
                told.push(second);
            }
        }
        let expected = [
            5, 65, 185, 425, 905, 1865, 3785, 7385, 10985, 14585, 18185, 21785, 25385,
        ];
        assert_eq!(told, expected);
        // Somebody was there; then it begins anew.
        attempts.reached(&address);
        let now = start + Duration::from_secs(9 * 3600);
        assert_eq!(attempts.failed(&address, &Obstacle::Refused, true, now), None);
        // Another cause is told soon, not each time that causes take turns.
        let mut attempts = Attempts::default();
        let told = (0..120).filter(|second| {
            let why = [Obstacle::NoSuchName, Obstacle::TimedOut];
            let now = start + Duration::from_secs(*second);
            let why = &why[usize::from(second % 2 == 1)];
            attempts.failed(&address, why, true, now).is_some()
        });
        let told: Vec<u64> = told.collect();
        assert_eq!((told[0], told.len()), (0, 8), "{told:?}");
    }

    #[test]
    fn what_nobody_needed_to_know_is_told_as_soon_as_somebody_does() {
        let start = Instant::now();
        let address: Multiaddr = "/ip4/9.9.9.9/tcp/1".parse().expect("a multiaddr");
        let mut attempts = Attempts::default();
        let mut failed = |second, needed| {
            let now = start + Duration::from_secs(second);
            attempts.failed(&address, &Obstacle::Refused, needed, now)
        };
        for second in 0..3600 {
            assert_eq!(failed(second, false), None);
        }
        assert_eq!(failed(3600, true), Some(3601));
        // Others came and went meanwhile, and none is kept out.
        for port in 1..1000 {
            let other = format!("/ip4/9.9.9.9/tcp/{port}").parse().expect("fine");
            attempts.keep(|wanted| *wanted == address);
            assert_eq!(
                attempts.failed(&other, &Obstacle::NoSuchName, true, start),
                (port != 1).then_some(1)
            );
            assert!(attempts.0.len() <= MANY);
        }
    }

    #[test]
    fn who_comes_and_goes_fills_no_log() {
        let start = Instant::now();
        let address = |port: u16| -> Multiaddr { format!("/ip4/9.9.9.9/tcp/{port}").parse().expect("fine") };
        let (down, wrong) = (address(1), address(2));
        let mut attempts = Attempts::default();
        let mut told = [0, 0];
        // Somebody who is here for a while each half minute, for a day.
        for second in 0..86_400 {
            let now = start + Duration::from_secs(second);
            for (at, (address, why)) in [(&down, Obstacle::Refused), (&wrong, Obstacle::NoSuchName)]
                .into_iter()
                .enumerate()
            {
                told[at] += u32::from(attempts.failed(address, &why, true, now).is_some());
            }
            if second % 30 == 29 {
                attempts.begin_anew();
            }
        }
        // That it is gone is news each time; that there is no such name is told once an hour in the end.
        assert_eq!(told[0], 86_400 / 30);
        assert!(told[1] < 35, "{told:?}");
    }

    #[test]
    fn causes_are_found_in_what_libp2p_makes_of_them() {
        let refused = || io::Error::from_raw_os_error(111);
        let wrapped = io::Error::other(io::Error::other(refused()));
        let words = io::Error::other(format!("Multiple dial errors occurred:\n - {}", refused()));
        for error in [refused(), wrapped, words] {
            assert_eq!(cause(&error), Obstacle::Refused, "{error}");
        }
        assert_eq!(
            cause(&io::Error::other("Timeout has been reached")),
            Obstacle::TimedOut
        );
        assert_eq!(
            cause(&io::ErrorKind::UnexpectedEof.into()),
            Obstacle::SomethingElse
        );
        let name = dns::ResolveError::from("No Matching Records Found");
        assert_eq!(cause(&io::Error::other(name)), Obstacle::NoSuchName);
        assert_eq!(cause(&io::Error::from_raw_os_error(101)), Obstacle::NoRoute);
        let full = cause(&io::Error::from_raw_os_error(24));
        assert!(
            matches!(&full, Obstacle::System(text) if text.contains("open files")),
            "{full:?}"
        );
    }
}
