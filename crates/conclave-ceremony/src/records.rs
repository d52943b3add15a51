//! What the journal's records hold: entries, evidence and notes, told apart by their first byte.

use conclave_dkg::board::Note;
use conclave_dkg::entry::{Entry, Step};
use conclave_dkg::evidence::Evidence;
use conclave_dkg::terms::Terms;

const ENTRY: u8 = 0;
const EVIDENCE: u8 = 1;
const NOTE: u8 = 2;

/// All that a journal says.
#[derive(Default)]
pub struct Said {
    /// Entries, in its order.
    pub entries: Vec<Entry>,
    /// Evidence.
    pub evidence: Vec<Evidence>,
    /// Notes of the board.
    pub notes: Vec<Note>,
}

/// The record of an entry.
pub fn of_entry(entry: &Entry) -> Vec<u8> {
    [vec![ENTRY], entry.encode()].concat()
}

/// The record of a piece of evidence.
pub fn of_evidence(evidence: &Evidence) -> Vec<u8> {
    [vec![EVIDENCE], evidence.encode()].concat()
}

/// The record of a note.
pub fn of_note(note: &Note) -> Vec<u8> {
    [vec![NOTE], note.encode()].concat()
}

/// The most bytes a record may have under these terms.
pub fn max_bytes(terms: &Terms) -> usize {
    1 + Evidence::max_bytes(terms)
        .max(max_entry_bytes(terms))
        .max(Note::MAX_BYTES)
}

/// The most bytes an encoded entry of any step may have under these terms.
pub fn max_entry_bytes(terms: &Terms) -> usize {
    Step::ALL
        .iter()
        .map(|step| Entry::max_bytes(terms, *step))
        .max()
        .unwrap_or(0)
}

/// Sorts records of a journal; what is none of these is left out, for peers will send it again.
pub fn read(terms: &Terms, records: &[Vec<u8>]) -> Said {
    let mut said = Said::default();
    for record in records {
        match record.split_first() {
            Some((&ENTRY, rest)) => said.entries.extend(Entry::decode(terms, rest)),
            Some((&EVIDENCE, rest)) => said.evidence.extend(Evidence::decode(terms, rest)),
            Some((&NOTE, rest)) => said.notes.extend(Note::decode(terms, rest)),
            _ => {}
        }
    }
    said
}
