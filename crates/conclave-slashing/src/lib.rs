#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
//!
//! What the disk cannot know is that it is an old copy of itself. For that there are [`Guard::begin`] (a process that has
//! just started keeps away from what may have been signed before), [`Mark`] (a database that is not the whole memory of
//! its share), and [`Guard::remember`] and [`Guard::raise`] (operators remember for each other).
//!
//! All functions but [`Guard::begin`] and [`Guard::pause`] block on the disk: keep them off the async executor.
//!
//! | Module | What it is |
//! |---|---|
//! | `cluster` | whose shares are guarded |
//! | [`rules`] | what may be signed beside what was, and when; they need nothing but the record |
//! | `database` | the record on the disk, one transaction for each duty |
//! | [`interchange`] | histories in files (EIP-3076) |

mod cluster;
mod database;
mod error;
pub mod interchange;
pub mod rules;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use conclave_crypto::hash::Hash;

pub use self::cluster::{Cluster, Key, ValidatorKeys};
pub use self::database::{MAX_PROOF_BYTES, Mark, Memory};
pub use self::error::GuardError;
pub use self::rules::{Attested, Message, Newest, Progress, Record, Refusal, Restoration, Start, Timing};

use self::database::{Failure, Store, Writing, shielded};
use self::interchange::{History, Interchange, InterchangeError, Unreadable};

/// The file's name in an operator's data folder.
pub const FILE: &str = "slashing-protection.redb";

/// One duty: one message, and all own validators that are to sign it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What is to be signed.
    pub message: Message,
    /// The signing root of the message, 32 bytes.
    pub signing_root: Hash,
    /// Indices in the lock, from 0.
    pub validators: &'a [u32],
    /// The time.
    pub timing: Timing,
}

/// The right to sign one message with some shares, once. Its record is durable. Only the guard can make one, and it
/// cannot be copied.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "what was permitted cannot be permitted again"]
pub struct Permit {
    message: Message,
    signing_root: Hash,
    validators: Vec<u32>,
}

impl Permit {
    /// What may be signed.
    pub fn message(&self) -> Message {
        self.message
    }

    /// The root that may be signed, 32 bytes; no other one.
    pub fn signing_root(&self) -> &Hash {
        &self.signing_root
    }

    /// The validators whose shares may sign, by their index in the lock; never empty.
    pub fn validators(&self) -> &[u32] {
        &self.validators
    }
}

/// The guard's answer to a [`Request`].
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// What may be signed; `None` if no share may.
    pub permit: Option<Permit>,
    /// The validators whose shares may not sign, and why. A refusal costs that key its vote, not the slot.
    pub refused: Vec<(u32, Refusal)>,
}

/// What [`Guard::raise`] changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raised {
    /// How many keys have a higher record now.
    pub keys: usize,
    /// The highest of all keys before.
    pub before: Record,
}

/// What becomes of messages in a file that cannot have been signed yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Future {
    /// The file is refused if there are any of validators here.
    #[default]
    Refuse,
    /// Taken over: those keys sign nothing until that time has come.
    Keep,
    /// Left out, and told.
    Drop,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Validators that the file has a record of, by their index in the lock, ascending.
    pub named: Vec<u32>,
    /// Validators that it names without one, ascending: that is no memory of anything.
    pub silent: Vec<u32>,
    /// How many of `named` have a higher record now.
    pub raised: usize,
    /// Keys in the file that are neither a distributed key of the lock nor this operator's share of one, ascending.
    pub unknown: Vec<Key>,
    /// The highest of everything that was imported.
    pub highest: Record,
    /// Validators with messages that cannot have been signed yet, and the highest of these: left out with
    /// [`Future::Drop`], imported with [`Future::Keep`].
    pub beyond: Vec<(u32, Record)>,
    /// What could not be read of validators here, or may be of one.
    pub unreadable: Unreadable,
    /// Whether the database is marked by this: it is not the whole memory of its shares.
    pub marked: bool,
}

/// How a database is opened: again, when it has failed.
type Open = Box<dyn Fn(&Cluster) -> Result<Store, GuardError> + Send>;

struct State {
    open: Open,
    /// `None` after a failure: what is on the disk then has to be read anew.
    store: Option<Store>,
}

/// Since when this process lives, for the rules.
#[derive(Debug, Clone, Copy, Default)]
struct Life {
    /// From when on it signs; not at all without it.
    start: Option<Start>,
    /// How often something counted as a start since.
    pauses: u64,
}

/// The slashing protection of one operator's shares.
pub struct Guard {
    path: PathBuf,
    cluster: Cluster,
    /// From when on this process signs. Apart from the database, and only ever held for an assignment: who tells it
    /// must not wait for a disk.
    life: Mutex<Life>,
    state: Mutex<State>,
    /// Changes that became durable.
    writes: AtomicU64,
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// Opens the database of a cluster's operator and checks all of it. It is held until this is dropped.
    ///
    /// # Errors
    /// If it is missing, damaged, of a newer version, of another lock or operator, or held by another process; anything
    /// the disk says. A missing or damaged database is never made anew.
    pub fn open(path: &Path, cluster: Cluster) -> Result<Self, GuardError> {
        let file = path.to_owned();
        Self::open_by(
            path,
            cluster,
            Box::new(move |cluster| Store::open(&file, cluster)),
        )
    }

    fn open_by(path: &Path, cluster: Cluster, open: Open) -> Result<Self, GuardError> {
        let store = Some(open(&cluster)?);
        Ok(Self {
            path: path.to_owned(),
            cluster,
            life: Mutex::default(),
            state: Mutex::new(State { open, store }),
            writes: AtomicU64::new(0),
        })
    }

    /// The cluster and operator that this guards.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic inside has left the database closed, and it is read anew.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works with the database. After a failure it is opened anew by the next call: whether the failed change is on the
    /// disk or not is then seen there.
    fn with<T>(&self, work: impl FnOnce(&Store) -> Result<T, Failure>) -> Result<T, GuardError> {
        let mut state = self.state();
        // Taken out, so that it is gone whatever happens in between.
        let store = match state.store.take() {
            Some(store) => store,
            None => (state.open)(&self.cluster)?,
        };
        if !store.is_in_place(&self.path) {
            state.store = Some(store);
            return Err(GuardError::Replaced(self.path.clone()));
        }
        let before = store.commits();
        match shielded(|| work(&store)) {
            Ok(value) => {
                let made = store.commits().saturating_sub(before);
                self.writes.fetch_add(made, Ordering::Relaxed);
                state.store = Some(store);
                Ok(value)
            }
            Err(Failure::Said(error)) => {
                state.store = Some(store);
                Err(error)
            }
            Err(failure) => {
                let _ = shielded(|| {
                    drop(store);
                    Ok(())
                });
                Err(failure.at(&self.path))
            }
        }
    }

    /// How many changes became durable since this was opened. What is asked and leads to no change shows nothing of whether the disk
    /// can be written.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Says from when on this process may sign. Before, everything is refused. To be called at whatever counts as a
    /// start, and again when all peers have confirmed that nothing was forgotten. Does not wait for the disk.
    pub fn begin(&self, start: Start) {
        self.life().start = Some(start);
    }

    /// Refuses everything until [`Self::begin`] is called again: for a clock that has jumped. Does not wait for the disk:
    /// what is asked there at this moment is refused when it has answered.
    pub fn pause(&self) {
        let mut life = self.life();
        life.start = None;
        life.pauses += 1;
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a message is not from before the start, as it is at this moment; then how often there was a pause.
    fn is_after_start(&self, message: &Message) -> Result<u64, Refusal> {
        let life = *self.life();
        life.start.ok_or(Refusal::NotStarted)?.check(message)?;
        Ok(life.pauses)
    }

    /// Asks for one duty: all validators in one transaction. When this returns a permit, its record is durable, and the
    /// same message will never be permitted again: a partial signature that was made is re-sent, not re-made.
    ///
    /// # Errors
    /// If the database cannot be read or written. Then nothing may be signed, and whether the duty counts as signed is
    /// seen by asking again.
    pub fn permit(&self, request: &Request<'_>) -> Result<Answer, GuardError> {
        let message = request.message;
        self.with(|store| {
            let life = self.is_after_start(&message);
            let general = life.and_then(|_| request.timing.check(&message));
            if let Err(refusal) = general {
                return Ok(Answer {
                    permit: None,
                    refused: request.validators.iter().map(|v| (*v, refusal)).collect(),
                });
            }
            let is_known = |v: &u32| self.cluster.distributed(*v).is_some();
            let (known, unknown): (Vec<u32>, Vec<u32>) = request.validators.iter().partition(|v| is_known(v));
            let mut refused: Vec<(u32, Refusal)> = unknown
                .into_iter()
                .map(|v| (v, Refusal::UnknownValidator))
                .collect();
            let mut validators = Vec::with_capacity(known.len());
            let writing = store.write()?;
            writing.change_rows(&self.cluster, known, |validator, row| {
                match row.record.check(&message) {
                    Ok(()) => {
                        validators.push(validator);
                        Some(row.signed(message, request.signing_root))
                    }
                    Err(refusal) => {
                        refused.push((validator, refusal));
                        None
                    }
                }
            })?;
            if validators.is_empty() {
                return Ok(Answer {
                    permit: None,
                    refused,
                });
            }
            // The wait is over: from here on the database is the whole memory of its share again.
            if matches!(message, Message::Attestation { .. }) && writing.mark()?.is_some() {
                writing.set_mark(None)?;
            }
            writing.advance(message.into())?;
            writing.commit()?;
            // The disk may have taken its time, and the clock may have jumped meanwhile: then another start counts.
            let now = self.is_after_start(&message);
            if now.is_err() || now != life {
                let refusal = now.err().unwrap_or(Refusal::NotStarted);
                refused.extend(validators.into_iter().map(|validator| (validator, refusal)));
                return Ok(Answer {
                    permit: None,
                    refused,
                });
            }
            let permit = Permit {
                message,
                signing_root: request.signing_root,
                validators,
            };
            Ok(Answer {
                permit: Some(permit),
                refused,
            })
        })
    }

    /// Whether this database is not the whole memory of its share: then `run` waits longer before it signs attestations.
    /// The mark goes with the first attestation that is permitted.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn mark(&self) -> Result<Option<Mark>, GuardError> {
        self.with(|store| store.read()?.mark())
    }

    /// Marks a database that came from another machine, unless it has a mark already. One of a restored folder may have come before: its next
    /// start counts as the first one ([`Restoration`]).
    ///
    /// # Errors
    /// If the database cannot be read or written.
    pub fn mark_moved(&self) -> Result<(), GuardError> {
        self.with(|store| {
            let writing = store.write()?;
            match writing.mark()? {
                None => writing.set_mark(Some(Mark::Moved))?,
                Some(Mark::Restored) => writing.set_mark(Some(Mark::Restored))?,
                Some(_) => return Ok(()),
            }
            writing.commit()
        })
    }

    /// Marks a database of a folder that was restored from a backup, whatever mark it has: none says more. Its next start counts as the first
    /// one ([`Restoration`]), whatever was done with it before.
    ///
    /// # Errors
    /// If the database cannot be read or written.
    pub fn mark_restored(&self) -> Result<(), GuardError> {
        self.with(|store| {
            let writing = store.write()?;
            writing.set_mark(Some(Mark::Restored))?;
            writing.commit()
        })
    }

    /// Takes a mark away, if it is this one. Gives whether it was.
    ///
    /// # Errors
    /// If the database cannot be read or written.
    pub fn clear_mark(&self, mark: Mark) -> Result<bool, GuardError> {
        self.with(|store| {
            let writing = store.write()?;
            if writing.mark()? != Some(mark) {
                return Ok(false);
            }
            writing.set_mark(None)?;
            writing.commit()?;
            Ok(true)
        })
    }

    /// The genesis validators root (32 bytes) of the chain this database is used on, once it is pinned.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn genesis_validators_root(&self) -> Result<Option<Hash>, GuardError> {
        self.with(|store| store.read()?.chain())
    }

    /// Pins the genesis validators root (32 bytes) at the first call, and compares at every later one.
    ///
    /// # Errors
    /// [`GuardError::OtherChain`] if another root is pinned; if the database cannot be read or written.
    pub fn pin_genesis_validators_root(&self, root: &Hash) -> Result<(), GuardError> {
        self.with(|store| {
            let writing = store.write()?;
            match writing.chain()? {
                Some(pinned) if pinned == *root => Ok(()),
                Some(pinned) => Err(Failure::Said(GuardError::OtherChain { pinned, found: *root })),
                None => {
                    writing.pin_chain(root)?;
                    writing.commit()
                }
            }
        })
    }

    /// The record of one validator, by its index in the lock.
    ///
    /// # Errors
    /// If the lock has no such validator; if the database cannot be read.
    pub fn record(&self, validator: u32) -> Result<Record, GuardError> {
        self.with(|store| Ok(store.read()?.row(&self.cluster, validator)?.record))
    }

    /// How far this operator's shares have signed with this database: durable with each permit. What was imported does
    /// not count.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn progress(&self) -> Result<Progress, GuardError> {
        self.with(|store| store.read()?.progress())
    }

    /// Compares with what a peer has proven that this operator signed. If that is newer than anything that was signed
    /// with this database, it is an old copy, or a new one: then all keys are raised to it, for nobody knows which of
    /// them have signed. True if any of them had to be; a peer's memory of what is known here changes nothing. In a restored folder
    /// more is raised if it is newer than the first raise ([`Restoration`]).
    ///
    /// # Errors
    /// If the database cannot be read or written.
    pub fn catch_up(&self, remembered: Progress) -> Result<bool, GuardError> {
        self.with(|store| {
            let writing = store.write()?;
            let known = writing.progress()?;
            // Of each kind only what is newer: the rest may be of a key that has yet to sign.
            let newer = Progress {
                block: remembered.block.filter(|_| remembered.block > known.block),
                attestation: remembered
                    .attestation
                    .filter(|_| remembered.attestation > known.attestation),
            };
            if newer == Progress::default() {
                return Ok(false);
            }
            let mut raised = false;
            writing.change_rows(&self.cluster, self.all(), |_, row| {
                let after = row.raised(newer.record());
                (after != row).then(|| {
                    raised = true;
                    after
                })
            })?;
            writing.advance(newer)?;
            raised |= self.distrust_if(&writing, |known| known.is_disproven_by(newer.record()))?;
            writing.commit()?;
            Ok(raised)
        })
    }

    /// Something else signs with these shares, or did: what starts of a restored folder left out, as all that was signed seemed to be
    /// known ([`Restoration`]), is raised now.
    ///
    /// # Errors
    /// If the database cannot be read or written.
    pub fn distrust(&self) -> Result<(), GuardError> {
        self.with(|store| {
            let writing = store.write()?;
            self.distrust_if(&writing, |_| true)?;
            writing.commit()
        })
    }

    /// The same within a change, if that is so. True if any key was raised.
    fn distrust_if(
        &self,
        writing: &Writing,
        is_so: impl FnOnce(&Restoration) -> bool,
    ) -> Result<bool, Failure> {
        let Some(known) = writing.restoration()?.filter(is_so) else {
            return Ok(false);
        };
        let mut raised = false;
        writing.change_rows(&self.cluster, self.all(), |_, row| {
            let after = row.raised(known.rest());
            raised |= after != row;
            (after != row).then_some(after)
        })?;
        writing.set_restoration(None)?;
        Ok(raised)
    }

    /// The highest of all validators' records.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn highest(&self) -> Result<Record, GuardError> {
        self.with(|store| {
            let rows = store.read()?.rows(&self.cluster)?;
            Ok(rows
                .iter()
                .fold(Record::default(), |all, row| all.raised(row.record)))
        })
    }

    /// Raises all keys to what may have been signed: those of a restored folder once the others have told what they remember, the source only
    /// at the first start ([`Restoration`]). Never lowers anything.
    ///
    /// # Errors
    /// If the database cannot be read or written.
    pub fn raise(&self, to: Record) -> Result<Raised, GuardError> {
        self.with(|store| {
            let mut raised = Raised {
                keys: 0,
                before: Record::default(),
            };
            let writing = store.write()?;
            let restored = writing.mark()? == Some(Mark::Restored);
            let (to, known) = if restored {
                Restoration::raise(writing.restoration()?, to)
            } else {
                (to, None)
            };
            writing.change_rows(&self.cluster, self.all(), |_, row| {
                raised.before = raised.before.raised(row.record);
                let after = row.raised(to);
                (after != row).then(|| {
                    raised.keys += 1;
                    after
                })
            })?;
            if restored {
                writing.set_restoration(known)?;
            }
            if restored || raised.keys > 0 {
                writing.commit()?;
            }
            Ok(raised)
        })
    }

    fn all(&self) -> std::ops::Range<u32> {
        0..u32::try_from(self.cluster.validators().len()).unwrap_or(u32::MAX)
    }

    /// Keeps what other operators have signed, for the day on which one of them has forgotten it: the newest of each
    /// operator and kind of message. Older ones are ignored. One transaction for all of them, none if nothing is newer.
    /// Gives how many were.
    ///
    /// An attestation is newer if its target epoch is higher, or else its source epoch, or else its slot.
    ///
    /// # Errors
    /// If a proof is longer than [`MAX_PROOF_BYTES`]; if the database cannot be read or written.
    pub fn remember(&self, memories: &[Memory]) -> Result<usize, GuardError> {
        if let Some(memory) = memories
            .iter()
            .find(|memory| memory.proof.len() > MAX_PROOF_BYTES)
        {
            return Err(GuardError::ProofTooLarge(memory.proof.len()));
        }
        self.with(|store| {
            let writing = store.write()?;
            let mut newer = 0;
            for memory in memories {
                newer += usize::from(writing.remember(memory)?);
            }
            if newer > 0 {
                writing.commit()?;
            }
            Ok(newer)
        })
    }

    /// All that is remembered of other operators: at most two for each, ordered by operator, blocks first.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn memories(&self) -> Result<Vec<Memory>, GuardError> {
        self.with(|store| store.read()?.memories())
    }

    /// Takes over what an interchange file says: every key is raised to the highest that the file has of it, all keys or
    /// none. Nothing is ever lowered, and no mark is taken away. One is set if this leaves a validator without any
    /// attestation on record, or if something about one was not taken over.
    ///
    /// # Errors
    /// [`GuardError::NoChain`] as long as no genesis validators root is pinned; [`InterchangeError::OtherNetwork`] if the
    /// file has another one, [`InterchangeError::NoneOfOurs`] if it names none of the validators,
    /// [`InterchangeError::Future`] as `future` says; if the database cannot be read or written.
    pub fn import(&self, file: &Interchange, future: Future) -> Result<Imported, GuardError> {
        self.with(|store| {
            let writing = store.write()?;
            let pinned = writing.chain()?.ok_or(GuardError::NoChain)?;
            let Sorted {
                mut imported,
                records,
                mut is_whole,
            } = sort(&self.cluster, &pinned, file, future)?;
            writing.change_rows(&self.cluster, self.all(), |validator, row| {
                let record = records.get(&validator).copied().unwrap_or_default();
                let after = row.raised(record);
                is_whole &= after.record.attested.is_some();
                (after != row).then(|| {
                    imported.raised += 1;
                    after
                })
            })?;
            let distrusted = self.distrust_if(&writing, |known| known.is_disproven_by(imported.highest))?;
            imported.marked = !is_whole && writing.mark()?.is_none();
            if imported.marked {
                writing.set_mark(Some(Mark::PartialImport))?;
            }
            if imported.raised > 0 || imported.marked || distrusted {
                writing.commit()?;
            }
            Ok(imported)
        })
    }

    /// Everything as an interchange file (EIP-3076, version 5), under the distributed keys and in the lock's order:
    /// equal databases give equal bytes.
    ///
    /// # Errors
    /// [`GuardError::NoChain`] as long as no genesis validators root is pinned; if the database cannot be read.
    pub fn export(&self) -> Result<Vec<u8>, GuardError> {
        self.with(|store| {
            let reading = store.read()?;
            let root = reading.chain()?.ok_or(GuardError::NoChain)?;
            let rows = reading.rows(&self.cluster)?;
            let histories = self
                .cluster
                .validators()
                .iter()
                .zip(rows)
                .map(|(keys, row)| History {
                    key: keys.distributed,
                    record: row.record,
                    block_root: row.block_root,
                    attested_root: row.attested_root,
                });
            Ok(interchange::write(&root, histories))
        })
    }
}

/// What a file says of this cluster's validators.
struct Sorted {
    imported: Imported,
    /// What each of them is raised to.
    records: BTreeMap<u32, Record>,
    /// Whether all that it says of them could be taken over.
    is_whole: bool,
}

/// Judges a file for a cluster on a chain.
fn sort(cluster: &Cluster, chain: &Hash, file: &Interchange, future: Future) -> Result<Sorted, GuardError> {
    if file.genesis_validators_root() != chain {
        return Err(GuardError::Interchange(InterchangeError::OtherNetwork {
            file: *file.genesis_validators_root(),
            here: *chain,
        }));
    }
    let mut imported = Imported {
        unreadable: file.nobodys().clone(),
        ..Imported::default()
    };
    // A file may name a validator twice: by its distributed key and by the share's.
    let mut records: BTreeMap<u32, Record> = BTreeMap::new();
    let mut beyond: BTreeMap<u32, Record> = BTreeMap::new();
    for (key, said) in file.keys() {
        let Some(validator) = cluster.find(key) else {
            imported.unknown.push(*key);
            continue;
        };
        let known = records.entry(validator).or_default();
        *known = known.raised(said.record);
        if future == Future::Keep {
            // Whatever it is, it counts.
            *known = known.raised(said.unsure);
        } else if said.unsure != Record::default() {
            return Err(GuardError::Interchange(InterchangeError::SlotsPerEpoch {
                key: *cluster.distributed(validator).unwrap_or(key),
                record: said.unsure,
                slot: file.horizon().slot,
            }));
        }
        if said.beyond != Record::default() {
            let known = beyond.entry(validator).or_default();
            *known = known.raised(said.beyond);
        }
        imported.unreadable.join(&said.unreadable);
    }
    // What cannot be read is not nothing: it may be all that these shares have signed.
    let is_silent = |record: &Record| *record == Record::default();
    if records.values().all(is_silent)
        && beyond.values().all(is_silent)
        && let Some(first) = &imported.unreadable.first
    {
        return Err(InterchangeError::Unreadable {
            count: imported.unreadable.count,
            first: first.clone(),
        }
        .into());
    }
    if records.is_empty() {
        return Err(InterchangeError::NoneOfOurs.into());
    }
    match future {
        Future::Refuse => {
            if let Some((validator, record)) = beyond.first_key_value() {
                return Err(GuardError::Interchange(InterchangeError::Future {
                    validators: beyond.len(),
                    key: *cluster.distributed(*validator).unwrap_or(&[0; 48]),
                    record: *record,
                    epoch: file.horizon().known_epoch(),
                    slot: file.horizon().slot,
                }));
            }
        }
        Future::Keep => {
            for (validator, record) in &beyond {
                let known = records.entry(*validator).or_default();
                *known = known.raised(*record);
            }
        }
        Future::Drop => {}
    }
    let is_whole = imported.unreadable.count == 0 && (beyond.is_empty() || future == Future::Keep);
    for (validator, record) in &records {
        imported.highest = imported.highest.raised(*record);
        let list = if *record == Record::default() {
            &mut imported.silent
        } else {
            &mut imported.named
        };
        list.push(*validator);
    }
    imported.beyond = beyond.into_iter().collect();
    Ok(Sorted {
        imported,
        records,
        is_whole,
    })
}

/// The bytes of a database in which nothing has been signed yet. Whoever writes them to their place does so whole or not
/// at all, mode 0600, and never over another file.
///
/// # Errors
/// If it cannot be made, for which there is no known reason.
pub fn new_database(cluster: &Cluster, mark: Option<Mark>) -> Result<Vec<u8>, GuardError> {
    shielded(|| database::new_database(cluster, mark, None, &[]))
        .map_err(|failure| failure.at(Path::new(FILE)))
}

/// Reads what a copy of a database says of itself: whether all of it can be read and is this cluster's, and its mark. `bytes` are those of the
/// file at `path`, which is neither opened nor locked.
///
/// # Errors
/// If it is damaged, of a newer version, or another cluster's or operator's.
pub fn examine(bytes: Vec<u8>, cluster: &Cluster, path: &Path) -> Result<Option<Mark>, GuardError> {
    database::mark_in(bytes, cluster, path)
}

/// The bytes of a database that knows what an interchange file says, as [`new_database`]; `root` is the chain's genesis
/// validators root, 32 bytes. It is marked unless the file has an attestation of every validator, and all of it could be
/// taken over.
///
/// # Errors
/// As [`Guard::import`]; [`InterchangeError::NothingOfOurs`] if the file has no record of any validator.
pub fn database_from(
    cluster: &Cluster,
    root: &Hash,
    file: &Interchange,
    future: Future,
) -> Result<(Vec<u8>, Imported), GuardError> {
    let Sorted {
        mut imported,
        mut records,
        is_whole,
    } = sort(cluster, root, file, future)?;
    if imported.named.is_empty() {
        return Err(InterchangeError::NothingOfOurs.into());
    }
    imported.raised = imported.named.len();
    records.retain(|_, record| *record != Record::default());
    let attested = records.values().filter(|record| record.attested.is_some());
    imported.marked = !is_whole || attested.count() < cluster.validators().len();
    let mark = imported.marked.then_some(Mark::PartialImport);
    let records: Vec<(u32, Record)> = records.into_iter().collect();
    let bytes = shielded(|| database::new_database(cluster, mark, Some(root), &records))
        .map_err(|failure| failure.at(Path::new(FILE)))?;
    Ok((bytes, imported))
}
