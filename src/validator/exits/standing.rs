//! Whether a validator can exit at all.

use crate::validator::beacon::answers::ValidatorStatus;

/// Why a validator cannot exit. The text of each has three lines: what, why, what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Standing {
    /// Its deposit has not been processed.
    #[error(
        "the validator cannot exit\nthe chain does not know it\ncheck the public key and the network; a new deposit takes \
         hours or days until the chain knows it"
    )]
    Unknown,
    /// It is not active yet.
    #[error("the validator cannot exit yet\nit is not active: {0}\nwait until it is, then ask again")]
    Pending(String),
    /// It was told to before, or slashed.
    #[error(
        "the validator is leaving already\nthe chain lets it go at epoch {epoch}: {status}\nnothing is left to be done"
    )]
    Leaving {
        /// First epoch without duties.
        epoch: u64,
        /// As the beacon node calls it.
        status: String,
    },
    /// It has left.
    #[error(
        "the validator has left already\nit has no duties since epoch {epoch}: {status}\nnothing is left to be done"
    )]
    Gone {
        /// First epoch without duties.
        epoch: u64,
        /// As the beacon node calls it.
        status: String,
    },
    /// The key has another index.
    #[error(
        "the validator has another index\nthe chain knows this public key as validator {found}, not {given}\nlook both up \
         again, and give the index that belongs to the key"
    )]
    OtherIndex {
        /// On the chain.
        found: u64,
        /// What was given.
        given: u64,
    },
}

impl Standing {
    /// The last line of what is said of a validator that has been told to exit, or has left.
    pub const DONE: &str = "nothing is left to be done";

    /// What the chain says of a validator that shall exit.
    ///
    /// # Errors
    /// Unless it is active and stays so.
    pub fn check(status: &ValidatorStatus) -> Result<(), Self> {
        let epoch = status.validator.exit_epoch;
        let text = status.status.clone();
        match status.status.as_str() {
            "active_ongoing" => Ok(()),
            "active_exiting" | "active_slashed" => Err(Self::Leaving { epoch, status: text }),
            pending if pending.starts_with("pending") => Err(Self::Pending(text)),
            _ => Err(Self::Gone { epoch, status: text }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validator::beacon::answers::ValidatorRecord;

    #[test]
    fn only_a_validator_at_work_can_exit() {
        let check = |status: &str| {
            Standing::check(&ValidatorStatus {
                index: 1,
                balance: 0,
                status: status.to_owned(),
                validator: ValidatorRecord {
                    pubkey: [0; 48],
                    effective_balance: 0,
                    slashed: false,
                    activation_epoch: 0,
                    exit_epoch: 7,
                },
            })
        };
        assert_eq!(check("active_ongoing"), Ok(()));
        for status in ["pending_initialized", "pending_queued"] {
            assert_eq!(check(status), Err(Standing::Pending(status.to_owned())));
        }
        for status in ["active_exiting", "active_slashed"] {
            let status = status.to_owned();
            assert_eq!(check(&status), Err(Standing::Leaving { epoch: 7, status }));
        }
        for status in [
            "exited_unslashed",
            "exited_slashed",
            "withdrawal_possible",
            "withdrawal_done",
        ] {
            let status = status.to_owned();
            assert_eq!(check(&status), Err(Standing::Gone { epoch: 7, status }));
        }
    }
}
