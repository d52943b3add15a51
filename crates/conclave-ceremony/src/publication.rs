//! The last lap: everything that was staged gets its final name, one by one, the lock last.
//!
//! A lock in the folder means that everything else is there. Deposit files and lock are staged beside the keystores,
//! in `ceremony/attempt-K/out/`, and then a manifest with the hash of every file: with it the publication has begun, and
//! every start finishes it before it does anything else. Renaming needs no room on the disk.
//!
//! The empty slashing protection database is published with them, and it is born marked: only the start that joined, and
//! began the publication, takes the mark away, after everything else ([`settle`]). A folder that a later start finishes may be an
//! old copy of one that has been used since, and its empty database would know nothing of that.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::attempt::{self, Attempts};
use super::backups;
use super::files::{Cause, Disk, FileError, PUBLIC, SECRET, has_name, is_there};
use super::folder::{CEREMONY, DataFolder, LOCK, SLASHING_PROTECTION, VALIDATOR_KEYS, is_deposit_file};
use super::problem::{Kind, Problem};
use super::product;
use super::restored;
use super::staging::{self, Proven};
use conclave_cluster::lock::Lock;
use conclave_slashing::{Cluster, Guard, Mark};

const HEADER: &str = "conclave/publication/1";
/// The folder, in that of an attempt, of staged keystores.
const KEYS: &str = "keys";
const MANIFEST: &str = "manifest";
/// The folder, in that of an attempt, of staged lock and deposit files, which are public.
pub(super) const STAGED_FILES: &str = "out";
/// Names and hashes of 20,000 key files and 256 deposit files.
const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
/// A keystore is less than 2 KB.
pub const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;
/// Deposit files of 10,000 validators have about 7 MB.
const MAX_OUTPUT_BYTES: u64 = super::folder::MAX_JSON_BYTES;

/// The files of a publication, with their hashes, in the order in which they get their names.
type Manifest = Vec<([u8; 32], String)>;

/// The folder of an attempt's staged keystores and passwords.
pub fn staged_keys(folder: &DataFolder, k: u32) -> PathBuf {
    folder.attempts().folder(k).join(KEYS)
}

fn staged_outputs(folder: &DataFolder, k: u32) -> PathBuf {
    folder.attempts().folder(k).join(STAGED_FILES)
}

/// The name of the keystore of validator `i` (from 0), and that of its password.
pub fn key_file_names(i: u32) -> [String; 2] {
    [format!("keystore-{i}.json"), format!("keystore-{i}.txt")]
}

/// Begins the publication of an attempt: stages deposit files (name and content), the database and the lock, then the
/// manifest. Only for a lock that has been verified, with keystores that are `proven` to hold its shares: what the manifest has the hashes of
/// are those very files. May be repeated after a crash. Nothing is visible yet: call [`finish`].
///
/// Keystores that an earlier publication has given their names already are taken as they are: a lock that was lost, or a manifest that is
/// damaged, is made again.
///
/// `database` is an empty slashing protection database with the mark [`Mark::LatePublication`]; `None` where one may
/// have been here before. One that is here stays. Gives whether nothing of an earlier publication was found: only then a database is
/// published, and may be settled.
///
/// # Errors
/// If a keystore is neither staged nor in its place, or is not the file any more that was proven; if a name is not that of a deposit file; anything the disk says.
pub fn begin(
    folder: &DataFolder,
    proven: &Proven,
    deposits: &[(String, Vec<u8>)],
    database: Option<&[u8]>,
    lock: &[u8],
) -> Result<bool, Problem> {
    let (disk, k) = (folder.disk(), proven.attempt());
    let out = staged_outputs(folder, k);
    disk.create_folder(&folder.attempts().folder(k))?;
    disk.create_folder(&out)?;
    if read_manifest(folder, k)?.is_some() {
        return Ok(false);
    }
    let manifest = out.join(MANIFEST);
    let mut is_first = !is_there(&manifest)? && !has_name(&folder.slashing_protection())?;
    // What an earlier, interrupted beginning left was never visible.
    for name in disk.list(&out)? {
        disk.remove(&out.join(name))?;
    }
    let mut text = format!("{HEADER}\n");
    let mut add = |path: &str, bytes: &[u8]| {
        text.push_str(&hex::encode(Sha256::digest(bytes)));
        text.push(' ');
        text.push_str(path);
        text.push('\n');
    };
    let keys = staged_keys(folder, k);
    for (i, files) in (0u32..).zip(proven.files()) {
        for (name, hash) in key_file_names(i).into_iter().zip(files) {
            let bytes = match disk.read_secret(&keys.join(&name), MAX_KEY_FILE_BYTES) {
                Err(error) if error.is_missing() => {
                    is_first = false;
                    let published = disk.read_secret(&folder.keys().join(&name), MAX_KEY_FILE_BYTES);
                    // What is in neither place is to be put back where it was staged.
                    published.map_err(|other| if other.is_missing() { error } else { other })?
                }
                staged => {
                    // Before there is a manifest no keystore gets its name: it was used here, or put here from a folder in which it was.
                    is_first &= !is_there(&folder.keys().join(&name))?;
                    staged?
                }
            };
            if <[u8; 32]>::from(Sha256::digest(bytes.as_slice())) != hash {
                return Err(Problem::folder_state(
                    format!("{name} of attempt {k} is not the file any more that your share was written to"),
                    "another program has changed it, or the disk damages what is on it; nothing was published",
                    "check the disk and what else uses this folder, and run the same command again: it opens all keystores first",
                ));
            }
            add(&format!("{VALIDATOR_KEYS}/{name}"), &bytes);
        }
    }
    for (name, bytes) in deposits {
        if !is_deposit_file(name) || name.contains('/') {
            return Err(Problem::other(
                "cannot publish the deposit files",
                format!("`{name}` is no name of a deposit file"),
                "this is a bug: please report it; nothing is lost",
            ));
        }
        disk.write_new(&out.join(name), bytes, PUBLIC)?;
        add(name, bytes);
    }
    if let Some(database) = database.filter(|_| is_first) {
        disk.write_new(&out.join(SLASHING_PROTECTION), database, SECRET)?;
        add(SLASHING_PROTECTION, database);
    }
    disk.write_new(&out.join(LOCK), lock, PUBLIC)?;
    add(LOCK, lock);
    disk.write_new(&manifest, text.as_bytes(), SECRET)?;
    Ok(is_first)
}

/// Whether a file of this name in an attempt's folder says that the publication was begun and is not finished.
pub(super) fn is_manifest(name: &str) -> bool {
    name.split_once('/') == Some((STAGED_FILES, MANIFEST))
}

/// The attempt whose publication was begun and is not finished, if there is one: for every start. One whose manifest is damaged is begun
/// anew.
///
/// # Errors
/// Anything the disk says.
pub fn pending(folder: &DataFolder) -> Result<Option<u32>, Problem> {
    for k in begun(folder)? {
        if read_manifest(folder, k)?.is_some() {
            return Ok(Some(k));
        }
    }
    Ok(None)
}

/// What is to be published in attempt `k`, with hashes, if that is written down and not damaged.
fn read_manifest(folder: &DataFolder, k: u32) -> Result<Option<Manifest>, Problem> {
    let path = staged_outputs(folder, k).join(MANIFEST);
    match folder.disk().read(&path, MAX_MANIFEST_BYTES) {
        Ok(bytes) => Ok(parse_manifest(&bytes)),
        Err(error) if error.is_missing() || matches!(error.cause, Cause::TooLarge(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The attempts that have a manifest.
fn begun(folder: &DataFolder) -> Result<Vec<u32>, Problem> {
    let mut numbers = Vec::new();
    for k in folder.attempts().numbers()? {
        if is_there(&staged_outputs(folder, k).join(MANIFEST))? {
            numbers.push(k);
        }
    }
    Ok(numbers)
}

/// Finishes a publication that was begun, and destroys the seeds, which have done their work. May be repeated after a crash at any
/// point.
///
/// # Errors
/// If another file has one of the names, or a staged file is missing or was changed; anything the disk says. Nothing
/// is ever overwritten, and nothing staged is removed. The database is no reason: one that is in its place stays, and
/// without a whole one there is none, as `conclave run` says.
pub fn finish(folder: &DataFolder, k: u32) -> Result<(), Problem> {
    let disk = folder.disk();
    let out = staged_outputs(folder, k);
    let manifest = read_manifest(folder, k)?.ok_or_else(|| {
        Problem::folder_state(
            format!("{} is damaged", out.join(MANIFEST).display()),
            "it is no list of files with their hashes",
            "run the same command again: the publication begins anew",
        )
    })?;
    disk.create_folder(&folder.keys())?;
    for (hash, name) in &manifest {
        let target = folder.root().join(name);
        let staged = match name
            .strip_prefix(VALIDATOR_KEYS)
            .and_then(|rest| rest.strip_prefix('/'))
        {
            Some(key) => staged_keys(folder, k).join(key),
            None => out.join(name),
        };
        if name == SLASHING_PROTECTION {
            publish_database(folder, &staged, hash)?;
        } else {
            publish_one(folder, &staged, &target, hash)?;
        }
    }
    // All of it was proven before the manifest, and has the manifest's hashes.
    destroy_seeds_of(folder, k)?;
    conclude(folder, k)
}

/// From here on the publication of attempt `k` is over.
fn conclude(folder: &DataFolder, k: u32) -> Result<(), Problem> {
    let out = staged_outputs(folder, k);
    folder.disk().remove(&out.join(MANIFEST))?;
    // Only tidiness: both are empty now.
    let _ = std::fs::remove_dir(&out);
    let _ = std::fs::remove_dir(staged_keys(folder, k));
    Ok(())
}

/// Ends what a crash right after the lock had got its name left of a publication, and destroys the seeds of a folder whose results are all
/// in place: its keystores are those of the manifest, or open to the lock's shares. For every start, of every command (those that open no folder call [`DataFolder::end_leftovers`]): such a folder works, and what became of its files since is not compared with what they
/// were then.
///
/// # Errors
/// Anything the disk says.
pub fn tidy(folder: &DataFolder) -> Result<(), Problem> {
    if is_there(&folder.lock())? {
        for k in begun(folder)? {
            if !waits(folder, k)? {
                // What is left of the lock's staged file is a second name of the same one.
                folder.disk().remove(&staged_outputs(folder, k).join(LOCK))?;
                if has_keys_of_manifest(folder, k)? {
                    destroy_seeds_of(folder, k)?;
                }
                conclude(folder, k)?;
            }
        }
    }
    destroy_seeds_if_finished(folder)
}

/// Whether all key files that the manifest of attempt `k` names have their places, as they were then.
fn has_keys_of_manifest(folder: &DataFolder, k: u32) -> Result<bool, Problem> {
    let Some(manifest) = read_manifest(folder, k)? else {
        return Ok(false);
    };
    let mut keys = manifest
        .iter()
        .filter(|(_, name)| name.starts_with(VALIDATOR_KEYS))
        .peekable();
    if keys.peek().is_none() {
        return Ok(false);
    }
    for (hash, name) in keys {
        if hash_of(folder, &folder.root().join(name))? != Some(*hash) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Destroys all seeds after the publication of attempt `k`, unless a newer attempt was voted for: its keystores may wait.
fn destroy_seeds_of(folder: &DataFolder, k: u32) -> Result<(), Problem> {
    if voted(folder)?.last().is_none_or(|newest| *newest <= k) {
        folder.attempts().destroy_seeds()?;
    }
    Ok(())
}

/// Whether there may be something to [`tidy`] in a finished folder, held or not.
///
/// # Errors
/// Anything the disk says.
pub(super) fn has_leftovers(disk: &Disk, root: &Path) -> Result<bool, FileError> {
    let attempts = Attempts::new(disk.clone(), &root.join(CEREMONY));
    if !is_there(&root.join(LOCK))? {
        return Ok(false);
    }
    for k in attempts.numbers()? {
        let folder = attempts.folder(k);
        if is_there(&folder.join(STAGED_FILES).join(MANIFEST))? || is_there(&folder.join(attempt::SEED))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether there is a lock in a folder, held or not, whose own keystores still wait in `ceremony/` for their places, or for being made again
/// from the secrets that are there: it was made elsewhere, and put there. A lock that is published here is the last file to get its name.
///
/// # Errors
/// Anything the disk says.
pub fn keys_wait(disk: &Disk, root: &Path) -> Result<bool, FileError> {
    if !is_there(&root.join(LOCK))? {
        return Ok(false);
    }
    let attempts = Attempts::new(disk.clone(), &root.join(CEREMONY));
    let marks = attempts.marks()?;
    let mut voted = marks
        .iter()
        .rev()
        .filter(|(_, marks)| marks.contains(&attempt::Mark::Voted));
    let Some((newest, _)) = voted.next() else {
        return Ok(false);
    };
    let staged = disk.list(&attempts.folder(*newest).join(KEYS))?;
    for name in &staged {
        if is_plain(&format!("{VALIDATOR_KEYS}/{name}")) && !is_there(&root.join(VALIDATOR_KEYS).join(name))?
        {
            return Ok(true);
        }
    }
    let [first, _] = key_file_names(0);
    let is_nowhere = !staged.contains(&first) && !is_there(&root.join(VALIDATOR_KEYS).join(&first))?;
    Ok(is_nowhere && attempts.has_seed(*newest)?)
}

/// Whether anything of attempt `k` has not got its name yet. The lock is the last: a staged one that is not the very file in its place
/// says that the one there came from elsewhere.
fn waits(folder: &DataFolder, k: u32) -> Result<bool, Problem> {
    let disk = folder.disk();
    let out = staged_outputs(folder, k);
    let is_published = |name: &str| name == LOCK && is_same_file(&out.join(LOCK), &folder.lock());
    let keys = disk.list(&staged_keys(folder, k))?;
    let outputs = disk.list(&out)?;
    Ok(keys
        .iter()
        .any(|name| is_plain(&format!("{VALIDATOR_KEYS}/{name}")))
        || outputs.iter().any(|name| is_plain(name) && !is_published(name)))
}

/// Whether two paths are names of one file: on some file systems a rename is a link and an unlink, and a crash can come between.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let (Ok(one), Ok(other)) = (std::fs::symlink_metadata(one), std::fs::symlink_metadata(other)) else {
        return false;
    };
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Takes the mark from the database: only for the start that began the publication and has seen its end. To do nothing
/// would be safe: a marked database makes `run` wait longer, once.
///
/// # Errors
/// If the database is not there or is not that of this cluster; anything the disk says.
pub fn settle(folder: &DataFolder, cluster: Cluster) -> Result<(), Problem> {
    Guard::open(&folder.slashing_protection(), cluster)
        .and_then(|guard| guard.clear_mark(Mark::LatePublication))
        .map(|_| ())
        .map_err(|error| Problem::from_lines(Kind::FolderState, error))
}

/// What `conclave run` does with a database that the ceremony published with a mark, as people are told.
pub const WAITS: &str = "conclave run attests only after two whole epochs (13 to 19 minutes on mainnet), or as soon as all the others say that they have seen no \
                         signatures of yours";

/// What became of a folder that turned out to be an old copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// It counts as restored from now on: `conclave run` asks for a person's word before it starts.
    Marked,
    /// The folder could not be marked; its database was, so that `conclave run` waits for the others.
    InDatabase,
    /// It was marked before.
    Known,
    /// Its database does not come from a late publication, or has permitted something since: what it knows is its own.
    Needless,
}

/// Marks the folder of an operator (its number, from 1) that turned out to be an old copy as a restored one, if its database was published by a
/// late start and has permitted nothing since, or `is_new`, just settled.
///
/// # Errors
/// If the files of the folder cannot be read, or neither it nor its database can be marked.
pub fn distrust(folder: &DataFolder, operator: u16, is_new: bool) -> Result<Distrust, Problem> {
    let (disk, root) = (folder.disk(), folder.root());
    if restored::is_marked(disk, root)? {
        return Ok(Distrust::Known);
    }
    if !is_there(&folder.lock())? || !is_there(&folder.slashing_protection())? {
        return Ok(Distrust::Needless);
    }
    let unreadable = |why: String| {
        Problem::folder_state(
            format!("{} cannot be read", folder.lock().display()),
            why,
            "look at it with conclave verify",
        )
    };
    let bytes = disk.read(&folder.lock(), MAX_OUTPUT_BYTES)?;
    let lock = Lock::from_json(&bytes).map_err(|error| unreadable(error.to_string()))?;
    let cluster = Cluster::of_lock(&lock, operator).map_err(|error| unreadable(error.to_string()))?;
    let of_guard = |error| Problem::from_lines(Kind::FolderState, error);
    let guard = Guard::open(&folder.slashing_protection(), cluster).map_err(of_guard)?;
    match guard.mark().map_err(of_guard)? {
        Some(Mark::LatePublication) => {}
        Some(Mark::Restored) => return Ok(Distrust::Known),
        _ if is_new => {}
        _ => return Ok(Distrust::Needless),
    }
    if restored::mark(disk, root).is_ok() {
        return Ok(Distrust::Marked);
    }
    guard.mark_restored().map_err(of_guard)?;
    Ok(Distrust::InDatabase)
}

/// Destroys the seeds of a folder whose results are all in place: a crash may have come between the two, and the last file to get its
/// name may have come from another operator. That files are there proves nothing: anybody can copy a lock and keystores here while the ceremony
/// still needs its seeds, and keystores that do not open any more can be made again only with them.
fn destroy_seeds_if_finished(folder: &DataFolder) -> Result<(), Problem> {
    let [first, _] = key_file_names(0);
    if !is_there(&folder.lock())?
        || !is_there(&folder.keys().join(&first))?
        || !begun(folder)?.is_empty()
        || !folder.attempts().have_seeds()?
    {
        return Ok(());
    }
    // An own keystore that still waits beside its attempt has not been published.
    if let Some(newest) = voted(folder)?.last().copied()
        && !is_there(&staged_keys(folder, newest).join(&first))?
        && holds_shares(folder, newest)?
    {
        folder.attempts().destroy_seeds()?;
    }
    Ok(())
}

/// Whether the lock in a folder is of what was stored in attempt `k`, and all its keystores open to one operator's shares of it. Takes time.
fn holds_shares(folder: &DataFolder, k: u32) -> Result<bool, Problem> {
    let bytes = folder.disk().read(&folder.lock(), MAX_OUTPUT_BYTES)?;
    let Ok(lock) = Lock::from_json(&bytes) else {
        return Ok(false);
    };
    let validators = lock.validators().len();
    let Some(keys) = product::keys_of(&lock) else {
        return Ok(false);
    };
    if staging::stored_for(folder, k, validators)? != Some(*keys.hash()) {
        return Ok(false);
    }
    let Ok(opened) = staging::open_staged(folder, k, u32::try_from(validators).unwrap_or(u32::MAX)) else {
        return Ok(false);
    };
    let operators = u16::try_from(lock.definition().operators.len()).unwrap_or(u16::MAX);
    Ok((1..=operators).any(|operator| opened.proven.are_shares_of(&lock, operator)))
}

/// The attempts that this folder has stored keystores for, to vote for them or after that, ascending. Without one, no result in the folder
/// is of its ceremony.
///
/// # Errors
/// Anything the disk says.
pub fn voted(folder: &DataFolder) -> Result<Vec<u32>, Problem> {
    let attempts = folder.attempts();
    let marks = attempts.marks()?;
    let mut numbers = Vec::new();
    for k in attempts.numbers()? {
        let marked = marks
            .get(&k)
            .is_some_and(|marks| marks.contains(&attempt::Mark::Voted));
        if marked || is_there(&staging::stored_file(folder, k))? {
            numbers.push(k);
        }
    }
    Ok(numbers)
}

/// The hash of a file, if it is there.
fn hash_of(folder: &DataFolder, path: &Path) -> Result<Option<[u8; 32]>, Problem> {
    match folder.disk().read_secret(path, MAX_OUTPUT_BYTES) {
        Ok(bytes) => Ok(Some(Sha256::digest(bytes.as_slice()).into())),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The empty database gets its name only where there is none: one that is there may have been used, and is not even looked into. Nothing
/// of this one is kept then, nor if it is not whole.
fn publish_database(folder: &DataFolder, staged: &Path, hash: &[u8; 32]) -> Result<(), Problem> {
    let (disk, target) = (folder.disk(), folder.slashing_protection());
    let is_there = || std::fs::symlink_metadata(&target).is_ok();
    if !is_there() && hash_of(folder, staged)? == Some(*hash) {
        match disk.rename_new(staged, &target) {
            Err(error) if error.is_exists() => {}
            done => return Ok(done?),
        }
    }
    if is_there() {
        disk.sync_folder(super::files::parent(&target))?;
    }
    // Only this name: it may be a second one of the file in its place.
    Ok(disk.remove(staged)?)
}

fn publish_one(folder: &DataFolder, staged: &Path, target: &Path, hash: &[u8; 32]) -> Result<(), Problem> {
    let disk = folder.disk();
    match hash_of(folder, target)? {
        Some(there) if there == *hash => {
            disk.sync_folder(super::files::parent(target))?;
            // A link without its unlink.
            disk.remove(staged)?;
            return Ok(());
        }
        Some(_) => {
            return Err(Problem::folder_state(
                format!("{} is in the way of the ceremony's results", target.display()),
                "another file has that name, and nothing is ever overwritten",
                "move it to a safe place and run the same command again: the results wait in ceremony/",
            ));
        }
        None => {}
    }
    match hash_of(folder, staged)? {
        Some(there) if there == *hash => Ok(disk.rename_new(staged, target)?),
        found => Err(Problem::folder_state(
            format!("{} cannot be published", staged.display()),
            if found.is_none() {
                "the file is missing"
            } else {
                "the file was changed"
            },
            format!("{}. Then run the same command again", backups::PUT_BACK),
        )),
    }
}

/// Whether a name in the data folder is that of a result.
fn is_plain(name: &str) -> bool {
    match name.strip_prefix(VALIDATOR_KEYS) {
        Some(rest) => rest
            .strip_prefix("/keystore-")
            .and_then(|key| key.strip_suffix(".json").or_else(|| key.strip_suffix(".txt")))
            .is_some_and(|number| number.parse::<u32>().is_ok()),
        None => name == LOCK || name == SLASHING_PROTECTION || (is_deposit_file(name) && !name.contains('/')),
    }
}

/// Strict: the names are file names that this program writes, the lock is the last.
fn parse_manifest(bytes: &[u8]) -> Option<Manifest> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.strip_suffix('\n')?.split('\n');
    if lines.next()? != HEADER {
        return None;
    }
    let mut files = Vec::new();
    for line in lines {
        let (digits, name) = line.split_once(' ')?;
        let mut hash = [0; 32];
        hex::decode_to_slice(digits, &mut hash).ok()?;
        if !is_plain(name) {
            return None;
        }
        files.push((hash, name.to_owned()));
    }
    (files.iter().position(|(_, name)| name == LOCK)? + 1 == files.len()).then_some(files)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;

    use super::super::files::crashing_disk;
    use super::*;
    use conclave_slashing::ValidatorKeys;

    const V: u32 = 2;

    fn deposits() -> Vec<(String, Vec<u8>)> {
        vec![
            ("deposit-data.json".into(), b"thirty-two".to_vec()),
            ("deposit-data-1eth.json".into(), b"one".to_vec()),
        ]
    }

    fn cluster() -> Cluster {
        let keys = ValidatorKeys {
            distributed: [1; 48],
            share: [2; 48],
        };
        Cluster::new([3; 32], 2, vec![keys]).unwrap()
    }

    fn database() -> Vec<u8> {
        conclave_slashing::new_database(&cluster(), Some(Mark::LatePublication)).unwrap()
    }

    /// The mark of the database in a folder.
    fn mark(root: &Path) -> Option<Mark> {
        Guard::open(&root.join(SLASHING_PROTECTION), cluster())
            .unwrap()
            .mark()
            .unwrap()
    }

    /// A folder with staged keys.
    fn staged() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        let keys = staged_keys(&folder, 3);
        std::fs::create_dir_all(&keys).unwrap();
        for i in 0..V {
            for name in key_file_names(i) {
                Disk::new()
                    .write_new(&keys.join(&name), name.as_bytes(), SECRET)
                    .unwrap();
            }
        }
        dir
    }

    /// The keystores here are none, and so cannot be opened.
    fn proven(folder: &DataFolder, validators: u32) -> Proven {
        Proven::unopened(folder, 3, validators)
    }

    fn outputs(root: &Path) -> BTreeMap<String, Vec<u8>> {
        let folder = DataFolder::open(&Disk::new(), root).unwrap();
        let names = folder.outputs().unwrap();
        names
            .into_iter()
            // Its bytes change when it is opened.
            .filter(|name| name != SLASHING_PROTECTION)
            .map(|name| (name.clone(), std::fs::read(root.join(name)).unwrap()))
            .collect()
    }

    fn publish(disk: &Disk, root: &Path) -> Result<(), Problem> {
        let folder = DataFolder::open(disk, root)?;
        if let Some(k) = pending(&folder)? {
            return finish(&folder, k);
        }
        if folder.lock().exists() {
            return Ok(());
        }
        let is_first = begin(
            &folder,
            &proven(&folder, V),
            &deposits(),
            Some(&database()),
            b"the lock",
        )?;
        finish(&folder, 3)?;
        if is_first {
            settle(&folder, cluster())
        } else {
            Ok(())
        }
    }

    fn expected() -> BTreeMap<String, Vec<u8>> {
        let mut expected: BTreeMap<String, Vec<u8>> = deposits().into_iter().collect();
        expected.insert(LOCK.into(), b"the lock".to_vec());
        for i in 0..V {
            for name in key_file_names(i) {
                expected.insert(format!("{VALIDATOR_KEYS}/{name}"), name.into_bytes());
            }
        }
        expected
    }

    fn seed_of(folder: &DataFolder, k: u32) -> bool {
        folder.attempts().folder(k).join("seed").exists()
    }

    /// A folder with staged keys that were voted for, and the seeds of two attempts.
    fn voted_folder() -> (tempfile::TempDir, DataFolder) {
        let dir = staged();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        folder.attempts().create_seed(1).unwrap();
        folder.attempts().create_seed(3).unwrap();
        folder.attempts().mark(3, attempt::Mark::Voted).unwrap();
        (dir, folder)
    }

    #[test]
    fn every_start_of_a_finished_folder_has_no_seeds() {
        for k in 0.. {
            let (dir, folder) = voted_folder();
            drop(folder);
            let done = publish(&crashing_disk(k).0, dir.path()).is_ok();
            // Whatever command comes next, and once more, for what `join` has to finish first.
            let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
            let is_there = folder.lock().exists();
            assert!(!is_there || pending(&folder).unwrap().is_none(), "{k}");
            assert_eq!(
                (seed_of(&folder, 1), seed_of(&folder, 3)),
                (!is_there, !is_there),
                "{k}"
            );
            drop(folder);
            publish(&Disk::new(), dir.path()).unwrap();
            let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
            assert!(!seed_of(&folder, 1) && !seed_of(&folder, 3), "{k}");
            if done {
                break;
            }
        }
    }

    /// From the moment on that the lock is there `run` may sign, whatever else was not ended.
    #[test]
    fn a_publication_whose_manifest_is_damaged_begins_anew() {
        let mut damaged = 0;
        for k in 0.. {
            let (dir, folder) = voted_folder();
            drop(folder);
            let done = publish(&crashing_disk(k).0, dir.path()).is_ok();
            let manifest = dir.path().join("ceremony/attempt-3/out/manifest");
            if manifest.exists() {
                damaged += 1;
                std::fs::write(&manifest, "damaged").unwrap();
                let was_there = dir.path().join(SLASHING_PROTECTION).exists();
                let seed = dir.path().join("ceremony/attempt-3/seed");
                let is_being_destroyed = seed.with_file_name("seed-destroyed").exists();
                let is_unproven = dir.path().join(LOCK).exists() && seed.exists() && !is_being_destroyed;
                publish(&Disk::new(), dir.path()).unwrap();
                assert_eq!(outputs(dir.path()), expected(), "{k}");
                // What was here before is kept with its mark; no other one is made, as one may have been here.
                let is_there = dir.path().join(SLASHING_PROTECTION).exists();
                assert_eq!(is_there, was_there, "{k}");
                assert!(
                    !is_there || mark(dir.path()) == Some(Mark::LatePublication),
                    "{k}"
                );
                let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
                // Where everything has its name and the list of it is damaged, only keystores that open end the seeds.
                assert!(!manifest.exists() && seed_of(&folder, 3) == is_unproven, "{k}");
            }
            if done {
                break;
            }
        }
        assert!(damaged > 10, "{damaged}");
    }

    #[test]
    fn a_lock_that_was_lost_is_made_again_beside_what_is_left() {
        let dir = staged();
        publish(&Disk::new(), dir.path()).unwrap();
        for name in [LOCK, "deposit-data.json", SLASHING_PROTECTION] {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        publish(&Disk::new(), dir.path()).unwrap();
        assert_eq!(outputs(dir.path()), expected());
        assert!(
            !dir.path().join(SLASHING_PROTECTION).exists(),
            "an empty one would know nothing of what was signed"
        );
    }

    #[test]
    fn what_was_signed_after_a_crash_is_in_nobodys_way() {
        let root = [9; 32];
        for opens_it in [true, false] {
            let mut used = 0;
            for k in 0.. {
                let (dir, folder) = voted_folder();
                drop(folder);
                let done = publish(&crashing_disk(k).0, dir.path()).is_ok();
                let is_used = dir.path().join(LOCK).exists();
                if is_used {
                    used += 1;
                    // An older version does not end it.
                    if opens_it {
                        drop(DataFolder::open(&Disk::new(), dir.path()).unwrap());
                    }
                    let guard = Guard::open(&dir.path().join(SLASHING_PROTECTION), cluster()).unwrap();
                    guard.pin_genesis_validators_root(&root).unwrap();
                    // Deposited, and put away.
                    std::fs::remove_file(dir.path().join("deposit-data.json")).unwrap();
                }
                publish(&Disk::new(), dir.path()).unwrap();
                let guard = Guard::open(&dir.path().join(SLASHING_PROTECTION), cluster()).unwrap();
                let known = guard.genesis_validators_root().unwrap();
                assert_eq!(known, is_used.then_some(root), "{k}");
                let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
                assert_eq!(pending(&folder).unwrap(), None, "{k}");
                let left = Disk::new().list(&staged_outputs(&folder, 3)).unwrap();
                assert!(!seed_of(&folder, 3) && left.is_empty(), "{k}: {left:?}");
                if done {
                    break;
                }
            }
            assert!(used > 4, "{used}");
        }
    }

    #[test]
    fn a_lock_that_somebody_put_here_meanwhile_ends_nothing() {
        let (dir, folder) = voted_folder();
        begin(
            &folder,
            &proven(&folder, V),
            &deposits(),
            Some(&database()),
            b"the lock",
        )
        .unwrap();
        drop(folder);
        std::fs::write(dir.path().join(LOCK), "the lock").unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        assert_eq!(pending(&folder).unwrap(), Some(3));
        assert!(seed_of(&folder, 3));
        finish(&folder, 3).unwrap();
        assert!(!seed_of(&folder, 3));
        drop(folder);
        assert_eq!(outputs(dir.path()), expected());
        assert_eq!(mark(dir.path()), Some(Mark::LatePublication));
    }

    #[test]
    fn a_lock_that_was_put_here_costs_no_seed() {
        let (dir, folder) = voted_folder();
        let reopen = |folder: DataFolder| {
            drop(folder);
            DataFolder::open(&Disk::new(), dir.path()).unwrap()
        };
        std::fs::write(folder.lock(), "{}").unwrap();
        let folder = reopen(folder);
        assert!(seed_of(&folder, 1) && seed_of(&folder, 3));
        // With all the keystores of another ceremony.
        std::fs::create_dir_all(folder.keys()).unwrap();
        let [first, _] = key_file_names(0);
        std::fs::write(folder.keys().join(first), "{}").unwrap();
        let folder = reopen(folder);
        assert!(seed_of(&folder, 1) && seed_of(&folder, 3));
        // Before any vote.
        std::fs::remove_file(folder.attempts().folder(3).join("voted")).unwrap();
        std::fs::remove_dir_all(staged_keys(&folder, 3)).unwrap();
        let folder = reopen(folder);
        assert!(seed_of(&folder, 1) && seed_of(&folder, 3));
    }

    #[test]
    fn keystores_that_were_not_opened_cost_no_seed() {
        let (dir, folder) = voted_folder();
        drop(folder);
        publish(&Disk::new(), dir.path()).unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        assert!(!seed_of(&folder, 1) && !seed_of(&folder, 3));
        // As if the crash had come right before that; and these keystores hold nothing.
        let attempt = folder.attempts().folder(3);
        std::fs::remove_file(attempt.join("seed-destroyed")).unwrap();
        std::fs::write(attempt.join("seed"), [7; 32]).unwrap();
        drop(folder);
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        assert!(seed_of(&folder, 3));
    }

    #[test]
    fn what_was_changed_since_it_was_proven_is_not_published() {
        for name in key_file_names(1) {
            for is_there in [true, false] {
                let (dir, folder) = voted_folder();
                let proven = proven(&folder, V);
                let path = staged_keys(&folder, 3).join(&name);
                std::fs::remove_file(&path).unwrap();
                if is_there {
                    std::fs::write(&path, "changed").unwrap();
                }
                let begun = begin(&folder, &proven, &deposits(), Some(&database()), b"the lock");
                let problem = begun.unwrap_err();
                assert!(problem.what.contains(&name), "{problem:?}");
                assert_eq!(pending(&folder).unwrap(), None);
                drop(folder);
                let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
                assert!(seed_of(&folder, 1) && seed_of(&folder, 3));
                assert!(!folder.keys().join(&name).exists() && !folder.lock().exists());
            }
        }
    }

    #[test]
    fn no_empty_database_beside_keystores_that_have_had_their_names() {
        // Staged, and brought here from the folder in which they were used; one of them is enough.
        for name in ["keystore-0.json", "keystore-1.txt"] {
            let dir = staged();
            let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
            std::fs::create_dir(folder.keys()).unwrap();
            std::fs::copy(staged_keys(&folder, 3).join(name), folder.keys().join(name)).unwrap();
            let is_first = begin(
                &folder,
                &proven(&folder, V),
                &deposits(),
                Some(&database()),
                b"the lock",
            );
            assert!(!is_first.unwrap());
            finish(&folder, 3).unwrap();
            assert!(!folder.slashing_protection().exists(), "{name}");
            drop(folder);
            assert_eq!(outputs(dir.path()), expected());
        }
    }

    #[test]
    fn everything_gets_its_name_and_mode() {
        let dir = staged();
        publish(&Disk::new(), dir.path()).unwrap();
        assert_eq!(outputs(dir.path()), expected());
        for (name, mode) in [
            (LOCK, 0o644),
            (SLASHING_PROTECTION, 0o600),
            ("deposit-data.json", 0o644),
            ("validator_keys", 0o700),
            ("validator_keys/keystore-1.txt", 0o600),
            ("ceremony", 0o700),
        ] {
            let found = std::fs::metadata(dir.path().join(name))
                .unwrap()
                .permissions()
                .mode()
                & 0o777;
            assert_eq!(found, mode, "{name}");
        }
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        assert_eq!(pending(&folder).unwrap(), None);
        assert_eq!(mark(dir.path()), None);
        assert_eq!(
            Disk::new().list(&folder.attempts().folder(3)).unwrap(),
            [""; 0],
            "nothing is left over"
        );
    }

    #[test]
    fn a_crash_at_any_point_is_finished_by_the_next_start() {
        let mut crashes = 0;
        for k in 0.. {
            let dir = staged();
            let done = publish(&crashing_disk(k).0, dir.path()).is_ok();
            let between = outputs(dir.path());
            let finished = between.contains_key(LOCK);
            if finished {
                assert_eq!(between, expected(), "a lock means that everything is there");
            }
            assert!(between.iter().all(|(name, bytes)| expected()[name] == *bytes));
            let begun = {
                let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
                finished || pending(&folder).unwrap().is_some()
            };
            publish(&Disk::new(), dir.path()).unwrap();
            assert_eq!(outputs(dir.path()), expected(), "crash at {k}");
            // Only the start that began it and saw its end knows that nothing was signed since.
            let late = (begun && !done).then_some(Mark::LatePublication);
            assert_eq!(mark(dir.path()), late, "crash at {k}");
            if done {
                break;
            }
            crashes += 1;
        }
        assert!(crashes > 30);
    }

    #[test]
    fn two_crashes_in_a_row_are_survived_too() {
        for k in (0..60).step_by(3) {
            let dir = staged();
            for _ in 0..2 {
                let _ = publish(&crashing_disk(k).0, dir.path());
            }
            publish(&Disk::new(), dir.path()).unwrap();
            assert_eq!(outputs(dir.path()), expected());
        }
    }

    #[test]
    fn a_file_in_the_way_stays_and_stops_the_publication() {
        for name in [LOCK, "deposit-data.json", "validator_keys/keystore-0.json"] {
            let dir = staged();
            let target = dir.path().join(name);
            let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
            begin(
                &folder,
                &proven(&folder, V),
                &deposits(),
                Some(&database()),
                b"the lock",
            )
            .unwrap();
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::write(&target, "precious").unwrap();
            let problem = finish(&folder, 3).unwrap_err();
            assert_eq!(problem.kind, Kind::FolderState);
            assert_eq!(std::fs::read(&target).unwrap(), b"precious");
            assert_eq!(pending(&folder).unwrap(), Some(3));
            std::fs::remove_file(&target).unwrap();
            finish(&folder, 3).unwrap();
            drop(folder);
            assert_eq!(outputs(dir.path()), expected());
        }
    }

    #[test]
    fn a_database_that_was_there_before_stays_and_without_one_none_is_made() {
        let dir = staged();
        let path = dir.path().join(SLASHING_PROTECTION);
        std::fs::write(&path, "what was signed").unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        begin(
            &folder,
            &proven(&folder, V),
            &deposits(),
            Some(&database()),
            b"the lock",
        )
        .unwrap();
        finish(&folder, 3).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"what was signed");
        assert!(settle(&folder, cluster()).is_err());
        drop(folder);
        assert_eq!(outputs(dir.path()), expected());

        let dir = staged();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        begin(&folder, &proven(&folder, V), &deposits(), None, b"the lock").unwrap();
        finish(&folder, 3).unwrap();
        assert!(!folder.slashing_protection().exists());
        assert!(settle(&folder, cluster()).is_err());
        drop(folder);
        assert_eq!(outputs(dir.path()), expected());
    }

    #[test]
    fn a_database_that_came_between_stays_and_one_that_is_not_whole_is_none() {
        let begun = || {
            let dir = staged();
            let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
            begin(
                &folder,
                &proven(&folder, V),
                &deposits(),
                Some(&database()),
                b"the lock",
            )
            .unwrap();
            let path = staged_outputs(&folder, 3).join(SLASHING_PROTECTION);
            (dir, folder, path)
        };
        let (dir, folder, _) = begun();
        std::fs::write(folder.slashing_protection(), "what was signed").unwrap();
        finish(&folder, 3).unwrap();
        let now = || std::fs::read(dir.path().join(SLASHING_PROTECTION)).unwrap();
        assert_eq!(now(), b"what was signed");
        drop(folder);
        assert_eq!(outputs(dir.path()), expected());
        // The same file under both names.
        let (dir, folder, path) = begun();
        std::fs::hard_link(&path, folder.slashing_protection()).unwrap();
        std::fs::write(folder.slashing_protection(), "what was signed").unwrap();
        finish(&folder, 3).unwrap();
        assert!(!path.exists());
        let now = std::fs::read(dir.path().join(SLASHING_PROTECTION)).unwrap();
        assert_eq!(now, b"what was signed");
        // As `run` says, there is none then.
        for change in [true, false] {
            let (dir, folder, path) = begun();
            std::fs::remove_file(&path).unwrap();
            if change {
                std::fs::write(&path, "changed").unwrap();
            }
            finish(&folder, 3).unwrap();
            assert!(!folder.slashing_protection().exists() && !path.exists());
            drop(folder);
            assert_eq!(outputs(dir.path()), expected());
        }
    }

    #[test]
    fn a_copy_of_the_folder_from_any_moment_of_the_publication_is_marked() {
        let dir = staged();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        begin(
            &folder,
            &proven(&folder, V),
            &deposits(),
            Some(&database()),
            b"the lock",
        )
        .unwrap();
        finish(&folder, 3).unwrap();
        assert_eq!(
            mark(dir.path()),
            Some(Mark::LatePublication),
            "before the mark is taken away"
        );
        settle(&folder, cluster()).unwrap();
        assert_eq!(mark(dir.path()), None);
        // Taken away only once, and no other mark.
        settle(&folder, cluster()).unwrap();
    }

    #[test]
    fn a_link_without_its_unlink_is_tidied() {
        let dir = staged();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        begin(
            &folder,
            &proven(&folder, V),
            &deposits(),
            Some(&database()),
            b"the lock",
        )
        .unwrap();
        std::fs::create_dir(folder.keys()).unwrap();
        let name = "keystore-0.json";
        std::fs::hard_link(staged_keys(&folder, 3).join(name), folder.keys().join(name)).unwrap();
        finish(&folder, 3).unwrap();
        assert!(!staged_keys(&folder, 3).exists());
    }

    #[test]
    fn missing_and_changed_files_are_noticed() {
        for (name, change) in [
            ("keys/keystore-1.json", true),
            ("keys/keystore-1.json", false),
            ("out/cluster-lock.json", true),
        ] {
            let dir = staged();
            let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
            begin(
                &folder,
                &proven(&folder, V),
                &deposits(),
                Some(&database()),
                b"the lock",
            )
            .unwrap();
            let path = folder.attempts().folder(3).join(name);
            if change {
                std::fs::write(&path, "changed").unwrap();
            } else {
                std::fs::remove_file(&path).unwrap();
            }
            assert_eq!(finish(&folder, 3).unwrap_err().kind, Kind::FolderState);
            assert!(!folder.lock().exists());
        }
    }

    #[test]
    fn it_does_not_begin_without_all_keystores() {
        let dir = staged();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        assert!(begin(&folder, &proven(&folder, V + 1), &deposits(), None, b"the lock").is_err());
        assert_eq!(pending(&folder).unwrap(), None);
        assert!(
            begin(
                &folder,
                &proven(&folder, V),
                &[("../x".into(), vec![])],
                None,
                b""
            )
            .is_err()
        );
        assert!(
            begin(
                &folder,
                &proven(&folder, V),
                &[("deposit-data/../../x.json".into(), vec![])],
                None,
                b""
            )
            .is_err()
        );
    }

    #[test]
    fn manifests_are_read_strictly() {
        let hash = "11".repeat(32);
        let good = format!("{HEADER}\n{hash} validator_keys/keystore-0.json\n{hash} cluster-lock.json\n");
        assert_eq!(parse_manifest(good.as_bytes()).unwrap().len(), 2);
        for bad in [
            String::new(),
            format!("{HEADER}\n"),
            format!("{HEADER}\n{hash} cluster-lock.json"),
            format!("{HEADER}\n{hash} cluster-lock.json\n{hash} deposit-data.json\n"),
            format!("{HEADER}\n{hash} ../cluster-lock.json\n"),
            format!("{HEADER}\n{hash} validator_keys/../x\n{hash} cluster-lock.json\n"),
            format!("{HEADER}\n{hash} validator_keys/keystore-../x.json\n{hash} cluster-lock.json\n"),
            format!("{HEADER}\n{hash} charon-enr-private-key\n{hash} cluster-lock.json\n"),
            format!("{HEADER}\n11 cluster-lock.json\n"),
        ] {
            assert!(parse_manifest(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
