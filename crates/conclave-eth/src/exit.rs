//! Voluntary exits: a validator's last message.
//!
//! Source: consensus-specs, phase0 `VoluntaryExit` and `SignedVoluntaryExit`; EIP-7044 fixes the fork version to
//! Capella's for ever, so a signed exit never expires: whoever holds the file can end the validator.

use serde::{Deserialize, Serialize};
use tree_hash::TreeHash;
use tree_hash_derive::TreeHash;

use super::{
    domain::{DOMAIN_VOLUNTARY_EXIT, compute_domain, compute_signing_root},
    json,
};
use crate::recognise::Content;
use conclave_crypto::bls::{PublicKey, Signature};

/// Most bytes that a signed exit file may have.
pub const MAX_FILE_BYTES: usize = 4096;

/// The message of a voluntary exit (SSZ container `VoluntaryExit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, TreeHash)]
pub struct VoluntaryExit {
    /// First epoch in which the exit may be included.
    pub epoch: u64,
    /// Index of the validator in the beacon state.
    pub validator_index: u64,
}

/// A voluntary exit with the signature of the validator's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedVoluntaryExit {
    /// What is signed.
    pub message: VoluntaryExit,
    /// BLS signature, compressed, 96 bytes.
    pub signature: [u8; 96],
}

/// Why a signed exit is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExitError {
    /// The file is not a signed voluntary exit.
    #[error("not a signed voluntary exit: {0}")]
    Malformed(String),
    /// The signature is not that of this validator for this exit on this network.
    #[error("the signature of the exit is wrong for this validator and network")]
    Signature,
}

impl VoluntaryExit {
    /// Hash tree root of the message: 32 bytes.
    pub fn root(&self) -> [u8; 32] {
        self.tree_hash_root().0
    }

    /// What the validator's key signs: 32 bytes.
    pub fn signing_root(&self, capella_fork_version: [u8; 4], genesis_validators_root: [u8; 32]) -> [u8; 32] {
        let domain = compute_domain(
            DOMAIN_VOLUNTARY_EXIT,
            capella_fork_version,
            genesis_validators_root,
        );
        compute_signing_root(self.root(), domain)
    }
}

/// The file as it is written: numbers are quoted, as in the beacon node's API.
#[derive(Serialize, Deserialize)]
struct File {
    message: FileMessage,
    signature: String,
}

#[derive(Serialize, Deserialize)]
struct FileMessage {
    epoch: String,
    validator_index: String,
}

impl SignedVoluntaryExit {
    /// The file that a beacon node accepts at `/eth/v1/beacon/pool/voluntary_exits`.
    pub fn to_json(&self) -> Vec<u8> {
        json::write(&File {
            message: FileMessage {
                epoch: self.message.epoch.to_string(),
                validator_index: self.message.validator_index.to_string(),
            },
            signature: format!("0x{}", hex::encode(self.signature)),
        })
    }

    /// Reads a signed exit; its signature is not checked yet.
    ///
    /// # Errors
    /// [`ExitError::Malformed`] for anything that is not such a file.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ExitError> {
        let file: File = json::read(bytes, MAX_FILE_BYTES, &Content::Exit).map_err(ExitError::Malformed)?;
        let digits = file.signature.strip_prefix("0x").unwrap_or_default();
        Ok(Self {
            message: VoluntaryExit {
                epoch: quoted_number("epoch", &file.message.epoch)?,
                validator_index: quoted_number("validator_index", &file.message.validator_index)?,
            },
            signature: json::hex_array("signature, after 0x,", digits).map_err(ExitError::Malformed)?,
        })
    }

    /// Checks the signature under the validator's public key (48 bytes).
    ///
    /// # Errors
    /// [`ExitError::Signature`] when it does not hold, or when key or signature are no valid points.
    pub fn verify(
        &self,
        pubkey: &[u8; 48],
        capella_fork_version: [u8; 4],
        genesis_validators_root: [u8; 32],
    ) -> Result<(), ExitError> {
        let root = self
            .message
            .signing_root(capella_fork_version, genesis_validators_root);
        let key = PublicKey::from_bytes(pubkey).map_err(|_| ExitError::Signature)?;
        let signature = Signature::from_bytes(&self.signature).map_err(|_| ExitError::Signature)?;
        if signature.verify(&key, &root) {
            Ok(())
        } else {
            Err(ExitError::Signature)
        }
    }
}

/// Reads a decimal number as the beacon API writes it: digits only, no sign, no leading zero.
fn quoted_number(what: &str, text: &str) -> Result<u64, ExitError> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    canonical
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| ExitError::Malformed(format!("{what} is not a decimal number of 64 bits in quotes")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use conclave_crypto::bls::SecretKey;

    fn signed() -> (SignedVoluntaryExit, [u8; 48]) {
        let mut scalar = [0; 32];
        scalar[31] = 42;
        let key = SecretKey::from_bytes(&scalar).unwrap();
        let message = VoluntaryExit {
            epoch: 194_048,
            validator_index: 7,
        };
        let signature = key.sign(&message.signing_root([3, 0, 0, 0], [9; 32])).to_bytes();
        (
            SignedVoluntaryExit { message, signature },
            key.public_key().to_bytes(),
        )
    }

    #[test]
    fn a_signed_exit_is_written_read_and_verified() {
        let (exit, pubkey) = signed();
        let text = String::from_utf8(exit.to_json()).unwrap();
        assert!(text.contains("\"epoch\": \"194048\""), "{text}");
        let read = SignedVoluntaryExit::from_json(text.as_bytes()).unwrap();
        assert_eq!(read, exit);
        read.verify(&pubkey, [3, 0, 0, 0], [9; 32]).unwrap();
        assert_eq!(
            read.verify(&pubkey, [4, 0, 0, 0], [9; 32]),
            Err(ExitError::Signature)
        );
        assert_eq!(
            read.verify(&pubkey, [3, 0, 0, 0], [8; 32]),
            Err(ExitError::Signature)
        );
        let mut other = read;
        other.message.validator_index += 1;
        assert_eq!(
            other.verify(&pubkey, [3, 0, 0, 0], [9; 32]),
            Err(ExitError::Signature)
        );
    }

    #[test]
    fn other_spellings_are_refused() {
        let text = String::from_utf8(signed().0.to_json()).unwrap();
        for (old, new) in [
            ("\"194048\"", "194048"),
            ("\"194048\"", "\"0194048\""),
            ("\"194048\"", "\"+194048\""),
            ("\"194048\"", "\"\""),
            ("\"194048\"", "\"18446744073709551616\""),
            ("0x", ""),
            ("0x", "0x00"),
            ("\"epoch\"", "\"era\""),
            ("\"signature\"", "\"Signature\": \"0x\", \"signature\""),
            ("\"epoch\"", "\"EPOCH\": \"1\", \"epoch\""),
        ] {
            assert!(text.contains(old));
            assert!(
                SignedVoluntaryExit::from_json(text.replacen(old, new, 1).as_bytes()).is_err(),
                "{new}"
            );
        }
        assert!(SignedVoluntaryExit::from_json(&[b' '; MAX_FILE_BYTES + 1]).is_err());
    }

    #[test]
    fn what_other_software_adds_is_ignored() {
        let exit = signed().0;
        let text = String::from_utf8(exit.to_json()).unwrap();
        for (old, new) in [
            ("\"signature\"", "\"fork_version\": \"0x03000000\", \"signature\""),
            ("\"epoch\"", "\"note\": null, \"epoch\""),
        ] {
            let changed = text.replacen(old, new, 1);
            assert_eq!(
                SignedVoluntaryExit::from_json(changed.as_bytes()),
                Ok(exit),
                "{new}"
            );
        }
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at in 0_usize..400, byte: u8) {
            let mut file = signed().0.to_json();
            if let Some(place) = file.get_mut(at) {
                *place = byte;
            }
            let _ = SignedVoluntaryExit::from_json(&file);
        }
    }
}
