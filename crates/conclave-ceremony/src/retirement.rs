//! A folder that has moved to another machine is retired: its share works elsewhere now.
//!
//! The mark is a file in the data folder. It is there before anything that could be used elsewhere is, and nothing of ours
//! ever removes it. A folder into which an import was not finished bears a mark too.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::files::{Disk, FileError, PUBLIC};
use super::problem::Problem;
use conclave_eth::text::printable;

/// The mark of a folder whose share has moved.
pub const RETIRED: &str = "RETIRED";
/// The mark of a folder into which an import was begun.
pub const UNFINISHED_IMPORT: &str = "IMPORT-UNFINISHED";
/// Most bytes of a mark.
const MAX_BYTES: u64 = 32 * 1024;
/// The second line of the mark of an export that was begun.
const BEGUN: &str = "unfinished";
/// The third line begins like this; the archive's path follows in hexadecimal, as it may be any bytes.
const ARCHIVE: &str = "archive ";

/// Whether a folder may be worked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It may.
    Works,
    /// An export was begun and not finished: nothing but that export may go on.
    Begun {
        /// Why, for people.
        why: String,
        /// Where its archive was to be written: an absolute path.
        archive: Option<PathBuf>,
    },
    /// It has moved, or nobody can tell. Why, for people.
    Retired(String),
    /// An import into it was not finished.
    HalfImported,
}

/// What the marks of a folder say.
///
/// # Errors
/// If that cannot be known.
pub fn state(disk: &Disk, root: &Path) -> Result<State, FileError> {
    if is_there(disk, &root.join(UNFINISHED_IMPORT))? {
        return Ok(State::HalfImported);
    }
    let path = root.join(RETIRED);
    if !is_there(disk, &path)? {
        return Ok(State::Works);
    }
    // Whatever it is that bears the name: somebody has put it there.
    let text = disk.read(&path, MAX_BYTES).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(str::trim);
    let why = printable(lines.next().unwrap_or_default());
    let why = if why.is_empty() {
        "its share was moved to another machine".to_owned()
    } else {
        why
    };
    Ok(if lines.next() == Some(BEGUN) {
        let digits = lines.next().and_then(|line| line.strip_prefix(ARCHIVE));
        let path = digits.and_then(|digits| hex::decode(digits).ok());
        let archive = path.map(|bytes| PathBuf::from(OsStr::from_bytes(&bytes)));
        State::Begun { why, archive }
    } else {
        State::Retired(why)
    })
}

fn is_there(disk: &Disk, path: &Path) -> Result<bool, FileError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        // Reading says in the usual way what is wrong.
        Err(_) => disk.read(path, MAX_BYTES).map(|_| true),
    }
}

/// Retires a folder, durably, for an export that is not there yet. `why` is one line, `archive` where it will be: an
/// absolute path.
///
/// # Errors
/// If there is a mark; anything the disk says.
pub fn begin(disk: &Disk, root: &Path, why: &str, archive: &Path) -> Result<(), FileError> {
    disk.write_new(&root.join(RETIRED), begun(why, archive).as_bytes(), PUBLIC)
}

/// Says in the mark of an export that was begun that its archive will be elsewhere.
///
/// # Errors
/// Anything the disk says; the folder is retired all the same.
pub fn begin_elsewhere(disk: &Disk, root: &Path, why: &str, archive: &Path) -> Result<(), FileError> {
    disk.replace(&root.join(RETIRED), begun(why, archive).as_bytes(), PUBLIC)
}

fn begun(why: &str, archive: &Path) -> String {
    let archive = hex::encode(archive.as_os_str().as_bytes());
    format!("{why}\n{BEGUN}\n{ARCHIVE}{archive}\n")
}

/// Says in the mark that the export is finished.
///
/// # Errors
/// Anything the disk says; the folder is retired all the same.
pub fn finish(disk: &Disk, root: &Path, why: &str) -> Result<(), FileError> {
    disk.replace(&root.join(RETIRED), format!("{why}\n").as_bytes(), PUBLIC)
}

/// What a folder that bears a mark is, in words for whoever only looks at it; nothing if it bears none.
///
/// # Errors
/// If that cannot be known.
pub fn said(disk: &Disk, root: &Path) -> Result<Option<String>, FileError> {
    Ok(match state(disk, root)? {
        State::Works => None,
        State::Begun { why, .. } | State::Retired(why) => {
            Some(format!("retired, nothing works in it any more: {why}"))
        }
        State::HalfImported => Some("not complete: an import was begun in it and not finished".to_owned()),
    })
}

/// Refuses a folder that bears a mark, and says when its share went where.
///
/// # Errors
/// If it bears one, or if that cannot be known.
pub fn refuse(disk: &Disk, root: &Path) -> Result<(), Problem> {
    let (what, why, what_to_do) = match state(disk, root)? {
        State::Works => return Ok(()),
        State::Begun { why, .. } => (
            "retired",
            why,
            "finish it with the same conclave export; a share that works in two places costs the deposit",
        ),
        State::Retired(why) => (
            "retired",
            why,
            "import that archive, if nobody has, and work in the folder it is imported into; a share that works in two places \
             costs the deposit",
        ),
        State::HalfImported => (
            "not complete",
            "an import was begun in it and not finished".to_owned(),
            "remove that folder, then import again",
        ),
    };
    Err(Problem::folder_state(
        format!("the folder {} is {what}", root.display()),
        why,
        what_to_do,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Kind;

    #[test]
    fn a_mark_says_where_the_share_went() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new();
        refuse(&disk, dir.path()).unwrap();
        let begun = |why: &str, archive: &Path| State::Begun {
            why: why.to_owned(),
            archive: Some(archive.to_owned()),
        };
        let odd = Path::new(OsStr::from_bytes(b"/media/a\n\xff"));
        begin(&disk, dir.path(), "an export to a was begun", odd).unwrap();
        assert!(begin(&disk, dir.path(), "another", odd).is_err());
        assert_eq!(
            state(&disk, dir.path()).unwrap(),
            begun("an export to a was begun", odd)
        );
        let other = Path::new("/media/b");
        begin_elsewhere(&disk, dir.path(), "an export to b was begun", other).unwrap();
        assert_eq!(
            state(&disk, dir.path()).unwrap(),
            begun("an export to b was begun", other)
        );
        refuse(&disk, dir.path()).unwrap_err();
        finish(&disk, dir.path(), "it went to a").unwrap();
        let problem = refuse(&disk, dir.path()).unwrap_err();
        assert_eq!(
            (problem.kind, problem.why.as_str()),
            (Kind::FolderState, "it went to a")
        );
    }

    #[test]
    fn whatever_bears_the_name_is_a_mark() {
        let long = vec![b'x'; 20_000];
        for odd in [&b""[..], b"\xff\x1b[2J", &long] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join(RETIRED), odd).unwrap();
            let problem = refuse(&Disk::new(), dir.path()).unwrap_err();
            assert!(!problem.why.is_empty() && !problem.why.contains('\u{1b}'));
        }
        for name in [RETIRED, UNFINISHED_IMPORT] {
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join(name)).unwrap();
            refuse(&Disk::new(), dir.path()).unwrap_err();
            let dir = tempfile::tempdir().unwrap();
            std::os::unix::fs::symlink("nowhere", dir.path().join(name)).unwrap();
            refuse(&Disk::new(), dir.path()).unwrap_err();
        }
    }
}
