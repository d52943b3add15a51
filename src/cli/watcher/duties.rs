//! What became of a slot's duties.

use std::collections::BTreeSet;

use crate::{
    cli::news::{self, Event},
    validator::core::{Account, Decision},
};

use super::{Told, Watcher};

impl Watcher {
    /// One line for each duty that was done, and one for all that failed in the same way.
    pub(super) fn over(&self, told: &mut Told, slot: u64, away: &BTreeSet<u16>, duties: Vec<Account>) {
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
            Some(Decision { round: 0, times }) => format!("agreed in {} ms, ", times.took_ms),
            Some(Decision { round, times }) => {
                format!("agreed in {} ms in round {round}, ", times.took_ms)
            }
        };
        let by = if duty.partials.len() == self.names.len() {
            format!("all {} operators", self.names.len())
        } else {
            self.names_of(duty.partials.iter().copied())
        };
        let (took, late) = duty
            .signed_times
            .map_or((0, 0), |times| (times.took_ms, times.after_due_ms));
        let late = if late > 0 {
            format!(" ({late} ms after it was due)")
        } else {
            String::new()
        };
        format!("{agreed}signed in {took} ms{late} by {by}")
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
            "agreed in {} ms, and {} of {} operators who must sign did{}. Those who have just started wait until the next \
             epoch; ask the others what their machines say",
            decision.times.took_ms,
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
}
