//! Verification of what a ceremony made: everything that can be checked is, and what cannot be is said.
//!
//! [`gather()`] finds the files that belong together; [`verify`] is a pure function of their contents. A
//! file is only as good as the lock that it belongs to, so the lock is always verified with it: a deposit file that
//! comes without one proves nothing about a ceremony, however good its signatures are.

mod checks;
mod evidence;
mod gather;
mod transcript;

use std::{collections::HashMap, sync::Arc};

use zeroize::Zeroizing;

use self::checks::Against;
pub use self::checks::{DEPOSIT_FILES, network_of};
pub use self::gather::gather;
use super::{
    keystores::KeyFile,
    names::Names,
    problem::{Remedy, Unread},
};
use conclave_cluster::{
    definition::Definition,
    lock::Lock,
    report::{Check, Outcome},
    wallets::Wallets,
};
use conclave_crypto::hash::Hash;
use conclave_eth::network::Network;

/// One line of the result: what was checked in which file, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The file or folder, as the user named it.
    pub file: String,
    /// What was checked, in words that stay the same from release to release.
    pub check: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What evidence proves, or what somebody should know of a check that is ok, in words.
    pub finding: Option<String>,
    /// What helps, where it failed.
    pub remedy: Remedy,
}

/// The result of a verification.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verification {
    /// All checks, in the order in which they were made.
    pub rows: Vec<Row>,
    /// The different locks that could be read.
    pub locks: Vec<Lock>,
}

impl Verification {
    /// True when nothing failed. What could not be checked does not count as a failure.
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Row> {
        self.rows
            .iter()
            .filter(|row| matches!(row.outcome, Outcome::Failed(_)))
    }

    fn add(&mut self, file: &str, check: impl Into<String>, outcome: impl Into<Outcome>) {
        let row = Row {
            file: file.to_owned(),
            check: check.into(),
            outcome: outcome.into(),
            finding: None,
            remedy: Remedy::Doubt,
        };
        self.rows.push(row);
    }

    fn add_with(&mut self, file: &str, check: &str, outcome: Outcome, remedy: Remedy) {
        self.rows.push(Row {
            file: file.to_owned(),
            check: check.to_owned(),
            outcome,
            finding: None,
            remedy,
        });
    }

    /// Adds that something failed for a cause that is known.
    fn add_unread(&mut self, file: &str, check: &str, unread: &Unread) {
        self.add_with(file, check, Outcome::Failed(unread.why.clone()), unread.remedy);
    }

    fn add_check(&mut self, file: &str, check: &Check) {
        self.rows.push(Row {
            file: file.to_owned(),
            check: check.name.clone(),
            outcome: check.outcome.clone(),
            finding: check.finding.clone(),
            remedy: Remedy::Doubt,
        });
    }

    /// Adds something that was found out and is no fault of the file.
    fn tell(&mut self, file: &str, check: &str, finding: String) {
        self.rows.push(Row {
            file: file.to_owned(),
            check: check.to_owned(),
            outcome: Outcome::Ok,
            finding: Some(finding),
            remedy: Remedy::Doubt,
        });
    }
}

/// A file and what was read of it; the error says why it could not be.
#[derive(Debug, Clone)]
pub struct Item {
    /// The path as the user named it.
    pub file: String,
    /// Its bytes.
    pub content: Result<Vec<u8>, Unread>,
}

/// The secret key by which a folder's operator is known: 32 bytes in hexadecimal.
pub struct IdentityItem {
    /// The path as the user named it.
    pub file: String,
    /// Its bytes.
    pub content: Result<Zeroizing<Vec<u8>>, Unread>,
}

/// Files that belong together.
#[derive(Default)]
pub struct Material {
    /// The folder, as the user named it, when all of it is to be verified: then nothing may be missing.
    pub folder: Option<String>,
    /// The definition.
    pub definition: Option<Item>,
    /// The lock.
    pub lock: Option<Item>,
    /// Deposit files.
    pub deposits: Vec<Item>,
    /// Whether some of them may be missing without a failure: they are public, everybody's are the same, and after the deposit they are of no
    /// more use.
    pub spares_deposits: bool,
    /// Keystores.
    pub keystores: Vec<KeyFile>,
    /// The transcript of the ceremony.
    pub transcript: Option<Item>,
    /// Whether the folder held a ceremony of conclave to its end, and the transcript of it is not there.
    pub lacks_transcript: bool,
    /// Whether the lock was put into the folder before the folder's own ceremony was finished: its keystores wait for their places.
    pub keys_wait: bool,
    /// Evidence of faults.
    pub evidence: Vec<Item>,
    /// What the folder calls operators, for those whom evidence names by their number only.
    pub names: Names,
    /// The operator's node key.
    pub identity: Option<IdentityItem>,
    /// What is to be known before anybody works with the folder: that it has moved, or was restored from a backup.
    pub state: Option<String>,
    /// The slashing protection database; `None` where nobody expects one: in the folder of other software.
    pub slashing_protection: Option<SlashingProtection>,
}

/// What a folder has to remember what its shares signed.
#[derive(Debug, Clone)]
pub enum SlashingProtection {
    /// Nothing.
    Missing,
    /// This database.
    There(Item),
    /// A database that another process writes to, again and again.
    InUse,
}

/// A lock that was verified before. All operators have the same one, and its check is long.
struct Known<'a> {
    bytes: &'a [u8],
    lock: Arc<Lock>,
    checks: Vec<Check>,
    /// Files that were compared with it.
    deposits: Vec<Compared<'a>>,
    transcripts: Vec<Compared<'a>>,
}

/// A file that was verified against a lock before. That of another operator is the same byte for byte, and what comes of it
/// can only be the same.
struct Compared<'a> {
    bytes: &'a [u8],
    rows: Vec<Row>,
    amount: Option<u64>,
}

impl<'a> Compared<'a> {
    /// Makes the checks of a file, or takes over what came of them when the same bytes were checked before.
    fn once(
        before: &mut Vec<Self>,
        item: &'a Item,
        result: &mut Verification,
        check: impl FnOnce(&mut Verification) -> Option<u64>,
    ) -> Option<u64> {
        let Ok(bytes) = &item.content else {
            return check(result);
        };
        if let Some(same) = before.iter().find(|compared| compared.bytes == bytes) {
            let rows = same.rows.iter().map(|row| Row {
                file: item.file.clone(),
                ..row.clone()
            });
            result.rows.extend(rows);
            return same.amount;
        }
        let mut own = Verification::default();
        let amount = check(&mut own);
        result.rows.extend(own.rows.iter().cloned());
        before.push(Self {
            bytes,
            rows: own.rows,
            amount,
        });
        amount
    }
}

/// Verifies all materials, each by itself and then against each other. `network` is what a network file says. `weight_seed`:
/// 32 bytes of the operating system's randomness: whoever made the files must not know how they are checked together.
pub fn verify(materials: &[Material], network: Option<&Network>, weight_seed: &[u8; 32]) -> Verification {
    verify_with(materials, network, weight_seed, &Wallets::default())
}

/// As [`verify`], with what is known of contract wallets among the signers of definitions.
pub fn verify_with(
    materials: &[Material],
    network: Option<&Network>,
    weight_seed: &[u8; 32],
    wallets: &Wallets,
) -> Verification {
    let mut result = Verification::default();
    let mut known = Vec::new();
    let mut first: HashMap<Hash, (Hash, &str, Arc<Lock>)> = HashMap::new();
    let mut first_ceremony: Option<Ceremony> = None;
    for material in materials {
        let (lock, definition) = material.verify((network, wallets), weight_seed, &mut known, &mut result);
        if let Some(ceremony) = material.ceremony(lock.as_deref(), definition.as_ref()) {
            match &first_ceremony {
                None => first_ceremony = Some(ceremony),
                Some(first) => ceremony.compare(first, &mut result),
            }
        }
        let (Some(lock), Some(item)) = (lock, &material.lock) else {
            continue;
        };
        let hashes = (lock.definition().definition_hash(), lock.lock_hash());
        let (first_hash, first_file, first_lock) = first
            .entry(hashes.0)
            .or_insert_with(|| (hashes.1, &item.file, lock.clone()));
        // One definition never gives two locks: were there two, some shares would be worthless.
        if *first_file != item.file {
            let same = if *first_hash == hashes.1 {
                Outcome::Ok
            } else {
                Outcome::Failed(format!(
                    "it is another lock than {first_file}, of the same definition"
                ))
            };
            result.add(&item.file, "same lock for all operators", same);
            let twice = sealed_twice(first_lock, &lock);
            if !twice.is_empty() {
                let who = twice.join(", ");
                let finding = format!(
                    "sealed in two versions by operator {who}: that node signature is not the one in {first_file}. Both files are good"
                );
                result.tell(&item.file, "node signatures", finding);
            }
        }
    }
    result.locks = known
        .into_iter()
        .map(|known| Arc::unwrap_or_clone(known.lock))
        .collect();
    result
}

/// Which ceremony some files are of.
struct Ceremony {
    /// The file that says so, as the user named it.
    file: String,
    /// The definition hash.
    definition: Hash,
    /// The lock hash, if there is a lock.
    lock: Option<Hash>,
    /// What the group called the cluster.
    name: String,
}

impl Ceremony {
    /// As people compare it: the hash, and the name.
    fn words(&self) -> String {
        let (what, hash) = match &self.lock {
            Some(lock) => ("the lock", lock),
            None => ("the definition", &self.definition),
        };
        format!("{what} 0x{} ({})", hex::encode(hash), self.name)
    }

    /// Whoever verifies several folders or locks at once wants to know whether they are of one ceremony.
    fn compare(&self, first: &Self, result: &mut Verification) {
        if self.definition != first.definition {
            let why = format!(
                "it is of another ceremony than {}: here is {}, there {}",
                first.file,
                self.words(),
                first.words()
            );
            result.add(&self.file, "same ceremony", Outcome::Failed(why));
        }
    }
}

/// Operators (from 1) whose node signatures differ in two files of one lock. Its hash does not cover them, and each is right, as is checked by
/// itself.
fn sealed_twice(one: &Lock, other: &Lock) -> Vec<String> {
    if one.lock_hash() != other.lock_hash() {
        return Vec::new();
    }
    let pairs = (1..).zip(one.node_signatures().iter().zip(other.node_signatures()));
    pairs
        .filter(|(_, (one, other))| one != other)
        .map(|(operator, _): (u32, _)| operator.to_string())
        .collect()
}

impl Material {
    /// The definitions in it that can be read: what wallets signed.
    pub fn definitions(&self) -> Vec<Definition> {
        let bytes = |item: &Option<Item>| item.as_ref().and_then(|item| item.content.clone().ok());
        let own = bytes(&self.definition).and_then(|bytes| Definition::from_json(&bytes).ok());
        let locked = bytes(&self.lock).and_then(|bytes| Lock::from_json(&bytes).ok());
        own.into_iter()
            .chain(locked.map(|lock| lock.definition().clone()))
            .collect()
    }

    /// Which ceremony it is of. A proof is a whole by itself, and is not compared with anything.
    fn ceremony(&self, lock: Option<&Lock>, definition: Option<&Definition>) -> Option<Ceremony> {
        let said = lock.map(Lock::definition).or(definition)?;
        let item = self.lock.as_ref().filter(|_| lock.is_some());
        let item = item.or(self.definition.as_ref())?;
        if self.folder.is_none() && !self.evidence.is_empty() {
            return None;
        }
        Some(Ceremony {
            file: item.file.clone(),
            definition: said.definition_hash(),
            lock: lock.map(Lock::lock_hash),
            name: said.name.clone(),
        })
    }

    /// Adds all checks of this material to `result`; gives the lock and the definition, if there are any that can be read.
    fn verify<'a>(
        &'a self,
        (custom, wallets): (Option<&Network>, &Wallets),
        weight_seed: &[u8; 32],
        known: &mut Vec<Known<'a>>,
        result: &mut Verification,
    ) -> (Option<Arc<Lock>>, Option<Definition>) {
        let place = self
            .lock
            .as_ref()
            .and_then(|item| checks::lock(item, (custom, wallets), weight_seed, known, result));
        let mut known = place.and_then(|place| known.get_mut(place));
        let lock = known.as_ref().map(|known| known.lock.clone());
        let against = match (&self.lock, &lock) {
            (None, _) => Against::NoLock,
            (Some(_), None) => Against::Unreadable,
            (Some(_), Some(lock)) => Against::Lock(lock),
        };
        let definition = self
            .definition
            .as_ref()
            .and_then(|item| checks::definition(item, against, (custom, wallets), result));
        let mut amounts = Vec::new();
        for item in &self.deposits {
            let check =
                |result: &mut Verification| checks::deposits(item, against, custom, weight_seed, result);
            amounts.extend(match &mut known {
                Some(known) => Compared::once(&mut known.deposits, item, result, check),
                None => check(result),
            });
        }
        if let Some(item) = &self.transcript {
            let check = |result: &mut Verification| {
                checks::transcript(item, against, definition.as_ref(), custom, weight_seed, result);
                None
            };
            match &mut known {
                Some(known) => Compared::once(&mut known.transcripts, item, result, check),
                None => check(result),
            };
        }
        for item in &self.evidence {
            let definition = definition
                .as_ref()
                .or(lock.as_ref().map(|lock| lock.definition()));
            evidence::check(item, definition, &self.names, custom, weight_seed, result);
        }
        let operator = self
            .identity
            .as_ref()
            .and_then(|item| checks::identity(item, against, result));
        let folder = self.folder.as_deref();
        let covered = checks::keystores(&self.keystores, against, operator, folder, result);
        if let Some(folder) = folder {
            checks::complete(folder, self, against, &amounts, &covered, result);
            checks::slashing_protection(folder, self, against, operator, result);
            if let Some(state) = &self.state {
                result.tell(folder, "state of the folder", state.clone());
            }
        }
        (lock, definition)
    }
}
