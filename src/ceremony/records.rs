//! What the journal's records hold: entries and evidence, told apart by their first byte.

use crate::dkg::entry::{Entry, Step};
use crate::dkg::evidence::Evidence;
use crate::dkg::terms::Terms;

const ENTRY: u8 = 0;
const EVIDENCE: u8 = 1;

/// The record of an entry.
pub fn of_entry(entry: &Entry) -> Vec<u8> {
    [vec![ENTRY], entry.encode()].concat()
}

/// The record of a piece of evidence.
pub fn of_evidence(evidence: &Evidence) -> Vec<u8> {
    [vec![EVIDENCE], evidence.encode()].concat()
}

/// The most bytes a record may have under these terms.
pub fn max_bytes(terms: &Terms) -> usize {
    1 + Evidence::max_bytes(terms).max(max_entry_bytes(terms))
}

/// The most bytes an encoded entry of any step may have under these terms.
pub fn max_entry_bytes(terms: &Terms) -> usize {
    Step::ALL
        .iter()
        .map(|step| Entry::max_bytes(terms, *step))
        .max()
        .unwrap_or(0)
}

/// Sorts records of a journal; what is neither is left out, for peers will send it again.
pub fn read(terms: &Terms, records: &[Vec<u8>]) -> (Vec<Entry>, Vec<Evidence>) {
    let mut entries = Vec::new();
    let mut evidence = Vec::new();
    for record in records {
        match record.split_first() {
            Some((&ENTRY, rest)) => entries.extend(Entry::decode(terms, rest)),
            Some((&EVIDENCE, rest)) => evidence.extend(Evidence::decode(terms, rest)),
            _ => {}
        }
    }
    (entries, evidence)
}
