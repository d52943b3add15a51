//! Handshakes, what counts as a start, and twins.

use crate::observed::Peer;
use crate::{
    alive::{Alive, Instance as Process, MEMORY, Shown},
    quota::Quota,
    wire::{Abilities, Hello, Message, PROTOCOL},
};
use conclave_consensus::Signatures;
use conclave_slashing::{Progress, Start};

use super::{Core, Effect, History, Report, Standstill, Stop, peers::Answer, restored::Restored};

/// An operator may greet so often in a slot, on one connection. Each greeting is answered with all that it may lack, and
/// compared with the guard's database, in whose queue duties stand too.
const GREETINGS: u32 = 8;
/// An operator's clock is taken so often in a slot: correct programs tell it once a slot, and after each greeting.
const CLOCKS: u32 = 8;

impl<S: Signatures> Core<S> {
    pub(super) fn connected(&mut self, operator: u16) {
        let Some(peer) = self.peers.get_mut(operator) else {
            return;
        };
        peer.connected = true;
        peer.greeted = false;
        peer.clock_offset_ms = None;
        peer.told_clock = None;
        // Two processes with one key take each other's connection; to be told apart they must be heard.
        peer.greetings = Quota::default();
        self.say_hello(operator);
    }

    pub(super) fn say_hello(&mut self, operator: u16) {
        let hello = Hello {
            protocol: PROTOCOL,
            lock_hash: self.group.lock_hash,
            instance: self.watch.instance(),
            clock_ms: self.now,
            proofs: self.memory.get(&operator).copied().unwrap_or_default(),
            watches: self.dry_run,
            software: self.software.clone(),
            abilities: Abilities::own(self.builder),
        };
        self.send(operator, Message::Hello(hello));
    }

    /// What is known of the other operators, by their number: for people.
    pub fn others(&self) -> Vec<(u16, Peer)> {
        let others = self.peers.iter();
        others
            .map(|(operator, peer)| {
                let peer = Peer {
                    software: peer.software.clone(),
                    dry_run: peer.watches,
                    clock_offset_ms: peer.clock_offset_ms,
                    abilities: peer.abilities.clone(),
                };
                (operator, peer)
            })
            .collect()
    }

    pub(super) fn disconnected(&mut self, operator: u16) {
        if let Some(peer) = self.peers.get_mut(operator) {
            peer.connected = false;
            peer.greeted = false;
            self.connect_agreements(operator, false);
        }
    }

    pub(super) fn send(&mut self, to: u16, message: Message) {
        self.effects.push(Effect::Send { to, message });
    }

    pub(super) fn message(&mut self, from: u16, message: Message) {
        let Some(peer) = self.peers.get(from) else {
            return;
        };
        match message {
            Message::Hello(hello) => self.greeted(from, hello),
            _ if !peer.greeted => {}
            Message::Alive(alive) => self.shown(from, &alive),
            Message::Agreement(message) => self.agree(from, message),
            Message::Partials(partials) => self.partials(from, &partials),
            Message::Clock {
                clock_ms,
                answers_ms,
                waited_ms,
            } => self.clock(from, clock_ms, answers_ms, waited_ms),
            Message::Contents { slot, root, bytes } => self.contents(from, slot, root, bytes),
            // They have no slot, and need no agreement: the node keeps them apart from duties.
            Message::Exit(_) => {}
        }
    }

    fn greeted(&mut self, from: u16, hello: Hello) {
        let (now, slot_ms) = (self.now, self.time.slot_ms);
        let in_measure = self
            .peers
            .get_mut(from)
            .is_some_and(|peer| peer.greetings.take(now, slot_ms, GREETINGS));
        let refused = if !in_measure {
            Some("it greets again and again".to_owned())
        } else if hello.protocol != PROTOCOL {
            Some(format!(
                "it speaks version {} of the messages, this program {PROTOCOL}",
                hello.protocol
            ))
        } else if hello.lock_hash != self.group.lock_hash {
            Some(format!(
                "it has another lock: 0x{}, yours is 0x{}",
                hex::encode(hello.lock_hash),
                hex::encode(self.group.lock_hash)
            ))
        } else if !hello
            .proofs
            .verify(&self.group.lock_hash, self.me, self.quorum.signatures())
        {
            Some("it shows signatures of ours that we never made".to_owned())
        } else {
            None
        };
        if let Some(why) = refused {
            self.effects.push(Effect::Refuse { operator: from, why });
            return;
        }
        let Some(peer) = self.peers.get_mut(from).filter(|peer| peer.connected) else {
            return;
        };
        // A second Hello on one connection is of a process that counts as started anew: it wants to hear ours again.
        let again = peer.greeted && peer.instance != Some(hello.instance);
        peer.greeted = true;
        peer.instance = Some(hello.instance);
        peer.software = hello.software;
        peer.watches = hello.watches;
        peer.abilities = hello.abilities;
        peer.told_clock = Some((hello.clock_ms, now));
        // Who only watches remembers nothing of the time before: that it shows nothing newer says nothing.
        let confirms = (!hello.watches).then(|| self.watch.instance());
        let remembered = hello.proofs.progress();
        peer.remembers = confirms.map(|_| remembered);
        // It may be more than at the last time.
        peer.told = false;
        if peer.answered.is_none() && confirms.is_some() {
            peer.answered = Some(Answer::Comparing);
        }
        if again {
            self.say_hello(from);
        }
        self.effects.push(Effect::Compare {
            operator: from,
            remembered,
            confirms,
        });
        for alive in self.watch.remembered().cloned().collect::<Vec<_>>() {
            self.send(from, Message::Alive(alive));
        }
        for partials in self.pools.own().cloned().collect::<Vec<_>>() {
            self.send(from, Message::Partials(partials));
        }
        self.tell_clock(from);
        self.connect_agreements(from, true);
    }

    /// The guard was compared with what an operator remembers.
    pub(super) fn compared(
        &mut self,
        operator: u16,
        remembered: Progress,
        newer: bool,
        confirms: Option<Process>,
    ) {
        let confirms = confirms == Some(self.watch.instance());
        let Some(peer) = self.peers.get_mut(operator) else {
            return;
        };
        // What it has said since then is still to be compared.
        if confirms && peer.remembers == Some(remembered) {
            peer.remembers = None;
            peer.told = true;
        }
        // Asked before what counts as a start, answered after it: this says nothing about now. Nor does it if the other one
        // does not remember.
        if self.restored.is_some() {
            // That it had forgotten everything is known.
            return;
        }
        if !newer && (peer.answered.is_none() || !confirms) {
            return;
        }
        // Once it was behind, it stays so until the next start: what else is missing nobody knows.
        if peer.answered != Some(Answer::Newer) {
            peer.answered = Some(if newer {
                Answer::Newer
            } else {
                Answer::NothingNewer
            });
        }
        if newer {
            self.report(Report::Forgotten { operator });
        }
        let epoch = self.time.epoch_of(self.start.first_slot);
        if self.history == History::Whole && self.peers.all_confirm() && self.start.first_target > epoch {
            let start = Start {
                first_target: epoch,
                ..self.start
            };
            self.begin(start);
            self.waits_until = None;
            self.report(Report::Confirmed);
        }
    }

    /// Has the guard compared once more with what others remember, where no answer has come since they said it: its disk may have
    /// been full for a moment, and those who are connected say it only once.
    pub(super) fn compare_again(&mut self) {
        let instance = self.watch.instance();
        let open = self.peers.iter().filter_map(|(operator, peer)| {
            let remembered = peer.remembers.filter(|_| peer.connected)?;
            Some(Effect::Compare {
                operator,
                remembered,
                confirms: Some(instance),
            })
        });
        self.effects.extend(open.collect::<Vec<_>>());
    }

    pub(super) fn restarted(&mut self, instance: Process, start: Start) {
        // When things happened in slots that were under way, nobody knows.
        let all = Standstill {
            from_ms: 0,
            to_ms: u64::MAX,
        };
        self.unseen = vec![all];
        self.close_all();
        self.unseen.clear();
        self.watch.renew(instance);
        self.peers.forget_answers();
        // The clock may have gone back. What was under way then is left to the others.
        self.agreements.clear();
        self.slots.clear();
        self.begun = None;
        self.restored = Restored::at(start);
        self.heads_shown.clear();
        self.begin(start);
        let connected: Vec<u16> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.connected)
            .map(|(o, _)| o)
            .collect();
        for operator in connected {
            // A new number in it makes them answer with what they remember.
            self.say_hello(operator);
        }
    }

    /// Once a slot: that we are alive, and what our clock says. A dry run signs nothing, so it is nobody's twin, and no Alive
    /// names it.
    pub(super) fn beat(&mut self, slot: u64) {
        self.twins.retain(|_, seen| seen.abs_diff(slot) <= MEMORY);
        if !self.dry_run {
            let alive = self.watch.say(self.quorum.signatures(), slot);
            self.broadcast(Message::Alive(alive));
        }
        for operator in self.peers.greeted().collect::<Vec<_>>() {
            self.tell_clock(operator);
        }
    }

    fn shown(&mut self, from: u16, alive: &Alive) {
        let slot = self.slot_now();
        match self.watch.take(alive, self.quorum.signatures(), slot) {
            Shown::New => {
                self.broadcast(Message::Alive(alive.clone()));
                let operator = alive.operator;
                // One that lies shows another pair each time: who ran twice is told once, until no pair has been seen for a while.
                let ran_twice = operator != self.me && self.watch.twins(operator).is_some();
                if ran_twice && self.twins.insert(operator, slot).is_none() {
                    self.report(Report::RanTwice { operator });
                }
            }
            Shown::Nothing => {}
            Shown::Twin(_) if self.dry_run => {}
            Shown::Forged => self.report(Report::Fault {
                operator: from,
                what: "it passed on a sign of life that nobody signed".to_owned(),
            }),
            Shown::Twin(other) => {
                let last = self.watch.say(self.quorum.signatures(), slot);
                self.broadcast(Message::Alive(last));
                self.effects.push(Effect::Stop(Stop::Twin(other)));
                self.stopped = true;
            }
        }
    }

    fn tell_clock(&mut self, to: u16) {
        let told = self.peers.get(to).and_then(|peer| peer.told_clock);
        let (answers_ms, waited_ms) = told.map_or((0, 0), |(clock, at)| (clock, self.now.saturating_sub(at)));
        let message = Message::Clock {
            clock_ms: self.now,
            answers_ms,
            waited_ms: u32::try_from(waited_ms).unwrap_or(u32::MAX),
        };
        self.send(to, message);
    }

    /// Half of the round trip is the best guess for one way.
    fn clock(&mut self, from: u16, clock_ms: u64, answers_ms: u64, waited_ms: u32) {
        let (now, slot_ms) = (self.now, self.time.slot_ms);
        let Some(peer) = self.peers.get_mut(from) else {
            return;
        };
        if !peer.clocks.take(now, slot_ms, CLOCKS) {
            return;
        }
        peer.told_clock = Some((clock_ms, now));
        let round_trip = now
            .checked_sub(answers_ms)
            .and_then(|ms| ms.checked_sub(waited_ms.into()));
        if let Some(round_trip) = round_trip.filter(|ms| answers_ms != 0 && *ms < slot_ms) {
            let theirs = clock_ms.saturating_add(round_trip / 2);
            peer.clock_offset_ms = i64::try_from(i128::from(theirs) - i128::from(now)).ok();
        }
    }
}
