//! What one attempt keeps beside the journal: its seed, its marks and its staged keys, in `ceremony/attempt-K/`.
//!
//! "Voted", "signed" and "dead" are said twice, in the journal and here: a mark is durable before the entry is
//! appended, so that a journal that was cut or lost cannot make an operator vote or sign against its own word.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rand::TryRng;
use zeroize::Zeroizing;

use super::backups;
use super::files::{Cause, Disk, FileError, SECRET, has_name, is_folder, is_there};
use super::problem::Problem;

/// What an operator has said about an attempt, and can never take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mark {
    /// It voted: its keystores are durable and it sends, or has sent, `Stored`.
    Voted,
    /// It sends, or has sent, `Sign`.
    Signed,
    /// It will never vote for this attempt.
    Dead,
}

impl Mark {
    const ALL: [Self; 3] = [Self::Voted, Self::Signed, Self::Dead];

    fn name(self) -> &'static str {
        match self {
            Self::Voted => "voted",
            Self::Signed => "signed",
            Self::Dead => "dead",
        }
    }
}

/// The secret from which everything that an operator sends in an attempt is derived: 32 bytes.
pub type Seed = Zeroizing<[u8; 32]>;

/// The seed's file.
pub(super) const SEED: &str = "seed";
/// Says that there was a seed, and that none is ever made again.
pub(super) const SEED_DESTROYED: &str = "seed-destroyed";
/// What the names of attempts' folders begin with.
const ATTEMPT: &str = "attempt-";

/// Of a file's name in the `ceremony/` folder: the folder of the attempt that it is of, and its name in there.
pub(super) fn of_attempt(name: &str) -> Option<(&str, &str)> {
    let (folder, rest) = name.split_once('/')?;
    let digits = folder.strip_prefix(ATTEMPT)?;
    digits.parse::<u32>().ok().map(|_| (folder, rest))
}

/// The folders of all attempts of a ceremony.
#[derive(Clone, Debug)]
pub struct Attempts {
    disk: Disk,
    /// The `ceremony/` folder.
    ceremony: PathBuf,
}

impl Attempts {
    /// The attempts under a `ceremony/` folder.
    pub fn new(disk: Disk, ceremony: &Path) -> Self {
        Self {
            disk,
            ceremony: ceremony.to_owned(),
        }
    }

    /// The folder of attempt `k`.
    pub fn folder(&self, k: u32) -> PathBuf {
        self.ceremony.join(format!("{ATTEMPT}{k}"))
    }

    /// The numbers of all attempts that have a folder, ascending.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn numbers(&self) -> Result<Vec<u32>, FileError> {
        let mut numbers: Vec<u32> = Vec::new();
        for name in self.disk.list(&self.ceremony)? {
            if let Some(k) = name.strip_prefix(ATTEMPT).and_then(|k| k.parse().ok())
                && is_folder(&self.folder(k))?
            {
                numbers.push(k);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Makes a mark, durably. Making it again does nothing.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn mark(&self, k: u32, mark: Mark) -> Result<(), FileError> {
        self.disk.create_folder(&self.folder(k))?;
        self.disk
            .write_new_or_same(&self.folder(k).join(mark.name()), b"", SECRET)
    }

    /// All marks of all attempts. Whatever has a mark's name is a mark: not to vote is the safe side.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn marks(&self) -> Result<BTreeMap<u32, BTreeSet<Mark>>, FileError> {
        let mut marks = BTreeMap::new();
        for k in self.numbers()? {
            let names = self.disk.list(&self.folder(k))?;
            let found: BTreeSet<Mark> = Mark::ALL
                .into_iter()
                .filter(|mark| names.iter().any(|name| name == mark.name()))
                .collect();
            if !found.is_empty() {
                marks.insert(k, found);
            }
        }
        Ok(marks)
    }

    /// The seed of attempt `k`, if it is there.
    ///
    /// # Errors
    /// If it has another length than 32 bytes; anything the disk says.
    pub fn seed(&self, k: u32) -> Result<Option<Seed>, Problem> {
        let path = self.folder(k).join(SEED);
        let bytes = match self.disk.read_secret(&path, 32) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) if !matches!(error.cause, Cause::TooLarge(_)) => return Err(error.into()),
            Err(_) => Zeroizing::new(Vec::new()),
        };
        let mut seed = Zeroizing::new([0; 32]);
        // A seed of zeros is one whose destruction was interrupted.
        if bytes.len() != seed.len() || bytes.iter().all(|byte| *byte == 0) {
            return Err(Problem::folder_state(
                format!("the seed of attempt {k} is damaged"),
                format!("{} does not hold 32 secret bytes", path.display()),
                format!(
                    "{}. Or, if there is none, move it away: if you have confirmed your shares, the ceremony goes on with their keystores; else \
                     it goes on in the next attempt",
                    backups::PUT_BACK
                ),
            ));
        }
        seed.copy_from_slice(&bytes);
        Ok(Some(seed))
    }

    /// Makes the seed of attempt `k` from the operating system's randomness; durable when this returns. It is made
    /// once: never again after it was there, nor after it was destroyed.
    ///
    /// # Errors
    /// If there is, or was, one; if there is no randomness; anything the disk says.
    pub fn create_seed(&self, k: u32) -> Result<Seed, Problem> {
        let folder = self.folder(k);
        self.disk.create_folder(&folder)?;
        if is_there(&folder.join(SEED_DESTROYED))? {
            return Err(Problem::folder_state(
                format!("attempt {k} is over"),
                "its seed was destroyed",
                "run the same command again",
            ));
        }
        let mut seed = Zeroizing::new([0; 32]);
        rand::rngs::SysRng
            .try_fill_bytes(seed.as_mut_slice())
            .map_err(|error| {
                Problem::other(
                    "cannot make a seed",
                    error,
                    "the operating system gives no randomness: run the command on another machine",
                )
            })?;
        self.disk.write_new(&folder.join(SEED), seed.as_slice(), SECRET)?;
        Ok(seed)
    }

    /// Destroys the seed of attempt `k`: that this was wanted is durable first, then it is overwritten and unlinked.
    /// May be repeated after a crash.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn destroy_seed(&self, k: u32) -> Result<(), FileError> {
        let folder = self.folder(k);
        self.disk.create_folder(&folder)?;
        self.disk
            .write_new_or_same(&folder.join(SEED_DESTROYED), b"", SECRET)?;
        self.disk.destroy(&folder.join(SEED))
    }

    /// Whether this attempt still has its seed.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn has_seed(&self, k: u32) -> Result<bool, FileError> {
        has_name(&self.folder(k).join(SEED))
    }

    /// Whether an attempt still has its seed.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn have_seeds(&self) -> Result<bool, FileError> {
        for k in self.numbers()? {
            if self.has_seed(k)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Destroys the seeds of all attempts that still have one.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn destroy_seeds(&self) -> Result<(), FileError> {
        for k in self.numbers()? {
            if self.has_seed(k)? {
                self.destroy_seed(k)?;
            }
        }
        Ok(())
    }

    /// Finishes destructions that a crash interrupted and removes unfinished files: for every start.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn tidy(&self) -> Result<(), FileError> {
        for k in self.numbers()? {
            let folder = self.folder(k);
            if is_there(&folder.join(SEED_DESTROYED))? {
                self.disk.destroy(&folder.join(SEED))?;
            }
            self.disk.remove_unfinished(&folder)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::crashing_disk;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn marks_stay_and_may_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let attempts = Attempts::new(Disk::new(), dir.path());
        assert!(attempts.marks().unwrap().is_empty());
        attempts.mark(1, Mark::Dead).unwrap();
        attempts.mark(1, Mark::Dead).unwrap();
        attempts.mark(12, Mark::Voted).unwrap();
        attempts.mark(12, Mark::Signed).unwrap();
        let marks = attempts.marks().unwrap();
        assert_eq!(marks.keys().copied().collect::<Vec<_>>(), [1, 12]);
        assert_eq!(marks[&1], BTreeSet::from([Mark::Dead]));
        assert_eq!(marks[&12], BTreeSet::from([Mark::Voted, Mark::Signed]));
    }

    #[test]
    fn no_seed_is_made_where_nobody_can_see_whether_it_was_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let attempts = Attempts::new(Disk::new(), dir.path());
        let folder = attempts.folder(1);
        Disk::new().create_folder(&folder).unwrap();
        std::os::unix::fs::symlink(folder.join(SEED_DESTROYED), folder.join(SEED_DESTROYED)).unwrap();
        assert!(attempts.create_seed(1).is_err() && attempts.tidy().is_err());
        assert!(!folder.join(SEED).exists());
    }

    #[test]
    fn a_mark_is_durable_whenever_it_was_said_to_be() {
        for k in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let done = Attempts::new(crashing_disk(k).0, dir.path())
                .mark(3, Mark::Voted)
                .is_ok();
            let after = Attempts::new(Disk::new(), dir.path());
            assert!(!done || after.marks().unwrap()[&3].contains(&Mark::Voted));
            after.tidy().unwrap();
            after.mark(3, Mark::Voted).unwrap();
            assert_eq!(Disk::new().list(&after.folder(3)).unwrap(), ["voted"]);
            if done {
                break;
            }
        }
    }

    #[test]
    fn a_seed_is_made_once_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let attempts = Attempts::new(Disk::new(), dir.path());
        assert!(attempts.seed(1).unwrap().is_none());
        let seed = attempts.create_seed(1).unwrap();
        assert_eq!(*attempts.seed(1).unwrap().unwrap(), *seed);
        assert_ne!(*attempts.create_seed(2).unwrap(), *seed);
        let mode = std::fs::metadata(attempts.folder(1).join("seed"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(attempts.create_seed(1).is_err());
        attempts.destroy_seed(1).unwrap();
        attempts.destroy_seed(1).unwrap();
        assert!(attempts.seed(1).unwrap().is_none());
        assert!(
            attempts.create_seed(1).is_err(),
            "never a second seed for one attempt"
        );
    }

    #[test]
    fn a_crash_while_destroying_is_finished_later_and_never_gives_a_wrong_seed() {
        for k in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let attempts = Attempts::new(Disk::new(), dir.path());
            let seed = attempts.create_seed(1).unwrap();
            let done = Attempts::new(crashing_disk(k).0, dir.path())
                .destroy_seed(1)
                .is_ok();
            if let Ok(Some(left)) = attempts.seed(1) {
                assert_eq!(*left, *seed);
            }
            let wanted = attempts.folder(1).join("seed-destroyed").exists();
            attempts.tidy().unwrap();
            assert_eq!(attempts.seed(1).unwrap().is_none(), wanted);
            if done {
                break;
            }
        }
    }

    #[test]
    fn a_damaged_seed_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let attempts = Attempts::new(Disk::new(), dir.path());
        std::fs::create_dir(attempts.folder(1)).unwrap();
        for content in [&b""[..], &[1; 31], &[1; 33], &[0; 32]] {
            std::fs::write(attempts.folder(1).join("seed"), content).unwrap();
            assert!(attempts.seed(1).is_err());
            assert!(attempts.create_seed(1).is_err());
        }
    }
}
