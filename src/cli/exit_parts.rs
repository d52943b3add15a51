//! Parts of voluntary exits that came as files: to the running node, or the signed exit of enough of them.

use std::path::PathBuf;

use crate::{
    ceremony::{
        exits::{EXITS, ExitFiles},
        files::{Disk, SECRET},
        problem::{Kind, Problem},
    },
    ethereum::exit::SignedVoluntaryExit,
    validator::{
        control::{self, Answer, ControlError, Request},
        exits::{self, CombineError, MAX_FILE_BYTES, PartialExit, Shelf as _, signed_file, signed_name},
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

/// Makes the signed exit from files. A node that is at work in this folder takes them in, unless the exit is wanted here.
pub(super) fn combine(context: &Context, disk: &Disk, args: &ExitArgs, place: &Place) -> Result<(), Problem> {
    let out = &context.output;
    let mut partials = Vec::with_capacity(args.combine.len());
    for path in &args.combine {
        let bytes = disk.read(path, MAX_FILE_BYTES as u64)?;
        let partial = PartialExit::from_json(&bytes, &place.group).map_err(|error| {
            Problem::bad_input(
                format!("{} cannot be used", path.display()),
                error,
                "give files that operators of this cluster wrote with conclave exit --partial-out",
            )
        })?;
        partials.push(partial);
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
    let (made, wrong) = exits::combine(&place.group, &domain, &partials);
    let mut culprits = Vec::new();
    for (operator, error) in wrong {
        let name = place.names(&[operator]);
        let text = format!("the part of {name} (operator {operator}) is wrong: {error}");
        out.warn(&text);
        culprits.push(text);
    }
    let made = made.map_err(|error| too_few(&error, &culprits))?;
    let path = write_signed(context, disk, args, place, made.validator, &made.exit)?;
    out.say(format!(
        "Wrote {}: the exit of validator {}, signed by {}. Whoever has this file can end the validator; it never expires.",
        path.display(),
        place.key(made.validator),
        place.names(&made.operators)
    ));
    let about = About {
        path: Some(path.display().to_string()),
        ..About::of("signed", &place.key(made.validator)).consents(
            made.exit.message,
            place.who(&made.operators),
            place.group.threshold,
        )
    };
    out.line(&Event::from(about));
    if !args.submit {
        out.say("Give it to a beacon node with --submit, or: curl -X POST -H 'content-type: application/json' -d @FILE \
                 BEACON_NODE/eth/v1/beacon/pool/voluntary_exits");
        return Ok(());
    }
    with_beacon_nodes(disk, args, place, async |nodes, _| {
        let taken = nodes
            .submit_exit(&made.exit, tokio::time::Instant::now() + PATIENCE)
            .await;
        taken.map(|_| ()).map_err(|error| {
            Problem::other(
                "no beacon node took the exit",
                &error,
                format!("{} The file is there", error.advice()),
            )
        })
    })?;
    out.say("A beacon node took it.");
    out.line(&Event::from(About::of("submitted", &place.key(made.validator))));
    Ok(())
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
    match refusals.pop() {
        Some(refusal) if exits.is_empty() => Err(Problem::new(
            Kind::Verification,
            refusal.what,
            refusal.why,
            refusal.what_to_do,
        )),
        _ => Ok(true),
    }
}

fn too_few(error: &CombineError, culprits: &[String]) -> Problem {
    let split = matches!(error, CombineError::TooFew { split: true, .. });
    let mut why = error.to_string();
    for culprit in culprits {
        why.push_str("; ");
        why.push_str(culprit);
    }
    Problem::new(
        Kind::Verification,
        "there is no signed exit yet",
        why,
        if split {
            "all must sign for the same validator, index and epoch: agree on them, and sign again"
        } else {
            "collect the files of more operators"
        },
    )
}

fn write_signed(
    context: &Context,
    disk: &Disk,
    args: &ExitArgs,
    place: &Place,
    validator: u32,
    exit: &SignedVoluntaryExit,
) -> Result<PathBuf, Problem> {
    let bytes = signed_file(exit);
    if let Some(path) = &args.out {
        disk.write_new(path, &bytes, SECRET)?;
        return Ok(path.clone());
    }
    let name = signed_name(&place.group, validator).unwrap_or_default();
    let files = ExitFiles::at(disk, &context.data_dir);
    files.keep(&name, &bytes).map_err(|why| {
        Problem::other(
            "the signed exit could not be kept",
            why,
            "name another place with --out",
        )
    })?;
    Ok(context.data_dir.join(EXITS).join(name))
}
