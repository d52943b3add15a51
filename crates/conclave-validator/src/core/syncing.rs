//! Sync committee messages, and contributions.

use std::collections::BTreeSet;

use crate::combine::Place;
use conclave_beacon::chain::signing::is_sync_aggregator;
use conclave_consensus::{Signatures, Verdict, messages::Proposal};
use conclave_eth::{
    chain::types::{
        ContributionAndProof, SignedContributionAndProof, SyncCommitteeContribution, SyncCommitteeMessage,
    },
    duty::{Duty, Kind, Purpose},
};

use super::{
    Core, Effect, Submission,
    attesting::{decode_list, encode_list},
    effects::ToCheck,
    schedule::SyncMember,
};

/// Selection proofs of the sync committee are made so many slots ahead.
pub(super) const AHEAD: u64 = 2;

impl<S: Signatures> Core<S> {
    pub(super) fn sync_members(&mut self, epoch: u64, members: Vec<SyncMember>) {
        self.schedule.set_sync(epoch, members);
        self.duties_changed(epoch, Kind::Contributions);
    }

    /// Messages of a slot are for the block after it, so the committee is that of the next slot.
    pub(super) fn sync_members_of(&self, slot: u64) -> &[SyncMember] {
        self.schedule.sync(self.time.epoch_of(slot.saturating_add(1)))
    }

    /// Makes the selection proofs of the sync committee members of a slot.
    pub(super) fn sign_sync_selections(&mut self, slot: u64) {
        let mut roots = Vec::new();
        for member in self.sync_members_of(slot) {
            for subcommittee in &member.subcommittees {
                if let Ok(root) = self
                    .chain
                    .sync_selection_signing_root(slot, (*subcommittee).into())
                {
                    roots.push(((member.validator, *subcommittee), root));
                }
            }
        }
        self.sign(Purpose::SyncSelection, slot, roots);
    }

    /// Has the sync committee messages for what was decided signed.
    pub(super) fn sign_sync_messages(&mut self, slot: u64) {
        let Some(data) = self.slots.get(&slot).and_then(|work| work.head) else {
            return;
        };
        if let Ok(root) = self
            .chain
            .sync_message_signing_root(slot, &data.beacon_block_root)
        {
            let roots = self
                .sync_members_of(slot)
                .iter()
                .map(|member| ((member.validator, 0), root))
                .collect();
            self.sign(Purpose::SyncMessage, slot, roots);
        }
    }

    pub(super) fn submit_sync_messages(&mut self, slot: u64) {
        let Some(data) = self.slots.get(&slot).and_then(|work| work.head) else {
            return;
        };
        let Ok(root) = self
            .chain
            .sync_message_signing_root(slot, &data.beacon_block_root)
        else {
            return;
        };
        let mut messages = Vec::new();
        for member in self.schedule.sync(self.time.epoch_of(slot.saturating_add(1))) {
            let place = (member.validator, 0);
            if let Some(signature) = self.pools.hand_over((Purpose::SyncMessage, slot), place, &root) {
                messages.push(SyncCommitteeMessage {
                    slot,
                    beacon_block_root: data.beacon_block_root,
                    validator_index: member.index,
                    signature,
                });
            }
        }
        if !messages.is_empty() {
            self.submit(Purpose::SyncMessage, slot, Submission::SyncMessages(messages));
        }
    }

    /// Who contributes in a slot: validator, its index on the chain, subcommittee.
    pub(super) fn contributors(&self, slot: u64) -> Vec<(u32, u64, u16)> {
        let mut contributors = Vec::new();
        for member in self.sync_members_of(slot) {
            for subcommittee in &member.subcommittees {
                let place = (member.validator, *subcommittee);
                let proof = self.pools.made((Purpose::SyncSelection, slot), place);
                if proof.is_some_and(|made| is_sync_aggregator(&self.chain, &made.signature)) {
                    contributors.push((member.validator, member.index, *subcommittee));
                }
            }
        }
        contributors
    }

    pub(super) fn contributing_subcommittees(&self, slot: u64) -> BTreeSet<u16> {
        self.contributors(slot)
            .into_iter()
            .map(|(_, _, subcommittee)| subcommittee)
            .collect()
    }

    /// This operator leads: our beacon node's contributions for what was decided.
    pub(super) fn ask_contributions(&mut self, slot: u64, round: u8) {
        if let Some(data) = self.slots.get(&slot).and_then(|work| work.head) {
            self.note_asked(slot, Kind::Contributions);
            self.effects.push(Effect::AskContributions {
                round,
                slot,
                root: data.beacon_block_root,
                subcommittees: self.contributing_subcommittees(slot).into_iter().collect(),
            });
        }
    }

    /// Our beacon node's answer is proposed.
    pub(super) fn contributions(
        &mut self,
        slot: u64,
        round: u8,
        contributions: &[SyncCommitteeContribution],
    ) {
        let duty = Duty {
            slot,
            kind: Kind::Contributions,
        };
        if !contributions.is_empty() && self.agreements.contains_key(&duty) {
            self.note_answered(duty);
            let value = encode_list(contributions.iter().map(SyncCommitteeContribution::to_ssz));
            self.propose(duty, round, value.into());
        } else {
            self.unanswered(duty, Some(round));
        }
    }

    fn decode_contributions(&self, value: &[u8]) -> Option<Vec<SyncCommitteeContribution>> {
        decode_list(value, 64)?
            .into_iter()
            .map(|bytes| SyncCommitteeContribution::from_ssz(bytes, &self.chain.spec.sizes).ok())
            .collect()
    }

    pub(super) fn judge_contributions(&mut self, slot: u64, proposal: &Proposal) {
        let duty = Duty {
            slot,
            kind: Kind::Contributions,
        };
        let id = proposal.value_id();
        let Some(contributions) = self.decode_contributions(&proposal.value) else {
            return self.give_verdict(duty, proposal.round, &id, Verdict::Invalid);
        };
        let Some(data) = self.slots.get(&slot).and_then(|work| work.head) else {
            return;
        };
        let mut seen = BTreeSet::new();
        let fits = contributions.iter().all(|contribution| {
            contribution.slot == slot
                && contribution.beacon_block_root == data.beacon_block_root
                && seen.insert(contribution.subcommittee_index)
        });
        if !fits || contributions.is_empty() {
            return self.give_verdict(duty, proposal.round, &id, Verdict::Invalid);
        }
        self.effects.push(Effect::Check {
            duty,
            round: proposal.round,
            id,
            what: ToCheck::Contributions(contributions),
        });
    }

    pub(super) fn decided_contributions(&mut self, slot: u64, value: &[u8]) {
        let Some(contributions) = self.decode_contributions(value) else {
            return;
        };
        self.slots.entry(slot).or_default().contributions = Some(contributions);
        self.proceed(slot);
    }

    pub(super) fn sign_contributions(&mut self, slot: u64) {
        let roots = self
            .contribution_messages(slot)
            .into_iter()
            .filter_map(|(place, message)| {
                Some((place, self.chain.contribution_signing_root(&message).ok()?))
            })
            .collect();
        self.sign(Purpose::Contribution, slot, roots);
    }

    /// Whether what was agreed on has a contribution of a subcommittee of this validator's; `None` if nothing was.
    pub(super) fn is_in_contributions(&self, slot: u64, validator: u32) -> Option<bool> {
        let decided = self.slots.get(&slot)?.contributions.as_deref()?;
        let contributors = self.contributors(slot);
        let mut own = contributors.iter().filter(|one| one.0 == validator);
        Some(own.any(|(_, _, subcommittee)| {
            let mut of = decided.iter().map(|one| one.subcommittee_index);
            of.any(|index| index == u64::from(*subcommittee))
        }))
    }

    /// What each contributor signs.
    fn contribution_messages(&self, slot: u64) -> Vec<(Place, ContributionAndProof)> {
        let decided = self
            .slots
            .get(&slot)
            .and_then(|work| work.contributions.as_deref())
            .unwrap_or_default();
        let message = |(validator, index, subcommittee): &(u32, u64, u16)| {
            let place = (*validator, *subcommittee);
            let contribution = decided
                .iter()
                .find(|c| c.subcommittee_index == u64::from(*subcommittee))?;
            let message = ContributionAndProof {
                aggregator_index: *index,
                contribution: contribution.clone(),
                selection_proof: self.pools.made((Purpose::SyncSelection, slot), place)?.signature,
            };
            Some((place, message))
        };
        self.contributors(slot).iter().filter_map(message).collect()
    }

    pub(super) fn submit_contributions(&mut self, slot: u64) {
        let mut signed = Vec::new();
        for (place, message) in self.contribution_messages(slot) {
            let Ok(root) = self.chain.contribution_signing_root(&message) else {
                continue;
            };
            if let Some(signature) = self.pools.hand_over((Purpose::Contribution, slot), place, &root) {
                signed.push(SignedContributionAndProof { message, signature });
            }
        }
        if !signed.is_empty() {
            self.submit(Purpose::Contribution, slot, Submission::Contributions(signed));
        }
    }
}
