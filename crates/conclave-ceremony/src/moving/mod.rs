//! Moving house: one operator's folder to another machine, with its slashing protection. And backups, which hold all but that, of
//! folders that stay where they are.
//!
//! A share that works in two places signs twice, and that costs the deposit. So an export is no copy:
//!
//! 1. Everything that could fail is tried: the folder is held by this process alone, verified, read, and encrypted in
//!    memory; a file of no meaning is written and removed where the archive will be.
//! 2. The folder is marked retired, durably: it refuses to run, join, or exit from here on, and for ever.
//! 3. Only then is the archive written, beside its name, fsync'd, and renamed without overwriting anything.
//! 4. The mark says that the export is finished, and where it went.
//!
//! A crash before 2 leaves a folder that works and no archive. A crash between 2 and 4 leaves a retired folder, and
//! perhaps an archive: the same command goes on. It looks at what is where the archive was to be ([`resume()`]): if that is
//! the archive, the export is finished; if nothing is there, what it writes is the same as before, as a retired folder
//! signs nothing. At no moment are there an archive and a folder that would work, nor two archives of one folder.
//!
//! An import goes the other way round: a mark makes the folder unusable before the first file is there, everything is
//! verified in its place, and the mark is removed last. Whoever imports one archive twice has made a twin; nothing in the
//! archive can prevent that. So the imported database is marked as a copy, and the first run waits for two whole epochs
//! unless all other operators confirm that they have seen nothing newer ([`conclave_slashing::Mark`]).

pub mod archive;
mod first;
mod resume;
mod tape;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use self::resume::{Open, left_behind, resume};

use zeroize::Zeroizing;

use self::archive::{Entry, belongs};
use super::{
    attempt,
    files::{Disk, FileError, SECRET, UNFINISHED, has_name, is_folder, is_there, parent},
    folder::{self, CEREMONY, DataFolder, LOCK, SLASHING_PROTECTION, VALIDATOR_KEYS},
    problem::Problem,
    publication,
    restored::{self, RESTORED},
    retirement::{self, State, UNFINISHED_IMPORT},
};

/// Most bytes of one file.
const MAX_FILE: u64 = 512 << 20;
/// A file that grows while it is read is read so often.
const TRIES: usize = 5;
/// Written and removed again where the archive will be.
const PROBE: &str = ".conclave-unfinished-probe";
/// Bytes that stay free on a disk beside an archive: 1 MiB.
const MARGIN: u64 = 1 << 20;
/// Folders within the data folder are looked into this far.
const DEPTH: usize = 3;

/// What is taken along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// All of it: the folder moves, and with it what its share has signed.
    Everything,
    /// All but the slashing protection: the folder stays, and goes on signing.
    Backup,
}

/// What is taken along, and what is left behind.
pub struct Luggage {
    /// The files.
    pub entries: Vec<Entry>,
    /// Names in the data folder that do not belong to it; folders stand for what is in them.
    pub left: Vec<String>,
}

/// Reads everything that moves with a folder.
///
/// # Errors
/// Anything the disk says.
pub fn pack(folder: &DataFolder) -> Result<Luggage, Problem> {
    read(folder.disk(), folder.root(), Load::Everything)
}

/// Reads what a backup holds of a finished folder in which another process may be at work: everything there is written once, or
/// replaced as a whole, or only grows and may end anywhere. Marked as [`restored`]. Without the seeds of its attempts, which have done their
/// work, and in whose place it says that none is ever made again.
///
/// # Errors
/// If the results are not all in place ([`publication`]): the rest of them could not be finished without the slashing protection.
/// Anything the disk says; if a file changes whenever it is read.
pub fn copy(disk: &Disk, root: &Path) -> Result<Luggage, Problem> {
    let mut tries = 1;
    let mut luggage = loop {
        match read(disk, root, Load::Backup) {
            Err(_) if tries < TRIES => tries += 1,
            read => break read?,
        }
    };
    if luggage
        .entries
        .iter()
        .any(|entry| of_attempt(&entry.name).is_some_and(|(_, file)| publication::is_manifest(file)))
    {
        return Err(Problem::folder_state(
            "the ceremony's results are not all in their places yet",
            "conclave join is giving them their names, or was interrupted when it did",
            "wait for it, or run conclave join once more as you did before; then make the backup",
        ));
    }
    make_backup(&mut luggage.entries);
    Ok(luggage)
}

/// Makes what is unpacked as a backup of the files of a finished folder, whoever put them together: without the memory of what was signed,
/// which went on after, without what only a ceremony that is under way needs, and with the mark.
pub fn make_backup(entries: &mut Vec<Entry>) {
    leave_seeds(entries);
    entries.retain(|entry| {
        let published = of_attempt(&entry.name).is_some_and(|(_, file)| publication::is_manifest(file));
        !published && entry.name != SLASHING_PROTECTION && entry.name != RESTORED
    });
    entries.push(mark());
}

/// Of a file's name in the data folder: the folder of the attempt that it is of, and its name in there.
fn of_attempt(name: &str) -> Option<(&str, &str)> {
    attempt::of_attempt(name.strip_prefix(CEREMONY)?.strip_prefix('/')?)
}

/// Leaves out the seeds. What was unpacked without one must not make another: that it was destroyed is said in its place.
fn leave_seeds(entries: &mut Vec<Entry>) {
    let seeds: Vec<Entry> = entries
        .extract_if(.., |entry| {
            of_attempt(&entry.name).is_some_and(|(_, file)| file == attempt::SEED)
        })
        .collect();
    for (folder, _) in seeds.iter().filter_map(|seed| of_attempt(&seed.name)) {
        let name = format!("{CEREMONY}/{folder}/{}", attempt::SEED_DESTROYED);
        if !entries.iter().any(|entry| entry.name == name) {
            let content = Zeroizing::default();
            entries.push(Entry { name, content });
        }
    }
}

/// The mark of a restored folder, as a file of an archive.
fn mark() -> Entry {
    Entry {
        name: RESTORED.to_owned(),
        content: Zeroizing::new(restored::TEXT.to_vec()),
    }
}

fn read(disk: &Disk, root: &Path, load: Load) -> Result<Luggage, Problem> {
    let mut luggage = Luggage {
        entries: Vec::new(),
        left: Vec::new(),
    };
    look((disk, root), load, "", 0, &mut luggage)?;
    Ok(luggage)
}

fn look(
    (disk, root): (&Disk, &Path),
    load: Load,
    inner: &str,
    depth: usize,
    luggage: &mut Luggage,
) -> Result<(), Problem> {
    for name in disk.list(&root.join(inner))? {
        let name = if inner.is_empty() {
            name
        } else {
            format!("{inner}/{name}")
        };
        let path = root.join(&name);
        if is_folder(&path)? && depth < DEPTH {
            look((disk, root), load, &name, depth + 1, luggage)?;
        } else if load == Load::Backup && name == SLASHING_PROTECTION {
        } else if belongs(&name).is_some() {
            luggage.entries.push(Entry {
                content: disk.read_secret(&path, MAX_FILE)?,
                name,
            });
        } else if !of_the_moment(&name) && !is_left_behind(&name) {
            luggage.left.push(name);
        }
    }
    Ok(())
}

/// Files of ours that stay where they are: what was never finished, and the mark of a folder that moves.
fn is_left_behind(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.starts_with(UNFINISHED) || name == retirement::RETIRED
}

/// Files that mean nothing elsewhere: the lock of whoever works in the folder, and sockets.
fn of_the_moment(name: &str) -> bool {
    let in_ceremony = name
        .strip_prefix(CEREMONY)
        .and_then(|rest| rest.strip_prefix('/'));
    in_ceremony.is_some_and(|name| matches!(name, "in-use" | "run.sock.new")) || name == crate::folder::SOCKET
}

/// Retires a folder and writes its archive under a name that is free: steps 2 to 4. `when` is the time for people.
///
/// # Errors
/// If something has the name; anything the disk says. The folder may be retired then: the same command goes on.
pub fn retire_and_write(
    folder: &DataFolder,
    target: &Path,
    sealed: &[u8],
    when: &str,
) -> Result<(), Problem> {
    // What has moved, or is not whole, was so before: nothing goes on there.
    if let State::Retired(_) | State::HalfImported = retirement::state(folder.disk(), folder.root())? {
        return retirement::refuse(folder.disk(), folder.root());
    }
    retire_then_write(folder, target, sealed, when).map_err(|problem| retired_all_the_same(folder, problem))
}

fn retire_then_write(folder: &DataFolder, target: &Path, sealed: &[u8], when: &str) -> Result<(), Problem> {
    let (disk, root) = (folder.disk(), folder.root());
    if has_name(target)? {
        return Err(Problem::folder_state(
            format!("cannot write {}", target.display()),
            "it is there already, and nothing is ever overwritten",
            "name another file",
        ));
    }
    let beside = parent(target);
    let archive = absolute(target)?;
    let begun = match retirement::state(disk, root)? {
        State::Works => None,
        State::Begun { archive, .. } => Some(archive),
        _ => return retirement::refuse(disk, root),
    };
    if let Some(earlier) = &begun {
        // What the interrupted export wrote is as good as an archive.
        disk.remove_unfinished(beside)?;
        if let Some(earlier) = earlier {
            disk.remove_unfinished(parent(earlier))?;
        }
    }
    try_out(disk, beside, sealed.len() as u64)?;
    let why = format!(
        "an export to {} was begun on {when} and not finished",
        shown(&archive)
    );
    match begun {
        None => retirement::begin(disk, root, &why, &archive)?,
        // The mark says where to look for the archive, before it is there.
        Some(earlier) if earlier.as_ref() != Some(&archive) => {
            retirement::begin_elsewhere(disk, root, &why, &archive)?;
        }
        Some(_) => {}
    }
    disk.write_new(target, sealed, SECRET)?;
    Ok(finish(folder, target, when)?)
}

/// Says of an export that failed that the folder is retired all the same, if it is: whoever reads it has to know.
fn retired_all_the_same(folder: &DataFolder, problem: Problem) -> Problem {
    let then = |what: &str| format!("{}. {what}", problem.what_to_do);
    let (why, what_to_do) = match retirement::state(folder.disk(), folder.root()) {
        Ok(State::Works) => return problem,
        Ok(State::Begun { .. }) => (
            "this folder is retired already",
            then("Then run the same command again: it goes on"),
        ),
        // Only what came after the archive failed.
        Ok(State::Retired(_) | State::HalfImported) => (
            "the archive is written, and this folder is retired already",
            "check the disk, and import the archive; in this folder nothing works any more".to_owned(),
        ),
        Err(_) => (
            "whether this folder is retired already cannot be read",
            then("Until you know, let nothing work in this folder"),
        ),
    };
    Problem {
        why: format!("{}; {why}", problem.why),
        what_to_do,
        ..problem
    }
}

/// Step 4.
fn finish(folder: &DataFolder, target: &Path, when: &str) -> Result<(), FileError> {
    // Whoever reads it may stand in another folder.
    let archive = std::path::absolute(target);
    let archive = archive.as_deref().unwrap_or(target);
    let why = format!("its share was exported to {} on {when}", shown(archive));
    retirement::finish(folder.disk(), folder.root(), &why)
}

/// A path as it may be shown, in one line.
fn shown(path: &Path) -> String {
    conclave_eth::text::printable(&path.display().to_string())
}

fn absolute(path: &Path) -> Result<PathBuf, Problem> {
    std::path::absolute(path).map_err(|error| {
        Problem::bad_input(
            format!("cannot write {}", path.display()),
            error,
            "name a file in a folder that is there",
        )
    })
}

/// Whether an archive can be written there: some file systems know no modes, or are full.
fn try_out(disk: &Disk, folder: &Path, needed: u64) -> Result<(), Problem> {
    let probe = folder.join(PROBE);
    disk.remove(&probe)?;
    let written = disk.write_in_place(&probe, &[0x55; 4096], SECRET);
    disk.remove(&probe)?;
    written?;
    let free = disk.free_bytes(folder)?;
    if free < needed.saturating_add(MARGIN) {
        return Err(Problem::other(
            format!("there is not enough room in {}", folder.display()),
            format!(
                "the archive and what is kept free beside it need {} KiB, and {} KiB are free",
                needed.saturating_add(MARGIN).div_ceil(1024),
                free / 1024
            ),
            "name a file in another folder, or make room there",
        ));
    }
    Ok(())
}

/// Opens a folder for an import: a new one, or an empty one. It is marked as unusable before anything else.
///
/// # Errors
/// If there is anything in it; anything the disk says.
pub fn make_room(disk: &Disk, root: &Path) -> Result<DataFolder, Problem> {
    refuse_filled(disk, root)?;
    if !is_there(root)? {
        disk.create_folder(root)?;
    }
    let text = b"an import was begun here and not finished: remove this folder and import again\n";
    disk.write_new(&root.join(UNFINISHED_IMPORT), text, SECRET)?;
    DataFolder::open(disk, root)
}

/// Refuses a folder for an import in which there is anything.
///
/// # Errors
/// If there is; anything the disk says.
pub fn refuse_filled(disk: &Disk, root: &Path) -> Result<(), Problem> {
    folder::refuse_within(root)?;
    if is_there(root)? {
        if !is_folder(root)? {
            return Err(Problem::folder_state(
                format!("{} is no folder", root.display()),
                "it is a file, and what is imported needs a folder of its own",
                "name a new folder with --data-dir",
            ));
        }
        let mut names = disk.list(root)?;
        // What an import that was killed at its first file has left.
        names.retain(|name| !name.starts_with(UNFINISHED));
        if let Some(first) = names.first() {
            let has = |wanted: &str| names.iter().any(|name| name == wanted);
            let holds_share = has(LOCK) && has(VALIDATOR_KEYS);
            let (what_to_do, why) = if has(retirement::RETIRED) {
                (
                    "import into a new folder, named with --data-dir: what is retired stays retired",
                    "it was exported from here once, and is retired".to_owned(),
                )
            } else if names.iter().any(|name| name == UNFINISHED_IMPORT) {
                (
                    "remove that folder, then import again",
                    "an import that was begun there was not finished".to_owned(),
                )
            } else if holds_share {
                (
                    "if it is where this archive was imported before, there is nothing more to do: never import it into a second folder. For another share \
                     name a new folder with --data-dir",
                    "the share of an operator is in it already".to_owned(),
                )
            } else {
                ("name a new folder with --data-dir", format!("{first} is in it"))
            };
            return Err(Problem::folder_state(
                format!("the folder {} is not empty", root.display()),
                why,
                what_to_do,
            ));
        }
    }
    Ok(())
}

/// Writes the files of an archive into a folder that was made for them, the lock last.
///
/// # Errors
/// Anything the disk says.
pub fn unpack(folder: &DataFolder, entries: &[Entry]) -> Result<(), Problem> {
    let (disk, root) = (folder.disk(), folder.root());
    let (last, first): (Vec<&Entry>, Vec<&Entry>) = entries.iter().partition(|entry| entry.name == LOCK);
    for entry in first.into_iter().chain(last) {
        let Some(mode) = belongs(&entry.name) else {
            continue;
        };
        let path = root.join(&entry.name);
        for folder in folders_of(&entry.name) {
            disk.create_folder(&root.join(folder))?;
        }
        disk.write_new(&path, &entry.content, mode)?;
    }
    Ok(())
}

/// The folders that a name is in, outermost first.
fn folders_of(name: &str) -> impl Iterator<Item = &str> {
    name.char_indices()
        .filter(|(_, c)| *c == '/')
        .filter_map(|(place, _)| name.get(..place))
}

/// Makes an imported folder usable.
///
/// # Errors
/// Anything the disk says.
pub fn settle(folder: &DataFolder) -> Result<(), Problem> {
    folder.disk().remove(&folder.root().join(UNFINISHED_IMPORT))?;
    Ok(())
}

/// Takes back an import that failed: the files are destroyed, the mark goes last.
pub fn clear(folder: &DataFolder, entries: &[Entry]) {
    let (disk, root) = (folder.disk(), folder.root());
    let mut all = true;
    for entry in entries {
        all &= disk.destroy(&root.join(&entry.name)).is_ok();
    }
    // Folders that are empty now; others stay, and so does the mark then.
    let _ = std::fs::remove_file(folder.ceremony().join("in-use"));
    for entry in entries {
        for inner in folders_of(&entry.name).collect::<Vec<_>>().into_iter().rev() {
            let _ = std::fs::remove_dir(root.join(inner));
        }
    }
    let _ = std::fs::remove_dir(folder.ceremony());
    if all {
        let _ = disk.remove(&root.join(UNFINISHED_IMPORT));
    }
}

/// The archive's path: a file, or a name of its own in a folder.
pub fn target(given: &Path, lock_hash: &[u8; 32], operator: u16) -> PathBuf {
    if given.is_dir() {
        let lock = hex::encode(lock_hash.get(..4).unwrap_or_default());
        given.join(format!("conclave-{lock}-operator-{operator}.tar.age"))
    } else {
        given.to_owned()
    }
}

/// A backup's path: a file, or a name of its own in a folder, which says when (as people write it) it was made.
pub fn backup_target(given: &Path, lock_hash: &[u8; 32], operator: u16, when: &str) -> PathBuf {
    if given.is_dir() {
        let lock = hex::encode(lock_hash.get(..4).unwrap_or_default());
        let when: String = when.chars().filter(char::is_ascii_alphanumeric).collect();
        given.join(format!(
            "conclave-{lock}-operator-{operator}-backup-{when}.tar.age"
        ))
    } else {
        given.to_owned()
    }
}

/// Refuses a name under which no archive can be written: before anybody is asked anything.
///
/// # Errors
/// If it is taken, or there is no such folder; anything the disk says.
pub fn refuse_target(target: &Path) -> Result<(), Problem> {
    if has_name(target)? {
        return Err(Problem::folder_state(
            format!("cannot write {}", target.display()),
            "it is there already, and nothing is ever overwritten",
            "name another file",
        ));
    }
    if let Some(around) = folder::around(target) {
        return Err(Problem::bad_input(
            format!("{} is in the folder of an operator", target.display()),
            format!("what happens to {} happens to it", around.display()),
            "name a file on another disk or machine, or a place from which you take it there",
        ));
    }
    let folder = parent(target);
    if is_folder(folder)? {
        return Ok(());
    }
    Err(Problem::folder_state(
        format!("cannot write {}", target.display()),
        format!("there is no folder {}", folder.display()),
        "make that folder first, or see whether the disk that it is on is connected; or name another file",
    ))
}

/// Writes a backup under a name that is free, reads it again and gives what it read.
///
/// # Errors
/// If something has the name; anything the disk says. What was written by then is removed.
pub fn write_backup(disk: &Disk, target: &Path, sealed: &[u8]) -> Result<Vec<u8>, Problem> {
    refuse_target(target)?;
    try_out(disk, parent(target), sealed.len() as u64)?;
    disk.write_new(target, sealed, SECRET)?;
    Ok(disk.read(target, archive::MAX_BYTES)?)
}
