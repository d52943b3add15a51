//! An error as a person needs it: what happened, why, and what to do about it.

use std::fmt;

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
