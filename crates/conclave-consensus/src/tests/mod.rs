//! Agreement as a whole.

use conclave_crypto::hash::{Hash, sha256};

use super::quorum::Signatures;

mod rules;
mod sim;

/// Signatures that cost a hash instead of a multiplication: thousands of runs take seconds. Whoever knows an operator's
/// number could forge them, which nobody in these tests does.
pub(super) struct Cheap(pub(super) u16);

fn cheap(operator: u16, digest: &Hash) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&sha256(&[b"cheap", &operator.to_be_bytes(), digest]));
    signature
}

impl Signatures for Cheap {
    fn sign(&self, digest: &Hash) -> [u8; 64] {
        cheap(self.0, digest)
    }

    fn verify(&self, operator: u16, digest: &Hash, signature: &[u8; 64]) -> bool {
        cheap(operator, digest) == *signature
    }
}
