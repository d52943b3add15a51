//! Keystores before the vote: an operator says "stored" only when the keystores and passwords of *all* validators are
//! written, fsync'd and read back, so that no signature can exist whose share is not durable.
//!
//! Deriving a keystore's key from its password is slow on purpose, and needs only password and salt. So a
//! [`KeyDeriver`] begins as soon as the operator has confirmed, and uses the time in which people are waited for.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rand::TryRng;
use rayon::prelude::*;
use zeroize::Zeroizing;

use conclave_cluster::lock::{DistributedValidator, Lock};
use conclave_crypto::bls::SecretKey;
use conclave_crypto::hash::{Hash, sha256};
use conclave_eth::keystore::{Derived, Kdf, Keystore, Password, lanes_of_many};

use super::attempt::Mark;
use super::backups;
use super::files::{Cause, SECRET, is_file, is_there, may_be_there};
use super::folder::DataFolder;
use super::problem::Problem;
use super::publication::{MAX_KEY_FILE_BYTES, key_file_names, staged_keys};
use super::secrecy::quoted;

/// A random password and the key derived from it: all of a keystore but the share.
pub struct PreparedKey {
    password: Password,
    derived: Derived,
}

impl PreparedKey {
    /// Draws passwords and salts from the operating system and derives the keys: tens of milliseconds for each, see
    /// [`Derived`].
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub fn several(count: usize, kdf: Kdf) -> Result<Vec<Self>, Problem> {
        let draw = || Ok((Password::random_hex(&*random::<16>()?), *random::<32>()?));
        let given: Vec<(Password, [u8; 32])> = (0..count).map(|_| draw()).collect::<Result<_, Problem>>()?;
        let derived = Derived::several(&given, kdf);
        let keys = given.into_iter().zip(derived);
        Ok(keys
            .map(|((password, _), derived)| Self { password, derived })
            .collect())
    }
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, Problem> {
    let mut bytes = Zeroizing::new([0; N]);
    rand::rngs::SysRng
        .try_fill_bytes(bytes.as_mut_slice())
        .map_err(|error| {
            Problem::other(
                "cannot make a password",
                error,
                "the operating system gives no randomness: run the command on another machine",
            )
        })?;
    Ok(bytes)
}

/// Derives the keys of all keystores in the background, at low priority.
pub struct KeyDeriver {
    shared: Arc<Shared>,
    count: u32,
    /// Dropping it lets its threads end after what they are at.
    _pool: rayon::ThreadPool,
}

struct Shared {
    stopped: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    ready: Vec<PreparedKey>,
    failed: Option<Problem>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the list as it was: keys are only ever pushed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for KeyDeriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyDeriver")
            .field("ready", &self.ready())
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

impl KeyDeriver {
    /// Begins with `count` keys on all cores (scrypt: on one, for it takes 256 MiB each).
    ///
    /// # Errors
    /// If no threads can be started.
    pub fn start(count: u32, kdf: Kdf) -> Result<Self, Problem> {
        let threads = match kdf {
            Kdf::Scrypt => 1,
            Kdf::Pbkdf2 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.min(count.max(1) as usize))
            .thread_name(|i| format!("derive-{i}"))
            .start_handler(|_| lower_priority())
            .build()
            .map_err(|error| {
                Problem::other(
                    "cannot prepare keystores",
                    error,
                    "stop other programs and run the same command again",
                )
            })?;
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            state: Mutex::new(State {
                // All at once: a vector that grows leaves copies of its keys behind that nobody wipes.
                ready: Vec::with_capacity(count as usize),
                failed: None,
            }),
            changed: Condvar::new(),
        });
        let mut left = count as usize;
        let lanes = lanes_of_many(left, threads);
        while left > 0 {
            let some = lanes.min(left);
            left -= some;
            let shared = shared.clone();
            pool.spawn_fifo(move || {
                if shared.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let keys = PreparedKey::several(some, kdf);
                let mut state = shared.state();
                match keys {
                    Ok(keys) => state.ready.extend(keys),
                    Err(problem) => state.failed = Some(problem),
                }
                drop(state);
                shared.changed.notify_all();
            });
        }
        Ok(Self {
            shared,
            count,
            _pool: pool,
        })
    }

    /// How many keys are ready.
    pub fn ready(&self) -> u32 {
        u32::try_from(self.shared.state().ready.len()).unwrap_or(u32::MAX)
    }

    /// How many there will be.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Waits for all keys. Blocks: never call it on the async executor.
    ///
    /// # Errors
    /// If the operating system gave no randomness.
    pub fn finish(self) -> Result<Vec<PreparedKey>, Problem> {
        let mut state = self.shared.state();
        loop {
            if let Some(problem) = state.failed.take() {
                return Err(problem);
            }
            if state.ready.len() >= self.count as usize {
                return Ok(std::mem::take(&mut state.ready));
            }
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for KeyDeriver {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

/// Lets everything else on the machine go first. Only where it can be said of one thread alone.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, 19);
}

/// The keystores and passwords of an attempt, all of which this process has written and read back, or opened: which shares they hold, and what
/// bytes the files had. Nothing else shows that they may be published, and that what they could be made from again is not needed any more: that
/// files are there shows nothing.
#[derive(Debug, Clone)]
pub struct Proven {
    attempt: u32,
    keys: Vec<ProvenKey>,
}

#[derive(Debug, Clone)]
struct ProvenKey {
    /// The public key of the share, 48 bytes.
    share: [u8; 48],
    /// SHA-256 of the keystore and of its password, in the order of [`key_file_names`].
    files: [Hash; 2],
}

impl Proven {
    /// Whose keystores they are.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// SHA-256 of each validator's keystore and password, in the order of validators and of [`key_file_names`].
    pub fn files(&self) -> impl Iterator<Item = [Hash; 2]> + '_ {
        self.keys.iter().map(|key| key.files)
    }

    /// Whether they are the shares of all validators of a lock, all of the operator with this number, from 1.
    pub fn are_shares_of(&self, lock: &Lock, operator: u16) -> bool {
        let validators = lock.validators();
        let place = usize::from(operator).checked_sub(1);
        let fits = |(validator, key): (&DistributedValidator, &ProvenKey)| {
            place.and_then(|place| validator.public_shares.get(place)) == Some(&key.share)
        };
        !validators.is_empty()
            && validators.len() == self.keys.len()
            && validators.iter().zip(&self.keys).all(fits)
    }

    /// As if all files had been opened, whatever they are.
    #[cfg(test)]
    pub(super) fn unopened(folder: &DataFolder, attempt: u32, validators: u32) -> Self {
        let hash = |name: &String| {
            let places = [staged_keys(folder, attempt), folder.keys()];
            let read = places
                .iter()
                .find_map(|place| std::fs::read(place.join(name)).ok());
            sha256(&[&read.unwrap_or_default()])
        };
        let keys = (0..validators).map(|i| ProvenKey {
            share: [0; 48],
            files: key_file_names(i).each_ref().map(hash),
        });
        Self {
            attempt,
            keys: keys.collect(),
        }
    }
}

/// What keystores hold that were opened.
pub struct OpenedKeys {
    /// The shares, in the order of validators.
    pub shares: Vec<SecretKey>,
    /// That they were opened.
    pub proven: Proven,
}

/// Beside the staged keys: the outputs that they are shares of, 64 hexadecimal digits, written when all of them are durable.
const STORED: &str = "stored";

/// The record that the keystores of attempt `k` were stored.
pub(super) fn stored_file(folder: &DataFolder, k: u32) -> PathBuf {
    folder.attempts().folder(k).join(STORED)
}

/// The outputs for which all keystores and passwords of attempt `k` were stored, if they are there, staged or published. A record that is
/// damaged is none: the keystores say themselves what they hold, see [`find_staged`].
///
/// # Errors
/// Anything the disk says.
pub fn stored_for(folder: &DataFolder, k: u32, validators: usize) -> Result<Option<Hash>, Problem> {
    let path = stored_file(folder, k);
    let text = match folder.disk().read_secret(&path, 65) {
        Ok(text) => text,
        Err(error) if error.is_missing() || matches!(error.cause, Cause::TooLarge(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut outputs = [0; 32];
    let digits = text.strip_suffix(b"\n").unwrap_or(&text);
    let is_whole = hex::decode_to_slice(digits, &mut outputs).is_ok();
    Ok((is_whole && is_complete(folder, k, validators)?).then_some(outputs))
}

/// Keeps, again, what the keystores of attempt `k` were stored for.
///
/// # Errors
/// Anything the disk says.
pub fn record_stored(folder: &DataFolder, k: u32, outputs: &Hash) -> Result<(), Problem> {
    let text = format!("{}\n", hex::encode(outputs));
    folder.disk().create_folder(&folder.attempts().folder(k))?;
    Ok(folder
        .disk()
        .replace(&stored_file(folder, k), text.as_bytes(), SECRET)?)
}

/// Writes the keystores and passwords of attempt `k`, one for each share in the order of validators: fsync'd, read
/// back, compared byte for byte and decrypted; then, that they belong to `outputs`. When this returns the vote may be cast. What
/// an interrupted call left is destroyed first. Takes time: call it on rayon or a blocking thread.
///
/// # Errors
/// If the operator has voted for these outputs already: those keystores are never touched again. If what is read back
/// is not what was written; anything the disk says.
pub fn stage(
    folder: &DataFolder,
    k: u32,
    outputs: &Hash,
    shares: &[SecretKey],
    prepared: &[PreparedKey],
) -> Result<Proven, Problem> {
    let bug = |why: &str| Problem::other("cannot store the shares", why, "this is a bug: please report it");
    if shares.len() > prepared.len() {
        return Err(bug("there are fewer passwords than shares"));
    }
    let disk = folder.disk();
    make_room(folder, k, outputs, shares.len())?;
    let attempt = folder.attempts().folder(k);
    let keys = staged_keys(folder, k);
    disk.create_folder(&attempt)?;
    disk.create_folder(&keys)?;
    let written = shares
        .par_iter()
        .zip(prepared)
        .enumerate()
        .map(|(i, (share, prepared))| {
            let i = u32::try_from(i).map_err(|_| bug("there are too many shares"))?;
            let keystore = Keystore::seal(&prepared.derived, share, *random::<16>()?, *random::<16>()?);
            let [json_name, password_name] = key_file_names(i);
            let json = keystore.to_json();
            for (name, bytes) in [
                (&json_name, json.as_slice()),
                (&password_name, prepared.password.expose().as_bytes()),
            ] {
                disk.write_in_place(&keys.join(name), bytes, SECRET)?;
            }
            let damaged = |name: &str| {
                Problem::other(
                    format!("{} is not what was written", keys.join(name).display()),
                    "reading it back gave something else",
                    "check the disk, then run the same command again; nothing was signed yet",
                )
            };
            let read = disk.read_secret(&keys.join(&json_name), MAX_KEY_FILE_BYTES)?;
            let opened =
                Keystore::from_json(&read).and_then(|keystore| keystore.open_with(&prepared.derived));
            if *read != json || opened.map_or(true, |opened| opened.to_bytes() != share.to_bytes()) {
                return Err(damaged(&json_name));
            }
            let read = disk.read_secret(&keys.join(&password_name), MAX_KEY_FILE_BYTES)?;
            if *read != prepared.password.expose().as_bytes() {
                return Err(damaged(&password_name));
            }
            Ok(ProvenKey {
                share: share.public_key().to_bytes(),
                files: [sha256(&[&json]), sha256(&[&read])],
            })
        })
        .collect::<Result<Vec<_>, Problem>>()?;
    disk.sync_folder(&keys)?;
    disk.sync_folder(&attempt)?;
    let text = format!("{}\n", hex::encode(outputs));
    disk.write_new(&stored_file(folder, k), text.as_bytes(), SECRET)?;
    Ok(Proven {
        attempt: k,
        keys: written,
    })
}

/// Writes the keystores of attempt `k` once more, as [`stage`] does, where those that are there turned out not to hold the shares: they are
/// moved aside, whether they were voted for or not. Derives all keys, so it takes time.
///
/// # Errors
/// As [`stage`]; what was begun then is made again by the next start, from the secrets.
pub fn stage_again(
    folder: &DataFolder,
    k: u32,
    outputs: &Hash,
    shares: &[SecretKey],
    kdf: Kdf,
) -> Result<Proven, Problem> {
    let count = u32::try_from(shares.len()).unwrap_or(u32::MAX);
    let prepared = KeyDeriver::start(count, kdf)?.finish()?;
    forget_stored(folder, k)?;
    stage(folder, k, outputs, shares, &prepared)
}

/// What an interrupted call left is destroyed; but after a vote, which this folder may know of from others only, nothing is ever
/// destroyed: an incomplete set, and one of other outputs, is moved aside.
fn make_room(folder: &DataFolder, k: u32, outputs: &Hash, validators: usize) -> Result<(), Problem> {
    let same = stored_for(folder, k, validators)? == Some(*outputs);
    if same || !is_voted(folder, k)? {
        return destroy_unvoted(folder, k);
    }
    forget_stored(folder, k)?;
    let keys = staged_keys(folder, k);
    if folder.disk().list(&keys)?.is_empty() {
        return Ok(());
    }
    let aside = (1u32..1_000_000)
        .map(|i| keys.with_file_name(format!("keys.incomplete-{i}")))
        .find(|path| !may_be_there(path));
    if let Some(aside) = aside {
        folder.disk().rename_new(&keys, &aside)?;
    }
    Ok(())
}

/// From here on the staged keys count as none.
fn forget_stored(folder: &DataFolder, k: u32) -> Result<(), Problem> {
    Ok(folder.disk().remove(&stored_file(folder, k))?)
}

fn is_voted(folder: &DataFolder, k: u32) -> Result<bool, Problem> {
    Ok(folder
        .attempts()
        .marks()?
        .get(&k)
        .is_some_and(|marks| marks.contains(&Mark::Voted)))
}

/// Whether all keystores and passwords of attempt `k` are there, staged or published.
fn is_complete(folder: &DataFolder, k: u32, validators: usize) -> Result<bool, Problem> {
    let staged = staged_keys(folder, k);
    for i in 0..validators {
        let Ok(i) = u32::try_from(i) else {
            return Ok(false);
        };
        for name in key_file_names(i) {
            if !is_file(&staged.join(&name))? && !is_file(&folder.keys().join(&name))? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Whether a keystore or a password has its final name.
///
/// # Errors
/// If one of them cannot be looked at.
pub fn has_names(folder: &DataFolder, validators: u32) -> Result<bool, Problem> {
    for name in (0..validators).flat_map(key_file_names) {
        if is_there(&folder.keys().join(name))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Opens the keystores of attempt `k`, wherever a publication has them by now: for an operator that voted and whose
/// seed is gone. Derives all keys anew, so it takes time.
///
/// # Errors
/// If a keystore is missing or does not open.
pub fn open_staged(folder: &DataFolder, k: u32, validators: u32) -> Result<OpenedKeys, Problem> {
    let (staged, published) = (staged_keys(folder, k), folder.keys());
    // Whatever is missing is missing where the others are: put back elsewhere it would be of no use, or in the way.
    let home = if folder.disk().list(&staged)?.is_empty() && is_there(&published)? {
        &published
    } else {
        &staged
    };
    let place = |name: &str| -> PathBuf {
        let places = [&staged, &published].map(|place| place.join(name));
        let is_there = places.into_iter().find(|path| may_be_there(path));
        is_there.unwrap_or_else(|| home.join(name))
    };
    let fail = |path: &Path, error: &dyn std::fmt::Display| {
        Problem::folder_state(
            format!("{} cannot be opened", path.display()),
            error,
            without_some(folder, k),
        )
    };
    let read_file = |path: &Path| {
        let read = folder.disk().read_secret(path, MAX_KEY_FILE_BYTES);
        read.map_err(|error| match error.cause {
            Cause::Missing | Cause::TooLarge(_) => fail(path, &error),
            _ => error.into(),
        })
    };
    let read = |i: u32| -> Result<(PathBuf, Keystore, Password, [Hash; 2]), Problem> {
        let [json_name, password_name] = key_file_names(i);
        let path = place(&json_name);
        let json = read_file(&path)?;
        let password = read_file(&place(&password_name))?;
        let files = [sha256(&[&json]), sha256(&[&password])];
        let password = Password::from_bytes(&password).map_err(|error| fail(&path, &error))?;
        let keystore = Keystore::from_json(&json).map_err(|error| fail(&path, &error))?;
        Ok((path, keystore, password, files))
    };
    let files = (0..validators).map(read).collect::<Result<Vec<_>, _>>()?;
    let pairs: Vec<_> = files
        .iter()
        .map(|(_, keystore, password, _)| (keystore, password))
        .collect();
    // The whole length at once: a vector that grows leaves copies of its shares behind that nobody wipes.
    let mut shares = Vec::with_capacity(files.len());
    let mut keys = Vec::with_capacity(files.len());
    let opened = Keystore::open_all(&pairs, |share| (share.public_key().to_bytes(), share));
    for (opened, (path, _, _, files)) in opened.into_iter().zip(&files) {
        let (public, share) = opened.map_err(|error| fail(path, &error))?;
        keys.push(ProvenKey {
            share: public,
            files: *files,
        });
        shares.push(share);
    }
    Ok(OpenedKeys {
        shares,
        proven: Proven { attempt: k, keys },
    })
}

/// What to do where some keystores of an attempt are missing or damaged: what is left of them is nobody's share, and as long as it is
/// there the others wait for it.
fn without_some(folder: &DataFolder, k: u32) -> String {
    let places = [staged_keys(folder, k), folder.keys()];
    let away = places.iter().filter(|place| may_be_there(place)).map(|place| {
        let mut aside = place.clone().into_os_string();
        aside.push(".incomplete");
        format!("mv {} {}", quoted(place), quoted(Path::new(&aside)))
    });
    // Only of what was published there may be a backup.
    let restore = if may_be_there(&folder.keys()) {
        format!("; {}", backups::RESTORE)
    } else {
        String::new()
    };
    format!(
        "{}{restore}. Only if there is surely no copy, move what is left of them away and run the same command again: {}. Then it makes them again, if \
         it still can, or tells the others that your share is lost, who wait for it until then",
        backups::PUT_BACK,
        away.collect::<Vec<_>>().join(" && ")
    )
}

/// As [`open_staged`], but `None` if there is no keystore at all.
///
/// # Errors
/// If some are there, and one is missing or does not open.
pub fn find_staged(folder: &DataFolder, k: u32, validators: u32) -> Result<Option<OpenedKeys>, Problem> {
    let staged = staged_keys(folder, k);
    let mut none = true;
    for i in 0..validators {
        let [json_name, _] = key_file_names(i);
        none &= !is_there(&staged.join(&json_name))? && !is_there(&folder.keys().join(&json_name))?;
    }
    if none {
        return Ok(None);
    }
    open_staged(folder, k, validators).map(Some)
}

/// Destroys the staged keystores of an attempt that the operator never voted for.
///
/// # Errors
/// If it did vote; anything the disk says.
pub fn destroy_unvoted(folder: &DataFolder, k: u32) -> Result<(), Problem> {
    if is_voted(folder, k)? {
        return Err(Problem::folder_state(
            format!("the shares of attempt {k} are kept"),
            "you said that they are stored, and others may have signed since",
            "run the same command again: the attempt goes on with them",
        ));
    }
    destroy(folder, k)
}

/// Destroys the staged keystores of an attempt, voted for or not: only when a later attempt has the votes of all
/// operators, one's own included (rule V4 of the protocol), or by a person's explicit word.
///
/// # Errors
/// Anything the disk says.
pub fn destroy(folder: &DataFolder, k: u32) -> Result<(), Problem> {
    forget_stored(folder, k)?;
    let keys = staged_keys(folder, k);
    for name in folder.disk().list(&keys)? {
        folder.disk().destroy(&keys.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::files::{Disk, crashing_disk};
    use super::super::problem::Kind;
    use super::*;

    const V: u32 = 2;
    const OUTPUTS: Hash = [5; 32];

    fn shares() -> Vec<SecretKey> {
        (1..=V)
            .map(|i| SecretKey::from_bytes(&[u8::try_from(i).unwrap(); 32]).unwrap())
            .collect()
    }

    fn prepared() -> Vec<PreparedKey> {
        KeyDeriver::start(V, Kdf::Pbkdf2).unwrap().finish().unwrap()
    }

    fn same(found: &[SecretKey]) -> bool {
        let shares = shares();
        found.len() == shares.len()
            && found
                .iter()
                .zip(&shares)
                .all(|(a, b)| a.to_bytes() == b.to_bytes())
    }

    #[test]
    fn staged_keys_open_with_their_passwords_also_after_the_publication() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        stage(&folder, 1, &OUTPUTS, &shares(), &prepared()).unwrap();
        assert!(same(&open_staged(&folder, 1, V).unwrap().shares));
        let names = Disk::new().list(&staged_keys(&folder, 1)).unwrap();
        assert_eq!(
            names,
            [
                "keystore-0.json",
                "keystore-0.txt",
                "keystore-1.json",
                "keystore-1.txt"
            ]
        );
        for name in names {
            let mode = std::fs::metadata(staged_keys(&folder, 1).join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        let proven = open_staged(&folder, 1, V).unwrap().proven;
        super::super::publication::begin(&folder, &proven, &[], None, b"lock").unwrap();
        super::super::publication::finish(&folder, 1).unwrap();
        assert!(same(&open_staged(&folder, 1, V).unwrap().shares));
        assert_eq!(
            std::fs::read(folder.keys().join("keystore-1.txt")).unwrap().len(),
            32
        );
    }

    #[test]
    fn a_crash_before_the_vote_is_staged_anew_and_after_the_vote_nothing_is_touched() {
        let prepared = prepared();
        for k in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let done = DataFolder::open(&crashing_disk(k).0, dir.path())
                .and_then(|folder| stage(&folder, 1, &OUTPUTS, &shares(), &prepared))
                .is_ok();
            let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
            if !done {
                stage(&folder, 1, &OUTPUTS, &shares(), &prepared).unwrap();
            }
            let read = || std::fs::read(staged_keys(&folder, 1).join("keystore-0.json")).unwrap();
            let before = read();
            Keystore::from_json(&before)
                .unwrap()
                .open_with(&prepared[0].derived)
                .unwrap();
            folder.attempts().mark(1, Mark::Voted).unwrap();
            assert_eq!(
                stage(&folder, 1, &OUTPUTS, &shares(), &prepared)
                    .unwrap_err()
                    .kind,
                Kind::FolderState
            );
            assert!(destroy_unvoted(&folder, 1).is_err());
            assert_eq!(read(), before);
            if done {
                break;
            }
        }
    }

    #[test]
    fn keystores_belong_to_the_outputs_that_they_were_stored_for() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        let (v, prepared) = (V as usize, prepared());
        assert_eq!(stored_for(&folder, 1, v).unwrap(), None);
        stage(&folder, 1, &OUTPUTS, &shares(), &prepared).unwrap();
        assert_eq!(stored_for(&folder, 1, v).unwrap(), Some(OUTPUTS));
        assert_eq!(stored_for(&folder, 1, v + 1).unwrap(), None, "one is missing");
        // Before the vote others replace them; after it they are kept, but count no more.
        let other = [6; 32];
        stage(&folder, 1, &other, &shares(), &prepared).unwrap();
        assert_eq!(stored_for(&folder, 1, v).unwrap(), Some(other));
        folder.attempts().mark(1, Mark::Voted).unwrap();
        stage(&folder, 1, &OUTPUTS, &shares(), &prepared).unwrap();
        assert_eq!(stored_for(&folder, 1, v).unwrap(), Some(OUTPUTS));
        let aside = folder.attempts().folder(1).join("keys.incomplete-1");
        assert_eq!(Disk::new().list(&aside).unwrap().len(), 2 * v);
        assert!(stage(&folder, 1, &OUTPUTS, &shares(), &prepared).is_err());
        // A damaged record is none: the keystores say what they hold.
        for damaged in ["5".repeat(63), "5".repeat(100), String::new()] {
            std::fs::write(stored_file(&folder, 1), damaged).unwrap();
            assert_eq!(stored_for(&folder, 1, v).unwrap(), None);
            assert!(same(&find_staged(&folder, 1, V).unwrap().unwrap().shares));
            record_stored(&folder, 1, &OUTPUTS).unwrap();
            assert_eq!(stored_for(&folder, 1, v).unwrap(), Some(OUTPUTS));
        }
        assert!(find_staged(&folder, 2, V).unwrap().is_none(), "there are none");
        let one = staged_keys(&folder, 1).join("keystore-0.txt");
        let password = std::fs::read(&one).unwrap();
        std::fs::remove_file(&one).unwrap();
        let problem = find_staged(&folder, 1, V).err().unwrap();
        assert_eq!(problem.kind, Kind::FolderState, "they may be whole in a backup");
        // In its place, where it is of use.
        let path = one.display().to_string();
        assert!(problem.what.contains(&path), "{problem:?}");
        let (keys, aside) = (
            staged_keys(&folder, 1),
            folder.attempts().folder(1).join("keys.incomplete"),
        );
        let command = format!("mv {} {}", quoted(&keys), quoted(&aside));
        assert!(problem.what_to_do.contains(&command), "{problem:?}");
        std::fs::rename(&keys, &aside).unwrap();
        assert!(find_staged(&folder, 1, V).unwrap().is_none(), "as it says");
        std::fs::rename(&aside, &keys).unwrap();
        std::fs::write(&one, password).unwrap();
        std::fs::write(stored_file(&folder, 1), "5").unwrap();
        // With the seed others are made.
        folder.attempts().create_seed(1).unwrap();
        stage(&folder, 1, &OUTPUTS, &shares(), &prepared).unwrap();
        assert_eq!(stored_for(&folder, 1, v).unwrap(), Some(OUTPUTS));
        assert!(folder.attempts().folder(1).join("keys.incomplete-2").exists());
        destroy(&folder, 1).unwrap();
        assert_eq!(stored_for(&folder, 1, v).unwrap(), None);
    }

    #[test]
    fn what_is_not_read_back_is_not_stored() {
        use super::super::files::Operation;
        // A disk that damages each file after it was fsync'd, in turn.
        for victim in ["keystore-0.json", "keystore-1.txt"] {
            let dir = tempfile::tempdir().unwrap();
            let disk = Disk::with_hook(Arc::new(move |operation, path| {
                if operation == Operation::SyncFile && path.ends_with(victim) {
                    let mut bytes = std::fs::read(path)?;
                    bytes[20] ^= 1;
                    std::fs::write(path, bytes)?;
                }
                Ok(())
            }));
            let folder = DataFolder::open(&disk, dir.path()).unwrap();
            let problem = stage(&folder, 1, &OUTPUTS, &shares(), &prepared()).unwrap_err();
            assert!(problem.what.contains(victim), "{problem:?}");
        }
    }

    #[test]
    fn too_few_passwords_are_refused_and_every_password_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        let prepared = prepared();
        assert!(stage(&folder, 1, &OUTPUTS, &shares(), &prepared[..1]).is_err());
        assert_ne!(prepared[0].password.expose(), prepared[1].password.expose());
        stage(&folder, 1, &OUTPUTS, &shares(), &prepared).unwrap();
        destroy(&folder, 1).unwrap();
        assert!(Disk::new().list(&staged_keys(&folder, 1)).unwrap().is_empty());
        assert!(open_staged(&folder, 1, V).is_err());
    }

    #[test]
    fn a_deriver_that_is_dropped_stops() {
        let deriver = KeyDeriver::start(100_000, Kdf::Pbkdf2).unwrap();
        let shared = deriver.shared.clone();
        drop(deriver);
        // The threads let go of what they share as soon as all that was spawned has been skipped.
        while Arc::strong_count(&shared) > 1 {
            std::thread::yield_now();
        }
        assert!(shared.state().ready.len() < 100);
    }
}
