//! `conclave join`: take part in a ceremony.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use conclave_ceremony::backups;
use conclave_ceremony::conductor::{self, Ask, Handed, Outcome, Person, Setup};
use conclave_ceremony::entrance;
use conclave_ceremony::files::{Disk, is_there};
use conclave_ceremony::folder::{DEFINITION, DataFolder, SLASHING_PROTECTION};
use conclave_ceremony::identity::Identity;
use conclave_ceremony::names::Names;
use conclave_ceremony::problem::{Kind, Problem};
use conclave_ceremony::product;
use conclave_ceremony::progress::Event;
use conclave_ceremony::restored::RESTORED;
use conclave_ceremony::results::{self, Memory, Results};
use conclave_ceremony::retirement;
use conclave_ceremony::secrecy;
use conclave_cluster::lock::Lock;
use conclave_eth::keystore::Kdf;

use super::args::{JoinArgs, KdfChoice};
use super::output::{Output, printable};
use super::payee::Payees;
use super::screen::Screen;
use super::{Context, input, interrupts, prompt::Prompt, reach, summary, wallets};

/// How often the screen is told that time passes.
const TICK: Duration = Duration::from_secs(5);
/// Questions while the ceremony goes on.
const OFFER: Prompt = Prompt::beside("the ceremony is not over");

/// Runs the command.
///
/// # Errors
/// With what went wrong, and its exit code.
pub fn run(context: &Context, args: &JoinArgs) -> Result<(), Problem> {
    let start = Instant::now();
    let disk = Disk::new();
    let in_order = || {
        retirement::refuse(&disk, &context.data_dir)?;
        Identity::load(&disk, &context.data_dir).map(drop)
    };
    if args.definition.is_none() {
        // A wrong folder has no definition either.
        in_order()?;
    }
    let path = definition_path(context, args)?;
    let definition = input::definition(&path)?;
    let network = input::network_of(&definition, args.own_network.network_file.as_deref())?;
    // Before anything is written.
    in_order()?;
    let folder = DataFolder::open(&disk, &context.data_dir)?;
    let mut names = Names::load(&disk, &context.data_dir)?;
    let identity = Identity::load(&disk, &context.data_dir).ok();
    let own = identity.as_ref().map(|identity| identity.key().public());
    if let (Some(key), Some(name)) = (&own, identity.as_ref().and_then(Identity::name)) {
        names.insert(key, name);
    }
    let secrecy = secrecy::warning(&disk, &context.data_dir, &[]);
    for warning in secrecy
        .into_iter()
        .chain(Identity::damaged_name(&disk, &context.data_dir))
    {
        context.output.warn(&printable(&warning));
    }
    let begun = conductor::has_begun(&context.data_dir);
    let wallets = if entrance::was_entered(&folder, &definition)? {
        wallets::known_again(context, &args.wallets, (definition.clone(), &network))?
    } else {
        wallets::known(context, &args.wallets, &[(definition.clone(), &network)])?
    };
    entrance::examine(&folder, &definition, &network, &wallets)?;
    let keys = definition
        .operators
        .iter()
        .map(|operator| *operator.enr.node_public_key());
    let ways = reach::judge(&folder, &args.reach, &keys.collect::<Vec<_>>(), own.as_ref())?;
    ways.warn(&context.output);
    if begun {
        context
            .output
            .say("Going on with the ceremony that was begun in this folder.");
        context.output.event(&summary::event(&definition, &network));
    } else {
        let payees = Payees {
            context,
            any: args.payees.any_address,
            prompt: summary::ASK,
        };
        payees.of_definition(&definition, &network)?;
        summary::confirm(context, &definition, &network, &names, own.as_ref(), args.yes)?;
    }
    let lock = args.lock.as_deref().map(input::lock).transpose()?;
    let entrance = entrance::enter(&folder, &definition, &network, &product::net(&network), &wallets)?;
    let lock = handed(lock, entrance.lock_put_here.then(|| folder.lock()).as_deref())?;
    ways.keep(&folder)?;
    let found = entrance.finished.then(|| {
        context.output.say("Checking everything in this folder ...");
        results::check(&disk, &context.data_dir, &network)
    });
    if let Some(Err(problem)) = &found {
        // The others may still need what this folder has to tell.
        context
            .output
            .warn(&printable(&format!("{}: {}", problem.what, problem.why)));
    }
    let interrupted = interrupts::in_good_order();
    let screen = Arc::new(Mutex::new(Screen::new(&context.output)));
    let seen = Arc::downgrade(&screen);
    std::thread::spawn(move || {
        while let Some(screen) = seen.upgrade() {
            on(&screen).tick();
            drop(screen);
            std::thread::sleep(TICK);
        }
    });
    let mut show = |event: Event| on(&screen).show(&event);
    let own_network = network.clone();
    let setup = Setup {
        folder,
        definition,
        network,
        entrance,
        names,
        peers: args.reach.peers().cloned().collect(),
        listen: ways.listen,
        announce: ways.announce,
        wait: args.wait,
        retries: args.retries,
        attempt: args.attempt,
        lock,
        kdf: kdf(args.keystores.kdf),
    };
    let person = Person {
        show: &mut show,
        interrupted,
        ask: asker(&context.output, &screen),
    };
    let outcome = conductor::hold(setup, person);
    // A question that nobody answered may still stand there.
    interrupts::put_back();
    let outcome = outcome?;
    let results = match found {
        // Others may have shown meanwhile that this folder is an old copy.
        Some(Ok(_)) => results::look(&disk, &context.data_dir)?,
        _ if outcome.is_new => results::look(&disk, &context.data_dir)?,
        _ => results::check(&disk, &context.data_dir, &own_network)?,
    };
    report(context, &outcome, &results, start);
    Ok(())
}

/// The key derivation that was chosen.
pub fn kdf(choice: KdfChoice) -> Kdf {
    match choice {
        KdfChoice::Pbkdf2 => Kdf::Pbkdf2,
        KdfChoice::Scrypt => Kdf::Scrypt,
    }
}

/// The lock that finishes the ceremony: the one at this place in the folder, or else the one that was named.
fn handed(named: Option<Lock>, here: Option<&Path>) -> Result<Option<Handed>, Problem> {
    let Some(path) = here else {
        return Ok(named.map(|lock| Handed {
            bytes: lock.to_json(),
            lock,
            is_here: false,
        }));
    };
    // What is there under the lock's name stays as it is: it is that one, or none.
    let (lock, bytes) = input::lock_and_bytes(path)?;
    Ok(Some(Handed {
        lock,
        bytes,
        is_here: true,
    }))
}

fn definition_path(context: &Context, args: &JoinArgs) -> Result<PathBuf, Problem> {
    if let Some(path) = &args.definition {
        return Ok(path.clone());
    }
    let path = context.data_dir.join(DEFINITION);
    if is_there(&path)? {
        return Ok(path);
    }
    Err(Problem::new(
        Kind::Usage,
        "no definition was given",
        format!("there is none in {} either", context.data_dir.display()),
        "name the file that your group agreed on: conclave join cluster-definition.json; or name the right folder with --data-dir",
    ))
}

/// The screen, even if whoever drew on it last failed.
fn on(screen: &Mutex<Screen>) -> MutexGuard<'_, Screen> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks below the table, which stands still until there is an answer.
fn asker(output: &Output, screen: &Arc<Mutex<Screen>>) -> Option<Ask> {
    if !(output.can_ask() && std::io::stdout().is_terminal()) {
        return None;
    }
    let (output, screen) = (output.clone(), screen.clone());
    Some(Arc::new(move |why: &str, question: &str| {
        on(&screen).pause();
        // Apart from the question: what asks cannot erase a question that goes over more than a line.
        output.say(printable(why));
        let answer = OFFER.confirm(&printable(question)).unwrap_or_else(|problem| {
            output.say(format!(
                "{}. That counts as no. To be asked again, run the same command again.",
                printable(&problem.why)
            ));
            false
        });
        on(&screen).go_on();
        answer
    }))
}

fn report(context: &Context, outcome: &Outcome, results: &Results, start: Instant) {
    let validators: Vec<String> = outcome
        .validators
        .iter()
        .map(|key| format!("0x{}", hex::encode(key.to_bytes())))
        .collect();
    let out = &context.output;
    for lack in lacks(results) {
        out.warn(&lack);
    }
    out.event(&Event::Finished {
        lock_hash: Some(format!("0x{}", hex::encode(outcome.lock_hash))),
        validators: validators.clone(),
        seconds: start.elapsed().as_secs_f64(),
    });
    out.say("");
    out.say(format!(
        "Done. {} is in {}:",
        if results.absent.is_empty() && results.memory == Memory::Here {
            "Everything"
        } else {
            "This"
        },
        context.data_dir.display()
    ));
    for line in listed(results, outcome.is_new) {
        out.say(line);
    }
    out.say(format!("Lock hash   0x{}", hex::encode(outcome.lock_hash)));
    for (i, key) in validators.iter().take(20).enumerate() {
        out.say(format!("Validator {i} {key}"));
    }
    if validators.len() > 20 {
        out.say(format!(
            "and {} more, in cluster-lock.json",
            validators.len() - 20
        ));
    }
    if !outcome.unconfirmed.is_empty() {
        let has = if outcome.unconfirmed.len() == 1 {
            "has"
        } else {
            "have"
        };
        out.warn(&format!(
            "{} {has} not confirmed yet that the files are in place. Run the same command again later to help; deposit only when everybody has \
             everything",
            printable(&outcome.unconfirmed.join(", "))
        ));
    }
    if results.memory == Memory::Restored {
        out.say("If this folder was made of a backup, keep that.");
    } else {
        out.say(backups::make_now());
    }
    out.say("Then compare the lock hash with the others.");
    out.say("Check this folder at any time with: conclave verify DIR");
}

/// What is there, a file a line. `is_new`: the ceremony has ended just now, and nothing can have been signed since.
fn listed(results: &Results, is_new: bool) -> Vec<String> {
    let mut lines =
        vec!["  cluster-lock.json      what the group is; the same for everybody; public".to_owned()];
    if !results.deposits.is_empty() {
        lines.push("  deposit-data*.json     for the deposit; the same for everybody; public".to_owned());
    }
    lines.push(
        "  validator_keys/        YOUR shares and their passwords: secret, and nobody else has them"
            .to_owned(),
    );
    lines.push("  charon-enr-private-key your identity: secret".to_owned());
    if results.memory == Memory::Here {
        let what = if is_new { ": nothing yet" } else { "" };
        lines.push("  slashing-protection.redb".to_owned());
        lines.push(format!(
            "                         what your shares have signed{what}; conclave run needs it"
        ));
    }
    lines
}

/// What is not there, and what to do about it.
fn lacks(results: &Results) -> Vec<String> {
    let mut lines = Vec::new();
    if !results.absent.is_empty() {
        lines.push(format!(
            "not in this folder: {}. For the deposit take another operator's, which is the same for all, and see what conclave verify says of it",
            results.absent.join(", ")
        ));
    }
    match results.memory {
        Memory::Here => {}
        Memory::Restored => lines.push(format!(
            "this folder was restored from a backup, or turned out to be an old copy ({RESTORED}): what its shares signed since is not in it, and conclave run asks the other \
             operators for that"
        )),
        Memory::Missing => lines.push(format!(
            "not in this folder: {SLASHING_PROTECTION}, the record of what your shares have signed: conclave run does not start without it. None \
             was made now, for this folder says that its results were in place before, and somebody may have signed with them. If conclave run \
             was ever started with these shares, here or elsewhere: bring that file back from there; if it is lost, import your backup into a new \
             folder. Only if it was surely never started: conclave run --new-slashing-database, once"
        )),
    }
    lines
}
