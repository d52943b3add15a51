//! What a screen or a program is told while a ceremony goes on. Plain data: the conductor makes it, `cli` shows it.
//!
//! With `--json` each [`Event`] is one line; `event` names its kind. Fields are only ever added.

use serde::{Deserialize, Serialize};

use conclave_net::events;

/// How far an operator is, in the order of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It joined this attempt.
    Joined,
    /// It dealt its shares to everybody.
    Dealt,
    /// It checked the shares it was dealt.
    Checked,
    /// It revealed its commitments.
    Revealed,
    /// It says that its keystores are stored: its vote.
    Stored,
    /// It sent its partial signatures.
    Signed,
    /// It sealed the lock.
    Sealed,
    /// It says that its final files are in place.
    Done,
}

impl Step {
    /// All steps in order.
    pub const ALL: [Self; 8] = [
        Self::Joined,
        Self::Dealt,
        Self::Checked,
        Self::Revealed,
        Self::Stored,
        Self::Signed,
        Self::Sealed,
        Self::Done,
    ];

    /// The word for the column of a table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Dealt => "dealt",
            Self::Checked => "checked",
            Self::Revealed => "revealed",
            Self::Stored => "stored",
            Self::Signed => "signed",
            Self::Sealed => "sealed",
            Self::Done => "done",
        }
    }
}

/// Whether one can talk to an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// This is us.
    Myself,
    /// A direct connection.
    Connected,
    /// A connection, but it holds another ceremony: nothing is exchanged with it.
    Apart,
    /// No connection, but somebody who is connected is connected with it, and passes on what it says.
    Through,
    /// Nobody who is connected knows of it.
    Away,
    /// It was reached, and runs `conclave run`: for it the ceremony is over.
    Validating,
}

/// One operator as seen from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorProgress {
    /// Share index, from 1.
    pub index: u16,
    /// The name to show. Comes from outside: printed without control characters.
    pub name: String,
    /// Whether one can talk to it.
    pub link: Link,
    /// Share index of the one through whom it is reached, if there is no connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<u16>,
    /// The steps it has done in this attempt.
    pub steps: Vec<Step>,
    /// A proven fault, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
}

impl OperatorProgress {
    /// An operator of whom nothing is known yet.
    pub fn new(index: u16, name: impl Into<String>, link: Link) -> Self {
        Self {
            index,
            name: name.into(),
            link,
            through: None,
            steps: Vec::new(),
            fault: None,
        }
    }

    /// Whether it has done `step`.
    pub fn has(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }
}

/// The whole ceremony as seen from here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The attempt, from 1.
    pub attempt: u32,
    /// All operators, in the order of the definition.
    pub operators: Vec<OperatorProgress>,
    /// Keystores whose derivation is ready, and how many are needed.
    pub keys_ready: (u32, u32),
    /// One line: what is going on, or who is waited for.
    pub status: String,
    /// What a person must know to understand why it goes on, or does not: in words, with what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// An address where nobody is reached, as events tell it: those of `join`, and those of `run`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreachable {
    /// Share index of the operator who should be there, from 1; absent if the address does not say who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<u16>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The address.
    pub address: String,
    /// What happened, in a word: see docs/events.md.
    pub why: String,
    /// Who answered instead, if it is no operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// How many attempts failed.
    pub attempts: u64,
    /// Milliseconds until the next.
    pub next_ms: u64,
    /// Until when the operator was here, a time of day, if it was and has ended since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub was_here_until: Option<String>,
    /// In words.
    pub message: String,
}

impl Unreachable {
    /// What the network told, with names.
    pub fn new(told: &events::Unreachable, name: impl Fn(u16) -> String) -> Self {
        Self {
            operator: told.operator,
            name: told.operator.map(&name),
            address: told.address.to_string(),
            why: told.why.word().to_owned(),
            peer: match &told.why {
                events::Obstacle::Stranger(peer) => Some(peer.to_string()),
                _ => None,
            },
            attempts: told.times,
            next_ms: u64::try_from(told.next.as_millis()).unwrap_or(u64::MAX),
            was_here_until: told.was_here_until(),
            message: told.words(name),
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// An identity was made or shown.
    Identity {
        /// The operator's name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The text to send to whoever makes the definition.
        enr: String,
    },
    /// A file was written.
    Written {
        /// Where.
        path: String,
        /// What it is: "plan" or "definition".
        kind: String,
    },
    /// A definition as it will be joined.
    Definition {
        /// The cluster's name.
        name: String,
        /// Hexadecimal, with 0x.
        definition_hash: String,
        /// n.
        operators: u32,
        /// t.
        threshold: u32,
        /// V.
        validators: u32,
        /// The network's name.
        network: String,
    },
    /// Complete addresses under which this node can be reached, to give to the others.
    Listening {
        /// Multiaddresses with the peer id.
        addresses: Vec<String>,
    },
    /// Nobody is reached at an address; attempts go on.
    Unreachable(Unreachable),
    /// The ceremony went on.
    Progress(Snapshot),
    /// Something that a person should know; the ceremony goes on.
    Notice {
        /// In words.
        message: String,
    },
    /// A proven fault.
    Fault {
        /// Share index of the guilty operator, from 1; absent if nobody is guilty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        operator: Option<u16>,
        /// Its name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The kind of verdict.
        kind: String,
        /// In words.
        message: String,
        /// Where the evidence was written.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<String>,
    },
    /// One check of `verify` or `rehearse`.
    Check {
        /// The file or folder.
        subject: String,
        /// What was checked.
        check: String,
        /// "ok", "failed" or "not checked".
        result: String,
        /// Why it failed or could not be made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// What evidence proves.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        finding: Option<String>,
        /// What helps, where it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        what_to_do: Option<String>,
    },
    /// The end of a command that worked.
    Finished {
        /// Hexadecimal, with 0x, of the lock, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lock_hash: Option<String>,
        /// The public keys of the validators, hexadecimal, with 0x.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        validators: Vec<String>,
        /// Seconds that this run of the command took.
        seconds: f64,
    },
    /// The end of a command that failed.
    Error {
        /// The exit code.
        code: u8,
        /// What went wrong.
        what: String,
        /// Why.
        why: String,
        /// What to do.
        what_to_do: String,
    },
}

impl Event {
    /// The event as one line of JSON, without the line break.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| {
            format!("{{\"event\":\"notice\",\"message\":\"unprintable event: {error}\"}}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_single_lines_with_a_kind() {
        let snapshot = Snapshot {
            attempt: 1,
            operators: vec![OperatorProgress {
                steps: vec![Step::Joined],
                ..OperatorProgress::new(2, "a\nb", Link::Away)
            }],
            keys_ready: (0, 1),
            status: "waiting".into(),
            warning: None,
        };
        assert_eq!(
            Event::Progress(snapshot).to_json(),
            r#"{"event":"progress","attempt":1,"operators":[{"index":2,"name":"a\nb","link":"away","steps":["joined"]}],"keys_ready":[0,1],"status":"waiting"}"#
        );
        let finished = Event::Finished {
            lock_hash: None,
            validators: vec![],
            seconds: 1.5,
        };
        assert_eq!(finished.to_json(), r#"{"event":"finished","seconds":1.5}"#);
    }

    #[test]
    fn steps_are_in_order() {
        assert!(Step::ALL.is_sorted());
    }
}
