//! What a transcript shows beside the lock: attempts, faults, and what is not in it.

use super::Verification;
use conclave_cluster::report::Outcome;
use conclave_dkg::transcript::Findings;

/// How many things of one sort are listed; a file of others can hold any number.
const LISTED: usize = 8;

/// What a transcript that holds shows beside the lock.
pub(super) fn show(file: &str, findings: &Findings, result: &mut Verification) {
    let who = |operator: u16| {
        let name = findings.names.get(usize::from(operator).wrapping_sub(1));
        name.map_or_else(
            || "nobody is to blame".to_owned(),
            |name| format!("operator {operator} ({name})"),
        )
    };
    // P8: who holds its contribution back after having seen the others' chooses between one more key and none.
    let shown: Vec<String> = findings.revealed.iter().map(u32::to_string).collect();
    let count = shown.len();
    let attempt = findings.attempt;
    let attempts = if count <= 1 {
        format!(
            "finished in attempt {attempt}; as far as this file shows, operators saw in no other attempt what the others add to the keys. Whoever \
             wrote the file can have left one out unseen, if it had ended before anybody confirmed its keys"
        )
    } else {
        format!(
            "finished in attempt {attempt}; operators saw what the others add to the keys in the attempts {}: nobody could choose the keys, but \
             whoever stopped an attempt refused what would have come of it, so that these are one of {count}. Whoever wrote the file can have \
             left a further one out unseen, if it had ended before anybody confirmed its keys",
            some(shown)
        )
    };
    result.tell(file, "attempts", attempts);
    let faults = findings
        .findings
        .iter()
        .map(|(attempt, finding)| format!("attempt {attempt}: {}: {}", who(finding.operator), finding.kind))
        .collect::<Vec<_>>();
    if !faults.is_empty() {
        result.tell(file, "faults that it shows", some(faults));
    }
    let absent = absent(findings);
    if !absent.is_empty() {
        let why = format!(
            "it holds nothing of the attempts {}: nothing was passed on there, or it was cut out; votes cannot be cut out",
            some(absent)
        );
        result.add(file, "earlier attempts", Outcome::NotChecked(why));
    }
    let complaints = findings
        .complaints
        .iter()
        .map(|(attempt, by, about)| format!("attempt {attempt}: {} about {}", who(*by), who(*about)))
        .collect::<Vec<_>>();
    if !complaints.is_empty() {
        let why = format!(
            "{}; the sealed shares, which would show who is right, are left out of transcripts",
            some(complaints)
        );
        result.add(file, "complaints", Outcome::NotChecked(why));
    }
    let lost: Vec<String> = findings.lost.iter().map(|operator| who(*operator)).collect();
    if !lost.is_empty() {
        let why = format!("these said that theirs is lost: {}", lost.join(", "));
        result.add(file, "shares are there", Outcome::NotChecked(why));
    }
    // Two may have the same name.
    let silent: Vec<String> = (1..)
        .zip(&findings.names)
        .filter(|(i, _)| !findings.done.contains(i))
        .map(|(i, _)| who(i))
        .collect();
    let stored = if silent.is_empty() {
        Outcome::Ok
    } else {
        Outcome::NotChecked(format!("these did not say so yet: {}", silent.join(", ")))
    };
    result.add(file, "all operators have their files", stored);
    let why = "no file can show it: the sealed shares are left out, and one machine with all identities makes a perfect transcript";
    result.add(file, "shares are secret", Outcome::NotChecked(why.to_owned()));
}

/// The attempts before the finished one of which nothing is there, as ranges.
fn absent(findings: &Findings) -> Vec<String> {
    let mut ranges = Vec::new();
    let mut next = 1;
    for attempt in findings.earlier.iter().copied().chain([findings.attempt]) {
        match attempt.checked_sub(next) {
            None | Some(0) => {}
            Some(1) => ranges.push(next.to_string()),
            Some(_) => ranges.push(format!("{next}-{}", attempt - 1)),
        }
        next = attempt.saturating_add(1);
    }
    ranges
}

/// The first few, and how many more there are.
fn some(mut all: Vec<String>) -> String {
    let more = all.len().saturating_sub(LISTED);
    all.truncate(LISTED);
    if more > 0 {
        all.push(format!("and {more} more"));
    }
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use conclave_dkg::{
        evidence::{Finding, Kind},
        outputs::GroupKeys,
    };

    fn shown(change: impl Fn(&mut Findings)) -> Vec<(String, &'static str, String)> {
        let mut findings = Findings {
            attempt: 1,
            keys: Arc::new(GroupKeys::new(vec![])),
            lock_hash: [1; 32],
            names: vec!["ann".into(), "bob".into()],
            revealed: BTreeSet::from([1]),
            done: BTreeSet::from([1, 2]),
            lost: BTreeSet::new(),
            findings: BTreeSet::new(),
            earlier: BTreeSet::new(),
            complaints: BTreeSet::new(),
        };
        change(&mut findings);
        let mut result = Verification::default();
        show("transcript", &findings, &mut result);
        let row = |row: &super::super::Row| {
            let why = row
                .outcome
                .reason()
                .or(row.finding.as_deref())
                .unwrap_or_default();
            (row.check.clone(), row.outcome.word(), why.to_owned())
        };
        result.rows.iter().map(row).collect()
    }

    #[track_caller]
    fn assert_row(rows: &[(String, &'static str, String)], check: &str, outcome: &str, why: &[&str]) {
        let row = rows.iter().find(|row| row.0 == check).expect("the row is there");
        assert_eq!(row.1, outcome, "{row:?}");
        assert!(why.iter().all(|part| row.2.contains(part)), "{row:?}");
    }

    #[test]
    fn a_plain_ceremony_shows_one_attempt() {
        let rows = shown(|_| ());
        assert_row(
            &rows,
            "attempts",
            "ok",
            &[
                "finished in attempt 1",
                "as far as this file shows",
                "in no other attempt",
                "left one out unseen",
            ],
        );
        assert_row(&rows, "all operators have their files", "ok", &[]);
        assert_row(&rows, "shares are secret", "not checked", &["left out"]);
        for check in ["faults that it shows", "earlier attempts", "complaints"] {
            assert!(rows.iter().all(|row| row.0 != check));
        }
    }

    #[test]
    fn attempts_faults_and_what_was_left_out_are_told() {
        let rows = shown(|findings| {
            findings.attempt = 7;
            findings.earlier = BTreeSet::from([1, 5]);
            findings.revealed = BTreeSet::from([1, 5, 7]);
            let finding = Finding {
                operator: 2,
                kind: Kind::DoubleSeal,
            };
            findings.findings = BTreeSet::from([(7, finding)]);
            findings.complaints = BTreeSet::from([(1, 1, 2)]);
            findings.done = BTreeSet::from([1]);
            findings.lost = BTreeSet::from([2]);
        });
        assert_row(
            &rows,
            "attempts",
            "ok",
            &[
                "finished in attempt 7",
                "1, 5, 7",
                "one of 3",
                "left a further one out unseen",
            ],
        );
        assert_row(
            &rows,
            "faults that it shows",
            "ok",
            &["attempt 7: operator 2 (bob): sealed"],
        );
        assert_row(&rows, "earlier attempts", "not checked", &["attempts 2-4, 6:"]);
        assert_row(
            &rows,
            "complaints",
            "not checked",
            &["attempt 1: operator 1 (ann) about operator 2 (bob)"],
        );
        assert_row(&rows, "all operators have their files", "not checked", &["bob"]);
        assert_row(&rows, "shares are there", "not checked", &["operator 2 (bob)"]);
    }

    #[test]
    fn hostile_numbers_make_no_long_rows() {
        let rows = shown(|findings| {
            findings.attempt = u32::MAX;
            findings.earlier = (1..1000).map(|k| k * 2).collect();
            findings.revealed = (1..1000).collect();
        });
        assert!(rows.iter().all(|row| row.2.len() < 400), "{rows:?}");
        assert_row(&rows, "earlier attempts", "not checked", &["and 992 more"]);
    }
}
