//! The node's task.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{Multiaddr, PeerId, Swarm};
use tokio::sync::mpsc;

use super::{
    door::Door,
    handle::Order,
    operator::{Operator, Target},
    refusals::Strangers,
    relays::Reservations,
    swarm::Behaviour,
};
use crate::{
    book::host_of,
    events::{Event, EventSender, Reason},
    protocol::{Bounds, Frame, Protocol},
    session::Report,
};

/// Housekeeping is done so often.
const HOUSEKEEPING: Duration = Duration::from_millis(250);
/// How long the end may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// A running node.
pub(super) struct Node<P: Protocol> {
    /// The own number.
    pub(super) me: u16,
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) door: Door,
    pub(super) operators: BTreeMap<u16, Operator>,
    pub(super) by_peer: HashMap<PeerId, u16>,
    /// Addresses whose operator is not known yet.
    pub(super) targets: Vec<Target>,
    pub(super) own_addresses: Vec<Multiaddr>,
    pub(super) announce: Vec<Multiaddr>,
    pub(super) bounds: Bounds<P>,
    pub(super) events: EventSender<P::Message>,
    /// The places that this node has at relays.
    pub(super) reservations: Reservations,
    /// Events that the caller has not taken yet.
    pub(super) pending: VecDeque<Event<P::Message>>,
    pub(super) reports: mpsc::Sender<Report>,
    /// Sessions so far.
    pub(super) sessions: u64,
    pub(super) strangers: Strangers,
    /// When new addresses are told.
    pub(super) tell_at: Option<Instant>,
    pub(super) book_changed: bool,
    /// When the next housekeeping is due.
    pub(super) housekeeping: Instant,
    /// When the end must be done.
    pub(super) stopping: Option<Instant>,
}

impl<P: Protocol> Node<P> {
    /// The task; ends after [`Order::Shutdown`], or when nobody holds a handle or the events any more.
    pub(super) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Order>,
        mut reported: mpsc::Receiver<Report>,
    ) {
        loop {
            self.due(Instant::now());
            self.flush();
            if self.events.is_closed() {
                self.stop();
            }
            if let Some(deadline) = self.stopping
                && (Instant::now() >= deadline || self.operators.values().all(|o| o.session.is_none()))
            {
                return;
            }
            let deadline = tokio::time::Instant::from_std(self.deadline());
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm(event),
                order = commands.recv(), if self.stopping.is_none() => match order {
                    Some(order) => self.on_order(order),
                    None => self.stop(),
                },
                Some(report) = reported.recv() => self.on_report(report),
                () = tokio::time::sleep_until(deadline) => {}
            }
        }
    }

    fn deadline(&self) -> Instant {
        let dials = self.operators.values().filter_map(Operator::dial_at);
        let targets = self
            .targets
            .iter()
            .filter(|t| t.dialling.is_none())
            .map(|t| t.backoff.next());
        let now = Instant::now();
        // What could not be done when it was due waits for the housekeeping.
        let next = dials
            .chain(targets)
            .chain(self.tell_at)
            .filter(|at| *at > now)
            .min();
        next.map_or(self.housekeeping, |next| next.min(self.housekeeping))
    }

    fn due(&mut self, now: Instant) {
        if self.stopping.is_some() {
            self.housekeeping = now + HOUSEKEEPING;
            return;
        }
        for operator in self.operators.values_mut() {
            if operator.barred.is_some_and(|until| now >= until) {
                operator.barred = None;
                self.swarm.behaviour_mut().allow.allow_peer(operator.peer);
            }
        }
        self.dial(now);
        if self.tell_at.is_some_and(|at| now >= at) {
            self.tell_at = None;
            for number in self.operators.keys().copied().collect::<Vec<_>>() {
                self.tell_addresses(number);
            }
        }
        if now >= self.housekeeping {
            self.housekeeping = now + HOUSEKEEPING;
            self.close_silent(now);
            self.know_operators();
            self.relays_due(now);
            if std::mem::take(&mut self.book_changed) {
                let known = self.operators.iter().map(|(n, o)| (*n, o.addresses.to_keep()));
                let book = known.filter(|(_, addresses)| !addresses.is_empty()).collect();
                self.tell(Event::AddressBook(book));
            }
        }
    }

    /// Tells the door where operators are.
    pub(super) fn know_operators(&self) {
        let given = self.targets.iter().filter_map(|target| host_of(&target.address));
        let operators = self.operators.values().flat_map(Operator::hosts);
        self.door.know(given.chain(operators));
    }

    /// Events wait here while the caller takes none; what can be spared is dropped first.
    pub(super) fn tell(&mut self, event: Event<P::Message>) {
        if self.pending.len() < 256 || !matches!(event, Event::Latency { .. } | Event::Stranger { .. }) {
            match &event {
                Event::AddressBook(_) => self.pending.retain(|old| !matches!(old, Event::AddressBook(_))),
                Event::Latency { operator, .. } => {
                    let same = |old: &Event<P::Message>| matches!(old, Event::Latency { operator: o, .. } if o == operator);
                    self.pending.retain(|old| !same(old));
                }
                _ => {}
            }
            self.pending.push_back(event);
        }
    }

    fn flush(&mut self) {
        while let Some(event) = self.pending.pop_front() {
            if let Err(event) = self.events.try_send(event) {
                self.pending.push_front(event);
                return;
            }
        }
    }

    fn stop(&mut self) {
        if self.stopping.is_none() {
            self.stopping = Some(Instant::now() + FAREWELL);
            for live in self
                .operators
                .values_mut()
                .filter_map(|operator| operator.session.as_mut())
            {
                live.outgoing = None;
            }
        }
    }

    fn on_order(&mut self, order: Order) {
        match order {
            Order::Send(operator, session, frame) => self.send(operator, session, frame),
            Order::Broadcast(sessions, frame) => {
                for (operator, session) in (0u16..).zip(sessions) {
                    self.send(operator, session, frame.clone());
                }
            }
            Order::AddPeer(address) => {
                if let Err(error) = self.add_peer(&address) {
                    tracing::debug!(%error, "an address is not used");
                }
            }
            Order::Misbehaved(operator, why) => self.end(operator, Reason::Fault(why)),
            Order::Shutdown => self.stop(),
        }
    }

    fn send(&mut self, operator: u16, session: u64, frame: Arc<Frame>) {
        let live = self
            .operators
            .get(&operator)
            .and_then(|operator| operator.session.as_ref());
        let Some(live) = live.filter(|live| live.number == session) else {
            return;
        };
        if live
            .outgoing
            .as_ref()
            .is_some_and(|outgoing| !outgoing.send(frame))
        {
            self.end(operator, Reason::Slow);
        }
    }

    pub(super) fn end(&mut self, operator: u16, reason: Reason) {
        let live = self
            .operators
            .get_mut(&operator)
            .and_then(|operator| operator.session.as_mut());
        if let Some(outgoing) = live.and_then(|live| live.outgoing.as_mut()) {
            outgoing.stop(reason);
        }
    }

    fn on_report(&mut self, report: Report) {
        let now = Instant::now();
        match report {
            Report::Addresses(from, list) => self.learn(from, &list, now),
            Report::Ended(number, session, reason) => self.ended(number, session, &reason, now),
        }
    }
}
