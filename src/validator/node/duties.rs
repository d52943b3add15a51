//! Asks the beacon nodes who has which duty, and again whenever that may have changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};

use crate::{
    crypto::hash::Hash,
    validator::{
        beacon::{
            answers::{ProposerPreparation, SignedRegistration, SyncSubscription},
            events::{Events, News},
            nodes::{AllFailed, Nodes},
        },
        chain::{spec::Chain, time::Time},
        core::{
            Event,
            schedule::{Attester, Proposer, SyncMember},
        },
        group::Group,
        overview::news::Seen,
    },
};

use super::{
    News as Told,
    clock::{instant_of, now_ms},
    votes,
};

/// One request for duties may take so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A validator of ours on the chain.
#[derive(Debug, Clone, Copy)]
struct OnChain {
    /// Its place in the lock, from 0.
    place: u32,
    active: bool,
    /// First epoch with duties, and first one without.
    epochs: (u64, u64),
}

/// Keeps the core informed of duties and heads.
pub(super) struct Service {
    nodes: Nodes,
    chain: Arc<Chain>,
    time: Time,
    group: Arc<Group>,
    /// Told to the beacon nodes once an epoch.
    registrations: Vec<SignedRegistration>,
    events: mpsc::UnboundedSender<Event>,
    /// For whoever watches.
    news: mpsc::UnboundedSender<Told>,
    /// By index on the chain.
    validators: HashMap<u64, OnChain>,
    /// Dependent root of the attester duties that were told, by epoch.
    attesters: BTreeMap<u64, Hash>,
    /// The same of proposers.
    proposers: BTreeMap<u64, Hash>,
    /// Epochs whose sync committee was told.
    sync: BTreeSet<u64>,
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
        Self {
            time: chain.time(),
            nodes,
            chain,
            group,
            registrations,
            events,
            news,
            validators: HashMap::new(),
            attesters: BTreeMap::new(),
            proposers: BTreeMap::new(),
            sync: BTreeSet::new(),
        }
    }

    /// Works for ever: on heads as they come, and at least once a slot.
    pub(super) async fn run(mut self) {
        let idle = Duration::from_millis(self.time.slot_ms.saturating_mul(4));
        let mut heads = Events::open(&self.nodes, idle);
        let mut epoch_of_validators = None;
        let mut next = Instant::now();
        tokio::spawn(look_after(self.nodes.clone(), self.time));
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next) => {
                    next = next_half(self.time);
                    let epoch = self.time.epoch_at(now_ms()).unwrap_or(0);
                    if epoch_of_validators != Some(epoch) && self.find_validators().await {
                        epoch_of_validators = Some(epoch);
                        self.ask_votes(epoch);
                    }
                    self.refresh(epoch).await;
                }
                event = heads.next() => match event.map(|event| event.news) {
                    Some(News::Head(head)) => {
                        if self.events.send(Event::Head { slot: head.slot, root: head.block }).is_err() {
                            return;
                        }
                        let epoch = self.time.epoch_of(head.slot);
                        let changed = self.changed(epoch, &head.previous_duty_dependent_root)
                            | self.changed(epoch.saturating_add(1), &head.current_duty_dependent_root);
                        if changed {
                            self.refresh(epoch).await;
                        }
                    }
                    Some(_) => {}
                    None => return,
                },
            }
        }
    }

    /// Whether the attester duties of an epoch depend on another block now; then they are forgotten.
    fn changed(&mut self, epoch: u64, dependent_root: &Hash) -> bool {
        let changed = self
            .attesters
            .get(&epoch)
            .is_some_and(|known| known != dependent_root);
        if changed {
            self.attesters.remove(&epoch);
            self.proposers.remove(&epoch);
        }
        changed
    }

    /// Looks our validators up on the chain. False if nobody answered.
    async fn find_validators(&mut self) -> bool {
        let keys: Vec<[u8; 48]> = self
            .group
            .validators
            .iter()
            .map(|validator| validator.key.to_bytes())
            .collect();
        let places: HashMap<[u8; 48], u32> = keys.iter().copied().zip(0..).collect();
        match self.nodes.validators(&keys, deadline()).await {
            Ok(found) => {
                let mut seen = Vec::new();
                for status in found.value {
                    if let Some(place) = places.get(&status.validator.pubkey) {
                        let active = status.is_active();
                        self.validators.insert(
                            status.index,
                            OnChain {
                                place: *place,
                                active,
                                epochs: (status.validator.activation_epoch, status.validator.exit_epoch),
                            },
                        );
                        seen.push(Seen {
                            validator: *place,
                            index: status.index,
                            status: status.status,
                            balance: status.balance,
                            slashed: status.validator.slashed,
                        });
                    }
                }
                let _ = self.news.send(Told::Validators(seen));
                self.prepare_proposers().await;
                self.register().await;
                true
            }
            Err(error) => {
                failed(&error);
                false
            }
        }
    }

    /// Finds out what became of votes, for whoever watches; nothing waits for it.
    fn ask_votes(&self, epoch: u64) {
        let had_duties = |of: u64| {
            let validators = self.validators.iter();
            let with_duties = validators.filter(move |(_, one)| one.epochs.0 <= of && of < one.epochs.1);
            with_duties.map(|(index, one)| (*index, one.place)).collect()
        };
        let [judged, seen] = [2, 1].map(|before| {
            let of = epoch.checked_sub(before)?;
            Some((of, had_duties(of)))
        });
        let (nodes, news) = (self.nodes.clone(), self.news.clone());
        // Not in the first slot of an epoch, when nodes have most to do.
        let later = Duration::from_millis(self.time.slot_ms);
        tokio::spawn(async move {
            tokio::time::sleep(later).await;
            if let Some(votes) = votes::find(&nodes, judged, seen).await {
                let _ = news.send(Told::Votes(votes));
            }
        });
    }

    async fn prepare_proposers(&self) {
        let preparations: Vec<ProposerPreparation> = self
            .validators
            .iter()
            .filter_map(|(index, validator)| {
                let place = usize::try_from(validator.place).ok()?;
                Some(ProposerPreparation {
                    validator_index: *index,
                    fee_recipient: self.group.validators.get(place)?.fee_recipient,
                })
            })
            .collect();
        if !preparations.is_empty()
            && let Err(error) = self.nodes.prepare_proposers(&preparations, deadline()).await
        {
            failed(&error);
        }
    }

    /// Tells builders, through the beacon nodes, what the group has signed.
    async fn register(&self) {
        if !self.registrations.is_empty()
            && let Err(error) = self
                .nodes
                .register_validators(&self.registrations, deadline())
                .await
        {
            failed(&error);
        }
    }

    /// The indices of our active validators.
    fn indices(&self) -> Vec<u64> {
        let mut indices: Vec<u64> = self
            .validators
            .iter()
            .filter(|(_, validator)| validator.active)
            .map(|(index, _)| *index)
            .collect();
        indices.sort_unstable();
        indices
    }

    fn place(&self, index: u64) -> Option<u32> {
        self.validators.get(&index).map(|validator| validator.place)
    }

    /// Asks for whatever is not known of this epoch and the next.
    async fn refresh(&mut self, epoch: u64) {
        let indices = self.indices();
        if indices.is_empty() {
            return;
        }
        self.attesters = self.attesters.split_off(&epoch);
        self.proposers = self.proposers.split_off(&epoch);
        for epoch in [epoch, epoch.saturating_add(1)] {
            if !self.attesters.contains_key(&epoch) {
                self.ask_attesters(epoch, &indices).await;
            }
            if !self.proposers.contains_key(&epoch) {
                self.ask_proposers(epoch).await;
            }
            if !self.sync.contains(&epoch) {
                self.ask_sync(epoch, &indices).await;
            }
        }
        self.sync = self.sync.split_off(&epoch);
    }

    async fn ask_attesters(&mut self, epoch: u64, indices: &[u64]) {
        match self.nodes.attester_duties(epoch, indices, deadline()).await {
            Ok(duties) => {
                let duties = duties.value;
                let list = duties
                    .data
                    .iter()
                    .filter_map(|duty| {
                        let attester = Attester {
                            validator: self.place(duty.validator_index)?,
                            index: duty.validator_index,
                            committee: duty.committee_index,
                            committee_length: duty.committee_length,
                            committees_at_slot: duty.committees_at_slot,
                        };
                        Some((duty.slot, attester))
                    })
                    .collect();
                let _ = self.events.send(Event::Attesters { epoch, duties: list });
                self.attesters.insert(epoch, duties.dependent_root);
            }
            Err(error) => failed(&error),
        }
    }

    async fn ask_proposers(&mut self, epoch: u64) {
        match self.nodes.proposer_duties(epoch, deadline()).await {
            Ok(answer) => {
                let duties = answer.value.duties;
                let list = duties
                    .data
                    .iter()
                    .filter_map(|duty| {
                        let proposer = Proposer {
                            validator: self.place(duty.validator_index)?,
                            index: duty.validator_index,
                        };
                        Some((duty.slot, proposer))
                    })
                    .collect();
                let _ = self.events.send(Event::Proposers { epoch, duties: list });
                self.proposers.insert(epoch, duties.dependent_root);
            }
            // Before Fulu only the current epoch's proposers are known.
            Err(error) => tracing::debug!(%error, epoch, "proposer duties"),
        }
    }

    async fn ask_sync(&mut self, epoch: u64, indices: &[u64]) {
        match self.nodes.sync_duties(epoch, indices, deadline()).await {
            Ok(duties) => {
                let members: Vec<SyncMember> = duties
                    .value
                    .iter()
                    .filter_map(|duty| {
                        let places = &duty.validator_sync_committee_indices;
                        let subcommittees = self.chain.sync_subcommittees(places);
                        Some(SyncMember {
                            validator: self.place(duty.validator_index)?,
                            index: duty.validator_index,
                            subcommittees: subcommittees
                                .into_iter()
                                .filter_map(|s| u16::try_from(s).ok())
                                .collect(),
                            places: places.clone(),
                        })
                    })
                    .collect();
                let until_epoch = self.chain.next_sync_period(epoch);
                let subscriptions: Vec<SyncSubscription> = members
                    .iter()
                    .map(|member| SyncSubscription {
                        validator_index: member.index,
                        sync_committee_indices: member.places.clone(),
                        until_epoch,
                    })
                    .collect();
                let _ = self.events.send(Event::SyncMembers { epoch, members });
                self.sync.insert(epoch);
                if !subscriptions.is_empty()
                    && let Err(error) = self
                        .nodes
                        .subscribe_sync_committees(&subscriptions, deadline())
                        .await
                {
                    failed(&error);
                }
            }
            Err(error) => failed(&error),
        }
    }
}

/// Asks the beacon nodes once a slot how they are, and again and again while none is well: one that is back is of use at
/// once. By itself: one that does not answer must not keep the news of the others waiting.
async fn look_after(nodes: Nodes, time: Time) {
    // A question that waits longer than a slot would miss that its node is back.
    let patience = Duration::from_millis(time.slot_ms / 2).min(PATIENCE);
    loop {
        nodes.check(now_ms(), Instant::now() + patience).await;
        let next = if nodes.is_ready() {
            next_half(time)
        } else {
            Instant::now() + Duration::from_millis(time.slot_ms / 8)
        };
        tokio::time::sleep_until(next).await;
    }
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
    tracing::warn!("{error}");
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::{body::Body, response::IntoResponse as _};
    use futures::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::validator::beacon::tests::{connect, serve};

    /// Tells when whoever asked does not wait any more.
    struct Gone(Arc<AtomicBool>);

    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_beacon_node_that_is_back_is_of_use_within_a_slot() {
        let hangs = Arc::new(AtomicBool::new(true));
        let hung = hangs.clone();
        let server = serve(7, move |_| {
            let hangs = hung.load(Ordering::SeqCst);
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                None
            }
            .boxed()
        })
        .await;
        hangs.store(false, Ordering::SeqCst);
        let nodes = connect(&[&server]).await;
        let time = nodes.chain().unwrap().time();
        let slot = Duration::from_millis(time.slot_ms);
        hangs.store(true, Ordering::SeqCst);
        tokio::spawn(look_after(nodes.clone(), time));
        let until = |ready: bool| {
            let nodes = &nodes;
            async move {
                while nodes.is_ready() != ready {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        };
        tokio::time::timeout(slot * 2, until(false)).await.unwrap();
        hangs.store(false, Ordering::SeqCst);
        tokio::time::timeout(slot, until(true)).await.unwrap();
    }

    #[tokio::test]
    async fn a_beacon_node_that_hangs_does_not_keep_the_others_heads_waiting() {
        let hangs = Arc::new(AtomicBool::new(false));
        let (hung, seen) = (hangs.clone(), hangs.clone());
        let given_up = Arc::new(AtomicBool::new(false));
        let gone = given_up.clone();
        let slow = serve(7, move |call| {
            let hangs = hung.load(Ordering::SeqCst);
            let gone = (hangs && call.path() == "/eth/v1/node/syncing").then(|| Gone(gone.clone()));
            async move {
                if hangs {
                    let _gone = gone;
                    std::future::pending::<()>().await;
                }
                None
            }
            .boxed()
        })
        .await;
        let quick = serve(7, move |call| {
            let root = format!("0x{}", "11".repeat(32));
            let head = format!(
                "event: head\ndata: {{\"slot\":\"9\",\"block\":\"{root}\",\"previous_duty_dependent_root\":\"{root}\",\
                 \"current_duty_dependent_root\":\"{root}\"}}\n\n"
            );
            let hangs = seen.load(Ordering::SeqCst);
            let answer = (call.path() == "/eth/v1/events" && hangs).then(|| {
                // When the other one has long been asked how it is.
                let later = async move {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Ok::<_, std::io::Error>(head)
                };
                let stream = futures::stream::once(later).chain(futures::stream::pending());
                ([("content-type", "text/event-stream")], Body::from_stream(stream)).into_response()
            });
            async move { answer }.boxed()
        })
        .await;
        let nodes = connect(&[&quick, &slow]).await;
        given_up.store(false, Ordering::SeqCst);
        hangs.store(true, Ordering::SeqCst);
        let group = Group {
            lock_hash: [7; 32],
            threshold: 1,
            operators: Vec::new(),
            validators: Vec::new(),
        };
        let (events, mut heard) = mpsc::unbounded_channel();
        let (news, _told) = mpsc::unbounded_channel();
        let chain = nodes.chain().unwrap();
        tokio::spawn(Service::new(nodes, chain, Arc::new(group), Vec::new(), events, news).run());
        let head = tokio::time::timeout(PATIENCE * 2, async {
            loop {
                if let Some(Event::Head { slot, .. }) = heard.recv().await {
                    return slot;
                }
            }
        });
        assert_eq!(head.await.unwrap(), 9);
        // Not only when the patience with the other one has come to its end.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!given_up.load(Ordering::SeqCst));
    }
}
