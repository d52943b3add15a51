//! Whether another attempt is needed, and whether it may begin.

use std::time::{Duration, Instant};

use crate::backups;
use crate::problem::{Kind, Problem};
use crate::publication;
use crate::staging::KeyDeriver;
use crate::view::how_to_begin;
use conclave_dkg::board::{Data, Slot};
use conclave_dkg::body::Reason;
use conclave_dkg::entry::Step;
use conclave_dkg::evidence::Kind as FaultKind;

use super::causes::Cause;
use super::{Conductor, GRACE, LOST};

/// Another attempt that could begin.
struct Offer {
    /// Its number.
    k: u32,
    /// What the own Join would say.
    reason: Reason,
    /// Whether `--retries` speaks for it.
    automatic: bool,
    /// Whether the attempt before it can never be finished, as far as this folder knows.
    over: bool,
    /// Whether that is so for everybody, whatever the others know.
    by_all: bool,
    /// Why, in words.
    why: String,
    /// What has to be done before.
    before: String,
}

impl Conductor<'_> {
    /// Is another attempt needed, and may it begin?
    pub(super) fn next_attempt(&mut self) -> Result<(), Problem> {
        while let Ok((k, yes)) = self.answers.1.try_recv() {
            if yes {
                self.begin_attempt(k, Reason::ByHand)?;
            } else {
                self.refused.insert(k);
            }
        }
        self.causes.next_round();
        self.look_for_silence();
        self.finish_alone()?;
        self.look_at_lost_shares()?;
        // With everybody's votes in hand there is nothing else to do, also while the keystores are still being opened.
        let is_bound = !self.operator.standing().signed.is_empty() || self.operator.is_finishing();
        if is_bound || self.operator.published_attempt().is_some() {
            // Whoever is still asked about another attempt need not answer any more.
            self.offered = None;
            return Ok(());
        }
        let k = self.operator.current_attempt();
        if self.operator.standing().joined.contains(&k) {
            if self.operator.is_lost(k) {
                // Long enough for the others to notice a process that has them.
                if !self.operator.is_surely_lost(k) || !self.lasts(Cause::Secrets(k), LOST) {
                    return Ok(());
                }
                self.refuse_beside_a_twin("secrets", k)?;
                return self.offer(&Offer {
                    k: k + 1,
                    reason: Reason::Lost,
                    automatic: true,
                    over: true,
                    by_all: false,
                    why: format!("this folder lacks the secrets of attempt {k}"),
                    before: "make sure that no other process uses your identity; then ".to_owned(),
                });
            }
            return self.answer_offer(k);
        }
        if k == 1 {
            return Ok(());
        }
        // What this folder said itself may be with the others only: had it voted, the attempt would go on.
        if !self.operator.is_surely_over(k - 1, self.whole) {
            return Ok(());
        }
        let verdict = self.operator.board().closing(k - 1);
        let guilty: Vec<String> = verdict
            .iter()
            .filter(|f| f.kind.is_guilt())
            .map(|f| format!("operator {} ({}) {}", f.operator, self.name(f.operator), f.kind))
            .collect();
        if guilty.is_empty() {
            let harmless: Vec<String> = verdict
                .iter()
                .map(|f| {
                    if f.kind == FaultKind::Void {
                        f.kind.to_string()
                    } else {
                        format!("{} {}", self.name(f.operator), f.kind)
                    }
                })
                .collect();
            let twice: Vec<String> = verdict
                .iter()
                .filter(|f| f.kind == FaultKind::Restarted)
                .map(|f| self.name(f.operator))
                .collect();
            // Nothing condemned it: a start before this one gave it up, and was ended before it could join the next.
            let given_up = harmless.is_empty();
            return self.offer(&Offer {
                k,
                reason: if given_up { Reason::ByHand } else { Reason::Verdict },
                automatic: !given_up,
                over: true,
                by_all: false,
                why: if given_up {
                    format!("attempt {} was given up in this folder", k - 1)
                } else {
                    harmless.join("; ")
                },
                before: if twice.is_empty() {
                    String::new()
                } else {
                    format!("make sure that {} runs only once; then ", twice.join(" and "))
                },
            });
        }
        // What finishes an earlier one that was voted for may be with the others.
        if let Some(voted) = self.operator.standing().newest_vote()
            && !self.operator.has_compared()
        {
            self.notice(format!(
                "attempt {} is over: {}. But you had confirmed your share of attempt {voted}, so one of the others may have a cluster-lock.json, \
                 and with it there is a key: conclave waits for any of them to run the same command. If all the others say that nobody has such \
                 a file, leave (Ctrl-C), delete nothing, and make a new definition without whoever broke the protocol, or with a new identity of \
                 theirs if it was a mistake",
                k - 1,
                guilty.join("; ")
            ));
            return Ok(());
        }
        // The others get the evidence before this node leaves.
        if !self.lasts(Cause::Guilt(k - 1), GRACE) {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Aborted,
            "the ceremony was aborted: somebody broke the protocol",
            guilty.join("; "),
            format!(
                "make a new definition without them, or with a new identity of theirs if it was a mistake. {}",
                self.whether_there_is_a_key(k - 1)
            ),
        ))
    }

    /// Who has everybody's seals and its own shares needs nobody any more. The others are given a moment to come first: with one of them it
    /// shows whether this folder is an old copy, and if it is none, `conclave run` need not wait.
    fn finish_alone(&mut self) -> Result<(), Problem> {
        if self.operator.has_compared() || !self.operator.is_complete() {
            return Ok(());
        }
        // Whoever interrupts it at once may have started it in the wrong folder.
        if !self.lasts(Cause::Alone, LOST) && !self.is_time_over() {
            return Ok(());
        }
        let effects = self.operator.publish_alone();
        if effects.is_empty() {
            return Ok(());
        }
        self.notice(format!(
            "everybody's seal is in this folder, and no other operator could be asked yet: your files are made without them. Nobody has said \
             whether this folder is an old copy: {}",
            publication::WAITS
        ));
        self.alone = self.operator.standing().newest_vote();
        self.carry_out(effects)
    }

    /// What is known of keys where an attempt is over, without an own vote in it.
    fn whether_there_is_a_key(&self, attempt: u32) -> String {
        if let Some(voted) = self.operator.standing().newest_vote() {
            format!(
                "But first ask all the others whether one of them has a cluster-lock.json: you had confirmed your share of attempt {voted}, and \
                 where there is such a file, there is a key"
            )
        } else if self.operator.has_surely_not_voted(attempt)
            && self.operator.adopted().next().is_none()
            && self.twin.is_none()
        {
            "No key was made: that takes the confirmation of everybody, and this folder has not given yours"
                .to_owned()
        } else {
            "As far as this folder knows no key was made. If you took part with another folder, look there first: where there is a \
             cluster-lock.json, there is a key"
                .to_owned()
        }
    }

    /// Where the secrets are in another folder that is being used, another attempt, or the word that the share is lost, would only harm what
    /// goes on there.
    fn refuse_beside_a_twin(&self, what: &str, k: u32) -> Result<(), Problem> {
        let Some(name) = &self.twin else {
            return Ok(());
        };
        Err(Problem::new(
            Kind::Aborted,
            format!(
                "this folder lacks the {what} of attempt {k}, and another process with your identity may have them"
            ),
            format!("{name} was connected with that process a moment ago: one identity must never run twice"),
            "find it, and go on with the folder that it uses; only if there is none, or that folder is lost: run this command again in a \
             minute",
        ))
    }

    /// Whether a cause has held for this long without a break.
    pub(super) fn lasts(&mut self, cause: Cause, time: Duration) -> bool {
        self.causes.lasts(cause, time, Instant::now())
    }

    /// Shares that everybody confirmed and that are lost now: no other attempt may follow.
    fn look_at_lost_shares(&mut self) -> Result<(), Problem> {
        if let Some((k, sealed)) = self.operator.own_lost_share() {
            return self.look_at_own_loss(k, sealed);
        }
        if let Some(k) = self.operator.own_share_was_found() {
            self.notice(format!(
                "it was told to everybody in your name that your share of attempt {k} is lost, but it is here, and the ceremony goes on with \
                 it. If you have brought this folder back, tell the others to run the same command again. If not, another process has your \
                 identity, in a folder without the share: find it and stop it, for one identity must never run twice"
            ));
        }
        if let Some((k, unsure)) = self.operator.unsure_shares() {
            for operator in unsure {
                if !self.operator.heard_of_loss(operator) {
                    continue;
                }
                let name = self.name(operator);
                let first = format!(
                    "{name} (operator {operator}) said that its files of attempt {k} are in place, and said that its share is lost: ask {name} \
                     which of the two is so now. If it is lost, {name} needs a copy of its folder"
                );
                self.notice(self.without_share(true, &first));
            }
        }
        let Some((k, lost)) = self.operator.lost_shares() else {
            return Ok(());
        };
        for (operator, sealed) in lost {
            let name = self.name(operator);
            let what = format!("{name} (operator {operator}) says that its share of attempt {k} is lost");
            let ask = format!(
                "ask {name} for its folder or a copy of it, in a snapshot of its disk for example: as soon as it runs the same command with that, \
                 and you run it too, the ceremony goes on"
            );
            let todo = self.without_share(sealed, &ask);
            if sealed || self.operator.published_attempt().is_some() || !self.is_given_up(operator) {
                self.notice(format!("{what}; {todo}"));
            } else {
                let why = "without its signatures nobody can finish, and no other attempt may follow one that everybody confirmed";
                return Err(Problem::new(Kind::Aborted, what, why, todo));
            }
        }
        Ok(())
    }

    /// Nothing can be done from here without the share: the others are told, unless another process may have it.
    fn look_at_own_loss(&mut self, k: u32, sealed: bool) -> Result<(), Problem> {
        if !self.lasts(Cause::OwnShare(k), LOST) {
            return Ok(());
        }
        self.refuse_beside_a_twin("share", k)?;
        // The others have all that they need, and no word counts beside this operator's own that its files are in place.
        if self.operator.has_told_end() {
            return Err(Problem::new(
                Kind::Aborted,
                format!("your share of attempt {k} is not in this folder"),
                "neither the keystores nor what they could be made from again are here. You have told the others before that your files are in \
                 place, and conclave tells them nothing else: a backup has your share",
                format!(
                    "{}. Without a backup, or a copy of the folder that you used, your share is lost: tell the others, for {}. Delete nothing",
                    backups::RESTORE,
                    self.with_one_less()
                ),
            ));
        }
        if !self.operator.has_told_loss() {
            // They are to hear it, and a twin shows only where others are.
            let is_apart = |operator: &u16| self.sync.is_apart(*operator);
            if self.connected.iter().all(is_apart) {
                self.notice(format!(
                    "your share of attempt {k} is not in this folder, nor what it could be made from again. Nobody is connected who could be \
                     told so: conclave waits for one of the others. If the folder that you used is elsewhere, or there is a copy of it, leave \
                     (Ctrl-C) and go on with that"
                ));
                return Ok(());
            }
            let effects = self.operator.say_share_is_lost();
            self.carry_out(effects)?;
        }
        if !self.lasts(Cause::Told(k), GRACE) {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Aborted,
            format!("your share of attempt {k} is lost"),
            "everybody confirmed the shares, and this folder neither holds its keystores nor what they could be made from again; the others \
             have been told",
            self.without_share(
                sealed,
                "if the folder that you used is elsewhere (another disk, another machine), or there is a copy of it, in a snapshot of the disk \
                 for example, put it in place of this one, and run the same command again, as the others do: the ceremony goes on",
            ),
        ))
    }

    /// Whether an operator said that its share is lost, and is not waited for any more. Its word counts if it came in this run. One that a
    /// journal holds was told before, and its folder may have been brought back since: it counts once that operator has come in this run and
    /// left again, and was never seen to sign or seal after it. No word counts while a process with its author's identity is there, as the
    /// one that said so ends, nor where there were two of them.
    pub(super) fn is_given_up(&mut self, operator: u16) -> bool {
        let Some((k, lost)) = self.operator.lost_shares() else {
            return false;
        };
        if !lost.contains_key(&operator) {
            return false;
        }
        if self.connected.contains(&operator) || self.sync.through(operator).is_some() {
            self.visits.seen(operator);
            return false;
        }
        let time = if self.operator.heard_of_loss(operator) {
            Some(LOST)
        } else if self.operator.has_signed_since_loss(operator) {
            None
        } else {
            self.visits.until_gone(operator)
        };
        time.is_some_and(|time| {
            !self.doubles.holds(operator, Instant::now()) && self.lasts(Cause::Word(k, operator), time)
        })
    }

    /// What can still be done when one operator has no share. `sealed`: it had signed everything before.
    fn without_share(&self, sealed: bool, first: &str) -> String {
        let rest = if sealed {
            self.with_one_less()
        } else {
            "ask all the others whether one of them has a cluster-lock.json: if so, the keys exist, and that file finishes the ceremony of \
             whoever has its share (--lock); if nobody has, make a new definition together"
                .to_owned()
        };
        format!("{first}. Otherwise {rest}. Delete nothing")
    }

    /// What the keys of a finished ceremony are worth when one operator has no share.
    fn with_one_less(&self) -> String {
        let (n, t) = (self.terms.n(), self.terms.t());
        if t < n {
            format!(
                "the validators work with any {t} of the other {} operators, but with one spare less: better make no deposits, and a new \
                 definition together",
                n - 1
            )
        } else {
            "the validators can never sign, as all operators are needed: make no deposits, and a new definition together".to_owned()
        }
    }

    /// Another operator offers the next attempt.
    pub(super) fn answer_offer(&mut self, k: u32) -> Result<(), Problem> {
        let board = self.operator.board();
        let ctx = self.terms.ctx(k + 1);
        let offers: Vec<(u16, Reason)> = self
            .terms
            .indices()
            .filter_map(|j| {
                let id = board.slot(&ctx, j, Slot::Step(Step::Join)).first()?;
                match &board.get(id)?.data {
                    Data::Join(body) => Some((j, body.reason)),
                    _ => None,
                }
            })
            .collect();
        // Whoever lost its shares can never sign in k, and whoever joins k + 1 without a vote for k never votes for it (V1): with
        // either, k lacks what it needs of all. Any other offer closes nothing: the present attempt may still be finished.
        let voted = |j: u16| {
            board
                .sessions(k)
                .any(|sid| !board.slot(&sid, j, Slot::Step(Step::Stored)).is_empty())
        };
        let ends = |offer: &&(u16, Reason)| offer.1 == Reason::Lost || !voted(offer.0);
        // Who lost its folder is the cause; the others have only gone on with it.
        let lost = offers.iter().find(|offer| offer.1 == Reason::Lost);
        let Some((who, reason)) = lost
            .or_else(|| offers.iter().find(ends))
            .or(offers.first())
            .copied()
        else {
            return Ok(());
        };
        let over = offers.iter().any(|offer| ends(&offer));
        let automatic = offers.iter().any(|(_, reason)| *reason == Reason::Lost);
        let name = self.name(who);
        let why = match reason {
            Reason::Lost => format!("{name} lost its folder of attempt {k} and offers another attempt"),
            _ => format!("{name} has gone on from attempt {k} and offers attempt {}", k + 1),
        };
        self.offer(&Offer {
            k: k + 1,
            reason: Reason::ByHand,
            automatic,
            over,
            by_all: offers.iter().any(|(j, _)| !voted(*j)),
            why,
            before: String::new(),
        })
    }

    /// Begins an attempt if the rules of retries allow it, else asks the person, once. Where nobody can be asked, or the answer
    /// was no, an attempt that is over ends the command: nothing that could still come would change that.
    fn offer(&mut self, offer: &Offer) -> Result<(), Problem> {
        let (k, why) = (offer.k, &offer.why);
        if k <= self.consented {
            return Ok(());
        }
        let voted = self.operator.standing().voted.contains(&(k - 1));
        let by_rule = offer.automatic && self.retries > 0 && !voted;
        // The rule needs to know whether there is an own vote, and the others may have it.
        if by_rule && k > self.allowed && !self.operator.has_compared() {
            return Ok(());
        }
        if k <= self.allowed || by_rule {
            if k > self.allowed {
                self.retries -= 1;
            }
            self.notice(format!(
                "attempt {k} begins: {why}. It takes all of you: whoever has left, or is asked nothing, runs the same command again with \
                 --attempt {k}"
            ));
            return self.begin_attempt(k, offer.reason);
        }
        let warning = if voted && offer.by_all {
            format!(
                " You had confirmed your share of attempt {}, so that no other one begins without your word.",
                k - 1
            )
        } else if voted {
            format!(
                " You have confirmed attempt {}: others may still complete it. Connect everybody first, and go on only if that \
                 does not help.",
                k - 1
            )
        } else {
            String::new()
        };
        if self.person.ask.is_some() && !self.refused.contains(&k) {
            if self.asked.insert(k) {
                self.offered = Some((k, format!("{why}.{warning}")));
                self.ask(k, format!("{why}.{warning}"));
            }
            return Ok(());
        }
        if !offer.over {
            self.notice(format!("{why}.{warning} To accept, {}", how_to_begin(k)));
            return Ok(());
        }
        // The others get what ended it before this node leaves.
        if !self.lasts(Cause::Over(k - 1), GRACE) {
            return Ok(());
        }
        Err(Problem::new(
            Kind::Aborted,
            format!("attempt {} cannot be finished", k - 1),
            format!("{why}.{warning}"),
            format!("nobody is to blame: {}{}", offer.before, how_to_begin(k)),
        ))
    }

    pub(super) fn ask(&mut self, k: u32, why: String) {
        let Some(ask) = self.person.ask.clone() else {
            return;
        };
        let tx = self.answers.0.clone();
        // A prompt blocks; entries go on being passed around meanwhile.
        std::thread::spawn(move || {
            let _ = tx.send((k, ask(&why, &format!("Begin attempt {k}?"))));
        });
    }

    pub(super) fn begin_attempt(&mut self, k: u32, reason: Reason) -> Result<(), Problem> {
        self.consented = k;
        if self.deriver.is_none() {
            let count = u32::try_from(self.terms.validators()).unwrap_or(u32::MAX);
            self.deriver = Some(KeyDeriver::start(count, self.kdf)?);
        }
        let effects = self.operator.consent(k, reason);
        self.carry_out(effects)
    }
}
