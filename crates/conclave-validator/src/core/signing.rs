//! Partial signatures: own ones are asked for and sent, all are collected, t of them are combined.

use std::collections::BTreeSet;

use crate::{
    combine::{Outcome, Place},
    partials::Partials,
    wire::Message,
};
use conclave_consensus::Signatures;
use conclave_crypto::hash::Hash;
use conclave_eth::duty::{Duty, Kind, Purpose};

use super::{Core, Effect, Report, Submission, effects::Signed, pools::window, syncing::AHEAD};

/// SYNC_COMMITTEE_SUBNET_COUNT of the consensus specification (altair, `validator.md`).
const SUBCOMMITTEES: u16 = 4;

impl<S: Signatures> Core<S> {
    /// Has the own share sign what it was not asked for before. What can be slashed goes another way.
    pub(super) fn sign(&mut self, purpose: Purpose, slot: u64, roots: Vec<(Place, Hash)>) {
        if self.dry_run || self.holds_back() || self.now >= self.deadline(purpose, slot) {
            return;
        }
        let roots = self.pools.ask((purpose, slot), roots);
        if !roots.is_empty() {
            self.effects.push(Effect::Sign { purpose, slot, roots });
        }
    }

    /// Does for a slot whatever can be done by now and was not. Duties, decisions, proofs and signatures of the group come in
    /// any order, and each of them calls this: nothing is done because of the last one to come only.
    pub(super) fn proceed(&mut self, slot: u64) {
        self.sign_attestations(slot);
        self.submit_attestations(slot);
        self.sign_sync_messages(slot);
        self.submit_sync_messages(slot);
        self.sign_aggregates(slot);
        self.submit_aggregates(slot);
        self.sign_contributions(slot);
        self.submit_contributions(slot);
        self.sign_block(slot);
    }

    /// Who has the duties of an epoch is known, or other than it was; or its fork is.
    pub(super) fn duties_changed(&mut self, epoch: u64, kind: Kind) {
        let now = self.slot_now();
        let (schedule, time) = (&self.schedule, self.time);
        let exists = |(purpose, slot), place| schedule.has(&time, purpose, slot, place);
        for (purpose, slot) in self.pools.sort_out(self.me, now, exists) {
            self.combine(purpose, slot);
        }
        // Sync committee messages are for the block of the slot after them.
        let first = self.time.first_slot(epoch).saturating_sub(1);
        let slots = first..=self.time.last_slot(epoch);
        for slot in slots.clone().skip_while(|slot| *slot < now) {
            match kind {
                Kind::Head => {}
                Kind::Aggregates => self.sign_selections(slot),
                Kind::Block => self.sign_randao(slot),
                Kind::Contributions if slot <= now.saturating_add(AHEAD) => self.sign_sync_selections(slot),
                Kind::Contributions => break,
            }
        }
        let begun: Vec<u64> = self.slots.range(slots).map(|(slot, _)| *slot).collect();
        for slot in begun {
            self.proceed(slot);
            self.judge_held(Duty { slot, kind });
        }
    }

    /// Whose partial signatures were lost because their duties were not known here is greeted again when others are known:
    /// whoever is greeted says everything that may be lacking.
    pub(super) fn hear_again(&mut self) {
        for operator in self.pools.to_hear_again() {
            if self.peers.get(operator).is_some_and(|peer| peer.greeted) {
                self.say_hello(operator);
            }
        }
    }

    /// Asks the guard for one root for several validators.
    pub(super) fn sign_guarded(
        &mut self,
        purpose: Purpose,
        slot: u64,
        epochs: (u64, u64),
        root: Hash,
        validators: impl Iterator<Item = u32>,
    ) {
        if self.dry_run || self.holds_back() {
            return;
        }
        let wanted = validators.map(|validator| ((validator, 0), root)).collect();
        let validators: Vec<u32> = self
            .pools
            .ask((purpose, slot), wanted)
            .into_iter()
            .map(|((validator, _), _)| validator)
            .collect();
        if !validators.is_empty() {
            let deadline_ms = self.deadline(purpose, slot);
            self.effects.push(Effect::Guard {
                purpose,
                slot,
                epochs,
                root,
                validators,
                deadline_ms,
            });
        }
    }

    /// The own share has signed: everybody gets it.
    pub(super) fn signed(&mut self, signed: Signed) {
        let Signed {
            purpose,
            slot,
            epochs,
            items,
            refused,
        } = signed;
        self.pools.refuse((purpose, slot), &refused);
        if items.is_empty() {
            return;
        }
        let (lock_hash, me) = (self.group.lock_hash, self.me);
        let partials = Partials::sign(
            self.quorum.signatures(),
            &lock_hash,
            me,
            purpose,
            slot,
            epochs,
            items,
        );
        self.broadcast(Message::Partials(partials.clone()));
        self.pools.take_own(partials);
        self.combine(purpose, slot);
    }

    /// Somebody's partial signatures.
    pub(super) fn partials(&mut self, from: u16, partials: &Partials) {
        let header = *partials.header();
        let author = partials.operator;
        // Everybody sends its own.
        if author != from || !self.takes(header.purpose, header.slot) {
            return;
        }
        let known = usize::from(self.group.size()).min(self.group.operators.len());
        let validators = self.group.validators.len();
        let fits = |item: &crate::partials::Item| {
            usize::try_from(item.validator).is_ok_and(|validator| validator < validators)
                && (item.place == 0
                    || matches!(header.purpose, Purpose::SyncSelection | Purpose::Contribution)
                        && item.place < SUBCOMMITTEES)
        };
        if usize::from(author) > known || !partials.items().iter().all(fits) {
            return self.fault(
                from,
                "it sent partial signatures for validators that do not exist",
            );
        }
        if header.purpose == Purpose::Attestation && header.target != self.time.epoch_of(header.slot) {
            return self.fault(from, "it attests to an epoch that its slot is not in");
        }
        if !partials.verify(&self.group.lock_hash, self.quorum.signatures()) {
            return self.fault(from, "it sent partial signatures that its node did not sign");
        }
        if header.purpose.slashable() && self.memory.entry(author).or_default().take(partials.proof()) {
            self.effects.push(Effect::Remember {
                operator: author,
                proof: partials.proof(),
            });
        }
        let (schedule, time, now) = (&self.schedule, self.time, self.slot_now());
        let exists = |place| schedule.has(&time, header.purpose, header.slot, place);
        if self.pools.take(partials, now, exists) {
            self.combine(header.purpose, header.slot);
        }
    }

    /// Whether partial signatures of this slot are of use, or will be.
    fn takes(&self, purpose: Purpose, slot: u64) -> bool {
        purpose != Purpose::Exit
            && window(purpose, self.slot_now(), self.time.slots_per_epoch).contains(&slot)
    }

    fn fault(&mut self, operator: u16, what: &str) {
        self.report(Report::Fault {
            operator,
            what: what.to_owned(),
        });
    }

    fn combine(&mut self, purpose: Purpose, slot: u64) {
        // Whoever was cut off hears of old duties; what they would give no beacon node takes any more.
        let job = self.pools.ready((purpose, slot), self.group.threshold);
        if self.now >= self.deadline(purpose, slot) {
            if let Some(job) = job {
                self.note_signed_late(purpose, slot, job.places().map(|place| place.0));
            }
            return;
        }
        if let Some(job) = job {
            self.effects.push(Effect::Combine { purpose, slot, job });
        }
    }

    /// Gives something to the beacon nodes, unless it is too late.
    pub(super) fn submit(&mut self, purpose: Purpose, slot: u64, submission: Submission) {
        if self.now < self.deadline(purpose, slot) {
            self.effects.push(Effect::Submit(submission));
        }
    }

    pub(super) fn combined(&mut self, purpose: Purpose, slot: u64, outcome: &Outcome) {
        for operator in self.pools.finished((purpose, slot), outcome) {
            let what = format!(
                "its partial signature of the {} of slot {slot} is wrong",
                purpose.text()
            );
            self.fault(operator, &what);
        }
        if !outcome.signatures.is_empty() {
            let times = self.note_signed(purpose, slot);
            let validators: BTreeSet<u32> = outcome.signatures.iter().map(|made| made.place.0).collect();
            self.report(Report::Made {
                purpose,
                slot,
                validators,
                times,
                contributors: self.pools.contributors((purpose, slot)),
            });
            match purpose {
                Purpose::Attestation => self.submit_attestations(slot),
                Purpose::Selection => self.selected(slot),
                Purpose::SyncMessage => self.submit_sync_messages(slot),
                Purpose::SyncSelection => self.proceed(slot),
                Purpose::Aggregate => self.submit_aggregates(slot),
                Purpose::Contribution => self.submit_contributions(slot),
                Purpose::Randao => self.revealed(slot),
                Purpose::Block => self.publish(slot),
                Purpose::Exit => {}
            }
        }
        // Others may have come meanwhile.
        self.combine(purpose, slot);
    }
}
