//! What the other operators say before the core is there.
//!
//! Until a beacon node has told its chain there is no core, and that may take days. Meanwhile the network is listened to
//! all the same: links are shown, and nobody's messages pile up. Of what was said only greetings and parts of exits
//! matter later: those are said once on a connection, and everything else is repeated to who has greeted.

use std::collections::BTreeMap;

use crate::wire::Message;
use conclave_net::events::Event as NetEvent;

/// The most parts of exits that are kept of one operator.
const MAX_EXITS: usize = 1024;

/// What one operator said on its connection.
#[derive(Debug, Default)]
struct Said {
    greeting: Option<Message>,
    exits: Vec<Message>,
}

/// Operators who are connected, and what they said.
#[derive(Debug, Default)]
pub(super) struct Early {
    here: BTreeMap<u16, Said>,
}

impl Early {
    /// Takes an event of the network.
    pub(super) fn hear(&mut self, event: &NetEvent<Message>) {
        match event {
            NetEvent::Connected { operator } => {
                self.here.insert(*operator, Said::default());
            }
            NetEvent::Disconnected { operator, .. } => {
                self.here.remove(operator);
            }
            NetEvent::Message { operator, message } => {
                let Some(said) = self.here.get_mut(operator) else {
                    return;
                };
                match message {
                    Message::Hello(_) => said.greeting = Some(message.clone()),
                    Message::Exit(_) if said.exits.len() < MAX_EXITS => said.exits.push(message.clone()),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// Who is connected, and what is to be heard of it, in this order.
    pub(super) fn heard(self) -> impl Iterator<Item = (u16, Vec<Message>)> {
        let heard = |said: Said| said.greeting.into_iter().chain(said.exits).collect();
        self.here
            .into_iter()
            .map(move |(operator, said)| (operator, heard(said)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        memory::Proofs,
        wire::{Abilities, Hello, PROTOCOL},
    };
    use conclave_net::events::Reason;

    fn said(operator: u16, message: Message) -> NetEvent<Message> {
        NetEvent::Message { operator, message }
    }

    fn hello(instance: u8) -> Message {
        Message::Hello(Hello {
            protocol: PROTOCOL,
            lock_hash: [7; 32],
            instance: [instance; 16],
            clock_ms: 0,
            proofs: Proofs::default(),
            watches: false,
            software: String::new(),
            abilities: Abilities::default(),
        })
    }

    #[test]
    fn who_is_there_and_how_it_greeted_is_all_that_is_kept() {
        let clock = Message::Clock {
            clock_ms: 1,
            answers_ms: 0,
            waited_ms: 0,
        };
        let gone = |operator| NetEvent::Disconnected {
            operator,
            reason: Reason::Fault(String::new()),
        };
        let mut early = Early::default();
        for event in [
            NetEvent::Connected { operator: 2 },
            said(2, hello(1)),
            said(2, clock.clone()),
            NetEvent::Connected { operator: 3 },
            said(3, hello(2)),
            NetEvent::Connected { operator: 4 },
            said(4, clock),
            gone(3),
            // Left over from a connection that is gone.
            said(3, hello(2)),
            gone(2),
            NetEvent::Connected { operator: 2 },
            said(2, hello(3)),
            said(2, hello(4)),
        ] {
            early.hear(&event);
        }
        let heard: Vec<(u16, Vec<Message>)> = early.heard().collect();
        assert_eq!(heard, [(2, vec![hello(4)]), (4, vec![])]);
    }
}
