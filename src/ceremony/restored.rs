//! A folder that was restored from a backup has forgotten what its share signed since. A mark says so until the slashing protection
//! is there and bears the same mark ([`crate::validator::guard::Mark::Restored`]); that one goes with the first attestation after
//! the wait.
//!
//! The mark is a file in the data folder. It lies in every backup, so that it is there whoever unpacks one, and however.

use std::path::Path;

use super::files::{Disk, FileError, SECRET};

/// The mark's file.
pub const RESTORED: &str = "RESTORED";

/// What is in it, for people.
pub const TEXT: &[u8] = b"This folder was restored from a backup, or is one. What its share signed after the backup was made is not in it.\n\
conclave run asks whether the original is gone for good, has the other operators tell what they remember, and waits. Leave this file here.\n";

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
        Err(_) => disk.read(&path, 1 << 16).map(|_| true),
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
