//! What a running node says of voluntary exits.

use conclave_eth::exit::VoluntaryExit;
use conclave_validator::node::ExitNews;

use super::{
    news::{Event, Who},
    output::printable,
    watcher::Line,
};

/// What there is to say of an exit, as far as it is known.
#[derive(Default)]
pub(super) struct About {
    pub(super) what: &'static str,
    pub(super) public_key: Option<String>,
    pub(super) message: Option<VoluntaryExit>,
    pub(super) operators: Vec<Who>,
    pub(super) threshold: Option<u16>,
    pub(super) exit_epoch: Option<u64>,
    pub(super) why: Option<String>,
    pub(super) path: Option<String>,
}

impl About {
    /// Of a validator.
    pub(super) fn of(what: &'static str, public_key: &str) -> Self {
        Self {
            what,
            public_key: Some(public_key.to_owned()),
            ..Self::default()
        }
    }

    pub(super) fn why(self, why: &str) -> Self {
        Self {
            why: Some(why.to_owned()),
            ..self
        }
    }

    /// With who consents to what.
    pub(super) fn consents(self, message: VoluntaryExit, operators: Vec<Who>, threshold: u16) -> Self {
        Self {
            message: Some(message),
            operators,
            threshold: Some(threshold),
            ..self
        }
    }
}

impl From<About> for Event {
    fn from(about: About) -> Self {
        Self::Exit {
            what: about.what,
            validator: about.public_key,
            validator_index: about.message.map(|message| message.validator_index),
            epoch: about.message.map(|message| message.epoch),
            operators: about.operators,
            threshold: about.threshold,
            exit_epoch: about.exit_epoch,
            why: about.why,
            path: about.path,
        }
    }
}

/// An event for programs, a line for people. `who` names operators.
pub(super) fn words(news: ExitNews, threshold: u16, who: impl Fn(u16) -> Who) -> (Event, Line) {
    let all = |operators: &[u16]| {
        operators
            .iter()
            .map(|operator| who(*operator))
            .collect::<Vec<_>>()
    };
    let (about, line) = match news {
        ExitNews::Asked {
            operator,
            public_key,
            message,
            consents,
            own,
        } => {
            let line = asked(
                &who(operator).name,
                &public_key,
                message,
                (consents.len(), threshold),
                own,
            );
            let about = About::of("asked", &public_key).consents(message, all(&consents), threshold);
            (about, line)
        }
        ExitNews::Consented {
            public_key,
            message,
            consents,
        } => {
            let count = consents.len();
            let line = format!(
                "You consent to the exit of validator {public_key}: {count} of the {threshold} that are needed."
            );
            let about = About::of("consented", &public_key).consents(message, all(&consents), threshold);
            (about, Line::Say(line))
        }
        ExitNews::Wrong { operator, why } => {
            let line = Line::Warn(format!("{}: {why}", who(operator).name));
            let about = About {
                what: "wrong",
                operators: all(&[operator]),
                why: Some(why),
                ..About::default()
            };
            (about, line)
        }
        ExitNews::Signed {
            public_key,
            message,
            operators,
            file,
        } => {
            let names: Vec<String> = operators.iter().map(|operator| who(*operator).name).collect();
            let line = format!(
                "The group has signed the exit of validator {public_key} ({}). It is kept in exits/{file} and goes to the \
                 beacon nodes.",
                names.join(", ")
            );
            let about = About {
                path: Some(format!("exits/{file}")),
                ..About::of("signed", &public_key).consents(message, all(&operators), threshold)
            };
            (about, Line::Say(line))
        }
        ExitNews::Submitted { public_key } => {
            let line = format!("A beacon node took the exit of validator {public_key}.");
            (About::of("submitted", &public_key), Line::Say(line))
        }
        ExitNews::NotTaken { public_key, why } => {
            let line = format!(
                "no beacon node took the exit of validator {public_key} ({}). It is tried again every epoch; a validator must \
                 have been active for a while before it may leave (256 epochs on mainnet)",
                printable(&why)
            );
            (About::of("not_taken", &public_key).why(&why), Line::Warn(line))
        }
        ExitNews::Leaving { public_key, epoch } => {
            let line = format!(
                "The chain lets validator {public_key} go: it has no duties from epoch {epoch} on. Keep the machines running \
                 until then."
            );
            let about = About {
                exit_epoch: Some(epoch),
                ..About::of("leaving", &public_key)
            };
            (about, Line::Say(line))
        }
        ExitNews::NotKept { why } => {
            let line = format!(
                "a part of an exit could not be kept ({}): see to the disk",
                printable(&why)
            );
            let about = About {
                what: "not_kept",
                ..About::default()
            };
            (about.why(&why), Line::Warn(line))
        }
    };
    (about.into(), line)
}

/// Another operator consents: a wish, which nothing answers but this operator's own command.
fn asked(name: &str, key: &str, message: VoluntaryExit, (have, need): (usize, u16), own: bool) -> Line {
    let count = format!("{have} of the {need} that are needed consent");
    if own {
        return Line::Say(format!(
            "{name} consents to the exit of validator {key} too: {count}."
        ));
    }
    let epoch = if message.epoch == 0 {
        String::new()
    } else {
        format!(" --epoch {}", message.epoch)
    };
    Line::Warn(format!(
        "{name} asks to exit validator {key} (index {}): {count}. Nothing happens here by itself. Talk to {name}; to agree, \
         run: conclave exit --validator {key}{epoch}",
        message.validator_index
    ))
}
