//! Who lacks which entry: the synchronisation of journals as a pure state machine.
//!
//! No sockets, no clock, no files: messages and ticks go in, [`Output`]s come out, and what is held is asked of
//! a [`Ledger`]. The rules, per connection:
//!
//! 1. Both sides send `Hello`. If anything in it differs, both send their definition, say so to their people
//!    ([`Output::Difference`]), and nothing else is exchanged.
//! 2. Otherwise each sends an inventory of all it holds, its verdicts and its links. What the other holds and
//!    this side wants is requested in the order (attempt, step, operator), a bounded number of entries and
//!    bytes at a time, from one peer at a time; an answer that is slow is asked of another peer as well.
//! 3. An own new entry is pushed to every peer at once. An entry of somebody else is passed on only to peers
//!    that say they are linked neither to its author nor to anybody known to hold it: in a full mesh nothing
//!    is sent twice, in a star the hub passes on without a round trip. Because links are only claims, whoever
//!    was left out is told the id at the next tick.
//! 4. Inventories are repeated from time to time, so what was refused or lost once is offered again.
//! 5. Verdict lists are compared, and evidence that one lacks is asked for, one piece at a time.
//!
//! [`Output::Compared`] says that a peer's whole first inventory is here and all of it that was wanted has
//! arrived and been dealt with; before that a restarted node sends nothing new.
//!
//! Every structure that a peer can fill is bounded; a peer that lies about what it holds or to whom it is linked
//! delays nobody but itself by more than a tick or a timeout.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::twins::{Twin, Twins};
use super::wire::{Bytes, Hello, Id, Item, MAX_LIST, Message, Verdict};

#[cfg(test)]
mod tests;

/// Inventories are repeated after so many milliseconds.
const INVENTORY_EVERY: u64 = 60_000;
/// Another peer is asked for what one has not sent within this time, plus the time of its size.
const PATIENCE: u64 = 2_000;
/// A request is forgotten after this time, plus the time of its size.
const GIVE_UP: u64 = 15_000;
/// The slowest line that is still waited for, in bytes per millisecond.
const SLOWEST: u64 = 32;
/// At most so many requested entries are under way from one peer ...
const WINDOW_ENTRIES: usize = 64;
/// ... with so many bytes, unless a single one is larger.
const WINDOW_BYTES: usize = 8 << 20;
/// Entries up to this size are pushed to peers who may also get them from others.
const SMALL: usize = 8 << 10;
/// How often one peer is sent the same entry between two inventories.
const SERVE: u8 = 3;
/// The most verdicts of one peer that are remembered.
const MAX_VERDICTS: usize = 1024;

/// What the journal can say, and does not want. Called often: answers must be quick.
pub trait Ledger {
    /// All admitted entries, in any order.
    fn items(&self) -> Vec<Item>;
    /// Whether this entry's bytes are welcome now: it is neither held nor waiting, and of a session, attempt
    /// and slot of which more is taken. The item is a peer's claim.
    fn wants(&self, item: &Item) -> bool;
    /// The encoded admitted entry with this id.
    fn bytes(&self, id: &Id) -> Option<Bytes>;
    /// The verdicts for which evidence is held.
    fn verdicts(&self) -> Vec<Verdict>;
    /// Whether evidence for a verdict that is not held is welcome. The verdict is a peer's claim.
    fn wants_evidence(&self, verdict: &Verdict) -> bool;
    /// One encoded, self-contained piece of evidence for the verdict.
    fn evidence(&self, verdict: &Verdict) -> Option<Bytes>;
}

/// What does not change during a ceremony.
#[derive(Debug, Clone)]
pub struct Config {
    /// This operator, from 1.
    pub me: u16,
    /// How many operators there are.
    pub operators: u16,
    /// What this side says first; see [`super::twins`] for what is added to the name of the software.
    pub hello: Hello,
    /// A random number of this process, to tell it from others with the same identity.
    pub process: u64,
    /// This side's cluster definition (JSON), for peers with another one.
    pub definition: Bytes,
    /// The size of the encoded entry of each step, 0 to 7, in bytes: for planning only.
    pub sizes: [usize; 8],
}

/// What differs between two operators who should hold the same ceremony.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The peer's program speaks another version of the protocol, is on another network, or holds another cluster definition.
    Hello(Hello),
    /// The peer's cluster definition, if it holds another one: these bytes, which nobody has checked.
    Definition(Bytes),
}

/// What a correct peer never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A message before the `Hello`.
    #[error("it sent something before its greeting")]
    BeforeHello,
    /// A second `Hello`, or a definition that nobody asked for.
    #[error("it sent a greeting or a definition out of turn")]
    OutOfTurn,
    /// An operator who is not in the definition.
    #[error("it named an operator who does not exist")]
    NoSuchOperator,
    /// Far more messages than any correct peer sends.
    #[error("it sends more than a ceremony can have")]
    Flood,
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this to a connected operator.
    Send(u16, Message),
    /// An entry arrived. Check that it is the item's (its id!), then admit, keep waiting or refuse it, and
    /// **always** call [`Sync::processed`] afterwards.
    EntryReceived {
        /// From whom.
        operator: u16,
        /// What it is said to be.
        item: Item,
        /// The encoded entry, unchecked.
        bytes: Bytes,
    },
    /// A piece of evidence arrived, unchecked.
    EvidenceReceived {
        /// From whom.
        operator: u16,
        /// What it is said to show.
        verdict: Verdict,
        /// The encoded evidence.
        bytes: Bytes,
    },
    /// Everything that this peer held at the beginning and that was wanted is here. Once per connection.
    Compared(u16),
    /// This peer holds another ceremony; nothing more is exchanged with it on this connection.
    Difference(u16, Difference),
    /// An identity is used by two processes: that of this peer, or the own one.
    Twin(u16, Twin),
    /// This peer broke the rules of this module: disconnect it.
    Misbehaved(u16, Fault),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Apart { definition_due: bool },
    Syncing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offer {
    /// Never requested, or worth another try.
    Open,
    /// It came and is not admitted (yet).
    Came,
    /// It was requested and did not come.
    Missed,
}

#[derive(Debug, Clone, Copy)]
struct Request {
    since: u64,
    size: usize,
}

#[derive(Debug)]
struct Peer {
    stage: Stage,
    /// What the peer holds and this side does not, bounded.
    offers: BTreeMap<Item, Offer>,
    requests: HashMap<Id, Request>,
    /// Given to the caller and not yet [`Sync::processed`].
    processing: HashSet<Id>,
    /// Of what this side holds: what the peer has too.
    holds: HashSet<Id>,
    /// To be announced at the next tick, unless the peer gets it before.
    later: BTreeSet<Item>,
    served: HashMap<Id, u8>,
    /// Bytes pushed since the last tick. More than a window's worth is announced instead, so that a slow peer
    /// fetches at its own pace.
    pushed: usize,
    links: BTreeSet<u16>,
    links_known: bool,
    inventory_complete: bool,
    compared: bool,
    next_inventory: u64,
    verdict_offers: BTreeSet<Verdict>,
    evidence_request: Option<(Verdict, u64)>,
    verdicts_sent: Option<Vec<Verdict>>,
    links_sent: Vec<u16>,
    /// How many more unrequested messages are taken before the next tick adds some.
    budget: u32,
    budget_at: u64,
    over_budget: u32,
}

impl Peer {
    fn new(now: u64, budget: u32) -> Self {
        Self {
            stage: Stage::Greeting,
            offers: BTreeMap::new(),
            requests: HashMap::new(),
            processing: HashSet::new(),
            holds: HashSet::new(),
            later: BTreeSet::new(),
            served: HashMap::new(),
            pushed: 0,
            links: BTreeSet::new(),
            links_known: false,
            inventory_complete: false,
            compared: false,
            next_inventory: now + INVENTORY_EVERY,
            verdict_offers: BTreeSet::new(),
            evidence_request: None,
            verdicts_sent: None,
            links_sent: Vec::new(),
            budget,
            budget_at: now,
            over_budget: 0,
        }
    }

    fn under_way(&self) -> usize {
        self.requests.values().map(|request| request.size).sum()
    }
}

/// The synchronisation of one journal with all connected peers.
#[derive(Debug)]
pub struct Sync {
    config: Config,
    now: u64,
    held: HashMap<Id, Item>,
    peers: BTreeMap<u16, Peer>,
    twins: Twins,
}

impl Sync {
    /// Starts with what the journal holds now and nobody connected.
    pub fn new(config: Config, ledger: &dyn Ledger) -> Self {
        let held = ledger.items().into_iter().map(|item| (item.id, item)).collect();
        Self {
            twins: Twins::new(config.process),
            config,
            now: 0,
            held,
            peers: BTreeMap::new(),
        }
    }

    /// A connection to this operator is there.
    pub fn connected(&mut self, operator: u16) -> Vec<Output> {
        let budget = self.budget();
        self.peers.insert(operator, Peer::new(self.now, budget));
        let hello = Hello {
            software: self.twins.software(operator, &self.config.hello.software),
            ..self.config.hello.clone()
        };
        vec![Output::Send(operator, Message::Hello(hello))]
    }

    /// As [`Self::disconnected`], where a newer connection of this operator takes the place of one that is still there.
    pub fn replaced(&mut self, operator: u16, ledger: &dyn Ledger) -> Vec<Output> {
        let out = self.disconnected(operator, ledger);
        self.twins.replaced(operator);
        out
    }

    /// The connection to this operator is gone; what it was asked for is asked of others.
    pub fn disconnected(&mut self, operator: u16, ledger: &dyn Ledger) -> Vec<Output> {
        self.twins.gone(operator);
        self.peers.remove(&operator);
        let mut out = Vec::new();
        self.announce_links(&mut out, self.config.operators <= 16);
        self.pump_all(ledger, &mut out);
        out
    }

    /// The operators with whom inventories were compared on the present connection.
    pub fn compared(&self) -> impl Iterator<Item = u16> + '_ {
        self.peers
            .iter()
            .filter(|(_, peer)| peer.compared)
            .map(|(operator, _)| *operator)
    }

    /// Whether an operator is connected and holds another ceremony.
    pub fn is_apart(&self, operator: u16) -> bool {
        let peer = self.peers.get(&operator);
        peer.is_some_and(|peer| matches!(peer.stage, Stage::Apart { .. }))
    }

    /// A connected operator who says that it is connected with this one; the first of several.
    pub fn through(&self, operator: u16) -> Option<u16> {
        self.peers
            .iter()
            .find(|(_, peer)| peer.stage == Stage::Syncing && peer.links.contains(&operator))
            .map(|(hub, _)| *hub)
    }

    /// A message of a connected operator. Unknown operators are ignored.
    pub fn message(&mut self, operator: u16, message: Message, ledger: &dyn Ledger) -> Vec<Output> {
        let mut out = Vec::new();
        match self.take(operator, message, ledger, &mut out) {
            Ok(()) => self.pump(operator, ledger, &mut out),
            Err(fault) => {
                self.peers.remove(&operator);
                out.push(Output::Misbehaved(operator, fault));
            }
        }
        out
    }

    /// The entry of an [`Output::EntryReceived`] has been admitted, put aside or refused.
    /// If it was admitted, call [`Sync::admitted`] first.
    pub fn processed(&mut self, operator: u16, id: &Id, ledger: &dyn Ledger) -> Vec<Output> {
        let mut out = Vec::new();
        if let Some(peer) = self.peers.get_mut(&operator) {
            peer.processing.remove(id);
        }
        self.pump_all(ledger, &mut out);
        out
    }

    /// The journal admitted this entry, made here or received.
    pub fn admitted(&mut self, item: Item, ledger: &dyn Ledger) -> Vec<Output> {
        let mut out = Vec::new();
        if self.held.insert(item.id, item).is_some() {
            return out;
        }
        for peer in self.peers.values_mut() {
            if peer.offers.remove(&item).is_some() {
                peer.holds.insert(item.id);
            }
        }
        self.pass_on(item, ledger, &mut out);
        self.pump_all(ledger, &mut out);
        out
    }

    /// Asks this operator, and whoever else says that it holds them, for entries that another entry names.
    pub fn ask(&mut self, operator: u16, ids: &[Id]) -> Vec<Output> {
        let patient = |request: &Request, now: u64| now < request.since + PATIENCE + waiting(request.size);
        let now = self.now;
        let wanted: Vec<Id> = ids
            .iter()
            .filter(|id| !self.held.contains_key(*id))
            .filter(|id| {
                !self
                    .peers
                    .values()
                    .any(|p| p.requests.get(*id).is_some_and(|r| patient(r, now)))
            })
            .copied()
            .collect();
        let Some(peer) = self
            .peers
            .get_mut(&operator)
            .filter(|peer| peer.stage == Stage::Syncing)
        else {
            return Vec::new();
        };
        let room = (4 * WINDOW_ENTRIES).saturating_sub(peer.requests.len());
        let wanted: Vec<Id> = wanted.into_iter().take(room).collect();
        for id in &wanted {
            peer.requests.insert(*id, Request { since: now, size: 0 });
        }
        if wanted.is_empty() {
            Vec::new()
        } else {
            vec![Output::Send(operator, Message::Want(wanted))]
        }
    }

    /// The verdict set changed: tells the peers at once.
    pub fn verdicts_changed(&mut self, ledger: &dyn Ledger) -> Vec<Output> {
        let mut out = Vec::new();
        self.announce_verdicts(ledger, &mut out);
        out
    }

    /// Time passes. Call it some times a second; `now` in milliseconds from any fixed point, never decreasing.
    pub fn tick(&mut self, now: u64, ledger: &dyn Ledger) -> Vec<Output> {
        let mut out = Vec::new();
        self.now = self.now.max(now);
        let (now, budget) = (self.now, self.budget());
        let mut inventory = None;
        for (&operator, peer) in self
            .peers
            .iter_mut()
            .filter(|(_, peer)| peer.stage == Stage::Syncing)
        {
            if now >= peer.budget_at + 1000 {
                peer.budget_at = now;
                peer.budget = budget.min(peer.budget + budget / 4);
            }
            peer.pushed = 0;
            let later: Vec<Item> = std::mem::take(&mut peer.later)
                .into_iter()
                .filter(|i| !peer.holds.contains(&i.id))
                .collect();
            out.extend(
                later
                    .chunks(MAX_LIST)
                    .map(|part| Output::Send(operator, Message::Have(part.to_vec()))),
            );
            let late: Vec<Id> = peer
                .requests
                .iter()
                .filter(|(_, request)| now >= request.since + GIVE_UP + waiting(request.size))
                .map(|(id, _)| *id)
                .collect();
            for id in late {
                peer.requests.remove(&id);
                peer.offers
                    .iter_mut()
                    .filter(|(i, _)| i.id == id)
                    .for_each(|(_, offer)| *offer = Offer::Missed);
            }
            peer.evidence_request = peer
                .evidence_request
                .filter(|(_, since)| now < since + 4 * GIVE_UP);
            if now >= peer.next_inventory {
                peer.next_inventory = now + INVENTORY_EVERY;
                peer.served.clear();
                peer.verdicts_sent = None;
                peer.offers.values_mut().for_each(|offer| *offer = Offer::Open);
                let items = inventory.get_or_insert_with(|| sorted(self.held.values().copied()));
                send_inventory(operator, items, &mut out);
            }
        }
        self.announce_links(&mut out, true);
        self.announce_verdicts(ledger, &mut out);
        self.pump_all(ledger, &mut out);
        out
    }

    /// How many unrequested messages of one peer are taken at once: in a burst a hub passes on what a whole
    /// attempt of everybody holds.
    fn budget(&self) -> u32 {
        1024 + 32 * u32::from(self.config.operators)
    }

    fn take(
        &mut self,
        operator: u16,
        message: Message,
        ledger: &dyn Ledger,
        out: &mut Vec<Output>,
    ) -> Result<(), Fault> {
        let operators = self.config.operators;
        let max_offers = (usize::from(operators) * 8 * 32).clamp(1024, 16_384);
        let Some(peer) = self.peers.get_mut(&operator) else {
            return Ok(());
        };
        match (peer.stage, message) {
            (Stage::Greeting, Message::Hello(hello)) => self.greeted(operator, hello, ledger, out),
            (Stage::Greeting, _) => return Err(Fault::BeforeHello),
            (Stage::Apart { definition_due: true }, Message::Definition(bytes)) => {
                peer.stage = Stage::Apart {
                    definition_due: false,
                };
                out.push(Output::Difference(operator, Difference::Definition(bytes)));
            }
            (_, Message::Hello(_) | Message::Definition(_)) => return Err(Fault::OutOfTurn),
            // Whoever is apart may not have noticed yet; node messages do not belong here.
            (Stage::Apart { .. }, _) => {}
            (Stage::Syncing, Message::Inventory { last, items }) => {
                // It is sent in answer to a greeting.
                self.twins.taken(operator);
                spend(peer)?;
                offered(peer, &self.held, items, operators, max_offers)?;
                peer.inventory_complete |= last;
            }
            (Stage::Syncing, Message::Have(items)) => {
                if spend(peer)? {
                    offered(peer, &self.held, items, operators, max_offers)?;
                }
            }
            (Stage::Syncing, Message::Want(ids)) => {
                if spend(peer)? {
                    serve(operator, peer, &self.held, &ids, ledger, out);
                }
            }
            (Stage::Syncing, Message::Entry { item, bytes }) => {
                let solicited = peer.requests.remove(&item.id).is_some();
                if !solicited && !spend(peer)? {
                    return Ok(());
                }
                offered(peer, &self.held, vec![item], operators, max_offers)?;
                if ledger.wants(&item) && peer.processing.insert(item.id) {
                    if let Some(offer) = peer.offers.get_mut(&item) {
                        *offer = Offer::Came;
                    }
                    out.push(Output::EntryReceived {
                        operator,
                        item,
                        bytes,
                    });
                }
            }
            (Stage::Syncing, Message::Verdicts(verdicts)) => {
                if spend(peer)? {
                    if verdicts.iter().any(|verdict| verdict.operator > operators) {
                        return Err(Fault::NoSuchOperator);
                    }
                    peer.verdict_offers = verdicts.into_iter().take(MAX_VERDICTS).collect();
                }
            }
            (Stage::Syncing, Message::WantEvidence(verdicts)) => {
                if spend(peer)? {
                    let pieces = verdicts
                        .iter()
                        .take(8)
                        .filter_map(|v| Some((*v, ledger.evidence(v)?)));
                    out.extend(pieces.map(|(verdict, bytes)| {
                        Output::Send(operator, Message::Evidence { verdict, bytes })
                    }));
                }
            }
            (Stage::Syncing, Message::Evidence { verdict, bytes }) => {
                // Only what was asked for: evidence is large and costs much to check.
                if peer.evidence_request.is_some_and(|(asked, _)| asked == verdict) {
                    peer.evidence_request = None;
                    peer.verdict_offers.remove(&verdict);
                    out.push(Output::EvidenceReceived {
                        operator,
                        verdict,
                        bytes,
                    });
                } else {
                    spend(peer)?;
                }
            }
            (Stage::Syncing, Message::Links(links)) => {
                if spend(peer)? {
                    if links.iter().any(|linked| *linked == 0 || *linked > operators) {
                        return Err(Fault::NoSuchOperator);
                    }
                    peer.links = links.into_iter().collect();
                    peer.links_known = true;
                }
            }
        }
        Ok(())
    }

    fn greeted(&mut self, operator: u16, mut hello: Hello, ledger: &dyn Ledger, out: &mut Vec<Output>) {
        let twins = self.twins.greeted(operator, &mut hello.software);
        out.extend(twins.into_iter().map(|twin| Output::Twin(operator, twin)));
        let own = &self.config.hello;
        let Some(peer) = self.peers.get_mut(&operator) else {
            return;
        };
        let same_network = (
            hello.protocol,
            hello.genesis_fork_version,
            hello.genesis_time,
            hello.chain_id,
        ) == (
            own.protocol,
            own.genesis_fork_version,
            own.genesis_time,
            own.chain_id,
        );
        let same_definition = hello.definition_hash == own.definition_hash;
        if !same_definition {
            out.push(Output::Send(
                operator,
                Message::Definition(self.config.definition.clone()),
            ));
        }
        if !same_network || !same_definition {
            out.push(Output::Difference(operator, Difference::Hello(hello)));
            peer.stage = Stage::Apart {
                definition_due: !same_definition,
            };
            return;
        }
        peer.stage = Stage::Syncing;
        send_inventory(operator, &sorted(self.held.values().copied()), out);
        self.announce_links(out, self.config.operators <= 16);
        self.announce_verdicts(ledger, out);
    }

    /// Tells everybody who is connected here, if that changed. In large groups only at ticks: while everybody
    /// connects to everybody each single change would be told to all.
    fn announce_links(&mut self, out: &mut Vec<Output>, now: bool) {
        let links: Vec<u16> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.stage == Stage::Syncing)
            .map(|(o, _)| *o)
            .collect();
        for (&operator, peer) in self
            .peers
            .iter_mut()
            .filter(|(_, peer)| peer.stage == Stage::Syncing)
        {
            if peer.links_sent != links && (now || peer.links_sent.is_empty()) {
                peer.links_sent.clone_from(&links);
                out.push(Output::Send(operator, Message::Links(links.clone())));
            }
        }
    }

    fn announce_verdicts(&mut self, ledger: &dyn Ledger, out: &mut Vec<Output>) {
        if self.peers.is_empty() {
            return;
        }
        let mut verdicts = ledger.verdicts();
        verdicts.sort_unstable();
        verdicts.truncate(MAX_LIST);
        for (&operator, peer) in self
            .peers
            .iter_mut()
            .filter(|(_, peer)| peer.stage == Stage::Syncing)
        {
            // Nothing to say is said only to take something back.
            let before = peer.verdicts_sent.replace(verdicts.clone()).unwrap_or_default();
            if before != verdicts {
                out.push(Output::Send(operator, Message::Verdicts(verdicts.clone())));
            }
        }
    }

    /// Gives a new entry to those who cannot get it otherwise, and its id at the next tick to the others.
    fn pass_on(&mut self, item: Item, ledger: &dyn Ledger, out: &mut Vec<Output>) {
        let me = self.config.me;
        let Some(bytes) = ledger.bytes(&item.id) else {
            return;
        };
        let mut sources: BTreeSet<u16> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.holds.contains(&item.id))
            .map(|(operator, _)| *operator)
            .collect();
        sources.insert(item.operator);
        for (&operator, peer) in self
            .peers
            .iter_mut()
            .filter(|(_, peer)| peer.stage == Stage::Syncing)
        {
            if peer.holds.contains(&item.id) {
                continue;
            }
            let own = item.operator == me;
            let others_will = !own && peer.links.iter().any(|linked| sources.contains(linked));
            let only_we_can = peer.links_known && peer.links.iter().all(|linked| *linked == me);
            let room = peer.pushed == 0 || peer.pushed + bytes.len() <= WINDOW_BYTES;
            if others_will {
                peer.later.insert(item);
            } else if own || (room && (only_we_can || bytes.len() <= SMALL)) {
                peer.pushed += bytes.len();
                peer.holds.insert(item.id);
                out.push(Output::Send(
                    operator,
                    Message::Entry {
                        item,
                        bytes: bytes.clone(),
                    },
                ));
            } else {
                out.push(Output::Send(operator, Message::Have(vec![item])));
            }
        }
    }

    fn pump_all(&mut self, ledger: &dyn Ledger, out: &mut Vec<Output>) {
        let operators: Vec<u16> = self.peers.keys().copied().collect();
        for operator in operators {
            self.pump(operator, ledger, out);
        }
    }

    /// Requests what this peer offers and nobody else is about to send, within its window.
    fn pump(&mut self, operator: u16, ledger: &dyn Ledger, out: &mut Vec<Output>) {
        let Some(mut peer) = self.peers.remove(&operator) else {
            return;
        };
        if peer.stage == Stage::Syncing {
            self.pump_entries(operator, &mut peer, ledger, out);
            self.pump_evidence(operator, &mut peer, ledger, out);
        }
        self.peers.insert(operator, peer);
    }

    fn pump_entries(&self, operator: u16, peer: &mut Peer, ledger: &dyn Ledger, out: &mut Vec<Output>) {
        let mut wanted = Vec::new();
        let mut bytes = peer.under_way();
        let mut complete = peer.inventory_complete;
        for (item, offer) in &peer.offers {
            if *offer == Offer::Came || peer.processing.contains(&item.id) || !ledger.wants(item) {
                continue;
            }
            complete = false;
            let size = self
                .config
                .sizes
                .get(usize::from(item.step))
                .copied()
                .unwrap_or(0);
            let expected = peer.requests.contains_key(&item.id)
                || self.peers.values().any(|other| {
                    other.processing.contains(&item.id)
                        || other
                            .requests
                            .get(&item.id)
                            .is_some_and(|r| self.now < r.since + PATIENCE + waiting(r.size))
                });
            if expected || *offer == Offer::Missed {
                continue;
            }
            let window = peer.requests.len() < WINDOW_ENTRIES;
            if !window || (bytes + size > WINDOW_BYTES && !peer.requests.is_empty()) {
                break;
            }
            bytes += size;
            wanted.push(item.id);
            peer.requests.insert(
                item.id,
                Request {
                    since: self.now,
                    size,
                },
            );
        }
        if !wanted.is_empty() {
            out.push(Output::Send(operator, Message::Want(wanted)));
        }
        if complete && !peer.compared && peer.requests.is_empty() && peer.processing.is_empty() {
            peer.compared = true;
            out.push(Output::Compared(operator));
        }
    }

    fn pump_evidence(&self, operator: u16, peer: &mut Peer, ledger: &dyn Ledger, out: &mut Vec<Output>) {
        if peer.evidence_request.is_some() || peer.verdict_offers.is_empty() {
            return;
        }
        let held: BTreeSet<Verdict> = ledger.verdicts().into_iter().collect();
        peer.verdict_offers.retain(|verdict| !held.contains(verdict));
        let asked_elsewhere = |verdict: &Verdict| {
            self.peers
                .values()
                .any(|p| p.evidence_request.is_some_and(|(v, _)| v == *verdict))
        };
        let next = peer
            .verdict_offers
            .iter()
            .find(|v| !asked_elsewhere(v) && ledger.wants_evidence(v))
            .copied();
        if let Some(verdict) = next {
            peer.evidence_request = Some((verdict, self.now));
            out.push(Output::Send(operator, Message::WantEvidence(vec![verdict])));
        }
    }
}

/// The time that so many bytes may take, in milliseconds.
fn waiting(size: usize) -> u64 {
    size as u64 / SLOWEST
}

fn sorted(items: impl Iterator<Item = Item>) -> Vec<Item> {
    let mut items: Vec<Item> = items.collect();
    items.sort_unstable();
    items
}

fn send_inventory(operator: u16, items: &[Item], out: &mut Vec<Output>) {
    if items.is_empty() {
        out.push(Output::Send(
            operator,
            Message::Inventory {
                last: true,
                items: Vec::new(),
            },
        ));
    }
    let parts = items.len().div_ceil(MAX_LIST);
    for (i, part) in items.chunks(MAX_LIST).enumerate() {
        let message = Message::Inventory {
            last: i + 1 == parts,
            items: part.to_vec(),
        };
        out.push(Output::Send(operator, message));
    }
}

/// Whether one more unrequested message is taken. What is not taken is offered again by the next inventory.
fn spend(peer: &mut Peer) -> Result<bool, Fault> {
    if let Some(left) = peer.budget.checked_sub(1) {
        peer.budget = left;
        return Ok(true);
    }
    peer.over_budget += 1;
    if peer.over_budget > 10_000 {
        Err(Fault::Flood)
    } else {
        Ok(false)
    }
}

/// Notes what a peer says that it holds.
fn offered(
    peer: &mut Peer,
    held: &HashMap<Id, Item>,
    items: Vec<Item>,
    operators: u16,
    max_offers: usize,
) -> Result<(), Fault> {
    for item in items {
        if item.operator == 0 || item.operator > operators {
            return Err(Fault::NoSuchOperator);
        }
        if held.contains_key(&item.id) {
            peer.holds.insert(item.id);
            continue;
        }
        peer.offers.entry(item).or_insert(Offer::Open);
        if peer.offers.len() > max_offers {
            // The last in order is the furthest ahead; an honest peer will offer it again.
            peer.offers.pop_last();
        }
    }
    Ok(())
}

/// Answers a request with what is held, each entry a few times at most.
fn serve(
    operator: u16,
    peer: &mut Peer,
    held: &HashMap<Id, Item>,
    ids: &[Id],
    ledger: &dyn Ledger,
    out: &mut Vec<Output>,
) {
    for id in ids {
        let Some(item) = held.get(id) else { continue };
        let times = peer.served.entry(*id).or_default();
        if *times >= SERVE {
            continue;
        }
        *times += 1;
        if let Some(bytes) = ledger.bytes(id) {
            peer.holds.insert(*id);
            out.push(Output::Send(operator, Message::Entry { item: *item, bytes }));
        }
    }
}
