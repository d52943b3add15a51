//! What a running node says: each thing once, in words that tell what happened, to whom, and what to do about it.
//!
//! [`Watcher::told`] is pure: news and a time in, events and lines out.

use std::collections::{BTreeMap, BTreeSet};

use libp2p::{Multiaddr, PeerId, multiaddr};

use crate::{
    p2p::events::{Event as NetEvent, Refusal},
    validator::{
        agreement::Misbehaviour,
        beacon::nodes::{Health, State},
        chain::{spec::Chain, time::Time},
        core::{Account, Decision, Report},
        guard::Start,
        node::{ExitNews, News},
        overview::words::span,
    },
};

use super::exit_news;
use super::news::{self, Event, Who};
use super::{
    live::Live,
    output::{Output, printable},
};

/// A day in milliseconds.
const DAY_MS: u64 = 86_400_000;

/// A line for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// What happens.
    Say(String),
    /// What a person should look after.
    Warn(String),
}

/// Events for programs, lines for people.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) events: Vec<Event>,
    pub(super) lines: Vec<Line>,
}

impl Told {
    fn say(&mut self, text: impl Into<String>) {
        self.lines.push(Line::Say(text.into()));
    }

    fn warn(&mut self, text: impl Into<String>) {
        self.lines.push(Line::Warn(text.into()));
    }
}

/// Turns news into words, and remembers what was said.
#[derive(Debug)]
pub(super) struct Watcher {
    /// In the order of the lock.
    names: Vec<String>,
    me: u16,
    threshold: u16,
    peer: Option<PeerId>,
    /// Lines go into the log too.
    logs: bool,
    time: Option<Time>,
    start: Option<Start>,
    waiting: Option<String>,
    /// A fork that this version does not know, whether it was in force, and when that was said.
    fork: Option<((String, u64, bool), u64)>,
    health: BTreeMap<String, &'static str>,
    listening: BTreeSet<Multiaddr>,
    /// The others.
    connected: BTreeSet<u16>,
    /// Beacon nodes that fail some requests.
    troubled: BTreeSet<String>,
    /// How often something was said of somebody.
    repeated: BTreeMap<(u16, String), u64>,
}

impl Watcher {
    /// For operator `me` (from 1) of a group with these names; `peer` is its libp2p identity.
    pub(super) fn new(names: &[String], me: u16, threshold: u16, peer: Option<PeerId>, logs: bool) -> Self {
        Self {
            names: names.iter().map(|name| printable(name)).collect(),
            me,
            threshold,
            peer,
            logs,
            time: None,
            start: None,
            waiting: None,
            fork: None,
            health: BTreeMap::new(),
            listening: BTreeSet::new(),
            connected: BTreeSet::new(),
            troubled: BTreeSet::new(),
            repeated: BTreeMap::new(),
        }
    }

    /// Shows news at a time (milliseconds since the Unix epoch).
    pub(super) fn show(&mut self, out: &Output, live: &Live, news: News, now_ms: u64) {
        let told = self.told(news, now_ms);
        for event in &told.events {
            out.line(event);
        }
        if !told.lines.is_empty() {
            live.above(|| told.lines.iter().for_each(|line| self.line(out, line)));
        }
    }

    fn line(&self, out: &Output, line: &Line) {
        let (Line::Say(text) | Line::Warn(text)) = line;
        if self.logs {
            match line {
                Line::Say(_) => tracing::info!(target: "conclave::run", "{text}"),
                Line::Warn(_) => tracing::warn!(target: "conclave::run", "{text}"),
            }
        }
        if !out.is_json() {
            match line {
                Line::Say(_) => out.say(text),
                Line::Warn(_) => out.warn(text),
            }
        }
    }

    /// What there is to say about news.
    pub(super) fn told(&mut self, news: News, now_ms: u64) -> Told {
        let mut told = Told::default();
        match news {
            News::WaitingForBeaconNode(why) => self.waits(&mut told, why),
            News::Chain(chain) => self.chain(&mut told, &chain, now_ms),
            News::BeaconNodes(health) => self.beacon_nodes(&mut told, health),
            News::Starts(start) => self.starts(&mut told, start, now_ms),
            News::ClockJumped => {
                told.events.push(Event::ClockJumped);
                told.warn(
                    "the clock jumped, or this machine slept: that counts as a start. If nobody suspended it, see to its \
                     time synchronisation",
                );
            }
            News::Stopping { slot, left_ms } => {
                told.events.push(Event::Stopping { slot });
                told.say(format!(
                    "Stopping at the end of slot {slot}, in {}. Ctrl-C again stops at once.",
                    span(left_ms)
                ));
            }
            News::Exit(news) => self.exit(&mut told, news),
            News::NoControl(why) => told.warn(format!(
                "other commands cannot talk to this process ({}): it validates all the same. Keep the folder on a local \
                 disk",
                printable(&why)
            )),
            News::UnknownFork { name, epoch } => self.unknown_fork(&mut told, &printable(&name), epoch, now_ms),
            News::Guard(trouble) => guard(&mut told, trouble),
            // Said at the end of the command, which this is.
            News::Stopped(_) => {}
            // Seen in the overview.
            News::Slot(_) | News::Peers(_) | News::Marked(_) | News::Validators(_) | News::Votes(_) => {}
            News::Network(event) => self.network(&mut told, event),
            News::Report(report) => self.report(&mut told, report),
        }
        told
    }

    fn name(&self, operator: u16) -> String {
        let place = usize::from(operator).checked_sub(1);
        let name = place.and_then(|place| self.names.get(place));
        name.cloned().unwrap_or_else(|| format!("operator {operator}"))
    }

    fn who(&self, operator: u16) -> Who {
        Who {
            operator,
            name: self.name(operator),
        }
    }

    fn names_of(&self, operators: impl IntoIterator<Item = u16>) -> String {
        let names: Vec<String> = operators.into_iter().map(|o| self.name(o)).collect();
        names.join(", ")
    }

    /// This one included.
    fn here(&self) -> usize {
        self.connected.len() + 1
    }

    /// Says the same of somebody at the 1st, 2nd, 4th, 8th ... time.
    fn once_in_a_while(&mut self, operator: u16, what: &str) -> Option<String> {
        let times = self.repeated.entry((operator, what.to_owned())).or_default();
        *times += 1;
        match *times {
            1 => Some(String::new()),
            times if times.is_power_of_two() => Some(format!(" ({times} times now)")),
            _ => None,
        }
    }

    fn exit(&mut self, told: &mut Told, news: ExitNews) {
        if let ExitNews::Wrong { operator, why } = &news
            && self.once_in_a_while(*operator, why).is_none()
        {
            return;
        }
        let (event, line) = exit_news::words(news, self.threshold, |operator| self.who(operator));
        told.events.push(event);
        told.lines.push(line);
    }

    fn waits(&mut self, told: &mut Told, why: String) {
        if self.waiting.as_ref() == Some(&why) {
            return;
        }
        let why_shown = printable(&why);
        told.say(if self.waiting.is_none() {
            format!(
                "Waiting for a beacon node ({why_shown}). Start it, or look at --beacon-node; it is asked every two seconds."
            )
        } else {
            format!("Still waiting for a beacon node ({why_shown}).")
        });
        told.events.push(Event::Waiting { why: why.clone() });
        self.waiting = Some(why);
    }

    fn chain(&mut self, told: &mut Told, chain: &Chain, now_ms: u64) {
        let time = chain.time();
        self.time = Some(time);
        let network = printable(&chain.spec.config_name);
        told.events.push(Event::Chain {
            network: network.clone(),
            genesis_time: chain.genesis.time,
            genesis_validators_root: format!("0x{}", hex::encode(chain.genesis.validators_root)),
            slot_ms: time.slot_ms,
            slots_per_epoch: time.slots_per_epoch,
        });
        told.say(match time.slot_at(now_ms) {
            Some(slot) => format!("Network {network}: slot {slot}, epoch {}.", time.epoch_of(slot)),
            None => format!(
                "Network {network}: it begins in {}.",
                span(time.genesis_ms.saturating_sub(now_ms))
            ),
        });
        if let Some((name, epoch)) = chain.spec.unknown_fork() {
            self.unknown_fork(told, name, epoch, now_ms);
        }
    }

    /// Said when it is new and when it comes into force; besides once a day.
    fn unknown_fork(&mut self, told: &mut Told, name: &str, epoch: u64, now_ms: u64) {
        let begins = self.time.map_or(0, |time| time.start_of_epoch(epoch));
        let fork = (name.to_owned(), epoch, begins <= now_ms);
        if let Some((known, said_ms)) = &self.fork
            && *known == fork
            && now_ms.saturating_sub(*said_ms) < DAY_MS
        {
            return;
        }
        self.fork = Some((fork, now_ms));
        told.events.push(Event::UnknownFork {
            name: name.to_owned(),
            epoch,
        });
        told.warn(if begins <= now_ms {
            format!(
                "the fork {name} is in force since epoch {epoch}, and this version of conclave does not know it: nothing is \
                 signed. Update conclave"
            )
        } else {
            format!(
                "the fork {name} comes at epoch {epoch}, in {}, and this version of conclave does not know it: from then on \
                 it signs nothing. Update conclave before",
                span(begins - now_ms)
            )
        });
    }

    fn beacon_nodes(&mut self, told: &mut Told, health: Vec<Health>) {
        let mut changed = false;
        for node in health {
            self.trouble(told, &node);
            let state = state(&node.state);
            let before = self.health.insert(node.name.clone(), state);
            // Optimistic for a moment at each block is nothing to talk about.
            if before == Some(state) {
                continue;
            }
            changed = true;
            let version = printable(&node.version);
            let message = printable(&node.state.text());
            let name = printable(&node.name);
            let line = format!(
                "Beacon node {name}{}: {message}",
                if version.is_empty() {
                    String::new()
                } else {
                    format!(" ({version})")
                }
            );
            match state {
                "ready" => told.say(format!("{line}.")),
                "unknown" => {}
                "wrong_network" => told.warn(format!(
                    "{line}. It is not used: take it out of --beacon-node, or point it at the right network"
                )),
                _ => told.warn(line),
            }
            told.events.push(Event::BeaconNode {
                name,
                state,
                message,
                version,
                head_slot: node.head_slot,
            });
        }
        let useless = |state: &str| matches!(state, "down" | "wrong_network");
        if changed && !self.health.is_empty() && self.health.values().all(|state| useless(state)) {
            told.warn(
                "no beacon node can be used: this machine takes part in what the others agree on, and submits nothing. \
                 Start it again; a second one with another --beacon-node helps",
            );
        }
    }

    /// A node that calls itself well and fails some requests; one that is down has its own line.
    fn trouble(&mut self, told: &mut Told, node: &Health) {
        let name = printable(&node.name);
        let message = match &node.trouble {
            Some(error) if self.troubled.insert(node.name.clone()) => {
                let what = printable(error.request);
                let why = printable(&error.kind.to_string());
                let message =
                    format!("Beacon node {name} fails again and again when asked for {what}: {why}");
                told.warn(format!(
                    "{message}. {} Until then duties depend on your other beacon nodes and on the other operators",
                    error.kind.advice()
                ));
                message
            }
            None if self.troubled.remove(&node.name) => {
                let message = format!("Beacon node {name} answers all requests again");
                told.say(format!("{message}."));
                message
            }
            _ => return,
        };
        told.events.push(Event::Notice { message });
    }

    fn starts(&mut self, told: &mut Told, start: Start, now_ms: u64) {
        self.start = Some(start);
        told.events.push(Event::SignsFrom {
            slot: start.first_slot,
            epoch: start.first_target,
        });
        let wait = self.time.map_or(0, |time| {
            time.start_of_epoch(start.first_target).saturating_sub(now_ms)
        });
        told.say(if wait == 0 {
            format!(
                "Signs from slot {} on, attestations from epoch {} on.",
                start.first_slot, start.first_target
            )
        } else {
            format!(
                "Signs from slot {} on, attestations from epoch {} on, in {}: at once when all other operators confirm that \
                 nothing newer was signed here.",
                start.first_slot,
                start.first_target,
                span(wait)
            )
        });
    }

    /// One line for each duty that was done, and one for all that failed in the same way.
    fn over(&self, told: &mut Told, slot: u64, away: &BTreeSet<u16>, duties: Vec<Account>) {
        let mut missed: Vec<(String, Vec<String>)> = Vec::new();
        for duty in &duties {
            let what = |count: usize| {
                let plural = if count == 1 { "" } else { "s" };
                format!("{} of {count} validator{plural}", duty.purpose.text())
            };
            if !duty.signed.is_empty() {
                told.say(format!(
                    "slot {slot}: {}: {}{}",
                    what(duty.signed.len()),
                    self.done(duty),
                    self.missing(&duty.partials, away)
                ));
            }
            let without = duty.validators.difference(&duty.signed).count();
            if without > 0 {
                let why = self.why(duty, away);
                match missed.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, list)) => list.push(what(without)),
                    None => missed.push((why, vec![what(without)])),
                }
            }
        }
        // Everybody who has just started waits, and says so itself.
        let waits = match (self.time, self.start) {
            (Some(time), Some(start)) => time.epoch_of(slot) < start.first_target,
            _ => true,
        };
        for (why, what) in missed.into_iter().filter(|_| !waits) {
            told.warn(format!("slot {slot}: missed: {}: {why}", what.join(", ")));
        }
        told.events.push(Event::Over {
            slot,
            away: away.iter().copied().collect(),
            duties: duties.into_iter().map(news::Duty::from).collect(),
        });
    }

    fn done(&self, duty: &Account) -> String {
        let agreed = match duty.decision {
            None => String::new(),
            Some(Decision {
                round: 0,
                after_due_ms,
            }) => format!("agreed after {after_due_ms} ms, "),
            Some(Decision { round, after_due_ms }) => {
                format!("agreed after {after_due_ms} ms in round {round}, ")
            }
        };
        let by = if duty.partials.len() == self.names.len() {
            format!("all {} operators", self.names.len())
        } else {
            self.names_of(duty.partials.iter().copied())
        };
        format!(
            "{agreed}signed after {} ms by {by}",
            duty.signed_after_ms.unwrap_or(0)
        )
    }

    /// Why a duty failed, and what to do about it.
    fn why(&self, duty: &Account, away: &BTreeSet<u16>) -> String {
        let Some(decision) = duty.decision else {
            let mut why = "not agreed on".to_owned();
            if duty.unanswered {
                why.push_str(", and your own beacon node had no answer");
            }
            why.push_str(&self.missing(&duty.voters, away));
            why.push_str(if duty.unanswered {
                ". Look at your beacon node"
            } else {
                ". Ask the others what their machines and beacon nodes say"
            });
            return why;
        };
        format!(
            "agreed after {} ms, and {} of {} operators who must sign did{}. Those who have just started wait until the next \
             epoch; ask the others what their machines say",
            decision.after_due_ms,
            duty.partials.len(),
            self.threshold,
            self.missing(&duty.partials, away)
        )
    }

    /// `; missing: bob (not connected), dave`, or nothing.
    fn missing(&self, there: &BTreeSet<u16>, away: &BTreeSet<u16>) -> String {
        let all = (1u16..).zip(&self.names).map(|(operator, _)| operator);
        let missing: Vec<String> = all
            .filter(|operator| !there.contains(operator))
            .map(|operator| {
                let name = if operator == self.me {
                    "you".to_owned()
                } else {
                    self.name(operator)
                };
                if away.contains(&operator) {
                    format!("{name} (not connected)")
                } else {
                    name
                }
            })
            .collect();
        if missing.is_empty() {
            String::new()
        } else {
            format!("; missing: {}", missing.join(", "))
        }
    }

    fn network<M>(&mut self, told: &mut Told, event: NetEvent<M>) {
        match event {
            NetEvent::Listening(address) => {
                let address = self.with_peer(address);
                if self.listening.insert(address.clone()) {
                    told.say(format!("Listening on {address}"));
                    told.events.push(Event::Listening {
                        addresses: self.listening.iter().map(Multiaddr::to_string).collect(),
                    });
                }
            }
            NetEvent::ListenerLost(why) => {
                let message = format!("an address is no longer listened on: {}", printable(&why));
                told.warn(format!("{message}. Harmless while others remain"));
                told.events.push(Event::Notice { message });
            }
            NetEvent::Connected { operator } => {
                self.connected.insert(operator);
                told.events.push(Event::Connected {
                    who: self.who(operator),
                    connected: self.connected.len(),
                });
                told.say(format!("{} is here: {}.", self.name(operator), self.enough()));
            }
            NetEvent::Disconnected { operator, reason } => {
                self.connected.remove(&operator);
                let reason = printable(&reason.to_string());
                told.events.push(Event::Disconnected {
                    who: self.who(operator),
                    reason: reason.clone(),
                    connected: self.connected.len(),
                });
                let line = format!("{} is gone ({reason}): {}.", self.name(operator), self.enough());
                if self.here() < usize::from(self.threshold) {
                    told.warn(line);
                } else {
                    told.say(line);
                }
            }
            NetEvent::Path { operator, through } => {
                told.events.push(Event::Path {
                    who: self.who(operator),
                    through,
                });
                if let Some(through) = through {
                    told.say(format!(
                        "{} is reached through {}, not directly: slower, and no longer than {} is there.",
                        self.name(operator),
                        self.name(through),
                        self.name(through)
                    ));
                }
            }
            NetEvent::Latency { operator, round_trip } => told.events.push(Event::Latency {
                who: self.who(operator),
                ms: u64::try_from(round_trip.as_millis()).unwrap_or(u64::MAX),
            }),
            NetEvent::Stranger { peer, address, total } => {
                let message = format!(
                    "somebody who is not an operator of this lock was turned away: {peer} at {address} ({total} in all)"
                );
                told.warn(format!(
                    "{message}. If it is one of you, its identity is not the one in the lock"
                ));
                told.events.push(Event::Notice { message });
            }
            NetEvent::Refused { operator, why } => {
                let message = refused(&self.name(operator), &why);
                told.warn(&message);
                told.events.push(Event::Notice { message });
            }
            // The core hears messages, the folder keeps addresses.
            NetEvent::Message { .. } | NetEvent::AddressBook(_) => {}
        }
    }

    fn with_peer(&self, address: Multiaddr) -> Multiaddr {
        let Some(peer) = self.peer else {
            return address;
        };
        if matches!(address.iter().last(), Some(multiaddr::Protocol::P2p(_))) {
            return address;
        }
        address.with(multiaddr::Protocol::P2p(peer))
    }

    /// `3 of 4 operators are here, enough to sign`.
    fn enough(&self) -> String {
        let (here, all) = (self.here(), self.names.len());
        let threshold = usize::from(self.threshold);
        if here == all {
            format!("all {all} operators are here")
        } else if here >= threshold {
            format!("{here} of {all} operators are here, enough to sign")
        } else {
            format!("{here} of {all} operators are here, and {threshold} must be: nothing is signed")
        }
    }

    fn report(&mut self, told: &mut Told, report: Report) {
        match report {
            Report::Decided {
                duty,
                round,
                after_due_ms,
                voters,
            } => {
                told.events.push(Event::Agreed {
                    slot: duty.slot,
                    kind: news::kind(duty.kind),
                    round,
                    after_due_ms,
                    voters: voters.into_iter().collect(),
                });
            }
            Report::Made {
                purpose,
                slot,
                validators,
                after_due_ms,
                contributors,
            } => {
                told.events.push(Event::Signed {
                    slot,
                    purpose: news::purpose(purpose),
                    validators: validators.into_iter().collect(),
                    after_due_ms,
                    contributors: contributors.into_iter().collect(),
                });
            }
            Report::Over { slot, away, duties } => self.over(told, slot, &away, duties),
            Report::Fault { operator, what } => {
                let what = printable(&what);
                if let Some(times) = self.once_in_a_while(operator, &what) {
                    self.fault(
                        told,
                        operator,
                        "Fault",
                        format!("{}: {what}{times}", self.name(operator)),
                        "What is wrong is not counted, and the others go on. Tell its operator: conclave verify on its \
                         folder, and the same version of conclave as yours",
                    );
                }
            }
            Report::Misbehaviour(deed) => self.misbehaviour(told, &deed),
            Report::Forgotten { operator } => {
                told.events.push(Event::Forgotten {
                    who: self.who(operator),
                });
                told.warn(format!(
                    "{} has signatures of yours that this folder has forgotten: it is an old copy. The slashing protection \
                     was raised to them, and attestations wait as after every start. Be sure that the newer copy runs nowhere",
                    self.name(operator)
                ));
            }
            Report::OwnBlockRefused { slot, why } => {
                let message = format!(
                    "slot {slot}: the block of your own beacon node cannot be signed: {}",
                    printable(why)
                );
                told.warn(format!(
                    "{message}. Another operator proposes; look at your beacon node's fee recipient and version"
                ));
                told.events.push(Event::Notice { message });
            }
            Report::Confirmed => {
                told.events.push(Event::Confirmed);
                self.start = self.start.map(|start| Start {
                    first_target: 0,
                    ..start
                });
                told.say(
                    "All other operators confirm that nothing newer was signed here: signing from now on.",
                );
            }
        }
    }

    fn misbehaviour(&mut self, told: &mut Told, deed: &Misbehaviour) {
        let operator = deed.operator();
        let (kind, what) = match deed {
            Misbehaviour::TwoVotes(..) => ("TwoVotes", "voted for two things in one step of an agreement"),
            Misbehaviour::TwoProposals(..) => {
                ("TwoProposals", "proposed two things in one round of an agreement")
            }
            Misbehaviour::Forgery { .. } => ("Forgery", "sent what no correct program sends or passes on"),
        };
        let Some(times) = self.once_in_a_while(operator, kind) else {
            return;
        };
        if operator == self.me {
            let what = format!("your own key {what}{times}");
            let advice =
                "Another process works with your identity: stop it, and find out where the copy came from";
            return self.fault(told, operator, kind, what, advice);
        }
        let advice = match deed {
            Misbehaviour::Forgery { .. } => {
                "It is not listened to for that; compare versions with its operator"
            }
            _ => {
                "Both are signed by its key: it runs twice, or its program was changed. The validator goes on; tell its operator"
            }
        };
        self.fault(
            told,
            operator,
            kind,
            format!("{} {what}{times}", self.name(operator)),
            advice,
        );
    }

    fn fault(&self, told: &mut Told, operator: u16, kind: &'static str, what: String, advice: &str) {
        told.warn(format!("{what}. {advice}"));
        told.events.push(Event::Fault {
            who: self.who(operator),
            kind,
            message: what,
        });
    }
}

/// The slashing protection fails, or works again.
fn guard(told: &mut Told, trouble: Option<String>) {
    let message = match trouble {
        Some(trouble) => {
            let message = format!("the slashing protection fails: {}", printable(&trouble));
            told.warn(&message);
            message
        }
        None => {
            let message = "The slashing protection works again";
            told.say(format!("{message}."));
            message.to_owned()
        }
    };
    told.events.push(Event::Notice { message });
}

fn refused(name: &str, why: &Refusal) -> String {
    match why {
        Refusal::Protocol { speaks, software } => format!(
            "{name} was reached but speaks another protocol ({}; {}): it may be in a ceremony, or have another version. Use \
             the same one",
            printable(&speaks.join(", ")),
            printable(software)
        ),
        Refusal::Unwelcome => format!(
            "{name} was reached but does not let you in: its lock probably does not name your identity. Compare lock hashes"
        ),
        Refusal::Silent => {
            format!(
                "{name} was reached but says nothing: it may be starting, or another program answers there"
            )
        }
    }
}

/// The state of a beacon node for programs.
fn state(state: &State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Optimistic => "optimistic",
        State::Syncing(_) => "syncing",
        State::Unknown => "unknown",
        State::Down(_) => "down",
        State::WrongNetwork(_) => "wrong_network",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        p2p::events::Reason,
        validator::{
            beacon::http::{Address, ErrorKind, NodeError},
            chain::spec::{Genesis, Spec},
            duty::{Duty, Kind, Purpose},
        },
    };

    fn watcher() -> Watcher {
        let names = ["alice", "bob", "carol", "da\u{1b}ve"]
            .map(str::to_owned)
            .to_vec();
        let mut watcher = Watcher::new(&names, 1, 3, None, false);
        watcher.time = Some(Time {
            genesis_ms: 1_000_000,
            slot_ms: 12_000,
            slots_per_epoch: 32,
        });
        watcher
    }

    fn text(told: &Told) -> String {
        let lines = told.lines.iter().map(|line| match line {
            Line::Say(text) => text.clone(),
            Line::Warn(text) => format!("! {text}"),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn json(told: &Told) -> String {
        let events = told
            .events
            .iter()
            .map(|event| serde_json::to_string(event).unwrap());
        events.collect::<Vec<_>>().join("\n")
    }

    fn network(watcher: &mut Watcher, event: NetEvent<()>) -> Told {
        watcher.told(News::Network(event), 0)
    }

    fn decided(watcher: &mut Watcher, slot: u64, round: u8) -> Told {
        let report = Report::Decided {
            duty: Duty {
                slot,
                kind: Kind::Head,
            },
            round,
            after_due_ms: 15,
            voters: [1, 2, 3].into(),
        };
        watcher.told(News::Report(report), 0)
    }

    fn made(watcher: &mut Watcher, slot: u64, purpose: Purpose) -> Told {
        let report = Report::Made {
            purpose,
            slot,
            validators: [0, 4].into(),
            after_due_ms: 28,
            contributors: [1, 2, 3].into(),
        };
        watcher.told(News::Report(report), 0)
    }

    #[test]
    fn who_comes_and_goes_is_named_and_counted() {
        let mut watcher = watcher();
        let told = network(&mut watcher, NetEvent::Connected { operator: 2 });
        assert_eq!(
            text(&told),
            "bob is here: 2 of 4 operators are here, and 3 must be: nothing is signed."
        );
        assert_eq!(
            json(&told),
            r#"{"event":"connected","operator":2,"name":"bob","connected":1}"#
        );
        let told = network(&mut watcher, NetEvent::Connected { operator: 4 });
        assert_eq!(
            text(&told),
            "da\u{fffd}ve is here: 3 of 4 operators are here, enough to sign."
        );
        let gone = NetEvent::Disconnected {
            operator: 2,
            reason: Reason::Fault("it has another lock".to_owned()),
        };
        let told = network(&mut watcher, gone);
        assert!(
            text(&told).starts_with("! bob is gone (it has another lock): 2 of 4"),
            "{told:?}"
        );
        assert!(
            json(&told).contains(r#""reason":"it has another lock""#),
            "{told:?}"
        );
    }

    fn account(purpose: Purpose, partials: &[u16]) -> Account {
        Account {
            purpose,
            validators: [0, 4].into(),
            decision: Some(Decision {
                round: 0,
                after_due_ms: 15,
            }),
            voters: [1, 2, 3].into(),
            unanswered: false,
            signed: [0, 4].into(),
            signed_after_ms: Some(28),
            partials: partials.iter().copied().collect(),
        }
    }

    fn over(watcher: &mut Watcher, slot: u64, away: &[u16], duties: Vec<Account>) -> Told {
        let away = away.iter().copied().collect();
        watcher.told(News::Report(Report::Over { slot, away, duties }), 0)
    }

    #[test]
    fn agreements_and_signatures_are_told_to_programs_at_once() {
        let mut watcher = watcher();
        let told = decided(&mut watcher, 40, 0);
        assert_eq!(text(&told), "");
        assert_eq!(
            json(&told),
            r#"{"event":"agreed","slot":40,"kind":"head","round":0,"after_due_ms":15,"voters":[1,2,3]}"#
        );
        let told = made(&mut watcher, 40, Purpose::Attestation);
        assert_eq!(text(&told), "");
        assert_eq!(
            json(&told),
            r#"{"event":"signed","slot":40,"purpose":"attestation","validators":[0,4],"after_due_ms":28,"contributors":[1,2,3]}"#
        );
    }

    #[test]
    fn a_duty_is_one_line_that_names_who_was_missing() {
        let mut watcher = watcher();
        let told = over(
            &mut watcher,
            40,
            &[4],
            vec![account(Purpose::Attestation, &[1, 3])],
        );
        assert_eq!(
            text(&told),
            "slot 40: attestation of 2 validators: agreed after 15 ms, signed after 28 ms by alice, carol; missing: bob, \
             da\u{fffd}ve (not connected)"
        );
        assert_eq!(
            json(&told),
            r#"{"event":"over","slot":40,"away":[4],"duties":[{"purpose":"attestation","validators":[0,4],"round":0,"agreed_after_ms":15,"voters":[1,2,3],"unanswered":false,"signed":[0,4],"signed_after_ms":28,"contributors":[1,3]}]}"#
        );
        let mut late = account(Purpose::SyncMessage, &[1, 2, 3, 4]);
        late.decision = Some(Decision {
            round: 2,
            after_due_ms: 600,
        });
        late.validators = [0].into();
        late.signed = [0].into();
        assert_eq!(
            text(&over(&mut watcher, 41, &[], vec![late])),
            "slot 41: sync committee message of 1 validator: agreed after 600 ms in round 2, signed after 28 ms by all 4 \
             operators"
        );
    }

    #[test]
    fn a_duty_that_failed_is_one_line_with_the_reason_unless_this_node_still_waits() {
        let mut watcher = watcher();
        watcher.start = Some(Start {
            first_slot: 33,
            first_target: 2,
        });
        let undecided = |purpose, unanswered| Account {
            decision: None,
            voters: [1, 3].into(),
            unanswered,
            signed: BTreeSet::new(),
            signed_after_ms: None,
            ..account(purpose, &[])
        };
        let both = |unanswered| {
            vec![
                undecided(Purpose::Attestation, unanswered),
                undecided(Purpose::SyncMessage, unanswered),
            ]
        };
        let told = over(&mut watcher, 70, &[2], both(false));
        assert_eq!(
            text(&told),
            "! slot 70: missed: attestation of 2 validators, sync committee message of 2 validators: not agreed on; missing: \
             bob (not connected), da\u{fffd}ve. Ask the others what their machines and beacon nodes say"
        );
        assert!(json(&told).contains(
            r#""validators":[0,4],"voters":[1,3],"unanswered":false,"signed":[],"contributors":[]"#
        ));
        let told = over(&mut watcher, 71, &[], both(true));
        assert!(
            text(&told).contains("not agreed on, and your own beacon node had no answer; missing"),
            "{told:?}"
        );
        // One of two validators: the other's record forbade it.
        let mut half = account(Purpose::Attestation, &[1, 3]);
        half.signed = [4].into();
        let told = over(&mut watcher, 72, &[], vec![half.clone()]);
        assert!(
            text(&told).contains("slot 72: attestation of 1 validator: agreed")
                && text(&told).contains(
                    "! slot 72: missed: attestation of 1 validator: agreed after 15 ms, and 2 of 3 operators who must sign \
                     did; missing: bob, da\u{fffd}ve."
                ),
            "{told:?}"
        );
        // Those who wait know why.
        let told = over(&mut watcher, 63, &[], both(true));
        assert_eq!((text(&told).as_str(), told.events.len()), ("", 1));
    }

    #[test]
    fn waiting_is_said_once_and_then_on_change() {
        let mut watcher = watcher();
        let mut wait = |why: &str| watcher.told(News::WaitingForBeaconNode(why.to_owned()), 0);
        assert!(text(&wait("refused")).starts_with("Waiting for a beacon node (refused)"));
        assert_eq!(wait("refused").lines, []);
        assert!(text(&wait("syncing")).starts_with("Still waiting"));
    }

    #[test]
    fn a_beacon_node_is_named_when_its_state_changes() {
        let mut watcher = watcher();
        let name = Address::new("http://user:secret@localhost:5052", None)
            .and_then(crate::validator::beacon::http::Node::new)
            .unwrap()
            .name()
            .to_owned();
        let mut tell = |state| {
            watcher.told(
                News::BeaconNodes(vec![Health {
                    name: name.clone(),
                    state,
                    version: "Teku".to_owned(),
                    head_slot: 7,
                    latency: std::time::Duration::ZERO,
                    trouble: None,
                }]),
                0,
            )
        };
        let told = tell(State::Ready);
        assert!(text(&told).contains("(Teku): ready."), "{told:?}");
        assert!(!text(&told).contains("secret"), "{told:?}");
        assert_eq!(tell(State::Ready).lines, []);
        assert!(text(&tell(State::Syncing(40))).starts_with("! Beacon node"));
        assert_eq!(tell(State::Syncing(41)).lines, []);
    }

    #[test]
    fn a_beacon_node_that_fails_some_requests_is_told_of_when_it_begins_and_when_it_ends() {
        let mut watcher = watcher();
        let mut tell = |trouble: bool| {
            let error = NodeError {
                node: "http://localhost:5052".to_owned(),
                request: "attestation data",
                kind: ErrorKind::Status {
                    status: 500,
                    message: "internal".to_owned(),
                    failures: Vec::new(),
                },
            };
            let health = Health {
                name: "http://localhost:5052".to_owned(),
                state: State::Ready,
                version: "Teku".to_owned(),
                head_slot: 7,
                latency: std::time::Duration::ZERO,
                trouble: trouble.then_some(error),
            };
            watcher.told(News::BeaconNodes(vec![health]), 0)
        };
        tell(false);
        let told = tell(true);
        assert!(
            text(&told).starts_with(
                "! Beacon node http://localhost:5052 fails again and again when asked for attestation data: it answers HTTP \
                 500: internal"
            ),
            "{told:?}"
        );
        assert!(json(&told).contains(r#""event":"notice""#), "{told:?}");
        assert_eq!(tell(true).lines, []);
        assert!(text(&tell(false)).contains("answers all requests again"));
        assert_eq!(tell(false).lines, []);
    }

    #[test]
    fn a_fork_that_nobody_here_knows_is_announced_at_the_start() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/vectors/beacon/spec-mainnet.json"
        );
        let mut answer: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let data = answer["data"].as_object_mut().unwrap();
        data.insert("EIP9999_FORK_EPOCH".to_owned(), "100".into());
        let spec = Spec::from_json(&serde_json::to_vec(&answer).unwrap()).unwrap();
        let genesis = Genesis {
            time: 1000,
            validators_root: [1; 32],
            fork_version: spec.genesis_fork_version,
        };
        let chain = Arc::new(Chain::new(spec, genesis).unwrap());
        let told = watcher().told(News::Chain(chain.clone()), 1_000_000);
        assert!(
            text(&told).contains("! the fork eip9999 comes at epoch 100, in "),
            "{told:?}"
        );
        assert!(json(&told).contains(r#"{"event":"unknown_fork","name":"eip9999","epoch":100}"#));
        let late = chain.time().start_of_epoch(100);
        let told = watcher().told(News::Chain(chain), late);
        assert!(
            text(&told).contains("nothing is signed. Update conclave"),
            "{told:?}"
        );
    }

    #[test]
    fn an_unknown_fork_is_told_of_once_a_day_and_when_it_comes_into_force() {
        let mut watcher = watcher();
        let begins = watcher.time.unwrap().start_of_epoch(100);
        let mut lines = |now_ms: u64| {
            let news = News::UnknownFork {
                name: "eip9999".to_owned(),
                epoch: 100,
            };
            text(&watcher.told(news, now_ms))
        };
        assert!(lines(begins - 5 * 384_000).starts_with("! the fork eip9999 comes at epoch 100, in "));
        assert_eq!(lines(begins - 384_000), "");
        assert!(lines(begins).starts_with("! the fork eip9999 is in force since epoch 100"));
        assert_eq!(lines(begins + 384_000), "");
        assert!(lines(begins + DAY_MS).contains("is in force since"));
    }

    #[test]
    fn a_disk_that_fails_is_told_of_when_it_begins_and_when_it_ends() {
        let mut watcher = watcher();
        let told = watcher.told(News::Guard(Some("it cannot be\u{1b} written".to_owned())), 0);
        assert_eq!(
            text(&told),
            "! the slashing protection fails: it cannot be\u{fffd} written"
        );
        assert!(json(&told).contains(r#""event":"notice""#), "{told:?}");
        let told = watcher.told(News::Guard(None), 0);
        assert_eq!(text(&told), "The slashing protection works again.");
    }

    #[test]
    fn misdeeds_have_a_name_and_are_not_repeated_for_ever() {
        let mut watcher = watcher();
        let mut lines = 0;
        for _ in 0..100 {
            let told = watcher.told(
                News::Report(Report::Misbehaviour(Misbehaviour::Forgery { sender: 3 })),
                0,
            );
            lines += told.lines.len();
        }
        assert_eq!(lines, 7);
        let fault = Report::Fault {
            operator: 2,
            what: "its partial signature of the attestation of slot 5 is wrong".to_owned(),
        };
        let told = watcher.told(News::Report(fault), 0);
        assert!(
            text(&told).starts_with("! bob: its partial signature"),
            "{told:?}"
        );
        assert!(json(&told).contains(r#""event":"fault","operator":2,"name":"bob","kind":"Fault""#));
    }
}
