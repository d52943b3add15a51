//! Voluntary exits, signed by threshold.
//!
//! An operator consents by its own command, and only then does its share sign. A [`PartialExit`] is that consent: it
//! travels between running nodes or as a file, any t of one message make the signed exit ([`combine()`]), and nobody needs
//! to be there at the same time as anybody else: each node keeps and passes on all that it has seen ([`Ledger`]). One who
//! sends more than anybody can look at is in nobody's way ([`Inbox`]).
//!
//! What is signed is the same without any talk: epoch 0 unless the operator says otherwise, under the domain of Capella for
//! ever (EIP-7044). A peer's wish never changes one's own. A consent cannot be taken back, and neither can an exit.
//! Exits are not slashable: the guard has no say.

mod combine;
pub mod files;
mod inbox;
mod ledger;
mod partial;
mod standing;

#[cfg(test)]
pub(crate) mod tests;

pub use combine::{Combined, Lacking, Tally, Wrong, combine};
pub use inbox::{Inbox, Mail};
pub use ledger::{Ledger, Taken};
pub use partial::{LENGTH, MAX_FILE_BYTES, PartialError, PartialExit};
pub use standing::Standing;

use conclave_crypto::hash::Hash;
use conclave_eth::exit::{SignedVoluntaryExit, VoluntaryExit};

use super::group::Group;

/// Where a node keeps what it knows of exits from one start to the next.
pub trait Shelf: Send {
    /// Everything that was kept, file by file; what cannot be read is left out.
    fn load(&self) -> Vec<Vec<u8>>;
    /// Keeps a file under a name, durably, in place of an older one.
    ///
    /// # Errors
    /// Why it could not be kept, for people.
    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), String>;
}

/// The name under which a node keeps an operator's newest part for a validator; `None` if that is not in the lock.
pub fn kept_name(group: &Group, partial: &PartialExit) -> Option<String> {
    let key = key_text(group, partial.validator)?;
    Some(format!("{key}-operator-{}.json", partial.operator))
}

/// The name of the file of an operator's part of an exit: of another epoch it has another one. `None` if the validator is
/// not in the lock.
pub fn partial_name(
    group: &Group,
    (operator, validator): (u16, u32),
    message: &VoluntaryExit,
) -> Option<String> {
    let exit = exit_text(group, validator, message)?;
    Some(format!("{exit}-operator-{operator}.json"))
}

/// The name of the file of a signed exit, as [`partial_name`].
pub fn signed_name(group: &Group, validator: u32, message: &VoluntaryExit) -> Option<String> {
    Some(format!("{}-signed.json", exit_text(group, validator, message)?))
}

/// A validator's public key, and from when on the exit is valid unless that is at once.
fn exit_text(group: &Group, validator: u32, message: &VoluntaryExit) -> Option<String> {
    let key = key_text(group, validator)?;
    Some(match message.epoch {
        0 => key,
        epoch => format!("{key}-epoch-{epoch}"),
    })
}

/// A validator's public key as text.
pub fn key_text(group: &Group, validator: u32) -> Option<String> {
    let validator = group.validators.get(usize::try_from(validator).ok()?)?;
    Some(format!("0x{}", hex::encode(validator.key.to_bytes())))
}

/// The file of a signed exit: one line ends it.
pub fn signed_file(exit: &SignedVoluntaryExit) -> Vec<u8> {
    let mut bytes = exit.to_json();
    bytes.push(b'\n');
    bytes
}

/// What an exit is signed for beside its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    /// `CAPELLA_FORK_VERSION`, 4 bytes.
    pub capella_fork_version: [u8; 4],
    /// The chain's genesis validators root.
    pub genesis_validators_root: Hash,
}

impl Domain {
    /// What the validator's key signs: 32 bytes.
    pub fn signing_root(&self, exit: &VoluntaryExit) -> Hash {
        exit.signing_root(self.capella_fork_version, self.genesis_validators_root)
    }
}
