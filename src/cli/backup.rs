//! `conclave backup`: an encrypted copy of one operator's folder, which stays as it is.

use std::time::SystemTime;

use conclave_ceremony::{
    backups,
    files::{Disk, is_there},
    folder::{LOCK, VALIDATOR_KEYS},
    holding,
    keystores::KeyFile,
    moving::{
        self,
        archive::{self, Entry},
    },
    problem::Problem,
    retirement,
};

use conclave_eth::text::timestamp;

use super::{
    Context,
    args::BackupArgs,
    input, interrupts,
    moving::{about, check_files, new_password, seal},
    news::Event,
    output::printable,
    prompt::Prompt,
};

/// True until there is a file.
const UNDONE: &str = "no backup was made, and this folder is as it was";

/// Writes everything but the slashing protection into an archive. Another process may be at work in the folder meanwhile.
///
/// # Errors
/// With what went wrong, and its exit code.
pub(super) fn backup(context: &Context, args: &BackupArgs) -> Result<(), Problem> {
    let out = &context.output;
    let (disk, root) = (Disk::new(), &context.data_dir);
    retirement::refuse(&disk, root)?;
    // The lock is the last of the results that gets its name.
    if !is_there(&root.join(LOCK))? {
        return Err(Problem::folder_state(
            "there is nothing to back up yet",
            format!(
                "there is no {LOCK} in {}: the ceremony in it is not finished, or this is another folder",
                root.display()
            ),
            format!("{}; or name the right folder with --data-dir", backups::BEFORE),
        ));
    }
    let network = input::network_file(args.own_network.network_file.as_deref())?;
    let meanwhile = interrupts::meanwhile(UNDONE);
    out.say("Checking everything in this folder ...");
    let (lock, _, operator, names) = holding::examine_beside(&disk, root, network.as_ref())?;
    let luggage = moving::copy(&disk, root)?;
    let keystores = KeyFile::all(&disk, &root.join(VALIDATOR_KEYS))?;
    let shut = keystores.iter().filter(|file| !file.has_own_password).count();
    if shut > 0 {
        return Err(Problem::folder_state(
            format!("the passwords of {shut} keystores are not in this folder"),
            "a backup without them could never be imported: nobody could open the shares in it",
            format!(
                "put each back beside its keystore ({VALIDATOR_KEYS}/keystore-N.txt), then make the backup again"
            ),
        ));
    }
    check_files(context, &disk, root, network.as_ref())?;
    let when = timestamp(SystemTime::now());
    let target = moving::backup_target(&args.file, &lock.lock_hash(), operator, &when);
    moving::refuse_target(&target)?;
    let password = new_password(
        context,
        args.password.password_file.as_deref(),
        Prompt::before(UNDONE),
    )?;
    for name in &luggage.left {
        out.warn(&format!(
            "{} is not in the backup: it is no part of an operator's folder",
            printable(name)
        ));
    }
    let about = about(
        &lock,
        operator,
        &when,
        "It is a backup: everything but what the share has signed since. It is for the day on which the original is gone for good. Make a \
         folder of it with conclave import; do not use the files by hand, and never start them beside the original.",
    );
    let sealed = seal(context, &luggage.entries, &about, &password)?;
    drop(meanwhile);
    let _meanwhile = interrupts::meanwhile_or(
        "the backup was not read again",
        "delete the file if it is there, then make the backup again",
    );
    let written = moving::write_backup(&disk, &target, &sealed)?;
    out.say("Reading it again ...");
    let read = archive::open(&written, &password).map(|entries| same(entries, luggage.entries));
    if read != Ok(true) {
        return Err(Problem::other(
            format!("{} is no good backup", target.display()),
            "what is there is not what was written",
            "look at that disk; delete the file, and make the backup elsewhere",
        ));
    }
    let name = names
        .get(usize::from(operator).saturating_sub(1))
        .map_or("", String::as_str);
    out.say(format!(
        "Wrote {}: the folder of {}, operator {operator} of {}, encrypted. It was read again, and is whole. This folder goes on as before.\n\
         It holds everything but the slashing protection. {}.",
        target.display(),
        printable(name),
        names.len(),
        backups::USE
    ));
    out.say(
        "Keep its password elsewhere, and backups of different operators apart: enough of them together are the key. With any program for \
         age files it opens, too: age -d FILE | tar x",
    );
    out.line(&Event::Written {
        path: target.display().to_string(),
        kind: "backup",
    });
    Ok(())
}

/// Whether these are the same files.
fn same(mut one: Vec<Entry>, mut other: Vec<Entry>) -> bool {
    one.sort_by(|a, b| a.name.cmp(&b.name));
    other.sort_by(|a, b| a.name.cmp(&b.name));
    one.len() == other.len()
        && one
            .iter()
            .zip(&other)
            .all(|(one, other)| one.name == other.name && *one.content == *other.content)
}
