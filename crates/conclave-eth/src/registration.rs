//! Builder registrations: a validator tells block builders where its fees go.
//!
//! Source: builder-specs, `ValidatorRegistrationV1`.

use tree_hash::TreeHash;
use tree_hash_derive::TreeHash;

use super::domain::{DOMAIN_APPLICATION_BUILDER, compute_domain, compute_signing_root};

/// The message of a builder registration (SSZ container `ValidatorRegistrationV1`).
#[derive(Debug, Clone, PartialEq, Eq, TreeHash)]
pub struct Registration {
    /// Execution address (20 bytes) that receives the fees.
    pub fee_recipient: [u8; 20],
    /// Gas limit that the validator asks for, in gas.
    pub gas_limit: u64,
    /// Unix seconds. A ceremony signs the network's genesis time, so that any later registration replaces it.
    pub timestamp: u64,
    /// The validator's public key, compressed, 48 bytes.
    pub pubkey: [u8; 48],
}

impl Registration {
    /// Hash tree root of the message: 32 bytes.
    pub fn root(&self) -> [u8; 32] {
        self.tree_hash_root().0
    }

    /// What the validator's key signs (32 bytes) on the network with this genesis fork version.
    pub fn signing_root(&self, genesis_fork_version: [u8; 4]) -> [u8; 32] {
        let domain = compute_domain(DOMAIN_APPLICATION_BUILDER, genesis_fork_version, [0; 32]);
        compute_signing_root(self.root(), domain)
    }
}
