//! What the core reports.

use std::collections::BTreeSet;

use crate::cli::{
    news::{self, Event},
    output::printable,
};
use conclave_consensus::Misbehaviour;
use conclave_monitor::overview::words::{self, span};
use conclave_slashing::Start;
use conclave_validator::core::{Report, Restoring};

use super::{Told, Watcher};

impl Watcher {
    pub(super) fn report(&mut self, told: &mut Told, report: Report, now_ms: u64) {
        match report {
            Report::Decided {
                duty,
                decision,
                voters,
            } => {
                told.events.push(Event::Agreed {
                    slot: duty.slot,
                    kind: news::kind(duty.kind),
                    round: decision.round,
                    took_ms: decision.times.took_ms,
                    after_due_ms: decision.times.after_due_ms,
                    voters: voters.into_iter().collect(),
                });
            }
            Report::Made {
                purpose,
                slot,
                validators,
                times,
                contributors,
            } => {
                told.events.push(Event::Signed {
                    slot,
                    purpose: news::purpose(purpose),
                    validators: validators.into_iter().collect(),
                    took_ms: times.took_ms,
                    after_due_ms: times.after_due_ms,
                    contributors: contributors.into_iter().collect(),
                });
            }
            Report::Over { slot, away, duties } => self.over(told, slot, &away, duties),
            Report::Fault { operator, what } => {
                let what = printable(&what);
                if let Some(times) = self.once_in_a_while(operator, &what) {
                    self.fault(
                        told,
                        operator,
                        "Fault",
                        format!("{}: {what}{times}", self.name(operator)),
                        "What is wrong is not counted, and the others go on. Tell its operator: conclave verify on its \
                         folder, and the same version of conclave as yours",
                    );
                }
            }
            Report::Misbehaviour(deed) => self.misbehaviour(told, &deed),
            Report::Forgotten { operator } => {
                let advice = "Make sure that the newer copy runs nowhere";
                told.warn(format!(
                    "{} holds newer signatures of yours than this folder knows of: this folder is an old copy. The slashing \
                     protection was raised to them, and attestations wait as after every start. {advice}",
                    self.name(operator)
                ));
                told.events.push(Event::Forgotten {
                    who: self.who(operator),
                    advice: advice.to_owned(),
                });
            }
            Report::RanTwice { operator } => {
                // Who lies shows pairs without end.
                if self.once_in_a_while(operator, "ran twice").is_some() {
                    let told_so = words::ran_twice(&self.name(operator));
                    let advice = told_so.split_once(". ").map_or("", |(_, advice)| advice);
                    told.events.push(Event::RanTwice {
                        who: self.who(operator),
                        advice: advice.to_owned(),
                    });
                    told.warn(told_so);
                }
            }
            Report::OwnBlock {
                slot, what, advice, ..
            } => {
                told.notice(format!("slot {slot}: {}. {advice}", printable(&what)));
            }
            Report::Restoring(restoring) => self.restoring(told, restoring, now_ms),
            Report::Confirmed => {
                told.events.push(Event::Confirmed);
                self.start = self.start.map(|start| Start {
                    first_target: 0,
                    ..start
                });
                let confirm =
                    "All other operators confirm that this machine has forgotten nothing that it signed";
                told.say(if self.never_signs(now_ms) {
                    format!("{confirm}.")
                } else {
                    format!("{confirm}: signing from now on.")
                });
            }
            Report::WaitOver if self.never_signs(now_ms) => {}
            Report::WaitOver => {
                told.events.push(Event::WaitOver);
                told.say("The safety wait is over: signing from now on.");
            }
        }
    }

    /// What a folder that was restored from a backup waits for, or from when on it signs.
    fn restoring(&mut self, told: &mut Told, restoring: Restoring, now_ms: u64) {
        let all = |operators: &BTreeSet<u16>| operators.iter().map(|operator| self.who(*operator)).collect();
        told.events.push(Event::Restoring {
            waits_for: all(&restoring.missing),
            without: all(&restoring.excused),
            answered: all(&restoring.answered),
            clocks_differ: all(&restoring.clocks),
            chain_clock: restoring.chain,
            heads_ahead: restoring.ahead.iter().map(|name| printable(name)).collect(),
            signs_from_epoch: restoring.start.map(|start| start.first_target),
        });
        let answered = self.names_of(restoring.answered.iter().copied());
        let Some(start) = restoring.start else {
            let chain = match restoring.clock_words() {
                words if words.is_empty() => words,
                words => format!(" {}.", printable(&words)),
            };
            let told_so_far = if restoring.answered.is_empty() {
                String::new()
            } else {
                format!(" Told so far: {answered}.")
            };
            let clocks = if restoring.clocks.is_empty() {
                String::new()
            } else {
                format!(
                    " The clocks of {} and this machine differ by minutes or more, and nothing is begun before they agree: see with date \
                     which of them is wrong, and set it right.",
                    self.names_of(restoring.clocks)
                )
            };
            let missing = if restoring.missing.is_empty() {
                String::new()
            } else {
                format!(
                    " Missing: {}{}.",
                    self.names_of(restoring.missing.iter().copied()),
                    words::not_waited_for(&self.names_of(restoring.excused))
                )
            };
            let in_vain = if restoring.missing.is_empty() {
                String::new()
            } else {
                let gone = words::if_gone_for_good(self.names.len(), self.threshold);
                format!(" If it waits in vain: {gone}.")
            };
            told.warn(format!(
                "restored from a backup: nothing is signed before the others are connected and have told what they remember of this folder, and two \
                 whole epochs more are over.{missing}{told_so_far}{clocks}{chain}{in_vain}"
            ));
            return;
        };
        self.start = Some(start);
        let without = if restoring.excused.is_empty() {
            String::new()
        } else {
            format!(", and by your word {} need not", self.names_of(restoring.excused))
        };
        let done = format!(
            "Restored from a backup: {answered} told what they remember of this folder{without}. The slashing protection was raised to that"
        );
        if self.never_signs(now_ms) {
            told.say(format!("{done}."));
            return;
        }
        told.events.push(Event::SignsFrom {
            slot: start.first_slot,
            epoch: start.first_target,
        });
        let wait = self.time.map_or(0, |time| {
            time.start_of_epoch(start.first_target).saturating_sub(now_ms)
        });
        told.say(format!(
            "{done}, and beyond. Signs from epoch {} on, in {} (a safety wait).",
            start.first_target,
            span(wait)
        ));
    }

    fn misbehaviour(&mut self, told: &mut Told, deed: &Misbehaviour) {
        let operator = deed.operator();
        let (kind, what) = match deed {
            Misbehaviour::TwoVotes(..) => ("TwoVotes", "voted for two things in one step of an agreement"),
            Misbehaviour::TwoProposals(..) => {
                ("TwoProposals", "proposed two things in one round of an agreement")
            }
            Misbehaviour::Forgery { .. } => ("Forgery", "sent what no correct program sends or passes on"),
        };
        let Some(times) = self.once_in_a_while(operator, kind) else {
            return;
        };
        if operator == self.me {
            let what = format!("your own key {what}{times}");
            let advice =
                "A second copy of this folder runs somewhere: stop it, and find out where it came from";
            return self.fault(told, operator, kind, what, advice);
        }
        let advice = match deed {
            Misbehaviour::Forgery { .. } => {
                "It is not listened to for that; compare versions with its operator"
            }
            _ => {
                "Both are signed by its key: it runs twice, or its program was changed. The validator keeps working; tell its \
                 operator"
            }
        };
        self.fault(
            told,
            operator,
            kind,
            format!("{} {what}{times}", self.name(operator)),
            advice,
        );
    }

    fn fault(&self, told: &mut Told, operator: u16, kind: &'static str, what: String, advice: &str) {
        told.warn(format!("{what}. {advice}"));
        told.events.push(Event::Fault {
            who: self.who(operator),
            kind,
            message: what,
            advice: advice.to_owned(),
        });
    }
}
