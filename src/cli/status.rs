//! `conclave status`: what the `run` in this folder is doing, from another terminal.

use std::{sync::mpsc, thread, time::Duration};

use serde::Serialize;

use conclave_ceremony::{
    files::{self, Disk},
    folder::LOCK,
    problem::{Kind, Problem},
    restored, retirement,
};
use conclave_monitor::overview::view::View;
use conclave_validator::control::{self, Answer, ControlError, Request};

use super::{
    Context,
    args::{Is, StatusArgs},
    picture::{Extent, lines, up},
};

/// Columns where there is no terminal.
const WIDTH: usize = 120;

/// What programs are told: the view, and which event it is.
#[derive(Serialize)]
struct Event<'a> {
    event: &'static str,
    #[serde(flatten)]
    status: &'a serde_json::Value,
}

/// An answer that comes within this time is waited for without a word.
const QUICK: Duration = Duration::from_secs(2);

/// Asks the running node, and tells a person who waits for it what for.
///
/// # Errors
/// As [`control::ask`].
pub(super) fn ask(context: &Context, request: &Request) -> Result<Answer, ControlError> {
    let (done, answer) = mpsc::sync_channel(1);
    thread::scope(|scope| {
        scope.spawn(move || done.send(control::ask(&context.data_dir, request)));
        let answer = answer.recv_timeout(QUICK).or_else(|_| {
            context.output.warn(
                "waiting for the running node: it may be asking its beacon node, and is given up to a minute",
            );
            answer.recv()
        });
        answer.unwrap_or(Err(ControlError::NotRunning))
    })
}

/// Runs the command.
///
/// # Errors
/// If no `run` is at work in the folder, or it cannot be understood; if it is not what was asked.
pub(super) fn run(context: &Context, args: &StatusArgs) -> Result<(), Problem> {
    let answer = ask(context, &Request::Status {}).map_err(|error| problem(context, &error))?;
    let status = match answer {
        Answer::Status { status } => status,
        Answer::Refused(refusal) => {
            return Err(Problem::new(
                Kind::Other,
                refusal.what,
                refusal.why,
                refusal.what_to_do,
            ));
        }
        _ => return Err(strange("it answers something else")),
    };
    if let Some(is) = args.is {
        return check(&view_of(status)?, is);
    }
    if context.output.is_json() {
        context.output.line(&Event {
            event: "status",
            status: &status,
        });
        return Ok(());
    }
    let view = view_of(status)?;
    let term = console::Term::stdout();
    let width = if term.features().is_attended() {
        usize::from(term.size().1)
    } else {
        WIDTH
    };
    for line in lines(&view, width, Extent::Full) {
        context.output.say(line);
    }
    context.output.say(format!("Up for {}.", up(&view)));
    Ok(())
}

fn view_of(status: serde_json::Value) -> Result<View, Problem> {
    serde_json::from_value(status).map_err(|error| strange(&error.to_string()))
}

/// An error unless it is so.
fn check(view: &View, is: Is) -> Result<(), Problem> {
    let (good, what) = match is {
        Is::Healthy => (view.healthy, "the running node is not healthy"),
        Is::Live => (view.live, "the running node hangs"),
    };
    if good {
        return Ok(());
    }
    Err(Problem::other(
        what,
        view.reasons.join("; "),
        "conclave status shows how everything is, and the log what happened",
    ))
}

/// Why a running node gave no answer to a command.
pub(super) fn problem(context: &Context, error: &ControlError) -> Problem {
    match error {
        ControlError::NotRunning => not_running(context).unwrap_or_else(|problem| problem),
        ControlError::Hangs => Problem::other(
            "conclave run does not answer",
            error,
            "see whether it was stopped (Ctrl-Z), and look at the load and the disk of this machine; if it stays so, end it and \
             start it again",
        ),
        ControlError::Slow => Problem::other(
            "conclave run took too long",
            error,
            "look at its beacon node with conclave status, then run this again",
        ),
        ControlError::Io(why) => Problem::other(
            "the running node could not be asked",
            why,
            "run this as the user who runs conclave run; if that is so, look at its log",
        ),
        ControlError::Malformed(why) => strange(why),
    }
}

/// Nobody is sent to start what must not be started.
fn not_running(context: &Context) -> Result<Problem, Problem> {
    let (disk, root) = (Disk::new(), &context.data_dir);
    retirement::refuse(&disk, root)?;
    let is_restored = restored::is_marked(&disk, root)?;
    let has_lock = files::may_be_there(&root.join(LOCK));
    Ok(Problem::folder_state(
        "no conclave run is at work in this folder",
        format!("nobody answers in {}", root.display()),
        if !has_lock {
            "there is no cluster-lock.json in it: if your ceremony is not finished, go on with conclave join, whose screen says how it stands; or name \
             the right folder with --data-dir"
        } else if is_restored {
            "this folder was restored from a backup: only if the original is gone for good, start it with conclave run, which asks for that; \
             or name the right folder with --data-dir"
        } else {
            "start it with conclave run, or name the right folder with --data-dir"
        },
    ))
}

fn strange(why: &str) -> Problem {
    Problem::other(
        "the running node gave an answer that this version does not understand",
        why,
        "use the same version of conclave for run and for this command",
    )
}
