//! Asks beacon nodes about our validators and their duties, and puts these as the core takes them.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::Instant;

use crate::validator::{
    beacon::{
        answers::ValidatorStatus,
        nodes::{AllFailed, Nodes},
    },
    chain::spec::{Chain, Fork},
    core::{
        Event,
        schedule::{Attester, Proposer, SyncMember},
    },
};

use super::known::{Depends, Question, Whom};

/// What was answered.
pub(super) enum Answer {
    /// What the chain says of validators.
    Validators(Vec<ValidatorStatus>),
    /// Duties: what the core is to be told, and on which block that depends.
    Duties(Box<Event>, Option<Depends>),
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
    /// Asks about these validators; what the chain says is asked of all.
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
                let found = self.nodes.validators(&keys, deadline).await?;
                Ok(Answer::Validators(found.value))
            }
            Question::Attesters(epoch) => self.attesters(epoch, whom, deadline).await,
            Question::Proposers(epoch) => self.proposers(epoch, whom, deadline).await,
            Question::Sync(epoch) => self.sync_members(epoch, whom, deadline).await,
        }
    }

    async fn attesters(&self, epoch: u64, whom: &Whom, deadline: Instant) -> Result<Answer, AllFailed> {
        let answer = self
            .nodes
            .attester_duties(epoch, &indices(whom), deadline)
            .await?
            .value;
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
        let duties = duties.collect();
        let depends = Depends::of_attesters(epoch, answer.dependent_root);
        Ok(Answer::Duties(
            Box::new(Event::Attesters { epoch, duties }),
            Some(depends),
        ))
    }

    async fn proposers(&self, epoch: u64, whom: &Whom, deadline: Instant) -> Result<Answer, AllFailed> {
        let answer = self.nodes.proposer_duties(epoch, deadline).await?.value;
        let duties = answer.duties.data.iter().filter_map(|duty| {
            let proposer = Proposer {
                validator: *whom.get(&duty.validator_index)?,
                index: duty.validator_index,
            };
            Some((duty.slot, proposer))
        });
        let duties = duties.collect();
        // Those of Fulu's first epoch are not.
        let chain = self.nodes.chain();
        let spec = &chain.as_ref().unwrap_or(&self.chain).spec;
        let fork_before = spec.fork_at(epoch.saturating_sub(1));
        let decided_ahead = fork_before.is_some_and(|one| one.fork >= Fork::Fulu);
        let depends = Depends::of_proposers(epoch, answer.duties.dependent_root, answer.v2, decided_ahead);
        Ok(Answer::Duties(
            Box::new(Event::Proposers { epoch, duties }),
            Some(depends),
        ))
    }

    async fn sync_members(&self, epoch: u64, whom: &Whom, deadline: Instant) -> Result<Answer, AllFailed> {
        let answer = self
            .nodes
            .sync_duties(epoch, &indices(whom), deadline)
            .await?
            .value;
        let members = answer.iter().filter_map(|duty| {
            let places = &duty.validator_sync_committee_indices;
            let subcommittees = self.chain.sync_subcommittees(places).into_iter();
            Some(SyncMember {
                validator: *whom.get(&duty.validator_index)?,
                index: duty.validator_index,
                subcommittees: subcommittees.filter_map(|one| u16::try_from(one).ok()).collect(),
                places: places.clone(),
            })
        });
        let members = members.collect();
        Ok(Answer::Duties(
            Box::new(Event::SyncMembers { epoch, members }),
            None,
        ))
    }
}

fn indices(whom: &Whom) -> Vec<u64> {
    whom.keys().copied().collect()
}
