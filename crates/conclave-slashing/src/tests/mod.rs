//! Tests of the guard.

mod crash;
mod files;
mod interchange;
mod requests;
mod rules;
mod vectors;

use std::path::Path;

use super::testing::{ALWAYS, Mood, Moody};
use super::*;

/// Bytes that stand for a key.
pub(super) fn key(byte: u8, number: u32) -> Key {
    let mut key = [byte; 48];
    key[..4].copy_from_slice(&number.to_be_bytes());
    key
}

/// Operator 2 of a lock with some validators.
pub(super) fn cluster(validators: u32) -> Cluster {
    let keys = |v| ValidatorKeys {
        distributed: key(0xd1, v),
        share: key(0x5a, v),
    };
    Cluster::new([7; 32], 2, (0..validators).map(keys).collect()).unwrap()
}

/// A new database in a file.
pub(super) fn create(path: &Path, cluster: &Cluster) {
    std::fs::write(path, new_database(cluster, Some(Mark::New)).unwrap()).unwrap();
}

/// The right moment for a message: the middle of its slot.
pub(super) fn right_time(message: Message) -> Timing {
    Timing {
        now_ms: 6_000,
        slot_start_ms: 0,
        slot_ms: 12_000,
        deadline_ms: 12_000,
        epoch: match message {
            Message::Block { .. } => 0,
            Message::Attestation { target, .. } => target,
        },
    }
}

pub(super) fn block(slot: u64) -> Message {
    Message::Block { slot }
}

/// Of the first slot of the target epoch, if there are 32.
pub(super) fn attestation(source: u64, target: u64) -> Message {
    Message::Attestation {
        slot: target.wrapping_mul(32),
        source,
        target,
    }
}

pub(super) fn ask(guard: &Guard, message: Message, validators: &[u32]) -> Result<Answer, GuardError> {
    guard.permit(&Request {
        message,
        signing_root: root_of(message),
        validators,
        timing: right_time(message),
    })
}

/// Whether validator 0 may sign.
pub(super) fn may(guard: &Guard, message: Message) -> bool {
    let answer = ask(guard, message, &[0]).unwrap();
    assert_eq!(answer.permit.is_some(), answer.refused.is_empty());
    answer.permit.is_some()
}

pub(super) fn root_of(message: Message) -> Hash {
    match message {
        Message::Block { slot } => conclave_crypto::hash::sha256(&[&slot.to_be_bytes()]),
        Message::Attestation { source, target, .. } => {
            conclave_crypto::hash::sha256(&[&source.to_be_bytes(), &target.to_be_bytes()])
        }
    }
}

/// A guard whose file is in memory, begun.
pub(super) fn in_memory(cluster: &Cluster) -> Guard {
    let backend = database::MemoryBackend::of(new_database(cluster, None).unwrap());
    let open: Open =
        Box::new(move |cluster| Store::open_backend(backend.clone(), cluster, Path::new("memory")));
    let guard = Guard::open_by(Path::new("memory"), cluster.clone(), open).unwrap();
    guard.begin(ALWAYS);
    guard
}
