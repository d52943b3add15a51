//! Several beacon nodes: who is of use, who is asked first, and what to do when one is slow.
//!
//! A question goes to the best node ([`choice`] says which that is); when it has not answered after a fraction of the time there is, the next one is
//! asked too, and the first good answer counts. A submission goes to every node that is of use. A node of another
//! chain is never asked for anything but what chain it is on, and one of another fork schedule only until the schedules part
//! (`schedule`).
//!
//! | Module | What it is |
//! |---|---|
//! | `health` | how each node is, as people are told |
//! | `asked` | what came of asking one |
//! | `poll` | asking all of them the same, where one node's word is not enough |

mod asked;
mod health;
mod poll;

pub use health::{AllFailed, Health, State};
pub use poll::Said;

use asked::{Asked, Failing};
use health::state;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use tokio::time::{Instant, sleep, sleep_until};

use crate::chain::spec::{Chain, Genesis, MAX_GENESIS_BYTES, MAX_SPEC_BYTES, Parting, Pinned, Spec};
use conclave_crypto::hash::Hash;
use conclave_eth::recognise::why_no_json;

use super::{
    answers::{Data, Header, Syncing, Version},
    choice::{self, Standing},
    http::{ErrorKind, Node, NodeError, Request, line},
    schedule::{Word, counting},
};

/// Most bytes of a short answer.
pub(super) const SMALL: usize = 16 * 1024;
/// How long a node may take to show its head when it is asked how it is.
const SHOW_HEAD: Duration = Duration::from_secs(1);
/// Duties are asked for, and what they need is signed, so many epochs ahead: by then a schedule has to be the right one.
const AHEAD: u64 = 1;
/// The specification is read again after this many checks: an updated node may know of new forks.
const SPEC_EVERY: u32 = 64;
/// In so many checks in a row, a slot or more apart, most nodes must say something else of the network than what was settled before
/// that counts.
const CONTRADICTED_AFTER: u32 = 2;
/// Longest wait for one node before the next is asked too.
const MAX_HEDGE: Duration = Duration::from_millis(750);
/// The stream that tells of new blocks.
pub(super) const EVENTS: &str = "events";
/// A node that asks for fewer requests, and does not say for how long, is checked again after this; duties ask all the same.
const SPARED: Duration = Duration::from_secs(12);
/// What is asked in every check, beside the chain.
const SPECIFICATION: &str = "specification";
const SYNCING: &str = "sync status";
pub(super) const HEAD: &str = "its head";
/// Pause before something is submitted again that no node took; each further one is twice as long, so that a node that
/// always fails has it ten times in an epoch, not a hundred times.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest wait for a node to take what is submitted.
const SUBMISSION: Duration = Duration::from_secs(12);
/// Time is ours: a node that had less than this says nothing by not answering in it.
pub(super) const FAIR: Duration = Duration::from_secs(1);
/// The same for what may be hard to answer: a block that is made, or a whole one.
pub(super) const FAIR_IF_HARD: Duration = Duration::from_secs(4);
/// Shortest.
const MIN_HEDGE: Duration = Duration::from_millis(20);

/// An answer and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From<T> {
    /// The answer.
    pub value: T,
    /// The place of the node among those that were given.
    pub node: usize,
}

/// What became of a submission. At least one node accepted it.
#[derive(Debug, Clone)]
pub struct Submission<T> {
    /// What the accepting nodes said, in the order in which they did.
    pub accepted: Vec<From<T>>,
    /// How long the first acceptance took.
    pub after: Duration,
    /// Who did not accept it, and why.
    pub refused: Vec<NodeError>,
}

struct Member {
    node: Node,
    /// As it is by itself.
    state: State,
    /// Why it is not used although it may be well.
    refused: Option<State>,
    /// Where its fork schedule parts from the one that counts.
    parting: Option<Parting>,
    version: String,
    head: Option<choice::Head>,
    /// When it told of that, and whether its execution client had not verified it.
    told_at: Instant,
    optimistic: bool,
    /// Whether it was in step when it was asked last.
    in_step: bool,
    latency: Duration,
    /// The chain as it told it last; none of one that is gone, or is not what is expected of all.
    told: Option<Arc<Chain>>,
    /// The same, even if it is gone.
    told_last: Option<Arc<Chain>>,
    checks: u32,
    /// It asked for fewer requests: until then it is not asked how it is.
    spared: Option<Instant>,
    /// By what was asked.
    failing: BTreeMap<&'static str, Failing>,
    /// How many requests wait for its answer.
    asked: usize,
}

impl Member {
    /// Whether it has told its chain since it was last down, and nothing speaks against it.
    fn is_verified(&self) -> bool {
        self.told.is_some() && self.refused.is_none()
    }

    /// As it is for others.
    fn shown(&self) -> &State {
        self.refused.as_ref().unwrap_or(&self.state)
    }

    /// Whether it failed this request lately, so that others are asked before it.
    fn is_behind(&self, request: &'static str) -> bool {
        let failing = self.failing.get(request);
        failing.is_some_and(|failing| failing.is_behind(self.checks))
    }

    /// It gave a good answer, or one that is no failure.
    fn answered(&mut self, request: &'static str) {
        self.failing.remove(request);
    }

    fn failed(&mut self, request: &'static str, error: &NodeError, needed: bool) {
        if !error.kind.is_trouble() {
            return self.answered(request);
        }
        self.count_failure(request, error, needed);
    }

    fn count_failure(&mut self, request: &'static str, error: &NodeError, needed: bool) {
        let check = self.checks;
        let failing = self.failing.entry(request);
        let failing = failing.or_insert_with(|| Failing::new(check, error, needed));
        let is_first = failing.count(check, error);
        if is_first && request != EVENTS && matches!(error.kind, ErrorKind::Unreachable(_)) {
            // Perhaps it was started again, and is another version. What breaks all the time says nothing.
            self.node.forget_lacking();
        }
    }

    fn trouble(&self) -> Option<NodeError> {
        let known = self.failing.iter();
        known
            .filter(|(request, failing)| **request != EVENTS && failing.is_trouble())
            .min_by_key(|(_, failing)| failing.since)
            .map(|(_, failing)| failing.error.clone())
    }

    fn silent(&self) -> Option<NodeError> {
        let failing = self.failing.get(EVENTS)?;
        failing.is_trouble().then(|| failing.error.clone())
    }
}

/// Most nodes say another network than the one that was settled.
struct Contradiction {
    why: String,
    /// In how many checks in a row, of those that were a slot or more apart: where no node is of use there are several in a slot, and
    /// a proxy that points elsewhere for a moment is no reason to end.
    times: u32,
    /// When it was counted last, in milliseconds since the Unix epoch.
    counted_ms: u64,
}

struct Shared {
    members: Vec<Member>,
    chain: Option<Arc<Chain>>,
    /// The chain in use: where as many nodes say the one as the other, it stays. With it since when another one has counted, in milliseconds since
    /// the Unix epoch, if one does.
    in_use: Option<(Arc<Chain>, Option<u64>)>,
    pinned: Pinned,
    /// Whether a check has found a chain when not all nodes had said what theirs is.
    heard_some: bool,
    /// Why the chain cannot be what was settled, if most of several nodes say so in every check since.
    contradiction: Option<Contradiction>,
    /// The head of which [`Nodes::new_head`] told last: slot and root.
    head_told: Option<(u64, Hash)>,
    /// The wall clock at the last check, in milliseconds since the Unix epoch.
    clock: Option<(u64, Instant)>,
}

impl Shared {
    /// The wall clock, in milliseconds since the Unix epoch, if there was a check.
    fn now_ms(&self) -> Option<u64> {
        let (then, at) = self.clock?;
        let since = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(then.saturating_add(since))
    }

    /// A check begins. What nodes lacked in another epoch they may have by now: they are asked once more.
    fn clock_is(&mut self, now_ms: u64) {
        let before = self.clock.replace((now_ms, Instant::now()));
        let epoch = |now_ms: u64| self.chain.as_ref()?.time().epoch_at(now_ms);
        if before.and_then(|(before, _)| epoch(before)) != epoch(now_ms) {
            for member in &self.members {
                member.node.retry_lacking();
            }
        }
    }

    /// The slot by our clock; none before genesis.
    fn slot(&self) -> Option<u64> {
        self.chain.as_ref()?.time().slot_at(self.now_ms()?)
    }

    /// Nodes of the right chain, for a choice among them: of whom to ask this, or of whose head is ours.
    fn standings(&self, request: Option<&'static str>) -> Vec<Standing> {
        let members = self.members.iter().enumerate();
        let standing = |(place, member): (usize, &Member)| {
            let least = if member.optimistic {
                State::Optimistic.rank()
            } else {
                0
            };
            Standing {
                place,
                rank: member.state.rank().max(least),
                behind: request.is_some_and(|request| member.is_behind(request)),
                head: member.head,
            }
        };
        members
            .filter(|(_, member)| member.is_verified())
            .map(standing)
            .collect()
    }

    /// Finds out what counts of what the nodes say. Who is gone has no say, and who is not in step has one only if nobody
    /// is. The network is settled by the first count ([`Nodes::settled`]): what runs cannot change it. What was known stays the same
    /// thing if nothing is new.
    fn count(&mut self) {
        let before = self.contradiction.take();
        self.contradiction = self.contradict().map(|why| self.counted(why, before));
        let (known, now) = (self.chain.as_ref(), self.now_ms());
        let words_of = |in_step: bool| {
            let members = self.members.iter().filter(|member| member.in_step || !in_step);
            let words = members.filter_map(|member| {
                let chain = member.told.clone()?;
                let slot = now.and_then(|now| chain.time().slot_at(now)).unwrap_or(0);
                // No head is of the future; clocks differ, but who is ahead of ours has no newer head for that.
                let head = member.head.filter(|head| head.slot <= slot.saturating_add(1));
                Some(Word {
                    chain,
                    head_slot: head.map_or(0, |head| head.slot.min(slot)),
                })
            });
            words
                .filter(|word| known.is_none_or(|known| known.same_network(&word.chain).is_ok()))
                .collect::<Vec<Word>>()
        };
        let mut words = words_of(true);
        if words.is_empty() {
            words = words_of(false);
        }
        let likely = self.pinned.likely_genesis_time.filter(|_| known.is_none());
        let is_likely = |word: &Word| likely == Some(word.chain.genesis.time);
        if words.iter().any(is_likely) {
            words.retain(is_likely);
        }
        let in_use = self.in_use.as_ref().map(|(used, _)| {
            let epoch = now.and_then(|now| used.time().epoch_at(now));
            (&**used, epoch.unwrap_or(0))
        });
        let chain = counting(&words, in_use)
            .and_then(|place| words.get(place))
            .map(|word| word.chain.clone());
        let Some(chain) = chain else {
            return;
        };
        self.use_from_now_on(&chain);
        if self.chain.as_ref() != Some(&chain) {
            self.chain = Some(chain);
        }
    }

    /// A chain counts. That it does while those are away who say what was in use does not make it the one in use, before an epoch is over.
    fn use_from_now_on(&mut self, chain: &Arc<Chain>) {
        let is_told = |used: &Arc<Chain>| {
            let mut last = self.members.iter().filter_map(|member| member.told_last.as_ref());
            last.any(|told| told == used)
        };
        let time = chain.time();
        let epoch_ms = time.slot_ms.saturating_mul(time.slots_per_epoch);
        let now_ms = self.clock.map_or(0, |(now_ms, _)| now_ms);
        let since = match &self.in_use {
            Some((used, _)) if used == chain => Some(None),
            Some((used, since)) if is_told(used) => {
                let since = since.unwrap_or(now_ms);
                (now_ms.abs_diff(since) < epoch_ms).then_some(Some(since))
            }
            _ => None,
        };
        self.in_use = match (self.in_use.take(), since) {
            (Some((used, _)), Some(since)) => Some((used, since)),
            _ => Some((chain.clone(), None)),
        };
    }

    /// A contradiction is there in this check, too.
    fn counted(&self, why: String, before: Option<Contradiction>) -> Contradiction {
        let now_ms = self.clock.map_or(0, |(now_ms, _)| now_ms);
        let apart = self.chain.as_ref().map_or(0, |chain| chain.time().slot_ms);
        let first = Contradiction {
            why: why.clone(),
            times: 1,
            counted_ms: now_ms,
        };
        match before {
            None => first,
            Some(before) if now_ms.abs_diff(before.counted_ms) < apart => Contradiction { why, ..before },
            Some(before) => Contradiction {
                times: before.times.saturating_add(1),
                ..first
            },
        }
    }

    /// What most nodes say against the network that was settled: more of those that are there than there are nodes that said last
    /// what was settled, gone or not. So nobody is stopped by one node as long as another one has not changed its mind.
    fn contradict(&self) -> Option<String> {
        let settled = self.chain.as_ref()?;
        let is_settled = |chain: &&Arc<Chain>| settled.same_network(chain).is_ok();
        let last = self.members.iter().filter_map(|member| member.told_last.as_ref());
        let agree = last.filter(is_settled).count();
        let others: Vec<(&str, &Arc<Chain>)> = self
            .members
            .iter()
            .filter_map(|member| Some((member.node.name(), member.told.as_ref()?)))
            .filter(|(_, chain)| !is_settled(chain))
            .collect();
        others.iter().find_map(|(_, one)| {
            let alike: Vec<&str> = others
                .iter()
                .filter(|(_, other)| one.same_network(other).is_ok())
                .map(|(name, _)| *name)
                .collect();
            let mismatch = settled.same_network(one).err()?;
            // One node alone is no majority of anything, whether it is the only one or the only one that is there: it may have been
            // swapped for a moment, and is not used meanwhile.
            (alike.len() > agree.max(1))
                .then(|| format!("{} say: {mismatch}, as at the start", alike.join(", ")))
        })
    }

    /// Holds what each node says against what counts.
    fn judge(&mut self, now_ms: u64) {
        let Some(chain) = &self.chain else {
            return;
        };
        let epoch = chain.time().epoch_at(now_ms).unwrap_or(0);
        for member in &mut self.members {
            let Some(told) = &member.told else {
                (member.refused, member.parting) = (None, None);
                continue;
            };
            let before = member.refused.take();
            member.parting = chain.spec.parts_from(&told.spec);
            if let Err(mismatch) = chain.same_network(told) {
                let error = member.node.error("network", ErrorKind::WrongNetwork(mismatch));
                (member.refused, member.parting) = (Some(State::WrongNetwork(error)), None);
            } else if let Some(parting) = member
                .parting
                .take_if(|parting| parting.epoch <= epoch.saturating_add(AHEAD))
            {
                member.refused = Some(State::OtherSchedule(parting));
            }
            if let Some(why) = member.refused.as_ref().filter(|_| before.is_none()) {
                tracing::info!("beacon node {} is not used: {}", member.node.name(), why.text());
            }
        }
    }
}

/// Several beacon nodes. Clones share everything.
#[derive(Clone)]
pub struct Nodes(Arc<Mutex<Shared>>);

impl Nodes {
    /// From prepared nodes, in the order in which they are preferred. Nothing is sent yet: see [`Nodes::check`].
    /// `pinned` is what is known of the network beforehand.
    pub fn new(nodes: Vec<Node>, pinned: Pinned) -> Self {
        let members = told_apart(nodes)
            .into_iter()
            .map(|node| Member {
                node,
                state: State::Unknown,
                refused: None,
                parting: None,
                version: String::new(),
                head: None,
                told_at: Instant::now(),
                optimistic: false,
                in_step: false,
                latency: Duration::ZERO,
                told: None,
                told_last: None,
                checks: 0,
                spared: None,
                failing: BTreeMap::new(),
                asked: 0,
            })
            .collect();
        Self(Arc::new(Mutex::new(Shared {
            members,
            chain: None,
            in_use: None,
            pinned,
            heard_some: false,
            contradiction: None,
            head_told: None,
            clock: None,
        })))
    }

    /// Only ever held for a few assignments, so whoever panicked left it whole.
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chain, once a node has told it. Its forks to come may change: a node that was updated may know of others.
    pub fn chain(&self) -> Option<Arc<Chain>> {
        self.shared().chain.clone()
    }

    /// The chain, when what kind of network it is can be settled for good: when all nodes have said what theirs is, or a further check
    /// has given the others time for that; or when there is nothing to settle. To be called after each check until it is `Some`.
    pub fn settled(&self) -> Option<Arc<Chain>> {
        let mut shared = self.shared();
        let chain = shared.chain.clone()?;
        let has_said =
            |member: &Member| member.told.is_some() || matches!(member.state, State::WrongNetwork(_));
        let all = shared.pinned.is_whole() || shared.members.iter().all(has_said);
        if all || shared.heard_some {
            return Some(chain);
        }
        // The next count is as if it were the first.
        shared.heard_some = true;
        shared.chain = None;
        shared.in_use = None;
        None
    }

    /// Why the chain cannot be what was settled, if most of several nodes say so by now, in more checks than one, a slot or more apart:
    /// to go on would be to run with wrong times.
    pub fn contradiction(&self) -> Option<String> {
        let shared = self.shared();
        let contradiction = shared.contradiction.as_ref()?;
        (contradiction.times >= CONTRADICTED_AFTER).then(|| contradiction.why.clone())
    }

    /// Compares with more from now on, for example with the genesis validators root of the slashing database. Nodes
    /// that do not fit are no longer used; a chain that does not fit is forgotten.
    pub fn pin(&self, pinned: Pinned) {
        let mut shared = self.shared();
        if shared
            .chain
            .as_ref()
            .is_some_and(|chain| chain.fits(&pinned).is_err())
        {
            shared.chain = None;
            shared.in_use = None;
        }
        for member in &mut shared.members {
            (member.told, member.refused, member.parting) = (None, None, None);
            member.told_last = None;
            if member.state.rank() < State::Unknown.rank() {
                member.state = State::Unknown;
            }
        }
        shared.pinned = pinned;
    }

    /// What is known of all nodes, in the order in which they were given.
    pub fn health(&self) -> Vec<Health> {
        let shared = self.shared();
        let health = |member: &Member| Health {
            name: member.node.name().to_owned(),
            state: member.shown().clone(),
            version: member.version.clone(),
            head_slot: member.head.map_or(0, |head| head.slot),
            latency: member.latency,
            trouble: member.trouble(),
            silent: member.silent(),
            parting: member.parting.clone(),
        };
        shared.members.iter().map(health).collect()
    }

    /// Which nodes have been asked and have not answered yet, in words for people; `None` if all have, or one is in step with the chain.
    pub fn no_answer_yet(&self) -> Option<String> {
        let health = self.health();
        let mut silent = health
            .iter()
            .filter(|node| node.state == State::Unknown)
            .map(|node| format!("{} has not answered yet", node.name))
            .peekable();
        if self.is_ready() || silent.peek().is_none() {
            return None;
        }
        Some(silent.collect::<Vec<_>>().join("; "))
    }

    /// Which nodes are being asked something and have not answered yet, whatever they answered before, in words for people; `None` if all
    /// have.
    pub fn awaited(&self) -> Option<String> {
        let shared = self.shared();
        let members = shared.members.iter().filter(|member| member.asked > 0);
        let silent: Vec<String> = members
            .map(|member| format!("{} has not answered yet", member.node.name()))
            .collect();
        (!silent.is_empty()).then(|| silent.join("; "))
    }

    /// Whether at least one node is in step with the chain.
    pub fn is_ready(&self) -> bool {
        self.shared()
            .members
            .iter()
            .any(|member| *member.shown() == State::Ready)
    }

    /// The nodes themselves, for event streams.
    pub(super) fn all(&self) -> Vec<Node> {
        let shared = self.shared();
        shared.members.iter().map(|member| member.node.clone()).collect()
    }

    /// Whether a node was seen to be of the right chain.
    pub fn is_verified(&self, place: usize) -> bool {
        let shared = self.shared();
        shared.members.get(place).is_some_and(Member::is_verified)
    }

    /// Whether a node is told things, and what it tells of its head counts, although there are others: it is in step with the chain, or
    /// none is. What it was asked and failed says nothing of that.
    pub(super) fn is_of_use(&self, place: usize) -> bool {
        self.of_use().contains(&place)
    }

    /// The places of the nodes that are told things and asked where one node's word is not enough: see [`Nodes::poll`].
    pub fn of_use(&self) -> BTreeSet<usize> {
        let of_use = of_use(self.ranked(None));
        of_use.iter().map(|(place, ..)| *place).collect()
    }

    /// The root of a node's head, if it told of one.
    pub fn root_of(&self, place: usize) -> Option<Hash> {
        let shared = self.shared();
        shared.members.get(place)?.head?.root
    }

    /// The slots of the heads that the nodes of the right chain showed last, by the nodes' names.
    pub fn shown(&self) -> BTreeMap<String, u64> {
        let shared = self.shared();
        let verified = shared.members.iter().filter(|member| member.is_verified());
        let shown = verified.filter_map(|member| {
            let head = member.head.filter(|head| head.root.is_some())?;
            Some((member.node.name().to_owned(), head.slot))
        });
        shown.collect()
    }

    /// The node that is asked this first.
    pub(super) fn best(&self, request: &'static str) -> Option<usize> {
        self.ranked(Some(request)).first().map(|(place, ..)| *place)
    }

    /// Nodes of the right chain, best first, for this request if there is one.
    fn ranked(&self, request: Option<&'static str>) -> Vec<(usize, Node, u8)> {
        let shared = self.shared();
        let mut standings = shared.standings(request);
        choice::order(&mut standings, shared.slot());
        let ranked = standings.iter().filter_map(|one| {
            let member = shared.members.get(one.place)?;
            Some((one.place, member.node.clone(), member.state.rank()))
        });
        ranked.collect()
    }

    /// The stream of events of a node ended, did not open, or was silent for too long, without a head since [`Nodes::stream_told`].
    /// `head_then` is the slot of the node's head when it was opened: one that is silent while its node has no new block is well.
    pub(super) fn stream_failed(&self, place: usize, error: &NodeError, head_then: u64) {
        if let Some(member) = self.shared().members.get_mut(place) {
            let has_newer = member.head.is_some_and(|head| head.slot > head_then);
            if error.kind != ErrorKind::Timeout || has_newer {
                member.count_failure(EVENTS, error, true);
            }
        }
    }

    /// The stream of events of a node told of a head.
    pub(super) fn stream_told(&self, place: usize) {
        if let Some(member) = self.shared().members.get_mut(place) {
            member.answered(EVENTS);
        }
    }

    /// The slot of a node's head; 0 if it told of none.
    pub(super) fn head_of(&self, place: usize) -> u64 {
        let shared = self.shared();
        let member = shared.members.get(place);
        member.and_then(|member| member.head).map_or(0, |head| head.slot)
    }

    /// A node told of its head: its slot and root, and whether its execution client has not verified it.
    pub fn told(&self, place: usize, slot: u64, root: Hash, optimistic: bool) {
        if let Some(member) = self.shared().members.get_mut(place) {
            let root = Some(root);
            member.head = Some(choice::Head { slot, root });
            member.told_at = Instant::now();
            member.optimistic = optimistic;
        }
    }

    /// A node answered with its head when it was asked: see [`Nodes::told`]. What it told of by itself since then, `asked`, is newer.
    pub fn answered_head(&self, place: usize, asked: Instant, header: &Header) {
        let mut shared = self.shared();
        if let Some(member) = shared
            .members
            .get_mut(place)
            .filter(|member| member.told_at <= asked)
        {
            member.head = Some(header.head());
            member.told_at = asked;
            member.optimistic = header.execution_optimistic;
        }
    }

    /// Tells of the head that is ours ([`Nodes::head`]) if it is another one than at the last time: slot and root. It may change whenever
    /// a node tells of a head or is asked how it is, and when a slot begins. `tell` must not wait, nor ask anything here: whoever else
    /// tells waits for it, so that the newest word is the last one.
    pub fn new_head(&self, tell: impl FnOnce(u64, Hash)) {
        let mut shared = self.shared();
        let head = choice::head(&shared.standings(None), shared.slot());
        if let Some((slot, root)) = head.filter(|_| head != shared.head_told) {
            shared.head_told = head;
            tell(slot, root);
        }
    }

    /// Of the heads that the nodes told of the one that is ours, slot and root: see [`choice`].
    pub fn head(&self) -> Option<(u64, Hash)> {
        let shared = self.shared();
        choice::head(&shared.standings(None), shared.slot())
    }

    /// Asks every node how it is and, where that is not known, which chain it follows; what counts of what they say is found
    /// when all have answered or failed, so that who is quickest does not decide. To be called at the start and
    /// about once a slot. `now_ms` is the time, in milliseconds since the Unix epoch: it says which forks have begun.
    pub async fn check(&self, now_ms: u64, deadline: Instant) {
        self.shared().clock_is(now_ms);
        let nodes = self.all();
        join_all(
            nodes
                .iter()
                .enumerate()
                .map(|(place, node)| self.check_one(place, node, now_ms, deadline)),
        )
        .await;
        let mut shared = self.shared();
        shared.count();
        shared.judge(now_ms);
    }

    async fn check_one(&self, place: usize, node: &Node, now_ms: u64, deadline: Instant) {
        let (asks, knows, checks) = {
            let mut shared = self.shared();
            let Some(member) = shared.members.get_mut(place) else {
                return;
            };
            if member.spared.is_some_and(|until| Instant::now() < until) {
                return;
            }
            member.spared = None;
            member.checks = member.checks.wrapping_add(1);
            // Whoever disagrees may be updated at any moment.
            let disagrees = member.refused.is_some() || member.parting.is_some();
            let knows = member.told.is_some();
            (!knows || disagrees, knows, member.checks)
        };
        if asks || checks.is_multiple_of(SPEC_EVERY) {
            let asked = self.ask(SPECIFICATION, place, FAIR);
            let until = if knows {
                // How it is must still be asked then.
                asked.at + deadline.saturating_duration_since(asked.at) / 2
            } else {
                deadline
            };
            let verified = asked.settled(self.verify(place, node, now_ms, until)).await;
            // One that says nothing has said nothing else.
            if let Err(error) = verified
                && !(knows && error.kind.says_nothing())
            {
                self.mark(place, &error);
                return;
            }
        }
        let asked = Instant::now();
        let syncing = async {
            let answer = self
                .ask(SYNCING, place, FAIR)
                .settled(syncing(node, deadline))
                .await;
            (answer, asked.elapsed())
        };
        let shown = async {
            let shown = node.shown_head(deadline.min(asked + SHOW_HEAD));
            self.ask(HEAD, place, FAIR).settled(shown).await.ok()
        };
        let ((syncing, latency), shown) = futures::join!(syncing, shown);
        let answered = syncing.is_ok();
        // Who shows its head is not gone, whatever it does not say of itself.
        let said = syncing.or_else(|error| {
            let shown = shown.as_ref().ok_or(error)?;
            Ok(Syncing {
                head_slot: shown.header.slot,
                sync_distance: 0,
                is_syncing: false,
                is_optimistic: shown.execution_optimistic,
                el_offline: false,
            })
        });
        let mut shared = self.shared();
        let Some(member) = shared.members.get_mut(place) else {
            return;
        };
        let told = member.told.as_ref();
        let slot = told.and_then(|chain| chain.time().slot_at(now_ms));
        match said {
            Ok(said) => {
                if answered {
                    member.latency = latency;
                }
                // A head of which it told without being asked was seen, too; what it only says of its head was not.
                let told = member.head.filter(|head| head.root.is_some());
                member.state = state(&said, shown.as_ref(), told, slot);
                member.in_step = member.state.rank() <= State::Optimistic.rank();
                // What it told meanwhile is newer, and what it is asked and answers before this is older.
                if member.told_at <= asked {
                    if shown.is_some() {
                        member.told_at = asked;
                    }
                    let only_said = choice::Head {
                        slot: said.head_slot,
                        root: None,
                    };
                    member.head = shown.map(|header| header.head()).or(told).or(Some(only_said));
                    member.optimistic = false;
                }
            }
            Err(error) => {
                drop(shared);
                self.mark(place, &error);
            }
        }
    }

    /// Notes that a node answers nothing, or what cannot be used. What answers there next may be another one: it is verified anew.
    fn mark(&self, place: usize, error: &NodeError) {
        let mut shared = self.shared();
        if let Some(member) = shared.members.get_mut(place) {
            if let ErrorKind::Limited(_) = error.kind {
                // It is there, and has said nothing else of its chain.
                member.spared = Some(Instant::now() + SPARED);
            } else {
                (member.told, member.refused, member.parting) = (None, None, None);
                member.node.forget_lacking();
                // A node that is gone ends its streams, too.
                member.answered(EVENTS);
            }
            let before = member.state.rank();
            member.state = if matches!(error.kind, ErrorKind::WrongNetwork(_)) {
                State::WrongNetwork(error.clone())
            } else {
                State::Down(error.clone())
            };
            if member.state.rank() != before {
                // People are told by whoever looks at the nodes' health.
                tracing::info!("{error}. {}", member.state.advice());
            }
        }
    }

    /// Reads which chain a node follows, and compares it with what is pinned.
    async fn verify(
        &self,
        place: usize,
        node: &Node,
        now_ms: u64,
        deadline: Instant,
    ) -> Result<(), NodeError> {
        let ask = |what, path: &'static str, limit| async move {
            let request = Request::get(what, path, limit).can_wait();
            node.send(&request, deadline).await.map(|answer| answer.body)
        };
        let (genesis, spec, version) = futures::join!(
            ask("genesis", "/eth/v1/beacon/genesis", MAX_GENESIS_BYTES),
            ask("specification", "/eth/v1/config/spec", MAX_SPEC_BYTES),
            ask("version", "/eth/v1/node/version", SMALL),
        );
        let bad = |what: &'static str| {
            move |error: crate::chain::spec::SpecError| {
                node.error(what, ErrorKind::Malformed(line(&error.to_string())))
            }
        };
        let genesis = Genesis::from_json(&genesis?).map_err(bad("genesis"))?;
        let spec = Spec::from_json(&spec?).map_err(bad("specification"))?;
        let chain = Chain::new(spec, genesis).map_err(bad("specification"))?;
        // Only for people: a node without one is no worse.
        let version = version
            .ok()
            .and_then(|body| serde_json::from_slice::<Data<Version>>(&body).ok())
            .map(|version| conclave_eth::text::line(&version.data.version, 100))
            .unwrap_or_default();
        let mut shared = self.shared();
        let fits = chain.fits(&shared.pinned);
        if let Some(member) = shared.members.get_mut(place) {
            // The same again stays the same thing.
            let known = member.told.take().filter(|known| **known == chain);
            member.told = fits.is_ok().then(|| known.unwrap_or_else(|| Arc::new(chain)));
            member.told_last = member.told.clone().or(member.told_last.take());
            if member.version != version {
                member.node.forget_lacking();
                member.version = version;
            }
        }
        // One that is back is of use at once, unless it says something else than is known.
        shared.judge(now_ms);
        fits.map_err(|mismatch| node.error("network", ErrorKind::WrongNetwork(mismatch)))
    }

    /// Asks nodes until one gives a good answer: the best first, the next one when there is an error or when a
    /// quarter of the time has passed. `fair` is how long a node has at the least before it is held against it that it does not answer,
    /// or that nobody wants to know any longer; see [`Asked`].
    ///
    /// # Errors
    /// [`AllFailed`] when none did before the deadline.
    pub(super) async fn first<T, F, Fut>(
        &self,
        request: &'static str,
        deadline: Instant,
        fair: Duration,
        ask: F,
    ) -> Result<From<T>, AllFailed>
    where
        F: Fn(Node) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        self.first_and_slower(request, deadline, fair, ask)
            .await
            .map(|(first, _)| first)
    }

    /// The same; with it those that were asked before, and had not answered yet.
    ///
    /// # Errors
    /// [`AllFailed`] when none did before the deadline.
    pub(super) async fn first_and_slower<T, F, Fut>(
        &self,
        request: &'static str,
        deadline: Instant,
        fair: Duration,
        ask: F,
    ) -> Result<(From<T>, Vec<NodeError>), AllFailed>
    where
        F: Fn(Node) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        let mut found = None;
        let first = |answer| {
            found = Some(answer);
            true
        };
        let slower = self.until(request, deadline, fair, ask, first).await?;
        let errors = Vec::new();
        let found = found.ok_or(AllFailed { request, errors })?;
        Ok((found, slower))
    }

    /// Asks until there is an answer that is `enough`; the next one is asked at once when one is not. Who was asked before the one
    /// that gave it, and had not answered yet, is told.
    ///
    /// # Errors
    /// [`AllFailed`] when there was no good answer at all before the deadline.
    pub(super) async fn until<T, F, Fut>(
        &self,
        request: &'static str,
        deadline: Instant,
        fair: Duration,
        ask: F,
        mut enough: impl FnMut(From<T>) -> bool,
    ) -> Result<Vec<NodeError>, AllFailed>
    where
        F: Fn(Node) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        let hedge = (deadline.saturating_duration_since(Instant::now()) / 4).clamp(MIN_HEDGE, MAX_HEDGE);
        let mut waiting = self.ranked(Some(request)).into_iter();
        let mut running = FuturesUnordered::new();
        let mut open: BTreeMap<usize, Asked<'_>> = BTreeMap::new();
        let mut errors: Vec<NodeError> = Vec::new();
        let mut answered = false;
        loop {
            let next = waiting.next();
            let more = next.is_some();
            if let Some((place, node, _)) = next {
                open.insert(place, self.ask(request, place, fair));
                let answer = ask(node);
                running.push(async move { (place, answer.await) });
            }
            if running.is_empty() {
                return if answered {
                    Ok(Vec::new())
                } else {
                    Err(AllFailed { request, errors })
                };
            }
            let patience = Instant::now() + hedge;
            let done = tokio::select! {
                biased;
                done = running.next() => done,
                () = sleep_until(patience), if more => None,
            };
            let Some((node, answer)) = done else {
                continue;
            };
            let at = open.remove(&node).map(|asked| {
                let at = asked.at;
                asked.settle(&answer);
                at
            });
            match answer {
                Ok(value) => {
                    answered = true;
                    if enough(From { value, node }) {
                        let before = |asked: &Asked<'_>| at.is_some_and(|at| asked.at < at);
                        let slower = open.into_values().filter(before);
                        return Ok(slower.filter_map(Asked::overtaken).collect());
                    }
                }
                Err(error) => errors.push(error),
            }
        }
    }

    /// Asks nodes one after the other until one gives a good answer, each for at most this long. Who fails is asked after the others for a
    /// while, and nothing is told of it: for questions that no duty waits for, and that may be hard to answer.
    ///
    /// # Errors
    /// [`AllFailed`] when none did.
    pub async fn aside<T, F, Fut>(
        &self,
        request: &'static str,
        patience: Duration,
        ask: F,
    ) -> Result<From<T>, AllFailed>
    where
        F: Fn(Node, Instant) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        let mut errors = Vec::new();
        for (place, node, _) in self.ranked(Some(request)) {
            let asked = self.ask(request, place, FAIR).not_needed();
            match asked.settled(ask(node, Instant::now() + patience)).await {
                Ok(value) => return Ok(From { value, node: place }),
                Err(error) => errors.push(error),
            }
        }
        Err(AllFailed { request, errors })
    }

    /// Asks all nodes at once; `tell` is given every good answer when it comes.
    pub async fn each<T, F, Fut>(&self, request: &'static str, ask: F, mut tell: impl FnMut(T))
    where
        F: Fn(Node) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        let asked = self.ranked(Some(request)).into_iter();
        let asked = asked.map(|(place, node, _)| self.put(request, (place, node), &ask));
        let mut running: FuturesUnordered<_> = asked.collect();
        while let Some((_, answer)) = running.next().await {
            if let Ok(value) = answer {
                tell(value);
            }
        }
    }

    /// Submits to every node that is of use; to those that are down or behind only when there is no other. What none
    /// took because of some trouble is submitted again until the deadline.
    ///
    /// # Errors
    /// [`AllFailed`] with every refusal of the last time when no node accepted it before the deadline, or when they
    /// refused what was sent.
    pub async fn submit<T, F, Fut>(
        &self,
        request: &'static str,
        deadline: Instant,
        send: F,
    ) -> Result<Submission<T>, AllFailed>
    where
        F: Fn(Node, Instant) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        let mut pause = FIRST_RETRY;
        loop {
            let patience = deadline.min(Instant::now() + SUBMISSION);
            let failed = match self.submit_once(request, |node| send(node, patience)).await {
                Err(failed)
                    if !failed.is_known_already()
                        && failed.errors.iter().all(|error| error.kind.is_trouble()) =>
                {
                    failed
                }
                result => return result,
            };
            if Instant::now() + pause >= deadline {
                return Err(failed);
            }
            tracing::debug!("{failed}; trying again");
            sleep(pause).await;
            pause *= 2;
        }
    }

    async fn submit_once<T, F, Fut>(&self, request: &'static str, send: F) -> Result<Submission<T>, AllFailed>
    where
        F: Fn(Node) -> Fut,
        Fut: Future<Output = Result<T, NodeError>>,
    {
        let started = Instant::now();
        let asked = of_use(self.ranked(Some(request))).into_iter();
        let asked = asked.map(|(place, node, _)| self.put(request, (place, node), &send));
        let mut running: FuturesUnordered<_> = asked.collect();
        let (mut accepted, mut refused, mut after) = (Vec::new(), Vec::new(), None);
        while let Some((node, result)) = running.next().await {
            match result {
                Ok(value) => {
                    after.get_or_insert_with(|| started.elapsed());
                    accepted.push(From { value, node });
                }
                Err(error) => refused.push(error),
            }
        }
        match after {
            Some(after) => Ok(Submission {
                accepted,
                after,
                refused,
            }),
            None => Err(AllFailed {
                request,
                errors: refused,
            }),
        }
    }
}

/// Of ranked nodes those that are in step with the chain; all if none is.
fn of_use(mut ranked: Vec<(usize, Node, u8)>) -> Vec<(usize, Node, u8)> {
    let enough = State::Optimistic.rank();
    if ranked.iter().any(|(_, _, rank)| *rank <= enough) {
        ranked.retain(|(_, _, rank)| *rank <= enough);
    }
    ranked
}

/// The second node of one name gets a number, and every further one.
fn told_apart(nodes: Vec<Node>) -> Vec<Node> {
    let mut seen = BTreeMap::new();
    let number = |node: Node| {
        let count = seen.entry(node.name().to_owned()).or_insert(0);
        *count += 1;
        if *count == 1 { node } else { node.numbered(*count) }
    };
    nodes.into_iter().map(number).collect()
}

/// Asks a node how it is.
async fn syncing(node: &Node, deadline: Instant) -> Result<Syncing, NodeError> {
    let request = Request::get(SYNCING, "/eth/v1/node/syncing", SMALL).can_wait();
    let answer = node.send(&request, deadline).await?;
    let data: Data<Syncing> = serde_json::from_slice(&answer.body)
        .map_err(|error| node.error(SYNCING, ErrorKind::Malformed(why_no_json(&error))))?;
    Ok(data.data)
}
