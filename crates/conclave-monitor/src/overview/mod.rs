//! The picture of a running node: who is here and takes part, how the validators fare, how long each step takes.
//!
//! Pure: it is told the same [`News`] that lines and events are made of, with the time at which they came, and gives a
//! [`View`] whenever somebody looks. What it keeps is bounded: a fixed number of epochs, whatever anybody sends.
//!
//! | Module | What it is |
//! |---|---|
//! | [`view`] | what is shown, in JSON too |
//! | `grid` | who took part in which slot |
//! | `duties` | the latest duties: what was agreed on and signed, when, by whom |
//! | `validators` | the validators on the chain, and what became of their votes |
//! | [`totals`] | everything since the start, for counters |
//! | [`words`] | times and counts as people say them |

pub mod totals;
pub mod view;
pub mod words;

mod duties;
mod grid;
mod validators;

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use conclave_net::events::Event as NetEvent;

use conclave_beacon::nodes::{Health, State as NodeState};
use conclave_eth::{chain::time::Time, duty::Purpose};
use conclave_slashing::{Mark, Start};
use conclave_validator::{
    core::{Account, ChainClock, Report, Restoring, Standstill, Stop},
    group::Group,
    node::{Delivery, News},
    observed::{Dissenter, ExitStage, ExitStands, Peer},
    wire::Abilities,
};

use duties::Duties;
use grid::Grid;
use totals::Totals;
use validators::Validators;
use view::{ExitView, ForkView, Link, NodeView, OperatorView, RestoredView, State, View};
use words::{UNSIGNED_FORK, brief, count, span};

/// Participation and duties are kept for so many epochs.
pub const EPOCHS: u64 = 4;
/// ... and for at most so many slots, whatever a beacon node calls an epoch.
const MAX_SLOTS: u64 = 256;
/// A clock that is off by more than this part of a slot is worth a warning.
const CLOCK_PART: u64 = 12;
/// A slot with duties is told to be over by the beginning of the one that is so much later.
const OVER_AFTER: u64 = 3;
/// One jump of the clock may be a machine that slept; so many, each before the wait after the last one was over, are not.
const MANY_JUMPS: u32 = 2;

/// What is known of an operator.
#[derive(Debug, Clone, Default)]
struct Operator {
    name: String,
    connected: bool,
    through: Option<u16>,
    round_trip: Option<Duration>,
    peer: Peer,
    faults: u64,
    /// It ran twice, and was not here since.
    ran_twice: bool,
}

/// The picture. Operators are numbered from 1, validators from 0.
#[derive(Debug)]
pub struct Overview {
    software: String,
    lock_hash: String,
    me: u16,
    threshold: u16,
    dry_run: bool,
    started_ms: u64,
    operators: Vec<Operator>,
    network: Option<String>,
    time: Option<Time>,
    unknown_fork: Option<(String, u64)>,
    /// Forks that are known here, and their first epochs.
    forks: Vec<(&'static str, u64)>,
    waiting: Option<String>,
    start: Option<Start>,
    mark: Option<Mark>,
    /// Who remembers what this folder has forgotten.
    forgotten: Option<u16>,
    /// What a folder that was restored from a backup waits for.
    restoring: Option<Restoring>,
    stopping: bool,
    stopped: Option<Stop>,
    /// Why the slashing protection cannot be used.
    guard: Option<String>,
    /// What none of the own beacon nodes took last: of which slot, and why. Gone with what one takes.
    not_taken: BTreeMap<Purpose, (u64, String)>,
    /// Jumps of the clock since it last could sign attestations, or the last one.
    jumps: u32,
    /// Beacon nodes that say something else of our validators than what counts.
    dissent: Vec<Dissenter>,
    /// When it stood still last.
    stood: Option<Standstill>,
    /// The slot that was begun last.
    begun: Option<u64>,
    /// Since this slot a beacon node has told who has which duty.
    watched_since: Option<u64>,
    nodes: Vec<Health>,
    grid: Grid,
    duties: Duties,
    validators: Validators,
    /// By the validator's place in the lock.
    exits: BTreeMap<u32, Vec<ExitStands>>,
    totals: Totals,
}

impl Overview {
    /// Of operator `me` of a group, at its start.
    pub fn new(group: &Group, me: u16, software: &str, dry_run: bool, builder: bool, now_ms: u64) -> Self {
        let mut operators: Vec<Operator> = group
            .operators
            .iter()
            .map(|operator| Operator {
                name: operator.name.clone(),
                ..Operator::default()
            })
            .collect();
        let own = usize::from(me)
            .checked_sub(1)
            .and_then(|place| operators.get_mut(place));
        if let Some(own) = own {
            own.peer = Peer {
                software: software.to_owned(),
                dry_run,
                clock_offset_ms: None,
                abilities: Abilities::own(builder),
            };
        }
        Self {
            software: software.to_owned(),
            lock_hash: format!("0x{}", hex::encode(group.lock_hash)),
            me,
            threshold: group.threshold,
            dry_run,
            started_ms: now_ms,
            network: None,
            time: None,
            unknown_fork: None,
            forks: Vec::new(),
            waiting: None,
            start: None,
            mark: None,
            forgotten: None,
            restoring: None,
            stopping: false,
            stopped: None,
            guard: None,
            not_taken: BTreeMap::new(),
            jumps: 0,
            dissent: Vec::new(),
            stood: None,
            begun: None,
            watched_since: None,
            nodes: Vec::new(),
            grid: Grid::new(operators.len()),
            totals: Totals::new(operators.len()),
            operators,
            duties: Duties::default(),
            validators: Validators::new(group.validators.iter().map(|validator| validator.key.to_bytes())),
            exits: BTreeMap::new(),
        }
    }

    /// Takes news that came at a time (milliseconds since the Unix epoch).
    pub fn tell(&mut self, news: &News, now_ms: u64) {
        match news {
            News::WaitingForBeaconNode(why) => self.waiting = Some(why.clone()),
            News::Chain(chain) => {
                self.waiting = None;
                self.network = Some(chain.spec.config_name.clone());
                self.time = Some(chain.time());
                let forks = chain.spec.forks.iter();
                self.forks = forks.map(|fork| (fork.fork.name(), fork.epoch)).collect();
                let fork = chain.spec.unknown_fork();
                self.unknown_fork = fork.map(|(name, epoch)| (name.to_owned(), epoch));
            }
            News::UnknownFork { name, epoch } => self.unknown_fork = Some((name.clone(), *epoch)),
            News::Starts(start) => {
                self.start = Some(*start);
                self.forgotten = None;
                self.restoring = None;
            }
            News::Marked(mark) => self.mark = *mark,
            News::ClockJumped { .. } => {
                self.totals.clock_jumps += 1;
                self.jumps = if self.waits(now_ms) {
                    self.jumps.saturating_add(1)
                } else {
                    1
                };
                self.begun = None;
                self.watched_since = None;
            }
            News::StoodStill(standstill) => {
                self.totals.standstills += 1;
                self.stood = Some(*standstill);
                // Whether there were duties in that time is not known.
                let slot = self.time.and_then(|time| time.slot_at(standstill.to_ms));
                let next = slot.map_or(0, |slot| slot.saturating_add(1));
                self.watched_since = self.watched_since.map(|since| since.max(next));
            }
            News::Slot(slot) => self.slot(*slot, now_ms),
            News::BeaconNodes(health) => self.nodes.clone_from(health),
            News::Peers(peers) => {
                for (operator, peer) in peers {
                    if let Some(known) = self.operator(*operator) {
                        known.peer = peer.clone();
                    }
                }
            }
            News::Validators(seen) => self.validators.seen(seen),
            News::Dissent(dissent) => self.dissent.clone_from(dissent),
            News::Votes(votes) => self.validators.voted(votes, &mut self.totals),
            News::Stopping { .. } => self.stopping = true,
            News::Stopped(stop) => self.stopped = Some(*stop),
            News::Guard(trouble) => self.guard.clone_from(trouble),
            News::Submitted {
                purpose,
                slot,
                count,
                delivery,
            } => self.submitted(*purpose, *slot, *count, delivery),
            News::ExitsStand { validator, exits } => {
                self.exits.insert(*validator, exits.clone());
            }
            News::NoControl(_) | News::Exit(_) => {}
            News::Network(event) => self.network(event),
            News::Report(report) => self.report(report),
        }
    }

    fn operator(&mut self, operator: u16) -> Option<&mut Operator> {
        self.operators.get_mut(usize::from(operator).checked_sub(1)?)
    }

    /// A slot begins; what is too old is forgotten.
    fn slot(&mut self, slot: u64, now_ms: u64) {
        // What had duties is over by now, and the schedule was known if a beacon node was of use.
        if let Some(old) = slot
            .checked_sub(OVER_AFTER)
            .filter(|old| self.watched_since.is_some_and(|since| since <= *old))
        {
            self.grid.without_duties(old);
        }
        let useful = |node: &Health| matches!(node.state, NodeState::Ready | NodeState::Optimistic);
        if self.nodes.iter().any(useful) {
            self.watched_since.get_or_insert(slot);
        } else {
            self.watched_since = None;
        }
        // Before genesis it is told as slot 0.
        self.begun = self.time.and_then(|time| time.slot_at(now_ms)).map(|_| slot);
        let kept = self.time.map_or(MAX_SLOTS, |time| {
            (time.slots_per_epoch.saturating_mul(EPOCHS)).min(MAX_SLOTS)
        });
        let oldest = (slot + 1).saturating_sub(kept);
        self.grid.forget_before(oldest);
        // What comes seldom would be warned of for ever.
        let epoch = self.time.map_or(MAX_SLOTS, |time| time.slots_per_epoch);
        self.not_taken
            .retain(|_, (failed, _)| failed.saturating_add(epoch) >= slot);
        self.duties.forget_before(oldest);
    }

    fn network<M>(&mut self, event: &NetEvent<M>) {
        match event {
            NetEvent::Connected { operator } => {
                if let Some(known) = self.operator(*operator) {
                    known.connected = true;
                    known.through = None;
                    known.ran_twice = false;
                }
            }
            NetEvent::Disconnected { operator, .. } => {
                if let Some(known) = self.operator(*operator) {
                    known.connected = false;
                    known.through = None;
                    known.round_trip = None;
                }
            }
            NetEvent::Path { operator, through } => {
                if let Some(known) = self.operator(*operator) {
                    known.through = *through;
                }
            }
            NetEvent::Latency { operator, round_trip } => {
                if let Some(known) = self.operator(*operator) {
                    known.round_trip = Some(*round_trip);
                }
            }
            NetEvent::Stranger { total, .. } => self.totals.strangers = *total,
            NetEvent::Listening(_)
            | NetEvent::ListenerLost(_)
            | NetEvent::Message { .. }
            | NetEvent::Refused { .. }
            | NetEvent::Unreachable(_)
            | NetEvent::AddressBook(_) => {}
        }
    }

    fn report(&mut self, report: &Report) {
        match report {
            Report::Decided { duty, decision, .. } => {
                if !self.is_old(duty.slot) && self.duties.agreed(*duty, *decision) {
                    self.totals.agreed(duty.kind, *decision);
                }
            }
            Report::Made {
                purpose,
                slot,
                validators,
                times,
                contributors,
            } => {
                if !self.is_old(*slot) {
                    self.totals.made(*purpose, validators.len(), *times);
                    self.duties
                        .made(*purpose, *slot, validators.len(), *times, contributors);
                }
                if *purpose == Purpose::Attestation {
                    let epoch = self.time.map_or(0, |time| time.epoch_of(*slot));
                    self.validators.signed(epoch, *slot, validators);
                }
            }
            Report::Over { slot, duties, .. } => self.over(*slot, duties),
            Report::Fault { operator, .. } => self.fault(*operator),
            Report::Misbehaviour(deed) => self.fault(deed.operator()),
            Report::Forgotten { operator } => self.forgotten = Some(*operator),
            Report::RanTwice { operator } => {
                if let Some(known) = self.operator(*operator) {
                    known.ran_twice = true;
                }
            }
            Report::OwnBlock { refused, .. } => self.totals.own_blocks_refused += u64::from(*refused),
            Report::Restoring(restoring) => {
                self.start = restoring.start.or(self.start);
                self.restoring = Some(restoring.clone());
            }
            Report::WaitOver => {}
            Report::Confirmed => {
                if let Some(start) = &mut self.start {
                    start.first_target = 0;
                }
            }
        }
    }

    /// Who was away hears later what was done meanwhile; that is no measure of how long it took.
    fn is_old(&self, slot: u64) -> bool {
        self.begun
            .is_some_and(|begun| slot.saturating_add(OVER_AFTER) < begun)
    }

    /// A slot that had duties is over.
    fn over(&mut self, slot: u64, duties: &[Account]) {
        let mut seen = duties.iter().filter(|account| account.unseen() == 0).peekable();
        if seen.peek().is_some() {
            self.grid.over(slot, seen.map(|account| &account.partials));
        }
        let known = |account: &&Account| account.unseen() == 0 || !account.signed.is_empty();
        self.duties.over(slot, duties.iter().filter(known));
        for account in duties {
            self.totals.over(account);
        }
    }

    fn fault(&mut self, operator: u16) {
        if let Some(known) = self.operator(operator) {
            known.faults += 1;
        }
    }

    fn submitted(&mut self, purpose: Purpose, slot: u64, count: usize, delivery: &Delivery) {
        match delivery {
            Delivery::Taken => {
                self.not_taken.remove(&purpose);
            }
            Delivery::NotTaken { why, .. } => {
                self.not_taken.insert(purpose, (slot, why.clone()));
                *self.totals.not_taken.entry(purpose).or_default() += count as u64;
            }
        }
    }

    /// Everything since the start.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What is to be seen at a time (milliseconds since the Unix epoch), with at most this many validators in full.
    pub fn view(&self, now_ms: u64, most_validators: usize) -> View {
        let slot = self.time.and_then(|time| time.slot_at(now_ms));
        let epoch = self.time.and_then(|time| time.epoch_at(now_ms));
        let (state, why) = self.state(now_ms, epoch);
        let unknown_fork = self.unknown_fork.as_ref().map(|(name, epoch)| {
            let begins = self.time.map_or(u64::MAX, |time| time.start_of_epoch(*epoch));
            ForkView {
                name: name.clone(),
                epoch: *epoch,
                in_seconds: begins.saturating_sub(now_ms) / 1000,
            }
        });
        let last_slot = slot.unwrap_or(0);
        let signs_from = self.signs_from(state, epoch);
        let reasons = self.reasons(state, &why);
        View {
            software: self.software.clone(),
            now_ms,
            started_ms: self.started_ms,
            lock_hash: self.lock_hash.clone(),
            operator: self.me,
            threshold: self.threshold,
            network: self.network.clone(),
            slot,
            epoch,
            slot_ms: self.time.map(|time| time.slot_ms),
            slots_per_epoch: self.time.map(|time| time.slots_per_epoch),
            state,
            why,
            signs_from_epoch: signs_from,
            signs_from_ms: self
                .time
                .zip(signs_from)
                .map(|(time, first)| time.start_of_epoch(first)),
            database_mark: self.mark.map(|mark| mark_text(mark).to_owned()),
            restored: self.restored_view(),
            healthy: reasons.is_empty(),
            reasons,
            live: true,
            last_round_ms: 0,
            warnings: self.warnings(unknown_fork.as_ref(), now_ms),
            unknown_fork,
            first_slot: self.grid.first(last_slot),
            operators: self.operator_views(last_slot),
            validators: self.validators.view(most_validators),
            exits: self.exit_views(most_validators),
            steps: self.duties.steps(),
            duties: self.duties.views(self.operators.len()),
            beacon_nodes: self.nodes.iter().map(node_view).collect(),
        }
    }

    /// At most so many exits.
    fn exit_views(&self, most: usize) -> Vec<ExitView> {
        let exits = self.exits.iter();
        let exits = exits.flat_map(|(validator, exits)| exits.iter().map(|one| (*validator, one)));
        exits
            .take(most)
            .filter_map(|(validator, one)| self.exit_view(validator, one))
            .collect()
    }

    fn exit_view(&self, validator: u32, one: &ExitStands) -> Option<ExitView> {
        let place = usize::try_from(validator).ok()?;
        let key = self.validators.key(place)?;
        let operators = (1u16..).zip(&self.operators);
        let missing: Vec<u16> = operators
            .map(|(operator, _)| operator)
            .filter(|operator| !one.consents.contains(operator))
            .collect();
        let names = |operators: &[u16]| {
            let name = |operator: &u16| {
                let known = self.operators.get(usize::from(*operator).checked_sub(1)?)?;
                Some(known.name.clone())
            };
            let names: Vec<String> = operators.iter().filter_map(name).collect();
            names.join(", ")
        };
        let have = format!("consent: {}", names(&one.consents));
        let (stage, text) = match &one.stage {
            ExitStage::Waits => (
                "waits",
                format!(
                    "{} of the {} that are needed {have}; not yet: {}. Each of them consents by its own conclave exit",
                    one.consents.len(),
                    self.threshold,
                    names(&missing)
                ),
            ),
            ExitStage::Signed => ("signed", format!("signed, and given to the beacon nodes; {have}")),
            ExitStage::Submitted => (
                "submitted",
                format!("signed, and a beacon node took it: the chain lets the validator go soon; {have}"),
            ),
            ExitStage::NotTaken(why) => (
                "not_taken",
                format!(
                    "signed, and no beacon node took it yet ({why}); it is tried again every epoch; {have}"
                ),
            ),
            ExitStage::Leaves(epoch) => (
                "leaves",
                format!(
                    "done: the chain lets the validator go at epoch {epoch}, and its duties go on until then; {have}"
                ),
            ),
        };
        Some(ExitView {
            validator: place,
            epoch: one.epoch,
            consents: one.consents.clone(),
            missing,
            needed: self.threshold,
            stage: stage.to_owned(),
            text: format!(
                "Exit of validator {} ({}{}): {text}",
                one.index,
                key.chars().take(12).collect::<String>(),
                if one.epoch == 0 {
                    String::new()
                } else {
                    format!(", not before epoch {}", one.epoch)
                }
            ),
            key,
        })
    }

    fn operator_views(&self, last_slot: u64) -> Vec<OperatorView> {
        let numbered = (1u16..).zip(&self.operators);
        numbered
            .map(|(operator, known)| {
                let place = usize::from(operator) - 1;
                let (done, of) = self.grid.sum(place);
                OperatorView {
                    operator,
                    name: known.name.clone(),
                    link: match known {
                        _ if operator == self.me => Link::Myself,
                        Operator { connected: false, .. } => Link::Away,
                        Operator { through: None, .. } => Link::Direct,
                        Operator { through: Some(_), .. } => Link::Through,
                    },
                    through: known.through.filter(|_| known.connected),
                    round_trip_ms: known.round_trip.map(words::milliseconds),
                    clock_offset_ms: known.peer.clock_offset_ms.filter(|_| known.connected),
                    software: if operator == self.me {
                        self.software.clone()
                    } else {
                        known.peer.software.clone()
                    },
                    dry_run: if operator == self.me {
                        self.dry_run
                    } else {
                        known.connected && known.peer.dry_run
                    },
                    builder: self.abilities(operator).and_then(|able| able.builder),
                    forks: self
                        .abilities(operator)
                        .and_then(|able| able.forks.clone())
                        .unwrap_or_default(),
                    participation: self.grid.cells(place, last_slot),
                    took_part: done,
                    duties: of,
                    faults: known.faults,
                }
            })
            .collect()
    }

    /// What an operator who is here says that it can do.
    fn abilities(&self, operator: u16) -> Option<&Abilities> {
        let known = self.operators.get(usize::from(operator).checked_sub(1)?)?;
        (operator == self.me || known.connected).then_some(&known.peer.abilities)
    }

    /// Operators who are here and of whom this is known to be so, by name.
    fn who(&self, is_so: impl Fn(&Abilities) -> bool) -> Vec<String> {
        (1u16..)
            .zip(&self.operators)
            .filter(|(operator, _)| self.abilities(*operator).is_some_and(&is_so))
            .map(|(operator, _)| self.name(operator))
            .collect()
    }

    /// Operators whose programs must be updated before a fork.
    fn outdated(&self, fork: &str) -> Vec<String> {
        self.who(|able| {
            able.forks
                .as_ref()
                .is_some_and(|forks| !forks.iter().any(|known| known == fork))
        })
    }

    /// What operators do differently, and should not.
    fn differences(&self, now_ms: u64) -> Vec<String> {
        let mut warnings = Vec::new();
        let with = self.who(|able| able.builder == Some(true));
        let without = self.who(|able| able.builder == Some(false));
        if !with.is_empty() && !without.is_empty() {
            warnings.push(format!(
                "some run with --builder ({}) and some without ({}), who refuse blocks of external builders: start all with it, \
                 or none",
                with.join(", "),
                without.join(", ")
            ));
        }
        let epoch = self.time.and_then(|time| time.epoch_at(now_ms)).unwrap_or(0);
        for (fork, first) in self.forks.iter().filter(|(_, first)| *first > epoch) {
            let outdated = self.outdated(fork);
            if !outdated.is_empty() {
                warnings.push(format!(
                    "the fork {fork} comes at epoch {first}, and the program of {} does not know it: it must be updated before",
                    outdated.join(", ")
                ));
            }
        }
        warnings
    }

    /// The first epoch whose attestations it signs, while it waits for that.
    fn signs_from(&self, state: State, epoch: Option<u64>) -> Option<u64> {
        let waits = matches!(state, State::Waiting | State::BeforeGenesis);
        let known = self.start.filter(|start| waits && *start != Start::NEVER);
        let first = known?.first_target;
        let comes = epoch.is_none_or(|epoch| epoch < first) && self.fork_before(first).is_none();
        comes.then_some(first)
    }

    /// A fork that keeps the attestations of this epoch from being signed.
    fn fork_before(&self, epoch: u64) -> Option<&(String, u64)> {
        self.unknown_fork.as_ref().filter(|(_, first)| *first <= epoch)
    }

    /// Whether it does not sign attestations yet, after whatever counted as a start.
    fn waits(&self, now_ms: u64) -> bool {
        let epoch = self.time.and_then(|time| time.epoch_at(now_ms));
        epoch
            .zip(self.start)
            .is_some_and(|(epoch, start)| epoch < start.first_target)
    }

    /// What this node does now, and why it does not sign.
    fn state(&self, now_ms: u64, epoch: Option<u64>) -> (State, String) {
        if let Some(Stop::Twin(_)) = self.stopped {
            return (
                State::Stopping,
                "a second copy of this folder runs somewhere with the same share: this one has stopped for good, so that the two \
                 cannot get the validator slashed"
                    .to_owned(),
            );
        }
        if self.stopping {
            return (
                State::Stopping,
                "it was asked to stop, and finishes its slot".to_owned(),
            );
        }
        if let Some(why) = &self.waiting {
            let then = if self.mark == Some(Mark::Restored) {
                format!("; and then: {}", self.restoring_words())
            } else {
                String::new()
            };
            return (
                State::WaitingForBeaconNode,
                format!("no beacon node has told its chain ({why}){then}"),
            );
        }
        let (Some(time), Some(start)) = (self.time, self.start) else {
            return (
                State::Starting,
                "it is starting: no beacon node has told its chain yet".to_owned(),
            );
        };
        if self.dry_run {
            return (State::DryRun, "dry run: nothing is signed".to_owned());
        }
        let Some(epoch) = epoch else {
            let left = time.genesis_ms.saturating_sub(now_ms);
            return (
                State::BeforeGenesis,
                format!("the chain begins in {}", span(left)),
            );
        };
        if let Some((name, first)) = self.fork_before(epoch) {
            let (why, todo) = UNSIGNED_FORK;
            let why = format!("the fork {name} is in force since epoch {first}, and {why}: {todo}");
            return (State::UnknownFork, why);
        }
        if start == Start::NEVER {
            return (State::Waiting, self.restoring_words());
        }
        if epoch < start.first_target
            && let Some((name, first)) = self.fork_before(start.first_target)
        {
            let (why, todo) = UNSIGNED_FORK;
            let why = format!(
                "no attestation is signed before the fork {name} comes at epoch {first}, and {why}: {todo}"
            );
            return (State::Waiting, why);
        }
        if epoch < start.first_target {
            let begins = time.start_of_epoch(start.first_target).saturating_sub(now_ms);
            let mut why = format!(
                "attestations are signed from epoch {} on, in {}: ",
                start.first_target,
                span(begins)
            );
            match (self.forgotten, self.mark) {
                (Some(operator), _) => {
                    why.push_str(&self.name(operator));
                    why.push_str(" holds newer signatures of yours than this folder knows of: this folder is an old copy");
                }
                (None, _) if self.jumps >= MANY_JUMPS => why.push_str(
                    "the clock jumps again and again, and each time counts as a start: see to its time synchronisation",
                ),
                (None, Some(mark)) => why.push_str(mark_text(mark)),
                (None, None) => {
                    why.push_str(
                        "the safety wait after every start, shorter if all other operators confirm that this machine has forgotten \
                         nothing that it signed",
                    );
                }
            }
            return (State::Waiting, why);
        }
        (State::Signing, String::new())
    }

    /// What a folder that was restored from a backup waits for.
    fn restoring_words(&self) -> String {
        let rule = "the folder was restored from a backup: nothing is signed before the other operators are connected and have told \
                    what they remember of it, and two whole epochs more are over";
        match self
            .restoring
            .as_ref()
            .filter(|restoring| !restoring.missing.is_empty() || restoring.chain != ChainClock::Agrees)
        {
            None => rule.to_owned(),
            Some(restoring) => {
                let names = |operators: &BTreeSet<u16>| {
                    let names: Vec<String> = operators.iter().map(|operator| self.name(*operator)).collect();
                    names.join(", ")
                };
                let clocks = if restoring.clocks.is_empty() {
                    String::new()
                } else {
                    format!(
                        ". The clocks of {} and this machine differ too much: set right whichever is wrong",
                        names(&restoring.clocks)
                    )
                };
                let waits = if restoring.missing.is_empty() {
                    String::new()
                } else {
                    let gone = words::if_gone_for_good(self.operators.len(), self.threshold);
                    format!(
                        ". It waits for {}{}{clocks}. If it waits in vain: {gone}",
                        names(&restoring.missing),
                        words::not_waited_for(&names(&restoring.excused)),
                    )
                };
                let chain = match restoring.clock_words() {
                    words if words.is_empty() => words,
                    words => format!(". {words}"),
                };
                format!("{rule}{waits}{chain}")
            }
        }
    }

    /// The same for programs.
    fn restored_view(&self) -> Option<RestoredView> {
        if self.mark != Some(Mark::Restored) {
            return None;
        }
        let restoring = self.restoring.clone().unwrap_or_default();
        let list = |operators: BTreeSet<u16>| operators.into_iter().collect();
        Some(RestoredView {
            waits_for: list(restoring.missing),
            without: list(restoring.excused),
            answered: list(restoring.answered),
            clocks_differ: list(restoring.clocks),
            chain_clock: restoring.chain,
            heads_ahead: restoring.ahead.into_iter().collect(),
        })
    }

    fn name(&self, operator: u16) -> String {
        let place = usize::from(operator).checked_sub(1);
        let known = place.and_then(|place| self.operators.get(place));
        known.map_or_else(|| format!("operator {operator}"), |known| known.name.clone())
    }

    /// Operators that are here, this one included.
    fn here(&self) -> usize {
        1 + self
            .operators
            .iter()
            .filter(|operator| operator.connected)
            .count()
    }

    /// Whether it does what it does by design, and nobody has to look: it signs, or will by itself.
    fn is_as_designed(&self, state: State) -> bool {
        match state {
            State::Signing | State::BeforeGenesis => true,
            // For others somebody has to see to it that they come.
            State::Waiting => {
                self.forgotten.is_none() && self.jumps < MANY_JUMPS && self.start != Some(Start::NEVER)
            }
            _ => false,
        }
    }

    /// Why this node cannot do its part, and would not by itself; nothing if all is well.
    fn reasons(&self, state: State, why: &str) -> Vec<String> {
        let mut reasons = Vec::new();
        if !self.is_as_designed(state) {
            reasons.push(why.to_owned());
        }
        if let Some(trouble) = &self.guard {
            reasons.push(format!("the slashing protection fails: {trouble}"));
        }
        if self.time.is_some() && !self.nodes.iter().any(|node| node.state == NodeState::Ready) {
            let nodes: Vec<String> = self
                .nodes
                .iter()
                .map(|node| format!("{}: {}", node.name, node.state.text()))
                .collect();
            reasons.push(format!(
                "no beacon node is in step with the chain ({})",
                nodes.join("; ")
            ));
        }
        let here = self.here();
        if here < usize::from(self.threshold) {
            reasons.push(format!(
                "{here} of {} operators are here, and {} must be",
                self.operators.len(),
                self.threshold
            ));
        }
        reasons
    }

    /// What a person should look after although the node does its part.
    fn warnings(&self, fork: Option<&ForkView>, now_ms: u64) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(fork) = fork.filter(|fork| fork.in_seconds > 0) {
            let (why, todo) = UNSIGNED_FORK;
            warnings.push(format!(
                "the fork {} comes at epoch {}, in {}, and {why}: {todo} before",
                fork.name,
                fork.epoch,
                span(fork.in_seconds.saturating_mul(1000))
            ));
        }
        let (here, threshold) = (self.here(), usize::from(self.threshold));
        if here == threshold && here < self.operators.len() {
            warnings.push(format!(
                "{here} of {} operators are here; if one more goes offline, the validator stops working",
                self.operators.len()
            ));
        }
        let most = self.time.map_or(u64::MAX, |time| time.slot_ms / CLOCK_PART);
        for (operator, known) in (1u16..).zip(&self.operators) {
            let offset = known.peer.clock_offset_ms.unwrap_or(0);
            if known.connected && offset.unsigned_abs() > most {
                warnings.push(format!(
                    "the clock of {} is {} {} yours: one of you should look at its time synchronisation",
                    self.name(operator),
                    brief(offset.unsigned_abs()),
                    if offset > 0 { "ahead of" } else { "behind" }
                ));
            }
        }
        let twice = (1u16..).zip(&self.operators).filter(|(_, known)| known.ran_twice);
        warnings.extend(twice.map(|(operator, _)| words::ran_twice(&self.name(operator))));
        warnings.extend(self.dissent.iter().map(words::dissents));
        warnings.extend(self.differences(now_ms));
        if let Some(operator) = self.forgotten {
            warnings.push(format!(
                "{} holds newer signatures of yours than this folder knew of: this folder is an old copy. Make sure that no newer copy \
                 of it runs anywhere",
                self.name(operator)
            ));
        }
        for node in &self.nodes {
            match &node.state {
                NodeState::WrongNetwork(_) => warnings.push(format!(
                    "the beacon node {} is of another network and not used: {}",
                    node.name,
                    node.state.text()
                )),
                NodeState::OtherSchedule(parting) => warnings.push(format!(
                    "the beacon node {} is not used: {parting}, and what is signed by the wrong schedule counts for nothing. \
                     Update the one that is behind",
                    node.name
                )),
                NodeState::Down(_) | NodeState::Syncing(_) | NodeState::Optimistic => warnings.push(format!(
                    "the beacon node {}: {}. {}",
                    node.name,
                    node.state.text(),
                    node.state.advice()
                )),
                NodeState::Ready | NodeState::Stalled(_) | NodeState::Unknown => {}
            }
            if !node.state.is_useless() {
                let fails = node.trouble.as_ref().map(words::fails);
                for (what, advice) in fails.into_iter().chain(node.silent.as_ref().map(words::silent)) {
                    warnings.push(format!("the beacon node {} {what}. {advice}", node.name));
                }
            }
            if let Some(parting) = &node.parting {
                warnings.push(format!("the beacon node {} {}", node.name, words::parts(parting)));
            }
            if let NodeState::Stalled(_) = node.state {
                warnings.push(format!("the beacon node {} is {}", node.name, node.state.text()));
            }
        }
        for (purpose, (failed, why)) in &self.not_taken {
            warnings.push(format!(
                "none of your beacon nodes took the {} of slot {failed}: {why}. It counts only if another operator's beacon node took it",
                purpose.text()
            ));
        }
        if let Some(standstill) = self.stood {
            let kept = self.time.map_or(0, |time| {
                time.slot_ms
                    .saturating_mul(time.slots_per_epoch)
                    .saturating_mul(EPOCHS)
            });
            if now_ms < standstill.to_ms.saturating_add(kept) {
                warnings.push(words::stood_still(standstill, self.time));
            }
        }
        let slashed = self.validators.slashed();
        if slashed > 0 {
            warnings.push(format!(
                "{} slashed",
                count(slashed, "validator was", "validators were")
            ));
        }
        warnings
    }
}

fn mark_text(mark: Mark) -> &'static str {
    match mark {
        Mark::New => "the slashing protection database was made anew",
        Mark::LatePublication => {
            "the ceremony's files were made late or without the others, so nobody could say whether the folder is an old copy"
        }
        Mark::PartialImport => "the imported history did not say of every validator what it signed",
        Mark::Moved => "the folder was moved here from another machine",
        Mark::Restored => "the folder was restored from a backup",
    }
}

fn node_view(health: &Health) -> NodeView {
    NodeView {
        name: health.name.clone(),
        state: match health.state {
            NodeState::Ready => "ready",
            NodeState::Optimistic => "optimistic",
            NodeState::Syncing(_) => "syncing",
            NodeState::Stalled(_) => "stalled",
            NodeState::Unknown => "unknown",
            NodeState::Down(_) => "down",
            NodeState::WrongNetwork(_) => "wrong_network",
            NodeState::OtherSchedule(_) => "other_schedule",
        }
        .to_owned(),
        message: health.state.text(),
        version: health.version.clone(),
        head_slot: health.head_slot,
        latency_ms: words::milliseconds(health.latency),
    }
}

/// Kept so that everything about slots has one order.
type BySlot<T> = BTreeMap<u64, T>;
