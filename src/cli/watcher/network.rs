//! Who is here, and how.

use libp2p::{Multiaddr, multiaddr};

use crate::cli::{flapping::Telling, news::Event, output::printable};
use conclave_ceremony::progress::Unreachable;
use conclave_net::{
    events::{Event as NetEvent, Refusal},
    protocol::JOURNAL,
};

use super::{Told, Watcher};

impl Watcher {
    pub(super) fn network<M>(&mut self, told: &mut Told, event: NetEvent<M>, now_ms: u64) {
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
                told.notice(format!(
                    "an address is no longer listened on: {}. Harmless while others remain",
                    printable(&why)
                ));
            }
            NetEvent::Connected { operator } => {
                self.connected.insert(operator);
                told.events.push(Event::Connected {
                    who: self.who(operator),
                    connected: self.connected.len(),
                });
                match self.flapping.changed(operator, now_ms) {
                    Telling::Tell => self.here_or_gone(told, operator),
                    Telling::GoesOn => self.comes_and_goes(told, operator),
                    Telling::Keep => {}
                }
            }
            NetEvent::Disconnected { operator, reason } => {
                self.connected.remove(&operator);
                let reason = printable(&reason.to_string());
                told.events.push(Event::Disconnected {
                    who: self.who(operator),
                    reason: reason.clone(),
                    connected: self.connected.len(),
                });
                match self.flapping.changed(operator, now_ms) {
                    Telling::Tell => self.gone(told, operator, &format!(" ({reason})")),
                    Telling::GoesOn => self.comes_and_goes(told, operator),
                    Telling::Keep => {}
                }
            }
            NetEvent::Path { operator, through } => {
                told.events.push(Event::Path {
                    who: self.who(operator),
                    through,
                });
                if let Some(through) = through
                    && !self.flapping.is_quiet(operator)
                {
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
                told.notice(format!(
                    "somebody who is not an operator of this lock was turned away: {peer} at {address} ({total} in all). If it is one of \
                     you, its identity is not the one in the lock"
                ));
            }
            NetEvent::Refused { operator, why } => {
                told.notice(refused(&self.name(operator), &why));
            }
            NetEvent::Unreachable(unreachable) => {
                let unreachable = Unreachable::new(&unreachable, |operator| self.name(operator));
                told.warn(printable(&unreachable.message));
                told.events.push(Event::Unreachable(unreachable));
            }
            // The core hears messages, the folder keeps addresses.
            NetEvent::Message { .. } | NetEvent::AddressBook(_) => {}
        }
    }

    /// Says whether an operator is here.
    pub(super) fn here_or_gone(&self, told: &mut Told, operator: u16) {
        if self.connected.contains(&operator) {
            told.say(format!("{} is here: {}.", self.name(operator), self.enough()));
        } else {
            self.gone(told, operator, "");
        }
    }

    fn gone(&self, told: &mut Told, operator: u16, reason: &str) {
        let line = format!("{} is gone{reason}: {}.", self.name(operator), self.enough());
        if self.here() < usize::from(self.threshold) {
            told.warn(line);
        } else {
            told.say(line);
        }
    }

    fn comes_and_goes(&self, told: &mut Told, operator: u16) {
        let why = if self.flapping.quiet() > 1 {
            "As several of them do, look here first: another copy of this folder, or of its identity, may be running somewhere, or the connection of \
             this machine is bad"
        } else {
            "Its connection is bad, or two processes have its identity: ask it to look"
        };
        told.notice(format!(
            "{} comes and goes again and again; more is said when that is over. {why}. Now {}",
            self.name(operator),
            self.enough()
        ));
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
}

fn refused(name: &str, why: &Refusal) -> String {
    match why {
        Refusal::Protocol { speaks, .. } if JOURNAL.is_one_of(speaks) => format!(
            "{name} runs conclave join: the ceremony is not over there. Send {name} your cluster-lock.json, which is public, to finish with conclave \
             join --lock FILE; or stop here and run conclave join for a minute. If {name} has everything, ask {name} to start conclave run. If {name} \
             has validated before, tell {name}: that may be a second copy of the folder or key"
        ),
        Refusal::Protocol { speaks, .. } if speaks.is_empty() => format!(
            "{name} was reached but speaks nothing of conclave's: another program may have its identity, or a version that this one does not know"
        ),
        Refusal::Protocol { speaks, software } => format!(
            "{name} was reached but speaks another protocol ({}; {}): it may have another version. Use the same \
             one",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_still_holds_the_ceremony_has_no_other_version() {
        let speaks = |id: &str| Refusal::Protocol {
            speaks: vec![id.to_owned()],
            software: "conclave/0.1.0".to_owned(),
        };
        assert!(refused("bob", &speaks(JOURNAL.fixed)).contains("bob runs conclave join"));
        for version in [1, 2, 9] {
            let told = refused("bob", &speaks(&format!("/conclave/journal/{version}")));
            assert!(
                told.contains("bob runs conclave join") && told.contains("join --lock FILE"),
                "{told}"
            );
            assert!(!told.contains("version"), "{told}");
        }
        assert!(refused("bob", &speaks("/conclave/run/9")).contains("version"));
        let nothing = Refusal::Protocol {
            speaks: Vec::new(),
            software: String::new(),
        };
        let told = refused("bob", &nothing);
        assert!(
            told.contains("nothing of conclave's") && !told.contains("()"),
            "{told}"
        );
    }
}
