//! The board as others see it: what synchronisation may hand out, and what a screen shows.

use std::collections::BTreeSet;

use crate::dkg::board::{Board, Data, Slot};
use crate::dkg::entry::{Id, Step};
use crate::dkg::evidence::{Finding, Kind};
use crate::dkg::operator::Operator;
use crate::p2p::sync::Ledger;
use crate::p2p::wire::{Bytes, Item, Verdict};

use super::names::Names;
use super::progress::{self, Link, OperatorProgress, Snapshot};

/// The board, as synchronisation asks for it.
pub struct View<'a> {
    /// The board.
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
        self.board.is_wanted(&item.id, item.attempt)
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

/// The name of an operator: what its Join says, else what this folder calls it.
pub fn name_of(board: &Board, names: &Names, operator: u16) -> String {
    let newest = (1..=board.newest_attempt().max(1)).rev().take(8);
    let joined = newest.filter_map(|k| {
        let ctx = board.terms().ctx(k);
        let id = board.slot(&ctx, operator, Slot::Step(Step::Join)).first()?;
        match &board.get(id)?.data {
            Data::Join(body) => Some(body.name.clone()),
            _ => None,
        }
    });
    let key = board.terms().operator(operator);
    joined
        .into_iter()
        .next()
        .unwrap_or_else(|| key.map_or_else(|| "nobody".to_owned(), |key| names.of(key)))
}

/// How far everybody is in the current attempt, and who is waited for.
pub fn snapshot(
    operator: &Operator,
    names: &Names,
    connected: &BTreeSet<u16>,
    keys_ready: (u32, u32),
) -> Snapshot {
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
        (step, Some(sid)) => !board.slot(sid, j, Slot::Step(step)).is_empty(),
        (_, None) => false,
    };
    let verdict = board.verdict(attempt);
    let operators: Vec<OperatorProgress> = terms
        .indices()
        .map(|j| {
            let steps: Vec<progress::Step> = Step::ALL
                .iter()
                .zip(progress::Step::ALL)
                .filter(|(step, _)| has(j, **step))
                .map(|(_, shown)| shown)
                .collect();
            let link = if j == operator.index() {
                Link::Myself
            } else if connected.contains(&j) {
                Link::Connected
            } else if steps.is_empty() {
                Link::Away
            } else {
                Link::Through
            };
            let faults: Vec<String> = verdict
                .iter()
                .filter(|f| f.operator == j)
                .map(|f| f.kind.to_string())
                .collect();
            OperatorProgress {
                index: j,
                name: name_of(board, names, j),
                link,
                steps,
                fault: (!faults.is_empty()).then(|| faults.join("; ")),
            }
        })
        .collect();
    let status = status(&operators, connected.len());
    Snapshot {
        attempt,
        operators,
        keys_ready,
        status,
    }
}

/// The first step that somebody lacks, and who.
fn status(operators: &[OperatorProgress], connected: usize) -> String {
    if connected == 0
        && operators
            .iter()
            .any(|o| o.link != Link::Myself && !o.has(progress::Step::Done))
    {
        return "Waiting for a connection to any other operator.".to_owned();
    }
    for step in progress::Step::ALL {
        let missing: Vec<&OperatorProgress> = operators.iter().filter(|o| !o.has(step)).collect();
        if missing.is_empty() {
            continue;
        }
        let list: Vec<String> = missing
            .iter()
            .take(6)
            .map(|o| match o.link {
                Link::Myself => "this machine".to_owned(),
                Link::Connected => o.name.clone(),
                Link::Through | Link::Away => format!("{} (not connected)", o.name),
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
            progress::Step::Revealed => "to reveal commitments (silence here is the one way to refuse a key)",
            progress::Step::Stored => "to store keystores",
            progress::Step::Signed => "to sign",
            progress::Step::Sealed => "to seal the lock",
            progress::Step::Done => "to confirm that all files are in place",
        };
        if step == progress::Step::Done && operators.iter().any(|o| o.link == Link::Myself && o.has(step)) {
            return format!(
                "Your files are in place. Waiting for {}{more} {what}; Ctrl-C to leave.",
                list.join(", ")
            );
        }
        return format!("Waiting for {}{more} {what}.", list.join(", "));
    }
    "Everybody has everything.".to_owned()
}
