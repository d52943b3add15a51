//! Validators that were slashed or leave, and beacon nodes that disagree about validators.

use crate::cli::{news::Event, output::printable};
use conclave_monitor::overview::words;
use conclave_validator::observed::{Dissenter, Seen};

use super::{Told, Watcher};

/// What to do when a validator was slashed.
const WHEN_SLASHED: &str = "Stop conclave run now, have the others stop theirs, and find out why before anybody starts again: a second copy of a \
                            folder, or other software with the same keys";
/// So many validators are named in a line.
const NAMED: usize = 5;

/// How far a validator has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Leaving {
    /// It has not begun to.
    Not,
    /// The chain lets it go.
    Leaves,
    /// It has no duties any more.
    Left,
}

impl Leaving {
    /// As the Beacon API calls it.
    fn of(status: &str) -> Self {
        match status {
            "active_exiting" | "active_slashed" => Self::Leaves,
            _ if status.starts_with("exited") || status.starts_with("withdrawal") => Self::Left,
            _ => Self::Not,
        }
    }
}

impl Watcher {
    /// Each of these once, when it is first seen.
    pub(super) fn validators(&mut self, told: &mut Told, seen: &[Seen]) {
        let (mut slashed, mut leave, mut left) = (Vec::new(), Vec::new(), Vec::new());
        for one in seen {
            let now = (one.slashed, Leaving::of(&one.status));
            let before = self.standing.insert(one.validator, now);
            let (was_slashed, was) = before.unwrap_or((false, Leaving::Not));
            if one.slashed && !was_slashed {
                slashed.push(one);
            }
            match now.1 {
                Leaving::Leaves if was < Leaving::Leaves && !one.slashed => leave.push(one),
                Leaving::Left if was < Leaving::Left => left.push(one),
                _ => {}
            }
        }
        let nothing = words::nothing_to_sign(seen.iter().map(|one| one.status.as_str()));
        // Of those that have just left it is said below.
        if let Some(why) = nothing.filter(|_| self.nothing_to_sign != nothing && left.is_empty()) {
            told.say(format!("The lock's validators: {why}."));
            told.events.push(Event::Validators {
                what: "nothing_to_sign",
                validators: seen.iter().map(|one| one.validator).collect(),
                indices: seen.iter().map(|one| one.index).collect(),
                why: Some(why.to_owned()),
                advice: None,
            });
        }
        self.nothing_to_sign = nothing;
        let names = |list: &[&Seen]| {
            let named: Vec<String> = list.iter().take(NAMED).map(|one| one.index.to_string()).collect();
            let more = list.len().saturating_sub(NAMED);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let plural = if list.len() == 1 { "" } else { "s" };
            format!("validator{plural} {}{more}", named.join(", "))
        };
        let (was, has, leaves) = (
            |list: &[&Seen]| if list.len() == 1 { "was" } else { "were" },
            |list: &[&Seen]| if list.len() == 1 { "has" } else { "have" },
            |list: &[&Seen]| if list.len() == 1 { "leaves" } else { "leave" },
        );
        if !slashed.is_empty() {
            told.warn(format!(
                "{} {} slashed: somebody signed twice with the key. {WHEN_SLASHED}",
                names(&slashed),
                was(&slashed)
            ));
        }
        if !leave.is_empty() {
            told.say(format!(
                "{} {} the chain: the duties go on until the exit epoch.",
                names(&leave),
                leaves(&leave)
            ));
        }
        if !left.is_empty() {
            told.say(format!(
                "{} {} left the chain and {} no duties any more.",
                names(&left),
                has(&left),
                has(&left)
            ));
        }
        for (what, list) in [("slashed", slashed), ("leaving", leave), ("left", left)] {
            if !list.is_empty() {
                told.events.push(Event::Validators {
                    what,
                    validators: list.iter().map(|one| one.validator).collect(),
                    indices: list.iter().map(|one| one.index).collect(),
                    why: None,
                    advice: (what == "slashed").then(|| WHEN_SLASHED.to_owned()),
                });
            }
        }
    }

    /// Said when a node begins to disagree, and when that is over.
    pub(super) fn dissent(&mut self, told: &mut Told, dissent: Vec<Dissenter>) {
        let before = std::mem::replace(&mut self.dissent, dissent);
        let event = |one: &Dissenter, over| Event::Disagrees {
            name: printable(&one.name),
            about: one.about.name(),
            over,
            advice: (!over).then(|| words::WHEN_DISSENT.to_owned()),
        };
        for one in self.dissent.iter().filter(|one| !before.contains(one)) {
            told.warn(printable(&words::dissents(one)));
            told.events.push(event(one, false));
        }
        for one in before.iter().filter(|one| !self.dissent.contains(one)) {
            told.say(format!(
                "Beacon node {} says what counts about {} again.",
                printable(&one.name),
                one.about.text()
            ));
            told.events.push(event(one, true));
        }
    }
}
