//! One line that a person types below a question. It is drawn here, key for key, and cleared again as a whole, however many rows of the screen it
//! takes: what was wrong with the last answer does not stay above the next.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use console::{Term, measure_text_width, style};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    termios::{
        InputModes, LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcsetattr,
    },
};
use zeroize::Zeroizing;

use conclave_eth::secret_text::Secret;

use super::{
    folded::folded,
    interrupts::{self, Asking, SAY_NO_PASTES},
    keys::{Key, Keys},
    output::{fitting, obeys_escapes, printable},
};

/// The longest line, in bytes; what is longer is none that anything here asks for.
const MOST: usize = 64 * 1024;
/// Nothing comes for so long: a key is complete, and nothing was pasted behind it. Milliseconds.
const QUIET: u32 = 100;
/// How often it is looked whether a signal has ended the question, in milliseconds.
const LOOK: u32 = 200;
/// What is being pasted has ended if nothing comes for so long: its end can get lost, and keys are keys again.
const PASTE_OVER: Duration = Duration::from_secs(3);
/// What can be typed ended between two questions: none is answered any more.
static ENDED: AtomicBool = AtomicBool::new(false);
/// What is thrown away at the end is read at most so often: what comes without an end must not keep the command.
const MOST_READS: u32 = 64;

/// Has a terminal say what is pasted.
const SAY_PASTES: &str = "\u{1b}[?2004h";

/// What is asked, and how the answer is taken.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// What stands before the answer.
    pub(super) question: &'a str,
    /// What to type, in a few words, after the question.
    pub(super) hint: &'a str,
    /// The answer is not shown.
    pub(super) hidden: bool,
    /// What is pasted is no answer.
    pub(super) typed: bool,
    /// Lines that came along are the answers to what is asked next.
    pub(super) goes_on: bool,
}

/// What was typed up to Enter.
pub(super) struct Line {
    /// Without its end.
    pub(super) text: Zeroizing<String>,
    /// It was pasted, into a question that has to be typed.
    pub(super) pasted: bool,
    /// More lines came along with it.
    pub(super) more: bool,
    /// It is longer than any answer, and not all here.
    pub(super) long: bool,
    /// It is a secret, or what is left of one.
    pub(super) secret: Option<Secret>,
}

/// A terminal that takes one line after the other. It is as it was before when this is dropped, and keys that were not taken are thrown away.
pub(super) struct Lines {
    term: Term,
    keys: Keys,
    drawn: Option<Drawn>,
    /// What can be typed has ended: nothing is waited for.
    ended: bool,
    /// What is being answered is a secret, or was one.
    secret: Option<Seen>,
    /// How many bytes the answer had when it was looked at last.
    length: usize,
    /// It obeys escape sequences. Where it does not, nothing that was written can be written over.
    obeys: bool,
    /// The terminal as it was.
    asking: Option<Asking>,
}

/// A secret in an answer.
#[derive(Clone, Copy)]
struct Seen {
    secret: Secret,
    /// How many bytes the answer had then.
    length: usize,
    /// It came in one piece: then it is no address that is being typed.
    pasted: bool,
}

/// Nobody types so many bytes at once.
const PASTE: usize = 16;

/// What stands in the terminal.
struct Drawn {
    /// The answer so far, as it is shown.
    answer: Zeroizing<String>,
    /// Where the cursor is, counted from the first row.
    cursor: Place,
    /// The cursor is behind everything.
    is_at_end: bool,
    /// How wide the terminal was.
    columns: usize,
}

impl Drop for Lines {
    fn drop(&mut self) {
        // What is thrown away now may be the end of the input.
        for _ in 0..MOST_READS {
            if !matches!(Self::wait(0), Ok(true)) || self.read().is_err() {
                break;
            }
            while let Some(key) = self.keys.next(true) {
                self.ended |= key == Key::EndOfInput;
            }
        }
        ENDED.store(self.ended, Ordering::Relaxed);
        let _ = tcflush(io::stdin(), QueueSelector::IFlush);
        drop(self.asking.take());
    }
}

impl Lines {
    /// Whatever was typed before is thrown away. `beside`: the command goes on meanwhile.
    ///
    /// # Errors
    /// If there is no terminal.
    pub(super) fn begin(beside: bool) -> io::Result<Self> {
        let (asking, before) = interrupts::asking(beside);
        let mut lines = Self {
            term: Term::stderr(),
            keys: Keys::default(),
            drawn: None,
            // Whoever typed Ctrl-D while the command was at work meant no question.
            ended: !beside && ENDED.load(Ordering::Relaxed),
            secret: None,
            length: 0,
            obeys: obeys_escapes(),
            asking: Some(asking),
        };
        let before = before.ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))?;
        if before.local_modes.contains(LocalModes::ICANON) {
            let had_ended = Self::had_ended()?;
            lines.ended |= had_ended && !beside;
        }
        tcsetattr(io::stdin(), OptionalActions::Flush, &key_by_key(before))?;
        lines.forget()?;
        Ok(lines)
    }

    /// Throws away what was typed and pasted and not taken yet.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(super) fn forget(&mut self) -> io::Result<()> {
        self.keys.forget();
        tcflush(io::stdin(), QueueSelector::IFlush)?;
        Ok(())
    }

    /// Asks, below `wrong` if there was an answer that could not be taken, and waits for Enter. What was typed is no longer drawn afterwards.
    ///
    /// # Errors
    /// If the terminal is gone, or a signal has ended the question.
    pub(super) fn ask(&mut self, asked: Asked<'_>, wrong: Option<&str>) -> io::Result<Line> {
        if self.obeys {
            Self::write(if asked.typed { SAY_PASTES } else { SAY_NO_PASTES })?;
        }
        (self.secret, self.length) = (None, 0);
        let mut text = Zeroizing::new(String::with_capacity(MOST));
        // The place of the cursor in it, in bytes; whether what comes is being pasted, and whether something of it was.
        let (mut at, mut pasting, mut pasted, mut long) = (0, false, false, false);
        loop {
            let key = self.key(asked, wrong, (&text, at), pasting)?;
            let previous = text
                .get(..at)
                .and_then(|before| before.char_indices().next_back());
            match key {
                Key::PasteBegin => pasting = true,
                Key::PasteEnd if pasting && asked.typed => {
                    pasted = true;
                    break;
                }
                Key::PasteEnd => pasting = false,
                // Of no use, and not to be seen.
                _ if pasting && asked.typed => {}
                Key::Enter => break,
                Key::EndOfInput if text.is_empty() => return Err(self.end()),
                // Where the cursor cannot be moved, it stays at the end.
                Key::Left | Key::Home if !self.obeys => {}
                Key::Char(c) if text.len() + c.len_utf8() > MOST => long = true,
                Key::Char(c) => {
                    let c = if c == '\t' && !asked.hidden { ' ' } else { c };
                    text.insert(at, c);
                    at += c.len_utf8();
                }
                Key::Backspace => {
                    if let Some((place, _)) = previous {
                        text.remove(place);
                        at = place;
                    }
                }
                Key::Delete => {
                    if at < text.len() {
                        text.remove(at);
                    }
                }
                Key::Clear => {
                    text.drain(..at);
                    at = 0;
                }
                Key::Word => {
                    let before = text.get(..at).unwrap_or_default().trim_end();
                    let from = before.rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
                    let from = if text.is_char_boundary(from) {
                        from
                    } else {
                        before.len()
                    };
                    text.drain(from..at);
                    at = from;
                }
                Key::Left => at = previous.map_or(at, |(place, _)| place),
                Key::Right => {
                    at += text
                        .get(at..)
                        .and_then(|rest| rest.chars().next())
                        .map_or(0, char::len_utf8);
                }
                Key::Home => at = 0,
                Key::End => at = text.len(),
                Key::EndOfInput | Key::Other => {}
            }
        }
        let more = !asked.goes_on && self.more()?;
        self.clear()?;
        self.look(&text);
        Ok(Line {
            text,
            pasted,
            more,
            long,
            secret: self.secret.map(|seen| seen.secret),
        })
    }

    /// The one line that stays: what was answered.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(super) fn answered(question: &str, answer: &str) -> io::Result<()> {
        let green = |text| style(text).green().for_stderr();
        let mut line = format!("{} {}", green("✔"), style(question).bold().for_stderr());
        if !answer.is_empty() {
            let _ = write!(
                line,
                " {} {}",
                style("·").black().bright().for_stderr(),
                green(&printable(answer))
            );
        }
        let mut line = fitting(&Term::stderr(), &line);
        line.push('\n');
        Self::write(&line)
    }

    /// The next key. The line is drawn before it is waited for. `pasting`: the end of what is pasted may have got lost.
    fn key(
        &mut self,
        asked: Asked<'_>,
        wrong: Option<&str>,
        drawn: (&str, usize),
        pasting: bool,
    ) -> io::Result<Key> {
        if let Some(key) = self.keys.next(false) {
            return Ok(key);
        }
        self.draw(asked, wrong, drawn)?;
        if self.ended {
            return Err(self.end());
        }
        let begun = Instant::now();
        loop {
            if pasting && begun.elapsed() >= PASTE_OVER {
                return Ok(Key::PasteEnd);
            }
            let is_begun = !self.keys.is_empty();
            let came = Self::wait(if is_begun { QUIET } else { LOOK })?;
            if came {
                self.read()?;
            }
            if let Some(key) = self.keys.next(is_begun && !came) {
                return Ok(key);
            }
        }
    }

    /// Whether more comes along with a line that is complete; it is thrown away.
    fn more(&mut self) -> io::Result<bool> {
        let mut more = false;
        loop {
            while let Some(key) = self.keys.next(true) {
                // Enter twice is nothing else than Enter, and arrows and a terminal's own reports are no lines.
                more |= matches!(key, Key::Char(_) | Key::PasteBegin);
                self.ended |= key == Key::EndOfInput;
            }
            if !Self::wait(QUIET)? {
                return Ok(more);
            }
            self.read()?;
        }
    }

    /// Whether something comes within so many milliseconds.
    fn wait(milliseconds: u32) -> io::Result<bool> {
        if interrupts::ended() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let stdin = io::stdin();
        let mut one = [PollFd::new(&stdin, PollFlags::IN)];
        let time = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(milliseconds) * 1_000_000,
        };
        match poll(&mut one, Some(&time)) {
            Ok(count) => Ok(count > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Nothing can be typed any more. What is said of it comes below the question.
    fn end(&mut self) -> io::Error {
        self.drawn = None;
        let below = if self.obeys { "\n\u{1b}[J" } else { "\n" };
        Self::write(below)
            .err()
            .unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// Throws away the lines that were typed before the question, and tells whether an end of the input stands behind them.
    fn had_ended() -> io::Result<bool> {
        let mut bytes = Zeroizing::new([0; 4096]);
        let mut rest = MOST;
        while rest > 0 && Self::wait(0)? {
            match rustix::io::read(io::stdin(), &mut *bytes) {
                Ok(0) => return Ok(true),
                Ok(count) => rest = rest.saturating_sub(count),
                Err(Errno::INTR | Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }

    fn read(&mut self) -> io::Result<()> {
        let mut bytes = Zeroizing::new([0; 4096]);
        match rustix::io::read(io::stdin(), &mut *bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.keys.read(bytes.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(Errno::INTR | Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes what is drawn. Where that cannot be, what comes next stands below it.
    fn clear(&mut self) -> io::Result<()> {
        let Some(drawn) = self.drawn.take() else {
            return Ok(());
        };
        if !self.obeys {
            return Self::write("\n");
        }
        let up = match drawn.cursor.row {
            0 => String::new(),
            rows => format!("\u{1b}[{rows}A"),
        };
        Self::write(&format!("\r{up}\u{1b}[J"))
    }

    /// What was typed at the end, or removed there, alone: whoever has the screen read aloud hears no more than that.
    /// False where the line has to be drawn as a whole.
    fn go_on(&mut self, answer: &str, columns: usize) -> io::Result<bool> {
        let Some(drawn) = self
            .drawn
            .as_mut()
            .filter(|drawn| drawn.is_at_end && drawn.columns == columns)
        else {
            return Ok(false);
        };
        let mut out = Zeroizing::new(String::new());
        if let Some(typed) = answer.strip_prefix(drawn.answer.as_str()) {
            // What has no width belongs to the letter before it.
            let first = typed.chars().next();
            if first.is_some_and(|c| measure_text_width(c.encode_utf8(&mut [0; 4])) == 0) {
                return Ok(false);
            }
            out.push_str(typed);
            drawn.cursor.go(typed, columns);
            if !typed.is_empty() {
                out.push_str(drawn.cursor.begin_row(columns, self.obeys));
            }
        } else if let Some(removed) = drawn.answer.strip_prefix(answer) {
            let width = measure_text_width(removed);
            // In one row.
            if width == 0 || width > drawn.cursor.column {
                return Ok(false);
            }
            drawn.cursor.column -= width;
            for text in ["\u{8}", " ", "\u{8}"] {
                out.push_str(&text.repeat(width));
            }
        } else {
            return Ok(false);
        }
        Self::write(&out)?;
        drawn.answer = Zeroizing::new(answer.to_owned());
        Ok(true)
    }

    /// Remembers that the answer so far is a secret: one that was pasted until there is nothing more of it, another one as long as it is only made
    /// shorter. An address that is typed has as many digits as a password for a moment.
    fn look(&mut self, text: &str) {
        let came = text.len().saturating_sub(self.length) >= PASTE;
        self.length = text.len();
        let before = self.secret.filter(|_| !text.is_empty());
        let pasted = came || before.is_some_and(|seen| seen.pasted);
        self.secret = match Secret::within(text) {
            Some(secret) => Some(Seen {
                secret,
                length: text.len(),
                pasted,
            }),
            None => before.filter(|seen| seen.pasted || text.len() < seen.length),
        };
    }

    /// Draws what was wrong, the question, and the answer so far, with the cursor in its place.
    fn draw(&mut self, asked: Asked<'_>, wrong: Option<&str>, (text, at): (&str, usize)) -> io::Result<()> {
        let columns = match self.term.size().1 {
            0 => 80,
            columns => usize::from(columns),
        };
        let tail = if asked.hidden { "" } else { text };
        let (before, after) = tail.split_at(if asked.hidden { 0 } else { at });
        // A secret that was pasted into the wrong question stays off the screen.
        self.look(tail);
        let is_secret = self.secret.is_some();
        let shown = |part: &str| {
            Zeroizing::new(if is_secret {
                "*".repeat(part.chars().count())
            } else {
                printable(part)
            })
        };
        let (before, after) = (shown(before), shown(after));
        if after.is_empty() && self.go_on(&before, columns)? {
            return Ok(());
        }
        self.clear()?;
        let mut out = String::new();
        let mut end = Place::default();
        let red = |text: &str| style(text).red().for_stderr().to_string();
        for line in wrong
            .map(|wrong| folded(&format!("✘ {}", printable(wrong)), columns))
            .iter()
            .flat_map(|wrong| wrong.lines())
        {
            end.go(line, columns);
            end = Place {
                row: end.row + 1,
                column: 0,
            };
            out.push_str(&red(line));
            out.push('\n');
        }
        let question = if asked.hint.is_empty() {
            asked.question.to_owned()
        } else {
            format!("{} ({})", asked.question, asked.hint)
        };
        // The answer goes on behind the last row of the question.
        for (place, row) in folded(&format!("? {question} ›"), columns).lines().enumerate() {
            if place > 0 {
                out.push('\n');
                end = Place {
                    row: end.row + 1,
                    column: 0,
                };
            }
            let _ = write!(out, "{}", style(row).bold().for_stderr());
            end.go(row, columns);
        }
        let _ = write!(out, " {}{}", *before, *after);
        end.go(" ", columns);
        end.go(&before, columns);
        let mut cursor = end.clone();
        end.go(&after, columns);
        out.push_str(end.begin_row(columns, self.obeys));
        let _ = cursor.begin_row(columns, self.obeys);
        let is_at_end = after.is_empty();
        if !is_at_end {
            if end.row > cursor.row {
                let _ = write!(out, "\u{1b}[{}A", end.row - cursor.row);
            }
            out.push('\r');
            if cursor.column > 0 {
                let _ = write!(out, "\u{1b}[{}C", cursor.column);
            }
        }
        Self::write(&out)?;
        self.drawn = Some(Drawn {
            answer: before,
            cursor,
            is_at_end,
            columns,
        });
        Ok(())
    }

    fn write(text: &str) -> io::Result<()> {
        let mut err = io::stderr().lock();
        err.write_all(text.as_bytes())?;
        err.flush()
    }
}

/// Every key as it comes and not shown by the terminal; Ctrl-C and Ctrl-Z are signals as ever.
fn key_by_key(mut settings: Termios) -> Termios {
    settings
        .local_modes
        .remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ECHONL | LocalModes::IEXTEN);
    settings.local_modes.insert(LocalModes::ISIG);
    // Enter is heard, whichever of the two a terminal sends for it.
    settings.input_modes.remove(InputModes::IGNCR | InputModes::INLCR);
    settings.input_modes.insert(InputModes::ICRNL);
    settings.special_codes[SpecialCodeIndex::VMIN] = 1;
    settings.special_codes[SpecialCodeIndex::VTIME] = 0;
    settings
}

/// A place on the screen, counted from where drawing began.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
struct Place {
    row: usize,
    /// As many as there are columns: at the end of a full row.
    column: usize,
}

impl Place {
    /// Where the end of a text is that is written here.
    fn go(&mut self, text: &str, columns: usize) {
        for c in text.chars() {
            let width = measure_text_width(c.encode_utf8(&mut [0; 4]));
            if self.column + width > columns {
                (self.row, self.column) = (self.row + 1, 0);
            }
            self.column += width;
        }
    }

    /// Goes on to the next row at the end of a full one, and says what has to be written for it: some terminals are there by now, others not
    /// yet.
    fn begin_row(&mut self, columns: usize, obeys: bool) -> &'static str {
        if self.column < columns {
            return "";
        }
        (self.row, self.column) = (self.row + 1, 0);
        if obeys { " \r\u{1b}[K" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_text_is_found_in_narrow_terminals() {
        for (text, row, column) in [
            ("", 0, 0),
            ("1234567", 0, 7),
            ("12345678", 0, 8),
            ("123456789", 1, 1),
            // What is two columns wide does not stand in half.
            ("1234567\u{540d}", 1, 2),
            ("123456\u{540d}", 0, 8),
        ] {
            let mut end = Place::default();
            end.go(text, 8);
            assert_eq!(end, Place { row, column }, "{text}");
        }
    }
}
