//! The data folder of one operator: the names in it, one process at a time, and a look at it before a ceremony.
//!
//! ```text
//! charon-enr-private-key      the identity (secret)
//! cluster-definition.json     what the group agreed on
//! cluster-lock.json           the result; there only when everything else is
//! deposit-data*.json          for the launchpad
//! validator_keys/             keystore-N.json and keystore-N.txt (secret)
//! slashing-protection.redb    what the shares have signed
//! exits/                      parts of voluntary exits, and signed ones
//! run.sock                    where other commands talk to `run`, as long as it is at work
//! ceremony/                   ours: journal, attempts, names, the lock of this process
//! ```

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::attempt::Attempts;
use super::backups;
use super::files::{Cause, Disk, FileError, SECRET, is_folder, is_there};
use super::problem::Problem;
use super::publication;
use super::retirement::RETIRED;

/// How long a folder that another process holds is asked for.
const LINGERING: Duration = Duration::from_millis(250);

/// The identity: 64 hexadecimal digits.
pub const IDENTITY: &str = "charon-enr-private-key";
/// What the group agreed on.
pub const DEFINITION: &str = "cluster-definition.json";
/// The result.
pub const LOCK: &str = "cluster-lock.json";
/// Keystores and their passwords.
pub const VALIDATOR_KEYS: &str = "validator_keys";
/// What the shares have signed.
pub const SLASHING_PROTECTION: &str = conclave_slashing::FILE;
/// Our own folder.
pub const CEREMONY: &str = "ceremony";
/// The folder of exits that are under way, or signed.
pub const EXITS: &str = "exits";
/// The socket of a running node.
pub const SOCKET: &str = "run.sock";
/// Most bytes of a definition or a lock: 10,000 validators of 64 operators fit.
pub const MAX_JSON_BYTES: u64 = 256 * 1024 * 1024;

/// Refuses a data folder that is not there, for every command that needs one.
///
/// # Errors
/// If it is not there, or cannot be looked at.
pub fn require(root: &Path) -> Result<(), Problem> {
    if is_folder(root)? {
        return Ok(());
    }
    let why = if is_there(root)? {
        "something else has that name"
    } else {
        "your identity and all that belongs to it are looked for there"
    };
    Err(Problem::folder_state(
        format!("there is no folder {}", root.display()),
        why,
        "name the right folder with --data-dir. Only if you have no identity yet: make one with conclave identity new --name NAME",
    ))
}

/// The data folder of one operator, held by this process until it is dropped.
#[derive(Debug)]
pub struct DataFolder {
    disk: Disk,
    root: PathBuf,
    /// Locked as long as it is open; the operating system lets go of it even after a crash.
    _guard: File,
}

impl DataFolder {
    /// Opens a folder that is there, and keeps other processes out. Removes what a crash left unfinished or did not end, and seeds that
    /// have done their work.
    ///
    /// # Errors
    /// If it is not there; if another process holds it; anything the disk says.
    pub fn open(disk: &Disk, root: &Path) -> Result<Self, Problem> {
        require(root)?;
        let ceremony = root.join(CEREMONY);
        disk.create_folder(&ceremony)?;
        let path = ceremony.join("in-use");
        let guard = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| FileError {
                doing: "open",
                path: path.clone(),
                cause: error.into(),
            })?;
        match try_lock(&guard) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Problem::folder_state(
                    format!("the folder {} is in use", root.display()),
                    "another conclave process works in it",
                    "wait until that process has ended, or stop it; one identity must never run twice",
                ));
            }
            Err(TryLockError::Error(error)) => {
                return Err(Problem::other(
                    format!("cannot lock {}", path.display()),
                    error,
                    "use a folder on a local disk: without a lock two processes could damage it",
                ));
            }
        }
        let folder = Self {
            disk: disk.clone(),
            root: root.to_owned(),
            _guard: guard,
        };
        disk.remove_unfinished(root)?;
        disk.remove_unfinished(&ceremony)?;
        disk.remove_unfinished(&folder.keys())?;
        folder.attempts().tidy()?;
        publication::tidy(&folder)?;
        Ok(folder)
    }

    /// Ends what a crash did not end in a finished folder, as [`Self::open`] does, for commands that look at a folder which another process may
    /// hold. Whoever holds it has done so when it opened it. Where there is nothing to end, nothing is touched.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn end_leftovers(disk: &Disk, root: &Path) -> Result<(), Problem> {
        if !is_folder(&root.join(CEREMONY))? || !publication::has_leftovers(disk, root)? {
            return Ok(());
        }
        match Self::open(disk, root) {
            Err(problem) if problem.kind == super::problem::Kind::FolderState => Ok(()),
            opened => opened.map(drop),
        }
    }

    /// Opens a folder, making it (not its parents) if it is not there.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_or_create(disk: &Disk, root: &Path) -> Result<Self, Problem> {
        if !is_there(root)? {
            disk.create_folder(root)?;
        }
        Self::open(disk, root)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The way to the disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The identity's file.
    pub fn identity(&self) -> PathBuf {
        self.root.join(IDENTITY)
    }

    /// The definition's file.
    pub fn definition(&self) -> PathBuf {
        self.root.join(DEFINITION)
    }

    /// The lock's file.
    pub fn lock(&self) -> PathBuf {
        self.root.join(LOCK)
    }

    /// The folder of keystores.
    pub fn keys(&self) -> PathBuf {
        self.root.join(VALIDATOR_KEYS)
    }

    /// The slashing protection database's file.
    pub fn slashing_protection(&self) -> PathBuf {
        self.root.join(SLASHING_PROTECTION)
    }

    /// Our own folder.
    pub fn ceremony(&self) -> PathBuf {
        self.root.join(CEREMONY)
    }

    /// The journal's file.
    pub fn journal(&self) -> PathBuf {
        self.ceremony().join("journal")
    }

    /// The attempts: seeds, marks, staged keys.
    pub fn attempts(&self) -> Attempts {
        Attempts::new(self.disk.clone(), &self.ceremony())
    }

    /// The names of all outputs that are there: lock, deposit files, slashing protection, keystores.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn outputs(&self) -> Result<Vec<String>, FileError> {
        let mut found: Vec<String> = self
            .disk
            .list(&self.root)?
            .into_iter()
            .filter(|name| name == LOCK || name == SLASHING_PROTECTION || is_deposit_file(name))
            .collect();
        found.extend(
            self.disk
                .list(&self.keys())?
                .into_iter()
                .map(|name| format!("{VALIDATOR_KEYS}/{name}")),
        );
        Ok(found)
    }

    /// Keeps 32 bytes under a name in `ceremony/` at the first start, and refuses other ones later: for the
    /// definition hash and for what the network adds to it. A file that is damaged says nothing, and is written anew.
    ///
    /// # Errors
    /// If other bytes were kept before; `what` names the thing for the user.
    pub fn pin(&self, name: &str, what: &str, value: &[u8; 32]) -> Result<(), Problem> {
        let path = self.ceremony().join(name);
        let text = hex::encode(value);
        let kept = match self.disk.read(&path, text.len() as u64) {
            Err(error) if error.is_missing() => {
                return Ok(self.disk.write_new(&path, text.as_bytes(), SECRET)?);
            }
            Err(error) if matches!(error.cause, Cause::TooLarge(_)) => Vec::new(),
            kept => kept?,
        };
        if kept == text.as_bytes() {
            return Ok(self.disk.sync_folder(&self.ceremony())?);
        }
        if hex::decode_to_slice(&kept, &mut [0; 32]).is_err() {
            return Ok(self.disk.replace(&path, text.as_bytes(), SECRET)?);
        }
        Err(Problem::folder_state(
            format!("the folder {} belongs to another ceremony", self.root.display()),
            format!("it was begun with another {what}"),
            if self.outputs()?.is_empty() {
                format!(
                    "use the files this ceremony was begun with. If they were the wrong ones, {}",
                    backups::START_ANEW
                )
            } else {
                backups::ANOTHER_CEREMONY.to_owned()
            },
        ))
    }

    /// Whether [`pin`](Self::pin) has kept these bytes under that name.
    ///
    /// # Errors
    /// Anything the disk says.
    pub fn has_pinned(&self, name: &str, value: &[u8; 32]) -> Result<bool, FileError> {
        let text = hex::encode(value);
        match self.disk.read(&self.ceremony().join(name), text.len() as u64) {
            Ok(kept) => Ok(kept == text.as_bytes()),
            Err(error) if error.is_missing() || matches!(error.cause, Cause::TooLarge(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Refuses outputs of which nothing here says that they are of the ceremony that is to be held.
    ///
    /// # Errors
    /// If there are any; anything the disk says.
    pub fn refuse_outputs(&self) -> Result<(), Problem> {
        let outputs = self.outputs()?;
        let Some(first) = outputs.first() else {
            return Ok(());
        };
        let others = outputs.len() - 1;
        let more = if others == 0 {
            String::new()
        } else {
            format!(" and {others} more")
        };
        let finish = if outputs.iter().any(|name| name == LOCK) {
            "see what conclave verify says of this folder".to_owned()
        } else {
            format!("put another operator's {LOCK} into it and see what conclave verify says")
        };
        Err(Problem::folder_state(
            format!(
                "the folder {} holds the results of an earlier ceremony",
                self.root.display()
            ),
            format!("{first}{more} is there, and nothing is ever overwritten"),
            format!(
                "if they are the results of this very ceremony, it is finished: {finish}. For another one use a new folder with a new identity, and a definition that names it. \
                 Keep this one safe, it may hold the only shares of a key"
            ),
        ))
    }

    /// Looks whether a ceremony could be carried to its end here, before anything is sent: a disk that can be written, and room for
    /// `needed` bytes.
    ///
    /// # Errors
    /// With what is in the way.
    pub fn preflight(&self, needed: u64) -> Result<(), Problem> {
        for folder in [self.root.clone(), self.ceremony()] {
            let probe = folder.join(".conclave-unfinished-probe");
            self.disk.remove(&probe)?;
            self.disk.write_in_place(&probe, &[0x55; 4096], SECRET)?;
            self.disk.remove(&probe)?;
        }
        let free = self.disk.free_bytes(&self.root)?;
        if free < needed {
            return Err(Problem::other(
                format!("there is not enough room in {}", self.root.display()),
                format!(
                    "the ceremony needs about {} and {} are free",
                    bytes(needed),
                    bytes(free)
                ),
                "free some space, or use a folder on another disk; nothing was begun",
            ));
        }
        Ok(())
    }
}

/// An upper estimate of what a ceremony writes, in bytes: journals of several attempts, keystores, files.
/// `amounts` is the number of deposits of each validator.
pub fn needed_bytes(operators: u32, threshold: u32, validators: u32, amounts: usize) -> u64 {
    let (n, t, v) = (u64::from(operators), u64::from(threshold), u64::from(validators));
    let amounts = amounts as u64;
    let deal = v * (t * 96 + n * 64) + n * 64;
    let reveal = v * t * 96 + 300;
    let sign = v * (amounts + 1) * 192;
    let entries = n * (deal + reveal + sign + 8 * n * 40 + 4096);
    // A journal is written twice when it is healed or compacted; small files fill whole blocks.
    let keys = v * 2 * 4096;
    let lock = v * (n * 110 + amounts * 450 + 800) + 1024 * n;
    2 * entries + keys + 3 * lock + 1024 * 1024
}

/// The validator's number (from 0) in the name of a keystore as ceremonies name them: `keystore-N.json`, or `keystore-insecure-N.json`
/// of a test cluster. The names that other tools give hold other numbers.
pub fn key_file_number(path: &Path) -> Option<usize> {
    let stem = path.file_stem()?.to_str()?;
    let digits = stem
        .strip_prefix("keystore-insecure-")
        .or_else(|| stem.strip_prefix("keystore-"))?;
    // Only as it is written: keystore-007 and keystore-7 would be one validator.
    digits.parse().ok().filter(|n: &usize| n.to_string() == digits)
}

/// The operator's folder in which a path is, if it is in one: that has an identity together with key shares or a ceremony, or the mark of one
/// that has moved. A copy of an identity alone, on a stick, makes none. The path itself is not looked at, and need not be there.
pub fn around(path: &Path) -> Option<PathBuf> {
    let absolute = path.canonicalize().or_else(|_| std::path::absolute(path)).ok()?;
    let there = absolute
        .ancestors()
        .skip(1)
        .find_map(|folder| folder.canonicalize().ok())?;
    let is_operators = |folder: &&Path| {
        let has = |name| folder.join(name).symlink_metadata().is_ok();
        has(IDENTITY) && (has(VALIDATOR_KEYS) || has(CEREMONY)) || folder.join(RETIRED).is_file()
    };
    there.ancestors().find(is_operators).map(Path::to_owned)
}

/// Refuses a place for a new folder within an operator's folder.
///
/// # Errors
/// With the folder that it is in.
pub fn refuse_within(root: &Path) -> Result<(), Problem> {
    let Some(around) = around(root) else {
        return Ok(());
    };
    Err(Problem::bad_input(
        format!("{} is in the folder of an operator", root.display()),
        format!("whoever removes {} removes it, too", around.display()),
        "name a new folder outside of it with --data-dir",
    ))
}

/// Whether a file name is that of a deposit file.
pub fn is_deposit_file(name: &str) -> bool {
    name.starts_with("deposit-data") && Path::new(name).extension().is_some_and(|e| e == "json")
}

/// Takes the lock of a folder. One that somebody has is asked for again for a moment: a process that is being started holds copies of all
/// files of its parent until it is another program, and one that was killed holds its own until it is gone.
fn try_lock(file: &File) -> Result<(), TryLockError> {
    let until = Instant::now() + LINGERING;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < until => sleep(LINGERING / 10),
            answer => return answer,
        }
    }
}

fn bytes(count: u64) -> String {
    const MIB: u64 = 1024 * 1024;
    if count >= MIB {
        format!("{} MiB", count.div_ceil(MIB))
    } else {
        format!("{} KiB", count / 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::Kind;
    use super::*;

    #[test]
    fn who_is_gone_in_a_moment_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        let going = std::thread::spawn(move || {
            sleep(LINGERING / 4);
            drop(first);
        });
        DataFolder::open(&Disk::new(), dir.path()).unwrap();
        going.join().unwrap();
    }

    #[test]
    fn what_is_in_an_operators_folder_is_known_through_links_and_before_it_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        assert_eq!(around(&root.join("anything")), None);
        for name in [IDENTITY, VALIDATOR_KEYS, CEREMONY] {
            let folder = root.join(format!("only {name}"));
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join(name), "").unwrap();
            assert_eq!(around(&folder.join("new")), None, "{name}");
        }
        for names in [&[IDENTITY, VALIDATOR_KEYS][..], &[IDENTITY, CEREMONY], &[RETIRED]] {
            let name = names.join(" and ");
            let folder = root.join(format!("of {name}"));
            std::fs::create_dir(&folder).unwrap();
            for name in names {
                std::fs::write(folder.join(name), "").unwrap();
            }
            let link = root.join(format!("to {name}"));
            std::os::unix::fs::symlink(&folder, &link).unwrap();
            for inside in ["new", "not/there/yet", "."] {
                let expected = (inside != ".").then(|| folder.clone());
                assert_eq!(around(&folder.join(inside)), expected, "{inside}");
            }
            assert_eq!(around(&link.join("new")), Some(folder));
        }
    }

    #[test]
    fn only_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        let problem = DataFolder::open(&Disk::new(), dir.path()).unwrap_err();
        assert_eq!(problem.kind, Kind::FolderState);
        assert!(problem.what.contains("in use"));
        drop(first);
        DataFolder::open(&Disk::new(), dir.path()).unwrap();
    }

    #[test]
    fn a_missing_folder_is_only_made_on_request() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("new");
        assert_eq!(
            DataFolder::open(&Disk::new(), &root).unwrap_err().kind,
            Kind::FolderState
        );
        assert!(!root.exists());
        DataFolder::open_or_create(&Disk::new(), &root).unwrap();
        assert!(root.is_dir());
    }

    #[test]
    fn outputs_of_an_earlier_ceremony_are_in_the_way() {
        for name in [
            LOCK,
            "deposit-data.json",
            "deposit-data-1eth.json",
            "validator_keys/keystore-0.json",
            SLASHING_PROTECTION,
        ] {
            let dir = tempfile::tempdir().unwrap();
            let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
            folder.refuse_outputs().unwrap();
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "precious").unwrap();
            let problem = folder.refuse_outputs().unwrap_err();
            assert_eq!(problem.kind, Kind::FolderState);
            assert!(problem.why.contains(name), "{problem:?}");
            let has_lock = name == LOCK;
            assert_eq!(
                problem.what_to_do.contains("another operator's"),
                !has_lock,
                "{problem:?}"
            );
            assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        }
    }

    #[test]
    fn too_little_room_is_noticed_before() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        let problem = folder.preflight(u64::MAX).unwrap_err();
        assert_eq!(problem.kind, Kind::Other);
        assert!(problem.what.contains("room"));
    }

    #[test]
    fn an_empty_keys_folder_is_not_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        std::fs::create_dir(folder.keys()).unwrap();
        folder.refuse_outputs().unwrap();
        folder.preflight(4096).unwrap();
        assert_eq!(
            Disk::new().list(dir.path()).unwrap(),
            [CEREMONY, VALIDATOR_KEYS],
            "no probes stay"
        );
    }

    #[test]
    fn what_was_pinned_stays() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(&Disk::new(), dir.path()).unwrap();
        folder.pin("net", "network", &[1; 32]).unwrap();
        folder.pin("net", "network", &[1; 32]).unwrap();
        let problem = folder.pin("net", "network", &[2; 32]).unwrap_err();
        assert!(problem.why.contains("another network"));
        assert_eq!(problem.kind, Kind::FolderState);
        // Of a folder with results nobody is told to leave it alone and go on with its key elsewhere.
        assert!(problem.what_to_do.contains(backups::START_ANEW), "{problem:?}");
        std::fs::write(folder.lock(), "precious").unwrap();
        let problem = folder.pin("net", "network", &[2; 32]).unwrap_err();
        assert_eq!(problem.what_to_do, backups::ANOTHER_CEREMONY);
        std::fs::remove_file(folder.lock()).unwrap();
        // Damage is healed, and is no other ceremony.
        let path = folder.ceremony().join("net");
        for damaged in [Vec::new(), vec![0; 64], vec![b'0'; 63], vec![b'0'; 5000]] {
            std::fs::write(&path, &damaged).unwrap();
            folder.pin("net", "network", &[1; 32]).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), hex::encode([1; 32]).as_bytes());
        }
    }

    #[test]
    fn the_estimate_grows_with_everything() {
        let small = needed_bytes(4, 3, 1, 1);
        assert!((1..4).contains(&(small / 1024 / 1024)), "{small}");
        assert!(needed_bytes(4, 3, 100, 1) > small);
        assert!(needed_bytes(64, 43, 10_000, 256) > needed_bytes(64, 43, 10_000, 1));
    }
}
