//! Entries: the only thing that operators ever exchange.
//!
//! Wire form, integers big-endian: `form 1 | session 32 | attempt 4 | operator 2 | step 1 | prev count 2 | prev 32 each |
//! body length 4 | body | signature 64`. Form 0 is a whole entry. Form 1 is a Deal in a public transcript: the body is its
//! public part, followed by the 32-byte hash of the sealed part that was left out.

use conclave_crypto::domains;
use conclave_crypto::hash::{Hash, sha256};
use conclave_crypto::node::{NodeKey, NodePublicKey};

use super::terms::Terms;
use super::wire::Reader;

/// Identifies an entry; the signature is over this digest and not part of it.
pub type Id = Hash;

/// The steps of an attempt. An Ack and a Complaint share step 2: an Ack's body is empty, a Complaint's is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Step {
    /// Approves the definition and offers fresh encryption keys.
    Join = 0,
    /// Pedersen commitments and sealed shares.
    Deal = 1,
    /// "All my shares are good", or a Complaint.
    Ack = 2,
    /// Feldman commitments and the proof of knowledge.
    Reveal = 3,
    /// The vote: "my shares of all validators are durable".
    Stored = 4,
    /// Partial signatures.
    Sign = 5,
    /// Signatures over the lock hash.
    Seal = 6,
    /// "My files are in place."
    Done = 7,
}

impl Step {
    /// All steps in order.
    pub const ALL: [Step; 8] = [
        Step::Join,
        Step::Deal,
        Step::Ack,
        Step::Reveal,
        Step::Stored,
        Step::Sign,
        Step::Seal,
        Step::Done,
    ];

    /// The step of a wire byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

/// One signed step of one operator.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// `ctx(k)` for a Join, the session id for all others.
    pub session: Hash,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Author, from 1.
    pub operator: u16,
    /// Step.
    pub step: Step,
    /// Ids of the entries that this one builds on.
    pub prev: Vec<Id>,
    /// Body; of a Deal without its sealed part only the public part.
    pub body: Vec<u8>,
    /// Hash of the sealed part of a Deal that was left out, else `None`.
    pub stripped: Option<Hash>,
    /// secp256k1 signature of the node key over the id, r || s.
    pub signature: [u8; 64],
}

/// What an entry's signature covers, without prev and body: enough to prove that two differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Session as in the entry.
    pub session: Hash,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Author, from 1.
    pub operator: u16,
    /// Step.
    pub step: Step,
    /// Hash of the predecessors' ids.
    pub prev_hash: Hash,
    /// Hash of the body.
    pub body_hash: Hash,
    /// Signature over the id.
    pub signature: [u8; 64],
}

/// Bytes of an encoded header.
pub const HEADER_BYTES: usize = 32 + 4 + 2 + 1 + 32 + 32 + 64;

impl Header {
    /// The id, as of the entry.
    pub fn id(&self) -> Id {
        sha256(&[
            domains::ENTRY.as_bytes(),
            &self.session,
            &self.attempt.to_be_bytes(),
            &self.operator.to_be_bytes(),
            &[self.step as u8],
            &self.prev_hash,
            &self.body_hash,
        ])
    }

    /// Whether the author signed it.
    pub fn is_signed_by(&self, key: &NodePublicKey) -> bool {
        key.verify(&self.id(), &self.signature)
    }

    /// Appends the wire form, [`HEADER_BYTES`] long.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.session);
        out.extend_from_slice(&self.attempt.to_be_bytes());
        out.extend_from_slice(&self.operator.to_be_bytes());
        out.push(self.step as u8);
        out.extend_from_slice(&self.prev_hash);
        out.extend_from_slice(&self.body_hash);
        out.extend_from_slice(&self.signature);
    }

    /// Reads the wire form.
    pub fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            session: reader.array()?,
            attempt: reader.u32()?,
            operator: reader.u16()?,
            step: Step::from_byte(reader.u8()?)?,
            prev_hash: reader.array()?,
            body_hash: reader.array()?,
            signature: reader.array()?,
        })
    }
}

/// Why the bytes of an entry were refused. None of these says anything about the entry's author: no signature was read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EntryError {
    /// Cut off, trailing bytes, an unknown form or step.
    #[error("not an entry")]
    Malformed,
    /// A count or a length above what the ceremony's terms allow.
    #[error("an entry larger than this ceremony's terms allow")]
    TooLarge,
    /// An operator index outside 1..=n or attempt 0.
    #[error("an entry of an operator that is not in the definition")]
    Unknown,
}

impl Entry {
    /// Signs a new entry.
    pub fn signed(
        key: &NodeKey,
        terms: &Terms,
        at: (Hash, u32, u16),
        step: Step,
        prev: Vec<Id>,
        body: Vec<u8>,
    ) -> Self {
        let (session, attempt, operator) = at;
        let mut entry = Self {
            session,
            attempt,
            operator,
            step,
            prev,
            body,
            stripped: None,
            signature: [0; 64],
        };
        entry.signature = key.sign(&entry.id(terms));
        entry
    }

    /// Hash of the predecessors' ids, H(prev).
    pub fn prev_hash(&self) -> Hash {
        hash_ids(&self.prev)
    }

    /// H(body); for a Deal the hash of the hashes of its public and its sealed part.
    pub fn body_hash(&self, terms: &Terms) -> Hash {
        if self.step != Step::Deal {
            return sha256(&[&self.body]);
        }
        let cut = terms.deal_public_bytes().min(self.body.len());
        let (public, sealed) = self.body.split_at(cut);
        let sealed = self.stripped.unwrap_or_else(|| sha256(&[sealed]));
        sha256(&[&sha256(&[public]), &sealed])
    }

    /// The header.
    pub fn header(&self, terms: &Terms) -> Header {
        Header {
            session: self.session,
            attempt: self.attempt,
            operator: self.operator,
            step: self.step,
            prev_hash: self.prev_hash(),
            body_hash: self.body_hash(terms),
            signature: self.signature,
        }
    }

    /// The id: what is signed.
    pub fn id(&self, terms: &Terms) -> Id {
        self.header(terms).id()
    }

    /// Whether this is a Complaint rather than an Ack.
    pub fn is_complaint(&self) -> bool {
        self.step == Step::Ack && !self.body.is_empty()
    }

    /// A copy for a public transcript: a Deal loses its ciphertexts, everything else is whole.
    #[must_use]
    pub fn strip(&self, terms: &Terms) -> Self {
        let mut copy = self.clone();
        if self.step == Step::Deal && self.stripped.is_none() {
            let cut = terms.deal_public_bytes().min(self.body.len());
            copy.stripped = Some(sha256(&[&self.body[cut..]]));
            copy.body.truncate(cut);
        }
        copy
    }

    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.prev.len() * 32 + self.body.len());
        out.push(u8::from(self.stripped.is_some()));
        out.extend_from_slice(&self.session);
        out.extend_from_slice(&self.attempt.to_be_bytes());
        out.extend_from_slice(&self.operator.to_be_bytes());
        out.push(self.step as u8);
        // Honest entries have at most n + 1 = 65 predecessors; decoded ones were bounded before.
        out.extend_from_slice(&u16::try_from(self.prev.len()).unwrap_or(u16::MAX).to_be_bytes());
        for id in &self.prev {
            out.extend_from_slice(id);
        }
        out.extend_from_slice(&u32::try_from(self.body.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&self.body);
        if let Some(hash) = &self.stripped {
            out.extend_from_slice(hash);
        }
        out.extend_from_slice(&self.signature);
        out
    }

    /// Reads a wire form that must end with the input.
    ///
    /// # Errors
    /// [`EntryError`]; nothing is allocated beyond the input's own length.
    pub fn decode(terms: &Terms, bytes: &[u8]) -> Result<Self, EntryError> {
        let mut reader = Reader::new(bytes);
        let entry = Self::read(terms, &mut reader)?;
        if reader.is_empty() {
            Ok(entry)
        } else {
            Err(EntryError::Malformed)
        }
    }

    /// Reads one entry of a sequence.
    ///
    /// # Errors
    /// As [`Entry::decode`].
    pub fn read(terms: &Terms, reader: &mut Reader<'_>) -> Result<Self, EntryError> {
        use EntryError::{Malformed, TooLarge, Unknown};
        let form = reader.u8().ok_or(Malformed)?;
        let session = reader.array().ok_or(Malformed)?;
        let attempt = reader.u32().ok_or(Malformed)?;
        let operator = reader.u16().ok_or(Malformed)?;
        let step = Step::from_byte(reader.u8().ok_or(Malformed)?).ok_or(Malformed)?;
        if attempt == 0 || terms.operator(operator).is_none() {
            return Err(Unknown);
        }
        if form > 1 || (form == 1 && step != Step::Deal) {
            return Err(Malformed);
        }
        let count = usize::from(reader.u16().ok_or(Malformed)?);
        if count > terms.n() + 1 {
            return Err(TooLarge);
        }
        let mut prev = Vec::with_capacity(count);
        for _ in 0..count {
            prev.push(reader.array().ok_or(Malformed)?);
        }
        let length = usize::try_from(reader.u32().ok_or(Malformed)?).map_err(|_| TooLarge)?;
        let most = if form == 1 {
            terms.deal_public_bytes()
        } else {
            terms.body_bytes(step)
        };
        if length > most {
            return Err(TooLarge);
        }
        if form == 1 && length != most {
            return Err(Malformed);
        }
        let body = reader.bytes(length).ok_or(Malformed)?.to_vec();
        let stripped = if form == 1 {
            Some(reader.array().ok_or(Malformed)?)
        } else {
            None
        };
        let signature = reader.array().ok_or(Malformed)?;
        Ok(Self {
            session,
            attempt,
            operator,
            step,
            prev,
            body,
            stripped,
            signature,
        })
    }

    /// The most bytes an encoded entry of this step may have.
    pub fn max_bytes(terms: &Terms, step: Step) -> usize {
        1 + 32 + 4 + 2 + 1 + 2 + (terms.n() + 1) * 32 + 4 + terms.body_bytes(step) + 32 + 64
    }
}

/// Appends entries, each after its length (4 bytes). How many they are is for the caller to say.
pub(super) fn encode_list<'a>(out: &mut Vec<u8>, entries: impl IntoIterator<Item = &'a Entry>) {
    for entry in entries {
        let bytes = entry.encode();
        out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&bytes);
    }
}

/// Reads `count` entries that [`encode_list`] wrote, up to the end of the input. Allocates for those that are there only.
pub(super) fn decode_list(terms: &Terms, reader: &mut Reader<'_>, count: usize) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(reader.u32()?).ok()?;
        entries.push(Entry::decode(terms, reader.bytes(length)?).ok()?);
    }
    reader.is_empty().then_some(entries)
}

/// H(prev): the hash of ids, concatenated.
pub fn hash_ids(ids: &[Id]) -> Hash {
    let parts: Vec<&[u8]> = ids.iter().map(<[u8; 32]>::as_slice).collect();
    sha256(&parts)
}
