//! Named checks and their outcomes: what a verification says to people and to programs.

use std::fmt;

/// How one check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was checked and holds.
    Ok,
    /// It was checked and does not hold; one line says why.
    Failed(String),
    /// It could not be checked; one line says why. Neither good nor bad.
    NotChecked(String),
}

/// Most things that one line lists.
const LISTED: usize = 3;

impl Outcome {
    /// Fine when nothing is bad; else the first few of what is, and how many more there are.
    pub fn of_failures(bad: &[String]) -> Self {
        first_few(bad).map_or(Outcome::Ok, Outcome::Failed)
    }

    /// `ok`, `failed` or `not checked`: the word for a table or JSON.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Failed(_) => "failed",
            Outcome::NotChecked(_) => "not checked",
        }
    }

    /// The reason, for anything but [`Outcome::Ok`].
    pub fn reason(&self) -> Option<&str> {
        match self {
            Outcome::Ok => None,
            Outcome::Failed(reason) | Outcome::NotChecked(reason) => Some(reason),
        }
    }
}

/// The first few of a list on one line, and how many more there are; nothing of an empty one.
pub fn first_few(all: &[String]) -> Option<String> {
    let mut listed: Vec<&str> = all.iter().take(LISTED).map(String::as_str).collect();
    let more = format!("and {} more", all.len().saturating_sub(LISTED));
    if all.len() > LISTED {
        listed.push(&more);
    }
    (!all.is_empty()).then(|| listed.join("; "))
}

impl From<Result<(), String>> for Outcome {
    fn from(result: Result<(), String>) -> Self {
        match result {
            Ok(()) => Outcome::Ok,
            Err(reason) => Outcome::Failed(reason),
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was checked, a few words that stay the same from release to release.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What somebody should know although it holds, in words.
    pub finding: Option<String>,
}

/// The checks of one verification, in the order in which they were made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// All checks.
    pub checks: Vec<Check>,
}

impl Report {
    /// Adds one check.
    pub fn add(&mut self, name: impl Into<String>, outcome: impl Into<Outcome>) {
        self.add_with_finding(name, outcome, None);
    }

    /// Adds one check, and what somebody should know although it holds.
    pub fn add_with_finding(
        &mut self,
        name: impl Into<String>,
        outcome: impl Into<Outcome>,
        finding: Option<String>,
    ) {
        self.checks.push(Check {
            name: name.into(),
            outcome: outcome.into(),
            finding,
        });
    }

    /// Adds all checks of another report, each name with `prefix` and a colon before it.
    pub fn extend(&mut self, prefix: &str, other: Report) {
        for check in other.checks {
            let name = format!("{prefix}: {}", check.name);
            self.add_with_finding(name, check.outcome, check.finding);
        }
    }

    /// True when nothing failed. Checks that could not be made do not count as failures.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks
            .iter()
            .filter(|check| matches!(check.outcome, Outcome::Failed(_)))
    }

    /// The check of this name.
    pub fn get(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for check in &self.checks {
            write!(f, "{:<12} {}", check.outcome.word(), check.name)?;
            if let Some(reason) = check.outcome.reason().or(check.finding.as_deref()) {
                write!(f, ": {reason}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
