//! `conclave slashing-protection`: what the shares have signed, from and to other software (EIP-3076).

use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use conclave_ceremony::{
    files::{Cause, Disk, PUBLIC, SECRET, has_name},
    folder::DataFolder,
    holding,
    problem::{Kind, Problem},
    restored, retirement,
};
use conclave_crypto::hash::Hash;
use conclave_eth::network::Network;
use conclave_slashing::{
    Cluster, Future, Guard, GuardError, Imported, Key, Mark, Progress, Record,
    interchange::{Horizon, Interchange, InterchangeError, MAX_FILE_BYTES},
};

use super::{
    Context,
    args::{FutureWord, SlashingArgs, SlashingImportArgs},
    input,
    news::Event,
};

/// Keys that are named on the screen at most; events have all of them.
const SHOWN: usize = 5;

/// Takes over what an interchange file says: into a new database if there is none, else every record is raised.
///
/// # Errors
/// With what went wrong, and its exit code.
pub(super) fn import(context: &Context, args: &SlashingImportArgs) -> Result<(), Problem> {
    let Place {
        folder,
        cluster,
        network,
    } = open(context, &args.common)?;
    let file = &args.common.file;
    let bytes = folder.disk().read(file, MAX_FILE_BYTES)?;
    let future = match args.future {
        None => Future::Refuse,
        Some(FutureWord::Keep) => Future::Keep,
        Some(FutureWord::Drop) => Future::Drop,
    };
    let horizon = horizon(network.as_ref(), future)?;
    let history = Interchange::parse(&bytes, horizon).map_err(|error| problem(&error.into()))?;
    let path = folder.slashing_protection();
    let created = !has_name(&path)?;
    let imported = if created {
        let root = known_root(network.as_ref())?;
        let (bytes, imported) = conclave_slashing::database_from(&cluster, &root, &history, future)
            .map_err(|error| problem(&error))?;
        place(folder.disk(), &path, &bytes)?;
        Ok(imported)
    } else {
        let guard = Guard::open(&path, cluster.clone()).map_err(|error| problem(&error))?;
        pin(&guard, network.as_ref())?;
        guard.import(&history, future)
    };
    let imported = imported.map_err(|error| problem(&error))?;
    tell(context, file, &cluster, &imported, created, future);
    Ok(())
}

/// The time by which the file is judged.
fn horizon(network: Option<&Network>, future: Future) -> Result<Horizon, Problem> {
    let Some(network) = network else {
        if future == Future::Keep {
            return Ok(Horizon::NONE);
        }
        return Err(Problem::bad_input(
            "What was signed cannot be judged here",
            "this network is not known, so neither is which slots lie in the future",
            "give --network-file a file that describes it",
        ));
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Horizon::at(network, now.as_secs()).map_err(|error| problem(&error.into()))
}

fn tell(
    context: &Context,
    file: &Path,
    cluster: &Cluster,
    imported: &Imported,
    created: bool,
    future: Future,
) {
    let out = &context.output;
    let all = cluster.validators();
    let key_of = |index: u32| Some(all.get(usize::try_from(index).ok()?)?.distributed);
    let keys_of =
        |indices: &[u32]| -> Vec<Key> { indices.iter().filter_map(|index| key_of(*index)).collect() };
    let named = keys_of(&imported.named);
    let silent = keys_of(&imported.silent);
    let beyond: Vec<Key> = imported
        .beyond
        .iter()
        .filter_map(|(index, _)| key_of(*index))
        .collect();
    let texts = |keys: &[Key]| -> Vec<String> { keys.iter().map(hexadecimal).collect() };
    let beyond_if = |word: Future| {
        if future == word {
            texts(&beyond)
        } else {
            Vec::new()
        }
    };
    let highest = imported.highest;
    out.line(&Event::Imported {
        path: file.display().to_string(),
        created,
        validators: texts(&named),
        without_record: texts(&silent),
        raised: imported.raised,
        unknown: texts(&imported.unknown),
        future_kept: beyond_if(Future::Keep),
        future_dropped: beyond_if(Future::Drop),
        unreadable: imported.unreadable.count,
        first_unreadable: imported.unreadable.first.clone(),
        marked: imported.marked,
        block: highest.block,
        source: highest.attested.map(|attested| attested.source),
        target: highest.attested.map(|attested| attested.target),
    });
    out.say(if created {
        format!("Made a slashing protection database from {}.", file.display())
    } else {
        format!("Took {} into the slashing protection.", file.display())
    });
    out.say(format!(
        "  it has records of {} of the {} validators here; {} of them {} a higher record now",
        named.len(),
        all.len(),
        imported.raised,
        if imported.raised == 1 { "has" } else { "have" },
    ));
    if let Some(slot) = highest.block {
        out.say(format!("  newest block: slot {slot}"));
    }
    if let Some(attested) = highest.attested {
        out.say(format!(
            "  newest attestation: source epoch {}, target epoch {}",
            attested.source, attested.target
        ));
    }
    if context.output.is_json() {
        return;
    }
    let missing: Vec<Key> = all
        .iter()
        .map(|keys| keys.distributed)
        .filter(|key| !named.contains(key))
        .collect();
    if !missing.is_empty() {
        out.warn(&format!(
            "the file has no {}record of {}. {}",
            if imported.unreadable.count > 0 {
                "readable "
            } else {
                ""
            },
            list(&missing),
            if created {
                "If any of these validators signed elsewhere, import that history too"
            } else {
                "What was known of them stays as it was"
            }
        ));
    }
    if let Some(first) = &imported.unreadable.first {
        out.warn(&format!(
            "{} could not be read, and {} not taken over: {first}",
            match imported.unreadable.count {
                1 => "one thing in the file".to_owned(),
                count => format!("{count} things in the file"),
            },
            if imported.unreadable.count == 1 {
                "was"
            } else {
                "were"
            },
        ));
    }
    if !beyond.is_empty() {
        out.warn(&format!(
            "entries in the future of {} were {}",
            list(&beyond),
            if future == Future::Keep {
                "taken over, as you said: nothing that is due before them is signed with these keys"
            } else {
                "left out, as you said"
            }
        ));
    }
    if imported.marked {
        out.warn(
            "so this database may not know all that was signed: the next run waits two whole epochs before it attests. Be sure \
             that the other software is stopped for good",
        );
    }
    if !imported.unknown.is_empty() {
        out.warn(&format!(
            "the file also names {}, which no validator here has: nothing was taken over from that. If they are of \
             another cluster of yours, import the file in its folder too",
            list(&imported.unknown)
        ));
    }
}

/// Writes everything that is known into a new file.
///
/// # Errors
/// With what went wrong, and its exit code.
pub(super) fn export(context: &Context, args: &SlashingArgs) -> Result<(), Problem> {
    let Place {
        folder,
        cluster,
        network,
    } = open(context, args)?;
    refuse_restored(restored::is_marked(folder.disk(), folder.root())?)?;
    let guard = Guard::open(&folder.slashing_protection(), cluster).map_err(|error| problem(&error))?;
    refuse_restored(guard.mark().map_err(|error| problem(&error))? == Some(Mark::Restored))?;
    if guard
        .genesis_validators_root()
        .map_err(|error| problem(&error))?
        .is_none()
    {
        pin(&guard, network.as_ref())?;
    }
    let bytes = guard.export().map_err(|error| problem(&error))?;
    folder
        .disk()
        .write_new(&args.file, &bytes, PUBLIC)
        .map_err(|error| match error.cause {
            Cause::Exists if args.file.is_dir() => Problem::folder_state(
                format!("{} is a folder", args.file.display()),
                "an export is a file",
                "name a file in it that is not there yet",
            ),
            Cause::Exists => Problem::folder_state(
                format!("{} is there already", args.file.display()),
                "an older export is never overwritten",
                "name a file that is not there yet",
            ),
            _ => error.into(),
        })?;
    let out = &context.output;
    out.line(&Event::Written {
        path: args.file.display().to_string(),
        kind: "slashing protection",
    });
    out.say(format!(
        "Wrote {}: what this share has signed, under the validators' keys (EIP-3076).",
        args.file.display()
    ));
    out.say("It is true as long as nothing signs with this share. Stop here for good before another machine goes on.");
    if guard.mark().map_err(|error| problem(&error))?.is_some() {
        out.warn(
            "this database is perhaps not the whole memory of its share: it was made anew, from a file that did not name \
             all validators, or came from another machine. Whoever imports the export must wait two whole epochs before anything is signed",
        );
    }
    Ok(())
}

/// What a restored folder does not know yet, others would take for never signed.
fn refuse_restored(is_restored: bool) -> Result<(), Problem> {
    if !is_restored {
        return Ok(());
    }
    Err(Problem::folder_state(
        "what this share has signed is not known here yet",
        "the folder was restored from a backup, and the other operators have not told yet what they remember of it",
        "let conclave run work in it until it has signed for the first time, then export again; never use an older export instead",
    ))
}

/// What both commands work with.
struct Place {
    folder: DataFolder,
    cluster: Cluster,
    network: Option<Network>,
}

fn open(context: &Context, args: &SlashingArgs) -> Result<Place, Problem> {
    let folder = DataFolder::open(&Disk::new(), &context.data_dir)?;
    // What a share signed that works elsewhere now is written down there.
    retirement::refuse(folder.disk(), folder.root())?;
    let network = input::network_file(args.own_network.network_file.as_deref())?;
    let (lock, _, operator, _) = holding::examine(&folder, network.as_ref())?;
    let network = network.or_else(|| {
        Network::by_fork_version(lock.definition().fork_version)
            .ok()
            .cloned()
    });
    let cluster = Cluster::of_lock(&lock, operator).map_err(|error| problem(&error))?;
    Ok(Place {
        folder,
        cluster,
        network,
    })
}

/// Binds a database to the network's chain, where that is known; compares if it is bound already.
fn pin(guard: &Guard, network: Option<&Network>) -> Result<(), Problem> {
    match network.and_then(|network| network.genesis_validators_root) {
        Some(root) => guard
            .pin_genesis_validators_root(&root)
            .map_err(|error| problem(&error)),
        None => Ok(()),
    }
}

fn known_root(network: Option<&Network>) -> Result<Hash, Problem> {
    network
        .and_then(|network| network.genesis_validators_root)
        .ok_or_else(|| problem(&GuardError::NoChain))
}

/// The exit code of what the guard says.
pub(super) fn problem(error: &GuardError) -> Problem {
    let kind = match error {
        GuardError::Missing(_) => Kind::DatabaseMissing,
        GuardError::OtherChain { .. } | GuardError::Interchange(InterchangeError::OtherNetwork { .. }) => {
            Kind::WrongNetwork
        }
        GuardError::Interchange(_) => Kind::BadInput,
        _ => Kind::FolderState,
    };
    let mut problem = Problem::from_lines(kind, error);
    if matches!(error, GuardError::NoChain) {
        "give --network-file a file with the network's genesis_validators_root, which every beacon node tells at \
         /eth/v1/beacon/genesis. Do not start conclave run before a history of other software is imported"
            .clone_into(&mut problem.what_to_do);
    }
    problem
}

/// A database is never made over another one, and never in passing. With `new`, one that was made so before and has signed nothing is opened.
///
/// # Errors
/// With what went wrong, and its exit code.
pub(super) fn open_guard(disk: &Disk, path: &Path, cluster: Cluster, new: bool) -> Result<Guard, Problem> {
    if new {
        let bytes =
            conclave_slashing::new_database(&cluster, Some(Mark::New)).map_err(|error| problem(&error))?;
        match disk.write_new(path, &bytes, SECRET) {
            Err(error) if matches!(error.cause, Cause::Exists) => {
                return unused(path, cluster).ok_or_else(|| exists(path));
            }
            done => done?,
        }
    }
    Guard::open(path, cluster).map_err(|error| problem(&error))
}

/// The database of an earlier start with the same words that ended before it signed anything, over a port that was taken or a wrong beacon
/// node: it is as new as another one would be.
fn unused(path: &Path, cluster: Cluster) -> Option<Guard> {
    let guard = Guard::open(path, cluster).ok()?;
    let is_new = matches!(guard.mark(), Ok(Some(Mark::New)));
    let nothing = guard.progress().ok()? == Progress::default() && guard.highest().ok()? == Record::default();
    (is_new && nothing).then_some(guard)
}

/// Writes a new database: whole or not at all.
pub(super) fn place(disk: &Disk, path: &Path, bytes: &[u8]) -> Result<(), Problem> {
    disk.write_new(path, bytes, SECRET)
        .map_err(|error| match error.cause {
            Cause::Exists => exists(path),
            _ => error.into(),
        })
}

fn exists(path: &Path) -> Problem {
    problem(&GuardError::Exists(path.to_owned()))
}

fn hexadecimal(key: &Key) -> String {
    format!("0x{}", hex::encode(key))
}

/// `the key 0x12..`, or `7 keys (0x12.., ...)`.
fn list(keys: &[Key]) -> String {
    if let [key] = keys {
        return format!("the key {}", hexadecimal(key));
    }
    let shown: Vec<String> = keys.iter().take(SHOWN).map(hexadecimal).collect();
    let more = if keys.len() > SHOWN { ", ..." } else { "" };
    format!("{} keys ({}{more})", keys.len(), shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use conclave_ceremony::files::crashing_disk;
    use conclave_slashing::ValidatorKeys;

    fn cluster() -> Cluster {
        let keys = ValidatorKeys {
            distributed: [1; 48],
            share: [2; 48],
        };
        Cluster::new([7; 32], 1, vec![keys]).unwrap()
    }

    /// A fresh database signs at once if the others confirm it: nobody is sent there before the history is in it.
    #[test]
    fn nobody_is_advised_to_run_before_a_history_is_imported() {
        let text = problem(&GuardError::NoChain).what_to_do;
        assert!(text.starts_with("give --network-file"), "{text}");
        for text in [text, GuardError::NoChain.to_string()] {
            assert!(!text.to_lowercase().contains("start conclave run once"), "{text}");
        }
    }

    /// Wherever the machine stops or the disk is full: there is a whole database or none, the next start tidies up, and no
    /// start makes one that it was not told to make.
    #[test]
    fn a_new_database_is_there_as_a_whole_or_not_at_all() {
        for k in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(conclave_slashing::FILE);
            let (disk, _) = crashing_disk(k);
            let done = open_guard(&disk, &path, cluster(), true).is_ok();
            let disk = Disk::new();
            disk.remove_unfinished(dir.path()).unwrap();
            let again = open_guard(&disk, &path, cluster(), false);
            if path.exists() {
                // Told again, as long as nothing was signed with it.
                assert_eq!(again.unwrap().mark().unwrap(), Some(Mark::New));
                let again = open_guard(&disk, &path, cluster(), true).unwrap();
                assert_eq!(again.mark().unwrap(), Some(Mark::New));
            } else {
                assert!(!done);
                assert_eq!(again.unwrap_err().kind, Kind::DatabaseMissing);
                assert_eq!(disk.list(dir.path()).unwrap(), Vec::<String>::new());
            }
            if done {
                assert!(k >= 5, "{k}");
                assert_eq!(disk.list(dir.path()).unwrap(), [conclave_slashing::FILE]);
                break;
            }
        }
    }

    #[test]
    fn a_new_database_is_never_made_over_anything() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["empty", "text", "link"] {
            let path = dir.path().join(name);
            match name {
                "link" => std::os::unix::fs::symlink(dir.path().join("nowhere"), &path).unwrap(),
                _ => std::fs::write(&path, if name == "text" { "x" } else { "" }).unwrap(),
            }
            let error = open_guard(&Disk::new(), &path, cluster(), true).unwrap_err();
            assert!(error.what.contains("already"), "{error:?}");
        }
        assert!(!dir.path().join("nowhere").exists());
        // What knows of a signature, and what has no mark, or that of a restored folder, is no new one.
        let knows = |guard: &Guard| {
            let record = Record {
                block: Some(1),
                attested: None,
            };
            guard.raise(record).unwrap();
        };
        let proven = |guard: &Guard| {
            let block = Progress {
                block: Some(1),
                attestation: None,
            };
            guard.catch_up(block).unwrap();
        };
        let unmarked = |guard: &Guard| assert!(guard.clear_mark(Mark::New).unwrap());
        let restored = |guard: &Guard| guard.mark_restored().unwrap();
        let changes: [&dyn Fn(&Guard); 4] = [&knows, &proven, &unmarked, &restored];
        for (k, change) in changes.iter().enumerate() {
            let path = dir.path().join(k.to_string());
            change(&open_guard(&Disk::new(), &path, cluster(), true).unwrap());
            let error = open_guard(&Disk::new(), &path, cluster(), true).unwrap_err();
            assert!(error.what.contains("already"), "{k}: {error:?}");
            open_guard(&Disk::new(), &path, cluster(), false).unwrap();
        }
    }
}
