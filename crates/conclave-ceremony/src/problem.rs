//! An error as a person needs it: what happened, why, and what to do about it.

use std::fmt;

use super::files::{Cause, FileError};
use conclave_cluster::{definition::DefinitionError, lock::LockError};
use conclave_eth::{deposit::DepositError, keystore::KeystoreError};

/// Which of the documented exit codes a problem leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Anything without a code of its own: the disk, the network. Exit code 1.
    Other,
    /// The command line was not understood. Exit code 2.
    Usage,
    /// A file or a value from outside is wrong. Exit code 3.
    BadInput,
    /// Others did not come in the time that was given. Exit code 4.
    GaveUp,
    /// The ceremony was aborted by a fault. Exit code 5.
    Aborted,
    /// A verification failed. Exit code 6.
    Verification,
    /// The data folder is in another state than this command needs. Exit code 7.
    FolderState,
    /// The lock cannot be validated with. Exit code 8.
    LockRefused,
    /// The slashing protection database is missing. Exit code 9.
    DatabaseMissing,
    /// The beacon node is of another network. Exit code 10.
    WrongNetwork,
    /// A second copy of this folder runs with the same share. Exit code 11.
    TwinSeen,
    /// An execution client that was named could not be asked. Exit code 12.
    NotAsked,
    /// The user interrupted. Exit code 130.
    Interrupted,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Other,
        Self::Usage,
        Self::BadInput,
        Self::GaveUp,
        Self::Aborted,
        Self::Verification,
        Self::FolderState,
        Self::LockRefused,
        Self::DatabaseMissing,
        Self::WrongNetwork,
        Self::TwinSeen,
        Self::NotAsked,
        Self::Interrupted,
    ];

    /// The exit code of the process.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::BadInput => 3,
            Self::GaveUp => 4,
            Self::Aborted => 5,
            Self::Verification => 6,
            Self::FolderState => 7,
            Self::LockRefused => 8,
            Self::DatabaseMissing => 9,
            Self::WrongNetwork => 10,
            Self::TwinSeen => 11,
            Self::NotAsked => 12,
            Self::Interrupted => 130,
        }
    }
}

/// An error for a person. Holds no secrets: whoever makes one puts none in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// Decides the exit code.
    pub kind: Kind,
    /// One line: what went wrong.
    pub what: String,
    /// One line: why.
    pub why: String,
    /// One line: what the reader can do now.
    pub what_to_do: String,
}

impl Problem {
    /// A problem of any kind from its three lines.
    pub fn new(
        kind: Kind,
        what: impl Into<String>,
        why: impl fmt::Display,
        what_to_do: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            what: what.into(),
            why: why.to_string(),
            what_to_do: what_to_do.into(),
        }
    }

    /// A problem from an error of the layers below, whose text has three lines: what, why, what to do.
    pub fn from_lines(kind: Kind, error: impl fmt::Display) -> Self {
        let text = error.to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let what = lines.next().unwrap_or("something went wrong").to_owned();
        let why = lines.next().unwrap_or_default().to_owned();
        let what_to_do = lines.collect::<Vec<_>>().join(" ");
        Self {
            kind,
            what,
            why,
            what_to_do,
        }
    }

    /// Input from outside is wrong.
    pub fn bad_input(what: impl Into<String>, why: impl fmt::Display, what_to_do: impl Into<String>) -> Self {
        Self::new(Kind::BadInput, what, why, what_to_do)
    }

    /// The folder is in another state than needed.
    pub fn folder_state(
        what: impl Into<String>,
        why: impl fmt::Display,
        what_to_do: impl Into<String>,
    ) -> Self {
        Self::new(Kind::FolderState, what, why, what_to_do)
    }

    /// Anything without an exit code of its own.
    pub fn other(what: impl Into<String>, why: impl fmt::Display, what_to_do: impl Into<String>) -> Self {
        Self::new(Kind::Other, what, why, what_to_do)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

/// What helps where a file cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Remedy {
    /// Nobody knows before somebody looks: what does not hold may be an attempt to steal.
    #[default]
    Doubt,
    /// A later version of this program.
    Update,
    /// The right user.
    Permission,
    /// Another copy of the same file: everybody has one.
    Another,
    /// The operator's own copy: nobody else has one.
    OwnCopy,
    /// The ceremony is to be finished first.
    Finish,
    /// None that is safe: a database of what a share signed is never replaced by another one.
    Leave,
}

impl Remedy {
    /// What to do, on one line.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Doubt => {
                "do not deposit and do not use these files before you know why; compare them with those of the other operators, and \
                 with those in your backup"
            }
            Self::Update => "update conclave on this machine, then verify again",
            Self::Permission => {
                "run the command again as the user who owns these files (ls -l shows who that is); nothing is known of what could not \
                 be read"
            }
            Self::Another => {
                "take that file from your backup or from another operator, who has the same one, then verify again; do not deposit \
                 before that"
            }
            Self::OwnCopy => {
                "put it back from your own backup, for nobody else has it, then verify again; do not deposit before that"
            }
            Self::Finish => {
                "run conclave join once more in that folder: it puts the keystores in their places; then verify again. Delete nothing"
            }
            Self::Leave => {
                "leave that database where it is, put no copy in its place, and check the disk; conclave run signs nothing with it, and says what \
                 can be done"
            }
        }
    }
}

/// Why something could not be read, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Unread {
    /// One line: why.
    pub why: String,
    /// What helps.
    pub remedy: Remedy,
}

impl Unread {
    /// What is wrong with a file, and what helps.
    pub fn new(why: impl fmt::Display, remedy: Remedy) -> Self {
        Self {
            why: why.to_string(),
            remedy,
        }
    }

    /// Of a file that only its operator has.
    #[must_use]
    pub fn of_own(self) -> Self {
        let remedy = match self.remedy {
            Remedy::Another => Remedy::OwnCopy,
            remedy => remedy,
        };
        Self { remedy, ..self }
    }
}

impl From<FileError> for Unread {
    fn from(error: FileError) -> Self {
        let remedy = match error.cause {
            Cause::Permission => Remedy::Permission,
            _ => Remedy::Another,
        };
        Self::new(error.cause, remedy)
    }
}

impl From<DefinitionError> for Unread {
    fn from(error: DefinitionError) -> Self {
        let remedy = match error {
            DefinitionError::LaterVersion(_) => Remedy::Update,
            DefinitionError::Json(_) | DefinitionError::OtherFile(_) => Remedy::Another,
            _ => Remedy::Doubt,
        };
        Self::new(error, remedy)
    }
}

impl From<LockError> for Unread {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Definition(error) => {
                let why = format!("the lock's definition: {error}");
                Self::new(why, Self::from(error).remedy)
            }
            LockError::Json(_) | LockError::OtherFile(_) => Self::new(error, Remedy::Another),
            LockError::Rule(_) => Self::new(error, Remedy::Doubt),
        }
    }
}

impl From<DepositError> for Unread {
    fn from(error: DepositError) -> Self {
        let remedy = match error {
            DepositError::Malformed(_) => Remedy::Another,
            _ => Remedy::Doubt,
        };
        Self::new(error, remedy)
    }
}

impl From<KeystoreError> for Unread {
    fn from(error: KeystoreError) -> Self {
        let remedy = match error {
            KeystoreError::LaterVersion(_) => Remedy::Update,
            _ => Remedy::OwnCopy,
        };
        Self::new(error, remedy)
    }
}
