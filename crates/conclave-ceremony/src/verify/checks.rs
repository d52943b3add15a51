//! The checks of each kind of file, by itself and against the lock.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use super::{IdentityItem, Item, Known, Material, SlashingProtection, Verification};
use crate::{
    folder::IDENTITY,
    identity::parse_key,
    keystores::{self, KeyFile, Places, Shut},
    problem::{Remedy, Unread},
    product,
};
use conclave_cluster::{
    definition::Definition,
    lock::Lock,
    report::{Check, Outcome},
    wallets::Wallets,
};
use conclave_dkg::transcript::{FAMILY, MAGIC, Transcript, TranscriptError};
use conclave_eth::{
    deposit::{self, DepositEntry, deposit_file_name, read_deposit_file},
    network::Network,
};
use conclave_slashing::{Cluster, GuardError, Mark};

/// The name of the check that a file can be read at all.
pub(super) const READABLE: &str = "can be read";

/// The check that all deposit files are there, where they may be missing.
pub const DEPOSIT_FILES: &str = "deposit files";

/// Said of a record whose format is a later one.
pub(super) const LATER: &str =
    "a later conclave wrote it, in a format that this one does not know: update conclave";

/// What the other files are compared with.
#[derive(Clone, Copy)]
pub(super) enum Against<'a> {
    /// There is no lock.
    NoLock,
    /// There is one that cannot be read.
    Unreadable,
    /// This one.
    Lock(&'a Lock),
}

impl<'a> Against<'a> {
    /// The lock, or why there is nothing to compare with.
    fn lock(self) -> Result<&'a Lock, Outcome> {
        match self {
            Self::Lock(lock) => Ok(lock),
            Self::Unreadable => Err(Outcome::NotChecked("the lock cannot be read".to_owned())),
            Self::NoLock => Err(Outcome::NotChecked(
                "there is no lock to compare it with".to_owned(),
            )),
        }
    }
}

/// The network of a fork version: the custom one if it has that version, else a known one.
pub fn network_of(fork_version: [u8; 4], custom: Option<&Network>) -> Option<&Network> {
    custom
        .filter(|network| network.genesis_fork_version == fork_version)
        .or_else(|| Network::by_fork_version(fork_version).ok())
}

/// The bytes of a file, or a row that says why there are none.
pub(super) fn content<'a>(item: &'a Item, result: &mut Verification) -> Option<&'a [u8]> {
    match &item.content {
        Ok(bytes) => Some(bytes),
        Err(unread) => {
            result.add_unread(&item.file, READABLE, unread);
            None
        }
    }
}

/// Makes a row of whether a file has the right form, and gives what it holds.
fn parsed<T, E: Into<Unread>>(file: &str, value: Result<T, E>, result: &mut Verification) -> Option<T> {
    match value {
        Ok(value) => {
            result.add(file, READABLE, Outcome::Ok);
            Some(value)
        }
        Err(error) => {
            result.add_unread(file, READABLE, &error.into());
            None
        }
    }
}

/// A lock by itself. Gives its place among those that are known, if it can be read.
pub(super) fn lock<'a>(
    item: &'a Item,
    (custom, wallets): (Option<&Network>, &Wallets),
    weight_seed: &[u8; 32],
    known: &mut Vec<Known<'a>>,
    result: &mut Verification,
) -> Option<usize> {
    let bytes = content(item, result)?;
    if let Some(place) = known.iter().position(|known| known.bytes == bytes) {
        for check in &known.get(place)?.checks {
            result.add_check(&item.file, check);
        }
        return Some(place);
    }
    let lock = parsed(&item.file, Lock::from_json(bytes), result)?;
    let mut checks = vec![Check {
        name: READABLE.to_owned(),
        outcome: Outcome::Ok,
        finding: None,
    }];
    checks.extend(lock.verify_with(custom, weight_seed, wallets).checks);
    for check in checks.iter().skip(1) {
        result.add_check(&item.file, check);
    }
    known.push(Known {
        bytes,
        lock: Arc::new(lock),
        checks,
        deposits: Vec::new(),
        transcripts: Vec::new(),
    });
    Some(known.len() - 1)
}

/// A definition, and whether it is the lock's. Gives what it says, if it can be read.
pub(super) fn definition(
    item: &Item,
    against: Against<'_>,
    (custom, wallets): (Option<&Network>, &Wallets),
    result: &mut Verification,
) -> Option<Definition> {
    // Reading checks both hashes.
    let definition = parsed(&item.file, Definition::from_json(content(item, result)?), result)?;
    result.add(&item.file, "config hash and definition hash", Outcome::Ok);
    let threshold = Check {
        name: "threshold".to_owned(),
        outcome: Outcome::Ok,
        finding: definition.minority(),
    };
    result.add_check(&item.file, &threshold);
    let network = network_of(definition.fork_version, custom);
    let (outcome, finding) = definition.check_signatures(network, wallets);
    let signatures = Check {
        name: "wallet signatures".to_owned(),
        outcome,
        finding,
    };
    result.add_check(&item.file, &signatures);
    let same = match against {
        // What comes out of a definition is not asked of it.
        Against::NoLock => return Some(definition),
        Against::Unreadable => Outcome::NotChecked("the lock cannot be read".to_owned()),
        Against::Lock(lock) if lock.definition().definition_hash() == definition.definition_hash() => {
            Outcome::Ok
        }
        Against::Lock(lock) => {
            let differences = definition.differences(lock.definition());
            let differences = differences.unwrap_or_else(|| "signatures".to_owned());
            Outcome::Failed(format!("the lock has another definition: {differences}"))
        }
    };
    result.add(&item.file, "same definition as in the lock", same);
    Some(definition)
}

/// A deposit file: its deposits by themselves, then against the lock. Gives the amount, if all have the same.
pub(super) fn deposits(
    item: &Item,
    against: Against<'_>,
    custom: Option<&Network>,
    weight_seed: &[u8; 32],
    result: &mut Verification,
) -> Option<u64> {
    let file = &item.file;
    let bytes = content(item, result)?;
    let entries = parsed(file, read_deposit_file(bytes), result)?;
    let fork_version = match against {
        Against::Lock(lock) => lock.definition().fork_version,
        _ => entries.first()?.fork_version,
    };
    let signatures = if let Some(network) = network_of(fork_version, custom) {
        result.add(file, "network", Outcome::Ok);
        deposit::verify_entries(&entries, Some(network), weight_seed)
    } else {
        let why = "the network is not known; a network file would tell its name";
        result.add(file, "network", Outcome::NotChecked(why.to_owned()));
        // By themselves they may be for any network, so each has to be for the lock's.
        let foreign = entries.iter().find(|entry| entry.fork_version != fork_version);
        match foreign {
            Some(entry) => Err(deposit::DepositError::Entry {
                pubkey: entry.message.pubkey,
                fault: deposit::DepositFault::ForkVersion,
            }),
            None => deposit::verify_entries(&entries, None, weight_seed),
        }
    };
    result.add(
        file,
        "roots and signatures",
        signatures.map_err(|error| error.to_string()),
    );

    let belongs = match against {
        Against::NoLock => Outcome::Failed(
            "this is not a finished ceremony: there is no cluster-lock.json with it that shows that every operator \
             holds a share; do not deposit"
                .to_owned(),
        ),
        Against::Unreadable => Outcome::NotChecked("the lock cannot be read".to_owned()),
        Against::Lock(lock) => compare_deposits(&entries, lock),
    };
    result.add(file, "deposits of the lock", belongs);
    let amount = entries.first()?.message.amount;
    entries
        .iter()
        .all(|entry| entry.message.amount == amount)
        .then_some(amount)
}

/// Whether a file holds exactly one deposit for each validator of the lock, each as in the lock. Of what the lock says nothing,
/// nothing can be missing.
fn compare_deposits(entries: &[DepositEntry], lock: &Lock) -> Outcome {
    match unfit_deposit(entries, lock) {
        Err(why) => Outcome::Failed(why),
        Ok(left) => match left.first() {
            None => Outcome::Ok,
            Some((i, true)) => Outcome::Failed(format!("the deposit of validator {i} is missing")),
            Some((i, false)) => Outcome::NotChecked(format!(
                "the file has no deposit of validator {i}, and the lock does not say that there should be one"
            )),
        },
    }
}

/// Compares each deposit with the lock. Gives the validators that have none, and whether the lock says that there is one: those
/// first.
fn unfit_deposit(entries: &[DepositEntry], lock: &Lock) -> Result<Vec<(usize, bool)>, String> {
    let validators = lock.validators();
    let mut index: HashMap<[u8; 48], usize> = validators
        .iter()
        .enumerate()
        .map(|(i, validator)| (validator.public_key, i))
        .collect();
    for entry in entries {
        let message = &entry.message;
        let key = hex::encode(message.pubkey);
        // Taken out, so that what is left has no deposit.
        let i = index
            .remove(&message.pubkey)
            .ok_or_else(|| format!("0x{key} is no validator of the lock"))?;
        let (Some(validator), Some(addresses)) = (validators.get(i), lock.definition().validators.get(i))
        else {
            return Err(format!("the definition does not say who owns validator {i}"));
        };
        if message.withdrawal_credentials != lock.definition().withdrawal_credentials(&addresses.withdrawal) {
            return Err(format!(
                "validator {i}: the withdrawal address or type is not the definition's"
            ));
        }
        let same = |deposit: &conclave_cluster::lock::PartialDeposit| {
            deposit.amount == message.amount && deposit.signature == entry.signature
        };
        if !validator.deposits.is_empty() && !validator.deposits.iter().any(same) {
            return Err(format!(
                "validator {i}: the lock has no deposit of this amount with this signature"
            ));
        }
    }
    let amounts: BTreeSet<u64> = entries.iter().map(|entry| entry.message.amount).collect();
    let promised = |i: &usize| {
        let deposits = validators
            .get(*i)
            .map_or(&[][..], |validator| &validator.deposits);
        deposits.iter().any(|deposit| amounts.contains(&deposit.amount))
    };
    let mut left: Vec<(usize, bool)> = index.values().map(|i| (*i, promised(i))).collect();
    left.sort_by_key(|(i, promised)| (!promised, *i));
    Ok(left)
}

/// A transcript: every signed step of the ceremony, judged anew, and whether it leads to the lock. Without a lock it is judged by the
/// definition, which says as well what was to be signed, by whom.
pub(super) fn transcript(
    item: &Item,
    against: Against<'_>,
    definition: Option<&Definition>,
    custom: Option<&Network>,
    weight_seed: &[u8; 32],
    result: &mut Verification,
) {
    let Some(bytes) = content(item, result) else {
        return;
    };
    let later = bytes.starts_with(FAMILY) && !bytes.starts_with(MAGIC);
    let whole = Transcript::look(bytes).map_err(|error| match error {
        _ if later => Unread::new(LATER, Remedy::Update),
        error => Unread::new(error, Remedy::Another),
    });
    let (steps, leads) = ("steps and proofs", "leads to the lock");
    let lock = against.lock();
    let definition = match (&lock, definition) {
        (Ok(lock), _) => Some(lock.definition()),
        (Err(_), definition) => definition,
    };
    // Whose it is comes first: a lock of another ceremony is no reason to look for a better copy.
    let foreign = Transcript::peek(bytes)
        .map(|(hash, _)| hash)
        .filter(|hash| definition.is_some_and(|definition| definition.definition_hash() != *hash));
    if let Some(hash) = foreign {
        let why = TranscriptError::OtherCeremony(hash).to_string();
        return result.add(&item.file, steps, Outcome::Failed(why));
    }
    if parsed(&item.file, whole, result).is_none() {
        return;
    }
    let Some(definition) = definition else {
        let why = match lock {
            Err(Outcome::NotChecked(why)) if matches!(against, Against::Unreadable) => why,
            _ => "there is neither a lock nor a definition to check it with: name the group's cluster-definition.json too"
                .to_owned(),
        };
        return result.add(&item.file, steps, Outcome::NotChecked(why));
    };
    let Some(network) = network_of(definition.fork_version, custom) else {
        let why = "the network is not known; a network file would tell what was signed for";
        return result.add(&item.file, steps, Outcome::NotChecked(why.to_owned()));
    };
    let findings = product::terms(definition, network)
        .map_err(|error| error.to_string())
        .and_then(|terms| {
            let transcript = Transcript::decode(&terms, &product::net(network), bytes)
                .map_err(|error| error.to_string())?;
            transcript
                .check(&Arc::new(terms), weight_seed)
                .map_err(|error| error.to_string())
        });
    let findings = match findings {
        Ok(findings) => findings,
        Err(why) => return result.add(&item.file, steps, Outcome::Failed(why)),
    };
    result.add(&item.file, steps, Outcome::Ok);
    match lock {
        Ok(lock) if findings.lock_hash == lock.lock_hash() => result.add(&item.file, leads, Outcome::Ok),
        Ok(_) => result.add(
            &item.file,
            leads,
            Outcome::Failed("it leads to another lock".to_owned()),
        ),
        Err(Outcome::NotChecked(why)) => {
            let hash = hex::encode(findings.lock_hash);
            result.add(
                &item.file,
                leads,
                Outcome::NotChecked(format!("{why}; it leads to the lock 0x{hash}")),
            );
        }
        Err(outcome) => result.add(&item.file, leads, outcome),
    }
    super::transcript::show(&item.file, &findings, result);
}

/// Which operator (from 0) the folder's identity is.
pub(super) fn identity(
    item: &IdentityItem,
    against: Against<'_>,
    result: &mut Verification,
) -> Option<usize> {
    let key = item.content.as_ref().map_err(Clone::clone).and_then(|text| {
        parse_key(text)
            .ok_or_else(|| Unread::new("it is not a key of 64 hexadecimal digits", Remedy::OwnCopy))
    });
    let key = parsed(&item.file, key, result)?;
    let check = "identity of an operator";
    let lock = match against.lock() {
        Ok(lock) => lock,
        Err(outcome) => {
            result.add(&item.file, check, outcome);
            return None;
        }
    };
    let public = key.public();
    let operator = lock
        .definition()
        .operators
        .iter()
        .position(|o| *o.enr.node_public_key() == public);
    let outcome = operator
        .map(|_| ())
        .ok_or_else(|| "it is none of the lock's operators".to_owned());
    result.add(&item.file, check, outcome);
    operator
}

/// Outcomes of some checks for many files: one row for all that are fine, one for each other.
#[derive(Default)]
struct Collected(BTreeMap<&'static str, Outcomes>);

/// Outcomes of one check for many files.
#[derive(Default)]
struct Outcomes {
    fine: usize,
    others: Vec<(String, Outcome, Remedy)>,
}

impl Collected {
    fn add(&mut self, check: &'static str, file: &str, outcome: Outcome, remedy: Remedy) {
        let Outcomes { fine, others } = self.0.entry(check).or_default();
        match outcome {
            Outcome::Ok => *fine += 1,
            outcome => others.push((file.to_owned(), outcome, remedy)),
        }
    }

    fn rows(self, checks: [&'static str; 3], first: &str, result: &mut Verification) {
        for check in checks {
            let Some(Outcomes { fine, others }) = self.0.get(check) else {
                continue;
            };
            match fine {
                0 => {}
                1 if others.is_empty() => result.add(first, check, Outcome::Ok),
                _ => result.add(&format!("{fine} keystores"), check, Outcome::Ok),
            }
            for (file, outcome, remedy) in others {
                result.add_with(file, check, outcome.clone(), *remedy);
            }
        }
    }
}

/// Keystores: their form, whether they are one operator's shares of the lock, whether their passwords open them.
/// `operator` (from 0) is whose they must be, when it is known; those of one `folder` must be one operator's. Gives the validators
/// that there is a keystore for.
pub(super) fn keystores(
    files: &[KeyFile],
    against: Against<'_>,
    operator: Option<usize>,
    folder: Option<&str>,
    result: &mut Verification,
) -> BTreeSet<usize> {
    const CHECKS: [&str; 3] = [READABLE, "share of the lock", "opens with its password"];
    let [_, share, opens] = CHECKS;
    let Some(first) = files.first() else {
        return BTreeSet::new();
    };
    let mut collected = Collected::default();
    let mut owners: BTreeSet<usize> = operator.into_iter().collect();
    let mut covered = BTreeSet::new();
    let places = against.lock().map(Places::of);
    for (item, opened) in files.iter().zip(keystores::open(files, |_| true, drop)) {
        let file = &item.file;
        let opened = match opened {
            Err(unread) => {
                collected.add(READABLE, file, Outcome::Failed(unread.why), unread.remedy);
                covered.extend(item.number);
                continue;
            }
            Ok(opened) => opened,
        };
        collected.add(READABLE, file, Outcome::Ok, Remedy::Doubt);
        let outcome = match (&places, opened.key) {
            (Err(outcome), _) => outcome.clone(),
            (Ok(_), None) => {
                covered.extend(item.number);
                Outcome::NotChecked("it does not name its public key, and it was not opened".to_owned())
            }
            (Ok(places), Some(key)) => match places.of_share(&key) {
                None => {
                    covered.extend(item.number);
                    Outcome::Failed("its key is no share of the lock".to_owned())
                }
                Some((validator, owner)) => {
                    covered.insert(validator);
                    owners.insert(owner);
                    of_the_right(item.number, validator, operator, owner)
                }
            },
        };
        collected.add(share, file, outcome, Remedy::Doubt);
        let password = match opened.share {
            Ok(()) => Outcome::Ok,
            Err(Shut::Closed(why)) => Outcome::Failed(why),
            Err(Shut::NoPassword(why)) => Outcome::NotChecked(why),
            Err(Shut::NotWanted) => Outcome::NotChecked("it was not opened".to_owned()),
        };
        let remedy = match &item.password {
            Some(Err(unread)) => unread.remedy,
            _ => Remedy::OwnCopy,
        };
        collected.add(opens, file, password, remedy);
    }
    collected.rows(CHECKS, &first.file, result);
    let Some(folder) = folder else { return covered };
    // Single files may be of different operators; what lies in one folder belongs to one.
    if operator.is_none() && owners.len() > 1 {
        let names: Vec<_> = owners.iter().map(|owner| (owner + 1).to_string()).collect();
        let why = format!("they are of the operators {}", names.join(", "));
        result.add(folder, "shares of one operator", Outcome::Failed(why));
    }
    // The password that was given opens them here; `run` has only what lies beside them.
    let lent = |file: &&KeyFile| file.password.is_some() && !file.has_own_password;
    if let Some(file) = files.iter().find(lent) {
        let why = format!(
            "{} and others were opened with the password that was given: conclave run needs each in a file beside its keystore",
            file.name()
        );
        result.add(folder, "passwords beside the keystores", Outcome::NotChecked(why));
    }
    covered
}

/// Whether a share (of `validator` and `owner`, both from 0) is what its file's name and the folder's identity say.
fn of_the_right(number: Option<usize>, validator: usize, operator: Option<usize>, owner: usize) -> Outcome {
    match (number, operator) {
        (Some(number), _) if number != validator => Outcome::Failed(format!(
            "its name says validator {number}, but it is a share of validator {validator}"
        )),
        (_, Some(operator)) if operator != owner => Outcome::Failed(format!(
            "it is the share of operator {}, but the identity here is operator {}",
            owner + 1,
            operator + 1
        )),
        _ => Outcome::Ok,
    }
}

/// Whether the record of what a folder's shares signed can be read, is that of `operator` (from 0), and knows all of it.
pub(super) fn slashing_protection(
    folder: &str,
    material: &Material,
    against: Against<'_>,
    operator: Option<usize>,
    result: &mut Verification,
) {
    const CHECK: &str = "slashing protection";
    let not_checked = |why: &str| Outcome::NotChecked(why.to_owned());
    let outcome = match (&material.slashing_protection, against, operator) {
        // What is missing, or is nobody's, has a row of its own.
        (None, _, _) | (_, Against::NoLock, _) => return,
        (Some(SlashingProtection::Missing), _, _) => {
            not_checked("there is none, and without it conclave run does not start")
        }
        (Some(SlashingProtection::InUse), _, _) => {
            not_checked("a process is at work with it: conclave run has read it when it started")
        }
        (Some(SlashingProtection::There(item)), Against::Lock(lock), Some(operator)) => {
            let content = item.content.clone().map_err(|unread| unread.why);
            let number = u16::try_from(operator + 1).map_err(|_| "there is no such operator".to_owned());
            let mark = content.and_then(|bytes| {
                let cluster =
                    number.and_then(|number| Cluster::of_lock(lock, number).map_err(|error| why(&error)));
                conclave_slashing::examine(bytes, &cluster?, Path::new(&item.file))
                    .map_err(|error| why(&error))
            });
            match mark {
                Ok(Some(Mark::Restored)) => not_checked(
                    "the folder was restored from a backup, and what its share signed since the backup is not in it: conclave run signs nothing before \
                     the other operators have told what they remember",
                ),
                // Whatever else a mark says, conclave run waits as long as that needs.
                Ok(_) => Outcome::Ok,
                Err(why) => Outcome::Failed(why),
            }
        }
        (Some(SlashingProtection::There(_)), _, _) => {
            not_checked("whose it is cannot be said without the lock and the identity")
        }
    };
    result.add_with(folder, CHECK, outcome, Remedy::Leave);
}

/// Why a database is of no use, on one line.
fn why(error: &GuardError) -> String {
    let text = error.to_string();
    let mut lines = text.lines();
    let (what, why) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    format!("{} {why}", what.trim())
}

/// Whether a folder holds everything that its lock promises.
pub(super) fn complete(
    folder: &str,
    material: &Material,
    against: Against<'_>,
    amounts: &[u64],
    covered: &BTreeSet<usize>,
    result: &mut Verification,
) {
    const CHECK: &str = "nothing is missing";
    let lock = match against {
        Against::Lock(lock) => lock,
        Against::Unreadable => return,
        Against::NoLock => {
            let why = "there is no lock: the ceremony is not finished";
            return result.add(folder, CHECK, Outcome::NotChecked(why.to_owned()));
        }
    };
    let mut missing = Vec::new();
    let wanted: BTreeSet<u64> = lock
        .validators()
        .iter()
        .flat_map(|validator| &validator.deposits)
        .map(|deposit| deposit.amount)
        .collect();
    let absent: Vec<_> = wanted.iter().filter(|amount| !amounts.contains(amount)).collect();
    // A file that cannot be read has its own row, and may be the one that is looked for.
    let unreadable = material.deposits.len().saturating_sub(amounts.len());
    if absent.len() > unreadable {
        let names: Vec<String> = absent
            .into_iter()
            .map(|amount| deposit_file_name(*amount))
            .collect();
        if material.spares_deposits {
            let why = format!("missing: {}", names.join(", "));
            result.add(folder, DEPOSIT_FILES, Outcome::NotChecked(why));
        } else {
            missing.extend(names);
        }
    }
    if material.keys_wait {
        let why = "the lock was copied into this folder before its own ceremony was finished: the keystores wait in ceremony/";
        return result.add_with(folder, CHECK, Outcome::Failed(why.to_owned()), Remedy::Finish);
    }
    missing.extend(
        (0..lock.validators().len())
            .filter(|i| !covered.contains(i))
            .map(|i| format!("keystore {i}")),
    );
    let has_identity = material.identity.is_some();
    // Our own folders have one, without which nothing in them can be used.
    if !has_identity && material.slashing_protection.is_some() {
        missing.insert(0, IDENTITY.to_owned());
    } else if !has_identity && !material.keystores.is_empty() {
        let why = format!(
            "there is no {IDENTITY}: whose shares these are was not compared, and conclave run does not start"
        );
        result.add(folder, "identity of an operator", Outcome::NotChecked(why));
    }
    let remedy = if missing
        .iter()
        .any(|name| name == IDENTITY || name.starts_with("keystore "))
    {
        Remedy::OwnCopy
    } else {
        Remedy::Another
    };
    let more = missing.len().saturating_sub(3);
    missing.truncate(3);
    let silent = wanted.is_empty() && material.deposits.is_empty();
    let outcome = match (missing.is_empty(), more) {
        (true, _) if silent => Outcome::NotChecked(
            "the lock holds no deposits, and there is no deposit file: whether one is missing cannot be said"
                .to_owned(),
        ),
        (true, _) => Outcome::Ok,
        (false, 0) => Outcome::Failed(format!("missing: {}", missing.join(", "))),
        (false, more) => Outcome::Failed(format!("missing: {} and {more} more", missing.join(", "))),
    };
    result.add_with(folder, CHECK, outcome, remedy);
    if material.lacks_transcript {
        let why = "there is none: what shows that everybody took part in making the keys is missing; every other operator has the same \
                   one, at ceremony/transcript";
        result.add(folder, "transcript", Outcome::NotChecked(why.to_owned()));
    }
}
