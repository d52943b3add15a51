//! What a finished ceremony left in a folder, opened for work: the lock, who this operator is, and its shares.
//!
//! Folders of other software with the same layout are as good: keystores are told apart by their keys, not their names.

use std::{collections::HashMap, path::Path};

use rayon::prelude::*;

use crate::{
    cluster::lock::{Lock, MAX_FILE},
    crypto::bls::SecretKey,
    ethereum::{
        keystore::{Keystore, Password},
        network::Network,
    },
};

use super::{
    files::Disk,
    folder::{DataFolder, LOCK},
    identity::Identity,
    names::Names,
    problem::{Kind, Problem},
    randomness::weight_seed,
};

/// Most bytes of a keystore or a password.
const MAX_KEY_FILE_BYTES: u64 = 64 * 1024;

/// Everything that validating needs from the folder.
pub struct Holding {
    /// The verified lock.
    pub lock: Lock,
    /// Whose folder this is.
    pub identity: Identity,
    /// Its number in the lock, from 1.
    pub operator: u16,
    /// The operators' display names, in the order of the lock.
    pub names: Vec<String>,
    /// This operator's share of each validator, in the order of the lock.
    pub shares: Vec<SecretKey>,
}

/// Reads and verifies the lock and finds this operator in it; opens no keystore.
///
/// # Errors
/// If there is no lock, or one that does not verify; if the identity is not one of its operators.
pub fn examine(
    folder: &DataFolder,
    network: Option<&Network>,
) -> Result<(Lock, Identity, u16, Vec<String>), Problem> {
    examine_beside(folder.disk(), folder.root(), network)
}

/// As [`examine`], in a folder that another process may hold: nothing that is read here ever changes.
///
/// # Errors
/// As [`examine`].
pub fn examine_beside(
    disk: &Disk,
    root: &Path,
    network: Option<&Network>,
) -> Result<(Lock, Identity, u16, Vec<String>), Problem> {
    let path = root.join(LOCK);
    if !path.exists() {
        return Err(Problem::folder_state(
            format!("there is no cluster-lock.json in {}", root.display()),
            "the ceremony in this folder is not finished, or this is another folder",
            "finish it with conclave join, or name the right folder with --data-dir",
        ));
    }
    let bytes = disk.read(&path, MAX_FILE as u64)?;
    let refused = |why: String| {
        Problem::new(
            Kind::LockRefused,
            format!("{} is not a lock to validate with", path.display()),
            why,
            "run conclave verify on this folder; restore the lock from a backup or from another operator",
        )
    };
    let lock = Lock::from_json(&bytes).map_err(|error| refused(error.to_string()))?;
    let report = lock.verify(network, &weight_seed()?);
    if let Some(failure) = report.failures().next() {
        let why = failure.outcome.reason().unwrap_or_default();
        return Err(refused(format!("{}: {why}", failure.name)));
    }
    let identity = Identity::load(disk, root)?;
    let own = identity.key().public();
    let operators = &lock.definition().operators;
    let operator = operators
        .iter()
        .position(|operator| *operator.enr.node_public_key() == own)
        .and_then(|place| u16::try_from(place + 1).ok())
        .ok_or_else(|| refused("it does not name the identity in this folder".to_owned()))?;
    let names = Names::load(disk, root)?;
    let names = operators
        .iter()
        .map(|operator| names.of(operator.enr.node_public_key()))
        .collect();
    Ok((lock, identity, operator, names))
}

/// Opens everything.
///
/// # Errors
/// As [`examine`]; if a share is missing or does not open.
pub fn open(folder: &DataFolder, network: Option<&Network>) -> Result<Holding, Problem> {
    let (lock, identity, operator, names) = examine(folder, network)?;
    let shares = shares(folder, &lock, operator)?;
    Ok(Holding {
        lock,
        identity,
        operator,
        names,
        shares,
    })
}

/// Opens the keystores of an operator (from 1), in the order of the lock's validators.
fn shares(folder: &DataFolder, lock: &Lock, operator: u16) -> Result<Vec<SecretKey>, Problem> {
    let keys = folder.keys();
    let missing = |validator: usize| {
        Problem::folder_state(
            format!("the keystore of validator {validator} is missing"),
            format!("no file in {} holds your share of it", keys.display()),
            "restore that folder from a backup",
        )
    };
    let disk = folder.disk();
    let is_keystore = |name: &String| {
        let json = std::path::Path::new(name)
            .extension()
            .is_some_and(|extension| extension == "json");
        json && name.starts_with("keystore")
    };
    let mut files = HashMap::new();
    for name in disk.list(&keys)?.into_iter().filter(is_keystore) {
        let path = keys.join(name);
        let bytes = disk.read_secret(&path, MAX_KEY_FILE_BYTES)?;
        if let Ok(keystore) = Keystore::from_json(&bytes)
            && let Some(key) = keystore.pubkey()
        {
            files.insert(key, (path, keystore));
        }
    }
    let wanted: Vec<[u8; 48]> = lock
        .validators()
        .iter()
        .enumerate()
        .map(|(index, validator)| {
            let share = usize::from(operator)
                .checked_sub(1)
                .and_then(|place| validator.public_shares.get(place));
            share.copied().ok_or_else(|| missing(index))
        })
        .collect::<Result<_, _>>()?;
    let opened: Vec<Result<SecretKey, Problem>> = wanted
        .par_iter()
        .enumerate()
        .map(|(index, key)| {
            let (path, keystore) = files.get(key).ok_or_else(|| missing(index))?;
            let fail = |error: &dyn std::fmt::Display| {
                Problem::folder_state(
                    format!("{} cannot be opened", path.display()),
                    error,
                    "restore that file and its password from a backup of this folder",
                )
            };
            let password = disk.read_secret(&path.with_extension("txt"), MAX_KEY_FILE_BYTES)?;
            let password = Password::from_bytes(&password).map_err(|error| fail(&error))?;
            let share = keystore.open(&password).map_err(|error| fail(&error))?;
            if share.public_key().to_bytes() == *key {
                Ok(share)
            } else {
                Err(fail(&"it holds another key than it says"))
            }
        })
        .collect();
    // The whole length at once: a vector that grows leaves copies of its shares behind that nobody wipes.
    let mut shares = Vec::with_capacity(opened.len());
    for share in opened {
        shares.push(share?);
    }
    Ok(shares)
}
