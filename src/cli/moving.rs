//! `conclave export` and `conclave import`: one operator's folder to another machine.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::time::SystemTime;

use zeroize::Zeroizing;

use conclave_ceremony::{
    files::{Disk, is_there},
    folder::{DataFolder, IDENTITY, LOCK, SLASHING_PROTECTION, VALIDATOR_KEYS},
    holding::{self, Holding},
    moving::{
        self,
        archive::{self, ArchiveError, Entry, MAX_BYTES, MIN_PASSWORD, Opened, Passphrase},
    },
    problem::{Kind, Problem},
    randomness::weight_seed,
    restored::{self, RESTORED},
    retirement::{self, State},
    verify::{DEPOSIT_FILES, Row, gather, verify_with},
};
use conclave_cluster::{lock::Lock, report::Outcome, wallets::Wallets};
use conclave_eth::{network::Network, text::timestamp};
use conclave_slashing::{Cluster, Guard, Mark};
use conclave_validator::node::SOFTWARE;

use super::{
    Context,
    args::{ExportArgs, ImportArgs},
    input, interrupts,
    news::Event,
    output::printable,
    prompt::{self, Prompt},
    slashing,
    verify::judge,
};

/// Most bytes of a password file.
const MAX_PASSWORD_FILE: u64 = 4096;

/// Retires a folder and writes what it held into an archive.
///
/// # Errors
/// With what went wrong, and its exit code.
pub(super) fn export(context: &Context, args: &ExportArgs) -> Result<(), Problem> {
    let out = &context.output;
    let folder = DataFolder::open(&Disk::new(), &context.data_dir)?;
    let state = retirement::state(folder.disk(), folder.root())?;
    // An export that was interrupted goes on; a finished one is not made twice.
    if !matches!(state, State::Works | State::Begun { .. }) {
        retirement::refuse(folder.disk(), folder.root())?;
    }
    if restored::is_marked(folder.disk(), folder.root())? {
        return Err(Problem::folder_state(
            "this folder cannot move yet",
            "it was restored from a backup, and has not asked the other operators yet what its share signed since",
            "start conclave run in it once, and answer what it asks; or import the same backup on the new machine instead",
        ));
    }
    if !is_there(&folder.lock())? {
        return Err(Problem::folder_state(
            "there is nothing to export",
            format!(
                "there is no {LOCK} in {}: the ceremony in it is not finished, or this is another folder",
                folder.root().display()
            ),
            "finish the ceremony with conclave join first, or name the right folder with --data-dir",
        ));
    }
    let network = input::network_file(args.own_network.network_file.as_deref())?;
    out.say("Checking everything in this folder ...");
    let undone = if state == State::Works {
        "this folder is not retired, and nothing was written"
    } else {
        "the export that was begun is not finished"
    };
    let prompt = Prompt::before(undone);
    let meanwhile = interrupts::meanwhile(undone);
    let holding = check(context, &folder, network.as_ref())?;
    let target = moving::target(&args.file, &holding.lock.lock_hash(), holding.operator);
    // Before the database is opened, which may change bytes of its file.
    if !moving::left_behind(&state, &target)?.is_empty()
        && resumed(context, args, &folder, (&state, &target), prompt)?
    {
        out.say("The export that was interrupted had written its archive already: it is whole, and this folder's.");
        exported(context, &target);
        return Ok(());
    }
    moving::refuse_target(&target)?;
    if let State::Begun { why, archive } = &state {
        let archive = archive
            .as_deref()
            .map_or("its archive".to_owned(), |path| path.display().to_string());
        out.warn(&format!(
            "{}, and {} is not there now. If it was written, and somebody has moved it away, there will be two archives of this share: import only \
             one of them, on one machine, and delete the other. A share that works in two places costs the deposit",
            printable(why),
            printable(&archive)
        ));
    }
    let cluster =
        Cluster::of_lock(&holding.lock, holding.operator).map_err(|error| slashing::problem(&error))?;
    // Opened once: it heals what an interruption left, and is closed before it is read.
    drop(Guard::open(&folder.slashing_protection(), cluster).map_err(|error| slashing::problem(&error))?);
    out.say(format!(
        "You are {}, operator {} of {}. Exporting will permanently retire this folder: it will never validate, join \
         or exit again.\nYour share goes on where the archive is imported, and nowhere else: import it once, then delete it and this folder.",
        printable(holding.names.get(usize::from(holding.operator).saturating_sub(1)).map_or("", String::as_str)),
        holding.operator,
        holding.names.len(),
    ));
    if !args.yes {
        if !out.can_ask() {
            return Err(prompt::unanswered(&["--yes, if this folder shall be retired"]));
        }
        if !prompt.confirm("Retire this folder?")? {
            return Err(Problem::new(
                Kind::Interrupted,
                "nothing was exported",
                "you said no",
                "run it again when you want to move; nothing was changed",
            ));
        }
    }
    let password = new_password(context, args.password.password_file.as_deref(), prompt)?;
    let luggage = moving::pack(&folder)?;
    for name in &luggage.left {
        out.warn(&format!(
            "{} does not move along: it is no part of an operator's folder",
            printable(name)
        ));
    }
    let when = timestamp(SystemTime::now());
    let about = about(
        &holding.lock,
        holding.operator,
        &when,
        "It moved with everything, what its share has signed included, and the folder that it was made of is retired. Import it \
         once, with conclave import, then delete it: a share that works in two places costs the deposit.",
    );
    let about = archive::about_moved(&about, &luggage.entries);
    let sealed = seal(context, &luggage.entries, &about, &password)?;
    drop(meanwhile);
    let _meanwhile = interrupts::meanwhile_or(
        "this folder may be retired already, and its archive not be whole",
        "run the same command again, with the same password: it finishes what was begun",
    );
    moving::retire_and_write(&folder, &target, &sealed, &when)?;
    exported(context, &target);
    Ok(())
}

/// Encrypts what was taken along.
pub(super) fn seal(
    context: &Context,
    entries: &[Entry],
    about: &str,
    password: &Passphrase,
) -> Result<Vec<u8>, Problem> {
    let bytes: usize = entries.iter().map(|entry| entry.content.len()).sum();
    context.output.say(format!(
        "Encrypting {} files, {} KiB ...",
        entries.len(),
        bytes.div_ceil(1024)
    ));
    archive::seal(entries, about, password).map_err(|error| {
        Problem::other(
            "the archive cannot be made",
            error,
            "move what does not belong in this folder",
        )
    })
}

/// What an archive says of itself to whoever opens it by hand. `what` is said of its kind.
pub(super) fn about(lock: &Lock, operator: u16, when: &str, what: &str) -> String {
    format!(
        "The folder of operator {operator} of the cluster with the lock hash 0x{}, written by {SOFTWARE} on {when}.\n{what}\n",
        hex::encode(lock.lock_hash())
    )
}

/// Whether the archive that an interrupted export left is whole and this folder's: then that export is finished.
fn resumed(
    context: &Context,
    args: &ExportArgs,
    folder: &DataFolder,
    begun: (&State, &Path),
    prompt: Prompt,
) -> Result<bool, Problem> {
    let password = old_password(context, args.password.password_file.as_deref(), prompt)?;
    let luggage = moving::pack(folder)?;
    let open = |sealed: &[u8]| archive::open(sealed, &password);
    let when = timestamp(SystemTime::now());
    moving::resume(folder, begun, &luggage.entries, &open, &when)
}

/// The last words of an export.
fn exported(context: &Context, target: &Path) {
    let out = &context.output;
    out.say(format!(
        "This folder is permanently retired. Wrote {}. On the new machine, with the same password: conclave --data-dir NEW-FOLDER import {}",
        target.display(),
        target.file_name().unwrap_or_default().to_string_lossy()
    ));
    out.line(&Event::Written {
        path: target.display().to_string(),
        kind: "archive",
    });
}

/// Unpacks an archive into a new folder.
///
/// # Errors
/// With what went wrong, and its exit code.
pub(super) fn import(context: &Context, args: &ImportArgs) -> Result<(), Problem> {
    let out = &context.output;
    let disk = Disk::new();
    let network = input::network_file(args.own_network.network_file.as_deref())?;
    let sealed = disk.read(&args.file, MAX_BYTES)?;
    // Before a password is asked for.
    moving::refuse_filled(&disk, &context.data_dir)?;
    let undone = "nothing was imported";
    let meanwhile = interrupts::meanwhile(undone);
    let password = old_password(
        context,
        args.password.password_file.as_deref(),
        Prompt::before(undone),
    )?;
    out.say("Decrypting ...");
    let Opened { mut entries, moved } = archive::open_told(&sealed, &password).map_err(|error| {
        let advice = match &error {
            ArchiveError::Password => {
                "give the password that was typed when it was made; if it is the right one, take another copy of the file"
            }
            ArchiveError::Damaged | ArchiveError::CutOff => {
                "take another copy of the file, and copy it again from where it was made, as bytes and as a whole"
            }
            ArchiveError::Other(content) if content.is_damage() => {
                "take another copy of the file that conclave export or conclave backup wrote"
            }
            ArchiveError::Content(_) => {
                "give the file that conclave export or conclave backup wrote, or make one: tar c -C FOLDER . | age -p > FILE"
            }
            _ => "give the file that conclave export or conclave backup wrote, and its password",
        };
        Problem::bad_input(format!("{} cannot be imported", args.file.display()), error, advice)
    })?;
    drop(sealed);
    // Only a folder that was retired took its whole memory along. Whatever else this is, it is a backup, and the memory that may
    // be in it, made while the original went on, is none.
    let has = |name: &str| entries.iter().any(|entry| entry.name == name);
    let is_backup = !moved || !has(SLASHING_PROTECTION) || has(RESTORED);
    if is_backup {
        moving::make_backup(&mut entries);
    }
    drop(meanwhile);
    let _meanwhile = interrupts::meanwhile_or(
        "the import is not finished",
        "remove the folder that it began, then import the same archive again",
    );
    let folder = moving::make_room(&disk, &context.data_dir)?;
    out.say("Checking everything in it ...");
    let settled = moving::unpack(&folder, &entries)
        .and_then(|()| check(context, &folder, network.as_ref()))
        .and_then(|holding| {
            // What a backup's share signed is asked of the others by the first run.
            let mut mark = Some(Mark::Restored);
            if !is_backup {
                let cluster = Cluster::of_lock(&holding.lock, holding.operator);
                let cluster = cluster.map_err(|error| slashing::problem(&error))?;
                let guard = Guard::open(&folder.slashing_protection(), cluster);
                let guard = guard.map_err(|error| slashing::problem(&error))?;
                let marked = guard.mark_moved().and_then(|()| guard.mark());
                mark = marked.map_err(|error| slashing::problem(&error))?;
            }
            Ok((holding, mark))
        })
        .and_then(|done| moving::settle(&folder).map(|()| done));
    let (holding, mark) = settled.inspect_err(|_| moving::clear(&folder, &entries))?;
    imported(context, &holding, is_backup, mark);
    Ok(())
}

/// The last words of an import.
fn imported(context: &Context, holding: &Holding, is_backup: bool, mark: Option<Mark>) {
    let out = &context.output;
    let (operator, operators) = (holding.operator, holding.names.len());
    let name = holding.names.get(usize::from(operator).saturating_sub(1));
    let name = printable(name.map_or("", String::as_str));
    let who = format!("the folder of {name}, operator {operator} of {operators}");
    if is_backup {
        out.say(format!(
            "Imported {who} from a backup. This folder counts as restored: what its share signed after \
             the backup was made is not in it. {} asks whether the original is gone for good, waits until all other operators are \
             connected and have told what they remember, and signs from two whole epochs after that on.",
            context.command("run"),
        ));
        out.warn(
            "if the original may ever start again, start nothing here: a share that works in two places signs twice, and that costs the \
             deposit",
        );
    } else {
        out.say(format!(
            "Imported {who}. Start it with {}: {}.",
            context.command("run"),
            first_start(mark)
        ));
        out.warn(
            "nothing can prevent that this archive is imported a second time. A share that works in two places signs twice, and \
             that costs the deposit: delete the archive now, everywhere, and the old folder",
        );
    }
    out.line(&Event::Moved {
        path: context.data_dir.display().to_string(),
        operator,
        lock_hash: format!("0x{}", hex::encode(holding.lock.lock_hash())),
        restored: mark == Some(Mark::Restored),
    });
}

/// What the first start of a folder that moved does, by the mark that its slashing protection came with.
fn first_start(mark: Option<Mark>) -> &'static str {
    match mark {
        Some(Mark::Restored) => {
            "it was restored from a backup before it moved, so it waits until all other operators are connected and have told what they \
             remember, and signs from two whole epochs after that on"
        }
        Some(Mark::PartialImport) => {
            "it attests after two whole epochs, as not all that was signed before is on record"
        }
        Some(Mark::New | Mark::LatePublication | Mark::Moved) | None => {
            "it attests at once if all other operators confirm that they have seen nothing newer, else after two whole epochs"
        }
    }
}

/// All that `verify` checks, and that the shares can be worked with.
fn check(context: &Context, folder: &DataFolder, network: Option<&Network>) -> Result<Holding, Problem> {
    check_files(context, folder.disk(), folder.root(), network)?;
    holding::open(folder, network)
}

/// All that `verify` checks. What is wrong with deposit files, or with the records of the ceremony (the transcript, proofs of faults), is only
/// told: the share needs none of them, and has to have its backup, and its way to another machine, whatever became of them.
pub(super) fn check_files(
    context: &Context,
    disk: &Disk,
    root: &Path,
    network: Option<&Network>,
) -> Result<(), Problem> {
    let mut materials = gather(disk, &[root.to_owned()], None)?;
    for material in &mut materials {
        material.spares_deposits = true;
    }
    // Whose wallet signed what was settled before the ceremony, and is no reason not to move.
    let wallets = Wallets::unchecked();
    let mut result = verify_with(&materials, network, &weight_seed()?, &wallets);
    let of_deposits = |row: &Row| {
        let mut files = materials.iter().flat_map(|material| &material.deposits);
        row.check == DEPOSIT_FILES || files.any(|item| item.file == row.file)
    };
    let of_records = |row: &Row| {
        let mut files = materials
            .iter()
            .flat_map(|material| material.transcript.iter().chain(&material.evidence));
        files.any(|item| item.file == row.file)
    };
    let is_told = |row: &Row| of_deposits(row) || of_records(row);
    let (told, rest): (Vec<Row>, Vec<Row>) = result.rows.into_iter().partition(is_told);
    for row in told
        .iter()
        .filter(|row| row.check == DEPOSIT_FILES || matches!(row.outcome, Outcome::Failed(_)))
    {
        let why = row.outcome.reason().unwrap_or_default();
        let advice = if of_records(row) {
            "It is a record of the ceremony, and is taken along as it is"
        } else {
            "If you have still to deposit, take the file of another operator, which is the same"
        };
        context.output.warn(&printable(&format!(
            "{}: {}: {why}. Your share does not need it. {advice}",
            row.file, row.check
        )));
    }
    result.rows = rest;
    judge(&result)
}

/// The password of a new archive, from a file or asked for, twice. `prompt` says what is not done before.
pub(super) fn new_password(
    context: &Context,
    file: Option<&Path>,
    prompt: Prompt,
) -> Result<Passphrase, Problem> {
    let advice = format!(
        "give one of at least {MIN_PASSWORD} characters, on one line and without blanks around it, with --password-file, or when asked"
    );
    read_password(context, file, &advice, Passphrase::fit_for_new_from_bytes, || {
        let todo = format!(
            "type one of at least {MIN_PASSWORD} characters, on one line and without blanks around it"
        );
        let check = |text: &str| {
            let fit = Passphrase::fit_for_new(text).map(drop);
            fit.map_err(|why| Problem::bad_input("that password cannot be used", why, todo.as_str()))
        };
        let text = prompt.password("Password of the archive", true, check)?;
        Ok(Passphrase::fit_for_new(&text))
    })
}

/// The password of an archive that is there, from a file or asked for.
pub(super) fn old_password(
    context: &Context,
    file: Option<&Path>,
    prompt: Prompt,
) -> Result<Passphrase, Problem> {
    let advice = "give the one with which the archive was made, with --password-file, or when asked";
    read_password(context, file, advice, Passphrase::from_bytes, || {
        let check = |text: &str| {
            let fit = Passphrase::new(text).map(drop);
            fit.map_err(|why| {
                Problem::bad_input(
                    "that password cannot be used",
                    why,
                    "type the one with which the archive was made",
                )
            })
        };
        let text = prompt.password("Password of the archive", false, check)?;
        Ok(Passphrase::new(&text))
    })
}

/// What a password file holds. It may be a pipe from a program that keeps passwords.
fn password_file(context: &Context, path: &Path) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let is_within = |name: &str| {
        let (path, secret) = (path.canonicalize(), context.data_dir.join(name).canonicalize());
        path.ok()
            .zip(secret.ok())
            .is_some_and(|(path, secret)| path.starts_with(secret))
    };
    if [IDENTITY, VALIDATOR_KEYS].into_iter().any(is_within) {
        return Err(Problem::bad_input(
            format!("{} cannot be the password of an archive", path.display()),
            "it is a secret of this folder, which is in the archive: whoever loses the folder could not open it",
            "write a password of its own into a file elsewhere, or leave --password-file out and type one",
        ));
    }
    let is_pipe = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    if !is_pipe {
        return Ok(Disk::new().read_secret(path, MAX_PASSWORD_FILE)?);
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(
        usize::try_from(MAX_PASSWORD_FILE + 1).unwrap_or_default(),
    ));
    let read = File::open(path).and_then(|pipe| pipe.take(MAX_PASSWORD_FILE + 1).read_to_end(&mut bytes));
    let why = match read {
        Ok(count) if count as u64 <= MAX_PASSWORD_FILE => return Ok(bytes),
        Ok(_) => format!("more than {MAX_PASSWORD_FILE} bytes came, which is no password"),
        Err(error) => error.to_string(),
    };
    Err(Problem::bad_input(
        format!("no password can be read from {}", path.display()),
        why,
        "look at the program that writes into that pipe, or name a file",
    ))
}

fn read_password<E: std::fmt::Display>(
    context: &Context,
    file: Option<&Path>,
    advice: &str,
    of_file: impl FnOnce(&[u8]) -> Result<Passphrase, E>,
    asked: impl FnOnce() -> Result<Result<Passphrase, E>, Problem>,
) -> Result<Passphrase, Problem> {
    let (read, whose) = match file {
        Some(path) => (
            of_file(&password_file(context, path)?),
            format!("the password in {}", path.display()),
        ),
        None if context.output.can_ask() => (asked()?, "the password".to_owned()),
        None => return Err(prompt::unanswered(&["--password-file"])),
    };
    read.map_err(|why| Problem::bad_input(format!("{whose} cannot be used"), why, advice))
}
