//! What became of a slot's duties.

use std::collections::BTreeSet;

use crate::cli::{
    news::{self, Event},
    output::printable,
};
use conclave_eth::duty::Purpose;
use conclave_monitor::overview::words::brief;
use conclave_validator::{
    core::{Account, Cause, Decision, Missed},
    node::Delivery,
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
            // Of what was not seen nothing is known, and that this stood still was said.
            for one in duty.missed.iter().filter(|one| one.cause != Cause::Unseen) {
                let why = self.why(duty, one, away);
                let what = what(one.validators.len());
                match missed.iter_mut().find(|(known, _)| *known == why) {
                    Some((_, list)) => list.push(what),
                    None => missed.push((why, vec![what])),
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

    /// What the own beacon nodes made of it: a line when they begin to take none of it, one in each epoch in which that goes on, and one when
    /// it is over.
    pub(super) fn submitted(
        &mut self,
        told: &mut Told,
        purpose: Purpose,
        slot: u64,
        count: usize,
        delivery: Delivery,
    ) {
        let what = purpose.text();
        let Delivery::NotTaken { why, advice } = delivery else {
            if self.not_taken.remove(&purpose).is_some() {
                told.say(format!("slot {slot}: {what}: your beacon nodes take it again."));
            }
            return;
        };
        let why = printable(&why);
        let epoch = self.time.map_or(1, |time| time.slots_per_epoch);
        let last = self.not_taken.get(&purpose);
        if last.is_none_or(|last| last.saturating_add(epoch) <= slot) {
            self.not_taken.insert(purpose, slot);
            let plural = if count == 1 { "" } else { "s" };
            told.warn(format!(
                "slot {slot}: the group signed the {what} of {count} validator{plural}, and none of your beacon nodes took it: {why}. It \
                 counts only if another operator's beacon node took it. {}",
                advice.trim_end_matches('.')
            ));
        }
        told.events.push(Event::NotTaken {
            slot,
            purpose: news::purpose(purpose),
            validators: count,
            message: why,
            advice: advice.trim_end_matches('.').to_owned(),
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

    /// Why a duty failed for some validators, and what to do about it.
    fn why(&self, duty: &Account, missed: &Missed, away: &BTreeSet<u16>) -> String {
        // Who is asked about the wrong validators, or at the wrong time, has nobody else to blame.
        let own = self.dissent.first().map(|one| {
            format!(
                "Your beacon nodes disagree about {}, which may be why: see to them first",
                one.about.text()
            )
        });
        let or_own = |advice: &str| own.clone().unwrap_or_else(|| advice.to_owned());
        let others = || or_own("Ask the others what their machines and beacon nodes say");
        let missing_votes = || self.missing(&duty.voters, away);
        let missing = || self.missing(&missed.partials, away);
        let took = || brief(duty.answered_in_ms.unwrap_or_default());
        let agreed = || {
            let times = duty.decision.map(|decision| decision.times);
            format!("agreed in {} ms", times.map_or(0, |times| times.took_ms))
        };
        let late = || brief(duty.decision.map_or(0, |decision| decision.times.after_due_ms));
        let signed = || {
            format!(
                "{}, and {} of {} operators who must sign did{}",
                agreed(),
                missed.partials.len(),
                self.threshold,
                missing()
            )
        };
        match missed.cause {
            Cause::Unseen => "not seen here".to_owned(),
            Cause::Unanswered => format!(
                "not agreed on, and your own beacon node had no answer{}. Look at your beacon node",
                missing_votes()
            ),
            Cause::AnsweredLate => format!(
                "your own beacon node took {} to answer, and then it was too late for this duty. Look at the load of your \
                 beacon node",
                took()
            ),
            Cause::FewVoters => format!("not agreed on{}. {}", missing_votes(), others()),
            Cause::Disagreed => format!(
                "not agreed on: {} operators voted, and nothing was proposed in time that {} of them found plausible{}. {}",
                duty.voters.len(),
                self.threshold,
                missing_votes(),
                others()
            ),
            Cause::AgreedLate { leader } => format!(
                "agreed on only {} after it was due, when it was too late for this duty. {} proposed it: its beacon node may \
                 be slow, or it was not heard of in time",
                late(),
                if leader == self.me {
                    "This machine".to_owned()
                } else {
                    self.name(leader)
                }
            ),
            Cause::LeftOut { leader } => format!("{}, but {}", agreed(), self.left_out(duty.purpose, leader)),
            Cause::Refused => format!(
                "{}. Your own slashing protection did not permit it{}",
                signed(),
                own.as_ref()
                    .map_or(": the log says why".to_owned(), |own| format!(". {own}"))
            ),
            Cause::Unguarded => format!(
                "{}. Your own slashing protection gave no answer: look at this machine's disk",
                signed()
            ),
            Cause::FewSigners if duty.purpose.slashable() => format!(
                "{}. {}",
                signed(),
                or_own(
                    "Those who have just started wait until the next epoch; ask the others what their machines say"
                )
            ),
            Cause::FewSigners => format!(
                "{}. {}",
                signed(),
                or_own("Ask the others what their machines say")
            ),
            Cause::SignedLate => format!(
                "{}, and signed by enough operators only when it was too late for this duty. {}",
                agreed(),
                others()
            ),
            Cause::Unusable if !missed.differ.is_empty() => {
                let same = missed.partials.difference(&missed.differ).copied();
                let differ = self.names_of(missed.differ.iter().copied());
                format!(
                    "{}, and {differ} signed something else than {}: by another fork schedule or version, or of another lock. Compare \
                     beacon nodes, versions and lock hashes with {differ}",
                    agreed(),
                    self.names_of(same)
                )
            }
            Cause::Unusable => format!(
                "{}, and what {} signed does not make a signature together: not the same, or wrong. Compare versions and lock \
                 hashes with them",
                agreed(),
                self.names_of(missed.partials.iter().copied())
            ),
        }
    }

    /// That what was agreed on held nothing for some validators, and what to do about it.
    fn left_out(&self, purpose: Purpose, leader: u16) -> String {
        let what = if purpose == Purpose::Aggregate {
            "aggregate of their committees"
        } else {
            "contribution of their subcommittees"
        };
        if leader == self.me {
            return format!(
                "your own beacon node, which was asked for all, had no {what}. If it goes on, look at your beacon node: it may not listen \
                 to all subnets that it was told to"
            );
        }
        let name = self.name(leader);
        format!(
            "the beacon node of {name}, which was asked for all, had no {what}. If it goes on, ask {name} to look at it: nobody else did \
             anything wrong"
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
