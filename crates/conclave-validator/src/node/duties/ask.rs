//! Asks beacon nodes about our validators and their duties, and puts these as the core takes them.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::Instant;

use crate::core::{
    Event,
    schedule::{Attester, Proposer, SyncMember},
};
use conclave_beacon::{
    answers::ValidatorStatus,
    chain::spec::Chain,
    nodes::{AllFailed, Nodes, Said},
};
use conclave_eth::chain::fork::Fork;

use super::known::{Depends, Question, Whom};

/// What was answered, by each node.
pub(super) enum Answer {
    /// What the chain says of validators.
    Validators(Vec<Said<Vec<ValidatorStatus>>>),
    /// Duties, and on which block they depend.
    Duties(Vec<Said<(Duties, Option<Depends>)>>),
}

/// Duties of our validators in an epoch, in an order of their own, so that what is the same is equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Duties {
    /// Who attests.
    Attesters(Vec<(u64, Attester)>),
    /// Who proposes.
    Proposers(Vec<(u64, Proposer)>),
    /// Who is in the sync committee.
    Sync(Vec<SyncMember>),
}

impl Duties {
    /// Leaves only what is for these validators.
    pub(super) fn keep(&mut self, whom: &Whom) {
        let keeps = |index: u64, validator: u32| whom.get(&index) == Some(&validator);
        match self {
            Self::Attesters(duties) => duties.retain(|(_, one)| keeps(one.index, one.validator)),
            Self::Proposers(duties) => duties.retain(|(_, one)| keeps(one.index, one.validator)),
            Self::Sync(members) => members.retain(|one| keeps(one.index, one.validator)),
        }
    }

    /// What the core is told.
    pub(super) fn event(&self, epoch: u64) -> Event {
        match self.clone() {
            Self::Attesters(duties) => Event::Attesters { epoch, duties },
            Self::Proposers(duties) => Event::Proposers { epoch, duties },
            Self::Sync(members) => Event::SyncMembers { epoch, members },
        }
    }
}

/// The same of what each node says.
fn each<T, U>(said: Vec<Said<T>>, put: impl Fn(T) -> U) -> Vec<Said<U>> {
    let put = |one: Said<T>| Said {
        node: one.node,
        head_slot: one.head_slot,
        is_behind: one.is_behind,
        value: put(one.value),
    };
    said.into_iter().map(put).collect()
}

/// Who asks whom.
#[derive(Clone)]
pub(super) struct Asker {
    /// The beacon nodes.
    pub(super) nodes: Nodes,
    /// Their chain.
    pub(super) chain: Arc<Chain>,
    /// Our validators: places in the lock by public key.
    pub(super) places: Arc<BTreeMap<[u8; 48], u32>>,
}

impl Asker {
    /// Asks all nodes about these validators; what the chain says is asked of all validators.
    ///
    /// # Errors
    /// [`AllFailed`].
    pub(super) async fn ask(
        &self,
        question: Question,
        whom: &Whom,
        deadline: Instant,
    ) -> Result<Answer, AllFailed> {
        match question {
            Question::Validators => {
                let keys: Vec<[u8; 48]> = self.places.keys().copied().collect();
                let said = self.nodes.validators_of_all(&keys, deadline).await?;
                Ok(Answer::Validators(said))
            }
            Question::Attesters(epoch) => self.attesters(epoch, whom, deadline).await,
            Question::Proposers(epoch) => self.proposers(epoch, whom, deadline).await,
            Question::Sync(epoch) => self.sync_members(epoch, whom, deadline).await,
        }
    }

    async fn attesters(&self, epoch: u64, whom: &Whom, deadline: Instant) -> Result<Answer, AllFailed> {
        let said = self
            .nodes
            .attester_duties(epoch, &indices(whom), deadline)
            .await?;
        Ok(Answer::Duties(each(said, |answer| {
            let duties = answer.data.iter().filter_map(|duty| {
                let attester = Attester {
                    validator: *whom.get(&duty.validator_index)?,
                    index: duty.validator_index,
                    committee: duty.committee_index,
                    committee_length: duty.committee_length,
                    committees_at_slot: duty.committees_at_slot,
                };
                Some((duty.slot, attester))
            });
            let mut duties: Vec<(u64, Attester)> = duties.collect();
            duties.sort_by_key(|(slot, attester)| (*slot, attester.validator));
            let depends = Depends::of_attesters(epoch, answer.dependent_root);
            (Duties::Attesters(duties), Some(depends))
        })))
    }

    async fn proposers(&self, epoch: u64, whom: &Whom, deadline: Instant) -> Result<Answer, AllFailed> {
        let said = self.nodes.proposer_duties(epoch, deadline).await?;
        let decided_ahead = self.decides_ahead(epoch);
        Ok(Answer::Duties(each(said, |answer| {
            let duties = answer.duties.data.iter().filter_map(|duty| {
                let proposer = Proposer {
                    validator: *whom.get(&duty.validator_index)?,
                    index: duty.validator_index,
                };
                Some((duty.slot, proposer))
            });
            let mut duties: Vec<(u64, Proposer)> = duties.collect();
            duties.sort_by_key(|(slot, proposer)| (*slot, proposer.validator));
            let depends =
                Depends::of_proposers(epoch, answer.duties.dependent_root, answer.v2, decided_ahead);
            (Duties::Proposers(duties), Some(depends))
        })))
    }

    /// Whether proposers of an epoch are decided an epoch ahead; those of Fulu's first epoch are not.
    pub(super) fn decides_ahead(&self, epoch: u64) -> bool {
        let chain = self.nodes.chain();
        let spec = &chain.as_ref().unwrap_or(&self.chain).spec;
        let fork_before = spec.fork_at(epoch.saturating_sub(1));
        fork_before.is_some_and(|one| one.fork >= Fork::Fulu)
    }

    async fn sync_members(&self, epoch: u64, whom: &Whom, deadline: Instant) -> Result<Answer, AllFailed> {
        let said = self.nodes.sync_duties(epoch, &indices(whom), deadline).await?;
        Ok(Answer::Duties(each(said, |answer| {
            let members = answer.iter().filter_map(|duty| {
                // Some nodes tell them in one order, some in another.
                let mut places = duty.validator_sync_committee_indices.clone();
                places.sort_unstable();
                places.dedup();
                let subcommittees = self.chain.sync_subcommittees(&places).into_iter();
                Some(SyncMember {
                    validator: *whom.get(&duty.validator_index)?,
                    index: duty.validator_index,
                    subcommittees: subcommittees.filter_map(|one| u16::try_from(one).ok()).collect(),
                    places,
                })
            });
            let mut members: Vec<SyncMember> = members.collect();
            members.sort_by_key(|member| member.validator);
            (Duties::Sync(members), None)
        })))
    }
}

fn indices(whom: &Whom) -> Vec<u64> {
    whom.keys().copied().collect()
}
