//! One operator's behaviour while the group validates, without sockets, files or clocks.
//!
//! A [`Core`] is told what happens ([`Event`]) and when, and says what to do ([`Effect`]). What takes processor time
//! (signing, combining) or a disk (the guard) is an effect whose result comes back as an event.
//!
//! # A slot
//! 1. Our beacon nodes' view is asked for when a block of the slot arrived, or when attestations are due. Operators agree
//!    on the `AttestationData` (`head`).
//! 2. Every node asks its guard for each of the slot's attesters, signs with its shares and sends the partial signatures.
//!    Sync committee messages are of the decided block.
//! 3. t partial signatures make a signature; whoever has them submits.
//! 4. Aggregators, if there are any, agree on the aggregates at two thirds of the slot, and sign them likewise.
//!
//! Selection proofs and RANDAO reveals need no agreement; they are made ahead of time.
//!
//! # After a start
//! A node takes part in no agreement of a slot that began before it, and signs what could be slashed from the next epoch
//! on; at once if all other operators say that they remember nothing which its guard does not know ([`peers`]). One whose folder was
//! restored from a backup signs nothing before the others have told what they remember, and two more epochs are over (`restored`).
//!
//! | Module | What it is |
//! |---|---|
//! | [`schedule`] | who has which duty when |
//! | [`peers`] | the other operators |
//! | [`pools`] | partial signatures, and what they became |
//! | [`head`] | what is attested to, and whether it is plausible |
//! | `agreeing`, `signing` | what all duties have in common |
//! | `accounts` | what became of them |
//! | `attesting`, `syncing`, [`proposing`] | the duties, one file each |
//! | [`terms`] | what a block of ours must say, and what it may be built on |
//! | `presence` | handshakes, starts and twins |
//! | `restored` | what a folder that was restored from a backup waits for |

pub mod head;
pub mod peers;
pub mod pools;
pub mod proposing;
pub mod schedule;

mod accounts;
mod agreeing;
mod attesting;
mod effects;
mod presence;
mod restored;
mod signing;
mod syncing;
pub mod terms;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    alive::{Instance as Process, Watch},
    group::Group,
    memory::Proofs,
    wire,
};
use conclave_beacon::chain::spec::{Chain, Due};
use conclave_consensus::{Instance, Quorum, Role, Signatures};
use conclave_eth::{
    chain::{time::Time, types::AttestationData},
    duty::{Duty, Kind, Purpose},
};
use conclave_slashing::Start;

pub use effects::{
    Account, Cause, ChainClock, Decision, Effect, Event, Missed, Report, Restoring, Signed, Standstill, Stop,
    Submission, Subscription, Times, ToCheck,
};

use head::Views;
use peers::Peers;
use pools::Pools;
use restored::Restored;
use schedule::Schedule;

/// While a proposal is held, our beacon node is asked again after so many slots' hundredths.
const ASK_AGAIN_PERCENT: u64 = 4;
/// The most heads of which it is remembered when they came.
const MAX_HEARD: usize = 64;
/// Messages of duties that begin so many slots from now are taken; clocks differ.
const EARLY_SLOTS: u64 = 1;

/// What a core needs to know beforehand.
pub struct Settings {
    /// The group of the lock.
    pub group: Arc<Group>,
    /// The chain.
    pub chain: Arc<Chain>,
    /// This operator, from 1.
    pub me: u16,
    /// Goes along in the handshake.
    pub software: String,
    /// Watches and says nothing: no votes, no partial signatures, no guard.
    pub dry_run: bool,
    /// Agrees to blinded blocks.
    pub builder: bool,
    /// What is known of what other software signed with this share.
    pub history: History,
    /// For whom a folder that was restored from a backup does not wait.
    pub excused: BTreeSet<u16>,
}

/// What is known of what other software signed with a share before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// Nothing was signed, or all of it is on record.
    Whole,
    /// Its history could not be read or taken over as a whole. The other operators never saw it either, so nothing that they say
    /// makes the wait after a start shorter.
    Partial,
}

/// One operator's behaviour.
pub struct Core<S> {
    group: Arc<Group>,
    chain: Arc<Chain>,
    time: Time,
    me: u16,
    software: String,
    dry_run: bool,
    builder: bool,
    history: History,
    excused: BTreeSet<u16>,
    quorum: Arc<Quorum<S>>,
    now: u64,
    effects: Vec<Effect>,
    peers: Peers,
    watch: Watch,
    /// What this node remembers of each operator, from 1.
    memory: BTreeMap<u16, Proofs>,
    schedule: Schedule,
    pools: Pools,
    slots: BTreeMap<u64, Slot>,
    agreements: BTreeMap<Duty, Instance<S>>,
    /// From when on this process signs.
    start: Start,
    /// When the epoch begins in which it attests first, if that was to come and nobody was told that it has begun; Unix milliseconds.
    waits_until: Option<u64>,
    /// What it waits for before that is known, if its folder was restored from a backup.
    restored: Option<Restored>,
    /// The slot that was begun last.
    begun: Option<u64>,
    /// The newest head of our beacon nodes: slot and root.
    newest_block: Option<(u64, [u8; 32])>,
    /// Heads that our beacon nodes told of, by their root.
    heard: BTreeMap<[u8; 32], Heard>,
    /// The slot of which each of them told last since what counts as a start, by its name, whatever our clock says: it bears witness
    /// against that.
    heads_shown: BTreeMap<String, u64>,
    /// Slots that began and were not spoken of yet ([`Report::Over`]).
    open: BTreeSet<u64>,
    /// Other operators of whom it was told that two processes ran at once, and the slot in which two were seen last.
    twins: BTreeMap<u16, u64>,
    /// When this process stood still, as far as that is of use.
    unseen: Vec<Standstill>,
    stopped: bool,
    /// How many heads were judged.
    #[cfg(test)]
    judged: usize,
}

/// A head of which our beacon nodes told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heard {
    /// Its slot.
    slot: u64,
    /// When the first of them told of it, in milliseconds since the Unix epoch. Not known if it was found by asking before any
    /// told: nobody knows since when they had it.
    at_ms: Option<u64>,
}

impl Heard {
    /// Whether it came at this time or later, as far as that is known.
    fn came_at(&self, time_ms: u64) -> bool {
        self.at_ms.is_some_and(|at| at >= time_ms)
    }
}

/// What a slot needs beside its agreements.
#[derive(Default)]
struct Slot {
    views: Views,
    /// When our beacon nodes are asked (again) for their view, and when they were asked last.
    ask_view_at: Option<u64>,
    view_asked_at: Option<u64>,
    /// When attestations are due, until then.
    due_at: Option<u64>,
    /// The round of the agreement on the head for which proposals were judged.
    round: u8,
    /// When all of them are asked, if none has said by then what goes with the block of the slot that one of them told of; and when they
    /// were asked last.
    ask_all_at: Option<u64>,
    all_asked_at: Option<u64>,
    /// Whether something happened since heads that were proposed for it were judged, that may make a difference.
    changed: bool,
    /// What was decided.
    head: Option<AttestationData>,
    /// Agreements that were begun.
    begun: BTreeSet<Kind>,
    block: proposing::Block,
    /// Aggregates and contributions that were decided.
    aggregates: Option<Vec<conclave_eth::chain::types::Attestation>>,
    contributions: Option<Vec<conclave_eth::chain::types::SyncCommitteeContribution>>,
    course: accounts::Course,
}

impl<S: Signatures> Core<S> {
    /// A core that has just started. `instance` is 128 random bits, `memory` what this node remembers of the others,
    /// `start` what the guard was told. `None` if the group is none that can agree.
    pub fn new(
        settings: Settings,
        signatures: S,
        instance: Process,
        memory: BTreeMap<u16, Proofs>,
        start: Start,
        now_ms: u64,
    ) -> Option<Self> {
        let Settings {
            group,
            chain,
            me,
            software,
            dry_run,
            builder,
            history,
            excused,
        } = settings;
        let (n, t) = (group.size(), group.threshold);
        let quorum = Quorum::new(group.lock_hash, n, t, me, chain.spec.slot_ms, signatures)?;
        Some(Self {
            waits_until: wait(chain.time(), now_ms, start),
            time: chain.time(),
            peers: Peers::new(me, n),
            watch: Watch::new(me, instance, group.lock_hash),
            quorum: Arc::new(quorum),
            group,
            chain,
            me,
            software,
            dry_run,
            builder,
            history,
            excused,
            now: now_ms,
            effects: Vec::new(),
            memory,
            schedule: Schedule::default(),
            pools: Pools::default(),
            slots: BTreeMap::new(),
            agreements: BTreeMap::new(),
            start,
            restored: Restored::at(start),
            begun: None,
            newest_block: None,
            heard: BTreeMap::new(),
            heads_shown: BTreeMap::new(),
            open: BTreeSet::new(),
            twins: BTreeMap::new(),
            unseen: Vec::new(),
            stopped: false,
            #[cfg(test)]
            judged: 0,
        })
    }

    /// Tells what happened at a time (milliseconds since the Unix epoch), and gives what is to be done, in this order.
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Effect> {
        self.now = if matches!(event, Event::Restarted { .. }) {
            now_ms
        } else {
            self.now.max(now_ms)
        };
        if self.stopped {
            return Vec::new();
        }
        match event {
            Event::Tick => {}
            Event::Connected(operator) => self.connected(operator),
            Event::Disconnected(operator) => self.disconnected(operator),
            Event::Message { from, message } => self.message(from, message),
            Event::Compared {
                operator,
                remembered,
                newer,
                confirms,
            } => self.compared(operator, remembered, newer, confirms),
            Event::StoodStill(standstill) => self.unseen.push(standstill),
            Event::Restarted { instance, start } => self.restarted(instance, start),
            Event::Raised { instance } => self.raised(instance),
            Event::Chain(chain) => {
                self.chain = chain;
                self.heads_changed(0);
                for epoch in self.schedule.epochs() {
                    for kind in Kind::ALL {
                        self.duties_changed(epoch, kind);
                    }
                }
            }
            Event::Attesters { epoch, duties } => self.attesters(epoch, &duties),
            Event::Proposers { epoch, duties } => self.proposers(epoch, duties),
            Event::Produced { slot, round, made } => self.produced(slot, round, made),
            Event::Decoded { slot, id, block } => self.decoded(slot, id, block),
            Event::SyncMembers { epoch, members } => self.sync_members(epoch, members),
            Event::Shown(heads) => self.heads_shown.extend(heads),
            Event::Heard { slot, root } => self.hear(slot, root, Some(self.now)),
            Event::Head { slot, root } => self.head(slot, root),
            Event::View { slot, data } => self.view(slot, data),
            Event::OtherView { slot, data } => self.other_view(slot, data),
            Event::Unanswered { duty, round } => self.unanswered(duty, round),
            Event::Ancestor { slot, root, ancestor } => self.ancestor_found(slot, root, ancestor),
            Event::Block { slot, root, place } => self.looked_up(slot, root, place),
            Event::Signed(signed) => self.signed(signed),
            Event::Combined {
                purpose,
                slot,
                outcome,
            } => self.combined(purpose, slot, &outcome),
            Event::Aggregates {
                slot,
                round,
                aggregates,
            } => self.aggregates(slot, round, &aggregates),
            Event::Contributions {
                slot,
                round,
                contributions,
            } => self.contributions(slot, round, &contributions),
            Event::Checked {
                duty,
                round,
                id,
                verdict,
            } => self.checked(duty, round, &id, verdict),
        }
        self.pass();
        std::mem::take(&mut self.effects)
    }

    /// When [`Event::Tick`] is wanted at the latest, in milliseconds since the Unix epoch.
    pub fn wake_at(&self) -> u64 {
        let next_slot = self
            .time
            .start_of(self.time.slot_at(self.now).map_or(0, |slot| slot + 1));
        let agreements = self.agreements.values().filter_map(Instance::next_wakeup);
        let asking = |slot: &Slot| slot.ask_view_at.into_iter().chain(slot.ask_all_at).min();
        let views = self.slots.values().filter_map(asking);
        let heads = self.slots.values().filter_map(|slot| slot.due_at);
        let due = self.next_due();
        agreements
            .chain(views)
            .chain(heads)
            .chain(due)
            .chain([next_slot])
            .min()
            .unwrap_or(next_slot)
    }

    /// Lets time pass: begins slots, starts what is due, wakes agreements, forgets what is over.
    fn pass(&mut self) {
        if let Some(slot) = self.time.slot_at(self.now)
            && self.begun.is_none_or(|begun| begun < slot)
        {
            self.account(slot);
            self.begun = Some(slot);
            self.forget(slot);
            self.heads_changed(0);
            self.hear_again();
            self.beat(slot);
            self.compare_again();
            self.restored_slot(slot);
            self.end_wait(slot);
            self.sign_sync_selections(slot.saturating_add(syncing::AHEAD));
        }
        self.await_others();
        self.start_due();
        self.attestations_due();
        self.tick_agreements();
        self.advance_heads();
        self.ask_views();
        self.prepare_block();
    }

    fn forget(&mut self, slot: u64) {
        let time = self.time;
        let kept = slot.saturating_sub(self.time.slots_per_epoch);
        self.slots = self.slots.split_off(&kept);
        // Blocks with their blobs are large, and of no use for long.
        for (of, work) in &mut self.slots {
            if of.saturating_add(1) < slot {
                work.block = proposing::Block::default();
            }
        }
        self.agreements.retain(|duty, _| !over(time, *duty, slot));
        self.pools.forget(slot, self.time.slots_per_epoch);
        self.schedule.forget_before(time.epoch_of(kept));
        self.heard.retain(|_, heard| heard.slot.saturating_add(2) >= slot);
        self.unseen.retain(|stood| stood.to_ms >= time.start_of(kept));
    }

    /// The slot by our clock; 0 before genesis.
    fn slot_now(&self) -> u64 {
        self.time.slot_at(self.now).unwrap_or(0)
    }

    /// Votes, unless the slot began before this process did.
    fn role(&self, slot: u64) -> Role {
        if self.dry_run || slot < self.start.first_slot {
            Role::Observes
        } else {
            Role::Votes
        }
    }

    fn due(&self, duty: Duty) -> u64 {
        match duty.kind {
            Kind::Head => self.chain.due_ms(duty.slot, Due::Attestation),
            Kind::Block => self.time.start_of(duty.slot),
            Kind::Aggregates => self.chain.due_ms(duty.slot, Due::Aggregate),
            Kind::Contributions => self.chain.due_ms(duty.slot, Due::Contribution),
        }
    }

    /// Until when a signature is of use, in milliseconds since the Unix epoch. Later the network passes it on to nobody,
    /// or it is of no use to the chain.
    fn deadline(&self, purpose: Purpose, slot: u64) -> u64 {
        match purpose {
            Purpose::Attestation => self.time.start_of(slot.saturating_add(self.time.slots_per_epoch)),
            Purpose::Block | Purpose::SyncMessage | Purpose::Contribution => self.time.end_of(slot),
            _ => self.time.end_of(slot.saturating_add(1)),
        }
    }

    fn report(&mut self, report: Report) {
        self.effects.push(Effect::Report(report));
    }

    fn broadcast(&mut self, message: wire::Message) {
        self.effects.push(Effect::Broadcast(message));
    }

    /// Begin to sign from this slot and epoch on.
    fn begin(&mut self, start: Start) {
        self.start = start;
        self.waits_until = wait(self.time, self.now, start);
        self.effects.push(Effect::Begin(start));
    }

    /// A slot begins: perhaps the wait for the first epoch to attest in is over.
    fn end_wait(&mut self, slot: u64) {
        if self.waits_until.is_some_and(|until| until <= self.now) && slot >= self.start.first_slot {
            self.waits_until = None;
            if !self.dry_run {
                self.report(Report::WaitOver);
            }
        }
    }
}

/// When the first epoch begins in which it attests, if that is still to come.
fn wait(time: Time, now: u64, start: Start) -> Option<u64> {
    Some(time.start_of_epoch(start.first_target)).filter(|until| now < *until)
}

#[cfg(test)]
impl<S: Signatures> Core<S> {
    /// How many of everything is kept, and the bytes of blocks, blobs and other values.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        for instance in self.agreements.values() {
            let (messages, values) = instance.size();
            count += 1 + messages;
            bytes += values;
        }
        for slot in self.slots.values() {
            let (kept, blocks) = slot.block.size();
            count += 1 + slot.views.size() + slot.begun.len() + slot.course.size() + kept;
            bytes += blocks;
        }
        count += self.watch.size() + self.pools.size() + self.schedule.size();
        count += self.memory.len() + self.open.len() + self.heard.len();
        (count, bytes)
    }

    /// The bytes of partial signatures that are kept of an operator: for duties that exist, and for others.
    pub(super) fn bytes_of(&self, operator: u16) -> (usize, usize) {
        self.pools.bytes_of(operator)
    }

    /// Forgets an operator's proofs.
    pub(super) fn forget_memory(&mut self, operator: u16) {
        self.memory.remove(&operator);
    }
}

/// Whether an agreement is past its deadline in this slot.
fn over(time: Time, duty: Duty, slot: u64) -> bool {
    let kept = match duty.kind {
        Kind::Head => time.slots_per_epoch,
        Kind::Block => 1,
        Kind::Aggregates | Kind::Contributions => 2,
    };
    duty.slot.saturating_add(kept) <= slot
}
