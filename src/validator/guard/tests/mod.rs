//! Tests of the guard.

mod crash;
mod files;
mod interchange;
mod requests;
mod rules;
mod vectors;

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar};

use redb::StorageBackend;

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

/// From the first slot on.
pub(super) const ALWAYS: Start = Start {
    first_slot: 0,
    first_target: 0,
};

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

/// How a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::validator) enum Mood {
    Well,
    Fails,
    Hangs,
}

/// A disk in memory that fails or hangs when it is told to.
#[derive(Clone, Debug)]
pub(in crate::validator) struct Moody {
    bytes: database::MemoryBackend,
    /// And how many wait for it.
    mood: Arc<(Mutex<(Mood, usize)>, Condvar)>,
}

impl Moody {
    /// A guard that has been begun, with validator 0, on such a disk.
    pub(in crate::validator) fn guard() -> (Guard, Self) {
        let cluster = cluster(1);
        let disk = Self {
            bytes: database::MemoryBackend::of(new_database(&cluster, None).unwrap()),
            mood: Arc::new((Mutex::new((Mood::Well, 0)), Condvar::new())),
        };
        let backend = disk.clone();
        let open: Open =
            Box::new(move |cluster| Store::open_backend(backend.clone(), cluster, Path::new("memory")));
        let guard = Guard::open_by(Path::new("moody"), cluster, open).unwrap();
        guard.begin(ALWAYS);
        (guard, disk)
    }

    pub(in crate::validator) fn becomes(&self, mood: Mood) {
        self.mood.0.lock().unwrap().0 = mood;
        self.mood.1.notify_all();
    }

    /// Until somebody waits for it.
    pub(in crate::validator) fn wait_for_a_victim(&self) {
        let state = self.mood.0.lock().unwrap();
        drop(
            self.mood
                .1
                .wait_while(state, |(_, waiting)| *waiting == 0)
                .unwrap(),
        );
    }

    fn answer(&self) -> io::Result<()> {
        let mut state = self.mood.0.lock().unwrap();
        if state.0 == Mood::Hangs {
            state.1 += 1;
            self.mood.1.notify_all();
            state = self
                .mood
                .1
                .wait_while(state, |(mood, _)| *mood == Mood::Hangs)
                .unwrap();
            state.1 -= 1;
        }
        match state.0 {
            Mood::Fails => Err(io::Error::other("simulated")),
            _ => Ok(()),
        }
    }
}

impl StorageBackend for Moody {
    fn len(&self) -> Result<u64, io::Error> {
        self.answer()?;
        self.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.answer()?;
        self.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.answer()?;
        self.bytes.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.answer()?;
        self.bytes.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.answer()?;
        self.bytes.write(offset, data)
    }
}
