//! Carries out what the core wants: network, beacon nodes, guard, signatures.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::TryRng as _;
use tokio::{runtime, sync::mpsc, time::Instant};

use crate::{
    combine::{self, Job, items},
    core::{
        Effect, Event, Report, Signed, Subscription, ToCheck,
        head::Place,
        proposing::{MAX_ANCESTORS, Made, Measure, decode_value, encode_value},
        terms::{Ancestor, Payload, Summary},
    },
    group::Group,
    partials::Proof,
};
use conclave_beacon::{
    answers::CommitteeSubscription,
    api::{BlockRequest, BlockTrouble, KnownBlock, Produced},
    chain::spec::Chain,
    http::ErrorKind,
    nodes::{From, Nodes},
};
use conclave_crypto::{bls::SecretKey, hash::Hash};
use conclave_eth::chain::fork::Fork;
use conclave_eth::{
    chain::{
        block::{Block, BlockSchemas},
        types::AttestationData,
    },
    duty::{Duty, Kind, Purpose},
};
use conclave_slashing::{Guard, GuardError, Memory, Message as Slashable, Progress, Request, Timing};

use super::{
    News,
    checks::Keys,
    clock::{instant_of, now_ms},
};

/// What matters of a block before it is signed.
fn summary(block: &Block) -> Summary {
    Summary {
        fork: block.fork,
        blinded: block.blinded,
        header: block.header,
        randao: block.randao_reveal,
        fee_recipient: block.fee_recipient,
        timestamp: block.timestamp,
        gas_limit: block.gas_limit,
        parent_hash: block.parent_hash,
        commitments: block.commitments,
    }
}

/// What matters of a block on which others are built.
fn ancestor(block: &KnownBlock) -> Ancestor {
    let (header, payload) = match block {
        KnownBlock::Whole(block) => (block.header, Payload::of(block.block_hash, block.gas_limit)),
        KnownBlock::Header(header) => (*header, None),
    };
    Ancestor {
        slot: header.slot,
        proposer_index: header.proposer_index,
        parent_root: header.parent_root,
        payload,
    }
}

/// An error of three lines as one.
fn one_line(error: &GuardError) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join(" ")
}

/// What the guard is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Use {
    Reads,
    Writes,
}

/// What is needed to carry out effects. Clones share everything.
#[derive(Clone)]
pub(super) struct Works {
    pub(super) runtime: runtime::Handle,
    pub(super) nodes: Nodes,
    /// As it was known at the start: see [`Works::newest_chain`].
    pub(super) chain: Arc<Chain>,
    pub(super) group: Arc<Group>,
    pub(super) guard: Option<Arc<Guard>>,
    pub(super) shares: Arc<Vec<SecretKey>>,
    pub(super) schemas: Arc<BlockSchemas>,
    pub(super) keys: Arc<Keys>,
    /// Whether blocks of external builders are taken.
    pub(super) builder: bool,
    /// What own blocks say.
    pub(super) graffiti: [u8; 32],
    pub(super) events: mpsc::UnboundedSender<Event>,
    /// For whoever watches.
    pub(super) news: mpsc::UnboundedSender<News>,
    /// Held by whoever asks the guard: one thread waits for a disk that hangs, and nobody else's.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
    /// Why the guard cannot be used, as far as that was told.
    pub(super) trouble: Arc<Mutex<Option<(Use, String)>>>,
    /// Proofs that wait to be written: durable soon, off the way of duties.
    pub(super) unwritten: Arc<Mutex<BTreeMap<(u16, bool), Proof>>>,
    /// Which beacon nodes refused what beside one that took it, and in which epoch that was told last.
    pub(super) refusals: Arc<Mutex<BTreeMap<(String, Purpose), u64>>>,
    /// Blocks on which others may be built, as beacon nodes told of them lately, by root.
    pub(super) ancestors: Arc<Mutex<BTreeMap<Hash, Ancestor>>>,
    /// Blocks that beacon nodes are making, by slot.
    pub(super) making: Arc<Mutex<BTreeMap<u64, Vec<tokio::task::AbortHandle>>>>,
}

impl Works {
    /// Begins to carry out an effect.
    pub(super) fn begin(&self, effect: Effect) {
        match effect {
            Effect::AskView { slot } => self.ask_view(slot),
            Effect::AskAllViews { slot } => self.ask_all_views(slot),
            Effect::LookUp { slot, root } => self.look_up(slot, root),
            Effect::AskAggregates {
                round,
                data,
                committees,
            } => self.ask_aggregates(round, data, committees),
            Effect::AskContributions {
                round,
                slot,
                root,
                subcommittees,
            } => self.ask_contributions(round, slot, root, subcommittees),
            Effect::AskHead => self.ask_head(),
            Effect::AskAncestor { slot, root } => self.ask_ancestor(slot, root),
            Effect::AskBlock {
                slot,
                round,
                randao,
                measure,
            } => self.ask_block(slot, round, randao, measure),
            Effect::StopMaking { slot } => {
                for made in self.making().remove(&slot).unwrap_or_default() {
                    made.abort();
                }
            }
            Effect::Check {
                duty,
                id,
                what: ToCheck::Block(value),
                ..
            } => {
                let works = self.clone();
                rayon::spawn(move || {
                    let block = works.decode(&value).as_ref().map(summary);
                    works.tell(Event::Decoded {
                        slot: duty.slot,
                        id,
                        block,
                    });
                });
            }
            Effect::Check {
                duty,
                round,
                id,
                what,
            } => self.check(duty, round, id, what),
            Effect::Sign { purpose, slot, roots } => {
                let works = self.clone();
                rayon::spawn(move || {
                    let items = works.sign(roots);
                    works.tell(Event::Signed(Signed {
                        purpose,
                        slot,
                        epochs: (0, 0),
                        items,
                        refused: Vec::new(),
                    }));
                });
            }
            Effect::Guard {
                purpose,
                slot,
                epochs,
                root,
                validators,
                deadline_ms,
            } => {
                let works = self.clone();
                self.watch_guard(Use::Writes, move || {
                    works.guarded(purpose, slot, epochs, root, &validators, deadline_ms)
                });
            }
            Effect::Combine { purpose, slot, job } => {
                let works = self.clone();
                rayon::spawn(move || works.combine(purpose, slot, &job));
            }
            Effect::Submit(submission) => self.submit(submission),
            Effect::Subscribe(subscriptions) => self.subscribe(&subscriptions),
            Effect::Remember { operator, proof } => self.remember(operator, proof),
            Effect::Compare {
                operator,
                remembered,
                confirms,
            } => {
                let works = self.clone();
                self.watch_guard(Use::Writes, move || works.compare(operator, remembered, confirms));
            }
            Effect::Raise { to, instance } => {
                let works = self.clone();
                self.watch_guard(Use::Writes, move || {
                    if let Some(guard) = &works.guard {
                        guard.raise(to)?;
                        works.tell(Event::Raised { instance });
                    }
                    Ok(())
                });
            }
            Effect::Begin(start) => {
                if let Some(guard) = &self.guard {
                    guard.begin(start);
                }
            }
            // Messages, reports and the end are the driver's.
            Effect::Send { .. }
            | Effect::Broadcast(_)
            | Effect::Refuse { .. }
            | Effect::Report(_)
            | Effect::Stop(_) => {}
        }
    }

    fn tell(&self, event: Event) {
        // Nobody listens when the program ends.
        let _ = self.events.send(event);
    }

    /// Asks the guard something off the way of everything else, and tells if it cannot answer.
    fn watch_guard(&self, use_of: Use, ask: impl FnOnce() -> Result<(), GuardError> + Send + 'static) {
        let works = self.clone();
        let slot = Duration::from_millis(self.chain.time().slot_ms);
        self.runtime.spawn(async move {
            let mut asked = std::pin::pin!(async {
                let _turn = works.turn.lock().await;
                let writes = || works.guard.as_ref().map(|guard| guard.writes());
                let before = writes();
                let mut use_of = use_of;
                let trouble = match tokio::task::spawn_blocking(ask).await {
                    Ok(Ok(())) => {
                        // What needed no change shows only that it can be read.
                        if before.is_some() && writes() == before {
                            use_of = Use::Reads;
                        }
                        None
                    }
                    Ok(Err(error)) => {
                        // A disk that is full may still be read.
                        use_of = Use::Writes;
                        Some(one_line(&error))
                    }
                    Err(_) => Some("asking it failed: this is a bug, please report it".to_owned()),
                };
                works.guard_is(use_of, trouble);
            });
            if tokio::time::timeout(slot, asked.as_mut()).await.is_err() {
                let hangs = "its disk has not answered for a slot: look at the disk's health";
                works.guard_is(use_of, Some(hangs.to_owned()));
                asked.await;
            }
        });
    }

    /// Has the guard tell whether its database is the whole memory of its share.
    pub(super) fn ask_mark(&self) {
        let works = self.clone();
        self.watch_guard(Use::Reads, move || {
            if let Some(guard) = &works.guard {
                let _ = works.news.send(News::Marked(guard.mark()?));
            }
            Ok(())
        });
    }

    /// Tells how the guard is, if that has changed. That it can be read does not show that it can be written.
    fn guard_is(&self, use_of: Use, trouble: Option<String>) {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.take();
        let worst = before.as_ref().map_or(use_of, |(of, _)| use_of.max(*of));
        *known = match (&before, trouble) {
            (Some(before), None) if before.0 > use_of => Some(before.clone()),
            (_, None) => None,
            (_, Some(why)) => Some((worst, why)),
        };
        let why = |known: &Option<(Use, String)>| known.as_ref().map(|(_, why)| why.clone());
        if why(&before) != why(&known) {
            let _ = self.news.send(News::Guard(why(&known)));
        }
    }

    /// The end of the slot that is so many slots after this one.
    pub(super) fn within_slots(&self, slot: u64, more: u64) -> Instant {
        instant_of(self.chain.time().end_of(slot.saturating_add(more)))
    }

    fn ask_view(&self, slot: u64) {
        let works = self.clone();
        self.runtime.spawn(async move {
            let time = works.chain.time();
            // What comes later than half a slot is asked for again.
            let deadline = instant_of(now_ms().saturating_add(time.slot_ms / 2));
            let tell = |answer: From<AttestationData>, ours| {
                let data = answer.value;
                works.tell(if ours {
                    Event::View { slot, data }
                } else {
                    Event::OtherView { slot, data }
                });
            };
            if let Err(error) = works.nodes.attestation_data(slot, deadline, tell).await {
                tracing::info!(slot, "{error}");
                let kind = Kind::Head;
                works.tell(Event::Unanswered {
                    duty: Duty { slot, kind },
                    round: None,
                });
            }
        });
    }

    /// Each answer counts when it comes: nobody waits for a slow node.
    fn ask_all_views(&self, slot: u64) {
        let works = self.clone();
        self.runtime.spawn(async move {
            let deadline = instant_of(now_ms().saturating_add(works.chain.time().slot_ms / 2));
            let tell = |data| works.tell(Event::OtherView { slot, data });
            works.nodes.attestation_data_of_each(slot, deadline, tell).await;
        });
    }

    fn check(&self, duty: Duty, round: u8, id: Hash, what: ToCheck) {
        let works = self.clone();
        self.runtime.spawn(async move {
            let (keys, nodes, chain) = (&works.keys, &works.nodes, &works.newest_chain());
            let deadline = works.within_slots(duty.slot, 1);
            let verdict = match what {
                ToCheck::Aggregates(list) => keys.aggregates(nodes, chain, &list, deadline).await,
                ToCheck::Contributions(list) => keys.contributions(nodes, chain, &list, deadline).await,
                ToCheck::Block(_) => None,
            };
            works.tell(Event::Checked {
                duty,
                round,
                id,
                verdict,
            });
        });
    }

    fn ask_aggregates(&self, round: u8, data: AttestationData, committees: Vec<u64>) {
        let works = self.clone();
        self.runtime.spawn(async move {
            let deadline = works.within_slots(data.slot, 1);
            let ask = |committee| works.nodes.aggregate_attestation(&data, committee, deadline);
            let answers = futures::future::join_all(committees.into_iter().map(ask)).await;
            let aggregates = answers.into_iter().filter_map(|answer| Some(answer.ok()?.value));
            works.tell(Event::Aggregates {
                slot: data.slot,
                round,
                aggregates: aggregates.collect(),
            });
        });
    }

    fn ask_contributions(&self, round: u8, slot: u64, root: Hash, subcommittees: Vec<u16>) {
        let works = self.clone();
        self.runtime.spawn(async move {
            let deadline = works.within_slots(slot, 1);
            let ask = |subcommittee: u16| {
                let nodes = &works.nodes;
                nodes.sync_committee_contribution(slot, subcommittee.into(), &root, deadline)
            };
            let answers = futures::future::join_all(subcommittees.into_iter().map(ask)).await;
            let contributions = answers.into_iter().filter_map(|answer| Some(answer.ok()?.value));
            works.tell(Event::Contributions {
                slot,
                round,
                contributions: contributions.collect(),
            });
        });
    }

    fn ask_head(&self) {
        let works = self.clone();
        self.runtime.spawn(async move {
            let asked = Instant::now();
            let deadline = instant_of(now_ms().saturating_add(works.chain.time().slot_ms / 4));
            match works.nodes.head_header(deadline).await {
                Ok(found) => {
                    works.nodes.answered_head(found.node, asked, &found.value);
                    works
                        .nodes
                        .new_head(|slot, root| works.tell(Event::Head { slot, root }));
                }
                Err(error) => tracing::info!("{error}"),
            }
        });
    }

    /// Tells at once what goes wrong with a block that is asked for: a slot later nobody could do anything about it.
    fn block_trouble(&self, slot: u64, trouble: BlockTrouble) {
        let refused =
            matches!(&trouble, BlockTrouble::Failed(error) if matches!(error.kind, ErrorKind::Refused(_)));
        let (what, advice) = match trouble {
            BlockTrouble::Odd { node, why } => (
                format!(
                    "beacon node {node}: its answer with a block lacks something that belongs to it ({why}); the block is used"
                ),
                "Nothing is lost; update the beacon node, or the proxy before it, when you can",
            ),
            BlockTrouble::AskedAgain(error) => (
                format!("{error}; it is asked again, for JSON"),
                error.kind.advice(),
            ),
            BlockTrouble::Failed(error) => (error.to_string(), error.kind.advice()),
        };
        self.own_block(slot, refused, what, advice.trim_end_matches('.'));
    }

    fn own_block(&self, slot: u64, refused: bool, what: String, advice: &'static str) {
        // Nobody listens when the program ends.
        let _ = self.news.send(News::Report(Report::OwnBlock {
            slot,
            refused,
            what,
            advice,
        }));
    }

    fn ancestors(&self) -> MutexGuard<'_, BTreeMap<Hash, Ancestor>> {
        self.ancestors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn making(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<tokio::task::AbortHandle>>> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask_block(&self, slot: u64, round: u8, randao: [u8; 96], measure: Measure) {
        let works = self.clone();
        let made = self.runtime.spawn(async move {
            // Later than in its slot nobody takes a block.
            let deadline = works.within_slots(slot, 0);
            // Without --builder only blocks of the node's own execution client.
            let boost = if works.builder { None } else { Some(0) };
            let schemas = &works.schemas;
            // Another of our beacon nodes may have one that can be signed.
            let refuses = |produced: &Produced| {
                let (block, mut measure) = (summary(&produced.block), measure.clone());
                // What was found out since they were asked.
                let parent = block.header.parent_root;
                let known = works.ancestors().get(&parent).copied();
                measure.ancestors.extend(known.map(|ancestor| (parent, ancestor)));
                measure.refuse_own(&block)
            };
            let tell = |trouble| works.block_trouble(slot, trouble);
            let wanted = BlockRequest {
                slot,
                randao_reveal: randao,
                graffiti: works.graffiti,
                builder_boost_factor: boost,
            };
            match works
                .nodes
                .produce_block(schemas, &wanted, deadline, refuses, tell)
                .await
            {
                Ok(found) => {
                    let produced = found.value;
                    let block = &produced.block;
                    let contents = produced.blobs.as_ref().filter(|_| block.commitments > 0);
                    let made = Made {
                        value: encode_value(block.fork, block.blinded, &block.ssz),
                        summary: summary(block),
                        contents: contents.map(|blobs| BlockSchemas::contents_ssz(block, blobs).into()),
                    };
                    works.tell(Event::Produced { slot, round, made });
                }
                Err(error) => {
                    tracing::debug!(slot, "no beacon node made a block: {error}");
                    let what = "no beacon node of yours made a block that can be signed".to_owned();
                    works.own_block(slot, false, what, "Another operator proposes, if one can");
                    let kind = Kind::Block;
                    works.tell(Event::Unanswered {
                        duty: Duty { slot, kind },
                        round: Some(round),
                    });
                }
            }
        });
        let mut making = self.making();
        making.retain(|of, _| *of >= slot);
        making.entry(slot).or_default().push(made.abort_handle());
    }

    pub(super) fn decode(&self, value: &[u8]) -> Option<Block> {
        let (fork, blinded, ssz) = decode_value(value)?;
        self.schemas.block(fork, blinded, ssz.to_vec()).ok()
    }

    fn look_up(&self, slot: u64, root: Hash) {
        let works = self.clone();
        self.runtime.spawn(async move {
            let deadline = instant_of(now_ms().saturating_add(works.chain.time().slot_ms / 4));
            let found = works.nodes.header(&root, deadline).await.ok();
            let place = found.map(|found| Place {
                slot: found.value.header.slot,
                parent: found.value.header.parent_root,
            });
            works.tell(Event::Block { slot, root, place });
        });
    }

    /// What nobody waits for long: a proposal does.
    fn ask_ancestor(&self, slot: u64, root: Hash) {
        let works = self.clone();
        self.runtime.spawn(async move {
            let deadline = instant_of(now_ms().saturating_add(works.chain.time().slot_ms / 8));
            let found = works.nodes.known_block(&works.schemas, &root, deadline).await;
            let ancestor = match found {
                Ok(found) => {
                    let ancestor = ancestor(&found.value);
                    let mut ancestors = works.ancestors();
                    if ancestors.len() >= MAX_ANCESTORS {
                        ancestors.clear();
                    }
                    ancestors.insert(root, ancestor);
                    Some(ancestor)
                }
                Err(error) => {
                    tracing::debug!(slot, "{error}");
                    None
                }
            };
            works.tell(Event::Ancestor { slot, root, ancestor });
        });
    }

    fn sign(&self, roots: Vec<(combine::Place, Hash)>) -> Vec<crate::partials::Item> {
        use rayon::prelude::*;
        let signed = roots
            .into_par_iter()
            .filter_map(|(place, root)| {
                let share = self.shares.get(usize::try_from(place.0).ok()?)?;
                Some((place, root, share.sign(&root)))
            })
            .collect();
        items(signed)
    }

    fn guarded(
        &self,
        purpose: Purpose,
        slot: u64,
        epochs: (u64, u64),
        root: Hash,
        validators: &[u32],
        deadline_ms: u64,
    ) -> Result<(), GuardError> {
        let Some(guard) = &self.guard else {
            return Ok(());
        };
        let time = self.chain.time();
        let message = match purpose {
            Purpose::Block => Slashable::Block { slot },
            _ => Slashable::Attestation {
                slot,
                source: epochs.0,
                target: epochs.1,
            },
        };
        let timing = Timing {
            now_ms: now_ms(),
            slot_start_ms: time.start_of(slot),
            slot_ms: time.slot_ms,
            deadline_ms,
            epoch: time.epoch_of(slot),
        };
        let request = Request {
            message,
            signing_root: root,
            validators,
            timing,
        };
        let answer = guard.permit(&request)?;
        for (validator, refusal) in &answer.refused {
            let what = purpose.text();
            if refusal.is_of_a_start() {
                tracing::debug!(slot, validator, "the {what} is not signed: {refusal}");
            } else {
                tracing::warn!(slot, validator, "the {what} is not signed: {refusal}");
            }
        }
        let roots = answer.permit.iter().flat_map(|permit| {
            permit
                .validators()
                .iter()
                .map(|validator| ((*validator, 0), *permit.signing_root()))
        });
        let roots = roots.collect();
        let refused = answer.refused.iter().map(|(validator, _)| *validator).collect();
        let works = self.clone();
        rayon::spawn(move || {
            let items = works.sign(roots);
            works.tell(Event::Signed(Signed {
                purpose,
                slot,
                epochs,
                items,
                refused,
            }));
        });
        Ok(())
    }

    fn combine(&self, purpose: Purpose, slot: u64, job: &Job) {
        let mut seed = [0; 32];
        if rand::rngs::SysRng.try_fill_bytes(&mut seed).is_err() {
            tracing::error!("the system gives no random numbers");
            return;
        }
        let outcome = job.run(&self.group, &seed);
        self.tell(Event::Combined {
            purpose,
            slot,
            outcome,
        });
    }

    /// The chain as it is known now: a beacon node may have told of further forks. Time and sizes stay as they were.
    pub(super) fn newest_chain(&self) -> Arc<Chain> {
        self.nodes.chain().unwrap_or_else(|| self.chain.clone())
    }

    pub(super) fn fork_at(&self, slot: u64) -> Fork {
        let epoch = self.chain.epoch_of(slot);
        self.newest_chain()
            .spec
            .fork_at(epoch)
            .map_or(Fork::Electra, |fork| fork.fork)
    }

    fn subscribe(&self, subscriptions: &[Subscription]) {
        let list: Vec<CommitteeSubscription> = subscriptions
            .iter()
            .map(|subscription| CommitteeSubscription {
                validator_index: subscription.attester.index,
                committee_index: subscription.attester.committee,
                committees_at_slot: subscription.attester.committees_at_slot,
                slot: subscription.slot,
                is_aggregator: subscription.is_aggregator,
            })
            .collect();
        let works = self.clone();
        self.runtime.spawn(async move {
            let deadline = instant_of(now_ms().saturating_add(works.chain.time().slot_ms));
            if let Err(error) = works.nodes.subscribe_committees(&list, deadline).await {
                tracing::info!("{error}");
            }
        });
    }

    /// Written a little later, several together: losing the newest ones costs nothing but a proof that others have too.
    fn remember(&self, operator: u16, proof: Proof) {
        let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
        let first = unwritten.is_empty();
        unwritten.insert((operator, proof.header().purpose == Purpose::Block), proof);
        drop(unwritten);
        if first {
            self.write_later(Duration::from_millis(self.chain.time().slot_ms / 4));
        }
    }

    /// Writes what is to be remembered after this time, and again a slot after each failure.
    fn write_later(&self, wait: Duration) {
        let works = self.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            let again = works.clone();
            again.watch_guard(Use::Writes, move || {
                let written = works.write_memories();
                if written.is_err() {
                    works.write_later(Duration::from_millis(works.chain.time().slot_ms));
                }
                written
            });
        });
    }

    /// Writes what is to be remembered. What cannot be written is kept, unless there is something newer.
    ///
    /// # Errors
    /// If the guard cannot.
    pub(super) fn write_memories(&self) -> Result<(), GuardError> {
        let proofs = std::mem::take(&mut *self.unwritten.lock().unwrap_or_else(PoisonError::into_inner));
        let memories: Vec<Memory> = proofs
            .iter()
            .map(|((operator, block), proof)| {
                let header = proof.header();
                let message = if *block {
                    Slashable::Block { slot: header.slot }
                } else {
                    Slashable::Attestation {
                        slot: header.slot,
                        source: header.source,
                        target: header.target,
                    }
                };
                Memory {
                    operator: *operator,
                    message,
                    proof: proof.encode().to_vec(),
                }
            })
            .collect();
        if let Some(guard) = &self.guard
            && !memories.is_empty()
        {
            guard.remember(&memories).inspect_err(|_| {
                let mut unwritten = self.unwritten.lock().unwrap_or_else(PoisonError::into_inner);
                for (whose, proof) in proofs {
                    unwritten.entry(whose).or_insert(proof);
                }
            })?;
        }
        Ok(())
    }

    fn compare(
        &self,
        operator: u16,
        remembered: Progress,
        confirms: Option<crate::alive::Instance>,
    ) -> Result<(), GuardError> {
        let newer = match &self.guard {
            None => false,
            Some(guard) => guard.catch_up(remembered)?,
        };
        self.tell(Event::Compared {
            operator,
            remembered,
            newer,
            confirms,
        });
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use axum::response::IntoResponse as _;
    use futures::FutureExt as _;

    use super::*;
    use crate::core::{schedule::Attester, terms::Terms};
    use conclave_beacon::{
        chain::spec::Pinned,
        testing::{chain, connect, header, healthy, serve, soon},
    };
    use conclave_cluster::lock::Lock;
    use conclave_eth::chain::types::Checkpoint;
    use conclave_eth::testing::{unhex, vectors};
    use conclave_slashing::{Cluster, ValidatorKeys};

    /// Works of a group without shares, on a chain with such slots; and what they tell.
    pub(in crate::node) fn works(
        runtime: &runtime::Runtime,
        slot_ms: u64,
    ) -> (Works, mpsc::UnboundedReceiver<News>) {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/cluster-lock.json");
        let lock = Lock::from_json(&std::fs::read(path).unwrap()).unwrap();
        let names = ["alice", "bob", "carol", "dave"].map(str::to_owned);
        let mut chain = chain("minimal");
        chain.spec.slot_ms = slot_ms;
        let (news, told) = mpsc::unbounded_channel();
        let works = Works {
            runtime: runtime.handle().clone(),
            nodes: Nodes::new(Vec::new(), Pinned::default()),
            schemas: Arc::new(BlockSchemas::new(&chain.spec.sizes)),
            chain: Arc::new(chain),
            group: Arc::new(Group::new(&lock, &names).unwrap()),
            guard: None,
            shares: Arc::default(),
            keys: Arc::default(),
            builder: false,
            graffiti: [0; 32],
            events: mpsc::unbounded_channel().0,
            news,
            turn: Arc::default(),
            trouble: Arc::default(),
            unwritten: Arc::default(),
            refusals: Arc::default(),
            ancestors: Arc::default(),
            making: Arc::default(),
        };
        (works, told)
    }

    #[test]
    fn a_guard_that_fails_or_hangs_is_told_of_when_it_begins_and_when_it_ends() {
        let runtime = runtime::Runtime::new().unwrap();
        let next = |told: &mut mpsc::UnboundedReceiver<News>| match told.blocking_recv() {
            Some(News::Guard(trouble)) => trouble,
            other => panic!("{other:?}"),
        };
        let (patient, mut told) = works(&runtime, 600_000);
        // The same again is no news.
        for trouble in [None, Some("a"), Some("a"), Some("b"), None, None] {
            patient.guard_is(Use::Reads, trouble.map(str::to_owned));
        }
        assert_eq!(next(&mut told).as_deref(), Some("a"));
        assert_eq!(next(&mut told).as_deref(), Some("b"));
        assert_eq!(next(&mut told), None);
        patient.watch_guard(Use::Writes, || Err(GuardError::NoChain));
        let trouble = next(&mut told).unwrap();
        assert!(
            trouble.contains("not bound to a chain yet. Its genesis") && !trouble.contains('\n'),
            "{trouble}"
        );
        patient.watch_guard(Use::Writes, || panic!("a bug"));
        assert!(next(&mut told).unwrap().contains("this is a bug"));
        patient.watch_guard(Use::Writes, || Ok(()));
        assert_eq!(next(&mut told), None);
        // Who only reads does not know that all is well, but knows what is not.
        let full = Some("full".to_owned());
        patient.guard_is(Use::Writes, full.clone());
        patient.guard_is(Use::Reads, None);
        patient.guard_is(Use::Reads, Some("torn".to_owned()));
        patient.guard_is(Use::Reads, None);
        patient.guard_is(Use::Writes, full);
        patient.guard_is(Use::Writes, None);
        let three = [next(&mut told), next(&mut told), next(&mut told)];
        assert_eq!(three.map(Option::unwrap_or_default), ["full", "torn", "full"]);
        assert_eq!(next(&mut told), None);

        let (hasty, mut told) = works(&runtime, 20);
        let (answer, asked) = std::sync::mpsc::channel();
        hasty.watch_guard(Use::Writes, move || asked.recv().map_err(|_| GuardError::NoChain));
        assert!(next(&mut told).unwrap().contains("has not answered for a slot"));
        answer.send(()).unwrap();
        assert_eq!(next(&mut told), None);
    }

    #[test]
    fn a_guard_works_again_when_it_has_written_something_and_loses_no_proof() {
        let runtime = runtime::Runtime::new().unwrap();
        let (mut works, mut told) = works(&runtime, 600_000);
        let keys = ValidatorKeys {
            distributed: [1; 48],
            share: [2; 48],
        };
        let cluster = Cluster::new([7; 32], 1, vec![keys]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (path, away) = (dir.path().join("database"), dir.path().join("away"));
        std::fs::write(&path, conclave_slashing::new_database(&cluster, None).unwrap()).unwrap();
        works.guard = Some(Arc::new(Guard::open(&path, cluster).unwrap()));
        let write = || {
            let (done, wait) = std::sync::mpsc::channel();
            let again = works.clone();
            works.watch_guard(Use::Writes, move || {
                let written = again.write_memories();
                done.send(()).unwrap();
                written
            });
            wait.recv().unwrap();
            // Until it has been told.
            drop(runtime.block_on(works.turn.lock()));
        };
        let mut next = || match told.try_recv() {
            Ok(News::Guard(trouble)) => Some(trouble.unwrap_or_default()),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        };
        works.guard_is(Use::Writes, Some("full".to_owned()));
        assert_eq!(next().as_deref(), Some("full"));
        // There was nothing to write.
        write();
        assert_eq!(next(), None);
        let mut bytes = [0; crate::partials::PROOF];
        bytes[0] = 2;
        let proof = Proof::decode(&bytes).unwrap();
        works.unwritten.lock().unwrap().insert((2, true), proof);
        std::fs::rename(&path, &away).unwrap();
        write();
        let trouble = next().unwrap();
        assert!(trouble.contains("was replaced or removed"), "{trouble}");
        std::fs::rename(&away, &path).unwrap();
        write();
        assert_eq!(next().as_deref(), Some(""));
        let guard = works.guard.as_ref().unwrap();
        assert_eq!(guard.memories().unwrap().len(), 1);
        // Whatever failed, only what is written shows that it works.
        works.watch_guard(Use::Reads, || Err(GuardError::NoChain));
        while next().is_none() {
            std::thread::sleep(Duration::from_millis(10));
        }
        write();
        assert_eq!(next(), None);
    }

    #[test]
    fn one_beacon_node_tells_our_view_and_every_one_is_asked_about_that_of_others() {
        const PATH: &str = "/eth/v1/validator/attestation_data";
        let data = |justified: u8| AttestationData {
            slot: 17,
            index: 0,
            beacon_block_root: [1; 32],
            source: Checkpoint {
                epoch: justified.into(),
                root: [justified; 32],
            },
            target: Checkpoint {
                epoch: 2,
                root: [3; 32],
            },
        };
        let answer = |justified| (PATH, serde_json::json!({ "data": data(justified) }));
        let runtime = runtime::Runtime::new().unwrap();
        let (mut works, _told) = works(&runtime, 600_000);
        let (events, mut told) = mpsc::unbounded_channel();
        works.events = events;
        let stale = runtime.block_on(healthy(&[answer(0)]));
        let good = runtime.block_on(healthy(&[answer(1)]));
        // Knows the chain, and never says what to attest to.
        let hanging = runtime.block_on(serve(7, |call| {
            let asked = call.path() == PATH;
            Box::pin(async move {
                if asked {
                    std::future::pending::<()>().await;
                }
                None
            })
        }));
        works.nodes = runtime.block_on(connect(&[&stale, &hanging, &good]));
        works.begin(Effect::AskView { slot: 17 });
        assert!(
            matches!(told.blocking_recv(), Some(Event::View { slot: 17, data: said }) if said == data(0))
        );
        works.begin(Effect::AskAllViews { slot: 17 });
        let mut said = Vec::new();
        for _ in 0..2 {
            // The node that hangs may do so for half a slot, five minutes: nobody waits for it.
            let event = runtime.block_on(async { tokio::time::timeout_at(soon(), told.recv()).await });
            match event {
                Ok(Some(Event::OtherView { slot: 17, data })) => said.push(data.source.epoch),
                other => panic!("{other:?}"),
            }
        }
        said.sort_unstable();
        assert_eq!(said, [0, 1]);
    }

    #[test]
    fn a_head_that_was_asked_for_replaces_none_that_was_told_of_meanwhile() {
        let runtime = runtime::Runtime::new().unwrap();
        let (mut works, _news) = works(&runtime, 120_000);
        let (events, mut heard) = mpsc::unbounded_channel();
        works.events = events;
        let (old, shown) = header(0, 1);
        let (calls, arrived) = std::sync::mpsc::channel();
        let answers = Arc::new(tokio::sync::Notify::new());
        let gate = answers.clone();
        let server = runtime.block_on(serve(7, move |call| {
            let (shown, gate, calls) = (shown.to_string(), gate.clone(), calls.clone());
            let asked = call.path() == "/eth/v1/beacon/headers/head";
            async move {
                if asked {
                    let _ = calls.send(());
                    gate.notified().await;
                }
                asked.then(|| shown.into_response())
            }
            .boxed()
        }));
        // Asked how it is it shows its head, too.
        answers.notify_one();
        works.nodes = runtime.block_on(connect(&[&server]));
        let patience = Duration::from_secs(60);
        arrived.recv_timeout(patience).unwrap();
        let next = |heard: &mut mpsc::UnboundedReceiver<Event>| match heard.blocking_recv() {
            Some(Event::Head { root, .. }) => root,
            event => panic!("{event:?}"),
        };
        works.begin(Effect::AskHead);
        arrived.recv_timeout(patience).unwrap();
        works.nodes.told(0, 0, [9; 32], false);
        answers.notify_one();
        assert_eq!(next(&mut heard), [9; 32]);
        // What is asked for later is newer.
        works.begin(Effect::AskHead);
        arrived.recv_timeout(patience).unwrap();
        answers.notify_one();
        assert_eq!(next(&mut heard), old);
    }

    #[test]
    fn the_block_of_genesis_says_nothing_of_what_is_built_on_it() {
        let runtime = runtime::Runtime::new().unwrap();
        let (works, _told) = works(&runtime, 12_000);
        let ssz = unhex(&vectors("minimal")["blocks"]["fulu"]["full"]["ssz"]);
        let child = works.schemas.block(Fork::Fulu, false, ssz).unwrap();
        let said = summary(&child);
        let mut parent = child.clone();
        (parent.block_hash, parent.gas_limit) = (said.parent_hash, said.gas_limit);
        let of = |parent: &Block| ancestor(&KnownBlock::Whole(Box::new(parent.clone())));
        assert!(of(&parent).payload.is_some());
        assert_eq!(of(&parent).refuse_child(&said), None);
        parent.block_hash = [1; 32];
        assert!(of(&parent).refuse_child(&said).is_some());
        // Its execution payload is all zeros.
        (parent.block_hash, parent.gas_limit) = ([0; 32], 0);
        assert_eq!(of(&parent).refuse_child(&said), None);
    }

    #[test]
    fn what_a_proposed_block_says_is_read_from_its_bytes_or_it_is_none() {
        let runtime = runtime::Runtime::new().unwrap();
        let (mut works, _told) = works(&runtime, 12_000);
        let (events, mut told) = mpsc::unbounded_channel();
        works.events = events;
        let vector = &vectors("minimal")["blocks"]["fulu"];
        let full = unhex(&vector["full"]["ssz"]);
        let mut read = |value: Arc<[u8]>| {
            let (slot, kind) = (9, Kind::Block);
            works.begin(Effect::Check {
                duty: Duty { slot, kind },
                round: 0,
                id: [8; 32],
                what: ToCheck::Block(value),
            });
            match told.blocking_recv() {
                Some(Event::Decoded {
                    slot: 9,
                    id: [8, ..],
                    block,
                }) => block,
                other => panic!("{other:?}"),
            }
        };
        let said = read(encode_value(Fork::Fulu, false, &full)).unwrap();
        let payload = &vector["full"]["json"]["body"]["execution_payload"];
        assert_eq!((said.fork, said.blinded), (Fork::Fulu, false));
        assert_eq!(said.header.root().to_vec(), unhex(&vector["full"]["root"]));
        assert_eq!(said.header.body_root.to_vec(), unhex(&vector["body_root"]));
        assert_eq!(said.fee_recipient.to_vec(), unhex(&payload["fee_recipient"]));
        let blinded = unhex(&vector["blinded"]["ssz"]);
        assert!(read(encode_value(Fork::Fulu, true, &blinded)).is_some_and(|block| block.blinded));

        let longer = [&full[..], &[0]].concat();
        let none: [(&str, Arc<[u8]>); 7] = [
            ("nothing", Arc::from([])),
            ("no block", encode_value(Fork::Fulu, false, &[])),
            ("cut", encode_value(Fork::Fulu, false, &full[..full.len() / 2])),
            ("longer", encode_value(Fork::Fulu, false, &longer)),
            ("called blinded", encode_value(Fork::Fulu, true, &full)),
            ("called full", encode_value(Fork::Fulu, false, &blinded)),
            (
                "of a fork without a schema",
                encode_value(Fork::Deneb, false, &full),
            ),
        ];
        for (what, value) in none {
            assert_eq!(read(value), None, "{what}");
        }
    }

    #[test]
    #[allow(clippy::too_many_lines, reason = "one beacon node after the other")]
    fn a_block_that_cannot_be_signed_is_asked_of_our_other_beacon_node_and_told_of_in_its_slot() {
        let runtime = runtime::Runtime::new().unwrap();
        let (mut works, mut news) = works(&runtime, 600_000);
        let mut chain = (*works.chain).clone();
        // The slot is now.
        chain.genesis.time = now_ms() / 1000 - 17 * 600 - 60;
        works.chain = Arc::new(chain);
        let (events, mut told) = mpsc::unbounded_channel();
        works.events = events;
        let vector = &vectors("minimal")["blocks"]["fulu"];
        let mut ssz = unhex(&vector["blinded"]["ssz"]);
        ssz[..8].copy_from_slice(&17_u64.to_le_bytes());
        let right = works.schemas.block(Fork::Fulu, true, ssz).unwrap();
        let terms = Terms {
            slot: 17,
            proposer_index: right.header.proposer_index,
            timestamp: right.timestamp,
            fork: Some(Fork::Fulu),
            fee_recipient: right.fee_recipient,
            randao: Some(right.randao_reveal),
            builder: true,
        };
        let making = |change: fn(&mut Vec<u8>)| {
            let mut ssz = right.ssz.clone();
            change(&mut ssz);
            runtime.block_on(serve(7, move |call| {
                let headers = [
                    ("content-type", "application/octet-stream"),
                    ("eth-consensus-version", "fulu"),
                    ("eth-execution-payload-blinded", "true"),
                ];
                let made = (headers, ssz.clone()).into_response();
                let asked = call.path() == "/eth/v3/validator/blocks/17";
                async move { asked.then_some(made) }.boxed()
            }))
        };
        // The proposer is the second number.
        let wrong = making(|ssz| ssz[8] ^= 1);
        let good = making(|_| ());
        let reports = |news: &mut mpsc::UnboundedReceiver<News>| {
            let mut reports = Vec::new();
            while let Ok(told) = news.try_recv() {
                if let News::Report(Report::OwnBlock {
                    slot, refused, what, ..
                }) = told
                {
                    assert_eq!(slot, 17);
                    reports.push((refused, what));
                }
            }
            reports
        };
        let ask = |works: &Works, ancestors: BTreeMap<Hash, Ancestor>| {
            works.begin(Effect::AskBlock {
                slot: 17,
                round: 2,
                randao: right.randao_reveal,
                measure: Measure { terms, ancestors },
            });
        };
        works.nodes = runtime.block_on(connect(&[&wrong, &good]));
        ask(&works, BTreeMap::new());
        match told.blocking_recv() {
            Some(Event::Produced {
                slot: 17,
                round: 2,
                made,
            }) => assert_eq!(made.summary, summary(&right)),
            other => panic!("{other:?}"),
        }
        let first = reports(&mut news);
        assert!(
            matches!(&first[..], [(true, what)] if what.contains("another proposer")),
            "{first:?}"
        );
        // Nobody has one: the next leader is not kept waiting, and all of it is said.
        works.nodes = runtime.block_on(connect(&[&wrong]));
        ask(&works, BTreeMap::new());
        match told.blocking_recv() {
            Some(Event::Unanswered {
                duty:
                    Duty {
                        slot: 17,
                        kind: Kind::Block,
                    },
                round: Some(2),
            }) => {}
            other => panic!("{other:?}"),
        }
        let refusals: Vec<bool> = reports(&mut news)
            .into_iter()
            .map(|(refused, _)| refused)
            .collect();
        assert_eq!(refusals, [true, false]);
        // What the parent does not allow is seen by the parent, whether that was known before or is found out meanwhile.
        let parent = |block_hash, gas_limit| Ancestor {
            slot: 16,
            proposer_index: 7,
            parent_root: [1; 32],
            payload: Some(Payload {
                block_hash,
                gas_limit,
            }),
        };
        let fits = parent(right.parent_hash, right.gas_limit);
        let unlike = [
            ("not built on", parent([9; 32], right.gas_limit)),
            ("gas limit", parent(right.parent_hash, right.gas_limit / 2 + 1)),
        ];
        // The first node builds on another block than the second one.
        let elsewhere = making(|ssz| ssz[16] ^= 1);
        let mut other_root = right.header.parent_root;
        other_root[0] ^= 1;
        for (why, forbids) in unlike {
            for meanwhile in [false, true] {
                works.nodes = runtime.block_on(connect(&[&elsewhere, &good]));
                let known = BTreeMap::from([(other_root, forbids), (right.header.parent_root, fits)]);
                works.ancestors().clear();
                if meanwhile {
                    works.ancestors().clone_from(&known);
                    ask(&works, BTreeMap::new());
                } else {
                    ask(&works, known);
                }
                match told.blocking_recv() {
                    Some(Event::Produced { made, .. }) => assert_eq!(made.summary, summary(&right), "{why}"),
                    other => panic!("{why}: {other:?}"),
                }
                let said = reports(&mut news);
                assert!(
                    matches!(&said[..], [(true, what)] if what.contains(why)),
                    "{said:?}"
                );
            }
        }
    }

    #[test]
    fn a_block_that_nobody_needs_in_the_end_costs_no_beacon_node_its_standing() {
        let runtime = runtime::Runtime::new().unwrap();
        for decided in [true, false] {
            let (mut works, mut news) = works(&runtime, 1_500);
            let mut chain = (*works.chain).clone();
            // The slot begins now.
            chain.genesis.time = now_ms().div_ceil(1000);
            let slot = chain.time().slot_at(now_ms() + 1000).unwrap();
            works.chain = Arc::new(chain);
            let (events, mut told) = mpsc::unbounded_channel();
            works.events = events;
            let (asked, begun) = std::sync::mpsc::channel();
            let hanging = runtime.block_on(serve(7, move |call| {
                let makes = call.path().starts_with("/eth/v3/validator/blocks/");
                if makes {
                    let _ = asked.send(());
                }
                async move {
                    if makes {
                        std::future::pending::<()>().await;
                    }
                    None
                }
                .boxed()
            }));
            works.nodes = runtime.block_on(connect(&[&hanging]));
            let terms = Terms {
                slot,
                proposer_index: 1,
                timestamp: 1,
                fork: Some(Fork::Fulu),
                fee_recipient: [1; 20],
                randao: Some([1; 96]),
                builder: true,
            };
            works.begin(Effect::AskBlock {
                slot,
                round: 1,
                randao: [1; 96],
                measure: Measure {
                    terms,
                    ancestors: BTreeMap::new(),
                },
            });
            begun.recv_timeout(Duration::from_secs(60)).unwrap();
            if decided {
                works.begin(Effect::StopMaking { slot });
                // What has no end now has none after the slot either.
                std::thread::sleep(Duration::from_secs(3));
                assert!(told.try_recv().is_err());
            } else {
                assert!(matches!(told.blocking_recv(), Some(Event::Unanswered { .. })));
            }
            let said = news.try_recv().is_ok();
            assert_eq!(said, !decided, "only what somebody may have needed is told");
            assert!(works.nodes.is_ready(), "{:?}", works.nodes.health());
            assert!(works.nodes.health().iter().all(|node| node.trouble.is_none()));
        }
    }

    #[test]
    fn beacon_nodes_are_told_of_committees() {
        let runtime = runtime::Runtime::new().unwrap();
        let (mut works, _told) = works(&runtime, 600_000);
        let (told, bodies) = std::sync::mpsc::channel();
        let server = runtime.block_on(serve(7, move |call| {
            let subscribes = call.path() == "/eth/v1/validator/beacon_committee_subscriptions";
            let answer = subscribes.then(|| {
                told.send(call.body.clone()).unwrap();
                "".into_response()
            });
            async move { answer }.boxed()
        }));
        works.nodes = runtime.block_on(connect(&[&server]));
        let subscription = |slot, index, is_aggregator| Subscription {
            slot,
            attester: Attester {
                validator: 1,
                index,
                committee: 3,
                committee_length: 5,
                committees_at_slot: 4,
            },
            is_aggregator,
        };
        works.begin(Effect::Subscribe(vec![
            subscription(9, 100, true),
            subscription(10, 101, false),
        ]));
        let body = bodies.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
            serde_json::json!([
                {
                    "validator_index": "100", "committee_index": "3", "committees_at_slot": "4", "slot": "9",
                    "is_aggregator": true,
                },
                {
                    "validator_index": "101", "committee_index": "3", "committees_at_slot": "4", "slot": "10",
                    "is_aggregator": false,
                },
            ])
        );
    }
}
