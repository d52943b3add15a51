//! What a finished ceremony left in a folder, opened for work: the lock, who this operator is, and its shares.
//!
//! Folders of other software with the same layout are as good: keystores are told apart by their keys, not their names.

use std::path::Path;

use conclave_cluster::{
    definition::DefinitionError,
    lock::{Lock, LockError, MAX_FILE},
    wallets::Wallets,
};
use conclave_crypto::bls::SecretKey;
use conclave_eth::network::Network;

use super::{
    backups,
    files::{Disk, is_there},
    folder::{DataFolder, LOCK, VALIDATOR_KEYS},
    identity::Identity,
    keystores::{self, KeyFile, Opened, Places, Shut},
    names::Names,
    problem::{Kind, Problem},
    publication,
    randomness::weight_seed,
    retirement,
};

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

/// Refuses a folder without a lock.
///
/// # Errors
/// If there is none, or it cannot be looked at.
pub fn require_lock(root: &Path) -> Result<(), Problem> {
    if is_there(&root.join(LOCK))? {
        return Ok(());
    }
    // A folder that was exported, or whose import was not finished, has a better reason.
    retirement::refuse(&Disk::new(), root)?;
    Err(Problem::folder_state(
        format!("there is no cluster-lock.json in {}", root.display()),
        "the ceremony in this folder is not finished, or this is another folder",
        "name the right folder with --data-dir, or finish the ceremony with conclave join",
    ))
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
    require_lock(root)?;
    let bytes = disk.read(&path, MAX_FILE as u64)?;
    let refused = |why: String| {
        Problem::new(
            Kind::LockRefused,
            format!("{} is not a lock to validate with", path.display()),
            why,
            format!(
                "run conclave verify on this folder, and take another operator's {LOCK}; {}",
                backups::RESTORE
            ),
        )
    };
    let lock = Lock::from_json(&bytes).map_err(|error| match error {
        LockError::Definition(DefinitionError::LaterVersion(_)) => Problem {
            what_to_do: "update conclave on this machine".to_owned(),
            ..refused(error.to_string())
        },
        error => refused(error.to_string()),
    })?;
    // Who made the signatures was settled before the ceremony; what no key proves is told by `run`.
    let report = lock.verify_with(network, &weight_seed()?, &Wallets::unchecked());
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
    let mut names = Names::load(disk, root)?;
    if let Some(name) = identity.name() {
        names.insert(&own, name);
    }
    let names = names.of_all(operators.iter().map(|operator| operator.enr.node_public_key()));
    Ok((lock, identity, operator, names))
}

/// Opens everything.
///
/// # Errors
/// As [`examine`]; if a share is missing or does not open.
pub fn open(folder: &DataFolder, network: Option<&Network>) -> Result<Holding, Problem> {
    open_beside(folder.disk(), folder.root(), network)
}

/// As [`open`], in a folder that another process may hold.
///
/// # Errors
/// As [`open`].
pub fn open_beside(disk: &Disk, root: &Path, network: Option<&Network>) -> Result<Holding, Problem> {
    let (lock, identity, operator, names) = examine_beside(disk, root, network)?;
    let shares = shares(disk, root, &lock, (operator, &names))?;
    Ok(Holding {
        lock,
        identity,
        operator,
        names,
        shares,
    })
}

/// Opens the keystores of an operator (from 1), in the order of the lock's validators.
fn shares(
    disk: &Disk,
    root: &Path,
    lock: &Lock,
    (operator, names): (u16, &[String]),
) -> Result<Vec<SecretKey>, Problem> {
    let keys = root.join(VALIDATOR_KEYS);
    let places = Places::of(lock);
    let own = usize::from(operator).saturating_sub(1);
    let files = KeyFile::all(disk, &keys)?;
    if publication::keys_wait(disk, root)? {
        return Err(keys_wait(root));
    }
    // Those that name nobody's key may be ours.
    let wanted = |key: Option<[u8; 48]>| {
        key.is_none_or(|key| places.of_share(&key).is_some_and(|(_, owner)| owner == own))
    };
    let opened = keystores::open(&files, wanted, |share| share);
    let mut found: Vec<Option<SecretKey>> = lock.validators().iter().map(|_| None).collect();
    let mut refused = Vec::new();
    for (file, opened) in files.iter().zip(opened) {
        let (place, why) = match opened {
            Err(unread) => (None, unread.why),
            Ok(Opened { key, share }) => {
                let place = key.and_then(|key| places.of_share(&key));
                let ours = place
                    .filter(|(_, owner)| *owner == own)
                    .map(|(validator, _)| validator);
                match (ours, share) {
                    (Some(validator), Ok(share)) => {
                        if let Some(slot) = found.get_mut(validator) {
                            *slot = Some(share);
                        }
                        continue;
                    }
                    (place, Err(Shut::Closed(why) | Shut::NoPassword(why))) => (place, why),
                    _ => (None, foreign(place, operator, names)),
                }
            }
        };
        refused.push((file, place, why));
    }
    // The whole length at once: a vector that grows leaves copies of its shares behind that nobody wipes.
    let mut shares = Vec::with_capacity(found.len());
    for (validator, share) in found.into_iter().enumerate() {
        shares.push(share.ok_or_else(|| without_share(validator, &refused, &keys))?);
    }
    Ok(shares)
}

/// The lock of another operator was put into a folder whose ceremony is not finished.
pub fn keys_wait(root: &Path) -> Problem {
    Problem::folder_state(
        format!(
            "your keystores are not in {} yet",
            root.join(VALIDATOR_KEYS).display()
        ),
        format!(
            "the {LOCK} was copied into this folder before your own ceremony was finished here: your keystores wait in ceremony/"
        ),
        "run conclave join once more, without a file: it puts the keystores in their places. Delete nothing",
    )
}

/// Whose share a keystore holds that is not this operator's (from 1).
fn foreign(place: Option<(usize, usize)>, operator: u16, names: &[String]) -> String {
    let called = |index: usize| {
        let name = names.get(index).map_or("", String::as_str);
        format!("operator {} ({name})", index + 1)
    };
    match place {
        None => "its key is no share of this lock: it is another group's".to_owned(),
        Some((validator, owner)) => format!(
            "it is the share of {} in validator {validator}, and you are {}",
            called(owner),
            called(usize::from(operator).saturating_sub(1))
        ),
    }
}

/// Why there is no share of a validator: because of the file that is for it, if there is one, else of any that is of no use.
fn without_share(validator: usize, refused: &[(&KeyFile, Option<usize>, String)], keys: &Path) -> Problem {
    let for_it = |(file, place, _): &&(&KeyFile, Option<usize>, String)| {
        *place == Some(validator) || (place.is_none() && file.number == Some(validator))
    };
    let nobodys =
        |(file, place, _): &&(&KeyFile, Option<usize>, String)| place.is_none() && file.number.is_none();
    let cause = refused
        .iter()
        .find(for_it)
        .or_else(|| refused.iter().find(nobodys));
    match cause {
        Some((file, _, why)) => Problem::folder_state(
            format!(
                "your share of validator {validator} cannot be opened: {}",
                file.file
            ),
            why,
            backups::RESTORE,
        ),
        None => Problem::folder_state(
            format!("the keystore of validator {validator} is missing"),
            format!("no file in {} holds your share of it", keys.display()),
            backups::RESTORE,
        ),
    }
}
