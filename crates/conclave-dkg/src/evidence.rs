//! Verdicts, and the evidence that a third party can check with nothing but the definition.
//!
//! Evidence is a bundle of signed entries. To check one is to judge its entries with the same code that judged them in the
//! ceremony, and to see the same finding come out.

use std::fmt;
use std::sync::Arc;

use conclave_crypto::hash::Hash;

use super::board::Board;
use super::body::SealBody;
use super::entry::{Entry, HEADER_BYTES, Header, Step, decode_list, encode_list};
use super::terms::Terms;
use super::wire::Reader;

/// What somebody did, or what happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Two Joins of one operator in one attempt: a lost or copied folder. No blame.
    Restarted = 1,
    /// Two different entries where an honest operator signs one.
    Equivocation = 2,
    /// An Ack, and a Complaint against a Deal that it names.
    Contradiction = 3,
    /// A signed entry that is invalid.
    BadEntry = 4,
    /// A dealer sealed a share that does not fit its commitments.
    BadShare = 5,
    /// A Complaint against a good share, or with a key that is not the complainer's.
    FalseComplaint = 6,
    /// The sum of all contributions is unusable. Nobody is blamed.
    Void = 7,
    /// Two Seals of one lock with different node signatures: the files of those who used one or the other differ, their lock hash
    /// and keys do not.
    DoubleSeal = 8,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 8] = [
        Kind::Restarted,
        Kind::Equivocation,
        Kind::Contradiction,
        Kind::BadEntry,
        Kind::BadShare,
        Kind::FalseComplaint,
        Kind::Void,
        Kind::DoubleSeal,
    ];

    /// The kind of a wire byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Whether an attempt in which it is found ends for whoever has not voted in it. Seals follow on the votes of everybody: whoever has not
    /// voted has lost its vote, and the key may be made.
    pub fn closes(self) -> bool {
        self != Kind::DoubleSeal
    }

    /// Whether it proves that the operator broke the protocol.
    pub fn is_guilt(self) -> bool {
        !matches!(self, Kind::Restarted | Kind::Void)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Restarted => "started twice with the same identity",
            Kind::Equivocation => "signed two different versions of one step",
            Kind::Contradiction => "approved a share and complained about it",
            Kind::BadEntry => "signed an invalid step",
            Kind::BadShare => "dealt a bad share",
            Kind::FalseComplaint => "complained about a good share",
            Kind::Void => "the contributions cancel each other",
            Kind::DoubleSeal => "sealed one lock twice, in two versions",
        })
    }
}

/// One member of a verdict: who (from 1; 0 for `Void`) and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Finding {
    /// Operator index, 0 for nobody.
    pub operator: u16,
    /// What was found.
    pub kind: Kind,
}

/// A self-contained proof of one finding.
#[derive(Clone)]
pub struct Evidence {
    /// Attempt, from 1.
    pub attempt: u32,
    /// What it proves.
    pub finding: Finding,
    /// Two headers for `Restarted` and `Equivocation`, else none.
    pub headers: Vec<Header>,
    /// The entries that show it, predecessors first.
    pub entries: Vec<Arc<Entry>>,
}

/// First bytes of an evidence file.
pub const MAGIC: &[u8; 20] = b"conclave/evidence/1\n";
/// How evidence of any version begins.
pub const FAMILY: &[u8] = b"conclave/evidence/";
/// Version of the evidence format.
const VERSION: u8 = 1;
/// The most entries a bundle needs: all entries of all operators of one attempt, and a second Reveal of each.
const MAX_ENTRIES: usize = 10 * super::terms::MAX_OPERATORS;

impl Evidence {
    /// The wire form: `version 1 | attempt 4 | operator 2 | kind 1 | headers 1 | header each | entries 2 | (length 4 | entry) each`.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend_from_slice(&self.attempt.to_be_bytes());
        out.extend_from_slice(&self.finding.operator.to_be_bytes());
        out.push(self.finding.kind as u8);
        out.push(u8::try_from(self.headers.len()).unwrap_or(u8::MAX));
        for header in &self.headers {
            header.encode(&mut out);
        }
        out.extend_from_slice(
            &u16::try_from(self.entries.len())
                .unwrap_or(u16::MAX)
                .to_be_bytes(),
        );
        encode_list(&mut out, self.entries.iter().map(Arc::as_ref));
        out
    }

    /// A file to hand on: magic, definition hash, net, then the wire form.
    pub fn to_file(&self, terms: &Terms, net: &Hash) -> Vec<u8> {
        [MAGIC.as_slice(), terms.definition_hash(), net, &self.encode()].concat()
    }

    /// Reads a file; `None` if it is not evidence in a ceremony of these terms. Says nothing about its truth.
    pub fn from_file(terms: &Terms, net: &Hash, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let head: [u8; 20] = reader.array()?;
        let same = head == *MAGIC && reader.array()? == *terms.definition_hash() && reader.array()? == *net;
        same.then(|| Self::decode(terms, bytes.get(MAGIC.len() + 64..)?))
            .flatten()
    }

    /// Reads the wire form; says nothing about its truth, for which see [`Evidence::check`].
    pub fn decode(terms: &Terms, bytes: &[u8]) -> Option<Self> {
        if bytes.len() > Self::max_bytes(terms) {
            return None;
        }
        let mut reader = Reader::new(bytes);
        if reader.u8()? != VERSION {
            return None;
        }
        let attempt = reader.u32()?;
        let finding = Finding {
            operator: reader.u16()?,
            kind: Kind::from_byte(reader.u8()?)?,
        };
        let headers = usize::from(reader.u8()?);
        if headers > 2 {
            return None;
        }
        let headers = (0..headers)
            .map(|_| Header::decode(&mut reader))
            .collect::<Option<Vec<_>>>()?;
        let count = usize::from(reader.u16()?);
        if count > MAX_ENTRIES {
            return None;
        }
        let entries = decode_list(terms, &mut reader, count)?;
        Some(Self {
            attempt,
            finding,
            headers,
            entries: entries.into_iter().map(Arc::new).collect(),
        })
    }

    /// The most bytes that evidence may have under these terms.
    pub fn max_bytes(terms: &Terms) -> usize {
        let n = terms.n();
        let one_of_each: usize = Step::ALL
            .iter()
            .map(|step| Entry::max_bytes(terms, *step) + 4)
            .sum();
        16 + 2 * HEADER_BYTES + n * (one_of_each + Entry::max_bytes(terms, Step::Reveal) + 4)
    }

    /// Judges the evidence by itself: `true` iff it proves its finding under these terms.
    pub fn check(&self, terms: &Arc<Terms>, weight_seed: &[u8; 32]) -> bool {
        match self.finding.kind {
            Kind::Restarted | Kind::Equivocation => self.check_headers(terms),
            Kind::DoubleSeal => self.check_seals(terms),
            _ => {
                if !self.headers.is_empty() {
                    return false;
                }
                self.judge(&mut Board::offline(terms.clone(), weight_seed))
            }
        }
    }

    /// Whether an empty board comes to the same finding.
    pub(super) fn judge(&self, board: &mut Board) -> bool {
        board.receive(self.entries.iter().map(|e| (**e).clone()).collect());
        board.verdict(self.attempt).contains(&self.finding)
    }

    /// The entries of the attempt that the evidence is about and that hold by what it shows: those that an empty board admits. Whoever hands
    /// evidence on can lay others beside them that prove nothing.
    pub fn admitted(&self, terms: &Arc<Terms>, weight_seed: &[u8; 32]) -> Vec<Arc<Entry>> {
        let mut board = Board::offline(terms.clone(), weight_seed);
        self.judge(&mut board);
        let admitted = board.order().iter().filter_map(|id| board.get(id));
        admitted
            .map(|admitted| admitted.entry.clone())
            .filter(|entry| entry.attempt == self.attempt)
            .collect()
    }

    fn check_headers(&self, terms: &Terms) -> bool {
        let ([a, b], []) = (self.headers.as_slice(), self.entries.as_slice()) else {
            return false;
        };
        let Some(key) = terms.operator(self.finding.operator) else {
            return false;
        };
        let same = [a, b]
            .iter()
            .all(|h| h.operator == self.finding.operator && h.attempt == self.attempt);
        same && collide(a, b, &terms.ctx(self.attempt)) == Some(self.finding.kind)
            && a.is_signed_by(key)
            && b.is_signed_by(key)
    }
}

impl Evidence {
    /// Two Seals need nothing else: an honest operator makes one for each lock hash, always the same.
    fn check_seals(&self, terms: &Terms) -> bool {
        let ([], [a, b]) = (self.headers.as_slice(), self.entries.as_slice()) else {
            return false;
        };
        let Some(key) = terms.operator(self.finding.operator) else {
            return false;
        };
        let seal = |entry: &Entry| {
            let at = (entry.attempt, entry.operator, entry.step);
            let is_one = at == (self.attempt, self.finding.operator, Step::Seal)
                && entry.session == a.session
                && key.verify(&entry.id(terms), &entry.signature);
            SealBody::decode(&entry.body)
                .filter(|seal| is_one && key.verify_recoverable(&seal.lock_hash, &seal.node_signature))
        };
        match (seal(a), seal(b)) {
            (Some(a), Some(b)) => a.lock_hash == b.lock_hash && a.node_signature != b.node_signature,
            _ => false,
        }
    }
}

/// What two signed headers of one author prove together, if anything.
pub(crate) fn collide(a: &Header, b: &Header, ctx: &Hash) -> Option<Kind> {
    let same = a.operator == b.operator
        && a.attempt == b.attempt
        && a.session == b.session
        && a.step == b.step
        && a.id() != b.id();
    match a.step {
        _ if !same => None,
        Step::Join => (a.session == *ctx).then_some(Kind::Restarted),
        Step::Deal | Step::Ack | Step::Reveal => (a.prev_hash == b.prev_hash).then_some(Kind::Equivocation),
        _ => None,
    }
}
