//! Questions. Each has a flag, so that nothing needs a terminal. Each says what is not done if it is interrupted, and leaves the terminal as it
//! was, whatever ends it.

use std::{fmt::Display, io};

use dialoguer::theme::ColorfulTheme;
use zeroize::Zeroizing;

use crate::ceremony::problem::{Kind, Problem};

use super::interrupts;

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Prompt {
    undone: &'static str,
    beside: bool,
}

impl Prompt {
    /// Questions of a command of which this is true until all are answered, such as "no plan was written".
    pub const fn before(undone: &'static str) -> Self {
        Self {
            undone,
            beside: false,
        }
    }

    /// Questions beside what the command goes on with.
    pub const fn beside(undone: &'static str) -> Self {
        Self { undone, beside: true }
    }

    /// Asks for a text until `check` is content.
    ///
    /// # Errors
    /// If the user interrupts or the terminal goes away.
    pub fn text<E: Display>(
        self,
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
        self.ask(|| input.interact_text())
    }

    /// Lets the user choose one of `items`; returns its place.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn choose(self, question: &str, items: &[String], default: usize) -> Result<usize, Problem> {
        let theme = ColorfulTheme::default();
        let select = dialoguer::Select::with_theme(&theme)
            .with_prompt(question)
            .items(items)
            .default(default);
        self.ask(|| select.interact())
    }

    /// A yes or no, no by default.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn confirm(self, question: &str) -> Result<bool, Problem> {
        let theme = ColorfulTheme::default();
        let confirm = dialoguer::Confirm::with_theme(&theme)
            .with_prompt(question)
            .default(false);
        self.ask(|| confirm.interact())
    }

    /// Asks for a password, which is not shown, until `check` is content; twice if it is a `new` one.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn password<E: Display>(
        self,
        question: &str,
        new: bool,
        check: impl Fn(&str) -> Result<(), E>,
    ) -> Result<Zeroizing<String>, Problem> {
        let theme = ColorfulTheme::default();
        let line = |question: &str| {
            self.ask(|| {
                let prompt = dialoguer::Password::with_theme(&theme).with_prompt(question);
                let answer = prompt.allow_empty_password(true).interact();
                let answer = Zeroizing::new(answer?);
                // A terminal that is gone answers nothing, again and again.
                if answer.is_empty() && rustix::termios::tcgetattr(io::stdin()).is_err() {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                Ok(answer)
            })
        };
        let wrong = |why: &dyn Display| {
            let _ = console::Term::stderr().write_line(&format!("That cannot be taken: {why}."));
        };
        loop {
            let first = line(question)?;
            // Before it is typed a second time.
            if let Err(error) = check(&first) {
                wrong(&error);
                continue;
            }
            if !new || line("The same again")? == first {
                return Ok(first);
            }
            wrong(&"the two are not the same");
        }
    }

    /// The one way in which anything is asked.
    fn ask<T>(self, question: impl FnOnce() -> dialoguer::Result<T>) -> Result<T, Problem> {
        let _meanwhile = interrupts::meanwhile(self.undone);
        let asking = interrupts::asking(self.beside);
        let dialoguer::Error::IO(error) = match question() {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if error.kind() == io::ErrorKind::Interrupted {
            return Err(interrupts::interrupted());
        }
        drop(asking);
        let gone = rustix::termios::tcgetattr(io::stdin()).is_err();
        Err(if gone || error.kind() == io::ErrorKind::UnexpectedEof {
            Problem::new(
                Kind::Interrupted,
                format!("interrupted: {}", self.undone),
                "the terminal was closed while it was asked",
                "run the same command again, or give the answers as flags: see --help",
            )
        } else {
            Problem::other(
                format!("cannot ask: {}", self.undone),
                error,
                "give the answers as flags: see --help",
            )
        })
    }
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
