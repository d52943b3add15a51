//! Signatures that cost nothing.

use crate::{
    combine::{Combined, Job, Outcome},
    partials::Item,
};
use conclave_consensus::Signatures;
use conclave_crypto::hash::{Hash, sha256};

/// Signatures that nobody can tell from real ones within a simulation: nobody here computes another's.
#[derive(Clone)]
pub(crate) struct Cheap(pub(crate) u16);

pub(super) fn cheap(operator: u16, digest: &Hash) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&sha256(&[b"cheap", &operator.to_be_bytes(), digest]));
    bytes
}

impl Signatures for Cheap {
    fn sign(&self, digest: &Hash) -> [u8; 64] {
        cheap(self.0, digest)
    }

    fn verify(&self, operator: u16, digest: &Hash, signature: &[u8; 64]) -> bool {
        *signature == cheap(operator, digest)
    }
}

/// A partial signature of nobody's real share.
pub(super) fn partial(operator: u16, validator: u32, root: &Hash) -> [u8; 96] {
    let mut bytes = [0; 96];
    bytes[..32].copy_from_slice(&sha256(&[
        b"partial",
        &operator.to_be_bytes(),
        &validator.to_be_bytes(),
        root,
    ]));
    bytes
}

pub(super) fn combine(job: &Job) -> Outcome {
    let mut outcome = Outcome::default();
    for (place, root, partials) in job.tasks() {
        outcome.places.push(place);
        let wrong: Vec<u16> = partials
            .iter()
            .filter(|(operator, signature)| *signature != partial(*operator, place.0, &root))
            .map(|(operator, _)| *operator)
            .collect();
        if wrong.is_empty() {
            let mut signature = [0; 96];
            signature[..32].copy_from_slice(&sha256(&[b"whole", &place.0.to_be_bytes(), &root]));
            outcome.signatures.push(Combined {
                place,
                root,
                signature,
                signers: partials.iter().map(|(operator, _)| *operator).collect(),
            });
        }
        outcome
            .wrong
            .extend(wrong.into_iter().map(|operator| (operator, place)));
    }
    outcome
}

pub(super) fn item(operator: u16, place: (u32, u16), root: Hash) -> Item {
    Item {
        validator: place.0,
        place: place.1,
        root,
        signature: partial(operator, place.0, &root),
    }
}
