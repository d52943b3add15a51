//! Who was met and could not be talked to, and why.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, identify};

use super::run::Node;
use crate::{
    events::{Event, Refusal},
    protocol::Protocol,
    stream::Names,
};
use conclave_eth::text::line;

/// The same refusal, and strangers in all, are reported at most this often.
const REPEAT: Duration = Duration::from_secs(60);
/// Strangers that are reported in [`REPEAT`].
const STRANGERS: usize = 8;
/// Most bytes of what a peer says of itself.
const MAX_WORDS: usize = 64;

/// How many strangers there were, and when they were told of.
#[derive(Default)]
pub(super) struct Strangers {
    total: u64,
    told: VecDeque<Instant>,
}

impl Strangers {
    /// One more; the number of all, if it is to be told.
    fn count(&mut self, now: Instant) -> Option<u64> {
        self.total += 1;
        while self.told.front().is_some_and(|told| now >= *told + REPEAT) {
            self.told.pop_front();
        }
        if self.told.len() >= STRANGERS {
            return None;
        }
        self.told.push_back(now);
        Some(self.total)
    }
}

impl<P: Protocol> Node<P> {
    pub(super) fn identified(&mut self, peer: PeerId, info: &identify::Info, now: Instant) {
        let Some(number) = self.by_peer.get(&peer).copied() else {
            return;
        };
        let Some(operator) = self.operators.get_mut(&number) else {
            return;
        };
        if Names::of::<P>().is_spoken(&info.protocols) {
            operator.speaks = None;
            return;
        }
        let ours = info
            .protocols
            .iter()
            .filter(|protocol| protocol.as_ref().starts_with("/conclave/"));
        let speaks: Vec<String> = ours
            .take(4)
            .map(|protocol| line(protocol.as_ref(), MAX_WORDS))
            .collect();
        let software = line(&info.agent_version, MAX_WORDS);
        // Whoever is silent from now on, or does not open the stream, is so for this reason.
        operator.speaks = Some((speaks.clone(), software.clone()));
        self.refused(number, Refusal::Protocol { speaks, software }, now);
    }

    pub(super) fn refused(&mut self, number: u16, why: Refusal, now: Instant) {
        let Some(operator) = self.operators.get_mut(&number) else {
            return;
        };
        let kind = std::mem::discriminant(&why);
        if operator
            .refusals
            .get(&kind)
            .is_none_or(|told| now >= *told + REPEAT)
        {
            operator.refusals.insert(kind, now);
            self.tell(Event::Refused {
                operator: number,
                why,
            });
        }
    }

    pub(super) fn stranger(&mut self, peer: PeerId, address: Multiaddr, now: Instant) {
        // An address of this machine, or of another process with the same identity, which other operators notice.
        if self.by_peer.contains_key(&peer) || peer == *self.swarm.local_peer_id() {
            return;
        }
        if let Some(total) = self.strangers.count(now) {
            self.tell(Event::Stranger { peer, address, total });
        }
    }
}
