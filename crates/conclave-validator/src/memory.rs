//! What this node remembers of the signatures of others, so that none of them can forget them.
//!
//! Of each operator the proofs of its newest attestation and of its newest block are kept, durably, and shown to it
//! whenever it connects. A node keeps with its guard how far it has signed itself, exactly as they do: who is shown a newer
//! proof than that has an old disk, and raises its guard.

use conclave_crypto::hash::Hash;

use super::partials::Proof;
use conclave_consensus::Signatures;
use conclave_eth::duty::Purpose;
use conclave_slashing::{Newest, Progress};

/// The newest proofs of one operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Proofs {
    /// Of a block.
    pub block: Option<Proof>,
    /// Of an attestation.
    pub attestation: Option<Proof>,
}

impl Proofs {
    /// Takes this proof if it shows more than what is there. True if it was taken.
    pub fn take(&mut self, proof: Proof) -> bool {
        let slot = match proof.header().purpose {
            Purpose::Block => &mut self.block,
            Purpose::Attestation => &mut self.attestation,
            _ => return false,
        };
        let newer = slot.is_none_or(|known| order(&proof) > order(&known));
        if newer {
            *slot = Some(proof);
        }
        newer
    }

    /// What they show: their author has signed as far as that.
    pub fn progress(&self) -> Progress {
        let newest = |proof: Proof| Newest {
            target: proof.header().target,
            source: proof.header().source,
            slot: proof.header().slot,
        };
        Progress {
            block: self.block.map(|proof| proof.header().slot),
            attestation: self.attestation.map(newest),
        }
    }

    /// Both, if they are there.
    pub fn iter(&self) -> impl Iterator<Item = &Proof> {
        self.block.iter().chain(&self.attestation)
    }

    /// Whether all of them are signed by this operator, and each is of its purpose.
    pub fn verify(&self, lock_hash: &Hash, operator: u16, signatures: &impl Signatures) -> bool {
        self.block
            .is_none_or(|proof| proof.header().purpose == Purpose::Block)
            && self
                .attestation
                .is_none_or(|proof| proof.header().purpose == Purpose::Attestation)
            && self
                .iter()
                .all(|proof| proof.verify(lock_hash, operator, signatures))
    }
}

/// What makes a proof newer: of attestations the target, then the source, then the slot; of blocks the slot.
fn order(proof: &Proof) -> (u64, u64, u64) {
    let header = proof.header();
    (header.target, header.source, header.slot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partials::{Item, Partials};
    use conclave_consensus::NodeSignatures;
    use conclave_crypto::node::NodeKey;

    fn proof(purpose: Purpose, slot: u64, epochs: (u64, u64)) -> Proof {
        let item = Item {
            validator: 0,
            place: 0,
            root: [0; 32],
            signature: [0; 96],
        };
        let key = NodeSignatures::new(NodeKey::from_bytes(&[1; 32]).unwrap(), Vec::new());
        Partials::sign(&key, &[7; 32], 1, purpose, slot, epochs, vec![item]).proof()
    }

    #[test]
    fn only_newer_proofs_are_taken() {
        let mut proofs = Proofs::default();
        assert!(proofs.take(proof(Purpose::Attestation, 65, (1, 2))));
        assert!(!proofs.take(proof(Purpose::Attestation, 65, (1, 2))));
        assert!(!proofs.take(proof(Purpose::Attestation, 70, (1, 1))));
        assert!(proofs.take(proof(Purpose::Attestation, 97, (1, 3))));
        assert!(proofs.take(proof(Purpose::Block, 66, (0, 0))));
        assert!(!proofs.take(proof(Purpose::Block, 65, (0, 0))));
        assert!(!proofs.take(proof(Purpose::Randao, 99, (0, 0))));
        assert!(proofs.take(proof(Purpose::Attestation, 99, (1, 3))));
        assert!(!proofs.take(proof(Purpose::Attestation, 98, (1, 3))));
        let newest = Newest {
            target: 3,
            source: 1,
            slot: 99,
        };
        assert_eq!(
            proofs.progress(),
            Progress {
                block: Some(66),
                attestation: Some(newest)
            }
        );
    }
}
