//! The agreements of all slots: messages in, effects out.

use std::{collections::BTreeSet, sync::Arc};

use crate::wire::{Message, value_limit};
use conclave_consensus::{Effect as Agreed, Instance, Signatures, Verdict, messages::Proposal};
use conclave_crypto::hash::Hash;
use conclave_eth::{
    chain::types::AttestationData,
    duty::{Duty, Kind},
};

use super::effects::Effect;
use super::{
    ASK_AGAIN_PERCENT, Core, EARLY_SLOTS, Heard, MAX_HEARD, Report,
    head::{InRound, Moment, Opinion, Place},
    over,
};

impl<S: Signatures> Core<S> {
    /// A peer's message about an agreement that is, or may soon be, under way.
    pub(super) fn agree(&mut self, from: u16, message: conclave_consensus::messages::Message) {
        let duty = message.duty;
        let slot = self.slot_now();
        if over(self.time, duty, slot) || duty.slot > slot.saturating_add(EARLY_SLOTS) {
            return;
        }
        // Blocks are large: nobody fills our memory with those of slots that are not ours, or not known to be. What is lacking when
        // they are known is asked for then.
        if duty.kind == Kind::Block {
            let epoch = self.time.epoch_of(duty.slot);
            let is_large = matches!(message.body, conclave_consensus::messages::Body::Proposal(_));
            if self.schedule.proposes_not(epoch, duty.slot)
                || is_large && self.proposer_of(duty.slot).is_none()
            {
                return;
            }
        }
        let now = self.now;
        let effects = self.agreement(duty).receive(now, from, message);
        self.agreed(duty, effects);
    }

    fn agreement(&mut self, duty: Duty) -> &mut Instance<S> {
        let quorum = &self.quorum;
        let peers = &self.peers;
        let now = self.now;
        self.agreements.entry(duty).or_insert_with(|| {
            let mut instance = Instance::new(quorum.clone(), duty, value_limit(duty.kind));
            for operator in peers.greeted() {
                // Nothing is sent before the start.
                instance.connection(now, operator, true);
            }
            instance
        })
    }

    pub(super) fn connect_agreements(&mut self, operator: u16, connected: bool) {
        let now = self.now;
        let told: Vec<(Duty, Vec<Agreed>)> = self
            .agreements
            .iter_mut()
            .map(|(duty, instance)| (*duty, instance.connection(now, operator, connected)))
            .collect();
        for (duty, effects) in told {
            self.agreed(duty, effects);
        }
    }

    pub(super) fn tick_agreements(&mut self) {
        let now = self.now;
        let due: Vec<Duty> = self
            .agreements
            .iter()
            .filter(|(_, instance)| instance.next_wakeup().is_some_and(|at| at <= now))
            .map(|(duty, _)| *duty)
            .collect();
        for duty in due {
            let effects = self.agreement(duty).tick(now);
            self.agreed(duty, effects);
        }
    }

    /// Begins the agreements that this node knows to be needed, when it is time for them.
    pub(super) fn start_due(&mut self) {
        let slot = self.slot_now();
        for duty in self.wanted(slot) {
            let from = match duty.kind {
                // A block may come before attestations are due, and then there is no reason to wait.
                Kind::Head | Kind::Block => self.time.start_of(slot),
                Kind::Aggregates | Kind::Contributions => self.due(duty),
            };
            let begun = self
                .slots
                .get(&slot)
                .is_some_and(|work| work.begun.contains(&duty.kind));
            if self.now < from || begun {
                continue;
            }
            let due = self.due(duty);
            let work = self.slots.entry(slot).or_default();
            work.begun.insert(duty.kind);
            if duty.kind == Kind::Head {
                // A block of this slot may be there already.
                let early = self.newest_block.is_some_and(|(of, _)| of == slot);
                work.ask_view_at = early.then_some(self.now);
                work.due_at = Some(due);
            }
            if duty.kind == Kind::Block {
                self.effects.push(Effect::AskHead);
                self.look_at_head(slot);
            }
            let (now, role) = (self.now, self.role(slot));
            let effects = self.agreement(duty).start(now, due, role);
            self.agreed(duty, effects);
        }
    }

    /// When [`Core::start_due`] will have something to do.
    pub(super) fn next_due(&self) -> Option<u64> {
        let slot = self.slot_now();
        let begun = |kind| {
            self.slots
                .get(&slot)
                .is_some_and(|work| work.begun.contains(&kind))
        };
        let wanted = self.wanted(slot).into_iter().filter(|duty| !begun(duty.kind));
        wanted
            .map(|duty| self.due(duty))
            .filter(|due| *due > self.now)
            .min()
    }

    /// The agreements that a slot needs, as far as this node knows.
    fn wanted(&self, slot: u64) -> Vec<Duty> {
        let epoch = self.time.epoch_of(slot);
        if self.time.slot_at(self.now).is_none() || self.chain.spec.signable_fork_at(epoch).is_err() {
            return Vec::new();
        }
        let attests = !self.schedule.attesters(epoch, slot).is_empty();
        let syncs = !self.sync_members_of(slot).is_empty();
        let mut kinds = Vec::new();
        if attests || syncs {
            kinds.push(Kind::Head);
        }
        if self.proposer_of(slot).is_some() {
            kinds.push(Kind::Block);
        }
        if !self.aggregating_committees(slot).is_empty() {
            kinds.push(Kind::Aggregates);
        }
        if !self.contributing_subcommittees(slot).is_empty() {
            kinds.push(Kind::Contributions);
        }
        kinds.into_iter().map(|kind| Duty { slot, kind }).collect()
    }

    /// Carries out what an agreement wants.
    pub(super) fn agreed(&mut self, duty: Duty, effects: Vec<Agreed>) {
        for effect in effects {
            match effect {
                Agreed::Broadcast(message) => self.broadcast(Message::Agreement(message)),
                Agreed::Send { to, message } => self.send(to, Message::Agreement(message)),
                Agreed::AskVerdict(proposal) => self.judge(duty, &proposal),
                Agreed::AskValue { round } => self.asked_for_value(duty, round),
                Agreed::Decided(decision) => {
                    self.report_decision(duty, decision.round);
                    self.decided(duty, decision.value_id, decision.value);
                }
                Agreed::Refused { round, .. } => {
                    tracing::error!(
                        slot = duty.slot,
                        kind = duty.kind.text(),
                        round,
                        "the others decided on something impossible"
                    );
                }
                Agreed::Misbehaviour(deed) => self.report(Report::Misbehaviour(deed)),
            }
        }
        if duty.kind == Kind::Head
            && let Some(work) = self.slots.get_mut(&duty.slot)
        {
            work.changed = true;
        }
        self.judge_round(duty);
    }

    /// What was proposed for a round before it began here is judged when it does.
    fn judge_round(&mut self, duty: Duty) {
        let round = self.agreements.get(&duty).map_or(0, Instance::round);
        if duty.kind == Kind::Head
            && let Some(work) = self.slots.get_mut(&duty.slot)
            && work.round < round
        {
            work.round = round;
            self.judge_held(duty);
        }
    }

    fn report_decision(&mut self, duty: Duty, round: u8) {
        let voters = self
            .agreements
            .get(&duty)
            .map_or_else(BTreeSet::new, Instance::voters);
        let decision = self.note_agreed(duty, round);
        self.report(Report::Decided {
            duty,
            decision,
            voters,
        });
    }

    fn decided(&mut self, duty: Duty, id: Hash, value: Arc<[u8]>) {
        match duty.kind {
            Kind::Head => {
                // Nobody honest votes for anything else.
                if let Ok(data) = AttestationData::from_ssz(&value) {
                    self.decided_head(duty.slot, data);
                }
            }
            Kind::Block => self.decided_block(duty.slot, id, value),
            Kind::Aggregates => self.decided_aggregates(duty.slot, &value),
            Kind::Contributions => self.decided_contributions(duty.slot, &value),
        }
    }

    pub(super) fn asked_for_value(&mut self, duty: Duty, round: u8) {
        match duty.kind {
            Kind::Head => self.want_head(duty.slot, round),
            Kind::Block => self.propose_block(duty.slot, round),
            Kind::Aggregates => self.ask_aggregates(duty.slot, round),
            Kind::Contributions => self.ask_contributions(duty.slot, round),
        }
    }

    pub(super) fn propose(&mut self, duty: Duty, round: u8, value: Arc<[u8]>) {
        let now = self.now;
        let effects = self.agreement(duty).propose(now, round, value);
        self.agreed(duty, effects);
    }

    fn judge(&mut self, duty: Duty, proposal: &Proposal) {
        // Heads that come too early are nothing to agree on yet.
        if duty.kind != Kind::Head {
            self.note_begun(duty);
        }
        match duty.kind {
            Kind::Head => self.judge_head(duty.slot, proposal),
            Kind::Block => self.judge_block(duty.slot, proposal),
            Kind::Aggregates => self.judge_aggregates(duty.slot, proposal),
            Kind::Contributions => self.judge_contributions(duty.slot, proposal),
        }
    }

    pub(super) fn give_verdict(&mut self, duty: Duty, round: u8, id: &Hash, verdict: Verdict) {
        let now = self.now;
        let effects = self.agreement(duty).verdict(now, round, id, verdict);
        self.agreed(duty, effects);
    }

    /// The answer of a beacon node about a proposal.
    pub(super) fn checked(&mut self, duty: Duty, round: u8, id: &Hash, verdict: Option<Verdict>) {
        if let Some(verdict) = verdict
            && self.agreements.contains_key(&duty)
        {
            self.give_verdict(duty, round, id, verdict);
        }
    }

    /// Judges again what is held for a slot's head.
    pub(super) fn judge_held(&mut self, duty: Duty) {
        let held: Vec<Proposal> = self
            .agreements
            .get(&duty)
            .into_iter()
            .flat_map(Instance::held)
            .cloned()
            .collect();
        for proposal in held {
            self.judge(duty, &proposal);
        }
    }

    /// This moment in the agreement on a slot's head.
    fn moment(&self, slot: u64) -> Moment {
        let kind = Kind::Head;
        Moment {
            slot,
            epoch: self.time.epoch_of(slot),
            due: self.now >= self.due(Duty { slot, kind }),
            newest: self.newest_block,
        }
    }

    fn judge_head(&mut self, slot: u64, proposal: &Proposal) {
        let duty = Duty {
            slot,
            kind: Kind::Head,
        };
        #[cfg(test)]
        {
            self.judged += 1;
        }
        let id = proposal.value_id();
        let Ok(data) = AttestationData::from_ssz(&proposal.value) else {
            return self.give_verdict(duty, proposal.round, &id, Verdict::Invalid);
        };
        let at = self.moment(slot);
        if at.excludes(&data) {
            return self.give_verdict(duty, proposal.round, &id, Verdict::Invalid);
        }
        let (round, backed) = self.agreements.get(&duty).map_or((0, false), |instance| {
            (instance.round(), instance.is_backed(proposal.round, &id))
        });
        // Nothing is thought, or asked, of what is for a round to come: what is right then may not be there yet.
        if proposal.round > round {
            return;
        }
        let in_round = InRound {
            round: proposal.round,
            backed,
        };
        let (now, again, current) = (self.now, self.ask_again_ms(), self.slot_now());
        let Some(work) = self.slots.get_mut(&slot) else {
            return;
        };
        let opinion = work.views.judge(&data, in_round, &at);
        if opinion != Opinion::Early {
            self.note_begun(duty);
        }
        let Some(work) = self.slots.get_mut(&slot) else {
            return;
        };
        match opinion {
            Opinion::Verdict(verdict) => self.give_verdict(duty, proposal.round, &id, verdict),
            Opinion::Early => {}
            Opinion::Wait | Opinion::AskAll => {
                // The leader has seen something that we may see a moment later. Slots that are over are asked for now and then.
                let of_use = slot.saturating_add(1) >= current;
                let again = if of_use { again } else { self.time.slot_ms };
                let asked = work.view_asked_at.map_or(now, |at| at.saturating_add(again));
                let soon = if work.views.is_empty() {
                    now.max(asked)
                } else {
                    now.saturating_add(again)
                };
                work.ask_view_at = Some(work.ask_view_at.map_or(soon, |at| at.min(soon)));
                let lately = work.all_asked_at.is_some_and(|at| now < at.saturating_add(again));
                if opinion == Opinion::AskAll && !work.views.is_empty() && of_use && !lately {
                    work.all_asked_at = Some(now);
                    self.effects.push(Effect::AskAllViews { slot });
                }
            }
            Opinion::LookUp(root) => self.effects.push(Effect::LookUp { slot, root }),
        }
    }

    fn ask_again_ms(&self) -> u64 {
        (self.time.slot_ms * ASK_AGAIN_PERCENT / 100).max(50)
    }

    /// This operator leads a round of a slot's head. In later rounds our beacon nodes are asked if there is nothing to propose, in the
    /// first when a block arrives or attestations are due.
    fn want_head(&mut self, slot: u64, round: u8) {
        let (now, at) = (self.now, self.moment(slot));
        if let Some(work) = self.slots.get_mut(&slot)
            && (round > 0 && at.due && work.views.own(&at, round).is_none())
        {
            work.ask_view_at = Some(now);
        }
        self.propose_head(slot);
    }

    /// Proposes our own view if there is one, and this operator is to propose something.
    fn propose_head(&mut self, slot: u64) {
        let kind = Kind::Head;
        let (duty, at) = (Duty { slot, kind }, self.moment(slot));
        let views = self.slots.get(&slot).map(|work| &work.views);
        if let Some(round) = self.agreements.get(&duty).and_then(Instance::asked)
            && let Some(data) = views.and_then(|views| views.own(&at, round)).copied()
        {
            self.propose(duty, round, data.to_ssz().into());
        }
    }

    /// Something happened that may make a difference for the heads of this slot and all later ones.
    pub(super) fn heads_changed(&mut self, from: u64) {
        for (_, work) in self.slots.range_mut(from..) {
            work.changed = true;
        }
    }

    /// What follows from what has happened for heads that are not decided: our own view is proposed where that is wanted, and what
    /// is held is judged. Done after every event, so that no order of events leaves a leader silent or a proposal unjudged, but only
    /// for slots in which something changed, and for all when a slot begins: where many are open, an event costs no more.
    pub(super) fn advance_heads(&mut self) {
        let kind = Kind::Head;
        let changed = |(slot, work): (&u64, &mut super::Slot)| {
            let open = work.begun.contains(&kind) && work.head.is_none();
            (std::mem::take(&mut work.changed) && open).then_some(*slot)
        };
        for slot in self.slots.iter_mut().filter_map(changed).collect::<Vec<_>>() {
            self.propose_head(slot);
            self.judge_held(Duty { slot, kind });
        }
    }

    /// One of our beacon nodes has this head; since when, if it told so by itself when it got it.
    pub(super) fn hear(&mut self, slot: u64, root: Hash, at_ms: Option<u64>) {
        if slot <= self.slot_now().saturating_add(EARLY_SLOTS) && self.heard.len() < MAX_HEARD {
            self.heard.entry(root).or_insert(Heard { slot, at_ms });
        }
    }

    /// Our beacon nodes have a new head: one of them told of it, or it was found by asking.
    pub(super) fn head(&mut self, slot: u64, root: Hash) {
        let (now, again, current) = (self.now, self.ask_again_ms(), self.slot_now());
        // No head is of the future, but clocks differ.
        if slot > current.saturating_add(EARLY_SLOTS) {
            return;
        }
        let before = self.newest_block.replace((slot, root));
        // What is thought of earlier slots does not depend on it.
        self.heads_changed(before.map_or(slot, |(before, _)| before.min(slot)));
        self.hear(slot, root, None);
        self.look_at_head(current);
        let at = self.moment(current);
        if let Some(work) = self.slots.get_mut(&current)
            && work.begun.contains(&Kind::Head)
            && work.head.is_none()
            && (slot == current || at.due)
            && work.views.own(&at, 0).map(|own| own.beacon_block_root) != Some(root)
        {
            work.ask_view_at = Some(now);
            work.ask_all_at = Some(now.saturating_add(again));
        }
    }

    /// When attestations are due, our own view is wanted if there is none.
    pub(super) fn attestations_due(&mut self) {
        let now = self.now;
        let due =
            |(slot, work): (&u64, &super::Slot)| work.due_at.is_some_and(|at| at <= now).then_some(*slot);
        for slot in self.slots.iter().filter_map(due).collect::<Vec<_>>() {
            let at = self.moment(slot);
            if let Some(work) = self.slots.get_mut(&slot) {
                work.due_at = None;
                work.changed = true;
                work.views.due(&at);
                if work.head.is_none() && work.views.is_empty() {
                    work.ask_view_at = Some(now);
                }
                work.ask_all_at = at.due.then_some(now);
            }
        }
    }

    /// Asks our beacon nodes for their view where it is time to: the one that is chosen, or all of them, if the one that told of
    /// a block does not answer.
    pub(super) fn ask_views(&mut self) {
        let (now, again) = (self.now, self.ask_again_ms());
        let slots: Vec<u64> = self.slots.keys().copied().collect();
        for slot in slots {
            let at = self.moment(slot);
            let Some(work) = self.slots.get_mut(&slot) else {
                continue;
            };
            let open = work.head.is_none();
            let is_time = |at: &mut u64| *at <= now;
            let view = work.ask_view_at.take_if(is_time).is_some() && open;
            let mut all = work.ask_all_at.take_if(is_time).is_some() && open && work.views.lack_told(&at);
            if all {
                // Whoever was asked has a moment to answer; and this goes on as long as the slot lasts.
                let last = work.all_asked_at.max(work.view_asked_at);
                let mut next = last.map_or(now, |last| last.saturating_add(again));
                all = next <= now;
                if all {
                    work.all_asked_at = Some(now);
                    next = now.saturating_add(again);
                }
                work.ask_all_at = (next < self.time.end_of(slot)).then_some(next);
            }
            // What is held is asked for again if it cannot be judged then either.
            work.changed |= view || all;
            if view {
                work.view_asked_at = Some(now);
                let blocks = work.views.unknown_blocks();
                self.note_asked(slot, Kind::Head);
                self.effects.push(Effect::AskView { slot });
                for root in blocks {
                    self.effects.push(Effect::LookUp { slot, root });
                }
            }
            if all {
                self.effects.push(Effect::AskAllViews { slot });
            }
        }
    }

    /// Whether a beacon node's answer is one that could be attested to.
    fn is_sound(&self, slot: u64, data: &AttestationData) -> bool {
        !self.moment(slot).excludes(data)
    }

    /// A beacon node answered, of several one that was not asked first: it may show that what another operator proposes is
    /// plausible, and is what this one would propose only if it has the block of the slot that is our head.
    pub(super) fn other_view(&mut self, slot: u64, data: AttestationData) {
        if self.is_sound(slot, &data)
            && let Some(work) = self.slots.get_mut(&slot)
        {
            work.views.add_other(data);
            work.changed = true;
            self.viewed(slot);
        }
    }

    /// Our beacon nodes answered.
    pub(super) fn view(&mut self, slot: u64, data: AttestationData) {
        if self.is_sound(slot, &data)
            && let Some(work) = self.slots.get_mut(&slot)
        {
            work.views.add(data);
            work.changed = true;
            self.viewed(slot);
        }
    }

    /// If there is an own view now, our beacon nodes have answered: an old head is no answer before attestations are due.
    fn viewed(&mut self, slot: u64) {
        let kind = Kind::Head;
        let (duty, at) = (Duty { slot, kind }, self.moment(slot));
        let round = self.agreements.get(&duty).map_or(0, Instance::round);
        let views = self.slots.get(&slot).map(|work| &work.views);
        if views.is_some_and(|views| views.own(&at, round).is_some()) {
            self.note_answered(duty);
        }
    }

    /// Our beacon nodes have nothing to propose. Before attestations are due that says nothing: they are asked when they are.
    pub(super) fn unanswered(&mut self, duty: Duty, round: Option<u8>) {
        if duty.kind == Kind::Block {
            return self.no_block(duty.slot, round.unwrap_or_default());
        }
        let now = self.now;
        if duty.kind == Kind::Head && now < self.due(duty) {
            return;
        }
        if let Some(instance) = self.agreements.get_mut(&duty) {
            let round = round.unwrap_or_else(|| instance.round());
            let effects = instance.pass(now, round);
            self.agreed(duty, effects);
        }
    }

    /// A block was looked up.
    pub(super) fn looked_up(&mut self, slot: u64, root: Hash, place: Option<Place>) {
        if let Some(work) = self.slots.get_mut(&slot) {
            work.views.block(root, place);
            work.changed = true;
        }
    }
}
