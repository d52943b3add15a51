//! Parts of voluntary exits that came as files: to the running node, or the signed exit of enough of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use conclave_ceremony::folder::EXITS;
use conclave_ceremony::{
    files::{Cause, Disk, FileError, SECRET, is_folder, is_there},
    problem::{Kind, Problem},
};
use conclave_eth::exit::VoluntaryExit;
use conclave_validator::exits::files::ExitFiles;
use conclave_validator::{
    control::{self, Answer, ControlError, Request},
    exits::{self, Combined, Lacking, MAX_FILE_BYTES, PartialExit, signed_file, signed_name},
};

use super::{
    Context,
    args::ExitArgs,
    exit::{PATIENCE, Place, no_domain, patiently, unexpected, with_beacon_nodes},
    exit_news::About,
    news::Event,
    output::printable,
    prompt, status,
};

/// Makes the signed exits from files, each by itself. A node that is at work in this folder takes them in, unless the exit is wanted here.
pub(super) fn combine(context: &Context, disk: &Disk, args: &ExitArgs, place: &Place) -> Result<(), Problem> {
    let out = &context.output;
    let mut partials = read(disk, args, place)?;
    let exit = |part: &PartialExit| (part.validator, part.message.validator_index, part.message.epoch);
    let exits: BTreeSet<_> = partials.iter().map(exit).collect();
    if let Some(out) = args.out.as_ref().filter(|_| exits.len() > 1)
        && is_there(out)?
        && !is_folder(out)?
    {
        return Err(Problem::new(
            Kind::Usage,
            "one file is for one exit",
            format!(
                "{} is no folder, and these are parts of {} exits",
                out.display(),
                exits.len()
            ),
            "name a folder with --out, or combine the parts of one exit at a time",
        ));
    }
    if args.out.is_none() && !args.submit && hand_over(context, place, &partials)? {
        return Ok(());
    }
    // What a node of this folder was sent counts, too.
    let known = ExitFiles::at(disk, &context.data_dir).known();
    let known = known
        .iter()
        .filter_map(|bytes| PartialExit::from_json(bytes, &place.group).ok());
    let same = |one: &PartialExit, other: &PartialExit| {
        (one.validator, one.message) == (other.validator, other.message)
    };
    let of_these: Vec<PartialExit> = known
        .filter(|known| partials.iter().any(|given| same(given, known)))
        .collect();
    partials.extend(of_these);
    if args.submit && args.beacon.beacon_nodes.is_empty() {
        return Err(prompt::unanswered(&["--beacon-node"]));
    }
    let domain = match place.domain() {
        Some(domain) => domain,
        None if args.beacon.beacon_nodes.is_empty() => return Err(no_domain()),
        None => with_beacon_nodes(context, disk, args, place, async |_, domain| Ok(domain))?,
    };
    let tally = exits::combine(&place.group, &domain, &partials);
    for wrong in &tally.wrong {
        out.warn(&format!(
            "the part of {} (operator {}) for validator {} is wrong: {}",
            place.names(&[wrong.operator]),
            wrong.operator,
            place.key(wrong.validator),
            wrong.error
        ));
    }
    let made = tally
        .made
        .iter()
        .map(|made| (made.validator, made.exit.message, &made.operators));
    let lacking = tally
        .lacking
        .iter()
        .map(|one| (one.validator, one.message, &one.operators));
    let differences = differences(place, made.chain(lacking));
    let several = tally.made.len() + tally.lacking.len() > 1;
    // What ends the command is not told before.
    let last = tally.lacking.first().map(|lacking| lacking.validator);
    for (_, difference) in differences
        .iter()
        .filter(|(validator, _)| Some(**validator) != last)
    {
        out.warn(difference);
    }
    let mut outcome = Outcome {
        lacking: tally
            .lacking
            .iter()
            .map(|lacking| {
                let difference = differences.get(&lacking.validator);
                tell_lack(context, place, lacking, (difference, several))
            })
            .collect(),
        ..Outcome::default()
    };
    let mut written = Vec::new();
    for made in &tally.made {
        match write_signed(context, disk, args, place, several, made) {
            Ok(path) => written.push((made, path)),
            // The others are exited all the same.
            Err(problem) => {
                if several {
                    out.warn(&printable(&format!("{}: {}", problem.what, problem.why)));
                }
                outcome.unwritten.push(problem);
            }
        }
    }
    outcome.signed = written.len();
    for (made, path) in &written {
        tell_signed(context, place, made, path);
    }
    if args.submit && !written.is_empty() {
        outcome.untaken = submit(context, disk, args, place, &written);
    } else if !written.is_empty() {
        out.say("Give it to a beacon node with --submit, or: curl -X POST -H 'content-type: application/json' -d @FILE \
                 BEACON_NODE/eth/v1/beacon/pool/voluntary_exits");
    }
    outcome.conclude()
}

/// Why a file cannot be read as a part of an exit.
fn no_part(path: &Path, error: FileError) -> Problem {
    let is_list = error.is_missing() && path.to_string_lossy().contains(',');
    let is_large = matches!(error.cause, Cause::TooLarge(_));
    let mut problem = Problem::from(error);
    if is_large {
        "it is far too large for a part of an exit".clone_into(&mut problem.why);
        "give files that operators of this cluster wrote with conclave exit --partial-out"
            .clone_into(&mut problem.what_to_do);
    }
    if is_list {
        "give the files one after the other, with a blank between them: --combine FILE FILE"
            .clone_into(&mut problem.what_to_do);
    }
    problem
}

/// Reads the parts.
fn read(disk: &Disk, args: &ExitArgs, place: &Place) -> Result<Vec<PartialExit>, Problem> {
    let mut partials = Vec::with_capacity(args.combine.len());
    for path in &args.combine {
        let bytes = disk
            .read(path, MAX_FILE_BYTES as u64)
            .map_err(|error| no_part(path, error))?;
        let partial = PartialExit::from_json(&bytes, &place.group).map_err(|error| {
            Problem::bad_input(
                format!("{} cannot be used", path.display()),
                error,
                "give files that operators of this cluster wrote with conclave exit --partial-out",
            )
        })?;
        partials.push(partial);
    }
    Ok(partials)
}

/// What became of the exits of which there was a part: each is signed, or in one of the first two lists.
#[derive(Default)]
struct Outcome {
    /// How many are signed, and in a file.
    signed: usize,
    /// Those that lack parts.
    lacking: Vec<Problem>,
    /// Those that could be signed, and not written.
    unwritten: Vec<Problem>,
    /// Of the signed ones those that were to be given to a beacon node, and none took.
    untaken: Vec<Problem>,
}

impl Outcome {
    /// The end of the command: fine if every exit is signed, and taken where it was to be. Else the first thing that went wrong, what
    /// lacks parts before anything else, and how many of each there are.
    fn conclude(self) -> Result<(), Problem> {
        let Self {
            signed,
            lacking,
            unwritten,
            untaken,
        } = self;
        let counts = [
            (signed, "is signed", "are signed"),
            (lacking.len(), "cannot be signed yet", "cannot be signed yet"),
            (unwritten.len(), "could not be written", "could not be written"),
            (
                untaken.len(),
                "of the signed was not taken by a beacon node",
                "of the signed were not taken by a beacon node",
            ),
        ];
        let exits = signed + lacking.len() + unwritten.len();
        let failures = lacking.len() + unwritten.len() + untaken.len();
        let Some(first) = lacking.into_iter().chain(unwritten).chain(untaken).next() else {
            return Ok(());
        };
        if exits < 2 {
            return Err(first);
        }
        let counts: Vec<String> = counts
            .iter()
            .enumerate()
            .filter(|(place, (count, ..))| *place == 0 || *count > 0)
            .map(|(_, (count, one, many))| match count {
                0 => format!("none {one}"),
                1 => format!("1 {one}"),
                count => format!("{count} {many}"),
            })
            .collect();
        let which = if failures > 1 { "; the first: " } else { ": " };
        let what = format!("of {exits} exits {}{which}{}", counts.join(", "), first.what);
        Err(Problem { what, ..first })
    }
}

/// Of each validator whose parts are not all for one exit: who says which index, or which epoch. What most say comes first.
fn differences<'a>(
    place: &Place,
    exits: impl Iterator<Item = (u32, VoluntaryExit, &'a Vec<u16>)>,
) -> BTreeMap<u32, String> {
    let mut by_validator: BTreeMap<u32, Vec<(VoluntaryExit, &[u16])>> = BTreeMap::new();
    for (validator, message, operators) in exits.filter(|(_, _, operators)| !operators.is_empty()) {
        by_validator
            .entry(validator)
            .or_default()
            .push((message, operators));
    }
    let told = by_validator.into_iter().filter_map(|(validator, exits)| {
        let (first, _) = exits.first()?;
        let by_index = exits.iter().any(|(message, _)| message.validator_index != first.validator_index);
        let by_epoch = exits.iter().any(|(message, _)| message.epoch != first.epoch);
        let (word, value, advice): (_, fn(&VoluntaryExit) -> u64, _) = match (by_index, by_epoch) {
            (false, false) => return None,
            (true, _) => (
                "index",
                |message| message.validator_index,
                "A validator has one index, which never changes: ask a beacon node which it is, and whoever has given another one \
                 makes its part again",
            ),
            (false, true) => (
                "epoch",
                |message| message.epoch,
                "Agree on one epoch, and whoever has given another one makes its part again",
            ),
        };
        let mut said: BTreeMap<u64, BTreeSet<u16>> = BTreeMap::new();
        for (message, operators) in &exits {
            said.entry(value(message)).or_default().extend(operators.iter());
        }
        let mut said: Vec<(u64, Vec<u16>)> = said
            .into_iter()
            .map(|(value, operators)| (value, operators.into_iter().collect()))
            .collect();
        said.sort_by_key(|(value, operators)| (usize::MAX - operators.len(), *value));
        let who: Vec<String> = said
            .iter()
            .map(|(value, operators)| format!("{word} {value} is that of {}", place.names(operators)))
            .collect();
        let key = place.key(validator);
        let text = format!("the parts for validator {key} are not for one exit: {}. {advice}", who.join("; "));
        Some((validator, text))
    });
    told.collect()
}

/// Tells of an exit that lacks parts: whose are there, and whose are not; and what differs, if others of that validator are for another exit.
/// One of `several` is told at once; one alone ends the command with these words.
fn tell_lack(
    context: &Context,
    place: &Place,
    lacking: &Lacking,
    (difference, several): (Option<&String>, bool),
) -> Problem {
    let (have, need) = (lacking.operators.len(), usize::from(place.group.threshold));
    let key = place.key(lacking.validator);
    let missing: Vec<u16> = (1..=place.group.size())
        .filter(|operator| !lacking.operators.contains(operator))
        .collect();
    let message = lacking.message;
    let why = if have >= need {
        format!(
            "the parts of {} are right, and together they are not: the lock's keys do not belong together",
            place.names(&lacking.operators)
        )
    } else {
        let there = match have {
            0 => "no part is right".to_owned(),
            _ => format!(
                "{have} of the {need} parts that are needed are there: {}",
                place.names(&lacking.operators)
            ),
        };
        format!("{there}; missing are those of {}", place.names(&missing))
    };
    let problem = Problem::new(
        Kind::Verification,
        format!(
            "the exit of validator {key} (index {}, epoch {}) cannot be signed yet",
            message.validator_index, message.epoch
        ),
        why,
        format!(
            "collect the files of {} more of them, all for the same validator, index and epoch; conclave exit --partial-out makes \
             them",
            need.saturating_sub(have)
        ),
    );
    if several {
        context.output.warn(&format!("{}: {}", problem.what, problem.why));
    }
    let about =
        About::of("lacking", &key).consents(message, place.who(&lacking.operators), place.group.threshold);
    context.output.line(&Event::from(about));
    match difference {
        // More parts would not help before these agree.
        Some(why) => Problem {
            why: why.clone(),
            what_to_do: "have that part made again for the right exit with conclave exit --partial-out, and give all of them again".to_owned(),
            ..problem
        },
        None => problem,
    }
}

fn tell_signed(context: &Context, place: &Place, made: &Combined, path: &Path) {
    let out = &context.output;
    let key = place.key(made.validator);
    out.say(format!(
        "Wrote {}: the exit of validator {key}, signed by {}. Whoever has this file can end the validator; it never expires.",
        path.display(),
        place.names(&made.operators)
    ));
    let about = About {
        path: Some(path.display().to_string()),
        ..About::of("signed", &key).consents(
            made.exit.message,
            place.who(&made.operators),
            place.group.threshold,
        )
    };
    out.line(&Event::from(about));
}

/// Gives signed exits to beacon nodes, each by itself. What was not taken: all of them if no beacon node could be asked.
fn submit(
    context: &Context,
    disk: &Disk,
    args: &ExitArgs,
    place: &Place,
    written: &[(&Combined, PathBuf)],
) -> Vec<Problem> {
    let out = &context.output;
    let not_taken = |(made, path): &(&Combined, PathBuf), kind, why: &dyn std::fmt::Display, advice: &str| {
        let key = place.key(made.validator);
        let problem = Problem::new(
            kind,
            format!("no beacon node took the exit of validator {key}"),
            why,
            format!("{advice}. The file is there: {}", path.display()),
        );
        // One alone ends the command with these words.
        if written.len() > 1 {
            out.warn(&printable(&format!("{}: {}", problem.what, problem.why)));
        }
        let about = About::of("not_taken", &key).why(&printable(&problem.why));
        out.line(&Event::from(about));
        problem
    };
    let asked = with_beacon_nodes(context, disk, args, place, async |nodes, _| {
        let mut failures = Vec::new();
        for one in written {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            let key = place.key(one.0.validator);
            let taken = patiently(
                |line| out.warn(line),
                nodes,
                nodes.submit_exit(&one.0.exit, deadline),
            )
            .await;
            if let Err(error) = taken {
                let advice = error.advice_at_the_end();
                failures.push(not_taken(one, Kind::Other, &error, advice.trim_end_matches('.')));
            } else {
                out.say(format!("A beacon node took the exit of validator {key}."));
                out.line(&Event::from(About::of("submitted", &key)));
            }
        }
        Ok(failures)
    });
    asked.unwrap_or_else(|problem| {
        let why = format!("{}: {}", problem.what, problem.why);
        let advice = problem.what_to_do.trim_end_matches('.');
        let all = written
            .iter()
            .map(|one| not_taken(one, problem.kind, &why, advice));
        all.collect()
    })
}

/// An exit of which parts were given to the running node, and what that said of it last.
struct Handed<'a> {
    /// A part of it.
    part: &'a PartialExit,
    /// Who consents to it.
    operators: Vec<u16>,
    threshold: u16,
    /// The signed exit's file, once there is one.
    signed: Option<String>,
}

impl Handed<'_> {
    fn is_of(&self, part: &PartialExit) -> bool {
        (self.part.validator, self.part.message) == (part.validator, part.message)
    }
}

/// What a running node says of a part.
enum Said {
    Taken {
        operators: Vec<u16>,
        threshold: u16,
        signed: Option<String>,
    },
    Refused(control::Refusal),
    /// There is no node.
    Nobody,
}

fn give(context: &Context, part: &PartialExit) -> Result<Said, Problem> {
    let part = hex::encode(part.encode());
    match status::ask(context, &Request::ExitPart { part }) {
        Err(ControlError::NotRunning) => Ok(Said::Nobody),
        Ok(Answer::Refused(refusal)) => Ok(Said::Refused(refusal)),
        Ok(Answer::Exit {
            operators,
            threshold,
            signed,
        }) => Ok(Said::Taken {
            operators,
            threshold,
            signed,
        }),
        Ok(_) => Err(unexpected()),
        Err(error) => Err(status::problem(context, &error)),
    }
}

/// Gives parts to the node that is at work in this folder. False if there is none. Every part must count in the end.
fn hand_over(context: &Context, place: &Place, partials: &[PartialExit]) -> Result<bool, Problem> {
    let out = &context.output;
    let mut wrong: Vec<Problem> = Vec::new();
    let mut taken: Vec<&PartialExit> = Vec::new();
    let mut exits: Vec<Handed<'_>> = Vec::new();
    // A part may take the place of one that was given before it, so that each exit is asked for once more when all were given.
    for (again, part) in partials
        .iter()
        .map(|part| (false, part))
        .chain(partials.iter().map(|part| (true, part)))
    {
        if again && !exits.iter().any(|exit| std::ptr::eq(exit.part, part)) {
            continue;
        }
        match give(context, part)? {
            Said::Taken {
                operators,
                threshold,
                signed,
            } => {
                if !again {
                    taken.push(part);
                }
                let known = exits.iter().position(|exit| exit.is_of(part));
                let known = known.map(|place| exits.remove(place));
                exits.push(Handed {
                    part,
                    operators,
                    threshold,
                    // What was signed once stays so, whatever else is signed of that validator.
                    signed: signed.or(known.and_then(|known| known.signed)),
                });
            }
            Said::Refused(refusal) => {
                let name = place.names(&[part.operator]);
                out.warn(&format!(
                    "{} ({name}): {}",
                    printable(&refusal.what),
                    printable(&refusal.why)
                ));
                wrong.push(Problem::new(
                    Kind::Verification,
                    refusal.what,
                    refusal.why,
                    refusal.what_to_do,
                ));
            }
            Said::Nobody if taken.is_empty() && wrong.is_empty() => return Ok(false),
            Said::Nobody => {
                return Err(Problem::other(
                    "the running node could not be asked",
                    "it has ended meanwhile",
                    "start it, and give it the same files again",
                ));
            }
        }
    }
    let counts = |part: &PartialExit, exit: &Handed<'_>| {
        exit.signed.is_some() || exit.operators.contains(&part.operator)
    };
    let handed = exits
        .iter()
        .map(|exit| (exit.part.validator, exit.part.message, &exit.operators));
    for difference in differences(place, handed).values() {
        out.warn(difference);
    }
    for exit in &exits {
        tell_handed(context, place, exit);
        let replaced = taken
            .iter()
            .filter(|part| exit.is_of(part) && !counts(part, exit));
        for part in replaced {
            wrong.push(tell_replaced(context, place, part));
        }
    }
    let count = wrong.len();
    match wrong.into_iter().next() {
        None => Ok(true),
        Some(first) if partials.len() < 2 => Err(first),
        Some(first) => Err(Problem {
            what: match count {
                1 => format!("1 of the {} parts does not count: {}", partials.len(), first.what),
                count => format!(
                    "{count} of the {} parts do not count; the first: {}",
                    partials.len(),
                    first.what
                ),
            },
            ..first
        }),
    }
}

/// Tells how far an exit is of which the running node has parts.
fn tell_handed(context: &Context, place: &Place, exit: &Handed<'_>) {
    let out = &context.output;
    let key = place.key(exit.part.validator);
    let path = exit
        .signed
        .as_ref()
        .map(|file| context.data_dir.join(EXITS).join(file));
    let message = exit.part.message;
    let names = match exit.operators.as_slice() {
        [] => String::new(),
        operators => format!(": {}", place.names(operators)),
    };
    out.say(format!(
        "Your running node was given these parts, and tells the others. {} of the {} that are needed consent to the exit of validator {key} \
         (index {}, epoch {}){names}.",
        exit.operators.len(),
        exit.threshold,
        message.validator_index,
        message.epoch
    ));
    if let Some(path) = &path {
        out.say(format!(
            "The exit is signed: {}. The running nodes give it to their beacon nodes.",
            path.display()
        ));
    }
    let about = About::of(if path.is_some() { "signed" } else { "taken" }, &key);
    let about = About {
        path: path.map(|path| path.display().to_string()),
        ..about.consents(message, place.who(&exit.operators), exit.threshold)
    };
    out.line(&Event::from(about));
}

/// Tells of a right part that counts for nothing: a newer one of the same operator, for another exit of that validator, is known.
fn tell_replaced(context: &Context, place: &Place, part: &PartialExit) -> Problem {
    let (key, name) = (place.key(part.validator), place.names(&[part.operator]));
    let message = part.message;
    let problem = Problem::new(
        Kind::Verification,
        format!(
            "the part of {name} for the exit of validator {key} (index {}, epoch {}) does not count",
            message.validator_index, message.epoch
        ),
        format!("{name} has consented to another exit of this validator since"),
        format!(
            "agree on one index and epoch; {name} consents to that once more with conclave exit, and its newest part counts"
        ),
    );
    context.output.warn(&format!("{}: {}", problem.what, problem.why));
    let about =
        About::of("replaced", &key).consents(message, place.who(&[part.operator]), place.group.threshold);
    context.output.line(&Event::from(about));
    problem
}

/// Writes a signed exit where it is wanted. The very same file may be there already.
fn write_signed(
    context: &Context,
    disk: &Disk,
    args: &ExitArgs,
    place: &Place,
    several: bool,
    made: &Combined,
) -> Result<PathBuf, Problem> {
    let bytes = signed_file(&made.exit);
    let name = signed_name(&place.group, made.validator, &made.exit.message).ok_or_else(unexpected)?;
    let path = match &args.out {
        Some(path) if several || is_folder(path)? => {
            if !is_there(path)? {
                disk.create_folder(path)?;
            }
            path.join(name)
        }
        Some(path) => path.clone(),
        None => {
            let folder = context.data_dir.join(EXITS);
            disk.create_folder(&folder)?;
            folder.join(name)
        }
    };
    disk.write_new_or_same(&path, &bytes, SECRET)?;
    Ok(path)
}
