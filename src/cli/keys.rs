//! What a terminal sends, as keys: the bytes of one read may hold many, or end in the middle of one.

use zeroize::Zeroizing;

/// The longest sequence that one key sends, in bytes. What begins like one and goes on for longer is none.
const LONGEST: usize = 32;
/// The longest answer of a terminal to what a program before this one asked it, such as for its colours, in bytes.
const LONGEST_TEXT: usize = 1024;
const ESCAPE: u8 = 0x1b;

/// One key, or the begin or end of what was pasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// A character, tabs too.
    Char(char),
    /// The end of a line.
    Enter,
    /// Removes the character before the cursor.
    Backspace,
    /// Removes the character at the cursor.
    Delete,
    /// Removes everything before the cursor (Ctrl-U).
    Clear,
    /// Removes the word before the cursor (Ctrl-W).
    Word,
    /// One to the left.
    Left,
    /// One to the right.
    Right,
    /// To the begin of the line.
    Home,
    /// To the end of the line.
    End,
    /// What comes was pasted, as the terminal says.
    PasteBegin,
    /// What comes was typed again.
    PasteEnd,
    /// The end of what is typed at all (Ctrl-D, which terminals send for an input that has ended, too).
    EndOfInput,
    /// Whatever means nothing here.
    Other,
}

/// Bytes that no key was made of yet. Wiped when dropped, as they may be a password.
#[derive(Default)]
pub(super) struct Keys(Zeroizing<Vec<u8>>);

impl Keys {
    /// Takes what was read.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let mut longer = Zeroizing::new(Vec::with_capacity(self.0.len() + bytes.len()));
        longer.extend_from_slice(&self.0);
        longer.extend_from_slice(bytes);
        self.0 = longer;
    }

    /// Throws away what was read.
    pub(super) fn forget(&mut self) {
        self.0 = Zeroizing::default();
    }

    /// Whether something was read of which no key was made.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next key. `is_all`: nothing more came for a while, so that what looks like a beginning is all.
    pub(super) fn next(&mut self, is_all: bool) -> Option<Key> {
        let (key, length) = first(&self.0, is_all)?;
        self.0.drain(..length);
        Some(key)
    }
}

/// The first key of some bytes, and of how many it is made; nothing if it may not be complete.
fn first(bytes: &[u8], is_all: bool) -> Option<(Key, usize)> {
    let key = match *bytes.first()? {
        b'\r' | b'\n' => Key::Enter,
        0x7f | 0x08 => Key::Backspace,
        0x01 => Key::Home,
        0x04 => Key::EndOfInput,
        0x05 => Key::End,
        0x15 => Key::Clear,
        0x17 => Key::Word,
        b'\t' => Key::Char('\t'),
        ESCAPE => {
            return sequence(bytes).or_else(|| given_up(bytes, is_all));
        }
        byte if byte.is_ascii_control() => Key::Other,
        byte if byte.is_ascii() => Key::Char(char::from(byte)),
        _ => return character(bytes).or_else(|| is_all.then_some((Key::Other, 1))),
    };
    Some((key, 1))
}

/// A character of several bytes.
fn character(bytes: &[u8]) -> Option<(Key, usize)> {
    let some = bytes.get(..4).unwrap_or(bytes);
    let (valid, error) = match std::str::from_utf8(some) {
        Ok(text) => (text, None),
        Err(error) => (
            std::str::from_utf8(some.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default(),
            error.error_len(),
        ),
    };
    match valid.chars().next() {
        Some(c) => Some((Key::Char(c), c.len_utf8())),
        None => error.map(|length| (Key::Other, length)),
    }
}

/// How much is thrown away of what begins with ESC and does not end; nothing as long as its end may come.
fn given_up(bytes: &[u8], is_all: bool) -> Option<(Key, usize)> {
    let second = bytes.get(1).copied();
    let length = match second {
        // The rest of it would be taken for letters.
        Some(b'[' | b'O') if is_all => bytes.len().min(LONGEST),
        // With Alt.
        Some(_) if is_all => 2,
        _ => 1,
    };
    let longest = match second {
        Some(second) if begins_text(second) => LONGEST_TEXT,
        _ => LONGEST,
    };
    (is_all || bytes.len() > longest).then_some((Key::Other, length))
}

/// Whether a text follows ESC and this, up to its terminator.
fn begins_text(second: u8) -> bool {
    matches!(second, b']' | b'P' | b'X' | b'^' | b'_')
}

/// What begins with ESC, as ECMA-48 and xterm have it.
fn sequence(bytes: &[u8]) -> Option<(Key, usize)> {
    let last = match *bytes.get(1)? {
        // Where the mouse is, in three bytes that look like letters.
        b'[' if bytes.get(2) == Some(&b'M') => return bytes.get(5).map(|_| (Key::Other, 6)),
        // A function key of Linux's own terminal.
        b'[' if bytes.get(2) == Some(&b'[') => return bytes.get(3).map(|_| (Key::Other, 4)),
        second if begins_text(second) => {
            let text = bytes.get(2..)?;
            let bell = text.iter().position(|byte| *byte == 0x07).map(|at| at + 1);
            let string_end = text.windows(2).position(|two| two == b"\x1b\\").map(|at| at + 2);
            let length = [bell, string_end].into_iter().flatten().min()?;
            return Some((Key::Other, 2 + length));
        }
        b'[' => {
            2 + bytes
                .get(2..)?
                .iter()
                .position(|byte| !(0x20..=0x3f).contains(byte))?
        }
        b'O' => 2,
        ESCAPE => return Some((Key::Other, 1)),
        // With Alt.
        _ => return Some((Key::Other, 2)),
    };
    let key = match bytes.get(2..=last)? {
        b"C" => Key::Right,
        b"D" => Key::Left,
        b"H" | b"1~" | b"7~" => Key::Home,
        b"F" | b"4~" | b"8~" => Key::End,
        b"3~" => Key::Delete,
        b"200~" => Key::PasteBegin,
        b"201~" => Key::PasteEnd,
        _ => Key::Other,
    };
    Some((key, last + 1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(parts: &[&[u8]]) -> Vec<Key> {
        let (mut keys, mut found) = (Keys::default(), Vec::new());
        for part in parts {
            keys.read(part);
            found.extend(std::iter::from_fn(|| keys.next(false)));
        }
        found.extend(std::iter::from_fn(|| keys.next(true)));
        assert!(keys.is_empty());
        found
    }

    #[test]
    fn keys_are_read_wherever_a_read_ends() {
        let bytes =
            "yé😀\r\u{1b}[200~n\n\u{1b}[201~\u{7f}\u{1b}[D\u{1b}OC\u{1b}[3~\u{15}\u{17}\u{1b}[1;5C\u{1b}x"
                .as_bytes();
        let expected = [
            Key::Char('y'),
            Key::Char('é'),
            Key::Char('😀'),
            Key::Enter,
            Key::PasteBegin,
            Key::Char('n'),
            Key::Enter,
            Key::PasteEnd,
            Key::Backspace,
            Key::Left,
            Key::Right,
            Key::Delete,
            Key::Clear,
            Key::Word,
            Key::Other,
            Key::Other,
        ];
        assert_eq!(keys(&[bytes]), expected);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(keys(&single), expected);
    }

    #[test]
    fn what_is_incomplete_is_waited_for_and_then_given_up() {
        let mut keys = Keys::default();
        for beginning in [&b"\x1b"[..], b"\x1b[", b"\x1b[20", b"\xf0\x9f"] {
            keys.read(beginning);
            assert_eq!(keys.next(false), None, "{beginning:?}");
            assert_eq!(keys.next(true), Some(Key::Other));
            keys.forget();
        }
    }

    #[test]
    fn what_a_terminal_reports_by_itself_is_no_letter() {
        for report in [
            // Arrows, focus, the mouse in its three forms.
            &b"\x1b[A"[..],
            b"\x1bOB",
            b"\x1b[I",
            b"\x1b[O",
            b"\x1b[M !!",
            b"\x1b[M\xe1\xff\r",
            b"\x1b[<0;12;7M",
            b"\x1b[<0;12;7m",
            b"\x1b[32;12;7M",
            // F1 of Linux's own terminal; where the cursor is; colours, in both forms.
            b"\x1b[[A",
            b"\x1b[12;7R",
            b"\x1b]11;rgb:0000/0000/0000\x07",
            b"\x1b]11;rgb:0000/0000/0000\x1b\\",
            b"\x1bP>|XTerm(367)\x1b\\",
            // Cut off.
            b"\x1b[<0;12",
        ] {
            let shown = report.escape_ascii();
            assert_eq!(keys(&[report]), [Key::Other], "{shown}");
            let single: Vec<&[u8]> = report.chunks(1).collect();
            assert_eq!(keys(&single), [Key::Other], "{shown}");
        }
        assert_eq!(keys(&[b"\x1bP"]), [Key::Other]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_stand_still(parts: Vec<Vec<u8>>) {
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let _ = keys(&parts);
        }
    }
}
