//! An export that was interrupted, perhaps just after it wrote its archive: what is there now, and what follows.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    super::{
        files::{Cause, Disk, has_name, is_folder, parent},
        folder::{DataFolder, IDENTITY, LOCK, SLASHING_PROTECTION},
        problem::Problem,
        retirement::State,
    },
    absolute,
    archive::{ArchiveError, Entry, MAX_BYTES},
    finish, shown,
};

/// Decrypts an archive.
pub type Open<'a> = dyn Fn(&[u8]) -> Result<Vec<Entry>, ArchiveError> + 'a;

/// What lies where an archive was to be written.
enum Found {
    /// This folder's archive, whole.
    Archive,
    /// Perhaps this folder's archive. Why that cannot be told.
    Unknown(ArchiveError),
    /// Certainly something else: why, and what to do about it.
    Other(String, &'static str),
}

/// What to do about an archive of the same operator that is not this folder's last one.
const OUTDATED: &str = "never import that file: it has forgotten what was signed since. Move it away, run the same command again, and \
     delete it once that is done; this folder signs nothing meanwhile";
/// What to do about somebody else's file.
const FOREIGN: &str = "move that file away, or name another one, and run the command again; this folder signs nothing meanwhile";

/// The files that the archive of an interrupted export may be: where it was begun, and where it is to be now. Empty if that
/// export wrote none.
///
/// # Errors
/// If nobody can tell, because the folder where it was begun is not there now.
pub fn left_behind(state: &State, target: &Path) -> Result<Vec<PathBuf>, Problem> {
    let State::Begun { archive, .. } = state else {
        return Ok(Vec::new());
    };
    let mut paths = vec![absolute(target)?];
    if let Some(archive) = archive {
        let folder = parent(archive);
        if !is_folder(folder)? {
            return Err(Problem::folder_state(
                "the export that was begun here cannot go on",
                format!(
                    "its archive was to be {}, and nobody can see now whether it is there",
                    shown(archive)
                ),
                format!(
                    "make {} available again and run the same command; if it is lost for ever, make an empty folder of that \
                     name first. This folder signs nothing meanwhile",
                    shown(folder)
                ),
            ));
        }
        paths.push(archive.clone());
    }
    paths.dedup();
    let mut there = Vec::new();
    for path in paths {
        if has_name(&path)? {
            there.push(path);
        }
    }
    Ok(there)
}

/// Finishes an interrupted export whose archive is there and whole, and says whether it did. `entries` is what moves with
/// the folder, read before anything in it is opened; `open` decrypts an archive; `when` is the time for people.
///
/// If it did not, there is no archive of this folder, and `target` is free.
///
/// # Errors
/// If something else is at `target`, or nobody can tell what it is; if the archive is elsewhere; anything the disk says.
pub fn resume(
    folder: &DataFolder,
    (state, target): (&State, &Path),
    entries: &[Entry],
    open: &Open<'_>,
    when: &str,
) -> Result<bool, Problem> {
    let here = absolute(target)?;
    for path in left_behind(state, target)? {
        let found = look(folder.disk(), &path, entries, open)?;
        match found {
            Found::Archive if path == here => {
                let disk = folder.disk();
                // A crash may have come before the file's name was durable, or before its other name was gone.
                disk.sync_folder(parent(&path))?;
                disk.remove_unfinished(parent(&path))?;
                finish(folder, target, when)?;
                return Ok(true);
            }
            Found::Archive => {
                return Err(Problem::folder_state(
                    format!("{} is not written", shown(target)),
                    format!(
                        "the export that was interrupted wrote this folder's archive already: {}",
                        shown(&path)
                    ),
                    format!(
                        "a second one would make a twin: run the command again with {} to finish it",
                        shown(&path)
                    ),
                ));
            }
            Found::Unknown(error) => {
                return Err(Problem::folder_state(
                    format!("cannot tell whether {} is this folder's archive", shown(&path)),
                    error,
                    "run the command again with the password of the export that was interrupted; if the file is damaged or \
                     somebody else's, move it away first. This folder signs nothing meanwhile",
                ));
            }
            Found::Other(why, what_to_do) if path == here => {
                return Err(Problem::folder_state(
                    format!("cannot write {}", shown(&path)),
                    why,
                    what_to_do,
                ));
            }
            // Somebody's file where the archive was to be at first.
            Found::Other(..) => {}
        }
    }
    Ok(false)
}

fn look(disk: &Disk, path: &Path, entries: &[Entry], open: &Open<'_>) -> Result<Found, Problem> {
    let other = |why: &str| Found::Other(format!("it is there already, and {why}"), FOREIGN);
    let plain = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file());
    if !plain {
        return Ok(other("it is no ordinary file"));
    }
    let sealed = match disk.read(path, MAX_BYTES) {
        Err(error) if matches!(error.cause, Cause::TooLarge(_)) => {
            return Ok(other("it is larger than any archive"));
        }
        read => Zeroizing::new(read?),
    };
    let there = match open(&sealed) {
        Ok(there) => there,
        Err(
            error @ (ArchiveError::Password
            | ArchiveError::Damaged
            | ArchiveError::CutOff
            | ArchiveError::Work(_)),
        ) => return Ok(Found::Unknown(error)),
        Err(error) => return Ok(other(&error.to_string())),
    };
    let Some(name) = different(&there, entries) else {
        return Ok(Found::Archive);
    };
    Ok(match name {
        IDENTITY | LOCK => other("it is the archive of another folder"),
        SLASHING_PROTECTION => Found::Other(
            "it is there already: an archive of this share with another slashing protection database"
                .to_owned(),
            OUTDATED,
        ),
        name => Found::Other(
            format!("it is there already: an archive of this share in which {name} is not as in this folder"),
            OUTDATED,
        ),
    })
}

/// A file in which two folders differ: the one that says most.
fn different<'a>(one: &'a [Entry], other: &'a [Entry]) -> Option<&'a str> {
    let contents = |entries: &'a [Entry]| -> BTreeMap<&'a str, &'a [u8]> {
        let content = |entry: &'a Entry| (entry.name.as_str(), entry.content.as_slice());
        entries.iter().map(content).collect()
    };
    let (one, other) = (contents(one), contents(other));
    let names = [IDENTITY, LOCK, SLASHING_PROTECTION];
    let mut names = names.iter().chain(one.keys()).chain(other.keys()).copied();
    names.find(|name| one.get(name) != other.get(name))
}
