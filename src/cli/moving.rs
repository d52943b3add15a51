//! `conclave export` and `conclave import`: one operator's folder to another machine.

use std::path::Path;
use std::time::SystemTime;

use rand::TryRng as _;
use zeroize::Zeroizing;

use crate::{
    ceremony::{
        define::timestamp,
        files::Disk,
        folder::DataFolder,
        holding::{self, Holding},
        moving::{
            self,
            archive::{self, MAX_BYTES, MIN_PASSWORD},
        },
        problem::{Kind, Problem},
        randomness::weight_seed,
        retirement::{self, State},
        verify::{gather, verify_with},
    },
    cluster::wallets::Wallets,
    ethereum::{keystore::Password, network::Network},
    validator::guard::{Cluster, Guard},
};

use super::{
    Context,
    args::{ExportArgs, ImportArgs},
    input,
    news::Event,
    output::printable,
    prompt, slashing,
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
    let network = input::network_file(args.own_network.network_file.as_deref())?;
    out.say("Checking everything in this folder ...");
    let holding = check(&folder, network.as_ref())?;
    let target = moving::target(&args.file, &holding.lock.lock_hash(), holding.operator);
    if state == State::Works && std::fs::symlink_metadata(&target).is_ok() {
        return Err(Problem::folder_state(
            format!("cannot write {}", target.display()),
            "it is there already, and nothing is ever overwritten",
            "name another file",
        ));
    }
    // Before the database is opened, which may change bytes of its file.
    if !moving::left_behind(&state, &target)?.is_empty()
        && resumed(context, args, &folder, (&state, &target))?
    {
        out.say("The export that was interrupted had written its archive already: it is whole, and this folder's.");
        exported(context, &target);
        return Ok(());
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
        if !prompt::confirm("Retire this folder?")? {
            return Err(Problem::new(
                Kind::Interrupted,
                "nothing was exported",
                "you said no",
                "run it again when you want to move; nothing was changed",
            ));
        }
    }
    let password = password(context, args.password.password_file.as_deref(), true)?;
    let luggage = moving::pack(&folder)?;
    for name in &luggage.left {
        out.warn(&format!(
            "{} does not move along: it is none of conclave's files",
            printable(name)
        ));
    }
    let sealed = archive::seal(luggage.entries, &password, &random()?, &Zeroizing::new(random()?)).map_err(
        |error| {
            Problem::other(
                "the folder cannot be exported",
                error,
                "move what does not belong there",
            )
        },
    )?;
    let when = timestamp(SystemTime::now());
    moving::retire_and_write(&folder, &target, &sealed, &when)?;
    exported(context, &target);
    Ok(())
}

/// Whether the archive that an interrupted export left is whole and this folder's: then that export is finished.
fn resumed(
    context: &Context,
    args: &ExportArgs,
    folder: &DataFolder,
    begun: (&State, &Path),
) -> Result<bool, Problem> {
    let password = password(context, args.password.password_file.as_deref(), false)?;
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
    let password = password(context, args.password.password_file.as_deref(), false)?;
    let entries = archive::open(&sealed, &password).map_err(|error| {
        Problem::bad_input(
            format!("{} cannot be imported", args.file.display()),
            error,
            "give the file that conclave export wrote, and the password of that export",
        )
    })?;
    let folder = moving::make_room(&disk, &context.data_dir)?;
    out.say("Checking everything in it ...");
    let settled = moving::unpack(&folder, &entries)
        .and_then(|()| check(&folder, network.as_ref()))
        .and_then(|holding| {
            let cluster = Cluster::of_lock(&holding.lock, holding.operator);
            let cluster = cluster.map_err(|error| slashing::problem(&error))?;
            let guard = Guard::open(&folder.slashing_protection(), cluster);
            let guard = guard.map_err(|error| slashing::problem(&error))?;
            guard.mark_moved().map_err(|error| slashing::problem(&error))?;
            Ok(holding)
        })
        .and_then(|holding| moving::settle(&folder).map(|()| holding));
    let holding = settled.inspect_err(|_| moving::clear(&folder, &entries))?;
    out.say(format!(
        "Imported operator {} of {}. Start it with conclave run: it attests at once if all other operators confirm that they \
         have\nseen nothing newer, else after two whole epochs.",
        holding.operator,
        holding.names.len()
    ));
    out.warn(
        "nothing can prevent that this archive is imported a second time. A share that works in two places signs twice, and \
         that costs the deposit: delete the archive now, everywhere, and the old folder",
    );
    out.line(&Event::Moved {
        path: context.data_dir.display().to_string(),
        operator: holding.operator,
        lock_hash: format!("0x{}", hex::encode(holding.lock.lock_hash())),
    });
    Ok(())
}

/// All that `verify` checks, and that the shares can be worked with.
fn check(folder: &DataFolder, network: Option<&Network>) -> Result<Holding, Problem> {
    let materials = gather(folder.disk(), &[folder.root().to_owned()], None)?;
    // Whose wallet signed what was settled before the ceremony, and is no reason not to move.
    let wallets = Wallets::unchecked();
    judge(&verify_with(&materials, network, &weight_seed()?, &wallets))?;
    holding::open(folder, network)
}

/// The archive's password, from a file or asked for: twice if it is a new one.
fn password(context: &Context, file: Option<&Path>, new: bool) -> Result<Password, Problem> {
    let fail = |why: &dyn std::fmt::Display| {
        Problem::bad_input(
            "the password cannot be used",
            why,
            format!("give one of at least {MIN_PASSWORD} characters with --password-file, or when asked"),
        )
    };
    let password = match file {
        Some(path) => {
            let bytes = Disk::new().read_secret(path, MAX_PASSWORD_FILE)?;
            Password::from_bytes(&bytes).map_err(|error| fail(&error))?
        }
        None if context.output.can_ask() => {
            let text = prompt::password("Password of the archive", new)?;
            Password::new(&text).map_err(|error| fail(&error))?
        }
        None => return Err(prompt::unanswered(&["--password-file"])),
    };
    if new && password.expose().chars().count() < MIN_PASSWORD {
        return Err(fail(&"it is too short for a file that holds your share"));
    }
    Ok(password)
}

fn random() -> Result<[u8; 32], Problem> {
    let mut bytes = [0; 32];
    rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(|error| {
        Problem::other(
            "cannot encrypt",
            error,
            "the operating system gives no randomness: use another machine",
        )
    })?;
    Ok(bytes)
}
