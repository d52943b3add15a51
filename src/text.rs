//! Text that others wrote (peers, beacon nodes, files, wallets), before anybody reads it on a screen, in a log or on a page: on one line, of a
//! bounded length, and without characters that change how the text around them looks.

use std::fmt::Write as _;

/// The longest text that is shown at once, in bytes.
const MOST: usize = 8 * 1024;
/// What stands at the end of a text that was cut.
const CUT: &str = " ...";

/// Characters that change how a screen shows the text around them, or are not seen at all: controls, directions, fillers, tags.
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}' | '\u{034f}' | '\u{061c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180e}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A text as it may be shown: what is not printable, line breaks too, becomes U+FFFD; what is longer than 8 KiB is cut.
pub fn printable(text: &str) -> String {
    shortened(text, MOST, |c| if is_unprintable(c) { '\u{fffd}' } else { c })
}

/// The beginning of a text on one line, as it may be shown: at most so many bytes (4 or more), blanks in the place of line breaks and
/// other control characters, U+FFFD in that of everything else that is not printable.
pub fn line(text: &str, most: usize) -> String {
    let shown = |c: char| match c {
        c if c.is_control() => ' ',
        c if is_unprintable(c) => '\u{fffd}',
        c => c,
    };
    shortened(text.trim(), most, shown)
}

/// A line for a program: the unprintable characters in the strings of this JSON are escaped, so that it says the same and is harmless on
/// a terminal.
pub fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_unprintable(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing into a String does not fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Never looks at more of the text than it keeps.
fn shortened(text: &str, most: usize, shown: impl Fn(char) -> char) -> String {
    let mut out = String::new();
    // Where it would be cut.
    let mut cut = 0;
    for c in text.chars().map(shown) {
        if out.len() + c.len_utf8() > most {
            out.truncate(cut);
            out.push_str(CUT);
            return out;
        }
        out.push(c);
        if out.len() + CUT.len() <= most {
            cut = out.len();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_would_change_the_screen_is_not_shown() {
        assert_eq!(
            printable("a\u{1b}[2J\u{202e}b\nc"),
            "a\u{fffd}[2J\u{fffd}b\u{fffd}c"
        );
        assert_eq!(line(" a\u{1b}[2J\u{202e}b\nc\n", 100), "a [2J\u{fffd}b c");
        assert_eq!(line("12345678", 8), "12345678");
        assert_eq!(line("123456789", 8), "1234 ...");
        assert_eq!(printable(&"x".repeat(MOST + 1)).len(), MOST);
        let json = serde_json::to_string("a\u{1b}\u{202e}\u{e0041}\u{9b}b\"").unwrap();
        let escaped = escaped(&json);
        assert!(!escaped.chars().any(is_unprintable), "{escaped}");
        let back: String = serde_json::from_str(&escaped).unwrap();
        assert_eq!(back, "a\u{1b}\u{202e}\u{e0041}\u{9b}b\"");
    }

    proptest! {
        #[test]
        fn it_is_bounded_and_printable_whatever_it_was(text in "\\PC{0,20}\\p{C}{0,20}\\PC{0,40}", most in 4usize..64) {
            let line = line(&text, most);
            prop_assert!(line.len() <= most);
            prop_assert!(!line.chars().any(is_unprintable));
            prop_assert!(!printable(&text).chars().any(is_unprintable));
        }
    }
}
