//! A disk that fails or hangs when it is told to, for tests.
#![allow(clippy::missing_panics_doc, reason = "a test that cannot begin fails")]

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use redb::StorageBackend;

use super::database::{MemoryBackend, Store};
use super::{Cluster, Guard, Open, Start, ValidatorKeys, new_database};

/// A start from the first slot on.
pub const ALWAYS: Start = Start {
    first_slot: 0,
    first_target: 0,
};

/// How a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// It works.
    Well,
    /// Whatever is asked of it is an error.
    Fails,
    /// Whoever asks it waits until it is in another mood.
    Hangs,
}

/// A disk in memory that fails or hangs when it is told to.
#[derive(Clone, Debug)]
pub struct Moody {
    bytes: MemoryBackend,
    /// And how many wait for it.
    mood: Arc<(Mutex<(Mood, usize)>, Condvar)>,
}

impl Moody {
    /// A guard that has been begun, with validator 0, on such a disk.
    pub fn guard() -> (Guard, Self) {
        let keys = ValidatorKeys {
            distributed: [0xd1; 48],
            share: [0x5a; 48],
        };
        let cluster = Cluster::new([7; 32], 2, vec![keys]).unwrap();
        let disk = Self {
            bytes: MemoryBackend::of(new_database(&cluster, None).unwrap()),
            mood: Arc::new((Mutex::new((Mood::Well, 0)), Condvar::new())),
        };
        let backend = disk.clone();
        let open: Open =
            Box::new(move |cluster| Store::open_backend(backend.clone(), cluster, Path::new("memory")));
        let guard = Guard::open_by(Path::new("moody"), cluster, open).unwrap();
        guard.begin(ALWAYS);
        (guard, disk)
    }

    /// Whoever waits for it notices.
    pub fn becomes(&self, mood: Mood) {
        self.mood.0.lock().unwrap().0 = mood;
        self.mood.1.notify_all();
    }

    /// Until somebody waits for it.
    pub fn wait_for_a_victim(&self) {
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
