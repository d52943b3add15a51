//! What is known to keep this operator from the others, for the last words of a command that ends before the ceremony does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How long something that was met counts, if it is met again and again as long as it is there.
const FRESH: Duration = Duration::from_secs(60);
/// So many causes are told at most.
const TOLD: usize = 3;
/// So many are kept: addresses can be many.
const KEPT: usize = 64;

/// What keeps operators apart, the gravest first: with it in the way, nothing that comes after it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// One identity runs twice.
    Twin,
    /// They hold different ceremonies.
    Apart,
    /// One does not let the other in, or they do not speak the same protocol.
    Refused,
    /// An address does not lead to its operator.
    Unreached,
    /// An address was given that is one's own: it is in nobody's way.
    Own,
}

/// Something that is in the way.
#[derive(Debug)]
struct Obstacle {
    why: String,
    what_to_do: String,
    met: Instant,
}

/// All that is known to be in the way, by whom it is about; of an address without a name, by the address.
#[derive(Debug, Default)]
pub(super) struct Obstacles(BTreeMap<(Kind, Option<u16>, String), Obstacle>);

impl Obstacles {
    /// Something is in the way. `address`: of what is about an address.
    pub(super) fn met(
        &mut self,
        (kind, operator, address): (Kind, Option<u16>, &str),
        why: &str,
        what_to_do: &str,
        now: Instant,
    ) {
        let obstacle = Obstacle {
            why: why.to_owned(),
            what_to_do: what_to_do.to_owned(),
            met: now,
        };
        let whose = (kind, operator, address.to_owned());
        if self.0.len() >= KEPT && !self.0.contains_key(&whose) {
            // The least grave one gives way to one that is graver.
            match self.0.last_entry() {
                Some(last) if whose.0 < last.key().0 => _ = last.remove(),
                _ => return,
            }
        }
        self.0.insert(whose, obstacle);
    }

    /// An operator is connected: neither its addresses nor its door are in the way any more.
    pub(super) fn connected(&mut self, operator: u16) {
        self.0
            .retain(|(kind, whose, _), _| *kind < Kind::Refused || *whose != Some(operator));
    }

    /// An operator holds the same ceremony.
    pub(super) fn agrees(&mut self, operator: u16) {
        self.0
            .retain(|(kind, whose, _), _| *kind != Kind::Apart || *whose != Some(operator));
    }

    /// Why it did not go on, and what to do about it, if that is known. `here`: who is connected and holds the same ceremony, so that its
    /// addresses matter no more, nor does one that does not say whose it is.
    pub(super) fn last_words(&self, here: &BTreeSet<u16>, now: Instant) -> Option<(String, String)> {
        let counts = |(kind, operator, _): &(Kind, Option<u16>, String), obstacle: &Obstacle| match kind {
            Kind::Twin => now.saturating_duration_since(obstacle.met) < FRESH,
            Kind::Apart => true,
            Kind::Refused | Kind::Unreached | Kind::Own => {
                operator.map_or(here.is_empty(), |operator| !here.contains(&operator))
            }
        };
        let known = self.0.iter().filter(|(whose, obstacle)| counts(whose, obstacle));
        let mut known = known.map(|(_, obstacle)| obstacle).peekable();
        let what_to_do = known.peek()?.what_to_do.clone();
        let whys: Vec<&str> = known.take(TOLD).map(|obstacle| obstacle.why.as_str()).collect();
        Some((whys.join("; "), what_to_do))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(obstacles: &Obstacles, here: &[u16], now: Instant) -> Option<(String, String)> {
        obstacles.last_words(&here.iter().copied().collect(), now)
    }

    #[test]
    fn the_gravest_cause_gives_the_advice_and_what_is_over_is_forgotten() {
        let (now, mut obstacles) = (Instant::now(), Obstacles::default());
        assert_eq!(told(&obstacles, &[], now), None);
        obstacles.met(
            (Kind::Unreached, Some(2), "a"),
            "bob is refused",
            "look at the address",
            now,
        );
        obstacles.met((Kind::Unreached, None, "b"), "b is a stranger", "ask", now);
        obstacles.met(
            (Kind::Apart, Some(3), ""),
            "carol has another definition",
            "start anew",
            now,
        );
        obstacles.met((Kind::Twin, Some(4), ""), "dave runs twice", "stop one", now);
        let (why, what_to_do) = told(&obstacles, &[], now).unwrap();
        assert_eq!(what_to_do, "stop one");
        assert_eq!(
            why,
            "dave runs twice; carol has another definition; b is a stranger"
        );
        // A twin that is gone is met no more.
        let later = now + FRESH;
        let (why, what_to_do) = told(&obstacles, &[2], later).unwrap();
        assert_eq!(
            (why.starts_with("carol"), what_to_do.as_str()),
            (true, "start anew")
        );
        // Connected, it still holds another ceremony, until it does not.
        obstacles.connected(3);
        assert!(told(&obstacles, &[2], later).unwrap().0.starts_with("carol"));
        obstacles.agrees(3);
        assert_eq!(told(&obstacles, &[2], later), None, "somebody is here");
        assert_eq!(told(&obstacles, &[3], later).unwrap().0, "bob is refused");
        assert!(
            told(&obstacles, &[], later)
                .unwrap()
                .0
                .starts_with("b is a stranger")
        );
        obstacles.connected(2);
        assert_eq!(told(&obstacles, &[], later).unwrap().0, "b is a stranger");
        // Addresses can be many.
        for i in 0..1000 {
            obstacles.met((Kind::Unreached, None, &i.to_string()), "why", "what", now);
        }
        assert_eq!(obstacles.0.len(), KEPT);
        // And hide nothing that is graver.
        for kind in [Kind::Refused, Kind::Apart, Kind::Twin] {
            obstacles.met((kind, Some(5), ""), &format!("{kind:?}"), "what", now);
            assert_eq!(obstacles.0.len(), KEPT);
        }
        let (why, _) = told(&obstacles, &[], now).unwrap();
        assert_eq!(why, "dave runs twice; Twin; Apart");
        let refused = obstacles.0.keys().filter(|whose| whose.0 == Kind::Refused);
        assert_eq!(refused.count(), 1);
    }

    #[test]
    fn an_own_address_is_the_last_cause_of_all() {
        let (now, mut obstacles) = (Instant::now(), Obstacles::default());
        obstacles.met((Kind::Unreached, None, "b"), "b is a stranger", "ask", now);
        obstacles.met((Kind::Own, None, "a"), "a is you", "take it away", now);
        obstacles.met((Kind::Unreached, Some(4), "z"), "dave is refused", "look", now);
        let (why, what_to_do) = told(&obstacles, &[], now).unwrap();
        assert_eq!(
            (why.as_str(), what_to_do.as_str()),
            ("b is a stranger; dave is refused; a is you", "ask")
        );
        let mut alone = Obstacles::default();
        alone.met((Kind::Own, None, "a"), "a is you", "take it away", now);
        assert_eq!(told(&alone, &[], now).unwrap().0, "a is you");
        assert_eq!(told(&alone, &[2], now), None, "somebody is here");
    }
}
