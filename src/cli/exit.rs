//! `conclave exit`: one operator's consent to the end of a validator, and the signed exit from the consents of enough.

use std::path::{Path, PathBuf};

use conclave_beacon::{chain::spec::Pinned, nodes::Nodes};
use conclave_ceremony::folder::EXITS;
use conclave_ceremony::{
    files::{self, Disk, SECRET, is_folder},
    folder::DataFolder,
    holding::{self, Holding},
    problem::{Kind, Problem},
    retirement,
};
use conclave_cluster::lock::Lock;
use conclave_eth::{chain::time::Time, exit::VoluntaryExit, network::Network};
use conclave_validator::{
    control::{Answer, ControlError, Refusal, Request, Wish},
    exits::{Domain, MAX_FILE_BYTES, PartialExit, Standing, key_text, partial_name},
    group::Group,
};

use super::{
    Context,
    args::ExitArgs,
    exit_news::About,
    exit_parts, given, input,
    news::{Event, Who},
    output::printable,
    prompt::{self, Prompt},
    run::{beacon_nodes, now_ms, pinned},
    status,
};

/// Before any exit is signed.
const ASK: Prompt = Prompt::before("you have not consented to this exit, and nothing was signed for it");
/// How long a beacon node may take.
pub(super) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(15);
/// A beacon node that has not answered after this time is told of.
const QUICK: std::time::Duration = std::time::Duration::from_secs(2);
/// So many keys can be read in one line.
const FEW: usize = 4;

/// Runs the command.
///
/// # Errors
/// With what went wrong, and its exit code.
pub(super) fn run(context: &Context, args: &ExitArgs) -> Result<(), Problem> {
    let disk = Disk::new();
    retirement::refuse(&disk, &context.data_dir)?;
    let place = Place::open(context, &disk, args)?;
    if !args.combine.is_empty() {
        return exit_parts::combine(context, &disk, args, &place);
    }
    let validators = place.chosen(context, args)?;
    if let Some(path) = &args.partial_out {
        return to_files(context, &disk, args, &place, &validators, path);
    }
    if args.all {
        return all_through_node(context, args, &place, &validators);
    }
    for validator in validators {
        let looked = look(context, args, &place, validator)?;
        confirm(context, args, &place, &[(validator, looked.message)])?;
        consent(context, &place, &looked)?;
    }
    Ok(())
}

/// What all ways need.
pub(super) struct Place {
    lock: Lock,
    network: Option<Network>,
    pub(super) group: Group,
    operator: u16,
}

impl Place {
    /// Reads what never changes, so that a running node is not in the way.
    fn open(context: &Context, disk: &Disk, args: &ExitArgs) -> Result<Self, Problem> {
        let network = input::network_file(args.own_network.network_file.as_deref())?;
        let (lock, _, operator, names) = holding::examine_beside(disk, &context.data_dir, network.as_ref())?;
        let network = network.or_else(|| {
            let known = Network::by_fork_version(lock.definition().fork_version);
            known.ok().cloned()
        });
        let group = Group::for_exits(&lock, &names).map_err(|error| {
            Problem::new(
                Kind::LockRefused,
                "no exit can be signed with this lock",
                error,
                "exit its validators with the software that runs them",
            )
        })?;
        Ok(Self {
            lock,
            network,
            group,
            operator,
        })
    }

    pub(super) fn key(&self, validator: u32) -> String {
        key_text(&self.group, validator).unwrap_or_default()
    }

    /// The validators that were named, by their places in the lock; if none was, the only one.
    fn chosen(&self, context: &Context, args: &ExitArgs) -> Result<Vec<u32>, Problem> {
        let keys: Vec<String> = (0..)
            .zip(&self.group.validators)
            .map(|(place, _)| self.key(place))
            .collect();
        if args.all {
            return Ok((0..).zip(&keys).map(|(place, _)| place).collect());
        }
        if args.validators.is_empty() {
            if keys.len() == 1 {
                return Ok(vec![0]);
            }
            if !context.output.can_ask() || args.yes {
                return Err(prompt::unanswered(&["--validator or --all"]));
            }
            let place = ASK.choose("Which validator shall exit", &keys, None)?;
            return Ok(u32::try_from(place).into_iter().collect());
        }
        let find = |given: &String| {
            let named = given.trim().to_ascii_lowercase();
            let prefixed = if named.starts_with("0x") {
                named
            } else {
                format!("0x{named}")
            };
            let places = (0..).zip(&keys);
            let mut found = places
                .filter(|(_, key)| **key == prefixed)
                .map(|(place, _)| place);
            found.next().ok_or_else(|| not_named(given, &prefixed, &keys))
        };
        let mut chosen: Vec<u32> = Vec::new();
        for named in given::all(&args.validators) {
            let place = find(named)?;
            if !chosen.contains(&place) {
                chosen.push(place);
            }
        }
        Ok(chosen)
    }

    pub(super) fn who(&self, operators: &[u16]) -> Vec<Who> {
        let who = |operator: &u16| Who {
            operator: *operator,
            name: printable(self.group.name(*operator)),
        };
        operators.iter().map(who).collect()
    }

    pub(super) fn names(&self, operators: &[u16]) -> String {
        let names: Vec<String> = self.who(operators).into_iter().map(|who| who.name).collect();
        names.join(", ")
    }

    /// Refuses an exit that nobody can mean, before anything is signed.
    fn refuse_absurd(&self, message: &VoluntaryExit) -> Result<(), Problem> {
        let time = self.network.as_ref().map(Time::from);
        Standing::check_meant(message, time, now_ms())
            .map_err(|error| Problem::from_lines(Kind::BadInput, error))
    }

    /// What exits are signed for, if that is known without a beacon node.
    pub(super) fn domain(&self) -> Option<Domain> {
        let network = self.network.as_ref()?;
        Some(Domain {
            capella_fork_version: network.capella_fork_version,
            genesis_validators_root: network.genesis_validators_root?,
        })
    }
}

/// `given`, or `prefixed` if one begins with 0x, names none of these validators.
fn not_named(given: &str, prefixed: &str, keys: &[String]) -> Problem {
    let is_key = prefixed.len() == 98 && prefixed.bytes().skip(2).all(|digit| digit.is_ascii_hexdigit());
    let why = if is_key {
        "cluster-lock.json names no validator with this public key"
    } else {
        "a validator is named by its whole public key (0x and 96 digits), not by its place in the lock or its index on the \
         chain"
    };
    let what_to_do = match keys {
        [only] => format!("leave --validator out, or give the only one of this lock: {only}"),
        [_, _, ..] if keys.len() <= FEW => format!("give one of this lock's: {}", keys.join(", ")),
        _ => "give one of those that cluster-lock.json calls distributed_public_key; conclave status --json has them with \
              their indices on the chain"
            .to_owned(),
    };
    let what = format!("{} is no validator of this lock", printable(given.trim()));
    Problem::bad_input(what, why, what_to_do)
}

/// Shows what exits mean, and asks for something that is not typed by accident: once for all of them.
fn confirm(
    context: &Context,
    args: &ExitArgs,
    place: &Place,
    exits: &[(u32, VoluntaryExit)],
) -> Result<(), Problem> {
    let out = &context.output;
    let addresses = &place.lock.definition().validators;
    let (t, n) = (place.group.threshold, place.group.size());
    // Without a running node and without a beacon node nobody has looked.
    let seen = if args.partial_out.is_some() && args.beacon.beacon_nodes.is_empty() {
        "as you gave it: compare it with a block explorer"
    } else {
        "on the chain"
    };
    for (validator, message) in exits {
        let money = usize::try_from(*validator)
            .ok()
            .and_then(|place| addresses.get(place));
        let money = money
            .map(|addresses| addresses.withdrawal.to_checksum())
            .unwrap_or_default();
        out.say(format!(
            "Validator   {}\n            index {} {seen}, {} of {} in the lock\nExit        {}\nMoney       all of it \
             goes to the withdrawal address {money}\n",
            place.key(*validator),
            message.validator_index,
            validator.saturating_add(1),
            place.group.validators.len(),
            if message.epoch == 0 {
                "as soon as the chain takes it".to_owned()
            } else {
                format!("not before epoch {}", message.epoch)
            }
        ));
    }
    let (validators, its, it) = match exits.len() {
        1 => ("this validator".to_owned(), "It earns", "it has"),
        count => (format!("these {count} validators"), "They earn", "they have"),
    };
    out.say(format!(
        "An exit cannot be undone, and your consent cannot be taken back: once {t} of the {n} operators consent, anybody who \
         has \
         their parts can end {validators} for good. {its} nothing from then on. Keep your machines running until {it} left. \
         Make sure that the withdrawal address is yours, and that you can use it.\n"
    ));
    if args.yes {
        return Ok(());
    }
    if !out.can_ask() {
        return Err(prompt::unanswered(&["--yes, if this is what you want"]));
    }
    let wanted = match exits {
        [(validator, _)] => {
            let key = place.key(*validator);
            format!("exit {}", key.get(..10).unwrap_or(&key))
        }
        _ => format!("exit all {}", exits.len()),
    };
    ASK.words("To consent", &wanted)
}

fn refused(refusal: Refusal) -> Problem {
    Problem::folder_state(refusal.what, refusal.why, refusal.what_to_do)
}

fn ask(context: &Context, request: &Request) -> Result<Answer, Problem> {
    match status::ask(context, request) {
        Ok(Answer::Refused(refusal)) => Err(refused(refusal)),
        Ok(answer) => Ok(answer),
        Err(error @ ControlError::NotRunning) => Err(Problem::folder_state(
            "nobody is there to pass your consent on",
            error,
            "start conclave run in this folder, or write your part into a file with --partial-out",
        )),
        Err(error) => Err(status::problem(context, &error)),
    }
}

/// A validator that the running node has looked up.
struct Looked {
    public_key: String,
    message: VoluntaryExit,
}

/// The running node looks a validator up; who has consented so far is told.
fn look(context: &Context, args: &ExitArgs, place: &Place, validator: u32) -> Result<Looked, Problem> {
    let public_key = place.key(validator);
    let look = Request::ExitLook {
        public_key: public_key.clone(),
    };
    let Answer::ExitLook {
        validator_index: index,
        wishes,
        ..
    } = ask(context, &look)?
    else {
        return Err(unexpected());
    };
    let given = args.validator_index.unwrap_or(index);
    if given != index {
        return Err(refused(Refusal::from_lines(Standing::OtherIndex {
            found: index,
            given,
        })));
    }
    let message = VoluntaryExit {
        epoch: args.epoch,
        validator_index: index,
    };
    place.refuse_absurd(&message)?;
    confirm_wishes(context, place, &wishes, message);
    Ok(Looked { public_key, message })
}

/// The running node signs, and tells the others.
fn consent(context: &Context, place: &Place, looked: &Looked) -> Result<(), Problem> {
    let out = &context.output;
    let Looked { public_key, message } = looked;
    let consent = Request::Exit {
        public_key: public_key.clone(),
        validator_index: message.validator_index,
        epoch: message.epoch,
    };
    let Answer::Exit {
        operators,
        threshold,
        signed,
    } = ask(context, &consent)?
    else {
        return Err(unexpected());
    };
    let path = signed.map(|file| context.data_dir.join(EXITS).join(file));
    out.say(format!(
        "Your share has signed. {} of the {threshold} that are needed consent: {}.",
        operators.len(),
        place.names(&operators)
    ));
    out.say(match &path {
        Some(path) => format!(
            "The exit is signed: {}. The running nodes give it to their beacon nodes.",
            path.display()
        ),
        None => "Your running node tells the others; each of them consents by its own conclave exit, whenever it suits them."
            .to_owned(),
    });
    let about = About::of(if path.is_some() { "signed" } else { "consented" }, public_key);
    let about = About {
        path: path.map(|path| path.display().to_string()),
        ..about.consents(*message, place.who(&operators), threshold)
    };
    out.line(&Event::from(about));
    Ok(())
}

/// All validators that can exit, asked for once. Those that cannot are told and left out.
fn all_through_node(
    context: &Context,
    args: &ExitArgs,
    place: &Place,
    validators: &[u32],
) -> Result<(), Problem> {
    let mut left_out = LeftOut::default();
    let mut looked = Vec::new();
    for validator in validators {
        match look(context, args, place, *validator) {
            Ok(found) => looked.push((*validator, found)),
            // Of the validator, not of the node: the next may do.
            Err(problem) if problem.kind == Kind::FolderState && node_is_there(context) => {
                left_out.tell(context, &place.key(*validator), problem);
            }
            Err(problem) => return Err(problem),
        }
    }
    if looked.is_empty() {
        return left_out.end();
    }
    let exits: Vec<(u32, VoluntaryExit)> = looked
        .iter()
        .map(|(place, found)| (*place, found.message))
        .collect();
    confirm(context, args, place, &exits)?;
    for (validator, found) in &looked {
        context
            .output
            .say(format!("Validator {}:", place.key(*validator)));
        if let Err(problem) = consent(context, place, found) {
            left_out.tell(context, &place.key(*validator), problem);
        }
    }
    left_out.end()
}

/// Whether the running node still answers.
fn node_is_there(context: &Context) -> bool {
    !matches!(
        status::ask(context, &Request::Status {}),
        Err(ControlError::NotRunning)
    )
}

/// Validators that were left out of many.
#[derive(Default)]
struct LeftOut {
    /// How many should not have been, and why the last of them was.
    count: usize,
    last: Option<Problem>,
}

impl LeftOut {
    /// Tells of one. That it is leaving already is no fault.
    fn tell(&mut self, context: &Context, key: &str, problem: Problem) {
        let line = format!("{key} is left out: {}: {}", problem.what, problem.why);
        context.output.warn(&printable(&line));
        if problem.what_to_do != Standing::DONE {
            self.count += 1;
            self.last = Some(problem);
        }
    }

    /// The end of the command: fine if nobody was left out who could have exited.
    fn end(self) -> Result<(), Problem> {
        match self.last {
            None => Ok(()),
            Some(last) => Err(Problem {
                what: match self.count {
                    1 => last.what,
                    count => format!("{count} validators were left out; of the last one: {}", last.what),
                },
                ..last
            }),
        }
    }
}

pub(super) fn unexpected() -> Problem {
    Problem::other(
        "the running node could not be asked",
        "it gave another answer than was asked for",
        "use the same version of conclave for run and for this command",
    )
}

/// Who has consented to what.
fn confirm_wishes(context: &Context, place: &Place, wishes: &[Wish], message: VoluntaryExit) {
    for wish in wishes {
        let names = place.names(&wish.operators);
        if (wish.epoch, wish.validator_index) == (message.epoch, message.validator_index) {
            context.output.say(format!("So far consent: {names}."));
        } else {
            context.output.warn(&format!(
                "{names}: an exit from epoch {} on, of index {}. That is another exit than yours: only equal ones count \
                 together",
                wish.epoch, wish.validator_index
            ));
        }
    }
}

/// Signs into files: the one that is named, or one for each validator in the folder that is named.
fn to_files(
    context: &Context,
    disk: &Disk,
    args: &ExitArgs,
    place: &Place,
    validators: &[u32],
    path: &Path,
) -> Result<(), Problem> {
    let many = args.all || validators.len() > 1;
    if many && files::is_there(path)? && !is_folder(path)? {
        return Err(Problem::new(
            Kind::Usage,
            "one file is for one validator",
            format!(
                "{} is no folder, and {} validators shall exit",
                path.display(),
                validators.len()
            ),
            "name a folder with --partial-out, or one validator with --validator",
        ));
    }
    let folder = DataFolder::open(disk, &context.data_dir).map_err(|mut problem| {
        if problem.what.contains("is in use") {
            "leave out --partial-out: the running node signs for you and tells the others"
                .clone_into(&mut problem.what_to_do);
        }
        problem
    })?;
    let (found, domain) = on_chain(context, disk, args, place, validators)?;
    let mut left_out = LeftOut::default();
    let mut exits = Vec::new();
    for (validator, index) in found {
        match index {
            Ok(validator_index) => {
                let message = VoluntaryExit {
                    epoch: args.epoch,
                    validator_index,
                };
                place.refuse_absurd(&message)?;
                exits.push((validator, message));
            }
            Err(standing) => {
                let problem = Problem::from_lines(Kind::BadInput, standing);
                if !args.all {
                    return Err(problem);
                }
                left_out.tell(context, &place.key(validator), problem);
            }
        }
    }
    let mut wanted = Vec::new();
    for (validator, message) in exits {
        let file = part_path(place, (validator, &message), many, path)?;
        match is_there(disk, place, &domain, (validator, &message), &file) {
            Ok(true) => wrote(context, place, (validator, message), &file, "is there already"),
            Ok(false) => wanted.push((validator, message)),
            Err(problem) if many => left_out.tell(context, &place.key(validator), problem),
            Err(problem) => return Err(problem),
        }
    }
    let exits = wanted;
    if exits.is_empty() {
        return left_out.end();
    }
    confirm(context, args, place, &exits)?;
    context.output.say("Opening the keystores ...");
    let holding = holding::open(&folder, place.network.as_ref())?;
    if many && !files::is_there(path)? {
        disk.create_folder(path)?;
    }
    for (validator, message) in &exits {
        let path = part_path(place, (*validator, message), many, path)?;
        sign_into(
            context,
            disk,
            place,
            &holding,
            &domain,
            (*validator, *message),
            &path,
        )?;
    }
    left_out.end()
}

/// Where the own part of an exit goes: the file that was named, or one in that folder, which need not be there yet.
fn part_path(
    place: &Place,
    (validator, message): (u32, &VoluntaryExit),
    many: bool,
    given: &Path,
) -> Result<PathBuf, Problem> {
    if !many && !is_folder(given)? {
        return Ok(given.to_owned());
    }
    let name = partial_name(&place.group, (place.operator, validator), message);
    Ok(given.join(name.ok_or_else(unexpected)?))
}

/// Whether the own part of this exit is there already, from an earlier start: then it is as good as a new one.
///
/// # Errors
/// If something else is.
fn is_there(
    disk: &Disk,
    place: &Place,
    domain: &Domain,
    (validator, message): (u32, &VoluntaryExit),
    path: &Path,
) -> Result<bool, Problem> {
    if !files::has_name(path)? {
        return Ok(false);
    }
    let part = disk.read(path, MAX_FILE_BYTES as u64).ok();
    let part = part.and_then(|bytes| PartialExit::from_json(&bytes, &place.group).ok());
    let same = part.is_some_and(|part| {
        (part.operator, part.validator, &part.message) == (place.operator, validator, message)
            && part.check_author(&place.group).is_ok()
            && part.check_share(&place.group, domain).is_ok()
    });
    if same {
        return Ok(true);
    }
    Err(Problem::folder_state(
        format!("cannot write {}", path.display()),
        "it is there already, it is not your part of this exit, and nothing is ever overwritten",
        "name another file or folder with --partial-out, or move that file away",
    ))
}

/// Signs one exit into a new file.
fn sign_into(
    context: &Context,
    disk: &Disk,
    place: &Place,
    holding: &Holding,
    domain: &Domain,
    (validator, message): (u32, VoluntaryExit),
    path: &Path,
) -> Result<(), Problem> {
    let share = usize::try_from(validator)
        .ok()
        .and_then(|place| holding.shares.get(place));
    let share = share.ok_or_else(unexpected)?;
    let partial = PartialExit::sign(
        (place.operator, holding.identity.key()),
        (validator, share),
        &place.group.lock_hash,
        domain,
        message,
        now_ms(),
    );
    disk.write_new(path, &partial.to_json(&place.group), SECRET)?;
    wrote(context, place, (validator, message), path, "is written");
    Ok(())
}

/// Tells of the own part in a file.
fn wrote(
    context: &Context,
    place: &Place,
    (validator, message): (u32, VoluntaryExit),
    path: &Path,
    how: &str,
) {
    let out = &context.output;
    out.say(format!(
        "{} {how}. Send it to whoever collects the parts.",
        path.display()
    ));
    let about = About {
        path: Some(path.display().to_string()),
        ..About::of("consented", &place.key(validator)).consents(
            message,
            place.who(&[place.operator]),
            place.group.threshold,
        )
    };
    out.line(&Event::from(about));
}

/// A validator, and its index or why it cannot exit.
type Found = (u32, Result<u64, Standing>);

/// The validators' indices, and what exits are signed for: from a beacon node if there is one, else as given.
fn on_chain(
    context: &Context,
    disk: &Disk,
    args: &ExitArgs,
    place: &Place,
    validators: &[u32],
) -> Result<(Vec<Found>, Domain), Problem> {
    if args.beacon.beacon_nodes.is_empty() {
        let missing = |what_to_do: &str| {
            Problem::new(
                Kind::Usage,
                "the validator's index is missing",
                "there is no beacon node to ask",
                what_to_do,
            )
        };
        let [validator] = validators else {
            return Err(missing(
                "give --beacon-node, or one validator and its --validator-index",
            ));
        };
        let index = args
            .validator_index
            .ok_or_else(|| {
                missing(
                    "give --beacon-node, which is asked for it; or --validator-index with the number that a block explorer shows for that public key",
                )
            })?;
        return Ok((
            vec![(*validator, Ok(index))],
            place.domain().ok_or_else(no_domain)?,
        ));
    }
    let key = |validator: &u32| {
        let at = usize::try_from(*validator).ok();
        let validator = at.and_then(|at| place.group.validators.get(at));
        validator
            .map(|validator| validator.key.to_bytes())
            .ok_or_else(unexpected)
    };
    let keys: Vec<[u8; 48]> = validators.iter().map(key).collect::<Result<_, _>>()?;
    with_beacon_nodes(context, disk, args, place, async |nodes, domain| {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let found = patiently(
            |line| context.output.warn(line),
            nodes,
            nodes.validators(&keys, deadline),
        )
        .await;
        let found = found.map_err(|error| {
            Problem::other(
                "the validator could not be looked up",
                &error,
                error.advice_at_the_end(),
            )
        })?;
        for dispute in found.disputes.iter().filter(|dispute| !dispute.is_open) {
            context.output.warn(&printable(&format!(
                "not all beacon nodes agree which validator 0x{} is ({dispute}): what most of them say counts",
                hex::encode(dispute.pubkey)
            )));
        }
        let index = |key: &[u8; 48]| {
            if let Some(dispute) = found.open(key) {
                return Err(Standing::Disputed(printable(&dispute.to_string())));
            }
            let status = found.found.iter().find(|one| one.validator.pubkey == *key);
            let status = status.ok_or(Standing::Unknown)?;
            Standing::check(status)?;
            let found = status.index;
            match args.validator_index {
                Some(given) if given != found => Err(Standing::OtherIndex { found, given }),
                _ => Ok(found),
            }
        };
        let found = validators
            .iter()
            .zip(&keys)
            .map(|(validator, key)| (*validator, index(key)));
        Ok((found.collect(), domain))
    })
}

pub(super) fn no_domain() -> Problem {
    Problem::bad_input(
        "it is not known what exits of this network are signed for",
        "the network's genesis validators root is missing",
        "give --beacon-node, or --network-file with a file that has genesis_validators_root",
    )
}

/// Waits for what beacon nodes are asked, which has [`PATIENCE`], and tells for whom when that takes its time: one that accepts and never
/// answers would be silence until it has failed.
pub(super) async fn patiently<T>(
    tell: impl FnOnce(&str),
    nodes: &Nodes,
    asked: impl Future<Output = T>,
) -> T {
    let mut asked = std::pin::pin!(asked);
    if let Ok(answer) = tokio::time::timeout(QUICK, asked.as_mut()).await {
        return answer;
    }
    let why = nodes.awaited();
    let why = why
        .as_deref()
        .unwrap_or("none has taken it yet, and it is tried again");
    tell(&format!(
        "waiting for a beacon node: {}. It is given {} seconds in all",
        printable(why),
        PATIENCE.as_secs()
    ));
    asked.await
}

/// Does something with beacon nodes of the lock's network.
pub(super) fn with_beacon_nodes<T>(
    context: &Context,
    disk: &Disk,
    args: &ExitArgs,
    place: &Place,
    work: impl AsyncFnOnce(&Nodes, Domain) -> Result<T, Problem>,
) -> Result<T, Problem> {
    let fork_version = place.lock.definition().fork_version;
    let pinned: Pinned = pinned(place.network.as_ref(), fork_version);
    let nodes = beacon_nodes(disk, &args.beacon, pinned, |repeated| {
        context.output.warn(repeated);
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Problem::other("cannot ask a beacon node", error, "try again"))?;
    runtime.block_on(async {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        patiently(
            |line| context.output.warn(line),
            &nodes,
            nodes.check(now_ms(), deadline),
        )
        .await;
        let Some(chain) = nodes.chain() else {
            use conclave_beacon::nodes::State;
            let health = nodes.health();
            let wrong = health
                .iter()
                .all(|node| matches!(node.state, State::WrongNetwork(_)));
            let texts: Vec<String> = health
                .iter()
                .map(|node| format!("{}: {}", node.name, node.state.text()))
                .collect();
            return Err(Problem::new(
                if wrong { Kind::WrongNetwork } else { Kind::Other },
                "no beacon node can be used",
                printable(&texts.join("; ")),
                "give --beacon-node a node of the lock's network that is up",
            ));
        };
        let domain = Domain {
            capella_fork_version: chain.spec.capella_fork_version,
            genesis_validators_root: chain.genesis.validators_root,
        };
        work(&nodes, domain).await
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    };

    use futures::FutureExt as _;

    use conclave_beacon::testing::{connect, serve};

    use super::*;

    /// One that answered the first check, and hangs at whatever it is asked later.
    #[tokio::test]
    async fn a_beacon_node_that_hangs_later_is_told_of_while_it_is_waited_for() {
        let hangs = Arc::new(AtomicBool::new(false));
        let hung = hangs.clone();
        let server = serve(7, move |_| {
            let hangs = hung.load(Ordering::SeqCst);
            async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                None
            }
            .boxed()
        })
        .await;
        let nodes = connect(&[&server]).await;
        let name = nodes.health().remove(0).name;
        hangs.store(true, Ordering::SeqCst);
        let told = Mutex::new(String::new());
        let tell = |line: &str| line.clone_into(&mut told.lock().unwrap());
        let until_told = async {
            while told.lock().unwrap().is_empty() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let deadline = tokio::time::Instant::now() + 4 * PATIENCE;
        let asked = async {
            tokio::select! {
                _ = nodes.validators(&[[5; 48]], deadline) => panic!("nothing was told"),
                () = until_told => {}
            }
        };
        patiently(tell, &nodes, asked).await;
        let told = told.into_inner().unwrap();
        assert!(told.contains(&format!("{name} has not answered yet")), "{told}");
        assert_eq!(nodes.awaited(), None);
    }

    #[test]
    fn what_names_no_validator_is_told_with_what_would() {
        let keys: Vec<String> = (0..6)
            .map(|place| format!("0x{}", hex::encode([place; 48])))
            .collect();
        let told = |given: &str, keys: &[String]| {
            let prefixed = format!("0x{}", given.trim_start_matches("0x"));
            not_named(given, &prefixed, keys)
        };
        let one = told("0", &keys[..1]);
        assert_eq!(one.what, "0 is no validator of this lock");
        assert!(
            one.why
                .contains("not by its place in the lock or its index on the chain"),
            "{one:?}"
        );
        assert!(
            one.what_to_do.contains("leave --validator out") && one.what_to_do.contains(&keys[0]),
            "{one:?}"
        );
        let few = told("0xabc", &keys[..2]);
        assert!(few.why.contains("whole public key"), "{few:?}");
        assert!(
            few.what_to_do.contains(&keys[0]) && few.what_to_do.contains(&keys[1]),
            "{few:?}"
        );
        let many = told(&"ab".repeat(48), &keys);
        assert!(
            many.why.contains("names no validator with this public key"),
            "{many:?}"
        );
        assert!(many.what_to_do.contains("distributed_public_key"), "{many:?}");
    }
}
