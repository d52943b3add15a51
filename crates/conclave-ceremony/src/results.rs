//! What a folder has of a ceremony's results when nothing is left to do: what people are told to be there is looked for, and opened.

use std::path::Path;

use super::{
    files::Disk,
    folder::{LOCK, SLASHING_PROTECTION, VALIDATOR_KEYS, is_deposit_file},
    holding,
    keystores::KeyFile,
    problem::{Kind, Problem, Unread},
    randomness::weight_seed,
    restored,
    verify::{Item, Material, verify_with},
};
use conclave_cluster::{
    lock::{Lock, MAX_FILE},
    wallets::Wallets,
};
use conclave_eth::{
    deposit::{MAX_FILE_BYTES, deposit_file_name},
    network::Network,
};

/// What is there beside lock, identity and shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Results {
    /// The deposit files.
    pub deposits: Vec<String>,
    /// Deposit files that the ceremony made and that are not there.
    pub absent: Vec<String>,
    /// The record of what the shares have signed.
    pub memory: Memory,
}

/// What a folder says of what its shares have signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// The slashing protection is there.
    Here,
    /// There is none.
    Missing,
    /// The folder was restored from a backup, and the others have not been asked yet.
    Restored,
}

/// Opens all that is in a folder: the lock, the identity, every share; and compares the deposit files with the lock. Takes its time.
///
/// # Errors
/// With what is missing, damaged or not this operator's, and that nothing may be deposited.
pub fn check(disk: &Disk, root: &Path, network: &Network) -> Result<Results, Problem> {
    let opened = holding::open_beside(disk, root, Some(network));
    let holding = opened.map_err(|problem| Problem {
        what_to_do: format!(
            "do not deposit before that is mended; {}. Without a backup, or a copy of the folder, what is lost stays lost: tell the others",
            problem.what_to_do
        ),
        ..problem
    })?;
    let results = list(disk, root, &holding.lock)?;
    check_deposits(disk, root, &results.deposits, network)?;
    Ok(results)
}

/// Looks what is in a folder that was filled a moment ago; opens nothing.
///
/// # Errors
/// If a keystore or its password is missing; if the lock cannot be read; anything the disk says.
pub fn look(disk: &Disk, root: &Path) -> Result<Results, Problem> {
    let path = root.join(LOCK);
    let lock = Lock::from_json(&disk.read(&path, MAX_FILE as u64)?).map_err(|error| {
        Problem::folder_state(
            format!("{} cannot be read any more", path.display()),
            error,
            format!("take another operator's {LOCK}; do not deposit before that"),
        )
    })?;
    let keys = root.join(VALIDATOR_KEYS);
    let files = KeyFile::all(disk, &keys)?;
    let whole = files.iter().filter(|file| file.has_own_password).count();
    let all = lock.validators().len();
    if whole < all {
        return Err(Problem::folder_state(
            format!("{} keystores are not in {} any more", all - whole, keys.display()),
            format!("{all} were put there with their passwords"),
            "find out who took them away, and put them back; do not deposit before that",
        ));
    }
    list(disk, root, &lock)
}

fn list(disk: &Disk, root: &Path, lock: &Lock) -> Result<Results, Problem> {
    let names = disk.list(root)?;
    let mut amounts: Vec<u64> = lock
        .validators()
        .iter()
        .flat_map(|validator| &validator.deposits)
        .map(|deposit| deposit.amount)
        .collect();
    amounts.sort_unstable();
    amounts.dedup();
    let wanted = amounts.into_iter().map(deposit_file_name);
    let memory = if restored::is_marked(disk, root)? {
        Memory::Restored
    } else if names.iter().any(|name| name == SLASHING_PROTECTION) {
        Memory::Here
    } else {
        Memory::Missing
    };
    Ok(Results {
        absent: wanted.filter(|name| !names.contains(name)).collect(),
        deposits: names.into_iter().filter(|name| is_deposit_file(name)).collect(),
        memory,
    })
}

/// Whether the deposit files are the lock's.
fn check_deposits(disk: &Disk, root: &Path, names: &[String], network: &Network) -> Result<(), Problem> {
    let read = |name: &str, limit: usize| {
        let path = root.join(name);
        let content = disk.read(&path, limit as u64);
        Item {
            file: path.display().to_string(),
            content: content.map_err(Unread::from),
        }
    };
    let material = Material {
        lock: Some(read(LOCK, MAX_FILE)),
        deposits: names.iter().map(|name| read(name, MAX_FILE_BYTES)).collect(),
        ..Material::default()
    };
    let wallets = Wallets::unchecked();
    let result = verify_with(&[material], Some(network), &weight_seed()?, &wallets);
    let failure = result.failures().next();
    failure.map_or(Ok(()), |row| {
        Err(Problem::new(
            Kind::Verification,
            format!("{} is not what the ceremony made", row.file),
            format!("{}: {}", row.check, row.outcome.reason().unwrap_or_default()),
            "do not deposit with it: move it away, and take another operator's, which is the same for all; conclave verify shows whether \
             it is good",
        ))
    })
}
