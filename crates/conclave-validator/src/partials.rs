//! Partial signatures as they travel, and what the newest of them proves about their author.
//!
//! ```text
//! header:  u8 purpose || u64 slot || u64 source || u64 target || H(items)                          57 bytes
//! items:   per signature u32 validator || u16 place || signing root (32) || BLS signature (96)     134 bytes
//! ```
//! The author's node key signs H(domain || lock hash || u16 operator || header). A header with that signature is a
//! proof by itself: it shows how far its author had signed, without the items.

use std::sync::Arc;

use conclave_crypto::{
    domains,
    hash::{Hash, sha256},
};
use conclave_dkg::wire::Reader;

use conclave_consensus::Signatures;
use conclave_eth::duty::Purpose;

/// Bytes of an encoded header.
pub const HEADER: usize = 57;
/// Bytes of an encoded item.
pub const ITEM: usize = 134;
/// Bytes of an encoded proof: header and signature.
pub const PROOF: usize = HEADER + 64;

/// What the author's guard remembers of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Header {
    /// What is signed.
    pub purpose: Purpose,
    /// The duty's slot; for an exit its epoch.
    pub slot: u64,
    /// Source epoch of an attestation, else 0.
    pub source: u64,
    /// Target epoch of an attestation, else 0.
    pub target: u64,
    /// SHA-256 of the encoded items.
    pub digest: Hash,
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0] = self.purpose as u8;
        bytes[1..9].copy_from_slice(&self.slot.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.source.to_be_bytes());
        bytes[17..25].copy_from_slice(&self.target.to_be_bytes());
        bytes[25..].copy_from_slice(&self.digest);
        bytes
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let header = Self {
            purpose: Purpose::from_u8(reader.u8()?)?,
            slot: reader.u64()?,
            source: reader.u64()?,
            target: reader.u64()?,
            digest: reader.array()?,
        };
        let attestation = header.purpose == Purpose::Attestation;
        (attestation || (header.source, header.target) == (0, 0)).then_some(header)
    }

    fn signed_digest(&self, lock_hash: &Hash, operator: u16) -> Hash {
        sha256(&[
            domains::RUN_PARTIALS.as_bytes(),
            lock_hash,
            &operator.to_be_bytes(),
            &self.encode(),
        ])
    }
}

/// One partial signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// The validator, by its place in the lock, from 0.
    pub validator: u32,
    /// The sync subcommittee, for signatures that differ by it; else 0.
    pub place: u16,
    /// What was signed.
    pub root: Hash,
    /// The signature, compressed; not checked yet.
    pub signature: [u8; 96],
}

impl Item {
    /// Which signature it is a part of: validator and subcommittee.
    pub fn at(&self) -> (u32, u16) {
        (self.validator, self.place)
    }
}

/// All partial signatures of one operator for one purpose in one slot, signed by its node key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partials {
    /// The author, from 1.
    pub operator: u16,
    header: Header,
    items: Arc<[Item]>,
    signature: [u8; 64],
}

impl Partials {
    /// Signs a list of partial signatures. `source` and `target` are epochs of an attestation, else 0.
    pub fn sign(
        signatures: &impl Signatures,
        lock_hash: &Hash,
        operator: u16,
        purpose: Purpose,
        slot: u64,
        epochs: (u64, u64),
        items: Vec<Item>,
    ) -> Self {
        let header = Header {
            purpose,
            slot,
            source: epochs.0,
            target: epochs.1,
            digest: sha256(&[&encode_items(&items)]),
        };
        Self {
            operator,
            header,
            signature: signatures.sign(&header.signed_digest(lock_hash, operator)),
            items: items.into(),
        }
    }

    /// What was signed, when.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The signatures, ascending by validator and place.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Whether the author's node key signed it.
    pub fn verify(&self, lock_hash: &Hash, signatures: &impl Signatures) -> bool {
        self.proof().verify(lock_hash, self.operator, signatures)
    }

    /// The part that proves how far the author has signed.
    pub fn proof(&self) -> Proof {
        Proof {
            header: self.header,
            signature: self.signature,
        }
    }

    /// `u16 operator || header || signature || items`.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = self.operator.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.proof().encode());
        bytes.extend_from_slice(&encode_items(&self.items));
        bytes
    }

    /// The longest encoding for a number of items, in bytes.
    pub fn longest(items: usize) -> usize {
        2 + PROOF + items * ITEM
    }

    /// Reads what [`Partials::encode`] wrote; `None` for everything else: items must ascend strictly and fit their
    /// digest. Signatures are not checked.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let operator = reader.u16()?;
        let Proof { header, signature } = Proof::read(&mut reader)?;
        let encoded = bytes.get(2 + PROOF..)?;
        if encoded.is_empty() || encoded.len() % ITEM != 0 || sha256(&[encoded]) != header.digest {
            return None;
        }
        let mut items = Vec::with_capacity(encoded.len() / ITEM);
        let mut newest = None;
        while !reader.is_empty() {
            let item = Item {
                validator: reader.u32()?,
                place: reader.u16()?,
                root: reader.array()?,
                signature: reader.array()?,
            };
            let key = Some((item.validator, item.place));
            if key <= newest {
                return None;
            }
            newest = key;
            items.push(item);
        }
        Some(Self {
            operator,
            header,
            items: items.into(),
            signature,
        })
    }
}

fn encode_items(items: &[Item]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(items.len() * ITEM);
    for item in items {
        bytes.extend_from_slice(&item.validator.to_be_bytes());
        bytes.extend_from_slice(&item.place.to_be_bytes());
        bytes.extend_from_slice(&item.root);
        bytes.extend_from_slice(&item.signature);
    }
    bytes
}

/// A header and its author's signature: shows how far the author had signed when it made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    header: Header,
    signature: [u8; 64],
}

impl Proof {
    /// What was signed, when.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Whether this operator's node key signed it.
    pub fn verify(&self, lock_hash: &Hash, operator: u16, signatures: &impl Signatures) -> bool {
        let digest = self.header.signed_digest(lock_hash, operator);
        signatures.verify(operator, &digest, &self.signature)
    }

    /// [`PROOF`] bytes.
    pub fn encode(&self) -> [u8; PROOF] {
        let mut bytes = [0; PROOF];
        bytes[..HEADER].copy_from_slice(&self.header.encode());
        bytes[HEADER..].copy_from_slice(&self.signature);
        bytes
    }

    /// Reads what [`Proof::encode`] wrote.
    pub fn decode(bytes: &[u8; PROOF]) -> Option<Self> {
        Self::read(&mut Reader::new(bytes))
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            header: Header::read(reader)?,
            signature: reader.array()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_consensus::NodeSignatures;
    use conclave_crypto::node::NodeKey;

    const LOCK: Hash = [7; 32];

    /// Of three operators, this being the one whose key is 9.
    fn signatures() -> NodeSignatures {
        let key = |byte| NodeKey::from_bytes(&[byte; 32]).unwrap();
        NodeSignatures::new(key(9), [8, 9, 9].map(|byte| key(byte).public()).to_vec())
    }

    fn partials() -> Partials {
        let items = (0..3)
            .map(|validator| Item {
                validator,
                place: 0,
                root: [3; 32],
                signature: [u8::try_from(validator).unwrap(); 96],
            })
            .collect();
        Partials::sign(&signatures(), &LOCK, 2, Purpose::Attestation, 65, (1, 2), items)
    }

    #[test]
    fn bytes_come_back_and_verify() {
        let sent = partials();
        let bytes = sent.encode();
        assert_eq!(bytes.len(), Partials::longest(3));
        let read = Partials::decode(&bytes).unwrap();
        assert_eq!(read, sent);
        assert!(read.verify(&LOCK, &signatures()));
        assert!(!read.verify(&[8; 32], &signatures()));
        let proof = Proof::decode(&read.proof().encode()).unwrap();
        assert!(proof.verify(&LOCK, 2, &signatures()));
        assert!(!proof.verify(&LOCK, 3, &signatures()));
        assert!(!proof.verify(&LOCK, 1, &signatures()));
        assert_eq!(
            (proof.header().slot, proof.header().source, proof.header().target),
            (65, 1, 2)
        );
    }

    #[test]
    fn every_other_byte_string_is_refused_or_not_signed() {
        let bytes = partials().encode();
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            let accepted = Partials::decode(&changed).is_some_and(|read| read.verify(&LOCK, &signatures()));
            assert!(!accepted, "byte {index}");
            assert!(Partials::decode(&bytes[..index]).is_none(), "cut at {index}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(Partials::decode(&longer).is_none());
    }

    #[test]
    fn items_ascend_strictly_and_epochs_belong_to_attestations() {
        let item = |validator, place| Item {
            validator,
            place,
            root: [0; 32],
            signature: [0; 96],
        };
        let decodes = |purpose, epochs, items| {
            Partials::decode(&Partials::sign(&signatures(), &LOCK, 1, purpose, 1, epochs, items).encode())
                .is_some()
        };
        assert!(decodes(
            Purpose::SyncSelection,
            (0, 0),
            vec![item(1, 0), item(1, 3), item(2, 0)]
        ));
        assert!(!decodes(
            Purpose::SyncSelection,
            (0, 0),
            vec![item(1, 3), item(1, 3)]
        ));
        assert!(!decodes(
            Purpose::SyncSelection,
            (0, 0),
            vec![item(2, 0), item(1, 0)]
        ));
        assert!(!decodes(Purpose::SyncSelection, (0, 0), vec![]));
        assert!(!decodes(Purpose::Block, (0, 1), vec![item(1, 0)]));
        assert!(!decodes(Purpose::Block, (1, 0), vec![item(1, 0)]));
    }
}
