//! What wallets sign for a cluster: EIP-712 digests of the creator's and the operators' agreement.
//!
//! The wallet shows a person the *text* of the definition's config hash (`0x` and 64 lower-case hex digits) or of the
//! operator's record, under the domain `Obol`, version `1`, and the network's chain id.

use alloy_sol_types::{SolStruct, eip712_domain};

use conclave_crypto::hash::Hash;
use conclave_crypto::node::recover_address;

/// The typed structures; their names and fields are part of what is signed.
mod types {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic)]
    alloy_sol_types::sol! {
        struct CreatorConfigHash { string creator_config_hash; }
        struct OperatorConfigHash { string operator_config_hash; }
        struct ENR { string enr; }
    }
}

fn signing_hash(value: &impl SolStruct, chain_id: u64) -> Hash {
    let domain = eip712_domain! { name: "Obol", version: "1", chain_id: chain_id, };
    value.eip712_signing_hash(&domain).0
}

fn text(hash: &Hash) -> String {
    format!("0x{}", hex::encode(hash))
}

/// The 32 bytes that the creator's wallet signs.
pub fn creator_config_digest(config_hash: &Hash, chain_id: u64) -> Hash {
    signing_hash(
        &types::CreatorConfigHash {
            creator_config_hash: text(config_hash),
        },
        chain_id,
    )
}

/// The 32 bytes that an operator's wallet signs to agree to the definition.
pub fn operator_config_digest(config_hash: &Hash, chain_id: u64) -> Hash {
    signing_hash(
        &types::OperatorConfigHash {
            operator_config_hash: text(config_hash),
        },
        chain_id,
    )
}

/// The 32 bytes that an operator's wallet signs to bind the operator's node record, given as its text.
pub fn enr_digest(enr: &str, chain_id: u64) -> Hash {
    signing_hash(&types::ENR { enr: enr.to_owned() }, chain_id)
}

/// Whether `signature` was made by the key of `address` over `digest`.
///
/// False is no proof of forgery: a contract wallet (ERC-1271) has no key, and only the chain can say whether it agrees.
pub fn signed_by_key(address: &[u8; 20], digest: &Hash, signature: &[u8]) -> bool {
    <&[u8; 65]>::try_from(signature)
        .is_ok_and(|signature| recover_address(digest, signature).as_ref() == Some(address))
}
