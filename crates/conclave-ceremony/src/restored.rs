//! A folder that was restored from a backup has forgotten what its share signed since. A mark says so until the slashing protection
//! is there and bears the same mark ([`conclave_slashing::Mark::Restored`]); that one goes with the first attestation after
//! the wait.
//!
//! The mark is a file in the data folder. It lies in every backup, so that it is there whoever unpacks one, and however. Once somebody
//! wants to start the folder, it holds a number as well, which no other restored folder has: whoever says without being asked that the original
//! is gone says so of this one folder, and of no later one.

use std::path::Path;

use rand::TryRng;

use super::{
    files::{Disk, FileError, SECRET},
    problem::Problem,
};

/// The mark's file.
pub const RESTORED: &str = "RESTORED";

/// What is in it, for people.
pub const TEXT: &[u8] = b"This folder was restored from a backup, or is one. What its share signed after the backup was made is not in it.\n\
conclave run asks whether the original is gone for good, has the other operators tell what they remember, and waits. Leave this file here.\n";

/// What comes before the number in it.
const NUMBER: &str = "The number of this folder: ";
/// Bytes of a number.
const NUMBER_BYTES: usize = 4;
/// More is no such file, and has no number.
const MAX_BYTES: u64 = 1 << 16;

/// The number of a folder that bears the mark, as people see it: 8 hexadecimal digits. Made when it is first asked for, and durable.
///
/// # Errors
/// Anything the disk says; if there is no randomness.
pub fn number(disk: &Disk, root: &Path) -> Result<String, Problem> {
    let path = root.join(RESTORED);
    // Whatever else is there holds none.
    let text = disk.read(&path, MAX_BYTES).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let is_one = |digits: &&str| {
        let hexadecimal = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        digits.len() == 2 * NUMBER_BYTES && digits.bytes().all(hexadecimal)
    };
    let mut known = text.lines().filter_map(|line| line.strip_prefix(NUMBER));
    if let Some(number) = known.find(is_one) {
        return Ok(number.to_owned());
    }
    let mut bytes = [0; NUMBER_BYTES];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(|error| {
        Problem::other(
            "cannot give this folder a number",
            error,
            "the operating system gives no randomness: run the command on another machine",
        )
    })?;
    let number = hex::encode(bytes);
    let mut text = TEXT.to_vec();
    text.extend_from_slice(format!("{NUMBER}{number}\n").as_bytes());
    disk.replace(&path, &text, SECRET)?;
    Ok(number)
}

/// Whether a folder bears the mark: anything of that name is one.
///
/// # Errors
/// If that cannot be known.
pub fn is_marked(disk: &Disk, root: &Path) -> Result<bool, FileError> {
    let path = root.join(RESTORED);
    match std::fs::symlink_metadata(&path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        // Reading says in the usual way what is wrong.
        Err(_) => disk.read(&path, MAX_BYTES).map(|_| true),
    }
}

/// Marks a folder, durably.
///
/// # Errors
/// Anything the disk says.
pub fn mark(disk: &Disk, root: &Path) -> Result<(), FileError> {
    if is_marked(disk, root)? {
        return Ok(());
    }
    disk.write_new(&root.join(RESTORED), TEXT, SECRET)
}

/// Takes the mark away, once the slashing protection bears it.
///
/// # Errors
/// Anything the disk says: then it stays.
pub fn unmark(disk: &Disk, root: &Path) -> Result<(), FileError> {
    disk.remove(&root.join(RESTORED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_folder_has_a_number_of_its_own_and_keeps_it() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let disk = Disk::new();
        for dir in [&one, &other] {
            mark(&disk, dir.path()).unwrap();
        }
        let first = number(&disk, one.path()).unwrap();
        assert!(first.len() == 8 && first.bytes().all(|c| c.is_ascii_hexdigit()));
        assert_eq!(number(&disk, one.path()).unwrap(), first);
        assert_ne!(number(&disk, other.path()).unwrap(), first);
        // The mark was made anew: that is another restoration.
        unmark(&disk, one.path()).unwrap();
        mark(&disk, one.path()).unwrap();
        let second = number(&disk, one.path()).unwrap();
        assert_ne!(second, first);
        // What is no number is none; the mark stays, wherever the machine stops.
        let short = b"The number of this folder: 1234\n".to_vec();
        for text in [Vec::new(), short, vec![0xff; 70_000]] {
            for k in 0.. {
                std::fs::write(one.path().join(RESTORED), &text).unwrap();
                let made = number(&super::super::files::crashing_disk(k).0, one.path());
                assert!(is_marked(&disk, one.path()).unwrap());
                if let Ok(made) = made {
                    assert_eq!(number(&disk, one.path()).unwrap(), made);
                    break;
                }
            }
        }
    }

    #[test]
    fn whatever_bears_the_name_is_a_mark() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::new();
        assert!(!is_marked(&disk, dir.path()).unwrap());
        mark(&disk, dir.path()).unwrap();
        mark(&disk, dir.path()).unwrap();
        assert!(is_marked(&disk, dir.path()).unwrap());
        unmark(&disk, dir.path()).unwrap();
        assert!(!is_marked(&disk, dir.path()).unwrap());
        std::os::unix::fs::symlink("nowhere", dir.path().join(RESTORED)).unwrap();
        assert!(is_marked(&disk, dir.path()).unwrap());
    }
}
