//! What the network says, and what synchronisation makes of it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Instant;

use crate::addresses;
use crate::backups;
use crate::problem::Problem;
use crate::progress::{Event, Unreachable};

use crate::sync::{Difference, Output};
use crate::twins::Twin;
use crate::wire::{Message, PROTOCOL, Verdict};
use conclave_cluster::definition::Definition;
use conclave_dkg::board::Slot;
use conclave_dkg::entry::{Entry, Id, Step};
use conclave_dkg::evidence::Evidence;
use conclave_net::events::{Event as NetEvent, Reason as Gone, Refusal};
use conclave_net::node::Command;
use conclave_net::protocol::RUN;

use super::obstacles::Kind as Obstacle;
use super::{Conductor, GATHERING, view};

/// An entry that arrived: from whom, what, and its id.
pub(super) type Arrived = (u16, Entry, Id);

impl Conductor<'_> {
    pub(super) fn network(&mut self, event: NetEvent<Message>) -> Result<(), Problem> {
        match event {
            NetEvent::Listening(address) => {
                self.listening.insert(address);
                self.listening_changed = Some(Instant::now());
            }
            NetEvent::ListenerLost(why) => self.notice(format!("an address is no longer listened on: {why}")),
            NetEvent::Connected { operator } => {
                self.connected.insert(operator);
                self.validating.remove(&operator);
                self.obstacles.connected(operator);
                self.visits.came(operator);
                let outputs = self.sync.connected(operator);
                self.outputs(outputs)?;
            }
            NetEvent::Disconnected { operator, reason } => {
                self.connected.remove(&operator);
                if reason == Gone::Left {
                    self.doubles.left(operator);
                    self.visits.left(operator);
                }
                if let Gone::Fault(why) = &reason {
                        let name = self.name(operator);
                        self.notice(format!("{name} was disconnected: {why}; it may come back"));
                }
                let outputs = if reason == Gone::Replaced {
                    self.sync.replaced(operator, &view(&self.operator))
                } else {
                    self.sync.disconnected(operator, &view(&self.operator))
                };
                self.outputs(outputs)?;
            }
            NetEvent::Message { operator, message } => {
                let outputs = self.sync.message(operator, message, &view(&self.operator));
                self.outputs(outputs)?;
            }
            NetEvent::Latency { .. } | NetEvent::Path { .. } => {}
            NetEvent::Stranger { peer, address, .. } => self.notice(format!(
                "somebody who is not an operator of this definition was turned away: {peer} at {address}. If it is one of you, \
                 its identity is not the one in the definition"
            )),
            NetEvent::Refused { operator, why } => {
                let name = self.name(operator);
                if is_validating(&why) {
                    self.validating.insert(operator);
                } else {
                    self.validating.remove(&operator);
                }
                let (message, todo) = refused(&name, &why, self.has());
                self.obstacles
                    .met((Obstacle::Refused, Some(operator), ""), &message, &todo, Instant::now());
                self.notice(message);
            }
            NetEvent::Unreachable(told) => {
                let is_own = told.why == conclave_net::events::Obstacle::Myself;
                // It may have other addresses, at which it was found to run `conclave run`: only who is met there says that this has changed.
                let told = Unreachable::new(&told, |operator| self.name(operator));
                let todo = match (&told.name, &told.was_here_until) {
                    (Some(name), Some(_)) => format!(
                        "ask {name} to start conclave again, and run the same command again then: it goes on where it was"
                    ),
                    _ => "run the same command again when the others are there and their addresses are right (--peer): it goes on where it was"
                        .to_owned(),
                };
                let kind = if is_own { Obstacle::Own } else { Obstacle::Unreached };
                let whose = (kind, told.operator, told.address.as_str());
                self.obstacles.met(whose, &told.message, &todo, Instant::now());
                (self.person.show)(Event::Unreachable(told));
            }
            NetEvent::AddressBook(book) => addresses::save(&self.folder, &book)?,
        }
        Ok(())
    }

    pub(super) fn outputs(&mut self, outputs: Vec<Output>) -> Result<(), Problem> {
        let mut queue: VecDeque<Output> = outputs.into();
        while let Some(output) = queue.pop_front() {
            match output {
                Output::Send(operator, message) => self.give(Command::Send { operator, message }),
                Output::EntryReceived {
                    operator,
                    item,
                    bytes,
                } => {
                    let entry = Entry::decode(&self.terms, &bytes)
                        .ok()
                        .filter(|e| e.id(&self.terms) == item.id);
                    if let Some(entry) = entry {
                        self.arrived.push((operator, entry, item.id));
                    } else {
                        let why = "it sent something that is no entry of this ceremony".to_owned();
                        self.give(Command::Misbehaved { operator, why });
                        queue.extend(self.sync.processed(operator, &item.id, &view(&self.operator)));
                    }
                }
                Output::EvidenceReceived {
                    operator,
                    verdict,
                    bytes,
                } => self.take_evidence(operator, verdict, &bytes)?,
                Output::Compared(operator) => {
                    self.obstacles.agrees(operator);
                    let effects = self.operator.compared();
                    self.carry_out(effects)?;
                }
                Output::Difference(operator, difference) => self.explain(operator, &difference),
                Output::Twin(operator, twin) => self.meet_twin(operator, twin),
                Output::Misbehaved(operator, fault) => {
                    self.give(Command::Misbehaved {
                        operator,
                        why: fault.to_string(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Evidence is taken if it proves what it claims; who sends something else under a new claim breaks the rules.
    fn take_evidence(&mut self, operator: u16, claim: Verdict, bytes: &[u8]) -> Result<(), Problem> {
        let evidence = Evidence::decode(&self.terms, bytes).filter(|e| {
            (e.attempt, e.finding.operator, e.finding.kind as u8)
                == (claim.attempt, claim.operator, claim.kind)
        });
        let right = match evidence {
            None => false,
            Some(evidence) if evidence.attempt > view(&self.operator).horizon => return Ok(()),
            Some(evidence) => {
                let (attempt, finding) = (evidence.attempt, evidence.finding);
                let effects = self.operator.receive_evidence(evidence);
                self.carry_out(effects)?;
                self.operator.board().evidence(attempt, finding).is_some()
            }
        };
        if !right {
            let why = "it sent evidence that proves nothing".to_owned();
            self.give(Command::Misbehaved { operator, why });
        }
        Ok(())
    }

    /// What this folder has of a ceremony that is over for somebody else.
    fn has(&self) -> Has {
        if self.operator.published_attempt().is_some() {
            Has::Everything
        } else if self.operator.standing().voted.is_empty() {
            Has::Nothing
        } else {
            Has::Shares
        }
    }

    /// One identity is used by two processes.
    fn meet_twin(&mut self, operator: u16, twin: Twin) {
        let name = self.name(operator);
        // What one is not sure of may be a process before a crash: no reason to stop, but one not to end what others go on with.
        if twin.own {
            self.twin = Some(name.clone());
        } else {
            self.doubles.meet(operator, twin.sure, Instant::now());
        }
        let message = match (twin.own, twin.sure) {
            (true, true) => format!(
                "your identity runs twice: {name} is connected in turns with this process and with another one that has your identity. \
                 Find the other one (a copy of this folder, on this machine or elsewhere) and stop one of the two: one identity must \
                 never run twice"
            ),
            (true, false) => format!(
                "your identity may run twice: for {name} another process that has your identity still seemed to be there when this one \
                 came. If that was not this one before a crash, find it (a copy of this folder, on this machine or elsewhere) and stop \
                 one of the two: one identity must never run twice"
            ),
            (false, true) => format!(
                "{name} runs twice: two processes with its identity connect in turns. Tell {name} to find the other one (a copy of its \
                 folder) and to stop one of the two: one identity must never run twice"
            ),
            (false, false) => format!(
                "{name} may run twice: a second process with its identity connected while the first still seemed to be \
                 there. If it was not started anew after a crash, tell {name} to find the other one (a copy of its folder) and to stop one of the two: one \
                 identity must never run twice"
            ),
        };
        let todo = if twin.own {
            "find the other process with your identity and stop one of the two; then run the same command again".to_owned()
        } else {
            format!(
                "{name} has to find the other process with its identity and stop one of the two; then run the same command again"
            )
        };
        let whose = if twin.own { self.operator.index() } else { operator };
        self.obstacles
            .met((Obstacle::Twin, Some(whose), ""), &message, &todo, Instant::now());
        self.notice(message);
    }

    /// Two operators hold different ceremonies: says what differs, first the hashes that people compare, then in words.
    pub(super) fn explain(&mut self, operator: u16, difference: &Difference) {
        let name = self.name(operator);
        let own_hash = hex::encode(self.terms.definition_hash());
        match difference {
            Difference::Hello(hello) => {
                if hello.definition_hash != *self.terms.definition_hash() {
                    let what = format!(
                        "{name} has another definition: 0x{}, yours is 0x{own_hash}",
                        hex::encode(hello.definition_hash)
                    );
                    let todo = format!(
                        "ask everybody for the hash. Whoever has the wrong one: stop, {}",
                        backups::START_ANEW
                    );
                    self.meet_apart(operator, &what, &todo);
                }
                let mut parts = Vec::new();
                if hello.protocol != PROTOCOL {
                    parts.push(format!(
                        "it speaks version {} of the protocol, you speak {PROTOCOL}: use the same version of conclave",
                        hello.protocol
                    ));
                }
                if hello.genesis_fork_version != self.network.genesis_fork_version {
                    parts.push(format!(
                        "its network's genesis fork version is 0x{}, yours 0x{}",
                        hex::encode(hello.genesis_fork_version),
                        hex::encode(self.network.genesis_fork_version)
                    ));
                }
                if hello.genesis_time != self.network.genesis_time {
                    parts.push(format!(
                        "its network's genesis time is {}, yours {}",
                        hello.genesis_time, self.network.genesis_time
                    ));
                }
                if hello.chain_id != self.network.chain_id {
                    parts.push(format!(
                        "its chain id is {}, yours {}",
                        hello.chain_id, self.network.chain_id
                    ));
                }
                if !parts.is_empty() {
                    let what = format!("{name} holds another ceremony: {}", parts.join("; "));
                    let todo = format!(
                        "compare what you started with. Whoever has the wrong file: stop, {}",
                        backups::START_ANEW
                    );
                    self.meet_apart(operator, &what, &todo);
                }
            }
            Difference::Definition(bytes) => {
                let what = match Definition::from_json(bytes) {
                    Err(error) => format!("cannot be read: {error}"),
                    Ok(theirs) => self.definition.differences(&theirs).map_or_else(
                        || "differs from yours in signatures only".to_owned(),
                        |fields| format!("differs from yours: {fields}"),
                    ),
                };
                self.notice(format!("The definition of {name} {what}"));
            }
        }
    }

    /// Tells of an operator who holds something else, once; and at the end, if that has not changed.
    fn meet_apart(&mut self, operator: u16, what: &str, todo: &str) {
        let name = self.name(operator);
        self.obstacles
            .met((Obstacle::Apart, Some(operator), ""), what, todo, Instant::now());
        self.notice(format!(
            "{what}. Nothing is exchanged with {name}. What to do: {todo}"
        ));
    }

    /// Judges what arrived together, then lets synchronisation go on.
    pub(super) fn judge(&mut self) -> Result<(), Problem> {
        loop {
            let arrived = self.ripe();
            if arrived.is_empty() {
                return Ok(());
            }
            let from: Vec<(u16, Id)> = arrived.iter().map(|(operator, _, id)| (*operator, *id)).collect();
            let entries = arrived.into_iter().map(|(_, entry, _)| entry).collect();
            let adopted = self.operator.adopted().count();
            let effects = self.operator.receive(entries);
            self.carry_out(effects)?;
            let published = self.operator.published_attempt();
            if let Some(k) = published.filter(|_| self.operator.adopted().count() > adopted) {
                self.distrust_if_old(k);
            }
            let missing: Vec<Id> = self.operator.board().missing().into_iter().collect();
            for (operator, id) in from {
                let outputs = self.sync.processed(operator, &id, &view(&self.operator));
                self.outputs(outputs)?;
                if !missing.is_empty() {
                    let outputs = self.sync.ask(operator, &missing);
                    self.outputs(outputs)?;
                }
            }
        }
    }

    /// What arrived and is to be judged now. Everybody signs the same messages, so the signatures of all operators cost little
    /// more to check together than those of one, and nothing comes of them until all are here: those that come first wait for the
    /// others', for a moment.
    fn ripe(&mut self) -> Vec<Arrived> {
        let arrived = std::mem::take(&mut self.arrived);
        let (signs, mut ripe): (Vec<_>, Vec<_>) = arrived
            .into_iter()
            .partition(|(_, entry, _)| entry.step == Step::Sign);
        let since = *self.gathering.get_or_insert_with(Instant::now);
        if since.elapsed() < GATHERING && !self.are_of_all(&signs) {
            self.arrived = signs;
        } else {
            ripe.extend(signs);
            self.gathering = None;
        }
        ripe
    }

    /// Whether these, with those that were judged before, are the signatures of all operators, or none.
    fn are_of_all(&self, signs: &[Arrived]) -> bool {
        let board = self.operator.board();
        let sessions: BTreeSet<_> = signs.iter().map(|(_, entry, _)| entry.session).collect();
        sessions.iter().all(|session| {
            let here = |j| {
                signs
                    .iter()
                    .any(|(_, entry, _)| entry.operator == j && entry.session == *session)
            };
            let judged = |j| !board.slot(session, j, Slot::Step(Step::Sign)).is_empty();
            self.terms.indices().all(|j| here(j) || judged(j))
        })
    }
}

/// What a folder has of a ceremony that is over for somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Has {
    /// Everything.
    Everything,
    /// Its shares, as it has confirmed: a lock is enough.
    Shares,
    /// Nothing that anybody could finish it with.
    Nothing,
}

/// Whether an operator runs `conclave run`, of any version.
fn is_validating(why: &Refusal) -> bool {
    matches!(why, Refusal::Protocol { speaks, .. } if RUN.is_one_of(speaks))
}

/// What is said of an operator who was reached and with whom nothing is exchanged, and what to do about it.
fn refused(name: &str, why: &Refusal, has: Has) -> (String, String) {
    let todo = format!(
        "ask {name} what it started with, and with which version; then both run the same command again"
    );
    match why {
        _ if is_validating(why) => {
            let over = format!("{name} runs conclave run: the ceremony is over there");
            let todo = match has {
                Has::Everything => {
                    return (
                        format!("{over}. Your files are in place, too: {name} needs nothing more of you"),
                        "nothing has to be done about that: start conclave run, too, as soon as all have everything".to_owned(),
                    );
                }
                Has::Shares => format!(
                    "ask {name} for cluster-lock.json, which is public, and finish with conclave join --lock FILE; or ask {name} to run conclave \
                     join for a minute instead"
                ),
                Has::Nothing => format!(
                    "go on with the folder that you held that ceremony with, for your share is not in this one: name it with --data-dir. If it is \
                     lost, import your backup into a new folder (conclave --data-dir NEW-FOLDER import FILE); without a backup your share is lost: \
                     tell {name} and the others"
                ),
            };
            (format!("{over}. What to do: {todo}"), todo)
        }
        Refusal::Protocol { speaks, .. } if speaks.is_empty() => {
            let message = format!(
                "{name} was reached but speaks nothing of conclave's: another program may have its identity, or a version that this one does not \
                 know"
            );
            (message, todo)
        }
        Refusal::Protocol { speaks, software } => {
            let message = format!(
                "{name} was reached but speaks another protocol ({}; {software}): use the same version of conclave",
                speaks.join(", ")
            );
            (message, todo)
        }
        Refusal::Unwelcome => {
            let message = format!(
                "{name} was reached but does not let you in: its definition probably does not name your identity"
            );
            (message, todo)
        }
        Refusal::Silent => {
            let message = format!("{name} was reached but says nothing: it may be busy, or another program");
            (message, todo)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_validates_already_has_no_other_version() {
        let speaks = |ids: &[&str]| Refusal::Protocol {
            speaks: ids.iter().map(|id| (*id).to_owned()).collect(),
            software: "conclave/0.1.0".to_owned(),
        };
        // Of this version, by whatever name, of 0.1.0, and of one that is not there yet.
        for ids in [
            &[RUN.fixed, RUN.growing][..],
            &["/conclave/run/1"],
            &["/conclave/run/9"],
        ] {
            for (has, part) in [
                (Has::Shares, "conclave join --lock FILE"),
                (Has::Shares, "bob to run conclave join for a minute"),
                (Has::Nothing, "import your backup"),
                (Has::Everything, "needs nothing more of you"),
            ] {
                let (message, todo) = refused("bob", &speaks(ids), has);
                assert!(
                    message.starts_with("bob runs conclave run: the ceremony is over there"),
                    "{message}"
                );
                assert!(
                    message.contains(part) && !message.contains("version"),
                    "{message}"
                );
                assert!(has == Has::Everything || message.contains(&todo), "{todo}");
            }
        }
        assert!(!is_validating(&speaks(&["/conclave/runner/1", "/conclave/run"])));
        let (message, _) = refused("bob", &speaks(&["/conclave/journal/9"]), Has::Shares);
        assert!(message.contains("use the same version"), "{message}");
        let (message, _) = refused("bob", &speaks(&[]), Has::Shares);
        assert!(
            !message.contains("use the same version") && !message.contains("()"),
            "{message}"
        );
    }
}
