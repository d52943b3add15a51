//! Beacon nodes and their chain.

use crate::cli::{news::Event, output::printable};
use conclave_beacon::{
    chain::spec::Chain,
    nodes::{Health, State},
};
use conclave_monitor::overview::words::{UNSIGNED_FORK, fails, parts, silent, span};

use super::{Told, Watcher};

/// A day in milliseconds.
pub(super) const DAY_MS: u64 = 86_400_000;

impl Watcher {
    pub(super) fn waits(&mut self, told: &mut Told, why: String) {
        if self.waiting.as_ref() == Some(&why) {
            return;
        }
        let why_shown = printable(&why);
        told.say(if self.waiting.is_none() {
            format!(
                "Waiting for a beacon node ({why_shown}). It is asked every two seconds, or less often if it wants that."
            )
        } else {
            format!("Still waiting for a beacon node ({why_shown}).")
        });
        told.events.push(Event::Waiting { why: why.clone() });
        self.waiting = Some(why);
    }

    pub(super) fn chain(&mut self, told: &mut Told, chain: &Chain, now_ms: u64) {
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
        let signed_nothing = self.never_signs(now_ms);
        match chain.spec.unknown_fork() {
            Some((name, epoch)) => self.unknown_fork(told, name, epoch, now_ms),
            None => {
                if let Some(((name, _, _), _)) = self.fork.take() {
                    let message = format!("The fork {} is not in the way any more", printable(&name));
                    told.say(format!("{message}: your beacon nodes do not schedule it now."));
                    told.events.push(Event::Notice { message });
                }
            }
        }
        // What was said of a fork does not hold any more.
        if signed_nothing
            && !self.never_signs(now_ms)
            && let Some(start) = self.start
        {
            self.starts(told, start, now_ms);
        }
    }

    /// Said when it is new and when it comes into force; besides once a day.
    pub(super) fn unknown_fork(&mut self, told: &mut Told, name: &str, epoch: u64, now_ms: u64) {
        let begins = self.time.map_or(0, |time| time.start_of_epoch(epoch));
        let fork = (name.to_owned(), epoch, begins <= now_ms);
        if let Some((known, said_ms)) = &self.fork
            && *known == fork
            && now_ms.saturating_sub(*said_ms) < DAY_MS
        {
            return;
        }
        self.fork = Some((fork, now_ms));
        let (why, todo) = UNSIGNED_FORK;
        told.events.push(Event::UnknownFork {
            name: name.to_owned(),
            epoch,
            advice: todo,
        });
        told.warn(if begins <= now_ms {
            format!(
                "the fork {name} is in force since epoch {epoch}, and {why}, so that nothing is signed: {todo}"
            )
        } else {
            format!(
                "the fork {name} comes at epoch {epoch}, in {}, and {why}, so that from then on nothing is signed: {todo} \
                 before",
                span(begins - now_ms)
            )
        });
    }

    pub(super) fn beacon_nodes(&mut self, told: &mut Told, health: Vec<Health>) {
        let had_none = self.has_no_nodes();
        for node in health {
            self.trouble(told, &node);
            self.parting(told, &node);
            let state = state(&node.state);
            let before = self.health.insert(node.name.clone(), state);
            // Optimistic for a moment at each block is nothing to talk about.
            if before == Some(state) {
                continue;
            }
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
            let advice = node.state.advice();
            match state {
                "ready" => told.say(format!("{line}.")),
                "unknown" => {}
                _ => told.warn(without_stop(&format!("{line}. {advice}"))),
            }
            told.events.push(Event::BeaconNode {
                name,
                state,
                message,
                advice: (!advice.is_empty()).then_some(advice),
                version,
                head_slot: node.head_slot,
            });
        }
        if self.has_no_nodes() && !had_none {
            told.notice(
                "no beacon node can be used: this machine takes part in what the others agree on, and submits nothing. A second one with \
                 another --beacon-node helps",
            );
        }
    }

    /// Whether there are beacon nodes, and none of them can be used.
    fn has_no_nodes(&self) -> bool {
        let useless = |state: &&str| matches!(*state, "down" | "wrong_network" | "other_schedule");
        !self.health.is_empty() && self.health.values().all(useless)
    }

    /// A node whose fork schedule is another one later: said when it begins, and when it has changed.
    fn parting(&mut self, told: &mut Told, node: &Health) {
        let before = match &node.parting {
            Some(parting) => self.partings.insert(node.name.clone(), parting.clone()),
            None => self.partings.remove(&node.name),
        };
        let Some(parting) = node
            .parting
            .as_ref()
            .filter(|parting| before.as_ref() != Some(*parting))
        else {
            return;
        };
        let message = format!(
            "Beacon node {} {}",
            printable(&node.name),
            printable(&parts(parting))
        );
        told.notice(message);
    }

    /// A node that calls itself well and fails some requests, or tells of no blocks by itself; one that is down has its own line.
    fn trouble(&mut self, told: &mut Told, node: &Health) {
        if node.state.is_useless() {
            return;
        }
        let name = printable(&node.name);
        let kinds = [
            (
                node.trouble.as_ref().map(fails),
                &mut self.troubled,
                "answers all requests again",
                " Until then duties depend on your other beacon nodes and on the other operators",
            ),
            (
                node.silent.as_ref().map(silent),
                &mut self.silent,
                "tells of new blocks again",
                "",
            ),
        ];
        for (what, known, over, means) in kinds {
            match what {
                Some((what, advice)) if known.insert(node.name.clone()) => {
                    told.notice(without_stop(&format!(
                        "Beacon node {name} {}. {advice}{means}",
                        printable(&what)
                    )));
                }
                None if known.remove(&node.name) => {
                    let message = format!("Beacon node {name} {over}");
                    told.say(format!("{message}."));
                    told.events.push(Event::Notice { message });
                }
                _ => {}
            }
        }
    }
}

/// What is looked after ends without a full stop.
fn without_stop(text: &str) -> String {
    text.trim_end_matches('.').to_owned()
}

/// The state of a beacon node for programs.
fn state(state: &State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::Optimistic => "optimistic",
        State::Syncing(_) => "syncing",
        State::Stalled(_) => "stalled",
        State::Unknown => "unknown",
        State::Down(_) => "down",
        State::WrongNetwork(_) => "wrong_network",
        State::OtherSchedule(_) => "other_schedule",
    }
}
