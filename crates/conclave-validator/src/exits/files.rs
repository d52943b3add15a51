//! Parts of voluntary exits, and signed ones, in a folder of their own.

use std::path::{Path, PathBuf};

use conclave_ceremony::files::{Disk, SECRET};
use conclave_ceremony::folder::{DataFolder, EXITS};

use super::{MAX_FILE_BYTES, Shelf};

/// The files of one data folder. The folder is made with the first of them.
#[derive(Debug)]
pub struct ExitFiles {
    disk: Disk,
    root: PathBuf,
}

impl ExitFiles {
    /// Of a data folder.
    pub fn new(folder: &DataFolder) -> Self {
        Self::at(folder.disk(), folder.root())
    }

    /// Of a data folder that another process may hold: each file counts by itself.
    pub fn at(disk: &Disk, root: &Path) -> Self {
        Self {
            disk: disk.clone(),
            root: root.join(EXITS),
        }
    }

    /// Everything that can be read, file by file. As [`Shelf::load`], but nothing is tidied up: another process may be at
    /// work there.
    pub fn known(&self) -> Vec<Vec<u8>> {
        let names = self.disk.list(&self.root).unwrap_or_default();
        names
            .iter()
            .filter_map(|name| self.disk.read(&self.root.join(name), MAX_FILE_BYTES as u64).ok())
            .collect()
    }
}

impl Shelf for ExitFiles {
    fn load(&self) -> Vec<Vec<u8>> {
        let _ = self.disk.remove_unfinished(&self.root);
        self.known()
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        self.disk
            .create_folder(&self.root)
            .and_then(|()| self.disk.replace(&self.root.join(name), bytes, SECRET))
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        let files = ExitFiles::new(&folder);
        assert!(files.load().is_empty());
        files.keep("b.json", b"two").unwrap();
        files.keep("a.json", b"one").unwrap();
        files.keep("a.json", b"three").unwrap();
        std::fs::write(dir.path().join(EXITS).join("large"), [0; MAX_FILE_BYTES + 1]).unwrap();
        assert_eq!(files.load(), [b"three".to_vec(), b"two".to_vec()]);
    }

    /// Wherever the machine stops or the disk is full: a part is the old one or the new one, and what is half is not read.
    #[test]
    fn a_part_is_kept_as_a_whole_or_stays_as_it_was() {
        for k in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let old = ExitFiles::at(&Disk::new(), dir.path());
            old.keep("part", b"the old part").unwrap();
            let full = ExitFiles::at(&conclave_ceremony::files::crashing_disk(k).0, dir.path());
            let kept = full.keep("part", b"the new part");
            let found = ExitFiles::at(&Disk::new(), dir.path()).load();
            assert_eq!(found.len(), 1);
            assert!(
                found[0] == b"the new part" || (found[0] == b"the old part" && kept.is_err()),
                "{k}"
            );
            if kept.is_ok() {
                assert!(k >= 4, "{k}");
                break;
            }
        }
    }
}
