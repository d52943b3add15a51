//! The records on disk: one redb file, one transaction per duty, durable before anything is allowed.
//!
//! Every commit has two phases: the file then never falls back to an older state by itself. A file whose newest state
//! cannot be read is refused as damaged, because an older one would have forgotten something that was signed.

use std::any::Any;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use redb::backends::FileBackend;
use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
    TableError, WriteTransaction,
};

use super::cluster::{Cluster, Key};
use super::error::GuardError;
use super::rules::{Attested, Message, Newest, Progress, Record, Restoration};
use conclave_crypto::hash::Hash;

/// How long a file that another process holds is asked for.
const LINGERING: Duration = Duration::from_millis(250);
/// Format of the tables below.
const FORMAT: u32 = 1;
/// The same while the database bears [`Mark::Restored`]: the first release does not know what that demands, and says of a higher format
/// that a newer version is needed.
const FORMAT_RESTORED: u32 = 2;
/// The highest format that is read.
pub(super) const NEWEST_FORMAT: u32 = FORMAT_RESTORED;

/// Names of single values and their bytes; integers are big-endian.
const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("conclave/guard/meta");
/// By distributed key: a [`Row`].
const RECORDS: TableDefinition<'_, &[u8; 48], &[u8; ROW]> = TableDefinition::new("conclave/guard/records");
/// By operator (from 1) and kind of message: slot, source and target (u64 big-endian each), then the proof.
const PEERS: TableDefinition<'_, (u16, u8), &[u8]> = TableDefinition::new("conclave/guard/peers");

const META_FORMAT: &str = "format";
const META_LOCK: &str = "lock hash";
const META_OPERATOR: &str = "operator";
const META_CHAIN: &str = "genesis validators root";
const META_MARK: &str = "mark";
/// [`PROGRESS`] bytes; missing as long as nothing was signed.
const META_PROGRESS: &str = "progress";
/// [`RESTORATION`] bytes; only with [`Mark::Restored`], once the others have told what they remember.
const META_RESTORATION: &str = "restoration";

/// Enough for every page of 10,000 validators.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of a [`Row`]: flags, slot, source, target, two signing roots.
const ROW: usize = 1 + 3 * 8 + 2 * 32;

/// Bytes of a [`Progress`]: flags as of a row, slot of a block, target, source and slot of an attestation.
const PROGRESS: usize = 1 + 4 * 8;

/// Bytes of a [`Restoration`]: block, source and target of the first raise, the deferred source.
const RESTORATION: usize = 4 * 8;

const HAS_BLOCK: u8 = 1;
const HAS_ATTESTED: u8 = 2;
const HAS_BLOCK_ROOT: u8 = 4;
const HAS_ATTESTED_ROOT: u8 = 8;

/// Most bytes of a peer's proof.
pub const MAX_PROOF_BYTES: usize = 4096;

/// Why a database is not to be trusted as the whole memory of its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mark {
    /// A person said that nothing was signed before.
    New = 1,
    /// The ceremony's files were published by a later start than the one that made the own Join, or without the others: the folder may be an old copy.
    LatePublication = 2,
    /// What was imported from an interchange file did not show of every validator what it attested to.
    PartialImport = 3,
    /// It came with its folder from another machine: it was whole when it left, and may have been unpacked before.
    Moved = 4,
    /// It was made for a folder that was restored from a backup, and has no memory of its own.
    Restored = 5,
}

impl Mark {
    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::New,
            Self::LatePublication,
            Self::PartialImport,
            Self::Moved,
            Self::Restored,
        ]
        .into_iter()
        .find(|mark| *mark as u8 == byte)
    }
}

/// What is kept of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) record: Record,
    /// The signing root of the highest block, if that is known.
    pub(super) block_root: Option<Hash>,
    /// The signing root of the attestation with both highest epochs, if there is one and it is known.
    pub(super) attested_root: Option<Hash>,
}

impl Row {
    /// After a message that the rules allow has been signed: it is the highest in everything.
    pub(super) fn signed(self, message: Message, signing_root: Hash) -> Self {
        let record = self.record.raised(Record::from(message));
        match message {
            Message::Block { .. } => Self {
                record,
                block_root: Some(signing_root),
                ..self
            },
            Message::Attestation { .. } => Self {
                record,
                attested_root: Some(signing_root),
                ..self
            },
        }
    }

    pub(super) fn raised(self, to: Record) -> Self {
        let record = self.record.raised(to);
        Self {
            record,
            block_root: self.block_root.filter(|_| record.block == self.record.block),
            attested_root: self
                .attested_root
                .filter(|_| record.attested == self.record.attested),
        }
    }

    fn encode(&self) -> [u8; ROW] {
        let mut bytes = [0; ROW];
        let mut flags = 0;
        let mut put = |at: usize, part: &[u8], flag: u8| {
            bytes[at..at + part.len()].copy_from_slice(part);
            flags |= flag;
        };
        if let Some(slot) = self.record.block {
            put(1, &slot.to_be_bytes(), HAS_BLOCK);
        }
        if let Some(attested) = self.record.attested {
            put(9, &attested.source.to_be_bytes(), HAS_ATTESTED);
            put(17, &attested.target.to_be_bytes(), HAS_ATTESTED);
        }
        if let Some(root) = &self.block_root {
            put(25, root, HAS_BLOCK_ROOT);
        }
        if let Some(root) = &self.attested_root {
            put(57, root, HAS_ATTESTED_ROOT);
        }
        bytes[0] = flags;
        bytes
    }

    /// Strict: what a row does not have is zero, and a root comes with what it is the root of.
    fn decode(bytes: &[u8; ROW]) -> Option<Self> {
        let flags = bytes[0];
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let root = |at: usize| -> Option<Hash> { bytes.get(at..at + 32)?.try_into().ok() };
        let row = Self {
            record: Record {
                block: number(1).filter(|_| flags & HAS_BLOCK != 0),
                attested: number(9)
                    .zip(number(17))
                    .filter(|_| flags & HAS_ATTESTED != 0)
                    .map(|(source, target)| Attested { source, target }),
            },
            block_root: root(25).filter(|_| flags & HAS_BLOCK_ROOT != 0),
            attested_root: root(57).filter(|_| flags & HAS_ATTESTED_ROOT != 0),
        };
        let sane = (row.block_root.is_none() || row.record.block.is_some())
            && (row.attested_root.is_none() || row.record.attested.is_some());
        (sane && row.encode() == *bytes).then_some(row)
    }
}

/// What another operator has signed last, as far as this node knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The operator, from 1.
    pub operator: u16,
    /// What it signed.
    pub message: Message,
    /// What convinces that operator: bytes that it signed. At most [`MAX_PROOF_BYTES`].
    pub proof: Vec<u8>,
}

impl Memory {
    /// What makes one memory newer than another one of the same kind.
    fn order(&self) -> (u64, u64, u64) {
        match self.message {
            Message::Block { slot } => (0, 0, slot),
            Message::Attestation { slot, source, target } => (target, source, slot),
        }
    }

    fn kind(&self) -> u8 {
        match self.message {
            Message::Block { .. } => 1,
            Message::Attestation { .. } => 2,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let (slot, source, target) = match self.message {
            Message::Block { slot } => (slot, 0, 0),
            Message::Attestation { slot, source, target } => (slot, source, target),
        };
        let mut bytes = Vec::with_capacity(24 + self.proof.len());
        for number in [slot, source, target] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.proof);
        bytes
    }

    fn decode(operator: u16, kind: u8, bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let slot = number(0)?;
        let message = match kind {
            1 => Message::Block { slot },
            2 => Message::Attestation {
                slot,
                source: number(8)?,
                target: number(16)?,
            },
            _ => return None,
        };
        Some(Self {
            operator,
            message,
            proof: bytes.get(24..)?.to_vec(),
        })
    }
}

/// What can go wrong inside a transaction.
pub(super) enum Failure {
    Redb(Box<redb::Error>),
    Damaged(String),
    Said(GuardError),
}

macro_rules! failures {
    ($($error:ty),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Redb(Box::new(error.into()))
            }
        })+
    };
}
failures!(
    redb::DatabaseError,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);

impl From<GuardError> for Failure {
    fn from(error: GuardError) -> Self {
        Self::Said(error)
    }
}

impl Failure {
    fn damaged(why: impl Into<String>) -> Self {
        Self::Damaged(why.into())
    }

    /// For the user, with the file's name.
    pub(super) fn at(self, path: &Path) -> GuardError {
        let path = path.to_owned();
        let damaged = |why: String| GuardError::Damaged {
            path: path.clone(),
            why,
        };
        match self {
            Self::Said(error) => error,
            Self::Damaged(why) => damaged(why),
            Self::Redb(error) => match *error {
                redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
                    GuardError::InUse(path)
                }
                redb::Error::Io(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                    ) =>
                {
                    damaged(format!("It is no such database, or not a whole one: {error}"))
                }
                redb::Error::Io(error) => disk(&path, &error),
                redb::Error::PreviousIo | redb::Error::DatabaseClosed | redb::Error::LockPoisoned(_) => {
                    disk(&path, &"It failed before")
                }
                error => damaged(format!("It cannot be read: {error}")),
            },
        }
    }
}

fn disk(path: &Path, why: &dyn std::fmt::Display) -> GuardError {
    GuardError::Disk {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

/// The library may panic over a file that was changed behind its back; to us that is one more kind of damage.
pub(super) fn shielded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic: Box<dyn Any + Send>| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("unknown reason");
        Err(Failure::damaged(format!("It contradicts itself: {text}")))
    })
}

/// Which file an open database is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            number: metadata.ino(),
        }
    }
}

/// An open database.
pub(super) struct Store {
    database: Database,
    /// The file, unless it is in memory.
    inode: Option<Inode>,
    /// Changes that are durable, since it was opened.
    commits: Arc<AtomicU64>,
}

impl Store {
    /// Opens a file that is there, and checks all of it. One that another process holds is asked for again for a moment: a process that is being
    /// started holds copies of all files of its parent until it is another program, and one that was killed holds its own until it is gone.
    pub(super) fn open(path: &Path, cluster: &Cluster) -> Result<Self, GuardError> {
        let until = Instant::now() + LINGERING;
        loop {
            match Self::open_now(path, cluster) {
                Err(GuardError::InUse(_)) if Instant::now() < until => sleep(LINGERING / 10),
                answer => return answer,
            }
        }
    }

    fn open_now(path: &Path, cluster: &Cluster) -> Result<Self, GuardError> {
        let missing_or = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => GuardError::Missing(path.to_owned()),
            _ => disk(path, &error),
        };
        // Before it is opened: a pipe would block.
        if !fs::metadata(path).map_err(missing_or)?.is_file() {
            return Err(Failure::damaged("It is no ordinary file").at(path));
        }
        let file: File = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(missing_or)?;
        let metadata = file.metadata().map_err(|error| disk(path, &error))?;
        // The library would make a new database of it.
        if metadata.len() == 0 {
            return Err(Failure::damaged("It is empty").at(path));
        }
        if metadata.permissions().mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))
                .map_err(|error| disk(path, &error))?;
        }
        let inode = Some(Inode::of(&metadata));
        let store = shielded(|| {
            let database = builder().create_with_backend(FileBackend::new(file)?)?;
            Ok(Self {
                database,
                inode,
                commits: Arc::default(),
            })
        });
        let store = store.map_err(|failure| failure.at(path))?;
        store.verify(path, cluster)?;
        Ok(store)
    }

    /// Opens a database that is not a file.
    pub(super) fn open_backend(
        backend: impl StorageBackend,
        cluster: &Cluster,
        path: &Path,
    ) -> Result<Self, GuardError> {
        let store = shielded(|| {
            Ok(Self {
                database: builder().create_with_backend(backend)?,
                inode: None,
                commits: Arc::default(),
            })
        });
        let store = store.map_err(|failure| failure.at(path))?;
        store.verify(path, cluster)?;
        Ok(store)
    }

    /// How many changes are durable since it was opened.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Whether the file of that name is still the one that is open.
    pub(super) fn is_in_place(&self, path: &Path) -> bool {
        self.inode
            .is_none_or(|inode| fs::metadata(path).is_ok_and(|metadata| Inode::of(&metadata) == inode))
    }

    /// Whose it is comes first, then whether everything is there.
    fn verify(&self, path: &Path, cluster: &Cluster) -> Result<(), GuardError> {
        let checked = shielded(|| {
            let read = self.read()?;
            let meta = match read.0.open_table(META) {
                Err(TableError::TableDoesNotExist(_)) => {
                    return Err(Failure::damaged("It is a database of another program"));
                }
                other => other?,
            };
            let format = number::<4>(&meta, META_FORMAT)?.map(u32::from_be_bytes);
            match format {
                Some(FORMAT | FORMAT_RESTORED) => {}
                Some(found) if found > NEWEST_FORMAT => {
                    return Err(Failure::Said(GuardError::NewerFormat {
                        path: path.to_owned(),
                        found,
                        known: NEWEST_FORMAT,
                    }));
                }
                _ => return Err(Failure::damaged("It does not say its format")),
            }
            let pinned =
                number::<32>(&meta, META_LOCK)?.ok_or_else(|| Failure::damaged("It names no lock"))?;
            if pinned != *cluster.lock_hash() {
                return Err(Failure::Said(GuardError::OtherLock {
                    path: path.to_owned(),
                    pinned,
                    found: *cluster.lock_hash(),
                }));
            }
            let pinned = number::<2>(&meta, META_OPERATOR)?.map(u16::from_be_bytes);
            let pinned = pinned.ok_or_else(|| Failure::damaged("It names no operator"))?;
            if pinned != cluster.operator() {
                return Err(Failure::Said(GuardError::OtherOperator {
                    path: path.to_owned(),
                    pinned,
                    found: cluster.operator(),
                }));
            }
            read.chain()?;
            read.mark()?;
            read.progress()?;
            read.restoration()?;
            for validator in 0..count(cluster) {
                read.row(cluster, validator)?;
            }
            read.memories()?;
            Ok(())
        });
        checked.map_err(|failure| failure.at(path))
    }

    pub(super) fn read(&self) -> Result<Reading, Failure> {
        Ok(Reading(self.database.begin_read()?))
    }

    pub(super) fn write(&self) -> Result<Writing, Failure> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_two_phase_commit(true);
        Ok(Writing(transaction, self.commits.clone()))
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(CACHE_BYTES)
        // Reads every page: the file is small, and a plain opening trusts what it finds.
        .set_check_integrity_on_open(true);
    builder
}

fn count(cluster: &Cluster) -> u32 {
    u32::try_from(cluster.validators().len()).unwrap_or(u32::MAX)
}

fn number<const N: usize>(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<Option<[u8; N]>, Failure> {
    let Some(value) = meta.get(name)? else {
        return Ok(None);
    };
    let bytes = value
        .value()
        .try_into()
        .map_err(|_| Failure::damaged(format!("Its {name} has a wrong length")))?;
    Ok(Some(bytes))
}

fn chain(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Option<Hash>, Failure> {
    number::<32>(meta, META_CHAIN)
}

fn mark(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Option<Mark>, Failure> {
    let Some([byte]) = number::<1>(meta, META_MARK)? else {
        return Ok(None);
    };
    let mark = Mark::from_byte(byte).ok_or_else(|| Failure::damaged("It has an unknown mark"))?;
    Ok(Some(mark))
}

fn progress(meta: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Progress, Failure> {
    let Some(bytes) = number::<PROGRESS>(meta, META_PROGRESS)? else {
        return Ok(Progress::default());
    };
    let number = |at: usize| Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let attestation = || {
        Some(Newest {
            target: number(9)?,
            source: number(17)?,
            slot: number(25)?,
        })
    };
    let progress = Progress {
        block: number(1).filter(|_| bytes[0] & HAS_BLOCK != 0),
        attestation: attestation().filter(|_| bytes[0] & HAS_ATTESTED != 0),
    };
    if encode_progress(progress) == bytes {
        Ok(progress)
    } else {
        Err(Failure::damaged("How far it has signed is unreadable"))
    }
}

fn restoration(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Option<Restoration>, Failure> {
    let Some(bytes) = number::<RESTORATION>(meta, META_RESTORATION)? else {
        return Ok(None);
    };
    if mark(meta)? != Some(Mark::Restored) {
        return Err(Failure::damaged("It was raised as a restored one, and is none"));
    }
    let (numbers, _) = bytes.as_chunks::<8>();
    let numbers: Vec<u64> = numbers.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect();
    Ok(match numbers.as_slice() {
        [block, source, target, deferred] => Some(Restoration {
            first: Record {
                block: Some(*block),
                attested: Some(Attested {
                    source: *source,
                    target: *target,
                }),
            },
            deferred: *deferred,
        }),
        _ => None,
    })
}

/// What is not there is zero.
fn encode_progress(progress: Progress) -> [u8; PROGRESS] {
    let mut bytes = [0; PROGRESS];
    if let Some(slot) = progress.block {
        bytes[0] |= HAS_BLOCK;
        bytes[1..9].copy_from_slice(&slot.to_be_bytes());
    }
    if let Some(newest) = progress.attestation {
        bytes[0] |= HAS_ATTESTED;
        bytes[9..17].copy_from_slice(&newest.target.to_be_bytes());
        bytes[17..25].copy_from_slice(&newest.source.to_be_bytes());
        bytes[25..].copy_from_slice(&newest.slot.to_be_bytes());
    }
    bytes
}

fn row(
    records: &impl ReadableTable<&'static [u8; 48], &'static [u8; ROW]>,
    key: &Key,
) -> Result<Row, Failure> {
    let value = records.get(key)?;
    value.and_then(|value| Row::decode(value.value())).ok_or_else(|| {
        Failure::damaged(format!(
            "The record of 0x{} is missing or unreadable",
            hex::encode(key)
        ))
    })
}

fn key_of(cluster: &Cluster, validator: u32) -> Result<&Key, Failure> {
    cluster
        .distributed(validator)
        .ok_or_else(|| Failure::damaged("A validator is missing"))
}

/// A consistent view of the database.
pub(super) struct Reading(ReadTransaction);

impl Reading {
    /// The genesis validators root, once it is pinned.
    pub(super) fn chain(&self) -> Result<Option<Hash>, Failure> {
        chain(&self.0.open_table(META)?)
    }

    pub(super) fn mark(&self) -> Result<Option<Mark>, Failure> {
        mark(&self.0.open_table(META)?)
    }

    pub(super) fn progress(&self) -> Result<Progress, Failure> {
        progress(&self.0.open_table(META)?)
    }

    fn restoration(&self) -> Result<Option<Restoration>, Failure> {
        restoration(&self.0.open_table(META)?)
    }

    pub(super) fn row(&self, cluster: &Cluster, validator: u32) -> Result<Row, Failure> {
        row(&self.0.open_table(RECORDS)?, key_of(cluster, validator)?)
    }

    /// All rows in the lock's order.
    pub(super) fn rows(&self, cluster: &Cluster) -> Result<Vec<Row>, Failure> {
        let records = self.0.open_table(RECORDS)?;
        cluster
            .validators()
            .iter()
            .map(|keys| row(&records, &keys.distributed))
            .collect()
    }

    /// All that is remembered of other operators.
    pub(super) fn memories(&self) -> Result<Vec<Memory>, Failure> {
        let peers = self.0.open_table(PEERS)?;
        let mut memories = Vec::new();
        for item in peers.iter()? {
            let (key, value) = item?;
            let (operator, kind) = key.value();
            let memory = Memory::decode(operator, kind, value.value())
                .ok_or_else(|| Failure::damaged("What it remembers of a peer is unreadable"))?;
            memories.push(memory);
        }
        Ok(memories)
    }
}

/// A change that is made as a whole or not at all.
pub(super) struct Writing(WriteTransaction, Arc<AtomicU64>);

impl Writing {
    /// Durable when this returns. If it fails, nobody knows: the database has to be opened anew.
    pub(super) fn commit(self) -> Result<(), Failure> {
        self.0.commit()?;
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Shows each of these validators' rows to `change`, and keeps what it answers.
    pub(super) fn change_rows(
        &self,
        cluster: &Cluster,
        validators: impl IntoIterator<Item = u32>,
        mut change: impl FnMut(u32, Row) -> Option<Row>,
    ) -> Result<(), Failure> {
        let mut records = self.0.open_table(RECORDS)?;
        for validator in validators {
            let key = key_of(cluster, validator)?;
            let before = row(&records, key)?;
            if let Some(after) = change(validator, before) {
                records.insert(key, &after.encode())?;
            }
        }
        Ok(())
    }

    pub(super) fn chain(&self) -> Result<Option<Hash>, Failure> {
        chain(&self.0.open_table(META)?)
    }

    pub(super) fn pin_chain(&self, root: &Hash) -> Result<(), Failure> {
        self.0.open_table(META)?.insert(META_CHAIN, root.as_slice())?;
        Ok(())
    }

    pub(super) fn mark(&self) -> Result<Option<Mark>, Failure> {
        mark(&self.0.open_table(META)?)
    }

    pub(super) fn progress(&self) -> Result<Progress, Failure> {
        progress(&self.0.open_table(META)?)
    }

    /// Notes what was signed; never goes back.
    pub(super) fn advance(&self, to: Progress) -> Result<(), Failure> {
        let after = self.progress()?.with(to);
        self.0
            .open_table(META)?
            .insert(META_PROGRESS, encode_progress(after).as_slice())?;
        Ok(())
    }

    /// How the guard of a restored folder was raised.
    pub(super) fn restoration(&self) -> Result<Option<Restoration>, Failure> {
        restoration(&self.0.open_table(META)?)
    }

    /// Keeps it, or forgets it.
    pub(super) fn set_restoration(&self, known: Option<Restoration>) -> Result<(), Failure> {
        let mut meta = self.0.open_table(META)?;
        let numbers = known.and_then(|known| {
            let (block, first) = known.first.block.zip(known.first.attested)?;
            Some([block, first.source, first.target, known.deferred])
        });
        match numbers {
            Some(numbers) => {
                let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
                meta.insert(META_RESTORATION, bytes.as_slice())?;
            }
            None => drop(meta.remove(META_RESTORATION)?),
        }
        Ok(())
    }

    /// Sets a mark, or takes it away, and says in the format whether the first release may read it. Whatever mark it is, it is a new one.
    pub(super) fn set_mark(&self, mark: Option<Mark>) -> Result<(), Failure> {
        let mut meta = self.0.open_table(META)?;
        let format = match mark {
            Some(Mark::Restored) => FORMAT_RESTORED,
            _ => FORMAT,
        };
        meta.insert(META_FORMAT, format.to_be_bytes().as_slice())?;
        meta.remove(META_RESTORATION)?;
        match mark {
            Some(mark) => drop(meta.insert(META_MARK, [mark as u8].as_slice())?),
            None => drop(meta.remove(META_MARK)?),
        }
        Ok(())
    }

    /// Keeps a memory if it is newer than the one that is there.
    pub(super) fn remember(&self, memory: &Memory) -> Result<bool, Failure> {
        let mut peers = self.0.open_table(PEERS)?;
        let key = (memory.operator, memory.kind());
        let known = peers
            .get(key)?
            .and_then(|value| Memory::decode(key.0, key.1, value.value()));
        if known.is_some_and(|known| known.order() >= memory.order()) {
            return Ok(false);
        }
        peers.insert(key, memory.encode().as_slice())?;
        Ok(true)
    }
}

/// The mark of a database of which these are the bytes. No file is opened or written: a process may be at work with it.
pub(super) fn mark_in(bytes: Vec<u8>, cluster: &Cluster, path: &Path) -> Result<Option<Mark>, GuardError> {
    let store = Store::open_backend(MemoryBackend::of(bytes), cluster, path)?;
    shielded(|| store.read()?.mark()).map_err(|failure| failure.at(path))
}

/// A database in which no key has signed anything, as the bytes of a file. `history` raises it first.
pub(super) fn new_database(
    cluster: &Cluster,
    mark: Option<Mark>,
    chain: Option<&Hash>,
    history: &[(u32, Record)],
) -> Result<Vec<u8>, Failure> {
    let backend = MemoryBackend::default();
    let database = builder().create_with_backend(backend.clone())?;
    let store = Store {
        database,
        inode: None,
        commits: Arc::default(),
    };
    let writing = store.write()?;
    {
        let mut meta = writing.0.open_table(META)?;
        meta.insert(META_LOCK, cluster.lock_hash().as_slice())?;
        meta.insert(META_OPERATOR, cluster.operator().to_be_bytes().as_slice())?;
        writing.0.open_table(PEERS)?;
        let mut records = writing.0.open_table(RECORDS)?;
        for keys in cluster.validators() {
            records.insert(&keys.distributed, &Row::default().encode())?;
        }
    }
    if let Some(root) = chain {
        writing.pin_chain(root)?;
    }
    writing.set_mark(mark)?;
    let mut raises = history.iter();
    writing.change_rows(
        cluster,
        history.iter().map(|(validator, _)| *validator),
        |_, row| raises.next().map(|(_, record)| row.raised(*record)),
    )?;
    writing.commit()?;
    store.database.close()?;
    Ok(backend.bytes())
}

/// Bytes in memory as a database file.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryBackend(Arc<RwLock<Vec<u8>>>);

impl MemoryBackend {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(RwLock::new(bytes)))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn out_of_range() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "outside of the file")
}

fn range(offset: u64, length: usize) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    Some(start..start.checked_add(length)?)
}

impl StorageBackend for MemoryBackend {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let part = range(offset, out.len()).and_then(|range| bytes.get(range));
        out.copy_from_slice(part.ok_or_else(out_of_range)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let len = usize::try_from(len).map_err(|_| out_of_range())?;
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let part = range(offset, data.len()).and_then(|range| bytes.get_mut(range));
        part.ok_or_else(out_of_range)?.copy_from_slice(data);
        Ok(())
    }
}
