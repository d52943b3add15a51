//! What became of the duties of each slot, for those who watch.

use std::collections::{BTreeMap, BTreeSet};

use conclave_consensus::{Instance, Signatures};
use conclave_crypto::hash::Hash;
use conclave_eth::duty::{Duty, Kind, Purpose};

use super::{Account, Cause, Core, Decision, Missed, Report, Standstill, Times};

/// What went well has its account at the end of its slot; for the rest, aggregates above all, one more slot counts.
const GRACE: u64 = 1;

/// What happened to a slot's duties, as far as it is not seen elsewhere.
#[derive(Default)]
pub(super) struct Course {
    decisions: BTreeMap<Kind, Decision>,
    /// Agreements for which our beacon nodes were asked.
    asked: BTreeMap<Kind, Asked>,
    /// Since when there is something to agree on, and since when it is agreed on, in milliseconds since 1970.
    begun_ms: BTreeMap<Kind, u64>,
    agreed_ms: BTreeMap<Kind, u64>,
    /// When the last signature of the group was made.
    signed_times: BTreeMap<Purpose, Times>,
    /// What could have been signed by the group when that was of no use any more.
    signed_late: BTreeMap<Purpose, BTreeSet<u32>>,
    /// Votes that had come when the slot ended, or later; the agreement may be forgotten by now.
    voters: BTreeMap<Kind, BTreeSet<u16>>,
    /// Who was not connected when the slot ended; `None` while it lasts.
    away: Option<BTreeSet<u16>>,
}

/// When our beacon nodes were asked first, and when they first had an answer, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at_ms: u64,
    answered_ms: Option<u64>,
}

#[cfg(test)]
impl Course {
    /// How many of everything is kept.
    pub(super) fn size(&self) -> usize {
        let voters: usize = self.voters.values().map(BTreeSet::len).sum();
        let away = self.away.as_ref().map_or(0, BTreeSet::len);
        let late: usize = self.signed_late.values().map(BTreeSet::len).sum();
        let moments = self.begun_ms.len() + self.agreed_ms.len() + self.signed_times.len() + late;
        self.decisions.len() + self.asked.len() + moments + voters + away
    }
}

/// Who signed another root than most, or than `me` where as many signed the one as the other.
fn differing(roots: &BTreeMap<u16, Hash>, me: u16) -> BTreeSet<u16> {
    let signed = |root: &Hash| roots.values().filter(|other| *other == root).count();
    let most = roots
        .iter()
        .max_by_key(|(operator, root)| (signed(root), **operator == me))
        .map(|(_, root)| *root);
    let others = roots.iter().filter(|(_, root)| Some(**root) != most);
    others.map(|(operator, _)| *operator).collect()
}

impl Times {
    /// Of what began then, if that is known, and is done now.
    fn new(begun: Option<u64>, now: u64, due: u64) -> Self {
        Self {
            took_ms: begun.map_or(0, |begun| now.saturating_sub(begun)),
            after_due_ms: now.saturating_sub(due),
        }
    }
}

impl<S: Signatures> Core<S> {
    /// Our beacon nodes are asked for what is to be agreed on.
    pub(super) fn note_asked(&mut self, slot: u64, kind: Kind) {
        let asked = Asked {
            at_ms: self.now,
            answered_ms: None,
        };
        let course = &mut self.slots.entry(slot).or_default().course;
        course.asked.entry(kind).or_insert(asked);
    }

    /// They had an answer.
    pub(super) fn note_answered(&mut self, duty: Duty) {
        let now = self.now;
        let course = &mut self.slots.entry(duty.slot).or_default().course;
        if let Some(asked) = course.asked.get_mut(&duty.kind) {
            asked.answered_ms.get_or_insert(now);
        }
        self.note_begun(duty);
    }

    /// Enough partial signatures for these validators are there when they are of no use any more.
    pub(super) fn note_signed_late(
        &mut self,
        purpose: Purpose,
        slot: u64,
        validators: impl Iterator<Item = u32>,
    ) {
        if let Some(work) = self.slots.get_mut(&slot) {
            work.course
                .signed_late
                .entry(purpose)
                .or_default()
                .extend(validators);
        }
    }

    /// There is something to agree on.
    pub(super) fn note_begun(&mut self, duty: Duty) {
        if let Some(work) = self.slots.get_mut(&duty.slot) {
            work.course.begun_ms.entry(duty.kind).or_insert(self.now);
        }
    }

    /// Operators have agreed.
    pub(super) fn note_agreed(&mut self, duty: Duty, round: u8) -> Decision {
        let (now, due) = (self.now, self.due(duty));
        let course = &mut self.slots.entry(duty.slot).or_default().course;
        course.agreed_ms.insert(duty.kind, now);
        let begun = course.begun_ms.get(&duty.kind).copied();
        let times = Times::new(begun, now, due);
        let decision = Decision { round, times };
        course.decisions.insert(duty.kind, decision);
        decision
    }

    /// The group has signed.
    pub(super) fn note_signed(&mut self, purpose: Purpose, slot: u64) -> Times {
        let kind = purpose.kind();
        let (now, due) = (self.now, self.due(Duty { slot, kind }));
        let course = &mut self.slots.entry(slot).or_default().course;
        let agreed = course
            .agreed_ms
            .get(&kind)
            .or(course.begun_ms.get(&kind))
            .copied();
        let times = Times::new(agreed, now, due);
        course.signed_times.insert(purpose, times);
        times
    }

    /// A slot begins: those before it are over.
    pub(super) fn account(&mut self, slot: u64) {
        let ended: Vec<u64> = self.open.iter().copied().filter(|of| *of < slot).collect();
        for of in ended {
            self.note_end(of);
            let duties = self.accounts(of);
            let signed = duties
                .iter()
                .all(|duty| duty.signed.is_superset(&duty.validators));
            if signed || of.saturating_add(GRACE) < slot {
                self.close(of, duties);
            }
        }
        // Slots that passed unseen had their duties too.
        let first = self.begun.map_or(slot, |begun| begun.saturating_add(1));
        let first = first.max(slot.saturating_sub(self.time.slots_per_epoch));
        self.open
            .extend((first..=slot).filter(|of| *of >= self.start.first_slot));
    }

    /// Whatever is under way is dropped.
    pub(super) fn close_all(&mut self) {
        for slot in std::mem::take(&mut self.open) {
            self.note_end(slot);
            let duties = self.accounts(slot);
            self.close(slot, duties);
        }
    }

    fn close(&mut self, slot: u64, duties: Vec<Account>) {
        self.open.remove(&slot);
        if duties.is_empty() {
            return;
        }
        let known = self.slots.get(&slot).and_then(|work| work.course.away.clone());
        let away = known.unwrap_or_else(|| self.away());
        self.report(Report::Over { slot, away, duties });
    }

    fn away(&self) -> BTreeSet<u16> {
        let here = |peer: &super::peers::Peer| peer.connected && peer.greeted;
        let others = self.peers.iter().filter(|(_, peer)| !here(peer));
        others.map(|(operator, _)| operator).collect()
    }

    /// Keeps what is known only now.
    fn note_end(&mut self, slot: u64) {
        let away = self.away();
        let voters: Vec<(Kind, BTreeSet<u16>)> = Kind::ALL
            .into_iter()
            .filter_map(|kind| {
                let instance = self.agreements.get(&Duty { slot, kind })?;
                Some((kind, Instance::voters(instance)))
            })
            .collect();
        let course = &mut self.slots.entry(slot).or_default().course;
        course.away.get_or_insert(away);
        course.voters.extend(voters);
    }

    /// What became of each duty of a slot so far.
    fn accounts(&self, slot: u64) -> Vec<Account> {
        let epoch = self.time.epoch_of(slot);
        if self.chain.spec.signable_fork_at(epoch).is_err() {
            return Vec::new();
        }
        let attesters = self.schedule.attesters(epoch, slot).iter();
        let duties = [
            (
                Purpose::Attestation,
                attesters.map(|attester| attester.validator).collect(),
            ),
            (
                Purpose::Block,
                self.proposer_of(slot).iter().map(|one| one.validator).collect(),
            ),
            (
                Purpose::SyncMessage,
                self.sync_members_of(slot)
                    .iter()
                    .map(|one| one.validator)
                    .collect(),
            ),
            (
                Purpose::Aggregate,
                self.aggregators(slot).iter().map(|one| one.validator).collect(),
            ),
            (
                Purpose::Contribution,
                self.contributors(slot).iter().map(|one| one.0).collect(),
            ),
        ];
        let mut accounts = Vec::new();
        for (purpose, validators) in duties {
            let validators: BTreeSet<u32> = validators;
            if !validators.is_empty() {
                accounts.push(self.account_of(purpose, slot, validators));
            }
        }
        accounts
    }

    /// Whether this process stood still while something of this slot's duties may have happened.
    fn stood_in(&self, slot: u64) -> bool {
        let (begin, end) = (
            self.time.start_of(slot),
            self.time.end_of(slot.saturating_add(GRACE)),
        );
        let overlaps = |stood: &Standstill| stood.from_ms < end && stood.to_ms > begin;
        self.unseen.iter().any(overlaps)
    }

    fn account_of(&self, purpose: Purpose, slot: u64, validators: BTreeSet<u32>) -> Account {
        let kind = purpose.kind();
        let course = self.slots.get(&slot).map(|work| &work.course);
        let made = self.pools.all_made((purpose, slot));
        let signed: BTreeSet<u32> = made
            .map(|made| made.place.0)
            .filter(|validator| validators.contains(validator))
            .collect();
        let asked = course.and_then(|course| course.asked.get(&kind));
        let answered_ms = asked.and_then(|asked| asked.answered_ms);
        let mut account = Account {
            purpose,
            validators,
            decision: course.and_then(|course| course.decisions.get(&kind)).copied(),
            voters: course
                .and_then(|course| course.voters.get(&kind))
                .cloned()
                .unwrap_or_default(),
            unanswered: asked.is_some() && answered_ms.is_none(),
            answered_in_ms: asked
                .zip(answered_ms)
                .map(|(asked, answered)| answered.saturating_sub(asked.at_ms)),
            missed: Vec::new(),
            signed,
            signed_times: course
                .and_then(|course| course.signed_times.get(&purpose))
                .copied(),
            partials: self.pools.signers((purpose, slot)),
        };
        let without = account.validators.difference(&account.signed);
        if without.clone().next().is_some() {
            let (of_all, signers) = (
                if self.stood_in(slot) {
                    Some(Cause::Unseen)
                } else {
                    self.cause_of_all(&account, slot, answered_ms)
                },
                self.pools.signers_without_result((purpose, slot)),
            );
            let mut missed: Vec<Missed> = Vec::new();
            for validator in without {
                let roots = signers.get(validator);
                let partials: BTreeSet<u16> = roots.into_iter().flat_map(BTreeMap::keys).copied().collect();
                let differ = roots.map(|roots| differing(roots, self.me)).unwrap_or_default();
                let of_one = || self.cause_of_one(purpose, slot, *validator, &partials);
                let cause = of_all.unwrap_or_else(of_one);
                let same = |one: &&mut Missed| {
                    (one.cause, &one.partials, &one.differ) == (cause, &partials, &differ)
                };
                match missed.iter_mut().find(same) {
                    Some(one) => {
                        one.validators.insert(*validator);
                    }
                    None => missed.push(Missed {
                        cause,
                        validators: [*validator].into(),
                        partials,
                        differ,
                    }),
                }
            }
            account.missed = missed;
        }
        account
    }

    /// What kept a duty from being done, for whatever validator: that there was nothing to sign in time.
    fn cause_of_all(&self, account: &Account, slot: u64, answered_ms: Option<u64>) -> Option<Cause> {
        let purpose = account.purpose;
        let duty = Duty {
            slot,
            kind: purpose.kind(),
        };
        let deadline = self.deadline(purpose, slot);
        let course = self.slots.get(&slot).map(|work| &work.course);
        let is_late = |at: Option<u64>| at.is_some_and(|at| at >= deadline);
        let Some(decision) = account.decision else {
            return Some(if account.unanswered {
                Cause::Unanswered
            } else if is_late(answered_ms) {
                Cause::AnsweredLate
            } else if account.voters.len() < usize::from(self.group.threshold) {
                Cause::FewVoters
            } else {
                Cause::Disagreed
            });
        };
        if is_late(
            course
                .and_then(|course| course.agreed_ms.get(&duty.kind))
                .copied(),
        ) {
            return Some(if is_late(answered_ms) {
                Cause::AnsweredLate
            } else {
                let leader = self.quorum.leader(duty, decision.round);
                Cause::AgreedLate { leader }
            });
        }
        None
    }

    /// What kept it from being done for one validator, of which these operators signed what was agreed on in time: the first thing
    /// that went wrong.
    fn cause_of_one(&self, purpose: Purpose, slot: u64, validator: u32, partials: &BTreeSet<u16>) -> Cause {
        if let Some(leader) = self.left_out(purpose, slot, validator) {
            return Cause::LeftOut { leader };
        }
        if partials.len() < usize::from(self.group.threshold) {
            let (asked, refused) = self.pools.was_asked((purpose, slot), (validator, 0));
            return if refused {
                Cause::Refused
            } else if purpose.slashable() && asked && !partials.contains(&self.me) {
                Cause::Unguarded
            } else {
                Cause::FewSigners
            };
        }
        let course = self.slots.get(&slot).map(|work| &work.course);
        let late = course.and_then(|course| course.signed_late.get(&purpose));
        if late.is_some_and(|late| late.contains(&validator)) {
            Cause::SignedLate
        } else {
            Cause::Unusable
        }
    }

    /// Who proposed what was agreed on, if that holds nothing that this validator could sign.
    fn left_out(&self, purpose: Purpose, slot: u64, validator: u32) -> Option<u16> {
        let holds = match purpose {
            Purpose::Aggregate => self.is_in_aggregates(slot, validator),
            Purpose::Contribution => self.is_in_contributions(slot, validator),
            _ => return None,
        };
        let kind = purpose.kind();
        let course = &self.slots.get(&slot)?.course;
        let round = course.decisions.get(&kind)?.round;
        (!holds?).then(|| self.quorum.leader(Duty { slot, kind }, round))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_signed_something_else_is_the_smaller_part_or_not_this_operator() {
        for (roots, me, expected) in [
            (&[(1, 7), (2, 8), (4, 8)][..], 1, &[1][..]),
            (&[(1, 7), (2, 8), (4, 8)], 2, &[1]),
            (&[(1, 7), (2, 8)], 1, &[2]),
            (&[(1, 7), (2, 8)], 2, &[1]),
            (&[(1, 7), (2, 7), (3, 8), (4, 9)], 4, &[3, 4]),
            (&[(1, 7), (2, 7)], 3, &[]),
            (&[], 1, &[]),
        ] {
            let by_operator: BTreeMap<u16, Hash> = roots
                .iter()
                .map(|(operator, root)| (*operator, [*root; 32]))
                .collect();
            let expected: BTreeSet<u16> = expected.iter().copied().collect();
            assert_eq!(differing(&by_operator, me), expected, "{roots:?} {me}");
        }
    }
}
