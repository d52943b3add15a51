//! What a signature commits to beside its message: signature domains.
//!
//! Source: consensus-specs, phase0 beacon-chain, `compute_domain` and `compute_signing_root`; the builder
//! domain is from builder-specs; exits are signed for Capella for ever (EIP-7044).

use tree_hash::TreeHash;
use tree_hash_derive::TreeHash;

/// A domain type: the first 4 bytes of a domain.
pub type DomainType = [u8; 4];

/// `DOMAIN_DEPOSIT`: deposits.
pub const DOMAIN_DEPOSIT: DomainType = [3, 0, 0, 0];
/// `DOMAIN_VOLUNTARY_EXIT`: voluntary exits.
pub const DOMAIN_VOLUNTARY_EXIT: DomainType = [4, 0, 0, 0];
/// `DOMAIN_APPLICATION_BUILDER`: builder registrations.
pub const DOMAIN_APPLICATION_BUILDER: DomainType = [0, 0, 0, 1];

/// SSZ container `ForkData`.
#[derive(TreeHash)]
struct ForkData {
    current_version: [u8; 4],
    genesis_validators_root: [u8; 32],
}

/// SSZ container `SigningData`.
#[derive(TreeHash)]
struct SigningData {
    object_root: [u8; 32],
    domain: [u8; 32],
}

/// Hash tree root of `ForkData`: 32 bytes.
pub fn fork_data_root(current_version: [u8; 4], genesis_validators_root: [u8; 32]) -> [u8; 32] {
    ForkData {
        current_version,
        genesis_validators_root,
    }
    .tree_hash_root()
    .0
}

/// The domain (32 bytes): the type, then the first 28 bytes of the fork data root.
///
/// Deposits and builder registrations use the genesis fork version and a zero root, so that they hold before the
/// chain's genesis is known.
pub fn compute_domain(
    domain_type: DomainType,
    fork_version: [u8; 4],
    genesis_validators_root: [u8; 32],
) -> [u8; 32] {
    let root = fork_data_root(fork_version, genesis_validators_root);
    let mut domain = [0; 32];
    let (head, tail) = domain.split_at_mut(4);
    head.copy_from_slice(&domain_type);
    tail.copy_from_slice(&root[..28]);
    domain
}

/// What is signed for an object: hash tree root of `SigningData`, 32 bytes.
pub fn compute_signing_root(object_root: [u8; 32], domain: [u8; 32]) -> [u8; 32] {
    SigningData { object_root, domain }.tree_hash_root().0
}

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;
    use crate::network::Network;

    #[test]
    fn mainnet_domains_are_the_published_ones() {
        assert_eq!(
            compute_domain(DOMAIN_DEPOSIT, [0; 4], [0; 32]),
            hex!("03000000f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a9")
        );
        assert_eq!(
            compute_domain(DOMAIN_APPLICATION_BUILDER, [0; 4], [0; 32]),
            hex!("00000001f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a9")
        );
    }

    /// The fork digests by which nodes find each other on the network are the first bytes of the same root:
    /// a mistake in a fork version or a genesis validators root would show here.
    #[test]
    fn capella_digests_are_those_seen_on_the_wire() {
        for (name, digest) in [
            ("mainnet", hex!("bba4da96")),
            ("sepolia", hex!("47eb72b3")),
            ("holesky", hex!("17e2dad3")),
        ] {
            let network = Network::by_name(name).unwrap();
            let root = fork_data_root(
                network.capella_fork_version,
                network.genesis_validators_root.unwrap(),
            );
            assert_eq!(root[..4], digest, "{name}");
        }
    }
}
