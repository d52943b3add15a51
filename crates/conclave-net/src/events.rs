//! What the node tells its caller, and the channel on which it does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use libp2p::{Multiaddr, PeerId};
use tokio::{
    runtime,
    sync::{OwnedSemaphorePermit, mpsc},
};

use super::protocol::Protocol;
use conclave_eth::text::timestamp;

/// Why a connection to an operator ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It said goodbye.
    Left,
    /// The connection broke or was closed; the cause, for people.
    Lost(String),
    /// It did what no correct peer does; what, for people.
    Fault(String),
    /// It takes less than is sent to it.
    Slow,
    /// A newer connection to the same operator took its place.
    Replaced,
    /// This node stops.
    Stopped,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Left => f.write_str("it left"),
            Self::Lost(why) | Self::Fault(why) => f.write_str(why),
            Self::Slow => f.write_str("it takes less than is sent to it"),
            Self::Replaced => f.write_str("it connected anew"),
            Self::Stopped => f.write_str("this node stops"),
        }
    }
}

/// Why nothing can be exchanged with an operator who was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It speaks other protocols (these; possibly none of ours) with a software of this name.
    Protocol {
        /// The protocols of conclave that it speaks, shortened and without control characters.
        speaks: Vec<String>,
        /// What it says that it is.
        software: String,
    },
    /// It closes the connection at once: most likely its definition or lock does not name this node.
    Unwelcome,
    /// It is connected and does not begin to talk.
    Silent,
}

/// Why an operator is not reached at an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// Nobody listens there.
    Refused,
    /// Nobody answers there.
    TimedOut,
    /// There is no way to that network or machine.
    NoRoute,
    /// The name in the address does not exist.
    NoSuchName,
    /// Whoever knows names does not answer.
    NameServer,
    /// Something answers that does not speak as operators do.
    SomethingElse,
    /// Somebody who is not an operator is there.
    Stranger(PeerId),
    /// This other operator is there.
    Operator(u16),
    /// It leads back to this node.
    Myself,
    /// The operating system does not do it, in its words.
    System(String),
}

impl Obstacle {
    /// One word for programs; they are only ever added to.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::NoRoute => "no_route",
            Self::NoSuchName => "no_such_name",
            Self::NameServer => "name_server",
            Self::SomethingElse => "something_else",
            Self::Stranger(_) => "stranger",
            Self::Operator(_) => "another_operator",
            Self::Myself => "myself",
            Self::System(_) => "system",
        }
    }

    /// Whether it is as usual while the other one has not started.
    pub(super) fn heals(&self) -> bool {
        matches!(self, Self::Refused | Self::NoRoute)
    }
}

/// An address where nobody is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    /// Whose address it is, from 1; `None` if it was given without a peer id.
    pub operator: Option<u16>,
    /// Where.
    pub address: Multiaddr,
    /// Why the last attempt failed.
    pub why: Obstacle,
    /// How many attempts failed.
    pub times: u64,
    /// The next is made after this time.
    pub next: Duration,
    /// Until when the operator was here, if it was in this run.
    pub left: Option<SystemTime>,
}

impl Unreachable {
    /// Until when whoever was here, and ended since, was here, in UTC: a time of day, with its date where it was not today. Nothing where the
    /// cause is another one, such as a network that is down.
    pub fn was_here_until(&self) -> Option<String> {
        self.was_here_until_seen(SystemTime::now())
    }

    fn was_here_until_seen(&self, now: SystemTime) -> Option<String> {
        let ended = matches!(self.why, Obstacle::Refused | Obstacle::SomethingElse);
        let left = self.left.filter(|_| ended)?;
        let (left, now) = (timestamp(left), timestamp(now));
        let (date, time) = left.trim_end_matches('Z').split_once('T')?;
        Some(if now.starts_with(date) {
            format!("{time} UTC")
        } else {
            format!("{date} {time} UTC")
        })
    }

    /// For people: what happened, how often, and what it may come from. `name` tells operators' names.
    pub fn words(&self, name: impl Fn(u16) -> String) -> String {
        let address = &self.address;
        let nobody = || "nobody is reached".to_owned();
        let who = self
            .operator
            .map_or_else(nobody, |number| format!("{} is not reached", name(number)));
        let other = self
            .operator
            .map_or_else(|| "whoever should be there".to_owned(), &name);
        let (what, advice) = match &self.why {
            Obstacle::Refused => (
                "the connection is refused".to_owned(),
                format!(
                    "Either conclave is not running there now, or the address or its port is wrong. Ask {other}"
                ),
            ),
            Obstacle::TimedOut => (
                "nothing answers in time".to_owned(),
                format!(
                    "Either the machine of {other} is off, or a firewall or router lets nothing through, or the address is wrong"
                ),
            ),
            Obstacle::NoRoute => (
                "this machine has no way to it".to_owned(),
                "See whether this machine is online, and whether the address is right".to_owned(),
            ),
            Obstacle::NoSuchName => (
                "there is no such name".to_owned(),
                format!("Compare the name, letter by letter, with what {other} sent you"),
            ),
            Obstacle::NameServer => (
                "the name could not be looked up".to_owned(),
                "See whether this machine is online, and whether it can look up other names".to_owned(),
            ),
            Obstacle::SomethingElse => (
                "something else answers, not conclave".to_owned(),
                "Another program has that port, or the address is wrong".to_owned(),
            ),
            Obstacle::Stranger(peer) => (
                format!("somebody answers who is not one of the operators ({peer})"),
                format!("Compare the address, to its end, with the one that {other} sees"),
            ),
            Obstacle::Operator(number) => (
                format!("{} answers", name(*number)),
                "The address, or the peer id at its end, was mixed up with another".to_owned(),
            ),
            Obstacle::Myself => (
                "that is you yourself, or another process with your identity, which must never run twice"
                    .to_owned(),
                format!("Ask {other} for the right address"),
            ),
            Obstacle::System(text) => (text.clone(), "The system's log may say more".to_owned()),
        };
        let (what, advice) = match (&self.why, self.was_here_until()) {
            (_, None) => (what, advice),
            (Obstacle::Refused, Some(until)) => (
                what,
                format!(
                    "{other} was here until {until}: conclave is not running there now. Ask {other} to start it again"
                ),
            ),
            // As it ends there, or at another of its addresses, where something else is.
            (_, Some(until)) => (
                "the connection broke off".to_owned(),
                format!(
                    "{other} was here until {until}: either conclave is not running there now, and {other} has to start it again, or something \
                     else has that address"
                ),
            ),
        };
        let times = match self.times {
            1 => "1 attempt".to_owned(),
            times => format!("{times} attempts"),
        };
        let seconds = self.next.as_millis().div_ceil(1000).max(1);
        format!("{who} at {address}: {what} ({times} so far, the next in {seconds} s). {advice}")
    }
}

/// What happens in the network; `M` is what operators say to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<M> {
    /// This node listens here.
    Listening(Multiaddr),
    /// A listener is gone, or something like it cannot be had; what happened, for people.
    ListenerLost(String),
    /// Messages can be exchanged with this operator.
    Connected {
        /// Who, from 1.
        operator: u16,
    },
    /// How an operator is connected; follows each [`Event::Connected`].
    Path {
        /// Who, from 1.
        operator: u16,
        /// The operator who passes everything on, if there is no direct connection.
        through: Option<u16>,
    },
    /// No more messages of this connection follow.
    Disconnected {
        /// Who, from 1.
        operator: u16,
        /// Why.
        reason: Reason,
    },
    /// A message arrived.
    Message {
        /// From whom, from 1.
        operator: u16,
        /// What.
        message: M,
    },
    /// How long a round trip takes.
    Latency {
        /// To whom, from 1.
        operator: u16,
        /// The round trip.
        round_trip: Duration,
    },
    /// Somebody who is not an operator called, or answered. Not every time is told.
    Stranger {
        /// Who.
        peer: PeerId,
        /// Where.
        address: Multiaddr,
        /// How many there have been in all.
        total: u64,
    },
    /// An operator was reached and nothing can be exchanged. Not every time is told.
    Refused {
        /// Who, from 1.
        operator: u16,
        /// Why.
        why: Refusal,
    },
    /// Nobody was reached at an address where an operator should be. Told after a while, when the cause changes, and more and
    /// more seldom while it lasts; attempts never end.
    Unreachable(Box<Unreachable>),
    /// Where operators may be reached has changed: the whole of it, to be kept for the next start.
    AddressBook(Vec<(u16, Vec<Multiaddr>)>),
}

/// Numbers of the sessions that the caller knows of, by operator (0 is nobody).
pub(super) type Seen = Arc<[AtomicU64]>;

type Carried<M> = (Event<M>, Option<u64>, Option<OwnedSemaphorePermit>);

/// The receiving end of a node's events.
///
/// Process one event before you take the next: what you send belongs to the connection whose
/// [`Event::Connected`] you took last, and is dropped if that one is gone.
pub struct Events<P: Protocol> {
    receiver: mpsc::Receiver<Carried<P::Message>>,
    seen: Seen,
    runtime: runtime::Handle,
}

impl<P: Protocol> Events<P> {
    /// The next event; `None` when the node has stopped.
    pub async fn recv(&mut self) -> Option<Event<P::Message>> {
        let carried = self.receiver.recv().await?;
        Some(self.taken(carried))
    }

    /// The next event, from a thread outside the async runtime.
    pub fn blocking_recv(&mut self) -> Option<Event<P::Message>> {
        let carried = self.receiver.blocking_recv()?;
        Some(self.taken(carried))
    }

    /// The next event within this time, from a thread outside the async runtime. `Ok(None)` when the time is
    /// over.
    ///
    /// # Errors
    /// [`Stopped`] when the node has stopped.
    pub fn recv_timeout(&mut self, time: Duration) -> Result<Option<Event<P::Message>>, Stopped> {
        let runtime = self.runtime.clone();
        let carried = runtime.block_on(async { tokio::time::timeout(time, self.receiver.recv()).await });
        match carried {
            Ok(Some(carried)) => Ok(Some(self.taken(carried))),
            Ok(None) => Err(Stopped),
            Err(_) => Ok(None),
        }
    }

    /// An event that is already there.
    pub fn try_recv(&mut self) -> Option<Event<P::Message>> {
        let carried = self.receiver.try_recv().ok()?;
        Some(self.taken(carried))
    }

    fn taken(&self, (event, session, _permit): Carried<P::Message>) -> Event<P::Message> {
        if let (Event::Connected { operator }, Some(session)) = (&event, session)
            && let Some(seen) = self.seen.get(usize::from(*operator))
        {
            seen.store(session, Ordering::SeqCst);
        }
        event
    }
}

/// The node has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the network node has stopped")]
pub struct Stopped;

/// The sending end, in node and sessions.
pub(super) struct EventSender<M>(mpsc::Sender<Carried<M>>);

impl<M> Clone for EventSender<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M> EventSender<M> {
    /// Waits until the caller takes events. False when it never will.
    pub(super) async fn send(&self, event: Event<M>, permit: Option<OwnedSemaphorePermit>) -> bool {
        self.0.send((event, None, permit)).await.is_ok()
    }

    pub(super) async fn connected(&self, operator: u16, session: u64) -> bool {
        self.0
            .send((Event::Connected { operator }, Some(session), None))
            .await
            .is_ok()
    }

    /// Gives the event only if there is room.
    pub(super) fn try_send(&self, event: Event<M>) -> Result<(), Event<M>> {
        self.0
            .try_send((event, None, None))
            .map_err(|error| error.into_inner().0)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// A channel for so many events.
pub(super) fn channel<P: Protocol>(capacity: usize, seen: Seen) -> (EventSender<P::Message>, Events<P>) {
    let (sender, receiver) = mpsc::channel(capacity);
    (
        EventSender(sender),
        Events {
            receiver,
            seen,
            runtime: runtime::Handle::current(),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_here_on_another_day_is_told_with_the_date() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let told = |why: &Obstacle, left: Option<u64>, now: u64| {
            let unreachable = Unreachable {
                operator: Some(2),
                address: "/ip4/9.9.9.9/tcp/1".parse().expect("a multiaddr"),
                why: why.clone(),
                times: 3,
                next: Duration::from_secs(8),
                left: left.map(at),
            };
            (
                unreachable.was_here_until_seen(at(now)),
                unreachable.words(|_| "bob".to_owned()),
            )
        };
        let noon = 1_790_424_000;
        let (until, words) = told(&Obstacle::Refused, Some(noon), noon + 60);
        assert_eq!(until.as_deref(), Some("12:00:00 UTC"));
        assert!(
            words.contains("conclave is not running there now. Ask bob"),
            "{words}"
        );
        for days in [1, 3] {
            let (until, _) = told(&Obstacle::Refused, Some(noon), noon + days * 86_400);
            assert_eq!(until.as_deref(), Some("2026-09-26 12:00:00 UTC"));
        }
        // A wrong answer at one address says nothing of the others.
        let (_, words) = told(&Obstacle::SomethingElse, Some(noon), noon + 60);
        assert!(
            words.contains("either conclave is not running there now"),
            "{words}"
        );
        for (why, left) in [(Obstacle::Refused, None), (Obstacle::TimedOut, Some(noon))] {
            let (until, words) = told(&why, left, noon + 60);
            assert!(until.is_none() && !words.contains("was here"), "{words}");
        }
    }
}
