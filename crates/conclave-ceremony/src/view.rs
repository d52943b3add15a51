//! The board as others see it: what synchronisation may hand out, and what a screen shows.

use std::collections::BTreeSet;

use crate::sync::Ledger;
use crate::wire::{Bytes, Item, Verdict};
use conclave_dkg::board::{Board, Data, Slot};
use conclave_dkg::entry::{Id, Step};
use conclave_dkg::evidence::{Finding, Kind};
use conclave_dkg::operator::Operator;

use super::names::Names;
use super::progress::{self, Link, OperatorProgress, Snapshot};

/// The board, as synchronisation asks for it.
pub struct View<'a> {
    /// The operator: what it wants.
    pub operator: &'a Operator,
    /// Its board.
    pub board: &'a Board,
    /// Attempts above this one are not taken yet.
    pub horizon: u32,
}

/// The item that names an admitted entry.
pub fn item(board: &Board, id: &Id) -> Option<Item> {
    let entry = &board.get(id)?.entry;
    Some(Item {
        attempt: entry.attempt,
        step: entry.step as u8,
        operator: entry.operator,
        id: *id,
    })
}

fn finding(verdict: Verdict) -> Option<Finding> {
    Some(Finding {
        operator: verdict.operator,
        kind: Kind::from_byte(verdict.kind)?,
    })
}

impl Ledger for View<'_> {
    fn items(&self) -> Vec<Item> {
        self.board
            .order()
            .iter()
            .filter_map(|id| item(self.board, id))
            .collect()
    }

    fn wants(&self, item: &Item) -> bool {
        Step::from_byte(item.step)
            .is_some_and(|step| self.operator.wants(&item.id, item.attempt, step, item.operator))
    }

    fn bytes(&self, id: &Id) -> Option<Bytes> {
        Some(self.board.get(id)?.entry.encode().into())
    }

    fn verdicts(&self) -> Vec<Verdict> {
        self.board
            .findings()
            .map(|(attempt, f)| Verdict {
                attempt,
                operator: f.operator,
                kind: f.kind as u8,
            })
            .collect()
    }

    fn wants_evidence(&self, verdict: &Verdict) -> bool {
        verdict.attempt != 0
            && verdict.attempt <= self.horizon
            && usize::from(verdict.operator) <= self.board.terms().n()
            && finding(*verdict).is_some_and(|f| self.board.evidence(verdict.attempt, f).is_none())
    }

    fn evidence(&self, verdict: &Verdict) -> Option<Bytes> {
        Some(
            self.board
                .evidence(verdict.attempt, finding(*verdict)?)?
                .encode()
                .into(),
        )
    }
}

/// The name of an operator: what this folder calls it, else what its Join says.
pub fn name_of(board: &Board, names: &Names, operator: u16) -> String {
    let name = names_of_all(board, names)
        .into_iter()
        .nth(usize::from(operator).wrapping_sub(1));
    name.unwrap_or_else(|| "nobody".to_owned())
}

/// The names of all operators, in their order.
fn names_of_all(board: &Board, names: &Names) -> Vec<String> {
    let mut names = names.clone();
    let terms = board.terms();
    let keys = || {
        terms
            .indices()
            .filter_map(|operator| Some((operator, terms.operator(operator)?)))
    };
    for (operator, key) in keys() {
        if let Some(said) = said_name(board, operator) {
            names.learn(key, &said);
        }
    }
    names.of_all(keys().map(|(_, key)| key))
}

/// What an operator's newest Join says that it is called.
pub fn said_name(board: &Board, operator: u16) -> Option<String> {
    let newest = (1..=board.newest_attempt().max(1)).rev().take(8);
    let mut joined = newest.filter_map(|k| {
        let ctx = board.terms().ctx(k);
        let id = board.slot(&ctx, operator, Slot::Step(Step::Join)).first()?;
        match &board.get(id)?.data {
            Data::Join(body) => Some(body.name.clone()),
            _ => None,
        }
    });
    joined.next()
}

/// Who can be talked to.
pub struct Links<'a> {
    /// Operators with a connection.
    pub connected: &'a BTreeSet<u16>,
    /// Operators with a connection, who hold another ceremony.
    pub apart: &'a BTreeSet<u16>,
    /// Operators who were reached and run `conclave run`.
    pub validating: &'a BTreeSet<u16>,
    /// Who, of those, says that it is connected with this operator.
    pub through: &'a dyn Fn(u16) -> Option<u16>,
}

/// How far everybody is in the current attempt, and who is waited for.
pub fn snapshot(operator: &Operator, names: &Names, links: &Links<'_>, keys_ready: (u32, u32)) -> Snapshot {
    let connected = links.connected;
    let board = operator.board();
    let terms = board.terms();
    let attempt = operator
        .published_attempt()
        .unwrap_or_else(|| operator.current_attempt());
    let session = operator
        .session(attempt)
        .or_else(|| board.sessions(attempt).next());
    let ctx = terms.ctx(attempt);
    let has = |j: u16, step: Step| match (step, &session) {
        (Step::Join, _) => !board.slot(&ctx, j, Slot::Step(Step::Join)).is_empty(),
        (Step::Done, Some(sid)) => board.is_done(sid, j),
        (step, Some(sid)) => !board.slot(sid, j, Slot::Step(step)).is_empty(),
        (_, None) => false,
    };
    let verdict = board.verdict(attempt);
    let mut called = names_of_all(board, names).into_iter();
    let operators: Vec<OperatorProgress> = terms
        .indices()
        .map(|j| {
            let steps: Vec<progress::Step> = Step::ALL
                .iter()
                .zip(progress::Step::ALL)
                .filter(|(step, _)| has(j, **step))
                .map(|(_, shown)| shown)
                .collect();
            let direct = j == operator.index() || connected.contains(&j);
            let through = if direct { None } else { (links.through)(j) };
            let link = if j == operator.index() {
                Link::Myself
            } else if direct {
                Link::Connected
            } else if links.apart.contains(&j) {
                Link::Apart
            } else if through.is_some() {
                Link::Through
            } else if links.validating.contains(&j) {
                Link::Validating
            } else {
                Link::Away
            };
            let faults = verdict
                .iter()
                .filter(|f| f.operator == j)
                .map(|f| f.kind.to_string());
            let lost = session.is_some_and(|sid| board.is_share_lost(&sid, j));
            let faults: Vec<String> = faults.chain(lost.then(|| "lost its share".to_owned())).collect();
            OperatorProgress {
                index: j,
                name: called.next().unwrap_or_default(),
                link,
                through,
                steps,
                fault: (!faults.is_empty()).then(|| faults.join("; ")),
            }
        })
        .collect();
    let status = status(attempt, &operators, operator.published_attempt().is_some());
    let waits = operator.published_attempt().is_none() && operator.standing().voted.contains(&attempt);
    Snapshot {
        attempt,
        warning: waits
            .then(|| why_it_goes_on(attempt, &operators, &verdict))
            .flatten(),
        operators,
        keys_ready,
        status,
    }
}

/// The one thing that begins attempt `k` where nobody can be asked.
pub fn how_to_begin(k: u32) -> String {
    format!("everybody runs the same command again with --attempt {k}")
}

/// After the vote evidence stops nothing. Whoever then only sees that somebody is waited for must be told so.
fn why_it_goes_on(
    attempt: u32,
    operators: &[OperatorProgress],
    verdict: &BTreeSet<Finding>,
) -> Option<String> {
    let guilty: BTreeSet<u16> = verdict
        .iter()
        .filter(|f| f.kind.is_guilt())
        .map(|f| f.operator)
        .collect();
    // Whoever has voted took part in the session that is voted for, whatever else it said.
    let votes = |j: u16| {
        let of = operators.iter().find(|o| o.index == j);
        of.is_some_and(|o| o.has(progress::Step::Stored))
    };
    let unsure: BTreeSet<u16> = verdict
        .iter()
        .map(|f| f.operator)
        .filter(|j| !votes(*j))
        .collect();
    let whom = if guilty.is_empty() { unsure } else { guilty.clone() };
    let of = |who: &dyn Fn(&OperatorProgress) -> String| {
        let named = operators.iter().filter(|o| whom.contains(&o.index));
        named.map(who).collect::<Vec<String>>()
    };
    let who = of(&|o| format!("operator {} ({})", o.index, o.name)).join(" and ");
    if who.is_empty() {
        return None;
    }
    let what = of(&|o| {
        let fault = o.fault.as_deref().unwrap_or_default();
        let is = if guilty.is_empty() {
            ""
        } else {
            " is proven guilty: it"
        };
        format!("operator {} ({}){is} {fault}.", o.index, o.name)
    })
    .join(" ");
    let stands = format!(
        "You had confirmed your shares of attempt {attempt} before this came out, and that stands: others may sign with theirs, so \
         nothing is undone and attempt {attempt} can still be finished by all of you."
    );
    Some(if guilty.is_empty() {
        format!(
            "{what} Nobody is to blame. {stands} Stay connected. If {who} cannot finish it with you, {}.",
            how_to_begin(attempt.saturating_add(1))
        )
    } else {
        format!(
            "{what} {stands} Stay connected and delete nothing. If {who} does not finish it with you, and none of you has a \
             cluster-lock.json, make a new definition without {who}."
        )
    })
}

/// The first step that somebody lacks, and who; and what these have to do if nothing will come of waiting.
fn status(attempt: u32, operators: &[OperatorProgress], has_files: bool) -> String {
    let waiting = waiting(operators, has_files);
    match whom_to_ask(attempt, operators) {
        Some((whom, true)) => format!(
            "{waiting} Attempt {attempt} takes all of you: ask {whom} to answer the question on the screen with yes, or to run the same command \
             again with --attempt {attempt}."
        ),
        Some((whom, false)) => format!(
            "{waiting} Attempt {attempt} takes all of you: ask {whom} to run the same command again with --attempt {attempt}."
        ),
        None => waiting,
    }
}

/// What is said, beside who is waited for, where those are connected and have said nothing for a while: what is due comes without a person,
/// unless a person is asked.
pub fn why_they_are_silent(snapshot: &Snapshot) -> Option<String> {
    let step = waited_for(&snapshot.operators)?;
    if step == progress::Step::Done {
        return None;
    }
    let silent: Vec<&str> = snapshot
        .operators
        .iter()
        .filter(|o| !o.has(step) && matches!(o.link, Link::Connected | Link::Through))
        .map(|o| o.name.as_str())
        .take(6)
        .collect();
    // Whoever lacks something here may be what the others wait for.
    let is_due_here = snapshot
        .operators
        .iter()
        .any(|o| o.link == Link::Myself && !o.has(step));
    (!silent.is_empty() && !is_due_here).then(|| {
        let who = silent.join(", ");
        format!(
            "{who} is connected and has been silent for a while: the machine there may be busy, or there is a question on the screen that waits for \
             an answer. Ask {who}."
        )
    })
}

/// The first step that somebody lacks.
pub fn waited_for(operators: &[OperatorProgress]) -> Option<progress::Step> {
    let lacks = |step: &progress::Step| operators.iter().any(|o| !o.has(*step));
    progress::Step::ALL.into_iter().find(lacks)
}

/// Who has not joined another attempt that was joined here, and whether one of them is there to be asked: a first one begins by itself,
/// another one by somebody's word only.
fn whom_to_ask(attempt: u32, operators: &[OperatorProgress]) -> Option<(String, bool)> {
    let has_joined = |o: &&OperatorProgress| o.has(progress::Step::Joined);
    let is_joined_here = operators
        .iter()
        .filter(has_joined)
        .any(|o| o.link == Link::Myself);
    if attempt == 1 || !is_joined_here {
        return None;
    }
    let missing: Vec<&str> = operators
        .iter()
        .filter(|o| !has_joined(o))
        .map(|o| o.name.as_str())
        .collect();
    let is_there = operators
        .iter()
        .any(|o| !has_joined(&o) && matches!(o.link, Link::Connected | Link::Through));
    let (last, first) = missing.split_last()?;
    let whom = match first {
        [] => (*last).to_owned(),
        _ if missing.len() > 6 => "all the others".to_owned(),
        _ => format!("{} and {last}", first.join(", ")),
    };
    Some((whom, is_there))
}

/// Who is waited for. `has_files`: the own files are in place, and nothing but the others' word is waited for, whatever else is not here.
fn waiting(operators: &[OperatorProgress], has_files: bool) -> String {
    let others = || operators.iter().filter(|o| o.link != Link::Myself);
    let is_alone = !others().any(|o| o.link == Link::Connected);
    let lacks_word = others().any(|o| !o.has(progress::Step::Done));
    if is_alone && lacks_word && !has_files {
        let over: Vec<&str> = others()
            .filter(|o| o.link == Link::Validating)
            .map(|o| o.name.as_str())
            .take(6)
            .collect();
        return if over.is_empty() {
            "Waiting for a connection to any other operator.".to_owned()
        } else {
            format!(
                "Waiting for a connection to any other operator; the ceremony is over for {}, with whom conclave run is at work.",
                over.join(", ")
            )
        };
    }
    for step in progress::Step::ALL {
        if has_files && step != progress::Step::Done {
            continue;
        }
        let has = |o: &OperatorProgress| o.has(step) || (has_files && o.link == Link::Myself);
        let missing: Vec<&OperatorProgress> = operators.iter().filter(|o| !has(o)).collect();
        if missing.is_empty() {
            continue;
        }
        let list: Vec<String> = missing
            .iter()
            .take(6)
            .map(|o| match o.link {
                Link::Myself => "this machine".to_owned(),
                Link::Connected => o.name.clone(),
                Link::Through => {
                    let hub = operators.iter().find(|hub| Some(hub.index) == o.through);
                    format!("{} (through {})", o.name, hub.map_or("others", |hub| &hub.name))
                }
                Link::Apart => format!("{} (who holds another ceremony)", o.name),
                Link::Away => format!("{} (not connected)", o.name),
                Link::Validating => format!("{} (who runs conclave run)", o.name),
            })
            .collect();
        let more = missing.len().saturating_sub(6);
        let more = if more == 0 {
            String::new()
        } else {
            format!(" and {more} more")
        };
        let what = match step {
            progress::Step::Joined => "to join",
            progress::Step::Dealt => "to deal shares",
            progress::Step::Checked => "to check shares",
            progress::Step::Revealed => {
                "to reveal commitments (an operator that stays silent here blocks the key)"
            }
            progress::Step::Stored => "to store keystores",
            progress::Step::Signed => "to sign",
            progress::Step::Sealed => "to seal the lock",
            progress::Step::Done => "to confirm that all files are in place",
        };
        if has_files {
            return format!(
                "Your files are in place. Waiting for {}{more} {what}; Ctrl-C to leave.",
                list.join(", ")
            );
        }
        return format!("Waiting for {}{more} {what}.", list.join(", "));
    }
    if operators
        .iter()
        .any(|o| o.link == Link::Myself && !o.has(progress::Step::Done))
    {
        return "Your files are in place. Waiting for a connection to any other operator, to say so; Ctrl-C to leave."
            .to_owned();
    }
    format!(
        "Finished: all {} operators have their key share.",
        operators.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_dkg::testing::{Sim, node_key};

    fn seen_by(sim: &Sim, i: usize) -> Snapshot {
        let connected: BTreeSet<u16> = (1..=3).filter(|j| usize::from(*j) != i + 1).collect();
        let links = Links {
            connected: &connected,
            apart: &BTreeSet::new(),
            validating: &BTreeSet::new(),
            through: &|_| None,
        };
        snapshot(&sim.peers[i].operator, &Names::default(), &links, (0, 0))
    }

    /// Operator 1 says something wrong in `step`.
    fn lie(step: Step) -> Sim {
        let mut sim = Sim::new(3, 2, 1, 3);
        sim.forge = Some((
            0,
            Box::new(move |terms, _, mut e| {
                if e.step == step {
                    e.body[3] ^= 1;
                    e.signature = node_key(1).sign(&e.id(terms));
                }
                vec![e]
            }),
        ));
        sim.start();
        sim.run();
        sim
    }

    #[test]
    fn guilt_after_the_vote_is_explained() {
        let sim = lie(Step::Sign);
        let warning = seen_by(&sim, 1).warning.expect("a reason");
        for part in [
            "operator 1 (op1) is proven guilty: it signed an invalid step",
            "attempt 1",
            "Stay connected",
            "new definition without operator 1 (op1)",
        ] {
            assert!(warning.contains(part), "{part:?} is not in {warning:?}");
        }
        // Guilt before the vote ends the ceremony, which says so itself; innocence needs no words.
        assert_eq!(seen_by(&lie(Step::Reveal), 1).warning, None);
        let mut sim = Sim::new(3, 2, 1, 3);
        sim.start();
        sim.run();
        assert_eq!(seen_by(&sim, 1).warning, None);
    }

    #[test]
    fn whoever_started_twice_before_its_vote_is_told_of_with_the_way_on() {
        let mut operators: Vec<OperatorProgress> = ["ann", "bob", "carol"]
            .into_iter()
            .zip(1..)
            .map(|(name, index)| OperatorProgress::new(index, name, Link::Away))
            .collect();
        let verdict = BTreeSet::from([Finding {
            operator: 2,
            kind: Kind::Restarted,
        }]);
        operators[1].fault = Some(Kind::Restarted.to_string());
        let warning = why_it_goes_on(1, &operators, &verdict).expect("a reason");
        for part in [
            "operator 2 (bob) started twice with the same identity",
            "Nobody is to blame",
            "If operator 2 (bob) cannot finish it",
            "with --attempt 2",
        ] {
            assert!(warning.contains(part), "{part:?} is not in {warning:?}");
        }
        operators[1].steps.push(progress::Step::Stored);
        assert_eq!(why_it_goes_on(1, &operators, &verdict), None);
    }

    #[test]
    fn who_is_waited_for_is_said_with_the_way_to_it() {
        let mut operators: Vec<OperatorProgress> = [
            ("ann", Link::Connected),
            ("bob", Link::Through),
            ("carol", Link::Away),
        ]
        .into_iter()
        .zip(1..)
        .map(|((name, link), index)| OperatorProgress::new(index, name, link))
        .collect();
        operators.push(OperatorProgress::new(4, "dave", Link::Myself));
        operators[1].through = Some(1);
        assert_eq!(
            status(1, &operators, false),
            "Waiting for ann, bob (through ann), carol (not connected), this machine to join."
        );
        // Nobody joins another attempt by itself.
        assert!(
            !status(2, &operators, false).contains("--attempt"),
            "nor has this one"
        );
        operators[3].steps.push(progress::Step::Joined);
        assert_eq!(
            status(2, &operators, false),
            "Waiting for ann, bob (through ann), carol (not connected) to join. Attempt 2 takes all of you: ask ann, bob and carol to answer the \
             question on the screen with yes, or to run the same command again with --attempt 2."
        );
        operators[0].steps.push(progress::Step::Joined);
        operators[1].steps.push(progress::Step::Joined);
        assert_eq!(
            status(2, &operators, false),
            "Waiting for carol (not connected) to join. Attempt 2 takes all of you: ask carol to run the same command again with --attempt 2."
        );
        operators[2].steps.push(progress::Step::Joined);
        assert!(!status(2, &operators, false).contains("--attempt"));
        operators[0].link = Link::Away;
        assert_eq!(
            status(1, &operators, false),
            "Waiting for a connection to any other operator."
        );
    }

    fn three(links: [Link; 3]) -> Vec<OperatorProgress> {
        let named = ["ann", "bob", "carol"].into_iter().zip(links).zip(1..);
        named
            .map(|((name, link), index)| OperatorProgress::new(index, name, link))
            .collect()
    }

    #[test]
    fn whoever_has_its_files_is_told_so_whoever_is_there() {
        let mut operators = three([Link::Myself, Link::Away, Link::Validating]);
        let status = |operators: &[OperatorProgress]| super::status(1, operators, true);
        assert_eq!(
            status(&operators),
            "Your files are in place. Waiting for bob (not connected), carol (who runs conclave run) to confirm that all files are in place; \
             Ctrl-C to leave."
        );
        operators[1].steps.push(progress::Step::Done);
        operators[2].steps.push(progress::Step::Done);
        assert!(status(&operators).contains("Your files are in place. Waiting for a connection"));
        operators[0].steps.push(progress::Step::Done);
        assert!(status(&operators).starts_with("Finished"));
        // Without the files, whoever validates is no other version.
        for operator in &mut operators {
            operator.steps.clear();
        }
        let waits = super::status(1, &operators, false);
        assert!(waits.contains("the ceremony is over for carol"), "{waits}");
    }

    #[test]
    fn whoever_is_there_and_says_nothing_may_be_asked_something() {
        let mut operators = three([Link::Myself, Link::Connected, Link::Connected]);
        let why = |operators: &[OperatorProgress]| {
            why_they_are_silent(&Snapshot {
                attempt: 1,
                operators: operators.to_vec(),
                keys_ready: (0, 0),
                status: String::new(),
                warning: None,
            })
        };
        assert_eq!(why(&operators), None, "this one has not joined either");
        operators[0].steps.push(progress::Step::Joined);
        operators[1].steps.push(progress::Step::Joined);
        let told = why(&operators).expect("carol is silent");
        assert!(
            told.starts_with("carol is connected") && told.contains("a question on the screen"),
            "{told}"
        );
        operators[2].link = Link::Away;
        assert_eq!(why(&operators), None, "whoever is not there has no question");
    }
}
