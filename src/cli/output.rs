//! The way to the user: text, or with `--json` one event per line. A closed pipe is no error. A terminal gets lines that fit into it; a pipe and
//! a file get each line as it is.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use conclave_ceremony::problem::Problem;
use conclave_ceremony::progress::Event;
use conclave_eth::text::escaped;
pub use conclave_eth::text::printable;

use super::folded::{folded, marked};

/// Text or JSON.
#[derive(Debug, Clone)]
pub struct Output {
    json: bool,
}

impl Output {
    /// JSON events if `json`, else text.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether events are printed as JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person sits there whom one can ask.
    pub fn can_ask(&self) -> bool {
        !self.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// A line, or several, for a person. Nothing with `--json`.
    pub fn say(&self, text: impl AsRef<str>) {
        if !self.json {
            let text = fitting(&console::Term::stdout(), text.as_ref());
            let _ = writeln!(std::io::stdout().lock(), "{text}");
        }
    }

    /// An event, for a program. Nothing without `--json`.
    pub fn event(&self, event: &Event) {
        if self.json {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{}", escaped(&event.to_json()));
            let _ = out.flush();
        }
    }

    /// Any other event, for a program. Nothing without `--json`.
    pub(super) fn line(&self, event: &impl Serialize) {
        if self.json
            && let Ok(text) = serde_json::to_string(event)
        {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{}", escaped(&text));
            let _ = out.flush();
        }
    }

    /// A warning: on standard error for a person, as a notice for a program.
    pub fn warn(&self, message: &str) {
        if self.json {
            self.event(&Event::Notice {
                message: message.to_owned(),
            });
        } else {
            let mark = format!("{} ", console::style("Note:").yellow().bold().for_stderr());
            let text = marked(&mark, &lines(message), columns(&console::Term::stderr()));
            let _ = writeln!(std::io::stderr().lock(), "{}{text}", line_start());
        }
    }

    /// The end of a command that failed: what, why, what to do.
    pub fn problem(&self, problem: &Problem) {
        if self.json {
            self.event(&Event::Error {
                code: problem.kind.exit_code(),
                what: problem.what.clone(),
                why: problem.why.clone(),
                what_to_do: problem.what_to_do.clone(),
            });
            return;
        }
        let head = console::style("Error:").red().bold().for_stderr();
        let columns = columns(&console::Term::stderr());
        let mut err = std::io::stderr().lock();
        let text = marked(&format!("{head} "), &printable(&problem.what), columns);
        let _ = writeln!(err, "{}{text}", line_start());
        for (label, line) in [("Why:   ", &problem.why), ("To do: ", &problem.what_to_do)] {
            if !line.is_empty() {
                let _ = writeln!(err, "{}", marked(label, &printable(line), columns));
            }
        }
    }
}

/// How wide a terminal is now, in columns; without an end if it is none.
pub(super) fn columns(term: &console::Term) -> usize {
    if !term.is_term() {
        return usize::MAX;
    }
    term.size_checked()
        .map_or(80, |(_, columns)| usize::from(columns))
}

/// A text as it fits into a terminal, or as it is if that is none.
pub(super) fn fitting(term: &console::Term, text: &str) -> String {
    folded(text, columns(term))
}

/// Whether the terminal does as escape sequences say. A plain one, such as that of an editor or of a screen reader, shows them as letters.
pub(super) fn obeys_escapes() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// To the start of the line, without what the terminal itself shows there of Ctrl-C.
fn line_start() -> &'static str {
    if std::io::stderr().is_terminal() && obeys_escapes() {
        "\r\u{1b}[K"
    } else {
        ""
    }
}

/// Several lines, each as it may be shown.
fn lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(printable).collect();
    lines.join("\n")
}
