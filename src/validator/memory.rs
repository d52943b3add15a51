//! What this node remembers of the signatures of others, so that none of them can forget them.
//!
//! Of each operator the proofs of its newest attestation and of its newest block are kept, durably, and shown to it
//! whenever it connects. A node whose disk is older than that raises its guard.

use super::{duty::Purpose, group::Group, partials::Proof};

/// How far somebody had signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// Slot of the newest block.
    pub block: Option<u64>,
    /// Source and target epoch of the newest attestation.
    pub attestation: Option<(u64, u64)>,
}

impl Marks {
    /// Takes the higher of both in everything.
    pub fn raise(&mut self, other: Self) {
        self.block = self.block.max(other.block);
        self.attestation = match (self.attestation, other.attestation) {
            (Some(own), Some(new)) => Some((own.0.max(new.0), own.1.max(new.1))),
            (own, new) => own.or(new),
        };
    }

    /// Whether `self` holds nothing that `other` does not hold too.
    pub fn within(&self, other: &Self) -> bool {
        let mut raised = *other;
        raised.raise(*self);
        raised == *other
    }
}

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

    /// What they show.
    pub fn marks(&self) -> Marks {
        Marks {
            block: self.block.map(|proof| proof.header().slot),
            attestation: self
                .attestation
                .map(|proof| (proof.header().source, proof.header().target)),
        }
    }

    /// Both, if they are there.
    pub fn iter(&self) -> impl Iterator<Item = &Proof> {
        self.block.iter().chain(&self.attestation)
    }

    /// Whether all of them are signed by this operator, and each is of its purpose.
    pub fn verify(&self, group: &Group, operator: u16) -> bool {
        let Some(author) = group.operator(operator) else {
            return false;
        };
        self.block
            .is_none_or(|proof| proof.header().purpose == Purpose::Block)
            && self
                .attestation
                .is_none_or(|proof| proof.header().purpose == Purpose::Attestation)
            && self
                .iter()
                .all(|proof| proof.verify(&group.lock_hash, operator, &author.key))
    }
}

/// What makes a proof newer: of attestations the target, then the source; of blocks the slot.
fn order(proof: &Proof) -> (u64, u64, u64) {
    let header = proof.header();
    (header.target, header.source, header.slot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        crypto::node::NodeKey,
        validator::partials::{Item, Partials},
    };

    fn proof(purpose: Purpose, slot: u64, epochs: (u64, u64)) -> Proof {
        let item = Item {
            validator: 0,
            place: 0,
            root: [0; 32],
            signature: [0; 96],
        };
        let key = NodeKey::from_bytes(&[1; 32]).unwrap();
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
        let marks = proofs.marks();
        assert_eq!((marks.block, marks.attestation), (Some(66), Some((1, 3))));
    }

    #[test]
    fn marks_only_rise() {
        let mut marks = Marks::default();
        let some = Marks {
            block: Some(0),
            attestation: Some((3, 4)),
        };
        assert!(marks.within(&some) && !some.within(&marks));
        marks.raise(some);
        marks.raise(Marks {
            block: None,
            attestation: Some((2, 5)),
        });
        assert_eq!(marks.attestation, Some((3, 5)));
        assert!(some.within(&marks) && !marks.within(&some));
    }
}
