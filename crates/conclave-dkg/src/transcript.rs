//! The public record of a finished ceremony: every signed step without the ciphertexts.
//!
//! It shows a depositor who was not there that each node key signed every step for this definition, that each dealer knew its
//! polynomial, and that the keys and the lock follow. It cannot show that the shares are secret (one machine with n keys makes
//! a perfect transcript) nor what the ciphertexts held.

use std::collections::BTreeSet;
use std::sync::Arc;

use rayon::prelude::*;

use conclave_crypto::hash::Hash;

use super::board::{Board, Data};
use super::entry::{Entry, Id, Step, encode_list};
use super::evidence::Finding;
use super::outputs::GroupKeys;
use super::terms::Terms;
use super::wire::Reader;

/// First bytes of a transcript file.
pub const MAGIC: &[u8; 22] = b"conclave/transcript/1\n";
/// How transcripts of any version begin.
pub const FAMILY: &[u8] = b"conclave/transcript/";

/// A transcript.
pub struct Transcript {
    /// Definition hash.
    pub definition_hash: Hash,
    /// `net`, see docs/protocol.md.
    pub net: Hash,
    /// Entries of all attempts, predecessors first, Deals without their sealed part.
    pub entries: Vec<Entry>,
}

/// Most entries of a transcript. A ceremony without liars has 8 n for each attempt; what liars can add is bounded by the caps.
pub const MAX_ENTRIES: usize = 1 << 17;

/// Entries of a step that are judged together: where one of them does not hold, no more are looked at.
const PART: usize = 256;

/// What a transcript shows.
pub struct Findings {
    /// The attempt that was finished.
    pub attempt: u32,
    /// Group keys and public shares, computed anew.
    pub keys: Arc<GroupKeys>,
    /// The lock hash that everybody sealed.
    pub lock_hash: Hash,
    /// Display names in operator order.
    pub names: Vec<String>,
    /// Attempts in which anybody revealed: how often the result could have been refused after it was known.
    pub revealed: BTreeSet<u32>,
    /// Operators (from 1) who said that their files are in place.
    pub done: BTreeSet<u16>,
    /// Operators (from 1) who said that their share is lost; a backup may have turned up since.
    pub lost: BTreeSet<u16>,
    /// Findings against operators, of all attempts.
    pub findings: BTreeSet<(u32, Finding)>,
    /// Attempts before the finished one of which it holds anything.
    pub earlier: BTreeSet<u32>,
    /// Complaints: attempt, who complains, about whose Deal. What a Deal sealed is left out, so that nobody can say who is right.
    pub complaints: BTreeSet<(u32, u16, u16)>,
}

/// Why a transcript does not show a finished ceremony.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TranscriptError {
    /// Not a transcript.
    #[error("it is not a transcript")]
    NotOne,
    /// It ends before its last entry does: how many entries are whole, and of how many.
    #[error("it is cut off: {}", if *.1 == 0 { "it ends before its first entry".to_owned() } else { format!("{} of its {} entries are there", .0, .1) })]
    CutOff(usize, usize),
    /// There is something behind its last entry, or it says that it has more entries than there can be.
    #[error("it was altered or damaged: it is longer than its {0} entries")]
    TooLong(usize),
    /// An entry (from 1) has no form that one of this definition has.
    #[error("it was altered or damaged: entry {0} of {1} is none of this ceremony")]
    Malformed(usize, usize),
    /// Of another definition.
    #[error("it is the transcript of another ceremony, of the definition 0x{}", hex::encode(.0))]
    OtherCeremony(Hash),
    /// Of the same definition, on a network that was described otherwise.
    #[error(
        "it was made for a network of this fork version that has another genesis time or chain id: give the same network file"
    )]
    OtherNetwork,
    /// An entry is not signed, or does not hold: how many of the first part of a step in which any does not, and of how many in all.
    #[error("it was altered: at least {0} of its {1} entries do not hold")]
    BadEntries(usize, usize),
    /// Not in the order of transcripts, or something is there twice.
    #[error("it was altered: its entries are not in order")]
    Order,
    /// A Join of this attempt names a vote that is not there: something was cut out.
    #[error("something was cut out: attempt {0} builds on votes of earlier attempts that are not in it")]
    Trimmed(u32),
    /// No attempt has everybody's seal.
    #[error(
        "no attempt of the transcript was finished by everybody: the ceremony was not over, or the end of it was taken out"
    )]
    Unfinished,
}

impl Transcript {
    /// The public part of a board, in the order (attempt, step, operator, id): the same for everybody who holds the same entries.
    pub fn of(board: &Board, net: Hash) -> Self {
        let terms = board.terms();
        let mut ids = board.order().to_vec();
        ids.sort_by_key(|id| {
            board
                .get(id)
                .map(|a| (a.entry.attempt, a.entry.step, a.entry.operator, *id))
        });
        let entries = ids
            .iter()
            .filter_map(|id| board.get(id))
            .map(|a| a.entry.strip(terms))
            .collect();
        Self {
            definition_hash: *terms.definition_hash(),
            net,
            entries,
        }
    }

    /// Whether every entry of another transcript of these terms is in this one, too.
    pub fn covers(&self, terms: &Terms, other: &Self) -> bool {
        let ids = |transcript: &Self| -> BTreeSet<Id> {
            transcript
                .entries
                .par_iter()
                .map(|entry| entry.id(terms))
                .collect()
        };
        ids(other).is_subset(&ids(self))
    }

    /// The file: magic, definition hash, net, entry count (4 bytes), then each entry with its length (4 bytes).
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&self.definition_hash);
        out.extend_from_slice(&self.net);
        out.extend_from_slice(
            &u32::try_from(self.entries.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes(),
        );
        encode_list(&mut out, &self.entries);
        out
    }

    /// The definition hash and `net` of a transcript file, to find the terms it belongs to.
    pub fn peek(bytes: &[u8]) -> Option<(Hash, Hash)> {
        let mut reader = Reader::new(bytes);
        (reader.bytes(MAGIC.len())? == MAGIC).then_some(())?;
        Some((reader.array()?, reader.array()?))
    }

    /// Whether a file is whole, as far as that shows without knowing the definition it is of.
    ///
    /// # Errors
    /// [`TranscriptError::NotOne`], [`TranscriptError::CutOff`], [`TranscriptError::TooLong`].
    pub fn look(bytes: &[u8]) -> Result<(), TranscriptError> {
        Self::parts(bytes).map(|_| ())
    }

    /// The bytes of each entry.
    fn parts(bytes: &[u8]) -> Result<Vec<&[u8]>, TranscriptError> {
        let mut reader = Reader::new(bytes);
        if reader.bytes(MAGIC.len()) != Some(MAGIC) {
            return Err(TranscriptError::NotOne);
        }
        let head = reader.bytes(64).and_then(|_| reader.u32());
        let count = head.ok_or(TranscriptError::CutOff(0, 0))?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > MAX_ENTRIES {
            return Err(TranscriptError::TooLong(MAX_ENTRIES));
        }
        let mut parts = Vec::new();
        for whole in 0..count {
            let length = reader.u32().and_then(|length| usize::try_from(length).ok());
            let part = length.and_then(|length| reader.bytes(length));
            parts.push(part.ok_or(TranscriptError::CutOff(whole, count))?);
        }
        if reader.is_empty() {
            Ok(parts)
        } else {
            Err(TranscriptError::TooLong(count))
        }
    }

    /// Reads a file that must be of these terms.
    ///
    /// # Errors
    /// What [`Transcript::look`] says; [`TranscriptError::OtherCeremony`], [`TranscriptError::OtherNetwork`],
    /// [`TranscriptError::Malformed`].
    pub fn decode(terms: &Terms, net: &Hash, bytes: &[u8]) -> Result<Self, TranscriptError> {
        let Some((definition_hash, its_net)) = Self::peek(bytes) else {
            return Err(Self::look(bytes).err().unwrap_or(TranscriptError::NotOne));
        };
        // Whose it is comes first: entries of another ceremony would look damaged.
        if definition_hash != *terms.definition_hash() {
            return Err(TranscriptError::OtherCeremony(definition_hash));
        }
        let parts = Self::parts(bytes)?;
        if its_net != *net {
            return Err(TranscriptError::OtherNetwork);
        }
        let entries = (1..).zip(&parts).map(|(place, part)| {
            Entry::decode(terms, part).map_err(|_| TranscriptError::Malformed(place, parts.len()))
        });
        Ok(Self {
            definition_hash,
            net: its_net,
            entries: entries.collect::<Result<_, _>>()?,
        })
    }

    /// Judges every entry anew and says what the transcript shows. Ends at the first step that does not hold: what comes before it in
    /// the order of transcripts is all that it may build on.
    ///
    /// # Errors
    /// [`TranscriptError`].
    pub fn check(&self, terms: &Arc<Terms>, weight_seed: &[u8; 32]) -> Result<Findings, TranscriptError> {
        self.judge(&mut Board::of_transcript(terms.clone(), weight_seed))
    }

    /// As [`Transcript::check`], on this empty board.
    pub(super) fn judge(&self, board: &mut Board) -> Result<Findings, TranscriptError> {
        let terms = board.terms().clone();
        let keys: Vec<(u32, Step, u16, Id)> = self
            .entries
            .par_iter()
            .map(|e| (e.attempt, e.step, e.operator, e.id(&terms)))
            .collect();
        if !keys.is_sorted_by(|a, b| a < b) {
            return Err(TranscriptError::Order);
        }
        let mut complaints = BTreeSet::new();
        let mut ids = keys.iter().map(|(_, _, _, id)| *id);
        for step in self
            .entries
            .chunk_by(|a, b| (a.attempt, a.step) == (b.attempt, b.step))
        {
            let ids: Vec<Id> = ids.by_ref().take(step.len()).collect();
            let is_trimmed =
                |e: &Entry| e.step == Step::Join && e.prev.iter().any(|id| board.get(id).is_none());
            if let Some(join) = step.iter().find(|e| is_trimmed(e)) {
                return Err(TranscriptError::Trimmed(join.attempt));
            }
            // Those of one step do not build on each other: a part of them that does not hold ends it as all of them would.
            for (part, ids) in step.chunks(PART).zip(ids.chunks(PART)) {
                // Complaints cannot be judged without the ciphertexts; their attempt was not finished.
                board.receive(part.iter().filter(|e| !e.is_complaint()).cloned().collect());
                let mut bad = 0;
                for (entry, id) in part.iter().zip(ids) {
                    if !entry.is_complaint() {
                        bad += usize::from(board.get(id).is_none() && !board.is_waiting(id));
                    } else if let Some(accused) = accused(board, entry, id) {
                        complaints.insert((entry.attempt, entry.operator, accused));
                    } else {
                        bad += 1;
                    }
                }
                if bad > 0 {
                    return Err(TranscriptError::BadEntries(bad, self.entries.len()));
                }
            }
            let waits = ids.iter().filter(|id| board.is_waiting(id)).count();
            if waits > 0 {
                return Err(TranscriptError::BadEntries(waits, self.entries.len()));
            }
        }
        let attempts: BTreeSet<u32> = self.entries.iter().map(|e| e.attempt).collect();
        let finished = attempts.iter().rev().find_map(|k| {
            let sid = board.sessions(*k).find(|sid| board.sealed(sid).is_some())?;
            Some((*k, sid))
        });
        let (attempt, sid) = finished.ok_or(TranscriptError::Unfinished)?;
        let sealed = board.sealed(&sid).ok_or(TranscriptError::Unfinished)?;
        let names = board
            .joins(&sid)
            .unwrap_or_default()
            .iter()
            .filter_map(|id| match &board.get(id)?.data {
                Data::Join(body) => Some(body.name.clone()),
                _ => None,
            })
            .collect();
        let reveals = self.entries.iter().filter(|e| e.step == Step::Reveal);
        Ok(Findings {
            attempt,
            keys: sealed.good.keys.clone(),
            lock_hash: sealed.combined.lock_hash,
            names,
            revealed: reveals.map(|e| e.attempt).collect(),
            done: terms.indices().filter(|j| board.is_done(&sid, *j)).collect(),
            lost: terms
                .indices()
                .filter(|j| board.was_share_lost(&sid, *j))
                .collect(),
            findings: board.findings().collect(),
            earlier: attempts.range(..attempt).copied().collect(),
            complaints,
        })
    }
}

/// Whom a signed Complaint is about, if it is one about a Deal of its session.
fn accused(board: &Board, complaint: &Entry, id: &Id) -> Option<u16> {
    let key = board.terms().operator(complaint.operator)?;
    let ([deal], 32) = (complaint.prev.as_slice(), complaint.body.len()) else {
        return None;
    };
    let deal = &board.get(deal)?.entry;
    let is_one =
        deal.step == Step::Deal && deal.session == complaint.session && deal.attempt == complaint.attempt;
    (is_one && key.verify(id, &complaint.signature)).then_some(deal.operator)
}
