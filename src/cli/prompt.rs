//! Questions. Each has a flag, so that nothing needs a terminal.

use std::fmt::Display;

use dialoguer::theme::ColorfulTheme;
use zeroize::Zeroizing;

use crate::ceremony::problem::{Kind, Problem};

/// Asks for a text until `check` is content.
///
/// # Errors
/// If the user interrupts or the terminal goes away.
pub fn text<E: Display>(
    question: &str,
    default: Option<String>,
    may_be_empty: bool,
    check: impl Fn(&str) -> Result<(), E>,
) -> Result<String, Problem> {
    let theme = ColorfulTheme::default();
    let mut input = dialoguer::Input::<String>::with_theme(&theme)
        .with_prompt(question)
        .allow_empty(may_be_empty)
        .validate_with(|answer: &String| {
            if answer.is_empty() && may_be_empty {
                Ok(())
            } else {
                check(answer).map_err(|error| error.to_string())
            }
        });
    if let Some(default) = default {
        input = input.default(default);
    }
    input.interact_text().map_err(gone)
}

/// Lets the user choose one of `items`; returns its place.
///
/// # Errors
/// As [`text`].
pub fn choose(question: &str, items: &[String], default: usize) -> Result<usize, Problem> {
    dialoguer::Select::with_theme(&ColorfulTheme::default())
        .with_prompt(question)
        .items(items)
        .default(default)
        .interact()
        .map_err(gone)
}

/// A yes or no, no by default.
///
/// # Errors
/// As [`text`].
pub fn confirm(question: &str) -> Result<bool, Problem> {
    dialoguer::Confirm::with_theme(&ColorfulTheme::default())
        .with_prompt(question)
        .default(false)
        .interact()
        .map_err(gone)
}

/// Asks for a password, which is not shown; twice if it is a new one.
///
/// # Errors
/// As [`text`].
pub fn password(question: &str, new: bool) -> Result<Zeroizing<String>, Problem> {
    let theme = ColorfulTheme::default();
    let mut prompt = dialoguer::Password::with_theme(&theme).with_prompt(question);
    if new {
        prompt = prompt.with_confirmation("The same again", "The two are not the same.");
    }
    prompt.interact().map(Zeroizing::new).map_err(gone)
}

/// The problem of a question that cannot be asked: names the flag.
pub fn unanswered(flags: &[&str]) -> Problem {
    Problem::new(
        Kind::Usage,
        "some answers are missing",
        "there is no terminal to ask in",
        format!("give {}", flags.join(", ")),
    )
}

fn gone(error: dialoguer::Error) -> Problem {
    // A selection that is interrupted leaves the cursor hidden.
    let _ = console::Term::stderr().show_cursor();
    let dialoguer::Error::IO(error) = error;
    if error.kind() == std::io::ErrorKind::Interrupted {
        Problem::new(
            Kind::Interrupted,
            "interrupted",
            "you stopped the command",
            "run it again; nothing was changed",
        )
    } else {
        Problem::other("cannot ask", error, "give the answers as flags: see --help")
    }
}
