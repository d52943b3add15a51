//! What a running node says: each thing once, in words that tell what happened, to whom, and what to do about it.
//!
//! [`Watcher::told`] is pure: news and a time in, events and lines out.
//!
//! | Module | What is told |
//! |---|---|
//! | `beacon` | of beacon nodes and their chain |
//! | `duties` | what became of a slot's duties |
//! | `network` | who is here, and how |
//! | `reports` | what the core reports |

mod beacon;
mod duties;
mod network;
mod reports;
mod standing;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use libp2p::{Multiaddr, PeerId};

use standing::Leaving;

use conclave_beacon::chain::spec::Parting;
use conclave_eth::{chain::time::Time, duty::Purpose};
use conclave_monitor::overview::words::{span, stood_still};
use conclave_slashing::{Mark, Start};
use conclave_validator::node::{ExitNews, News};
use conclave_validator::observed::Dissenter;

use super::{
    exit_news,
    flapping::Flapping,
    live::Live,
    news::{Event, Who},
    output::{Output, printable},
};

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

    /// A warning that has no event of its own: a program gets the same words.
    fn notice(&mut self, text: impl Into<String>) {
        let message = text.into();
        self.warn(message.clone());
        self.events.push(Event::Notice { message });
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
    /// It only watches: nothing is ever signed.
    dry_run: bool,
    time: Option<Time>,
    start: Option<Start>,
    /// What was imported from other software was not whole.
    partial_history: bool,
    waiting: Option<String>,
    /// A fork that this version does not know, whether it was in force, and when that was said.
    fork: Option<((String, u64, bool), u64)>,
    health: BTreeMap<String, &'static str>,
    listening: BTreeSet<Multiaddr>,
    /// The others.
    connected: BTreeSet<u16>,
    flapping: Flapping,
    /// Beacon nodes that fail some requests.
    troubled: BTreeSet<String>,
    /// Beacon nodes that tell of no new blocks by themselves.
    silent: BTreeSet<String>,
    /// Beacon nodes whose fork schedule is another one later.
    partings: BTreeMap<String, Parting>,
    /// What the own beacon nodes do not take, and of which slot that was told last.
    not_taken: BTreeMap<Purpose, u64>,
    /// Beacon nodes that say something else of our validators than what counts.
    dissent: Vec<Dissenter>,
    /// Of each validator whether it was slashed, and how far it has left.
    standing: BTreeMap<u32, (bool, Leaving)>,
    /// Why there is nothing to sign, if that was told.
    nothing_to_sign: Option<&'static str>,
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
            dry_run: false,
            time: None,
            start: None,
            partial_history: false,
            waiting: None,
            fork: None,
            health: BTreeMap::new(),
            listening: BTreeSet::new(),
            connected: BTreeSet::new(),
            flapping: Flapping::default(),
            troubled: BTreeSet::new(),
            silent: BTreeSet::new(),
            partings: BTreeMap::new(),
            not_taken: BTreeMap::new(),
            dissent: Vec::new(),
            standing: BTreeMap::new(),
            nothing_to_sign: None,
            repeated: BTreeMap::new(),
        }
    }

    /// The same of a dry run, if it is one.
    pub(super) fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
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
        for operator in self.flapping.settled(now_ms) {
            self.here_or_gone(&mut told, operator);
        }
        match news {
            News::WaitingForBeaconNode(why) => self.waits(&mut told, why),
            News::Chain(chain) => self.chain(&mut told, &chain, now_ms),
            News::BeaconNodes(health) => self.beacon_nodes(&mut told, health),
            News::Starts(start) => self.starts(&mut told, start, now_ms),
            News::ClockJumped { by_ms } => {
                let by = span(by_ms.unsigned_abs());
                let (what, advice) = if by_ms < 0 {
                    (
                        format!("the clock jumped back by {by}"),
                        "See to its time synchronisation",
                    )
                } else {
                    (
                        format!("the clock jumped ahead by {by}, or this machine slept that long"),
                        "If nobody suspended it, see to its time synchronisation",
                    )
                };
                told.warn(format!("{what}: that counts as a start. {advice}"));
                told.events.push(Event::ClockJumped {
                    by_ms,
                    advice: advice.to_owned(),
                });
            }
            News::StoodStill(standstill) => {
                told.events.push(Event::StoodStill {
                    from_ms: standstill.from_ms,
                    ms: standstill.ms(),
                });
                told.warn(stood_still(standstill, self.time));
            }
            News::Stopping { slot, left_ms } => {
                told.events.push(Event::Stopping { slot });
                told.say(format!(
                    "Stopping at the end of slot {slot}, in {}. Ctrl-C again stops at once.",
                    span(left_ms)
                ));
            }
            News::Exit(news) => self.exit(&mut told, news),
            News::NoControl(why) => told.notice(format!(
                "other commands cannot talk to this process ({}): it validates all the same. Keep the folder on a local \
                 disk",
                printable(&why)
            )),
            News::UnknownFork { name, epoch } => self.unknown_fork(&mut told, &printable(&name), epoch, now_ms),
            News::Guard(trouble) => guard(&mut told, trouble),
            News::Submitted {
                purpose,
                slot,
                count,
                delivery,
            } => self.submitted(&mut told, purpose, slot, count, delivery),
            News::Marked(mark) => self.partial_history = mark == Some(Mark::PartialImport),
            // Seen in the overview; that it has stopped is said at the end of the command.
            News::Validators(seen) => self.validators(&mut told, &seen),
            News::Dissent(dissent) => self.dissent(&mut told, dissent),
            News::Slot(_)
            | News::ExitsStand { .. }
            | News::Peers(_)
            | News::Votes(_)
            | News::Stopped(_) => {}
            News::Network(event) => self.network(&mut told, event, now_ms),
            News::Report(report) => self.report(&mut told, report, now_ms),
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

    /// Whether it was said that nothing will be signed by this start, or no attestation: for a dry run, or for a fork that comes
    /// first.
    fn never_signs(&self, now_ms: u64) -> bool {
        let epoch = self.time.and_then(|time| time.epoch_at(now_ms)).unwrap_or(0);
        let attests_from = self.start.map_or(0, |start| start.first_target).max(epoch);
        let fork = self.fork.as_ref().map(|((_, epoch, _), _)| *epoch);
        self.dry_run || fork.is_some_and(|epoch| epoch <= attests_from)
    }

    fn starts(&mut self, told: &mut Told, start: Start, now_ms: u64) {
        let again = self.start.replace(start).is_some();
        if start == Start::NEVER {
            // What it waits for is told as others come and go.
            return;
        }
        if self.never_signs(now_ms) {
            return;
        }
        told.events.push(Event::SignsFrom {
            slot: start.first_slot,
            epoch: start.first_target,
        });
        let wait = self.time.map_or(0, |time| {
            time.start_of_epoch(start.first_target).saturating_sub(now_ms)
        });
        // Of a later start it was said how many are here, and that these are too few.
        let few = if again && self.here() < usize::from(self.threshold) {
            format!(
                " {} of {} operators must be here for that.",
                self.threshold,
                self.names.len()
            )
        } else {
            String::new()
        };
        let begun = self.time.and_then(|time| time.slot_at(now_ms)) >= Some(start.first_slot);
        told.say(if wait == 0 && begun {
            format!("Signs from now on.{few}")
        } else if wait == 0 {
            format!(
                "Signs from slot {} on, attestations from epoch {} on.{few}",
                start.first_slot, start.first_target
            )
        } else if self.partial_history {
            format!(
                "Signs from slot {} on, attestations from epoch {} on, in {} (a safety wait, because the imported history was \
                 not complete).{few}",
                start.first_slot,
                start.first_target,
                span(wait)
            )
        } else {
            format!(
                "Signs from slot {} on, attestations from epoch {} on, in {} (a safety wait), or as soon as all other operators \
                 confirm that this machine has forgotten nothing that it signed.{few}",
                start.first_slot,
                start.first_target,
                span(wait)
            )
        });
    }
}

/// The slashing protection fails, or works again.
fn guard(told: &mut Told, trouble: Option<String>) {
    if let Some(trouble) = trouble {
        told.notice(format!("the slashing protection fails: {}", printable(&trouble)));
    } else {
        let message = "The slashing protection works again";
        told.say(format!("{message}."));
        told.events.push(Event::Notice {
            message: message.to_owned(),
        });
    }
}
