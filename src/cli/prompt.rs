//! Questions. Each has a flag, so that nothing needs a terminal. Each says what is not done if it is interrupted, and leaves the terminal as it
//! was, whatever ends it. What was typed before a question was there answers none, and every answer ends with Enter.

use std::io;

use zeroize::Zeroizing;

use conclave_ceremony::problem::{Kind, Problem};

use super::{
    given::is_quote,
    interrupts,
    line::{Asked, Line, Lines},
    output::fitting,
};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Prompt {
    undone: &'static str,
    beside: bool,
}

/// Why an answer cannot be taken, and what to type instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong(String);

impl From<Problem> for Wrong {
    fn from(problem: Problem) -> Self {
        let Problem {
            what,
            why,
            what_to_do,
            ..
        } = problem;
        let parts = [sentence(&what), sentence(&why), sentence(&what_to_do)];
        Self(
            parts
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(" "),
        )
    }
}

impl From<String> for Wrong {
    fn from(text: String) -> Self {
        Self(sentence(&text))
    }
}

impl From<&str> for Wrong {
    fn from(text: &str) -> Self {
        Self(sentence(text))
    }
}

/// With a capital letter, and an end.
fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return String::new();
    };
    let end = if text.ends_with(['.', '?', '!', '`', '"']) && !text.ends_with("..") {
        ""
    } else {
        "."
    };
    // What is quoted, a number or a name stays as it is.
    let capital: String =
        if first.is_ascii_lowercase() && !text.starts_with("0x") && !text.starts_with("enr:") {
            first.to_uppercase().collect()
        } else {
            first.into()
        };
    format!("{capital}{}{end}", chars.as_str())
}

/// What is told of several lines where one is asked for.
const ONE_LINE: &str =
    "Several lines came at once, and none of them was taken: give one line, then press Enter.";

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
    pub fn text<E: Into<Wrong>>(
        self,
        question: &str,
        default: Option<&str>,
        may_be_empty: bool,
        check: impl Fn(&str) -> Result<(), E>,
    ) -> Result<String, Problem> {
        let hint = default.map(|default| format!("{default} if you only press Enter"));
        let asked = Asked {
            question,
            hint: hint.as_deref().unwrap_or_default(),
            hidden: false,
            typed: false,
            goes_on: false,
        };
        self.until(asked, |line| {
            let text = match (default, line.text.trim().is_empty()) {
                (Some(default), true) => default,
                (None, true) if may_be_empty => return Ok((String::new(), String::new())),
                (None, true) => {
                    return Err(Wrong::from("an answer is needed here: type it, then press Enter"));
                }
                (_, false) => line.text.as_str(),
            };
            check(text).map_err(Into::into)?;
            Ok((text.to_owned(), text.to_owned()))
        })
    }

    /// Takes one line after the other, as when several are pasted at once.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn lines(self) -> Result<Several, Problem> {
        let meanwhile = interrupts::meanwhile(self.undone);
        let lines = Lines::begin(self.beside).map_err(|error| self.failed(error))?;
        Ok(Several {
            prompt: self,
            lines,
            _meanwhile: meanwhile,
        })
    }

    /// Lets the user choose one of `items` by its number or as it is written; returns its place. Nothing typed is the one at `default`.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn choose(self, question: &str, items: &[String], default: Option<usize>) -> Result<usize, Problem> {
        let term = console::Term::stderr();
        let _ = term.write_line(&fitting(&term, &format!("{question}:")));
        for (number, item) in (1..).zip(items) {
            let _ = term.write_line(&fitting(&term, &format!("  {number}  {item}")));
        }
        let mut hint = format!("its number, 1 to {}", items.len());
        if let Some(usual) = default.and_then(|place| items.get(place)) {
            hint.push_str(&format_args!("; {usual} if you only press Enter").to_string());
        }
        let asked = Asked {
            question,
            hint: &hint,
            hidden: false,
            typed: false,
            goes_on: false,
        };
        self.until(asked, |line| {
            let text = line.text.trim();
            let place = match default {
                Some(default) if text.is_empty() => Some(default),
                _ => chosen(text, items),
            };
            let item = place.and_then(|place| Some((place, items.get(place)?.clone())));
            item.ok_or_else(|| {
                Wrong(format!(
                    "Type the number of one of the lines above, 1 to {}, then press Enter.",
                    items.len()
                ))
            })
        })
    }

    /// A yes or no: a line that is one of these words, and was typed.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn confirm(self, question: &str) -> Result<bool, Problem> {
        let asked = Asked {
            question,
            hint: "yes or no, then Enter",
            hidden: false,
            typed: true,
            goes_on: false,
        };
        self.until(asked, |line| {
            let answer = yes_or_no(line)?;
            Ok((answer, if answer { "yes" } else { "no" }.to_owned()))
        })
    }

    /// Has these very words typed, for what cannot be undone: in capitals or not, within quotes or not, and never pasted.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn words(self, question: &str, words: &str) -> Result<(), Problem> {
        let question = format!("{question}, type \"{words}\"");
        let asked = Asked {
            question: &question,
            hint: "then press Enter",
            hidden: false,
            typed: true,
            goes_on: false,
        };
        self.until(asked, |line| {
            those_words(line, words)?;
            Ok(((), words.to_owned()))
        })
    }

    /// Asks for a password, which is not shown, until `check` is content; twice if it is a `new` one.
    ///
    /// # Errors
    /// As [`Self::text`].
    pub fn password<E: Into<Wrong>>(
        self,
        question: &str,
        new: bool,
        check: impl Fn(&str) -> Result<(), E>,
    ) -> Result<Zeroizing<String>, Problem> {
        let asked = |question| Asked {
            question,
            hint: "it is not shown",
            hidden: true,
            typed: false,
            goes_on: false,
        };
        let _meanwhile = interrupts::meanwhile(self.undone);
        let ask = || -> io::Result<Zeroizing<String>> {
            let mut lines = Lines::begin(self.beside)?;
            let mut wrong: Option<Wrong> = None;
            loop {
                let first = lines.ask(asked(question), wrong.as_ref().map(|wrong| wrong.0.as_str()))?;
                // Before it is typed a second time.
                let checked = one_line(&first).and_then(|()| check(&first.text).map_err(Into::into));
                if let Err(error) = checked {
                    wrong = Some(error);
                    lines.forget()?;
                    continue;
                }
                if new {
                    let again = lines.ask(asked("The same again"), None)?;
                    if one_line(&again).is_err() || again.text != first.text {
                        wrong = Some(Wrong::from(
                            "the two are not the same: type the password, and then once more",
                        ));
                        lines.forget()?;
                        continue;
                    }
                }
                Lines::answered(question, "********")?;
                return Ok(first.text);
            }
        };
        ask().map_err(|error| self.failed(error))
    }

    /// The one way in which a line is asked for: until `take` takes it, which gives what it means, and how it is shown.
    fn until<T>(
        self,
        asked: Asked<'_>,
        take: impl Fn(&Line) -> Result<(T, String), Wrong>,
    ) -> Result<T, Problem> {
        let _meanwhile = interrupts::meanwhile(self.undone);
        let ask = || -> io::Result<T> {
            let mut lines = Lines::begin(self.beside)?;
            let mut wrong: Option<Wrong> = None;
            loop {
                let line = lines.ask(asked, wrong.as_ref().map(|wrong| wrong.0.as_str()))?;
                match one_line(&line)
                    .and_then(|()| no_secret(&line))
                    .and_then(|()| take(&line))
                {
                    Ok((answer, shown)) => {
                        Lines::answered(asked.question, &shown)?;
                        return Ok(answer);
                    }
                    Err(error) => wrong = Some(error),
                }
                lines.forget()?;
            }
        };
        ask().map_err(|error| self.failed(error))
    }

    fn failed(self, error: io::Error) -> Problem {
        if error.kind() == io::ErrorKind::Interrupted {
            return interrupts::interrupted();
        }
        let gone = rustix::termios::tcgetattr(io::stdin()).is_err();
        if gone || error.kind() == io::ErrorKind::UnexpectedEof {
            Problem::new(
                Kind::Interrupted,
                format!("interrupted: {}", self.undone),
                if gone {
                    "the terminal was closed while it was asked"
                } else {
                    "what is typed ended (Ctrl-D) before there was an answer"
                },
                "run the same command again, or give the answers as flags: see --help",
            )
        } else {
            Problem::other(
                format!("cannot ask: {}", self.undone),
                error,
                "give the answers as flags: see --help",
            )
        }
    }
}

/// Lines that may have been pasted together.
pub struct Several {
    prompt: Prompt,
    lines: Lines,
    _meanwhile: interrupts::Meanwhile,
}

impl Several {
    /// The next line, which may be empty, and is no secret.
    ///
    /// # Errors
    /// If the user interrupts or the terminal goes away.
    pub fn next(&mut self, question: &str, wrong: Option<&Wrong>) -> Result<Zeroizing<String>, Problem> {
        let asked = Asked {
            question,
            hint: "",
            hidden: false,
            typed: false,
            goes_on: true,
        };
        let mut secret = None;
        loop {
            let wrong = secret.as_ref().or(wrong);
            let line = self.lines.ask(asked, wrong.map(|wrong| wrong.0.as_str()));
            let line = line.map_err(|error| self.prompt.failed(error))?;
            match no_secret(&line) {
                Ok(()) => return Ok(line.text),
                Err(told) => secret = Some(told),
            }
        }
    }

    /// Shows what was made of the lines.
    pub fn taken(question: &str, shown: &str) {
        let _ = Lines::answered(question, shown);
    }
}

/// Refuses what cannot be one line that somebody means.
fn one_line(line: &Line) -> Result<(), Wrong> {
    if line.more {
        return Err(Wrong::from(ONE_LINE));
    }
    if line.long {
        return Err(Wrong::from("that is far too long, and was not taken"));
    }
    Ok(())
}

/// Refuses a secret that is typed where it would be shown.
fn no_secret(line: &Line) -> Result<(), Wrong> {
    match line.secret {
        Some(secret) => Err(Wrong(format!(
            "That looks like {secret}. {} {}",
            sentence(secret.why()),
            sentence(secret.what_to_do())
        ))),
        None => Ok(()),
    }
}

/// Refuses what was pasted, where only what is typed shows that somebody means it.
fn typed(line: &Line, what: &str) -> Result<(), Wrong> {
    if line.pasted {
        return Err(Wrong(format!(
            "Nothing that is pasted is an answer here: type {what}, then press Enter."
        )));
    }
    Ok(())
}

/// These words, typed, however they are spaced.
fn those_words(line: &Line, words: &str) -> Result<(), Wrong> {
    typed(line, words)?;
    let answer = line.text.trim().trim_matches(is_quote);
    let answer: Vec<&str> = answer.split_whitespace().collect();
    if answer.join(" ").eq_ignore_ascii_case(words) {
        return Ok(());
    }
    Err(Wrong(format!(
        "Type {words}, then press Enter; or press Ctrl-C to leave everything as it is."
    )))
}

/// Nothing but one of these words, typed: what is pasted, or begins like one, is no answer.
fn yes_or_no(line: &Line) -> Result<bool, Wrong> {
    typed(line, "yes or no")?;
    match line.text.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(true),
        "n" | "no" => Ok(false),
        _ => Err(Wrong::from(
            "type yes or no (or y or n) and nothing else, then press Enter",
        )),
    }
}

/// The item that was named.
fn chosen(text: &str, items: &[String]) -> Option<usize> {
    let written = items.iter().position(|item| item.eq_ignore_ascii_case(text));
    let number = || text.parse::<usize>().ok()?.checked_sub(1);
    written.or_else(number).filter(|place| *place < items.len())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line {
            text: Zeroizing::new(text.to_owned()),
            pasted: false,
            more: false,
            long: false,
            secret: None,
        }
    }

    #[test]
    fn only_a_whole_word_that_was_typed_is_yes_or_no() {
        for (text, answer) in [
            ("y", true),
            ("Yes", true),
            ("YES", true),
            ("n", false),
            ("No", false),
            ("yes ", true),
            ("  no\t", false),
        ] {
            assert_eq!(yes_or_no(&line(text)), Ok(answer), "{text}");
            let pasted = Line {
                pasted: true,
                ..line(text)
            };
            assert!(yes_or_no(&pasted).is_err());
        }
        for text in [
            "",
            " ",
            "yes please",
            "ye",
            "yy",
            "y es",
            "battery",
            "0",
            "true",
            "ja",
            "ｙ",
        ] {
            assert!(yes_or_no(&line(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_undone_is_typed_in_its_own_words() {
        const WORDS: &str = "exit 0xAb12cd34";
        for text in [
            WORDS,
            " EXIT  0xab12CD34 ",
            "\"exit 0xAb12cd34\"",
            "\u{201c}exit 0xAb12cd34\u{201d}",
        ] {
            assert_eq!(those_words(&line(text), WORDS), Ok(()), "{text}");
            let pasted = Line {
                pasted: true,
                ..line(text)
            };
            assert!(those_words(&pasted, WORDS).is_err());
        }
        for text in [
            "",
            "exit",
            "yes",
            "exit 0xAb12cd3",
            "exit 0xAb12cd345",
            "exit0xAb12cd34",
        ] {
            assert!(those_words(&line(text), WORDS).is_err(), "{text}");
        }
    }

    #[test]
    fn an_item_is_named_by_its_number_or_as_it_is() {
        let items = ["hoodi".to_owned(), "sepolia".to_owned()];
        for (text, place) in [
            ("1", Some(0)),
            ("2", Some(1)),
            ("Sepolia", Some(1)),
            ("0", None),
            ("3", None),
            ("", None),
            ("-1", None),
        ] {
            assert_eq!(chosen(text, &items), place, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_an_answer_says_what_to_do() {
        let problem = Problem::bad_input(
            "the address has no checksum",
            "all its letters are small",
            "copy it from your wallet",
        );
        let Wrong(text) = problem.into();
        assert_eq!(
            text,
            "The address has no checksum. All its letters are small. Copy it from your wallet."
        );
    }
}
