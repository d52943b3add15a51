//! The picture below the lines of `run`, redrawn as things change; nothing of it unless a person looks at a terminal.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use conclave_monitor::overview::view::View;

use super::{
    output::{Output, obeys_escapes},
    picture::{Extent, lines},
};

/// Not more often, unless something is said above it.
const REDRAW: Duration = Duration::from_millis(250);
/// Lines that are left for what is said.
const LEFT: usize = 8;

/// A picture that stands at the bottom of the terminal. Clones share it.
#[derive(Clone)]
pub(super) struct Live(Option<Arc<Mutex<Bottom>>>);

struct Bottom {
    term: console::Term,
    view: Option<View>,
    drawn: Vec<String>,
    at: Instant,
}

impl Live {
    /// On standard output, if that is a terminal and a person is to read it.
    pub(super) fn new(output: &Output) -> Self {
        let term = console::Term::stdout();
        let live = !output.is_json() && term.features().is_attended() && obeys_escapes();
        Self(live.then(|| {
            Arc::new(Mutex::new(Bottom {
                term,
                view: None,
                drawn: Vec::new(),
                at: Instant::now(),
            }))
        }))
    }

    fn bottom(&self) -> Option<MutexGuard<'_, Bottom>> {
        let bottom = self.0.as_ref()?;
        Some(bottom.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a picture is wanted now.
    pub(super) fn wants(&self) -> bool {
        self.bottom()
            .is_some_and(|bottom| bottom.view.is_none() || bottom.at.elapsed() >= REDRAW)
    }

    /// Shows a newer picture.
    pub(super) fn show(&self, view: View) {
        if let Some(mut bottom) = self.bottom() {
            bottom.view = Some(view);
            bottom.at = Instant::now();
            let fresh = bottom.lines();
            if fresh != bottom.drawn {
                bottom.erase();
                bottom.draw(fresh);
            }
        }
    }

    /// Says something above the picture.
    pub(super) fn above<T>(&self, say: impl FnOnce() -> T) -> T {
        let Some(mut bottom) = self.bottom() else {
            return say();
        };
        bottom.erase();
        let said = say();
        let again = bottom.lines();
        bottom.draw(again);
        said
    }

    /// The picture stands still from now on; what is said comes below it.
    pub(super) fn leave(&self) {
        if let Some(mut bottom) = self.bottom() {
            bottom.view = None;
            bottom.drawn.clear();
        }
    }
}

impl Bottom {
    fn lines(&self) -> Vec<String> {
        let Some(view) = &self.view else {
            return Vec::new();
        };
        let (height, width) = self.term.size();
        // More lines than the terminal has could not be erased again.
        let most = usize::from(height).saturating_sub(LEFT).max(3);
        let mut lines = lines(view, usize::from(width), Extent::Lines(most));
        lines.insert(0, "─".repeat(usize::from(width).clamp(1, 200)));
        lines
    }

    fn erase(&mut self) {
        let _ = self.term.clear_last_lines(rows(&self.drawn, self.term.size().1));
        self.drawn.clear();
    }

    fn draw(&mut self, lines: Vec<String>) {
        if !lines.is_empty() {
            let _ = self.term.write_line(&lines.join("\n"));
        }
        self.drawn = lines;
    }
}

/// How many rows lines take up in a terminal with so many columns: whoever makes a window narrower breaks what stands there.
pub(super) fn rows(lines: &[String], columns: u16) -> usize {
    let columns = usize::from(columns).max(1);
    let of = |line: &String| {
        let (mut rows, mut used) = (1, 0);
        for letter in line.chars() {
            let width = console::measure_text_width(letter.encode_utf8(&mut [0; 4]));
            // One that is too wide for the end of a row begins the next one.
            if used + width > columns {
                rows += 1;
                used = 0;
            }
            used += width;
        }
        rows
    };
    lines.iter().map(of).sum()
}

/// The log on standard error, above the picture.
pub(super) struct Log(pub(super) Live);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.above(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrower_window_has_more_rows() {
        let lines = ["─".repeat(80), "short".to_owned(), String::new(), "名".repeat(10)];
        assert_eq!(rows(&lines, 80), 4);
        assert_eq!(rows(&lines, 200), 4);
        assert_eq!(rows(&lines, 79), 5);
        assert_eq!(rows(&lines, 40), 5);
        assert_eq!(rows(&lines, 20), 7);
        // Three wide letters in each row of seven columns.
        assert_eq!(rows(&lines[3..], 7), 4);
        assert_eq!(rows(&[], 80), 0);
        assert!(rows(&lines, 0) >= 4);
    }
}
