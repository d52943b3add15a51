//! Whether a validator can exit at all.

use conclave_beacon::answers::ValidatorStatus;
use conclave_eth::{chain::time::Time, exit::VoluntaryExit};

/// No chain has a validator with a greater index: all that could ever be staked would make fewer.
const MOST: u64 = 100_000_000;
/// An exit that becomes valid later than this is not meant.
const FAR_MS: u64 = 366 * 24 * 3600 * 1000;

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
    /// Beacon nodes differ about its index, and as many say the one as the other.
    #[error(
        "the validator's index is not certain\nthe beacon nodes disagree about it: {0}\nfind out which is right (a block explorer shows \
         the index of a public key), and take the wrong beacon node out of --beacon-node"
    )]
    Disputed(String),
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
    /// No validator has this index.
    #[error(
        "{0} is no validator's index\nno chain has so many validators, and an exit that is signed for it ends nothing\ngive the number that \
         conclave status --json or a beacon node shows for that public key"
    )]
    NoIndex(u64),
    /// The epoch is far away.
    #[error(
        "epoch {epoch} cannot be meant\nit is now epoch {now}, and an exit for epoch {epoch} would do nothing for more than a year{}\ngive --epoch \
         accordingly, or leave it out for an exit as soon as the chain takes it",
        slot.map(|epoch| format!("; if that is a slot, it is in epoch {epoch}")).unwrap_or_default()
    )]
    FarEpoch {
        /// What was given.
        epoch: u64,
        /// The current one.
        now: u64,
        /// The epoch of the slot that may have been given.
        slot: Option<u64>,
    },
}

impl Standing {
    /// The last line of what is said of a validator that has been told to exit, or has left.
    pub const DONE: &str = "nothing is left to be done";

    /// Whether an exit can be meant, before a share signs it. `time`: of the chain, if that is known.
    ///
    /// # Errors
    /// If no validator has the index, or the epoch is more than a year away.
    pub fn check_meant(message: &VoluntaryExit, time: Option<Time>, now_ms: u64) -> Result<(), Self> {
        if message.validator_index > MOST {
            return Err(Self::NoIndex(message.validator_index));
        }
        let Some(time) = time else { return Ok(()) };
        let (epoch, now) = (message.epoch, time.epoch_at(now_ms).unwrap_or(0));
        let last = time.epoch_at(now_ms.max(time.genesis_ms).saturating_add(FAR_MS));
        if last.is_none_or(|last| epoch <= last) {
            return Ok(());
        }
        let near = |epoch: &u64| {
            let begins = time.start_of_epoch(*epoch);
            begins.saturating_add(FAR_MS) >= now_ms && last.is_some_and(|last| *epoch <= last)
        };
        let slot = Some(time.epoch_of(epoch)).filter(near);
        Err(Self::FarEpoch { epoch, now, slot })
    }

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
    use conclave_beacon::answers::ValidatorRecord;

    #[test]
    fn an_absurd_index_or_epoch_is_told() {
        let time = Time {
            genesis_ms: 1_000_000,
            slot_ms: 12_000,
            slots_per_epoch: 32,
        };
        let now_ms = time.start_of_epoch(400_000);
        let check = |validator_index: u64, epoch: u64, time: Option<Time>| {
            let message = VoluntaryExit {
                epoch,
                validator_index,
            };
            Standing::check_meant(&message, time, now_ms)
        };
        for (index, epoch) in [(0, 0), (2_000_000, 400_000), (7, 400_225), (7, 482_000)] {
            assert_eq!(check(index, epoch, Some(time)), Ok(()), "{index} {epoch}");
        }
        for index in [100_000_001, 99_999_999_999, u64::MAX] {
            assert_eq!(check(index, 0, Some(time)), Err(Standing::NoIndex(index)));
            assert_eq!(check(index, 0, None), Err(Standing::NoIndex(index)));
        }
        // More than a year away; a slot in the place of an epoch.
        for (epoch, slot) in [
            (490_000, None),
            (12_800_000, Some(400_000)),
            (99_999_999, None),
            (u64::MAX, None),
        ] {
            let now = 400_000;
            assert_eq!(
                check(7, epoch, Some(time)),
                Err(Standing::FarEpoch { epoch, now, slot })
            );
            assert_eq!(check(7, epoch, None), Ok(()));
        }
        let text = check(7, 12_800_000, Some(time)).unwrap_err().to_string();
        assert!(
            text.contains("if that is a slot, it is in epoch 400000"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3, "{text}");
        // Before the chain begins.
        let message = VoluntaryExit {
            epoch: 82_000,
            validator_index: 1,
        };
        assert_eq!(Standing::check_meant(&message, Some(time), 0), Ok(()));
    }

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
