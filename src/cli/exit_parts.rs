//! Parts of voluntary exits that came as files: to the running node, or the signed exit of enough of them.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use crate::{
    ceremony::{
        exits::{EXITS, ExitFiles},
        files::{Disk, SECRET},
        problem::{Kind, Problem},
    },
    validator::{
        control::{self, Answer, ControlError, Request},
        exits::{self, Combined, Lacking, MAX_FILE_BYTES, PartialExit, signed_file, signed_name},
    },
};

use super::{
    Context,
    args::ExitArgs,
    exit::{PATIENCE, Place, no_domain, unexpected, with_beacon_nodes},
    exit_news::About,
    news::Event,
    output::printable,
    prompt,
};

/// Makes the signed exits from files, each by itself. A node that is at work in this folder takes them in, unless the exit is wanted here.
pub(super) fn combine(context: &Context, disk: &Disk, args: &ExitArgs, place: &Place) -> Result<(), Problem> {
    let out = &context.output;
    let mut partials = Vec::with_capacity(args.combine.len());
    let mut exits = BTreeSet::new();
    for path in &args.combine {
        let bytes = disk.read(path, MAX_FILE_BYTES as u64)?;
        let partial = PartialExit::from_json(&bytes, &place.group).map_err(|error| {
            Problem::bad_input(
                format!("{} cannot be used", path.display()),
                error,
                "give files that operators of this cluster wrote with conclave exit --partial-out",
            )
        })?;
        exits.insert((
            partial.validator,
            partial.message.validator_index,
            partial.message.epoch,
        ));
        partials.push(partial);
    }
    if let Some(out) = args
        .out
        .as_ref()
        .filter(|out| exits.len() > 1 && out.exists() && !out.is_dir())
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
        None => with_beacon_nodes(disk, args, place, async |_, domain| Ok(domain))?,
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
    let mut failures: Vec<Problem> = tally
        .lacking
        .iter()
        .map(|lacking| tell_lack(context, place, lacking))
        .collect();
    let several = tally.made.len() + tally.lacking.len() > 1;
    let mut written = Vec::new();
    for made in &tally.made {
        match write_signed(context, disk, args, place, several, made) {
            Ok(path) => written.push((made, path)),
            // The others are exited all the same.
            Err(problem) if several => {
                out.warn(&printable(&format!("{}: {}", problem.what, problem.why)));
                failures.push(problem);
            }
            Err(problem) => return Err(problem),
        }
    }
    for (made, path) in &written {
        tell_signed(context, place, made, path);
    }
    if args.submit && !written.is_empty() {
        failures.extend(submit(context, disk, args, place, &written)?);
    } else if !written.is_empty() {
        out.say("Give it to a beacon node with --submit, or: curl -X POST -H 'content-type: application/json' -d @FILE \
                 BEACON_NODE/eth/v1/beacon/pool/voluntary_exits");
    }
    conclude(failures, tally.made.len())
}

/// The end of the command: fine if every exit for which there was a part is signed, and taken where it was to be.
fn conclude(mut failures: Vec<Problem>, signed: usize) -> Result<(), Problem> {
    let count = failures.len();
    let Some(last) = failures.pop() else {
        return Ok(());
    };
    if count + signed < 2 {
        return Err(last);
    }
    let done = match signed {
        0 => "no exit is signed yet".to_owned(),
        1 => "1 exit is signed".to_owned(),
        signed => format!("{signed} exits are signed"),
    };
    let what = match count {
        1 => format!("{done}; of another one: {}", last.what),
        count => format!(
            "{done}; {count} others failed, and of the last one: {}",
            last.what
        ),
    };
    Err(Problem { what, ..last })
}

/// Tells of an exit that lacks parts: whose are there, and whose are not.
fn tell_lack(context: &Context, place: &Place, lacking: &Lacking) -> Problem {
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
    context.output.warn(&format!("{}: {}", problem.what, problem.why));
    let about =
        About::of("lacking", &key).consents(message, place.who(&lacking.operators), place.group.threshold);
    context.output.line(&Event::from(about));
    problem
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

/// Gives signed exits to beacon nodes, each by itself. What was not taken.
fn submit(
    context: &Context,
    disk: &Disk,
    args: &ExitArgs,
    place: &Place,
    written: &[(&Combined, PathBuf)],
) -> Result<Vec<Problem>, Problem> {
    let out = &context.output;
    with_beacon_nodes(disk, args, place, async |nodes, _| {
        let mut failures = Vec::new();
        for (made, path) in written {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            let key = place.key(made.validator);
            if let Err(error) = nodes.submit_exit(&made.exit, deadline).await {
                let problem = Problem::other(
                    format!("no beacon node took the exit of validator {key}"),
                    &error,
                    format!("{} The file is there: {}", error.advice(), path.display()),
                );
                out.warn(&printable(&format!("{}: {}", problem.what, problem.why)));
                failures.push(problem);
            } else {
                out.say(format!("A beacon node took the exit of validator {key}."));
                out.line(&Event::from(About::of("submitted", &key)));
            }
        }
        Ok(failures)
    })
}

/// Gives parts to the node that is at work in this folder. False if there is none.
fn hand_over(context: &Context, place: &Place, partials: &[PartialExit]) -> Result<bool, Problem> {
    let out = &context.output;
    let mut refusals = Vec::new();
    // Of each exit what was said last.
    let mut exits: Vec<(&PartialExit, Answer)> = Vec::new();
    for partial in partials {
        let part = hex::encode(partial.encode());
        match control::ask(&context.data_dir, &Request::ExitPart { part }) {
            Err(ControlError::NotRunning) if exits.is_empty() && refusals.is_empty() => return Ok(false),
            Ok(Answer::Refused(refusal)) => {
                let name = place.names(&[partial.operator]);
                out.warn(&format!(
                    "{} ({name}): {}",
                    printable(&refusal.what),
                    printable(&refusal.why)
                ));
                refusals.push(refusal);
            }
            Ok(answer @ Answer::Exit { .. }) => {
                exits.retain(|(other, _)| {
                    (other.validator, other.message) != (partial.validator, partial.message)
                });
                exits.push((partial, answer));
            }
            Ok(_) => return Err(unexpected()),
            Err(error) => {
                return Err(Problem::other(
                    "the running node could not be asked",
                    error,
                    "use the same version of conclave for run and for this command, as the same user",
                ));
            }
        }
    }
    for (partial, answer) in &exits {
        let Answer::Exit {
            operators,
            threshold,
            signed,
        } = answer
        else {
            continue;
        };
        let key = place.key(partial.validator);
        if !operators.contains(&partial.operator) {
            out.warn(&format!(
                "{} has since consented to another exit of validator {key}: this part does not count",
                place.names(&[partial.operator])
            ));
        }
        let path = signed
            .as_ref()
            .map(|file| context.data_dir.join(EXITS).join(file));
        out.say(format!(
            "Your running node has these parts, and tells the others. {} of the {threshold} that are needed consent to the exit \
             of validator {key}: {}.",
            operators.len(),
            place.names(operators)
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
            ..about.consents(partial.message, place.who(operators), *threshold)
        };
        out.line(&Event::from(about));
    }
    let count = refusals.len();
    match refusals.pop() {
        None => Ok(true),
        Some(last) => Err(Problem::new(
            Kind::Verification,
            if count + exits.len() < 2 {
                last.what
            } else {
                format!(
                    "{count} of the parts were refused; of the last one: {}",
                    last.what
                )
            },
            last.why,
            last.what_to_do,
        )),
    }
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
        Some(path) if several || path.is_dir() => {
            if !path.exists() {
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
