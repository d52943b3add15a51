//! Attestations, and the aggregates of them.

use std::collections::{BTreeMap, BTreeSet};

use conclave_beacon::chain::signing::is_aggregator;
use conclave_consensus::{Instance, Signatures, Verdict, messages::Proposal};
use conclave_dkg::wire::Reader;
use conclave_eth::{
    chain::types::{
        AggregateAndProof, Attestation, AttestationData, SignedAggregateAndProof, SingleAttestation,
    },
    duty::{Duty, Kind, Purpose},
};

use super::{Core, Effect, Submission, Subscription, effects::ToCheck, schedule::Attester};

impl<S: Signatures> Core<S> {
    /// Who attests in an epoch: selection proofs are made ahead, and committees subscribed to.
    pub(super) fn attesters(&mut self, epoch: u64, duties: &[(u64, Attester)]) {
        self.schedule.set_attesters(epoch, duties.iter().copied());
        let now = self.slot_now();
        let slots: BTreeSet<u64> = duties
            .iter()
            .map(|(slot, _)| *slot)
            .filter(|slot| *slot >= now)
            .collect();
        let subscriptions: Vec<Subscription> =
            slots.iter().flat_map(|slot| self.subscriptions(*slot)).collect();
        if !subscriptions.is_empty() {
            self.effects.push(Effect::Subscribe(subscriptions));
        }
        self.duties_changed(epoch, Kind::Aggregates);
    }

    /// Makes the selection proofs of the attesters of a slot.
    pub(super) fn sign_selections(&mut self, slot: u64) {
        let attesters = self.schedule.attesters(self.time.epoch_of(slot), slot);
        if let Ok(root) = self.chain.selection_signing_root(slot) {
            let roots = attesters
                .iter()
                .map(|attester| ((attester.validator, 0), root))
                .collect();
            self.sign(Purpose::Selection, slot, roots);
        }
    }

    fn subscriptions(&self, slot: u64) -> Vec<Subscription> {
        let attesters = self.schedule.attesters(self.time.epoch_of(slot), slot);
        let subscription = |attester: &Attester| Subscription {
            slot,
            attester: *attester,
            is_aggregator: self.aggregates_in(slot, attester),
        };
        attesters.iter().map(subscription).collect()
    }

    /// Selection proofs of a slot were made: whoever aggregates says so to the beacon nodes.
    pub(super) fn selected(&mut self, slot: u64) {
        let mut subscriptions = self.subscriptions(slot);
        subscriptions.retain(|subscription| subscription.is_aggregator);
        if !subscriptions.is_empty() {
            self.effects.push(Effect::Subscribe(subscriptions));
        }
        self.proceed(slot);
    }

    fn aggregates_in(&self, slot: u64, attester: &Attester) -> bool {
        let proof = self
            .pools
            .made((Purpose::Selection, slot), (attester.validator, 0));
        proof.is_some_and(|made| is_aggregator(attester.committee_length, &made.signature))
    }

    /// The validators that aggregate in a slot.
    pub(super) fn aggregators(&self, slot: u64) -> Vec<Attester> {
        let attesters = self.schedule.attesters(self.time.epoch_of(slot), slot);
        attesters
            .iter()
            .filter(|attester| self.aggregates_in(slot, attester))
            .copied()
            .collect()
    }

    pub(super) fn aggregating_committees(&self, slot: u64) -> BTreeSet<u64> {
        self.aggregators(slot)
            .iter()
            .map(|attester| attester.committee)
            .collect()
    }

    /// Operators agreed on what to attest to.
    pub(super) fn decided_head(&mut self, slot: u64, data: AttestationData) {
        let work = self.slots.entry(slot).or_default();
        work.head = Some(data);
        (work.ask_view_at, work.ask_all_at) = (None, None);
        self.proceed(slot);
        for kind in [Kind::Aggregates, Kind::Contributions] {
            let duty = Duty { slot, kind };
            // Who leads could not ask before.
            if let Some(round) = self.agreements.get(&duty).and_then(Instance::asked) {
                self.asked_for_value(duty, round);
            }
            self.judge_held(duty);
        }
    }

    /// Asks the guard for the attestations of what was decided.
    pub(super) fn sign_attestations(&mut self, slot: u64) {
        let Some(data) = self.slots.get(&slot).and_then(|work| work.head) else {
            return;
        };
        if let Ok(root) = self.chain.attestation_signing_root(&data) {
            let attesters = self.schedule.attesters(self.time.epoch_of(slot), slot);
            let validators: Vec<u32> = attesters.iter().map(|attester| attester.validator).collect();
            let epochs = (data.source.epoch, data.target.epoch);
            self.sign_guarded(Purpose::Attestation, slot, epochs, root, validators.into_iter());
        }
    }

    pub(super) fn submit_attestations(&mut self, slot: u64) {
        let Some(data) = self.slots.get(&slot).and_then(|work| work.head) else {
            return;
        };
        let Ok(root) = self.chain.attestation_signing_root(&data) else {
            return;
        };
        let mut attestations = Vec::new();
        for attester in self.schedule.attesters(self.time.epoch_of(slot), slot) {
            let place = (attester.validator, 0);
            if let Some(signature) = self.pools.hand_over((Purpose::Attestation, slot), place, &root) {
                attestations.push(SingleAttestation {
                    committee_index: attester.committee,
                    attester_index: attester.index,
                    data,
                    signature,
                });
            }
        }
        if !attestations.is_empty() {
            self.submit(Purpose::Attestation, slot, Submission::Attestations(attestations));
        }
    }

    /// This operator leads: our beacon node's aggregates of what was decided.
    pub(super) fn ask_aggregates(&mut self, slot: u64, round: u8) {
        if let Some(data) = self.slots.get(&slot).and_then(|work| work.head) {
            self.note_asked(slot, Kind::Aggregates);
            let committees = self.aggregating_committees(slot).into_iter().collect();
            self.effects.push(Effect::AskAggregates {
                round,
                data,
                committees,
            });
        }
    }

    /// Our beacon node's answer is proposed.
    pub(super) fn aggregates(&mut self, slot: u64, round: u8, aggregates: &[Attestation]) {
        let duty = Duty {
            slot,
            kind: Kind::Aggregates,
        };
        if !aggregates.is_empty() && self.agreements.contains_key(&duty) {
            self.note_answered(duty);
            let value = encode_list(aggregates.iter().map(Attestation::to_ssz));
            self.propose(duty, round, value.into());
        } else {
            self.unanswered(duty, Some(round));
        }
    }

    fn decode_aggregates(&self, value: &[u8]) -> Option<Vec<Attestation>> {
        let sizes = &self.chain.spec.sizes;
        decode_list(value, sizes.max_committees_per_slot)?
            .into_iter()
            .map(|bytes| Attestation::from_ssz(bytes, sizes).ok())
            .collect()
    }

    pub(super) fn judge_aggregates(&mut self, slot: u64, proposal: &Proposal) {
        let duty = Duty {
            slot,
            kind: Kind::Aggregates,
        };
        let id = proposal.value_id();
        let Some(aggregates) = self.decode_aggregates(&proposal.value) else {
            return self.give_verdict(duty, proposal.round, &id, Verdict::Invalid);
        };
        // Until then nobody can tell.
        let Some(data) = self.slots.get(&slot).and_then(|work| work.head) else {
            return;
        };
        let lengths = self.committee_lengths(slot);
        let mut seen = BTreeSet::new();
        let fits = aggregates.iter().all(|aggregate| {
            let committee = only_committee(aggregate);
            aggregate.data == data
                && committee.is_some_and(|committee| {
                    seen.insert(committee)
                        && lengths
                            .get(&committee)
                            .is_none_or(|length| *length == aggregate.aggregation_bits.len() as u64)
                })
        });
        if !fits || aggregates.is_empty() {
            return self.give_verdict(duty, proposal.round, &id, Verdict::Invalid);
        }
        // Checking another committee's costs our beacon node the keys of all its members, and is of no use to anybody here.
        // Not never right: who knows other duties than we do may be right.
        if !seen.iter().all(|committee| lengths.contains_key(committee)) {
            return;
        }
        self.effects.push(Effect::Check {
            duty,
            round: proposal.round,
            id,
            what: ToCheck::Aggregates(aggregates),
        });
    }

    /// The lengths of those committees of a slot that our validators are in.
    fn committee_lengths(&self, slot: u64) -> BTreeMap<u64, u64> {
        let attesters = self.schedule.attesters(self.time.epoch_of(slot), slot);
        attesters
            .iter()
            .map(|attester| (attester.committee, attester.committee_length))
            .collect()
    }

    pub(super) fn decided_aggregates(&mut self, slot: u64, value: &[u8]) {
        let Some(aggregates) = self.decode_aggregates(value) else {
            return;
        };
        self.slots.entry(slot).or_default().aggregates = Some(aggregates);
        self.proceed(slot);
    }

    pub(super) fn sign_aggregates(&mut self, slot: u64) {
        let roots = self
            .aggregate_messages(slot)
            .into_iter()
            .filter_map(|(validator, message)| {
                let root = self.chain.aggregate_signing_root(&message).ok()?;
                Some(((validator, 0), root))
            })
            .collect();
        self.sign(Purpose::Aggregate, slot, roots);
    }

    /// Whether what was agreed on has an aggregate of this validator's committee; `None` if nothing was.
    pub(super) fn is_in_aggregates(&self, slot: u64, validator: u32) -> Option<bool> {
        let decided = self.slots.get(&slot)?.aggregates.as_deref()?;
        let attesters = self.schedule.attesters(self.time.epoch_of(slot), slot);
        let mut attesters = attesters.iter().filter(|one| one.validator == validator);
        Some(attesters.any(|one| {
            let mut of = decided.iter().map(only_committee);
            of.any(|committee| committee == Some(one.committee))
        }))
    }

    /// What each aggregator signs.
    fn aggregate_messages(&self, slot: u64) -> Vec<(u32, AggregateAndProof)> {
        let decided = self
            .slots
            .get(&slot)
            .and_then(|work| work.aggregates.as_deref())
            .unwrap_or_default();
        let message = |attester: &Attester| {
            let aggregate = decided
                .iter()
                .find(|aggregate| only_committee(aggregate) == Some(attester.committee))?;
            let proof = self
                .pools
                .made((Purpose::Selection, slot), (attester.validator, 0))?;
            let message = AggregateAndProof {
                aggregator_index: attester.index,
                aggregate: aggregate.clone(),
                selection_proof: proof.signature,
            };
            Some((attester.validator, message))
        };
        self.aggregators(slot).iter().filter_map(message).collect()
    }

    pub(super) fn submit_aggregates(&mut self, slot: u64) {
        let mut signed = Vec::new();
        for (validator, message) in self.aggregate_messages(slot) {
            let Ok(root) = self.chain.aggregate_signing_root(&message) else {
                continue;
            };
            let key = (Purpose::Aggregate, slot);
            if let Some(signature) = self.pools.hand_over(key, (validator, 0), &root) {
                signed.push(SignedAggregateAndProof { message, signature });
            }
        }
        if !signed.is_empty() {
            self.submit(Purpose::Aggregate, slot, Submission::Aggregates(signed));
        }
    }
}

/// The committee of an aggregate, if it is of exactly one.
fn only_committee(aggregate: &Attestation) -> Option<u64> {
    let mut ones = aggregate.committee_bits.ones();
    let committee = ones.next()?;
    ones.next().is_none().then_some(committee as u64)
}

/// A list of byte strings: `u16 count`, then for each `u32 length || bytes`.
pub(super) fn encode_list(list: impl ExactSizeIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes = u16::try_from(list.len())
        .unwrap_or(u16::MAX)
        .to_be_bytes()
        .to_vec();
    for item in list {
        bytes.extend_from_slice(&u32::try_from(item.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&item);
    }
    bytes
}

/// Reads what [`encode_list`] wrote; `None` for everything else and for more than `most` items.
pub(super) fn decode_list(bytes: &[u8], most: usize) -> Option<Vec<&[u8]>> {
    let mut reader = Reader::new(bytes);
    let count = usize::from(reader.u16()?);
    if count > most {
        return None;
    }
    let mut list = Vec::with_capacity(count);
    for _ in 0..count {
        let length = usize::try_from(reader.u32()?).ok()?;
        list.push(reader.bytes(length)?);
    }
    reader.is_empty().then_some(list)
}
