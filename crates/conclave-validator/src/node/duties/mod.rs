//! Asks the beacon nodes who has which duty, and again whenever that may have changed.
//!
//! The loop itself waits for no answer: whatever beacon nodes are busy with, heads are passed on as they come, and blocks are
//! made and judged by them. Of each question one at most is under way.
//!
//! # When a question is asked again
//! - When a head is of another branch of the chain than the block on which the duties depend.
//! - When other validators may have the duty than were asked about.
//! - When a beacon node begins to tell of heads, or is in step again: it may be back from a restart, which makes it forget who
//!   proposes, gets the fees, and aggregates.
//! - In each half of an epoch: what was missed otherwise (events, for example) costs half an epoch at most, and beacon nodes six
//!   small answers, which they have at hand, in 16 slots of mainnet. The first time is in the slot with which the epoch
//!   begins, when the last word on its duties is spoken.
//! - In each slot until there is an answer.
//!
//! All nodes are asked, and whose word counts is found in `counted`: no single one says alone who has which duty. Nor does one say alone
//! on which branch of the chain our head is: each tells its own, and most of those whose head it is count. An answer that does not go
//! with the head of the very node that gave it is older than that, and replaces nothing; one that is about other validators than those
//! that are ours by now is kept to those that still are, and asked for again.
//!
//! | Module | What it is |
//! |---|---|
//! | `known` | what was asked and answered, and on which blocks that depends |
//! | `ask` | the questions |
//! | `counted` | whose answer counts, and who says something else |
//! | `index` | which index a validator has |

mod ask;
mod counted;
mod index;
mod known;

#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::{Id, JoinError, JoinSet},
    time::Instant,
};

use crate::observed::{About, Dissenter, Seen};
use crate::{
    core::{Event, schedule::SyncMember},
    group::Group,
};
use conclave_beacon::{
    answers::{ProposerPreparation, SignedRegistration, SyncSubscription, ValidatorStatus},
    chain::spec::Chain,
    events::{Events, Head, News},
    nodes::{AllFailed, Nodes, Said},
};
use conclave_crypto::hash::Hash;
use conclave_eth::chain::time::Time;

use super::{
    News as Told,
    clock::{instant_of, now_ms},
    votes,
};

use ask::{Answer, Asker, Duties};
use counted::{Backing, Counts, Dissent, Measure};
use known::{Branch, Depends, Known, Question, Whom};

/// What a node says of duties, and on which block they depend.
type Word = (Duties, Option<Depends>);

/// One request for duties may take so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// So many milliseconds after a slot has begun it has begun by every reading of our clock.
const AFTER_THE_BEGINNING_MS: u64 = 10;

/// Beacon nodes are told everything again at most once in so many slots: connections of some end again and again.
const REMIND: u64 = 4;

/// What less than most of several nodes have said is asked again so often, once a slot.
const AGAIN: u32 = 4;

/// A validator of ours on the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OnChain {
    /// Its place in the lock, from 0.
    place: u32,
    /// The epochs in which it attests and proposes. The chain knows both ends some epochs before.
    active: Range<u64>,
}

/// A question that is done with.
struct Asked {
    question: Question,
    whom: Whom,
    /// In which half of an epoch it was asked.
    half: u64,
    answer: Result<Answer, AllFailed>,
}

/// Keeps the core informed of duties and heads.
pub(super) struct Service {
    asker: Asker,
    time: Time,
    group: Arc<Group>,
    /// Told to the beacon nodes once an epoch.
    registrations: Arc<[SignedRegistration]>,
    events: mpsc::UnboundedSender<Event>,
    /// For whoever watches.
    news: mpsc::UnboundedSender<Told>,
    /// What counts of what nodes say of our validators, by their place in the lock.
    counted: BTreeMap<u32, ValidatorStatus>,
    /// Whether questions wait for others that are under way.
    postponed: BTreeSet<Question>,
    /// Who says something else, and of whom that was told.
    dissent: Dissent,
    named: BTreeSet<(usize, About)>,
    /// By index on the chain.
    validators: HashMap<u64, OnChain>,
    /// The epoch in which they were looked up.
    looked_up: Option<u64>,
    /// What each node tells of the branch of its head, by its place: the head's root, and the branch.
    branches: BTreeMap<usize, (Hash, Branch)>,
    /// Of our head, as most of those say whose head it is.
    branch: Option<Branch>,
    /// What the core was told.
    known: BTreeMap<Question, Known>,
    /// In which slot what few said was asked last, and how often it was asked again.
    asked_again: BTreeMap<Question, (u64, u32)>,
    /// Whether a beacon node may not know what all were told.
    forgotten: bool,
    /// In which slot all were last told again because of that.
    reminded: Option<u64>,
    /// The newest epoch in which it was asked what became of votes.
    votes_asked: Option<u64>,
    asking: JoinSet<Asked>,
    under_way: BTreeMap<Question, Id>,
}

impl Service {
    /// For a group on a chain.
    pub(super) fn new(
        nodes: Nodes,
        chain: Arc<Chain>,
        group: Arc<Group>,
        registrations: Vec<SignedRegistration>,
        events: mpsc::UnboundedSender<Event>,
        news: mpsc::UnboundedSender<Told>,
    ) -> Self {
        let keys = group.validators.iter().map(|validator| validator.key.to_bytes());
        let places = Arc::new(keys.zip(0..).collect());
        Self {
            time: chain.time(),
            asker: Asker { nodes, chain, places },
            group,
            registrations: registrations.into(),
            events,
            news,
            counted: BTreeMap::new(),
            postponed: BTreeSet::new(),
            dissent: Dissent::default(),
            named: BTreeSet::new(),
            validators: HashMap::new(),
            looked_up: None,
            branches: BTreeMap::new(),
            branch: None,
            known: BTreeMap::new(),
            asked_again: BTreeMap::new(),
            forgotten: false,
            reminded: None,
            votes_asked: None,
            asking: JoinSet::new(),
            under_way: BTreeMap::new(),
        }
    }

    /// Works for ever: on heads as they come, and at least once a slot. Beacon nodes are asked how they are meanwhile.
    pub(super) async fn run(self) {
        tokio::spawn(look_after(
            self.asker.nodes.clone(),
            self.time,
            self.events.clone(),
        ));
        self.work().await;
    }

    /// The same with beacon nodes that are as they were when they were asked last.
    async fn work(mut self) {
        let idle = Duration::from_millis(self.time.slot_ms.saturating_mul(4));
        let mut heads = Events::open(&self.asker.nodes, idle);
        let mut next = Instant::now();
        let mut begins = next_slot(self.time);
        loop {
            tokio::select! {
                // Which head is ours depends on the slot: one that was ahead of our clock may be it now.
                () = tokio::time::sleep_until(begins) => {
                    begins = next_slot(self.time);
                    tell_head(&self.asker.nodes, &self.events);
                }
                () = tokio::time::sleep_until(next) => {
                    next = next_half(self.time);
                    self.refresh();
                }
                event = heads.next() => {
                    let Some(event) = event else { return };
                    match event.news {
                        News::Head(head) => if self.told(event.node, &head).is_none() {
                            return;
                        },
                        // It may have been restarted, and then it has forgotten what it was told.
                        News::Connected => self.forgotten = true,
                        News::Lost(_) => {}
                    }
                }
                Some(asked) = self.asking.join_next() => self.answered(asked),
            }
        }
    }

    /// A beacon node told of its head. The core hears of it, and of the one that is ours, whoever told of it. `None` if nobody
    /// listens.
    fn told(&mut self, place: usize, head: &Head) -> Option<()> {
        let heard = Event::Heard {
            slot: head.slot,
            root: head.block,
        };
        let nodes = &self.asker.nodes;
        // One of another network says nothing about this chain, nor about the time.
        if nodes.is_verified(place) {
            self.events.send(heard).ok()?;
        }
        nodes.told(place, head.slot, head.block, head.execution_optimistic);
        let branch = Branch::of(head, self.time.epoch_of(head.slot));
        self.branches.insert(place, (head.block, branch));
        if nodes.head().is_some_and(|(_, root)| root == head.block) {
            self.follow();
        }
        tell_head(&self.asker.nodes, &self.events);
        Some(())
    }

    /// The slot by our clock; 0 before genesis.
    fn slot_now(&self) -> u64 {
        self.time.slot_at(now_ms()).unwrap_or(0)
    }

    /// The half of an epoch by our clock: halves since genesis.
    fn half_now(&self) -> u64 {
        let halves = self.slot_now().saturating_mul(2);
        halves.checked_div(self.time.slots_per_epoch).unwrap_or(0)
    }

    /// Asks for whatever is not known of this epoch and the next, or may be otherwise by now.
    fn refresh(&mut self) {
        let (epoch, half) = (self.time.epoch_of(self.slot_now()), self.half_now());
        let slot = self.slot_now();
        if self.forgotten && self.reminded.is_none_or(|at| slot >= at.saturating_add(REMIND)) {
            (self.forgotten, self.reminded) = (false, Some(slot));
            // What is asked again is told again, subscriptions with it.
            for known in self.known.values_mut() {
                known.half = u64::MAX;
            }
            self.looked_up = None;
        }
        if self.looked_up != Some(epoch) {
            self.ask(Question::Validators);
        }
        self.known.retain(|question, _| question.epoch() >= Some(epoch));
        self.asked_again
            .retain(|question, _| question.epoch() >= Some(epoch));
        self.dissent.forget_before(epoch);
        self.name_dissenters();
        for question in [epoch, epoch.saturating_add(1)]
            .into_iter()
            .flat_map(Question::of)
        {
            let known = self.known.get(&question);
            let holds = known.is_some_and(|known| {
                known.half == half && !self.is_stale(known) && known.whom == self.whom(question)
            });
            let is_doubtful = holds && known.is_some_and(|known| known.backing != Backing::Most);
            let holds = holds && !(is_doubtful && self.asks_again(question, slot));
            let known = self.known.get(&question);
            // First what is known: who contradicts that is not believed in what is not.
            let waits = known.is_none() && self.under_way.keys().any(|other| self.known.contains_key(other));
            if !holds && waits {
                self.postponed.insert(question);
            } else if !holds {
                self.ask(question);
            }
        }
    }

    /// Whether what few said is to be asked again in this slot: the others may have been slow only.
    fn asks_again(&mut self, question: Question, slot: u64) -> bool {
        if self.asker.nodes.of_use().len() < 2 {
            return false;
        }
        let (at, times) = self.asked_again.entry(question).or_insert((slot, 0));
        if *at == slot || *times >= AGAIN {
            return false;
        }
        (*at, *times) = (slot, *times + 1);
        true
    }

    /// Finds out on which branch our head is, and asks again for what is of another one.
    fn follow(&mut self) {
        self.branch = self.branch_of_our_head().or(self.branch);
        let stale = self.known.iter().filter(|(_, known)| self.is_stale(known));
        let stale: Vec<Question> = stale.map(|(question, _)| *question).collect();
        for question in stale {
            self.ask(question);
        }
    }

    /// What a node tells of the branch of its head, unless it has got another head since.
    fn branch_of(&self, place: usize) -> Option<Branch> {
        let (root, branch) = self.branches.get(&place)?;
        (self.asker.nodes.root_of(place) == Some(*root)).then_some(*branch)
    }

    /// Of what the nodes of use that have our head tell of its branch what most tell; where as many tell the one as the other, what contradicts
    /// the least of what is known, then who is listed first. None if none of them has told anything.
    fn branch_of_our_head(&self) -> Option<Branch> {
        let nodes = &self.asker.nodes;
        let (_, ours) = nodes.head()?;
        let of_use = nodes.of_use();
        let told: Vec<Branch> = self
            .branches
            .iter()
            .filter(|(place, (root, _))| *root == ours && of_use.contains(place))
            .filter_map(|(place, _)| self.branch_of(*place))
            .collect();
        let order = |(place, branch): &(usize, &Branch)| {
            let alike = told.iter().filter(|other| other == branch).count();
            let depends = self.known.values().filter_map(|known| known.depends.as_ref());
            let contradicted = depends.filter(|depends| branch.contradicts(depends)).count();
            (alike, Reverse(contradicted), Reverse(*place))
        };
        let (_, branch) = told.iter().enumerate().max_by_key(order)?;
        Some(*branch)
    }

    /// Whether more than half of the nodes that are of use have heads of another branch: then nothing speaks for it any more.
    fn is_surely_stale(&self, known: &Known) -> bool {
        let contradicts = |place: &usize| {
            let both = self.branch_of(*place).zip(known.depends.as_ref());
            both.is_some_and(|(branch, depends)| branch.contradicts(depends))
        };
        let of_use = self.asker.nodes.of_use();
        let contradicting = of_use.iter().filter(|place| contradicts(place)).count();
        2 * contradicting > of_use.len()
    }

    /// Whether our head is of another branch.
    fn is_stale(&self, known: &Known) -> bool {
        self.is_of_another_branch(known.depends.as_ref())
    }

    fn is_of_another_branch(&self, depends: Option<&Depends>) -> bool {
        let both = self.branch.as_ref().zip(depends);
        both.is_some_and(|(branch, depends)| branch.contradicts(depends))
    }

    /// Who may have the duty that a question is about.
    fn whom(&self, question: Question) -> Whom {
        let may = |one: &OnChain| match question {
            Question::Validators => false,
            Question::Attesters(epoch) | Question::Proposers(epoch) => one.active.contains(&epoch),
            // Members are chosen long before, and remain it when they exit (`is_assigned_to_sync_committee` of the
            // consensus specification): who is silent then pays for it.
            Question::Sync(epoch) => one.active.start <= epoch,
        };
        let validators = self.validators.iter().filter(|(_, one)| may(one));
        validators.map(|(index, one)| (*index, one.place)).collect()
    }

    /// Begins to ask, unless that is under way, or nobody has such a duty.
    fn ask(&mut self, question: Question) {
        let (whom, half) = (self.whom(question), self.half_now());
        let pointless = whom.is_empty() && question != Question::Validators;
        if pointless || self.under_way.contains_key(&question) {
            return;
        }
        let asker = self.asker.clone();
        let task = self.asking.spawn(async move {
            let answer = asker.ask(question, &whom, deadline()).await;
            Asked {
                question,
                whom,
                half,
                answer,
            }
        });
        self.under_way.insert(question, task.id());
    }

    fn answered(&mut self, asked: Result<Asked, JoinError>) {
        let asked = match asked {
            Ok(asked) => asked,
            // It panicked: it is asked again like what failed.
            Err(error) => return self.under_way.retain(|_, task| *task != error.id()),
        };
        let (question, whom) = (asked.question, asked.whom.clone());
        self.under_way.remove(&question);
        self.take(asked);
        // Validators that were found meanwhile could not be asked about while this was under way.
        if whom != self.whom(question) {
            self.ask(question);
        }
        if !self.under_way.keys().any(|other| self.known.contains_key(other)) {
            // Only those: what failed is asked again at the next look, not at once.
            for question in std::mem::take(&mut self.postponed) {
                self.ask(question);
            }
        }
    }

    fn take(&mut self, asked: Asked) {
        match asked.answer {
            Ok(Answer::Validators(found)) => self.found(found, asked.half / 2),
            // The epoch that it is about is over.
            Ok(Answer::Duties(_)) if asked.question.epoch() < Some(self.time.epoch_of(self.slot_now())) => {}
            Ok(Answer::Duties(mut said)) => {
                let ours = self.whom(asked.question);
                if ours != asked.whom {
                    for one in &mut said {
                        one.value.0.keep(&ours);
                    }
                }
                let counts = self.counting(asked.question, &asked.whom, said);
                self.name_dissenters();
                let Some((duties, depends, backing)) = counts else {
                    return;
                };
                if let (Duties::Sync(members), Some(epoch)) = (&duties, asked.question.epoch()) {
                    self.subscribe(epoch, members);
                }
                let known = Known {
                    whom: asked.whom,
                    half: asked.half,
                    depends,
                    duties,
                    backing,
                };
                self.tell(asked.question, known);
            }
            // Before Fulu only the current epoch's proposers are known.
            Err(error) if matches!(asked.question, Question::Proposers(_)) => {
                tracing::debug!(%error, question = ?asked.question, "proposer duties");
            }
            Err(error) => failed(&error),
        }
    }

    /// What counts of what nodes say of duties of these validators, and who says so. None if what is known stays.
    fn counting(
        &mut self,
        question: Question,
        whom: &Whom,
        said: Vec<Said<Word>>,
    ) -> Option<(Duties, Option<Depends>, Backing)> {
        let before = self.known.get(&question).filter(|known| known.whom == *whom);
        let is_stale = before.is_none_or(|before| self.is_stale(before));
        // Answers that are older than the head of the node that gave them: better than nothing.
        let lags = |one: &Said<Word>| {
            let both = self.branch_of(one.node).zip(one.value.1.as_ref());
            both.is_some_and(|(branch, depends)| branch.contradicts(depends))
        };
        let (lagging, mut said): (Vec<_>, Vec<_>) = said.into_iter().partition(lags);
        if said.is_empty() && is_stale {
            said = lagging;
        } else {
            for one in lagging {
                self.dissent.lags(one.node, question);
            }
        }
        let before = before.filter(|before| !self.is_surely_stale(before));
        let before = before.map(|before| ((before.duties.clone(), before.depends.clone()), before.backing));
        // Before Fulu those who propose in the next epoch may change with every block.
        let changes = match question {
            Question::Proposers(epoch) => {
                epoch > self.time.epoch_of(self.slot_now()) && !self.asker.decides_ahead(epoch)
            }
            _ => false,
        };
        let branch = self.branch;
        let measure = Measure {
            nodes: self.asker.nodes.of_use().len(),
            known: before.as_ref().map(|(word, backing)| (word, *backing)),
            ours: &|one: &Word| {
                let both = branch.zip(one.1.as_ref());
                both.is_none_or(|(branch, depends)| !branch.contradicts(depends))
            },
            same: &|one, other| one.0 == other.0,
            surely: &|one, other| !changes && one.1 == other.1,
        };
        match self.dissent.of_duties(question, &said, &measure)? {
            Counts::Known => None,
            Counts::Said { place, backing } => {
                let (duties, depends) = said.swap_remove(place).value;
                Some((duties, depends, backing))
            }
        }
    }

    /// Tells who says something else than what counts, when that changes.
    fn name_dissenters(&mut self) {
        let named = self.dissent.named();
        if named != self.named {
            self.named = named;
            let dissenter = |(node, about): &(usize, About)| Dissenter {
                name: self.asker.nodes.name_of(*node),
                about: *about,
            };
            let _ = self
                .news
                .send(Told::Dissent(self.named.iter().map(dissenter).collect()));
        }
    }

    /// Tells the core, unless it knows that.
    fn tell(&mut self, question: Question, told: Known) {
        if self.known.get(&question) != Some(&told) {
            if let Some(epoch) = question.epoch() {
                let _ = self.events.send(told.duties.event(epoch));
            }
            self.known.insert(question, told);
        }
    }

    /// Our validators as the chain has them, or had them when it was asked, in this epoch.
    fn found(&mut self, said: Vec<Said<Vec<ValidatorStatus>>>, epoch: u64) {
        let (places, nodes) = (&self.asker.places, self.asker.nodes.of_use().len());
        self.counted = self
            .dissent
            .of_validators(places, said, &self.counted, (nodes, epoch));
        self.name_dissenters();
        self.validators.clear();
        let mut seen = Vec::new();
        for (place, status) in &self.counted {
            let ValidatorStatus { index, validator, .. } = status;
            let one = OnChain {
                place: *place,
                active: validator.activation_epoch..validator.exit_epoch,
            };
            self.validators.insert(*index, one);
            seen.push(Seen {
                validator: *place,
                index: *index,
                balance: status.balance,
                slashed: validator.slashed,
                status: status.status.clone(),
            });
        }
        let _ = self.news.send(Told::Validators(seen));
        self.looked_up = Some(epoch);
        self.introduce();
        if self.votes_asked != Some(epoch) {
            self.votes_asked = Some(epoch);
            self.ask_votes(epoch);
        }
        self.refresh();
    }

    /// Finds out what became of votes, for whoever watches; nothing waits for it.
    fn ask_votes(&self, epoch: u64) {
        let [judged, seen] = [2, 1].map(|before| {
            let of = epoch.checked_sub(before)?;
            Some((of, self.whom(Question::Attesters(of))))
        });
        let (nodes, news) = (self.asker.nodes.clone(), self.news.clone());
        // Not in the first slot of an epoch, when nodes have most to do.
        let later = Duration::from_millis(self.time.slot_ms);
        tokio::spawn(async move {
            tokio::time::sleep(later).await;
            if let Some(votes) = votes::find(&nodes, judged, seen).await {
                let _ = news.send(Told::Votes(votes));
            }
        });
    }

    /// Tells the beacon nodes what they need to know of our validators before these propose; nothing waits for it.
    fn introduce(&self) {
        let preparation = |(index, validator): (&u64, &OnChain)| {
            let place = usize::try_from(validator.place).ok()?;
            Some(ProposerPreparation {
                validator_index: *index,
                fee_recipient: self.group.validators.get(place)?.fee_recipient,
            })
        };
        let preparations: Vec<_> = self.validators.iter().filter_map(preparation).collect();
        let (nodes, registrations) = (self.asker.nodes.clone(), self.registrations.clone());
        tokio::spawn(async move {
            if !preparations.is_empty()
                && let Err(error) = nodes.prepare_proposers(&preparations, deadline()).await
            {
                failed(&error);
            }
            // What the group has signed, for builders.
            if !registrations.is_empty()
                && let Err(error) = nodes.register_validators(&registrations, deadline()).await
            {
                failed(&error);
            }
        });
    }

    /// Tells the beacon nodes which sync subcommittees to listen to; nothing waits for it.
    fn subscribe(&self, epoch: u64, members: &[SyncMember]) {
        if members.is_empty() {
            return;
        }
        let until_epoch = self.asker.chain.next_sync_period(epoch);
        let subscription = |member: &SyncMember| SyncSubscription {
            validator_index: member.index,
            sync_committee_indices: member.places.clone(),
            until_epoch,
        };
        let subscriptions: Vec<_> = members.iter().map(subscription).collect();
        let nodes = self.asker.nodes.clone();
        tokio::spawn(async move {
            if let Err(error) = nodes.subscribe_sync_committees(&subscriptions, deadline()).await {
                failed(&error);
            }
        });
    }
}

/// Asks the beacon nodes once a slot how they are, and again and again while none is well: one that is back is of use at
/// once. By itself: one that does not answer must not keep the news of the others waiting.
async fn look_after(nodes: Nodes, time: Time, events: mpsc::UnboundedSender<Event>) {
    // A question that waits longer than a slot would miss that its node is back.
    let patience = Duration::from_millis(time.slot_ms / 2).min(PATIENCE);
    loop {
        nodes.check(now_ms(), Instant::now() + patience).await;
        tell_head(&nodes, &events);
        // Nobody listens when the program ends.
        let _ = events.send(Event::Shown(nodes.shown()));
        let next = if nodes.is_ready() {
            next_half(time)
        } else {
            Instant::now() + Duration::from_millis(time.slot_ms / 8)
        };
        tokio::time::sleep_until(next).await;
    }
}

/// Tells the core which head is ours, if that has changed.
fn tell_head(nodes: &Nodes, events: &mpsc::UnboundedSender<Event>) {
    // Nobody listens when the program ends.
    nodes.new_head(|slot, root| drop(events.send(Event::Head { slot, root })));
}

/// The beginning of the next slot; a little later, so that by no clock it is before that.
fn next_slot(time: Time) -> Instant {
    let now = now_ms();
    let at = time.start_of(time.slot_at(now).map_or(0, |slot| slot + 1));
    let at = at.saturating_add(AFTER_THE_BEGINNING_MS);
    instant_of(at.min(now.saturating_add(time.slot_ms.saturating_mul(2))))
}

/// The middle of the next slot: in the second half of a slot nobody waits for a beacon node. Before genesis, too, a node may
/// go down or come back.
fn next_half(time: Time) -> Instant {
    let now = now_ms();
    let slot = time.slot_at(now).map_or(0, |slot| slot + 1);
    let at = time.start_of(slot).saturating_add(time.slot_ms / 2);
    instant_of(at.min(now.saturating_add(time.slot_ms.saturating_mul(2))))
}

fn deadline() -> Instant {
    Instant::now() + PATIENCE
}

fn failed(error: &AllFailed) {
    // People are told by the lines of the nodes and of the duties themselves.
    tracing::info!("{error}");
}
